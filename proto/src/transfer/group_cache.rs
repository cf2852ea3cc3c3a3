//! What a receiver remembers of the large files it has landed: their groups. With them a file that is wanted again is
//! compared without being read here, and what of it stays in place is copied without being hashed.
//!
//! A remembered file is known by its [`Stamp`]: as long as that is the same, nobody has written to it. The limits of that
//! are those of every look at a time; [`Stamp`] names them.

use std::fs::File;

use crate::disk::Stamp;
use crate::model::digest::GroupSums;

/// Where a receiver remembers groups.
pub trait GroupCache: Send + Sync {
    /// The groups of the file with this stamp.
    fn get(&self, stamp: &Stamp) -> Option<GroupSums>;

    /// Remembers the groups of a file that has just landed. `file` is that file, and `described` what it was before it
    /// got its name: getting it changes the ctime, and any write since then size or mtime. Failing to is no error.
    fn put(&self, file: File, described: Stamp, groups: GroupSums);
}
