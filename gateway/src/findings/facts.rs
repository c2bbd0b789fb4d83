//! What is known, gathered: from the configuration, the files that it names, and the store.

use crate::config::{self, Config};
use crate::development;
use crate::os::device;
use crate::store::outbox::Backlog;
use crate::store::{AppWatch, FeedWatch, FindingRow, Store, StoreError, Unkept};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use x509_parser::public_key::PublicKey;

/// RSA keys below this can be broken (NIST SP 800-57).
const RSA_BITS_MIN: usize = 2048;

pub struct Facts {
    pub now: Timestamp,
    pub config: Config,
    /// Of each door with TLS.
    pub certificates: Vec<Certificate>,
    /// Files that everybody has.
    pub development: Vec<PathBuf>,
    pub feeds: Vec<FeedWatch>,
    pub apps: Vec<AppWatch>,
    pub backlogs: Vec<Backlog>,
    pub unkept: Vec<Unkept>,
    /// What folding noticed.
    pub noticed: Vec<FindingRow>,
    /// Seals and store lie on one volume.
    pub seals_stay: bool,
    pub last_seal: Option<Timestamp>,
}

/// A certificate of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// `mllp.main`, `https`.
    pub door: String,
    pub part: Part,
    pub file: PathBuf,
    pub ends: Timestamp,
    pub weakness: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Server,
    ClientAuthority,
}

impl Facts {
    /// Reads files and store. What cannot be read is not judged: `check` tells of that.
    pub fn gather(config: Config, store: &dyn Store, now: Timestamp) -> Result<Self, StoreError> {
        let mut certificates = Vec::new();
        let doors = config.mllp.iter().filter_map(|(name, listener)| Some((format!("mllp.{name}"), listener.tls.as_ref()?)));
        for (door, tls) in doors.chain([("https".to_owned(), &config.https.tls)]) {
            certificates.extend(of_door(&door, tls));
        }
        let numbered = config.feeds.iter().filter(|(_, feed)| feed.sequence == Some(contract::Sequence::Msh13));
        let msh_13 = numbered.map(|(name, _)| name.clone()).collect();
        let watch = store.watch(now, &msh_13)?;
        Ok(Self {
            now,
            certificates,
            development: development::material(&config),
            noticed: store.findings()?,
            seals_stay: same_volume(&config.seals, &config.store_directory),
            feeds: watch.feeds,
            apps: watch.apps,
            backlogs: watch.backlogs,
            unkept: watch.unkept,
            last_seal: watch.last_seal,
            config,
        })
    }
}

fn of_door(door: &str, tls: &config::Tls) -> Vec<Certificate> {
    let read = |file: &Path, part| {
        let pem = std::fs::read(file).unwrap_or_default();
        let of_file: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
        let of_file = of_file.iter().filter_map(|der| x509_parser::parse_x509_certificate(der).ok().map(|(_, parsed)| parsed));
        let certificate = |parsed: x509_parser::certificate::X509Certificate<'_>| {
            let ends = Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?;
            Some(Certificate { door: door.to_owned(), part, file: file.to_owned(), ends, weakness: weakness(&parsed) })
        };
        of_file.filter_map(certificate).collect::<Vec<_>>()
    };
    let mut found = read(&tls.certificate, Part::Server);
    // Those of its authorities end with theirs.
    found.truncate(1);
    found.extend(read(&tls.client_ca, Part::ClientAuthority));
    found
}

fn weakness(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Option<&'static str> {
    let signature = certificate.signature_algorithm.algorithm.to_id_string();
    // sha1WithRSAEncryption, md5WithRSAEncryption, ecdsa-with-SHA1.
    let is_self_signed = certificate.subject() == certificate.issuer();
    if !is_self_signed && ["1.2.840.113549.1.1.5", "1.2.840.113549.1.1.4", "1.2.840.10045.4.1"].contains(&signature.as_str()) {
        return Some("it is signed by a hash that can be forged (SHA-1 or MD5)");
    }
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < RSA_BITS_MIN => Some("its RSA key has less than 2048 bits"),
        _ => None,
    }
}

/// Whether a regular file of seals lies where the store does. What is written to a pipe or a terminal leaves by itself.
fn same_volume(seals: &Path, store: &Path) -> bool {
    seals.is_file() && device(seals).is_some_and(|volume| device(store) == Some(volume))
}
