//! Exchanged: two entries that changed places (`RENAME_EXCHANGE` of `rename(2)`). To the watcher that is a rename there
//! and one back, as it is when nothing has changed in the end; which of the two it was, inodes tell.

use std::collections::HashMap;

use driftless_proto::disk::{Inode, LastDir};
use driftless_proto::model::path::RelPath;

use crate::journal::{Item, Journal};
use crate::pending::Dirty;

/// What stands at a name, and what stood there when it was last sent.
struct Changed<'a> {
    path: &'a RelPath,
    was: Item,
    now: Inode,
}

/// The pairs among these paths that changed places. What cannot be looked at is in none.
pub(super) fn find(root: &LastDir, journal: &Journal, dirty: &[Dirty]) -> Vec<(RelPath, RelPath)> {
    let mut standing = HashMap::new();
    for Dirty { path, .. } in dirty.iter().filter(|dirty| !dirty.path.is_root()) {
        let Ok(Some(was)) = journal.item(path) else { continue };
        let Ok(now) = root.inode(path) else { continue };
        if now.ino != was.ino && !was.mounted {
            standing.insert(now.ino, Changed { path, was, now });
        }
    }
    let mut pairs = Vec::new();
    for one in standing.values() {
        let Some(other) = standing.get(&one.was.ino) else { continue };
        let crossed = is_now(&one.was, other.now) && is_now(&other.was, one.now);
        let apart = !one.path.is_within(other.path) && !other.path.is_within(one.path);
        if crossed && apart && one.path < other.path {
            pairs.push((one.path.clone(), other.path.clone()));
        }
    }
    pairs
}

/// A number is given out again; with the time of birth it is the same file.
fn is_now(was: &Item, now: Inode) -> bool {
    was.ino == now.ino && was.born.is_some() && was.born == now.born
}
