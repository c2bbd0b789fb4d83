use super::{Done, Failure, Options};
use crate::access::{self, Verifier};
use crate::adapters::dialects;
use crate::api::{self, Api};
use crate::audit::chain::SealKey;
use crate::clock::Clock;
use crate::config::Config;
use crate::observe::{self, Metrics};
use crate::search::parse::parameters;
use crate::serve::{Parts, Running, start};
use crate::store::Store;
use crate::store::sqlite::{self, SqliteStore};
use clap::Args;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::Runtime;

#[derive(Args, Debug)]
pub struct Arguments {
    /// Tables from this folder instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

/// Runs the gateway until it is told to stop.
pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let config = options.load()?;
    observe::logs::start();
    runtime()?.block_on(async {
        let running = open(&config, arguments.schemas.as_deref()).await.map_err(Failure::failed)?;
        // One line, when all doors are open: whoever started the gateway waits for it.
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{}", running.ready_line()).and_then(|()| out.flush());
        running.until_told_to_stop().await.map_err(|error| Failure::failed(format!("no signals: {}", error.kind())))?;
        running.shutdown().await.map_err(Failure::failed)?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no threads: {}", error.kind())))
}

/// The store of a configuration.
pub(super) fn store(config: &Config) -> Result<SqliteStore, String> {
    let pem = std::fs::read(&config.seal_key).map_err(|error| format!("{}: {}", config.seal_key.display(), error.kind()))?;
    let seal_key = SealKey::from_pem(&pem).map_err(|reason| format!("{}: {reason}", config.seal_key.display()))?;
    let options = sqlite::Options::new(&config.store_directory, config.read_id_key()?, seal_key);
    SqliteStore::open(options).map_err(|error| format!("{}: {error}", config.store_directory.display()))
}

/// A gateway with open doors, as the configuration says.
pub(super) async fn open(config: &Config, schemas: Option<&std::path::Path>) -> Result<Running, String> {
    let store: Arc<dyn Store> = Arc::new(store(config)?);
    start(config, parts(config, schemas, store)?).await
}

pub(super) fn parts(config: &Config, schemas: Option<&std::path::Path>, store: Arc<dyn Store>) -> Result<Parts, String> {
    let clock = Clock::System;
    let issuer = |issuer: &crate::config::Issuer| {
        let jwks = std::fs::read(&issuer.jwks).map_err(|error| format!("{}: {}", issuer.jwks.display(), error.kind()))?;
        Ok(access::Issuer { issuer: issuer.issuer.clone(), audience: issuer.audience.clone(), jwks, algorithms: issuer.algorithms.clone() })
    };
    let verifier = Verifier::new(config.issuers.iter().map(issuer).collect::<Result<_, String>>()?, clock.clone())?;
    let secret = std::fs::read(&config.id_key).map_err(|error| format!("{}: {}", config.id_key.display(), error.kind()))?;
    let first = config.issuers.first();
    let settings = api::Settings {
        base_url: config.https.base_url.clone(),
        token_endpoint: first.map(|issuer| issuer.token_endpoint.clone()),
        authorization_endpoint: first.and_then(|issuer| issuer.authorization_endpoint.clone()),
        // A key of its own, and yet the same after a restart.
        paging_key: Sha256::digest([b"paging links\n".as_slice(), &secret].concat()).to_vec(),
        timezone: jiff::tz::TimeZone::UTC,
        parameters: parameters(schemas::Tables::embedded("r4").get("search").ok_or("the search parameters are not built in")?)?,
        clock: clock.clone(),
    };
    Ok(Parts {
        api: Api::new(store.clone(), verifier.clone(), settings)?,
        store,
        verifier,
        dialects: dialects(schemas)?,
        id_key: config.read_id_key()?,
        clock,
        metrics: Metrics::default(),
    })
}
