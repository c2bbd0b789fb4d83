//! The embedded engine: two SQLite files with a writer each, so that a read waits for one small fsync and never behind an
//! intake batch. `landbridge.db` holds journal, state, versions, index and intake audit, in one transaction a message;
//! `access.db` the access audit. Nothing that must be atomic spans both.

mod audit;
mod blob;
mod everything;
mod fold;
mod group;
mod include;
mod index;
mod intake;
mod journal;
mod ledger;
mod mend;
mod names;
mod outbox;
mod pool;
mod query;
mod read;
mod record;
mod schema;
mod sql;
mod volume;
mod watch;

pub(crate) use volume::refuse_network;

use super::faults::{Faults, File, NoFaults};
use super::{
    Arrival, AuditPage, Effect, FindingRow, JournalFilter, JournalRow, Mend, Mending, Pending, Receipt, Record, Seen, Store, StoreError,
    Watch, Withdrawal,
};
use crate::access::Grant;
use crate::audit::Entry;
use crate::audit::chain::SealKey;
use crate::clock::Clock;
use crate::intake::Warrant;
use crate::os::DirBuilderExt;
use crate::search::plan::Plan;
use crate::search::{Page, Query, Version};
use contract::{Contribution, Digest, Frame, IdKey, Issue, Translation};
use group::{Desk, Group};
use index::Index;
use intake::{IntakeDesk, Mentions, Prepared};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ledger::{Ledger, Mark};
use names::{Names, find_feed};
use pool::Pool;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use schema::{ACCESS_DB, LANDBRIDGE_DB};
use std::collections::{BTreeSet, HashSet};
use std::fs::DirBuilder;
use std::hash::RandomState;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A search that takes longer holds up all others.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an operator's question may take: it may go through all of the journal.
const OPERATOR_TIME_MAX: Duration = Duration::from_secs(60);
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a store is opened with.
pub struct Options {
    /// Made where it does not exist, for its owner alone.
    pub directory: PathBuf,
    /// Key of resource ids: the one that the adapters were given.
    pub id_key: IdKey,
    /// Signs the audit's seals.
    pub seal_key: SealKey,
    pub clock: Clock,
    /// Zone of dates in resources that state none; another one than before makes the index again.
    pub timezone: TimeZone,
    /// Search parameters that are indexed.
    pub plan: Arc<Plan>,
    /// Random, another for each process: it names this incarnation's audit writers.
    pub incarnation: u64,
    pub faults: Arc<dyn Faults>,
    /// How long one search may take.
    pub search_time: Duration,
    /// What the bodies of one page hold together, in bytes: one that is larger stands alone.
    pub page_bytes: usize,
}

impl Options {
    /// The machine's clock, UTC, the tables that are built in, a random incarnation, no faults.
    pub fn new(directory: impl Into<PathBuf>, id_key: IdKey, seal_key: SealKey) -> Self {
        Self {
            directory: directory.into(),
            id_key,
            seal_key,
            clock: Clock::System,
            timezone: TimeZone::UTC,
            plan: Plan::built_in(),
            incarnation: uuid::Uuid::new_v4().as_u64_pair().0,
            faults: Arc::new(NoFaults),
            search_time: SEARCH_TIME_MAX,
            page_bytes: PAGE_BYTES_MAX,
        }
    }
}

/// The store in two SQLite files. Dropped, it finishes what is queued.
pub struct SqliteStore {
    landbridge: Pool,
    access: Pool,
    index: Arc<Index>,
    id_key: IdKey,
    clock: Clock,
    /// What mentions are marked with.
    marking: RandomState,
    search_time: Duration,
    page_bytes: usize,
    /// Something was put into the outbox.
    outbox: tokio::sync::watch::Sender<()>,
    intake: Group<IntakeDesk>,
    access_writer: Group<AccessDesk>,
}

impl SqliteStore {
    /// Opens or makes the files, migrates older ones and refuses newer ones, and starts the writers.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let directory = options.directory;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|error| StoreError::Refused(format!("the store's folder {} cannot be made: {}", directory.display(), error.kind())))?;
        refuse_network(&directory)?;
        let access = ACCESS_DB.open(&directory)?;
        let mut landbridge = LANDBRIDGE_DB.open(&directory)?;
        let index = Arc::new(fitted(&mut landbridge, options.plan, options.timezone)?);
        // The last letter tells the file.
        let name = |file: char| format!("{:016x}{file}", options.incarnation);
        let marking = RandomState::new();
        let outbox = tokio::sync::watch::Sender::new(());
        let desk = IntakeDesk {
            ledger: Ledger::new(name('i'), 0),
            index: index.clone(),
            id_key: options.id_key.clone(),
            seal_key: options.seal_key,
            clock: options.clock.clone(),
            access: ACCESS_DB.reader(&directory)?,
            names: Names::default(),
            mentions: Mentions::new(marking.clone()),
            sealed: None,
            sealing: None,
            activated: HashSet::new(),
            outbox: outbox.clone(),
            posted: false,
            now: Timestamp::UNIX_EPOCH,
        };
        let start = |error: std::io::Error| StoreError::Unavailable(format!("no thread: {}", error.kind()));
        Ok(Self {
            intake: Group::start(landbridge, desk, options.faults.clone(), File::Landbridge).map_err(start)?,
            access_writer: Group::start(access, AccessDesk(Ledger::new(name('a'), 1)), options.faults, File::Access).map_err(start)?,
            landbridge: Pool::new(LANDBRIDGE_DB, directory.clone()),
            access: Pool::new(ACCESS_DB, directory),
            index,
            id_key: options.id_key,
            clock: options.clock,
            marking,
            search_time: options.search_time,
            page_bytes: options.page_bytes,
            outbox,
        })
    }

    fn submit(&self, prepared: Result<Prepared, StoreError>) -> Pending<Receipt> {
        match prepared {
            Ok(prepared) => {
                let stored = self.intake.submit(move |desk, connection| desk.commit(connection, prepared));
                Box::pin(async move { stored.await.map(|(receipt, _)| receipt) })
            }
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}

impl Store for SqliteStore {
    fn seen(&self, feed: &str, digest: &Digest) -> Result<Option<Seen>, StoreError> {
        self.landbridge.read(|connection| journal::seen(connection, feed, digest))
    }

    fn commit(&self, warrant: &Warrant, mut arrival: Arrival, translation: Translation) -> Pending<Receipt> {
        // The Warrant says in whose name.
        warrant.feed().clone_into(&mut arrival.feed);
        self.submit(Prepared::new(arrival, Some(translation), &self.marking))
    }

    fn keep(&self, arrival: Arrival) -> Pending<Receipt> {
        self.submit(Prepared::new(arrival, None, &self.marking))
    }

    fn repeat(&self, position: u64, entry: Entry) -> Pending<()> {
        self.intake.submit(move |desk, connection| desk.repeat(connection, position, entry))
    }

    fn read(&self, grant: &Grant, kind: &str, id: &str) -> Result<Option<Version>, StoreError> {
        self.landbridge.read(|connection| read::read(connection, grant, kind, id))
    }

    fn vread(&self, grant: &Grant, kind: &str, id: &str, version: u64) -> Result<Option<Version>, StoreError> {
        self.landbridge.read(|connection| read::vread(connection, grant, kind, id, version))
    }

    fn history(&self, grant: &Grant, id: &str, query: &Query) -> Result<Option<Page>, StoreError> {
        self.landbridge.read(|connection| read::history(connection, grant, id, query, self.page_bytes))
    }

    fn changes(&self, grant: &Grant, query: &Query) -> Result<Page, StoreError> {
        self.landbridge.read_within(self.search_time, |connection| read::changes(connection, grant, query, self.page_bytes))
    }

    fn everything(&self, grant: &Grant, id: &str, query: &Query) -> Result<Option<Page>, StoreError> {
        self.landbridge
            .read_within(self.search_time, |connection| everything::everything(connection, &self.index, grant, id, query, self.page_bytes))
    }

    fn search(&self, grant: &Grant, query: &Query) -> Result<Page, StoreError> {
        self.landbridge.read_within(self.search_time, |connection| {
            query::search(connection, &self.index, grant, query, self.page_bytes, self.clock.now())
        })
    }

    fn record(&self, entry: Entry) -> Pending<()> {
        self.access_writer.submit(move |desk, connection| desk.0.append(connection, &entry))
    }

    fn audit_search(&self, grant: &Grant, query: &Query) -> Result<AuditPage, StoreError> {
        let search =
            |landbridge: &Transaction<'_>, access: &Transaction<'_>| audit::search([landbridge, access], grant, query, self.clock.now());
        self.landbridge
            .read_within(self.search_time, |landbridge| self.access.read_within(self.search_time, |access| search(landbridge, access)))
    }

    fn journal(&self, filter: &JournalFilter, count: usize) -> Result<Vec<JournalRow>, StoreError> {
        self.landbridge.read_within(OPERATOR_TIME_MAX, |connection| journal::list(connection, filter, count))
    }

    fn frame(&self, position: u64) -> Result<Option<(JournalRow, Frame, Vec<Issue>)>, StoreError> {
        self.landbridge.read(|connection| journal::frame(connection, position))
    }

    fn findings(&self) -> Result<Vec<FindingRow>, StoreError> {
        self.landbridge.read(|connection| journal::findings(connection))
    }

    fn watch(&self, now: Timestamp, msh_13: &BTreeSet<String>) -> Result<Watch, StoreError> {
        let (apps, unkept) =
            self.access.read_within(OPERATOR_TIME_MAX, |connection| Ok((watch::apps(connection)?, watch::unkept(connection, now)?)))?;
        let (feeds, last_seal) = self
            .landbridge
            .read_within(OPERATOR_TIME_MAX, |connection| Ok((watch::feeds(connection, now, msh_13)?, watch::last_seal(connection)?)))?;
        Ok(Watch { feeds, apps, backlogs: super::outbox::Outbox::backlogs(self)?, unkept, last_seal })
    }

    fn certificate(&self, feed: &str, ends: Timestamp) -> Pending<()> {
        let feed = feed.to_owned();
        self.intake.submit(move |desk, connection| desk.certificate(connection, &feed, ends))
    }

    fn ready(&self) -> Pending<()> {
        // A transaction that writes nothing would need no disk.
        fn touch(connection: &Connection) -> Result<(), StoreError> {
            connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'ready'", []).map(drop).map_err(StoreError::from)
        }
        let intake = self.intake.submit(|_, connection| touch(connection));
        let access = self.access_writer.submit(|_, connection| touch(connection));
        Box::pin(async move {
            intake.await?;
            access.await
        })
    }

    fn activate(&self, feed: &str, recipe: &str) -> Pending<()> {
        let (feed, recipe) = (feed.to_owned(), recipe.to_owned());
        self.intake.submit(move |desk, connection| desk.activate(connection, &feed, &recipe))
    }

    fn active(&self, feed: &str) -> Result<Option<String>, StoreError> {
        self.landbridge.read(|connection| {
            let Some(feed) = find_feed(connection, feed)? else { return Ok(None) };
            Ok(intake::active(connection, feed)?.map(|(_, hash)| hash))
        })
    }

    fn seal(&self, at: Timestamp) -> Pending<String> {
        self.intake.submit(move |desk, connection| desk.seal(connection, at))
    }
}

impl Mending for SqliteStore {
    fn contributions(&self, position: u64) -> Result<Option<Vec<Contribution>>, StoreError> {
        self.landbridge.read(|connection| journal::contributions(connection, position))
    }

    fn mends(&self, position: u64) -> Result<Vec<Mend>, StoreError> {
        self.landbridge.read(|connection| mend::mends(connection, position))
    }

    fn preview(&self, position: u64, restores: bool) -> Result<Vec<Effect>, StoreError> {
        self.landbridge.read_within(OPERATOR_TIME_MAX, |connection| mend::preview(connection, &self.id_key, position, restores))
    }

    fn patient(&self, id: &str) -> Result<Option<Record>, StoreError> {
        self.landbridge.read_within(OPERATOR_TIME_MAX, |connection| record::record(connection, id))
    }

    fn patients_with(&self, system: &str, value: &str) -> Result<Vec<String>, StoreError> {
        self.landbridge.read_within(OPERATOR_TIME_MAX, |connection| record::patients_with(connection, &self.index, system, value))
    }

    fn withdraw(&self, withdrawal: Withdrawal) -> Pending<Receipt> {
        self.intake.submit(move |desk, connection| desk.withdraw(connection, withdrawal))
    }
}

/// The writer of `access.db`.
struct AccessDesk(Ledger);

impl Desk for AccessDesk {
    type Mark = Mark;

    fn begin(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.0.begin(connection)
    }

    fn mark(&self) -> Mark {
        self.0.mark()
    }

    fn back_to(&mut self, mark: Mark) {
        self.0.back_to(mark);
    }

    fn committed(&mut self) {
        self.0.committed();
    }

    fn rolled_back(&mut self) {
        self.0.rolled_back();
    }
}

/// The index as the plan wants it: what was made by another plan or zone is made again.
fn fitted(connection: &mut Connection, plan: Arc<Plan>, zone: TimeZone) -> Result<Index, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (index, stale) = Index::open(&transaction, plan, zone)?;
    fold::reindex(&transaction, &index, &stale)?;
    transaction.commit()?;
    Ok(index)
}

/// SQLite's own code, and nothing of a row.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(code, _) if code.code == rusqlite::ErrorCode::OperationInterrupted => StoreError::TooCostly,
            rusqlite::Error::SqliteFailure(code, _) => StoreError::Unavailable(format!("sqlite {} {:?}", code.extended_code, code.code)),
            rusqlite::Error::SqlInputError { error, .. } => StoreError::Unavailable(format!("sqlite {}", error.extended_code)),
            _ => StoreError::Unavailable("a row is not as expected".into()),
        }
    }
}

#[cfg(test)]
mod tests;
