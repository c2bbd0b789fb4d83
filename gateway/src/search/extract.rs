//! From a body to its index rows, by the plan.

use super::parse::ParameterType;
use super::plan::Plan;
use super::value::{fold, interval};
use contract::Json;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;

/// Index rows of one body. Each is (number of the parameter in the plan, value); sets, so that they can be compared.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Rows {
    pub tokens: BTreeSet<(usize, System, String)>,
    /// Folded.
    pub strings: BTreeSet<(usize, String)>,
    /// `[low, high)`, UTC microseconds; a missing end is [`i64::MIN`] or [`i64::MAX`].
    pub dates: BTreeSet<(usize, i64, i64)>,
    pub references: BTreeSet<(usize, Target)>,
    /// Where it names the patients in whose compartments it lies.
    pub compartments: BTreeSet<Target>,
}

/// Shows how many: rows hold names and numbers.
impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (tokens, strings, dates, references) = (self.tokens.len(), self.strings.len(), self.dates.len(), self.references.len());
        write!(f, "Rows({tokens} tokens, {strings} strings, {dates} dates, {references} references)")
    }
}

/// The system of a token.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// The element has a place for a system, and none is there.
    None,
    /// The element is a code or a boolean: its system follows from the element (`Encounter.status`).
    Implied,
    Stated(String),
}

/// What a reference points at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Empty where it is not `Type/id`: then `id` is the whole text.
    pub kind: String,
    pub id: String,
}

impl Target {
    /// `Type/id`, with or without a version behind it; anything else whole. `None`: a contained resource.
    pub fn parse(reference: &str) -> Option<Self> {
        if reference.starts_with('#') || reference.is_empty() {
            return None;
        }
        let plain = reference.split_once("/_history/").map_or(reference, |(plain, _)| plain);
        let local = plain.split_once('/').filter(|(kind, id)| {
            kind.starts_with(|letter: char| letter.is_ascii_uppercase()) && kind.bytes().all(|byte| byte.is_ascii_alphabetic()) && is_id(id)
        });
        Some(match local {
            Some((kind, id)) => Target { kind: kind.to_owned(), id: id.to_owned() },
            None => Target { kind: String::new(), id: plain.to_owned() },
        })
    }
}

/// An id as FHIR defines it (R4 datatypes.html#id).
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// The rows of a resource. `zone`: of dates that state none.
pub fn extract(plan: &Plan, kind: &str, body: &Json, zone: &TimeZone) -> Rows {
    let mut rows = Rows::default();
    for (number, parameter) in plan.of(kind) {
        for path in &parameter.paths {
            walk(body, path, &mut |value| match parameter.kind {
                ParameterType::Token => token(value, &mut |system, code| {
                    rows.tokens.insert((number, system, code.to_owned()));
                }),
                ParameterType::String => string(value, &mut |text| {
                    rows.strings.insert((number, fold(text)));
                    // As it stands, for `:exact`: no token's parameter has this number.
                    rows.tokens.insert((number, System::None, text.to_owned()));
                }),
                ParameterType::Date => date(value, zone, &mut |low, high| {
                    rows.dates.insert((number, low, high));
                }),
                ParameterType::Reference => {
                    let fits = |target: &Target| {
                        target.kind.is_empty() || parameter.targets.is_empty() || parameter.targets.contains(&target.kind)
                    };
                    if let Some(target) = reference(value).filter(fits) {
                        rows.references.insert((number, target));
                    }
                }
            });
        }
    }
    for path in plan.compartment(kind) {
        walk(body, path, &mut |value| rows.compartments.extend(reference(value)));
    }
    rows.compartments.retain(|target| target.kind == "Patient" || kind == "Binary");
    rows
}

fn walk<'a>(json: &'a Json, path: &[String], found: &mut dyn FnMut(&'a Json)) {
    for element in json.each() {
        match path.split_first() {
            None => found(element),
            Some((name, rest)) => {
                if let Some(value) = element.get(name) {
                    walk(value, rest, found);
                }
            }
        }
    }
}

/// code, boolean, Coding, CodeableConcept, Identifier, ContactPoint (R4 search.html §3.1.1.4.10).
fn token(value: &Json, found: &mut dyn FnMut(System, &str)) {
    let text = |name: &str| value.get(name).and_then(Json::as_str);
    match value {
        Json::String(code) => found(System::Implied, code),
        Json::Bool(flag) => found(System::Implied, if *flag { "true" } else { "false" }),
        Json::Object(_) => {
            if let Some(codings) = value.get("coding") {
                codings.each().iter().for_each(|coding| token(coding, found));
            } else if let Some(code) = text("code").or_else(|| text("value")) {
                let system = text("system").filter(|system| !system.is_empty());
                found(system.map_or(System::None, |system| System::Stated(system.to_owned())), code);
            }
        }
        _ => {}
    }
}

/// Text, or every text of a HumanName or an Address.
fn string(value: &Json, found: &mut dyn FnMut(&str)) {
    const PARTS: [&str; 11] = ["text", "family", "given", "prefix", "suffix", "line", "city", "district", "state", "postalCode", "country"];
    match value {
        Json::String(text) => found(text),
        Json::Object(_) => {
            for part in PARTS.iter().filter_map(|part| value.get(part)) {
                part.each().iter().for_each(|text| string(text, found));
            }
        }
        _ => {}
    }
}

/// date, dateTime, instant, Period, Timing. A missing end is infinity; an open Period is never equal to anything.
fn date(value: &Json, zone: &TimeZone, found: &mut dyn FnMut(i64, i64)) {
    let whole = |name: &str| value.get(name).and_then(Json::as_str).and_then(|text| interval(text, zone));
    match value {
        Json::String(text) => {
            if let Some((low, high)) = interval(text, zone) {
                found(low, high);
            }
        }
        Json::Object(_) => {
            let (start, end) = (whole("start"), whole("end"));
            if start.is_some() || end.is_some() {
                found(start.map_or(i64::MIN, |(low, _)| low), end.map_or(i64::MAX, |(_, high)| high));
            }
            if let Some(events) = value.get("event") {
                events.each().iter().for_each(|event| date(event, zone, found));
            }
            if let Some(bounds) = value.get("repeat").and_then(|repeat| repeat.get("boundsPeriod")) {
                date(bounds, zone, found);
            }
        }
        _ => {}
    }
}

fn reference(value: &Json) -> Option<Target> {
    Target::parse(value.get("reference")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(body: &str) -> Rows {
        let body = Json::parse(body.as_bytes()).unwrap();
        let kind = body.get("resourceType").and_then(Json::as_str).unwrap().to_owned();
        extract(&Plan::built_in(), &kind, &body, &TimeZone::UTC)
    }

    fn number(kind: &str, code: &str) -> usize {
        Plan::built_in().parameter(kind, code).unwrap().0
    }

    #[test]
    fn names_are_folded_and_identifiers_keep_their_system() {
        let rows = rows(
            r#"{"resourceType":"Patient","identifier":[{"system":"urn:a","value":"X1"},{"value":"X2"},{"system":"urn:b"}],
                "name":[{"family":"Åström","given":["Ève","Zoë"]},{"family":"Astrom"}],"birthDate":"1970-02"}"#,
        );
        let identifier = number("Patient", "identifier");
        let (family, given, name) = (number("Patient", "family"), number("Patient", "given"), number("Patient", "name"));
        let tokens = [(identifier, System::None, "X2".to_owned()), (identifier, System::Stated("urn:a".into()), "X1".into())];
        let exact = ["Åström", "Astrom"].map(|text| (family, text)).into_iter().chain(["Ève", "Zoë"].map(|text| (given, text)));
        let exact = exact.flat_map(|(of, text)| [(of, System::None, text.to_owned()), (name, System::None, text.to_owned())]);
        assert!(rows.tokens == tokens.into_iter().chain(exact).collect());
        let folded = [(family, "astrom"), (given, "eve"), (given, "zoe"), (name, "astrom"), (name, "eve"), (name, "zoe")];
        assert!(rows.strings == folded.map(|(of, text)| (of, text.to_owned())).into());
        let low = "1970-02-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond();
        assert!(rows.dates == [(number("Patient", "birthdate"), low, low + 28 * 86_400_000_000)].into());
        assert!(rows.compartments.is_empty());
    }

    #[test]
    fn periods_may_be_open_and_references_name_their_compartment() {
        let rows = rows(
            r#"{"resourceType":"Encounter","status":"in-progress","subject":{"reference":"Patient/p-1"},
                "period":{"start":"2026-01-02T10:00:00Z"}}"#,
        );
        assert!(rows.tokens == [(number("Encounter", "status"), System::Implied, "in-progress".to_owned())].into());
        assert_eq!(rows.dates.iter().map(|(_, _, high)| *high).collect::<Vec<_>>(), [i64::MAX]);
        let patient = Target { kind: "Patient".into(), id: "p-1".into() };
        let both = [(number("Encounter", "patient"), patient.clone()), (number("Encounter", "subject"), patient.clone())];
        assert!(rows.references == both.into());
        assert!(rows.compartments == [patient].into());
    }

    #[test]
    fn a_reference_of_another_type_is_not_the_patients() {
        let rows = rows(
            r#"{"resourceType":"Observation","code":{"coding":[{"system":"http://loinc.org","code":"718-7"},{"code":"HB"}],"text":"Hb"},
                "subject":{"reference":"Location/l1"},"effectiveDateTime":"2026-01-02"}"#,
        );
        let location = Target { kind: "Location".into(), id: "l1".into() };
        assert!(rows.references == [(number("Observation", "subject"), location)].into());
        assert!(rows.compartments.is_empty());
        assert_eq!(rows.tokens.len(), 2);
    }

    #[test]
    fn references_are_read() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let target = Target::parse(text);
            assert!(target.as_ref().map(|target| (target.kind.as_str(), target.id.as_str())) == expected, "{text}");
        };
        check("Patient/1", Some(("Patient", "1")));
        check("Patient/1/_history/2", Some(("Patient", "1")));
        check("https://elsewhere.example/fhir/Patient/1", Some(("", "https://elsewhere.example/fhir/Patient/1")));
        check("urn:uuid:1", Some(("", "urn:uuid:1")));
        check("patient/1", Some(("", "patient/1")));
        check("#p", None);
        check("", None);
    }
}
