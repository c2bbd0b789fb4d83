//! What `convert` and `explain` share: which files, in which dialect, under which settings.

use super::{Failure, Options};
use crate::adapters::dialects;
use crate::config;
use bytes::Bytes;
use contract::{Adapter, Dialect, Envelope, Frame, Settings};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files of a folder that are larger are passed over: no message is.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// By which adapter and settings a file is read.
#[derive(clap::Args, Debug, Default)]
pub struct By {
    /// Translate with this feed's settings; without it, with those of the one configured feed whose sender it is
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    /// Read the files as this dialect, instead of by their content
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Tables from this folder instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

/// What is needed to translate.
pub struct Desk {
    dialects: Vec<Arc<dyn Dialect>>,
    /// The adapter that was named, if one was.
    pub only: Option<String>,
    /// Where no feed is named and none fits.
    base: Settings,
    /// Feeds that a message may be of.
    feeds: Vec<(config::Feed, Settings)>,
    /// A feed was named: it is that one's, whoever sent it.
    named: bool,
    /// By dialect and feed.
    made: BTreeMap<(&'static str, String), Arc<dyn Adapter>>,
}

impl Desk {
    /// With the configuration that was named, or that lies in this folder; else with the published key.
    pub fn new(options: &Options, by: &By) -> Result<Self, Failure> {
        let mut desk = Self {
            dialects: dialects(by.schemas.as_deref()).map_err(Failure::usage)?,
            only: by.adapter.clone(),
            base: Settings::demonstration(),
            feeds: Vec::new(),
            named: by.feed.is_some(),
            made: BTreeMap::new(),
        };
        if options.is_given() || desk.named {
            let config = options.load()?;
            let id_key = config.read_id_key().map_err(Failure::usage)?;
            desk.base = Settings { base_url: config.https.base_url.clone(), id_key: id_key.clone(), ..desk.base };
            let with_settings = |feed: &config::Feed| (feed.clone(), feed.settings(&id_key, &config.https.base_url));
            desk.feeds = match &by.feed {
                None => config.feeds.values().map(with_settings).collect(),
                Some(name) => {
                    let known = || config.feeds.keys().cloned().collect::<Vec<_>>().join(", ");
                    let feed = config.feeds.get(name).ok_or_else(|| Failure::usage(format!("no feed {name}; there are {}", known())))?;
                    desk.only.get_or_insert_with(|| feed.adapter.clone());
                    vec![with_settings(feed)]
                }
            };
        }
        if let Some(name) = &desk.only
            && !desk.dialects.iter().any(|dialect| dialect.name() == name)
        {
            let known: Vec<&str> = desk.dialects.iter().map(|dialect| dialect.name()).collect();
            return Err(Failure::usage(format!("no adapter {name}; there are {}", known.join(", "))));
        }
        Ok(desk)
    }

    /// The dialect of a file: the one that was named, else told by content.
    pub fn dialect(&self, bytes: &[u8]) -> Option<Arc<dyn Dialect>> {
        let fits = |dialect: &&Arc<dyn Dialect>| match &self.only {
            Some(name) => dialect.name() == name,
            None => dialect.recognises(bytes),
        };
        self.dialects.iter().find(fits).cloned()
    }

    /// The adapter for one frame, under the settings of the feed that it is of.
    pub fn adapter(&mut self, dialect: &dyn Dialect, frame: &Frame) -> (Arc<dyn Adapter>, Settings) {
        let settings = match self.feeds.as_slice() {
            [] => self.base.clone(),
            [(_, settings)] if self.named => settings.clone(),
            _ => {
                let envelope = self.made(dialect, &self.base.clone()).envelope(frame).ok();
                envelope.and_then(|envelope| self.feed_of(dialect, &envelope)).unwrap_or_else(|| self.base.clone())
            }
        };
        (self.made(dialect, &settings), settings)
    }

    /// The settings of the one feed that the sender of this message fits.
    fn feed_of(&self, dialect: &dyn Dialect, envelope: &Envelope) -> Option<Settings> {
        let fits = |stated: &str, sent: &str| stated.is_empty() || stated == sent;
        let mut fitting = self.feeds.iter().filter(|(feed, _)| {
            feed.adapter == dialect.name()
                && fits(&feed.sender.application, &envelope.sender.application)
                && fits(&feed.sender.facility, &envelope.sender.facility)
        });
        let (_, settings) = fitting.next()?;
        fitting.next().is_none().then(|| settings.clone())
    }

    fn made(&mut self, dialect: &dyn Dialect, settings: &Settings) -> Arc<dyn Adapter> {
        let made = self.made.entry((dialect.name(), settings.feed.clone()));
        made.or_insert_with(|| dialect.adapter(settings.clone())).clone()
    }
}

/// The files to read, and whether each was named by itself. Folders are walked, in order of their names.
pub fn files(paths: &[PathBuf]) -> Result<Vec<(PathBuf, bool)>, Failure> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, bool)>) -> std::io::Result<()> {
        let mut entries = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        entries.sort();
        for entry in entries {
            // A link to a folder may lead back here.
            let kind = std::fs::symlink_metadata(&entry)?;
            if kind.is_dir() {
                walk(&entry, found)?;
            } else if std::fs::metadata(&entry).is_ok_and(|file| file.is_file() && file.len() <= FILE_BYTES_MAX) {
                found.push((entry, false));
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            walk(path, &mut found).map_err(|error| Failure::usage(format!("{}: {}", path.display(), error.kind())))?;
        } else if path == Path::new("-") || path.exists() {
            found.push((path.clone(), true));
        } else {
            return Err(Failure::usage(format!("{}: no such file or folder", path.display())));
        }
    }
    Ok(found)
}

/// A file, or standard input.
pub fn read(path: &Path) -> Result<Bytes, String> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map(Bytes::from).map_err(|error| format!("{}: {}", path.display(), error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::development;

    #[test]
    fn folders_are_walked_in_order_and_links_to_folders_are_not() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.hl7", "a/2.xml", "a/1.hl7", "c/3.txt"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/loop")).unwrap();
        let found = files(&[folder.path().to_owned(), "-".into()]).unwrap();
        let names: Vec<String> =
            found.iter().map(|(path, _)| path.strip_prefix(folder.path()).unwrap_or(path).display().to_string()).collect();
        assert_eq!(names, ["a/1.hl7", "a/2.xml", "b.hl7", "c/3.txt", "-"]);
        assert_eq!(found.iter().map(|(_, named)| *named).collect::<Vec<_>>(), [false, false, false, false, true]);
        assert_eq!(files(&[folder.path().join("missing")]).unwrap_err().code, 2);
    }

    #[test]
    fn a_message_is_translated_under_the_settings_of_its_sender() {
        let folder = tempfile::tempdir().unwrap();
        development::init(folder.path(), jiff::Timestamp::UNIX_EPOCH).unwrap();
        let given = Options { config: Some(folder.path().join("landbridge.toml")) };
        let feed = |options: &Options, feed: Option<&str>, application: &str| {
            let by = By { feed: feed.map(str::to_owned), ..By::default() };
            let mut desk = Desk::new(options, &by).map_err(|failure| failure.code)?;
            let message = format!("MSH|^~\\&|{application}|RXX|||20260301||ADT^A28^ADT_A05|1|P|2.5.1\r");
            let dialect = desk.dialect(message.as_bytes()).unwrap();
            let (_, settings) = desk.adapter(&*dialect, &Frame::new(message.into_bytes()));
            Ok::<_, u8>((settings.feed, settings.base_url))
        };
        let own = "https://localhost:8443/fhir".to_owned();
        assert_eq!(feed(&given, None, "PAS"), Ok(("pas".into(), own.clone())));
        assert_eq!(feed(&given, None, "LAB"), Ok(("lab".into(), own.clone())));
        assert_eq!(feed(&given, None, "RIS"), Ok(("convert".into(), own.clone())));
        assert_eq!(feed(&given, Some("lab"), "PAS"), Ok(("lab".into(), own)));
        assert_eq!(feed(&given, Some("ris"), "PAS"), Err(2));
        assert_eq!(feed(&Options { config: None }, None, "PAS"), Ok(("convert".into(), "https://landbridge.example/fhir".into())));
    }
}
