use crate::Name;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;

/// What identifies a resource: its type, and an identifier's system and value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    pub kind: Name,
    pub system: Name,
    pub value: Name,
}

impl Key {
    pub fn new(kind: impl Into<Name>, system: impl Into<Name>, value: impl Into<Name>) -> Self {
        Self { kind: kind.into(), system: system.into(), value: value.into() }
    }
}

/// Shows type and system: the value may be a patient's number.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.kind, self.system)
    }
}

/// The installation's key, under which ids are made. Whoever has it can tell from a number whether a person is known,
/// so it is kept like a password, and backed up with the store: other ids would be made without it.
#[derive(Clone)]
pub struct IdKey(Hmac<Sha256>);

/// The published key of `convert` without a configuration. Never for patient data.
pub const DEMONSTRATION_KEY: &[u8; 32] = b"landbridge published example key";

impl IdKey {
    /// At least 16 bytes (RFC 2104 wants the length of the digest, 32); `None` if shorter.
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() < 16 {
            return None;
        }
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    pub fn demonstration() -> Self {
        Self::new(DEMONSTRATION_KEY).expect("32 bytes")
    }

    /// The resource id: the UUID form (RFC 9562 version 8) of HMAC-SHA-256 over the length-prefixed type, system and
    /// value, cut to 128 bits. Never a bare hash: all NHS numbers can be enumerated in minutes.
    pub fn id(&self, key: &Key) -> String {
        let mut mac = self.0.clone();
        for part in [&key.kind, &key.system, &key.value] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let digest = mac.finalize().into_bytes();
        let bytes: [u8; 16] = digest[..16].try_into().expect("the digest has 32 bytes");
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }
}

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_by_key_type_and_by_where_the_parts_are_cut() {
        let (one, two) = (IdKey::demonstration(), IdKey::new(b"another key, 16+").unwrap());
        let key = Key::new("Patient", "urn:a", "bc");
        assert_eq!(one.id(&key), one.id(&key.clone()));
        assert_eq!(one.id(&key).len(), 36);
        assert_ne!(one.id(&key), two.id(&key));
        assert_ne!(one.id(&key), one.id(&Key::new("Patient", "urn:ab", "c")));
        assert_ne!(one.id(&key), one.id(&Key::new("Person", "urn:a", "bc")));
        assert!(IdKey::new(b"short").is_none());
    }
}
