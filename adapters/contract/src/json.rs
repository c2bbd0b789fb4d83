use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// A JSON value whose numbers are the text that was written: `6.30` stays `6.30`. Members keep their order.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Json {
    Null,
    Bool(bool),
    /// The number's text, valid by the grammar of RFC 8259 §6.
    Number(Arc<str>),
    String(Arc<str>),
    Array(Vec<Json>),
    Object(Vec<(Arc<str>, Json)>),
}

/// Nesting that [`Json::parse`] accepts.
pub const DEPTH_MAX: usize = 64;

/// What is wrong with a text that is not JSON, with the byte where it was seen. Holds nothing of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    pub line: usize,
    pub column: usize,
    pub reason: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}: {}", self.line, self.column, self.reason)
    }
}

impl std::error::Error for JsonError {}

impl Json {
    /// An empty object.
    pub fn object() -> Self {
        Json::Object(Vec::new())
    }

    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Json::String(text.into())
    }

    /// A number from text; `None` if the text is not a JSON number.
    pub fn number(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        (plain || serde_json::from_str::<serde_json::Number>(text).is_ok() && text.trim() == text).then(|| Json::Number(text.into()))
    }

    /// Reads strictly: one value, no duplicate members, depth at most [`DEPTH_MAX`].
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let wrong = |error: &serde_json::Error, reason| JsonError { line: error.line(), column: error.column(), reason };
        let raw: &RawValue = serde_json::from_slice(bytes).map_err(|error| wrong(&error, "not valid JSON"))?;
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
        de::DeserializeSeed::deserialize(Depth(0), &mut deserializer).map_err(|error| {
            let text = error.to_string();
            let reason = [DUPLICATE, TOO_DEEP].into_iter().find(|known| text.contains(known)).unwrap_or("not valid JSON");
            wrong(&error, reason)
        })
    }

    /// The member of an object.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(member, _)| &**member == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        match self {
            Json::Object(members) => members.iter_mut().find(|(member, _)| &**member == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Sets a member of an object, in its old place if it had one. Other values become an object.
    pub fn set(&mut self, name: impl Into<Arc<str>>, value: Json) {
        let name = name.into();
        if !matches!(self, Json::Object(_)) {
            *self = Json::object();
        }
        match self.get_mut(&name) {
            Some(old) => *old = value,
            None => {
                if let Json::Object(members) = self {
                    members.push((name, value));
                }
            }
        }
    }

    /// Takes a member out of an object.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        match self {
            Json::Object(members) => members.iter().position(|(member, _)| &**member == name).map(|at| members.remove(at).1),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array; of anything else, itself alone.
    pub fn each(&self) -> &[Json] {
        match self {
            Json::Array(elements) => elements,
            other => std::slice::from_ref(other),
        }
    }

    /// Null, or an array or object without content.
    pub fn is_empty(&self) -> bool {
        match self {
            Json::Null => true,
            Json::Array(elements) => elements.is_empty(),
            Json::Object(members) => members.is_empty(),
            _ => false,
        }
    }

    /// Compact JSON text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        let string = |text: &str, out: &mut Vec<u8>| serde_json::to_writer(out, text).expect("a string is written to memory");
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(true) => out.extend_from_slice(b"true"),
            Json::Bool(false) => out.extend_from_slice(b"false"),
            Json::Number(text) => out.extend_from_slice(text.as_bytes()),
            Json::String(text) => string(text, out),
            Json::Array(elements) => {
                out.push(b'[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    element.write(out);
                }
                out.push(b']');
            }
            Json::Object(members) => {
                out.push(b'{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    string(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Compact JSON text. (Not `Debug`: a body holds patient data.)
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_bytes()).map_err(|_| fmt::Error)?)
    }
}

/// Shows the kind of value and its size: a body holds patient data.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(_) => f.write_str("bool"),
            Json::Number(_) => f.write_str("number"),
            Json::String(text) => write!(f, "string({})", text.len()),
            Json::Array(elements) => write!(f, "array({})", elements.len()),
            Json::Object(members) => f.debug_set().entries(members.iter().map(|(name, _)| name)).finish(),
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Json::string(text)
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Json::string(text)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Json::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Json::Number(value.to_string().into())
    }
}

impl From<Vec<Json>> for Json {
    fn from(elements: Vec<Json>) -> Self {
        Json::Array(elements)
    }
}

/// An object from its members.
impl<N: Into<Arc<str>>> FromIterator<(N, Json)> for Json {
    fn from_iter<I: IntoIterator<Item = (N, Json)>>(members: I) -> Self {
        Json::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(text) => RawValue::from_string(text.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer),
            Json::String(text) => serializer.serialize_str(text),
            Json::Array(elements) => elements.serialize(serializer),
            Json::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(&**name, value)?;
                }
                map.end()
            }
        }
    }
}

/// From serde_json alone, borrowed or owned text: numbers are taken as raw text.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Json::parse(raw.get().as_bytes()).map_err(|error| de::Error::custom(error.reason))
    }
}

const DUPLICATE: &str = "a member stands twice";
const MEMBERS_FEW: usize = 32;
const TOO_DEEP: &str = "nested too deep";

/// Reads a value at a depth; each level looks at raw text, so that numbers keep theirs.
struct Depth(usize);

impl<'de> de::DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        self.read(raw).map_err(de::Error::custom)
    }
}

impl Depth {
    fn read(self, raw: &RawValue) -> Result<Json, serde_json::Error> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{' | b'[') if self.0 >= DEPTH_MAX => Err(de::Error::custom(TOO_DEEP)),
            Some(b'{' | b'[') => serde_json::Deserializer::from_str(text).deserialize_any(Level(self.0 + 1)),
            Some(b'-' | b'0'..=b'9') => Ok(Json::Number(text.into())),
            Some(b'"') => serde_json::from_str::<String>(text).map(Json::from),
            Some(b't') => Ok(Json::Bool(true)),
            Some(b'f') => Ok(Json::Bool(false)),
            _ => Ok(Json::Null),
        }
    }
}

struct Level(usize);

impl<'de> Visitor<'de> for Level {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(Depth(self.0))? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(Arc<str>, Json)> = Vec::new();
        // Few members are looked through; a million would cost their square.
        let mut known: HashSet<Arc<str>> = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let is_known = match members.len() {
                ..MEMBERS_FEW => members.iter().any(|(member, _)| **member == *name),
                _ => {
                    let since = if known.is_empty() { 0 } else { members.len() - 1 };
                    known.extend(members[since..].iter().map(|(member, _)| member.clone()));
                    known.contains(name.as_str())
                }
            };
            if is_known {
                return Err(de::Error::custom(DUPLICATE));
            }
            let value = map.next_value_seed(Depth(self.0))?;
            members.push((name.into(), value));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were_written() {
        for text in [
            r#"{"a":6.30,"b":[1E3,-0.0,1e3],"c":{"d":"\u00e9\n"}}"#,
            "0.00",
            "[]",
            "{}",
            "[null,true,false]",
            "123456789012345678901234567890",
        ] {
            let json = Json::parse(text.as_bytes()).unwrap();
            let back = Json::parse(&json.to_bytes()).unwrap();
            assert_eq!(json, back);
            assert_eq!(serde_json::to_string(&json).unwrap().as_bytes(), json.to_bytes());
        }
        assert_eq!(Json::parse(br#"{"a": 6.30, "b":[ 1E3,-0.0]}"#).unwrap().to_string(), r#"{"a":6.30,"b":[1E3,-0.0]}"#);
    }

    #[test]
    fn an_object_of_very_many_members_is_read_and_its_duplicates_refused() {
        let object = |count: usize, more: &str| {
            let members: Vec<String> = (0..count).map(|number| format!(r#""m{number}":0"#)).collect();
            format!("{{{}{more}}}", members.join(","))
        };
        for count in [MEMBERS_FEW - 1, MEMBERS_FEW, MEMBERS_FEW + 1, 300_000] {
            assert!(Json::parse(object(count, "").as_bytes()).is_ok(), "{count}");
            for member in [0, count / 2, count - 1] {
                let error = Json::parse(object(count, &format!(r#","m{member}":0"#)).as_bytes()).unwrap_err();
                assert_eq!(error.reason, DUPLICATE, "{member} of {count}");
            }
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_a_reason_and_no_content() {
        for (text, reason) in [
            (r#"{"a":1,"a":2}"#, DUPLICATE),
            (r#"{"a":{"b":1,"b":1}}"#, DUPLICATE),
            ("{", "not valid JSON"),
            ("1 2", "not valid JSON"),
            ("", "not valid JSON"),
        ] {
            assert_eq!(Json::parse(text.as_bytes()).unwrap_err().reason, reason, "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        assert_eq!(Json::parse(deep.as_bytes()).unwrap_err().reason, TOO_DEEP);
        assert!(Json::parse(("[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX)).as_bytes()).is_ok());
    }

    #[test]
    fn numbers_from_text() {
        for good in ["0", "6.30", "-1", "1e3", "0.00", "-0.5E-7"] {
            assert_eq!(Json::number(good), Some(Json::Number(good.into())));
        }
        for bad in ["", "-", "01", "+1", ".5", "1.", "1 ", "NaN", "0x1", "1,5"] {
            assert_eq!(Json::number(bad), None, "{bad}");
        }
    }
}
