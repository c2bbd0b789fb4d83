//! Paging links: what they carry is opaque, the same for the same page, and good for the query that made it alone.

use crate::search::Cursor;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const TAG_BYTES: usize = 16;
/// In the first byte: the cursor has a key.
const KEYED: u8 = 2;

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
        let (after, key) = position.cursor.as_ref().map_or((0, None), |cursor| (cursor.after, cursor.key));
        let mut plain = vec![u8::from(position.cursor.is_some()) + if key.is_some() { KEYED } else { 0 }];
        plain.extend(after.to_be_bytes());
        plain.extend(key.map(i64::to_be_bytes).into_iter().flatten());
        if let Some((entry, from)) = &position.rest {
            plain.extend(from.to_be_bytes());
            plain.extend(entry.as_bytes());
        }
        let tag = self.tag(query, &plain);
        self.cover(&tag, &mut plain);
        URL_SAFE_NO_PAD.encode([&tag, plain.as_slice()].concat())
    }

    /// `None`: not a link of ours, or one of another query.
    pub fn open(&self, query: &str, token: &str) -> Option<Position> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() < 256)?;
        let (tag, covered) = bytes.split_first_chunk::<TAG_BYTES>()?;
        let mut plain = covered.to_vec();
        self.cover(tag, &mut plain);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&self.tag(query, &plain)[..], &tag[..])) {
            return None;
        }
        let (some, plain) = plain.split_first()?;
        let (after, plain) = plain.split_first_chunk::<8>()?;
        let (key, plain) = match plain.split_first_chunk::<8>() {
            Some((key, plain)) if some & KEYED != 0 => (Some(i64::from_be_bytes(*key)), plain),
            _ => (None, plain),
        };
        let rest = match plain.split_first_chunk::<4>() {
            Some((from, entry)) => Some((String::from_utf8(entry.to_vec()).ok()?, u32::from_be_bytes(*from))),
            None => None,
        };
        Some(Position { cursor: (some & 1 == 1).then(|| Cursor { after: i64::from_be_bytes(*after), key }), rest })
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
        for (at, block) in (0_u8..).zip(bytes.chunks_mut(32)) {
            let mut mac = self.stream.clone();
            mac.update(tag);
            mac.update(&[at]);
            block.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(byte, key)| *byte ^= key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_for_its_query_alone() {
        let pager = Pager::new(&[7; 32]).unwrap();
        for position in [
            Position::from(Cursor { after: 41, key: None }),
            Position::from(Cursor { after: 41, key: Some(i64::MIN) }),
            Position { cursor: None, rest: Some(("w1-17".into(), 3)) },
            Position { cursor: Some(Cursor { after: -1, key: None }), rest: Some(("0123456789abcdef0123456789abcdef-123456".into(), 0)) },
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
        let (one, two) = (pager.seal("q", &Cursor { after: 1, key: None }.into()), pager.seal("q", &Cursor { after: 2, key: None }.into()));
        let differing = one.bytes().zip(two.bytes()).filter(|(one, two)| one != two).count();
        assert!(differing > one.len() / 2, "neighbours do not look alike");
    }
}
