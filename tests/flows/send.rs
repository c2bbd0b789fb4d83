//! `landbridge send`: messages go out as a sender would send them, and the exit code tells whether all were accepted.

use crate::messages::{Person, adt, visit};
use flows::{Folder, Gateway, run};

/// `send` to the gateway's MLLP door with the certificate of this sender.
fn send(folder: &Folder, gateway: &Gateway, sender: &str, more: &[&str]) -> (i32, String, String) {
    let file = |name: String| folder.path().join(name).to_str().expect("UTF-8 path").to_owned();
    let to = gateway.address("mllp.main").to_string();
    let (certificate, key, ca) = (file(format!("clients/{sender}.pem")), file(format!("clients/{sender}.key")), file("tls/ca.pem".into()));
    let tls = ["--certificate", &certificate, "--key", &key, "--ca", &ca, "--server-name", "localhost"];
    run(&[&["send", &to], &tls[..], more].concat())
}

#[test]
fn a_folder_is_sent_over_several_connections_and_repeats_are_told_from_new_messages() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let files = folder.path().join("outgoing");
    std::fs::create_dir(&files).expect("a folder");
    for n in 0..6 {
        let message = adt("A31", &format!("S{n}"), "20260301093000", &Person::number(n), &[]);
        std::fs::write(files.join(format!("{n}.hl7")), message).expect("it can be written");
    }
    let path = files.to_str().expect("UTF-8 path");
    let (code, said, errors) = send(&folder, &gateway, "pas", &["--connections", "3", path]);
    assert_eq!(code, 0, "{said}{errors}");
    assert!(said.contains("6 of 6 acknowledged") && said.contains("codes: AA 6") && said.contains("p99"), "{said}");
    assert_eq!(folder.journal().len(), 6);
    // The same control ids again are repeats; new ones are messages.
    assert_eq!(send(&folder, &gateway, "pas", &["--count", "2", path]).0, 0);
    assert_eq!(folder.journal().len(), 6);
    assert_eq!(send(&folder, &gateway, "pas", &["--count", "2", "--renumber", "--rate", "1000", path]).0, 0);
    assert_eq!(folder.journal().len(), 18);
}

#[test]
fn what_is_refused_or_cannot_be_sent_is_told_with_its_place() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let file = folder.path().join("admission.hl7");
    let person = Person::ottoline();
    std::fs::write(&file, adt("A01", "S1", "20260301093000", &person, &[&visit("I", "WARD1", "V1", "202603010930", "")])).expect("written");
    let path = file.to_str().expect("UTF-8 path");
    // The laboratory may not speak for patient administration.
    let (code, said, errors) = send(&folder, &gateway, "lab", &[path]);
    assert_eq!(code, 1, "{said}{errors}");
    assert!(said.contains("codes: AR 1") && errors.contains("admission.hl7 message 0: AR"), "{said}{errors}");
    for secret in crate::messages::SECRETS {
        assert!(!said.contains(secret) && !errors.contains(secret));
    }
    let missing = folder.path().join("missing.hl7");
    assert_eq!(send(&folder, &gateway, "pas", &[missing.to_str().expect("UTF-8 path")]).0, 2);
    // Plain to a door that wants TLS: no acknowledgement, and never a good end.
    let to = gateway.address("mllp.main").to_string();
    let (code, said, errors) = run(&["send", &to, path]);
    assert_eq!(code, 1, "{said}{errors}");
    assert!(said.contains("0 of 1 acknowledged"), "{said}");
    assert!(gateway.stop().success());
    let (code, _, errors) = run(&["send", &to, path]);
    assert_eq!(code, 1);
    assert!(errors.contains("connection refused"), "{errors}");
}
