use super::{Done, Failure, Options};
use crate::findings::{Concern, Facts, State, headline, judge, state};
use crate::ops::told;
use crate::serve::store;
use jiff::Timestamp;
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// text, or json: state, and one object a finding (state, kind, about, what, meaning, do, who, since, count)
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    /// End with exit code 1 where the boundary is in this state or worse
    #[arg(long, value_name = "STATE", value_parser = ["needs-attention", "unsafe"])]
    fail_on: Option<String>,
}

pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let concerns = look(options)?;
    match arguments.format.as_str() {
        "json" => println!("{}", told::findings(&concerns)),
        _ => {
            println!("{}", headline(&concerns));
            concerns.iter().for_each(|concern| print!("\n{concern}"));
        }
    }
    let failing = match arguments.fail_on.as_deref() {
        None => return Ok(ExitCode::SUCCESS),
        Some("unsafe") => State::Unsafe,
        Some(_) => State::NeedsAttention,
    };
    Ok(ExitCode::from(u8::from(state(&concerns) >= failing)))
}

/// Beside a running gateway, or without one.
pub fn look(options: &Options) -> Result<Vec<Concern>, Failure> {
    let config = options.load()?;
    let store = store(&config).map_err(Failure::failed)?;
    let facts = Facts::gather(config, &*store, Timestamp::now()).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(judge(&facts))
}
