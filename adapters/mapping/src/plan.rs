//! Tables as the engine runs them: selectors parsed, names resolved, paths checked against R4.

use crate::condition::Condition;
use crate::node::{KeyRule, Rule, Syntax};
use crate::scalar::Primitive;
use crate::shape::{Shape, TypeId};
use crate::table::CodeMap;
use contract::{Class, Json, Name};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) struct Plan<X: Syntax> {
    pub shape: Arc<Shape>,
    pub messages: HashMap<Box<str>, Vec<MessageRow<X>>>,
    pub tables: Vec<Table<X>>,
    pub labels: Vec<Label>,
    pub slots: Vec<SlotPlan>,
    /// Slots that a required element would stand in, by resource type and the element's slot path.
    pub planned: HashMap<(TypeId, Box<str>), SlotId>,
}

pub(crate) type TableId = usize;
pub(crate) type LabelId = usize;
pub(crate) type SlotId = usize;

/// A resource of a message by the name that rows call it.
pub(crate) struct Label {
    pub name: Name,
    pub kind: TypeId,
}

/// A slot without what the message adds.
pub(crate) struct SlotPlan {
    pub kind: SlotKind,
    /// Where the elements stand in the fragment, for lists.
    pub path: Vec<Name>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum SlotKind {
    /// `explicit`: named by the column `slot`, so that several elements share it.
    Element {
        name: Name,
        explicit: bool,
    },
    Repeats {
        element: Name,
        field: Name,
    },
    Member {
        element: Name,
    },
}

pub(crate) struct MessageRow<X: Syntax> {
    pub at: Name,
    pub each: Option<X::Selector>,
    pub from: Vec<X::Selector>,
    pub when: Condition<X>,
    /// `None`: the segments are known, and say nothing.
    pub label: Option<LabelId>,
    pub making: Option<Making<X>>,
    pub apply: Apply<X>,
}

/// How a row with a key makes a resource.
pub(crate) struct Making<X: Syntax> {
    pub key: KeyPlan<X>,
    pub class: Class,
    pub asserted: Vec<X::Selector>,
    pub group: Option<Group<X>>,
}

pub(crate) struct Group<X: Syntax> {
    pub parent: LabelId,
    pub name: Name,
    pub mode: GroupMode<X>,
}

pub(crate) enum GroupMode<X: Syntax> {
    Snapshot,
    /// The structure has no place for it: asserts items, restates nothing.
    Asserts,
    /// Items carry an action code, which the rule tells.
    Acted(Rule<X>),
}

pub(crate) enum Apply<X: Syntax> {
    Nothing,
    Table(TableId),
    Row(Box<Row<X>>),
}

pub(crate) struct KeyPlan<X: Syntax> {
    /// Equal keys in one message are one resource.
    pub shared: bool,
    pub alternatives: Vec<Vec<Part<X>>>,
    /// What it reads, for a person: `PV1-19, PV1-44`.
    pub fields: Box<str>,
}

pub(crate) enum Part<X: Syntax> {
    Identifier { kind: Box<str>, selector: X::Selector },
    Text { name: Box<str>, selector: X::Selector },
    Label(LabelId),
    Feed,
    Rule(KeyRule<X>),
}

pub(crate) struct Table<X: Syntax> {
    pub kind: TypeId,
    pub blocks: Vec<Block<X>>,
    pub cells: usize,
}

/// Rows with one `each`.
pub(crate) struct Block<X: Syntax> {
    pub each: Option<X::Selector>,
    pub rows: Vec<Row<X>>,
    /// Cells that are new for each node: elements that the rows share.
    pub cells: std::ops::Range<usize>,
}

pub(crate) struct Row<X: Syntax> {
    pub at: Name,
    pub from: Vec<X::Selector>,
    pub join: Option<Box<str>>,
    pub when: Condition<X>,
    pub make: Make<X>,
    pub rule: Option<Rule<X>>,
    pub codes: Option<Arc<CodeMap>>,
    pub to: Option<Target>,
    pub implied: bool,
    /// Cells of a row that stands by itself (in a message table).
    pub cells: usize,
}

pub(crate) enum Make<X: Syntax> {
    /// Known, and says nothing.
    Nothing,
    Constant(Json),
    Scalar(Primitive),
    /// Free text with the separators that stand in it.
    WholeText,
    Table(TableId),
    /// What `codes` give, with nothing beside.
    Codes,
    By {
        selector: X::Selector,
        branches: Vec<(Box<str>, Branch<X>)>,
        other: Option<Box<Branch<X>>>,
    },
    /// A reference to a resource of this message.
    Label(LabelId),
    /// A reference to a resource that the row makes.
    Nested(Box<Nested<X>>),
}

pub(crate) struct Branch<X: Syntax> {
    pub make: Make<X>,
    /// Where `to` is a choice.
    pub to: Option<Target>,
}

pub(crate) struct Nested<X: Syntax> {
    pub kind: TypeId,
    pub name: Name,
    pub table: TableId,
    pub key: KeyPlan<X>,
    pub class: Class,
}

/// A place in the resource or value that a table builds.
#[derive(Clone)]
pub(crate) struct Target {
    /// None for the value itself.
    pub steps: Vec<Step>,
    pub kind: TypeId,
    pub primitive: Option<Primitive>,
    /// Codes of a required binding.
    pub codes: Arc<[Box<str>]>,
    /// In tables of resources.
    pub slot: Option<SlotId>,
    /// A whole Period that stands in two slots: those of its start and end.
    pub period: Option<[SlotId; 2]>,
}

#[derive(Clone)]
pub(crate) struct Step {
    pub name: Name,
    pub many: bool,
    /// Elements of lists: the one that rows share.
    pub cell: Option<usize>,
}
