//! Flows through the running gateway.

mod bad_input;
mod clients;
mod compare;
mod configuration;
mod crossing;
mod edge;
mod fhir_in;
mod findings;
mod following;
mod kill;
mod learn;
mod mending;
mod messages;
mod ops;
mod relay;
mod reload;
mod send;
