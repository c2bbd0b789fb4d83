//! The command line. Other programs call it: names, outputs and exit codes are kept.

mod audit;
mod check;
mod compare;
mod config;
mod convert;
mod demo;
mod desk;
mod edge;
mod explain;
mod findings;
mod init;
mod journal;
mod learn;
mod operator;
mod ops;
mod patient;
mod progress;
mod relay;
mod send;
mod serve;
mod status;
mod token;
mod withdraw;

use crate::config::{Config, Mistake};
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The configuration of a command that names none.
const CONFIGURATION: &str = "landbridge.toml";

/// An interoperability gateway: HL7 v2 and XML feeds in at one door, authorized FHIR R4 reads out at the other.
#[derive(Parser, Debug)]
#[command(name = "landbridge", version, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: Options,
}

#[derive(Args, Debug)]
struct Options {
    /// The configuration [default: ./landbridge.toml]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// See it work: a made-up hospital day through the real doors, read back, refused and audited
    Demo(demo::Arguments),
    /// Open all doors: take messages in, give FHIR out
    Serve(serve::Arguments),
    /// Write a working folder: development certificates, keys and a commented landbridge.toml
    Init(init::Arguments),
    /// Tell every mistake of a configuration, and of the files that it names, at once
    Check(check::Arguments),
    /// The keys of the configuration: what each means; its JSON Schema
    #[command(subcommand)]
    Config(config::Command),
    /// Translate messages into FHIR without storing them
    Convert(convert::Arguments),
    /// Draft a feed's configuration from a sender's messages, each guess with its evidence
    Learn(learn::Arguments),
    Send(send::Arguments),
    Edge(edge::Arguments),
    /// On one screen: does the gateway run, what came of each feed and when, what waits; exit code 1 where it is not ready
    Status(status::Arguments),
    /// What a person in charge should know, in plain words: safe, needs attention, unsafe; and what to do, and who
    Findings(findings::Arguments),
    Compare(compare::Arguments),
    /// Tell for one message where each FHIR element comes from, and which values went nowhere
    Explain(explain::Arguments),
    Journal(journal::Arguments),
    /// Undo a message, a test or one about the wrong patient: shows what that would change, and with --yes does it
    Withdraw(withdraw::Arguments),
    /// The messages behind a patient's record and all that belongs to it, oldest first, each with what it changed (an access
    /// to patient data: it is written down)
    Patient(patient::Arguments),
    /// What is passed on to next hops: what waits, dead letters, sending again
    #[command(subcommand)]
    Relay(relay::Command),
    /// Print a development token for the FHIR API, signed by the issuer key beside the configuration, and nothing else
    Token(token::Arguments),
    /// The audit of all crossings
    #[command(subcommand)]
    Audit(audit::Command),
}

impl Cli {
    /// Runs the command; what it returns is the exit code of the process.
    pub fn run(self) -> ExitCode {
        let options = self.options;
        let done = match self.command {
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Serve(arguments) => serve::run(&options, &arguments),
            Command::Init(arguments) => init::run(&arguments),
            Command::Check(arguments) => check::run(&options, &arguments),
            Command::Config(command) => config::run(&command),
            Command::Convert(arguments) => convert::run(&options, &arguments),
            Command::Learn(arguments) => learn::run(&arguments),
            Command::Send(arguments) => send::run(&arguments),
            Command::Compare(arguments) => compare::run(&options, &arguments),
            Command::Edge(arguments) => edge::run(&arguments),
            Command::Status(arguments) => status::run(&options, &arguments),
            Command::Findings(arguments) => findings::run(&options, &arguments),
            Command::Explain(arguments) => explain::run(&options, &arguments),
            Command::Journal(arguments) => journal::run(&options, &arguments),
            Command::Withdraw(arguments) => withdraw::run(&options, &arguments),
            Command::Patient(arguments) => patient::run(&options, &arguments),
            Command::Relay(command) => relay::run(&options, &command),
            Command::Token(arguments) => token::run(&options, &arguments),
            Command::Audit(command) => audit::run(&options, &command),
        };
        match done {
            Ok(code) => code,
            Err(failure) => {
                eprintln!("{}", failure.reason);
                ExitCode::from(failure.code)
            }
        }
    }
}

impl Options {
    /// Whether there is a configuration: one was named, or one lies in this folder.
    fn is_given(&self) -> bool {
        self.config.is_some() || Path::new(CONFIGURATION).is_file()
    }

    /// The configuration file that the command was given, or the one of this folder.
    fn path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| PathBuf::from(CONFIGURATION))
    }

    fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.path()).map_err(|mistakes| self.unusable(&mistakes))
    }

    /// All mistakes, a line each.
    fn unusable(&self, mistakes: &[Mistake]) -> Failure {
        let path = self.path();
        let told: Vec<String> = mistakes.iter().map(|mistake| mistake.told(&path)).collect();
        Failure::usage(told.join("\n"))
    }
}

/// Why a command did not do it, and with which exit code it ends.
#[derive(Debug)]
struct Failure {
    code: u8,
    reason: String,
}

impl Failure {
    /// Called wrongly, or with a configuration that cannot be used.
    fn usage(reason: impl Into<String>) -> Self {
        Self { code: 2, reason: reason.into() }
    }

    /// Called rightly, and it did not work.
    fn failed(reason: impl Into<String>) -> Self {
        Self { code: 1, reason: reason.into() }
    }
}

type Done = Result<ExitCode, Failure>;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
