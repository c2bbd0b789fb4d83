//! In at one door, out at the other: what a sender says, an app reads, and the audit names both.

use crate::messages::{Person, SECRETS, adt, oru, visit};
use flows::Folder;
use serde_json::Value;

#[test]
fn a_stay_and_its_results_are_read_by_an_app() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let person = Person::ottoline();
    let (mut pas, mut lab) = (gateway.sender("pas"), gateway.sender("lab"));
    let bed = |ward| visit("I", ward, "V5001", "202603010930", "");
    for message in [
        adt("A01", "A1", "20260301093000", &person, &[&bed("WARD1")]),
        adt("A02", "A2", "20260301120000", &person, &[&bed("WARD2")]),
        adt("A03", "A3", "20260302100000", &person, &[&visit("I", "WARD2", "V5001", "202603010930", "202603021000")]),
    ] {
        let reply = pas.send(&message).expect("a reply");
        assert!(reply.contains("MSA|AA|A"), "{reply}");
    }
    for (control, status, value) in [("L1", "P", "6.30"), ("L2", "F", "6.30"), ("L3", "C", "5.10")] {
        let stamp = format!("202603011{}0000", &control[1..]);
        let reply = lab.send(&oru(control, &stamp, &person, "ORD1", status, value)).expect("a reply");
        assert!(reply.contains(&format!("MSA|AA|{control}")), "{reply}");
    }
    let app = gateway.app(&folder.token("system/*.rs", None));
    let patients = app.search(&format!("/fhir/Patient?identifier=https://fhir.nhs.uk/Id/nhs-number|{}", person.nhs));
    assert_eq!(patients.len(), 1);
    let id = patients[0]["id"].as_str().expect("an id");
    assert_eq!(patients[0]["birthDate"], "1951-07-04");
    let encounters = app.search(&format!("/fhir/Encounter?patient={id}"));
    assert_eq!(encounters.len(), 1);
    assert_eq!(encounters[0]["status"], "finished");
    assert_eq!(encounters[0]["location"].as_array().map(Vec::len), Some(2), "{}", encounters[0]);
    let observations = app.search(&format!("/fhir/Observation?patient={id}&code=http://loinc.org|2823-3"));
    assert_eq!(observations.len(), 1);
    assert_eq!(observations[0]["status"], "corrected");
    let history = app.get(&format!("/fhir/Observation/{}/_history", observations[0]["id"].as_str().expect("an id")));
    let text = String::from_utf8(history.body.clone()).expect("UTF-8");
    assert!(text.contains(r#""value":6.30"#) && text.contains(r#""value":5.10"#), "values stay as they were written: {text}");
    assert_eq!(history.json()["entry"].as_array().map(Vec::len), Some(3));
    assert_eq!(app.search(&format!("/fhir/DiagnosticReport?patient={id}")).len(), 1);
    // The same bytes again: the first reply again, and nothing new.
    let again = pas.send(&adt("A01", "A1", "20260301093000", &person, &[&bed("WARD1")])).expect("a reply");
    assert!(again.contains("MSA|AA|A1"), "{again}");
    assert_eq!(app.search(&format!("/fhir/Encounter?patient={id}"))[0], encounters[0]);
    let journal = folder.journal();
    assert_eq!(journal.len(), 6);
    assert_eq!(journal[0]["repeats"], 1);
    drop((pas, lab));
    assert!(gateway.stop().success(), "a drain ends with 0");
    let log = folder.log();
    for secret in SECRETS {
        assert!(!log.contains(secret), "the log holds a value of a message: {secret}");
    }
}

#[test]
fn what_is_refused_and_how() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let (one, other) = (Person::ottoline(), Person::number(7));
    let mut pas = gateway.sender("pas");
    for (control, person) in [("R1", &one), ("R2", &other)] {
        assert!(pas.send(&adt("A28", control, "20260301093000", person, &[])).expect("a reply").contains("MSA|AA"));
    }
    // A sender that may not send it: the laboratory's certificate with an ADT message.
    let refused = gateway.sender("lab").send(&adt("A28", "R3", "20260301093000", &one, &[])).expect("a reply");
    assert!(refused.contains("MSA|AR|R3"), "{refused}");
    // No client certificate: refused in TLS.
    let stranger = gateway.try_sender(None).and_then(|mut sender| sender.send(&adt("A28", "R4", "20260301093000", &one, &[])));
    assert!(stranger.is_err());
    // What cannot be read at all.
    let malformed = pas.send(b"PID|1||no header").expect("a reply");
    assert!(malformed.contains("MSA|AR") || malformed.contains("MSA|AE"), "{malformed}");
    let everyone = gateway.app(&folder.token("system/Patient.rs", None));
    let id_of = |person: &Person| -> String {
        let found = everyone.search(&format!("/fhir/Patient?identifier={}", person.mrn));
        found[0]["id"].as_str().expect("an id").to_owned()
    };
    let (mine, theirs) = (id_of(&one), id_of(&other));
    assert_eq!(gateway.stranger(None).get(&format!("/fhir/Patient/{mine}")).status, 401);
    assert_eq!(gateway.app("eyJhbGciOiJub25lIn0.e30.").get(&format!("/fhir/Patient/{mine}")).status, 401);
    assert_eq!(everyone.get("/fhir/Observation?patient=x").status, 403, "another scope");
    let patient = gateway.app(&folder.token("patient/Patient.rs", Some(&mine)));
    assert_eq!(patient.get(&format!("/fhir/Patient/{mine}")).status, 200);
    let (hidden, never) =
        (patient.get(&format!("/fhir/Patient/{theirs}")), patient.get("/fhir/Patient/00000000-0000-8000-8000-000000000000"));
    assert_eq!((hidden.status, never.status), (404, 404));
    let blank = |answer: &flows::Answer, id: &str| String::from_utf8_lossy(&answer.body).replace(id, "ID");
    assert_eq!(blank(&hidden, &theirs), blank(&never, "00000000-0000-8000-8000-000000000000"), "the same words for hidden and for never");
    assert_eq!(patient.search("/fhir/Patient").len(), 1);
    // The audit names the reads, the refusals and the frames.
    let events = gateway.app(&folder.token("system/AuditEvent.rs", None)).search("/fhir/AuditEvent?_count=100");
    let has = |test: &dyn Fn(&Value) -> bool| events.iter().any(test);
    assert!(has(&|event| event["outcome"] == "0" && event["entity"].to_string().contains(&mine)), "a read names its patient");
    assert!(has(&|event| event["outcome"] != "0"), "refusals are there");
    assert!(gateway.stop().success());
    let (code, _, _) = folder.run(&["audit", "verify"]);
    assert_eq!(code, 0);
    // One byte of one stored entry is changed, as a person with the file could: a refusal becomes a success.
    let database = rusqlite::Connection::open(folder.path().join("data/access.db")).expect("the store");
    let refused = "SELECT id, payload FROM audit WHERE instr(payload, CAST('\"outcome\":4' AS BLOB)) > 0 LIMIT 1";
    let (id, mut payload): (i64, Vec<u8>) =
        database.query_row(refused, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("a refusal stands there");
    let at = payload.windows(11).position(|window| window == b"\"outcome\":4").expect("it was found by this");
    payload[at + 10] = b'0';
    assert_eq!(database.execute("UPDATE audit SET payload = ?2 WHERE id = ?1", (id, payload)).expect("it can be written"), 1);
    drop(database);
    let (code, said, _) = folder.run(&["audit", "verify"]);
    assert_eq!(code, 1, "{said}");
    let log = folder.log();
    for secret in SECRETS {
        assert!(!log.contains(secret), "the log holds a value of a message: {secret}");
    }
}
