//! Whole: comparisons of everything: how one is sent, what came of it, and when a watch that was to do only that is done.

use std::time::{Duration, Instant, SystemTime};

use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::observer::TaskId;
use driftless_proto::transfer::sender::Tasks;

use super::desk::{NO_BATCH, RENAMES, State};
use super::scan::{Scanned, Work};
use super::session::{End, Trunk};
use crate::control::picture::Reconcile;
use crate::exit::Exit;
use crate::journal::ServerSeen;
use crate::pending::Dirty;

/// What is to be looked at again within this time belongs to the comparison that found it.
const SOON: Duration = Duration::from_millis(500);

/// What was known when a comparison was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ticket(TaskId);

/// How far comparisons of everything have come.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// The last one that came to its end, and whether well.
    ended: Option<(TaskId, bool)>,
    /// Directories that the inventory is following.
    pub(super) learning: usize,
}

impl Whole {
    /// Books the end of a task, if it is one that compared everything; returns whether it is.
    pub(super) fn settled(&mut self, task: TaskId, retry: &[Dirty], well: bool) -> bool {
        let whole = matches!(retry, [dirty] if dirty.subtree && dirty.path.is_root());
        if whole {
            self.ended = Some((task, well));
        }
        whole
    }
}

impl State {
    /// For a comparison that is asked for now: none that is under way will do.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.last_task())
    }

    /// How the comparison ended that was asked for then, once it has.
    pub(super) fn compared(&self, ticket: Ticket) -> Option<Exit> {
        let (task, well) = self.whole.ended?;
        (task > ticket.0).then(|| self.exit(well))
    }

    /// How a watch ends that was to compare everything once, when it has, and nothing is left of that.
    fn done(&self, now: Instant) -> Option<Exit> {
        let (_, well) = self.whole.ended?;
        let waits =
            self.compared.is_some() || self.learned || !self.learn.is_empty() || self.whole.learning > 0;
        let soon = self.pending.next_deadline().is_some_and(|due| due <= now + SOON);
        (!waits && !soon && self.in_flight() == 0).then(|| self.exit(well))
    }

    fn exit(&self, well: bool) -> Exit {
        match self.failing() {
            _ if self.disk_is_full() => Exit::File,
            0 if well => Exit::Ok,
            _ => Exit::Partial,
        }
    }
}

impl Trunk<'_, '_> {
    /// Whether a watch that was to compare everything once has.
    pub(super) fn done(&self, state: &State) -> Option<End> {
        let exit = self.watch.manner.once.then(|| state.done(Instant::now())).flatten()?;
        let held = exit == Exit::Ok && self.known.standing.held.is_some();
        Some(End::Done(if held { Exit::MaxDelete } else { exit }))
    }

    /// First what only has another name by now, then everything; the end of this session where it has to be held.
    pub(super) fn compare_everything(&mut self, tasks: &Tasks) -> Option<End> {
        self.begun = Instant::now();
        let gone = std::mem::take(&mut self.known.gone);
        if !gone.is_empty() {
            let rules = &self.watch.invocation.rules;
            let renamed = super::renamed::find(self.root, &self.journal, rules, gone);
            // It may have read for minutes: what vanished meanwhile is weighed too.
            if let Some(end) = self.weigh() {
                return Some(end);
            }
            self.known.gone.clear();
            self.send(tasks, RENAMES, self.begun, Scanned { work: renamed, failed: Vec::new() });
        }
        self.planned_leaves();
        let work = vec![Work::Compare(RelPath::root())];
        self.send(tasks, NO_BATCH, self.begun, Scanned { work, failed: Vec::new() });
        None
    }

    /// Once everything was compared, and nothing was held back, the journal speaks of this root and this start of the
    /// server.
    pub(super) fn note_compared(&mut self, well: bool, failing: usize, seen: &ServerSeen) {
        let took = self.begun.elapsed().as_secs_f64();
        let held = self.known.standing.held.is_some();
        self.watch.picture(|picture| {
            picture.last_reconcile =
                Some(Reconcile { at: SystemTime::now(), seconds: took, well: well && failing == 0 });
        });
        if well && !held {
            self.watch.note(self.guard.adopt(&self.journal));
            self.watch.note(self.journal.set_server_seen(seen).map_err(std::io::Error::other));
        }
        let then = if self.watch.manner.once { "" } else { ", watching" };
        let text = match (well && failing == 0, held) {
            (true, false) => format!("in sync after {took:.2} s{then}"),
            (true, true) => format!("compared in {took:.2} s but for the deletions that are held{then}"),
            (false, _) => {
                format!("compared in {took:.2} s; {failing} paths failed and are tried again{then}")
            }
        };
        self.watch.status.log(&text);
    }
}
