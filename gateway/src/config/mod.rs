//! The configuration in two steps: as written ([`written`]), then as meant ([`Config`]). All mistakes are reported at once.

pub mod dictionary;
mod keys;
mod resolve;
mod tree;
mod written;
mod yaml;

pub use written::{Places, Reading, in_order};

use crate::mllp;
use contract::{IdKey, Party, Sequence, Settings};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// 16 MiB: scanned documents in OBX-5 come that large; more is a mistake or an attack.
pub const FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What waits for the store beside the transparent relays of one listener: a larger message could never be kept.
pub const RELAY_SPOOL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Connections a listener holds at once.
pub const CONNECTIONS_MAX: u64 = 1024;
/// From the first byte of a frame to its last: a sender that is slower holds memory.
pub const FRAME_SECONDS_MAX: u64 = 60;
/// Frames a feed may leave waiting in quarantine.
pub const QUARANTINE_FRAMES_MAX: u64 = 100_000;

/// Refusals of one message by the next hop, after which it is a dead letter: some refuse with AE what they take a moment later.
pub const RELAY_REFUSALS_MAX: u64 = 3;
/// How long the next hop's acknowledgement is waited for.
pub const RELAY_REPLY_SECONDS_MAX: u64 = 60;

/// The names that [`Feed::adapter`] may have.
pub const ADAPTERS: [&str; 3] = ["hl7v2", "cda", "fhir"];
/// Signature algorithms that an issuer may have. `none` and HMAC are never among them.
pub const ALGORITHMS: [&str; 3] = ["ES256", "RS256", "EdDSA"];

/// What a configuration means. Paths are absolute, names are checked against one another.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    pub store_directory: PathBuf,
    pub id_key: PathBuf,
    /// Ed25519 private key; its public half stands beside it as `.pub`.
    pub seal_key: PathBuf,
    pub seals: PathBuf,
    pub https: Https,
    /// By name in the configuration: `mllp.main` is `main`.
    pub mllp: BTreeMap<String, Mllp>,
    pub feeds: BTreeMap<String, Feed>,
    pub issuers: Vec<Issuer>,
    pub observe: SocketAddr,
    pub limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Https {
    pub listen: SocketAddr,
    /// Without a slash at the end.
    pub base_url: String,
    pub tls: Tls,
    pub proxies: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mllp {
    pub listen: SocketAddr,
    /// `None`: plain, because the configuration says so in as many words; a finding for as long as it stands.
    pub tls: Option<Tls>,
    /// Who stands in front of it and tells whose connection it passes on, by PROXY protocol v2; none: whoever connects.
    pub proxies: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
    /// Certificates that their authorities took back. Where it is given, each authority of a chain must be in it, and be in
    /// date: an unknown status is refused.
    pub client_crl: Option<PathBuf>,
}

/// One configured sender.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    pub name: String,
    pub listener: Listener,
    pub adapter: String,
    /// DNS name in the client certificate's SAN, or client id of an ingest token; `None` on a plain listener only.
    pub peer: Option<String>,
    /// Who the messages must say they are from; an empty part fits anyone.
    pub sender: Party,
    /// Whom they must be addressed to; an empty part fits anyone.
    pub receiver: Party,
    pub timezone: TimeZone,
    pub primary_assigner: Option<String>,
    pub assigners: BTreeMap<String, String>,
    /// `ADT`, `ADT^A01`, `CDA`.
    pub accepts: Vec<String>,
    pub owns: BTreeSet<String>,
    pub reply: Reply,
    pub sequence: Option<Sequence>,
    pub visit_assigners: Vec<String>,
    pub character_set: Option<String>,
    pub relay: Option<Relay>,
}

/// Where a feed's messages are passed on to by MLLP, as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// `host:port`.
    pub to: String,
    pub mode: RelayMode,
    /// None named: plain, because the configuration says so in as many words.
    pub files: mllp::Files,
    /// After so many refusals a message is a dead letter.
    pub refusals: u64,
    pub reply_time: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayMode {
    /// What we acknowledged is passed on when it is durable.
    AfterCommit,
    /// The sender speaks with the next hop itself; we keep what was said beside it.
    Transparent,
}

/// The door of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    /// `POST /ingest/FEED`.
    Https,
    /// `mllp.NAME`.
    Mllp(String),
}

/// The acknowledgement code for each kind of refusal (`AA`, `AE`, `AR`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub malformed: String,
    pub unsupported: String,
    pub untranslatable: String,
    pub held: String,
    pub forbidden: String,
    /// `None`: close without a reply, so that the sender sends again.
    pub transient: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub issuer: String,
    pub audience: String,
    pub jwks: PathBuf,
    pub algorithms: Vec<String>,
    pub token_endpoint: String,
    pub authorization_endpoint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub frame_bytes: usize,
    pub connections: usize,
    /// From the first byte of a frame to its last.
    pub frame_time: Duration,
    pub quarantine_frames: u64,
    /// After which a connection ends, with the answer in hand; `None`: never.
    pub connection_age: Option<Duration>,
}

/// Whether the files that a configuration names must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    Needed,
    /// The text alone is read: it may be meant for another machine.
    Untouched,
}

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The key's path, or empty.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

impl Mistake {
    /// As editors follow it: `FILE:LINE: key: reason`.
    pub fn told(&self, file: &Path) -> String {
        let Self { line, key, reason } = self;
        let place = if *line == 0 { file.display().to_string() } else { format!("{}:{line}", file.display()) };
        if key.is_empty() { format!("{place}: {reason}") } else { format!("{place}: {key}: {reason}") }
    }

    /// Whether it is said of this key, of a table around it, or of a key in it.
    pub fn bears_on(&self, key: &str) -> bool {
        let within =
            |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        within(&self.key, key) || within(key, &self.key)
    }
}

impl Config {
    /// Reads a configuration file; all mistakes at once, in order of line.
    pub fn load(path: &Path) -> Result<Self, Vec<Mistake>> {
        Self::read(path, Files::Needed).map_err(|mistake| vec![mistake])?.whole()
    }

    /// Reads a configuration file as far as it can be made out. TOML, or YAML where its name ends in `.yaml` or `.yml`.
    pub fn read(path: &Path, files: Files) -> Result<Reading<Self>, Mistake> {
        let whole = |reason| Mistake { line: 0, key: String::new(), reason };
        let text = std::fs::read_to_string(path)
            .map_err(|error| whole(format!("cannot be read ({}); `landbridge init DIR` writes one", error.kind())))?;
        let file = std::path::absolute(path).map_err(|error| whole(error.kind().to_string()))?;
        Ok(Self::read_text(&text, &file, files))
    }

    /// Reads a configuration's text as if it stood in `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Vec<Mistake>> {
        Self::read_text(text, file, Files::Needed).whole()
    }

    pub fn read_text(text: &str, file: &Path, files: Files) -> Reading<Self> {
        written::read(text, file, |page, section| resolve::config(page, section, file, files))
    }
}

impl Config {
    /// Zone of dates in searches and resources that state none: that of the feeds where they agree, else UTC. (Never the
    /// machine's: answers must not depend on where the gateway runs.)
    pub fn timezone(&self) -> TimeZone {
        let mut zones = self.feeds.values().map(|feed| &feed.timezone);
        zones.next().filter(|first| zones.all(|zone| zone == *first)).cloned().unwrap_or(TimeZone::UTC)
    }
}

impl Feed {
    /// The relay, where it is of this mode.
    pub fn relays(&self, mode: RelayMode) -> Option<&Relay> {
        self.relay.as_ref().filter(|relay| relay.mode == mode)
    }

    /// What of the configuration bears on translation.
    pub fn settings(&self, id_key: &IdKey, base_url: &str) -> Settings {
        Settings {
            feed: self.name.clone(),
            id_key: id_key.clone(),
            base_url: base_url.to_owned(),
            timezone: self.timezone.clone(),
            primary_assigner: self.primary_assigner.clone(),
            assigners: self.assigners.clone(),
            owns: self.owns.clone(),
            sequence: self.sequence,
            visit_assigners: self.visit_assigners.clone(),
            character_set: self.character_set.clone(),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Https => f.write_str("https"),
            Listener::Mllp(name) => write!(f, "mllp.{name}"),
        }
    }
}

#[cfg(test)]
mod tests;
