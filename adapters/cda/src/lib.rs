//! CDA R2, wrapped (SOAP, NHS ITK) or not: the header as FHIR resources, the document itself as DocumentReference and
//! Binary. The body's narrative is carried in the Binary; its structured entries are not translated, and an issue a
//! section says so.

mod dialect;
mod envelope;
mod identifier;
mod node;
mod rules;
mod stamp;
mod syntax;
mod xml;

pub use dialect::CdaDialect;
