//! A transparent relay: the sender speaks with the next hop itself, byte by byte, and we keep what was said beside it.
//!
//! Nothing of ours stands in the way of the bytes. Messages wait in memory for the store, within a bound; one that cannot be kept
//! was passed on all the same, and that it is not here is told: log, metric, and audit as soon as that can be written.

use super::{LINGER_TIME_MAX, Mllp, read_past};
use crate::config::RELAY_SPOOL_BYTES_MAX;
use crate::intake::{Door, Feed, Intake, Peer};
use crate::listen::stay::{Leave, Stay};
use crate::mllp::{Begun, Passed, pass};
use crate::observe::Metrics;
use bytes::Bytes;
use contract::Frame;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

/// What waits for the store at one listener.
const SPOOL_KIB_MAX: u32 = (RELAY_SPOOL_BYTES_MAX / 1024) as u32;
/// Of a message that is too large, kept to write down whose it was.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Where the store is well and a message is not kept, it is the message.
const TRIES_MAX: u32 = 3;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(5);
/// What a connection passed on is written down so often, and at its end.
const PASSED_INTERVAL: Duration = Duration::from_secs(60);
/// For a line to end in order.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What the connections of a listener share. Cheap to clone.
#[derive(Clone)]
pub struct Spool {
    listener: Arc<str>,
    intake: Intake,
    metrics: Metrics,
    room: Arc<Semaphore>,
    /// Not kept and not yet written down, by reason.
    unwritten: Arc<Mutex<BTreeMap<&'static str, u32>>>,
    /// Messages that wait.
    waiting: Arc<AtomicU32>,
    /// Between two entries of what a connection passed on.
    interval: Duration,
}

/// One connection, as its messages are written down.
struct Witnessed {
    door: Door,
    peer: Arc<Peer>,
    feed: String,
    /// The next hop.
    to: String,
    bytes_max: usize,
    /// Messages that were passed on and are not yet written down as such.
    passed: Arc<AtomicU32>,
}

/// A message that waits for the store, with its place in the spool.
struct Waiting {
    message: Message,
    _room: OwnedSemaphorePermit,
}

enum Message {
    Whole(Bytes),
    /// Its head.
    TooLarge(Bytes),
}

impl Mllp {
    /// Passes a connection on to the feed's next hop. What is still on its way to the journal then is kept by the task.
    pub(super) async fn pass_on<S>(&self, mut sender: S, peer: Peer, feed: &Feed, mut stay: Stay) -> (Option<Leave>, Option<JoinHandle<()>>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (hop, to) = match (&feed.next_hop, &feed.config.relay) {
            (Some(hop), Some(relay)) => (hop, &relay.to),
            _ => return (None, None),
        };
        let mut next = match hop.connect().await {
            Ok(next) => next,
            Err(cause) => {
                self.metrics.relayed(feed.name(), "unreached", 1);
                tracing::error!(feed = feed.name(), cause, "the next hop is not reached: the sender's connection is closed");
                let _ = timeout(CLOSE_TIME, sender.shutdown()).await;
                return (None, None);
            }
        };
        let (frames, waiting) = mpsc::unbounded_channel();
        let passed = Arc::new(AtomicU32::new(0));
        let mut witness = Witness {
            spool: &self.spool,
            feed: feed.name(),
            frames,
            begun: Vec::new(),
            bytes_max: self.limits.frame_bytes,
            passed: passed.clone(),
        };
        let witnessed = Witnessed {
            door: self.door.clone(),
            peer: Arc::new(peer),
            feed: feed.name().to_owned(),
            to: to.clone(),
            bytes_max: self.limits.frame_bytes,
            passed,
        };
        let keeping = tokio::spawn(self.spool.clone().keep(witnessed, waiting, stay.draining()));
        let leave = async {
            let leave = stay.over().await;
            // No word more of whom nobody trusts now.
            (leave, if let Leave::Distrusted(_) = leave { Begun::Breaks } else { Begun::Ends })
        };
        let passed = pass(&mut sender, &mut next, leave, |bytes, ended| witness.said(bytes, ended)).await;
        if !witness.begun.is_empty() {
            tracing::warn!(listener = self.name(), bytes = witness.begun.len(), "a frame began and did not end");
            self.metrics.unterminated(self.name());
        }
        drop(witness);
        let left = match passed {
            Passed::Left(leave) => Some(leave),
            Passed::SenderClosed => None,
            Passed::ReceiverClosed { unanswered, cause, .. } => {
                if unanswered {
                    tracing::warn!(feed = feed.name(), cause, "the next hop's line was lost before its reply: the sender's is closed too");
                }
                None
            }
        };
        let _ = timeout(CLOSE_TIME, next.shutdown()).await;
        let _ = timeout(CLOSE_TIME, sender.shutdown()).await;
        // What lies unread when a socket is closed would take the last reply with it.
        let _ = timeout(LINGER_TIME_MAX / 10, read_past(&mut sender)).await;
        (left, Some(keeping))
    }

    /// At the stop of the gateway, when no connection is left: what is not kept then is lost, and told.
    pub async fn end(&self) {
        self.spool.end().await;
    }
}

/// Sees what the next hop was given, and cuts messages out of it.
struct Witness<'a> {
    spool: &'a Spool,
    feed: &'a str,
    frames: mpsc::UnboundedSender<Waiting>,
    /// From the first byte of a frame on.
    begun: Vec<u8>,
    bytes_max: usize,
    passed: Arc<AtomicU32>,
}

impl Witness<'_> {
    fn said(&mut self, bytes: &[u8], ended: bool) {
        const START: u8 = 0x0B;
        let from = if self.begun.is_empty() { bytes.iter().position(|byte| *byte == START).unwrap_or(bytes.len()) } else { 0 };
        // With its first byte and its trailer, and one more, which tells that it is too large.
        let room = (self.bytes_max + 4).saturating_sub(self.begun.len());
        self.begun.extend(bytes[from..].iter().take(room));
        if ended {
            let frame = std::mem::take(&mut self.begun);
            self.passed.fetch_add(1, Ordering::SeqCst);
            self.spool.metrics.relayed(self.feed, "passed", 1);
            self.spool.put(&self.frames, message(frame, self.bytes_max));
        }
    }
}

/// The message of a frame: without what delimits it.
fn message(frame: Vec<u8>, bytes_max: usize) -> Message {
    if frame.len() > bytes_max + 3 {
        // A copy: the rest would lie in memory behind it.
        return Message::TooLarge(Bytes::copy_from_slice(&frame[1..=HEAD_BYTES_MAX.min(bytes_max)]));
    }
    let trailer = if frame.last() == Some(&0x1C) { 1 } else { 2 };
    let end = frame.len().saturating_sub(trailer);
    Message::Whole(Bytes::from(frame).slice(1.min(end)..end))
}

impl Spool {
    pub fn new(listener: &str, intake: Intake, metrics: Metrics) -> Self {
        let room = Arc::new(Semaphore::new(SPOOL_KIB_MAX as usize));
        Self {
            listener: listener.into(),
            intake,
            metrics,
            room,
            unwritten: Arc::default(),
            waiting: Arc::default(),
            interval: PASSED_INTERVAL,
        }
    }

    fn put(&self, frames: &mpsc::UnboundedSender<Waiting>, message: Message) {
        let (Message::Whole(bytes) | Message::TooLarge(bytes)) = &message;
        let kib = u32::try_from(bytes.len().div_ceil(1024).max(1)).unwrap_or(u32::MAX);
        match self.room.clone().try_acquire_many_owned(kib) {
            Ok(room) => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                if frames.send(Waiting { message, _room: room }).is_err() {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    self.lose("failed");
                }
            }
            Err(_) => self.lose("spool-full"),
        }
    }

    /// Brings the messages of one connection into the journal, in their order, and writes down that they were passed on.
    async fn keep(self, line: Witnessed, mut waiting: mpsc::UnboundedReceiver<Waiting>, mut draining: watch::Receiver<bool>) {
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {
                    self.write_passed(&line).await;
                    self.write_down().await;
                }
                next = waiting.recv() => {
                    let Some(Waiting { message, _room }) = next else { break };
                    let kept = self.take(&line, message, &mut draining).await;
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    match kept {
                        Ok(()) => self.write_down().await,
                        Err(reason) => self.lose(reason),
                    }
                }
            }
        }
        self.write_down().await;
        self.write_passed(&line).await;
        let count = line.passed.load(Ordering::SeqCst);
        if count > 0 {
            tracing::error!(feed = line.feed, count, "that messages were passed on could not be written down");
        }
    }

    /// `Err`: why it is not in the journal.
    async fn take(&self, line: &Witnessed, message: Message, draining: &mut watch::Receiver<bool>) -> Result<(), &'static str> {
        match message {
            Message::Whole(bytes) => self.journal(&line.door, &line.peer, bytes, draining).await,
            Message::TooLarge(head) => {
                let judged = self.intake.too_large(&line.door, line.peer.clone(), head, line.bytes_max).await;
                self.intake.settle(judged).await;
                Err("too-large")
            }
        }
    }

    /// Tried for as long as the store is away.
    async fn journal(&self, door: &Door, peer: &Arc<Peer>, bytes: Bytes, draining: &mut watch::Receiver<bool>) -> Result<(), &'static str> {
        let (mut pause, mut tries) = (PAUSE_FIRST, 0);
        loop {
            let (intake, door, peer, frame) = (self.intake.clone(), door.clone(), peer.clone(), Frame::new(bytes.clone()));
            // In a task of its own: where it breaks off, the next message does not.
            let received = tokio::spawn(async move { intake.receive(&door, &peer, frame).await }).await;
            if let Ok(answer) = received {
                match (answer.position, answer.unkept) {
                    (Some(_), _) => return Ok(()),
                    (None, Some(reason)) => return Err(reason),
                    (None, None) => {}
                }
            }
            if *draining.borrow() {
                return Err("stopped");
            }
            if self.intake.can_keep().await {
                tries += 1;
                if tries == TRIES_MAX {
                    return Err("failed");
                }
            }
            tokio::select! {
                _ = draining.wait_for(|draining| *draining) => {}
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    /// Told at once, and in the audit when that can be written.
    fn lose(&self, reason: &'static str) {
        self.metrics.unkept(&self.listener, reason);
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let count = unwritten.entry(reason).or_default();
        *count = count.saturating_add(1);
        // Each would fill the log where the store is away for long.
        if count.is_power_of_two() {
            let listener = &*self.listener;
            tracing::error!(listener, reason, count, "a message was passed on and is not kept here: it is not in the journal");
        }
    }

    async fn write_passed(&self, line: &Witnessed) {
        let count = line.passed.swap(0, Ordering::SeqCst);
        if count > 0 && self.intake.passed_on(&line.feed, &line.peer, &line.to, count).await.is_err() {
            self.metrics.audit_failure();
            line.passed.fetch_add(count, Ordering::SeqCst);
        }
    }

    async fn end(&self) {
        // Of connections that were cut off.
        for _ in 0..self.waiting.swap(0, Ordering::SeqCst) {
            self.lose("stopped");
        }
        self.write_down().await;
        let listener = &*self.listener;
        for (reason, count) in std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)) {
            tracing::error!(
                listener,
                reason,
                count,
                "messages were passed on and are not kept here, which could not be written down in the audit"
            );
        }
    }

    async fn write_down(&self) {
        let unwritten = std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        for (reason, count) in unwritten {
            if self.intake.not_kept(&self.listener, reason, count).await.is_err() {
                self.metrics.audit_failure();
                let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
                let known = unwritten.entry(reason).or_default();
                *known = known.saturating_add(count);
            }
        }
    }
}

#[cfg(test)]
mod tests;
