//! Waiting: until something holds, never for a fixed time.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks. Short beside anything worth waiting for, long enough to leave the processor to the others.
const LOOK_EVERY: Duration = Duration::from_millis(8);

/// How long the suite waits for anything before it calls it lost: `DRIFTLESS_TEST_PATIENCE_MS`, or 30 s.
#[must_use]
pub fn patience() -> Duration {
    let given = std::env::var("DRIFTLESS_TEST_PATIENCE_MS").ok();
    Duration::from_millis(given.and_then(|text| text.parse().ok()).unwrap_or(30_000))
}

/// Looks until `look` finds something, and returns it.
///
/// # Panics
/// When patience runs out; the message names `what`.
#[track_caller]
pub fn eventually<T>(what: impl Display, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {:?} in vain: {what}", patience());
        sleep(LOOK_EVERY);
    }
}

/// Looks until `look` is true.
///
/// # Panics
/// As [`eventually`].
#[track_caller]
pub fn until(what: impl Display, mut look: impl FnMut() -> bool) {
    eventually(what, || look().then_some(()));
}

/// Looks until `look` finds nothing wrong. When patience runs out, what was wrong last is in the message.
///
/// # Panics
/// As [`eventually`].
#[track_caller]
pub fn until_ok(what: impl Display, mut look: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + patience();
    loop {
        let Err(wrong) = look() else { return };
        assert!(Instant::now() < end, "waited {:?} in vain: {what}: {wrong}", patience());
        sleep(LOOK_EVERY);
    }
}

/// Looks for three seconds and asserts that `look` stays true: for claims that something does not happen. Long beside
/// the latency of a watch, so a wrong program is caught, and a right one never fails.
///
/// # Panics
/// When it is false once.
#[track_caller]
pub fn stays(what: impl Display, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert!(look(), "it does not stay so: {what}");
        sleep(LOOK_EVERY);
    }
}
