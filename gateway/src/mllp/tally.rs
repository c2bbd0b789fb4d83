//! Where frames begin and end in a stream that is only passed on, without holding them; by the rules of `listen::frames`.

const START: u8 = 0x0B;
const END: u8 = 0x1C;

/// One direction of a line. Cheap: it remembers a place, and no byte.
#[derive(Debug, Default)]
pub struct Tally {
    place: Place,
    /// Frames that began.
    begun: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Between,
    Inside,
    /// The last byte may have ended the frame, or be data of it.
    AtSeparator,
}

impl Tally {
    /// Goes on to the end of one frame: how many bytes that took, its trailer among them. `None`: all of them, and no frame ended.
    pub fn advance(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.place {
                Place::Between => match rest.iter().position(|byte| *byte == START) {
                    None => return None,
                    Some(found) => {
                        at += found + 1;
                        self.place = Place::Inside;
                        self.begun += 1;
                    }
                },
                Place::Inside => match rest.iter().position(|byte| *byte == END) {
                    None => return None,
                    Some(found) => {
                        at += found + 1;
                        self.place = Place::AtSeparator;
                    }
                },
                Place::AtSeparator => {
                    self.place = match rest[0] {
                        b'\r' | b'\n' | START => Place::Between,
                        END => Place::AtSeparator,
                        _ => Place::Inside,
                    };
                    if self.place == Place::Between {
                        // The start of the next frame is not taken.
                        return Some(at + usize::from(rest[0] != START));
                    }
                    at += 1;
                }
            }
        }
        None
    }

    /// No frame is half here; one that may have ended counts as ended.
    pub fn is_between(&self) -> bool {
        self.place != Place::Inside
    }

    /// Whether the last byte may have ended a frame.
    pub fn is_at_separator(&self) -> bool {
        self.place == Place::AtSeparator
    }

    /// Where nothing follows the last byte, the frame ended with it: whether it was so.
    pub fn end_at_separator(&mut self) -> bool {
        let ended = self.place == Place::AtSeparator;
        if ended {
            self.place = Place::Between;
        }
        ended
    }

    pub fn begun(&self) -> u64 {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::frames::{Framed, Frames};
    use proptest::prelude::*;

    /// The frames of a stream, with what stands around them.
    fn cut(bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut tally, mut found, mut rest) = (Tally::default(), Vec::new(), bytes);
        while let Some(end) = tally.advance(rest) {
            found.push(rest[..end].to_vec());
            rest = &rest[end..];
        }
        if tally.end_at_separator() {
            found.push(rest.to_vec());
        }
        found
    }

    #[test]
    fn frames_end_where_something_may_follow() {
        let check = |bytes: &[u8], expected: &[&[u8]]| assert_eq!(cut(bytes), expected, "{bytes:?}");
        check(b"\x0bA\x1c\r\x0bB\x1c\r", &[b"\x0bA\x1c\r", b"\x0bB\x1c\r"]);
        check(b"\r\n\x0bA\x1c\n", &[b"\r\n\x0bA\x1c\n"]);
        // The trailer left out: before the next frame, and at the end.
        check(b"\x0bA\x1c\x0bB\x1c", &[b"\x0bA\x1c", b"\x0bB\x1c"]);
        check(b"\x0bA\x1cB\x1c\r", &[b"\x0bA\x1cB\x1c\r"]);
        check(b"\x0bA\x1c\x1c\r", &[b"\x0bA\x1c\x1c\r"]);
        check(b"noise", &[]);
        check(b"\x0bhalf", &[]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_listener_however_the_stream_is_cut(
            bytes in prop::collection::vec(prop::sample::select(vec![0x0b, 0x1c, b'\r', b'\n', b'A']), 0..60),
            size in 1_usize..7,
        ) {
            let mut frames = Frames::new(1000);
            frames.space().extend_from_slice(&bytes);
            let mut expected = 0;
            while let Some(Framed::Whole(_)) = frames.next() {
                expected += 1;
            }
            let (mut tally, mut ended) = (Tally::default(), 0);
            for mut read in bytes.chunks(size) {
                while let Some(end) = tally.advance(read) {
                    ended += 1;
                    read = &read[end..];
                }
            }
            prop_assert_eq!(ended, expected);
            prop_assert_eq!(tally.begun(), ended + u64::from(frames.begun().is_some()));
            prop_assert_eq!(tally.end_at_separator(), frames.end_at_separator().is_some());
        }
    }
}
