//! Landbridge: an interoperability gateway for isolated legacy patient data.
//!
//! Two corridors, which meet only in [`store`] and [`audit`]:
//! legacy sender -> [`listen`] -> [`intake`] -> `store.commit`, and clinical app -> [`listen`] -> [`api`] (with
//! [`access`]) -> `store.read`. [`state`] is the pure part between them: join and render.

pub mod access;
pub mod adapters;
pub mod api;
pub mod audit;
pub mod bodies;
pub mod client;
pub mod clock;
pub mod commands;
pub mod compare;
pub mod config;
pub mod connection;
pub mod development;
pub mod edge;
pub mod findings;
pub mod intake;
pub mod listen;
pub mod mllp;
pub mod observe;
pub mod ops;
pub mod os;
pub mod refusals;
pub mod relay;
pub mod search;
pub mod serve;
pub mod signals;
pub mod state;
pub mod store;
