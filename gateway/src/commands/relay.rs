use super::serve::runtime;
use super::{Done, Failure, Options, operator};
use crate::audit::Action;
use crate::config::{Config, RelayMode};
use crate::serve::store;
use crate::store::outbox::{Letter, LetterFilter, LetterState, Outbox, Tried};
use crate::store::{SqliteStore, Store, StoreError};
use contract::Json;
use jiff::Timestamp;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

/// Rows read at once.
const PAGE: usize = 1000;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// What waits for a next hop, and what was given up, with the reason. Works beside a running gateway
    List(List),
    /// Pass messages on again, behind what waits: dead letters, or any message of a feed that has a next hop (it is written down)
    Replay(Replay),
    /// Give up waiting messages, so that those behind them go: each is a dead letter then, and can be replayed (it is written down)
    Skip {
        /// As `relay list` tells them
        #[arg(required = true)]
        positions: Vec<u64>,
    },
}

#[derive(clap::Args, Debug)]
pub struct List {
    /// Only messages of this feed
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    /// Only messages of this state: waiting, dead, delivered [default: waiting and dead]
    #[arg(long, value_name = "WORD", value_parser = state)]
    state: Option<LetterState>,
    /// Only messages above this position
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    after: u64,
    /// A line of JSON a message: position, feed, type, control_id, state, queued, tries, refusals, reason
    #[arg(long)]
    ndjson: bool,
}

#[derive(clap::Args, Debug)]
pub struct Replay {
    /// Positions in the journal, in the order in which they are to go
    #[arg(required_unless_present = "dead")]
    positions: Vec<u64>,
    /// All dead letters, in order of position
    #[arg(long, conflicts_with = "positions")]
    dead: bool,
    /// With --dead: only of this feed
    #[arg(long, value_name = "NAME", requires = "dead")]
    feed: Option<String>,
}

pub fn run(options: &Options, command: &Command) -> Done {
    let config = options.load()?;
    if !config.store_directory.join("landbridge.db").is_file() {
        return Err(Failure::failed(format!("{} holds no store yet", config.store_directory.display())));
    }
    let store = store(&config).map_err(Failure::failed)?;
    match command {
        Command::List(list) => print_list(&*store, list),
        Command::Replay(replay) => runtime()?.block_on(send_again(&config, &store, replay)),
        Command::Skip { positions } => runtime()?.block_on(skip(&store, positions)),
    }
}

fn print_list(outbox: &dyn Outbox, list: &List) -> Done {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut write = |letter: &Letter| {
        if list.ndjson {
            return writeln!(out, "{}", line(letter));
        }
        let columns = format!(
            "{:>8}  {:.0}  {:12} {:8} {:20} {:9} {:>5}  {}",
            letter.position,
            letter.queued,
            shown(&letter.feed),
            shown(&letter.message_type),
            shown(&letter.control_id),
            letter.state.word(),
            letter.tries,
            shown(&letter.reason)
        );
        writeln!(out, "{}", columns.trim_end())
    };
    if !list.ndjson {
        println!("position  waits since           feed         type     control id           state     tries  last");
    }
    let filter = LetterFilter { feed: list.feed.clone(), state: list.state, after: list.after };
    each(outbox, filter, |letter| write(&letter).map_err(|_| Failure::failed("nobody reads on")))?;
    out.flush().map_err(|_| Failure::failed("nobody reads on"))?;
    Ok(ExitCode::SUCCESS)
}

async fn send_again(config: &Config, store: &Arc<SqliteStore>, replay: &Replay) -> Done {
    let mut positions = replay.positions.clone();
    if replay.dead {
        let filter = LetterFilter { feed: replay.feed.clone(), state: Some(LetterState::Dead), after: 0 };
        each(&**store, filter, |letter| {
            positions.push(letter.position);
            Ok(())
        })?;
    }
    let mut left = 0;
    for position in positions {
        let why = match store.frame(position).map_err(failed)? {
            None => Some("the journal has no such position".to_owned()),
            Some((row, ..)) if !has_next_hop(config, &row.feed) => Some(format!("feed {} has no relay after-commit", shown(&row.feed))),
            Some(_) => {
                let entry = operator::entry(Action::RelayReplay, format!("relay replay {position}"), Some(position), Timestamp::now());
                store.again(position, entry).await.err().map(|error| error.to_string())
            }
        };
        left += usize::from(why.is_some());
        println!("{position}: {}", why.map_or_else(|| "waits".to_owned(), |why| format!("not sent again: {why}")));
    }
    Ok(ExitCode::from(u8::from(left > 0)))
}

fn has_next_hop(config: &Config, feed: &str) -> bool {
    config.feeds.get(feed).is_some_and(|feed| feed.relays(RelayMode::AfterCommit).is_some())
}

async fn skip(store: &Arc<SqliteStore>, positions: &[u64]) -> Done {
    let mut left = 0;
    for &position in positions {
        let filter = LetterFilter { state: Some(LetterState::Waiting), after: position.saturating_sub(1), ..LetterFilter::default() };
        let waits = store.letters(&filter, 1).map_err(failed)?.iter().any(|letter| letter.position == position);
        if !waits {
            println!("{position}: does not wait");
            left += 1;
            continue;
        }
        let entry = operator::entry(Action::RelaySkip, format!("relay skip {position}"), Some(position), Timestamp::now());
        let tried = Tried { state: LetterState::Dead, reason: "skipped".into(), sent: false, refused: false };
        store.tried(position, tried, entry).await.map_err(failed)?;
        println!("{position}: dead");
    }
    Ok(ExitCode::from(u8::from(left > 0)))
}

fn each(outbox: &dyn Outbox, mut filter: LetterFilter, mut take: impl FnMut(Letter) -> Result<(), Failure>) -> Result<(), Failure> {
    loop {
        let letters = outbox.letters(&filter, PAGE).map_err(failed)?;
        let Some(last) = letters.last().map(|letter| letter.position) else { return Ok(()) };
        filter.after = last;
        letters.into_iter().try_for_each(&mut take)?;
    }
}

fn failed(error: StoreError) -> Failure {
    Failure::failed(error.to_string())
}

/// A line of `relay list --ndjson`. Its names are kept.
fn line(letter: &Letter) -> Json {
    let number = |number: u64| Json::Number(number.to_string().into());
    [
        ("position", number(letter.position)),
        ("feed", Json::from(letter.feed.as_str())),
        ("type", Json::from(letter.message_type.as_str())),
        ("control_id", Json::from(letter.control_id.as_str())),
        ("state", Json::from(letter.state.word())),
        ("queued", Json::from(letter.queued.to_string())),
        ("tries", number(letter.tries)),
        ("refusals", number(letter.refusals)),
        ("reason", Json::from(letter.reason.as_str())),
    ]
    .into_iter()
    .collect()
}

/// A sender's words for a terminal: its control characters would be ours.
fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn state(word: &str) -> Result<LetterState, String> {
    LetterState::from_word(word).ok_or_else(|| "no such state; there are waiting, dead, delivered".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_outbox_keeps_its_shape() {
        let letter = Letter {
            position: 7,
            feed: "pas".into(),
            message_type: "ADT^A01".into(),
            control_id: "A\u{1b}1".into(),
            state: LetterState::Dead,
            queued: "2026-03-01T09:30:00Z".parse().unwrap(),
            tries: 5,
            refusals: 3,
            reason: "AE".into(),
        };
        assert_eq!(
            line(&letter).to_string(),
            r#"{"position":7,"feed":"pas","type":"ADT^A01","control_id":"A\u001b1","state":"dead","queued":"2026-03-01T09:30:00Z","tries":5,"refusals":3,"reason":"AE"}"#
        );
        assert!(!shown(&letter.control_id).contains('\u{1b}'));
        assert_eq!(state("dead"), Ok(LetterState::Dead));
        assert!(state("gone").is_err());
    }
}
