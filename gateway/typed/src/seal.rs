//! The seal of a resource: read and written by the typed model, it still has every element that it had. What the model
//! does not know vanishes in it without a word, and so would be lost to any typed client.
//!
//! The model is R4B's (fhir-sdk has no R4): for the resource types that adapters make the elements are the same. Decimals
//! pass through a float in it, so values are not compared, only paths. Too slow for the data path, where the shape table
//! of `mapping` guards; `convert` and the tests check with it.

use contract::Json;
use fhir_sdk::r4b::resources::Resource;
use serde_json::Value;
use std::collections::BTreeSet;

/// Where a resource does not keep its seal: element paths from the type on (`Patient.name[0].family`), with a reason.
/// Empty: it keeps it. Holds no value of the resource.
pub fn broken(resource: &Json) -> Vec<(String, &'static str)> {
    let kind = resource.get("resourceType").and_then(Json::as_str).unwrap_or("Resource");
    let mut resource = resource.clone();
    let written = through_the_model(&resource).or_else(|| {
        stand_in(&mut resource);
        through_the_model(&resource)
    });
    let Some(written) = written else { return unreadable(kind, &resource) };
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    // Both through one reader, so that they differ by the model alone.
    if let Ok(value) = serde_json::from_str::<Value>(&resource.to_string()) {
        leaves(&value, kind, &mut before);
    }
    leaves(&written, kind, &mut after);
    before
        .difference(&after)
        .map(|path| (path.clone(), "the typed model of FHIR does not know this element, or not with such a value"))
        .collect()
}

/// A required primitive that has only an extension (a reason why it is absent) is right in FHIR; the model wants a value.
fn stand_in(json: &mut Json) {
    match json {
        Json::Array(elements) => elements.iter_mut().for_each(stand_in),
        Json::Object(members) => {
            members.iter_mut().for_each(|(_, value)| stand_in(value));
            let alone = members.iter().filter_map(|(name, _)| name.strip_prefix('_'));
            let alone: Vec<String> = alone.filter(|name| !members.iter().any(|(other, _)| **other == **name)).map(str::to_owned).collect();
            members.extend(alone.into_iter().map(|name| (name.into(), Json::from("unknown"))));
        }
        _ => {}
    }
}

fn through_the_model(resource: &Json) -> Option<Value> {
    let typed: Resource = serde_json::from_str(&resource.to_string()).ok()?;
    // By way of the bytes: written straight into a `Value`, every resource would be compiled a second time.
    serde_json::from_slice(&crate::written(&typed).ok()?).ok()
}

/// The model's own words may hold a value, so the element is found by leaving one after the other away.
fn unreadable(kind: &str, resource: &Json) -> Vec<(String, &'static str)> {
    const REASON: &str = "the typed model of FHIR cannot read this element";
    let Json::Object(members) = resource else { return vec![(kind.to_owned(), "not an object")] };
    let culprit = members.iter().map(|(name, _)| name).filter(|name| &***name != "resourceType").find(|name| {
        let mut without = resource.clone();
        without.remove(name);
        through_the_model(&without).is_some()
    });
    vec![(culprit.map_or_else(|| kind.to_owned(), |name| format!("{kind}.{name}")), REASON)]
}

fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| leaves(value, &format!("{path}.{name}"), found)),
        Value::Array(elements) => elements.iter().enumerate().for_each(|(at, value)| leaves(value, &format!("{path}[{at}]"), found)),
        // Nulls keep the place of what has only an extension.
        Value::Null => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resource: &str, expected: &[&str]) {
        let found = broken(&Json::parse(resource.as_bytes()).unwrap());
        assert_eq!(found.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), expected, "{resource}");
    }

    #[test]
    fn what_the_typed_model_does_not_keep_is_found_by_its_path() {
        check(r#"{"resourceType":"Patient","id":"a","name":[{"family":"Wren","given":["Ida"]}],"birthDate":"1958-04"}"#, &[]);
        check(
            r#"{"resourceType":"Patient","_birthDate":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/patient-birthTime","valueDateTime":"1958-04-12T03:30:00Z"}]},"birthDate":"1958-04-12"}"#,
            &[],
        );
        check(
            r#"{"resourceType":"MessageHeader","eventCoding":{"code":"R01"},"source":{"_endpoint":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}}}"#,
            &[],
        );
        check(r#"{"resourceType":"Patient","name":[{"familie":"Wren"}]}"#, &["Patient.name[0].familie"]);
        check(r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":6.30,"unit":"mmol/L"}}"#, &[]);
        check(
            r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueMoney":{"value":6.30}}"#,
            &["Observation.valueMoney.value"],
        );
    }

    #[test]
    fn what_the_typed_model_cannot_read_is_named_without_its_value() {
        check(r#"{"resourceType":"Patient","gender":"Xyzzy"}"#, &["Patient.gender"]);
        check(r#"{"resourceType":"Patient","active":"yes"}"#, &["Patient.active"]);
        check(r#"{"resourceType":"Pancake"}"#, &["Pancake"]);
    }
}
