//! The PROXY protocol, version 2: a proxy in front of a listener tells whose connection it passes on. Believed of listed
//! addresses alone, and demanded of all: on such a listener nobody can come past the proxies, or say that he is another.

use super::tls::Refused;
use ipnet::IpNet;
use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Before the addresses: signature, version, command, family and length.
const HEAD_BYTES: usize = 16;
/// Of a header's addresses and what a proxy adds to them.
const REST_BYTES_MAX: usize = 4096;

/// The proxies in front of a listener; none: whoever connects is the client.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    listed: Vec<IpNet>,
    time_max: Duration,
}

impl Proxies {
    /// `time_max`: for a header to come.
    pub fn new(listed: &[IpNet], time_max: Duration) -> Self {
        Self { listed: listed.to_vec(), time_max }
    }

    /// The address of the client, whose own bytes come next. The proxy's where it speaks for itself, as for a probe of its own.
    pub async fn client(&self, stream: &mut (impl AsyncRead + Unpin), address: SocketAddr) -> Result<SocketAddr, Refused> {
        if self.listed.is_empty() {
            return Ok(address);
        }
        if !self.listed.iter().any(|net| net.contains(&address.ip().to_canonical())) {
            return Err(Refused::Handshake("proxy-unlisted"));
        }
        tokio::time::timeout(self.time_max, told(stream, address)).await.map_err(|_| Refused::Timeout)?
    }
}

async fn told(stream: &mut (impl AsyncRead + Unpin), proxy: SocketAddr) -> Result<SocketAddr, Refused> {
    const WRONG: Refused = Refused::Handshake("proxy-header");
    let mut header = vec![0; HEAD_BYTES];
    match stream.read(&mut header[..1]).await {
        // It opened and closed: a probe.
        Ok(0) => return Err(Refused::Silent),
        Ok(_) if header[0] == PROTOCOL_PREFIX[0] => {}
        Ok(_) => return Err(WRONG),
        Err(_) => return Err(Refused::Silent),
    }
    let broken = |error: std::io::Error| if error.kind() == ErrorKind::UnexpectedEof { WRONG } else { Refused::Silent };
    stream.read_exact(&mut header[1..]).await.map_err(broken)?;
    let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if !header.starts_with(PROTOCOL_PREFIX) || rest > REST_BYTES_MAX {
        return Err(WRONG);
    }
    header.resize(HEAD_BYTES + rest, 0);
    stream.read_exact(&mut header[HEAD_BYTES..]).await.map_err(broken)?;
    let header = Header::try_from(header.as_slice()).map_err(|_| WRONG)?;
    match (header.command, &header.addresses) {
        (Command::Local, _) | (Command::Proxy, Addresses::Unspecified) => Ok(proxy),
        (Command::Proxy, Addresses::IPv4(told)) => Ok((told.source_address, told.source_port).into()),
        (Command::Proxy, Addresses::IPv6(told)) => Ok((told.source_address, told.source_port).into()),
        (Command::Proxy, Addresses::Unix(_)) => Err(WRONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Refused::{Handshake, Silent, Timeout};

    const V4: &[u8] = b"\x21\x11\0\x0c\xc0\0\x02\x07\xcb\0\x71\x01\x10\xe1\x0a\x0f";

    fn header(rest: &[u8]) -> Vec<u8> {
        [PROTOCOL_PREFIX, rest].concat()
    }

    async fn client(from: &str, bytes: &[u8]) -> (Result<String, Refused>, Vec<u8>) {
        let proxies = Proxies::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()], Duration::from_secs(5));
        let mut rest = bytes;
        let found = proxies.client(&mut rest, from.parse().unwrap()).await;
        (found.map(|address| address.to_string()), rest.to_vec())
    }

    #[tokio::test]
    async fn a_listed_proxy_tells_the_client_and_what_follows_is_the_clients() {
        let v6 = [b"\x21\x21\0\x24".as_slice(), &[0x20; 16], &[0x21; 16], b"\x10\xe1\x0a\x0f"].concat();
        let with_more = [b"\x21\x11\0\x10".as_slice(), &V4[4..], b"\x04\0\x01\0"].concat();
        for (rest, expected) in [
            (V4, "192.0.2.7:4321"),
            (&v6, "[2020:2020:2020:2020:2020:2020:2020:2020]:4321"),
            (&with_more, "192.0.2.7:4321"),
            // LOCAL, and a client of no known family.
            (b"\x20\0\0\0", "10.1.2.3:999"),
            (b"\x21\0\0\0", "10.1.2.3:999"),
        ] {
            let bytes = [header(rest), b"\x0bMSH".to_vec()].concat();
            assert_eq!(client("10.1.2.3:999", &bytes).await, (Ok(expected.into()), b"\x0bMSH".to_vec()));
        }
        assert_eq!(client("[::ffff:10.1.2.3]:999", &header(V4)).await.0, Ok("192.0.2.7:4321".into()));
    }

    #[tokio::test]
    async fn all_else_is_refused() {
        let wrong = Err(Handshake("proxy-header"));
        for (from, bytes, expected) in [
            ("192.0.2.1:9", header(V4), Err(Handshake("proxy-unlisted"))),
            ("10.1.2.3:9", Vec::new(), Err(Silent)),
            ("10.1.2.3:9", b"\x0bMSH|^~\\&|PAS".to_vec(), wrong.clone()),
            ("10.1.2.3:9", b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n".to_vec(), wrong.clone()),
            ("10.1.2.3:9", header(V4)[..20].to_vec(), wrong.clone()),
            // Another version, a local socket, too much, less than its addresses take.
            ("10.1.2.3:9", header(b"\x11\x11\0\x0c\xc0\0\x02\x07\xcb\0\x71\x01\x10\xe1\x0a\x0f"), wrong.clone()),
            ("10.1.2.3:9", header(&[b"\x21\x31\0\xd8".as_slice(), &[1; 216]].concat()), wrong.clone()),
            ("10.1.2.3:9", header(&[b"\x21\x11\xff\xff".as_slice(), &[1; 100]].concat()), wrong.clone()),
            ("10.1.2.3:9", header(b"\x21\x11\0\x04\xc0\0\x02\x07"), wrong),
        ] {
            assert_eq!(client(from, &bytes).await.0, expected, "{from} {bytes:?}");
        }
        // One that says nothing.
        let (mut near, _far) = tokio::io::duplex(64);
        let proxies = Proxies::new(&["10.0.0.0/8".parse().unwrap()], Duration::from_millis(1));
        assert_eq!(proxies.client(&mut near, "10.1.2.3:9".parse().unwrap()).await, Err(Timeout));
        // Without proxies whoever connects is the client, and nothing is read.
        let mut bytes: &[u8] = b"\x0bMSH";
        let address = "192.0.2.1:9".parse().unwrap();
        assert_eq!(Proxies::default().client(&mut bytes, address).await, Ok(address));
        assert_eq!(bytes.len(), 4);
    }
}
