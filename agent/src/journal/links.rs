//! journal: names of one file. An event tells of the name that was used; the other names of the file have changed as
//! well, and only the inventory knows which they are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;

use super::{Journal, JournalError, Note};

/// Names that are remembered: about 150 bytes each. With more, the inventory is gone through again when one is asked for.
const NAMES_MAX: usize = 100_000;

/// A walk through the inventory is followed by a rest of so many times as long: a tree that is made of links must not keep a
/// host busy with looking for them.
const REST: u32 = 9;

/// What is known of the names of some files.
#[derive(Debug, Default)]
pub struct Names {
    /// All of those that the inventory has, and perhaps some that it has no more.
    pub known: HashSet<RelPath>,
    /// The inodes that nothing can be said of yet, and when they may be asked for again.
    pub unknown: Option<(HashSet<u64>, Duration)>,
}

/// The names of those files that were asked for.
///
/// Invariant: of an inode in `by_inode` every name in the inventory is known, and perhaps some that it has no more.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_inode: HashMap<u64, HashSet<RelPath>>,
    by_path: BTreeMap<RelPath, u64>,
    /// When the inventory may be gone through again.
    rested: Option<Instant>,
}

impl Links {
    /// Follows what the inventory was told.
    pub(super) fn follow(&mut self, note: &Note) {
        if self.by_inode.is_empty() {
            return;
        }
        match note {
            Note::Seen(path, item) if self.by_inode.contains_key(&item.ino) => {
                self.add(path.clone(), item.ino);
            }
            Note::Renamed(from, to) => {
                let within = self.by_path.range::<RelPath, _>((Bound::Included(from), Bound::Unbounded));
                let within = within.take_while(|(path, _)| path.is_within(from));
                let moved: Vec<_> = within.map(|(path, ino)| (path.clone(), *ino)).collect();
                for (path, ino) in moved {
                    self.remove(&path, ino);
                    if let Some(path) = path.below(from).and_then(|rest| to.join(&rest).ok()) {
                        self.add(path, ino);
                    }
                }
            }
            Note::Exchanged(..) => self.forget(),
            // One that is gone is found to be gone by whoever looks.
            _ => {}
        }
    }

    fn forget(&mut self) {
        *self = Self { rested: self.rested, ..Self::default() };
    }

    fn add(&mut self, path: RelPath, ino: u64) {
        if self.by_path.len() >= NAMES_MAX {
            self.forget();
            return;
        }
        if let Some(old) = self.by_path.insert(path.clone(), ino)
            && old != ino
            && let Some(names) = self.by_inode.get_mut(&old)
        {
            names.remove(&path);
        }
        self.by_inode.entry(ino).or_default().insert(path);
    }

    fn remove(&mut self, path: &RelPath, ino: u64) {
        self.by_path.remove(path);
        if let Some(names) = self.by_inode.get_mut(&ino) {
            names.remove(path);
        }
    }
}

impl Journal {
    /// The names that these inode numbers are known to stand under, for all of them at once; each comes with a name that
    /// it was met under just now. What was not asked for before costs a walk through the inventory, which is put off where
    /// the last one was a moment ago. A name may have become another file's since.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn names_of(&self, met: &[(RelPath, u64)]) -> Result<Names, JournalError> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let inodes: HashSet<u64> = met.iter().map(|(_, ino)| *ino).collect();
        let mut unknown: HashSet<u64> =
            inodes.iter().filter(|ino| !links.by_inode.contains_key(ino)).copied().collect();
        let mut names = Names::default();
        let begun = Instant::now();
        if let Some(rested) = links.rested.filter(|rested| *rested > begun && !unknown.is_empty()) {
            names.unknown = Some((std::mem::take(&mut unknown), rested - begun));
        }
        let mut found = Vec::new();
        if !unknown.is_empty() {
            for entry in self.inventory(&RelPath::root())? {
                let (path, item) = entry?;
                if !item.dir && unknown.contains(&item.ino) {
                    found.push((path, item.ino));
                }
            }
            links.rested = Some(Instant::now() + begun.elapsed() * REST);
        }
        let known = inodes.iter().filter_map(|ino| links.by_inode.get(ino)).flatten().cloned();
        names.known = known.chain(found.iter().map(|(path, _)| path.clone())).collect();
        for ino in unknown {
            links.by_inode.entry(ino).or_default();
        }
        for (path, ino) in found.into_iter().chain(met.iter().cloned()) {
            if links.by_inode.contains_key(&ino) {
                links.add(path, ino);
            }
        }
        Ok(names)
    }
}
