//! The sending side of MLLP: one line to a receiver, a message out, its acknowledgement back.
//!
//! A line that did not bring the acknowledgement of its message is at once no line any more: whatever comes on it later
//! would be taken for the reply to the next message. [`Line::send`] takes the line and gives it back only with the reply.

mod destination;
mod message;
mod passage;
mod tally;

pub use destination::{Destination, Files, Receiver, Stream, host};
pub use message::{control_id, renumbered};
pub use passage::{Begun, Passed, pass};

use crate::listen::frames::{Framed, Frames, TRAILER_GRACE, framed};
use bytes::Bytes;
use message::acknowledges;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// How long an acknowledgement is waited for, from the first byte of its message.
pub const REPLY_TIME: Duration = Duration::from_secs(60);
/// No acknowledgement is larger.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Of what is no frame: then the other end does not speak MLLP.
const NOISE_BYTES_MAX: u64 = 64 * 1024;
/// Messages with a commit acknowledgement whose application acknowledgement may still come.
const COMMITTED_MAX: usize = 64;

/// An open line to a receiver; nothing is under way on it.
pub struct Line {
    stream: Box<dyn Stream>,
    frames: Frames,
    reply_time: Duration,
    committed: VecDeque<String>,
}

/// A receiver's word on one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub code: Code,
    /// As it came.
    pub bytes: Bytes,
}

/// MSA-1, table 0008.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    AA,
    AE,
    AR,
    CA,
    CE,
    CR,
}

/// Why a message has no acknowledgement. It may have arrived all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unacknowledged {
    Timeout,
    Closed,
    /// What came names another message in MSA-2.
    AnothersReply,
    /// What came is no acknowledgement.
    NoReply,
    TooLarge,
}

impl Code {
    const ALL: [(Self, &str); 6] =
        [(Self::AA, "AA"), (Self::AE, "AE"), (Self::AR, "AR"), (Self::CA, "CA"), (Self::CE, "CE"), (Self::CR, "CR")];

    pub fn is_positive(self) -> bool {
        matches!(self, Self::AA | Self::CA)
    }

    /// That the message was taken into custody, or not: the first of the two replies of enhanced mode.
    fn is_commit(self) -> bool {
        matches!(self, Self::CA | Self::CE | Self::CR)
    }

    fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, code)| *code == text).map(|(code, _)| code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, text) = Self::ALL.into_iter().find(|(code, _)| code == self).expect("all are listed");
        f.write_str(text)
    }
}

impl fmt::Display for Unacknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no acknowledgement in time",
            Self::Closed => "closed without an acknowledgement",
            Self::AnothersReply => "the acknowledgement of another message",
            Self::NoReply => "an answer that is no acknowledgement",
            Self::TooLarge => "an answer beyond 1 MiB",
        })
    }
}

impl Line {
    pub fn new(stream: Box<dyn Stream>, reply_time: Duration) -> Self {
        Self { stream, frames: Frames::new(REPLY_BYTES_MAX), reply_time, committed: VecDeque::new() }
    }

    /// Sends a message and waits for its acknowledgement.
    pub async fn send(mut self, message: &[u8]) -> Result<(Self, Acknowledgement), Unacknowledged> {
        let acknowledged = timeout(self.reply_time, self.exchange(message)).await.unwrap_or(Err(Unacknowledged::Timeout))?;
        Ok((self, acknowledged))
    }

    /// Ends the line in order.
    pub async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
    }

    async fn exchange(&mut self, message: &[u8]) -> Result<Acknowledgement, Unacknowledged> {
        // Without MSH-10 there is nothing to name: a reply that names something is another message's.
        let control = control_id(message).unwrap_or_default();
        self.stream.write_all(&framed(message)).await.map_err(|_| Unacknowledged::Closed)?;
        self.stream.flush().await.map_err(|_| Unacknowledged::Closed)?;
        loop {
            let bytes = self.reply().await?;
            let (code, about) = acknowledges(&bytes).ok_or(Unacknowledged::NoReply)?;
            // Enhanced mode: the second reply to a message of before, which needs nothing of us. Also where this message has the
            // same control id: the earlier one's reply comes first.
            if !code.is_commit()
                && let Some(earlier) = self.committed.iter().rposition(|committed| *committed == about)
            {
                self.committed.remove(earlier);
                continue;
            }
            if about != control {
                return Err(Unacknowledged::AnothersReply);
            }
            if code == Code::CA {
                self.committed.truncate(COMMITTED_MAX - 1);
                self.committed.push_front(about);
            }
            return Ok(Acknowledgement { code, bytes });
        }
    }

    async fn reply(&mut self) -> Result<Bytes, Unacknowledged> {
        loop {
            match self.frames.next() {
                Some(Framed::Whole(bytes)) => return Ok(bytes),
                Some(Framed::TooLarge(_)) => return Err(Unacknowledged::TooLarge),
                None if self.frames.noise() > NOISE_BYTES_MAX => return Err(Unacknowledged::NoReply),
                None => {}
            }
            // A receiver that leaves the trailing 0D out is waited for no longer than a sender that does.
            let ends_soon = self.frames.waits_for_trailer();
            let read = self.stream.read_buf(self.frames.space());
            let read = if ends_soon { timeout(TRAILER_GRACE, read).await.unwrap_or(Ok(0)) } else { read.await };
            match read {
                Ok(read) if read > 0 => {}
                _ => return self.frames.end_at_separator().ok_or(Unacknowledged::Closed),
            }
        }
    }
}

#[cfg(test)]
mod tests;
