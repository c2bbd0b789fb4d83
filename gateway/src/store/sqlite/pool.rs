//! Connections that read, kept for the next who asks. A read transaction ends with the call.

use super::schema::Layout;
use crate::store::StoreError;
use rusqlite::{Connection, Transaction};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Idle connections kept.
const IDLE_MAX: usize = 16;
/// Steps of SQLite's machine between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

pub(super) struct Pool {
    layout: Layout,
    directory: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn new(layout: Layout, directory: PathBuf) -> Self {
        Self { layout, directory, idle: Mutex::default() }
    }

    /// Reads from one snapshot.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with(|connection| within(connection, read))
    }

    /// Reads from one snapshot, for so long at most.
    pub(super) fn read_within<T>(
        &self,
        most: Duration,
        read: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        self.with(|connection| {
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || started.elapsed() > most))?;
            let outcome = within(connection, read);
            connection.progress_handler(0, None::<fn() -> bool>)?;
            outcome
        })
    }

    fn with<T>(&self, read: impl FnOnce(&mut Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.layout.reader(&self.directory)?,
        };
        let outcome = read(&mut connection);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && connection.is_autocommit() {
            idle.push(connection);
        }
        outcome
    }
}

fn within<T>(connection: &mut Connection, read: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let transaction = connection.transaction()?;
    let outcome = read(&transaction);
    transaction.finish()?;
    outcome
}
