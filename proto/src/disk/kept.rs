//! disk: listings that a walk keeps in short, so that a directory that turns out to differ need not be read once more.

use std::collections::HashMap;
use std::ops::Range;

use super::walk::Listed;
use crate::model::entry::Entry;
use crate::model::path::RelPath;

/// Listings by directory, at most as many entries as was said: about 80 bytes and a name each. What was taken is let go
/// with the rest.
#[derive(Debug, Default)]
pub struct Kept {
    dirs: HashMap<RelPath, Names>,
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

    /// Keeps what was listed of a directory, if there is room for all of it.
    pub(super) fn keep(&mut self, dir: &RelPath, listed: &[Listed]) {
        let (text, start) = (self.text.len(), self.entries.len());
        // An empty directory takes room too.
        if self.dirs.len().max(start + listed.len()) >= self.most {
            return;
        }
        for Listed { name, found } in listed {
            self.text.extend_from_slice(name);
            self.entries.push((name.len(), found.entry.clone()));
        }
        self.dirs.insert(dir.clone(), Names { text, entries: start..self.entries.len() });
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
