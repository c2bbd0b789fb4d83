//! What an operator does about messages after they came.

use crate::messages::{Person, adt};
use flows::Folder;
use serde_json::Value;

/// Positions that `journal list` tells under these filters.
fn listed(folder: &Folder, filters: &[&str]) -> Vec<u64> {
    let (code, lines, errors) = folder.run(&[&["journal", "list", "--ndjson"], filters].concat());
    assert_eq!(code, 0, "{filters:?}: {errors}");
    lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON")["position"].as_u64().expect("a position"))
        .collect()
}

/// A message for training, which a live feed does not take.
fn for_training(message: Vec<u8>) -> Vec<u8> {
    String::from_utf8(message).expect("UTF-8").replacen("|P|2.5.1", "|T|2.5.1", 1).into_bytes()
}

#[test]
fn the_journal_is_filtered_and_what_waits_is_judged_again() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let mut pas = gateway.sender("pas");
    let (one, other) = (Person::ottoline(), Person::number(3));
    for message in [
        adt("A28", "F1", "20260301093000", &one, &[]),
        for_training(adt("A28", "F2", "20260301093100", &other, &[])),
        adt("A60", "F3", "20260301093200", &one, &[]),
        for_training(adt("A31", "F4", "20260301093300", &other, &[])),
        adt("A31", "F5", "20260301093400", &one, &[]),
    ] {
        pas.send(&message).expect("a reply");
    }
    let check = |filters: &[&str], expected: &[u64]| assert_eq!(listed(&folder, filters), expected, "{filters:?}");
    check(&[], &[1, 2, 3, 4, 5]);
    check(&["--newest", "--limit", "2"], &[5, 4]);
    check(&["--waiting"], &[2, 3, 4]);
    check(&["--feed", "pas", "--type", "ADT^A28"], &[1, 2]);
    check(&["--type", "ADT", "--outcome", "held"], &[2, 4]);
    check(&["--reason", "processing ID"], &[2, 4]);
    check(&["--control-id", "F5"], &[5]);
    check(&["--to", "2026-01-01"], &[]);
    check(&["--from", "2026-01-01", "--after", "3"], &[4, 5]);
    check(&["--patient", "https://hospital.example/id/mrn|MRN70001"], &[1, 5]);
    let (code, _, errors) = folder.run(&["journal", "list", "--from", "yesterday"]);
    assert_eq!(code, 2);
    assert!(errors.contains("2026-03-01T09:30:00Z"), "{errors}");

    let (code, _, errors) = folder.run(&["journal", "replay"]);
    assert_eq!(code, 2, "which? {errors}");
    let (code, told, errors) = folder.run(&["journal", "replay", "--outcome", "held", "--type", "ADT^A28", "--release"]);
    assert_eq!((code, told.as_str()), (0, "2: stored\n"), "{errors}");
    assert!(errors.contains("1 judged again: 1 stored, 0 not"), "{errors}");
    let (code, told, _) = folder.run(&["journal", "replay", "3"]);
    assert_eq!(code, 1, "no table knows it: {told}");
    assert!(told.starts_with("3: unsupported\n  error: "), "{told}");
    check(&["--waiting"], &[3, 4]);
    let app = gateway.app(&folder.token("system/*.rs", None));
    assert_eq!(app.search(&format!("/fhir/Patient?identifier={}", other.mrn)).len(), 1);
}
