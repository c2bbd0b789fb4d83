//! The operators' door: `/ops` of the HTTPS listener. What the command line does beside the gateway, an authorized client
//! does through it: look, mend, ask whether the boundary is safe. Scopes of its own, and no answer without its audit entry.

mod route;
pub mod told;

pub use route::PREFIX;

use crate::access::{Principal, Verifier};
use crate::api::withheld;
use crate::audit::{Action, Agent, Entry};
use crate::clock::Clock;
use crate::config::Config;
use crate::connection::ConnectionInfo;
use crate::findings::{Facts, judge};
use crate::intake::Intake;
use crate::refusals::Refusals;
use crate::store::{Edit, Mending, StoreError, Withdrawal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contract::{Class, Contribution, Frame, IdKey, Json, Key, OutcomeKind};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use route::{Order, Route, Unfit};
use std::collections::BTreeSet;
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
    store: Arc<dyn Mending>,
    intake: Intake,
    verifier: Verifier,
    refusals: Refusals,
    config: Config,
    id_key: IdKey,
    clock: Clock,
}

/// What is answered, and whom it is about.
struct Told {
    status: StatusCode,
    body: Json,
    patients: Vec<String>,
    /// Its entry was written with what it did.
    is_written: bool,
}

/// Why nothing was done.
struct Refused {
    status: StatusCode,
    /// For the audit. Closed.
    word: &'static str,
    detail: String,
    allow: Option<&'static str>,
}

impl Ops {
    pub fn new(
        store: Arc<dyn Mending>,
        intake: Intake,
        verifier: Verifier,
        refusals: Refusals,
        config: Config,
        id_key: IdKey,
        clock: Clock,
    ) -> Self {
        Self { room: Arc::new(Room { store, intake, verifier, refusals, config, id_key, clock }) }
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
            ..Entry::new(self.room.clock.now(), Action::Refused, agent)
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
        let done = async {
            let route = Route::parse(parts.method.as_str(), parts.uri.path(), parts.uri.query().unwrap_or_default()).map_err(unfit)?;
            if !operator.1.iter().any(|scope| scope == route.scope().word()) {
                let detail = format!("the token lacks the scope {}", route.scope().word());
                return Err(Refused { status: StatusCode::FORBIDDEN, word: "scope", detail, allow: None });
            }
            entry.action = action(&route);
            entry.position = position(&route);
            let order = match &route {
                Route::Replay(_) | Route::Edit(_) | Route::Withdraw(_) => self.room.order(body).await?,
                _ => Order::read(&[]).map_err(|reason| invalid(&reason))?,
            };
            self.room.clone().follow(route, order, &entry).await
        }
        .await;
        let (response, is_written) = match done {
            Ok(told) => {
                entry.outcome = if told.status.is_server_error() { 8 } else { 0 };
                entry.patients = told.patients;
                (json(told.status, "application/json", &told.body), told.is_written)
            }
            Err(refused) => {
                (entry.outcome, entry.reason) = (if refused.status.is_server_error() { 8 } else { 4 }, refused.word.into());
                (refuse(&refused), false)
            }
        };
        if !is_written && let Err(error) = self.room.store.record(entry).await {
            tracing::error!(%error, "an operator's answer was withheld: its audit entry could not be made durable");
            return refuse(&unavailable());
        }
        response
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
        let limit = self.config.limits.frame_bytes.saturating_mul(BODY_TIMES);
        let read = tokio::time::timeout(Duration::from_secs(BODY_SECONDS_MAX), Limited::new(body, limit).collect()).await;
        let body =
            read.map_err(|_| invalid("the body did not arrive in time"))?.map_err(|_| invalid("the body broke off, or is too long"))?;
        Order::read(&body.to_bytes()).map_err(|reason| invalid(&reason))
    }

    /// Does what is asked. `entry`: as it stands so far.
    async fn follow(self: Arc<Self>, route: Route, order: Order, entry: &Entry) -> Result<Told, Refused> {
        let because = || order.because.clone().ok_or_else(|| invalid("because: say why; it is kept with the message"));
        match route {
            Route::Replay(at) => {
                let answer = self.intake.replay(at, &entry.agent.who, order.release).await.map_err(|reason| conflict(&reason))?;
                Ok(judged(&answer))
            }
            Route::Edit(of) => {
                let frame = order.frame.clone().ok_or_else(|| invalid("frame: the new version as text"))?;
                let store = self.store.clone();
                let stored = tokio::task::spawn_blocking(move || store.frame(of)).await.map_err(|_| unavailable())??.ok_or_else(none)?.1;
                if std::str::from_utf8(stored.bytes()).is_err() {
                    return Err(conflict(
                        "the frame is in another character set than UTF-8, and text would alter it: use `landbridge journal edit`",
                    ));
                }
                let edit = Edit { of, who: entry.agent.who.clone(), because: because()? };
                let answer = self.intake.edit(Frame::new(frame.into_bytes()), edit, order.release).await;
                Ok(judged(&answer.map_err(|reason| conflict(&reason))?))
            }
            Route::Withdraw(position) => {
                let because = because()?;
                let action = if order.restore { Action::Restore } else { Action::Withdraw };
                let done = if order.restore { "put back" } else { "withdrawn" };
                let entry = Entry { action, request: format!("{done} because {because}"), position: Some(position), ..entry.clone() };
                let receipt = self.store.withdraw(Withdrawal { position, restores: order.restore, because, entry }).await?;
                let resources = Json::Array(receipt.resources.iter().map(|name| Json::from(name.as_str())).collect());
                let body = [("withdrawn", Json::Bool(!order.restore)), ("resources", resources)].into_iter().collect();
                Ok(Told { status: StatusCode::OK, body, patients: Vec::new(), is_written: true })
            }
            other => match tokio::task::spawn_blocking(move || self.look(other)).await {
                Ok(told) => told,
                Err(_) => Err(unavailable()),
            },
        }
    }

    /// What only looks. Off the runtime's own threads: it waits for disks.
    fn look(&self, route: Route) -> Result<Told, Refused> {
        let told = |body: Json, patients: Vec<String>| Ok(Told { status: StatusCode::OK, body, patients, is_written: false });
        match route {
            Route::Findings => {
                let facts = Facts::gather(self.config.clone(), &*self.store, self.clock.now())?;
                told(told::findings(&judge(&facts)), Vec::new())
            }
            Route::Journal(filter, rows) => {
                let found = self.store.journal(&filter, rows)?;
                let last = found.last().filter(|_| found.len() == rows).map(|row| row.position);
                let mut body: Json = [("rows", Json::Array(found.iter().map(told::row).collect()))].into_iter().collect();
                if let Some(last) = last {
                    body.set(if filter.newest { "before" } else { "after" }, Json::Number(last.to_string().into()));
                }
                told(body, filter.patient.into_iter().collect())
            }
            Route::Frame(at) => {
                let (row, frame, issues) = self.store.frame(at)?.ok_or_else(none)?;
                let mut body = told::row(&row);
                body.set("issues", Json::Array(issues.iter().map(told::issue).collect()));
                body.set("mends", Json::Array(self.store.mends(at)?.iter().map(told::mend).collect()));
                match std::str::from_utf8(frame.bytes()) {
                    Ok(text) => body.set("frame", Json::from(text)),
                    Err(_) => body.set("frame_base64", Json::from(STANDARD.encode(frame.bytes()))),
                }
                told(body, self.named(at)?)
            }
            Route::Preview(at, restores) => {
                self.store.frame(at)?.ok_or_else(none)?;
                let effects = self.store.preview(at, restores)?;
                let mut patients: BTreeSet<String> = self.named(at)?.into_iter().collect();
                patients.extend(effects.iter().filter_map(|effect| effect.address.strip_prefix("Patient/")).map(str::to_owned));
                let body = [("changes", Json::Array(effects.iter().map(told::effect).collect()))].into_iter().collect();
                told(body, patients.into_iter().collect())
            }
            Route::Patient(id) => self.record(&id),
            Route::PatientWith(system, value) => {
                let mut found = self.store.patients_with(&system, &value)?;
                match found.len() {
                    // Who has vanished is still found by the identifier that the id is made from.
                    0 => self.record(&self.id_key.id(&Key::new("Patient", system, value))),
                    1 => self.record(&found.remove(0)),
                    _ => Err(conflict(&format!("several patients have this identifier: {}", found.join(", ")))),
                }
            }
            Route::Replay(_) | Route::Edit(_) | Route::Withdraw(_) => Err(unavailable()),
        }
    }

    fn record(&self, id: &str) -> Result<Told, Refused> {
        let record = self.store.patient(id)?.ok_or_else(none)?;
        Ok(Told { status: StatusCode::OK, body: told::record(&record), patients: record.patients, is_written: false })
    }

    /// Ids of the Patients whom a frame is about or names.
    fn named(&self, at: u64) -> Result<Vec<String>, StoreError> {
        Ok(patients(&self.store.contributions(at)?.unwrap_or_default(), &self.id_key))
    }
}

/// Ids of the Patients that a message is about or names.
pub fn patients(said: &[Contribution], id_key: &IdKey) -> Vec<String> {
    let keys = said.iter().filter(|contribution| contribution.class != Class::Message).map(|contribution| &contribution.key);
    let ids: BTreeSet<String> = keys.filter(|key| &*key.kind == "Patient").map(|key| id_key.id(key)).collect();
    ids.into_iter().collect()
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

fn action(route: &Route) -> Action {
    match route {
        Route::Findings | Route::Journal(..) | Route::Frame(_) | Route::Preview(..) | Route::Patient(_) | Route::PatientWith(..) => {
            Action::JournalShow
        }
        Route::Replay(_) => Action::JournalReplay,
        Route::Edit(_) => Action::JournalEdit,
        Route::Withdraw(_) => Action::Withdraw,
    }
}

fn position(route: &Route) -> Option<u64> {
    match route {
        Route::Frame(at) | Route::Preview(at, _) | Route::Replay(at) | Route::Edit(at) | Route::Withdraw(at) => Some(*at),
        Route::Findings | Route::Journal(..) | Route::Patient(_) | Route::PatientWith(..) => None,
    }
}

/// Its entry was written with the outcome.
fn judged(answer: &crate::intake::Answer) -> Told {
    let status = match answer.outcome {
        OutcomeKind::Transient => StatusCode::SERVICE_UNAVAILABLE,
        outcome if outcome.is_stored() => StatusCode::OK,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Told { status, body: told::judged(answer), patients: Vec::new(), is_written: answer.outcome != OutcomeKind::Transient }
}

fn unfit(unfit: Unfit) -> Refused {
    match unfit {
        Unfit::Path => none(),
        Unfit::Method(allow) => Refused {
            status: StatusCode::METHOD_NOT_ALLOWED,
            word: "method",
            detail: "this method is not served at this path; see Allow".into(),
            allow: Some(allow),
        },
        Unfit::Parameter(reason) => invalid(&reason),
    }
}

fn none() -> Refused {
    Refused { status: StatusCode::NOT_FOUND, word: "not-found", detail: "there is nothing of this name".into(), allow: None }
}

fn invalid(reason: &str) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, word: "invalid", detail: reason.into(), allow: None }
}

fn conflict(reason: &str) -> Refused {
    Refused { status: StatusCode::CONFLICT, word: "conflict", detail: reason.into(), allow: None }
}

fn unavailable() -> Refused {
    let detail = "the gateway cannot answer now; try again".into();
    Refused { status: StatusCode::SERVICE_UNAVAILABLE, word: "transient", detail, allow: None }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(reason) => conflict(&reason),
            StoreError::TooCostly => invalid("it takes too long: narrow it"),
            StoreError::Unavailable(_) | StoreError::Busy => unavailable(),
        }
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
