//! The dictionary as JSON Schema (draft 2020-12), for editors and for whoever writes configurations by program.

use super::{KEYS, Key, Kind, Need, Preset};
use serde_json::{Map, Value, json};

/// What the schema can say; names that must fit one another, files and addresses are left to `landbridge check`.
pub fn schema() -> Value {
    let mut whole = Map::new();
    whole.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    whole.insert("title".into(), "Landbridge configuration".into());
    whole.extend(table(""));
    Value::Object(whole)
}

/// The table whose keys begin with `prefix`.
fn table(prefix: &str) -> Map<String, Value> {
    let keys: Vec<(&str, &Key)> = KEYS
        .iter()
        .filter_map(|key| Some((key.path.strip_prefix(prefix)?, key)))
        .filter(|(name, _)| !name.contains(['.', '[']) && *name != "NAME")
        .collect();
    let properties: Map<String, Value> = keys.iter().map(|(name, key)| ((*name).to_owned(), property(key))).collect();
    let required: Vec<&str> = keys.iter().filter(|(_, key)| key.need == Need::Required).map(|(name, _)| *name).collect();
    let mut table = Map::new();
    table.insert("type".into(), "object".into());
    table.insert("properties".into(), properties.into());
    if !required.is_empty() {
        table.insert("required".into(), required.into());
    }
    table.insert("additionalProperties".into(), false.into());
    table
}

fn property(key: &Key) -> Value {
    let texts = |items: Value| json!({ "type": "array", "items": items });
    let below = |separator: &str| Value::Object(table(&format!("{}{separator}", key.path)));
    let kind = match key.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::OneOf(values) => json!({ "type": "string", "enum": values }),
        Kind::Number(max) => json!({ "type": "integer", "minimum": 1, "maximum": max }),
        Kind::Texts => texts(json!({ "type": "string" })),
        Kind::SomeOf(values) => texts(json!({ "type": "string", "enum": values })),
        Kind::NamedTexts => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Table => below("."),
        Kind::TableOr(text) => json!({ "oneOf": [{ "const": text }, below(".")] }),
        Kind::NamedTables => json!({ "type": "object", "additionalProperties": below(".NAME.") }),
        Kind::Tables => texts(below("[].")),
    };
    let mut property = Map::new();
    property.insert("description".into(), key.meaning.into());
    if let Value::Object(kind) = kind {
        property.extend(kind);
    }
    if let Need::Default(preset, _) = key.need {
        let preset = match preset {
            Preset::Text(text) => text.into(),
            Preset::Number(number) => number.into(),
        };
        property.insert("default".into(), preset);
    }
    Value::Object(property)
}
