//! Registers: what a body depends on besides its own slots, by name, so that the store can find who depends on what.

use super::{Address, Slots};
use contract::{Json, Name, Slot};
use std::collections::BTreeSet;
use std::fmt;

/// The identifier system of NHS numbers.
pub const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";

/// Identifier systems of which a patient has one at a time: the greatest rank alone is rendered.
pub const SINGLE_VALUED: [&str; 1] = [NHS_NUMBER];

/// A name under which resources stand together.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Register {
    /// Items of a parent's snapshot group.
    Group { parent: Address, group: Name },
    /// Resources with an edge to this one.
    EdgeTo(Address),
    /// Patients with this NHS number.
    Number(Name),
    /// Visits of one patient and feed that began at the same time. No body depends on it: it shows a visit that came
    /// under a second number.
    Visit { patient: Name, feed: Name, start: Name },
    /// Documents of a set.
    Shared { register: Name, name: Name },
}

impl Register {
    /// A change of one member may change the bodies of the others.
    pub fn is_shared(&self) -> bool {
        matches!(self, Register::Number(_) | Register::Shared { .. })
    }
}

/// The name in the store's reverse index.
impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Register::Group { parent, group } => write!(f, "group {parent} {group}"),
            Register::EdgeTo(address) => write!(f, "edge {address}"),
            Register::Number(number) => write!(f, "number {number}"),
            Register::Visit { patient, feed, start } => write!(f, "visit {patient} {start} {feed}"),
            Register::Shared { register, name } => write!(f, "{register} {name}"),
        }
    }
}

/// Shows the kind: a name may be a patient's number.
impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Register::Group { .. } => "Group",
            Register::EdgeTo(_) => "EdgeTo",
            Register::Number(_) => "Number",
            Register::Visit { .. } => "Visit",
            Register::Shared { .. } => "Shared",
        })
    }
}

/// Every register that a resource with these slots stands in.
pub fn of(address: &str, slots: &Slots) -> BTreeSet<Register> {
    let mut found = BTreeSet::new();
    for (slot, held) in slots {
        match (slot, &held.value) {
            (Slot::Shared { register, .. }, Some(value)) if &**register == "group" => {
                if let (Some(parent), Some(group)) = (value.get("parent").and_then(Json::as_str), value.get("group").and_then(Json::as_str))
                {
                    found.insert(Register::Group { parent: parent.into(), group: group.into() });
                }
            }
            (Slot::Shared { register, name }, Some(_)) => {
                found.insert(Register::Shared { register: register.clone(), name: name.clone() });
            }
            (Slot::Edge { .. }, Some(value)) => {
                if let Some(target) = value.get("reference").and_then(Json::as_str) {
                    found.insert(Register::EdgeTo(target.into()));
                }
            }
            _ => {}
        }
    }
    if address.starts_with("Patient/") {
        let numbers = super::render::identifiers(slots)
            .into_iter()
            .filter(|identifier| identifier.get("system").and_then(Json::as_str) == Some(NHS_NUMBER));
        for number in numbers.filter_map(|identifier| identifier.get("value").and_then(Json::as_str).map(str::to_owned)) {
            found.extend(contract::nhs_number(&number).map(|digits| Register::Number(digits.into())));
        }
    }
    if address.starts_with("Encounter/") {
        found.extend(visits(slots));
    }
    found
}

/// The visit's place among those of its patient, for each feed that gives it a number.
fn visits(slots: &Slots) -> Vec<Register> {
    let element = |name: &str| slots.get(&Slot::Element(name.into())).and_then(|held| held.value.as_deref());
    let patient = element("subject").and_then(|fragment| fragment.get("subject")?.get("reference")?.as_str());
    let start = element("period.start").and_then(|fragment| fragment.get("period")?.get("start")?.as_str());
    let (Some(patient), Some(start)) = (patient, start) else { return Vec::new() };
    let numbered = |(slot, held): (&Slot, &super::Held)| match slot {
        Slot::Repeats { element, feed, .. } if &**element == "identifier" && held.value.is_some() => {
            Some(Register::Visit { patient: patient.into(), feed: feed.clone(), start: start.into() })
        }
        _ => None,
    };
    slots.iter().filter_map(numbered).collect()
}
