//! Weigh: when the trunk of a session asks anew whether deletions may leave: before a batch that has any, when the
//! operator has decided, when something was mounted, and once in a while as long as anything is held.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::sender::Tasks;

use super::booking::{Then, lock};
use super::desk::RENAMES;
use super::hold::{Apart, Weighed};
use super::learn::covers;
use super::scan::{Scanned, Work};
use super::session::{End, Trunk};
use crate::guard::survey::Findings;
use crate::guard::{Occasion, Verdict, mounts};
use crate::journal::Note;
use crate::pending::Batch;

/// How often it is looked whether the root is still the source: a link or a directory on the way to it may lead elsewhere
/// by now, and no event of the source tells so.
pub(super) const ROOT_LOOK: Duration = Duration::from_secs(2);

/// How long weighing waits for renames that are on their way.
const CATCH_UP: Duration = Duration::from_secs(10);

/// How often what is held, and what could not be read, is weighed anew.
const WEIGH: Duration = Duration::from_secs(60);

/// How often it is weighed anew while more and more has to be held back, so that the plan names it; a weighing takes a
/// tenth of the time at most.
const WEIGH_MORE: Duration = Duration::from_secs(3);

impl Trunk<'_, '_> {
    /// Whether anything may be held, so that there is something to look for.
    pub(super) fn looks(&self) -> bool {
        self.watch.invocation.options.delete || self.withheld.is_some()
    }

    /// Looks for what no event tells: decisions on plans, mounts, and whether the root is still the source.
    pub(super) fn look(&mut self, mounts_changed: bool) -> Option<End> {
        if !self.looks() {
            return None;
        }
        // On a host that starts containers all day most changes are elsewhere.
        let mounted = || mounts::beneath(self.root).map_or(true, |now| Some(now) != self.known.mounts);
        let mounts_changed = mounts_changed && mounted();
        let standing = &self.known.standing;
        let old = self.known.weighed.is_none_or(|weighed| weighed.elapsed() >= WEIGH);
        let waits = standing.held.is_some()
            || standing.rewrites.is_some()
            || standing.apart.values().any(|why| *why == Apart::Unreadable);
        let mut due = mounts_changed || self.watch.plans.stamp() != self.known.plans_seen || waits && old;
        let more = WEIGH_MORE.max(self.known.weighing * 10);
        due |= self.known.more_held && self.known.weighed.is_none_or(|weighed| weighed.elapsed() >= more);
        if self.root_looked.elapsed() >= ROOT_LOOK {
            self.root_looked = Instant::now();
            if let Some(why) = self.guard.lost() {
                return Some(End::RootGone(why));
            }
            // What was held because of the root may be in order again.
            let in_order = || self.verdict() == Verdict::Go;
            due |= standing.held.as_ref().is_some_and(|held| held.about_root) && in_order();
        }
        if due { self.weigh() } else { None }
    }

    fn verdict(&self) -> Verdict {
        self.watch.verdict(&self.guard, &self.journal, self.copy_is_empty, Occasion::Reconcile)
    }

    /// Waits until the inventory has followed the renames that were sent: what they took along must not count as missing.
    /// A stream that ends meanwhile ends the wait, and so does [`CATCH_UP`]: then it is held once too often.
    fn catch_up(&self) {
        let until = Instant::now() + CATCH_UP;
        let renamed = |then: &Then| matches!(then, Then::Note(Note::Renamed(..) | Note::Exchanged(..)));
        while lock(&self.booked).values().any(renamed) && Instant::now() < until {
            let state = self.watch.desk.lock();
            if state.stop || state.ended.is_some() || state.root_gone.is_some() {
                break;
            }
            drop(self.watch.desk.wait(state, Some(Instant::now() + Duration::from_millis(20))));
        }
        self.recorder.settle();
    }

    /// Weighs deletions anew; the end of this session when its stream was opened for other terms.
    pub(super) fn weigh(&mut self) -> Option<End> {
        self.catch_up();
        match self.watch.weigh(self.root, &self.guard, &self.journal, self.copy_is_empty, self.known) {
            Weighed::AsBefore => None,
            Weighed::Changed => Some(End::Again),
            Weighed::Rearm => Some(End::Rearm),
            Weighed::RootGone(why) => Some(End::RootGone(why)),
        }
    }

    /// Whether a batch touches what is left alone in a way that may end it: what the copy keeps stands in the source
    /// again, or what could not be read has changed.
    pub(super) fn stirs(&self, batch: &Batch) -> bool {
        let standing = &self.known.standing;
        let targets = batch.renames.iter().map(|rename| &rename.to);
        let mut paths = batch.dirty.iter().map(|dirty| &dirty.path).chain(targets);
        !standing.apart.is_empty()
            && paths.any(|path| match standing.apart(path) {
                Some((apart, Apart::Kept)) => self.root.found(apart).is_ok(),
                Some((apart, Apart::Unreadable)) => path == apart,
                Some((_, Apart::Hidden)) | None => false,
            })
    }

    /// Asks the guard and the brake about what is to be deleted; the end of this session where it has to be held.
    pub(super) fn brake(&mut self, tasks: &Tasks, scanned: &mut Scanned, since: Instant) -> Option<End> {
        let occasion = if scanned.compares() { Occasion::Reconcile } else { Occasion::Live };
        let verdict = self.watch.verdict(&self.guard, &self.journal, self.copy_is_empty, occasion);
        if verdict != Verdict::Go {
            // What the operator has agreed to is no reason to hold.
            if let Some(end) = self.weigh() {
                return Some(end);
            }
        }
        let everything = scanned.work.iter().any(|work| matches!(work, Work::Compare(dir) if dir.is_root()));
        if everything {
            let end = self.weigh();
            if end.is_none() {
                self.planned_leaves();
            }
            return end;
        }
        let mut pending = self.count(scanned);
        // What cannot be counted is looked at.
        let known = self.journal.known().unwrap_or(u64::MAX);
        let now = Instant::now();
        let look = {
            let mut brake = self.watch.brake();
            brake.wants_a_look(pending, known) || brake.holds(pending, known, now).is_some()
        };
        if look {
            self.send_renames(tasks, scanned, since);
            if let Some(end) = self.weigh() {
                return Some(end);
            }
            // What was counted may be what a rename has taken along since.
            pending = self.count(scanned);
        }
        self.watch.brake().left(pending, now);
        None
    }

    /// Entries that the copy loses by a batch, as far as they are known.
    fn count(&mut self, scanned: &Scanned) -> u64 {
        self.known.missing.clear();
        let leaving = self.leaving();
        scanned.work.iter().map(|work| self.entries_of(work, &leaving)).sum()
    }

    /// What was counted before and is not acknowledged yet.
    fn leaving(&self) -> BTreeSet<RelPath> {
        let removed = |then: &Then| match then {
            Then::Note(Note::Removed(path)) => Some(path.clone()),
            _ => None,
        };
        lock(&self.booked).values().filter_map(removed).collect()
    }

    /// Sends the renames of a batch ahead of the rest of it.
    fn send_renames(&mut self, tasks: &Tasks, scanned: &mut Scanned, since: Instant) {
        let is_rename = |work: &Work| matches!(work, Work::Rename(..) | Work::Exchange(..));
        if !scanned.work.iter().any(is_rename) {
            return;
        }
        self.catch_up();
        if self.watch.desk.lock().batches.contains_key(&RENAMES) {
            // Others are on their way still: two batches cannot be one.
            return;
        }
        let work = std::mem::take(&mut scanned.work);
        let (renames, rest) = work.into_iter().partition(is_rename);
        scanned.work = rest;
        self.send(tasks, RENAMES, since, Scanned { work: renames, ..Scanned::default() });
    }

    /// A comparison of everything is about to be sent: what it deletes counts as gone, if it may delete at all.
    pub(super) fn planned_leaves(&mut self) {
        let rewritten = std::mem::take(&mut self.known.rewritten);
        if self.known.standing.rewrites.is_none() {
            self.watch.rewrites().left(&rewritten, Instant::now());
        }
        let planned = std::mem::take(&mut self.known.planned);
        if self.known.standing.held.is_none() {
            self.watch.brake().left(planned, Instant::now());
        }
    }

    /// Entries that the copy loses by this, as far as they are known. What a comparison would delete is remembered.
    fn entries_of(&mut self, work: &Work, leaving: &BTreeSet<RelPath>) -> u64 {
        match work {
            Work::Remove(path) if covers(leaving, path) => 0,
            Work::Remove(path) if self.known.approved.iter().any(|plan| plan.covers(path)) => 0,
            Work::Remove(path) => self.journal.known_within(path).unwrap_or(1),
            Work::Compare(dir) => {
                let rules = &self.watch.invocation.rules;
                let Ok(findings) = Findings::of(self.root, dir, rules, &self.journal, false) else {
                    return 0;
                };
                if matches!(&findings.hidden[..], [(path, _)] if path == dir) {
                    // Nothing is known of what is beneath: all of it may go.
                    return self.journal.known_within(dir).unwrap_or(1);
                }
                let entries = findings.entries();
                self.known.missing.extend(findings.missing);
                entries
            }
            Work::File { .. } | Work::Put(..) | Work::Rename(..) | Work::Exchange(..) => 0,
        }
    }
}
