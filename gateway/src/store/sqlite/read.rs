//! read, vread and history, each under the Grant's predicate.

use super::fold::{ids, read_list};
use super::index::compartments;
use super::names::{find_key, find_kind, id_of, key_name};
use crate::access::{Grant, Permission, Predicate};
use crate::search::{Cursor, Page, Query, SortKey, Version};
use crate::store::StoreError;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

/// A resource that the Grant reaches, by its current compartment.
pub(super) struct Reached {
    kind: String,
    id: String,
    pub(super) row: i64,
    /// The only patient whose compartment may be told of.
    pub(super) bound: Option<i64>,
}

pub(super) fn read(connection: &Connection, grant: &Grant, kind: &str, id: &str) -> Result<Option<Version>, StoreError> {
    let Some(reached) = reach(connection, grant, kind, id)? else { return Ok(None) };
    current(connection, reached.kind, reached.id, reached.row)
}

pub(super) fn vread(connection: &Connection, grant: &Grant, kind: &str, id: &str, version: u64) -> Result<Option<Version>, StoreError> {
    let Some(reached) = reach(connection, grant, kind, id)? else { return Ok(None) };
    let Ok(version) = i64::try_from(version) else { return Ok(None) };
    let sql = format!("{VERSION} WHERE v.resource = ?1 AND v.version = ?2 AND {BOUND}");
    let found = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row((reached.row, version, reached.bound()), stored).optional());
    found?.map(|stored| stored.version(connection, &reached.kind, &reached.id)).transpose()
}

pub(super) fn history(
    connection: &Connection,
    grant: &Grant,
    id: &str,
    query: &Query,
    bytes_max: usize,
) -> Result<Option<Page>, StoreError> {
    let Some(reached) = reach(connection, grant, &query.kind, id)? else { return Ok(None) };
    let since = query.since.unwrap_or(i64::MIN);
    let sql = format!("SELECT count(*) FROM version v WHERE v.resource = ?1 AND v.at >= ?2 AND {BOUND}");
    let total = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row((reached.row, since, reached.bound()), |row| row.get::<_, i64>(0)))?;
    let mut page = Page { total: total.unsigned_abs(), ..Page::default() };
    if query.count == 0 {
        return Ok(Some(page));
    }
    let sql = format!("{VERSION} WHERE v.resource = ?1 AND v.at >= ?2 AND v.version < ?4 AND {BOUND} ORDER BY v.version DESC LIMIT ?5");
    let before = query.cursor.as_ref().map_or(i64::MAX, |cursor| cursor.after);
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map((reached.row, since, reached.bound(), before, more(query.count)), stored)?;
    let (mut bytes, mut last) = (0, before);
    for stored in found {
        let stored = stored?;
        bytes += stored.body.as_ref().map_or(0, Vec::len);
        let is_full = page.matches.len() == query.count || bytes > bytes_max;
        if is_full && !page.matches.is_empty() {
            page.next = Some(Cursor { after: last, keys: Vec::new() });
            break;
        }
        last = stored.version;
        page.matches.push(stored.version(connection, &reached.kind, &reached.id)?);
    }
    Ok(Some(page))
}

/// Versions of all resources of a type, newest first. They are not counted: that would cost more than any page.
pub(super) fn changes(connection: &Connection, grant: &Grant, query: &Query, bytes_max: usize) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let predicate = grant.predicate(&query.kind, Permission::Read);
    let Some(kind) = find_kind(connection, &query.kind)?.filter(|_| query.count > 0) else { return Ok(page) };
    let patient = match predicate {
        Predicate::Nothing => return Ok(page),
        Predicate::All => None,
        Predicate::Patient(patient) => match patient_row(connection, &patient)? {
            Some(patient) => Some(patient),
            None => return Ok(page),
        },
    };
    // One patient's are few, and found by the compartment; all are found by their time.
    let (from, of) = match patient {
        None => ("version v INDEXED BY version_at JOIN resource r ON r.id = v.resource AND r.kind = ?1", "?2 IS NULL"),
        Some(_) => (
            "compartment c CROSS JOIN version v ON v.resource = c.resource JOIN resource r ON r.id = v.resource",
            "c.patient = ?2 AND c.kind = ?1",
        ),
    };
    let sql = format!(
        "SELECT v.version, v.at, v.patients, v.body, v.id, k.name FROM {from} JOIN key k ON k.id = v.resource
         WHERE {of} AND {BOUND} AND v.at >= ?4 AND (v.at, v.id) < (?5, ?6) ORDER BY v.at DESC, v.id DESC LIMIT ?7"
    );
    let (at, row) = match &query.cursor {
        Some(Cursor { after, keys }) => match keys.as_slice() {
            [SortKey::Number(at)] => (*at, *after),
            _ => return Err(StoreError::Refused("the page is one of another order".into())),
        },
        None => (i64::MAX, i64::MAX),
    };
    let since = query.since.unwrap_or(i64::MIN);
    let mut statement = connection.prepare_cached(&sql)?;
    let bound = patient.map(|patient| format!(",{patient},"));
    let found = statement.query_map((kind, patient, bound, since, at, row, more(query.count)), |row| {
        Ok((stored(row)?, row.get::<_, i64>(4)?, id_of(row.get_ref(5)?.as_blob()?)))
    })?;
    let (mut bytes, mut last) = (0, None);
    for found in found {
        let (stored, row, id) = found?;
        bytes += stored.body.as_ref().map_or(0, Vec::len);
        if page.matches.len() == query.count || (bytes > bytes_max && !page.matches.is_empty()) {
            page.next = last;
            break;
        }
        last = Some(Cursor { after: row, keys: vec![SortKey::Number(stored.at)] });
        page.matches.push(stored.version(connection, &query.kind, &id)?);
    }
    Ok(page)
}

/// The current version of a resource, without a look at any Grant.
pub(super) fn current(connection: &Connection, kind: String, id: String, row: i64) -> Result<Option<Version>, StoreError> {
    let sql = format!("{VERSION} JOIN resource r ON r.current = v.id WHERE r.id = ?1");
    let found = connection.prepare_cached(&sql).and_then(|mut statement| statement.query_row([row], stored).optional());
    let Some(stored) = found? else { return Ok(None) };
    let mut version = stored.version(connection, &kind, &id)?;
    version.patients = ids(connection, compartments(connection, row)?)?;
    Ok(Some(version))
}

/// One more than a page holds, to see whether there is another.
pub(super) fn more(count: usize) -> i64 {
    i64::try_from(count).map_or(i64::MAX, |count| count.saturating_add(1))
}

pub(super) fn reach(connection: &Connection, grant: &Grant, kind: &str, id: &str) -> Result<Option<Reached>, StoreError> {
    let predicate = grant.predicate(kind, Permission::Read);
    let Some(kind_row) = find_kind(connection, kind)? else { return Ok(None) };
    let Some(row) = find_key(connection, kind_row, &key_name(id))? else { return Ok(None) };
    let bound = match predicate {
        Predicate::Nothing => return Ok(None),
        Predicate::All => None,
        Predicate::Patient(patient) => match patient_row(connection, &patient)? {
            Some(patient) if compartments(connection, row)?.contains(&patient) => Some(patient),
            _ => return Ok(None),
        },
    };
    Ok(Some(Reached { kind: kind.to_owned(), id: id.to_owned(), row, bound }))
}

/// The key row of a Patient's id.
pub(super) fn patient_row(connection: &Connection, id: &str) -> Result<Option<i64>, StoreError> {
    match find_kind(connection, "Patient")? {
        Some(kind) => find_key(connection, kind, &key_name(id)),
        None => Ok(None),
    }
}

impl Reached {
    /// What [`BOUND`] looks for.
    fn bound(&self) -> Option<String> {
        self.bound.map(|patient| format!(",{patient},"))
    }
}

const VERSION: &str = "SELECT v.version, v.at, v.patients, v.body FROM version v";
/// A version is authorized by its own compartment, besides the current one.
const BOUND: &str = "(?3 IS NULL OR instr(v.patients, ?3) > 0)";

struct StoredVersion {
    version: i64,
    at: i64,
    patients: String,
    body: Option<Vec<u8>>,
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredVersion> {
    Ok(StoredVersion { version: row.get(0)?, at: row.get(1)?, patients: row.get(2)?, body: row.get(3)? })
}

impl StoredVersion {
    fn version(self, connection: &Connection, kind: &str, id: &str) -> Result<Version, StoreError> {
        Ok(Version {
            kind: kind.to_owned(),
            id: id.to_owned(),
            version: self.version.unsigned_abs(),
            last_updated: Timestamp::from_microsecond(self.at).unwrap_or_default(),
            body: self.body,
            patients: ids(connection, read_list(&self.patients))?,
        })
    }
}
