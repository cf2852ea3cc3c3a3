//! pending: the paths that may differ from the journal, and how long each rests before it is looked at.
//!
//! Level-triggered: a mark only says "look here". What stands there is found out when the batch is worked on, so
//! duplicates, reordering and invented signals cost a look and nothing else. A rename is a hint that saves
//! sending content again; both of its names are marked as well, so a hint that fails loses nothing.
//!
//! Pure: the time is passed in. Touches: nothing. Never: disk, network, clocks, locks.

mod flight;
mod mark;
mod missed;
mod pace;
mod renames;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;

use crate::watcher::{Signal, Why};
pub use pace::{PAUSE_FIRST, PAUSE_MAX, SHARE};

pub use flight::Taken;
use mark::{Later, Mark};
use missed::Missed;
use pace::{Pace, Wait};
use renames::Held;
pub use scope::Scope;

/// A name that is new waits this long after its close for a rename, so that a program that writes a temporary
/// file and renames it leaves no temporary file on the server. A rename waits as long for its old name to come back.
pub const NEW_NAME: Duration = Duration::from_millis(5);

/// A new name that nobody closes is looked at after this long: links, fifos and sockets are made in one step.
pub const CREATED: Duration = Duration::from_millis(20);

/// A file that is written and not closed is looked at once nothing has happened to it for this long. Most writers close
/// before; what is read from under one that does not is half of what it means to write.
pub const QUIET: Duration = Duration::from_millis(200);

/// A name that went away waits this long: an editor that removes and writes anew, or keeps a backup for the time
/// of a save, then ends as one change.
pub const GONE: Duration = Duration::from_millis(50);

/// No mark waits longer than this in all, however busy its file is: bounded staleness. A file that costs much to send
/// pauses beyond it, see [`SHARE`].
pub const STALE_MAX: Duration = Duration::from_secs(1);

/// Marks held at once, of what waits and of what failed: a path costs about 150 bytes here, and a host may be without its
/// server for days. With more, each directory that is a crowd of them becomes one mark, "everything beneath"; if that does
/// not halve them, the root does: comparing trees by digest then costs less than looking at each path.
pub const MARKS_MAX: usize = 200_000;

/// Marks in one directory that are a crowd.
pub const CROWD: usize = 1000;

/// Renames held at once, and remembered for the batches in flight. So many only gather while nothing is taken; the
/// trees are then compared as a whole, since each rename is at best a saving.
pub const RENAMES_MAX: usize = 10_000;

/// A path to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// Where.
    pub path: RelPath,
    /// Whether everything beneath it is to be compared too; otherwise only the entry itself.
    pub subtree: bool,
}

/// A rename that the server may repeat instead of being sent content. A hint: it is to be left undone where something
/// else than a file stands at the new name, or nothing of that kind at the old one; see [`Batch::instead_of`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The old name.
    pub from: RelPath,
    /// The new name.
    pub to: RelPath,
    /// Whether it is a directory.
    pub dir: bool,
}

/// What has settled. Work through the renames first, in their order, then through the paths.
#[derive(Clone, Debug)]
pub struct Batch {
    /// To be handed back to [`Pending::done`] or [`Pending::fail_back`], once.
    pub id: u64,
    /// Renames in the order in which they happened.
    pub renames: Vec<Rename>,
    /// Paths in canonical order, none beneath another one's subtree.
    pub dirty: Vec<Dirty>,
    /// When the oldest of these changes was first heard of: the lag is counted from here.
    pub since: Instant,
}

impl Batch {
    /// What to compare when the rename with this index was left undone: both its names, or what later renames of
    /// this batch have made of them. To be done after all of those.
    #[must_use]
    pub fn instead_of(&self, index: usize) -> Vec<Dirty> {
        let Some(rename) = self.renames.get(index) else { return Vec::new() };
        let ends = [&rename.from, &rename.to].map(|end| {
            let later = self.renames[index + 1..].iter().map(|rename| (&rename.from, &rename.to));
            let path = renames::follow(end, later);
            Dirty { subtree: rename.dir || path.is_none(), path: path.unwrap_or_else(RelPath::root) }
        });
        ends.into()
    }

    /// Every path of this batch: what to fail back when the batch was lost as a whole.
    #[must_use]
    pub fn paths(&self) -> Vec<Dirty> {
        let ends = (0..self.renames.len()).flat_map(|index| self.instead_of(index));
        ends.chain(self.dirty.iter().cloned()).collect()
    }
}

/// The dirty set.
///
/// Invariant: no mark lies strictly beneath one that has `subtree`; `subtrees` counts those; `wake` is no later
/// than the earliest time at which anything can be taken.
#[derive(Debug, Default)]
pub struct Pending {
    marks: BTreeMap<RelPath, Mark>,
    subtrees: usize,
    /// What failed, and when it is to be looked at again.
    later: BTreeMap<RelPath, Later>,
    held: Held,
    missed: Missed,
    pace: Pace,
    wake: Option<Instant>,
    next_id: u64,
    /// The batches that are neither done nor failed.
    taken: BTreeMap<u64, Taken>,
}

impl Pending {
    /// Nothing pending.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks and renames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.marks.len() + self.held.len() + self.later.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the oldest of what waits was first heard of. Looks at every mark.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        let marks = self.marks.values().map(|mark| mark.since);
        marks.chain(self.later.values().map(|later| later.since)).chain(self.held.oldest()).min()
    }

    /// The earliest time at which [`Pending::take`] may have something. It may turn out to have nothing yet, when
    /// a mark has been put off meanwhile; then this gives a later time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// Takes one signal in. `Barrier`, `RootGone`, `Unwatched` and `Watched` say nothing about a path's content and
    /// mark nothing: the caller acts on them.
    pub fn note(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::Dirty { path, why, dir } => self.dirty(path, why, dir, now),
            Signal::Rescan(path) => self.cover(path, Mark::new(now)),
            Signal::Renamed { from, to, dir } => self.renamed(from, to, dir, now),
            Signal::Lost => self.lost(now),
            Signal::Barrier(_) | Signal::RootGone(_) | Signal::Unwatched { .. } | Signal::Watched(_) => {}
        }
        self.bound(now);
    }

    /// Keeps to [`MARKS_MAX`] and [`RENAMES_MAX`].
    fn bound(&mut self, now: Instant) {
        if self.held.len() > RENAMES_MAX {
            return self.lost(now);
        }
        if self.marks.len() > MARKS_MAX {
            let mut crowds: HashMap<RelPath, usize> = HashMap::new();
            for dir in self.marks.keys().filter_map(RelPath::parent) {
                *crowds.entry(dir).or_default() += 1;
            }
            for (dir, marks) in crowds {
                if marks >= CROWD && !dir.is_root() {
                    self.cover(dir, Mark::new(now));
                }
            }
            if self.marks.len() > MARKS_MAX / 2 {
                self.lost(now);
            }
        }
        if self.later.len() > MARKS_MAX {
            // Never at once: what failed would fail again, and again.
            let due = self.later.values().map(|later| later.due).max().unwrap_or(now);
            let since = self.later.values().map(|later| later.since).min().unwrap_or(now);
            self.later.clear();
            self.later.insert(RelPath::root(), Later { since, due, subtree: true });
        }
    }

    /// What has settled by now; `None` when nothing has.
    pub fn take(&mut self, now: Instant) -> Option<Batch> {
        if self.wake.is_none_or(|wake| now < wake) {
            return None;
        }
        self.promote(now);
        let pace = &self.pace;
        let wait = |path: &RelPath, mark: &Mark| {
            let wait = if mark.subtree { None } else { pace.wait(path, now) };
            wait.filter(|_| mark.due <= now)
        };
        let overdue = self.marks.iter().any(|(path, mark)| {
            mark.due <= now && mark.first + STALE_MAX <= now && wait(path, mark).is_none()
        });
        let (renames, since_renames) = self.held.release(now, overdue);
        let blocked = self.held.names();
        let mut dirty = Vec::new();
        let mut since = since_renames.unwrap_or(now);
        let mut wake = self.held.due().into_iter().chain(self.later.values().map(|later| later.due)).min();
        let mut subtrees = 0;
        self.marks.retain(|path, mark| {
            let paced = wait(path, mark);
            let waits = mark.due > now || paced.is_some() || renames::concern(&blocked, path, mark.subtree);
            if waits {
                // A mark that is due but blocked is looked at again when the rename is released, or the ack comes.
                let due = match paced {
                    Some(Wait::Until(until)) => Some(until),
                    _ => (mark.due > now).then_some(mark.due),
                };
                wake = wake.into_iter().chain(due).min();
                subtrees += usize::from(mark.subtree);
            } else {
                since = since.min(mark.since);
                dirty.push(Dirty { path: path.clone(), subtree: mark.subtree });
            }
            waits
        });
        self.wake = wake;
        self.subtrees = subtrees;
        if renames.is_empty() && dirty.is_empty() {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.held.batch_taken(id);
        self.taken.insert(id, Taken { since, count: renames.len() + dirty.len() });
        Some(Batch { id, renames, dirty, since })
    }

    /// The content of a file is on its way: it is not taken again before [`Pending::arrived`].
    pub fn sent(&mut self, path: RelPath, now: Instant) {
        self.pace.sent(path, now);
    }

    /// What was told to [`Pending::sent`] has come to its end, `well` or not. A file that is written without end pauses.
    pub fn arrived(&mut self, path: &RelPath, well: bool, now: Instant) {
        if let Some(again) = self.pace.ended(path, well, now)
            && let Some(mark) = self.marks.get(path)
        {
            let due = mark.due.max(again);
            self.wake_at(due);
        }
    }

    /// Nothing is on its way any more: the stream is gone.
    pub fn abandon(&mut self) {
        self.pace.abandon();
        // Whatever waited for an ack.
        if let Some(due) = self.marks.values().map(|mark| mark.due).min() {
            self.wake_at(due);
        }
    }

    /// These paths of a batch failed: they are marked again, due after `delay` or when something new happens to
    /// them. Where they, or a directory above, were renamed since the batch was taken, the new name is marked. They
    /// are as old as the batch.
    pub fn fail_back(&mut self, batch: u64, paths: Vec<Dirty>, delay: Duration, now: Instant) {
        let since = self.taken.get(&batch).map_or(now, |taken| taken.since);
        for Dirty { path, subtree } in paths {
            // Where nobody can tell where it is by now, the Root covers it.
            let now_at = self.held.follow(batch, &path);
            let subtree = subtree || now_at.is_none();
            self.look_again(Dirty { path: now_at.unwrap_or_else(RelPath::root), subtree }, since, delay, now);
        }
        self.bound(now);
        self.done(batch);
    }

    /// Marks a path that belongs to no batch, once `delay` has passed. Until then nothing is marked, so that what
    /// happens there meanwhile is looked at in its own time. `since` is how old what is to be found there is.
    pub fn look_again(&mut self, dirty: Dirty, since: Instant, delay: Duration, now: Instant) {
        let Dirty { path, subtree } = dirty;
        if delay.is_zero() {
            return self.mark(path, subtree, since, now);
        }
        let due = now + delay;
        let later = self.later.entry(path).or_insert(Later { since, due, subtree });
        later.since = later.since.min(since);
        later.due = due;
        later.subtree |= subtree;
        self.wake_at(due);
        if self.later.len() > MARKS_MAX {
            self.bound(now);
        }
    }

    fn mark(&mut self, path: RelPath, subtree: bool, since: Instant, now: Instant) {
        let mark = Mark { subtree, since: since.min(now), ..Mark::new(now) };
        if subtree {
            self.cover(path, mark);
        } else {
            self.put(path, mark);
        }
    }

    /// Marks what was put off until now.
    fn promote(&mut self, now: Instant) {
        let due = self.later.iter().filter(|(_, later)| later.due <= now);
        let due: Vec<RelPath> = due.map(|(path, _)| path.clone()).collect();
        self.look_now(due, now);
    }

    /// Marks what was put off.
    fn look_now(&mut self, paths: Vec<RelPath>, now: Instant) {
        for path in paths {
            if let Some(Later { since, subtree, .. }) = self.later.remove(&path) {
                self.mark(path, subtree, since, now);
            }
        }
    }

    fn dirty(&mut self, path: RelPath, why: Why, dir: bool, now: Instant) {
        if matches!(why, Why::Created | Why::Closed) {
            self.dissolve(&path, now);
        }
        if why == Why::Gone && dir {
            let mut mark = Mark::new(now);
            mark.rest(now, GONE);
            return self.cover(path, mark);
        }
        if self.covered(&path) {
            return;
        }
        let new = !self.marks.contains_key(&path);
        let mark = self.marks.entry(path).or_insert_with(|| Mark::new(now));
        if new && why == Why::Created {
            mark.fresh = true;
        }
        let rest = match why {
            Why::Created if dir => NEW_NAME,
            Why::Created => CREATED,
            Why::Touched => QUIET,
            // What else is going on with it decides; by itself a change of metadata is complete.
            Why::Described if !new => return,
            Why::Described => Duration::ZERO,
            Why::Closed if mark.fresh => NEW_NAME,
            Why::Closed => Duration::ZERO,
            Why::Gone => GONE,
        };
        mark.rest(now, rest);
        let due = mark.due;
        self.wake_at(due);
    }

    /// Marks everything from `path` down; what was marked beneath it is absorbed.
    fn cover(&mut self, path: RelPath, mut mark: Mark) {
        if self.age_covering(&path, mark.since) {
            return;
        }
        for below in self.beneath(&path) {
            if let Some(absorbed) = self.remove(&below) {
                mark.first = mark.first.min(absorbed.first);
                mark.since = mark.since.min(absorbed.since);
            }
        }
        if let Some(old) = self.remove(&path) {
            mark.first = mark.first.min(old.first);
            mark.since = mark.since.min(old.since);
            mark.fresh = old.fresh;
        }
        mark.subtree = true;
        self.put(path, mark);
    }

    fn lost(&mut self, now: Instant) {
        let since = self.oldest().unwrap_or(now);
        self.marks.clear();
        self.later.clear();
        self.missed.clear();
        self.subtrees = 0;
        self.held.clear();
        self.put(RelPath::root(), Mark { subtree: true, since, ..Mark::new(now) });
    }

    /// Whether a mark strictly above this path covers it.
    fn covered(&self, path: &RelPath) -> bool {
        self.covering(path).is_some()
    }

    fn covering(&self, path: &RelPath) -> Option<RelPath> {
        if self.subtrees == 0 {
            return None;
        }
        let mut above = path.parent();
        while let Some(dir) = above {
            if self.marks.get(&dir).is_some_and(|mark| mark.subtree) {
                return Some(dir);
            }
            above = dir.parent();
        }
        None
    }

    /// Whether a path is covered; then the mark that does so is at least as old as this.
    fn age_covering(&mut self, path: &RelPath, since: Instant) -> bool {
        let Some(dir) = self.covering(path) else { return false };
        if let Some(mark) = self.marks.get_mut(&dir) {
            mark.since = mark.since.min(since);
        }
        true
    }

    /// The marked paths strictly beneath this one. In canonical order they come right after it.
    fn beneath(&self, dir: &RelPath) -> Vec<RelPath> {
        self.marks
            .range::<RelPath, _>((Bound::Excluded(dir), Bound::Unbounded))
            .map(|(path, _)| path)
            .take_while(|path| path.is_within(dir))
            .cloned()
            .collect()
    }

    /// Marks a path, unless it is covered. A mark it already has lends its age and its reach.
    fn put(&mut self, path: RelPath, mut mark: Mark) {
        if self.age_covering(&path, mark.since) {
            return;
        }
        if let Some(old) = self.remove(&path) {
            mark.first = mark.first.min(old.first);
            mark.since = mark.since.min(old.since);
            mark.subtree |= old.subtree;
        }
        self.wake_at(mark.due);
        self.subtrees += usize::from(mark.subtree);
        self.marks.insert(path, mark);
    }

    fn remove(&mut self, path: &RelPath) -> Option<Mark> {
        let mark = self.marks.remove(path)?;
        self.subtrees -= usize::from(mark.subtree);
        Some(mark)
    }

    fn wake_at(&mut self, due: Instant) {
        self.wake = Some(self.wake.map_or(due, |wake| wake.min(due)));
    }
}
