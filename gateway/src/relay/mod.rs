//! Passing on after the commit: what a feed's sender was told is ours goes to its next hop, one message after another, each until
//! the next hop has taken it.
//!
//! - Not reached, or no acknowledgement in time: sent again, with longer pauses, for as long as it takes. Nothing overtakes it.
//! - Refused (AE, AR, CE, CR): sent again `refusals` times in all, then it is a dead letter, and the next one goes.
//! - Taken (AA, CA): marked in the store with its audit entry. Where we end in between it is sent again: at least once, in order.

mod deliver;

use crate::clock::Clock;
use crate::config::{self, RelayMode};
use crate::intake::Feeds;
use crate::observe::Metrics;
use crate::store::outbox::Outbox;
use deliver::Deliverer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

/// How long a stop waits for the acknowledgement under way.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// The relays of all feeds that have one of this mode.
pub struct Relays {
    outbox: Arc<dyn Outbox>,
    clock: Clock,
    metrics: Metrics,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    relay: config::Relay,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relays {
    pub fn new(outbox: Arc<dyn Outbox>, clock: Clock, metrics: Metrics) -> Self {
        Self { outbox, clock, metrics, running: Mutex::default() }
    }

    /// Passes on for these feeds from now on. One whose relay is as it was goes on.
    pub async fn follow(&self, feeds: &Feeds) {
        let mut running = self.running.lock().await;
        let relayed = |name: &str| feeds.named(name).and_then(|feed| feed.config.relays(RelayMode::AfterCommit));
        let ends: Vec<String> =
            running.iter().filter(|(name, one)| relayed(name) != Some(&one.relay)).map(|(name, _)| name.clone()).collect();
        let mut before: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
        for name in ends {
            if let Some(one) = running.remove(&name) {
                let _ = one.stop.send(true);
                before.insert(name, one.task);
            }
        }
        for feed in feeds.iter() {
            let (Some(relay), Some(hop)) = (feed.config.relays(RelayMode::AfterCommit), &feed.next_hop) else { continue };
            if running.contains_key(feed.name()) {
                continue;
            }
            let (stop, stopping) = watch::channel(false);
            let deliverer = Deliverer::new(feed.name(), relay, hop.clone(), self, stopping);
            let before = before.remove(feed.name());
            let task = tokio::spawn(async move {
                // Never two at once: they would overtake one another.
                if let Some(before) = before {
                    let _ = before.await;
                }
                deliverer.run().await;
            });
            running.insert(feed.name().to_owned(), Running { relay: relay.clone(), stop, task });
        }
        for backlog in self.outbox.backlogs().unwrap_or_default() {
            if backlog.waiting > 0 && !running.contains_key(&backlog.feed) {
                let (feed, waiting) = (backlog.feed, backlog.waiting);
                tracing::warn!(feed, waiting, "messages wait for a next hop that the feed has no more: `relay list` tells them");
            }
        }
    }

    /// Ends after the acknowledgements under way.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *self.running.lock().await);
        for one in running.values() {
            let _ = one.stop.send(true);
        }
        for (feed, mut one) in running {
            if tokio::time::timeout(STOP_TIME_MAX, &mut one.task).await.is_err() {
                one.task.abort();
                tracing::warn!(feed, "stopped before the next hop's acknowledgement: the message is sent again at the next start");
            }
        }
    }
}
