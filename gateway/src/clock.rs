//! Time comes in as an argument, so that tests can hold it.

use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// What time it is. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's.
    System,
    /// A test's: UTC microseconds, moved by hand.
    Held(Arc<AtomicI64>),
}

impl Clock {
    pub fn held(at: Timestamp) -> Self {
        Clock::Held(Arc::new(AtomicI64::new(at.as_microsecond())))
    }

    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => Timestamp::now(),
            Clock::Held(at) => Timestamp::from_microsecond(at.load(Ordering::SeqCst)).expect("set from a timestamp"),
        }
    }

    /// Moves a held clock; the system's stays.
    pub fn advance(&self, by: std::time::Duration) {
        if let Clock::Held(at) = self {
            at.fetch_add(i64::try_from(by.as_micros()).expect("a step that fits"), Ordering::SeqCst);
        }
    }
}
