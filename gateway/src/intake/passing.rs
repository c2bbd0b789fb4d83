//! What a transparent relay asks of the intake, besides keeping what was said.

use super::{Intake, Peer};
use crate::audit::{Action, Agent, Entry, NOT_KEPT};
use crate::store::StoreError;

impl Intake {
    /// Whether a message could be made durable now.
    pub async fn can_keep(&self) -> bool {
        self.room.store.ready().await.is_ok()
    }

    /// Writes down that a connection's messages were passed on as they came.
    pub async fn passed_on(&self, feed: &str, peer: &Peer, to: &str, count: u32) -> Result<(), StoreError> {
        let agent = Agent { who: format!("feed:{feed}"), address: to.to_owned(), ..Agent::default() };
        let request = format!("passed on from {} to {to}", peer.address);
        self.room.store.record(Entry { agent, request, count, ..self.relaying() }).await
    }

    /// Writes down that messages were passed on and are not in the journal: `reason` is of a closed list.
    pub async fn not_kept(&self, listener: &str, reason: &str, count: u32) -> Result<(), StoreError> {
        let (request, reason) = (listener.to_owned(), format!("{NOT_KEPT}{reason}"));
        self.room.store.record(Entry { outcome: 12, reason, request, count, ..self.relaying() }).await
    }

    fn relaying(&self) -> Entry {
        Entry::new(self.room.clock.now(), Action::Relay, Agent { who: "system".into(), ..Agent::default() })
    }
}
