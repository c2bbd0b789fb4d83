//! Judging frames again that were not stored.

use super::which::Which;
use crate::commands::{Done, Failure, operator, progress};
use crate::config::Config;
use crate::serve::Parts;
use crate::store::{SqliteStore, Store};
use contract::OutcomeKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(clap::Args, Debug)]
pub struct Replay {
    /// Positions in the journal; without any, all frames that fit the filters below
    positions: Vec<u64>,
    #[command(flatten)]
    pub which: Which,
    /// Store what was held for its processing id (MSH-11) too
    #[arg(long)]
    release: bool,
    /// The tables that the gateway serves with, where those are not the built-in ones
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

/// Judges each frame again, in order. Trouble of the store would meet the next one too: it ends there.
pub async fn judge_again(config: &Config, store: Arc<SqliteStore>, replay: &Replay) -> Done {
    let positions = positions(&*store, replay)?;
    let parts = Parts::new(config, replay.schemas.as_deref(), store.clone()).map_err(Failure::failed)?;
    let intake = parts.intake(config).map_err(Failure::failed)?;
    let agent = operator::agent();
    let bar = progress::bar(positions.len() as u64, "frames");
    let (mut stored, mut left) = (0, 0);
    for (at, &position) in positions.iter().enumerate() {
        let (line, issues) = match intake.replay(position, &agent.who, replay.release).await {
            Ok(answer) if answer.outcome == OutcomeKind::Transient => return stopped(&bar, &positions[at..], stored),
            Ok(answer) => {
                let is_stored = matches!(answer.outcome, OutcomeKind::Duplicate) || answer.outcome.is_stored();
                stored += usize::from(is_stored);
                left += usize::from(!is_stored);
                (format!("{position}: {}", answer.outcome.word()), if is_stored { Vec::new() } else { answer.issues })
            }
            // Of this frame alone, or of the store?
            Err(_) if store.frame(position).is_err() => return stopped(&bar, &positions[at..], stored),
            Err(reason) => {
                left += 1;
                (format!("{position}: not judged again: {reason}"), Vec::new())
            }
        };
        bar.suspend(|| {
            println!("{line}");
            issues.iter().for_each(|issue| println!("  {issue}"));
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    eprintln!("{} judged again: {stored} stored, {left} not", positions.len());
    Ok(ExitCode::from(u8::from(left > 0)))
}

fn positions(store: &dyn Store, replay: &Replay) -> Result<Vec<u64>, Failure> {
    if !replay.positions.is_empty() {
        return Ok(replay.positions.clone());
    }
    if replay.which.is_all() {
        return Err(Failure::usage("which? Give positions, or --waiting, --feed, --type, --outcome, --reason, --control-id, --from, --to"));
    }
    let mut filter = replay.which.filter();
    filter.waiting = true;
    let mut positions = Vec::new();
    replay.which.each(store, filter, |row| {
        positions.push(row.position);
        Ok(())
    })?;
    Ok(positions)
}

/// Says how to go on.
fn stopped(bar: &indicatif::ProgressBar, left: &[u64], stored: usize) -> Done {
    bar.finish_and_clear();
    let next = left.first().copied().unwrap_or_default();
    Err(Failure::failed(format!(
        "stopped at position {next}: it could not be made durable now. {stored} were stored before it, {} are left. When the store \
         is well again, give the same positions from {next} on, or the same filters with --after {}",
        left.len(),
        next.saturating_sub(1)
    )))
}
