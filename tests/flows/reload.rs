//! What changes under a running gateway: no connection ends, no answer is wrong.

use crate::messages::{Person, adt, visit};
use flows::Folder;
use std::fs;
use std::process::Command;

#[test]
fn certificates_keys_and_feeds_are_taken_up_at_sighup_while_lines_stay_open() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let person = Person::ottoline();
    let bed = visit("I", "WARD1", "V5001", "202603010930", "");
    let mut pas = gateway.sender("pas");
    assert!(pas.send(&adt("A01", "A1", "20260301093000", &person, &[&bed])).expect("a reply").contains("MSA|AA|A1"));
    let old_token = folder.token("system/*.rs", None);
    let mut app = gateway.app(&old_token).keep();
    assert_eq!(app.get("/fhir/Patient").expect("an answer").0, 200);

    // Another folder's server certificate of the same names, its issuer's keys, and a feed that takes nothing of this kind.
    let other = Folder::new();
    for name in ["tls/server.pem", "tls/server.key", "tls/ca.pem", "keys/issuer.jwks.json", "keys/issuer.key"] {
        fs::copy(other.path().join(name), folder.path().join(name)).expect("a copy");
    }
    let before = fs::read_to_string(folder.config()).expect("a configuration");
    folder.edit(|text| text.replace("accepts = [\"ADT\"]", "accepts = [\"ADT^A03\"]"));
    let hang_up = || assert!(Command::new("kill").args(["-HUP", &gateway.process_id().to_string()]).status().expect("kill").success());
    hang_up();
    // The feeds come last: when they are in force all is.
    let mut control = 0;
    let mut until = |code: &str| loop {
        control += 1;
        let reply = pas.send(&adt("A02", &format!("B{control}"), "20260301100000", &person, &[&bed])).expect("the line stays open");
        assert!(reply.contains("MSA|AA|") || reply.contains("MSA|AR|"), "{reply}");
        if reply.contains(&format!("MSA|{code}|")) {
            break;
        }
    };
    until("AR");
    // A new connection sees the new certificate; the old token's key is gone, also for the app whose line stayed open.
    let fresh_token = folder.token("system/*.rs", None);
    assert_eq!(gateway.app(&fresh_token).get("/fhir/Patient").status, 200);
    assert_eq!(app.get("/fhir/Patient").expect("the line stays open").0, 401);

    // A mistake changes nothing, and is told.
    fs::write(folder.config(), "[store").expect("written");
    hang_up();
    let told = |word: &str| while !folder.log().contains(word) {};
    told("the configuration has a mistake");
    until("AR");
    fs::write(folder.config(), before).expect("written");
    hang_up();
    until("AA");
    let audit = gateway.app(&folder.token("system/AuditEvent.rs", None)).search("/fhir/AuditEvent");
    let changes: Vec<&str> = audit
        .iter()
        .filter(|event| event["subtype"][0]["code"] == "110129")
        .map(|event| event["outcome"].as_str().expect("an outcome"))
        .collect();
    assert_eq!(changes.iter().filter(|outcome| **outcome == "4").count(), 1, "{changes:?}");
    assert!(changes.iter().filter(|outcome| **outcome == "0").count() >= 5, "{changes:?}");
    drop((pas, app));
    assert!(gateway.stop().success());
}
