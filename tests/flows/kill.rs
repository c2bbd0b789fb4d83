//! `kill -9` under load: nothing acknowledged is lost, nothing is journaled or versioned twice, the audit stays whole.

use crate::messages::{Person, adt};
use flows::{Folder, Gateway};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const SENDERS: usize = 8;

/// Rounds of the whole test; `LANDBRIDGE_KILLS` asks for another count.
const KILLS: usize = 100;

/// What one sender knows: as a real one, it sends a message again until it is acknowledged.
struct Desk {
    person: Person,
    next: usize,
    acknowledged: Vec<String>,
}

#[test]
fn kill_nine_loses_nothing_acknowledged_and_repeats_nothing() {
    let kills = std::env::var("LANDBRIDGE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let folder = Folder::new();
    let desks: Vec<Mutex<Desk>> =
        (0..SENDERS).map(|n| Mutex::new(Desk { person: Person::number(n), next: 0, acknowledged: Vec::new() })).collect();
    for round in 0..kills {
        let gateway = folder.serve();
        // Another number of acknowledgements each round, so that the kill meets every stage of a batch.
        round_until_killed(gateway, &desks, 3 + (round * 37) % 90);
    }
    let gateway = folder.serve();
    let mut count = BTreeMap::new();
    for line in folder.journal() {
        assert!(line["outcome"] == "stored" || line["outcome"] == "stored-with-issues", "{line}");
        *count.entry(line["control_id"].as_str().expect("a text").to_owned()).or_insert(0) += 1;
    }
    let app = gateway.app(&folder.token("system/*.rs", None));
    for desk in &desks {
        let desk = desk.lock().expect("no sender panicked");
        for control in &desk.acknowledged {
            assert_eq!(count.get(control), Some(&1), "{control} was acknowledged");
        }
        let patients = app.search(&format!("/fhir/Patient?identifier={}", desk.person.mrn));
        assert_eq!(patients.len(), 1);
        let history = app.get(&format!("/fhir/Patient/{}/_history?_count=500", patients[0]["id"].as_str().expect("an id")));
        assert_eq!(history.status, 200);
        let bundle = history.json();
        let mut bodies = BTreeSet::new();
        for entry in bundle["entry"].as_array().expect("versions") {
            let mut body = entry["resource"].clone();
            body.as_object_mut().expect("a resource").remove("meta");
            assert!(bodies.insert(body.to_string()), "two versions with one body");
        }
    }
    assert!(gateway.stop().success());
    assert!(count.values().all(|n| *n == 1), "a frame is journaled once");
    let (code, said, errors) = folder.run(&["audit", "verify"]);
    assert_eq!(code, 0, "{said}{errors}");
}

/// Senders at work; after `acknowledgements` of them the gateway is killed, and the senders see their lines break.
fn round_until_killed(gateway: Gateway, desks: &[Mutex<Desk>], acknowledgements: usize) {
    let seen = AtomicUsize::new(0);
    let process = gateway.process_id().to_string();
    std::thread::scope(|scope| {
        for desk in desks {
            let (seen, process) = (&seen, &process);
            let sender = gateway.try_sender(Some("pas"));
            scope.spawn(move || {
                let Ok(mut sender) = sender else { return };
                let mut desk = desk.lock().expect("one thread a desk");
                loop {
                    let n = desk.next;
                    desk.person.line = format!("{n} Larkspur Lane");
                    let control = format!("{}-{n}", desk.person.mrn);
                    let stamp = format!("202603{:02}{:02}{:02}{:02}", 1 + n / 86_400, n / 3_600 % 24, n / 60 % 60, n % 60);
                    match sender.send(&adt("A31", &control, &stamp, &desk.person, &[])) {
                        Ok(reply) => {
                            assert!(reply.contains(&format!("MSA|AA|{control}")), "{reply}");
                            desk.acknowledged.push(control);
                            desk.next += 1;
                        }
                        Err(_) => return,
                    }
                    if seen.fetch_add(1, Ordering::SeqCst) + 1 == acknowledgements {
                        std::process::Command::new("kill").args(["-KILL", process]).status().expect("kill is there");
                    }
                }
            });
        }
    });
    gateway.kill();
}
