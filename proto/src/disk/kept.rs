//! disk: listings that a walk keeps in short, so that a directory that turns out to differ need not be read once more.

use std::collections::BTreeMap;
use std::ops::Range;

use super::walk::{DirListing, Listed};
use crate::limits;
use crate::model::entry::{Device, Entry, Kind, Time};
use crate::model::path::RelPath;

/// Listings by directory, at most as many entries as was said, 32 bytes each, with [`limits::LISTED_KEPT_TEXT`] bytes of names,
/// texts and paths. What was taken is let go with the rest.
#[derive(Debug, Default)]
pub struct Kept {
    dirs: BTreeMap<RelPath, Names>,
    /// The names of all, one after the other, and after that of a symlink its text.
    text: Vec<u8>,
    rows: Vec<Row>,
    /// Bytes of the directories' paths, those that were taken or forgotten too.
    paths: usize,
    most: usize,
}

/// Where those of one directory are, in canonical order.
#[derive(Debug)]
struct Names {
    text: usize,
    rows: Range<usize>,
}

/// An entry in as few bytes as hold it.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The size of a file, the length of a symlink's text, or the numbers of a device.
    number: u64,
    sec: i64,
    nsec: u32,
    uid: u32,
    gid: u32,
    /// Twelve bits: `Entry::mode`.
    mode: u16,
    kind: RowKind,
    /// A name has 255 bytes at most.
    name_len: u8,
}

#[derive(Clone, Copy, Debug)]
enum RowKind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    Char,
    Block,
}

impl Row {
    /// Puts an entry down, with its name and, of a symlink, its text. `None` for one that does not fit, which none is that
    /// a directory can hold.
    fn put(name: &[u8], entry: &Entry, text: &mut Vec<u8>) -> Option<Self> {
        let numbers = |device: &Device| u64::from(device.major) << 32 | u64::from(device.minor);
        let (kind, number) = match &entry.kind {
            Kind::File { size } => (RowKind::File, *size),
            Kind::Dir => (RowKind::Dir, 0),
            Kind::Symlink { target } => (RowKind::Symlink, target.len() as u64),
            Kind::Fifo => (RowKind::Fifo, 0),
            Kind::Socket => (RowKind::Socket, 0),
            Kind::Char(device) => (RowKind::Char, numbers(device)),
            Kind::Block(device) => (RowKind::Block, numbers(device)),
        };
        let row = Self {
            number,
            sec: entry.mtime.sec,
            nsec: entry.mtime.nsec,
            uid: entry.uid,
            gid: entry.gid,
            mode: u16::try_from(entry.mode).ok()?,
            kind,
            name_len: u8::try_from(name.len()).ok()?,
        };
        text.extend_from_slice(name);
        if let Kind::Symlink { target } = &entry.kind {
            text.extend_from_slice(target);
        }
        Some(row)
    }

    /// What was put down; `text` begins with its name, and goes on to the next.
    fn take(&self, text: &mut &[u8]) -> (Box<[u8]>, Entry) {
        let mut piece = |len: usize| {
            let (piece, rest) = text.split_at(len);
            *text = rest;
            piece.into()
        };
        let device = || Device { major: (self.number >> 32) as u32, minor: self.number as u32 };
        let name = piece(self.name_len.into());
        let kind = match self.kind {
            RowKind::File => Kind::File { size: self.number },
            RowKind::Dir => Kind::Dir,
            RowKind::Symlink => Kind::Symlink { target: piece(self.number as usize) },
            RowKind::Fifo => Kind::Fifo,
            RowKind::Socket => Kind::Socket,
            RowKind::Char => Kind::Char(device()),
            RowKind::Block => Kind::Block(device()),
        };
        let mtime = Time { sec: self.sec, nsec: self.nsec };
        (name, Entry { kind, mode: self.mode.into(), mtime, uid: self.uid, gid: self.gid })
    }
}

impl Kept {
    /// Room for so many entries.
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Keeps what was listed of a directory, if there is room for all of it. One that could not be listed whole, or has
    /// reserved names besides, is not kept: whoever takes it must be able to do without looking again.
    pub(super) fn keep(&mut self, dir: &RelPath, listing: &DirListing) {
        let (text, start) = (self.text.len(), self.rows.len());
        // An empty directory takes room too.
        let room = self.dirs.len().max(start + listing.entries.len()) < self.most;
        if !room || listing.reserved || !listing.failed.is_empty() {
            return;
        }
        let paths = self.paths + dir.as_bytes().len();
        for Listed { name, found } in &listing.entries {
            let row = Row::put(name, &found.entry, &mut self.text);
            // Asked for each: the texts of a single directory may be hundreds of megabytes.
            let Some(row) = row.filter(|_| paths + self.text.len() <= limits::LISTED_KEPT_TEXT) else {
                self.text.truncate(text);
                self.rows.truncate(start);
                return;
            };
            self.rows.push(row);
        }
        self.paths = paths;
        self.dirs.insert(dir.clone(), Names { text, rows: start..self.rows.len() });
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
        let Names { text, rows } = self.dirs.remove(dir)?;
        let mut text = &self.text[text..];
        Some(self.rows[rows].iter().map(move |row| row.take(&mut text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Found, Stamp};

    #[test]
    fn names_texts_and_paths_are_bounded_too() {
        let listing = |links: usize| {
            let mtime = Time { sec: 0, nsec: 0 };
            let kind = Kind::Symlink { target: vec![b't'; 4000].into() };
            let entry = Entry { kind, mode: 0o777, mtime, uid: 0, gid: 0 };
            let stat = Stamp { dev: 0, ino: 0, nlink: 1, size: 4000, mtime, ctime: mtime };
            let found = Found { entry, stat };
            let link = |i: usize| Listed { name: i.to_string().into_bytes().into(), found: found.clone() };
            DirListing { entries: (0..links).map(link).collect(), ..DirListing::default() }
        };
        let path = |name: &str| RelPath::parse(name.as_bytes()).expect("path");
        let mut kept = Kept::new(limits::LISTED_KEPT);
        // Too much at once leaves room for what is less.
        for (name, links) in [("much", 2000), ("some", 100), ("more", 2000), ("less", 100)] {
            kept.keep(&path(name), &listing(links));
        }
        let has: Vec<bool> = ["much", "some", "more", "less"].map(|name| kept.has(&path(name))).into();
        assert_eq!(has, [false, true, false, true]);
        assert_eq!(kept.take(&path("less")).expect("kept").count(), 100);
        for i in 0..3000 {
            kept.keep(&path(&format!("{i:0>250}")), &listing(1));
        }
        let held = kept.dirs.keys().map(|dir| dir.as_bytes().len()).sum::<usize>() + kept.text.capacity();
        assert!(kept.text.len() + kept.paths <= limits::LISTED_KEPT_TEXT);
        assert!(held <= 2 * limits::LISTED_KEPT_TEXT, "{held}");
        assert!(kept.dirs.len() > 1000, "{}", kept.dirs.len());
    }

    #[test]
    fn every_kind_comes_back_as_it_was() {
        assert_eq!(size_of::<Row>(), 32, "what limits and docs say");
        let device = Device { major: 0xfff, minor: 0xf_ffff };
        let target = |len: usize| Kind::Symlink { target: vec![b't'; len].into() };
        let kinds = [
            Kind::File { size: u64::MAX },
            Kind::Dir,
            target(1),
            target(4095),
            Kind::Fifo,
            Kind::Socket,
            Kind::Char(device),
            Kind::Block(device),
        ];
        let mut text = Vec::new();
        let entries: Vec<(Box<[u8]>, Entry)> = (1..)
            .zip(kinds)
            .map(|(i, kind)| {
                let mtime = Time { sec: -i, nsec: 999_999_999 };
                let entry = Entry { kind, mode: 0o7777, mtime, uid: u32::MAX, gid: u32::MAX - 1 };
                (vec![b'n'; 32 * i as usize - 1].into(), entry)
            })
            .collect();
        let put = |(name, entry): &(Box<[u8]>, Entry)| Row::put(name, entry, &mut text).expect("fits");
        let rows: Vec<Row> = entries.iter().map(put).collect();
        let mut text = &text[..];
        let back: Vec<_> = rows.iter().map(|row| row.take(&mut text)).collect();
        assert_eq!(back, entries);
        assert!(text.is_empty());
    }
}
