//! The journal, as operators and the sending corridor read it.

use super::blob::{read_contributions, read_issues, unpack};
use super::fold::position;
use super::names::find_feed;
use crate::state::Finding;
use crate::store::{FindingRow, JournalFilter, JournalRow, Seen, StoreError};
use contract::{Contribution, Digest, Frame, Issue, OutcomeKind};
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

pub(super) fn seen(connection: &Connection, feed: &str, digest: &Digest) -> Result<Option<Seen>, StoreError> {
    let Some(feed) = find_feed(connection, feed)? else { return Ok(None) };
    let sql = "SELECT position, received, outcome, reply FROM journal WHERE feed = ?1 AND digest = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let seen = |row: &Row<'_>| {
        Ok(Seen {
            position: row.get::<_, i64>(0)?.unsigned_abs(),
            received: time(row, 1)?,
            outcome: outcome(row.get_ref(2)?.as_str()?),
            reply: row.get::<_, Option<Vec<u8>>>(3)?.map(Into::into),
        })
    };
    Ok(statement.query_row((feed, digest.0), seen).optional()?)
}

const ROW: &str = "SELECT j.position, j.received, f.name, j.message_type, j.control_id, j.digest, j.outcome, j.issue_count, j.repeats,
                       j.issues, m.frame
                   FROM journal j JOIN feed f ON f.id = j.feed";

pub(super) fn list(connection: &Connection, filter: &JournalFilter, count: usize) -> Result<Vec<JournalRow>, StoreError> {
    let mut sql = ROW.replace(", m.frame", ", NULL") + " WHERE j.position > ?";
    let mut values = vec![Value::Integer(position(filter.after))];
    if let Some(feed) = &filter.feed {
        let Some(feed) = find_feed(connection, feed)? else { return Ok(Vec::new()) };
        sql.push_str(" AND j.feed = ?");
        values.push(feed.into());
    }
    if let Some(outcome) = filter.outcome {
        sql.push_str(" AND j.outcome = ?");
        values.push(outcome.word().to_owned().into());
    }
    if let Some(control_id) = &filter.control_id {
        sql.push_str(" AND j.control_id = ?");
        values.push(control_id.clone().into());
    }
    sql.push_str(" ORDER BY j.position LIMIT ?");
    values.push(i64::try_from(count).unwrap_or(i64::MAX).into());
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn frame(connection: &Connection, at: u64) -> Result<Option<(JournalRow, Frame, Vec<Issue>)>, StoreError> {
    let sql = format!("{ROW} JOIN message m ON m.position = j.position WHERE j.position = ?1");
    let found = connection.prepare_cached(&sql).and_then(|mut statement| {
        let whole = |found: &Row<'_>| Ok((row(found)?, found.get::<_, String>(9)?, unpack(found.get_ref(10)?.as_blob()?)));
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
    })
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(|_| rusqlite::Error::InvalidQuery)
}
