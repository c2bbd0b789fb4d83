use jiff::Timestamp;
use std::fmt;

/// What the transport proved about the connection a request came on. One per connection, shared by its requests.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// `host:port` of the other end.
    pub address: String,
    /// DNS names in the client certificate's SAN; none without a certificate.
    pub names: Vec<String>,
    /// SHA-256 of the client certificate's DER, to which a token may be bound (RFC 8705); `None` without a certificate.
    pub thumbprint: Option<[u8; 32]>,
    /// When the client certificate ends.
    pub ends: Option<Timestamp>,
}

impl ConnectionInfo {
    /// The other end without its port: refusals are counted by it.
    pub fn source(&self) -> &str {
        self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host)
    }
}

/// Shows whether there is a certificate, and the address.
impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionInfo({} certificate: {})", self.address, self.thumbprint.is_some())
    }
}
