//! Merges, links, and numbers that contradict one another.

use super::Ask;
use crate::identifier::{self, Kind, NHS_NUMBER, Social};
use crate::keys::{self, Number};
use crate::node::Node;
use contract::{Issue, IssueCode, Json, Key, Settings, Severity, Slot};
use mapping::KeyPart;

/// A number of MRG-1 into PID-3: the loser is replaced by the survivor. Of the loser alone; the survivor's link is
/// rendered. A number that retires nobody makes no resource.
pub fn merge(call: Ask<'_, '_, '_>) {
    let node = *call.context();
    let (Some(loser), Some(survivor)) = (call.own_key().cloned(), call.key("Patient").cloned()) else { return };
    let settings = call.settings();
    let (is_national, retired) = (*loser.system == *NHS_NUMBER, retired(&node, settings));
    if loser != survivor && is_national && *survivor.system != *NHS_NUMBER {
        call.withhold();
        if keys::numbers(&node, "MRG-1", settings).iter().all(Number::is_national) {
            let reason = "only an NHS number is to be merged into a local number: nothing is merged, name the local number";
            call.issue(Severity::Warning, IssueCode::Identity, &node, reason);
        }
        return;
    }
    if loser == survivor || !is_national && !retired.iter().any(|part| is_key(part, &loser)) {
        call.withhold();
        if retired.iter().all(|part| is_key(part, &survivor)) {
            let reason = "the number to be merged is the surviving one: nothing is merged";
            call.issue(Severity::Warning, IssueCode::Identity, &node, reason);
        }
        return;
    }
    let value = call.reference(&survivor);
    call.say(Slot::Edge { kind: "replaced-by".into(), other: "".into() }, Some(value), &node);
}

/// The numbers of MRG-1 as identifiers of one of those that it retires: not those of another, nor the survivor's.
pub fn prior_numbers(call: Ask<'_, '_, '_>) {
    let (context, settings, own) = (*call.context(), call.settings(), call.own_key().cloned());
    let retired = retired(&context, settings);
    for node in call.nodes() {
        let part = identifier::read(Kind::Cx, &node, settings);
        let is_others = part.is_some_and(|part| {
            !own.as_ref().is_some_and(|own| is_key(&part, own)) && (retired.contains(&part) || is_surviving(&part, &context, settings))
        });
        if is_others {
            call.mark_all(&node);
        } else if let Some(value) = call.make(&node) {
            call.give(value, &node);
        }
    }
}

/// The local numbers in MRG-1 that are not the survivor's: where the feed speaks for any of them, those alone.
fn retired(node: &Node<'_>, settings: &Settings) -> Vec<KeyPart> {
    let numbers = keys::numbers(node, "MRG-1", settings).into_iter().filter(|number| !number.is_national());
    let mut parts: Vec<KeyPart> = numbers.map(|number| number.part).filter(|part| !is_surviving(part, node, settings)).collect();
    let speaks = |part: &KeyPart| settings.speaks_for(&Key::new("Patient", part.system.as_str(), part.value.as_str()));
    if parts.iter().any(speaks) {
        parts.retain(speaks);
    }
    parts
}

/// Whether a number is among the surviving person's own.
fn is_surviving(part: &KeyPart, node: &Node<'_>, settings: &Settings) -> bool {
    keys::numbers(node, "PID-3", settings).iter().any(|number| number.part == *part)
}

fn is_key(part: &KeyPart, key: &Key) -> bool {
    *key.system == *part.system && *key.value == *part.value
}

/// A merge that does not say of what.
pub fn no_merge(call: Ask<'_, '_, '_>) {
    let reason = "nothing says which number is merged into this one: nothing is merged";
    match call.context().first("MRG") {
        Some(segment) => call.issue_at(Severity::Warning, IssueCode::Required, format!("{}-1", segment.place()), reason),
        None => call.issue_at(Severity::Warning, IssueCode::Required, "MRG", reason),
    }
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
    let number = |field: &str, node: &Node<'_>| match field {
        "PID-19" => match identifier::social(&identifier::text(node, ".")?, settings) {
            Social::National(digits) => Some(digits),
            Social::Security | Social::Other => None,
        },
        _ => identifier::read(Kind::Cx, node, settings).filter(|part| part.system == NHS_NUMBER).map(|part| part.value),
    };
    for pid in root.all("PID") {
        let mut seen: Option<String> = None;
        for field in ["PID-3", "PID-2", "PID-4", "PID-19"] {
            for node in pid.all(field) {
                let Some(found) = number(field, &node) else { continue };
                match &seen {
                    Some(number) if *number != found => {
                        let reason = "a second valid NHS number for one person";
                        return Some(Issue::new(Severity::Error, IssueCode::Identity, node.place(), reason));
                    }
                    _ => seen = Some(found),
                }
            }
        }
    }
    None
}

/// What is missing or in doubt about whom the message is of: no PID, or two medical record numbers.
pub fn doubts(root: &Node<'_>, settings: &Settings) -> Vec<Issue> {
    let mut issues = Vec::new();
    let groups = match root.all("PATIENT_RESULT") {
        found if found.is_empty() => vec![*root],
        found => found,
    };
    for group in groups {
        let found = group.all("PID");
        if found.is_empty() && !issues.iter().any(|issue: &Issue| issue.place == "PID") {
            let reason = "PID is missing: what the message says is of no known person";
            issues.push(Issue::new(Severity::Warning, IssueCode::Required, "PID", reason));
        }
        for pid in found {
            let candidates = keys::candidates(&pid, "PID-3", settings);
            let mut records = candidates.iter().filter(|number| number.is_medical_record());
            let first = records.next().map(|number| &number.part);
            if let Some(other) = records.find(|number| Some(&number.part) != first) {
                let reason = "a second medical record number of the assigner that identifies the person: the lesser one counts";
                issues.push(Issue::new(Severity::Warning, IssueCode::Identity, other.node.place(), reason));
            }
        }
    }
    issues
}
