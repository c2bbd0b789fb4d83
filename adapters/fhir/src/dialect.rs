use crate::identity::Identities;
use crate::message::{Message, Part};
use crate::reply;
use crate::say::{Saying, instant};
use bytes::Bytes;
use contract::{
    Adapter, Dialect, Envelope, Explanation, Frame, Json, Key, Outcome, Party, Processing, Rejection, Settings, Severity, Trace,
    Translation, TypeCode,
};
use mapping::Shape;
use std::sync::Arc;

const HEAD_BYTES: usize = 64 * 1024;
/// Describes the message, and is not kept as a resource.
pub(crate) const HEADER: &str = "MessageHeader";
/// Marks what is no record of a person (v3 ActReason, HTEST).
const TEST: &str = "HTEST";

/// The dialect `fhir`.
pub struct FhirDialect {
    shape: Arc<Shape>,
}

impl FhirDialect {
    pub fn new(shape: Arc<Shape>) -> Self {
        Self { shape }
    }
}

impl Dialect for FhirDialect {
    fn name(&self) -> &'static str {
        "fhir"
    }

    /// A JSON object with a resourceType near its head.
    fn recognises(&self, bytes: &[u8]) -> bool {
        let head = &bytes[..bytes.len().min(HEAD_BYTES)];
        let start = head.iter().find(|byte| !byte.is_ascii_whitespace());
        start == Some(&b'{') && head.windows(14).any(|window| window == b"\"resourceType\"")
    }

    /// A resource or a Bundle; or one on each line (NDJSON).
    fn frames(&self, file: &Bytes) -> Vec<Frame> {
        let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
        let whole = |line: &&[u8]| line.trim_ascii().starts_with(b"{") && line.trim_ascii().ends_with(b"}");
        if lines.len() > 1 && lines.iter().all(whole) {
            return lines.into_iter().map(|line| Frame::new(file.slice_ref(line.trim_ascii()))).collect();
        }
        vec![Frame::new(file.clone())]
    }

    fn adapter(&self, settings: Settings) -> Arc<dyn Adapter> {
        Arc::new(FhirAdapter { shape: self.shape.clone(), settings })
    }

    fn recipe(&self) -> String {
        format!("{}-{}", env!("CARGO_PKG_VERSION"), mapping::KEYS_VERSION)
    }
}

struct FhirAdapter {
    shape: Arc<Shape>,
    settings: Settings,
}

impl Adapter for FhirAdapter {
    /// Type `FHIR^Patient` or `FHIR^Bundle`, a Bundle's identifier as control id, its timestamp or the resource's lastUpdated.
    fn envelope(&self, frame: &Frame) -> Result<Envelope, Rejection> {
        let message = Message::read(frame, &self.shape)?;
        let sent = message.text(&["timestamp"]).or_else(|| message.text(&["meta", "lastUpdated"])).and_then(instant);
        let event = message.text(&["resourceType"]).unwrap_or_default().to_owned();
        Ok(Envelope {
            message_type: TypeCode { code: "FHIR".into(), event, ..TypeCode::default() },
            control_id: message.text(&["identifier", "value"]).filter(|_| message.bundle.is_some()).unwrap_or_default().to_owned(),
            sender: Party::default(),
            receiver: Party::default(),
            processing: if is_test(&message.root) || entries(&message.root).any(is_test) {
                Processing::Training
            } else {
                Processing::Production
            },
            sent,
            version: "4.0.1".into(),
            head: Bytes::new(),
            issues: Vec::new(),
        })
    }

    fn translate(&self, frame: &Frame, envelope: &Envelope) -> Result<Translation, Rejection> {
        let message = Message::read(frame, &self.shape)?;
        let parts = message.parts(&self.shape).map_err(Rejection::Untranslatable)?;
        let (identities, issues) = Identities::new(&parts, &self.settings, frame.digest());
        let mut saying = Saying::new(&self.shape, &self.settings, &identities, envelope.sent);
        saying.translation.issues = issues;
        parts.iter().enumerate().for_each(|(number, part)| saying.part(part, number));
        let translation = saying.end();
        // Half a Bundle would be another statement than the sender's.
        if translation.issues.iter().any(|issue| issue.severity == Severity::Error) {
            return Err(Rejection::Untranslatable(translation.issues));
        }
        Ok(translation)
    }

    fn explain(&self, frame: &Frame, envelope: &Envelope) -> Result<Explanation, Rejection> {
        let translation = self.translate(frame, envelope)?;
        let mut traces = Vec::new();
        for (contribution, said) in translation.contributions.iter().enumerate() {
            for statement in &said.statements {
                let mut elements = Vec::new();
                match (&statement.slot, &statement.value) {
                    (contract::Slot::Repeats { element, .. }, Some(value)) => leaves(value, element, &mut elements),
                    (contract::Slot::Element(_), Some(value)) => leaves(value, "", &mut elements),
                    (contract::Slot::Edge { .. }, _) => elements.push("link".to_owned()),
                    _ => {}
                }
                let trace = |element: String| {
                    let place = format!("{}.{element}", statement.place);
                    Trace { contribution, element, place, row: statement.row.to_string() }
                };
                traces.extend(elements.into_iter().map(trace));
            }
        }
        let unmapped =
            translation.issues.iter().filter(|issue| issue.severity == Severity::Warning).map(|issue| issue.place.clone()).collect();
        Ok(Explanation { translation, traces, unmapped })
    }

    fn reply(&self, _: Option<&Envelope>, frame: &Frame, outcome: &Outcome) -> Option<Bytes> {
        if !outcome.kind.is_stored() {
            return None;
        }
        let message = Message::read(frame, &self.shape).ok()?;
        let parts = message.parts(&self.shape).ok()?;
        reply::response(&message, &parts, &self.keys(&parts, frame), &self.settings, outcome)
    }

    fn stored_as(&self, frame: &Frame) -> Vec<String> {
        let Ok(message) = Message::read(frame, &self.shape) else { return Vec::new() };
        let Ok(parts) = message.parts(&self.shape) else { return Vec::new() };
        let keys = self.keys(&parts, frame);
        keys.iter().filter(|key| &*key.kind != HEADER).map(|key| self.settings.reference(key)).collect()
    }
}

impl FhirAdapter {
    fn keys(&self, parts: &[Part<'_>], frame: &Frame) -> Vec<Key> {
        let (identities, _) = Identities::new(parts, &self.settings, frame.digest());
        (0..parts.len()).map(|number| identities.of(number).clone()).collect()
    }
}

/// The resources of a Bundle.
fn entries(root: &Json) -> impl Iterator<Item = &Json> {
    root.get("entry").map(Json::each).unwrap_or_default().iter().filter_map(|entry| entry.get("resource"))
}

/// Whether a message or a resource says of itself that it is for a test.
fn is_test(root: &Json) -> bool {
    let Some(meta) = root.get("meta") else { return false };
    let codings = ["security", "tag"].into_iter().filter_map(|name| meta.get(name)).flat_map(Json::each);
    codings.into_iter().any(|coding| coding.get("code").and_then(Json::as_str) == Some(TEST))
}

fn leaves(value: &Json, path: &str, found: &mut Vec<String>) {
    match value {
        Json::Object(members) => members.iter().for_each(|(name, value)| {
            let below = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            leaves(value, &below, found);
        }),
        Json::Array(elements) => elements.iter().enumerate().for_each(|(at, value)| leaves(value, &format!("{path}[{at}]"), found)),
        _ => found.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests;
