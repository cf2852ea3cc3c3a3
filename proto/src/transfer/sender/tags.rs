//! A file compared, as it is read, with the groups that the receiver says it holds: what stayed in place is found
//! without sums, and content that moved is noticed for what it is.

use prost::bytes::Bytes;

use crate::limits;
use crate::model::delta::Op;
use crate::model::digest::{Digest, Group, GroupHasher};

/// Bytes that one copy covers at most: the receiver then copies while the rest is still being read here.
const COPY_LEN: u64 = 8 * 1024 * 1024;

/// Content that is not in place is held until it comes to this much: most of what is not worth sending is noticed
/// before.
const HELD_LEN: usize = 1024 * 1024;

/// The groups of a receiver's basis, by their tags.
pub(super) struct Tags {
    basis_size: u64,
    tags: Vec<u8>,
}

impl Tags {
    /// What a peer sent; `None` when it is not as long as the basis.
    pub(super) fn parse(basis_size: u64, tags: Vec<u8>) -> Option<Self> {
        let groups = basis_size.div_ceil(limits::DIGEST_GROUP);
        (tags.len() as u64 == groups * limits::GROUP_TAG as u64).then_some(Self { basis_size, tags })
    }

    /// A comparison with content that has yet to be read.
    pub(super) fn comparison(&self) -> Comparison<'_> {
        Comparison {
            tags: self,
            hasher: GroupHasher::new(),
            size: 0,
            missed: 0,
            copy: (0, 0),
            literal: Vec::new(),
            ops: Vec::new(),
        }
    }

    /// Whether the basis has this group here.
    fn has(&self, offset: u64, len: u64, group: &Group) -> bool {
        let covered = self.basis_size.saturating_sub(offset).min(limits::DIGEST_GROUP);
        let index = usize::try_from(offset / limits::DIGEST_GROUP).unwrap_or(usize::MAX);
        let tag = self.tags.chunks(limits::GROUP_TAG).nth(index);
        covered == len && tag == Some(&group[..limits::GROUP_TAG])
    }
}

/// A comparison in progress.
///
/// Bound: holds what one update adds, and [`HELD_LEN`].
pub(super) struct Comparison<'a> {
    tags: &'a Tags,
    hasher: GroupHasher,
    size: u64,
    /// Bytes that the basis has otherwise.
    missed: u64,
    /// A copy that the next group may continue: offset and length.
    copy: (u64, u64),
    /// What is not in place, not given out yet.
    literal: Vec<u8>,
    ops: Vec<Op>,
}

impl Comparison<'_> {
    /// Takes the next bytes, whole groups but at the end of the content; gives out what has become certain. `None`: so
    /// much is not in place that it has probably moved.
    pub(super) fn update(&mut self, bytes: &[u8]) -> Option<Vec<Op>> {
        let group = usize::try_from(limits::DIGEST_GROUP).unwrap_or(usize::MAX);
        for piece in bytes.chunks(group) {
            self.hasher.update(piece);
            let len = piece.len() as u64;
            if self.tags.has(self.size, len, &self.hasher.current_group()) {
                self.give_literal();
                self.copy.1 += len;
                if self.copy.1 >= COPY_LEN {
                    self.give_copy();
                }
            } else {
                self.give_copy();
                self.literal.extend_from_slice(piece);
                if self.size < self.tags.basis_size {
                    self.missed += len;
                    let (least, share) = limits::OUT_OF_PLACE;
                    if self.missed > least + self.size / share {
                        return None;
                    }
                }
                // What lies beyond the basis is new, or moved there with the rest.
                if self.size >= self.tags.basis_size || self.literal.len() >= HELD_LEN {
                    self.give_literal();
                }
            }
            self.size += len;
        }
        Some(std::mem::take(&mut self.ops))
    }

    /// Gives out what is left.
    pub(super) fn rest(&mut self) -> Option<Vec<Op>> {
        self.give_literal();
        self.give_copy();
        Some(std::mem::take(&mut self.ops))
    }

    /// The digest of all of it, its groups, and its length in bytes.
    pub(super) fn finish(self) -> (Digest, Vec<Group>, u64) {
        let (digest, groups) = self.hasher.finish();
        (digest, groups, self.size)
    }

    fn give_copy(&mut self) {
        let (offset, len) = self.copy;
        if len > 0 {
            self.ops.push(Op::Copy { offset, len });
        }
        self.copy = (offset + len, 0);
    }

    fn give_literal(&mut self) {
        let len = self.literal.len() as u64;
        let literal = Bytes::from(std::mem::take(&mut self.literal));
        let parts = (0..literal.len()).step_by(limits::CHUNK_LEN);
        let parts = parts.map(|at| literal.slice(at..literal.len().min(at + limits::CHUNK_LEN)));
        self.ops.extend(parts.map(Op::Literal));
        // The next copy begins after it: everything here lies where it lay.
        self.copy.0 += len;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROUP: usize = limits::DIGEST_GROUP as usize;

    fn tags(basis: &[u8]) -> Tags {
        let mut hasher = GroupHasher::new();
        let mut tags = Vec::new();
        for piece in basis.chunks(GROUP) {
            hasher.update(piece);
            tags.extend_from_slice(&hasher.current_group()[..limits::GROUP_TAG]);
        }
        Tags::parse(basis.len() as u64, tags).expect("as long as the basis")
    }

    fn steps(tags: &Tags, content: &[u8]) -> Option<Vec<Op>> {
        let mut comparison = tags.comparison();
        let mut ops = Vec::new();
        for piece in content.chunks(3 * GROUP) {
            ops.extend(comparison.update(piece)?);
        }
        ops.extend(comparison.rest()?);
        assert_eq!(comparison.finish().0, Digest::of(content));
        Some(ops)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_comes_out_rebuilds_the_content(
            basis_len in 1..20 * GROUP, len in 0..20 * GROUP, edits in prop::collection::vec(0..20 * GROUP, 0..6),
        ) {
            let basis: Vec<u8> = (0..basis_len).map(|i| (i / 7 % 251) as u8).collect();
            let mut content: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8).collect();
            for edit in &edits {
                if let Some(byte) = content.get_mut(*edit) {
                    *byte ^= 0x55;
                }
            }
            let ops = steps(&tags(&basis), &content).expect("little is out of place");
            let mut built = Vec::new();
            let mut literal = 0;
            for op in &ops {
                match op {
                    Op::Copy { offset, len } => {
                        prop_assert_eq!(*offset, built.len() as u64);
                        built.extend_from_slice(&basis[*offset as usize..(*offset + *len) as usize]);
                    }
                    Op::Literal(bytes) => {
                        prop_assert!((1..=limits::CHUNK_LEN).contains(&bytes.len()));
                        literal += bytes.len();
                        built.extend_from_slice(bytes);
                    }
                }
            }
            prop_assert_eq!(built, content);
            // Each edit costs its group; where one end is shorter, the last group and what the basis does not have.
            prop_assert!(literal <= (edits.len() + 1) * GROUP + len.saturating_sub(basis_len));
        }
    }

    #[test]
    fn content_that_moved_is_noticed() {
        let basis: Vec<u8> = (0..200 * GROUP).map(|i| (i * i / 64 % 251) as u8).collect();
        let moved = [b"x", &basis[..]].concat();
        assert_eq!(steps(&tags(&basis), &moved), None);
    }
}
