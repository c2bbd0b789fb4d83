use super::{Done, Failure, Options};
use crate::access::{Issuer, Verifier};
use crate::adapters::dialects;
use crate::api::{Api, Settings};
use crate::audit::chain::SealKey;
use crate::clock::Clock;
use crate::config::Config;
use crate::observe::{Metrics, logs};
use crate::search::parse::parameters;
use crate::serve::{Parts, Running, start};
use crate::store::{SqliteStore, Store};
use contract::{IdKey, Key};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Tables from this folder instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

/// Serves until SIGTERM or SIGINT; one line on standard output when all doors are open.
pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let config = options.load()?;
    logs::start();
    runtime()?.block_on(async {
        let running = open(&config, arguments.schemas.as_deref()).await.map_err(Failure::failed)?;
        println!("{}", running.ready_line());
        // Whoever started us may be gone; the doors are open all the same.
        let _ = std::io::stdout().flush();
        running.until_told_to_stop().await.map_err(|error| Failure::failed(format!("signals: {}", error.kind())))?;
        running.shutdown().await.map_err(Failure::failed)?;
        Ok(ExitCode::SUCCESS)
    })
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Failure::failed(format!("no runtime: {}", error.kind())))
}

/// A gateway with open doors, as its configuration says.
pub async fn open(config: &Config, schemas: Option<&Path>) -> Result<Running, String> {
    let store = store(config)?;
    start(config, parts(config, schemas, store)?).await
}

/// The configuration's store, made where it was not.
pub fn store(config: &Config) -> Result<Arc<SqliteStore>, String> {
    let wrong = |reason: &dyn std::fmt::Display| format!("{}: {reason}", config.seal_key.display());
    let pem = std::fs::read(&config.seal_key).map_err(|error| wrong(&error.kind()))?;
    let seal_key = SealKey::from_pem(&pem).map_err(|reason| wrong(&reason))?;
    let mut options = crate::store::Options::new(&config.store_directory, config.read_id_key()?, seal_key);
    options.timezone = config.timezone();
    SqliteStore::open(options).map(Arc::new).map_err(|error| error.to_string())
}

/// What stands between the doors and the store.
pub fn parts(config: &Config, schemas: Option<&Path>, store: Arc<dyn Store>) -> Result<Parts, String> {
    let id_key = config.read_id_key()?;
    let clock = Clock::System;
    let verifier = verifier(config, clock.clone())?;
    let endpoints = config.issuers.first();
    let settings = Settings {
        base_url: config.https.base_url.clone(),
        token_endpoint: endpoints.map(|issuer| issuer.token_endpoint.clone()),
        authorization_endpoint: endpoints.and_then(|issuer| issuer.authorization_endpoint.clone()),
        paging_key: paging_key(&id_key),
        timezone: config.timezone(),
        parameters: parameters(schemas::Tables::embedded("r4").get("search").unwrap_or_default())?,
        clock: clock.clone(),
    };
    let api = Api::new(store.clone(), verifier.clone(), settings)?;
    let dialects = dialects(schemas)?;
    Ok(Parts { store, api, verifier, dialects, id_key, clock, metrics: Metrics::default() })
}

fn verifier(config: &Config, clock: Clock) -> Result<Verifier, String> {
    let issuer = |issuer: &crate::config::Issuer| {
        let jwks = std::fs::read(&issuer.jwks).map_err(|error| format!("{}: {}", issuer.jwks.display(), error.kind()))?;
        Ok(Issuer { issuer: issuer.issuer.clone(), audience: issuer.audience.clone(), jwks, algorithms: issuer.algorithms.clone() })
    };
    Verifier::new(config.issuers.iter().map(issuer).collect::<Result<_, String>>()?, clock)
}

/// Paging links hold on all replicas and after a restart: their key comes from the one key that is kept.
fn paging_key(id_key: &IdKey) -> Vec<u8> {
    id_key.id(&Key::new("", "landbridge", "paging links")).into_bytes()
}
