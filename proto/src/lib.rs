//! The contract between the agent and the server: everything that both ends must agree on.
//!
//! Imports run one way: [`limits`] <- [`model`] <- { [`wire`], [`disk`] } <- [`transfer`].
//! `wire` and `disk` do not know each other.
//!
//! * [`limits`]: every bound both ends keep, each with its reason.
//! * [`model`]: what is talked about (paths, entries, rules, digests, deltas). No I/O.
//! * [`wire`]: how it is said: versions, messages, and the one place that parses a peer.
//! * [`disk`]: the only code that touches files.
//! * [`transfer`]: the two roles, sender and receiver, each written once.

pub mod disk;
pub mod limits;
pub mod model;
pub mod transfer;
pub mod wire;
