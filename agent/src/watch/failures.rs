//! Failures: the paths that failed and have not come through since, how often in a row, and when each is tried again.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant, SystemTime};

use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::ProblemClass;

use crate::pending::MARKS_MAX;

/// A path that failed is looked at again after the first of these, each time twice as long, at most the second: what
/// is in the way may last, and a file that nobody may read must not keep a host busy.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Likewise while the server's disk is full: it will be seen to soon, and nothing else gets through until then.
const RETRY_FULL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// Likewise for a file that changed under the reading, and for a rename that could not be repeated.
const RETRY_UNSTABLE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// How a path failed, and how often in a row.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) count: u32,
    pub(super) class: ProblemClass,
    /// The last time, in words.
    pub(super) text: String,
    pub(super) at: SystemTime,
    /// The same, to tell what came after it.
    when: Instant,
}

/// See the module. A path leaves when it comes through, or when something above it does that began later; it follows
/// renames as the marks do.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeMap<RelPath, Failure>);

impl Failures {
    /// Books a failure; returns whether it is the first in a row.
    pub(super) fn book(&mut self, path: &RelPath, class: ProblemClass, text: String) -> bool {
        if self.0.len() >= MARKS_MAX && !self.0.contains_key(path) {
            // So many are not told one by one, and are compared as a whole.
            return false;
        }
        let before = self.0.get(path).filter(|before| before.class == class);
        let count = before.map_or(0, |before| before.count) + 1;
        let (at, when) = (SystemTime::now(), Instant::now());
        self.0.insert(path.clone(), Failure { count, class, text, at, when });
        count == 1
    }

    /// Whether a path has failed since this time, and not come through.
    pub(super) fn has_failed_since(&self, path: &RelPath, at: Instant) -> bool {
        self.0.get(path).is_some_and(|failure| failure.when >= at)
    }

    /// A path has come through, with everything beneath it if `subtree`, as it was at this time.
    pub(super) fn through(&mut self, path: &RelPath, subtree: bool, begun: Instant) {
        let through = if subtree { self.within(path) } else { vec![path.clone()] };
        for path in through {
            // What failed meanwhile is what did not come with it: of a directory its own attributes, say.
            if self.0.get(&path).is_some_and(|failure| failure.when <= begun) {
                self.0.remove(&path);
            }
        }
    }

    /// A path is no longer there, so nothing is beneath it; whether the copy follows is still open.
    pub(super) fn gone_beneath(&mut self, path: &RelPath) {
        self.within(path)
            .iter()
            .filter(|beneath| *beneath != path)
            .for_each(|beneath| drop(self.0.remove(beneath)));
    }

    /// What failed here is to be found there now.
    pub(super) fn renamed(&mut self, from: &RelPath, to: &RelPath) {
        if self.0.is_empty() || from == to {
            return;
        }
        for path in self.within(to) {
            self.0.remove(&path);
        }
        for path in self.within(from) {
            let moved = path.below(from).and_then(|rest| to.join(&rest).ok());
            if let (Some(failure), Some(moved)) = (self.0.remove(&path), moved) {
                self.0.insert(moved, failure);
            }
        }
    }

    /// A path and what is beneath it. In canonical order that comes right after it.
    fn within(&self, path: &RelPath) -> Vec<RelPath> {
        let from = self.0.range::<RelPath, _>((Bound::Included(path), Bound::Unbounded));
        from.map(|(path, _)| path).take_while(|other| other.is_within(path)).cloned().collect()
    }

    /// How long a path that failed rests until it is tried again.
    pub(super) fn delay_of(&self, path: &RelPath) -> Duration {
        let Some(failure) = self.0.get(path) else { return RETRY.0 };
        let (first, longest) = match failure.class {
            ProblemClass::DiskFull => RETRY_FULL,
            ProblemClass::Unstable | ProblemClass::Vanished => RETRY_UNSTABLE,
            ProblemClass::Path => RETRY,
        };
        (first * 2_u32.pow(failure.count.saturating_sub(1).min(16))).min(longest)
    }

    /// How long the paths of a batch rest: what fails soonest again does not hold up the rest.
    pub(super) fn shortest<'a>(&self, paths: impl Iterator<Item = &'a RelPath>) -> Duration {
        paths.map(|path| self.delay_of(path)).min().unwrap_or(RETRY.0)
    }

    /// Whether the server's disk was full for a path that has not come through since.
    pub(super) fn disk_is_full(&self) -> bool {
        self.0.values().any(|failure| failure.class == ProblemClass::DiskFull)
    }

    pub(super) fn get(&self, path: &RelPath) -> Option<&Failure> {
        self.0.get(path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RelPath, &Failure)> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(path: &str) -> RelPath {
        RelPath::parse_typed(path.as_bytes()).expect("path")
    }

    fn failed(paths: &[&str]) -> Failures {
        let mut failures = Failures::default();
        for path in paths {
            failures.book(&p(path), ProblemClass::Path, "no".into());
        }
        failures
    }

    fn left(failures: &Failures) -> Vec<String> {
        failures.iter().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn what_is_above_comes_through_for_what_is_beneath() {
        let mut failures = failed(&["d", "d/a", "d/a/b", "d.x", "e"]);
        failures.through(&p("d/a"), false, Instant::now());
        assert_eq!(left(&failures), ["d", "d/a/b", "d.x", "e"]);
        failures.through(&p("d"), true, Instant::now());
        assert_eq!(left(&failures), ["d.x", "e"]);
    }

    #[test]
    fn what_fails_while_its_directory_is_compared_stays() {
        let begun = Instant::now();
        let mut failures = failed(&["d", "d/a"]);
        failures.through(&p("d"), true, begun);
        assert_eq!(left(&failures), ["d", "d/a"]);
    }

    #[test]
    fn what_is_gone_has_nothing_beneath_it() {
        let mut failures = failed(&["d", "d/a"]);
        failures.gone_beneath(&p("d"));
        assert_eq!(left(&failures), ["d"]);
    }

    #[test]
    fn failures_go_where_their_paths_go() {
        let mut failures = failed(&["d/a", "e", "e/x"]);
        failures.book(&p("d/a"), ProblemClass::Path, "no".into());
        failures.renamed(&p("d"), &p("e"));
        assert_eq!(left(&failures), ["e/a"]);
        assert_eq!(failures.delay_of(&p("e/a")), RETRY.0 * 2, "it is the same failure");
        assert_eq!(failures.delay_of(&p("d/a")), RETRY.0);
    }
}
