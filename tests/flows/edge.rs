//! `landbridge edge`: a sender that speaks plain MLLP on its own machine is known to the gateway by certificate.

use crate::messages::{Person, SECRETS, adt, visit};
use flows::{Beside, Folder, free_address, run, say_plainly};
use std::net::TcpStream;

#[test]
fn a_plain_sender_is_known_by_certificate_and_outlives_the_gateways_restart() {
    let folder = Folder::new();
    let door = free_address();
    let in_mllp = std::cell::Cell::new(false);
    folder.edit(|line| {
        if line.starts_with('[') {
            in_mllp.set(line == "[mllp.main]");
        }
        if in_mllp.get() && line.starts_with("listen") { format!("listen = \"{door}\"") } else { line.into() }
    });
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8 path").to_owned();
    let log = folder.path().join("edge.log");
    let (to, certificate, key, ca) = (door.to_string(), file("clients/pas.pem"), file("clients/pas.key"), file("tls/ca.pem"));
    let edge = ["edge", "--to", &to, "--certificate", &certificate, "--key", &key, "--ca", &ca, "--server-name", "localhost"];
    let told = || std::fs::read_to_string(&log).expect("a log");
    let gateway = folder.serve();
    let beside = Beside::start(&[&edge[..], &["--listen", "127.0.0.1:0"]].concat(), &log);
    let mut sender = TcpStream::connect(beside.address("edge")).expect("the door opens");
    let bed = visit("I", "WARD1", "V5001", "202603010930", "");
    let person = Person::ottoline();
    let admission = adt("A01", "E1", "20260301093000", &person, &[&bed]);
    assert!(say_plainly(&mut sender, &admission).expect("a reply").contains("MSA|AA|E1"));
    // The gateway's own word on what this certificate may not send.
    let report = crate::messages::oru("E2", "20260301100000", &person, "ORD1", "F", "6.30");
    assert!(say_plainly(&mut sender, &report).expect("a reply").contains("MSA|AR|E2"));
    gateway.kill();
    let gateway = folder.serve();
    assert!(say_plainly(&mut sender, &adt("A02", "E3", "20260301120000", &person, &[&bed])).expect("the same line").contains("MSA|AA|E3"));
    assert!(gateway.stop().success());
    // Nobody is there: what is said waits, and the sender that gives up is let go; a stop ends it in order.
    drop(sender);
    assert!(beside.stop().success());
    assert_eq!(
        folder.journal().iter().map(|line| line["control_id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>(),
        ["E1", "E2", "E3"]
    );
    assert!(told().contains("acknowledgements are the gateway's own"), "{}", told());
    for secret in SECRETS {
        assert!(!told().contains(secret), "the log holds a value of a message: {secret}");
    }
}

#[test]
fn an_address_that_is_not_loopback_and_files_that_do_not_fit_are_refused_with_the_reason() {
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8 path").to_owned();
    let (certificate, key, ca) = (file("clients/pas.pem"), file("clients/pas.key"), file("tls/ca.pem"));
    let files = ["--certificate", &certificate, "--key", &key, "--ca", &ca];
    let refused = |more: &[&str]| {
        let (code, _, errors) = run(&[&["edge"], more].concat());
        assert_eq!(code, 2, "{errors}");
        errors
    };
    let outside = refused(&[&files[..], &["--to", "gateway:2575", "--listen", "0.0.0.0:0"]].concat());
    assert!(outside.contains("not loopback") && outside.contains("--anywhere"), "{outside}");
    assert!(refused(&[&files[..], &["--to", "gateway"]].concat()).contains("not HOST:PORT"));
    assert!(refused(&["--to", "gateway:2575", "--ca", &ca]).contains("--certificate"));
    let other = file("clients/lab.key");
    let unfit = refused(&["--to", "gateway:2575", "--certificate", &certificate, "--key", &other, "--ca", &ca]);
    assert!(unfit.contains("the key does not fit the certificate"), "{unfit}");
}
