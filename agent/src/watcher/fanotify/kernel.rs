//! watcher: fanotify: the calls to the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use fanotify_fid::handle::{handle_from_fd, open_by_handle_at};
use fanotify_fid::{Fanotify, consts};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::tree::Handle;

/// What is asked of the file system. MODIFY because a log never closes; never OPEN, ACCESS or CLOSE_NOWRITE: our own
/// reading would fill the queue, and an overflow would cause the next.
const MASK: u64 = consts::FAN_CREATE
    | consts::FAN_DELETE
    | consts::FAN_MODIFY
    | consts::FAN_CLOSE_WRITE
    | consts::FAN_ATTRIB
    | consts::FAN_RENAME
    | consts::FAN_ONDIR;

/// Events name the directory, the name in it, and the object. The queue is bounded: an overflow costs a comparison,
/// unbounded memory could cost the host.
const GROUP: u32 = consts::FAN_CLASS_NOTIF
    | consts::FAN_NONBLOCK
    | consts::FAN_CLOEXEC
    | consts::FAN_REPORT_DFID_NAME_TARGET;

/// Bytes of one read of events: some hundred.
pub(super) const READ_LEN: usize = 64 * 1024;

/// Opens a group and marks the whole file system of a directory that is held for reading.
///
/// # Errors
/// When this process may not, or kernel or file system cannot; the message says which, as one sentence.
pub(super) fn group(dir: BorrowedFd<'_>) -> io::Result<Fanotify> {
    let error = |error: fanotify_fid::FanotifyError| error.errno().map(Errno::from_raw_os_error);
    let group = Fanotify::new(GROUP).map_err(|e| match error(e) {
        Some(Errno::PERM) => lacking("root's right CAP_SYS_ADMIN"),
        Some(Errno::INVAL) => lacking("Linux 5.17 or newer"),
        Some(Errno::NOSYS) => lacking("a kernel that was built with it"),
        Some(errno) => lacking(&format!("what the system refuses ({errno})")),
        None => lacking("what the system refuses"),
    })?;
    group.mark_fd(dir, consts::FAN_MARK_ADD | consts::FAN_MARK_FILESYSTEM, MASK).map_err(
        |e| match error(e) {
            Some(Errno::PERM) => lacking("root's right CAP_SYS_ADMIN, in the initial user namespace"),
            Some(Errno::INVAL) => lacking("Linux 5.17 or newer"),
            Some(errno @ (Errno::NODEV | Errno::OPNOTSUPP | Errno::XDEV)) => {
                lacking(&format!("a file system that can be watched as a whole ({errno})"))
            }
            Some(errno) => lacking(&format!("what the system refuses ({errno})")),
            None => lacking("what the system refuses"),
        },
    )?;
    // Handles that cannot be opened again are of no use.
    match open(dir, &handle(dir)?) {
        Ok(_) => Ok(group),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
            Err(lacking("root's right CAP_DAC_READ_SEARCH, in the initial user namespace"))
        }
        Err(error) => Err(lacking(&format!("a file system whose handles can be opened ({error})"))),
    }
}

fn lacking(what: &str) -> io::Error {
    io::Error::other(format!("fanotify needs {what}; --engine auto takes another engine"))
}

/// Events that are queued. Of each the kernel counts the fixed part alone (`fanotify_ioctl`).
pub(super) fn queued(group: &Fanotify) -> u64 {
    const FIXED: u64 = 24;
    rustix::io::ioctl_fionread(group).unwrap_or(0) / FIXED
}

/// The handle of a held directory.
pub(super) fn handle(dir: BorrowedFd<'_>) -> io::Result<Handle> {
    Ok(handle_from_fd(dir)?.into())
}

/// Holds a directory by its handle, wherever it is by now. `anchor` is one of the same file system that is held for
/// reading. `ESTALE` when it is gone.
pub(super) fn open(anchor: BorrowedFd<'_>, handle: &[u8]) -> io::Result<OwnedFd> {
    open_by_handle_at(anchor, handle)
}

/// Holds a directory in a held one. No symlink is followed.
pub(super) fn child(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)?)
}

/// Holds a directory for reading.
pub(super) fn to_read(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, ".", flags, Mode::empty())?)
}

/// Where a held directory is now: its parent's handle and its name there.
pub(super) fn place(dir: BorrowedFd<'_>) -> io::Result<(Handle, Vec<u8>)> {
    if rustix::fs::fstat(dir)?.st_nlink == 0 {
        return Err(Errno::STALE.into());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = rustix::fs::openat(dir, "..", flags, Mode::empty())?;
    let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new())?.into_bytes();
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    Ok((handle(above.as_fd())?, name.to_vec()))
}

/// Which file system, and which directory on it.
#[allow(clippy::unnecessary_cast, reason = "integer widths of `struct stat` differ by machine")]
pub(super) fn inode(dir: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(dir)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// Whether that directory stands at a name of a held one.
#[allow(clippy::unnecessary_cast, reason = "integer widths of `struct stat` differ by machine")]
pub(super) fn stands_at(dir: BorrowedFd<'_>, name: &[u8], inode: (u64, u64)) -> bool {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| (stat.st_dev as u64, stat.st_ino as u64) == inode)
}
