//! HTTP/1.1 over TLS: `/ingest/FEED` for senders, all else for [`crate::api`], which answers (and writes down) any path.
//! Also the plain listener of [`crate::observe`].

use super::entrance::{Guest, Limits, until_drained};
use super::tls::{Refused, Tls};
use crate::api::{Api, ConnectionInfo};
use crate::intake::{Ingest, Intake, ingest};
use crate::observe::{Metrics, Observer};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// Of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;

/// The HTTPS listener.
pub struct Https {
    tls: Arc<Tls>,
    api: Api,
    ingest: Ingest,
    intake: Intake,
    limits: Limits,
    metrics: Metrics,
}

impl Https {
    pub const NAME: &str = "https";

    pub fn new(tls: Arc<Tls>, api: Api, ingest: Ingest, intake: Intake, limits: Limits, metrics: Metrics) -> Self {
        Self { tls, api, ingest, intake, limits, metrics }
    }

    /// One connection, until either end closes it or the doors are drained.
    pub async fn serve(self: Arc<Self>, guest: Guest, draining: watch::Receiver<bool>) {
        let Guest { stream, address, admitted } = guest;
        match self.tls.accept(stream, address).await {
            Ok((stream, info)) => {
                let (https, info) = (self.clone(), Arc::new(info));
                let answer = move |request| {
                    let (https, info) = (https.clone(), info.clone());
                    async move { https.answer(request, info).await }
                };
                speak(stream, answer, &self.limits, draining).await;
            }
            Err(Refused::Silent) => {}
            Err(Refused::Timeout) => self.metrics.refused(Self::NAME, "timeout"),
            Err(Refused::Handshake(word)) => {
                self.metrics.refused(Self::NAME, "handshake");
                self.intake.unauthenticated(Self::NAME, address, word).await;
            }
        }
        drop(admitted);
    }

    async fn answer(&self, request: Request<Incoming>, connection: Arc<ConnectionInfo>) -> Response<Full<Bytes>> {
        let began = Instant::now();
        let path = request.uri().path();
        let is_ingest = path.starts_with(ingest::PREFIX);
        let interaction = if is_ingest { "ingest" } else { interaction(request.method(), path) };
        let response = if is_ingest { self.ingest.answer(request, &connection).await } else { self.api.answer(request, connection).await };
        self.metrics.request(interaction, response.status().as_u16(), began.elapsed());
        response
    }
}

/// The plain listener for operators.
pub async fn observe(observer: Observer, guest: Guest, limits: Limits, draining: watch::Receiver<bool>) {
    let Guest { stream, admitted, .. } = guest;
    let answer = move |request| {
        let observer = observer.clone();
        async move { observer.answer(request).await }
    };
    speak(stream, answer, &limits, draining).await;
    drop(admitted);
}

/// HTTP/1.1 on one stream. A drain ends it after the answer in hand.
async fn speak<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F, limits: &Limits, mut draining: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_time)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // What ends it (a client that goes, that is slow, that speaks no HTTP) is no event of ours.
        _ = connection.as_mut() => return,
        () = until_drained(&mut draining) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// For the metrics: which interaction a path has the shape of. Closed words; says nothing of what is served.
fn interaction(method: &Method, path: &str) -> &'static str {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    if segments.contains(&".well-known") {
        return "smart-configuration";
    }
    match (method.as_str(), segments.last(), segments.iter().rev().nth(1)) {
        ("GET" | "HEAD", Some(&"metadata"), _) => "metadata",
        ("POST", Some(&"_search"), _) => "search",
        ("GET" | "HEAD", Some(&"_history"), _) => "history",
        ("GET" | "HEAD", _, Some(&"_history")) => "vread",
        ("GET" | "HEAD", Some(last), _) if is_type(last) => "search",
        ("GET" | "HEAD", _, Some(last)) if is_type(last) => "read",
        _ => "other",
    }
}

fn is_type(segment: &str) -> bool {
    segment.starts_with(|first: char| first.is_ascii_uppercase()) && segment.bytes().all(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_counted_under_closed_words() {
        let check = |method: &str, path: &str, expected| {
            assert_eq!(interaction(&Method::from_bytes(method.as_bytes()).unwrap(), path), expected, "{method} {path}");
        };
        check("GET", "/fhir/metadata", "metadata");
        check("GET", "/fhir/.well-known/smart-configuration", "smart-configuration");
        check("GET", "/fhir/Patient", "search");
        check("POST", "/fhir/Patient/_search", "search");
        check("GET", "/fhir/Patient/1", "read");
        check("GET", "/fhir/Patient/1/_history", "history");
        check("GET", "/fhir/Patient/1/_history/2", "vread");
        check("DELETE", "/fhir/Patient/1", "other");
        check("GET", "/", "other");
    }
}
