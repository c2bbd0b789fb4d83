//! The configuration in two steps: as written ([`raw`]), then as meant ([`Config`]). All mistakes are reported at once.

mod raw;

use contract::{IdKey, Party, Sequence, Settings};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// 16 MiB: scanned documents in OBX-5 come that large; more is a mistake or an attack.
pub const FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Connections a listener holds at once.
pub const CONNECTIONS_MAX: u64 = 1024;
/// From the first byte of a frame to its last: a sender that is slower holds memory.
pub const FRAME_SECONDS_MAX: u64 = 60;
/// Frames a feed may leave waiting in quarantine.
pub const QUARANTINE_FRAMES_MAX: u64 = 100_000;

/// The names that [`Feed::adapter`] may have.
pub const ADAPTERS: [&str; 2] = ["hl7v2", "cda"];
const ALGORITHMS: [&str; 8] = ["ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "EdDSA"];

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

#[derive(Clone, Debug)]
pub struct Https {
    pub listen: SocketAddr,
    /// Without a slash at the end.
    pub base_url: String,
    pub tls: Tls,
}

#[derive(Clone, Debug)]
pub struct Mllp {
    pub listen: SocketAddr,
    /// `None`: plain, because the configuration says so in as many words; a finding for as long as it stands.
    pub tls: Option<Tls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
}

/// One configured sender.
#[derive(Clone, Debug)]
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

#[derive(Clone, Debug)]
pub struct Issuer {
    pub issuer: String,
    pub audience: String,
    pub jwks: PathBuf,
    pub algorithms: Vec<String>,
    pub token_endpoint: String,
    pub authorization_endpoint: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub frame_bytes: usize,
    pub connections: usize,
    /// From the first byte of a frame to its last.
    pub frame_time: Duration,
    pub quarantine_frames: u64,
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

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.key.as_str()) {
            (0, "") => f.write_str(&self.reason),
            (0, key) => write!(f, "{key}: {}", self.reason),
            (line, "") => write!(f, "line {line}: {}", self.reason),
            (line, key) => write!(f, "line {line}: {key}: {}", self.reason),
        }
    }
}

impl Config {
    /// Reads a configuration file; all mistakes at once, in order of line.
    pub fn load(path: &Path) -> Result<Self, Vec<Mistake>> {
        let whole = |reason| vec![Mistake { line: 0, key: String::new(), reason }];
        let text = std::fs::read_to_string(path)
            .map_err(|error| whole(format!("{} cannot be read ({}); `landbridge init DIR` writes one", path.display(), error.kind())))?;
        let file = std::path::absolute(path).map_err(|error| whole(format!("{}: {}", path.display(), error.kind())))?;
        Self::parse(&text, &file)
    }

    /// Reads a configuration's text as if it stood in `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Vec<Mistake>> {
        let raw: raw::Raw = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(_) => return Err(syntax_mistakes(text)),
        };
        let mut resolver = Resolver { text, folder: file.parent().unwrap_or(Path::new(".")), mistakes: Vec::new() };
        let config = resolver.config(raw, file);
        let mut mistakes = resolver.mistakes;
        if mistakes.is_empty() {
            return Ok(config);
        }
        mistakes.sort_by_key(|mistake| mistake.line);
        Err(mistakes)
    }
}

impl Feed {
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

/// Every mistake of syntax, type or key: the reader stops at the first, so the line (or table entry) it names is blanked
/// and the text is read again.
fn syntax_mistakes(text: &str) -> Vec<Mistake> {
    const ROUNDS_MAX: usize = 50;
    let mut rest = text.to_owned();
    let mut mistakes: Vec<Mistake> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let Err(error) = toml::from_str::<raw::Raw>(&rest) else { break };
        let span = error.span().unwrap_or(0..0);
        let line = if span.end == 0 { 0 } else { line_of(&rest, span.start) };
        let mistake = Mistake { line, key: String::new(), reason: error.message().to_owned() };
        let missing = mistake.reason.starts_with("missing field");
        if mistakes.contains(&mistake) {
            break;
        }
        mistakes.push(mistake);
        if line == 0 || missing || rest.lines().nth(line - 1).is_none_or(|line| line.trim_start().starts_with('[')) {
            break;
        }
        rest = rest.lines().enumerate().map(|(at, kept)| if at + 1 == line { "" } else { kept }).collect::<Vec<_>>().join("\n");
    }
    mistakes
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

struct Resolver<'a> {
    text: &'a str,
    folder: &'a Path,
    mistakes: Vec<Mistake>,
}

impl Resolver<'_> {
    fn wrong<T>(&mut self, at: &Spanned<T>, key: impl Into<String>, reason: impl Into<String>) {
        let line = line_of(self.text, at.span().start);
        self.mistakes.push(Mistake { line, key: key.into(), reason: reason.into() });
    }

    fn config(&mut self, raw: raw::Raw, file: &Path) -> Config {
        if raw.store.engine.get_ref() != "sqlite" {
            self.wrong(&raw.store.engine, "store.engine", "unknown engine; write \"sqlite\"");
        }
        let https = Https {
            listen: self.address(&raw.https.listen, "https.listen"),
            base_url: self.url(&raw.https.base_url, "https.base_url"),
            tls: self.tls(&raw.https.tls, "https.tls"),
        };
        let mut mllp = BTreeMap::new();
        for (name, raw) in &raw.mllp {
            let key = format!("mllp.{name}");
            let listen = self.address(&raw.listen, &format!("{key}.listen"));
            let tls = match raw.tls.get_ref() {
                raw::TlsOrNone::Tls(tls) => Some(self.tls(tls, &format!("{key}.tls"))),
                raw::TlsOrNone::Word(word) if word == "none" => None,
                raw::TlsOrNone::Word(_) => {
                    self.wrong(
                        &raw.tls,
                        format!("{key}.tls"),
                        "write { certificate = \"...\", key = \"...\", client_ca = \"...\" }, or \"none\" for a plain listener",
                    );
                    None
                }
            };
            mllp.insert(name.clone(), Mllp { listen, tls });
        }
        let feeds = raw.feed.iter().map(|(name, feed)| (name.clone(), self.feed(name, feed, &mllp))).collect::<BTreeMap<_, _>>();
        self.feeds_apart(&raw.feed, &feeds);
        let issuers = raw.issuer.iter().enumerate().map(|(at, issuer)| self.issuer(at, issuer.get_ref())).collect();
        Config {
            file: file.to_owned(),
            store_directory: self.folder.join(&raw.store.directory),
            id_key: self.file(&raw.keys.id, "keys.id"),
            seal_key: self.file(&raw.keys.seal, "keys.seal"),
            seals: self.folder.join(&raw.audit.seals),
            https,
            mllp,
            feeds,
            issuers,
            observe: self.address(&raw.observe.listen, "observe.listen"),
            limits: self.limits(&raw.limits),
        }
    }

    fn limits(&mut self, raw: &raw::Limits) -> Limits {
        let mut limit = |value: &Option<Spanned<u64>>, key: &str, default: u64, max: u64| match value {
            None => default,
            Some(value) if (1..=max).contains(value.get_ref()) => *value.get_ref(),
            Some(value) => {
                self.wrong(value, format!("limits.{key}"), format!("out of range; write a number from 1 to {max}"));
                default
            }
        };
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Limits {
            frame_bytes: count(limit(&raw.frame_bytes, "frame_bytes", FRAME_BYTES_MAX, 1 << 30)),
            connections: count(limit(&raw.connections, "connections", CONNECTIONS_MAX, 1 << 20)),
            frame_time: Duration::from_secs(limit(&raw.frame_seconds, "frame_seconds", FRAME_SECONDS_MAX, 3600)),
            quarantine_frames: limit(&raw.quarantine_frames, "quarantine_frames", QUARANTINE_FRAMES_MAX, 1 << 40),
        }
    }

    fn feed(&mut self, name: &str, spanned: &Spanned<raw::Feed>, listeners: &BTreeMap<String, Mllp>) -> Feed {
        let raw = spanned.get_ref();
        let key = |part: &str| format!("feed.{name}.{part}");
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            self.wrong(spanned, format!("feed.{name}"), "a feed's name stands in URLs and identifiers: use letters, digits, '-' and '_'");
        }
        let listener = match raw.listener.get_ref().as_str() {
            "https" => Listener::Https,
            other => match other.strip_prefix("mllp.").filter(|name| listeners.contains_key(*name)) {
                Some(name) => Listener::Mllp(name.to_owned()),
                None => {
                    let known = std::iter::once("\"https\"".to_owned())
                        .chain(listeners.keys().map(|name| format!("\"mllp.{name}\"")))
                        .collect::<Vec<_>>()
                        .join(", ");
                    self.wrong(&raw.listener, key("listener"), format!("no such listener; write one of {known}"));
                    Listener::Https
                }
            },
        };
        let plain = matches!(&listener, Listener::Mllp(name) if listeners[name].tls.is_none());
        match &raw.peer {
            None if !plain => self.wrong(spanned, key("peer"), "missing: the DNS name in the sender's client certificate"),
            Some(peer) if plain => {
                self.wrong(peer, key("peer"), "a plain listener cannot prove a peer: remove it, or give the listener tls")
            }
            Some(peer) if peer.get_ref().is_empty() => {
                self.wrong(peer, key("peer"), "empty: write the DNS name in the sender's client certificate")
            }
            _ => {}
        }
        if !ADAPTERS.contains(&raw.adapter.get_ref().as_str()) {
            self.wrong(&raw.adapter, key("adapter"), format!("no such adapter; write one of {}", ADAPTERS.join(", ")));
        }
        let timezone = match &raw.timezone {
            None => TimeZone::UTC,
            Some(zone) => TimeZone::get(zone.get_ref()).unwrap_or_else(|_| {
                self.wrong(zone, key("timezone"), "unknown time zone; write an IANA name such as \"Europe/London\"");
                TimeZone::UTC
            }),
        };
        if let Some(primary) = &raw.primary_assigner
            && !raw.assigners.contains_key(primary.get_ref())
        {
            self.wrong(primary, key("primary_assigner"), "not one of `assigners`: add it there with its identifier system");
        }
        for (assigner, system) in &raw.assigners {
            if !system.get_ref().contains(':') || system.get_ref().contains(char::is_whitespace) {
                self.wrong(
                    system,
                    key(&format!("assigners.{assigner}")),
                    "an identifier system is a URI, e.g. \"https://hospital.example/id/mrn\"",
                );
            }
        }
        if raw.accepts.get_ref().is_empty() || raw.accepts.get_ref().iter().any(String::is_empty) {
            self.wrong(
                &raw.accepts,
                key("accepts"),
                "nothing would be accepted; write types such as \"ADT\", \"ADT^A01\", \"ORU\", \"CDA\"",
            );
        }
        for kind in &raw.owns {
            if !kind.get_ref().starts_with(|first: char| first.is_ascii_uppercase())
                || !kind.get_ref().bytes().all(|byte| byte.is_ascii_alphabetic())
            {
                self.wrong(kind, key("owns"), "not a FHIR resource type; write e.g. \"Patient\"");
            }
        }
        let sequence = raw.sequence.as_ref().and_then(|word| match word.get_ref().as_str() {
            "control-id" => Some(Sequence::ControlId),
            "MSH-13" => Some(Sequence::Msh13),
            _ => {
                self.wrong(word, key("sequence"), "write \"control-id\" or \"MSH-13\", or leave it out");
                None
            }
        });
        let party = |raw: &raw::Party| Party {
            application: raw.application.clone().unwrap_or_default(),
            facility: raw.facility.clone().unwrap_or_default(),
        };
        Feed {
            name: name.to_owned(),
            listener,
            adapter: raw.adapter.get_ref().clone(),
            peer: raw.peer.as_ref().map(|peer| peer.get_ref().to_ascii_lowercase()),
            sender: party(&raw.sender),
            receiver: party(&raw.receiver),
            timezone,
            primary_assigner: raw.primary_assigner.as_ref().map(|name| name.get_ref().clone()),
            assigners: raw.assigners.iter().map(|(name, system)| (name.clone(), system.get_ref().clone())).collect(),
            accepts: raw.accepts.get_ref().clone(),
            owns: raw.owns.iter().map(|kind| kind.get_ref().clone()).collect(),
            reply: self.reply(name, &raw.reply),
            sequence,
            visit_assigners: raw.visit_assigners.clone(),
            character_set: raw.character_set.clone(),
        }
    }

    fn reply(&mut self, feed: &str, raw: &raw::Reply) -> Reply {
        let mut code = |value: &Option<Spanned<String>>, key: &str, default: &str| match value {
            None => default.to_owned(),
            Some(value) => {
                let known = ["AA", "AE", "AR"].contains(&value.get_ref().as_str()) || key == "transient" && value.get_ref() == "close";
                if !known {
                    let close = if key == "transient" { ", or \"close\"" } else { "" };
                    self.wrong(
                        value,
                        format!("feed.{feed}.reply.{key}"),
                        format!("not an acknowledgement code; write \"AA\", \"AE\" or \"AR\"{close}"),
                    );
                }
                value.get_ref().clone()
            }
        };
        Reply {
            malformed: code(&raw.malformed, "malformed", "AE"),
            unsupported: code(&raw.unsupported, "unsupported", "AA"),
            untranslatable: code(&raw.untranslatable, "untranslatable", "AA"),
            held: code(&raw.held, "held", "AA"),
            forbidden: code(&raw.forbidden, "forbidden", "AR"),
            transient: Some(code(&raw.transient, "transient", "close")).filter(|word| word != "close"),
        }
    }

    /// Two feeds that could not be told apart are a mistake.
    fn feeds_apart(&mut self, raw: &BTreeMap<String, Spanned<raw::Feed>>, feeds: &BTreeMap<String, Feed>) {
        for (name, feed) in feeds {
            let twin = feeds.range::<String, _>(..name).find(|(_, other)| {
                feed.listener == other.listener
                    && feed.listener != Listener::Https
                    && feed.peer == other.peer
                    && feed.sender == other.sender
            });
            if let Some((twin, _)) = twin {
                self.wrong(&raw[name], format!("feed.{name}"), format!("cannot be told from feed.{twin}: same listener, peer and sender"));
            }
        }
    }

    fn issuer(&mut self, at: usize, raw: &raw::Issuer) -> Issuer {
        let key = |part: &str| format!("issuer[{at}].{part}");
        if raw.algorithms.get_ref().is_empty() || raw.algorithms.get_ref().iter().any(|name| !ALGORITHMS.contains(&name.as_str())) {
            self.wrong(
                &raw.algorithms,
                key("algorithms"),
                format!("write some of {}; `none` and HMAC are never accepted", ALGORITHMS.join(", ")),
            );
        }
        Issuer {
            issuer: raw.issuer.clone(),
            audience: raw.audience.clone(),
            jwks: self.file(&raw.jwks, &key("jwks")),
            algorithms: raw.algorithms.get_ref().clone(),
            token_endpoint: self.url(&raw.token_endpoint, &key("token_endpoint")),
            authorization_endpoint: raw.authorization_endpoint.as_ref().map(|url| self.url(url, &key("authorization_endpoint"))),
        }
    }

    fn tls(&mut self, raw: &raw::Tls, key: &str) -> Tls {
        Tls {
            certificate: self.file(&raw.certificate, &format!("{key}.certificate")),
            key: self.file(&raw.key, &format!("{key}.key")),
            client_ca: self.file(&raw.client_ca, &format!("{key}.client_ca")),
        }
    }

    fn file(&mut self, path: &Spanned<String>, key: &str) -> PathBuf {
        let file = self.folder.join(path.get_ref());
        if !file.is_file() {
            self.wrong(path, key, format!("no such file: {}", file.display()));
        }
        file
    }

    fn address(&mut self, text: &Spanned<String>, key: &str) -> SocketAddr {
        text.get_ref().parse().unwrap_or_else(|_| {
            self.wrong(text, key, "not an address; write IP:PORT, e.g. \"127.0.0.1:2575\" (port 0: one that is free)");
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn url(&mut self, text: &Spanned<String>, key: &str) -> String {
        let url = text.get_ref();
        let rest = url.strip_prefix("https://").unwrap_or_default();
        if rest.is_empty() || url.contains(['?', '#', ' ']) {
            self.wrong(text, key, "not an absolute https URL without query");
        }
        url.trim_end_matches('/').to_owned()
    }
}
