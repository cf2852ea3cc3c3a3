//! Errors and `tonic::Status`: the only file that knows both.
//!
//! Refusals travel in band (`Refused`), since an early status can surface at the peer as a broken pipe. A status
//! ends a stream whose peer broke the protocol, or that cannot go on.

use tonic::{Code, Status};

use crate::model::problem::Misbehaved;

/// The peer broke its promise: it hears which one.
#[must_use]
pub fn misbehaved(what: &Misbehaved) -> Status {
    Status::new(Code::InvalidArgument, what.to_string())
}

/// We, or our disk, failed. The peer hears that, and no detail of this host.
#[must_use]
pub fn fault() -> Status {
    Status::new(Code::Internal, "the peer cannot go on; its log says why")
}

/// We have too many peers that have not authenticated yet.
#[must_use]
pub fn crowded() -> Status {
    Status::new(Code::ResourceExhausted, "too many connections")
}

/// We are stopping.
#[must_use]
pub fn stopping() -> Status {
    Status::new(Code::Unavailable, "the server is stopping")
}

/// What a status means to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The wire broke or the server stopped: later it may work.
    Broken,
    /// Not a Driftless server, or one that calls us misbehaved: trying again will not help.
    Protocol,
}

/// Sorts a status by what it means to an agent.
#[must_use]
pub fn meaning(status: &Status) -> Meaning {
    match status.code() {
        Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange | Code::FailedPrecondition => {
            Meaning::Protocol
        }
        _ => Meaning::Broken,
    }
}
