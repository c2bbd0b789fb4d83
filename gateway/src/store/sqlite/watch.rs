//! What the store can tell of feeds and apps, for findings: counted and sampled, never a value of a message.

use super::blob::{read_issues, unpack};
use super::journal::time;
use crate::audit::{Action, Entry, NOT_KEPT};
use crate::store::{AppWatch, FeedWatch, StoreError, Unkept, Waiting};
use jiff::Timestamp;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};

/// Of a feed, its latest messages; of the access audit, its latest entries.
const MESSAGES_SAMPLED: i64 = 1000;
const ENTRIES_SAMPLED: i64 = 20_000;
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// How far back a habit is looked for.
const HABIT_DAYS: i64 = 28;

pub(super) fn feeds(connection: &Connection, now: Timestamp, msh_13: &BTreeSet<String>) -> Result<Vec<FeedWatch>, StoreError> {
    let now = now.as_microsecond();
    let sql =
        "SELECT f.id, f.name, count(*), min(j.received), max(j.received), sum(j.received >= ?1), f.certificate_ends FROM journal j JOIN feed f ON f.id = j.feed
        GROUP BY j.feed ORDER BY f.name";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([now - DAY], |row| {
        let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        let watch = FeedWatch {
            feed: row.get(1)?,
            messages: number(2)?,
            first: time(row, 3)?,
            last: time(row, 4)?,
            today: number(5)?,
            certificate_ends: row.get::<_, Option<i64>>(6)?.map(|_| time(row, 6)).transpose()?,
            ..FeedWatch::default()
        };
        Ok((row.get::<_, i64>(0)?, watch))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (feed, mut watch) = row?;
        watch.waiting = waiting(connection, feed, now)?;
        (watch.at_this_hour, watch.days_at_this_hour) = habit(connection, feed, now)?;
        sample(connection, feed, &mut watch)?;
        if msh_13.contains(&watch.feed) {
            watch.sequence_numbers = sequence_numbers(connection, feed)?;
        }
        found.push(watch);
    }
    Ok(found)
}

fn waiting(connection: &Connection, feed: i64, now: i64) -> Result<Option<Waiting>, StoreError> {
    let sql = "SELECT count(*), min(received), coalesce(sum(received >= ?2), 0) FROM journal
        WHERE feed = ?1 AND standing = 0 AND outcome NOT IN ('stored', 'stored-with-issues', 'forbidden')";
    let found = connection.prepare_cached(sql).and_then(|mut statement| {
        statement.query_row((feed, now - DAY), |row| {
            let count: i64 = row.get(0)?;
            if count == 0 {
                return Ok(None);
            }
            Ok(Some(Waiting { count: count.unsigned_abs(), since: time(row, 1)?, today: row.get::<_, i64>(2)?.unsigned_abs() }))
        })
    });
    Ok(found?)
}

/// Messages at this hour of the day over the last weeks, and on how many days there was one. Today is left out.
fn habit(connection: &Connection, feed: i64, now: i64) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT count(*), count(DISTINCT received / ?3) FROM journal
        WHERE feed = ?1 AND received >= ?2 - ?4 * ?3 AND received < ?2 - ?3 / 2 AND (received / ?5) % 24 = (?2 / ?5) % 24";
    let counted = connection.prepare_cached(sql).and_then(|mut statement| {
        statement.query_row((feed, now, DAY, HABIT_DAYS, HOUR), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
    });
    let (messages, days) = counted?;
    Ok((messages.unsigned_abs(), days.unsigned_abs()))
}

/// The latest messages: what their issues are about, and their control ids.
fn sample(connection: &Connection, feed: i64, watch: &mut FeedWatch) -> Result<(), StoreError> {
    let sql = "SELECT received, issues, control_id FROM journal WHERE feed = ?1 ORDER BY position DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((feed, MESSAGES_SAMPLED))?;
    let mut issues: BTreeMap<(&'static str, String), u64> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        watch.sampled += 1;
        let received = time(row, 0)?;
        let mut told = Vec::new();
        for issue in read_issues(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)? {
            let about = (issue.code.word(), without_numbers(&issue.place));
            if !told.contains(&about) {
                told.push(about);
            }
        }
        told.into_iter().for_each(|about| *issues.entry(about).or_default() += 1);
        let control_id: String = row.get(2)?;
        watch.control_ids.extend(control_id.trim().parse().ok().map(|number| (number, received)));
    }
    watch.issues = issues.into_iter().map(|((code, place), messages)| (code, place, messages)).collect();
    Ok(())
}

/// MSH-13 of the latest messages: each frame is opened.
fn sequence_numbers(connection: &Connection, feed: i64) -> Result<Vec<(u64, Timestamp)>, StoreError> {
    let sql = "SELECT j.received, m.frame FROM journal j JOIN message m ON m.position = j.position
        WHERE j.feed = ?1 ORDER BY j.position DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((feed, MESSAGES_SAMPLED))?;
    let mut numbers = Vec::new();
    while let Some(row) = rows.next()? {
        let (received, frame) = (time(row, 0)?, unpack(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?);
        numbers.extend(sequence_number(&frame).map(|number| (number, received)));
    }
    Ok(numbers)
}

/// `OBX[3]-5[2].1` is `OBX-5.1`.
fn without_numbers(place: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for char in place.chars() {
        match char {
            '[' => inside = true,
            ']' => inside = false,
            char if !inside => plain.push(char),
            _ => {}
        }
    }
    plain
}

/// MSH-13 of an HL7 v2 message.
fn sequence_number(frame: &[u8]) -> Option<u64> {
    let head = frame.strip_prefix(b"MSH")?;
    let separator = *head.first()?;
    let line = head.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line.split(|byte| *byte == separator).nth(12)?).ok()?.trim().parse().ok()
}

/// Apps of the latest entries.
pub(super) fn apps(connection: &Connection) -> Result<Vec<AppWatch>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT payload FROM audit ORDER BY id DESC LIMIT ?1")?;
    let mut rows = statement.query([ENTRIES_SAMPLED])?;
    let mut apps: BTreeMap<String, AppWatch> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let payload = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        let Ok(entry) = serde_json::from_slice::<Entry>(payload) else { continue };
        let Some(app) = entry.agent.who.strip_prefix("app:").filter(|_| entry.agent.wide) else { continue };
        let watch =
            apps.entry(app.to_owned()).or_insert_with(|| AppWatch { app: app.to_owned(), requests: 0, first: entry.at, last: entry.at });
        watch.requests += u64::from(entry.count);
        watch.first = watch.first.min(entry.at);
        watch.last = watch.last.max(entry.at);
    }
    Ok(apps.into_values().collect())
}

/// What transparent relays did not keep in the last weeks, by the audit.
pub(super) fn unkept(connection: &Connection, now: Timestamp) -> Result<Vec<Unkept>, StoreError> {
    let sql = "SELECT payload FROM audit INDEXED BY audit_failed WHERE outcome = 12 AND at >= ?1 ORDER BY at";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([now.as_microsecond() - HABIT_DAYS * DAY])?;
    let mut found: BTreeMap<String, Unkept> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let payload = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        let Ok(entry) = serde_json::from_slice::<Entry>(payload) else { continue };
        if entry.action != Action::Relay || !entry.reason.starts_with(NOT_KEPT) {
            continue;
        }
        let listener = entry.request;
        let unkept = found.entry(listener.clone()).or_insert(Unkept { listener, count: 0, first: entry.at });
        unkept.count += u64::from(entry.count);
    }
    Ok(found.into_values().collect())
}

/// When the audit was sealed last.
pub(super) fn last_seal(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    use rusqlite::OptionalExtension;
    let sql = "SELECT line FROM audit_seal ORDER BY number DESC LIMIT 1";
    let line: Option<String> =
        connection.prepare_cached(sql).and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())?;
    let at = |line: String| serde_json::from_str::<serde_json::Value>(&line).ok()?.get("at")?.as_str()?.parse().ok();
    Ok(line.and_then(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_without_their_numbers() {
        for (place, plain) in
            [("OBX[3]-5[2].1", "OBX-5.1"), ("", ""), ("/ClinicalDocument/recordTarget[1]/@x", "/ClinicalDocument/recordTarget/@x")]
        {
            assert_eq!(without_numbers(place), plain);
        }
    }

    #[test]
    fn msh_13_is_read_by_the_messages_own_separator() {
        assert_eq!(sequence_number(b"MSH|^~\\&|A|B|C|D|1||ADT^A01|c|P|2.5|17|x\rPID|"), Some(17));
        assert_eq!(sequence_number(b"MSH#^~\\&#A#B#C#D#1##ADT^A01#c#P#2.5# 4 \r"), Some(4));
        for frame in [&b"MSH|^~\\&|A|B|C|D|1||ADT^A01|c|P|2.5||x"[..], b"MSH", b"<a/>", b""] {
            assert_eq!(sequence_number(frame), None);
        }
    }

    #[test]
    fn what_relays_did_not_keep_is_counted_by_listener() {
        use crate::audit::Agent;
        let directory = tempfile::tempdir().unwrap();
        let connection = crate::store::sqlite::schema::ACCESS_DB.open(directory.path()).unwrap();
        let now: Timestamp = "2026-03-31T12:30:00Z".parse().unwrap();
        let add = |seq: i64, at: &str, action, outcome: u8, reason: &str, count| {
            let agent = Agent { who: "system".into(), ..Agent::default() };
            let entry = Entry {
                outcome,
                reason: reason.into(),
                request: "mllp.main".into(),
                count,
                ..Entry::new(at.parse().unwrap(), action, agent)
            };
            let sql = "INSERT INTO audit (writer, seq, prev, hash, at, outcome, patients, payload) VALUES (1, ?1, x'', x'', ?2, ?3, 0, ?4)";
            connection.execute(sql, (seq, entry.at.as_microsecond(), outcome, serde_json::to_vec(&entry).unwrap())).unwrap();
        };
        add(1, "2026-02-01T10:00:00Z", Action::Relay, 12, "not-kept: spool", 5); // long ago
        add(2, "2026-03-30T10:00:00Z", Action::Relay, 12, "not-kept: spool", 3);
        add(3, "2026-03-31T10:00:00Z", Action::Relay, 12, "not-kept: stopped", 1);
        add(4, "2026-03-31T10:00:00Z", Action::Relay, 0, "", 9);
        add(5, "2026-03-31T10:00:00Z", Action::Refused, 12, "x", 9);
        let first = "2026-03-30T10:00:00Z".parse().unwrap();
        assert_eq!(unkept(&connection, now).unwrap(), [Unkept { listener: "mllp.main".into(), count: 4, first }]);
    }

    #[test]
    fn a_feed_is_counted_its_habit_at_this_hour_too() {
        let directory = tempfile::tempdir().unwrap();
        let connection = crate::store::sqlite::schema::LANDBRIDGE_DB.open(directory.path()).unwrap();
        let ends: Timestamp = "2026-04-30T00:00:00Z".parse().unwrap();
        let sql = "INSERT INTO feed (id, name, certificate_ends) VALUES (1, 'lab', ?1)";
        connection.execute(sql, [ends.as_microsecond()]).unwrap();
        let now: Timestamp = "2026-03-31T12:30:00Z".parse().unwrap();
        let mut position = 0;
        let mut add = |text: &str, outcome: &str, control_id: &str, issues: &str| {
            position += 1;
            let at: Timestamp = text.parse().unwrap();
            let sql =
                "INSERT INTO journal (position, feed, digest, received, message_type, control_id, outcome, issue_count, issues, recipe)
                VALUES (?1, 1, ?1, ?2, 'ORU^R01', ?3, ?4, 0, ?5, 1)";
            connection.execute(sql, (position, at.as_microsecond(), control_id, outcome, issues)).unwrap();
            let frame = super::super::blob::pack(format!("MSH|^~\\&|||||||||||{position}").as_bytes());
            connection.execute("INSERT INTO message (position, frame) VALUES (?1, ?2)", (position, frame.unwrap())).unwrap();
        };
        let none = "[]";
        add("2026-01-05T12:10:00Z", "stored", "x", none); // too long ago
        for day in 10..30 {
            add(&format!("2026-03-{day}T12:10:00Z"), "stored", "x", none);
            add(&format!("2026-03-{day}T12:59:00Z"), "stored", "7", none);
            add(&format!("2026-03-{day}T13:01:00Z"), "stored", "x", none);
        }
        add(
            "2026-03-31T12:05:00Z",
            "untranslatable",
            "8",
            r#"[["error","unknown-code","OBX[2]-3[1].1","why"],["error","unknown-code","OBX[3]-3[1].1","why"]]"#,
        );
        let numbered = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            feeds(&connection, now, &names).unwrap().remove(0)
        };
        let lab = &numbered(&["lab", "pas"]);
        assert!(numbered(&["pas"]).sequence_numbers.is_empty(), "no frame is opened for a number that nobody counts");
        assert_eq!((lab.messages, lab.today, lab.sampled), (62, 1, 62));
        assert_eq!(lab.certificate_ends, Some(ends));
        assert_eq!((lab.at_this_hour, lab.days_at_this_hour), (40, 20), "today is no habit");
        let since = "2026-03-31T12:05:00Z".parse().unwrap();
        assert_eq!((lab.last, lab.waiting), (since, Some(Waiting { count: 1, since, today: 1 })));
        assert_eq!(lab.issues, [("unknown-code", "OBX-3.1".to_owned(), 1)], "once a message");
        assert_eq!((lab.control_ids.len(), lab.sequence_numbers.len()), (21, 62));
    }
}
