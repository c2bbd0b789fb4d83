//! From the configuration as written to what it means, with each value checked and names checked against one another.

use super::written::{Page, Section, Word};
use super::{
    ADAPTERS, ALGORITHMS, CONNECTIONS_MAX, Config, FRAME_BYTES_MAX, FRAME_SECONDS_MAX, Feed, Files, Https, Issuer, Limits, Listener, Mllp,
    QUARANTINE_FRAMES_MAX, RELAY_REFUSALS_MAX, RELAY_REPLY_SECONDS_MAX, RELAY_SPOOL_BYTES_MAX, Relay, RelayMode, Reply, Tls,
};
use crate::mllp::{self, host};
use contract::{Party, Sequence};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

pub fn config(page: &Page, root: &Section, file: &Path, files: Files) -> Config {
    let reader = Reader { page, folder: file.parent().unwrap_or(Path::new(".")), files };
    let (store, keys, audit, https, observe) =
        (root.section("store"), root.section("keys"), root.section("audit"), root.section("https"), root.section("observe"));
    reader.one_of(store.text("engine"), &["sqlite"]);
    let limits = root.section_if_any("limits");
    let config = Config {
        file: file.to_owned(),
        store_directory: reader.path(store.text("directory")),
        id_key: reader.file(keys.text("id")),
        seal_key: reader.file(keys.text("seal")),
        seals: reader.path(audit.text("seals")),
        https: reader.https(&https),
        mllp: root.named("mllp").into_iter().map(|(name, section)| (name, reader.mllp(&section))).collect(),
        feeds: BTreeMap::new(),
        issuers: reader.issuers(root.list("issuer")),
        observe: reader.address(observe.text("listen")),
        limits: reader.limits(&limits),
    };
    let feeds = reader.feeds(root.named("feed"), &config.mllp);
    reader.spool(&limits, &feeds);
    Config { feeds, ..config }
}

struct Reader<'p> {
    page: &'p Page,
    folder: &'p Path,
    files: Files,
}

type Text = Option<Word<String>>;

impl Reader<'_> {
    fn https(&self, section: &Section) -> Https {
        let tls = match section.section_or_text("tls") {
            Ok(tls) => self.tls(&tls),
            Err(word) => {
                self.page.wrong(&word, "HTTPS is never plain; write { certificate = \"...\", key = \"...\", client_ca = \"...\" }");
                Tls { certificate: PathBuf::new(), key: PathBuf::new(), client_ca: PathBuf::new(), client_crl: None }
            }
        };
        let proxies = self.networks(section.texts_if_any("proxies"));
        Https { listen: self.address(section.text("listen")), base_url: self.url(section.text("base_url")), tls, proxies }
    }

    fn mllp(&self, section: &Section) -> Mllp {
        let tls = match section.section_or_text("tls") {
            Ok(tls) => Some(self.tls(&tls)),
            Err(word) => {
                if word.value != "none" {
                    let reason = "write { certificate = \"...\", key = \"...\", client_ca = \"...\" }, or \"none\" for a plain listener";
                    self.page.wrong(&word, reason);
                }
                None
            }
        };
        Mllp { listen: self.address(section.text("listen")), tls, proxies: self.networks(section.texts_if_any("proxies")) }
    }

    fn tls(&self, section: &Section) -> Tls {
        Tls {
            certificate: self.file(section.text("certificate")),
            key: self.file(section.text("key")),
            client_ca: self.file(section.text("client_ca")),
            client_crl: section.text_if_any("client_crl").map(|word| self.file(Some(word))),
        }
    }

    fn feeds(&self, sections: Vec<(String, Section)>, listeners: &BTreeMap<String, Mllp>) -> BTreeMap<String, Feed> {
        let mut feeds: BTreeMap<String, Feed> = BTreeMap::new();
        for (name, section) in sections {
            let feed = self.feed(&name, &section, listeners);
            if let Some(twin) = feeds.values().find(|other| overlap(other, &feed)) {
                let reason = format!("cannot be told from feed.{}: same listener and peer, and senders that overlap", twin.name);
                self.page.wrong(&section.here(), reason);
            }
            if let Some(other) = feeds.values().find(|other| parts_ways(other, &feed)) {
                let reason = format!(
                    "a transparent relay begins before it is known whose message comes: give feed.{}, of the same listener and peer, an equal relay",
                    other.name
                );
                self.page.wrong(&section.here(), reason);
            }
            feeds.insert(name, feed);
        }
        feeds
    }

    fn feed(&self, name: &str, section: &Section, listeners: &BTreeMap<String, Mllp>) -> Feed {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            let reason = "a feed's name stands in URLs and identifiers: use letters, digits, '-' and '_'";
            self.page.wrong(&section.here(), reason);
        }
        let listener = section.text("listener").and_then(|word| self.listener(&word, listeners));
        let assigners = section.named_texts("assigners");
        for (_, system) in &assigners {
            if !system.value.contains(':') || system.value.contains(char::is_whitespace) {
                self.page.wrong(system, "an identifier system is a URI, e.g. \"https://hospital.example/id/mrn\"");
            }
        }
        let primary_assigner = section.text_if_any("primary_assigner");
        if let Some(primary) = &primary_assigner {
            if primary.value.contains(':') {
                self.page.wrong(primary, "an assigner alone: of its numbers the MR one is the key");
            } else if !assigners.iter().any(|(name, _)| *name == primary.value) {
                self.page.wrong(primary, "not one of `assigners`: add it there with its identifier system");
            }
        }
        let accepts = section.texts("accepts");
        if let Some(accepts) = &accepts
            && (accepts.value.is_empty() || accepts.value.iter().any(|word| word.value.is_empty()))
        {
            self.page.wrong(accepts, "nothing would be accepted; write types such as \"ADT\", \"ADT^A01\", \"CDA\", \"FHIR^Bundle\"");
        }
        for word in accepts.iter().flat_map(|accepts| &accepts.value).filter(|word| !word.value.is_empty() && !is_type(&word.value)) {
            self.page
                .wrong(word, format!("{:?} is no message type; write e.g. \"ADT\", \"ADT^A01\", \"CDA\", \"FHIR^Bundle\"", word.value));
        }
        let owns = section.texts_if_any("owns");
        for kind in &owns {
            if !resource_types().contains(kind.value.as_str()) {
                self.page.wrong(kind, format!("{:?} is no resource type of FHIR R4; write e.g. \"Patient\"", kind.value));
            }
        }
        let character_set = section.text_if_any("character_set");
        if let Some(name) = &character_set
            && hl7v2::charset::by_name(&name.value).is_none()
        {
            self.page
                .wrong(name, "unknown character set; write a name of HL7 table 0211, e.g. \"8859/1\", \"UNICODE UTF-8\", or an IANA name");
        }
        let adapter = self.one_of(section.text("adapter"), &ADAPTERS);
        if adapter.as_deref() == Some("fhir")
            && let Some(word) = section.text_if_any("listener").filter(|word| word.value != "https")
        {
            self.page.wrong(&word, "FHIR comes over HTTPS, and has no acknowledgement for MLLP; write \"https\"");
        }
        let relay =
            section.section_where_given("relay").map(|relay| self.relay(&relay, adapter.as_deref().unwrap_or_default(), listener.as_ref()));
        let sequence = self.one_of(section.text_if_any("sequence"), &["control-id", "MSH-13"]);
        Feed {
            name: name.to_owned(),
            peer: self.peer(section, listener.as_ref(), listeners),
            listener: listener.unwrap_or(Listener::Https),
            adapter: adapter.clone().unwrap_or_default(),
            sender: self.party(&section.section_if_any("sender")),
            receiver: self.party(&section.section_if_any("receiver")),
            timezone: self.timezone(section.text_if_any("timezone")),
            primary_assigner: primary_assigner.map(|word| word.value),
            assigners: assigners.into_iter().map(|(name, system)| (name, system.value)).collect(),
            accepts: values(accepts.map(|word| word.value).unwrap_or_default()),
            owns: values(owns),
            reply: self.reply(&section.section_if_any("reply"), adapter.as_deref()),
            sequence: sequence.map(|word| if word == "MSH-13" { Sequence::Msh13 } else { Sequence::ControlId }),
            visit_assigners: values(section.texts_if_any("visit_assigners")),
            character_set: character_set.map(|word| word.value),
            relay,
        }
    }

    fn relay(&self, section: &Section, adapter: &str, listener: Option<&Listener>) -> Relay {
        let to = section.text("to");
        if let Some(to) = &to
            && host(&to.value).is_none()
        {
            self.page.wrong(to, "not HOST:PORT; write e.g. \"engine.hospital.example:2575\"");
        }
        if !matches!(adapter, "" | "hl7v2") {
            self.page.wrong(&section.here(), "only HL7 v2 is passed on by MLLP: remove it, or use the adapter \"hl7v2\"");
        }
        let mode = section.text("mode");
        if let Some(mode) = &mode
            && mode.value == "transparent"
            && listener == Some(&Listener::Https)
        {
            self.page.wrong(mode, "HTTPS cannot be passed on as MLLP; write \"after-commit\"");
        }
        let mode = self.one_of(mode, &["after-commit", "transparent"]);
        let files = match section.section_or_text("tls") {
            Ok(tls) => self.relay_files(&tls),
            Err(word) => {
                if word.value != "none" {
                    let reason = "write { ca = \"...\", certificate = \"...\", key = \"...\" }, or \"none\" for a plain line";
                    self.page.wrong(&word, reason);
                }
                mllp::Files::default()
            }
        };
        Relay {
            to: to.map(|word| word.value).unwrap_or_default(),
            mode: if mode.as_deref() == Some("transparent") { RelayMode::Transparent } else { RelayMode::AfterCommit },
            files,
            refusals: self.limit(section, "refusals", RELAY_REFUSALS_MAX, 1000),
            reply_time: Duration::from_secs(self.limit(section, "reply_seconds", RELAY_REPLY_SECONDS_MAX, 3600)),
        }
    }

    fn relay_files(&self, section: &Section) -> mllp::Files {
        let any = |name| section.text_if_any(name).map(|word| self.file(Some(word)));
        let files = mllp::Files {
            ca: Some(self.file(section.text("ca"))),
            certificate: any("certificate"),
            key: any("key"),
            server_name: section.text_if_any("server_name").map(|word| word.value),
        };
        if files.certificate.is_some() != files.key.is_some() {
            self.page.wrong(&section.here(), "certificate and key belong together: write both, or neither");
        }
        files
    }

    fn listener(&self, word: &Word<String>, listeners: &BTreeMap<String, Mllp>) -> Option<Listener> {
        if word.value == "https" {
            return Some(Listener::Https);
        }
        let known = word.value.strip_prefix("mllp.").filter(|name| listeners.contains_key(*name));
        if known.is_none() {
            let mut names = vec!["\"https\"".to_owned()];
            names.extend(listeners.keys().map(|name| format!("\"mllp.{name}\"")));
            self.page.wrong(word, format!("no such listener; write {}", names.join(" or ")));
        }
        known.map(|name| Listener::Mllp(name.to_owned()))
    }

    fn peer(&self, section: &Section, listener: Option<&Listener>, listeners: &BTreeMap<String, Mllp>) -> Option<String> {
        let peer = section.text_if_any("peer");
        let plain = matches!(listener, Some(Listener::Mllp(name)) if listeners[name].tls.is_none());
        match &peer {
            None if listener.is_some() && !plain => {
                let Word { key, line, .. } = section.here();
                let here = Word { value: (), key: format!("{key}.peer"), line };
                self.page.wrong(&here, "missing; write the DNS name in the sender's client certificate");
            }
            Some(peer) if plain => self.page.wrong(peer, "a plain listener cannot prove a peer: remove it, or give the listener tls"),
            Some(peer) if peer.value.is_empty() => {
                self.page.wrong(peer, "empty; write the DNS name in the sender's client certificate");
            }
            _ => {}
        }
        peer.map(|peer| peer.value.to_ascii_lowercase())
    }

    fn party(&self, section: &Section) -> Party {
        let part = |name| section.text_if_any(name).map(|word| word.value).unwrap_or_default();
        Party { application: part("application"), facility: part("facility") }
    }

    fn timezone(&self, word: Text) -> TimeZone {
        let Some(word) = word else { return TimeZone::UTC };
        TimeZone::get(&word.value).unwrap_or_else(|_| {
            self.page.wrong(&word, "unknown time zone; write an IANA name such as \"Europe/London\"");
            TimeZone::UTC
        })
    }

    fn reply(&self, section: &Section, adapter: Option<&str>) -> Reply {
        let code = |name, default: &str| self.one_of(section.text_if_any(name), &["AA", "AE", "AR"]).unwrap_or_else(|| default.to_owned());
        // Never "AA": nothing is acknowledged before it is durable.
        let transient = self.one_of(section.text_if_any("transient"), &["close", "AE", "AR"]);
        // Who speaks FHIR can mend it and send it again; an HL7 v2 sender would stop at it.
        let kept = if adapter == Some("fhir") { "AE" } else { "AA" };
        Reply {
            malformed: code("malformed", "AE"),
            unsupported: code("unsupported", kept),
            untranslatable: code("untranslatable", kept),
            held: code("held", "AA"),
            forbidden: code("forbidden", "AR"),
            transient: transient.filter(|word| word != "close"),
        }
    }

    fn issuers(&self, sections: Vec<Section>) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for section in sections {
            let word = section.text("issuer");
            if let Some(word) = &word
                && (word.value.is_empty() || issuers.iter().any(|other| other.issuer == word.value))
            {
                self.page.wrong(word, "each issuer has one section; write its name exactly as in its tokens (`iss`)");
            }
            let audience = section.text("audience");
            if let Some(audience) = &audience
                && audience.value.is_empty()
            {
                self.page.wrong(audience, "empty; write the value that its tokens carry in `aud`");
            }
            let algorithms = section.texts("algorithms");
            if let Some(algorithms) = &algorithms
                && (algorithms.value.is_empty() || algorithms.value.iter().any(|word| !ALGORITHMS.contains(&word.value.as_str())))
            {
                let reason = format!("write some of {}; `none` and HMAC are never accepted", ALGORITHMS.join(", "));
                self.page.wrong(algorithms, reason);
            }
            let endpoint = section.text_if_any("authorization_endpoint");
            issuers.push(Issuer {
                issuer: word.map(|word| word.value).unwrap_or_default(),
                audience: audience.map(|word| word.value).unwrap_or_default(),
                jwks: self.file(section.text("jwks")),
                algorithms: values(algorithms.map(|word| word.value).unwrap_or_default()),
                token_endpoint: self.url(section.text("token_endpoint")),
                authorization_endpoint: endpoint.map(|word| self.url(Some(word))),
            });
        }
        issuers
    }

    fn limits(&self, section: &Section) -> Limits {
        let limit = |name, default, max| self.limit(section, name, default, max);
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Limits {
            frame_bytes: count(limit("frame_bytes", FRAME_BYTES_MAX, 1 << 30)),
            connections: count(limit("connections", CONNECTIONS_MAX, 1 << 20)),
            frame_time: Duration::from_secs(limit("frame_seconds", FRAME_SECONDS_MAX, 3600)),
            quarantine_frames: limit("quarantine_frames", QUARANTINE_FRAMES_MAX, 1 << 40),
            connection_age: match limit("connection_seconds", 0, 1 << 32) {
                0 => None,
                seconds => Some(Duration::from_secs(seconds)),
            },
        }
    }

    /// Every message that a transparent relay lets through fits in its spool.
    fn spool(&self, limits: &Section, feeds: &BTreeMap<String, Feed>) {
        if let Some(feed) = feeds.values().find(|feed| feed.relays(RelayMode::Transparent).is_some())
            && let Some(word) = limits.number_if_any("frame_bytes").filter(|word| word.value > RELAY_SPOOL_BYTES_MAX)
        {
            let reason = format!(
                "feed.{} has a transparent relay, beside which no larger message than {RELAY_SPOOL_BYTES_MAX} bytes can be kept; write \
                 {RELAY_SPOOL_BYTES_MAX} or less, or let that feed pass on with mode = \"after-commit\"",
                feed.name
            );
            self.page.wrong(&word, reason);
        }
    }

    fn limit(&self, section: &Section, name: &'static str, default: u64, max: u64) -> u64 {
        match section.number_if_any(name) {
            Some(word) if (1..=max).contains(&word.value) => word.value,
            Some(word) => {
                self.page.wrong(&word, format!("out of range; write a number from 1 to {max}"));
                default
            }
            None => default,
        }
    }

    /// A word of a closed list.
    fn one_of(&self, word: Text, known: &[&str]) -> Option<String> {
        let word = word?;
        if known.contains(&word.value.as_str()) {
            return Some(word.value);
        }
        let names = known.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
        self.page.wrong(&word, format!("not known; write {names}"));
        None
    }

    fn path(&self, word: Text) -> PathBuf {
        word.map(|word| self.folder.join(word.value)).unwrap_or_default()
    }

    /// A file that must be there.
    fn file(&self, word: Text) -> PathBuf {
        let Some(word) = word else { return PathBuf::new() };
        let file = self.folder.join(&word.value);
        if self.files == Files::Needed && !file.is_file() {
            self.page.wrong(&word, format!("no such file: {}", file.display()));
        }
        file
    }

    fn address(&self, word: Text) -> SocketAddr {
        let parsed = word.as_ref().and_then(|word| word.value.parse().ok());
        if let (Some(word), None) = (&word, parsed) {
            self.page.wrong(word, "not an address; write IP:PORT, e.g. \"127.0.0.1:2575\" (port 0: one that is free)");
        }
        parsed.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn networks(&self, words: Vec<Word<String>>) -> Vec<IpNet> {
        let network = |word: &Word<String>| {
            let parsed = word.value.parse::<IpNet>().or_else(|_| word.value.parse::<IpAddr>().map(IpNet::from));
            parsed.map_err(|_| self.page.wrong(word, "not a network; write ADDRESS/BITS, e.g. \"10.20.0.0/16\", or an address")).ok()
        };
        words.iter().filter_map(network).collect()
    }

    fn url(&self, word: Text) -> String {
        let Some(word) = word else { return String::new() };
        let rest = word.value.strip_prefix("https://").unwrap_or_default();
        if rest.is_empty() || word.value.contains(['?', '#', ' ']) {
            self.page.wrong(&word, "not an absolute https URL without query, e.g. \"https://fhir.hospital.example/fhir\"");
        }
        word.value.trim_end_matches('/').to_owned()
    }
}

fn values<C: FromIterator<String>>(words: Vec<Word<String>>) -> C {
    words.into_iter().map(|word| word.value).collect()
}

/// `ADT`, `ADT^A01`, `CDA`, `FHIR`, `FHIR^Bundle`.
fn is_type(word: &str) -> bool {
    if let Some(rest) = word.strip_prefix("FHIR") {
        let kind = rest.strip_prefix('^').unwrap_or("Bundle");
        return rest.is_empty() || kind == "Bundle" || resource_types().contains(kind);
    }
    let three = |part: &str| part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    match word.split_once('^') {
        Some((code, event)) => three(code) && three(event),
        None => three(word),
    }
}

/// Those that R4 has search parameters for: all but a few that nobody owns.
fn resource_types() -> &'static BTreeSet<String> {
    static TYPES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let tables = schemas::Tables::embedded("r4");
        let table = tables.get("search").unwrap_or_default();
        table.lines().skip(1).filter_map(|line| line.split_once(',')).map(|(kind, _)| kind.to_owned()).collect()
    });
    &TYPES
}

/// Whether a message could be of either feed. (Over HTTPS the URL names the feed.)
fn overlap(one: &Feed, other: &Feed) -> bool {
    let meet = |one: &str, other: &str| one.is_empty() || other.is_empty() || one == other;
    one.listener == other.listener
        && one.listener != Listener::Https
        && one.peer == other.peer
        && meet(&one.sender.application, &other.sender.application)
        && meet(&one.sender.facility, &other.sender.facility)
}

/// Whether two feeds come by one connection, and only one of them, or each to another place, is to be passed on as it comes.
fn parts_ways(one: &Feed, other: &Feed) -> bool {
    let transparent = |feed: &Feed| feed.relays(RelayMode::Transparent).is_some();
    one.listener == other.listener
        && one.listener != Listener::Https
        && one.peer == other.peer
        && (transparent(one) || transparent(other))
        && one.relay != other.relay
}
