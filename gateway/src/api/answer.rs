use crate::search::Version;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};
use hyper::{Response, StatusCode};
use jiff::Timestamp;

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json; charset=utf-8");

/// An answer, with what the audit must know of it.
#[derive(Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Patients named in it, by id.
    pub patients: Vec<String>,
    /// Resources given out, or told to exist: `Type/id/_history/version`.
    pub resources: Vec<String>,
}

impl Answer {
    pub fn json(status: StatusCode, body: Bytes) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, FHIR_JSON);
        // What is answered is for this client at this time: patient data stays out of caches.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
        Self { status, headers, body, patients: Vec::new(), resources: Vec::new() }
    }

    /// Notes what a version tells, for the audit.
    pub fn names(&mut self, version: &Version) {
        self.resources.push(format!("{}/{}/_history/{}", version.kind, version.id, version.version));
        let own = (version.kind == "Patient").then_some(&version.id);
        for patient in version.patients.iter().chain(own) {
            self.name_patient(patient);
        }
    }

    pub fn name_patient(&mut self, id: &str) {
        if !self.patients.iter().any(|known| known == id) {
            self.patients.push(id.to_owned());
        }
    }

    pub fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    /// `ETag` and `Last-Modified` of a version (R4 http.html §3.1.0.1.6).
    pub fn dated(&mut self, version: u64, updated: Timestamp) {
        self.set(ETAG, &etag(version));
        if let Ok(date) = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&updated) {
            self.set(LAST_MODIFIED, &date);
        }
    }

    /// To the wire. HEAD has all but the body; its length is told.
    pub fn respond(mut self, head: bool) -> Response<Full<Bytes>> {
        if head && self.status != StatusCode::NOT_MODIFIED {
            self.headers.insert(CONTENT_LENGTH, self.body.len().into());
            self.body = Bytes::new();
        }
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A version as a weak entity tag.
pub fn etag(version: u64) -> String {
    format!("W/\"{version}\"")
}
