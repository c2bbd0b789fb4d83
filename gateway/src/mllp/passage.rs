//! A line that is passed on: bytes go both ways as they come, and it is known whether a message waits for its reply.

use super::destination::cause;
use super::tally::Tally;
use crate::listen::frames::TRAILER_GRACE;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// What is held of one direction.
const READ_BYTES: usize = 16 * 1024;
/// For what was read to be taken by the other end.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// For the replies to what was sent, when no more is to be sent.
const REPLY_TIME: Duration = Duration::from_secs(20);

/// How a line ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Passed<L> {
    SenderClosed,
    ReceiverClosed {
        /// Something was sent that has no reply. It may have arrived all the same.
        unanswered: bool,
        /// Whether the receiver had said anything.
        heard: bool,
        cause: String,
    },
    /// We were told to, and did between two messages.
    Left(L),
}

/// Passes on until either end closes, or `leave` resolves; then to the end of the message that has begun, and its reply.
/// `said`: told of what the receiver has been given, and whether a frame ended with it.
pub async fn pass<D, U, L>(sender: &mut D, receiver: &mut U, leave: impl Future<Output = L>, said: impl FnMut(&[u8], bool)) -> Passed<L>
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (sender_reader, sender_writer) = tokio::io::split(sender);
    let (receiver_reader, receiver_writer) = tokio::io::split(receiver);
    let open = Open::default();
    let mut hearing = pin!(hear(receiver_reader, sender_writer, &open));
    let mut saying = pin!(say(sender_reader, receiver_writer, leave, &open, said));
    let end = tokio::select! {
        biased;
        end = &mut hearing => return end.passed(&open),
        end = &mut saying => end,
    };
    match end {
        Said::Closed => {
            let _ = timeout(REPLY_TIME, hearing).await;
            Passed::SenderClosed
        }
        Said::Lost(cause) => Heard::Closed(cause).passed(&open),
        Said::Left(leave) => {
            tokio::select! {
                biased;
                () = open.settled() => {}
                _ = hearing => {}
                () = sleep(REPLY_TIME) => {}
            }
            Passed::Left(leave)
        }
    }
}

/// What waits for a reply.
#[derive(Default)]
struct Open {
    unanswered: AtomicU64,
    /// What was read is not yet given on.
    holds: AtomicBool,
    heard: AtomicBool,
    answered: Notify,
}

impl Open {
    /// A reply that nothing waits for is the second one of enhanced mode.
    fn answer(&self, count: u64) {
        let _ = self.unanswered.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| Some(open.saturating_sub(count)));
        self.answered.notify_one();
    }

    async fn settled(&self) {
        while self.unanswered.load(Ordering::SeqCst) > 0 {
            self.answered.notified().await;
        }
    }
}

enum Said<L> {
    Closed,
    Lost(String),
    Left(L),
}

async fn say<L>(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    leave: impl Future<Output = L>,
    open: &Open,
    mut said: impl FnMut(&[u8], bool),
) -> Said<L> {
    let (mut leave, mut left) = (pin!(leave), None);
    let mut tally = Tally::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if tally.is_between()
            && let Some(left) = left
        {
            if tally.end_at_separator() {
                said(&[], true);
            }
            return Said::Left(left);
        }
        let read = tokio::select! {
            biased;
            told = &mut leave, if left.is_none() => {
                left = Some(told);
                continue;
            }
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = sleep(TRAILER_GRACE), if tally.is_at_separator() => {
                tally.end_at_separator();
                said(&[], true);
                continue;
            }
        };
        if read == 0 {
            if tally.end_at_separator() {
                said(&[], true);
            }
            let _ = timeout(WRITE_TIME, to.shutdown()).await;
            return Said::Closed;
        }
        open.holds.store(true, Ordering::SeqCst);
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let before = tally.begun();
            let end = tally.advance(rest);
            let part;
            (part, rest) = rest.split_at(end.unwrap_or(rest.len()));
            open.unanswered.fetch_add(tally.begun() - before, Ordering::SeqCst);
            if let Err(cause) = write(&mut to, part).await {
                return Said::Lost(cause);
            }
            said(part, end.is_some());
            if end.is_some() && left.is_some() {
                break;
            }
        }
        open.holds.store(false, Ordering::SeqCst);
    }
}

enum Heard {
    Closed(String),
    /// The sender takes no more.
    Unwanted,
}

impl Heard {
    fn passed<L>(self, open: &Open) -> Passed<L> {
        match self {
            Heard::Unwanted => Passed::SenderClosed,
            Heard::Closed(cause) => Passed::ReceiverClosed {
                unanswered: open.unanswered.load(Ordering::SeqCst) > 0 || open.holds.load(Ordering::SeqCst),
                heard: open.heard.load(Ordering::SeqCst),
                cause,
            },
        }
    }
}

async fn hear(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, open: &Open) -> Heard {
    let mut tally = Tally::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let bytes = match from.read(&mut buffer).await {
            Ok(0) => return Heard::Closed("it closed the connection".into()),
            Ok(read) => &buffer[..read],
            Err(error) => return Heard::Closed(cause(&error)),
        };
        open.heard.store(true, Ordering::SeqCst);
        let (mut replies, mut rest) = (0, bytes);
        while let Some(end) = tally.advance(rest) {
            replies += 1;
            rest = &rest[end..];
        }
        replies += u64::from(tally.end_at_separator());
        if write(&mut to, bytes).await.is_err() {
            return Heard::Unwanted;
        }
        open.answer(replies);
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), String> {
    let written = timeout(WRITE_TIME, async {
        to.write_all(bytes).await?;
        to.flush().await
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(cause(&error)),
        Err(_) => Err("it takes nothing any more".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    /// A line that is passed on, with both its ends.
    struct Talk {
        sender: DuplexStream,
        receiver: DuplexStream,
        leave: Option<oneshot::Sender<()>>,
        passed: JoinHandle<(Passed<()>, Vec<Vec<u8>>)>,
    }

    fn talk() -> Talk {
        let ((sender, mut near), (receiver, mut far)) = (duplex(1 << 20), duplex(1 << 20));
        let (leave, told) = oneshot::channel();
        let passed = tokio::spawn(async move {
            let (mut frames, mut half) = (Vec::new(), Vec::new());
            let leave = async {
                if told.await.is_err() {
                    pending().await
                }
            };
            let passed = pass(&mut near, &mut far, leave, |bytes, ended| {
                half.extend_from_slice(bytes);
                if ended {
                    frames.push(std::mem::take(&mut half));
                }
            });
            (passed.await, frames)
        });
        Talk { sender, receiver, leave: Some(leave), passed }
    }

    async fn hears(end: &mut DuplexStream, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        end.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, expected);
    }

    fn lost(unanswered: bool, heard: bool) -> Passed<()> {
        Passed::ReceiverClosed { unanswered, heard, cause: "it closed the connection".into() }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_as_they_are_and_frames_are_seen() {
        let mut talk = talk();
        for (said, reply) in [
            (&b"\r\n\x0bone\x1c\r"[..], &b"\x0bAA one\x1c\r"[..]),
            (b"noise\x0btwo\x1c\r\x0bthree\x1c\r", b"\0\x0bAA two\x1c\x0bAA three\x1c"),
            // The trailer left out.
            (b"\x0bfour\x1c", b"AA four?"),
        ] {
            talk.sender.write_all(said).await.unwrap();
            hears(&mut talk.receiver, said).await;
            talk.receiver.write_all(reply).await.unwrap();
            hears(&mut talk.sender, reply).await;
        }
        talk.sender.shutdown().await.unwrap();
        let mut rest = Vec::new();
        talk.receiver.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        // A sender that half closes still gets its reply.
        talk.receiver.write_all(b"\x0bAA late\x1c\r").await.unwrap();
        hears(&mut talk.sender, b"\x0bAA late\x1c\r").await;
        drop(talk.receiver);
        let (passed, frames) = talk.passed.await.unwrap();
        assert_eq!(passed, Passed::SenderClosed);
        assert_eq!(frames, [&b"\r\n\x0bone\x1c\r"[..], b"noise\x0btwo\x1c\r", b"\x0bthree\x1c\r", b"\x0bfour\x1c"]);
    }

    #[tokio::test]
    async fn a_receiver_that_is_lost_is_told_with_what_waits() {
        // Nothing said; a message without its reply; one with it; half a message; the second reply of enhanced mode counts
        // for no later message.
        let reply = b"\x0bCA\x1c\r";
        for (rounds, last, expected) in [
            (0, &b""[..], lost(false, false)),
            (0, b"\x0bone\x1c\r", lost(true, false)),
            (1, b"", lost(false, true)),
            (1, b"\x0bhal", lost(true, true)),
            (2, b"\x0bthree\x1c\r", lost(true, true)),
        ] {
            let mut talk = talk();
            for _ in 0..rounds {
                talk.sender.write_all(b"\x0bA\x1c\r").await.unwrap();
                hears(&mut talk.receiver, b"\x0bA\x1c\r").await;
                talk.receiver.write_all(&[reply, &reply[..]].concat()).await.unwrap();
                hears(&mut talk.sender, &[reply, &reply[..]].concat()).await;
            }
            talk.sender.write_all(last).await.unwrap();
            hears(&mut talk.receiver, last).await;
            drop(talk.receiver);
            assert_eq!(talk.passed.await.unwrap().0, expected, "{rounds} {last:?}");
        }
    }

    #[tokio::test]
    async fn told_to_leave_it_does_after_the_reply_and_begins_nothing_more() {
        let mut talk = talk();
        talk.sender.write_all(b"\x0bon").await.unwrap();
        hears(&mut talk.receiver, b"\x0bon").await;
        talk.leave.take().unwrap().send(()).unwrap();
        talk.sender.write_all(b"e\x1c\r\x0btwo\x1c\r").await.unwrap();
        hears(&mut talk.receiver, b"e\x1c\r").await;
        talk.receiver.write_all(b"\x0bAA\x1c\r").await.unwrap();
        hears(&mut talk.sender, b"\x0bAA\x1c\r").await;
        let (passed, frames) = talk.passed.await.unwrap();
        assert_eq!((passed, frames), (Passed::Left(()), vec![b"\x0bone\x1c\r".to_vec()]));
        let mut rest = Vec::new();
        talk.receiver.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        // Between messages it does at once.
        let mut idle = self::talk();
        idle.leave.take().unwrap().send(()).unwrap();
        assert_eq!(idle.passed.await.unwrap().0, Passed::Left(()));
    }
}
