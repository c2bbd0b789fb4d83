//! Encounters in time: from the moves of a visit to its locations, classes and statuses.
//!
//! Items come from ADT events only, and only those of the greatest authority present count. They are sorted by when they
//! were asserted, their event's step and, last, their position; a cancel is an assertion like any other and may come
//! first.

use super::Slots;
use super::render::append;
use contract::{Authority, Json, Name, Rank, Slot};

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
}

/// Lays locations, classes and statuses over the body.
pub(super) fn lay(slots: &Slots, body: &mut Json) {
    let mut moves: Vec<Move<'_>> = slots
        .iter()
        .filter_map(|(slot, held)| match (slot, &held.value) {
            (Slot::Move { at, event, .. }, Some(value)) => Some(Move { at: *at, event, rank: held.rank, value }),
            _ => None,
        })
        .collect();
    moves.sort_by_key(|one| (one.at, one.rank.step, one.rank.position, one.rank.ordinal));
    let end = body.get("period").and_then(|period| period.get("end")).cloned();
    let status = statuses(&moves, body);
    items(&moves, "class", |value, periods| {
        let (last, earlier) = value.split_last().expect("not empty");
        body.set("class", last.clone());
        let history = earlier
            .iter()
            .zip(periods)
            .map(|(class, period)| [("class", class.clone()), ("period", period.clone())].into_iter().collect())
            .collect();
        append(body, "classHistory", history);
    });
    let over = matches!(status.as_deref(), Some("finished" | "cancelled" | "entered-in-error"));
    items(&moves, "location", |values, periods| {
        let count = values.len();
        let locations = values.iter().zip(periods).enumerate().map(|(at, (location, period))| {
            let (mut location, mut period) = (location.clone(), period.clone());
            let last = at + 1 == count;
            if last
                && over
                && let Some(end) = &end
            {
                period.set("end", end.clone());
            }
            let stated = location.get("status").is_some();
            if !last || over {
                location.set("status", "completed".into());
            } else if !stated {
                location.set("status", "active".into());
            }
            location.set("period", period);
            location
        });
        let locations = locations.collect();
        append(body, "location", locations);
    });
}

/// Finds the items of a kind that count, with cancels worked out and equal neighbours made one, and hands them over with
/// their periods.
fn items(moves: &[Move<'_>], kind: &str, lay: impl FnOnce(&[Json], &[Json])) {
    let greatest = moves.iter().filter(|one| one.kind() == kind).map(|one| one.rank.authority).max();
    let mut live: Vec<(i64, &str, &Json)> = Vec::new();
    for one in moves {
        match one.kind() {
            "cancel" => {
                let of = one.value.get("of").and_then(Json::as_str).unwrap_or_default();
                if let Some(at) = live.iter().rposition(|(_, event, _)| *event == of) {
                    let place = live[at].2;
                    live.remove(at);
                    // An update since then only repeated the place that was taken away.
                    let mut seen = 0;
                    live.retain(|(_, event, value)| {
                        seen += 1;
                        seen <= at || !matches!(*event, "A08" | "A31") || *value != place
                    });
                }
            }
            word if word == kind && Some(one.rank.authority) == greatest => {
                if let Some(value) = one.value.get(kind) {
                    live.push((one.at, one.event, value));
                }
            }
            _ => {}
        }
    }
    live.dedup_by(|later, earlier| later.2 == earlier.2);
    if live.is_empty() {
        return;
    }
    let values: Vec<Json> = live.iter().map(|(_, _, value)| (*value).clone()).collect();
    let periods: Vec<Json> = live.iter().enumerate().map(|(at, one)| period(one.0, live.get(at + 1).map(|next| next.0))).collect();
    lay(&values, &periods);
}

/// The visit's status, and its history. Implied ones count only where nothing was asserted; once finished or cancelled,
/// nothing but A13 (cancel of the discharge) reopens a visit.
fn statuses(moves: &[Move<'_>], body: &mut Json) -> Option<Name> {
    let said = || moves.iter().filter(|one| one.kind() == "status");
    let greatest = said().map(|one| one.rank.authority).max()?;
    let mut current: Option<(i64, Name)> = None;
    let mut history = Vec::new();
    for one in said().filter(|one| one.rank.authority == greatest) {
        let Some(Json::String(status)) = one.value.get("status") else { continue };
        if let Some((since, old)) = &current {
            let closed = matches!(&**old, "finished" | "cancelled" | "entered-in-error");
            let reopens = !matches!(&**status, "finished" | "cancelled" | "entered-in-error");
            if old == status || closed && reopens && one.event != "A13" {
                continue;
            }
            let past: Json = [("status", Json::string(old.clone())), ("period", period(*since, Some(one.at)))].into_iter().collect();
            history.push(past);
        }
        current = Some((one.at, status.clone()));
    }
    let (_, status) = current?;
    body.set("status", Json::string(status.clone()));
    if greatest > Authority::Implied {
        append(body, "statusHistory", history);
    }
    Some(status)
}

fn period(start: i64, end: Option<i64>) -> Json {
    let text = |at: i64| jiff::Timestamp::from_microsecond(at).map(|at| Json::from(at.to_string()));
    let mut period = Json::object();
    if let Ok(start) = text(start) {
        period.set("start", start);
    }
    if let Some(Ok(end)) = end.map(text) {
        period.set("end", end);
    }
    period
}
