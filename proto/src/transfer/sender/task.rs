//! Tasks: what a sender is given to do, from its own side and by its receiver, and the queue that it comes through.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use crate::disk::Stamp;
use crate::model::counter::ReceiverTotals;
use crate::model::digest::{Digest, Group};
use crate::model::entry::Entry;
use crate::model::path::RelPath;
use crate::transfer::link::Ended;
use crate::transfer::observer::TaskId;
use crate::wire::message::{RequestId, WantBasis};

/// Work from the sender's own side.
#[derive(Debug)]
pub enum Task {
    /// Bring everything beneath a directory across.
    Compare(TaskId, RelPath),
    /// Bring one path across as it stands now; `Known` is what the journal says the receiver holds.
    Put(TaskId, RelPath, Option<Known>, Read),
    /// Nothing stands at a path now.
    Remove(TaskId, RelPath),
    /// What stood at the first path stands at the second now.
    Rename(TaskId, RelPath, RelPath),
    /// What stood at each of the two paths stands at the other now.
    Exchange(TaskId, RelPath, RelPath),
    /// End the stream once everything outstanding is acknowledged.
    Finish,
}

/// What to do with a file that changes under the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Read it a few times, then send it as it is, marked unstable.
    Anyway,
    /// Send nothing; the task fails as [`ProblemClass::Unstable`], to be given again once the file has rested.
    Rested,
}

/// What the receiver is known to hold at a path: the basis of a delta that needs no round trip.
#[derive(Clone, Debug)]
pub struct Known {
    /// The source when it was sent.
    pub stamp: Stamp,
    /// The entry that was sent.
    pub entry: Entry,
    /// Digest of its content.
    pub digest: Digest,
    /// Its groups.
    pub groups: Vec<Group>,
}

/// A request of the receiver.
pub(super) enum Request {
    Open { id: RequestId, dir: RelPath, all: bool },
    Want { id: RequestId, path: RelPath, basis: Option<(WantBasis, Vec<u8>)> },
}

/// What the sender's queue holds.
pub(super) enum Event {
    Task(Task),
    Request(Request),
    /// The comparison under way has come to its end.
    Compared,
    /// Nothing is outstanding any more.
    Quiet,
    PeerDone(ReceiverTotals),
    /// The receiver's digest has come by itself.
    Digested,
    Ended(Ended),
}

/// Gives a sender work while it runs.
#[derive(Clone)]
pub struct Tasks {
    events: mpsc::Sender<Event>,
    stopper: Arc<OnceLock<Arc<AtomicBool>>>,
}

impl Tasks {
    /// Queues a task. After the sender's end it is dropped: its owner hears of the end from [`run`](super::run).
    pub fn submit(&self, task: Task) {
        let _late = self.events.send(Event::Task(task));
    }

    /// Ends the sender at once.
    pub fn stop(&self) {
        if let Some(stopper) = self.stopper.get() {
            stopper.store(true, Ordering::Relaxed);
        }
        let _late = self.events.send(Event::Ended(Ended::Stopped));
    }
}

/// A sender's queue, to be given to [`run`](super::run).
pub struct Queue {
    pub(super) tasks: mpsc::Sender<Event>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) stopper: Arc<OnceLock<Arc<AtomicBool>>>,
}

/// A new queue and the handle that fills it.
#[must_use]
pub fn queue() -> (Tasks, Queue) {
    let (tasks, events) = mpsc::channel();
    let stopper = Arc::<OnceLock<_>>::default();
    (Tasks { events: tasks.clone(), stopper: Arc::clone(&stopper) }, Queue { tasks, events, stopper })
}
