//! What a fold notices and a person should look at. Nothing is changed by it.

use super::registers::Register;
use super::{Loader, Room, Slots, encounter, identity};
use contract::{Class, Contribution, Json, Slot, Statement};
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
    /// A visit, report or the like was another patient's before: a number used again, or a correction.
    SubjectChanged,
    /// A patient was admitted under the number of a visit that is over.
    VisitOver,
    /// A control id came with other content before.
    ControlIdReused,
    /// A message's time lay ahead of its receipt, and was capped.
    StampAhead,
}

impl Finding {
    pub const ALL: [Self; 8] = [
        Finding::VisitOver,
        Finding::RetiredPatient,
        Finding::SharedNumber,
        Finding::TwoVisits,
        Finding::FewerResults,
        Finding::SubjectChanged,
        Finding::ControlIdReused,
        Finding::StampAhead,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Finding::SubjectChanged => "subject-changed",
            Finding::VisitOver => "visit-over",
            Finding::ControlIdReused => "control-id-reused",
            Finding::StampAhead => "stamp-ahead",
            Finding::RetiredPatient => "retired-patient",
            Finding::SharedNumber => "shared-number",
            Finding::TwoVisits => "two-visits",
            Finding::FewerResults => "fewer-results",
        }
    }

    /// What it means, and what a person may do.
    pub fn meaning(self) -> &'static str {
        match self {
            Finding::RetiredPatient => "a message speaks of a patient who was merged into another: does the sender know of the merge?",
            Finding::SharedNumber => "two patients have one NHS number: merge them at the source, or correct the number",
            Finding::TwoVisits => "one visit under two numbers: set the feed's visit_assigners, or send A50",
            Finding::FewerResults => "a corrected report came with fewer results than it has: those not sent again stay",
            Finding::SubjectChanged => "a visit or report was another patient's before: a number used again, or a correction",
            Finding::VisitOver => {
                "a patient was admitted under the number of a visit that is over: only A13 (cancel discharge) reopens one"
            }
            Finding::ControlIdReused => "a control id came with other content: the sender's counter began again, or it edits messages",
            Finding::StampAhead => "a message's time lies ahead of its receipt and was capped: look at the sender's clock and time zone",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|finding| finding.word() == word)
    }
}

/// Whether a statement gives a resource to another patient than the slots do, before it is joined.
pub(super) fn of_statement(statement: &Statement, slots: &Slots) -> Option<Finding> {
    let is_subject = matches!(&statement.slot, Slot::Element(name) if matches!(&**name, "subject" | "patient"));
    let other = || slots.get(&statement.slot).is_some_and(|held| held.value.is_some() && held.value.as_deref() != statement.value.as_ref());
    (is_subject && statement.value.is_some() && other()).then_some(Finding::SubjectChanged)
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
    if &*contribution.key.kind == "Encounter" && encounter::is_over(slots, said) {
        found.insert(Finding::VisitOver);
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
