//! Relays: a gateway between a sender and the engine that the hospital has.

use crate::messages::{Person, SECRETS, adt, oru, visit};
use flows::Folder;
use rusqlite::Connection;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

/// What an MLLP server of another maker says to its n-th frame: not as we would.
fn answer(n: usize) -> Vec<u8> {
    let header = format!("MSH|^~\\&|||||||ACK|{n}");
    let text = match n % 5 {
        0 => format!("\r\n\x0b{header}\rMSA|AE|X{n}\n\x1c\r"),
        1 => format!("\x0b{header}\rMSA|AA|A{n}\r\x1c\r"),
        2 => format!("\x0b{header}\rMSA|CA|A{n}\x1c\r\x0b{header}\rMSA|AA|A{n}\x1c\n"),
        // No acknowledgement, and no frame.
        3 => "\x0b\x06\x1c\r".to_owned(),
        _ => format!("noise {n}\x0bMSA|AR\x1c\r"),
    };
    text.into_bytes()
}

/// That server, for one connection; gives what it heard.
fn engine(listener: &TcpListener) -> JoinHandle<Vec<u8>> {
    let listener = listener.try_clone().expect("a handle");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut heard, mut frames) = (Vec::new(), 0);
        loop {
            let mut chunk = [0; 1024];
            let read = stream.read(&mut chunk).unwrap_or(0);
            if read == 0 {
                return heard;
            }
            heard.extend_from_slice(&chunk[..read]);
            for _ in chunk[..read].iter().filter(|byte| **byte == 0x1c) {
                frames += 1;
                stream.write_all(&answer(frames)).expect("the sender is there");
            }
        }
    })
}

/// What a sender says, a step each: it waits for what is answered to a step. Framed as senders frame.
fn script() -> Vec<Vec<u8>> {
    let (person, bed) = (Person::ottoline(), visit("I", "WARD1", "V5001", "202603010930", ""));
    let message = |event: &str, control: &str, stamp: &str| adt(event, control, stamp, &person, &[&bed]);
    let framed = |message: &[u8]| [b"\x0b", message, b"\x1c\r"].concat();
    let long = adt("A08", "R6", "20260301150000", &person, &[&bed, &format!("NTE|1||{}", "x".repeat(40_000))]);
    vec![
        framed(&message("A01", "R1", "20260301093000")),
        [framed(&message("A02", "R2", "20260301100000")), framed(&message("A08", "R3", "20260301110000"))].concat(),
        [b"noise".to_vec(), framed(&message("A08", "R4", "20260301120000")), b"\n\n".to_vec()].concat(),
        framed(b"PID|1||no header"),
        // What the feed does not accept goes through all the same.
        framed(&oru("R5", "20260301130000", &person, "ORD1", "F", "6.30")),
        framed(&long),
        // The trailer left out.
        [b"\x0b", &message("A08", "R7", "20260301160000")[..], b"\x1c"].concat(),
    ]
}

/// Of the script, what the feed stores.
const STORED: i64 = 6;

/// A sender's way through its script: what it heard.
fn send(address: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the door opens");
    let (mut heard, mut frames) = (Vec::new(), 0);
    for step in script() {
        stream.write_all(&step).expect("it is read");
        let ended = step.iter().filter(|byte| **byte == 0x1c).count();
        let expected: usize = (frames + 1..=frames + ended).map(|n| answer(n).len()).sum();
        frames += ended;
        let mut answers = vec![0; expected];
        stream.read_exact(&mut answers).expect("an answer to each");
        heard.extend(answers);
    }
    stream.shutdown(Shutdown::Write).expect("it is open");
    stream.read_to_end(&mut heard).expect("it ends");
    heard
}

/// A plain sender's feed `old` with this relay, beside those that are there.
fn with_relay(folder: &Folder, relay: &str) {
    let file = folder.path().join("landbridge.toml");
    let text = std::fs::read_to_string(&file).expect("a configuration");
    let feed = format!(
        "[mllp.plain]\nlisten = \"127.0.0.1:0\"\ntls = \"none\"\n[feed.old]\nlistener = \"mllp.plain\"\nadapter = \"hl7v2\"\n\
         sender = {{ application = \"PAS\", facility = \"RXX\" }}\nassigners = {{ RXX = \"https://hospital.example/id/mrn\" }}\n\
         primary_assigner = \"RXX\"\naccepts = [\"ADT\"]\nrelay = {{ {relay} }}\n"
    );
    std::fs::write(&file, text + &feed).expect("it can be written");
}

#[test]
fn a_transparent_relay_changes_no_byte_even_while_the_store_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to = listener.local_addr().expect("an address");
    // Without us.
    let direct = engine(&listener);
    let heard = send(to);
    let said = direct.join().expect("the engine ends");
    assert_eq!(said, script().concat());

    let folder = Folder::new();
    with_relay(&folder, &format!("to = \"{to}\", mode = \"transparent\", tls = \"none\""));
    let gateway = folder.serve();
    let door = gateway.address("mllp.plain");
    let database = |name: &str| Connection::open(folder.path().join("data").join(name)).expect("the store");
    let reader = database("landbridge.db");
    let stored = || -> i64 {
        let sql = "SELECT coalesce(sum(repeats + 1), 0) FROM journal WHERE outcome LIKE 'stored%'";
        reader.query_row(sql, [], |row| row.get(0)).expect("a number")
    };
    let through = engine(&listener);
    assert_eq!(send(door), heard, "the sender hears the engine's own words");
    assert_eq!(through.join().expect("the engine ends"), said, "the engine hears the sender's own words");
    while stored() < STORED {}

    // Nothing can be written: another holds the files.
    let held = [database("landbridge.db"), database("access.db")];
    held.iter().for_each(|file| file.execute_batch("BEGIN IMMEDIATE").expect("the lock"));
    let through = engine(&listener);
    assert_eq!(send(door), heard);
    assert_eq!(through.join().expect("the engine ends"), said);
    assert_eq!(stored(), STORED);
    drop(held);
    // What waited is kept.
    while stored() < 2 * STORED {}
    // Where the engine is away the line is closed, as it would be without us.
    drop(listener);
    let mut line = TcpStream::connect(door).expect("the door opens");
    let mut rest = Vec::new();
    line.read_to_end(&mut rest).expect("it ends");
    assert_eq!(rest, b"");

    let (_, metrics) = gateway.observe("/metrics");
    assert!(!metrics.contains("landbridge_relay_unkept_total{"), "{metrics}");
    assert!(metrics.contains("landbridge_relay_messages_total{feed=\"old\",result=\"unreached\"} 1"), "{metrics}");
    let events = gateway.app(&folder.token("system/AuditEvent.rs", None)).search("/fhir/AuditEvent");
    assert!(events.iter().any(|event| event["type"]["code"] == "110106"), "that it was passed on is in the audit");
    assert!(gateway.stop().success());
    let log = folder.log();
    for secret in SECRETS {
        assert!(!log.contains(secret), "the log holds a value of a message: {secret}");
    }
}
