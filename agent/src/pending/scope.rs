//! Scopes: what somebody waits for, and whether any of it is pending.

use std::time::Instant;

use driftless_proto::model::path::RelPath;

use super::{Dirty, Pending};
use crate::watcher::Signal;

/// Places of one scope; with more it is everything.
const PLACES_MAX: usize = 64;

/// Some places with everything beneath. It follows what is renamed out of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    places: Vec<RelPath>,
}

impl Scope {
    /// Of one place.
    #[must_use]
    pub fn of(place: RelPath) -> Self {
        Self { places: vec![place] }
    }

    /// Whether a path lies in it, or, of one that stands for everything beneath, whether part of the scope does.
    #[must_use]
    pub fn concerns(&self, path: &RelPath, subtree: bool) -> bool {
        self.places.iter().any(|place| path.is_within(place) || subtree && place.is_within(path))
    }

    /// As [`Scope::concerns`].
    #[must_use]
    pub fn concerns_dirty(&self, dirty: &Dirty) -> bool {
        self.concerns(&dirty.path, dirty.subtree)
    }

    /// What was written here may stand elsewhere from now on.
    pub fn follow(&mut self, signal: &Signal) {
        let Signal::Renamed { from, to, .. } = signal else { return };
        let mut more = Vec::new();
        for place in &self.places {
            if from.is_within(place) {
                more.push(to.clone());
            } else if let Some(rest) = place.below(from) {
                more.push(to.join(&rest).unwrap_or_else(|_| RelPath::root()));
            }
        }
        for place in more {
            if !self.places.iter().any(|other| place.is_within(other)) {
                self.places.push(place);
            }
        }
        if self.places.len() > PLACES_MAX {
            self.places = vec![RelPath::root()];
        }
    }
}

impl Pending {
    /// Whether anything in a scope that was heard of by then is to be looked at. What failed and is put off is another
    /// matter: see [`Pending::put_off`].
    #[must_use]
    pub fn waits(&self, scope: &Scope, by: Instant) -> bool {
        let marked =
            |(path, mark): (&RelPath, &super::Mark)| mark.since <= by && scope.concerns(path, mark.subtree);
        let renamed = |rename: &super::Rename| {
            // A file's name stands for itself only, but then nothing of the scope lies beneath it.
            scope.concerns(&rename.from, true) || scope.concerns(&rename.to, true)
        };
        self.marks.iter().any(marked) || self.held.since(by).any(renamed)
    }

    /// Every path that is marked or put off, and whether everything beneath it is meant.
    pub fn paths(&self) -> impl Iterator<Item = (&RelPath, bool)> {
        let marks = self.marks.iter().map(|(path, mark)| (path, mark.subtree));
        marks.chain(self.later.iter().map(|(path, later)| (path, later.subtree)))
    }

    /// What failed in a scope by then and is put off.
    pub fn put_off<'a>(&'a self, scope: &'a Scope, by: Instant) -> impl Iterator<Item = &'a RelPath> {
        let mine = move |(path, later): &(&RelPath, &super::Later)| {
            later.since <= by && scope.concerns(path, later.subtree)
        };
        self.later.iter().filter(mine).map(|(path, _)| path)
    }

    /// Looks at once at what is put off in a scope: somebody waits for it.
    pub fn hurry(&mut self, scope: &Scope, now: Instant) {
        let mine = self.later.iter().filter(|(path, later)| scope.concerns(path, later.subtree));
        let mine = mine.map(|(path, _)| path.clone()).collect();
        self.look_now(mine, now);
    }

    /// Whether a path, or what covers it, is to be looked at, and since when.
    #[must_use]
    pub fn since(&self, path: &RelPath) -> Option<Instant> {
        let own = self.marks.get(path).map(|mark| mark.since);
        let put_off = self.later.get(path).map(|later| later.since);
        let covering = self.covering(path).and_then(|dir| self.marks.get(&dir)).map(|mark| mark.since);
        [own, put_off, covering].into_iter().flatten().min()
    }
}
