//! What made a record: the messages behind a patient and what lies in its compartment, each with what it changed.

use super::fold::ids;
use super::index::Index;
use super::journal;
use super::mend::{bare, mends};
use super::names::{find_system, id_of};
use super::query::component;
use super::read::patient_row;
use crate::state::differences;
use crate::store::{Changed, Mend, MendAction, Moment, Record, StoreError};
use jiff::Timestamp;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};

/// When it was stored, by which position.
type Step = (i64, u64);

/// `None`: no resource of that patient ever was. Merged patients are one record.
pub(super) fn record(connection: &Connection, patient: &str) -> Result<Option<Record>, StoreError> {
    let Some(row) = patient_row(connection, patient)? else { return Ok(None) };
    let members = component(connection, row)?;
    let mut steps: BTreeMap<Step, Vec<Changed>> = BTreeMap::new();
    let mut positions: BTreeSet<u64> = BTreeSet::new();
    let resources = resources(connection, &members)?;
    if resources.is_empty() {
        return Ok(None);
    }
    for (address, resource) in resources {
        versions(connection, resource, &address, &mut steps)?;
        let mut statement = connection.prepare_cached("SELECT position FROM touch WHERE resource = ?1")?;
        let rows = statement.query_map([resource], |row| row.get::<_, i64>(0).map(i64::unsigned_abs))?;
        positions.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    positions.extend(steps.keys().map(|(_, position)| *position));
    let mut moments = BTreeMap::new();
    for position in positions {
        moments_of(connection, position, &mut steps, &mut moments)?;
    }
    Ok(Some(Record { patients: ids(connection, members)?, moments: moments.into_values().collect() }))
}

/// Ids of the Patients that have an identifier.
pub(super) fn patients_with(connection: &Connection, index: &Index, system: &str, value: &str) -> Result<Vec<String>, StoreError> {
    let Some((parameter, _)) = index.plan.parameter("Patient", "identifier") else { return Ok(Vec::new()) };
    let Some(system) = find_system(connection, system)? else { return Ok(Vec::new()) };
    let sql = "SELECT resource FROM token WHERE parameter = ?1 AND code = ?2 AND system = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((index.number(parameter), value, system), |row| row.get(0))?;
    ids(connection, rows.collect::<Result<Vec<i64>, _>>()?)
}

/// Every resource that lies in one of these compartments, or lay there when it was deleted.
fn resources(connection: &Connection, patients: &[i64]) -> Result<BTreeMap<String, i64>, StoreError> {
    let sql = "SELECT n.name, k.name, k.id FROM compartment c JOIN key k ON k.id = c.resource JOIN kind n ON n.id = k.kind
               WHERE c.patient = ?1";
    let mut found = BTreeMap::new();
    let mut statement = connection.prepare_cached(sql)?;
    for patient in patients {
        let rows = statement
            .query_map([patient], |row| Ok((format!("{}/{}", row.get::<_, String>(0)?, id_of(row.get_ref(1)?.as_blob()?)), row.get(2)?)))?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

/// Each version of a resource, as what it changed in the one before; no more than two bodies are held.
fn versions(connection: &Connection, resource: i64, address: &str, steps: &mut BTreeMap<Step, Vec<Changed>>) -> Result<(), StoreError> {
    let sql = "SELECT version, at, position, body FROM version WHERE resource = ?1 ORDER BY version";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([resource])?;
    let mut before = None;
    while let Some(row) = rows.next()? {
        let after = row.get::<_, Option<Vec<u8>>>(3)?.map(|body| bare(&body)).transpose()?;
        let changed = Changed {
            address: address.to_owned(),
            version: row.get::<_, i64>(0)?.unsigned_abs(),
            is_deleted: after.is_none(),
            differences: if after.is_none() { Vec::new() } else { differences(before.as_ref(), after.as_ref()) },
        };
        steps.entry((row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs())).or_default().push(changed);
        before = after;
    }
    Ok(())
}

/// The message at a position, and what was done about it since; each with what it changed.
fn moments_of(
    connection: &Connection,
    position: u64,
    steps: &mut BTreeMap<Step, Vec<Changed>>,
    moments: &mut BTreeMap<Step, Moment>,
) -> Result<(), StoreError> {
    let Some(row) = journal::one(connection, position)? else { return Ok(()) };
    let (made, about): (Vec<Mend>, Vec<Mend>) = mends(connection, position)?.into_iter().partition(|mend| mend.version == Some(position));
    for mend in about.into_iter().filter(|mend| mend.action != MendAction::Edit) {
        let step = (mend.at.as_microsecond(), position);
        let changes = steps.remove(&step).unwrap_or_default();
        moments.insert(step, Moment { at: mend.at, row: row.clone(), mend: Some(mend), changes });
    }
    let mut own: Vec<Step> = steps.keys().filter(|(_, other)| *other == position).copied().collect();
    if own.is_empty() {
        own.push((row.received.as_microsecond(), position));
    }
    for step in own {
        let at = Timestamp::from_microsecond(step.0).unwrap_or(row.received);
        let changes = steps.remove(&step).unwrap_or_default();
        moments.insert(step, Moment { at, row: row.clone(), mend: made.first().cloned(), changes });
    }
    Ok(())
}
