//! The configured senders, and `admit`: from who sends (Peer) and what (Envelope) to what may be said (Warrant).

use crate::access::Principal;
use crate::audit::Agent;
use crate::config::{self, RelayMode};
use crate::mllp::{Destination, Receiver};
use contract::{
    Adapter, Class, Contribution, Dialect, Envelope, IdKey, Issue, IssueCode, OutcomeKind, Party, Processing, Settings, Severity,
};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// Who is at the other end of a connection, as the transport proved it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// `host:port` of the other end.
    pub address: String,
    /// DNS names in the client certificate's SAN, or the client id of an ingest token; none on a plaintext listener.
    pub names: Vec<String>,
    /// Whose token was shown, where one was.
    pub token: Option<Principal>,
}

impl Peer {
    /// As the audit has it; `who`: in the audit's words.
    pub fn agent(&self, who: String) -> Agent {
        let agent = Agent { who, address: self.address.clone(), ..Agent::default() };
        match &self.token {
            Some(token) => Agent { issuer: token.issuer.clone(), token: token.token_id.clone(), ..agent },
            None => agent,
        }
    }
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
    #[cfg(test)]
    pub(crate) fn for_tests(feed: &str) -> Self {
        Self { feed: feed.to_owned() }
    }
}

impl fmt::Debug for Warrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Warrant({})", self.feed)
    }
}

/// One configured sender, with its adapter.
pub struct Feed {
    pub config: config::Feed,
    pub adapter: Arc<dyn Adapter>,
    pub settings: Settings,
    /// Hash of adapter, tables and settings.
    pub recipe: String,
    /// The next hop of the feed's relay.
    pub next_hop: Option<Arc<Receiver>>,
}

impl Feed {
    /// `base_url` as in [`Settings::base_url`].
    pub fn new(config: &config::Feed, dialect: &dyn Dialect, id_key: &IdKey, base_url: &str) -> Self {
        let settings = config.settings(id_key, base_url);
        let recipe = recipe(&dialect.recipe(), &settings);
        Self { config: config.clone(), adapter: dialect.adapter(settings.clone()), settings, recipe, next_hop: None }
    }

    /// With the next hop of its relay, where it has one: that of the feed before, where it is the same. Errors name the file.
    pub fn relayed(self, before: Option<&Feed>) -> Result<Self, String> {
        if let Some(before) = before.filter(|before| before.config.relay == self.config.relay) {
            return Ok(Self { next_hop: before.next_hop.clone(), ..self });
        }
        let hop = |relay: &config::Relay| Destination::new(&relay.to, &relay.files).map(|to| Arc::new(Receiver::new(to)));
        let next_hop = self.config.relay.as_ref().map(hop).transpose();
        Ok(Self { next_hop: next_hop.map_err(|error| format!("feed.{}.relay: {error}", self.config.name))?, ..self })
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The acknowledgement code that this feed wants; `None` where the dialect's own is right.
    pub fn code(&self, kind: OutcomeKind) -> Option<&str> {
        let reply = &self.config.reply;
        match kind {
            OutcomeKind::Stored | OutcomeKind::StoredWithIssues | OutcomeKind::Duplicate | OutcomeKind::Unauthenticated => None,
            OutcomeKind::Malformed => Some(&reply.malformed),
            OutcomeKind::Unsupported => Some(&reply.unsupported),
            OutcomeKind::Untranslatable => Some(&reply.untranslatable),
            OutcomeKind::Held => Some(&reply.held),
            OutcomeKind::Forbidden => Some(&reply.forbidden),
            OutcomeKind::Transient => reply.transient.as_deref(),
        }
    }

    /// Whether it is the sender's certificate that has these names.
    pub fn is_peer(&self, names: &[String]) -> bool {
        self.config.peer.as_ref().is_some_and(|name| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }

    fn is_of(&self, peer: &Peer) -> bool {
        match &self.config.peer {
            Some(_) => self.is_peer(&peer.names),
            // A plain listener's feed: the configuration says so in as many words.
            None => peer.names.is_empty(),
        }
    }

    /// The first resource that is recorded under a key that is not this feed's to speak of.
    pub fn foreign(&self, contributions: &[Contribution]) -> Option<Issue> {
        let foreign = contributions
            .iter()
            .find(|contribution| contribution.class != Class::Mention && !self.settings.speaks_for(&contribution.key))?;
        let place = foreign.statements.first().map(|statement| statement.place.to_string()).unwrap_or_default();
        let reason = format!("the {} is of an assigner that this feed may not speak for; see its `assigners`", foreign.key.kind);
        Some(Issue::new(Severity::Error, IssueCode::Forbidden, place, reason))
    }
}

/// The door that a frame came by. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// A frame at `mllp.NAME`.
    Mllp(Arc<str>),
    /// `POST /ingest/FEED`.
    Https(Arc<str>),
    /// A frame of the journal: that it stands under this feed proves the peer.
    Journal(Arc<str>),
}

/// The listener's name in the configuration.
impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Mllp(name) => write!(f, "mllp.{name}"),
            Door::Https(_) => f.write_str("https"),
            Door::Journal(_) => f.write_str("journal"),
        }
    }
}

/// All configured senders.
pub struct Feeds {
    feeds: Vec<Arc<Feed>>,
}

impl Feeds {
    pub fn new(feeds: Vec<Feed>) -> Self {
        Self { feeds: feeds.into_iter().map(Arc::new).collect() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Feed>> {
        self.feeds.iter()
    }

    pub fn named(&self, name: &str) -> Option<&Arc<Feed>> {
        self.feeds.iter().find(|feed| feed.name() == name)
    }

    /// The feeds that a peer may be at a door: by listener and name, before its message is read.
    pub fn candidates(&self, door: &Door, peer: &Peer) -> Vec<&Arc<Feed>> {
        let at_door = |feed: &&Arc<Feed>| match (door, &feed.config.listener) {
            (Door::Mllp(name), config::Listener::Mllp(listener)) => **name == **listener && feed.is_of(peer),
            (Door::Https(name), config::Listener::Https) => **name == *feed.name() && feed.is_of(peer),
            (Door::Journal(name), _) => **name == *feed.name(),
            (Door::Mllp(_), config::Listener::Https) | (Door::Https(_), config::Listener::Mllp(_)) => false,
        };
        self.feeds.iter().filter(at_door).collect()
    }

    /// The feed whose transparent relay a peer's connection goes through: those of one connection have one.
    pub fn transparent(&self, door: &Door, peer: &Peer) -> Option<&Arc<Feed>> {
        let first = self.candidates(door, peer).into_iter().next()?;
        first.config.relays(RelayMode::Transparent).map(|_| first)
    }

    /// Whose words an answer at this door is in, where the peer is no feed's.
    pub fn speaker(&self, door: &Door) -> Option<&Arc<Feed>> {
        let Door::Mllp(name) = door else { return None };
        self.feeds.iter().find(|feed| matches!(&feed.config.listener, config::Listener::Mllp(listener) if **listener == **name))
    }
}

/// The one of a peer's feeds that a message says it is from: the most exact, where an empty part of `sender` fits anyone.
pub fn of_sender<'a>(candidates: &[&'a Arc<Feed>], sender: &Party) -> Option<&'a Arc<Feed>> {
    let stated = |party: &Party| usize::from(!party.application.is_empty()) + usize::from(!party.facility.is_empty());
    let fitting = candidates.iter().filter(|feed| fits(&feed.config.sender, sender));
    fitting.max_by_key(|feed| stated(&feed.config.sender)).copied()
}

/// What `admit` decides. A refusal has the reason, and what becomes of the frame.
pub type Admission = Result<Warrant, (OutcomeKind, Issue)>;

/// Whether the feed may say this. `candidates`: the feeds that the peer may be. `released`: a person has looked at what
/// would be held.
pub fn admit(candidates: &[&Arc<Feed>], envelope: &Envelope, released: bool) -> Admission {
    // HL7 v2 alone states all of these, so places are in its words; its reply tells table 0357's code by them.
    let refuse = |place: &'static str, reason: &'static str| {
        Err((OutcomeKind::Forbidden, Issue::new(Severity::Error, IssueCode::Forbidden, place, reason)))
    };
    if candidates.is_empty() {
        return refuse("", "no feed is configured for this peer at this listener");
    }
    let Some(feed) = of_sender(candidates, &envelope.sender) else {
        return refuse("MSH[1]-3", "the sending application or facility is not this peer's");
    };
    if !fits(&feed.config.receiver, &envelope.receiver) {
        return refuse("MSH[1]-5", "the receiving application or facility is not this gateway's");
    }
    if !feed.config.accepts.iter().any(|accepted| envelope.message_type.is_named_by(accepted)) {
        return refuse("MSH[1]-9", "the feed does not accept this message type");
    }
    if envelope.processing != Processing::Production && !released {
        let issue = Issue::new(Severity::Error, IssueCode::NotSupported, "MSH[1]-11", "the processing id is not P: not for a live record");
        return Err((OutcomeKind::Held, issue));
    }
    Ok(Warrant { feed: feed.name().to_owned() })
}

/// An empty part fits anyone.
fn fits(wanted: &Party, stated: &Party) -> bool {
    let part = |wanted: &str, stated: &str| wanted.is_empty() || wanted == stated;
    part(&wanted.application, &stated.application) && part(&wanted.facility, &stated.facility)
}

/// Other adapter, tables or settings: another translation. The id key itself is left out: it is secret.
fn recipe(dialect: &str, settings: &Settings) -> String {
    let Settings { feed, id_key: _, base_url, timezone, primary_assigner, assigners, owns, sequence, visit_assigners, character_set } =
        settings;
    let timezone = timezone.iana_name().unwrap_or("UTC");
    let words = format!(
        "{dialect:?} {feed:?} {base_url:?} {timezone:?} {primary_assigner:?} {assigners:?} {owns:?} {sequence:?} {visit_assigners:?} {character_set:?}"
    );
    hex::encode(Sha256::digest(words))
}
