//! disk: putting owner, mode and times on what is held, for real or in fake-super form.
//!
//! Always on a descriptor, never on a name. The order is owner, mode, times: a change of owner takes setuid and
//! setgid off (`chown(2)`), and both are changes of which nothing may follow the times.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::fake::{self, Meant};
use super::root::Style;
use crate::model::entry::{Entry, Time};

/// What of an entry is kept: the options, in terms the receiver can keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// `-o`. Tried by root and under fake super only.
    pub owner: bool,
    /// `-g`. Anybody else than root may give a file to their own groups; to another it stays as it is.
    pub group: bool,
    /// `-p`.
    pub perms: bool,
    /// `-t`.
    pub times: bool,
}

/// How entries are given their metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// What is kept.
    pub keep: Keep,
    /// Taken off the mode of a new entry without `-p` (`umask(2)`). An existing entry keeps its mode then.
    pub umask: u32,
}

/// Whether the calling thread acts as root. Asked of the kernel each time: on Linux the user belongs to the thread,
/// and threads of one process serve modules with different owners.
pub(super) fn privileged() -> bool {
    rustix::process::geteuid().is_root()
}

/// Something held by a descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node<'fd> {
    /// Opened for reading or writing.
    Open(BorrowedFd<'fd>),
    /// Held by `O_PATH`, which any kind of entry can be, readable or not; then some calls need the way through /proc.
    Path(BorrowedFd<'fd>),
}

/// The magic link that leads to what a descriptor holds, without resolving any name again.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

impl<'fd> Node<'fd> {
    pub(super) fn fd(self) -> BorrowedFd<'fd> {
        match self {
            Self::Open(fd) | Self::Path(fd) => fd,
        }
    }

    pub(super) fn stat(self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(self.fd())?)
    }

    /// The text of a symlink held by `O_PATH`.
    pub(super) fn link_text(self) -> io::Result<Box<[u8]>> {
        Ok(rustix::fs::readlinkat(self.fd(), "", Vec::new())?.into_bytes().into())
    }

    pub(super) fn fake(self) -> io::Result<Option<Meant>> {
        fake::read_node(self)
    }

    fn set_fake(self, text: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        Ok(match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, fake::ATTRIBUTE, text, flags),
            Self::Path(fd) => rustix::fs::setxattr(proc_path(fd), fake::ATTRIBUTE, text, flags),
        }?)
    }

    fn clear_fake(self) -> io::Result<()> {
        let done = match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, fake::ATTRIBUTE),
            Self::Path(fd) => rustix::fs::removexattr(proc_path(fd), fake::ATTRIBUTE),
        };
        match done {
            // Nothing to clear: not there, or on a file system that has none.
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn chown(self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        rustix::fs::chownat(self.fd(), "", uid, gid, AtFlags::EMPTY_PATH)
    }

    fn chmod(self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        Ok(match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Path(fd) => rustix::fs::chmod(proc_path(fd), mode),
        }?)
    }

    fn set_mtime(self, time: Time) -> io::Result<()> {
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let last_modification = Timespec { tv_sec: time.sec, tv_nsec: time.nsec.into() };
        let times = Timestamps { last_access, last_modification };
        // On a descriptor held by O_PATH since Linux 5.8.
        Ok(match self {
            Self::Open(fd) => rustix::fs::futimens(fd, &times),
            Self::Path(fd) => rustix::fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH),
        }?)
    }
}

/// Gives a held entry, which lies on disk as `real`, the metadata of `entry`, as far as it is kept. `old` is what stood,
/// or stands, at its name.
///
/// # Errors
/// As `fchown(2)`, `fchmod(2)`, `fsetxattr(2)` and `utimensat(2)`.
pub(super) fn put(
    (node, real): (Node<'_>, &Stat),
    style: Style,
    entry: &Entry,
    old: Option<&Entry>,
    how: &Placement,
) -> io::Result<()> {
    put_owner_and_mode((node, real), style, entry, old, how)?;
    let there = Time { sec: real.st_mtime, nsec: u32::try_from(real.st_mtime_nsec).unwrap_or(0) };
    if how.keep.times && there != entry.mtime {
        node.set_mtime(entry.mtime)?;
    }
    Ok(())
}

/// As [`put`], without the times: for a directory that is yet to be filled.
pub(super) fn put_owner_and_mode(
    (node, real): (Node<'_>, &Stat),
    style: Style,
    entry: &Entry,
    old: Option<&Entry>,
    how: &Placement,
) -> io::Result<()> {
    let old = old.filter(|old| old.kind.same_type(&entry.kind));
    let mode = mode(entry, old, how, real);
    if style.fake_super {
        put_fake(node, entry, old, how.keep, mode, real)
    } else {
        put_real(node, entry, how.keep, mode, real)
    }
}

/// The permission bits that are wanted (rsync(1), `--perms`): the entry's; without `-p` the old ones, and for
/// something new the entry's without its special bits and what the umask takes off, save that a new directory keeps
/// the setgid bit it inherited.
fn mode(entry: &Entry, old: Option<&Entry>, how: &Placement, real: &Stat) -> u32 {
    if how.keep.perms {
        return entry.mode & 0o7777;
    }
    if let Some(old) = old {
        return old.mode;
    }
    let inherited = if entry.is_dir() { real.st_mode & 0o2000 } else { 0 };
    entry.mode & 0o777 & !how.umask | inherited
}

fn put_real(node: Node<'_>, entry: &Entry, keep: Keep, mode: u32, real: &Stat) -> io::Result<()> {
    let (other_uid, other_gid) =
        (keep.owner && real.st_uid != entry.uid, keep.group && real.st_gid != entry.gid);
    // Most are as they should be, and then nobody needs to know.
    let root = (other_uid || other_gid) && privileged();
    let uid = (other_uid && root).then_some(entry.uid);
    let gid = other_gid.then_some(entry.gid);
    if uid.is_some() || gid.is_some() {
        match node.chown(uid, gid) {
            Err(Errno::PERM) if !root => {}
            done => done?,
        }
    }
    let link = FileType::from_raw_mode(real.st_mode) == FileType::Symlink;
    let cleared = (uid.is_some() || gid.is_some()) && mode & 0o6000 != 0;
    if !link && (cleared || real.st_mode & 0o7777 != mode) {
        node.chmod(mode)?;
    }
    Ok(())
}

fn put_fake(
    node: Node<'_>,
    entry: &Entry,
    old: Option<&Entry>,
    keep: Keep,
    mode: u32,
    real: &Stat,
) -> io::Result<()> {
    let uid = if keep.owner { entry.uid } else { old.map_or(real.st_uid, |old| old.uid) };
    let gid = if keep.group { entry.gid } else { old.map_or(real.st_gid, |old| old.gid) };
    let meant = Meant::new(&entry.kind, mode, uid, gid);
    if real.st_mode & 0o7777 != meant.real_mode() {
        node.chmod(meant.real_mode())?;
    }
    if meant.needs_no_text(real.st_uid, real.st_gid) {
        node.clear_fake()
    } else if node.fake()? == Some(meant) {
        Ok(())
    } else {
        node.set_fake(meant.text().as_bytes())
    }
}
