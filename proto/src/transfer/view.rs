//! What a sender offers: one or more places on its disk, laid beneath one transfer root by rsync's operand rules.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use crate::disk::walk;
use crate::disk::{Dir, Found, Root};
use crate::model::entry::Entry;
use crate::model::path::RelPath;

/// One source: what lies at `from` beneath `root` appears at `to` beneath the transfer root.
#[derive(Clone)]
pub struct Mount {
    /// The handle it is reached through.
    pub root: Root,
    /// Where it is. The root itself for the content of a directory (`SRC/`).
    pub from: RelPath,
    /// Where it appears: the transfer root itself (`SRC/`), or one name beneath it (`SRC`).
    pub to: RelPath,
}

/// Every source of a transfer. Earlier ones win where names meet; directories of one name merge.
#[derive(Clone, Default)]
pub struct View {
    mounts: Vec<Mount>,
}

/// Where on disk something lies.
pub struct Place {
    /// The directory.
    pub dir: Dir,
    /// Its name there.
    pub name: Box<[u8]>,
}

impl Place {
    /// As [`Dir::open_file`].
    ///
    /// # Errors
    /// As there.
    pub fn open_file(&self) -> io::Result<(File, Found)> {
        self.dir.open_file(&self.name)
    }
}

/// What a sender has to bring across, in order, for its view to have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything in this directory.
    Dir(RelPath),
    /// One path.
    Single(RelPath),
}

/// A directory of the view, merged.
#[derive(Default)]
pub struct ViewListing {
    /// What stands there, by name, in canonical order.
    pub entries: BTreeMap<Box<[u8]>, ViewEntry>,
    /// The directories on disk that the entries lie in; none where this was kept.
    pub dirs: Vec<Dir>,
    /// Names that could not be looked at.
    pub failed: Vec<(Box<[u8]>, io::Error)>,
}

/// One entry of a merged directory.
pub struct ViewEntry {
    /// What stands there.
    pub entry: Entry,
    /// Which of [`ViewListing::dirs`] it lies in.
    pub dir: usize,
    /// Its name there, where it differs from the name in the view.
    pub disk_name: Option<Box<[u8]>>,
}

impl View {
    /// A view of these sources.
    #[must_use]
    pub fn new(mounts: Vec<Mount>) -> Self {
        Self { mounts }
    }

    /// Everything beneath one Root.
    #[must_use]
    pub fn whole(root: Root) -> Self {
        Self::new(vec![Mount { root, from: RelPath::root(), to: RelPath::root() }])
    }

    /// Gives the only source another name beneath the transfer root. With several sources nothing changes.
    pub fn rename_only(&mut self, to: RelPath) {
        if let [mount] = &mut *self.mounts {
            mount.to = to;
        }
    }

    /// Where a path of the transfer may lie on disk, most wanted first.
    pub fn candidates(&self, path: &RelPath) -> impl Iterator<Item = (&Root, RelPath)> {
        self.mounts.iter().filter_map(move |mount| {
            let rest = path.below(&mount.to)?;
            Some((&mount.root, mount.from.join(&rest).ok()?))
        })
    }

    /// The one place on disk behind a directory, if only one is: then its digests can be computed there.
    #[must_use]
    pub fn only(&self, dir: &RelPath) -> Option<(&Root, RelPath)> {
        let mut candidates = self.candidates(dir);
        let first = candidates.next()?;
        // A source that appears inside `dir` without containing it adds names to it.
        let inside = self.mounts.iter().any(|m| m.to != *dir && m.to.is_within(dir));
        (candidates.next().is_none() && !inside).then_some(first)
    }

    /// What stands at a path.
    ///
    /// # Errors
    /// As `statx(2)`; `NotFound` when no source has it.
    pub fn found(&self, path: &RelPath) -> io::Result<Found> {
        self.place(path).map(|(_, found)| found)
    }

    /// What stands at a path, and where that is; a Root itself, whatever it is called here, lies nowhere.
    ///
    /// # Errors
    /// As `openat2(2)` and `statx(2)`; `NotFound` when no source has it.
    pub fn place(&self, path: &RelPath) -> io::Result<(Option<Place>, Found)> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for (root, place) in self.candidates(path) {
            let tried = if place.is_root() {
                root.found(&place).map(|found| (None, found))
            } else {
                root.parent_of(&place).and_then(|dir| {
                    let found = dir.found(place.name())?;
                    Ok((Some(Place { dir, name: place.name().into() }), found))
                })
            };
            match tried {
                Ok(placed) => return Ok(placed),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Lists a directory.
    ///
    /// # Errors
    /// When no source has it as a directory, or it cannot be read.
    pub fn list(&self, dir: &RelPath) -> io::Result<ViewListing> {
        let mut listing = ViewListing::default();
        let mut outcome = Err(io::Error::from(io::ErrorKind::NotFound));
        for mount in &self.mounts {
            let added = if let Some(rest) = dir.below(&mount.to) {
                listing.add_dir(mount, &rest)
            } else if mount.to.parent().as_ref() == Some(dir) {
                listing.add_single(mount);
                Ok(())
            } else {
                continue;
            };
            match added {
                Ok(()) => outcome = Ok(()),
                // What one source cannot show must not count as absent because another shows the rest.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let again = io::Error::new(error.kind(), error.to_string());
                    listing.failed.push((Box::default(), again));
                    if outcome.is_err() {
                        outcome = Err(error);
                    }
                }
                Err(_) => {}
            }
        }
        outcome.map(|()| listing)
    }

    /// The parts that together are the whole view.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for mount in &self.mounts {
            let dir =
                mount.to.is_root() || mount.root.found(&mount.from).is_ok_and(|found| found.entry.is_dir());
            let part = if dir { Part::Dir(mount.to.clone()) } else { Part::Single(mount.to.clone()) };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts
    }
}

impl ViewListing {
    /// What was listed before, of a directory that one place only is behind.
    pub fn kept(entries: impl Iterator<Item = (Box<[u8]>, Entry)>) -> Self {
        let entry = |(name, entry)| (name, ViewEntry { entry, dir: 0, disk_name: None });
        Self { entries: entries.map(entry).collect(), ..Self::default() }
    }

    fn add_dir(&mut self, mount: &Mount, rest: &RelPath) -> io::Result<()> {
        let place = mount.from.join(rest).map_err(io::Error::other)?;
        let dir = mount.root.dir(&place)?;
        let found = walk::list(&dir)?;
        let index = self.dirs.len();
        self.dirs.push(dir);
        for l in found.entries {
            let entry = ViewEntry { entry: l.found.entry, dir: index, disk_name: None };
            self.entries.entry(l.name).or_insert(entry);
        }
        self.failed.extend(found.failed);
        Ok(())
    }

    fn add_single(&mut self, mount: &Mount) {
        let name: Box<[u8]> = mount.to.name().into();
        let tried = mount.root.parent_of(&mount.from).and_then(|dir| {
            let found = dir.found(mount.from.name())?;
            Ok((dir, found))
        });
        match tried {
            Ok((dir, found)) => {
                let disk_name = (mount.from.name() != &*name).then(|| mount.from.name().into());
                let entry = ViewEntry { entry: found.entry, dir: self.dirs.len(), disk_name };
                self.dirs.push(dir);
                self.entries.entry(name).or_insert(entry);
            }
            Err(error) => self.failed.push((name, error)),
        }
    }
}
