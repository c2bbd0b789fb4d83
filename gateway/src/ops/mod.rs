//! The operators' door: `/ops` of the HTTPS listener. What the command line does beside the gateway, an authorized client
//! does through it: look, mend, ask whether the boundary is safe. Scopes of its own, and no answer without its audit entry.

mod desk;
mod route;
pub mod told;

pub use desk::{Desk, Refused, patients};
pub use route::{Order, PREFIX, Route, Scope, Unfit};

use crate::access::{Principal, Verifier};
use crate::api::withheld;
use crate::audit::{Action, Agent, Entry};
use crate::connection::ConnectionInfo;
use crate::refusals::Refusals;
use bytes::Bytes;
use contract::Json;
use desk::{invalid, missing, unavailable};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A frame as JSON text is at most so many times its size.
const BODY_TIMES: usize = 2;
const BODY_SECONDS_MAX: u64 = 30;
/// Of a request, in its entry.
const REQUEST_BYTES_MAX: usize = 2048;

/// Cheap to clone.
#[derive(Clone)]
pub struct Ops {
    room: Arc<Room>,
}

struct Room {
    desk: Arc<Desk>,
    verifier: Verifier,
    refusals: Refusals,
}

impl Ops {
    pub fn new(desk: Desk, verifier: Verifier, refusals: Refusals) -> Self {
        Self { room: Arc::new(Room { desk: Arc::new(desk), verifier, refusals }) }
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
        let fit = async {
            let route = Route::parse(parts.method.as_str(), parts.uri.path(), parts.uri.query().unwrap_or_default()).map_err(unfit)?;
            if !operator.1.iter().any(|scope| scope == route.scope().word()) {
                let detail = format!("the token lacks the scope {}", route.scope().word());
                return Err(Refused { status: StatusCode::FORBIDDEN, word: "scope", detail, allow: None });
            }
            let order = if route.scope() == Scope::Mend { self.room.order(body).await? } else { Order::default() };
            Ok((route, order))
        }
        .await;
        let desk = &self.room.desk;
        let done = match fit {
            Ok((route, order)) => desk.clone().serve(route, order, entry).await,
            Err(refused) => desk.write_down(entry, Err(refused)).await,
        };
        match done {
            Ok(told) => json(told.status, "application/json", &told.body),
            Err(refused) => refuse(&refused),
        }
    }
}

impl Room {
    /// One bearer token, and the scopes that it carries.
    fn operator(&self, headers: &HeaderMap, connection: &ConnectionInfo) -> Result<(Principal, Vec<String>), Refused> {
        let unknown = |word, detail: &str| Refused { status: StatusCode::UNAUTHORIZED, word, detail: detail.into(), allow: None };
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
        let read = tokio::time::timeout(Duration::from_secs(BODY_SECONDS_MAX), Limited::new(body, limit).collect()).await;
        let body =
            read.map_err(|_| invalid("the body did not arrive in time"))?.map_err(|_| invalid("the body broke off, or is too long"))?;
        Order::read(&body.to_bytes()).map_err(|reason| invalid(&reason))
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
            status: StatusCode::METHOD_NOT_ALLOWED,
            word: "method",
            detail: "this method is not served at this path; see Allow".into(),
            allow: Some(allow),
        },
        Unfit::Parameter(reason) => invalid(&reason),
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
