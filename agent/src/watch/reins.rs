//! Reins: how a watch is held by who started it: stopped, slowed down, asked to compare everything, and looked after.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::link::Rate;

use super::desk::Desk;
pub(crate) use super::whole::Ticket;
use crate::control::schedule::Timed;
use crate::exit::Exit;
use crate::pending::Dirty;
use crate::voice::Voice;

/// A trunk that waits comes by at least twice a second. One that has not for so long hangs.
const HANGS: Duration = Duration::from_secs(30);

/// What kind of watch it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// The job it belongs to. There is nobody to ask for a password then.
    pub(crate) job: Option<String>,
    /// It ends once everything was compared, and waits for no changes.
    pub(crate) once: bool,
    /// It never gives up: what ends others it tells, and tries again.
    pub(crate) persists: bool,
    /// What the job's schedule tells.
    pub(crate) timed: Timed,
    pub(crate) voice: Voice,
}

/// See the module. Clones hold the same watch.
#[derive(Clone, Default)]
pub(crate) struct Reins {
    pub(super) desk: Arc<Desk>,
    pub(super) pulse: Arc<Pulse>,
    /// How fast it may send.
    pub(super) rate: Rate,
}

impl Reins {
    /// Of a watch that sends as fast as this allows.
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, ..Self::default() }
    }

    /// From now on it may send so fast, in bytes a second; 0 for no limit.
    pub(crate) fn limit(&self, bytes: u64) {
        self.rate.set(bytes);
    }

    /// Ends it, soon.
    pub(crate) fn stop(&self) {
        self.desk.leave(|state| state.stop = true);
    }

    /// Asks for a comparison of everything, beside the live changes.
    pub(crate) fn compare(&self) -> Ticket {
        let mut ticket = Ticket::default();
        self.desk.leave(|state| {
            ticket = state.ticket();
            let now = Instant::now();
            state.look_again(Dirty { path: RelPath::root(), subtree: true }, now, Duration::ZERO);
        });
        ticket
    }

    /// How a comparison that was asked for ended, once it has.
    pub(crate) fn compared(&self, ticket: Ticket) -> Option<Exit> {
        self.desk.lock().compared(ticket)
    }

    /// Whether it has a stream.
    pub(crate) fn is_connected(&self) -> bool {
        self.desk.lock().waits.offline.is_none()
    }

    /// To be held while it lives: a trunk that ended, or panicked, does not hang, whatever it was at.
    pub(crate) fn life(&self) -> Life {
        Life(Arc::clone(&self.pulse))
    }

    /// Whether its trunk shows life. While it is at work on the source's file system it counts as alive for as long as
    /// that takes: a dead NFS server must not be taken for a bug of ours, and starting again would not cure it.
    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        self.pulse.is_alive(now)
    }
}

/// See [`Reins::life`].
pub(crate) struct Life(Arc<Pulse>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.works();
    }
}

/// When the trunk last came by where it waits.
#[derive(Default)]
pub(super) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    /// It waits for something, and will come by again.
    pub(super) fn waits(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// It works: how long that takes is up to disks.
    pub(super) fn works(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_alive(&self, now: Instant) -> bool {
        let waits = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.is_none_or(|since| now.saturating_duration_since(since) < HANGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trunk_that_waits_and_does_not_come_by_hangs_and_one_at_work_does_not() {
        let reins = Reins::new(Rate::default());
        let later = Instant::now() + HANGS + Duration::from_secs(1);
        assert!(reins.is_alive(later), "it has not begun");
        reins.pulse.waits();
        assert!(reins.is_alive(Instant::now()));
        assert!(!reins.is_alive(later));
        reins.pulse.works();
        assert!(reins.is_alive(later));
        let life = reins.life();
        reins.pulse.waits();
        drop(life);
        assert!(reins.is_alive(later), "it is over");
    }

    #[test]
    fn only_a_comparison_that_began_after_it_was_asked_for_answers() {
        let reins = Reins::new(Rate::default());
        let whole = || (vec![Dirty { path: RelPath::root(), subtree: true }], None);
        let begin = || reins.desk.lock().begin(1, Instant::now(), std::iter::once(whole()))[0];
        let before = begin();
        let ticket = reins.compare();
        reins.desk.leave(|state| state.settled(before, &Ok(())));
        assert_eq!(reins.compared(ticket), None);
        let after = begin();
        reins.desk.leave(|state| state.settled(after, &Ok(())));
        assert_eq!(reins.compared(ticket), Some(Exit::Ok));
    }
}
