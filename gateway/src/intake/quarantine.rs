use crate::observe::Metrics;
use crate::store::{JournalFilter, Store, StoreError};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows of the journal that are counted at once.
const PAGE: usize = 1000;

/// How many frames wait in quarantine, per feed (or per listener, for frames of no feed): kept without a resource, to be
/// mended and replayed. Bounded, or a broken sender fills the disk.
pub struct Quarantine {
    frames_max: u64,
    waiting: Mutex<HashMap<String, u64>>,
    metrics: Metrics,
}

impl Quarantine {
    pub fn new(frames_max: u64, metrics: Metrics) -> Self {
        Self { frames_max, waiting: Mutex::default(), metrics }
    }

    /// Counts what waits of a feed from before.
    pub fn count(&self, store: &dyn Store, of: &str) -> Result<(), StoreError> {
        let mut filter = JournalFilter { feed: Some(of.to_owned()), waiting: true, ..JournalFilter::default() };
        let mut frames = 0;
        // In pages: as many as may wait would be a spike of memory.
        while frames < self.frames_max {
            let rows = store.journal(&filter, PAGE)?;
            frames += rows.len() as u64;
            match rows.last() {
                Some(last) if rows.len() == PAGE => filter.after = last.position,
                _ => break,
            }
        }
        self.put(&mut self.lock(), of, frames);
        Ok(())
    }

    /// Counts all anew: what is replayed, edited or withdrawn beside the gateway is not told to it.
    pub fn recount(&self, store: &dyn Store) -> Result<(), StoreError> {
        let known: Vec<String> = self.lock().keys().cloned().collect();
        known.iter().try_for_each(|of| self.count(store, of))
    }

    pub fn is_full(&self, of: &str) -> bool {
        self.lock().get(of).is_some_and(|frames| *frames >= self.frames_max)
    }

    pub fn add(&self, of: &str) {
        let mut waiting = self.lock();
        let frames = waiting.get(of).copied().unwrap_or_default() + 1;
        self.put(&mut waiting, of, frames);
    }

    /// One was stored after all.
    pub fn release(&self, of: &str) {
        let mut waiting = self.lock();
        let frames = waiting.get(of).copied().unwrap_or_default().saturating_sub(1);
        self.put(&mut waiting, of, frames);
    }

    fn put(&self, waiting: &mut HashMap<String, u64>, of: &str, frames: u64) {
        waiting.insert(of.to_owned(), frames);
        self.metrics.quarantine(of, frames);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
