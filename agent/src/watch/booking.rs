//! Booking: what the sender hears, booked: in the journal what is durable, on the desk what has settled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use driftless_proto::disk::LastDir;
use driftless_proto::model::change::Change;
use driftless_proto::model::entry::Time;
use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::{Problem, ProblemClass};
use driftless_proto::transfer::observer::{Acked, Observer, Sent, TaskId, UNSTABLE};

use super::desk::Desk;
use super::learn::{Begun, Matched};
use super::recorder::Recorder;
use super::scan::Work;
use super::session::Trunk;
use crate::journal::{Item, Note, Record};
use crate::report::names;

/// What follows when a task has come to its end well.
#[derive(Debug)]
pub(super) enum Then {
    /// The journal takes this.
    Note(Note),
    /// The inventory follows what stands beneath this directory.
    Learn(Matched),
}

pub(super) type Booked = Arc<Mutex<HashMap<TaskId, Then>>>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trunk<'_, '_> {
    /// What follows once this is durable.
    pub(super) fn then(&self, root: &LastDir, work: &Work) -> Option<Then> {
        Some(match work {
            Work::Remove(path) => Then::Note(Note::Removed(path.clone())),
            Work::Rename(from, to, _) => Then::Note(Note::Renamed(from.clone(), to.clone())),
            Work::Exchange(one, other) => Then::Note(Note::Exchanged(one.clone(), other.clone())),
            Work::Compare(dir) => {
                let missing = self.known.missing.keys().filter(|path| path.is_within(dir)).cloned();
                let missing = missing.collect();
                Then::Learn(Matched { dir: dir.clone(), missing, begun: Begun::now() })
            }
            Work::Put(path) if path.is_root() => return None,
            Work::File { path, .. } | Work::Put(path) => {
                let item = Item::new(&root.found(path).ok()?, root.inode(path).ok()?, &self.mounted);
                Then::Note(Note::Seen(path.clone(), item))
            }
        })
    }
}

/// See the module.
pub(super) struct Booking {
    pub(super) desk: Arc<Desk>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) status: Arc<super::status::Status>,
    /// Name each change (`-v`).
    pub(super) names: bool,
    pub(super) prefix: RelPath,
    pub(super) booked: Booked,
}

impl Booking {
    /// A content is durable.
    fn record(&self, sent: Sent, now: Time) {
        let Some(path) = sent.path.below(&self.prefix) else { return };
        if sent.is_stable() {
            self.rested(&path);
        }
        let (stamp, entry, digest) = (sent.stamp, sent.entry, Some(sent.digest));
        let record = Record { stamp, entry, digest, groups: sent.groups, acked: Some(now) };
        self.recorder.note(Note::Recorded(path, record));
    }

    /// A task has come to its end well; what follows of it for the inventory is for the desk.
    fn well(&self, task: TaskId) -> Option<Matched> {
        match lock(&self.booked).remove(&task)? {
            Then::Note(note) => {
                if let Note::Removed(path) | Note::Renamed(path, _) = &note {
                    self.rested(path);
                }
                self.recorder.note(note);
                None
            }
            Then::Learn(matched) => Some(matched),
        }
    }

    /// What stands at a path is no longer of an unstable reading.
    fn rested(&self, path: &RelPath) {
        let mut state = self.desk.lock();
        if !state.unstable.is_empty() {
            state.unstable.retain(|unstable| !unstable.is_within(path));
        }
    }
}

impl Observer for Booking {
    fn changed(&self, change: &Change) {
        if let (true, Some(line)) = (self.names, names::line(change)) {
            self.status.log(&line);
        }
    }

    fn problem(&self, problem: &Problem) {
        // What vanished between the event and the look is no problem of a watch: its mark follows, or a rename.
        if problem.class == ProblemClass::Vanished {
            return self.missed(&problem.path);
        }
        let path = problem.path.below(&self.prefix).unwrap_or_else(RelPath::root);
        let mut first = true;
        self.desk.leave(|state| {
            // Nobody can tell which of the tasks on their way it belongs to.
            let since = state.oldest().unwrap_or_else(Instant::now);
            first = state.failed(&path, problem.class, &problem.to_string(), since);
            state.last_problem = Some((problem.to_string(), SystemTime::now()));
        });
        if first {
            self.status.problem(&problem.to_string());
        }
    }

    fn left_out(&self, paths: &[RelPath], more: u64) {
        let first = paths.first().and_then(|path| path.below(&self.prefix));
        self.desk.leave(|state| {
            state.left_out.0 += paths.len() as u64 + more;
            state.left_out.1 = state.left_out.1.take().or(first);
        });
    }

    fn missed(&self, path: &RelPath) {
        let Some(path) = path.below(&self.prefix) else { return };
        self.desk.leave(|state| {
            let since = state.oldest().unwrap_or_else(Instant::now);
            state.missed(&path, since);
        });
    }

    fn unstable(&self, path: &RelPath) {
        let Some(path) = path.below(&self.prefix) else { return };
        if self.desk.lock().is_unstable(&path) {
            self.status.problem(&format!("{path}: {UNSTABLE}"));
        }
    }

    fn acked(&self, acks: Vec<Acked>) {
        let now = Time::from(SystemTime::now());
        let mut tasks = Vec::with_capacity(acks.len());
        for Acked { sent, task } in acks {
            sent.into_iter().for_each(|sent| self.record(sent, now));
            tasks.extend(task.map(|task| (task, self.well(task))));
        }
        // The trunk is woken once for all of them.
        self.desk.leave(|state| {
            for (task, learn) in tasks {
                state.settled(task, &Ok(()));
                state.learn.extend(learn);
            }
        });
    }

    fn settled(&self, task: TaskId, outcome: Result<(), Problem>) {
        let learn = if outcome.is_ok() { self.well(task) } else { None };
        lock(&self.booked).remove(&task);
        self.desk.leave(|state| {
            state.settled(task, &outcome);
            state.learn.extend(learn);
        });
    }
}
