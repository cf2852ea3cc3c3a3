//! disk: a file on its way. It has no name until it is whole, so that nobody sees it and a crash leaves nothing.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{Advice, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::apply::{self, Replace};
use super::dir::Dir;
use super::meta::{self, Node, Placement};
use super::reserved;
use super::root::Style;
use crate::limits;
use crate::model::digest::{Digest, Group, GroupHasher, GroupSums};
use crate::model::entry::Entry;

/// What file systems share is a multiple of this.
const PAGE: u64 = 4096;

/// From this length on a range is copied inside the kernel, which can share its blocks; a shorter one costs less read
/// and written.
const COPY_INSIDE_MIN: u64 = 64 * 1024;

thread_local! {
    /// Whether this thread may link a file by its descriptor alone. Threads of one process have different users.
    static LINKS_BY_DESCRIPTOR: Cell<bool> = const { Cell::new(true) };
}

/// Bytes of a large file that the disk is given to write while more of them come: the sync at the end then waits for the
/// last ones only.
const WRITEBACK_LEN: u64 = 16 * 1024 * 1024;

/// Bytes read at a time to be hashed or copied: one pass through the second-level cache.
const BUFFER_LEN: usize = 256 * 1024;

/// A file on its way: received into a nameless file in the directory it is meant for, and hashed on the way.
///
/// Invariant: the digest is that of the `len` bytes written, in order, as they lie in the file; where a basis was copied by
/// its known groups, as long as nobody wrote to it meanwhile, which whoever copied has to see to.
#[derive(Debug)]
pub struct Staged {
    file: File,
    /// Its name, where the file system cannot do without.
    name: Option<TempName>,
    style: Style,
    /// None before anything is hashed: it is larger than most of what is put whole, and this value is handed on.
    hasher: Option<Box<GroupHasher>>,
    len: u64,
    /// The kernel has been asked to write out so many of them.
    begun: u64,
    buffer: Vec<u8>,
    /// Whether the file system shares blocks, once somebody wanted to know.
    shares: Option<bool>,
}

/// A basis whose groups are known.
#[derive(Clone, Debug)]
pub struct KnownGroups {
    /// Its length in bytes.
    pub size: u64,
    /// Its groups, with their rolling sums.
    pub groups: Arc<GroupSums>,
}

impl KnownGroups {
    /// The group that begins here: its value, its rolling sum, and its length. A short one at the end is hashed like
    /// other bytes: a peer may let more follow it, and then it is no group.
    fn at(&self, offset: u64) -> Option<(Group, u32, u64)> {
        if !offset.is_multiple_of(limits::DIGEST_GROUP)
            || self.size.checked_sub(offset)? < limits::DIGEST_GROUP
        {
            return None;
        }
        let index = usize::try_from(offset / limits::DIGEST_GROUP).ok()?;
        let (value, rolling) = (self.groups.values.get(index)?, self.groups.rolling.get(index)?);
        Some((*value, *rolling, limits::DIGEST_GROUP))
    }
}

/// A reserved name that disappears with this value unless it was given away.
#[derive(Debug)]
struct TempName {
    dir: Dir,
    name: [u8; 20],
}

impl Drop for TempName {
    fn drop(&mut self) {
        // After a rename the name is gone, and nobody else makes it again. What fails otherwise is swept later.
        let _gone = rustix::fs::unlinkat(self.dir.fd(), &self.name[..], AtFlags::empty());
    }
}

impl Staged {
    /// A new empty file, readable by its owner alone, in this directory: nameless (`O_TMPFILE`), or under a reserved
    /// name where the file system has no nameless ones.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn create(dir: &Dir) -> io::Result<Self> {
        Self::create_with(dir, 0)
    }

    /// As [`Staged::create`], for a file that is whole before it gets any name: where it is nameless until then it has
    /// these permissions from the start, as far as the umask lets it, which most often saves a `chmod(2)`.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn create_with(dir: &Dir, permissions: u32) -> io::Result<Self> {
        let mode = Mode::RUSR | Mode::WUSR | Mode::from_raw_mode(permissions & 0o777);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let (fd, name) = match rustix::fs::openat(dir.fd(), ".", flags | OFlags::TMPFILE, mode) {
            Ok(fd) => (fd, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
                return Self::create_named(dir);
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self::new(fd.into(), name, dir.style()))
    }

    /// As [`Staged::create`] where the file system has no nameless files.
    pub(super) fn create_named(dir: &Dir) -> io::Result<Self> {
        let name = reserved::fresh();
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(dir.fd(), &name[..], flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self::new(fd.into(), Some(TempName { dir: dir.clone(), name }), dir.style()))
    }

    fn new(file: File, name: Option<TempName>, style: Style) -> Self {
        Self { file, name, style, hasher: None, len: 0, begun: 0, buffer: Vec::new(), shares: None }
    }

    /// As it is, before anything is written; the groups it ends up with have rolling sums.
    #[must_use]
    pub fn signing(self) -> Self {
        Self { hasher: Some(Box::new(GroupHasher::signing())), ..self }
    }

    /// Writes all of a content that lies in memory, and returns its digest. Nothing is to be written before or after.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn put_whole(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        debug_assert!(self.is_empty(), "all of it");
        self.file.write_all_at(bytes, 0)?;
        self.len = bytes.len() as u64;
        Ok(Digest::of(bytes))
    }

    /// Appends these bytes.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        self.hash(bytes);
        Ok(())
    }

    /// Takes the next bytes of the file into the digest.
    fn hash(&mut self, bytes: &[u8]) {
        self.hasher.get_or_insert_default().update(bytes);
        self.grow(bytes.len() as u64);
    }

    /// So many more bytes have landed.
    fn grow(&mut self, by: u64) {
        self.len += by;
        if self.len - self.begun >= WRITEBACK_LEN {
            self.start_writeback();
            self.begun = self.len;
        }
    }

    /// Appends a range of another file: inside the kernel where that may share the blocks or spare the hashing.
    ///
    /// `known` are the values of the basis's groups, where they are known for sure: groups that come to lie where they
    /// lay are then not hashed again. Otherwise what is hashed is what landed here. The basis may be written to by
    /// somebody at this very moment, so bytes read from it a second time would prove nothing.
    ///
    /// # Errors
    /// `UnexpectedEof` when the basis is shorter; as `copy_file_range(2)`, `read(2)` and `write(2)`.
    pub fn copy_from(
        &mut self,
        basis: &File,
        offset: u64,
        len: u64,
        known: Option<&KnownGroups>,
    ) -> io::Result<()> {
        let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        let mut at = offset;
        if let Some(known) = known.filter(|_| offset == self.len) {
            if offset == 0 {
                // The first group's value is of no use should nothing follow.
                at = end.min(limits::DIGEST_GROUP);
                self.copy_read(basis, 0, at)?;
            }
            at += self.copy_known(basis, at, end, known)?;
        }
        // Only whole pages can be shared; anything else is cheaper read, hashed and written.
        let shared = at % PAGE == self.len % PAGE && end - at >= COPY_INSIDE_MIN && self.shares_blocks();
        let copied = if shared { self.copy_inside(basis, at, end - at)? } else { 0 };
        self.hash_landed(copied)?;
        self.copy_read(basis, at + copied, end)
    }

    /// Appends a range by reading, hashing and writing it.
    fn copy_read(&mut self, basis: &File, mut at: u64, end: u64) -> io::Result<()> {
        let mut buffer = self.take_buffer(end - at);
        while at < end {
            let part = &mut buffer[..usize::try_from(end - at).unwrap_or(BUFFER_LEN).min(BUFFER_LEN)];
            basis.read_exact_at(part, at)?;
            self.write_all(part)?;
            at += part.len() as u64;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Copies the known groups at the beginning of a range that lands where it lay, without hashing them. Returns how
    /// many bytes that were.
    fn copy_known(&mut self, basis: &File, from: u64, end: u64, known: &KnownGroups) -> io::Result<u64> {
        if !self.hasher.as_ref().is_some_and(|hasher| hasher.takes_groups()) {
            return Ok(0);
        }
        let run = |start: u64, end: u64| {
            let mut at = start;
            std::iter::from_fn(move || {
                let group = known.at(at).filter(|(.., size)| at + size <= end)?;
                at += group.2;
                Some(group)
            })
        };
        let wanted = run(from, end).map(|(.., size)| size).sum();
        let copied = self.copy_inside(basis, from, wanted)?;
        let hasher = self.hasher.get_or_insert_default();
        let mut taken = 0;
        for (group, rolling, size) in run(from, from + copied) {
            if !hasher.take_group(group, rolling, size) {
                break;
            }
            taken += size;
        }
        self.grow(taken);
        Ok(taken)
    }

    /// Whether the file system can let two files have the same blocks.
    fn shares_blocks(&mut self) -> bool {
        *self.shares.get_or_insert_with(|| {
            // The numbers of `statfs(2)`: btrfs, XFS, bcachefs, OCFS2.
            const SHARING: [i64; 4] = [0x9123_683e, 0x5846_5342, 0xca45_1a4e, 0x7461_636f];
            rustix::fs::fstatfs(&self.file).is_ok_and(|fs| SHARING.contains(&fs.f_type))
        })
    }

    /// Copies as much as the kernel will; the rest is for `read` and `write`. Returns how many bytes landed after
    /// `self.len`, which stays where it is.
    fn copy_inside(&self, basis: &File, offset: u64, len: u64) -> io::Result<u64> {
        let (mut from, mut to) = (offset, self.len);
        while from < offset + len {
            let left = usize::try_from(offset + len - from).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(basis, Some(&mut from), &self.file, Some(&mut to), left) {
                // The end, or a file system that cannot: reading will tell.
                Ok(0) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(from - offset)
    }

    /// Takes the next `len` bytes of the file itself into the digest.
    fn hash_landed(&mut self, len: u64) -> io::Result<()> {
        let end = self.len + len;
        let mut buffer = self.take_buffer(len);
        while self.len < end {
            let part = &mut buffer[..usize::try_from(end - self.len).unwrap_or(BUFFER_LEN).min(BUFFER_LEN)];
            self.file.read_exact_at(part, self.len)?;
            self.hash(part);
        }
        self.buffer = buffer;
        Ok(())
    }

    /// A buffer for so many bytes, or as many as go at once: clearing a large one costs more than a small copy.
    fn take_buffer(&mut self, len: u64) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let want = usize::try_from(len).unwrap_or(BUFFER_LEN).min(BUFFER_LEN);
        if buffer.len() < want {
            buffer.resize(want, 0);
        }
        buffer
    }

    /// The digest of everything written, and its groups. Nothing is to be written after this; of what was put whole it has
    /// been told.
    #[must_use]
    pub fn digest(&mut self) -> (Digest, GroupSums) {
        // Nothing follows, and many staged files may wait for their names at once.
        self.buffer = Vec::new();
        self.hasher.take().unwrap_or_default().sign()
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the file its metadata, while nobody can see it. Content comes first: writing would change the time and
    /// take setuid off again. `old` is what it will replace.
    ///
    /// # Errors
    /// As `fchown(2)`, `fchmod(2)`, `fsetxattr(2)` and `futimens(3)`.
    pub fn describe(&mut self, entry: &Entry, old: Option<&Entry>, how: &Placement) -> io::Result<()> {
        let node = Node::Open(self.file.as_fd());
        meta::put((node, &node.stat()?), self.style, entry, old, how)
    }

    /// Asks the kernel to begin writing out what it was not asked to yet, without waiting: the syncs of a group of files
    /// then wait together. 256 files of 16 KiB on ext4 are durable in 14 ms with it and in 45 ms without. A hint; what goes
    /// wrong shows at [`Staged::sync`].
    pub fn start_writeback(&self) {
        // On this advice Linux starts to write dirty pages out, then drops the clean ones (`mm/fadvise.c`). What is
        // being written out stays in memory. sync_file_range(2) would say the same, but has no safe binding here.
        let _hint = rustix::fs::fadvise(&self.file, self.begun, None, Advice::DontNeed);
    }

    /// Makes content and metadata durable. `fdatasync(2)` would leave owner, mode and times behind.
    ///
    /// # Errors
    /// As `fsync(2)`: after one the content must not be trusted.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.file)?)
    }

    /// The file, opened once more for reading alone: a program cannot be run while anybody holds it open for writing.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn reader(&self) -> io::Result<File> {
        let own = meta::proc_path(self.file.as_fd());
        Ok(rustix::fs::open(own, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    /// The file itself, open for reading and writing. Whoever writes to it directly breaks the digest.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Leaves what came so far under a reserved name (`reserved::for_partial`), for the next run to go on with. An
    /// older one of that name goes away.
    ///
    /// # Errors
    /// As [`apply::place`].
    pub fn keep_partial(self, dir: &Dir, name: &[u8; 20]) -> io::Result<()> {
        debug_assert!(reserved::is_reserved(name), "a partial file lies under a reserved name");
        apply::place(self, dir, name, Replace::Expected)
    }

    /// The file without a name, on which it lives as long as it is open.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }

    /// Gives the file a name that nothing has.
    ///
    /// # Errors
    /// `EEXIST` when something has it; as `linkat(2)` or `renameat2(2)`.
    pub(super) fn name_anew(&self, dir: &Dir, name: &[u8]) -> io::Result<()> {
        if let Some(temp) = &self.name {
            return apply::rename_anew(&temp.dir, &temp.name, dir, name);
        }
        // A link by descriptor costs half as much as one by way of /proc, and needs CAP_DAC_READ_SEARCH or, since Linux
        // 6.10, the identity that opened the file; without them it is ENOENT. The link in /proc needs nothing.
        if LINKS_BY_DESCRIPTOR.get() {
            match rustix::fs::linkat(&self.file, "", dir.fd(), name, AtFlags::EMPTY_PATH) {
                Err(Errno::NOENT) => LINKS_BY_DESCRIPTOR.set(false),
                done => return Ok(done?),
            }
        }
        let own = meta::proc_path(self.file.as_fd());
        Ok(rustix::fs::linkat(CWD, own, dir.fd(), name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// The name the file has already, in the directory it was created in.
    pub(super) fn temp_name(&self) -> Option<(&Dir, &[u8])> {
        self.name.as_ref().map(|temp| (&temp.dir, &temp.name[..]))
    }
}

#[cfg(test)]
mod tests;
