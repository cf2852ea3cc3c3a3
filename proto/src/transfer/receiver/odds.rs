//! Which is the cheaper way to ask for a small file that has the length that is wanted: by its digest first, or by its
//! sums at once.
//!
//! A digest that is right ends it with a few bytes and nothing to land. One that is not costs a second round, in which the
//! sender reads the file once more. Which of the two comes depends on what made the times differ (a checkout, a build, an
//! edit), and neighbours share it: so the last answers decide.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// What a digest that was right weighs against one that was not: landing a copy costs about three times what a second
/// round does.
const RIGHT: i32 = 3;
/// How far one side may lead: so many answers to the contrary, at most, turn it.
const LEAD_MAX: i32 = 48;
/// While sums are the way, each so many ask by the digest all the same, to hear when that changes.
const PROBE_EVERY: u32 = 16;

/// The balance of the last answers. Each access stands for itself: a count that is missed costs nothing.
#[derive(Debug, Default)]
pub(super) struct Odds {
    balance: AtomicI32,
    asked: AtomicU32,
}

impl Odds {
    /// A digest was that of what the sender has.
    pub(super) fn was_right(&self) {
        self.add(RIGHT);
    }

    /// A digest was not.
    pub(super) fn was_wrong(&self) {
        self.add(-1);
    }

    fn add(&self, weight: i32) {
        let balance = self.balance.load(Ordering::Relaxed);
        self.balance.store((balance + weight).clamp(-LEAD_MAX, LEAD_MAX), Ordering::Relaxed);
    }

    /// Whether the next one is to be asked for by its digest.
    pub(super) fn digest_first(&self) -> bool {
        self.balance.load(Ordering::Relaxed) > -LEAD_MAX / 2
            || self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(PROBE_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answers_decide_and_a_change_is_heard_of() {
        let odds = Odds::default();
        assert!(odds.digest_first(), "nothing is known");
        let by_digest = |odds: &Odds| (0..160).filter(|_| odds.digest_first()).count();
        (0..1000).for_each(|_| odds.was_wrong());
        assert_eq!(by_digest(&odds), 10, "one of sixteen");
        // As many as it takes to make up for the lead.
        (0..8).for_each(|_| odds.was_right());
        assert_eq!(by_digest(&odds), 10);
        odds.was_right();
        assert_eq!(by_digest(&odds), 160);
        // One that is right makes up for two that are not.
        (0..1000).for_each(|i| if i % 3 == 0 { odds.was_right() } else { odds.was_wrong() });
        assert_eq!(by_digest(&odds), 160);
    }
}
