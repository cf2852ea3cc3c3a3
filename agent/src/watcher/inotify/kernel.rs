//! watcher: inotify: the calls to the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use inotify::{Inotify, WatchDescriptor, WatchMask};
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::tree::Inode;

/// What is asked of every directory. MODIFY because a log never closes and `truncate(2)` by path gives nothing else;
/// CREATE because `linkat(2)` gives nothing else; EXCL_UNLINK spares us writes to files that have no name any
/// more. Never OPEN, ACCESS or CLOSE_NOWRITE: our own reading would fill the queue, and an overflow would cause the next.
fn mask() -> WatchMask {
    WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::CLOSE_WRITE
        | WatchMask::MODIFY
        | WatchMask::ATTRIB
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR
        | WatchMask::EXCL_UNLINK
}

/// Opens an inotify instance.
pub(super) fn instance() -> io::Result<Inotify> {
    Inotify::init().map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::MFILE) => used_up(&error, "instances"),
        _ => error,
    })
}

/// Watches a held directory; gives the watch it has already if there is one. It goes by way of the descriptor, so
/// that what is watched is what was opened, whatever its name means by now.
pub(super) fn watch(inotify: &Inotify, dir: BorrowedFd<'_>) -> io::Result<WatchDescriptor> {
    add(inotify, dir, mask())
}

/// Watches the directory above the root, for one purpose: a directory that is held open, as the root is, tells
/// nothing itself when it is removed. `None` when that directory may not be read.
pub(super) fn watch_above(inotify: &Inotify, root: BorrowedFd<'_>) -> Option<WatchDescriptor> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = rustix::fs::openat(root, "..", flags, Mode::empty()).ok()?;
    // MASK_ADD: the root of all is its own parent and must keep what it has.
    add(inotify, above.as_fd(), WatchMask::DELETE | WatchMask::ONLYDIR | WatchMask::MASK_ADD).ok()
}

fn add(inotify: &Inotify, dir: BorrowedFd<'_>, mask: WatchMask) -> io::Result<WatchDescriptor> {
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    inotify.watches().add(path, mask).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOSPC) => used_up(&error, "watches"),
        _ => error,
    })
}

/// Says which limit was met and which line raises it. There are two of each kind: the system's, and that of the user
/// namespace (`namespaces(7)`); the smaller one is the one that was met.
pub(super) fn used_up(error: &io::Error, limit: &str) -> io::Error {
    let of_system = format!("fs.inotify.max_user_{limit}");
    let of_namespace = format!("user.max_inotify_{limit}");
    let (key, now) = match (current(&of_system), current(&of_namespace)) {
        (Some(system), Some(namespace)) if namespace < system => (of_namespace, Some(namespace)),
        (system, _) => (of_system, system),
    };
    let text = match now {
        Some(now) => format!(
            "{key} is used up ({now}, shared by all programs of this user); raise it: sysctl {key}={}",
            now.max(DEFAULT_MIN).saturating_mul(4)
        ),
        None => format!("{key} is used up"),
    };
    io::Error::new(error.kind(), text)
}

/// A limit of less than this is not worth multiplying.
const DEFAULT_MIN: u64 = 128;

fn current(key: &str) -> Option<u64> {
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 32];
    let len = rustix::io::read(&file, &mut text).ok()?;
    std::str::from_utf8(&text[..len]).ok()?.trim().parse().ok()
}

/// Which directory a held one is.
pub(super) fn inode(dir: BorrowedFd<'_>) -> io::Result<Inode> {
    Ok(inode_of(&rustix::fs::fstat(dir)?))
}

/// Whether that directory stands at a name of a held one.
pub(super) fn stands_at(dir: BorrowedFd<'_>, name: &[u8], inode: Inode) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| inode_of(&stat) == inode)
}

#[allow(clippy::unnecessary_cast, reason = "integer widths of `struct stat` differ by machine")]
fn inode_of(stat: &Stat) -> Inode {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// Bytes of events that are queued.
pub(super) fn queued(inotify: &Inotify) -> u64 {
    rustix::io::ioctl_fionread(inotify).unwrap_or(0)
}

/// Bytes that an event takes up in the queue. The name is padded to the length of the rest, at least one NUL
/// (`inotify(7)`; `round_event_name_len` in the kernel).
pub(super) fn event_len(name: Option<&[u8]>) -> u64 {
    const FIXED: usize = 16;
    let name = name.map_or(0, |name| (name.len() + 1).next_multiple_of(FIXED));
    (FIXED + name) as u64
}

/// Bytes of one read of events: some thousand.
pub(super) const READ_LEN: usize = 64 * 1024;
