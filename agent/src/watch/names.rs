//! Names: the other names of files that have several. What is written through one name changes what stands at the others,
//! and no event tells of those. The scan brings them across at once, as far as the inventory knows them and they are where
//! it says. The rest is found here: as long as there are changes, all such names are looked at in turn, at the cost of a
//! small share of the time, and once more for whoever waits.

use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;

use super::session::Trunk;
use super::waits::Waits;
use crate::pending::Dirty;
use crate::watcher::BarrierId;

/// Names that are looked at before anything else gets its turn.
const SLICE: usize = 256;

/// From the end of one round to the next, at least.
const EVERY: Duration = Duration::from_secs(2);

/// Looking is followed by a rest of so many times as long.
const REST: u32 = 19;

/// How often it is looked who waits: that looks at every mark.
const ASK: Duration = Duration::from_millis(20);

/// How far it has come.
pub(super) struct Round {
    /// What is still to be looked at; `None` between rounds.
    left: Option<std::vec::IntoIter<RelPath>>,
    /// Who waits for this round.
    waiting: Vec<BarrierId>,
    /// What it finds counts as this old.
    since: Instant,
    /// Something has changed since the round began.
    again: bool,
    due: Instant,
    asked: Instant,
}

impl Round {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: None, waiting: Vec::new(), since: now, again: true, due: now + EVERY, asked: now }
    }

    /// Something changes.
    pub(super) fn stir(&mut self) {
        self.again = true;
    }

    /// When there is something to look at, if there is.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.left.is_some() || self.again || !self.waiting.is_empty()).then_some(self.due)
    }

    /// When it is to be looked who waits.
    pub(super) fn asks(&self) -> Instant {
        self.asked + ASK
    }

    /// These wait for a round that begins now, unless it is theirs already: what it finds makes them wait for more, but
    /// one round is enough, or they would wait for as long as anybody writes.
    pub(super) fn hurry(&mut self, waiting: Vec<BarrierId>, now: Instant) {
        self.asked = now;
        let new: Vec<BarrierId> = waiting.into_iter().filter(|id| !self.waiting.contains(id)).collect();
        if !new.is_empty() {
            self.waiting.extend(new);
            (self.left, self.due) = (None, now);
        }
    }
}

impl Trunk<'_, '_> {
    /// Looks at some names.
    pub(super) fn look_at_names(&mut self) {
        let begun = Instant::now();
        if self.round.left.is_none() {
            self.round.again = false;
            // What has been acknowledged is known before it is looked for.
            self.recorder.settle();
            let state = self.watch.desk.lock();
            self.round.since = state.waits.oldest(&self.round.waiting).unwrap_or(begun);
            drop(state);
            match self.journal.every_linked() {
                Ok(names) => self.round.left = Some(names.into_iter()),
                Err(error) => self.watch.status.problem(&error.to_string()),
            }
        }
        let mut left = self.round.left.take().unwrap_or_default();
        let changed: Vec<RelPath> = left.by_ref().take(SLICE).filter(|path| self.has_changed(path)).collect();
        let ended = left.len() == 0;
        let urgent = !self.round.waiting.is_empty();
        if !changed.is_empty() || ended && urgent {
            let (since, waiting) = (self.round.since, &self.round.waiting);
            self.watch.desk.leave(|state| {
                for path in changed {
                    if state.failures.get(&path).is_none() {
                        state.look_again(Dirty { path, subtree: false }, since, Duration::ZERO);
                    }
                }
                if ended {
                    state.waits.names_are_seen(waiting);
                }
            });
        }
        let now = Instant::now();
        let rest = if urgent && !ended { Duration::ZERO } else { begun.elapsed() * REST };
        self.round.due = now + if ended { rest.max(EVERY) } else { rest };
        if ended {
            self.round.waiting.clear();
        } else {
            self.round.left = Some(left);
        }
    }

    /// Whether the file at a name is another than the copy holds. One that is not there has events of its own, and so has
    /// another file that has come to its name.
    fn has_changed(&self, path: &RelPath) -> bool {
        let Ok(found) = self.root.found(path) else { return false };
        let apart = self.known.standing.apart(path).is_some();
        if !found.entry.is_file() || apart || self.watch.invocation.rules.hides(path, false) {
            return false;
        }
        let stat = &found.stat;
        let changed = match (self.journal.glance(path).ok().flatten(), self.journal.item(path).ok().flatten())
        {
            // A rejected plan keeps what the copy has.
            (_, Some(item)) if item.kept => false,
            (Some(row), _) => {
                (row.stamp.ino, row.stamp.dev) == (stat.ino, stat.dev) && row.entry != found.entry
            }
            (None, Some(item)) => {
                let other = (item.size, item.mtime) != (found.entry.size(), found.entry.mtime);
                item.ino == stat.ino && (other || item.hides_a_change(&found))
            }
            (None, None) => false,
        };
        if !changed && stat.nlink == 1 {
            self.journal.stands_alone(path);
        }
        changed
    }
}

impl Waits {
    /// Since when the first of these waits.
    fn oldest(&self, waiting: &[BarrierId]) -> Option<Instant> {
        waiting.iter().filter_map(|id| self.passed(*id)).min()
    }
}
