//! What comes along with a search, step by step, and a patient's whole record: each for whom it is.

use crate::messages::{Person, adt, oru, visit};
use flows::{App, Folder, Gateway};
use serde_json::Value;
use std::collections::BTreeSet;

/// Two patients, each with a stay and a report; their ids.
fn hospital(gateway: &Gateway, app: &App) -> [String; 2] {
    let (mut pas, mut lab) = (gateway.sender("pas"), gateway.sender("lab"));
    let persons = [Person::ottoline(), Person::number(7)];
    for (number, person) in persons.iter().enumerate() {
        let stay = visit("I", "WARD1", &format!("V500{number}"), "202603010930", "");
        assert!(pas.send(&adt("A01", &format!("A{number}"), "20260301093000", person, &[&stay])).unwrap().contains("MSA|AA"));
        let report = oru(&format!("L{number}"), "20260301110000", person, &format!("ORD{number}"), "F", "6.30");
        assert!(lab.send(&report).unwrap().contains("MSA|AA"));
    }
    persons.map(|person| {
        let found = app.search(&format!("/fhir/Patient?identifier={}", person.mrn));
        found[0]["id"].as_str().unwrap().to_owned()
    })
}

/// The resources of an answer with this search mode.
fn given(app: &App, path: &str, mode: &str) -> Vec<Value> {
    let answer = app.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    let entries = answer.json()["entry"].as_array().cloned().unwrap_or_default();
    entries.into_iter().filter(|entry| entry["search"]["mode"] == mode).map(|entry| entry["resource"].clone()).collect()
}

/// Their types.
fn kinds(resources: &[Value]) -> BTreeSet<&str> {
    resources.iter().filter_map(|resource| resource["resourceType"].as_str()).collect()
}

fn set<'a>(kinds: &[&'a str]) -> BTreeSet<&'a str> {
    kinds.iter().copied().collect()
}

#[test]
fn what_comes_along_is_followed_on_where_that_is_said() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let app = gateway.app(&folder.token("system/*.rs", None));
    let [one, other] = hospital(&gateway, &app);
    // From the report to its results, and from those to whose they are.
    let report = format!("/fhir/DiagnosticReport?patient={one}&_include=DiagnosticReport:result");
    assert_eq!(kinds(&given(&app, &report, "include")), set(&["Observation"]));
    assert_eq!(kinds(&given(&app, &format!("{report}&_include=Observation:patient"), "include")), set(&["Observation"]));
    let followed = given(&app, &format!("{report}&_include:iterate=Observation:patient"), "include");
    assert_eq!(kinds(&followed), set(&["Observation", "Patient"]));
    assert!(followed.iter().all(|resource| resource["id"] != other.as_str()));
    // From the patient to the results, and from those to what holds them.
    let patient = format!("/fhir/Patient?_id={one}&_revinclude=Observation:patient");
    assert_eq!(kinds(&given(&app, &format!("{patient}&_revinclude=DiagnosticReport:result"), "include")), set(&["Observation"]));
    let back = given(&app, &format!("{patient}&_revinclude:iterate=DiagnosticReport:result"), "include");
    assert_eq!(kinds(&back), set(&["Observation", "DiagnosticReport"]));
    // Each step by its own type: what no scope covers is left out and told; strictly, it is refused.
    let narrow = gateway.app(&folder.token("system/Patient.rs system/Observation.rs", None));
    let path = format!("{patient}&_revinclude:iterate=DiagnosticReport:result");
    assert_eq!(kinds(&given(&narrow, &path, "include")), set(&["Observation"]));
    assert!(given(&narrow, &path, "outcome")[0].to_string().contains("_revinclude:iterate: no scope of the token covers"));
    assert_eq!(narrow.request("GET", &path, &[("prefer", "handling=strict")], b"").status, 400);
    // One patient's client follows to what is that patient's, however it asks.
    let own = gateway.app(&folder.token("patient/*.rs", Some(&one)));
    for path in [format!("{report}&_include:iterate=Observation:patient"), path] {
        let found = given(&own, &path, "include");
        assert!(!found.is_empty() && found.iter().all(|resource| !resource.to_string().contains(&other)), "{path}");
    }
    assert!(given(&own, &format!("/fhir/Patient?_id={other}&_revinclude=Observation:patient"), "include").is_empty());
}

#[test]
fn a_whole_record_is_given_to_those_whom_it_is_for() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let app = gateway.app(&folder.token("system/*.rs", None));
    let [one, other] = hospital(&gateway, &app);
    let path = format!("/fhir/Patient/{one}/$everything");
    let matches = given(&app, &path, "match");
    assert_eq!(matches[0]["id"], one.as_str(), "the patient first");
    assert!(kinds(&matches).is_superset(&set(&["Patient", "Encounter", "Observation", "DiagnosticReport"])), "{:?}", kinds(&matches));
    assert!(kinds(&given(&app, &path, "include")).is_superset(&set(&["Location", "Practitioner"])));
    assert!(!String::from_utf8(app.get(&path).body).unwrap().contains(&other));
    // By pages the same, by type a part of it.
    assert_eq!(app.search(&format!("{path}?_count=1")), matches);
    assert_eq!(kinds(&given(&app, &format!("{path}?_type=Observation"), "match")), set(&["Observation"]));
    // The client of one patient has its own, as far as its scopes go; of another it learns nothing.
    let own = gateway.app(&folder.token("patient/Patient.rs patient/Observation.rs", Some(&one)));
    let found = given(&own, &path, "match");
    assert_eq!(kinds(&found), set(&["Patient", "Observation"]));
    assert!(given(&own, &path, "include").is_empty());
    let hidden = own.get(&format!("/fhir/Patient/{other}/$everything"));
    let never = own.get("/fhir/Patient/00000000-0000-8000-8000-000000000000/$everything");
    assert_eq!((hidden.status, &hidden.body), (404, &never.body));
    assert_eq!(gateway.app(&folder.token("system/Observation.rs", None)).get(&path).status, 403);
    // Whoever asked stands in the patient's audit.
    let audit = gateway.app(&folder.token("system/AuditEvent.rs", None));
    let events = audit.search(&format!("/fhir/AuditEvent?patient={one}&_count=200"));
    // `GET /fhir/Patient/`, as the start of an entity's query in base64.
    let of_record = events.iter().filter(|event| event["entity"].to_string().contains("R0VUIC9maGlyL1BhdGllbnQv"));
    assert!(of_record.count() >= 6, "each answer, and each page");
}
