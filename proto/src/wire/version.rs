//! The protocol's version: the changelog of the wire.

use std::ops::RangeInclusive;

/// What each protocol version added. Newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Contents can be compared by their digests (`checksum`).
    V2 = 2,
    /// First release.
    V1 = 1,
}

impl Version {
    /// Every version this build speaks.
    pub const SPOKEN: RangeInclusive<u32> = 1..=2;

    /// What a hello that asks for `checksum` speaks: an older server would compare sizes and times and call that equal.
    pub const WITH_CHECKSUM: RangeInclusive<u32> = 2..=2;

    /// The newest version both ends speak; `None` when there is none.
    #[must_use]
    pub fn agree(peer: &RangeInclusive<u32>) -> Option<Self> {
        let newest = (*peer.end()).min(*Self::SPOKEN.end());
        let common = peer.contains(&newest) && Self::SPOKEN.contains(&newest);
        common.then_some(if newest == 1 { Self::V1 } else { Self::V2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_take_the_newest_they_share() {
        assert_eq!(Version::agree(&(1..=1)), Some(Version::V1));
        assert_eq!(Version::agree(&(1..=9)), Some(Version::V2));
        assert_eq!(Version::agree(&Version::WITH_CHECKSUM), Some(Version::V2));
        assert_eq!(Version::agree(&(3..=9)), None);
        #[expect(clippy::reversed_empty_ranges, reason = "a hostile peer may send one")]
        let reversed = 5..=1;
        assert_eq!(Version::agree(&reversed), None);
    }
}
