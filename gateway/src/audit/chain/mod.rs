//! The audit's chains and seals: what makes an edit, a gap or a cut show.
//!
//! A *writer* is one committer of one process incarnation. Its entries are numbered from 1, and
//!
//! ```text
//! hash(n) = SHA-256( hash(n-1) || bytes of entry n as stored )      hash(0) = SHA-256( "landbridge audit writer " || name )
//! ```
//!
//! so an auditor follows a chain with `sha256sum`: `(printf %s HASH | xxd -r -p; cat ENTRY) | sha256sum`.
//!
//! A *seal* says, signed, how far every writer had come. One line of JSON:
//!
//! ```text
//! {"seal":3,"at":"…","writers":[["NAME",COUNT,"HASH"],…],"entries":N,"root":"…","previous":"…","signature":"…"}
//! ```
//!
//! - `writers`: those that moved since the seal before (all, in the first seal of a process), with count and head.
//! - `entries`: entries under the seal, over all writers.
//! - `root`: Merkle tree hash (RFC 6962 §2.1) over the lines `NAME COUNT HASH` of *all* writers known by then, sorted.
//! - `previous`: SHA-256 of the whole line before, without its line end; 64 zeros in the first.
//! - `signature`: Ed25519, base64, over the bytes of the line before `,"signature":`.

mod verify;

pub(crate) use verify::row_id;
pub use verify::{Fault, Report, verify};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// SHA-256.
pub type Hash = [u8; 32];

/// How far a chain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last entry; 0: none yet.
    pub count: u64,
    pub hash: Hash,
}

impl Head {
    /// Where the chain of a writer begins.
    pub fn genesis(writer: &str) -> Self {
        Head { count: 0, hash: Sha256::new_with_prefix("landbridge audit writer ").chain_update(writer).finalize().into() }
    }

    /// The head after one more entry.
    #[must_use]
    pub fn next(&self, bytes: &[u8]) -> Self {
        Head { count: self.count + 1, hash: Sha256::new_with_prefix(self.hash).chain_update(bytes).finalize().into() }
    }
}

/// The chain of one writer. It advances only when its owner says that the entries are durable.
pub struct Writer {
    name: String,
    durable: Head,
    head: Head,
}

impl Writer {
    /// `name`: random, one per process incarnation and file.
    pub fn new(name: String) -> Self {
        let head = Head::genesis(&name);
        Self { name, durable: head, head }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The head before and after an entry of these bytes. Not durable yet.
    pub fn append(&mut self, bytes: &[u8]) -> (Head, Head) {
        let before = self.head;
        self.head = before.next(bytes);
        (before, self.head)
    }

    /// Where it stands now, for [`Writer::back_to`].
    pub fn mark(&self) -> Head {
        self.head
    }

    /// Takes back what came after the mark: it is not stored.
    pub fn back_to(&mut self, mark: Head) {
        self.head = mark;
    }

    pub fn committed(&mut self) {
        self.durable = self.head;
    }

    pub fn rolled_back(&mut self) {
        self.head = self.durable;
    }
}

/// The private key that signs seals. Not in the database.
pub struct SealKey(Ed25519KeyPair);

impl SealKey {
    /// PKCS#8 in PEM (`keys/seal.key`).
    pub fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| "not a PKCS#8 private key in PEM")?;
        Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map(Self).map_err(|_| "not an Ed25519 private key")
    }

    /// A key from 32 bytes; for tests.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed"))
    }

    pub fn public(&self) -> SealPublic {
        SealPublic(self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// The public half, which whoever verifies needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealPublic([u8; 32]);

/// An Ed25519 SubjectPublicKeyInfo up to the key (RFC 8410 §4).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl SealPublic {
    /// SubjectPublicKeyInfo in PEM (`keys/seal.pub`).
    pub fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| "not a public key in PEM")?;
        let key = der.as_ref().strip_prefix(&SPKI_HEAD).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or("not an Ed25519 public key")
    }
}

/// What every writer has come to, by name.
pub type Heads = BTreeMap<String, Head>;

/// A seal's line. `changed`: the writers that moved since the last; `heads`: all.
pub fn seal(key: &SealKey, number: u64, at: Timestamp, changed: &Heads, heads: &Heads, previous: &Hash) -> String {
    let writers: Vec<(&str, u64, String)> =
        changed.iter().map(|(name, head)| (name.as_str(), head.count, hex::encode(head.hash))).collect();
    let writers = serde_json::to_string(&writers).expect("strings and numbers are written to memory");
    let entries: u64 = heads.values().map(|head| head.count).sum();
    let (root, previous) = (hex::encode(root(heads)), hex::encode(previous));
    let mut line =
        format!(r#"{{"seal":{number},"at":"{at}","writers":{writers},"entries":{entries},"root":"{root}","previous":"{previous}""#);
    let signature = STANDARD.encode(key.0.sign(line.as_bytes()));
    line.push_str(&format!(r#"{SIGNATURE}{signature}"}}"#));
    line
}

/// The `previous` that the seal after this line names.
pub fn digest(line: &str) -> Hash {
    Sha256::digest(line).into()
}

/// A seal as read. Only [`Sealed::read`] makes one; its signature holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    #[serde(rename = "seal")]
    pub number: u64,
    pub at: Timestamp,
    pub writers: Vec<(String, u64, String)>,
    pub entries: u64,
    pub root: String,
    pub previous: String,
    signature: String,
}

impl Sealed {
    /// Reads a line and checks its signature.
    pub fn read(line: &str, key: &SealPublic) -> Result<Self, &'static str> {
        let sealed: Self = serde_json::from_str(line).map_err(|_| "not a seal")?;
        let (signed, rest) = line.rsplit_once(SIGNATURE).ok_or("not a seal")?;
        if rest.strip_suffix("\"}") != Some(&sealed.signature) {
            return Err("not a seal");
        }
        let signature = STANDARD.decode(&sealed.signature).map_err(|_| "the signature is not base64")?;
        let key = UnparsedPublicKey::new(&ED25519, key.0);
        key.verify(signed.as_bytes(), &signature).map_err(|_| "the signature is not by this key")?;
        Ok(sealed)
    }

    /// The heads it names.
    pub fn heads(&self) -> Option<Heads> {
        let head = |(name, count, hash): &(String, u64, String)| {
            Some((name.clone(), Head { count: *count, hash: hex::decode(hash).ok()?.try_into().ok()? }))
        };
        self.writers.iter().map(head).collect()
    }
}

const SIGNATURE: &str = r#","signature":""#;

/// Merkle tree hash over the writers (RFC 6962 §2.1).
pub fn root(heads: &Heads) -> Hash {
    let leaves: Vec<Hash> = heads
        .iter()
        .map(|(name, head)| {
            Sha256::new_with_prefix([0]).chain_update(format!("{name} {} {}", head.count, hex::encode(head.hash))).finalize().into()
        })
        .collect();
    tree(&leaves)
}

fn tree(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Sha256::new_with_prefix([1]).chain_update(tree(left)).chain_update(tree(right)).finalize().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_what_sha256sum_says() {
        let mut writer = Writer::new("w".into());
        let (before, after) = writer.append(b"one");
        assert_eq!(hex::encode(before.hash), hex::encode(Sha256::digest("landbridge audit writer w")));
        assert_eq!(after.hash[..], Sha256::digest([&before.hash[..], b"one"].concat())[..]);
        assert_eq!((before.count, after.count), (0, 1));
    }

    #[test]
    fn a_chain_advances_only_when_durable() {
        let mut writer = Writer::new("w".into());
        writer.append(b"one");
        writer.committed();
        let mark = writer.mark();
        writer.append(b"two");
        writer.back_to(mark);
        assert_eq!(writer.mark(), mark);
        writer.append(b"three");
        writer.rolled_back();
        assert_eq!(writer.mark(), mark);
    }

    #[test]
    fn a_seal_reads_back_and_any_flipped_bit_breaks_it() {
        let key = SealKey::from_seed(&[3; 32]);
        let heads: Heads = (1..6).map(|n| (format!("w{n}"), Head { count: n, hash: [n as u8; 32] })).collect();
        let line = seal(&key, 7, Timestamp::UNIX_EPOCH, &heads, &heads, &[0; 32]);
        let sealed = Sealed::read(&line, &key.public()).unwrap();
        assert_eq!((sealed.number, sealed.entries, sealed.heads().as_ref()), (7, 15, Some(&heads)));
        assert_eq!(sealed.root, hex::encode(root(&heads)));
        let bytes = line.as_bytes();
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1;
            let read = std::str::from_utf8(&flipped).ok().map(|line| Sealed::read(line, &key.public()));
            assert!(!matches!(read, Some(Ok(_))), "byte {at}");
        }
        assert_eq!(Sealed::read(&line, &SealKey::from_seed(&[4; 32]).public()).err(), Some("the signature is not by this key"));
    }

    #[test]
    fn the_root_covers_every_writer() {
        let mut heads = Heads::new();
        let mut seen = vec![root(&heads)];
        for n in 0..9_u8 {
            heads.insert(format!("w{n}"), Head { count: 1, hash: [n; 32] });
            assert!(!seen.contains(&root(&heads)));
            seen.push(root(&heads));
        }
        heads.get_mut("w0").unwrap().count = 2;
        assert!(!seen.contains(&root(&heads)));
    }

    #[test]
    fn keys_are_read_from_pem() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let key = SealKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
        assert_eq!(SealPublic::from_pem(pair.public_key_pem().as_bytes()), Ok(key.public()));
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        assert!(SealKey::from_pem(other.serialize_pem().as_bytes()).is_err());
        assert!(SealPublic::from_pem(other.public_key_pem().as_bytes()).is_err());
        assert!(SealKey::from_pem(b"").is_err());
    }
}
