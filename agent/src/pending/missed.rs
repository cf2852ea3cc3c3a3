//! Missed: where something was to be read, put or removed and nothing stood. Mostly it is gone, and its mark says so. Or it
//! went along with a directory that was renamed, and then the rename alone does not bring it across, or brings across
//! what lacks it by now: it is looked for at its new name.
//!
//! Nobody waits for what is missed: the rename is heard of in its time, like any change, and is followed by marks.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;

use super::{Dirty, MARKS_MAX, Pending};

/// How long a rename may take to be heard of after it was done. The watcher reads its queue at once; a busy machine lets it
/// wait for its turn.
const HEARD: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
struct Gone {
    since: Instant,
    until: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Missed {
    paths: BTreeMap<RelPath, Gone>,
    /// There were too many to be remembered: until then, everything may have been missed.
    all: Option<Instant>,
    cleared: Option<Instant>,
}

impl Missed {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn add(&mut self, path: &RelPath, since: Instant, now: Instant) {
        if self.cleared.is_none_or(|cleared| cleared + HEARD <= now) {
            self.paths.retain(|_, gone| gone.until > now);
            self.cleared = Some(now);
        }
        let gone = self.paths.entry(path.clone()).or_insert(Gone { since, until: now });
        gone.since = gone.since.min(since);
        gone.until = now + HEARD;
        if self.paths.len() > MARKS_MAX {
            self.clear();
            self.all = Some(now + HEARD);
        }
    }

    /// What was missed beneath this name, and since when.
    fn take_within(&mut self, dir: &RelPath, now: Instant) -> Vec<(RelPath, Instant)> {
        if self.all.is_some_and(|until| until > now) {
            return vec![(dir.clone(), now)];
        }
        let within = self.paths.range::<RelPath, _>((Bound::Included(dir), Bound::Unbounded));
        let within = within.map(|(path, _)| path).take_while(|path| path.is_within(dir));
        let paths: Vec<RelPath> = within.cloned().collect();
        let taken = paths.into_iter().filter_map(|path| self.paths.remove(&path).map(|gone| (path, gone)));
        taken.filter(|(_, gone)| gone.until > now).map(|(path, gone)| (path, gone.since)).collect()
    }
}

impl Pending {
    /// Something that was taken met this path, or was to find something there, and nothing stands there any more.
    pub fn missed(&mut self, path: &RelPath, since: Instant, now: Instant) {
        for moved in self.names_now(path).into_iter().filter(|moved| moved != path) {
            self.look_again(Dirty { path: moved, subtree: true }, since, Duration::ZERO, now);
        }
        self.missed.add(path, since, now);
    }

    /// What was missed beneath the old name of a directory is beneath the new one.
    pub(super) fn find_missed(&mut self, from: &RelPath, to: &RelPath, now: Instant) {
        for (path, since) in self.missed.take_within(from, now) {
            if let Some(path) = path.below(from).and_then(|rest| to.join(&rest).ok()) {
                self.mark(path, true, since, now);
            }
        }
    }
}
