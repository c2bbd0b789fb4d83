//! The reading corridor: from an HTTP request to a FHIR answer, with its audit entry durable before the first byte.

mod answer;
mod audit_events;
mod bundle;
mod capability;
mod fault;
mod interaction;
mod negotiate;
mod paging;
mod posted;
mod read;
mod search;
mod served;
pub(crate) mod throttle;

use crate::access::{Grant, Predicate, Verifier};
use crate::audit::{Action, Agent, Entry};
use crate::clock::Clock;
use crate::connection::ConnectionInfo;
use crate::refusals::Refusals;
use crate::search::parse::{Parameters, pairs};
use crate::search::plan::Plan;
use crate::store::{Store, StoreError};
use answer::Answer;
use bytes::Bytes;
use fault::Fault;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use interaction::{Interaction, Rule, Unfit};
use paging::Pager;
use percent_encoding::percent_decode_str;
use served::Served;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use throttle::Throttle;

/// Reads by name that are under way at once.
const READS_AT_ONCE: usize = 32;
/// How long a question to the store waits for its place.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// What of a request stands in its entry, in bytes; and before anyone is known.
const REQUEST_BYTES_MAX: usize = 8 * 1024 + posted::BYTES_MAX;
const REQUEST_BYTES_MAX_UNKNOWN: usize = 2048;
/// When what is served last changed: `CapabilityStatement.date`.
const DATE_OF_CAPABILITIES: &str = "2026-11-24";

/// What the API is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients reach us, in every link and fullUrl; its path is the path served (`https://host/fhir`: `/fhir`).
    pub base_url: String,
    /// For smart-configuration and the CapabilityStatement, of the first issuer that has them.
    pub token_endpoint: Option<String>,
    pub authorization_endpoint: Option<String>,
    /// Seals paging links: the same on all replicas and after a restart. At least 16 bytes.
    pub paging_key: Vec<u8>,
    /// Zone of dates in searches that state none; the one that the index was made with.
    pub timezone: jiff::tz::TimeZone,
    /// The search parameters of R4: [`crate::search::parse::parameters`] of `schemas/r4/search.csv`.
    pub parameters: Parameters,
    pub clock: Clock,
}

/// FHIR R4 at `base_url`. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    corridor: Arc<Corridor>,
}

/// What the rooms along the corridor share.
struct Corridor {
    store: Arc<dyn Store>,
    verifier: Verifier,
    settings: Settings,
    /// Path of the base URL, without a slash at the end.
    base: String,
    served: Vec<Served>,
    plan: Arc<Plan>,
    pager: Pager,
    refusals: Refusals,
    metadata: Bytes,
    smart: Option<Bytes>,
    /// More at once would only wait for the same processors, each with a connection and a thread of its own.
    reads: Throttle,
    searches: Throttle,
}

impl Api {
    /// Errors say which setting or table row does not fit, in words for the operator.
    pub fn new(store: Arc<dyn Store>, verifier: Verifier, mut settings: Settings) -> Result<Self, String> {
        settings.base_url.truncate(settings.base_url.trim_end_matches('/').len());
        let base: hyper::Uri = settings.base_url.parse().map_err(|_| "base_url is not a URL".to_owned())?;
        if base.scheme().is_none() || base.query().is_some() {
            return Err("base_url is absolute and without a query".into());
        }
        let served = served::served(&settings.parameters)?;
        let corridor = Corridor {
            base: base.path().trim_end_matches('/').to_owned(),
            pager: Pager::new(&settings.paging_key).ok_or("the paging key has less than 16 bytes")?,
            refusals: Refusals::new(store.clone(), settings.clock.clone()),
            metadata: capability::statement(&served, &settings)?,
            smart: capability::smart(&served, &settings),
            reads: Throttle::new(READS_AT_ONCE, WAIT_MAX),
            searches: Throttle::new(2 * std::thread::available_parallelism().map_or(2, usize::from), WAIT_MAX),
            plan: Plan::built_in(),
            store,
            verifier,
            settings,
            served,
        };
        Ok(Self { corridor: Arc::new(corridor) })
    }

    /// Answers any request, whatever its path. The body is read only after authentication, up to a limit (413) and for
    /// a limited time. Never fails: what is wrong is in the answer.
    pub async fn answer<B>(&self, request: Request<B>, connection: Arc<ConnectionInfo>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let head = parts.method == hyper::Method::HEAD;
        let mut attended = Attended::new(&self.corridor, Crossing::new(&parts, &connection, self.corridor.settings.clock.now()));
        let answer = self.corridor.cross(&parts, body, &connection, &mut attended.crossing).await;
        self.corridor.audited(attended.stays(), answer, &connection).await.respond(head)
    }

    /// Where refusals before authentication are written and counted, for the other routes of the same door.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.corridor.refusals
    }

    /// Writes down the refusals counted so far; call it when the doors are closed.
    pub async fn close(&self) {
        self.corridor.refusals.close().await;
    }
}

/// Who asks, before it is known.
const UNKNOWN: &str = "unknown";

/// What the audit will say of a request, as far as it is known by then.
#[derive(Clone)]
struct Crossing {
    /// `None`: of the closed list that is not written down.
    action: Option<Action>,
    entry: Entry,
}

impl Crossing {
    fn new(parts: &Parts, connection: &ConnectionInfo, at: jiff::Timestamp) -> Self {
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let agent = Agent { who: UNKNOWN.into(), address: connection.address.clone(), ..Agent::default() };
        let entry = Entry {
            request: format!(
                "{} {}",
                parts.method,
                match target.split_once('?') {
                    Some((path, query)) => format!("{path}?{}", withheld(query)),
                    None => target.to_owned(),
                }
            ),
            ..Entry::new(at, Action::Refused, agent)
        };
        Self { action: Some(Action::Refused), entry }
    }

    fn is_by(&mut self, grant: &Grant) {
        let (agent, principal) = (&mut self.entry.agent, grant.principal());
        agent.wide = grant.is_wide() && !principal.bound;
        agent.who = format!("app:{}", principal.client);
        agent.issuer.clone_from(&principal.issuer);
        agent.token.clone_from(&principal.token_id);
        // A backend service is its own subject: no person.
        let person = principal.user.as_ref().or(Some(&principal.subject)).filter(|person| **person != principal.client);
        agent.user = person.cloned().unwrap_or_default();
    }
}

/// A client may hang up while its request is under way: what was asked by somebody is written down all the same.
struct Attended<'a> {
    corridor: &'a Corridor,
    crossing: Crossing,
    /// The answer is there, and its entry is another's business.
    stays: bool,
}

impl<'a> Attended<'a> {
    fn new(corridor: &'a Corridor, crossing: Crossing) -> Self {
        Self { corridor, crossing, stays: false }
    }

    fn stays(mut self) -> Crossing {
        self.stays = true;
        self.crossing.clone()
    }
}

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        let Crossing { action, entry } = &mut self.crossing;
        let (Some(action), false) = (action.take(), self.stays || entry.agent.who == UNKNOWN) else { return };
        cut(&mut entry.request, REQUEST_BYTES_MAX);
        hung_up(self.corridor.store.clone(), Entry { action, ..entry.clone() });
    }
}

/// Writes down what was asked by somebody who did not wait for the answer.
pub(crate) fn hung_up(store: Arc<dyn Store>, entry: Entry) {
    let entry = Entry { outcome: 4, reason: "hung-up".into(), ..entry };
    let recorded = store.record(entry.clone());
    // Without a runtime the gateway is ending; the entry is with the writer all the same.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        // Nobody would send it again: it is tried twice.
        let recorded = match recorded.await {
            Ok(()) => Ok(()),
            Err(_) => store.record(entry).await,
        };
        if let Err(error) = recorded {
            tracing::error!(%error, "the entry of a request that was given up could not be made durable");
        }
    });
}

impl Corridor {
    /// The whole way of a request. Each step stands before the next because it may not learn what the next one knows.
    async fn cross<B>(&self, parts: &Parts, body: B, connection: &ConnectionInfo, crossing: &mut Crossing) -> Result<Answer, Fault>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // The path alone decides what is asked; no header or body has been looked at.
        let asked = Interaction::parse(&self.served, &self.base, parts.method.as_str(), parts.uri.path());
        let mut parameters = pairs(parts.uri.query().unwrap_or_default());
        if let Ok(interaction) = &asked
            && interaction.rule() == Rule::Public
        {
            crossing.action = interaction.action();
            return self.public(interaction, &parts.headers, parameters.as_deref().unwrap_or_default());
        }
        // Who asks, before anything is said about what is here: an unknown path is no one's to probe.
        let grant = self.authenticate(&parts.headers, connection)?;
        crossing.is_by(&grant);
        let interaction = asked.map_err(|unfit| match unfit {
            Unfit::Path => Fault::NoRoute,
            Unfit::Method(allow) => Fault::Method(allow),
        })?;
        crossing.action = interaction.action();
        // Scope decides before data is looked at.
        let kind = match interaction.rule() {
            Rule::Public => return Err(Fault::Exception),
            Rule::Scope(kind, permission) if grant.predicate(&kind, permission) == Predicate::Nothing => return Err(Fault::Forbidden),
            Rule::Scope(kind, _) => kind,
        };
        let form = match &interaction {
            Interaction::Search { form: true, .. } => Some(posted::form(&parts.headers, body).await?),
            Interaction::Everything { posted: true, .. } => Some(posted::operation(&parts.headers, body).await?),
            _ => None,
        };
        if let Some(form) = form {
            crossing.entry.request.push('\n');
            crossing.entry.request.push_str(&withheld(&form));
            parameters = parameters.zip(pairs(&form)).map(|(query, form)| [query, form].concat());
        }
        let parameters = parameters.ok_or_else(|| Fault::Invalid("the parameters are not URL-encoded UTF-8 text".into()))?;
        if !negotiate::takes_json(&parts.headers, format(&parameters)) {
            return Err(Fault::NotAcceptable);
        }
        let strict = negotiate::is_strict(&parts.headers);
        let row = self.served.iter().find(|row| row.kind == kind).ok_or(Fault::Exception)?;
        match interaction {
            Interaction::Read { kind, id } if kind == "AuditEvent" => audit_events::read(self, &grant, &id).await,
            Interaction::Read { kind, id } => read::read(self, &grant, &parts.headers, kind, id).await,
            Interaction::Vread { kind, id, version } => read::vread(self, &grant, &parts.headers, kind, id, &version).await,
            Interaction::History { kind, id } => read::history(self, &grant, &parameters, strict, kind, id).await,
            Interaction::TypeHistory { kind } => read::type_history(self, &grant, &parameters, strict, kind).await,
            Interaction::Everything { id, .. } => search::everything(self, &grant, &parameters, strict, id).await,
            Interaction::Search { .. } => search::search(self, &grant, row, &parameters, strict).await,
            Interaction::Capabilities | Interaction::SmartConfiguration => Err(Fault::Exception),
        }
    }

    /// The door frame: no answer leaves before its entry is durable, whatever the answer is.
    async fn audited(&self, crossing: Crossing, answer: Result<Answer, Fault>, connection: &ConnectionInfo) -> Answer {
        let Crossing { action, mut entry } = crossing;
        let (answer, fault) = match answer {
            Ok(answer) => (answer, None),
            Err(fault) => (fault.answer(), Some(fault)),
        };
        let Some(action) = action else { return answer };
        entry.action = action;
        entry.patients.clone_from(&answer.patients);
        entry.resources.clone_from(&answer.resources);
        if let Some(fault) = &fault {
            entry.outcome = fault.audit_outcome();
            entry.reason = fault.word().to_owned();
        }
        let recorded = match fault.filter(Fault::is_before_authentication) {
            Some(refusal) => {
                cut(&mut entry.request, REQUEST_BYTES_MAX_UNKNOWN);
                self.refusals.record(connection.source(), refusal.word(), entry).await
            }
            None => {
                cut(&mut entry.request, REQUEST_BYTES_MAX);
                self.store.record(entry).await
            }
        };
        match recorded {
            Ok(()) => answer,
            Err(error) => {
                tracing::error!(%error, "an answer was withheld: its audit entry could not be made durable");
                Fault::Unavailable.answer()
            }
        }
    }

    fn public(&self, interaction: &Interaction, headers: &HeaderMap, parameters: &[(String, String)]) -> Result<Answer, Fault> {
        match interaction {
            Interaction::Capabilities if !negotiate::takes_json(headers, format(parameters)) => Err(Fault::NotAcceptable),
            Interaction::Capabilities => Ok(Answer::json(StatusCode::OK, self.metadata.clone())),
            // JSON whatever Accept says.
            Interaction::SmartConfiguration => {
                let mut answer = Answer::json(StatusCode::OK, self.smart.clone().ok_or(Fault::NoRoute)?);
                answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(answer)
            }
            Interaction::Read { .. }
            | Interaction::Vread { .. }
            | Interaction::History { .. }
            | Interaction::TypeHistory { .. }
            | Interaction::Everything { .. }
            | Interaction::Search { .. } => Err(Fault::Exception),
        }
    }

    /// One bearer token in one Authorization header (RFC 6750 §2.1); never from the URL or a form.
    fn authenticate(&self, headers: &HeaderMap, connection: &ConnectionInfo) -> Result<Arc<Grant>, Fault> {
        let mut stated = headers.get_all(AUTHORIZATION).iter();
        let one = stated.next().ok_or(Fault::NoToken)?;
        if stated.next().is_some() {
            return Err(Fault::BadToken("token-malformed"));
        }
        let token = one
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .ok_or(Fault::NoToken)?
            .1
            .trim();
        let grant = self.verifier.grant(token, connection.thumbprint.as_ref());
        grant.map(Arc::new).map_err(|error| Fault::BadToken(error.word()))
    }

    /// Asks the store for what has a name.
    async fn ask<T: Send + 'static>(
        &self,
        grant: &Arc<Grant>,
        question: impl FnOnce(&dyn Store, &Grant) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        self.ask_at(&self.reads, grant, question).await
    }

    /// Asks the store for what has to be looked for. Searches hold up no reads.
    async fn look<T: Send + 'static>(
        &self,
        grant: &Arc<Grant>,
        question: impl FnOnce(&dyn Store, &Grant) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        self.ask_at(&self.searches, grant, question).await
    }

    /// Off the runtime's own threads: it waits for disks.
    async fn ask_at<T: Send + 'static>(
        &self,
        throttle: &Throttle,
        grant: &Arc<Grant>,
        question: impl FnOnce(&dyn Store, &Grant) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        // Who leaves while waiting gives up the place; a question that was begun keeps it to its end.
        let place = throttle.place(&grant.principal().client).await?;
        let (store, grant) = (self.store.clone(), grant.clone());
        let asked = move || {
            let answer = question(&*store, &grant);
            drop(place);
            answer
        };
        match tokio::task::spawn_blocking(asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Fault::Exception),
        }
    }
}

fn format(parameters: &[(String, String)]) -> Option<&str> {
    parameters.iter().find(|(name, _)| name == "_format").map(|(_, value)| value.as_str())
}

/// A query or a form with the values left out that are secrets wherever they stand: some clients put them here.
pub(crate) fn withheld(encoded: &str) -> String {
    const SECRETS: [&str; 9] = [
        "access_token",
        "id_token",
        "refresh_token",
        "token",
        "client_secret",
        "client_assertion",
        "assertion",
        "password",
        "code_verifier",
    ];
    let is_secret = |name: &str| {
        let name = percent_decode_str(name).decode_utf8_lossy();
        SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
    };
    let kept = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=[withheld]"),
        _ => pair.to_owned(),
    };
    encoded.split('&').map(kept).collect::<Vec<_>>().join("&")
}

/// Shortens to at most so many bytes, between characters.
fn cut(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

#[cfg(test)]
mod tests;
