//! Time stamps of V3 (TS): as those of HL7 v2, but offsets of hours alone occur (`201701012000+00`).

use jiff::tz::{Offset, TimeZone};
use mapping::Stamp;
use std::borrow::Cow;

/// Reads a stamp with the precision it was written in.
pub fn read(text: &str) -> Result<Stamp, &'static str> {
    Stamp::parse(&whole(text))
}

/// The zone that a stamp states, for stamps of the same document that state none.
pub fn zone(text: &str) -> Option<TimeZone> {
    let text = whole(text);
    let (_, offset) = text.split_at(text.find(['+', '-'])?);
    let digits = offset.get(1..5).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let seconds: i32 = digits[..2].parse::<i32>().ok()? * 3600 + digits[2..].parse::<i32>().ok()? * 60;
    Offset::from_seconds(if offset.starts_with('-') { -seconds } else { seconds }).ok().map(TimeZone::fixed)
}

/// With minutes in its offset.
fn whole(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    match text.find(['+', '-']) {
        Some(at) if at >= 8 && text.len() == at + 3 && text.as_bytes()[at + 1..].iter().all(u8::is_ascii_digit) => {
            Cow::Owned(format!("{text}00"))
        }
        _ => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_hours_are_read() {
        let utc = TimeZone::UTC;
        for (text, expected) in [
            ("201701012000+00", "2017-01-01T20:00:00+00:00"),
            ("20170101200000-05", "2017-01-01T20:00:00-05:00"),
            ("20170101200000.123+0530", "2017-01-01T20:00:00.123+05:30"),
            ("20170101", "2017-01-01"),
            ("2017", "2017"),
        ] {
            assert_eq!(read(text).unwrap().date_time(&utc), expected, "{text}");
        }
        assert!(read("2017-+1").is_err());
        assert_eq!(zone("201701012000+01"), Some(TimeZone::fixed(Offset::from_seconds(3600).unwrap())));
        assert_eq!(zone("201701012000"), None);
        assert_eq!(zone("20170101-aéb"), None);
    }
}
