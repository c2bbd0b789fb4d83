//! What any engine owes. Each test takes an [`Engine`]; an engine's own tests run them all ([`for_engine`]).

mod following;
mod searching;
mod taking;

pub(super) use following::*;
pub(super) use searching::*;
pub(super) use taking::*;

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
            what_is_pointed_at_comes_along, what_points_at_it_comes_along, what_is_out_of_reach_uses_up_no_page, what_comes_along_is_never_cut, several_parameters_order,
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
        request: "ADT^A01 1".into(),
        ..Entry::new(at("2026-03-01T12:00:00Z"), action, Agent { who: "feed:pas".into(), ..Agent::default() })
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
