//! Refusals before anyone is known. Each needs an entry, and an attacker must not fill the disk with them: the first per
//! source, kind and second is written in full before its answer; its repeats are counted into one entry.

use crate::audit::Entry;
use crate::clock::Clock;
use crate::store::{Store, StoreError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Sources and kinds told apart within a second; further ones are counted together.
const WINDOWS_MAX: usize = 4096;
/// The source of those.
const MANY: &str = "many";

/// Cheap to clone.
#[derive(Clone)]
pub struct Refusals {
    store: Arc<dyn Store>,
    clock: Clock,
    windows: Arc<Mutex<HashMap<Key, Window>>>,
}

/// Source and kind.
type Key = (String, &'static str);

struct Window {
    second: i64,
    repeats: u32,
    /// The first, without what it asked.
    sample: Entry,
}

impl Refusals {
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, windows: Arc::default() }
    }

    /// Resolves when the refusal may be answered: the first when its entry is durable, a repeat of a durable one at once.
    pub async fn record(&self, source: &str, kind: &'static str, entry: Entry) -> Result<(), StoreError> {
        let second = entry.at.as_second();
        let key = (source.to_owned(), kind);
        if let Some(repeats) = self.repeat(&key, second) {
            if repeats == 1 {
                // Nobody may come after this one: the window closes by itself.
                let refusals = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1100)).await;
                    refusals.flush().await;
                });
            }
            return Ok(());
        }
        // A task of its own: who is refused may hang up, and others' counts are in hand here.
        let refusals = self.clone();
        let written = tokio::spawn(async move {
            refusals.write(refusals.due(second)).await;
            // Kept without what was asked: the counted entry stands for many.
            let sample = Entry { request: String::new(), ..entry.clone() };
            refusals.store.record(entry).await?;
            refusals.keep(key, Window { second, repeats: 0, sample });
            Ok(())
        });
        written.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the entry was given up".into())))
    }

    /// Writes the counted entries of seconds that are over.
    pub async fn flush(&self) {
        self.write(self.due(self.clock.now().as_second())).await;
    }

    /// Writes all of them, when the doors are closed.
    pub async fn close(&self) {
        self.write(self.due(i64::MAX)).await;
    }

    /// Counts a repeat, and says how many there are; `None` if the window has no durable first.
    fn repeat(&self, key: &Key, second: i64) -> Option<u32> {
        let mut windows = self.windows();
        let full = windows.len() >= WINDOWS_MAX;
        let many = (MANY.to_owned(), key.1);
        let key = if full && !windows.contains_key(key) { &many } else { key };
        let window = windows.get_mut(key).filter(|window| window.second == second)?;
        window.repeats += 1;
        Some(window.repeats)
    }

    fn keep(&self, mut key: Key, window: Window) {
        let mut windows = self.windows();
        if windows.len() >= WINDOWS_MAX && !windows.contains_key(&key) {
            key.0 = MANY.to_owned();
        }
        match windows.entry(key) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(window);
            }
            std::collections::hash_map::Entry::Occupied(mut place) => place.get_mut().repeats += window.repeats,
        }
    }

    /// Takes the windows of seconds before this one out, those with repeats in the order of their time.
    fn due(&self, second: i64) -> Vec<(Key, Window)> {
        let mut due: Vec<(Key, Window)> = self.windows().extract_if(|_, window| window.second < second).collect();
        due.retain(|(_, window)| window.repeats > 0);
        due.sort_by(|(one_key, one), (two_key, two)| (one.sample.at, one_key).cmp(&(two.sample.at, two_key)));
        due
    }

    /// What cannot be written is kept, and tried again with the next.
    async fn write(&self, due: Vec<(Key, Window)>) {
        for (key, window) in due {
            let entry = Entry { count: window.repeats, ..window.sample.clone() };
            if let Err(error) = self.store.record(entry).await {
                tracing::error!(count = window.repeats, %error, "counted refusals could not be written down yet");
                self.keep(key, window);
            }
        }
    }

    fn windows(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
