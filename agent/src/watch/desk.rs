//! The desk: where the watcher, the sender and the trunk leave word for each other. One lock, held for a few
//! assignments at a time and never across I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::{Problem, ProblemClass};
use driftless_proto::transfer::link::Ended;
use driftless_proto::transfer::observer::TaskId;

use super::failures::Failures;
use super::learn::Matched;
use super::scan::Scanned;
use super::waits::Waits;
use super::whole::Whole;
use crate::pending::{Batch, Dirty, Pending, Taken};
use crate::watcher::{Signal, Why};

/// See the module.
#[derive(Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    word: Condvar,
}

/// What lies on the desk.
#[derive(Default)]
pub(super) struct State {
    /// Paths that may differ from the journal.
    pub(super) pending: Pending,
    /// Batches whose tasks are on their way.
    pub(super) batches: HashMap<u64, InFlight>,
    pub(super) tasks: HashMap<TaskId, Tasked>,
    last_task: TaskId,
    /// Why the sender ended, once it has.
    pub(super) ended: Option<Ended>,
    /// Why the root is no longer what it was.
    pub(super) root_gone: Option<String>,
    /// What the operator is to be told.
    pub(super) words: Vec<String>,
    /// Directories that cannot be watched and are polled, each with the reason as it was told.
    pub(super) unwatched: BTreeMap<RelPath, String>,
    /// How a comparison of everything ended, once it has.
    pub(super) compared: Option<bool>,
    /// Entries that it met and that take no part: how many, and the first of them.
    pub(super) left_out: (u64, Option<RelPath>),
    /// Directories whose comparison came to its end well: the inventory is to follow.
    pub(super) learn: Vec<Matched>,
    /// The inventory has followed the comparison of everything.
    pub(super) learned: bool,
    /// Something was mounted or unmounted on this host.
    pub(super) mounts_changed: bool,
    /// The last problem of a path, and when it was.
    pub(super) last_problem: Option<(String, SystemTime)>,
    /// Files whose content changed under every reading and was sent as it was; at most [`UNSTABLE`].
    pub(super) unstable: BTreeSet<RelPath>,
    /// How far comparisons of everything have come.
    pub(super) whole: Whole,
    /// The operator wants to stop.
    pub(super) stop: bool,
    /// When something was last acknowledged.
    pub(super) last_ack: Option<Instant>,
    /// Tasks that were acknowledged.
    pub(super) acked: u64,
    /// Events were lost so often, and when the last time was.
    pub(super) overflows: (u64, Option<SystemTime>),
    /// Who waits for what.
    pub(super) waits: Waits,
    /// Paths that failed.
    pub(super) failures: Failures,
    /// Paths of which the journal is not to be believed, until they have come through.
    distrusted: HashSet<RelPath>,
}

/// Paths of a batch that are not to be treated like any other.
#[derive(Default)]
pub(super) struct Marked {
    /// They changed under too many readings, and are sent as they are.
    pub(super) restless: HashSet<RelPath>,
    /// The copy was found not to hold what the journal says.
    pub(super) distrusted: HashSet<RelPath>,
}

/// Stands for what belongs to no batch: the first comparison, and paths that failed by themselves.
pub(super) const NO_BATCH: u64 = u64::MAX;

/// Stands for the renames that happened while nobody watched.
pub(super) const RENAMES: u64 = u64::MAX - 1;

/// A task on its way.
pub(super) struct Tasked {
    pub(super) batch: u64,
    /// What to look at again if it fails.
    pub(super) retry: Vec<Dirty>,
    /// The file whose content it sends.
    file: Option<RelPath>,
    begun: Instant,
}

/// A batch on its way.
pub(super) struct InFlight {
    /// Tasks that have not come to their end.
    left: usize,
    pub(super) failed: Vec<Dirty>,
    /// When the oldest of its changes was first heard of.
    pub(super) since: Instant,
}

/// Directories that are named in one line of what cannot be watched.
const NAMED: usize = 8;

/// Readings of a file that changed under each of them, after which it is sent as it is.
const RESTLESS: u32 = 5;

/// Unstable files that are remembered.
const UNSTABLE: usize = 1000;

impl Desk {
    /// Locks the desk. A panic elsewhere leaves nothing on it half-written.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something on the desk and wakes the trunk.
    pub(super) fn leave(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.word.notify_all();
    }

    /// Takes what the watcher says.
    pub(super) fn signals(&self, signals: Vec<Signal>) {
        let now = Instant::now();
        self.leave(|state| {
            let mut told = Vec::new();
            for signal in signals {
                match &signal {
                    Signal::Lost => {
                        state.overflows = (state.overflows.0 + 1, Some(SystemTime::now()));
                        state.words.push(
                            "events were lost (the kernel's queue was full); comparing everything".into(),
                        );
                    }
                    Signal::Barrier(id) => state.barrier(*id, now),
                    Signal::RootGone(why) => state.root_gone = Some(why.clone()),
                    Signal::Unwatched { path, reason } => {
                        let before = state.unwatched.insert(path.clone(), reason.clone());
                        if before.as_ref() != Some(reason) {
                            told.push((path.clone(), reason.clone()));
                        }
                    }
                    Signal::Watched(path) => {
                        let told = state.unwatched.remove(path);
                        state.words.extend(told.map(|_| format!("{path}: it is watched again")));
                    }
                    Signal::Renamed { from: path, dir: true, .. }
                    | Signal::Dirty { path, why: Why::Gone, dir: true } => {
                        state.unwatched.retain(|other, _| !other.is_within(path));
                    }
                    _ => {}
                }
                if let Signal::Renamed { from, to, .. } = &signal {
                    state.failures.renamed(from, to);
                }
                state.waits.follow(&signal);
                state.pending.note(signal, now);
            }
            state.words.extend(words_on(&told));
        });
    }

    /// Waits for a word, or until then.
    pub(super) fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match until {
            None => self.word.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let rest = until.saturating_duration_since(Instant::now());
                self.word.wait_timeout(state, rest).map_or_else(|e| e.into_inner().0, |(state, _)| state)
            }
        }
    }
}

/// Says what cannot be watched: one line for each reason, since a limit that is met once is met again at once.
fn words_on(unwatched: &[(RelPath, String)]) -> Vec<String> {
    let reasons: BTreeSet<&str> = unwatched.iter().map(|(_, reason)| reason.as_str()).collect();
    let line = |reason: &str| {
        let of_reason = unwatched.iter().filter(|(_, why)| why == reason);
        let paths: BTreeSet<&RelPath> = of_reason.map(|(path, _)| path).collect();
        let named: Vec<String> = paths.iter().take(NAMED).map(ToString::to_string).collect();
        let more = match paths.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more directories"),
        };
        format!("{}{more}: {reason}; it is looked at once in a while instead", named.join(", "))
    };
    reasons.into_iter().map(line).collect()
}

impl State {
    /// Books the tasks of a batch: one for each of these, in order, with what to look at again if it fails and the file
    /// that it sends. Returns their numbers.
    pub(super) fn begin(
        &mut self,
        batch: u64,
        since: Instant,
        work: impl Iterator<Item = (Vec<Dirty>, Option<RelPath>)>,
    ) -> Vec<TaskId> {
        let mut ids = Vec::new();
        let now = Instant::now();
        for (retry, file) in work {
            self.last_task += 1;
            if let Some(path) = &file {
                self.pending.sent(path.clone(), now);
            }
            self.tasks.insert(self.last_task, Tasked { batch, retry, file, begun: now });
            ids.push(self.last_task);
        }
        if ids.is_empty() {
            self.pending.done(batch);
        } else {
            if matches!(batch, NO_BATCH | RENAMES) {
                self.pending.began(batch, now);
            }
            self.batches.insert(batch, InFlight { left: ids.len(), failed: Vec::new(), since });
        }
        ids
    }

    /// Books the end of a task; the batch's failed paths are pending again once all of it has ended.
    pub(super) fn settled(&mut self, task: TaskId, outcome: &Result<(), Problem>) {
        let Some(Tasked { batch, retry, file, begun }) = self.tasks.remove(&task) else { return };
        let since = self.batches.get(&batch).map_or_else(Instant::now, |flight| flight.since);
        if let Some(path) = file {
            self.pending.arrived(&path, outcome.is_ok(), Instant::now());
        }
        if self.whole.settled(task, &retry, outcome.is_ok()) {
            self.compared = Some(outcome.is_ok());
        }
        match outcome {
            Ok(()) => {
                self.last_ack = Some(Instant::now());
                self.acked += 1;
                for dirty in &retry {
                    // Of a rename the two names alone: what failed beneath them has only another name now.
                    self.failures.through(&dirty.path, dirty.subtree && retry.len() == 1, begun);
                    self.distrusted.remove(&dirty.path);
                }
                // A comparison ends after whatever else its batch holds, and if it made or removed the directory
                // itself, the one above has got another time on the server since it was brought across.
                for above in
                    retry.iter().filter(|dirty| dirty.subtree).filter_map(|dirty| dirty.path.parent())
                {
                    self.look_again(Dirty { path: above, subtree: false }, since, Duration::ZERO);
                }
            }
            Err(problem) => {
                // Under the names by which they are looked at again.
                for dirty in &retry {
                    let path = self.pending.now_at(batch, &dirty.path);
                    // What was told by itself is the same failure.
                    if !self.failures.has_failed_since(&path, begun) {
                        self.failures.book(&path, problem.class, problem.to_string());
                    }
                    if problem.class == ProblemClass::Vanished {
                        self.missed(&path, since);
                    }
                }
            }
        }
        let Some(flight) = self.batches.get_mut(&batch) else { return };
        flight.left -= 1;
        if outcome.is_err() {
            flight.failed.extend(retry);
        }
        if flight.left == 0 {
            let failed = self.batches.remove(&batch).map(|flight| flight.failed).unwrap_or_default();
            let paths: Vec<RelPath> =
                failed.iter().map(|dirty| self.pending.now_at(batch, &dirty.path)).collect();
            let delay = self.failures.shortest(paths.iter());
            self.pending.fail_back(batch, failed, delay, Instant::now());
        }
        if batch == NO_BATCH {
            self.waits.compared(Instant::now());
        }
    }

    /// The task that was booked last.
    pub(super) fn last_task(&self) -> TaskId {
        self.last_task
    }

    /// What failed and is gone by now fails no more.
    pub(super) fn forgive(&mut self, batch: &Batch, scanned: &Scanned) {
        if self.failures.len() > 0 {
            let now = Instant::now();
            scanned.idle(batch).for_each(|path| self.failures.through(path, true, now));
            scanned.removed().for_each(|path| self.failures.gone_beneath(path));
        }
    }

    /// A file was sent as it was read, though it changed meanwhile. Returns whether that is news.
    pub(super) fn is_unstable(&mut self, path: &RelPath) -> bool {
        self.unstable.len() < UNSTABLE && self.unstable.insert(path.clone())
    }

    /// Takes the word of somebody who looked that the copy does not hold what the journal says.
    pub(super) fn distrust(&mut self, paths: &[RelPath]) {
        for path in paths {
            self.distrusted.insert(path.clone());
            self.look_again(Dirty { path: path.clone(), subtree: false }, Instant::now(), Duration::ZERO);
        }
    }

    /// The paths of a batch that are not to be treated like any other. One that is known to change under its readings is
    /// not read as often again.
    pub(super) fn marked(&self, batch: &Batch) -> Marked {
        let restless = |path: &RelPath| {
            let failures = self.failures.get(path).filter(|f| f.class == ProblemClass::Unstable);
            failures.is_some_and(|f| f.count >= RESTLESS || self.unstable.contains(path))
        };
        let of = |marked: &dyn Fn(&RelPath) -> bool| {
            batch.dirty.iter().map(|dirty| &dirty.path).filter(|path| marked(path)).cloned().collect()
        };
        Marked { restless: of(&restless), distrusted: of(&|path| self.distrusted.contains(path)) }
    }

    /// Books the failure of a path, whether a task stands behind it or not: it will be looked at again. Returns whether
    /// it is the first in a row, which is the one to tell. `since` is how old what failed is.
    pub(super) fn failed(&mut self, path: &RelPath, class: ProblemClass, text: &str, since: Instant) -> bool {
        let mut first = true;
        for path in self.pending.names_now(path) {
            first &= self.failures.book(&path, class, text.to_owned());
            let delay = self.failures.delay_of(&path);
            // What is beneath a directory failed with it.
            self.look_again(Dirty { path, subtree: true }, since, delay);
        }
        first
    }

    /// Something on its way met this path and then found nothing there.
    pub(super) fn missed(&mut self, path: &RelPath, since: Instant) {
        self.pending.missed(path, since, Instant::now());
    }

    /// Marks a path that belongs to no batch.
    pub(super) fn look_again(&mut self, dirty: Dirty, since: Instant, delay: Duration) {
        self.pending.look_again(dirty, since, delay, Instant::now());
    }

    /// The stream is gone: whatever was on its way is pending again, at once. Returns the names among it that were on
    /// their way by themselves.
    pub(super) fn abandon(&mut self) -> Vec<RelPath> {
        let mut lost: HashMap<u64, Vec<Dirty>> = HashMap::new();
        for (batch, flight) in self.batches.drain() {
            lost.entry(batch).or_default().extend(flight.failed);
        }
        let mut names = Vec::new();
        for (_, Tasked { batch, retry, .. }) in self.tasks.drain() {
            names.extend(retry.iter().filter(|dirty| !dirty.subtree).map(|dirty| dirty.path.clone()));
            lost.entry(batch).or_default().extend(retry);
        }
        self.pending.abandon();
        let mut batches: Vec<_> = lost.into_iter().collect();
        batches.sort_by_key(|(batch, _)| *batch);
        for (batch, paths) in batches {
            self.pending.fail_back(batch, paths, Duration::ZERO, Instant::now());
        }
        names
    }

    /// Nothing that one session was told is for the next: a comparison that had come to its end must not end that one's.
    pub(super) fn end_session(&mut self) {
        self.ended = None;
        self.compared = None;
        self.learned = false;
        self.whole.learning = 0;
        // The inventory lacks what is beneath these: they are compared again. Of the root `stale` says so.
        let now = Instant::now();
        for Matched { dir, .. } in std::mem::take(&mut self.learn) {
            if !dir.is_root() {
                self.look_again(Dirty { path: dir, subtree: true }, now, Duration::ZERO);
            }
        }
    }

    /// When the oldest change on its way was first heard of.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.batches.values().map(|flight| flight.since).min()
    }

    /// When the oldest change that is not durable was first heard of, whether it is on its way or waits.
    pub(super) fn oldest_pending(&self) -> Option<Instant> {
        self.oldest().into_iter().chain(self.pending.oldest()).min()
    }

    /// The files, and the directories with everything beneath, whose contents are on their way.
    pub(super) fn contents_on_their_way(&self) -> Vec<RelPath> {
        let tasks = self.tasks.values();
        let sends = |task: &&Tasked| task.file.is_some() || task.retry.iter().any(|dirty| dirty.subtree);
        tasks.filter(sends).flat_map(|task| &task.retry).map(|dirty| dirty.path.clone()).collect()
    }

    /// What waits: marks, renames, and what the trunk is looking at, which has no tasks yet.
    pub(super) fn pending(&self) -> usize {
        self.pending.len() + self.looked_at().map(|taken| taken.count).sum::<usize>()
    }

    /// The batches that the trunk is looking at.
    pub(super) fn looked_at(&self) -> impl Iterator<Item = &Taken> {
        self.pending.taken().filter(|(id, _)| !self.batches.contains_key(id)).map(|(_, taken)| taken)
    }

    /// Tasks on their way.
    pub(super) fn in_flight(&self) -> usize {
        self.tasks.len()
    }
}

#[cfg(test)]
mod tests;
