use clap::Parser;
use std::process::ExitCode;

/// Translating and folding are many small allocations: measured, a fifth more messages a second than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway::commands::Cli::parse().run()
}
