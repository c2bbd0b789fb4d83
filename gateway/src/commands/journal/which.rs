//! Which frames of the journal a command is about.

use crate::commands::Failure;
use crate::commands::ops::{Ops, list, number};
use crate::search::parse::encode;
use contract::{Json, OutcomeKind};
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

    /// As `/ops/journal` takes them.
    pub fn query(&self) -> Vec<(String, String)> {
        let stated = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
        [
            stated("feed", self.feed.clone()),
            stated("type", self.message_type.clone()),
            stated("outcome", self.outcome.map(|outcome| outcome.word().to_owned())),
            stated("waiting", self.waiting.then(|| "true".to_owned())),
            stated("from", self.from.map(|from| from.to_string())),
            stated("to", self.to.map(|to| to.to_string())),
            stated("reason", self.reason.clone()),
            stated("control-id", self.control_id.clone()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Rows that fit the query (which was made from [`Which::query`]), up to the limit, read in pages.
    pub fn each(&self, ops: &Ops, query: &[(String, String)], mut take: impl FnMut(&Json) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut from = ("after", self.after);
        while left > 0 {
            let mut page = query.to_vec();
            page.push(("limit".into(), PAGE.min(left).to_string()));
            if from.1 > 0 {
                page.push((from.0.into(), from.1.to_string()));
            }
            let told = ops.get(&format!("/ops/journal?{}", encode(&page)))?;
            let rows = list(&told, "rows");
            rows.iter().try_for_each(&mut take)?;
            left -= rows.len().min(left);
            from = match ["after", "before"].into_iter().find(|name| told.get(name).is_some()) {
                Some(name) => (name, number(&told, name)),
                None => break,
            };
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
