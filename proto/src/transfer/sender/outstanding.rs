//! What a sender waits to have acknowledged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::problem::{Misbehaved, Problem};
use crate::transfer::observer::{Acked, Observer, Sent, TaskId};
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

    /// Takes acks and tells the observer, in their order: what was sent before a rename was sent to the old name.
    pub(super) fn acked(&self, seqs: &[Seq], observer: &dyn Observer) -> Result<Booked, Misbehaved> {
        let mut waiting = self.lock();
        let mut booked = Booked::default();
        let mut acked = Vec::with_capacity(seqs.len());
        for seq in seqs {
            let Some(done) = waiting.remove(seq) else {
                if self.foreseen.compare_exchange(*seq, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    continue;
                }
                return Err(Misbehaved::AnswerToUnknown(*seq));
            };
            booked.compared |= done.comparison;
            acked.push(Acked { sent: done.sent, task: done.task });
        }
        booked.quiet = waiting.is_empty();
        drop(waiting);
        observer.acked(acked);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Stamp;
    use crate::model::digest::Digest;
    use crate::model::entry::{Entry, Kind, Time};
    use crate::model::path::RelPath;

    /// What was heard, a word each.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Observer for Heard {
        fn acked(&self, acks: Vec<Acked>) {
            let mut heard = self.0.lock().expect("no panic");
            for Acked { sent, task } in acks {
                heard.extend(sent.iter().map(|sent| sent.path.to_string()));
                heard.extend(task.map(|task| task.to_string()));
            }
        }
    }

    #[test]
    fn acks_are_told_in_their_order() {
        let time = Time::default();
        let sent = |path: &str| Sent {
            path: RelPath::parse(path.as_bytes()).expect("path"),
            entry: Entry { kind: Kind::File { size: 0 }, mode: 0, uid: 0, gid: 0, mtime: time },
            stamp: Stamp { dev: 0, ino: 0, nlink: 1, size: 0, mtime: time, ctime: time },
            digest: Digest::of(b""),
            groups: Vec::new(),
        };
        let outstanding = Outstanding::default();
        for (seq, task, path) in
            [(1, Some(11), None), (2, None, Some("a")), (3, Some(13), Some("b")), (4, None, Some("c"))]
        {
            let sent = path.map(sent).into_iter().collect();
            outstanding.add(seq, Waiting { task, sent, comparison: false });
        }
        let heard = Heard::default();
        outstanding.acked(&[1, 2, 3, 4], &heard).expect("all are known");
        assert_eq!(*heard.0.lock().expect("no panic"), ["11", "a", "b", "13", "c"]);
    }
}
