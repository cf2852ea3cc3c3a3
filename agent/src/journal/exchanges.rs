//! journal: exchanges on their way. One that is repeated undoes itself, so whether it was carried out must not be guessed:
//! from before it is sent until it is booked, nothing that is known of either name counts. One whose end was never heard
//! of leaves its names in doubt for as long as the journal is open, which costs readings and nothing else.

use std::collections::HashSet;
use std::sync::PoisonError;

use driftless_proto::model::path::RelPath;

use super::{Journal, Note};

/// Names in doubt at once, about; beyond it contents are sent instead.
const DOUBTS_MAX: usize = 1024;

/// Names that are in doubt, with everything beneath them.
#[derive(Debug, Default)]
pub(super) struct Doubts(HashSet<RelPath>);

impl Doubts {
    pub(super) fn follow(&mut self, note: &Note) {
        if let Note::Exchanged(one, other) = note {
            self.0.remove(one);
            self.0.remove(other);
        }
    }
}

impl Journal {
    /// Whether these two may be exchanged: neither, nor a name above or beneath it, is in doubt.
    #[must_use]
    pub fn may_exchange(&self, one: &RelPath, other: &RelPath) -> bool {
        let doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        let near = |path: &RelPath| doubts.0.iter().any(|name| name.is_within(path) || path.is_within(name));
        doubts.0.len() < DOUBTS_MAX && !near(one) && !near(other)
    }

    /// An exchange of these two is about to be sent: both are in doubt until it is noted.
    pub fn begin_exchange(&self, one: &RelPath, other: &RelPath) {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.0.extend([one.clone(), other.clone()]);
    }

    /// Whether what is known of a path does not count.
    #[must_use]
    pub fn is_in_doubt(&self, path: &RelPath) -> bool {
        let doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.0.iter().any(|name| path.is_within(name))
    }
}
