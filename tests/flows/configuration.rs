//! The configuration as an operator meets it: `check`, `serve` and a reload say the same of it, and it may be YAML.

use flows::{Folder, Gateway, run};
use std::fs;
use std::process::Command;

/// A working folder's configuration with ten mistakes, and each key that must be named.
const WRONG: [(&str, &str, &str); 10] = [
    ("directory = \"data\"", "directory = \"keys/id.key/data\"", "store.directory"),
    ("id = \"keys/id.key\"", "id = \"keys/none.key\"", "keys.id"),
    ("base_url = \"https:", "base_url = \"http:", "https.base_url"),
    ("[mllp.main]", "[mllp.main]\nlisten_on = 7", "mllp.main.listen_on"),
    ("adapter = \"hl7v2\"", "adapter = \"hl7\"", "feed.pas.adapter"),
    ("timezone = \"Europe/London\"", "timezone = \"Europe/Lundun\"", "feed.pas.timezone"),
    ("primary_assigner = \"RXX\"", "primary_assigner = \"RYY\"", "feed.pas.primary_assigner"),
    ("accepts = [\"ADT\"]", "accepts = [\"adt\"]", "feed.pas.accepts"),
    ("algorithms = [\"ES256\"]", "algorithms = [\"none\"]", "issuer[0].algorithms"),
    ("[observe]\n", "[observe]\nlisten = 9464\n#", "observe.listen"),
];

#[test]
fn check_serve_and_a_reload_tell_all_mistakes_in_the_same_words() {
    let folder = Folder::new();
    let (code, said, errors) = folder.run(&["check"]);
    assert_eq!(code, 0, "{errors}");
    assert!(said.contains("right, with 2 listeners, 3 feeds, 1 issuer") && errors.contains("warning: development"), "{said}{errors}");
    assert_eq!(folder.run(&["check", "--strict"]).0, 2);

    let gateway = folder.serve();
    let right = fs::read_to_string(folder.config()).expect("a configuration");
    let wrong = WRONG.iter().fold(right, |text, (from, to, _)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    fs::write(folder.config(), &wrong).expect("written");
    let (code, said, errors) = folder.run(&["check"]);
    assert_eq!((code, said.as_str()), (2, ""), "{errors}");
    let lines: Vec<&str> = errors.lines().filter(|line| !line.contains("warning: ")).collect();
    assert_eq!(lines.len(), WRONG.len() + 1, "{errors}");
    assert!(lines[WRONG.len()].ends_with("10 mistakes, 1 warning"), "{errors}");
    for (line, (_, to, key)) in lines.iter().zip(WRONG) {
        let changed = to.lines().rev().find(|line| !line.starts_with('#')).expect("a line");
        let number = 1 + wrong.lines().position(|line| line.starts_with(changed)).expect("it is there");
        assert!(line.starts_with(&format!("{}:{number}: {key}: ", folder.config())), "{line} is not of {key} on line {number}");
    }
    // Another gateway does not start with it, and says the same.
    let (code, _, refused) = folder.run(&["serve"]);
    assert_eq!(code, 2);
    assert_eq!(refused.lines().collect::<Vec<_>>(), lines[..WRONG.len()]);
    // The one that serves stays as it was. What lies beside the text it looks at part by part.
    hang_up(&gateway);
    let log = || folder.log().replace("\\\"", "\"");
    while !log().contains("the one before stays in force") {}
    for line in lines[..WRONG.len()].iter().filter(|line| !line.contains("store.directory")) {
        assert!(log().contains(*line), "{line} is not in {}", log());
    }
    assert!(gateway.stop().success());
}

fn hang_up(gateway: &Gateway) {
    assert!(Command::new("kill").args(["-HUP", &gateway.process_id().to_string()]).status().expect("kill").success());
}

#[test]
fn mistakes_are_told_as_json_and_without_the_files_that_are_elsewhere() {
    let folder = Folder::new();
    folder.edit(|line| line.replace("keys/id.key", "/etc/elsewhere/id.key").replace("Europe/London", "Mars"));
    let (code, said, _) = folder.run(&["check", "--text-only", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let keys: Vec<&str> = told["mistakes"].as_array().expect("a list").iter().filter_map(|mistake| mistake["key"].as_str()).collect();
    assert_eq!((code, keys), (2, vec!["feed.pas.timezone", "feed.lab.timezone", "feed.docs.timezone"]), "{said}");
    assert_eq!(run(&["check", "--config", "/nowhere/landbridge.toml"]).0, 2);
}

/// What `init` writes, for the first two feeds, as YAML.
const YAML: &str = r#"# A comment.
store: { engine: sqlite, directory: data }
keys:
  id: keys/id.key
  seal: keys/seal.key
audit:
  seals: data/seals.ndjson
https:
  listen: 127.0.0.1:0
  base_url: https://localhost:8443/fhir
  tls:
    certificate: tls/server.pem
    key: tls/server.key
    client_ca: tls/clients-ca.pem
mllp:
  main:
    listen: "127.0.0.1:0"
    tls: { certificate: tls/server.pem, key: tls/server.key, client_ca: tls/clients-ca.pem }
feed:
  pas:
    listener: mllp.main
    adapter: hl7v2
    peer: pas.hospital.example
    sender: { application: PAS, facility: RXX }
    timezone: Europe/London
    primary_assigner: RXX
    assigners:
      RXX: https://hospital.example/id/mrn
      NHS: https://fhir.nhs.uk/Id/nhs-number
    accepts:
      - ADT
issuer:
  - issuer: https://idp.hospital.example
    audience: https://localhost:8443/fhir
    jwks: keys/issuer.jwks.json
    algorithms: [ES256]
    token_endpoint: https://idp.hospital.example/token
observe:
  listen: 127.0.0.1:0
limits:
  frame_bytes: 1048576
"#;

#[test]
fn a_gateway_serves_under_a_configuration_in_yaml() {
    let folder = Folder::new();
    let config = folder.path().join("landbridge.yaml");
    fs::write(&config, YAML).expect("written");
    let config = config.to_str().expect("UTF-8 path");
    let (code, said, errors) = run(&["check", "--config", config]);
    assert_eq!(code, 0, "{errors}");
    assert!(said.contains("right, with 2 listeners, 1 feed, 1 issuer"), "{said}");
    let gateway = folder.serve_under(config, &[]);
    let message = crate::messages::adt("A31", "Y1", "20260301093000", &crate::messages::Person::ottoline(), &[]);
    assert!(gateway.sender("pas").send(&message).expect("a reply").contains("MSA|AA|Y1"));
    assert!(gateway.stop().success());
}

#[test]
fn the_schema_in_the_repository_is_the_one_that_is_printed_and_keys_are_explained() {
    let (code, schema, _) = run(&["config", "schema"]);
    let kept = include_str!("../../schemas/config.schema.json");
    assert_eq!((code, schema.as_str()), (0, kept));
    let (code, said, _) = run(&["config", "explain", "feed.intake.reply.transient"]);
    assert!(code == 0 && said.starts_with("feed.NAME.reply.transient\n") && said.contains("default  \"close\""), "{said}");
    let (code, said, errors) = run(&["config", "explain", "feeds.intake.timezone"]);
    assert_eq!((code, said.as_str()), (2, ""));
    assert!(errors.contains("did you mean feed.NAME.timezone?"), "{errors}");
    let (_, all, _) = run(&["config", "explain"]);
    assert!(all.lines().count() > 50 && all.contains("limits.frame_bytes"), "{all}");
}
