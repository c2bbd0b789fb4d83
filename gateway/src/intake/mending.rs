//! Messages of a journey that are edited, withdrawn and restored: what apps read is as if the message had come so in the
//! first place, or never.

use super::journey::{Hospital, Sent, clock, journey, runtime};
use crate::audit::{Action, Agent, Entry};
use crate::store::faults::NoFaults;
use crate::store::{Edit, Mending, Standing, Store, StoreError, Withdrawal};
use contract::{Frame, OutcomeKind};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;
use std::sync::Arc;

fn hospital(messages: &[Sent]) -> Hospital {
    let mut hospital = Hospital::new(|| Arc::new(NoFaults));
    runtime().block_on(async {
        for message in messages {
            hospital.deliver(std::slice::from_ref(message)).await;
        }
    });
    hospital
}

fn withdrawal(position: u64, restores: bool) -> Withdrawal {
    let action = if restores { Action::Restore } else { Action::Withdraw };
    let agent = Agent { who: "os:wren".into(), ..Agent::default() };
    let entry = Entry::new(clock().now(), action, agent);
    Withdrawal { position, restores, because: "a test message".into(), entry }
}

/// Withdraws or restores beside whoever has the store open, and compares what was shown before with what came of it.
fn withdraw(hospital: &Hospital, position: usize, restores: bool) -> Result<usize, StoreError> {
    let store = hospital.sqlite();
    let shown = store.preview(position as u64, restores)?;
    let receipt = runtime().block_on(store.withdraw(withdrawal(position as u64, restores)))?;
    let mut told: Vec<&str> = receipt.resources.iter().filter_map(|name| name.split("/_history/").next()).collect();
    told.sort_unstable();
    assert_eq!(told, shown.iter().map(|effect| effect.address.as_str()).collect::<Vec<_>>());
    Ok(told.len())
}

fn edit(hospital: &mut Hospital, of: usize, text: &str) -> Result<super::Answer, String> {
    let intake = hospital.intake();
    let agent = Agent { who: "os:wren".into(), ..Agent::default() };
    let edit = Edit { of: of as u64, who: agent.who.clone(), because: "the wrong patient".into() };
    runtime().block_on(intake.edit(Frame::new(text.as_bytes().to_vec()), edit, &agent, false))
}

/// Resources that messages are about. What is only mentioned stays when its message is withdrawn.
fn records(mut bodies: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mentioned = ["Location/", "Organization/", "Practitioner/", "PractitionerRole/", "Device/"];
    bodies.retain(|name, _| !mentioned.iter().any(|kind| name.starts_with(kind)));
    bodies
}

/// Some of the journey's messages, in some order.
fn sequences() -> impl Strategy<Value = Vec<Sent>> {
    let all = journey();
    let count = all.len();
    proptest::sample::subsequence(all, 2..count).prop_shuffle()
}

/// As a person would mend it: another name, value or patient.
fn mended(text: &str, how: u8) -> String {
    let (from, to) = match how {
        0 => ("|1^^^RXX^MR|", "|2^^^RXX^MR|"),
        1 => ("Lime Row", "Elm Row"),
        _ => ("F7^LAB", "F8^LAB"),
    };
    // A note at the end makes it another frame in any case, and says nothing.
    format!("{}ZZZ|{how}\r", text.replace(from, to))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_withdrawn_message_never_came_and_a_restored_one_never_went(messages in sequences(), which in any::<Index>()) {
        let at = which.index(messages.len());
        let mut others = messages.clone();
        others.remove(at);
        let hospital = hospital(&messages);
        let with = hospital.bodies();
        withdraw(&hospital, at + 1, false).unwrap();
        prop_assert_eq!(records(hospital.bodies()), records(self::hospital(&others).bodies()));
        withdraw(&hospital, at + 1, true).unwrap();
        prop_assert_eq!(hospital.bodies(), with);
        hospital.is_audited_whole();
    }

    #[test]
    fn an_edited_message_counts_as_if_it_had_come_so(messages in sequences(), which in any::<Index>(), how in 0_u8..3) {
        let at = which.index(messages.len());
        let mut others = messages.clone();
        others[at].1 = mended(&messages[at].1, how);
        let mut hospital = hospital(&messages);
        let with = hospital.bodies();
        let answer = edit(&mut hospital, at + 1, &others[at].1).unwrap();
        prop_assert!(answer.outcome.is_stored());
        prop_assert_eq!(answer.position, Some(messages.len() as u64 + 1));
        prop_assert_eq!(records(hospital.bodies()), records(self::hospital(&others).bodies()));
        // Undone: the new version withdrawn, the original put back.
        withdraw(&hospital, messages.len() + 1, false).unwrap();
        withdraw(&hospital, at + 1, true).unwrap();
        prop_assert_eq!(records(hospital.bodies()), records(with));
        hospital.is_audited_whole();
    }
}

#[test]
fn what_was_set_aside_is_not_judged_again() {
    let messages = journey();
    let mut hospital = hospital(&messages[..3]);
    let refusal = |result: Result<usize, StoreError>| result.unwrap_err().to_string();
    withdraw(&hospital, 3, false).unwrap();
    assert!(refusal(withdraw(&hospital, 3, false)).contains("withdrawn already"));
    assert!(refusal(withdraw(&hospital, 2, true)).contains("nothing to restore"));
    assert!(refusal(withdraw(&hospital, 9, false)).contains("no position 9"));
    let before = hospital.bodies();
    // The sender sends it once more: the first reply again, and it stays withdrawn.
    runtime().block_on(hospital.deliver(&messages[2..3]));
    assert_eq!(hospital.bodies(), before);
    assert!(edit(&mut hospital, 3, "MSH|x").unwrap_err().contains("--restore"));
    // An edit, and an edit of the edit: at any time one version counts.
    let text = |how| mended(&messages[0].1, how);
    assert_eq!(edit(&mut hospital, 1, &text(1)).unwrap().position, Some(4));
    assert!(edit(&mut hospital, 1, &text(2)).unwrap_err().contains("was edited"));
    assert!(edit(&mut hospital, 4, &text(1)).unwrap_err().contains("nothing is changed"));
    assert!(edit(&mut hospital, 4, &messages[0].1).unwrap_err().contains("at position 1"));
    assert_eq!(edit(&mut hospital, 4, &text(2)).unwrap().position, Some(5));
    assert!(refusal(withdraw(&hospital, 1, false)).contains("its new version"));
    assert!(refusal(withdraw(&hospital, 4, true)).contains("first, 5"));
    let store = hospital.sqlite();
    let standing = |at: u64| store.frame(at).unwrap().map(|(row, ..)| (row.standing, row.edit_of, row.place)).unwrap();
    assert_eq!(standing(1), (Standing::Superseded, None, 1));
    assert_eq!(standing(3), (Standing::Withdrawn, None, 3));
    assert_eq!(standing(4), (Standing::Superseded, Some(1), 1));
    assert_eq!(standing(5), (Standing::Counts, Some(4), 1));
    let told: Vec<_> = store.mends(4).unwrap().iter().map(|mend| (mend.position, mend.version)).collect();
    assert_eq!(told, [(1, Some(4)), (4, Some(5))]);
    drop(store);
    withdraw(&hospital, 5, false).unwrap();
    withdraw(&hospital, 4, true).unwrap();
    assert!(refusal(withdraw(&hospital, 1, true)).contains("first, 4"));
}

#[test]
fn an_edit_that_is_refused_leaves_what_counts() {
    let messages = journey();
    let mut hospital = hospital(&messages[..3]);
    let before = hospital.bodies();
    let unsupported = messages[2].1.replace("A01", "A99");
    let answer = edit(&mut hospital, 3, &unsupported).unwrap();
    assert_eq!((answer.outcome, answer.position), (OutcomeKind::Unsupported, Some(4)));
    assert_eq!(hospital.bodies(), before);
    let store = hospital.sqlite();
    let standing = |at: u64| store.frame(at).unwrap().map(|(row, ..)| row.standing).unwrap();
    assert_eq!((standing(3), standing(4)), (Standing::Counts, Standing::Counts), "one counts, the other waits");
    // An edit of what waits waits in its stead; one that is stored takes the place of all.
    assert_eq!(edit(&mut hospital, 4, &unsupported.replace("A99", "A98")).unwrap().position, Some(5));
    assert_eq!((standing(3), standing(4), standing(5)), (Standing::Counts, Standing::Superseded, Standing::Counts));
    assert_eq!(edit(&mut hospital, 5, &mended(&messages[2].1, 1)).unwrap().outcome, OutcomeKind::Stored);
    assert_eq!((standing(3), standing(5), standing(6)), (Standing::Superseded, Standing::Superseded, Standing::Counts));
}
