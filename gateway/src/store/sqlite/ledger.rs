//! Audit entries as one file's writer appends them, and seals.

use crate::audit::Entry;
use crate::audit::chain::{Head, Heads, SealKey, Writer, digest, row_id, seal};
use crate::store::StoreError;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeSet;

/// The audit of one file, as this process writes it.
pub(super) struct Ledger {
    chain: Writer,
    /// Last bit of the file's row numbers.
    parity: i64,
    /// The writer's row, once it has one.
    row: Option<i64>,
    last: i64,
}

/// Where a ledger stood.
pub(super) struct Mark {
    head: Head,
    row: Option<i64>,
    last: i64,
}

impl Ledger {
    /// `name`: see [`Writer::new`].
    pub(super) fn new(name: String, parity: i64) -> Self {
        Self { chain: Writer::new(name), parity, row: None, last: 0 }
    }

    pub(super) fn begin(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached("SELECT coalesce(max(id), 0) FROM audit")?;
        self.last = statement.query_row([], |row| row.get(0))?;
        Ok(())
    }

    pub(super) fn append(&mut self, connection: &Connection, entry: &Entry) -> Result<(), StoreError> {
        let payload = serde_json::to_vec(entry).map_err(|_| StoreError::Refused("an audit entry cannot be written as JSON".into()))?;
        self.write(connection, entry, &payload).map_err(StoreError::from)
    }

    fn write(&mut self, connection: &Connection, entry: &Entry, payload: &[u8]) -> rusqlite::Result<()> {
        let row = match self.row {
            Some(row) => row,
            None => {
                connection.execute("INSERT OR IGNORE INTO audit_writer (name) VALUES (?1)", [self.chain.name()])?;
                connection.query_row("SELECT id FROM audit_writer WHERE name = ?1", [self.chain.name()], |row| row.get(0))?
            }
        };
        self.row = Some(row);
        let patients: BTreeSet<&String> = entry.patients.iter().collect();
        let (before, after) = self.chain.append(payload);
        self.last = row_id(self.last, entry.at, self.parity);
        let sql =
            "INSERT INTO audit (id, writer, seq, prev, hash, at, outcome, patients, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        connection.prepare_cached(sql)?.execute((
            self.last,
            row,
            after.count as i64,
            before.hash,
            after.hash,
            entry.at.as_microsecond(),
            entry.outcome,
            patients.len() as i64,
            payload,
        ))?;
        let mut statement = connection.prepare_cached("INSERT INTO audit_patient (patient, audit) VALUES (?1, ?2)")?;
        for patient in patients {
            statement.execute((patient, self.last))?;
        }
        Ok(())
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { head: self.chain.mark(), row: self.row, last: self.last }
    }

    pub(super) fn back_to(&mut self, mark: Mark) {
        self.chain.back_to(mark.head);
        (self.row, self.last) = (mark.row, mark.last);
    }

    pub(super) fn committed(&mut self) {
        self.chain.committed();
    }

    pub(super) fn rolled_back(&mut self) {
        self.chain.rolled_back();
        // The writer's row may have gone with the rest; it is looked for again.
        self.row = None;
    }
}

/// What every writer of a file has come to, as this connection sees it.
pub(super) fn heads(connection: &Connection) -> Result<Heads, StoreError> {
    let sql = "SELECT w.name, a.seq, a.hash FROM audit_writer w
               JOIN audit a ON a.writer = w.id AND a.seq = (SELECT max(seq) FROM audit WHERE writer = w.id)";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, Head { count: row.get::<_, i64>(1)?.unsigned_abs(), hash: row.get(2)? })))?;
    Ok(rows.collect::<Result<Heads, _>>()?)
}

/// Appends a seal over `heads`. `sealed`: what this process last sealed.
pub(super) fn append_seal(
    connection: &Connection,
    key: &SealKey,
    at: Timestamp,
    heads: &Heads,
    sealed: Option<&Heads>,
) -> Result<String, StoreError> {
    let last = connection
        .prepare_cached("SELECT number, line FROM audit_seal ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, digest(row.get_ref(1)?.as_str()?))))
        .optional()?;
    let (number, previous) = last.map_or((1, [0; 32]), |(number, digest)| (number + 1, digest));
    let moved = |(name, head): &(&String, &Head)| sealed.is_none_or(|sealed| sealed.get(*name) != Some(*head));
    let changed = heads.iter().filter(moved).map(|(name, head)| (name.clone(), *head)).collect();
    let line = seal(key, number.unsigned_abs(), at, &changed, heads, &previous);
    connection.execute("INSERT INTO audit_seal (number, line) VALUES (?1, ?2)", (number, &line))?;
    Ok(line)
}
