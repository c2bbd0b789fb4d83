//! Logs: JSON lines on standard error, without patient data. Other crates speak from `warn` on: some log parameters below.

use tracing_subscriber::EnvFilter;

/// How much this gateway itself says: `error`, `warn`, `info` (the default) or `debug`.
pub const LEVEL_VARIABLE: &str = "LANDBRIDGE_LOG";

/// Starts logging, and keeps what panics say out of it: a panic tells where, not what (it may hold a value). Call once.
pub fn start() {
    let stated = std::env::var(LEVEL_VARIABLE).unwrap_or_default();
    let level = ["error", "warn", "info", "debug"].into_iter().find(|level| *level == stated).unwrap_or("info");
    let filter = EnvFilter::new(format!("warn,gateway={level},landbridge={level}"));
    let lines = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).with_current_span(false);
    // A second start, as in tests, changes nothing.
    let _ = lines.try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        tracing::error!(place, "a panic: what it said is left out");
    }));
}
