//! AuditEvent searches over both files: entries, newest first.

use super::query::date;
use super::read::more;
use super::sql::Sql;
use crate::access::{Grant, Permission, Predicate};
use crate::audit::Entry;
use crate::search::{Cursor, Filter, Operand, Query};
use crate::store::{AuditPage, StoreError};
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::collections::BTreeSet;

pub(super) fn search(files: [&Connection; 2], grant: &Grant, query: &Query, now: Timestamp) -> Result<AuditPage, StoreError> {
    let mut page = AuditPage::default();
    // The audit lies in no compartment: whoever is bound to a patient sees none of it.
    if grant.predicate("AuditEvent", Permission::Search) != Predicate::All
        && grant.predicate("AuditEvent", Permission::Read) != Predicate::All
    {
        return Ok(page);
    }
    let asked = Asked::new(query, now)?;
    let mut found = Vec::new();
    for connection in files {
        page.total += asked.total(connection)?;
        if query.count > 0 {
            found.extend(asked.entries(connection, query)?);
        }
    }
    // Row numbers are in order of time over both files, and never equal.
    found.sort_by_key(|(row, ..)| std::cmp::Reverse(*row));
    let cut = found.len() > query.count;
    found.truncate(query.count);
    page.next = found.last().filter(|_| cut).map(|(row, ..)| Cursor { after: *row, keys: Vec::new() });
    for (_, id, payload) in found {
        page.entries.push((id, serde_json::from_slice::<Entry>(&payload).map_err(|_| super::blob::corrupt())?));
    }
    Ok(page)
}

/// A query, compiled.
struct Asked {
    /// On `a`.
    condition: Sql,
    /// Patients of whom one must be named; an AuditEvent names one, so each filter must have it.
    patients: Option<BTreeSet<String>>,
}

impl Asked {
    fn new(query: &Query, now: Timestamp) -> Result<Self, StoreError> {
        let mut asked = Asked { condition: Sql::new("1"), patients: None };
        for filter in &query.filters {
            let unfit = || StoreError::Refused(format!("the audit is not searched by such a {}", filter.parameter));
            if filter.not {
                return Err(unfit());
            }
            if filter.parameter == "patient" {
                asked.narrow(filter).ok_or_else(unfit)?;
            } else {
                let any =
                    filter.any.iter().map(|operand| one(&filter.parameter, operand, now)).collect::<Option<Vec<_>>>().ok_or_else(unfit)?;
                asked.condition.push(" AND ").add(Sql::any(any));
            }
        }
        Ok(asked)
    }

    fn narrow(&mut self, filter: &Filter) -> Option<()> {
        let mut patients = BTreeSet::new();
        for operand in &filter.any {
            match operand {
                Operand::Reference { kind, id } if kind.as_deref().is_none_or(|kind| kind == "Patient") => {
                    patients.insert(id.clone());
                }
                Operand::Reference { .. } => {}
                _ => return None,
            }
        }
        if let Some(before) = &self.patients {
            patients.retain(|patient| before.contains(patient));
        }
        self.patients = Some(patients);
        Some(())
    }

    /// AuditEvents: one per patient named, one where none is.
    fn total(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let mut select = match &self.patients {
            None => Sql::new("SELECT coalesce(sum(max(a.patients, 1)), 0) FROM audit a WHERE "),
            Some(patients) => {
                let mut select = Sql::new("SELECT count(*) FROM audit_patient p CROSS JOIN audit a ON a.id = p.audit WHERE ");
                select.add(within("p.patient", patients)).push(" AND ");
                select
            }
        };
        select.add(self.condition.clone());
        let mut statement = connection.prepare_cached(&select.text)?;
        statement.query_row(params_from_iter(select.values), |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    }

    /// Row, id and payload.
    fn entries(&self, connection: &Connection, query: &Query) -> rusqlite::Result<Vec<(i64, String, Vec<u8>)>> {
        let mut select =
            Sql::new("SELECT a.id, w.name || '-' || a.seq, a.payload FROM audit a JOIN audit_writer w ON w.id = a.writer WHERE ");
        select.add(self.condition.clone());
        if let Some(patients) = &self.patients {
            select.push(" AND a.id IN (SELECT p.audit FROM audit_patient p WHERE ").add(within("p.patient", patients)).push(")");
        }
        let before = query.cursor.as_ref().map_or(i64::MAX, |cursor| cursor.after);
        select.add(Sql::with(" AND a.id < ? ORDER BY a.id DESC LIMIT ?", [before.into(), more(query.count).into()]));
        let mut statement = connection.prepare_cached(&select.text)?;
        let rows = statement.query_map(params_from_iter(select.values), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    }
}

/// The system of `AuditEvent.outcome`.
const OUTCOME: &str = "http://hl7.org/fhir/audit-event-outcome";

fn one(parameter: &str, operand: &Operand, now: Timestamp) -> Option<Sql> {
    match (parameter, operand) {
        ("date", Operand::Date { prefix, low, high }) => Some(date("a.at", "(a.at + 1)", *prefix, *low, *high, now)),
        ("outcome", Operand::Token { system, code }) => {
            let ours = system.as_deref().is_none_or(|system| system.is_empty() || system == OUTCOME);
            Some(match code {
                _ if !ours => Sql::new("0"),
                None => Sql::new("1"),
                // As text: `04` is not the code `4`.
                Some(code) => Sql::with("CAST(a.outcome AS TEXT) = ?", [code.clone().into()]),
            })
        }
        ("_id", Operand::Id(id)) => Some(match id.rsplit_once('-').and_then(|(writer, seq)| Some((writer, seq.parse::<i64>().ok()?))) {
            Some((writer, seq)) if id.ends_with(&format!("-{seq}")) => {
                let text = "(a.writer = (SELECT id FROM audit_writer WHERE name = ?) AND a.seq = ?)";
                Sql::with(text, [writer.to_owned().into(), seq.into()])
            }
            _ => Sql::new("0"),
        }),
        _ => None,
    }
}

fn within(column: &str, texts: &BTreeSet<String>) -> Sql {
    Sql::within(column, texts.iter().cloned().map(Value::from).collect())
}
