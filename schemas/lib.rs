//! The tables that Landbridge is built with, embedded in the binary.
