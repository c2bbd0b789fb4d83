//! In which zone a sender's clock runs, as far as its stamps tell.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, db};
use mapping::Stamp;
use std::collections::{BTreeMap, BTreeSet};

/// More say nothing new.
const STAMPS_MAX: usize = 5_000;

/// One zone of each clock that many senders have.
const LIKELY: [&str; 11] = [
    "Europe/London",
    "Europe/Berlin",
    "Europe/Helsinki",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Australia/Sydney",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "UTC",
];

#[derive(Default)]
pub struct Stamps {
    /// By offset as it is written.
    pub offsets: BTreeMap<String, usize>,
    /// With a time of day and no offset.
    pub unzoned: usize,
    zoned_at: BTreeSet<(DateTime, i32)>,
    unzoned_at: BTreeSet<DateTime>,
}

/// A zone, and why that one.
pub struct Guess {
    pub zone: &'static str,
    /// The stamps leave it open.
    pub is_open: bool,
    pub evidence: String,
}

impl Stamps {
    pub fn take(&mut self, text: &str) {
        let text = text.trim();
        // The hyphens of ISO 8601 are in the date.
        let date = if text.as_bytes().get(4) == Some(&b'-') { 10 } else { 0 };
        let end = text.get(date..).and_then(|rest| rest.find(['+', '-'])).map_or(text.len(), |at| date + at);
        let (stamp, offset) = text.split_at(end);
        let Some(at) = civil(stamp).filter(|_| Stamp::parse(text).is_ok()) else { return };
        if offset.is_empty() {
            self.unzoned += 1;
            if self.unzoned_at.len() < STAMPS_MAX {
                self.unzoned_at.insert(at);
            }
        } else if let Some(seconds) = seconds(offset) {
            *self.offsets.entry(offset.to_owned()).or_default() += 1;
            if self.zoned_at.len() < STAMPS_MAX {
                self.zoned_at.insert((at, seconds));
            }
        }
    }

    pub fn guess(&self) -> Guess {
        let skipped: Vec<&str> = LIKELY.into_iter().filter(|name| self.is_skipped(name)).collect();
        let skipped = match skipped.as_slice() {
            [] => String::new(),
            names => format!(" Some stand in an hour that is skipped when clocks go forward in {}.", names.join(", ")),
        };
        if self.zoned_at.is_empty() {
            let evidence = format!("None of {} stamps with a time of day states an offset.{skipped}", self.unzoned);
            return Guess { zone: "UTC", is_open: true, evidence };
        }
        let offsets: Vec<String> = self.offsets.iter().map(|(offset, count)| format!("{offset} {count}")).collect();
        let stated = format!("Offsets that stamps state: {}; stamps without one: {}.", offsets.join(", "), self.unzoned);
        let fitting = LIKELY.into_iter().find(|name| self.fits(name));
        let Some(zone) = fitting else {
            let others: Vec<String> = db().available().map(|name| name.to_string()).filter(|name| self.fits(name)).take(5).collect();
            let which = if others.is_empty() { "No zone has them all".to_owned() } else { format!("They fit {}", others.join(", ")) };
            return Guess { zone: "UTC", is_open: true, evidence: format!("{stated} {which}.{skipped}") };
        };
        let others: Vec<&str> = LIKELY.into_iter().filter(|name| *name != zone && self.fits(name)).collect();
        let also = if others.is_empty() { String::new() } else { format!(" They fit {} too.", others.join(", ")) };
        let sides = self.zoned_at.iter().map(|(_, seconds)| seconds).collect::<BTreeSet<_>>().len();
        let changes = if sides > 1 { ", in summer time and out of it" } else { ", on one side of its clock change only" };
        let changes = if self.has_changes(zone) { changes } else { "" };
        let is_open = !others.is_empty() || self.has_changes(zone) && sides == 1;
        Guess { zone, is_open, evidence: format!("{stated} {zone} has them all{changes}.{also}{skipped}") }
    }

    fn fits(&self, name: &str) -> bool {
        let Ok(zone) = TimeZone::get(name) else { return false };
        self.zoned_at.iter().all(|(at, seconds)| {
            let instant = Offset::from_seconds(*seconds).and_then(|offset| offset.to_timestamp(*at));
            instant.is_ok_and(|instant| zone.to_offset(instant).seconds() == *seconds)
        })
    }

    /// Whether the zone's clocks were changed after the first of the stamps.
    fn has_changes(&self, name: &str) -> bool {
        let first = self.zoned_at.first().and_then(|(at, _)| Offset::UTC.to_timestamp(*at).ok());
        first.is_some_and(|first| TimeZone::get(name).is_ok_and(|zone| zone.following(first).next().is_some()))
    }

    /// Whether a stamp without an offset names a time that this zone never had.
    fn is_skipped(&self, name: &str) -> bool {
        let is_gap = |zone: &TimeZone, at: DateTime| matches!(zone.to_ambiguous_timestamp(at).offset(), AmbiguousOffset::Gap { .. });
        TimeZone::get(name).is_ok_and(|zone| self.unzoned_at.iter().any(|at| is_gap(&zone, *at)))
    }
}

/// To the minute: `YYYYMMDDHH[MM...]`, or ISO 8601.
fn civil(stamp: &str) -> Option<DateTime> {
    let digits: String = stamp.split('.').next()?.chars().filter(char::is_ascii_digit).collect();
    let part = |at: usize| digits.get(at..at + 2)?.parse::<i8>().ok();
    let year = digits.get(..4)?.parse::<i16>().ok()?;
    DateTime::new(year, part(4)?, part(6)?, part(8)?, part(10).unwrap_or(0), 0, 0).ok()
}

/// `+0100`, `+01:00`, `-05`.
fn seconds(offset: &str) -> Option<i32> {
    let digits: String = offset.chars().filter(char::is_ascii_digit).collect();
    let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |part| part.parse::<i32>().ok());
    let size = part(0)? * 3600 + part(2)? * 60;
    Some(if offset.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stamps: &[&str], zone: &str, is_open: bool, words: &str) {
        let mut seen = Stamps::default();
        stamps.iter().for_each(|stamp| seen.take(stamp));
        let guess = seen.guess();
        assert_eq!((guess.zone, guess.is_open), (zone, is_open), "{stamps:?}: {}", guess.evidence);
        assert!(guess.evidence.contains(words), "{stamps:?}: {}", guess.evidence);
    }

    #[test]
    fn a_zone_is_told_by_its_offsets_on_both_sides_of_a_clock_change() {
        check(&["20260301093000+0000", "202607010930+0100"], "Europe/London", false, "in summer time and out of it");
        check(&["20260301093000-0500", "2026-07-01T09:30:00-04:00"], "America/New_York", false, "-04:00 1, -0500 1");
        check(&["20260301093000+0000", "20260701093000+0000"], "UTC", false, "UTC has them all");
        check(&["20260301093000+0530"], "Asia/Kolkata", false, "Asia/Kolkata has them all.");
    }

    #[test]
    fn what_stamps_leave_open_is_said() {
        check(&["20260301093000+0000"], "Europe/London", true, "They fit UTC too");
        check(&["20260701093000-0500"], "America/Chicago", true, "one side of its clock change");
        check(&["20260301093000", "20260301"], "UTC", true, "None of 1 stamps");
        check(&["20260301093000+0545"], "UTC", true, "They fit Asia/Kat");
        check(&["20260301093000+0545", "20260301093000+0000"], "UTC", true, "No zone has them all");
        check(&["", "yesterday", "20261301093000"], "UTC", true, "None of 0 stamps");
        // 01:30 is not on London's clocks that morning.
        check(&["20260329013000"], "UTC", true, "skipped when clocks go forward in Europe/London");
    }
}
