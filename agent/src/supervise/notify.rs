//! supervise: what systemd is told (sd_notify(3)): nothing where there is no systemd.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Whatever happens on the way is nobody's business: who waits for the word will time out and say so.
fn tell(states: &[NotifyState<'_>]) {
    sd_notify::notify(false, states).ok();
}

/// Every job has been started, or the config has been read again.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The config is being read again.
pub(super) fn reloading() {
    // Two messages: systemd 253 and later want the time, earlier ones do not know it.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// The watchdog, where the unit asks for one (`WatchdogSec=`).
pub(super) struct Watchdog {
    every: Option<Duration>,
    last: Option<Instant>,
}

impl Watchdog {
    /// Asks the environment.
    pub(super) fn new() -> Self {
        let mut usec = 0;
        let wanted = sd_notify::watchdog_enabled(false, &mut usec) && usec > 0;
        // Half of it, as sd_watchdog_enabled(3) recommends.
        Self { every: wanted.then(|| Duration::from_micros(usec) / 2), last: None }
    }

    /// How often it has to be fed at least.
    pub(super) fn every(&self) -> Option<Duration> {
        self.every
    }

    /// Feeds it, when it is time and `alive` says so.
    pub(super) fn feed(&mut self, now: Instant, alive: impl FnOnce() -> bool) {
        let Some(every) = self.every else { return };
        // Looked at as often as `every`: half of that is early, and never late.
        let due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= every / 2);
        if due && alive() {
            tell(&[NotifyState::Watchdog]);
            self.last = Some(now);
        }
    }
}
