//! Flows through the running gateway.

mod bad_input;
mod clients;
mod crossing;
mod kill;
mod messages;
mod reload;
mod send;
