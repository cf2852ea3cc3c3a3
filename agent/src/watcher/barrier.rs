//! watcher: barriers: a word that is said once everything that happened before it was asked for has been said.
//!
//! It comes down the same channel as everything else, behind all that the kernel had queued when it was asked for,
//! behind what was found by looking because of that, and behind a whole look at what is polled. Changes that go on
//! meanwhile do not hold it up: tasks are counted in cohorts, one for each stretch between two barriers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

/// Names a barrier to whoever asked for it.
pub type BarrierId = u64;

/// What a running engine is asked, and what it shows of itself. Nothing here ever waits for it.
#[derive(Debug)]
pub struct Asked {
    barriers: Mutex<Vec<BarrierId>>,
    /// Readable while there may be barriers.
    bell: OwnedFd,
    directories: AtomicU64,
}

impl Asked {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { barriers: Mutex::default(), bell, directories: AtomicU64::new(0) }))
    }

    /// Asks for [`Signal::Barrier`](super::Signal::Barrier). It does not come once the root is gone.
    pub fn barrier(&self, id: BarrierId) {
        self.barriers.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        // A counter at its limit would fail, but then it is readable already.
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).ok();
    }

    /// Directories that the engine knows by now.
    #[must_use]
    pub fn directories(&self) -> u64 {
        self.directories.load(Ordering::Relaxed)
    }

    pub(super) fn show_directories(&self, count: usize) {
        self.directories.store(count as u64, Ordering::Relaxed);
    }

    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Takes every barrier that was asked for.
    pub(super) fn take(&self) -> Vec<BarrierId> {
        // Before the barriers: one that comes in between rings again.
        rustix::io::read(&self.bell, &mut [0; 8]).ok();
        std::mem::take(&mut *self.barriers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Every task holds the cohort it belongs to, and hands it on to the tasks that come of it.
pub(super) type Cohort = Arc<()>;

/// One that was asked for.
#[derive(Debug)]
struct Waiting {
    id: BarrierId,
    /// It is reached when the events up to here have been handled.
    at: u64,
    /// Once it is reached: when, and what is still to be done of what came before.
    reached: Option<(Instant, Weak<()>)>,
}

/// The barriers of one engine, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    /// Of what comes of events now.
    open: Cohort,
    /// Of the task that is being done.
    working: Option<Cohort>,
    waiting: VecDeque<Waiting>,
}

impl Barriers {
    /// The cohort of a task that is given now.
    pub(super) fn cohort(&self) -> Cohort {
        Arc::clone(self.working.as_ref().unwrap_or(&self.open))
    }

    /// A task of this cohort is being done from now on, or none.
    pub(super) fn work(&mut self, cohort: Option<Cohort>) {
        self.working = cohort;
    }

    /// Notes barriers that are reached when the events up to a position have been handled.
    pub(super) fn ask(&mut self, ids: Vec<BarrierId>, at: u64) {
        self.waiting.extend(ids.into_iter().map(|id| Waiting { id, at, reached: None }));
    }

    /// The events up to a position have been handled; `u64::MAX` for all that were queued.
    pub(super) fn reach(&mut self, position: u64, now: Instant) {
        for waiting in &mut self.waiting {
            if waiting.reached.is_none() && waiting.at <= position {
                waiting.reached = Some((now, Arc::downgrade(&self.open)));
                self.open = Cohort::default();
            }
        }
    }

    /// Whether any waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the barriers behind which nothing is to be done any more. `settled` says whether what is no task has come
    /// to its end too, as far as it began before a time.
    pub(super) fn pass(&mut self, settled: impl Fn(Instant) -> bool) -> Vec<BarrierId> {
        let mut passed = Vec::new();
        while let Some(Waiting { id, reached: Some((at, cohort)), .. }) = self.waiting.front() {
            if cohort.strong_count() > 0 || !settled(*at) {
                break;
            }
            passed.push(*id);
            self.waiting.pop_front();
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_waits_for_what_came_before_it_and_for_nothing_later() {
        let mut barriers = Barriers::default();
        let before = barriers.cohort();
        barriers.ask(vec![1], 100);
        barriers.reach(99, Instant::now());
        assert!(barriers.pass(|_| true).is_empty(), "events are queued");
        barriers.reach(100, Instant::now());
        let after = barriers.cohort();
        assert!(barriers.pass(|_| true).is_empty(), "a task is left");
        // A task that came of an earlier one counts as earlier, whenever it is given.
        barriers.work(Some(Arc::clone(&before)));
        let offspring = barriers.cohort();
        barriers.work(None);
        drop(before);
        assert!(barriers.pass(|_| true).is_empty(), "its offspring is left");
        drop(offspring);
        assert!(barriers.pass(|_| false).is_empty());
        assert_eq!(barriers.pass(|_| true), [1], "{after:?} came later");
        assert!(barriers.is_empty());
    }

    #[test]
    fn barriers_pass_in_their_order() {
        let mut barriers = Barriers::default();
        barriers.ask(vec![1, 2], 5);
        let first = barriers.cohort();
        barriers.reach(5, Instant::now());
        barriers.ask(vec![3], 6);
        barriers.reach(u64::MAX, Instant::now());
        assert!(barriers.pass(|_| true).is_empty());
        drop(first);
        assert_eq!(barriers.pass(|_| true), [1, 2, 3]);
    }
}
