use crate::evaluate::{Run, Sink};
use crate::finish::Said;
use crate::node::{Node, Syntax, Weight};
use crate::plan::Row;
use crate::resources::Own;
use crate::table::Coding;
use crate::{Primitive, Stamp};
use contract::{Envelope, Issue, IssueCode, Json, Key, Settings, Severity, Slot};
use std::borrow::Cow;

/// What a rule sees of the row that names it, and what it can say.
pub struct Call<'r, 'm, X: Syntax> {
    pub(crate) run: &'r mut Run<'m, X>,
    pub(crate) row: Option<&'m Row<X>>,
    pub(crate) context: X::Node<'m>,
    pub(crate) own: &'r Own<'m, X>,
    /// Values for the row's `to`, with the node that each came from.
    pub(crate) given: Vec<(Json, X::Node<'m>)>,
    pub(crate) cleared: bool,
    pub(crate) said: Vec<Said>,
    pub(crate) action: Option<Action>,
    pub(crate) withheld: bool,
}

/// What an item's action code wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The item is there, as stated: add, update, unchanged.
    Assert,
    Delete,
}

impl<'m, X: Syntax> Call<'_, 'm, X> {
    /// The node in whose context the row is evaluated.
    pub fn context(&self) -> &X::Node<'m> {
        &self.context
    }

    pub fn root(&self) -> &X::Node<'m> {
        &self.run.message.root
    }

    /// The nodes of the row's selector of this number, from 0; none if it has fewer.
    pub fn from(&self, index: usize) -> Vec<X::Node<'m>> {
        let mut found = Vec::new();
        if let Some(selector) = self.row.and_then(|row| row.from.get(index)) {
            self.context.select(selector, &mut found);
        }
        found
    }

    /// The nodes of the row: those of the first selector that finds something; the context where it has none.
    pub fn nodes(&self) -> Vec<X::Node<'m>> {
        let Some(row) = self.row.filter(|row| !row.from.is_empty()) else { return vec![self.context.clone()] };
        (0..row.from.len()).map(|index| self.from(index)).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The text of a node, which counts as carried.
    pub fn text(&mut self, node: &X::Node<'m>) -> Option<Cow<'m, str>> {
        self.run.mark(node);
        node.text()
    }

    /// All leaves of a node count as carried.
    pub fn mark_all(&mut self, node: &X::Node<'m>) {
        self.run.mark_all(node);
    }

    pub fn settings(&self) -> &'m Settings {
        self.run.message.settings
    }

    pub fn envelope(&self) -> &'m Envelope {
        self.run.message.envelope
    }

    /// The key of the resource that the row speaks of; `None` for a mention that has none yet.
    pub fn own_key(&self) -> Option<&Key> {
        self.own.key.as_ref()
    }

    /// When the resource's statements are asserted: UTC microseconds.
    pub fn asserted(&self) -> i64 {
        self.own.asserted
    }

    pub fn weight(&self) -> Weight {
        self.own.weight
    }

    /// The key of another resource of the message, by its label: the nearest one.
    pub fn key(&self, label: &str) -> Option<&Key> {
        let label = self.run.engine.plan.labels.iter().position(|known| *known.name == *label)?;
        let found = self.run.resolve(label, &self.context, &self.own.home);
        found.first().map(|index| &self.run.instances[*index].key)
    }

    /// `{"reference": "Type/id"}`.
    pub fn reference(&self, key: &Key) -> Json {
        Json::from_iter([("reference", Json::from(self.settings().reference(key)))])
    }

    /// System and value of a node of an identifier type.
    pub fn identifier(&self, kind: &str, node: &X::Node<'m>) -> Option<crate::KeyPart> {
        self.run.engine.syntax.identifier(kind, node, self.settings())
    }

    pub fn stamp(&self, text: &str) -> Result<Stamp, &'static str> {
        self.run.engine.syntax.stamp(text)
    }

    /// What the row's `as` and `codes` make of a node.
    pub fn make(&mut self, node: &X::Node<'m>) -> Option<Json> {
        let row = self.row?;
        self.run.value(row, &row.make, row.to.as_ref(), node, self.own)
    }

    /// A built-in scalar from a node; an issue if it is none.
    pub fn scalar(&mut self, primitive: Primitive, node: &X::Node<'m>) -> Option<Json> {
        let text = self.text(node)?;
        self.run.scalar(primitive, &text, node)
    }

    /// The targets of a code in the row's code map; `None` if it is not known there.
    pub fn codes(&self, code: &str) -> Option<&'m [Coding]> {
        self.row.and_then(|row| row.codes.as_deref())?.get(code)
    }

    /// A value for the row's `to`. What does not fit there is taken out, with an issue.
    pub fn give(&mut self, value: Json, node: &X::Node<'m>) {
        self.given.push((value, node.clone()));
    }

    /// Clears the row's `to`.
    pub fn clear(&mut self) {
        self.cleared = true;
    }

    /// Says a whole slot of the resource; `None` clears it. A fragment that does not fit R4 is cut, with an issue.
    pub fn say(&mut self, slot: Slot, value: Option<Json>, node: &X::Node<'m>) {
        let row = self.row.map_or_else(|| "".into(), |row| row.at.clone());
        self.said.push(Said { slot, value, place: node.place().into(), row, implied: false });
    }

    /// What the item's action code wants, for rows of a group with `!`.
    pub fn act(&mut self, action: Action) {
        self.action = Some(action);
    }

    pub fn issue(&mut self, severity: Severity, code: IssueCode, node: &X::Node<'m>, reason: &'static str) {
        self.run.issues.push(Issue::new(severity, code, node.place(), reason));
    }

    /// An issue at a place that the message does not have.
    pub fn issue_at(&mut self, severity: Severity, code: IssueCode, place: impl Into<String>, reason: &'static str) {
        self.run.issues.push(Issue::new(severity, code, place, reason));
    }

    /// Takes back the resource that the row speaks of: the message makes none here, whatever other rows say.
    pub fn withhold(&mut self) {
        self.withheld = true;
    }

    /// Hands over the slots that the rule said.
    pub(crate) fn deliver(&mut self, sink: &mut Sink<'_>) {
        if let Sink::Slots(slots) = sink {
            slots.withheld |= self.withheld;
            slots.said.append(&mut self.said);
        }
    }
}
