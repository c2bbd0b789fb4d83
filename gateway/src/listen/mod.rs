//! The doors: sockets, TLS, frames and limits. What comes in goes to [`crate::intake`] or [`crate::api`].

pub mod door;
pub mod frames;
pub mod https;
pub mod mllp;
pub mod tls;

pub use door::{Door, Limits};
