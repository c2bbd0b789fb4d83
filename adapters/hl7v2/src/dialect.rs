use crate::batch;
use crate::envelope;
use crate::er7;
use crate::event;
use crate::identity;
use crate::reply;
use crate::structure::Structures;
use crate::syntax::Er7;
use bytes::Bytes;
use contract::{
    Adapter, Dialect, Envelope, Explanation, Frame, Issue, IssueCode, Outcome, Rejection, Sequence, Settings, Severity, Translation,
};
use mapping::{Engine, Message, Shape, TableErrors};
use schemas::Tables;
use std::sync::Arc;

/// The dialect `hl7v2`, its tables read and checked.
pub struct Hl7v2 {
    shared: Arc<Shared>,
    recipe: String,
}

struct Shared {
    engine: Engine<Er7>,
    structures: Structures,
}

impl Hl7v2 {
    /// From the tables of `schemas/hl7v2`.
    pub fn new(tables: &Tables, shape: Arc<Shape>) -> Result<Self, TableErrors> {
        let words: String = tables.iter().flat_map(|(name, text)| [name, "\n", text, "\n"]).collect();
        let recipe = format!("{}-{}", env!("CARGO_PKG_VERSION"), Frame::new(words.into_bytes()).digest());
        let structures = Structures::read(tables.get("structures").unwrap_or_default()).map_err(|reason| {
            let mut errors = TableErrors::default();
            errors.push("structures", 0, reason);
            errors
        })?;
        Ok(Self { shared: Arc::new(Shared { engine: Engine::compile(tables, shape, Er7)?, structures }), recipe })
    }
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
        Arc::new(Hl7v2Adapter { shared: self.shared.clone(), settings })
    }

    fn recipe(&self) -> String {
        self.recipe.clone()
    }
}

struct Hl7v2Adapter {
    shared: Arc<Shared>,
    settings: Settings,
}

impl Adapter for Hl7v2Adapter {
    fn envelope(&self, frame: &Frame) -> Result<Envelope, Rejection> {
        envelope::envelope(frame, &self.settings)
    }

    fn translate(&self, frame: &Frame, envelope: &Envelope) -> Result<Translation, Rejection> {
        self.with_message(frame, envelope, |engine, message, issues| {
            let mut translation = engine.translate(message);
            translation.issues.splice(0..0, issues);
            translation
        })
        .and_then(|translation| {
            if translation.contributions.is_empty() { Err(Rejection::Untranslatable(translation.issues)) } else { Ok(translation) }
        })
    }

    fn explain(&self, frame: &Frame, envelope: &Envelope) -> Result<Explanation, Rejection> {
        self.with_message(frame, envelope, |engine, message, issues| {
            let mut explanation = engine.explain(message);
            explanation.translation.issues.splice(0..0, issues);
            explanation
        })
    }

    fn reply(&self, envelope: Option<&Envelope>, frame: &Frame, outcome: &Outcome) -> Option<Bytes> {
        reply::reply(envelope, frame, outcome, &self.settings)
    }
}

impl Hl7v2Adapter {
    fn with_message<T>(
        &self,
        frame: &Frame,
        envelope: &Envelope,
        done: impl for<'m> FnOnce(&'m Engine<Er7>, &'m Message<'m, Er7>, Vec<Issue>) -> T,
    ) -> Result<T, Rejection> {
        let read = er7::Message::parse(frame.bytes(), self.settings.character_set.as_deref(), &self.shared.structures)
            .map_err(Rejection::Malformed)?;
        let unsupported = || {
            Rejection::Unsupported(Issue::new(
                Severity::Error,
                IssueCode::NotSupported,
                "MSH-9",
                "no table for this message type and event",
            ))
        };
        let table = read.structure().filter(|table| self.shared.engine.knows(table)).ok_or_else(unsupported)?;
        let root = read.root();
        identity::consistent(&root, &self.settings)?;
        let sequence = match self.settings.sequence {
            None => 0,
            Some(Sequence::ControlId) => envelope.control_id.parse().unwrap_or(0),
            Some(Sequence::Msh13) => root.first("MSH-13").and_then(|node| node.text()).and_then(|text| text.parse().ok()).unwrap_or(0),
        };
        let weight = event::weight(&envelope.message_type.event);
        let message = Message { table, root, frame, envelope, settings: &self.settings, sequence, weight };
        Ok(done(&self.shared.engine, &message, read.issues().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        let shape = Arc::new(Shape::r4().unwrap());
        if let Err(errors) = Hl7v2::new(&Tables::embedded("hl7v2"), shape) {
            panic!("{errors}");
        }
    }
}
