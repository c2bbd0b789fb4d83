//! HL7 v2: ER7 in, FHIR out, acknowledgements back.
//!
//! To read a message's way: `batch` cuts files, [`er7`] reads one message with `charset` and `escape`, `structure`
//! arranges its segments in groups, `node` finds what the tables name, `syntax` and `rules` say what tables cannot,
//! `reply` answers.

pub mod batch;
pub mod charset;
mod dialect;
pub mod envelope;
pub mod er7;
pub mod escape;
mod event;
mod identity;
pub mod node;
pub mod reply;
mod rules;
pub mod structure;
mod syntax;

pub use dialect::Hl7v2;
