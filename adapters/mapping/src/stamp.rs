use jiff::civil;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use std::fmt::Write;

/// A time stamp with the precision it was written in, as HL7 v2 (DTM §2.A.21, TS) and V3 (TS) write it:
/// `YYYY[MM[DD[HH[MM[SS[.S…]]]]]][+ZZZZ]`. ISO 8601's extended form is read too: many systems write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    time: Option<Clock>,
    /// Minutes east of Greenwich, where stated.
    offset: Option<i16>,
}

/// Time of day with its precision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clock {
    hour: i8,
    minute: Option<i8>,
    second: Option<i8>,
    /// Digits after the point, as written.
    fraction: String,
}

const NOT_A_STAMP: &str = "not a time stamp";
const NO_SUCH_DAY: &str = "no such day";
const NO_SUCH_TIME: &str = "no such time of day";

impl Stamp {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let compact;
        let text = if text.as_bytes().get(4) == Some(&b'-') && text.len() >= 7 {
            compact = compact_form(text).ok_or(NOT_A_STAMP)?;
            &compact
        } else {
            text
        };
        let (digits, offset) = match text.find(['+', '-', 'Z']) {
            Some(at) => (&text[..at], Some(parse_offset(&text[at..]).ok_or(NOT_A_STAMP)?)),
            None => (text, None),
        };
        let (digits, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if !digits.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(NOT_A_STAMP);
        }
        if !matches!(digits.len(), 4 | 6 | 8 | 10 | 12 | 14) || !fraction.is_empty() && digits.len() != 14 {
            return Err(NOT_A_STAMP);
        }
        let pair = |at: usize| digits.get(at..at + 2).and_then(|two| two.parse::<i8>().ok());
        let year: i16 = digits[..4].parse().map_err(|_| NOT_A_STAMP)?;
        let (month, day) = (pair(4), pair(6));
        if year == 0 || civil::Date::new(year, month.unwrap_or(1), day.unwrap_or(1)).is_err() {
            return Err(NO_SUCH_DAY);
        }
        let time = match pair(8) {
            None => None,
            Some(hour) => Some(Clock::new(hour, pair(10), pair(12), fraction)?),
        };
        // A zone without a time says nothing that FHIR could hold.
        Ok(Self { year, month, day, offset: offset.filter(|_| time.is_some()), time })
    }

    /// FHIR date, and whether a time of day other than midnight was left out.
    pub fn date(&self) -> (String, bool) {
        let mut out = format!("{:04}", self.year);
        for part in [self.month, self.day].into_iter().flatten() {
            let _ = write!(out, "-{part:02}");
        }
        (out, self.time.as_ref().is_some_and(|time| !time.is_midnight()))
    }

    /// FHIR dateTime: with a time of day, seconds are filled with zeros (R4 datatypes.html#dateTime) and the offset is
    /// the one written, else that of `zone` at that time.
    pub fn date_time(&self, zone: &TimeZone) -> String {
        let (mut out, _) = self.date();
        if let Some(time) = &self.time {
            out.push('T');
            time.write(&mut out);
            let minutes = self.offset.unwrap_or_else(|| offset_minutes(self.civil(time), zone));
            let _ = write!(out, "{}{:02}:{:02}", if minutes < 0 { '-' } else { '+' }, minutes.abs() / 60, minutes.abs() % 60);
        }
        out
    }

    /// FHIR instant: at least the minute must be known.
    pub fn instant(&self, zone: &TimeZone) -> Result<String, &'static str> {
        match &self.time {
            Some(Clock { minute: Some(_), .. }) => Ok(self.date_time(zone)),
            _ => Err("not exact enough for an instant"),
        }
    }

    /// FHIR time, where a time of day was written.
    pub fn time(&self) -> Option<String> {
        self.time.as_ref().map(|time| {
            let mut out = String::with_capacity(8);
            time.write(&mut out);
            out
        })
    }

    /// The start of the interval that it names: UTC microseconds.
    pub fn micros(&self, zone: &TimeZone) -> i64 {
        let midnight = Clock { hour: 0, minute: None, second: None, fraction: String::new() };
        let at = self.civil(self.time.as_ref().unwrap_or(&midnight));
        let zoned = match self.offset.and_then(|minutes| Offset::from_seconds(i32::from(minutes) * 60).ok()) {
            Some(offset) => offset.to_timestamp(at).ok(),
            None => zone.to_timestamp(at).ok(),
        };
        zoned.map_or(0, |timestamp| timestamp.as_microsecond())
    }

    /// Whether a zone was written, or none is needed.
    pub fn is_zoned(&self) -> bool {
        self.time.is_none() || self.offset.is_some()
    }

    fn civil(&self, time: &Clock) -> civil::DateTime {
        let date = civil::Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1)).unwrap_or_default();
        // A leap second is the last one of its minute.
        let second = time.second.unwrap_or(0).min(59);
        let mut nanos = time.fraction.get(..9).unwrap_or(&time.fraction).parse::<i32>().unwrap_or(0);
        (time.fraction.len()..9).for_each(|_| nanos *= 10);
        civil::Time::new(time.hour, time.minute.unwrap_or(0), second, nanos).map_or(date.at(0, 0, 0, 0), |time| date.to_datetime(time))
    }
}

impl Clock {
    fn new(hour: i8, minute: Option<i8>, second: Option<i8>, fraction: &str) -> Result<Self, &'static str> {
        if hour > 23 || minute > Some(59) || second > Some(60) {
            return Err(NO_SUCH_TIME);
        }
        Ok(Self { hour, minute, second, fraction: fraction.to_owned() })
    }

    fn is_midnight(&self) -> bool {
        self.hour == 0 && self.minute.unwrap_or(0) == 0 && self.second.unwrap_or(0) == 0 && self.fraction.bytes().all(|byte| byte == b'0')
    }

    fn write(&self, out: &mut String) {
        let _ = write!(out, "{:02}:{:02}:{:02}", self.hour, self.minute.unwrap_or(0), self.second.unwrap_or(0));
        if !self.fraction.is_empty() {
            let _ = write!(out, ".{}", self.fraction);
        }
    }
}

/// A time of day alone (HL7 v2 TM: `HH[MM[SS[.S…]]]`, or with colons) as FHIR time.
pub fn time_of_day(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let plain: String = text.split(['+', '-']).next().unwrap_or("").chars().filter(|character| *character != ':').collect();
    let (digits, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    if !digits.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err("not a time of day");
    }
    if matches!(digits.len(), 2 | 4 | 6) {
        let pair = |at: usize| digits.get(at..at + 2).and_then(|two| two.parse::<i8>().ok());
        let clock = Clock::new(pair(0).unwrap_or(99), pair(2), pair(4), fraction)?;
        let mut out = String::with_capacity(8);
        clock.write(&mut out);
        return Ok(out);
    }
    Stamp::parse(text)?.time().ok_or("not a time of day")
}

/// `2026-01-02T15:30:00+01:00` without its punctuation.
fn compact_form(text: &str) -> Option<String> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let mut out: String = date.split('-').collect();
    if date.len() > 10 || !out.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    out.extend(time.chars().filter(|character| *character != ':'));
    Some(out)
}

fn parse_offset(text: &str) -> Option<i16> {
    if text == "Z" {
        return Some(0);
    }
    let digits = &text[1..];
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i16, i16) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    let total = hours * 60 + minutes;
    // FHIR allows offsets of at most 14 hours.
    (minutes < 60 && total <= 14 * 60).then_some(if text.starts_with('-') { -total } else { total })
}

/// The offset before the change where a clock time is skipped or comes twice: as jiff's `compatible`, and so as
/// [`Stamp::micros`].
fn offset_minutes(at: civil::DateTime, zone: &TimeZone) -> i16 {
    let offset = match zone.to_ambiguous_timestamp(at).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => before,
    };
    (offset.seconds() / 60) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn london() -> TimeZone {
        TimeZone::get("Europe/London").unwrap()
    }

    #[test]
    fn precision_is_kept_and_the_zone_is_the_feeds() {
        for (text, expected) in [
            ("1970", "1970"),
            ("197002", "1970-02"),
            ("19700228", "1970-02-28"),
            ("2026070115", "2026-07-01T15:00:00+01:00"),
            ("202601021530", "2026-01-02T15:30:00+00:00"),
            ("20260702153007", "2026-07-02T15:30:07+01:00"),
            ("20260702153007.1200", "2026-07-02T15:30:07.1200+01:00"),
            ("20260702153007.12-0530", "2026-07-02T15:30:07.12-05:30"),
            ("20260702+0100", "2026-07-02"),
            ("2026-07-02", "2026-07-02"),
            ("2026-07-02T15:30:07Z", "2026-07-02T15:30:07+00:00"),
            ("2026-07-02 15:30", "2026-07-02T15:30:00+01:00"),
            // The hour that does not exist, and the one that is there twice.
            ("20260329013000", "2026-03-29T01:30:00+00:00"),
            ("20261025013000", "2026-10-25T01:30:00+01:00"),
        ] {
            assert_eq!(Stamp::parse(text).unwrap().date_time(&london()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        for text in [
            "",
            "97",
            "19701",
            "19701301",
            "19700230",
            "00000000",
            "1970010124",
            "197001011260",
            "1970.5",
            "today",
            "20260702+1",
            "19700101+1500",
            "1970-13",
        ] {
            assert!(Stamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn stamps_rank_by_their_start() {
        let micros = |text: &str| Stamp::parse(text).unwrap().micros(&london());
        assert_eq!(micros("19700101000001.5+0000"), 1_500_000);
        assert_eq!(micros("19700101010000+0100"), 0);
        assert_eq!(micros("20260701120000"), micros("20260701110000+0000"));
        assert!(micros("2026") < micros("202601011200"));
    }

    #[test]
    fn instants_need_a_minute_and_times_stand_alone() {
        let zone = TimeZone::UTC;
        assert!(Stamp::parse("20260102").unwrap().instant(&zone).is_err());
        assert_eq!(Stamp::parse("202601021530").unwrap().instant(&zone).unwrap(), "2026-01-02T15:30:00+00:00");
        assert_eq!(time_of_day("0830").unwrap(), "08:30:00");
        assert_eq!(time_of_day("08:30:15").unwrap(), "08:30:15");
        assert_eq!(time_of_day("20260102083015").unwrap(), "08:30:15");
        assert!(time_of_day("2500").is_err());
        assert!(time_of_day("20260102").is_err());
        assert_eq!(Stamp::parse("197001010000").unwrap().date(), ("1970-01-01".into(), false));
        assert_eq!(Stamp::parse("197001011200").unwrap().date(), ("1970-01-01".into(), true));
    }
}
