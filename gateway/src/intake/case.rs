//! One frame on its way: what is known of it so far, and the ways in which its way can end.

use super::feeds::{Door, Feed, Feeds, Peer, Warrant};
use super::{Judged, Panicked, Replay, Room, Then, guarded};
use crate::audit::{Action, Entry};
use crate::config::RelayMode;
use crate::store::{Arrival, Edit, JournalFilter, Seen, StoreError};
use bytes::Bytes;
use contract::{Digest, Envelope, Frame, Issue, IssueCode, Outcome, OutcomeKind, Rank, Rejection, Severity, Translation};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Instant;

/// Of a control id, in the audit.
const CONTROL_ID_BYTES_MAX: usize = 200;
/// Why a frame is not kept: the quarantine has no room.
const FULL: &str = "quarantine-full";

pub struct Case<'a> {
    room: &'a Room,
    feeds: &'a Feeds,
    door: &'a Door,
    peer: &'a Peer,
    replay: Option<Replay>,
    received: Timestamp,
    began: Instant,
    pub frame: Frame,
    pub digest: Digest,
    /// Whose adapter reads and answers: the feed's, else a candidate's, else any feed's of this listener.
    pub reader: Option<Arc<Feed>>,
    /// Whose frame it is, where that is known.
    pub feed: Option<Arc<Feed>>,
    pub envelope: Option<Envelope>,
    /// Issues of the circumstances, besides those of envelope and translation.
    issues: Vec<Issue>,
}

impl<'a> Case<'a> {
    pub fn new(
        room: &'a Room,
        feeds: &'a Feeds,
        door: &'a Door,
        peer: &'a Peer,
        frame: Frame,
        received: Timestamp,
        replay: Option<Replay>,
    ) -> Self {
        let candidates = feeds.candidates(door, peer);
        let only = if let [only] = candidates[..] { Some(only.clone()) } else { None };
        let reader = candidates.first().copied().or_else(|| feeds.speaker(door)).cloned();
        let (digest, began) = (frame.digest(), Instant::now());
        Self { room, feeds, door, peer, replay, received, began, frame, digest, reader, feed: only, envelope: None, issues: Vec::new() }
    }

    /// The feed that the sender is, and the envelope as that feed's adapter reads it.
    pub fn is_from(&mut self, feed: Option<&Arc<Feed>>, envelope: Envelope) {
        self.envelope = Some(envelope);
        let Some(feed) = feed else { return };
        if let Some(reader) = &self.reader
            && !Arc::ptr_eq(reader, feed)
            && let Ok(Ok(envelope)) = guarded(|| feed.adapter.envelope(&self.frame))
        {
            self.envelope = Some(envelope);
        }
        self.reader = Some(feed.clone());
        self.feed = Some(feed.clone());
    }

    /// Issues that neither envelope nor translation can know of.
    pub fn note_circumstances(&mut self) -> Result<(), StoreError> {
        let (Some(feed), Some(envelope)) = (&self.feed, &self.envelope) else { return Ok(()) };
        if envelope.sent.is_some_and(|sent| sent > self.received.as_microsecond() + Rank::AHEAD_MAX) {
            let reason = "the message was made more than 5 minutes after its receipt, by its own stamp; it ranks as made then";
            self.issues.push(Issue::new(Severity::Warning, IssueCode::Time, "", reason));
        }
        // An edit has the control id of what it was made from.
        if !envelope.control_id.is_empty() && self.edit().is_none() {
            let filter = JournalFilter {
                feed: Some(feed.name().to_owned()),
                control_id: Some(envelope.control_id.clone()),
                ..JournalFilter::default()
            };
            if self.room.store.journal(&filter, 1)?.iter().any(|row| row.digest != self.digest) {
                let reason = "another message of this feed came under the same control id";
                self.issues.push(Issue::new(Severity::Warning, IssueCode::Identity, "", reason));
            }
        }
        Ok(())
    }

    pub fn stored(mut self, warrant: Warrant, translation: Translation, waited: bool) -> Judged {
        let mut issues = self.all_issues();
        issues.extend(translation.issues.iter().cloned());
        let is_noted = issues.iter().any(|issue| issue.severity >= Severity::Warning);
        let kind = if is_noted { OutcomeKind::StoredWithIssues } else { OutcomeKind::Stored };
        let outcome = self.outcome(kind, issues);
        let reply = match self.reply(&outcome) {
            Ok(reply) => reply,
            Err(Panicked) => return self.broken("replying"),
        };
        let arrival = self.arrival(&outcome, reply.clone());
        let then = Then::Commit { warrant, arrival, translation, mended: waited };
        self.judged(outcome, reply, then)
    }

    pub fn rejected(self, rejection: Rejection) -> Judged {
        self.refused(rejection.kind(), rejection.issues())
    }

    /// No resource is made of it: kept, where there is room and someone to keep it for.
    pub fn refused(mut self, kind: OutcomeKind, issues: Vec<Issue>) -> Judged {
        let mut all = self.all_issues();
        all.extend(issues);
        let outcome = self.outcome(kind, all);
        let reply = match self.reply(&outcome) {
            Ok(reply) => reply,
            Err(Panicked) => return self.broken("replying"),
        };
        let entry = self.entry(&outcome);
        let authenticated = !self.peer.names.is_empty() || self.replay.is_some();
        // On a plain listener nobody is proven: what no feed could have said is not kept.
        if !authenticated && (self.feed.is_none() || kind == OutcomeKind::Forbidden) {
            let source = Some(self.source());
            return self.judged(outcome, reply, Then::Record { entry, source, stands: Err("refused") });
        }
        let seen = match self.room.store.seen(&self.of(), &self.digest) {
            Ok(seen) => seen,
            Err(error) => return self.unanswerable(&error),
        };
        let then = match seen {
            // It was stored, under another configuration, or set aside: that stays, and today's refusal is written down.
            Some(seen) if seen.is_settled() => Then::Record { entry, source: None, stands: Ok(seen.position) },
            None if self.edit().is_none() && self.room.quarantine.is_full(&self.of()) => {
                tracing::warn!(feed = self.of(), "the quarantine is full: replay or raise limits.quarantine_frames");
                // What is not kept may not be acknowledged as if it were.
                if matches!(outcome.code.as_deref(), None | Some("AA")) {
                    let entry = self.entry(&self.outcome(OutcomeKind::Transient, Vec::new()));
                    return self.transient(Then::Record { entry, source: None, stands: Err(FULL) });
                }
                Then::Record { entry, source: None, stands: Err(FULL) }
            }
            seen => Then::Keep { arrival: self.arrival(&outcome, reply.clone()), fresh: seen.is_none() && self.edit().is_none() },
        };
        self.judged(outcome, reply, then)
    }

    /// It was stored before: the first reply again.
    pub fn repeated(self, seen: Seen) -> Judged {
        let outcome = self.outcome(OutcomeKind::Duplicate, Vec::new());
        let entry = Entry { position: Some(seen.position), ..self.entry(&outcome) };
        self.judged(outcome, None, Then::Repeat { seen, entry })
    }

    /// Nobody is configured at this door who could speak: no words to answer in.
    pub fn nobody(self) -> Judged {
        let issue = Issue::new(Severity::Error, IssueCode::Forbidden, "", "no feed is configured at this listener");
        let outcome = self.outcome(OutcomeKind::Forbidden, vec![issue]);
        let entry = self.entry(&outcome);
        let source = Some(self.source());
        self.judged(outcome, None, Then::Record { entry, source, stands: Err("refused") })
    }

    /// Of a frame beyond the limit only its head is here.
    pub fn too_large(mut self, bytes_max: usize) -> Judged {
        if let Some(reader) = self.reader.clone()
            && let Ok(Ok(envelope)) = guarded(|| reader.adapter.envelope(&self.frame))
        {
            let candidates = self.feeds.candidates(self.door, self.peer);
            self.is_from(super::of_sender(&candidates, &envelope.sender), envelope);
        }
        let reason = format!("the frame is larger than {bytes_max} bytes, the limit of this gateway");
        let issue = Issue::new(Severity::Error, IssueCode::Limit, "", reason);
        let mut outcome = self.outcome(OutcomeKind::Malformed, vec![issue]);
        outcome.code = Some("AR".into());
        let reply = self.reply(&outcome).unwrap_or_default();
        let entry = self.entry(&outcome);
        let source = self.peer.names.is_empty().then(|| self.source());
        self.judged(outcome, reply, Then::Record { entry, source, stands: Err("too-large") })
    }

    /// An adapter panicked: our fault, and its message stays unsaid.
    pub fn broken(self, stage: &'static str) -> Judged {
        tracing::error!(feed = self.of(), stage, digest = %self.digest, "an adapter panicked: the frame is not acknowledged");
        let issue = Issue::new(Severity::Error, IssueCode::Internal, "", "the gateway failed on this message");
        let outcome = self.outcome(OutcomeKind::Transient, vec![issue]);
        let entry = Entry { outcome: 12, ..self.entry(&outcome) };
        self.transient(Then::Record { entry, source: None, stands: Err("failed") })
    }

    /// The store cannot say what is needed to decide.
    pub fn unanswerable(self, error: &StoreError) -> Judged {
        tracing::error!(feed = self.of(), %error, "a frame is not acknowledged: the store could not be asked");
        self.transient(Then::Nothing)
    }

    fn transient(self, then: Then) -> Judged {
        let outcome = self.outcome(OutcomeKind::Transient, Vec::new());
        let reply = self.transient_reply(&outcome);
        self.judged(outcome, reply, then)
    }

    fn judged(self, outcome: Outcome, reply: Option<Bytes>, then: Then) -> Judged {
        let trouble = self.outcome(OutcomeKind::Transient, Vec::new());
        let transient = self.transient_reply(&trouble).map(|reply| (reply, self.entry(&trouble)));
        Judged { of: self.of(), received: self.received, began: self.began, outcome, reply, transient, then }
    }

    /// What the sender is told of our trouble, where its feed wants that.
    fn transient_reply(&self, outcome: &Outcome) -> Option<Bytes> {
        outcome.code.as_ref()?;
        self.reply(outcome).unwrap_or_default()
    }

    fn reply(&self, outcome: &Outcome) -> Result<Option<Bytes>, Panicked> {
        let Some(reader) = &self.reader else { return Ok(None) };
        guarded(|| reader.adapter.reply(self.envelope.as_ref(), &self.frame, outcome))
    }

    fn outcome(&self, kind: OutcomeKind, issues: Vec<Issue>) -> Outcome {
        let mut outcome = Outcome::new(kind, issues, self.room.clock.now());
        outcome.code = self.reader.as_ref().and_then(|reader| reader.code(kind)).map(str::to_owned);
        outcome
    }

    /// The feed, or the listener.
    fn of(&self) -> String {
        self.feed.as_ref().map_or_else(|| self.door.to_string(), |feed| feed.name().to_owned())
    }

    /// The other end without its port.
    fn source(&self) -> String {
        self.peer.address.rsplit_once(':').map_or(self.peer.address.as_str(), |(host, _)| host).to_owned()
    }

    fn all_issues(&mut self) -> Vec<Issue> {
        let mut issues = self.envelope.as_ref().map(|envelope| envelope.issues.clone()).unwrap_or_default();
        issues.append(&mut self.issues);
        issues
    }

    fn arrival(&self, outcome: &Outcome, reply: Option<Bytes>) -> Box<Arrival> {
        Box::new(Arrival {
            feed: self.of(),
            frame: self.frame.clone(),
            digest: self.digest,
            message_type: self.message_type(),
            control_id: self.envelope.as_ref().map(|envelope| envelope.control_id.clone()).unwrap_or_default(),
            // An edit came when it was made, whatever it ranks as.
            received: if self.edit().is_some() { outcome.at } else { self.received },
            outcome: outcome.kind,
            issues: outcome.issues.clone(),
            reply,
            recipe: self.feed.as_ref().map(|feed| feed.recipe.clone()).unwrap_or_default(),
            entry: self.entry(outcome),
            edit: self.edit().cloned(),
            relays: self.relays(outcome),
        })
    }

    fn edit(&self) -> Option<&Edit> {
        self.replay.as_ref()?.edit.as_ref()
    }

    /// What the sender was told is ours goes on to the feed's next hop, also what we could not translate; never what it may not say,
    /// and what we made of it ourselves only when a person says so (`relay replay`).
    fn relays(&self, outcome: &Outcome) -> bool {
        let relayed = self.feed.as_ref().is_some_and(|feed| feed.config.relays(RelayMode::AfterCommit).is_some());
        let accepted = outcome.kind.is_stored() || (outcome.kind != OutcomeKind::Forbidden && outcome.code.as_deref() == Some("AA"));
        relayed && accepted && self.edit().is_none()
    }

    fn message_type(&self) -> String {
        self.envelope.as_ref().map(|envelope| envelope.message_type.to_string()).unwrap_or_default()
    }

    fn entry(&self, outcome: &Outcome) -> Entry {
        let agent = match (&self.replay, &self.feed, self.peer.names.first()) {
            (Some(replay), _, _) => replay.agent.clone(),
            (None, Some(feed), _) => self.peer.agent(format!("feed:{}", feed.name())),
            (None, None, Some(name)) => self.peer.agent(format!("peer:{name}")),
            (None, None, None) => self.peer.agent("unknown".into()),
        };
        let mut request = self.message_type();
        if let Some(envelope) = &self.envelope {
            let id = &envelope.control_id;
            request = format!("{request} {}", &id[..id.floor_char_boundary(CONTROL_ID_BYTES_MAX)]);
        }
        if let Some(edit) = self.edit() {
            request = format!("{request}, edit of {} because {}", edit.of, edit.because);
        }
        let is_success = outcome.kind.is_stored();
        let action = match &self.replay {
            None => Action::Import,
            Some(Replay { edit: None, .. }) => Action::JournalReplay,
            Some(Replay { edit: Some(_), .. }) => Action::JournalEdit,
        };
        Entry {
            at: if self.replay.is_some() { outcome.at } else { self.received },
            action,
            outcome: match outcome.kind {
                OutcomeKind::Stored | OutcomeKind::StoredWithIssues | OutcomeKind::Duplicate => 0,
                OutcomeKind::Malformed | OutcomeKind::Unsupported | OutcomeKind::Untranslatable | OutcomeKind::Held => 4,
                OutcomeKind::Unauthenticated | OutcomeKind::Forbidden => 4,
                OutcomeKind::Transient => 8,
            },
            reason: if is_success && outcome.kind != OutcomeKind::Duplicate { String::new() } else { outcome.kind.word().to_owned() },
            agent,
            request,
            patients: Vec::new(),
            resources: Vec::new(),
            issues: u32::try_from(outcome.issues.len()).unwrap_or(u32::MAX),
            count: 1,
            position: self.replay.as_ref().map(|replay| replay.position),
        }
    }
}
