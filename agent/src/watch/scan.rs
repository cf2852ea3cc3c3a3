//! Scan: what a settled batch means on disk. Events say where to look; only what is found there decides what is sent.

use std::collections::BTreeSet;
use std::io;

use driftless_proto::disk::Root;
use driftless_proto::model::entry::Kind;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::observer::TaskId;
use driftless_proto::transfer::sender::{Known, Task};

use crate::journal::Journal;
use crate::pending::{Batch, Dirty};

/// One thing to be sent.
#[derive(Debug)]
pub(super) enum Work {
    /// Compare a directory with everything beneath it.
    Compare(RelPath),
    /// Bring one path across.
    Put(RelPath, Option<Known>),
    /// Nothing stands there.
    Remove(RelPath),
    /// Repeat a rename.
    Rename(RelPath, RelPath),
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
            Self::Put(path, known) => Task::Put(id, place(&path)?, known),
            Self::Remove(path) => Task::Remove(id, place(&path)?),
            Self::Rename(from, to) => Task::Rename(id, place(&from)?, place(&to)?),
        })
    }

    /// What is to be looked at again if this fails.
    pub(super) fn retry(&self) -> Dirty {
        let (path, subtree) = match self {
            Self::Compare(dir) => (dir, true),
            Self::Put(path, _) | Self::Remove(path) => (path, false),
            Self::Rename(_, to) => (to, true),
        };
        Dirty { path: path.clone(), subtree }
    }
}

/// Looks at everything in a batch. Directories whose names changed are brought across too, after what is in them, so
/// that their times arrive.
pub(super) fn look(root: &Root, rules: &Rules, journal: &Journal, batch: &Batch, delete: bool) -> Scanned {
    let mut scanned = Scanned::default();
    let mut parents = BTreeSet::new();
    for rename in &batch.renames {
        // Where nothing may be removed on the server, its old name stays, and the new one gets a copy.
        if delete {
            scanned.work.push(Work::Rename(rename.from.clone(), rename.to.clone()));
        }
        parents.extend([rename.from.parent(), rename.to.parent()].into_iter().flatten());
    }
    for dirty in &batch.dirty {
        match look_at(root, rules, journal, dirty, delete) {
            Ok(work) => scanned.work.extend(work),
            Err(error) => scanned.failed.push((dirty.clone(), error)),
        }
        parents.extend(dirty.path.parent());
    }
    let is_covered = |dir: &RelPath| batch.dirty.iter().any(|d| d.subtree && dir.is_within(&d.path));
    parents.retain(|dir| !is_covered(dir));
    // One that is gone by now has a mark of its own.
    parents.retain(|dir| root.found(dir).is_ok_and(|found| found.entry.is_dir()));
    scanned.work.extend(parents.into_iter().rev().map(|dir| Work::Put(dir, None)));
    scanned
}

fn look_at(root: &Root, rules: &Rules, journal: &Journal, dirty: &Dirty, delete: bool) -> io::Result<Option<Work>> {
    let path = &dirty.path;
    let found = match root.found(path) {
        Ok(found) => found,
        Err(error) if is_absent(root, path, &error) => {
            return Ok((delete && !rules.hides(path, false)).then(|| Work::Remove(path.clone())));
        }
        Err(error) => return Err(error),
    };
    if rules.hides(path, found.entry.is_dir()) {
        return Ok(None);
    }
    Ok(Some(match found.entry.kind {
        Kind::Dir if dirty.subtree => Work::Compare(path.clone()),
        Kind::File { .. } => Work::Put(path.clone(), known(journal, path)),
        _ => Work::Put(path.clone(), None),
    }))
}

/// Whether a path is known not to be there: ENOENT beneath a root that can be looked at. Anything else, EIO and ESTALE
/// above all, says nothing.
fn is_absent(root: &Root, path: &RelPath, error: &io::Error) -> bool {
    let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind());
    gone && !path.is_root() && root.found(&RelPath::root()).is_ok()
}

/// What the journal says the server holds. A row that cannot be read costs sending more, nothing else.
fn known(journal: &Journal, path: &RelPath) -> Option<Known> {
    let record = journal.get(path).ok()??;
    Some(Known { stamp: record.stamp, entry: record.entry, digest: record.digest?, groups: record.groups })
}
