//! Small integers for names that are few, and for ids.

use crate::store::StoreError;
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;

/// What a writer has looked up. Rows of these tables never change, so what is durable may be remembered for good.
#[derive(Default)]
pub(super) struct Names {
    kinds: HashMap<String, i64>,
    systems: HashMap<String, i64>,
    feeds: HashMap<String, i64>,
}

impl Names {
    pub(super) fn kind(&mut self, connection: &Connection, name: &str) -> Result<i64, StoreError> {
        remembered(&mut self.kinds, name, || {
            number(connection, "SELECT id FROM kind WHERE name = ?1", "INSERT INTO kind (name) VALUES (?1)", name)
        })
    }

    /// Of a token's system.
    pub(super) fn system(&mut self, connection: &Connection, uri: &str) -> Result<i64, StoreError> {
        remembered(&mut self.systems, uri, || {
            number(connection, "SELECT id FROM system WHERE uri = ?1", "INSERT INTO system (uri) VALUES (?1)", uri)
        })
    }

    pub(super) fn feed(&mut self, connection: &Connection, name: &str) -> Result<i64, StoreError> {
        remembered(&mut self.feeds, name, || {
            number(connection, "SELECT id FROM feed WHERE name = ?1", "INSERT INTO feed (name) VALUES (?1)", name)
        })
    }

    /// Something was rolled back, perhaps rows that are remembered here.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The key row of `Type/id`, made where there is none.
    pub(super) fn key(&mut self, connection: &Connection, kind: &str, id: &str) -> Result<i64, StoreError> {
        let kind = self.kind(connection, kind)?;
        let name = key_name(id);
        if let Some(key) = find_key(connection, kind, &name)? {
            return Ok(key);
        }
        let mut statement = connection.prepare_cached("INSERT INTO key (name, kind) VALUES (?1, ?2)")?;
        statement.insert((name, kind)).map_err(StoreError::from)
    }
}

/// An id as the key table has it: a UUID of ours as its 16 bytes, other text behind words that are longer, so
/// that neither can be the other.
pub(super) fn key_name(id: &str) -> Vec<u8> {
    match uuid::Uuid::try_parse(id) {
        // FHIR ids tell cases apart, and a UUID has other spellings: only our own is the resource.
        Ok(uuid) if uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()) == id => uuid.into_bytes().to_vec(),
        _ => [TEXT, id.as_bytes()].concat(),
    }
}

/// The id of a key.
pub(super) fn id_of(name: &[u8]) -> String {
    match <[u8; 16]>::try_from(name) {
        Ok(bytes) => uuid::Uuid::from_bytes(bytes).hyphenated().to_string(),
        Err(_) => String::from_utf8_lossy(name.strip_prefix(TEXT).unwrap_or_default()).into_owned(),
    }
}

const TEXT: &[u8] = b"text of a foreign id:";

pub(super) fn find_key(connection: &Connection, kind: i64, name: &[u8]) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM key WHERE name = ?1 AND kind = ?2")?;
    statement.query_row((name, kind), |row| row.get(0)).optional().map_err(StoreError::from)
}

pub(super) fn find_kind(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    find(connection, "SELECT id FROM kind WHERE name = ?1", name)
}

pub(super) fn find_system(connection: &Connection, uri: &str) -> Result<Option<i64>, StoreError> {
    find(connection, "SELECT id FROM system WHERE uri = ?1", uri)
}

pub(super) fn find_feed(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    find(connection, "SELECT id FROM feed WHERE name = ?1", name)
}

fn find(connection: &Connection, sql: &str, name: &str) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row([name], |row| row.get(0)).optional().map_err(StoreError::from)
}

fn number(connection: &Connection, select: &str, insert: &str, name: &str) -> Result<i64, StoreError> {
    match find(connection, select, name)? {
        Some(id) => Ok(id),
        None => connection.prepare_cached(insert).and_then(|mut statement| statement.insert([name])).map_err(StoreError::from),
    }
}

fn remembered(known: &mut HashMap<String, i64>, name: &str, find: impl FnOnce() -> Result<i64, StoreError>) -> Result<i64, StoreError> {
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let id = find()?;
    known.insert(name.to_owned(), id);
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_and_only_our_spelling_is_a_uuid() {
        let uuid = "0190f5c0-6b1e-8a7b-9c3d-2e4f5a6b7c8d";
        for id in [uuid, &uuid.to_uppercase(), &uuid.replace('-', ""), "p1", "", "0123456789abcdef"] {
            assert_eq!(id_of(&key_name(id)), id);
            assert_eq!(key_name(id).len() == 16, id == uuid, "{id}");
        }
    }
}
