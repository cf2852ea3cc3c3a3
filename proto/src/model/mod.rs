//! What is talked about: paths, entries, rules, digests, deltas. Nothing here does I/O.

pub mod change;
pub mod counter;
pub mod delta;
pub mod digest;
pub mod entry;
pub mod filter;
pub mod options;
pub mod path;
pub mod problem;
mod rolling;
pub mod tree;
