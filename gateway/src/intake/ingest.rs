//! `POST /ingest/FEED`: one message over HTTPS. Who sends is known before the body is read: by client certificate, or by a
//! token with the scope `ingest` and the feed's peer as client.

use super::outcome::operation_outcome;
use super::{Answer, Door, Feed, Intake, Peer};
use crate::access::Verifier;
use crate::audit::{Action, Agent, Entry};
use crate::bodies::{self, Unread};
use crate::connection::ConnectionInfo;
use bytes::Bytes;
use contract::Frame;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Paths below it are this door's.
pub const PREFIX: &str = "/ingest/";

const ER7: [&str; 2] = ["application/hl7-v2", "x-application/hl7-v2+er7"];
const XML: [&str; 2] = ["application/xml", "text/xml"];
const FHIR: [&str; 2] = ["application/fhir+json", "application/json"];
/// How long a sender waits before it sends again, in seconds.
const RETRY_SECONDS: u32 = 5;
/// Of a request's path, in its entry.
const PATH_BYTES_MAX: usize = 200;

/// The HTTPS door of the sending corridor. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    intake: Intake,
    verifier: Verifier,
    bytes_max: usize,
    body_time_max: Duration,
}

/// Why a request is no message. Closed; says nothing of what exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NoCredential,
    BadToken(&'static str),
    /// The feed is not this peer's, or there is none of the name: the same answer.
    Forbidden,
    Method,
    ContentType,
    ContentEncoding,
    TooLarge,
    Timeout,
    /// Too many bodies are in hand: of this connection, or of all.
    Crowded,
    Broken,
}

impl Ingest {
    pub fn new(intake: Intake, verifier: Verifier, bytes_max: usize, body_time_max: Duration) -> Self {
        Self { intake, verifier, bytes_max, body_time_max }
    }

    /// Answers any request under [`PREFIX`].
    pub async fn answer<B>(&self, request: Request<B>, connection: &ConnectionInfo) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let mut peer = None;
        match self.receive(&parts, body, connection, &mut peer).await {
            Ok(received) => respond(&received, &parts.headers),
            Err(refusal) => self.refuse(refusal, &parts, connection, peer).await,
        }
    }

    /// Each step stands before the next because it may not learn what the next one knows.
    async fn receive<B>(
        &self,
        parts: &Parts,
        body: B,
        connection: &ConnectionInfo,
        known: &mut Option<Arc<Peer>>,
    ) -> Result<Received, Refusal>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let peer = Arc::new(self.peer(&parts.headers, connection)?);
        *known = Some(peer.clone());
        let door = Door::Https(parts.uri.path().strip_prefix(PREFIX).unwrap_or_default().into());
        let feed = self.intake.feeds().candidates(&door, &peer).first().copied().cloned().ok_or(Refusal::Forbidden)?;
        if parts.method != Method::POST {
            return Err(Refusal::Method);
        }
        if !content_types(&feed).contains(&content_type(&parts.headers).as_str()) {
            return Err(Refusal::ContentType);
        }
        // What is compressed is bounded twice or not at all: we take it as it is, or not.
        if parts.headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
            return Err(Refusal::ContentEncoding);
        }
        let declared =
            parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse::<u64>().ok());
        if declared.is_some_and(|declared| declared > self.bytes_max as u64) {
            return Err(Refusal::TooLarge);
        }
        let body = bodies::read(body, self.bytes_max, self.body_time_max).await.map_err(|unread| match unread {
            Unread::Late => Refusal::Timeout,
            Unread::TooLarge => Refusal::TooLarge,
            Unread::Crowded => Refusal::Crowded,
            Unread::Broken => Refusal::Broken,
        })?;
        let frame = Frame::new(body);
        let answer = self.intake.receive(&door, &peer, frame.clone()).await;
        let stored_as = if answer.outcome.is_stored() { self.intake.stored_as(&feed, frame).await } else { Vec::new() };
        Ok(Received { feed, answer, stored_as })
    }

    /// Who sends. A token, where one is shown, decides alone.
    fn peer(&self, headers: &HeaderMap, connection: &ConnectionInfo) -> Result<Peer, Refusal> {
        let mut stated = headers.get_all(AUTHORIZATION).iter();
        let names = match (stated.next(), stated.next()) {
            (Some(_), Some(_)) => return Err(Refusal::BadToken("token-malformed")),
            (Some(header), None) => {
                let (scheme, token) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refusal::NoCredential)?;
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return Err(Refusal::NoCredential);
                }
                let sender = self.verifier.sender(token.trim(), connection.thumbprint.as_ref());
                let sender = sender.map_err(|error| Refusal::BadToken(error.word()))?;
                return Ok(Peer { address: connection.address.clone(), names: vec![sender.client.clone()], token: Some(sender) });
            }
            (None, _) => connection.names.clone(),
        };
        if names.is_empty() { Err(Refusal::NoCredential) } else { Ok(Peer { address: connection.address.clone(), names, token: None }) }
    }

    /// No refusal without its entry, either.
    async fn refuse(&self, refusal: Refusal, parts: &Parts, connection: &ConnectionInfo, peer: Option<Arc<Peer>>) -> Response<Full<Bytes>> {
        let room = &self.intake.room;
        let path = parts.uri.path();
        let agent = match &peer {
            Some(peer) => peer.agent(peer.names.first().map_or("unknown".into(), |name| format!("peer:{name}"))),
            None => Agent { who: "unknown".into(), address: connection.address.clone(), ..Agent::default() },
        };
        let entry = Entry {
            outcome: if refusal == Refusal::Crowded { 8 } else { 4 },
            reason: refusal.word().to_owned(),
            request: format!("{} {}", parts.method, &path[..path.floor_char_boundary(PATH_BYTES_MAX)]),
            ..Entry::new(room.clock.now(), Action::Refused, agent)
        };
        let recorded = match peer {
            Some(_) => room.store.record(entry).await,
            None => room.refusals.record(connection.source(), refusal.word(), entry).await,
        };
        let (status, code, text) = match recorded {
            Ok(()) => refusal.words(),
            Err(error) => {
                room.metrics.audit_failure();
                tracing::error!(%error, "a refusal was withheld: its audit entry could not be made durable");
                (StatusCode::SERVICE_UNAVAILABLE, "transient", "the gateway cannot answer now; try again")
            }
        };
        let issue = serde_json::json!({"severity": "error", "code": code, "diagnostics": text});
        let mut response = with(status, "application/fhir+json", operation_outcome([issue]));
        match status {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ingest\""));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
            }
            _ => {}
        }
        response
    }
}

impl Refusal {
    /// For the audit.
    fn word(self) -> &'static str {
        match self {
            Refusal::NoCredential => "no-credential",
            Refusal::BadToken(word) => word,
            Refusal::Forbidden => "forbidden",
            Refusal::Method => "method",
            Refusal::ContentType => "media-type",
            Refusal::ContentEncoding => "content-encoding",
            Refusal::TooLarge => "too-long",
            Refusal::Timeout => "timeout",
            Refusal::Crowded => "throttled",
            Refusal::Broken => "broken-off",
        }
    }

    /// Status, FHIR issue-type and text.
    fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Refusal::NoCredential => (StatusCode::UNAUTHORIZED, "login", "a client certificate or a bearer token is needed"),
            Refusal::BadToken(_) => (StatusCode::UNAUTHORIZED, "login", "the bearer token is not valid here"),
            Refusal::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "no feed of this name is configured for this sender"),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "not-supported", "messages are sent by POST"),
            Refusal::ContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not-supported",
                "the feed's dialect has another content type: HL7 v2, XML or FHIR JSON",
            ),
            Refusal::ContentEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", "the body is taken uncompressed only"),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-long", "the message is larger than the limit of this gateway"),
            Refusal::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "the message did not arrive in time"),
            Refusal::Crowded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "throttled",
                "too many messages are under way on this connection, or in all: send this one again when some are answered",
            ),
            Refusal::Broken => (StatusCode::BAD_REQUEST, "incomplete", "the body broke off"),
        }
    }
}

/// What came of a message at this door.
struct Received {
    feed: Arc<Feed>,
    answer: Answer,
    /// `Type/id` of what it is about, where the dialect tells that.
    stored_as: Vec<String>,
}

/// The dialect's own reply (an acknowledgement, a response Bundle), an OperationOutcome where it has none.
fn respond(received: &Received, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let Received { feed, answer, stored_as } = received;
    let mut response = match &answer.reply {
        Some(reply) if content_types(feed) == ER7 => {
            let mine = content_type(headers);
            let known = ER7.into_iter().find(|known| *known == mine).unwrap_or(ER7[0]);
            with(answer.status(), known, reply.clone())
        }
        // The whole Bundle was taken; its entries have a status each.
        Some(reply) if content_types(feed) == FHIR => with(StatusCode::OK, FHIR[0], reply.clone()),
        _ => with(answer.status(), FHIR[0], answer.operation_outcome(stored_as)),
    };
    if let [only] = stored_as.as_slice()
        && let Ok(location) = HeaderValue::from_str(&format!("{}/{only}", feed.settings.base_url))
    {
        response.headers_mut().insert(LOCATION, location);
    }
    if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
    }
    response
}

fn with(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn content_types(feed: &Feed) -> [&'static str; 2] {
    match feed.config.adapter.as_str() {
        "hl7v2" => ER7,
        "fhir" => FHIR,
        _ => XML,
    }
}

/// Without its parameters, in lower case.
fn content_type(headers: &HeaderMap) -> String {
    let stated = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
