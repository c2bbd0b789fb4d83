use super::{Done, Failure, Options};
use crate::adapters::dialects;
use crate::state::bundle;
use bytes::Bytes;
use clap::Args;
use contract::{Adapter, Dialect, Envelope, Explanation, Frame, Issue, Json, OutcomeKind, Settings, Severity, Translation};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Files of a folder that are larger are passed over: no message is.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[derive(Args, Debug)]
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

#[derive(Args, Debug)]
pub struct Explained {
    /// A file with one message; `-` is standard input
    path: PathBuf,
    #[command(flatten)]
    by: By,
}

/// By which adapter and settings a file is read.
#[derive(Args, Debug)]
struct By {
    /// Translate with this feed's settings
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    /// Read the files as this dialect, instead of by their content
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Tables from this folder instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

/// Translates without storing. 0 all translated, 1 any refused.
pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let desk = Desk::new(options, &arguments.by)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut refused, mut passed_over) = (0, 0);
    for (path, named) in files(&arguments.paths)? {
        let bytes = read(&path)?;
        let Some(dialect) = desk.dialect(&bytes) else {
            if named && desk.only.is_none() {
                eprintln!("{}: no known dialect; --adapter names one", path.display());
                refused += 1;
            } else {
                passed_over += 1;
            }
            continue;
        };
        let adapter = dialect.adapter(desk.settings.clone());
        for (index, frame) in dialect.frames(&bytes).iter().enumerate() {
            let converted = convert(&*adapter, frame);
            refused += usize::from(converted.translation.is_none());
            let bundle = converted.translation.as_ref().map(|(envelope, translation)| bundle(translation, envelope, &desk.settings));
            let written = if arguments.ndjson {
                writeln!(out, "{}", line(&path, index, &converted, bundle))
            } else {
                for issue in converted.issues.iter().filter(|issue| issue.severity > Severity::Information) {
                    eprintln!("{} message {index}: {issue}", path.display());
                }
                match bundle {
                    None => Ok(()),
                    Some(bundle) if arguments.pretty => writeln!(out, "{}", indented(&bundle)),
                    Some(bundle) => writeln!(out, "{bundle}"),
                }
            };
            if written.is_err() {
                // Whoever read our output has gone.
                return Ok(ExitCode::from(1));
            }
        }
    }
    if out.flush().is_err() {
        return Ok(ExitCode::from(1));
    }
    if passed_over > 0 {
        eprintln!("{passed_over} files of no known dialect were passed over");
    }
    Ok(ExitCode::from(u8::from(refused > 0)))
}

/// Each FHIR element with its place in the message and its table row, then every value that went nowhere.
pub fn explain(options: &Options, arguments: &Explained) -> Done {
    let desk = Desk::new(options, &arguments.by)?;
    let bytes = read(&arguments.path)?;
    let dialect = desk
        .dialect(&bytes)
        .ok_or_else(|| Failure::failed(format!("{}: no known dialect; --adapter names one", arguments.path.display())))?;
    let adapter = dialect.adapter(desk.settings.clone());
    let frames = dialect.frames(&bytes);
    let frame = frames.first().ok_or_else(|| Failure::failed("no message in it"))?;
    let explanation = adapter.envelope(frame).and_then(|envelope| adapter.explain(frame, &envelope));
    let explanation = explanation.map_err(|rejection| {
        let kind = rejection.kind().word();
        Failure::failed(rejection.issues().iter().fold(format!("{kind}:"), |said, issue| format!("{said}\n  {issue}")))
    })?;
    print(&explanation, &desk.settings);
    Ok(ExitCode::SUCCESS)
}

fn print(explanation: &Explanation, settings: &Settings) {
    let width = |of: &dyn Fn(&contract::Trace) -> usize| explanation.traces.iter().map(of).max().unwrap_or(0);
    let (element, place) = (width(&|trace| trace.element.len()), width(&|trace| trace.place.len()).max(4));
    for (at, contribution) in explanation.translation.contributions.iter().enumerate() {
        println!("{}", settings.reference(&contribution.key));
        for trace in explanation.traces.iter().filter(|trace| trace.contribution == at) {
            let origin = if trace.place.is_empty() { "(row)" } else { &trace.place };
            println!("  {:element$}  {origin:place$}  {}", trace.element, trace.row);
        }
    }
    println!("\nValues that went nowhere: {}", if explanation.unmapped.is_empty() { "none" } else { "" });
    for place in &explanation.unmapped {
        println!("  {place}");
    }
    let said = explanation.translation.issues.iter().filter(|issue| issue.severity > Severity::Information);
    for issue in said {
        println!("{issue}");
    }
}

/// What is needed to translate.
struct Desk {
    dialects: Vec<Arc<dyn Dialect>>,
    /// The adapter that was named, if one was.
    only: Option<String>,
    settings: Settings,
}

impl Desk {
    fn new(options: &Options, by: &By) -> Result<Self, Failure> {
        let dialects = dialects(by.schemas.as_deref()).map_err(Failure::usage)?;
        let mut only = by.adapter.clone();
        let settings = match &by.feed {
            None => Settings::demonstration(),
            Some(name) => {
                let config = options.load()?;
                let known = || config.feeds.keys().cloned().collect::<Vec<_>>().join(", ");
                let feed = config.feeds.get(name).ok_or_else(|| Failure::usage(format!("no feed {name}; there are {}", known())))?;
                only.get_or_insert_with(|| feed.adapter.clone());
                feed.settings(&config.read_id_key().map_err(Failure::usage)?, &config.https.base_url)
            }
        };
        if let Some(name) = &only
            && !dialects.iter().any(|dialect| dialect.name() == name)
        {
            let known: Vec<&str> = dialects.iter().map(|dialect| dialect.name()).collect();
            return Err(Failure::usage(format!("no adapter {name}; there are {}", known.join(", "))));
        }
        Ok(Self { dialects, only, settings })
    }

    fn dialect(&self, bytes: &[u8]) -> Option<&Arc<dyn Dialect>> {
        self.dialects.iter().find(|dialect| match &self.only {
            Some(name) => dialect.name() == name,
            None => dialect.recognises(bytes),
        })
    }
}

struct Converted {
    word: &'static str,
    translation: Option<(Envelope, Translation)>,
    issues: Vec<Issue>,
}

/// `convert` neither admits nor holds: what only waits for a person is told as untranslatable.
fn convert(adapter: &dyn Adapter, frame: &Frame) -> Converted {
    let translated = adapter.envelope(frame).and_then(|envelope| {
        let mut translation = adapter.translate(frame, &envelope)?;
        translation.issues.splice(0..0, envelope.issues.clone());
        Ok((envelope, translation))
    });
    match translated {
        Ok((envelope, translation)) => {
            let noted = translation.issues.iter().any(|issue| issue.severity > Severity::Information);
            Converted {
                word: if noted { "translated-with-issues" } else { "translated" },
                issues: translation.issues.clone(),
                translation: Some((envelope, translation)),
            }
        }
        Err(rejection) => {
            let word = match rejection.kind() {
                OutcomeKind::Malformed => "malformed",
                OutcomeKind::Unsupported => "unsupported",
                _ => "untranslatable",
            };
            Converted { word, translation: None, issues: rejection.issues() }
        }
    }
}

fn line(path: &Path, index: usize, converted: &Converted, bundle: Option<Json>) -> Json {
    let issue = |issue: &Issue| -> Json {
        [
            ("severity", Json::from(issue.severity.code())),
            ("place", Json::from(issue.place.clone())),
            ("reason", Json::from(&*issue.reason)),
        ]
        .into_iter()
        .collect()
    };
    [
        ("source", Json::from(path.display().to_string())),
        ("index", Json::Number(index.to_string().into())),
        ("outcome", Json::from(converted.word)),
        ("bundle", bundle.unwrap_or(Json::Null)),
        ("issues", Json::Array(converted.issues.iter().map(issue).collect())),
    ]
    .into_iter()
    .collect()
}

fn indented(json: &Json) -> String {
    fn write(json: &Json, depth: usize, out: &mut String) {
        let pad = |depth: usize, out: &mut String| {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        };
        match json {
            Json::Array(elements) if !elements.is_empty() => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    pad(depth + 1, out);
                    write(element, depth + 1, out);
                }
                pad(depth, out);
                out.push(']');
            }
            Json::Object(members) if !members.is_empty() => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    pad(depth + 1, out);
                    out.push_str(&Json::string(name.clone()).to_string());
                    out.push_str(": ");
                    write(value, depth + 1, out);
                }
                pad(depth, out);
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
    }
    let mut out = String::new();
    write(json, 0, &mut out);
    out
}

/// The files to translate, and whether each was named by itself.
fn files(paths: &[PathBuf]) -> Result<Vec<(PathBuf, bool)>, Failure> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, bool)>) -> std::io::Result<()> {
        let mut entries = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        entries.sort();
        for entry in entries {
            if entry.is_dir() {
                walk(&entry, found)?;
            } else if std::fs::metadata(&entry).is_ok_and(|data| data.is_file() && data.len() <= FILE_BYTES_MAX) {
                found.push((entry, false));
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            walk(path, &mut found).map_err(|error| Failure::usage(format!("{}: {}", path.display(), error.kind())))?;
        } else {
            found.push((path.clone(), true));
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Bytes, Failure> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map(Bytes::from).map_err(|error| Failure::usage(format!("{}: {}", path.display(), error.kind())))
}
