use super::fake::ward;
use super::*;
use crate::store::StoreError;

fn all() -> String {
    bearer("system/*.rs", "")
}

#[tokio::test]
async fn a_read_gives_the_stored_text_and_its_version() {
    let gateway = Gateway::new(ward(true));
    let got = gateway.get(&all(), "/Observation/a1", &[]).await;
    assert_eq!(got.status, StatusCode::OK);
    assert!(got.body.ends_with(br#""valueQuantity":{"value":6.30}}"#));
    assert_eq!(got.header("content-type"), "application/fhir+json; charset=utf-8");
    assert_eq!(got.header("etag"), "W/\"1\"");
    assert_eq!(got.header("last-modified"), "Sun, 01 Nov 2026 10:00:00 GMT");
    assert_eq!(got.header("content-location"), "https://gw.example/fhir/Observation/a1/_history/1");
    assert_eq!(got.header("cache-control"), "no-store");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    let old = gateway.get(&all(), "/Patient/a/_history/1", &[]).await;
    assert_eq!((old.header("etag"), old.json().get("active").unwrap().to_string()), ("W/\"1\"", "true".into()));
}

#[tokio::test]
async fn a_binary_is_nothing_that_a_browser_shows() {
    let binary = fake::Fake::default().with(1, "Binary", "x", &["a"], &[r#","contentType":"text/html""#], Vec::new());
    let gateway = Gateway::new(binary);
    for path in ["/Binary/x", "/Binary/x/_history/1"] {
        let got = gateway.get(&all(), path, &[]).await;
        assert_eq!((got.status, got.header("content-type")), (StatusCode::OK, "application/fhir+json; charset=utf-8"));
        assert_eq!(got.header("content-disposition"), "attachment");
        assert_eq!(got.header("content-security-policy"), "sandbox");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(Gateway::new(ward(true)).get(&all(), "/Patient/a", &[]).await.header("content-security-policy"), "");
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let gateway = Gateway::new(ward(true));
    for (headers, status) in [
        (&["if-none-match: W/\"2\""][..], 304),
        (&["if-none-match: \"2\""], 304),
        (&["if-none-match: W/\"1\", W/\"2\""], 304),
        (&["if-none-match: W/\"1\"", "if-none-match: W/\"2\""], 304),
        (&["if-none-match: *"], 304),
        (&["if-none-match: W/\"1\""], 200),
        (&["if-none-match: 2"], 200),
        (&["if-modified-since: Mon, 02 Nov 2026 10:00:00 GMT"], 304),
        (&["if-modified-since: Mon, 02 Nov 2026 09:59:59 GMT"], 200),
        (&["if-modified-since: yesterday"], 200),
        (&["if-none-match: W/\"1\"", "if-modified-since: Tue, 01 Dec 2026 00:00:00 GMT"], 200),
    ] {
        let got = gateway.get(&all(), "/Patient/a", headers).await;
        assert_eq!(got.status.as_u16(), status, "{headers:?}");
        assert_eq!(got.body.is_empty(), status == 304);
        assert_eq!(got.header("etag"), "W/\"2\"");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let gateway = Gateway::new(ward(true));
    for path in ["/Patient/a", "/Patient", "/metadata", "/Patient/never", "/Patient/a/_history", "/Martian"] {
        let get = gateway.get(&all(), path, &[]).await;
        let mut head = gateway.send(request("HEAD", &all(), path, &[], "")).await;
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        head.headers.remove("content-length");
        assert_eq!((head.status, &head.headers, head.body.len()), (get.status, &get.headers, 0), "{path}");
    }
}

#[tokio::test]
async fn a_history_is_newest_first_and_pages() {
    let gateway = Gateway::new(ward(true));
    let first = gateway.get(&all(), "/Observation/a3/_history?_count=1", &[]).await;
    let json = first.json();
    assert_eq!((text(&json, "type"), first.total().as_str()), ("history", "2"));
    let entry = &json.get("entry").unwrap().each()[0];
    assert_eq!(
        (text(entry, "request.method"), text(entry, "request.url"), text(entry, "response.etag")),
        ("DELETE", "Observation/a3", "W/\"2\"")
    );
    assert_eq!(entry.get("resource"), None);
    let next = first.link("next").unwrap();
    let second = gateway.get(&all(), &next, &[]).await;
    let entry = second.json().get("entry").unwrap().each()[0].clone();
    assert_eq!((text(&entry, "request.method"), text(&entry, "response.status")), ("PUT", "201"));
    assert_eq!(text(&entry, "fullUrl"), "https://gw.example/fhir/Observation/a3");
    assert_eq!(second.link("next"), None);
    assert_eq!(second.link("self").unwrap(), next);
    let other = next.replace("/Observation/a3/", "/Observation/a1/");
    assert_eq!(gateway.get(&all(), &other, &[]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_history_leaves_out_no_parameter_in_silence() {
    let gateway = Gateway::new(ward(true));
    let strict = ["prefer: handling=strict"];
    for path in ["/Patient/a/_history", "/Observation/_history"] {
        let wrong = format!("{path}?_snce=2026&_count=2");
        assert_eq!(gateway.get(&all(), &wrong, &strict).await.status, StatusCode::BAD_REQUEST);
        let got = gateway.get(&all(), &wrong, &[]).await;
        assert_eq!((got.status, got.link("self").unwrap()), (StatusCode::OK, format!("https://gw.example/fhir{path}?_count=2")));
        let json = got.json();
        let told = json.get("entry").unwrap().each().last().unwrap();
        // Each resource of a history is a version: the outcome is that of the asking.
        assert_eq!((text(told, "request.method"), told.get("resource"), told.get("search")), ("GET", None, None));
        assert_eq!(text(told, "response.outcome.resourceType"), "OperationOutcome");
        assert!(told.to_bytes().windows(5).any(|part| part == b"_snce"));
        assert_eq!(gateway.get(&all(), &format!("{path}?_at=2026-11"), &strict).await.status, StatusCode::OK);
        assert_eq!(gateway.get(&all(), &format!("{path}?_at=then"), &[]).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn every_error_is_an_operation_outcome() {
    let gateway = Gateway::new(ward(true));
    let form = "content-type: application/x-www-form-urlencoded";
    let long = "a".repeat(super::super::posted::BYTES_MAX + 1);
    for (method, path, headers, body, status, code) in [
        ("GET", "/Patient/never", &[][..], "", 404, "not-found"),
        ("GET", "/Martian/1", &[], "", 404, "not-supported"),
        ("GET", "", &[], "", 404, "not-supported"),
        ("GET", "/Observation/a3", &[], "", 410, "deleted"),
        ("GET", "/Observation/a3/_history/2", &[], "", 410, "deleted"),
        ("DELETE", "/Patient/a", &[], "", 405, "not-supported"),
        ("GET", "/Patient/a", &["accept: application/fhir+xml"], "", 406, "not-supported"),
        ("GET", "/Patient/a?_format=xml", &[], "", 406, "not-supported"),
        ("GET", "/metadata?_format=xml", &[], "", 406, "not-supported"),
        ("POST", "/Patient/_search", &[], "", 415, "not-supported"),
        ("POST", "/Patient/_search", &["content-type: application/json"], "{}", 415, "not-supported"),
        ("POST", "/Patient/_search", &[form], &long, 413, "too-long"),
        ("POST", "/Patient/_search", &[form], "family=%FF", 400, "invalid"),
        ("GET", "/Patient?birthdate=x", &[], "", 400, "invalid"),
        ("GET", "/Patient?family:above=x", &[], "", 400, "not-supported"),
        ("GET", "/Patient?famly=x", &["prefer: handling=strict"], "", 400, "not-supported"),
        ("GET", "/Patient?_page=x", &[], "", 400, "invalid"),
        ("GET", "/Patient?_page=", &[], "", 400, "invalid"),
    ] {
        let got = gateway.send(request(method, &all(), path, headers, body)).await;
        assert_eq!(got.status.as_u16(), status, "{method} {path}");
        assert_eq!(got.header("content-type"), "application/fhir+json; charset=utf-8");
        let json = got.json();
        let issue = &json.get("issue").unwrap().each()[0];
        assert_eq!(
            (text(&json, "resourceType"), text(issue, "severity"), text(issue, "code")),
            ("OperationOutcome", "error", code),
            "{method} {path}"
        );
        assert_eq!(got.header("allow"), if status == 405 { "GET, HEAD" } else { "" });
    }
}

#[tokio::test]
async fn the_stores_troubles_are_told_without_its_words() {
    let gateway = Gateway::new(ward(true));
    for (failure, status, code, retry) in [
        (StoreError::Unavailable("SQLITE_IOERR at /secret".into()), 503, "transient", "5"),
        (StoreError::Busy, 503, "throttled", "5"),
        (StoreError::TooCostly, 400, "too-costly", ""),
        (StoreError::Refused("secret".into()), 500, "exception", ""),
    ] {
        *gateway.store.failure.lock().unwrap() = Some(failure);
        for path in ["/Patient/a", "/Patient"] {
            let got = gateway.get(&all(), path, &[]).await;
            assert_eq!((got.status.as_u16(), got.header("retry-after")), (status, retry));
            assert_eq!(text(&got.json().get("issue").unwrap().each()[0], "code"), code);
            assert!(!String::from_utf8_lossy(&got.body).contains("secret"));
        }
    }
}

#[tokio::test]
async fn metadata_is_true_to_what_is_served() {
    let gateway = Gateway::new(ward(true));
    let got = gateway.get("", "/metadata", &["accept: application/fhir+json"]).await;
    let json = got.json();
    assert_eq!((text(&json, "resourceType"), text(&json, "fhirVersion")), ("CapabilityStatement", "4.0.1"));
    assert_eq!(text(&json, "implementation.url"), BASE);
    let rest = &json.get("rest").unwrap().each()[0];
    let oauth = &rest.get("security").unwrap().get("extension").unwrap().each()[0];
    assert_eq!(text(oauth, "url"), "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris");
    let uris: Vec<&str> = oauth.get("extension").unwrap().each().iter().map(|uri| text(uri, "valueUri")).collect();
    assert_eq!(uris, ["https://idp.example/token", "https://idp.example/authorize"]);
    let token = all();
    for resource in rest.get("resource").unwrap().each() {
        let kind = text(resource, "type");
        let offered = |code: &str| resource.get("interaction").unwrap().each().iter().any(|interaction| text(interaction, "code") == code);
        for (code, path) in [
            ("search-type", format!("/{kind}")),
            ("read", format!("/{kind}/x")),
            ("vread", format!("/{kind}/x/_history/1")),
            ("history-instance", format!("/{kind}/x/_history")),
            ("history-type", format!("/{kind}/_history")),
        ] {
            let got = gateway.get(&token, &path, &[]).await;
            let served = got.status == StatusCode::OK || text(&got.json().get("issue").unwrap().each()[0], "code") == "not-found";
            assert_eq!(served, offered(code), "{kind} {code}");
        }
        for parameter in resource.get("searchParam").map(Json::each).unwrap_or_default() {
            let value = if text(parameter, "type") == "date" { "2026" } else { "x" };
            let path = format!("/{kind}?{}={value}", text(parameter, "name"));
            assert_eq!(gateway.get(&token, &path, &["prefer: handling=strict"]).await.status, StatusCode::OK, "{path}");
        }
        for (list, parameter) in [("searchInclude", "_include"), ("searchRevInclude", "_revinclude")] {
            for name in resource.get(list).map(Json::each).unwrap_or_default() {
                let path = format!("/{kind}?{parameter}={}", name.as_str().unwrap());
                assert_eq!(gateway.get(&token, &path, &["prefer: handling=strict"]).await.status, StatusCode::OK, "{path}");
            }
        }
        let everything = resource.get("operation").map(Json::each).unwrap_or_default().iter().any(|one| text(one, "name") == "everything");
        let got = gateway.get(&token, &format!("/{kind}/x/$everything"), &[]).await;
        assert_eq!(text(&got.json().get("issue").unwrap().each()[0], "code") == "not-found", everything, "{kind} $everything");
    }
    let summary: Vec<String> = rest
        .get("resource")
        .unwrap()
        .each()
        .iter()
        .map(|resource| {
            let words = |member: &str, name: &str| {
                let each = resource.get(member).map(Json::each).unwrap_or_default();
                each.iter().map(|one| text(one, name).to_owned()).collect::<Vec<_>>().join(" ")
            };
            {
                let (interactions, parameters) = (words("interaction", "code"), words("searchParam", "name"));
                let searched = if parameters.is_empty() { String::new() } else { format!(" by {parameters}") };
                let operations: Vec<String> = resource
                    .get("operation")
                    .map(Json::each)
                    .unwrap_or_default()
                    .iter()
                    .map(|one| format!(" ${}", text(one, "name")))
                    .collect();
                format!("{}: {interactions}{}{searched}\n", text(resource, "type"), operations.concat())
            }
        })
        .collect();
    golden("served.txt", &summary.concat());
}

#[tokio::test]
async fn smart_configuration_is_json_whatever_is_asked() {
    let gateway = Gateway::new(ward(true));
    for path in ["/.well-known/smart-configuration", "https://gw.example/fhir/.well-known/smart-configuration"] {
        let got = gateway.get("", path, &["accept: application/fhir+xml"]).await;
        assert_eq!((got.status, got.header("content-type")), (StatusCode::OK, "application/json"));
        let json = got.json();
        assert_eq!(text(&json, "token_endpoint"), "https://idp.example/token");
        assert_eq!(json.get("code_challenge_methods_supported").unwrap().to_string(), "[\"S256\"]");
    }
}

#[tokio::test]
async fn a_type_has_a_history() {
    let gateway = Gateway::new(ward(true));
    let token = bearer("system/*.rs", "");
    let mut got = gateway.get(&token, "/Observation/_history?_count=3", &[]).await;
    assert_eq!((text(&got.json(), "type"), got.json().get("total")), ("history", None), "it is not counted");
    let mut all = Vec::new();
    loop {
        all.extend(
            got.json()
                .get("entry")
                .unwrap()
                .each()
                .iter()
                .map(|entry| (text(entry, "fullUrl").rsplit_once('/').unwrap().1.to_owned(), text(entry, "request.method").to_owned())),
        );
        let Some(next) = got.link("next") else { break };
        got = gateway.get(&token, &next, &[]).await;
    }
    let entry = |id: &str, method: &str| (id.to_owned(), method.to_owned());
    assert_eq!(all.len(), 9);
    assert!(all.contains(&entry("a3", "DELETE")) && all.contains(&entry("a3", "PUT")));
    let since = gateway.get(&token, "/Observation/_history?_since=2026-11-02T00:00:00Z", &[]).await;
    assert_eq!(since.json().get("entry").unwrap().each().len(), 2);
    assert_eq!(gateway.store.last().action, crate::audit::Action::History);
    assert_eq!(gateway.get(&bearer("system/Patient.rs", ""), "/Observation/_history", &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(gateway.get(&token, "/AuditEvent/_history", &[]).await.status, StatusCode::NOT_FOUND);
}
