//! Bundles. Not through fhir-sdk's typed model: its decimals are f64, and a stored `6.30` must leave as `6.30`; so the
//! bodies go through as the text that was stored.

use super::answer::etag;
use crate::search::Version;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle<'a> {
    resource_type: &'static str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    link: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entry: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Link {
    relation: &'static str,
    url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    full_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response<'a>>,
}

#[derive(Serialize)]
struct Mode {
    mode: &'static str,
}

#[derive(Serialize)]
struct Request {
    method: &'static str,
    url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a RawValue>,
}

impl<'a> Bundle<'a> {
    /// A search's, with its own link. `total`: where it was counted.
    pub fn searchset(total: Option<u64>, this: String, next: Option<String>) -> Self {
        Self::new("searchset", total, this, next)
    }

    /// `total`: where it was counted.
    pub fn history(total: Option<u64>, this: String, next: Option<String>) -> Self {
        Self::new("history", total, this, next)
    }

    fn new(kind: &'static str, total: Option<u64>, this: String, next: Option<String>) -> Self {
        let mut link = vec![Link { relation: "self", url: this }];
        link.extend(next.map(|url| Link { relation: "next", url }));
        Self { resource_type: "Bundle", r#type: kind, total, link, entry: Vec::new() }
    }

    /// `body`: a resource's JSON. `None` if it is not JSON: then the store holds what it should not.
    pub fn found(&mut self, full_url: String, body: &'a [u8]) -> Option<()> {
        self.entry("match", full_url, body)
    }

    /// What came along with the matches.
    pub fn included(&mut self, full_url: String, body: &'a [u8]) -> Option<()> {
        self.entry("include", full_url, body)
    }

    fn entry(&mut self, mode: &'static str, full_url: String, body: &'a [u8]) -> Option<()> {
        let resource = serde_json::from_slice(body).ok()?;
        self.entry.push(Entry {
            full_url: Some(full_url),
            resource: Some(resource),
            search: Some(Mode { mode }),
            request: None,
            response: None,
        });
        Some(())
    }

    /// What the client should know about what it asked: of a search a resource (`search.mode` outcome); of a history, where
    /// each resource is a version, the outcome of having asked (R4 bundle.html, invariants bdl-2 to bdl-5).
    pub fn told(&mut self, outcome: &'a [u8]) -> Option<()> {
        let outcome = serde_json::from_slice(outcome).ok()?;
        let mut entry = Entry { full_url: None, resource: None, search: None, request: None, response: None };
        match self.r#type {
            "history" => {
                entry.request = Some(Request { method: "GET", url: self.link[0].url.clone() });
                entry.response = Some(Response { status: "200", etag: None, last_modified: None, outcome: Some(outcome) });
            }
            _ => (entry.resource, entry.search) = (Some(outcome), Some(Mode { mode: "outcome" })),
        }
        self.entry.push(entry);
        Some(())
    }

    /// One version of a history. As far as a client could tell, each came by PUT to its own id.
    pub fn version(&mut self, base_url: &str, version: &'a Version) -> Option<()> {
        let url = format!("{}/{}", version.kind, version.id);
        let (method, status, resource) = match &version.body {
            None => ("DELETE", "204", None),
            Some(body) => ("PUT", if version.version == 1 { "201" } else { "200" }, Some(serde_json::from_slice(body).ok()?)),
        };
        self.entry.push(Entry {
            full_url: Some(format!("{base_url}/{url}")),
            resource,
            search: None,
            request: Some(Request { method, url }),
            response: Some(Response {
                status,
                etag: Some(etag(version.version)),
                last_modified: Some(version.last_updated.to_string()),
                outcome: None,
            }),
        });
        Some(())
    }

    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("values are written to memory").into()
    }
}
