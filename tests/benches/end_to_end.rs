//! How fast messages cross, end to end over loopback: acknowledged, durable and readable. Beside each run stand what
//! this machine's disk gives bare (fdatasync, SQLite inserts), because no figure means anything without them.
//!
//! `cargo build --release && cargo bench --bench end_to_end`. `LANDBRIDGE_BENCH_MESSAGES` sets the messages a run
//! (default 4000 ADT, a quarter of it ORU).

mod load;

use flows::Folder;
use load::{Mix, adt_mix, oru_twenty};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn main() {
    let messages = std::env::var("LANDBRIDGE_BENCH_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(4000);
    disk();
    for connections in [1, 8, 64] {
        crossing("ADT mix", messages, connections, adt_mix);
    }
    for connections in [1, 8, 64] {
        crossing("ORU with 20 OBX", messages / 4, connections, oru_twenty);
    }
    reading(20_000);
}

/// fdatasync of 4 KiB appended, and one-row transactions of 2 KiB in SQLite (WAL, FULL).
fn disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut file = std::fs::File::create(folder.path().join("sync")).expect("a file");
    let rate = per_second(Duration::from_secs(2), || {
        file.write_all(&[7; 4096]).expect("it can be written");
        file.sync_data().expect("it can be synced");
    });
    println!("disk: fdatasync of 4 KiB, appended        {rate:>9.0} /s");
    let database = rusqlite::Connection::open(folder.path().join("bare.db")).expect("a database");
    database
        .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)")
        .expect("a table");
    let body = vec![7_u8; 2048];
    let rate = per_second(Duration::from_secs(2), || {
        database.execute("INSERT INTO t(body) VALUES (?1)", [&body]).expect("a row");
    });
    println!("disk: SQLite, one 2 KiB row a transaction {rate:>9.0} /s");
}

fn per_second(span: Duration, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < span {
        work();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn crossing(name: &str, messages: usize, connections: usize, message: Mix) {
    let folder = Folder::new();
    let gateway = folder.serve();
    let next = AtomicUsize::new(0);
    let mut senders: Vec<_> = (0..connections).map(|_| gateway.sender(message(0).0)).collect();
    let start = Instant::now();
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let workers: Vec<_> = senders
            .iter_mut()
            .map(|sender| {
                let next = &next;
                scope.spawn(move || {
                    let mut latencies = Vec::new();
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= messages {
                            return latencies;
                        }
                        let bytes = message(n).1;
                        let begun = Instant::now();
                        let reply = sender.send(&bytes).expect("a reply");
                        assert!(reply.contains("MSA|AA"), "{reply}");
                        latencies.push(begun.elapsed());
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a sender")).collect()
    });
    let rate = messages as f64 / start.elapsed().as_secs_f64();
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{name:<16} {connections:>3} connections {rate:>9.0} /s   acknowledged after ms: 50 % {:.1}, 95 % {:.1}, 99 % {:.1}",
        at(0.5),
        at(0.95),
        at(0.99)
    );
}

/// Audited reads of one Patient over 8 and 64 connections.
fn reading(reads: usize) {
    let folder = Folder::new();
    let gateway = folder.serve();
    let mut pas = gateway.sender("pas");
    for n in 0..100 {
        pas.send(&adt_mix(n * 4).1).expect("a reply");
    }
    let app = gateway.app(&folder.token("system/*.rs", None));
    let ids: Vec<String> =
        app.search("/fhir/Patient?_count=100").iter().map(|patient| patient["id"].as_str().expect("an id").to_owned()).collect();
    for (what, path) in [("read", "/fhir/Patient/{}"), ("search", "/fhir/Encounter?patient={}")] {
        for connections in [8, 64] {
            let next = AtomicUsize::new(0);
            let start = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..connections {
                    let (mut kept, next, ids) = (app.keep(), &next, &ids);
                    scope.spawn(move || {
                        loop {
                            let n = next.fetch_add(1, Ordering::Relaxed);
                            if n >= reads {
                                return;
                            }
                            let (status, _) = kept.get(&path.replace("{}", &ids[n % ids.len()])).expect("an answer");
                            assert_eq!(status, 200);
                        }
                    });
                }
            });
            println!("{what:<16} {connections:>3} connections {:>9.0} /s   audited", reads as f64 / start.elapsed().as_secs_f64());
        }
    }
}
