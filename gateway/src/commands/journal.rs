mod edit;
mod replay;
mod which;

use super::patient::patient_id;
use super::serve::runtime;
use super::{Done, Failure, Options, operator};
use crate::audit::Action;
use crate::config::Config;
use crate::ops::patients;
use crate::ops::told::row as row_told;
use crate::serve::store;
use crate::store::{FindingRow, JournalRow, Mend, Mending, SqliteStore, Standing, Store};
use contract::{Issue, Json};
use edit::Edit;
use jiff::Timestamp;
use replay::{Replay, judge_again};
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;
use which::Which;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// What arrived, and what became of it; what waits, with the reason. Works beside a running gateway
    List(List),
    /// One frame as it came, with what is known of it (an access to patient data: it is written down)
    Show(Show),
    /// What was noticed and a person should look at, by kind and feed. Works beside a running gateway
    Findings(Findings),
    /// Make a new version of a frame, which is judged in its place: the original is kept as it came, and counts no more once
    /// the new version is stored (it is written down, and so is the access to patient data)
    Edit(Edit),
    /// Judge frames again that were not stored, after a table or the configuration was mended and the gateway was started
    /// with it (it is written down)
    Replay(Replay),
}

#[derive(clap::Args, Debug)]
pub struct List {
    /// A line of JSON a frame: position, received, feed, type, control_id, digest, outcome, issues, repeats, standing, and
    /// edit_of where it is a new version of another
    #[arg(long)]
    ndjson: bool,
    /// Only stored frames about this Patient: its resource id, or SYSTEM|VALUE of one of its identifiers (an access to
    /// patient data: it is written down, with the id)
    #[arg(long, value_name = "PATIENT", conflicts_with = "waiting")]
    patient: Option<String>,
    /// The newest first
    #[arg(long)]
    newest: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args, Debug)]
pub struct Findings {
    /// A line of JSON a finding: finding, feed, count, first, last, position (of the last message that showed it)
    #[arg(long)]
    ndjson: bool,
}

#[derive(clap::Args, Debug)]
pub struct Show {
    /// As `journal list` tells it
    position: u64,
    /// The bytes of the frame and nothing else
    #[arg(long)]
    raw: bool,
}

pub fn run(options: &Options, command: &Command) -> Done {
    let config = options.load()?;
    if !config.store_directory.join("landbridge.db").is_file() {
        return Err(Failure::failed(format!("{} holds no store yet", config.store_directory.display())));
    }
    let store = store(&config).map_err(Failure::failed)?;
    if let Command::List(List { which, .. }) | Command::Replay(Replay { which, .. }) = command
        && let Some(feed) = unknown(&config, which)
    {
        let known = config.feeds.keys().cloned().chain(config.mllp.keys().map(|name| format!("mllp.{name}")));
        eprintln!("no feed {feed} is configured now; there are {}", known.collect::<Vec<_>>().join(", "));
    }
    match command {
        Command::List(list) => print_list(&config, &store, list),
        Command::Findings(findings) => print_findings(&*store, findings.ndjson),
        Command::Show(show) => runtime()?.block_on(print_frame(&config, &store, show)),
        Command::Edit(edit) => runtime()?.block_on(edit::edit(&config, store, edit)),
        Command::Replay(replay) => runtime()?.block_on(judge_again(&config, store, replay)),
    }
}

/// The feed that was asked for, where the configuration has none of that name (nor a listener, under which frames of no
/// feed stand).
fn unknown<'a>(config: &Config, which: &'a Which) -> Option<&'a str> {
    let feed = which.feed.as_deref()?;
    let listener = |name: &str| name.strip_prefix("mllp.").is_some_and(|name| config.mllp.contains_key(name));
    (!config.feeds.contains_key(feed) && !listener(feed)).then_some(feed)
}

fn print_list(config: &Config, store: &Arc<SqliteStore>, list: &List) -> Done {
    let mut filter = list.which.filter();
    filter.newest = list.newest;
    if let Some(patient) = &list.patient {
        let id = patient_id(store, &config.read_id_key().map_err(Failure::failed)?, patient)?;
        let mut entry = operator::entry(Action::JournalShow, "journal list --patient".into(), None, Timestamp::now());
        entry.patients = vec![id.clone()];
        runtime()?.block_on(store.record(entry)).map_err(|error| Failure::failed(error.to_string()))?;
        filter.patient = Some(id);
    }
    let store = &**store;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut write = |row: &JournalRow| {
        if list.ndjson {
            return writeln!(out, "{}", row_told(row)).is_ok();
        }
        let why = match standing(row) {
            Some(standing) => Some(standing),
            None if row.outcome.is_stored() => None,
            None => first_reason(store, row.position),
        };
        let columns = format!(
            "{:>8}  {:.0}  {:12} {:8} {:20} {:18} {:>3} {:>3}  {}",
            row.position,
            row.received,
            shown(&row.feed),
            shown(&row.message_type),
            shown(&row.control_id),
            row.outcome.word(),
            row.issues,
            row.repeats,
            why.unwrap_or_default()
        );
        writeln!(out, "{}", columns.trim_end()).is_ok()
    };
    if !list.ndjson {
        println!("position  received              feed         type     control id           outcome         issues repeats");
    }
    list.which.each(store, filter, |row| if write(&row) { Ok(()) } else { Err(Failure::failed("nobody reads on")) })?;
    out.flush().map_err(|_| Failure::failed("nobody reads on"))?;
    Ok(ExitCode::SUCCESS)
}

fn print_findings(store: &dyn Store, ndjson: bool) -> Done {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let rows = store.findings().map_err(|error| Failure::failed(error.to_string()))?;
    let mut write = |row: &FindingRow| {
        if ndjson {
            return writeln!(out, "{}", finding_line(row));
        }
        writeln!(
            out,
            "{:18} {:12} {:>7} times, last at position {} ({:.0})",
            row.finding.word(),
            row.feed,
            row.count,
            row.position,
            row.last
        )?;
        writeln!(out, "  {}", row.finding.meaning())
    };
    rows.iter().try_for_each(&mut write).and_then(|()| out.flush()).map_err(|_| Failure::failed("nobody reads on"))?;
    Ok(ExitCode::SUCCESS)
}

/// A line of `journal findings --ndjson`. Its names are kept.
fn finding_line(row: &FindingRow) -> Json {
    let number = |number: u64| Json::Number(number.to_string().into());
    [
        ("finding", Json::from(row.finding.word())),
        ("feed", Json::from(row.feed.as_str())),
        ("count", number(row.count)),
        ("first", Json::from(row.first.to_string())),
        ("last", Json::from(row.last.to_string())),
        ("position", number(row.position)),
    ]
    .into_iter()
    .collect()
}

/// Access to a frame is access to patient data: written down before it is shown.
async fn print_frame(config: &Config, store: &Arc<SqliteStore>, show: &Show) -> Done {
    let failed = |error: crate::store::StoreError| Failure::failed(error.to_string());
    let found = store.frame(show.position).map_err(failed)?;
    let (row, frame, issues) =
        found.ok_or_else(|| Failure::failed(format!("the journal has no position {}: `journal list` tells them", show.position)))?;
    write_down(config, store, show.position, format!("journal show {}", show.position)).await?;
    let mends = store.mends(show.position).map_err(failed)?;

    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = if show.raw { out.write_all(frame.bytes()) } else { write_frame(&mut out, &row, &issues, &mends, frame.bytes()) };
    written.and_then(|()| out.flush()).map_err(|_| Failure::failed("nobody reads on"))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes down that a frame is shown, before it is.
async fn write_down(config: &Config, store: &SqliteStore, position: u64, request: String) -> Result<(), Failure> {
    let failed = |error: crate::store::StoreError| Failure::failed(error.to_string());
    let mut entry = operator::entry(Action::JournalShow, request, Some(position), Timestamp::now());
    let said = store.contributions(position).map_err(failed)?.unwrap_or_default();
    entry.patients = patients(&said, &config.read_id_key().map_err(Failure::failed)?);
    store.record(entry).await.map_err(failed)
}

fn write_frame(out: &mut impl Write, row: &JournalRow, issues: &[Issue], mends: &[Mend], bytes: &[u8]) -> std::io::Result<()> {
    writeln!(out, "position    {}", row.position)?;
    writeln!(out, "received    {}", row.received)?;
    writeln!(out, "feed        {}", shown(&row.feed))?;
    writeln!(out, "type        {}", shown(&row.message_type))?;
    writeln!(out, "control id  {}", shown(&row.control_id))?;
    writeln!(out, "digest      {}", row.digest)?;
    writeln!(out, "outcome     {}", row.outcome.word())?;
    writeln!(out, "repeats     {}", row.repeats)?;
    if let Some(standing) = standing(row) {
        writeln!(out, "standing    {standing}")?;
    }
    for mend in mends {
        writeln!(out, "{:11} {}", mend.action.word(), told(mend))?;
    }
    for issue in issues {
        writeln!(out, "issue       {issue}")?;
    }
    writeln!(out)?;
    for line in String::from_utf8_lossy(bytes).split(['\r', '\n']).filter(|line| !line.is_empty()) {
        writeln!(out, "{}", shown(line))?;
    }
    Ok(())
}

/// What a person made of a frame, where that is not as it came.
fn standing(row: &JournalRow) -> Option<String> {
    match (row.standing, row.edit_of) {
        (Standing::Counts, None) => None,
        (Standing::Counts, Some(of)) => Some(format!("edit of {of}")),
        (standing, None) => Some(standing.word().to_owned()),
        (standing, Some(of)) => Some(format!("edit of {of}, {}", standing.word())),
    }
}

/// `42 into 57, by os:wren, 2026-03-01T09:30:00Z: because`.
pub(super) fn told(mend: &Mend) -> String {
    let into = mend.version.map(|version| format!(" into {version}")).unwrap_or_default();
    format!("{}{into}, by {}, {:.0}: {}", mend.position, shown(&mend.who), mend.at, shown(&mend.because))
}

/// Why a frame waits: its first issue of weight.
fn first_reason(store: &dyn Store, position: u64) -> Option<String> {
    let (_, _, issues) = store.frame(position).ok()??;
    issues.iter().max_by_key(|issue| issue.severity).map(ToString::to_string)
}

/// A sender's words for a terminal: its control characters would be ours.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MendAction;
    use contract::OutcomeKind;

    fn row() -> JournalRow {
        JournalRow {
            position: 7,
            received: "2026-03-01T09:30:00.5Z".parse().unwrap(),
            feed: "pas".into(),
            message_type: "ADT^A01".into(),
            control_id: "A\u{1b}[2J\"1".into(),
            digest: contract::Digest([0xab; 32]),
            outcome: OutcomeKind::StoredWithIssues,
            issues: 2,
            repeats: 1,
            standing: Standing::Superseded,
            edit_of: Some(3),
            place: 3,
        }
    }

    #[test]
    fn a_line_of_the_journal_keeps_its_shape() {
        assert_eq!(
            row_told(&row()).to_string(),
            format!(
                r#"{{"position":7,"received":"2026-03-01T09:30:00.5Z","feed":"pas","type":"ADT^A01","control_id":"A\u001b[2J\"1","digest":"{}","outcome":"stored-with-issues","issues":2,"repeats":1,"standing":"superseded","edit_of":3}}"#,
                "ab".repeat(32)
            )
        );
    }

    #[test]
    fn what_a_sender_wrote_does_not_steer_the_terminal() {
        let mut out = Vec::new();
        let issue = Issue::new(contract::Severity::Warning, contract::IssueCode::Time, "MSH-7", "lies ahead");
        let mend = Mend {
            at: row().received,
            action: MendAction::Edit,
            position: 3,
            version: Some(7),
            who: "os:wren".into(),
            because: "wrong\u{1b}[2J bed".into(),
        };
        write_frame(&mut out, &row(), &[issue], &[mend], b"MSH|^~\\&|\x1b[31m\rPID|1\r\n").unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("issue       warning: MSH-7: lies ahead"), "{text}");
        assert!(
            text.contains(
                "standing    edit of 3, superseded\nedit        3 into 7, by os:wren, 2026-03-01T09:30:00Z: wrong\u{fffd}[2J bed\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("MSH|^~\\&|\u{fffd}[31m\nPID|1\n"), "{text}");
    }
}
