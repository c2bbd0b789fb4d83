//! Merges, links, and numbers that contradict one another.

use super::Ask;
use crate::identifier::{self, Kind, NHS_NUMBER};
use crate::keys;
use crate::node::Node;
use contract::{Issue, IssueCode, Json, Key, Settings, Severity, Slot};

/// MRG-1 into PID-3: the loser is replaced by the survivor. Of the loser alone; the survivor's link is rendered.
pub fn merge(call: Ask<'_, '_, '_>) {
    let node = *call.context();
    let (Some(loser), Some(survivor)) = (call.own_key().cloned(), call.key("Patient").cloned()) else { return };
    let at = node.first("MRG-1").unwrap_or(node);
    if loser == survivor {
        return call.issue(Severity::Warning, IssueCode::Identity, &at, "the number to be merged is the surviving one: nothing is merged");
    }
    let value = call.reference(&survivor);
    call.say(Slot::Edge { kind: "replaced-by".into(), other: "".into() }, Some(value), &at);
}

/// A24: the persons of the message's PATIENT groups are linked, and stay two.
pub fn link(call: Ask<'_, '_, '_>) {
    edges(call, true);
}

/// A37: such a link is taken back; a merge is not touched.
pub fn unlink(call: Ask<'_, '_, '_>) {
    edges(call, false);
}

fn edges(call: Ask<'_, '_, '_>, linked: bool) {
    let node = *call.context();
    let Some(own) = call.own_key().cloned() else { return };
    let mut others = 0;
    for group in call.root().all("PATIENT") {
        let Some(part) = keys::patient(&group, call.settings()) else { continue };
        let other = Key::new("Patient", part.system, part.value);
        if other == own {
            continue;
        }
        others += 1;
        let value: Option<Json> = linked.then(|| call.reference(&other));
        let name = format!("{}|{}", other.system, other.value);
        call.say(Slot::Edge { kind: "seealso".into(), other: name.into() }, value, &node);
    }
    if others == 0 {
        call.issue(Severity::Warning, IssueCode::Identity, &node, "names one person where two are to be linked or unlinked");
    }
}

/// Two valid NHS numbers for one person: which of them is meant, a person must say.
pub fn contradiction(root: &Node<'_>, settings: &Settings) -> Option<Issue> {
    let groups = match root.all("PID") {
        found if found.is_empty() => return None,
        found => found,
    };
    for pid in groups {
        let mut seen: Option<String> = None;
        for field in ["PID-3", "PID-2", "PID-4"] {
            for node in pid.all(field) {
                let Some(part) = identifier::read(Kind::Cx, &node, settings).filter(|part| part.system == NHS_NUMBER) else { continue };
                match &seen {
                    Some(number) if *number != part.value => {
                        let reason = "a second valid NHS number for one person";
                        return Some(Issue::new(Severity::Error, IssueCode::Identity, node.place(), reason));
                    }
                    _ => seen = Some(part.value),
                }
            }
        }
    }
    None
}
