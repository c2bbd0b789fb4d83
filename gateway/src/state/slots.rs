//! The slots of one resource, and `join`.

use contract::{Json, Name, Rank, Slot, Statement};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A resource's state.
pub type Slots = BTreeMap<Slot, Held>;

/// What a slot holds: the statement of the greatest rank so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub rank: Rank,
    /// `None`: cleared. Shared: a visit keeps every step, and most of them say the same.
    pub value: Option<Arc<Json>>,
    /// Where in its message it stood.
    pub place: Name,
    /// The row that said so.
    pub row: Name,
}

/// Keeps the greater rank. Commutative, associative, idempotent. Returns whether the slot changed.
pub fn join(slots: &mut Slots, statement: &Statement) -> bool {
    let held = || Held {
        rank: statement.rank,
        value: statement.value.clone().map(Arc::new),
        place: statement.place.clone(),
        row: statement.row.clone(),
    };
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
    (statement.rank, statement.value.as_ref(), &statement.place, &statement.row) > (old.rank, old.value.as_deref(), &old.place, &old.row)
}

/// Slots as they are written: texts once, by their place in `names` and `values`.
#[derive(Serialize, Deserialize)]
struct Stored {
    names: Vec<Name>,
    /// JSON text: its numbers keep their digits.
    values: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    slot: Place,
    rank: Rank,
    value: Option<u32>,
    place: u32,
    row: u32,
}

#[derive(Serialize, Deserialize)]
enum Place {
    Move { at: i64, event: u32, what: u32 },
    Other(Slot),
}

/// First byte of stored slots; another layout gets another.
const LAYOUT: u8 = 2;

/// Slots as the store keeps them.
pub fn encode(slots: &Slots) -> Vec<u8> {
    let (mut names, mut values) = (Written::default(), Written::default());
    // Most values are shared; those are not written as text again to be compared.
    let mut shared: HashMap<*const Json, u32> = HashMap::new();
    let rows = slots
        .iter()
        .map(|(slot, held)| Row {
            slot: match slot {
                Slot::Move { at, event, what } => Place::Move { at: *at, event: names.number(event), what: names.number(what) },
                other => Place::Other(other.clone()),
            },
            rank: held.rank,
            value: held.value.as_ref().map(|value| *shared.entry(Arc::as_ptr(value)).or_insert_with(|| values.number(&value.to_string()))),
            place: names.number(&held.place),
            row: names.number(&held.row),
        })
        .collect();
    let values = values.texts.iter().map(|text| text.to_string()).collect();
    postcard::to_extend(&Stored { names: names.texts, values, rows }, vec![LAYOUT]).expect("plain data is written to memory")
}

/// Reads what [`encode`] wrote; `None` where the bytes are not that.
pub fn decode(bytes: &[u8]) -> Option<Slots> {
    let stored: Stored = match bytes.split_first()? {
        (&LAYOUT, bytes) => postcard::from_bytes(bytes).ok()?,
        (1, bytes) => return decode_first(bytes),
        _ => return None,
    };
    let parse = |text: String| Json::parse(text.as_bytes()).ok().map(Arc::new);
    let values: Vec<Arc<Json>> = stored.values.into_iter().map(parse).collect::<Option<_>>()?;
    let name = |number: u32| stored.names.get(number as usize).cloned();
    let read = |row: Row| {
        let slot = match row.slot {
            Place::Move { at, event, what } => Slot::Move { at, event: name(event)?, what: name(what)? },
            Place::Other(slot) => slot,
        };
        let value = match row.value {
            None => None,
            Some(number) => Some(values.get(number as usize)?.clone()),
        };
        Some((slot, Held { rank: row.rank, value, place: name(row.place)?, row: name(row.row)? }))
    };
    stored.rows.into_iter().map(read).collect()
}

/// Texts in the order in which they were first seen.
#[derive(Default)]
struct Written {
    texts: Vec<Name>,
    numbers: HashMap<Name, u32>,
}

impl Written {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).expect("fewer texts than memory has bytes");
        let text = Name::from(text);
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }
}

/// The first layout: every slot with its own texts.
fn decode_first(bytes: &[u8]) -> Option<Slots> {
    type First = (Slot, Rank, Option<String>, Name, Name);
    let read = |(slot, rank, value, place, row): First| {
        let value = match value {
            None => None,
            Some(text) => Some(Arc::new(Json::parse(text.as_bytes()).ok()?)),
        };
        Some((slot, Held { rank, value, place, row }))
    };
    postcard::from_bytes::<Vec<First>>(bytes).ok()?.into_iter().map(read).collect()
}
