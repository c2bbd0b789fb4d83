//! Development material: a certificate authority, certificates, keys and a commented configuration, so that a gateway
//! runs at once. Everything here is marked, and [`material`] finds the mark again: `serve` refuses it where others could
//! reach it.

use crate::config::Config;
use crate::os::{DirBuilderExt, OpenOptionsExt};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Stands in every certificate as organization, and in every key file as a comment.
pub const MARK: &str = "Landbridge development - not for patient data";
/// How the `kid` of a development key for tokens begins.
pub const KID_PREFIX: &str = "landbridge-development-";
/// The clients that get a certificate; `NAME.hospital.example` is in its SAN.
pub const CLIENTS: [&str; 4] = ["pas", "lab", "docs", "app"];
/// Certificates live so long: the longest that current clients take for a server's.
const VALID_DAYS: i64 = 397;

const CONFIGURATION: &str = include_str!("landbridge.toml");

/// Why no working folder was written, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitError(String);

impl std::fmt::Display for InitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InitError {}

/// Writes a working folder: configuration, certificates, keys. Overwrites nothing: if one of its files is there, none is
/// written. Private files are the owner's alone.
pub fn init(folder: &Path, now: Timestamp) -> Result<(), InitError> {
    let wrong = |path: &Path, error: &std::io::Error| InitError(format!("{}: {}", path.display(), error.kind()));
    let files = files(now).map_err(|error| InitError(format!("a certificate could not be made: {error}")))?;
    if let Some(file) = files.iter().find(|file| folder.join(&file.path).exists()) {
        return Err(InitError(format!("{} is there already; nothing was written", folder.join(&file.path).display())));
    }
    for (part, mode) in [("tls", 0o755), ("clients", 0o755), ("keys", 0o700), ("data", 0o700)] {
        let path = folder.join(part);
        fs::DirBuilder::new().recursive(true).mode(mode).create(&path).map_err(|error| wrong(&path, &error))?;
    }
    for file in &files {
        let path = folder.join(&file.path);
        let mode = if file.private { 0o600 } else { 0o644 };
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        opened.and_then(|mut opened| opened.write_all(file.text.as_bytes())).map_err(|error| wrong(&path, &error))?;
    }
    Ok(())
}

/// The files of a configuration that are development material.
pub fn material(config: &Config) -> Vec<PathBuf> {
    let tls = config.mllp.values().filter_map(|listener| listener.tls.as_ref()).chain([&config.https.tls]);
    let mut files: Vec<PathBuf> = tls.flat_map(|tls| [&tls.certificate, &tls.key, &tls.client_ca]).cloned().collect();
    files.extend([config.id_key.clone(), config.seal_key.clone()]);
    files.extend(config.issuers.iter().map(|issuer| issuer.jwks.clone()));
    files.retain(|file| fs::read(file).is_ok_and(|bytes| is_marked(&bytes)));
    files.sort();
    files.dedup();
    files
}

/// The mark as text, in a token key's name, or inside a certificate.
fn is_marked(bytes: &[u8]) -> bool {
    let holds = |bytes: &[u8], mark: &str| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
    holds(bytes, MARK)
        || holds(bytes, KID_PREFIX)
        || CertificateDer::pem_slice_iter(bytes).flatten().any(|certificate| holds(&certificate, MARK))
}

struct File {
    path: String,
    text: String,
    private: bool,
}

fn files(now: Timestamp) -> Result<Vec<File>, rcgen::Error> {
    let mut files = vec![File { path: "landbridge.toml".into(), text: CONFIGURATION.into(), private: false }];
    let mut public = |path: &str, text: String| files.push(File { path: path.into(), text, private: false });
    let mut secrets = Vec::new();
    let mut secret = |path: &str, text: String| secrets.push(File { path: path.into(), text: format!("# {MARK}\n{text}"), private: true });

    let authority = Authority::new(now)?;
    public("tls/ca.pem", authority.pem.clone());
    public("tls/clients-ca.pem", authority.pem.clone());
    secret("tls/ca.key", authority.issuer.key().serialize_pem());
    let (certificate, key) = authority.server()?;
    public("tls/server.pem", certificate);
    secret("tls/server.key", key);
    for name in CLIENTS {
        let (certificate, key) = authority.client(name)?;
        public(&format!("clients/{name}.pem"), certificate);
        secret(&format!("clients/{name}.key"), key);
    }

    let mut id = [0; 32];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| rcgen::Error::RingUnspecified)?;
    secret("keys/id.key", format!("{}\n", hex::encode(id)));
    let seal = KeyPair::generate_for(&PKCS_ED25519)?;
    secret("keys/seal.key", seal.serialize_pem());
    public("keys/seal.pub", seal.public_key_pem());
    let token = KeyPair::generate()?;
    secret("keys/issuer.key", token.serialize_pem());
    public("keys/issuer.jwks.json", jwks(&token));
    files.extend(secrets);
    Ok(files)
}

/// The public half of an ES256 key as a JWK Set (RFC 7517; RFC 7518 §6.2).
fn jwks(key: &KeyPair) -> String {
    let (x, y) = coordinates(key.public_key_raw());
    // The name is a part of the key itself, so that another key has another name.
    let set = serde_json::json!({
        "keys": [{ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": format!("{KID_PREFIX}{}", &x[..8]), "x": x, "y": y }],
    });
    format!("{set:#}\n")
}

/// `x` and `y` of an uncompressed point of P-256 (SEC 1 §2.3.3), in base64url.
pub(crate) fn coordinates(point: &[u8]) -> (String, String) {
    let (x, y) = point.get(1..).unwrap_or_default().split_at(32.min(point.len().saturating_sub(1)));
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    now: Timestamp,
}

impl Authority {
    fn new(now: Timestamp) -> Result<Self, rcgen::Error> {
        let mut params = params(now, "Landbridge development authority", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key), now })
    }

    fn server(&self) -> Result<(String, String), rcgen::Error> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        self.leaf("localhost", names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self, name: &str) -> Result<(String, String), rcgen::Error> {
        let name = format!("{name}.hospital.example");
        self.leaf(&name, vec![name.clone()], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Certificate and private key, in PEM.
    fn leaf(&self, name: &str, names: Vec<String>, purpose: ExtendedKeyUsagePurpose) -> Result<(String, String), rcgen::Error> {
        let mut params = params(self.now, name, names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

fn params(now: Timestamp, name: &str, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, MARK);
    params.distinguished_name.push(DnType::CommonName, name);
    let date = |days: i64| {
        let date = TimeZone::UTC.to_datetime(now).date().saturating_add(Span::new().days(days));
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    // A day back: the clocks of the machines around are not ours.
    params.not_before = date(-1);
    params.not_after = date(VALID_DAYS - 1);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), "2026-03-01T09:00:00Z".parse().unwrap()).unwrap();
        folder
    }

    #[test]
    fn the_configuration_that_init_writes_is_whole_and_says_what_the_contract_says() {
        let folder = folder();
        let config = Config::load(&folder.path().join("landbridge.toml")).unwrap();
        assert_eq!(config.feeds.keys().collect::<Vec<_>>(), ["docs", "lab", "pas"]);
        assert_eq!(config.feeds["pas"].peer.as_deref(), Some("pas.hospital.example"));
        assert_eq!(config.feeds["pas"].accepts, ["ADT"]);
        assert_eq!(config.feeds["pas"].sender.application, "PAS");
        assert_eq!(config.feeds["lab"].accepts, ["ORU"]);
        assert_eq!(config.feeds["docs"].adapter, "cda");
        assert_eq!(config.https.base_url, "https://localhost:8443/fhir");
        assert_eq!(config.mllp["main"].listen.port(), 2575);
        assert_eq!(config.observe.port(), 9464);
        assert_eq!(config.issuers[0].algorithms, ["ES256"]);
        assert_eq!(config.store_directory, folder.path().join("data"));
    }

    #[test]
    fn what_init_writes_is_marked_and_found_again() {
        let folder = folder();
        let config = Config::load(&folder.path().join("landbridge.toml")).unwrap();
        let found = material(&config);
        for file in ["tls/server.pem", "tls/server.key", "tls/clients-ca.pem", "keys/id.key", "keys/seal.key", "keys/issuer.jwks.json"] {
            assert!(found.contains(&folder.path().join(file)), "{file}");
        }
        // A certificate stays marked when its file's comments are gone; another's is none.
        let pem = fs::read_to_string(folder.path().join("tls/server.pem")).unwrap();
        assert!(is_marked(pem.trim_start_matches("# ").as_bytes()));
        let other = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["pas.example".to_owned()]).unwrap().self_signed(&other).unwrap();
        assert!(!is_marked(certificate.pem().as_bytes()));
        assert!(!is_marked(other.serialize_pem().as_bytes()));
    }

    #[test]
    fn private_files_are_the_owners_alone_and_nothing_is_overwritten() {
        let folder = folder();
        let mut private = 0;
        for part in ["tls", "clients", "keys"] {
            for entry in fs::read_dir(folder.path().join(part)).unwrap() {
                let path = entry.unwrap().path();
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                let is_private = path.extension().is_some_and(|extension| extension == "key");
                assert_eq!(mode & 0o077 == 0, is_private, "{}", path.display());
                private += usize::from(is_private);
            }
        }
        assert_eq!(private, 9);
        let mode = |part: &str| fs::metadata(folder.path().join(part)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("keys"), mode("data")), (0o700, 0o700));
        let before = fs::read(folder.path().join("keys/id.key")).unwrap();
        assert!(init(folder.path(), Timestamp::UNIX_EPOCH).unwrap_err().to_string().contains("nothing was written"));
        assert_eq!(fs::read(folder.path().join("keys/id.key")).unwrap(), before);
    }

    #[test]
    fn clients_are_of_the_authority_and_carry_their_names() {
        let folder = folder();
        let ca = CertificateDer::from_pem_file(folder.path().join("tls/clients-ca.pem")).unwrap();
        let (_, ca) = x509_parser::parse_x509_certificate(&ca).unwrap();
        for name in CLIENTS {
            let der = CertificateDer::from_pem_file(folder.path().join(format!("clients/{name}.pem"))).unwrap();
            let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
            assert_eq!(certificate.issuer(), ca.subject());
            assert!(!certificate.is_ca());
            let san = certificate.subject_alternative_name().unwrap().unwrap();
            assert!(san.value.general_names.iter().any(
                |general| matches!(general, x509_parser::extensions::GeneralName::DNSName(dns) if *dns == format!("{name}.hospital.example"))
            ));
        }
    }
}
