use crate::Stamp;
use crate::stamp::time_of_day;
use contract::Json;
use jiff::tz::TimeZone;
use std::borrow::Cow;

/// The primitive types of R4 (datatypes.html#primitive), as far as their values are told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Primitive {
    Boolean,
    Integer,
    PositiveInt,
    UnsignedInt,
    Decimal,
    Date,
    DateTime,
    Instant,
    Time,
    Code,
    Id,
    /// uri, url, canonical, oid, uuid.
    Uri,
    Base64Binary,
    String,
    Markdown,
    Xhtml,
}

/// A scalar, and what was changed to make it one.
pub struct Scalar {
    pub value: Json,
    pub altered: Option<&'static str>,
}

impl Primitive {
    /// By the name of the type.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "boolean" => Primitive::Boolean,
            "integer" => Primitive::Integer,
            "positiveInt" => Primitive::PositiveInt,
            "unsignedInt" => Primitive::UnsignedInt,
            "decimal" => Primitive::Decimal,
            "date" => Primitive::Date,
            "dateTime" => Primitive::DateTime,
            "instant" => Primitive::Instant,
            "time" => Primitive::Time,
            "code" => Primitive::Code,
            "id" => Primitive::Id,
            "uri" | "url" | "canonical" | "oid" | "uuid" => Primitive::Uri,
            "base64Binary" => Primitive::Base64Binary,
            "string" => Primitive::String,
            "markdown" => Primitive::Markdown,
            "xhtml" => Primitive::Xhtml,
            _ => return None,
        })
    }

    /// Makes a value of this type from a dialect's text; the error is the reason why it cannot.
    pub fn read(self, text: &str, stamp: &dyn Fn(&str) -> Result<Stamp, &'static str>, zone: &TimeZone) -> Result<Scalar, &'static str> {
        let plain = |value: Json| Ok(Scalar { value, altered: None });
        let changed = |value: Json, reason, changed: bool| Ok(Scalar { value, altered: changed.then_some(reason) });
        match self {
            Primitive::String | Primitive::Markdown | Primitive::Xhtml => {
                let clean = without_controls(text);
                if clean.trim().is_empty() {
                    return Err("nothing but spaces");
                }
                changed(Json::string(&*clean), "control characters are left out", matches!(clean, Cow::Owned(_)))
            }
            Primitive::Code => {
                let code = text.trim();
                if is_code(code) {
                    changed(Json::from(code), "spaces around the code are left out", code.len() != text.len())
                } else {
                    Err("not a code")
                }
            }
            Primitive::Id => {
                if is_id(text.trim()) {
                    plain(Json::from(text.trim()))
                } else {
                    Err("not an id")
                }
            }
            Primitive::Uri => {
                if is_uri(text.trim()) {
                    plain(Json::from(text.trim()))
                } else {
                    Err("not a URI")
                }
            }
            Primitive::Boolean => match text.trim() {
                "Y" | "y" | "true" | "1" => plain(Json::Bool(true)),
                "N" | "n" | "false" | "0" => plain(Json::Bool(false)),
                _ => Err("neither yes nor no"),
            },
            Primitive::Decimal => {
                let number = decimal(text).ok_or("not a number")?;
                let altered = number != text.trim();
                changed(Json::number(&number).ok_or("not a number")?, "written as JSON wants numbers", altered)
            }
            Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt => {
                let number = decimal(text).ok_or("not a number")?;
                let whole = match number.split_once('.') {
                    Some((whole, fraction)) if fraction.bytes().all(|byte| byte == b'0') => whole,
                    Some(_) => return Err("not a whole number"),
                    None => &number,
                };
                let value = Json::number(whole).filter(|value| self.fits(value)).ok_or("not a whole number of this type")?;
                changed(value, "written as JSON wants numbers", whole != text.trim())
            }
            Primitive::Date => {
                let (date, cut) = stamp(text)?.date();
                changed(Json::from(date), "the time of day is left out", cut)
            }
            Primitive::DateTime => plain(Json::from(stamp(text)?.date_time(zone))),
            Primitive::Instant => plain(Json::from(stamp(text)?.instant(zone)?)),
            Primitive::Time => plain(Json::from(time_of_day(text)?)),
            Primitive::Base64Binary => {
                let data: String = text.split_ascii_whitespace().collect();
                if is_base64(&data) { plain(Json::from(data)) } else { Err("not base64") }
            }
        }
    }

    /// Whether a JSON value is of this type.
    pub fn fits(self, value: &Json) -> bool {
        match (self, value) {
            (Primitive::Boolean, Json::Bool(_)) => true,
            (Primitive::Decimal, Json::Number(_)) => true,
            (Primitive::Integer, Json::Number(text)) => text.parse::<i32>().is_ok(),
            (Primitive::PositiveInt, Json::Number(text)) => text.parse::<i32>().is_ok_and(|number| number > 0),
            (Primitive::UnsignedInt, Json::Number(text)) => text.parse::<i32>().is_ok_and(|number| number >= 0),
            (Primitive::Date, Json::String(text)) => is_date(text),
            (Primitive::DateTime, Json::String(text)) => is_date(text) || is_instant(text),
            (Primitive::Instant, Json::String(text)) => is_instant(text),
            (Primitive::Time, Json::String(text)) => is_time(text),
            (Primitive::Code, Json::String(text)) => is_code(text),
            (Primitive::Id, Json::String(text)) => is_id(text),
            (Primitive::Uri, Json::String(text)) => is_uri(text),
            (Primitive::Base64Binary, Json::String(text)) => is_base64(text),
            (Primitive::String | Primitive::Markdown, Json::String(text)) => !text.trim().is_empty() && !text.chars().any(is_control),
            (Primitive::Xhtml, Json::String(text)) => {
                text.starts_with("<div") && text.ends_with("</div>") && text.contains("http://www.w3.org/1999/xhtml")
            }
            _ => false,
        }
    }
}

/// HL7 v2 NM as JSON writes numbers: no plus sign, no leading zeros, a digit before and after the point. Digits stay.
fn decimal(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => ("", &text[1..]),
        b'-' => ("-", &text[1..]),
        _ => ("", text),
    };
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => digits.split_at(at),
        None => (digits, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let mut out = String::with_capacity(text.len() + 1);
    out.push_str(sign);
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out.push_str(exponent);
    Some(out)
}

fn is_control(character: char) -> bool {
    // FHIR strings hold no characters below space but tab, line feed, carriage return (R4 datatypes.html#string).
    (character as u32) < 32 && !matches!(character, '\t' | '\n' | '\r')
}

fn without_controls(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_control) {
        Cow::Owned(text.chars().filter(|character| !is_control(*character)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// `[^\s]+(\s[^\s]+)*`
fn is_code(text: &str) -> bool {
    !text.is_empty() && text.split(|character: char| character.is_whitespace() || is_control(character)).all(|word| !word.is_empty())
}

/// `[A-Za-z0-9\-\.]{1,64}`
fn is_id(text: &str) -> bool {
    matches!(text.len(), 1..=64) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn is_uri(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|character| character.is_whitespace() || is_control(character))
}

fn is_base64(text: &str) -> bool {
    let text = text.as_bytes();
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && padding <= 2
        && text[..text.len() - padding].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

fn number(text: &str, digits: usize) -> Option<u32> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, of a day that there was.
fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let year = parts.next().and_then(|part| number(part, 4)).filter(|year| *year > 0);
    let (month, day) = (parts.next().map(|part| number(part, 2)), parts.next().map(|part| number(part, 2)));
    if parts.next().is_some() {
        return false;
    }
    match (year, month, day) {
        (Some(_), None, None) => true,
        (Some(_), Some(Some(month)), None) => (1..=12).contains(&month),
        (Some(year), Some(Some(month)), Some(Some(day))) => jiff::civil::Date::new(year as i16, month as i8, day as i8).is_ok(),
        _ => false,
    }
}

fn is_time(text: &str) -> bool {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = clock.split(':').map(|part| number(part, 2));
    let bounds = [23, 59, 60];
    bounds.iter().all(|bound| parts.next().flatten().is_some_and(|part| part <= *bound))
        && parts.next().is_none()
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// A date, a time to the second, and an offset.
fn is_instant(text: &str) -> bool {
    let Some((date, rest)) = text.split_once('T') else { return false };
    let Some(at) = rest.find(['+', '-', 'Z']) else { return false };
    let (time, offset) = rest.split_at(at);
    let offset_fits = offset == "Z"
        || offset.len() == 6
            && offset[1..].split_once(':').is_some_and(|(hours, minutes)| {
                let (hours, minutes) = (number(hours, 2), number(minutes, 2));
                hours.is_some_and(|hours| hours <= 14) && minutes.is_some_and(|minutes| minutes <= 59)
            });
    date.len() == 10 && is_date(date) && is_time(time) && offset_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(primitive: Primitive, text: &str, expected: &str) {
        let found = match primitive.read(text, &|text| Stamp::parse(text), &TimeZone::UTC) {
            Ok(scalar) => {
                assert!(primitive.fits(&scalar.value), "{primitive:?} {text}");
                format!("{}{}", scalar.value, if scalar.altered.is_some() { " altered" } else { "" })
            }
            Err(_) => "refused".into(),
        };
        assert_eq!(found, expected, "{primitive:?} {text}");
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (text, expected) in [
            ("6.30", "6.30"),
            ("+5", "5 altered"),
            (".5", "0.5 altered"),
            ("-.50", "-0.50 altered"),
            ("5.", "5 altered"),
            ("007.50", "7.50 altered"),
            ("0", "0"),
            ("0.00", "0.00"),
            ("1e3", "1e3"),
            (" 4 ", "4"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("", "refused"),
            (".", "refused"),
            ("<5", "refused"),
            ("1,5", "refused"),
            ("1e", "refused"),
            ("NaN", "refused"),
        ] {
            check(Primitive::Decimal, text, expected);
        }
        for (primitive, text, expected) in [
            (Primitive::Integer, "-3", "-3"),
            (Primitive::Integer, "3.0", "3 altered"),
            (Primitive::Integer, "3.5", "refused"),
            (Primitive::Integer, "99999999999", "refused"),
            (Primitive::PositiveInt, "0", "refused"),
            (Primitive::PositiveInt, "1", "1"),
            (Primitive::UnsignedInt, "-1", "refused"),
        ] {
            check(primitive, text, expected);
        }
    }

    #[test]
    fn texts_codes_and_stamps() {
        for (primitive, text, expected) in [
            (Primitive::String, " a ", "\" a \""),
            (Primitive::String, "a\u{1}b", "\"ab\" altered"),
            (Primitive::String, "  ", "refused"),
            (Primitive::Code, " A ", "\"A\" altered"),
            (Primitive::Code, "A B", "\"A B\""),
            (Primitive::Code, "A  B", "refused"),
            (Primitive::Id, "a b", "refused"),
            (Primitive::Uri, "urn:a b", "refused"),
            (Primitive::Boolean, "Y", "true"),
            (Primitive::Boolean, "maybe", "refused"),
            (Primitive::Date, "19700228", "\"1970-02-28\""),
            (Primitive::Date, "197002281200", "\"1970-02-28\" altered"),
            (Primitive::DateTime, "197002281200", "\"1970-02-28T12:00:00+00:00\""),
            (Primitive::Instant, "19700228", "refused"),
            (Primitive::Time, "0830", "\"08:30:00\""),
            (Primitive::Base64Binary, "QUJD\nQQ==", "\"QUJDQQ==\""),
            (Primitive::Base64Binary, "QUJ", "refused"),
        ] {
            check(primitive, text, expected);
        }
    }

    #[test]
    fn what_is_of_a_type() {
        for (primitive, good, bad) in [
            (Primitive::Date, "2024-02-29", "2023-02-29"),
            (Primitive::Date, "2024", "24"),
            (Primitive::DateTime, "2024-02-29T10:00:00.120+01:00", "2024-02-29T10:00+01:00"),
            (Primitive::Instant, "2024-02-29T10:00:00Z", "2024-02-29"),
            (Primitive::Time, "23:59:60", "24:00:00"),
            (Primitive::Code, "a-b", " a"),
            (Primitive::Xhtml, r#"<div xmlns="http://www.w3.org/1999/xhtml">x</div>"#, "x"),
        ] {
            assert!(primitive.fits(&Json::from(good)), "{good}");
            assert!(!primitive.fits(&Json::from(bad)), "{bad}");
        }
    }
}
