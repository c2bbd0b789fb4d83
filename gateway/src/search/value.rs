//! Values as search compares them: the same functions read what is asked and, for the index, what is stored.

use super::Prefix;
use jiff::civil;
use jiff::tz::{Offset, TimeZone};

/// Text as strings are compared: lower case, without accents and other marks, white space runs as one space. In our
/// own code and not by a collation, so that all engines agree (R4 search.html §3.1.1.4.8).
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut gap = false;
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_whitespace() {
            gap = !folded.is_empty();
            continue;
        }
        if matches!(letter, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}') {
            continue;
        }
        if std::mem::take(&mut gap) {
            folded.push(' ');
        }
        match PLAIN.iter().find(|(marked, _)| marked.contains(letter)).filter(|_| !letter.is_ascii()) {
            Some((_, plain)) => folded.push_str(plain),
            None => folded.push(letter),
        }
    }
    folded
}

/// Letters with marks, by the letters they are found under.
const PLAIN: [(&str, &str); 27] = [
    ("àáâãäåāăąǎạảấầẩẫậắằẳẵặ", "a"),
    ("ḃ", "b"),
    ("çćĉċč", "c"),
    ("ďđðḋ", "d"),
    ("èéêëēĕėęěẹẻẽếềểễệ", "e"),
    ("ḟ", "f"),
    ("ĝğġģǧ", "g"),
    ("ĥħ", "h"),
    ("ìíîïĩīĭįıǐịỉ", "i"),
    ("ĵ", "j"),
    ("ķǩ", "k"),
    ("ĺļľŀł", "l"),
    ("ṁ", "m"),
    ("ñńņňŉ", "n"),
    ("òóôõöøōŏőǒơọỏốồổỗộớờởỡợ", "o"),
    ("ṗ", "p"),
    ("ŕŗř", "r"),
    ("śŝşšșſṡ", "s"),
    ("ţťŧțṫ", "t"),
    ("ùúûüũūŭůűųǔưụủứừửữự", "u"),
    ("ŵẁẃẅ", "w"),
    ("ýÿŷỳỵỷỹ", "y"),
    ("źżž", "z"),
    ("æ", "ae"),
    ("œ", "oe"),
    ("ß", "ss"),
    ("þ", "th"),
];

/// The interval `[low, high)`, UTC microseconds, that a FHIR date, dateTime or instant of any precision covers; seconds
/// `:00` are a precision. What states no zone is read in `zone`. `None`: not such a value. The last year is open.
pub fn interval(text: &str, zone: &TimeZone) -> Option<(i64, i64)> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year: i16 = digits(parts.next()?, 4)?.try_into().ok()?;
    let month = parts.next().map_or(Some(None), |part| digits(part, 2).map(Some))?;
    let day = parts.next().map_or(Some(None), |part| digits(part, 2).map(Some))?;
    if parts.next().is_some() || year == 0 || (time.is_some() && day.is_none()) {
        return None;
    }
    let start = civil::Date::new(year, i8::try_from(month.unwrap_or(1)).ok()?, i8::try_from(day.unwrap_or(1)).ok()?).ok()?;
    let Some(time) = time else {
        let next = match (month, day) {
            (None, _) => civil::Date::new(year + 1, 1, 1),
            (Some(12), None) => civil::Date::new(year + 1, 1, 1),
            (Some(month), None) => civil::Date::new(year, i8::try_from(month + 1).ok()?, 1),
            (Some(_), Some(_)) => start.tomorrow(),
        };
        let low = micros(start.at(0, 0, 0, 0), zone)?;
        let high = next.ok().and_then(|next| micros(next.at(0, 0, 0, 0), zone)).unwrap_or(i64::MAX);
        return Some((low, high));
    };
    let (clock, zone) = zoned(time, zone)?;
    let (whole, fraction) = match clock.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit()) => (whole, fraction),
        Some(_) => return None,
        None => (clock, ""),
    };
    let mut parts = whole.split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = parts.next().map_or(Some(None), |part| digits(part, 2).map(Some))?;
    if parts.next().is_some() || (second.is_none() && !fraction.is_empty()) {
        return None;
    }
    // A leap second is the last that the clock knows.
    let shown = i8::try_from(second.unwrap_or(0)).ok().map(|second| if second == 60 { 59 } else { second })?;
    let time = civil::Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, shown, 0).ok()?;
    let low = micros(start.to_datetime(time), &zone)?;
    if second.is_none() {
        return Some((low, low.checked_add(60_000_000)?));
    }
    let (mut part, mut unit) = (0_i64, 1_000_000_i64);
    for digit in fraction.bytes().take(6) {
        unit /= 10;
        part += i64::from(digit - b'0') * unit;
    }
    let low = low.checked_add(part)?;
    Some((low, low.checked_add(unit)?))
}

/// The prefix of a date, and what follows it.
pub fn prefixed(text: &str) -> (Prefix, &str) {
    let prefix = match text.as_bytes().get(..2) {
        Some(b"eq") => Prefix::Eq,
        Some(b"ne") => Prefix::Ne,
        Some(b"gt") => Prefix::Gt,
        Some(b"lt") => Prefix::Lt,
        Some(b"ge") => Prefix::Ge,
        Some(b"le") => Prefix::Le,
        Some(b"sa") => Prefix::Sa,
        Some(b"eb") => Prefix::Eb,
        Some(b"ap") => Prefix::Ap,
        _ => return (Prefix::Eq, text),
    };
    (prefix, &text[2..])
}

/// Cuts at each `separator` that no backslash escapes. The parts keep their escapes (R4 search.html §3.1.1.4.11).
pub fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if letter == separator {
            parts.push(&text[start..at]);
            start = at + letter.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Takes the escapes of `,` `$` `|` `\` away, last of all. A backslash before anything else is itself.
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\\', Some(&next @ (',' | '$' | '|' | '\\'))) => {
                plain.push(next);
                letters.next();
            }
            _ => plain.push(letter),
        }
    }
    plain
}

/// Exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<u16> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A clock time without its zone, and the zone.
fn zoned<'a>(time: &'a str, zone: &TimeZone) -> Option<(&'a str, TimeZone)> {
    if let Some(clock) = time.strip_suffix('Z') {
        return Some((clock, TimeZone::UTC));
    }
    // A `+` that was not escaped in a URL arrives as a space.
    let Some(at) = time.find(['+', '-', ' ']) else { return Some((time, zone.clone())) };
    let (hours, minutes) = time[at + 1..].split_once(':')?;
    let (hours, minutes) = (i32::from(digits(hours, 2)?), i32::from(digits(minutes, 2)?));
    if hours > 14 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    let offset = Offset::from_seconds(if time.as_bytes()[at] == b'-' { -seconds } else { seconds }).ok()?;
    Some((&time[..at], TimeZone::fixed(offset)))
}

fn micros(at: civil::DateTime, zone: &TimeZone) -> Option<i64> {
    Some(zone.to_timestamp(at).ok()?.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_folded() {
        for (text, folded) in [
            ("Müller", "muller"),
            ("MU\u{308}LLER", "muller"),
            ("  Anne   Marie ", "anne marie"),
            ("Straße", "strasse"),
            ("Łukasz", "lukasz"),
            ("Nguyễn", "nguyen"),
            ("O'Brien-Søren", "o'brien-soren"),
            ("山田", "山田"),
            ("", ""),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    #[test]
    fn dates_are_intervals_of_their_precision() {
        let london = TimeZone::get("Europe/London").unwrap();
        let utc = TimeZone::UTC;
        let stamp = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let check = |text: &str, zone: &TimeZone, low: &str, high: &str| {
            assert_eq!(interval(text, zone), Some((stamp(low), stamp(high))), "{text}");
        };
        check("1990", &utc, "1990-01-01T00:00:00Z", "1991-01-01T00:00:00Z");
        check("1990-12", &utc, "1990-12-01T00:00:00Z", "1991-01-01T00:00:00Z");
        check("2026-02", &utc, "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
        check("2024-02-29", &utc, "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z");
        check("2026-07-01", &london, "2026-06-30T23:00:00Z", "2026-07-01T23:00:00Z");
        check("2026-07-01T12:30", &london, "2026-07-01T11:30:00Z", "2026-07-01T11:31:00Z");
        check("2026-07-01T12:30:00", &london, "2026-07-01T11:30:00Z", "2026-07-01T11:30:01Z");
        check("2026-07-01T12:30:00Z", &london, "2026-07-01T12:30:00Z", "2026-07-01T12:30:01Z");
        check("2026-07-01T12:30:00+05:30", &utc, "2026-07-01T07:00:00Z", "2026-07-01T07:00:01Z");
        check("2026-07-01T12:30:00 05:30", &utc, "2026-07-01T07:00:00Z", "2026-07-01T07:00:01Z");
        check("2026-07-01T12:30:00.250-01:00", &utc, "2026-07-01T13:30:00.250Z", "2026-07-01T13:30:00.251Z");
        check("2026-07-01T12:30:00.1234567Z", &utc, "2026-07-01T12:30:00.123456Z", "2026-07-01T12:30:00.123457Z");
        assert_eq!(interval("9999", &utc).map(|(_, high)| high), Some(i64::MAX));
        for bad in [
            "",
            "19",
            "1990-13",
            "1990-1",
            "2023-02-29",
            "1990-01-01T",
            "1990-01-01T10",
            "1990-01T10:00",
            "now",
            "0000",
            "1990-01-01T10:00:00.Z",
            "1990-01-01T25:00",
            "1990-01-01T10:00:00+5",
            "1990-01-01-01",
        ] {
            assert_eq!(interval(bad, &utc), None, "{bad}");
        }
    }

    #[test]
    fn escapes_hold_separators_and_are_taken_away_last() {
        assert_eq!(split(r"a\,b,c", ','), [r"a\,b", "c"]);
        assert_eq!(split(r"a\\,b", ','), [r"a\\", "b"]);
        assert_eq!(split(r"a\,", ','), [r"a\,"]);
        assert_eq!(split("", ','), [""]);
        for (escaped, plain) in
            [(r"a\,b", "a,b"), (r"a\\", r"a\"), (r"a\|b\$c", "a|b$c"), (r"a\b", r"a\b"), ("a\\", "a\\"), (r"\\,", r"\,")]
        {
            assert_eq!(unescape(escaped), plain);
        }
    }
}
