//! Message structures (Chapter 3 and others, "message structure"): which groups a message's segments form.
//!
//! A structure is a line of `schemas/hl7v2/structures.csv`: its name, the messages that have it, and a grammar: names of
//! segments and groups in their order, `?` for optional, `*` for optional and repeating, a group's content in
//! parentheses. `VISIT` in the ADT structures is our own group, and so is `PATIENT` where the standard repeats a PID
//! without a group: the ROL behind PV1 is not that behind PID, and one table serves all merges.
//!
//! Real messages depart from their structure. A segment out of place goes to the nearest open group that can hold it, or
//! stays where it stands, and an issue says so: nothing is lost.

use crate::er7::Segment;
use contract::{Issue, IssueCode, Severity, TypeCode};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The structures that are known.
pub struct Structures {
    by_name: BTreeMap<String, Arc<Grammar>>,
    by_message: BTreeMap<String, Arc<Grammar>>,
    flat: Arc<Grammar>,
}

impl Structures {
    /// Reads the table; an error names the line and what is wrong with it.
    pub fn read(table: &str) -> Result<Self, String> {
        let mut found = Self::flat();
        let mut lines = table.lines().enumerate();
        if lines.next().map(|(_, header)| header.trim()) != Some("structure,messages,grammar,table") {
            return Err("line 1: the header must be structure,messages,grammar,table".into());
        }
        for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            let wrong = |reason: String| format!("line {}: {reason}", at + 1);
            let mut cells = line.split(',').map(str::trim);
            let (Some(name), Some(messages), Some(text), Some(table), None) =
                (cells.next(), cells.next(), cells.next(), cells.next(), cells.next())
            else {
                return Err(wrong("four columns are needed; an empty table is that of the structure's name".into()));
            };
            let table = if table.is_empty() { name } else { table };
            let grammar = Arc::new(Grammar::read(name, table, text).map_err(wrong)?);
            for message in messages.split_whitespace() {
                if found.by_message.insert(message.to_owned(), grammar.clone()).is_some() {
                    return Err(wrong(format!("{message} has a structure already")));
                }
            }
            if found.by_name.insert(name.to_owned(), grammar).is_some() {
                return Err(wrong(format!("{name} stands twice")));
            }
        }
        Ok(found)
    }

    /// No structure at all: every message is one flat list.
    pub fn flat() -> Self {
        Self { by_name: BTreeMap::new(), by_message: BTreeMap::new(), flat: Arc::new(Grammar::flat()) }
    }

    /// The structure of a message. Its event decides before MSH-9.3: senders write `ADT_A08` for what is ADT_A01.
    pub fn of(&self, message: &TypeCode) -> Arc<Grammar> {
        let known = self.by_message.get(&format!("{}^{}", message.code, message.event));
        let known = known.or_else(|| self.by_name.get(&message.structure)).or_else(|| self.by_message.get(&message.code));
        known.unwrap_or(&self.flat).clone()
    }
}

/// One structure.
pub struct Grammar {
    name: Option<String>,
    /// The message table that translates it: its own, or that of a structure which says the same.
    table: Option<String>,
    /// The message itself is the first.
    rules: Vec<Rule>,
}

struct Rule {
    name: Name,
    optional: bool,
    repeats: bool,
    children: Vec<usize>,
    /// All names below it, sorted.
    held: Vec<Name>,
}

/// What a rule or a selector names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Segment([u8; 3]),
    Group(Box<str>),
}

impl Name {
    /// A segment has three letters or digits, a group more.
    pub fn read(text: &str) -> Option<Self> {
        let good = text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(name) if good => Some(Name::Segment(name)),
            Err(_) if good && text.len() > 3 => Some(Name::Group(text.into())),
            _ => None,
        }
    }
}

/// One group of a message as found. The message itself is the first.
pub(crate) struct Group {
    pub rule: usize,
    pub parent: Option<u32>,
    /// For each child of the rule, the segments or groups found there, by their numbers.
    pub members: Vec<Vec<u32>>,
    /// Segments that the rule has no place for.
    pub strays: Vec<u32>,
    /// The bytes from its first segment to its last.
    pub span: Range<u32>,
}

pub(crate) struct Tree {
    pub groups: Vec<Group>,
    pub issues: Vec<Issue>,
}

impl Grammar {
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// The name of a rule that is a group; `None` for the message itself.
    pub(crate) fn group_name(&self, rule: usize) -> Option<&str> {
        match &self.rules[rule].name {
            Name::Group(name) if !name.is_empty() => Some(name),
            _ => None,
        }
    }

    fn flat() -> Self {
        let root = Rule { name: Name::Group("".into()), optional: false, repeats: false, children: Vec::new(), held: Vec::new() };
        Self { name: None, table: None, rules: vec![root] }
    }

    fn read(name: &str, table: &str, text: &str) -> Result<Self, String> {
        let mut grammar = Self { name: Some(name.to_owned()), table: Some(table.to_owned()), ..Self::flat() };
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut open = vec![0];
        let mut last = None;
        for token in spaced.split_whitespace() {
            match token {
                "(" => match last.take() {
                    Some(rule) if matches!(grammar.rules[rule], Rule { name: Name::Group(_), .. }) => open.push(rule),
                    _ => return Err("a group's name must stand before (".into()),
                },
                ")" if open.len() > 1 => {
                    open.pop();
                }
                ")" => return Err("a ) too many".into()),
                token => {
                    let bare = token.trim_end_matches(['?', '*']);
                    let name = Name::read(bare).ok_or_else(|| format!("{token} is no name of a segment or group"))?;
                    let (optional, repeats) = (bare.len() < token.len(), token.ends_with('*'));
                    grammar.rules.push(Rule { name, optional, repeats, children: Vec::new(), held: Vec::new() });
                    let rule = grammar.rules.len() - 1;
                    grammar.rules[open[open.len() - 1]].children.push(rule);
                    last = Some(rule);
                }
            }
        }
        if open.len() > 1 {
            return Err("a ) is missing".into());
        }
        // Children stand behind their parents.
        for rule in (0..grammar.rules.len()).rev() {
            let children = grammar.rules[rule].children.iter().map(|child| &grammar.rules[*child]);
            let mut held: Vec<Name> = children.flat_map(|child| child.held.iter().chain([&child.name])).cloned().collect();
            held.sort_unstable();
            held.dedup();
            grammar.rules[rule].held = held;
        }
        Ok(grammar)
    }

    /// The places among a rule's children that have this name.
    pub(crate) fn places<'g>(&'g self, rule: usize, name: &'g Name) -> impl Iterator<Item = usize> + 'g {
        self.rules[rule].children.iter().enumerate().filter(|(_, child)| self.rules[**child].name == *name).map(|(at, _)| at)
    }

    /// Whether a rule holds this name at any depth below it.
    pub(crate) fn holds(&self, rule: usize, name: &Name) -> bool {
        self.rules[rule].held.binary_search(name).is_ok()
    }

    /// The rules that are groups among a rule's children, with their places.
    pub(crate) fn groups(&self, rule: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let children = self.rules[rule].children.iter().copied().enumerate();
        children.filter(|(_, child)| matches!(self.rules[*child].name, Name::Group(_)))
    }

    /// Whether a group can begin with this segment, optional ones before it left out.
    fn begins(&self, rule: usize, name: &Name) -> bool {
        for child in &self.rules[rule].children {
            if self.rules[*child].name == *name || self.begins(*child, name) {
                return true;
            }
            if !self.rules[*child].optional {
                return false;
            }
        }
        false
    }

    /// Arranges the segments of a message into groups, in their order.
    pub(crate) fn arrange(&self, segments: &mut [Segment]) -> Tree {
        let mut tree = Arrangement { grammar: self, groups: Vec::new(), open: Vec::new(), detour: None, text: None, issues: Vec::new() };
        tree.begin(0, None);
        for (at, segment) in segments.iter_mut().enumerate() {
            let name = Name::Segment(segment.name);
            let group = tree.place(&name, u32::try_from(at).unwrap_or(u32::MAX), segment);
            segment.group = group;
            let mut enclosing = Some(group);
            while let Some(group) = enclosing {
                let group = &mut tree.groups[group as usize];
                let start = if group.span.is_empty() { segment.span.start } else { group.span.start };
                group.span = start.min(segment.span.start)..group.span.end.max(segment.span.end);
                enclosing = group.parent;
            }
        }
        Tree { groups: tree.groups, issues: tree.issues }
    }
}

struct Arrangement<'g> {
    grammar: &'g Grammar,
    groups: Vec<Group>,
    /// The open groups from the message inwards.
    open: Vec<Open>,
    /// While a segment out of place holds the open groups: at which level it left them, and what they were.
    detour: Option<(usize, Vec<Open>)>,
    /// The group of the last OBX, which further lines of its text belong to.
    text: Option<u32>,
    issues: Vec<Issue>,
}

#[derive(Clone)]
struct Open {
    group: u32,
    rule: usize,
    /// The child of the rule that was met last, if any.
    met: Option<usize>,
}

impl Arrangement<'_> {
    /// Begins a group below a parent's child, and opens it.
    fn begin(&mut self, rule: usize, parent: Option<(u32, usize)>) -> u32 {
        let group = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        let members = vec![Vec::new(); self.grammar.rules[rule].children.len()];
        self.groups.push(Group { rule, parent: parent.map(|(parent, _)| parent), members, strays: Vec::new(), span: 0..0 });
        if let Some((parent, at)) = parent {
            self.groups[parent as usize].members[at].push(group);
        }
        self.open.push(Open { group, rule, met: None });
        group
    }

    /// Finds a segment's group, and puts it there.
    fn place(&mut self, name: &Name, segment: u32, found: &Segment) -> u32 {
        if let Some(group) = self.text.filter(|_| found.continues) {
            let rule = self.groups[group as usize].rule;
            let at = self.grammar.places(rule, name).next();
            let group_of = &mut self.groups[group as usize];
            at.map_or(&mut group_of.strays, |at| &mut group_of.members[at]).push(segment);
            return group;
        }
        let group = self.place_anew(name, segment, found);
        if found.name == *b"OBX" {
            self.text = Some(group);
        }
        group
    }

    fn place_anew(&mut self, name: &Name, segment: u32, found: &Segment) -> u32 {
        // What follows a segment out of place may belong to it (a note to its result); else all is as it was before.
        if let Some((level, before)) = self.detour.take() {
            match self.place_in_order(level + 1, name, segment) {
                Some(group) => {
                    self.detour = Some((level, before));
                    return group;
                }
                None => self.open = before,
            }
        }
        if let Some(group) = self.place_in_order(0, name, segment) {
            return group;
        }
        let mut note = |reason: &'static str| {
            let place = format!("{}[{}]", String::from_utf8_lossy(&found.name), found.occurrence);
            self.issues.push(Issue::new(Severity::Information, IssueCode::Structure, place, reason));
        };
        // Out of order: the nearest open group that has a place for it, passed or not.
        for level in (0..self.open.len()).rev() {
            let Open { group, rule, .. } = self.open[level];
            let begins_another = self.grammar.rules[rule].repeats && self.grammar.places(rule, name).next() == Some(0);
            if begins_another {
                continue;
            }
            if let Some(at) = self.grammar.places(rule, name).last() {
                note("the segment stands out of order");
                self.groups[group as usize].members[at].push(segment);
                return group;
            }
            if self.grammar.holds(rule, name) {
                note("the segment stands out of order or without the one that begins its group");
                self.detour = Some((level, self.open.clone()));
                self.open.truncate(level + 1);
                return self.put_below(level, name, segment);
            }
        }
        // No place at all. A Z-segment belongs where it stands (§2.12).
        if found.name[0] != b'Z' && self.grammar.name.is_some() {
            note("the message structure has no place for the segment");
        }
        let group = self.open.last().map_or(0, |open| open.group);
        self.groups[group as usize].strays.push(segment);
        group
    }

    /// In order: from the innermost open group outwards to `outermost`, what may still come. An outer group's last child
    /// comes again before its later ones: so the next OBR begins the next order.
    fn place_in_order(&mut self, outermost: usize, name: &Name, segment: u32) -> Option<u32> {
        for level in (outermost..self.open.len()).rev() {
            let Open { group, rule, met } = self.open[level];
            let children = &self.grammar.rules[rule].children;
            let from = met.map_or(0, |met| met + usize::from(!self.grammar.rules[children[met]].repeats));
            for (at, child) in children.iter().copied().enumerate().skip(from) {
                let is_there = self.grammar.rules[child].name == *name;
                // A single group may stand already, begun by a segment that came too early.
                let begun = !self.grammar.rules[child].repeats && !self.groups[group as usize].members[at].is_empty();
                if is_there || !begun && self.grammar.begins(child, name) {
                    self.open.truncate(level + 1);
                    self.open[level].met = Some(at);
                    return Some(self.put(level, at, name, segment));
                }
            }
        }
        None
    }

    /// Puts a segment at a child of an open group, beginning the groups on the way.
    fn put(&mut self, level: usize, at: usize, name: &Name, segment: u32) -> u32 {
        let Open { group, rule, .. } = self.open[level];
        let child = self.grammar.rules[rule].children[at];
        if self.grammar.rules[child].name == *name {
            self.groups[group as usize].members[at].push(segment);
            return group;
        }
        self.begin(child, Some((group, at)));
        let children = &self.grammar.rules[child].children;
        let next = children.iter().position(|inner| self.grammar.rules[*inner].name == *name || self.grammar.begins(*inner, name));
        let (level, next) = (self.open.len() - 1, next.unwrap_or_default());
        self.open[level].met = Some(next);
        self.put(level, next, name, segment)
    }

    /// Puts a segment into a group below an open one that holds its name at some depth: into the last such group, or a
    /// new one where there is none or the segment begins one.
    fn put_below(&mut self, level: usize, name: &Name, segment: u32) -> u32 {
        let Open { group, rule, .. } = self.open[level];
        if let Some(at) = self.grammar.places(rule, name).next() {
            self.open[level].met = Some(at);
            self.groups[group as usize].members[at].push(segment);
            return group;
        }
        let inner = self.grammar.groups(rule).find(|(_, child)| self.grammar.holds(*child, name));
        let Some((at, child)) = inner else {
            self.groups[group as usize].strays.push(segment);
            return group;
        };
        let last = self.groups[group as usize].members[at].last().copied();
        let again = self.grammar.rules[child].repeats && self.grammar.places(child, name).next() == Some(0);
        match last.filter(|_| !again) {
            Some(last) => self.open.push(Open { group: last, rule: child, met: Some(self.grammar.rules[child].children.len() - 1) }),
            None => {
                self.begin(child, Some((group, at)));
            }
        }
        self.put_below(self.open.len() - 1, name, segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::er7::Message;

    fn structures() -> Structures {
        let table = schemas::Tables::embedded("hl7v2");
        Structures::read(table.get("structures").unwrap()).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The tree as `NAME(SEG SEG GROUP(...))`, strays behind a `+`.
    fn shown(message: &Message, at: u32) -> String {
        let group = &message.groups[at as usize];
        let rule = &message.grammar.rules[group.rule];
        let mut parts: Vec<(u32, String)> = Vec::new();
        let segment = |at: u32| String::from_utf8_lossy(&message.segments[at as usize].name).into_owned();
        for (child, members) in rule.children.iter().zip(&group.members) {
            for member in members {
                parts.push(match &message.grammar.rules[*child].name {
                    Name::Segment(_) => (message.segments[*member as usize].span.start, segment(*member)),
                    Name::Group(name) => (message.groups[*member as usize].span.start, format!("{name}({})", shown(message, *member))),
                });
            }
        }
        parts.extend(group.strays.iter().map(|stray| (message.segments[*stray as usize].span.start, format!("+{}", segment(*stray)))));
        parts.sort();
        parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(" ")
    }

    /// Segments by name alone, in a message of a type.
    fn check(message_type: &str, names: &str, expected: &str, issues: &[&str]) {
        let body: Vec<String> = names.split(' ').map(|name| format!("{name}|x")).collect();
        let text = format!("MSH|^~\\&|||||||{message_type}\r{}", body.join("\r"));
        let message = Message::parse(text.as_bytes(), None, &structures()).unwrap();
        assert_eq!(shown(&message, 0).trim_start_matches('+'), format!("MSH {expected}"), "{message_type}: {names}");
        let places: Vec<&str> = message.issues().iter().map(|issue| issue.place.as_str()).collect();
        assert_eq!(places, issues, "{message_type}: {names}");
        // Nothing is lost, whatever the order.
        let held: usize = message
            .groups
            .iter()
            .map(|group| {
                let segments = message.grammar.rules[group.rule].children.iter().zip(&group.members);
                let segments = segments.filter(|(child, _)| matches!(message.grammar.rules[**child].name, Name::Segment(_)));
                segments.map(|(_, members)| members.len()).sum::<usize>() + group.strays.len()
            })
            .sum();
        assert_eq!(held, message.segments.len(), "{names}");
    }

    #[test]
    fn admissions() {
        check(
            "ADT^A01^ADT_A01",
            "EVN PID PD1 ROL NK1 NK1 PV1 PV2 ROL ROL OBX NTE OBX AL1 AL1 DG1 PR1 ROL PR1 GT1 IN1 IN2 IN1 ROL ACC",
            "EVN PID PD1 ROL NEXT_OF_KIN(NK1) NEXT_OF_KIN(NK1) VISIT(PV1 PV2 ROL ROL) OBSERVATION(OBX NTE) OBSERVATION(OBX) \
             AL1 AL1 DG1 PROCEDURE(PR1 ROL) PROCEDURE(PR1) GT1 INSURANCE(IN1 IN2) INSURANCE(IN1 ROL) ACC",
            &[],
        );
        // MSH-9.3 is often wrong; the event counts.
        check("ADT^A08^ADT_A08", "EVN PID PV1 ZBE", "EVN PID VISIT(PV1 +ZBE)", &[]);
        check("ADT^A12", "EVN PID PV1 DG1", "EVN PID VISIT(PV1) DG1", &[]);
    }

    #[test]
    fn results() {
        check(
            "ORU^R01",
            "PID NTE PV1 ORC OBR NTE OBX NTE NTE OBX SPM OBX ORC OBR OBX NTE OBR OBX",
            "PATIENT_RESULT(PATIENT(PID NTE VISIT(PV1)) \
             ORDER_OBSERVATION(ORC OBR NTE OBSERVATION(OBX NTE NTE) OBSERVATION(OBX) SPECIMEN(SPM SPECIMEN_OBSERVATION(OBX))) \
             ORDER_OBSERVATION(ORC OBR OBSERVATION(OBX NTE)) ORDER_OBSERVATION(OBR OBSERVATION(OBX)))",
            &[],
        );
        check(
            "ORU^R01",
            "PID OBR OBX PID OBR OBX",
            "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX))) \
             PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX)))",
            &[],
        );
        // A specimen before the results has none of them.
        check(
            "ORU^R01",
            "PID OBR SPM OBX SPM",
            "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR SPECIMEN(SPM) OBSERVATION(OBX) SPECIMEN(SPM)))",
            &[],
        );
        check("ORU^R01", "OBR OBX", "PATIENT_RESULT(ORDER_OBSERVATION(OBR OBSERVATION(OBX)))", &[]);
    }

    #[test]
    fn a_result_without_its_request_is_the_patients() {
        check(
            "ORU^R01",
            "PID OBX OBR OBX",
            "PATIENT_RESULT(PATIENT(PID PATIENT_OBSERVATION(OBX)) ORDER_OBSERVATION(OBR OBSERVATION(OBX)))",
            &[],
        );
        check("ORU^R01", "PID PV1 OBX NTE", "PATIENT_RESULT(PATIENT(PID VISIT(PV1) PATIENT_OBSERVATION(OBX NTE)))", &["OBX[1]"]);
    }

    #[test]
    fn merges_repeat_the_patient() {
        check("ADT^A40^ADT_A39", "EVN PID MRG PID PD1 MRG PV1", "EVN PATIENT(PID MRG) PATIENT(PID PD1 MRG PV1)", &[]);
        check("ADT^A24", "EVN PID PV1 PID", "EVN PATIENT(PID PV1) PATIENT(PID)", &[]);
        check("ADT^A34", "EVN PID MRG", "EVN PATIENT(PID MRG)", &[]);
    }

    #[test]
    fn segments_out_of_place_are_kept() {
        check("ADT^A01", "EVN PID PV1 DG1 AL1", "EVN PID VISIT(PV1) DG1 AL1", &["AL1[1]"]);
        check("ADT^A01", "EVN PID PV2 PV1", "EVN PID VISIT(PV2 PV1)", &["PV2[1]", "PV1[1]"]);
        check("ADT^A01", "EVN PID PV1 IN2", "EVN PID VISIT(PV1) INSURANCE(IN2)", &["IN2[1]"]);
        check(
            "ADT^A01",
            "EVN PID PV1 AL1 NK1 NK1 DG1",
            "EVN PID VISIT(PV1) AL1 NEXT_OF_KIN(NK1) NEXT_OF_KIN(NK1) DG1",
            &["NK1[1]", "NK1[2]"],
        );
        check("ADT^A01", "EVN PID SCH PV1", "EVN PID +SCH VISIT(PV1)", &["SCH[1]"]);
        check("ADT^A01", "EVN PID PID PV1", "EVN PID PID VISIT(PV1)", &["PID[2]"]);
        check(
            "ORU^R01",
            "PID OBR OBX PV1 OBX",
            "PATIENT_RESULT(PATIENT(PID VISIT(PV1)) ORDER_OBSERVATION(OBR OBSERVATION(OBX) OBSERVATION(OBX)))",
            &["PV1[1]"],
        );
    }

    #[test]
    fn unknown_messages_are_flat() {
        check("XYZ^X01", "PID OBX PID", "+PID +OBX +PID", &[]);
    }

    #[test]
    fn mistakes_in_the_table_are_named() {
        for (line, expected) in [
            ("A,B", "four columns"),
            ("A,M,MSH (PID),", "name must stand before"),
            ("A,M,MSH PV1(PID),", "name must stand before"),
            ("A,M,MSH GROUP(PID,", ") is missing"),
            ("A,M,MSH),", ") too many"),
            ("A,M,msh,", "no name"),
            ("A,M,MSH,\nB,M,MSH,", "M has a structure"),
            ("A,M,MSH,\nA,N,MSH,", "A stands twice"),
        ] {
            let reason = Structures::read(&format!("structure,messages,grammar,table\n{line}")).err().unwrap();
            assert!(reason.contains(expected), "{line}: {reason}");
        }
    }
}
