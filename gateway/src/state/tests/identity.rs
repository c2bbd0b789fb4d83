//! Merges, links and shared NHS numbers, as tables.

use super::*;

/// `active` and `link` of a patient: `false 2:replaced-by 3:replaces`.
fn told(memory: &Memory, number: &str) -> String {
    let key = patient(number);
    let mut out = vec![seen(memory, &key, "active")];
    let links = seen(memory, &key, "link");
    if !links.is_empty() {
        for link in json(&links).each() {
            let other = link.get("other").and_then(|other| other.get("reference")).and_then(Json::as_str).unwrap_or_default();
            let other = ["1", "2", "3", "4"].into_iter().find(|number| *address_of(&patient(number)) == *other).unwrap_or("?");
            out.push(format!("{other}:{}", link.get("type").and_then(Json::as_str).unwrap_or_default()));
        }
    }
    out[1..].sort();
    out.join(" ").trim().to_owned()
}

fn tell(what: &str, messages: &[Message], expected: &[(&str, &str)]) {
    for (memory, way) in [(deliver(messages), ""), (deliver(messages.iter().rev()), ", the other way round")] {
        for (number, expected) in expected {
            assert_eq!(told(&memory, number), *expected, "{what}{way}: patient {number}");
        }
    }
}

fn admits(hour: i64, number: &str) -> Message {
    Message::at(hour, 0).about(&patient(number)).list("name", "PID-5", r#"[{"family":"A"}]"#)
}

fn merges(hour: i64, loser: &str, survivor: &str) -> Message {
    admits(hour, survivor).about(&patient(loser)).replaced_by(&patient(survivor))
}

#[test]
fn merged_patients_point_at_each_other() {
    for (what, messages, expected) in [
        ("merged", vec![admits(1, "1"), merges(2, "1", "2")], vec![("1", "false 2:replaced-by"), ("2", "1:replaces")]),
        (
            "a chain",
            vec![merges(1, "1", "2"), merges(2, "2", "3")],
            vec![("1", "false 2:replaced-by"), ("2", "false 1:replaces 3:replaced-by"), ("3", "2:replaces")],
        ),
        (
            "the greatest rank counts, and the former survivor forgets",
            vec![merges(1, "1", "2"), merges(2, "1", "3")],
            vec![("1", "false 3:replaced-by"), ("2", ""), ("3", "1:replaces")],
        ),
        (
            "a reversed merge: the lesser edge of the ring does not count",
            vec![merges(1, "1", "2"), merges(2, "2", "1")],
            vec![("1", "2:replaces"), ("2", "false 1:replaced-by")],
        ),
        (
            "a ring of three, with a tail",
            vec![merges(1, "1", "2"), merges(2, "2", "3"), merges(3, "3", "1"), merges(4, "4", "2")],
            vec![
                ("1", "3:replaces"),
                ("2", "false 3:replaced-by 4:replaces"),
                ("3", "false 1:replaced-by 2:replaces"),
                ("4", "false 2:replaced-by"),
            ],
        ),
        (
            "the ring opens where an edge of it is outranked",
            vec![merges(1, "1", "2"), merges(2, "2", "1"), merges(3, "2", "3")],
            vec![("1", "false 2:replaced-by"), ("2", "false 1:replaces 3:replaced-by"), ("3", "2:replaces")],
        ),
        ("into itself", vec![admits(1, "1").about(&patient("1")).replaced_by(&patient("1"))], vec![("1", "")]),
    ] {
        tell(what, &messages, &expected);
    }
}

#[test]
fn links_are_set_and_cleared_and_touch_no_merge() {
    let pair = |hour, is_linked| {
        Message::at(hour, 0).about(&patient("1")).linked(&patient("2"), is_linked).about(&patient("2")).linked(&patient("1"), is_linked)
    };
    for (what, messages, expected) in [
        ("linked", vec![pair(1, true)], vec![("1", "2:seealso"), ("2", "1:seealso")]),
        ("unlinked", vec![pair(1, true), pair(2, false)], vec![("1", ""), ("2", "")]),
        ("linked again", vec![pair(1, true), pair(2, false), pair(3, true)], vec![("1", "2:seealso"), ("2", "1:seealso")]),
        (
            "an unlink undoes no merge",
            vec![merges(1, "1", "2"), pair(2, true), pair(3, false)],
            vec![("1", "false 2:replaced-by"), ("2", "1:replaces")],
        ),
        ("merged and linked: told once", vec![merges(1, "1", "2"), pair(2, true)], vec![("1", "false 2:replaced-by"), ("2", "1:replaces")]),
    ] {
        tell(what, &messages, &expected);
    }
}

#[test]
fn a_later_word_on_a_retired_patient_is_a_finding_and_changes_it_alone() {
    let known = || vec![admits(1, "1"), merges(2, "1", "2")];
    for (what, message, expected) in [
        ("asserted after", admits(3, "1"), vec![Finding::RetiredPatient]),
        ("asserted before, and late", admits(1, "1"), vec![]),
        ("the merge again", merges(2, "1", "2"), vec![]),
        ("of the survivor", admits(3, "2"), vec![]),
    ] {
        let messages: Vec<Message> = known().into_iter().chain([message]).collect();
        assert_eq!(findings(&messages), expected, "{what}");
    }
    let messages: Vec<Message> =
        known().into_iter().chain([Message::at(3, 0).about(&patient("1")).element("birthDate", r#"{"birthDate":"1970"}"#)]).collect();
    check("its own slots", &messages, &patient("1"), "birthDate", r#""1970""#);
    check("and no other's", &messages, &patient("2"), "birthDate", "");
}

fn numbered(hour: i64, number: &str, nhs: &str) -> Message {
    let list = format!(r#"[{{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"{nhs}"}}]"#);
    Message::at(hour, 0).about(&patient(number)).list("identifier", "PID-3", &list)
}

#[test]
fn one_nhs_number_of_two_patients_is_a_link_to_look_at() {
    let (number, other) = ("9434765870", "9434765919");
    let both = || vec![numbered(1, "1", number), numbered(2, "2", number)];
    for (what, messages, expected) in [
        ("shared", both(), vec![("1", "2:seealso"), ("2", "1:seealso")]),
        ("no longer shared", [both(), vec![numbered(3, "2", other)]].concat(), vec![("1", ""), ("2", "")]),
        ("two numbers", vec![numbered(1, "1", number), numbered(2, "2", other)], vec![("1", ""), ("2", "")]),
        ("a placeholder", vec![numbered(1, "1", "3333333333"), numbered(2, "2", "3333333333")], vec![("1", ""), ("2", "")]),
        ("not valid", vec![numbered(1, "1", "9434765871"), numbered(2, "2", "9434765871")], vec![("1", ""), ("2", "")]),
        ("of merged patients", [both(), vec![merges(3, "1", "2")]].concat(), vec![("1", "false 2:replaced-by"), ("2", "1:replaces")]),
        (
            "and of patients merged apart again",
            [both(), vec![merges(3, "1", "2"), merges(4, "1", "3")]].concat(),
            vec![("1", "false 2:seealso 3:replaced-by"), ("2", "1:seealso"), ("3", "1:replaces")],
        ),
    ] {
        tell(what, &messages, &expected);
    }
    assert_eq!(findings(&both()), [Finding::SharedNumber]);
    assert_eq!(findings(&[both(), vec![numbered(3, "2", number)]].concat()), []);
    assert_eq!(findings(&[merges(1, "1", "2"), numbered(2, "2", number), numbered(1, "1", number)]), []);
}
