//! The doors: sockets, TLS, frames and limits. What comes in goes to [`crate::intake`] or [`crate::api`].

mod entrance;
pub(crate) mod frames;
mod handshake;
mod http2;
pub mod https;
pub mod mllp;
mod proxied;
mod stay;
pub mod tls;

pub use entrance::{Admitted, Entrance, Guest, Limits};
pub use proxied::Proxies;
