//! The laws of state, over made-up journals.

use super::super::{Room, Slots, join, refold, rejoin, render, take_out};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NUMBERS: [&str; 2] = ["9434765870", "9434765919"];

type Placed = (u64, &'static str, Vec<Contribution>);

fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }
}

fn ranks() -> impl Strategy<Value = Rank> {
    let authority = prop::sample::select(vec![Authority::Implied, Authority::Mention, Authority::Feed, Authority::Owner]);
    let small = || 0i64..3;
    (authority, 0u8..2, small(), 0u64..2, small(), 0u8..3, 0u64..3, 0u32..2).prop_map(
        |(authority, settled, asserted, sequence, sent, step, position, ordinal)| Rank {
            authority,
            settled,
            asserted,
            sequence,
            sent,
            step,
            position,
            ordinal,
        },
    )
}

fn statements() -> impl Strategy<Value = Vec<Statement>> {
    let values = prop::option::of(prop::sample::select(vec![r#"{"a":1}"#, r#"{"a":1.0}"#, r#"{"b":[]}"#]));
    let one = (prop::sample::select(vec!["x", "y"]), ranks(), values).prop_map(|(name, rank, value)| Statement {
        slot: Slot::Element(name.into()),
        rank,
        value: value.map(json),
        place: "".into(),
        row: "".into(),
    });
    prop::collection::vec(one, 0..12)
}

fn joined<'s>(statements: impl IntoIterator<Item = &'s Statement>) -> Slots {
    let mut slots = Slots::new();
    for statement in statements {
        join(&mut slots, statement);
    }
    slots
}

proptest! {
    #![proptest_config(config())]

    /// Commutative, associative, idempotent: any order, any grouping, anything twice.
    #[test]
    fn join_is_a_join(statements in statements(), other in statements()) {
        let all = || statements.iter().chain(&other);
        let once = joined(all());
        prop_assert!(once == joined(statements.iter().rev().chain(other.iter().rev())));
        prop_assert!(once == joined(other.iter().chain(&statements)));
        prop_assert!(once == joined(all().chain(all())));
        let mut again = once.clone();
        prop_assert!(all().all(|statement| !join(&mut again, statement)), "what was joined changes nothing");
    }

    /// One order over all feeds, which is that of the tuple.
    #[test]
    fn ranks_are_totally_ordered(one in ranks(), two in ranks(), three in ranks()) {
        let tuple = |rank: Rank| {
            (rank.authority as u8, rank.settled, rank.asserted, rank.sequence, rank.sent, rank.step, rank.position, rank.ordinal)
        };
        prop_assert_eq!(one.cmp(&two), tuple(one).cmp(&tuple(two)));
        prop_assert_eq!(one.cmp(&two), two.cmp(&one).reverse());
        prop_assert!(!(one <= two && two <= three) || one <= three);
    }

    /// Whatever happens to a few patients, in whatever order it is processed: the same bodies; and a body is what its
    /// slots and registers say, so no dependant was forgotten.
    #[test]
    fn any_journal_gives_one_state(messages in prop::collection::vec(anything(), 1..14), seed in any::<u64>()) {
        let placed: Vec<Placed> = (1..).zip(&messages).map(|(position, message)| message.placed(position)).collect();
        let mut memory = process(&placed);
        prop_assert!(is_rendered_whole(&mut memory));
        let mut other = process(&shuffled(&placed, seed));
        prop_assert!(memory.bodies() == other.bodies());
        prop_assert!(is_rendered_whole(&mut other));
    }

    /// A message taken out leaves what the others say, and put back it is as if it had stayed.
    #[test]
    fn a_message_is_taken_out_and_put_back(messages in prop::collection::vec(anything(), 1..14), which in any::<prop::sample::Index>()) {
        let placed: Vec<Placed> = (1..).zip(&messages).map(|(position, message)| message.placed(position)).collect();
        let at = which.index(placed.len());
        let others: Vec<Placed> = placed.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, said)| said.clone()).collect();
        let with = process(&placed);
        let mut memory = process(&placed);
        take_away(&mut memory, &placed[at], &others);
        prop_assert!(memory.bodies() == process(&others).bodies());
        prop_assert!(is_rendered_whole(&mut memory));
        let (_, feed, said) = &placed[at];
        take(&mut memory, feed, said);
        prop_assert!(memory.bodies() == with.bodies());
    }

    /// A patient's journey: shuffled, repeated, in pieces.
    #[test]
    fn a_journey_gives_one_state(seed in any::<u64>()) {
        let journey = journey();
        let placed: Vec<Placed> = (1..).zip(&journey).map(|(position, message)| message.placed(position)).collect();
        let mut expected = process(&placed);
        prop_assert!(is_rendered_whole(&mut expected));
        // Processing: the positions stay.
        let twice = [shuffled(&placed, seed), shuffled(&placed, seed.rotate_left(7))].concat();
        prop_assert!(expected.bodies() == process(&twice).bodies());
        let pieces: Vec<Placed> = placed
            .iter()
            .flat_map(|(position, feed, said)| said.iter().map(|contribution| (*position, *feed, vec![contribution.clone()])))
            .collect();
        prop_assert!(expected.bodies() == process(&shuffled(&pieces, seed)).bodies());
        // Delivery: other positions. The journey's events have distinct stamps or steps.
        let mut messages: Vec<Message> = journey;
        shuffle(&mut messages, seed);
        prop_assert!(expected.bodies() == deliver(&messages).bodies());
    }

    #[test]
    fn state_is_the_join_of_what_was_said(messages in prop::collection::vec(anything(), 1..14), seed in any::<u64>()) {
        let placed: Vec<Placed> = (1..).zip(&messages).map(|(position, message)| message.placed(position)).collect();
        let mut memory = process(&shuffled(&placed, seed));
        let mut expected: BTreeMap<Key, Slots> = BTreeMap::new();
        for contribution in placed.iter().flat_map(|(_, _, said)| said) {
            let slots = expected.entry(contribution.key.clone()).or_default();
            for statement in &contribution.statements {
                join(slots, statement);
            }
        }
        for (key, expected) in expected {
            let mut slots = slots_of(&mut memory, &key);
            slots.retain(|slot, _| !matches!(slot, Slot::Shared { register, .. } if &**register == "group"));
            prop_assert!(slots == expected);
        }
    }
}

fn process(placed: &[Placed]) -> Memory {
    let mut memory = Memory::default();
    for (_, feed, contributions) in placed {
        take(&mut memory, feed, contributions);
    }
    memory
}

/// Takes a message out of what it and others said.
fn take_away(memory: &mut Memory, (position, feed, said): &Placed, others: &[Placed]) {
    let key = IdKey::demonstration();
    let mut without: BTreeMap<Address, Option<Slots>> = BTreeMap::new();
    for contribution in said {
        let mut slots = slots_of(memory, &contribution.key);
        take_out(&mut slots, *position, true);
        let mut is_said = false;
        for (_, feed, said) in others {
            for other in said.iter().filter(|other| other.key == contribution.key) {
                rejoin(&mut slots, &key, feed, other);
                is_said = true;
            }
        }
        without.insert(address(&key, &contribution.key), is_said.then_some(slots));
    }
    let Ok(changes) = refold(memory, &key, feed, without, &[]);
    memory.keep(changes);
}

/// Whether rendering everything again changes nothing.
fn is_rendered_whole(memory: &mut Memory) -> bool {
    let bodies = memory.bodies().clone();
    bodies.iter().all(|(address, expected)| {
        let mut room = Room { loader: memory, known: BTreeMap::new() };
        let Ok(rendered) = render::render(&mut room, address);
        rendered == *expected
    })
}

fn shuffled(placed: &[Placed], seed: u64) -> Vec<Placed> {
    let mut placed = placed.to_vec();
    shuffle(&mut placed, seed);
    placed
}

/// Fisher and Yates by a small generator (xorshift): a shrunk seed names one order.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for at in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(at, usize::try_from(state % (at as u64 + 1)).expect("below the length"));
    }
}

/// One message of any kind about a few patients, often at the same time.
fn anything() -> impl Strategy<Value = Message> {
    let number = || prop::sample::select(vec!["1", "2", "3", "4"]);
    (0u8..9, 0i64..4, prop::sample::select(vec!["pas", "lab"]), number(), number(), any::<bool>()).prop_map(
        |(kind, hour, feed, one, two, flag)| {
            let (one, two) = (patient(one), patient(two));
            let message = Message::at(hour, 0).feed(feed);
            let nhs = format!(r#"[{{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"{}"}}]"#, NUMBERS[usize::from(flag)]);
            let allergy = Key::new("AllergyIntolerance", "urn:al", &*one.value);
            let document = |key: &Key| Key::new("DocumentReference", "urn:doc", &*key.value);
            match kind {
                0 => message.about(&one).list("name", "PID-5", r#"[{"family":"A"}]"#),
                1 | 2 => message.about(&two).element("gender", r#"{"gender":"male"}"#).about(&one).replaced_by(&two),
                3 => message.about(&one).linked(&two, flag).about(&two).linked(&one, flag),
                4 => message.about(&one).list("identifier", "PID-3", &nhs),
                5 => message.about(&one).group("", "AL1", if flag { &[("a", "")] } else { &[] }),
                6 => message.about(&one).acted("", "AL1", "a", flag.then_some("")),
                7 => message.item(&allergy, &one, "AL1", "a").element("code", r#"{"code":{"text":"nut"}}"#),
                _ => {
                    let replaces = if flag { format!(r#","replaces":"{}""#, two.value) } else { String::new() };
                    let said = format!(r#"{{"version":{hour},"at":0,"document":"{}"{replaces}}}"#, one.value);
                    message.about(&document(&one)).element("status", r#"{"status":"current"}"#).in_set("s", &said)
                }
            }
        },
    )
}

/// A stay with all that can happen to it, of two feeds; equal stamps have distinct steps.
fn journey() -> Vec<Message> {
    let (one, old, stay) = (patient("1"), patient("2"), visit("1"));
    let (nut, dust) = (Key::new("AllergyIntolerance", "urn:al", "nut"), Key::new("AllergyIntolerance", "urn:al", "dust"));
    let (result, report) = (Key::new("Observation", "urn:obx", "1"), Key::new("DiagnosticReport", "urn:obr", "1"));
    let doctor = Key::new("Practitioner", "urn:doc", "1");
    let letter = |id: &str| Key::new("DocumentReference", "urn:letter", id);
    let subject = format!(r#"{{"subject":{}}}"#, reference(&one));
    let adt = |event, hour, minute, name: &str, bed: &str| {
        let message = Message::at(hour, minute).event(event).about(&one);
        let message = message.list("name", "PID-5", &format!(r#"[{{"family":"{name}"}}]"#));
        let message = message.list("identifier", "PID-3", r#"[{"system":"urn:mrn","value":"1"}]"#);
        message.about(&stay).element("subject", &subject).bed(bed)
    };
    let allergy = |message: Message, key: &Key| {
        let text = format!(r#"{{"code":{{"text":"{}"}}}}"#, key.value);
        message.item(key, &one, "AL1", &key.value).element("code", &text)
    };
    let named = |message: Message, name: &str| message.mentions(&doctor).element("name", &format!(r#"{{"name":[{{"text":"{name}"}}]}}"#));
    let oru = |hour, minute, settled, step, status: &str, value: &str| {
        let message = Message::at(hour, minute).feed("lab").rank(|rank| (rank.settled, rank.step) = (settled, step));
        let message = message.about(&report).element("status", &format!(r#"{{"status":"{status}"}}"#));
        let message = message.member("result", &address_of(&result), &reference(&result)).about(&result);
        let message = message.element("OBX", &format!(r#"{{"status":"{status}","valueString":"{value}"}}"#));
        named(message.about(&one).list("telecom", "PID-13", r#"[{"value":"5"}]"#), "Dr A")
    };
    let both = |hour, is_linked| {
        Message::at(hour, 0).event("A24").about(&one).linked(&patient("9"), is_linked).about(&patient("9")).linked(&one, is_linked)
    };
    let admitted = adt("A01", 10, 0, "Alder", "W1").status("in-progress").class("IMP").about(&one);
    let admitted = admitted.group("", "AL1", &[("nut", ""), ("dust", "")]);
    let updated = adt("A08", 10, 10, "Birch", "W2").about(&one).group("", "AL1", &[("dust", "")]);
    let discharged = |hour, end: &str| {
        adt("A03", hour, 0, "Birch", "W1").status("finished").element("period.end", &format!(r#"{{"period":{{"end":"{end}"}}}}"#))
    };
    vec![
        named(allergy(allergy(admitted, &nut), &dust), "Dr B"),
        adt("A02", 10, 5, "Alder", "W2"),
        allergy(updated, &dust),
        adt("A12", 10, 20, "Birch", "W1").cancels("A02"),
        oru(10, 6, 0, 0, "preliminary", "5"),
        oru(10, 30, 1, 1, "final", "6"),
        oru(10, 30, 1, 2, "corrected", "6.30"),
        oru(10, 50, 0, 1, "preliminary", "late"),
        both(11, true),
        both(12, false),
        Message::at(12, 30).event("A40").about(&old).replaced_by(&one),
        Message::at(12, 40).about(&old).element("birthDate", r#"{"birthDate":"1970"}"#),
        discharged(13, "2026-03-01T13:00:00Z"),
        adt("A13", 13, 0, "Birch", "W1").status("in-progress").cancels("A03").element("period.end", ""),
        discharged(14, "2026-03-01T14:00:00Z"),
        Message::at(14, 30).about(&letter("1")).element("status", r#"{"status":"current"}"#).in_set("s", r#"{"version":1,"at":1}"#),
        Message::at(14, 40).about(&letter("2")).element("status", r#"{"status":"current"}"#).in_set("s", r#"{"version":2,"at":2}"#),
    ]
}

#[test]
fn the_journey_ends_as_it_should() {
    let memory = deliver(&journey());
    for (key, member, expected) in [
        (patient("1"), "name", r#"[{"family":"Birch"}]"#),
        (patient("1"), "link", &*format!(r#"[{{"other":{},"type":"replaces"}}]"#, reference(&patient("2")))),
        (patient("2"), "active", "false"),
        (patient("2"), "birthDate", r#""1970""#),
        (patient("9"), "link", ""),
        (visit("1"), "status", r#""finished""#),
        (visit("1"), "period", r#"{"end":"2026-03-01T14:00:00Z"}"#),
        (
            visit("1"),
            "location",
            r#"[{"location":{"display":"W1"},"status":"completed","period":{"start":"2026-03-01T10:00:00Z","end":"2026-03-01T14:00:00Z"}}]"#,
        ),
        (Key::new("AllergyIntolerance", "urn:al", "nut"), "code", "deleted"),
        (Key::new("AllergyIntolerance", "urn:al", "dust"), "code", r#"{"text":"dust"}"#),
        (Key::new("Observation", "urn:obx", "1"), "valueString", r#""6.30""#),
        (Key::new("Practitioner", "urn:doc", "1"), "name", r#"[{"text":"Dr B"}]"#),
        (Key::new("DocumentReference", "urn:letter", "1"), "status", r#""superseded""#),
        (Key::new("DocumentReference", "urn:letter", "2"), "status", r#""current""#),
    ] {
        assert_eq!(seen(&memory, &key, member), expected, "{key:?} {member}");
    }
}
