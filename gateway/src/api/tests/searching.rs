use super::fake::ward;
use super::*;

fn all() -> String {
    bearer("system/*.rs", "")
}

#[tokio::test]
async fn searches_find_what_they_say() {
    let gateway = Gateway::new(ward(true));
    for (path, ids) in [
        ("/Patient", &["a", "b"][..]),
        ("/Patient?family=MÜL", &["a", "b"]),
        ("/Patient?family=mul&birthdate=1970-01", &["a"]),
        ("/Patient?identifier=MRN2", &["b"]),
        (r"/Patient?identifier=https://hospital.example/id/mrn%7CMRN\,1", &["a"]),
        ("/Patient?identifier=MRN,1", &[]),
        (r"/Patient?identifier=MRN\,1,MRN2", &["a", "b"]),
        ("/Patient?_id=b", &["b"]),
        ("/Observation?patient=b", &["b1"]),
        ("/Observation?patient=Patient/a&_count=2", &["a1", "a2"]),
        ("/Observation?patient=https://gw.example/fhir/Patient/b", &["b1"]),
        ("/Observation?patient=https://elsewhere.example/fhir/Patient/b", &[]),
        ("/Observation?code=http://loinc.org|2823-3&patient=b", &["b1"]),
    ] {
        let path = path.replace('Ü', "%C3%9C").replace('\\', "%5C").replace("g|", "g%7C");
        let got = gateway.get(&all(), &path, &[]).await;
        assert_eq!(got.status, StatusCode::OK, "{path}");
        assert_eq!(got.ids(), ids, "{path}");
    }
}

#[tokio::test]
async fn a_bundle_has_what_clients_need() {
    let gateway = Gateway::new(ward(true));
    let got = gateway.get(&all(), "/Observation?patient=a&_count=1", &[]).await;
    let json = got.json();
    assert_eq!((text(&json, "resourceType"), text(&json, "type"), got.total().as_str()), ("Bundle", "searchset", "4"));
    assert_eq!(got.link("self").unwrap(), "https://gw.example/fhir/Observation?patient=a&_count=1");
    assert!(got.link("next").unwrap().starts_with("https://gw.example/fhir/Observation?patient=a&_count=1&_page="));
    let entry = &json.get("entry").unwrap().each()[0];
    assert_eq!((text(entry, "fullUrl"), text(entry, "search.mode")), ("https://gw.example/fhir/Observation/a1", "match"));
    assert!(String::from_utf8_lossy(&got.body).contains("\"value\":6.30"), "as it was written");
    let none = gateway.get(&all(), "/Patient?_id=never", &[]).await;
    assert_eq!((none.total().as_str(), none.json().get("entry"), none.link("next")), ("0", None, None));
    let count = gateway.get(&all(), "/Observation?_count=0&_totalMethod=count", &[]).await;
    assert_eq!((count.total().as_str(), count.ids().len(), count.link("next")), ("5", 0, None));
    let people = gateway.get(&all(), "/Patient", &[]).await;
    let bundle: fhir_sdk::r4b::resources::Bundle = serde_json::from_slice(&people.body).unwrap();
    assert_eq!(serde_json::to_vec(&bundle).unwrap().len(), people.body.len(), "the typed model knows every element");
}

#[tokio::test]
async fn a_total_is_left_out_where_none_is_asked_for() {
    let gateway = Gateway::new(ward(true));
    for (path, total) in [("/Patient?_total=accurate", "2"), ("/Patient?_total=estimate", "2"), ("/Patient?_total=none&_count=0", "2")] {
        assert_eq!(gateway.get(&all(), path, &[]).await.total(), total, "{path}");
    }
    let got = gateway.get(&all(), "/Patient?_total=none&_count=1", &[]).await;
    assert_eq!((got.json().get("total"), got.ids()), (None, vec!["a".to_owned()]));
    let next = got.link("next").unwrap();
    assert!(next.contains("_total=none"));
    assert_eq!(gateway.get(&all(), &next, &[]).await.ids(), ["b"]);
}

#[tokio::test]
async fn a_modifier_that_is_not_served_is_refused_in_words() {
    let gateway = Gateway::new(ward(true));
    for (path, told) in [
        ("/Patient?family:above=Muller", "on a string :exact, :contains and :missing are"),
        ("/Patient?identifier:in=Muller", "on a token :not and :missing are"),
        ("/Observation?date:not=2026", "on a date :missing is"),
        ("/Observation?patient:identifier=Muller", "on a reference :missing and its own types are"),
        ("/AuditEvent?outcome:not=0", "no modifier is served on this parameter"),
    ] {
        let got = gateway.get(&all(), path, &[]).await;
        let body = String::from_utf8_lossy(&got.body).into_owned();
        assert!(got.status == StatusCode::BAD_REQUEST && body.contains(told) && !body.contains("Muller"), "{path} {body}");
    }
}

#[tokio::test]
async fn pages_follow_one_another_to_the_end() {
    let gateway = Gateway::new(ward(true));
    for count in 1..7 {
        let mut got = gateway.get(&all(), &format!("/Observation?code=2823-3&_count={count}"), &[]).await;
        let mut found = got.ids();
        while let Some(next) = got.link("next") {
            got = gateway.get(&all(), &next, &[]).await;
            assert!(got.ids().len() <= count && !got.ids().is_empty());
            assert_eq!(got.link("self"), Some(next));
            found.extend(got.ids());
        }
        assert_eq!(found, ["a1", "b1", "a2", "a4", "a5"]);
    }
}

#[tokio::test]
async fn a_link_of_another_search_is_refused() {
    let gateway = Gateway::new(ward(true));
    let next = gateway.get(&all(), "/Observation?patient=a&_count=1", &[]).await.link("next").unwrap();
    let page = next.split_once("_page=").unwrap().1;
    for path in [
        format!("/Observation?patient=b&_count=1&_page={page}"),
        format!("/Observation?patient=a&_count=2&_page={page}"),
        format!("/Observation?_page={page}"),
        format!("/DiagnosticReport?patient=a&_count=1&_page={page}"),
        format!("{next}x"),
        format!("{next}&_page={page}"),
    ] {
        let got = gateway.get(&all(), &path, &[]).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(gateway.get(&all(), &next, &[]).await.status, StatusCode::OK);
    assert_eq!(gateway.get(&bearer("patient/*.rs", "b"), &next, &[]).await.ids(), Vec::<String>::new(), "the Grant stands in every page");
}

#[tokio::test]
async fn what_is_not_understood_is_told_or_under_strict_handling_refused() {
    let gateway = Gateway::new(ward(true));
    let got = gateway.get(&all(), "/Patient?famly=Muller&_id=a", &[]).await;
    assert_eq!(got.ids(), ["a"]);
    assert_eq!(got.link("self").unwrap(), "https://gw.example/fhir/Patient?_id=a");
    let outcome = &got.entries("outcome")[0];
    assert_eq!(text(outcome, "resource.resourceType"), "OperationOutcome");
    let issue = outcome.get("resource").unwrap().get("issue").unwrap().each()[0].clone();
    assert_eq!((text(&issue, "severity"), text(&issue, "code")), ("warning", "not-supported"));
    assert!(text(&issue, "diagnostics").contains("famly") && !text(&issue, "diagnostics").contains("Muller"));
    assert_eq!(got.total(), "1", "it is no match");
    let strict = gateway.get(&all(), "/Patient?famly=Muller&_id=a", &["prefer: handling=strict"]).await;
    assert_eq!(strict.status, StatusCode::BAD_REQUEST);
    assert!(!String::from_utf8_lossy(&strict.body).contains("Muller"));
    assert_eq!(gateway.get(&all(), "/Patient?_id=a&_summary=false", &["prefer: handling=strict"]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_search_by_post_is_that_by_get() {
    let gateway = Gateway::new(ward(true));
    let form = ["content-type: application/x-www-form-urlencoded; charset=utf-8"];
    for (path, body, get) in [
        ("/Observation/_search", "patient=a&_count=2", "/Observation?patient=a&_count=2"),
        ("/Observation/_search?_count=2", "patient=a", "/Observation?_count=2&patient=a"),
        ("/Observation/_search?patient=a&_count=2", "", "/Observation?patient=a&_count=2"),
        ("/Observation/_search?patient=b", "patient=a", "/Observation?patient=b&patient=a"),
        (
            "/Patient/_search",
            "identifier=https%3A%2F%2Fhospital.example%2Fid%2Fmrn%7CMRN2",
            "/Patient?identifier=https%3A%2F%2Fhospital.example%2Fid%2Fmrn%7CMRN2",
        ),
    ] {
        let posted = gateway.send(request("POST", &all(), path, &form, body)).await;
        assert_eq!(posted, gateway.get(&all(), get, &[]).await, "{path} {body}");
    }
    let format = gateway.send(request("POST", &all(), "/Patient/_search", &form, "_format=xml")).await;
    assert_eq!(format.status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn what_comes_along_is_told_apart_from_matches() {
    let gateway = Gateway::new(ward(true));
    let got = gateway.get(&all(), "/Observation?_id=a1&_include=Observation:patient", &[]).await;
    assert_eq!((got.ids(), got.total().as_str()), (vec!["a1".to_owned()], "1"));
    let [patient] = &got.entries("include")[..] else { panic!("one comes along") };
    assert_eq!(text(patient, "fullUrl"), "https://gw.example/fhir/Patient/a");
    assert_eq!(got.link("self").unwrap(), "https://gw.example/fhir/Observation?_id=a1&_include=Observation:patient");
    let entry = gateway.store.last();
    assert_eq!(entry.resources, ["Observation/a1/_history/1", "Patient/a/_history/2"], "the audit names both");
    // What the client may not read is left out, and told.
    let narrow = bearer("system/Observation.rs", "");
    let got = gateway.get(&narrow, "/Observation?_id=a1&_include=Observation:encounter", &[]).await;
    let told = &got.entries("outcome")[0];
    assert!(told.to_bytes().windows(8).any(|part| part == b"no scope"));
    assert_eq!(got.link("self").unwrap(), "https://gw.example/fhir/Observation?_id=a1", "what was left out is not in it");
    let mixed = "/Observation?_include=Observation:subject&_id=a1&_revinclude=Observation:has-member&_include=Observation:encounter";
    let got = gateway.get(&narrow, mixed, &[]).await;
    assert_eq!(got.link("self").unwrap(), "https://gw.example/fhir/Observation?_id=a1&_revinclude=Observation:has-member");
    let strict = gateway.get(&narrow, "/Observation?_include=Observation:encounter", &["prefer: handling=strict"]).await;
    assert_eq!(strict.status, StatusCode::BAD_REQUEST);
    let unknown = gateway.get(&all(), "/Observation?_id=a1&_include=Observation:ward", &["prefer: handling=strict"]).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_whole_record_is_a_searchset_by_pages() {
    let gateway = Gateway::new(ward(true));
    let got = gateway.get(&all(), "/Patient/a/$everything", &[]).await;
    assert_eq!((got.ids(), got.total().as_str()), (["a", "a1", "a2", "a4", "a5"].map(str::to_owned).to_vec(), "5"));
    assert_eq!(got.entries("include").len(), 1);
    let first = gateway.get(&all(), "/Patient/a/$everything?_count=4&_type=Patient,Observation", &[]).await;
    let next = first.link("next").unwrap();
    assert!(next.starts_with("https://gw.example/fhir/Patient/a/$everything?_count=4&_type=Patient,Observation&_page="));
    assert_eq!(gateway.get(&all(), &next, &[]).await.ids(), ["a5"]);
    let entry = gateway.store.last();
    assert!(entry.action == crate::audit::Action::Search && entry.request.starts_with("GET /fhir/Patient/a/$everything"));
    // By POST, as some clients ask operations, it is the same; and its links are for GET.
    let body = r#"{"resourceType":"Parameters","parameter":[{"name":"_count","valueInteger":4},{"name":"_type","valueCode":"Patient,Observation"}]}"#;
    let post = |token: &str, kind: &str, body: &str| {
        let kind = format!("content-type: {kind}");
        gateway.send(request("POST", token, "/Patient/a/$everything", &[&kind], body))
    };
    assert_eq!(post(&all(), "application/fhir+json", body).await, first);
    assert!(gateway.store.last().request.ends_with("$everything\n_count=4&_type=Patient,Observation"));
    assert_eq!(post(&all(), "application/fhir+json", "").await, got);
    for (kind, body, status) in [
        ("application/x-www-form-urlencoded", "_count=4", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/fhir+json", "{}", StatusCode::BAD_REQUEST),
        ("application/fhir+json", body.replace("Observation", "Observaton").as_str(), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(post(&all(), kind, body).await.status, status, "{kind} {body}");
    }
    for (token, path, status) in [
        (all(), "/Patient/never/$everything", StatusCode::NOT_FOUND),
        (all(), "/Patient/a/$everything?start=2026", StatusCode::BAD_REQUEST),
        (all(), "/Observation/a1/$everything", StatusCode::NOT_FOUND),
        (bearer("patient/*.rs", "b"), "/Patient/a/$everything", StatusCode::NOT_FOUND),
        (bearer("system/Observation.rs", ""), "/Patient/a/$everything", StatusCode::FORBIDDEN),
        (String::new(), "/Patient/a/$everything", StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(gateway.get(&token, path, &[]).await.status, status, "{path}");
    }
}
