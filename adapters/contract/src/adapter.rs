use crate::{Frame, Issue, Outcome, Rejection, Settings, Translation};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// One legacy dialect under one feed's settings: from a frame to FHIR, and from an outcome back to the sender's own
/// words. Pure; what it owes is checked by [`crate::compliance`].
pub trait Adapter: Send + Sync + 'static {
    /// Who sent what: enough to audit and to refuse, read from the head of the frame alone.
    fn envelope(&self, frame: &Frame) -> Result<Envelope, Rejection>;

    /// What the message says, as contributions in the order of the message.
    fn translate(&self, frame: &Frame, envelope: &Envelope) -> Result<Translation, Rejection>;

    /// The same translation with the origin of every element, for `explain`.
    fn explain(&self, frame: &Frame, envelope: &Envelope) -> Result<Explanation, Rejection>;

    /// The reply in the sender's own words; `None` where none is due (an acknowledgement is never answered; accept
    /// conditions of enhanced mode; HTTP feeds whose answer is an OperationOutcome). `envelope` is `None` where
    /// [`Adapter::envelope`] failed.
    fn reply(&self, envelope: Option<&Envelope>, frame: &Frame, outcome: &Outcome) -> Option<Bytes>;

    /// `Type/id` of the resources that the message is about, in its order, for dialects whose senders are told where their
    /// resources stand (HTTP `Location`); of others, none.
    fn stored_as(&self, _frame: &Frame) -> Vec<String> {
        Vec::new()
    }
}

/// What makes adapters of one dialect.
pub trait Dialect: Send + Sync + 'static {
    /// The name used in configuration: `hl7v2`, `cda`.
    fn name(&self) -> &'static str;

    /// Whether a file's bytes look like this dialect. Cheap; looks at the head.
    fn recognises(&self, bytes: &[u8]) -> bool;

    /// The frames in a file: one message, many, or a batch with its envelope. Never fails: what cannot be cut is one
    /// frame, which the adapter then refuses with a place.
    fn frames(&self, file: &Bytes) -> Vec<Frame>;

    /// An adapter for one feed. Tables were read and checked when the dialect was made.
    fn adapter(&self, settings: Settings) -> Arc<dyn Adapter>;

    /// Hash of adapter version and tables: one half of the recipe, the settings are the other.
    fn recipe(&self) -> String;
}

/// Who sent what.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    pub message_type: TypeCode,
    /// MSH-10, or the document's or transmission's id. Empty where the sender gave none.
    pub control_id: String,
    pub sender: Party,
    pub receiver: Party,
    pub processing: Processing,
    /// When the message was made (MSH-7, effectiveTime), UTC microseconds; `None` if not stated or unreadable.
    pub sent: Option<i64>,
    /// Version of the standard, as written (`2.5.1`).
    pub version: String,
    /// The head of the frame as the reply needs it (MSH, trailing segments excluded); opaque to all but the adapter.
    pub head: Bytes,
    /// What was noticed while reading the head.
    pub issues: Vec<Issue>,
}

/// Shows no more than type and version.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} {})", self.message_type, self.version)
    }
}

/// Message code, trigger event and structure: `ADT^A01^ADT_A01`; a CDA document is `CDA` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeCode {
    pub code: String,
    pub event: String,
    pub structure: String,
}

impl TypeCode {
    /// Whether a feed's `accepts` entry (`ADT`, `ADT^A01`, `CDA`) names it.
    pub fn is_named_by(&self, accepts: &str) -> bool {
        match accepts.split_once('^') {
            Some((code, event)) => code == self.code && event == self.event,
            None => accepts == self.code,
        }
    }
}

/// `ADT^A01`, or `CDA`.
impl fmt::Display for TypeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if self.event.is_empty() { Ok(()) } else { write!(f, "^{}", self.event) }
    }
}

/// Application and facility (MSH-3.1 and -4.1, MSH-5.1 and -6.1), or a document's custodian.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Party {
    pub application: String,
    pub facility: String,
}

/// MSH-11, table 0103.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processing {
    Production,
    Training,
    Debugging,
    /// Not stated, or not of the table.
    Unknown,
}

/// A translation, and where each element came from.
pub struct Explanation {
    pub translation: Translation,
    /// In order of the contributions and their elements.
    pub traces: Vec<Trace>,
    /// The places of values that went nowhere.
    pub unmapped: Vec<String>,
}

/// The origin of one FHIR element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Index into [`Translation::contributions`].
    pub contribution: usize,
    /// FHIR path without the type: `name[0].family`.
    pub element: String,
    /// Place in the message, as in [`Issue::place`]; empty for what a row assigns.
    pub place: String,
    /// `TABLE:LINE` of the row that said so: `segments/PID[Patient]:12`.
    pub row: String,
}
