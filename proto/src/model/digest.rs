//! BLAKE3 of content: the judge of every transfer, and, group by group, the record by which an edit in place is found.
//!
//! BLAKE3 is a tree: the chaining values of aligned groups merge to exactly the digest of the whole
//! (`blake3::hazmat`). The journal keeps the groups of each file it sent, so that a later version is compared
//! with it without a word to the server.

use std::fmt;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

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

/// Hashes content as it streams by, and keeps the value of every group.
///
/// Invariant: `groups` holds one value for each whole group that more content has followed; the last group,
/// whole or not, is still in `current`.
pub struct GroupHasher {
    groups: Vec<Group>,
    current: blake3::Hasher,
    current_len: u64,
    total: u64,
    /// Content of at most one group is hashed here instead: its digest is no merge of chaining values.
    whole: blake3::Hasher,
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
            groups: Vec::new(),
            current: blake3::Hasher::new(),
            current_len: 0,
            total: 0,
            whole: blake3::Hasher::new(),
        }
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if self.total < limits::DIGEST_GROUP {
            let room = usize::try_from(limits::DIGEST_GROUP - self.total).unwrap_or(usize::MAX);
            self.whole.update(&bytes[..bytes.len().min(room)]);
        }
        while !bytes.is_empty() {
            if self.current_len == limits::DIGEST_GROUP {
                self.groups.push(self.current.finalize_non_root());
                self.current = blake3::Hasher::new();
                self.current.set_input_offset(self.total);
                self.current_len = 0;
            }
            let room = usize::try_from(limits::DIGEST_GROUP - self.current_len).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.current.update(now);
            self.current_len += now.len() as u64;
            self.total += now.len() as u64;
            bytes = later;
        }
    }

    /// The value of the group that the last byte belongs to, as far as it is filled.
    #[must_use]
    pub fn current_group(&self) -> Group {
        self.current.finalize_non_root()
    }

    /// The digest of everything taken, and the value of every group (none when one group held it all).
    #[must_use]
    pub fn finish(mut self) -> (Digest, Vec<Group>) {
        if self.total <= limits::DIGEST_GROUP {
            return (self.whole.finalize().into(), Vec::new());
        }
        self.groups.push(self.current.finalize_non_root());
        (merge(&self.groups), self.groups)
    }
}

/// Merges the values of two or more groups into the digest of the whole: BLAKE3's tree is left-balanced, each
/// left subtree being the largest power of two of groups that leaves something for the right.
fn merge(groups: &[Group]) -> Digest {
    let (left, right) = split(groups);
    merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).into()
}

fn subtree(groups: &[Group]) -> Group {
    if let [one] = groups {
        return *one;
    }
    let (left, right) = split(groups);
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

fn split(groups: &[Group]) -> (&[Group], &[Group]) {
    groups.split_at(groups.len().next_power_of_two() / 2)
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
}
