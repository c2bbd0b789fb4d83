//! Documents and their sets: what is superseded, and what a document replaces.

use super::registers::Register;
use super::{Address, Held, Loader, Room, Slots};
use contract::{Json, Slot};

/// Lays `status` and the targets of `relatesTo` over a DocumentReference: superseded where a later version, or one that
/// replaces it, is in a set of its own; a replaced document that is there is referred to, and not only named.
pub(super) fn lay<L: Loader>(room: &mut Room<'_, L>, address: &str, slots: &Slots, body: &mut Json) -> Result<(), L::Error> {
    let mut superseded = false;
    let mut replaced: Vec<(String, Address)> = Vec::new();
    for (register, said) in &sets(slots) {
        for member in room.members(register)? {
            if *member == *address {
                continue;
            }
            let theirs = room.slots(&member)?.map(sets).unwrap_or_default();
            let Some((_, other)) = theirs.into_iter().find(|(theirs, _)| theirs == register) else { continue };
            let names = |one: &Json, member, other: &Json| text(one, member).is_some() && text(one, member) == text(other, "document");
            superseded |= names(&other, "replaces", said) || order(&other) > order(said);
            if names(said, "replaces", &other) {
                replaced.extend(text(said, "target").map(|name| (name.to_owned(), member)));
            }
        }
    }
    if superseded {
        body.set("status", "superseded".into());
    }
    if let Some(Json::Array(relations)) = body.get_mut("relatesTo") {
        refer(relations, &replaced);
    }
    Ok(())
}

/// Gives the target of `replaces` its reference: by the identifier that names it, or where there is but one.
fn refer(relations: &mut [Json], replaced: &[(String, Address)]) {
    let mut found: Vec<&mut Json> = relations.iter_mut().filter(|relation| text(relation, "code") == Some("replaces")).collect();
    let alone = found.len() == 1;
    for relation in &mut found {
        let Some(target) = relation.get_mut("target") else { continue };
        let name = target.get("identifier").and_then(|name| Some(format!("{}|{}", text(name, "system")?, text(name, "value")?)));
        let known = replaced.iter().find(|(known, _)| alone || name.as_ref() == Some(known));
        if let (Some((_, address)), None) = (known, target.get("reference"))
            && let Json::Object(members) = target
        {
            members.insert(0, ("reference".into(), Json::string(address.clone())));
        }
    }
}

/// What the document says in the sets that it is in.
fn sets(slots: &Slots) -> Vec<(Register, Json)> {
    let set = |(slot, held): (&Slot, &Held)| match (slot, held.value.as_deref()) {
        (Slot::Shared { register, name }, Some(value)) if &**register == "document-set" => {
            Some((Register::Shared { register: register.clone(), name: name.clone() }, value.clone()))
        }
        _ => None,
    };
    slots.iter().filter_map(set).collect()
}

/// Version, then time.
fn order(said: &Json) -> (i64, i64) {
    let number = |name| match said.get(name) {
        Some(Json::Number(text)) => text.parse().unwrap_or(0),
        _ => 0,
    };
    (number("version"), number("at"))
}

fn text<'j>(value: &'j Json, name: &str) -> Option<&'j str> {
    value.get(name).and_then(Json::as_str)
}
