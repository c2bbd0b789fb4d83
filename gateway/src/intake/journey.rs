//! A patient's journey through the sending corridor: real adapter, real store, a disk that fails and a process that dies
//! at any point, messages shuffled, repeated and in pieces. The bodies are the same each time.

use super::*;
use crate::access::{Grant, Scope};
use crate::adapters::dialects;
use crate::audit::chain::{SealKey, verify};
use crate::config::Config;
use crate::search::Query;
use crate::store::faults::{Failure, Faults, File, NoFaults, Point};
use crate::store::{JournalFilter, Options, SqliteStore};
use contract::{Dialect, IdKey, Json};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use tempfile::TempDir;

const SEED: [u8; 32] = [9; 32];

/// Who sends, and the message.
pub(super) type Sent = (&'static str, String);

fn pas(event: &str, time: &str, number: &str, rest: &str) -> Sent {
    let head = format!("MSH|^~\\&|PAS|RXX|LANDBRIDGE|RXX|2026030{time}||ADT^{event}|{event}-{time}-{number}|P|2.5.1");
    let person = format!("PID|1||{number}^^^RXX^MR||Wren^Ida{number}||19580412|F|||1 Lime Row^^Harborough");
    ("pas", format!("{head}\rEVN|{event}|2026030{time}\r{person}\r{rest}"))
}

/// A report of potassium and, unless it is left out, sodium; `status` is OBX-11 and OBR-25.
fn lab(time: &str, status: &str, potassium: &str, sodium: Option<&str>) -> Sent {
    let head = format!("MSH|^~\\&|LAB|RXX|LANDBRIDGE|RXX|2026030{time}||ORU^R01^ORU_R01|R-{time}|P|2.5.1");
    let order = format!("OBR|1|P7|F7^LAB|UE^Urea and electrolytes^L|||202603010800|||||||||||||||2026030{time}|||{status}");
    let result = |at: u32, code: &str, value: &str| format!("OBX|{at}|NM|{code}||{value}|mmol/L|||||{status}");
    let mut lines = vec![head, "PID|1||1^^^RXX^MR".into(), order, result(1, "K^Potassium^L", potassium)];
    lines.extend(sodium.map(|sodium| result(2, "NA^Sodium^L", sodium)));
    ("lab", lines.join("\r"))
}

/// PV1: class, place, visit number, admission and discharge.
fn stay(class: &str, place: &str, visit: &str, admitted: &str, discharged: &str) -> String {
    let mut fields = vec![""; 46];
    (fields[0], fields[1], fields[2], fields[3]) = ("PV1", "1", class, place);
    let visit = format!("{visit}^^^RXX^VN");
    (fields[19], fields[44], fields[45]) = (&visit, admitted, discharged);
    fields.join("|") + "\r"
}

/// The journey in order. Some stamps are equal, with distinct steps; nothing else ties.
pub(super) fn journey() -> Vec<Sent> {
    let inpatient = |ward: &str, discharged: &str| stay("I", &format!("{ward}^1^1"), "V1", "202603011000", discharged);
    let outpatient = || stay("O", "CLINIC", "V2", "", "");
    vec![
        pas("A28", "10900", "1", ""),
        pas("A28", "10901", "2", ""),
        pas("A01", "11000", "1", &inpatient("WARD1", "")),
        pas("A02", "11100", "1", &inpatient("WARD2", "")),
        pas("A08", "11100", "1", &format!("{}AL1|1|DA|PEN^Penicillin^L\r", inpatient("WARD2", ""))),
        lab("11130", "P", "6.1", Some("139")),
        lab("11200", "F", "6.30", Some("140")),
        lab("11300", "C", "6.4", None),
        pas("A12", "11210", "1", &inpatient("WARD1", "")),
        pas("A02", "11400", "1", &inpatient("WARD3", "")),
        pas("A24", "11410", "1", "PID|2||2^^^RXX^MR||Wren^Ida2||19580412|F\r"),
        pas("A37", "11420", "1", "PID|2||2^^^RXX^MR||Wren^Ida2||19580412|F\r"),
        pas("A40", "11500", "1", "MRG|2^^^RXX^MR\r"),
        pas("A03", "11600", "1", &inpatient("WARD3", "202603011600")),
        pas("A13", "11630", "1", &inpatient("WARD3", "")),
        pas("A31", "11640", "1", ""),
        pas("A03", "11700", "1", &inpatient("WARD3", "202603011700")),
        pas("A04", "20900", "1", &outpatient()),
        pas("A11", "20930", "1", &outpatient()),
    ]
}

/// What breaks at which batch of the store's writer, counted over all its lives.
#[derive(Default)]
struct Script {
    batches: AtomicU64,
    breaks: Mutex<BTreeMap<u64, (Point, Failure)>>,
}

impl Faults for Arc<Script> {
    fn at(&self, file: File, point: Point) -> Option<Failure> {
        if file != File::Landbridge {
            return None;
        }
        let batch = match point {
            Point::BeforeCommit => self.batches.fetch_add(1, Ordering::SeqCst) + 1,
            Point::AfterCommit => self.batches.load(Ordering::SeqCst),
        };
        let mut breaks = self.breaks.lock().unwrap();
        let (planned, failure) = *breaks.get(&batch)?;
        (planned == point).then(|| {
            breaks.remove(&batch);
            failure
        })
    }
}

/// A hospital's gateway on a folder of its own, ended and opened again at will.
pub(super) struct Hospital {
    folder: TempDir,
    faults: Box<dyn Fn() -> Arc<dyn Faults>>,
    open: Option<(Arc<dyn Store>, Intake)>,
}

/// The configuration that `init` writes, and the dialects with the tables that are built in.
type Configured = (TempDir, Config, Vec<Arc<dyn Dialect>>);

static CONFIGURED: LazyLock<Configured> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    crate::development::init(folder.path(), Timestamp::now()).unwrap();
    let config = Config::load(&folder.path().join("landbridge.toml")).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    (folder, config, dialects(None).unwrap())
});

impl Hospital {
    pub(super) fn new(faults: impl Fn() -> Arc<dyn Faults> + 'static) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), faults: Box::new(faults), open: None }
    }

    fn end(&mut self) {
        self.open = None;
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.sqlite())
    }

    /// Its store, which another may have open.
    pub(super) fn sqlite(&self) -> SqliteStore {
        let mut options = Options::new(self.folder.path(), IdKey::demonstration(), SealKey::from_seed(&SEED));
        options.clock = clock();
        options.faults = (self.faults)();
        SqliteStore::open(options).unwrap()
    }

    pub(super) fn intake(&mut self) -> Intake {
        if self.open.is_none() {
            let store = self.store();
            let (_, config, dialects) = &*CONFIGURED;
            let feeds = config.feeds.values().map(|feed| {
                let dialect = dialects.iter().find(|dialect| dialect.name() == feed.adapter).unwrap();
                Feed::new(feed, &**dialect, &IdKey::demonstration(), "https://landbridge.example/fhir")
            });
            let refusals = Refusals::new(store.clone(), clock());
            let intake = Intake::new(Feeds::new(feeds.collect()), store.clone(), clock(), 1000, Metrics::default(), refusals).unwrap();
            self.open = Some((store, intake));
        }
        self.open.as_ref().unwrap().1.clone()
    }

    /// Sends these at once, each again until it is acknowledged, as senders do.
    pub(super) async fn deliver(&mut self, messages: &[Sent]) {
        let mut waiting: Vec<&Sent> = messages.iter().collect();
        let mut tries = 0;
        while !waiting.is_empty() {
            let intake = self.intake();
            let send = |sent: &Sent| {
                let (client, bytes) = (sent.0, sent.1.clone().into_bytes());
                let peer =
                    Arc::new(Peer { address: "192.0.2.7:4000".into(), names: vec![format!("{client}.hospital.example")], token: None });
                let intake = intake.clone();
                tokio::spawn(async move { intake.receive(&Door::Mllp("main".into()), &peer, Frame::new(bytes)).await })
            };
            let answers: Vec<_> = waiting.iter().map(|sent| send(sent)).collect();
            let mut unheard = Vec::new();
            for (sent, answer) in waiting.into_iter().zip(answers) {
                let answer = answer.await.unwrap();
                match answer.outcome {
                    OutcomeKind::Stored | OutcomeKind::StoredWithIssues | OutcomeKind::Duplicate => {}
                    OutcomeKind::Transient => unheard.push(sent),
                    other => panic!("{} {:?}: {}", sent.1, answer.issues, other.word()),
                }
            }
            waiting = unheard;
            tries += 1;
            assert!(tries < 20, "a store that fails for good");
            if !waiting.is_empty() && tries > 1 {
                self.end();
            }
        }
    }

    /// What an app may read of all that was said, without `versionId` and `lastUpdated`; and what operators see.
    fn told(&mut self, sent: usize) -> BTreeMap<String, String> {
        self.end();
        self.faults = Box::new(|| Arc::new(NoFaults));
        let told = self.bodies();
        let store = self.store();
        let rows = store.journal(&JournalFilter::default(), 1000).unwrap();
        assert_eq!(rows.len(), journey().len(), "each message stands once in the journal");
        assert!(rows.iter().map(|row| 1 + row.repeats as usize).sum::<usize>() >= sent, "each delivery is counted");
        drop(store);
        self.is_audited_whole();
        told
    }

    pub(super) fn is_audited_whole(&self) {
        let report = verify(self.folder.path(), None, &SealKey::from_seed(&SEED).public()).unwrap();
        assert!(report.is_intact(), "{report:?}");
    }

    /// What an app may read, without `versionId` and `lastUpdated`.
    pub(super) fn bodies(&self) -> BTreeMap<String, String> {
        let store = self.store();
        let grant = Grant::for_tests(vec![Scope { kind: "*".into(), read: true, search: true, patient: None }]);
        let mut told = BTreeMap::new();
        let kinds = include_str!("../api/served.csv").lines().skip(1).filter_map(|line| line.split(',').next());
        for kind in kinds.filter(|kind| *kind != "AuditEvent") {
            let query = Query { kind: kind.into(), count: 500, total: true, ..Query::default() };
            for version in store.search(&grant, &query).unwrap().matches {
                let mut body = Json::parse(&version.body.unwrap()).unwrap();
                if let Some(meta) = body.get_mut("meta") {
                    meta.remove("versionId");
                    meta.remove("lastUpdated");
                }
                told.insert(format!("{kind}/{}", version.id), body.to_string());
            }
        }
        told
    }
}

pub(super) fn clock() -> Clock {
    Clock::held("2026-03-03T12:00:00Z".parse().unwrap())
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

static IN_ORDER: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let mut hospital = Hospital::new(|| Arc::new(NoFaults));
    runtime().block_on(async {
        for sent in journey() {
            hospital.deliver(&[sent]).await;
        }
    });
    hospital.told(journey().len())
});

#[test]
fn the_journey_in_order_ends_as_it_should() {
    let found = |kind: &str, text: &str| IN_ORDER.iter().filter(|(name, body)| name.starts_with(kind) && body.contains(text)).count();
    for (kind, text, count) in [
        ("Patient/", "", 2),
        ("Patient/", r#""active":false"#, 1),
        ("Patient/", r#""type":"seealso""#, 0),
        ("Patient/", r#""type":"replaced-by""#, 1),
        ("Encounter/", r#""status":"finished""#, 1),
        ("Encounter/", "WARD2", 0),
        ("Encounter/", "WARD3", 1),
        ("Encounter/", r#""status":"cancelled""#, 1),
        ("Observation/", r#""value":6.4,"#, 1),
        ("Observation/", r#""value":140,"#, 1),
        ("Observation/", "preliminary", 0),
        ("DiagnosticReport/", r#""status":"corrected""#, 1),
        ("AllergyIntolerance/", "Penicillin", 1),
    ] {
        assert_eq!(found(kind, text), count, "{kind} {text}: {:#?}", IN_ORDER.iter().filter(|(name, _)| name.starts_with(kind)));
    }
}

fn failures() -> impl Strategy<Value = BTreeMap<u64, (Point, Failure)>> {
    let point = prop_oneof![Just(Point::BeforeCommit), Just(Point::AfterCommit)];
    let failure = prop_oneof![Just(Failure::Fail), Just(Failure::Die)];
    proptest::collection::btree_map(1_u64..30, (point, failure), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// `order`: of the messages; `again`: which of them are sent a second time, after how many others; `pieces`: how many
    /// are under way at once; `ends`: after which pieces the process ends.
    #[test]
    fn a_journey_gives_the_same_bodies_on_any_day(
        order in Just((0..journey().len()).collect::<Vec<_>>()).prop_shuffle(),
        again in proptest::collection::vec((0..journey().len(), 0..journey().len()), 0..8),
        pieces in proptest::collection::vec(1_usize..5, 1..8),
        ends in proptest::collection::btree_set(0_usize..20, 0..4),
        breaks in failures(),
    ) {
        let all = journey();
        let mut plan = order;
        for (message, after) in again {
            plan.insert(after, message);
        }
        let script = Arc::new(Script { breaks: Mutex::new(breaks), ..Script::default() });
        let faults = script.clone();
        let mut hospital = Hospital::new(move || Arc::new(faults.clone()));
        runtime().block_on(async {
            let mut rest = plan.as_slice();
            for (at, size) in pieces.iter().cycle().enumerate() {
                if rest.is_empty() {
                    break;
                }
                let (piece, later) = rest.split_at((*size).min(rest.len()));
                rest = later;
                hospital.deliver(&piece.iter().map(|at| all[*at].clone()).collect::<Vec<_>>()).await;
                if ends.contains(&at) {
                    hospital.end();
                }
            }
        });
        let told = hospital.told(plan.len());
        let names = |told: &BTreeMap<String, String>| told.keys().cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(names(&told), names(&IN_ORDER));
        for (name, body) in &*IN_ORDER {
            prop_assert_eq!(&told[name], body, "{}", name);
        }
    }
}
