//! Judging frames again that were not stored.

use super::shown;
use super::which::Which;
use crate::commands::ops::{Ops, Refusal, issue, list, number, text};
use crate::commands::{Done, Failure, progress};
use contract::{Json, OutcomeKind};
use std::path::PathBuf;
use std::process::ExitCode;

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
    pub schemas: Option<PathBuf>,
}

/// Judges each frame again, in order. Trouble of the store would meet the next one too: it ends there.
pub fn judge_again(ops: &Ops, replay: &Replay) -> Done {
    let positions = positions(ops, replay)?;
    let bar = progress::bar(positions.len() as u64, "frames");
    let (mut stored, mut left) = (0, 0);
    for (at, &position) in positions.iter().enumerate() {
        let order = [("release", Json::Bool(replay.release))];
        let (line, issues) = match ops.post(&format!("/ops/journal/{position}/replay"), order) {
            Ok(told) => {
                let outcome = OutcomeKind::from_word(text(&told, "outcome"));
                if outcome.is_none_or(|outcome| outcome == OutcomeKind::Transient) {
                    return stopped(&bar, &positions[at..], stored, "it could not be made durable now");
                }
                let is_stored = outcome.is_some_and(|outcome| outcome == OutcomeKind::Duplicate || outcome.is_stored());
                stored += usize::from(is_stored);
                left += usize::from(!is_stored);
                let issues = if is_stored { Vec::new() } else { list(&told, "issues").iter().map(issue).collect() };
                (format!("{position}: {}", text(&told, "outcome")), issues)
            }
            // Of this frame alone?
            Err(Refusal { status: 404 | 409, detail }) => {
                left += 1;
                (format!("{position}: not judged again: {detail}"), Vec::new())
            }
            Err(refusal) => return stopped(&bar, &positions[at..], stored, &refusal.detail),
        };
        bar.suspend(|| {
            println!("{line}");
            issues.iter().for_each(|issue| println!("  {}", shown(issue)));
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    eprintln!("{} judged again: {stored} stored, {left} not", positions.len());
    Ok(ExitCode::from(u8::from(left > 0)))
}

fn positions(ops: &Ops, replay: &Replay) -> Result<Vec<u64>, Failure> {
    if !replay.positions.is_empty() {
        return Ok(replay.positions.clone());
    }
    if replay.which.is_all() {
        return Err(Failure::usage("which? Give positions, or --waiting, --feed, --type, --outcome, --reason, --control-id, --from, --to"));
    }
    let mut query = replay.which.query();
    query.retain(|(name, _)| name != "waiting");
    query.push(("waiting".into(), "true".into()));
    let mut positions = Vec::new();
    replay.which.each(ops, &query, |row| {
        positions.push(number(row, "position"));
        Ok(())
    })?;
    Ok(positions)
}

/// Says how to go on.
fn stopped(bar: &indicatif::ProgressBar, left: &[u64], stored: usize, cause: &str) -> Done {
    bar.finish_and_clear();
    let next = left.first().copied().unwrap_or_default();
    Err(Failure::failed(format!(
        "stopped at position {next}: {cause}. {stored} were stored before it, {} are left. When the store \
         is well again, give the same positions from {next} on, or the same filters with --after {}",
        left.len(),
        next.saturating_sub(1)
    )))
}
