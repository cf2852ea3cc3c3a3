//! Marks: what is known of one dirty path, and of one that failed.

use std::time::{Duration, Instant};

use super::STALE_MAX;

/// One path's mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// When the oldest change that it stands for was first heard of, through every failure and rename.
    pub(super) since: Instant,
    /// When it was marked: how long it may rest is counted from here.
    pub(super) first: Instant,
    /// When it may be looked at.
    pub(super) due: Instant,
    /// Its first signal was a creation, so the server is not known to have it.
    pub(super) fresh: bool,
    /// Everything beneath it is meant as well.
    pub(super) subtree: bool,
}

impl Mark {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, first: now, due: now, fresh: false, subtree: false }
    }

    pub(super) fn rest(&mut self, now: Instant, rest: Duration) {
        self.due = (now + rest).min(self.first + STALE_MAX);
    }
}

/// A path that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Later {
    pub(super) since: Instant,
    pub(super) due: Instant,
    pub(super) subtree: bool,
}
