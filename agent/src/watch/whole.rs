//! Whole: how far comparisons of everything have come, and when a watch that was to do only that is done.

use std::time::{Duration, Instant};

use driftless_proto::transfer::observer::TaskId;

use super::desk::State;
use super::session::{End, Trunk};
use crate::exit::Exit;
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
        match self.failures.len() {
            _ if self.failures.disk_is_full() => Exit::File,
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
}
