//! What changes while the gateway serves: certificates and revocation lists, issuers and their keys, feeds and tables. All
//! are read again at SIGHUP, and when a file of theirs changed. Each part is taken up whole, with an audit entry before; or
//! it stays as it was, which is said. No connection ends, but those whose client is no longer trusted.

use super::{entry, parts, refuse_development_material};
use crate::access::{Believed, Verifier};
use crate::adapters::dialects;
use crate::audit::{Action, Entry};
use crate::clock::Clock;
use crate::config::{Config, Issuer, Listener, Mistake, Tls as Files};
use crate::intake::{Feeds, Intake};
use crate::listen::https::Https;
use crate::listen::tls::Tls;
use crate::mllp::Receiver;
use crate::observe::Metrics;
use crate::relay::Relays;
use crate::store::Store;
use contract::{Dialect, IdKey};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How often files are looked at. One that changed is taken up when it has been the same twice: it may be half written.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// All that can be changed in place.
pub struct Reload {
    /// Under which the gateway started: what cannot be changed in place is as it says.
    pub started: Config,
    pub schemas: Option<PathBuf>,
    pub tls: Vec<(String, Arc<Tls>)>,
    pub verifier: Verifier,
    pub intake: Intake,
    pub relays: Arc<Relays>,
    pub store: Arc<dyn Store>,
    pub id_key: IdKey,
    pub clock: Clock,
    pub metrics: Metrics,
    pub force: Mutex<Force>,
}

/// What is in force, besides what the parts know themselves.
pub struct Force {
    /// The last configuration that could be read: its files are looked at.
    config: Config,
    dialects: Vec<Arc<dyn Dialect>>,
    issuers: [u8; 32],
    watch: Watch,
}

impl Force {
    pub fn new(config: &Config, dialects: Vec<Arc<dyn Dialect>>, schemas: Option<&Path>) -> Self {
        let now = fingerprint(config, schemas);
        Self { config: config.clone(), dialects, issuers: keys_digest(&config.issuers), watch: Watch { taken: now, last: now } }
    }
}

impl Reload {
    /// Looks at the files, and reads them again where they changed.
    pub async fn look(&self) {
        let mut force = self.force.lock().await;
        let (config, schemas) = (force.config.clone(), self.schemas.clone());
        let Ok(now) = tokio::task::spawn_blocking(move || fingerprint(&config, schemas.as_deref())).await else { return };
        if force.watch.is_settled(now) {
            self.take(&mut force).await;
        }
    }

    /// Reads all files again.
    pub async fn now(&self) {
        self.take(&mut *self.force.lock().await).await;
    }

    async fn take(&self, force: &mut Force) {
        let config = match self.read().await {
            Ok(config) => config,
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!(mistake = mistake.told(&self.started.file), "the configuration has a mistake");
                }
                return self.refused("configuration", "the one before stays in force").await;
            }
        };
        for key in at_next_start(&self.started, &config) {
            tracing::warn!(key, "changed in the configuration: it takes effect at the next start");
        }
        for (listener, tls) in &self.tls {
            if let Some(files) = files(&config, listener) {
                self.certificates(listener, tls, files).await;
            }
        }
        self.issuers(force, &config.issuers).await;
        self.feeds(force, &config).await;
        // After them: a relay that was changed has read its files just now.
        for feed in self.intake.feeds().iter() {
            if let Some(hop) = &feed.next_hop {
                self.next_hop(feed.name(), hop).await;
            }
        }
        force.config = config;
    }

    async fn read(&self) -> Result<Config, Vec<Mistake>> {
        let file = self.started.file.clone();
        let whole = |reason: String| vec![Mistake { line: 0, key: String::new(), reason }];
        let read = tokio::task::spawn_blocking(move || {
            let config = Config::load(&file)?;
            refuse_development_material(&config).map_err(whole)?;
            Ok(config)
        });
        read.await.unwrap_or_else(|_| Err(whole("reading it broke off".into())))
    }

    async fn certificates(&self, listener: &str, tls: &Tls, files: &Files) {
        let part = format!("certificates of {listener}");
        match tls.fresh(files) {
            Ok(None) => {}
            Ok(Some(fresh)) => {
                if self.write_down(&part, 0).await {
                    tls.take(fresh);
                    self.metrics.certificate(listener, tls.ends());
                }
            }
            Err(error) => self.refused(&part, &error).await,
        }
    }

    async fn next_hop(&self, feed: &str, hop: &Receiver) {
        let part = format!("certificates of feed.{feed}.relay");
        match hop.fresh() {
            Ok(None) => {}
            Ok(Some(fresh)) => {
                if self.write_down(&part, 0).await {
                    hop.take(fresh);
                }
            }
            Err(error) => self.refused(&part, &error).await,
        }
    }

    async fn issuers(&self, force: &mut Force, issuers: &[Issuer]) {
        let digest = keys_digest(issuers);
        if digest == force.issuers {
            return;
        }
        match parts::issuers(issuers).and_then(Believed::new) {
            Ok(believed) => {
                if self.write_down("issuers and their keys", 0).await {
                    self.verifier.replace(believed);
                    force.issuers = digest;
                }
            }
            Err(error) => self.refused("issuers and their keys", &error).await,
        }
    }

    async fn feeds(&self, force: &mut Force, config: &Config) {
        let fresh = match self.read_feeds(&force.dialects, config) {
            Ok(fresh) => fresh,
            Err(error) => return self.refused("feeds and tables", &error).await,
        };
        let changes = changes(&self.intake.feeds(), &fresh.1);
        if changes.is_empty() {
            return;
        }
        let part = format!("feeds and tables: {changes}");
        if !self.write_down(&part, 0).await {
            return;
        }
        // First the store, which takes what is on its way under the recipes before all the same; then whoever sends.
        for feed in fresh.1.iter() {
            if let Err(error) = self.store.activate(feed.name(), &feed.recipe).await {
                return self.refused(&part, &error.to_string()).await;
            }
        }
        match self.intake.replace(fresh.1) {
            Ok(()) => {
                force.dialects = fresh.0;
                self.relays.follow(&self.intake.feeds()).await;
            }
            Err(error) => self.refused(&part, &error.to_string()).await,
        }
    }

    /// The built-in tables cannot change, so they are not compiled again.
    fn read_feeds(&self, before: &[Arc<dyn Dialect>], config: &Config) -> Result<(Vec<Arc<dyn Dialect>>, Feeds), String> {
        for feed in config.feeds.values() {
            if let Listener::Mllp(name) = &feed.listener
                && !self.started.mllp.contains_key(name)
            {
                return Err(format!("feed.{}: mllp.{name} is opened at the next start", feed.name));
            }
        }
        let dialects = match &self.schemas {
            Some(folder) => dialects(Some(folder))?,
            None => before.to_vec(),
        };
        let mut config = config.clone();
        config.https.base_url.clone_from(&self.started.https.base_url);
        let feeds = parts::feeds(&config, &dialects, &self.id_key, Some(&self.intake.feeds()))?;
        Ok((dialects, feeds))
    }

    async fn refused(&self, part: &str, error: &str) {
        tracing::error!(part, error, "not taken up: what was in force stays");
        self.write_down(part, 4).await;
    }

    /// Whether the change may be made: none is without its entry.
    async fn write_down(&self, part: &str, outcome: u8) -> bool {
        let reason = if outcome == 0 { String::new() } else { "refused".to_owned() };
        let entry = Entry { outcome, reason, request: part.to_owned(), ..entry(Action::Configure, &self.clock) };
        match self.store.record(entry).await {
            Ok(()) if outcome == 0 => {
                tracing::info!(part, "taken up");
                true
            }
            Ok(()) => true,
            Err(error) => {
                self.metrics.audit_failure();
                tracing::error!(part, %error, "not taken up: it cannot be written down");
                false
            }
        }
    }
}

/// The names of feeds that are not as they were; empty where all are.
fn changes(before: &Feeds, after: &Feeds) -> String {
    let mut words = Vec::new();
    for feed in after.iter() {
        match before.named(feed.name()) {
            None => words.push(format!("{} added", feed.name())),
            Some(known) if known.recipe != feed.recipe || known.config != feed.config => words.push(format!("{} changed", feed.name())),
            Some(_) => {}
        }
    }
    let removed = before.iter().filter(|feed| after.named(feed.name()).is_none());
    words.extend(removed.map(|feed| format!("{} removed", feed.name())));
    words.join(", ")
}

/// Keys whose change waits for a start.
fn at_next_start(started: &Config, now: &Config) -> Vec<&'static str> {
    let endpoints =
        |config: &Config| config.issuers.first().map(|issuer| (issuer.token_endpoint.clone(), issuer.authorization_endpoint.clone()));
    let doors = |config: &Config| {
        let doors = config.mllp.iter().map(|(name, door)| (name.clone(), door.listen, door.tls.is_some(), door.proxies.clone()));
        doors.collect::<Vec<_>>()
    };
    let same = [
        ("store", started.store_directory == now.store_directory),
        ("keys", started.id_key == now.id_key && started.seal_key == now.seal_key),
        ("audit.seals", started.seals == now.seals),
        ("https.listen", started.https.listen == now.https.listen),
        ("https.proxies", started.https.proxies == now.https.proxies),
        ("https.base_url", started.https.base_url == now.https.base_url),
        ("mllp", doors(started) == doors(now)),
        ("issuer[0].token_endpoint", endpoints(started) == endpoints(now)),
        ("observe", started.observe == now.observe),
        ("limits", started.limits == now.limits),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}

/// The files of a listener, where it still has some.
fn files<'c>(config: &'c Config, listener: &str) -> Option<&'c Files> {
    match listener.strip_prefix("mllp.") {
        Some(name) => config.mllp.get(name)?.tls.as_ref(),
        None => (listener == Https::NAME).then_some(&config.https.tls),
    }
}

fn keys_digest(issuers: &[Issuer]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for issuer in issuers {
        digest.update(format!("{issuer:?}"));
        digest.update(std::fs::read(&issuer.jwks).unwrap_or_default());
    }
    digest.finalize().into()
}

/// Of all files that can be taken up in place, by content: Kubernetes swaps a link, and keeps times.
fn fingerprint(config: &Config, schemas: Option<&Path>) -> [u8; 32] {
    let mut files = vec![config.file.clone()];
    for tls in config.mllp.values().filter_map(|listener| listener.tls.as_ref()).chain([&config.https.tls]) {
        files.extend([&tls.certificate, &tls.key, &tls.client_ca].into_iter().chain(&tls.client_crl).cloned());
    }
    for relay in config.feeds.values().filter_map(|feed| feed.relay.as_ref()) {
        files.extend([&relay.files.ca, &relay.files.certificate, &relay.files.key].into_iter().flatten().cloned());
    }
    files.extend(config.issuers.iter().map(|issuer| issuer.jwks.clone()));
    let mut folders: Vec<PathBuf> = schemas.map(Path::to_owned).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_default();
        digest.update(file.as_os_str().as_encoded_bytes());
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }
    digest.finalize().into()
}

/// When files that changed have settled.
struct Watch {
    taken: [u8; 32],
    last: [u8; 32],
}

impl Watch {
    fn is_settled(&mut self, now: [u8; 32]) -> bool {
        let is_settled = now == self.last && now != self.taken;
        self.last = now;
        if is_settled {
            self.taken = now;
        }
        is_settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_up_when_they_have_settled_and_once() {
        let mut watch = Watch { taken: [0; 32], last: [0; 32] };
        let looks = [0, 1, 2, 2, 2, 3, 2, 2, 0, 0].map(|content| watch.is_settled([content; 32]));
        assert_eq!(looks, [false, false, false, true, false, false, false, false, false, true]);
    }
}
