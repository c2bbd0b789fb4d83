//! What the sending corridor writes: one message whole, a frame alone, a repeat.

use super::blob::{contributions, issues, pack};
use super::fold::{Folded, Folding, ids, is_touched, list, position, read_list};
use super::group::Desk;
use super::index::Index;
use super::ledger::{Ledger, Mark, append_seal, heads};
use super::mend;
use super::names::Names;
use crate::audit::Entry;
use crate::audit::chain::{Heads, SealKey};
use crate::clock::Clock;
use crate::state::{Address, Finding, Slots, place};
use crate::store::{Arrival, MendAction, Receipt, Standing, StoreError, Withdrawal};
use contract::{Class, Contribution, IdKey, OutcomeKind, Slot, Translation};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use tokio::sync::watch;

/// Mentions remembered as joined already; beyond it, all are forgotten.
const MENTIONS_MAX: usize = 200_000;

/// The writer of `landbridge.db`: what it keeps in memory.
pub(super) struct IntakeDesk {
    pub(super) ledger: Ledger,
    pub(super) index: Arc<Index>,
    pub(super) id_key: IdKey,
    pub(super) seal_key: SealKey,
    pub(super) clock: Clock,
    /// Reads the other file's heads, for seals.
    pub(super) access: Connection,
    pub(super) names: Names,
    pub(super) mentions: Mentions,
    /// What this process last sealed, and what it is sealing.
    pub(super) sealed: Option<Heads>,
    pub(super) sealing: Option<Heads>,
    /// Recipes that this process made active, each with its feed.
    pub(super) activated: HashSet<(i64, String)>,
    /// Told of what was put into the outbox, when it is durable.
    pub(super) outbox: watch::Sender<()>,
    pub(super) posted: bool,
    pub(super) now: Timestamp,
}

impl Desk for IntakeDesk {
    type Mark = (Mark, usize);

    fn begin(&mut self, connection: &Connection) -> Result<(), StoreError> {
        // One time for the batch, to the millisecond as FHIR clients know it.
        let now = self.clock.now();
        self.now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        self.mentions.begin(connection)?;
        self.ledger.begin(connection)
    }

    fn mark(&self) -> Self::Mark {
        (self.ledger.mark(), self.mentions.fresh.len())
    }

    fn back_to(&mut self, (mark, mentions): Self::Mark) {
        self.ledger.back_to(mark);
        self.mentions.fresh.truncate(mentions);
        self.names.forget();
        self.sealing = None;
    }

    fn committed(&mut self) {
        self.ledger.committed();
        self.mentions.committed();
        if std::mem::take(&mut self.posted) {
            self.outbox.send_replace(());
        }
        if let Some(sealing) = self.sealing.take() {
            self.sealed = Some(sealing);
        }
    }

    fn rolled_back(&mut self) {
        self.posted = false;
        self.ledger.rolled_back();
        self.mentions.fresh.clear();
        self.names.forget();
        self.sealing = None;
    }
}

/// A frame ready for the writer: whatever does not need it is done.
pub(super) struct Prepared {
    arrival: Arrival,
    frame: Vec<u8>,
    translation: Option<Saying>,
    issues: String,
}

/// What a message says, ready for the writer.
struct Saying {
    translation: Translation,
    /// As the journal keeps it.
    packed: Vec<u8>,
    /// Of each contribution that is a mention: what tells it from others, but for what its place in the journal changes.
    marks: Vec<Option<u64>>,
}

impl Prepared {
    /// `marking`: of the [`Mentions`] of the writer.
    pub(super) fn new(arrival: Arrival, translation: Option<Translation>, marking: &RandomState) -> Result<Self, StoreError> {
        let journaled = match arrival.outcome {
            OutcomeKind::Stored | OutcomeKind::StoredWithIssues => translation.is_some(),
            OutcomeKind::Malformed
            | OutcomeKind::Unsupported
            | OutcomeKind::Untranslatable
            | OutcomeKind::Forbidden
            | OutcomeKind::Held => translation.is_none(),
            OutcomeKind::Duplicate | OutcomeKind::Unauthenticated | OutcomeKind::Transient => false,
        };
        if !journaled {
            return Err(StoreError::Refused(format!("a frame is not journaled as {} here", arrival.outcome.word())));
        }
        let frame = pack(arrival.frame.bytes())?;
        let translation = match translation {
            Some(translation) => {
                let packed = contributions(&translation.contributions)?;
                let mark = |contribution: &Contribution| {
                    let is_bare = contribution.class == Class::Mention && contribution.member_of.is_none() && !is_touched(contribution);
                    is_bare.then(|| marking.hash_one(Mention(contribution)))
                };
                let marks = translation.contributions.iter().map(mark).collect();
                Some(Saying { translation, packed, marks })
            }
            None => None,
        };
        let issues = issues(&arrival.issues);
        Ok(Self { arrival, frame, translation, issues })
    }
}

/// What the journal knows of a frame of the same bytes.
struct Known {
    position: i64,
    outcome: OutcomeKind,
    standing: Standing,
    reply: Option<Vec<u8>>,
    patients: String,
}

impl IntakeDesk {
    /// Journal, contributions, state, versions, index and audit entry of one message; or, where it was stored before,
    /// one more repeat of it.
    pub(super) fn commit(&mut self, connection: &Connection, prepared: Prepared) -> Result<(Receipt, Spent), StoreError> {
        let Prepared { arrival, frame, translation, issues } = prepared;
        let feed = self.names.feed(connection, &arrival.feed)?;
        let known = known(connection, feed, &arrival)?;
        if let Some(known) = &known {
            if let Some(edit) = &arrival.edit {
                let (of, at) = (edit.of, known.position);
                return Err(StoreError::Refused(format!("the edit of {of} is what stands in the journal at position {at} already")));
            }
            if known.outcome.is_stored() || known.standing != Standing::Counts {
                return self.again(connection, known, arrival.entry).map(|receipt| (receipt, Spent::default()));
            }
        }
        let recipe = self.recipe(connection, feed, &arrival.recipe, translation.is_some())?;
        // An edit ranks, and may be dated, as what it is an edit of.
        let original = match (&known, &arrival.edit) {
            (Some(known), _) => Some(mend::message(connection, known.position.unsigned_abs())?),
            (None, Some(edit)) => Some(mend::edited(connection, edit, feed)?),
            (None, None) => None,
        };
        let position = known.as_ref().map_or_else(|| next_position(connection), |known| Ok(known.position))?;
        let (place_in_order, received) =
            original.as_ref().map_or((position, arrival.received), |message| (message.place, message.received));
        let row = JournalRow { position, feed, arrival: &arrival, issues: &issues, recipe, place: place_in_order };
        let mut findings = BTreeSet::new();
        if original.is_none() && row.control_id_known(connection)? {
            findings.insert(Finding::ControlIdReused);
        }
        let mut without = BTreeMap::new();
        if let Some(message) = original.filter(|message| message.place != position) {
            without = self.supersede(connection, &message, position, translation.is_some())?;
        }
        let (mut folded, mut packed, mut spent) = (Folded::default(), None, Spent::default());
        if let Some(Saying { mut translation, packed: contributions, marks }) = translation {
            if place(&mut translation, place_in_order.unsigned_abs(), received) {
                findings.insert(Finding::StampAhead);
            }
            let mut folding = Folding {
                connection,
                index: &self.index,
                names: &mut self.names,
                id_key: &self.id_key,
                feed: &arrival.feed,
                position: position.unsigned_abs(),
                now: self.now,
            };
            spent = self.mentions.without_known(translation.contributions, &marks);
            folded = folding.fold(without, &spent.fresh)?;
            packed = Some(contributions);
            findings.extend(&folded.findings);
        }
        for found in &findings {
            row.finding(connection, found.word())?;
        }
        let said = Said { contributions: packed, patients: list(&folded.patients) };
        row.write(connection, &frame, &said)?;
        if let Some(edit) = &arrival.edit {
            mend::note_edit(connection, edit, position, self.now)?;
        }
        if arrival.relays {
            self.post(connection, feed, position)?;
        }
        let mut entry = arrival.entry.clone();
        entry.patients = ids(connection, folded.patients)?;
        entry.resources.clone_from(&folded.resources);
        entry.position = Some(position.unsigned_abs());
        self.ledger.append(connection, &entry)?;
        let (position, resources) = (position.unsigned_abs(), folded.resources);
        Ok((Receipt { position, outcome: arrival.outcome, reply: arrival.reply, resources, findings }, spent))
    }

    /// Sets aside the other versions of an edited message for the one at `position`: where that was stored, all; else those
    /// that wait like it, and what counts goes on to count. Gives what resources are without them.
    fn supersede(
        &mut self,
        connection: &Connection,
        message: &mend::Message,
        position: i64,
        is_stored: bool,
    ) -> Result<BTreeMap<Address, Option<Slots>>, StoreError> {
        let mut without = BTreeMap::new();
        for (version, was_stored) in mend::versions(connection, message.place, position)? {
            if was_stored && is_stored {
                let message = mend::message(connection, version.unsigned_abs())?;
                without = mend::without(connection, &self.id_key, &message, &message.said(connection)?)?;
                self.begin_epoch(connection)?;
            }
            if is_stored || !was_stored {
                mend::stand(connection, version, Standing::Superseded)?;
            }
        }
        Ok(without)
    }

    /// What was mentioned may be said no more: it is joined again when it is mentioned next.
    fn begin_epoch(&mut self, connection: &Connection) -> Result<(), StoreError> {
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'", [])?;
        self.mentions.forget();
        Ok(())
    }

    /// Takes a message out of the state, or puts it back.
    pub(super) fn withdraw(&mut self, connection: &Connection, withdrawal: Withdrawal) -> Result<Receipt, StoreError> {
        let Withdrawal { position: at, restores, because, mut entry } = withdrawal;
        let message = mend::message(connection, at)?;
        message.allows(connection, restores)?;
        let said = message.said(connection)?;
        let (without, said, action, standing) = if restores {
            (BTreeMap::new(), said, MendAction::Restore, Standing::Counts)
        } else {
            (mend::without(connection, &self.id_key, &message, &said)?, Vec::new(), MendAction::Withdraw, Standing::Withdrawn)
        };
        self.begin_epoch(connection)?;
        mend::stand(connection, message.position, standing)?;
        let mut folding = Folding {
            connection,
            index: &self.index,
            names: &mut self.names,
            id_key: &self.id_key,
            feed: &message.feed,
            position: at,
            now: self.now,
        };
        let folded = folding.fold(without, &said)?;
        let findings: BTreeSet<Finding> = folded.findings.iter().copied().collect();
        for found in &findings {
            note_finding(connection, found.word(), message.feed_row, self.now, message.position)?;
        }
        mend::note(connection, action, at, None, self.now, (&entry.agent.who, &because))?;
        let mut patients = read_list(&message.patients);
        patients.extend(folded.patients);
        entry.patients = ids(connection, patients)?;
        entry.resources.clone_from(&folded.resources);
        entry.position = Some(at);
        self.ledger.append(connection, &entry)?;
        Ok(Receipt { position: at, outcome: message.outcome, reply: None, resources: folded.resources, findings })
    }

    /// A frame came again that was stored the first time.
    pub(super) fn repeat(&mut self, connection: &Connection, position: u64, entry: Entry) -> Result<(), StoreError> {
        let read = connection
            .prepare_cached(&format!("{KNOWN} WHERE position = ?1"))
            .and_then(|mut statement| statement.query_row([self::position(position)], read_known).optional());
        let known = read?.ok_or_else(|| StoreError::Refused(format!("the journal has no position {position}")))?;
        self.again(connection, &known, entry).map(drop)
    }

    fn again(&mut self, connection: &Connection, known: &Known, mut entry: Entry) -> Result<Receipt, StoreError> {
        let sql = "UPDATE journal SET repeats = repeats + 1 WHERE position = ?1";
        connection.prepare_cached(sql).and_then(|mut statement| statement.execute([known.position]))?;
        let position = known.position.unsigned_abs();
        entry.position = Some(position);
        entry.reason = OutcomeKind::Duplicate.word().to_owned();
        entry.patients = ids(connection, read_list(&known.patients))?;
        self.ledger.append(connection, &entry)?;
        let reply = known.reply.clone().map(Into::into);
        Ok(Receipt { position, outcome: OutcomeKind::Duplicate, reply, resources: Vec::new(), findings: BTreeSet::new() })
    }

    /// Appends a seal over what both files hold. What this transaction holds is sealed with it or not at all.
    pub(super) fn seal(&mut self, connection: &Connection, at: Timestamp) -> Result<String, StoreError> {
        let mut all = heads(connection)?;
        all.extend(heads(&self.access)?);
        let line = append_seal(connection, &self.seal_key, at, &all, self.sealing.as_ref().or(self.sealed.as_ref()))?;
        self.sealing = Some(all);
        Ok(line)
    }

    /// Keeps when the certificate ends that a feed's sender shows.
    pub(super) fn certificate(&mut self, connection: &Connection, feed: &str, ends: Timestamp) -> Result<(), StoreError> {
        let feed = self.names.feed(connection, feed)?;
        connection.execute("UPDATE feed SET certificate_ends = ?2 WHERE id = ?1", (feed, ends.as_microsecond()))?;
        Ok(())
    }

    /// Makes a recipe a feed's active one.
    pub(super) fn activate(&mut self, connection: &Connection, feed: &str, hash: &str) -> Result<(), StoreError> {
        let feed = self.names.feed(connection, feed)?;
        activate(connection, feed, hash)?;
        self.activated.insert((feed, hash.to_owned()));
        Ok(())
    }

    /// The recipe's row. What folds does so under the feed's active recipe alone, so that all processes cut over at one point:
    /// one with other tables or settings was left behind, or came too early. Within one process a recipe gives way to the next
    /// without a break: what was translated under the one before is still on its way. A feed's first recipe becomes its
    /// active one. `folds`: frames alone are kept under any recipe.
    fn recipe(&self, connection: &Connection, feed: i64, hash: &str, folds: bool) -> Result<i64, StoreError> {
        if !folds {
            return Ok(recipe_row(connection, feed, hash)?);
        }
        let own = |hash: &str| self.activated.contains(&(feed, hash.to_owned()));
        match active(connection, feed)? {
            None => Ok(activate(connection, feed, hash)?),
            Some((row, active)) if active == hash => Ok(row),
            Some((_, active)) if own(&active) && own(hash) => Ok(recipe_row(connection, feed, hash)?),
            Some(_) => Err(StoreError::Unavailable("another recipe of the feed is active: this process was left behind".into())),
        }
    }
}

/// What a message said, when it is stored. Whoever waits for the writer takes it away: that is work, too.
#[derive(Default)]
pub(super) struct Spent {
    fresh: Vec<Contribution>,
    /// Mentions that were joined before.
    known: Vec<Contribution>,
}

/// Mentions that are joined already: neither read nor locked again, for one epoch (withdraw, erase and reproject begin
/// another).
pub(super) struct Mentions {
    state: RandomState,
    known: HashSet<u64>,
    /// Of this batch: known once it is durable.
    fresh: Vec<u64>,
    epoch: i64,
}

impl Mentions {
    pub(super) fn new(state: RandomState) -> Self {
        Self { state, known: HashSet::new(), fresh: Vec::new(), epoch: 0 }
    }

    fn forget(&mut self) {
        self.known.clear();
        self.fresh.clear();
    }

    fn begin(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = 'epoch'")?;
        let epoch = statement.query_row([], |row| row.get(0))?;
        if epoch != self.epoch {
            self.known.clear();
            self.epoch = epoch;
        }
        Ok(())
    }

    /// Leaves out what is joined already. The contributions are placed, so that the stamps of equal mentions are equal.
    fn without_known(&mut self, contributions: Vec<Contribution>, marks: &[Option<u64>]) -> Spent {
        let mut kept = Spent::default();
        for (contribution, mark) in contributions.into_iter().zip(marks) {
            if let Some(mark) = mark {
                let mut hasher = self.state.build_hasher();
                mark.hash(&mut hasher);
                for statement in &contribution.statements {
                    statement.rank.hash(&mut hasher);
                    if let Slot::Move { at, .. } = &statement.slot {
                        at.hash(&mut hasher);
                    }
                }
                let mark = hasher.finish();
                if self.known.contains(&mark) {
                    kept.known.push(contribution);
                    continue;
                }
                self.fresh.push(mark);
            }
            kept.fresh.push(contribution);
        }
        kept
    }

    fn committed(&mut self) {
        if self.known.len() + self.fresh.len() > MENTIONS_MAX {
            self.known.clear();
        }
        self.known.extend(self.fresh.drain(..));
    }
}

struct Mention<'a>(&'a Contribution);

impl Hash for Mention<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
        for statement in &self.0.statements {
            (&statement.slot, &statement.value, &statement.place, &statement.row).hash(state);
        }
    }
}

const KNOWN: &str = "SELECT position, outcome, standing, reply, patients FROM journal";

fn known(connection: &Connection, feed: i64, arrival: &Arrival) -> rusqlite::Result<Option<Known>> {
    let mut statement = connection.prepare_cached(&format!("{KNOWN} WHERE feed = ?1 AND digest = ?2"))?;
    statement.query_row((feed, arrival.digest.0), read_known).optional()
}

fn read_known(row: &rusqlite::Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        position: row.get(0)?,
        outcome: super::journal::outcome(row.get_ref(1)?.as_str()?),
        standing: super::journal::standing(row.get(2)?),
        reply: row.get(3)?,
        patients: row.get(4)?,
    })
}

fn next_position(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT coalesce(max(position), 0) + 1 FROM journal")?.query_row([], |row| row.get(0))
}

/// The feed's active recipe: its row and hash.
pub(super) fn active(connection: &Connection, feed: i64) -> rusqlite::Result<Option<(i64, String)>> {
    let sql = "SELECT r.id, r.hash FROM feed f JOIN recipe r ON r.id = f.recipe WHERE f.id = ?1";
    connection.prepare_cached(sql)?.query_row([feed], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn activate(connection: &Connection, feed: i64, hash: &str) -> rusqlite::Result<i64> {
    let row = recipe_row(connection, feed, hash)?;
    connection.execute("UPDATE feed SET recipe = ?2 WHERE id = ?1", (feed, row))?;
    Ok(row)
}

fn recipe_row(connection: &Connection, feed: i64, hash: &str) -> rusqlite::Result<i64> {
    connection.execute("INSERT OR IGNORE INTO recipe (feed, hash) VALUES (?1, ?2)", (feed, hash))?;
    connection.query_row("SELECT id FROM recipe WHERE feed = ?1 AND hash = ?2", (feed, hash), |row| row.get(0))
}

/// What a frame said, where resources were made of it.
struct Said {
    contributions: Option<Vec<u8>>,
    /// Key rows of the patients named.
    patients: String,
}

/// A frame's row in the journal.
struct JournalRow<'a> {
    position: i64,
    feed: i64,
    arrival: &'a Arrival,
    issues: &'a str,
    recipe: i64,
    /// The position by which it ranks.
    place: i64,
}

impl JournalRow<'_> {
    /// A new row, or, where the frame was admitted again at its first position, what became of it this time.
    fn write(&self, connection: &Connection, frame: &[u8], said: &Said) -> rusqlite::Result<()> {
        let arrival = self.arrival;
        let sql = "INSERT INTO journal (position, feed, digest, received, message_type, control_id, outcome, issue_count, issues,
                       recipe, folded, patients, reply, edit_of, place)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
                   ON CONFLICT (position) DO UPDATE SET message_type = ?5, control_id = ?6, outcome = ?7, issue_count = ?8,
                       issues = ?9, recipe = ?10, folded = ?11, patients = ?12, reply = ?13";
        connection.prepare_cached(sql)?.execute((
            self.position,
            self.feed,
            arrival.digest.0,
            arrival.received.as_microsecond(),
            &arrival.message_type,
            &arrival.control_id,
            arrival.outcome.word(),
            arrival.issues.len() as i64,
            self.issues,
            self.recipe,
            said.contributions.is_some(),
            &said.patients,
            arrival.reply.as_deref(),
            arrival.edit.as_ref().map(|edit| super::fold::position(edit.of)),
            (self.place != self.position).then_some(self.place),
        ))?;
        let sql = "INSERT INTO message (position, frame, contributions) VALUES (?1, ?2, ?3)
                   ON CONFLICT (position) DO UPDATE SET contributions = ?3";
        connection.prepare_cached(sql)?.execute((self.position, frame, said.contributions.as_deref()))?;
        Ok(())
    }

    /// Whether another frame of the feed has this one's control id.
    fn control_id_known(&self, connection: &Connection) -> rusqlite::Result<bool> {
        if self.arrival.control_id.is_empty() {
            return Ok(false);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM journal WHERE feed = ?1 AND control_id = ?2 AND position <> ?3)";
        connection.prepare_cached(sql)?.query_row((self.feed, &self.arrival.control_id, self.position), |row| row.get(0))
    }

    fn finding(&self, connection: &Connection, kind: &str) -> rusqlite::Result<()> {
        note_finding(connection, kind, self.feed, self.arrival.received, self.position)
    }
}

/// Something for a person to look at: counted per kind and feed.
fn note_finding(connection: &Connection, kind: &str, feed: i64, at: Timestamp, position: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO finding (kind, feed, first, last, count, position) VALUES (?1, ?2, ?3, ?3, 1, ?4)
               ON CONFLICT (kind, feed) DO UPDATE SET last = ?3, count = count + 1, position = ?4";
    connection.prepare_cached(sql)?.execute((kind, feed, at.as_microsecond(), position))?;
    Ok(())
}
