//! A new version of a frame, in the original's place.

use super::write_down;
use crate::commands::{Done, Failure, desk, operator};
use crate::config::Config;
use crate::serve::Parts;
use crate::store::{self, SqliteStore, Store};
use contract::{Frame, OutcomeKind};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

#[derive(clap::Args, Debug)]
pub struct Edit {
    /// The frame, as `journal list` tells it
    position: u64,
    /// Why: it is kept with the new version, and told by `journal show`
    #[arg(long, value_name = "TEXT")]
    because: String,
    /// The new version from this file, or with - from standard input; without it the frame is opened in $VISUAL or $EDITOR
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Store it though its processing id (MSH-11) is not P
    #[arg(long)]
    release: bool,
    /// The tables that the gateway serves with, where those are not the built-in ones
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

pub async fn edit(config: &Config, store: Arc<SqliteStore>, edit: &Edit) -> Done {
    let at = edit.position;
    if edit.because.trim().is_empty() {
        return Err(Failure::usage("--because says nothing: write why the frame is edited"));
    }
    let failed = |error: store::StoreError| Failure::failed(error.to_string());
    let found = store.frame(at).map_err(failed)?;
    let (row, original, _) =
        found.ok_or_else(|| Failure::failed(format!("the journal has no position {at}: `journal list` tells them")))?;
    let made = match &edit.from {
        Some(path) => desk::read(path).map_err(Failure::usage)?.to_vec(),
        None => {
            write_down(config, &store, at, format!("journal edit {at}")).await?;
            in_editor(&config.store_directory, at, original.bytes())?
        }
    };
    if made.len() > config.limits.frame_bytes {
        return Err(Failure::usage(format!("the new version is larger than limits.frame_bytes, {} bytes", config.limits.frame_bytes)));
    }
    let parts = Parts::new(config, edit.schemas.as_deref(), store.clone()).map_err(Failure::failed)?;
    let intake = parts.intake(config).map_err(Failure::failed)?;
    let of = store::Edit { of: at, who: operator::agent().who, because: edit.because.clone() };
    let answer = intake.edit(Frame::new(made), of, edit.release).await;
    let answer = answer.map_err(|reason| Failure::failed(format!("{at}: not edited: {reason}")))?;
    let Some(version) = answer.position.filter(|_| answer.outcome != OutcomeKind::Transient) else {
        return Err(Failure::failed(format!("{at}: not edited: the new version could not be made durable now; nothing is changed")));
    };
    println!("{at}: edited as {version}: {}", answer.outcome.word());
    answer.issues.iter().for_each(|issue| println!("  {issue}"));
    if answer.outcome.is_stored() {
        return Ok(ExitCode::SUCCESS);
    }
    if row.outcome.is_stored() {
        eprintln!("{at} counts as before; its new version waits. Edit {version} further, or set it aside: `landbridge withdraw {version}`");
    } else {
        eprintln!("the new version waits in the place of {at}: edit {version} further, or replay it when the tables are mended");
    }
    Ok(ExitCode::from(1))
}

/// What a person makes of a frame in an editor. It lies beside the store, for its owner alone, and is gone afterwards, with
/// whatever the editor put beside it.
fn in_editor(directory: &Path, position: u64, original: &[u8]) -> Result<Vec<u8>, Failure> {
    let editor = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| std::env::var(name).ok()).find(|editor| !editor.trim().is_empty());
    let editor = editor.ok_or_else(|| Failure::usage("no editor: set VISUAL or EDITOR, or give the new version by --from FILE"))?;
    let folder = directory.join(format!("edit-{position}.{}", std::process::id()));
    let path = folder.join("frame");
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {}", path.display(), error.kind()));
    let lines = Lines::of(original);
    DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
    // An editor may come with arguments, so it is the shell that reads it; the path is no part of the text.
    let edited = std::fs::write(&path, lines.opened(original)).map_err(failed).and_then(|()| {
        let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&path).status();
        match status {
            Ok(status) if status.success() => std::fs::read(&path).map_err(failed),
            Ok(_) => Err(Failure::failed("the editor ended with a failure: nothing is changed")),
            Err(error) => {
                let reason = error.kind();
                Err(Failure::failed(format!("the editor cannot be started by sh ({reason}): give the new version by --from FILE")))
            }
        }
    });
    std::fs::remove_dir_all(&folder).map_err(failed)?;
    Ok(lines.closed(edited?))
}

/// How a frame's lines end: an editor shows the segments of HL7 v2, which end with a bare CR, as lines.
#[derive(Clone, Copy)]
struct Lines {
    carriage_returns: bool,
    /// It ends with a line's end.
    ended: bool,
}

impl Lines {
    fn of(frame: &[u8]) -> Self {
        Self { carriage_returns: frame.contains(&b'\r') && !frame.contains(&b'\n'), ended: frame.ends_with(b"\r") }
    }

    fn opened(self, frame: &[u8]) -> Vec<u8> {
        if self.carriage_returns { frame.iter().map(|byte| if *byte == b'\r' { b'\n' } else { *byte }).collect() } else { frame.to_vec() }
    }

    fn closed(self, mut edited: Vec<u8>) -> Vec<u8> {
        if self.carriage_returns {
            // Editors end a file with a line's end.
            if !self.ended && edited.ends_with(b"\n") {
                edited.pop();
            }
            edited.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'\r');
        }
        edited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_lines_in_the_editor_and_segments_again_after_it() {
        for (frame, opened) in [
            (&b"MSH|a\rPID|b\r"[..], &b"MSH|a\nPID|b\n"[..]),
            (b"MSH|a\rPID|b", b"MSH|a\nPID|b"),
            (b"MSH|a\r\nPID|b\r\n", b"MSH|a\r\nPID|b\r\n"),
            (b"<a>\n</a>\n", b"<a>\n</a>\n"),
        ] {
            let lines = Lines::of(frame);
            assert_eq!(lines.opened(frame), opened);
            assert_eq!(lines.closed(opened.to_vec()), frame);
        }
        let lines = Lines::of(b"MSH|a\rPID|b");
        assert_eq!(lines.closed(b"MSH|a\nPID|c\n".to_vec()), b"MSH|a\rPID|c");
    }
}
