//! HTTP/2 on one connection. Many requests share it, so what a request may hold is bounded here, and what hyper leaves
//! open is: a line on which nothing is asked, and an answer whose stream gets no room from its client.

use super::entrance::Limits;
use super::https::{HEAD_BYTES_MAX, Impatient, STEPS};
use super::stay::{Leave, Stay};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, interval};

/// Requests of one connection at once.
const STREAMS_MAX: u32 = 32;
/// Streams that were reset before we took them up, and that we reset for an error of the client: more is an attack
/// (CVE-2023-44487, CVE-2025-8671), and the connection ends.
const RESETS_MAX: usize = 20;
/// Of an answer that waits for room at its client.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// Frames of a request's body that were not asked for yet.
const WINDOW_BYTES: u32 = 256 * 1024;

/// Speaks HTTP/2 until it is over; see [`super::https`].
pub async fn speak<S, F>(
    stream: S,
    answer: impl Fn(Request<Incoming>) -> F + Send + 'static,
    limits: &Limits,
    mut stay: Stay,
) -> Option<&'static str>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let requests = Requests::default();
    let service = {
        let requests = requests.clone();
        service_fn(move |request| {
            let (request_open, answer) = (requests.open(), answer(request));
            async move {
                let answer = answer.await;
                request_open.answered();
                Ok::<_, Infallible>(answer.map(|body| Held { body, _open: request_open }))
            }
        })
    };
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle_time)
        .keep_alive_timeout(limits.write_time)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_send_buf_size(SEND_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .serve_connection(TokioIo::new(Impatient::new(stream, limits.write_time)), service);
    let mut connection = pin!(connection);
    let mut ticks = interval(limits.idle_time / 4);
    let (mut open, mut distrusted) = (true, None);
    loop {
        tokio::select! {
            ended = connection.as_mut() => return distrusted.or(ended.is_err_and(|error| is_theirs(&error)).then_some("http")),
            leave = stay.over(), if open => {
                connection.as_mut().graceful_shutdown();
                open = false;
                if let Leave::Distrusted(word) = leave {
                    distrusted = Some(word);
                }
            }
            _ = ticks.tick() => match requests.wasted(limits) {
                // Beyond that: a client that does not even take our farewell, or that never said that it speaks HTTP/2.
                Some(for_nothing) if for_nothing > limits.write_time => return distrusted,
                Some(_) => connection.as_mut().graceful_shutdown(),
                None => {}
            },
        }
    }
}

/// Whether the client broke the protocol, or was about to flood us; not where its line broke.
fn is_theirs(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_library() && !cause.is_io())
}

/// The requests of a connection that are open. Cheap to clone.
#[derive(Clone)]
struct Requests(Arc<Mutex<State>>);

struct State {
    next: u64,
    /// Since when each is answered, if it is.
    open: HashMap<u64, Option<Instant>>,
    /// Since when there is none.
    idle: Instant,
}

impl Default for Requests {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { next: 0, open: HashMap::new(), idle: Instant::now() })))
    }
}

impl Requests {
    fn open(&self) -> Open {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.open.insert(number, None);
        Open { requests: self.clone(), number }
    }

    /// How long the connection is held for nothing beyond its time: nobody asks, or an answer is not taken.
    fn wasted(&self, limits: &Limits) -> Option<Duration> {
        let state = self.lock();
        if state.open.is_empty() {
            return state.idle.elapsed().checked_sub(limits.idle_time);
        }
        let longest = state.open.values().flatten().min()?.elapsed();
        longest.checked_sub(limits.write_time * STEPS)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, until the last byte of its answer is on the way, or it is given up.
struct Open {
    requests: Requests,
    number: u64,
}

impl Open {
    fn answered(&self) {
        self.requests.lock().open.insert(self.number, Some(Instant::now()));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.requests.lock();
        state.open.remove(&self.number);
        state.idle = Instant::now();
    }
}

/// An answer's body, with its request.
struct Held {
    body: Full<Bytes>,
    _open: Open,
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::{self, Space, Unread};
    use crate::listen::https::tests::LIMITS;
    use http_body_util::{BodyExt, Empty};
    use hyper::client::conn::http2::{self as client, SendRequest};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::watch;
    use tokio::task::JoinHandle;

    type Task = JoinHandle<Option<&'static str>>;

    /// A line to answers that are their request's path, so many times over.
    fn line(limits: Limits, repeat: usize) -> (DuplexStream, watch::Sender<bool>, Task) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (draining, drained) = watch::channel(false);
        let answer =
            move |request: Request<Incoming>| async move { Response::new(Full::new(Bytes::from(request.uri().path().repeat(repeat)))) };
        let stay = Stay::new(drained, limits.connection_age, 0);
        (far, draining, tokio::spawn(async move { speak(near, answer, &limits, stay).await }))
    }

    async fn client(line: DuplexStream) -> (SendRequest<Empty<Bytes>>, JoinHandle<hyper::Result<()>>) {
        let (sender, connection) = client::handshake(TokioExecutor::new(), TokioIo::new(line)).await.unwrap();
        (sender, tokio::spawn(connection))
    }

    fn get(path: &str) -> Request<Empty<Bytes>> {
        Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap()
    }

    const LONG: Limits = Limits { idle_time: Duration::from_secs(60), write_time: Duration::from_secs(60), ..LIMITS };

    #[tokio::test]
    async fn many_requests_share_a_line_which_a_drain_ends() {
        let (line, draining, task) = line(LONG, 1000);
        let (sender, _connection) = client(line).await;
        let answers = (0..100).map(|number| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let answer = sender.send_request(get(&format!("/{number}"))).await.unwrap();
                answer.into_body().collect().await.unwrap().to_bytes()
            })
        });
        for (number, answer) in answers.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(answer.await.unwrap(), format!("/{number}").repeat(1000));
        }
        draining.send(true).unwrap();
        assert_eq!(task.await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_bodies_of_a_line_have_their_space_together() {
        let space = Space::of(1 << 20, 10 * 1100);
        let (go, gone) = watch::channel(false);
        let answer = move |request: Request<Incoming>| {
            let (body, held) = space.bound(request.into_body());
            let mut gone = gone.clone();
            async move {
                let mut response = Response::new(Full::default());
                match bodies::read(body, 1 << 20, LONG.frame_time).await {
                    Ok(_) => drop(gone.wait_for(|go| *go).await),
                    Err(unread) => {
                        assert_eq!(unread, Unread::Crowded);
                        *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
                    }
                }
                drop(held);
                response
            }
        };
        let (near, far) = tokio::io::duplex(1 << 16);
        let (_draining, drained) = watch::channel(false);
        let stay = Stay::new(drained, None, 0);
        let _task = tokio::spawn(async move { speak(near, answer, &LONG, stay).await });
        let (mut sender, connection) = client::handshake(TokioExecutor::new(), TokioIo::new(far)).await.unwrap();
        let _connection = tokio::spawn(connection);
        let body = || Full::new(Bytes::from(vec![b'x'; 1000]));
        let post = || Request::post("https://localhost/").body(body()).unwrap();
        // As many as may be under way at once; those that have space are held until all others are refused.
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..STREAMS_MAX {
            sender.ready().await.unwrap();
            answers.spawn(sender.send_request(post()));
        }
        for _ in 10..STREAMS_MAX {
            assert_eq!(answers.join_next().await.unwrap().unwrap().unwrap().status(), 503);
        }
        go.send(true).unwrap();
        while let Some(answer) = answers.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), 200);
        }
        assert_eq!(sender.send_request(post()).await.unwrap().status(), 200, "the space was given back");
    }

    #[tokio::test]
    async fn who_asks_nothing_is_let_go() {
        // Not even the preface; the preface alone; one request and no more.
        let (far, _draining, task) = line(LIMITS, 1);
        assert_eq!(task.await.unwrap(), None);
        drop(far);
        let (far, _draining, task) = line(LIMITS, 1);
        let (_sender, connection) = client(far).await;
        assert_eq!(task.await.unwrap(), None);
        let _ = connection.await;
        let (far, _draining, task) = line(LIMITS, 1);
        let (mut sender, _connection) = client(far).await;
        assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
        assert_eq!(task.await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_answer_that_gets_no_room_is_given_up() {
        let (far, _draining, task) = line(LIMITS, 1 << 20);
        // The client takes the head and reads no more; its connection goes on answering pings.
        let (mut sender, _connection) = client(far).await;
        let answer = sender.send_request(get("/")).await.unwrap();
        assert_eq!(task.await.unwrap(), None);
        drop(answer);
    }

    #[tokio::test]
    async fn what_is_not_http2_and_floods_of_resets_are_refused() {
        let (mut far, _draining, task) = line(LONG, 1);
        far.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n\r\n\r\n").await.unwrap();
        assert_eq!(task.await.unwrap(), Some("http"));
        // CVE-2023-44487: each stream begun and reset at once. HEADERS of `GET https /` by HPACK's static table.
        let (mut far, _draining, task) = line(LONG, 1);
        far.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
        let mut flood = Vec::new();
        for stream in (1..2000_u32).step_by(2) {
            flood.extend([0, 0, 3, 1, 5]);
            flood.extend(stream.to_be_bytes());
            flood.extend([0x82, 0x87, 0x84]);
            flood.extend([0, 0, 4, 3, 0]);
            flood.extend(stream.to_be_bytes());
            flood.extend([0, 0, 0, 8]);
        }
        // It may be cut off before all of it is taken.
        let _ = far.write_all(&flood).await;
        let mut heard = Vec::new();
        let _ = far.read_to_end(&mut heard).await;
        assert_eq!(task.await.unwrap(), Some("http"));
    }
}
