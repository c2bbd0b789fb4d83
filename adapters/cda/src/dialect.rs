use crate::envelope::{self, Document};
use crate::node::Node;
use crate::stamp;
use crate::syntax::Cda;
use bytes::Bytes;
use contract::{Adapter, Dialect, Envelope, Explanation, Frame, Issue, IssueCode, Outcome, Rejection, Settings, Severity, Translation};
use mapping::{Engine, Message, Shape, TableErrors, Weight};
use schemas::Tables;
use std::sync::Arc;

/// The dialect `cda`, its tables read and checked.
pub struct CdaDialect {
    engine: Arc<Engine<Cda>>,
    recipe: String,
}

impl CdaDialect {
    /// From the tables of `schemas/cda`.
    pub fn new(tables: &Tables, shape: Arc<Shape>) -> Result<Self, TableErrors> {
        let words: String = tables.iter().flat_map(|(name, text)| [name, "\n", text, "\n"]).collect();
        let recipe = format!("{}-{}-{}", env!("CARGO_PKG_VERSION"), mapping::KEYS_VERSION, Frame::new(words.into_bytes()).digest());
        Ok(Self { engine: Arc::new(Engine::compile(tables, shape, Cda)?), recipe })
    }
}

impl Dialect for CdaDialect {
    fn name(&self) -> &'static str {
        "cda"
    }

    /// XML with a ClinicalDocument near its head; what wraps one is shorter than that.
    fn recognises(&self, bytes: &[u8]) -> bool {
        let head: Vec<u8> = bytes.iter().copied().take(HEAD_BYTES).filter(|byte| *byte != 0).collect();
        let start = head.iter().position(|byte| byte.is_ascii() && !byte.is_ascii_whitespace());
        start.is_some_and(|start| head[start] == b'<') && head.windows(NAME.len()).any(|window| window == NAME)
    }

    fn frames(&self, file: &Bytes) -> Vec<Frame> {
        vec![Frame::new(file.clone())]
    }

    fn adapter(&self, settings: Settings) -> Arc<dyn Adapter> {
        Arc::new(CdaAdapter { engine: self.engine.clone(), settings })
    }

    fn recipe(&self) -> String {
        self.recipe.clone()
    }
}

const HEAD_BYTES: usize = 64 * 1024;
const NAME: &[u8] = b"ClinicalDocument";

struct CdaAdapter {
    engine: Arc<Engine<Cda>>,
    settings: Settings,
}

impl Adapter for CdaAdapter {
    fn envelope(&self, frame: &Frame) -> Result<Envelope, Rejection> {
        envelope::envelope(frame, &self.settings)
    }

    fn translate(&self, frame: &Frame, envelope: &Envelope) -> Result<Translation, Rejection> {
        self.with_document(frame, envelope, |engine, message, issues| {
            let mut translation = engine.translate(message)?;
            translation.issues.extend(issues);
            Ok(translation)
        })
    }

    fn explain(&self, frame: &Frame, envelope: &Envelope) -> Result<Explanation, Rejection> {
        self.with_document(frame, envelope, |engine, message, issues| {
            let mut explanation = engine.explain(message)?;
            explanation.unmapped.extend(issues.iter().map(|issue| issue.place.clone()));
            explanation.translation.issues.extend(issues);
            Ok(explanation)
        })
    }

    /// A document's sender is answered in HTTP's words.
    fn reply(&self, _: Option<&Envelope>, _: &Frame, _: &Outcome) -> Option<Bytes> {
        None
    }
}

impl CdaAdapter {
    fn with_document<T>(
        &self,
        frame: &Frame,
        envelope: &Envelope,
        done: impl for<'m> FnOnce(&'m Engine<Cda>, &'m Message<'m, Cda>, Vec<Issue>) -> Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        let document = Document::read(frame)?;
        let root = document.node();
        // A stamp without a zone has the zone of the document, else the feed's.
        let made = root.first("effectiveTime/@value").and_then(|value| mapping::Node::text(&value));
        let mut settings = self.settings.clone();
        settings.timezone = made.and_then(|made| stamp::zone(&made)).unwrap_or(settings.timezone);
        let message = Message { table: "CDA", root, frame, envelope, settings: &settings, sequence: 0, weight: Weight::default() };
        done(&self.engine, &message, untranslated_sections(&root))
    }
}

/// One issue for each section that has structured entries.
fn untranslated_sections(root: &Node<'_>) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut open = root.all("component/structuredBody/component/section");
    open.reverse();
    while let Some(section) = open.pop() {
        let entries = section.children("entry").count();
        if entries > 0 {
            let reason = format!("{entries} structured entries were not translated; the section is carried in the document itself");
            issues.push(Issue::new(Severity::Information, IssueCode::NotMapped, mapping::Node::place(&section), reason));
        }
        open.extend(section.all("component/section").into_iter().rev());
    }
    issues
}

#[cfg(test)]
mod tests;
