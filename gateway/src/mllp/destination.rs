//! Where messages are sent to, and how the line there is secured.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::{Digest, Sha256};
use socket2::{SockRef, TcpKeepalive};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// For the connection and the TLS handshake together.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// A silent line is asked so often: shorter than a load balancer forgets it (350 s and less).
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Bytes both ways, plain or in TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// PEM files of a line in TLS.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// TLS: certificate chain that shows who we are (PEM)
    #[arg(long, value_name = "FILE", requires = "key", requires = "ca")]
    pub certificate: Option<PathBuf>,
    /// TLS: private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// TLS: authorities that the receiver's certificate must be of (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// TLS: name that the receiver's certificate must have [default: the host]
    #[arg(long, value_name = "NAME", requires = "ca")]
    pub server_name: Option<String>,
}

/// One receiver, by its files as they were last taken up: for lines to come.
pub struct Receiver(Mutex<Destination>);

impl Receiver {
    pub fn new(destination: Destination) -> Self {
        Self(Mutex::new(destination))
    }

    /// Errors name the address and the cause.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let destination = self.known();
        destination.connect().await
    }

    /// Reads the files again. `None` where nothing is new.
    pub fn fresh(&self) -> Result<Option<Destination>, String> {
        let known = self.known();
        let fresh = Destination::new(&known.address, &known.files)?;
        Ok(Some(fresh).filter(|fresh| fresh.digest != known.digest))
    }

    pub fn take(&self, fresh: Destination) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// By its files as they are now, or as they last fitted.
    pub fn renew(&self) {
        match self.fresh() {
            Ok(None) => {}
            Ok(Some(fresh)) => self.take(fresh),
            Err(error) => tracing::error!(error, "not taken up: the certificates before stay in use"),
        }
    }

    fn known(&self) -> Destination {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where messages are sent to.
#[derive(Clone)]
pub struct Destination {
    /// `host:port`.
    address: String,
    files: Files,
    security: Option<(TlsConnector, ServerName<'static>)>,
    /// Of the files' content.
    digest: [u8; 32],
}

impl Destination {
    /// Reads the files. Without any the line is plain.
    pub fn new(address: &str, files: &Files) -> Result<Self, String> {
        let host = host(address).ok_or_else(|| format!("{address}: not HOST:PORT, as in gateway.example:2575 or [2001:db8::1]:2575"))?;
        let mut digest = Sha256::new();
        let security = match &files.ca {
            None => None,
            Some(ca) => {
                let name = files.server_name.as_deref().unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']'));
                let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name}: neither a DNS name nor an address"))?;
                Some((TlsConnector::from(Arc::new(client(ca, files, &mut digest)?)), name))
            }
        };
        Ok(Self { address: address.to_owned(), files: files.clone(), security, digest: digest.finalize().into() })
    }

    pub fn is_plain(&self) -> bool {
        self.security.is_none()
    }

    /// Errors name the address and the cause.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let connected = timeout(CONNECT_TIME, self.open()).await;
        connected.unwrap_or_else(|_| Err("no answer in 10 s".into())).map_err(|cause| format!("{}: {cause}", self.address))
    }

    async fn open(&self) -> Result<Box<dyn Stream>, String> {
        let stream = TcpStream::connect(&self.address).await.map_err(|error| match error.raw_os_error() {
            Some(_) => error.kind().to_string(),
            None => "the name is not known".into(),
        })?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
        let set = SockRef::from(&stream).set_tcp_keepalive(&keepalive).and_then(|()| stream.set_nodelay(true));
        set.map_err(|error| error.kind().to_string())?;
        let Some((connector, name)) = &self.security else { return Ok(Box::new(stream)) };
        let stream = connector.connect(name.clone(), stream).await.map_err(|error| format!("no TLS: {}", cause(&error)))?;
        Ok(Box::new(stream))
    }
}

/// The host of `HOST:PORT`.
pub fn host(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then_some(host)
}

/// The cause in words: an engineer tells a wrong authority from a wrong name.
pub(super) fn cause(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => error.to_string(),
        None => error.kind().to_string(),
    }
}

/// Errors name the file. No session is kept: each line proves anew who is at both ends.
fn client(ca: &Path, files: &Files, digest: &mut Sha256) -> Result<ClientConfig, String> {
    let mut read = |file: &Path| {
        let bytes = std::fs::read(file).map_err(|_| format!("{}: cannot be read", file.display()))?;
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(&bytes);
        Ok::<_, String>(bytes)
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(ca, &read(ca)?)? {
        roots.add(root).map_err(|_| format!("{}: a certificate cannot be read", ca.display()))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| "TLS 1.2 and 1.3 are not in the crypto library".to_owned())?
        .with_root_certificates(roots);
    let mut config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, &read(certificate)?)?;
            let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| format!("{}: no private key in PEM", key.display()))?;
            let fit = builder.with_client_auth_cert(chain, secret);
            fit.map_err(|_| format!("{}: the key does not fit the certificate {}", key.display(), certificate.display()))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: &str| format!("{}: {why}", file.display());
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| wrong("not PEM"))?;
    if certificates.is_empty() { Err(wrong("holds no certificate")) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::tls::tests::Authority;

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        let refused = |address: &str, files: &Files| Destination::new(address, files).err().unwrap_or_default();
        for wrong in ["gateway", ":2575", "gateway:mllp", "gateway:99999"] {
            assert!(refused(wrong, &Files::default()).contains("not HOST:PORT"), "{wrong}");
        }
        assert!(Destination::new("[::1]:2575", &Files::default()).unwrap().is_plain());
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let files = Files { ca: Some(ca.clone()), ..Files::default() };
        assert!(refused("gateway:1", &files).contains("ca.pem: cannot be read"));
        std::fs::write(&ca, "none").unwrap();
        assert!(refused("gateway:1", &files).contains("ca.pem: holds no certificate"));
    }

    #[test]
    fn files_are_taken_up_when_they_are_new_and_fit() {
        let authority = Authority::new();
        authority.write_client("pas.hospital.example");
        let file = |name| Some(authority.file(name));
        let files = Files { certificate: file("client.pem"), key: file("client.key"), ca: file("ca.pem"), server_name: None };
        let receiver = Receiver::new(Destination::new("localhost:1", &files).unwrap());
        assert!(receiver.fresh().unwrap().is_none());
        authority.write_client("lab.hospital.example");
        receiver.take(receiver.fresh().unwrap().unwrap());
        assert!(receiver.fresh().unwrap().is_none());
        std::fs::write(authority.file("client.key"), "half written").unwrap();
        assert!(receiver.fresh().err().unwrap().contains("client.key: no private key in PEM"));
    }
}
