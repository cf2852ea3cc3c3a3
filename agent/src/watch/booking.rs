//! Booking: what the sender hears, booked: in the journal what is durable, on the desk what has settled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use driftless_proto::model::change::Change;
use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::{Problem, ProblemClass};
use driftless_proto::transfer::observer::{Observer, Sent, TaskId};

use super::desk::Desk;
use super::recorder::Recorder;
use crate::journal::{Note, Record};
use crate::report::names;

/// What follows when a task has come to its end well.
#[derive(Debug)]
pub(super) enum Then {
    /// The journal takes this.
    Note(Note),
    /// The inventory follows what stands beneath this directory.
    Learn(RelPath),
}

pub(super) type Booked = Arc<Mutex<HashMap<TaskId, Then>>>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
pub(super) struct Booking {
    pub(super) desk: Arc<Desk>,
    pub(super) recorder: Recorder,
    pub(super) status: Arc<super::status::Status>,
    /// Name each change (`-v`).
    pub(super) names: bool,
    pub(super) prefix: RelPath,
    pub(super) booked: Booked,
}

impl Observer for Booking {
    fn changed(&self, change: &Change) {
        if let (true, Some(line)) = (self.names, names::line(change)) {
            self.status.log(&line);
        }
    }

    fn problem(&self, problem: &Problem) {
        // What vanished between the event and the look is no problem of a watch: its mark follows.
        if problem.class == ProblemClass::Vanished {
            return;
        }
        let path = problem.path.below(&self.prefix).unwrap_or_else(RelPath::root);
        let mut first = true;
        self.desk.leave(|state| {
            first = state.failed(path, problem.class);
            state.last_problem = Some((problem.to_string(), SystemTime::now()));
        });
        if first {
            self.status.problem(&problem.to_string());
        }
    }

    fn recorded(&self, sent: Vec<Sent>) {
        for sent in sent {
            let Some(path) = sent.path.below(&self.prefix) else { continue };
            let (stamp, entry, digest) = (sent.stamp, sent.entry, Some(sent.digest));
            let record = Record { stamp, entry, digest, groups: sent.groups };
            self.recorder.note(Note::Recorded(path, record));
        }
    }

    fn settled(&self, task: TaskId, outcome: Result<(), Problem>) {
        let booked = lock(&self.booked).remove(&task);
        let learn = match booked.filter(|_| outcome.is_ok()) {
            Some(Then::Note(note)) => {
                self.recorder.note(note);
                None
            }
            Some(Then::Learn(dir)) => Some(dir),
            None => None,
        };
        self.desk.leave(|state| {
            state.settled(task, &outcome);
            state.learn.extend(learn);
        });
    }
}
