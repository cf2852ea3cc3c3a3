//! disk: the door. A Root is an open directory that an operator named; everything else is named beneath it.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::found::{Found, Inode};
use super::meta::privileged;
use super::walk;
use crate::model::entry::Time;
use crate::model::options::Keeps;
use crate::model::path::RelPath;

/// How metadata lies beneath a Root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// In rsync's fake-super form (`rsyncd.conf(5)`, `fake super`).
    pub fake_super: bool,
}

/// Which directory of which file system a Root is: tells whether it is still the one it was. All three numbers are
/// the system's own and mean nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device (`st_dev`). May change with a reboot.
    pub dev: u64,
    /// Inode (`st_ino`).
    pub ino: u64,
    /// The file system's own id (`statfs(2)`, `f_fsid`); 0 where it has none.
    pub fsid: u64,
    /// When it was made (`statx(2)`, `stx_btime`); `None` where the file system does not keep it. Tells a directory
    /// from a later one that was given the same inode number.
    pub born: Option<Time>,
}

/// An open directory; nothing is named except beneath it.
#[derive(Clone, Debug)]
pub struct Root {
    top: Dir,
}

impl Root {
    /// Opens a directory that an operator named. Links in this path are followed, once: from here on only the
    /// directory held counts, whatever becomes of its name.
    ///
    /// # Errors
    /// As `open(2)`; `ENOTDIR` when it is no directory.
    pub fn open(path: &Path, style: Style) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { top: Dir::new(fd, style) })
    }

    /// A Root further down.
    ///
    /// # Errors
    /// `ELOOP` when a symlink stands anywhere in the path, `ENOTDIR`, `ENOENT` and others as `openat2(2)`.
    pub fn beneath(&self, dir: &RelPath) -> io::Result<Self> {
        Ok(Self { top: self.dir(dir)? })
    }

    /// Holds a directory beneath this Root.
    ///
    /// # Errors
    /// As [`Root::beneath`].
    pub fn dir(&self, dir: &RelPath) -> io::Result<Dir> {
        if dir.is_root() {
            return Ok(self.top.clone());
        }
        self.top.below(dir.as_bytes(), ResolveFlags::empty())
    }

    /// Holds the directory that a path lies in. The Root itself, which lies in none, is refused with `InvalidInput`.
    ///
    /// # Errors
    /// As [`Root::beneath`].
    pub fn parent_of(&self, path: &RelPath) -> io::Result<Dir> {
        let none = || io::Error::new(io::ErrorKind::InvalidInput, "the root of the transfer has no parent");
        self.dir(&path.parent().ok_or_else(none)?)
    }

    /// What stands at a path, the Root itself included.
    ///
    /// # Errors
    /// As [`Root::beneath`] for its parent, then as [`Dir::found`].
    pub fn found(&self, path: &RelPath) -> io::Result<Found> {
        if path.is_root() { self.top.own() } else { self.parent_of(path)?.found(path.name()) }
    }

    /// Which directory this is.
    ///
    /// # Errors
    /// As `fstat(2)` and `fstatfs(2)`.
    pub fn identity(&self) -> io::Result<Identity> {
        let stat = self.top.own()?.stat;
        let fsid = rustix::fs::fstatvfs(self.top.fd())?.f_fsid;
        let born = self.top.own_inode()?.born;
        Ok(Identity { dev: stat.dev, ino: stat.ino, fsid, born })
    }

    /// The inode at a path, the Root itself included.
    ///
    /// # Errors
    /// As [`Root::found`].
    pub fn inode(&self, path: &RelPath) -> io::Result<Inode> {
        if path.is_root() { self.top.own_inode() } else { self.parent_of(path)?.inode(path.name()) }
    }

    /// How metadata lies here.
    #[must_use]
    pub fn style(&self) -> Style {
        self.top.style()
    }

    /// What a receiver can keep beneath this Root, as the user the calling thread runs as.
    ///
    /// # Errors
    /// As `fstatfs(2)`.
    pub fn keeps(&self, numeric_ids: bool) -> io::Result<Keeps> {
        let all = privileged() || self.style().fake_super;
        #[allow(clippy::unnecessary_cast, reason = "the width of `f_type` differs by machine")]
        let magic = rustix::fs::fstatfs(self.top.fd())?.f_type as u32;
        let time_granularity_ns = time_granularity_ns(magic);
        Ok(Keeps { owners: all, devices: all, time_granularity_ns, numeric_ids })
    }

    /// Whether there is nothing here, our own temporary files aside.
    ///
    /// # Errors
    /// As `open(2)` and `getdents(2)`.
    pub fn is_empty(&self) -> io::Result<bool> {
        let mut empty = true;
        walk::each_name(&self.top, |name| {
            empty = super::reserved::is_reserved(name);
            Ok(empty)
        })?;
        Ok(empty)
    }
}

/// Whether an error says that nothing stands at a path: a name on it is missing, or what stands there is no directory, a
/// link among them, since none is followed. Anything else, EIO and ESTALE above all, says nothing.
#[must_use]
pub fn leads_nowhere(error: &io::Error) -> bool {
    let nowhere = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
    // What is found missing without asking the kernel has no number.
    error.kind() == io::ErrorKind::NotFound
        || nowhere.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// How finely a file system keeps times, by its magic number (`statfs(2)`). What does not tell (ext3 with small
/// inodes, a network file system before an old server) is taken for fine: its files would then be sent again each
/// time, which shows. FAT keeps even seconds only; 1 s is the most that can be said here.
fn time_granularity_ns(magic: u32) -> u32 {
    const CIFS: u32 = 0xff53_4d42;
    const EXFAT: u32 = 0x2011_bab0;
    const HFSPLUS: u32 = 0x482b;
    const MSDOS: u32 = 0x4d44;
    const NTFS: u32 = 0x5346_544e;
    const NTFS3: u32 = 0x7366_746e;
    const SMB2: u32 = 0xfe53_4d42;
    const UDF: u32 = 0x1501_3346;
    match magic {
        MSDOS | HFSPLUS => 1_000_000_000,
        EXFAT => 10_000_000,
        UDF => 1_000,
        CIFS | NTFS | NTFS3 | SMB2 => 100,
        _ => 1,
    }
}
