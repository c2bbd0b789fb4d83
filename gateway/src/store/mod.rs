//! Where the corridors meet: journal, state, versions, index and audit, in transactions. Knows neither HTTP nor HL7.

pub mod faults;
pub mod outbox;
pub mod sqlite;
#[cfg(test)]
mod tests;

pub use sqlite::{Options, SqliteStore};

use crate::access::Grant;
use crate::audit::Entry;
use crate::intake::Warrant;
use crate::search::{Cursor, Page, Query, Version};
use crate::state::{Difference, Finding};
use bytes::Bytes;
use contract::{Contribution, Digest, Frame, Issue, Json, OutcomeKind, Translation};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// One trait, several engines; the same tests run against each.
pub trait Store: Send + Sync + 'static {
    /// What became of a frame of the same bytes on the same feed, if it came before.
    fn seen(&self, feed: &str, digest: &Digest) -> Result<Option<Seen>, StoreError>;

    /// One message whole: journal, contributions, state, versions, index and audit entry, durable when it resolves.
    /// Group commit: what waits shares one transaction; one that fails alone fails alone.
    fn commit(&self, warrant: &Warrant, arrival: Arrival, translation: Translation) -> Pending<Receipt>;

    /// A frame of which no resource is made (or that may not be stored): journal and audit entry alone.
    fn keep(&self, arrival: Arrival) -> Pending<Receipt>;

    /// The frame came again and was stored the first time: counts it, with its audit entry.
    fn repeat(&self, position: u64, entry: Entry) -> Pending<()>;

    /// The current version. Outside the Grant: `None`, as for an id that never was.
    fn read(&self, grant: &Grant, kind: &str, id: &str) -> Result<Option<Version>, StoreError>;

    /// One version, authorized by its own compartment and by the current one.
    fn vread(&self, grant: &Grant, kind: &str, id: &str, version: u64) -> Result<Option<Version>, StoreError>;

    /// Versions of one resource of the query's type, newest first; `None` as for `read`.
    fn history(&self, grant: &Grant, id: &str, query: &Query) -> Result<Option<Page>, StoreError>;

    /// Versions of all resources of the query's type, newest first. Not counted.
    fn changes(&self, grant: &Grant, query: &Query) -> Result<Page, StoreError>;

    /// What lies in a Patient's compartment, with who and where it points at; `None` as for `read` of the Patient. A Patient
    /// stands for all that merges tie to it, unless the Grant is bound to it.
    fn everything(&self, grant: &Grant, id: &str, query: &Query) -> Result<Option<Page>, StoreError>;

    /// The Grant's predicate stands in every sub-query, the total's too.
    fn search(&self, grant: &Grant, query: &Query) -> Result<Page, StoreError>;

    /// Makes an access entry durable.
    fn record(&self, entry: Entry) -> Pending<()>;

    /// Audit entries of both files by `date`, `patient` and `outcome`, newest first, and by `_id`: an entry's own
    /// `WRITER-SEQ`. The Grant's predicate on AuditEvent, of either permission: an AuditEvent is read through here too.
    fn audit_search(&self, grant: &Grant, query: &Query) -> Result<AuditPage, StoreError>;

    /// Journal rows by filter, in order of position, or against it.
    fn journal(&self, filter: &JournalFilter, count: usize) -> Result<Vec<JournalRow>, StoreError>;

    /// A frame as it came, with what is known of it.
    fn frame(&self, position: u64) -> Result<Option<(JournalRow, Frame, Vec<Issue>)>, StoreError>;

    /// What a person should look at, by kind and feed.
    fn findings(&self) -> Result<Vec<FindingRow>, StoreError>;

    /// What the store can tell of feeds and apps, for findings. `msh_13`: the feeds whose messages are numbered there, for
    /// which frames are opened.
    fn watch(&self, now: Timestamp, msh_13: &BTreeSet<String>) -> Result<Watch, StoreError>;

    /// Keeps when the certificate ends that a feed's sender shows.
    fn certificate(&self, feed: &str, ends: Timestamp) -> Pending<()>;

    /// Whether a commit and an audit entry can be made durable now (readiness).
    fn ready(&self) -> Pending<()>;

    /// Makes a recipe the feed's active one: called for each feed at start and at every change of its tables or settings.
    /// A `commit` under another is refused: its process was left behind; but not under one that this process made active
    /// before. A feed's first commit makes its recipe active.
    fn activate(&self, feed: &str, recipe: &str) -> Pending<()>;

    /// The feed's active recipe; `None` before its first.
    fn active(&self, feed: &str) -> Result<Option<String>, StoreError>;

    /// Appends an audit seal over the heads of all writers, and gives its line; see `audit`.
    fn seal(&self, at: Timestamp) -> Pending<String>;
}

/// What operators do with a store, and see of it.
pub trait Mending: Store {
    /// What a message said, as it was translated: without its place in the journal (see [`crate::state::place`]).
    fn contributions(&self, position: u64) -> Result<Option<Vec<Contribution>>, StoreError>;

    /// What was done about a frame, or made it, in order.
    fn mends(&self, position: u64) -> Result<Vec<Mend>, StoreError>;

    /// What [`Mending::withdraw`] would change now.
    fn preview(&self, position: u64, restores: bool) -> Result<Vec<Effect>, StoreError>;

    /// What made the record of a patient (its id); `None` where there never was one.
    fn patient(&self, id: &str) -> Result<Option<Record>, StoreError>;

    /// Ids of the Patients that have this identifier.
    fn patients_with(&self, system: &str, value: &str) -> Result<Vec<String>, StoreError>;

    /// Takes what a message says out of the state, or puts it back: with a new version of each resource that is otherwise
    /// then, and an audit entry, in one transaction.
    fn withdraw(&self, withdrawal: Withdrawal) -> Pending<Receipt>;
}

/// A frame that came in, and what was decided about it before the store.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Feed; for forbidden frames of no feed, the listener (`mllp.main`).
    pub feed: String,
    pub frame: Frame,
    pub digest: Digest,
    /// `ADT^A01`; empty where unreadable.
    pub message_type: String,
    pub control_id: String,
    pub received: Timestamp,
    pub outcome: OutcomeKind,
    pub issues: Vec<Issue>,
    /// What the sender is told, so that a repeat is told the same.
    pub reply: Option<Bytes>,
    /// Hash of adapter, tables and settings.
    pub recipe: String,
    /// The audit entry; the store fills `position`, `patients`, `resources`.
    pub entry: Entry,
    /// Where it is a new version of a frame of the journal: it takes that one's place.
    pub edit: Option<Edit>,
    /// It is to be passed on to the feed's next hop: in the outbox with the same transaction.
    pub relays: bool,
}

/// That a person made a frame from one of the journal.
#[derive(Clone)]
pub struct Edit {
    /// Position of the frame that was edited.
    pub of: u64,
    pub who: String,
    pub because: String,
}

/// Shows of which: the reason may name a patient.
impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Edit({})", self.of)
    }
}

/// What the journal knows of a frame that came before.
#[derive(Clone, Debug)]
pub struct Seen {
    pub position: u64,
    pub received: Timestamp,
    pub outcome: OutcomeKind,
    pub standing: Standing,
    pub reply: Option<Bytes>,
}

impl Seen {
    /// It was stored, or a person set it aside: it is not judged again.
    pub fn is_settled(&self) -> bool {
        self.outcome.is_stored() || self.standing != Standing::Counts
    }
}

/// Whether what a frame says counts, by what a person did about it since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    #[default]
    Counts,
    /// A new version of it counts in its place.
    Superseded,
    Withdrawn,
}

impl Standing {
    pub fn word(self) -> &'static str {
        match self {
            Standing::Counts => "counts",
            Standing::Superseded => "superseded",
            Standing::Withdrawn => "withdrawn",
        }
    }
}

/// Proof that a frame is durable.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub position: u64,
    /// `Duplicate` where another connection stored the same frame first: `reply` is then the first one.
    pub outcome: OutcomeKind,
    pub reply: Option<Bytes>,
    /// Resources whose body changed: `Type/id/_history/version`.
    pub resources: Vec<String>,
    /// What a person should look at.
    pub findings: BTreeSet<Finding>,
}

/// What was noticed on one feed, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingRow {
    pub finding: Finding,
    pub feed: String,
    pub count: u64,
    /// Receipt of the first and the last message that showed it.
    pub first: Timestamp,
    pub last: Timestamp,
    /// Of the last one.
    pub position: u64,
}

/// One line of `journal list`.
#[derive(Clone, Debug)]
pub struct JournalRow {
    pub position: u64,
    pub received: Timestamp,
    pub feed: String,
    pub message_type: String,
    pub control_id: String,
    pub digest: Digest,
    pub outcome: OutcomeKind,
    pub issues: u32,
    pub repeats: u32,
    pub standing: Standing,
    /// Position of the frame that this one is an edit of.
    pub edit_of: Option<u64>,
    /// The position by which it ranks: its own, or that of the frame that was edited first.
    pub place: u64,
}

/// What a person did about a frame after it came. Kept for good.
#[derive(Clone, PartialEq, Eq)]
pub struct Mend {
    pub at: Timestamp,
    pub action: MendAction,
    pub position: u64,
    /// Position of the new version, where it was edited.
    pub version: Option<u64>,
    pub who: String,
    pub because: String,
}

/// Shows of which: the reason may name a patient.
impl fmt::Debug for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mend({} {})", self.action.word(), self.position)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MendAction {
    Edit,
    Withdraw,
    Restore,
}

impl MendAction {
    pub const ALL: [Self; 3] = [MendAction::Edit, MendAction::Withdraw, MendAction::Restore];

    pub fn word(self) -> &'static str {
        match self {
            MendAction::Edit => "edit",
            MendAction::Withdraw => "withdraw",
            MendAction::Restore => "restore",
        }
    }
}

/// What made a patient's record: its messages, and what people did about them, oldest first.
#[derive(Clone, Debug)]
pub struct Record {
    /// The patient, and those merged with it.
    pub patients: Vec<String>,
    pub moments: Vec<Moment>,
}

/// A message, or what a person did about one, and what it changed in a record.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When what it changed was stored; where it changed nothing, when it came.
    pub at: Timestamp,
    pub row: JournalRow,
    /// What a person did; of a frame that was made by an edit, that edit.
    pub mend: Option<Mend>,
    pub changes: Vec<Changed>,
}

/// A new version of a resource.
#[derive(Clone, Debug)]
pub struct Changed {
    /// `Type/id`.
    pub address: String,
    pub version: u64,
    pub is_deleted: bool,
    /// From the version before; none where it is deleted.
    pub differences: Vec<Difference>,
}

/// A message to be taken out of the state, or to be put back.
#[derive(Clone)]
pub struct Withdrawal {
    pub position: u64,
    pub restores: bool,
    pub because: String,
    /// The audit entry; the store fills `position`, `patients`, `resources`.
    pub entry: Entry,
}

/// A resource as something would change it; bodies without `meta`. `None`: not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// `Type/id`.
    pub address: String,
    pub before: Option<Json>,
    pub after: Option<Json>,
}

/// Which journal rows. Empty: all.
#[derive(Clone, Debug, Default)]
pub struct JournalFilter {
    pub feed: Option<String>,
    pub outcome: Option<OutcomeKind>,
    pub control_id: Option<String>,
    /// `ADT^A01`, or `ADT` for all of its events.
    pub message_type: Option<String>,
    /// Received then or later.
    pub from: Option<Timestamp>,
    /// Received before then.
    pub to: Option<Timestamp>,
    /// What the place or the reason of one of its issues holds, in any case of ASCII letters.
    pub reason: Option<String>,
    /// Only what was not stored, and was not set aside.
    pub waiting: bool,
    /// Only what was stored and is about this Patient (its id).
    pub patient: Option<String>,
    /// Positions above this one.
    pub after: u64,
    /// Positions below this one.
    pub before: Option<u64>,
    /// The highest position first.
    pub newest: bool,
}

/// Entries with the number under which AuditEvents are read: `WRITER-SEQ`.
#[derive(Clone, Debug, Default)]
pub struct AuditPage {
    pub entries: Vec<(String, Entry)>,
    /// AuditEvents, not entries: one per patient named (with a `patient` filter, per patient asked for), else one.
    pub total: u64,
    pub next: Option<Cursor>,
}

/// Counted and sampled; never a value of a message.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    pub feeds: Vec<FeedWatch>,
    /// Apps with tokens that reach every patient and are bound to no certificate, of late.
    pub apps: Vec<AppWatch>,
    /// What waits for the next hop of a relay, by feed.
    pub backlogs: Vec<outbox::Backlog>,
    /// What transparent relays passed on and did not keep, of late.
    pub unkept: Vec<Unkept>,
    /// When the audit was sealed last.
    pub last_seal: Option<Timestamp>,
}

/// What is known of one feed.
#[derive(Clone, Debug, Default)]
pub struct FeedWatch {
    pub feed: String,
    pub messages: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// Within the last 24 hours.
    pub today: u64,
    pub waiting: Option<Waiting>,
    /// When the certificate ends that its sender showed last.
    pub certificate_ends: Option<Timestamp>,
    /// Messages at this hour of the day in the last 28 days, and on how many of them there was one.
    pub at_this_hour: u64,
    pub days_at_this_hour: u64,
    /// How many of the latest messages were looked into.
    pub sampled: u64,
    /// Of those: issue code, place without its numbers, and in how many messages.
    pub issues: Vec<(&'static str, String, u64)>,
    /// Control ids that are numbers, and MSH-13, with their messages' receipt.
    pub control_ids: Vec<(u64, Timestamp)>,
    pub sequence_numbers: Vec<(u64, Timestamp)>,
}

/// Messages that a listener's transparent relay passed on and that are not in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unkept {
    pub listener: String,
    pub count: u64,
    pub first: Timestamp,
}

/// Frames of which no resource was made, for a person to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub count: u64,
    pub since: Timestamp,
    /// Within the last 24 hours.
    pub today: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppWatch {
    pub app: String,
    pub requests: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Why the store did not do it. Closed; holds no data of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Cannot be reached, or the disk is full, now: try again. With the engine's own code.
    Unavailable(String),
    /// The queue is full.
    Busy,
    /// The search took longer than it may.
    TooCostly,
    /// Not possible as asked (a cursor of another query, a newer schema, a corrupt file), in words for the operator.
    Refused(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unavailable(code) => write!(f, "the store is not available ({code})"),
            StoreError::Busy => f.write_str("the store's queue is full"),
            StoreError::TooCostly => f.write_str("the search takes too long"),
            StoreError::Refused(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for StoreError {}
