//! The two kinds of client that a gateway has, blocking and small: for `demo`, and for tests that drive the built program.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a client waits for an answer: a bound, not a pace.
const ANSWER_MAX: Duration = Duration::from_secs(60);

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A TLS connection that trusts the folder's authority, with one of its client certificates or none.
fn connect(address: SocketAddr, folder: &Path, certificate: Option<&str>) -> io::Result<TlsStream> {
    let mut roots = RootCertStore::empty();
    roots.add(pem(CertificateDer::from_pem_file(folder.join("tls/ca.pem")))?).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = pem(CertificateDer::pem_file_iter(folder.join(format!("clients/{name}.pem"))).and_then(Iterator::collect))?;
            let key = pem(PrivateKeyDer::from_pem_file(folder.join(format!("clients/{name}.key"))))?;
            builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
        }
    };
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, socket))
}

fn pem<T>(read: Result<T, rustls::pki_types::pem::Error>) -> io::Result<T> {
    read.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not PEM, or not there"))
}

/// A legacy system on one MLLP connection.
pub struct Sender {
    stream: TlsStream,
    held: Vec<u8>,
}

impl Sender {
    /// Connects with the client certificate of this name in the folder, and finishes the handshake.
    pub fn connect(address: SocketAddr, folder: &Path, certificate: Option<&str>) -> io::Result<Self> {
        let mut stream = connect(address, folder, certificate)?;
        stream.flush()?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, held: Vec::new() })
    }

    /// Sends one message and waits for its reply. `Err` where the gateway closed without one.
    pub fn send(&mut self, message: &[u8]) -> io::Result<String> {
        let mut frame = vec![0x0b];
        frame.extend_from_slice(message);
        frame.extend_from_slice(&[0x1c, 0x0d]);
        self.write(&frame)?;
        self.reply()
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Waits for one framed reply.
    pub fn reply(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.held.windows(2).position(|pair| pair == [0x1c, 0x0d]) {
                let rest = self.held.split_off(end + 2);
                let frame = std::mem::replace(&mut self.held, rest);
                if frame[0] != 0x0b {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                return Ok(String::from_utf8_lossy(&frame[1..end]).into_owned());
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.held.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

/// A clinical app, one connection a request.
pub struct App {
    pub address: SocketAddr,
    /// Where the authority and the client certificates lie.
    pub folder: PathBuf,
    pub token: Option<String>,
    /// Name of a client certificate.
    pub certificate: Option<String>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

impl App {
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.request("GET", path, &[], b"")
    }

    /// One connection for many reads.
    pub fn keep(&self) -> io::Result<Kept> {
        let stream = connect(self.address, &self.folder, self.certificate.as_deref())?;
        Ok(Kept { stream: BufReader::new(stream), token: self.token.clone().unwrap_or_default() })
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        let mut stream = connect(self.address, &self.folder, self.certificate.as_deref())?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        stream.flush()?;
        read_answer(&mut stream)
    }
}

/// An app's connection that stays open.
pub struct Kept {
    stream: BufReader<TlsStream>,
    token: String,
}

impl Kept {
    /// Reads a path, and gives the status and the body.
    pub fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", self.token);
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.stream.get_mut().flush()?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(code) = line.strip_prefix("HTTP/1.1 ") {
                status = code.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }
}

/// Reads an answer whose connection ends with it.
pub fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8(all[..end].to_vec()).map_err(io::Error::other)?;
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut body = all.split_off(end + 4);
    if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
        body = unchunk(&body).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(Answer { status, headers, body })
}

fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(end + 2..end + 2 + size)?);
        body = body.get(end + 4 + size..)?;
    }
}
