//! What is counted. Labels are closed: feeds and listeners of the configuration, words of closed lists; never a value.

use crate::listen::tls::Ends;
use contract::OutcomeKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// All metrics of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    families: Arc<Families>,
}

struct Families {
    registry: Registry,
    messages: Family<Message, Counter>,
    replies: Family<Reply, Counter>,
    message_seconds: Family<Feed, Histogram, fn() -> Histogram>,
    translate_seconds: Histogram,
    commit_seconds: Histogram,
    last_message: Family<Feed, Gauge>,
    quarantine: Family<Feed, Gauge>,
    connections: Family<Listener, Gauge>,
    certificate_end: Family<Listener, Gauge>,
    client_crl_end: Family<Listener, Gauge>,
    findings: Family<Found, Counter>,
    refused: Family<Refused, Counter>,
    unterminated: Family<Listener, Counter>,
    noise: Family<Listener, Counter>,
    requests: Family<Request, Counter>,
    request_seconds: Family<Interaction, Histogram, fn() -> Histogram>,
    audit_failures: Counter,
    last_seal: Gauge,
    relayed: Family<Relayed, Counter>,
    unkept: Family<Refused, Counter>,
    relay_backlog: Family<Feed, Gauge>,
    relay_oldest: Family<Feed, Gauge>,
    relay_dead: Family<Feed, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Message {
    feed: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Found {
    feed: String,
    finding: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reply {
    listener: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Feed {
    feed: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    listener: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    interaction: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Relayed {
    feed: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Interaction {
    interaction: &'static str,
}

/// What a sender got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    Sent,
    /// The sender asked for none.
    None,
    /// Closed without a reply, so that the sender sends again.
    Closed,
}

/// 100 µs to about 13 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut families = Families {
            registry: Registry::with_prefix("landbridge"),
            messages: Family::default(),
            replies: Family::default(),
            message_seconds: Family::new_with_constructor(seconds),
            translate_seconds: seconds(),
            commit_seconds: seconds(),
            last_message: Family::default(),
            quarantine: Family::default(),
            connections: Family::default(),
            certificate_end: Family::default(),
            client_crl_end: Family::default(),
            findings: Family::default(),
            refused: Family::default(),
            unterminated: Family::default(),
            noise: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            audit_failures: Counter::default(),
            last_seal: Gauge::default(),
            relayed: Family::default(),
            unkept: Family::default(),
            relay_backlog: Family::default(),
            relay_oldest: Family::default(),
            relay_dead: Family::default(),
        };
        let registry = &mut families.registry;
        registry.register("messages", "Messages by feed and what became of them", families.messages.clone());
        registry.register("replies", "Replies by listener and kind", families.replies.clone());
        let unit = Unit::Seconds;
        registry.register_with_unit(
            "message",
            "From the last byte of a message to its reply",
            unit.clone(),
            families.message_seconds.clone(),
        );
        registry.register_with_unit("translate", "Reading and translating one message", unit.clone(), families.translate_seconds.clone());
        registry.register_with_unit("commit", "Making one message durable", unit.clone(), families.commit_seconds.clone());
        registry.register_with_unit(
            "last_message_timestamp",
            "When the feed's last message came, Unix time",
            unit.clone(),
            families.last_message.clone(),
        );
        registry.register("quarantine_frames", "Frames that wait in quarantine", families.quarantine.clone());
        registry.register("findings", "What a person should look at; `journal findings` tells more", families.findings.clone());
        registry.register("connections", "Open connections", families.connections.clone());
        registry.register("connections_refused", "Connections closed before any use", families.refused.clone());
        registry.register("unterminated_frames", "Frames that began and never ended", families.unterminated.clone());
        registry.register_with_unit("noise", "Bytes outside of frames, dropped", Unit::Bytes, families.noise.clone());
        registry.register("requests", "HTTP requests by interaction and status", families.requests.clone());
        registry.register_with_unit("request", "Answering one HTTP request", unit.clone(), families.request_seconds.clone());
        registry.register_with_unit(
            "certificate_end_timestamp",
            "When the listener's certificate ends, Unix time",
            unit.clone(),
            families.certificate_end.clone(),
        );
        registry.register_with_unit(
            "client_crl_end_timestamp",
            "When the first revocation list of its clients ends, after which none is let in, Unix time",
            unit.clone(),
            families.client_crl_end.clone(),
        );
        registry.register("audit_failures", "Audit entries or seals that could not be written", families.audit_failures.clone());
        registry.register("relay_messages", "Messages for a feed's next hop, by what came of them", families.relayed.clone());
        registry.register("relay_unkept", "Messages that were passed on and are not in the journal", families.unkept.clone());
        registry.register("relay_backlog", "Messages that wait for the feed's next hop", families.relay_backlog.clone());
        registry.register("relay_dead_letters", "Messages that the next hop refused, or a person took out", families.relay_dead.clone());
        registry.register_with_unit(
            "relay_oldest_timestamp",
            "Since when the oldest message waits for the feed's next hop, Unix time; 0: none waits",
            unit.clone(),
            families.relay_oldest.clone(),
        );
        registry.register_with_unit("last_seal_timestamp", "When the audit was last sealed, Unix time", unit, families.last_seal.clone());
        Self { families: Arc::new(families) }
    }
}

impl Metrics {
    /// A feed is seen from the start, with zeros.
    pub fn feed(&self, feed: &str) {
        for outcome in OutcomeKind::ALL {
            drop(self.families.messages.get_or_create(&Message { feed: feed.to_owned(), outcome: outcome.word() }));
        }
        drop(self.families.quarantine.get_or_create(&Feed { feed: feed.to_owned() }));
    }

    /// A message of a feed (or, of no feed, at a listener), received at this Unix time, and what became of it in how long.
    pub fn message(&self, feed: &str, outcome: OutcomeKind, received: i64, took: Duration) {
        self.families.messages.get_or_create(&Message { feed: feed.to_owned(), outcome: outcome.word() }).inc();
        let feed = Feed { feed: feed.to_owned() };
        self.families.message_seconds.get_or_create(&feed).observe(took.as_secs_f64());
        self.families.last_message.get_or_create(&feed).set(received);
    }

    pub fn reply(&self, listener: &str, kind: ReplyKind) {
        let kind = match kind {
            ReplyKind::Sent => "sent",
            ReplyKind::None => "none",
            ReplyKind::Closed => "closed",
        };
        self.families.replies.get_or_create(&Reply { listener: listener.to_owned(), kind }).inc();
    }

    pub fn translated(&self, took: Duration) {
        self.families.translate_seconds.observe(took.as_secs_f64());
    }

    pub fn committed(&self, took: Duration) {
        self.families.commit_seconds.observe(took.as_secs_f64());
    }

    pub fn quarantine(&self, feed: &str, frames: u64) {
        self.families.quarantine.get_or_create(&Feed { feed: feed.to_owned() }).set(i64::try_from(frames).unwrap_or(i64::MAX));
    }

    /// `finding`: a word of [`crate::state::Finding`].
    pub fn finding(&self, feed: &str, finding: &'static str) {
        self.families.findings.get_or_create(&Found { feed: feed.to_owned(), finding }).inc();
    }

    pub fn certificate(&self, listener: &str, ends: Ends) {
        let label = Listener { listener: listener.to_owned() };
        self.families.certificate_end.get_or_create(&label).set(ends.certificate);
        match ends.client_crl {
            Some(end) => drop(self.families.client_crl_end.get_or_create(&label).set(end)),
            None => drop(self.families.client_crl_end.remove(&label)),
        }
    }

    /// Counts a connection for as long as what it gives lives.
    pub fn connection(&self, listener: &str) -> Connected {
        let gauge = self.families.connections.get_or_create(&Listener { listener: listener.to_owned() }).clone();
        gauge.inc();
        Connected { gauge }
    }

    /// `reason`: of the closed list `limit`, `displaced`, `handshake`, `timeout`, `http`, `distrusted`.
    pub fn refused(&self, listener: &str, reason: &'static str) {
        self.families.refused.get_or_create(&Refused { listener: listener.to_owned(), reason }).inc();
    }

    pub fn unterminated(&self, listener: &str) {
        self.families.unterminated.get_or_create(&Listener { listener: listener.to_owned() }).inc();
    }

    pub fn noise(&self, listener: &str, bytes: u64) {
        self.families.noise.get_or_create(&Listener { listener: listener.to_owned() }).inc_by(bytes);
    }

    pub fn request(&self, interaction: &'static str, status: u16, took: Duration) {
        self.families.requests.get_or_create(&Request { interaction, status }).inc();
        self.families.request_seconds.get_or_create(&Interaction { interaction }).observe(took.as_secs_f64());
    }

    pub fn audit_failure(&self) {
        self.families.audit_failures.inc();
    }

    pub fn sealed(&self, at: i64) {
        self.families.last_seal.set(at);
    }

    /// `result`: of the closed list `passed` (by a transparent relay), `delivered`, `refused`, `unacknowledged`, `unreached`.
    pub fn relayed(&self, feed: &str, result: &'static str, count: u64) {
        self.families.relayed.get_or_create(&Relayed { feed: feed.to_owned(), result }).inc_by(count);
    }

    /// `reason`: of the closed list `spool-full`, `too-large`, `failed`, `stopped`, `refused`, `quarantine-full`.
    pub fn unkept(&self, listener: &str, reason: &'static str) {
        self.families.unkept.get_or_create(&Refused { listener: listener.to_owned(), reason }).inc();
    }

    /// What waits for a feed's next hop, since when (Unix time), and its dead letters.
    pub fn relay(&self, feed: &str, waiting: u64, oldest: Option<i64>, dead: u64) {
        let (label, number) = (Feed { feed: feed.to_owned() }, |count: u64| i64::try_from(count).unwrap_or(i64::MAX));
        self.families.relay_backlog.get_or_create(&label).set(number(waiting));
        self.families.relay_oldest.get_or_create(&label).set(oldest.unwrap_or_default());
        self.families.relay_dead.get_or_create(&label).set(number(dead));
    }

    /// OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.families.registry).expect("strings take what is written");
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

/// One open connection.
pub struct Connected {
    gauge: Gauge,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_feeds_and_closed_words() {
        let metrics = Metrics::default();
        metrics.feed("pas");
        metrics.message("pas", OutcomeKind::Stored, 1_700_000_000, Duration::from_millis(3));
        metrics.reply("mllp.main", ReplyKind::Sent);
        metrics.noise("mllp.main", 7);
        metrics.request("read", 200, Duration::from_micros(300));
        let open = metrics.connection("mllp.main");
        let text = metrics.text();
        for line in [
            "landbridge_messages_total{feed=\"pas\",outcome=\"stored\"} 1\n",
            "landbridge_messages_total{feed=\"pas\",outcome=\"held\"} 0\n",
            "landbridge_replies_total{listener=\"mllp.main\",kind=\"sent\"} 1\n",
            "landbridge_last_message_timestamp_seconds{feed=\"pas\"} 1700000000\n",
            "landbridge_noise_bytes_total{listener=\"mllp.main\"} 7\n",
            "landbridge_requests_total{interaction=\"read\",status=\"200\"} 1\n",
            "landbridge_connections{listener=\"mllp.main\"} 1\n",
            "landbridge_message_seconds_count{feed=\"pas\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} not in {text}");
        }
        drop(open);
        assert!(metrics.text().contains("landbridge_connections{listener=\"mllp.main\"} 0\n"));
    }
}
