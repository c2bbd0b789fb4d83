//! Which frames of the journal a command is about.

use crate::commands::Failure;
use crate::store::{JournalFilter, JournalRow, Store};
use contract::OutcomeKind;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Rows read at once.
const PAGE: usize = 1000;

#[derive(clap::Args, Debug)]
pub struct Which {
    /// Only frames of this feed
    #[arg(long, value_name = "NAME")]
    pub feed: Option<String>,
    /// Only messages of this type: ADT^A01, or ADT for all of its events
    #[arg(long = "type", value_name = "TYPE")]
    message_type: Option<String>,
    /// Only frames of this outcome: stored, stored-with-issues, malformed, unsupported, untranslatable, forbidden, held
    #[arg(long, value_name = "WORD", value_parser = outcome)]
    outcome: Option<OutcomeKind>,
    /// Only frames of which no resource was made: the quarantine
    #[arg(long, conflicts_with = "outcome")]
    waiting: bool,
    /// Only frames received at this time or later: 2026-03-01T09:30:00Z, with another offset, or a day of UTC
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Only frames received before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// Only frames with an issue of which the place or the reason holds this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only frames with this control id
    #[arg(long, value_name = "ID")]
    control_id: Option<String>,
    /// Only frames above this position
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    after: u64,
    /// So many frames at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

impl Which {
    /// Whether all frames are meant, for want of a filter.
    pub fn is_all(&self) -> bool {
        self.feed.is_none()
            && self.message_type.is_none()
            && self.outcome.is_none()
            && !self.waiting
            && self.from.is_none()
            && self.to.is_none()
            && self.reason.is_none()
            && self.control_id.is_none()
    }

    pub fn filter(&self) -> JournalFilter {
        JournalFilter {
            feed: self.feed.clone(),
            message_type: self.message_type.clone(),
            outcome: self.outcome,
            waiting: self.waiting,
            from: self.from,
            to: self.to,
            reason: self.reason.clone(),
            control_id: self.control_id.clone(),
            after: self.after,
            ..JournalFilter::default()
        }
    }

    /// Rows that fit the filter (which was made by [`Which::filter`]), up to the limit, read in pages.
    pub fn each(
        &self,
        store: &dyn Store,
        mut filter: JournalFilter,
        mut take: impl FnMut(JournalRow) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        while left > 0 {
            let rows = store.journal(&filter, PAGE.min(left)).map_err(|error| Failure::failed(error.to_string()))?;
            let Some(last) = rows.last().map(|row| row.position) else { break };
            if filter.newest {
                filter.before = Some(last);
            } else {
                filter.after = last;
            }
            left -= rows.len();
            rows.into_iter().try_for_each(&mut take)?;
        }
        Ok(())
    }
}

fn outcome(word: &str) -> Result<OutcomeKind, String> {
    OutcomeKind::from_word(word).ok_or_else(|| {
        let kept = OutcomeKind::ALL
            .into_iter()
            .filter(|kind| !matches!(kind, OutcomeKind::Duplicate | OutcomeKind::Unauthenticated | OutcomeKind::Transient));
        format!("no outcome of the journal; there are {}", kept.map(OutcomeKind::word).collect::<Vec<_>>().join(", "))
    })
}

fn time(text: &str) -> Result<Timestamp, String> {
    // A day with a time behind it would parse, and lose the time.
    let date = Some(text).filter(|text| text.len() == 10).and_then(|text| text.parse::<Date>().ok());
    let day = || TimeZone::UTC.to_timestamp(date?.at(0, 0, 0, 0)).ok();
    text.parse().ok().or_else(day).ok_or_else(|| "no time: write 2026-03-01T09:30:00Z, 2026-03-01T09:30:00+01:00 or 2026-03-01".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_an_offset_or_is_a_day_of_utc() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(time(text).ok(), expected.map(|expected| expected.parse().unwrap()), "{text}");
        };
        check("2026-03-01T09:30:00Z", Some("2026-03-01T09:30:00Z"));
        check("2026-03-01T09:30:00+01:00", Some("2026-03-01T08:30:00Z"));
        check("2026-03-01", Some("2026-03-01T00:00:00Z"));
        check("2026-03-01T09:30:00", None);
        check("yesterday", None);
    }
}
