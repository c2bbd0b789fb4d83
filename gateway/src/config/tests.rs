use super::*;

pub(super) const WHOLE: &str = r#"[store]
engine = "sqlite"
directory = "data"
[keys]
id = "Cargo.toml"
seal = "Cargo.toml"
[audit]
seals = "data/seals.ndjson"
[https]
listen = "127.0.0.1:0"
base_url = "https://localhost:8443/fhir/"
tls = { certificate = "Cargo.toml", key = "Cargo.toml", client_ca = "Cargo.toml" }
[mllp.main]
listen = "[::1]:2575"
tls = { certificate = "Cargo.toml", key = "Cargo.toml", client_ca = "Cargo.toml" }
[mllp.old]
listen = "127.0.0.1:2576"
tls = "none"
[feed.pas]
listener = "mllp.main"
adapter = "hl7v2"
peer = "PAS.hospital.example"
sender = { application = "PAS", facility = "RXX" }
receiver = { application = "LANDBRIDGE", facility = "RXX" }
timezone = "Europe/London"
primary_assigner = "RXX"
assigners = { RXX = "https://hospital.example/id/mrn" }
accepts = ["ADT"]
owns = ["Patient"]
reply = { malformed = "AR", transient = "AE" }
[feed.old]
listener = "mllp.old"
adapter = "hl7v2"
accepts = ["ORU^R01"]
[[issuer]]
issuer = "https://idp.hospital.example"
audience = "https://localhost:8443/fhir"
jwks = "Cargo.toml"
algorithms = ["ES256"]
token_endpoint = "https://idp.hospital.example/token"
[observe]
listen = "127.0.0.1:9464"
"#;

pub(super) fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("landbridge.toml")
}

#[test]
fn what_is_written_is_what_is_meant() {
    let config = Config::parse(WHOLE, &file()).unwrap();
    assert_eq!(config.store_directory, file().with_file_name("data"));
    assert_eq!(config.https.base_url, "https://localhost:8443/fhir");
    assert_eq!(config.mllp["main"].tls, Some(config.https.tls.clone()));
    assert_eq!(config.mllp["old"].tls, None);
    let (pas, old) = (&config.feeds["pas"], &config.feeds["old"]);
    assert_eq!(pas.listener, Listener::Mllp("main".into()));
    assert_eq!(pas.peer.as_deref(), Some("pas.hospital.example"));
    assert_eq!(pas.timezone.iana_name(), Some("Europe/London"));
    assert_eq!((pas.reply.malformed.as_str(), pas.reply.held.as_str(), pas.reply.transient.as_deref()), ("AR", "AA", Some("AE")));
    assert_eq!((old.reply.malformed.as_str(), old.reply.transient.as_deref()), ("AE", None));
    assert_eq!(old.peer, None);
    assert_eq!(config.timezone(), TimeZone::UTC, "feeds that do not agree");
    assert_eq!(config.limits.frame_bytes, 16 * 1024 * 1024);
    assert!(!format!("{:?}", pas.settings(&IdKey::demonstration(), "https://x")).is_empty());
}

/// Replaces lines of the whole configuration, and compares the mistakes (line, key) with those expected.
fn check(changes: &[(&str, &str)], expected: &[(usize, &str)]) {
    let mut text = WHOLE.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let mistakes = Config::parse(&text, &file()).err().unwrap_or_default();
    let found: Vec<(usize, &str)> = mistakes.iter().map(|mistake| (mistake.line, mistake.key.as_str())).collect();
    assert_eq!(found, expected, "{changes:?}: {mistakes:?}");
    assert!(mistakes.iter().all(|mistake| !mistake.reason.is_empty()));
}

#[test]
fn each_mistake_is_reported_with_its_line() {
    check(&[], &[]);
    check(&[("engine = \"sqlite\"", "engine = \"oracle\"")], &[(2, "store.engine")]);
    check(&[("directory = \"data\"", "")], &[(1, "store.directory")]);
    check(&[("[store]\nengine = \"sqlite\"\ndirectory = \"data\"\n", "")], &[(0, "store")]);
    check(&[("id = \"Cargo.toml\"", "id = \"keys/missing.key\"")], &[(5, "keys.id")]);
    check(&[("127.0.0.1:0", "localhost:0")], &[(10, "https.listen")]);
    check(&[("https://localhost:8443/fhir/", "http://localhost/fhir")], &[(11, "https.base_url")]);
    check(
        &[("tls = \"none\"", "tls = \"off\""), ("adapter = \"hl7v2\"\naccepts", "adapter = \"hl7v2\"\npeer = \"x\"\naccepts")],
        &[(18, "mllp.old.tls"), (34, "feed.old.peer")],
    );
    check(&[("tls = \"none\"", "tls = 7")], &[(18, "mllp.old.tls"), (31, "feed.old.peer")]);
    check(&[("listener = \"mllp.old\"", "listener = \"mllp.new\"")], &[(32, "feed.old.listener")]);
    check(&[("peer = \"PAS.hospital.example\"\n", "")], &[(19, "feed.pas.peer")]);
    check(&[("adapter = \"hl7v2\"", "adapter = \"x12\"")], &[(21, "feed.pas.adapter")]);
    check(&[("Europe/London", "Europe/Lundun")], &[(25, "feed.pas.timezone")]);
    check(&[("primary_assigner = \"RXX\"", "primary_assigner = \"RYY\"")], &[(26, "feed.pas.primary_assigner")]);
    check(&[("primary_assigner = \"RXX\"", "primary_assigner = \"RXX:VN\"")], &[(26, "feed.pas.primary_assigner")]);
    check(&[("\"https://hospital.example/id/mrn\"", "\"mrn\"")], &[(27, "feed.pas.assigners.RXX")]);
    check(&[("accepts = [\"ADT\"]", "accepts = []")], &[(28, "feed.pas.accepts")]);
    check(&[("accepts = [\"ADT\"]", "accepts = \"ADT\"")], &[(28, "feed.pas.accepts")]);
    check(&[("owns = [\"Patient\"]", "owns = [\"Patient\", \"patient\"]")], &[(29, "feed.pas.owns")]);
    check(
        &[("accepts = [\"ADT\"]", "accepts = [\"ADT_A01\", \"adt\", \"ADT^A01\"]")],
        &[(28, "feed.pas.accepts"), (28, "feed.pas.accepts")],
    );
    check(&[("owns = [\"Patient\"]", "owns = [\"Encounters\"]")], &[(29, "feed.pas.owns")]);
    check(&[("owns = [\"Patient\"]", "owns = []\ncharacter_set = \"martian\"")], &[(30, "feed.pas.character_set")]);
    check(&[("transient = \"AE\"", "transient = \"AA\"")], &[(30, "feed.pas.reply.transient")]);
    check(&[("malformed = \"AR\"", "malformed = \"NAK\"")], &[(30, "feed.pas.reply.malformed")]);
    check(&[("\"ES256\"", "\"HS256\"")], &[(39, "issuer[0].algorithms")]);
    check(&[("[feed.pas]", "[feed.\"p s\"]")], &[(19, "feed.p s")]);
    check(&[("[observe]", "[limits]\nframe_bytes = 0\n[observe]")], &[(42, "limits.frame_bytes")]);
}

#[test]
fn unknown_keys_are_mistakes_that_name_the_known_ones() {
    let mistakes = Config::parse(&WHOLE.replace("timezone =", "timezome ="), &file()).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert_eq!((mistakes[0].line, mistakes[0].key.as_str()), (25, "feed.pas.timezome"));
    assert!(mistakes[0].reason.contains("did you mean timezone?"), "{}", mistakes[0].reason);
    assert_eq!(mistakes[0].told(Path::new("x.toml")), format!("x.toml:25: feed.pas.timezome: {}", mistakes[0].reason));
    check(&[("[observe]", "[observed]")], &[(0, "observe"), (41, "observed")]);
    check(&[("client_ca =", "ca =")], &[(12, "https.tls.ca"), (12, "https.tls.client_ca")]);
}

#[test]
fn all_mistakes_are_reported_at_once_those_of_syntax_too() {
    check(
        &[
            ("engine = \"sqlite\"", "engine = 1"),
            ("seals =", "seal ="),
            ("listen = \"[::1]:2575\"", "listen = "),
            ("accepts = [\"ADT\"]", "accepts = []"),
            ("owns =", "own ="),
            ("[observe]", "[observe]\nfree = true"),
        ],
        &[(2, "store.engine"), (8, "audit.seal"), (14, ""), (28, "feed.pas.accepts"), (29, "feed.pas.own"), (42, "observe.free")],
    );
}

#[test]
fn feeds_that_could_not_be_told_apart_are_a_mistake() {
    let twin = |sender: &str| {
        let feed = format!(
            "[feed.two]\nlistener = \"mllp.old\"\nadapter = \"hl7v2\"\naccepts = [\"ADT\"]\nsender = {{ application = \"{sender}\" }}\n[observe]"
        );
        WHOLE.replace("[feed.old]", "[feed.old]\nsender = { application = \"OLD\" }").replace("[observe]", &feed)
    };
    assert!(Config::parse(&twin("NEW"), &file()).is_ok());
    for overlapping in ["OLD", ""] {
        let mistakes = Config::parse(&twin(overlapping), &file()).unwrap_err();
        assert_eq!(mistakes[0].key, "feed.two");
    }
}

#[test]
fn a_relay_says_where_how_and_in_what_security() {
    let with = |relay: &str| format!("owns = [\"Patient\"]\nrelay = {{ {relay} }}");
    let whole = "to = \"engine:2575\", mode = \"after-commit\", tls = \"none\"";
    let config = Config::parse(&WHOLE.replace("owns = [\"Patient\"]", &with(whole)), &file()).unwrap();
    let relay = config.feeds["pas"].relay.clone().unwrap();
    assert_eq!((relay.to.as_str(), relay.mode, relay.refusals), ("engine:2575", RelayMode::AfterCommit, 3));
    assert!(relay.files.ca.is_none());
    let tls =
        "to = \"engine:2575\", mode = \"transparent\", tls = { ca = \"Cargo.toml\", certificate = \"Cargo.toml\", key = \"Cargo.toml\" }";
    let config = Config::parse(&WHOLE.replace("owns = [\"Patient\"]", &with(tls)), &file()).unwrap();
    assert_eq!(config.feeds["pas"].relays(RelayMode::Transparent).unwrap().files.ca, Some(file().with_file_name("Cargo.toml")));
    let wrong = |relay: &str, expected: &[(usize, &str)]| check(&[("owns = [\"Patient\"]", &with(relay))], expected);
    wrong("to = \"engine\", mode = \"after-commit\", tls = \"none\"", &[(30, "feed.pas.relay.to")]);
    wrong("to = \"engine:1\", mode = \"later\", tls = \"none\"", &[(30, "feed.pas.relay.mode")]);
    wrong("to = \"engine:1\", mode = \"after-commit\", tls = \"off\"", &[(30, "feed.pas.relay.tls")]);
    wrong("to = \"engine:1\", mode = \"after-commit\"", &[(30, "feed.pas.relay.tls")]);
    wrong("to = \"engine:1\", mode = \"after-commit\", tls = { ca = \"Cargo.toml\", key = \"Cargo.toml\" }", &[(30, "feed.pas.relay.tls")]);
    wrong("to = \"engine:1\", mode = \"after-commit\", tls = \"none\", refusals = 0", &[(30, "feed.pas.relay.refusals")]);
    // What could not be kept beside a transparent relay is told at the limit.
    let large = |mode: &str, bytes: u64| {
        let relay = with(&format!("to = \"engine:1\", mode = \"{mode}\", tls = \"none\""));
        let text =
            WHOLE.replace("owns = [\"Patient\"]", &relay).replace("[observe]", &format!("[limits]\nframe_bytes = {bytes}\n[observe]"));
        Config::parse(&text, &file())
    };
    assert!(large("transparent", RELAY_SPOOL_BYTES_MAX).is_ok() && large("after-commit", RELAY_SPOOL_BYTES_MAX + 1).is_ok());
    let mistakes = large("transparent", RELAY_SPOOL_BYTES_MAX + 1).unwrap_err();
    assert_eq!((mistakes.len(), mistakes[0].line, mistakes[0].key.as_str()), (1, 43, "limits.frame_bytes"));
    assert!(mistakes[0].reason.contains("feed.pas") && mistakes[0].reason.contains("write 67108864 or less"), "{}", mistakes[0].reason);
    // Two feeds of one connection: both as it comes, or neither.
    let second = "[feed.old]\nrelay = { to = \"engine:1\", mode = \"transparent\", tls = \"none\" }\nsender = { application = \"OLD\" }";
    let third =
        "[feed.new]\nlistener = \"mllp.old\"\nadapter = \"hl7v2\"\nsender = { application = \"NEW\" }\naccepts = [\"ADT\"]\n[observe]";
    let mistakes = Config::parse(&WHOLE.replace("[feed.old]", second).replace("[observe]", third), &file()).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].reason.contains("equal relay"), "{mistakes:?}");
}
