//! Renamed: what was renamed while nobody watched. An entry that the copy is known to hold, and that is missing, may
//! stand under another name: as the same inode with the same time of birth, or else as a file of the same size and
//! digest. Then the server is told of the rename, and no content is sent again.
//!
//! Each is a hint, as a rename that was seen is one: the comparison that follows finds out what it was worth. An
//! exchange of two names is left to that comparison, and so are chains that end in a name which was taken before.

use std::collections::{BTreeSet, HashMap};
use std::io::Read as _;

use driftless_proto::disk::{Dir, Found, Root};
use driftless_proto::model::digest::Digest;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;

use super::scan::Work;
use crate::guard::survey::{Sight, survey};
use crate::journal::{Item, Journal, Mounted};
use crate::pending::Dirty;

/// Files smaller than this are sent rather than read and looked up.
const DIGEST_MIN: u64 = 4096;

/// Bytes read in all to find files by their digests. A source that was copied back as a whole is compared instead.
const DIGEST_BYTES: u64 = 4 << 30;

/// Finds them. `gone` is what is missing, by inode number.
pub(super) fn find(
    root: &Root,
    journal: &Journal,
    rules: &Rules,
    gone: HashMap<u64, (RelPath, Item)>,
) -> Vec<Work> {
    let top = RelPath::root();
    let mounted = root.found(&top).and_then(|found| Ok(Mounted::new(&found, root.inode(&top)?)));
    let (Ok(mounted), Ok(inventory)) = (mounted, journal.inventory(&top)) else { return Vec::new() };
    let mut by_size: HashMap<u64, Vec<RelPath>> = HashMap::new();
    for (path, item) in gone.values().filter(|(_, item)| !item.dir && item.size >= DIGEST_MIN) {
        by_size.entry(item.size).or_default().push(path.clone());
    }
    let unused = gone.iter().map(|(ino, (path, _))| (path.clone(), *ino)).collect();
    let mut finder = Finder {
        journal,
        mounted,
        gone,
        unused,
        by_size,
        found: Vec::new(),
        fresh_dirs: BTreeSet::new(),
        left: DIGEST_BYTES,
    };
    // What cannot be walked to its end gives fewer hints.
    let _cut = survey(root, &top, rules, inventory, &mut |sight| {
        if let Sight::Fresh(dir, path, found) = sight {
            finder.fresh(dir, path, found);
        }
    });
    finder.work()
}

struct Finder<'a> {
    journal: &'a Journal,
    mounted: Mounted,
    gone: HashMap<u64, (RelPath, Item)>,
    by_size: HashMap<u64, Vec<RelPath>>,
    /// What is missing and has not been found yet, with its inode number.
    unused: HashMap<RelPath, u64>,
    /// From and to. A directory comes before what is in it.
    found: Vec<(RelPath, RelPath, bool)>,
    /// New directories that are no old ones.
    fresh_dirs: BTreeSet<RelPath>,
    left: u64,
}

impl Finder<'_> {
    fn fresh(&mut self, dir: &Dir, path: &RelPath, found: &Found) {
        let by_inode = self.gone.get(&found.stat.ino).filter(|(_, was)| {
            Item::of(dir, path.name(), found, &self.mounted).is_ok_and(|now| was.is_same_inode(&now))
        });
        let from = match by_inode {
            Some((from, _)) => Some(from.clone()),
            None if found.entry.is_file() => self.by_digest(dir, path, found),
            None => None,
        };
        match from {
            Some(from) => {
                // Each is used once: hard links of it are other files to the server.
                if let Some(ino) = self.unused.remove(&from) {
                    self.gone.remove(&ino);
                }
                self.found.push((from, path.clone(), found.entry.is_dir()));
            }
            None if found.entry.is_dir() => drop(self.fresh_dirs.insert(path.clone())),
            None => {}
        }
    }

    fn by_digest(&mut self, dir: &Dir, path: &RelPath, found: &Found) -> Option<RelPath> {
        let size = found.entry.size();
        if size > self.left || self.by_size.get(&size).is_none_or(Vec::is_empty) {
            return None;
        }
        self.left -= size;
        let (mut file, _) = dir.open_file(path.name()).ok()?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer).ok()? {
                0 => break,
                len => drop(hasher.update(&buffer[..len])),
            }
        }
        let digest = Digest(*hasher.finalize().as_bytes());
        let candidates = self.by_size.get_mut(&size)?;
        let same = |from: &RelPath| {
            let record = self.journal.glance(from).ok().flatten();
            self.unused.contains_key(from) && record.is_some_and(|record| record.digest == Some(digest))
        };
        let at = candidates.iter().position(same)?;
        Some(candidates.swap_remove(at))
    }

    /// The renames in an order in which they can be repeated, and the new directories that they lead into.
    fn work(self) -> Vec<Work> {
        let mut work = Vec::new();
        // Directories by the names that they had, and where they are by now.
        let mut moved: HashMap<RelPath, RelPath> = HashMap::new();
        let mut made = BTreeSet::new();
        for (from, to, is_dir) in self.found {
            let was = from;
            let from = taken_along(&was, &moved);
            if to.is_within(&from) && from != to {
                continue;
            }
            if is_dir {
                moved.insert(was, to.clone());
            }
            if from == to {
                continue;
            }
            let mut above = Vec::new();
            let mut dir = to.parent();
            while let Some(path) = dir.filter(|path| self.fresh_dirs.contains(path)) {
                dir = path.parent();
                above.push(path);
            }
            for dir in above.into_iter().rev() {
                if made.insert(dir.clone()) {
                    work.push(Work::Put(dir));
                }
            }
            let instead = [&from, &to].map(|path| Dirty { path: path.clone(), subtree: is_dir });
            work.push(Work::Rename(from, to, instead.into()));
        }
        work
    }
}

/// Where the directories above have taken a path: the nearest one that has another place by now decides.
fn taken_along(path: &RelPath, moved: &HashMap<RelPath, RelPath>) -> RelPath {
    let mut above = path.parent();
    while let Some(dir) = above {
        if let Some(to) = moved.get(&dir) {
            let now = path.below(&dir).and_then(|rest| to.join(&rest).ok());
            return now.unwrap_or_else(|| path.clone());
        }
        above = dir.parent();
    }
    path.clone()
}
