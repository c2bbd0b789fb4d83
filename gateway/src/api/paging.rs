//! Paging links: what they carry is opaque, the same for the same page, and good for the query that made it alone.

use crate::search::{Cursor, SortKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const TAG_BYTES: usize = 16;
/// A link's token, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Where a page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// After this row; `None`: there is nothing after [`Position::rest`].
    pub cursor: Option<Cursor>,
    /// First the AuditEvents of this entry that the last page had no place for, from this one on.
    pub rest: Option<(String, u32)>,
}

impl From<Cursor> for Position {
    fn from(cursor: Cursor) -> Self {
        Position { cursor: Some(cursor), rest: None }
    }
}

/// Seals positions. A row number says how many rows came before it, other people's too; so it is not only signed but
/// hidden: the keystream is drawn from the tag (the construction of RFC 5297, with HMAC).
#[derive(Clone)]
pub struct Pager {
    tag: Hmac<Sha256>,
    stream: Hmac<Sha256>,
}

impl Pager {
    /// `None`: a key of less than 16 bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        if key.len() < TAG_BYTES {
            return None;
        }
        let derived = |purpose: &[u8]| -> Option<Hmac<Sha256>> {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            mac.update(purpose);
            Hmac::new_from_slice(&mac.finalize().into_bytes()).ok()
        };
        Some(Self { tag: derived(b"landbridge paging tag")?, stream: derived(b"landbridge paging stream")? })
    }

    /// `query`: whatever must be the same when the link is followed.
    pub fn seal(&self, query: &str, position: &Position) -> String {
        let mut plain = written(position);
        let tag = self.tag(query, &plain);
        self.cover(&tag, &mut plain);
        URL_SAFE_NO_PAD.encode([&tag, plain.as_slice()].concat())
    }

    /// `None`: not a link of ours, or one of another query.
    pub fn open(&self, query: &str, token: &str) -> Option<Position> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() < TOKEN_BYTES_MAX)?;
        let (tag, covered) = bytes.split_first_chunk::<TAG_BYTES>()?;
        let mut plain = covered.to_vec();
        self.cover(tag, &mut plain);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&self.tag(query, &plain)[..], &tag[..])) {
            return None;
        }
        read(&plain)
    }

    fn tag(&self, query: &str, plain: &[u8]) -> [u8; TAG_BYTES] {
        let mut mac = self.tag.clone();
        mac.update(&(query.len() as u64).to_be_bytes());
        mac.update(query.as_bytes());
        mac.update(plain);
        let digest = mac.finalize().into_bytes();
        std::array::from_fn(|at| digest[at])
    }

    fn cover(&self, tag: &[u8; TAG_BYTES], bytes: &mut [u8]) {
        for (at, block) in (0_u16..).zip(bytes.chunks_mut(32)) {
            let mut mac = self.stream.clone();
            mac.update(tag);
            mac.update(&at.to_be_bytes());
            block.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(byte, key)| *byte ^= key);
        }
    }
}

/// A cursor (there or not, its row, its keys), then the rest of an entry.
fn written(position: &Position) -> Vec<u8> {
    let mut plain = Vec::new();
    match &position.cursor {
        None => plain.push(0),
        Some(cursor) => {
            plain.push(1 + u8::try_from(cursor.keys.len()).unwrap_or(0));
            plain.extend(cursor.after.to_be_bytes());
            for key in &cursor.keys {
                match key {
                    SortKey::Nothing => plain.push(0),
                    SortKey::Number(number) => {
                        plain.push(1);
                        plain.extend(number.to_be_bytes());
                    }
                    SortKey::Text(text) => {
                        plain.push(2);
                        plain.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
                        plain.extend(text.as_bytes());
                    }
                }
            }
        }
    }
    if let Some((entry, from)) = &position.rest {
        plain.extend(from.to_be_bytes());
        plain.extend(entry.as_bytes());
    }
    plain
}

fn read(plain: &[u8]) -> Option<Position> {
    let (some, mut plain) = plain.split_first()?;
    let mut cursor = None;
    if let Some(keys) = some.checked_sub(1) {
        let (after, mut left) = plain.split_first_chunk::<8>()?;
        let keys = (0..keys).map(|_| {
            let (kind, after) = left.split_first()?;
            left = after;
            Some(match kind {
                0 => SortKey::Nothing,
                1 => {
                    let (number, after) = left.split_first_chunk::<8>()?;
                    left = after;
                    SortKey::Number(i64::from_be_bytes(*number))
                }
                _ => {
                    let (length, after) = left.split_first_chunk::<4>()?;
                    let (text, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
                    left = after;
                    SortKey::Text(String::from_utf8(text.to_vec()).ok()?)
                }
            })
        });
        let keys = keys.collect::<Option<Vec<_>>>()?;
        cursor = Some(Cursor { after: i64::from_be_bytes(*after), keys });
        plain = left;
    }
    let rest = match plain.split_first_chunk::<4>() {
        Some((from, entry)) => Some((String::from_utf8(entry.to_vec()).ok()?, u32::from_be_bytes(*from))),
        None => None,
    };
    Some(Position { cursor, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_for_its_query_alone() {
        let pager = Pager::new(&[7; 32]).unwrap();
        for position in [
            Position::from(Cursor { after: 41, keys: Vec::new() }),
            Position::from(Cursor {
                after: 41,
                keys: vec![SortKey::Number(i64::MIN), SortKey::Nothing, SortKey::Text("müller".repeat(9))],
            }),
            Position { cursor: None, rest: Some(("w1-17".into(), 3)) },
            Position {
                cursor: Some(Cursor { after: -1, keys: Vec::new() }),
                rest: Some(("0123456789abcdef0123456789abcdef-123456".into(), 0)),
            },
        ] {
            let token = pager.seal("Patient?family=a", &position);
            assert_eq!(token, pager.seal("Patient?family=a", &position), "the same page, the same link");
            assert_eq!(pager.open("Patient?family=a", &token), Some(position));
            assert_eq!(pager.open("Patient?family=b", &token), None);
            assert_eq!(Pager::new(&[8; 32]).unwrap().open("Patient?family=a", &token), None);
            for at in 0..token.len() {
                let mut other = token.clone().into_bytes();
                other[at] = if other[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(pager.open("Patient?family=a", std::str::from_utf8(&other).unwrap()), None, "{at}");
                assert_eq!(pager.open("Patient?family=a", &token[..at]), None, "{at}");
            }
        }
        assert!(Pager::new(&[1; 15]).is_none());
    }

    #[test]
    fn row_numbers_cannot_be_read_from_links() {
        let pager = Pager::new(&[7; 32]).unwrap();
        let (one, two) = (
            pager.seal("q", &Cursor { after: 1, keys: Vec::new() }.into()),
            pager.seal("q", &Cursor { after: 2, keys: Vec::new() }.into()),
        );
        let differing = one.bytes().zip(two.bytes()).filter(|(one, two)| one != two).count();
        assert!(differing > one.len() / 2, "neighbours do not look alike");
    }
}
