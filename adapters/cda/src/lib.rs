//! CDA: the header as FHIR resources, the document itself as DocumentReference and Binary.

pub mod envelope;
pub mod node;
pub mod stamp;
pub mod xml;
