//! What a POST carries that asks and changes nothing: the form of a `_search`, the Parameters of an operation.

use super::fault::Fault;
use super::negotiate::{is_fhir_json, is_form};
use crate::bodies::{self, Unread};
use crate::search::parse::encode;
use bytes::Bytes;
use contract::Json;
use hyper::HeaderMap;
use hyper::body::Body;
use std::error::Error;
use std::time::Duration;

/// Of such a body.
pub const BYTES_MAX: usize = 64 * 1024;
/// How long it may take to arrive.
const SECONDS_MAX: u64 = 15;

/// The form of a `_search` by POST.
pub async fn form<B>(headers: &HeaderMap, body: B) -> Result<String, Fault>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if !is_form(headers) {
        return Err(Fault::NotAForm);
    }
    String::from_utf8(read(body).await?.into()).map_err(|_| Fault::Invalid("the form is not URL-encoded UTF-8 text".into()))
}

/// The Parameters of an operation by POST (R4 operations.html §3.2.0.2.1), as a form of the same names and values. An empty
/// body is one without parameters.
pub async fn operation<B>(headers: &HeaderMap, body: B) -> Result<String, Fault>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let bytes = read(body).await?;
    if bytes.is_empty() {
        return Ok(String::new());
    }
    if !is_fhir_json(headers) {
        return Err(Fault::NotParameters);
    }
    parameters(&bytes).map(|pairs| encode(&pairs)).ok_or_else(|| {
        Fault::Invalid("the body is not a Parameters resource whose parameters have a name and one value that is a text or a number".into())
    })
}

fn parameters(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let json = Json::parse(bytes).ok()?;
    json.get("resourceType").and_then(Json::as_str).filter(|kind| *kind == "Parameters")?;
    json.get("parameter").map(Json::each).unwrap_or_default().iter().map(pair).collect()
}

fn pair(parameter: &Json) -> Option<(String, String)> {
    let Json::Object(members) = parameter else { return None };
    let name = parameter.get("name").and_then(Json::as_str)?;
    let mut values = members.iter().filter(|(name, _)| &**name != "name");
    let value = match (values.next(), values.next()) {
        (Some((kind, Json::String(text))), None) if kind.starts_with("value") => text.to_string(),
        (Some((kind, Json::Number(number))), None) if kind.starts_with("value") => number.to_string(),
        _ => return None,
    };
    Some((name.to_owned(), value))
}

async fn read<B>(body: B) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    bodies::read(body, BYTES_MAX, Duration::from_secs(SECONDS_MAX)).await.map_err(|unread| match unread {
        Unread::Late => Fault::BodyTimeout,
        Unread::TooLarge => Fault::BodyTooLarge,
        Unread::Crowded => Fault::Busy,
        Unread::Broken => Fault::Invalid("the body broke off".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_pairs_of_name_and_value() {
        let told = |parameters: &str| {
            let text = format!(r#"{{"resourceType":"Parameters"{parameters}}}"#);
            self::parameters(text.as_bytes()).map(|pairs| encode(&pairs))
        };
        let several = r#","parameter":[{"name":"_type","valueCode":"Observation"},{"name":"_count","valueInteger":7}]"#;
        assert_eq!(told(several).as_deref(), Some("_type=Observation&_count=7"));
        assert_eq!(told("").as_deref(), Some(""));
        for wrong in [
            r#"{"name":"_type"}"#,
            r#"{"valueCode":"x"}"#,
            r#"{"name":"_type","valueCode":"x","valueString":"y"}"#,
            r#"{"name":"_type","resource":{"resourceType":"Patient"}}"#,
            r#"{"name":"_type","part":[]}"#,
            "7",
        ] {
            assert_eq!(told(&format!(r#","parameter":[{wrong}]"#)), None, "{wrong}");
        }
        assert_eq!(self::parameters(br#"{"resourceType":"Patient"}"#), None);
        assert_eq!(self::parameters(b"_type=Observation"), None);
    }
}
