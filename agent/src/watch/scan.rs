//! Scan: what a settled batch means on disk. Events say where to look; only what is found there decides what is sent.

use std::collections::{BTreeSet, HashSet};
use std::io;

use driftless_proto::disk::walk::{self, Listed};
use driftless_proto::disk::{LastDir, Stamp, leads_nowhere};
use driftless_proto::model::entry::{Entry, Kind, Time};
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::observer::TaskId;
use driftless_proto::transfer::sender::{Known, Read, Task};

use super::desk::Marked;
use super::hold::Standing;
use crate::journal::Journal;
use crate::pending::{Batch, Dirty};

/// One thing to be sent.
#[derive(Debug)]
pub(super) enum Work {
    /// Compare a directory with everything beneath it.
    Compare(RelPath),
    /// Bring one file across, as it was found.
    File {
        /// Where.
        path: RelPath,
        /// What the journal says the server holds.
        known: Option<Known>,
        /// What to do if it changes meanwhile.
        read: Read,
        /// Its size in bytes and its time.
        found: (u64, Time),
    },
    /// Bring one path across that is no file.
    Put(RelPath),
    /// Nothing stands there.
    Remove(RelPath),
    /// Repeat a rename; with what is to be looked at if it cannot be repeated.
    Rename(RelPath, RelPath, Vec<Dirty>),
    /// Have what stands at two paths change places.
    Exchange(RelPath, RelPath),
}

/// What came of looking at a batch.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// In the order in which it is to be sent.
    pub(super) work: Vec<Work>,
    /// Paths that could not be looked at, and why: they are looked at again.
    pub(super) failed: Vec<(Dirty, io::Error)>,
    /// Something is gone and stays on the server.
    pub(super) held_back: bool,
    /// Paths at which nothing stands: they may have gone along with a directory that was renamed.
    pub(super) absent: Vec<RelPath>,
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

    /// The paths that are to be removed on the server.
    pub(super) fn removed(&self) -> impl Iterator<Item = &RelPath> {
        self.work.iter().filter_map(|work| if let Work::Remove(path) = work { Some(path) } else { None })
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
            Self::File { path, known, read, .. } => Task::Put(id, place(&path)?, known, read),
            Self::Put(path) => Task::Put(id, place(&path)?, None, Read::Anyway),
            Self::Remove(path) => Task::Remove(id, place(&path)?),
            Self::Rename(from, to, _) => Task::Rename(id, place(&from)?, place(&to)?),
            Self::Exchange(one, other) => Task::Exchange(id, place(&one)?, place(&other)?),
        })
    }

    /// Where it is done.
    fn path(&self) -> &RelPath {
        match self {
            Self::Compare(path) | Self::File { path, .. } | Self::Put(path) | Self::Remove(path) => path,
            Self::Rename(_, path, _) | Self::Exchange(path, _) => path,
        }
    }

    /// The file whose content this sends.
    pub(super) fn file(&self) -> Option<&RelPath> {
        if let Self::File { path, .. } = self { Some(path) } else { None }
    }

    /// What is to be looked at again if this fails.
    pub(super) fn retry(&self) -> Vec<Dirty> {
        let (path, subtree) = match self {
            Self::Compare(dir) => (dir, true),
            Self::File { path, .. } | Self::Put(path) | Self::Remove(path) => (path, false),
            Self::Rename(_, _, instead) => return instead.clone(),
            Self::Exchange(one, other) => {
                return [one, other].map(|path| Dirty { path: path.clone(), subtree: true }).into();
            }
        };
        vec![Dirty { path: path.clone(), subtree }]
    }
}

/// Where the journal may be behind what the server has.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Everywhere: the inventory has not followed the comparison of everything yet.
    pub(super) all: bool,
    /// Where contents are on their way.
    pub(super) paths: Vec<RelPath>,
}

impl Behind {
    fn concerns(&self, dir: &RelPath) -> bool {
        self.all || self.paths.iter().any(|path| path.is_within(dir) || dir.is_within(path))
    }
}

/// Looks at one batch: what happens to the source once that has begun has marks of its own.
pub(super) struct Scan<'a> {
    /// The source.
    pub(super) root: LastDir,
    /// What is left out.
    pub(super) rules: &'a Rules,
    /// What was acked.
    pub(super) journal: &'a Journal,
    /// Whether anything may be removed on the server.
    pub(super) delete: bool,
    /// What is left alone.
    pub(super) standing: &'a Standing,
    /// Which paths of this batch are not like any other.
    pub(super) marked: Marked,
    /// Where the journal's word is no proof.
    pub(super) behind: Behind,
}

impl Scan<'_> {
    /// Looks at everything in a batch. Directories whose names changed are brought across too, after what is in them,
    /// so that their times arrive.
    pub(super) fn look(&self, batch: &Batch) -> Scanned {
        let mut scanned = Scanned::default();
        let mut parents = BTreeSet::new();
        let mut instead = Vec::new();
        let exchanged = self.exchanged(batch);
        let is_half = |one: &RelPath, other: &RelPath| exchanged.iter().any(|(a, b)| a == one && b == other);
        for (index, rename) in batch.renames.iter().enumerate() {
            if is_half(&rename.from, &rename.to) || is_half(&rename.to, &rename.from) {
                continue;
            }
            // Where nothing may be removed on the server, its old name stays, and the new one gets a copy.
            if self.delete && self.standing.holds_fast(rename) {
                instead.extend(batch.instead_of(index));
            } else if self.delete {
                let instead = batch.instead_of(index);
                scanned.work.push(Work::Rename(rename.from.clone(), rename.to.clone(), instead));
            }
            parents.extend([rename.from.parent(), rename.to.parent()].into_iter().flatten());
        }
        let exchanges = exchanged.iter().map(|(one, other)| Work::Exchange(one.clone(), other.clone()));
        scanned.work.extend(exchanges);
        let mut linked = HashSet::new();
        // What the inventory knew may be older than what the copy holds by now, and the exchange one too many: the
        // comparison that follows proves either.
        let halves: Vec<&RelPath> = exchanged.iter().flat_map(|(one, other)| [one, other]).collect();
        let proved: Vec<Dirty> =
            halves.iter().map(|&path| Dirty { path: path.clone(), subtree: true }).collect();
        let others = batch.dirty.iter().filter(|dirty| !halves.contains(&&dirty.path));
        for dirty in others.chain(&instead).chain(&proved) {
            if let Err(error) = self.look_at(dirty, &exchanged, &mut scanned, &mut linked) {
                scanned.failed.push((dirty.clone(), error));
            }
            parents.extend(dirty.path.parent());
        }
        self.look_for_names(&linked, &mut scanned.work);
        self.begin(&exchanged, &mut scanned.work);
        let is_covered = |dir: &RelPath| batch.dirty.iter().any(|d| d.subtree && dir.is_within(&d.path));
        parents.retain(|dir| !is_covered(dir) && self.standing.apart(dir).is_none());
        // One that is gone by now has a mark of its own.
        parents.retain(|dir| self.root.found(dir).is_ok_and(|found| found.entry.is_dir()));
        scanned.work.extend(parents.into_iter().rev().map(Work::Put));
        scanned
    }

    /// What changed places in this batch and may do so on the server.
    fn exchanged(&self, batch: &Batch) -> Vec<(RelPath, RelPath)> {
        if !self.delete {
            return Vec::new();
        }
        let mut pairs = super::exchanged::find(&self.root, self.journal, &batch.dirty);
        let fixed = |path: &RelPath| {
            let is_dir = self.root.found(path).is_ok_and(|found| found.entry.is_dir());
            self.standing.is_apart_within(path)
                || self.standing.apart(path).is_some()
                || self.rules.hides(path, is_dir)
        };
        pairs.retain(|(one, other)| !fixed(one) && !fixed(other) && self.journal.may_exchange(one, other));
        let near = |a: &RelPath, b: &RelPath| a.is_within(b) || b.is_within(a);
        let mut apart: Vec<(RelPath, RelPath)> = Vec::new();
        for (one, other) in pairs {
            if !apart
                .iter()
                .any(|(a, b)| near(a, &one) || near(a, &other) || near(b, &one) || near(b, &other))
            {
                apart.push((one, other));
            }
        }
        apart
    }

    /// These exchanges are about to be sent. Nobody knows yet whether they will be carried out, so what follows them must
    /// be right either way: what is sent of either half is proved by digests.
    fn begin(&self, exchanged: &[(RelPath, RelPath)], work: &mut [Work]) {
        for (one, other) in exchanged {
            self.journal.begin_exchange(one, other);
            for put in work.iter_mut() {
                if let Work::File { path, known, .. } = put
                    && (path.is_within(one) || path.is_within(other))
                {
                    *known = None;
                }
            }
        }
    }

    /// Looks at one path, once these have changed places. Of a file with several names the inode number is noted.
    fn look_at(
        &self,
        dirty: &Dirty,
        exchanged: &[(RelPath, RelPath)],
        scanned: &mut Scanned,
        linked: &mut HashSet<u64>,
    ) -> io::Result<()> {
        let path = &dirty.path;
        if self.standing.apart(path).is_some() {
            return Ok(());
        }
        let found = match self.root.found(path) {
            Ok(found) => found,
            Err(error) if self.is_absent(path, &error) => {
                scanned.absent.push(path.clone());
                // It may have been written by this name a moment ago.
                linked.extend(self.journal.linked(path));
                match self.rules.hides(path, false) {
                    true => {}
                    false if self.delete => scanned.work.push(Work::Remove(path.clone())),
                    false => scanned.held_back = true,
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if self.rules.hides(path, found.entry.is_dir()) {
            return Ok(());
        }
        let work = &mut scanned.work;
        match found.entry.kind {
            Kind::Dir if dirty.subtree => {
                work.push(Work::Compare(path.clone()));
                if !path.is_root() {
                    self.look_for_doubles(path, exchanged, work);
                }
            }
            Kind::Dir => {
                work.push(Work::Put(path.clone()));
                self.look_for_gone(path, exchanged, scanned, linked)?;
            }
            Kind::File { .. } => {
                if found.stat.nlink > 1 {
                    self.journal.meet(path, found.stat.ino);
                    linked.insert(found.stat.ino);
                }
                work.push(self.file(path, &found.entry));
            }
            _ => work.push(Work::Put(path.clone())),
        }
        Ok(())
    }

    /// Looks for names that the copy has and that no longer stand in a directory: what a comparison brought across and
    /// what was gone before a poll met it is told of by nothing but the directory's times.
    fn look_for_gone(
        &self,
        path: &RelPath,
        exchanged: &[(RelPath, RelPath)],
        scanned: &mut Scanned,
        linked: &mut HashSet<u64>,
    ) -> io::Result<()> {
        if !self.delete {
            // It stays, and what vanishes while deletions are held has been told of.
            return Ok(());
        }
        let dir = match self.root.root().dir(path) {
            Ok(dir) => dir,
            // It has a mark of its own by now.
            Err(error) if leads_nowhere(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for name in self.journal.names_in(path).map_err(io::Error::other)? {
            let gone = dir.found(&name).is_err_and(|error| leads_nowhere(&error));
            if let (true, Ok(path)) = (gone, path.child(&name)) {
                self.look_at(&Dirty { path, subtree: true }, exchanged, scanned, linked)?;
            }
        }
        Ok(())
    }

    /// Brings the other names of these files across too: no event tells of them. Those that are not known or not there at
    /// this moment are looked at in their turn: see [`super::names`].
    fn look_for_names(&self, linked: &HashSet<u64>, work: &mut Vec<Work>) {
        if linked.is_empty() {
            return;
        }
        let met: HashSet<RelPath> = work.iter().map(|work| work.path().clone()).collect();
        for path in self.journal.names_of(linked) {
            let apart = met.contains(&path) || self.standing.apart(&path).is_some();
            if apart || self.rules.hides(&path, false) {
                continue;
            }
            // On another file system the number is another file's: that costs a comparison.
            let found = self.root.found(&path).ok().filter(|found| found.entry.is_file());
            if let Some(found) = found.filter(|found| linked.contains(&found.stat.ino)) {
                work.push(self.file(&path, &found.entry));
            }
        }
    }

    fn file(&self, path: &RelPath, entry: &Entry) -> Work {
        let read = if self.marked.restless.contains(path) { Read::Anyway } else { Read::Rested };
        let known = if self.marked.distrusted.contains(path) { None } else { self.known(path) };
        let found = (entry.size(), entry.mtime);
        Work::File { path: path.clone(), known, read, found }
    }

    /// Looks for files that another one took the place of: the comparison that follows sees size and time, and two
    /// files written in the same instant may share both. The journal knows which one the server has, and where it will
    /// have it once these have changed places.
    fn look_for_doubles(&self, dir: &RelPath, exchanged: &[(RelPath, RelPath)], work: &mut Vec<Work>) {
        let mut dirs = vec![dir.clone()];
        while let Some(dir) = dirs.pop() {
            // What cannot be read, the comparison reports.
            let Ok(listing) = self.root.root().dir(&dir).and_then(|dir| walk::list(&dir)) else { continue };
            let behind = self.behind.concerns(&dir);
            for Listed { name, found } in listing.entries {
                let Ok(path) = dir.child(&name) else { continue };
                let is_dir = found.entry.is_dir();
                if self.rules.excludes(&path, is_dir) {
                    continue;
                }
                let entry = &found.entry;
                if is_dir {
                    dirs.push(path);
                } else if entry.is_file() && behind {
                    // Whatever the server has there, only a digest tells.
                    let found = (entry.size(), entry.mtime);
                    work.push(Work::File { path, known: None, read: Read::Rested, found });
                } else if entry.is_file()
                    && (self.journal.is_in_doubt(&path)
                        || self.is_double(&before(&path, exchanged), &found.stat))
                {
                    work.push(self.file(&path, entry));
                }
            }
        }
    }

    /// Whether a file stands at the name of another one that cannot be told from it by size and time. What was equal from
    /// the start has no row, but the inventory names it.
    fn is_double(&self, path: &RelPath, now: &Stamp) -> bool {
        if let Some(row) = self.journal.glance(path).ok().flatten() {
            let was = row.stamp;
            return (was.ino, was.dev) != (now.ino, now.dev)
                && was.size == now.size
                && was.mtime == now.mtime;
        }
        let item = self.journal.item(path).ok().flatten();
        item.is_some_and(|was| was.ino != now.ino && was.size == now.size && was.mtime == now.mtime)
    }

    /// Whether a path is known not to be there: it leads nowhere beneath a root that can be looked at.
    fn is_absent(&self, path: &RelPath, error: &io::Error) -> bool {
        leads_nowhere(error) && !path.is_root() && self.root.found(&RelPath::root()).is_ok()
    }

    /// What the journal says the server holds. A row that cannot be read costs sending more, nothing else.
    fn known(&self, path: &RelPath) -> Option<Known> {
        if self.journal.is_in_doubt(path) {
            return None;
        }
        let record = self.journal.get(path).ok()??;
        Some(Known {
            stamp: record.stamp,
            entry: record.entry,
            digest: record.digest?,
            groups: record.groups,
        })
    }
}

/// Where what is to stand at a path lies before these change places.
fn before(path: &RelPath, exchanged: &[(RelPath, RelPath)]) -> RelPath {
    let across = |from: &RelPath, to: &RelPath| path.below(from).and_then(|rest| to.join(&rest).ok());
    let other = exchanged.iter().find_map(|(one, other)| across(one, other).or_else(|| across(other, one)));
    other.unwrap_or_else(|| path.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the tests make what is looked at")]

    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    use driftless_proto::disk::{Root, Style};

    use super::*;
    use crate::journal::{Item, Mounted, Note};

    fn look(root: &Root, journal: &Journal, dirty: Vec<Dirty>, delete: bool) -> Scanned {
        let scan = Scan {
            root: LastDir::new(root),
            rules: &Rules::default(),
            journal,
            delete,
            standing: &Standing::default(),
            marked: Marked::default(),
            behind: Behind::default(),
        };
        scan.look(&Batch { id: 0, renames: Vec::new(), dirty, since: Instant::now() })
    }

    #[test]
    fn what_lies_beneath_something_that_is_no_directory_any_more_is_gone() {
        let home = tempfile::tempdir().expect("tempdir");
        let source = home.path().join("source");
        fs::create_dir_all(source.join("elsewhere")).expect("mkdir");
        fs::write(source.join("elsewhere/f"), "another one").expect("write");
        symlink("elsewhere", source.join("link")).expect("symlink");
        fs::write(source.join("file"), "").expect("write");
        let root = Root::open(&source, Style::default()).expect("root");
        let journal = Journal::open(home.path(), &source, b"m", &RelPath::root()).expect("journal");
        for path in ["link/f", "file/f", "missing/f"] {
            let path = RelPath::parse(path.as_bytes()).expect("path");
            let dirty = vec![Dirty { path: path.clone(), subtree: true }];
            let scanned = look(&root, &journal, dirty, true);
            assert!(scanned.failed.is_empty(), "{:?}", scanned.failed);
            assert!(matches!(&scanned.work[..], [Work::Remove(gone)] if *gone == path), "{:?}", scanned.work);
        }
    }

    #[test]
    fn what_the_copy_has_and_a_directory_has_not_is_removed_when_the_directory_changed() {
        let home = tempfile::tempdir().expect("tempdir");
        let source = home.path().join("source");
        fs::create_dir_all(source.join("d/below")).expect("mkdir");
        fs::write(source.join("d/stays"), "").expect("write");
        let root = Root::open(&source, Style::default()).expect("root");
        let journal = Journal::open(home.path(), &source, b"m", &RelPath::root()).expect("journal");
        let path = |path: &str| RelPath::parse(path.as_bytes()).expect("path");
        let found = root.found(&path("d/stays")).expect("stat");
        let top = RelPath::root();
        let mounted = Mounted::new(&root.found(&top).expect("stat"), root.inode(&top).expect("stat"));
        let item = Item::new(&found, root.inode(&path("d/stays")).expect("stat"), &mounted);
        let seen = |at: &str| Note::Seen(path(at), item);
        // No look has met it, and a comparison brought it across.
        journal.take(&["d/stays", "d/gone", "d/below/f"].map(seen)).expect("take");
        let dirty = vec![Dirty { path: path("d"), subtree: false }];
        let scanned = look(&root, &journal, dirty, true);
        let removed: Vec<_> = scanned.removed().collect();
        assert_eq!(removed, [&path("d/gone")], "what lies deeper is told of by its own directory");

        let dirty = vec![Dirty { path: path("d"), subtree: false }];
        let scanned = look(&root, &journal, dirty, false);
        assert!(scanned.removed().next().is_none() && scanned.absent.is_empty(), "{scanned:?}");
    }
}
