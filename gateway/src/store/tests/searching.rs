//! What is found, and by whom.

use super::*;

pub(in crate::store) fn a_patient_sees_its_own_compartment_alone(engine: &dyn Engine) {
    let store = plain(engine);
    let (mine, other) = (patient("1"), patient("2"));
    let ((seen, seen_body), (unseen, unseen_body)) = (observation("1", &mine, ""), observation("2", &other, ""));
    let place = Key::new("Location", "urn:ward", "W");
    let message =
        Message::at(1).says(&mine, "{}").says(&other, "{}").says(&seen, &seen_body).says(&unseen, &unseen_body).says(&place, "{}");
    send(&*store, "one", message).unwrap();
    let grant = bound(&mine);
    let read = |kind: &str, key: &Key| store.read(&grant, kind, &id(key)).unwrap().is_some();
    assert!(read("Patient", &mine) && read("Observation", &seen));
    assert!(!read("Patient", &other) && !read("Observation", &unseen) && !read("Location", &place) && !read("Patient", &patient("3")));
    assert!(!read("Patient", &seen), "an id of another type");
    assert!(store.read(&everything(), "Patient", &id(&mine).to_uppercase()).unwrap().is_none());
    assert!(store.vread(&grant, "Observation", &id(&unseen), 1).unwrap().is_none());
    assert!(store.history(&grant, &id(&unseen), &query("Observation", vec![])).unwrap().is_none());
    let status = || vec![token(None, Some("final"))];
    for (kind, filters, expected) in [
        ("Observation", vec![], vec![id(&seen)]),
        ("Observation", vec![("status", status())], vec![id(&seen)]),
        ("Observation", vec![("patient", vec![of(&other)])], vec![]),
        ("Observation", vec![("patient", vec![of(&other), of(&mine)]), ("status", status())], vec![id(&seen)]),
        ("Observation", vec![("_id", vec![Operand::Id(id(&unseen)), Operand::Id(id(&seen))])], vec![id(&seen)]),
        ("Patient", vec![], vec![id(&mine)]),
        ("Location", vec![], vec![]),
    ] {
        assert_eq!(found(&*store, &grant, &query(kind, filters.clone())), expected, "{kind} {filters:?}");
    }
    let nobody = Grant::for_tests(vec![]);
    assert!(found(&*store, &nobody, &query("Patient", vec![])).is_empty());
    assert!(store.read(&nobody, "Patient", &id(&mine)).unwrap().is_none());
    let stranger = bound(&patient("9"));
    assert!(found(&*store, &stranger, &query("Observation", vec![])).is_empty());
    assert_eq!(store.audit_search(&grant, &query("AuditEvent", vec![])).unwrap().total, 0);
    let only = Grant::for_tests(vec![scope("Patient", None)]);
    assert!(found(&*store, &only, &query("Observation", vec![])).is_empty());
    assert_eq!(found(&*store, &only, &query("Patient", vec![])).len(), 2);
}

pub(in crate::store) fn a_version_is_authorized_by_its_own_compartment_too(engine: &dyn Engine) {
    let store = plain(engine);
    let (first, second) = (patient("1"), patient("2"));
    let (key, body) = observation("1", &first, "");
    send(&*store, "one", Message::at(1).says(&first, "{}").says(&second, "{}").says(&key, &body)).unwrap();
    send(&*store, "two", Message::at(2).says(&key, &observation("1", &second, "").1)).unwrap();
    let see = |patient: &Key, version: u64| store.vread(&bound(patient), "Observation", &id(&key), version).unwrap().is_some();
    assert!(see(&second, 2) && !see(&second, 1), "the older version is another's");
    assert!(!see(&first, 1) && !see(&first, 2), "it is no longer there");
    let page = store.history(&bound(&second), &id(&key), &query("Observation", vec![])).unwrap().unwrap();
    assert_eq!((page.total, page.matches.len()), (1, 1));
    assert!(store.history(&bound(&first), &id(&key), &query("Observation", vec![])).unwrap().is_none());
    assert_eq!(store.vread(&everything(), "Observation", &id(&key), 1).unwrap().unwrap().patients, [id(&first)]);
    assert!(found(&*store, &bound(&first), &query("Observation", vec![])).is_empty());
}

pub(in crate::store) fn searches_say_what_r4_says(engine: &dyn Engine) {
    let store = plain(engine);
    let (one, two) = (patient("1"), patient("2"));
    let (result, result_body) = observation(
        "1",
        &one,
        r#","code":{"coding":[{"system":"http://loinc.org","code":"718-7"},{"code":"HB"}]},"effectiveDateTime":"2026-02-03T10:00:00Z""#,
    );
    let message = Message::at(1)
        .says(&one, r#"{"identifier":[{"system":"urn:mrn","value":"A,1"},{"value":"X"}],"name":[{"family":"Müller-Straße","given":["Ève"]}],"birthDate":"1970-02"}"#)
        .says(&two, r#"{"identifier":[{"system":"urn:nhs","value":"A,1"}],"name":[{"family":"Mullins"}],"birthDate":"1985-05-05"}"#)
        .says(&result, &result_body);
    send(&*store, "one", message).unwrap();
    let text = |text: &str| Operand::Text(fold(text));
    let (a, b, r) = (id(&one), id(&two), id(&result));
    let both = || vec![a.clone(), b.clone()];
    let check = |kind: &str, filters: Vec<(&str, Vec<Operand>)>, mut expected: Vec<String>| {
        let told = format!("{kind} {filters:?}");
        let mut found = found(&*store, &everything(), &query(kind, filters));
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{told}");
    };
    check("Patient", vec![], both());
    check("Patient", vec![("identifier", vec![token(None, Some("A,1"))])], both());
    check("Patient", vec![("identifier", vec![token(Some("urn:nhs"), Some("A,1"))])], vec![b.clone()]);
    check("Patient", vec![("identifier", vec![token(Some("urn:nhs"), Some("A,1")), token(Some("urn:mrn"), Some("A,1"))])], both());
    check("Patient", vec![("identifier", vec![token(Some(""), Some("A,1"))])], vec![]);
    check("Patient", vec![("identifier", vec![token(Some(""), Some("X"))])], vec![a.clone()]);
    check("Patient", vec![("identifier", vec![token(Some("urn:mrn"), None)])], vec![a.clone()]);
    check("Patient", vec![("identifier", vec![token(Some("urn:unknown"), None), token(Some("urn:unknown"), Some("A,1"))])], vec![]);
    check("Patient", vec![("identifier", vec![token(None, Some("a,1"))])], vec![]);
    check("Patient", vec![("family", vec![text("MÜLL")])], both());
    check("Patient", vec![("family", vec![text("muller-strasse")])], vec![a.clone()]);
    check("Patient", vec![("family", vec![text("straße")])], vec![]);
    check("Patient", vec![("family", vec![text("mull")]), ("given", vec![text("eve")])], vec![a.clone()]);
    check("Patient", vec![("family", vec![text("x"), text("mullin")])], vec![b.clone()]);
    check("Patient", vec![("_id", vec![Operand::Id(b.clone())]), ("family", vec![text("muller")])], vec![]);
    check("Patient", vec![("_id", vec![Operand::Id("nobody".into())])], vec![]);
    check("Patient", vec![("birthdate", vec![date(Prefix::Eq, "1970")])], vec![a.clone()]);
    check("Patient", vec![("birthdate", vec![date(Prefix::Eq, "1970-02-01")])], vec![]);
    let loinc = "http://loinc.org";
    for (filters, found) in [
        (vec![("code", vec![token(Some(loinc), Some("718-7"))])], true),
        (vec![("code", vec![token(None, Some("718-7"))]), ("patient", vec![of(&one)])], true),
        (vec![("code", vec![token(Some(""), Some("HB"))]), ("subject", vec![of(&one)])], true),
        (vec![("code", vec![token(Some(loinc), Some("HB"))])], false),
        (vec![("code", vec![token(Some(loinc), None)])], true),
        (vec![("status", vec![token(None, Some("final"))])], true),
        (vec![("status", vec![token(Some("http://hl7.org/fhir/observation-status"), Some("final"))])], true),
        (vec![("status", vec![token(Some("urn:other"), Some("final"))])], false),
        (vec![("status", vec![token(Some(""), Some("final"))])], true),
        (vec![("patient", vec![of(&two)])], false),
        (vec![("subject", vec![Operand::Reference { kind: None, id: a.clone() }])], true),
        (vec![("subject", vec![Operand::Reference { kind: Some("Group".into()), id: a.clone() }])], false),
        (vec![("date", vec![date(Prefix::Ge, "2026-02")]), ("patient", vec![of(&one)])], true),
        (vec![("date", vec![date(Prefix::Lt, "2026-02")]), ("patient", vec![of(&one)])], false),
    ] {
        check("Observation", filters, if found { vec![r.clone()] } else { vec![] });
    }
    let thousand =
        || (0..1000).map(|n| token(Some("urn:mrn"), Some(&format!("n{n}")))).chain([token(Some("urn:mrn"), Some("A,1"))]).collect();
    check("Patient", vec![("identifier", thousand())], vec![a.clone()]);
    let names = || (0..999).map(|n| text(&format!("n{n}"))).chain([text("mullins")]).collect();
    check("Patient", vec![("family", names())], vec![b.clone()]);
    check("Patient", vec![("identifier", thousand()), ("family", names())], vec![]);
    for (kind, parameter, operand) in [("Patient", "height", text("a")), ("Patient", "family", token(None, Some("a")))] {
        assert!(matches!(store.search(&everything(), &query(kind, vec![(parameter, vec![operand])])), Err(StoreError::Refused(_))));
    }
}

pub(in crate::store) fn modifiers_say_what_r4_says(engine: &dyn Engine) {
    let store = plain(engine);
    let (one, two) = (patient("1"), patient("2"));
    let told = r#","category":[{"coding":[{"system":"urn:c","code":"laboratory"}]}],"effectiveDateTime":"2026-02-03""#;
    let ((dated, dated_body), (bare, bare_body)) = (observation("1", &one, told), observation("2", &one, ""));
    let message = Message::at(1)
        .says(&one, r#"{"name":[{"family":"Müller","given":["Ève"]},{"family":"Fletcher"}],"gender":"female"}"#)
        .says(&two, r#"{"name":[{"family":"Muller"}]}"#)
        .says(&dated, &dated_body)
        .says(&bare, &bare_body);
    send(&*store, "one", message).unwrap();
    let (a, b, d, e) = (id(&one), id(&two), id(&dated), id(&bare));
    let check = |kind: &str, filters: Vec<(&str, Operand)>, not: bool, expected: &[&String]| {
        let filters = filters.into_iter().map(|(code, operand)| (code, vec![operand])).collect();
        let mut asked = query(kind, filters);
        asked.filters[0].not = not;
        let mut expected: Vec<String> = expected.iter().map(|id| (*id).clone()).collect();
        let mut all = found(&*store, &everything(), &asked);
        all.sort();
        expected.sort();
        assert_eq!(all, expected, "{asked:?}");
        assert_eq!(store.search(&everything(), &asked).unwrap().total, expected.len() as u64);
        // Whoever is bound to one patient finds of it what is that patient's.
        let mut own = found(&*store, &bound(&one), &asked);
        own.sort();
        expected.retain(|id| *id != b);
        assert_eq!(own, expected, "bound: {asked:?}");
        assert_eq!(store.search(&bound(&one), &asked).unwrap().total, expected.len() as u64);
    };
    let exact = |text: &str| Operand::Exact(text.into());
    let contains = |text: &str| Operand::Contains(fold(text));
    let is = |code: &str| token(None, Some(code));
    check("Patient", vec![("family", exact("Müller"))], false, &[&a]);
    check("Patient", vec![("family", exact("Muller"))], false, &[&b]);
    check("Patient", vec![("family", exact("Mull"))], false, &[]);
    check("Patient", vec![("given", exact("Müller"))], false, &[]);
    check("Patient", vec![("family", contains("ÜLL"))], false, &[&a, &b]);
    check("Patient", vec![("family", contains("etch")), ("given", Operand::Text("eve".into()))], false, &[&a]);
    check("Patient", vec![("family", contains("eve"))], false, &[]);
    check("Patient", vec![("gender", Operand::Missing(true))], false, &[&b]);
    check("Patient", vec![("gender", Operand::Missing(false))], false, &[&a]);
    check("Patient", vec![("given", Operand::Missing(true)), ("family", exact("Muller"))], false, &[&b]);
    check("Patient", vec![("gender", is("female"))], true, &[&b]);
    check("Patient", vec![("gender", is("male"))], true, &[&a, &b]);
    check("Observation", vec![("category", token(Some("urn:c"), Some("laboratory")))], true, &[&e]);
    check("Observation", vec![("category", token(Some("urn:other"), Some("laboratory")))], true, &[&d, &e]);
    check("Observation", vec![("date", Operand::Missing(true)), ("patient", of(&one))], false, &[&e]);
    check("Observation", vec![("encounter", Operand::Missing(true))], false, &[&d, &e]);
    check("Observation", vec![("subject", Operand::Missing(false))], false, &[&d, &e]);
    let updated = store.read(&everything(), "Patient", &a).unwrap().unwrap().last_updated.to_string();
    for (prefix, expected) in [
        (Prefix::Eq, &[&a, &b][..]),
        (Prefix::Ge, &[&a, &b]),
        (Prefix::Le, &[&a, &b]),
        (Prefix::Gt, &[]),
        (Prefix::Lt, &[]),
        (Prefix::Ne, &[]),
    ] {
        check("Patient", vec![("_lastUpdated", date(prefix, &updated))], false, expected);
    }
    check("Patient", vec![("_lastUpdated", date(Prefix::Ge, &updated)), ("family", exact("Müller"))], false, &[&a]);
    let mut uncounted = query("Patient", vec![]);
    uncounted.total = false;
    uncounted.count = 1;
    let page = store.search(&everything(), &uncounted).unwrap();
    assert_eq!((page.total, page.matches.len(), page.next.is_some()), (0, 1, true));
}

/// What is asked by the client of one patient has one answer, whoever else is in the store.
pub(in crate::store) fn modifiers_tell_nothing_of_others(engine: &dyn Engine) {
    let one = patient("1");
    let ask = |store: &dyn Store| {
        let operands = [Operand::Missing(true), Operand::Missing(false), Operand::Exact("Müller".into()), Operand::Contains("ull".into())];
        let mut asked: Vec<Query> = operands.map(|operand| query("Patient", vec![("family", vec![operand])])).into();
        asked.push(query("Patient", vec![("gender", vec![token(None, Some("male"))])]));
        asked[4].filters[0].not = true;
        asked.push(query("Patient", vec![("_lastUpdated", vec![date(Prefix::Ge, "2000")])]));
        let answers = asked.iter().map(|query| store.search(&bound(&one), query).unwrap());
        answers.map(|page| (page.total, page.matches.iter().map(|version| version.id.clone()).collect::<Vec<_>>())).collect::<Vec<_>>()
    };
    let store = plain(engine);
    send(&*store, "one", Message::at(1).says(&one, r#"{"name":[{"family":"Müller"}],"gender":"female"}"#)).unwrap();
    let alone = ask(&*store);
    assert_eq!(alone.iter().map(|(total, _)| *total).collect::<Vec<_>>(), [0, 1, 1, 1, 1, 1]);
    let other = Message::at(2).says(&patient("2"), r#"{"name":[{"family":"Müller"}]}"#).says(&patient("3"), r#"{"gender":"male"}"#);
    send(&*store, "two", other).unwrap();
    assert_eq!(ask(&*store), alone);
}

/// What has no value comes last in either direction; equal values, and what comes in between pages, repeat and hide nothing.
pub(in crate::store) fn sorted_pages_hold_everything_once(engine: &dyn Engine) {
    let store = plain(engine);
    let one = patient("1");
    let mut message = Message::at(1).says(&one, "{}").says(&patient("2"), "{}");
    let values = [
        r#","effectiveDateTime":"2026-02-03""#,
        "",
        r#","effectiveDateTime":"2026-02-01""#,
        r#","effectiveDateTime":"2026-02-03""#,
        r#","effectivePeriod":{"start":"2026-01-01","end":"2026-03-01"}"#,
        "",
    ];
    for (number, value) in values.iter().enumerate() {
        let (key, body) = observation(&number.to_string(), &one, value);
        message = message.says(&key, &body);
    }
    send(&*store, "one", message).unwrap();
    let name: BTreeMap<String, usize> =
        (0..values.len()).map(|number| (id(&observation(&number.to_string(), &one, "").0), number)).collect();
    let walk = |grant: &Grant, parameter: &str, descending: bool, count: usize, between: &dyn Fn()| {
        let mut asked = query("Observation", vec![]);
        asked.sort = vec![Sort { parameter: parameter.into(), descending }];
        asked.count = count;
        let mut all = Vec::new();
        loop {
            let page = store.search(grant, &asked).unwrap();
            assert!(page.matches.len() <= count && !page.matches.is_empty());
            all.extend(page.matches.iter().filter_map(|version| name.get(&version.id).copied()));
            between();
            let Some(next) = page.next else { return all };
            asked.cursor = Some(next);
        }
    };
    let rows = walk(&everything(), "_lastUpdated", false, 6, &|| {});
    // Rows of one message come in no order of ours: those that tie are told by their rows.
    let tie = |numbers: [usize; 2]| rows.iter().copied().filter(|number| numbers.contains(number)).collect::<Vec<_>>();
    let ascending = [vec![4, 2], tie([0, 3]), tie([1, 5])].concat();
    let descending = [vec![4], tie([0, 3]), vec![2], tie([1, 5])].concat();
    for count in 1..8 {
        for grant in [everything(), bound(&one)] {
            assert_eq!(walk(&grant, "date", false, count, &|| {}), ascending, "{count}");
            assert_eq!(walk(&grant, "date", true, count, &|| {}), descending, "{count}");
        }
    }
    let sequence = std::cell::Cell::new(0);
    let between = || {
        let number = sequence.replace(sequence.get() + 1);
        let (key, body) = observation(&format!("new{number}"), &patient("2"), r#","effectiveDateTime":"2026-02-02""#);
        send(&*store, &format!("new{number}"), Message::at(2).says(&key, &body)).unwrap();
    };
    assert_eq!(walk(&bound(&one), "date", false, 2, &between), ascending);
    assert_eq!(walk(&bound(&one), "date", true, 2, &between), descending, "another's results change no page");
    assert_eq!(walk(&everything(), "date", true, 20, &|| {}), descending);
    let mut asked = query("Patient", vec![]);
    asked.sort = vec![Sort { parameter: "general-practitioner".into(), descending: false }];
    assert!(matches!(store.search(&everything(), &asked), Err(StoreError::Refused(_))));
}

pub(in crate::store) fn dates_compare_as_intervals(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let stored =
        ["1990-06-15", "1990", r#"{"start":"1990-06-15"}"#, r#"{"end":"1990-06-15"}"#, r#"{"start":"1990-06-01","end":"1990-06-30"}"#];
    let mut message = Message::at(1).says(&key, "{}");
    for (number, value) in stored.iter().enumerate() {
        let more = match value.strip_prefix('{') {
            Some(_) => format!(r#","effectivePeriod":{value}"#),
            None => format!(r#","effectiveDateTime":"{value}""#),
        };
        let (key, body) = observation(&number.to_string(), &key, &more);
        message = message.says(&key, &body);
    }
    send(&*store, "one", message).unwrap();
    let name: BTreeMap<String, usize> =
        (0..stored.len()).map(|number| (id(&observation(&number.to_string(), &key, "").0), number)).collect();
    let check = |prefix: Prefix, text: &str, expected: &[usize]| {
        let found = found(&*store, &everything(), &query("Observation", vec![("date", vec![date(prefix, text)])]));
        let mut found: Vec<usize> = found.iter().map(|id| name[id]).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{prefix:?} {text}");
    };
    // 0: the day; 1: the year; 2: from the day on; 3: until the day; 4: the month.
    check(Prefix::Eq, "1990-06-15", &[0]);
    check(Prefix::Eq, "1990-06", &[0, 4]);
    check(Prefix::Eq, "1990", &[0, 1, 4]);
    check(Prefix::Ne, "1990-06", &[1, 2, 3]);
    check(Prefix::Gt, "1990-06-15", &[1, 2, 4]);
    check(Prefix::Lt, "1990-06-15", &[1, 3, 4]);
    check(Prefix::Ge, "1990-06-15", &[0, 1, 2, 4]);
    check(Prefix::Le, "1990-06-15", &[0, 1, 3, 4]);
    check(Prefix::Sa, "1990-06-14", &[0, 2]);
    check(Prefix::Sa, "1990-06-15", &[]);
    check(Prefix::Eb, "1990-06-16", &[0, 3]);
    check(Prefix::Eb, "1990-06-15", &[]);
    check(Prefix::Ap, "1990-06-15", &[0, 1, 2, 3, 4]);
    check(Prefix::Ap, "1960", &[3]);
}

pub(in crate::store) fn pages_follow_one_another(engine: &dyn Engine) {
    let store = plain(engine);
    for number in 0..5 {
        let message = Message::at(number).says(&patient(&number.to_string()), r#"{"name":[{"family":"Same"}]}"#);
        send(&*store, &format!("m{number}"), message).unwrap();
    }
    for filters in [vec![], vec![("family", vec![Operand::Text("same".into())])]] {
        let mut query = query("Patient", filters);
        query.count = 2;
        let (mut seen, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = store.search(&everything(), &query).unwrap();
            assert_eq!(page.total, 5);
            sizes.push(page.matches.len());
            seen.extend(page.matches.into_iter().map(|version| version.id));
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [2, 2, 1]);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5);
        (query.count, query.cursor) = (0, None);
        let page = store.search(&everything(), &query).unwrap();
        assert_eq!((page.total, page.matches.len(), page.next), (5, 0, None));
    }
    let key = patient("0");
    for number in 0..4 {
        let message = Message::at(10 + number).says(&key, &format!(r#"{{"name":[{{"family":"V{number}"}}]}}"#));
        send(&*store, &format!("v{number}"), message).unwrap();
    }
    let history = |cursor| {
        let asked = Query { count: 3, cursor, ..query("Patient", vec![]) };
        store.history(&everything(), &id(&key), &asked).unwrap().unwrap()
    };
    let first = history(None);
    let second = history(first.next.clone());
    let versions = |page: &crate::search::Page| page.matches.iter().map(|version| version.version).collect::<Vec<_>>();
    assert_eq!((versions(&first), versions(&second)), (vec![5, 4, 3], vec![2, 1]));
    assert_eq!((first.total, second.next), (5, None));
    // A page ends where its bodies are large, too; engines are opened with 64 KiB.
    for (number, letter) in ["a", "b", "c"].into_iter().enumerate() {
        let name = format!(r#"{{"name":[{{"family":"{}"}}]}}"#, letter.repeat(22_500));
        send(&*store, &format!("large{number}"), Message::at(20).says(&patient(letter), &name)).unwrap();
        send(&*store, &format!("larger{number}"), Message::at(30 + number as i64).says(&patient("a"), &name)).unwrap();
    }
    let page = store.history(&everything(), &id(&patient("a")), &query("Patient", vec![])).unwrap().unwrap();
    assert_eq!((page.matches.len(), page.total), (2, 3));
    let rest = store.history(&everything(), &id(&patient("a")), &Query { cursor: page.next, ..query("Patient", vec![]) }).unwrap().unwrap();
    assert_eq!((rest.matches.len(), rest.next), (1, None));
    let mut all = query("Patient", vec![]);
    all.count = 100;
    let page = store.search(&everything(), &all).unwrap();
    assert_eq!((page.matches.len(), page.total), (7, 8));
    all.cursor = page.next;
    assert_eq!(store.search(&everything(), &all).unwrap().matches.len(), 1);
}

pub(in crate::store) fn a_merged_patient_answers_for_both(engine: &dyn Engine) {
    let store = plain(engine);
    let (old, new, third) = (patient("1"), patient("2"), patient("3"));
    let ((before, before_body), (after, after_body)) = (observation("1", &old, ""), observation("2", &new, ""));
    send(&*store, "one", Message::at(1).says(&old, "{}").says(&before, &before_body).says(&after, &after_body)).unwrap();
    send(&*store, "two", Message::at(2).merged(&old, &new)).unwrap();
    send(&*store, "three", Message::at(3).merged(&third, &new)).unwrap();
    let asked = |patient: &Key| query("Observation", vec![("patient", vec![of(patient)])]);
    for member in [&old, &new, &third] {
        assert_eq!(found(&*store, &everything(), &asked(member)).len(), 2);
    }
    // A patient's own token does not cross merge edges.
    assert_eq!(found(&*store, &bound(&old), &asked(&old)), [id(&before)]);
    assert_eq!(found(&*store, &bound(&new), &asked(&new)), [id(&after)]);
    assert!(found(&*store, &bound(&third), &asked(&third)).is_empty());
    assert!(store.read(&bound(&new), "Patient", &id(&old)).unwrap().is_none());
    let retired = body(&*store, "Patient", &old).unwrap();
    assert_eq!(retired.get("active"), Some(&false.into()));
    let survivor = body(&*store, "Patient", &new).unwrap();
    assert_eq!(survivor.get("link").map(|link| link.each().len()), Some(2));
}

pub(in crate::store) fn the_audit_is_searched_newest_first(engine: &dyn Engine) {
    let store = plain(engine);
    let (one, two) = (patient("1"), patient("2"));
    send(&*store, "one", Message::at(1).says(&one, "{}").says(&two, "{}")).unwrap();
    for second in 1..=4_i64 {
        let mut entry = entry(Action::Read);
        entry.at = at("2026-03-01T12:00:00Z") + jiff::Span::new().seconds(second);
        entry.outcome = if second == 4 { 4 } else { 0 };
        entry.patients = if second == 2 { vec![id(&two)] } else { vec![] };
        wait(store.record(entry)).unwrap();
    }
    let ask = |filters: Vec<(&str, Vec<Operand>)>, count: usize, cursor: Option<Cursor>| {
        let query = Query { count, cursor, ..query("AuditEvent", filters) };
        store.audit_search(&everything(), &query).unwrap()
    };
    let times = |page: &crate::store::AuditPage| page.entries.iter().map(|(_, entry)| entry.at.as_second() % 60).collect::<Vec<_>>();
    let first = ask(vec![], 3, None);
    let second = ask(vec![], 3, first.next.clone());
    assert_eq!((times(&first), times(&second)), (vec![4, 3, 2], vec![1, 0]));
    assert_eq!((first.total, second.next), (6, None), "one AuditEvent for each patient named");
    let check = |filters: Vec<(&str, Vec<Operand>)>, expected: &[i64], total: u64| {
        let told = format!("{filters:?}");
        let page = ask(filters, 50, None);
        assert_eq!((times(&page).as_slice(), page.total), (expected, total), "{told}");
    };
    check(vec![("patient", vec![of(&two)])], &[2, 0], 2);
    check(vec![("patient", vec![of(&one), of(&two)])], &[2, 0], 3);
    check(vec![("patient", vec![of(&one)]), ("patient", vec![of(&two)])], &[], 0);
    check(vec![("outcome", vec![token(None, Some("4"))])], &[4], 1);
    check(vec![("outcome", vec![token(Some("http://hl7.org/fhir/audit-event-outcome"), Some("0"))])], &[3, 2, 1, 0], 5);
    check(vec![("outcome", vec![token(Some("urn:x"), Some("4"))])], &[], 0);
    check(vec![("date", vec![date(Prefix::Ge, "2026-03-01T12:00:03Z")])], &[4, 3], 2);
    check(vec![("date", vec![date(Prefix::Eq, "2026-03-01")]), ("patient", vec![of(&one)])], &[0], 1);
    check(vec![("date", vec![date(Prefix::Lt, "2026-03-01")])], &[], 0);
    let (id, entry) = &first.entries[0];
    let page = ask(vec![("_id", vec![Operand::Id(id.clone())])], 50, None);
    assert_eq!((page.total, &page.entries[0].0, &page.entries[0].1), (1, id, entry));
    check(vec![("_id", vec![Operand::Id("nonsense".into()), Operand::Id(format!("{id}7"))])], &[], 0);
    assert!(id.len() <= 60 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
}

pub(in crate::store) fn the_journal_is_filtered(engine: &dyn Engine) {
    let store = plain(engine);
    send(&*store, "one", Message::at(1).says(&patient("1"), "{}")).unwrap();
    wait(store.keep(arrival("two", OutcomeKind::Held))).unwrap();
    let mut other = arrival("three", OutcomeKind::Forbidden);
    other.feed = "mllp.main".into();
    other.received = at("2026-03-02T12:00:00Z");
    other.message_type = "ORU^R01".into();
    other.issues = vec![Issue::new(Severity::Error, IssueCode::Identity, "PID-3", "Is of another's assigner")];
    wait(store.keep(other)).unwrap();
    let check = |filter: JournalFilter, expected: &[u64]| {
        let rows = store.journal(&filter, 10).unwrap();
        assert_eq!(rows.iter().map(|row| row.position).collect::<Vec<_>>(), expected, "{filter:?}");
    };
    check(JournalFilter::default(), &[1, 2, 3]);
    check(JournalFilter { feed: Some("pas".into()), ..Default::default() }, &[1, 2]);
    check(JournalFilter { feed: Some("nobody".into()), ..Default::default() }, &[]);
    check(JournalFilter { outcome: Some(OutcomeKind::Held), ..Default::default() }, &[2]);
    check(JournalFilter { control_id: Some("c-two".into()), ..Default::default() }, &[2]);
    check(JournalFilter { after: 1, ..Default::default() }, &[2, 3]);
    check(JournalFilter { before: Some(3), newest: true, ..Default::default() }, &[2, 1]);
    check(JournalFilter { waiting: true, ..Default::default() }, &[2, 3]);
    for (kind, expected) in [("ORU", [3].as_slice()), ("ORU^R01", &[3]), ("ORU^R0", &[]), ("OR", &[])] {
        check(JournalFilter { message_type: Some(kind.into()), ..Default::default() }, expected);
    }
    let noon = Some(at("2026-03-02T12:00:00Z"));
    check(JournalFilter { from: noon, ..Default::default() }, &[3]);
    check(JournalFilter { to: noon, newest: true, ..Default::default() }, &[2, 1]);
    check(JournalFilter { from: noon, to: noon, ..Default::default() }, &[]);
    for (reason, expected) in [("another's ASSIGNER", [3].as_slice()), ("pid-3", &[3]), ("error", &[])] {
        check(JournalFilter { reason: Some(reason.into()), ..Default::default() }, expected);
    }
    check(JournalFilter { patient: Some(id(&patient("1"))), ..Default::default() }, &[1]);
    check(JournalFilter { patient: Some(id(&patient("2"))), ..Default::default() }, &[]);
    check(JournalFilter { patient: Some(id(&patient("1"))), waiting: true, ..Default::default() }, &[]);
    assert_eq!(store.journal(&JournalFilter::default(), 1).unwrap().len(), 1);
    assert_eq!(store.frame(3).unwrap().unwrap().0.feed, "mllp.main");
    assert!(store.frame(9).unwrap().is_none());
}
