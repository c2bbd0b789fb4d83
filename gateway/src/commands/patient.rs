//! The time line behind a record.

use super::journal::{shown, told};
use super::serve::runtime;
use super::withdraw::write_differences;
use super::{Done, Failure, Options, operator};
use crate::audit::Action;
use crate::ops::told::record as record_told;
use crate::serve::store;
use crate::store::{Mending, Moment, Record, SqliteStore, Standing, Store, StoreError};
use contract::{IdKey, Key};
use jiff::Timestamp;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The patient: its resource id, or SYSTEM|VALUE of one of its identifiers
    patient: String,
    /// How it is told: text, or one JSON object
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let config = options.load()?;
    if !config.store_directory.join("landbridge.db").is_file() {
        return Err(Failure::failed(format!("{} holds no store yet", config.store_directory.display())));
    }
    let store = store(&config).map_err(Failure::failed)?;
    let failed = |error: StoreError| Failure::failed(error.to_string());
    let id = patient_id(&store, &config.read_id_key().map_err(Failure::failed)?, &arguments.patient)?;
    let record = store.patient(&id).map_err(failed)?;
    // Access to a record, or the asking for one, is written down before anything is shown.
    let mut entry = operator::entry(Action::JournalShow, format!("patient {id}"), None, Timestamp::now());
    entry.patients = record.as_ref().map_or_else(|| vec![id.clone()], |record| record.patients.clone());
    runtime()?.block_on(store.record(entry)).map_err(failed)?;
    let record = record.ok_or_else(|| Failure::failed(format!("there is no record of Patient/{id}, and never was")))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = match arguments.format {
        Format::Text => write_record(&mut out, &id, &record),
        Format::Json => writeln!(out, "{}", record_told(&record)),
    };
    written.and_then(|()| out.flush()).map_err(|_| Failure::failed("nobody reads on"))?;
    Ok(ExitCode::SUCCESS)
}

/// The id of the Patient that was named by it (`Patient/` may stand before it), or by one of its identifiers. Who has
/// vanished is still found by the identifier that the id is made from.
pub fn patient_id(store: &SqliteStore, id_key: &IdKey, named: &str) -> Result<String, Failure> {
    let Some((system, value)) = named.rsplit_once('|') else {
        return Ok(named.strip_prefix("Patient/").unwrap_or(named).to_owned());
    };
    let mut found = store.patients_with(system, value).map_err(|error| Failure::failed(error.to_string()))?;
    match found.len() {
        0 => Ok(id_key.id(&Key::new("Patient", system, value))),
        1 => Ok(found.remove(0)),
        _ => Err(Failure::failed(format!("several patients have this identifier; give the id of one: {}", found.join(", ")))),
    }
}

fn write_record(out: &mut impl Write, id: &str, record: &Record) -> std::io::Result<()> {
    writeln!(out, "Patient/{id}")?;
    for other in record.patients.iter().filter(|other| *other != id) {
        writeln!(out, "merged with Patient/{other}")?;
    }
    record.moments.iter().try_for_each(|moment| write_moment(out, moment))
}

fn write_moment(out: &mut impl Write, moment: &Moment) -> std::io::Result<()> {
    let row = &moment.row;
    let standing = match row.standing {
        Standing::Counts => String::new(),
        other => format!(", {}", other.word()),
    };
    let (kind, control_id, feed) = (shown(&row.message_type), shown(&row.control_id), shown(&row.feed));
    writeln!(out)?;
    match &moment.mend {
        Some(mend) if mend.version.is_none() => writeln!(out, "{:.0}  {} of {}", moment.at, mend.action.word(), told(mend))?,
        mend => {
            writeln!(out, "{:.0}  {}: {kind} {control_id} of {feed}{standing}", moment.at, row.position)?;
            if let Some(mend) = mend {
                writeln!(out, "  {} of {}", mend.action.word(), told(mend))?;
            }
        }
    }
    if moment.changes.is_empty() {
        return writeln!(out, "  changed nothing");
    }
    for changed in &moment.changes {
        let gone = if changed.is_deleted { " is gone" } else { "" };
        writeln!(out, "  {} version {}{gone}", changed.address, changed.version)?;
        write_differences(out, &changed.differences)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::differences;
    use crate::store::{Changed, JournalRow, Mend, MendAction};
    use contract::{Digest, Json, OutcomeKind};

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
            write_moment(&mut out, &moment).unwrap();
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
            record_told(&record).to_string(),
            concat!(
                r#"{"patients":["p"],"moments":[{"at":"2026-03-01T09:30:00.5Z","position":7,"received":"2026-03-01T09:30:00.5Z","#,
                r#""feed":"pas","type":"ADT^A01","control_id":"A\u001b1","outcome":"stored","standing":"withdrawn","#,
                r#""mend":{"action":"withdraw","who":"os:wren","because":"a test"},"#,
                r#""changes":[{"resource":"Patient/p","version":2,"deleted":false,"elements":[{"path":"gender","after":"male"}]}]}]}"#
            )
        );
    }
}
