//! Pace: how often a file that is written without end is sent, by what it costs. The cost is the time from its sending to
//! its ack, whatever it is made of: reading, hashing, the wire, the server's disk.
//!
//! A file on its way is not sent a second time before it has arrived. After that it pauses: a moment at first, so that
//! one slow ack keeps no ordinary file waiting, twice as long each time that it goes on, until it takes [`SHARE`] of the
//! time. Once it has rested it starts anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;

/// The part of the time, as its divisor, that a file which never rests is on its way.
pub const SHARE: u32 = 10;

/// The first pause of a file that is written again is at most this long.
pub const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// No pause is longer, whatever a file costs: what is lost with a disk is a minute old at most, and the time that the
/// file took.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Pauses remembered at once, some 150 bytes each. What exceeds it does not pause.
const PAUSES: usize = 10_000;

/// What a mark of a file has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Its last content is on its way.
    Ack,
    /// It pauses until then.
    Until(Instant),
}

/// A file on its way, perhaps in several tasks.
#[derive(Clone, Copy, Debug)]
struct Sent {
    tasks: u32,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    len: Duration,
    until: Instant,
    /// What is sent after this has rested: as long again as it would pause in the end.
    rested: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    sent: HashMap<RelPath, Sent>,
    pauses: HashMap<RelPath, Pause>,
    pruned: Option<Instant>,
}

impl Pace {
    pub(super) fn sent(&mut self, path: RelPath, now: Instant) {
        self.sent.entry(path).or_insert(Sent { tasks: 0, since: now }).tasks += 1;
    }

    /// One sending has come to its end; `well` when it was acknowledged. Returns when the file may be sent again, once
    /// nothing of it is on its way.
    pub(super) fn ended(&mut self, path: &RelPath, well: bool, now: Instant) -> Option<Instant> {
        let sent = self.sent.get_mut(path)?;
        sent.tasks -= 1;
        if sent.tasks > 0 {
            return None;
        }
        let since = sent.since;
        let took = now.saturating_duration_since(since);
        self.sent.remove(path);
        // What failed has a wait of its own.
        if !well {
            return Some(now);
        }
        let before = self.pauses.remove(path).filter(|pause| pause.rested > since);
        let most = (took * (SHARE - 1)).min(PAUSE_MAX);
        let len = before.map_or(PAUSE_FIRST, |pause| (pause.len * 2).max(PAUSE_FIRST)).min(most);
        self.prune(now);
        if self.pauses.len() < PAUSES {
            let pause = Pause { len, until: now + len, rested: now + len + most };
            self.pauses.insert(path.clone(), pause);
        }
        Some(now + len)
    }

    /// Nothing is on its way any more.
    pub(super) fn abandon(&mut self) {
        self.sent.clear();
    }

    pub(super) fn wait(&self, path: &RelPath, now: Instant) -> Option<Wait> {
        if self.sent.contains_key(path) {
            return Some(Wait::Ack);
        }
        let pause = self.pauses.get(path).filter(|pause| pause.until > now)?;
        Some(Wait::Until(pause.until))
    }

    /// Forgets what has rested, once there is much of it and at most once a second.
    fn prune(&mut self, now: Instant) {
        let lately = self.pruned.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_secs(1));
        if self.pauses.len() >= PAUSES / 2 && !lately {
            self.pauses.retain(|_, pause| pause.rested > now);
            self.pruned = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pauses_are_remembered_than_there_is_room_for() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut pace = Pace::default();
        let path = |i: usize| RelPath::parse(i.to_string().as_bytes()).expect("path");
        for i in 0..=PAUSES {
            pace.sent(path(i), start);
            assert!(pace.ended(&path(i), true, later).is_some_and(|again| again > later));
        }
        assert!(pace.sent.is_empty());
        assert_eq!(pace.wait(&path(PAUSES), later), None);
        assert_eq!(pace.pauses.len(), PAUSES);
        pace.sent(path(1), later);
        pace.ended(&path(1), true, later + PAUSE_MAX * 2);
        assert_eq!(pace.pauses.len(), 1, "what has rested makes room");
    }
}
