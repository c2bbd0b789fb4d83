//! Which form of answer a client takes, and how strict it wants to be (R4 http.html §3.1.0.1.9, RFC 9110 §12, RFC 7240).

use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName};

/// Whether the client takes FHIR JSON. `format`: `_format`, which overrides the header.
pub fn takes_json(headers: &HeaderMap, format: Option<&str>) -> bool {
    if let Some(format) = format {
        // A `+` that was not escaped in a URL arrives as a space.
        return is_json(&format.replace(' ', "+"));
    }
    let mut ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).peekable();
    ranges.peek().is_none() || ranges.any(is_json)
}

/// Whether the body is a form, as `_search` by POST has it.
pub fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media| media.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// Whether the body is a resource, as an operation by POST has it.
pub fn is_fhir_json(headers: &HeaderMap) -> bool {
    let known = ["application/fhir+json", "application/json", "application/json+fhir"];
    media_type(headers).is_some_and(|media| known.iter().any(|known| media.eq_ignore_ascii_case(known)))
}

/// The body's, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let stated = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    stated.split(';').next().map(str::trim)
}

/// Whether `Prefer` asks for `handling=strict`; lenient is the default, and the first that is stated counts.
pub fn is_strict(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all(HeaderName::from_static("prefer"));
    preferences
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("handling"))
        .is_some_and(|(_, value)| value.trim().trim_matches('"').eq_ignore_ascii_case("strict"))
}

/// One media range that JSON satisfies, of no other FHIR release, and not excluded by `q=0`.
fn is_json(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let known = matches!(
        media.as_str(),
        "application/fhir+json" | "application/json" | "application/json+fhir" | "text/json" | "json" | "application/*" | "*/*" | "*"
    );
    known
        && parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => value.parse::<f32>().is_ok_and(|quality| quality > 0.0),
                "fhirversion" => matches!(value, "4.0" | "4.0.1"),
                _ => true,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn json_is_chosen_wherever_it_is_listed() {
        for accept in [
            "application/fhir+json",
            "application/json",
            "application/json+fhir",
            "*/*",
            "application/*;q=0.1",
            "application/fhir+json,application/json",
            "application/fhir+xml;q=1.0, application/fhir+json;q=1.0, application/xml+fhir;q=0.9, application/json+fhir;q=0.9",
            "application/fhir+json; fhirVersion=4.0",
            "application/fhir+json;fhirVersion=\"4.0\"",
            "text/html,application/xhtml+xml,*/*;q=0.8",
        ] {
            assert!(takes_json(&headers("accept", &[accept]), None), "{accept}");
        }
        assert!(takes_json(&HeaderMap::new(), None), "no header: anything");
        assert!(takes_json(&headers("accept", &["text/turtle", "application/json"]), None), "two headers are one list");
        for accept in [
            "application/fhir+xml",
            "text/turtle",
            "application/json;q=0",
            "application/fhir+json;fhirVersion=3.0",
            "application/fhir+json;fhirVersion=5.0, application/fhir+xml",
            "application/pdf",
            "",
        ] {
            assert!(!takes_json(&headers("accept", &[accept]), None), "{accept}");
        }
    }

    #[test]
    fn format_overrides_accept() {
        let xml = headers("accept", &["application/fhir+xml"]);
        for format in ["json", "application/json", "application/fhir+json", "application/fhir json"] {
            assert!(takes_json(&xml, Some(format)), "{format}");
        }
        for format in ["xml", "application/fhir+xml", "ttl", "html", ""] {
            assert!(!takes_json(&HeaderMap::new(), Some(format)), "{format}");
        }
    }

    #[test]
    fn handling_is_lenient_unless_strict_is_said() {
        for (prefer, strict) in [
            (&["handling=strict"][..], true),
            (&["Handling = \"Strict\""], true),
            (&["return=minimal, handling=strict"], true),
            (&["respond-async; handling=strict"], true),
            (&["return=minimal", "handling=strict"], true),
            (&["handling=lenient, handling=strict"], false),
            (&["handling=lenient"], false),
            (&["strict"], false),
            (&[], false),
        ] {
            assert_eq!(is_strict(&headers("prefer", prefer)), strict, "{prefer:?}");
        }
    }

    #[test]
    fn forms_are_known_by_their_media_type() {
        for (value, form) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-Urlencoded; charset=UTF-8", true),
            ("application/json", false),
            ("multipart/form-data", false),
        ] {
            assert_eq!(is_form(&headers("content-type", &[value])), form, "{value}");
        }
        assert!(!is_form(&HeaderMap::new()) && !is_fhir_json(&HeaderMap::new()));
        assert!(is_fhir_json(&headers("content-type", &["Application/FHIR+JSON; charset=utf-8"])));
        assert!(!is_fhir_json(&headers("content-type", &["application/fhir+xml"])));
    }
}
