//! The audit held against its own chains, and against the seals: those in the store, and those that left the machine.

use super::{Hash, Head, Heads, SealPublic, Sealed, digest, root};
use crate::audit::Entry;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

/// Faults told one by one; more are counted.
const FAULTS_TOLD_MAX: usize = 100;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries read, over all writers.
    pub entries: u64,
    pub writers: usize,
    /// Seals in the store.
    pub seals: u64,
    /// Seals read from outside the store.
    pub seals_outside: u64,
    /// Entries that no seal covers yet: a cut of these would not show.
    pub unsealed: u64,
    pub last_seal: Option<Timestamp>,
    /// The first [`FAULTS_TOLD_MAX`].
    pub faults: Vec<Fault>,
    pub faults_count: u64,
}

impl Report {
    pub fn is_intact(&self) -> bool {
        self.faults_count == 0
    }

    pub(crate) fn fault(&mut self, place: impl Into<String>, reason: &'static str) {
        self.faults_count += 1;
        if self.faults.len() < FAULTS_TOLD_MAX {
            self.faults.push(Fault { place: place.into(), reason });
        }
    }
}

/// Where the audit is broken, and how. Holds nothing of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `access.db: entry WRITER-SEQ`, `seal 12`, `seals file line 3`.
    pub place: String,
    pub reason: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// Verifies the audit in a store's folder; `seals`: the file of seals outside it, where there is one. Works beside a
/// running gateway. `Err`: there is nothing to verify, or a file cannot be read at all.
pub fn verify(directory: &Path, seals: Option<&Path>, key: &SealPublic) -> io::Result<Report> {
    // What stands outside by now must be inside; what is added there while we read is not looked at.
    let outside = seals.map(open_seals).transpose()?;
    let mut report = Report::default();
    if !directory.join(FILES[0].0).is_file() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} holds no {}", directory.display(), FILES[0].0)));
    }
    let mut files = Vec::new();
    for (name, parity) in FILES {
        if !directory.join(name).is_file() {
            report.fault(name, "is missing");
            continue;
        }
        match File::open(directory, name, parity) {
            Ok(file) => files.push(file),
            Err(_) => report.fault(name, "cannot be read as a database"),
        }
    }
    let mut heads = Heads::new();
    for file in &files {
        if file.whole(&mut report).and_then(|()| file.chains(&mut report, &mut heads)).is_err() {
            report.fault(file.name, "cannot be read to the end");
        }
    }
    report.entries = heads.values().map(|head| head.count).sum();
    report.writers = heads.len();
    let mut seals = Seals { files: &files, key, covered: Heads::new(), previous: [0; 32], number: 0 };
    if let Some(landbridge) = files.iter().find(|file| file.name == FILES[0].0)
        && seals.inside(landbridge, &mut report).is_err()
    {
        report.fault("seals", "cannot be read to the end");
    }
    if let Some(outside) = outside {
        seals.outside(outside, &mut report)?;
        if report.seals > 0 && report.seals_outside == 0 {
            report.fault("seals file", "holds no seal, though the store was sealed");
        }
    }
    for (name, head) in &heads {
        let count = seals.covered.get(name).map_or(0, |sealed| sealed.count);
        report.unsealed += head.count.saturating_sub(count);
    }
    Ok(report)
}

/// Before it is opened: what is no file (a pipe, a device) may never give a byte, and never end.
fn open_seals(path: &Path) -> io::Result<BufReader<io::Take<std::fs::File>>> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {}", path.display(), error.kind()));
    let known = std::fs::metadata(path).map_err(told)?;
    if !known.is_file() {
        let reason =
            format!("{}: not a regular file; bring the seals that left the machine into one, and name that with --seals", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let file = std::fs::File::open(path).map_err(told)?;
    Ok(BufReader::new(file.take(known.len())))
}

/// The row number of an entry, after the last of its file: in order of time over both files, and never twice.
/// `parity`: the file's last bit.
pub(crate) fn row_id(last: i64, at: Timestamp, parity: i64) -> i64 {
    ((last & !1) + 2 + parity).max(at.as_microsecond().saturating_mul(2) + parity)
}

/// The store's files, and the last bit of their entries' row numbers.
const FILES: [(&str, i64); 2] = [("landbridge.db", 0), ("access.db", 1)];

/// One file, as it was when it was opened.
struct File {
    name: &'static str,
    parity: i64,
    connection: Connection,
}

impl File {
    fn open(directory: &Path, name: &'static str, parity: i64) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(directory.join(name), flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch("BEGIN; SELECT count(*) FROM audit_writer;")?;
        Ok(Self { name, parity, connection })
    }

    /// The hash of one entry.
    fn hash(&self, writer: &str, count: u64) -> Option<Hash> {
        let sql = "SELECT hash FROM audit WHERE writer = (SELECT id FROM audit_writer WHERE name = ?1) AND seq = ?2";
        let mut statement = self.connection.prepare_cached(sql).ok()?;
        statement.query_row((writer, i64::try_from(count).ok()?), |row| row.get(0)).ok()
    }

    /// The database's own order: tables and their indexes say the same.
    fn whole(&self, report: &mut Report) -> rusqlite::Result<()> {
        for table in ["audit", "audit_patient", "audit_writer", "audit_seal"] {
            let mut statement = self.connection.prepare(&format!("PRAGMA integrity_check({table})"))?;
            let told = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            if told != ["ok"] {
                report.fault(format!("{}: table {table}", self.name), "the database's own structure is broken");
            }
        }
        Ok(())
    }

    fn chains(&self, report: &mut Report, heads: &mut Heads) -> rusqlite::Result<()> {
        let mut names: BTreeMap<i64, String> = BTreeMap::new();
        let mut statement = self.connection.prepare("SELECT id, name FROM audit_writer")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            names.insert(row.get(0)?, row.get(1)?);
        }
        let mut patient = self.connection.prepare("SELECT count(*) FROM audit_patient WHERE audit = ?1 AND patient = ?2")?;
        let mut statement =
            self.connection.prepare("SELECT id, writer, seq, prev, hash, at, outcome, patients, payload FROM audit ORDER BY id")?;
        let mut rows = statement.query([])?;
        let (mut last, mut patients) = (0_i64, 0_u64);
        while let Some(row) = rows.next()? {
            let (id, writer, seq) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?);
            let Some(name) = names.get(&writer) else {
                report.fault(format!("{}: row {id}", self.name), "its writer is not known");
                continue;
            };
            let place = || format!("{}: entry {name}-{seq}", self.name);
            let prev: Option<Hash> = row.get_ref(3)?.as_blob().ok().and_then(|hash| hash.try_into().ok());
            let hash: Option<Hash> = row.get_ref(4)?.as_blob().ok().and_then(|hash| hash.try_into().ok());
            let payload = row.get_ref(8)?.as_bytes().unwrap_or_default();
            let head = *heads.entry(name.clone()).or_insert_with(|| Head::genesis(name));
            if u64::try_from(seq) != Ok(head.count + 1) {
                report.fault(place(), "its number is not the next: entries are missing or out of order");
            }
            if prev != Some(head.hash) {
                report.fault(place(), "the hash before it is another");
            }
            let own: Hash = Sha256::new_with_prefix(prev.unwrap_or(head.hash)).chain_update(payload).finalize().into();
            if hash != Some(own) {
                report.fault(place(), "its bytes are not those that were hashed");
            }
            heads.insert(name.clone(), Head { count: u64::try_from(seq).unwrap_or(0), hash: hash.unwrap_or(own) });
            match serde_json::from_slice::<Entry>(payload) {
                Err(_) => report.fault(place(), "cannot be read"),
                Ok(entry) => {
                    let named: BTreeSet<&String> = entry.patients.iter().collect();
                    let columns: (i64, i64, i64) = (row.get(5)?, row.get(6)?, row.get(7)?);
                    let expected = (entry.at.as_microsecond(), i64::from(entry.outcome), i64::try_from(named.len()).unwrap_or(i64::MAX));
                    if columns != expected || id != row_id(last, entry.at, self.parity) {
                        report.fault(place(), "its row says otherwise than the entry");
                    }
                    patients += named.len() as u64;
                    for one in named {
                        if patient.query_row((id, one), |row| row.get::<_, i64>(0)).optional()? != Some(1) {
                            report.fault(place(), "a patient that it names does not lead to it");
                        }
                    }
                }
            }
            last = id;
        }
        let rows: i64 = self.connection.query_row("SELECT count(*) FROM audit_patient", [], |row| row.get(0))?;
        if u64::try_from(rows) != Ok(patients) {
            report.fault(self.name, "the index by patient names entries that do not name the patient");
        }
        Ok(())
    }
}

/// The seals, in order, and what they cover so far.
struct Seals<'a> {
    files: &'a [File],
    key: &'a SealPublic,
    covered: Heads,
    previous: Hash,
    number: u64,
}

impl Seals<'_> {
    fn inside(&mut self, file: &File, report: &mut Report) -> rusqlite::Result<()> {
        let mut statement = file.connection.prepare("SELECT number, line FROM audit_seal ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            report.seals += 1;
            let line = row.get_ref(1)?.as_str().unwrap_or_default();
            if row.get::<_, i64>(0).ok().and_then(|number| u64::try_from(number).ok()) != Some(self.number + 1) {
                report.fault(format!("seal {}", self.number + 1), "is missing");
            }
            self.next(line, report);
        }
        Ok(())
    }

    /// `lines`: the seals that left the machine.
    fn outside(&mut self, mut lines: impl BufRead, report: &mut Report) -> io::Result<()> {
        let landbridge = self.files.iter().find(|file| file.name == FILES[0].0);
        let (mut bytes, mut at) = (Vec::new(), 0);
        // A last line without an end is being written.
        while lines.read_until(b'\n', &mut bytes)? > 0 && bytes.ends_with(b"\n") {
            at += 1;
            let place = || format!("seals file line {at}");
            let line = std::mem::take(&mut bytes);
            let line = std::str::from_utf8(&line).unwrap_or("?").trim_end();
            if line.is_empty() {
                continue;
            }
            report.seals_outside += 1;
            let sealed = match Sealed::read(line, self.key) {
                Ok(sealed) => sealed,
                Err(reason) => {
                    report.fault(place(), reason);
                    continue;
                }
            };
            let known = landbridge.and_then(|file| {
                let mut statement = file.connection.prepare_cached("SELECT line FROM audit_seal WHERE number = ?1").ok()?;
                statement.query_row([i64::try_from(sealed.number).ok()?], |row| row.get::<_, String>(0)).ok()
            });
            match known {
                Some(known) if known == line => {}
                Some(_) => report.fault(place(), "the store has another seal of this number"),
                None => {
                    report.fault(place(), "the store does not have this seal: its end was cut off");
                    if sealed.number > self.number {
                        self.next(line, report);
                    }
                }
            }
        }
        Ok(())
    }

    /// Holds one seal against the one before it and against the chains.
    fn next(&mut self, line: &str, report: &mut Report) {
        self.number += 1;
        let previous = std::mem::replace(&mut self.previous, digest(line));
        let place = format!("seal {}", self.number);
        let sealed = match Sealed::read(line, self.key) {
            Ok(sealed) => sealed,
            Err(reason) => return report.fault(place, reason),
        };
        if sealed.number != self.number {
            report.fault(&place, "its number is another");
            self.number = sealed.number;
        }
        if sealed.previous != hex::encode(previous) {
            report.fault(&place, "the seal before it is another");
        }
        for (name, head) in sealed.heads().unwrap_or_default() {
            if self.covered.get(&name).is_some_and(|before| before.count > head.count) {
                report.fault(&place, "a writer's count went back");
            }
            match self.files.iter().find_map(|file| file.hash(&name, head.count)) {
                None => report.fault(format!("{place}: writer {name}"), "entries under this seal are missing"),
                Some(hash) if hash != head.hash => {
                    report.fault(format!("{place}: writer {name}"), "the chain is not the one that was sealed")
                }
                Some(_) => {}
            }
            self.covered.insert(name, head);
        }
        let entries: u64 = self.covered.values().map(|head| head.count).sum();
        if sealed.root != hex::encode(root(&self.covered)) || sealed.entries != entries {
            report.fault(&place, "it does not cover what the seals up to it say");
        }
        report.last_seal = Some(sealed.at);
    }
}
