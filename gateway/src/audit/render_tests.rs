use super::*;
use crate::audit::Agent;
use contract::Json;

fn entry(action: Action, patients: &[&str], resources: &[&str]) -> Entry {
    Entry {
        at: "2026-11-24T12:00:00.250Z".parse().unwrap(),
        action,
        outcome: 0,
        reason: String::new(),
        agent: Agent {
            who: "app:viewer".into(),
            issuer: "https://idp.example".into(),
            user: "nurse".into(),
            token: "t1".into(),
            wide: false,
            address: "192.0.2.1:5000".into(),
        },
        request: "GET /fhir/Patient?family=x".into(),
        patients: patients.iter().map(|id| (*id).to_owned()).collect(),
        resources: resources.iter().map(|id| (*id).to_owned()).collect(),
        issues: 0,
        count: 1,
        position: None,
    }
}

fn events(entry: &Entry) -> Vec<(String, Json)> {
    render("w-7", entry, "https://gw.example/fhir").into_iter().map(|event| (event.id, Json::parse(&event.body).unwrap())).collect()
}

/// The text at a path of members and numbers; empty where there is none.
fn at<'a>(json: &'a Json, path: &str) -> &'a str {
    let found = path.split('.').try_fold(json, |json, step| match step.parse::<usize>() {
        Ok(number) => match json {
            Json::Array(elements) => elements.get(number),
            _ => None,
        },
        Err(_) => json.get(step),
    });
    found.and_then(Json::as_str).unwrap_or_default()
}

#[test]
fn one_event_per_patient_without_the_others_name() {
    let events = events(&entry(Action::Search, &["a", "b"], &["Observation/1/_history/1", "Observation/2/_history/1"]));
    assert_eq!(events.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["w-7-1", "w-7-2"]);
    for ((id, event), (own, other)) in events.iter().zip([("a", "b"), ("b", "a")]) {
        assert_eq!(at(event, "id"), id);
        assert_eq!(at(event, "entity.0.what.reference"), format!("Patient/{own}"));
        assert!(!event.to_string().contains(&format!("Patient/{other}")));
    }
    assert_eq!(super::render("w-7", &entry(Action::Search, &["a"], &[]), "https://gw/fhir")[0].id, "w-7");
    assert_eq!(super::render("w-7", &entry(Action::Search, &[], &[]), "https://gw/fhir")[0].patient, None);
    let import = entry(Action::Import, &["a", "b"], &["Patient/a/_history/1", "Patient/b/_history/4", "Encounter/e/_history/1"]);
    let bodies: Vec<String> =
        super::render("w", &import, "https://gw/fhir").iter().map(|event| String::from_utf8(event.body.clone()).unwrap()).collect();
    assert!(bodies[0].contains("Patient/a/_history/1") && !bodies[0].contains("Patient/b"));
    assert!(bodies[1].contains("Patient/b/_history/4") && bodies[1].contains("Encounter/e/_history/1"));
}

#[test]
fn patterns_are_those_of_balp() {
    let check = |action: Action, kind: &str, subtype: &str, code: &str, client: &str, server: &str| {
        let (_, event) = events(&entry(action, &["a"], &["Encounter/1/_history/2"])).remove(0);
        let found = ["type.code", "subtype.0.code", "action", "agent.0.type.coding.0.code", "agent.1.type.coding.0.code"]
            .map(|path| at(&event, path));
        assert_eq!(found, [kind, subtype, code, client, server], "{action:?}");
        assert_eq!(at(&event, "recorded"), "2026-11-24T12:00:00.25Z");
        assert_eq!(at(&event, "outcome"), "0");
        assert_eq!(at(&event, "source.observer.display"), "Landbridge");
    };
    check(Action::Read, "rest", "read", "R", "110152", "110153");
    check(Action::Vread, "rest", "vread", "R", "110152", "110153");
    check(Action::History, "rest", "history-instance", "R", "110152", "110153");
    check(Action::Search, "rest", "search", "E", "110153", "110152");
    check(Action::Import, "110107", "disclose", "C", "110153", "110152");
    check(Action::Capabilities, "rest", "capabilities", "R", "110152", "110153");
    check(Action::Refused, "rest", "", "E", "110153", "110152");
    check(Action::JournalShow, "access", "", "R", "110150", "110150");
    check(Action::JournalReplay, "transform", "", "U", "110150", "110150");
    check(Action::JournalEdit, "amend", "", "U", "110150", "110150");
    check(Action::Withdraw, "deprecate", "", "U", "110150", "110150");
    check(Action::Restore, "reactivate", "", "U", "110150", "110150");
    check(Action::Start, "110100", "110120", "E", "110150", "110150");
    check(Action::Stop, "110100", "110121", "E", "110150", "110150");
}

#[test]
fn agents_and_entities_say_who_and_what() {
    let (_, event) = events(&entry(Action::Search, &["a"], &["Observation/1/_history/1"])).remove(0);
    assert_eq!(at(&event, "agent.0.network.address"), "192.0.2.1");
    assert_eq!(at(&event, "agent.0.network.type"), "2");
    assert_eq!(at(&event, "agent.1.network.address"), "gw.example");
    assert_eq!(at(&event, "agent.2.type.coding.0.code"), "IRCP");
    assert_eq!(at(&event, "agent.2.who.identifier.value"), "nurse");
    assert_eq!(at(&event, "agent.2.policy.0"), "urn:ietf:params:oauth:jti:t1");
    assert_eq!(event.get("agent").unwrap().each().iter().filter(|agent| agent.get("requestor") == Some(&Json::Bool(true))).count(), 1);
    assert_eq!(event.get("agent").unwrap().each()[2].get("network"), None);
    assert_eq!(at(&event, "entity.1.role.code"), "24");
    assert_eq!(at(&event, "entity.1.query"), "R0VUIC9maGlyL1BhdGllbnQ/ZmFtaWx5PXg=");
    assert_eq!(event.get("entity").unwrap().each()[1].get("what"), None);
    let (_, event) = events(&entry(Action::Read, &["a"], &["Patient/a/_history/3"])).remove(0);
    assert_eq!(at(&event, "entity.1.what.reference"), "Patient/a/_history/3");
    let mut service = entry(Action::Read, &[], &[]);
    service.agent.user.clear();
    (service.outcome, service.reason, service.count) = (4, "no-token".into(), 12);
    let (_, event) = events(&service).remove(0);
    assert_eq!(event.get("agent").unwrap().each().len(), 2);
    assert_eq!(at(&event, "agent.0.policy.0"), "urn:ietf:params:oauth:jti:t1");
    assert_eq!(at(&event, "outcome"), "4");
    assert_eq!(at(&event, "outcomeDesc"), "no-token: 12 equal events");
}

#[test]
fn every_event_is_read_back_whole_by_the_typed_model() {
    for action in [Action::Import, Action::Read, Action::Search, Action::Refused, Action::JournalShow, Action::Start] {
        for event in render("w-7", &entry(action, &["a", "b"], &["Encounter/1/_history/2"]), "https://[::1]:8443/fhir") {
            let typed: AuditEvent = serde_json::from_slice(&event.body).unwrap();
            assert_eq!(serde_json::to_vec(&typed).unwrap(), event.body);
        }
    }
}
