//! A line that is passed on: bytes go both ways as they come, and it is known whether a message waits for its reply.

mod open;

use super::destination::cause;
use super::tally::Tally;
use crate::listen::frames::TRAILER_GRACE;
use open::{Head, Open};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// What is held of one direction.
const READ_BYTES: usize = 16 * 1024;
/// For what was read to be taken by the other end.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// For the replies to what was sent, when no more is to be sent; and, when we are to leave, for the message that has begun and its reply.
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
    /// We were told to, and did: between two messages, or within one that took too long to end.
    Left(L),
}

/// What becomes of a message that has begun when we are to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    Ends,
    Breaks,
}

/// Passes on until either end closes, or `leave` resolves; then to the end of the message that has begun, or, where it says so, to
/// none, and to the replies. `said`: told of what the receiver has been given, and whether a frame ended with it.
pub async fn pass<D, U, L>(
    sender: &mut D,
    receiver: &mut U,
    leave: impl Future<Output = (L, Begun)>,
    said: impl FnMut(&[u8], bool),
) -> Passed<L>
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    pass_within(REPLY_TIME, sender, receiver, leave, said).await
}

async fn pass_within<D, U, L>(
    reply_time: Duration,
    sender: &mut D,
    receiver: &mut U,
    leave: impl Future<Output = (L, Begun)>,
    said: impl FnMut(&[u8], bool),
) -> Passed<L>
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (sender_reader, sender_writer) = tokio::io::split(sender);
    let (receiver_reader, receiver_writer) = tokio::io::split(receiver);
    let open = Open::default();
    let mut hearing = pin!(hear(receiver_reader, sender_writer, &open));
    let mut saying = pin!(say(sender_reader, receiver_writer, &open, said));
    let mut leave = pin!(leave);
    let mut left = None;
    let mut by = Instant::now();
    let end = loop {
        tokio::select! {
            biased;
            end = &mut hearing => return end.passed(&open),
            (told, begun) = &mut leave, if left.is_none() => {
                left = Some(told);
                by = Instant::now() + reply_time;
                match begun {
                    Begun::Ends => open.leave(),
                    Begun::Breaks => {
                        open.break_off();
                        break Said::Left;
                    }
                }
            }
            end = &mut saying => break end,
            () = sleep_until(by), if left.is_some() => break Said::Left,
        }
    };
    if left.is_none() {
        by = Instant::now() + reply_time;
    }
    match (end, left) {
        (Said::Lost(cause), _) => Heard::Closed(cause).passed(&open),
        (Said::Left, Some(left)) => {
            tokio::select! {
                biased;
                () = open.settled() => {}
                _ = hearing => {}
                () = sleep_until(by) => {}
            }
            Passed::Left(left)
        }
        (Said::Closed | Said::Left, _) => {
            let _ = timeout_at(by, hearing).await;
            Passed::SenderClosed
        }
    }
}

enum Said {
    Closed,
    Lost(String),
    Left,
}

async fn say(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, open: &Open, mut said: impl FnMut(&[u8], bool)) -> Said {
    let (mut tally, mut head, mut is_named) = (Tally::default(), Head::default(), false);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let leaves = open.leaves.load(Ordering::SeqCst);
        if leaves && tally.is_between() {
            if tally.end_at_separator() {
                open.end();
                said(&[], true);
            }
            return Said::Left;
        }
        let read = tokio::select! {
            biased;
            () = open.told.notified(), if !leaves => continue,
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = sleep(TRAILER_GRACE), if tally.is_at_separator() => {
                tally.end_at_separator();
                head.clear();
                open.end();
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
            if tally.begun() > before {
                open.begin();
                is_named = false;
            }
            head.take_in(part);
            // Before it is given on: the reply may be quick.
            if !is_named && let Some(control) = head.control_id(end.is_some() || tally.is_at_separator()) {
                open.name(control);
                is_named = true;
            }
            if let Err(cause) = write(&mut to, part).await {
                return Said::Lost(cause);
            }
            said(part, end.is_some());
            if end.is_some() {
                head.clear();
                open.end();
                if open.leaves.load(Ordering::SeqCst) {
                    break;
                }
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
                unanswered: !open.is_settled() || open.holds.load(Ordering::SeqCst),
                heard: open.heard.load(Ordering::SeqCst),
                cause,
            },
        }
    }
}

async fn hear(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, open: &Open) -> Heard {
    let (mut tally, mut head, mut replies) = (Tally::default(), Head::default(), Vec::new());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let bytes = match from.read(&mut buffer).await {
            Ok(0) => return Heard::Closed("it closed the connection".into()),
            Ok(read) => &buffer[..read],
            Err(error) => return Heard::Closed(cause(&error)),
        };
        open.heard.store(true, Ordering::SeqCst);
        let mut rest = bytes;
        while let Some(end) = tally.advance(rest) {
            head.take_in(&rest[..end]);
            replies.push(head.take_reply());
            rest = &rest[end..];
        }
        head.take_in(rest);
        if tally.end_at_separator() {
            replies.push(head.take_reply());
        }
        if write(&mut to, bytes).await.is_err() {
            return Heard::Unwanted;
        }
        replies.drain(..).for_each(|reply| open.answer(reply));
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
mod tests;
