use super::{Done, Failure, Options, serve};
use crate::audit::{Action, Agent, Entry};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::{JournalFilter, JournalRow, Store};
use clap::{Args, Subcommand};
use contract::{Json, OutcomeKind};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Rows asked of the store at once.
const ROWS: usize = 1000;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// What arrived and what became of it, in order of arrival
    List(List),
    /// One frame as it came, with its issues; writes an audit entry
    Show {
        /// Position in the journal
        position: u64,
    },
    /// Judge a frame again, after its table or its feed's settings were mended; writes an audit entry
    Replay {
        /// Position in the journal
        position: u64,
        /// A person has looked at it: let a held frame pass
        #[arg(long)]
        release: bool,
    },
}

#[derive(Args, Debug)]
pub struct List {
    /// A line of JSON a frame
    #[arg(long)]
    ndjson: bool,
    /// Frames of this feed
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    /// Frames with this outcome: stored, held, malformed ...
    #[arg(long, value_name = "WORD", value_parser = outcome)]
    outcome: Option<OutcomeKind>,
    /// Frames with this control id
    #[arg(long, value_name = "ID")]
    control_id: Option<String>,
}

fn outcome(word: &str) -> Result<OutcomeKind, String> {
    let known = || OutcomeKind::ALL.map(OutcomeKind::word).join(", ");
    OutcomeKind::from_word(word).ok_or_else(|| format!("one of {}", known()))
}

/// All of it works beside a running gateway.
pub fn run(options: &Options, command: &Command) -> Done {
    let config = options.load()?;
    let store = serve::store(&config).map_err(Failure::failed)?;
    match command {
        Command::List(arguments) => list(&store, arguments),
        Command::Show { position } => show(&store, *position),
        Command::Replay { position, release } => replay(&config, store, *position, *release),
    }
}

fn list(store: &dyn Store, arguments: &List) -> Done {
    let mut filter =
        JournalFilter { feed: arguments.feed.clone(), outcome: arguments.outcome, control_id: arguments.control_id.clone(), after: 0 };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if !arguments.ndjson {
        let _ = writeln!(
            out,
            "{:>8}  {:<24}  {:<10}  {:<10}  {:<18}  {:>6}  {:>7}  control id",
            "position", "received", "feed", "type", "outcome", "issues", "repeats"
        );
    }
    loop {
        let rows = store.journal(&filter, ROWS).map_err(|error| Failure::failed(error.to_string()))?;
        for row in &rows {
            let written = if arguments.ndjson {
                writeln!(out, "{}", line(row))
            } else {
                let received = row.received.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
                writeln!(
                    out,
                    "{:>8}  {received:<24}  {:<10}  {:<10}  {:<18}  {:>6}  {:>7}  {}",
                    row.position,
                    row.feed,
                    row.message_type,
                    row.outcome.word(),
                    row.issues,
                    row.repeats,
                    row.control_id
                )
            };
            if written.is_err() {
                return Ok(ExitCode::from(1));
            }
        }
        match rows.last() {
            Some(last) if rows.len() == ROWS => filter.after = last.position,
            _ => break,
        }
    }
    let _ = out.flush();
    Ok(ExitCode::SUCCESS)
}

fn line(row: &JournalRow) -> Json {
    let number = |number: u64| Json::Number(number.to_string().into());
    [
        ("position", number(row.position)),
        ("received", Json::from(row.received.to_string())),
        ("feed", Json::from(row.feed.as_str())),
        ("type", Json::from(row.message_type.as_str())),
        ("control_id", Json::from(row.control_id.as_str())),
        ("digest", Json::from(row.digest.to_string())),
        ("outcome", Json::from(row.outcome.word())),
        ("issues", number(row.issues.into())),
        ("repeats", number(row.repeats.into())),
    ]
    .into_iter()
    .collect()
}

/// The entry is durable before the frame is shown.
fn show(store: &dyn Store, position: u64) -> Done {
    let found = store.frame(position).map_err(|error| Failure::failed(error.to_string()))?;
    let entry = Entry {
        at: Clock::System.now(),
        action: Action::JournalShow,
        outcome: if found.is_some() { 0 } else { 4 },
        reason: if found.is_some() { String::new() } else { "not-found".to_owned() },
        agent: Agent { who: format!("os:{}", user()), ..Agent::default() },
        request: format!("journal show {position}"),
        patients: Vec::new(),
        resources: Vec::new(),
        issues: 0,
        count: 1,
        position: Some(position),
    };
    serve::runtime()?
        .block_on(store.record(entry))
        .map_err(|error| Failure::failed(format!("the audit entry cannot be written: {error}")))?;
    let (row, frame, issues) = found.ok_or_else(|| Failure::failed(format!("no frame at position {position}")))?;
    println!("{}", line(&row));
    for issue in issues {
        println!("{issue}");
    }
    // Segments end with CR, which a terminal would overwrite.
    println!("{}", String::from_utf8_lossy(frame.bytes()).replace("\r\n", "\n").replace('\r', "\n"));
    Ok(ExitCode::SUCCESS)
}

fn replay(config: &Config, store: impl Store, position: u64, release: bool) -> Done {
    let parts = serve::parts(config, None, Arc::new(store)).map_err(Failure::failed)?;
    let intake = crate::serve::intake(config, &parts).map_err(Failure::failed)?;
    let answer = serve::runtime()?.block_on(intake.replay(position, &user(), release)).map_err(Failure::failed)?;
    println!("{position}: {}", answer.outcome.word());
    for issue in &answer.issues {
        println!("{issue}");
    }
    Ok(ExitCode::from(u8::from(!answer.outcome.is_stored())))
}

/// The operating system's user, for the audit.
fn user() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
