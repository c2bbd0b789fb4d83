use super::*;
use contract::{Class, Issue, IssueCode, OutcomeKind, Slot};

const PATIENT: &str = include_str!("../../fixtures/patient.json");
const TRANSACTION: &str = include_str!("../../fixtures/transaction.json");
const MRN: &str = "https://hospital.example/id/mrn";

fn settings() -> Settings {
    let mut settings = Settings { feed: "ehr".into(), primary_assigner: Some("RXX".into()), ..Settings::demonstration() };
    settings.assigners.insert("RXX".into(), MRN.into());
    settings.assigners.insert("NHS".into(), "https://fhir.nhs.uk/Id/nhs-number".into());
    settings
}

fn adapter() -> Arc<dyn Adapter> {
    FhirDialect::new(Arc::new(Shape::r4().unwrap())).adapter(settings())
}

fn frame(text: &str) -> Frame {
    Frame::new(text.as_bytes().to_vec())
}

fn said(text: &str) -> Result<Translation, Rejection> {
    let frame = frame(text);
    adapter().translate(&frame, &adapter().envelope(&frame)?)
}

/// Places and reasons of a refusal.
fn refused(text: &str) -> Vec<Issue> {
    said(text).map(|_| ()).unwrap_err().issues()
}

fn own(kind: &str, id: &str) -> Key {
    Key::new(kind, format!("urn:landbridge:ehr:{kind}"), id)
}

/// A contribution's one value.
fn whole<'t>(translation: &'t Translation, key: &Key) -> &'t Json {
    let found = translation.contributions.iter().find(|contribution| contribution.key == *key).unwrap_or_else(|| panic!("{key:?}"));
    found.statements[0].value.as_ref().unwrap()
}

fn reference<'j>(json: &'j Json, path: &str) -> &'j str {
    path.split('.')
        .try_fold(json, |json, name| match name.parse::<usize>() {
            Ok(at) => json.each().get(at),
            Err(_) => json.get(name),
        })
        .and_then(Json::as_str)
        .unwrap_or_default()
}

#[test]
fn it_is_a_whole_adapter() {
    contract::compliance::check(&*adapter(), PATIENT.as_bytes(), &["Thistlewood", "4100017", "999 123"]);
    contract::compliance::check(&*adapter(), TRANSACTION.as_bytes(), &["Thistlewood", "4100017", "6.30"]);
}

#[test]
fn a_patient_is_whom_others_mean_and_the_senders_id_leads_there() {
    let translation = said(PATIENT).unwrap();
    assert!(translation.issues.is_empty(), "{:?}", translation.issues);
    let [patient, alias] = &translation.contributions[..] else { panic!("the Patient and the sender's id of it") };
    assert_eq!(patient.key, Key::new("Patient", MRN, "4100017"));
    let slots: Vec<String> = patient.statements.iter().map(|statement| format!("{:?}", statement.slot)).collect();
    for slot in [
        "Element(meta)",
        "Repeats(identifier fhir:resource ehr)",
        "Repeats(name fhir:resource ehr)",
        "Element(gender)",
        "Element(birthDate)",
        "Element(deceased[x])",
    ] {
        assert!(slots.iter().any(|known| known == slot), "{slot} of {slots:?}");
    }
    let born = patient.statements.iter().find(|statement| statement.slot == Slot::Element("birthDate".into())).unwrap();
    assert!(born.value.as_ref().unwrap().get("_birthDate").is_some(), "the extension goes with it");
    let meta = patient.statements.iter().find(|statement| statement.slot == Slot::Element("meta".into())).unwrap();
    let meta = meta.value.as_ref().unwrap().get("meta").unwrap();
    assert!(meta.get("profile").is_some() && meta.get("versionId").is_none() && meta.get("lastUpdated").is_none());
    assert_eq!(born.rank.asserted, instant("2026-03-01T10:00:00Z").unwrap());
    assert_eq!(alias.key, own("Patient", "p-77"));
    let edge = &alias.statements[0];
    assert_eq!(edge.slot, Slot::Edge { kind: "replaced-by".into(), other: "".into() });
    assert_eq!(reference(edge.value.as_ref().unwrap(), "reference"), settings().reference(&patient.key));
}

#[test]
fn a_number_that_identifies_nobody_is_no_key() {
    let person = |identifier: &str| {
        let text = format!(r#"{{"resourceType":"Patient","id":"x","identifier":[{identifier}],"active":true}}"#);
        said(&text).unwrap().contributions[0].key.clone()
    };
    let nhs = |value: &str| format!(r#"{{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"{value}"}}"#);
    assert_eq!(person(&nhs("999 123 0017")), Key::new("Patient", "https://fhir.nhs.uk/Id/nhs-number", "9991230017"));
    assert_eq!(person(&nhs("9991230018")), own("Patient", "x"), "mistyped");
    assert_eq!(person(&nhs("9999999999")), own("Patient", "x"), "a placeholder");
    assert_eq!(person(&format!(r#"{},{{"system":"{MRN}","value":" 7 "}}"#, nhs("9991230017"))), Key::new("Patient", MRN, "7"));
    assert_eq!(person(&format!(r#"{{"use":"old","system":"{MRN}","value":"7"}}"#)), own("Patient", "x"));
    assert_eq!(person(r#"{"system":"https://other.example/id","value":"7"}"#), own("Patient", "x"), "of nobody that the feed speaks for");
}

#[test]
fn references_lead_where_the_sender_means() {
    let translation = said(TRANSACTION).unwrap();
    let settings = settings();
    let patient = Key::new("Patient", MRN, "4100017");
    let observation = whole(&translation, &own("Observation", "o-1"));
    for (path, expected) in [
        ("subject.reference", settings.reference(&patient)),
        ("encounter.reference", settings.reference(&own("Encounter", "e-9"))),
        ("performer.0.reference", "https://elsewhere.example/fhir/Practitioner/1".to_owned()),
        ("performer.1.reference", settings.reference(&own("Practitioner", "d-3"))),
    ] {
        assert_eq!(reference(observation, path), expected, "{path}");
    }
    assert!(observation.to_string().contains("6.30"), "digits stay as written");
    // By identifier alone, and by the entry of a Binary.
    let letter = Key::new("DocumentReference", "urn:landbridge:ehr:DocumentReference:https:%2F%2Fehr.example%2Fletters", "L-1");
    let document = whole(&translation, &letter);
    let other = Key::new("Patient", MRN, "4100099");
    assert_eq!(reference(document, "subject.reference"), settings.reference(&other));
    let binary = translation.contributions.iter().find(|contribution| &*contribution.key.kind == "Binary").unwrap();
    assert_eq!(reference(document, "content.0.attachment.url"), settings.reference(&binary.key));
    let mention = translation.contributions.iter().find(|contribution| contribution.key == other).unwrap();
    assert_eq!(mention.class, Class::Mention, "so that nothing dangles");
    // Later, in a message that knows no more than the id.
    let later =
        said(r#"{"resourceType":"Observation","id":"o-2","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/p-77"}}"#);
    let later = later.unwrap();
    assert_eq!(reference(whole(&later, &own("Observation", "o-2")), "subject.reference"), settings.reference(&own("Patient", "p-77")));
    let found = said(&format!(
        r#"{{"resourceType":"Observation","id":"o-3","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient?identifier={MRN}|4100017"}}}}"#
    ));
    assert_eq!(reference(whole(&found.unwrap(), &own("Observation", "o-3")), "subject.reference"), settings.reference(&patient));
}

#[test]
fn merges_are_edges() {
    let text = format!(
        r#"{{"resourceType":"Bundle","type":"collection","entry":[
            {{"resource":{{"resourceType":"Patient","id":"a","identifier":[{{"system":"{MRN}","value":"1"}}],"link":[{{"other":{{"reference":"Patient/b"}},"type":"replaces"}}]}}}},
            {{"resource":{{"resourceType":"Patient","id":"b","identifier":[{{"system":"{MRN}","value":"2"}}],"link":[{{"other":{{"reference":"Patient/c"}},"type":"seealso"}}]}}}}]}}"#
    );
    let translation = said(&text).unwrap();
    let (a, b) = (Key::new("Patient", MRN, "1"), Key::new("Patient", MRN, "2"));
    let edges: Vec<(Key, String, String)> = translation
        .contributions
        .iter()
        .flat_map(|contribution| contribution.statements.iter().map(move |statement| (contribution, statement)))
        .filter_map(|(contribution, statement)| match &statement.slot {
            Slot::Edge { kind, .. } => {
                Some((contribution.key.clone(), kind.to_string(), reference(statement.value.as_ref().unwrap(), "reference").to_owned()))
            }
            _ => None,
        })
        .collect();
    let settings = settings();
    let edge = |key: &Key, kind: &str, to: &Key| (key.clone(), kind.to_owned(), settings.reference(to));
    for expected in [
        edge(&own("Patient", "a"), "replaced-by", &a),
        edge(&b, "replaced-by", &a),
        edge(&b, "seealso", &own("Patient", "c")),
        edge(&own("Patient", "b"), "replaced-by", &b),
    ] {
        assert!(edges.contains(&expected), "{expected:?} of {edges:?}");
    }
    assert!(!translation.contributions.iter().any(|contribution| {
        contribution
            .statements
            .iter()
            .any(|statement| statement.slot == Slot::Repeats { element: "link".into(), field: "fhir:resource".into(), feed: "ehr".into() })
    }));
}

#[test]
fn what_is_not_r4_or_not_whole_is_refused_with_every_place() {
    let bundle = |entries: &str| format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
    let check = |text: &str, expected: &[(&str, &str)]| {
        let found = refused(text);
        let found: Vec<(&str, &str)> =
            found.iter().filter(|issue| issue.severity == Severity::Error).map(|issue| (issue.place.as_str(), &*issue.reason)).collect();
        assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
        for (place, reason) in expected {
            assert!(found.iter().any(|(at, why)| at == place && why.contains(reason)), "{place} {reason}: {found:?}");
        }
    };
    check("{", &[("line 1 column 1", "not FHIR JSON")]);
    check("[]", &[("resourceType", "there is none")]);
    check(r#"{"resourceType":"Pancake"}"#, &[("resourceType", "R4 has none")]);
    check(r#"{"resourceType":"AuditEvent"}"#, &[("resourceType", "no feed says")]);
    check(r#"{"resourceType":"Bundle","type":"history"}"#, &[("Bundle.type", "send the current resources")]);
    check(r#"{"resourceType":"Bundle","type":"collection"}"#, &[("Bundle.entry", "no resource")]);
    check(
        r#"{"resourceType":"Patient","id":"a","nme":[],"gender":"X","name":[{"family":7}]}"#,
        &[
            ("Patient.nme", "no such element"),
            ("Patient.gender", "value set"),
            ("Patient.name[0].family", "not of its type"),
            ("Patient.name[0]", "empty"),
            ("Patient.name", "empty"),
        ],
    );
    check(r#"{"resourceType":"Observation","id":"a","status":"final"}"#, &[("Observation.code", "required")]);
    check(r#"{"resourceType":"Patient","id":"a","implicitRules":"http://x.example"}"#, &[("Patient.implicitRules", "not known here")]);
    check(
        &bundle(
            r#"{"request":{"method":"DELETE","url":"Patient/1"}},{"request":{"method":"GET","url":"Patient"}},{"resource":{"resourceType":"Bundle"}},{"fullUrl":"x"}"#,
        ),
        &[
            ("Bundle.entry[0].request.method", "only whole resources"),
            ("Bundle.entry[1].request.method", "read at the FHIR API"),
            ("Bundle.entry[2].resource.resourceType", "no feed says"),
            ("Bundle.entry[3].resource", "there is none"),
        ],
    );
    let observation =
        r#"{"resource":{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"REF"}}}"#;
    check(
        &bundle(&observation.replace("REF", "urn:uuid:0190f5c0-6b1e-8a7b-9c3d-2e4f5a6b7c8d")),
        &[("Bundle.entry[0].resource.subject.reference", "not in the Bundle")],
    );
    check(
        &bundle(&observation.replace("REF", "Patient?identifier=https://other.example|1")),
        &[("Bundle.entry[0].resource.subject.reference", "a search in place of a reference")],
    );
    let twice = observation.replace("REF", "Patient/1");
    check(&bundle(&format!("{twice},{twice}")), &[("Bundle.entry[1].resource", "a second resource of the same identity")]);
}

#[test]
fn what_two_servers_hold_under_one_id_is_not_taken_for_the_same() {
    let bundle = |entries: &[String]| format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{}]}}"#, entries.join(","));
    let person = |base: &str, number: &str| {
        let identifier = format!(r#"[{{"system":"{MRN}","value":"{number}"}}]"#);
        format!(r#"{{"fullUrl":"{base}/Patient/77","resource":{{"resourceType":"Patient","id":"77","identifier":{identifier}}}}}"#)
    };
    let result = |url: &str, subject: &str| {
        let body = r#""resourceType":"Observation","id":"1","status":"final","code":{"text":"x"}"#;
        format!(r#"{{"fullUrl":"{url}","resource":{{{body},"subject":{{"reference":"{subject}"}}}}}}"#)
    };
    let (a, b) = ("https://a.example/fhir", "https://b.example/fhir");
    // Each of two persons under one id: nobody could tell who a later `Patient/77` is.
    let errors = |entries: &[String]| {
        let mut issues = refused(&bundle(entries));
        issues.retain(|issue| issue.severity == Severity::Error);
        issues
    };
    let issues = errors(&[person(a, "1"), person(b, "2")]);
    assert_eq!((issues.len(), issues[0].place.as_str()), (1, "Bundle.entry[1].resource"));
    assert!(issues[0].reason.contains("same type and id") && issues[0].reason.contains("feed of its own"), "{}", issues[0].reason);
    // A relative reference is below the base of what it stands in.
    let settings = settings();
    let subject = |entries: &[String]| {
        said(&bundle(entries)).map(|said| reference(whole(&said, &own("Observation", "1")), "subject.reference").to_owned())
    };
    let known = settings.reference(&Key::new("Patient", MRN, "1"));
    for (url, text) in [
        (format!("{a}/Observation/1"), "Patient/77".to_owned()),
        (format!("{a}/Observation/1"), format!("{a}/Patient/77")),
        (format!("{b}/Observation/1"), format!("{a}/Patient/77")),
        ("urn:uuid:0190f5c0-6b1e-8a7b-9c3d-2e4f5a6b7c8d".to_owned(), "Patient/77".to_owned()),
    ] {
        assert_eq!(subject(&[person(a, "1"), result(&url, &text)]).unwrap(), known, "{url} {text}");
    }
    for text in ["Patient/77".to_owned(), format!("{b}/Patient/77")] {
        let issues = errors(&[person(a, "1"), result(&format!("{b}/Observation/1"), &text)]);
        assert_eq!((issues[0].place.as_str(), issues[0].code), ("Bundle.entry[1].resource.subject.reference", IssueCode::Identity));
        assert!(issues[0].reason.contains("another server"), "{}", issues[0].reason);
    }
}

#[test]
fn a_bundle_is_bounded() {
    let bundle = |count: usize| {
        let entries: Vec<String> = (0..count)
            .map(|number| format!(r#"{{"fullUrl":"https://h{number}.example/Basic/{number}","resource":{{"resourceType":"Basic","id":"{number}","code":{{"text":"x"}}}}}}"#))
            .collect();
        format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{}]}}"#, entries.join(","))
    };
    let full = bundle(crate::message::ENTRIES_MAX);
    assert_eq!(said(&full).unwrap().contributions.len(), crate::message::ENTRIES_MAX);
    // What is told of an entry stands with it, and with no other.
    let issues = [("Bundle.entry[1].resource.code", "one"), ("Bundle.entry[11].resource", "eleven"), ("Bundle.entry[1].resources", "none")];
    let issues = issues.map(|(place, reason)| Issue::new(Severity::Warning, IssueCode::NotMapped, place, reason)).into();
    let outcome = Outcome::new(OutcomeKind::StoredWithIssues, issues, "2026-03-02T08:00:01Z".parse().unwrap());
    let reply = Json::parse(&adapter().reply(None, &frame(&full), &outcome).unwrap()).unwrap();
    let told = |at: usize| reference(&reply, &format!("entry.{at}.response.outcome.issue.0.diagnostics")).to_owned();
    assert_eq!((told(1), told(11), told(10), told(2)), ("one".into(), "eleven".into(), String::new(), String::new()));
    let issues = refused(&bundle(crate::message::ENTRIES_MAX + 1));
    assert_eq!((issues.len(), issues[0].place.as_str()), (1, "Bundle.entry"));
    assert!(issues[0].reason.contains("several Bundles"));
    // Issues are: what is not told may be worse than what is.
    let unknown: Vec<String> = (0..crate::say::ISSUES_MAX + 7).map(|number| format!(r#","x{number}":1"#)).collect();
    let issues = refused(&format!(r#"{{"resourceType":"Basic","id":"a","code":{{"text":"x"}}{}}}"#, unknown.concat()));
    assert_eq!(issues.len(), crate::say::ISSUES_MAX + 1);
    assert_eq!((issues.last().unwrap().severity, issues.last().unwrap().code), (Severity::Error, IssueCode::Limit));
}

#[test]
fn what_is_for_a_test_is_held_and_what_is_undated_ranks_below() {
    let tested = r#"{"resourceType":"Patient","id":"a","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}]},"active":true}"#;
    assert_eq!(adapter().envelope(&frame(tested)).unwrap().processing, Processing::Training);
    let bundled = format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{tested}}}]}}"#);
    assert_eq!(adapter().envelope(&frame(&bundled)).unwrap().processing, Processing::Training);
    let undated = said(r#"{"resourceType":"Observation","status":"preliminary","code":{"text":"x"}}"#).unwrap();
    let codes: Vec<IssueCode> = undated.issues.iter().map(|issue| issue.code).collect();
    assert_eq!(codes, [IssueCode::Identity, IssueCode::Time]);
    assert_eq!((undated.contributions[0].statements[0].rank.settled, undated.contributions[0].statements[0].rank.asserted), (0, 0));
    let unsafe_text = r#"{"resourceType":"Basic","id":"a","code":{"text":"x"},"text":{"status":"generated","div":"<div xmlns='http://www.w3.org/1999/xhtml'><script/></div>"}}"#;
    let left = said(unsafe_text).unwrap();
    assert_eq!(left.issues[0].place, "Basic.text.div");
    assert!(whole(&left, &own("Basic", "a")).get("text").is_none());
    let script = "<div xmlns='http://www.w3.org/1999/xhtml'><script/></div>";
    let hidden = format!(
        r#"{{"resourceType":"Basic","id":"b","code":{{"text":"x"}},"contained":[{{"resourceType":"Basic","id":"c","code":{{"text":"x"}},"text":{{"status":"generated","div":"{script}"}}}}]}}"#
    );
    let left = said(&hidden).unwrap();
    assert_eq!(left.issues[0].place, "Basic.contained[0].text.div");
    assert!(!whole(&left, &own("Basic", "b")).to_string().contains("script"));
}

#[test]
fn the_sender_is_told_where_each_stands() {
    let (settings, frame) = (settings(), frame(TRANSACTION));
    let outcome = Outcome::new(OutcomeKind::Stored, Vec::new(), "2026-03-02T08:00:01Z".parse().unwrap());
    let reply = adapter().reply(None, &frame, &outcome).unwrap();
    let reply = Json::parse(&reply).unwrap();
    assert_eq!(reference(&reply, "type"), "transaction-response");
    assert_eq!(reference(&reply, "meta.source"), "https://ehr.example/message#m-1");
    assert_eq!(reply.get("entry").unwrap().each().len(), 4);
    assert_eq!(reference(&reply, "entry.0.response.location"), settings.reference(&Key::new("Patient", MRN, "4100017")));
    assert_eq!(adapter().stored_as(&frame).len(), 4);
    let single = Frame::new(PATIENT.as_bytes().to_vec());
    assert_eq!(adapter().reply(None, &single, &outcome), None, "HTTP's own words");
    assert_eq!(adapter().stored_as(&single), [settings.reference(&Key::new("Patient", MRN, "4100017"))]);
    let failed = Outcome::new(OutcomeKind::Untranslatable, Vec::new(), outcome.at);
    assert_eq!(adapter().reply(None, &frame, &failed), None);
}

#[test]
fn a_file_is_one_message_or_one_a_line() {
    let dialect = FhirDialect::new(Arc::new(Shape::r4().unwrap()));
    let line = r#"{"resourceType":"Patient","id":"a"}"#;
    for (text, frames) in [(PATIENT.to_owned(), 1), (format!("{line}\n{line}\r\n\n"), 2), (line.to_owned(), 1)] {
        assert!(dialect.recognises(text.as_bytes()));
        assert_eq!(dialect.frames(&Bytes::from(text)).len(), frames);
    }
    assert!(!dialect.recognises(b"MSH|") && !dialect.recognises(b"<a/>") && !dialect.recognises(b"{}"));
}
