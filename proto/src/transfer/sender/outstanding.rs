//! What a sender waits to have acknowledged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::problem::{Misbehaved, Problem};
use crate::transfer::observer::{Observer, Sent, TaskId};
use crate::wire::message::Seq;

/// What stands behind one seq.
pub(super) struct Waiting {
    /// The task it settles, if it settles one.
    task: Option<TaskId>,
    /// What becomes durable with it.
    sent: Vec<Sent>,
    /// It is a comparison.
    comparison: bool,
}

/// What an ack meant for the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Booked {
    /// A comparison has come to its end.
    pub(super) compared: bool,
    /// Nothing is outstanding any more.
    pub(super) quiet: bool,
}

impl Waiting {
    /// The end of a task.
    pub(super) fn task(id: TaskId) -> Self {
        Self { task: Some(id), sent: Vec::new(), comparison: false }
    }

    /// The end of a task that compares a directory.
    pub(super) fn comparison(id: TaskId) -> Self {
        Self { comparison: true, ..Self::task(id) }
    }

    /// Contents that the receiver asked for; they settle nothing by themselves.
    pub(super) fn content(sent: Vec<Sent>) -> Self {
        Self { task: None, sent, comparison: false }
    }
}

/// Everything not acknowledged yet, by seq. Shared with the reader, which books the acks.
#[derive(Default)]
pub(super) struct Outstanding {
    waiting: Mutex<HashMap<Seq, Waiting>>,
    /// A seq that was settled before its ack, which still comes; 0 for none.
    foreseen: AtomicU64,
}

impl Outstanding {
    fn lock(&self) -> MutexGuard<'_, HashMap<Seq, Waiting>> {
        // Each change to the map is one call: a panic elsewhere cannot leave it half-made.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles a seq whose ack is known to come. Returns false where it has come.
    pub(super) fn foreseen(&self, seq: Seq, observer: &dyn Observer) -> bool {
        let mut waiting = self.lock();
        let Some(done) = waiting.remove(&seq) else { return false };
        // Under the lock: the ack must find the one or the other.
        self.foreseen.store(seq, Ordering::Relaxed);
        drop(waiting);
        if let Some(task) = done.task {
            observer.settled(task, Ok(()));
        }
        true
    }

    pub(super) fn add(&self, seq: Seq, waiting: Waiting) {
        self.lock().insert(seq, waiting);
    }

    /// Adds what a content turned out to be once all of it was read.
    pub(super) fn amend(&self, seq: Seq, sent: Sent) {
        if let Some(waiting) = self.lock().get_mut(&seq) {
            waiting.sent.push(sent);
        }
    }

    /// Closes a seq whose content will not come.
    pub(super) fn give_up(&self, seq: Seq, problem: Problem, observer: &dyn Observer) {
        let task = self.lock().remove(&seq).and_then(|waiting| waiting.task);
        if let Some(task) = task {
            observer.settled(task, Err(problem));
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes acks and tells the observer.
    pub(super) fn acked(&self, seqs: &[Seq], observer: &dyn Observer) -> Result<Booked, Misbehaved> {
        let mut waiting = self.lock();
        let mut booked = Booked::default();
        let mut sent = Vec::new();
        let mut settled = Vec::new();
        for seq in seqs {
            let Some(done) = waiting.remove(seq) else {
                if self.foreseen.compare_exchange(*seq, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    continue;
                }
                return Err(Misbehaved::AnswerToUnknown(*seq));
            };
            sent.extend(done.sent);
            settled.extend(done.task);
            booked.compared |= done.comparison;
        }
        booked.quiet = waiting.is_empty();
        drop(waiting);
        if !sent.is_empty() {
            observer.recorded(sent);
        }
        for task in settled {
            observer.settled(task, Ok(()));
        }
        Ok(booked)
    }

    /// Takes a failure that stands for an ack.
    pub(super) fn failed(
        &self,
        seq: Seq,
        problem: Problem,
        observer: &dyn Observer,
    ) -> Result<Booked, Misbehaved> {
        let mut waiting = self.lock();
        let done = waiting.remove(&seq).ok_or(Misbehaved::AnswerToUnknown(seq))?;
        let booked = Booked { compared: done.comparison, quiet: waiting.is_empty() };
        drop(waiting);
        if let Some(task) = done.task {
            observer.settled(task, Err(problem));
        }
        Ok(booked)
    }
}
