use super::*;
use crate::config::tests::{WHOLE, file};
use crate::config::{Config, Files, Mistake};
use std::collections::BTreeSet;
use toml::{Table, Value};

/// With all sections, a relay too.
fn whole() -> String {
    let tls = "{ ca = \"Cargo.toml\", certificate = \"Cargo.toml\", key = \"Cargo.toml\" }";
    let relay = format!("relay = {{ to = \"engine:2575\", mode = \"after-commit\", tls = {tls} }}\n[feed.old]");
    WHOLE.replace("[feed.old]", &relay)
}

fn read(text: &str) -> crate::config::Reading<Config> {
    Config::read_text(text, &file(), Files::Needed)
}

/// A configuration that has all sections, with one key set, or taken away.
fn with(key: &Key, value: Option<Value>) -> String {
    let mut whole: Table = whole().parse().unwrap();
    let mut names: Vec<&str> = key.path.split('.').collect();
    let last = names.pop().unwrap();
    let mut table = &mut whole;
    let mut group = "";
    for name in names {
        let next = match (name.strip_suffix("[]"), name) {
            (Some(list), _) => table.get_mut(list).and_then(|list| list.as_array_mut()).and_then(|list| list.first_mut()).unwrap(),
            (None, "NAME") if group == "feed" => table.get_mut("pas").unwrap(),
            (None, "NAME") => table.get_mut("main").unwrap(),
            (None, name) => table.entry(name).or_insert_with(|| Value::Table(Table::new())),
        };
        group = name;
        table = next.as_table_mut().unwrap_or_else(|| panic!("{}: the whole configuration has another kind there", key.path));
    }
    match value {
        Some(value) => table.insert(last.to_owned(), value),
        None => table.remove(last),
    };
    toml::to_string(&whole).unwrap()
}

/// The mistakes that a configuration has at this key, or below it.
fn mistakes(key: &Key, text: &str) -> Vec<Mistake> {
    let at = |mistake: &Mistake| find(&mistake.key).is_some_and(|found| found.path == key.path);
    read(text).mistakes.into_iter().filter(at).collect()
}

#[test]
fn every_key_that_is_read_is_described_and_no_other() {
    let asked = read(&whole()).asked;
    let described: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(described.len(), KEYS.len(), "a key is described twice");
    let (undescribed, unread): (Vec<_>, Vec<_>) = (asked.difference(&described).collect(), described.difference(&asked).collect());
    assert!(undescribed.is_empty(), "describe in config/dictionary.rs: {undescribed:?}");
    assert!(unread.is_empty(), "described in config/dictionary.rs, and not read: {unread:?}");
}

#[test]
fn every_key_is_read_as_it_is_described() {
    assert!(read(&whole()).mistakes.is_empty());
    for key in KEYS {
        let good = |value: &str, value_of: Value| {
            let found = mistakes(key, &with(key, Some(value_of)));
            assert!(found.iter().all(|mistake| mistake.reason.starts_with("no such file")), "{} = {value}: {found:?}", key.path);
        };
        let wrong = |value: Value| {
            let found = mistakes(key, &with(key, Some(value.clone())));
            assert!(!found.is_empty(), "{} = {value} is taken", key.path);
            found[0].reason.clone()
        };
        let example: Table = format!("x = {}", key.example).parse().unwrap_or_else(|error| panic!("{}: {error}", key.path));
        if key.path != "feed" && key.path != "mllp" {
            good(key.example, example["x"].clone());
        }
        let number = |number: u64| Value::Integer(number.try_into().unwrap());
        let list = |text: &str| Value::Array(vec![text.into()]);
        wrong(Value::Boolean(true));
        match key.kind {
            Kind::Text | Kind::NamedTexts | Kind::Table | Kind::NamedTables | Kind::Texts | Kind::Tables => {
                wrong(number(7));
            }
            Kind::OneOf(values) => {
                let reason = wrong("zzz".into());
                for value in values {
                    good(value, (*value).into());
                    assert!(reason.contains(&format!("\"{value}\"")), "{}: {reason}", key.path);
                }
            }
            Kind::SomeOf(values) => {
                let reason = wrong(list("zzz"));
                for value in values {
                    good(value, list(value));
                    assert!(reason.contains(value), "{}: {reason}", key.path);
                }
            }
            Kind::Number(max) => {
                good("1", number(1));
                good("its greatest", number(max));
                wrong(number(0));
                wrong(number(max + 1));
            }
            Kind::TableOr(text) => {
                good(text, text.into());
                assert!(wrong("zzz".into()).contains(text), "{}", key.path);
            }
        }
    }
}

#[test]
fn what_holds_without_a_key_is_what_is_described() {
    for key in KEYS {
        let without = with(key, None);
        match key.need {
            Need::Required => assert!(!mistakes(key, &without).is_empty(), "{} is not missed", key.path),
            Need::Optional(meaning) => {
                assert!(!meaning.is_empty(), "{}", key.path);
                // A door with TLS needs a peer; a feed needs its door.
                let exempt = ["feed.NAME.peer", "mllp"].contains(&key.path);
                assert!(exempt || mistakes(key, &without).is_empty(), "{} is missed", key.path);
            }
            Need::Default(preset, reason) => {
                assert!(!reason.is_empty(), "{}", key.path);
                let value = match preset {
                    Preset::Text(text) => Value::String(text.to_owned()),
                    Preset::Number(number) => Value::Integer(number.try_into().unwrap()),
                };
                let (said, unsaid) = (read(&with(key, Some(value))), read(&without));
                assert_eq!(format!("{:?}", said.meant), format!("{:?}", unsaid.meant), "{}", key.path);
            }
        }
    }
}

#[test]
fn every_key_is_found_by_its_name_and_by_its_path_and_a_slip_is_told() {
    for key in KEYS {
        assert_eq!(find(key.path).map(|found| found.path), Some(key.path));
        assert!(key.meaning.ends_with('.') && !key.example.is_empty(), "{}", key.path);
    }
    for (asked, expected) in [
        ("feed.pas.timezone", "feed.NAME.timezone"),
        ("feed.pas", "feed"),
        ("feed.NAME", "feed"),
        ("issuer[0]", "issuer"),
        ("issuer[1].jwks", "issuer[].jwks"),
        ("issuer.jwks", "issuer[].jwks"),
        ("mllp.main.tls.key", "mllp.NAME.tls.key"),
    ] {
        assert_eq!(find(asked).map(|found| found.path), Some(expected), "{asked}");
    }
    assert!(find("feed.pas.timezome").is_none() && find("").is_none() && find("store.").is_none());
    assert_eq!(meant("store.directry"), ["store.directory"]);
    assert_eq!(meant("timezone"), ["feed.NAME.timezone"]);
    assert_eq!(meant("isuer[0].jwks"), ["issuer[].jwks"]);
    assert_eq!(meant("client_ca"), ["https.tls.client_ca", "mllp.NAME.tls.client_ca"]);
    assert!(meant("zzz").is_empty());
    let below: Vec<&str> = below("issuer").map(|key| key.path).collect();
    assert_eq!(below.len(), 6, "{below:?}");
}

/// `UPDATE_GOLDEN=1` writes the file anew.
#[test]
fn the_schema_in_the_file_is_the_one_of_this_dictionary() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/config.schema.json");
    let fresh = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == fresh, "schemas/config.schema.json is not what `landbridge config schema` prints: run this test with UPDATE_GOLDEN=1");
}

/// What `landbridge init` writes, with the lines that it shows as comments.
fn written_by_init() -> String {
    let shown = |line: &str| {
        let rest = line.strip_prefix("# ")?;
        let is_key = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_shown = rest.split_once(" = ").is_some_and(|(name, _)| is_key(name)) || rest.starts_with('[');
        is_shown.then(|| rest.to_owned())
    };
    include_str!("../../landbridge.toml").lines().map(|line| shown(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn every_key_that_init_writes_is_in_the_dictionary_and_every_key_is_there_to_be_read() {
    let text = written_by_init();
    let read = Config::read_text(&text, &file(), Files::Untouched);
    assert!(read.mistakes.is_empty(), "{:?}", read.mistakes);
    assert!(read.places.contains_key("limits.connection_seconds") && read.places.contains_key("feed.pas.sequence"));
    for place in read.places.keys().filter(|place| !place.is_empty() && !place.contains(".assigners.")) {
        assert!(find(place).is_some(), "{place}");
    }
    for key in KEYS {
        let name = key.path.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
        assert!(text.contains(name), "{} is not to be read in landbridge.toml", key.path);
    }
}

/// As far as the schema goes; a word of JSON Schema that it does not use is unknown here.
fn fits(schema: &serde_json::Value, value: &serde_json::Value) -> bool {
    let words = schema.as_object().unwrap();
    let number = |word: &str| words[word].as_u64().unwrap();
    words.keys().all(|word| match word.as_str() {
        "$schema" | "title" | "description" | "default" => true,
        "type" => match words[word].as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            other => panic!("type {other}"),
        },
        "const" => *value == words[word],
        "enum" => words[word].as_array().unwrap().contains(value),
        "minimum" => value.as_u64().is_some_and(|value| value >= number("minimum")),
        "maximum" => value.as_u64().is_some_and(|value| value <= number("maximum")),
        "oneOf" => words[word].as_array().unwrap().iter().filter(|schema| fits(schema, value)).count() == 1,
        "items" => value.as_array().into_iter().flatten().all(|item| fits(&words[word], item)),
        "required" => words[word].as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "properties" => {
            let properties = words[word].as_object().unwrap();
            properties.iter().all(|(name, schema)| value.get(name).is_none_or(|value| fits(schema, value)))
        }
        "additionalProperties" => {
            let known = words.get("properties").and_then(|properties| properties.as_object());
            let more = value.as_object().into_iter().flatten().filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)));
            more.fold(true, |fitting, (_, value)| fitting && words[word] != false && fits(&words[word], value))
        }
        other => panic!("{other} is not known to this test"),
    })
}

#[test]
fn the_schema_takes_what_is_right_and_refuses_what_it_can_see_to_be_wrong() {
    let schema = schema();
    let json = |text: &str| serde_json::to_value(text.parse::<Table>().unwrap()).unwrap();
    assert!(fits(&schema, &json(WHOLE)) && fits(&schema, &json(&written_by_init())));
    for key in KEYS {
        let example: Table = format!("x = {}", key.example).parse().unwrap();
        if key.path != "issuer" {
            assert!(fits(&schema, &json(&with(key, Some(example["x"].clone())))), "{} = {}", key.path, key.example);
        }
        assert!(!fits(&schema, &json(&with(key, Some(Value::Boolean(true))))), "{} = true", key.path);
        assert_eq!(fits(&schema, &json(&with(key, None))), key.need != Need::Required, "without {}", key.path);
        let more = Key { path: Box::leak(format!("{}x", key.path.trim_end_matches("[]")).into_boxed_str()), ..*key };
        assert!(!fits(&schema, &json(&with(&more, Some("x".into())))), "{}", more.path);
    }
}

/// The same tree in flow style, which is JSON too, and in block style: the reader must make the same of all.
#[test]
fn a_configuration_in_yaml_means_what_it_means_in_toml() {
    let table: Table = whole().parse().unwrap();
    let flow = serde_json::to_string_pretty(&table).unwrap();
    let mut block = String::new();
    in_block_style(&Value::Table(table), 0, &mut block);
    let meant = |text: &str, name: &str| {
        let read = Config::read_text(text, &file().with_file_name(name), Files::Needed);
        assert!(read.mistakes.is_empty(), "{text}: {:?}", read.mistakes);
        assert_eq!(read.asked.len(), KEYS.len());
        format!("{:?}", Config { file: file(), ..read.meant })
    };
    let expected = meant(&whole(), "landbridge.toml");
    assert_eq!(meant(&flow, "landbridge.yml"), expected);
    assert_eq!(meant(&block, "landbridge.yaml"), expected);
    // A mistake is told on its line there too.
    let wrong = block.replace("Europe/London", "Europe/Lundun");
    let line = 1 + wrong.lines().position(|line| line.contains("Lundun")).unwrap();
    let read = Config::read_text(&wrong, &file().with_file_name("x.yaml"), Files::Needed);
    assert_eq!(read.mistakes.iter().map(|mistake| (mistake.line, mistake.key.as_str())).collect::<Vec<_>>(), [(line, "feed.pas.timezone")]);
}

fn in_block_style(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                *text += &format!("\n{indent}{name:?}:");
                in_block_style(value, depth + 1, text);
            }
        }
        Value::Array(list) => {
            for element in list {
                *text += &format!("\n{indent}-");
                in_block_style(element, depth + 1, text);
            }
        }
        // Unquoted, where YAML takes it for a text.
        Value::String(word) if word.bytes().all(|byte| byte.is_ascii_alphabetic()) => *text += &format!(" {word}"),
        other => *text += &format!(" {other}"),
    }
}
