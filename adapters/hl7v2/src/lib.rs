//! HL7 v2: ER7 in, acknowledgements out. The tables of `schemas/hl7v2` say what a message becomes; what is a rule is here
//! (`rules`, `keys`).

pub mod batch;
pub mod charset;
mod dialect;
pub mod envelope;
pub mod er7;
pub mod escape;
mod identifier;
mod keys;
pub mod node;
pub mod reply;
mod rules;
pub mod structure;
mod syntax;

pub use dialect::Hl7v2;
