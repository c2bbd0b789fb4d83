//! A message undone: taken out of the state, and put back.

use super::journal::shown;
use super::serve::runtime;
use super::{Done, Failure, Options, operator};
use crate::audit::Action;
use crate::ops::{patients, told};
use crate::serve::store;
use crate::state::{Difference, differences};
use crate::store::{Effect, JournalRow, Mending, SqliteStore, Store, StoreError, Withdrawal};
use contract::Json;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

/// Characters of a value that are told as text.
const VALUE_LENGTH_MAX: usize = 500;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The message, by its position as `journal list` tells it
    position: u64,
    /// Why: it is kept with the message, and told by `journal show`
    #[arg(long, value_name = "TEXT")]
    because: Option<String>,
    /// Do it. Without this, what it would change is shown, and nothing is changed
    #[arg(long, requires = "because")]
    yes: bool,
    /// Put back a message that was withdrawn, or the original of an edit that was withdrawn
    #[arg(long)]
    restore: bool,
    /// How what changes is told: text, or a line of JSON a resource
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Ndjson,
}

pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let config = options.load()?;
    if !config.store_directory.join("landbridge.db").is_file() {
        return Err(Failure::failed(format!("{} holds no store yet", config.store_directory.display())));
    }
    if arguments.because.as_deref().is_some_and(|because| because.trim().is_empty()) {
        return Err(Failure::usage("--because says nothing: write why the message is withdrawn"));
    }
    let id_key = config.read_id_key().map_err(Failure::failed)?;
    let store = store(&config).map_err(Failure::failed)?;
    let failed = |error: StoreError| Failure::failed(error.to_string());
    let at = arguments.position;
    let (row, ..) = store.frame(at).map_err(failed)?.ok_or_else(|| Failure::failed(format!("the journal has no position {at}")))?;
    let effects = store.preview(at, arguments.restore).map_err(failed)?;
    // What is shown is patient data: it is written down before.
    let mut seen: BTreeSet<String> = patients(&store.contributions(at).map_err(failed)?.unwrap_or_default(), &id_key).into_iter().collect();
    seen.extend(effects.iter().filter_map(|effect| effect.address.strip_prefix("Patient/")).map(str::to_owned));
    let asked = if arguments.restore { format!("withdraw {at} --restore, preview") } else { format!("withdraw {at}, preview") };
    let mut entry = operator::entry(Action::JournalShow, asked, Some(at), Timestamp::now());
    entry.patients = seen.into_iter().collect();
    let runtime = runtime()?;
    runtime.block_on(store.record(entry)).map_err(failed)?;
    tell(arguments, &row, &effects).map_err(|_| Failure::failed("nobody reads on"))?;
    match &arguments.because {
        Some(because) if arguments.yes => runtime.block_on(withdraw(&store, arguments, because)),
        _ => {
            eprintln!("nothing is changed yet: give --yes and --because TEXT to do it");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn withdraw(store: &Arc<SqliteStore>, arguments: &Arguments, because: &str) -> Done {
    let at = arguments.position;
    let (action, done) = if arguments.restore { (Action::Restore, "put back") } else { (Action::Withdraw, "withdrawn") };
    let entry = operator::entry(action, format!("{done} because {because}"), Some(at), Timestamp::now());
    let withdrawal = Withdrawal { position: at, restores: arguments.restore, because: because.to_owned(), entry };
    let receipt = store.withdraw(withdrawal).await.map_err(|error| Failure::failed(error.to_string()))?;
    eprintln!("{at}: {done}; {} resources have a new version", receipt.resources.len());
    for finding in &receipt.findings {
        eprintln!("  {}: {}", finding.word(), finding.meaning());
    }
    if !arguments.restore {
        eprintln!("undo it: landbridge withdraw {at} --restore --yes --because TEXT");
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(arguments: &Arguments, row: &JournalRow, effects: &[Effect]) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match arguments.format {
        Format::Ndjson => effects.iter().try_for_each(|effect| writeln!(out, "{}", told::effect(effect)))?,
        Format::Text => {
            let (kind, control_id, feed) = (shown(&row.message_type), shown(&row.control_id), shown(&row.feed));
            let what = if arguments.restore { "with it put back" } else { "without it" };
            writeln!(out, "{}: {kind} {control_id} of {feed}, received {:.0}, {}", row.position, row.received, row.outcome.word())?;
            match effects.len() {
                0 => writeln!(out, "{what}, no resource is otherwise")?,
                1 => writeln!(out, "{what}, 1 resource is otherwise:")?,
                count => writeln!(out, "{what}, {count} resources are otherwise:")?,
            }
            for effect in effects {
                write_effect(&mut out, effect)?;
            }
        }
    }
    out.flush()
}

fn write_effect(out: &mut impl Write, effect: &Effect) -> std::io::Result<()> {
    match (&effect.before, &effect.after) {
        (Some(_), None) => writeln!(out, "{} vanishes: nobody else speaks of it (410 Gone; its history stays)", effect.address),
        (None, Some(_)) => {
            writeln!(out, "{} is there", effect.address)?;
            write_differences(out, &differences(None, effect.after.as_ref()))
        }
        (before, after) => {
            writeln!(out, "{}", effect.address)?;
            write_differences(out, &differences(before.as_ref(), after.as_ref()))
        }
    }
}

/// An element a line: what comes (+), what goes (-), what is otherwise.
pub fn write_differences(out: &mut impl Write, differences: &[Difference]) -> std::io::Result<()> {
    differences.iter().try_for_each(|one| match (&one.before, &one.after) {
        (Some(before), Some(after)) => {
            writeln!(out, "    {}: {} -> {}", one.path, value(before), value(after))
        }
        (None, Some(after)) => writeln!(out, "  + {}: {}", one.path, value(after)),
        (Some(before), None) => writeln!(out, "  - {}: {}", one.path, value(before)),
        (None, None) => Ok(()),
    })
}

/// A value for a terminal; a document is too long for one.
fn value(value: &Json) -> String {
    let text = shown(&value.to_string());
    match text.char_indices().nth(VALUE_LENGTH_MAX) {
        None => text,
        Some((end, _)) => format!("{} ... ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(before: &str, after: &str) -> Effect {
        let read = |text: &str| (!text.is_empty()).then(|| Json::parse(text.as_bytes()).unwrap());
        Effect { address: "Patient/p".into(), before: read(before), after: read(after) }
    }

    #[test]
    fn what_changes_is_told_element_by_element() {
        let check = |before: &str, after: &str, expected: &str| {
            let mut out = Vec::new();
            write_effect(&mut out, &effect(before, after)).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(r#"{"a":1}"#, "", "Patient/p vanishes: nobody else speaks of it (410 Gone; its history stays)\n");
        check("", r#"{"a":1}"#, "Patient/p is there\n  + a: 1\n");
        check(r#"{"a":1,"b":2}"#, r#"{"a":3,"c":4}"#, "Patient/p\n    a: 1 -> 3\n  - b: 2\n  + c: 4\n");
    }

    #[test]
    fn a_line_keeps_its_shape() {
        let told = told::effect(&effect(r#"{"a":1,"b":2}"#, r#"{"a":3}"#)).to_string();
        let elements = r#"[{"path":"a","before":1,"after":3},{"path":"b","before":2}]"#;
        assert_eq!(told, format!(r#"{{"resource":"Patient/p","change":"changes","elements":{elements}}}"#));
        assert!(told::effect(&effect("{}", "")).to_string().contains(r#""change":"vanishes""#));
        assert!(told::effect(&effect("", "{}")).to_string().contains(r#""change":"appears""#));
    }
}
