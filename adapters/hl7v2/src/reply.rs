//! Acknowledgements, in original and enhanced mode (§2.9, §2.15).
//!
//! | outcome | original | accept (MSH-15) | `ERR` |
//! |---|---|---|---|
//! | stored, duplicate | AA | CA | |
//! | stored with issues | AA | CA | one a warning (from 2.5; before it has no severity, and would read as a refusal) |
//! | malformed | AE; AR where MSH cannot be read | CE | one an issue |
//! | unsupported, untranslatable, held | AA | CA | one an issue |
//! | forbidden | AR | CR | one an issue |
//! | transient | none: the sender sends again | none | |
//!
//! The feed's own code for the outcome goes before these. Where a sender asks for both acknowledgements, the accept
//! acknowledgement is given: it says what the gateway vouches for, that the message is kept.

use crate::envelope::Head;
use crate::er7::Delimiters;
use crate::escape::escape;
use bytes::Bytes;
use contract::{Envelope, Frame, Issue, IssueCode, Outcome, OutcomeKind, Settings, Severity};

/// How many issues an acknowledgement names; the journal holds the rest.
const ERRORS_MAX: usize = 20;

/// The acknowledgement of a frame; `None` where none is due: the message is one itself, the sender asked for none, or
/// nothing is durable.
pub fn reply(envelope: Option<&Envelope>, frame: &Frame, outcome: &Outcome, settings: &Settings) -> Option<Bytes> {
    let head = envelope.map_or(frame.bytes(), |envelope| &envelope.head);
    let Ok(head) = Head::read(head, settings.character_set.as_deref()) else {
        return unreadable(frame, outcome);
    };
    if head.component(9) == "ACK" {
        return None;
    }
    let code = acknowledgement_code(head.field(15).trim(), head.field(16).trim(), outcome)?;
    let version = Version::of(&head);
    let event = envelope.map(|envelope| envelope.message_type.event.as_str()).unwrap_or_default();
    let component = char::from(head.delimiters.component);
    let message_type =
        if version < Version::V2_4 || event.is_empty() { "ACK".to_owned() } else { format!("ACK{component}{event}{component}ACK") };
    let (made, id) = (made(outcome), own_id(frame));
    let mut out = Writer { text: String::new(), delimiters: head.delimiters };
    // The parties change places as whole HDs.
    let fields = [
        head.field(2),
        head.field(5),
        head.field(6),
        head.field(3),
        head.field(4),
        &made,
        "",
        &message_type,
        &id,
        if head.field(11).is_empty() { "P" } else { head.field(11) },
        if head.field(12).is_empty() { "2.5.1" } else { head.field(12) },
        "",
        "",
        "",
        "",
        "",
        head.field(18),
    ];
    out.segment("MSH", &fields);
    let issues = told(outcome, code, version);
    let text = issues.first().filter(|_| version < Version::V2_5).map(|issue| out.escaped(&said(issue))).unwrap_or_default();
    out.segment("MSA", &[code, head.field(10), &text]);
    out.errors(&issues, version);
    Some(head.charset.encode(&out.text).into())
}

/// What can be said to bytes that hold no MSH: by the standard's own delimiters, and to nobody.
fn unreadable(frame: &Frame, outcome: &Outcome) -> Option<Bytes> {
    // Nothing is durable, or the peer is unknown: as in `acknowledgement_code`.
    if matches!(outcome.kind, OutcomeKind::Transient | OutcomeKind::Unauthenticated) {
        return None;
    }
    let mut out = Writer { text: String::new(), delimiters: Delimiters::STANDARD };
    out.segment("MSH", &["^~\\&", "", "", "", "", &made(outcome), "", "ACK", &own_id(frame), "P", "2.5.1"]);
    out.segment("MSA", &["AR"]);
    out.errors(&told(outcome, "AR", Version::V2_5), Version::V2_5);
    Some(out.text.into())
}

/// MSA-1 (table 0008), by what the sender asked for in MSH-15 and MSH-16 (table 0155).
fn acknowledgement_code(accept: &str, application: &str, outcome: &Outcome) -> Option<&'static str> {
    let usual = match outcome.kind {
        OutcomeKind::Stored | OutcomeKind::StoredWithIssues | OutcomeKind::Duplicate => Some("AA"),
        OutcomeKind::Unsupported | OutcomeKind::Untranslatable | OutcomeKind::Held => Some("AA"),
        OutcomeKind::Malformed => Some("AE"),
        OutcomeKind::Forbidden => Some("AR"),
        OutcomeKind::Transient => None,
        OutcomeKind::Unauthenticated => return None,
    };
    let (application_code, accept_code) = match outcome.code.as_deref().or(usual)? {
        "AA" | "CA" => ("AA", "CA"),
        "AE" | "CE" => ("AE", "CE"),
        "AR" | "CR" => ("AR", "CR"),
        _ => return None,
    };
    let wanted = |condition: &str| match condition {
        "NE" | "" => false,
        "ER" => application_code != "AA",
        "SU" => application_code == "AA",
        // AL, and what is not of the table: better a reply too many than a sender that waits.
        _ => true,
    };
    if accept.is_empty() && application.is_empty() {
        return Some(application_code);
    }
    if wanted(accept) {
        return Some(accept_code);
    }
    wanted(application).then_some(application_code)
}

/// The issues that an acknowledgement names.
fn told<'o>(outcome: &'o Outcome, code: &str, version: Version) -> Vec<&'o Issue> {
    let is_named = match code {
        "CA" => return Vec::new(),
        "AA" if version < Version::V2_5 => return Vec::new(),
        _ => |issue: &&Issue| issue.severity > Severity::Information,
    };
    outcome.issues.iter().filter(is_named).take(ERRORS_MAX).collect()
}

/// The reason, and the place where ERR-2 cannot hold it.
fn said(issue: &Issue) -> String {
    if issue.place.is_empty() || Location::read(&issue.place).is_some() {
        issue.reason.to_string()
    } else {
        format!("{} ({})", issue.reason, issue.place)
    }
}

/// MSH-7 of the reply.
fn made(outcome: &Outcome) -> String {
    outcome.at.strftime("%Y%m%d%H%M%S+0000").to_string()
}

/// MSH-10 of the reply: within the 20 characters that all versions allow.
fn own_id(frame: &Frame) -> String {
    let mut id = frame.digest().to_string();
    id.truncate(20);
    id
}

struct Writer {
    text: String,
    delimiters: Delimiters,
}

impl Writer {
    /// One segment, without trailing empty fields, with the CR that some receivers wait for even behind the last.
    fn segment(&mut self, name: &str, fields: &[&str]) {
        self.text.push_str(name);
        let valued = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
        for field in &fields[..valued] {
            self.text.push(char::from(self.delimiters.field));
            self.text.push_str(field);
        }
        self.text.push('\r');
    }

    /// One ERR an issue from 2.5 on (§2.15.5); before, the repetitions of ERR-1.
    fn errors(&mut self, issues: &[&Issue], version: Version) {
        let component = char::from(self.delimiters.component).to_string();
        if version < Version::V2_5 {
            let subcomponent = char::from(self.delimiters.subcomponent).to_string();
            let repetitions: Vec<String> = issues
                .iter()
                .map(|issue| {
                    let (number, text) = condition(issue);
                    let at = Location::read(&issue.place).unwrap_or_default();
                    let code = [number, &self.escaped(text), "HL70357"].join(&subcomponent);
                    [at.segment, &at.sequence, at.field, &code].join(&component)
                })
                .collect();
            if !repetitions.is_empty() {
                let all = repetitions.join(&char::from(self.delimiters.repetition).to_string());
                self.segment("ERR", &[&all]);
            }
            return;
        }
        for issue in issues {
            let (number, text) = condition(issue);
            let severity = match issue.severity {
                Severity::Error => "E",
                Severity::Warning => "W",
                Severity::Information => "I",
            };
            let place = Location::read(&issue.place).map(|at| at.written(&component)).unwrap_or_default();
            let code = [number, &self.escaped(text), "HL70357"].join(&component);
            let said = self.escaped(&said(issue));
            self.segment("ERR", &["", &place, &code, severity, "", "", "", &said]);
        }
    }

    fn escaped(&self, text: &str) -> String {
        escape(text, &self.delimiters)
    }
}

/// Table 0357.
fn condition(issue: &Issue) -> (&'static str, &'static str) {
    match issue.code {
        IssueCode::Structure => ("100", "Segment sequence error"),
        IssueCode::Required => ("101", "Required field missing"),
        IssueCode::DataType | IssueCode::Time | IssueCode::Characters => ("102", "Data type error"),
        IssueCode::UnknownCode => ("103", "Table value not found"),
        IssueCode::NotSupported => match Location::read(&issue.place).map(|at| at.field.to_owned()).as_deref() {
            Some("11") => ("202", "Unsupported processing id"),
            Some("12") => ("203", "Unsupported version id"),
            _ if issue.place.ends_with("-9.2") => ("201", "Unsupported event code"),
            _ => ("200", "Unsupported message type"),
        },
        // A type that the feed does not take is to its sender what one is that nobody takes.
        IssueCode::Forbidden if issue.place == "MSH[1]-9" => ("200", "Unsupported message type"),
        IssueCode::Identity => ("204", "Unknown key identifier"),
        IssueCode::NotMapped | IssueCode::Altered => ("0", "Message accepted"),
        IssueCode::Limit | IssueCode::Forbidden | IssueCode::Internal => ("207", "Application internal error"),
    }
}

/// A place of an issue, `PID[1]-3[2].4.1`, as ERR-1 and ERR-2 (ELD, ERL) write it.
#[derive(Default)]
struct Location<'p> {
    segment: &'p str,
    sequence: String,
    field: &'p str,
    repetition: String,
    component: &'p str,
    subcomponent: &'p str,
}

impl<'p> Location<'p> {
    fn read(place: &'p str) -> Option<Self> {
        let number = |text: &str| text.parse::<u32>().is_ok();
        let (segment, path) = place.split_once('-').unwrap_or((place, ""));
        // A segment that is missing has no occurrence.
        let is_missing = path.is_empty() && segment.len() == 3;
        let (segment, sequence) = if is_missing { (segment, "") } else { segment.strip_suffix(']')?.split_once('[')? };
        let mut parts = path.split('.');
        let field = parts.next().unwrap_or_default();
        let (field, repetition) =
            field.strip_suffix(']').and_then(|field| field.split_once('[')).unwrap_or((field, if field.is_empty() { "" } else { "1" }));
        let (component, subcomponent) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let is_one = segment.len() == 3
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && (is_missing || number(sequence))
            && [field, repetition, component, subcomponent].iter().all(|part| part.is_empty() || number(part));
        is_one.then(|| Self { segment, sequence: sequence.to_owned(), field, repetition: repetition.to_owned(), component, subcomponent })
    }

    /// ERL: `PID^1^3^2^4^1`.
    fn written(&self, component: &str) -> String {
        let parts = [self.segment, &self.sequence, self.field, &self.repetition, self.component, self.subcomponent];
        let valued = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |last| last + 1);
        parts[..valued].join(component)
    }
}

/// Minor version of the standard; one that cannot be told counts as a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u8);

impl Version {
    const V2_4: Self = Self(4);
    const V2_5: Self = Self(5);

    fn of(head: &Head) -> Self {
        let version = head.component(12);
        let minor = version.strip_prefix("2.").and_then(|rest| rest.split('.').next()).and_then(|minor| minor.parse().ok());
        Self(minor.unwrap_or(u8::MAX))
    }
}

#[cfg(test)]
mod tests;
