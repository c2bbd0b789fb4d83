//! What a configuration is made into before a door opens.

use crate::access::{Issuer, Verifier};
use crate::adapters::dialects;
use crate::api::{Api, Settings};
use crate::audit::chain::SealKey;
use crate::clock::Clock;
use crate::config::{self, Config, Listener};
use crate::intake::{Feed, Feeds, Intake};
use crate::observe::Metrics;
use crate::search::parse::parameters;
use crate::store::outbox::Outbox;
use crate::store::{Mending, Options, SqliteStore};
use contract::{Dialect, IdKey, Key};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a gateway is made of, besides its configuration.
pub struct Parts {
    pub store: Arc<dyn Mending>,
    pub outbox: Arc<dyn Outbox>,
    pub api: Api,
    pub verifier: Verifier,
    /// Of every adapter that a feed names.
    pub dialects: Vec<Arc<dyn Dialect>>,
    /// A folder of tables instead of the built-in ones.
    pub schemas: Option<PathBuf>,
    pub id_key: IdKey,
    pub clock: Clock,
    pub metrics: Metrics,
}

/// The configuration's store, made where it was not.
pub fn store(config: &Config) -> Result<Arc<SqliteStore>, String> {
    let wrong = |reason: &dyn std::fmt::Display| format!("{}: {reason}", config.seal_key.display());
    let pem = std::fs::read(&config.seal_key).map_err(|error| wrong(&error.kind()))?;
    let seal_key = SealKey::from_pem(&pem).map_err(|reason| wrong(&reason))?;
    let mut options = Options::new(&config.store_directory, config.read_id_key()?, seal_key);
    options.timezone = config.timezone();
    SqliteStore::open(options).map(Arc::new).map_err(|error| error.to_string())
}

impl Parts {
    /// What stands between the doors and the store. `schemas`: as in the field.
    pub fn new<S: Mending + Outbox>(config: &Config, schemas: Option<&Path>, store: Arc<S>) -> Result<Self, String> {
        let outbox: Arc<dyn Outbox> = store.clone();
        let store: Arc<dyn Mending> = store;
        let id_key = config.read_id_key()?;
        let clock = Clock::System;
        let verifier = Verifier::new(issuers(&config.issuers)?, clock.clone())?;
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
        let schemas = schemas.map(Path::to_owned);
        Ok(Self { store, outbox, api, verifier, dialects, schemas, id_key, clock, metrics: Metrics::default() })
    }

    /// The sending corridor; counts what waits in quarantine.
    pub fn intake(&self, config: &Config) -> Result<Intake, String> {
        let feeds = feeds(config, &self.dialects, &self.id_key, None)?;
        let refusals = self.api.refusals().clone();
        let frames_max = config.limits.quarantine_frames;
        Intake::new(feeds, self.store.clone(), self.clock.clone(), frames_max, self.metrics.clone(), refusals)
            .map_err(|error| error.to_string())
    }
}

/// The configured feeds, each with its adapter. `before`: those in force, whose next hops go on.
pub(super) fn feeds(config: &Config, dialects: &[Arc<dyn Dialect>], id_key: &IdKey, before: Option<&Feeds>) -> Result<Feeds, String> {
    let feed = |feed: &config::Feed| {
        let dialect = dialects.iter().find(|dialect| dialect.name() == feed.adapter);
        let dialect = dialect.ok_or_else(|| format!("feed.{}: no adapter {}", feed.name, feed.adapter))?;
        let plain = matches!(&feed.listener, Listener::Mllp(name) if config.mllp.get(name).is_some_and(|mllp| mllp.tls.is_none()));
        if plain {
            tracing::warn!(feed = feed.name, "whoever reaches the plain listener can send as this feed");
        }
        if let Some(relay) = feed.relay.as_ref().filter(|relay| relay.files.ca.is_none()) {
            tracing::warn!(
                feed = feed.name,
                to = relay.to,
                "passed on in the clear, because the configuration says so: anyone between can read and alter it"
            );
        }
        Feed::new(feed, &**dialect, id_key, &config.https.base_url)
            .relayed(before.and_then(|before| before.named(&feed.name)).map(|feed| &**feed))
    };
    config.feeds.values().map(feed).collect::<Result<Vec<_>, String>>().map(Feeds::new)
}

/// The configured issuers, with their keys as they are in the files now.
pub(super) fn issuers(config: &[config::Issuer]) -> Result<Vec<Issuer>, String> {
    let issuer = |issuer: &config::Issuer| {
        let jwks = std::fs::read(&issuer.jwks).map_err(|error| format!("{}: {}", issuer.jwks.display(), error.kind()))?;
        Ok(Issuer { issuer: issuer.issuer.clone(), audience: issuer.audience.clone(), jwks, algorithms: issuer.algorithms.clone() })
    };
    config.iter().map(issuer).collect()
}

/// Paging links hold on all replicas and after a restart: their key comes from the one key that is kept.
fn paging_key(id_key: &IdKey) -> Vec<u8> {
    id_key.id(&Key::new("", "landbridge", "paging links")).into_bytes()
}
