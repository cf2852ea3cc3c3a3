//! watcher: inotify: renames whose second half has not come yet.
//!
//! The two halves share a cookie; they need not be neighbours, nor come in one read (`inotify(7)`: "inserting the
//! IN_MOVED_FROM and IN_MOVED_TO event pair into the event queue is not atomic"). What has no second half in time went
//! outside.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::tree::Wd;
use crate::broken::{Mechanism, is_broken};

/// The second half is awaited this long after the queue was last seen empty. The kernel queues both halves in one
/// system call, so only a writer that was interrupted right there is later.
const PATIENCE: Duration = Duration::from_millis(20);

/// The second half is awaited no longer than this, though the queue never runs empty.
const PATIENCE_MAX: Duration = Duration::from_secs(2);

/// The first half of a rename: what left, and where from. The place is a node and a name, not a path: a directory
/// above may itself be renamed before the second half comes.
#[derive(Debug)]
pub(super) struct Departed {
    /// The directory it left.
    pub(super) parent: Wd,
    /// Its name there.
    pub(super) name: Box<[u8]>,
    /// Whether it is a directory.
    pub(super) dir: bool,
    /// Its node, if it is a watched directory; detached meanwhile.
    pub(super) node: Option<Wd>,
}

/// What waits.
///
/// Invariant: `order` has every waiting entry, oldest first; entries that were taken meanwhile are skipped there.
#[derive(Debug, Default)]
pub(super) struct Moves {
    departed: HashMap<u32, (Departed, Instant)>,
    order: VecDeque<(u32, Instant)>,
}

impl Moves {
    /// A first half.
    pub(super) fn depart(&mut self, cookie: u32, departed: Departed, now: Instant) {
        self.departed.insert(cookie, (departed, now));
        self.order.push_back((cookie, now));
    }

    /// The first half that belongs to this second one.
    pub(super) fn arrive(&mut self, cookie: u32) -> Option<Departed> {
        let oldest =
            || self.order.iter().map(|(cookie, _)| *cookie).find(|one| self.departed.contains_key(one));
        let cookie = if is_broken(Mechanism::Cookies) { oldest()? } else { cookie };
        self.take(cookie)
    }

    fn take(&mut self, cookie: u32) -> Option<Departed> {
        self.departed.remove(&cookie).map(|(departed, _)| departed)
    }

    /// Whether a first half that came before this time waits still.
    pub(super) fn any_since_before(&self, time: Instant) -> bool {
        self.departed.values().any(|(_, at)| *at <= time)
    }

    /// When something may be given up, if the queue is empty then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.order.front().map(|&(_, at)| at + PATIENCE)
    }

    /// Gives up what has waited long enough: it went outside. `drained`: the queue was empty just now, so no second
    /// half is in it.
    pub(super) fn expire(&mut self, now: Instant, drained: bool) -> Vec<Departed> {
        let patience = if drained { PATIENCE } else { PATIENCE_MAX };
        let mut expired = Vec::new();
        while let Some(&(cookie, at)) = self.order.front().filter(|(_, at)| *at + patience <= now) {
            self.order.pop_front();
            // A cookie that was paired and used again since has a later time.
            if self.departed.get(&cookie).is_some_and(|(_, since)| *since == at) {
                expired.extend(self.take(cookie));
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn departed(name: &[u8]) -> Departed {
        Departed { parent: 1, name: name.into(), dir: false, node: None }
    }

    #[test]
    fn halves_pair_by_cookie_in_any_order() {
        let now = Instant::now();
        let mut moves = Moves::default();
        (0..20).for_each(|cookie| moves.depart(u32::from(cookie), departed(&[cookie]), now));
        for cookie in (0..20).rev() {
            assert_eq!(*moves.arrive(u32::from(cookie)).expect("departed").name, [cookie]);
        }
        assert!(moves.arrive(7).is_none());
        assert!(moves.expire(now + PATIENCE_MAX, true).is_empty());
    }

    #[test]
    fn a_full_queue_is_waited_for_within_reason() {
        let now = Instant::now();
        let mut moves = Moves::default();
        moves.depart(7, departed(b"a"), now);
        assert!(moves.expire(now + PATIENCE / 2, true).is_empty());
        assert!(moves.expire(now + PATIENCE, false).is_empty());
        assert_eq!(moves.deadline(), Some(now + PATIENCE));
        assert_eq!(moves.expire(now + PATIENCE_MAX, false).len(), 1);
        assert_eq!(moves.deadline(), None);
    }
}
