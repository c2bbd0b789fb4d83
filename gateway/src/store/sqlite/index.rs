//! Index rows of one resource, compared with what is there and never rewritten; and the compartments it lies in.

use super::names::Names;
use crate::search::extract::{Rows, System, Target};
use crate::search::parse::ParameterType;
use crate::search::plan::Plan;
use crate::store::StoreError;
use jiff::tz::TimeZone;
use rusqlite::types::{ToSql, Value};
use rusqlite::{Connection, params_from_iter};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The plan, with the numbers that this file has for its parameters.
pub(super) struct Index {
    pub(super) plan: Arc<Plan>,
    pub(super) zone: TimeZone,
    /// By number in the plan.
    numbers: Vec<i64>,
}

/// Where `|code` and plain codes find a token's system.
pub(super) const SYSTEM_NONE: i64 = 0;
pub(super) const SYSTEM_IMPLIED: i64 = 1;

/// One index table: its columns behind `resource`.
struct Table {
    select: &'static str,
    insert: &'static str,
    delete: &'static str,
}

const TABLES: [Table; 4] = [
    Table {
        select: "SELECT parameter, code, system FROM token WHERE resource = ?1",
        insert: "INSERT INTO token (resource, parameter, code, system) VALUES (?1, ?2, ?3, ?4)",
        delete: "DELETE FROM token WHERE resource = ?1 AND parameter = ?2 AND code = ?3 AND system = ?4",
    },
    Table {
        select: "SELECT parameter, value FROM string WHERE resource = ?1",
        insert: "INSERT INTO string (resource, parameter, value) VALUES (?1, ?2, ?3)",
        delete: "DELETE FROM string WHERE resource = ?1 AND parameter = ?2 AND value = ?3",
    },
    Table {
        select: "SELECT parameter, low, high FROM date WHERE resource = ?1",
        insert: "INSERT INTO date (resource, parameter, low, high) VALUES (?1, ?2, ?3, ?4)",
        delete: "DELETE FROM date WHERE resource = ?1 AND parameter = ?2 AND low = ?3 AND high = ?4",
    },
    Table {
        select: "SELECT parameter, target FROM reference WHERE resource = ?1",
        insert: "INSERT INTO reference (resource, parameter, target) VALUES (?1, ?2, ?3)",
        delete: "DELETE FROM reference WHERE resource = ?1 AND parameter = ?2 AND target = ?3",
    },
];

impl Index {
    /// Fits the file's parameters to the plan. Gives the resource types whose rows must be made again: of a parameter
    /// that is new, or defined otherwise than when its rows were made.
    pub(super) fn open(connection: &Connection, plan: Arc<Plan>, zone: TimeZone) -> Result<(Self, BTreeSet<String>), StoreError> {
        let name = zone.iana_name().unwrap_or("UTC").to_owned();
        let definition = |kind: &dyn std::fmt::Debug, paths: &dyn std::fmt::Debug| format!("{kind:?} {paths:?} {name}");
        // Strings are kept as they stand too: a store of before that has its rows made again.
        let exact = |kind| if kind == ParameterType::String { " exact" } else { "" };
        let mut stale = BTreeSet::new();
        let mut fit = |resource: &str, code: &str, definition: String| -> rusqlite::Result<i64> {
            let sql = "SELECT id, definition = ?3 FROM parameter WHERE resource = ?1 AND code = ?2";
            let found = connection.prepare_cached(sql)?.query_row((resource, code, &definition), |row| Ok((row.get(0)?, row.get(1)?)));
            match found {
                Ok((id, true)) => Ok(id),
                Ok((id, false)) => {
                    stale.insert(resource.to_owned());
                    connection.execute("UPDATE parameter SET definition = ?2 WHERE id = ?1", (id, definition))?;
                    Ok(id)
                }
                Err(rusqlite::Error::QueryReturnedNoRows) => {
                    stale.insert(resource.to_owned());
                    connection
                        .execute("INSERT INTO parameter (resource, code, definition) VALUES (?1, ?2, ?3)", (resource, code, definition))?;
                    Ok(connection.last_insert_rowid())
                }
                Err(error) => Err(error),
            }
        };
        let numbers = plan
            .parameters()
            .iter()
            .map(|one| fit(&one.resource, &one.code, definition(&(one.kind, &one.targets), &one.paths) + exact(one.kind)));
        let numbers = numbers.collect::<Result<_, _>>()?;
        for (resource, paths) in plan.compartments() {
            fit(resource, "compartment", definition(&"compartment", &paths))?;
        }
        Ok((Self { plan, zone, numbers }, stale))
    }

    /// The file's number for a parameter of the plan.
    pub(super) fn number(&self, parameter: usize) -> i64 {
        self.numbers[parameter]
    }

    /// Makes the rows of a resource those of its body. `fresh`: it has none yet.
    pub(super) fn write(
        &self,
        connection: &Connection,
        names: &mut Names,
        resource: i64,
        rows: &Rows,
        fresh: bool,
    ) -> Result<(), StoreError> {
        for (table, rows) in TABLES.iter().zip(self.values(connection, names, rows)?) {
            diff(connection, table, resource, rows, fresh)?;
        }
        Ok(())
    }

    /// The rows of each table, in the order of [`TABLES`].
    fn values(&self, connection: &Connection, names: &mut Names, rows: &Rows) -> Result<[Vec<Vec<Value>>; 4], StoreError> {
        let mut tokens = Vec::with_capacity(rows.tokens.len());
        for (parameter, system, code) in &rows.tokens {
            let system = match system {
                System::None => SYSTEM_NONE,
                System::Implied => SYSTEM_IMPLIED,
                System::Stated(uri) => names.system(connection, uri)?,
            };
            tokens.push(vec![self.number(*parameter).into(), code.clone().into(), system.into()]);
        }
        let strings = rows.strings.iter().map(|(parameter, text)| vec![self.number(*parameter).into(), text.clone().into()]).collect();
        let dates =
            rows.dates.iter().map(|(parameter, low, high)| vec![self.number(*parameter).into(), (*low).into(), (*high).into()]).collect();
        let mut references = Vec::with_capacity(rows.references.len());
        for (parameter, target) in &rows.references {
            references.push(vec![self.number(*parameter).into(), names.key(connection, &target.kind, &target.id)?.into()]);
        }
        Ok([tokens, strings, dates, references])
    }
}

fn diff(connection: &Connection, table: &Table, resource: i64, mut rows: Vec<Vec<Value>>, fresh: bool) -> rusqlite::Result<()> {
    let change = |sql: &str, row: &[Value]| {
        let resource = Value::Integer(resource);
        let values = std::iter::once(&resource).chain(row).map(|value| value as &dyn ToSql);
        connection.prepare_cached(sql)?.execute(params_from_iter(values)).map(drop)
    };
    if !fresh {
        let mut statement = connection.prepare_cached(table.select)?;
        let columns = statement.column_count();
        let mut stored = statement.query([resource])?;
        let mut gone = Vec::new();
        while let Some(row) = stored.next()? {
            let row = (0..columns).map(|at| row.get::<_, Value>(at)).collect::<Result<Vec<_>, _>>()?;
            match rows.iter().position(|wanted| *wanted == row) {
                Some(at) => drop(rows.swap_remove(at)),
                None => gone.push(row),
            }
        }
        gone.iter().try_for_each(|row| change(table.delete, row))?;
    }
    rows.iter().try_for_each(|row| change(table.insert, row))
}

/// The patients (key rows) in whose compartments a resource lies, by what it names. A Patient lies in its own.
pub(super) fn patients(
    connection: &Connection,
    names: &mut Names,
    kind: &str,
    resource: i64,
    targets: &BTreeSet<Target>,
) -> Result<BTreeSet<i64>, StoreError> {
    let mut patients = BTreeSet::new();
    if kind == "Patient" {
        patients.insert(resource);
    }
    for target in targets {
        let key = names.key(connection, &target.kind, &target.id)?;
        match target.kind.as_str() {
            "Patient" => {
                patients.insert(key);
            }
            // A Binary lies where the document lies that it belongs to.
            _ => patients.extend(compartments(connection, key)?),
        }
    }
    Ok(patients)
}

/// Makes the compartments of a resource these; gives whether they were others.
pub(super) fn write_compartments(
    connection: &Connection,
    kind: i64,
    resource: i64,
    before: &BTreeSet<i64>,
    patients: &BTreeSet<i64>,
) -> rusqlite::Result<bool> {
    for patient in before.difference(patients) {
        let sql = "DELETE FROM compartment WHERE patient = ?1 AND kind = ?2 AND resource = ?3";
        connection.prepare_cached(sql)?.execute((patient, kind, resource))?;
    }
    for patient in patients.difference(before) {
        let sql = "INSERT INTO compartment (patient, kind, resource) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute((patient, kind, resource))?;
    }
    Ok(before != patients)
}

/// The patients in whose compartments a resource lies now.
pub(super) fn compartments(connection: &Connection, resource: i64) -> rusqlite::Result<BTreeSet<i64>> {
    let mut statement = connection.prepare_cached("SELECT patient FROM compartment WHERE resource = ?1")?;
    let rows = statement.query_map([resource], |row| row.get(0))?;
    rows.collect()
}
