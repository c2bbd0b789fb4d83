//! A visit in time (`state.md`, Encounters in time): its places, classes and statuses are steps, told by ADT events.

use super::Ask;
use contract::{Json, Name, Slot};

/// What an event makes of the visit's status (Ch. 3); `None`: it says nothing of it.
fn status_of(event: &str) -> Option<&'static str> {
    match event {
        "A01" | "A04" | "A13" => Some("in-progress"),
        "A03" => Some("finished"),
        "A05" => Some("planned"),
        "A11" => Some("cancelled"),
        _ => None,
    }
}

/// PV1-3: the place where the patient now is; planned where the class says that the stay is (P).
pub fn move_location(call: Ask<'_, '_, '_>) {
    let planned = call.context().first("PV1-2").and_then(|node| node.text()).is_some_and(|class| class.trim() == "P");
    place(call, 0, planned);
}

/// PV1-6 of a transfer: the place before it, just before it. Where an earlier message said so, the two are one.
pub fn move_prior(call: Ask<'_, '_, '_>) {
    place(call, -1, false);
}

fn place(call: Ask<'_, '_, '_>, after: i64, planned: bool) {
    let Some(node) = call.nodes().into_iter().find(|node| !node.is_delete()) else { return };
    let Some(reference) = call.make(&node) else { return };
    let what: Name = reference.get("reference").and_then(Json::as_str).unwrap_or_default().into();
    let mut location: Json = [("location", reference)].into_iter().collect();
    if planned {
        location.set("status", "planned".into());
    }
    let at = call.asserted() + after;
    say(call, at, what, "location", [("location", location)].into_iter().collect(), &node);
}

/// PV1-2: the class from this event on.
pub fn move_class(call: Ask<'_, '_, '_>) {
    let Some(node) = call.nodes().into_iter().find(|node| !node.is_delete()) else { return };
    let Some(class) = call.make(&node) else { return };
    let what: Name = class.get("code").and_then(Json::as_str).unwrap_or_default().into();
    let at = call.asserted();
    say(call, at, what, "class", [("class", class)].into_iter().collect(), &node);
}

/// The event itself: a status, or for A12 the cancel of the latest transfer.
pub fn move_status(call: Ask<'_, '_, '_>) {
    let event = call.envelope().message_type.event.clone();
    let (node, at) = (*call.context(), call.asserted());
    if event == "A12" {
        say(call, at, "cancel".into(), "cancel", [("of", Json::from("A02"))].into_iter().collect(), &node);
    }
    if let Some(status) = status_of(&event) {
        say(call, at, "status".into(), "status", [("status", Json::from(status))].into_iter().collect(), &node);
    }
}

/// One step; its value is as `Slot::Move` has it.
fn say<'m>(call: Ask<'_, '_, 'm>, at: i64, what: Name, kind: &str, value: Json, node: &crate::node::Node<'m>) {
    let step = call.weight().step;
    let mut whole: Json = [("kind", Json::from(kind))].into_iter().collect();
    if let Some(step) = Json::number(&step.to_string()) {
        whole.set("step", step);
    }
    contract::merge(&mut whole, value);
    let event: Name = call.envelope().message_type.event.as_str().into();
    call.say(Slot::Move { at, event, what }, Some(whole), node);
}
