//! disk: listings that a walk keeps in short, so that a directory that turns out to differ need not be read once more.

use std::collections::HashMap;

use super::walk::Listed;
use crate::model::entry::Entry;
use crate::model::path::RelPath;

/// Listings by directory, at most as many entries as was said: about 80 bytes and a name each.
#[derive(Debug, Default)]
pub struct Kept {
    dirs: HashMap<RelPath, Names>,
    room: usize,
}

/// The entries of a directory in canonical order, and their names in one piece.
#[derive(Debug)]
struct Names {
    text: Box<[u8]>,
    /// How long each name is (at most [`crate::limits::NAME_LEN`]), and what stands there.
    entries: Box<[(u16, Entry)]>,
}

impl Kept {
    /// Room for so many entries.
    pub(super) fn new(room: usize) -> Self {
        Self { dirs: HashMap::new(), room }
    }

    /// Keeps what was listed of a directory, if there is room for all of it.
    pub(super) fn keep(&mut self, dir: &RelPath, listed: &[Listed]) {
        let Some(room) = self.room.checked_sub(listed.len().max(1)) else { return };
        let entries = listed
            .iter()
            .map(|l| Some((u16::try_from(l.name.len()).ok()?, l.found.entry.clone())))
            .collect::<Option<_>>();
        if let Some(entries) = entries {
            let mut text = Vec::with_capacity(listed.iter().map(|l| l.name.len()).sum());
            listed.iter().for_each(|l| text.extend_from_slice(&l.name));
            self.dirs.insert(dir.clone(), Names { text: text.into(), entries });
            self.room = room;
        }
    }

    /// Takes what was kept of a directory out, by name.
    pub fn take(&mut self, dir: &RelPath) -> Option<impl Iterator<Item = (Box<[u8]>, Entry)> + use<>> {
        let Names { text, entries } = self.dirs.remove(dir)?;
        let mut at = 0;
        Some(entries.into_iter().map(move |(len, entry)| {
            let name = &text[at..][..usize::from(len)];
            at += usize::from(len);
            (name.into(), entry)
        }))
    }
}
