use crate::batch;
use crate::envelope;
use crate::er7;
use crate::reply;
use crate::rules;
use crate::structure::Structures;
use crate::syntax::{Er7, event_step};
use bytes::Bytes;
use contract::{
    Adapter, Class, Dialect, Envelope, Explanation, Frame, Issue, IssueCode, Outcome, Rejection, Sequence, Settings, Severity, Translation,
};
use mapping::{Engine, Message, Shape, TableErrors, Weight};
use schemas::Tables;
use std::sync::Arc;

/// The dialect `hl7v2`, its tables read and checked.
pub struct Hl7v2 {
    shared: Arc<Shared>,
    recipe: String,
}

impl Hl7v2 {
    /// From the tables of `schemas/hl7v2`. The error lists all mistakes, with file, line, and what to write instead.
    pub fn new(tables: &Tables, shape: Arc<Shape>) -> Result<Self, TableErrors> {
        let mut errors = TableErrors::default();
        let structures = tables.get("structures").ok_or_else(|| "the table of message structures is missing".to_owned());
        let structures = structures.and_then(Structures::read).unwrap_or_else(|reason| {
            errors.push("structures", 1, reason);
            Structures::flat()
        });
        match Engine::compile(tables, shape, Er7) {
            Ok(engine) if errors.0.is_empty() => {
                let words: String = tables.iter().flat_map(|(name, text)| [name, "\n", text, "\n"]).collect();
                let recipe = format!("{}-{}-{}", env!("CARGO_PKG_VERSION"), mapping::KEYS_VERSION, Frame::new(words.into_bytes()).digest());
                Ok(Self { shared: Arc::new(Shared { engine, structures }), recipe })
            }
            Ok(_) => Err(errors),
            Err(more) => {
                errors.0.extend(more.0);
                Err(errors)
            }
        }
    }
}

struct Shared {
    engine: Engine<Er7>,
    structures: Structures,
}

impl Dialect for Hl7v2 {
    fn name(&self) -> &'static str {
        "hl7v2"
    }

    fn recognises(&self, bytes: &[u8]) -> bool {
        batch::recognises(bytes)
    }

    fn frames(&self, file: &Bytes) -> Vec<Frame> {
        batch::frames(file)
    }

    fn adapter(&self, settings: Settings) -> Arc<dyn Adapter> {
        Arc::new(Er7Adapter { shared: self.shared.clone(), settings })
    }

    fn recipe(&self) -> String {
        self.recipe.clone()
    }
}

struct Er7Adapter {
    shared: Arc<Shared>,
    settings: Settings,
}

impl Adapter for Er7Adapter {
    fn envelope(&self, frame: &Frame) -> Result<Envelope, Rejection> {
        envelope::envelope(frame, &self.settings)
    }

    fn translate(&self, frame: &Frame, envelope: &Envelope) -> Result<Translation, Rejection> {
        self.with_message(frame, envelope, |engine, message, issues| {
            let mut translation = engine.translate(message)?;
            translation.issues.splice(..0, issues);
            checked(translation)
        })
    }

    fn explain(&self, frame: &Frame, envelope: &Envelope) -> Result<Explanation, Rejection> {
        self.with_message(frame, envelope, |engine, message, issues| {
            let mut explanation = engine.explain(message)?;
            explanation.translation.issues.splice(..0, issues);
            explanation.translation = checked(explanation.translation)?;
            Ok(explanation)
        })
    }

    fn reply(&self, envelope: Option<&Envelope>, frame: &Frame, outcome: &Outcome) -> Option<Bytes> {
        reply::reply(envelope, frame, outcome, &self.settings)
    }
}

impl Er7Adapter {
    fn with_message<T>(
        &self,
        frame: &Frame,
        envelope: &Envelope,
        done: impl for<'m> FnOnce(&'m Engine<Er7>, &'m Message<'m, Er7>, Vec<Issue>) -> Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        let Shared { engine, structures } = &*self.shared;
        let parsed =
            er7::Message::parse(frame.bytes(), self.settings.character_set.as_deref(), structures).map_err(Rejection::Malformed)?;
        let kind = &envelope.message_type;
        let table = parsed.table().filter(|table| engine.knows(table) && (kind.code != "ADT" || event_step(&kind.event) > 0));
        let Some(table) = table else {
            let reason = "no table translates messages of this type";
            return Err(Rejection::Unsupported(Issue::new(Severity::Error, IssueCode::NotSupported, "MSH[1]-9", reason)));
        };
        let root = parsed.root();
        if let Some(issue) = rules::contradiction(&root, &self.settings) {
            return Err(Rejection::Held(issue));
        }
        let count = |number: &str| root.first(number).and_then(|node| node.text()?.trim().parse().ok());
        let sequence = match self.settings.sequence {
            Some(Sequence::ControlId) => count("MSH-10"),
            Some(Sequence::Msh13) => count("MSH-13"),
            None => None,
        };
        let message = Message {
            table,
            root,
            frame,
            envelope,
            settings: &self.settings,
            sequence: sequence.unwrap_or(0),
            weight: Weight { settled: 0, step: event_step(&kind.event) },
        };
        let mut issues = parsed.issues().to_vec();
        issues.extend(rules::doubts(&root, &self.settings));
        done(engine, &message, issues)
    }
}

/// A message that gives no resource of its own is refused, with all that was found.
fn checked(translation: Translation) -> Result<Translation, Rejection> {
    let says_something = translation.contributions.iter().any(|contribution| contribution.class == Class::Record);
    if says_something {
        return Ok(translation);
    }
    let reason = "nothing in it makes a resource: PID is missing or empty";
    let mut issues = vec![Issue::new(Severity::Error, IssueCode::Required, "", reason)];
    issues.extend(translation.issues);
    Err(Rejection::Untranslatable(issues))
}

#[cfg(test)]
mod tests;
