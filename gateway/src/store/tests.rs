//! What any engine owes. Each test takes an [`Engine`]; an engine's own tests run them all ([`for_engine`]).

mod following;

pub(super) use following::*;

use super::faults::{Failure, Faults, File, NoFaults, Point};
use super::{Arrival, JournalFilter, Receipt, Store, StoreError};
use crate::access::{Grant, Scope};
use crate::audit::{Action, Agent, Entry};
use crate::clock::Clock;
use crate::intake::Warrant;
use crate::search::value::{fold, interval};
use crate::search::{Cursor, Filter, Operand, Prefix, Query, Sort};
use crate::state::{Memory, Rendered, place};
use contract::{
    Authority, Class, Contribution, Frame, IdKey, Issue, IssueCode, Json, Key, Membership, OutcomeKind, Rank, Severity, Slot, Statement,
    Translation,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Opens the same store again and again.
pub(super) trait Engine {
    fn open(&self, clock: Clock, faults: Arc<dyn Faults>) -> Arc<dyn Store>;
}

/// Runs every shared test against an engine made by `$new`.
macro_rules! for_engine {
    ($new:expr) => {
        crate::store::tests::for_engine!($new; a_message_is_stored_whole, the_same_bytes_are_stored_once, what_was_not_stored_is_admitted_again_at_its_place,
            many_senders_of_one_new_patient_make_one, an_unchanged_body_makes_no_version, a_batch_that_fails_leaves_nothing,
            what_became_durable_unseen_is_a_duplicate, crashes_anywhere_change_nothing, a_patient_sees_its_own_compartment_alone,
            a_version_is_authorized_by_its_own_compartment_too, searches_say_what_r4_says, modifiers_say_what_r4_says, modifiers_tell_nothing_of_others, sorted_pages_hold_everything_once, dates_compare_as_intervals, pages_follow_one_another,
            a_merged_patient_answers_for_both, an_item_that_dies_is_deleted, a_binary_lies_where_its_document_lies, the_audit_is_searched_newest_first,
            the_journal_is_filtered, a_full_queue_is_busy, a_process_left_behind_is_refused, control_ids_used_twice_are_a_finding,
            what_is_pointed_at_comes_along, what_points_at_it_comes_along, what_comes_along_is_never_cut, several_parameters_order,
            a_patients_whole_record_is_given, a_type_has_a_history);
    };
    ($new:expr; $($name:ident),*) => {
        $(#[test] fn $name() { crate::store::tests::$name(&$new); })*
    };
}
pub(super) use for_engine;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn clock() -> Clock {
    Clock::held(at("2026-03-01T12:00:00Z"))
}

pub(super) fn plain(engine: &dyn Engine) -> Arc<dyn Store> {
    engine.open(clock(), Arc::new(NoFaults))
}

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) fn id(key: &Key) -> String {
    IdKey::demonstration().id(key)
}

pub(super) fn patient(number: &str) -> Key {
    Key::new("Patient", "urn:mrn", number)
}

pub(super) fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

/// A message in the making: what it says, when.
pub(super) struct Message {
    asserted: i64,
    translation: Translation,
    ordinal: u32,
}

impl Message {
    pub(super) fn at(second: i64) -> Self {
        Self { asserted: second * 1_000_000, translation: Translation::default(), ordinal: 0 }
    }

    pub(super) fn says(self, key: &Key, body: &str) -> Self {
        let fragments = match json(body) {
            Json::Object(members) => members,
            _ => panic!("an object"),
        };
        let slots = fragments.into_iter().map(|(name, value)| {
            let slot = match (&*name, &value) {
                ("identifier" | "name", Json::Array(_)) => Slot::Repeats { element: name.clone(), field: "F".into(), feed: "pas".into() },
                _ => Slot::Element(name.clone()),
            };
            let value = if matches!(slot, Slot::Repeats { .. }) { value } else { [(name, value)].into_iter().collect() };
            (slot, Some(value))
        });
        let slots: Vec<_> = slots.collect();
        self.states(key, Class::Record, None, slots)
    }

    pub(super) fn states(mut self, key: &Key, class: Class, member_of: Option<Membership>, slots: Vec<(Slot, Option<Json>)>) -> Self {
        let statements = slots.into_iter().map(|(slot, value)| {
            self.ordinal += 1;
            let authority = if class == Class::Mention { Authority::Mention } else { Authority::Feed };
            let rank = Rank { authority, asserted: self.asserted, sent: self.asserted, ordinal: self.ordinal, ..Rank::default() };
            Statement { slot, rank, value, place: "X".into(), row: "t:1".into() }
        });
        let statements = statements.collect();
        self.translation.contributions.push(Contribution { key: key.clone(), class, member_of, statements });
        self
    }

    pub(super) fn translation(self) -> Translation {
        self.translation
    }

    pub(super) fn merged(self, loser: &Key, survivor: &Key) -> Self {
        let reference = [("reference", Json::from(format!("Patient/{}", id(survivor))))].into_iter().collect();
        let slot = Slot::Edge { kind: "replaced-by".into(), other: "".into() };
        self.says(survivor, "{}").states(loser, Class::Record, None, vec![(slot, Some(reference))])
    }
}

pub(super) fn entry(action: Action) -> Entry {
    Entry {
        at: at("2026-03-01T12:00:00Z"),
        action,
        outcome: 0,
        reason: String::new(),
        agent: Agent { who: "feed:pas".into(), ..Agent::default() },
        request: "ADT^A01 1".into(),
        patients: Vec::new(),
        resources: Vec::new(),
        issues: 0,
        count: 1,
        position: None,
    }
}

/// A frame of these bytes.
pub(super) fn arrival(bytes: &str, outcome: OutcomeKind) -> Arrival {
    let frame = Frame::new(bytes.as_bytes().to_vec());
    Arrival {
        feed: "pas".into(),
        digest: frame.digest(),
        frame,
        message_type: "ADT^A01".into(),
        control_id: format!("c-{bytes}"),
        received: at("2026-03-01T11:59:59.5Z"),
        outcome,
        issues: Vec::new(),
        reply: Some(format!("reply to {bytes}").into_bytes().into()),
        recipe: "r1".into(),
        entry: entry(Action::Import),
        edit: None,
        relays: false,
    }
}

pub(super) fn send(store: &dyn Store, bytes: &str, message: Message) -> Result<Receipt, StoreError> {
    wait(store.commit(&Warrant::for_tests("pas"), arrival(bytes, OutcomeKind::Stored), message.translation))
}

fn scope(kind: &str, patient: Option<String>) -> Scope {
    Scope { kind: kind.into(), read: true, search: true, patient }
}

pub(super) fn everything() -> Grant {
    Grant::for_tests(vec![scope("*", None)])
}

pub(super) fn bound(patient: &Key) -> Grant {
    Grant::for_tests(vec![scope("*", Some(id(patient)))])
}

pub(super) fn query(kind: &str, filters: Vec<(&str, Vec<Operand>)>) -> Query {
    let filters = filters.into_iter().map(|(parameter, any)| Filter { parameter: parameter.into(), any, not: false });
    Query { kind: kind.into(), filters: filters.collect(), count: 50, total: true, ..Query::default() }
}

pub(super) fn token(system: Option<&str>, code: Option<&str>) -> Operand {
    Operand::Token { system: system.map(str::to_owned), code: code.map(str::to_owned) }
}

pub(super) fn of(patient: &Key) -> Operand {
    Operand::Reference { kind: Some("Patient".into()), id: id(patient) }
}

pub(super) fn date(prefix: Prefix, text: &str) -> Operand {
    let (low, high) = interval(text, &TimeZone::UTC).unwrap();
    Operand::Date { prefix, low, high }
}

/// Ids found, and the total; they agree where one page holds all.
fn found(store: &dyn Store, grant: &Grant, query: &Query) -> Vec<String> {
    let page = store.search(grant, query).unwrap();
    assert_eq!(page.total, page.matches.len() as u64);
    page.matches.into_iter().map(|version| version.id).collect()
}

fn subject(patient: &Key) -> String {
    format!(r#"{{"reference":"Patient/{}"}}"#, id(patient))
}

fn observation(number: &str, patient: &Key, more: &str) -> (Key, String) {
    let body = format!(r#"{{"subject":{},"status":"final"{more}}}"#, subject(patient));
    (Key::new("Observation", "urn:obs", number), body)
}

fn body(store: &dyn Store, kind: &str, key: &Key) -> Option<Json> {
    let version = store.read(&everything(), kind, &id(key)).unwrap()?;
    Some(Json::parse(&version.body?).unwrap())
}

pub(super) fn a_message_is_stored_whole(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let message = Message::at(1).says(&key, r#"{"birthDate":"1970-01-02","multipleBirthInteger":6.30}"#);
    let receipt = send(&*store, "one", message).unwrap();
    let name = format!("Patient/{}/_history/1", id(&key));
    assert_eq!((receipt.position, receipt.outcome, &receipt.resources), (1, OutcomeKind::Stored, &vec![name.clone()]));
    assert_eq!(receipt.reply.as_deref(), Some(&b"reply to one"[..]));
    let version = store.read(&everything(), "Patient", &id(&key)).unwrap().unwrap();
    let text = String::from_utf8(version.body.unwrap()).unwrap();
    let expected = format!(
        r#"{{"resourceType":"Patient","id":"{}","meta":{{"versionId":"1","lastUpdated":"2026-03-01T12:00:00Z"}},"birthDate":"1970-01-02","multipleBirthInteger":6.30}}"#,
        id(&key)
    );
    assert_eq!(text, expected);
    assert_eq!((version.version, version.last_updated, version.patients), (1, at("2026-03-01T12:00:00Z"), vec![id(&key)]));
    let page = store.audit_search(&everything(), &query("AuditEvent", vec![])).unwrap();
    let [(_, entry)] = page.entries.as_slice() else { panic!("one entry") };
    assert_eq!((entry.position, &entry.patients, &entry.resources), (Some(1), &vec![id(&key)], &vec![name]));
    let (row, frame, issues) = store.frame(1).unwrap().unwrap();
    assert_eq!((frame.bytes().as_ref(), row.digest, issues.len()), (&b"one"[..], frame.digest(), 0));
    let seen = store.seen("pas", &frame.digest()).unwrap().unwrap();
    assert_eq!((seen.position, seen.received, seen.outcome), (1, at("2026-03-01T11:59:59.5Z"), OutcomeKind::Stored));
    assert!(store.seen("lab", &frame.digest()).unwrap().is_none());
    wait(store.ready()).unwrap();
    // A stored outcome needs resources, and others have none.
    assert!(matches!(wait(store.keep(arrival("two", OutcomeKind::Stored))), Err(StoreError::Refused(_))));
    assert!(matches!(wait(store.keep(arrival("two", OutcomeKind::Transient))), Err(StoreError::Refused(_))));
}

pub(super) fn the_same_bytes_are_stored_once(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let first = send(&*store, "one", Message::at(1).says(&key, r#"{"gender":"male"}"#)).unwrap();
    let mut arrival = arrival("one", OutcomeKind::Stored);
    arrival.reply = Some("another".into());
    let again =
        wait(store.commit(&Warrant::for_tests("pas"), arrival, Message::at(1).says(&key, r#"{"gender":"female"}"#).translation)).unwrap();
    assert_eq!((again.position, again.outcome, again.reply), (first.position, OutcomeKind::Duplicate, first.reply));
    assert!(again.resources.is_empty());
    wait(store.repeat(1, entry(Action::Import))).unwrap();
    assert!(matches!(wait(store.repeat(7, entry(Action::Import))), Err(StoreError::Refused(_))));
    let rows = store.journal(&JournalFilter::default(), 10).unwrap();
    assert_eq!(rows.iter().map(|row| row.repeats).collect::<Vec<_>>(), [2]);
    assert_eq!(body(&*store, "Patient", &key).unwrap().get("gender"), Some(&"male".into()));
    let page = store.audit_search(&everything(), &query("AuditEvent", vec![("patient", vec![of(&key)])])).unwrap();
    let reasons: Vec<_> = page.entries.iter().map(|(_, entry)| (entry.reason.as_str(), entry.position)).collect();
    assert_eq!(reasons, [("duplicate", Some(1)), ("duplicate", Some(1)), ("", Some(1))]);
}

pub(super) fn what_was_not_stored_is_admitted_again_at_its_place(engine: &dyn Engine) {
    let store = plain(engine);
    let mut refused = arrival("one", OutcomeKind::Untranslatable);
    refused.issues = vec![Issue::new(Severity::Error, IssueCode::Identity, "PID[1]-3", "no identifier")];
    assert_eq!(wait(store.keep(refused.clone())).unwrap().position, 1);
    assert_eq!(send(&*store, "two", Message::at(2).says(&patient("2"), "{}")).unwrap().position, 2);
    let (row, _, issues) = store.frame(1).unwrap().unwrap();
    assert_eq!((row.outcome, row.issues, issues), (OutcomeKind::Untranslatable, 1, refused.issues));
    // Mended; it came later, and says it came when it first did.
    let mut mended = arrival("one", OutcomeKind::StoredWithIssues);
    mended.received = at("2026-03-02T00:00:00Z");
    let message = Message::at(1).says(&patient("1"), r#"{"gender":"male"}"#);
    let receipt = wait(store.commit(&Warrant::for_tests("pas"), mended, message.translation)).unwrap();
    assert_eq!((receipt.position, receipt.outcome), (1, OutcomeKind::StoredWithIssues));
    let rows = store.journal(&JournalFilter::default(), 10).unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.position, row.outcome, row.issues, row.repeats)).collect();
    assert_eq!(told, [(1, OutcomeKind::StoredWithIssues, 0, 0), (2, OutcomeKind::Stored, 0, 0)]);
    assert_eq!(rows[0].received, at("2026-03-01T11:59:59.5Z"));
    // Stored now: no refusal takes that back.
    assert_eq!(wait(store.keep(arrival("one", OutcomeKind::Malformed))).unwrap().outcome, OutcomeKind::Duplicate);
}

pub(super) fn many_senders_of_one_new_patient_make_one(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let outcomes = runtime.block_on(async {
        let mut tasks = Vec::new();
        for n in 0..32 {
            let (store, key) = (store.clone(), key.clone());
            tasks.push(tokio::spawn(async move {
                let message = Message::at(n).says(&key, &format!(r#"{{"name":[{{"family":"F{n}"}}]}}"#));
                let other = store.commit(&Warrant::for_tests("pas"), arrival(&format!("m{n}"), OutcomeKind::Stored), message.translation);
                let same = Message::at(0).says(&patient("same"), "{}");
                let same = store.commit(&Warrant::for_tests("pas"), arrival("same", OutcomeKind::Stored), same.translation);
                (other.await.unwrap(), same.await.unwrap())
            }));
        }
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        outcomes
    });
    assert_eq!(found(&*store, &everything(), &query("Patient", vec![])).len(), 2);
    let name = body(&*store, "Patient", &key).unwrap().get("name").cloned();
    assert_eq!(name, Some(json(r#"[{"family":"F31"}]"#)));
    let duplicates = outcomes.iter().filter(|(_, same)| same.outcome == OutcomeKind::Duplicate).count();
    assert_eq!(duplicates, 31);
    assert!(outcomes.iter().all(|(_, same)| same.position == outcomes[0].1.position));
    let mut positions: Vec<_> = store.journal(&JournalFilter::default(), 100).unwrap().iter().map(|row| row.position).collect();
    positions.dedup();
    assert_eq!(positions, (1..=33).collect::<Vec<_>>());
}

pub(super) fn an_unchanged_body_makes_no_version(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let send = |bytes: &str, second: i64, gender: &str| {
        send(&*store, bytes, Message::at(second).says(&key, &format!(r#"{{"gender":"{gender}"}}"#))).unwrap().resources.len()
    };
    assert_eq!(send("one", 5, "male"), 1);
    assert_eq!(send("two", 6, "male"), 0, "said again");
    assert_eq!(send("three", 4, "female"), 0, "late, and outranked");
    assert_eq!(send("four", 7, "female"), 1);
    let page = store.history(&everything(), &id(&key), &query("Patient", vec![])).unwrap().unwrap();
    assert_eq!(page.matches.iter().map(|version| version.version).collect::<Vec<_>>(), [2, 1]);
}

/// Breaks once, at a point counted from the opening.
struct Once {
    at: u32,
    point: Point,
    failure: Failure,
    count: AtomicU32,
}

impl Once {
    fn new(at: u32, point: Point, failure: Failure) -> Arc<Self> {
        Arc::new(Self { at, point, failure, count: AtomicU32::new(0) })
    }
}

impl Faults for Once {
    fn at(&self, file: File, point: Point) -> Option<Failure> {
        let mine = file == File::Landbridge && point == self.point;
        (mine && self.count.fetch_add(1, Ordering::SeqCst) == self.at).then_some(self.failure)
    }
}

pub(super) fn a_batch_that_fails_leaves_nothing(engine: &dyn Engine) {
    for failure in [Failure::Fail, Failure::Die] {
        let store = engine.open(clock(), Once::new(0, Point::BeforeCommit, failure));
        let bytes = format!("{failure:?}");
        let message = || Message::at(1).says(&patient(&bytes), "{}");
        assert!(matches!(send(&*store, &bytes, message()), Err(StoreError::Unavailable(_))));
        let store = if failure == Failure::Die {
            assert!(matches!(wait(store.ready()), Err(StoreError::Unavailable(_))));
            drop(store);
            plain(engine)
        } else {
            store
        };
        assert!(store.seen("pas", &arrival(&bytes, OutcomeKind::Stored).digest).unwrap().is_none());
        assert!(store.read(&everything(), "Patient", &id(&patient(&bytes))).unwrap().is_none());
        assert_eq!(send(&*store, &bytes, message()).unwrap().outcome, OutcomeKind::Stored);
    }
}

pub(super) fn what_became_durable_unseen_is_a_duplicate(engine: &dyn Engine) {
    for failure in [Failure::Fail, Failure::Die] {
        let store = engine.open(clock(), Once::new(0, Point::AfterCommit, failure));
        let bytes = format!("{failure:?}");
        let message = || Message::at(1).says(&patient(&bytes), "{}");
        assert!(send(&*store, &bytes, message()).is_err());
        drop(store);
        let receipt = send(&*plain(engine), &bytes, message()).unwrap();
        assert_eq!((receipt.outcome, receipt.reply), (OutcomeKind::Duplicate, arrival(&bytes, OutcomeKind::Stored).reply));
    }
}

/// A journey with a transfer of authority between messages, delivered by a sender that sends again until it is told.
pub(super) fn crashes_anywhere_change_nothing(engine: &dyn Engine) {
    let (one, two) = (patient("1"), patient("2"));
    let messages = || {
        let ward = Key::new("Location", "urn:ward", "W");
        let mention = vec![(Slot::Element("name".into()), Some(json(r#"{"name":"Ward"}"#)))];
        let (first, first_body) = observation("1", &one, r#","valueString":"6.30""#);
        let (_, second_body) = observation("1", &one, r#","valueString":"7""#);
        vec![
            Message::at(1).says(&one, r#"{"name":[{"family":"A"}]}"#).states(&ward, Class::Mention, None, mention.clone()),
            Message::at(2).says(&two, r#"{"name":[{"family":"B"}]}"#).states(&ward, Class::Mention, None, mention),
            Message::at(3).says(&first, &first_body),
            Message::at(4).says(&first, &second_body).says(&one, r#"{"name":[{"family":"C"}]}"#),
            Message::at(5).merged(&two, &one),
            Message::at(2).says(&one, r#"{"name":[{"family":"late"}],"gender":"male"}"#),
        ]
    };
    let mut memory = Memory::default();
    for (position, message) in (1..).zip(messages()) {
        let mut translation = message.translation;
        place(&mut translation, position, Timestamp::MAX);
        let Ok(changes) = crate::state::fold(&mut memory, &IdKey::demonstration(), "pas", &translation.contributions);
        memory.keep(changes);
    }
    let mut sent = 0;
    for at in 0..3 {
        for (point, failure) in [
            (Point::BeforeCommit, Failure::Fail),
            (Point::BeforeCommit, Failure::Die),
            (Point::AfterCommit, Failure::Fail),
            (Point::AfterCommit, Failure::Die),
        ] {
            let mut store = engine.open(clock(), Once::new(at, point, failure));
            for (number, message) in messages().into_iter().enumerate() {
                let bytes = format!("m{number}");
                let translation = message.translation;
                while wait(store.commit(&Warrant::for_tests("pas"), arrival(&bytes, OutcomeKind::Stored), translation.clone())).is_err() {
                    drop(store);
                    store = plain(engine);
                }
                sent += 1;
            }
        }
    }
    let store = plain(engine);
    for (address, rendered) in memory.bodies() {
        let (kind, id) = address.split_once('/').unwrap();
        let version = store.read(&everything(), kind, id).unwrap().unwrap();
        let mut body = Json::parse(&version.body.unwrap()).unwrap();
        body.remove("meta");
        assert!(*rendered == Rendered::Body(body), "{address}");
    }
    let rows = store.journal(&JournalFilter::default(), 100).unwrap();
    assert_eq!(rows.len(), messages().len());
    assert!(rows.iter().map(|row| 1 + row.repeats).sum::<u32>() >= sent, "each that was told of is counted");
    let page = store.history(&everything(), &id(&one), &query("Patient", vec![])).unwrap().unwrap();
    let versions: Vec<_> = page.matches.iter().map(|version| version.version).collect();
    assert_eq!(versions, (1..=page.total).rev().collect::<Vec<_>>());
}

pub(super) fn a_patient_sees_its_own_compartment_alone(engine: &dyn Engine) {
    let store = plain(engine);
    let (mine, other) = (patient("1"), patient("2"));
    let ((seen, seen_body), (unseen, unseen_body)) = (observation("1", &mine, ""), observation("2", &other, ""));
    let place = Key::new("Location", "urn:ward", "W");
    let message =
        Message::at(1).says(&mine, "{}").says(&other, "{}").says(&seen, &seen_body).says(&unseen, &unseen_body).says(&place, "{}");
    send(&*store, "one", message).unwrap();
    let grant = bound(&mine);
    let read = |kind: &str, key: &Key| store.read(&grant, kind, &id(key)).unwrap().is_some();
    assert!(read("Patient", &mine) && read("Observation", &seen));
    assert!(!read("Patient", &other) && !read("Observation", &unseen) && !read("Location", &place) && !read("Patient", &patient("3")));
    assert!(!read("Patient", &seen), "an id of another type");
    assert!(store.read(&everything(), "Patient", &id(&mine).to_uppercase()).unwrap().is_none());
    assert!(store.vread(&grant, "Observation", &id(&unseen), 1).unwrap().is_none());
    assert!(store.history(&grant, &id(&unseen), &query("Observation", vec![])).unwrap().is_none());
    let status = || vec![token(None, Some("final"))];
    for (kind, filters, expected) in [
        ("Observation", vec![], vec![id(&seen)]),
        ("Observation", vec![("status", status())], vec![id(&seen)]),
        ("Observation", vec![("patient", vec![of(&other)])], vec![]),
        ("Observation", vec![("patient", vec![of(&other), of(&mine)]), ("status", status())], vec![id(&seen)]),
        ("Observation", vec![("_id", vec![Operand::Id(id(&unseen)), Operand::Id(id(&seen))])], vec![id(&seen)]),
        ("Patient", vec![], vec![id(&mine)]),
        ("Location", vec![], vec![]),
    ] {
        assert_eq!(found(&*store, &grant, &query(kind, filters.clone())), expected, "{kind} {filters:?}");
    }
    let nobody = Grant::for_tests(vec![]);
    assert!(found(&*store, &nobody, &query("Patient", vec![])).is_empty());
    assert!(store.read(&nobody, "Patient", &id(&mine)).unwrap().is_none());
    let stranger = bound(&patient("9"));
    assert!(found(&*store, &stranger, &query("Observation", vec![])).is_empty());
    assert_eq!(store.audit_search(&grant, &query("AuditEvent", vec![])).unwrap().total, 0);
    let only = Grant::for_tests(vec![scope("Patient", None)]);
    assert!(found(&*store, &only, &query("Observation", vec![])).is_empty());
    assert_eq!(found(&*store, &only, &query("Patient", vec![])).len(), 2);
}

pub(super) fn a_version_is_authorized_by_its_own_compartment_too(engine: &dyn Engine) {
    let store = plain(engine);
    let (first, second) = (patient("1"), patient("2"));
    let (key, body) = observation("1", &first, "");
    send(&*store, "one", Message::at(1).says(&first, "{}").says(&second, "{}").says(&key, &body)).unwrap();
    send(&*store, "two", Message::at(2).says(&key, &observation("1", &second, "").1)).unwrap();
    let see = |patient: &Key, version: u64| store.vread(&bound(patient), "Observation", &id(&key), version).unwrap().is_some();
    assert!(see(&second, 2) && !see(&second, 1), "the older version is another's");
    assert!(!see(&first, 1) && !see(&first, 2), "it is no longer there");
    let page = store.history(&bound(&second), &id(&key), &query("Observation", vec![])).unwrap().unwrap();
    assert_eq!((page.total, page.matches.len()), (1, 1));
    assert!(store.history(&bound(&first), &id(&key), &query("Observation", vec![])).unwrap().is_none());
    assert_eq!(store.vread(&everything(), "Observation", &id(&key), 1).unwrap().unwrap().patients, [id(&first)]);
    assert!(found(&*store, &bound(&first), &query("Observation", vec![])).is_empty());
}

pub(super) fn searches_say_what_r4_says(engine: &dyn Engine) {
    let store = plain(engine);
    let (one, two) = (patient("1"), patient("2"));
    let (result, result_body) = observation(
        "1",
        &one,
        r#","code":{"coding":[{"system":"http://loinc.org","code":"718-7"},{"code":"HB"}]},"effectiveDateTime":"2026-02-03T10:00:00Z""#,
    );
    let message = Message::at(1)
        .says(&one, r#"{"identifier":[{"system":"urn:mrn","value":"A,1"},{"value":"X"}],"name":[{"family":"Müller-Straße","given":["Ève"]}],"birthDate":"1970-02"}"#)
        .says(&two, r#"{"identifier":[{"system":"urn:nhs","value":"A,1"}],"name":[{"family":"Mullins"}],"birthDate":"1985-05-05"}"#)
        .says(&result, &result_body);
    send(&*store, "one", message).unwrap();
    let text = |text: &str| Operand::Text(fold(text));
    let (a, b, r) = (id(&one), id(&two), id(&result));
    let both = || vec![a.clone(), b.clone()];
    let check = |kind: &str, filters: Vec<(&str, Vec<Operand>)>, mut expected: Vec<String>| {
        let told = format!("{kind} {filters:?}");
        let mut found = found(&*store, &everything(), &query(kind, filters));
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{told}");
    };
    check("Patient", vec![], both());
    check("Patient", vec![("identifier", vec![token(None, Some("A,1"))])], both());
    check("Patient", vec![("identifier", vec![token(Some("urn:nhs"), Some("A,1"))])], vec![b.clone()]);
    check("Patient", vec![("identifier", vec![token(Some("urn:nhs"), Some("A,1")), token(Some("urn:mrn"), Some("A,1"))])], both());
    check("Patient", vec![("identifier", vec![token(Some(""), Some("A,1"))])], vec![]);
    check("Patient", vec![("identifier", vec![token(Some(""), Some("X"))])], vec![a.clone()]);
    check("Patient", vec![("identifier", vec![token(Some("urn:mrn"), None)])], vec![a.clone()]);
    check("Patient", vec![("identifier", vec![token(Some("urn:unknown"), None), token(Some("urn:unknown"), Some("A,1"))])], vec![]);
    check("Patient", vec![("identifier", vec![token(None, Some("a,1"))])], vec![]);
    check("Patient", vec![("family", vec![text("MÜLL")])], both());
    check("Patient", vec![("family", vec![text("muller-strasse")])], vec![a.clone()]);
    check("Patient", vec![("family", vec![text("straße")])], vec![]);
    check("Patient", vec![("family", vec![text("mull")]), ("given", vec![text("eve")])], vec![a.clone()]);
    check("Patient", vec![("family", vec![text("x"), text("mullin")])], vec![b.clone()]);
    check("Patient", vec![("_id", vec![Operand::Id(b.clone())]), ("family", vec![text("muller")])], vec![]);
    check("Patient", vec![("_id", vec![Operand::Id("nobody".into())])], vec![]);
    check("Patient", vec![("birthdate", vec![date(Prefix::Eq, "1970")])], vec![a.clone()]);
    check("Patient", vec![("birthdate", vec![date(Prefix::Eq, "1970-02-01")])], vec![]);
    let loinc = "http://loinc.org";
    for (filters, found) in [
        (vec![("code", vec![token(Some(loinc), Some("718-7"))])], true),
        (vec![("code", vec![token(None, Some("718-7"))]), ("patient", vec![of(&one)])], true),
        (vec![("code", vec![token(Some(""), Some("HB"))]), ("subject", vec![of(&one)])], true),
        (vec![("code", vec![token(Some(loinc), Some("HB"))])], false),
        (vec![("code", vec![token(Some(loinc), None)])], true),
        (vec![("status", vec![token(None, Some("final"))])], true),
        (vec![("status", vec![token(Some("http://hl7.org/fhir/observation-status"), Some("final"))])], true),
        (vec![("status", vec![token(Some("urn:other"), Some("final"))])], false),
        (vec![("status", vec![token(Some(""), Some("final"))])], true),
        (vec![("patient", vec![of(&two)])], false),
        (vec![("subject", vec![Operand::Reference { kind: None, id: a.clone() }])], true),
        (vec![("subject", vec![Operand::Reference { kind: Some("Group".into()), id: a.clone() }])], false),
        (vec![("date", vec![date(Prefix::Ge, "2026-02")]), ("patient", vec![of(&one)])], true),
        (vec![("date", vec![date(Prefix::Lt, "2026-02")]), ("patient", vec![of(&one)])], false),
    ] {
        check("Observation", filters, if found { vec![r.clone()] } else { vec![] });
    }
    let thousand =
        || (0..1000).map(|n| token(Some("urn:mrn"), Some(&format!("n{n}")))).chain([token(Some("urn:mrn"), Some("A,1"))]).collect();
    check("Patient", vec![("identifier", thousand())], vec![a.clone()]);
    let names = || (0..999).map(|n| text(&format!("n{n}"))).chain([text("mullins")]).collect();
    check("Patient", vec![("family", names())], vec![b.clone()]);
    check("Patient", vec![("identifier", thousand()), ("family", names())], vec![]);
    for (kind, parameter, operand) in [("Patient", "height", text("a")), ("Patient", "family", token(None, Some("a")))] {
        assert!(matches!(store.search(&everything(), &query(kind, vec![(parameter, vec![operand])])), Err(StoreError::Refused(_))));
    }
}

pub(super) fn modifiers_say_what_r4_says(engine: &dyn Engine) {
    let store = plain(engine);
    let (one, two) = (patient("1"), patient("2"));
    let told = r#","category":[{"coding":[{"system":"urn:c","code":"laboratory"}]}],"effectiveDateTime":"2026-02-03""#;
    let ((dated, dated_body), (bare, bare_body)) = (observation("1", &one, told), observation("2", &one, ""));
    let message = Message::at(1)
        .says(&one, r#"{"name":[{"family":"Müller","given":["Ève"]},{"family":"Fletcher"}],"gender":"female"}"#)
        .says(&two, r#"{"name":[{"family":"Muller"}]}"#)
        .says(&dated, &dated_body)
        .says(&bare, &bare_body);
    send(&*store, "one", message).unwrap();
    let (a, b, d, e) = (id(&one), id(&two), id(&dated), id(&bare));
    let check = |kind: &str, filters: Vec<(&str, Operand)>, not: bool, expected: &[&String]| {
        let filters = filters.into_iter().map(|(code, operand)| (code, vec![operand])).collect();
        let mut asked = query(kind, filters);
        asked.filters[0].not = not;
        let mut expected: Vec<String> = expected.iter().map(|id| (*id).clone()).collect();
        let mut all = found(&*store, &everything(), &asked);
        all.sort();
        expected.sort();
        assert_eq!(all, expected, "{asked:?}");
        assert_eq!(store.search(&everything(), &asked).unwrap().total, expected.len() as u64);
        // Whoever is bound to one patient finds of it what is that patient's.
        let mut own = found(&*store, &bound(&one), &asked);
        own.sort();
        expected.retain(|id| *id != b);
        assert_eq!(own, expected, "bound: {asked:?}");
        assert_eq!(store.search(&bound(&one), &asked).unwrap().total, expected.len() as u64);
    };
    let exact = |text: &str| Operand::Exact(text.into());
    let contains = |text: &str| Operand::Contains(fold(text));
    let is = |code: &str| token(None, Some(code));
    check("Patient", vec![("family", exact("Müller"))], false, &[&a]);
    check("Patient", vec![("family", exact("Muller"))], false, &[&b]);
    check("Patient", vec![("family", exact("Mull"))], false, &[]);
    check("Patient", vec![("given", exact("Müller"))], false, &[]);
    check("Patient", vec![("family", contains("ÜLL"))], false, &[&a, &b]);
    check("Patient", vec![("family", contains("etch")), ("given", Operand::Text("eve".into()))], false, &[&a]);
    check("Patient", vec![("family", contains("eve"))], false, &[]);
    check("Patient", vec![("gender", Operand::Missing(true))], false, &[&b]);
    check("Patient", vec![("gender", Operand::Missing(false))], false, &[&a]);
    check("Patient", vec![("given", Operand::Missing(true)), ("family", exact("Muller"))], false, &[&b]);
    check("Patient", vec![("gender", is("female"))], true, &[&b]);
    check("Patient", vec![("gender", is("male"))], true, &[&a, &b]);
    check("Observation", vec![("category", token(Some("urn:c"), Some("laboratory")))], true, &[&e]);
    check("Observation", vec![("category", token(Some("urn:other"), Some("laboratory")))], true, &[&d, &e]);
    check("Observation", vec![("date", Operand::Missing(true)), ("patient", of(&one))], false, &[&e]);
    check("Observation", vec![("encounter", Operand::Missing(true))], false, &[&d, &e]);
    check("Observation", vec![("subject", Operand::Missing(false))], false, &[&d, &e]);
    let updated = store.read(&everything(), "Patient", &a).unwrap().unwrap().last_updated.to_string();
    for (prefix, expected) in [
        (Prefix::Eq, &[&a, &b][..]),
        (Prefix::Ge, &[&a, &b]),
        (Prefix::Le, &[&a, &b]),
        (Prefix::Gt, &[]),
        (Prefix::Lt, &[]),
        (Prefix::Ne, &[]),
    ] {
        check("Patient", vec![("_lastUpdated", date(prefix, &updated))], false, expected);
    }
    check("Patient", vec![("_lastUpdated", date(Prefix::Ge, &updated)), ("family", exact("Müller"))], false, &[&a]);
    let mut uncounted = query("Patient", vec![]);
    uncounted.total = false;
    uncounted.count = 1;
    let page = store.search(&everything(), &uncounted).unwrap();
    assert_eq!((page.total, page.matches.len(), page.next.is_some()), (0, 1, true));
}

/// What is asked by the client of one patient has one answer, whoever else is in the store.
pub(super) fn modifiers_tell_nothing_of_others(engine: &dyn Engine) {
    let one = patient("1");
    let ask = |store: &dyn Store| {
        let operands = [Operand::Missing(true), Operand::Missing(false), Operand::Exact("Müller".into()), Operand::Contains("ull".into())];
        let mut asked: Vec<Query> = operands.map(|operand| query("Patient", vec![("family", vec![operand])])).into();
        asked.push(query("Patient", vec![("gender", vec![token(None, Some("male"))])]));
        asked[4].filters[0].not = true;
        asked.push(query("Patient", vec![("_lastUpdated", vec![date(Prefix::Ge, "2000")])]));
        let answers = asked.iter().map(|query| store.search(&bound(&one), query).unwrap());
        answers.map(|page| (page.total, page.matches.iter().map(|version| version.id.clone()).collect::<Vec<_>>())).collect::<Vec<_>>()
    };
    let store = plain(engine);
    send(&*store, "one", Message::at(1).says(&one, r#"{"name":[{"family":"Müller"}],"gender":"female"}"#)).unwrap();
    let alone = ask(&*store);
    assert_eq!(alone.iter().map(|(total, _)| *total).collect::<Vec<_>>(), [0, 1, 1, 1, 1, 1]);
    let other = Message::at(2).says(&patient("2"), r#"{"name":[{"family":"Müller"}]}"#).says(&patient("3"), r#"{"gender":"male"}"#);
    send(&*store, "two", other).unwrap();
    assert_eq!(ask(&*store), alone);
}

/// What has no value comes last in either direction; equal values, and what comes in between pages, repeat and hide nothing.
pub(super) fn sorted_pages_hold_everything_once(engine: &dyn Engine) {
    let store = plain(engine);
    let one = patient("1");
    let mut message = Message::at(1).says(&one, "{}").says(&patient("2"), "{}");
    let values = [
        r#","effectiveDateTime":"2026-02-03""#,
        "",
        r#","effectiveDateTime":"2026-02-01""#,
        r#","effectiveDateTime":"2026-02-03""#,
        r#","effectivePeriod":{"start":"2026-01-01","end":"2026-03-01"}"#,
        "",
    ];
    for (number, value) in values.iter().enumerate() {
        let (key, body) = observation(&number.to_string(), &one, value);
        message = message.says(&key, &body);
    }
    send(&*store, "one", message).unwrap();
    let name: BTreeMap<String, usize> =
        (0..values.len()).map(|number| (id(&observation(&number.to_string(), &one, "").0), number)).collect();
    let walk = |grant: &Grant, parameter: &str, descending: bool, count: usize, between: &dyn Fn()| {
        let mut asked = query("Observation", vec![]);
        asked.sort = vec![Sort { parameter: parameter.into(), descending }];
        asked.count = count;
        let mut all = Vec::new();
        loop {
            let page = store.search(grant, &asked).unwrap();
            assert!(page.matches.len() <= count && !page.matches.is_empty());
            all.extend(page.matches.iter().filter_map(|version| name.get(&version.id).copied()));
            between();
            let Some(next) = page.next else { return all };
            asked.cursor = Some(next);
        }
    };
    let rows = walk(&everything(), "_lastUpdated", false, 6, &|| {});
    // Rows of one message come in no order of ours: those that tie are told by their rows.
    let tie = |numbers: [usize; 2]| rows.iter().copied().filter(|number| numbers.contains(number)).collect::<Vec<_>>();
    let ascending = [vec![4, 2], tie([0, 3]), tie([1, 5])].concat();
    let descending = [vec![4], tie([0, 3]), vec![2], tie([1, 5])].concat();
    for count in 1..8 {
        for grant in [everything(), bound(&one)] {
            assert_eq!(walk(&grant, "date", false, count, &|| {}), ascending, "{count}");
            assert_eq!(walk(&grant, "date", true, count, &|| {}), descending, "{count}");
        }
    }
    let sequence = std::cell::Cell::new(0);
    let between = || {
        let number = sequence.replace(sequence.get() + 1);
        let (key, body) = observation(&format!("new{number}"), &patient("2"), r#","effectiveDateTime":"2026-02-02""#);
        send(&*store, &format!("new{number}"), Message::at(2).says(&key, &body)).unwrap();
    };
    assert_eq!(walk(&bound(&one), "date", false, 2, &between), ascending);
    assert_eq!(walk(&bound(&one), "date", true, 2, &between), descending, "another's results change no page");
    assert_eq!(walk(&everything(), "date", true, 20, &|| {}), descending);
    let mut asked = query("Patient", vec![]);
    asked.sort = vec![Sort { parameter: "general-practitioner".into(), descending: false }];
    assert!(matches!(store.search(&everything(), &asked), Err(StoreError::Refused(_))));
}

pub(super) fn dates_compare_as_intervals(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let stored =
        ["1990-06-15", "1990", r#"{"start":"1990-06-15"}"#, r#"{"end":"1990-06-15"}"#, r#"{"start":"1990-06-01","end":"1990-06-30"}"#];
    let mut message = Message::at(1).says(&key, "{}");
    for (number, value) in stored.iter().enumerate() {
        let more = match value.strip_prefix('{') {
            Some(_) => format!(r#","effectivePeriod":{value}"#),
            None => format!(r#","effectiveDateTime":"{value}""#),
        };
        let (key, body) = observation(&number.to_string(), &key, &more);
        message = message.says(&key, &body);
    }
    send(&*store, "one", message).unwrap();
    let name: BTreeMap<String, usize> =
        (0..stored.len()).map(|number| (id(&observation(&number.to_string(), &key, "").0), number)).collect();
    let check = |prefix: Prefix, text: &str, expected: &[usize]| {
        let found = found(&*store, &everything(), &query("Observation", vec![("date", vec![date(prefix, text)])]));
        let mut found: Vec<usize> = found.iter().map(|id| name[id]).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{prefix:?} {text}");
    };
    // 0: the day; 1: the year; 2: from the day on; 3: until the day; 4: the month.
    check(Prefix::Eq, "1990-06-15", &[0]);
    check(Prefix::Eq, "1990-06", &[0, 4]);
    check(Prefix::Eq, "1990", &[0, 1, 4]);
    check(Prefix::Ne, "1990-06", &[1, 2, 3]);
    check(Prefix::Gt, "1990-06-15", &[1, 2, 4]);
    check(Prefix::Lt, "1990-06-15", &[1, 3, 4]);
    check(Prefix::Ge, "1990-06-15", &[0, 1, 2, 4]);
    check(Prefix::Le, "1990-06-15", &[0, 1, 3, 4]);
    check(Prefix::Sa, "1990-06-14", &[0, 2]);
    check(Prefix::Sa, "1990-06-15", &[]);
    check(Prefix::Eb, "1990-06-16", &[0, 3]);
    check(Prefix::Eb, "1990-06-15", &[]);
    check(Prefix::Ap, "1990-06-15", &[0, 1, 2, 3, 4]);
    check(Prefix::Ap, "1960", &[3]);
}

pub(super) fn pages_follow_one_another(engine: &dyn Engine) {
    let store = plain(engine);
    for number in 0..5 {
        let message = Message::at(number).says(&patient(&number.to_string()), r#"{"name":[{"family":"Same"}]}"#);
        send(&*store, &format!("m{number}"), message).unwrap();
    }
    for filters in [vec![], vec![("family", vec![Operand::Text("same".into())])]] {
        let mut query = query("Patient", filters);
        query.count = 2;
        let (mut seen, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = store.search(&everything(), &query).unwrap();
            assert_eq!(page.total, 5);
            sizes.push(page.matches.len());
            seen.extend(page.matches.into_iter().map(|version| version.id));
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [2, 2, 1]);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5);
        (query.count, query.cursor) = (0, None);
        let page = store.search(&everything(), &query).unwrap();
        assert_eq!((page.total, page.matches.len(), page.next), (5, 0, None));
    }
    let key = patient("0");
    for number in 0..4 {
        let message = Message::at(10 + number).says(&key, &format!(r#"{{"name":[{{"family":"V{number}"}}]}}"#));
        send(&*store, &format!("v{number}"), message).unwrap();
    }
    let history = |cursor| {
        let asked = Query { count: 3, cursor, ..query("Patient", vec![]) };
        store.history(&everything(), &id(&key), &asked).unwrap().unwrap()
    };
    let first = history(None);
    let second = history(first.next.clone());
    let versions = |page: &crate::search::Page| page.matches.iter().map(|version| version.version).collect::<Vec<_>>();
    assert_eq!((versions(&first), versions(&second)), (vec![5, 4, 3], vec![2, 1]));
    assert_eq!((first.total, second.next), (5, None));
    // A page ends where its bodies are large, too; engines are opened with 64 KiB.
    for (number, letter) in ["a", "b", "c"].into_iter().enumerate() {
        let name = format!(r#"{{"name":[{{"family":"{}"}}]}}"#, letter.repeat(22_500));
        send(&*store, &format!("large{number}"), Message::at(20).says(&patient(letter), &name)).unwrap();
        send(&*store, &format!("larger{number}"), Message::at(30 + number as i64).says(&patient("a"), &name)).unwrap();
    }
    let page = store.history(&everything(), &id(&patient("a")), &query("Patient", vec![])).unwrap().unwrap();
    assert_eq!((page.matches.len(), page.total), (2, 3));
    let rest = store.history(&everything(), &id(&patient("a")), &Query { cursor: page.next, ..query("Patient", vec![]) }).unwrap().unwrap();
    assert_eq!((rest.matches.len(), rest.next), (1, None));
    let mut all = query("Patient", vec![]);
    all.count = 100;
    let page = store.search(&everything(), &all).unwrap();
    assert_eq!((page.matches.len(), page.total), (7, 8));
    all.cursor = page.next;
    assert_eq!(store.search(&everything(), &all).unwrap().matches.len(), 1);
}

pub(super) fn a_merged_patient_answers_for_both(engine: &dyn Engine) {
    let store = plain(engine);
    let (old, new, third) = (patient("1"), patient("2"), patient("3"));
    let ((before, before_body), (after, after_body)) = (observation("1", &old, ""), observation("2", &new, ""));
    send(&*store, "one", Message::at(1).says(&old, "{}").says(&before, &before_body).says(&after, &after_body)).unwrap();
    send(&*store, "two", Message::at(2).merged(&old, &new)).unwrap();
    send(&*store, "three", Message::at(3).merged(&third, &new)).unwrap();
    let asked = |patient: &Key| query("Observation", vec![("patient", vec![of(patient)])]);
    for member in [&old, &new, &third] {
        assert_eq!(found(&*store, &everything(), &asked(member)).len(), 2);
    }
    // A patient's own token does not cross merge edges.
    assert_eq!(found(&*store, &bound(&old), &asked(&old)), [id(&before)]);
    assert_eq!(found(&*store, &bound(&new), &asked(&new)), [id(&after)]);
    assert!(found(&*store, &bound(&third), &asked(&third)).is_empty());
    assert!(store.read(&bound(&new), "Patient", &id(&old)).unwrap().is_none());
    let retired = body(&*store, "Patient", &old).unwrap();
    assert_eq!(retired.get("active"), Some(&false.into()));
    let survivor = body(&*store, "Patient", &new).unwrap();
    assert_eq!(survivor.get("link").map(|link| link.each().len()), Some(2));
}

pub(super) fn an_item_that_dies_is_deleted(engine: &dyn Engine) {
    let store = plain(engine);
    let (parent, item) = (patient("1"), Key::new("AllergyIntolerance", "urn:al", "1"));
    let listing = |items: &str| {
        let slot = Slot::Group { element: "".into(), group: "AL1".into(), feed: "pas".into() };
        vec![(slot, Some(json(items)))]
    };
    let member = Membership { parent: parent.clone(), group: "AL1".into(), item: "1".into() };
    let slots = vec![(Slot::Element("patient".into()), Some(json(&format!(r#"{{"patient":{}}}"#, subject(&parent)))))];
    let message =
        Message::at(1).states(&parent, Class::Record, None, listing(r#"[{"key":"1"}]"#)).states(&item, Class::Record, Some(member), slots);
    send(&*store, "one", message).unwrap();
    assert_eq!(found(&*store, &everything(), &query("AllergyIntolerance", vec![])), [id(&item)]);
    let receipt = send(&*store, "two", Message::at(2).states(&parent, Class::Record, None, listing("[]"))).unwrap();
    assert!(receipt.resources.contains(&format!("AllergyIntolerance/{}/_history/2", id(&item))));
    assert!(found(&*store, &everything(), &query("AllergyIntolerance", vec![])).is_empty());
    for grant in [everything(), bound(&parent)] {
        let gone = store.read(&grant, "AllergyIntolerance", &id(&item)).unwrap().unwrap();
        assert_eq!((gone.version, gone.body, gone.patients), (2, None, vec![id(&parent)]));
        assert!(store.vread(&grant, "AllergyIntolerance", &id(&item), 1).unwrap().unwrap().body.is_some());
    }
    assert!(store.read(&bound(&patient("2")), "AllergyIntolerance", &id(&item)).unwrap().is_none());
}

pub(super) fn a_binary_lies_where_its_document_lies(engine: &dyn Engine) {
    let store = plain(engine);
    let (one, two) = (patient("1"), patient("2"));
    let (document, binary) = (Key::new("DocumentReference", "urn:doc", "1"), Key::new("Binary", "urn:doc", "1"));
    let context = format!(r#"{{"contentType":"text/xml","securityContext":{{"reference":"DocumentReference/{}"}}}}"#, id(&document));
    let lies = |patient: &Key| format!(r#"{{"status":"current","subject":{}}}"#, subject(patient));
    let message = Message::at(1).says(&one, "{}").says(&two, "{}").says(&binary, &context).says(&document, &lies(&one));
    send(&*store, "one", message).unwrap();
    let sees = |patient: &Key| store.read(&bound(patient), "Binary", &id(&binary)).unwrap().is_some();
    assert!(sees(&one) && !sees(&two));
    send(&*store, "two", Message::at(2).says(&document, &lies(&two))).unwrap();
    assert!(sees(&two) && !sees(&one));
    assert_eq!(store.read(&everything(), "Binary", &id(&binary)).unwrap().unwrap().patients, [id(&two)]);
}

pub(super) fn the_audit_is_searched_newest_first(engine: &dyn Engine) {
    let store = plain(engine);
    let (one, two) = (patient("1"), patient("2"));
    send(&*store, "one", Message::at(1).says(&one, "{}").says(&two, "{}")).unwrap();
    for second in 1..=4_i64 {
        let mut entry = entry(Action::Read);
        entry.at = at("2026-03-01T12:00:00Z") + jiff::Span::new().seconds(second);
        entry.outcome = if second == 4 { 4 } else { 0 };
        entry.patients = if second == 2 { vec![id(&two)] } else { vec![] };
        wait(store.record(entry)).unwrap();
    }
    let ask = |filters: Vec<(&str, Vec<Operand>)>, count: usize, cursor: Option<Cursor>| {
        let query = Query { count, cursor, ..query("AuditEvent", filters) };
        store.audit_search(&everything(), &query).unwrap()
    };
    let times = |page: &super::AuditPage| page.entries.iter().map(|(_, entry)| entry.at.as_second() % 60).collect::<Vec<_>>();
    let first = ask(vec![], 3, None);
    let second = ask(vec![], 3, first.next.clone());
    assert_eq!((times(&first), times(&second)), (vec![4, 3, 2], vec![1, 0]));
    assert_eq!((first.total, second.next), (6, None), "one AuditEvent for each patient named");
    let check = |filters: Vec<(&str, Vec<Operand>)>, expected: &[i64], total: u64| {
        let told = format!("{filters:?}");
        let page = ask(filters, 50, None);
        assert_eq!((times(&page).as_slice(), page.total), (expected, total), "{told}");
    };
    check(vec![("patient", vec![of(&two)])], &[2, 0], 2);
    check(vec![("patient", vec![of(&one), of(&two)])], &[2, 0], 3);
    check(vec![("patient", vec![of(&one)]), ("patient", vec![of(&two)])], &[], 0);
    check(vec![("outcome", vec![token(None, Some("4"))])], &[4], 1);
    check(vec![("outcome", vec![token(Some("http://hl7.org/fhir/audit-event-outcome"), Some("0"))])], &[3, 2, 1, 0], 5);
    check(vec![("outcome", vec![token(Some("urn:x"), Some("4"))])], &[], 0);
    check(vec![("date", vec![date(Prefix::Ge, "2026-03-01T12:00:03Z")])], &[4, 3], 2);
    check(vec![("date", vec![date(Prefix::Eq, "2026-03-01")]), ("patient", vec![of(&one)])], &[0], 1);
    check(vec![("date", vec![date(Prefix::Lt, "2026-03-01")])], &[], 0);
    let (id, entry) = &first.entries[0];
    let page = ask(vec![("_id", vec![Operand::Id(id.clone())])], 50, None);
    assert_eq!((page.total, &page.entries[0].0, &page.entries[0].1), (1, id, entry));
    check(vec![("_id", vec![Operand::Id("nonsense".into()), Operand::Id(format!("{id}7"))])], &[], 0);
    assert!(id.len() <= 60 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
}

pub(super) fn the_journal_is_filtered(engine: &dyn Engine) {
    let store = plain(engine);
    send(&*store, "one", Message::at(1).says(&patient("1"), "{}")).unwrap();
    wait(store.keep(arrival("two", OutcomeKind::Held))).unwrap();
    let mut other = arrival("three", OutcomeKind::Forbidden);
    other.feed = "mllp.main".into();
    other.received = at("2026-03-02T12:00:00Z");
    other.message_type = "ORU^R01".into();
    other.issues = vec![Issue::new(Severity::Error, IssueCode::Identity, "PID-3", "Is of another's assigner")];
    wait(store.keep(other)).unwrap();
    let check = |filter: JournalFilter, expected: &[u64]| {
        let rows = store.journal(&filter, 10).unwrap();
        assert_eq!(rows.iter().map(|row| row.position).collect::<Vec<_>>(), expected, "{filter:?}");
    };
    check(JournalFilter::default(), &[1, 2, 3]);
    check(JournalFilter { feed: Some("pas".into()), ..Default::default() }, &[1, 2]);
    check(JournalFilter { feed: Some("nobody".into()), ..Default::default() }, &[]);
    check(JournalFilter { outcome: Some(OutcomeKind::Held), ..Default::default() }, &[2]);
    check(JournalFilter { control_id: Some("c-two".into()), ..Default::default() }, &[2]);
    check(JournalFilter { after: 1, ..Default::default() }, &[2, 3]);
    check(JournalFilter { before: Some(3), newest: true, ..Default::default() }, &[2, 1]);
    check(JournalFilter { waiting: true, ..Default::default() }, &[2, 3]);
    for (kind, expected) in [("ORU", [3].as_slice()), ("ORU^R01", &[3]), ("ORU^R0", &[]), ("OR", &[])] {
        check(JournalFilter { message_type: Some(kind.into()), ..Default::default() }, expected);
    }
    let noon = Some(at("2026-03-02T12:00:00Z"));
    check(JournalFilter { from: noon, ..Default::default() }, &[3]);
    check(JournalFilter { to: noon, newest: true, ..Default::default() }, &[2, 1]);
    check(JournalFilter { from: noon, to: noon, ..Default::default() }, &[]);
    for (reason, expected) in [("another's ASSIGNER", [3].as_slice()), ("pid-3", &[3]), ("error", &[])] {
        check(JournalFilter { reason: Some(reason.into()), ..Default::default() }, expected);
    }
    check(JournalFilter { patient: Some(id(&patient("1"))), ..Default::default() }, &[1]);
    check(JournalFilter { patient: Some(id(&patient("2"))), ..Default::default() }, &[]);
    check(JournalFilter { patient: Some(id(&patient("1"))), waiting: true, ..Default::default() }, &[]);
    assert_eq!(store.journal(&JournalFilter::default(), 1).unwrap().len(), 1);
    assert_eq!(store.frame(3).unwrap().unwrap().0.feed, "mllp.main");
    assert!(store.frame(9).unwrap().is_none());
}

/// Holds the access writer before its first commit.
struct Gate(Mutex<std::sync::mpsc::Receiver<()>>);

impl Faults for Gate {
    fn at(&self, file: File, point: Point) -> Option<Failure> {
        if file == File::Access && point == Point::BeforeCommit {
            // Opened, or gone: both let it through.
            let _ = self.0.lock().unwrap().recv();
        }
        None
    }
}

pub(super) fn a_full_queue_is_busy(engine: &dyn Engine) {
    let (open, gate) = std::sync::mpsc::channel();
    let store = engine.open(clock(), Arc::new(Gate(Mutex::new(gate))));
    let mut answers: Vec<_> = (0..10_000).map(|_| store.record(entry(Action::Read))).collect();
    let last = answers.pop().unwrap();
    assert_eq!(wait(last), Err(StoreError::Busy));
    // Other work is not behind it.
    send(&*store, "one", Message::at(1).says(&patient("1"), "{}")).unwrap();
    drop(open);
    let answers: Vec<_> = answers.into_iter().map(wait).collect();
    let durable = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(StoreError::Busy))));
    assert_eq!(store.audit_search(&everything(), &query("AuditEvent", vec![])).unwrap().total, durable + 1);
}

pub(super) fn a_process_left_behind_is_refused(engine: &dyn Engine) {
    let store = plain(engine);
    let under = |bytes: &str, recipe: &str| {
        let arrival = Arrival { recipe: recipe.into(), ..arrival(bytes, OutcomeKind::Stored) };
        wait(store.commit(&Warrant::for_tests("pas"), arrival, Message::at(1).says(&patient("1"), "{}").translation))
    };
    assert_eq!(store.active("pas").unwrap(), None);
    assert!(under("one", "r1").is_ok());
    // Frames alone are kept under any recipe, and make none active.
    wait(store.keep(Arrival { recipe: "r2".into(), ..arrival("two", OutcomeKind::Malformed) })).unwrap();
    assert_eq!(store.active("pas").unwrap().as_deref(), Some("r1"));
    assert!(matches!(under("three", "r2"), Err(StoreError::Unavailable(_))));
    wait(store.activate("pas", "r2")).unwrap();
    assert!(under("three", "r2").is_ok());
    assert!(under("four", "r1").is_err());
    wait(store.activate("pas", "r1")).unwrap();
    assert!(under("five", "r1").is_ok());
    // What this process translated before it went on to another recipe is still stored.
    assert!(under("six", "r2").is_ok());
    assert!(matches!(under("seven", "r3"), Err(StoreError::Unavailable(_))));
}

pub(super) fn control_ids_used_twice_are_a_finding(engine: &dyn Engine) {
    let store = plain(engine);
    for bytes in ["one", "two"] {
        let arrival = Arrival { control_id: "7".into(), ..arrival(bytes, OutcomeKind::Stored) };
        let message = Message::at(1).says(&patient("1"), "{}");
        assert_eq!(wait(store.commit(&Warrant::for_tests("pas"), arrival, message.translation)).unwrap().outcome, OutcomeKind::Stored);
    }
    assert_eq!(store.journal(&JournalFilter { control_id: Some("7".into()), ..Default::default() }, 10).unwrap().len(), 2);
}
