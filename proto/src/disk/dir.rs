//! disk: one held directory beneath a Root. Everything in it is reached by a single name.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::found::{self, Found, Inode};
use super::meta::Node;
use super::root::{Style, leads_nowhere};
use crate::limits;

/// One held directory beneath a Root.
///
/// It is held by `O_PATH`: a directory that may be searched but not read can be worked in all the same. Names passed
/// to it are single components; were one not, `RESOLVE_BENEATH` or `ENOTDIR` would stop it.
#[derive(Clone, Debug)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    style: Style,
}

impl Dir {
    pub(super) fn new(fd: OwnedFd, style: Style) -> Self {
        Self { fd: Arc::new(fd), style }
    }

    /// How metadata lies here.
    #[must_use]
    pub fn style(&self) -> Style {
        self.style
    }

    /// What stands at a name.
    ///
    /// # Errors
    /// As `fstatat(2)`, `readlinkat(2)`; `ENOENT` when nothing does.
    pub fn found(&self, name: &[u8]) -> io::Result<Found> {
        check(name);
        found::at(self.fd(), name, self.style)
    }

    /// This directory itself.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub fn own(&self) -> io::Result<Found> {
        found::of(Node::Path(self.fd()), self.style)
    }

    /// The inode at a name.
    ///
    /// # Errors
    /// As `statx(2)`; `ENOENT` when nothing stands there.
    pub fn inode(&self, name: &[u8]) -> io::Result<Inode> {
        check(name);
        found::inode(self.fd(), name)
    }

    /// The inode of this directory itself.
    ///
    /// # Errors
    /// As `statx(2)`.
    pub fn own_inode(&self) -> io::Result<Inode> {
        found::inode(self.fd(), b"")
    }

    /// A directory in this one.
    ///
    /// # Errors
    /// `ELOOP` when a symlink stands there; as `openat2(2)` otherwise.
    pub fn child(&self, name: &[u8]) -> io::Result<Self> {
        check(name);
        self.below(name, ResolveFlags::empty())
    }

    /// A directory in this one, held for reading: [`walk`](super::walk) reads its names through this value itself,
    /// which saves opening every directory of a tree twice. It has one position, so it belongs to one reader.
    ///
    /// # Errors
    /// As [`Dir::child`], and `EACCES` when it may be searched only.
    pub(super) fn child_to_read(&self, name: &[u8]) -> io::Result<Self> {
        check(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok(Self::new(resolve(self.fd(), name, flags, ResolveFlags::empty())?, self.style))
    }

    /// A directory at a path below this one. `more` narrows how it is resolved.
    pub(super) fn below(&self, path: &[u8], more: ResolveFlags) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok(Self::new(resolve(self.fd(), path, flags, more)?, self.style))
    }

    /// Opens a regular file for reading, and says what was opened.
    ///
    /// # Errors
    /// `InvalidInput` when something else stands there (under fake super too, where a symlink or a device is a
    /// file); `ELOOP` for a symlink; as `openat2(2)` otherwise.
    pub fn open_file(&self, name: &[u8]) -> io::Result<(File, Found)> {
        check(name);
        // O_NONBLOCK: a fifo that took the file's place must not hold us until somebody writes to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = resolve(self.fd(), name, flags, ResolveFlags::empty())?;
        let found = found::of(Node::Open(fd.as_fd()), self.style)?;
        if !found.entry.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no longer a regular file"));
        }
        Ok((fd.into(), found))
    }

    /// Makes the names in this directory durable, and this directory's own metadata.
    ///
    /// # Errors
    /// As `open(2)` and `fsync(2)`. A file system that cannot sync directories (`EINVAL`) is left to do as it does.
    pub fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(self.reopen()?) {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a regular file durable, its metadata above all: syncing its directory does not do that. What is no longer there
    /// needs none.
    ///
    /// # Errors
    /// As `open(2)` and `fsync(2)`.
    pub fn sync_file(&self, name: &[u8]) -> io::Result<()> {
        check(name);
        let open = |access| {
            let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
            resolve(self.fd(), name, flags, ResolveFlags::empty())
        };
        match open(OFlags::RDONLY) {
            Ok(file) => Ok(rustix::fs::fsync(file)?),
            Err(error) if leads_nowhere(&error) => Ok(()),
            // An owner may have denied himself the one or the other, or both.
            Err(_) => open(OFlags::WRONLY)
                .map_or_else(|_| self.sync_file_system(), |file| Ok(rustix::fs::fsync(file)?)),
        }
    }

    /// Makes everything durable that was written to the file system that this directory lies on, by whomever.
    ///
    /// # Errors
    /// As `open(2)` and `syncfs(2)`, which reports what could not be written since Linux 5.8.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(self.reopen()?)?)
    }

    /// A descriptor of this directory that can be read and synced, with a position of its own: clones of this value
    /// are used by several threads at once.
    pub(super) fn reopen(&self) -> io::Result<OwnedFd> {
        resolve(self.fd(), b".", OFlags::RDONLY | OFlags::DIRECTORY, ResolveFlags::empty())
    }

    /// This directory as [`Dir::child_to_read`] gives one.
    pub(super) fn to_read(&self) -> io::Result<Self> {
        Ok(Self::new(self.reopen()?, self.style))
    }

    /// Holds whatever stands at a name, without opening it.
    pub(super) fn hold(&self, name: &[u8]) -> io::Result<OwnedFd> {
        check(name);
        resolve(self.fd(), name, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::empty())
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// For the calls that this room has no method for, such as watching it.
impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

/// Guards against a caller that passes a path for a name; what a peer sent was judged by `RelPath`.
pub(super) fn check(name: &[u8]) {
    debug_assert!(!name.is_empty() && !name.contains(&b'/'), "a single name");
}

/// Opens what lies at a path beneath `at`: no symlink is followed at any depth and nothing above is reached.
pub(super) fn resolve(
    at: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    more: ResolveFlags,
) -> io::Result<OwnedFd> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | more;
    for _ in 0..limits::RESOLVE_TRIES {
        match rustix::fs::openat2(at, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN) => {}
            done => return Ok(done?),
        }
    }
    Err(Errno::AGAIN.into())
}
