//! What a sender's messages tell of it, as a draft of its feed. No value of a patient goes into the draft: names of systems
//! and assigners, codes, and counts.

mod draft;
mod lines;
mod survey;
#[cfg(test)]
mod tests;
mod zones;

use super::desk::{files, read};
use super::progress;
use super::{Done, Failure};
use crate::adapters::dialects;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use survey::Samples;

/// Exit code 0: a draft was written. 1: there is no HL7 v2 message among the samples.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Files or folders (walked, sorted) of HL7 v2 messages: one or many a file, batches, recordings of MLLP; `-` is standard input
    #[arg(required = true, value_name = "SAMPLES")]
    paths: Vec<PathBuf>,
    /// Write the draft to this file, which must not be there, instead of to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The door that the feed will use
    #[arg(long, value_name = "NAME", default_value = "mllp.main")]
    listener: String,
    /// Tables from this folder instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Done {
    let files = files(&arguments.paths)?;
    let mut samples = Samples::new(&dialects(arguments.schemas.as_deref()).map_err(Failure::usage)?);
    let bar = progress::bar(files.len() as u64, "files");
    for (path, _) in files {
        bar.inc(1);
        match read(&path) {
            Ok(bytes) => samples.take(&bytes),
            Err(reason) => {
                bar.suspend(|| eprintln!("{reason}"));
                samples.unread += 1;
            }
        }
    }
    bar.finish_and_clear();
    if samples.senders.is_empty() {
        return Err(Failure::failed(format!("there is no HL7 v2 message among the samples; {}", samples.passed_over())));
    }
    let draft = draft::draft(&samples, &arguments.listener);
    let Some(file) = &arguments.output else {
        // Whoever read our output may have gone.
        return Ok(ExitCode::from(u8::from(std::io::stdout().write_all(draft.as_bytes()).is_err())));
    };
    let written = std::fs::File::create_new(file).and_then(|mut opened| opened.write_all(draft.as_bytes()));
    written.map_err(|error| Failure::usage(format!("{}: {}; nothing there is overwritten", file.display(), error.kind())))?;
    Ok(ExitCode::SUCCESS)
}
