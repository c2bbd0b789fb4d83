//! From facts to concerns: pure.

use super::facts::{Certificate, Facts, Part};
use super::{Concern, State, day, grouped};
use crate::config::Listener;
use crate::store::{FeedWatch, Unkept};
use contract::Sequence;
use jiff::Timestamp;

/// So long before its end a certificate needs attention.
const NOTICE_DAYS: i64 = 30;
/// Days of a month on which a feed must have spoken at this hour, before its silence means anything.
const HABIT_DAYS_MIN: u64 = 5;
/// How many times the usual pause a silence is.
const SILENCE_TIMES: i64 = 10;
const SILENCE_SECONDS_MIN: i64 = 15 * 60;
/// So long a message may wait for the next hop.
const RELAY_SECONDS_MAX: i64 = 15 * 60;
/// Of the latest messages, in percent.
const SHARE_MIN: u64 = 5;
/// A step in a sender's count that is larger starts it anew.
const GAP_MAX: u64 = 1000;
/// The audit is sealed far more often than this.
const SEAL_HOURS_MAX: i64 = 24;

const ENGINEER: &str = "integration engineer";
const SUPPLIER: &str = "integration engineer, with the sender's supplier";
const SECURITY: &str = "security staff";

/// The worst first, then in the order in which they are looked for.
pub fn judge(facts: &Facts) -> Vec<Concern> {
    let mut found = Vec::new();
    plain(facts, &mut found);
    relays(facts, &mut found);
    unkept(facts, &mut found);
    certificates(facts, &mut found);
    development(facts, &mut found);
    for feed in &facts.feeds {
        sender(facts, feed, &mut found);
        silence(facts, feed, &mut found);
        waiting(facts, feed, &mut found);
        issues(feed, &mut found);
        gaps(facts, feed, &mut found);
    }
    noticed(facts, &mut found);
    apps(facts, &mut found);
    seals(facts, &mut found);
    found.sort_by_key(|concern| std::cmp::Reverse(concern.state));
    found
}

fn plain(facts: &Facts, found: &mut Vec<Concern>) {
    for feed in facts.config.feeds.values() {
        let Listener::Mllp(name) = &feed.listener else { continue };
        let Some(listener) = facts.config.mllp.get(name).filter(|listener| listener.tls.is_none()) else { continue };
        let watch = facts.feeds.iter().find(|watch| watch.feed == feed.name);
        let local = listener.listen.ip().is_loopback();
        let concern = |kind, what, meaning: &str, act: &str| Concern {
            state: if local { State::NeedsAttention } else { State::Unsafe },
            kind,
            about: format!("feed {}", feed.name),
            what,
            meaning: meaning.to_owned(),
            act: act.to_owned(),
            who: SUPPLIER,
            since: watch.map(|watch| watch.first),
            count: watch.map(|watch| watch.messages),
        };
        let edge = "ask the supplier for MLLP over TLS with a client certificate; until then put `landbridge edge` beside the sender";
        found.push(concern(
            "plaintext-feed",
            format!("Feed {} is not encrypted.", feed.name),
            if local { "Programs on this machine can read or alter what it sends." } else { "Anyone on the network between can read or alter what it sends: results and admissions may be false, and be known to others." },
            edge,
        ));
        found.push(concern(
            "unauthenticated-feed",
            format!("Anyone who can reach {} can send as {}.", listener.listen, feed.name),
            "A false message would be stored as the sender's own word.",
            edge,
        ));
    }
}

/// What is passed on, and what is not.
fn relays(facts: &Facts, found: &mut Vec<Concern>) {
    for feed in facts.config.feeds.values() {
        let Some(relay) = feed.relay.as_ref().filter(|relay| relay.files.ca.is_none()) else { continue };
        let host = relay.to.rsplit_once(':').map_or(relay.to.as_str(), |(host, _)| host);
        let local = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
        found.push(Concern {
            state: if local { State::NeedsAttention } else { State::Unsafe },
            kind: "plaintext-relay",
            about: format!("feed {}", feed.name),
            what: format!("What feed {} sends is passed on to {} in the clear.", feed.name, relay.to),
            meaning: if local {
                "Programs on this machine can read or alter it."
            } else {
                "Anyone on the network between can read or alter it."
            }
            .into(),
            act: "give the relay `tls`, and the next hop a certificate; or put its own TLS proxy before it".into(),
            who: ENGINEER,
            since: None,
            count: None,
        });
    }
    for backlog in &facts.backlogs {
        let concern = |kind, what: String, meaning: &str, act: &str, since, count| Concern {
            state: State::NeedsAttention,
            kind,
            about: format!("feed {}", backlog.feed),
            what,
            meaning: meaning.into(),
            act: act.into(),
            who: ENGINEER,
            since,
            count: Some(count),
        };
        let waits = backlog.oldest.map(|oldest| facts.now.as_second() - oldest.as_second()).filter(|seconds| *seconds >= RELAY_SECONDS_MAX);
        if let Some(seconds) = waits {
            found.push(concern(
                "relay-waits",
                format!("Messages of feed {} wait for the next hop for {}.", backlog.feed, span(seconds)),
                "Who stands behind it does not hear of these patients meanwhile; nothing is lost.",
                "look whether the next hop runs and is reached; `landbridge relay list` tells what it said last",
                backlog.oldest,
                backlog.waiting,
            ));
        }
        if backlog.dead > 0 {
            found.push(concern(
                "relay-dead-letters",
                format!("The next hop of feed {} refused messages so often that they were set aside.", backlog.feed),
                "Who stands behind it has not what they say.",
                "`landbridge relay list` tells why; mend it there or here, then `landbridge relay replay`",
                None,
                backlog.dead,
            ));
        }
    }
}

/// What was passed on and is not here.
fn unkept(facts: &Facts, found: &mut Vec<Concern>) {
    for Unkept { listener, count, first } in &facts.unkept {
        found.push(Concern {
            state: State::NeedsAttention,
            kind: "relay-unkept",
            about: listener.clone(),
            what: format!("Messages that came at {listener} were passed on and are not in the journal."),
            meaning: "Their receiver has them, and apps do not see what they say: a result or an admission may be missing.".into(),
            act: "the log tells the reason of each; mend it, and have the sender send them again".into(),
            who: ENGINEER,
            since: Some(*first),
            count: Some(*count),
        });
    }
}

fn certificates(facts: &Facts, found: &mut Vec<Concern>) {
    for certificate in &facts.certificates {
        let Certificate { door, part, file, ends, weakness } = certificate;
        let (what, then) = match part {
            Part::Server => (
                "The certificate",
                if door == "https" {
                    "apps and senders over HTTPS refuse the gateway"
                } else {
                    "senders refuse the gateway, and messages stop arriving"
                },
            ),
            Part::ClientAuthority => ("An authority for clients", "its clients are refused, and their messages stop arriving"),
        };
        let days = (ends.as_second() - facts.now.as_second()).div_euclid(24 * 3600);
        let concern = |state, kind, what: String, meaning: String, act: &str| Concern {
            state,
            kind,
            about: door.clone(),
            what,
            meaning,
            act: format!("{act} {}", file.display()),
            who: SECURITY,
            since: None,
            count: None,
        };
        if *ends <= facts.now {
            let what = format!("{what} of {door} ended on {}.", day(*ends));
            found.push(concern(State::Unsafe, "certificate-ended", what, format!("Now {then}."), "renew"));
        } else if days < NOTICE_DAYS {
            let what = format!("{what} of {door} ends in {days} days, on {}.", day(*ends));
            found.push(concern(State::NeedsAttention, "certificate-ends", what, format!("Then {then}."), "renew"));
        }
        if let Some(weakness) = weakness {
            let what = format!("{what} of {door} is weak: {weakness}.");
            let meaning = "Somebody with means can pretend to be it, and read or alter what passes.".to_owned();
            found.push(concern(State::Unsafe, "certificate-weak", what, meaning, "replace"));
        }
    }
}

/// The certificate that a feed's sender shows.
fn sender(facts: &Facts, feed: &FeedWatch, found: &mut Vec<Concern>) {
    let Some(ends) = feed.certificate_ends.filter(|_| facts.config.feeds.contains_key(&feed.feed)) else { return };
    let days = (ends.as_second() - facts.now.as_second()).div_euclid(24 * 3600);
    if days >= NOTICE_DAYS {
        return;
    }
    let (kind, what, meaning) = if ends <= facts.now {
        ("certificate-ended", format!("ended on {}", day(ends)), "It is refused, and its messages do not arrive, until it shows another.")
    } else {
        ("certificate-ends", format!("ends in {days} days, on {}", day(ends)), "Then it is refused, and its messages stop arriving.")
    };
    found.push(Concern {
        state: if ends <= facts.now { State::Unsafe } else { State::NeedsAttention },
        kind,
        about: format!("feed {}", feed.feed),
        what: format!("The certificate that the sender of feed {} showed last {what}.", feed.feed),
        meaning: meaning.into(),
        act: "give the sender a new certificate, of an authority that the door trusts".into(),
        who: SUPPLIER,
        since: None,
        count: None,
    });
}

fn development(facts: &Facts, found: &mut Vec<Concern>) {
    if let Some(file) = facts.development.first() {
        let others = facts.development.len() - 1;
        found.push(Concern {
            state: State::Unsafe,
            kind: "development-material",
            about: file.display().to_string(),
            what: format!(
                "Development certificates or keys are in use: {}{}.",
                file.display(),
                if others > 0 { format!(", and {others} more") } else { String::new() }
            ),
            meaning: "They are for trying: whoever has a copy of the folder can send, read and sign as this gateway.".into(),
            act: "replace them by your own before a patient's data comes near".into(),
            who: SECURITY,
            since: None,
            count: None,
        });
    }
}

fn silence(facts: &Facts, feed: &FeedWatch, found: &mut Vec<Concern>) {
    if feed.days_at_this_hour < HABIT_DAYS_MIN || !facts.config.feeds.contains_key(&feed.feed) {
        return;
    }
    let usual = i64::try_from(feed.days_at_this_hour * 3600 / feed.at_this_hour.max(1)).unwrap_or(i64::MAX).max(1);
    let silent = facts.now.as_second() - feed.last.as_second();
    if silent < SILENCE_SECONDS_MIN || silent < usual.saturating_mul(SILENCE_TIMES) {
        return;
    }
    found.push(Concern {
        state: State::NeedsAttention,
        kind: "silent-feed",
        about: format!("feed {}", feed.feed),
        what: format!("Feed {} has been silent for {}; usual at this hour: {}.", feed.feed, span(silent), span(usual)),
        meaning: "What apps show of its patients may be old.".into(),
        act: "look whether the sender runs and reaches the gateway; its log and ours tell refused connections".into(),
        who: SUPPLIER,
        since: Some(feed.last),
        count: None,
    });
}

fn waiting(facts: &Facts, feed: &FeedWatch, found: &mut Vec<Concern>) {
    let Some(waiting) = feed.waiting else { return };
    let limit = facts.config.limits.quarantine_frames;
    let full = waiting.count >= limit;
    let grows = if waiting.today > 0 { format!(", {} of them since yesterday", grouped(waiting.today)) } else { String::new() };
    found.push(Concern {
        state: if full { State::Unsafe } else { State::NeedsAttention },
        kind: "quarantine",
        about: format!("feed {}", feed.feed),
        what: match waiting.count {
            1 => format!("A message of feed {} waits in quarantine.", feed.feed),
            count => format!("{} messages of feed {} wait in quarantine{grows}.", grouped(count), feed.feed),
        },
        meaning: if full { "There is no room for more: its broken messages are now refused.".into() } else { "What they say is in no record that an app reads.".into() },
        act: format!("`landbridge journal list --waiting --feed {}` tells why; mend the tables or the configuration, then `landbridge journal replay`", feed.feed),
        who: ENGINEER,
        since: Some(waiting.since),
        count: Some(waiting.count),
    });
}

/// Codes that no table knows, and values that went nowhere, where they are a share of what comes.
fn issues(feed: &FeedWatch, found: &mut Vec<Concern>) {
    for (code, kind, what, meaning) in [
        (
            "unknown-code",
            "unmapped-codes",
            "hold a code that no table knows",
            "Apps that look for the standard code do not find these results or stays.",
        ),
        (
            "not-mapped",
            "values-that-go-nowhere",
            "hold a value that is carried nowhere",
            "Apps do not see it; it stands in the journal alone.",
        ),
    ] {
        let mut places: Vec<(&str, u64)> =
            feed.issues.iter().filter(|(of, ..)| *of == code).map(|(_, place, messages)| (place.as_str(), *messages)).collect();
        places.sort_by_key(|(place, messages)| (std::cmp::Reverse(*messages), *place));
        let Some((_, most)) = places.first().copied() else { continue };
        let share = most * 100 / feed.sampled.max(1);
        if share < SHARE_MIN {
            continue;
        }
        let named: Vec<String> =
            places.iter().take(3).map(|(place, messages)| format!("{place} ({} %)", messages * 100 / feed.sampled.max(1))).collect();
        found.push(Concern {
            state: State::NeedsAttention,
            kind,
            about: format!("feed {}", feed.feed),
            what: format!(
                "Of the last {} messages of feed {}, {share} % or more {what}: {}.",
                grouped(feed.sampled),
                feed.feed,
                named.join(", ")
            ),
            meaning: meaning.into(),
            act: format!(
                "`landbridge journal list --feed {}` and `landbridge explain` tell which; add rows or a code map to the tables",
                feed.feed
            ),
            who: ENGINEER,
            since: None,
            count: Some(places.iter().map(|(_, messages)| messages).sum()),
        });
    }
}

/// Numbers that a counting sender left out.
fn gaps(facts: &Facts, feed: &FeedWatch, found: &mut Vec<Concern>) {
    let (numbers, field) = match facts.config.feeds.get(&feed.feed).and_then(|feed| feed.sequence) {
        Some(Sequence::ControlId) => (&feed.control_ids, "control id"),
        Some(Sequence::Msh13) => (&feed.sequence_numbers, "MSH-13"),
        None => return,
    };
    let mut numbers: Vec<(u64, Timestamp)> = numbers.clone();
    numbers.sort_unstable();
    let (mut missing, mut since) = (0, None);
    for pair in numbers.windows(2) {
        let [(before, _), (after, at)] = pair else { continue };
        let left_out = after.saturating_sub(*before).saturating_sub(1);
        if (1..GAP_MAX).contains(&left_out) {
            missing += left_out;
            since = Some(since.map_or(*at, |since: Timestamp| since.min(*at)));
        }
    }
    if missing > 0 {
        found.push(Concern {
            state: State::NeedsAttention,
            kind: "sequence-gap",
            about: format!("feed {}", feed.feed),
            what: format!("{} numbers are missing in what feed {} counts ({field}).", grouped(missing), feed.feed),
            meaning: "As many of its messages may never have come: a result or a move may be missing.".into(),
            act: "ask the sender for the messages with the missing numbers".into(),
            who: SUPPLIER,
            since,
            count: Some(missing),
        });
    }
}

/// What folding noticed in what messages say.
fn noticed(facts: &Facts, found: &mut Vec<Concern>) {
    for row in &facts.noticed {
        let sentence = |text: &str| {
            let mut chars = text.chars();
            chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect::<String>())
        };
        let (what, act) = row.finding.meaning().split_once(": ").unwrap_or((row.finding.meaning(), "look at the message"));
        found.push(Concern {
            state: State::NeedsAttention,
            kind: row.finding.word(),
            about: format!("feed {}", row.feed),
            what: format!("Feed {}: {what}.", row.feed),
            meaning: "Two senders, or two messages, do not agree on who or what is meant: a record may be incomplete, or be another's."
                .into(),
            act: format!("{}; `landbridge journal show {}` is the last such message", sentence(act).trim_end_matches('?'), row.position),
            who: ENGINEER,
            since: Some(row.first),
            count: Some(row.count),
        });
    }
}

fn apps(facts: &Facts, found: &mut Vec<Concern>) {
    for app in &facts.apps {
        found.push(Concern {
            state: State::NeedsAttention,
            kind: "wide-token",
            about: format!("app {}", app.app),
            what: format!("App {} may read every patient, and its tokens work for whoever holds them.", app.app),
            meaning: "A token that is copied or left in a log opens all records until it ends.".into(),
            act: "ask for narrower scopes at the token issuer, or for tokens bound to the app's certificate (RFC 8705)".into(),
            who: SECURITY,
            since: Some(app.first),
            count: Some(app.requests),
        });
    }
}

fn seals(facts: &Facts, found: &mut Vec<Concern>) {
    let concern = |kind, what: String, meaning: &str, act: String, since| Concern {
        state: State::NeedsAttention,
        kind,
        about: "audit".into(),
        what,
        meaning: meaning.into(),
        act,
        who: SECURITY,
        since,
        count: None,
    };
    if facts.seals_stay {
        found.push(concern(
            "seals-stay",
            format!("The audit's seals lie on the volume of the log that they guard ({}).", facts.config.seals.display()),
            "Whoever can cut the log can cut the seals with it, and the cut would not show.",
            "let `audit.seals` go to another machine or medium (a mounted share, or standard output that is collected)".into(),
            None,
        ));
    }
    let stale = facts.last_seal.filter(|seal| facts.now.as_second() - seal.as_second() > SEAL_HOURS_MAX * 3600);
    if let Some(seal) = stale {
        found.push(concern(
            "seals-old",
            format!("The audit was last sealed {} ago.", span(facts.now.as_second() - seal.as_second())),
            "A cut of what was written since would not show.",
            "look whether the gateway runs, and whether its seal key and seals can be used".into(),
            Some(seal),
        ));
    }
}

/// `3 h`, `4 min`, `26 d`.
pub(super) fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
