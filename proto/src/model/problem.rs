//! Errors sorted by who must act: one path failed and the rest goes on ([`Problem`]), we said no ([`Refusal`]),
//! the peer broke its promise ([`Misbehaved`]). The fourth sort, a fault of our own disk or wire, belongs to
//! whoever met it (`std::io::Error` with its path).

use std::fmt;

use super::path::{PathError, RelPath};

/// One path failed; the rest goes on. Ends a run with exit code 23, or 24 when everything that failed had vanished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub path: RelPath,
    /// What failed, as one clause without the path: `open: Permission denied`.
    pub text: String,
    /// What it means for the run.
    pub class: ProblemClass,
}

/// What a [`Problem`] means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemClass {
    /// The receiver's disk is full or over quota. Exit code 11; a watch tries again.
    DiskFull,
    /// This path only.
    Path,
    /// It changed under the reading. Never crosses the wire: the sender looks at it again.
    Unstable,
    /// The source was gone when it was to be read. Exit code 24 when nothing worse happened.
    Vanished,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// We said no. The text is all the peer learns; the true reason stays in our log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// In rsync's words where rsync has words for it.
    pub text: String,
    /// Which exit code it gives the agent.
    pub reason: RefusalReason,
}

impl Refusal {
    /// A refusal with this text.
    pub fn new(reason: RefusalReason, text: impl Into<String>) -> Self {
        Self { text: text.into(), reason }
    }
}

/// Why we said no: decides the agent's exit code and whether a watch tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Unknown module, address not allowed, authentication failed, misconfigured module. Exit code 5.
    Access,
    /// As [`RefusalReason::Access`], and a secret might help: none was sent. Exit code 5.
    AuthenticationNeeded,
    /// Every slot is taken; later it may work. Exit code 5.
    Busy,
    /// The destination's parent directory is missing, or cannot be opened. Exit code 11.
    Destination,
    /// A newer stream of the same agent took over. Exit code 12.
    Superseded,
    /// The module is read only or write only, or the request breaks the grammar. Exit code 1.
    Rights,
    /// A source path cannot be opened, has a symlink in it, or does not exist. Exit code 23.
    Source,
    /// Several sources onto one file. Exit code 3.
    Selection,
    /// A version, option or rule we do not support. Exit code 4.
    Unsupported,
}

/// The peer broke its promise. The stream is closed; nothing of what it broke is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaved {
    /// An ack or answer names something we never sent.
    #[error("answer to unknown number {0}")]
    AnswerToUnknown(u64),
    /// A field is absent that may not be.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has a value outside its range.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    /// A path that is not one.
    #[error("bad path: {0}")]
    Path(#[from] PathError),
    /// A name that is reserved for our own temporary files.
    #[error("reserved name: {0}")]
    ReservedName(RelPath),
    /// More requests at once than the protocol allows.
    #[error("too many requests in flight")]
    TooManyRequests,
    /// A message that does not fit the state of the stream.
    #[error("unexpected message: {0}")]
    Unexpected(&'static str),
    /// A compressed frame that does not decompress, or to too much.
    #[error("bad compressed frame")]
    Compression,
}
