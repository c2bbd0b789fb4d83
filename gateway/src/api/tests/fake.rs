//! A store in memory: what the API may ask of one, and no more.

use crate::access::{Grant, Permission, Predicate};
use crate::audit::Entry;
use crate::intake::Warrant;
use crate::search::{Cursor, Filter, Operand, Page, Prefix, Query, Version};
use crate::store::{Arrival, AuditPage, FindingRow, JournalFilter, JournalRow, Pending, Receipt, Seen, Store, StoreError};
use contract::{Digest, Frame, Issue, Translation};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// One resource with its versions, oldest first, and what it is found by.
pub struct Row {
    /// Place in every order.
    pub number: i64,
    pub versions: Vec<Version>,
    pub index: Vec<(&'static str, Indexed)>,
}

pub enum Indexed {
    Token(&'static str, &'static str),
    Text(&'static str),
    Date(i64, i64),
    Reference(&'static str, &'static str),
}

#[derive(Default)]
pub struct Fake {
    pub rows: Vec<Row>,
    pub entries: Mutex<Vec<Entry>>,
    /// No entry can be made durable.
    pub broken: AtomicBool,
    /// Reads fail with this.
    pub failure: Mutex<Option<StoreError>>,
}

impl Fake {
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    pub fn last(&self) -> Entry {
        self.entries().pop().expect("an entry")
    }

    /// Adds a resource: one body per version, an empty one deletes.
    pub fn with(
        mut self,
        number: i64,
        kind: &str,
        id: &str,
        patients: &[&str],
        bodies: &[&str],
        index: Vec<(&'static str, Indexed)>,
    ) -> Self {
        let versions = (1..)
            .zip(bodies)
            .map(|(version, body)| Version {
                kind: kind.into(),
                id: id.into(),
                version,
                last_updated: format!("2026-11-0{version}T10:00:00.5Z").parse().unwrap(),
                body: (!body.is_empty()).then(|| {
                    format!("{{\"resourceType\":\"{kind}\",\"id\":\"{id}\",\"meta\":{{\"versionId\":\"{version}\"}}{body}}}").into_bytes()
                }),
                patients: patients.iter().map(|id| (*id).to_owned()).collect(),
            })
            .collect();
        self.rows.push(Row { number, versions, index });
        self
    }

    fn row(&self, grant: &Grant, kind: &str, id: &str) -> Result<Option<&Row>, StoreError> {
        if let Some(failure) = &*self.failure.lock().unwrap() {
            return Err(failure.clone());
        }
        let predicate = grant.predicate(kind, Permission::Read);
        Ok(self.rows.iter().find(|row| row.versions[0].kind == kind && row.versions[0].id == id && sees(&predicate, &row.versions[0])))
    }
}

fn sees(predicate: &Predicate, version: &Version) -> bool {
    match predicate {
        Predicate::Nothing => false,
        Predicate::All => true,
        Predicate::Patient(id) => version.patients.contains(id),
    }
}

fn matches(filter: &Filter, row: &Row) -> bool {
    filter.not
        ^ filter.any.iter().any(|operand| {
            if let Operand::Id(id) = operand {
                return row.versions[0].id == *id;
            }
            row.index.iter().filter(|(code, _)| *code == filter.parameter).any(|(_, indexed)| match (operand, indexed) {
                (Operand::Token { system, code }, Indexed::Token(own, value)) => {
                    system.as_deref().is_none_or(|system| system == *own) && code.as_deref().is_none_or(|code| code == *value)
                }
                (Operand::Text(prefix), Indexed::Text(value)) => value.starts_with(prefix.as_str()),
                (Operand::Date { prefix: Prefix::Eq, low, high }, Indexed::Date(from, to)) => low <= from && to <= high,
                (Operand::Date { prefix: Prefix::Ge, low, .. }, Indexed::Date(_, to)) => low < to,
                (Operand::Reference { kind, id }, Indexed::Reference(own, value)) => {
                    kind.as_deref().is_none_or(|kind| kind == *own) && id == value
                }
                _ => false,
            })
        })
}

fn entry_matches(filter: &Filter, id: &str, entry: &Entry) -> bool {
    filter.any.iter().any(|operand| match operand {
        Operand::Id(wanted) => wanted == id,
        Operand::Token { code, .. } => code.as_deref() == Some(&entry.outcome.to_string()),
        Operand::Reference { id, .. } => entry.patients.contains(id),
        Operand::Date { low, high, .. } => (*low..*high).contains(&entry.at.as_microsecond()),
        _ => false,
    })
}

fn refused<T>() -> Result<T, StoreError> {
    Err(StoreError::Refused("not part of reading".into()))
}

impl Store for Fake {
    fn read(&self, grant: &Grant, kind: &str, id: &str) -> Result<Option<Version>, StoreError> {
        Ok(self.row(grant, kind, id)?.and_then(|row| row.versions.last()).cloned())
    }

    fn vread(&self, grant: &Grant, kind: &str, id: &str, version: u64) -> Result<Option<Version>, StoreError> {
        Ok(self.row(grant, kind, id)?.and_then(|row| row.versions.iter().find(|one| one.version == version)).cloned())
    }

    fn history(&self, grant: &Grant, id: &str, query: &Query) -> Result<Option<Page>, StoreError> {
        let Some(row) = self.row(grant, &query.kind, id)? else { return Ok(None) };
        let (count, from) = (query.count, query.cursor.as_ref().map_or(i64::MAX, |cursor| cursor.after));
        let rest: Vec<&Version> = row.versions.iter().rev().filter(|one| i64::try_from(one.version).unwrap() < from).collect();
        let matches: Vec<Version> = rest.iter().take(count).map(|one| (*one).clone()).collect();
        let next = (rest.len() > count)
            .then(|| Cursor { after: matches.last().map_or(i64::MAX, |one| i64::try_from(one.version).unwrap()), keys: Vec::new() });
        Ok(Some(Page { matches, total: row.versions.len() as u64, next, ..Page::default() }))
    }

    fn changes(&self, grant: &Grant, query: &Query) -> Result<Page, StoreError> {
        let predicate = grant.predicate(&query.kind, Permission::Read);
        let rows = self.rows.iter().filter(|row| row.versions[0].kind == query.kind);
        let mut all: Vec<&Version> = rows.flat_map(|row| &row.versions).filter(|version| sees(&predicate, version)).collect();
        let since = query.since.unwrap_or(i64::MIN);
        all.retain(|version| version.last_updated.as_microsecond() >= since);
        all.sort_by_key(|version| std::cmp::Reverse(version.last_updated));
        let from = query.cursor.as_ref().map_or(0, |cursor| usize::try_from(cursor.after).unwrap());
        let matches: Vec<Version> = all.iter().skip(from).take(query.count).map(|version| (*version).clone()).collect();
        let after = from + matches.len();
        let next = (after < all.len()).then(|| Cursor { after: i64::try_from(after).unwrap(), keys: Vec::new() });
        Ok(Page { matches, next, ..Page::default() })
    }

    fn everything(&self, grant: &Grant, id: &str, query: &Query) -> Result<Option<Page>, StoreError> {
        if self.row(grant, "Patient", id)?.is_none() {
            return Ok(None);
        }
        let of =
            |row: &&Row| row.versions.last().is_some_and(|last| last.body.is_some() && last.patients.iter().any(|patient| patient == id));
        let wanted = |row: &&Row| query.kinds.is_empty() || query.kinds.contains(&row.versions[0].kind);
        let all: Vec<&Row> = self.rows.iter().filter(of).filter(wanted).collect();
        let from = query.cursor.as_ref().map_or(0, |cursor| cursor.after);
        let rest: Vec<&&Row> = all.iter().filter(|row| row.number > from).collect();
        let next = (rest.len() > query.count && query.count > 0).then(|| Cursor { after: rest[query.count - 1].number, keys: Vec::new() });
        let matches = rest.iter().take(query.count).map(|row| row.versions.last().unwrap().clone()).collect();
        let included = self.rows.iter().filter(|row| row.versions[0].kind == "Practitioner").map(|row| row.versions[0].clone()).collect();
        Ok(Some(Page { matches, included, total: all.len() as u64, next }))
    }

    fn search(&self, grant: &Grant, query: &Query) -> Result<Page, StoreError> {
        if let Some(failure) = &*self.failure.lock().unwrap() {
            return Err(failure.clone());
        }
        let predicate = grant.predicate(&query.kind, Permission::Search);
        let all: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| {
                let last = row.versions.last().unwrap();
                last.kind == query.kind
                    && last.body.is_some()
                    && sees(&predicate, last)
                    && query.filters.iter().all(|filter| matches(filter, row))
            })
            .collect();
        let from = query.cursor.as_ref().map_or(0, |cursor| cursor.after);
        let rest: Vec<&&Row> = all.iter().filter(|row| row.number > from).collect();
        let next = (rest.len() > query.count && query.count > 0).then(|| Cursor { after: rest[query.count - 1].number, keys: Vec::new() });
        let matches = rest.iter().take(query.count).map(|row| row.versions.last().unwrap().clone()).collect();
        let included = match query.includes.is_empty() {
            true => Vec::new(),
            false => self.rows.iter().filter(|row| row.versions[0].id == "a").map(|row| row.versions[1].clone()).collect(),
        };
        Ok(Page { matches, included, total: all.len() as u64, next })
    }

    fn record(&self, entry: Entry) -> Pending<()> {
        if self.broken.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(StoreError::Unavailable("SQLITE_FULL".into()))));
        }
        self.entries.lock().unwrap().push(entry);
        Box::pin(std::future::ready(Ok(())))
    }

    fn audit_search(&self, grant: &Grant, query: &Query) -> Result<AuditPage, StoreError> {
        if grant.predicate("AuditEvent", Permission::Search) != Predicate::All
            && grant.predicate("AuditEvent", Permission::Read) != Predicate::All
        {
            return Ok(AuditPage::default());
        }
        let entries = self.entries();
        let mut all: Vec<(i64, String, &Entry)> = (1_i64..)
            .zip(&entries)
            .map(|(number, entry)| (number, format!("w-{number}"), entry))
            .filter(|(_, id, entry)| query.filters.iter().all(|filter| entry_matches(filter, id, entry)))
            .collect();
        all.reverse();
        let total = all.iter().map(|(_, _, entry)| entry.patients.len().max(1) as u64).sum();
        let from = query.cursor.as_ref().map_or(i64::MAX, |cursor| cursor.after);
        let rest: Vec<&(i64, String, &Entry)> = all.iter().filter(|(number, ..)| *number < from).collect();
        let next = (rest.len() > query.count && query.count > 0).then(|| Cursor { after: rest[query.count - 1].0, keys: Vec::new() });
        let entries = rest.iter().take(query.count).map(|(_, id, entry)| (id.clone(), (*entry).clone())).collect();
        Ok(AuditPage { entries, total, next })
    }

    fn seen(&self, _: &str, _: &Digest) -> Result<Option<Seen>, StoreError> {
        refused()
    }

    fn commit(&self, _: &Warrant, _: Arrival, _: Translation) -> Pending<Receipt> {
        Box::pin(std::future::ready(refused()))
    }

    fn keep(&self, _: Arrival) -> Pending<Receipt> {
        Box::pin(std::future::ready(refused()))
    }

    fn repeat(&self, _: u64, _: Entry) -> Pending<()> {
        Box::pin(std::future::ready(refused()))
    }

    fn journal(&self, _: &JournalFilter, _: usize) -> Result<Vec<JournalRow>, StoreError> {
        refused()
    }

    fn frame(&self, _: u64) -> Result<Option<(JournalRow, Frame, Vec<Issue>)>, StoreError> {
        refused()
    }

    fn activate(&self, _: &str, _: &str) -> Pending<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn active(&self, _: &str) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn findings(&self) -> Result<Vec<FindingRow>, StoreError> {
        Ok(Vec::new())
    }

    fn watch(&self, _: jiff::Timestamp, _: &std::collections::BTreeSet<String>) -> Result<crate::store::Watch, StoreError> {
        Ok(crate::store::Watch::default())
    }

    fn certificate(&self, _: &str, _: jiff::Timestamp) -> Pending<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(&self) -> Pending<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn seal(&self, _: jiff::Timestamp) -> Pending<String> {
        Box::pin(std::future::ready(refused()))
    }
}

/// Two patients with what is known of them; B's share can be left out.
pub fn ward(with_b: bool) -> Fake {
    use Indexed::{Date, Reference, Text, Token};
    const MRN: &str = "https://hospital.example/id/mrn";
    let day = |text: &str| {
        let (low, high) = crate::search::value::interval(text, &jiff::tz::TimeZone::UTC).unwrap();
        Date(low, high)
    };
    let person = |mrn, family, born: &str| vec![("identifier", Token(MRN, mrn)), ("family", Text(family)), ("birthdate", day(born))];
    let result = |patient| vec![("patient", Reference("Patient", patient)), ("code", Token("http://loinc.org", "2823-3"))];
    let mut store = Fake::default();
    store = store.with(1, "Patient", "a", &["a"], &[r#","active":true"#, r#","active":false"#], person("MRN,1", "muller", "1970-01-31"));
    if with_b {
        store = store.with(2, "Patient", "b", &["b"], &[r#","active":true"#], person("MRN2", "muller", "1980"));
    }
    store = store.with(3, "Observation", "a1", &["a"], &[r#","valueQuantity":{"value":6.30}"#], result("a"));
    if with_b {
        store = store.with(4, "Observation", "b1", &["b"], &[r#","valueQuantity":{"value":5}"#], result("b"));
    }
    store = store.with(5, "Observation", "a2", &["a"], &[r#","valueQuantity":{"value":7.0}"#], result("a"));
    if with_b {
        store = store.with(6, "Observation", "b2", &["b"], &["", ""], result("b"));
    }
    store = store.with(7, "Observation", "a3", &["a"], &[r#","valueQuantity":{"value":1E3}"#, ""], result("a"));
    store = store.with(8, "Practitioner", "p", &[], &[r#","active":true"#], Vec::new());
    store = store.with(9, "Observation", "a4", &["a"], &[r#","status":"final""#], result("a"));
    store.with(10, "Observation", "a5", &["a"], &[r#","status":"final""#], result("a"))
}
