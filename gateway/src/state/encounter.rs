//! Encounters in time: from the moves of a visit to its locations, classes and statuses.
//!
//! Only moves of the greatest authority present count, and ADT events before all others: a laboratory's PV1-3 moves no
//! bed. They are sorted by when they were asserted, their event's step and, last, their position; a cancel is an
//! assertion like any other and may come first. Periods have the times at which things happened, where those are stated.

use super::Slots;
use super::render::append;
use contract::{Authority, Json, Name, Rank, Slot, Statement};

/// Lays locations, classes and statuses over the body.
pub(super) fn lay(slots: &Slots, body: &mut Json) {
    let mut moves: Vec<Move<'_>> = slots
        .iter()
        .filter_map(|(slot, held)| match (slot, held.value.as_deref()) {
            (Slot::Move { at, event, .. }, Some(value)) => Some(Move { at: *at, event, rank: held.rank, value }),
            _ => None,
        })
        .collect();
    moves.sort_by_key(|one| (one.at, !one.is_prior(), one.rank.step, one.rank.position, one.rank.ordinal));
    let since = statuses(&moves, body);
    let classes = items(&moves, "class");
    if let Some((last, earlier)) = classes.split_last() {
        body.set("class", last.value.clone());
        let history = earlier.iter().map(|item| [("class", item.value.clone()), ("period", item.period())].into_iter().collect()).collect();
        append(body, "classHistory", history);
    }
    let status = body.get("status").and_then(Json::as_str).map(Name::from);
    let word = match status.as_deref() {
        Some(status) if is_closed(status) => "completed",
        Some("planned") => "planned",
        _ => "active",
    };
    let stated_end = body.get("period").and_then(|period| period.get("end")).cloned();
    let end = stated_end.or_else(|| since.and_then(instant)).filter(|_| word == "completed");
    let locations = items(&moves, "location");
    let count = locations.len();
    let locations = locations.into_iter().enumerate().map(|(at, item)| {
        let (mut location, mut period) = (item.value.clone(), item.period());
        let is_last = at + 1 == count;
        if let (true, Some(end)) = (is_last, &end) {
            period.set("end", end.clone());
        }
        if !is_last || word == "completed" {
            location.set("status", "completed".into());
        } else if location.get("status").is_none() {
            location.set("status", word.into());
        }
        location.set("period", period);
        location
    });
    append(body, "location", locations.collect());
    one_stay(body);
}

/// A start behind the end is another admission's, which came under the number of a visit that is over (R4 per-1).
fn one_stay(body: &mut Json) {
    let Some(period) = body.get_mut("period") else { return };
    let at = |name| period.get(name).and_then(Json::as_str).and_then(|text| text.parse::<jiff::Timestamp>().ok());
    if let (Some(start), Some(end)) = (at("start"), at("end"))
        && start > end
    {
        period.remove("start");
    }
}

/// Whether a message admits under the number of a visit that was over before: nothing but A13 reopens it.
pub(super) fn is_over(slots: &Slots, said: &[Statement]) -> bool {
    let is = |value: &Json, status: &str| value.get("status").and_then(Json::as_str) == Some(status);
    let admitted = said.iter().filter_map(|statement| match (&statement.slot, &statement.value) {
        (Slot::Move { at, event, .. }, Some(value)) if matches!(&**event, "A01" | "A04") && is(value, "in-progress") => Some(*at),
        _ => None,
    });
    let Some(admitted) = admitted.max() else { return false };
    slots.iter().any(|(slot, held)| match (slot, held.value.as_deref()) {
        (Slot::Move { at, event, .. }, Some(value)) => &**event == "A03" && is(value, "finished") && *at < admitted,
        _ => false,
    }) && !slots.keys().any(|slot| matches!(slot, Slot::Move { event, at, .. } if &**event == "A13" && *at <= admitted))
}

/// One thing that an event said of the visit.
struct Move<'a> {
    at: i64,
    event: &'a str,
    rank: Rank,
    value: &'a Json,
}

impl Move<'_> {
    fn kind(&self) -> &str {
        self.value.get("kind").and_then(Json::as_str).unwrap_or_default()
    }

    /// Whether it held until then, and not from then on.
    fn is_prior(&self) -> bool {
        self.value.get("prior").is_some_and(|prior| *prior == Json::Bool(true))
    }

    /// When it happened, where that is stated to the minute at least.
    fn since(&self) -> i64 {
        let stated = self.value.get("time").and_then(Json::as_str).and_then(|text| text.parse::<jiff::Timestamp>().ok());
        stated.map_or(self.at, jiff::Timestamp::as_microsecond)
    }

    /// How much its word counts on where a patient is.
    fn weight(&self) -> (bool, Authority) {
        let digits = self.event.strip_prefix('A').unwrap_or_default();
        (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()), self.rank.authority)
    }

    /// Whether it takes back what the other event said: A11 is the cancel of A01 and of A04 alike (chapter 3, 3.3.11).
    fn cancels(&self, event: &str) -> bool {
        let of = self.value.get("of").and_then(Json::as_str);
        of == Some(event) || of == Some("A01") && event == "A04"
    }
}

/// What held from one time to the next.
struct Item<'a> {
    event: &'a str,
    /// `None`: not known.
    from: Option<i64>,
    to: Option<i64>,
    value: &'a Json,
}

impl Item<'_> {
    fn period(&self) -> Json {
        period(self.from, self.to)
    }
}

/// The items of a kind that count, in order, with cancels worked out and equal neighbours made one.
fn items<'a>(moves: &[Move<'a>], kind: &str) -> Vec<Item<'a>> {
    let Some(greatest) = moves.iter().filter(|one| one.kind() == kind).map(Move::weight).max() else { return Vec::new() };
    let mut live: Vec<Item<'a>> = Vec::new();
    for one in moves.iter().filter(|one| one.weight() >= greatest) {
        if one.kind() == "cancel" {
            if let Some(at) = live.iter().rposition(|item| item.from.is_some() && one.cancels(item.event)) {
                let cancelled = live.remove(at).value;
                // Where the patient was until then the patient still is.
                if let Some(before) = live[..at].last_mut().filter(|before| before.from.is_none()) {
                    before.to = None;
                }
                // An update since then only repeated what was taken away.
                let mut seen = 0;
                live.retain(|item| {
                    seen += 1;
                    seen <= at || !matches!(item.event, "A08" | "A31") || item.value != cancelled
                });
            }
        } else if one.kind() == kind
            && let Some(value) = one.value.get(kind)
        {
            let (from, to) = if one.is_prior() { (None, Some(one.since())) } else { (Some(one.since()), None) };
            live.push(Item { event: one.event, from, to, value });
        }
    }
    live.dedup_by(|later, earlier| later.value == earlier.value);
    for at in 1..live.len() {
        // What is known to have held until then began at an unknown time, and so did not end what was before.
        let (before, next) = (live[at - 1].from, live[at].from);
        if let Some(next) = next {
            live[at - 1].to = Some(before.map_or(next, |before| before.max(next)));
        }
    }
    live
}

/// Lays the visit's status and its history over the body; gives since when the last one holds. Nothing but A13 (cancel
/// of the discharge) reopens a finished visit. One that was cancelled or deleted begins again where the patient is
/// admitted again under its number.
fn statuses(moves: &[Move<'_>], body: &mut Json) -> Option<i64> {
    let said = || moves.iter().filter(|one| one.kind() == "status");
    let greatest = said().map(Move::weight).max()?;
    let mut current: Option<(i64, &str)> = None;
    let mut history = Vec::new();
    for one in said().filter(|one| one.weight() == greatest) {
        let Some(status) = one.value.get("status").and_then(Json::as_str) else { continue };
        if let Some((since, old)) = current {
            let admits = || old != "finished" && matches!(one.event, "A01" | "A04" | "A05" | "A14");
            let is_barred = is_closed(old) && !is_closed(status) && one.event != "A13" && !admits();
            if old == status || is_barred {
                continue;
            }
            history
                .push([("status", Json::from(old)), ("period", period(Some(since), Some(since.max(one.since()))))].into_iter().collect());
        }
        current = Some((one.since(), status));
    }
    let (since, status) = current?;
    body.set("status", status.into());
    append(body, "statusHistory", history);
    Some(since)
}

fn is_closed(status: &str) -> bool {
    matches!(status, "finished" | "cancelled" | "entered-in-error")
}

fn period(start: Option<i64>, end: Option<i64>) -> Json {
    let ends = [("start", start.and_then(instant)), ("end", end.and_then(instant))];
    ends.into_iter().filter_map(|(name, at)| Some((name, at?))).collect()
}

fn instant(at: i64) -> Option<Json> {
    jiff::Timestamp::from_microsecond(at).ok().map(|at| Json::from(at.to_string()))
}
