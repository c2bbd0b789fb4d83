use super::desk::{By, Desk, files, read};
use super::progress;
use super::{Done, Options};
use crate::state::bundle;
use contract::{Adapter, Frame, Issue, IssueCode, Json, OutcomeKind, Rejection, Settings, Severity};
use indicatif::ProgressBar;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use typed::seal;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Files or folders (walked, sorted); `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    by: By,
    /// Indent the bundles
    #[arg(long, conflicts_with = "ndjson")]
    pretty: bool,
    /// A line a message: source, index, outcome, bundle, issues
    #[arg(long)]
    ndjson: bool,
}

/// Translates without storing. 0 all translated, 1 any refused.
pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let mut desk = Desk::new(options, &arguments.by)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut refused, mut passed_over) = (0, 0);
    let files = files(&arguments.paths)?;
    // Where the bundles go to the same terminal a bar would stand between them.
    let bar = if std::io::stdout().is_terminal() { ProgressBar::hidden() } else { progress::bar(files.len() as u64, "files") };
    for (path, named) in files {
        bar.inc(1);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(reason) => {
                bar.suspend(|| eprintln!("{reason}"));
                refused += 1;
                continue;
            }
        };
        let mut tell = |index, converted: Converted| {
            refused += usize::from(converted.bundle.is_none());
            print(&mut out, arguments, &path, index, &converted, &bar)
        };
        let told = match desk.dialect(&bytes) {
            Some(dialect) => dialect.frames(&bytes).iter().enumerate().try_for_each(|(index, frame)| {
                let (adapter, settings) = desk.adapter(&*dialect, frame);
                tell(index, convert(&*adapter, frame, &settings))
            }),
            // Whoever names a file wants to be told of it.
            None if named => tell(0, Converted::unknown()),
            None => {
                passed_over += 1;
                Ok(())
            }
        };
        if told.is_err() {
            // Whoever read our output has gone.
            return Ok(ExitCode::from(1));
        }
    }
    bar.finish_and_clear();
    if out.flush().is_err() {
        return Ok(ExitCode::from(1));
    }
    if passed_over > 0 {
        eprintln!("{passed_over} files of no known dialect were passed over");
    }
    Ok(ExitCode::from(u8::from(refused > 0)))
}

fn print(
    out: &mut impl Write,
    arguments: &Arguments,
    path: &Path,
    index: usize,
    converted: &Converted,
    bar: &ProgressBar,
) -> std::io::Result<()> {
    if arguments.ndjson {
        return writeln!(out, "{}", line(path, index, converted));
    }
    for issue in converted.issues.iter().filter(|issue| issue.severity > Severity::Information) {
        bar.suspend(|| eprintln!("{} message {index}: {issue}", path.display()));
    }
    match &converted.bundle {
        None => Ok(()),
        Some(bundle) if arguments.pretty => writeln!(out, "{}", serde_json::to_string_pretty(bundle)?),
        Some(bundle) => writeln!(out, "{bundle}"),
    }
}

/// What became of one message.
struct Converted {
    outcome: &'static str,
    /// `None`: it was refused.
    bundle: Option<Json>,
    issues: Vec<Issue>,
}

impl Converted {
    fn unknown() -> Self {
        let issue = Issue::new(Severity::Error, IssueCode::Structure, "", "of no known dialect; --adapter names one");
        Self { outcome: "malformed", bundle: None, issues: vec![issue] }
    }
}

/// What one message becomes; or why it becomes nothing.
pub fn bundle_of(adapter: &dyn Adapter, frame: &Frame, settings: &Settings) -> Result<Json, Vec<Issue>> {
    let converted = convert(adapter, frame, settings);
    converted.bundle.ok_or(converted.issues)
}

/// `convert` neither admits nor holds: what only waits for a person is told as untranslatable.
fn convert(adapter: &dyn Adapter, frame: &Frame, settings: &Settings) -> Converted {
    let translated = adapter.envelope(frame).and_then(|envelope| {
        let translation = adapter.translate(frame, &envelope)?;
        Ok((envelope, translation))
    });
    match translated {
        Ok((envelope, translation)) => {
            let bundle = bundle(&translation, &envelope, settings);
            let mut issues = envelope.issues;
            issues.extend(translation.issues);
            issues.extend(unsealed(&bundle));
            let noted = issues.iter().any(|issue| issue.severity > Severity::Information);
            Converted { outcome: if noted { "translated-with-issues" } else { "translated" }, bundle: Some(bundle), issues }
        }
        Err(rejection) => Converted { outcome: refusal(&rejection), bundle: None, issues: rejection.issues() },
    }
}

fn refusal(rejection: &Rejection) -> &'static str {
    match rejection.kind() {
        kind @ (OutcomeKind::Malformed | OutcomeKind::Unsupported) => kind.word(),
        _ => OutcomeKind::Untranslatable.word(),
    }
}

/// Elements that a typed client would lose: a fault of the tables.
fn unsealed(bundle: &Json) -> Vec<Issue> {
    let resources = bundle.get("entry").map(Json::each).unwrap_or_default().iter().filter_map(|entry| entry.get("resource"));
    let broken = resources.flat_map(seal::broken);
    broken.map(|(path, reason)| Issue::new(Severity::Error, IssueCode::Internal, path, reason)).collect()
}

/// A line of `--ndjson`. Its names are kept.
fn line(path: &Path, index: usize, converted: &Converted) -> Json {
    let issue = |issue: &Issue| -> Json {
        [
            ("severity", Json::from(issue.severity.code())),
            ("place", Json::from(issue.place.as_str())),
            ("reason", Json::from(&*issue.reason)),
        ]
        .into_iter()
        .collect()
    };
    [
        ("source", Json::from(path.display().to_string())),
        ("index", Json::Number(index.to_string().into())),
        ("outcome", Json::from(converted.outcome)),
        ("bundle", converted.bundle.clone().unwrap_or(Json::Null)),
        ("issues", Json::Array(converted.issues.iter().map(issue).collect())),
    ]
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::dialects;

    fn converted(message: &str) -> Converted {
        let dialects = dialects(None).unwrap();
        let dialect = dialects.iter().find(|dialect| dialect.name() == "hl7v2").unwrap();
        let settings = Settings::demonstration();
        convert(&*dialect.adapter(settings.clone()), &Frame::new(message.to_owned().into_bytes()), &settings)
    }

    const REGISTRATION: &str = "MSH|^~\\&|PAS|RXX|||20260301090000+0000||ADT^A28^ADT_A05|C1|P|2.5.1\rEVN|A28|20260301090000+0000\rPID|1||77^^^RXX^MR||Wren^Ida||19580412|F\r";

    #[test]
    fn outcomes_have_their_words_and_only_what_was_translated_has_a_bundle() {
        let check = |message: &str, outcome: &str| {
            let converted = converted(message);
            assert_eq!((converted.outcome, converted.bundle.is_some()), (outcome, outcome.starts_with("translated")), "{message}");
            assert!(converted.bundle.is_some() || !converted.issues.is_empty());
        };
        check(REGISTRATION, "translated");
        check(&REGISTRATION.replace("|P|2.5.1", "|T|2.5.1"), "translated");
        check("PID|1", "malformed");
        check(&REGISTRATION.replace("ADT^A28^ADT_A05", "ZZZ^Z99"), "unsupported");
        assert_eq!(refusal(&Rejection::Held(Issue::new(Severity::Error, IssueCode::Identity, "", ""))), "untranslatable");
    }

    #[test]
    fn a_line_keeps_its_shape_and_the_bundle_puts_each_resource_by_its_id() {
        let line = line(Path::new("a.hl7"), 3, &converted(REGISTRATION));
        let Json::Object(members) = &line else { panic!("an object") };
        assert_eq!(members.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["source", "index", "outcome", "bundle", "issues"]);
        assert!(line.to_string().starts_with(r#"{"source":"a.hl7","index":3,"outcome":"translated","bundle":{"resourceType":"Bundle""#));
        let bundle = line.get("bundle").unwrap();
        assert_eq!(bundle.get("type").and_then(Json::as_str), Some("transaction"));
        let mut kinds = Vec::new();
        for entry in bundle.get("entry").unwrap().each() {
            let resource = entry.get("resource").unwrap();
            let text = |json: &Json, name: &str| json.get(name).and_then(Json::as_str).unwrap().to_owned();
            let address = format!("{}/{}", text(resource, "resourceType"), text(resource, "id"));
            let request = entry.get("request").unwrap();
            assert_eq!((text(request, "method"), text(request, "url")), ("PUT".to_owned(), address.clone()));
            assert_eq!(text(entry, "fullUrl"), format!("https://landbridge.example/fhir/{address}"));
            kinds.push(text(resource, "resourceType"));
        }
        for kind in ["Patient", "MessageHeader", "Provenance"] {
            assert!(kinds.iter().any(|known| known == kind), "{kind} in {kinds:?}");
        }
        assert_eq!(Converted::unknown().outcome, "malformed");
    }

    #[test]
    fn a_resource_that_does_not_keep_its_seal_is_an_issue_with_its_path() {
        let bundle = Json::parse(br#"{"entry":[{"resource":{"resourceType":"Patient","nam":"x"}}]}"#).unwrap();
        let issues = unsealed(&bundle);
        assert_eq!((issues.len(), issues[0].place.as_str(), issues[0].severity), (1, "Patient.nam", Severity::Error));
    }
}
