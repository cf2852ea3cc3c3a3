//! disk: listings that a walk keeps in short, so that a directory that turns out to differ need not be read once more.

use std::collections::BTreeMap;
use std::ops::Range;

use super::walk::{DirListing, Listed};
use crate::model::entry::Entry;
use crate::model::path::RelPath;

/// Listings by directory, at most as many entries as was said: about 80 bytes and a name each. What was taken is let go
/// with the rest.
#[derive(Debug, Default)]
pub struct Kept {
    dirs: BTreeMap<RelPath, Names>,
    /// The names of all, one after the other.
    text: Vec<u8>,
    /// How long each name is, and what stands there.
    entries: Vec<(usize, Entry)>,
    most: usize,
}

/// Where those of one directory are, in canonical order.
#[derive(Debug)]
struct Names {
    text: usize,
    entries: Range<usize>,
}

impl Kept {
    /// Room for so many entries.
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Keeps what was listed of a directory, if there is room for all of it. One that could not be listed whole, or has
    /// reserved names besides, is not kept: whoever takes it must be able to do without looking again.
    pub(super) fn keep(&mut self, dir: &RelPath, listing: &DirListing) {
        let (text, start) = (self.text.len(), self.entries.len());
        // An empty directory takes room too.
        let room = self.dirs.len().max(start + listing.entries.len()) < self.most;
        if !room || listing.reserved || !listing.failed.is_empty() {
            return;
        }
        for Listed { name, found } in &listing.entries {
            self.text.extend_from_slice(name);
            self.entries.push((name.len(), found.entry.clone()));
        }
        self.dirs.insert(dir.clone(), Names { text, entries: start..self.entries.len() });
    }

    /// Whether [`Kept::take`] would give anything.
    #[must_use]
    pub fn has(&self, dir: &RelPath) -> bool {
        self.dirs.contains_key(dir)
    }

    /// What stands at this path changes: what was kept of the directory that it lies in, or that lies in it, is true no
    /// more.
    pub fn forget(&mut self, path: &RelPath) {
        if let Some(holder) = path.parent() {
            self.dirs.remove(&holder);
        }
        // What lies within a path follows it.
        let within = |dirs: &BTreeMap<RelPath, Names>| {
            dirs.range::<RelPath, _>(path..)
                .next()
                .map(|(dir, _)| dir.clone())
                .filter(|dir| dir.is_within(path))
        };
        while let Some(dir) = within(&self.dirs) {
            self.dirs.remove(&dir);
        }
    }

    /// What was kept of a directory, by name; once.
    pub fn take(&mut self, dir: &RelPath) -> Option<impl Iterator<Item = (Box<[u8]>, Entry)>> {
        let Names { text, entries } = self.dirs.remove(dir)?;
        let mut rest = &self.text[text..];
        Some(self.entries[entries].iter().map(move |(len, entry)| {
            let (name, after) = rest.split_at(*len);
            rest = after;
            (name.into(), entry.clone())
        }))
    }
}
