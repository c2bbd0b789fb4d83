//! What is found by following references: `_include`, `_revinclude`, `$everything`; and the history of a type.

use super::{Engine, Message, bound, everything, found, id, observation, patient, plain, query, scope, send, subject};
use crate::access::Grant;
use crate::search::{Include, Page, Query, Sort};
use crate::store::{Store, StoreError};
use contract::Key;
use std::collections::BTreeSet;

fn include(reverse: bool, source: &str, parameter: &str) -> Include {
    let parameter = (parameter != "*").then(|| parameter.to_owned());
    Include { reverse, iterate: false, source: source.into(), parameter, target: None }
}

fn names(page: &Page) -> (BTreeSet<String>, BTreeSet<String>) {
    let names = |versions: &[crate::search::Version]| versions.iter().map(|version| version.id.clone()).collect();
    (names(&page.matches), names(&page.included))
}

fn set(keys: &[&Key]) -> BTreeSet<String> {
    keys.iter().map(|key| id(key)).collect()
}

/// Two patients with a result each; the first one's in an encounter at a place in a place, by a practitioner.
struct Ward {
    one: Key,
    two: Key,
    encounter: Key,
    result: Key,
    other: Key,
    place: Key,
    house: Key,
    doctor: Key,
}

fn ward(store: &dyn Store) -> Ward {
    let key = |kind: &str, value: &str| Key::new(kind, "urn:ward", value);
    let (one, two) = (patient("1"), patient("2"));
    let (encounter, place, house, doctor) =
        (key("Encounter", "e"), key("Location", "bed"), key("Location", "house"), key("Practitioner", "p"));
    let of = |key: &Key| format!(r#"{{"reference":"{}/{}"}}"#, key.kind, id(key));
    let (result, result_body) = observation("1", &one, &format!(r#","encounter":{},"performer":[{}]"#, of(&encounter), of(&doctor)));
    let (other, other_body) = observation("2", &two, "");
    let visit = format!(r#"{{"status":"finished","subject":{},"location":[{{"location":{}}}]}}"#, subject(&one), of(&place));
    let message = Message::at(1)
        .says(&one, r#"{"name":[{"family":"Ash"}],"gender":"female","birthDate":"1970-02-01"}"#)
        .says(&two, r#"{"name":[{"family":"Ash"}],"gender":"female","birthDate":"1960-02-01"}"#)
        .says(&patient("3"), r#"{"name":[{"family":"Birch"}]}"#)
        .says(&patient("4"), r#"{"gender":"male"}"#)
        .says(&encounter, &visit)
        .says(&result, &result_body)
        .says(&other, &other_body)
        .says(&place, &format!(r#"{{"name":"Bed","partOf":{}}}"#, of(&house)))
        .says(&house, r#"{"name":"House"}"#)
        .says(&doctor, r#"{"active":true}"#);
    send(store, "ward", message).unwrap();
    Ward { one, two, encounter, result, other, place, house, doctor }
}

pub(in crate::store) fn what_is_pointed_at_comes_along(engine: &dyn Engine) {
    let store = plain(engine);
    let ward = ward(&*store);
    let ask = |grant: &Grant, kind: &str, includes: Vec<Include>| {
        let page = store.search(grant, &Query { includes, ..query(kind, vec![]) }).unwrap();
        assert_eq!(page.total, page.matches.len() as u64, "what comes along is not counted");
        names(&page)
    };
    let results = set(&[&ward.result, &ward.other]);
    let check = |includes: Vec<Include>, expected: &[&Key]| {
        assert_eq!(ask(&everything(), "Observation", includes.clone()), (results.clone(), set(expected)), "{includes:?}");
    };
    check(vec![include(false, "Observation", "patient")], &[&ward.one, &ward.two]);
    check(vec![include(false, "Observation", "encounter"), include(false, "Observation", "performer")], &[&ward.encounter, &ward.doctor]);
    check(vec![include(false, "Observation", "*")], &[&ward.one, &ward.two, &ward.encounter, &ward.doctor]);
    check(vec![include(false, "Encounter", "location")], &[]);
    let to = |target: &str| Include { target: Some(target.into()), ..include(false, "Observation", "*") };
    check(vec![to("Encounter")], &[&ward.encounter]);
    check(vec![to("Martian")], &[]);
    // What came along is followed where it is said.
    let again = |source: &str, parameter: &str| Include { iterate: true, ..include(false, source, parameter) };
    check(vec![include(false, "Observation", "encounter"), include(false, "Encounter", "location")], &[&ward.encounter]);
    check(vec![include(false, "Observation", "encounter"), again("Encounter", "location")], &[&ward.encounter, &ward.place]);
    let all = vec![include(false, "Observation", "encounter"), again("Encounter", "location"), again("Location", "partof")];
    check(all.clone(), &[&ward.encounter, &ward.place, &ward.house]);
    // One patient's client sees of it what is that patient's; and by its own type where another is open.
    assert_eq!(ask(&bound(&ward.one), "Observation", all.clone()), (set(&[&ward.result]), set(&[&ward.encounter])));
    let mixed = Grant::for_tests(vec![scope("Observation", None), scope("Patient", Some(id(&ward.one)))]);
    assert_eq!(ask(&mixed, "Observation", vec![include(false, "Observation", "*")]), (results.clone(), set(&[&ward.one])));
    // A match does not come along again.
    let parts = vec![include(false, "Location", "partof")];
    assert_eq!(ask(&everything(), "Location", parts), (set(&[&ward.place, &ward.house]), set(&[])));
}

pub(in crate::store) fn what_points_at_it_comes_along(engine: &dyn Engine) {
    let store = plain(engine);
    let ward = ward(&*store);
    let ask = |grant: &Grant, key: &Key, includes: Vec<Include>| {
        let filters = vec![("_id", vec![crate::search::Operand::Id(id(key))])];
        names(&store.search(grant, &Query { includes, ..query(&key.kind, filters) }).unwrap())
    };
    let results = || vec![include(true, "Observation", "patient")];
    assert_eq!(ask(&everything(), &ward.one, results()), (set(&[&ward.one]), set(&[&ward.result])));
    assert_eq!(ask(&everything(), &ward.encounter, vec![include(true, "Observation", "encounter")]).1, set(&[&ward.result]));
    assert_eq!(
        ask(&everything(), &ward.one, vec![include(true, "Encounter", "*"), include(true, "Observation", "*")]).1,
        set(&[&ward.encounter, &ward.result])
    );
    // From the place to the visit, and on to its results.
    let on = vec![include(true, "Encounter", "location"), Include { iterate: true, ..include(true, "Observation", "encounter") }];
    assert_eq!(ask(&everything(), &ward.place, on).1, set(&[&ward.encounter, &ward.result]));
    // Merged, each stands for both; but not for the client of one of them.
    send(&*store, "merge", Message::at(2).merged(&ward.two, &ward.one)).unwrap();
    assert_eq!(ask(&everything(), &ward.one, results()).1, set(&[&ward.result, &ward.other]));
    assert_eq!(ask(&bound(&ward.one), &ward.one, results()).1, set(&[&ward.result]));
    // Who may not search the type learns nothing of it.
    let narrow = Grant::for_tests(vec![scope("Patient", None)]);
    assert_eq!(ask(&narrow, &ward.one, results()).1, set(&[]));
}

/// What an app may not see takes no room from what it may.
pub(in crate::store) fn what_is_out_of_reach_uses_up_no_page(engine: &dyn Engine) {
    let store = plain(engine);
    let (mine, other, doctor) = (patient("1"), patient("2"), Key::new("Practitioner", "urn:ward", "p"));
    let by = format!(r#","performer":[{{"reference":"Practitioner/{}"}}]"#, id(&doctor));
    let mut message = Message::at(1).says(&mine, "{}").says(&other, "{}").says(&doctor, r#"{"active":true}"#);
    for number in 0..1100 {
        let (key, body) = observation(&number.to_string(), &other, &by);
        message = message.says(&key, &body);
    }
    send(&*store, "others", message).unwrap();
    let (own, body) = observation("mine", &mine, &by);
    send(&*store, "mine", Message::at(2).says(&own, &body)).unwrap();
    let grant = Grant::for_tests(vec![scope("Practitioner", None), scope("Observation", Some(id(&mine)))]);
    let asked = Query { includes: vec![include(true, "Observation", "performer")], ..query("Practitioner", vec![]) };
    assert_eq!(names(&store.search(&grant, &asked).unwrap()), (set(&[&doctor]), set(&[&own])));
    // Who may see all is told that it is too much, and does not get a part of it.
    assert!(matches!(store.search(&everything(), &asked), Err(StoreError::TooCostly)));
}

/// A page has fewer matches rather than less than comes along with them.
pub(in crate::store) fn what_comes_along_is_never_cut(engine: &dyn Engine) {
    let store = plain(engine);
    let large = |letter: &str| format!(r#"{{"name":[{{"family":"{}"}}]}}"#, letter.repeat(22_500));
    let mut message = Message::at(1);
    let mut results = Vec::new();
    for letter in ["a", "b", "c", "d"] {
        let (key, body) = observation(letter, &patient(letter), "");
        message = message.says(&patient(letter), &large(letter)).says(&key, &body);
        results.push(id(&key));
    }
    send(&*store, "large", message).unwrap();
    let mut asked = Query { includes: vec![include(false, "Observation", "patient")], ..query("Observation", vec![]) };
    let mut all = Vec::new();
    loop {
        let page = store.search(&everything(), &asked).unwrap();
        assert!(page.included.len() == page.matches.len() && page.included.len() < 3, "engines are opened with 64 KiB");
        all.extend(page.matches.into_iter().map(|version| version.id));
        asked.cursor = page.next;
        if asked.cursor.is_none() {
            break;
        }
    }
    all.sort();
    results.sort();
    assert_eq!(all, results);
    let bundles = (0..4).fold(Message::at(2), |message, number| {
        let key = Key::new("Encounter", "urn:large", number.to_string());
        message.says(&key, &format!(r#"{{"subject":{},"text":{{"div":"{}"}}}}"#, subject(&patient("a")), "x".repeat(22_500)))
    });
    send(&*store, "many", bundles).unwrap();
    let asked = Query {
        includes: vec![include(true, "Encounter", "patient")],
        ..query("Patient", vec![("_id", vec![crate::search::Operand::Id(id(&patient("a")))])])
    };
    assert!(matches!(store.search(&everything(), &asked), Err(StoreError::TooCostly)));
}

pub(in crate::store) fn several_parameters_order(engine: &dyn Engine) {
    let store = plain(engine);
    ward(&*store);
    let by = |text: &'static str| {
        text.split(',').map(|code| Sort { parameter: code.trim_start_matches('-').into(), descending: code.starts_with('-') })
    };
    for (sort, order) in [
        ("family,birthdate", ["2", "1", "3", "4"]),
        ("family,-birthdate", ["1", "2", "3", "4"]),
        ("-family,birthdate", ["3", "2", "1", "4"]),
        ("gender,-family,birthdate", ["2", "1", "4", "3"]),
        ("-gender,birthdate,family", ["4", "2", "1", "3"]),
    ] {
        let expected: Vec<String> = order.iter().map(|number| id(&patient(number))).collect();
        for grant in [everything(), bound(&patient("1"))] {
            for count in 1..5 {
                let (mut asked, mut all) = (Query { sort: by(sort).collect(), count, ..query("Patient", vec![]) }, Vec::new());
                loop {
                    let page = store.search(&grant, &asked).unwrap();
                    all.extend(page.matches.into_iter().map(|version| version.id));
                    asked.cursor = page.next;
                    if asked.cursor.is_none() {
                        break;
                    }
                }
                let own = all.len() == 1 && all[0] == id(&patient("1"));
                assert!(all == expected || own, "{sort} by {count}");
            }
        }
    }
    let first = store.search(&everything(), &Query { sort: by("family").collect(), count: 1, ..query("Patient", vec![]) }).unwrap();
    let other = Query { cursor: first.next, ..query("Patient", vec![]) };
    assert!(matches!(store.search(&everything(), &other), Err(StoreError::Refused(_))), "a page of another order");
}

pub(in crate::store) fn a_patients_whole_record_is_given(engine: &dyn Engine) {
    let store = plain(engine);
    let ward = ward(&*store);
    let ask = |grant: &Grant, key: &Key, asked: Query| store.everything(grant, &id(key), &asked).unwrap();
    let all = || query("Patient", vec![]);
    let whole = ask(&everything(), &ward.one, all()).unwrap();
    let who_and_where = set(&[&ward.doctor, &ward.place, &ward.house]);
    assert_eq!(names(&whole), (set(&[&ward.one, &ward.encounter, &ward.result]), who_and_where));
    assert_eq!((whole.total, whole.matches[0].id.clone(), &whole.next), (3, id(&ward.one), &None));
    assert!(ask(&everything(), &patient("never"), all()).is_none());
    // By pages, each with who and where it points at.
    let (mut asked, mut found) = (Query { count: 1, ..all() }, BTreeSet::new());
    loop {
        let page = ask(&everything(), &ward.one, asked.clone()).unwrap();
        assert_eq!((page.matches.len(), page.total), (1, 3));
        assert!(found.insert(page.matches[0].id.clone()));
        asked.cursor = page.next;
        if asked.cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, set(&[&ward.one, &ward.encounter, &ward.result]));
    // By type, by time, by what the Grant reaches.
    let results = Query { kinds: vec!["Observation".into()], ..all() };
    assert_eq!(names(&ask(&everything(), &ward.one, results).unwrap()), (set(&[&ward.result]), set(&[])));
    let since = |text: &str| Some(super::at(text).as_microsecond());
    assert_eq!(ask(&everything(), &ward.one, Query { since: since("2026-03-01T12:00:00Z"), ..all() }).unwrap().total, 3);
    assert_eq!(ask(&everything(), &ward.one, Query { since: since("2026-03-01T12:00:01Z"), ..all() }).unwrap().total, 0);
    let own = ask(&bound(&ward.one), &ward.one, all()).unwrap();
    assert_eq!(names(&own), (set(&[&ward.one, &ward.encounter, &ward.result]), set(&[])));
    assert!(ask(&bound(&ward.two), &ward.one, all()).is_none());
    let narrow = Grant::for_tests(vec![scope("Patient", None), scope("Location", None)]);
    assert_eq!(names(&ask(&narrow, &ward.one, all()).unwrap()), (set(&[&ward.one]), set(&[])));
    // Merged, it is one record; but for the client of one of them, of any type.
    send(&*store, "merge", Message::at(2).merged(&ward.two, &ward.one)).unwrap();
    assert_eq!(ask(&everything(), &ward.one, all()).unwrap().total, 5);
    assert_eq!(ask(&bound(&ward.one), &ward.one, all()).unwrap().total, 3);
    let mixed = Grant::for_tests(vec![scope("Patient", None), scope("Observation", Some(id(&ward.one)))]);
    assert_eq!(names(&ask(&mixed, &ward.one, all()).unwrap()).0, set(&[&ward.one, &ward.result]));
}

pub(in crate::store) fn a_type_has_a_history(engine: &dyn Engine) {
    let clock = super::clock();
    let store = engine.open(clock.clone(), std::sync::Arc::new(crate::store::faults::NoFaults));
    let (one, two) = (patient("1"), patient("2"));
    for (number, key) in [&one, &two, &one, &one].into_iter().enumerate() {
        let second = i64::try_from(number).unwrap();
        let born = format!(r#"{{"birthDate":"197{number}"}}"#);
        send(&*store, &format!("m{number}"), Message::at(second).says(key, &born)).unwrap();
        clock.advance(std::time::Duration::from_secs(60));
    }
    let walk = |grant: &Grant, count: usize, since: Option<i64>| {
        let (mut asked, mut all) = (Query { count, since, ..query("Patient", vec![]) }, Vec::new());
        loop {
            let page = store.changes(grant, &asked).unwrap();
            assert!(page.matches.len() <= count);
            all.extend(page.matches.into_iter().map(|version| (version.id, version.version)));
            asked.cursor = page.next;
            if asked.cursor.is_none() {
                return all;
            }
        }
    };
    let (a, b) = (id(&one), id(&two));
    let expected = [(a.clone(), 3), (a.clone(), 2), (b.clone(), 1), (a.clone(), 1)];
    for count in 1..6 {
        assert_eq!(walk(&everything(), count, None), expected);
        assert_eq!(walk(&bound(&one), count, None), [(a.clone(), 3), (a.clone(), 2), (a.clone(), 1)]);
    }
    let since = |text: &str| Some(super::at(text).as_microsecond());
    assert_eq!(walk(&everything(), 10, since("2026-03-01T12:02:00Z")), expected[..2]);
    assert_eq!(walk(&everything(), 10, since("2026-03-01T13:00:00Z")), []);
    let history = |since| store.history(&everything(), &a, &Query { since, ..query("Patient", vec![]) }).unwrap().unwrap();
    assert_eq!((history(None).total, history(since("2026-03-01T12:01:00Z")).total), (3, 2));
    assert!(walk(&Grant::for_tests(vec![scope("Observation", None)]), 10, None).is_empty());
    // What was current at a time: the first of one patient from 12:00 until 12:02, the other's from 12:01 on.
    for (from, to, all_current, own_current) in [
        ("2026-03-01T12:00:00Z", "2026-03-01T12:01:00Z", vec![(&a, 1)], vec![1]),
        ("2026-03-01T12:01:30Z", "2026-03-01T12:02:30Z", vec![(&a, 2), (&b, 1), (&a, 1)], vec![2, 1]),
        ("2026-03-01T12:02:00Z", "2026-03-01T12:02:01Z", vec![(&a, 2), (&b, 1)], vec![2]),
        ("2026-03-02T12:00:00Z", "2026-03-03T12:00:00Z", vec![(&a, 3), (&b, 1)], vec![3]),
        ("2026-02-01T12:00:00Z", "2026-03-01T12:00:00Z", vec![], vec![]),
    ] {
        let within = Some((since(from).unwrap(), since(to).unwrap()));
        let asked = |cursor, count| Query { at: within, cursor, count, ..query("Patient", vec![]) };
        let (mut cursor, mut told) = (None, Vec::new());
        loop {
            let page = store.changes(&everything(), &asked(cursor, 1)).unwrap();
            told.extend(page.matches.into_iter().map(|version| (version.id, version.version)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(told.iter().map(|(id, version)| (id, *version)).collect::<Vec<_>>(), all_current, "{from}");
        let page = store.history(&bound(&one), &a, &asked(None, 50)).unwrap().unwrap();
        assert_eq!(page.matches.iter().map(|version| version.version).collect::<Vec<_>>(), own_current, "{from}");
        assert_eq!(page.total, own_current.len() as u64);
    }
    // Since when a resource is as it is finds the same by its time.
    let updated =
        |prefix, text: &str| found(&*store, &everything(), &query("Patient", vec![("_lastUpdated", vec![super::date(prefix, text)])]));
    assert_eq!(updated(crate::search::Prefix::Ge, "2026-03-01T12:02:00Z"), std::slice::from_ref(&a));
    assert_eq!(updated(crate::search::Prefix::Lt, "2026-03-01T12:02:00Z"), std::slice::from_ref(&b));
    assert_eq!(updated(crate::search::Prefix::Sa, "2026-03-01T12:00:00Z").len(), 2);
}
