//! What is written down of every crossing. An [`Entry`] is compact; FHIR AuditEvents (IHE BALP) are rendered when read.

pub mod chain;
pub mod render;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Before the reason for which a transparent relay did not keep what it passed on.
pub const NOT_KEPT: &str = "not-kept: ";

/// One line of the audit. Field names are short because there is one per message and per answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub at: Timestamp,
    pub action: Action,
    /// FHIR audit-event-outcome: `0` success, `4` minor, `8` serious, `12` major failure.
    pub outcome: u8,
    /// Why, for refusals: an outcome word or a FHIR issue code; never a value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who did it: a feed, an app (issuer and client), an operating system's user.
    pub agent: Agent,
    /// What was asked: method and raw path with query, or message type and control id. Holds patient data.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// Patients named in the message or the answer, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patients: Vec<String>,
    /// Resources written or given out: `Type/id/_history/version`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Issues counted (intake).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub issues: u32,
    /// How many equal events this entry stands for, where repeats are counted; 1 otherwise.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// Position in the journal (intake, replay).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
}

impl Entry {
    /// One event that went well, of which nothing more is known.
    pub fn new(at: Timestamp, action: Action, agent: Agent) -> Self {
        Self {
            at,
            action,
            outcome: 0,
            reason: String::new(),
            agent,
            request: String::new(),
            patients: Vec::new(),
            resources: Vec::new(),
            issues: 0,
            count: 1,
            position: None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// `feed:pas`, `app:CLIENT`, `os:USER`, `system`.
    pub who: String,
    /// Issuer and subject, where a token said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `jti`, or an opaque token's last 32 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// The token reaches every patient, and works for whoever holds it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wide: bool,
    /// Network address of the other end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
}

/// What kind of crossing. Closed: rendering as AuditEvent matches it exhaustively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A frame came in.
    Import,
    /// A frame was passed on to a next hop.
    Relay,
    Read,
    Vread,
    History,
    Search,
    Capabilities,
    /// A request that fits no interaction, or was refused before one was known.
    Refused,
    /// Operators: what shows a frame or a record, journal replay, journal edit, withdraw and its undoing, relay replay and skip.
    JournalShow,
    JournalReplay,
    JournalEdit,
    Withdraw,
    Restore,
    RelayReplay,
    RelaySkip,
    /// The gateway itself: start, stop, configuration.
    Start,
    Stop,
    Configure,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_one(n: &u32) -> bool {
    *n == 1
}

fn one() -> u32 {
    1
}

/// Shows the kind alone: an entry names patients.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({:?} {})", self.action, self.outcome)
    }
}
