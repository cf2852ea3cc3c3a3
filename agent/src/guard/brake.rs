//! guard: the brake: how much may go away at once before somebody is asked.
//!
//! Pure: the time is passed in. Touches: nothing.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// What goes away within this time counts together.
pub const WINDOW: Duration = Duration::from_secs(600);

/// Deletions that leave, in parts of the copy, before the brake looks at what else is missing: the source may be going
/// away faster than its deletions are told.
pub(super) const LOOK_AHEAD: (u64, u64) = (64, 64);

/// More than so many entries, and more than so many percent of what there was. Both have to be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Entries.
    pub entries: u64,
    /// Percent, 0 to 99: nothing is more than all of it.
    pub percent: u8,
}

/// Of deletions, unless the operator says otherwise.
pub const DELETIONS: Limit = Limit { entries: 1000, percent: 50 };

impl FromStr for Limit {
    type Err = String;

    /// Reads `N:P%`; the percent sign may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "expected N:P%, as 1000:50%, or off";
        let (entries, percent) = text.split_once(':').ok_or(form)?;
        let percent = percent.strip_suffix('%').unwrap_or(percent);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(entries) || !digits(percent) {
            return Err(form.into());
        }
        let entries = entries.parse().map_err(|_| "the number of entries is too large".to_owned())?;
        match percent.parse() {
            Ok(percent @ 0..=99) => Ok(Self { entries, percent }),
            _ => Err("a percentage from 0 to 99 is needed: nothing is more than all of the copy".into()),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}%", self.entries, self.percent)
    }
}

/// Counts what goes away.
#[derive(Debug)]
pub struct Brake {
    limit: Option<Limit>,
    /// What left, and when, oldest first; younger than [`WINDOW`].
    left: VecDeque<(Instant, u64)>,
    /// What left since the last look.
    unseen: u64,
}

impl Brake {
    /// With this limit; `None` never holds.
    #[must_use]
    pub fn new(limit: Option<Limit>) -> Self {
        Self { limit, left: VecDeque::new(), unseen: 0 }
    }

    /// Whether so many more of a copy of so many entries are too many: the reason, as a clause for the operator.
    pub fn holds(&mut self, pending: u64, known: u64, now: Instant) -> Option<String> {
        let limit = self.limit?;
        while self.left.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.left.pop_front();
        }
        let left: u64 = self.left.iter().map(|(_, count)| count).sum();
        let (going, whole) = (left + pending, known + left);
        let over = pending > 0
            && going > limit.entries
            && u128::from(going) * 100 > u128::from(whole) * u128::from(limit.percent);
        over.then(|| {
            let percent = going * 100 / whole.max(1);
            let before = if left > 0 {
                format!(" ({left} of them gone in the last ten minutes)")
            } else {
                String::new()
            };
            format!("{going} of {whole} entries ({percent} %) would be deleted{before}, the brake is {limit}")
        })
    }

    /// So many have left.
    pub fn left(&mut self, count: u64, now: Instant) {
        if count > 0 && self.limit.is_some() {
            self.left.push_back((now, count));
            self.unseen += count;
        }
    }

    /// Whether it is time to look at what else is missing, before so many more leave of so many.
    #[must_use]
    pub fn wants_a_look(&self, pending: u64, known: u64) -> bool {
        let (least, part) = LOOK_AHEAD;
        let left: u64 = self.left.iter().map(|(_, count)| count).sum();
        // A copy too small to exceed the limit needs no look.
        let possible = self.limit.is_some_and(|limit| known + left > limit.entries);
        possible && pending > 0 && self.unseen + pending > least.max(known / part)
    }

    /// A look was taken.
    pub fn looked(&mut self) {
        self.unseen = 0;
    }

    /// The operator has agreed to what went away so far.
    pub fn forget(&mut self) {
        self.left.clear();
        self.unseen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_or_refused_with_its_form() {
        assert_eq!("1000:50%".parse(), Ok(DELETIONS));
        assert_eq!("0:0".parse(), Ok(Limit { entries: 0, percent: 0 }));
        for bad in ["", "1000", "1000:", ":50%", "a:50%", "10:5x%", "-1:50%", "1 :5%", "1000:50%%"] {
            assert_eq!(bad.parse::<Limit>(), Err("expected N:P%, as 1000:50%, or off".into()), "{bad}");
        }
        for bad in ["1:100%", "1:999%"] {
            assert!(bad.parse::<Limit>().expect_err(bad).contains("0 to 99"), "{bad}");
        }
        assert!("99999999999999999999:5%".parse::<Limit>().expect_err("large").contains("too large"));
    }

    #[test]
    fn it_holds_only_beyond_both_limits_and_within_ten_minutes() {
        let now = Instant::now();
        let mut brake = Brake::new(Some(DELETIONS));
        assert_eq!(brake.holds(1000, 1000, now), None);
        assert_eq!(brake.holds(1001, 2002, now), None);
        assert!(brake.holds(1002, 2003, now).is_some());
        brake.left(600, now);
        // 1,400 are left of 2,000.
        assert_eq!(brake.holds(400, 1400, now), None);
        let reason = brake.holds(401, 1400, now).expect("1001 of 2000");
        assert!(reason.starts_with("1001 of 2000 entries (50 %)"), "{reason}");
        assert!(reason.contains("600 of them gone"), "{reason}");
        assert_eq!(brake.holds(401, 1400, now + WINDOW), None);
        assert_eq!(Brake::new(None).holds(u64::MAX / 200, 1, now), None);
    }

    #[test]
    fn it_looks_ahead_before_many_have_left() {
        let now = Instant::now();
        let mut brake = Brake::new(Some(DELETIONS));
        assert!(!brake.wants_a_look(64, 2500));
        assert!(brake.wants_a_look(65, 2500));
        brake.left(60, now);
        assert!(brake.wants_a_look(5, 2440));
        brake.looked();
        assert!(!brake.wants_a_look(5, 2440));
        assert!(!brake.wants_a_look(900, 900), "too small a copy");
        assert!(!brake.wants_a_look(1000, 80_000));
        assert!(brake.wants_a_look(1300, 80_000));
    }
}
