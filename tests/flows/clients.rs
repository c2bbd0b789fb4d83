//! Clients of others against the running gateway. `tests/run` installs them; without them the test says so and passes over.

use crate::messages::{Person, adt, visit};
use flows::Folder;
use std::path::Path;
use std::process::Command;

#[test]
fn fhirpy_connects_searches_and_pages() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../target/clients/bin/python");
    if !python.exists() {
        eprintln!("passed over: fhirpy is not installed (tests/run installs it)");
        return;
    }
    let folder = Folder::new();
    let base = folder.publish();
    let gateway = folder.serve();
    let mut pas = gateway.sender("pas");
    for n in 0..5 {
        let (control, number) = (format!("F{n}"), format!("V6{n}"));
        let reply =
            pas.send(&adt("A01", &control, "20260301093000", &Person::number(n), &[&visit("I", "WARD1", &number, "202603010930", "")]));
        assert!(reply.expect("a reply").contains("MSA|AA"));
    }
    let output = Command::new(python)
        .arg(root.join("clients/fhirpy_reads.py"))
        .args([&base, &folder.token("system/*.rs", None)])
        .arg(folder.path().join("tls/ca.pem"))
        .args(["MRN80003", "5"])
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    drop(gateway);
}
