//! guard: the brake on rewrites: how many files that the copy has may get another content before somebody is asked. Off
//! unless it is asked for: a build, a restore or an update of a database does the same as who encrypts a disk.
//!
//! A file counts once in ten minutes, however often it changes. Another size or another time of change is another
//! content here: nobody reads a million files to find out that they were touched.
//!
//! Pure: the time is passed in. Touches: nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Instant;

use driftless_proto::model::path::RelPath;

use super::brake::{LOOK_AHEAD, Limit, WINDOW};

/// Counts what is rewritten.
#[derive(Debug)]
pub struct Rewrites {
    limit: Option<Limit>,
    /// Files that were rewritten, by the hash of their paths (some 40 bytes each, a path would cost 150), and when they
    /// were last. Two that share one count as one.
    seen: HashMap<u64, Instant>,
    hasher: RandomState,
    /// Files that were sent since the last look.
    unseen: u64,
    pruned: Option<Instant>,
}

impl Rewrites {
    /// With this limit; `None` never holds.
    #[must_use]
    pub fn new(limit: Option<Limit>) -> Self {
        Self { limit, seen: HashMap::new(), hasher: RandomState::new(), unseen: 0, pruned: None }
    }

    /// Whether there is a limit.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether these are too many, with what was rewritten in the last ten minutes, of a copy of so many entries: the
    /// reason, as a clause for the operator.
    pub fn holds(&mut self, pending: &[RelPath], known: u64, now: Instant) -> Option<String> {
        let limit = self.limit?;
        if pending.is_empty() || (self.seen.len() + pending.len()) as u64 <= limit.entries {
            return None;
        }
        self.prune(now);
        let before = self.seen.len() as u64;
        let more = pending.iter().filter(|path| !self.seen.contains_key(&self.hash(path))).count() as u64;
        let going = before + more;
        let over = more > 0
            && going > limit.entries
            && u128::from(going) * 100 > u128::from(known) * u128::from(limit.percent);
        over.then(|| {
            let percent = going * 100 / known.max(1);
            let before = if before > 0 {
                format!(" ({before} of them in the last ten minutes)")
            } else {
                String::new()
            };
            format!(
                "{going} of {known} entries ({percent} %) would be rewritten{before}, the brake is {limit}"
            )
        })
    }

    /// These have left.
    pub fn left(&mut self, paths: &[RelPath], now: Instant) {
        if self.limit.is_none() {
            return;
        }
        for path in paths {
            let hash = self.hash(path);
            self.unseen += u64::from(self.seen.insert(hash, now).is_none());
        }
        let lately = self.pruned.is_some_and(|at| now.saturating_duration_since(at) < WINDOW);
        if !lately {
            self.prune(now);
        }
    }

    /// Whether it is time to look at what else was rewritten, before so many more leave of so many.
    #[must_use]
    pub fn wants_a_look(&self, pending: u64, known: u64) -> bool {
        let (least, part) = LOOK_AHEAD;
        // A copy too small to exceed the limit needs no look.
        let possible = self.limit.is_some_and(|limit| known > limit.entries);
        possible && pending > 0 && self.unseen + pending > least.max(known / part)
    }

    /// A look was taken.
    pub fn looked(&mut self) {
        self.unseen = 0;
    }

    /// The operator has agreed to what was rewritten so far.
    pub fn forget(&mut self) {
        self.seen.clear();
        self.unseen = 0;
    }

    fn hash(&self, path: &RelPath) -> u64 {
        self.hasher.hash_one(path)
    }

    fn prune(&mut self, now: Instant) {
        self.seen.retain(|_, at| now.saturating_duration_since(*at) < WINDOW);
        self.pruned = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn paths(range: std::ops::Range<u32>) -> Vec<RelPath> {
        range.map(|i| RelPath::parse(i.to_string().as_bytes()).expect("path")).collect()
    }

    #[test]
    fn a_file_counts_once_in_ten_minutes() {
        let now = Instant::now();
        let mut brake = Rewrites::new(Some(Limit { entries: 10, percent: 20 }));
        for minute in 0..9 {
            brake.left(&paths(0..8), now + Duration::from_secs(60 * minute));
            assert_eq!(brake.holds(&paths(0..10), 20, now + Duration::from_secs(60 * minute)), None);
        }
        let at = now + Duration::from_secs(540);
        let reason = brake.holds(&paths(5..11), 20, at).expect("eleven of twenty");
        assert!(reason.starts_with("11 of 20 entries (55 %) would be rewritten (8 of them"), "{reason}");
        assert_eq!(brake.holds(&paths(5..11), 55, at), None, "a fifth is not more than a fifth");
        assert!(brake.holds(&paths(5..11), 54, at).is_some());
        assert_eq!(brake.holds(&paths(0..8), 1, at), None, "all of these have left");
        assert_eq!(brake.holds(&paths(5..11), 20, at + WINDOW), None, "six");
        brake.forget();
        assert_eq!(brake.holds(&paths(5..11), 20, at), None);
        let mut off = Rewrites::new(None);
        off.left(&paths(0..8), now);
        assert_eq!(off.holds(&paths(0..100), 1, now), None);
        assert!(!off.is_on() && off.seen.is_empty());
    }

    #[test]
    fn it_looks_ahead_before_many_have_left() {
        let now = Instant::now();
        let mut brake = Rewrites::new(Some(Limit { entries: 100, percent: 0 }));
        assert!(!brake.wants_a_look(64, 2500) && brake.wants_a_look(65, 2500));
        brake.left(&paths(0..60), now);
        brake.left(&paths(0..60), now);
        assert!(!brake.wants_a_look(4, 2500) && brake.wants_a_look(5, 2500));
        brake.looked();
        assert!(!brake.wants_a_look(5, 2500));
        assert!(!brake.wants_a_look(90, 90), "too small a copy");
    }
}
