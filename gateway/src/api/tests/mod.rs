//! The corridor as a client sees it, over a store that holds a few made-up resources.

mod access;
mod audit;
mod fake;
mod reading;
mod searching;

use super::{Api, ConnectionInfo, Settings};
use crate::access::testing;
use crate::clock::Clock;
use contract::Json;
use fake::Fake;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, Response, StatusCode};
use std::pin::Pin;
use std::sync::Arc;

const BASE: &str = "https://gw.example/fhir";

/// One gateway with its clock and store in hand.
struct Gateway {
    api: Api,
    store: Arc<Fake>,
    clock: Clock,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Json {
        Json::parse(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Ids of the entries that match.
    fn ids(&self) -> Vec<String> {
        self.entries("match").iter().map(|entry| text(entry, "resource.id").to_owned()).collect()
    }

    fn entries(&self, mode: &str) -> Vec<Json> {
        let json = self.json();
        let entries = json.get("entry").map(Json::each).unwrap_or_default().to_vec();
        entries.into_iter().filter(|entry| text(entry, "search.mode") == mode).collect()
    }

    fn link(&self, relation: &str) -> Option<String> {
        let json = self.json();
        let links = json.get("link")?.each().to_vec();
        links.iter().find(|link| text(link, "relation") == relation).map(|link| text(link, "url").to_owned())
    }

    fn total(&self) -> String {
        self.json().get("total").unwrap().to_string()
    }
}

/// The text at a path of member names; empty where there is none.
fn text<'a>(json: &'a Json, path: &str) -> &'a str {
    path.split('.').try_fold(json, |json, name| json.get(name)).and_then(Json::as_str).unwrap_or_default()
}

impl Gateway {
    fn new(store: Fake) -> Self {
        let clock = Clock::held(jiff::Timestamp::from_second(testing::NOW).unwrap());
        let store = Arc::new(store);
        let tables = schemas::Tables::embedded("r4");
        let settings = Settings {
            base_url: format!("{BASE}/"),
            token_endpoint: Some("https://idp.example/token".into()),
            authorization_endpoint: Some("https://idp.example/authorize".into()),
            paging_key: vec![1; 32],
            timezone: jiff::tz::TimeZone::UTC,
            parameters: crate::search::parse::parameters(tables.get("search").unwrap()).unwrap(),
            clock: clock.clone(),
        };
        let api = Api::new(store.clone(), testing::verifier(&["ES256"]), settings).unwrap();
        Self { api, store, clock }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        let connection = ConnectionInfo { address: "192.0.2.7:40000".into(), ..ConnectionInfo::default() };
        let answer: Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send + '_>> =
            Box::pin(self.api.answer(request, Arc::new(connection)));
        let (parts, body) = answer.await.into_parts();
        Got { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    /// GET of a path below the base, or of a whole URL, with headers `name: value`.
    async fn get(&self, token: &str, path: &str, headers: &[&str]) -> Got {
        self.send(request("GET", token, path, headers, "")).await
    }
}

/// An empty token is none.
fn request(method: &str, token: &str, path: &str, headers: &[&str], body: &str) -> Request<Full<Bytes>> {
    let path = path.strip_prefix(BASE).unwrap_or(path);
    let uri = if path.starts_with("/.well-known") { path.to_owned() } else { format!("/fhir{path}") };
    let mut builder = Request::builder().method(method).uri(uri);
    if !token.is_empty() {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    builder.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

/// A token with these scopes, for the patient named (empty: none).
fn bearer(scope: &str, patient: &str) -> String {
    let scope = format!("scope=\"{scope}\"");
    let patient = format!("patient=\"{patient}\"");
    let changes: &[&str] = if patient == "patient=\"\"" { &[&scope] } else { &[&scope, &patient] };
    testing::token("ec", testing::HEADER, &testing::payload(changes))
}

/// Compares with `src/api/golden/NAME`; with `UPDATE_GOLDEN=1` in the environment, writes it.
fn golden(name: &str, found: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, found).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(expected == found, "{name} differs from what is so; read it, and if it is right run again with UPDATE_GOLDEN=1:\n{found}");
}
