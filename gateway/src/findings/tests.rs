use super::facts::{Certificate, Part};
use super::*;
use crate::config::{Config, Relay, RelayMode};
use crate::development;
use crate::state::Finding;
use crate::store::outbox::Backlog;
use crate::store::{AppWatch, FeedWatch, FindingRow, Unkept, Waiting};
use contract::Sequence;

const NOW: &str = "2026-03-31T12:30:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A boundary where all is well.
fn sound() -> Facts {
    let folder = tempfile::tempdir().unwrap();
    development::init(folder.path(), at(NOW)).unwrap();
    let config = Config::load(&folder.path().join("landbridge.toml")).unwrap();
    let feed = FeedWatch {
        feed: "lab".into(),
        messages: 41_204,
        first: at("2026-03-03T10:00:00Z"),
        last: at("2026-03-31T12:28:00Z"),
        today: 1_400,
        at_this_hour: 420,
        days_at_this_hour: 28,
        sampled: 1000,
        ..FeedWatch::default()
    };
    Facts {
        now: at(NOW),
        config,
        certificates: Vec::new(),
        development: Vec::new(),
        feeds: vec![feed],
        apps: Vec::new(),
        backlogs: Vec::new(),
        unkept: Vec::new(),
        noticed: Vec::new(),
        seals_stay: false,
        last_seal: Some(at("2026-03-31T12:29:00Z")),
    }
}

/// The one concern of a boundary that was changed in one thing.
fn changed(change: impl FnOnce(&mut Facts)) -> Concern {
    let mut facts = sound();
    change(&mut facts);
    let found = judge(&facts);
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

fn none(change: impl FnOnce(&mut Facts)) {
    let mut facts = sound();
    change(&mut facts);
    assert_eq!(judge(&facts), []);
}

#[test]
fn a_sound_boundary_is_safe() {
    let found = judge(&sound());
    assert_eq!((found.len(), state(&found)), (0, State::Safe));
    assert!(headline(&found).starts_with("Safe"));
}

#[test]
fn a_plain_feed_is_unsafe_twice_over_and_less_so_on_loopback() {
    let plain = |address: &str| {
        let mut facts = sound();
        let listener = facts.config.mllp.get_mut("main").unwrap();
        listener.tls = None;
        listener.listen = address.parse().unwrap();
        judge(&facts)
    };
    let found = plain("10.0.0.5:2575");
    assert_eq!(
        found.iter().map(|concern| concern.kind).collect::<Vec<_>>(),
        ["plaintext-feed", "unauthenticated-feed", "plaintext-feed", "unauthenticated-feed"]
    );
    assert!(found.iter().all(|concern| concern.state == State::Unsafe));
    let lab = found.iter().find(|concern| concern.about == "feed lab").unwrap();
    assert_eq!((lab.what.as_str(), lab.count), ("Feed lab is not encrypted.", Some(41_204)));
    assert!(plain("127.0.0.1:2575").iter().all(|concern| concern.state == State::NeedsAttention));
    assert!(headline(&found).starts_with("Unsafe: 4 findings"));
}

#[test]
fn a_relay_is_told_where_it_is_plain_waits_or_has_given_up() {
    let relay = |to: &str| Relay {
        to: to.into(),
        mode: RelayMode::AfterCommit,
        files: crate::mllp::Files::default(),
        refusals: 3,
        reply_time: std::time::Duration::from_secs(60),
    };
    let with = |to: &str| changed(|facts| facts.config.feeds.get_mut("lab").unwrap().relay = Some(relay(to)));
    assert_eq!((with("engine:2575").state, with("engine:2575").kind), (State::Unsafe, "plaintext-relay"));
    assert_eq!(with("127.0.0.1:2575").state, State::NeedsAttention);
    let backlog = |oldest: &str, dead| Backlog { feed: "lab".into(), waiting: 12, oldest: Some(at(oldest)), dead };
    let waits = changed(|facts| facts.backlogs.push(backlog("2026-03-31T12:00:00Z", 0)));
    assert_eq!((waits.kind, waits.count), ("relay-waits", Some(12)));
    assert!(waits.what.contains("for 30 min"), "{}", waits.what);
    assert_eq!(changed(|facts| facts.backlogs.push(backlog("2026-03-31T12:29:00Z", 2))).kind, "relay-dead-letters");
    none(|facts| facts.backlogs.push(backlog("2026-03-31T12:29:00Z", 0)));
    let unkept = Unkept { listener: "mllp.main".into(), count: 12, first: at("2026-03-30T08:00:00Z") };
    let told = changed(|facts| facts.unkept.push(unkept));
    assert_eq!((told.state, told.kind, told.count), (State::NeedsAttention, "relay-unkept", Some(12)));
    assert!(told.what.contains("at mllp.main were passed on and are not in the journal"), "{}", told.what);
}

#[test]
fn certificates_that_end_or_are_weak_are_told() {
    let certificate = |ends: &str, weakness, part| Certificate {
        door: "mllp.main".into(),
        part,
        file: "tls/server.pem".into(),
        ends: at(ends),
        weakness,
    };
    let with = |one: Certificate| changed(|facts| facts.certificates.push(one));
    let ends = with(certificate("2026-04-12T12:31:00Z", None, Part::Server));
    assert_eq!((ends.state, ends.kind), (State::NeedsAttention, "certificate-ends"));
    assert!(ends.what.contains("ends in 12 days, on 12 April 2026") && ends.meaning.contains("messages stop arriving"));
    assert_eq!(with(certificate("2026-03-31T12:29:00Z", None, Part::Server)).state, State::Unsafe);
    assert_eq!(with(certificate("2027-03-31T12:29:00Z", Some("it is short"), Part::Server)).kind, "certificate-weak");
    assert!(with(certificate("2026-04-01T12:29:00Z", None, Part::ClientAuthority)).meaning.contains("its clients are refused"));
    none(|facts| facts.certificates.push(certificate("2026-05-31T12:29:00Z", None, Part::Server)));
}

#[test]
fn a_senders_certificate_that_ends_is_told() {
    let ends = |text: &str| changed(|facts| facts.feeds[0].certificate_ends = Some(at(text)));
    let soon = ends("2026-04-12T12:31:00Z");
    assert_eq!((soon.state, soon.kind, soon.about.as_str()), (State::NeedsAttention, "certificate-ends", "feed lab"));
    assert!(soon.what.contains("of feed lab showed last ends in 12 days, on 12 April 2026"), "{}", soon.what);
    assert_eq!(ends("2026-03-31T12:29:00Z").state, State::Unsafe);
    none(|facts| facts.feeds[0].certificate_ends = Some(at("2026-05-31T12:29:00Z")));
}

#[test]
fn a_feed_is_silent_by_its_own_habit_at_this_hour() {
    let silent = changed(|facts| facts.feeds[0].last = at("2026-03-31T09:30:00Z"));
    assert_eq!(silent.kind, "silent-feed");
    assert!(silent.what.contains("silent for 3 h; usual at this hour: 4 min"), "{}", silent.what);
    none(|facts| facts.feeds[0].last = at("2026-03-31T12:16:00Z"));
    // Who speaks once a day, or hardly ever, is not silent after an hour.
    none(|facts| {
        facts.feeds[0].last = at("2026-03-31T09:30:00Z");
        facts.feeds[0].at_this_hour = 28;
    });
    none(|facts| {
        facts.feeds[0].last = at("2026-03-31T09:30:00Z");
        facts.feeds[0].days_at_this_hour = 4;
    });
}

#[test]
fn what_waits_is_told_and_is_unsafe_where_there_is_no_room() {
    let waiting = |count| Some(Waiting { count, since: at("2026-03-29T10:00:00Z"), today: 7 });
    let some = changed(|facts| facts.feeds[0].waiting = waiting(1_234));
    assert!(
        some.state == State::NeedsAttention && some.what == "1,234 messages of feed lab wait in quarantine, 7 of them since yesterday."
    );
    let full = changed(|facts| facts.feeds[0].waiting = waiting(facts.config.limits.quarantine_frames));
    assert!(full.state == State::Unsafe && full.meaning.contains("no room"));
}

#[test]
fn unknown_codes_and_lost_values_are_told_by_share() {
    let issue = |code, place: &str, messages| (code, place.to_owned(), messages);
    let codes = changed(|facts| {
        facts.feeds[0].issues =
            vec![issue("unknown-code", "OBX-3", 120), issue("unknown-code", "OBR-4", 300), issue("altered", "PID-5", 900)]
    });
    assert_eq!(codes.kind, "unmapped-codes");
    assert!(codes.what.contains("30 % or more") && codes.what.contains("OBR-4 (30 %), OBX-3 (12 %)"), "{}", codes.what);
    assert_eq!(changed(|facts| facts.feeds[0].issues = vec![issue("not-mapped", "ZPI-2", 1000)]).kind, "values-that-go-nowhere");
    none(|facts| facts.feeds[0].issues = vec![issue("not-mapped", "ZPI-2", 49)]);
}

#[test]
fn gaps_are_told_where_the_sender_counts() {
    let numbers = |text: &[u64]| text.iter().map(|number| (*number, at("2026-03-31T11:00:00Z"))).collect::<Vec<_>>();
    let counting = |facts: &mut Facts, sequence| facts.config.feeds.get_mut("lab").unwrap().sequence = sequence;
    let gap = changed(|facts| {
        counting(facts, Some(Sequence::ControlId));
        facts.feeds[0].control_ids = numbers(&[9, 5, 4, 12, 5, 5000]);
    });
    assert!(gap.what.starts_with("5 numbers are missing in what feed lab counts (control id)"), "{}", gap.what);
    let gap = changed(|facts| {
        counting(facts, Some(Sequence::Msh13));
        facts.feeds[0].sequence_numbers = numbers(&[1, 3]);
    });
    assert_eq!((gap.kind, gap.count), ("sequence-gap", Some(1)));
    none(|facts| {
        counting(facts, None);
        facts.feeds[0].control_ids = numbers(&[1, 3]);
    });
    none(|facts| {
        counting(facts, Some(Sequence::ControlId));
        facts.feeds[0].control_ids = numbers(&[3, 1, 2]);
    });
}

#[test]
fn what_folding_noticed_and_what_guards_the_boundary_is_told() {
    let row = FindingRow {
        finding: Finding::ControlIdReused,
        feed: "lab".into(),
        count: 2,
        first: at("2026-03-30T10:00:00Z"),
        last: at(NOW),
        position: 17,
    };
    let reused = changed(|facts| facts.noticed.push(row));
    assert_eq!((reused.kind, reused.count), ("control-id-reused", Some(2)));
    assert!(reused.act.contains("landbridge journal show 17"));
    let app = AppWatch { app: "reader".into(), requests: 9, first: at("2026-03-30T10:00:00Z"), last: at(NOW) };
    assert!(changed(|facts| facts.apps.push(app)).what.contains("may read every patient"));
    assert_eq!(changed(|facts| facts.development.push("keys/id.key".into())).state, State::Unsafe);
    assert_eq!(changed(|facts| facts.seals_stay = true).kind, "seals-stay");
    assert!(changed(|facts| facts.last_seal = Some(at("2026-03-30T10:30:00Z"))).what.contains("26 h ago"));
    none(|facts| facts.last_seal = None);
}
