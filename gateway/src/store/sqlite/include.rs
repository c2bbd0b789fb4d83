//! What comes along with the matches of a search (`_include`, `_revinclude`), or with a patient's whole record: found by
//! the index or by what bodies point at, and each under the Grant's predicate of its own type.

use super::index::{Index, compartments};
use super::names::{find_key, find_kind, id_of, key_name};
use super::query::component;
use super::read::{current, patient_row};
use crate::access::{Grant, Permission, Predicate};
use crate::search::plan::Plan;
use crate::search::{Include, Version};
use crate::store::StoreError;
use contract::Json;
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeMap, BTreeSet};

/// Resources that come along with one page.
const INCLUDED_MAX: usize = 1000;

pub(super) struct Includes<'a> {
    pub(super) connection: &'a Connection,
    pub(super) index: &'a Index,
    pub(super) grant: &'a Grant,
    /// What their bodies may hold together.
    pub(super) bytes_max: usize,
    /// The one patient whose compartment bounds the search: merge edges are not crossed.
    pub(super) bound: Option<i64>,
}

/// What came along so far.
struct Found {
    /// Of matches too: nothing is given twice.
    rows: BTreeSet<i64>,
    versions: Vec<Version>,
    bytes: usize,
    bytes_max: usize,
}

impl Found {
    fn is_too_much(&self) -> bool {
        self.versions.len() > INCLUDED_MAX || self.bytes > self.bytes_max
    }
}

impl Includes<'_> {
    /// For matches of one type. `None`: more than may come along with one page.
    pub(super) fn of(&self, includes: &[Include], kind: i64, matches: &[i64]) -> Result<Option<Vec<Version>>, StoreError> {
        let mut found = self.found(matches.iter().copied().collect());
        let mut sources: Vec<(i64, i64)> = matches.iter().map(|row| (kind, *row)).collect();
        let mut first = true;
        while !sources.is_empty() {
            let mut next = Vec::new();
            for include in includes.iter().filter(|include| first || include.iterate) {
                next.extend(match include.reverse {
                    true => self.pointing(include, &sources, &mut found)?,
                    false => self.pointed(include, &sources, &mut found)?,
                });
                if found.is_too_much() {
                    return Ok(None);
                }
            }
            sources = next;
            first = false;
        }
        Ok(Some(found.versions))
    }

    /// What versions point at outside the Patient compartment, and what that points at: who and where.
    pub(super) fn supporting(&self, of: &[Version], rows: BTreeSet<i64>, kinds: &[String]) -> Result<Option<Vec<Version>>, StoreError> {
        let mut found = self.found(rows);
        let mut sources: Vec<(String, String)> = of.iter().flat_map(|version| named(version, &self.index.plan)).collect();
        while let Some((kind, id)) = sources.pop() {
            if !kinds.is_empty() && !kinds.contains(&kind) {
                continue;
            }
            let Some(kind) = find_kind(self.connection, &kind)? else { continue };
            let Some(row) = find_key(self.connection, kind, &key_name(&id))? else { continue };
            if self.take(row, Permission::Read, &mut found)?.is_some() {
                sources.extend(found.versions.last().into_iter().flat_map(|version| named(version, &self.index.plan)));
            }
            if found.is_too_much() {
                return Ok(None);
            }
        }
        Ok(Some(found.versions))
    }

    fn found(&self, rows: BTreeSet<i64>) -> Found {
        Found { rows, versions: Vec::new(), bytes: 0, bytes_max: self.bytes_max }
    }

    /// Takes a resource in, if it is there, is new, and the Grant reaches it; gives its type.
    fn take(&self, row: i64, permission: Permission, found: &mut Found) -> Result<Option<i64>, StoreError> {
        if found.rows.contains(&row) {
            return Ok(None);
        }
        let sql = "SELECT r.kind, n.name, k.name FROM resource r JOIN kind n ON n.id = r.kind JOIN key k ON k.id = r.id
            WHERE r.id = ?1 AND r.deleted = 0";
        let mut statement = self.connection.prepare_cached(sql)?;
        let resource =
            statement.query_row([row], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, id_of(row.get_ref(2)?.as_blob()?))));
        let Some((kind, name, id)) = resource.optional()? else { return Ok(None) };
        match self.grant.predicate(&name, permission) {
            Predicate::Nothing => return Ok(None),
            Predicate::All => {}
            Predicate::Patient(patient) => match patient_row(self.connection, &patient)? {
                Some(patient) if compartments(self.connection, row)?.contains(&patient) => {}
                _ => return Ok(None),
            },
        }
        let Some(version) = current(self.connection, name, id, row)? else { return Ok(None) };
        found.rows.insert(row);
        found.bytes += version.body.as_ref().map_or(0, Vec::len);
        found.versions.push(version);
        Ok(Some(kind))
    }

    /// The numbers in this file of the parameters that an include follows.
    fn parameters(&self, include: &Include) -> Vec<i64> {
        let wanted = |code: &str| include.parameter.as_deref().is_none_or(|parameter| parameter == code);
        let found = self.index.plan.references(&include.source).filter(|(_, one)| wanted(&one.code));
        found.map(|(number, _)| self.index.number(number)).collect()
    }

    /// `_include`: takes what the sources point at; gives it with its types.
    fn pointed(&self, include: &Include, sources: &[(i64, i64)], found: &mut Found) -> Result<Vec<(i64, i64)>, StoreError> {
        let Some(source) = find_kind(self.connection, &include.source)? else { return Ok(Vec::new()) };
        let target = match &include.target {
            Some(target) => match find_kind(self.connection, target)? {
                Some(target) => Some(target),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let sql = "SELECT f.target FROM reference f JOIN key k ON k.id = f.target
            WHERE f.resource = ?1 AND f.parameter = ?2 AND (?3 IS NULL OR k.kind = ?3)";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut taken = Vec::new();
        for (_, row) in sources.iter().filter(|(kind, _)| *kind == source) {
            for parameter in self.parameters(include) {
                let mut rows = statement.query((row, parameter, target))?;
                self.each(&mut rows, Permission::Read, found, &mut taken)?;
            }
        }
        Ok(taken)
    }

    /// `_revinclude`: takes what points at the sources; gives it with its types. A Patient stands for its whole merge
    /// component, as in a search.
    fn pointing(&self, include: &Include, sources: &[(i64, i64)], found: &mut Found) -> Result<Vec<(i64, i64)>, StoreError> {
        let Some(source) = find_kind(self.connection, &include.source)? else { return Ok(Vec::new()) };
        // Many may point there whom the Grant does not reach: they are not looked at, or they would use up the page.
        let patient_of_grant = match self.grant.predicate(&include.source, Permission::Search) {
            Predicate::Nothing => return Ok(Vec::new()),
            Predicate::All => None,
            Predicate::Patient(patient) => match patient_row(self.connection, &patient)? {
                Some(patient) => Some(patient),
                None => return Ok(Vec::new()),
            },
        };
        let patient = find_kind(self.connection, "Patient")?;
        let wanted = match &include.target {
            Some(target) => find_kind(self.connection, target)?,
            None => None,
        };
        let sql = match patient_of_grant {
            None => {
                "SELECT f.resource FROM reference f INDEXED BY reference_value
                WHERE f.parameter = ?1 AND f.target = ?2 AND ?3 IS NULL AND ?4 IS NOT NULL"
            }
            Some(_) => {
                "SELECT f.resource FROM compartment c CROSS JOIN reference f ON f.resource = c.resource
                WHERE f.parameter = ?1 AND f.target = ?2 AND c.patient = ?3 AND c.kind = ?4"
            }
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut taken = Vec::new();
        for (kind, row) in sources.iter().filter(|(kind, _)| include.target.is_none() || Some(*kind) == wanted) {
            let members = match self.bound {
                None if Some(*kind) == patient => component(self.connection, *row)?,
                _ => vec![*row],
            };
            for parameter in self.parameters(include) {
                for member in &members {
                    let mut rows = statement.query((parameter, member, patient_of_grant, source))?;
                    self.each(&mut rows, Permission::Search, found, &mut taken)?;
                }
            }
        }
        Ok(taken)
    }

    /// Takes what a query finds, until it is too much.
    fn each(
        &self,
        rows: &mut rusqlite::Rows<'_>,
        permission: Permission,
        found: &mut Found,
        taken: &mut Vec<(i64, i64)>,
    ) -> Result<(), StoreError> {
        while !found.is_too_much()
            && let Some(row) = rows.next()?
        {
            let row = row.get(0)?;
            taken.extend(self.take(row, permission, found)?.map(|kind| (kind, row)));
        }
        Ok(())
    }
}

/// `Type` and id of what a body points at, where that lies in no patient's compartment by its type.
fn named(version: &Version, plan: &Plan) -> Vec<(String, String)> {
    let Some(body) = version.body.as_deref().and_then(|body| Json::parse(body).ok()) else { return Vec::new() };
    let (mut names, mut open) = (BTreeMap::new(), vec![&body]);
    while let Some(json) = open.pop() {
        if let Some((kind, id)) = json.get("reference").and_then(Json::as_str).and_then(|text| text.split_once('/'))
            && kind != "Patient"
            && plan.compartment(kind).is_empty()
        {
            names.insert((kind.to_owned(), id.to_owned()), ());
        }
        match json {
            Json::Object(members) => open.extend(members.iter().map(|(_, value)| value)),
            Json::Array(items) => open.extend(items),
            _ => {}
        }
    }
    names.into_keys().collect()
}
