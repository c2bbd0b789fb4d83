//! What is to be passed on: messages that were acknowledged, and wait for their feed's next hop in the order of their commits.

use super::{Pending, StoreError};
use crate::audit::Entry;
use contract::Frame;
use jiff::Timestamp;
use tokio::sync::watch;

/// A message is put in by the commit that stores it (see [`super::Arrival::relays`]), once.
pub trait Outbox: Send + Sync + 'static {
    /// The message of this feed whose turn it is, as it came.
    fn next(&self, feed: &str) -> Result<Option<(Letter, Frame)>, StoreError>;

    /// What came of it, with its audit entry; the store fills `position` and `patients`.
    fn tried(&self, position: u64, tried: Tried, entry: Entry) -> Pending<()>;

    /// A message of the journal waits, behind all that wait; one that waits already has another turn.
    fn again(&self, position: u64, entry: Entry) -> Pending<()>;

    /// In order of position.
    fn letters(&self, filter: &LetterFilter, count: usize) -> Result<Vec<Letter>, StoreError>;

    /// Of one feed.
    fn backlog(&self, feed: &str) -> Result<Backlog, StoreError>;

    /// Of each feed of which something waits or is dead.
    fn backlogs(&self) -> Result<Vec<Backlog>, StoreError>;

    /// Changes when this process put something in.
    fn posted(&self) -> watch::Receiver<()>;
}

/// A message and how far it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// In the journal.
    pub position: u64,
    pub feed: String,
    pub message_type: String,
    pub control_id: String,
    pub state: LetterState,
    /// Since when it waits, or waited.
    pub queued: Timestamp,
    /// How often it was sent.
    pub tries: u64,
    /// How often the next hop refused it.
    pub refusals: u64,
    /// What came of the last attempt: an acknowledgement code, or a word.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterState {
    Waiting,
    Delivered,
    /// Not sent any more, until a person says so.
    Dead,
}

/// What came of one attempt, or of a person's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub state: LetterState,
    pub reason: String,
    pub sent: bool,
    pub refused: bool,
}

/// Which messages. Empty: all that were not delivered.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    pub feed: Option<String>,
    pub state: Option<LetterState>,
    /// Positions above this one.
    pub after: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub feed: String,
    pub waiting: u64,
    /// Since when the one waits that waits longest.
    pub oldest: Option<Timestamp>,
    pub dead: u64,
}

impl LetterState {
    const ALL: [(Self, &str); 3] = [(Self::Waiting, "waiting"), (Self::Delivered, "delivered"), (Self::Dead, "dead")];

    pub fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(state, _)| *state == self).map_or("", |(_, word)| word)
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == word).map(|(state, _)| state)
    }
}
