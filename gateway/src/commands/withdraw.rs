//! A message undone: taken out of the state, and put back.

use super::journal::shown;
use super::ops::{Ops, Through, list, number, second, text};
use super::{Done, Failure, Options};
use crate::state::Finding;
use contract::Json;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

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
    #[command(flatten)]
    through: Through,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Ndjson,
}

pub fn run(options: &Options, arguments: &Arguments) -> Done {
    if arguments.because.as_deref().is_some_and(|because| because.trim().is_empty()) {
        return Err(Failure::usage("--because says nothing: write why the message is withdrawn"));
    }
    let ops = Ops::new(options, &arguments.through)?;
    let at = arguments.position;
    let preview = ops.get(&format!("/ops/journal/{at}/withdraw?restore={}", arguments.restore))?;
    tell(arguments, &preview).map_err(|_| Failure::failed("nobody reads on"))?;
    match &arguments.because {
        Some(because) if arguments.yes => withdraw(&ops, arguments, because),
        _ => {
            eprintln!("nothing is changed yet: give --yes and --because TEXT to do it");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn withdraw(ops: &Ops, arguments: &Arguments, because: &str) -> Done {
    let at = arguments.position;
    let order = [("because", Json::from(because)), ("restore", Json::Bool(arguments.restore))];
    let told = ops.post(&format!("/ops/journal/{at}/withdraw"), order)?;
    let done = if arguments.restore { "put back" } else { "withdrawn" };
    eprintln!("{at}: {done}; {} resources have a new version", list(&told, "resources").len());
    for finding in list(&told, "findings").iter().filter_map(Json::as_str).filter_map(Finding::from_word) {
        eprintln!("  {}: {}", finding.word(), finding.meaning());
    }
    if !arguments.restore {
        eprintln!("undo it: landbridge withdraw {at} --restore --yes --because TEXT");
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(arguments: &Arguments, preview: &Json) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let changes = list(preview, "changes");
    match arguments.format {
        Format::Ndjson => changes.iter().try_for_each(|change| writeln!(out, "{change}"))?,
        Format::Text => {
            let row = preview.get("message").unwrap_or(&Json::Null);
            let said = |name: &str| shown(text(row, name));
            let what = if arguments.restore { "with it put back" } else { "without it" };
            let (position, received) = (number(row, "position"), second(row, "received"));
            let (kind, control_id, feed, outcome) = (said("type"), said("control_id"), said("feed"), said("outcome"));
            writeln!(out, "{position}: {kind} {control_id} of {feed}, received {received}, {outcome}")?;
            match changes.len() {
                0 => writeln!(out, "{what}, no resource is otherwise")?,
                1 => writeln!(out, "{what}, 1 resource is otherwise:")?,
                count => writeln!(out, "{what}, {count} resources are otherwise:")?,
            }
            changes.iter().try_for_each(|change| write_change(&mut out, change))?;
        }
    }
    out.flush()
}

fn write_change(out: &mut impl Write, change: &Json) -> std::io::Result<()> {
    let address = text(change, "resource");
    match text(change, "change") {
        "vanishes" => return writeln!(out, "{address} vanishes: nobody else speaks of it (410 Gone; its history stays)"),
        "appears" => writeln!(out, "{address} is there")?,
        _ => writeln!(out, "{address}")?,
    }
    write_elements(out, change)
}

/// An element a line: what comes (+), what goes (-), what is otherwise.
pub fn write_elements(out: &mut impl Write, change: &Json) -> std::io::Result<()> {
    list(change, "elements").iter().try_for_each(|one| {
        let path = text(one, "path");
        match (one.get("before"), one.get("after")) {
            (Some(before), Some(after)) => writeln!(out, "    {path}: {} -> {}", value(before), value(after)),
            (None, Some(after)) => writeln!(out, "  + {path}: {}", value(after)),
            (Some(before), None) => writeln!(out, "  - {path}: {}", value(before)),
            (None, None) => Ok(()),
        }
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
    use crate::ops::told;
    use crate::store::Effect;

    fn effect(before: &str, after: &str) -> Effect {
        let read = |text: &str| (!text.is_empty()).then(|| Json::parse(text.as_bytes()).unwrap());
        Effect { address: "Patient/p".into(), before: read(before), after: read(after) }
    }

    #[test]
    fn what_changes_is_told_element_by_element() {
        let check = |before: &str, after: &str, expected: &str| {
            let mut out = Vec::new();
            write_change(&mut out, &told::effect(&effect(before, after))).unwrap();
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
