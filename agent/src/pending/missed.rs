//! Missed: what was met on the way and then was not there to be read. Mostly it is gone, and its mark says so. Or it went
//! along with a directory that was renamed, and then the rename alone does not bring it across: it is looked for there.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;

use super::{Dirty, MARKS_MAX, Pending};

/// How long a rename may take to be heard of after what it carried along was missed.
pub(super) const HEARD: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
struct Gone {
    since: Instant,
    until: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Missed(BTreeMap<RelPath, Gone>);

impl Missed {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.0.values().map(|gone| gone.since).min()
    }

    /// What is missed, and since when.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RelPath, Instant)> {
        self.0.iter().map(|(path, gone)| (path, gone.since))
    }

    /// When the first of it is given up.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().map(|gone| gone.until).min()
    }

    /// No rename has told of these: they are gone.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.0.retain(|_, gone| gone.until > now);
    }

    /// What was missed beneath this name, and since when.
    fn take_within(&mut self, dir: &RelPath) -> Vec<(RelPath, Instant)> {
        let within = self.0.range::<RelPath, _>((Bound::Included(dir), Bound::Unbounded));
        let within = within.map(|(path, _)| path).take_while(|path| path.is_within(dir));
        let paths: Vec<RelPath> = within.cloned().collect();
        let taken = paths.into_iter().map(|path| (self.0.remove(&path).map(|gone| gone.since), path));
        taken.filter_map(|(since, path)| Some((path, since?))).collect()
    }
}

impl Pending {
    /// What stood at this path was met by something on its way, and was not there any more when it was to be read or put.
    pub fn missed(&mut self, path: &RelPath, since: Instant, now: Instant) {
        for moved in self.names_now(path).into_iter().filter(|moved| moved != path) {
            self.look_again(Dirty { path: moved, subtree: true }, since, Duration::ZERO, now);
        }
        let gone = self.missed.0.entry(path.clone()).or_insert(Gone { since, until: now });
        gone.since = gone.since.min(since);
        gone.until = now + HEARD;
        self.wake_at(now + HEARD);
        if self.missed.len() > MARKS_MAX {
            self.lost(now);
        }
    }

    /// What was missed went along with this rename.
    pub(super) fn find_missed(&mut self, from: &RelPath, to: &RelPath, now: Instant) {
        for (path, since) in self.missed.take_within(from) {
            let moved = path.below(from).and_then(|rest| to.join(&rest).ok());
            if let Some(path) = moved {
                self.mark(path, true, since, now);
            }
        }
    }
}
