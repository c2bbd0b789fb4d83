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
    let (since, (low, high)) = (query.since.unwrap_or(i64::MIN), query.at.unwrap_or((i64::MIN, i64::MAX)));
    let wanted = format!("v.resource = ?1 AND v.at >= ?2 AND {BOUND} AND v.at < ?5 AND {STANDING}");
    let sql = format!("SELECT count(*) FROM version v WHERE {wanted}");
    let total = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row((reached.row, since, reached.bound(), low, high), |row| row.get::<_, i64>(0)))?;
    let mut page = Page { total: total.unsigned_abs(), ..Page::default() };
    if query.count == 0 {
        return Ok(Some(page));
    }
    let sql = format!("{VERSION} WHERE {wanted} AND v.version < ?6 ORDER BY v.version DESC LIMIT ?7");
    let before = query.cursor.as_ref().map_or(i64::MAX, |cursor| cursor.after);
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map((reached.row, since, reached.bound(), low, high, before, more(query.count)), stored)?;
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
    let sql = of_type(patient.is_some());
    let (low, high) = query.at.unwrap_or((i64::MIN, i64::MAX));
    let (at, row) = match &query.cursor {
        Some(Cursor { after, keys }) => match keys.as_slice() {
            [SortKey::Number(at)] => (*at, *after),
            _ => return Err(StoreError::Refused("the page is one of another order".into())),
        },
        None => (high, i64::MIN),
    };
    let since = query.since.unwrap_or(i64::MIN);
    let mut statement = connection.prepare_cached(&sql)?;
    let bound = patient.map(|patient| format!(",{patient},"));
    let found = statement.query_map((kind, patient, bound, low, since, at, row, more(query.count)), |row| {
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

/// A page of the history of a type: of one patient, or of all.
fn of_type(of_patient: bool) -> String {
    // One patient's are few, and found by the compartment; all are found by their time.
    let (from, of, at, row) = match of_patient {
        false => ("version_kind t CROSS JOIN version v ON v.id = t.version", "t.kind = ?1 AND ?2 IS NULL", "t.at", "t.version"),
        true => ("compartment c CROSS JOIN version v ON v.resource = c.resource", "c.patient = ?2 AND c.kind = ?1", "v.at", "v.id"),
    };
    format!(
        "SELECT v.version, v.at, v.patients, v.body, v.id, k.name FROM {from} JOIN key k ON k.id = v.resource
         WHERE {of} AND {BOUND} AND {STANDING} AND {at} >= ?5 AND ({at}, {row}) < (?6, ?7) ORDER BY {at} DESC, {row} DESC LIMIT ?8"
    )
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
/// A version is current until the next one. That it still was at a time costs a look at the next: only where it is asked.
const STANDING: &str = "(?4 = -9223372036854775807 - 1
    OR NOT EXISTS (SELECT 1 FROM version n WHERE n.resource = v.resource AND n.version = v.version + 1 AND n.at <= ?4))";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema::LANDBRIDGE_DB;

    #[test]
    fn the_history_of_a_rare_type_is_found_among_its_own_versions() {
        let directory = tempfile::tempdir().unwrap();
        let connection = LANDBRIDGE_DB.open(directory.path()).unwrap();
        for (of_patient, expected) in [
            (false, "SEARCH t USING PRIMARY KEY (kind=? AND at>? AND (at,version)<(?,?))"),
            (true, "SEARCH c USING PRIMARY KEY (patient=? AND kind=?)"),
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", of_type(of_patient))).unwrap();
            let nothing = rusqlite::params_from_iter([None::<i64>; 8]);
            let steps = statement.query_map(nothing, |row| row.get::<_, String>(3)).unwrap();
            let plan = steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ");
            assert!(plan.contains(expected) && !plan.contains("SCAN"), "{plan}");
        }
    }
}
