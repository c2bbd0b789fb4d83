//! HTTP/1.1 and HTTP/2 over TLS: `/ingest/FEED` for senders, `/ops` for operators, all else for [`crate::api`], which answers (and writes down) any path.
//! Also the plain listener of [`crate::observe`].

use super::entrance::{Guest, Limits};
use super::handshake::Threshold;
use super::http2;
use super::proxied::Proxies;
use super::stay::{Leave, Stay};
use super::tls::{H2, Tls};
use crate::api::Api;
use crate::bodies::Space;
use crate::connection::ConnectionInfo;
use crate::intake::{Ingest, Intake, ingest};
use crate::observe::{Metrics, Observer};
use crate::ops::{self, Ops};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

/// Of a request's head.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;

/// The HTTPS listener.
pub struct Https {
    tls: Arc<Tls>,
    threshold: Threshold,
    api: Api,
    ingest: Ingest,
    ops: Ops,
    intake: Intake,
    limits: Limits,
    metrics: Metrics,
    space: Space,
}

impl Https {
    pub const NAME: &str = "https";

    pub fn new(
        tls: Arc<Tls>,
        proxies: Proxies,
        api: Api,
        (ingest, ops): (Ingest, Ops),
        intake: Intake,
        limits: Limits,
        metrics: Metrics,
    ) -> Self {
        let threshold = Threshold { listener: Self::NAME.to_owned(), proxies };
        Self { tls, threshold, api, ingest, ops, intake, limits, metrics, space: Space::new(limits.frame_bytes) }
    }

    /// One connection, until either end closes it or the doors are drained.
    pub async fn serve(self: Arc<Self>, guest: Guest, draining: watch::Receiver<bool>) {
        let Guest { stream, address, unproven, admitted } = guest;
        let proven = self.threshold.shake(&self.tls, stream, address, unproven, &self.intake, &self.metrics).await;
        if let Some((stream, info, trust)) = proven {
            self.intake.proven(&info.names, info.ends);
            // By ALPN and not by the first bytes: a client that sends none would be waited for for ever.
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
            let (https, info, space) = (self.clone(), Arc::new(info), self.space.of_connection());
            let answer = move |request| {
                let (https, info, space) = (https.clone(), info.clone(), space.clone());
                async move { https.answer(request, info, &space).await }
            };
            let stay = Stay::new(draining, self.limits.connection_age, address.port()).trusting(trust);
            let refused = if is_http2 {
                http2::speak(stream, answer, &self.limits, stay).await
            } else {
                speak(stream, answer, &self.limits, stay).await
            };
            if let Some(word) = refused {
                self.metrics.refused(Self::NAME, word);
                self.intake.unauthenticated(Self::NAME, address, word).await;
            }
        }
        drop(admitted);
    }

    async fn answer(&self, request: Request<Incoming>, connection: Arc<ConnectionInfo>, space: &Space) -> Response<Full<Bytes>> {
        let began = Instant::now();
        // Until the answer is made: a message is held as long.
        let mut held = None;
        let request = request.map(|body| {
            let (body, of_body) = space.bound(body);
            held = Some(of_body);
            body
        });
        let path = request.uri().path();
        let (interaction, response) = if path.starts_with(ingest::PREFIX) {
            ("ingest", self.ingest.answer(request, &connection).await)
        } else if path.starts_with(ops::PREFIX) {
            ("ops", self.ops.answer(request, &connection).await)
        } else {
            (interaction(request.method(), path), self.api.answer(request, connection).await)
        };
        drop(held);
        self.metrics.request(interaction, response.status().as_u16(), began.elapsed());
        response
    }
}

/// The plain listener for operators.
pub async fn observe(observer: Observer, guest: Guest, limits: Limits, draining: watch::Receiver<bool>) {
    let Guest { stream, admitted, unproven, .. } = guest;
    drop(unproven);
    let answer = move |request| {
        let observer = observer.clone();
        async move { observer.answer(request).await }
    };
    // The operator's own tools: what they get wrong they are told.
    let _ = speak(stream, answer, &limits, Stay::new(draining, None, 0)).await;
    drop(admitted);
}

/// HTTP/1.1 on one stream, until it is over; then it ends after the answer in hand. With a word of the audit, where the other
/// end was refused as such.
async fn speak<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F, limits: &Limits, mut stay: Stay) -> Option<&'static str>
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
        .serve_connection(TokioIo::new(Impatient::new(stream, limits.write_time)), service);
    let mut connection = pin!(connection);
    // What hyper refuses by itself (400, 414, 431) is a refusal like any other.
    let refused = |ended: hyper::Result<()>| ended.is_err_and(|error| error.is_parse()).then_some("http");
    let leave = tokio::select! {
        ended = connection.as_mut() => return refused(ended),
        leave = stay.over() => leave,
    };
    connection.as_mut().graceful_shutdown();
    let refused = refused(connection.await);
    if let Leave::Distrusted(word) = leave { Some(word) } else { refused }
}

/// A stream whose other end must take what is written: hyper itself would wait for ever.
pub(super) struct Impatient<S> {
    stream: S,
    write_time: Duration,
    /// Since the other end last took something.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Since it last had taken all: who takes a byte at a time is let go too.
    behind: Option<Pin<Box<Sleep>>>,
}

/// How many times the time for one step all that is written may take.
pub(super) const STEPS: u32 = 10;

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, write_time: Duration) -> Self {
        Self { stream, write_time, waiting: None, behind: None }
    }

    fn bounded<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.waiting = None;
            return poll;
        }
        let write_time = self.write_time;
        let over = |timer: &mut Option<Pin<Box<Sleep>>>, time: Duration, context: &mut Context<'_>| {
            timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(time))).as_mut().poll(context).is_ready()
        };
        let is_over = over(&mut self.waiting, write_time, context) | over(&mut self.behind, write_time * STEPS, context);
        if is_over { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, space)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        if poll.is_ready() {
            self.behind = None;
        }
        self.bounded(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, poll)
    }
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
pub(super) mod tests {
    use super::*;
    use crate::intake::double::Memory;
    use std::sync::atomic::Ordering;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    pub const LIMITS: Limits = Limits {
        connections: 2,
        frame_bytes: 1000,
        frame_time: Duration::from_secs(20),
        handshake_time: Duration::from_secs(20),
        idle_time: Duration::from_millis(50),
        write_time: Duration::from_millis(50),
        connection_age: None,
    };

    /// A line to the operators' answers, which say all that any listener says about HTTP itself.
    fn line(store: &Memory, buffer: usize) -> (DuplexStream, Observer, watch::Sender<bool>, tokio::task::JoinHandle<Option<&'static str>>) {
        let observer = Observer::new(Metrics::default(), Arc::new(store.clone()));
        let (near, far) = tokio::io::duplex(buffer);
        let (draining, drained) = watch::channel(false);
        let answering = observer.clone();
        let answer = move |request| {
            let observer = answering.clone();
            async move { observer.answer(request).await }
        };
        let task = tokio::spawn(async move { speak(near, answer, &LIMITS, Stay::new(drained, None, 0)).await });
        (far, observer, draining, task)
    }

    async fn read_all(mut line: DuplexStream) -> String {
        let mut heard = Vec::new();
        line.read_to_end(&mut heard).await.unwrap();
        String::from_utf8(heard).unwrap()
    }

    const GET: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n";

    #[tokio::test]
    async fn silence_slow_heads_and_slow_readers_are_let_go() {
        let store = Memory::default();
        // Nothing is said; half a head; one request and then nothing.
        for said in [b"".as_slice(), b"GET /livez HTTP/1.1\r\nho", GET] {
            let (mut far, _, _draining, task) = line(&store, 1 << 16);
            far.write_all(said).await.unwrap();
            let ended = tokio::time::timeout(Duration::from_secs(5), task).await.expect("let go").unwrap();
            assert_eq!(ended, None, "slow, and not wrong");
            assert_eq!(read_all(far).await.starts_with("HTTP/1.1 200"), said == GET);
        }
        // An answer that nobody takes.
        let (mut far, _, _draining, task) = line(&store, 64);
        far.write_all(GET).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(5), task).await.expect("let go").unwrap();
        assert_eq!(ended, None);
        // What is no HTTP, or too much of it.
        for (said, status) in [
            (b"\x0bMSH|^~\\&|PAS\x1c\r".to_vec(), "400"),
            (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(4 * HEAD_BYTES_MAX)).into_bytes(), "431"),
        ] {
            let (mut far, _, _draining, task) = line(&store, 1 << 20);
            far.write_all(&said).await.unwrap();
            assert_eq!(task.await.unwrap(), Some("http"));
            let heard = read_all(far).await;
            assert!(heard.starts_with(&format!("HTTP/1.1 {status}")), "{heard}");
        }
    }

    #[tokio::test]
    async fn not_ready_where_nothing_can_be_committed_or_the_doors_close() {
        let store = Memory::default();
        store.0.broken.store(true, Ordering::SeqCst);
        let (mut far, observer, _draining, _) = line(&store, 1 << 16);
        far.write_all(GET).await.unwrap();
        assert!(read_all(far).await.starts_with("HTTP/1.1 503"));
        store.0.broken.store(false, Ordering::SeqCst);
        observer.drain();
        let request = || Request::get("/readyz").body(()).unwrap();
        assert_eq!(observer.answer(request()).await.status(), 503);
    }

    #[tokio::test]
    async fn a_drain_ends_an_idle_line() {
        let (far, _, draining, task) = line(&Memory::default(), 1 << 16);
        draining.send(true).unwrap();
        assert_eq!(task.await.unwrap(), None);
        assert_eq!(read_all(far).await, "");
    }

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
