//! Waits: who waits until what was written before some moment is durable.
//!
//! A wait begins with a barrier, which comes down the watcher's own channel: by then the desk has heard of everything
//! that was written before. From there on it is over once nothing that was heard of by then is pending or on its way,
//! whatever its names are by now and however often it failed in between, and once the comparison that is to come or
//! running has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::ProblemClass;

use super::desk::{State, Tasked};
use crate::pending::Scope;
use crate::watcher::{Asked, BarrierId, Signal};

/// One who waits.
struct Wait {
    scope: Scope,
    /// When everything that was written before had been heard of.
    passed: Option<Instant>,
    /// The other names of files that have several were looked at since all else was durable.
    names_are_seen: bool,
}

/// See the module.
pub(super) struct Waits {
    waits: BTreeMap<BarrierId, Wait>,
    last: BarrierId,
    /// The watcher, and the poller beside it; without the first there is no source.
    pub(super) asked: Option<Arc<Asked>>,
    pub(super) polled: Option<Arc<Asked>>,
    /// Since when there is no source.
    pub(super) sourceless: Option<Instant>,
    /// Since when there is no stream.
    pub(super) offline: Option<Instant>,
    /// Since when a comparison of everything is to come or runs: the source is watched anew, or the server another.
    pub(super) uncompared: Option<Instant>,
}

impl Default for Waits {
    fn default() -> Self {
        let now = Some(Instant::now());
        Self {
            waits: BTreeMap::new(),
            last: 0,
            asked: None,
            polled: None,
            sourceless: now,
            offline: now,
            uncompared: now,
        }
    }
}

/// How a wait stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// It goes on, for this reason.
    For(&'static str),
    /// It is over. These paths failed and are tried again, each with the reason.
    Over(Vec<(RelPath, String)>),
}

impl Waits {
    /// Somebody waits for this, from now on.
    pub(super) fn begin(&mut self, scope: Scope) -> BarrierId {
        self.last += 1;
        self.waits.insert(self.last, Wait { scope, passed: None, names_are_seen: false });
        if let Some(asked) = &self.asked {
            asked.barrier(self.last);
        }
        self.last
    }

    /// Nobody does any more.
    pub(super) fn end(&mut self, id: BarrierId) {
        self.waits.remove(&id);
    }

    /// There is no source for now, or another one: nothing is known of what is pending in it.
    pub(super) fn root_gone(&mut self) {
        (self.asked, self.polled) = (None, None);
        self.sourceless.get_or_insert_with(Instant::now);
        self.uncompared.get_or_insert_with(Instant::now);
        self.waits.values_mut().for_each(|wait| wait.passed = None);
    }

    /// The source is watched: who waits, waits for a barrier of this watcher.
    pub(super) fn watched(&mut self, asked: Arc<Asked>, polled: Option<Arc<Asked>>) {
        self.waits.keys().for_each(|id| asked.barrier(*id));
        (self.asked, self.polled, self.sourceless) = (Some(asked), polled, None);
    }

    /// A stream was opened, on which everything is compared first, or not.
    pub(super) fn connected(&mut self, comparing: bool) {
        self.offline = None;
        if comparing {
            self.compare_again();
        }
    }

    /// Everything is to be compared.
    pub(super) fn compare_again(&mut self) {
        self.uncompared.get_or_insert_with(Instant::now);
    }

    pub(super) fn disconnected(&mut self) {
        self.offline.get_or_insert_with(Instant::now);
    }

    /// Everything was compared. What failed of it is pending, and is younger than whoever waits.
    pub(super) fn compared(&mut self, now: Instant) {
        self.uncompared = None;
        for wait in self.waits.values_mut() {
            wait.passed = wait.passed.map(|_| now);
        }
    }

    /// When what this one waits for had been heard of.
    pub(super) fn passed(&self, id: BarrierId) -> Option<Instant> {
        self.waits.get(&id)?.passed
    }

    /// The other names of files that have several were looked at for these.
    pub(super) fn names_are_seen(&mut self, waiting: &[BarrierId]) {
        for id in waiting {
            if let Some(wait) = self.waits.get_mut(id) {
                wait.names_are_seen = true;
            }
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waits.len()
    }

    pub(super) fn follow(&mut self, signal: &Signal) {
        self.waits.values_mut().for_each(|wait| wait.scope.follow(signal));
    }
}

impl State {
    /// The watcher has said everything that happened before this was asked for.
    pub(super) fn barrier(&mut self, id: BarrierId, now: Instant) {
        if let Some(wait) = self.waits.waits.get_mut(&id) {
            wait.passed = Some(now);
            self.pending.hurry(&wait.scope, now);
        }
    }

    /// How a wait stands. Looks at every mark.
    pub(super) fn waited(&self, id: BarrierId) -> Waited {
        match (self.all_but_names(id), self.waits.waits.get(&id)) {
            (Waited::Over(_), Some(wait)) if !wait.names_are_seen => {
                Waited::For("looking at files that have several names")
            }
            (waited, _) => waited,
        }
    }

    /// Those for whom only the other names of files are left to be looked at. Looks at every mark for each who waits.
    pub(super) fn wait_for_names(&self) -> Vec<BarrierId> {
        let waits = self.waits.waits.iter().filter(|(_, wait)| !wait.names_are_seen);
        let waits = waits.filter(|(id, _)| matches!(self.all_but_names(**id), Waited::Over(_)));
        waits.map(|(id, _)| *id).collect()
    }

    fn all_but_names(&self, id: BarrierId) -> Waited {
        let Some(Wait { scope, passed, .. }) = self.waits.waits.get(&id) else {
            return Waited::Over(Vec::new());
        };
        if self.waits.asked.is_none() || self.root_gone.is_some() {
            return Waited::For("the source is not there");
        }
        if self.waits.offline.is_some() {
            return Waited::For("not connected");
        }
        let Some(by) = *passed else { return Waited::For("looking for what changed") };
        if self.waits.uncompared.is_some() {
            return Waited::For("comparing");
        }
        let flies = |task: &Tasked| {
            self.batches.get(&task.batch).is_some_and(|flight| flight.since <= by)
                && task.retry.iter().any(|dirty| scope.concerns_dirty(dirty))
        };
        let mut failed = self.batches.values().filter(|flight| flight.since <= by);
        if self.pending.waits(scope, by)
            || self.looked_at().any(|taken| taken.since <= by)
            || self.tasks.values().any(flies)
            || failed.any(|flight| flight.failed.iter().any(|dirty| scope.concerns_dirty(dirty)))
        {
            return Waited::For("changes are not durable yet");
        }
        let mut failing = Vec::new();
        for path in self.pending.put_off(scope, by) {
            match self.failures.get(path) {
                Some(failures) if failures.class == ProblemClass::Path => {
                    failing.push((path.clone(), failures.text.clone()));
                }
                Some(failures) if failures.class == ProblemClass::DiskFull => {
                    return Waited::For("the server's disk is full");
                }
                _ => return Waited::For("a path changes while it is read"),
            }
        }
        Waited::Over(failing)
    }
}
