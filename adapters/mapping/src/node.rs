use crate::{Call, Stamp};
use contract::Settings;
use std::borrow::Cow;
use std::ops::Range;

/// What a dialect gives the engine: its selectors, its nodes, and the few things that tables leave to Rust. One value
/// serves all messages; whatever depends on the message comes in as an argument.
pub trait Syntax: Sized + Send + Sync + 'static {
    /// A selector, parsed once when the tables are read.
    type Selector: Send + Sync + 'static;
    type Node<'m>: Node<'m, Selector = Self::Selector>;

    /// Parses a selector as it stands in a table; the error says what to write instead.
    fn selector(&self, text: &str) -> Result<Self::Selector, String>;

    /// The rule of this name, for the column `rule`.
    fn rule(&self, name: &str) -> Option<Rule<Self>>;

    /// The key rule of this name, for `rule:NAME` in the column `key`.
    fn key_rule(&self, name: &str) -> Option<KeyRule<Self>>;

    /// The fields that a key rule reads, for a person: `PV1-19, PV1-50`.
    fn key_fields(&self, _name: &str) -> &'static str {
        ""
    }

    /// Whether `kind` is an identifier type that [`Syntax::identifier`] reads (`CX`, `EI`, `XCN`, `XON`, `HD`).
    fn has_identifier(&self, kind: &str) -> bool;

    /// System and value of a node of an identifier type, by the assigner rules; `None` if it has no value.
    fn identifier(&self, kind: &str, node: &Self::Node<'_>, settings: &Settings) -> Option<KeyPart>;

    /// A time stamp as the dialect writes it. HL7 v2 (DTM, TS) and V3 (TS) write alike.
    fn stamp(&self, text: &str) -> Result<Stamp, &'static str> {
        Stamp::parse(text)
    }

    /// Settled and step of what the message says of one resource (`state.md`, Rank), where they are not the message's
    /// own: a result's by its own status. `context` is the node in whose context the resource is made.
    fn weight(&self, kind: &str, context: &Self::Node<'_>, message: Weight) -> Weight;

    /// Calls `leaf` for every leaf of the message that holds a value: what nobody read becomes an issue.
    fn leaves<'m>(&self, root: &Self::Node<'m>, leaf: &mut dyn FnMut(Self::Node<'m>));
}

/// One place of a message: the message, a group, a segment, a field repetition, a component; an XML element or
/// attribute. Cheap to clone.
pub trait Node<'m>: Clone {
    type Selector;

    /// Appends the nodes found, in the order of the message. Empty ones are never found: each has a text or content
    /// below it, or [`Node::is_delete`]. A selector that names a segment looks in the node's own group, then in the
    /// nearest enclosing group that has one.
    fn select(&self, selector: &Self::Selector, found: &mut Vec<Self>);

    /// The text, decoded and unescaped; of a node with content below it, the text of its first leaf (HL7 v2: what was
    /// a plain field may have become a composite, §2.8). `None` where that is empty, or a deletion.
    fn text(&self) -> Option<Cow<'m, str>>;

    /// The whole text with the separators that stand in it: of free text, whose writers forget to escape.
    fn whole_text(&self) -> Option<Cow<'m, str>> {
        self.text()
    }

    /// Whether it says "delete" (HL7 v2 `""` as the whole field or repetition).
    fn is_delete(&self) -> bool;

    /// Where, in the dialect's own words, as in [`contract::Issue::place`].
    fn place(&self) -> String;

    /// The number of the leaf whose text [`Node::text`] gives, unique within the message and below its length in
    /// bytes (its offset will do). A field, its first component and that one's first subcomponent have the same.
    fn id(&self) -> usize;

    /// The bytes that it covers: a node encloses another if it covers its bytes. A group covers its segments.
    fn span(&self) -> Range<usize>;
}

/// A rule of an adapter: reads the row's nodes and says what a row cannot.
pub type Rule<X> = fn(&mut Call<'_, '_, X>);

/// One part of a key, or the whole of it: an identifier's system and value.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPart {
    pub system: String,
    pub value: String,
}

impl KeyPart {
    /// As the whole of a key: a lone number that holds what parts are joined by is none of theirs.
    pub fn alone(self) -> Self {
        if !self.value.contains('|') {
            return self;
        }
        Self { value: escaped(&self.value), ..self }
    }
}

/// Percent-encodes what parts of a key are joined by.
pub(crate) fn escaped(part: &str) -> String {
    part.replace('%', "%25").replace('|', "%7C")
}

/// A key rule: one part of a key from the context node of the resource, or nothing.
pub type KeyRule<X> = for<'m> fn(&<X as Syntax>::Node<'m>, &Settings) -> Option<KeyPart>;

/// The two parts of a rank that a dialect reads from codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    pub settled: u8,
    pub step: u8,
}
