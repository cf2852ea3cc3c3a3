//! BLAKE3 of content: the judge of every transfer, and, group by group, the record by which an edit in place is found.
//!
//! BLAKE3 is a tree: the chaining values of aligned groups merge to exactly the digest of the whole
//! (`blake3::hazmat`). The journal keeps the groups of each file it sent, so that a later version is compared
//! with it without a word to the server.

use std::fmt;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::rolling::Weak;
use crate::limits;

/// BLAKE3 of a whole file's content, or of a directory's entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The chaining value of one group of [`limits::DIGEST_GROUP`] bytes.
pub type Group = [u8; 32];

/// What is kept of the groups of one content: by it later content is compared, in place by the values and elsewhere by
/// the rolling sums, and what stayed in place is proved without being read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSums {
    /// The value of every group.
    pub values: Vec<Group>,
    /// The rolling sum of every group, as a number; empty where nobody asked for them.
    pub rolling: Vec<u32>,
}

/// The value of the subtree over these groups, which are as many as a power of two, or the last of their content. Never
/// that of a whole content: its root is merged otherwise.
#[must_use]
pub fn subtree(groups: &[Group]) -> Group {
    match groups {
        [] => Group::default(),
        [group] => *group,
        _ => {
            // BLAKE3's tree is left-balanced: the left side is the largest power of two that leaves something.
            let left = groups.len().next_power_of_two() / 2;
            merge_subtrees_non_root(&subtree(&groups[..left]), &subtree(&groups[left..]), Mode::Hash)
        }
    }
}

/// The value of the subtree over these bytes, at this offset of their content: at most as many as a block of groups
/// has, at a multiple of that.
#[must_use]
pub fn subtree_of(bytes: &[u8], offset: u64) -> Group {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset).update(bytes);
    hasher.finalize_non_root()
}

/// Hashes content as it streams by, and keeps the value of every group.
///
/// Invariant: `subtrees` and `groups` cover each whole group that more content has followed; the last group,
/// whole or not, is still in `current`, unless its value was taken from elsewhere.
///
/// Bound: the values of [`limits::GROUPS_KEPT`] groups. Of longer content no values are kept.
#[derive(Clone, Debug)]
pub struct GroupHasher {
    groups: GroupSums,
    /// Rolling sums are made too: that of the current group so far.
    rolling: Option<Weak>,
    subtrees: Subtrees,
    current: blake3::Hasher,
    current_len: u64,
    total: u64,
}

impl Default for GroupHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupHasher {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            groups: GroupSums::default(),
            rolling: None,
            subtrees: Subtrees::default(),
            current: blake3::Hasher::new(),
            current_len: 0,
            total: 0,
        }
    }

    /// Nothing hashed yet, and rolling sums are to be made.
    #[must_use]
    pub fn signing() -> Self {
        Self { rolling: Some(Weak::default()), ..Self::new() }
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.current_len == limits::DIGEST_GROUP {
                self.close_group();
            }
            let room = usize::try_from(limits::DIGEST_GROUP - self.current_len).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.current.update(now);
            if let Some(rolling) = &mut self.rolling {
                // At most a group.
                *rolling = rolling.then(Weak::of(now), now.len() as u32);
            }
            self.current_len += now.len() as u64;
            self.total += now.len() as u64;
            bytes = later;
        }
    }

    /// Takes the value of the next group, and its rolling sum, instead of its bytes, `len` of them: a whole group, or the
    /// last one of the content. False, and nothing is taken, where the content does not stand at the border of a group, or at its
    /// beginning, whose value is no part of a tree when nothing follows.
    #[must_use]
    pub fn take_group(&mut self, group: Group, rolling: u32, len: u64) -> bool {
        if self.current_len == limits::DIGEST_GROUP {
            self.close_group();
        }
        if !self.takes_groups() || len == 0 || len > limits::DIGEST_GROUP {
            return false;
        }
        if let Some(sum) = &mut self.rolling {
            *sum = Weak::from_number(rolling);
        }
        self.push(group);
        self.total += len;
        // A short group is the last of its tree: callers let nothing follow it.
        if len == limits::DIGEST_GROUP {
            self.current.set_input_offset(self.total);
        }
        true
    }

    /// Whether [`GroupHasher::take_group`] would.
    #[must_use]
    pub fn takes_groups(&self) -> bool {
        self.total > 0 && self.total.is_multiple_of(limits::DIGEST_GROUP)
    }

    fn close_group(&mut self) {
        self.push(self.current.finalize_non_root());
        self.current = blake3::Hasher::new();
        self.current.set_input_offset(self.total);
        self.current_len = 0;
    }

    fn push(&mut self, group: Group) {
        self.subtrees.push(group);
        let rolling = self.rolling.as_mut().map(std::mem::take);
        if self.subtrees.count <= limits::GROUPS_KEPT {
            self.groups.values.push(group);
            self.groups.rolling.extend(rolling.map(Weak::number));
        } else {
            self.groups = GroupSums::default();
        }
    }

    /// The value of the group that the last byte belongs to, as far as it is filled.
    #[must_use]
    pub fn current_group(&self) -> Group {
        self.current.finalize_non_root()
    }

    /// The digest of everything taken, and the value of every group; no values when one group held it all, or when they
    /// were too many to keep.
    #[must_use]
    pub fn finish(self) -> (Digest, Vec<Group>) {
        let (digest, groups) = self.sign();
        (digest, groups.values)
    }

    /// As [`GroupHasher::finish`], with the rolling sums.
    #[must_use]
    pub fn sign(mut self) -> (Digest, GroupSums) {
        if self.total <= limits::DIGEST_GROUP {
            return (self.current.finalize().into(), GroupSums::default());
        }
        if self.current_len > 0 {
            self.push(self.current.finalize_non_root());
        }
        (self.subtrees.merge(), self.groups)
    }
}

/// The subtrees that cover the groups so far, largest first. BLAKE3's tree is left-balanced, each left subtree being the
/// largest power of two of groups that leaves something for the right: so there is one for each bit of the count, once
/// the next group is there.
#[derive(Clone, Debug, Default)]
struct Subtrees {
    values: Vec<Group>,
    count: u64,
}

impl Subtrees {
    fn push(&mut self, group: Group) {
        // Put off until something follows: the last merge of all is the root's.
        while self.values.len() > self.count.count_ones() as usize {
            let (Some(right), Some(left)) = (self.values.pop(), self.values.pop()) else { break };
            self.values.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
        self.values.push(group);
        self.count += 1;
    }

    /// The digest of the whole. There are two groups at least.
    fn merge(mut self) -> Digest {
        let mut right = self.values.pop().unwrap_or_default();
        while let Some(left) = self.values.pop() {
            if self.values.is_empty() {
                return merge_subtrees_root(&left, &right, Mode::Hash).into();
            }
            right = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        Digest(right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_merge_to_exactly_the_digest_of_the_whole() {
        let group = usize::try_from(limits::DIGEST_GROUP).expect("fits");
        let bytes: Vec<u8> = (0..group * 7 + 13).map(|i| (i * 31 % 251) as u8).collect();
        for len in [0, 1, group - 1, group, group + 1, 2 * group, 3 * group, 5 * group + 1, bytes.len()] {
            for step in [1000, group, 3 * group + 7] {
                let mut hasher = GroupHasher::new();
                bytes[..len].chunks(step).for_each(|chunk| hasher.update(chunk));
                let (digest, groups) = hasher.finish();
                assert_eq!(digest, Digest::of(&bytes[..len]), "{len} bytes in steps of {step}");
                let want = if len <= group { 0 } else { len.div_ceil(group) };
                assert_eq!(groups.len(), want);
            }
        }
    }

    #[test]
    fn values_of_groups_stand_in_for_their_bytes() {
        let group = usize::try_from(limits::DIGEST_GROUP).expect("fits");
        let bytes: Vec<u8> = (0..group * 5 + 13).map(|i| (i * 31 % 251) as u8).collect();
        let mut hasher = GroupHasher::new();
        hasher.update(&bytes);
        let (digest, groups) = hasher.finish();
        // Every way to take each group but the first by its value or by its bytes.
        for taken in 0..1 << (groups.len() - 1) {
            let mut hasher = GroupHasher::new();
            for (i, piece) in bytes.chunks(group).enumerate() {
                if i == 0 || taken >> (i - 1) & 1 == 0 {
                    hasher.update(piece);
                } else {
                    assert!(hasher.take_group(groups[i], 0, piece.len() as u64));
                }
            }
            assert_eq!(hasher.finish(), (digest, groups.clone()), "{taken:b}");
        }
        let mut hasher = GroupHasher::new();
        assert!(!hasher.take_group(groups[0], 0, limits::DIGEST_GROUP), "the first is always hashed");
        hasher.update(&bytes[..group + 1]);
        assert!(!hasher.take_group(groups[2], 0, limits::DIGEST_GROUP), "within a group");
    }

    #[test]
    fn rolling_sums_are_those_of_the_groups_however_the_bytes_come() {
        let group = usize::try_from(limits::DIGEST_GROUP).expect("fits");
        let bytes: Vec<u8> = (0..group * 5 + 13).map(|i| (i * 31 % 251) as u8).collect();
        let want: Vec<u32> = bytes.chunks(group).map(|piece| Weak::of(piece).number()).collect();
        for step in [1000, group, 3 * group + 7] {
            let mut hasher = GroupHasher::signing();
            bytes.chunks(step).for_each(|chunk| hasher.update(chunk));
            assert_eq!(hasher.sign().1.rolling, want, "in steps of {step}");
        }
        let mut hasher = GroupHasher::signing();
        hasher.update(&bytes[..group]);
        for (piece, &sum) in bytes.chunks(group).zip(&want).skip(1) {
            assert!(hasher.take_group([7; 32], sum, piece.len() as u64));
        }
        assert_eq!(hasher.sign().1.rolling, want);
    }

    #[test]
    fn a_block_of_groups_has_the_value_of_its_subtree() {
        let group = usize::try_from(limits::DIGEST_GROUP).expect("fits");
        let bytes: Vec<u8> = (0..group * 11 + 13).map(|i| (i * 31 % 251) as u8).collect();
        let mut hasher = GroupHasher::new();
        hasher.update(&bytes);
        let (_, groups) = hasher.finish();
        for block in [1, 2, 4] {
            for (i, (bytes, groups)) in bytes.chunks(block * group).zip(groups.chunks(block)).enumerate() {
                let offset = (i * block * group) as u64;
                assert_eq!(subtree_of(bytes, offset), subtree(groups), "block {i} of {block} groups");
            }
        }
    }
}
