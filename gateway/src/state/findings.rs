//! What a fold notices and a person should look at. Nothing is changed by it.

use super::registers::Register;
use super::{Loader, Room, Slots, identity};
use contract::{Class, Contribution, Json, Slot};
use std::collections::BTreeSet;

/// Closed; each has a word under which it is kept beside the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Finding {
    /// A message speaks of a Patient after that one was merged into another.
    RetiredPatient,
    /// A valid NHS number is already another Patient's, who is not merged with this one.
    SharedNumber,
    /// Another visit number of the same patient, feed and start: a visit that changed its number, mended by A50 or by
    /// `visit_assigners`.
    TwoVisits,
    /// A corrected report came with fewer results than it has.
    FewerResults,
}

impl Finding {
    pub fn word(self) -> &'static str {
        match self {
            Finding::RetiredPatient => "retired-patient",
            Finding::SharedNumber => "shared-number",
            Finding::TwoVisits => "two-visits",
            Finding::FewerResults => "fewer-results",
        }
    }
}

/// What one contribution shows beside the slots it was joined into.
pub(super) fn of_contribution(contribution: &Contribution, slots: &Slots) -> BTreeSet<Finding> {
    let mut found = BTreeSet::new();
    if contribution.class != Class::Record {
        return found;
    }
    let said = &contribution.statements;
    if &*contribution.key.kind == "Patient"
        && let Some((edge, _)) = identity::edge(slots)
        && said.iter().any(|statement| statement.rank.asserted > edge.asserted && !matches!(statement.slot, Slot::Edge { .. }))
    {
        found.insert(Finding::RetiredPatient);
    }
    let corrected = || said.iter().any(|statement| value_is(statement.value.as_ref(), "status", "corrected"));
    if &*contribution.key.kind == "DiagnosticReport" && corrected() {
        let results = |slot: &Slot| matches!(slot, Slot::Member { element, .. } if &**element == "result");
        let known = slots.iter().filter(|(slot, held)| results(slot) && held.value.is_some()).count();
        let sent = said.iter().filter(|statement| results(&statement.slot)).map(|statement| &statement.slot).collect::<BTreeSet<_>>();
        if sent.len() < known {
            found.insert(Finding::FewerResults);
        }
    }
    found
}

/// What a resource's coming into a register shows.
pub(super) fn of_register<L: Loader>(room: &mut Room<'_, L>, address: &str, register: &Register) -> Result<Option<Finding>, L::Error> {
    let finding = match register {
        Register::Number(_) => Finding::SharedNumber,
        Register::Visit { .. } => Finding::TwoVisits,
        Register::Group { .. } | Register::EdgeTo(_) | Register::Shared { .. } => return Ok(None),
    };
    let mut others = room.members(register)?;
    others.remove(address);
    if finding == Finding::SharedNumber && !others.is_empty() {
        let component = identity::component(room, &address.into())?;
        others.retain(|other| !component.contains(other));
    }
    Ok((!others.is_empty()).then_some(finding))
}

fn value_is(fragment: Option<&Json>, name: &str, wanted: &str) -> bool {
    fragment.and_then(|fragment| fragment.get(name)).and_then(Json::as_str) == Some(wanted)
}
