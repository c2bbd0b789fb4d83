//! Reading and writing by the typed model of FHIR (fhir-sdk), in a crate of its own: any resource may contain any other, so
//! who writes one compiles the writing of all, which takes minutes. Here that is done once, whatever changes elsewhere.

pub mod seal;

use fhir_sdk::r4b::resources::Resource;

/// A resource as FHIR JSON. The error is a value that has no place in JSON: a time beyond the year 9999.
pub fn to_bytes(resource: impl Into<Resource>) -> Result<Vec<u8>, serde_json::Error> {
    written(&resource.into())
}

/// Not generic: compiled here, and not with each caller.
#[inline(never)]
fn written(resource: &Resource) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(resource)
}
