//! Encounters in time, as tables.

use super::*;

/// `PLACE STATUS FROM-TO` with times of day.
fn told(list: &str, what: impl Fn(&Json) -> String) -> String {
    if list.is_empty() {
        return String::new();
    }
    let time = |period: Option<&Json>, end: &str| -> String {
        let text = period.and_then(|period| period.get(end)).and_then(Json::as_str).unwrap_or_default();
        text.get(11..16).unwrap_or(text).to_owned()
    };
    let line = |item: &Json| format!("{} {}-{}", what(item), time(item.get("period"), "start"), time(item.get("period"), "end"));
    json(list).each().iter().map(line).collect::<Vec<_>>().join(", ")
}

fn text(item: &Json, path: &[&str]) -> String {
    path.iter().try_fold(item, |at, name| at.get(name)).and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// Locations, statuses and classes of a visit, delivered either way.
fn tell(what: &str, messages: &[Message], locations: &str, statuses: &str, classes: &str) {
    let key = visit("1");
    for (memory, way) in [(deliver(messages), ""), (deliver(messages.iter().rev()), ", the other way round")] {
        let place = |item: &Json| format!("{} {}", text(item, &["location", "display"]), text(item, &["status"]));
        assert_eq!(told(&seen(&memory, &key, "location"), place), locations, "{what}{way}: locations");
        let history = told(&seen(&memory, &key, "statusHistory"), |item| text(item, &["status"]));
        let status = seen(&memory, &key, "status").replace('"', "");
        assert_eq!(format!("{status} <- {history}"), statuses, "{what}{way}: statuses");
        let history = told(&seen(&memory, &key, "classHistory"), |item| text(item, &["class", "code"]));
        let class = seen(&memory, &key, "class");
        let class = if class.is_empty() { class } else { text(&json(&class), &["code"]) };
        assert_eq!(format!("{class} <- {history}"), classes, "{what}{way}: classes");
    }
}

fn event(event: &'static str, hour: i64, bed: &str) -> Message {
    let message = Message::at(hour, 0).event(event).about(&visit("1"));
    let message = if bed.is_empty() { message } else { message.bed(bed) };
    match event {
        "A01" | "A04" => message.status("in-progress"),
        "A05" => message.status("planned"),
        "A03" => message.status("finished"),
        "A11" => message.status("cancelled").cancels("A01"),
        "A12" => message.cancels("A02"),
        "A13" => message.status("in-progress").cancels("A03").element("period.end", ""),
        "A23" => message.status("entered-in-error"),
        _ => message,
    }
}

fn ends(message: Message, end: &str) -> Message {
    message.element("period.end", &format!(r#"{{"period":{{"end":"{end}"}}}}"#))
}

#[test]
fn beds_follow_one_another() {
    let admitted = || event("A01", 1, "W1");
    for (what, messages, locations) in [
        ("admitted", vec![admitted()], "W1 active 01:00-"),
        ("planned", vec![event("A05", 1, "W1")], "W1 planned 01:00-"),
        ("moved", vec![admitted(), event("A02", 2, "W2")], "W1 completed 01:00-02:00, W2 active 02:00-"),
        (
            "equal neighbours are one",
            vec![admitted(), event("A08", 2, "W1"), event("A02", 3, "W2")],
            "W1 completed 01:00-03:00, W2 active 03:00-",
        ),
        (
            "and back",
            vec![admitted(), event("A02", 2, "W2"), event("A02", 3, "W1")],
            "W1 completed 01:00-02:00, W2 completed 02:00-03:00, W1 active 03:00-",
        ),
        ("the move did not happen", vec![admitted(), event("A02", 2, "W2"), event("A12", 3, "W1")], "W1 active 01:00-"),
        (
            "nor what updates repeated of it",
            vec![admitted(), event("A02", 2, "W2"), event("A08", 3, "W2"), event("A12", 4, "")],
            "W1 active 01:00-",
        ),
        (
            "the latest move is cancelled, not the one before",
            vec![admitted(), event("A02", 2, "W2"), event("A02", 3, "W3"), event("A12", 4, "W2")],
            "W1 completed 01:00-02:00, W2 active 02:00-",
        ),
        (
            "one cancel each",
            vec![admitted(), event("A02", 2, "W2"), event("A02", 3, "W3"), event("A12", 4, ""), event("A12", 5, "")],
            "W1 active 01:00-",
        ),
        ("nothing to cancel", vec![admitted(), event("A12", 2, "")], "W1 active 01:00-"),
        (
            "a cancel does not reach what came after it",
            vec![admitted(), event("A12", 2, ""), event("A02", 3, "W2")],
            "W1 completed 01:00-03:00, W2 active 03:00-",
        ),
        ("the place that a cancel states counts", vec![event("A12", 3, "W1")], "W1 active 03:00-"),
        ("discharged", vec![admitted(), ends(event("A03", 2, ""), "2026-03-01T02:10:00Z")], "W1 completed 01:00-02:10"),
        ("discharged, no end stated", vec![admitted(), event("A03", 2, "")], "W1 completed 01:00-02:00"),
        (
            "discharge cancelled, into another bed",
            vec![admitted(), event("A03", 2, ""), event("A13", 3, "W2")],
            "W1 completed 01:00-03:00, W2 active 03:00-",
        ),
        ("no move has a place", vec![event("A01", 1, "")], ""),
        ("what was until the first move", vec![event("A02", 2, "W2").prior("W1")], "W1 completed -02:00, W2 active 02:00-"),
        ("is what was admitted into", vec![admitted(), event("A02", 2, "W2").prior("W1")], "W1 completed 01:00-02:00, W2 active 02:00-"),
        ("and still is where the move is cancelled", vec![event("A02", 2, "W2").prior("W1"), event("A12", 3, "")], "W1 active -"),
        ("a second cancel finds nothing", vec![event("A02", 2, "W2").prior("W1"), event("A12", 3, ""), event("A12", 4, "")], "W1 active -"),
        (
            "a move happened before it was told",
            vec![admitted(), event("A02", 4, "W2").since(2)],
            "W1 completed 01:00-02:00, W2 active 02:00-",
        ),
        (
            "yet moves are in the order in which they were told",
            vec![admitted(), event("A02", 4, "W2").since(3), event("A02", 5, "W3").since(2)],
            "W1 completed 01:00-03:00, W2 completed 03:00-03:00, W3 active 02:00-",
        ),
    ] {
        let memory = deliver(&messages);
        let place = |item: &Json| format!("{} {}", text(item, &["location", "display"]), text(item, &["status"]));
        assert_eq!(told(&seen(&memory, &visit("1"), "location"), place), locations, "{what}");
        let reversed = deliver(messages.iter().rev());
        assert!(memory.bodies() == reversed.bodies(), "{what}, delivered the other way round");
    }
}

#[test]
fn only_the_greatest_authority_moves_a_patient() {
    let admitted = || event("A01", 1, "W1");
    let lab = || Message::at(2, 0).feed("lab").event("R01").about(&visit("1")).bed("LAB").class("AMB");
    let of = |authority, message: Message| {
        let raise = |mut message: Message| {
            message.contributions.iter_mut().flat_map(|said| &mut said.statements).for_each(|said| said.rank.authority = authority);
            message
        };
        raise(message)
    };
    let active = "in-progress <- ";
    tell("a laboratory's PV1-3 moves no bed", &[admitted(), lab()], "W1 active 01:00-", active, "AMB <- ");
    tell("but is told where nobody else says", &[lab()], "LAB active 02:00-", " <- ", "AMB <- ");
    let owner = |message| of(Authority::Owner, message);
    tell("the owner's word alone", &[owner(admitted()), event("A02", 2, "W9")], "W1 active 01:00-", active, " <- ");
    let cancelled = [owner(admitted()), owner(event("A02", 2, "W2")), event("A12", 3, "")];
    tell("no cancel of a lesser", &cancelled, "W1 completed 01:00-02:00, W2 active 02:00-", active, " <- ");
}

#[test]
fn statuses_and_classes_have_a_history() {
    let admitted = || event("A01", 2, "").class("IMP");
    for (what, messages, statuses, classes) in [
        ("planned, then here", vec![event("A05", 1, ""), admitted()], "in-progress <- planned 01:00-02:00", "IMP <- "),
        ("finished", vec![admitted(), event("A03", 3, "")], "finished <- in-progress 02:00-03:00", "IMP <- "),
        ("discharged at the minute of arrival", vec![admitted(), event("A03", 2, "")], "finished <- in-progress 02:00-02:00", "IMP <- "),
        ("no update reopens", vec![admitted(), event("A03", 3, ""), event("A08", 4, "")], "finished <- in-progress 02:00-03:00", "IMP <- "),
        ("nor an admission", vec![event("A03", 3, ""), event("A01", 4, "")], "finished <- ", " <- "),
        (
            "but the cancel of the discharge",
            vec![admitted(), event("A03", 3, ""), event("A13", 4, "")],
            "in-progress <- in-progress 02:00-03:00, finished 03:00-04:00",
            "IMP <- ",
        ),
        ("which wins at the same minute", vec![event("A03", 3, ""), event("A13", 3, "")], "in-progress <- finished 03:00-03:00", " <- "),
        ("cancelled", vec![admitted(), event("A11", 3, "")], "cancelled <- in-progress 02:00-03:00", " <- "),
        (
            "admitted after all, under the same number",
            vec![event("A11", 3, ""), event("A01", 4, "")],
            "in-progress <- cancelled 03:00-04:00",
            " <- ",
        ),
        (
            "the cancel of an earlier admission",
            vec![event("A01", 2, ""), event("A11", 2, "")],
            "cancelled <- in-progress 02:00-02:00",
            " <- ",
        ),
        ("deleted", vec![event("A01", 2, ""), event("A23", 3, "")], "entered-in-error <- in-progress 02:00-03:00", " <- "),
        ("of another class", vec![admitted(), event("A07", 3, "").class("AMB")], "in-progress <- ", "AMB <- IMP 02:00-03:00"),
        (
            "implied where nobody asserts",
            vec![event("A02", 2, "").implied("status", r#"{"status":"in-progress"}"#)],
            "in-progress <- ",
            " <- ",
        ),
        (
            "and outranked by any assertion",
            vec![event("A03", 1, ""), event("A02", 2, "").implied("status", r#"{"status":"in-progress"}"#)],
            "finished <- ",
            " <- ",
        ),
    ] {
        tell(what, &messages, "", statuses, classes);
    }
}

#[test]
fn a_finished_visit_that_nobody_moved_is_over_too() {
    let message = event("A08", 1, "W1").implied("status", r#"{"status":"finished"}"#);
    tell("PV1-45 alone", &[ends(message, "2026-03-01T03:00:00Z")], "W1 completed 01:00-03:00", "finished <- ", " <- ");
}

#[test]
fn discharge_data_goes_with_a13_and_comes_with_the_next_discharge() {
    let first = ends(event("A03", 2, ""), "2026-03-01T02:00:00Z");
    let second = ends(event("A03", 4, ""), "2026-03-01T04:00:00Z");
    check("cleared", &[first.clone(), event("A13", 3, "")], &visit("1"), "period", "");
    check("stated again", &[first, event("A13", 3, ""), second], &visit("1"), "period", r#"{"end":"2026-03-01T04:00:00Z"}"#);
}

#[test]
fn a_visit_under_two_numbers_is_a_finding() {
    let says = |number: &str, feed, patient_number: &str, start: &str| {
        let subject = format!(r#"{{"subject":{}}}"#, reference(&patient(patient_number)));
        let message = Message::at(1, 0).feed(feed).about(&visit(number)).element("subject", &subject);
        let message = message.list("identifier", "PV1-19", &format!(r#"[{{"value":"{number}"}}]"#));
        message.element("period.start", &format!(r#"{{"period":{{"start":"{start}"}}}}"#))
    };
    let known = || says("1", "pas", "1", "2026-03-01");
    for (what, message, expected) in [
        ("another number, all else equal", says("2", "pas", "1", "2026-03-01"), vec![Finding::TwoVisits]),
        ("the same visit again", known(), vec![]),
        ("another start", says("2", "pas", "1", "2026-03-02"), vec![]),
        ("another patient", says("2", "pas", "2", "2026-03-01"), vec![]),
        ("another feed", says("2", "lab", "1", "2026-03-01"), vec![]),
    ] {
        assert_eq!(findings(&[known(), message]), expected, "{what}");
    }
}
