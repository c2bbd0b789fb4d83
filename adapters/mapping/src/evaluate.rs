//! One message through the plan: first the resources that its rows make and their keys, then what each row says.

use crate::call::Call;
use crate::compile::in_codes;
use crate::engine::{Engine, Message};
use crate::finish::{Slots, TraceLine, digest_key};
use crate::node::{Node, Syntax};
use crate::plan::*;
use crate::put::{UNSET, put};
use crate::resources::{GroupFound, Instance, Labelled, Own, unidentified};
use crate::scalar::Primitive;
use contract::{Class, Issue, IssueCode, Json, Key, Rejection, Severity};
use std::cell::OnceCell;
use std::collections::HashMap;

/// Resources of one message: what is beyond is an error of its sender, or an attack, and would keep all others waiting.
const RESOURCES_MAX: usize = 10_000;

/// The state of one translation.
pub(crate) struct Run<'m, X: Syntax> {
    pub engine: &'m Engine<X>,
    pub message: &'m Message<'m, X>,
    /// Resources of message rows, then those of nested rows.
    pub instances: Vec<Instance<'m, X>>,
    pub by_label: Vec<Labelled>,
    /// Nested resources by key: what is named twice is one.
    pub nested: HashMap<(Key, bool), usize>,
    pub issues: Vec<Issue>,
    pub traces: Option<Vec<TraceLine>>,
    /// Leaves that were carried, one bit each.
    marks: Vec<u64>,
    pub cells: Vec<u32>,
    buffers: Vec<Vec<X::Node<'m>>>,
    /// Groups that the message states, as (parent, group's making row) with their items.
    pub groups: Vec<GroupFound<'m, X>>,
}

/// Where a row puts what it makes.
struct Spot<'p, X: Syntax> {
    row: &'p Row<X>,
    to: Option<&'p Target>,
    /// The first value of the row, which may fill what others of its rows began.
    is_first: bool,
    /// Where the table's cells begin.
    base: usize,
    /// Where the trace lines of the value begin.
    traced: usize,
}

/// Where a table writes to.
pub(crate) enum Sink<'s> {
    Value(&'s mut Json),
    Slots(&'s mut Slots),
}

impl<'m, X: Syntax> Run<'m, X> {
    pub fn new(engine: &'m Engine<X>, message: &'m Message<'m, X>, trace: bool) -> Self {
        Self {
            engine,
            message,
            instances: Vec::new(),
            by_label: vec![Labelled::default(); engine.plan.labels.len()],
            nested: HashMap::new(),
            issues: Vec::new(),
            traces: trace.then(Vec::new),
            marks: vec![0; message.frame.bytes().len() / 64 + 1],
            cells: Vec::new(),
            buffers: Vec::new(),
            groups: Vec::new(),
        }
    }

    pub fn evaluate(&mut self) -> Result<(), Rejection> {
        let Some(rows) = self.engine.plan.messages.get(self.message.table) else { return Ok(()) };
        let mut made = Vec::new();
        for row in rows {
            self.instantiate(row, &mut made);
            self.within_limit()?;
        }
        self.give_keys(&made);
        for index in 0..made.len() {
            self.speak(index);
            self.within_limit()?;
        }
        Ok(())
    }

    fn within_limit(&self) -> Result<(), Rejection> {
        if self.instances.len() <= RESOURCES_MAX {
            return Ok(());
        }
        let reason = format!("the message makes more than {RESOURCES_MAX} resources");
        Err(Rejection::Untranslatable(vec![Issue::new(Severity::Error, IssueCode::Limit, "", reason)]))
    }

    pub fn own(&self, index: usize) -> Own<'m, X> {
        let instance = &self.instances[index];
        Own { key: Some(instance.key.clone()), asserted: instance.asserted, weight: instance.weight, home: instance.node.clone() }
    }

    pub fn call<'r>(&'r mut self, row: Option<&'m Row<X>>, context: &X::Node<'m>, own: &'r Own<'m, X>) -> Call<'r, 'm, X> {
        Call {
            run: self,
            row,
            context: context.clone(),
            own,
            given: Vec::new(),
            cleared: false,
            said: Vec::new(),
            action: None,
            withheld: false,
        }
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

    pub fn own_traces(&mut self, from: usize, index: usize) {
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
                    if self.instances[index].slots.withheld {
                        continue;
                    }
                    let value = self.reference(index);
                    let traced = self.traced();
                    self.trace(row, first);
                    self.place(Spot { row, to, is_first: true, base, traced }, value, first, sink);
                }
            }
            Make::Constant(value) => {
                if !row.from.is_empty() {
                    self.mark(first);
                }
                let traced = self.traced();
                self.trace(row, first);
                self.place(Spot { row, to, is_first: true, base, traced }, value.clone(), first, sink);
            }
            _ if row.join.is_some() => self.joined(row, make, to, context, sink, base),
            make => {
                let mut is_first = true;
                for node in nodes.iter().filter(|node| !node.is_delete()) {
                    let traced = self.traced();
                    match self.value(row, make, to, node, own) {
                        Some(value) => is_first &= !self.place(Spot { row, to, is_first, base, traced }, value, node, sink),
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
                self.place(Spot { row, to, is_first: true, base, traced }, value, &first, sink);
            }
        }
        self.give_back(found);
    }

    fn ruled(&mut self, row: &'m Row<X>, rule: crate::Rule<X>, context: &X::Node<'m>, own: &Own<'m, X>, sink: &mut Sink<'_>, base: usize) {
        let traced = self.traced();
        let mut call = self.call(Some(row), context, own);
        rule(&mut call);
        call.deliver(sink);
        let Call { given, cleared, .. } = call;
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
                is_first &= !self.place(Spot { row, to: Some(to), is_first, base, traced }, value, &node, sink);
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

    /// A resource within another's row, and the reference to it.
    fn nest(&mut self, row: &'m Row<X>, nested: &'m Nested<X>, node: &X::Node<'m>, own: &Own<'m, X>) -> Option<Json> {
        let traced = self.traced();
        let mention = nested.class == Class::Mention;
        let (key, identifier) = self.key_of(&nested.key, (&nested.name, nested.class), node, &own.home).unzip();
        let inner = Own { key: key.clone(), asserted: own.asserted, weight: own.weight, home: own.home.clone() };
        let mut slots = Slots::default();
        self.table(nested.table, node, &inner, &mut Sink::Slots(&mut slots));
        if slots.is_empty() && key.is_none() {
            return None;
        }
        let key = key.unwrap_or_else(|| {
            let (key, reason) = match mention {
                true => (digest_key(self, nested.name.clone(), &slots), "named without an identifier: known by what is said of it".into()),
                false => (self.frame_key(nested.name.clone(), self.instances.len()), unidentified(&nested.name, &nested.key)),
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
                    identifier: identifier.flatten(),
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
            let identifier = instance.slots.identifier(plan).or_else(|| instance.key_identifier());
            if let (Some(identifier), Json::Object(members)) = (identifier, &mut reference) {
                members.push(("identifier".into(), identifier));
            }
        }
        Some(reference)
    }

    /// Puts a value in its place; false where the place is taken, or R4 does not allow it there: an issue.
    fn place(&mut self, spot: Spot<'_, X>, value: Json, node: &X::Node<'m>, sink: &mut Sink<'_>) -> bool {
        let Spot { row, to, is_first, base, traced } = spot;
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
            Sink::Slots(slots) => {
                let open = || node.place().into();
                slots.put(&self.engine.plan, (row, to, is_first), cells, value, &open, path.as_mut())
            }
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

    pub fn trace(&mut self, row: &Row<X>, node: &X::Node<'m>) {
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

    pub fn buffer(&mut self) -> Vec<X::Node<'m>> {
        self.buffers.pop().unwrap_or_default()
    }

    pub fn give_back(&mut self, mut buffer: Vec<X::Node<'m>>) {
        buffer.clear();
        self.buffers.push(buffer);
    }
}

/// The nodes of the first selector that finds any.
pub(crate) fn select_first<'m, N: Node<'m>>(selectors: &[N::Selector], context: &N, found: &mut Vec<N>) -> bool {
    selectors.iter().any(|selector| {
        context.select(selector, found);
        !found.is_empty()
    })
}
