//! Disk and process broken on purpose: given to an engine when it is opened, so that tests can fail a commit, or end a
//! writer as if the process had died, at a chosen point.

/// Decides what breaks. Asked once per point of each batch.
pub trait Faults: Send + Sync + 'static {
    fn at(&self, file: File, point: Point) -> Option<Failure>;
}

/// Which writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// Journal, state and intake audit.
    Landbridge,
    /// Access audit.
    Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// All of a batch is written and none of it is durable.
    BeforeCommit,
    /// All of it is durable, and nobody knows yet.
    AfterCommit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Who waits is told that the store is not available.
    Fail,
    /// The writer ends, as if the process had died: who waits learns no more than that.
    Die,
}

/// Nothing breaks.
pub struct NoFaults;

impl Faults for NoFaults {
    fn at(&self, _: File, _: Point) -> Option<Failure> {
        None
    }
}
