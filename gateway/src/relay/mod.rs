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
use tokio::time::{Instant, timeout_at};

/// How long a stop waits for the acknowledgement under way.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// The relays of all feeds that have one of this mode.
pub struct Relays {
    outbox: Arc<dyn Outbox>,
    clock: Clock,
    metrics: Metrics,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    running: BTreeMap<String, Running>,
    /// Told to end: the last of each feed, which awaits those before it.
    ending: BTreeMap<String, JoinHandle<()>>,
}

struct Running {
    relay: config::Relay,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relays {
    pub fn new(outbox: Arc<dyn Outbox>, clock: Clock, metrics: Metrics) -> Self {
        Self { outbox, clock, metrics, tasks: Mutex::default() }
    }

    /// Passes on for these feeds from now on. One whose relay is as it was goes on.
    pub async fn follow(&self, feeds: &Feeds) {
        let mut tasks = self.tasks.lock().await;
        let Tasks { running, ending } = &mut *tasks;
        let relayed = |name: &str| feeds.named(name).and_then(|feed| feed.config.relays(RelayMode::AfterCommit));
        let ends: Vec<String> =
            running.iter().filter(|(name, one)| relayed(name) != Some(&one.relay)).map(|(name, _)| name.clone()).collect();
        for name in ends {
            if let Some(one) = running.remove(&name) {
                let _ = one.stop.send(true);
                ending.insert(name, one.task);
            }
        }
        for feed in feeds.iter() {
            let (Some(relay), Some(hop)) = (feed.config.relays(RelayMode::AfterCommit), &feed.next_hop) else { continue };
            if running.contains_key(feed.name()) {
                continue;
            }
            let (stop, stopping) = watch::channel(false);
            let deliverer = Deliverer::new(feed.name(), relay, hop.clone(), self, stopping);
            let before = ending.remove(feed.name());
            let task = tokio::spawn(async move {
                // Never two at once: they would overtake one another. A relay that was taken out and is back may find its last one at work.
                if let Some(before) = before {
                    let _ = before.await;
                }
                deliverer.run().await;
            });
            running.insert(feed.name().to_owned(), Running { relay: relay.clone(), stop, task });
        }
        let outbox = self.outbox.clone();
        let backlogs = tokio::task::spawn_blocking(move || outbox.backlogs()).await;
        for backlog in backlogs.into_iter().flatten().flatten() {
            if backlog.waiting > 0 && !running.contains_key(&backlog.feed) {
                let (feed, waiting) = (backlog.feed, backlog.waiting);
                tracing::warn!(feed, waiting, "messages wait for a next hop that the feed has no more: `relay list` tells them");
            }
        }
    }

    /// Ends after the acknowledgements under way.
    pub async fn stop(&self) {
        let Tasks { running, mut ending } = std::mem::take(&mut *self.tasks.lock().await);
        for (feed, one) in running {
            let _ = one.stop.send(true);
            ending.insert(feed, one.task);
        }
        let by = Instant::now() + STOP_TIME_MAX;
        for (feed, mut task) in ending {
            if timeout_at(by, &mut task).await.is_err() {
                task.abort();
                tracing::warn!(feed, "stopped before the next hop's acknowledgement: the message is sent again at the next start");
            }
        }
    }
}

#[cfg(test)]
mod tests;
