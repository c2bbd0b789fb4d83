//! The time line behind a record.

use super::journal::{mended, shown};
use super::ops::{Ops, Through, list, number, second, text};
use super::withdraw::write_elements;
use super::{Done, Failure, Options};
use crate::search::parse::encode;
use crate::store::Standing;
use contract::Json;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The patient: its resource id, or SYSTEM|VALUE of one of its identifiers
    patient: String,
    /// How it is told: text, or one JSON object
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    through: Through,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let ops = Ops::new(options, &arguments.through)?;
    let named = &arguments.patient;
    let target = match named.contains('|') {
        true => format!("/ops/patient?{}", encode(&[("identifier".to_owned(), named.clone())])),
        false => format!("/ops/patient/{}", named.strip_prefix("Patient/").unwrap_or(named)),
    };
    let record = ops.get(&target)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = match arguments.format {
        Format::Text => write_record(&mut out, &record),
        Format::Json => writeln!(out, "{record}"),
    };
    written.and_then(|()| out.flush()).map_err(|_| Failure::failed("nobody reads on"))?;
    Ok(ExitCode::SUCCESS)
}

fn write_record(out: &mut impl Write, record: &Json) -> std::io::Result<()> {
    let id = text(record, "patient");
    writeln!(out, "Patient/{id}")?;
    for other in list(record, "patients").iter().filter_map(Json::as_str).filter(|other| *other != id) {
        writeln!(out, "merged with Patient/{other}")?;
    }
    list(record, "moments").iter().try_for_each(|moment| write_moment(out, moment))
}

fn write_moment(out: &mut impl Write, moment: &Json) -> std::io::Result<()> {
    let said = |name: &str| shown(text(moment, name));
    let (kind, control_id, feed, position) = (said("type"), said("control_id"), said("feed"), number(moment, "position"));
    let standing = match text(moment, "standing") {
        word if word == Standing::Counts.word() => String::new(),
        word => format!(", {word}"),
    };
    let at = second(moment, "at");
    writeln!(out)?;
    match moment.get("mend") {
        Some(mend) if mend.get("version").is_none() => writeln!(out, "{at}  {} of {}", text(mend, "action"), mended(mend))?,
        mend => {
            writeln!(out, "{at}  {position}: {kind} {control_id} of {feed}{standing}")?;
            if let Some(mend) = mend {
                writeln!(out, "  {} of {}", text(mend, "action"), mended(mend))?;
            }
        }
    }
    let changes = list(moment, "changes");
    if changes.is_empty() {
        return writeln!(out, "  changed nothing");
    }
    for changed in changes {
        let gone = if changed.get("deleted") == Some(&Json::Bool(true)) { " is gone" } else { "" };
        writeln!(out, "  {} version {}{gone}", text(changed, "resource"), number(changed, "version"))?;
        write_elements(out, changed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::told;
    use crate::state::differences;
    use crate::store::{Changed, JournalRow, Mend, MendAction, Moment, Record};
    use contract::{Digest, OutcomeKind};

    fn moment(mend: Option<Mend>, before: &str, after: &str) -> Moment {
        let read = |text: &str| (!text.is_empty()).then(|| Json::parse(text.as_bytes()).unwrap());
        let at = "2026-03-01T09:30:00.5Z".parse().unwrap();
        let row = JournalRow {
            position: 7,
            received: at,
            feed: "pas".into(),
            message_type: "ADT^A01".into(),
            control_id: "A\u{1b}1".into(),
            digest: Digest([0; 32]),
            outcome: OutcomeKind::Stored,
            issues: 0,
            repeats: 0,
            standing: Standing::Withdrawn,
            edit_of: None,
            place: 7,
        };
        let (before, after) = (read(before), read(after));
        let is_deleted = after.is_none();
        let differences = if is_deleted { Vec::new() } else { differences(before.as_ref(), after.as_ref()) };
        Moment { at, row, mend, changes: vec![Changed { address: "Patient/p".into(), version: 2, is_deleted, differences }] }
    }

    fn withdrawn() -> Option<Mend> {
        let (who, because) = ("os:wren".into(), "a test".into());
        Some(Mend { at: "2026-03-02T09:30:00Z".parse().unwrap(), action: MendAction::Withdraw, position: 7, version: None, who, because })
    }

    #[test]
    fn a_moment_tells_what_came_and_what_it_changed() {
        let check = |moment: Moment, expected: &str| {
            let mut out = Vec::new();
            let record = told::record("p", &Record { patients: vec!["p".into()], moments: vec![moment] });
            write_moment(&mut out, &list(&record, "moments")[0]).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(
            moment(None, r#"{"gender":"male"}"#, r#"{"gender":"female"}"#),
            "\n2026-03-01T09:30:00Z  7: ADT^A01 A\u{fffd}1 of pas, withdrawn\n  Patient/p version 2\n    gender: \"male\" -> \"female\"\n",
        );
        check(
            moment(withdrawn(), "{}", ""),
            "\n2026-03-01T09:30:00Z  withdraw of 7, by os:wren, 2026-03-02T09:30:00Z: a test\n  Patient/p version 2 is gone\n",
        );
        let mut nothing = moment(None, "", "");
        nothing.changes.clear();
        check(nothing, "\n2026-03-01T09:30:00Z  7: ADT^A01 A\u{fffd}1 of pas, withdrawn\n  changed nothing\n");
    }

    #[test]
    fn a_record_as_json_keeps_its_shape() {
        let record = Record { patients: vec!["p".into()], moments: vec![moment(withdrawn(), "{}", r#"{"gender":"male"}"#)] };
        assert_eq!(
            told::record("p", &record).to_string(),
            concat!(
                r#"{"patient":"p","patients":["p"],"moments":[{"at":"2026-03-01T09:30:00.5Z","position":7,"received":"2026-03-01T09:30:00.5Z","#,
                r#""feed":"pas","type":"ADT^A01","control_id":"A\u001b1","outcome":"stored","standing":"withdrawn","#,
                r#""mend":{"action":"withdraw","at":"2026-03-02T09:30:00Z","position":7,"who":"os:wren","because":"a test"},"#,
                r#""changes":[{"resource":"Patient/p","version":2,"deleted":false,"elements":[{"path":"gender","after":"male"}]}]}]}"#
            )
        );
    }
}
