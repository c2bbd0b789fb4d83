use bytes::Bytes;
use sha2::Digest as _;
use std::fmt;

/// The bytes of one message as the transport delimits them, without the transport's own framing.
#[derive(Clone)]
pub struct Frame {
    bytes: Bytes,
}

impl Frame {
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into() }
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 over the bytes: the frame's identity within its feed.
    pub fn digest(&self) -> Digest {
        Digest(sha2::Sha256::digest(&self.bytes).into())
    }
}

/// Shows the length alone: a frame holds patient data.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.bytes.len())
    }
}

/// SHA-256 of a frame, shown in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
