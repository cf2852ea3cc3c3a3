//! watcher: what it says.

use driftless_proto::model::path::RelPath;

use super::BarrierId;

/// What happened at a name. It decides how long the name rests before it is looked at, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It was closed by a writer, or came from outside.
    Closed,
    /// Something new stands there, perhaps still being written.
    Created,
    /// Its metadata changed.
    Described,
    /// It was removed, or went outside.
    Gone,
    /// Content changed; a writer probably still has it open.
    Touched,
}

/// What the watcher says. Every variant is a hint to look, never a proof of what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Everything that happened before this was asked for has been said.
    Barrier(BarrierId),
    /// Look at one name.
    Dirty {
        /// Where; the Root itself when its own metadata changed.
        path: RelPath,
        /// What happened.
        why: Why,
        /// Whether it is, or was, a directory.
        dir: bool,
    },
    /// Events were lost: everything below the Root may differ from what is known. Every directory has been watched
    /// anew before this is said.
    Lost,
    /// A name became another. If `dir`, everything beneath went along.
    Renamed {
        /// The old name.
        from: RelPath,
        /// The new name.
        to: RelPath,
        /// Whether it is a directory.
        dir: bool,
    },
    /// Compare this directory with everything beneath it: it came from outside, or was out of sight for a moment.
    /// All of it is watched by now.
    Rescan(RelPath),
    /// The Root is no longer what it was, for this reason. Nothing more will be said; nothing may be deleted.
    RootGone(String),
    /// This directory cannot be watched, for this reason, and is polled instead, or cannot be looked into at all. Names
    /// the cure where there is one.
    Unwatched {
        /// Where.
        path: RelPath,
        /// Why, as one sentence for the operator.
        reason: String,
    },
    /// What was told as [`Signal::Unwatched`] no longer is.
    Watched(RelPath),
}
