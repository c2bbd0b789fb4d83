//! MLLP: one line, frames in, replies out in their order.
//!
//! While one frame becomes durable the next is read and judged; its reply waits for its turn. At a limit the line is not
//! read: nothing is dropped.

mod transparent;

use super::entrance::{Admitted, Guest, Limits};
use super::frames::{Framed, Frames, TRAILER_GRACE, framed};
use super::handshake::Threshold;
use super::proxied::Proxies;
use super::stay::{Leave, Stay};
use super::tls::Tls;
use crate::intake::{Answer, Door, Intake, Judged, Peer};
use crate::observe::{Metrics, ReplyKind};
use contract::Frame;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use transparent::Spool;

/// Frames of one line that wait for their durability at once.
const IN_HAND_MAX: usize = 32;
/// Their bytes, beyond which no further one is begun.
const IN_HAND_BYTES_MAX: usize = 1024 * 1024;
/// Of what is no frame: then the other end does not speak MLLP.
const NOISE_BYTES_MAX: u64 = 64 * 1024;
/// The rest of a frame that is too large is read past, so that its sender comes to read the reply: so much, so long.
const LINGER_BYTES_MAX: usize = 256 * 1024 * 1024;
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);

/// One MLLP listener.
pub struct Mllp {
    door: Door,
    threshold: Threshold,
    /// `None`: plain.
    tls: Option<Arc<Tls>>,
    intake: Intake,
    limits: Limits,
    metrics: Metrics,
    spool: Spool,
}

impl Mllp {
    /// `name`: without `mllp.`.
    pub fn new(name: &str, tls: Option<Arc<Tls>>, proxies: Proxies, intake: Intake, limits: Limits, metrics: Metrics) -> Self {
        let door = Door::Mllp(name.into());
        let spool = Spool::new(&door.to_string(), intake.clone(), metrics.clone());
        Self { threshold: Threshold { listener: door.to_string(), proxies }, tls, door, intake, limits, metrics, spool }
    }

    /// As in the configuration: `mllp.main`.
    fn name(&self) -> &str {
        &self.threshold.listener
    }

    /// One connection, until either end closes it or the doors are drained.
    pub async fn serve(self: Arc<Self>, guest: Guest, draining: watch::Receiver<bool>) {
        let Guest { stream, address, unproven, admitted } = guest;
        let stay = Stay::new(draining, self.limits.connection_age, address.port());
        match &self.tls {
            None => {
                let passed = self.threshold.pass(stream, address, unproven, &self.intake, &self.metrics).await;
                if let Some((stream, client)) = passed {
                    let peer = Peer { address: client.to_string(), ..Peer::default() };
                    self.speak(stream, peer, stay, admitted).await;
                }
            }
            Some(tls) => {
                let proven = self.threshold.shake(tls, stream, address, unproven, &self.intake, &self.metrics).await;
                if let Some((stream, info, trust)) = proven {
                    self.intake.proven(&info.names, info.ends);
                    let peer = Peer { address: info.address, names: info.names, token: None };
                    if let Some(Leave::Distrusted(word)) = self.speak(stream, peer, stay.trusting(trust), admitted).await {
                        self.metrics.refused(self.name(), "distrusted");
                        self.intake.unauthenticated(self.name(), address, word).await;
                    }
                }
            }
        }
    }

    /// As the feed of this peer has it; why we ended it, if we did.
    async fn speak<S>(&self, stream: S, peer: Peer, stay: Stay, admitted: Admitted) -> Option<Leave>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(feed) = self.intake.feeds().transparent(&self.door, &peer).cloned() else {
            let left = self.converse(stream, peer, stay).await;
            drop(admitted);
            return left;
        };
        let (left, keeping) = self.pass_on(stream, peer, &feed, stay).await;
        // What still waits for the store keeps no sender out.
        drop(admitted);
        if let Some(keeping) = keeping {
            let _ = keeping.await;
        }
        left
    }

    /// Speaks MLLP on a stream; why we ended it, if we did.
    async fn converse<S: AsyncRead + AsyncWrite>(&self, stream: S, peer: Peer, mut stay: Stay) -> Option<Leave> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut line = Line::new(self, peer);
        let mut left = None;
        loop {
            line.take_frame();
            if line.is_done() {
                break;
            }
            let reads = line.reads();
            let deadline = line.deadline();
            tokio::select! {
                biased;
                answer = line.in_hand.next(), if !line.in_hand.is_empty() => {
                    if !self.write(&mut writer, answer).await {
                        return left;
                    }
                }
                judged = async { line.judging.as_mut().expect("guarded by the condition").await }, if line.judging.is_some() => {
                    line.judging = None;
                    line.in_hand.begin(self.intake.settle(judged), line.judging_bytes).await;
                }
                leave = stay.over(), if line.open => {
                    line.leaves(leave);
                    left = Some(leave);
                }
                read = reader.read_buf(line.frames.space()), if reads => match read {
                    Ok(0) | Err(_) => line.ended(),
                    Ok(_) => {}
                },
                () = sleep_until(deadline), if reads => line.waited(),
            }
        }
        if line.lingers {
            let _ = timeout(LINGER_TIME_MAX, read_past(&mut reader)).await;
        }
        let _ = timeout(self.limits.write_time, writer.shutdown()).await;
        left
    }

    /// Gives a reply; `false` where the line is to be closed without one.
    async fn write(&self, writer: &mut (impl AsyncWrite + Unpin), answer: Answer) -> bool {
        if answer.closes {
            self.metrics.reply(self.name(), ReplyKind::Closed);
            return false;
        }
        let Some(reply) = answer.reply else {
            self.metrics.reply(self.name(), ReplyKind::None);
            return true;
        };
        let reply = framed(&reply);
        let written = timeout(self.limits.write_time, async {
            writer.write_all(&reply).await?;
            writer.flush().await
        });
        let is_written = matches!(written.await, Ok(Ok(())));
        self.metrics.reply(self.name(), if is_written { ReplyKind::Sent } else { ReplyKind::Closed });
        is_written
    }
}

/// The state of one connection.
struct Line<'a> {
    mllp: &'a Mllp,
    peer: Arc<Peer>,
    frames: Frames,
    /// More may come.
    open: bool,
    /// A frame was refused unread: its rest is on the way.
    lingers: bool,
    judging: Option<Pin<Box<dyn Future<Output = Judged> + Send + 'a>>>,
    judging_bytes: usize,
    in_hand: InHand,
    /// Since when the frame that has begun is being read.
    begun: Option<Instant>,
    /// When the last byte received may have ended a frame.
    separator: Option<Instant>,
    noise: u64,
}

impl<'a> Line<'a> {
    fn new(mllp: &'a Mllp, peer: Peer) -> Self {
        Self {
            mllp,
            peer: Arc::new(peer),
            frames: Frames::new(mllp.limits.frame_bytes),
            open: true,
            lingers: false,
            judging: None,
            judging_bytes: 0,
            in_hand: InHand::default(),
            begun: None,
            separator: None,
            noise: 0,
        }
    }

    /// Takes the next whole frame to the desk, when the one before has left it: so the journal keeps their order.
    fn take_frame(&mut self) {
        if self.judging.is_some() || self.in_hand.is_full() || self.lingers {
            // What waits for us is not the sender's slowness.
            (self.begun, self.separator) = (None, None);
            return;
        }
        match self.frames.next() {
            Some(Framed::Whole(frame)) => self.judge(frame),
            Some(Framed::TooLarge(head)) => {
                let bytes_max = self.mllp.limits.frame_bytes;
                tracing::warn!(listener = self.mllp.name(), bytes_max, "a frame beyond the limit was refused");
                (self.open, self.lingers, self.begun) = (false, true, None);
                self.judging_bytes = head.len();
                self.judging = Some(Box::pin(self.mllp.intake.too_large(&self.mllp.door, self.peer.clone(), head, bytes_max)));
            }
            None => {
                let now = Instant::now();
                self.begun = self.frames.begun().map(|_| self.begun.unwrap_or(now));
                self.separator = self.frames.waits_for_trailer().then(|| self.separator.unwrap_or(now));
            }
        }
        self.note_noise();
    }

    fn judge(&mut self, frame: bytes::Bytes) {
        (self.begun, self.separator) = (None, None);
        self.judging_bytes = frame.len();
        self.judging = Some(Box::pin(self.mllp.intake.judge(self.mllp.door.clone(), self.peer.clone(), Frame::new(frame))));
    }

    fn reads(&self) -> bool {
        self.open && self.judging.is_none() && !self.in_hand.is_full()
    }

    fn is_done(&self) -> bool {
        !self.open && self.judging.is_none() && self.in_hand.is_empty()
    }

    /// When silence means something: the end of a frame without its CR, or a frame that never ends. Between frames a line
    /// may be silent for as long as it likes.
    fn deadline(&self) -> Instant {
        const FAR: Duration = Duration::from_secs(24 * 3600);
        let separator = self.separator.map(|since| since + TRAILER_GRACE);
        let frame = self.begun.map(|since| since + self.mllp.limits.frame_time);
        separator.into_iter().chain(frame).min().unwrap_or_else(|| Instant::now() + FAR)
    }

    /// The deadline came.
    fn waited(&mut self) {
        if self.separator.is_some_and(|since| since.elapsed() >= TRAILER_GRACE) {
            if let Some(frame) = self.frames.end_at_separator() {
                self.judge(frame);
            }
        } else if self.begun.is_some_and(|since| since.elapsed() >= self.mllp.limits.frame_time) {
            self.unterminated("too slow");
            self.open = false;
        }
    }

    /// No more is read. What was received is answered, but not what a client sent whom nobody trusts now.
    fn leaves(&mut self, leave: Leave) {
        self.open = false;
        if let Leave::Distrusted(_) = leave {
            self.frames = Frames::new(self.mllp.limits.frame_bytes);
        }
    }

    /// The other end sends no more. What may be a whole frame is one.
    fn ended(&mut self) {
        self.open = false;
        match self.frames.end_at_separator() {
            Some(frame) => self.judge(frame),
            None => self.unterminated("closed"),
        }
    }

    fn unterminated(&self, reason: &'static str) {
        if let Some(bytes) = self.frames.begun() {
            let seconds = self.begun.map(|since| since.elapsed().as_secs()).unwrap_or_default();
            tracing::warn!(listener = self.mllp.name(), bytes, seconds, reason, "a frame began and did not end");
            self.mllp.metrics.unterminated(self.mllp.name());
        }
    }

    fn note_noise(&mut self) {
        let bytes = self.frames.take_noise();
        if bytes == 0 {
            return;
        }
        self.mllp.metrics.noise(self.mllp.name(), bytes);
        if self.noise == 0 {
            tracing::warn!(listener = self.mllp.name(), bytes, "bytes outside of frames were dropped; more are counted in the metrics");
        }
        self.noise += bytes;
        if self.noise > NOISE_BYTES_MAX {
            tracing::warn!(listener = self.mllp.name(), "the line is closed: what comes is not MLLP");
            self.open = false;
        }
    }
}

type Settling = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Frames that become durable, in their order.
#[derive(Default)]
struct InHand {
    /// With their size.
    waiting: VecDeque<(Settling, usize)>,
    bytes: usize,
}

impl InHand {
    /// Polled once, so that the store has it after those before it.
    async fn begin(&mut self, settling: impl Future<Output = Answer> + Send + 'static, bytes: usize) {
        let mut settling: Settling = Box::pin(settling);
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(settling.as_mut().poll(context))).await {
            settling = Box::pin(std::future::ready(answer));
        }
        self.waiting.push_back((settling, bytes));
        self.bytes += bytes;
    }

    async fn next(&mut self) -> Answer {
        let (settling, _) = self.waiting.front_mut().expect("asked only where one waits");
        let answer = settling.await;
        let (_, bytes) = self.waiting.pop_front().expect("it was there");
        self.bytes -= bytes;
        answer
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= IN_HAND_MAX || self.bytes >= IN_HAND_BYTES_MAX
    }
}

async fn read_past(reader: &mut (impl AsyncRead + Unpin)) {
    let mut sink = vec![0; 16 * 1024];
    let mut bytes = 0;
    while bytes < LINGER_BYTES_MAX {
        match reader.read(&mut sink).await {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes += read,
        }
    }
}

#[cfg(test)]
mod tests;
