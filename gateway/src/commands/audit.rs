use super::{Done, Failure, Options};
use crate::audit::chain::{Report, SealPublic, verify};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Check chains, gaps and seals; exit code 0: intact, 1: broken, 2: called wrongly
    Verify {
        /// Seals that left the machine, to hold the store's own against [default: those that lie in DIR, else the
        /// configuration's]
        #[arg(long, value_name = "FILE")]
        seals: Option<PathBuf>,
        /// A store's folder that is not the configuration's: a copy, a backup
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
        /// The public half of the seal key [default: .pub beside the configuration's]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

pub fn run(options: &Options, command: &Command) -> Done {
    let Command::Verify { seals, directory, key } = command;
    // Whoever has a copy and the public key needs no configuration.
    let config = if directory.is_some() && key.is_some() { None } else { Some(options.load()?) };
    let of_config = |take: fn(&crate::config::Config) -> PathBuf| config.as_ref().map(take).unwrap_or_default();
    let key = key.clone().unwrap_or_else(|| of_config(|config| config.seal_key.with_extension("pub")));
    // Seals that were copied together with the store belong to it; later ones would only tell that it is a copy.
    let configured = of_config(|config| config.seals.clone());
    let beside = directory.as_ref().zip(configured.file_name()).map(|(directory, name)| directory.join(name));
    // The configured file may not be there yet, or be a pipe; one that was named must be there.
    let found = || beside.into_iter().chain([configured.clone()]).find(|path| path.is_file());
    let seals = seals.clone().or_else(found);
    let is_missing = seals.is_none() && directory.is_none() && !configured.exists();
    let directory = directory.clone().unwrap_or_else(|| of_config(|config| config.store_directory.clone()));
    let mut report = check(&directory, seals.as_deref(), &key).map_err(Failure::usage)?;
    if is_missing && report.seals > 0 {
        report.fault(configured.display().to_string(), "is missing, though the store was sealed");
    }
    print!("{}", told(&report, seals.as_deref()));
    Ok(ExitCode::from(u8::from(!report.is_intact())))
}

/// Verifies the audit of a store's folder. `Err`: there was nothing to verify.
pub fn check(directory: &Path, seals: Option<&Path>, key: &Path) -> Result<Report, String> {
    let pem = std::fs::read(key).map_err(|error| format!("{}: {}", key.display(), error.kind()))?;
    let public = SealPublic::from_pem(&pem).map_err(|reason| format!("{}: {reason}", key.display()))?;
    verify(directory, seals, &public).map_err(|error| format!("the audit cannot be verified: {error}"))
}

/// A report in plain words.
pub fn told(report: &Report, seals: Option<&Path>) -> String {
    let mut text = String::new();
    let state = if report.is_intact() { "intact" } else { "BROKEN" };
    let counted = [(report.entries, "entry", "entries"), (report.writers as u64, "writer", "writers"), (report.seals, "seal", "seals")];
    let [entries, writers, sealed] = counted.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }));
    text.push_str(&format!("The audit is {state}: {entries} of {writers}, {sealed}"));
    match seals {
        Some(file) => text.push_str(&format!(", {} in {}.\n", report.seals_outside, file.display())),
        None => text.push_str(". No seals from outside the store were compared: a rollback to an older store would not show.\n"),
    }
    match report.last_seal {
        Some(at) => {
            text.push_str(&format!("Last seal: {at:.0}. Not yet sealed: {} entries; a cut of these would not show.\n", report.unsealed))
        }
        None => text.push_str("Nothing is sealed yet: a cut of the last entries would not show.\n"),
    }
    for fault in &report.faults {
        text.push_str(&format!("  {fault}\n"));
    }
    let untold = report.faults_count.saturating_sub(report.faults.len() as u64);
    if untold > 0 {
        text.push_str(&format!("  and {untold} more\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_whether_it_is_intact_and_what_would_not_show() {
        let mut report = Report { entries: 12, writers: 2, seals: 3, seals_outside: 3, unsealed: 1, ..Report::default() };
        report.last_seal = Some("2026-03-01T09:00:00.25Z".parse().unwrap());
        let text = told(&report, Some(Path::new("seals.ndjson")));
        assert!(text.starts_with("The audit is intact: 12 entries of 2 writers, 3 seals, 3 in seals.ndjson.\n"), "{text}");
        assert!(text.contains("Last seal: 2026-03-01T09:00:00Z. Not yet sealed: 1"), "{text}");
        report.faults_count = 2;
        report.faults.push(crate::audit::chain::Fault { place: "access.db: entry W-4".into(), reason: "is altered" });
        let text = told(&report, None);
        assert!(text.contains("BROKEN") && text.contains("access.db: entry W-4: is altered") && text.contains("and 1 more"), "{text}");
    }
}
