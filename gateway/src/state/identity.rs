//! Identity: merges, links and shared NHS numbers. One Patient per key; bodies keep the Patient that the message named.

use super::registers::Register;
use super::render::append;
use super::{Address, Loader, Room, Slots};
use contract::{Json, Rank, Slot};
use std::collections::{BTreeMap, BTreeSet};

/// All Patients that replaced-by edges tie to this one, whichever way; itself included.
pub(super) fn component<L: Loader>(room: &mut Room<'_, L>, patient: &Address) -> Result<BTreeSet<Address>, L::Error> {
    let mut found = BTreeSet::from([patient.clone()]);
    let mut open = vec![patient.clone()];
    while let Some(next) = open.pop() {
        let mut near: BTreeSet<Address> = room.slots(&next)?.and_then(edge).map(|(_, target)| target).into_iter().collect();
        for source in room.members(&Register::EdgeTo(next.clone()))? {
            if room.slots(&source)?.and_then(edge).is_some_and(|(_, target)| target == next) {
                near.insert(source);
            }
        }
        open.extend(near.into_iter().filter(|one| found.insert(one.clone())));
    }
    Ok(found)
}

/// Lays `active` and `link` over a Patient's body.
pub(super) fn lay<L: Loader>(room: &mut Room<'_, L>, address: &str, slots: &Slots, body: &mut Json) -> Result<(), L::Error> {
    let mine: Address = address.into();
    let component = component(room, &mine)?;
    let mut edges: BTreeMap<Address, (Rank, Address)> = BTreeMap::new();
    for member in &component {
        if let Some(edge) = room.slots(member)?.and_then(edge) {
            edges.insert(member.clone(), edge);
        }
    }
    break_cycle(&mut edges, &mine);
    let mut links: BTreeMap<Address, &'static str> = BTreeMap::new();
    if let Some((_, survivor)) = edges.get(&mine) {
        body.set("active", false.into());
        links.insert(survivor.clone(), "replaced-by");
    }
    for (loser, (_, survivor)) in &edges {
        if *survivor == mine {
            links.insert(loser.clone(), "replaces");
        }
    }
    for (slot, held) in slots {
        if let (Slot::Edge { kind, .. }, Some(value)) = (slot, &held.value)
            && &**kind == "seealso"
            && let Some(other) = value.get("reference").and_then(Json::as_str)
        {
            links.entry(other.into()).or_insert("seealso");
        }
    }
    // Two Patients under one valid NHS number: a link for people to look at, never a merge.
    for register in room.registers(address)? {
        if matches!(register, Register::Number(_)) {
            for other in room.members(&register)? {
                if other != mine && !component.contains(&other) {
                    links.entry(other).or_insert("seealso");
                }
            }
        }
    }
    let link = |(other, kind): (Address, &str)| -> Json {
        let reference: Json = [("reference", Json::string(other))].into_iter().collect();
        [("other", reference), ("type", Json::from(kind))].into_iter().collect()
    };
    append(body, "link", links.into_iter().map(link).collect());
    Ok(())
}

/// The replaced-by edge that counts: the one of greatest rank, unless cleared.
pub(super) fn edge(slots: &Slots) -> Option<(Rank, Address)> {
    let edges = slots.iter().filter_map(|(slot, held)| match slot {
        Slot::Edge { kind, .. } if &**kind == "replaced-by" => Some(held),
        _ => None,
    });
    let held = edges.max_by_key(|held| held.rank)?;
    let target = held.value.as_ref()?.get("reference")?.as_str()?;
    Some((held.rank, target.into()))
}

/// A component has one edge a Patient at most, so one cycle at most: its least-ranked edge does not count.
fn break_cycle(edges: &mut BTreeMap<Address, (Rank, Address)>, from: &Address) {
    let mut path: Vec<Address> = Vec::new();
    let mut at = from.clone();
    while let Some((_, next)) = edges.get(&at) {
        if let Some(start) = path.iter().position(|seen| *seen == at) {
            let weakest = path[start..].iter().min_by_key(|member| (edges[*member].0, (*member).clone())).cloned();
            if let Some(weakest) = weakest {
                edges.remove(&weakest);
            }
            return;
        }
        path.push(at.clone());
        at = next.clone();
    }
}
