//! journal: the inventory: what the copy is known to hold, one item a path, directories and links too. It is what a
//! deletion is counted by before it leaves, and how an entry is known again under another name.
//!
//! An item that is missing costs a count that is too low, one too many a count that is too high; neither is ever the
//! reason for a deletion.

use std::ops::Bound;

use driftless_proto::disk::{Dir, Found, Inode};
use driftless_proto::model::entry::Time;
use driftless_proto::model::path::RelPath;
use redb::{Range, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::row::{self, Reader};
use super::tables::beneath;
use super::{Bytes, Journal, JournalError, at};

/// Key: the path's bytes, as of the rows.
pub(super) const INVENTORY: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("inventory");

/// Of an item. One of any other version is read as none.
const VERSION: u8 = 1;

/// One entry that the copy is known to hold, as it was in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Whether it is a directory.
    pub dir: bool,
    /// Whether it is a directory of another mount than the root.
    pub mounted: bool,
    /// Whether it is a file that had other names when it was seen.
    pub linked: bool,
    /// Whether the copy keeps an older content than this, by a plan that was rejected.
    pub kept: bool,
    /// Inode number.
    pub ino: u64,
    /// When the inode was made, where that is known.
    pub born: Option<Time>,
    /// Size in bytes, of a regular file; otherwise 0.
    pub size: u64,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of anything, of what is no directory: what keeps size and mtime and has another one may have another
    /// content. `None` in a journal from before it was kept.
    pub ctime: Option<Time>,
}

impl Item {
    /// Of what was found at a name in a directory; `root` is the mount of the source.
    ///
    /// # Errors
    /// As `statx(2)`.
    pub fn of(dir: &Dir, name: &[u8], found: &Found, root: &Mounted) -> std::io::Result<Self> {
        let inode = if name.is_empty() { dir.own_inode()? } else { dir.inode(name)? };
        Ok(Self::new(found, inode, root))
    }

    /// Of what was found, and its inode.
    #[must_use]
    pub fn new(found: &Found, inode: Inode, root: &Mounted) -> Self {
        let dir = found.entry.is_dir();
        Self {
            dir,
            mounted: dir && root.is_another(found, inode),
            linked: found.entry.is_file() && found.stat.nlink > 1,
            kept: false,
            ino: inode.ino,
            born: inode.born,
            size: found.entry.size(),
            mtime: found.entry.mtime,
            ctime: (!dir).then_some(found.stat.ctime),
        }
    }

    /// Whether a file that is known as this and found as that may hold something else without a trace in size and mtime:
    /// it was written and has got its time back, or another file stands there. Where the file system tells no time of
    /// birth its numbers may be others after each mount, and say nothing.
    #[must_use]
    pub fn hides_a_change(&self, found: &Found) -> bool {
        let same = (self.size, self.mtime) == (found.entry.size(), found.entry.mtime);
        let written = || self.ctime.is_some_and(|ctime| ctime != found.stat.ctime);
        let other = if self.ino == found.stat.ino { written() } else { self.born.is_some() };
        same && found.entry.is_file() && !self.dir && other
    }

    /// Whether both are the same inode. A number alone proves little: without a time of birth on both sides size and
    /// time of change have to be equal too.
    #[must_use]
    pub fn is_same_inode(&self, other: &Self) -> bool {
        let born = match (self.born, other.born) {
            (Some(a), Some(b)) => a == b,
            _ => !self.dir && self.size == other.size && self.mtime == other.mtime,
        };
        self.ino == other.ino && self.dir == other.dir && born
    }
}

/// Which mount a source lies on.
#[derive(Clone, Copy, Debug)]
pub struct Mounted {
    mount: Option<u64>,
    dev: u64,
}

impl Mounted {
    /// Of a source's root.
    #[must_use]
    pub fn new(root: &Found, inode: Inode) -> Self {
        Self { mount: inode.mount, dev: root.stat.dev }
    }

    /// Whether this directory belongs to another mount. Where the kernel names no mounts the device has to do; then a
    /// subvolume counts as one.
    #[must_use]
    pub fn is_another(&self, found: &Found, inode: Inode) -> bool {
        match (self.mount, inode.mount) {
            (Some(root), Some(own)) => root != own,
            _ => self.dev != found.stat.dev,
        }
    }
}

pub(super) fn encode(item: &Item) -> Vec<u8> {
    let flags = [item.dir, item.mounted, item.ctime.is_some(), item.kept, item.linked];
    let flags = flags.iter().enumerate().fold(0, |flags, (n, on)| flags | u8::from(*on) << n);
    let mut out = vec![VERSION, flags];
    out.extend(item.ino.to_le_bytes());
    out.extend(item.size.to_le_bytes());
    row::put_time(&mut out, item.mtime);
    if let Some(ctime) = item.ctime {
        row::put_time(&mut out, ctime);
    }
    if let Some(born) = item.born {
        row::put_time(&mut out, born);
    }
    out
}

pub(super) fn decode(bytes: &[u8]) -> Option<Item> {
    let mut rest = Reader(bytes);
    if rest.u8()? != VERSION {
        return None;
    }
    let flags = rest.u8()?;
    let (ino, size, mtime) = (rest.u64()?, rest.u64()?, rest.time()?);
    let ctime = if flags & 4 == 0 { None } else { Some(rest.time()?) };
    let born = if rest.0.is_empty() { None } else { Some(rest.time()?) };
    let on = |flag: u8| flags & 1 << flag != 0;
    let (dir, mounted, kept, linked) = (on(0), on(1), on(3), on(4));
    let item = Item { dir, mounted, linked, kept, ino, born, size, mtime, ctime };
    rest.0.is_empty().then_some(item)
}

/// The items beneath a directory, in the order of their paths' bytes, as they stood when this was made. An item in a
/// form that is not understood is passed over.
pub struct Inventory {
    top: Option<Item>,
    range: Range<'static, Bytes, Bytes>,
    journal: std::path::PathBuf,
}

impl Inventory {
    /// The directory itself; `None` for the source, which is no item.
    #[must_use]
    pub fn top(&self) -> Option<&Item> {
        self.top.as_ref()
    }
}

impl Iterator for Inventory {
    type Item = Result<(RelPath, Item), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.range.next()? {
                Ok((key, value)) => {
                    let known = RelPath::parse(key.value()).ok().zip(decode(value.value()));
                    if let Some(known) = known {
                        return Some(Ok(known));
                    }
                }
                Err(error) => return Some(Err(at(&self.journal, error))),
            }
        }
    }
}

impl Journal {
    /// Everything that the copy is known to hold strictly beneath a directory.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn inventory(&self, dir: &RelPath) -> Result<Inventory, JournalError> {
        let range = || {
            let table = self.db.begin_read()?.open_table(INVENTORY)?;
            let (first, end) = beneath(dir);
            Ok(if dir.is_root() { table.range::<Bytes>(..)? } else { table.range(&*first..&*end)? })
        };
        let range = range().map_err(|error: redb::Error| at(&self.path, error))?;
        Ok(Inventory { top: self.item(dir)?, range, journal: self.path.clone() })
    }

    /// The names that the copy is known to hold in a directory, without what is beneath them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn names_in(&self, dir: &RelPath) -> Result<Vec<Box<[u8]>>, JournalError> {
        let names = || {
            let table = self.db.begin_read()?.open_table(INVENTORY)?;
            let (mut first, end) = match dir.is_root() {
                true => (Vec::new(), None),
                false => {
                    let (first, end) = beneath(dir);
                    (first, Some(end))
                }
            };
            let prefix = first.len();
            let mut names = Vec::new();
            loop {
                let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut below = None;
                for entry in table.range::<&[u8]>((Bound::Included(&*first), end))? {
                    let (key, _) = entry?;
                    let name = &key.value()[prefix..];
                    match name.iter().position(|&byte| byte == b'/') {
                        None => names.push(name.into()),
                        Some(slash) => {
                            below = RelPath::parse(&key.value()[..prefix + slash]).ok();
                            break;
                        }
                    }
                }
                // What is beneath a directory is passed over at once.
                let Some(below) = below else { return Ok(names) };
                first = beneath(&below).1;
            }
        };
        names().map_err(|error: redb::Error| at(&self.path, error))
    }

    /// What the copy is known to hold at a path.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn item(&self, path: &RelPath) -> Result<Option<Item>, JournalError> {
        let item = || {
            let table = self.db.begin_read()?.open_table(INVENTORY)?;
            Ok(table.get(path.as_bytes())?.and_then(|bytes| decode(bytes.value())))
        };
        item().map_err(|error: redb::Error| at(&self.path, error))
    }

    /// Entries in all that the copy is known to hold.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn known(&self) -> Result<u64, JournalError> {
        let len = || Ok(self.db.begin_read()?.open_table(INVENTORY)?.len()?);
        len().map_err(|error: redb::Error| at(&self.path, error))
    }

    /// Entries that the copy is known to hold at a path and beneath it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn known_within(&self, path: &RelPath) -> Result<u64, JournalError> {
        let Some(item) = self.item(path)? else { return Ok(0) };
        Ok(1 + if item.dir { self.inventory(path)?.count() as u64 } else { 0 })
    }
}
