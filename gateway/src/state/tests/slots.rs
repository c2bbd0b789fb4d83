//! Grain, rank, groups, documents: `state` as a table of sentences.

use super::super::{decode, encode};
use super::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn one() -> Key {
    patient("1")
}

#[test]
fn a_datatype_is_replaced_whole_and_halves_of_a_period_stand_alone() {
    let says = |hour, name, fragment| Message::at(hour, 0).about(&one()).element(name, fragment);
    let start = |hour, text| says(hour, "period.start", text);
    for (what, messages, member, expected) in [
        (
            "a later value replaces",
            vec![says(1, "birthDate", r#"{"birthDate":"1970"}"#), says(2, "birthDate", r#"{"birthDate":"1971"}"#)],
            "birthDate",
            r#""1971""#,
        ),
        (
            "never the street of one with the postcode of another",
            vec![
                says(1, "maritalStatus", r#"{"maritalStatus":{"text":"m","coding":[{"code":"M"}]}}"#),
                says(2, "maritalStatus", r#"{"maritalStatus":{"text":"s"}}"#),
            ],
            "maritalStatus",
            r#"{"text":"s"}"#,
        ),
        ("cleared", vec![says(1, "birthDate", r#"{"birthDate":"1970"}"#), says(2, "birthDate", "")], "birthDate", ""),
        (
            "an absent field says nothing",
            vec![says(1, "birthDate", r#"{"birthDate":"1970"}"#), says(2, "gender", r#"{"gender":"male"}"#)],
            "birthDate",
            r#""1970""#,
        ),
        (
            "start and end are two slots",
            vec![
                start(1, r#"{"period":{"start":"2026"}}"#),
                says(2, "period.end", r#"{"period":{"end":"2027"}}"#),
                start(3, r#"{"period":{"start":"2025"}}"#),
            ],
            "period",
            r#"{"end":"2027","start":"2025"}"#,
        ),
        (
            "the end is cleared alone",
            vec![
                start(1, r#"{"period":{"start":"2026"}}"#),
                says(2, "period.end", r#"{"period":{"end":"2027"}}"#),
                says(3, "period.end", ""),
            ],
            "period",
            r#"{"start":"2026"}"#,
        ),
        ("numbers keep their digits", vec![says(1, "OBX", r#"{"valueQuantity":{"value":6.30}}"#)], "valueQuantity", r#"{"value":6.30}"#),
        (
            "lists of several slots stand one after the other, in the order of the slots",
            vec![
                says(2, "extension:B", r#"{"extension":[{"url":"b","valueCode":"y"}]}"#),
                says(1, "extension:A", r#"{"extension":[{"url":"a","valueCode":"x"}]}"#),
            ],
            "extension",
            r#"[{"url":"a","valueCode":"x"},{"url":"b","valueCode":"y"}]"#,
        ),
    ] {
        check(what, &messages, &one(), member, expected);
    }
}

#[test]
fn a_repeating_field_is_one_register() {
    let says = |hour, feed, field, list| Message::at(hour, 0).feed(feed).about(&one()).list("name", field, list);
    for (what, messages, expected) in [
        (
            "the whole list of the later message",
            vec![says(1, "pas", "PID-5", r#"[{"family":"A"},{"family":"B"}]"#), says(2, "pas", "PID-5", r#"[{"family":"C"}]"#)],
            r#"[{"family":"C"}]"#,
        ),
        ("emptied", vec![says(1, "pas", "PID-5", r#"[{"family":"A"}]"#), says(2, "pas", "PID-5", "")], ""),
        (
            "of the feed of greatest rank",
            vec![says(1, "pas", "PID-5", r#"[{"family":"A"}]"#), says(2, "lab", "PID-5", r#"[{"family":"L"}]"#)],
            r#"[{"family":"L"}]"#,
        ),
        (
            "one register a field",
            vec![says(1, "pas", "PID-9", r#"[{"family":"Z"}]"#), says(2, "pas", "PID-5", r#"[{"family":"A"}]"#)],
            r#"[{"family":"A"},{"family":"Z"}]"#,
        ),
        (
            "an owner outranks a later feed",
            vec![
                Message::at(1, 0).authority(Authority::Owner).about(&one()).list("name", "PID-5", r#"[{"family":"O"}]"#),
                says(2, "lab", "PID-5", r#"[{"family":"L"}]"#),
            ],
            r#"[{"family":"O"}]"#,
        ),
    ] {
        check(what, &messages, &one(), "name", expected);
    }
}

#[test]
fn identifiers_are_the_union_by_system_and_value() {
    let says = |hour, feed, field, list| Message::at(hour, 0).feed(feed).about(&one()).list("identifier", field, list);
    let (old, new) = ("9434765870", "9434765919");
    let nhs = |number| format!(r#"{{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"{number}"}}"#);
    for (what, messages, expected) in [
        (
            "over feeds",
            vec![
                says(1, "lab", "PID-3", r#"[{"system":"l","value":"1"}]"#),
                says(2, "pas", "PID-3", r#"[{"system":"p","value":"1"},{"system":"l","value":"1"}]"#),
            ],
            r#"[{"system":"l","value":"1"},{"system":"p","value":"1"}]"#.to_owned(),
        ),
        (
            "the type is no part of the key: the greater rank says it",
            vec![
                says(1, "lab", "PID-3", r#"[{"type":{"text":"old"},"system":"p","value":"1"}]"#),
                says(2, "pas", "PID-3", r#"[{"system":"p","value":"1"}]"#),
            ],
            r#"[{"system":"p","value":"1"}]"#.to_owned(),
        ),
        (
            "a feed that restates its list drops what it no longer lists",
            vec![
                says(1, "pas", "PID-3", r#"[{"system":"p","value":"1"},{"system":"p","value":"2"}]"#),
                says(2, "pas", "PID-3", r#"[{"system":"p","value":"1"}]"#),
            ],
            r#"[{"system":"p","value":"1"}]"#.to_owned(),
        ),
        (
            "one NHS number: the greatest rank alone",
            vec![says(1, "lab", "PID-3", &format!("[{}]", nhs(old))), says(2, "pas", "PID-3", &format!("[{}]", nhs(new)))],
            format!("[{}]", nhs(new)),
        ),
    ] {
        check(what, &messages, &one(), "identifier", &expected);
    }
}

#[test]
fn a_result_is_one_slot() {
    let key = Key::new("Observation", "urn:obx", "1");
    let says = |hour, settled, step, name, fragment| {
        let message = Message::at(hour, 0).rank(|rank| (rank.settled, rank.step) = (settled, step));
        message.about(&key).element(name, fragment)
    };
    let preliminary = |hour| {
        says(hour, 0, 0, "OBX", r#"{"status":"preliminary","valueString":"p","interpretation":[{"text":"H"}],"note":[{"text":"n"}]}"#)
    };
    let last = |hour| says(hour, 1, 1, "OBX", r#"{"status":"final","valueString":"f"}"#);
    let corrected = |hour| says(hour, 1, 2, "OBX", r#"{"status":"corrected","valueString":"c"}"#);
    let verified = |hour| says(hour, 1, 1, "status", r#"{"status":"final"}"#);
    for (what, messages, member, expected) in [
        ("no preliminary's flag on a final value", vec![preliminary(1), last(2)], "interpretation", ""),
        ("nor its note", vec![preliminary(1), last(2)], "note", ""),
        ("a late preliminary never covers a final", vec![last(1), preliminary(2)], "valueString", r#""f""#),
        ("a correction at the same minute", vec![last(1), corrected(1)], "status", r#""corrected""#),
        ("verified: the status alone", vec![preliminary(1), verified(2)], "status", r#""final""#),
        ("and the value stays", vec![preliminary(1), verified(2)], "valueString", r#""p""#),
        ("a result after it brings its own status", vec![verified(1), corrected(2)], "status", r#""corrected""#),
    ] {
        check(what, &messages, &key, member, expected);
    }
}

#[test]
fn results_not_sent_again_stay_and_fewer_are_a_finding() {
    let key = Key::new("DiagnosticReport", "urn:obr", "1");
    let says = |hour, status: &str, results: &[&str]| {
        let message = Message::at(hour, 0).about(&key).element("status", &format!(r#"{{"status":"{status}"}}"#));
        results.iter().fold(message, |message, result| message.member("result", result, &format!(r#"{{"reference":"{result}"}}"#)))
    };
    let both = r#"[{"reference":"o/1"},{"reference":"o/2"}]"#;
    check("stays", &[says(1, "final", &["o/1", "o/2"]), says(2, "corrected", &["o/1"])], &key, "result", both);
    for (status, results, expected) in [
        ("corrected", vec!["o/1"], vec![Finding::FewerResults]),
        ("corrected", vec!["o/1", "o/2"], vec![]),
        ("corrected", vec!["o/2", "o/3", "o/1"], vec![]),
        ("final", vec!["o/1"], vec![]),
    ] {
        assert_eq!(findings(&[says(1, "final", &["o/1", "o/2"]), says(2, status, &results)]), expected, "{status} {results:?}");
    }
}

#[test]
fn an_assertion_outranks_what_is_implied_whenever_it_comes() {
    let implied = Message::at(2, 0).about(&one()).implied("status", r#"{"status":"unknown"}"#);
    let asserted = Message::at(1, 0).about(&one()).element("status", r#"{"status":"final"}"#);
    check("implied alone", std::slice::from_ref(&implied), &one(), "status", r#""unknown""#);
    check("asserted before", &[asserted, implied], &one(), "status", r#""final""#);
}

/// Each row outranks the one before.
#[test]
fn ranks_compare_part_by_part() {
    let none = Rank::default();
    let rows = [
        none,
        Rank { ordinal: 9, ..none },
        Rank { position: 1, ..none },
        Rank { step: 1, ..none },
        Rank { sent: 1, ..none },
        Rank { sequence: 1, ..none },
        Rank { asserted: 1, ..none },
        Rank { settled: 1, ..none },
        Rank { authority: Authority::Mention, ..none },
        Rank { authority: Authority::Feed, ..none },
        Rank { authority: Authority::Owner, ..none },
    ];
    assert!(rows.is_sorted_by(|one, other| one < other));
}

#[test]
fn a_stamp_ahead_of_its_receipt_is_capped_and_a_mention_has_no_position() {
    let received = Timestamp::from_microsecond(MIDNIGHT).unwrap();
    for (sent, expected, capped) in [(0, 0, false), (5 * 60_000_000, 5 * 60_000_000, false), (5 * 60_000_000 + 1, 5 * 60_000_000, true)] {
        let message =
            Message::at(0, 0).rank(|rank| rank.sent = MIDNIGHT + sent).about(&one()).element("a", "{}").mentions(&one()).element("a", "{}");
        let mut translation = Translation { contributions: message.contributions, issues: Vec::new() };
        assert_eq!(place(&mut translation, 7, received), capped);
        let ranks: Vec<Rank> = translation.contributions.iter().map(|contribution| contribution.statements[0].rank).collect();
        assert_eq!((ranks[0].sent, ranks[0].position, ranks[0].ordinal), (MIDNIGHT + expected, 7, 1));
        assert_eq!((ranks[1].sent, ranks[1].position, ranks[1].ordinal), (0, 0, 0));
    }
}

#[test]
fn a_clock_years_ahead_does_not_outrank_what_is_said_later() {
    const YEARS: i64 = 70 * 365 * 24 * 60 * 60 * 1_000_000;
    let received = Timestamp::from_microsecond(MIDNIGHT).unwrap();
    let message = Message::at(0, 0)
        .rank(|rank| (rank.sent, rank.asserted) = (MIDNIGHT + YEARS, MIDNIGHT + YEARS))
        .about(&one())
        .element("a", "{}")
        .mentions(&one())
        .element("a", "{}");
    let mut translation = Translation { contributions: message.contributions, issues: Vec::new() };
    let moved = Slot::Move { at: MIDNIGHT + YEARS, event: "A01".into(), what: "bed".into() };
    translation.contributions[0].statements[0].slot = moved;
    translation.contributions[1].statements[0].rank.asserted = MIDNIGHT + YEARS;
    assert!(place(&mut translation, 7, received));
    let statements: Vec<_> = translation.contributions.iter().map(|contribution| &contribution.statements[0]).collect();
    assert_eq!(statements[0].rank.asserted, MIDNIGHT + Rank::AHEAD_MAX);
    assert!(matches!(statements[0].slot, Slot::Move { at, .. } if at == MIDNIGHT + Rank::AHEAD_MAX));
    assert_eq!(statements[1].rank.asserted, (MIDNIGHT + Rank::AHEAD_MAX).div_euclid(Rank::DAY) * Rank::DAY);
}

#[test]
fn mentions_of_a_day_do_not_care_who_came_first() {
    let ward = Key::new("Location", "urn:ward", "1");
    let says = |hour, minute, name| Message::at(hour, minute).mentions(&ward).element("name", &format!(r#"{{"name":"{name}"}}"#));
    check("the greater value of a day", &[says(9, 0, "A"), says(8, 0, "B")], &ward, "name", r#""B""#);
    check("a later day wins", &[says(8, 0, "B"), says(32, 0, "A")], &ward, "name", r#""A""#);
    let record = Message::at(1, 0).about(&ward).element("name", r#"{"name":"R"}"#);
    check("a record outranks a later mention", &[record, says(9, 0, "A")], &ward, "name", r#""R""#);
}

#[test]
fn inline_items_live_by_list_and_by_action() {
    let listed = |hour, feed, items| Message::at(hour, 0).feed(feed).about(&one()).group("contact", "NK1", items);
    let acted = |hour, key, value| Message::at(hour, 0).about(&one()).acted("contact", "NK1", key, value);
    let (a, b) = (("a", r#"{"id":"a"}"#), ("b", r#"{"id":"b"}"#));
    for (what, messages, expected) in [
        ("the later list", vec![listed(1, "pas", &[a, b]), listed(2, "pas", &[b])], r#"[{"id":"b"}]"#),
        ("an empty list", vec![listed(1, "pas", &[a]), listed(2, "pas", &[])], ""),
        (
            "an absent group says nothing",
            vec![listed(1, "pas", &[a]), Message::at(2, 0).about(&one()).element("x", r#"{"gender":"male"}"#)],
            r#"[{"id":"a"}]"#,
        ),
        ("two feeds: union", vec![listed(1, "pas", &[a]), listed(2, "lab", &[b])], r#"[{"id":"b"},{"id":"a"}]"#),
        ("two feeds that say the same", vec![listed(1, "pas", &[a]), listed(2, "lab", &[a])], r#"[{"id":"a"}]"#),
        ("a tombstone above the list", vec![listed(1, "pas", &[a, b]), acted(2, "a", None)], r#"[{"id":"b"}]"#),
        ("a list above the tombstone", vec![acted(1, "a", None), listed(2, "pas", &[a])], r#"[{"id":"a"}]"#),
        ("an item above the list", vec![listed(1, "pas", &[a]), acted(2, "b", Some(r#"{"id":"b"}"#))], r#"[{"id":"a"},{"id":"b"}]"#),
        ("an item below the list", vec![acted(1, "b", Some(r#"{"id":"b"}"#)), listed(2, "pas", &[a])], r#"[{"id":"a"}]"#),
    ] {
        check(what, &messages, &one(), "contact", expected);
    }
}

#[test]
fn items_that_are_resources_die_and_live() {
    let key = Key::new("AllergyIntolerance", "urn:al", "a");
    let owner = |message: Message| message.authority(Authority::Owner);
    let item = |message: Message| message.item(&key, &one(), "AL1", "a").element("code", r#"{"code":{"text":"nut"}}"#);
    let states = |hour, feed| item(Message::at(hour, 0).feed(feed).about(&one()).group("", "AL1", &[("a", "")]));
    let empties = |hour, feed| Message::at(hour, 0).feed(feed).about(&one()).group("", "AL1", &[("b", "")]);
    let asserts = |hour| item(Message::at(hour, 0).about(&one()).acted("", "AL1", "a", Some("")));
    let deletes = |hour| Message::at(hour, 0).about(&one()).acted("", "AL1", "a", None);
    let alive = r#"{"text":"nut"}"#;
    for (what, messages, expected) in [
        ("listed", vec![states(1, "pas")], alive),
        ("no longer listed", vec![states(1, "pas"), empties(2, "pas")], "deleted"),
        ("listed again", vec![empties(1, "pas"), states(2, "pas")], alive),
        ("listed by another feed", vec![states(1, "pas"), states(1, "lab"), empties(2, "pas")], alive),
        ("another feed's empty list", vec![states(1, "pas"), empties(2, "lab")], alive),
        ("dropped by both", vec![states(1, "pas"), states(1, "lab"), empties(2, "pas"), empties(2, "lab")], "deleted"),
        ("asserted where the structure restates nothing", vec![empties(1, "pas"), asserts(2)], alive),
        ("and restated without it", vec![asserts(1), empties(2, "pas")], "deleted"),
        ("action: delete", vec![asserts(1), deletes(2)], "deleted"),
        ("action: delete, then add", vec![deletes(1), asserts(2)], alive),
        ("a list above the tombstone", vec![deletes(1), states(2, "pas")], alive),
        ("no group was ever stated", vec![item(Message::at(1, 0))], alive),
        (
            "the feed owns allergies and not patients",
            vec![owner(Message::at(1, 0)).item(&key, &one(), "AL1", "a").element("code", r#"{"code":{"text":"nut"}}"#), empties(2, "pas")],
            "deleted",
        ),
        ("in two groups: one of them is enough", vec![states(1, "pas"), item_of_iam(&key), empties(2, "pas")], alive),
    ] {
        check(what, &messages, &key, "code", expected);
    }
}

/// The same allergy, in another group.
fn item_of_iam(key: &Key) -> Message {
    let parent = Message::at(1, 0).event("A01").about(&one()).acted("", "IAM", "a", Some(""));
    parent.item(key, &one(), "IAM", "a").element("code", r#"{"code":{"text":"nut"}}"#)
}

#[test]
fn documents_of_a_set_supersede_each_other() {
    let key = |id: &str| Key::new("DocumentReference", "urn:doc", id);
    let says = |hour, id: &str, sets: &[&str], version: i64, replaces: Option<&str>| {
        let target =
            |replaced: &str| format!(r#"[{{"code":"replaces","target":{{"identifier":{{"system":"urn:doc","value":"{replaced}"}}}}}}]"#);
        let mut message = Message::at(hour, 0).about(&key(id)).element("status", r#"{"status":"current"}"#);
        if let Some(replaced) = replaces {
            message = message.list("relatesTo", "relatedDocument", &target(replaced));
        }
        let replaces =
            replaces.map(|replaced| format!(r#","replaces":"urn:own|{replaced}","target":"urn:doc|{replaced}""#)).unwrap_or_default();
        let said = format!(r#"{{"version":{version},"at":{hour},"document":"urn:own|{id}"{replaces}}}"#);
        sets.iter().fold(message, |message, set| message.in_set(set, &said))
    };
    let by_set = [says(1, "1", &["s"], 1, None), says(2, "2", &["s"], 2, None)];
    check("an earlier version", &by_set, &key("1"), "status", r#""superseded""#);
    check("the last version", &by_set, &key("2"), "status", r#""current""#);
    let by_time = [says(1, "1", &["s"], 0, None), says(2, "2", &["s"], 0, None)];
    check("no versions: the earlier", &by_time, &key("1"), "status", r#""superseded""#);
    let replaced = [says(2, "1", &["urn:doc|1"], 0, None), says(1, "2", &["urn:doc|1"], 0, Some("1"))];
    check("replaced", &replaced, &key("1"), "status", r#""superseded""#);
    let target =
        |reference: &str| format!(r#"[{{"code":"replaces","target":{{{reference}"identifier":{{"system":"urn:doc","value":"1"}}}}}}]"#);
    check("what it replaces is there", &replaced, &key("2"), "relatesTo", &target(&format!(r#""reference":"{}","#, address_of(&key("1")))));
    check("and stays logical until then", &replaced[1..], &key("2"), "relatesTo", &target(""));
    let apart = [says(1, "1", &["s"], 1, None), says(2, "2", &["t"], 2, None)];
    check("of another set", &apart, &key("1"), "status", r#""current""#);
}

#[test]
fn slots_come_back_as_they_were_stored() {
    let message = Message::at(1, 0).about(&one()).element("OBX", r#"{"v":[6.30,1E3,{"a":"\u00e9"},null,true]}"#).element("x", "").bed("W1");
    let mut memory = deliver([&message.replaced_by(&patient("2"))]);
    let slots = slots_of(&mut memory, &one());
    let bytes = encode(&slots);
    assert!(slots.len() == 4 && decode(&bytes).as_ref() == Some(&slots));
    let first: Vec<_> = slots
        .iter()
        .map(|(slot, held)| (slot, held.rank, held.value.as_ref().map(|value| value.to_string()), &held.place, &held.row))
        .collect();
    assert!(decode(&postcard::to_extend(&first, vec![1]).unwrap()) == Some(slots), "in the first layout");
    for wrong in [&bytes[..bytes.len() - 1], &bytes[1..], b""] {
        assert!(decode(wrong).is_none());
    }
}

#[test]
fn a_value_that_many_steps_of_a_visit_say_is_kept_once() {
    let stay = |count| {
        let messages: Vec<_> = (1..=count).map(|hour| Message::at(hour, 0).about(&visit("V1")).bed("W1")).collect();
        slots_of(&mut deliver(&messages), &visit("V1"))
    };
    let (short, long) = (stay(10), stay(110));
    let read = decode(&encode(&long)).unwrap();
    let values: BTreeSet<_> = read.values().filter_map(|held| held.value.as_ref()).map(Arc::as_ptr).collect();
    assert!(long.len() >= 110 && values.len() < 5, "{} values", values.len());
    let growth = (encode(&long).len() - encode(&short).len()) / 100;
    assert!(growth < 64, "{growth} bytes a step");
}
