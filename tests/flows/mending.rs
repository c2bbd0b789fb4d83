//! What an operator does about messages after they came.

use crate::messages::{Person, adt, visit};
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

/// A command of the program that opens an editor, which is this shell command.
fn with_editor(folder: &Folder, editor: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(flows::landbridge());
    let command = command.args(arguments).args(["--config", &folder.config()]).env("VISUAL", editor).stdin(std::process::Stdio::null());
    let output = command.output().expect("the program starts");
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).expect("output is UTF-8"))
}

#[test]
fn a_message_about_the_wrong_patient_is_edited_withdrawn_and_restored_while_the_gateway_runs() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let mut pas = gateway.sender("pas");
    let (wrong, right) = (Person::ottoline(), Person::number(3));
    let admission =
        |person: &Person, ward: &str| adt("A01", "E3", "20260301100000", person, &[&visit("I", ward, "V7001", "202603011000", "")]);
    for message in
        [adt("A28", "E1", "20260301093000", &wrong, &[]), adt("A28", "E2", "20260301093100", &right, &[]), admission(&wrong, "WARD1")]
    {
        assert!(pas.send(&message).expect("a reply").contains("MSA|AA"));
    }
    let app = gateway.app(&folder.token("system/*.rs", None));
    let stays = |person: &Person| {
        let patients = app.search(&format!("/fhir/Patient?identifier={}", person.mrn));
        app.search(&format!("/fhir/Encounter?patient={}", patients[0]["id"].as_str().expect("an id")))
    };
    let id = stays(&wrong)[0]["id"].as_str().expect("an id").to_owned();
    assert!(stays(&right).is_empty());

    // Edited: from a file, then in an editor.
    let file = folder.path().join("mended.hl7");
    std::fs::write(&file, admission(&right, "WARD1")).expect("a file");
    let (code, _, errors) = folder.run(&["journal", "edit", "3", "--from", file.to_str().expect("UTF-8")]);
    assert!(code == 2 && errors.contains("--because"), "why is asked for: {errors}");
    let (code, told, errors) =
        folder.run(&["journal", "edit", "3", "--from", file.to_str().expect("UTF-8"), "--because", "it was Basil who came"]);
    assert_eq!(code, 0, "{errors}");
    assert!(told.starts_with("3: edited as 4: stored"), "{told}");
    assert!(stays(&wrong).is_empty());
    assert!(stays(&right)[0].to_string().contains("WARD1"), "{}", stays(&right)[0]);
    let (code, told) = with_editor(&folder, "sed -i s/WARD1/WARD9/", &["journal", "edit", "4", "--because", "the ward too"]);
    assert!(code == Some(0) && told.starts_with("4: edited as 5: stored"), "{told}");
    assert!(stays(&right)[0].to_string().contains("WARD9"), "{}", stays(&right)[0]);
    let (code, told) = with_editor(&folder, "true", &["journal", "edit", "5", "--because", "nothing"]);
    assert!(code == Some(1) && told.contains("nothing is changed"), "{told}");
    let (code, told) = with_editor(&folder, "false", &["journal", "edit", "5", "--because", "nothing"]);
    assert!(code == Some(1) && told.contains("the editor ended with a failure"), "{told}");
    let mut files = std::fs::read_dir(folder.path().join("data")).expect("the store's folder");
    assert!(files.all(|file| !file.expect("a file").file_name().to_string_lossy().contains("edit-")), "nothing is left of it");
    let (_, shown, _) = folder.run(&["journal", "show", "3"]);
    assert!(shown.contains("standing    superseded") && shown.contains("3 into 4, by os:"), "{shown}");
    assert!(shown.contains("it was Basil who came") && shown.contains("MRN70001"), "the original is as it came: {shown}");
    let (_, shown, _) = folder.run(&["journal", "show", "4"]);
    assert!(shown.contains("standing    edit of 3, superseded") && shown.contains("4 into 5, by os:"), "{shown}");
    // The sender sends the original again: it is a repeat.
    assert!(pas.send(&admission(&wrong, "WARD1")).expect("a reply").contains("MSA|AA|E3"));
    assert!(stays(&wrong).is_empty());

    // Withdrawn: first shown, then done.
    let (code, told, errors) = folder.run(&["withdraw", "5"]);
    assert_eq!(code, 0, "{errors}");
    assert!(told.contains(&format!("Encounter/{id} vanishes")), "{told}");
    assert!(errors.contains("nothing is changed yet"), "{errors}");
    assert_eq!(app.get(&format!("/fhir/Encounter/{id}")).status, 200);
    assert_eq!(folder.run(&["withdraw", "5", "--yes"]).0, 2, "why is asked for");
    let (code, _, errors) = folder.run(&["withdraw", "5", "--yes", "--because", "a test message"]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(app.get(&format!("/fhir/Encounter/{id}")).status, 410);
    assert_eq!(app.get(&format!("/fhir/Encounter/{id}/_history")).status, 200);
    assert!(stays(&right).is_empty());
    let (code, told, errors) = folder.run(&["withdraw", "5", "--restore", "--format", "ndjson"]);
    assert_eq!(code, 0, "{errors}");
    assert!(told.lines().any(|line| line.contains(&id) && line.contains(r#""change":"appears""#)), "{told}");
    let (code, _, errors) = folder.run(&["withdraw", "5", "--restore", "--yes", "--because", "it was none"]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(app.get(&format!("/fhir/Encounter/{id}")).status, 200);
    assert_eq!(stays(&right).len(), 1);
    // What the gateway takes in afterwards is folded into what is there.
    let discharge = adt("A03", "E9", "20260302100000", &right, &[&visit("I", "WARD9", "V7001", "202603011000", "202603021000")]);
    assert!(pas.send(&discharge).expect("a reply").contains("MSA|AA|E9"));
    assert_eq!(stays(&right)[0]["status"], "finished");
    let (code, told, _) = folder.run(&["audit", "verify"]);
    assert_eq!(code, 0, "{told}");
    let log = folder.log();
    assert!(crate::messages::SECRETS.iter().all(|secret| !log.contains(secret)), "the log holds a value of a message");
}

#[test]
fn the_time_line_of_a_record_tells_each_message_and_what_it_changed() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let mut pas = gateway.sender("pas");
    let person = Person::ottoline();
    let moved = Person { line: "9 Larkspur Lane".into(), ..person.clone() };
    for message in [
        adt("A28", "T1", "20260301093000", &person, &[]),
        adt("A31", "T2", "20260301103000", &moved, &[]),
        adt("A31", "T3", "20260301103000", &moved, &[]),
        adt("A28", "T4", "20260301093000", &Person::number(5), &[]),
    ] {
        assert!(pas.send(&message).expect("a reply").contains("MSA|AA"));
    }
    assert_eq!(folder.run(&["withdraw", "2", "--yes", "--because", "a test"]).0, 0);
    assert_eq!(folder.run(&["withdraw", "3", "--yes", "--because", "a test"]).0, 0);
    let by_number = format!("https://fhir.nhs.uk/Id/nhs-number|{}", person.nhs);
    let (code, told, errors) = folder.run(&["patient", &by_number, "--format", "json"]);
    assert_eq!(code, 0, "{errors}");
    let record: Value = serde_json::from_str(&told).expect("JSON");
    let moments = record["moments"].as_array().expect("moments");
    let what = |moment: &Value| {
        let action = moment["mend"]["action"].as_str().unwrap_or("came").to_owned();
        let paths =
            moment["changes"].as_array().expect("changes").iter().flat_map(|change| change["elements"].as_array().expect("elements"));
        (moment["position"].as_u64().expect("a position"), action, paths.map(|element| element["path"].to_string()).collect::<Vec<_>>())
    };
    let told: Vec<_> = moments.iter().map(what).collect();
    let told: Vec<(u64, &str, usize)> = told.iter().map(|(position, action, paths)| (*position, action.as_str(), paths.len())).collect();
    let first = told[0].2;
    assert!(first > 3, "a new record has many elements: {told:?}");
    assert_eq!(told, [(1, "came", first), (2, "came", 1), (3, "came", 0), (2, "withdraw", 0), (3, "withdraw", 1)], "{record:#}");
    assert_eq!(moments[1]["changes"][0]["elements"][0]["path"], "address[0].line[0]", "{record:#}");
    let id = record["patients"][0].as_str().expect("an id");
    let (code, text, _) = folder.run(&["patient", id]);
    assert_eq!(code, 0);
    assert!(text.contains(r#"address[0].line[0]: "4 Larkspur Lane" -> "9 Larkspur Lane""#), "{text}");
    assert!(text.contains("3: ADT^A31 T3 of pas, withdrawn\n  changed nothing"), "{text}");
    let (code, _, errors) = folder.run(&["patient", "urn:nobody|1"]);
    assert!(code == 1 && errors.contains("there is no record"), "{errors}");
    // An identifier finds the frames of the journal too, and each asking is written down with the patient.
    assert_eq!(listed(&folder, &["--patient", &by_number]), [1, 2, 3]);
    let auditor = gateway.app(&folder.token("system/AuditEvent.rs", None));
    let seen = auditor.search(&format!("/fhir/AuditEvent?patient={id}"));
    let showings = seen.iter().filter(|event| event["type"]["code"] == "access").count();
    assert_eq!(showings, 5, "two previews, two time lines, one list");
}
