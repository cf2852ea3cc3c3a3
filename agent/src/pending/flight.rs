//! Flight: the batches that were taken and are neither done nor failed, and where their paths are by now.

use std::collections::BTreeSet;
use std::time::Instant;

use driftless_proto::model::path::RelPath;

use super::Pending;

/// A batch that was taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// When the oldest change in it was first heard of.
    pub since: Instant,
    /// Its renames and paths.
    pub count: usize,
}

impl Pending {
    /// The batch is acked or needs no more work.
    pub fn done(&mut self, batch: u64) {
        self.taken.remove(&batch);
        self.held.batch_done(batch);
    }

    /// The batches that are neither done nor failed, by their numbers.
    pub fn taken(&self) -> impl Iterator<Item = (&u64, &Taken)> {
        self.taken.iter()
    }

    /// Where a path of a batch is by now, after the renames since it was taken. Where nobody can tell it is the Root, which
    /// covers it.
    #[must_use]
    pub fn now_at(&self, batch: u64, path: &RelPath) -> RelPath {
        self.held.follow(batch, path).unwrap_or_else(RelPath::root)
    }

    /// Where what stood at a path may be by now: a batch on its way has met it there, nobody can tell which. The path itself
    /// is among them.
    #[must_use]
    pub fn names_now(&self, path: &RelPath) -> BTreeSet<RelPath> {
        let along = self.held.taken_along(path).into_iter().map(|place| place.unwrap_or_else(RelPath::root));
        along.chain([path.clone()]).collect()
    }

    /// What is on its way without having been taken from here counts as a batch: its paths are followed through renames
    /// until it is done or failed.
    pub fn began(&mut self, batch: u64, now: Instant) {
        self.held.batch_taken(batch);
        self.taken.insert(batch, Taken { since: now, count: 0 });
    }
}
