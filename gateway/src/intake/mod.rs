//! The sending corridor: from a frame to its reply, which is given only after the frame is durable.
//!
//! [`Intake::judge`] is the way of a frame on one page: all that needs no writing, in one order for all doors.
//! [`Intake::settle`] makes the outcome durable and gives the answer.

mod case;
#[cfg(test)]
pub(crate) mod double;
mod feeds;
pub mod ingest;
#[cfg(test)]
mod journey;
#[cfg(test)]
mod mending;
mod outcome;
mod passing;
mod quarantine;
#[cfg(test)]
mod tests;

pub use feeds::{Door, Feed, Feeds, Peer, Warrant};
pub use ingest::Ingest;

use crate::audit::{Action, Agent, Entry};
use crate::clock::Clock;
use crate::config::Listener;
use crate::observe::Metrics;
use crate::refusals::Refusals;
use crate::store::{Arrival, Edit, JournalRow, Seen, Standing, Store, StoreError};
use bytes::Bytes;
use case::Case;
use contract::{Frame, Issue, Outcome, OutcomeKind, Translation};
use feeds::{admit, of_sender};
use jiff::Timestamp;
use quarantine::Quarantine;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::Semaphore;

/// From frames to replies. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    room: Arc<Room>,
}

struct Room {
    /// Those in force; a frame on its way keeps those under which it began.
    feeds: RwLock<Arc<Feeds>>,
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Metrics,
    refusals: Refusals,
    quarantine: Quarantine,
    /// As many frames are judged at once as there are processors: more would only wait, and hold memory.
    desks: Semaphore,
    /// When the certificate ends that a feed's sender showed last.
    certificates: Mutex<HashMap<String, Timestamp>>,
}

/// What the sender gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: OutcomeKind,
    /// In the sender's own words, where one is due.
    pub reply: Option<Bytes>,
    /// Nothing may be said: close, so that the sender sends again.
    pub closes: bool,
    pub issues: Vec<Issue>,
    /// Kept, and acknowledged as such, though no resource was made.
    pub accepted: bool,
    /// Where the frame stands in the journal, if it does.
    pub position: Option<u64>,
    /// Why it does not, where that was decided and no trouble of the store's: a word of a closed list.
    pub unkept: Option<&'static str>,
}

/// A frame whose outcome is known and not yet durable.
pub struct Judged {
    /// The feed, or the listener of a frame of no feed.
    of: String,
    received: Timestamp,
    began: Instant,
    outcome: Outcome,
    reply: Option<Bytes>,
    /// What is said where the outcome cannot be made durable and the feed wants to be told.
    transient: Option<(Bytes, Entry)>,
    then: Then,
}

/// What makes the outcome durable.
enum Then {
    /// `mended`: it waited in quarantine before.
    Commit {
        warrant: Warrant,
        arrival: Box<Arrival>,
        translation: Translation,
        mended: bool,
    },
    /// `fresh`: it was not in the journal before.
    Keep {
        arrival: Box<Arrival>,
        fresh: bool,
    },
    Repeat {
        seen: Seen,
        entry: Entry,
    },
    /// An entry without a frame: it stands in the journal already, or why it does not. Where nobody is known repeats are counted by
    /// `source`.
    Record {
        entry: Entry,
        source: Option<String>,
        stands: Result<u64, &'static str>,
    },
    /// The store cannot be asked.
    Nothing,
}

/// A frame of the journal that is judged again, at its first position; or a new version of one, which ranks as it.
#[derive(Clone, Debug)]
struct Replay {
    position: u64,
    /// Who asked for it.
    agent: Agent,
    released: bool,
    /// With what was decided to make it, where it is a new version.
    edit: Option<Edit>,
}

impl Intake {
    /// Counts what waits in quarantine (at most `frames_max` a feed): reads the journal.
    pub fn new(
        feeds: Feeds,
        store: Arc<dyn Store>,
        clock: Clock,
        frames_max: u64,
        metrics: Metrics,
        refusals: Refusals,
    ) -> Result<Self, StoreError> {
        let quarantine = Quarantine::new(frames_max, metrics.clone());
        let desks = Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from));
        let none = RwLock::new(Arc::new(Feeds::new(Vec::new())));
        let intake = Self {
            room: Arc::new(Room { feeds: none, store, clock, metrics, refusals, quarantine, desks, certificates: Mutex::default() }),
        };
        intake.replace(feeds)?;
        Ok(intake)
    }

    pub fn feeds(&self) -> Arc<Feeds> {
        self.room.feeds()
    }

    /// Takes frames for these feeds from now on. Reads the journal for those that were not there.
    pub fn replace(&self, feeds: Feeds) -> Result<(), StoreError> {
        let (room, before) = (&self.room, self.feeds());
        for feed in feeds.iter().filter(|feed| before.named(feed.name()).is_none()) {
            room.metrics.feed(feed.name());
            room.quarantine.count(&*room.store, feed.name())?;
        }
        // Frames of no feed stand under their MLLP listener.
        let listeners = |feeds: &Feeds| feeds.iter().map(|feed| feed.config.listener.clone()).collect::<Vec<_>>();
        let known = listeners(&before);
        let fresh = listeners(&feeds).into_iter().filter(|listener| *listener != Listener::Https && !known.contains(listener));
        for listener in fresh.map(|listener| listener.to_string()).collect::<BTreeSet<_>>() {
            room.quarantine.count(&*room.store, &listener)?;
        }
        *room.feeds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(feeds);
        Ok(())
    }

    /// A client showed a certificate of these names: keeps when that of a feed's sender ends, so that it is told in time.
    /// Nobody waits for it.
    pub fn proven(&self, names: &[String], ends: Option<Timestamp>) {
        let Some(ends) = ends else { return };
        for feed in self.feeds().iter().filter(|feed| feed.is_peer(names)) {
            let name = feed.name().to_owned();
            if self.certificates().insert(name.clone(), ends) == Some(ends) {
                continue;
            }
            let intake = self.clone();
            tokio::spawn(async move {
                if let Err(error) = intake.room.store.certificate(&name, ends).await {
                    tracing::warn!(feed = name, %error, "when the sender's certificate ends could not be kept");
                    intake.certificates().remove(&name);
                }
            });
        }
    }

    fn certificates(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.room.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts anew what waits, for what was done about it beside the gateway.
    pub async fn recount(&self) {
        let room = self.room.clone();
        let counted = tokio::task::spawn_blocking(move || room.quarantine.recount(&*room.store)).await;
        if let Ok(Err(error)) = counted {
            tracing::warn!(%error, "the quarantine could not be counted");
        }
    }

    /// A frame's whole way.
    pub async fn receive(&self, door: &Door, peer: &Arc<Peer>, frame: Frame) -> Answer {
        let judged = self.judge(door.clone(), peer.clone(), frame).await;
        self.settle(judged).await
    }

    /// What becomes of a frame, off the runtime's own threads: it may take long, and reads the store.
    pub async fn judge(&self, door: Door, peer: Arc<Peer>, frame: Frame) -> Judged {
        let room = self.room.clone();
        let received = room.clock.now();
        self.at_desk(move || judge(&room, &door, &peer, frame, received, None)).await
    }

    /// Makes the outcome durable, then gives the answer. The journal has the frames of a connection in the order in
    /// which these futures are first polled.
    pub fn settle(&self, judged: Judged) -> impl Future<Output = Answer> + Send + 'static {
        let room = self.room.clone();
        async move {
            let Judged { of, received, began, outcome, reply, transient, then } = judged;
            let answer = match room.settle(&of, then).await {
                Ok(durable) => {
                    let kind = durable.outcome.unwrap_or(outcome.kind);
                    let reply = if kind == OutcomeKind::Duplicate { durable.reply } else { reply };
                    let closes = kind == OutcomeKind::Transient && reply.is_none();
                    let accepted = outcome.code.as_deref() == Some("AA");
                    let Durable { position, unkept, .. } = durable;
                    Answer { outcome: kind, reply, closes, issues: outcome.issues, accepted, position, unkept }
                }
                Err(error) => {
                    tracing::error!(feed = of, %error, "a frame is not acknowledged: it could not be made durable");
                    room.unsettled(transient).await
                }
            };
            room.metrics.message(&of, answer.outcome, received.as_second(), began.elapsed());
            answer
        }
    }

    /// `Type/id` of what a stored frame is about, where its dialect tells that: it is read once more, at a desk.
    async fn stored_as(&self, feed: &Arc<Feed>, frame: Frame) -> Vec<String> {
        let adapter = feed.adapter.clone();
        self.at_desk(move || guarded(|| adapter.stored_as(&frame)).unwrap_or_default()).await
    }

    /// What becomes of a frame beyond the limit, of which only the head was read: refused, and written down without it.
    pub async fn too_large(&self, door: &Door, peer: Arc<Peer>, head: Bytes, bytes_max: usize) -> Judged {
        let (room, door) = (self.room.clone(), door.clone());
        let received = room.clock.now();
        self.at_desk(move || Case::new(&room, &room.feeds(), &door, &peer, Frame::new(head), received, None).too_large(bytes_max)).await
    }

    /// Writes down that a connection was refused in TLS: `reason` is of a closed list. There is no answer to hold back.
    pub async fn unauthenticated(&self, listener: &str, address: SocketAddr, reason: &'static str) {
        let entry = Entry {
            outcome: 4,
            reason: reason.to_owned(),
            request: listener.to_owned(),
            ..Entry::new(
                self.room.clock.now(),
                Action::Refused,
                Agent { who: "unknown".into(), address: address.to_string(), ..Agent::default() },
            )
        };
        if let Err(error) = self.room.refusals.record(&address.ip().to_string(), reason, entry).await {
            self.room.metrics.audit_failure();
            tracing::error!(listener, %error, "a refusal in TLS could not be written down");
        }
    }

    /// Judges a frame of the journal again, at its first position, after a mapping or the configuration was mended.
    /// `released`: what was held for its processing id may be stored. Errors are words for the operator.
    pub async fn replay(&self, position: u64, agent: &Agent, released: bool) -> Result<Answer, String> {
        let (row, frame) = self.of_journal(position).await?;
        if row.outcome.is_stored() {
            return Err("the frame was stored: there is nothing to mend".into());
        }
        self.judge_again(row, frame, Replay { position, agent: agent.clone(), released, edit: None }).await
    }

    /// Judges a new version of a frame of the journal, in that one's place: where it is stored, it counts instead.
    pub async fn edit(&self, frame: Frame, edit: Edit, agent: &Agent, released: bool) -> Result<Answer, String> {
        let (row, _) = self.of_journal(edit.of).await?;
        let same = self.room.store.seen(&row.feed, &frame.digest()).map_err(|error| error.to_string())?;
        if let Some(same) = same {
            return Err(match same.position == edit.of {
                true => "the new version is the frame as it stands: nothing is changed".into(),
                false => format!("the new version stands in the journal already, at position {}", same.position),
            });
        }
        self.judge_again(row, frame, Replay { position: edit.of, agent: agent.clone(), released, edit: Some(edit) }).await
    }

    /// A frame that may be judged again.
    async fn of_journal(&self, position: u64) -> Result<(JournalRow, Frame), String> {
        let store = self.room.store.clone();
        let found = tokio::task::spawn_blocking(move || store.frame(position)).await.map_err(|_| "the store broke off".to_owned())?;
        let (row, frame, _) = found.map_err(|error| error.to_string())?.ok_or("no such position")?;
        match row.standing {
            Standing::Counts => Ok((row, frame)),
            Standing::Superseded => Err("the frame was edited, and a new version stands in its place".into()),
            Standing::Withdrawn => Err("the frame is withdrawn: `landbridge withdraw --restore` puts it back".into()),
        }
    }

    async fn judge_again(&self, row: JournalRow, frame: Frame, replay: Replay) -> Result<Answer, String> {
        let feeds = self.feeds();
        let feed = feeds.named(&row.feed).ok_or("the frame is of no feed of this configuration: who sent it is not proven")?;
        // What folds does so under the feed's active recipe alone: a desk beside the gateway does not take that over.
        if self.room.store.active(feed.name()).map_err(|error| error.to_string())?.is_some_and(|active| active != feed.recipe) {
            return Err("its feed is served with other tables or settings than these: start the gateway with these, then replay".into());
        }
        // An edit is judged as if it had come when the first of its versions did.
        let first = if row.place == row.position { None } else { self.room.store.frame(row.place).map_err(|error| error.to_string())? };
        let received = first.map_or(row.received, |(first, ..)| first.received);
        let (room, door) = (self.room.clone(), Door::Journal(row.feed.as_str().into()));
        let peer = Peer::default();
        let judged = self.at_desk(move || judge(&room, &door, &peer, frame, received, Some(replay))).await;
        Ok(self.settle(judged).await)
    }

    async fn at_desk<T: Send + 'static>(&self, judge: impl FnOnce() -> T + Send + 'static) -> T {
        let _desk = self.room.desks.acquire().await.expect("desks are never closed");
        tokio::task::spawn_blocking(judge).await.expect("what may panic is guarded within")
    }
}

/// The way of a frame. Each stage stands before the next because it may not learn what the next one knows.
fn judge(room: &Arc<Room>, door: &Door, peer: &Peer, frame: Frame, received: Timestamp, replay: Option<Replay>) -> Judged {
    let released = replay.as_ref().is_some_and(|replay| replay.released);
    // Who may be speaking, before a byte is read.
    let feeds = room.feeds();
    let mut case = Case::new(room, &feeds, door, peer, frame, received, replay);
    let candidates = feeds.candidates(door, peer);
    let Some(reader) = case.reader.clone() else {
        return case.nobody();
    };
    // Who sent what: enough to refuse.
    let envelope = match guarded(|| reader.adapter.envelope(&case.frame)) {
        Ok(Ok(envelope)) => envelope,
        Ok(Err(rejection)) => return case.rejected(rejection),
        Err(Panicked) => return case.broken("reading the envelope"),
    };
    // Whose feed it is decides whose words the refusal is in, so it comes before admission.
    case.is_from(of_sender(&candidates, &envelope.sender), envelope);
    let warrant = match admit(&candidates, case.envelope.as_ref().expect("just set"), released) {
        Ok(warrant) => warrant,
        Err((outcome, issue)) => return case.refused(outcome, vec![issue]),
    };
    let feed = case.feed.clone().expect("a Warrant is of a feed");
    // What was stored, or set aside, is not stored again; what was not is judged again, at its first position.
    let seen = match room.store.seen(feed.name(), &case.digest) {
        Ok(Some(seen)) if seen.is_settled() => return case.repeated(seen),
        Ok(seen) => seen,
        Err(error) => return case.unanswerable(&error),
    };
    if seen.is_none()
        && let Err(error) = case.note_circumstances()
    {
        return case.unanswerable(&error);
    }
    let began = Instant::now();
    let translation = match guarded(|| feed.adapter.translate(&case.frame, case.envelope.as_ref().expect("set above"))) {
        Ok(Ok(translation)) => translation,
        Ok(Err(rejection)) => return case.rejected(rejection),
        Err(Panicked) => return case.broken("translating"),
    };
    room.metrics.translated(began.elapsed());
    // Only now it is known whom it speaks of.
    if let Some(issue) = feed.foreign(&translation.contributions) {
        return case.refused(OutcomeKind::Forbidden, vec![issue]);
    }
    case.stored(warrant, translation, seen.is_some())
}

/// What the store said.
#[derive(Default)]
struct Durable {
    position: Option<u64>,
    outcome: Option<OutcomeKind>,
    reply: Option<Bytes>,
    unkept: Option<&'static str>,
}

impl Room {
    fn feeds(&self) -> Arc<Feeds> {
        self.feeds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn settle(&self, of: &str, then: Then) -> Result<Durable, StoreError> {
        let began = Instant::now();
        let receipt = match then {
            Then::Commit { warrant, arrival, translation, mended } => {
                let receipt = self.store.commit(&warrant, *arrival, translation).await?;
                if mended {
                    self.quarantine.release(of);
                }
                receipt
            }
            Then::Keep { arrival, fresh } => {
                let receipt = self.store.keep(*arrival).await?;
                if fresh {
                    self.quarantine.add(of);
                }
                receipt
            }
            Then::Repeat { seen, entry } => {
                self.store.repeat(seen.position, entry).await?;
                return Ok(Durable {
                    position: Some(seen.position),
                    outcome: Some(OutcomeKind::Duplicate),
                    reply: seen.reply,
                    unkept: None,
                });
            }
            Then::Record { entry, source, stands } => {
                let reason = entry.reason.clone();
                match source {
                    Some(source) => self.refusals.record(&source, closed_word(&reason), entry).await?,
                    None => self.store.record(entry).await?,
                }
                return Ok(Durable { position: stands.ok(), unkept: stands.err(), ..Durable::default() });
            }
            Then::Nothing => return Err(StoreError::Busy),
        };
        self.metrics.committed(began.elapsed());
        for found in &receipt.findings {
            self.metrics.finding(of, found.word());
            tracing::warn!(feed = of, position = receipt.position, finding = found.word(), "{}", found.meaning());
        }
        let outcome = (receipt.outcome == OutcomeKind::Duplicate).then_some(OutcomeKind::Duplicate);
        Ok(Durable { position: Some(receipt.position), outcome, reply: receipt.reply, unkept: None })
    }

    /// No answer without its entry: what the feed wants to be told of our trouble is said only where that can be written.
    async fn unsettled(&self, transient: Option<(Bytes, Entry)>) -> Answer {
        let mut answer = Answer {
            outcome: OutcomeKind::Transient,
            reply: None,
            closes: true,
            issues: Vec::new(),
            accepted: false,
            position: None,
            unkept: None,
        };
        if let Some((reply, entry)) = transient {
            match self.store.record(entry).await {
                Ok(()) => (answer.reply, answer.closes) = (Some(reply), false),
                Err(_) => self.metrics.audit_failure(),
            }
        }
        answer
    }
}

/// A panic in an adapter. What it said is dropped: it may hold a value of the message.
struct Panicked;

fn guarded<T>(adapter: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(adapter)).map_err(|_| Panicked)
}

/// Refusals are counted by outcome words.
fn closed_word(word: &str) -> &'static str {
    OutcomeKind::from_word(word).map_or("refused", OutcomeKind::word)
}

/// Shows what became of it.
impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Judged({} {})", self.of, self.outcome.kind.word())
    }
}
