//! The operators' door: `/ops` of the HTTPS listener. What the command line does beside the gateway, an authorized client
//! does through it: look, mend, ask whether the boundary is safe. Scopes of its own, and no answer without its audit entry.

mod desk;
mod route;
pub mod told;

pub use desk::{Desk, Refused, begun};
pub use route::{Order, PREFIX, Route, Scope, Unfit};

use crate::access::{Principal, Verifier};
use crate::api::throttle::{Busy, Throttle};
use crate::api::{hung_up, withheld};
use crate::audit::{Action, Agent, Entry};
use crate::bodies::{self, Unread};
use crate::connection::ConnectionInfo;
use crate::refusals::Refusals;
use crate::store::Mending;
use bytes::Bytes;
use contract::Json;
use desk::{invalid, missing, refused, unavailable};
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A frame as JSON text is at most so many times its size.
const BODY_TIMES: usize = 2;
const BODY_SECONDS_MAX: u64 = 30;
/// What operators ask for at once; the sending corridor and apps have the rest of the machine.
const ASKED_AT_ONCE: usize = 4;
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long one waits who was told to, in seconds.
const RETRY_SECONDS: u32 = 5;
/// Of a request, in its entry.
const REQUEST_BYTES_MAX: usize = 2048;

/// Cheap to clone.
#[derive(Clone)]
pub struct Ops {
    room: Arc<Room>,
    throttle: Arc<Throttle>,
}

struct Room {
    desk: Arc<Desk>,
    verifier: Verifier,
    refusals: Refusals,
}

/// Who hangs up while an order is under way has asked all the same.
struct Attended {
    store: Arc<dyn Mending>,
    entry: Entry,
    stays: bool,
}

impl Attended {
    fn stays(mut self) -> Entry {
        self.stays = true;
        self.entry.clone()
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        if !self.stays {
            hung_up(self.store.clone(), self.entry.clone());
        }
    }
}

impl Ops {
    pub fn new(desk: Desk, verifier: Verifier, refusals: Refusals) -> Self {
        let room = Arc::new(Room { desk: Arc::new(desk), verifier, refusals });
        Self { room, throttle: Arc::new(Throttle::new(ASKED_AT_ONCE, WAIT_MAX)) }
    }

    /// Answers any request under [`PREFIX`].
    pub async fn answer<B>(&self, request: Request<B>, connection: &ConnectionInfo) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().map(|query| format!("?{}", withheld(query))).unwrap_or_default();
        let request = format!("{} {}{query}", parts.method, parts.uri.path());
        let agent = Agent { who: "unknown".into(), address: connection.address.clone(), ..Agent::default() };
        let mut entry = Entry {
            request: request[..request.floor_char_boundary(REQUEST_BYTES_MAX)].to_owned(),
            ..Entry::new(self.room.desk.clock.now(), Action::Refused, agent)
        };
        // Who asks, before anything is said about what is here.
        let operator = match self.room.operator(&parts.headers, connection) {
            Ok(operator) => operator,
            Err(refused) => {
                (entry.outcome, entry.reason) = (4, refused.word.into());
                let recorded = self.room.refusals.record(connection.source(), refused.word, entry).await;
                return recorded.map_or_else(|_| refuse(&unavailable()), |()| refuse(&refused));
            }
        };
        entry.agent = agent_of(&operator.0, connection);
        let desk = &self.room.desk;
        let mut attended = Attended { store: desk.store.clone(), entry, stays: false };
        let fit = async {
            let route = Route::parse(parts.method.as_str(), parts.uri.path(), parts.uri.query().unwrap_or_default()).map_err(unfit)?;
            if !operator.1.iter().any(|scope| scope == route.scope().word()) {
                let detail = format!("the token lacks the scope {}", route.scope().word());
                return Err(Refused { detail, ..refused(StatusCode::FORBIDDEN, "scope") });
            }
            desk::begun(&mut attended.entry, &route);
            let order = if route.scope() == Scope::Mend { self.room.order(body).await? } else { Order::default() };
            let place = self.throttle.place(&attended.entry.agent.who).await?;
            Ok((route, order, place))
        }
        .await;
        let done = match fit {
            Ok((route, order, place)) => desk.clone().follow(route, order, &attended.entry, place).await,
            Err(refused) => Err(refused),
        };
        match desk.write_down(attended.stays(), done).await {
            Ok(told) => json(told.status, "application/json", &told.body),
            Err(refused) => refuse(&refused),
        }
    }
}

impl Room {
    /// One bearer token, and the scopes that it carries.
    fn operator(&self, headers: &HeaderMap, connection: &ConnectionInfo) -> Result<(Principal, Vec<String>), Refused> {
        let unknown = |word, detail: &str| Refused { detail: detail.into(), ..refused(StatusCode::UNAUTHORIZED, word) };
        let mut stated = headers.get_all(AUTHORIZATION).iter();
        let token = match (stated.next().and_then(|header| header.to_str().ok()), stated.next()) {
            (Some(header), None) => {
                header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token)
            }
            _ => None,
        };
        let token = token.ok_or_else(|| unknown("no-token", "a bearer token is needed"))?;
        let found = self.verifier.scopes(token.trim(), connection.thumbprint.as_ref());
        found.map_err(|error| unknown(error.word(), "the bearer token is not valid here"))
    }

    async fn order<B>(&self, body: B) -> Result<Order, Refused>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let limit = self.desk.config.limits.frame_bytes.saturating_mul(BODY_TIMES);
        let body = bodies::read(body, limit, Duration::from_secs(BODY_SECONDS_MAX)).await.map_err(|unread| match unread {
            Unread::Late => Refused { detail: "the body did not arrive in time".into(), ..refused(StatusCode::REQUEST_TIMEOUT, "timeout") },
            Unread::TooLarge => Refused {
                detail: format!("the body is longer than {limit} bytes, twice limits.frame_bytes"),
                ..refused(StatusCode::PAYLOAD_TOO_LARGE, "too-long")
            },
            Unread::Crowded => busy(),
            Unread::Broken => invalid("the body broke off"),
        })?;
        Order::read(&body).map_err(|reason| invalid(&reason))
    }
}

fn agent_of(operator: &Principal, connection: &ConnectionInfo) -> Agent {
    let person = operator.user.as_ref().or(Some(&operator.subject)).filter(|person| **person != operator.client);
    Agent {
        who: format!("app:{}", operator.client),
        issuer: operator.issuer.clone(),
        user: person.cloned().unwrap_or_default(),
        token: operator.token_id.clone(),
        address: connection.address.clone(),
        ..Agent::default()
    }
}

fn unfit(unfit: Unfit) -> Refused {
    match unfit {
        Unfit::Path => missing("there is nothing of this name"),
        Unfit::Method(allow) => Refused {
            detail: "this method is not served at this path; see Allow".into(),
            allow: Some(allow),
            ..refused(StatusCode::METHOD_NOT_ALLOWED, "method")
        },
        Unfit::Parameter(reason) => invalid(&reason),
    }
}

fn busy() -> Refused {
    Refused { detail: "the gateway is busy; try again".into(), ..refused(StatusCode::SERVICE_UNAVAILABLE, "throttled") }
}

impl From<Busy> for Refused {
    fn from(_: Busy) -> Self {
        busy()
    }
}

/// RFC 9457.
fn refuse(refused: &Refused) -> Response<Full<Bytes>> {
    let body = [
        ("title", Json::from(refused.status.canonical_reason().unwrap_or_default())),
        ("status", Json::Number(refused.status.as_u16().to_string().into())),
        ("detail", Json::from(refused.detail.as_str())),
    ];
    let mut response = json(refused.status, "application/problem+json", &body.into_iter().collect());
    if refused.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ops\""));
    }
    if refused.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
    }
    if let Some(allow) = refused.allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn json(status: StatusCode, kind: &'static str, body: &Json) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.to_bytes().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
