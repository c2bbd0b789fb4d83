//! The journal, as operators and the sending corridor read it.

use super::blob::{read_contributions, read_issues, unpack};
use super::fold::position;
use super::names::{find_feed, find_key, find_kind, key_name};
use super::sql::Sql;
use crate::state::Finding;
use crate::store::{FindingRow, JournalFilter, JournalRow, Seen, Standing, StoreError};
use contract::{Contribution, Digest, Frame, Issue, OutcomeKind};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

pub(super) fn seen(connection: &Connection, feed: &str, digest: &Digest) -> Result<Option<Seen>, StoreError> {
    let Some(feed) = find_feed(connection, feed)? else { return Ok(None) };
    let sql = "SELECT position, received, outcome, reply, standing FROM journal WHERE feed = ?1 AND digest = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let seen = |row: &Row<'_>| {
        Ok(Seen {
            position: row.get::<_, i64>(0)?.unsigned_abs(),
            received: time(row, 1)?,
            outcome: outcome(row.get_ref(2)?.as_str()?),
            standing: standing(row.get(4)?),
            reply: row.get::<_, Option<Vec<u8>>>(3)?.map(Into::into),
        })
    };
    Ok(statement.query_row((feed, digest.0), seen).optional()?)
}

const COLUMNS: &str = "j.position, j.received, f.name, j.message_type, j.control_id, j.digest, j.outcome, j.issue_count, j.repeats,
    j.standing, j.edit_of, coalesce(j.place, j.position)";

pub(super) fn list(connection: &Connection, filter: &JournalFilter, count: usize) -> Result<Vec<JournalRow>, StoreError> {
    let Some(sql) = matching(connection, filter, count)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(&sql.text)?;
    let rows = statement.query_map(params_from_iter(sql.values), row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// `None` where a name of the filter is one that the store does not know.
fn matching(connection: &Connection, filter: &JournalFilter, count: usize) -> Result<Option<Sql>, StoreError> {
    // The planner knows nothing of how few wait, or came on one day.
    let (index, above) = match filter {
        JournalFilter { waiting: true, .. } => ("INDEXED BY journal_waiting", "j.position > ?"),
        JournalFilter { from, to, .. } if from.is_some() || to.is_some() => ("INDEXED BY journal_received", "+j.position > ?"),
        _ => ("", "j.position > ?"),
    };
    let select = format!("SELECT {COLUMNS} FROM journal j {index} JOIN feed f ON f.id = j.feed WHERE {above}");
    let mut sql = Sql::with(&select, [position(filter.after).into()]);
    if let Some(before) = filter.before {
        sql.add(Sql::with(" AND j.position < ?", [position(before).into()]));
    }
    if let Some(feed) = &filter.feed {
        let Some(feed) = find_feed(connection, feed)? else { return Ok(None) };
        sql.add(Sql::with(" AND j.feed = ?", [feed.into()]));
    }
    if let Some(outcome) = filter.outcome {
        sql.add(Sql::with(" AND j.outcome = ?", [outcome.word().to_owned().into()]));
    }
    if filter.waiting {
        // As the index has it, to the letter.
        sql.push(" AND j.outcome NOT IN ('stored', 'stored-with-issues') AND j.standing = 0");
    }
    if let Some(control_id) = &filter.control_id {
        // The index is by feed first.
        sql.add(Sql::with(" AND j.feed IN (SELECT id FROM feed) AND j.control_id = ?", [control_id.clone().into()]));
    }
    if let Some(kind) = &filter.message_type {
        // `_` comes next to `^`: all events of a type lie between.
        let events = [kind.clone().into(), format!("{kind}^").into(), format!("{kind}_").into()];
        sql.add(Sql::with(" AND (j.message_type = ? OR (j.message_type >= ? AND j.message_type < ?))", events));
    }
    for (condition, time) in [(" AND j.received >= ?", filter.from), (" AND j.received < ?", filter.to)] {
        if let Some(time) = time {
            sql.add(Sql::with(condition, [time.as_microsecond().into()]));
        }
    }
    if let Some(reason) = &filter.reason {
        let among = " AND EXISTS (SELECT 1 FROM json_each(j.issues) i WHERE instr(lower(i.value ->> 2), lower(?))
                          OR instr(lower(i.value ->> 3), lower(?)))";
        sql.add(Sql::with(among, [reason.clone().into(), reason.clone().into()]));
    }
    if let Some(patient) = &filter.patient {
        let Some(kind) = find_kind(connection, "Patient")? else { return Ok(None) };
        let Some(key) = find_key(connection, kind, &key_name(patient))? else { return Ok(None) };
        sql.add(Sql::with(" AND j.position IN (SELECT position FROM touch WHERE resource = ?)", [key.into()]));
    }
    sql.push(if filter.newest { " ORDER BY j.position DESC" } else { " ORDER BY j.position" });
    sql.add(Sql::with(" LIMIT ?", [i64::try_from(count).unwrap_or(i64::MAX).into()]));
    Ok(Some(sql))
}

pub(super) fn one(connection: &Connection, at: u64) -> Result<Option<JournalRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM journal j JOIN feed f ON f.id = j.feed WHERE j.position = ?1");
    let found = connection.prepare_cached(&sql).and_then(|mut statement| statement.query_row([position(at)], row).optional());
    found.map_err(StoreError::from)
}

pub(super) fn frame(connection: &Connection, at: u64) -> Result<Option<(JournalRow, Frame, Vec<Issue>)>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, j.issues, m.frame FROM journal j JOIN feed f ON f.id = j.feed JOIN message m ON m.position = j.position
         WHERE j.position = ?1"
    );
    let found = connection.prepare_cached(&sql).and_then(|mut statement| {
        let whole = |found: &Row<'_>| Ok((row(found)?, found.get::<_, String>(12)?, unpack(found.get_ref(13)?.as_blob()?)));
        statement.query_row([position(at)], whole).optional()
    })?;
    let Some((row, issues, frame)) = found else { return Ok(None) };
    Ok(Some((row, Frame::new(frame?), read_issues(&issues)?)))
}

/// What a message said, as it was translated: without its place in the journal.
pub(super) fn contributions(connection: &Connection, at: u64) -> Result<Option<Vec<Contribution>>, StoreError> {
    let read = connection
        .prepare_cached("SELECT contributions FROM message WHERE position = ?1")
        .and_then(|mut statement| statement.query_row([position(at)], |row| row.get::<_, Option<Vec<u8>>>(0)).optional());
    read?.flatten().map(|blob| read_contributions(&blob)).transpose()
}

pub(super) fn findings(connection: &Connection) -> Result<Vec<FindingRow>, StoreError> {
    let sql = "SELECT f.name, n.first, n.last, n.count, n.position, n.kind FROM finding n JOIN feed f ON f.id = n.feed
               ORDER BY n.kind, f.name";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let finding = Finding::from_word(row.get_ref(5)?.as_str()?).ok_or(rusqlite::Error::InvalidQuery)?;
        let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(FindingRow { finding, feed: row.get(0)?, count: number(3)?, first: time(row, 1)?, last: time(row, 2)?, position: number(4)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A word that is not an outcome is a damaged row: it was not stored, as far as anyone can tell.
pub(super) fn outcome(word: &str) -> OutcomeKind {
    OutcomeKind::from_word(word).unwrap_or(OutcomeKind::Malformed)
}

fn row(row: &Row<'_>) -> rusqlite::Result<JournalRow> {
    let digest = row.get_ref(5)?.as_blob()?.try_into().map_err(|_| rusqlite::Error::InvalidQuery)?;
    Ok(JournalRow {
        position: row.get::<_, i64>(0)?.unsigned_abs(),
        received: time(row, 1)?,
        feed: row.get(2)?,
        message_type: row.get(3)?,
        control_id: row.get(4)?,
        digest: Digest(digest),
        outcome: outcome(row.get_ref(6)?.as_str()?),
        issues: row.get(7)?,
        repeats: row.get(8)?,
        standing: standing(row.get(9)?),
        edit_of: row.get::<_, Option<i64>>(10)?.map(i64::unsigned_abs),
        place: row.get::<_, i64>(11)?.unsigned_abs(),
    })
}

/// As the column has it. What is not one of these does not count.
pub(super) fn standing(number: i64) -> Standing {
    match number {
        0 => Standing::Counts,
        1 => Standing::Superseded,
        _ => Standing::Withdrawn,
    }
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(|_| rusqlite::Error::InvalidQuery)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema::LANDBRIDGE_DB;

    #[test]
    fn what_waits_and_what_came_when_is_found_by_index() {
        let directory = tempfile::tempdir().unwrap();
        let connection = LANDBRIDGE_DB.open(directory.path()).unwrap();
        connection.execute("INSERT INTO kind VALUES (1, 'Patient')", []).unwrap();
        connection.execute("INSERT INTO key (name, kind) VALUES (?1, 1)", [key_name("p")]).unwrap();
        let check = |filter: JournalFilter, expected: &str| {
            let sql = matching(&connection, &filter, 10).unwrap().expect("its names are known");
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", sql.text)).unwrap();
            let steps = statement.query_map(params_from_iter(sql.values), |row| row.get::<_, String>(3)).unwrap();
            let plan = steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ");
            assert!(plan.contains(expected), "{filter:?}: {plan}");
        };
        let now = Some(Timestamp::UNIX_EPOCH);
        check(JournalFilter { waiting: true, ..Default::default() }, "INDEX journal_waiting");
        check(JournalFilter { waiting: true, newest: true, from: now, ..Default::default() }, "INDEX journal_waiting");
        check(JournalFilter { from: now, ..Default::default() }, "INDEX journal_received (received>?)");
        check(JournalFilter { from: now, to: now, after: 7, ..Default::default() }, "INDEX journal_received (received>? AND received<?)");
        check(JournalFilter { control_id: Some("1".into()), ..Default::default() }, "INDEX journal_control (feed=? AND control_id=?");
        check(JournalFilter { patient: Some("p".into()), ..Default::default() }, "SEARCH j USING INTEGER PRIMARY KEY");
        check(JournalFilter { patient: Some("p".into()), ..Default::default() }, "SEARCH touch USING PRIMARY KEY (resource=?)");
    }
}
