//! `landbridge compare`: the same messages as another engine sent them on, beside ours.

use crate::messages::{Person, SECRETS, adt, visit};
use flows::{Folder, run};
use std::fs;
use std::path::Path;

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join(name), bytes).expect("written");
}

#[test]
fn differences_are_told_by_element_and_without_what_patients_said() {
    let folder = Folder::new();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let person = Person::ottoline();
    let bed = visit("I", "WARD1", "V5001", "202603010930", "");
    let message = |control: &str| adt("A01", control, "20260301093000", &person, &[&bed]);
    for control in ["C1", "C2"] {
        write(&ours, &format!("{control}.hl7"), &message(control));
    }
    // The other engine: the second message first, another ward, no sex, and a message of its own.
    let text = String::from_utf8(message("C2")).expect("UTF-8").replace("WARD1", "W1").replace("|F|", "||");
    write(&theirs, "1.hl7", text.as_bytes());
    write(&theirs, "2.hl7", &message("C1"));
    write(&theirs, "3.hl7", &message("C9"));
    let (left, right) = (ours.to_str().expect("UTF-8"), theirs.to_str().expect("UTF-8"));
    let (code, said, errors) = run(&["compare", left, right]);
    assert_eq!(code, 1, "{said}{errors}");
    assert!(said.starts_with("2 pairs by control id: 1 alike; 0 only in ours, 1 only in theirs\n"), "{said}");
    let counted = |element: &str| -> Vec<u64> {
        let line =
            said.lines().find(|line| line.split_whitespace().next() == Some(element)).unwrap_or_else(|| panic!("{element} in {said}"));
        line.split_whitespace().skip(1).map(|count| count.parse().expect("a count")).collect()
    };
    assert_eq!(counted("PV1-3.1"), [1, 1, 0, 0]);
    assert_eq!(counted("PID-8.1"), [1, 0, 1, 0]);
    assert_eq!(said.lines().count(), 4, "what is alike is not told: {said}");
    assert!(errors.contains("only in theirs: ") && errors.contains("3.hl7 message 0"), "{errors}");
    for secret in SECRETS.iter().chain(&["WARD1"]) {
        assert!(!said.contains(secret) && !errors.contains(secret), "{secret}");
    }
    let (_, shown, _) = run(&["compare", "--values", left, right]);
    assert!(shown.contains("\"WARD1\" ours, \"W1\" theirs") && shown.contains("\"F\" ours, nothing theirs"), "{shown}");
    fs::remove_file(theirs.join("3.hl7")).expect("it is there");
    let (code, said, errors) = run(&["compare", "--ignore", "PV1-3", "--ignore", "PID-8", left, right]);
    assert_eq!(code, 0, "{said}{errors}");
    let (_, lines, _) = run(&["compare", "--ndjson", left, right]);
    assert!(lines.contains(r#"{"element":"PID-8.1","same":1,"differs":0,"only_ours":1,"only_theirs":0}"#), "{lines}");
    let (code, _, errors) = run(&["compare", "--by-order", left, right]);
    assert_eq!(code, 1, "{errors}");
    assert_eq!(run(&["compare", left, "missing"]).0, 2);
}

#[test]
fn a_feed_of_the_journal_is_compared_with_another_engines_fhir() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let person = Person::ottoline();
    let message = adt("A28", "F1", "20260301093000", &person, &[]);
    assert!(gateway.sender("pas").send(&message).expect("a reply").contains("MSA|AA|F1"));
    let sent = folder.path().join("sent");
    write(&sent, "1.hl7", &message);
    let sent = sent.to_str().expect("UTF-8");
    // The same bytes, and the same translation.
    assert_eq!(folder.run(&["compare", "feed:pas", sent]).0, 0);
    let (code, bundle, errors) = folder.run(&["convert", "--ndjson", sent]);
    assert_eq!(code, 0, "{errors}");
    let theirs = folder.path().join("theirs.ndjson");
    fs::write(&theirs, &bundle).expect("written");
    let theirs = theirs.to_str().expect("UTF-8");
    let (code, said, errors) = folder.run(&["compare", "feed:pas", theirs]);
    assert_eq!(code, 0, "{said}{errors}");
    fs::write(theirs, bundle.replace("\"gender\":\"female\"", "\"gender\":\"unknown\"")).expect("written");
    let (code, said, errors) = folder.run(&["compare", "feed:pas", theirs]);
    assert_eq!(code, 1, "{said}{errors}");
    let line = said.lines().find(|line| line.starts_with("Patient.gender")).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(line.split_whitespace().skip(1).collect::<Vec<_>>(), ["0", "1", "0", "0"]);
    for secret in SECRETS {
        assert!(!said.contains(secret) && !errors.contains(secret), "{secret}");
    }
    let (code, _, errors) = folder.run(&["compare", "feed:nobody", theirs]);
    assert!(code == 2 && errors.contains("there are"), "{errors}");
    // That the feed was read is in the audit.
    let events = gateway.app(&folder.token("system/AuditEvent.rs", None)).search("/fhir/AuditEvent?_count=100");
    assert!(events.iter().any(|event| event["type"]["code"] == "access"), "{events:?}");
    assert!(gateway.stop().success());
}
