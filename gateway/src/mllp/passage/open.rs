//! What of a line that is passed on waits for its reply, and which reply is whose.

use crate::mllp::Code;
use crate::mllp::message::{acknowledges, control_id};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Of a message or a reply, read to tell whose it is.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Messages whose reply is waited for by name, or whose second reply may still come.
const OPEN_MAX: usize = 1024;
/// A control id beyond this is no name.
const CONTROL_ID_BYTES_MAX: usize = 200;

/// What waits for a reply.
#[derive(Default)]
pub struct Open {
    talk: Mutex<Talk>,
    /// What was read is not yet given on.
    pub holds: AtomicBool,
    pub heard: AtomicBool,
    pub leaves: AtomicBool,
    /// At the moment when it does.
    pub told: Notify,
    answered: Notify,
}

#[derive(Default)]
struct Talk {
    begun: u64,
    /// The one that began last has not ended.
    half: bool,
    /// By the number of their beginning, with MSH-10 where it is known.
    waiting: VecDeque<(u64, Option<String>)>,
    /// Their commit acknowledgement came; that of the application may.
    committed: VecDeque<String>,
    /// More waited than are known by name: whether all have their replies is not known any more.
    beyond: bool,
}

impl Open {
    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn leave(&self) {
        self.leaves.store(true, Ordering::SeqCst);
        self.told.notify_one();
    }

    pub fn begin(&self) {
        let talk = &mut *self.talk();
        talk.begun += 1;
        talk.half = true;
        talk.waiting.push_back((talk.begun, None));
        if talk.waiting.len() > OPEN_MAX {
            talk.waiting.pop_front();
            talk.beyond = true;
        }
    }

    pub fn end(&self) {
        self.talk().half = false;
    }

    /// What has not ended will not: nobody answers it.
    pub fn break_off(&self) {
        let talk = &mut *self.talk();
        if std::mem::take(&mut talk.half) && talk.waiting.back().is_some_and(|(number, _)| *number == talk.begun) {
            talk.waiting.pop_back();
        }
    }

    /// The message that began last is this one.
    pub fn name(&self, control: String) {
        let talk = &mut *self.talk();
        if let Some((_, name)) = talk.waiting.back_mut().filter(|(number, _)| *number == talk.begun) {
            *name = Some(control);
        }
    }

    /// A reply, with what it says of which message. What says nothing of any is taken for the oldest's.
    pub fn answer(&self, reply: Option<(Code, String)>) {
        let talk = &mut *self.talk();
        if let Some((code, about)) = &reply
            && !code.is_commit()
            && let Some(at) = talk.committed.iter().rposition(|committed| committed == about)
        {
            // The second reply of enhanced mode: it answers no later message.
            talk.committed.remove(at);
            return;
        }
        let about = reply.as_ref().map(|(_, about)| about.as_str()).filter(|about| !about.is_empty());
        let answered = talk.waiting.iter().position(|(_, name)| match (name, about) {
            (Some(name), Some(about)) => name == about,
            (None, _) | (_, None) => true,
        });
        if let Some(at) = answered {
            talk.waiting.remove(at);
            if let Some((Code::CA, about)) = reply {
                talk.committed.truncate(OPEN_MAX - 1);
                talk.committed.push_front(about);
            }
        }
        self.answered.notify_one();
    }

    pub fn is_settled(&self) -> bool {
        let talk = self.talk();
        talk.waiting.is_empty() && !talk.beyond
    }

    pub async fn settled(&self) {
        while !self.is_settled() {
            self.answered.notified().await;
        }
    }
}

/// The beginning of a frame, as far as it is needed.
#[derive(Default)]
pub struct Head(Vec<u8>);

impl Head {
    pub fn take_in(&mut self, bytes: &[u8]) {
        const START: u8 = 0x0B;
        let from = if self.0.is_empty() { bytes.iter().position(|byte| *byte == START).unwrap_or(bytes.len()) } else { 0 };
        let room = HEAD_BYTES_MAX.saturating_sub(self.0.len());
        self.0.extend(bytes[from..].iter().take(room));
    }

    /// Without what delimits the frame.
    fn text(&self) -> &[u8] {
        let mut text = self.0.get(1..).unwrap_or_default();
        while let [rest @ .., 0x1C | b'\r' | b'\n'] = text {
            text = rest;
        }
        text
    }

    /// MSH-10, once the first segment is here or `ended` says that no more comes.
    pub fn control_id(&self, ended: bool) -> Option<String> {
        let is_whole = |text: &[u8]| text.trim_ascii_start().iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        let control = (ended || is_whole(self.0.get(1..).unwrap_or_default())).then(|| control_id(self.text())).flatten();
        control.filter(|control| control.len() <= CONTROL_ID_BYTES_MAX)
    }

    /// The frame is over.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn take_reply(&mut self) -> Option<(Code, String)> {
        let reply = acknowledges(self.text());
        self.0.clear();
        reply.filter(|(_, about)| about.len() <= CONTROL_ID_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_that_is_never_answered_costs_a_bounded_memory() {
        let open = Open::default();
        for number in 0..2 * OPEN_MAX {
            open.begin();
            open.name(number.to_string());
        }
        assert_eq!(open.talk().waiting.len(), OPEN_MAX);
        for number in 0..2 * OPEN_MAX {
            open.answer(Some((Code::CA, number.to_string())));
        }
        assert!(open.talk().waiting.is_empty() && open.talk().committed.len() == OPEN_MAX);
        assert!(!open.is_settled(), "half of them were not known any more");
        let mut head = Head::default();
        head.take_in(&[b'\x0b'; 3 * HEAD_BYTES_MAX]);
        assert_eq!(head.0.len(), HEAD_BYTES_MAX);
    }
}
