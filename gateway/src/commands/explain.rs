use super::desk::{By, Desk, read};
use super::{Done, Failure, Options};
use contract::{Explanation, Settings, Severity, Trace};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// A file with one message; `-` is standard input
    path: PathBuf,
    #[command(flatten)]
    by: By,
}

/// Each FHIR element with its place in the message and its table row, then every value that went nowhere.
pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let mut desk = Desk::new(options, &arguments.by)?;
    let bytes = read(&arguments.path).map_err(Failure::usage)?;
    let unknown = || Failure::failed(format!("{}: no known dialect; --adapter names one", arguments.path.display()));
    let dialect = desk.dialect(&bytes).ok_or_else(unknown)?;
    let frames = dialect.frames(&bytes);
    let frame = frames.first().ok_or_else(|| Failure::failed("no message in it"))?;
    let (adapter, settings) = desk.adapter(&*dialect, frame);
    let explanation = adapter.envelope(frame).and_then(|envelope| adapter.explain(frame, &envelope));
    let explanation = explanation.map_err(|rejection| {
        let kind = rejection.kind().word();
        Failure::failed(rejection.issues().iter().fold(format!("{kind}:"), |said, issue| format!("{said}\n  {issue}")))
    })?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    write(&mut out, &explanation, &settings).and_then(|()| out.flush()).map_err(|_| Failure::failed("nobody reads on"))?;
    if frames.len() > 1 {
        eprintln!("The first message of {}; `explain` tells of one.", frames.len());
    }
    Ok(ExitCode::SUCCESS)
}

fn write(out: &mut impl Write, explanation: &Explanation, settings: &Settings) -> std::io::Result<()> {
    let width = |of: fn(&Trace) -> &str| explanation.traces.iter().map(|trace| of(trace).len()).max().unwrap_or(0);
    let (element, place) = (width(|trace| &trace.element), width(origin));
    for (at, contribution) in explanation.translation.contributions.iter().enumerate() {
        writeln!(out, "{}", settings.reference(&contribution.key))?;
        for trace in explanation.traces.iter().filter(|trace| trace.contribution == at) {
            writeln!(out, "  {:element$}  {:place$}  {}", trace.element, origin(trace), trace.row)?;
        }
    }
    writeln!(out, "\nValues that went nowhere:{}", if explanation.unmapped.is_empty() { " none" } else { "" })?;
    for place in &explanation.unmapped {
        writeln!(out, "  {place}")?;
    }
    let mut weighty = explanation.translation.issues.iter().filter(|issue| issue.severity > Severity::Information).peekable();
    if weighty.peek().is_some() {
        writeln!(out, "\nIssues:")?;
    }
    weighty.try_for_each(|issue| writeln!(out, "  {issue}"))
}

/// What a row assigns comes from the row alone.
fn origin(trace: &Trace) -> &str {
    if trace.place.is_empty() { "(the row)" } else { &trace.place }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Class, Contribution, Key, Translation};

    #[test]
    fn each_element_stands_beside_its_place_and_its_row() {
        let key = Key::new("Patient", "urn:a", "1");
        let settings = Settings::demonstration();
        let reference = settings.reference(&key);
        let trace = |element: &str, place: &str, row: &str| Trace {
            contribution: 0,
            element: element.into(),
            place: place.into(),
            row: row.into(),
        };
        let mut explanation = Explanation {
            translation: Translation {
                contributions: vec![Contribution { key, class: Class::Record, member_of: None, statements: Vec::new() }],
                issues: Vec::new(),
            },
            traces: vec![trace("birthDate", "PID[1]-7", "segments/PID[Patient]:9"), trace("active", "", "segments/PID[Patient]:2")],
            unmapped: vec!["PID[1]-26".into()],
        };
        let told = |explanation: &Explanation| {
            let mut out = Vec::new();
            write(&mut out, explanation, &settings).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            told(&explanation),
            format!(
                "{reference}\n  birthDate  PID[1]-7   segments/PID[Patient]:9\n  active     (the row)  segments/PID[Patient]:2\n\nValues that went nowhere:\n  PID[1]-26\n"
            )
        );
        explanation.unmapped.clear();
        assert!(told(&explanation).ends_with("Values that went nowhere: none\n"));
    }
}
