use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::commands::Cli::parse().run()
}
