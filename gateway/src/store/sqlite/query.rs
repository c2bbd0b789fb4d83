//! Searches as SQL. One filter drives: its index finds the candidates; each other filter is tested on a candidate's own
//! rows. The Grant's predicate stands in every sub-query.

use super::include::Includes;
use super::index::{Index, SYSTEM_IMPLIED, SYSTEM_NONE};
use super::names::{find_key, find_kind, find_system, id_of, key_name};
use super::read::{current, more, patient_row};
use super::sql::Sql;
use crate::access::{Grant, Permission, Predicate};
use crate::search::parse::ParameterType;
use crate::search::{Cursor, Filter, Operand, Page, Prefix, Query, Sort, SortKey};
use crate::store::StoreError;
use jiff::Timestamp;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use std::collections::{BTreeMap, BTreeSet};

/// Alternatives that a driving filter may have; SQLite bounds the length of a compound select.
const DRIVING_ALTERNATIVES_MAX: usize = 100;
/// What of a text orders, in characters: a page's link carries it.
const SORT_CHARACTERS: usize = 100;

pub(super) fn search(
    connection: &Connection,
    index: &Index,
    grant: &Grant,
    query: &Query,
    page_bytes: usize,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let Some(search) = Search::open(connection, index, grant, query, now)? else { return Ok(page) };
    let matches = search.matches()?;
    if query.total || query.count == 0 {
        let mut count = Sql::new("SELECT count(*) FROM (");
        count.add(matches.clone()).push(")");
        let total: i64 = connection
            .prepare_cached(&count.text)
            .and_then(|mut statement| statement.query_row(params_from_iter(count.values), |row| row.get(0)))?;
        page.total = total.unsigned_abs();
        if query.count == 0 || total == 0 {
            return Ok(page);
        }
    }
    let select = search.page(matches)?;
    let found = connection.prepare_cached(&select.text).and_then(|mut statement| {
        let rows = statement.query_map(params_from_iter(select.values), |row| {
            let keys = (2..2 + query.sort.len()).map(|at| row.get_ref(at).map(sort_key)).collect::<Result<_, _>>()?;
            Ok((Cursor { after: row.get(0)?, keys }, id_of(row.get_ref(1)?.as_blob()?)))
        })?;
        rows.collect::<Result<Vec<_>, _>>()
    });
    let mut found = found?;
    if found.len() > query.count {
        found.truncate(query.count);
        page.next = found.last().map(|(last, _)| last.clone());
    }
    let (mut bytes, mut last, mut rows) = (0, Cursor::default(), Vec::new());
    for (row, id) in found {
        if let Some(version) = current(connection, query.kind.clone(), id, row.after)? {
            bytes += version.body.as_ref().map_or(0, Vec::len);
            if bytes > page_bytes && !page.matches.is_empty() {
                page.next = Some(last);
                break;
            }
            page.matches.push(version);
            rows.push(row.clone());
        }
        last = row;
    }
    // What comes along is never cut: rather fewer matches.
    let includes = Includes { connection, index, grant, bytes_max: page_bytes, bound: search.bound };
    while !query.includes.is_empty() && !page.matches.is_empty() {
        let matches: Vec<i64> = rows.iter().map(|row| row.after).collect();
        match includes.of(&query.includes, search.kind, &matches)? {
            Some(included) => {
                page.included = included;
                break;
            }
            None if rows.len() == 1 => return Err(StoreError::TooCostly),
            None => {
                rows.truncate(rows.len() / 2);
                page.matches.truncate(rows.len());
                page.next = rows.last().cloned();
            }
        }
    }
    Ok(page)
}

fn sort_key(value: ValueRef<'_>) -> SortKey {
    match value {
        ValueRef::Integer(number) => SortKey::Number(number),
        ValueRef::Text(text) => SortKey::Text(String::from_utf8_lossy(text).into_owned()),
        _ => SortKey::Nothing,
    }
}

/// What one search is made with.
struct Search<'a> {
    connection: &'a Connection,
    index: &'a Index,
    query: &'a Query,
    kind: i64,
    /// The one patient whose compartment bounds it.
    bound: Option<i64>,
    now: Timestamp,
}

impl<'a> Search<'a> {
    /// `None`: nothing matches.
    fn open(
        connection: &'a Connection,
        index: &'a Index,
        grant: &Grant,
        query: &'a Query,
        now: Timestamp,
    ) -> Result<Option<Self>, StoreError> {
        let predicate = grant.predicate(&query.kind, Permission::Search);
        let Some(kind) = find_kind(connection, &query.kind)? else { return Ok(None) };
        let bound = match predicate {
            Predicate::Nothing => return Ok(None),
            Predicate::All => None,
            Predicate::Patient(patient) => match patient_row(connection, &patient)? {
                Some(patient) => Some(patient),
                None => return Ok(None),
            },
        };
        Ok(Some(Self { connection, index, query, kind, bound, now }))
    }

    /// A select of `id`, `name` and the keys of the order, of the matches behind the cursor. The row is the last key: no two
    /// matches are equal, and none is told twice when others come between.
    fn page(&self, matches: Sql) -> Result<Sql, StoreError> {
        let sort = &self.query.sort;
        let mut select = Sql::new("SELECT m.id, k.name");
        for at in 0..sort.len() {
            select.push(&format!(", m.s{at}"));
        }
        select.push(" FROM (SELECT m.id AS id");
        for (at, sort) in sort.iter().enumerate() {
            select.push(", (").add(self.key(sort)?).push(&format!(") AS s{at}"));
        }
        select.push(" FROM (").add(matches).push(") m) m JOIN key k ON k.id = m.id WHERE ");
        select.add(match &self.query.cursor {
            Some(cursor) if cursor.keys.len() == sort.len() => beyond(sort, cursor),
            Some(_) => return Err(StoreError::Refused("the page is one of another order".into())),
            None => Sql::new("1"),
        });
        select.push(" ORDER BY ");
        for (at, sort) in sort.iter().enumerate() {
            select.push(&format!("m.s{at} IS NULL, m.s{at} {}, ", if sort.descending { "DESC" } else { "ASC" }));
        }
        select.add(Sql::with("m.id LIMIT ?", [more(self.query.count).into()]));
        Ok(select)
    }

    /// What a match is ordered by: a select of one value.
    fn key(&self, sort: &Sort) -> Result<Sql, StoreError> {
        if sort.parameter == "_lastUpdated" {
            return Ok(Sql::new("SELECT v.at FROM resource r JOIN version v ON v.id = r.current WHERE r.id = m.id"));
        }
        let found = self.index.plan.parameter(&self.query.kind, &sort.parameter);
        let wrong = || StoreError::Refused(format!("the parameter {} is not indexed, or orders nothing", sort.parameter));
        let (number, parameter) = found.ok_or_else(wrong)?;
        let (table, least, greatest) = match parameter.kind {
            ParameterType::Date => ("date", "min(t.low)".to_owned(), "max(t.high)".to_owned()),
            ParameterType::String => ("string", text_key("min(t.value)"), text_key("max(t.value)")),
            ParameterType::Token => ("token", text_key("min(t.code)"), text_key("max(t.code)")),
            ParameterType::Reference => return Err(wrong()),
        };
        let value = if sort.descending { greatest } else { least };
        let text = format!("SELECT {value} FROM {table} t WHERE t.resource = m.id AND +t.parameter = ? AND ");
        let mut key = Sql::with(&text, [self.index.number(number).into()]);
        key.add(self.granted("t.resource"));
        Ok(key)
    }

    /// A select of `id`, of every resource that matches.
    fn matches(&self) -> Result<Sql, StoreError> {
        let mut tests = self.query.filters.iter().map(|filter| self.test(filter)).collect::<Result<Vec<_>, _>>()?;
        // The compartment is the better driver where no filter is narrower.
        let driver = (0..tests.len()).min_by_key(|at| tests[*at].width).filter(|at| tests[*at].width < self.width());
        let mut select = Sql::new("SELECT r.id AS id FROM (");
        match driver {
            Some(at) => select.add(self.drive(tests.swap_remove(at))).push(") d CROSS JOIN resource r ON r.id = d.id"),
            None => select.add(self.all()).push(") d CROSS JOIN resource r ON r.id = d.id"),
        };
        select.add(Sql::with(" WHERE r.kind = ? AND r.deleted = 0", [self.kind.into()]));
        select.push(" AND ").add(self.granted("r.id"));
        for test in tests {
            select.push(" AND ").add(self.check(test));
        }
        Ok(select)
    }

    /// The Grant's predicate on a resource's row.
    fn granted(&self, column: &str) -> Sql {
        match self.bound {
            None => Sql::new("1"),
            Some(patient) => {
                let text = format!("EXISTS (SELECT 1 FROM compartment c WHERE c.patient = ? AND c.kind = ? AND c.resource = {column})");
                Sql::with(&text, [patient.into(), self.kind.into()])
            }
        }
    }

    /// Every resource of the type that the Grant reaches.
    fn all(&self) -> Sql {
        match self.bound {
            None => Sql::with(
                "SELECT a.id AS id FROM resource a INDEXED BY resource_kind WHERE a.kind = ? AND a.deleted = 0",
                [self.kind.into()],
            ),
            Some(patient) => Sql::with(
                "SELECT a.resource AS id FROM compartment a WHERE a.patient = ? AND a.kind = ?",
                [patient.into(), self.kind.into()],
            ),
        }
    }

    /// How many that may be, by rank.
    fn width(&self) -> u8 {
        if self.bound.is_some() { 3 } else { u8::MAX }
    }

    fn drive(&self, test: Test) -> Sql {
        let Some((table, parameter)) = test.on else {
            let mut select = match test.since {
                None => Sql::new("SELECT t.id AS id FROM resource t WHERE "),
                Some(since) => Sql::with(
                    "SELECT t.id AS id FROM version_kind l CROSS JOIN resource t ON t.id = l.resource AND t.current = l.version
                     WHERE l.kind = ? AND l.at >= ? AND ",
                    [self.kind.into(), since.into()],
                ),
            };
            select.add(Sql::any(test.any)).push(" AND ").add(self.granted("t.id"));
            return select;
        };
        let (many, mut select) = (test.any.len() > DRIVING_ALTERNATIVES_MAX, Sql::default());
        let alternatives = if many { vec![Sql::any(test.any)] } else { test.any };
        for (at, condition) in alternatives.into_iter().enumerate() {
            // UNION, also with itself, gives each resource once.
            let text = format!("SELECT t.resource AS id FROM {table} t INDEXED BY {table}_value WHERE t.parameter = ? AND ");
            let mut one = Sql::with(&text, [parameter.into()]);
            one.add(condition).push(" AND ").add(self.granted("t.resource"));
            select.push(if at > 0 { " UNION " } else { "" }).add(one);
        }
        if select.text.is_empty() {
            return Sql::new("SELECT NULL AS id WHERE 0");
        }
        let mut distinct = Sql::new("SELECT DISTINCT id FROM (");
        distinct.add(select).push(")");
        distinct
    }

    fn check(&self, test: Test) -> Sql {
        let Some((table, parameter)) = test.on else {
            let mut condition = Sql::any(test.any);
            condition.text = condition.text.replace("t.id", "r.id").replace("t.current", "r.current");
            return condition;
        };
        // The plus keeps the other index away: a resource has few rows, a parameter many.
        let not = if test.not { "NOT " } else { "" };
        let mut exists = Sql::with(
            &format!("{not}EXISTS (SELECT 1 FROM {table} t WHERE t.resource = r.id AND +t.parameter = ? AND "),
            [parameter.into()],
        );
        exists.add(Sql::any(test.any)).push(" AND ").add(self.granted("t.resource")).push(")");
        exists
    }

    fn test(&self, filter: &Filter) -> Result<Test, StoreError> {
        if filter.parameter == "_id" {
            let mut rows = Vec::new();
            for operand in &filter.any {
                let Operand::Id(id) = operand else { return Err(unfit(filter)) };
                rows.extend(find_key(self.connection, self.kind, &key_name(id))?.map(Value::from));
            }
            return Ok(Test { on: None, any: vec![Sql::within("t.id", rows)], not: false, width: 0, since: None });
        }
        if filter.parameter == "_lastUpdated" {
            let since = filter.any.iter().map(|operand| since(operand, self.now)).try_fold(i64::MAX, |least, one| Some(least.min(one?)));
            // Where there is a beginning, all versions since then are looked through.
            let width = if since.is_some() { 8 } else { u8::MAX };
            let mut updated = Sql::new("EXISTS (SELECT 1 FROM version v WHERE v.id = t.current AND ");
            updated.add(Sql::any(self.dates(filter, ("v.at", "v.at + 1"))?)).push(")");
            return Ok(Test { on: None, any: vec![updated], not: false, width, since });
        }
        let found = self.index.plan.parameter(&self.query.kind, &filter.parameter);
        let (number, parameter) = found.ok_or_else(|| unfit(filter))?;
        let number = self.index.number(number);
        // What is not there drives nothing.
        let test = |table, any, width| Test {
            on: Some((table, number)),
            any,
            not: filter.not,
            width: if filter.not { u8::MAX } else { width },
            since: None,
        };
        let table = match parameter.kind {
            ParameterType::Token => "token",
            ParameterType::String => "string",
            ParameterType::Date => "date",
            ParameterType::Reference => "reference",
        };
        if let [Operand::Missing(missing)] = filter.any.as_slice() {
            let width = if *missing { u8::MAX } else { 9 };
            return Ok(Test { on: Some((table, number)), any: vec![Sql::new("1")], not: *missing, width, since: None });
        }
        if filter.any.iter().all(|operand| matches!(operand, Operand::Exact(_))) && parameter.kind == ParameterType::String {
            // Strings as they stand are kept among the tokens, under their own parameter.
            let texts =
                filter.any.iter().filter_map(|operand| if let Operand::Exact(text) = operand { Some(text.clone().into()) } else { None });
            return Ok(test("token", vec![Sql::within("t.code", texts.collect())], 4));
        }
        match parameter.kind {
            ParameterType::Token => {
                let narrow = filter.any.iter().all(|operand| matches!(operand, Operand::Token { system: Some(_), code: Some(_) }));
                let width = if filter.parameter == "identifier" { 1 } else { 5 } + u8::from(!narrow);
                Ok(test(table, self.tokens(filter)?, width))
            }
            ParameterType::String => {
                let anywhere = filter.any.iter().any(|operand| matches!(operand, Operand::Contains(_)));
                Ok(test(table, self.strings(filter)?, if anywhere { 8 } else { 4 }))
            }
            ParameterType::Date => Ok(test(table, self.dates(filter, ("t.low", "t.high"))?, 7)),
            ParameterType::Reference => Ok(test(table, vec![self.references(filter)?], 2)),
        }
    }

    fn tokens(&self, filter: &Filter) -> Result<Vec<Sql>, StoreError> {
        // Codes together, by the systems that they may be of.
        let mut codes: BTreeMap<Option<Vec<i64>>, Vec<Value>> = BTreeMap::new();
        let mut whole = BTreeSet::new();
        for operand in &filter.any {
            let Operand::Token { system, code } = operand else { return Err(unfit(filter)) };
            let systems = match system.as_deref() {
                None => None,
                Some("") => Some(vec![SYSTEM_NONE, SYSTEM_IMPLIED]),
                Some(uri) => {
                    let mut systems: Vec<i64> = find_system(self.connection, uri)?.into_iter().collect();
                    // A code without a system has that of its element's required binding: one of FHIR's own.
                    if uri.starts_with("http://hl7.org/fhir/") {
                        systems.push(SYSTEM_IMPLIED);
                    }
                    Some(systems)
                }
            };
            match (code, systems) {
                (Some(code), systems) => codes.entry(systems).or_default().push(code.clone().into()),
                (None, systems) => whole.extend(systems.into_iter().flatten().filter(|system| *system != SYSTEM_IMPLIED)),
            }
        }
        let mut any = Vec::new();
        for (systems, codes) in codes {
            let mut condition = Sql::within("t.code", codes);
            if let Some(systems) = systems {
                condition.push(" AND ").add(Sql::within("t.system", systems.into_iter().map(Value::from).collect()));
            }
            any.push(condition);
        }
        if !whole.is_empty() {
            any.push(Sql::within("t.system", whole.into_iter().map(Value::from).collect()));
        }
        Ok(any)
    }

    fn strings(&self, filter: &Filter) -> Result<Vec<Sql>, StoreError> {
        let one = |operand: &Operand| match operand {
            // No character sorts behind the last.
            Operand::Text(prefix) => {
                let end = format!("{prefix}{}", char::MAX);
                Ok(Sql::with("(t.value >= ? AND t.value < ?)", [prefix.clone().into(), end.into()]))
            }
            Operand::Contains(part) => Ok(Sql::with("instr(t.value, ?) > 0", [part.clone().into()])),
            _ => Err(unfit(filter)),
        };
        filter.any.iter().map(one).collect()
    }

    fn dates(&self, filter: &Filter, (from, to): (&str, &str)) -> Result<Vec<Sql>, StoreError> {
        let one = |operand: &Operand| match operand {
            Operand::Date { prefix, low, high } => Ok(date(from, to, *prefix, *low, *high, self.now)),
            _ => Err(unfit(filter)),
        };
        filter.any.iter().map(one).collect()
    }

    /// A Patient stands for its whole merge component, unless the Grant is one patient's: that does not cross edges.
    fn references(&self, filter: &Filter) -> Result<Sql, StoreError> {
        let mut targets = BTreeSet::new();
        for operand in &filter.any {
            let Operand::Reference { kind, id } = operand else { return Err(unfit(filter)) };
            for key in self.keys(kind.as_deref(), id)? {
                targets.insert(key);
                if self.bound.is_none() {
                    targets.extend(component(self.connection, key)?);
                }
            }
        }
        Ok(Sql::within("t.target", targets.into_iter().map(Value::from).collect()))
    }

    /// Key rows of a reference: of any type, where none is stated.
    fn keys(&self, kind: Option<&str>, id: &str) -> Result<Vec<i64>, StoreError> {
        let kind = match kind {
            Some(kind) => match find_kind(self.connection, kind)? {
                Some(kind) => Some(kind),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let mut statement = self.connection.prepare_cached("SELECT id FROM key WHERE name = ?1 AND (?2 IS NULL OR kind = ?2)")?;
        let rows = statement.query_map((key_name(id), kind), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn text_key(value: &str) -> String {
    format!("substr({value}, 1, {SORT_CHARACTERS})")
}

/// Behind the cursor: behind it by the first key, or equal to it there and behind it by the next; and at last by its row.
fn beyond(sort: &[Sort], cursor: &Cursor) -> Sql {
    let value = |key: &SortKey| match key {
        SortKey::Nothing => Value::Null,
        SortKey::Number(number) => Value::Integer(*number),
        SortKey::Text(text) => Value::Text(text.clone()),
    };
    let (mut alternatives, mut equal) = (Vec::new(), Sql::new("(1"));
    for (at, (sort, key)) in sort.iter().zip(&cursor.keys).enumerate() {
        if *key != SortKey::Nothing {
            let comparison = if sort.descending { "<" } else { ">" };
            let mut one = equal.clone();
            one.add(Sql::with(&format!(" AND (m.s{at} {comparison} ? OR m.s{at} IS NULL))"), [value(key)]));
            alternatives.push(one);
        }
        equal.add(Sql::with(&format!(" AND m.s{at} IS ?"), [value(key)]));
    }
    equal.add(Sql::with(" AND m.id > ?)", [cursor.after.into()]));
    alternatives.push(equal);
    Sql::any(alternatives)
}

/// One filter, compiled.
struct Test {
    /// Index table and parameter; `None`: on the resource itself.
    on: Option<(&'static str, i64)>,
    /// Alternatives, on `t`.
    any: Vec<Sql>,
    /// None of them may hold.
    not: bool,
    /// How many resources it may find, by rank.
    width: u8,
    /// Of `_lastUpdated`: nothing older is found.
    since: Option<i64>,
}

/// The earliest time that an operand of `_lastUpdated` finds; `None`: there is none.
fn since(operand: &Operand, now: Timestamp) -> Option<i64> {
    let Operand::Date { prefix, low, high } = operand else { return None };
    match prefix {
        Prefix::Eq | Prefix::Ge => Some(*low),
        Prefix::Gt | Prefix::Sa => Some(*high),
        Prefix::Ap => Some(low.saturating_sub(tenth(*low, now))),
        Prefix::Ne | Prefix::Lt | Prefix::Le | Prefix::Eb => None,
    }
}

/// A tenth of the time between now and a date.
fn tenth(at: i64, now: Timestamp) -> i64 {
    now.as_microsecond().abs_diff(at).try_into().unwrap_or(i64::MAX) / 10
}

/// All Patients that merges tie to this one; itself included.
pub(super) fn component(connection: &Connection, patient: i64) -> rusqlite::Result<Vec<i64>> {
    let sql = "WITH RECURSIVE member (id) AS (
                   VALUES (?1)
                   UNION SELECT e.survivor FROM member m JOIN edge e ON e.loser = m.id
                   UNION SELECT e.loser FROM member m JOIN edge e ON e.survivor = m.id
               ) SELECT id FROM member";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([patient], |row| row.get(0))?;
    rows.collect::<Result<Vec<_>, _>>()
}

/// Both are intervals: `[low, high)` asked, the columns stored (R4 search.html §3.1.1.4.9). A missing end is infinity, and
/// nothing contains infinity.
pub(super) fn date(from: &str, to: &str, prefix: Prefix, low: i64, high: i64, now: Timestamp) -> Sql {
    let contained = || {
        let text = format!("({from} >= ? AND {to} <= ? AND {from} > {} AND {to} < {})", i64::MIN, i64::MAX);
        Sql::with(&text.replace(&i64::MIN.to_string(), "-9223372036854775807 - 1"), [low.into(), high.into()])
    };
    let compare = |text: String, value: i64| Sql::with(&text, [value.into()]);
    match prefix {
        Prefix::Eq => contained(),
        Prefix::Ne => {
            let mut not = Sql::new("NOT ");
            not.add(contained());
            not
        }
        Prefix::Gt => compare(format!("{to} > ?"), high),
        Prefix::Lt => compare(format!("{from} < ?"), low),
        Prefix::Ge => Sql::any(vec![compare(format!("{to} > ?"), high), contained()]),
        Prefix::Le => Sql::any(vec![compare(format!("{from} < ?"), low), contained()]),
        Prefix::Sa => compare(format!("{from} >= ?"), high),
        Prefix::Eb => compare(format!("{to} <= ?"), low),
        Prefix::Ap => {
            let (low, high) = (low.saturating_sub(tenth(low, now)), high.saturating_add(tenth(high, now)));
            Sql::with(&format!("({from} < ? AND {to} > ?)"), [high.into(), low.into()])
        }
    }
}

fn unfit(filter: &Filter) -> StoreError {
    StoreError::Refused(format!("the parameter {} is not indexed, or not for such a value", filter.parameter))
}

/// SQLite's plan for a page of a search.
#[cfg(test)]
pub(super) fn explain(connection: &Connection, index: &Index, grant: &Grant, query: &Query) -> Result<Vec<String>, StoreError> {
    let Some(search) = Search::open(connection, index, grant, query, Timestamp::UNIX_EPOCH)? else { return Ok(Vec::new()) };
    let page = search.page(search.matches()?)?;
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", page.text))?;
    let rows = statement.query_map(params_from_iter(page.values), |row| row.get::<_, String>(3))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
