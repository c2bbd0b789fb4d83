//! Relays: a gateway between a sender and the engine that the hospital has.

use crate::messages::{Person, SECRETS, adt, oru, visit};
use flows::{Folder, Gateway, free_address, say_plainly};
use rusqlite::Connection;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
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
    // On a plain line nobody is proven, so what the feed may not say is kept nowhere: that is told, of both times.
    let unkept: Vec<&str> = metrics.lines().filter(|line| line.starts_with("landbridge_relay_unkept_total{")).collect();
    assert_eq!(unkept, ["landbridge_relay_unkept_total{listener=\"mllp.plain\",reason=\"refused\"} 2"]);
    assert!(metrics.contains("landbridge_relay_messages_total{feed=\"old\",result=\"unreached\"} 1"), "{metrics}");
    let events = gateway.app(&folder.token("system/AuditEvent.rs", None)).search("/fhir/AuditEvent");
    assert!(events.iter().any(|event| event["type"]["code"] == "110106"), "that it was passed on is in the audit");
    assert!(gateway.stop().success());
    let (_, told, errors) = folder.run(&["findings", "--format", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{errors}"));
    let lost = told["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["kind"] == "relay-unkept")
        .unwrap_or_else(|| panic!("no finding: {told}"));
    assert_eq!((lost["about"].as_str(), lost["count"].as_u64()), (Some("mllp.plain"), Some(2)));
    let log = folder.log();
    for secret in SECRETS {
        assert!(!log.contains(secret), "the log holds a value of a message: {secret}");
    }
}

/// An engine that tells what it heard, and takes what it is told to.
struct Desk {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    /// Refuses messages whose control id begins with `D`.
    refuses: Arc<AtomicBool>,
    /// Closes each line unanswered.
    away: Arc<AtomicBool>,
}

impl Desk {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let desk = Self {
            address: listener.local_addr().expect("an address"),
            heard: Arc::default(),
            refuses: Arc::new(AtomicBool::new(true)),
            away: Arc::default(),
        };
        let (heard, refuses, away) = (desk.heard.clone(), desk.refuses.clone(), desk.away.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, heard, refuses, away) = (stream.expect("a line"), heard.clone(), refuses.clone(), away.clone());
                std::thread::spawn(move || {
                    while let Some(message) = hear(&mut stream) {
                        if away.load(Ordering::SeqCst) {
                            return;
                        }
                        let control = message.split('|').nth(9).expect("MSH-10").to_owned();
                        let code = if control.starts_with('D') && refuses.load(Ordering::SeqCst) { "AE" } else { "AA" };
                        heard.lock().expect("no panic").push(control.clone());
                        let reply = format!("\x0bMSH|^~\\&|||||||ACK|1\rMSA|{code}|{control}\r\x1c\r");
                        if stream.write_all(reply.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        desk
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").clone()
    }

    fn until_heard(&self, control: &str, times: usize) {
        while self.heard().iter().filter(|heard| *heard == control).count() < times {
            std::thread::yield_now();
        }
    }
}

/// One framed message.
fn hear(stream: &mut TcpStream) -> Option<String> {
    let mut heard = Vec::new();
    while !heard.ends_with(&[0x1c, 0x0d]) {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => heard.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(heard).ok()
}

/// What `relay list` tells: position, control id, state, last word.
fn listed(folder: &Folder) -> Vec<(u64, String, String, String)> {
    let (code, lines, errors) = folder.run(&["relay", "list", "--ndjson"]);
    assert_eq!(code, 0, "{errors}");
    let text = |line: &Value, name: &str| line[name].as_str().expect(name).to_owned();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .map(|line| (line["position"].as_u64().expect("a number"), text(&line, "control_id"), text(&line, "state"), text(&line, "reason")))
        .collect()
}

#[test]
fn after_the_commit_messages_go_in_order_and_what_is_refused_is_given_up_and_sent_again() {
    let desk = Desk::open();
    let folder = Folder::new();
    with_relay(&folder, &format!("to = \"{}\", mode = \"after-commit\", tls = \"none\"", desk.address));
    let gateway = folder.serve();
    let mut sender = TcpStream::connect(gateway.address("mllp.plain")).expect("the door opens");
    let person = Person::ottoline();
    let mut say = |event: &str, control: &str, code: &str| {
        let stamp = "20260301093000";
        let reply = say_plainly(&mut sender, &adt(event, control, stamp, &person, &[])).expect("our own reply");
        assert!(reply.contains(&format!("MSA|{code}|{control}")), "{reply}");
    };
    // D2 is refused three times, and R3 goes; what we cannot translate goes too, what the feed may not say does not.
    say("A28", "R1", "AA");
    say("A31", "D2", "AA");
    say("A31", "R3", "AA");
    say("A60", "U4", "AA");
    let report = say_plainly(
        &mut TcpStream::connect(gateway.address("mllp.plain")).expect("the door opens"),
        &oru("R5", "20260301093000", &person, "O1", "F", "1"),
    );
    assert!(report.expect("a reply").contains("MSA|AR|"));
    desk.until_heard("U4", 1);
    assert_eq!(desk.heard(), ["R1", "D2", "D2", "D2", "R3", "U4"]);
    let settled = |left: usize| loop {
        let letters = listed(&folder);
        if letters.len() == left {
            break letters;
        }
    };
    let dead = settled(1);
    assert_eq!((dead[0].1.as_str(), dead[0].2.as_str(), dead[0].3.as_str()), ("D2", "dead", "AE"));
    // Mended there, it is sent again; a repeat of ours is not.
    desk.refuses.store(false, Ordering::SeqCst);
    let (code, said, errors) = folder.run(&["relay", "replay", "--dead"]);
    assert_eq!(code, 0, "{said}{errors}");
    say("A31", "R3", "AA");
    desk.until_heard("D2", 4);
    settled(0);
    assert_eq!(desk.heard().last().map(String::as_str), Some("D2"));
    // While the engine does not answer all wait for the first; a person may give it up.
    desk.away.store(true, Ordering::SeqCst);
    say("A31", "W6", "AA");
    say("A31", "W7", "AA");
    let waiting = settled(2);
    assert_eq!(waiting.iter().map(|letter| letter.1.as_str()).collect::<Vec<_>>(), ["W6", "W7"]);
    assert_eq!(folder.run(&["relay", "skip", &waiting[0].0.to_string()]).0, 0);
    desk.away.store(false, Ordering::SeqCst);
    desk.until_heard("W7", 1);
    let left = settled(1);
    assert_eq!((left[0].1.as_str(), left[0].3.as_str()), ("W6", "skipped"));
    assert!(!desk.heard().contains(&"W6".to_owned()));
    assert_eq!(folder.run(&["relay", "skip", "1"]).0, 1, "it does not wait");
    assert_eq!(folder.run(&["relay", "replay", "99"]).0, 1, "there is no such position");
    let told = |line: &str| while !gateway.observe("/metrics").1.contains(line) {};
    told("landbridge_relay_dead_letters{feed=\"old\"} 1\n");
    told("landbridge_relay_backlog{feed=\"old\"} 0\n");
    told("landbridge_relay_messages_total{feed=\"old\",result=\"refused\"} 3\n");
    let events = gateway.app(&folder.token("system/AuditEvent.rs", None)).search("/fhir/AuditEvent?_count=100");
    let out = events.iter().filter(|event| event["type"]["code"] == "110106").collect::<Vec<_>>();
    let of_patients = out.iter().filter(|event| event["outcome"] == "0" && event["entity"].to_string().contains("Patient/")).count();
    assert!(of_patients >= 4, "what went out names its patients: {of_patients}");
    assert_eq!(out.iter().filter(|event| event["outcome"] == "4" && event["outcomeDesc"] == "AE").count(), 3);
    assert!(gateway.stop().success());
    assert_eq!(folder.run(&["audit", "verify"]).0, 0);
    let log = folder.log();
    assert!(log.contains("a dead letter"), "{log}");
    for secret in SECRETS {
        assert!(!log.contains(secret), "the log holds a value of a message: {secret}");
    }
}

/// `near` passes on what its feed `pas` says to the same of `far`, over mutual TLS by these files.
fn passes_on(near: &Folder, far: &Folder, files: &Path) {
    let door = free_address();
    let in_mllp = std::cell::Cell::new(false);
    far.edit(|line| {
        if line.starts_with('[') {
            in_mllp.set(line == "[mllp.main]");
        }
        if in_mllp.get() && line.starts_with("listen") { format!("listen = \"{door}\"") } else { line.into() }
    });
    let file = |name: &str| files.join(name).to_str().expect("UTF-8 path").to_owned();
    let relay = format!(
        "relay = {{ to = \"{door}\", mode = \"after-commit\", tls = {{ ca = \"{}\", certificate = \"{}\", key = \"{}\", server_name = \"localhost\" }} }}",
        file("tls/ca.pem"),
        file("clients/pas.pem"),
        file("clients/pas.key")
    );
    near.edit(|line| if line == "[feed.pas]" { format!("{line}\n{relay}") } else { line.into() });
}

/// All that waits is delivered, and no letter is dead.
fn settle(near: &Folder) {
    let outbox = Connection::open(near.path().join("data/landbridge.db")).expect("the store");
    let left = |state: &str| -> i64 {
        outbox.query_row("SELECT count(*) FROM relay WHERE state = ?1", [state], |row| row.get(0)).expect("a number")
    };
    while left("waiting") > 0 {
        std::thread::yield_now();
    }
    assert_eq!(left("dead"), 0);
}

/// Control ids in the order of the journal.
fn controls(folder: &Folder) -> Vec<String> {
    let lines = folder.journal();
    lines.iter().map(|line| line["control_id"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn certificates_of_a_relay_are_rotated_on_both_sides_while_messages_go() {
    let (near, far, other) = (Folder::new(), Folder::new(), Folder::new());
    let files = near.path().join("relay");
    let read = |folder: &Folder, name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
    let write = |file: PathBuf, text: String| fs::write(file, text).expect("written");
    for folder in ["tls", "clients"] {
        fs::create_dir_all(files.join(folder)).expect("a folder");
    }
    for name in ["tls/ca.pem", "clients/pas.pem", "clients/pas.key"] {
        write(files.join(name), read(&far, name));
    }
    passes_on(&near, &far, &files);
    let (ours, theirs) = (near.serve(), far.serve());
    let hang_up = |gateway: &Gateway| {
        assert!(Command::new("kill").args(["-HUP", &gateway.process_id().to_string()]).status().expect("kill is there").success());
    };
    let until = |folder: &Folder, word: &str| {
        while !folder.log().contains(word) {
            std::thread::yield_now();
        }
    };
    let (over, said) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..SENDERS {
            let (over, said, mut line) = (&over, &said, ours.sender("pas"));
            scope.spawn(move || {
                let person = Person::number(number);
                for n in 0.. {
                    let (control, stamp) = (format!("S{number}N{n}"), format!("2026030110{:02}{:02}", n / 60 % 60, n % 60));
                    let reply = line.send(&adt("A31", &control, &stamp, &person, &[])).expect("the line stays open");
                    assert!(reply.contains(&format!("MSA|AA|{control}")), "{reply}");
                    said.fetch_add(1, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        let go_on = || {
            let before = said.load(Ordering::SeqCst);
            while said.load(Ordering::SeqCst) < before + 4 * SENDERS {
                std::thread::yield_now();
            }
        };
        go_on();
        // Both trust both, and the relay shows the new certificate on lines to come.
        let both = |name: &str| read(&far, name) + "\n" + &read(&other, name);
        write(files.join("tls/ca.pem"), both("tls/ca.pem"));
        write(far.path().join("tls/clients-ca.pem"), both("tls/clients-ca.pem"));
        for name in ["clients/pas.pem", "clients/pas.key"] {
            write(files.join(name), read(&other, name));
        }
        hang_up(&theirs);
        until(&far, "certificates of mllp.main");
        hang_up(&ours);
        until(&near, "certificates of feed.pas.relay");
        go_on();
        // The next hop is another, and trusts the new authority alone: the line of before ends, the next shows what is new.
        for name in ["tls/clients-ca.pem", "tls/server.pem", "tls/server.key"] {
            write(far.path().join(name), read(&other, name));
        }
        hang_up(&theirs);
        let distrusted = "landbridge_connections_refused_total{listener=\"mllp.main\",reason=\"distrusted\"} 1";
        while !theirs.observe("/metrics").1.contains(distrusted) {
            std::thread::yield_now();
        }
        go_on();
        // What does not fit changes nothing, and is told.
        write(files.join("clients/pas.key"), "half written".into());
        hang_up(&ours);
        until(&near, "what was in force stays");
        go_on();
        over.store(true, Ordering::SeqCst);
    });
    settle(&near);
    assert!(ours.stop().success());
    assert!(theirs.stop().success());
    assert_eq!(controls(&near).len(), said.load(Ordering::SeqCst), "each acknowledged message once");
    assert_eq!(controls(&near), controls(&far), "each once, in the order in which it was acknowledged");
    for folder in [&near, &far] {
        let (code, said, errors) = folder.run(&["audit", "verify"]);
        assert_eq!(code, 0, "{said}{errors}");
    }
}

/// Rounds of the kill test; `LANDBRIDGE_KILLS` asks for another count.
const KILLS: usize = 50;
const SENDERS: usize = 4;

/// What one sender knows: it sends a message again until it is acknowledged.
struct Ward {
    person: Person,
    next: usize,
}

#[test]
fn kill_nine_of_either_side_loses_nothing_and_keeps_the_order_of_a_connection() {
    let kills = std::env::var("LANDBRIDGE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    // The next hop is a gateway too, over mutual TLS: its journal is the order in which it took messages.
    let (near, far) = (Folder::new(), Folder::new());
    passes_on(&near, &far, far.path());
    let wards: Vec<Mutex<Ward>> = (0..SENDERS).map(|n| Mutex::new(Ward { person: Person::number(n), next: 0 })).collect();
    let (mut here, mut there) = (None, None);
    for round in 0..kills {
        let ours = here.take().unwrap_or_else(|| near.serve());
        let theirs = there.take().unwrap_or_else(|| far.serve());
        // Another number of acknowledgements each round, so that the kill meets every stage.
        let acknowledgements = 3 + (round * 37) % 50;
        if round % 2 == 0 {
            send_until(&ours, &wards, acknowledgements, ours.process_id(), acknowledgements);
            ours.kill();
            there = Some(theirs);
        } else {
            send_until(&ours, &wards, acknowledgements, theirs.process_id(), 2 * acknowledgements);
            theirs.kill();
            here = Some(ours);
        }
    }
    let ours = here.take().unwrap_or_else(|| near.serve());
    let theirs = there.take().unwrap_or_else(|| far.serve());
    settle(&near);
    assert!(ours.stop().success());
    assert!(theirs.stop().success());
    let (sent, taken) = (controls(&near), controls(&far));
    assert_eq!(sent, taken, "each once, in the order in which it was acknowledged");
    for ward in &wards {
        let ward = ward.lock().expect("no sender panicked");
        let own: Vec<&String> = taken.iter().filter(|control| control.starts_with(&format!("{}-", ward.person.mrn))).collect();
        let expected: Vec<String> = (0..own.len()).map(|n| format!("{}-{n}", ward.person.mrn)).collect();
        assert!(own.len() >= ward.next, "nothing acknowledged is lost");
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
    for folder in [&near, &far] {
        let (code, said, errors) = folder.run(&["audit", "verify"]);
        assert_eq!(code, 0, "{said}{errors}");
    }
}

/// Senders at work; after so many acknowledgements a process is killed, and after so many in all they stop, or their lines break.
fn send_until(gateway: &Gateway, wards: &[Mutex<Ward>], kill_at: usize, process: u32, stop_at: usize) {
    let seen = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for ward in wards {
            let (seen, sender) = (&seen, gateway.try_sender(Some("pas")));
            scope.spawn(move || {
                let Ok(mut sender) = sender else { return };
                let mut ward = ward.lock().expect("one thread a ward");
                loop {
                    let n = ward.next;
                    let control = format!("{}-{n}", ward.person.mrn);
                    let stamp = format!("202603{:02}{:02}{:02}{:02}", 1 + n / 86_400, n / 3_600 % 24, n / 60 % 60, n % 60);
                    match sender.send(&adt("A31", &control, &stamp, &ward.person, &[])) {
                        Ok(reply) => assert!(reply.contains(&format!("MSA|AA|{control}")), "{reply}"),
                        Err(_) => return,
                    }
                    ward.next += 1;
                    let seen = seen.fetch_add(1, Ordering::SeqCst) + 1;
                    if seen == kill_at {
                        Command::new("kill").args(["-KILL", &process.to_string()]).status().expect("kill is there");
                    }
                    if seen >= stop_at {
                        return;
                    }
                }
            });
        }
    });
}
