use super::{Done, Failure, Options};
use crate::config::{Config, Files, Mistake};
use crate::serve::{Checked, check};
use jiff::Timestamp;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code 0: the gateway starts with it. 2: it has mistakes.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Tables from this folder instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
    /// Check the text alone: the files that it names may be on another machine
    #[arg(long, conflicts_with = "schemas")]
    text_only: bool,
    /// End with exit code 2 for a warning too
    #[arg(long)]
    strict: bool,
    /// How it is told
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, Default)]
enum Format {
    /// A line each: FILE:LINE: key: what is wrong, and what to write instead
    #[default]
    Text,
    /// {"file", "mistakes": [{"line", "key", "reason"}], "warnings": [...]}
    Json,
}

/// Tells every mistake of a configuration, and of the files that it names, at once.
pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let path = options.path();
    let unreadable = |mistake: Mistake| options.unusable(&[mistake]);
    let checked = if arguments.text_only {
        let read = Config::read(&path, Files::Untouched).map_err(unreadable)?;
        Checked { config: read.meant, mistakes: read.mistakes, warnings: Vec::new() }
    } else {
        check(&path, arguments.schemas.as_deref(), Timestamp::now()).map_err(unreadable)?
    };
    match arguments.format {
        Format::Text => tell(&path, &checked),
        Format::Json => {
            let list = |found: &[Mistake]| {
                let one = |found: &Mistake| json!({ "line": found.line, "key": found.key, "reason": found.reason });
                found.iter().map(one).collect::<Vec<_>>()
            };
            println!("{}", json!({ "file": path, "mistakes": list(&checked.mistakes), "warnings": list(&checked.warnings) }));
        }
    }
    let is_right = checked.mistakes.is_empty() && (checked.warnings.is_empty() || !arguments.strict);
    Ok(ExitCode::from(if is_right { 0 } else { 2 }))
}

fn tell(path: &Path, checked: &Checked) {
    for mistake in &checked.mistakes {
        eprintln!("{}", mistake.told(path));
    }
    for warning in &checked.warnings {
        eprintln!("{}", Mistake { reason: format!("warning: {}", warning.reason), ..warning.clone() }.told(path));
    }
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let (mistakes, warnings) = (count(checked.mistakes.len(), "mistake"), count(checked.warnings.len(), "warning"));
    if checked.mistakes.is_empty() {
        let config = &checked.config;
        let doors = count(1 + config.mllp.len(), "listener");
        let (feeds, issuers) = (count(config.feeds.len(), "feed"), count(config.issuers.len(), "issuer"));
        println!("{}: right, with {doors}, {feeds}, {issuers}; {warnings}", path.display());
    } else {
        eprintln!("{}: {mistakes}, {warnings}", path.display());
    }
}

/// The configuration that `serve` starts with: what `check` calls a mistake it refuses, all at once and in the same words.
pub fn checked(options: &Options, schemas: Option<&Path>) -> Result<Config, Failure> {
    let found = check(&options.path(), schemas, Timestamp::now()).map_err(|mistake| options.unusable(&[mistake]))?;
    if found.mistakes.is_empty() { Ok(found.config) } else { Err(options.unusable(&found.mistakes)) }
}
