//! Connections that read, kept for the next who asks. A read transaction ends with the call.

use super::schema::Layout;
use crate::store::StoreError;
use rusqlite::{Connection, Transaction};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Idle connections kept.
const IDLE_MAX: usize = 16;

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
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.layout.reader(&self.directory)?,
        };
        let transaction = connection.transaction()?;
        let outcome = read(&transaction);
        transaction.finish()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        outcome
    }
}
