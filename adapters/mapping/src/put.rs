//! Values into their places.

use crate::plan::Step;
use contract::{Json, Name};

/// A cell whose element is not yet made.
pub(crate) const UNSET: u32 = u32::MAX;

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
