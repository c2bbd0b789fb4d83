//! From slots and registers to a body.

use super::registers::SINGLE_VALUED;
use super::{Held, Loader, Room, Slots, documents, encounter, identity};
use contract::{Authority, Json, Name, Rank, Slot, merge};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a resource looks like now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendered {
    /// The resource, without `meta`.
    Body(Json),
    /// It is an item of a group that no longer lists it: a deleted version.
    Deleted,
}

pub(super) fn render<L: Loader>(room: &mut Room<'_, L>, address: &str) -> Result<Rendered, L::Error> {
    let slots = room.held(address)?;
    if !lives(room, &slots)? {
        return Ok(Rendered::Deleted);
    }
    let (kind, id) = address.split_once('/').expect("an address is Type/id");
    let mut body = own(kind, &slots);
    match kind {
        "Patient" => identity::lay(room, address, &slots, &mut body)?,
        "DocumentReference" => documents::lay(room, address, &slots, &mut body)?,
        _ => {}
    }
    Ok(Rendered::Body(finish(kind, id, body)))
}

/// What a resource's own slots give.
pub(super) fn own(kind: &str, slots: &Slots) -> Json {
    let mut body = Json::object();
    let fragments: Vec<(Rank, &Json)> = slots
        .iter()
        .filter(|(slot, _)| matches!(slot, Slot::Element(_)))
        .filter_map(|(_, held)| held.value.as_deref().map(|value| (held.rank, value)))
        .collect();
    for (_, fragment) in &fragments {
        merge(&mut body, (*fragment).clone());
    }
    // Where two fragments give one primitive (a status alone after a whole result), the greater rank has the last word.
    let mut ascending = fragments;
    ascending.sort_by_key(|(rank, _)| *rank);
    for (_, fragment) in ascending {
        lay_primitives(&mut body, fragment);
    }
    for (element, values) in repeats(slots) {
        append(&mut body, &element, values);
    }
    let identifiers = identifiers(slots);
    if !identifiers.is_empty() {
        append(&mut body, "identifier", identifiers);
    }
    for (element, values) in groups(slots) {
        append(&mut body, &element, values);
    }
    for (element, values) in members(slots) {
        append(&mut body, &element, values);
    }
    if kind == "Encounter" {
        encounter::lay(slots, &mut body);
    }
    body
}

fn lay_primitives(base: &mut Json, fragment: &Json) {
    if let (Json::Object(_), Json::Object(members)) = (&*base, fragment) {
        for (name, value) in members {
            match value {
                Json::Array(_) => {}
                Json::Object(_) => {
                    if let Some(inner) = base.get_mut(name) {
                        lay_primitives(inner, value);
                    }
                }
                primitive => base.set(name.clone(), primitive.clone()),
            }
        }
    }
}

/// Names, addresses, telecoms and the like: per (element, field) the register of greatest rank, over all fields.
fn repeats(slots: &Slots) -> BTreeMap<Name, Vec<Json>> {
    let mut best: BTreeMap<(&Name, &Name), &Held> = BTreeMap::new();
    for (slot, held) in slots {
        if let Slot::Repeats { element, field, .. } = slot
            && &**element != "identifier"
        {
            best.entry((element, field))
                .and_modify(|old| {
                    if held.rank > old.rank {
                        *old = held
                    }
                })
                .or_insert(held);
        }
    }
    let mut out: BTreeMap<Name, Vec<Json>> = BTreeMap::new();
    for ((element, _), held) in best {
        if let Some(Json::Array(values)) = held.value.as_deref() {
            let list = out.entry(element.clone()).or_default();
            list.extend(values.iter().filter(|value| !list.contains(value)).cloned().collect::<Vec<_>>());
        }
    }
    out
}

/// Identifiers: the union over fields and feeds by (system, value); of a single-valued system the greatest rank alone.
pub(super) fn identifiers(slots: &Slots) -> Vec<Json> {
    type Pair = (Option<Arc<str>>, Option<Arc<str>>);
    let mut order: Vec<Pair> = Vec::new();
    let mut best: BTreeMap<Pair, (Rank, &Json)> = BTreeMap::new();
    let mut single: BTreeMap<&str, Rank> = BTreeMap::new();
    let text = |identifier: &Json, name: &str| match identifier.get(name) {
        Some(Json::String(text)) => Some(text.clone()),
        _ => None,
    };
    for (slot, held) in slots {
        let Slot::Repeats { element, .. } = slot else { continue };
        if &**element != "identifier" {
            continue;
        }
        for identifier in held.value.as_deref().into_iter().flat_map(Json::each) {
            let pair = (text(identifier, "system"), text(identifier, "value"));
            if let Some(system) = SINGLE_VALUED.into_iter().find(|system| pair.0.as_deref() == Some(system)) {
                let rank = single.entry(system).or_insert(held.rank);
                *rank = held.rank.max(*rank);
            }
            match best.get_mut(&pair) {
                None => {
                    order.push(pair.clone());
                    best.insert(pair, (held.rank, identifier));
                }
                Some(old) if held.rank > old.0 => *old = (held.rank, identifier),
                Some(_) => {}
            }
        }
    }
    order
        .into_iter()
        .filter_map(|pair| {
            let (rank, identifier) = best[&pair];
            let outranked = pair.0.as_deref().and_then(|system| single.get(system)).is_some_and(|greatest| *greatest > rank);
            (!outranked).then(|| identifier.clone())
        })
        .collect()
}

/// Inline items of snapshot groups: the union over feeds of the items that live.
fn groups(slots: &Slots) -> BTreeMap<Name, Vec<Json>> {
    let mut out: BTreeMap<Name, Vec<Json>> = BTreeMap::new();
    let add = |element: &Name, value: &Json, out: &mut BTreeMap<Name, Vec<Json>>| {
        let list = out.entry(element.clone()).or_default();
        if !list.contains(value) {
            list.push(value.clone());
        }
    };
    for (slot, held) in slots {
        match slot {
            Slot::Group { element, group, feed } if !element.is_empty() => {
                for item in held.value.as_deref().into_iter().flat_map(Json::each) {
                    let Some(key) = item.get("key").and_then(Json::as_str) else { continue };
                    let alone =
                        slots.get(&Slot::Item { element: element.clone(), group: group.clone(), feed: feed.clone(), key: key.into() });
                    let outranked = alone.is_some_and(|alone| alone.rank > held.rank);
                    if !outranked && let Some(value) = item.get("value") {
                        add(element, value, &mut out);
                    }
                }
            }
            Slot::Item { element, group, feed, .. } if !element.is_empty() => {
                let register = slots.get(&Slot::Group { element: element.clone(), group: group.clone(), feed: feed.clone() });
                if register.is_none_or(|register| held.rank > register.rank)
                    && let Some(value) = held.value.as_ref().and_then(|value| value.get("value"))
                {
                    add(element, value, &mut out);
                }
            }
            _ => {}
        }
    }
    out
}

/// Members of sets, in the order in which their messages listed them.
fn members(slots: &Slots) -> BTreeMap<Name, Vec<Json>> {
    let mut found: BTreeMap<Name, Vec<(u32, &Name, &Json)>> = BTreeMap::new();
    for (slot, held) in slots {
        if let (Slot::Member { element, key }, Some(value)) = (slot, &held.value) {
            found.entry(element.clone()).or_default().push((held.rank.ordinal, key, value));
        }
    }
    found
        .into_iter()
        .map(|(element, mut list)| {
            list.sort_by_key(|(ordinal, key, _)| (*ordinal, *key));
            (element, list.into_iter().map(|(_, _, value)| value.clone()).collect())
        })
        .collect()
}

/// Appends to a repeating element at a dotted path.
pub(super) fn append(body: &mut Json, path: &str, values: Vec<Json>) {
    if values.is_empty() {
        return;
    }
    let fragment = path.rsplit('.').fold(Json::Array(values), |inner, name| [(name, inner)].into_iter().collect());
    merge(body, fragment);
}

/// Whether an item of snapshot groups lives: in one of them, of one feed, it is listed, or ranks above the list.
fn lives<L: Loader>(room: &mut Room<'_, L>, slots: &Slots) -> Result<bool, L::Error> {
    let mut asked = false;
    for (slot, held) in slots {
        let (Slot::Shared { register, .. }, Some(value)) = (slot, &held.value) else { continue };
        if &**register != "group" {
            continue;
        }
        asked = true;
        let text = |name| value.get(name).and_then(Json::as_str).unwrap_or_default();
        let Some(parent) = room.slots(text("parent"))? else { return Ok(true) };
        if item_lives(parent, text("group"), text("feed"), text("item"), held.rank) {
            return Ok(true);
        }
    }
    Ok(!asked)
}

fn item_lives(parent: &Slots, group: &str, feed: &str, item: &str, rank: Rank) -> bool {
    let find = |wanted: &dyn Fn(&Slot) -> bool| parent.iter().find(|(slot, _)| wanted(slot)).map(|(_, held)| held);
    let register = find(&|slot| matches!(slot, Slot::Group { group: g, feed: f, .. } if **g == *group && **f == *feed));
    let alone = find(&|slot| matches!(slot, Slot::Item { group: g, feed: f, key, .. } if **g == *group && **f == *feed && **key == *item));
    match (register, alone) {
        (register, Some(alone)) if register.is_none_or(|register| alone.rank > register.rank) => alone.value.is_some(),
        (Some(register), _) => {
            within_feed(rank) > within_feed(register.rank)
                || register
                    .value
                    .as_deref()
                    .into_iter()
                    .flat_map(Json::each)
                    .any(|listed| listed.get("key").and_then(Json::as_str) == Some(item))
        }
        (None, _) => true,
    }
}

/// A rank as it compares between resources of different types within one feed.
pub(super) fn within_feed(rank: Rank) -> Rank {
    Rank { authority: Authority::Feed, settled: 0, ..rank }
}

/// Puts type and id first and takes out what is empty.
pub(super) fn finish(kind: &str, id: &str, body: Json) -> Json {
    let mut whole: Json = [("resourceType", Json::from(kind)), ("id", Json::from(id))].into_iter().collect();
    if let Json::Object(mut members) = prune(body) {
        members.retain(|(name, value)| !value.is_empty() && &**name != "resourceType" && &**name != "id");
        members.sort_by(|one, other| one.0.trim_start_matches('_').cmp(other.0.trim_start_matches('_')).then(other.0.cmp(&one.0)));
        if let Json::Object(whole) = &mut whole {
            whole.extend(members);
        }
    }
    whole
}

/// Empty objects and arrays are not FHIR, nor is an extension of which only the url is left. A null stays inside an
/// array: it keeps a primitive's place.
fn prune(value: Json) -> Json {
    let extension = |name: &str| matches!(name, "extension" | "modifierExtension");
    let says_nothing = |element: &Json| matches!(element, Json::Object(members) if members.len() == 1 && &*members[0].0 == "url");
    match value {
        Json::Object(members) => {
            let kept = members.into_iter().map(|(name, value)| match prune(value) {
                Json::Array(mut elements) if extension(&name) => {
                    elements.retain(|element| !says_nothing(element));
                    (name, Json::Array(elements))
                }
                pruned => (name, pruned),
            });
            Json::Object(kept.filter(|(_, value)| !value.is_empty()).collect())
        }
        Json::Array(elements) => {
            Json::Array(elements.into_iter().map(prune).filter(|element| matches!(element, Json::Null) || !element.is_empty()).collect())
        }
        other => other,
    }
}
