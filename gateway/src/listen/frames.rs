//! MLLP framing without a socket (HL7 v2 Transport Specification: MLLP R1): `0B … 1C 0D`.
//!
//! Where senders differ, what loses nothing wins:
//! - `1C` ends a frame when `0D`, `0A` or the next frame's `0B` follows; otherwise it is data of the message. As the last
//!   byte received it may be either: [`Frames::waits_for_trailer`] says so, and after [`TRAILER_GRACE`]
//!   [`Frames::end_at_separator`] takes it as the end, so that a sender that leaves the `0D` out still gets its reply.
//! - Between frames CR, LF, NUL, space and a byte order mark are nothing; other bytes are noise: dropped, and counted.

use bytes::{Buf, Bytes, BytesMut};
use std::time::Duration;

/// How long a `1C` may stay the last byte received before it ends the frame.
pub const TRAILER_GRACE: Duration = Duration::from_millis(250);
/// How much of a frame that is too large is kept, to answer it: its first segment lies in there.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// A frame from here on is large.
const LARGE_BYTES: usize = 1024 * 1024;
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;

const START: u8 = 0x0B;
const END: u8 = 0x1C;

/// Cuts a stream of bytes into frames. The result does not depend on how the stream was cut into reads.
pub struct Frames {
    bytes_max: usize,
    buffer: BytesMut,
    /// Within a frame: `buffer` begins with its first byte.
    inside: bool,
    /// How far a frame was searched for its end.
    searched: usize,
    noise: u64,
}

/// What came out of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    Whole(Bytes),
    /// Larger than the limit; its head. The stream cannot go on: nothing more is buffered.
    TooLarge(Bytes),
}

impl Frames {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, buffer: BytesMut::new(), inside: false, searched: 0, noise: 0 }
    }

    /// Where to read to. A large frame gets all the room that a frame may have at once, which costs memory only as it fills:
    /// to grow step by step would leave the smaller buffers behind.
    pub fn space(&mut self) -> &mut BytesMut {
        let (length, wanted) = (self.buffer.len(), self.buffer.len() + READ_BYTES);
        if self.buffer.capacity() < wanted && length >= LARGE_BYTES {
            let mut grown = BytesMut::with_capacity(wanted.max(self.bytes_max + 2 * READ_BYTES));
            grown.extend_from_slice(&self.buffer);
            self.buffer = grown;
        }
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// The next frame that is whole, if one is.
    pub fn next(&mut self) -> Option<Framed> {
        if !self.inside {
            self.skip_to_start();
        }
        if !self.inside {
            return None;
        }
        while let Some(found) = self.buffer[self.searched..].iter().position(|byte| *byte == END) {
            let end = self.searched + found;
            if end > self.bytes_max {
                break;
            }
            match self.buffer.get(end + 1) {
                Some(b'\r' | b'\n' | &START) => return Some(Framed::Whole(self.take(end))),
                Some(_) => self.searched = end + 1,
                None => {
                    self.searched = end;
                    return None;
                }
            }
        }
        if self.buffer.len() > self.bytes_max {
            let head = self.buffer.split_to(HEAD_BYTES_MAX.min(self.bytes_max)).freeze();
            self.buffer = BytesMut::new();
            return Some(Framed::TooLarge(Bytes::copy_from_slice(&head)));
        }
        self.searched = self.buffer.len();
        None
    }

    /// Bytes of a frame that has begun and not ended; `None` between frames.
    pub fn begun(&self) -> Option<usize> {
        self.inside.then_some(self.buffer.len())
    }

    /// Whether the last byte received may be the end of a frame.
    pub fn waits_for_trailer(&self) -> bool {
        self.inside && self.searched + 1 == self.buffer.len() && self.buffer.last() == Some(&END)
    }

    /// The frame that the last byte received ends, when nothing follows it.
    pub fn end_at_separator(&mut self) -> Option<Bytes> {
        self.waits_for_trailer().then(|| self.take(self.buffer.len() - 1))
    }

    /// The count of dropped bytes since it was last taken.
    pub fn noise(&self) -> u64 {
        self.noise
    }

    /// Takes the count of dropped bytes since it was last taken.
    pub fn take_noise(&mut self) -> u64 {
        std::mem::take(&mut self.noise)
    }

    fn skip_to_start(&mut self) {
        let start = self.buffer.iter().position(|byte| *byte == START);
        let skipped = start.unwrap_or(self.buffer.len());
        let silent = |byte: &&u8| matches!(**byte, b'\r' | b'\n' | 0 | b' ' | 0xEF | 0xBB | 0xBF);
        self.noise += (skipped - self.buffer[..skipped].iter().filter(silent).count()) as u64;
        self.buffer.advance(skipped);
        if start.is_some() {
            self.buffer.advance(1);
            self.inside = true;
            self.searched = 0;
        }
    }

    /// Takes the frame that ends before `end`. Its trailer is skipped with what lies between frames.
    fn take(&mut self, end: usize) -> Bytes {
        let frame = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        self.inside = false;
        self.searched = 0;
        frame
    }
}

/// A reply as a frame.
pub fn framed(reply: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(reply.len() + 3);
    out.push(START);
    out.extend_from_slice(reply);
    out.extend_from_slice(&[END, b'\r']);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All frames of a stream that comes in these reads, with the noise, and what has begun at its end.
    fn read<'a>(bytes_max: usize, reads: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Framed>, u64, Option<usize>) {
        let mut frames = Frames::new(bytes_max);
        let mut out = Vec::new();
        for read in reads {
            frames.space().extend_from_slice(read);
            while let Some(framed) = frames.next() {
                let ends = matches!(framed, Framed::TooLarge(_));
                out.push(framed);
                if ends {
                    return (out, frames.take_noise(), None);
                }
            }
        }
        let begun = frames.begun();
        (out, frames.take_noise(), begun)
    }

    fn whole(frames: &[&str]) -> Vec<Framed> {
        frames.iter().map(|frame| Framed::Whole(Bytes::copy_from_slice(frame.as_bytes()))).collect()
    }

    #[test]
    fn frames_are_cut_as_senders_mean_them() {
        let check = |reads: &[&[u8]], expected: &[&str], noise: u64, begun: Option<usize>| {
            assert_eq!(read(1000, reads.iter().copied()), (whole(expected), noise, begun), "{reads:?}");
        };
        check(&[b"\x0bMSH|\r\x1c\r"], &["MSH|\r"], 0, None);
        // Two in one read; one in many; the trailer split, its 0D in a packet of its own.
        check(&[b"\x0bone\x1c\r\x0btwo\x1c\r"], &["one", "two"], 0, None);
        check(&[b"\x0bo", b"n", b"e\x1c", b"\r", b"\x0btwo\x1c\r"], &["one", "two"], 0, None);
        // What lies between frames.
        check(&[b"\r\n\0 \xef\xbb\xbf\x0bone\x1c\r\r\n \x0btwo\x1c\r\n"], &["one", "two"], 0, None);
        check(&[b"GET / HTTP/1.1\r\n\x0bone\x1c\r"], &["one"], 12, None);
        check(&[b"noise"], &[], 5, None);
        // A separator within the message is data; without its 0D, the next frame ends the one before.
        check(&[b"\x0ba\x1cb\x1c\r"], &["a\x1cb"], 0, None);
        check(&[b"\x0bone\x1c\x0btwo\x1c\n"], &["one", "two"], 0, None);
        check(&[b"\x0bone\x1c\x1c\r"], &["one\x1c"], 0, None);
        // An empty frame is a frame: it is answered.
        check(&[b"\x0b\x1c\r"], &[""], 0, None);
        check(&[b"\x0bhalf"], &[], 0, Some(4));
    }

    #[test]
    fn a_separator_that_nothing_follows_ends_the_frame_after_the_grace() {
        let mut frames = Frames::new(100);
        frames.space().extend_from_slice(b"\x0bone");
        assert_eq!((frames.next(), frames.waits_for_trailer(), frames.end_at_separator()), (None, false, None));
        frames.space().extend_from_slice(b"\x1c");
        assert_eq!((frames.next(), frames.waits_for_trailer()), (None, true));
        assert_eq!(frames.end_at_separator().as_deref(), Some(&b"one"[..]));
        assert_eq!((frames.next(), frames.begun()), (None, None));
        frames.space().extend_from_slice(b"\r\x0btwo\x1c\r");
        assert_eq!(frames.next(), Some(Framed::Whole(Bytes::from_static(b"two"))));
        assert_eq!(frames.take_noise(), 0);
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_without_being_buffered() {
        let largest = [b"\x0b".as_slice(), &[b'x'; 100], b"\x1c\r"].concat();
        assert_eq!(read(100, [largest.as_slice()]).0, whole(&["x".repeat(100).as_str()]));
        for larger in [101, 5000] {
            let stream = [b"\x0b".as_slice(), &vec![b'x'; larger], b"\x1c\r"].concat();
            assert_eq!(read(100, [stream.as_slice()]).0, [Framed::TooLarge(Bytes::from(vec![b'x'; 100]))]);
        }
        let mut frames = Frames::new(1 << 20);
        frames.space().extend_from_slice(b"\x0b");
        for _ in 0..(1 << 20) / READ_BYTES {
            frames.space().extend_from_slice(&[b'x'; READ_BYTES]);
            assert_eq!(frames.next(), None);
        }
        assert!(frames.buffer.capacity() <= 3 << 20);
        frames.space().extend_from_slice(b"xx");
        assert!(matches!(frames.next(), Some(Framed::TooLarge(head)) if head.len() == HEAD_BYTES_MAX));
    }

    proptest! {
        /// Read boundaries never matter: any stream of these bytes, cut anywhere, gives what it gives in one piece.
        #[test]
        fn read_boundaries_do_not_matter(
            stream in prop::collection::vec(prop::sample::select(&[START, END, b'\r', b'\n', b'x', b' ', 0][..]), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            prop_assert_eq!(read(20, pieces), read(20, [stream.as_slice()]));
        }
    }
}
