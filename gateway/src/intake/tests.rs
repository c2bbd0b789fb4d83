use super::double::{Memory, intake};
use super::*;
use std::sync::atomic::Ordering;

fn main_door() -> Door {
    Door::Mllp("main".into())
}

fn peer(names: &[&str]) -> Arc<Peer> {
    Arc::new(Peer { address: "192.0.2.7:4000".into(), names: names.iter().map(|name| (*name).to_owned()).collect(), token: None })
}

const PAS: &[&str] = &["pas.hospital.example"];
const LAB: &[&str] = &["lab.hospital.example"];

async fn send(intake: &Intake, door: &Door, names: &[&str], line: &str) -> Answer {
    intake.receive(door, &peer(names), Frame::new(line.as_bytes().to_vec())).await
}

fn said(answer: &Answer) -> String {
    answer.reply.as_ref().map(|reply| String::from_utf8(reply.to_vec()).unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn each_outcome_has_its_reply_journal_line_and_entry() {
    // Door, peer, line; the reply, the journal and the audit then.
    async fn check(door: &Door, names: &[&str], line: &str, reply: &str, journaled: &[&str], audited: &[&str]) {
        let store = Memory::default();
        let answer = send(&intake(&store, 10), door, names, line).await;
        assert_eq!(said(&answer), reply, "{line}");
        assert_eq!(store.0.journaled(), journaled, "{line}");
        assert_eq!(store.0.audited(), audited, "{line}");
        assert_eq!(answer.closes, reply.is_empty() && answer.outcome == OutcomeKind::Transient, "{line}");
    }
    let main = main_door();
    let plain = Door::Mllp("plain".into());
    check(&main, PAS, "ADT^A01|1|PAS|P|7", "AA|1|pas|stored", &["pas stored"], &["feed:pas 0"]).await;
    check(&main, LAB, "ORU^R01|1|LAB|P|7", "AA|1|lab|stored", &["lab stored"], &["feed:lab 0"]).await;
    let upper = &["PAS.Hospital.Example"];
    check(&main, upper, "ADT^A01|1|PAS|P|7", "AA|1|pas|stored", &["pas stored"], &["feed:pas 0"]).await;
    check(&main, PAS, "ADT^A01|1|PAS|P|7|issue", "AA|1|pas|stored-with-issues", &["pas stored-with-issues"], &["feed:pas 0"]).await;
    check(&main, PAS, "garbage", "AE||pas|malformed", &["pas malformed"], &["feed:pas 4 malformed"]).await;
    for kind in ["unsupported", "untranslatable", "held"] {
        let line = format!("ADT^A01|1|PAS|P|7|{kind}");
        let journaled = format!("pas {kind}");
        check(&main, PAS, &line, &format!("AA|1|pas|{kind}"), &[&journaled], &[&format!("feed:pas 4 {kind}")]).await;
    }
    // Not for a live record.
    check(&main, PAS, "ADT^A01|1|PAS|T|7", "AA|1|pas|held", &["pas held"], &["feed:pas 4 held"]).await;
    // A type that is not accepted; a sender that this peer is not; an assigner that is not its own.
    let forbidden = (&["pas forbidden"], &["feed:pas 4 forbidden"]);
    check(&main, PAS, "ORU^R01|1|PAS|P|7", "AR|1|pas|forbidden", forbidden.0, forbidden.1).await;
    check(&main, PAS, "ADT^A01|1|LAB|P|7", "AR|1|pas|forbidden", forbidden.0, forbidden.1).await;
    check(&main, PAS, "ADT^A01|1|PAS|P|foreign:7", "AR|1|pas|forbidden", forbidden.0, forbidden.1).await;
    check(&main, LAB, "ORU^R30|1|LAB|P|7", "AR|1|lab|forbidden", &["lab forbidden"], &["feed:lab 4 forbidden"]).await;
    // A certificate of this authority that is no feed's: kept under the listener.
    let unknown = &["app.hospital.example"];
    let audited = &["peer:app.hospital.example 4 forbidden"];
    check(&main, unknown, "ADT^A01|1|PAS|P|7", "AR|1|pas|forbidden", &["mllp.main forbidden"], audited).await;
    // On a plain listener nobody is proven: the configured sender may, and others are not kept.
    check(&plain, &[], "ADT^A01|1|LOUD|P|7", "AA|1|loud|stored", &["loud stored"], &["feed:loud 0"]).await;
    check(&plain, &[], "ADT^A01|1|PAS|P|7", "AR|1|loud|forbidden", &[], &["feed:loud 4 forbidden"]).await;
    // A feed's plain listener does not open another feed's door.
    check(&main, &[], "ADT^A01|1|LOUD|P|7", "AR|1|pas|forbidden", &[], &["unknown 4 forbidden"]).await;
    // A sender that wants no reply gets none.
    check(&main, PAS, "ADT^A01|silent|PAS|P|7", "", &["pas stored"], &["feed:pas 0"]).await;
    // An adapter's panic is our fault: nothing is kept, nothing acknowledged; `lab` wants to be told.
    check(&main, PAS, "ADT^A01|1|PAS|P|7|panic", "", &[], &["feed:pas 12 transient"]).await;
    check(&main, LAB, "ORU^R01|1|LAB|P|7|panic", "AE|1|lab|transient", &[], &["feed:lab 12 transient"]).await;
}

#[tokio::test]
async fn a_repeat_gets_the_first_reply_and_changes_nothing() {
    let store = Memory::default();
    let intake = intake(&store, 10);
    let first = send(&intake, &main_door(), PAS, "ADT^A01|1|PAS|P|7|issue").await;
    let again = send(&intake, &main_door(), PAS, "ADT^A01|1|PAS|P|7|issue").await;
    assert_eq!((again.outcome, said(&again)), (OutcomeKind::Duplicate, said(&first)));
    assert_eq!(store.0.journaled(), ["pas stored-with-issues"]);
    assert_eq!(store.0.kept().journal[0].1, 1);
    assert_eq!(store.0.audited(), ["feed:pas 0", "feed:pas 0 duplicate"]);
    // The same control id with other content: stored, and noted.
    let other = send(&intake, &main_door(), PAS, "ADT^A01|1|PAS|P|8").await;
    assert_eq!(other.outcome, OutcomeKind::StoredWithIssues);
    assert_eq!(other.issues[0].code, contract::IssueCode::Identity);
}

#[tokio::test]
async fn what_cannot_be_made_durable_is_not_acknowledged() {
    let store = Memory::default();
    let intake = intake(&store, 10);
    store.0.broken.store(true, Ordering::SeqCst);
    for (names, line) in [(PAS, "ADT^A01|1|PAS|P|7"), (PAS, "garbage"), (LAB, "ORU^R01|1|LAB|P|7")] {
        let answer = send(&intake, &main_door(), names, line).await;
        assert_eq!((answer.outcome, answer.reply, answer.closes), (OutcomeKind::Transient, None, true), "{line}");
    }
    store.0.broken.store(false, Ordering::SeqCst);
    let judged = intake.judge(main_door(), peer(LAB), Frame::new("ORU^R01|1|LAB|P|7")).await;
    store.0.broken.store(true, Ordering::SeqCst);
    // Told only where that itself can be written down.
    assert!(intake.settle(judged).await.closes);
    assert!(store.0.audited().is_empty());
}

#[tokio::test]
async fn quarantine_is_bounded_and_emptied_by_replay() {
    let store = Memory::default();
    let intake = intake(&store, 2);
    let door = main_door();
    for at in 0..2 {
        send(&intake, &door, PAS, &format!("ADT^A01|{at}|PAS|T|7")).await;
    }
    // Full: what would be acknowledged is not; what is refused is refused, and written down without the frame.
    let held = send(&intake, &door, PAS, "ADT^A01|3|PAS|T|7").await;
    assert_eq!((held.outcome, held.closes), (OutcomeKind::Transient, true));
    let malformed = send(&intake, &door, PAS, "garbage").await;
    assert_eq!(said(&malformed), "AE||pas|malformed");
    // What waits already may come again.
    assert_eq!(said(&send(&intake, &door, PAS, "ADT^A01|0|PAS|T|7").await), "AA|0|pas|held");
    assert_eq!(store.0.journaled(), ["pas held", "pas held"]);

    let operator = Agent { who: "os:op".into(), ..Agent::default() };
    assert_eq!(intake.replay(1, &operator, false).await.unwrap().outcome, OutcomeKind::Held);
    let released = intake.replay(1, &operator, true).await.unwrap();
    assert_eq!((released.outcome, released.position), (OutcomeKind::Stored, Some(1)));
    assert_eq!(store.0.audited().last().unwrap(), "os:op 0");
    assert_eq!(store.0.journaled(), ["pas stored", "pas held"]);
    assert!(intake.replay(1, &operator, true).await.unwrap_err().contains("stored"));
    assert!(intake.replay(9, &operator, true).await.unwrap_err().contains("no such position"));
    assert_eq!(send(&intake, &door, PAS, "ADT^A01|3|PAS|T|7").await.outcome, OutcomeKind::Held);
    // Room that is made beside the gateway is known when it counts again.
    self::intake(&store, 2).replay(2, &operator, true).await.unwrap();
    assert_eq!(send(&intake, &door, PAS, "ADT^A01|4|PAS|T|7").await.outcome, OutcomeKind::Transient);
    intake.recount().await;
    assert_eq!(send(&intake, &door, PAS, "ADT^A01|4|PAS|T|7").await.outcome, OutcomeKind::Held);
}

#[tokio::test]
async fn a_restart_counts_what_waits() {
    let store = Memory::default();
    send(&intake(&store, 1), &main_door(), PAS, "garbage").await;
    let restarted = intake(&store, 1);
    assert!(send(&restarted, &main_door(), PAS, "ADT^A01|3|PAS|T|7").await.closes);
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_refused_by_its_head() {
    let store = Memory::default();
    let intake = intake(&store, 10);
    let judged = intake.too_large(&main_door(), peer(PAS), Bytes::from_static(b"ADT^A01|9|PAS|P|7|xxxx"), 20).await;
    let answer = intake.settle(judged).await;
    assert_eq!(said(&answer), "AR|9|pas|malformed");
    assert_eq!((store.0.journaled().len(), store.0.audited()), (0, vec!["feed:pas 4 malformed".to_owned()]));
}

#[test]
fn no_value_stands_in_what_is_shown() {
    let peer = peer(PAS);
    let store = Memory::default();
    let intake = intake(&store, 10);
    let judged = super::judge(&intake.room, &main_door(), &peer, Frame::new("ADT^A01|77|PAS|P|4711"), intake.room.clock.now(), None);
    assert_eq!(format!("{judged:?}"), "Judged(pas stored)");
}
