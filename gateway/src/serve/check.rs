//! What of a configuration its files alone can tell: whether each can be read, whether they fit together and how long they
//! hold. `landbridge check` tells all of it at once, and `serve` refuses for the same.

use super::parts;
use crate::access::Believed;
use crate::adapters::dialects;
use crate::audit::chain::SealKey;
use crate::config::{Config, Files, Mistake, Places, Tls as Terminated, in_order};
use crate::development;
use crate::listen::tls::{ClientCertificate, Ends, Tls};
use crate::os::may_write;
use jiff::{Timestamp, ToSpan};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// So long before its end a certificate is worth a warning.
const NOTICE_DAYS: i64 = 30;

#[derive(Debug)]
pub struct Checked {
    /// As far as it could be made out.
    pub config: Config,
    /// For each of which the gateway does not start. In order of line.
    pub mistakes: Vec<Mistake>,
    /// It starts; a person should look at them. In order of line.
    pub warnings: Vec<Mistake>,
}

/// Reads a configuration, and all that it names. `schemas`: a folder of tables. An error where the file cannot be read.
pub fn check(file: &Path, schemas: Option<&Path>, now: Timestamp) -> Result<Checked, Mistake> {
    let read = Config::read(file, Files::Needed)?;
    let (config, mut mistakes) = (read.meant, read.mistakes);
    // Of a text that is no TOML or YAML too much may be missing to judge what it names.
    if mistakes.iter().any(|mistake| mistake.key.is_empty()) {
        return Ok(Checked { config, mistakes, warnings: Vec::new() });
    }
    let (found, mut warnings) = named(&config, &read.places, schemas, now);
    // What is written wrongly names nothing; an issuer's keys are judged with the rest of its section.
    let judged = |key: &str| key.strip_suffix(".jwks").unwrap_or(key).to_owned();
    let stands = |found: &Mistake| found.key.is_empty() || !mistakes.iter().any(|mistake| mistake.bears_on(&judged(&found.key)));
    let found: Vec<Mistake> = found.into_iter().filter(stands).collect();
    mistakes.extend(found);
    in_order(&mut mistakes);
    in_order(&mut warnings);
    Ok(Checked { config, mistakes, warnings })
}

/// The mistakes and warnings of all that the configuration names. `places`: on which line each key stands.
fn named(config: &Config, places: &Places, schemas: Option<&Path>, now: Timestamp) -> (Vec<Mistake>, Vec<Mistake>) {
    let mut check = Check { places, mistakes: Vec::new(), warnings: Vec::new() };
    if let Err(reason) = config.read_id_key() {
        check.wrong("keys.id", reason);
    }
    match std::fs::read(&config.seal_key) {
        Err(error) => check.wrong("keys.seal", format!("{}: {}", config.seal_key.display(), error.kind())),
        Ok(pem) => {
            if let Err(reason) = SealKey::from_pem(&pem) {
                check
                    .wrong("keys.seal", format!("{}: {reason}; `openssl genpkey -algorithm ed25519` makes one", config.seal_key.display()));
            }
        }
    }
    check.door("https", &config.https.tls, ClientCertificate::Asked, now);
    for (name, listener) in &config.mllp {
        let key = format!("mllp.{name}");
        match &listener.tls {
            Some(files) => check.door(&key, files, ClientCertificate::Demanded, now),
            None => check
                .warn(&format!("{key}.tls"), "plain: anyone on the network between can read and alter what is sent, or send as its feeds"),
        }
    }
    check.addresses(config);
    for (index, issuer) in config.issuers.iter().enumerate() {
        if let Err(reason) = parts::issuers(std::slice::from_ref(issuer)).and_then(Believed::new) {
            check.wrong(&format!("issuer[{index}].jwks"), reason);
        }
    }
    if let Err(reason) = dialects(schemas) {
        check.wrong("", reason);
    }
    check.development(config);
    check.store(&config.store_directory);
    check.seals(&config.seals);
    (check.mistakes, check.warnings)
}

struct Check<'p> {
    places: &'p Places,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Check<'_> {
    fn wrong(&mut self, key: &str, reason: impl Into<String>) {
        let mistake = self.at(key, reason.into());
        self.mistakes.push(mistake);
    }

    fn warn(&mut self, key: &str, reason: impl Into<String>) {
        let warning = self.at(key, reason.into());
        self.warnings.push(warning);
    }

    /// On the key's line, or on that of the nearest table around it.
    fn at(&self, key: &str, reason: String) -> Mistake {
        let mut around = key;
        let line = loop {
            match (self.places.get(around), around.rsplit_once('.')) {
                (Some(line), _) => break *line,
                (None, Some((outer, _))) => around = outer,
                (None, None) => break 0,
            }
        };
        Mistake { line, key: key.to_owned(), reason }
    }

    fn door(&mut self, key: &str, files: &Terminated, client: ClientCertificate, now: Timestamp) {
        let key = format!("{key}.tls");
        match Tls::new(files, client, Duration::ZERO) {
            Err(reason) => self.wrong(&key, reason),
            Ok(tls) => {
                let Ends { certificate, client_crl } = tls.ends();
                self.ends(&format!("{key}.certificate"), "the certificate", certificate, "senders and apps refuse the gateway", now);
                if let Some(end) = client_crl {
                    self.ends(&format!("{key}.client_crl"), "a revocation list", end, "no client with a certificate is let in", now);
                }
            }
        }
    }

    fn ends(&mut self, key: &str, what: &str, end: i64, then: &str, now: Timestamp) {
        let Ok(end) = Timestamp::from_second(end) else { return };
        // No mistake: the gateway starts, and takes up the next one as soon as it is there.
        if end <= now {
            self.warn(key, format!("{what} ended at {end}: {then}; renew it now"));
        } else if now.checked_add((NOTICE_DAYS * 24).hours()).is_ok_and(|notice| end <= notice) {
            self.warn(key, format!("{what} ends at {end}; then {then}: renew it before"));
        }
    }

    /// Two doors cannot be opened on one address. Port 0 is always another.
    fn addresses(&mut self, config: &Config) {
        let mut known: BTreeMap<SocketAddr, String> = BTreeMap::new();
        let mllp = config.mllp.iter().map(|(name, listener)| (format!("mllp.{name}.listen"), listener.listen));
        let all = [("https.listen".to_owned(), config.https.listen), ("observe.listen".to_owned(), config.observe)];
        for (key, address) in all.into_iter().chain(mllp).filter(|(_, address)| address.port() != 0) {
            match known.get(&address) {
                Some(other) => self.wrong(&key, format!("{address} is {other} too; write another port")),
                None => drop(known.insert(address, key)),
            }
        }
    }

    fn development(&mut self, config: &Config) {
        match super::refuse_development_material(config) {
            Err(reason) => self.wrong("", reason),
            Ok(()) if !development::material(config).is_empty() => {
                self.warn("", "development certificates or keys are in use: anyone may have them; for trying only");
            }
            Ok(()) => {}
        }
    }

    /// The folder, or the nearest one in which it will be made.
    fn store(&mut self, folder: &Path) {
        let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        if !there.is_dir() {
            self.wrong("store.directory", format!("{} is not a folder", there.display()));
        } else if !may_write(there) {
            self.wrong("store.directory", format!("{} cannot be written by this user", there.display()));
        } else if let Err(error) = crate::store::sqlite::refuse_network(there) {
            self.wrong("store.directory", error.to_string());
        }
    }

    /// A file or pipe that is there, or the folder in which it will be made.
    fn seals(&mut self, file: &Path) {
        let folder = file.parent().unwrap_or(Path::new("/"));
        if file.is_dir() {
            self.wrong("audit.seals", format!("{} is a folder; write the file that the seals go to", file.display()));
        } else if file.exists() {
            if !may_write(file) {
                self.wrong("audit.seals", format!("{} cannot be written by this user", file.display()));
            }
        } else if !folder.is_dir() {
            self.wrong("audit.seals", format!("no such folder: {}; make it, or write another place", folder.display()));
        } else if !may_write(folder) {
            self.wrong("audit.seals", format!("{} cannot be written by this user", folder.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-03-01T12:00:00Z";

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        development::init(folder.path(), NOW.parse().unwrap()).unwrap();
        folder
    }

    fn checked(folder: &Path, change: impl Fn(String) -> String, now: &str) -> Checked {
        let file = folder.join("landbridge.toml");
        std::fs::write(&file, change(std::fs::read_to_string(&file).unwrap())).unwrap();
        check(&file, None, now.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_fresh_folder_is_right_and_says_that_it_is_for_trying() {
        let found = checked(folder().path(), |text| text, NOW);
        assert!(found.mistakes.is_empty(), "{:?}", found.mistakes);
        assert!(found.warnings.iter().any(|warning| warning.reason.contains("development")), "{:?}", found.warnings);
    }

    #[test]
    fn all_mistakes_of_the_text_and_of_its_files_are_told_at_once_with_their_lines() {
        let folder = folder();
        for (name, text) in
            [("keys/id.key", "short"), ("keys/seal.key", "no PEM"), ("tls/server.key", "no PEM"), ("keys/issuer.jwks.json", "{}")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let change = |text: String| {
            [
                ("127.0.0.1:9464", "127.0.0.1:2575"),
                ("directory = \"data\"", "directory = \"keys/id.key/data\""),
                ("data/seals.ndjson", "nowhere/seals.ndjson"),
                ("listen = \"127.0.0.1:8443\"", "listen = \"0.0.0.0:8443\""),
                ("Europe/London", "Europe/Lundun"),
                ("accepts = [\"ORU\"]", "acepts = [\"ORU\"]"),
            ]
            .into_iter()
            .fold(text, |text, (from, to)| text.replacen(from, to, 1))
        };
        let found = checked(folder.path(), change, NOW);
        let keys: Vec<&str> = found.mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
        let expected = [
            "",
            "store.directory",
            "keys.id",
            "keys.seal",
            "audit.seals",
            "https.tls",
            "mllp.main.listen",
            "mllp.main.tls",
            "feed.pas.timezone",
            "feed.lab.accepts",
            "feed.lab.acepts",
            "issuer[0].jwks",
        ];
        assert_eq!(keys, expected, "{:#?}", found.mistakes);
        assert!(found.mistakes.iter().all(|mistake| (mistake.line == 0) == mistake.key.is_empty()), "{:?}", found.mistakes);
    }

    #[test]
    fn what_is_written_wrongly_is_not_told_twice() {
        let found =
            checked(folder().path(), |text| text.replace("id = \"keys/id.key\"", "").replace("tls/server.key", "tls/none.key"), NOW);
        let keys: Vec<&str> = found.mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
        assert_eq!(keys, ["keys.id", "https.tls.key", "mllp.main.tls.key"], "{:#?}", found.mistakes);
        let found = checked(folder().path(), |text| text.replace("[store]", "[store"), NOW);
        assert_eq!(found.mistakes.len(), 1, "{:#?}", found.mistakes);
    }

    #[test]
    fn certificates_are_told_before_they_end_and_after_and_keep_nobody_from_starting() {
        let folder = folder();
        let found = checked(folder.path(), |text| text, "2099-01-01T00:00:00Z");
        let told = |found: &Checked, word: &str| {
            found.warnings.iter().any(|warning| warning.key == "https.tls.certificate" && warning.reason.contains(word))
        };
        assert!(found.mistakes.is_empty() && told(&found, "ended at"), "{found:?}");
        let Ends { certificate, .. } = Tls::new(&found.config.https.tls, ClientCertificate::Asked, Duration::ZERO).unwrap().ends();
        let before = Timestamp::from_second(certificate - 86_400).unwrap().to_string();
        let found = checked(folder.path(), |text| text, &before);
        assert!(found.mistakes.is_empty() && told(&found, "ends at"), "{found:?}");
        assert!(!told(&checked(folder.path(), |text| text, NOW), "end"));
    }
}
