//! Is the boundary safe? As those in charge ask it, beside the running gateway.

use crate::messages::{Person, adt};
use flows::Folder;
use serde_json::Value;
use std::cell::Cell;
use std::net::TcpListener;

fn findings(folder: &Folder) -> (Value, Vec<String>) {
    let (code, output, errors) = folder.run(&["findings", "--format", "json"]);
    assert_eq!(code, 0, "{errors}");
    let told: Value = serde_json::from_str(&output).unwrap();
    let kinds = told["findings"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect();
    (told, kinds)
}

#[test]
fn what_is_not_safe_is_told_in_words_and_numbers() {
    let folder = Folder::new();
    let observe = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
    let in_observe = Cell::new(false);
    folder.edit(|line| {
        in_observe.set(if line.starts_with('[') { line == "[observe]" } else { in_observe.get() });
        if in_observe.get() && line.starts_with("listen") { format!("listen = \"{observe}\"") } else { line.into() }
    });
    let gateway = folder.serve();
    // Nothing came yet: but these keys are for trying, and the seals stay where the log is.
    let (told, kinds) = findings(&folder);
    assert_eq!((told["state"].as_str(), kinds), (Some("unsafe"), vec!["development-material".to_owned(), "seals-stay".to_owned()]));
    let mut pas = gateway.sender("pas");
    pas.send(&adt("A28", "P1", "20260301093000", &Person::ottoline(), &[])).unwrap();
    pas.send(&adt("Z99", "P2", "20260301093000", &Person::ottoline(), &[])).unwrap();
    gateway.app(&folder.token("system/*.rs", None)).search("/fhir/Patient");
    gateway.app(&folder.token("system/Patient.rs", None)).search("/fhir/Patient");
    let (told, kinds) = findings(&folder);
    for kind in ["quarantine", "wide-token"] {
        assert_eq!(kinds.iter().filter(|known| *known == kind).count(), 1, "{kinds:?}");
    }
    let waiting = told["findings"].as_array().unwrap().iter().find(|one| one["kind"] == "quarantine").unwrap();
    assert_eq!((waiting["about"].as_str(), waiting["count"].as_u64()), (Some("feed pas"), Some(1)));
    assert!(waiting["do"].as_str().unwrap().contains("landbridge journal list --waiting --feed pas"));
    let (code, output, _) = folder.run(&["findings", "--fail-on", "unsafe"]);
    assert!(code == 1 && output.starts_with("Unsafe: 1 finding, and ") && output.contains("Do: "), "{output}");
    assert!(!output.contains("Quillfeather") && !output.contains("MRN70001"));
    // On one screen; its exit code says whether the gateway serves.
    let (code, output, _) = folder.run(&["status"]);
    assert!(code == 0 && output.contains("runs, and is ready") && output.contains("Unsafe: 1 finding"), "{output}");
    assert!(output.lines().any(|line| line.split_whitespace().take(5).eq(["pas", "hl7v2", "2", "2", "1"])), "{output}");
    gateway.stop();
    let (code, output, _) = folder.run(&["status"]);
    assert!(code == 1 && output.contains("does not run"), "{output}");
}
