use super::fake::ward;
use super::*;
use crate::api::interaction::{Interaction, Rule};

/// Who asks in the golden file: a name, a scope and a patient.
const ASKERS: [(&str, &str, &str); 10] = [
    ("system/*.rs", "system/*.rs", ""),
    ("system/*.cruds", "system/*.cruds", ""),
    ("system/Patient.r", "system/Patient.r", ""),
    ("user/*.s", "user/*.s", ""),
    ("patient/*.rs for a", "patient/*.rs", "a"),
    ("patient/Observation.rs for a", "patient/Observation.rs", "a"),
    ("patient/*.rs for none", "patient/*.rs", ""),
    ("system/AuditEvent.rs", "system/AuditEvent.rs", ""),
    ("patient/AuditEvent.rs for a", "patient/AuditEvent.rs", "a"),
    ("ingest", "ingest", ""),
];

const ROUTES: [&str; 29] = [
    "GET /metadata",
    "GET /.well-known/smart-configuration",
    "POST /metadata",
    "GET /Patient",
    "HEAD /Patient",
    "POST /Patient/_search",
    "GET /Patient/a",
    "HEAD /Patient/a",
    "GET /Patient/b",
    "GET /Patient/never",
    "GET /Patient/a/_history",
    "GET /Patient/b/_history",
    "GET /Patient/a/_history/1",
    "GET /Patient/b/_history/1",
    "GET /Observation?patient=b",
    "GET /Observation/a1",
    "GET /Observation/a3",
    "GET /Observation/b2",
    "GET /Practitioner/p",
    "GET /Practitioner",
    "GET /AuditEvent",
    "GET /AuditEvent/w-1",
    "POST /Patient",
    "PUT /Patient/a",
    "DELETE /Patient/a",
    "POST /",
    "GET /MedicationRequest/1",
    "GET /Patient/a/$everything",
    "GET /_history",
];

#[tokio::test]
async fn who_may_do_what_on_which_route() {
    let askers: Vec<(&str, String)> = [("no token", String::new()), ("a forged token", "a.b.c".to_owned())]
        .into_iter()
        .chain(ASKERS.map(|(name, scope, patient)| (name, bearer(scope, patient))))
        .collect();
    let mut table = String::from("# Status by route and token. Written by the test that reads it (UPDATE_GOLDEN=1).\n");
    for (number, (name, _)) in (1..).zip(&askers) {
        table.push_str(&format!("# {number:>2} {name}\n"));
    }
    table.push_str(&format!("\n{:<40}", ""));
    (1..=askers.len()).for_each(|number| table.push_str(&format!("{number:>4}")));
    table.push('\n');
    let mut unaudited =
        String::from("# The only answers that leave no audit entry: they are the same for all. Written by the test that reads it.\n");
    for route in ROUTES {
        let (method, path) = route.split_once(' ').unwrap();
        table.push_str(&format!("{route:<40}"));
        let mut silent = true;
        for (_, token) in &askers {
            let gateway = Gateway::new(ward(true));
            // An entry for AuditEvent/w-1.
            gateway.get(&bearer("system/*.rs", ""), "/Patient/a", &[]).await;
            let before = gateway.store.entries().len();
            let headers: &[&str] = if method == "POST" { &["content-type: application/x-www-form-urlencoded"] } else { &[] };
            let got = gateway.send(request(method, token, path, headers, "")).await;
            table.push_str(&format!(" {}", got.status.as_u16()));
            silent &= gateway.store.entries().len() == before;
        }
        table.push('\n');
        if silent {
            unaudited.push_str(&format!("{route}\n"));
        }
    }
    golden("access.txt", &table);
    golden("unaudited.txt", &unaudited);
}

#[test]
fn only_what_is_the_same_for_all_is_public_and_unaudited() {
    let (kind, id) = (String::from("Patient"), String::from("a"));
    for interaction in [
        Interaction::Capabilities,
        Interaction::SmartConfiguration,
        Interaction::Read { kind: kind.clone(), id: id.clone() },
        Interaction::Vread { kind: kind.clone(), id: id.clone(), version: "1".into() },
        Interaction::History { kind: kind.clone(), id },
        Interaction::Search { kind, form: false },
    ] {
        assert_eq!(interaction.rule() == Rule::Public, interaction.action().is_none(), "{interaction:?}");
    }
}

#[tokio::test]
async fn what_may_not_be_seen_is_byte_for_byte_what_never_was() {
    let gateway = Gateway::new(ward(true));
    let token = bearer("patient/*.rs", "a");
    for (hidden, never) in [
        ("/Patient/b", "/Patient/never"),
        ("/Observation/b1", "/Observation/never"),
        ("/Observation/b2", "/Observation/never"),
        ("/Patient/b/_history", "/Patient/never/_history"),
        ("/Patient/b/_history/1", "/Patient/never/_history/1"),
        ("/Patient/a/_history/9", "/Patient/never/_history/1"),
        ("/Patient/a/_history/01", "/Patient/never/_history/1"),
        ("/Patient/not%20an%20id", "/Patient/never"),
        ("/Practitioner/p", "/Practitioner/never"),
    ] {
        for headers in [&[][..], &["if-none-match: W/\"1\""], &["if-none-match: *"]] {
            let (hidden, never) = (gateway.get(&token, hidden, headers).await, gateway.get(&token, never, headers).await);
            assert_eq!(hidden.status, StatusCode::NOT_FOUND);
            assert_eq!(hidden, never);
        }
    }
}

#[tokio::test]
async fn tokens_that_are_not_believed_get_one_answer() {
    let gateway = Gateway::new(ward(true));
    let mut answers = Vec::new();
    let expired = testing::token("ec", testing::HEADER, &testing::payload(&["exp=1"]));
    let foreign = testing::token("ed", testing::HEADER, &testing::payload(&[]));
    let binding = testing::token("ec", testing::HEADER, &testing::payload(&["cnf={\"x5t#S256\":\"AAAA\"}"]));
    for token in ["x", &expired, &foreign, &binding] {
        for path in ["/Patient/a", "/Patient/never", "/Martian", "/Patient?family=x"] {
            answers.push(gateway.get(token, path, &[]).await);
        }
    }
    assert_eq!(answers[0].status, StatusCode::UNAUTHORIZED);
    assert_eq!(answers[0].header("www-authenticate"), "Bearer realm=\"fhir\", error=\"invalid_token\"");
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let none = gateway.get("", "/Patient/a", &[]).await;
    assert_eq!((none.status, none.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer realm=\"fhir\""));
    let basic = gateway.get("", "/Patient/a", &["authorization: Basic YTpi"]).await;
    assert_eq!(basic, none);
    let in_url = gateway.get("", &format!("/Patient/a?access_token={}", bearer("system/*.rs", "")), &[]).await;
    assert_eq!(in_url, none);
    let header = format!("authorization: Bearer {}", bearer("system/*.rs", ""));
    let twice = gateway.get("", "/Patient/a", &[&header, &header]).await;
    assert_eq!(twice.status, StatusCode::UNAUTHORIZED);
    let small = gateway.get("", "/Patient/a", &[&header.replace("Bearer", "bearer")]).await;
    assert_eq!(small.status, StatusCode::OK);
}

#[tokio::test]
async fn a_bound_token_reads_on_its_own_connection_alone() {
    let gateway = Gateway::new(ward(true));
    let thumbprint = [3; 32];
    let cnf = format!("cnf={{\"x5t#S256\":\"{}\"}}", testing::b64(thumbprint));
    let token = testing::token("ec", testing::HEADER, &testing::payload(&[&cnf]));
    for (on, status) in [(Some(thumbprint), 200), (Some([4; 32]), 401), (None, 401)] {
        let connection = ConnectionInfo { thumbprint: on, ..ConnectionInfo::default() };
        let response = gateway.api.answer(request("GET", &token, "/Patient/a", &[], ""), Arc::new(connection)).await;
        assert_eq!(response.status().as_u16(), status);
    }
}

/// Nothing that A's app can ask tells whether B exists.
#[tokio::test]
async fn answers_to_a_do_not_depend_on_b() {
    let (with, without) = (Gateway::new(ward(true)), Gateway::new(ward(false)));
    for token in [bearer("patient/*.rs", "a"), bearer("patient/Observation.s", "a"), bearer("patient/*.rs", "")] {
        for path in [
            "/Patient",
            "/Patient?family=Muller",
            "/Patient?identifier=MRN2",
            "/Patient?_id=a,b",
            "/Patient?_count=0",
            "/Patient/b",
            "/Patient/b/_history",
            "/Observation",
            "/Observation?_count=0",
            "/Observation?_count=1",
            "/Observation?_count=2",
            "/Observation?patient=b",
            "/Observation?patient=Patient/a,Patient/b&code=2823-3",
            "/Observation/b1",
            "/Observation/b2",
            "/AuditEvent",
            "/Practitioner/p",
        ] {
            let mut one = with.get(&token, path, &[]).await;
            assert_eq!(one, without.get(&token, path, &[]).await, "{path}");
            let mut pages = 0;
            while let Some(next) = one.status.is_success().then(|| one.link("next")).flatten() {
                one = with.get(&token, &next, &[]).await;
                assert_eq!(one, without.get(&token, &next, &[]).await, "{next}");
                pages += 1;
            }
            assert!(pages < 10);
        }
    }
}
