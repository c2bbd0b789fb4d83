//! TLS 1.2 and 1.3 with client certificates, and what they prove.
//!
//! A whole new configuration is loaded for each accepted connection, and nothing of a session is kept: a resumed session
//! would outlive the revocation of its certificate.

use crate::config;
use crate::connection::ConnectionInfo;
use jiff::Timestamp;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::{parse_x509_certificate, parse_x509_crl};

/// HTTP/2, as ALPN says it.
pub const H2: &[u8] = b"h2";

/// What is asked of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// No certificate, no connection (MLLP).
    Demanded,
    /// None is fine; a wrong one is not (HTTPS).
    Asked,
}

/// Terminates TLS. Can be told to read its files again while connections go on.
pub struct Tls {
    client: ClientCertificate,
    time_max: Duration,
    current: RwLock<Arc<Terms>>,
    changed: watch::Sender<()>,
}

/// What the files say.
pub struct Terms {
    server: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
    digest: [u8; 32],
    ends: Ends,
}

/// When what was read runs out, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub certificate: i64,
    /// Then no client is let in any more. `None` without revocation lists.
    pub client_crl: Option<i64>,
}

/// A client's certificate, which was proven once and must stay so while its connection lasts.
pub struct Trust {
    tls: Arc<Tls>,
    /// Empty where the client showed none.
    chain: Vec<CertificateDer<'static>>,
    changed: watch::Receiver<()>,
}

/// Why there is no TLS connection. Closed; the peer's own words are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Timeout,
    /// It opened and closed, as a load balancer's probe does: nothing was said.
    Silent,
    /// No certificate, one of another authority or out of date, or no common version: a word of the audit.
    Handshake(&'static str),
}

impl Tls {
    pub fn new(files: &config::Tls, client: ClientCertificate, time_max: Duration) -> Result<Self, String> {
        let current = RwLock::new(Arc::new(load(files, client)?));
        Ok(Self { client, time_max, current, changed: watch::Sender::new(()) })
    }

    /// Reads files again. `None` where nothing is new.
    pub fn fresh(&self, files: &config::Tls) -> Result<Option<Terms>, String> {
        let fresh = load(files, self.client)?;
        Ok(Some(fresh).filter(|fresh| fresh.digest != self.terms().digest))
    }

    /// From now on these hold for connections to come; those that are there are asked again whether their client is trusted.
    pub fn take(&self, fresh: Terms) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        self.changed.send_replace(());
    }

    pub fn ends(&self) -> Ends {
        self.terms().ends
    }

    /// The handshake, within its time, and what the client proved.
    pub async fn accept<S>(self: &Arc<Self>, stream: S, address: SocketAddr) -> Result<(TlsStream<S>, ConnectionInfo, Trust), Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Before the terms are read: a change in between is noticed.
        let changed = self.changed.subscribe();
        let acceptor = TlsAcceptor::from(self.terms().server.clone());
        let accepted = tokio::time::timeout(self.time_max, acceptor.accept(stream)).await;
        let stream = accepted.map_err(|_| Refused::Timeout)?.map_err(|error| refusal(&error))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = chain.first();
        let info = ConnectionInfo {
            address: address.to_string(),
            names: certificate.map(names).unwrap_or_default(),
            thumbprint: certificate.map(|certificate| Sha256::digest(certificate).into()),
            ends: certificate.and_then(ends),
        };
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Ok((stream, info, Trust { tls: self.clone(), chain, changed }))
    }

    fn terms(&self) -> Arc<Terms> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Trust {
    /// Resolves when the client's certificate is not trusted any more, by what was read since, with a word of the audit.
    pub async fn lost(&mut self) -> &'static str {
        while self.changed.changed().await.is_ok() {
            if let Some((certificate, intermediates)) = self.chain.split_first()
                && let Err(error) = self.tls.terms().clients.verify_client_cert(certificate, intermediates, UnixTime::now())
            {
                return word(&error);
            }
        }
        std::future::pending().await
    }
}

/// Errors name the file.
fn load(files: &config::Tls, client: ClientCertificate) -> Result<Terms, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut digest = Sha256::new();
    let mut read = |file: &Path| {
        let bytes = std::fs::read(file).map_err(|error| format!("{}: {}", file.display(), error.kind()))?;
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(&bytes);
        Ok::<_, String>(bytes)
    };
    let chain = certificates(&files.certificate, &read(&files.certificate)?)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|_| format!("{}: no private key in PEM", files.key.display()))?;
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.client_ca, &read(&files.client_ca)?)? {
        roots.add(root).map_err(|_| format!("{}: a certificate cannot be read", files.client_ca.display()))?;
    }
    let lists = match &files.client_crl {
        Some(file) => revocation_lists(file, &read(file)?)?,
        None => Vec::new(),
    };
    let ends = Ends {
        certificate: chain.first().and_then(|certificate| not_after(certificate)).unwrap_or_default(),
        client_crl: lists.iter().map(|list| next_update(list)).min(),
    };
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    // Without lists nothing is asked of them. With them a list out of date knows nothing.
    let verifier = verifier.with_crls(lists).enforce_revocation_expiration();
    let verifier = match client {
        ClientCertificate::Demanded => verifier,
        ClientCertificate::Asked => verifier.allow_unauthenticated(),
    };
    let clients = verifier.build().map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(_) => format!("{}: a revocation list cannot be used", shown(files.client_crl.as_deref())),
        _ => format!("{}: not usable as certificate authorities", files.client_ca.display()),
    })?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| "TLS 1.2 and 1.3 are not in the crypto library".to_owned())?
        .with_client_cert_verifier(clients.clone())
        .with_single_cert(chain, key)
        .map_err(|_| format!("{}: the key does not fit the certificate {}", files.key.display(), files.certificate.display()))?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    if client == ClientCertificate::Asked {
        server.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    }
    Ok(Terms { server: Arc::new(server), clients, digest: digest.finalize().into(), ends })
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = read.map_err(|_| format!("{}: not PEM", file.display()))?;
    if certificates.is_empty() { Err(format!("{}: holds no certificate", file.display())) } else { Ok(certificates) }
}

fn revocation_lists(file: &Path, pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let read = CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let lists = read.map_err(|_| format!("{}: not PEM", file.display()))?;
    if lists.is_empty() { Err(format!("{}: holds no revocation list", file.display())) } else { Ok(lists) }
}

fn not_after(certificate: &CertificateDer) -> Option<i64> {
    Some(parse_x509_certificate(certificate).ok()?.1.validity().not_after.timestamp())
}

/// A list that does not say when the next one comes is out of date from the first.
fn next_update(list: &CertificateRevocationListDer) -> i64 {
    let parsed = parse_x509_crl(list).ok();
    parsed.and_then(|(_, list)| list.next_update().map(|time| time.timestamp())).unwrap_or_default()
}

fn shown(file: Option<&Path>) -> String {
    file.map(|file| file.display().to_string()).unwrap_or_default()
}

/// The DNS names in a certificate's SAN, in lower case. Wildcards name nobody.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(stated)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = stated.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) if !name.is_empty() && !name.contains('*') => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

fn ends(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

fn refusal(error: &std::io::Error) -> Refused {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else { return Refused::Silent };
    Refused::Handshake(word(inner))
}

/// A word of the audit.
fn word(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError::{
        Expired, ExpiredContext, ExpiredRevocationList, ExpiredRevocationListContext, Revoked, UnknownRevocationStatus,
    };
    match error {
        rustls::Error::NoCertificatesPresented => "no-certificate",
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => "certificate-expired",
        rustls::Error::InvalidCertificate(Revoked) => "certificate-revoked",
        rustls::Error::InvalidCertificate(UnknownRevocationStatus | ExpiredRevocationList | ExpiredRevocationListContext { .. }) => {
            "revocation-unknown"
        }
        // A list that its authority did not sign.
        rustls::Error::InvalidCertRevocationList(_) => "revocation-unknown",
        rustls::Error::InvalidCertificate(_) => "certificate",
        rustls::Error::PeerIncompatible(_) => "tls-version",
        _ => "tls",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod,
        KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
    };
    use rustls::ClientConfig;
    use std::path::PathBuf;
    use tokio_rustls::TlsConnector;

    /// A certificate authority in a folder, its server's files, and clients made on demand.
    pub struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
        folder: tempfile::TempDir,
    }

    impl Authority {
        pub fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let authority = Self { issuer, folder: tempfile::tempdir().unwrap() };
            std::fs::write(authority.file("ca.pem"), authority.issuer.pem()).unwrap();
            authority.renew();
            authority
        }

        /// Writes a fresh server certificate.
        pub fn renew(&self) {
            let (certificate, key) = self.signed(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth);
            std::fs::write(self.file("server.pem"), certificate).unwrap();
            std::fs::write(self.file("server.key"), key).unwrap();
        }

        /// Writes a client's certificate and key.
        pub fn write_client(&self, name: &str) {
            let (certificate, key) = self.signed(&[name], ExtendedKeyUsagePurpose::ClientAuth);
            std::fs::write(self.file("client.pem"), certificate).unwrap();
            std::fs::write(self.file("client.key"), key).unwrap();
        }

        pub fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        pub fn files(&self) -> config::Tls {
            config::Tls {
                certificate: self.file("server.pem"),
                key: self.file("server.key"),
                client_ca: self.file("ca.pem"),
                client_crl: None,
            }
        }

        pub fn client(&self, names: &[&str]) -> TlsConnector {
            self.client_of(self.signed(names, ExtendedKeyUsagePurpose::ClientAuth))
        }

        pub fn client_with_serial(&self, name: &str, serial: u64) -> TlsConnector {
            self.client_of(self.signed_as(&[name], ExtendedKeyUsagePurpose::ClientAuth, Some(serial)))
        }

        fn client_of(&self, (certificate, key): (String, String)) -> TlsConnector {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            self.connector(|builder| builder.with_client_auth_cert(vec![certificate], key).unwrap())
        }

        pub fn stranger(&self) -> TlsConnector {
            self.connector(|builder| builder.with_no_client_auth())
        }

        fn connector(
            &self,
            authenticate: impl FnOnce(rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>) -> ClientConfig,
        ) -> TlsConnector {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
            let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
            TlsConnector::from(Arc::new(authenticate(builder)))
        }

        /// Writes the list of serial numbers that are taken back, good until a year begins.
        pub fn revoke(&self, serials: &[u64], next_update: i32) {
            self.revoke_into(serials, next_update, &self.file("crl.pem"));
        }

        fn revoke_into(&self, serials: &[u64], next_update: i32, file: &Path) {
            let (this_update, next_update) = (date_time_ymd(2010, 1, 1), date_time_ymd(next_update, 1, 1));
            let revoked = |serial: &u64| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: this_update,
                reason_code: None,
                invalidity_date: None,
            };
            let list = CertificateRevocationListParams {
                this_update,
                next_update,
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: serials.iter().map(revoked).collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            std::fs::write(file, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        }

        fn signed(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> (String, String) {
            self.signed_as(names, purpose, None)
        }

        fn signed_as(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose, serial: Option<u64>) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
            params.extended_key_usages = vec![purpose];
            params.serial_number = serial.map(SerialNumber::from);
            (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
        }
    }

    pub fn server_name() -> rustls_pki_types::ServerName<'static> {
        rustls_pki_types::ServerName::try_from("localhost").unwrap()
    }

    async fn handshake(tls: &Arc<Tls>, client: &TlsConnector) -> Result<ConnectionInfo, Refused> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let address = "127.0.0.1:9".parse().unwrap();
        let (served, _client) = tokio::join!(tls.accept(near, address), client.connect(server_name(), far));
        served.map(|(_, info, _)| info)
    }

    #[tokio::test]
    async fn a_certificate_proves_its_names_and_none_is_refused_where_one_is_demanded() {
        let (authority, other) = (Authority::new(), Authority::new());
        let time = Duration::from_secs(5);
        let mllp = Arc::new(Tls::new(&authority.files(), ClientCertificate::Demanded, time).unwrap());
        let https = Arc::new(Tls::new(&authority.files(), ClientCertificate::Asked, time).unwrap());

        let known = handshake(&mllp, &authority.client(&["PAS.hospital.example", "*.wild.example"])).await.unwrap();
        assert_eq!(known.names, ["pas.hospital.example"]);
        assert!(known.thumbprint.is_some());
        assert_eq!(handshake(&mllp, &authority.stranger()).await.unwrap_err(), Refused::Handshake("no-certificate"));
        let nobody = handshake(&https, &authority.stranger()).await.unwrap();
        assert_eq!((nobody.names.len(), nobody.thumbprint), (0, None));
        // A client of another authority that trusts ours.
        let (certificate, key) = other.signed(&["pas.hospital.example"], ExtendedKeyUsagePurpose::ClientAuth);
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let foreign = authority.connector(|builder| builder.with_client_auth_cert(vec![certificate], key).unwrap());
        for tls in [&mllp, &https] {
            assert_eq!(handshake(tls, &foreign).await.unwrap_err(), Refused::Handshake("certificate"));
        }
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_let_go() {
        let tls = Arc::new(Tls::new(&Authority::new().files(), ClientCertificate::Demanded, Duration::from_millis(20)).unwrap());
        let (near, far) = tokio::io::duplex(1024);
        assert_eq!(tls.accept(near, "127.0.0.1:9".parse().unwrap()).await.map(|_| ()).unwrap_err(), Refused::Timeout);
        drop(far);
        let (near, far) = tokio::io::duplex(1024);
        drop(far);
        assert_eq!(tls.accept(near, "127.0.0.1:9".parse().unwrap()).await.map(|_| ()).unwrap_err(), Refused::Silent);
    }

    /// Whether anything was new.
    fn reload(tls: &Tls, files: &config::Tls) -> Result<bool, String> {
        Ok(tls.fresh(files)?.map(|fresh| tls.take(fresh)).is_some())
    }

    #[tokio::test]
    async fn files_are_read_again_as_a_pair_or_not_at_all() {
        let authority = Authority::new();
        let tls = Arc::new(Tls::new(&authority.files(), ClientCertificate::Asked, Duration::from_secs(5)).unwrap());
        let before = tls.terms();
        assert!(!reload(&tls, &authority.files()).unwrap(), "nothing is new");
        assert!(Arc::ptr_eq(&before, &tls.terms()));
        authority.renew();
        assert!(reload(&tls, &authority.files()).unwrap());
        let after = tls.terms();
        std::fs::write(authority.file("server.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(reload(&tls, &authority.files()).unwrap_err().contains("does not fit"));
        assert!(Arc::ptr_eq(&after, &tls.terms()));
        assert!(handshake(&tls, &authority.stranger()).await.is_ok());
    }

    #[tokio::test]
    async fn revoked_certificates_are_refused_and_live_connections_lose_their_trust() {
        let authority = Authority::new();
        let tls = Arc::new(Tls::new(&authority.files(), ClientCertificate::Demanded, Duration::from_secs(5)).unwrap());
        assert_eq!(tls.ends().client_crl, None);
        let (good, serial) = (authority.client_with_serial("pas", 1), 2);
        let stolen = authority.client_with_serial("lab", serial);
        let connect = async |client: &TlsConnector| {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let (served, client) = tokio::join!(tls.accept(near, "127.0.0.1:9".parse().unwrap()), client.connect(server_name(), far));
            served.map(|(_, _, trust)| (trust, client))
        };
        let (mut of_good, mut of_stolen) = (connect(&good).await.unwrap(), connect(&stolen).await.unwrap());
        let files = config::Tls { client_crl: Some(authority.file("crl.pem")), ..authority.files() };
        assert!(reload(&tls, &files).unwrap_err().contains("crl.pem"));

        authority.revoke(&[serial], 2099);
        assert!(reload(&tls, &files).unwrap());
        assert_eq!(tls.ends().client_crl, Some(date_time_ymd(2099, 1, 1).unix_timestamp()));
        assert_eq!(of_stolen.0.lost().await, "certificate-revoked");
        assert!(connect(&good).await.is_ok());
        assert_eq!(connect(&stolen).await.map(drop).unwrap_err(), Refused::Handshake("certificate-revoked"));
        // A list out of date says nothing, so nobody is let in; who was is let go.
        authority.revoke(&[], 2020);
        assert!(reload(&tls, &files).unwrap());
        assert_eq!(of_good.0.lost().await, "revocation-unknown");
        assert_eq!(connect(&good).await.map(drop).unwrap_err(), Refused::Handshake("revocation-unknown"));
        // A list of another authority says nothing of ours.
        Authority::new().revoke_into(&[], 2099, &authority.file("crl.pem"));
        assert!(reload(&tls, &files).unwrap());
        assert_eq!(connect(&good).await.map(drop).unwrap_err(), Refused::Handshake("revocation-unknown"));
    }
}
