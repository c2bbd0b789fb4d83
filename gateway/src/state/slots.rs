//! The slots of one resource, and `join`.

use contract::{Json, Name, Rank, Slot, Statement};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A resource's state.
pub type Slots = BTreeMap<Slot, Held>;

/// What a slot holds: the statement of the greatest rank so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub rank: Rank,
    /// `None`: cleared.
    pub value: Option<Json>,
    /// Where in its message it stood.
    pub place: Name,
    /// The row that said so.
    pub row: Name,
}

/// Keeps the greater rank. Commutative, associative, idempotent. Returns whether the slot changed.
pub fn join(slots: &mut Slots, statement: &Statement) -> bool {
    let held = || Held { rank: statement.rank, value: statement.value.clone(), place: statement.place.clone(), row: statement.row.clone() };
    match slots.get_mut(&statement.slot) {
        None => {
            slots.insert(statement.slot.clone(), held());
            true
        }
        Some(old) if outranks(statement, old) => {
            *old = held();
            true
        }
        Some(_) => false,
    }
}

/// Ranks are distinct within a journal; mentions may tie, and then the greater value wins, so that `join` stays a join.
fn outranks(statement: &Statement, old: &Held) -> bool {
    (statement.rank, &statement.value, &statement.place, &statement.row) > (old.rank, &old.value, &old.place, &old.row)
}

#[derive(Serialize, Deserialize)]
struct Stored {
    slot: Slot,
    rank: Rank,
    /// JSON text: its numbers keep their digits.
    value: Option<String>,
    place: Name,
    row: Name,
}

/// First byte of stored slots; another layout gets another.
const LAYOUT: u8 = 1;

/// Slots as the store keeps them.
pub fn encode(slots: &Slots) -> Vec<u8> {
    let stored: Vec<Stored> = slots
        .iter()
        .map(|(slot, held)| Stored {
            slot: slot.clone(),
            rank: held.rank,
            value: held.value.as_ref().map(Json::to_string),
            place: held.place.clone(),
            row: held.row.clone(),
        })
        .collect();
    postcard::to_extend(&stored, vec![LAYOUT]).expect("plain data is written to memory")
}

/// Reads what [`encode`] wrote; `None` where the bytes are not that.
pub fn decode(bytes: &[u8]) -> Option<Slots> {
    let stored: Vec<Stored> = postcard::from_bytes(bytes.strip_prefix(&[LAYOUT])?).ok()?;
    let mut slots = Slots::new();
    for one in stored {
        let value = match one.value {
            None => None,
            Some(text) => Some(Json::parse(text.as_bytes()).ok()?),
        };
        slots.insert(one.slot, Held { rank: one.rank, value, place: one.place, row: one.row });
    }
    Some(slots)
}
