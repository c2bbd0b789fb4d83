//! The resources that a message makes: which, under which key, and how they find one another.

use crate::call::Action;
use crate::evaluate::{Run, select_first};
use crate::finish::Slots;
use crate::node::{KeyPart, Node, Syntax, Weight, escaped};
use crate::plan::*;
use crate::shape::TypeId;
use contract::{Class, Issue, IssueCode, Json, Key, Membership, Name, Rank, Severity};
use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// A resource of the message.
pub(crate) struct Instance<'m, X: Syntax> {
    pub kind: TypeId,
    pub name: Name,
    pub node: X::Node<'m>,
    pub key: Key,
    /// The identifier that the key is, as the message gives it.
    pub identifier: Option<KeyPart>,
    pub class: Class,
    pub asserted: i64,
    pub weight: Weight,
    pub slots: Slots,
    pub member_of: Option<Membership>,
    pub reference: OnceCell<Name>,
    /// The rows that speak of it, with the nodes they speak from.
    pub sources: Vec<(&'m MessageRow<X>, Vec<X::Node<'m>>)>,
}

/// What rows need to know of the resource they speak of.
pub(crate) struct Own<'m, X: Syntax> {
    pub key: Option<Key>,
    pub asserted: i64,
    pub weight: Weight,
    pub home: X::Node<'m>,
}

/// The resources of one label, by the part of the message that each stands for. Parts lie within one another or apart.
#[derive(Clone, Default)]
pub(crate) struct Labelled {
    /// In the order of their making.
    pub made: Vec<usize>,
    /// By start; of those that start together, the widest first.
    spans: BTreeMap<(usize, Reverse<usize>), usize>,
}

impl Labelled {
    fn add(&mut self, span: Range<usize>, index: usize) {
        self.made.push(index);
        self.spans.insert((span.start, Reverse(span.end)), index);
    }

    fn at(&self, span: Range<usize>) -> Option<usize> {
        self.spans.get(&(span.start, Reverse(span.end))).copied()
    }

    /// The smallest that encloses a part.
    fn enclosing(&self, inner: Range<usize>) -> Option<usize> {
        let mut before = self.spans.range(..=(inner.start, Reverse(inner.end))).rev();
        before.find(|((_, Reverse(end)), _)| inner.end <= *end).map(|(_, index)| *index)
    }
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

impl<X: Syntax> Instance<'_, X> {
    pub fn key_identifier(&self) -> Option<Json> {
        let KeyPart { system, value } = self.identifier.as_ref()?;
        Some(Json::from_iter([("system", Json::from(system.as_str())), ("value", Json::from(value.as_str()))]))
    }
}

impl<'m, X: Syntax> Run<'m, X> {
    /// The resources that a message row makes, or adds to.
    pub fn instantiate(&mut self, row: &'m MessageRow<X>, made: &mut Vec<Option<&'m MessageRow<X>>>) {
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
            let found = self.by_label[label].at(context.span());
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
                    self.by_label[label].add(context.span(), index);
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
            identifier: None,
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

    pub fn give_keys(&mut self, made: &[Option<&'m MessageRow<X>>]) {
        let mut taken: HashMap<Key, (u32, usize)> = HashMap::new();
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
                self.give_key(stuck, &KeyPlan { shared: false, alternatives: Vec::new(), fields: "".into() }, &mut taken);
            }
        }
        for (index, row) in made.iter().enumerate() {
            if let Some((row, group)) = row.and_then(|row| Some((row, row.making.as_ref()?.group.as_ref()?))) {
                self.join_group(index, group, &row.at);
            }
        }
    }

    fn give_key(&mut self, index: usize, plan: &KeyPlan<X>, taken: &mut HashMap<Key, (u32, usize)>) {
        let node = self.instances[index].node.clone();
        let name = self.instances[index].name.clone();
        let class = self.instances[index].class;
        let (mut key, identifier) = match self.key_of(plan, (&name, class), &node, &node) {
            Some(found) => found,
            None => {
                let reason = unidentified(&name, plan);
                self.issues.push(Issue::new(Severity::Warning, IssueCode::Identity, self.place_of(index), reason));
                (self.frame_key(name, taken.len()), None)
            }
        };
        let (count, first) = *taken.entry(key.clone()).and_modify(|(count, _)| *count += 1).or_insert((1, index));
        if count > 1 && !plan.shared && class != Class::Mention {
            key.value = format!("{}#{count}", key.value).into();
            let reason = format!("the same key as {}: the two are told apart by their order alone", self.place_of(first));
            self.issues.push(Issue::new(Severity::Warning, IssueCode::Identity, self.place_of(index), reason));
        }
        self.instances[index].identifier = identifier;
        self.instances[index].key = key;
    }

    /// Where a resource of a message row is told of.
    fn place_of(&self, index: usize) -> String {
        let instance = &self.instances[index];
        let node = instance.sources.first().and_then(|(_, nodes)| nodes.first()).unwrap_or(&instance.node);
        node.place()
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
                call.action
            }
        };
        let key = &self.instances[index].key;
        let item: Name = format!("{}|{}", key.system, key.value).into();
        let found = self.group(parent, group, &node, row);
        self.groups[found].items.push((item.clone(), action));
        let parent = self.instances[parent].key.clone();
        self.instances[index].member_of = Some(Membership { parent, group: group.name.clone(), item });
    }

    /// The key by the first alternative that is wholly valued, and the identifier that it is, where it is one as it stands.
    pub fn key_of(
        &self,
        plan: &KeyPlan<X>,
        (name, class): (&Name, Class),
        node: &X::Node<'m>,
        home: &X::Node<'m>,
    ) -> Option<(Key, Option<KeyPart>)> {
        let (part, identifier) = plan.alternatives.iter().find_map(|parts| {
            let [part] = &parts[..] else { return Some((self.composed(parts, node, home)?, None)) };
            let found = self.key_part(part, node, home)?;
            match part {
                Part::Identifier { .. } => Some((found.clone().alone(), Some(found))),
                Part::Rule(_) => Some((found.clone(), Some(found))),
                Part::Text { .. } | Part::Label(_) | Part::Feed => Some((found, None)),
            }
        })?;
        Some((self.message.settings.own_key(Key::new(name.clone(), part.system, part.value), class), identifier))
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
                value.push_str(&escaped(&found.system));
                value.push('|');
            }
            value.push_str(&escaped(&found.value));
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
        self.by_label[label].enclosing(node.span())
    }

    /// The resources that a label means here: the nearest that encloses the node, else all within the home of the
    /// resource that speaks.
    pub fn resolve(&self, label: LabelId, node: &X::Node<'m>, home: &X::Node<'m>) -> Vec<usize> {
        if let [only] = self.by_label[label].made[..] {
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
        self.by_label[label].made.iter().copied().filter(is_within).collect()
    }

    pub fn reference(&self, index: usize) -> Json {
        let instance = &self.instances[index];
        let text = instance.reference.get_or_init(|| self.message.settings.reference(&instance.key).into());
        Json::Object(vec![("reference".into(), Json::String(text.clone()))])
    }
}

/// Why a resource has the last resort of a key.
pub(crate) fn unidentified<X: Syntax>(name: &str, plan: &KeyPlan<X>) -> String {
    let fields = if plan.fields.is_empty() { String::new() } else { format!(" ({})", plan.fields) };
    format!("no field identifies this {name}{fields}: it is a new one with every message")
}
