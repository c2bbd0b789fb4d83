//! What an adapter owes, and the words that the two sides of a translation share.
//!
//! An [`Adapter`] turns one legacy dialect into FHIR R4 and an outcome back into the sender's own words. It is pure:
//! bytes and [`Settings`] in, [`Translation`] out; no clock, no I/O, no randomness, no global state. It does not know
//! that a store exists: it says what a message *says*, as [`Contribution`]s of ranked [`Statement`]s, and the gateway
//! joins them. What every adapter must keep is on one page, [`compliance`], and checked by it.

mod adapter;
pub mod compliance;
mod frame;
mod issue;
mod json;
mod key;
mod national;
mod settings;
mod translation;

pub use adapter::{Adapter, Dialect, Envelope, Explanation, Party, Processing, Trace, TypeCode};
pub use frame::{Digest, Frame};
pub use issue::{Issue, IssueCode, Outcome, OutcomeKind, Rejection, Severity};
pub use json::{Json, JsonError};
pub use key::{DEMONSTRATION_KEY, IdKey, Key};
pub use national::nhs_number;
pub use settings::{Sequence, Settings};
pub use translation::{Authority, Class, Contribution, Membership, Name, Rank, Slot, Statement, Translation, merge};
