//! What the tables see of a message: groups, segments, field repetitions, components, and how selectors find them.

use crate::er7::{Message, is_header};
use crate::escape::unescape;
use crate::structure::Name;
use std::borrow::Cow;
use std::ops::Range;

/// A selector of `schemas/README.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `.`
    Here,
    /// `1`, `4.1`: below the node, by number.
    Below(u16, Option<u16>),
    /// `PID`, `PID-3`, `PID-3.4.1`, `ORDER_OBSERVATION`: of the node's group, else of the nearest enclosing one that has
    /// a place for it.
    Named(NamedSelector),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSelector {
    name: Name,
    /// Field, component, subcomponent; 0 where it was not given.
    path: [u16; 3],
}

impl Selector {
    /// Reads a selector; the error says what to write instead.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: a selector is `.`, `3`, `3.1`, `PID`, `PID-3`, `PID-3.1`, `PID-3.1.2` or a group's name");
        if text == "." {
            return Ok(Selector::Here);
        }
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return match numbers(text).ok_or_else(wrong)? {
                [one, two, 0] => Ok(Selector::Below(one, (two > 0).then_some(two))),
                _ => Err(wrong()),
            };
        }
        let (name, path) = match text.split_once('-') {
            Some((name, path)) => (name, numbers(path).ok_or_else(wrong)?),
            None => (text, [0; 3]),
        };
        let name = Name::read(name).ok_or_else(wrong)?;
        if matches!(name, Name::Group(_)) && path[0] > 0 {
            return Err(wrong());
        }
        Ok(Selector::Named(NamedSelector { name, path }))
    }
}

/// One to three numbers with points between; 0 for those that are not there.
fn numbers(text: &str) -> Option<[u16; 3]> {
    let mut numbers = [0; 3];
    for (at, part) in text.split('.').enumerate() {
        *numbers.get_mut(at)? = part.parse::<u16>().ok().filter(|number| (1..=999).contains(number))?;
    }
    Some(numbers)
}

/// One place of a message. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Node<'m> {
    message: &'m Message,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    Group(u32),
    Segment(u32),
    Value(Value),
}

impl<'m> mapping::Node<'m> for Node<'m> {
    type Selector = Selector;

    fn select(&self, selector: &Selector, found: &mut Vec<Self>) {
        Node::select(self, selector, found);
    }

    fn text(&self) -> Option<Cow<'m, str>> {
        Node::text(self)
    }

    fn whole_text(&self) -> Option<Cow<'m, str>> {
        Node::whole_text(self)
    }

    fn is_delete(&self) -> bool {
        Node::is_delete(self)
    }

    fn place(&self) -> String {
        Node::place(self)
    }

    fn id(&self) -> usize {
        Node::id(self)
    }

    fn span(&self) -> Range<usize> {
        Node::span(self)
    }
}

/// A field repetition, a component or a subcomponent.
#[derive(Clone, Copy)]
struct Value {
    segment: u32,
    field: u16,
    /// From 1.
    repetition: u16,
    /// From 1; 0 where the whole repetition is meant.
    component: u16,
    /// From 1; 0 where the whole component is meant.
    subcomponent: u16,
    start: u32,
    end: u32,
}

impl<'m> Node<'m> {
    pub(crate) fn root(message: &'m Message) -> Self {
        Self { message, at: At::Group(0) }
    }

    /// The message it is of.
    pub fn message(&self) -> &'m Message {
        self.message
    }

    /// Name of the segment that it is or lies in; `None` for a group.
    pub fn segment_name(&self) -> Option<&'m str> {
        let segment = match self.at {
            At::Group(_) => return None,
            At::Segment(segment) | At::Value(Value { segment, .. }) => segment,
        };
        std::str::from_utf8(&self.message.segments[segment as usize].name).ok()
    }

    /// Appends the nodes that a selector finds, in the order of the message. Empty ones are never found, but for a
    /// field that says "delete".
    pub fn select(&self, selector: &Selector, found: &mut Vec<Self>) {
        match selector {
            Selector::Here => found.push(*self),
            Selector::Below(one, two) => self.below(*one, *two, found),
            Selector::Named(NamedSelector { name, path }) => self.named(name, path, found),
        }
    }

    /// The first node that a selector finds, for code that asks for one place.
    pub fn first(&self, selector: &str) -> Option<Self> {
        let selector = Selector::read(selector).ok()?;
        if let (Selector::Below(one, two), At::Value(_)) = (&selector, self.at) {
            let part = self.part(*one)?;
            return two.map_or(Some(part), |two| part.part(two));
        }
        let mut found = Vec::new();
        self.select(&selector, &mut found);
        found.into_iter().next()
    }

    /// All nodes that a selector finds; none where it is no selector.
    pub fn all(&self, selector: &str) -> Vec<Self> {
        let mut found = Vec::new();
        if let Ok(selector) = Selector::read(selector) {
            self.select(&selector, &mut found);
        }
        found
    }

    /// This segment, and those behind it that continue its text ([`crate::er7::Segment::continues`]).
    pub fn lines(&self) -> Vec<Self> {
        let At::Segment(first) = self.at else { return vec![*self] };
        let (segments, message) = (&self.message.segments, self.message);
        let group = segments[first as usize].group;
        let rest = (first + 1..).zip(&segments[first as usize + 1..]).take_while(|(_, segment)| segment.group == group);
        let lines = rest.filter(|(_, segment)| segment.continues).map(|(at, _)| Self { message, at: At::Segment(at) });
        std::iter::once(*self).chain(lines).collect()
    }

    /// Name of the group that it is; `None` for the message itself, and for what is no group.
    pub fn group_name(&self) -> Option<&'m str> {
        match self.at {
            At::Group(group) => self.message.group_name(group),
            _ => None,
        }
    }

    /// The text of its first leaf, unescaped: what was a plain field may have become a composite (§2.8). `None` where
    /// that is empty, `""`, or it is a segment or group.
    pub fn text(&self) -> Option<Cow<'m, str>> {
        let At::Value(value) = self.at else { return None };
        let raw = self.first_leaf(value);
        if raw.is_empty() || raw == DELETE {
            return None;
        }
        let message = self.message;
        if is_delimiters(value, message) {
            return Some(Cow::Borrowed(raw));
        }
        Some(unescape(raw, &message.delimiters, message.charset))
    }

    /// The whole text, with the separators that stand in it: of free text (TX, FT, ST), whose writers forget to escape.
    pub fn whole_text(&self) -> Option<Cow<'m, str>> {
        let At::Value(value) = self.at else { return None };
        let raw = self.message.slice(&(value.start..value.end));
        (!raw.is_empty() && raw != DELETE).then(|| unescape(raw, &self.message.delimiters, self.message.charset))
    }

    /// Whether the whole field says "delete" (§2.10.4): `""`. In a component, or in one repetition of several, `""` is
    /// an empty one, and not found.
    pub fn is_delete(&self) -> bool {
        let At::Value(value) = self.at else { return false };
        self.message.slice(&(value.start..value.end)) == DELETE
    }

    /// `PID[1]`, `PID[1]-3`, `PID[1]-3[2].4.1`: occurrence of the segment always, of a field where it is not the first.
    /// A group is named by its first segment.
    pub fn place(&self) -> String {
        let mut place = String::with_capacity(16);
        match self.at {
            At::Group(0) => {}
            At::Group(group) => {
                let start = self.message.groups[group as usize].span.start;
                let first = self.message.segments.partition_point(|segment| segment.span.start < start);
                self.push_segment(first, &mut place);
            }
            At::Segment(at) => self.push_segment(at as usize, &mut place),
            At::Value(value) => {
                self.push_segment(value.segment as usize, &mut place);
                place.push('-');
                push_number(value.field.into(), &mut place);
                if value.repetition > 1 {
                    place.push('[');
                    push_number(value.repetition.into(), &mut place);
                    place.push(']');
                }
                for part in [value.component, value.subcomponent].into_iter().filter(|part| *part > 0) {
                    place.push('.');
                    push_number(part.into(), &mut place);
                }
            }
        }
        place
    }

    fn push_segment(&self, at: usize, place: &mut String) {
        if let Some(segment) = self.message.segments.get(at) {
            place.push_str(&String::from_utf8_lossy(&segment.name));
            place.push('[');
            push_number(segment.occurrence, place);
            place.push(']');
        }
    }

    /// The offset of its first leaf: a field, its first component and that one's first subcomponent have the same.
    pub fn id(&self) -> usize {
        self.span().start
    }

    /// The bytes of the message's text that it covers.
    pub fn span(&self) -> Range<usize> {
        let span = match self.at {
            At::Group(group) => self.message.groups[group as usize].span.clone(),
            At::Segment(segment) => self.message.segments[segment as usize].span.clone(),
            At::Value(value) => value.start..value.end,
        };
        span.start as usize..span.end as usize
    }

    /// Every leaf that holds a value, in the order of the message: subcomponents where there are any, else components,
    /// else fields. MSH-1 and MSH-2 are no values.
    pub fn leaves(&self, leaf: &mut dyn FnMut(Self)) {
        let message = self.message;
        let span = self.span();
        let inside = |segment: &crate::er7::Segment| span.start <= segment.span.start as usize && segment.span.end as usize <= span.end;
        let mut found = Vec::new();
        for (at, segment) in message.segments.iter().enumerate().filter(|(_, segment)| inside(segment)) {
            let node = Self { message, at: At::Segment(u32::try_from(at).unwrap_or(u32::MAX)) };
            let first = if is_header(segment.name) { 3 } else { 1 };
            for field in first..=message.field_count(segment) {
                node.fields(field, &mut found);
                for repetition in found.drain(..) {
                    repetition.leaves_of_value(leaf);
                }
            }
        }
    }

    fn leaves_of_value(self, leaf: &mut dyn FnMut(Self)) {
        let At::Value(value) = self.at else { return };
        if self.is_delete() {
            return leaf(self);
        }
        if value.subcomponent > 0 || !self.bytes(value).contains(&self.separator(value)) {
            return leaf(self);
        }
        self.parts().filter(|part| !part.is_empty()).for_each(|part| part.leaves_of_value(leaf));
    }

    fn bytes(&self, value: Value) -> &'m [u8] {
        self.message.slice(&(value.start..value.end)).as_bytes()
    }

    /// What separates the parts of a repetition, or of a component.
    fn separator(&self, value: Value) -> u8 {
        let separators = self.message.delimiters;
        if value.component == 0 { separators.component } else { separators.subcomponent }
    }

    fn is_empty(&self) -> bool {
        let At::Value(value) = self.at else { return false };
        let separators = self.message.delimiters;
        let raw = self.bytes(value);
        let separates = |byte: &u8| *byte == separators.component || *byte == separators.subcomponent;
        // The first byte decides for most.
        match raw.first() {
            None => true,
            Some(first) if *first != b'"' && !separates(first) => false,
            _ if is_delimiters(value, self.message) => raw == DELETE.as_bytes(),
            _ => raw.split(separates).all(|part| part.is_empty() || part == DELETE.as_bytes()),
        }
    }

    fn first_leaf(&self, value: Value) -> &'m str {
        let raw = self.message.slice(&(value.start..value.end));
        if value.subcomponent > 0 || is_delimiters(value, self.message) {
            return raw;
        }
        let separators = self.message.delimiters;
        let ends = |byte: &u8| *byte == separators.subcomponent || value.component == 0 && *byte == separators.component;
        let end = raw.as_bytes().iter().position(ends);
        &raw[..end.unwrap_or(raw.len())]
    }

    /// Number `one` below this node: a field of a segment, a component of a repetition, a subcomponent of a component.
    fn below(&self, one: u16, two: Option<u16>, found: &mut Vec<Self>) {
        let first = found.len();
        match self.at {
            At::Group(_) => {}
            At::Segment(_) => self.fields(one, found),
            At::Value(_) => found.extend(self.part(one)),
        }
        if let Some(two) = two {
            into_parts(found, first, two);
        }
    }

    fn named(&self, name: &Name, path: &[u16; 3], found: &mut Vec<Self>) {
        let own = match (self.at, name) {
            (At::Segment(segment) | At::Value(Value { segment, .. }), Name::Segment(name)) => {
                (self.message.segments[segment as usize].name == *name).then_some(segment)
            }
            _ => None,
        };
        if let Some(segment) = own {
            return Self { message: self.message, at: At::Segment(segment) }.at_path(path, found);
        }
        let mut places = Vec::new();
        self.message.find(self.group(), name, &mut places);
        for at in places {
            match name {
                Name::Group(_) => found.push(Self { message: self.message, at: At::Group(at) }),
                Name::Segment(_) => Self { message: self.message, at: At::Segment(at) }.at_path(path, found),
            }
        }
    }

    /// This segment itself, or what a path names below it.
    fn at_path(self, path: &[u16; 3], found: &mut Vec<Self>) {
        let first = found.len();
        match *path {
            [0, ..] => found.extend(Some(self).filter(Self::has_fields)),
            [field, 0, _] => self.fields(field, found),
            [field, one, 0] => self.below(field, Some(one), found),
            [field, one, two] => {
                self.below(field, Some(one), found);
                into_parts(found, first, two);
            }
        }
    }

    /// Whether a segment has any field that is not empty.
    fn has_fields(&self) -> bool {
        let At::Segment(at) = self.at else { return false };
        let delimiters = self.message.delimiters;
        let separators = [delimiters.field, delimiters.component, delimiters.repetition, delimiters.subcomponent];
        self.message.slice(&self.message.segments[at as usize].span).bytes().skip(3).any(|byte| !separators.contains(&byte))
    }

    /// The group that it is, or that its segment belongs to.
    fn group(&self) -> u32 {
        match self.at {
            At::Group(group) => group,
            At::Segment(segment) | At::Value(Value { segment, .. }) => self.message.segments[segment as usize].group,
        }
    }

    /// The valued repetitions of a field of this segment; one that says "delete" if the field says that alone.
    fn fields(&self, number: u16, found: &mut Vec<Self>) {
        let At::Segment(at) = self.at else { return };
        let segment = &self.message.segments[at as usize];
        let Some(span) = self.message.field(segment, number).filter(|span| !span.is_empty()) else { return };
        let whole = Value { segment: at, field: number, repetition: 1, component: 0, subcomponent: 0, start: span.start, end: span.end };
        let node = |value| Self { message: self.message, at: At::Value(value) };
        if is_delimiters(whole, self.message) {
            return found.push(node(whole));
        }
        let text = self.bytes(whole);
        let separates = |byte: &u8| *byte == self.message.delimiters.repetition;
        if text[0] == b'"' && text.split(separates).all(|part| part == DELETE.as_bytes()) {
            return found.push(node(Value { end: span.start + 2, ..whole }));
        }
        let mut start = span.start;
        for (at, part) in text.split(separates).enumerate() {
            let end = start + part.len() as u32;
            let repetition = u16::try_from(at + 1).unwrap_or(u16::MAX);
            found.extend(Some(node(Value { repetition, start, end, ..whole })).filter(|node| !node.is_empty()));
            start = end + 1;
        }
    }

    /// The components of a repetition, or the subcomponents of a component, empty ones too.
    fn parts(self) -> impl Iterator<Item = Self> {
        let value = if let At::Value(value) = self.at { Some(value) } else { None };
        value.into_iter().flat_map(move |value| {
            let (separator, mut start) = (self.separator(value), value.start);
            self.bytes(value).split(move |byte| *byte == separator).enumerate().map(move |(at, part)| {
                let node = self.part_at(value, u16::try_from(at + 1).unwrap_or(u16::MAX), start, part.len());
                start += part.len() as u32 + 1;
                node
            })
        })
    }

    fn part_at(&self, value: Value, number: u16, start: u32, length: usize) -> Self {
        let inner = if value.component == 0 { Value { component: number, ..value } } else { Value { subcomponent: number, ..value } };
        Self { message: self.message, at: At::Value(Value { start, end: start + length as u32, ..inner }) }
    }

    /// One component of a repetition, or subcomponent of a component, if valued.
    fn part(&self, number: u16) -> Option<Self> {
        let At::Value(value) = self.at else { return None };
        if value.subcomponent > 0 || self.is_delete() || is_delimiters(value, self.message) {
            return (number == 1 && !self.is_delete()).then_some(*self);
        }
        let separator = self.separator(value);
        let text = self.bytes(value);
        let mut start = 0;
        for _ in 1..number {
            start += text[start..].iter().position(|byte| *byte == separator)? + 1;
        }
        let rest = &text[start..];
        let length = rest.iter().position(|byte| *byte == separator).unwrap_or(rest.len());
        let node = self.part_at(value, number, value.start + start as u32, length);
        (!node.is_empty()).then_some(node)
    }
}

/// Puts, for each node from `first` on, its part of this number in its place; those without one are left out.
fn into_parts(found: &mut Vec<Node<'_>>, first: usize, number: u16) {
    let mut kept = first;
    for at in first..found.len() {
        if let Some(part) = found[at].part(number) {
            found[kept] = part;
            kept += 1;
        }
    }
    found.truncate(kept);
}

fn push_number(number: u32, out: &mut String) {
    if number >= 10 {
        push_number(number / 10, out);
    }
    out.push(char::from(b'0' + (number % 10) as u8));
}

const DELETE: &str = "\"\"";

/// MSH-1 and MSH-2 are not split.
fn is_delimiters(value: Value, message: &Message) -> bool {
    value.field <= 2 && is_header(message.segments[value.segment as usize].name)
}

impl Message {
    /// The segments or groups of a name, seen from a group: its own; where its rule has no place for the name, those of
    /// the groups below it; where nothing below has one either, what the next enclosing group sees. So the NTE of one
    /// observation is never another's, and a visit's PID is the message's.
    fn find(&self, from: u32, name: &Name, found: &mut Vec<u32>) {
        let mut next = Some(from);
        while let Some(at) = next {
            let group = &self.groups[at as usize];
            let mut has_place = false;
            for place in self.grammar.places(group.rule, name) {
                has_place = true;
                found.extend(self.seen(&group.members[place], name));
            }
            found.extend(group.strays.iter().filter(|segment| self.is_named(**segment, name)));
            if !has_place && found.is_empty() {
                self.find_below(at, name, found);
                has_place = self.grammar.holds(group.rule, name);
            }
            if has_place || !found.is_empty() {
                found.sort_unstable();
                return;
            }
            next = group.parent;
        }
    }

    /// Members without the segments that continue the one before them.
    fn seen<'a>(&'a self, members: &'a [u32], name: &Name) -> impl Iterator<Item = u32> + use<'a> {
        let are_segments = matches!(name, Name::Segment(_));
        members.iter().copied().filter(move |at| !are_segments || !self.segments[*at as usize].continues)
    }

    /// All segments or groups of a name below a group, strays among them.
    fn find_below(&self, at: u32, name: &Name, found: &mut Vec<u32>) {
        let group = &self.groups[at as usize];
        for (place, rule) in self.grammar.groups(group.rule) {
            if !self.has_strays && !self.grammar.holds(rule, name) {
                continue;
            }
            for inner in &group.members[place] {
                let below = &self.groups[*inner as usize];
                for place in self.grammar.places(below.rule, name) {
                    found.extend(self.seen(&below.members[place], name));
                }
                found.extend(below.strays.iter().filter(|segment| self.is_named(**segment, name)));
                self.find_below(*inner, name, found);
            }
        }
    }

    fn group_name(&self, group: u32) -> Option<&str> {
        self.grammar.group_name(self.groups[group as usize].rule)
    }

    fn is_named(&self, segment: u32, name: &Name) -> bool {
        matches!(name, Name::Segment(name) if self.segments[segment as usize].name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::Structures;

    fn message(text: &str) -> Message {
        let tables = schemas::Tables::embedded("hl7v2");
        Message::parse(text.as_bytes(), None, &Structures::read(tables.get("structures").unwrap()).unwrap()).unwrap()
    }

    fn found<'m>(node: Node<'m>, selector: &str) -> Vec<Node<'m>> {
        let mut found = Vec::new();
        node.select(&Selector::read(selector).unwrap_or_else(|reason| panic!("{reason}")), &mut found);
        found
    }

    /// `place=text` of each node found.
    fn shown(nodes: &[Node<'_>]) -> String {
        let one = |node: &Node<'_>| match (node.is_delete(), node.text()) {
            (true, _) => format!("{}=DELETE", node.place()),
            (_, Some(text)) => format!("{}={text}", node.place()),
            (_, None) => node.place(),
        };
        nodes.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    const ORU: &str = "MSH|^~\\&|LAB|||||ORU^R01\rPID|1||7^^^RXX&1.2&ISO^MR~~8^^^NHS\\T\\X||Nagy\rPV1|1|I\r\
        ORC|RE\rOBR|1|||A^Alpha\rNTE|1||order\rOBX|1|NM|K||6.30|mmol&l^x\rNTE|1||result\rOBX|2|NM|L||\"\"\r\
        OBR|2|||B\rOBX|1|ST|M||x~y\rZZZ|1";

    #[test]
    fn selectors_find_fields_components_and_subcomponents() {
        let message = message(&ORU.replace("||ORU", "|||ORU"));
        for (selector, expected) in [
            ("PID", "PID[1]"),
            ("PID-3", "PID[1]-3=7 PID[1]-3[3]=8"),
            ("PID-3.1", "PID[1]-3.1=7 PID[1]-3[3].1=8"),
            ("PID-3.4", "PID[1]-3.4=RXX PID[1]-3[3].4=NHS&X"),
            ("PID-3.4.2", "PID[1]-3.4.2=1.2"),
            ("PID-3.4.1", "PID[1]-3.4.1=RXX PID[1]-3[3].4.1=NHS&X"),
            ("PID-5.1.1", "PID[1]-5.1.1=Nagy"),
            ("PID-2", ""),
            ("PID-99", ""),
            ("MSH-1", "MSH[1]-1=|"),
            ("MSH-2", "MSH[1]-2=^~\\&"),
            ("MSH-3", "MSH[1]-3=LAB"),
            ("MSH-9.2", "MSH[1]-9.2=R01"),
            ("OBX", "OBX[1] OBX[2] OBX[3]"),
            ("ORDER_OBSERVATION", "ORC[1] OBR[2]"),
            ("OBX-5", "OBX[1]-5=6.30 OBX[2]-5=DELETE OBX[3]-5=x OBX[3]-5[2]=y"),
            ("OBX-5.1", "OBX[1]-5.1=6.30 OBX[3]-5.1=x OBX[3]-5[2].1=y"),
            ("OBX-6.1.2", "OBX[1]-6.1.2=l"),
            ("NK1", ""),
            ("ZZZ-1", "ZZZ[1]-1=1"),
            (".", ""),
        ] {
            assert_eq!(shown(&found(message.root(), selector)), expected, "{selector}");
        }
    }

    #[test]
    fn a_context_sees_its_own_group_then_the_enclosing_ones() {
        let message = message(&ORU.replace("||ORU", "|||ORU"));
        let orders = found(message.root(), "ORDER_OBSERVATION");
        let results = found(orders[0], "OBSERVATION");
        for (node, selector, expected) in [
            (orders[0], "OBX", "OBX[1] OBX[2]"),
            (orders[0], "NTE-3", "NTE[1]-3=order"),
            (orders[1], "NTE-3", ""),
            (orders[1], "ORC", ""),
            (orders[1], "SPM", ""),
            (orders[1], "PID-5", "PID[1]-5=Nagy"),
            (orders[1], "PV1-2", "PV1[1]-2=I"),
            (results[0], "NTE-3", "NTE[2]-3=result"),
            (results[1], "NTE-3", ""),
            (results[1], "OBR-4", "OBR[1]-4=A"),
            (results[1], "OBR-4.2", "OBR[1]-4.2=Alpha"),
            (results[1], "MSH-3", "MSH[1]-3=LAB"),
            (found(orders[0], "OBX")[1], "OBX-3", "OBX[2]-3=L"),
            (found(orders[0], "OBX")[0], "NTE-3", "NTE[2]-3=result"),
            (found(orders[0], "OBX")[0], "6.1", "OBX[1]-6.1=mmol"),
            (found(message.root(), "PID-3")[0], "4.2", "PID[1]-3.4.2=1.2"),
            (found(message.root(), "PID-3")[0], "PID-5", "PID[1]-5=Nagy"),
            (found(message.root(), "PID-3.4")[0], "3", "PID[1]-3.4.3=ISO"),
            (found(message.root(), "PID-3.4.1")[0], "1", "PID[1]-3.4.1=RXX"),
            (found(message.root(), "PID-3.4.1")[0], "2", ""),
        ] {
            assert_eq!(shown(&found(node, selector)), expected, "{selector}");
        }
    }

    #[test]
    fn deletes_and_empties() {
        let message = message("MSH|^~\\&|||||||ADT^A01\rPID|\"\"|^^&|\"\"~\"\"|a~\"\"~b|\"\"^x|^\"\"^y|\"\"^\"\"\rNK1|||^&~\rPV1");
        for (selector, expected) in [
            ("PID-1", "PID[1]-1=DELETE"),
            ("PID-1.1", ""),
            ("PID-2", ""),
            ("PID-3", "PID[1]-3=DELETE"),
            ("PID-4", "PID[1]-4=a PID[1]-4[3]=b"),
            ("PID-5", "PID[1]-5"),
            ("PID-5.1", ""),
            ("PID-5.2", "PID[1]-5.2=x"),
            ("PID-6.2", ""),
            ("PID-7", ""),
            ("NK1", ""),
            ("PV1", ""),
        ] {
            assert_eq!(shown(&found(message.root(), selector)), expected, "{selector}");
        }
    }

    #[test]
    fn leaves_are_all_values_once() {
        let message = message(&ORU.replace("||ORU", "|||ORU"));
        let mut leaves = Vec::new();
        message.root().leaves(&mut |leaf| leaves.push(leaf));
        let pid: Vec<Node<'_>> = leaves.iter().copied().filter(|leaf| leaf.segment_name() == Some("PID")).collect();
        let expected = "PID[1]-1=1 PID[1]-3.1=7 PID[1]-3.4.1=RXX PID[1]-3.4.2=1.2 PID[1]-3.4.3=ISO PID[1]-3.5=MR \
            PID[1]-3[3].1=8 PID[1]-3[3].4=NHS&X PID[1]-5=Nagy";
        assert_eq!(shown(&pid), expected);
        assert_eq!(shown(&leaves[..1]), "MSH[1]-3=LAB");
        let ids: std::collections::BTreeSet<usize> = leaves.iter().map(Node::id).collect();
        assert_eq!(ids.len(), leaves.len());
        // A field, its first component and that one's first subcomponent have one id, and lie in their segment.
        for selector in ["PID-3", "PID-3.1", "PID-3.1.1"] {
            assert_eq!(found(message.root(), selector)[0].id(), leaves.iter().find(|leaf| leaf.place() == "PID[1]-3.1").unwrap().id());
        }
        let (group, field) = (found(message.root(), "PATIENT")[0].span(), found(message.root(), "PID-5")[0].span());
        assert!(group.start <= field.start && field.end <= group.end);
    }

    #[test]
    fn free_text_keeps_its_separators() {
        let message = message("MSH|^~\\&|||||||ORU^R01\rOBR|1\rOBX|1|TX|K||salt & vinegar^x \\.br\\y");
        let node = found(message.root(), "OBX-5")[0];
        assert_eq!(node.text().unwrap(), "salt ");
        assert_eq!(node.whole_text().unwrap(), "salt & vinegar^x \ny");
    }

    #[test]
    fn selectors_are_checked() {
        for bad in ["", "PID-", "PID-0", "PID-1.2.3.4", "pid", "PI", "ORDER-1", "1.2.3", "-1", "PID-1.", "0"] {
            assert!(Selector::read(bad).is_err(), "{bad}");
        }
        assert_eq!(Selector::read("4.1"), Ok(Selector::Below(4, Some(1))));
    }
}
