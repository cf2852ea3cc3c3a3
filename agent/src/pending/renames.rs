//! Renames that wait a moment, and the memory of renames that batches in flight need.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Instant;

use driftless_proto::model::path::RelPath;

use super::{GONE, Mark, NEW_NAME, Pending, RENAMES_MAX, Rename, STALE_MAX};
use crate::watcher::Why;

/// One rename that waits.
#[derive(Debug)]
struct Waiting {
    rename: Rename,
    first: Instant,
    due: Instant,
}

/// The renames that wait, in the order in which they happened, and those that happened since the oldest batch in
/// flight was taken.
///
/// Invariant: `due` never falls from one waiting rename to the next.
#[derive(Debug, Default)]
pub(super) struct Held {
    waiting: VecDeque<Waiting>,
    /// Every rename noted while a batch was in flight, numbered from `log_start`.
    log: VecDeque<(RelPath, RelPath)>,
    log_start: u64,
    /// Those of directories once more, each with its number: what is beneath one has no rename of its own.
    dirs: VecDeque<(u64, RelPath, RelPath)>,
    /// Batches in flight: which number the log had reached when each was taken; `None` once the log was cut.
    flying: BTreeMap<u64, Option<u64>>,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting.front().map(|w| w.first)
    }

    /// The renames that have waited since this time or longer.
    pub(super) fn since(&self, time: Instant) -> impl Iterator<Item = &Rename> {
        self.waiting.iter().filter(move |w| w.first <= time).map(|w| &w.rename)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|w| w.due)
    }

    /// The renames whose time has come (all, if `every`) and when the first of them happened.
    pub(super) fn release(&mut self, now: Instant, every: bool) -> (Vec<Rename>, Option<Instant>) {
        let ready = self.waiting.iter().take_while(|w| every || w.due <= now).count();
        let since = self.waiting.iter().take(ready).map(|w| w.first).min();
        (self.waiting.drain(..ready).map(|w| w.rename).collect(), since)
    }

    /// Both names of every rename that still waits.
    pub(super) fn names(&self) -> BTreeSet<RelPath> {
        let ends = self.waiting.iter().flat_map(|w| [&w.rename.from, &w.rename.to]);
        ends.cloned().collect()
    }

    /// Takes the last rename out if this one leads back from where it led.
    fn undo(&mut self, from: &RelPath, to: &RelPath) -> bool {
        let back = self.waiting.back().is_some_and(|last| last.rename.from == *to && last.rename.to == *from);
        if back {
            self.waiting.pop_back();
        }
        back
    }

    /// Adds a rename. A chain (`a` to `b`, `b` to `c`) becomes one.
    fn add(&mut self, rename: Rename, now: Instant) {
        let chained = |last: &&mut Waiting| last.rename.to == rename.from && now < last.first + STALE_MAX;
        match self.waiting.back_mut().filter(chained) {
            Some(last) => {
                last.rename.to = rename.to;
                last.due = (now + NEW_NAME).min(last.first + STALE_MAX);
            }
            None => self.waiting.push_back(Waiting { rename, first: now, due: now + NEW_NAME }),
        }
    }

    /// Takes out the rename of a file away from this name, if it is not yet due and no later one has to do with
    /// either of its names.
    fn withdraw(&mut self, from: &RelPath, now: Instant) -> Option<Rename> {
        let settled = self.waiting.partition_point(|w| w.due <= now);
        let at = (settled..self.waiting.len()).rev().find(|&at| {
            let rename = &self.waiting[at].rename;
            rename.from == *from && !rename.dir
        })?;
        let mine = &self.waiting[at].rename;
        let related = |a: &RelPath, b: &RelPath| a.is_within(b) || b.is_within(a);
        let entangled = self.waiting.iter().skip(at + 1).any(|later| {
            [&later.rename.from, &later.rename.to]
                .iter()
                .any(|name| related(name, &mine.from) || related(name, &mine.to))
        });
        if entangled {
            return None;
        }
        self.waiting.remove(at).map(|w| w.rename)
    }

    pub(super) fn batch_taken(&mut self, id: u64) {
        self.flying.insert(id, Some(self.log_end()));
    }

    pub(super) fn batch_done(&mut self, id: u64) {
        self.flying.remove(&id);
        let needed = self.flying.values().copied().flatten().min().unwrap_or(self.log_end());
        while self.log_start < needed && self.log.pop_front().is_some() {
            self.log_start += 1;
        }
        while self.dirs.front().is_some_and(|(number, ..)| *number < self.log_start) {
            self.dirs.pop_front();
        }
    }

    fn log(&mut self, from: &RelPath, to: &RelPath, dir: bool) {
        if self.flying.is_empty() {
            return;
        }
        if dir {
            self.dirs.push_back((self.log_end(), from.clone(), to.clone()));
        }
        if self.log.len() == RENAMES_MAX {
            self.log_start = self.log_end();
            self.log.clear();
            self.dirs.clear();
            self.flying.values_mut().for_each(|start| *start = None);
        }
        self.log.push_back((from.clone(), to.clone()));
    }

    fn log_end(&self) -> u64 {
        self.log_start + self.log.len() as u64
    }

    /// Where a path of this batch is by now; `None` when nobody can tell.
    pub(super) fn follow(&self, batch: u64, path: &RelPath) -> Option<RelPath> {
        let start = (*self.flying.get(&batch)?)?;
        let skip = usize::try_from(start - self.log_start).unwrap_or(usize::MAX);
        follow(path, self.log.iter().skip(skip).map(|(from, to)| (from, to)))
    }

    /// Where renames of directories have taken a path since each batch in flight was taken, but for where it stays; `None`
    /// where nobody can tell.
    pub(super) fn taken_along(&self, path: &RelPath) -> BTreeSet<Option<RelPath>> {
        let mut places = BTreeSet::new();
        let mut starts: Vec<Option<u64>> = self.flying.values().copied().collect();
        starts.dedup();
        for start in starts {
            let Some(start) = start else {
                places.insert(None);
                continue;
            };
            let first = self.dirs.partition_point(|(number, ..)| *number < start);
            let place = follow(path, self.dirs.range(first..).map(|(_, from, to)| (from, to)));
            if place.as_ref() != Some(path) {
                places.insert(place);
            }
        }
        places
    }
}

/// What renames, each from and to, have made of a path; `None` when it has become too long to be named.
pub(super) fn follow<'a>(
    path: &RelPath,
    renames: impl Iterator<Item = (&'a RelPath, &'a RelPath)>,
) -> Option<RelPath> {
    let mut path = path.clone();
    for (from, to) in renames {
        if let Some(rest) = path.below(from) {
            path = to.join(&rest).ok()?;
        }
    }
    Some(path)
}

/// Whether a mark must wait for renames that wait: it is one of their names, lies beneath one, or covers one.
/// Looked at earlier it would be made under a name that the rename then finds taken.
pub(super) fn concern(names: &BTreeSet<RelPath>, path: &RelPath, subtree: bool) -> bool {
    if names.is_empty() {
        return false;
    }
    let mut above = Some(path.clone());
    while let Some(dir) = above {
        if names.contains(&dir) {
            return true;
        }
        above = dir.parent();
    }
    let mut after = names.range::<RelPath, _>((Bound::Excluded(path), Bound::Unbounded));
    subtree && after.next().is_some_and(|name| name.is_within(path))
}

// === Pending: what a rename does to the marks ===

impl Pending {
    pub(super) fn renamed(&mut self, from: RelPath, to: RelPath, dir: bool, now: Instant) {
        self.rename_marks(&from, &to, dir, now);
        // After the marks, which went along: these are the new name's alone.
        self.find_missed(&from, &to, now);
    }

    fn rename_marks(&mut self, from: &RelPath, to: &RelPath, dir: bool, now: Instant) {
        let (from, to) = (from.clone(), to.clone());
        if from == to {
            return self.dirty(from, Why::Touched, dir, now);
        }
        if to.is_within(&from) || from.is_within(&to) {
            // rename(2) refuses this, so the signals contradict one another: trust the disk alone.
            self.cover(from, Mark::new(now));
            return self.cover(to, Mark::new(now));
        }
        let moved: Vec<RelPath> = self.later.keys().filter(|path| path.is_within(&from)).cloned().collect();
        let mut since = now;
        for old in moved {
            since = since.min(self.later[&old].since);
            let new = old.below(&from).and_then(|rest| to.join(&rest).ok());
            if let (Some(later), Some(new)) = (self.later.remove(&old), new) {
                self.later.insert(new, later);
            }
        }
        self.held.log(&from, &to, dir);
        if self.held.undo(&from, &to) {
            // There and back, or an exchange: whoever looks at both names at once sees which.
            self.rebase(&from, &to, now);
            for path in [from, to] {
                if dir { self.cover(path, Mark::new(now)) } else { self.put(path, Mark::new(now)) }
            }
            return;
        }
        // A directory that comes to a name with a mark may be one half of an exchange; then what was marked beneath
        // either name could be beneath the other by now.
        let unknown = self.covered(&from) || self.covered(&to) || (dir && self.marks.contains_key(&to));
        let mark = self.remove(&from);
        let fresh = mark.is_some_and(|mark| mark.fresh);
        self.rebase(&from, &to, now);
        if fresh || unknown {
            // The server has nothing at `from`, or nobody knows what: there is nothing to rename. That the old
            // name was never sent is only likely (a batch in flight may have met it), so it is looked at too.
            if fresh {
                self.dissolve(&to, now);
            }
            let since = mark.map_or(since, |mark| mark.since.min(since));
            self.dirty(from.clone(), Why::Gone, dir, now);
            // Of an exchange the mark that was here may have stood for what came to this name.
            self.age(&from, since);
            if dir {
                self.cover(to, Mark { since, first: mark.map_or(now, |m| m.first), ..Mark::new(now) });
            } else {
                self.dirty(to.clone(), Why::Closed, dir, now);
                self.age(&to, since);
            }
            return;
        }
        self.held.add(Rename { from: from.clone(), to: to.clone(), dir }, now);
        if let Some(due) = self.held.due() {
            self.wake_at(due);
        }
        // What its mark was to find beneath the old name may be there for the server still.
        self.dirty(from.clone(), Why::Gone, mark.is_some_and(|mark| mark.subtree), now);
        self.age(&from, mark.map_or(since, |mark| mark.since.min(since)));
        let mark = Mark { fresh: false, ..mark.unwrap_or_else(|| Mark::new(now)) };
        if mark.subtree { self.cover(to, mark) } else { self.put(to, mark) }
    }

    /// Moves every mark beneath `from` to the same place beneath `to`.
    fn rebase(&mut self, from: &RelPath, to: &RelPath, now: Instant) {
        let covered = self.covered(to) || self.marks.get(to).is_some_and(|mark| mark.subtree);
        for path in self.beneath(from) {
            let Some(mark) = self.remove(&path) else { continue };
            if covered {
                self.age(to, mark.since);
                continue;
            }
            let moved = path.below(from).and_then(|rest| to.join(&rest).ok());
            match moved {
                Some(moved) if mark.subtree => self.cover(moved, mark),
                Some(moved) => self.put(moved, mark),
                // Too long to be named there; the subtree as a whole says that something is amiss.
                None => self.cover(to.clone(), Mark { since: mark.since, ..Mark::new(now) }),
            }
        }
    }

    /// What is marked at a path, or covers it, is at least as old as this.
    fn age(&mut self, path: &RelPath, since: Instant) {
        match self.marks.get_mut(path) {
            Some(mark) => mark.since = mark.since.min(since),
            None => drop(self.age_covering(path, since)),
        }
    }

    /// A file comes to stand at a name from which another was renamed a moment ago: an editor has moved the old
    /// content aside and saves the new. The rename is forgotten, so that the server replaces the content in place
    /// and never lacks the file; what was moved aside waits to be removed again.
    pub(super) fn dissolve(&mut self, path: &RelPath, now: Instant) {
        let Some(rename) = self.held.withdraw(path, now) else { return };
        let mut mark = self.remove(&rename.to).unwrap_or_else(|| Mark::new(now));
        mark.fresh = true;
        mark.due = (now + GONE).min(mark.first + STALE_MAX);
        self.put(rename.to, mark);
    }
}
