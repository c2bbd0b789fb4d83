//! HL7 v2: ER7 in, acknowledgements out.

pub mod batch;
pub mod charset;
pub mod envelope;
pub mod er7;
pub mod escape;
pub mod node;
pub mod reply;
pub mod structure;
