//! What every adapter owes, and [`check`], which holds an adapter to it over fixtures.
//!
//! 1. No panic on any prefix of a message, nor with any bit of it flipped.
//! 2. The same input gives the same output.
//! 3. The reply carries the control id of the message, byte for byte.
//! 4. No value of the message stands in an issue, a rejection or `Debug` output.
//! 5. Every contribution has a key with a type, a system and a value, and statements whose ordinals ascend (a mention's are 0).
//!
//! That every resource passes the seal is checked where the seal lives, in the gateway.

use crate::{Adapter, Class, Frame, Outcome, OutcomeKind, Translation};

/// Checks an adapter over one fixture. `values` are values of the fixture that no error may repeat (names, numbers).
/// Panics with what was broken.
pub fn check(adapter: &dyn Adapter, fixture: &[u8], values: &[&str]) {
    for end in (0..fixture.len()).step_by(fixture.len() / 400 + 1) {
        quiet(&run(adapter, &fixture[..end]), values);
    }
    let mut flipped = fixture.to_vec();
    for bit in (0..fixture.len() * 8).step_by(fixture.len() / 200 + 1) {
        flipped[bit / 8] ^= 1 << (bit % 8);
        run(adapter, &flipped);
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
    let frame = Frame::new(fixture.to_vec());
    let envelope = adapter.envelope(&frame).expect("a fixture has an envelope");
    if let (Ok(one), Ok(two)) = (adapter.translate(&frame, &envelope), adapter.translate(&frame, &envelope)) {
        assert_eq!(words(&one), words(&two), "the same input gave another output");
        whole(&one);
    }
    let outcome = Outcome::new(OutcomeKind::Stored, Vec::new(), jiff::Timestamp::UNIX_EPOCH);
    if let Some(reply) = adapter.reply(Some(&envelope), &frame, &outcome) {
        let id = envelope.control_id.as_bytes();
        assert!(id.is_empty() || reply.windows(id.len()).any(|window| window == id), "the reply does not carry the control id");
    }
}

/// All that an adapter says of some bytes in words for people.
fn run(adapter: &dyn Adapter, bytes: &[u8]) -> String {
    let frame = Frame::new(bytes.to_vec());
    let outcome = |kind| Outcome::new(kind, Vec::new(), jiff::Timestamp::UNIX_EPOCH);
    match adapter.envelope(&frame) {
        Err(rejection) => {
            adapter.reply(None, &frame, &outcome(rejection.kind()));
            format!("{rejection:?}")
        }
        Ok(envelope) => {
            let said = match adapter.translate(&frame, &envelope) {
                Err(rejection) => format!("{rejection:?}"),
                Ok(translation) => format!("{translation:?}"),
            };
            adapter.reply(Some(&envelope), &frame, &outcome(OutcomeKind::StoredWithIssues));
            format!("{envelope:?} {:?} {said}", envelope.issues)
        }
    }
}

fn quiet(said: &str, values: &[&str]) {
    for value in values {
        assert!(!said.contains(value), "a value of the message stands in an error or Debug output");
    }
}

fn words(translation: &Translation) -> String {
    let mut out = String::new();
    for contribution in &translation.contributions {
        out.push_str(&format!("{:?} {} {:?}\n", contribution.key, contribution.key.value, contribution.class));
        for statement in &contribution.statements {
            out.push_str(&serde_json::to_string(statement).expect("a statement is JSON"));
        }
    }
    for issue in &translation.issues {
        out.push_str(&issue.to_string());
    }
    out
}

fn whole(translation: &Translation) {
    let mut last = None;
    for contribution in &translation.contributions {
        let key = &contribution.key;
        assert!(!key.kind.is_empty() && !key.system.is_empty() && !key.value.is_empty(), "a contribution without a whole key: {key:?}");
        for statement in &contribution.statements {
            // A mention's rank holds its day and value alone.
            if contribution.class != Class::Mention {
                assert!(last < Some(statement.rank.ordinal), "ordinals do not ascend");
                last = Some(statement.rank.ordinal);
            }
            assert_eq!(statement.rank.position, 0, "an adapter does not know positions");
        }
    }
}
