//! What people do about messages after they came: one is taken out of the state, is put back, or gives its place to a new
//! version. The frames stay as they came, and each step is kept.

use super::blob::corrupt;
use super::fold::{Stored, is_touched, position, split};
use super::journal::{contributions, outcome, standing, time};
use super::names::{find_key, find_kind, key_name};
use crate::state::{Address, Loader, Rendered, Slots, address, differences, place, refold, rejoin, take_out};
use crate::store::{Edit, Effect, Mend, MendAction, Standing, StoreError};
use contract::{Class, Contribution, IdKey, Json, OutcomeKind, Translation};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeMap, BTreeSet};

/// A message of the journal.
pub(super) struct Message {
    pub(super) position: i64,
    /// The position by which it ranks, and the receipt of that one.
    pub(super) place: i64,
    pub(super) received: Timestamp,
    pub(super) feed: String,
    pub(super) feed_row: i64,
    pub(super) outcome: OutcomeKind,
    pub(super) standing: Standing,
    /// Key rows, as `fold::list` writes them.
    pub(super) patients: String,
}

pub(super) fn message(connection: &Connection, at: u64) -> Result<Message, StoreError> {
    let sql = "SELECT j.position, r.position, r.received, f.name, f.id, j.outcome, j.standing, j.patients
               FROM journal j JOIN feed f ON f.id = j.feed JOIN journal r ON r.position = coalesce(j.place, j.position)
               WHERE j.position = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([position(at)], |row| {
        Ok(Message {
            position: row.get(0)?,
            place: row.get(1)?,
            received: time(row, 2)?,
            feed: row.get(3)?,
            feed_row: row.get(4)?,
            outcome: outcome(row.get_ref(5)?.as_str()?),
            standing: standing(row.get(6)?),
            patients: row.get(7)?,
        })
    });
    found.optional()?.ok_or_else(|| StoreError::Refused(format!("the journal has no position {at}: `journal list` tells them")))
}

impl Message {
    /// Whether it may be withdrawn, or restored, as it stands. An edit is undone by withdrawing the new version and restoring
    /// the original.
    pub(super) fn allows(&self, connection: &Connection, restores: bool) -> Result<(), StoreError> {
        let at = self.position;
        let reason = match (restores, self.standing) {
            (false, Standing::Counts) => return Ok(()),
            (false, Standing::Withdrawn) => format!("the message at position {at} is withdrawn already"),
            (false, Standing::Superseded) => {
                format!("the message at position {at} was edited: withdraw its new version, which `journal show {at}` tells")
            }
            (true, Standing::Counts) => format!("the message at position {at} was not set aside: there is nothing to restore"),
            (true, Standing::Superseded | Standing::Withdrawn) => {
                let others = versions(connection, self.place, at)?;
                let Some((other, _)) = others.iter().find(|(_, is_stored)| *is_stored || !self.outcome.is_stored()) else { return Ok(()) };
                format!("another version of the message at position {at} counts or waits in its place: withdraw that one first, {other}")
            }
        };
        Err(StoreError::Refused(reason))
    }

    /// What it says, placed in the journal; nothing of a frame that was not stored.
    pub(super) fn said(&self, connection: &Connection) -> Result<Vec<Contribution>, StoreError> {
        if !self.outcome.is_stored() {
            return Ok(Vec::new());
        }
        let pruned = || StoreError::Refused(format!("what the message at position {} said is not kept any more", self.position));
        let contributions = contributions(connection, self.position.unsigned_abs())?.ok_or_else(pruned)?;
        let mut translation = Translation { contributions, issues: Vec::new() };
        place(&mut translation, self.place.unsigned_abs(), self.received);
        Ok(translation.contributions)
    }
}

/// The message that an edit is of, where it may still be edited.
pub(super) fn edited(connection: &Connection, edit: &Edit, feed: i64) -> Result<Message, StoreError> {
    let message = message(connection, edit.of)?;
    let reason = match message.standing {
        Standing::Counts if message.feed_row == feed => return Ok(message),
        Standing::Counts => "is another feed's",
        Standing::Superseded => "was edited before: edit its new version",
        Standing::Withdrawn => "is withdrawn: restore it first",
    };
    Err(StoreError::Refused(format!("the message at position {} {reason}", edit.of)))
}

/// Versions of the message that ranks by `place` which were not set aside, but for the one at `but`; each with whether it
/// was stored.
pub(super) fn versions(connection: &Connection, place: i64, but: i64) -> Result<Vec<(i64, bool)>, StoreError> {
    let sql = "SELECT position, outcome FROM journal WHERE position = ?1 AND position <> ?2 AND standing = 0
               UNION SELECT position, outcome FROM journal WHERE place = ?1 AND position <> ?2 AND standing = 0 ORDER BY position";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((place, but), |row| Ok((row.get(0)?, outcome(row.get_ref(1)?.as_str()?).is_stored())))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn stand(connection: &Connection, at: i64, standing: Standing) -> Result<(), StoreError> {
    let number = match standing {
        Standing::Counts => 0,
        Standing::Superseded => 1,
        Standing::Withdrawn => 2,
    };
    connection.execute("UPDATE journal SET standing = ?2 WHERE position = ?1", (at, number)).map(drop).map_err(StoreError::from)
}

/// What the resources that a message is about are without it, for `state::refold`. `said`: by the message.
pub(super) fn without(
    connection: &Connection,
    id_key: &IdKey,
    out: &Message,
    said: &[Contribution],
) -> Result<BTreeMap<Address, Option<Slots>>, StoreError> {
    let about: BTreeSet<Address> = said.iter().filter(|said| is_touched(said)).map(|said| address(id_key, &said.key)).collect();
    let mut left: BTreeMap<Address, Option<Slots>> = BTreeMap::new();
    let mut others: BTreeMap<u64, BTreeSet<Address>> = BTreeMap::new();
    for address in about {
        let Some((_, mut slots)) = Stored { connection }.load(&address)? else { continue };
        let held = slots.len();
        take_out(&mut slots, out.place.unsigned_abs(), address.starts_with("Patient/"));
        let also = touching(connection, &address, out.position)?;
        if also.is_empty() && slots.is_empty() {
            left.insert(address, None);
        } else if slots.len() < held {
            for position in also {
                others.entry(position).or_default().insert(address.clone());
            }
            left.insert(address, Some(slots));
        }
    }
    // Each of the others is read once, and none is kept: a patient may have thousands.
    for (position, addresses) in others {
        let message = message(connection, position)?;
        for contribution in message.said(connection)?.iter().filter(|contribution| contribution.class != Class::Message) {
            let address = address(id_key, &contribution.key);
            if addresses.contains(&address)
                && let Some(Some(slots)) = left.get_mut(&address)
            {
                rejoin(slots, id_key, &message.feed, contribution);
            }
        }
    }
    Ok(left)
}

/// Positions of the other messages about a resource that count.
fn touching(connection: &Connection, address: &str, but: i64) -> Result<Vec<u64>, StoreError> {
    let Some(resource) = resource(connection, address)? else { return Ok(Vec::new()) };
    let sql = "SELECT t.position FROM touch t JOIN journal j ON j.position = t.position
               WHERE t.resource = ?1 AND t.position <> ?2 AND j.standing = 0 AND j.outcome IN ('stored', 'stored-with-issues')";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((resource, but), |row| row.get::<_, i64>(0).map(i64::unsigned_abs))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The key row of `Type/id`.
fn resource(connection: &Connection, address: &str) -> Result<Option<i64>, StoreError> {
    let (kind, id) = split(address);
    match find_kind(connection, kind)? {
        Some(kind) => find_key(connection, kind, &key_name(id)),
        None => Ok(None),
    }
}

/// What a withdrawal, or a restoration, would change; nothing is written.
pub(super) fn preview(connection: &Connection, id_key: &IdKey, at: u64, restores: bool) -> Result<Vec<Effect>, StoreError> {
    let message = message(connection, at)?;
    message.allows(connection, restores)?;
    let said = message.said(connection)?;
    let (without, said) = if restores { (BTreeMap::new(), said) } else { (without(connection, id_key, &message, &said)?, Vec::new()) };
    let changes = refold(&mut Stored { connection }, id_key, &message.feed, without, &said)?;
    let mut effects = Vec::new();
    for change in changes {
        let before = body(connection, &change.address)?;
        let after = match change.rendered {
            Rendered::Body(body) => Some(body),
            Rendered::Deleted => None,
        };
        if before.is_some() != after.is_some() || !differences(before.as_ref(), after.as_ref()).is_empty() {
            effects.push(Effect { address: change.address.to_string(), before, after });
        }
    }
    Ok(effects)
}

/// The body of a resource as it is now, without its `meta`.
fn body(connection: &Connection, address: &str) -> Result<Option<Json>, StoreError> {
    let Some(resource) = resource(connection, address)? else { return Ok(None) };
    let sql = "SELECT v.body FROM resource r JOIN version v ON v.id = r.current WHERE r.id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([resource], |row| row.get::<_, Option<Vec<u8>>>(0)).optional()?;
    found.flatten().map(|bytes| bare(&bytes)).transpose()
}

/// A stored body without the `meta` that the store gave it.
pub(super) fn bare(bytes: &[u8]) -> Result<Json, StoreError> {
    let mut body = Json::parse(bytes).map_err(|_| corrupt())?;
    let mut own = body.remove("meta").unwrap_or_else(Json::object);
    own.remove("versionId");
    own.remove("lastUpdated");
    if !own.is_empty() {
        body.set("meta", own);
    }
    Ok(body)
}

/// Writes down that a frame was edited, and into which.
pub(super) fn note_edit(connection: &Connection, edit: &Edit, version: i64, at: Timestamp) -> Result<(), StoreError> {
    note(connection, MendAction::Edit, edit.of, Some(version), at, (&edit.who, &edit.because))
}

pub(super) fn note(
    connection: &Connection,
    action: MendAction,
    of: u64,
    version: Option<i64>,
    at: Timestamp,
    (who, because): (&str, &str),
) -> Result<(), StoreError> {
    let sql = "INSERT INTO mend (at, action, position, version, who, because) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = (at.as_microsecond(), action.word(), position(of), version, who, because);
    connection.execute(sql, row).map(drop).map_err(StoreError::from)
}

/// What was done about a frame, or made it, in order.
pub(super) fn mends(connection: &Connection, at: u64) -> Result<Vec<Mend>, StoreError> {
    let sql = "SELECT id, at, action, position, version, who, because FROM mend WHERE position = ?1
               UNION SELECT id, at, action, position, version, who, because FROM mend WHERE version = ?1 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([position(at)], |row| {
        let word = row.get_ref(2)?.as_str()?;
        Ok(Mend {
            at: time(row, 1)?,
            action: MendAction::ALL.into_iter().find(|action| action.word() == word).ok_or(rusqlite::Error::InvalidQuery)?,
            position: row.get::<_, i64>(3)?.unsigned_abs(),
            version: row.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs),
            who: row.get(5)?,
            because: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
