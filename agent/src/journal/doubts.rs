//! journal: names of which nobody knows what the server has. An exchange that is repeated undoes itself, so whether it was
//! carried out must not be guessed: from before it is sent until it is booked, nothing that is known of either name counts.
//! The same holds for a content whose end was never heard of because the stream ended. What is in doubt is proved by its
//! digest, which costs a reading and nothing else.

use std::collections::HashSet;
use std::sync::PoisonError;

use driftless_proto::model::path::RelPath;

use super::{Journal, JournalError, Note};

/// Names in doubt at once, about. Beyond it there are no exchanges, and rows are forgotten instead.
const DOUBTS_MAX: usize = 10_000;

/// Names that are in doubt, with everything beneath them.
#[derive(Debug, Default)]
pub(super) struct Doubts(HashSet<RelPath>);

impl Doubts {
    pub(super) fn follow(&mut self, note: &Note) {
        if self.0.is_empty() {
            return;
        }
        match note {
            Note::Exchanged(one, other) => {
                self.0.remove(one);
                self.0.remove(other);
            }
            Note::Recorded(path, _) => drop(self.0.remove(path)),
            // The old names stay in doubt: what else is on its way to them is not known here.
            Note::Renamed(from, to) => {
                let along = self.0.iter().filter_map(|name| to.join(&name.below(from)?).ok());
                let along: Vec<RelPath> = along.collect();
                self.0.extend(along);
            }
            Note::Seen(..) | Note::Removed(_) => {}
        }
    }

    fn covers(&self, path: &RelPath) -> bool {
        let mut at = (!self.0.is_empty()).then(|| path.clone());
        while let Some(name) = at {
            if self.0.contains(&name) {
                return true;
            }
            at = name.parent();
        }
        false
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

    /// The stream ended with these on their way: of those that are files, what the server has is in doubt until it is
    /// recorded anew.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn lost_on_the_way(&self, paths: Vec<RelPath>) -> Result<(), JournalError> {
        for path in paths {
            if self.glance(&path)?.is_none() {
                continue;
            }
            let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
            if doubts.0.len() < DOUBTS_MAX {
                doubts.0.insert(path);
            } else {
                drop(doubts);
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    /// Whether what is known of a path does not count.
    #[must_use]
    pub fn is_in_doubt(&self, path: &RelPath) -> bool {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).covers(path)
    }
}
