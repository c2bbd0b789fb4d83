//! What changes under a running gateway: no connection ends, no answer is wrong.

use crate::messages::{Person, adt, visit};
use flows::{Folder, Gateway, Sender};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
    let hang_up = || hang_up(&gateway);
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

fn hang_up(gateway: &Gateway) {
    assert!(Command::new("kill").args(["-HUP", &gateway.process_id().to_string()]).status().expect("kill").success());
}

const SENDERS: usize = 16;
const READERS: usize = 16;

#[test]
fn everything_is_rotated_while_32_connections_send_and_read() {
    let (folder, other) = (Folder::new(), Folder::new());
    let schemas = folder.path().join("schemas");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas"), &schemas);
    let gateway = folder.serve_with(&["--schemas", schemas.to_str().expect("UTF-8")]);
    let person = Person::ottoline();
    let bed = visit("I", "WARD1", "V5001", "202603010930", "");
    assert!(gateway.sender("pas").send(&adt("A01", "A1", "20260301093000", &person, &[&bed])).expect("a reply").contains("MSA|AA|A1"));
    let token = folder.token("system/*.rs", None);

    let (over, said, heard) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let (over, said, heard, gateway) = (&over, &said, &heard, &gateway);
    std::thread::scope(|scope| {
        for number in 0..SENDERS {
            let (person, bed) = (&person, &bed);
            let mut line = gateway.sender("pas");
            scope.spawn(move || {
                for count in 0.. {
                    let control = format!("S{number}N{count}");
                    let reply = line.send(&adt("A08", &control, "20260301100000", person, &[bed])).expect("the line stays open");
                    assert!(reply.contains(&format!("MSA|AA|{control}")), "{reply}");
                    said.fetch_add(1, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                }
            });
        }
        for _ in 0..READERS {
            let mut line = gateway.app(&token).keep();
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let (status, body) = line.get("/fhir/Encounter?status=in-progress").expect("the line stays open");
                    let body: Value = serde_json::from_slice(&body).expect("JSON");
                    assert_eq!((status, &body["total"]), (200, &json!(1)), "{body}");
                    heard.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Each is new twice; all go on between.
        for round in 0..2 {
            let (before, taken) = (heard.load(Ordering::SeqCst) + said.load(Ordering::SeqCst), folder.log().matches("taken up\"").count());
            rotate(&folder, &other, round);
            hang_up(gateway);
            while folder.log().matches("taken up\"").count() < taken + 4 {
                std::thread::yield_now();
            }
            while heard.load(Ordering::SeqCst) + said.load(Ordering::SeqCst) < before + 4 * (SENDERS + READERS) {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(!folder.log().contains("stays\""), "nothing was refused: {}", folder.log());
    // Whom the new authority vouches for comes in, and the new issuer's tokens are believed, beside the old ones.
    let mut renewed = Sender::connect(gateway.address("mllp.main"), other.path(), Some("pas")).expect("the door opens");
    assert!(renewed.send(&adt("A08", "R1", "20260301110000", &person, &[&bed])).expect("a reply").contains("MSA|AA|R1"));
    fs::copy(other.path().join("tls/ca.pem"), folder.path().join("tls/ca.pem")).expect("a copy");
    for token in [&token, &other.token("system/*.rs", None)] {
        assert_eq!(gateway.app(token).get("/fhir/Patient").status, 200);
    }
    let journal = folder.journal();
    assert_eq!(journal.len(), 2 + said.load(Ordering::SeqCst), "each acknowledged message once");
}

/// New server certificate, client authorities (old and new), issuer keys (old and new), and table.
fn rotate(folder: &Folder, other: &Folder, round: usize) {
    let read = |folder: &Folder, name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).expect("written");
    let third = Folder::new();
    let fresh = if round == 0 { &third } else { other };
    for name in ["tls/server.pem", "tls/server.key"] {
        write(name, read(fresh, name));
    }
    write("tls/clients-ca.pem", format!("{}\n{}", read(folder, "tls/clients-ca.pem"), read(fresh, "tls/clients-ca.pem")));
    let keys = |text: String| serde_json::from_str::<Value>(&text).expect("JSON")["keys"].as_array().expect("keys").clone();
    let all: Vec<Value> = [folder, fresh].into_iter().flat_map(|folder| keys(read(folder, "keys/issuer.jwks.json"))).collect();
    write("keys/issuer.jwks.json", json!({ "keys": all }).to_string());
    let table = "schemas/hl7v2/codesystems/AdministrativeSex.csv";
    write(table, read(folder, table) + "\n");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("a copy");
        }
    }
}
