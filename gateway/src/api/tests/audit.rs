use super::fake::ward;
use super::*;
use crate::audit::Action;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn all() -> String {
    bearer("system/*.rs", "")
}

#[tokio::test]
async fn each_answer_has_its_entry() {
    let gateway = Gateway::new(ward(true));
    let (one, two) = (["Patient/a/_history/2"], ["Patient/a/_history/2", "Patient/b/_history/1"]);
    for (method, path, action, outcome, reason, patients, resources) in [
        ("GET", "/Patient/a", Action::Read, 0, "", &["a"][..], &one[..]),
        ("HEAD", "/Patient/a", Action::Read, 0, "", &["a"], &one),
        ("GET", "/Patient/a/_history/1", Action::Vread, 0, "", &["a"], &["Patient/a/_history/1"]),
        ("GET", "/Patient/a/_history", Action::History, 0, "", &["a"], &["Patient/a/_history/2", "Patient/a/_history/1"]),
        ("GET", "/Patient?family=mul", Action::Search, 0, "", &["a", "b"], &two),
        ("GET", "/Patient?_count=0", Action::Search, 0, "", &[], &[]),
        ("GET", "/Patient/never", Action::Read, 4, "not-found", &[], &[]),
        ("GET", "/Observation/a3", Action::Read, 4, "deleted", &[], &[]),
        ("GET", "/Patient?birthdate=x", Action::Search, 4, "invalid", &[], &[]),
        ("GET", "/Martian", Action::Refused, 4, "no-route", &[], &[]),
        ("PUT", "/Patient/a", Action::Refused, 4, "method", &[], &[]),
        ("POST", "/metadata", Action::Refused, 4, "method", &[], &[]),
    ] {
        gateway.send(request(method, &all(), path, &[], "")).await;
        let entry = gateway.store.last();
        assert_eq!(entry.request, format!("{method} /fhir{path}"));
        assert_eq!((entry.action, entry.outcome, entry.reason.as_str()), (action, outcome, reason), "{method} {path}");
        assert_eq!(entry.patients, patients, "{method} {path}");
        assert_eq!(entry.resources, resources, "{method} {path}");
        assert_eq!(entry.at, gateway.clock.now());
        assert_eq!(
            (entry.agent.who.as_str(), entry.agent.issuer.as_str(), entry.agent.user.as_str()),
            ("app:app", testing::ISSUER, "nurse")
        );
        assert_eq!((entry.agent.token.as_str(), entry.agent.address.as_str()), ("t1", "192.0.2.7:40000"));
    }
    gateway.get(&all(), "/Patient/a", &["if-none-match: W/\"2\""]).await;
    assert_eq!(gateway.store.last().resources, one, "304 tells that it is there");
    let form = ["content-type: application/x-www-form-urlencoded"];
    gateway.send(request("POST", &all(), "/Patient/_search?_count=1", &form, "family=x")).await;
    assert_eq!(gateway.store.last().request, "POST /fhir/Patient/_search?_count=1\nfamily=x");
    gateway.get(&bearer("system/Patient.r", ""), "/Patient?family=x", &[]).await;
    assert_eq!((gateway.store.last().action, gateway.store.last().reason.as_str()), (Action::Search, "forbidden"));
}

/// A body that never comes.
struct Awaited;

impl hyper::body::Body for Awaited {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn who_hangs_up_is_written_down() {
    let gateway = Gateway::new(ward(true));
    let form = ["content-type: application/x-www-form-urlencoded"];
    for (token, expected) in [(all(), &["hung-up"][..]), (String::new(), &["no-token"])] {
        let (parts, _) = request("POST", &token, "/Patient/_search", &form, "").into_parts();
        let answer = gateway.api.answer(Request::from_parts(parts, Awaited), Arc::new(ConnectionInfo::default()));
        let _ = tokio::time::timeout(Duration::ZERO, answer).await;
        let entries = std::mem::take(&mut *gateway.store.entries.lock().unwrap());
        assert_eq!(entries.iter().map(|entry| entry.reason.as_str()).collect::<Vec<_>>(), expected);
        assert!(entries.iter().all(|entry| entry.outcome == 4 && entry.request == "POST /fhir/Patient/_search"));
    }
}

#[tokio::test]
async fn secrets_in_a_url_or_a_form_are_left_out() {
    let gateway = Gateway::new(ward(true));
    gateway.get(&all(), "/Patient?access_token=e.y.J&family=x&id%5Ftoken=7&_count=1", &[]).await;
    let expected = "GET /fhir/Patient?access_token=[withheld]&family=x&id%5Ftoken=[withheld]&_count=1";
    assert_eq!(gateway.store.last().request, expected);
    let form = ["content-type: application/x-www-form-urlencoded"];
    gateway.send(request("POST", &all(), "/Patient/_search", &form, "Client_Secret=s&family=x?y")).await;
    assert_eq!(gateway.store.last().request, "POST /fhir/Patient/_search\nClient_Secret=[withheld]&family=x?y");
}

#[tokio::test]
async fn without_its_entry_no_answer_leaves() {
    let gateway = Gateway::new(ward(true));
    gateway.store.broken.store(true, Ordering::SeqCst);
    for (token, path) in [
        (all(), "/Patient/a"),
        (all(), "/Patient/never"),
        (all(), "/Patient"),
        (all(), "/Martian"),
        (bearer("ingest", ""), "/Patient/a"),
        (String::new(), "/Patient/a"),
        ("x".into(), "/Patient/a"),
    ] {
        let got = gateway.get(&token, path, &[]).await;
        assert_eq!((got.status, got.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"), "{path}");
        assert!(!String::from_utf8_lossy(&got.body).contains("active"));
    }
    assert_eq!(gateway.get("", "/metadata", &[]).await.status, StatusCode::OK, "what is public needs none");
    gateway.store.broken.store(false, Ordering::SeqCst);
    assert_eq!(gateway.get("", "/Patient/a", &[]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(gateway.store.entries().len(), 1, "the first that could be written is written in full");
}

#[tokio::test]
async fn repeated_refusals_of_strangers_are_counted() {
    let gateway = Gateway::new(ward(true));
    for _ in 0..5 {
        gateway.get("", "/Patient/a", &[]).await;
    }
    for _ in 0..3 {
        gateway.get("x", "/Patient/a", &[]).await;
    }
    let told = |gateway: &Gateway| -> Vec<(String, u32, bool)> {
        gateway.store.entries().iter().map(|entry| (entry.reason.clone(), entry.count, entry.request.is_empty())).collect()
    };
    let firsts = [("no-token".to_owned(), 1, false), ("token-malformed".to_owned(), 1, false)];
    assert_eq!(told(&gateway), firsts);
    gateway.clock.advance(Duration::from_secs(1));
    gateway.get("", "/Patient/a", &[]).await;
    let counted = [("no-token".to_owned(), 4, true), ("token-malformed".to_owned(), 2, true)];
    assert_eq!(told(&gateway)[2..4], counted);
    assert_eq!(told(&gateway)[4], firsts[0]);
    for _ in 0..2 {
        gateway.get("", "/Patient/a", &[]).await;
    }
    gateway.api.close().await;
    assert_eq!(told(&gateway)[5..], [("no-token".to_owned(), 2, true)]);
    gateway.api.close().await;
    assert_eq!(told(&gateway).len(), 6, "once");
    let refused = gateway.store.entries().iter().map(|entry| entry.count).sum::<u32>();
    assert_eq!(refused, 11, "none is lost");
    assert_eq!(gateway.store.entries()[0].agent.who, "unknown");
}

#[tokio::test]
async fn counts_that_cannot_be_written_are_kept() {
    let gateway = Gateway::new(ward(true));
    for _ in 0..3 {
        gateway.get("", "/Patient/a", &[]).await;
    }
    gateway.store.broken.store(true, Ordering::SeqCst);
    gateway.api.close().await;
    gateway.store.broken.store(false, Ordering::SeqCst);
    gateway.api.close().await;
    assert_eq!(gateway.store.entries().iter().map(|entry| entry.count).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn known_apps_are_never_counted_together() {
    let gateway = Gateway::new(ward(true));
    for _ in 0..4 {
        gateway.get(&bearer("ingest", ""), "/Patient/a", &[]).await;
    }
    assert_eq!(gateway.store.entries().len(), 4);
}

#[tokio::test]
async fn audit_events_are_read_and_that_is_audited() {
    let gateway = Gateway::new(ward(true));
    gateway.get(&all(), "/Patient/a", &[]).await;
    gateway.get(&all(), "/Patient", &[]).await;
    gateway.get(&all(), "/Patient/never", &[]).await;
    let auditor = bearer("system/AuditEvent.rs", "");
    for (id, status) in
        [("w-1", 200), ("w-2", 404), ("w-2-1", 200), ("w-2-2", 200), ("w-2-3", 404), ("w-3", 200), ("w-1-1", 404), ("x", 404)]
    {
        let got = gateway.get(&auditor, &format!("/AuditEvent/{id}"), &[]).await;
        assert_eq!(got.status.as_u16(), status, "{id}");
        if status == 200 {
            assert_eq!(text(&got.json(), "id"), id);
            assert_eq!(gateway.store.last().resources, [format!("AuditEvent/{id}")]);
            assert_eq!(got.header("etag"), "W/\"1\"");
        }
    }
    let found = gateway.get(&auditor, "/AuditEvent?patient=a&outcome=0&date=2027", &[]).await;
    assert!(found.ids().contains(&"w-1".to_owned()) && found.ids().contains(&"w-2-1".to_owned()));
    assert!(!found.ids().contains(&"w-2-2".to_owned()), "that is about b");
    assert!(!String::from_utf8_lossy(&found.body).contains("Patient/b"));
    let entry = gateway.store.last();
    assert_eq!((entry.action, entry.patients.as_slice()), (Action::Search, &["a".to_owned()][..]));
    let one = gateway.get(&auditor, "/AuditEvent?_id=w-2-2", &[]).await;
    assert_eq!(one.ids(), ["w-2-2"]);
}

/// A page may end in the midst of an entry that names several patients; the walk itself adds entries in front.
#[tokio::test]
async fn audit_events_page_without_loss_or_repetition() {
    for count in 1..8 {
        let gateway = Gateway::new(ward(true));
        for _ in 0..2 {
            gateway.get(&all(), "/Patient", &[]).await;
            gateway.get(&all(), "/Patient/a", &[]).await;
            gateway.get(&all(), "/Observation", &[]).await;
        }
        let auditor = bearer("system/AuditEvent.rs", "");
        let expected: Vec<String> = [6, 5, 4, 3, 2, 1]
            .into_iter()
            .flat_map(|number| match number {
                2 | 5 => vec![format!("w-{number}")],
                _ => vec![format!("w-{number}-1"), format!("w-{number}-2")],
            })
            .collect();
        let mut got = gateway.get(&auditor, &format!("/AuditEvent?_count={count}"), &[]).await;
        assert_eq!(got.total(), "10");
        let mut found = got.ids();
        while let Some(next) = got.link("next") {
            got = gateway.get(&auditor, &next, &[]).await;
            assert!(got.ids().len() <= count);
            found.extend(got.ids());
        }
        assert_eq!(found, expected, "{count}");
    }
    let gateway = Gateway::new(ward(true));
    gateway.get(&all(), "/Patient/a", &[]).await;
    let none = gateway.get(&bearer("system/AuditEvent.rs", ""), "/AuditEvent?_count=0", &[]).await;
    assert_eq!((none.total().as_str(), none.ids().len(), none.link("next")), ("1", 0, None));
}
