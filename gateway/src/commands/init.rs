use super::{Done, Failure};
use crate::development;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The folder; it is made if it is not there, and nothing in it is overwritten
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(arguments: &Arguments) -> Done {
    development::init(&arguments.folder, jiff::Timestamp::now()).map_err(|error| Failure::failed(error.to_string()))?;
    let config = arguments.folder.join("landbridge.toml");
    println!("{} is ready. Its certificates and keys are for development alone.", arguments.folder.display());
    println!("Next: landbridge serve --config {}", config.display());
    Ok(ExitCode::SUCCESS)
}
