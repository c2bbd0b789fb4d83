//! FHIR R4 from systems that already speak it: resources and Bundles, through the same Warrant, journal and state as any
//! other dialect. Nothing is translated; what is done is identity: whose a resource is, what its references point at, and
//! which Patient the feed and others mean alike.

mod dialect;
mod identity;
mod message;
mod narrative;
mod reply;
mod say;

pub use dialect::FhirDialect;
