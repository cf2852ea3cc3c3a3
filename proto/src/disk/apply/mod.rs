//! disk: making a staged change visible, and the single place where old content goes away.
//!
//! Everything here works on names in held directories. A crash between any two calls leaves the old entry or the new
//! one, never a torn one; at worst a reserved name stays behind and is swept later. Nothing here syncs a directory:
//! the caller does, once for a whole group ([`Dir::sync`]).

mod remove;

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, Stat};
use rustix::io::Errno;

use super::dir::{Dir, check};
use super::fake;
use super::found::{self, Stamp};
use super::meta::{self, Node, Placement, privileged};
use super::reserved;
use super::stage::Staged;
use crate::limits;
use crate::model::entry::{Entry, Kind};

pub use remove::{remove_tree, sweep};

/// What a placed file may take the name of. A directory is never replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Something probably stands there, and goes.
    Expected,
    /// Probably nothing does; if something does, it goes.
    IfPresent,
    /// Nothing: whatever stands there stays, and the file is refused with `EEXIST`.
    Never,
}

/// How old content goes away.
#[derive(Clone, Copy)]
enum Successor<'a> {
    /// What stands at this name takes its place, in one step.
    At(&'a Dir, &'a [u8]),
    /// Nothing comes after an empty directory.
    NoDir,
    /// Nothing comes after anything else.
    Nothing,
}

/// The one place where old content goes away: replaced, renamed over, or removed. Whatever is to be kept of it (a
/// history, say) must be taken here, before the call; nothing else in this crate may unlink or rename over a name
/// that is not reserved.
fn displace(dir: &Dir, name: &[u8], by: Successor<'_>) -> io::Result<()> {
    check(name);
    Ok(match by {
        Successor::At(from, old) => rustix::fs::renameat(from.fd(), old, dir.fd(), name),
        Successor::NoDir => rustix::fs::unlinkat(dir.fd(), name, AtFlags::REMOVEDIR),
        Successor::Nothing => rustix::fs::unlinkat(dir.fd(), name, AtFlags::empty()),
    }?)
}

/// Gives a staged file its final name.
///
/// # Errors
/// `EISDIR` when a directory stands there, `EEXIST` under [`Replace::Never`]; as `linkat(2)` and `rename(2)`
/// otherwise. Then nothing of the file is left, and what stood there still does.
pub fn place(staged: Staged, dir: &Dir, name: &[u8], replace: Replace) -> io::Result<()> {
    if replace != Replace::Expected {
        match staged.name_anew(dir, name) {
            Err(error) if is(&error, Errno::EXIST) && replace == Replace::IfPresent => {}
            done => return done,
        }
    }
    if let Some((at, temp)) = staged.temp_name() {
        return displace(dir, name, Successor::At(at, temp));
    }
    // linkat(2) never replaces: a reserved name first, and a rename from it.
    let temp = reserved::fresh();
    staged.name_anew(dir, &temp)?;
    replace_by_temp(dir, &temp, name)
}

/// Renames a finished entry from its reserved name to its final one, or takes it away if that fails.
fn replace_by_temp(dir: &Dir, temp: &[u8], name: &[u8]) -> io::Result<()> {
    displace(dir, name, Successor::At(dir, temp)).inspect_err(|_| unlink_temp(dir, temp))
}

/// Takes away a temporary entry of ours after a failure, which is the error that counts.
fn unlink_temp(dir: &Dir, temp: &[u8]) {
    let _left_for_the_sweep = rustix::fs::unlinkat(dir.fd(), temp, AtFlags::empty());
}

/// Makes a symlink, fifo, socket or device, which takes the name of what stands there as `replace` lets it. Under fake
/// super it is a regular file, durable up to its name.
///
/// # Errors
/// `EISDIR` when a directory stands there, `EEXIST` under [`Replace::Never`]; `InvalidInput` for a file or directory, which have their own ways;
/// `EPERM` for a device without the right to make one; as `symlink(2)`, `mknod(2)` and `rename(2)` otherwise.
pub fn place_node(
    dir: &Dir,
    name: &[u8],
    entry: &Entry,
    how: &Placement,
    replace: Replace,
) -> io::Result<()> {
    if matches!(entry.kind, Kind::Dir | Kind::File { .. }) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if dir.style().fake_super {
        let mut staged = Staged::create(dir)?;
        staged.write_all(fake::content(entry))?;
        staged.describe(entry, None, how)?;
        staged.sync()?;
        return place(staged, dir, name, replace);
    }
    let temp = reserved::fresh();
    make_node(dir, &temp, &entry.kind)?;
    describe_held(dir, &temp, entry, None, how).inspect_err(|_| unlink_temp(dir, &temp))?;
    if replace == Replace::Never {
        return rename_anew(dir, &temp, dir, name).inspect_err(|_| unlink_temp(dir, &temp));
    }
    replace_by_temp(dir, &temp, name)
}

fn make_node(dir: &Dir, name: &[u8], kind: &Kind) -> io::Result<()> {
    let (file_type, device) = match kind {
        Kind::Symlink { target } => return Ok(rustix::fs::symlinkat(&**target, dir.fd(), name)?),
        Kind::Fifo => (FileType::Fifo, 0),
        Kind::Socket => (FileType::Socket, 0),
        Kind::Char(device) => (FileType::CharacterDevice, rustix::fs::makedev(device.major, device.minor)),
        Kind::Block(device) => (FileType::BlockDevice, rustix::fs::makedev(device.major, device.minor)),
        Kind::Dir | Kind::File { .. } => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(rustix::fs::mknodat(dir.fd(), name, file_type, Mode::RUSR | Mode::WUSR, device)?)
}

/// Makes a directory with its owner and mode, or accepts the one that stands there as it is. Says whether it made one.
///
/// Its times come last, by [`describe`], since filling it changes them. So does the rest of its mode where we are not
/// root and the mode would keep us from filling it.
///
/// # Errors
/// `ENOTDIR` when something else stands there; as `mkdir(2)` and [`describe`] otherwise.
pub fn make_dir(dir: &Dir, name: &[u8], entry: &Entry, how: &Placement) -> io::Result<bool> {
    check(name);
    match rustix::fs::mkdirat(dir.fd(), name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(dir.fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            return if is_dir { Ok(false) } else { Err(Errno::NOTDIR.into()) };
        }
        Err(error) => return Err(error.into()),
    }
    let mut entry = entry.clone();
    if !privileged() && !dir.style().fake_super {
        entry.mode |= 0o700;
    }
    let made = dir.child(name)?;
    let node = Node::Path(made.fd());
    meta::put_owner_and_mode((node, &node.stat()?), dir.style(), &entry, None, how)?;
    Ok(true)
}

/// Brings the metadata of what stands at a name up to date; `old` is what was found there. It need not be readable:
/// it is held, not opened.
///
/// # Errors
/// `ESTALE` when something of another kind stands there by now; as `fchown(2)`, `fchmod(2)`, `fsetxattr(2)` and
/// `utimensat(2)` otherwise.
pub fn describe(dir: &Dir, name: &[u8], entry: &Entry, old: &Entry, how: &Placement) -> io::Result<()> {
    describe_held(dir, name, entry, Some(old), how)
}

/// As [`describe`], if what stands there is in the state that `held` tells of. Returns what was found then, and nothing
/// when it is another one.
///
/// # Errors
/// As [`describe`].
pub fn describe_if(
    dir: &Dir,
    name: &[u8],
    entry: &Entry,
    held: &Stamp,
    how: &Placement,
) -> io::Result<Option<Entry>> {
    let holder = dir.hold(name)?;
    let node = Node::Path(holder.as_fd());
    let real = node.stat()?;
    if Stamp::of(&real) != *held {
        return Ok(None);
    }
    let old = found::read(node, &real, dir.style())?.entry;
    describe_node((node, &real), dir, entry, Some(&old), how)?;
    Ok(Some(old))
}

/// As [`describe`], of the directory itself: a Root has no name.
///
/// # Errors
/// As [`describe`].
pub fn describe_root(dir: &Dir, entry: &Entry, old: &Entry, how: &Placement) -> io::Result<()> {
    let node = Node::Path(dir.fd());
    describe_node((node, &node.stat()?), dir, entry, Some(old), how)
}

fn describe_held(
    dir: &Dir,
    name: &[u8],
    entry: &Entry,
    old: Option<&Entry>,
    how: &Placement,
) -> io::Result<()> {
    let held = dir.hold(name)?;
    let node = Node::Path(held.as_fd());
    describe_node((node, &node.stat()?), dir, entry, old, how)
}

fn describe_node(
    (node, real): (Node<'_>, &Stat),
    dir: &Dir,
    entry: &Entry,
    old: Option<&Entry>,
    how: &Placement,
) -> io::Result<()> {
    let faked = dir.style().fake_super && !entry.is_dir();
    let want = if faked { 0o100_000 } else { entry.kind.type_bits() };
    if real.st_mode & 0o170_000 != want {
        return Err(Errno::STALE.into());
    }
    meta::put((node, real), dir.style(), entry, old, how)
}

/// Removes a file, a symlink or a special file.
///
/// # Errors
/// `EISDIR` for a directory; as `unlink(2)` otherwise.
pub fn remove(dir: &Dir, name: &[u8]) -> io::Result<()> {
    displace(dir, name, Successor::Nothing)
}

/// Renames an entry, directory or not. What stands at the new name goes away, unless it is a directory.
///
/// # Errors
/// `EISDIR` when a directory stands at the new name; `ENOTDIR` when a directory is to take the place of something
/// else; as `rename(2)` otherwise.
pub fn rename(from_dir: &Dir, from: &[u8], to_dir: &Dir, to: &[u8]) -> io::Result<()> {
    match rename_anew(from_dir, from, to_dir, to) {
        Err(error) if is(&error, Errno::EXIST) => {}
        done => return done,
    }
    let (there, ours) = (to_dir.found(to)?, from_dir.found(from)?);
    if there.entry.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if (there.stat.dev, there.stat.ino) == (ours.stat.dev, ours.stat.ino) {
        // Two names of one file: rename(2) would do nothing and say that it did.
        return displace(from_dir, from, Successor::Nothing);
    }
    displace(to_dir, to, Successor::At(from_dir, from))
}

/// Has two entries change places, in one step. Nothing goes away.
///
/// # Errors
/// `EINVAL` where the file system cannot; as `renameat2(2)` otherwise.
pub fn exchange(one_dir: &Dir, one: &[u8], other_dir: &Dir, other: &[u8]) -> io::Result<()> {
    check(one);
    check(other);
    Ok(rustix::fs::renameat_with(one_dir.fd(), one, other_dir.fd(), other, RenameFlags::EXCHANGE)?)
}

/// Renames to a name that nothing has.
///
/// # Errors
/// `EEXIST` when something has it; as `renameat2(2)` otherwise.
pub(super) fn rename_anew(from_dir: &Dir, from: &[u8], to_dir: &Dir, to: &[u8]) -> io::Result<()> {
    check(from);
    check(to);
    match rustix::fs::renameat_with(from_dir.fd(), from, to_dir.fd(), to, RenameFlags::NOREPLACE) {
        // A file system without that flag (NFS): a second name, then the first goes. Not for directories.
        Err(Errno::INVAL) => {
            rustix::fs::linkat(from_dir.fd(), from, to_dir.fd(), to, AtFlags::empty())?;
            Ok(rustix::fs::unlinkat(from_dir.fd(), from, AtFlags::empty())?)
        }
        done => Ok(done?),
    }
}

/// Sets what stands at a name aside for a restore: it becomes `NAME.before-restore`, or `NAME.before-restore.2` and so
/// on where that is taken. Returns the new name.
///
/// # Errors
/// `ENAMETOOLONG` when the new name would be; as `renameat2(2)` otherwise.
pub fn keep_aside(dir: &Dir, name: &[u8]) -> io::Result<Vec<u8>> {
    let first = [name, b".before-restore"].concat();
    let numbered = |n: u32| [&first[..], b".", n.to_string().as_bytes()].concat();
    for aside in std::iter::once(first.clone()).chain((2..=KEPT_ASIDE_MAX).map(numbered)) {
        if aside.len() > limits::NAME_LEN {
            return Err(Errno::NAMETOOLONG.into());
        }
        match rename_anew(dir, name, dir, &aside) {
            Err(error) if is(&error, Errno::EXIST) => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(aside),
        }
    }
    Err(Errno::EXIST.into())
}

/// Older versions of one file that restores set aside. Somebody who keeps more has not looked at the first ones.
const KEPT_ASIDE_MAX: u32 = 1000;

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests;
