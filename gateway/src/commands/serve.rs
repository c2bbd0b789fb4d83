use super::check::checked;
use super::{Done, Failure, Options};
use crate::config::Config;
use crate::observe::logs;
use crate::serve::{Parts, Running, start, store};
use crate::signals::Signals;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Tables from this folder instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

/// Serves until SIGTERM or SIGINT; one line on standard output when all doors are open.
pub fn run(options: &Options, arguments: &Arguments) -> Done {
    let config = checked(options, arguments.schemas.as_deref())?;
    logs::start();
    runtime()?.block_on(async {
        let running = open(&config, arguments.schemas.as_deref()).await.map_err(Failure::failed)?;
        let signals = Signals::new().map_err(|error| Failure::failed(format!("signals: {}", error.kind())))?;
        println!("{}", running.ready_line());
        // Whoever started us may be gone; the doors are open all the same.
        let _ = std::io::stdout().flush();
        running.until_told_to_stop(signals).await;
        running.shutdown().await.map_err(Failure::failed)?;
        Ok(ExitCode::SUCCESS)
    })
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Failure::failed(format!("no runtime: {}", error.kind())))
}

/// A gateway with open doors, as its configuration says.
pub async fn open(config: &Config, schemas: Option<&Path>) -> Result<Running, String> {
    let store = store(config)?;
    start(config, Parts::new(config, schemas, store)?).await
}
