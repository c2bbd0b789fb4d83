//! The sending corridor: who sends (Peer), what they may say (Warrant).

use std::fmt;

/// Who is at the other end of a connection, as the transport proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `host:port` of the other end.
    pub address: String,
    /// DNS names in the client certificate's SAN, or the client id of an ingest token; none on a plaintext listener.
    pub names: Vec<String>,
}

/// What a sender may say, as `admit` found it: only there can one be made. `store.commit` asks for it.
pub struct Warrant {
    feed: String,
}

impl Warrant {
    /// The feed in whose name the frame is stored.
    pub fn feed(&self) -> &str {
        &self.feed
    }

    /// For tests of what stands behind `admit`.
    #[doc(hidden)]
    pub fn for_tests(feed: &str) -> Self {
        Self { feed: feed.to_owned() }
    }
}

impl fmt::Debug for Warrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Warrant({})", self.feed)
    }
}
