//! journal: names of one file. An event tells of the name that was used; the other names of the file have changed as
//! well, and only the inventory knows which they are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{MutexGuard, PoisonError};

use driftless_proto::model::path::RelPath;

use super::{Journal, JournalError, Note};

/// Names that are remembered: about 200 bytes each. Beyond it, those that are not are found to have changed at the next
/// comparison.
const NAMES_MAX: usize = 100_000;

/// The names of files that have several, as far as the inventory has them: one that is on its way, or whose directory is
/// being renamed, comes with its note.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_inode: HashMap<u64, HashSet<RelPath>>,
    by_path: BTreeMap<RelPath, u64>,
    /// Files that were met under one name, and of which the inventory may have more: they had only one when it was told.
    unknown: HashSet<u64>,
}

impl Links {
    /// Follows what the inventory was told.
    pub(super) fn follow(&mut self, note: &Note) {
        match note {
            Note::Seen(path, item) => {
                // Asked first: this may be the only name that is known.
                let is_one = !item.dir && (item.linked || self.by_inode.contains_key(&item.ino));
                self.remove(path);
                if is_one {
                    self.meet(path.clone(), item.ino);
                }
            }
            Note::Renamed(from, to) if from.is_within(to) || to.is_within(from) => {}
            Note::Renamed(from, to) => {
                let moved = self.take_within(from);
                self.take_within(to);
                self.put_beneath(from, to, moved);
            }
            Note::Exchanged(one, other) => {
                let (ones, others) = (self.take_within(one), self.take_within(other));
                self.put_beneath(one, other, ones);
                self.put_beneath(other, one, others);
            }
            Note::Removed(path) => drop(self.take_within(path)),
            Note::Recorded(..) => {}
        }
    }

    fn take_within(&mut self, dir: &RelPath) -> Vec<(RelPath, u64)> {
        let within = self.by_path.range::<RelPath, _>((Bound::Included(dir), Bound::Unbounded));
        let within = within.take_while(|(path, _)| path.is_within(dir));
        let taken: Vec<_> = within.map(|(path, ino)| (path.clone(), *ino)).collect();
        taken.iter().for_each(|(path, _)| self.remove(path));
        taken
    }

    fn put_beneath(&mut self, from: &RelPath, to: &RelPath, names: Vec<(RelPath, u64)>) {
        for (path, ino) in names {
            if let Some(path) = path.below(from).and_then(|rest| to.join(&rest).ok()) {
                self.remove(&path);
                self.add(path, ino);
            }
        }
    }

    fn meet(&mut self, path: RelPath, ino: u64) {
        if !self.by_inode.contains_key(&ino) && self.by_path.len() < NAMES_MAX {
            self.unknown.insert(ino);
        }
        self.add(path, ino);
    }

    fn add(&mut self, path: RelPath, ino: u64) {
        if self.by_path.len() < NAMES_MAX || self.by_path.contains_key(&path) {
            self.remove(&path);
            self.by_path.insert(path.clone(), ino);
            self.by_inode.entry(ino).or_default().insert(path);
        }
    }

    fn remove(&mut self, path: &RelPath) {
        let Some(ino) = self.by_path.remove(path) else { return };
        if let Some(names) = self.by_inode.get_mut(&ino) {
            names.remove(path);
            if names.is_empty() {
                self.by_inode.remove(&ino);
            }
        }
    }
}

impl Journal {
    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file that has several names was met under this one.
    pub fn meet(&self, path: &RelPath, ino: u64) {
        self.links().meet(path.clone(), ino);
    }

    /// The file that a name stood for, if it is one of several.
    #[must_use]
    pub fn linked(&self, path: &RelPath) -> Option<u64> {
        self.links().by_path.get(path).copied()
    }

    /// The names under which these files are known. A name may have become another file's since, and one may be missing
    /// for now: see [`Journal::every_linked`].
    #[must_use]
    pub fn names_of(&self, inodes: &HashSet<u64>) -> HashSet<RelPath> {
        let links = self.links();
        inodes.iter().filter_map(|ino| links.by_inode.get(ino)).flatten().cloned().collect()
    }

    /// A file that is known by this name has no other any more.
    pub fn stands_alone(&self, path: &RelPath) {
        self.links().remove(path);
    }

    /// Every name of a file that has several, in canonical order, as far as one of them was met. Goes through the inventory
    /// first where it may have some that are not known yet; without any such file that never happens.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn every_linked(&self) -> Result<Vec<RelPath>, JournalError> {
        let unknown = std::mem::take(&mut self.links().unknown);
        if !unknown.is_empty() {
            let found = match self.items_of(&unknown) {
                Ok(found) => found,
                Err(error) => {
                    self.links().unknown.extend(unknown);
                    return Err(error);
                }
            };
            let mut links = self.links();
            for (path, ino) in found {
                // What is known already has been told of later than the inventory was read.
                if !links.by_path.contains_key(&path) {
                    links.add(path, ino);
                }
            }
        }
        Ok(self.links().by_path.keys().cloned().collect())
    }

    /// The files in the inventory that have several names or are one of these.
    fn items_of(&self, inodes: &HashSet<u64>) -> Result<Vec<(RelPath, u64)>, JournalError> {
        let mut found = Vec::new();
        for entry in self.inventory(&RelPath::root())? {
            let (path, item) = entry?;
            if !item.dir && (item.linked || inodes.contains(&item.ino)) {
                found.push((path, item.ino));
            }
        }
        Ok(found)
    }
}
