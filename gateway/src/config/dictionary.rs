//! Every key of the configuration: what it means, what it may be, what holds without it. `config explain` prints it, the
//! JSON Schema is made of it ([`schema`]), and the tests try each key on the reader: a key that is read and not described
//! here, or described otherwise than it is read, fails them.

mod schema;
#[cfg(test)]
mod tests;

pub use schema::schema;

use super::written::slips;
use super::{
    ADAPTERS, ALGORITHMS, CONNECTIONS_MAX, FRAME_BYTES_MAX, FRAME_SECONDS_MAX, QUARANTINE_FRAMES_MAX, RELAY_REFUSALS_MAX,
    RELAY_REPLY_SECONDS_MAX,
};
use std::fmt;

pub struct Key {
    /// `NAME` stands for a name that the operator chooses, `[]` for each table of a list.
    pub path: &'static str,
    pub kind: Kind,
    pub need: Need,
    pub meaning: &'static str,
    /// A value, as TOML.
    pub example: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// From 1 to this.
    Number(u64),
    Texts,
    /// Some of these texts.
    SomeOf(&'static [&'static str]),
    /// Texts under names that the operator chooses.
    NamedTexts,
    Table,
    /// A table, or this text in its place.
    TableOr(&'static str),
    /// Tables under names that the operator chooses.
    NamedTables,
    Tables,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Required,
    /// What holds without it, and why that.
    Default(Preset, &'static str),
    /// What it means that it is not there.
    Optional(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    Text(&'static str),
    Number(u64),
}

const REPLIES: &[&str] = &["AA", "AE", "AR"];
const KEPT_AND_REPLAYED: &str = "it is kept, and can be mended and replayed; AE or AR make many senders go on without sending it again. Who speaks FHIR can mend it: there it is AE";

const fn key(path: &'static str, kind: Kind, need: Need, meaning: &'static str, example: &'static str) -> Key {
    Key { path, kind, need, meaning, example }
}

/// In the order of a configuration file.
pub const KEYS: &[Key] = &[
    key("store", Kind::Table, Need::Required, "Where what was taken is kept.", "{ engine = \"sqlite\", directory = \"data\" }"),
    key(
        "store.engine",
        Kind::OneOf(&["sqlite"]),
        Need::Required,
        "The engine of the store. sqlite is embedded: one gateway writes to it, commands read beside it.",
        "\"sqlite\"",
    ),
    key(
        "store.directory",
        Kind::Text,
        Need::Required,
        "The folder of the store; it is made if it is not there. landbridge.db: journal, resources, index; access.db: the audit of reads. Not on a network file system.",
        "\"data\"",
    ),
    key("keys", Kind::Table, Need::Required, "The keys of this installation.", "{ id = \"keys/id.key\", seal = \"keys/seal.key\" }"),
    key(
        "keys.id",
        Kind::Text,
        Need::Required,
        "File of the key that resource ids are made with: at least 32 hexadecimal digits. Back it up together with the store and never change it: other ids would be other resources.",
        "\"keys/id.key\"",
    ),
    key(
        "keys.seal",
        Kind::Text,
        Need::Required,
        "File of the Ed25519 private key (PEM) that signs the audit's seals. Its public half, beside it as .pub, is what an auditor needs.",
        "\"keys/seal.key\"",
    ),
    key("audit", Kind::Table, Need::Required, "The audit of all crossings.", "{ seals = \"data/seals.ndjson\" }"),
    key(
        "audit.seals",
        Kind::Text,
        Need::Required,
        "The file, or pipe, to which each seal of the audit is appended too. On another disk or machine, so that whoever alters the store cannot alter the seals.",
        "\"/mnt/audit/seals.ndjson\"",
    ),
    key(
        "https",
        Kind::Table,
        Need::Required,
        "The door of clinical apps (FHIR), and of senders that speak HTTPS (POST /ingest/FEED).",
        "{ listen = \"127.0.0.1:8443\", base_url = \"https://localhost:8443/fhir\", tls = { certificate = \"tls/server.pem\", key = \"tls/server.key\", client_ca = \"tls/clients-ca.pem\" } }",
    ),
    key("https.listen", Kind::Text, Need::Required, "Address and port. Port 0: one that is free.", "\"0.0.0.0:8443\""),
    key(
        "https.base_url",
        Kind::Text,
        Need::Required,
        "What apps call, as they reach it; stands in every link.",
        "\"https://fhir.hospital.example/fhir\"",
    ),
    key(
        "https.tls",
        Kind::Table,
        Need::Required,
        "TLS of this door, which is never plain. A client certificate is asked for, and a wrong one refused.",
        "{ certificate = \"tls/server.pem\", key = \"tls/server.key\", client_ca = \"tls/clients-ca.pem\" }",
    ),
    key(
        "https.tls.certificate",
        Kind::Text,
        Need::Required,
        "File of the server's certificate with its chain (PEM).",
        "\"tls/server.pem\"",
    ),
    key("https.tls.key", Kind::Text, Need::Required, "File of the certificate's private key (PEM).", "\"tls/server.key\""),
    key(
        "https.tls.client_ca",
        Kind::Text,
        Need::Required,
        "File of the authorities whose client certificates are believed (PEM).",
        "\"tls/clients-ca.pem\"",
    ),
    key(
        "https.tls.client_crl",
        Kind::Text,
        Need::Optional("certificates are not looked up in revocation lists"),
        "File of the revocation lists (PEM) of client certificates. Each authority of a chain must be in it, and in date: an unknown status is refused, and a connection whose certificate is taken back ends.",
        "\"tls/clients.crl.pem\"",
    ),
    key(
        "https.proxies",
        Kind::Texts,
        Need::Optional("whoever connects is the client"),
        "Networks of the load balancers in front of this door, which tell by PROXY protocol v2 whose connection they pass on. Then nobody comes past them.",
        "[\"10.20.0.0/16\"]",
    ),
    key(
        "mllp",
        Kind::NamedTables,
        Need::Optional("no door for HL7 v2 over MLLP"),
        "The doors of HL7 v2 senders, each under a name.",
        "{ main = { listen = \"127.0.0.1:2575\", tls = \"none\" } }",
    ),
    key("mllp.NAME.listen", Kind::Text, Need::Required, "Address and port. Port 0: one that is free.", "\"0.0.0.0:2575\""),
    key(
        "mllp.NAME.tls",
        Kind::TableOr("none"),
        Need::Required,
        "TLS of this door; a client certificate is demanded. \"none\" opens a plain door instead: anyone on the network between can read along and send as its feeds, and the gateway says so for as long as it stands.",
        "{ certificate = \"tls/server.pem\", key = \"tls/server.key\", client_ca = \"tls/clients-ca.pem\" }",
    ),
    key(
        "mllp.NAME.tls.certificate",
        Kind::Text,
        Need::Required,
        "File of the server's certificate with its chain (PEM).",
        "\"tls/server.pem\"",
    ),
    key("mllp.NAME.tls.key", Kind::Text, Need::Required, "File of the certificate's private key (PEM).", "\"tls/server.key\""),
    key(
        "mllp.NAME.tls.client_ca",
        Kind::Text,
        Need::Required,
        "File of the authorities whose client certificates are believed (PEM).",
        "\"tls/clients-ca.pem\"",
    ),
    key(
        "mllp.NAME.tls.client_crl",
        Kind::Text,
        Need::Optional("certificates are not looked up in revocation lists"),
        "File of the revocation lists (PEM) of client certificates. Each authority of a chain must be in it, and in date: an unknown status is refused, and a connection whose certificate is taken back ends.",
        "\"tls/clients.crl.pem\"",
    ),
    key(
        "mllp.NAME.proxies",
        Kind::Texts,
        Need::Optional("whoever connects is the client"),
        "Networks of the load balancers in front of this door, which tell by PROXY protocol v2 whose connection they pass on. Then nobody comes past them.",
        "[\"10.20.0.0/16\"]",
    ),
    key(
        "feed",
        Kind::NamedTables,
        Need::Optional("nothing is taken in"),
        "One section for each sender, under a name of letters, digits, '-' and '_'. A message is taken only from the connection, in the name, for the receiver, and of the types that stand there.",
        "{ old = { listener = \"mllp.old\", adapter = \"hl7v2\", accepts = [\"ADT\"] } }",
    ),
    key("feed.NAME.listener", Kind::Text, Need::Required, "The door that this sender uses: \"https\", or \"mllp.NAME\".", "\"mllp.main\""),
    key(
        "feed.NAME.adapter",
        Kind::OneOf(&ADAPTERS),
        Need::Required,
        "The dialect that this sender speaks. fhir comes over HTTPS alone.",
        "\"hl7v2\"",
    ),
    key(
        "feed.NAME.peer",
        Kind::Text,
        Need::Optional("needed on every door with TLS; on a plain door nobody can be proven"),
        "Who may send as this feed: the DNS name in the client certificate's SAN, or over HTTPS the client of a token with the scope ingest.",
        "\"pas.hospital.example\"",
    ),
    key(
        "feed.NAME.sender",
        Kind::Table,
        Need::Optional("any name fits"),
        "Who the messages must say they are from (MSH-3, MSH-4).",
        "{ application = \"PAS\", facility = \"RXX\" }",
    ),
    key("feed.NAME.sender.application", Kind::Text, Need::Optional("any fits"), "MSH-3.1 of its messages.", "\"PAS\""),
    key("feed.NAME.sender.facility", Kind::Text, Need::Optional("any fits"), "MSH-4.1 of its messages.", "\"RXX\""),
    key(
        "feed.NAME.receiver",
        Kind::Table,
        Need::Optional("any name fits"),
        "Whom the messages must be addressed to (MSH-5, MSH-6): what was meant for another system is not taken.",
        "{ application = \"LANDBRIDGE\", facility = \"RXX\" }",
    ),
    key("feed.NAME.receiver.application", Kind::Text, Need::Optional("any fits"), "MSH-5.1 of its messages.", "\"LANDBRIDGE\""),
    key("feed.NAME.receiver.facility", Kind::Text, Need::Optional("any fits"), "MSH-6.1 of its messages.", "\"RXX\""),
    key(
        "feed.NAME.timezone",
        Kind::Text,
        Need::Default(Preset::Text("UTC"), "never the machine's zone: answers must not depend on where the gateway runs"),
        "Zone of the times in its messages that state none: an IANA name.",
        "\"Europe/London\"",
    ),
    key(
        "feed.NAME.primary_assigner",
        Kind::Text,
        Need::Optional("the adapter's own choice among the assigners"),
        "Whose number is the patient's key: one of assigners.",
        "\"RXX\"",
    ),
    key(
        "feed.NAME.assigners",
        Kind::NamedTexts,
        Need::Optional("this feed speaks for no patient, visit or report"),
        "Who assigned a number, as the sender writes its assigning authority (or an OID), and the identifier system that this is in FHIR. One authority that numbers several things is told apart by the number's type or its field: \"RXX:VN\", \"RXX:PV1-19\".",
        "{ RXX = \"https://hospital.example/id/mrn\" }",
    ),
    key(
        "feed.NAME.accepts",
        Kind::Texts,
        Need::Required,
        "The message types that it may send: \"ADT\", \"ADT^A01\", \"ORU\", \"CDA\", \"FHIR\", \"FHIR^Bundle\".",
        "[\"ADT\", \"ORU^R01\"]",
    ),
    key(
        "feed.NAME.owns",
        Kind::Texts,
        Need::Optional("it outranks no other feed"),
        "Resource types where this feed outranks others.",
        "[\"Patient\", \"Encounter\"]",
    ),
    key(
        "feed.NAME.reply",
        Kind::Table,
        Need::Optional("each kind of refusal has its default"),
        "How each kind of refusal is acknowledged. Senders differ in what they make of AE and AR.",
        "{ malformed = \"AR\" }",
    ),
    key(
        "feed.NAME.reply.malformed",
        Kind::OneOf(REPLIES),
        Need::Default(Preset::Text("AE"), "the standard's code for an error of content or format"),
        "A message that cannot be read.",
        "\"AR\"",
    ),
    key(
        "feed.NAME.reply.unsupported",
        Kind::OneOf(REPLIES),
        Need::Default(Preset::Text("AA"), KEPT_AND_REPLAYED),
        "A message of a type that no table translates. Of a feed that speaks FHIR it is AE without the key: its sender can mend it and send it again.",
        "\"AR\"",
    ),
    key(
        "feed.NAME.reply.untranslatable",
        Kind::OneOf(REPLIES),
        Need::Default(Preset::Text("AA"), KEPT_AND_REPLAYED),
        "A message that the tables cannot translate. Of a feed that speaks FHIR it is AE without the key: its sender can mend it and send it again.",
        "\"AE\"",
    ),
    key(
        "feed.NAME.reply.held",
        Kind::OneOf(REPLIES),
        Need::Default(Preset::Text("AA"), KEPT_AND_REPLAYED),
        "A message that waits for a person: not of production (MSH-11), or with identifiers that contradict one another.",
        "\"AR\"",
    ),
    key(
        "feed.NAME.reply.forbidden",
        Kind::OneOf(REPLIES),
        Need::Default(Preset::Text("AR"), "the standard's code for a cause that lies not in the content"),
        "A message that this sender may not send.",
        "\"AE\"",
    ),
    key(
        "feed.NAME.reply.transient",
        Kind::OneOf(&["close", "AE", "AR"]),
        Need::Default(Preset::Text("close"), "most senders send again what was not answered, and hold a negative answer for the end of it"),
        "A message that cannot be stored now. \"close\": no reply, the line is closed. Never AA: nothing is acknowledged before it is durable.",
        "\"AE\"",
    ),
    key(
        "feed.NAME.sequence",
        Kind::OneOf(&["control-id", "MSH-13"]),
        Need::Optional("messages rank by their times alone"),
        "Only where this sender counts its messages: by the control id (MSH-10) or by MSH-13, which then ranks them.",
        "\"MSH-13\"",
    ),
    key(
        "feed.NAME.visit_assigners",
        Kind::Texts,
        Need::Optional("the number of a visit is what PV1-19 says first"),
        "Only where the numbering of visits changes within a stay: the first of these that a message has wins.",
        "[\"YR_VISIT\", \"VISITID\"]",
    ),
    key(
        "feed.NAME.character_set",
        Kind::Text,
        Need::Optional("ASCII, as the standard has it, and UTF-8 where the bytes are that"),
        "Character set of messages that declare none in MSH-18: a name of HL7 table 0211, or an IANA name.",
        "\"8859/1\"",
    ),
    key(
        "feed.NAME.relay",
        Kind::Table,
        Need::Optional("what this sender sends ends here"),
        "The next hop, to which the original bytes of this feed's messages are passed on by MLLP. HL7 v2 alone.",
        "{ to = \"engine.hospital.example:2575\", mode = \"after-commit\", tls = \"none\" }",
    ),
    key("feed.NAME.relay.to", Kind::Text, Need::Required, "Host and port of the next hop.", "\"engine.hospital.example:2575\""),
    key(
        "feed.NAME.relay.mode",
        Kind::OneOf(&["after-commit", "transparent"]),
        Need::Required,
        "\"after-commit\": durable first, our acknowledgement, then passed on in order. \"transparent\": the sender gets the next hop's own acknowledgement, byte by byte; what was said is kept beside it, and our trouble never stops it.",
        "\"transparent\"",
    ),
    key(
        "feed.NAME.relay.tls",
        Kind::TableOr("none"),
        Need::Required,
        "The authority that the next hop's certificate is of, and the certificate that is shown to it; \"none\" for a plain line.",
        "\"none\"",
    ),
    key(
        "feed.NAME.relay.tls.ca",
        Kind::Text,
        Need::Required,
        "File of the certificate authorities (PEM) that the next hop's certificate may be of.",
        "\"tls/engine-ca.pem\"",
    ),
    key(
        "feed.NAME.relay.tls.certificate",
        Kind::Text,
        Need::Optional("none is shown to the next hop"),
        "File of the certificate (PEM) that is shown to the next hop, with `key`.",
        "\"tls/gateway.pem\"",
    ),
    key(
        "feed.NAME.relay.tls.key",
        Kind::Text,
        Need::Optional("none is shown to the next hop"),
        "File of the private key (PEM) of `certificate`.",
        "\"tls/gateway.key\"",
    ),
    key(
        "feed.NAME.relay.tls.server_name",
        Kind::Text,
        Need::Optional("the host in `to`"),
        "The name that the next hop's certificate must have, where it is another than its host.",
        "\"engine.hospital.example\"",
    ),
    key(
        "feed.NAME.relay.refusals",
        Kind::Number(1000),
        Need::Default(Preset::Number(RELAY_REFUSALS_MAX), "a receiver that refuses a message thrice refuses it always"),
        "After so many refusals (AE, AR) by the next hop a message is a dead letter, and the next one is passed on.",
        "3",
    ),
    key(
        "feed.NAME.relay.reply_seconds",
        Kind::Number(3600),
        Need::Default(Preset::Number(RELAY_REPLY_SECONDS_MAX), "slow receivers take half a minute"),
        "How long the next hop may take to acknowledge a message.",
        "60",
    ),
    key(
        "issuer",
        Kind::Tables,
        Need::Optional("no token is believed, so nobody reads"),
        "Whose tokens are believed, a section for each.",
        "[]",
    ),
    key("issuer[].issuer", Kind::Text, Need::Required, "Its name exactly as in its tokens (iss).", "\"https://idp.hospital.example\""),
    key(
        "issuer[].audience",
        Kind::Text,
        Need::Required,
        "What its tokens for this gateway carry in aud.",
        "\"https://fhir.hospital.example/fhir\"",
    ),
    key(
        "issuer[].jwks",
        Kind::Text,
        Need::Required,
        "File of its public keys, a JWK Set (RFC 7517). It is read again at SIGHUP.",
        "\"keys/issuer.jwks.json\"",
    ),
    key(
        "issuer[].algorithms",
        Kind::SomeOf(&ALGORITHMS),
        Need::Required,
        "The signature algorithms that its tokens may have. none and HMAC are never accepted.",
        "[\"ES256\", \"RS256\"]",
    ),
    key(
        "issuer[].token_endpoint",
        Kind::Text,
        Need::Required,
        "Where apps get tokens; told to them by smart-configuration.",
        "\"https://idp.hospital.example/token\"",
    ),
    key(
        "issuer[].authorization_endpoint",
        Kind::Text,
        Need::Optional("apps are told of no login of persons"),
        "Where apps send a person to log in; told to them by smart-configuration.",
        "\"https://idp.hospital.example/authorize\"",
    ),
    key(
        "observe",
        Kind::Table,
        Need::Required,
        "The operators' door: /livez /readyz /metrics. It is plain and holds no patient data.",
        "{ listen = \"127.0.0.1:9464\" }",
    ),
    key("observe.listen", Kind::Text, Need::Required, "Address and port. Port 0: one that is free.", "\"127.0.0.1:9464\""),
    key(
        "limits",
        Kind::Table,
        Need::Optional("each limit has its default"),
        "What a sender or an app may ask of this gateway at most.",
        "{ frame_bytes = 1048576 }",
    ),
    key(
        "limits.frame_bytes",
        Kind::Number(1 << 30),
        Need::Default(Preset::Number(FRAME_BYTES_MAX), "scanned documents in OBX-5 come that large; more is a mistake or an attack"),
        "Bytes of one message. Beside a transparent relay 67108864 at most.",
        "1048576",
    ),
    key(
        "limits.connections",
        Kind::Number(1 << 20),
        Need::Default(Preset::Number(CONNECTIONS_MAX), "each costs memory and a file descriptor"),
        "Connections that one listener holds at once.",
        "256",
    ),
    key(
        "limits.frame_seconds",
        Kind::Number(3600),
        Need::Default(Preset::Number(FRAME_SECONDS_MAX), "a sender that is slower holds memory"),
        "Seconds from the first byte of a message to its last.",
        "30",
    ),
    key(
        "limits.quarantine_frames",
        Kind::Number(1 << 40),
        Need::Default(Preset::Number(QUARANTINE_FRAMES_MAX), "refused messages are kept to be mended, and must not fill the disk"),
        "Messages that one feed may leave waiting in quarantine.",
        "10000",
    ),
    key(
        "limits.connection_seconds",
        Kind::Number(1 << 32),
        Need::Optional("a connection may last for ever"),
        "Seconds after which a connection ends, with the answer in hand. Only new connections find their way to a new replica or address behind a name.",
        "3600",
    ),
];

/// The key of this name, or of this path in a configuration: `feed.pas.timezone`, `issuer[0].jwks`.
pub fn find(path: &str) -> Option<&'static Key> {
    let fits = |key: &&Key| {
        let fits = |(name, asked): (&str, &str)| {
            let list = |name: &str| asked.strip_prefix(name).is_some_and(|at| at.starts_with('[') && at.ends_with(']'));
            name == asked || name == "NAME" && !asked.is_empty() || name.strip_suffix("[]").is_some_and(|name| name == asked || list(name))
        };
        path.split('.').count() == key.path.split('.').count() && key.path.split('.').zip(path.split('.')).all(fits)
    };
    // `feed.NAME` and `issuer[]` are the tables of `feed` and `issuer`.
    let group = |path: &str| {
        KEYS.iter().find(|key| {
            matches!(key.kind, Kind::NamedTables)
                && path.split_once('.').is_some_and(|(group, name)| group == key.path && !name.contains('.'))
        })
    };
    KEYS.iter()
        .find(fits)
        .or_else(|| group(path))
        .or_else(|| KEYS.iter().find(|key| path.split_once('[').is_some_and(|(name, at)| name == key.path && at.ends_with(']'))))
}

/// The keys right below one.
pub fn below(path: &str) -> impl Iterator<Item = &'static Key> {
    let prefixes = [format!("{path}."), format!("{path}.NAME."), format!("{path}[].")];
    KEYS.iter().filter(move |key| {
        prefixes.iter().any(|prefix| key.path.strip_prefix(prefix).is_some_and(|rest| rest != "NAME" && !rest.contains('.')))
    })
}

/// What was probably meant by a name that no key has, the nearest first. Its last words are enough: `timezone`, `tls.key`.
pub fn meant(asked: &str) -> Vec<&'static str> {
    let mut near: Vec<(usize, &str)> = KEYS.iter().filter_map(|key| Some((away(key.path, asked)?, key.path))).collect();
    near.sort();
    // What is written rightly as far as it goes has no slips.
    let exact = near.first().is_some_and(|(slips, _)| *slips == 0);
    near.into_iter().filter(|(slips, _)| !exact || *slips == 0).map(|(_, path)| path).take(SUGGESTIONS_MAX).collect()
}

const SUGGESTIONS_MAX: usize = 5;

fn away(path: &str, asked: &str) -> Option<usize> {
    let bare = |word: &str| word.split('[').next().unwrap_or_default().to_owned();
    let (names, words): (Vec<&str>, Vec<&str>) = (path.rsplit('.').collect(), asked.rsplit('.').collect());
    if words.len() > names.len() {
        return None;
    }
    let pairs = names.iter().zip(words).filter(|(name, _)| **name != "NAME");
    pairs.map(|(name, word)| slips(&bare(word), &bare(name))).sum()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |texts: &[&str]| texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ");
        match self {
            Kind::Text => f.write_str("text"),
            Kind::OneOf(texts) => write!(f, "text, one of {}", quoted(texts)),
            Kind::Number(max) => write!(f, "whole number from 1 to {max}"),
            Kind::Texts => f.write_str("list of texts"),
            Kind::SomeOf(texts) => write!(f, "list of some of {}", quoted(texts)),
            Kind::NamedTexts => f.write_str("table of texts under names of your choice"),
            Kind::Table => f.write_str("table"),
            Kind::TableOr(text) => write!(f, "table, or \"{text}\""),
            Kind::NamedTables => f.write_str("tables under names of your choice"),
            Kind::Tables => f.write_str("list of tables"),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Preset::Text(text) => write!(f, "\"{text}\""),
            Preset::Number(number) => write!(f, "{number}"),
        }
    }
}
