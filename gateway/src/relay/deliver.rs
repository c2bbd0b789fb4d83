use super::Relays;
use crate::audit::{Action, Agent, Entry};
use crate::clock::Clock;
use crate::config::Relay;
use crate::mllp::{Line, Receiver, Unacknowledged};
use crate::observe::Metrics;
use crate::store::StoreError;
use crate::store::outbox::{Backlog, Letter, LetterState, Outbox, Tried};
use contract::Frame;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Between two attempts: doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(30);
/// How often the outbox is looked at for what another process put in.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Passes on for one feed.
pub struct Deliverer {
    feed: String,
    relay: Relay,
    hop: Arc<Receiver>,
    outbox: Arc<dyn Outbox>,
    clock: Clock,
    metrics: Metrics,
    stopping: watch::Receiver<bool>,
    /// Nothing is under way on it.
    line: Option<Line>,
    /// What came of the last attempt, where that could not be written down: it is not sent again for that.
    unmarked: Option<(u64, Tried)>,
    /// The last attempt did not do it: told once, and once that it is over.
    held_up: bool,
    told: Option<Instant>,
}

impl Deliverer {
    pub fn new(feed: &str, relay: &Relay, hop: Arc<Receiver>, relays: &Relays, stopping: watch::Receiver<bool>) -> Self {
        Self {
            feed: feed.to_owned(),
            relay: relay.clone(),
            hop,
            outbox: relays.outbox.clone(),
            clock: relays.clock.clone(),
            metrics: relays.metrics.clone(),
            stopping,
            line: None,
            unmarked: None,
            held_up: false,
            told: None,
        }
    }

    pub async fn run(mut self) {
        let mut posted = self.outbox.posted();
        let mut pause = Duration::ZERO;
        while !*self.stopping.borrow() {
            // Before the look: what comes in between is noticed.
            posted.borrow_and_update();
            let next = self.look().await;
            let done = match next {
                Ok(Some((letter, frame))) => self.attempt(&letter, &frame).await,
                Ok(None) => {
                    tokio::select! {
                        Ok(()) = posted.changed() => {}
                        () = sleep(LOOK_INTERVAL) => {}
                        _ = self.stopping.wait_for(|stopping| *stopping) => {}
                    }
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            };
            match done {
                Ok(()) => {
                    if std::mem::take(&mut self.held_up) {
                        tracing::info!(feed = self.feed, "the next hop takes messages again");
                    }
                    pause = Duration::ZERO;
                }
                Err(cause) => {
                    if !std::mem::replace(&mut self.held_up, true) {
                        tracing::warn!(feed = self.feed, cause, "the next hop did not take a message; it is tried again until it does");
                    }
                    pause = (pause * 2).clamp(PAUSE_FIRST, PAUSE_LAST);
                    tokio::select! {
                        () = sleep(pause) => {}
                        _ = self.stopping.wait_for(|stopping| *stopping) => {}
                    }
                }
            }
        }
        if let Some(line) = self.line {
            line.close().await;
        }
    }

    /// Sends one message once. `Err`: why it is still its turn.
    async fn attempt(&mut self, letter: &Letter, frame: &Frame) -> Result<(), String> {
        let known = self.unmarked.take().filter(|(position, _)| *position == letter.position);
        let tried = match known {
            Some((_, tried)) => tried,
            None => match self.send(letter, frame).await? {
                Some(tried) => tried,
                None => return Ok(()),
            },
        };
        let entry = self.entry(letter, tried.state, &tried.reason);
        if let Err(error) = self.outbox.tried(letter.position, tried.clone(), entry).await {
            self.unmarked = Some((letter.position, tried));
            return Err(error.to_string());
        }
        match tried.state {
            LetterState::Delivered => Ok(()),
            LetterState::Dead => {
                let (position, reason) = (letter.position, tried.reason);
                tracing::error!(
                    feed = self.feed,
                    position,
                    reason,
                    "a dead letter: the next hop refused it, or it cannot be passed on by MLLP; mend that, then `relay replay`"
                );
                // The metrics count it at once.
                self.told = None;
                Ok(())
            }
            LetterState::Waiting if tried.refused => Err(format!("refused with {}", tried.reason)),
            LetterState::Waiting => Err(tried.reason),
        }
    }

    /// What came of it; nothing where we are to stop before.
    async fn send(&mut self, letter: &Letter, frame: &Frame) -> Result<Option<Tried>, String> {
        // A receiver would end the frame there, and take what follows for a message of its own.
        if ends_within(frame.bytes()) {
            return Ok(Some(Tried { state: LetterState::Dead, reason: "not-mllp".into(), sent: false, refused: false }));
        }
        let line = match self.line.take() {
            Some(line) => line,
            None => {
                let connected = tokio::select! {
                    connected = self.hop.connect() => connected,
                    _ = self.stopping.wait_for(|stopping| *stopping) => return Ok(None),
                };
                let stream = connected.inspect_err(|_| self.metrics.relayed(&self.feed, "unreached", 1))?;
                Line::new(stream, self.relay.reply_time)
            }
        };
        let (state, reason, refused) = match line.send(frame.bytes()).await {
            Ok((line, acknowledged)) => {
                self.line = Some(line);
                let taken = acknowledged.code.is_positive();
                let state = match taken {
                    true => LetterState::Delivered,
                    false if letter.refusals + 1 >= self.relay.refusals => LetterState::Dead,
                    false => LetterState::Waiting,
                };
                self.metrics.relayed(&self.feed, if taken { "delivered" } else { "refused" }, 1);
                (state, acknowledged.code.to_string(), !taken)
            }
            Err(unacknowledged) => {
                self.metrics.relayed(&self.feed, "unacknowledged", 1);
                (LetterState::Waiting, word(unacknowledged).to_owned(), false)
            }
        };
        Ok(Some(Tried { state, reason, sent: true, refused }))
    }

    fn entry(&self, letter: &Letter, state: LetterState, reason: &str) -> Entry {
        Entry {
            outcome: if state == LetterState::Delivered { 0 } else { 4 },
            reason: if state == LetterState::Delivered { String::new() } else { reason.to_owned() },
            request: format!("{} {}", letter.message_type, letter.control_id),
            position: Some(letter.position),
            ..Entry::new(
                self.clock.now(),
                Action::Relay,
                Agent { who: format!("relay:{}", self.feed), address: self.relay.to.clone(), ..Agent::default() },
            )
        }
    }

    /// The message whose turn it is. The backlog is counted for the metrics, not more often than an idle outbox is looked at.
    async fn look(&mut self) -> Result<Option<(Letter, Frame)>, StoreError> {
        let counts = self.told.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL);
        let (outbox, feed) = (self.outbox.clone(), self.feed.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let next = outbox.next(&feed)?;
            let backlog = counts.then(|| outbox.backlog(&feed)).transpose()?;
            Ok((next, backlog))
        });
        let (next, backlog) = looked.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store broke off".into())))?;
        if let Some(Backlog { waiting, oldest, dead, .. }) = backlog {
            self.told = Some(Instant::now());
            self.metrics.relay(&self.feed, waiting, oldest.map(|at| at.as_second()), dead);
        }
        Ok(next)
    }
}

/// Whether a message holds what ends a frame: by MLLP no message of that way does.
fn ends_within(message: &[u8]) -> bool {
    message.windows(2).any(|pair| matches!(pair, [0x1C, b'\r' | b'\n' | 0x0B]))
}

/// For the audit and the list.
fn word(unacknowledged: Unacknowledged) -> &'static str {
    match unacknowledged {
        Unacknowledged::Timeout => "timeout",
        Unacknowledged::Closed => "closed",
        Unacknowledged::AnothersReply => "anothers-reply",
        Unacknowledged::NoReply => "no-acknowledgement",
        Unacknowledged::TooLarge => "reply-too-large",
    }
}
