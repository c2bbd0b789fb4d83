//! One message through the plan: first the resources that its rows make and their keys, then what each row says.

use crate::call::{Action, Call};
use crate::compile::in_codes;
use crate::engine::{Engine, Message};
use crate::finish::{Slots, TraceLine, digest_key};
use crate::node::{KeyPart, Node, Syntax, Weight};
use crate::plan::*;
use crate::scalar::Primitive;
use crate::shape::TypeId;
use contract::{Class, Issue, IssueCode, Json, Key, Membership, Name, Rank, Severity};
use std::cell::OnceCell;
use std::collections::HashMap;

/// The state of one translation.
pub(crate) struct Run<'m, X: Syntax> {
    pub engine: &'m Engine<X>,
    pub message: &'m Message<'m, X>,
    /// Resources of message rows, then those of nested rows.
    pub instances: Vec<Instance<'m, X>>,
    by_label: Vec<Vec<usize>>,
    /// Nested resources by key: what is named twice is one.
    nested: HashMap<(Key, bool), usize>,
    pub issues: Vec<Issue>,
    pub traces: Option<Vec<TraceLine>>,
    /// Leaves that were carried, one bit each.
    marks: Vec<u64>,
    cells: Vec<u32>,
    buffers: Vec<Vec<X::Node<'m>>>,
    /// Groups that the message states, as (parent, group's making row) with their items.
    pub groups: Vec<GroupFound<'m, X>>,
}

/// A resource of the message.
pub(crate) struct Instance<'m, X: Syntax> {
    pub kind: TypeId,
    pub name: Name,
    pub node: X::Node<'m>,
    pub key: Key,
    /// The key is an identifier as the message gives it.
    pub identified: bool,
    pub class: Class,
    pub asserted: i64,
    pub weight: Weight,
    pub slots: Slots,
    pub member_of: Option<Membership>,
    reference: OnceCell<Name>,
    /// The rows that speak of it, with the nodes they speak from.
    sources: Vec<(&'m MessageRow<X>, Vec<X::Node<'m>>)>,
}

/// What rows need to know of the resource they speak of.
pub(crate) struct Own<'m, X: Syntax> {
    pub key: Option<Key>,
    pub asserted: i64,
    pub weight: Weight,
    pub home: X::Node<'m>,
}

/// The items of a group under one parent.
pub(crate) struct GroupFound<'m, X: Syntax> {
    pub parent: usize,
    pub name: Name,
    pub asserts: bool,
    pub items: Vec<(Name, Option<Action>)>,
    pub place: X::Node<'m>,
    pub row: Name,
}

/// Where a table writes to.
pub(crate) enum Sink<'s> {
    Value(&'s mut Json),
    Slots(&'s mut Slots),
}

const UNSET: u32 = u32::MAX;

impl<'m, X: Syntax> Run<'m, X> {
    pub fn new(engine: &'m Engine<X>, message: &'m Message<'m, X>, trace: bool) -> Self {
        Self {
            engine,
            message,
            instances: Vec::new(),
            by_label: vec![Vec::new(); engine.plan.labels.len()],
            nested: HashMap::new(),
            issues: Vec::new(),
            traces: trace.then(Vec::new),
            marks: vec![0; message.frame.bytes().len() / 64 + 1],
            cells: Vec::new(),
            buffers: Vec::new(),
            groups: Vec::new(),
        }
    }

    pub fn evaluate(&mut self) {
        let Some(rows) = self.engine.plan.messages.get(self.message.table) else { return };
        let mut made = Vec::new();
        for row in rows {
            self.instantiate(row, &mut made);
        }
        self.give_keys(&made);
        for index in 0..made.len() {
            self.speak(index);
        }
    }

    /// The resources that a message row makes, or adds to.
    fn instantiate(&mut self, row: &'m MessageRow<X>, made: &mut Vec<Option<&'m MessageRow<X>>>) {
        let mut contexts = self.buffer();
        match &row.each {
            Some(each) => self.message.root.select(each, &mut contexts),
            None => contexts.push(self.message.root.clone()),
        }
        let mut buffer = self.buffer();
        for context in contexts.drain(..) {
            if !row.when.holds(&context, &mut buffer) {
                continue;
            }
            let mut nodes = Vec::new();
            if row.from.is_empty() {
                nodes.push(context.clone());
            } else if !select_first(&row.from, &context, &mut nodes) {
                continue;
            }
            let Some(label) = row.label else {
                nodes.iter().for_each(|node| self.mark_all(node));
                continue;
            };
            let found = self.by_label[label].iter().copied().find(|index| self.instances[*index].node.span() == context.span());
            let found = match (found, &row.making) {
                (Some(index), _) => Some(index),
                (None, None) => self.enclosing(label, &context),
                (None, Some(making)) => {
                    if self.empties_group(making, &context, &row.at) {
                        continue;
                    }
                    let index = self.instances.len();
                    let instance = self.instance(self.engine.plan.labels[label].kind, making, context.clone());
                    self.instances.push(instance);
                    self.by_label[label].push(index);
                    made.push(Some(row));
                    Some(index)
                }
            };
            if let Some(index) = found {
                self.instances[index].sources.push((row, nodes));
            }
        }
        self.give_back(contexts);
        self.give_back(buffer);
    }

    fn instance(&mut self, kind: TypeId, making: &'m Making<X>, node: X::Node<'m>) -> Instance<'m, X> {
        let name = self.engine.plan.shape.of(kind).name.clone();
        let weight = self.engine.syntax.weight(&name, &node, self.message.weight);
        let asserted = self.asserted(making, &node);
        Instance {
            kind,
            key: Key::new(name.clone(), "", ""),
            name,
            node,
            identified: false,
            class: making.class,
            asserted,
            weight,
            slots: Slots::default(),
            member_of: None,
            reference: OnceCell::new(),
            sources: Vec::new(),
        }
    }

    /// The first stamp that is valued; more than 5 minutes after the message's own it counts as that.
    fn asserted(&mut self, making: &Making<X>, context: &X::Node<'m>) -> i64 {
        let sent = self.message.envelope.sent;
        let mut found = self.buffer();
        let mut asserted = sent.unwrap_or(0);
        if select_first(&making.asserted, context, &mut found)
            && let Some((node, text)) = found.iter().find_map(|node| Some((node, node.text()?)))
        {
            match self.engine.syntax.stamp(&text) {
                Ok(stamp) => {
                    asserted = stamp.micros(&self.message.settings.timezone);
                    if let Some(sent) = sent.filter(|sent| asserted > sent + Rank::AHEAD_MAX) {
                        asserted = sent;
                        let reason = "more than 5 minutes after the message's own time: counts as that";
                        self.issues.push(Issue::new(Severity::Warning, IssueCode::Time, node.place(), reason));
                    }
                }
                Err(reason) => self.issues.push(Issue::new(Severity::Warning, IssueCode::Time, node.place(), reason)),
            }
        }
        self.give_back(found);
        asserted
    }

    /// Whether the node says that its group is empty: all selectors of its key are deletions (HL7 v2 §2.10.4).
    fn empties_group(&mut self, making: &Making<X>, context: &X::Node<'m>, row: &Name) -> bool {
        let Some(group) = &making.group else { return false };
        let mut found = self.buffer();
        for part in making.key.alternatives.iter().flatten() {
            if let Part::Identifier { selector, .. } | Part::Text { selector, .. } = part {
                context.select(selector, &mut found);
            }
        }
        let empties = !found.is_empty() && found.iter().all(Node::is_delete);
        if empties {
            found.iter().for_each(|node| self.mark(node));
            if let Some(parent) = self.resolve(group.parent, context, context).first().copied() {
                self.group(parent, group, context, row);
            }
        }
        self.give_back(found);
        empties
    }

    fn group(&mut self, parent: usize, group: &Group<X>, place: &X::Node<'m>, row: &Name) -> usize {
        let found = self.groups.iter().position(|found| found.parent == parent && found.name == group.name);
        found.unwrap_or_else(|| {
            let asserts = matches!(group.mode, GroupMode::Asserts);
            self.groups.push(GroupFound {
                parent,
                name: group.name.clone(),
                asserts,
                items: Vec::new(),
                place: place.clone(),
                row: row.clone(),
            });
            self.groups.len() - 1
        })
    }

    fn give_keys(&mut self, made: &[Option<&'m MessageRow<X>>]) {
        let mut taken: HashMap<Key, u32> = HashMap::new();
        let mut pending: Vec<usize> = (0..made.len()).collect();
        let mut known = vec![false; made.len()];
        // A key may name other resources' keys; what is left when nothing moves names itself in a ring.
        while !pending.is_empty() {
            let before = pending.len();
            pending.retain(|&index| {
                let Some(making) = made[index].and_then(|row| row.making.as_ref()) else { return false };
                let node = self.instances[index].node.clone();
                let waits = making.key.alternatives.iter().flatten().any(|part| match part {
                    Part::Label(label) => self.resolve(*label, &node, &node).first().is_some_and(|other| !known[*other] && *other != index),
                    _ => false,
                });
                if waits {
                    return true;
                }
                known[index] = true;
                self.give_key(index, &making.key, &mut taken);
                false
            });
            if pending.len() == before {
                let stuck = pending.remove(0);
                known[stuck] = true;
                self.give_key(stuck, &KeyPlan { shared: false, alternatives: Vec::new() }, &mut taken);
            }
        }
        for (index, row) in made.iter().enumerate() {
            if let Some((row, group)) = row.and_then(|row| Some((row, row.making.as_ref()?.group.as_ref()?))) {
                self.join_group(index, group, &row.at);
            }
        }
    }

    fn give_key(&mut self, index: usize, plan: &KeyPlan<X>, taken: &mut HashMap<Key, u32>) {
        let node = self.instances[index].node.clone();
        let name = self.instances[index].name.clone();
        let mention = self.instances[index].class == Class::Mention;
        let (mut key, identified) = match self.key_of(plan, &node, &node) {
            Some((part, identified)) => (Key::new(name, part.system, part.value), identified),
            None => {
                let reason = "no field identifies this resource: it is a new one with every message";
                self.issues.push(Issue::new(Severity::Warning, IssueCode::Identity, node.place(), reason));
                (self.frame_key(name, taken.len()), false)
            }
        };
        let count = taken.entry(key.clone()).and_modify(|count| *count += 1).or_insert(1);
        if *count > 1 && !plan.shared && !mention {
            key.value = format!("{}#{count}", key.value).into();
            let reason = "the same key as another resource of this message: numbered, so that neither is lost";
            self.issues.push(Issue::new(Severity::Warning, IssueCode::Identity, node.place(), reason));
        }
        self.instances[index].identified = identified;
        self.instances[index].key = key;
    }

    pub fn frame_key(&self, name: Name, ordinal: usize) -> Key {
        Key::new(name, self.message.settings.own_system("frame"), format!("{}:{ordinal}", self.message.frame.digest()))
    }

    fn join_group(&mut self, index: usize, group: &'m Group<X>, row: &Name) {
        let node = self.instances[index].node.clone();
        let Some(parent) = self.resolve(group.parent, &node, &node).first().copied() else { return };
        let action = match group.mode {
            GroupMode::Asserts => Some(Action::Assert),
            GroupMode::Snapshot => None,
            GroupMode::Acted(rule) => {
                let own = self.own(index);
                let mut call = self.call(None, &node, &own);
                rule(&mut call);
                call.deliver(&mut Sink::Value(&mut Json::Null)).2
            }
        };
        let key = &self.instances[index].key;
        let item: Name = format!("{}|{}", key.system, key.value).into();
        let found = self.group(parent, group, &node, row);
        self.groups[found].items.push((item.clone(), action));
        let parent = self.instances[parent].key.clone();
        self.instances[index].member_of = Some(Membership { parent, group: group.name.clone(), item });
    }

    /// System and value by the first alternative that is wholly valued, and whether that is an identifier as it stands.
    fn key_of(&self, plan: &KeyPlan<X>, node: &X::Node<'m>, home: &X::Node<'m>) -> Option<(KeyPart, bool)> {
        plan.alternatives.iter().find_map(|parts| {
            let [part] = &parts[..] else { return Some((self.composed(parts, node, home)?, false)) };
            let found = self.key_part(part, node, home)?;
            Some((found, matches!(part, Part::Identifier { .. } | Part::Rule(_))))
        })
    }

    fn key_part(&self, part: &Part<X>, node: &X::Node<'m>, home: &X::Node<'m>) -> Option<KeyPart> {
        let settings = self.message.settings;
        let mut found = Vec::new();
        match part {
            Part::Identifier { kind, selector } => {
                node.select(selector, &mut found);
                found.iter().find_map(|node| self.engine.syntax.identifier(kind, node, settings))
            }
            Part::Text { name, selector } => {
                node.select(selector, &mut found);
                let text = found.iter().find_map(Node::text)?;
                Some(KeyPart { system: settings.own_system(name), value: text.trim().to_owned() }).filter(|part| !part.value.is_empty())
            }
            Part::Label(label) => {
                let index = self.resolve(*label, node, home).first().copied()?;
                let key = &self.instances[index].key;
                (!key.value.is_empty()).then(|| KeyPart { system: key.system.to_string(), value: key.value.to_string() })
            }
            Part::Feed => Some(KeyPart { system: settings.own_system("feed"), value: settings.feed.clone() }),
            Part::Rule(rule) => rule(node, settings),
        }
    }

    fn composed(&self, parts: &[Part<X>], node: &X::Node<'m>, home: &X::Node<'m>) -> Option<KeyPart> {
        let (mut system, mut own_system, mut value) = (None, None, String::new());
        for part in parts {
            let found = self.key_part(part, node, home)?;
            if !value.is_empty() {
                value.push('|');
            }
            let gives_system = matches!(part, Part::Identifier { .. } | Part::Label(_) | Part::Rule(_)) && !found.system.is_empty();
            if gives_system && system.is_some() {
                escape(&found.system, &mut value);
                value.push('|');
            }
            escape(&found.value, &mut value);
            match part {
                _ if gives_system => system = system.or(Some(found.system)),
                Part::Text { .. } => own_system = own_system.or(Some(found.system)),
                _ => {}
            }
        }
        let system = system.or(own_system).unwrap_or_else(|| self.message.settings.own_system("feed"));
        Some(KeyPart { system, value })
    }

    /// The smallest resource of a label whose context encloses a node.
    fn enclosing(&self, label: LabelId, node: &X::Node<'m>) -> Option<usize> {
        let inner = node.span();
        let spans = self.by_label[label].iter().map(|index| (*index, self.instances[*index].node.span()));
        spans
            .filter(|(_, outer)| outer.start <= inner.start && inner.end <= outer.end)
            .min_by_key(|(_, outer)| outer.end - outer.start)
            .map(|(index, _)| index)
    }

    /// The resources that a label means here: the nearest that encloses the node, else all within the home of the
    /// resource that speaks.
    pub fn resolve(&self, label: LabelId, node: &X::Node<'m>, home: &X::Node<'m>) -> Vec<usize> {
        if let [only] = self.by_label[label][..] {
            return vec![only];
        }
        if let Some(index) = self.enclosing(label, node).or_else(|| self.enclosing(label, home)) {
            return vec![index];
        }
        let outer = home.span();
        let is_within = |index: &usize| {
            let inner = self.instances[*index].node.span();
            outer.start <= inner.start && inner.end <= outer.end
        };
        self.by_label[label].iter().copied().filter(is_within).collect()
    }

    pub fn reference(&self, index: usize) -> Json {
        let instance = &self.instances[index];
        let text = instance.reference.get_or_init(|| self.message.settings.reference(&instance.key).into());
        Json::Object(vec![("reference".into(), Json::String(text.clone()))])
    }

    fn own(&self, index: usize) -> Own<'m, X> {
        let instance = &self.instances[index];
        Own { key: Some(instance.key.clone()), asserted: instance.asserted, weight: instance.weight, home: instance.node.clone() }
    }

    fn call<'r>(&'r mut self, row: Option<&'m Row<X>>, context: &X::Node<'m>, own: &'r Own<'m, X>) -> Call<'r, 'm, X> {
        Call { run: self, row, context: context.clone(), own, given: Vec::new(), cleared: false, said: Vec::new(), action: None }
    }

    /// All that rows say of one resource.
    fn speak(&mut self, index: usize) {
        let own = self.own(index);
        let mut slots = std::mem::take(&mut self.instances[index].slots);
        let traced = self.traced();
        for (row, nodes) in std::mem::take(&mut self.instances[index].sources) {
            for node in &nodes {
                match &row.apply {
                    Apply::Nothing => {}
                    Apply::Table(table) => self.table(*table, node, &own, &mut Sink::Slots(&mut slots)),
                    Apply::Row(row) => {
                        let base = self.open_cells(row.cells);
                        self.row(row, node, &own, &mut Sink::Slots(&mut slots), base);
                        self.cells.truncate(base);
                    }
                }
            }
        }
        self.instances[index].slots = slots;
        self.own_traces(traced, index);
    }

    fn own_traces(&mut self, from: usize, index: usize) {
        let lines = self.traces.iter_mut().flat_map(|traces| &mut traces[from..]);
        lines.filter(|line| line.placed && line.instance.is_none()).for_each(|line| line.instance = Some(index));
    }

    fn open_cells(&mut self, count: usize) -> usize {
        let base = self.cells.len();
        self.cells.resize(base + count, UNSET);
        base
    }

    fn table(&mut self, table: TableId, node: &X::Node<'m>, own: &Own<'m, X>, sink: &mut Sink<'_>) {
        let table = &self.engine.plan.tables[table];
        let base = self.open_cells(table.cells);
        for block in &table.blocks {
            let Some(each) = &block.each else {
                for row in &block.rows {
                    self.row(row, node, own, sink, base);
                }
                continue;
            };
            let mut contexts = self.buffer();
            node.select(each, &mut contexts);
            let deleted = !contexts.is_empty() && contexts.iter().all(Node::is_delete);
            for context in contexts.drain(..) {
                if deleted {
                    self.mark(&context);
                    block.rows.iter().for_each(|row| self.clear(row, row.to.as_ref(), &context, sink));
                } else if !context.is_delete() {
                    self.cells[base..][block.cells.clone()].fill(UNSET);
                    for row in &block.rows {
                        self.row(row, &context, own, sink, base);
                    }
                }
            }
            self.give_back(contexts);
        }
        self.cells.truncate(base);
    }

    fn row(&mut self, row: &'m Row<X>, context: &X::Node<'m>, own: &Own<'m, X>, sink: &mut Sink<'_>, base: usize) {
        if !row.when.is_always() {
            let mut buffer = self.buffer();
            let holds = row.when.holds(context, &mut buffer);
            self.give_back(buffer);
            if !holds {
                return;
            }
        }
        if let Some(rule) = row.rule {
            return self.ruled(row, rule, context, own, sink, base);
        }
        let mut nodes = self.buffer();
        if row.from.is_empty() {
            nodes.push(context.clone());
        } else if !select_first(&row.from, context, &mut nodes) {
            return self.give_back(nodes);
        }
        let deleted = !row.from.is_empty() && nodes.iter().all(Node::is_delete);
        if deleted {
            nodes.iter().for_each(|node| self.mark(node));
            self.clear(row, row.to.as_ref(), context, sink);
        } else {
            self.say(row, &nodes, context, own, sink, base);
        }
        self.give_back(nodes);
    }

    /// What a row without a rule says of its nodes.
    fn say(&mut self, row: &'m Row<X>, nodes: &[X::Node<'m>], context: &X::Node<'m>, own: &Own<'m, X>, sink: &mut Sink<'_>, base: usize) {
        let (make, to) = match &row.make {
            Make::By { selector, branches, other } => match self.branch(selector, branches, other.as_deref(), context) {
                Some(branch) => (&branch.make, branch.to.as_ref()),
                None => return self.no_branch(nodes),
            },
            make => (make, row.to.as_ref()),
        };
        let first = nodes.first().unwrap_or(context);
        match make {
            Make::Nothing => nodes.iter().for_each(|node| self.mark_all(node)),
            Make::Label(label) => {
                for index in self.resolve(*label, context, &own.home) {
                    let value = self.reference(index);
                    let traced = self.traced();
                    self.trace(row, first);
                    self.place(row, to, value, first, true, sink, base, traced);
                }
            }
            Make::Constant(value) => {
                if !row.from.is_empty() {
                    self.mark(first);
                }
                let traced = self.traced();
                self.trace(row, first);
                self.place(row, to, value.clone(), first, true, sink, base, traced);
            }
            _ if row.join.is_some() => self.joined(row, make, to, context, sink, base),
            make => {
                let mut is_first = true;
                for node in nodes.iter().filter(|node| !node.is_delete()) {
                    let traced = self.traced();
                    match self.value(row, make, to, node, own) {
                        Some(value) => is_first &= !self.place(row, to, value, node, is_first, sink, base, traced),
                        None => self.drop_traces(traced),
                    }
                }
            }
        }
    }

    fn branch(
        &mut self,
        selector: &X::Selector,
        branches: &'m [(Box<str>, Branch<X>)],
        other: Option<&'m Branch<X>>,
        context: &X::Node<'m>,
    ) -> Option<&'m Branch<X>> {
        let mut found = self.buffer();
        context.select(selector, &mut found);
        let text = found.iter().find_map(Node::text);
        let branch = text.and_then(|text| branches.iter().find(|(name, _)| **name == *text.trim()).map(|(_, branch)| branch));
        if branch.is_some() {
            found.iter().for_each(|node| self.mark(node));
        }
        self.give_back(found);
        branch.or(other)
    }

    fn no_branch(&mut self, nodes: &[X::Node<'m>]) {
        if let Some(node) = nodes.first() {
            let reason = "of a data type that no table reads here";
            self.issues.push(Issue::new(Severity::Warning, IssueCode::DataType, node.place(), reason));
        }
    }

    fn joined(
        &mut self,
        row: &'m Row<X>,
        make: &'m Make<X>,
        to: Option<&'m Target>,
        context: &X::Node<'m>,
        sink: &mut Sink<'_>,
        base: usize,
    ) {
        let glue = row.join.as_deref().unwrap_or("");
        let mut text = String::new();
        let mut found = self.buffer();
        row.from.iter().for_each(|selector| context.select(selector, &mut found));
        for node in &found {
            let part = if matches!(make, Make::WholeText) { node.whole_text() } else { node.text() };
            if let Some(part) = part {
                self.mark_read(make, node);
                text.push_str(if text.is_empty() { "" } else { glue });
                text.push_str(&part);
            }
        }
        let primitive = match make {
            Make::Scalar(primitive) => *primitive,
            _ => Primitive::String,
        };
        if let Some(first) = found.first().filter(|_| !text.is_empty()).cloned() {
            let value = match (&row.codes, to) {
                (Some(_), Some(to)) => self.coded(row, primitive, to, &text, &first),
                _ => self.scalar(primitive, &text, &first),
            };
            if let Some(value) = value {
                let traced = self.traced();
                self.trace(row, &first);
                self.place(row, to, value, &first, true, sink, base, traced);
            }
        }
        self.give_back(found);
    }

    fn ruled(&mut self, row: &'m Row<X>, rule: crate::Rule<X>, context: &X::Node<'m>, own: &Own<'m, X>, sink: &mut Sink<'_>, base: usize) {
        let traced = self.traced();
        let mut call = self.call(Some(row), context, own);
        rule(&mut call);
        let (given, cleared, _) = call.deliver(sink);
        self.drop_traces(traced);
        if cleared && given.is_empty() {
            return self.clear(row, row.to.as_ref(), context, sink);
        }
        let mut is_first = true;
        for (mut value, node) in given {
            let Some(to) = &row.to else { continue };
            let mut faults = Vec::new();
            self.engine.plan.shape.guard(to.kind, &mut value, &mut |_, reason| faults.push(reason));
            for reason in faults {
                self.issues.push(Issue::new(Severity::Warning, IssueCode::DataType, node.place(), reason));
            }
            if !value.is_empty() {
                let traced = self.traced();
                self.trace(row, &node);
                is_first &= !self.place(row, Some(to), value, &node, is_first, sink, base, traced);
            }
        }
    }

    /// What a row makes of one node; an issue where it can make nothing.
    pub fn value(&mut self, row: &'m Row<X>, make: &'m Make<X>, to: Option<&Target>, node: &X::Node<'m>, own: &Own<'m, X>) -> Option<Json> {
        match make {
            Make::Scalar(primitive) => {
                let text = node.text()?;
                self.mark(node);
                self.trace(row, node);
                match to.filter(|_| row.codes.is_some()) {
                    Some(to) => self.coded(row, *primitive, to, &text, node),
                    None => self.scalar(*primitive, &text, node),
                }
            }
            Make::WholeText => {
                let text = node.whole_text()?;
                self.mark_all(node);
                self.trace(row, node);
                self.scalar(Primitive::Markdown, &text, node)
            }
            Make::Codes => {
                let text = node.text()?;
                self.mark(node);
                self.trace(row, node);
                self.coded(row, Primitive::Code, to?, &text, node)
            }
            Make::Table(table) => {
                let mut value = Json::Null;
                self.table(*table, node, own, &mut Sink::Value(&mut value));
                let value = Some(value).filter(|value| !value.is_empty());
                match (&row.codes, to) {
                    (Some(_), Some(to)) => self.recoded(row, to, value, node),
                    _ => value,
                }
            }
            Make::Nested(nested) => self.nest(row, nested, node, own),
            Make::By { selector, branches, other } => {
                let branch = self.branch(selector, branches, other.as_deref(), node)?;
                self.value(row, &branch.make, branch.to.as_ref(), node, own)
            }
            Make::Constant(value) => Some(value.clone()),
            Make::Nothing | Make::Label(_) => None,
        }
    }

    pub fn scalar(&mut self, primitive: Primitive, text: &str, node: &X::Node<'m>) -> Option<Json> {
        let syntax = &self.engine.syntax;
        match primitive.read(text, &|text| syntax.stamp(text), &self.message.settings.timezone) {
            Ok(scalar) => {
                if let Some(reason) = scalar.altered {
                    self.issues.push(Issue::new(Severity::Information, IssueCode::Altered, node.place(), reason));
                }
                Some(scalar.value)
            }
            Err(reason) => {
                self.issues.push(Issue::new(Severity::Warning, IssueCode::DataType, node.place(), reason));
                None
            }
        }
    }

    /// A text through the row's code map, as the target wants it.
    fn coded(&mut self, row: &Row<X>, primitive: Primitive, to: &Target, text: &str, node: &X::Node<'m>) -> Option<Json> {
        let found = row.codes.as_ref().and_then(|map| map.get(text));
        let is = |name: &str| *self.engine.plan.shape.of(to.kind).name == *name;
        match (found, to.primitive) {
            (Some([]), _) => None,
            (Some([first, ..]), Some(own)) => {
                let code = first.code(text);
                match own {
                    Primitive::String | Primitive::Code | Primitive::Uri | Primitive::Markdown | Primitive::Id => Some(code),
                    own => self.scalar(own, code.as_str().unwrap_or(""), node),
                }
            }
            (Some(codings), None) if is("CodeableConcept") => {
                Some(Json::from_iter([("coding", Json::Array(codings.iter().map(|coding| coding.coding(text)).collect()))]))
            }
            (Some([first, ..]), None) => Some(first.coding(text)),
            (None, own) => {
                let kept = match own {
                    Some(own) if to.codes.is_empty() => self.scalar(if own == Primitive::Code { primitive } else { own }, text, node),
                    Some(_) => None,
                    None if is("CodeableConcept") => {
                        self.scalar(Primitive::String, text, node).map(|text| Json::from_iter([("text", text)]))
                    }
                    None => self.scalar(Primitive::String, text, node).map(|text| Json::from_iter([("display", text)])),
                };
                self.unknown_code(kept.is_some(), node);
                kept
            }
        }
    }

    fn unknown_code(&mut self, kept: bool, node: &X::Node<'m>) {
        let (severity, reason) = match kept {
            true => (Severity::Information, "the code is in no map: kept as it was written"),
            false => (Severity::Warning, "the code is in no map, and R4 allows only its own codes here"),
        };
        self.issues.push(Issue::new(severity, IssueCode::UnknownCode, node.place(), reason));
    }

    /// What a table made, with the target codings of its first code before its own.
    fn recoded(&mut self, row: &Row<X>, to: &Target, value: Option<Json>, node: &X::Node<'m>) -> Option<Json> {
        let Some(text) = node.text() else { return value };
        let found = row.codes.as_ref().and_then(|map| map.get(&text));
        let is_concept = *self.engine.plan.shape.of(to.kind).name == *"CodeableConcept";
        let Some(codings) = found else {
            self.unknown_code(value.is_some(), node);
            return value;
        };
        if codings.is_empty() {
            return value;
        }
        self.mark(node);
        let targets: Vec<Json> = codings.iter().map(|coding| coding.coding(&text)).collect();
        if !is_concept {
            let mut value = value.unwrap_or_else(Json::object);
            if let Some(Json::Object(members)) = targets.into_iter().next() {
                members.into_iter().for_each(|(name, member)| value.set(name, member));
            }
            return Some(value);
        }
        let mut value = value.unwrap_or_else(Json::object);
        let own = match value.remove("coding") {
            Some(Json::Array(own)) => own,
            _ => Vec::new(),
        };
        // The sender's coding without a system says no more than the target of the same code.
        let says_more = |coding: &Json| {
            !targets.iter().any(|target| {
                target.get("code") == coding.get("code") && (coding.get("system").is_none() || coding.get("system") == target.get("system"))
            })
        };
        let own: Vec<Json> = own.into_iter().filter(|coding| says_more(coding)).collect();
        let mut members = vec![("coding".into(), Json::Array(targets.into_iter().chain(own).collect()))];
        if let Json::Object(rest) = value {
            members.extend(rest);
        }
        Some(Json::Object(members))
    }

    /// A resource within another's row, and the reference to it.
    fn nest(&mut self, row: &'m Row<X>, nested: &'m Nested<X>, node: &X::Node<'m>, own: &Own<'m, X>) -> Option<Json> {
        let traced = self.traced();
        let mention = nested.class == Class::Mention;
        let found = self.key_of(&nested.key, node, &own.home);
        let key = found.as_ref().map(|(part, _)| Key::new(nested.name.clone(), part.system.as_str(), part.value.as_str()));
        let inner = Own { key: key.clone(), asserted: own.asserted, weight: own.weight, home: own.home.clone() };
        let mut slots = Slots::default();
        self.table(nested.table, node, &inner, &mut Sink::Slots(&mut slots));
        if slots.is_empty() && key.is_none() {
            return None;
        }
        let key = key.unwrap_or_else(|| {
            let (key, reason) = match mention {
                true => (digest_key(self, nested.name.clone(), &slots), "named without an identifier: known by what is said of it"),
                false => (
                    self.frame_key(nested.name.clone(), self.instances.len()),
                    "no field identifies this resource: it is a new one with every message",
                ),
            };
            let severity = if mention { Severity::Information } else { Severity::Warning };
            self.issues.push(Issue::new(severity, IssueCode::Identity, node.place(), reason));
            key
        });
        let index = match self.nested.get(&(key.clone(), mention)) {
            Some(index) => {
                self.instances[*index].slots.absorb(slots);
                *index
            }
            None => {
                let index = self.instances.len();
                self.nested.insert((key.clone(), mention), index);
                self.instances.push(Instance {
                    kind: nested.kind,
                    name: nested.name.clone(),
                    node: node.clone(),
                    key,
                    identified: found.is_some_and(|(_, identified)| identified),
                    class: nested.class,
                    asserted: own.asserted,
                    weight: own.weight,
                    slots,
                    member_of: None,
                    reference: OnceCell::new(),
                    sources: Vec::new(),
                });
                index
            }
        };
        self.own_traces(traced, index);
        self.trace(row, node);
        let mut reference = self.reference(index);
        if mention {
            let plan = &self.engine.plan;
            let instance = &self.instances[index];
            if let (Some(display), Json::Object(members)) = (instance.slots.display(plan), &mut reference) {
                members.push(("display".into(), display));
            }
            let identifier = instance.slots.identifier(plan).or_else(|| instance.identified.then(|| instance.key_identifier()));
            if let (Some(identifier), Json::Object(members)) = (identifier, &mut reference) {
                members.push(("identifier".into(), identifier));
            }
        }
        Some(reference)
    }

    /// Puts a value in its place; false where the place is taken, or R4 does not allow it there: an issue.
    #[allow(clippy::too_many_arguments, reason = "each is of this one row, and no two travel together elsewhere")]
    fn place(
        &mut self,
        row: &Row<X>,
        to: Option<&Target>,
        value: Json,
        node: &X::Node<'m>,
        is_first: bool,
        sink: &mut Sink<'_>,
        base: usize,
        traced: usize,
    ) -> bool {
        let Some(to) = to else { return false };
        let fault = match to.primitive {
            Some(primitive) if !primitive.fits(&value) => Some((IssueCode::DataType, "R4 does not allow this value here")),
            Some(_) if !in_codes(&to.codes, &value) => Some((IssueCode::UnknownCode, "R4 allows only its own codes here")),
            _ => None,
        };
        if let Some((code, reason)) = fault {
            self.issues.push(Issue::new(Severity::Warning, code, node.place(), reason));
            self.drop_traces(traced);
            return false;
        }
        let mut path = self.traces.is_some().then(String::new);
        let cells = &mut self.cells[base..];
        let placed = match sink {
            Sink::Value(root) => put(root, &to.steps, cells, value, is_first, path.as_mut()),
            Sink::Slots(slots) => slots.put(&self.engine.plan, row, to, cells, value, is_first, &|| node.place().into(), path.as_mut()),
        };
        if placed {
            if let (Some(traces), Some(path)) = (&mut self.traces, path) {
                let is_root = matches!(sink, Sink::Slots(_));
                traces[traced..]
                    .iter_mut()
                    .filter(|line| !line.placed && line.instance.is_none())
                    .for_each(|line| line.prefix(&path, is_root));
            }
        } else {
            let reason = "R4 has room for one value here, and another was first";
            self.issues.push(Issue::new(Severity::Information, IssueCode::NotMapped, node.place(), reason));
            self.drop_traces(traced);
        }
        placed
    }

    fn clear(&mut self, row: &Row<X>, to: Option<&Target>, node: &X::Node<'m>, sink: &mut Sink<'_>) {
        if let (Sink::Slots(slots), Some(to)) = (sink, to) {
            slots.clear(row, to, &|| node.place().into());
        }
    }

    fn trace(&mut self, row: &Row<X>, node: &X::Node<'m>) {
        if let Some(traces) = &mut self.traces {
            traces.push(TraceLine {
                instance: None,
                placed: false,
                path: String::new(),
                place: if row.from.is_empty() && matches!(row.make, Make::Constant(_) | Make::Label(_)) {
                    String::new()
                } else {
                    node.place()
                },
                row: row.at.clone(),
            });
        }
    }

    fn traced(&self) -> usize {
        self.traces.as_ref().map_or(0, Vec::len)
    }

    /// Lines of a value that was not placed.
    fn drop_traces(&mut self, from: usize) {
        if let Some(traces) = &mut self.traces {
            let mut index = 0;
            traces.retain(|line| {
                index += 1;
                index <= from || line.placed || line.instance.is_some()
            });
        }
    }

    pub fn mark(&mut self, node: &X::Node<'m>) {
        let id = node.id();
        if let Some(word) = self.marks.get_mut(id / 64) {
            *word |= 1 << (id % 64);
        }
    }

    pub fn mark_all(&mut self, node: &X::Node<'m>) {
        for id in node.span() {
            if let Some(word) = self.marks.get_mut(id / 64) {
                *word |= 1 << (id % 64);
            }
        }
    }

    fn mark_read(&mut self, make: &Make<X>, node: &X::Node<'m>) {
        if matches!(make, Make::WholeText) { self.mark_all(node) } else { self.mark(node) }
    }

    pub fn is_marked(&self, node: &X::Node<'m>) -> bool {
        let id = node.id();
        self.marks.get(id / 64).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    fn buffer(&mut self) -> Vec<X::Node<'m>> {
        self.buffers.pop().unwrap_or_default()
    }

    fn give_back(&mut self, mut buffer: Vec<X::Node<'m>>) {
        buffer.clear();
        self.buffers.push(buffer);
    }
}

impl<X: Syntax> Instance<'_, X> {
    pub fn key_identifier(&self) -> Json {
        Json::from_iter([("system", Json::String(self.key.system.clone())), ("value", Json::String(self.key.value.clone()))])
    }
}

/// Percent-encodes what parts of a key are joined by.
fn escape(part: &str, out: &mut String) {
    for character in part.chars() {
        match character {
            '|' => out.push_str("%7C"),
            '%' => out.push_str("%25"),
            _ => out.push(character),
        }
    }
}

fn select_first<'m, N: Node<'m>>(selectors: &[N::Selector], context: &N, found: &mut Vec<N>) -> bool {
    selectors.iter().any(|selector| {
        context.select(selector, found);
        !found.is_empty()
    })
}

/// Lays a value down at the end of a path, making what is missing on the way. False where another value is there.
pub(crate) fn put(root: &mut Json, steps: &[Step], cells: &mut [u32], value: Json, is_first: bool, mut path: Option<&mut String>) -> bool {
    let Some((last, inner)) = steps.split_last() else { return lay(root, value) };
    let mut at = root;
    for step in inner {
        at = member(at, &step.name, step.many);
        let mut index = None;
        if step.many {
            let Json::Array(elements) = at else { return false };
            let cell = step.cell.map(|cell| &mut cells[cell]);
            let found = match cell {
                Some(cell) if *cell != UNSET => *cell as usize,
                cell => {
                    elements.push(Json::object());
                    if let Some(cell) = cell {
                        *cell = (elements.len() - 1) as u32;
                    }
                    elements.len() - 1
                }
            };
            index = Some(found);
            match elements.get_mut(found) {
                Some(element) => at = element,
                None => return false,
            }
        }
        walk(&mut path, &step.name, index);
    }
    if !last.many {
        walk(&mut path, &last.name, None);
        let Json::Object(members) = object(at) else { return false };
        return match members.iter_mut().find(|(name, _)| *name == last.name) {
            Some((_, existing)) => is_first && lay(existing, value),
            None => {
                members.push((last.name.clone(), value));
                true
            }
        };
    }
    let Json::Array(elements) = member(at, &last.name, true) else { return false };
    let cell = last.cell.map(|cell| &mut cells[cell]);
    match cell {
        Some(cell) if *cell != UNSET && is_first => {
            walk(&mut path, &last.name, Some(*cell as usize));
            elements.get_mut(*cell as usize).is_some_and(|element| lay(element, value))
        }
        cell => {
            if let Some(cell) = cell.filter(|cell| **cell == UNSET) {
                *cell = elements.len() as u32;
            }
            walk(&mut path, &last.name, Some(elements.len()));
            elements.push(value);
            true
        }
    }
}

fn walk(path: &mut Option<&mut String>, name: &str, index: Option<usize>) {
    if let Some(path) = path {
        path.push_str(if path.is_empty() { "" } else { "." });
        path.push_str(name);
        if let Some(index) = index {
            path.push_str(&format!("[{index}]"));
        }
    }
}

fn object(at: &mut Json) -> &mut Json {
    if !matches!(at, Json::Object(_)) {
        *at = Json::object();
    }
    at
}

/// The member of an object, made where it is missing.
fn member<'j>(at: &'j mut Json, name: &Name, many: bool) -> &'j mut Json {
    let Json::Object(members) = object(at) else { unreachable!("just made an object") };
    let index = members.iter().position(|(member, _)| member == name).unwrap_or_else(|| {
        members.push((name.clone(), if many { Json::Array(Vec::new()) } else { Json::object() }));
        members.len() - 1
    });
    &mut members[index].1
}

/// Lays a value over what is there: into what is empty, or members that are missing. False where anything differs.
fn lay(existing: &mut Json, value: Json) -> bool {
    match (existing, value) {
        (existing, value) if existing.is_empty() => {
            *existing = value;
            true
        }
        (Json::Object(members), Json::Object(new)) => {
            let mut whole = true;
            for (name, value) in new {
                match members.iter_mut().find(|(member, _)| *member == name) {
                    Some((_, member)) => whole &= lay(member, value),
                    None => members.push((name, value)),
                }
            }
            whole
        }
        (Json::Array(elements), Json::Array(new)) => {
            elements.extend(new);
            true
        }
        (existing, value) => *existing == value,
    }
}
