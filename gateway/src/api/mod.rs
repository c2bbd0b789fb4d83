//! The reading corridor: from an HTTP request to a FHIR answer, with its audit entry durable before the first byte.

mod connection;

pub use connection::ConnectionInfo;

use crate::access::Verifier;
use crate::clock::Clock;
use crate::store::Store;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::{Request, Response, StatusCode};
use std::sync::Arc;

/// What the API is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients reach us, in every link and fullUrl; its path is the path served (`https://host/fhir`: `/fhir`).
    pub base_url: String,
    /// For smart-configuration and the CapabilityStatement, of the first issuer that has them.
    pub token_endpoint: Option<String>,
    pub authorization_endpoint: Option<String>,
    /// Signs paging links: the same on all replicas and after a restart. At least 16 bytes.
    pub paging_key: Vec<u8>,
    /// Zone of dates in searches that state none; the one the index was made with.
    pub timezone: jiff::tz::TimeZone,
    pub clock: Clock,
}

/// FHIR R4 at `base_url`. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    #[allow(dead_code)]
    inner: Arc<(Arc<dyn Store>, Verifier, Settings)>,
}

impl Api {
    /// Errors say which setting does not fit, in words for the operator.
    pub fn new(store: Arc<dyn Store>, verifier: Verifier, settings: Settings) -> Result<Self, String> {
        Ok(Self { inner: Arc::new((store, verifier, settings)) })
    }

    /// Whether a path is this API's: below the base, or the root's `.well-known/smart-configuration`.
    pub fn serves(&self, _path: &str) -> bool {
        true
    }

    /// Answers any request, whatever its path. The body is read only after authentication, up to a limit (413) and
    /// for a limited time. Never fails: what is wrong is in the answer.
    pub async fn answer<B>(&self, _request: Request<B>, _connection: Arc<ConnectionInfo>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display,
    {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    }

    /// Writes down the refusals counted so far; call it when the doors are closed.
    pub async fn close(&self) {}
}
