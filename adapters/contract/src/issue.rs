use std::borrow::Cow;
use std::fmt;

/// How much an issue matters. `Information` tells of a value that was not carried, or carried otherwise than written;
/// only `Warning` and `Error` make an outcome *with issues*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    Information,
    Warning,
    Error,
}

impl Severity {
    /// The code of FHIR's value set issue-severity.
    pub fn code(self) -> &'static str {
        match self {
            Severity::Information => "information",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// What kind of thing is wrong. Closed: each exit (HL7 table 0357, FHIR issue-type) matches it exhaustively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IssueCode {
    /// The bytes are not a message of this dialect.
    Structure,
    /// A segment, element or field that must be there is not.
    Required,
    /// A value is not of its data type.
    DataType,
    /// A code is not in its table and no map knows it.
    UnknownCode,
    /// A value went nowhere.
    NotMapped,
    /// A value was carried otherwise than it was written.
    Altered,
    /// A message type, event, version or processing id that is not translated.
    NotSupported,
    /// Keys: none, contradictory, or two of one.
    Identity,
    /// A stamp is in the future, out of order, or has no zone.
    Time,
    /// Characters that are not of the declared character set.
    Characters,
    /// A limit was met.
    Limit,
    /// The sender may not say this.
    Forbidden,
    /// Our own trouble.
    Internal,
}

impl IssueCode {
    /// The name used in `journal` and `convert` output; stable.
    pub fn word(self) -> &'static str {
        match self {
            IssueCode::Structure => "structure",
            IssueCode::Required => "required",
            IssueCode::DataType => "data-type",
            IssueCode::UnknownCode => "unknown-code",
            IssueCode::NotMapped => "not-mapped",
            IssueCode::Altered => "altered",
            IssueCode::NotSupported => "not-supported",
            IssueCode::Identity => "identity",
            IssueCode::Time => "time",
            IssueCode::Characters => "characters",
            IssueCode::Limit => "limit",
            IssueCode::Forbidden => "forbidden",
            IssueCode::Internal => "internal",
        }
    }
}

/// A place in the message and a reason, never a value of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issue {
    pub severity: Severity,
    pub code: IssueCode,
    /// Where, in the dialect's own words: `PID[1]-3[2].4`, `/ClinicalDocument/recordTarget[1]/@x`, `byte 17`; empty
    /// where the whole message is meant. Segment occurrence and repetition count from 1.
    pub place: String,
    /// Why, as a sentence for the person who mends it. Holds no value of the message.
    pub reason: Cow<'static, str>,
}

impl Issue {
    pub fn new(severity: Severity, code: IssueCode, place: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { severity, code, place: place.into(), reason: reason.into() }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity.code(), if self.place.is_empty() { "message" } else { &self.place }, self.reason)
    }
}

/// Why no resource can be made of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The bytes cannot be read as a message of the dialect.
    Malformed(Issue),
    /// Readable, but of a type that no table knows.
    Unsupported(Issue),
    /// Of a known type, but its content gives no resource.
    Untranslatable(Vec<Issue>),
    /// Readable, and waits for a person: contradictory identifiers.
    Held(Issue),
}

impl Rejection {
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Rejection::Malformed(_) => OutcomeKind::Malformed,
            Rejection::Unsupported(_) => OutcomeKind::Unsupported,
            Rejection::Untranslatable(_) => OutcomeKind::Untranslatable,
            Rejection::Held(_) => OutcomeKind::Held,
        }
    }

    pub fn issues(self) -> Vec<Issue> {
        match self {
            Rejection::Malformed(issue) | Rejection::Unsupported(issue) | Rejection::Held(issue) => vec![issue],
            Rejection::Untranslatable(issues) => issues,
        }
    }
}

/// What became of a frame. Closed: every exit matches it exhaustively (the table in ARCHITECTURE.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutcomeKind {
    Stored,
    StoredWithIssues,
    /// Seen before with the same bytes and stored then: the first reply is given again.
    Duplicate,
    Malformed,
    Unsupported,
    Untranslatable,
    Held,
    Unauthenticated,
    Forbidden,
    /// Busy, unavailable or our fault: nothing is durable, so nothing may be acknowledged.
    Transient,
}

impl OutcomeKind {
    /// The word of the journal, the metrics and the command line.
    pub fn word(self) -> &'static str {
        match self {
            OutcomeKind::Stored => "stored",
            OutcomeKind::StoredWithIssues => "stored-with-issues",
            OutcomeKind::Duplicate => "duplicate",
            OutcomeKind::Malformed => "malformed",
            OutcomeKind::Unsupported => "unsupported",
            OutcomeKind::Untranslatable => "untranslatable",
            OutcomeKind::Held => "held",
            OutcomeKind::Unauthenticated => "unauthenticated",
            OutcomeKind::Forbidden => "forbidden",
            OutcomeKind::Transient => "transient",
        }
    }

    pub const ALL: [OutcomeKind; 10] = [
        OutcomeKind::Stored,
        OutcomeKind::StoredWithIssues,
        OutcomeKind::Duplicate,
        OutcomeKind::Malformed,
        OutcomeKind::Unsupported,
        OutcomeKind::Untranslatable,
        OutcomeKind::Held,
        OutcomeKind::Unauthenticated,
        OutcomeKind::Forbidden,
        OutcomeKind::Transient,
    ];

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Resources were made of it.
    pub fn is_stored(self) -> bool {
        matches!(self, OutcomeKind::Stored | OutcomeKind::StoredWithIssues | OutcomeKind::Duplicate)
    }
}

/// What the sender is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub kind: OutcomeKind,
    pub issues: Vec<Issue>,
    /// When the gateway decided, for the reply's own time stamp (MSH-7).
    pub at: jiff::Timestamp,
    /// The acknowledgement code that the feed wants for this kind (`AA`, `AE`, `AR`), where its configuration names one.
    pub code: Option<String>,
}

impl Outcome {
    pub fn new(kind: OutcomeKind, issues: Vec<Issue>, at: jiff::Timestamp) -> Self {
        Self { kind, issues, at, code: None }
    }
}
