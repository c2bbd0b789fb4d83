//! What is counted, by sender, while the samples are read.

use super::lines::Lines;
use super::zones::Stamps;
use contract::{Adapter, Dialect, Digest, Envelope, Frame, Issue, IssueCode, Settings};
use hl7v2::charset;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub type Counts<T> = BTreeMap<T, usize>;

/// Feeds that one draft holds; what further senders said is counted.
const SENDERS_MAX: usize = 20;
/// Fields that carry a time of day: MSH-7 first.
const STAMPS: [(&str, usize); 13] = [
    ("MSH", 7),
    ("EVN", 2),
    ("EVN", 6),
    ("PV1", 44),
    ("PV1", 45),
    ("ORC", 9),
    ("OBR", 7),
    ("OBR", 14),
    ("OBR", 22),
    ("OBX", 14),
    ("SPM", 17),
    ("TXA", 4),
    ("TXA", 6),
];
/// Identifiers whose component 4 is their assigner (CX).
const OF_PERSONS: [(&str, usize); 9] =
    [("PID", 2), ("PID", 3), ("PID", 4), ("PID", 18), ("PV1", 19), ("PV1", 50), ("MRG", 1), ("MRG", 3), ("MRG", 5)];
/// Identifiers whose components 2 and 3 are (EI).
const OF_THINGS: [(&str, usize); 4] = [("ORC", 2), ("ORC", 3), ("OBR", 2), ("OBR", 3)];
/// Codes that name their coding system in component 3 (CE, CWE).
const CODED: [(&str, usize); 7] = [("AL1", 3), ("DG1", 3), ("IAM", 3), ("OBR", 4), ("OBX", 3), ("PR1", 3), ("SPM", 4)];

pub struct Samples {
    dialects: Vec<Arc<dyn Dialect>>,
    adapter: Option<Arc<dyn Adapter>>,
    /// Names of coding systems that the tables know.
    systems: BTreeSet<String>,
    /// Of HL7 v2.
    pub files: usize,
    pub batches: usize,
    pub recordings: usize,
    pub documents: usize,
    pub others: usize,
    pub unread: usize,
    /// Frames that are no message.
    pub malformed: usize,
    /// By application and facility (MSH-3.1, MSH-4.1).
    pub senders: BTreeMap<(String, String), Survey>,
    /// Messages of further senders.
    pub beyond: usize,
}

/// What one sender's messages said.
#[derive(Default)]
pub struct Survey {
    pub messages: usize,
    pub receivers: Counts<(String, String)>,
    pub types: BTreeMap<String, Kind>,
    pub versions: Counts<String>,
    pub processing: Counts<String>,
    /// What MSH-18 declares, and what the bytes are.
    pub character_sets: Counts<(String, &'static str)>,
    /// Messages with bytes that are not of the declared character set.
    pub damaged: usize,
    pub stamps: Stamps,
    pub assigners: BTreeMap<Assigner, Uses>,
    /// Numbers that name no assigner, by field.
    pub unassigned: Counts<String>,
    /// By name: how often, and which fields had values.
    pub z_segments: BTreeMap<String, (usize, BTreeSet<usize>)>,
    /// Codes by field and coding system, of systems that no table knows.
    pub local_codes: BTreeMap<(String, String), Codes>,
    /// Codes by place that the translation found in no map.
    pub unknown_codes: BTreeMap<String, Codes>,
    pub control_ids: ControlIds,
    /// MSH-13.
    pub sequence_numbers: BTreeSet<u64>,
    pub with_sequence_number: usize,
}

/// One message type.
#[derive(Default)]
pub struct Kind {
    pub messages: usize,
    /// Those that no resource was made of, by outcome.
    pub refused: Counts<&'static str>,
}

/// An assigning authority as it is written.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assigner {
    pub name: String,
    pub oid: String,
}

#[derive(Default)]
pub struct Uses {
    /// Messages that name it.
    pub messages: usize,
    /// Messages in which it assigns a number of the patient (PID-3).
    pub patients: usize,
    /// By field and type code.
    pub numbers: Counts<(String, String)>,
}

#[derive(Default)]
pub struct Codes {
    pub shown: Counts<String>,
    /// Values that may be no codes.
    pub hidden: usize,
}

/// What became of control ids (MSH-10).
#[derive(Default)]
pub struct ControlIds {
    first: HashMap<String, Digest>,
    pub missing: usize,
    pub numeric: usize,
    /// Messages that came again byte for byte.
    pub repeated: usize,
    /// Messages under the control id of another.
    pub reused: usize,
}

impl Samples {
    pub fn new(dialects: &[Arc<dyn Dialect>]) -> Self {
        let hl7v2 = dialects.iter().find(|dialect| dialect.name() == "hl7v2");
        let tables = schemas::Tables::embedded("hl7v2");
        let known = tables.get("codesystems/CodingSystem").unwrap_or_default();
        Self {
            dialects: dialects.to_vec(),
            adapter: hl7v2.map(|dialect| dialect.adapter(Settings { feed: "learn".into(), ..Settings::demonstration() })),
            systems: known.lines().skip(1).filter_map(|line| line.split(',').next()).map(str::to_ascii_uppercase).collect(),
            files: 0,
            batches: 0,
            recordings: 0,
            documents: 0,
            others: 0,
            unread: 0,
            malformed: 0,
            senders: BTreeMap::new(),
            beyond: 0,
        }
    }

    /// One file.
    pub fn take(&mut self, bytes: &bytes::Bytes) {
        let dialect = self.dialects.iter().find(|dialect| dialect.recognises(bytes)).cloned();
        match dialect {
            Some(dialect) if dialect.name() == "hl7v2" => {
                let body = &bytes[charset::head_start(bytes)..];
                self.files += 1;
                self.batches += usize::from(body.starts_with(b"FHS") || body.starts_with(b"BHS"));
                self.recordings += usize::from(bytes.contains(&0x0B));
                for frame in dialect.frames(bytes) {
                    self.frame(&frame);
                }
            }
            Some(_) => self.documents += 1,
            None => self.others += 1,
        }
    }

    pub fn messages(&self) -> usize {
        self.senders.values().map(|survey| survey.messages).sum()
    }

    /// What of the samples is in no survey, in words.
    pub fn passed_over(&self) -> String {
        let told = [
            counted(self.documents, "CDA document"),
            counted(self.others, "other file"),
            counted(self.unread, "unreadable file"),
            counted(self.malformed, "malformed frame"),
            counted(self.beyond, "message") + " of further senders",
        ];
        let told: Vec<String> = told.into_iter().filter(|words| !words.starts_with("0 ")).collect();
        if told.is_empty() { "nothing was passed over".to_owned() } else { format!("passed over: {}", told.join(", ")) }
    }

    fn frame(&mut self, frame: &Frame) {
        let Some(adapter) = self.adapter.clone() else { return };
        let decoded = charset::decode(frame.bytes(), None);
        let lines = Lines::of(&decoded.text, decoded.charset);
        let (Ok(envelope), Some(lines)) = (adapter.envelope(frame), lines) else {
            self.malformed += 1;
            return;
        };
        let sender = (envelope.sender.application.clone(), envelope.sender.facility.clone());
        if self.senders.len() == SENDERS_MAX && !self.senders.contains_key(&sender) {
            self.beyond += 1;
            return;
        }
        let survey = self.senders.entry(sender).or_default();
        survey.take(frame, &envelope, &lines);
        survey.characters(frame.bytes(), &decoded.issues, &lines);
        survey.codes(&lines, &self.systems);
        let kind = survey.types.entry(envelope.message_type.to_string()).or_default();
        kind.messages += 1;
        let issues = match adapter.translate(frame, &envelope) {
            Ok(translation) => translation.issues,
            Err(rejection) => {
                *kind.refused.entry(rejection.kind().word()).or_default() += 1;
                rejection.issues()
            }
        };
        survey.unknown(&issues, &lines);
    }
}

impl Survey {
    fn take(&mut self, frame: &Frame, envelope: &Envelope, lines: &Lines) {
        self.messages += 1;
        let receiver = &envelope.receiver;
        *self.receivers.entry((receiver.application.clone(), receiver.facility.clone())).or_default() += 1;
        *self.versions.entry(envelope.version.clone()).or_default() += 1;
        *self.processing.entry(word(&lines.first("MSH", 11))).or_default() += 1;
        self.control_ids.take(&envelope.control_id, frame.digest());
        if let Some(number) = lines.values("MSH", 13).next() {
            self.with_sequence_number += 1;
            self.sequence_numbers.extend(number.trim().parse::<u64>().ok());
        }
        for (segment, field) in STAMPS {
            lines.values(segment, field).for_each(|value| self.stamps.take(&lines.component(value, 1)));
        }
        for (name, valued) in lines.segments().filter(|(name, _)| name.starts_with('Z')) {
            let (count, fields) = self.z_segments.entry(name.to_owned()).or_default();
            *count += 1;
            fields.extend(valued);
        }
        self.identifiers(lines);
    }

    fn identifiers(&mut self, lines: &Lines) {
        let mut found: BTreeMap<Assigner, bool> = BTreeMap::new();
        let mut number = |survey: &mut Self, (segment, field): (&str, usize), assigner: Assigner, kind: String| {
            let place = format!("{segment}-{field}");
            if assigner == Assigner::default() {
                *survey.unassigned.entry(place).or_default() += 1;
                return;
            }
            *found.entry(assigner.clone()).or_default() |= place == "PID-3";
            *survey.assigners.entry(assigner).or_default().numbers.entry((place, kind)).or_default() += 1;
        };
        for (segment, field) in OF_PERSONS {
            for value in lines.values(segment, field).filter(|value| !lines.component(value, 1).is_empty()) {
                let assigner = Assigner::of(lines.subcomponent(value, 4, 1), lines.subcomponent(value, 4, 2));
                number(self, (segment, field), assigner, word(&lines.component(value, 5)));
            }
        }
        for (segment, field) in OF_THINGS {
            for value in lines.values(segment, field).filter(|value| !lines.component(value, 1).is_empty()) {
                number(self, (segment, field), Assigner::of(lines.component(value, 2), lines.component(value, 3)), String::new());
            }
        }
        for (assigner, of_patient) in found {
            let uses = self.assigners.entry(assigner).or_default();
            uses.messages += 1;
            uses.patients += usize::from(of_patient);
        }
    }

    fn characters(&mut self, bytes: &[u8], issues: &[Issue], lines: &Lines) {
        let body = &bytes[charset::head_start(bytes)..];
        let seen = match std::str::from_utf8(body) {
            _ if body.get(..4).is_some_and(|head| head.contains(&0)) => "UTF-16 or UTF-32",
            _ if body.is_ascii() => "ASCII alone",
            Ok(_) => "UTF-8",
            Err(_) => "not UTF-8",
        };
        let declared = lines.values("MSH", 18).next().unwrap_or_default();
        *self.character_sets.entry((name(declared).unwrap_or_default(), seen)).or_default() += 1;
        self.damaged += usize::from(issues.iter().any(|issue| issue.place.starts_with("byte")));
    }

    fn codes(&mut self, lines: &Lines, known: &BTreeSet<String>) {
        for (segment, field) in CODED {
            for value in lines.values(segment, field) {
                let (code, system) = (lines.component(value, 1), lines.component(value, 3));
                if code.is_empty() || known.contains(&system.to_ascii_uppercase()) {
                    continue;
                }
                let system = if system.is_empty() { system } else { name(&system).unwrap_or_else(|| "(not shown)".into()) };
                let codes = self.local_codes.entry((format!("{segment}-{field}"), system)).or_default();
                codes.take(&code, 20, 8);
            }
        }
    }

    fn unknown(&mut self, issues: &[Issue], lines: &Lines) {
        let unknown = issues.iter().filter(|issue| issue.code == IssueCode::UnknownCode && !issue.place.starts_with("MSH"));
        for (place, code) in unknown.filter_map(|issue| lines.at(&issue.place)) {
            self.unknown_codes.entry(place).or_default().take(&code, 12, 4);
        }
    }
}

impl Assigner {
    fn of(namespace: String, oid: String) -> Self {
        let is_oid = oid.contains('.') && oid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        Self { name: namespace, oid: if is_oid { oid } else { String::new() } }
    }
}

impl Codes {
    /// A text that is longer, or has more digits, or a space may be a name or a number of a person.
    fn take(&mut self, text: &str, length_max: usize, digits_max: usize) {
        let is_code = text.len() <= length_max
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./+*%^".contains(&byte))
            && text.bytes().filter(u8::is_ascii_digit).count() <= digits_max;
        if is_code {
            *self.shown.entry(text.to_owned()).or_default() += 1;
        } else {
            self.hidden += 1;
        }
    }
}

impl ControlIds {
    fn take(&mut self, control_id: &str, digest: Digest) {
        if control_id.is_empty() {
            self.missing += 1;
            return;
        }
        self.numeric += usize::from(control_id.bytes().all(|byte| byte.is_ascii_digit()));
        match self.first.get(control_id) {
            None => drop(self.first.insert(control_id.to_owned(), digest)),
            Some(first) if *first == digest => self.repeated += 1,
            Some(_) => self.reused += 1,
        }
    }
}

/// A code of a few letters and digits, else nothing of it.
fn word(text: &str) -> String {
    let is_word = text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { text.to_owned() } else { "(not shown)".to_owned() }
}

/// `1 file`, `2 files`.
pub fn counted(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// A name of a system, an authority or a character set; `None` for a text that may be anything else.
pub fn name(text: &str) -> Option<String> {
    let text = text.trim();
    let longest = text.split(|character: char| !character.is_ascii_digit()).map(str::len).max().unwrap_or_default();
    let is_oid = text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_name = text.len() <= 64 && text.chars().all(|character| character.is_alphanumeric() || " ._-/:&+()".contains(character));
    (!text.is_empty() && is_name && (longest < 7 || is_oid)).then(|| text.to_owned())
}
