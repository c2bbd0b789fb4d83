mod edit;
mod replay;
mod which;

use super::ops::{Ops, Through, issue, list, number, second, text};
use super::{Done, Failure, Options};
use crate::config::Config;
use crate::store::{FindingRow, Standing, Store};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::Json;
use edit::Edit;
use replay::{Replay, judge_again};
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use which::Which;

/// What arrived, what became of it, what waits; and judging again
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    through: Through,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
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
struct List {
    /// A line of JSON a frame: position, received, feed, type, control_id, digest, outcome, issues, repeats, standing, edit_of
    /// where it is a new version of another, and reason where it waits
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
struct Findings {
    /// A line of JSON a finding: finding, feed, count, first, last, position (of the last message that showed it)
    #[arg(long)]
    ndjson: bool,
}

#[derive(clap::Args, Debug)]
struct Show {
    /// As `journal list` tells it
    position: u64,
    /// The bytes of the frame and nothing else
    #[arg(long)]
    raw: bool,
}

pub fn run(options: &Options, Arguments { command, through }: &Arguments) -> Done {
    let ops = match command {
        Command::Edit(Edit { schemas, .. }) | Command::Replay(Replay { schemas, .. }) => Ops::judging(options, through, schemas.as_deref()),
        Command::List(_) | Command::Show(_) | Command::Findings(_) => Ops::new(options, through),
    }?;
    if let (Command::List(List { which, .. }) | Command::Replay(Replay { which, .. }), Some(config)) = (command, ops.config())
        && let Some(feed) = unknown(config, which)
    {
        let known = config.feeds.keys().cloned().chain(config.mllp.keys().map(|name| format!("mllp.{name}")));
        eprintln!("no feed {feed} is configured now; there are {}", known.collect::<Vec<_>>().join(", "));
    }
    match command {
        Command::List(list) => print_list(&ops, list),
        Command::Findings(findings) => {
            let store = ops.store().ok_or_else(|| Failure::usage("through a gateway `landbridge findings` tells them"))?;
            print_findings(&**store, findings.ndjson)
        }
        Command::Show(show) => print_frame(&ops, show),
        Command::Edit(edit) => edit::edit(&ops, edit),
        Command::Replay(replay) => judge_again(&ops, replay),
    }
}

/// The feed that was asked for, where the configuration has none of that name (nor a listener, under which frames of no
/// feed stand).
fn unknown<'a>(config: &Config, which: &'a Which) -> Option<&'a str> {
    let feed = which.feed.as_deref()?;
    let listener = |name: &str| name.strip_prefix("mllp.").is_some_and(|name| config.mllp.contains_key(name));
    (!config.feeds.contains_key(feed) && !listener(feed)).then_some(feed)
}

fn print_list(ops: &Ops, list: &List) -> Done {
    let mut query = list.which.query();
    query.extend(list.newest.then(|| ("newest".to_owned(), "true".to_owned())));
    query.extend(list.patient.clone().map(|patient| ("patient".to_owned(), patient)));
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut head = (!list.ndjson)
        .then_some("position  received              feed         type     control id           outcome         issues repeats");
    let unread = |_| Failure::failed("nobody reads on");
    list.which.each(ops, &query, |row| {
        head.take().map_or(Ok(()), |head| writeln!(out, "{head}")).map_err(unread)?;
        if list.ndjson { writeln!(out, "{row}") } else { writeln!(out, "{}", line(row)) }.map_err(unread)
    })?;
    head.map_or(Ok(()), |head| writeln!(out, "{head}")).and_then(|()| out.flush()).map_err(unread)?;
    Ok(ExitCode::SUCCESS)
}

/// A row of the table.
fn line(row: &Json) -> String {
    let columns = format!(
        "{:>8}  {}  {:12} {:8} {:20} {:18} {:>3} {:>3}  {}",
        number(row, "position"),
        second(row, "received"),
        shown(text(row, "feed")),
        shown(text(row, "type")),
        shown(text(row, "control_id")),
        text(row, "outcome"),
        number(row, "issues"),
        number(row, "repeats"),
        standing(row).unwrap_or_else(|| shown(text(row, "reason")))
    );
    columns.trim_end().to_owned()
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

fn print_frame(ops: &Ops, show: &Show) -> Done {
    let told = ops.get(&format!("/ops/journal/{}", show.position))?;
    let bytes = frame(&told)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = if show.raw { out.write_all(&bytes) } else { write_frame(&mut out, &told, &bytes) };
    written.and_then(|()| out.flush()).map_err(|_| Failure::failed("nobody reads on"))?;
    Ok(ExitCode::SUCCESS)
}

/// The bytes of a frame that was told.
fn frame(told: &Json) -> Result<Vec<u8>, Failure> {
    match told.get("frame").and_then(Json::as_str) {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => STANDARD.decode(text(told, "frame_base64")).map_err(|_| Failure::failed("the frame is not told as it should be")),
    }
}

fn write_frame(out: &mut impl Write, told: &Json, bytes: &[u8]) -> std::io::Result<()> {
    for (label, member) in
        [("position", "position"), ("received", "received"), ("feed", "feed"), ("type", "type"), ("control id", "control_id")]
            .into_iter()
            .chain([("digest", "digest"), ("outcome", "outcome"), ("repeats", "repeats")])
    {
        let value = told.get(member).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default();
        writeln!(out, "{}", format!("{label:11} {}", shown(&value)).trim_end())?;
    }
    if let Some(standing) = standing(told) {
        writeln!(out, "standing    {standing}")?;
    }
    for mend in list(told, "mends") {
        writeln!(out, "{:11} {}", text(mend, "action"), mended(mend))?;
    }
    for told in list(told, "issues") {
        writeln!(out, "issue       {}", shown(&issue(told)))?;
    }
    writeln!(out)?;
    for line in String::from_utf8_lossy(bytes).split(['\r', '\n']).filter(|line| !line.is_empty()) {
        writeln!(out, "{}", shown(line))?;
    }
    Ok(())
}

/// What a person made of a frame, where that is not as it came.
fn standing(told: &Json) -> Option<String> {
    let (word, of) = (text(told, "standing"), told.get("edit_of").map(|_| number(told, "edit_of")));
    match (word == Standing::Counts.word(), of) {
        (true, None) => None,
        (true, Some(of)) => Some(format!("edit of {of}")),
        (false, None) => Some(word.to_owned()),
        (false, Some(of)) => Some(format!("edit of {of}, {word}")),
    }
}

/// `42 into 57, by os:wren, 2026-03-01T09:30:00Z: because`.
pub(super) fn mended(mend: &Json) -> String {
    let into = mend.get("version").map(|_| format!(" into {}", number(mend, "version"))).unwrap_or_default();
    let (who, because) = (shown(text(mend, "who")), shown(text(mend, "because")));
    format!("{}{into}, by {who}, {}: {because}", number(mend, "position"), second(mend, "at"))
}

/// A sender's words for a terminal: its control characters would be ours.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::told;
    use crate::store::{JournalRow, Mend, MendAction};
    use contract::{Issue, OutcomeKind};

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
            told::row(&row()).to_string(),
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
        let mut told = told::row(&row());
        told.set("issues", Json::Array(vec![told::issue(&issue)]));
        told.set("mends", Json::Array(vec![told::mend(&mend)]));
        write_frame(&mut out, &told, b"MSH|^~\\&|\x1b[31m\rPID|1\r\n").unwrap();
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
