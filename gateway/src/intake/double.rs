//! Doubles for tests of the doors: a store in memory, and a dialect of one line.
//!
//! The dialect: `TYPE|control id|sender application|processing|patient number|word`. The word `panic`, `malformed`,
//! `unsupported` or `held` makes translation end so; `issue` gives a warning. `foreign:` before the patient's number is
//! another assigner. A frame without `|` is no message.

use super::{Feed, Feeds, Intake};
use crate::access::Grant;
use crate::audit::Entry;
use crate::clock::Clock;
use crate::config;
use crate::mllp::Files;
use crate::observe::Metrics;
use crate::refusals::Refusals;
use crate::search::{Page, Query, Version};
use crate::store::outbox::{Backlog, Letter, LetterFilter, Outbox, Tried};
use crate::store::{
    Arrival, AuditPage, Effect, FindingRow, JournalFilter, JournalRow, Mend, Mending, Pending, Receipt, Record, Seen, Standing, Store,
    StoreError, Withdrawal,
};
use bytes::Bytes;
use contract::{
    Adapter, Class, Contribution, Dialect, Digest, Envelope, Explanation, Frame, IdKey, Issue, IssueCode, Key, Outcome, OutcomeKind, Party,
    Processing, Rejection, Settings, Severity, Translation, TypeCode,
};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// A store in memory: journal and audit alone.
pub struct MemoryStore {
    kept: Mutex<Kept>,
    /// While set, nothing can be written or asked.
    pub broken: AtomicBool,
    /// Commits wait for a permit each; a test lets them through.
    pub gate: Semaphore,
}

#[derive(Default)]
pub struct Kept {
    pub journal: Vec<(Arrival, u32)>,
    pub entries: Vec<Entry>,
    pub seals: u32,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { kept: Mutex::default(), broken: AtomicBool::new(false), gate: Semaphore::new(Semaphore::MAX_PERMITS) }
    }
}

impl MemoryStore {
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// `FEED OUTCOME` of each journaled frame, in their order.
    pub fn journaled(&self) -> Vec<String> {
        self.kept().journal.iter().map(|(arrival, _)| format!("{} {}", arrival.feed, arrival.outcome.word())).collect()
    }

    /// `WHO OUTCOME REASON` of each entry.
    pub fn audited(&self) -> Vec<String> {
        let entry = |entry: &Entry| format!("{} {} {}", entry.agent.who, entry.outcome, entry.reason).trim_end().to_owned();
        self.kept().entries.iter().map(entry).collect()
    }

    fn whole(&self) -> Result<MutexGuard<'_, Kept>, StoreError> {
        if self.broken.load(Ordering::SeqCst) { Err(StoreError::Unavailable("test".into())) } else { Ok(self.kept()) }
    }

    fn write(&self, arrival: Arrival) -> Result<Receipt, StoreError> {
        let mut kept = self.whole()?;
        let known = kept.journal.iter().position(|(known, _)| known.feed == arrival.feed && known.digest == arrival.digest);
        let mut receipt = Receipt {
            position: 0,
            outcome: arrival.outcome,
            reply: arrival.reply.clone(),
            resources: Vec::new(),
            findings: Default::default(),
        };
        match known {
            Some(at) if kept.journal[at].0.outcome.is_stored() => {
                kept.journal[at].1 += 1;
                receipt = Receipt { outcome: OutcomeKind::Duplicate, reply: kept.journal[at].0.reply.clone(), ..receipt };
                receipt.position = at as u64 + 1;
            }
            Some(at) => {
                kept.entries.push(arrival.entry.clone());
                kept.journal[at].0 = arrival;
                receipt.position = at as u64 + 1;
            }
            None => {
                kept.entries.push(arrival.entry.clone());
                kept.journal.push((arrival, 0));
                receipt.position = kept.journal.len() as u64;
            }
        }
        Ok(receipt)
    }
}

fn row(at: usize, (arrival, repeats): &(Arrival, u32)) -> JournalRow {
    JournalRow {
        position: at as u64 + 1,
        received: arrival.received,
        feed: arrival.feed.clone(),
        message_type: arrival.message_type.clone(),
        control_id: arrival.control_id.clone(),
        digest: arrival.digest,
        outcome: arrival.outcome,
        issues: u32::try_from(arrival.issues.len()).unwrap(),
        repeats: *repeats,
        standing: Standing::Counts,
        edit_of: None,
        place: at as u64 + 1,
    }
}

/// A store that only a test of the other corridor would ask.
fn not_here<T>() -> Result<T, StoreError> {
    Err(StoreError::Refused("not in this double".into()))
}

/// The double's clock, journal and audit live in one process: all it is told is done at once, save for the gate.
#[derive(Clone, Default)]
pub struct Memory(pub Arc<MemoryStore>);

impl Memory {
    fn gated(&self, arrival: Arrival) -> Pending<Receipt> {
        let store = self.0.clone();
        // The turn is taken when first polled, as a queue would have it.
        Box::pin(async move {
            store.gate.acquire().await.unwrap().forget();
            store.write(arrival)
        })
    }

    fn entry(&self, entry: Entry) -> Pending<()> {
        let done = self.0.whole().map(|mut kept| kept.entries.push(entry));
        Box::pin(std::future::ready(done))
    }
}

impl Mending for Memory {
    fn contributions(&self, _: u64) -> Result<Option<Vec<Contribution>>, StoreError> {
        not_here()
    }

    fn mends(&self, _: u64) -> Result<Vec<Mend>, StoreError> {
        not_here()
    }

    fn preview(&self, _: u64, _: bool) -> Result<Vec<Effect>, StoreError> {
        not_here()
    }

    fn patient(&self, _: &str) -> Result<Option<Record>, StoreError> {
        not_here()
    }

    fn patients_with(&self, _: &str, _: &str) -> Result<Vec<String>, StoreError> {
        not_here()
    }

    fn withdraw(&self, _: Withdrawal) -> Pending<Receipt> {
        Box::pin(std::future::ready(not_here()))
    }
}

impl Store for Memory {
    fn seen(&self, feed: &str, digest: &Digest) -> Result<Option<Seen>, StoreError> {
        let kept = self.0.whole()?;
        let found = kept.journal.iter().position(|(arrival, _)| arrival.feed == feed && arrival.digest == *digest);
        Ok(found.map(|at| {
            let arrival = &kept.journal[at].0;
            Seen {
                position: at as u64 + 1,
                received: arrival.received,
                outcome: arrival.outcome,
                standing: Standing::Counts,
                reply: arrival.reply.clone(),
            }
        }))
    }

    fn commit(&self, warrant: &super::Warrant, arrival: Arrival, translation: Translation) -> Pending<Receipt> {
        assert_eq!(warrant.feed(), arrival.feed);
        assert!(!translation.contributions.is_empty());
        self.gated(arrival)
    }

    fn keep(&self, arrival: Arrival) -> Pending<Receipt> {
        self.gated(arrival)
    }

    fn repeat(&self, position: u64, entry: Entry) -> Pending<()> {
        let done = self.0.whole().map(|mut kept| {
            kept.journal[usize::try_from(position).unwrap() - 1].1 += 1;
            kept.entries.push(entry);
        });
        Box::pin(std::future::ready(done))
    }

    fn read(&self, _: &Grant, _: &str, _: &str) -> Result<Option<Version>, StoreError> {
        Ok(None)
    }

    fn vread(&self, _: &Grant, _: &str, _: &str, _: u64) -> Result<Option<Version>, StoreError> {
        not_here()
    }

    fn history(&self, _: &Grant, _: &str, _: &Query) -> Result<Option<Page>, StoreError> {
        not_here()
    }

    fn changes(&self, _: &Grant, _: &Query) -> Result<Page, StoreError> {
        not_here()
    }

    fn everything(&self, _: &Grant, _: &str, _: &Query) -> Result<Option<Page>, StoreError> {
        not_here()
    }

    fn search(&self, _: &Grant, _: &Query) -> Result<Page, StoreError> {
        not_here()
    }

    fn record(&self, entry: Entry) -> Pending<()> {
        self.entry(entry)
    }

    fn audit_search(&self, _: &Grant, _: &Query) -> Result<AuditPage, StoreError> {
        not_here()
    }

    fn journal(&self, filter: &JournalFilter, count: usize) -> Result<Vec<JournalRow>, StoreError> {
        let kept = self.0.whole()?;
        let rows = kept.journal.iter().enumerate().map(|(at, arrival)| row(at, arrival)).filter(|row| {
            filter.feed.as_ref().is_none_or(|feed| *feed == row.feed)
                && filter.outcome.is_none_or(|outcome| outcome == row.outcome)
                && filter.control_id.as_ref().is_none_or(|id| *id == row.control_id)
                && (!filter.waiting || !row.outcome.is_stored())
                && row.position > filter.after
        });
        Ok(rows.take(count).collect())
    }

    fn frame(&self, position: u64) -> Result<Option<(JournalRow, Frame, Vec<Issue>)>, StoreError> {
        let kept = self.0.whole()?;
        let at = usize::try_from(position).unwrap() - 1;
        Ok(kept.journal.get(at).map(|found| (row(at, found), found.0.frame.clone(), found.0.issues.clone())))
    }

    fn activate(&self, _: &str, _: &str) -> Pending<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn active(&self, _: &str) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn findings(&self) -> Result<Vec<FindingRow>, StoreError> {
        Ok(Vec::new())
    }

    fn watch(&self, _: jiff::Timestamp, _: &std::collections::BTreeSet<String>) -> Result<crate::store::Watch, StoreError> {
        Ok(crate::store::Watch::default())
    }

    fn certificate(&self, _: &str, _: jiff::Timestamp) -> Pending<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(&self) -> Pending<()> {
        let ready = self.0.whole().map(|_| ());
        Box::pin(std::future::ready(ready))
    }

    fn seal(&self, at: Timestamp) -> Pending<String> {
        let sealed = self.0.whole().map(|mut kept| {
            kept.seals += 1;
            format!("{{\"seal\":{},\"at\":\"{at}\"}}", kept.seals)
        });
        Box::pin(std::future::ready(sealed))
    }
}

/// Nothing is ever put in: the double stores for other tests.
impl Outbox for Memory {
    fn next(&self, _: &str) -> Result<Option<(Letter, Frame)>, StoreError> {
        Ok(None)
    }

    fn tried(&self, _: u64, _: Tried, _: Entry) -> Pending<()> {
        Box::pin(std::future::ready(not_here()))
    }

    fn again(&self, _: u64, _: Entry) -> Pending<()> {
        Box::pin(std::future::ready(not_here()))
    }

    fn letters(&self, _: &LetterFilter, _: usize) -> Result<Vec<Letter>, StoreError> {
        Ok(Vec::new())
    }

    fn backlog(&self, feed: &str) -> Result<Backlog, StoreError> {
        Ok(Backlog { feed: feed.to_owned(), ..Backlog::default() })
    }

    fn backlogs(&self) -> Result<Vec<Backlog>, StoreError> {
        Ok(Vec::new())
    }

    fn posted(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }
}

/// The dialect of one line, under the names of the real ones.
pub struct Lines(pub &'static str);

struct LineAdapter {
    settings: Settings,
    answers: bool,
}

impl Dialect for Lines {
    fn name(&self) -> &'static str {
        self.0
    }

    fn recognises(&self, _: &[u8]) -> bool {
        false
    }

    fn frames(&self, file: &Bytes) -> Vec<Frame> {
        vec![Frame::new(file.clone())]
    }

    fn adapter(&self, settings: Settings) -> Arc<dyn Adapter> {
        Arc::new(LineAdapter { settings, answers: self.0 == "hl7v2" })
    }

    fn recipe(&self) -> String {
        "lines".into()
    }
}

fn fields(frame: &Frame) -> Vec<String> {
    String::from_utf8_lossy(frame.bytes()).trim_end().split('|').map(str::to_owned).collect()
}

impl Adapter for LineAdapter {
    fn envelope(&self, frame: &Frame) -> Result<Envelope, Rejection> {
        let fields = fields(frame);
        let [kind, control_id, sender, processing, ..] = &fields[..] else {
            return Err(Rejection::Malformed(Issue::new(Severity::Error, IssueCode::Structure, "byte 0", "not a line of fields")));
        };
        let (code, event) = kind.split_once('^').unwrap_or((kind, ""));
        Ok(Envelope {
            message_type: TypeCode { code: code.into(), event: event.into(), structure: String::new() },
            control_id: control_id.clone(),
            sender: Party { application: sender.clone(), facility: "RXX".into() },
            receiver: Party { application: "LANDBRIDGE".into(), facility: "RXX".into() },
            processing: if processing == "P" { Processing::Production } else { Processing::Training },
            sent: None,
            version: "1".into(),
            head: frame.bytes().clone(),
            issues: Vec::new(),
        })
    }

    fn translate(&self, frame: &Frame, _: &Envelope) -> Result<Translation, Rejection> {
        let fields = fields(frame);
        let word = fields.get(5).map_or("", String::as_str);
        let issue = |severity| Issue::new(severity, IssueCode::NotSupported, "field 6", "the test wants it so");
        match word {
            "panic" => panic!("a value of the message"),
            "malformed" => return Err(Rejection::Malformed(issue(Severity::Error))),
            "unsupported" => return Err(Rejection::Unsupported(issue(Severity::Error))),
            "untranslatable" => return Err(Rejection::Untranslatable(vec![issue(Severity::Error)])),
            "held" => return Err(Rejection::Held(issue(Severity::Error))),
            _ => {}
        }
        let number = fields.get(4).map_or("", String::as_str);
        let system = if number.starts_with("foreign:") { "urn:other" } else { "https://hospital.example/id/mrn" };
        let key = Key::new("Patient", system, number);
        let contribution = Contribution { key, class: Class::Record, member_of: None, statements: Vec::new() };
        let issues = if word == "issue" { vec![issue(Severity::Warning)] } else { Vec::new() };
        Ok(Translation { contributions: vec![contribution], issues })
    }

    fn explain(&self, frame: &Frame, envelope: &Envelope) -> Result<Explanation, Rejection> {
        self.translate(frame, envelope).map(|translation| Explanation { translation, traces: Vec::new(), unmapped: Vec::new() })
    }

    fn reply(&self, envelope: Option<&Envelope>, _: &Frame, outcome: &Outcome) -> Option<Bytes> {
        if !self.answers || envelope.is_some_and(|envelope| envelope.control_id == "silent") {
            return None;
        }
        let code = outcome.code.as_deref().unwrap_or("AA");
        let id = envelope.map(|envelope| envelope.control_id.as_str()).unwrap_or_default();
        let at = self.settings.feed.as_str();
        Some(format!("{code}|{id}|{at}|{}", outcome.kind.word()).into())
    }
}

/// Feeds `pas` (ADT), `lab` (ORU) on `mllp.main`, `loud` on the plain `mllp.plain`, `docs` and `web` (HL7) on HTTPS.
pub fn feeds() -> Vec<Feed> {
    let feed = |name: &str, listener: config::Listener, adapter: &str, application: &str, accepts: &str| {
        let plain = listener == config::Listener::Mllp("plain".into());
        let feed = config::Feed {
            name: name.into(),
            listener,
            adapter: adapter.into(),
            peer: (!plain).then(|| format!("{name}.hospital.example")),
            sender: Party { application: application.into(), facility: "RXX".into() },
            receiver: Party { application: "LANDBRIDGE".into(), facility: "RXX".into() },
            timezone: jiff::tz::TimeZone::UTC,
            primary_assigner: None,
            assigners: BTreeMap::from([("RXX".to_owned(), "https://hospital.example/id/mrn".to_owned())]),
            accepts: vec![accepts.into()],
            owns: Default::default(),
            reply: config::Reply {
                malformed: "AE".into(),
                unsupported: "AA".into(),
                untranslatable: if name == "web" { "AE".into() } else { "AA".into() },
                held: "AA".into(),
                forbidden: "AR".into(),
                transient: (name == "lab").then(|| "AE".into()),
            },
            sequence: None,
            visit_assigners: Vec::new(),
            character_set: None,
            relay: None,
        };
        let dialect = Lines(if adapter == "cda" { "cda" } else { "hl7v2" });
        Feed::new(&feed, &dialect, &IdKey::demonstration(), "https://localhost/fhir")
    };
    let mllp = |name: &str| config::Listener::Mllp(name.into());
    vec![
        feed("pas", mllp("main"), "hl7v2", "PAS", "ADT"),
        feed("lab", mllp("main"), "hl7v2", "LAB", "ORU^R01"),
        feed("loud", mllp("plain"), "hl7v2", "LOUD", "ADT"),
        feed("docs", config::Listener::Https, "cda", "DOCS", "CDA"),
        feed("web", config::Listener::Https, "hl7v2", "WEB", "ADT"),
    ]
}

/// These, each with a relay to the same next hop.
pub fn relayed_feeds(to: &str, mode: config::RelayMode) -> Feeds {
    let relay = config::Relay { to: to.into(), mode, files: Files::default(), refusals: 3, reply_time: Duration::from_secs(5) };
    let relayed = |mut feed: Feed| {
        feed.config.relay = Some(relay.clone());
        feed.relayed(None).unwrap()
    };
    Feeds::new(feeds().into_iter().map(relayed).collect())
}

pub const NOON: &str = "2026-11-24T12:00:00Z";

/// An intake over a store in memory, at [`NOON`].
pub fn intake(store: &Memory, quarantine_frames: u64) -> Intake {
    intake_of(store, quarantine_frames, Feeds::new(feeds()))
}

/// One for other feeds than [`feeds`].
pub fn intake_of(store: &Memory, quarantine_frames: u64, feeds: Feeds) -> Intake {
    let clock = Clock::held(NOON.parse().unwrap());
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let refusals = Refusals::new(shared.clone(), clock.clone());
    Intake::new(feeds, shared, clock, quarantine_frames, Metrics::default(), refusals).unwrap()
}
