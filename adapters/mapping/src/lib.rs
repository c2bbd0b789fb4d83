//! One engine for all dialects: tables of rows, read and checked once, compiled into a plan, and evaluated over a
//! message's tree. What is selection, renaming, typing or code look-up is a row (`schemas/README.md`); what is a rule is
//! a function that the dialect's [`Syntax`] names.
//!
//! In reading order: [`Syntax`] and [`Node`] are what a dialect gives; [`Engine`] is what it gets; [`Call`] is what a
//! rule sees. [`Shape`] holds R4's own definitions and keeps what is emitted within them.

mod call;
mod coded;
mod compile;
mod condition;
mod engine;
mod evaluate;
mod explain;
mod finish;
mod node;
mod plan;
mod put;
mod resources;
mod scalar;
mod shape;
mod stamp;
mod table;
mod target;

/// How keys are made of what a message says: part of every recipe. A change to that, here or in the rules of an adapter, is
/// another number, for resources would get other ids.
pub const KEYS_VERSION: u32 = 2;

pub use call::{Action, Call};
pub use engine::{Engine, Message};
pub use node::{KeyPart, KeyRule, Node, Rule, Syntax, Weight};
pub use scalar::Primitive;
pub use shape::{Absence, Element, Fault, Kind, Shape, TypeId};
pub use stamp::Stamp;
pub use table::{TableError, TableErrors};

#[cfg(test)]
mod tests;
