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
    /// Field, component, subcomponent; as many as were given.
    path: Vec<u16>,
}

impl Selector {
    /// Reads a selector; the error says what to write instead.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: a selector is `.`, `3`, `3.1`, `PID`, `PID-3`, `PID-3.1`, `PID-3.1.2` or a group's name");
        let numbers = |text: &str| -> Option<Vec<u16>> {
            text.split('.').map(|part| part.parse::<u16>().ok().filter(|number| (1..=999).contains(number))).collect()
        };
        if text == "." {
            return Ok(Selector::Here);
        }
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return match numbers(text).ok_or_else(wrong)?[..] {
                [one] => Ok(Selector::Below(one, None)),
                [one, two] => Ok(Selector::Below(one, Some(two))),
                _ => Err(wrong()),
            };
        }
        let (name, path) = match text.split_once('-') {
            Some((name, path)) => (name, numbers(path).ok_or_else(wrong)?),
            None => (text, Vec::new()),
        };
        let name = Name::read(name).ok_or_else(wrong)?;
        if path.len() > 3 || matches!(name, Name::Group(_)) && !path.is_empty() {
            return Err(wrong());
        }
        Ok(Selector::Named(NamedSelector { name, path }))
    }
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
        let mut found = Vec::new();
        self.select(&Selector::read(selector).ok()?, &mut found);
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
        let segment = |at: u32| {
            let segment = &self.message.segments[at as usize];
            format!("{}[{}]", String::from_utf8_lossy(&segment.name), segment.occurrence)
        };
        match self.at {
            At::Group(0) => String::new(),
            At::Group(group) => {
                let start = self.message.groups[group as usize].span.start;
                let first = self.message.segments.partition_point(|segment| segment.span.start < start);
                u32::try_from(first).ok().filter(|at| (*at as usize) < self.message.segments.len()).map_or_else(String::new, segment)
            }
            At::Segment(at) => segment(at),
            At::Value(value) => {
                let mut place = format!("{}-{}", segment(value.segment), value.field);
                if value.repetition > 1 {
                    place.push_str(&format!("[{}]", value.repetition));
                }
                for part in [value.component, value.subcomponent].into_iter().filter(|part| *part > 0) {
                    place.push_str(&format!(".{part}"));
                }
                place
            }
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
        let mut parts = Vec::new();
        if value.subcomponent == 0 {
            self.parts(&mut parts);
        }
        match parts.len() {
            0 | 1 => leaf(self),
            _ => parts.into_iter().filter(|part| !part.is_empty()).for_each(|part| part.leaves_of_value(leaf)),
        }
    }

    fn is_empty(&self) -> bool {
        let At::Value(value) = self.at else { return false };
        let separators = self.message.delimiters;
        let raw = self.message.slice(&(value.start..value.end));
        let part = |text: &str| text.is_empty() || text == DELETE;
        part(raw)
            || raw.split(|char| char == char::from(separators.component) || char == char::from(separators.subcomponent)).all(part)
                && !is_delimiters(value, self.message)
    }

    fn first_leaf(&self, value: Value) -> &'m str {
        let raw = self.message.slice(&(value.start..value.end));
        if value.subcomponent > 0 || is_delimiters(value, self.message) {
            return raw;
        }
        let component = char::from(self.message.delimiters.component);
        let subcomponent = char::from(self.message.delimiters.subcomponent);
        let end = raw.find(|char| char == subcomponent || value.component == 0 && char == component);
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
            let outer: Vec<Self> = found.drain(first..).collect();
            found.extend(outer.into_iter().filter_map(|node| node.part(two)));
        }
    }

    fn named(&self, name: &Name, path: &[u16], found: &mut Vec<Self>) {
        let mut segments = Vec::new();
        let own = match (self.at, name) {
            (At::Segment(segment) | At::Value(Value { segment, .. }), Name::Segment(name)) => {
                (self.message.segments[segment as usize].name == *name).then_some(segment)
            }
            _ => None,
        };
        match own {
            Some(segment) => segments.push(segment),
            None => self.message.find(self.group(), name, &mut segments),
        }
        let is_group = matches!(name, Name::Group(_));
        for at in segments {
            let node = Self { message: self.message, at: if is_group { At::Group(at) } else { At::Segment(at) } };
            match *path {
                [] => found.extend(Some(node).filter(|node| is_group || node.has_fields())),
                [field] => node.fields(field, found),
                [field, one] => node.below(field, Some(one), found),
                [field, one, two, ..] => {
                    let first = found.len();
                    node.below(field, Some(one), found);
                    let outer: Vec<Self> = found.drain(first..).collect();
                    found.extend(outer.into_iter().filter_map(|node| node.part(two)));
                }
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
        let text = self.message.slice(&span);
        let repetition = char::from(self.message.delimiters.repetition);
        if text.split(repetition).all(|part| part == DELETE) {
            return found.push(node(Value { end: span.start + 2, ..whole }));
        }
        let mut start = span.start;
        for (at, part) in text.split(repetition).enumerate() {
            let end = start + part.len() as u32;
            let repetition = u16::try_from(at + 1).unwrap_or(u16::MAX);
            found.extend(Some(node(Value { repetition, start, end, ..whole })).filter(|node| !node.is_empty()));
            start = end + 1;
        }
    }

    /// The components of a repetition, or the subcomponents of a component, empty ones too.
    fn parts(&self, found: &mut Vec<Self>) {
        let At::Value(value) = self.at else { return };
        let separators = self.message.delimiters;
        let separator = if value.component == 0 { separators.component } else { separators.subcomponent };
        let mut start = value.start;
        for (at, part) in self.message.slice(&(value.start..value.end)).split(char::from(separator)).enumerate() {
            let end = start + part.len() as u32;
            let number = u16::try_from(at + 1).unwrap_or(u16::MAX);
            let inner = if value.component == 0 { Value { component: number, ..value } } else { Value { subcomponent: number, ..value } };
            found.push(Self { message: self.message, at: At::Value(Value { start, end, ..inner }) });
            start = end + 1;
        }
    }

    /// One component of a repetition, or subcomponent of a component, if valued.
    fn part(&self, number: u16) -> Option<Self> {
        let At::Value(value) = self.at else { return None };
        if value.subcomponent > 0 || self.is_delete() || is_delimiters(value, self.message) {
            return (number == 1 && !self.is_delete()).then_some(*self);
        }
        let separators = self.message.delimiters;
        let separator = char::from(if value.component == 0 { separators.component } else { separators.subcomponent });
        let text = self.message.slice(&(value.start..value.end));
        let part = text.split(separator).nth(usize::from(number).checked_sub(1)?)?;
        let start = value.start + (part.as_ptr() as usize - text.as_ptr() as usize) as u32;
        let inner = if value.component == 0 { Value { component: number, ..value } } else { Value { subcomponent: number, ..value } };
        let node = Self { message: self.message, at: At::Value(Value { start, end: start + part.len() as u32, ..inner }) };
        (!node.is_empty()).then_some(node)
    }
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
                found.extend(&group.members[place]);
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
                    found.extend(&below.members[place]);
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
