//! TLS 1.2 and 1.3 with client certificates, and what they prove.
//!
//! A whole new configuration is loaded for each accepted connection, and nothing of a session is kept: a resumed session
//! would outlive the revocation of its certificate.

use crate::config;
use crate::connection::ConnectionInfo;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

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
    files: config::Tls,
    client: ClientCertificate,
    time_max: Duration,
    current: RwLock<Arc<ServerConfig>>,
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
        Ok(Self { files: files.clone(), client, time_max, current })
    }

    /// Reads the files again, for connections to come. If they do not fit together, what was read before stays.
    pub fn reload(&self) -> Result<(), String> {
        let fresh = Arc::new(load(&self.files, self.client)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// The handshake, within its time, and what the client proved.
    pub async fn accept<S>(&self, stream: S, address: SocketAddr) -> Result<(TlsStream<S>, ConnectionInfo), Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let accepted = tokio::time::timeout(self.time_max, TlsAcceptor::from(current).accept(stream)).await;
        let stream = accepted.map_err(|_| Refused::Timeout)?.map_err(|error| refusal(&error))?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let info = ConnectionInfo {
            address: address.to_string(),
            names: certificate.map(names).unwrap_or_default(),
            thumbprint: certificate.map(|certificate| Sha256::digest(certificate).into()),
        };
        Ok((stream, info))
    }
}

/// Errors name the file.
fn load(files: &config::Tls, client: ClientCertificate) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|_| format!("{}: no private key in PEM", files.key.display()))?;
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.client_ca)? {
        roots.add(root).map_err(|_| format!("{}: a certificate cannot be read", files.client_ca.display()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = match client {
        ClientCertificate::Demanded => verifier,
        ClientCertificate::Asked => verifier.allow_unauthenticated(),
    };
    let verifier = verifier.build().map_err(|_| format!("{}: not usable as certificate authorities", files.client_ca.display()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| "TLS 1.2 and 1.3 are not in the crypto library".to_owned())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|_| format!("{}: the key does not fit the certificate {}", files.key.display(), files.certificate.display()))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if client == ClientCertificate::Asked {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: &str| format!("{}: {why}", file.display());
    let read = CertificateDer::pem_file_iter(file).map_err(|_| wrong("cannot be read"))?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(|_| wrong("not PEM"))?;
    if certificates.is_empty() { Err(wrong("holds no certificate")) } else { Ok(certificates) }
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

fn refusal(error: &std::io::Error) -> Refused {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else { return Refused::Silent };
    Refused::Handshake(match inner {
        rustls::Error::NoCertificatesPresented => "no-certificate",
        rustls::Error::InvalidCertificate(rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. }) => {
            "certificate-expired"
        }
        rustls::Error::InvalidCertificate(_) => "certificate",
        rustls::Error::PeerIncompatible(_) => "tls-version",
        _ => "tls",
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
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

        pub fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        pub fn files(&self) -> config::Tls {
            config::Tls { certificate: self.file("server.pem"), key: self.file("server.key"), client_ca: self.file("ca.pem") }
        }

        pub fn client(&self, names: &[&str]) -> TlsConnector {
            let (certificate, key) = self.signed(names, ExtendedKeyUsagePurpose::ClientAuth);
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

        fn signed(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
            params.extended_key_usages = vec![purpose];
            (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
        }
    }

    pub fn server_name() -> rustls_pki_types::ServerName<'static> {
        rustls_pki_types::ServerName::try_from("localhost").unwrap()
    }

    async fn handshake(tls: &Tls, client: &TlsConnector) -> Result<ConnectionInfo, Refused> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let address = "127.0.0.1:9".parse().unwrap();
        let (served, _client) = tokio::join!(tls.accept(near, address), client.connect(server_name(), far));
        served.map(|(_, info)| info)
    }

    #[tokio::test]
    async fn a_certificate_proves_its_names_and_none_is_refused_where_one_is_demanded() {
        let (authority, other) = (Authority::new(), Authority::new());
        let time = Duration::from_secs(5);
        let mllp = Tls::new(&authority.files(), ClientCertificate::Demanded, time).unwrap();
        let https = Tls::new(&authority.files(), ClientCertificate::Asked, time).unwrap();

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
        let tls = Tls::new(&Authority::new().files(), ClientCertificate::Demanded, Duration::from_millis(20)).unwrap();
        let (near, far) = tokio::io::duplex(1024);
        assert_eq!(tls.accept(near, "127.0.0.1:9".parse().unwrap()).await.map(|_| ()).unwrap_err(), Refused::Timeout);
        drop(far);
        let (near, far) = tokio::io::duplex(1024);
        drop(far);
        assert_eq!(tls.accept(near, "127.0.0.1:9".parse().unwrap()).await.map(|_| ()).unwrap_err(), Refused::Silent);
    }

    #[tokio::test]
    async fn files_are_read_again_as_a_pair_or_not_at_all() {
        let authority = Authority::new();
        let tls = Tls::new(&authority.files(), ClientCertificate::Asked, Duration::from_secs(5)).unwrap();
        let before = tls.current.read().unwrap().clone();
        authority.renew();
        tls.reload().unwrap();
        let after = tls.current.read().unwrap().clone();
        assert!(!Arc::ptr_eq(&before, &after));
        std::fs::write(authority.file("server.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(tls.reload().unwrap_err().contains("does not fit"));
        assert!(Arc::ptr_eq(&after, &tls.current.read().unwrap()));
        assert!(handshake(&tls, &authority.stranger()).await.is_ok());
    }
}
