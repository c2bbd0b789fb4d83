//! From what was noted while rows were evaluated to one line per element, under the path that it has in the body.

use contract::{Authority, Contribution, Json, Slot, Statement, Trace};
use std::collections::BTreeMap;

/// One trace per leaf of what is said, or per element that was written whole, in the order in which the statements are laid. `noted`: by contribution, with paths
/// as their own statement has them. Leaves that no row wrote by itself (a rule's, a translated code's system) have the
/// place and row of their statement.
pub(crate) fn explained(contributions: &[Contribution], noted: Vec<Trace>) -> Vec<Trace> {
    let mut by: Vec<Vec<Noted>> = contributions.iter().map(|_| Vec::new()).collect();
    for trace in noted {
        let of = &mut by[trace.contribution];
        // What a row assigns stands with the place that its neighbour was read from.
        let anchor = match of.iter().rev().find(|other| top(&other.trace.element) == top(&trace.element)) {
            Some(other) if trace.place.is_empty() => other.anchor.clone(),
            _ => field(&trace.place).to_owned(),
        };
        of.push(Noted { trace, anchor });
    }
    let mut explained = Vec::new();
    for (contribution, (said, mut noted)) in contributions.iter().zip(by).enumerate() {
        // What is implied of an element stands back where an event says it.
        let moved = |statement: &Statement| {
            let is_of = |other: &&Statement| matches!(other.slot, Slot::Move { .. }) && name(other) == name(statement);
            matches!(statement.slot, Slot::Element(_))
                && statement.rank.authority == Authority::Implied
                && said.statements.iter().any(|other| is_of(&other))
        };
        let mut statements: Vec<&Statement> = said.statements.iter().filter(|statement| !moved(statement)).collect();
        statements.sort_by_key(|statement| (laid(&statement.slot), &statement.slot));
        // How many elements of each repeating one were laid before.
        let mut before: BTreeMap<String, usize> = BTreeMap::new();
        for statement in statements {
            for (leaf, at) in leaves(statement) {
                let found = take(&mut noted, &leaf, field(&statement.place));
                let (path, place, row) = match found {
                    Some(trace) => (trace.element, trace.place, trace.row),
                    None => (leaf, statement.place.to_string(), statement.row.to_string()),
                };
                let element = match at {
                    Some(at) => path.replacen(&format!("[{at}]"), &format!("[{}]", at + before.get(top(&path)).copied().unwrap_or(0)), 1),
                    None => path,
                };
                let trace = Trace { contribution, element, place, row };
                // Leaves of what was written whole (a reference) are one line.
                if explained.last() != Some(&trace) {
                    explained.push(trace);
                }
            }
            for (name, count) in repeated(statement) {
                *before.entry(name).or_default() += count;
            }
        }
    }
    explained
}

struct Noted {
    trace: Trace,
    /// The field that it, or its neighbour, was read from.
    anchor: String,
}

/// What was noted of a leaf: its own line if there is one, which is used up, else that of an element that holds it. Where
/// several are, the one of the same field.
fn take(noted: &mut Vec<Noted>, leaf: &str, field: &str) -> Option<Trace> {
    let is_own = |one: &Noted| one.trace.element == leaf;
    let holds = |one: &Noted| leaf.strip_prefix(one.trace.element.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']));
    let of_field = |one: &Noted| one.anchor == field;
    let own = noted.iter().position(|one| is_own(one) && of_field(one)).or_else(|| noted.iter().position(is_own));
    match own {
        Some(at) => Some(noted.remove(at).trace),
        None => {
            let held = noted.iter().find(|one| holds(one) && of_field(one)).or_else(|| noted.iter().find(|one| holds(one)))?;
            Some(held.trace.clone())
        }
    }
}

/// `PV1[1]-7` of `PV1[1]-7.2.1`.
fn field(place: &str) -> &str {
    place.split_once('.').map_or(place, |(field, _)| field)
}

/// `name` of `name[0].family`.
fn top(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or(path)
}

/// Elements first, then repeating fields, groups and sets: the order in which a body is made.
fn laid(slot: &Slot) -> u8 {
    match slot {
        Slot::Element(_) => 0,
        Slot::Repeats { element, .. } if &**element != "identifier" => 1,
        Slot::Repeats { .. } => 2,
        Slot::Group { .. } | Slot::Item { .. } => 3,
        Slot::Member { .. } => 4,
        Slot::Move { .. } | Slot::Edge { .. } | Slot::Shared { .. } => 5,
    }
}

/// The paths of a statement's leaves; with the index of the topmost element, where that repeats.
fn leaves(statement: &Statement) -> Vec<(String, Option<usize>)> {
    let Some(value) = &statement.value else { return vec![(format!("{} (cleared)", name(statement)), None)] };
    let mut found = Vec::new();
    match &statement.slot {
        Slot::Element(_) => walk(value, String::new(), &mut found),
        Slot::Repeats { element, .. } => walk(value, element.to_string(), &mut found),
        Slot::Member { element, .. } => found.push(format!("{element}[0]")),
        Slot::Group { .. } | Slot::Item { .. } | Slot::Move { .. } | Slot::Edge { .. } | Slot::Shared { .. } => found.push(name(statement)),
    }
    found
        .into_iter()
        .map(|path| {
            let rest = &path[top(&path).len()..];
            let at = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).and_then(|(at, _)| at.parse().ok());
            (path, at)
        })
        .collect()
}

fn walk(value: &Json, path: String, found: &mut Vec<String>) {
    match value {
        Json::Object(members) => {
            for (name, value) in members {
                walk(value, if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }, found);
            }
        }
        Json::Array(elements) => elements.iter().enumerate().for_each(|(at, value)| walk(value, format!("{path}[{at}]"), found)),
        _ => found.push(path),
    }
}

/// The element that a statement speaks of.
fn name(statement: &Statement) -> String {
    match &statement.slot {
        Slot::Element(name) => name.split(':').next().unwrap_or(name).to_owned(),
        Slot::Repeats { element, .. } | Slot::Member { element, .. } => element.to_string(),
        Slot::Group { element, group, .. } | Slot::Item { element, group, .. } => {
            if element.is_empty() {
                format!("(items of {group})")
            } else {
                element.to_string()
            }
        }
        Slot::Move { event, .. } => match statement.value.as_ref().and_then(|value| value.get("kind")).and_then(Json::as_str) {
            Some("cancel") | None => format!("(cancelled by {event})"),
            Some(kind) => kind.to_owned(),
        },
        Slot::Edge { .. } => "link".to_owned(),
        Slot::Shared { register, .. } => format!("({register})"),
    }
}

/// The repeating elements that a statement gives, and how many of each.
fn repeated(statement: &Statement) -> Vec<(String, usize)> {
    match (&statement.slot, &statement.value) {
        (Slot::Element(_), Some(Json::Object(members))) => members
            .iter()
            .filter_map(|(name, value)| match value {
                Json::Array(elements) => Some((name.to_string(), elements.len())),
                _ => None,
            })
            .collect(),
        (Slot::Repeats { element, .. }, Some(value)) => vec![(element.to_string(), value.each().len())],
        (Slot::Member { element, .. }, Some(_)) => vec![(element.to_string(), 1)],
        _ => Vec::new(),
    }
}
