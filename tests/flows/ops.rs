//! The operators' door: looking and mending through `/ops`, each scope by itself, all of it in the audit.

use crate::messages::{Person, SECRETS, adt};
use flows::Folder;
use serde_json::{Value, json};

#[test]
fn operators_look_and_mend_by_their_scopes_and_are_written_down() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let person = Person::ottoline();
    let mut pas = gateway.sender("pas");
    pas.send(&adt("A28", "P1", "20260301093000", &person, &[])).unwrap();
    pas.send(&adt("Z99", "P2", "20260301094000", &person, &[])).unwrap();
    let [read, records, mend, app] =
        ["ops.read", "ops.read ops.records", "ops.records ops.mend", "system/*.rs"].map(|scope| gateway.app(&folder.token(scope, None)));
    // Who may see what: deny by default.
    for (client, path, status) in [
        (&read, "/ops/findings", 200),
        (&read, "/ops/journal", 200),
        (&read, "/ops/journal/1", 403),
        (&read, "/ops/journal?patient=x", 403),
        (&records, "/ops/journal/1", 200),
        (&records, "/ops/journal/9", 404),
        (&records, "/ops/journal?fed=pas", 400),
        (&mend, "/ops/findings", 403),
        (&app, "/ops/findings", 403),
        (&gateway.stranger(None), "/ops/findings", 401),
        (&gateway.stranger(Some("pas")), "/ops/journal", 401),
        (&read, "/fhir/Patient", 403),
    ] {
        assert_eq!(client.get(path).status, status, "{path}");
    }
    let post = |client: &flows::App, path: &str, body: &Value| client.request("POST", path, &[], body.to_string().as_bytes());
    assert_eq!(post(&records, "/ops/journal/2/replay", &json!({})).status, 403);
    // What waits, and why; nothing of a patient in a list.
    let waiting = read.get("/ops/journal?waiting=true").json();
    assert_eq!((waiting["rows"].as_array().unwrap().len(), waiting["rows"][0]["position"].as_u64()), (1, Some(2)));
    let text = String::from_utf8(read.get("/ops/journal").body).unwrap() + &String::from_utf8(read.get("/ops/findings").body).unwrap();
    assert!(SECRETS.iter().all(|secret| !text.contains(secret)));
    let first = read.get("/ops/journal?limit=1").json();
    assert_eq!((first["rows"][0]["position"].as_u64(), first["after"].as_u64()), (Some(1), Some(1)));
    // Mended in its place: the event was mistyped.
    let frame = records.get("/ops/journal/2").json()["frame"].as_str().unwrap().to_owned();
    assert_eq!(post(&mend, "/ops/journal/2/edit", &json!({"frame": frame.replace("Z99", "A31")})).status, 400, "without a reason");
    let edited = post(
        &mend,
        "/ops/journal/2/edit",
        &json!({"frame": frame.replace("Z99", "A31").replace("4 Larkspur", "9 Larkspur"), "because": "event mistyped"}),
    );
    assert_eq!((edited.status, edited.json()["outcome"].as_str()), (200, Some("stored")), "{}", String::from_utf8_lossy(&edited.body));
    let found = app.search("/fhir/Patient?family=Quillfeather");
    let [patient] = found.as_slice() else { panic!("one patient") };
    let id = patient["id"].as_str().unwrap();
    assert!(patient["address"].to_string().contains("9 Larkspur"), "{patient}");
    // The time line, by id and by identifier; then the first message is undone and put back.
    let line = records.get(&format!("/ops/patient/{id}")).json();
    assert_eq!(line, records.get("/ops/patient?identifier=https://hospital.example/id/mrn%7CMRN70001").json());
    assert_eq!(line["moments"].as_array().unwrap().len(), 2, "{line}");
    let preview = records.get("/ops/journal/3/withdraw").json();
    assert!(preview["changes"].to_string().contains(id), "{preview}");
    let order = |restore: bool| json!({"because": "a test", "restore": restore});
    assert_eq!(post(&mend, "/ops/journal/3/withdraw", &order(false)).status, 200);
    assert!(app.search("/fhir/Patient?family=Quillfeather")[0]["address"].to_string().contains("4 Larkspur"));
    assert_eq!(post(&mend, "/ops/journal/3/withdraw", &order(false)).status, 409);
    assert_eq!(post(&mend, "/ops/journal/3/withdraw", &order(true)).status, 200);
    assert!(app.search("/fhir/Patient?family=Quillfeather")[0]["address"].to_string().contains("9 Larkspur"));
    let long = json!({"because": "x".repeat(1001)});
    let answer = post(&mend, "/ops/journal/3/withdraw", &long);
    assert!(answer.status == 400 && String::from_utf8_lossy(&answer.body).contains("because: longer than 1000 bytes"));
    // Two under one number: the answer names both, and so does the audit.
    let other = Person { nhs: person.nhs, ..Person::number(7) };
    pas.send(&adt("A28", "P3", "20260301095000", &other, &[])).unwrap();
    let several = records.get(&format!("/ops/patient?identifier=https://fhir.nhs.uk/Id/nhs-number%7C{}", person.nhs));
    assert_eq!(several.status, 409);
    let second = app.search(&format!("/fhir/Patient?identifier={}", other.mrn))[0]["id"].as_str().unwrap().to_owned();
    assert!([id, &second].iter().all(|id| String::from_utf8_lossy(&several.body).contains(*id)));
    // Who looked at her record, and who mended it: in her audit.
    let audit = gateway.app(&folder.token("system/AuditEvent.rs", None));
    let events = audit.search(&format!("/fhir/AuditEvent?patient={id}&_count=200"));
    let count = |what: &str| events.iter().filter(|event| event["entity"].to_string().contains(what)).count();
    // `GET /ops/`, as the start of an entity's query in base64.
    assert_eq!(count("R0VUIC9vcHMv"), 5, "frame, time line twice, preview, and the answer that names two");
    let of_second = audit.search(&format!("/fhir/AuditEvent?patient={second}&_count=200"));
    assert!(of_second.iter().any(|event| event["entity"].to_string().contains("R0VUIC9vcHMv") && event["outcome"] == "4"));
    // Under which token it was edited, not only by which app.
    let edited = events.iter().find(|event| event["entity"].to_string().contains(&format!("Patient/{id}/_history/2"))).unwrap();
    assert!(edited["agent"].to_string().contains("urn:ietf:params:oauth:jti:"), "{edited}");
    assert!(
        (1..=4).all(|version| count(&format!("Patient/{id}/_history/{version}")) == 1),
        "each change: as it came, edited, withdrawn, put back"
    );
    gateway.stop();
    let (code, output, errors) = folder.run(&["audit", "verify"]);
    assert_eq!(code, 0, "{output}{errors}");
}

#[test]
fn the_command_line_works_through_a_running_gateway_by_a_token() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let person = Person::ottoline();
    let mut pas = gateway.sender("pas");
    pas.send(&adt("A28", "T1", "20260301093000", &person, &[])).unwrap();
    pas.send(&adt("Z99", "T2", "20260301094000", &person, &[])).unwrap();
    let url = format!("https://localhost:{}", gateway.address("https").port());
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let token = |scope: &str| write("token", &format!("{}\n", folder.token(scope, None)));
    let ca = folder.path().join("tls/ca.pem").to_str().unwrap().to_owned();
    // No configuration and no store: another machine.
    let through = |scope: &str, arguments: &[&str]| {
        let token = token(scope);
        flows::run(&[arguments, &["--gateway", &url, "--gateway-ca", &ca, "--gateway-token", &token]].concat())
    };
    let all = "ops.read ops.records ops.mend";
    let (code, lines, errors) = through("ops.read", &["journal", "list", "--waiting", "--ndjson"]);
    assert_eq!(code, 0, "{errors}");
    let row: Value = serde_json::from_str(&lines).unwrap();
    assert!(row["position"] == 2 && row["reason"].as_str().unwrap().starts_with("error: MSH[1]-9"), "{row}");
    assert_eq!(through("ops.read", &["journal", "list", "--newest", "--limit", "1"]).1.lines().count(), 2, "a head and a row");
    let (code, _, errors) = through("ops.read", &["journal", "show", "2"]);
    assert!(code == 1 && errors.contains("the token lacks the scope ops.records"), "{errors}");
    let (code, shown, errors) = through(all, &["journal", "show", "2", "--raw"]);
    assert!(code == 0 && shown.contains("|ADT^Z99^"), "{errors}");
    let (code, told, errors) = through(all, &["journal", "replay", "--waiting"]);
    assert!(code == 1 && told.starts_with("2: unsupported\n  error: MSH[1]-9"), "{told}{errors}");
    let file = write("mended.hl7", &shown.replace("Z99", "A31").replace("4 Larkspur", "9 Larkspur"));
    let (code, told, errors) = through(all, &["journal", "edit", "2", "--from", &file, "--because", "event mistyped"]);
    assert!(code == 0 && told.starts_with("2: edited as 3: stored"), "{told}{errors}");
    let (code, line, errors) = through(all, &["patient", &format!("https://hospital.example/id/mrn|{}", person.mrn)]);
    assert!(code == 0 && line.contains("9 Larkspur"), "{line}{errors}");
    let beside = folder.run(&["patient", &format!("https://hospital.example/id/mrn|{}", person.mrn)]);
    assert_eq!((code, &line), (beside.0, &beside.1), "the same, beside the gateway");
    let (code, told, errors) = through(all, &["withdraw", "3", "--yes", "--because", "a test"]);
    assert!(code == 0 && told.contains("-> \"4 Larkspur") && errors.contains("3: withdrawn"), "{told}{errors}");
    let (code, told, errors) = through("ops.read", &["findings", "--fail-on", "unsafe"]);
    assert!(code == 1 && told.starts_with("Unsafe: 1 finding") && told.contains("Development certificates"), "{told}{errors}");
    // What cannot be: named with what to do.
    for (arguments, code, reason) in [
        (&["journal", "show", "77"][..], 1, "the journal has no position 77"),
        (&["patient", "nobody"], 1, "there is no record of Patient/nobody"),
        (&["journal", "replay", "1", "--schemas", "."], 2, "judges by its own tables"),
    ] {
        let told = through(all, arguments);
        assert!(told.0 == code && told.2.contains(reason), "{told:?}");
    }
    // The audit names whose token it was, and not who sat at the machine.
    let audit = gateway.app(&folder.token("system/AuditEvent.rs", None));
    let id = line.lines().next().unwrap().strip_prefix("Patient/").unwrap();
    let events = audit.search(&format!("/fhir/AuditEvent?patient={id}&_count=200"));
    assert!(events.iter().any(|event| event.to_string().contains("os:")), "the time line beside it");
    assert!(events.iter().filter(|event| event.to_string().contains("app:")).count() >= 4, "edited, looked at, previewed, withdrawn");
}
