//! FHIR against FHIR: element by element. Two engines name their resources differently, so ids, meta, narrative and what a reference
//! points at by id are left out; resources of one type are paired by an identifier that both have, the others in their order; elements
//! of a list are paired where they are equal, the others in their order.

use super::{Said, paired};
use contract::Json;

/// Members that each server makes for itself.
const OWN: [&str; 3] = ["id", "meta", "text"];

/// Both bundles (or resources), element by element.
pub fn compare(ours: &Json, theirs: &Json) -> Vec<Said> {
    let (ours, theirs) = (resources(ours), resources(theirs));
    let mut kinds: Vec<&str> = ours.iter().chain(&theirs).map(|one| kind(one)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut said = Vec::new();
    for kind in kinds {
        let of_kind = |all: &[&'_ Json]| -> Vec<Json> { all.iter().filter(|one| self::kind(one) == kind).map(|one| bare(one)).collect() };
        let (ours, theirs) = (of_kind(&ours), of_kind(&theirs));
        let names = |all: &[Json]| -> Vec<Option<String>> { all.iter().map(|one| shared(one, &ours, &theirs)).collect() };
        let (our_names, their_names) = (names(&ours), names(&theirs));
        let (mut pairs, only_ours, only_theirs) = paired(our_names.iter().map(Option::as_deref), their_names.iter().map(Option::as_deref));
        let in_order = only_ours.len().min(only_theirs.len());
        pairs.extend(only_ours.iter().copied().zip(only_theirs.iter().copied()));
        for (one, other) in pairs {
            walk(kind, Some(&ours[one]), Some(&theirs[other]), &mut said);
        }
        only_ours[in_order..].iter().for_each(|one| walk(kind, Some(&ours[*one]), None, &mut said));
        only_theirs[in_order..].iter().for_each(|other| walk(kind, None, Some(&theirs[*other]), &mut said));
    }
    said
}

/// The control id of the message that a bundle was made of: `Bundle.identifier`.
pub fn control_id(bundle: &Json) -> Option<&str> {
    bundle.get("identifier")?.get("value")?.as_str()
}

fn resources(json: &Json) -> Vec<&Json> {
    match json.get("entry") {
        Some(entries) => entries.each().iter().filter_map(|entry| entry.get("resource")).collect(),
        None if kind(json) == "Bundle" => Vec::new(),
        None => vec![json],
    }
}

fn kind(resource: &Json) -> &str {
    resource.get("resourceType").and_then(Json::as_str).unwrap_or("Resource")
}

/// The first identifier of a resource that one of each side has.
fn shared(resource: &Json, ours: &[Json], theirs: &[Json]) -> Option<String> {
    let named = |all: &[Json], name: &str| all.iter().any(|one| identifiers(one).any(|other| other == name));
    identifiers(resource).find(|name| named(ours, name) && named(theirs, name))
}

fn identifiers(resource: &Json) -> impl Iterator<Item = String> + '_ {
    let all: &[Json] = match resource.get("identifier") {
        Some(one @ Json::Object(_)) => std::slice::from_ref(one),
        Some(many) => many.each(),
        None => &[],
    };
    all.iter().filter_map(|one| {
        let text = |name| one.get(name).and_then(Json::as_str);
        Some(format!("{}|{}", text("system").unwrap_or_default(), text("value")?))
    })
}

/// Without what each server makes for itself; a reference by its type alone.
fn bare(json: &Json) -> Json {
    match json {
        Json::Array(elements) => Json::Array(elements.iter().map(bare).collect()),
        Json::Object(members) => {
            let is_resource = json.get("resourceType").is_some();
            let kept = members.iter().filter(|(name, _)| !(is_resource && (OWN.contains(&&**name) || &**name == "resourceType")));
            let member = |(name, value): &(std::sync::Arc<str>, Json)| match (&**name, value.as_str()) {
                ("reference", Some(target)) => (name.clone(), Json::string(target_type(target))),
                _ => (name.clone(), bare(value)),
            };
            Json::Object(kept.map(member).collect())
        }
        leaf => leaf.clone(),
    }
}

/// `Patient` of `https://a.example/fhir/Patient/7/_history/2`; a `urn:` alone says nothing more.
fn target_type(reference: &str) -> String {
    if reference.starts_with('#') {
        return "contained".into();
    }
    let parts: Vec<&str> = reference.split('/').take_while(|part| *part != "_history").collect();
    parts.len().checked_sub(2).map_or_else(|| "resource".to_owned(), |at| parts[at].to_owned())
}

fn walk(path: &str, ours: Option<&Json>, theirs: Option<&Json>, said: &mut Vec<Said>) {
    match (ours, theirs) {
        (Some(Json::Object(_)), Some(Json::Object(_))) | (Some(Json::Object(_)), None) | (None, Some(Json::Object(_))) => {
            let mut names: Vec<&str> = Vec::new();
            for (name, _) in [ours, theirs].into_iter().flatten().flat_map(members) {
                if !names.contains(&&**name) {
                    names.push(name);
                }
            }
            for name in names {
                let of = |side: Option<&'_ Json>| side.and_then(|side| side.get(name)).cloned();
                walk(&format!("{path}.{name}"), of(ours).as_ref(), of(theirs).as_ref(), said);
            }
        }
        (Some(Json::Array(ours)), Some(Json::Array(theirs))) => {
            let mut rest: Vec<&Json> = theirs.iter().collect();
            let mut unpaired = Vec::new();
            for one in ours {
                match rest.iter().position(|other| *other == one) {
                    Some(at) => walk(path, Some(one), Some(rest.remove(at)), said),
                    None => unpaired.push(one),
                }
            }
            let mut rest = rest.into_iter();
            unpaired.into_iter().for_each(|one| walk(path, Some(one), rest.next(), said));
            rest.for_each(|other| walk(path, None, Some(other), said));
        }
        (Some(Json::Array(elements)), None) => elements.iter().for_each(|one| walk(path, Some(one), None, said)),
        (None, Some(Json::Array(elements))) => elements.iter().for_each(|other| walk(path, None, Some(other), said)),
        (None, None) => {}
        _ => said.push(Said { element: path.to_owned(), ours: ours.map(text), theirs: theirs.map(text) }),
    }
}

fn members(json: &Json) -> &[(std::sync::Arc<str>, Json)] {
    if let Json::Object(members) = json { members } else { &[] }
}

/// A number as it is written.
fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_compared_and_what_servers_make_for_themselves_is_not() {
        let check = |ours: &str, theirs: &str, expected: &[(&str, Option<&str>, Option<&str>)]| {
            let json = |text: &str| Json::parse(text.as_bytes()).unwrap();
            let said = compare(&json(ours), &json(theirs));
            let found: Vec<_> = said.iter().filter(|said| !said.is_same()).collect();
            let found: Vec<_> = found.iter().map(|said| (said.element.as_str(), said.ours.as_deref(), said.theirs.as_deref())).collect();
            assert_eq!(found, expected, "{ours} {theirs}");
        };
        let patient = |id: &str, rest: &str| format!(r#"{{"resourceType":"Patient","id":"{id}","meta":{{"versionId":"{id}"}},{rest}}}"#);
        check(&patient("1", r#""gender":"female""#), &patient("2", r#""gender":"female""#), &[]);
        check(
            &patient("1", r#""gender":"female","name":[{"family":"Wren","given":["Ida"]}]"#),
            &patient("2", r#""gender":"male","name":[{"family":"Wren"}],"active":true"#),
            &[
                ("Patient.gender", Some("female"), Some("male")),
                ("Patient.name.given", Some("Ida"), None),
                ("Patient.active", None, Some("true")),
            ],
        );
        // Lists in another order; numbers as they are written; references by type.
        check(
            r#"{"resourceType":"Observation","category":[{"text":"a"},{"text":"b"}],"subject":{"reference":"Patient/1"},"valueQuantity":{"value":6.30}}"#,
            r#"{"resourceType":"Observation","category":[{"text":"b"},{"text":"a"}],"subject":{"reference":"https://x.example/fhir/Patient/9/_history/2"},"valueQuantity":{"value":6.3}}"#,
            &[("Observation.valueQuantity.value", Some("6.30"), Some("6.3"))],
        );
        // Resources are paired by an identifier that both have, and what has no pair is on one side.
        let bundle = |resources: &[&str]| {
            let entries: Vec<String> = resources.iter().map(|one| format!(r#"{{"resource":{one}}}"#)).collect();
            format!(r#"{{"resourceType":"Bundle","identifier":{{"value":"C1"}},"entry":[{}]}}"#, entries.join(","))
        };
        let named = |number: &str, gender: &str| {
            format!(r#"{{"resourceType":"Patient","identifier":[{{"system":"s","value":"{number}"}}],"gender":"{gender}"}}"#)
        };
        let (one, two) = (named("1", "female"), named("2", "male"));
        check(&bundle(&[&one, &two]), &bundle(&[&two, &one]), &[]);
        check(
            &bundle(&[&one, r#"{"resourceType":"Device","status":"active"}"#]),
            &bundle(&[&one]),
            &[("Device.status", Some("active"), None)],
        );
        assert_eq!(control_id(&Json::parse(bundle(&[]).as_bytes()).unwrap()), Some("C1"));
    }
}
