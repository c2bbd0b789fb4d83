//! A running gateway: opens all doors, keeps the audit sealed, and drains.

mod check;
mod parts;
mod reload;
mod seals;
#[cfg(test)]
mod tests;

pub use check::{Checked, check};
pub use parts::{Parts, store};

use crate::api::Api;
use crate::audit::{Action, Agent, Entry};
use crate::clock::Clock;
use crate::config::Config;
use crate::development;
use crate::intake::Ingest;
use crate::listen::https::{self, Https};
use crate::listen::mllp::Mllp;
use crate::listen::tls::{ClientCertificate, Tls};
use crate::listen::{Entrance, Limits, Proxies};
use crate::observe::Observer;
use crate::ops::{Desk, Ops};
use crate::relay::Relays;
use crate::signals::{Asked, Signals};
use crate::store::Store;
use reload::{Force, LOOK_INTERVAL, Reload};
use seals::Seals;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How long a drain waits for what is in hand.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(25);
/// The operators' listener: few scrape it.
const OBSERVER_CONNECTIONS_MAX: usize = 64;
/// How often it is counted what waits in quarantine, for what was done about it beside the gateway.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);

/// A gateway with open doors.
pub struct Running {
    /// By listener: `https`, `mllp.main`, `observe`.
    pub addresses: BTreeMap<String, SocketAddr>,
    draining: watch::Sender<bool>,
    doors: JoinSet<()>,
    /// The MLLP doors: what is spooled at them beside a relay is told at the stop.
    spools: Vec<Arc<Mllp>>,
    observer: Observer,
    observer_door: JoinHandle<()>,
    observer_draining: watch::Sender<bool>,
    seals: Seals,
    store: Arc<dyn Store>,
    api: Api,
    relays: Arc<Relays>,
    clock: Clock,
    reload: Reload,
}

/// Opens all doors. Errors are words for the operator; then no door is open.
pub async fn start(config: &Config, parts: Parts) -> Result<Running, String> {
    refuse_development_material(config)?;
    // Reads the journal; nobody is served yet who could wait for it.
    let intake = parts.intake(config)?;
    // The configuration that starts is the one in force, an earlier one that was taken up again too.
    for feed in intake.feeds().iter() {
        parts.store.activate(feed.name(), &feed.recipe).await.map_err(|error| format!("feed.{}: {error}", feed.name()))?;
    }
    let Parts { store, outbox, api, verifier, dialects, schemas, id_key, clock, metrics } = parts;
    let limits = Limits {
        connections: config.limits.connections,
        frame_bytes: config.limits.frame_bytes,
        frame_time: config.limits.frame_time,
        handshake_time: Limits::HANDSHAKE_TIME,
        idle_time: Limits::IDLE_TIME,
        write_time: Limits::WRITE_TIME,
        connection_age: config.limits.connection_age,
    };
    let proxies = |listed: &[_]| Proxies::new(listed, limits.handshake_time);
    // All is read and bound before anyone is served.
    let mut reloadable = Vec::new();
    let mut terminate = |name: &str, files, client| {
        let tls = Arc::new(Tls::new(files, client, limits.handshake_time).map_err(|error| format!("{name}: {error}"))?);
        metrics.certificate(name, tls.ends());
        reloadable.push((name.to_owned(), tls.clone()));
        Ok::<_, String>(tls)
    };
    let https_tls = terminate(Https::NAME, &config.https.tls, ClientCertificate::Asked)?;
    let https_door = Entrance::open(Https::NAME, config.https.listen, limits.connections, metrics.clone()).await?;
    let mut mllp = Vec::new();
    for (name, listener) in &config.mllp {
        let full = format!("mllp.{name}");
        let tls = listener.tls.as_ref().map(|files| terminate(&full, files, ClientCertificate::Demanded)).transpose()?;
        if tls.is_none() {
            let finding = "not encrypted: anyone on the network between can read and alter what is sent, or send as its feeds";
            tracing::warn!(listener = full, finding, "a plain listener, because the configuration says so");
        }
        let door = Entrance::open(&full, listener.listen, limits.connections, metrics.clone()).await?;
        mllp.push((door, Arc::new(Mllp::new(name, tls, proxies(&listener.proxies), intake.clone(), limits, metrics.clone()))));
    }
    let observer_door = Entrance::open("observe", config.observe, OBSERVER_CONNECTIONS_MAX, metrics.clone()).await?;
    store.record(entry(Action::Start, &clock)).await.map_err(|error| format!("the start cannot be written down: {error}"))?;

    let seals = Seals::start(config.seals.clone(), store.clone(), clock.clone(), metrics.clone()).await?;

    let mut addresses = BTreeMap::new();
    for door in [&https_door, &observer_door].into_iter().chain(mllp.iter().map(|(door, _)| door)) {
        let address = door.address().map_err(|error| format!("{}: {}", door.name, error.kind()))?;
        addresses.insert(door.name.to_string(), address);
    }
    let (draining, drained) = watch::channel(false);
    let (observer_draining, observer_drained) = watch::channel(false);
    let mut doors = JoinSet::new();
    let spools = mllp.iter().map(|(_, mllp)| mllp.clone()).collect();
    for (door, mllp) in mllp {
        let drain = drained.clone();
        doors.spawn(door.serve(drained.clone(), move |guest| mllp.clone().serve(guest, drain.clone())));
    }
    let ingest = Ingest::new(intake.clone(), verifier.clone(), limits.frame_bytes, limits.frame_time);
    let desk =
        Desk { store: store.clone(), intake: Some(intake.clone()), config: config.clone(), id_key: id_key.clone(), clock: clock.clone() };
    let ops = Ops::new(desk, verifier.clone(), api.refusals().clone());
    let https = Arc::new(Https::new(
        https_tls,
        proxies(&config.https.proxies),
        api.clone(),
        (ingest, ops),
        intake.clone(),
        limits,
        metrics.clone(),
    ));
    doors.spawn(https_door.serve(drained.clone(), move |guest| https.clone().serve(guest, drained.clone())));
    let observer = Observer::new(metrics.clone(), store.clone());
    let answering = observer.clone();
    let drain = observer_drained.clone();
    let observer_door =
        tokio::spawn(observer_door.serve(observer_drained, move |guest| https::observe(answering.clone(), guest, limits, drain.clone())));
    let relays = Arc::new(Relays::new(outbox, clock.clone(), metrics.clone()));
    relays.follow(&intake.feeds()).await;
    let reload = Reload {
        started: config.clone(),
        force: Mutex::new(Force::new(config, dialects, schemas.as_deref())),
        schemas,
        tls: reloadable,
        verifier,
        intake,
        relays: relays.clone(),
        store: store.clone(),
        id_key,
        clock: clock.clone(),
        metrics,
    };
    Ok(Running { addresses, draining, doors, spools, observer, observer_door, observer_draining, seals, store, api, relays, clock, reload })
}

impl Running {
    /// One line for whoever started the gateway.
    pub fn ready_line(&self) -> String {
        let mut line = serde_json::Map::new();
        line.insert("ready".into(), true.into());
        line.extend(self.addresses.iter().map(|(name, address)| (name.clone(), address.to_string().into())));
        serde_json::Value::Object(line).to_string()
    }

    /// Resolves at SIGTERM or SIGINT. At SIGHUP, and where a file changed, what can be changed in place is.
    pub async fn until_told_to_stop(&self, mut signals: Signals) {
        let mut looks = interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut counts = interval_at(Instant::now() + COUNT_INTERVAL, COUNT_INTERVAL);
        counts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => return,
                    Asked::Reload => self.reload.now().await,
                },
                _ = looks.tick() => self.reload.look().await,
                _ = counts.tick() => self.reload.intake.recount().await,
            }
        }
    }

    /// Stops accepting, finishes and acknowledges what is in hand, seals the audit. Errors say what was left undone.
    pub async fn shutdown(mut self) -> Result<(), String> {
        self.observer.drain();
        let _ = self.draining.send(true);
        let mut left = Vec::new();
        let all_closed = async { while self.doors.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIME_MAX, all_closed).await.is_err() {
            left.push("some connections were cut off".to_owned());
            self.doors.shutdown().await;
        }
        for mllp in &self.spools {
            mllp.end().await;
        }
        self.relays.stop().await;
        self.api.close().await;
        if let Err(error) = self.store.record(entry(Action::Stop, &self.clock)).await {
            left.push(format!("the stop could not be written down: {error}"));
        }
        if let Err(error) = self.seals.stop().await {
            left.push(error);
        }
        let _ = self.observer_draining.send(true);
        if tokio::time::timeout(Duration::from_secs(1), &mut self.observer_door).await.is_err() {
            self.observer_door.abort();
        }
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    }
}

/// Keys that everybody has protect nobody: they serve on this machine alone.
fn refuse_development_material(config: &Config) -> Result<(), String> {
    let material = development::material(config);
    let outside =
        config.mllp.values().map(|listener| listener.listen).chain([config.https.listen]).find(|address| !address.ip().is_loopback());
    match (material.first(), outside) {
        (Some(file), Some(address)) => Err(format!(
            "{} is development material, which anyone may have: it is refused on {address}; use 127.0.0.1, or keys of your own",
            file.display()
        )),
        _ => Ok(()),
    }
}

fn entry(action: Action, clock: &Clock) -> Entry {
    Entry::new(clock.now(), action, Agent { who: "system".into(), ..Agent::default() })
}
