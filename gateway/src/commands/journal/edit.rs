//! A new version of a frame, in the original's place.

use super::{frame, shown};
use crate::commands::ops::{Ops, issue, list, number, text};
use crate::commands::{Done, Failure, desk};
use crate::os::DirBuilderExt;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::{Json, OutcomeKind};
use std::fs::DirBuilder;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Before the position and the process that edits it.
const FOLDER: &str = "landbridge-edit-";

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
    pub schemas: Option<PathBuf>,
}

pub fn edit(ops: &Ops, edit: &Edit) -> Done {
    let at = edit.position;
    if edit.because.trim().is_empty() {
        return Err(Failure::usage("--because says nothing: write why the frame is edited"));
    }
    let found = ops.get(&format!("/ops/journal/{at}"))?;
    let made = match &edit.from {
        Some(path) => desk::read(path).map_err(Failure::usage)?.to_vec(),
        None => {
            // Through a gateway there is no store on this machine.
            let directory = ops.config().map_or_else(std::env::temp_dir, |config| config.store_directory.clone());
            in_editor(&directory, at, &frame(&found)?)?
        }
    };
    let because = Json::from(edit.because.as_str());
    let order = [("frame_base64", Json::from(STANDARD.encode(made))), ("because", because), ("release", Json::Bool(edit.release))];
    let told = ops.post(&format!("/ops/journal/{at}/edit"), order);
    let told = told.map_err(|refusal| Failure::failed(format!("{at}: not edited: {}", refusal.detail)))?;
    let outcome = OutcomeKind::from_word(text(&told, "outcome")).filter(|outcome| *outcome != OutcomeKind::Transient);
    let (version, Some(outcome)) = (number(&told, "position"), outcome) else {
        return Err(Failure::failed(format!("{at}: not edited: the new version could not be made durable now; nothing is changed")));
    };
    println!("{at}: edited as {version}: {}", outcome.word());
    list(&told, "issues").iter().for_each(|told| println!("  {}", shown(&issue(told))));
    if outcome.is_stored() {
        return Ok(ExitCode::SUCCESS);
    }
    if OutcomeKind::from_word(text(&found, "outcome")).is_some_and(|outcome| outcome.is_stored()) {
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
    clear(directory);
    let folder = directory.join(format!("{FOLDER}{position}.{}", std::process::id()));
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

/// Removes what an edit left that was killed.
fn clear(directory: &Path) {
    let is_over =
        |process: &str| process.parse::<u32>().is_ok() && Path::new("/proc/self").exists() && !Path::new("/proc").join(process).exists();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.rsplit_once('.'));
        if process.is_some_and(|(_, process)| is_over(process)) {
            // Another user's is not ours to remove.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
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
    fn what_a_killed_edit_left_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| std::fs::create_dir(directory.path().join(name)).unwrap();
        let here = format!("{FOLDER}3.{}", std::process::id());
        // No process has so great a number (pid_max is below 2^22).
        for name in ["landbridge-edit-2.4194305", "landbridge-edit-x", "other-edit-2.4194305", &here] {
            make(name);
        }
        clear(directory.path());
        let mut left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [&here, "landbridge-edit-x", "other-edit-2.4194305"]);
    }

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
