//! How long each room takes for its part: parse, translate, commit, read, search.
//!
//! `cargo build --release && cargo bench --bench rooms`; a word after `--` picks benchmarks by name.

mod load;

use contract::{Envelope, Frame};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use flows::Folder;
use gateway::access::Grant;
use gateway::config::Config;
use gateway::intake::{Door, Intake, Judged, Peer};
use gateway::search::Query;
use gateway::search::parse::{Reading, What, pairs};
use gateway::search::plan::Plan;
use gateway::serve::{Parts, store};
use hl7v2::er7::Message;
use hl7v2::structure::Structures;
use load::{Mix, adt_mix, oru_twenty};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

fn main() {
    divan::main();
}

const MIXES: [(&str, Mix); 2] = [("ADT", adt_mix), ("ORU of 20 OBX", oru_twenty)];

fn mix(name: &str) -> Mix {
    MIXES.iter().find(|(known, _)| *known == name).expect("one of the mixes").1
}

const NAMES: [&str; 2] = [MIXES[0].0, MIXES[1].0];

/// The rooms put together on a folder of their own, without doors.
struct Rooms {
    folder: Folder,
    runtime: Runtime,
    parts: Parts,
    intake: Intake,
    sent: AtomicUsize,
}

impl Rooms {
    fn new() -> Self {
        let folder = Folder::new();
        let file = PathBuf::from(folder.config());
        let config = Config::load(&file).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let parts = Parts::new(&config, None, store(&config).expect("a store")).expect("the parts");
        let intake = parts.intake(&config).expect("the sending corridor");
        Self { folder, runtime: Runtime::new().expect("a runtime"), parts, intake, sent: AtomicUsize::new(0) }
    }

    /// The next message, translated and not stored.
    fn judged(&self, mix: Mix) -> Judged {
        let (client, bytes) = mix(self.sent.fetch_add(1, Ordering::Relaxed));
        let peer = Arc::new(Peer { address: "127.0.0.1:1".into(), names: vec![format!("{client}.hospital.example")], token: None });
        self.runtime.block_on(self.intake.judge(Door::Mllp("main".into()), peer, Frame::new(bytes)))
    }

    /// Makes all durable; they may share a transaction.
    fn settle(&self, judged: Vec<Judged>) {
        self.runtime.block_on(async {
            let mut answers: JoinSet<_> = judged.into_iter().map(|judged| self.intake.settle(judged)).collect();
            while let Some(answer) = answers.join_next().await {
                let answer = answer.expect("it does not panic");
                assert!(answer.outcome.is_stored(), "{:?}", answer.outcome);
            }
        });
    }

    fn grant(&self) -> Grant {
        let token = self.folder.token("system/*.rs", None);
        self.parts.verifier.grant(&token, None).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// 1000 patients with a stay each, and 200 reports of 20 results.
static HOSPITAL: LazyLock<Rooms> = LazyLock::new(|| {
    let rooms = Rooms::new();
    for (mix, messages) in [(adt_mix as Mix, 4000), (oru_twenty as Mix, 200)] {
        rooms.sent.store(0, Ordering::Relaxed);
        for _ in 0..messages / 50 {
            rooms.settle((0..50).map(|_| rooms.judged(mix)).collect());
        }
    }
    rooms
});

#[divan::bench(args = NAMES)]
fn parse(bencher: Bencher<'_, '_>, name: &str) {
    let structures = Structures::read(schemas::Tables::embedded("hl7v2").get("structures").expect("a table")).expect("it is right");
    let bytes = mix(name)(0).1;
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .counter(ItemsCount::new(1_u32))
        .bench(|| Message::parse(&bytes, None, &structures).map(|message| message.issues().len()));
}

#[divan::bench(args = NAMES)]
fn translate(bencher: Bencher<'_, '_>, name: &str) {
    let (client, bytes) = mix(name)(0);
    let feeds = HOSPITAL.intake.feeds();
    let feed = feeds.named(client).expect("init writes it");
    let frame = Frame::new(bytes);
    let envelope: Envelope = feed.adapter.envelope(&frame).unwrap_or_else(|_| panic!("it is right"));
    bencher.counter(ItemsCount::new(1_u32)).bench(|| feed.adapter.translate(&frame, &envelope).is_ok());
}

/// Durable, with state, versions, index and audit entry: `together` messages that wait at once.
fn commit(bencher: Bencher<'_, '_>, mix: Mix, together: usize) {
    let rooms = Rooms::new();
    bencher
        .counter(ItemsCount::new(together))
        .with_inputs(|| (0..together).map(|_| rooms.judged(mix)).collect::<Vec<_>>())
        .bench_local_values(|judged| rooms.settle(judged));
}

#[divan::bench(args = [1, 8, 64], sample_count = 50, sample_size = 1)]
fn commit_adt(bencher: Bencher<'_, '_>, together: usize) {
    commit(bencher, adt_mix, together);
}

#[divan::bench(args = [1, 8, 64], sample_count = 20, sample_size = 1)]
fn commit_oru_of_20_obx(bencher: Bencher<'_, '_>, together: usize) {
    commit(bencher, oru_twenty, together);
}

#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let grant = HOSPITAL.grant();
    let page = HOSPITAL.parts.store.search(&grant, &query("Patient", "")).expect("the store answers");
    let id = &page.matches[0].id;
    bencher.bench(|| HOSPITAL.parts.store.read(&grant, "Patient", id).is_ok_and(|found| found.is_some()));
}

#[divan::bench(args = [
    "Patient?identifier=https://hospital.example/id/mrn|MRN80042",
    "Patient?family=hartwhistle4",
    "Encounter?status=finished&date=ge2026-03-01",
    "Observation?code=http://loinc.org|2823-3&date=2026-03-01&_count=10",
])]
fn search(bencher: Bencher<'_, '_>, asked: &str) {
    let grant = HOSPITAL.grant();
    let (kind, parameters) = asked.split_once('?').expect("a search");
    let query = query(kind, parameters);
    let found = HOSPITAL.parts.store.search(&grant, &query).expect("the store answers");
    assert!(!found.matches.is_empty(), "{asked} finds nothing");
    bencher.bench(|| HOSPITAL.parts.store.search(&grant, &query).map(|page| page.matches.len()));
}

fn query(kind: &str, parameters: &str) -> Query {
    let table = gateway::search::parse::parameters(schemas::Tables::embedded("r4").get("search").expect("a table")).expect("it is right");
    let parameters_of_kind = table.into_iter().filter(|((of, _), _)| of == kind).map(|((_, code), parameter)| (code, parameter)).collect();
    let reading = Reading {
        kind,
        what: What::Search,
        parameters: &parameters_of_kind,
        plan: &Plan::built_in(),
        timezone: &jiff::tz::TimeZone::UTC,
        base_url: "https://localhost:8443/fhir",
        strict: true,
    };
    reading.read(&pairs(parameters).expect("well encoded")).unwrap_or_else(|problem| panic!("{problem:?}")).query
}
