//! What is taken in, whole and once, whatever breaks.

use super::*;

pub(in crate::store) fn a_message_is_stored_whole(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let message = Message::at(1).says(&key, r#"{"birthDate":"1970-01-02","multipleBirthInteger":6.30}"#);
    let receipt = send(&*store, "one", message).unwrap();
    let name = format!("Patient/{}/_history/1", id(&key));
    assert_eq!((receipt.position, receipt.outcome, &receipt.resources), (1, OutcomeKind::Stored, &vec![name.clone()]));
    assert_eq!(receipt.reply.as_deref(), Some(&b"reply to one"[..]));
    let version = store.read(&everything(), "Patient", &id(&key)).unwrap().unwrap();
    let text = String::from_utf8(version.body.unwrap()).unwrap();
    let expected = format!(
        r#"{{"resourceType":"Patient","id":"{}","meta":{{"versionId":"1","lastUpdated":"2026-03-01T12:00:00Z"}},"birthDate":"1970-01-02","multipleBirthInteger":6.30}}"#,
        id(&key)
    );
    assert_eq!(text, expected);
    assert_eq!((version.version, version.last_updated, version.patients), (1, at("2026-03-01T12:00:00Z"), vec![id(&key)]));
    let page = store.audit_search(&everything(), &query("AuditEvent", vec![])).unwrap();
    let [(_, entry)] = page.entries.as_slice() else { panic!("one entry") };
    assert_eq!((entry.position, &entry.patients, &entry.resources), (Some(1), &vec![id(&key)], &vec![name]));
    let (row, frame, issues) = store.frame(1).unwrap().unwrap();
    assert_eq!((frame.bytes().as_ref(), row.digest, issues.len()), (&b"one"[..], frame.digest(), 0));
    let seen = store.seen("pas", &frame.digest()).unwrap().unwrap();
    assert_eq!((seen.position, seen.received, seen.outcome), (1, at("2026-03-01T11:59:59.5Z"), OutcomeKind::Stored));
    assert!(store.seen("lab", &frame.digest()).unwrap().is_none());
    wait(store.ready()).unwrap();
    // A stored outcome needs resources, and others have none.
    assert!(matches!(wait(store.keep(arrival("two", OutcomeKind::Stored))), Err(StoreError::Refused(_))));
    assert!(matches!(wait(store.keep(arrival("two", OutcomeKind::Transient))), Err(StoreError::Refused(_))));
}

pub(in crate::store) fn the_same_bytes_are_stored_once(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let first = send(&*store, "one", Message::at(1).says(&key, r#"{"gender":"male"}"#)).unwrap();
    let mut arrival = arrival("one", OutcomeKind::Stored);
    arrival.reply = Some("another".into());
    let again =
        wait(store.commit(&Warrant::for_tests("pas"), arrival, Message::at(1).says(&key, r#"{"gender":"female"}"#).translation)).unwrap();
    assert_eq!((again.position, again.outcome, again.reply), (first.position, OutcomeKind::Duplicate, first.reply));
    assert!(again.resources.is_empty());
    wait(store.repeat(1, entry(Action::Import))).unwrap();
    assert!(matches!(wait(store.repeat(7, entry(Action::Import))), Err(StoreError::Refused(_))));
    let rows = store.journal(&JournalFilter::default(), 10).unwrap();
    assert_eq!(rows.iter().map(|row| row.repeats).collect::<Vec<_>>(), [2]);
    assert_eq!(body(&*store, "Patient", &key).unwrap().get("gender"), Some(&"male".into()));
    let page = store.audit_search(&everything(), &query("AuditEvent", vec![("patient", vec![of(&key)])])).unwrap();
    let reasons: Vec<_> = page.entries.iter().map(|(_, entry)| (entry.reason.as_str(), entry.position)).collect();
    assert_eq!(reasons, [("duplicate", Some(1)), ("duplicate", Some(1)), ("", Some(1))]);
}

pub(in crate::store) fn what_was_not_stored_is_admitted_again_at_its_place(engine: &dyn Engine) {
    let store = plain(engine);
    let mut refused = arrival("one", OutcomeKind::Untranslatable);
    refused.issues = vec![Issue::new(Severity::Error, IssueCode::Identity, "PID[1]-3", "no identifier")];
    assert_eq!(wait(store.keep(refused.clone())).unwrap().position, 1);
    assert_eq!(send(&*store, "two", Message::at(2).says(&patient("2"), "{}")).unwrap().position, 2);
    let (row, _, issues) = store.frame(1).unwrap().unwrap();
    assert_eq!((row.outcome, row.issues, issues), (OutcomeKind::Untranslatable, 1, refused.issues));
    // Mended; it came later, and says it came when it first did.
    let mut mended = arrival("one", OutcomeKind::StoredWithIssues);
    mended.received = at("2026-03-02T00:00:00Z");
    let message = Message::at(1).says(&patient("1"), r#"{"gender":"male"}"#);
    let receipt = wait(store.commit(&Warrant::for_tests("pas"), mended, message.translation)).unwrap();
    assert_eq!((receipt.position, receipt.outcome), (1, OutcomeKind::StoredWithIssues));
    let rows = store.journal(&JournalFilter::default(), 10).unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.position, row.outcome, row.issues, row.repeats)).collect();
    assert_eq!(told, [(1, OutcomeKind::StoredWithIssues, 0, 0), (2, OutcomeKind::Stored, 0, 0)]);
    assert_eq!(rows[0].received, at("2026-03-01T11:59:59.5Z"));
    // Stored now: no refusal takes that back.
    assert_eq!(wait(store.keep(arrival("one", OutcomeKind::Malformed))).unwrap().outcome, OutcomeKind::Duplicate);
}

pub(in crate::store) fn many_senders_of_one_new_patient_make_one(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let outcomes = runtime.block_on(async {
        let mut tasks = Vec::new();
        for n in 0..32 {
            let (store, key) = (store.clone(), key.clone());
            tasks.push(tokio::spawn(async move {
                let message = Message::at(n).says(&key, &format!(r#"{{"name":[{{"family":"F{n}"}}]}}"#));
                let other = store.commit(&Warrant::for_tests("pas"), arrival(&format!("m{n}"), OutcomeKind::Stored), message.translation);
                let same = Message::at(0).says(&patient("same"), "{}");
                let same = store.commit(&Warrant::for_tests("pas"), arrival("same", OutcomeKind::Stored), same.translation);
                (other.await.unwrap(), same.await.unwrap())
            }));
        }
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        outcomes
    });
    assert_eq!(found(&*store, &everything(), &query("Patient", vec![])).len(), 2);
    let name = body(&*store, "Patient", &key).unwrap().get("name").cloned();
    assert_eq!(name, Some(json(r#"[{"family":"F31"}]"#)));
    let duplicates = outcomes.iter().filter(|(_, same)| same.outcome == OutcomeKind::Duplicate).count();
    assert_eq!(duplicates, 31);
    assert!(outcomes.iter().all(|(_, same)| same.position == outcomes[0].1.position));
    let mut positions: Vec<_> = store.journal(&JournalFilter::default(), 100).unwrap().iter().map(|row| row.position).collect();
    positions.dedup();
    assert_eq!(positions, (1..=33).collect::<Vec<_>>());
}

pub(in crate::store) fn an_unchanged_body_makes_no_version(engine: &dyn Engine) {
    let store = plain(engine);
    let key = patient("1");
    let send = |bytes: &str, second: i64, gender: &str| {
        send(&*store, bytes, Message::at(second).says(&key, &format!(r#"{{"gender":"{gender}"}}"#))).unwrap().resources.len()
    };
    assert_eq!(send("one", 5, "male"), 1);
    assert_eq!(send("two", 6, "male"), 0, "said again");
    assert_eq!(send("three", 4, "female"), 0, "late, and outranked");
    assert_eq!(send("four", 7, "female"), 1);
    let page = store.history(&everything(), &id(&key), &query("Patient", vec![])).unwrap().unwrap();
    assert_eq!(page.matches.iter().map(|version| version.version).collect::<Vec<_>>(), [2, 1]);
}

/// Breaks once, at a point counted from the opening.
struct Once {
    at: u32,
    point: Point,
    failure: Failure,
    count: AtomicU32,
}

impl Once {
    fn new(at: u32, point: Point, failure: Failure) -> Arc<Self> {
        Arc::new(Self { at, point, failure, count: AtomicU32::new(0) })
    }
}

impl Faults for Once {
    fn at(&self, file: File, point: Point) -> Option<Failure> {
        let mine = file == File::Landbridge && point == self.point;
        (mine && self.count.fetch_add(1, Ordering::SeqCst) == self.at).then_some(self.failure)
    }
}

pub(in crate::store) fn a_batch_that_fails_leaves_nothing(engine: &dyn Engine) {
    for failure in [Failure::Fail, Failure::Die] {
        let store = engine.open(clock(), Once::new(0, Point::BeforeCommit, failure));
        let bytes = format!("{failure:?}");
        let message = || Message::at(1).says(&patient(&bytes), "{}");
        assert!(matches!(send(&*store, &bytes, message()), Err(StoreError::Unavailable(_))));
        let store = if failure == Failure::Die {
            assert!(matches!(wait(store.ready()), Err(StoreError::Unavailable(_))));
            drop(store);
            plain(engine)
        } else {
            store
        };
        assert!(store.seen("pas", &arrival(&bytes, OutcomeKind::Stored).digest).unwrap().is_none());
        assert!(store.read(&everything(), "Patient", &id(&patient(&bytes))).unwrap().is_none());
        assert_eq!(send(&*store, &bytes, message()).unwrap().outcome, OutcomeKind::Stored);
    }
}

pub(in crate::store) fn what_became_durable_unseen_is_a_duplicate(engine: &dyn Engine) {
    for failure in [Failure::Fail, Failure::Die] {
        let store = engine.open(clock(), Once::new(0, Point::AfterCommit, failure));
        let bytes = format!("{failure:?}");
        let message = || Message::at(1).says(&patient(&bytes), "{}");
        assert!(send(&*store, &bytes, message()).is_err());
        drop(store);
        let receipt = send(&*plain(engine), &bytes, message()).unwrap();
        assert_eq!((receipt.outcome, receipt.reply), (OutcomeKind::Duplicate, arrival(&bytes, OutcomeKind::Stored).reply));
    }
}

/// A journey with a transfer of authority between messages, delivered by a sender that sends again until it is told.
pub(in crate::store) fn crashes_anywhere_change_nothing(engine: &dyn Engine) {
    let (one, two) = (patient("1"), patient("2"));
    let messages = || {
        let ward = Key::new("Location", "urn:ward", "W");
        let mention = vec![(Slot::Element("name".into()), Some(json(r#"{"name":"Ward"}"#)))];
        let (first, first_body) = observation("1", &one, r#","valueString":"6.30""#);
        let (_, second_body) = observation("1", &one, r#","valueString":"7""#);
        vec![
            Message::at(1).says(&one, r#"{"name":[{"family":"A"}]}"#).states(&ward, Class::Mention, None, mention.clone()),
            Message::at(2).says(&two, r#"{"name":[{"family":"B"}]}"#).states(&ward, Class::Mention, None, mention),
            Message::at(3).says(&first, &first_body),
            Message::at(4).says(&first, &second_body).says(&one, r#"{"name":[{"family":"C"}]}"#),
            Message::at(5).merged(&two, &one),
            Message::at(2).says(&one, r#"{"name":[{"family":"late"}],"gender":"male"}"#),
        ]
    };
    let mut memory = Memory::default();
    for (position, message) in (1..).zip(messages()) {
        let mut translation = message.translation;
        place(&mut translation, position, Timestamp::MAX);
        let Ok(changes) = crate::state::fold(&mut memory, &IdKey::demonstration(), "pas", &translation.contributions);
        memory.keep(changes);
    }
    let mut sent = 0;
    for at in 0..3 {
        for (point, failure) in [
            (Point::BeforeCommit, Failure::Fail),
            (Point::BeforeCommit, Failure::Die),
            (Point::AfterCommit, Failure::Fail),
            (Point::AfterCommit, Failure::Die),
        ] {
            let mut store = engine.open(clock(), Once::new(at, point, failure));
            for (number, message) in messages().into_iter().enumerate() {
                let bytes = format!("m{number}");
                let translation = message.translation;
                while wait(store.commit(&Warrant::for_tests("pas"), arrival(&bytes, OutcomeKind::Stored), translation.clone())).is_err() {
                    drop(store);
                    store = plain(engine);
                }
                sent += 1;
            }
        }
    }
    let store = plain(engine);
    for (address, rendered) in memory.bodies() {
        let (kind, id) = address.split_once('/').unwrap();
        let version = store.read(&everything(), kind, id).unwrap().unwrap();
        let mut body = Json::parse(&version.body.unwrap()).unwrap();
        body.remove("meta");
        assert!(*rendered == Rendered::Body(body), "{address}");
    }
    let rows = store.journal(&JournalFilter::default(), 100).unwrap();
    assert_eq!(rows.len(), messages().len());
    assert!(rows.iter().map(|row| 1 + row.repeats).sum::<u32>() >= sent, "each that was told of is counted");
    let page = store.history(&everything(), &id(&one), &query("Patient", vec![])).unwrap().unwrap();
    let versions: Vec<_> = page.matches.iter().map(|version| version.version).collect();
    assert_eq!(versions, (1..=page.total).rev().collect::<Vec<_>>());
}

pub(in crate::store) fn an_item_that_dies_is_deleted(engine: &dyn Engine) {
    let store = plain(engine);
    let (parent, item) = (patient("1"), Key::new("AllergyIntolerance", "urn:al", "1"));
    let listing = |items: &str| {
        let slot = Slot::Group { element: "".into(), group: "AL1".into(), feed: "pas".into() };
        vec![(slot, Some(json(items)))]
    };
    let member = Membership { parent: parent.clone(), group: "AL1".into(), item: "1".into() };
    let slots = vec![(Slot::Element("patient".into()), Some(json(&format!(r#"{{"patient":{}}}"#, subject(&parent)))))];
    let message =
        Message::at(1).states(&parent, Class::Record, None, listing(r#"[{"key":"1"}]"#)).states(&item, Class::Record, Some(member), slots);
    send(&*store, "one", message).unwrap();
    assert_eq!(found(&*store, &everything(), &query("AllergyIntolerance", vec![])), [id(&item)]);
    let receipt = send(&*store, "two", Message::at(2).states(&parent, Class::Record, None, listing("[]"))).unwrap();
    assert!(receipt.resources.contains(&format!("AllergyIntolerance/{}/_history/2", id(&item))));
    assert!(found(&*store, &everything(), &query("AllergyIntolerance", vec![])).is_empty());
    for grant in [everything(), bound(&parent)] {
        let gone = store.read(&grant, "AllergyIntolerance", &id(&item)).unwrap().unwrap();
        assert_eq!((gone.version, gone.body, gone.patients), (2, None, vec![id(&parent)]));
        assert!(store.vread(&grant, "AllergyIntolerance", &id(&item), 1).unwrap().unwrap().body.is_some());
    }
    assert!(store.read(&bound(&patient("2")), "AllergyIntolerance", &id(&item)).unwrap().is_none());
}

pub(in crate::store) fn a_binary_lies_where_its_document_lies(engine: &dyn Engine) {
    let store = plain(engine);
    let (one, two) = (patient("1"), patient("2"));
    let (document, binary) = (Key::new("DocumentReference", "urn:doc", "1"), Key::new("Binary", "urn:doc", "1"));
    let context = format!(r#"{{"contentType":"text/xml","securityContext":{{"reference":"DocumentReference/{}"}}}}"#, id(&document));
    let lies = |patient: &Key| format!(r#"{{"status":"current","subject":{}}}"#, subject(patient));
    let message = Message::at(1).says(&one, "{}").says(&two, "{}").says(&binary, &context).says(&document, &lies(&one));
    send(&*store, "one", message).unwrap();
    let sees = |patient: &Key| store.read(&bound(patient), "Binary", &id(&binary)).unwrap().is_some();
    assert!(sees(&one) && !sees(&two));
    send(&*store, "two", Message::at(2).says(&document, &lies(&two))).unwrap();
    assert!(sees(&two) && !sees(&one));
    assert_eq!(store.read(&everything(), "Binary", &id(&binary)).unwrap().unwrap().patients, [id(&two)]);
}

/// Holds the access writer before its first commit.
struct Gate(Mutex<std::sync::mpsc::Receiver<()>>);

impl Faults for Gate {
    fn at(&self, file: File, point: Point) -> Option<Failure> {
        if file == File::Access && point == Point::BeforeCommit {
            // Opened, or gone: both let it through.
            let _ = self.0.lock().unwrap().recv();
        }
        None
    }
}

pub(in crate::store) fn a_full_queue_is_busy(engine: &dyn Engine) {
    let (open, gate) = std::sync::mpsc::channel();
    let store = engine.open(clock(), Arc::new(Gate(Mutex::new(gate))));
    let mut answers: Vec<_> = (0..10_000).map(|_| store.record(entry(Action::Read))).collect();
    let last = answers.pop().unwrap();
    assert_eq!(wait(last), Err(StoreError::Busy));
    // Other work is not behind it.
    send(&*store, "one", Message::at(1).says(&patient("1"), "{}")).unwrap();
    drop(open);
    let answers: Vec<_> = answers.into_iter().map(wait).collect();
    let durable = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(StoreError::Busy))));
    assert_eq!(store.audit_search(&everything(), &query("AuditEvent", vec![])).unwrap().total, durable + 1);
}

pub(in crate::store) fn a_process_left_behind_is_refused(engine: &dyn Engine) {
    let store = plain(engine);
    let under = |bytes: &str, recipe: &str| {
        let arrival = Arrival { recipe: recipe.into(), ..arrival(bytes, OutcomeKind::Stored) };
        wait(store.commit(&Warrant::for_tests("pas"), arrival, Message::at(1).says(&patient("1"), "{}").translation))
    };
    assert_eq!(store.active("pas").unwrap(), None);
    assert!(under("one", "r1").is_ok());
    // Frames alone are kept under any recipe, and make none active.
    wait(store.keep(Arrival { recipe: "r2".into(), ..arrival("two", OutcomeKind::Malformed) })).unwrap();
    assert_eq!(store.active("pas").unwrap().as_deref(), Some("r1"));
    assert!(matches!(under("three", "r2"), Err(StoreError::Unavailable(_))));
    wait(store.activate("pas", "r2")).unwrap();
    assert!(under("three", "r2").is_ok());
    assert!(under("four", "r1").is_err());
    wait(store.activate("pas", "r1")).unwrap();
    assert!(under("five", "r1").is_ok());
    // What this process translated before it went on to another recipe is still stored.
    assert!(under("six", "r2").is_ok());
    assert!(matches!(under("seven", "r3"), Err(StoreError::Unavailable(_))));
}

pub(in crate::store) fn control_ids_used_twice_are_a_finding(engine: &dyn Engine) {
    let store = plain(engine);
    for bytes in ["one", "two"] {
        let arrival = Arrival { control_id: "7".into(), ..arrival(bytes, OutcomeKind::Stored) };
        let message = Message::at(1).says(&patient("1"), "{}");
        assert_eq!(wait(store.commit(&Warrant::for_tests("pas"), arrival, message.translation)).unwrap().outcome, OutcomeKind::Stored);
    }
    assert_eq!(store.journal(&JournalFilter { control_id: Some("7".into()), ..Default::default() }, 10).unwrap().len(), 2);
}
