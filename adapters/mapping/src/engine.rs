use crate::compile::compile;
use crate::evaluate::Run;
use crate::node::{Syntax, Weight};
use crate::plan::Plan;
use crate::shape::Shape;
use crate::table::TableErrors;
use contract::{Envelope, Explanation, Frame, Rejection, Settings, Translation};
use schemas::Tables;
use std::sync::Arc;

/// The tables of one dialect, compiled. Shared by all feeds and threads.
pub struct Engine<X: Syntax> {
    pub(crate) syntax: X,
    pub(crate) plan: Plan<X>,
}

/// One message as the dialect read it.
pub struct Message<'m, X: Syntax> {
    /// The message table that it is translated by (`ADT_A01`).
    pub table: &'m str,
    pub root: X::Node<'m>,
    pub frame: &'m Frame,
    pub envelope: &'m Envelope,
    pub settings: &'m Settings,
    /// The sender's own count, where the feed says that it counts; else 0.
    pub sequence: u64,
    /// The message's own settled and step, by its event.
    pub weight: Weight,
}

impl<X: Syntax> Engine<X> {
    /// Reads and checks the tables. The error lists all mistakes, with file, line, and what to write instead.
    pub fn compile(tables: &Tables, shape: Arc<Shape>, syntax: X) -> Result<Self, TableErrors> {
        let plan = compile(tables, shape, &syntax)?;
        Ok(Self { syntax, plan })
    }

    /// Whether there is a message table of this name.
    pub fn knows(&self, table: &str) -> bool {
        self.plan.messages.contains_key(table)
    }

    pub fn shape(&self) -> &Arc<Shape> {
        &self.plan.shape
    }

    pub fn syntax(&self) -> &X {
        &self.syntax
    }

    /// What the message says. Pure. No contribution at all where the table is not known, or makes nothing of it; an error
    /// where it would make more resources than one message may.
    pub fn translate<'m>(&'m self, message: &'m Message<'m, X>) -> Result<Translation, Rejection> {
        let mut run = Run::new(self, message, false);
        run.evaluate()?;
        Ok(run.finish().translation)
    }

    /// The same, with the origin of every element.
    pub fn explain<'m>(&'m self, message: &'m Message<'m, X>) -> Result<Explanation, Rejection> {
        let mut run = Run::new(self, message, true);
        run.evaluate()?;
        Ok(run.finish())
    }
}
