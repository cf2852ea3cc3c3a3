//! The search where the receiver knows the groups of its basis: first each block at its own place, which costs nothing
//! beyond the digest, then, only through the stretches that differ, the rolling search.

use super::search::Search;
use super::{Op, Sums};
use crate::limits;
use crate::model::digest::{Digest, Group, GroupHasher, subtree};

/// A search in progress, and the digest of what it has taken.
///
/// Invariant: [`Search`] has taken, or was told of, everything up to `size`.
///
/// Bound: as [`Search`], and the groups of the content.
pub struct GroupSearch<'a> {
    sums: &'a Sums,
    search: Search<'a>,
    hasher: GroupHasher,
    size: u64,
}

impl<'a> GroupSearch<'a> {
    /// As [`Search::new`], for sums of [`Sums::parse_groups`].
    #[must_use]
    pub fn new(sums: &'a Sums, source_size_hint: u64) -> Self {
        let search = Search::new(sums, source_size_hint);
        Self { sums, search, hasher: GroupHasher::new(), size: 0 }
    }

    /// Takes the next bytes of the content, whole blocks but for the last ones, with the values of their groups
    /// ([`subtree_of`](crate::model::digest::subtree_of)); gives out the steps that have become certain.
    pub fn update(&mut self, bytes: &[u8], values: &[Group], emit: &mut impl FnMut(Op)) {
        let block_len = self.sums.block_len() as usize;
        let group = usize::try_from(limits::DIGEST_GROUP).unwrap_or(usize::MAX);
        for (piece, values) in bytes.chunks(block_len).zip(values.chunks(block_len / group)) {
            for (bytes, &value) in piece.chunks(group).zip(values) {
                // The value of a content's first group is of no use should nothing follow.
                if !self.hasher.take_group(value, 0, bytes.len() as u64) {
                    self.hasher.update(bytes);
                }
            }
            let block = self.size / u64::from(self.sums.block_len());
            let is_in_place = u32::try_from(block)
                .is_ok_and(|block| self.sums.is_subtree(block, piece.len(), &subtree(values)));
            if is_in_place {
                self.search.place(piece.len(), emit);
            } else {
                self.search.update(piece, emit);
            }
            self.size += piece.len() as u64;
            debug_assert_eq!(self.search.taken(), self.size);
        }
    }

    /// Gives out the rest. The digest of the content, the values of its groups, and its length in bytes.
    pub fn finish(self, emit: &mut impl FnMut(Op)) -> (Digest, Vec<Group>, u64) {
        self.search.finish(emit);
        let (digest, groups) = self.hasher.finish();
        (digest, groups, self.size)
    }
}
