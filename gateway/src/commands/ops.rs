//! Where a command looks and mends: in the store beside the gateway, or through the `/ops` of a gateway that runs, near or
//! far. Both answer the same requests by the same desk.

use super::serve::runtime;
use super::{Failure, Options, operator};
use crate::audit::Action;
use crate::clock::Clock;
use crate::config::Config;
use crate::mllp::{Destination, Files};
use crate::ops::{Desk, Order, Refused, Route, Scope, Unfit, begun};
use crate::serve::{Parts, store};
use crate::store::SqliteStore;
use bytes::Bytes;
use contract::Json;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// Through a gateway that runs, instead of its store on this machine.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Through a running gateway")]
pub struct Through {
    /// Ask the gateway at this address, as https://HOST:PORT, by its /ops; the audit then names the token's owner
    #[arg(long, value_name = "URL", global = true, env = "LANDBRIDGE_GATEWAY", requires = "gateway_token", requires = "gateway_ca")]
    gateway: Option<String>,
    /// File that holds a token with the scopes ops.read, ops.records or ops.mend
    #[arg(long, value_name = "FILE", global = true, env = "LANDBRIDGE_GATEWAY_TOKEN")]
    gateway_token: Option<PathBuf>,
    /// Authorities that the gateway's certificate must be of (PEM)
    #[arg(long, value_name = "FILE", global = true, env = "LANDBRIDGE_GATEWAY_CA")]
    gateway_ca: Option<PathBuf>,
    /// Client certificate to show the gateway (PEM), where the token is bound to one
    #[arg(long, value_name = "FILE", global = true, env = "LANDBRIDGE_GATEWAY_CERTIFICATE", requires = "gateway_key")]
    gateway_certificate: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", global = true, env = "LANDBRIDGE_GATEWAY_KEY", requires = "gateway_certificate")]
    gateway_key: Option<PathBuf>,
}

/// Why an operator's request was not followed.
#[derive(Debug)]
pub struct Refusal {
    pub status: u16,
    pub detail: String,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal.status {
            400 => Failure::usage(refusal.detail),
            _ => Failure::failed(refusal.detail),
        }
    }
}

pub struct Ops {
    runtime: Runtime,
    way: Way,
}

enum Way {
    Beside { desk: Arc<Desk>, store: Arc<SqliteStore> },
    Through { destination: Box<Destination>, host: String, token: String },
}

impl Ops {
    /// For what only looks, or takes back.
    pub fn new(options: &Options, through: &Through) -> Result<Self, Failure> {
        match &through.gateway {
            Some(url) => Self::through(url, through),
            None => Self::beside(&options.load()?, |_, _| Ok(None)),
        }
    }

    /// For what judges messages again: under these tables, or the built-in ones, beside the gateway; under its own through it.
    pub fn judging(options: &Options, through: &Through, schemas: Option<&Path>) -> Result<Self, Failure> {
        match &through.gateway {
            Some(_) if schemas.is_some() => Err(Failure::usage("--schemas: a running gateway judges by its own tables; leave it out")),
            Some(url) => Self::through(url, through),
            None => Self::beside(&options.load()?, |config, store| {
                let parts = Parts::new(config, schemas, store.clone()).map_err(Failure::failed)?;
                parts.intake(config).map(Some).map_err(Failure::failed)
            }),
        }
    }

    fn beside(
        config: &Config,
        intake: impl FnOnce(&Config, &Arc<SqliteStore>) -> Result<Option<crate::intake::Intake>, Failure>,
    ) -> Result<Self, Failure> {
        if !config.store_directory.join("landbridge.db").is_file() {
            return Err(Failure::failed(format!("{} holds no store yet", config.store_directory.display())));
        }
        let store = store(config).map_err(Failure::failed)?;
        let runtime = runtime()?;
        let intake = {
            let _entered = runtime.enter();
            intake(config, &store)?
        };
        let id_key = config.read_id_key().map_err(Failure::failed)?;
        let desk = Desk { store: store.clone(), intake, config: config.clone(), id_key, clock: Clock::System };
        Ok(Self { runtime, way: Way::Beside { desk: Arc::new(desk), store } })
    }

    fn through(url: &str, through: &Through) -> Result<Self, Failure> {
        let wrong = || Failure::usage(format!("{url}: not https://HOST:PORT"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.authority().filter(|_| uri.scheme_str() == Some("https") && matches!(uri.path(), "/" | "")).ok_or_else(wrong)?;
        let address = if host.port().is_some() { host.to_string() } else { format!("{host}:443") };
        let files = Files {
            certificate: through.gateway_certificate.clone(),
            key: through.gateway_key.clone(),
            ca: through.gateway_ca.clone(),
            server_name: None,
        };
        let destination = Destination::new(&address, &files).map_err(Failure::usage)?;
        let file = through.gateway_token.as_deref().unwrap_or(Path::new(""));
        let told = |cause: &dyn std::fmt::Display| Failure::usage(format!("{}: {cause}", file.display()));
        let token = std::fs::read_to_string(file).map_err(|error| told(&error.kind()))?.trim().to_owned();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(told(&"holds no token"));
        }
        Ok(Self { runtime: runtime()?, way: Way::Through { destination: Box::new(destination), host: host.to_string(), token } })
    }

    /// The configuration, where the store is beside.
    pub fn config(&self) -> Option<&Config> {
        match &self.way {
            Way::Beside { desk, .. } => Some(&desk.config),
            Way::Through { .. } => None,
        }
    }

    /// The store, where it is beside.
    pub fn store(&self) -> Option<&Arc<SqliteStore>> {
        match &self.way {
            Way::Beside { store, .. } => Some(store),
            Way::Through { .. } => None,
        }
    }

    /// Looks. `target`: path and query under `/ops`.
    pub fn get(&self, target: &str) -> Result<Json, Refusal> {
        self.runtime.block_on(self.ask(Method::GET, target, Bytes::new()))
    }

    /// Gives an order.
    pub fn post<const N: usize>(&self, target: &str, order: [(&str, Json); N]) -> Result<Json, Refusal> {
        let order: Json = order.into_iter().filter(|(_, value)| *value != Json::Null).collect();
        self.runtime.block_on(self.ask(Method::POST, target, order.to_bytes().into()))
    }

    async fn ask(&self, method: Method, target: &str, body: Bytes) -> Result<Json, Refusal> {
        match &self.way {
            Way::Beside { desk, .. } => beside(desk.clone(), &method, target, &body).await,
            Way::Through { destination, host, token } => {
                let request = Request::builder()
                    .method(&method)
                    .uri(target)
                    .header(HOST, host)
                    .header(AUTHORIZATION, format!("Bearer {token}"))
                    .header(CONTENT_TYPE, "application/json")
                    .body(Full::new(body))
                    .map_err(|_| Refusal { status: 400, detail: format!("{target}: no path") })?;
                through(destination, request).await
            }
        }
    }
}

/// As the door would answer it, but for the scopes: who may read the store needs none. Lists without patients and findings
/// are not written down.
async fn beside(desk: Arc<Desk>, method: &Method, target: &str, body: &[u8]) -> Result<Json, Refusal> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let route = Route::parse(method.as_str(), path, query).map_err(|unfit| Refusal {
        status: 400,
        detail: match unfit {
            Unfit::Parameter(reason) => reason,
            Unfit::Path | Unfit::Method(_) => format!("{target}: nothing that can be asked"),
        },
    })?;
    let order = Order::read(body).map_err(|detail| Refusal { status: 400, detail })?;
    let request = format!("{method} {path}");
    let mut entry = operator::entry(Action::JournalShow, request, None, desk.clock.now());
    begun(&mut entry, &route);
    let is_list = route.scope() == Scope::Read;
    let done = desk.clone().follow(route, order, &entry, ()).await;
    let done = if is_list { done } else { desk.write_down(entry, done).await };
    done.map(|told| told.body).map_err(|Refused { status, detail, .. }| Refusal { status: status.as_u16(), detail })
}

async fn through(destination: &Destination, request: Request<Full<Bytes>>) -> Result<Json, Refusal> {
    let broken = |detail: String| Refusal { status: 503, detail };
    let exchange = async {
        let stream = destination.connect().await?;
        let ended = |_| "the gateway ended the connection: is it HTTPS that answers there?".to_owned();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ended)?;
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.map_err(ended)?.into_parts();
        let body = body.collect().await.map_err(ended)?.to_bytes();
        connection.abort();
        Ok::<_, String>((head, body))
    };
    let answered = tokio::time::timeout(ANSWER_TIME, exchange).await;
    let (head, body) = answered.unwrap_or_else(|_| Err(format!("no answer in {} s", ANSWER_TIME.as_secs()))).map_err(broken)?;
    let told = Json::parse(&body).map_err(|_| broken("what answers there is no Landbridge: its answer is not JSON".into()))?;
    let status = head.status.as_u16();
    match told.get("detail").and_then(Json::as_str) {
        Some(detail) if status >= 400 => Err(Refusal { status, detail: detail.to_owned() }),
        _ => Ok(told),
    }
}

/// A member that is text; empty where it is not there.
pub fn text<'t>(told: &'t Json, name: &str) -> &'t str {
    told.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// A member that is a count; 0 where it is not there.
pub fn number(told: &Json, name: &str) -> u64 {
    match told.get(name) {
        Some(Json::Number(digits)) => digits.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// A member that is an instant, to the second.
pub fn second(told: &Json, name: &str) -> String {
    text(told, name).parse::<Timestamp>().map(|at| format!("{at:.0}")).unwrap_or_default()
}

/// A member that is a list.
pub fn list<'t>(told: &'t Json, name: &str) -> &'t [Json] {
    match told.get(name) {
        Some(Json::Array(list)) => list,
        _ => &[],
    }
}

/// `warning: MSH-7: lies ahead`.
pub fn issue(told: &Json) -> String {
    let place = Some(text(told, "place")).filter(|place| !place.is_empty()).unwrap_or("message");
    format!("{}: {place}: {}", text(told, "severity"), text(told, "reason"))
}
