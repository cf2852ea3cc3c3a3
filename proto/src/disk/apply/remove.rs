//! disk: removing whole trees, and the temporary files that a crash left.

use std::io;

use rustix::fs::{AtFlags, ResolveFlags};
use rustix::io::Errno;

use super::super::dir::Dir;
use super::super::reserved::is_reserved;
use super::super::walk::{self, HELD_DIRS, Listed};
use super::{Successor, displace, is};
use crate::limits;
use crate::model::entry::{Kind, Time};

/// Removes a directory and what is in it, deepest first, our own temporary files included. A mount is never crossed.
///
/// `protected` is asked for every entry below, by its path relative to `name` and whether it is a directory: what it
/// protects stays, and so do the directories it lies in. `removed` hears of every entry that is gone, the directory
/// itself last, with an empty path. Returns whether all of it is gone.
///
/// # Errors
/// The first failure; what could be removed besides is. `EXDEV` where something is mounted, `ENAMETOOLONG` where the
/// path below `name` is longer than [`limits::PATH_LEN`]; as `unlink(2)`, `rmdir(2)` and `getdents(2)` otherwise.
pub fn remove_tree(
    dir: &Dir,
    name: &[u8],
    protected: &mut dyn FnMut(&[u8], bool) -> bool,
    removed: &mut dyn FnMut(&[u8], &Kind),
) -> io::Result<bool> {
    // No openat2 with a single name crosses into a mount under this flag; st_dev tells of other file systems that
    // need no mount (a subvolume).
    let top = dir.below(name, ResolveFlags::NO_XDEV)?;
    let dev = top.own()?.stat.dev;
    if dir.own()?.stat.dev != dev {
        return Err(Errno::XDEV.into());
    }
    let mut tree = Tree { top: top.clone(), dev, levels: Vec::new(), first_error: None };
    tree.enter(top, Vec::new());
    while let Some(level) = tree.levels.last_mut() {
        let Some(next) = level.entries.next() else {
            let level = tree.levels.pop().filter(|level| !level.kept);
            let gone = level.is_some_and(|level| tree.leave(dir, name, &level, removed));
            if tree.levels.is_empty() {
                return tree.first_error.map_or(Ok(gone), Err);
            }
            tree.keep_above(!gone);
            continue;
        };
        let path = level.path_of(&next.name);
        let is_dir = next.found.entry.is_dir();
        if protected(&path, is_dir) {
            level.kept = true;
        } else if is_dir {
            tree.descend(&next, path);
        } else {
            tree.unlink(&next, &path, removed);
        }
    }
    Ok(false)
}

/// One directory on the way down.
struct Level {
    /// Below the tree's own top; empty for the top itself.
    path: Vec<u8>,
    /// Absent beyond [`HELD_DIRS`] levels: then it is found again from the top.
    dir: Option<Dir>,
    entries: std::vec::IntoIter<Listed>,
    /// Whether something in it stays.
    kept: bool,
}

impl Level {
    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [&self.path, &b"/"[..], name].concat() }
    }
}

/// A tree that is being removed.
struct Tree {
    top: Dir,
    dev: u64,
    levels: Vec<Level>,
    first_error: Option<io::Error>,
}

impl Tree {
    /// Lists a directory and makes it the deepest level. One that cannot be listed is tried as an empty one.
    fn enter(&mut self, dir: Dir, path: Vec<u8>) {
        let listing = walk::list(&dir).unwrap_or_else(|error| {
            self.fail(error);
            walk::DirListing::default()
        });
        let kept = !listing.failed.is_empty();
        listing.failed.into_iter().for_each(|(_, error)| self.fail(error));
        let dir = (self.levels.len() < HELD_DIRS).then_some(dir);
        self.levels.push(Level { path, dir, entries: listing.entries.into_iter(), kept });
    }

    fn descend(&mut self, entry: &Listed, path: Vec<u8>) {
        let opened = if entry.found.stat.dev == self.dev {
            self.current().and_then(|dir| dir.below(&entry.name, ResolveFlags::NO_XDEV))
        } else {
            Err(Errno::XDEV.into())
        };
        match opened {
            Ok(dir) => self.enter(dir, path),
            Err(error) => {
                self.fail(error);
                self.keep_above(true);
            }
        }
    }

    fn unlink(&mut self, entry: &Listed, path: &[u8], removed: &mut dyn FnMut(&[u8], &Kind)) {
        let done = self.current().and_then(|dir| displace(&dir, &entry.name, Successor::Nothing));
        match done {
            Err(error) if !is(&error, Errno::NOENT) => {
                self.fail(error);
                self.keep_above(true);
            }
            Ok(()) => removed(path, &entry.found.entry.kind),
            Err(_) => {}
        }
    }

    /// Removes a directory that has just been emptied. Says whether it is gone.
    fn leave(
        &mut self,
        dir: &Dir,
        name: &[u8],
        level: &Level,
        removed: &mut dyn FnMut(&[u8], &Kind),
    ) -> bool {
        let emptied = match &level.dir {
            Some(emptied) => Ok(emptied.clone()),
            None => self.open(&level.path),
        };
        let done = emptied.and_then(|emptied| {
            sweep(&emptied, Time { sec: i64::MAX, nsec: 0 })?;
            match level.path.rsplit(|&b| b == b'/').next() {
                Some(last) if !last.is_empty() => displace(&self.current()?, last, Successor::NoDir),
                _ => displace(dir, name, Successor::NoDir),
            }
        });
        match done {
            Ok(()) => {
                removed(&level.path, &Kind::Dir);
                true
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// The deepest level's directory.
    fn current(&self) -> io::Result<Dir> {
        match self.levels.last() {
            Some(Level { dir: Some(dir), .. }) => Ok(dir.clone()),
            Some(level) => self.open(&level.path),
            None => Ok(self.top.clone()),
        }
    }

    /// A directory by its path below the top: no symlink, no mount.
    fn open(&self, path: &[u8]) -> io::Result<Dir> {
        if path.len() > limits::PATH_LEN {
            return Err(Errno::NAMETOOLONG.into());
        }
        self.top.below(path, ResolveFlags::NO_XDEV)
    }

    fn keep_above(&mut self, keep: bool) {
        if let Some(level) = self.levels.last_mut() {
            level.kept |= keep;
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.first_error.get_or_insert(error);
    }
}

/// Removes our own temporary files that have not changed since before `older_than`, and says how many. A file on its
/// way is younger than the process it came to, so give that one's start.
///
/// # Errors
/// As `getdents(2)`, `fstatat(2)` and `unlink(2)`.
pub fn sweep(dir: &Dir, older_than: Time) -> io::Result<usize> {
    let mut reserved = Vec::new();
    walk::each_name(dir, |name| {
        if is_reserved(name) {
            reserved.push(name.to_vec());
        }
        Ok(true)
    })?;
    let mut swept = 0;
    for name in reserved {
        let gone = dir.found(&name).and_then(|found| {
            // We never make a directory of such a name.
            let ours = !found.entry.is_dir() && found.stat.ctime < older_than;
            if ours {
                rustix::fs::unlinkat(dir.fd(), &*name, AtFlags::empty())?;
            }
            Ok(usize::from(ours))
        });
        match gone {
            Err(error) if is(&error, Errno::NOENT) => {}
            gone => swept += gone?,
        }
    }
    Ok(swept)
}
