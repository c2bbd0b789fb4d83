//! `$everything`: what lies in a Patient's compartment, page by page, with who and where it points at.

use super::include::Includes;
use super::index::Index;
use super::names::{find_kind, id_of};
use super::query::component;
use super::read::{current, more, reach};
use super::sql::Sql;
use crate::access::{Grant, Permission, Predicate};
use crate::search::{Cursor, Page, Query};
use crate::store::StoreError;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::collections::BTreeSet;

/// `None`: the Grant does not reach the Patient. A Patient stands for its merge component, unless the Grant is its own.
pub(super) fn everything(
    connection: &Connection,
    index: &Index,
    grant: &Grant,
    id: &str,
    query: &Query,
    bytes_max: usize,
) -> Result<Option<Page>, StoreError> {
    let Some(reached) = reach(connection, grant, "Patient", id)? else { return Ok(None) };
    let mut page = Page::default();
    let (kinds, bound) = kinds(connection, index, grant, query, id)?;
    let patients = match reached.bound.or(bound.then_some(reached.row)) {
        Some(patient) => vec![patient],
        None => component(connection, reached.row)?,
    };
    let mut matching = Sql::new("SELECT DISTINCT c.resource AS id FROM compartment c JOIN resource r ON r.id = c.resource WHERE ");
    matching.add(Sql::within("c.patient", patients.into_iter().map(Value::from).collect())).push(" AND ");
    matching.add(Sql::within("c.kind", kinds)).push(" AND r.deleted = 0");
    if let Some(since) = query.since {
        matching.add(Sql::with(" AND EXISTS (SELECT 1 FROM version v WHERE v.id = r.current AND v.at >= ?)", [since.into()]));
    }
    let mut count = Sql::new("SELECT count(*) FROM (");
    count.add(matching.clone()).push(")");
    let total: i64 = connection
        .prepare_cached(&count.text)
        .and_then(|mut statement| statement.query_row(params_from_iter(count.values), |row| row.get(0)))?;
    page.total = total.unsigned_abs();
    if query.count == 0 || total == 0 {
        return Ok(Some(page));
    }
    // The Patient first: its row may be a late one.
    let (own, after) = (reached.row, query.cursor.as_ref().map(|cursor| cursor.after));
    let place = format!("iif(m.id = {own}, 0, m.id)");
    let mut select = Sql::new("SELECT m.id, n.name, k.name FROM (");
    select.add(matching).push(") m JOIN key k ON k.id = m.id JOIN kind n ON n.id = k.kind WHERE ");
    select.add(Sql::with(&format!("{place} > ? ORDER BY {place} LIMIT ?"), [after.unwrap_or(-1).into(), more(query.count).into()]));
    let found = connection.prepare_cached(&select.text).and_then(|mut statement| {
        let rows = statement.query_map(params_from_iter(select.values), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, id_of(row.get_ref(2)?.as_blob()?)))
        })?;
        rows.collect::<Result<Vec<_>, _>>()
    })?;
    let (mut bytes, mut rows) = (0, Vec::new());
    for (row, kind, id) in found {
        let Some(version) = current(connection, kind, id, row)? else { continue };
        bytes += version.body.as_ref().map_or(0, Vec::len);
        if rows.len() == query.count || (bytes > bytes_max && !rows.is_empty()) {
            page.next = rows.last().map(|row| at(own, *row));
            break;
        }
        rows.push(row);
        page.matches.push(version);
    }
    let includes = Includes { connection, index, grant, bytes_max, bound: reached.bound };
    loop {
        let taken: BTreeSet<i64> = rows.iter().copied().collect();
        match includes.supporting(&page.matches, taken, &query.kinds)? {
            Some(included) => {
                page.included = included;
                return Ok(Some(page));
            }
            None if rows.len() == 1 => return Err(StoreError::TooCostly),
            None => {
                rows.truncate(rows.len() / 2);
                page.matches.truncate(rows.len());
                page.next = rows.last().map(|row| at(own, *row));
            }
        }
    }
}

fn at(own: i64, row: i64) -> Cursor {
    Cursor { after: if row == own { 0 } else { row }, keys: Vec::new() }
}

/// The types of the compartment that are asked for, and that the Grant lets be searched: all of them, or those of this
/// Patient (a Grant for another's reaches none); and whether it is this Patient's alone for any of them.
fn kinds(connection: &Connection, index: &Index, grant: &Grant, query: &Query, id: &str) -> Result<(Vec<Value>, bool), StoreError> {
    let (mut kinds, mut bound) = (Vec::new(), false);
    for kind in index.plan.compartments().map(|(kind, _)| kind).chain(["Patient"]) {
        let reached = match grant.predicate(kind, Permission::Search) {
            Predicate::Nothing => false,
            Predicate::All => true,
            Predicate::Patient(patient) => {
                bound = true;
                patient == id
            }
        };
        if reached
            && (query.kinds.is_empty() || query.kinds.iter().any(|wanted| wanted == kind))
            && let Some(row) = find_kind(connection, kind)?
        {
            kinds.push(row.into());
        }
    }
    Ok((kinds, bound))
}
