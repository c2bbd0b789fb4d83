use super::{Done, Failure, Options};
use crate::audit::chain::{SealPublic, verify};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Check chains, gaps and seals; exit code 0: intact, 1: broken, 2: called wrongly
    Verify {
        /// Seals that left the machine, to hold the store's own against [default: the configuration's]
        #[arg(long, value_name = "FILE")]
        seals: Option<PathBuf>,
        /// The store's folder, where it is not the configuration's: a copy, a backup
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

pub fn run(options: &Options, command: &Command) -> Done {
    let Command::Verify { seals, directory } = command;
    let config = options.load()?;
    let public = config.seal_key.with_extension("pub");
    let pem = std::fs::read(&public).map_err(|error| Failure::usage(format!("{}: {}", public.display(), error.kind())))?;
    let key = SealPublic::from_pem(&pem).map_err(|reason| Failure::usage(format!("{}: {reason}", public.display())))?;
    let directory = directory.as_ref().unwrap_or(&config.store_directory);
    // The configured file of seals may not be there yet, or be a pipe; one that was named must be.
    let seals = seals.clone().or_else(|| Some(config.seals.clone()).filter(|file| file.is_file()));
    let report = verify(directory, seals.as_deref(), &key).map_err(|error| Failure::usage(format!("{}: {error}", directory.display())))?;
    for fault in &report.faults {
        println!("broken: {fault}");
    }
    let more = report.faults_count.saturating_sub(report.faults.len() as u64);
    if more > 0 {
        println!("broken: and {more} more places");
    }
    let sealed = report.last_seal.map_or_else(|| "never sealed".to_owned(), |at| format!("last sealed {at}"));
    println!(
        "{}: {} entries of {} writers, {} seals in the store and {} outside it, {sealed}; {} entries not yet sealed",
        if report.is_intact() { "intact" } else { "broken" },
        report.entries,
        report.writers,
        report.seals,
        report.seals_outside,
        report.unsealed
    );
    Ok(ExitCode::from(u8::from(!report.is_intact())))
}
