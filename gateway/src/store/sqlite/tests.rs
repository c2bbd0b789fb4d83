//! The shared tests against SQLite, and what is SQLite's own.

use super::*;
use crate::audit::Action;
use crate::audit::chain::{Report, verify};
use crate::search::{Operand, Prefix, Sort};
use crate::state::Finding;
use crate::store::tests::{
    Engine, Message, arrival, at, clock, date, entry, everything, for_engine, id, json, patient, plain, query, send, token, wait,
};
use crate::store::{MendAction, Standing};
use contract::OutcomeKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const SEED: [u8; 32] = [5; 32];

pub(super) struct Folder {
    directory: TempDir,
    incarnation: AtomicU64,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), incarnation: AtomicU64::new(0) }
    }

    fn options(&self) -> Options {
        let mut options = Options::new(self.directory.path(), IdKey::demonstration(), SealKey::from_seed(&SEED));
        options.clock = clock();
        options.incarnation = self.incarnation.fetch_add(1, Ordering::SeqCst);
        options
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn store(&self) -> SqliteStore {
        SqliteStore::open(self.options()).unwrap()
    }

    pub(super) fn verify(&self, seals: Option<&Path>) -> Report {
        verify(self.directory.path(), seals, &SealKey::from_seed(&SEED).public()).unwrap()
    }
}

impl Engine for Folder {
    fn open(&self, clock: Clock, faults: Arc<dyn Faults>) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(Options { clock, faults, page_bytes: 64 * 1024, ..self.options() }).unwrap())
    }
}

for_engine!(Folder::new());

#[test]
fn seals_that_are_no_file_are_refused_and_not_waited_for() {
    let folder = Folder::new();
    drop(folder.store());
    let pipe = folder.path().join("seals");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (seals, reason) in
        [(pipe.as_path(), "not a regular file"), (Path::new("/dev/zero"), "not a regular file"), (Path::new("/none"), "/none")]
    {
        let refused = verify(folder.path(), Some(seals), &SealKey::from_seed(&SEED).public()).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn a_search_that_takes_too_long_is_broken_off() {
    let folder = Folder::new();
    let store = folder.store();
    for number in 0..40 {
        let said = Message::at(1).says(&patient(&number.to_string()), r#"{"birthDate":"1970-01-01"}"#);
        wait(store.commit(&Warrant::for_tests("pas"), arrival(&number.to_string(), OutcomeKind::Stored), said.translation())).unwrap();
    }
    let born = |year: i32| date(Prefix::Ne, &format!("{year}-01-01"));
    let costly = query("Patient", vec![("birthdate", (1900..1960).map(born).collect()), ("birthdate", (1900..1960).map(born).collect())]);
    assert!(store.search(&everything(), &costly).is_ok());
    drop(store);
    let hasty = SqliteStore::open(Options { search_time: Duration::ZERO, ..folder.options() }).unwrap();
    assert_eq!(hasty.search(&everything(), &costly).map(|_| ()), Err(StoreError::TooCostly));
    assert!(hasty.read(&everything(), "Patient", &id(&patient("1"))).is_ok(), "the connection is as it was");
}

#[test]
fn findings_are_counted() {
    let folder = Folder::new();
    let store = folder.store();
    for (bytes, second) in [("one", 1), ("two", 4_000_000_000)] {
        let arrival = Arrival { control_id: "7".into(), ..arrival(bytes, OutcomeKind::Stored) };
        let said = Message::at(second).says(&patient("1"), "{\"gender\":\"male\"}");
        wait(store.commit(&Warrant::for_tests("pas"), arrival, said.translation())).unwrap();
    }
    let told: Vec<_> = store.findings().unwrap().into_iter().map(|row| (row.finding, row.feed, row.count, row.position)).collect();
    assert_eq!(told, [(Finding::ControlIdReused, "pas".into(), 1, 2), (Finding::StampAhead, "pas".into(), 1, 2)]);
    let stored = store.contributions(2).unwrap().unwrap();
    assert_eq!((stored[0].statements[0].rank.sent, stored[0].statements[0].rank.position), (4_000_000_000_000_000, 0));
}

#[test]
fn a_newer_schema_is_refused_in_words() {
    let folder = Folder::new();
    drop(folder.store());
    let connection = Connection::open(folder.directory.path().join("access.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteStore::open(folder.options()).map(drop).unwrap_err();
    assert!(matches!(&refused, StoreError::Refused(reason) if reason.contains("access.db has schema 99")), "{refused}");
}

#[test]
fn another_zone_makes_the_index_again() {
    let folder = Folder::new();
    let store = plain(&folder);
    send(&*store, "one", Message::at(1).says(&patient("1"), r#"{"birthDate":"1970-07-01"}"#)).unwrap();
    let asked = query("Patient", vec![("birthdate", vec![date(Prefix::Eq, "1970-07-01")])]);
    assert_eq!(store.search(&everything(), &asked).unwrap().total, 1);
    drop(store);
    let zone = TimeZone::get("Europe/London").unwrap();
    let store = SqliteStore::open(Options { timezone: zone, ..folder.options() }).unwrap();
    assert_eq!(store.search(&everything(), &asked).unwrap().total, 0, "the day began an hour earlier there");
    drop(store);
    assert_eq!(folder.store().search(&everything(), &asked).unwrap().total, 1);
}

/// Every search is driven by an index, and tests candidates by their own rows.
#[test]
fn no_search_scans_a_table() {
    let folder = Folder::new();
    let store = folder.store();
    let dyn_store: &dyn Store = &store;
    send(dyn_store, "one", Message::at(1).says(&patient("1"), r#"{"identifier":[{"system":"urn:mrn","value":"1"}]}"#)).unwrap();
    let text = || vec![Operand::Text("a".into())];
    let filters = [
        vec![],
        vec![("_id", vec![Operand::Id(id(&patient("1")))]), ("family", text())],
        vec![("family", text()), ("identifier", vec![token(None, Some("1"))]), ("birthdate", vec![date(Prefix::Ge, "1970")])],
        vec![("family", vec![Operand::Exact("A".into())]), ("gender", vec![Operand::Missing(true)])],
        vec![("family", vec![Operand::Contains("a".into())]), ("_lastUpdated", vec![date(Prefix::Ge, "2026")])],
        vec![("_lastUpdated", vec![date(Prefix::Ge, "2026")])],
        vec![("gender", vec![Operand::Missing(true)])],
        vec![("birthdate", vec![date(Prefix::Eq, "1970"), date(Prefix::Eq, "1980")])],
        vec![("identifier", vec![token(Some("urn:mrn"), Some("1"))]), ("birthdate", vec![date(Prefix::Ap, "1970")])],
    ];
    for grant in [everything(), crate::store::tests::bound(&patient("1"))] {
        for (filters, sort) in filters
            .iter()
            .flat_map(|filters| [&[][..], &["birthdate"], &["_lastUpdated"], &["family", "gender"]].map(|sort| (filters, sort)))
        {
            let mut asked = query("Patient", filters.clone());
            asked.sort = sort.iter().map(|parameter| Sort { parameter: (*parameter).into(), descending: true }).collect();
            let plans = store.landbridge.read(|connection| query::explain(connection, &store.index, &grant, &asked)).unwrap();
            for step in plans {
                let own = ["SCAN m", "SCAN d", "SCAN (subquery", "SCAN a USING COVERING INDEX resource_kind"];
                let scans = step.starts_with("SCAN") && !own.iter().any(|own| step.starts_with(own));
                assert!(!scans && !step.contains("AUTOMATIC"), "{step} in {asked:?}");
            }
        }
    }
}

#[test]
fn two_processes_share_the_files() {
    let folder = Folder::new();
    let (one, two) = (folder.store(), folder.store());
    for round in 0..3 {
        for (name, store) in [("one", &one), ("two", &two)] {
            let message = Message::at(round).says(&patient("1"), &format!(r#"{{"gender":"{name}{round}"}}"#));
            send(store, &format!("{name}{round}"), message).unwrap();
            wait(store.record(entry(Action::JournalShow))).unwrap();
            wait(store.seal(at("2026-03-01T12:00:00Z"))).unwrap();
        }
    }
    let report = folder.verify(None);
    assert!(report.is_intact(), "{:?}", report.faults);
    assert_eq!((report.entries, report.writers, report.seals, report.unsealed), (12, 4, 6, 0));
    assert_eq!(one.history(&everything(), &id(&patient("1")), &query("Patient", vec![])).unwrap().unwrap().total, 6);
}

/// A store with entries of two incarnations in both files, sealed in between; with the seals that left it.
fn audited() -> (Folder, std::path::PathBuf) {
    let folder = Folder::new();
    let outside = folder.directory.path().join("seals.ndjson");
    let mut lines = String::new();
    for round in 0..2 {
        let store = folder.store();
        for number in 0..3 {
            send(&store, &format!("{round}-{number}"), Message::at(number).says(&patient("1"), "{}")).unwrap();
            wait(store.record(entry(Action::Read))).unwrap();
        }
        lines += &wait(store.seal(at("2026-03-01T12:00:10Z"))).unwrap();
        lines.push('\n');
        if round == 1 {
            wait(store.record(entry(Action::Read))).unwrap();
        }
    }
    std::fs::write(&outside, lines).unwrap();
    (folder, outside)
}

fn change(folder: &Folder, file: &str, sql: &str) {
    let connection = Connection::open(folder.directory.path().join(file)).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn an_intact_audit_is_told_so() {
    let (folder, outside) = audited();
    let report = folder.verify(Some(&outside));
    assert!(report.is_intact(), "{:?}", report.faults);
    assert_eq!((report.entries, report.writers, report.seals, report.seals_outside, report.unsealed), (13, 4, 2, 2, 1));
    assert_eq!(report.last_seal, Some(at("2026-03-01T12:00:10Z")));
    let other = verify(folder.directory.path(), None, &SealKey::from_seed(&[6; 32]).public()).unwrap();
    assert_eq!(other.faults_count, 2, "seals of another key");
    assert!(verify(Path::new("/nonexistent"), None, &SealKey::from_seed(&SEED).public()).is_err());
}

#[test]
fn every_change_of_the_audit_is_found() {
    let flip = |column: &str| {
        format!(
            "UPDATE audit SET {column} = CAST(substr({column}, 1, 9) || char(unicode(substr({column}, 10, 1)) + 1) || substr({column}, 11) AS BLOB) WHERE id = (SELECT max(id) FROM audit)"
        )
    };
    for sql in [
        flip("CAST(payload AS TEXT)").replace("SET CAST(payload AS TEXT)", "SET payload"),
        "UPDATE audit SET hash = zeroblob(32) WHERE seq = 2".into(),
        "UPDATE audit SET prev = zeroblob(32) WHERE seq = 2".into(),
        "UPDATE audit SET seq = 9 WHERE seq = 2".into(),
        "UPDATE audit SET seq = 9 WHERE seq = (SELECT max(seq) FROM audit)".into(),
        "UPDATE audit SET id = id + 1 WHERE seq = 2".into(),
        "UPDATE audit SET at = at + 1 WHERE seq = 1".into(),
        "UPDATE audit SET outcome = 4 WHERE seq = 1".into(),
        "UPDATE audit SET patients = patients + 1 WHERE seq = 1".into(),
        "UPDATE audit SET writer = 9 WHERE seq = 1 AND writer = 1".into(),
        "UPDATE audit_writer SET name = name || 'x' WHERE id = 1".into(),
        "DELETE FROM audit WHERE seq = 1".into(),
        "DELETE FROM audit WHERE seq = 3".into(),
        "DELETE FROM audit_writer WHERE id = 1".into(),
        "INSERT INTO audit_patient VALUES ('somebody', 7)".into(),
    ] {
        for file in ["landbridge.db", "access.db"] {
            let (folder, _) = audited();
            change(&folder, file, &sql);
            assert!(!folder.verify(None).is_intact(), "{file}: {sql}");
        }
    }
    for sql in [
        "DELETE FROM audit_patient WHERE rowid IN (SELECT 1)".replace(" WHERE rowid IN (SELECT 1)", ""),
        "UPDATE audit_seal SET line = replace(line, '\"seal\":1', '\"seal\":3') WHERE number = 1".into(),
        "UPDATE audit_seal SET line = '' WHERE number = 2".into(),
        "DELETE FROM audit_seal WHERE number = 1".into(),
        "UPDATE audit_seal SET number = 5 WHERE number = 2".into(),
    ] {
        let (folder, _) = audited();
        change(&folder, "landbridge.db", &sql);
        assert!(!folder.verify(None).is_intact(), "{sql}");
    }
}

#[test]
fn a_byte_of_the_file_is_enough() {
    let (folder, _) = audited();
    let path = folder.directory.path().join("access.db");
    let bytes = std::fs::read(&path).unwrap();
    let needle = b"\"who\":\"feed:pas\"";
    let places: Vec<usize> = (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert_eq!(places.len(), 7);
    for place in places {
        let mut changed = bytes.clone();
        changed[place + 8] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert!(!folder.verify(None).is_intact(), "byte {place}");
    }
}

#[test]
fn a_cut_shows_by_what_left_the_machine() {
    // The end of everything is cut, seal included: inside, nothing shows.
    let (folder, outside) = audited();
    change(
        &folder,
        "landbridge.db",
        "DELETE FROM audit_patient WHERE audit IN (SELECT id FROM audit WHERE writer = 2); DELETE FROM audit WHERE writer = 2; DELETE FROM audit_writer WHERE id = 2; DELETE FROM audit_seal WHERE number = 2",
    );
    change(&folder, "access.db", "DELETE FROM audit WHERE writer = 2; DELETE FROM audit_writer WHERE id = 2");
    assert!(folder.verify(None).is_intact());
    let report = folder.verify(Some(&outside));
    assert!(report.faults.iter().any(|fault| fault.place == "seals file line 2"), "{:?}", report.faults);
    // A whole file, or a line of the file of seals.
    let (folder, outside) = audited();
    std::fs::remove_file(folder.directory.path().join("access.db")).unwrap();
    assert!(!folder.verify(Some(&outside)).is_intact());
    let (folder, outside) = audited();
    let text = std::fs::read_to_string(&outside).unwrap();
    std::fs::write(&outside, text.replacen("\"entries\":6", "\"entries\":7", 1)).unwrap();
    assert!(!folder.verify(Some(&outside)).is_intact());
    std::fs::write(&outside, &text[..text.len() - 5]).unwrap();
    assert!(folder.verify(Some(&outside)).is_intact(), "a line that is being written");
}

#[test]
fn a_chain_goes_on_only_from_what_is_durable() {
    use crate::store::faults::{Failure, Point};
    struct Third(AtomicU64);
    impl Faults for Third {
        fn at(&self, _: File, point: Point) -> Option<Failure> {
            (point == Point::BeforeCommit && self.0.fetch_add(1, Ordering::SeqCst) % 3 == 1).then_some(Failure::Fail)
        }
    }
    let folder = Folder::new();
    let store = folder.open(clock(), Arc::new(Third(AtomicU64::new(0))));
    let mut durable = 0;
    for number in 0..12 {
        durable += u64::from(send(&*store, &format!("m{number}"), Message::at(number).says(&patient("1"), "{}")).is_ok());
        durable += u64::from(wait(store.record(entry(Action::Read))).is_ok());
    }
    drop(store);
    let report = folder.verify(None);
    assert!(report.is_intact(), "{:?}", report.faults);
    assert_eq!((report.entries, durable), (16, 16));
}

/// A store as the first schema had it, with a frame that waits under it.
fn older(folder: &Folder) {
    let first = schema::Layout { name: LANDBRIDGE_DB.name, migrations: &LANDBRIDGE_DB.migrations[..1] };
    let connection = first.open(folder.directory.path()).unwrap();
    let waiting = arrival("older", OutcomeKind::Untranslatable);
    let issues =
        blob::issues(&[contract::Issue::new(contract::Severity::Error, contract::IssueCode::Identity, "PID[1]-3", "no identifier")]);
    connection.execute_batch("INSERT INTO feed VALUES (1, 'pas', 1); INSERT INTO recipe VALUES (1, 1, 'r1');").unwrap();
    let sql = "INSERT INTO journal (position, feed, digest, received, message_type, control_id, outcome, issue_count, issues, recipe)
               VALUES (1, 1, ?1, ?2, 'ADT^A01', 'c', ?3, 1, ?4, 1)";
    let received = waiting.received.as_microsecond();
    connection.execute(sql, (waiting.digest.0, received, waiting.outcome.word(), issues)).unwrap();
    let frame = blob::pack(waiting.frame.bytes()).unwrap();
    connection.execute("INSERT INTO message (position, frame) VALUES (1, ?1)", [frame]).unwrap();
}

#[test]
fn an_older_store_goes_on() {
    let folder = Folder::new();
    older(&folder);
    let store = plain(&folder);
    let positions = |filter: JournalFilter| store.journal(&filter, 9).unwrap().iter().map(|row| row.position).collect::<Vec<_>>();
    let waiting = JournalFilter { waiting: true, ..Default::default() };
    assert_eq!(positions(waiting.clone()), [1]);
    assert_eq!(positions(JournalFilter { reason: Some("identifier".into()), ..Default::default() }), [1]);
    assert_eq!(positions(JournalFilter { from: Some(at("2026-03-01T11:59:59.5Z")), ..Default::default() }), [1]);
    assert_eq!(store.frame(1).unwrap().unwrap().1.bytes().as_ref(), b"older");
    send(&*store, "newer", Message::at(2).says(&patient("1"), r#"{"gender":"male"}"#)).unwrap();
    // Mended, at its first position.
    let receipt = send(&*store, "older", Message::at(1).says(&patient("1"), r#"{"birthDate":"1970-01-01"}"#)).unwrap();
    assert_eq!((receipt.position, receipt.resources.len()), (1, 1));
    assert!(positions(waiting).is_empty());
    let row = store.frame(1).unwrap().unwrap().0;
    assert_eq!((row.standing, row.edit_of, row.place), (Standing::Counts, None, 1));
}

fn set_aside(store: &SqliteStore, position: u64, restores: bool) -> Result<Receipt, StoreError> {
    let action = if restores { Action::Restore } else { Action::Withdraw };
    wait(store.withdraw(Withdrawal { position, restores, because: "a test".into(), entry: entry(action) }))
}

#[test]
fn what_only_a_withdrawn_message_said_is_gone_and_its_history_stays() {
    let folder = Folder::new();
    let store = folder.store();
    let (one, other) = (patient("1"), patient("2"));
    send(&store, "first", Message::at(1).says(&one, r#"{"gender":"male","birthDate":"1970-01-01"}"#)).unwrap();
    let second = Message::at(2).says(&one, r#"{"gender":"female"}"#).says(&other, r#"{"gender":"male"}"#);
    send(&store, "second", second).unwrap();
    let shown = store.preview(2, false).unwrap();
    let mut addresses: Vec<_> = shown.iter().map(|effect| (effect.address.clone(), effect.after.is_some())).collect();
    addresses.sort();
    let mut expected = [(format!("Patient/{}", id(&one)), true), (format!("Patient/{}", id(&other)), false)];
    expected.sort();
    assert_eq!(addresses, expected);
    assert_eq!(set_aside(&store, 2, false).unwrap().resources.len(), 2);
    let read = |key: &contract::Key| store.read(&everything(), "Patient", &id(key)).unwrap().unwrap();
    assert!(String::from_utf8(read(&one).body.unwrap()).unwrap().contains(r#""gender":"male""#));
    let gone = read(&other);
    assert_eq!((gone.version, gone.body, gone.patients), (2, None, vec![id(&other)]));
    assert_eq!(store.history(&everything(), &id(&other), &query("Patient", vec![])).unwrap().unwrap().total, 2);
    let asked = query("Patient", vec![("gender", vec![token(None, Some("female"))])]);
    assert_eq!(store.search(&everything(), &asked).unwrap().total, 0);
    // Said again by another message, it is there again, under the next version.
    send(&store, "third", Message::at(3).says(&other, r#"{"gender":"female"}"#)).unwrap();
    assert_eq!(read(&other).version, 3);
    assert_eq!(store.search(&everything(), &asked).unwrap().total, 1);
    assert_eq!(set_aside(&store, 2, true).unwrap().resources.len(), 1, "the later message outranks it");
    let rows = store.journal(&JournalFilter { patient: Some(id(&other)), ..Default::default() }, 9).unwrap();
    assert_eq!(rows.iter().map(|row| row.position).collect::<Vec<_>>(), [2, 3]);
    // Each step is an entry with its patients.
    let of_other = crate::store::tests::of(&other);
    let page = store.audit_search(&everything(), &query("AuditEvent", vec![("patient", vec![of_other])])).unwrap();
    let actions: Vec<_> = page.entries.iter().map(|(_, entry)| (entry.action, entry.position)).collect();
    let expected = [(Action::Restore, Some(2)), (Action::Import, Some(3)), (Action::Withdraw, Some(2)), (Action::Import, Some(2))];
    assert_eq!(actions, expected);
    drop(store);
    assert!(folder.verify(None).is_intact());
}

#[test]
fn what_waits_can_be_set_aside_and_waits_again() {
    let folder = Folder::new();
    let store = folder.store();
    wait(store.keep(arrival("one", OutcomeKind::Held))).unwrap();
    let waiting = || store.journal(&JournalFilter { waiting: true, ..Default::default() }, 9).unwrap().len();
    assert!(set_aside(&store, 1, false).unwrap().resources.is_empty());
    assert_eq!(waiting(), 0);
    assert_eq!(wait(store.keep(arrival("one", OutcomeKind::Held))).unwrap().outcome, OutcomeKind::Duplicate, "it is not judged again");
    set_aside(&store, 1, true).unwrap();
    assert_eq!(waiting(), 1);
    let told: Vec<_> = store.mends(1).unwrap().into_iter().map(|mend| (mend.action, mend.who, mend.because)).collect();
    let step = |action| (action, "feed:pas".to_owned(), "a test".to_owned());
    assert_eq!(told, [step(MendAction::Withdraw), step(MendAction::Restore)]);
}

/// A mention outranked by a record is said no more when that is withdrawn, until it is mentioned next.
#[test]
fn a_mention_comes_back_when_it_is_mentioned_next() {
    let folder = Folder::new();
    let store = folder.store();
    let doctor = contract::Key::new("Practitioner", "urn:doc", "1");
    let slot = || vec![(contract::Slot::Element("gender".into()), Some(json(r#"{"gender":"male"}"#)))];
    let mention = || Message::at(1).says(&patient("1"), "{}").states(&doctor, contract::Class::Mention, None, slot());
    send(&store, "one", mention()).unwrap();
    send(&store, "two", Message::at(2).says(&doctor, r#"{"gender":"female"}"#)).unwrap();
    set_aside(&store, 2, false).unwrap();
    let body =
        || String::from_utf8(store.read(&everything(), "Practitioner", &id(&doctor)).unwrap().unwrap().body.unwrap_or_default()).unwrap();
    assert!(!body().contains("gender"), "{}", body());
    send(&store, "three", mention()).unwrap();
    assert!(body().contains(r#""gender":"male""#), "{}", body());
}

#[test]
fn a_patient_who_is_mentioned_stays_while_anyone_mentions_it() {
    let folder = Folder::new();
    let store = folder.store();
    let one = patient("1");
    let list = |value: &str| {
        let slot = contract::Slot::Repeats { element: "identifier".into(), field: "F".into(), feed: "pas".into() };
        vec![(slot, Some(json(&format!(r#"[{{"value":"{value}"}}]"#))))]
    };
    let mention = |second, number: &str| {
        let result = contract::Key::new("Observation", "urn:obs", number);
        Message::at(second).says(&result, r#"{"status":"final"}"#).states(&one, contract::Class::Mention, None, list("mentioned"))
    };
    send(&store, "one", mention(1, "a")).unwrap();
    send(&store, "two", mention(2, "b")).unwrap();
    send(&store, "three", Message::at(3).says(&one, r#"{"identifier":[{"value":"recorded"}]}"#)).unwrap();
    let told = || {
        let body = store.read(&everything(), "Patient", &id(&one)).unwrap().unwrap().body;
        body.map(|body| contract::Json::parse(&body).unwrap().get("identifier").unwrap().to_string())
    };
    let check = |position, restores, expected: Option<&str>| {
        set_aside(&store, position, restores).unwrap();
        assert_eq!(told(), expected.map(|value| format!(r#"[{{"value":"{value}"}}]"#)), "{position}");
    };
    check(3, false, Some("mentioned"));
    check(1, false, Some("mentioned"));
    check(2, false, None);
    check(1, true, Some("mentioned"));
    check(3, true, Some("recorded"));
    check(1, false, Some("recorded"));
}
