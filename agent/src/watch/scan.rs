//! Scan: what a settled batch means on disk. Events say where to look; only what is found there decides what is sent.

use std::collections::{BTreeSet, HashSet};
use std::io;

use driftless_proto::disk::walk::{self, Listed};
use driftless_proto::disk::{Root, Stamp};
use driftless_proto::model::entry::Kind;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::observer::TaskId;
use driftless_proto::transfer::sender::{Known, Read, Task};

use super::hold::Standing;
use crate::journal::Journal;
use crate::pending::{Batch, Dirty};

/// One thing to be sent.
#[derive(Debug)]
pub(super) enum Work {
    /// Compare a directory with everything beneath it.
    Compare(RelPath),
    /// Bring one path across.
    Put(RelPath, Option<Known>, Read),
    /// Nothing stands there.
    Remove(RelPath),
    /// Repeat a rename; with what is to be looked at if it cannot be repeated.
    Rename(RelPath, RelPath, Vec<Dirty>),
}

/// What came of looking at a batch.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// In the order in which it is to be sent.
    pub(super) work: Vec<Work>,
    /// Paths that could not be looked at, and why: they are looked at again.
    pub(super) failed: Vec<(Dirty, io::Error)>,
}

impl Scanned {
    /// Whether something goes away on the server if this is sent.
    pub(super) fn deletes(&self) -> bool {
        self.work.iter().any(|work| matches!(work, Work::Remove(_) | Work::Compare(_)))
    }

    /// The paths of a batch at which nothing is to be done.
    pub(super) fn idle<'b>(&self, batch: &'b Batch) -> impl Iterator<Item = &'b RelPath> + use<'b> {
        let work = self.work.iter().flat_map(Work::retry);
        let busy: HashSet<RelPath> =
            work.chain(self.failed.iter().map(|(dirty, _)| dirty.clone())).map(|dirty| dirty.path).collect();
        batch.dirty.iter().map(|dirty| &dirty.path).filter(move |path| !busy.contains(*path))
    }

    /// Whether some of it is found by comparing, rather than seen to happen.
    pub(super) fn compares(&self) -> bool {
        self.work.iter().any(|work| matches!(work, Work::Compare(_)))
    }
}

impl Work {
    /// The task for the sender; `prefix` is where the source lies in the transfer.
    pub(super) fn task(self, id: TaskId, prefix: &RelPath) -> Option<Task> {
        let place = |path: &RelPath| prefix.join(path).ok();
        Some(match self {
            Self::Compare(dir) => Task::Compare(id, place(&dir)?),
            Self::Put(path, known, read) => Task::Put(id, place(&path)?, known, read),
            Self::Remove(path) => Task::Remove(id, place(&path)?),
            Self::Rename(from, to, _) => Task::Rename(id, place(&from)?, place(&to)?),
        })
    }

    /// What is to be looked at again if this fails.
    pub(super) fn retry(&self) -> Vec<Dirty> {
        let (path, subtree) = match self {
            Self::Compare(dir) => (dir, true),
            Self::Put(path, ..) | Self::Remove(path) => (path, false),
            Self::Rename(_, _, instead) => return instead.clone(),
        };
        vec![Dirty { path: path.clone(), subtree }]
    }
}

/// Looks at batches of one source.
pub(super) struct Scan<'a> {
    /// The source.
    pub(super) root: &'a Root,
    /// What is left out.
    pub(super) rules: &'a Rules,
    /// What was acked.
    pub(super) journal: &'a Journal,
    /// Whether anything may be removed on the server.
    pub(super) delete: bool,
    /// What is left alone.
    pub(super) standing: &'a Standing,
    /// Files of this batch that would not rest: they are sent as they are.
    pub(super) restless: HashSet<RelPath>,
}

impl Scan<'_> {
    /// Looks at everything in a batch. Directories whose names changed are brought across too, after what is in them,
    /// so that their times arrive.
    pub(super) fn look(&self, batch: &Batch) -> Scanned {
        let mut scanned = Scanned::default();
        let mut parents = BTreeSet::new();
        let mut instead = Vec::new();
        for (index, rename) in batch.renames.iter().enumerate() {
            // Where nothing may be removed on the server, its old name stays, and the new one gets a copy.
            if self.delete && self.standing.holds_fast(rename) {
                instead.extend(batch.instead_of(index));
            } else if self.delete {
                let instead = batch.instead_of(index);
                scanned.work.push(Work::Rename(rename.from.clone(), rename.to.clone(), instead));
            }
            parents.extend([rename.from.parent(), rename.to.parent()].into_iter().flatten());
        }
        for dirty in batch.dirty.iter().chain(&instead) {
            if let Err(error) = self.look_at(dirty, &mut scanned.work) {
                scanned.failed.push((dirty.clone(), error));
            }
            parents.extend(dirty.path.parent());
        }
        let is_covered = |dir: &RelPath| batch.dirty.iter().any(|d| d.subtree && dir.is_within(&d.path));
        parents.retain(|dir| !is_covered(dir) && self.standing.apart(dir).is_none());
        // One that is gone by now has a mark of its own.
        parents.retain(|dir| self.root.found(dir).is_ok_and(|found| found.entry.is_dir()));
        scanned.work.extend(parents.into_iter().rev().map(|dir| Work::Put(dir, None, Read::Anyway)));
        scanned
    }

    fn look_at(&self, dirty: &Dirty, work: &mut Vec<Work>) -> io::Result<()> {
        let path = &dirty.path;
        if self.standing.apart(path).is_some() {
            return Ok(());
        }
        let found = match self.root.found(path) {
            Ok(found) => found,
            Err(error) if self.is_absent(path, &error) => {
                if self.delete && !self.rules.hides(path, false) {
                    work.push(Work::Remove(path.clone()));
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if self.rules.hides(path, found.entry.is_dir()) {
            return Ok(());
        }
        match found.entry.kind {
            Kind::Dir if dirty.subtree => {
                work.push(Work::Compare(path.clone()));
                if !path.is_root() {
                    self.look_for_doubles(path, work);
                }
            }
            Kind::File { .. } => work.push(self.file(path)),
            _ => work.push(Work::Put(path.clone(), None, Read::Anyway)),
        }
        Ok(())
    }

    fn file(&self, path: &RelPath) -> Work {
        let read = if self.restless.contains(path) { Read::Anyway } else { Read::Rested };
        Work::Put(path.clone(), self.known(path), read)
    }

    /// Looks for files that another one took the place of: the comparison that follows sees size and time, and two
    /// files written in the same instant may share both. The journal knows which one the server has.
    fn look_for_doubles(&self, dir: &RelPath, work: &mut Vec<Work>) {
        let mut dirs = vec![dir.clone()];
        while let Some(dir) = dirs.pop() {
            // What cannot be read, the comparison reports.
            let Ok(listing) = self.root.dir(&dir).and_then(|dir| walk::list(&dir)) else { continue };
            for Listed { name, found } in listing.entries {
                let Ok(path) = dir.child(&name) else { continue };
                let is_dir = found.entry.is_dir();
                if self.rules.excludes(&path, is_dir) {
                    continue;
                }
                if is_dir {
                    dirs.push(path);
                } else if found.entry.is_file() && self.is_double(&path, &found.stat) {
                    work.push(self.file(&path));
                }
            }
        }
    }

    fn is_double(&self, path: &RelPath, now: &Stamp) -> bool {
        let row = self.journal.glance(path).ok().flatten();
        row.is_some_and(|row| {
            let was = row.stamp;
            (was.ino, was.dev) != (now.ino, now.dev) && was.size == now.size && was.mtime == now.mtime
        })
    }

    /// Whether a path is known not to be there: ENOENT beneath a root that can be looked at. Anything else, EIO and
    /// ESTALE above all, says nothing.
    fn is_absent(&self, path: &RelPath, error: &io::Error) -> bool {
        let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind());
        gone && !path.is_root() && self.root.found(&RelPath::root()).is_ok()
    }

    /// What the journal says the server holds. A row that cannot be read costs sending more, nothing else.
    fn known(&self, path: &RelPath) -> Option<Known> {
        let record = self.journal.get(path).ok()??;
        Some(Known {
            stamp: record.stamp,
            entry: record.entry,
            digest: record.digest?,
            groups: record.groups,
        })
    }
}
