use super::{Done, Failure, Options};
use std::path::PathBuf;

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
    let _ = (seals, directory, config);
    Err(Failure::usage("not joined yet"))
}
