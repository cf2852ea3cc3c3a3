//! disk: listing a directory, and summarising a tree into the digests by which two ends compare.

use std::collections::HashMap;
use std::io;

use rustix::fs::RawDir;
use rustix::io::Errno;

use super::content;
use super::dir::Dir;
use super::found::Found;
use super::ids::Names;
use super::kept::Kept;
use super::reserved::{is_reserved, random};
use super::root::Root;
use crate::limits;
use crate::model::counter::KindCounts;
use crate::model::digest::Digest;
use crate::model::entry::{Entry, Kind};
use crate::model::filter::Rules;
use crate::model::options::Terms;
use crate::model::path::RelPath;
use crate::model::tree::{DirHasher, Seed};

/// Bytes of names read from the kernel at a time: some 800 names of 15 letters and their heads.
const NAMES_LEN: usize = 32 * 1024;

/// Directories of one descent that are held open at once. Deeper ones are found again from the top each time: a tree
/// of any depth must not use up the process's descriptors.
pub(super) const HELD_DIRS: usize = 64;

/// One name of a directory and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Box<[u8]>,
    /// What stands there.
    pub found: Found,
}

/// What is in a directory.
#[derive(Debug, Default)]
pub struct DirListing {
    /// In canonical order: by the bytes of the names.
    pub entries: Vec<Listed>,
    /// Names of which it could not be found out what stands there.
    pub failed: Vec<(Box<[u8]>, io::Error)>,
    /// There are reserved names besides.
    pub reserved: bool,
}

/// Lists a directory, without reserved names. A name that vanishes meanwhile is not listed.
///
/// # Errors
/// As `open(2)` and `getdents(2)`.
pub fn list(dir: &Dir) -> io::Result<DirListing> {
    list_read(&dir.to_read()?)
}

/// As [`list`], of a directory that is held for reading, once.
fn list_read(dir: &Dir) -> io::Result<DirListing> {
    let mut listing = DirListing::default();
    each_name_read(dir, |name| {
        if is_reserved(name) {
            listing.reserved = true;
            return Ok(true);
        }
        match dir.found(name) {
            Ok(found) => listing.entries.push(Listed { name: name.into(), found }),
            Err(error) if vanished(&error) => {}
            Err(error) => listing.failed.push((name.into(), error)),
        }
        Ok(true)
    })?;
    listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(listing)
}

/// Calls `each` with every name in a directory but `.` and `..`, in the order of the file system, until it returns
/// false.
pub(super) fn each_name(dir: &Dir, each: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
    each_name_read(&dir.to_read()?, each)
}

fn each_name_read(dir: &Dir, mut each: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(NAMES_LEN);
    let mut names = RawDir::new(dir.fd(), buffer.spare_capacity_mut());
    while let Some(name) = names.next() {
        let name = name?;
        let name = name.file_name().to_bytes();
        if name != b"." && name != b".." && !each(name)? {
            break;
        }
    }
    Ok(())
}

fn vanished(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOENT.raw_os_error())
}

/// Entries that take no part: of a kind that was not asked for, or that the receiver cannot keep. What a rule excludes is
/// not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The first of them, at most [`LEFT_OUT_NAMED`](limits::LEFT_OUT_NAMED).
    pub paths: Vec<RelPath>,
    /// How many there are besides.
    pub more: u64,
}

impl LeftOut {
    /// One more.
    pub fn add(&mut self, path: RelPath) {
        if self.paths.len() < limits::LEFT_OUT_NAMED {
            self.paths.push(path);
        } else {
            self.more += 1;
        }
    }
}

/// A tree in short.
#[derive(Debug)]
pub struct Summary {
    /// Of the directory that was asked for: its content, not its own metadata.
    pub digest: Digest,
    /// Of that directory and of every one beneath it.
    pub dirs: HashMap<RelPath, Digest>,
    /// What there is, the directory itself and what takes no part included, as rsync counts it.
    pub entries: KindCounts,
    /// Size of all regular files and of the texts of all symlinks of these, in bytes.
    pub size_bytes: u64,
    /// What could not be read. The directories that it lies in have digests that are equal to none.
    pub failed: Vec<(RelPath, io::Error)>,
    /// What was listed of the first directories, excluded names included.
    pub kept: Kept,
    /// What takes no part.
    pub left_out: LeftOut,
}

/// Summarises the tree at a directory: what takes part by `terms` and is not excluded by `rules`, whose patterns see
/// paths relative to the Root. Depth first with a stack of its own, so any depth will do. `keep` is how many entries may be
/// kept as they were listed.
///
/// Touches: the tree (read), names of users and groups. Never: file contents, fake symlinks aside, unless `terms` compare
/// them by their digests.
///
/// # Errors
/// When `at` itself cannot be held. What fails beneath it, or that it cannot be listed, is in [`Summary::failed`].
pub fn summarise(
    root: &Root,
    at: &RelPath,
    terms: &Terms,
    rules: &Rules,
    seed: Seed,
    names: &mut Names,
    keep: usize,
) -> io::Result<Summary> {
    let top = root.dir(at)?;
    let top = top.to_read().unwrap_or(top);
    let summary = Summary {
        digest: never_equal(),
        dirs: HashMap::new(),
        entries: KindCounts::default(),
        size_bytes: 0,
        failed: Vec::new(),
        kept: Kept::new(keep),
        left_out: LeftOut::default(),
    };
    let mut walk = Walk { root, terms, rules, seed, names, levels: Vec::new(), summary };
    walk.enter(top, at.clone(), None);
    while let Some(level) = walk.levels.last_mut() {
        match level.entries.next() {
            Some(entry) => walk.take(entry),
            None => walk.leave(),
        }
    }
    Ok(walk.summary)
}

/// The digest of a directory together with its own metadata; `content` is what [`summarise`] gave of it.
#[must_use]
pub fn with_own(entry: &Entry, content: &Digest, terms: &Terms, seed: Seed, names: &mut Names) -> Digest {
    let mut hasher = DirHasher::new(seed, terms);
    add(&mut hasher, b"", entry, Some(content), names);
    hasher.finish()
}

/// A digest that no other is equal to: of what could not be read.
fn never_equal() -> Digest {
    Digest::of([random(), random(), random(), random()].map(u64::to_le_bytes).as_flattened())
}

/// A summary in the making.
struct Walk<'a> {
    root: &'a Root,
    terms: &'a Terms,
    rules: &'a Rules,
    seed: Seed,
    names: &'a mut Names,
    /// The directories from the top down to where the walk stands.
    levels: Vec<Level<'a>>,
    summary: Summary,
}

/// A directory that is being summarised.
struct Level<'a> {
    path: RelPath,
    /// Absent beyond [`HELD_DIRS`] levels.
    dir: Option<Dir>,
    /// Its own entry in the directory above; none for the top.
    own: Option<Listed>,
    entries: std::vec::IntoIter<Listed>,
    hasher: DirHasher<'a>,
    /// Whether everything in it could be read.
    whole: bool,
}

impl Walk<'_> {
    /// Lists a directory and makes it the deepest level.
    fn enter(&mut self, dir: Dir, path: RelPath, own: Option<Listed>) {
        let listing = list_read(&dir).unwrap_or_else(|error| {
            let failed = vec![(Box::default(), error)];
            DirListing { failed, ..DirListing::default() }
        });
        let whole = listing.failed.is_empty();
        self.summary.kept.keep(&path, &listing);
        for (name, error) in listing.failed {
            self.summary.failed.push((path.child(&name).unwrap_or_else(|_| path.clone()), error));
        }
        self.summary.entries.add(&Kind::Dir);
        self.levels.push(Level {
            path,
            dir: (self.levels.len() < HELD_DIRS).then_some(dir),
            own,
            entries: listing.entries.into_iter(),
            hasher: DirHasher::new(self.seed, self.terms),
            whole,
        });
    }

    /// Takes the next entry of the deepest level: a directory is entered, anything else goes into its digest.
    fn take(&mut self, entry: Listed) {
        let Some(level) = self.levels.last_mut() else { return };
        let kind = &entry.found.entry.kind;
        let is_dir = entry.found.entry.is_dir();
        if !self.terms.takes(kind) {
            // Without recursion a directory is no part of anything.
            let path = if is_dir { None } else { level.path.child(&entry.name).ok() };
            if let Some(path) = path.filter(|path| !self.rules.excludes(path, false)) {
                if self.terms.delete {
                    level.hasher.add_name(&entry.name);
                }
                self.summary.entries.add(kind);
                self.summary.size_bytes += entry.found.entry.counted_size();
                self.summary.left_out.add(path);
            }
            return;
        }
        if !level.path.has_room_for(&entry.name) {
            level.whole = false;
            self.summary.failed.push((level.path.clone(), Errno::NAMETOOLONG.into()));
            return;
        }
        // Most entries are files that no rule concerns: no path is made for them.
        let named = is_dir || !self.rules.is_empty();
        let path = if named { level.path.child(&entry.name).ok() } else { None };
        if path.as_ref().is_some_and(|path| self.rules.excludes(path, is_dir)) {
            return;
        }
        let (true, Some(path)) = (is_dir, path) else {
            self.summary.entries.add(kind);
            self.summary.size_bytes += entry.found.entry.counted_size();
            if self.terms.checksum && entry.found.entry.is_file() {
                return self.take_content(&entry);
            }
            add(&mut level.hasher, &entry.name, &entry.found.entry, None, self.names);
            return;
        };
        let opened = match &level.dir {
            Some(dir) => dir.child_to_read(&entry.name),
            None => self.root.dir(&path).and_then(|dir| dir.to_read()),
        };
        match opened {
            Ok(dir) => self.enter(dir, path, Some(entry)),
            Err(error) if vanished(&error) => {}
            Err(error) => {
                let digest = never_equal();
                add(&mut level.hasher, &entry.name, &entry.found.entry, Some(&digest), self.names);
                self.summary.entries.add(kind);
                self.summary.dirs.insert(path.clone(), digest);
                self.summary.failed.push((path, error));
            }
        }
    }

    /// A file whose content is compared goes into the deepest level.
    fn take_content(&mut self, entry: &Listed) {
        let Some(level) = self.levels.last_mut() else { return };
        let digest = match &level.dir {
            Some(dir) => content::digest(dir, &entry.name),
            None => self.root.dir(&level.path).and_then(|dir| content::digest(&dir, &entry.name)),
        };
        match digest {
            Ok((digest, _)) => {
                add(&mut level.hasher, &entry.name, &entry.found.entry, Some(&digest), self.names);
            }
            Err(error) if vanished(&error) => {}
            Err(error) => {
                add(&mut level.hasher, &entry.name, &entry.found.entry, Some(&never_equal()), self.names);
                let path = level.path.child(&entry.name).unwrap_or_else(|_| level.path.clone());
                self.summary.failed.push((path, error));
            }
        }
    }

    /// Finishes the deepest level: its digest goes into the one above.
    fn leave(&mut self) {
        let Some(done) = self.levels.pop() else { return };
        let digest = if done.whole { done.hasher.finish() } else { never_equal() };
        self.summary.dirs.insert(done.path, digest);
        match (self.levels.last_mut(), done.own) {
            (Some(above), Some(own)) => {
                add(&mut above.hasher, &own.name, &own.found.entry, Some(&digest), self.names);
            }
            _ => self.summary.digest = digest,
        }
    }
}

fn add(hasher: &mut DirHasher<'_>, name: &[u8], entry: &Entry, content: Option<&Digest>, names: &mut Names) {
    let names = std::cell::RefCell::new(names);
    let owner = || names.borrow_mut().owner_term(entry.uid);
    let group = || names.borrow_mut().group_term(entry.gid);
    hasher.add(name, entry, owner, group, content);
}

#[cfg(test)]
mod tests;
