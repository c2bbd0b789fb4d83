//! Clients of others against the running gateway. `tests/run` installs them; without them the test says so and passes over.

use crate::messages::{Person, adt, visit};
use flows::Folder;
use std::path::Path;
use std::process::Command;

#[test]
fn fhirpy_connects_searches_and_pages() {
    python("fhirpy");
}

/// Its models are strict: an element that R4 does not have would fail a whole Bundle.
#[test]
fn fhirclient_connects_searches_and_pages() {
    python("fhirclient");
}

#[test]
fn fhir_kit_client_connects_searches_and_pages() {
    node("fhir-kit-client", "fhir_kit_reads.mjs");
}

#[test]
fn fhirclient_js_finds_the_endpoints_searches_and_pages() {
    node("fhirclient", "fhirclient_js_reads.mjs");
}

/// It prefers XML, which is not served, and its parser is strict.
#[test]
fn the_hapi_client_connects_searches_and_pages() {
    let packages = root().join("../target/hapi");
    if packages.exists() && Command::new("javac").arg("-version").output().is_ok() {
        // Compiled and run as it stands.
        reads(Command::new("java").arg("-cp").arg(packages.join("*")), "hapi/Reads.java");
    } else {
        passed_over("the HAPI client");
    }
}

fn node(package: &str, script: &str) {
    let packages = root().join("../target/npm/node_modules");
    if packages.join(package).exists() {
        reads(Command::new("node").env("NODE_CLIENTS", packages), script);
    } else {
        passed_over(package);
    }
}

fn python(package: &str) {
    let python = root().join("../target/clients/bin/python");
    let installed = Command::new(&python).args(["-c", &format!("import {package}")]).output();
    if installed.is_ok_and(|output| output.status.success()) {
        reads(&mut Command::new(python), &format!("{package}_reads.py"));
    } else {
        passed_over(package);
    }
}

fn passed_over(package: &str) {
    eprintln!("passed over: {package} is not installed (tests/run installs it)");
}

/// Five patients with a visit each, read by a script of `tests/clients`.
fn reads(client: &mut Command, script: &str) {
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
    let ca = folder.path().join("tls/ca.pem");
    let output = client
        .env("NODE_EXTRA_CA_CERTS", &ca)
        .arg(root().join("clients").join(script))
        .args([&base, &folder.token("system/*.rs", None)])
        .arg(&ca)
        .args(["MRN80003", "5", &folder.token("system/Encounter.rs", None)])
        .output()
        .expect("the client starts");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    drop(gateway);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
