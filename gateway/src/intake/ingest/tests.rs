use super::*;
use crate::access::testing;
use crate::intake::double::{Memory, intake};
use http_body_util::BodyExt;
use std::sync::atomic::Ordering;

const WEB: &[&str] = &["web.hospital.example"];
const ADT: &str = "ADT^A01|1|WEB|P|7";

struct Case<'a> {
    names: &'a [&'a str],
    method: Method,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
}

const GOOD: Case<'_> =
    Case { names: WEB, method: Method::POST, path: "/ingest/web", headers: &[("content-type", "application/hl7-v2")], body: ADT };

fn door(store: &Memory) -> Ingest {
    Ingest::new(intake(store, 10), testing::verifier(&["ES256"]), 100, Duration::from_secs(5))
}

/// Status, content type and body.
async fn send(ingest: &Ingest, case: &Case<'_>) -> (u16, String, String) {
    let mut request = Request::builder().method(&case.method).uri(case.path);
    for (name, value) in case.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(case.body.as_bytes()))).unwrap();
    let names = case.names.iter().map(|name| (*name).to_owned()).collect();
    let connection = ConnectionInfo { address: "192.0.2.7:4000".into(), names, ..ConnectionInfo::default() };
    let response = ingest.answer(request, &connection).await;
    let content_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, content_type, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn each_outcome_has_its_status() {
    async fn check(line: &str, status: u16, reply: &str) {
        let answered = send(&door(&Memory::default()), &Case { body: line, ..GOOD }).await;
        assert_eq!(answered, (status, "application/hl7-v2".into(), reply.into()), "{line}");
    }
    check(ADT, 201, "AA|1|web|stored").await;
    check("ADT^A01|1|WEB|P|7|issue", 201, "AA|1|web|stored-with-issues").await;
    check("garbage", 400, "AE||web|malformed").await;
    check("ADT^A01|1|WEB|P|7|unsupported", 202, "AA|1|web|unsupported").await;
    check("ADT^A01|1|WEB|P|7|untranslatable", 422, "AE|1|web|untranslatable").await;
    check("ADT^A01|1|WEB|T|7", 202, "AA|1|web|held").await;
    check("ORU^R01|1|WEB|P|7", 403, "AR|1|web|forbidden").await;

    let store = Memory::default();
    let ingest = door(&store);
    send(&ingest, &GOOD).await;
    assert_eq!(send(&ingest, &GOOD).await.0, 200);
    store.0.broken.store(true, Ordering::SeqCst);
    let (status, content_type, body) = send(&ingest, &GOOD).await;
    assert_eq!((status, content_type.as_str()), (503, "application/fhir+json"));
    assert!(body.contains("transient"));
}

#[tokio::test]
async fn xml_is_answered_by_an_operation_outcome() {
    let case = Case {
        names: &["docs.hospital.example"],
        path: "/ingest/docs",
        headers: &[("content-type", "Text/XML; charset=utf-8")],
        body: "CDA|1|DOCS|P|7|issue",
        ..GOOD
    };
    let (status, content_type, body) = send(&door(&Memory::default()), &case).await;
    assert_eq!((status, content_type.as_str()), (201, "application/fhir+json"));
    let outcome: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    assert_eq!(outcome["issue"][0]["code"], "informational");
    assert_eq!(outcome["issue"][1]["severity"], "warning");
}

#[tokio::test]
async fn who_may_not_send_is_refused_before_the_body_is_read() {
    async fn check(case: Case<'_>, status: u16, audited: &str) {
        let store = Memory::default();
        let (answered, content_type, _) = send(&door(&store), &case).await;
        assert_eq!((answered, content_type.as_str()), (status, "application/fhir+json"), "{}", case.path);
        assert_eq!(store.0.audited(), [audited], "{}", case.path);
        assert!(store.0.journaled().is_empty());
    }
    check(Case { names: &[], ..GOOD }, 401, "unknown 4 no-credential").await;
    check(Case { headers: &[("authorization", "Bearer x.y.z")], ..GOOD }, 401, "unknown 4 token-malformed").await;
    check(Case { headers: &[("authorization", "Basic eDp5")], ..GOOD }, 401, "unknown 4 no-credential").await;
    // Another's feed, a feed of another door, and a feed that never was: one answer.
    for path in ["/ingest/docs", "/ingest/pas", "/ingest/none", "/ingest/"] {
        check(Case { path, ..GOOD }, 403, "peer:web.hospital.example 4 forbidden").await;
    }
    check(Case { method: Method::GET, ..GOOD }, 405, "peer:web.hospital.example 4 method").await;
    check(Case { headers: &[], ..GOOD }, 415, "peer:web.hospital.example 4 media-type").await;
    check(Case { headers: &[("content-type", "text/xml")], ..GOOD }, 415, "peer:web.hospital.example 4 media-type").await;
    let packed = &[("content-type", "application/hl7-v2"), ("content-encoding", "gzip")];
    check(Case { headers: packed, ..GOOD }, 415, "peer:web.hospital.example 4 content-encoding").await;
    check(Case { body: &"x".repeat(101), ..GOOD }, 413, "peer:web.hospital.example 4 too-long").await;
    let declared = &[("content-type", "application/hl7-v2"), ("content-length", "99999999999")];
    check(Case { headers: declared, ..GOOD }, 413, "peer:web.hospital.example 4 too-long").await;
}

#[tokio::test]
async fn a_token_with_the_scope_ingest_names_the_feed_by_its_client() {
    async fn check(changes: &[&str], status: u16, audited: &str) {
        let token = testing::token("ec", testing::HEADER, &testing::payload(changes));
        let authorization = format!("Bearer {token}");
        let headers = &[("content-type", "application/hl7-v2"), ("authorization", authorization.as_str())];
        let store = Memory::default();
        // The certificate is another's: the token decides alone.
        let answered = send(&door(&store), &Case { names: &["docs.hospital.example"], headers, ..GOOD }).await;
        assert_eq!((answered.0, store.0.audited()), (status, vec![audited.to_owned()]), "{changes:?}");
        let told = store.0.kept().entries.iter().all(|entry| (&*entry.agent.issuer, &*entry.agent.token) == (testing::ISSUER, "t1"));
        assert_eq!(told, status != 401, "who was not believed is not named");
    }
    let client = "client_id=\"web.hospital.example\"";
    check(&[client, "scope=\"ingest\""], 201, "feed:web 0").await;
    check(&[client, "scope=\"system/*.rs\""], 401, "unknown 4 token-scope").await;
    check(&["client_id=\"docs.hospital.example\"", "scope=\"ingest\""], 403, "peer:docs.hospital.example 4 forbidden").await;
}

#[tokio::test]
async fn repeated_refusals_of_strangers_are_counted() {
    let store = Memory::default();
    let ingest = door(&store);
    for _ in 0..50 {
        let request = Request::post("/ingest/web").body(Full::new(Bytes::new())).unwrap();
        let connection = ConnectionInfo { address: "192.0.2.7:4000".into(), ..ConnectionInfo::default() };
        assert_eq!(ingest.answer(request, &connection).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(store.0.audited(), ["unknown 4 no-credential"]);
}
