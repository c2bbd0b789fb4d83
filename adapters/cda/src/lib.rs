//! CDA.

pub mod xml;
