//! The demo's working folder: made by `init`, marked as the demo's own, with ports that are free.

use crate::config::Config;
use crate::development;
use jiff::Timestamp;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Tells that the demo made the folder: only then may it take away the data of its last run.
const MARKER: &str = "made-by-demo";

/// A folder that no other demo uses while this lives.
pub struct Folder {
    pub path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder, or takes over the one of an earlier run: its keys and configuration stay, its data goes.
    pub fn open(path: &Path, now: Timestamp) -> Result<(Self, Config), String> {
        let said = |error: std::io::Error| format!("{}: {}", path.display(), error.kind());
        let marker = path.join(MARKER);
        let fresh = !marker.is_file();
        if fresh && path.is_dir() && std::fs::read_dir(path).map_err(said)?.next().is_some() {
            return Err(format!("{} is not a folder of the demo's own: name another with --dir", path.display()));
        }
        std::fs::create_dir_all(path).map_err(said)?;
        let lock = File::options().create(true).append(true).open(&marker).map_err(said)?;
        lock.try_lock().map_err(|_| format!("a demo is running in {}", path.display()))?;
        let file = path.join("landbridge.toml");
        if file.is_file() {
            for part in ["data", "tampered", "messages"] {
                let part = path.join(part);
                if part.is_dir() {
                    std::fs::remove_dir_all(&part).map_err(said)?;
                }
            }
        } else {
            development::init(path, now).map_err(|error| error.to_string())?;
        }
        for part in ["data", "messages"] {
            std::fs::create_dir_all(path.join(part)).map_err(said)?;
        }
        let load = || {
            Config::load(&file).map_err(|mistakes| {
                let cannot = format!("{} cannot be used; remove the folder", file.display());
                mistakes.iter().fold(cannot, |said, one| format!("{said}\n  {}", one.told(&file)))
            })
        };
        let config = load()?;
        let text = std::fs::read_to_string(&file).map_err(said)?;
        let ports = free_ports(&config)?;
        let moved = with_ports(&text, &ports);
        if moved != text {
            std::fs::write(&file, moved).map_err(said)?;
        }
        Ok((Self { path: path.to_owned(), _lock: lock }, load()?))
    }

    /// Writes a message down, so that it can be looked at and sent again.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        let path = self.path.join("messages").join(name);
        std::fs::write(&path, bytes).map_err(|error| format!("{}: {}", path.display(), error.kind()))?;
        Ok(path)
    }
}

/// By section of the configuration, the port that it names if that is free now, else one that is.
fn free_ports(config: &Config) -> Result<Vec<(String, u16)>, String> {
    let listeners = [("https".to_owned(), config.https.listen), ("observe".to_owned(), config.observe)];
    let listeners = listeners.into_iter().chain(config.mllp.iter().map(|(name, mllp)| (format!("mllp.{name}"), mllp.listen)));
    // Held until all are chosen: else two doors might get the same.
    let mut held = Vec::new();
    for (section, address) in listeners {
        let any = SocketAddr::new(address.ip(), 0);
        let listener = TcpListener::bind(address).or_else(|_| TcpListener::bind(any)).map_err(|error| format!("{section}: {error}"))?;
        held.push((section, listener));
    }
    let port = |(section, listener): &(String, TcpListener)| Some((section.clone(), listener.local_addr().ok()?.port()));
    Ok(held.iter().filter_map(port).collect())
}

/// The configuration with other ports, and the base URL that goes with them; all else stays as it is written.
fn with_ports(text: &str, ports: &[(String, u16)]) -> String {
    let https = ports.iter().find(|(section, _)| section == "https").map(|(_, port)| *port).unwrap_or_default();
    let mut section = "";
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.trim().strip_prefix('[') {
            section = name.split(']').next().unwrap_or_default();
        }
        let is_listen = line.split('=').next().is_some_and(|key| key.trim() == "listen");
        let port = ports.iter().find(|(name, _)| name == section).filter(|_| is_listen);
        let line = match port {
            Some((_, port)) => replace_port(line, "127.0.0.1:", *port),
            None => line.to_owned(),
        };
        lines.push(replace_port(&line, "https://localhost:", https));
    }
    lines.join("\n") + "\n"
}

/// Puts another number after `before`.
fn replace_port(line: &str, before: &str, port: u16) -> String {
    match line.split_once(before) {
        Some((head, tail)) => format!("{head}{before}{port}{}", tail.trim_start_matches(|digit: char| digit.is_ascii_digit())),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-01T09:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_folder_that_is_not_the_demos_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        assert!(Folder::open(folder.path(), now()).err().unwrap().contains("--dir"));
        assert!(folder.path().join("data").is_dir());
    }

    #[test]
    fn the_folder_is_taken_over_without_its_data_and_is_one_demos_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo");
        let (one, _) = Folder::open(&path, now()).unwrap();
        std::fs::write(path.join("data/landbridge.db"), "").unwrap();
        let key = std::fs::read(path.join("keys/id.key")).unwrap();
        assert!(Folder::open(&path, now()).err().unwrap().contains("running"));
        drop(one);
        let (_two, _) = Folder::open(&path, now()).unwrap();
        assert!(!path.join("data/landbridge.db").exists());
        assert_eq!(std::fs::read(path.join("keys/id.key")).unwrap(), key);
    }

    #[test]
    fn a_port_that_is_taken_is_replaced_and_the_base_url_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (first, config) = Folder::open(folder.path(), now()).unwrap();
        drop(first);
        let _taken = TcpListener::bind(config.https.listen).unwrap();
        let (_second, moved) = Folder::open(folder.path(), now()).unwrap();
        assert_ne!(moved.https.listen.port(), config.https.listen.port());
        assert_eq!(moved.https.base_url, format!("https://localhost:{}/fhir", moved.https.listen.port()));
        assert_eq!(moved.issuers[0].audience, moved.https.base_url);
        assert_eq!(moved.feeds.keys().collect::<Vec<_>>(), config.feeds.keys().collect::<Vec<_>>());
    }
}
