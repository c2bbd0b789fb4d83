//! A visit in time (`state.md`, Encounters in time): its places, classes and statuses are steps, told by ADT events.

use super::Ask;
use crate::node::Node;
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
    let Some((node, what, location)) = place(call, planned) else { return };
    say(call, what, "location", [("location", location)].into_iter().collect(), &node);
}

/// PV1-6 of a transfer: the place that the patient left by it. Since when the patient was there, it does not tell.
pub fn move_prior(call: Ask<'_, '_, '_>) {
    let Some((node, what, location)) = place(call, false) else { return };
    let prior = [("prior", Json::from(true)), ("location", location)].into_iter().collect();
    say(call, what, "location", prior, &node);
}

/// The place of the row, its key, and the element that it makes.
fn place<'m>(call: Ask<'_, '_, 'm>, planned: bool) -> Option<(Node<'m>, Name, Json)> {
    let node = call.nodes().into_iter().find(|node| !node.is_delete())?;
    let reference = call.make(&node)?;
    let what: Name = reference.get("reference").and_then(Json::as_str).unwrap_or_default().into();
    let mut location: Json = [("location", reference)].into_iter().collect();
    if planned {
        location.set("status", "planned".into());
    }
    Some((node, what, location))
}

/// PV1-2: the class from this event on.
pub fn move_class(call: Ask<'_, '_, '_>) {
    let Some(node) = call.nodes().into_iter().find(|node| !node.is_delete()) else { return };
    let Some(class) = call.make(&node) else { return };
    let what: Name = class.get("code").and_then(Json::as_str).unwrap_or_default().into();
    say(call, what, "class", [("class", class)].into_iter().collect(), &node);
}

/// The event itself: a status, or for A12 the cancel of the latest transfer.
pub fn move_status(call: Ask<'_, '_, '_>) {
    let event = call.envelope().message_type.event.clone();
    let node = *call.context();
    if event == "A12" {
        say(call, "cancel".into(), "cancel", [("of", Json::from("A02"))].into_iter().collect(), &node);
    }
    if let Some(status) = status_of(&event) {
        say(call, "status".into(), "status", [("status", Json::from(status))].into_iter().collect(), &node);
    }
}

/// When an event came about, where the message tells that besides when it was recorded: PV1-44 of an admission, PV1-45 of
/// a discharge, else EVN-6. On a cancel EVN-6 is the time of what is cancelled (2.9, EVN-6).
fn occurred(call: Ask<'_, '_, '_>) -> Option<Json> {
    let fields: &[&str] = match call.envelope().message_type.event.as_str() {
        "A11" | "A12" | "A13" => &[],
        "A01" | "A04" => &["PV1-44", "EVN-6"],
        "A03" => &["PV1-45", "EVN-6"],
        _ => &["EVN-6"],
    };
    let stamp = |field: &&str| call.stamp(&call.context().first(field)?.text()?).ok();
    let stamp = fields.iter().find_map(stamp)?;
    Some(Json::from(stamp.date_time(&call.settings().timezone)))
}

/// One step; its value is as `Slot::Move` has it. It stands among the others by when it was asserted, and lasts from when
/// it came about (`time`, a dateTime) where that is told.
fn say<'m>(call: Ask<'_, '_, 'm>, what: Name, kind: &str, value: Json, node: &Node<'m>) {
    let (at, step) = (call.asserted(), call.weight().step);
    let mut whole: Json = [("kind", Json::from(kind))].into_iter().collect();
    if let Some(step) = Json::number(&step.to_string()) {
        whole.set("step", step);
    }
    if let Some(time) = occurred(call) {
        whole.set("time", time);
    }
    contract::merge(&mut whole, value);
    let event: Name = call.envelope().message_type.event.as_str().into();
    call.say(Slot::Move { at, event, what }, Some(whole), node);
}
