use crate::{Issue, Json, Key};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A short shared text: element paths, field names, feeds.
pub type Name = Arc<str>;

/// What one message says.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    pub contributions: Vec<Contribution>,
    pub issues: Vec<Issue>,
}

/// What one message says of one resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Contribution {
    pub key: Key,
    pub class: Class,
    /// Where this resource is an item of a snapshot group of another: it lives while the group lists it, or while it
    /// ranks above the group.
    pub member_of: Option<Membership>,
    pub statements: Vec<Statement>,
}

/// The weight of what is said of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// The message is about it.
    Record,
    /// The message names it in passing (a practitioner, an organization, a place): authority *mention*, no touch rows.
    Mention,
    /// It describes the message itself (MessageHeader, Provenance): emitted by `convert`, rendered from the journal
    /// when read, never joined.
    Message,
}

/// The snapshot group that a resource belongs to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub parent: Key,
    /// The group's name in the tables, e.g. `AL1`.
    pub group: Name,
    /// Its key within the group; listed in the parent's [`Slot::Group`].
    pub item: Name,
}

/// One slot's value as one message gives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Statement {
    pub slot: Slot,
    /// `position` is 0 until the journal gives it; `ordinal` is the statement's number in the translation.
    pub rank: Rank,
    /// `None` clears (HL7 `""`).
    pub value: Option<Json>,
    /// Where in the message.
    pub place: Name,
    /// `TABLE:LINE` of the row that said so.
    pub row: Name,
}

/// One independently ranked part of a resource. `join` keeps, per slot, the statement of the greatest rank.
///
/// A value is a *fragment*: an object laid over the body, e.g. `{"birthDate":"1970-01-01"}` or
/// `{"period":{"start":"2026-01-02"}}`; see [`merge`] for how fragments meet. For [`Slot::Repeats`] it is the array of
/// the elements; for [`Slot::Group`] the array of `{"key":…, "value": fragment-element or absent}`; for [`Slot::Item`]
/// `{"value": …}`; for [`Slot::Member`] the element; for [`Slot::Move`] see there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// One element at datatype grain, or several that only stand together (one OBX). The name is the element's path,
    /// with `:FIELD` after it where several fields feed one repeating element: `birthDate`, `period.start`,
    /// `extension:PID-22`, `OBX`.
    Element(Name),
    /// The whole list that one repeating field stated: one register per (element, field, feed). Rendered: per
    /// (element, field) the register of greatest rank; `identifier` the union over feeds by (system, value).
    Repeats { element: Name, field: Name, feed: Name },
    /// The items of a snapshot group, one register per (group, feed); `element` is where inline items are rendered,
    /// empty where the items are resources of their own.
    Group { element: Name, group: Name, feed: Name },
    /// One item of a group that came with an action code: live with a value, a tombstone when cleared.
    Item { element: Name, group: Name, feed: Name, key: Name },
    /// One member of a set keyed by its target (`DiagnosticReport.result`): not sent again, it stays.
    Member { element: Name, key: Name },
    /// One step of an Encounter: at `at` (asserted, UTC microseconds) event `event` said something; `what` tells
    /// different statements of one event apart (a digest of the value). The value is
    /// `{"kind":"location"|"class"|"status"|"cancel", "authority":n, "step":n, …}`: `location` with `"location":{…}`
    /// (an Encounter.location element), `class` with `"class":{…}`, `status` with `"status":code`, `cancel` with
    /// `"of":EVENT`. `at` and `step` order the steps; `"time"`, where it stands, is the dateTime from which this one holds.
    /// `"prior":true`: the place that the patient left at that time, of which it is not said since when it held.
    Move { at: i64, event: Name, what: Name },
    /// A relation to another resource of the same type: `kind` is `replaced-by` (merge, change of id), `seealso`
    /// (link). The value is `{"reference":"Patient/…"}`; cleared by an unlink. `other` is the other's key rendered
    /// `system|value`, for replaced-by empty: one edge, the greatest rank counts.
    Edge { kind: Name, other: Name },
    /// A statement on a register shared by several resources, such as a document set: `register` names it
    /// (`document-set`), `name` its key, and the value is what this resource says there
    /// (`{"version":n,"at":µs,"replaces":…}`).
    Shared { register: Name, name: Name },
}

/// Shows where, and not the keys of items: they may be a patient's words.
impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Element(name) => write!(f, "Element({name})"),
            Slot::Repeats { element, field, feed } => write!(f, "Repeats({element} {field} {feed})"),
            Slot::Group { group, feed, .. } => write!(f, "Group({group} {feed})"),
            Slot::Item { group, feed, .. } => write!(f, "Item({group} {feed})"),
            Slot::Member { element, .. } => write!(f, "Member({element})"),
            Slot::Move { at, event, .. } => write!(f, "Move({at} {event})"),
            Slot::Edge { kind, .. } => write!(f, "Edge({kind})"),
            Slot::Shared { register, .. } => write!(f, "Shared({register})"),
        }
    }
}

/// Shows the parent and the group, not the item's key.
impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({:?} {})", self.parent, self.group)
    }
}

/// Who is believed. One tuple of integers, absent = 0, compared alike across all feeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rank {
    pub authority: Authority,
    /// Results only: preliminary 0, final or later 1. A late preliminary never covers a final.
    pub settled: u8,
    /// When the source said it, UTC microseconds; capped at 5 minutes after receipt.
    pub asserted: i64,
    /// The sender's own count, where the feed says that it counts; for mentions a hash of the value.
    pub sequence: u64,
    /// When the message was made (MSH-7), UTC microseconds; capped at 5 minutes after receipt.
    pub sent: i64,
    /// The event's place among events of one stamp.
    pub step: u8,
    /// The frame's position in the journal.
    pub position: u64,
    /// The statement's number within its translation.
    pub ordinal: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Authority {
    /// Nobody said it; the standard requires something.
    #[default]
    Implied,
    Mention,
    Feed,
    Owner,
}

impl Rank {
    /// How far a stamp may lie ahead of the one that bounds it: 5 minutes, in microseconds.
    pub const AHEAD_MAX: i64 = 5 * 60 * 1_000_000;
    /// A UTC day, by which mentions are dated, in microseconds.
    pub const DAY: i64 = 24 * 60 * 60 * 1_000_000;
}

/// Lays fragments over one another: objects member by member, arrays one after the other, and where two fragments give
/// one primitive, `overlay` wins. So fragments are laid in ascending rank.
pub fn merge(base: &mut Json, overlay: Json) {
    match (base, overlay) {
        (Json::Object(base), Json::Object(overlay)) => {
            for (name, value) in overlay {
                match base.iter_mut().find(|(existing, _)| *existing == name) {
                    Some((_, existing)) => merge(existing, value),
                    None => base.push((name, value)),
                }
            }
        }
        (Json::Array(base), Json::Array(overlay)) => base.extend(overlay),
        (base, overlay) => *base = overlay,
    }
}
