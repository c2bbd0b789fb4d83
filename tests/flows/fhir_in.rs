//! A system that speaks FHIR already: its Bundles beside the PAS's messages, and one record of both.

use crate::messages::{Person, adt};
use flows::Folder;
use serde_json::{Value, json};

const FHIR: [(&str, &str); 1] = [("content-type", "application/fhir+json")];
const MRN: &str = "https://hospital.example/id/mrn";

/// A folder whose documents' client is a FHIR feed, too.
fn folder() -> Folder {
    let folder = Folder::new();
    let feed = "[feed.ehr]\nlistener = \"https\"\nadapter = \"fhir\"\npeer = \"docs.hospital.example\"\nprimary_assigner = \"RXX\"\n\
        assigners = { RXX = \"https://hospital.example/id/mrn\" }\naccepts = [\"FHIR\"]\n\n[[issuer]]";
    folder.edit(|line| if line == "[[issuer]]" { feed.into() } else { line.into() });
    folder
}

fn bundle(person: &Person) -> Value {
    json!({
        "resourceType": "Bundle", "type": "transaction", "timestamp": "2026-03-02T08:00:00Z",
        "identifier": {"system": "https://ehr.example/message", "value": "m-1"},
        "entry": [
            {
                "fullUrl": "urn:uuid:0190f5c0-6b1e-8a7b-9c3d-2e4f5a6b7c8d",
                "resource": {"resourceType": "Patient", "id": "p-77", "identifier": [{"system": MRN, "value": person.mrn}], "maritalStatus": {"text": "married"}},
                "request": {"method": "PUT", "url": "Patient/p-77"}
            },
            {
                "fullUrl": "https://ehr.example/fhir/Immunization/i-1",
                "resource": {
                    "resourceType": "Immunization", "id": "i-1", "status": "completed", "vaccineCode": {"text": "tetanus"},
                    "patient": {"reference": "urn:uuid:0190f5c0-6b1e-8a7b-9c3d-2e4f5a6b7c8d"}, "occurrenceDateTime": "2026-02-01"
                },
                "request": {"method": "PUT", "url": "Immunization/i-1"}
            }
        ]
    })
}

#[test]
fn fhir_joins_the_record_that_others_speak_of() {
    let folder = folder();
    let gateway = folder.serve();
    let person = Person::ottoline();
    let reply = gateway.sender("pas").send(&adt("A28", "P1", "20260301093000", &person, &[])).unwrap();
    assert!(reply.contains("MSA|AA|P1"), "{reply}");
    let ehr = gateway.stranger(Some("docs"));
    let post = |body: &Value| ehr.request("POST", "/ingest/ehr", &FHIR, body.to_string().as_bytes());
    // The sender is told where each entry stands; the same again is told the same.
    let answer = post(&bundle(&person));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let response = answer.json();
    assert_eq!(response["type"], "transaction-response");
    let place = |number: usize| response["entry"][number]["response"]["location"].as_str().unwrap().to_owned();
    assert_eq!(post(&bundle(&person)).json(), response);
    let app = gateway.app(&folder.token("system/*.rs", None));
    let found = app.search(&format!("/fhir/Patient?identifier={MRN}%7C{}", person.mrn));
    let [patient] = found.as_slice() else { panic!("one Patient of both feeds: {found:?}") };
    assert_eq!(format!("Patient/{}", patient["id"].as_str().unwrap()), place(0));
    assert_eq!((&patient["name"][0]["family"], &patient["maritalStatus"]["text"]), (&json!("Quillfeather"), &json!("married")));
    // One resource alone, which knows no more than the sender's id of the patient.
    let condition = json!({
        "resourceType": "Condition", "id": "c-1", "code": {"text": "asthma"}, "subject": {"reference": "Patient/p-77"},
        "meta": {"lastUpdated": "2026-03-03T09:00:00Z"}
    });
    let answer = post(&condition);
    assert_eq!(answer.status, 201);
    let location = answer.header("location").unwrap().to_owned();
    assert!(location.contains("/fhir/Condition/"), "{location}");
    for kind in ["Immunization", "Condition"] {
        assert_eq!(app.search(&format!("/fhir/{kind}?patient={}", patient["id"].as_str().unwrap())).len(), 1, "{kind}");
    }
    // A newer word replaces the older whole, whichever comes first.
    let read = || app.get(&format!("/fhir{}", &location[location.find("/Condition/").unwrap()..])).json();
    let mut other = condition.clone();
    other["meta"]["lastUpdated"] = json!("2026-03-01T09:00:00Z");
    other["code"] = json!({"text": "cough"});
    assert_eq!(post(&other).status, 201);
    assert_eq!(read()["code"]["text"], "asthma", "an older word that comes late");
    other["meta"]["lastUpdated"] = json!("2026-03-04T09:00:00Z");
    other["clinicalStatus"] =
        json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "resolved"}]});
    assert_eq!(post(&other).status, 201);
    assert_eq!((&read()["code"]["text"], read()["meta"]["versionId"].as_str()), (&json!("cough"), Some("2")));
}

#[test]
fn what_is_not_taken_is_told_kept_and_stores_nothing() {
    let folder = folder();
    let gateway = folder.serve();
    let ehr = gateway.stranger(Some("docs"));
    let post = |body: &Value| ehr.request("POST", "/ingest/ehr", &FHIR, body.to_string().as_bytes());
    let mut broken = bundle(&Person::ottoline());
    broken["entry"][1]["resource"]["vaccineCode"] = json!("tetanus");
    broken["entry"][1]["resource"]["staus"] = json!("completed");
    let answer = post(&broken);
    assert_eq!(answer.status, 422);
    let told = String::from_utf8_lossy(&answer.body).into_owned();
    for place in ["Bundle.entry[1].resource.vaccineCode", "Bundle.entry[1].resource.staus"] {
        assert!(told.contains(place), "{told}");
    }
    assert!(!told.contains("tetanus") && !told.contains("MRN70001"));
    let foreign = json!({"resourceType": "AuditEvent"});
    assert_eq!(post(&foreign).status, 422);
    assert_eq!(ehr.request("POST", "/ingest/ehr", &FHIR, b"{").status, 400);
    assert_eq!(ehr.request("POST", "/ingest/ehr", &[("content-type", "application/xml")], b"<a/>").status, 415);
    assert_eq!(gateway.stranger(Some("pas")).request("POST", "/ingest/ehr", &FHIR, b"{}").status, 403);
    let outcomes: Vec<Value> = folder.journal().into_iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, [json!("untranslatable"), json!("unsupported"), json!("malformed")]);
    assert!(gateway.app(&folder.token("system/*.rs", None)).search("/fhir/Patient").is_empty());
}
