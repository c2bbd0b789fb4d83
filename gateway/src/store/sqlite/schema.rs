//! The two files: how they are opened, and their tables, as migrations that run forward on open.

use super::outbox::OUTBOX;
use crate::os::OpenOptionsExt;
use crate::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Prepared statements kept per connection.
const STATEMENTS_KEPT: usize = 256;
/// How long one process waits for another's commit (a command beside a running gateway).
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// The entries and what leads to them; the same in both files. Row numbers: see `audit::chain`.
const AUDIT: &str = "
CREATE TABLE audit_writer (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, writer INTEGER NOT NULL, seq INTEGER NOT NULL, prev BLOB NOT NULL, hash BLOB NOT NULL,
    at INTEGER NOT NULL, outcome INTEGER NOT NULL, patients INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE UNIQUE INDEX audit_chain ON audit (writer, seq);
CREATE INDEX audit_at ON audit (at);
CREATE TABLE audit_patient (patient TEXT NOT NULL, audit INTEGER NOT NULL, PRIMARY KEY (patient, audit)) WITHOUT ROWID;
CREATE TABLE audit_seal (number INTEGER PRIMARY KEY, line TEXT NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('ready', 0);
";

const LANDBRIDGE: &str = "
INSERT INTO meta VALUES ('epoch', 0);

-- The journal. `message` holds what is large and never changes with an outcome.
CREATE TABLE feed (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, recipe INTEGER);
CREATE TABLE recipe (id INTEGER PRIMARY KEY, feed INTEGER NOT NULL, hash TEXT NOT NULL, UNIQUE (feed, hash));
CREATE TABLE journal (
    position INTEGER PRIMARY KEY, feed INTEGER NOT NULL, digest BLOB NOT NULL, received INTEGER NOT NULL,
    message_type TEXT NOT NULL, control_id TEXT NOT NULL, outcome TEXT NOT NULL, issue_count INTEGER NOT NULL,
    issues TEXT NOT NULL, recipe INTEGER NOT NULL, repeats INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 1, folded INTEGER NOT NULL DEFAULT 0, patients TEXT NOT NULL DEFAULT '', reply BLOB
);
CREATE UNIQUE INDEX journal_digest ON journal (feed, digest);
CREATE INDEX journal_control ON journal (feed, control_id);
CREATE TABLE message (position INTEGER PRIMARY KEY, frame BLOB NOT NULL, contributions BLOB);
CREATE TABLE finding (
    kind TEXT NOT NULL, feed INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
    position INTEGER NOT NULL, PRIMARY KEY (kind, feed)
) WITHOUT ROWID;

-- Keys: every resource that is here or is pointed at. `name` is the id: a UUID's 16 bytes, or words and text.
CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE key (id INTEGER PRIMARY KEY, name BLOB NOT NULL, kind INTEGER NOT NULL, system TEXT, value TEXT);
CREATE UNIQUE INDEX key_name ON key (name, kind);

-- Resources: `state` is the writer's, `resource` the readers'. `digest` is of the body without its meta.
CREATE TABLE state (resource INTEGER PRIMARY KEY, slots BLOB NOT NULL);
CREATE TABLE resource (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, version INTEGER NOT NULL, deleted INTEGER NOT NULL,
    digest BLOB NOT NULL, current INTEGER NOT NULL
);
CREATE INDEX resource_kind ON resource (kind) WHERE deleted = 0;
CREATE TABLE version (
    id INTEGER PRIMARY KEY, resource INTEGER NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL,
    position INTEGER NOT NULL, patients TEXT NOT NULL, body BLOB
);
CREATE UNIQUE INDEX version_resource ON version (resource, version);
CREATE TABLE touch (resource INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (resource, position)) WITHOUT ROWID;
CREATE TABLE register (resource INTEGER NOT NULL, name BLOB NOT NULL, PRIMARY KEY (resource, name)) WITHOUT ROWID;
CREATE INDEX register_name ON register (name);
CREATE TABLE edge (loser INTEGER PRIMARY KEY, survivor INTEGER NOT NULL);
CREATE INDEX edge_survivor ON edge (survivor);

-- The index: one layout for all types. The key groups a resource's rows, to compare them and to test one resource; the
-- other index finds resources by value.
CREATE TABLE parameter (id INTEGER PRIMARY KEY, resource TEXT NOT NULL, code TEXT NOT NULL, definition TEXT NOT NULL, UNIQUE (resource, code));
CREATE TABLE system (id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE);
INSERT INTO system VALUES (0, ''), (1, 'implied');
CREATE TABLE token (
    resource INTEGER NOT NULL, parameter INTEGER NOT NULL, code TEXT NOT NULL, system INTEGER NOT NULL,
    PRIMARY KEY (resource, parameter, code, system)
) WITHOUT ROWID;
CREATE INDEX token_value ON token (parameter, code, system);
CREATE TABLE string (
    resource INTEGER NOT NULL, parameter INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (resource, parameter, value)
) WITHOUT ROWID;
CREATE INDEX string_value ON string (parameter, value);
CREATE TABLE date (
    resource INTEGER NOT NULL, parameter INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
    PRIMARY KEY (resource, parameter, low, high)
) WITHOUT ROWID;
CREATE INDEX date_value ON date (parameter, low, high);
CREATE TABLE reference (
    resource INTEGER NOT NULL, parameter INTEGER NOT NULL, target INTEGER NOT NULL, PRIMARY KEY (resource, parameter, target)
) WITHOUT ROWID;
CREATE INDEX reference_value ON reference (parameter, target);
CREATE TABLE compartment (
    patient INTEGER NOT NULL, kind INTEGER NOT NULL, resource INTEGER NOT NULL, PRIMARY KEY (patient, kind, resource)
) WITHOUT ROWID;
CREATE INDEX compartment_resource ON compartment (resource);
";

/// Histories of a type, and `_lastUpdated`: times only grow, so that the index is written at its end.
const VERSIONS_BY_TIME: &str = "CREATE INDEX version_at ON version (at);";

/// What operators ask of the journal: what waits, and what came when.
const JOURNAL_FILTERS: &str = "
CREATE INDEX journal_waiting ON journal (position) WHERE outcome NOT IN ('stored', 'stored-with-issues');
CREATE INDEX journal_received ON journal (received);
";

/// What people do about frames after they came. `standing`: as in `super::mend`; `place`: the position by which an edit
/// ranks, that of the frame that was edited first.
const MENDING: &str = "
ALTER TABLE journal ADD COLUMN standing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal ADD COLUMN edit_of INTEGER;
ALTER TABLE journal ADD COLUMN place INTEGER;
CREATE INDEX journal_place ON journal (place) WHERE place IS NOT NULL;
DROP INDEX journal_waiting;
CREATE INDEX journal_waiting ON journal (position) WHERE outcome NOT IN ('stored', 'stored-with-issues') AND standing = 0;
CREATE TABLE mend (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, action TEXT NOT NULL, position INTEGER NOT NULL, version INTEGER,
    who TEXT NOT NULL, because TEXT NOT NULL
);
CREATE INDEX mend_position ON mend (position);
CREATE INDEX mend_version ON mend (version) WHERE version IS NOT NULL;
";

/// When the certificate ends that a feed's sender showed last.
const CERTIFICATES: &str = "ALTER TABLE feed ADD COLUMN certificate_ends INTEGER";

/// What failed for good, for findings.
const FAILURES: &str = "CREATE INDEX audit_failed ON audit (at) WHERE outcome = 12";

/// Histories of a type, and `_lastUpdated`: a rare type is not looked for among all others.
const VERSIONS_BY_KIND: &str = "
CREATE TABLE version_kind (
    kind INTEGER NOT NULL, at INTEGER NOT NULL, version INTEGER NOT NULL, resource INTEGER NOT NULL, PRIMARY KEY (kind, at, version)
) WITHOUT ROWID;
INSERT INTO version_kind (kind, at, version, resource)
    SELECT k.kind, v.at, v.id, v.resource FROM version v JOIN key k ON k.id = v.resource ORDER BY k.kind, v.at, v.id;
DROP INDEX version_at;
";

/// A file of the store.
pub(super) struct Layout {
    pub(super) name: &'static str,
    /// Each takes the file from the version before to the next; a file's version is `PRAGMA user_version`.
    pub(super) migrations: &'static [&'static [&'static str]],
}

/// Journal, state, versions, index and intake audit.
pub(super) const LANDBRIDGE_DB: Layout = Layout {
    name: "landbridge.db",
    migrations: &[
        &[AUDIT, LANDBRIDGE],
        &[VERSIONS_BY_TIME],
        &[JOURNAL_FILTERS],
        &[MENDING],
        &[OUTBOX],
        &[CERTIFICATES],
        &[VERSIONS_BY_KIND],
    ],
};
/// Access audit.
pub(super) const ACCESS_DB: Layout = Layout { name: "access.db", migrations: &[&[AUDIT], &[FAILURES]] };

impl Layout {
    /// A connection that writes, its file made or migrated.
    pub(super) fn open(&self, directory: &Path) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = directory.join(self.name);
        // The owner's alone, where it is new. SQLite gives the files beside it the same mode. One that is there is not opened:
        // to close it again would drop the locks that another connection of this process holds.
        let made = std::fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path).map(drop);
        let made = made.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) });
        made.map_err(|error| StoreError::Refused(format!("{} cannot be made: {}", path.display(), error.kind())))?;
        let mut connection = Connection::open_with_flags(path, flags)?;
        harden(&connection)?;
        // WAL outlives the connection. FULL: an acknowledged commit survives a power cut. Checkpoints are rarer than the
        // default, each costs the writer a pause.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
                 PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;",
        )?;
        self.migrate(&mut connection)?;
        Ok(connection)
    }

    /// A connection that reads.
    pub(super) fn reader(&self, directory: &Path) -> Result<Connection, StoreError> {
        // Not SQLITE_OPEN_READ_ONLY: whoever reads first after a crash must be able to recover the WAL's index.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(directory.join(self.name), flags)?;
        harden(&connection)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192;")?;
        Ok(connection)
    }

    fn migrate(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let version =
            |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).map_err(StoreError::from);
        let known = self.migrations.len();
        let refuse = |found: i64| {
            let name = self.name;
            StoreError::Refused(format!(
                "{name} has schema {found}, and this gateway knows schemas up to {known}: start the gateway that wrote it, or a later one"
            ))
        };
        let found = version(connection)?;
        if usize::try_from(found) == Ok(known) {
            return Ok(());
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have migrated it since.
        let found = version(&transaction)?;
        let done = usize::try_from(found).ok().filter(|done| *done <= known).ok_or_else(|| refuse(found))?;
        for script in self.migrations[done..].iter().copied().flatten() {
            transaction.execute_batch(script)?;
        }
        transaction.pragma_update(None, "user_version", i64::try_from(known).expect("few migrations"))?;
        transaction.commit().map_err(StoreError::from)
    }
}

/// A text in double quotes is a mistake and not a string; the schema cannot be written over; a busy file is waited for.
fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    for (setting, value) in [
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        // A plan does not depend on the values that are asked for: else each value compiles its statement again.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
    ] {
        connection.set_db_config(setting, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[&str] = &["CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);"];
    const TWO: &[&str] = &["ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = x + 1;"];

    #[test]
    fn older_files_are_migrated_and_newer_ones_refused() {
        let directory = tempfile::tempdir().unwrap();
        let open = |migrations| Layout { name: "t.db", migrations }.open(directory.path());
        drop(open(&[ONE]).unwrap());
        let connection = open(&[ONE, TWO]).unwrap();
        assert_eq!(connection.query_row("SELECT y FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
        drop(connection);
        drop(open(&[ONE, TWO]).unwrap());
        let refused = open(&[ONE]).map(drop).unwrap_err();
        assert!(matches!(&refused, StoreError::Refused(reason) if reason.contains("schema 2")), "{refused}");
    }

    #[test]
    fn versions_of_before_are_found_by_their_type() {
        let directory = tempfile::tempdir().unwrap();
        let before = Layout { name: LANDBRIDGE_DB.name, migrations: &LANDBRIDGE_DB.migrations[..5] };
        let connection = before.open(directory.path()).unwrap();
        connection
            .execute_batch(
                "INSERT INTO kind VALUES (7, 'Basic'); INSERT INTO key (id, name, kind) VALUES (3, x'00', 7);
                 INSERT INTO version (id, resource, version, at, position, patients) VALUES (9, 3, 1, 1000, 1, '');",
            )
            .unwrap();
        drop(connection);
        let connection = LANDBRIDGE_DB.open(directory.path()).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let found: (i64, i64, i64, i64) = connection.query_row("SELECT kind, at, version, resource FROM version_kind", [], row).unwrap();
        assert_eq!(found, (7, 1000, 9, 3));
    }

    #[test]
    fn connections_are_durable_and_strict() {
        let directory = tempfile::tempdir().unwrap();
        let connection = LANDBRIDGE_DB.open(directory.path()).unwrap();
        let pragma =
            |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
        assert_eq!(pragma("journal_mode"), rusqlite::types::Value::Text("wal".into()));
        assert_eq!(pragma("synchronous"), rusqlite::types::Value::Integer(2));
        assert!(connection.prepare("SELECT \"typo\"").is_err());
        let reader = LANDBRIDGE_DB.reader(directory.path()).unwrap();
        assert!(reader.execute("INSERT INTO kind VALUES (1, 'x')", []).is_err());
    }
}
