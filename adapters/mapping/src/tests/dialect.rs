//! A dialect for tests: a message is a nested literal, `(msg (pid (id 1) (name Ada)) (sent 20260102))`. A word is a text,
//! `_` in it a space, `DELETE` says delete. Selectors are names from a node downward (`pid/id`), looked for in the node
//! itself and then in what encloses it; a name that ends in `*` is looked for at any depth; `.` is the node.

use crate::*;
use contract::{IssueCode, Json, Settings, Severity, Slot};
use std::borrow::Cow;
use std::ops::Range;

pub struct Literal;

/// All nodes of a message; the first is the root.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    text: Option<String>,
    parent: usize,
    kids: Vec<usize>,
    span: Range<usize>,
}

#[derive(Clone, Copy)]
pub struct Spot<'m> {
    tree: &'m Tree,
    at: usize,
}

impl Tree {
    pub fn parse(text: &str) -> Self {
        let mut tree = Tree { nodes: Vec::new() };
        let mut open: Vec<usize> = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let end = rest.find(['(', ')', ' ']).unwrap_or(rest.len());
            match rest.as_bytes()[0] {
                b'(' => {
                    let name_end = rest[1..].find(['(', ')', ' ']).map_or(rest.len(), |end| end + 1);
                    let parent = open.last().copied().unwrap_or(0);
                    let index = tree.nodes.len();
                    let name = rest[1..name_end].to_owned();
                    tree.nodes.push(Entry { name, text: None, parent, kids: Vec::new(), span: at..text.len() });
                    if !open.is_empty() {
                        tree.nodes[parent].kids.push(index);
                    }
                    open.push(index);
                    at += name_end;
                }
                b')' => {
                    if let Some(closed) = open.pop() {
                        tree.nodes[closed].span.end = at + 1;
                    }
                    at += 1;
                }
                b' ' => at += 1,
                _ => {
                    if let Some(current) = open.last() {
                        tree.nodes[*current].text = Some(rest[..end].replace('_', " "));
                    }
                    at += end;
                }
            }
        }
        if tree.nodes.is_empty() {
            tree.nodes.push(Entry { name: String::new(), text: None, parent: 0, kids: Vec::new(), span: 0..text.len() });
        }
        tree
    }

    pub fn root(&self) -> Spot<'_> {
        Spot { tree: self, at: 0 }
    }
}

impl<'m> Spot<'m> {
    fn entry(&self) -> &'m Entry {
        &self.tree.nodes[self.at]
    }

    fn kids(&self) -> impl Iterator<Item = Spot<'m>> + use<'m> {
        let tree = self.tree;
        self.entry().kids.iter().map(move |at| Spot { tree, at: *at })
    }

    fn below(&self, path: &[String], found: &mut Vec<Self>) {
        let Some((name, rest)) = path.split_first() else {
            let says = self.entry().text.is_some() || self.kids().next().is_some();
            return found.extend(Some(*self).filter(|_| says));
        };
        for kid in self.kids() {
            if kid.entry().name == *name.trim_end_matches('*') {
                kid.below(rest, found);
            }
            if name.ends_with('*') {
                kid.below(path, found);
            }
        }
    }

    fn first_leaf(&self) -> Self {
        let mut at = *self;
        while at.entry().text.is_none() {
            match at.kids().next() {
                Some(kid) => at = kid,
                None => break,
            }
        }
        at
    }
}

impl<'m> Node<'m> for Spot<'m> {
    type Selector = Vec<String>;

    fn select(&self, selector: &Vec<String>, found: &mut Vec<Self>) {
        let mut from = *self;
        loop {
            from.below(selector, found);
            if !found.is_empty() || from.at == 0 {
                return;
            }
            from.at = from.entry().parent;
        }
    }

    fn text(&self) -> Option<Cow<'m, str>> {
        let text = self.first_leaf().entry().text.as_deref()?;
        (text != "DELETE").then_some(Cow::Borrowed(text))
    }

    fn is_delete(&self) -> bool {
        self.entry().text.as_deref() == Some("DELETE")
    }

    fn place(&self) -> String {
        match self.at {
            0 => String::new(),
            _ => format!("{}@{}", self.entry().name, self.at),
        }
    }

    fn id(&self) -> usize {
        self.first_leaf().entry().span.start
    }

    fn span(&self) -> Range<usize> {
        self.entry().span.clone()
    }
}

impl Syntax for Literal {
    type Selector = Vec<String>;
    type Node<'m> = Spot<'m>;

    fn selector(&self, text: &str) -> Result<Vec<String>, String> {
        let is_name = |name: &str| !name.is_empty() && name.trim_end_matches('*').bytes().all(|byte| byte.is_ascii_lowercase());
        match text {
            "." => Ok(Vec::new()),
            _ if text.split('/').all(is_name) => Ok(text.split('/').map(str::to_owned).collect()),
            _ => Err(format!("{text}: a selector is names with slashes between")),
        }
    }

    fn rule(&self, name: &str) -> Option<Rule<Self>> {
        match name {
            "shout" => Some(shout),
            "wrong" => Some(wrong),
            "edge" => Some(edge),
            "act" => Some(act),
            _ => None,
        }
    }

    fn key_rule(&self, name: &str) -> Option<KeyRule<Self>> {
        (name == "fixed").then_some(|_, _| Some(KeyPart { system: "urn:fixed".into(), value: "1".into() }))
    }

    fn has_identifier(&self, kind: &str) -> bool {
        kind == "ID"
    }

    /// `system^value`
    fn identifier(&self, _: &str, node: &Spot<'_>, settings: &Settings) -> Option<KeyPart> {
        let text = node.text()?;
        let (system, value) = text.split_once('^').unwrap_or(("", &text));
        let system = if system.is_empty() { settings.own_system("id") } else { format!("urn:{system}") };
        Some(KeyPart { system, value: value.to_owned() })
    }

    fn weight(&self, kind: &str, context: &Spot<'_>, message: Weight) -> Weight {
        let mut found = Vec::new();
        context.below(&["final".to_owned()], &mut found);
        if kind == "Observation" && !found.is_empty() { Weight { settled: 1, step: 2 } } else { message }
    }

    fn leaves<'m>(&self, root: &Spot<'m>, leaf: &mut dyn FnMut(Spot<'m>)) {
        (0..root.tree.nodes.len()).map(|at| Spot { tree: root.tree, at }).filter(|spot| spot.entry().text.is_some()).for_each(leaf);
    }
}

fn shout(call: &mut Call<'_, '_, Literal>) {
    for node in call.nodes() {
        if let Some(text) = call.text(&node) {
            call.give(Json::from(text.to_uppercase()), &node);
        }
    }
}

/// Gives what R4 has no place for.
fn wrong(call: &mut Call<'_, '_, Literal>) {
    let node = *call.context();
    call.say(
        Slot::Element("gender".into()),
        Some(Json::from_iter([("gender", Json::from("loud")), ("nonsense", Json::from(true))])),
        &node,
    );
    call.issue(Severity::Warning, IssueCode::Identity, &node, "said so");
}

fn edge(call: &mut Call<'_, '_, Literal>) {
    let node = *call.context();
    if let Some(other) = call.key("other").cloned() {
        let value = call.reference(&other);
        call.say(Slot::Edge { kind: "seealso".into(), other: format!("{}|{}", other.system, other.value).into() }, Some(value), &node);
    }
}

fn act(call: &mut Call<'_, '_, Literal>) {
    let mut found = Vec::new();
    call.context().below(&["action".to_owned()], &mut found);
    for node in found {
        match call.text(&node).as_deref() {
            Some("D") => call.act(Action::Delete),
            Some(_) => call.act(Action::Assert),
            None => {}
        }
    }
}
