//! The seal of a resource: what an adapter emits, read and written by a typed model, still has every element.
//!
//! The model is fhir-sdk's R4B, which differs from R4 (4.0.1) in types that no table makes. It drops what it does not
//! know, and a choice element that it cannot read, without an error: the comparison finds both. Its decimals are f64 and
//! its times are normalized, so numbers compare as numbers, stamps as instants, base64 without white space. Not for the
//! data path: there the R4 shape guards.

use contract::Json;
use fhir_sdk::r4b::resources::Resource;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// The first element that did not come through. Holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealBroken {
    /// `Observation.valueQuantity.value`; the type alone where no one element is to blame (a required one is missing).
    pub path: String,
    pub reason: &'static str,
}

impl fmt::Display for SealBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl std::error::Error for SealBroken {}

const UNREADABLE: &str = "the typed model cannot read it";
const LOST: &str = "the typed model does not know it";
const ALTERED: &str = "the typed model reads another value";

/// Checks one resource.
pub fn check(resource: &Json) -> Result<(), SealBroken> {
    let kind = resource.get("resourceType").and_then(Json::as_str).unwrap_or("Resource");
    let broken = |path, reason| SealBroken { path, reason };
    let written: Value = serde_json::from_slice(&resource.to_bytes()).map_err(|_| broken(kind.to_owned(), UNREADABLE))?;
    let read = match Resource::deserialize(&written) {
        Ok(read) => serde_json::to_value(&read).map_err(|_| broken(kind.to_owned(), UNREADABLE))?,
        Err(_) => return Err(broken(blame(&written, kind), UNREADABLE)),
    };
    survives(&written, &read, kind)
}

/// Checks every resource of a Bundle: what is broken, in order.
pub fn check_bundle(bundle: &Json) -> Vec<SealBroken> {
    let entries = bundle.get("entry").map(Json::each).unwrap_or_default();
    entries.iter().filter_map(|entry| check(entry.get("resource")?).err()).collect()
}

fn survives(written: &Value, read: &Value, path: &str) -> Result<(), SealBroken> {
    let broken = |path: &str, reason| Err(SealBroken { path: path.to_owned(), reason });
    match (written, read) {
        (Value::Object(members), Value::Object(read)) => members.iter().try_for_each(|(name, value)| {
            let path = format!("{path}.{name}");
            match read.get(name) {
                Some(read) => survives(value, read, &path),
                None => broken(&path, LOST),
            }
        }),
        (Value::Array(elements), Value::Array(read)) => {
            elements.iter().enumerate().try_for_each(|(at, element)| match (element, read.get(at)) {
                (Value::Null, None | Some(Value::Null)) => Ok(()),
                (_, Some(read)) => survives(element, read, &format!("{path}[{at}]")),
                (_, None) => broken(&format!("{path}[{at}]"), LOST),
            })
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => Ok(()),
        (Value::String(one), Value::String(other)) if is_same(one, other) => Ok(()),
        (one, other) if one == other => Ok(()),
        _ => broken(path, ALTERED),
    }
}

fn is_same(one: &str, other: &str) -> bool {
    let instant = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let time = |text: &str| text.contains(':').then(|| text.parse::<jiff::civil::Time>().ok()).flatten();
    let packed = |text: &str| text.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>();
    one == other
        || instant(one).is_some() && instant(one) == instant(other)
        || time(one).is_some() && time(one) == time(other)
        || one.len() != other.len() && packed(one) == packed(other)
}

/// The deepest element without which the rest can be read.
fn blame(whole: &Value, kind: &str) -> String {
    let mut pointer = String::new();
    let mut path = kind.to_owned();
    'deeper: while let Some(node) = whole.pointer(&pointer) {
        let children: Vec<(String, String)> = match node {
            Value::Object(members) => members.keys().map(|name| (escaped(name), format!("{path}.{name}"))).collect(),
            Value::Array(elements) => (0..elements.len()).map(|at| (at.to_string(), format!("{path}[{at}]"))).collect(),
            _ => break,
        };
        for (step, named) in children {
            let child = format!("{pointer}/{step}");
            if Resource::deserialize(&without(whole, &pointer, &step)).is_ok() {
                (pointer, path) = (child, named);
                continue 'deeper;
            }
        }
        break;
    }
    path
}

fn without(whole: &Value, parent: &str, step: &str) -> Value {
    let mut rest = whole.clone();
    match rest.pointer_mut(parent) {
        Some(Value::Object(members)) => drop(members.shift_remove(&step.replace("~1", "/").replace("~0", "~"))),
        Some(Value::Array(elements)) => {
            if let Ok(at) = step.parse::<usize>() {
                elements.remove(at);
            }
        }
        _ => {}
    }
    rest
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(resource: &str) -> Option<(String, &'static str)> {
        let resource = Json::parse(resource.as_bytes()).unwrap();
        check(&resource).err().map(|broken| (broken.path, broken.reason))
    }

    #[test]
    fn what_is_fhir_passes() {
        for resource in [
            r#"{"resourceType":"Patient","id":"a"}"#,
            r#"{"resourceType":"Patient","birthDate":"1970","deceasedDateTime":"2026-01-02T03:04:05+00:00","multipleBirthInteger":2}"#,
            r#"{"resourceType":"Patient","name":[{"given":["A",null],"_given":[null,{"extension":[{"url":"u","valueString":"x"}]}]}]}"#,
            r#"{"resourceType":"Patient","_birthDate":{"extension":[{"url":"u","valueDateTime":"1970-01-01T06:30:00.120+01:00"}]}}"#,
            r#"{"resourceType":"Observation","status":"final","code":{"text":"K"},"valueQuantity":{"value":6.30}}"#,
            r#"{"resourceType":"Observation","status":"final","code":{"text":"K"},"valueTime":"10:30:00.50"}"#,
            r#"{"resourceType":"Observation","status":"final","code":{"text":"K"},"referenceRange":[{"low":{"value":1E-1}}]}"#,
            r#"{"resourceType":"Binary","contentType":"text/plain","data":"QUJD REVG"}"#,
        ] {
            assert_eq!(broken(resource), None, "{resource}");
        }
    }

    #[test]
    fn what_is_not_is_named_by_its_path() {
        for (resource, path, reason) in [
            (r#"{"resourceType":"Patient","brithDate":"1970"}"#, "Patient.brithDate", LOST),
            (r#"{"resourceType":"Patient","contact":[{"name":{"family":"A","nick":"B"}}]}"#, "Patient.contact[0].name.nick", LOST),
            (r#"{"resourceType":"Patient","gender":"M"}"#, "Patient.gender", UNREADABLE),
            (r#"{"resourceType":"Patient","name":[{"use":"official"},{"given":["A",7]}]}"#, "Patient.name[1].given[1]", UNREADABLE),
            (r#"{"resourceType":"Patient","birthDate":"01/02/1970"}"#, "Patient.birthDate", UNREADABLE),
            (r#"{"resourceType":"Observation","code":{}}"#, "Observation", UNREADABLE),
            (
                r#"{"resourceType":"Observation","status":"final","code":{},"valueQuantity":{"value":"6.3"}}"#,
                "Observation.valueQuantity",
                LOST,
            ),
            (r#"{"resourceType":"Klingon"}"#, "Klingon", UNREADABLE),
            (r#"{"id":"a"}"#, "Resource", UNREADABLE),
        ] {
            let found = broken(resource);
            let path_found = found.as_ref().map(|found| found.0.as_str());
            assert!(path_found.is_some_and(|found| found == path || path.starts_with(found) && reason == LOST), "{resource}: {found:?}");
            assert!(!format!("{found:?}").contains("6.3"));
        }
    }

    #[test]
    fn a_bundle_is_checked_entry_by_entry() {
        let bundle = r#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","x":1}},{"request":{"method":"DELETE"}},
            {"resource":{"resourceType":"Patient"}},{"resource":{"resourceType":"Group","y":1}}]}"#;
        let broken = check_bundle(&Json::parse(bundle.as_bytes()).unwrap());
        let paths: Vec<&str> = broken.iter().map(|broken| broken.path.as_str()).collect();
        assert_eq!(paths, ["Patient.x", "Group"]);
    }
}
