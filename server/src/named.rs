//! The few files that an operator names: config, secrets, certificates, keys, logs, state.
//!
//! They lie in no module, so no [`Root`](driftless_proto::disk) holds them. Still nobody else may redirect them: the way
//! to each is walked one held directory at a time, and a symlink on it counts only if root or we ourselves made it
//! (CVE-2026-53802 and CVE-2026-53803 were planted links). What was opened is judged by its descriptor, never by its
//! name again.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, PROC_SUPER_MAGIC, Stat, Uid};
use rustix::io::Errno;

use crate::limits;

/// Where a file is, or will be: the directory that holds it, opened, and its name there.
///
/// Invariant: `leaf` was no symlink when it was looked at, and is opened with `O_NOFOLLOW`; the one exception is a
/// magic link of procfs (`/dev/stdout`, `/dev/fd/63`), which only the kernel makes.
pub(crate) struct Place {
    dir: OwnedFd,
    leaf: OsString,
    magic: bool,
}

/// A file that was read whole, and what its descriptor said of it.
pub(crate) struct Contents {
    /// All of it, at most [`limits::NAMED_FILE_LEN`] bytes.
    pub(crate) bytes: Vec<u8>,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}

/// Reads a regular file, or a pipe that the shell made (`--config <(...)`).
///
/// # Errors
/// Whatever the kernel says; a foreign symlink on the way; a directory or device; a file that is too long.
pub(crate) fn read(path: &Path) -> io::Result<Contents> {
    Place::find(path)?.read()
}

/// Opens a log to append to, and makes it (mode 640) if there is none.
///
/// # Errors
/// As [`read`].
pub(crate) fn append(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY;
    Place::find(path)?.open(flags, Mode::from_raw_mode(0o640))
}

/// Opens a directory, and makes it and what is missing above it, for us alone (mode 700).
///
/// # Errors
/// As [`read`]; and when others may write to it: they could replace what we keep there.
pub(crate) fn private_folder(path: &Path) -> io::Result<OwnedFd> {
    let mut above: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
    above.reverse();
    for folder in above {
        let place = Place::find(folder)?;
        match rustix::fs::mkdirat(&place.dir, &place.leaf, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let folder: OwnedFd = Place::find(path)?.open(OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?.into();
    let stat = rustix::fs::fstat(&folder)?;
    if !ours(&stat) || stat.st_mode & 0o022 != 0 {
        return Err(io::Error::other("other users may write to this directory"));
    }
    Ok(folder)
}

impl Place {
    /// Walks to the directory that holds `path`. The file itself need not exist.
    ///
    /// # Errors
    /// A directory on the way is missing or closed to us, or a symlink on it is somebody else's.
    pub(crate) fn find(path: &Path) -> io::Result<Self> {
        let mut way = Way::start(path)?;
        let mut links = 0;
        while let Some(name) = way.rest.pop_front() {
            let last = way.rest.is_empty();
            let fd = match open_here(&way.dir, &name, OFlags::PATH, Mode::empty()) {
                Err(Errno::NOENT) if last => return Ok(way.stop(name, false)),
                other => other?,
            };
            let stat = rustix::fs::fstat(&fd)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                if last {
                    return Ok(way.stop(name, false));
                }
                way.dir = fd;
                continue;
            }
            links += 1;
            if links > limits::LINKS_FOLLOWED {
                return Err(Errno::LOOP.into());
            }
            if !ours(&stat) {
                let text =
                    format!("the symlink {} on its path belongs to another user", Path::new(&name).display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            // Its text is no path ("pipe:[7]"): only the kernel can follow it.
            if last && rustix::fs::fstatfs(&fd)?.f_type == PROC_SUPER_MAGIC {
                return Ok(way.stop(name, true));
            }
            way.turn(&fd)?;
        }
        Ok(way.stop(OsString::from("."), false))
    }

    /// Reads it whole; see [`read`].
    pub(crate) fn read(&self) -> io::Result<Contents> {
        // Without O_NONBLOCK the open of a fifo would wait for its writer before we could refuse it.
        let mut file = self.open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Fifo => rustix::fs::fcntl_setfl(&file, OFlags::empty())?,
            FileType::Directory => return Err(Errno::ISDIR.into()),
            _ => return Err(io::Error::other("not a regular file")),
        }
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(limits::NAMED_FILE_LEN + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limits::NAMED_FILE_LEN {
            return Err(Errno::FBIG.into());
        }
        Ok(Contents { bytes, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid })
    }

    /// Puts `content` here in one step: whoever looks, even after a crash, finds the old file or the new one. The owner
    /// is set only where it is not ours already.
    ///
    /// # Errors
    /// Whatever the kernel says; the old file then still stands.
    pub(crate) fn replace(&self, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
        if self.magic {
            return Err(io::Error::other("not a regular file"));
        }
        let suffix = getrandom::u64().map_err(io::Error::other)?;
        let temp = format!(".driftlessd-{suffix:016x}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let fd = open_here(&self.dir, OsStr::new(&temp), flags, Mode::RUSR | Mode::WUSR)?;
        let landed = fill(fd, content, mode, owner)
            .and_then(|()| Ok(rustix::fs::renameat(&self.dir, &temp, &self.dir, &self.leaf)?));
        if let Err(error) = landed {
            // The first error is the one to tell; a temp file left behind does no harm.
            rustix::fs::unlinkat(&self.dir, &temp, AtFlags::empty()).ok();
            return Err(error);
        }
        let dir = open_here(&self.dir, OsStr::new("."), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(rustix::fs::fsync(dir)?)
    }

    /// Opens the file itself, not following a link that took its place since.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub(crate) fn open(&self, flags: OFlags, mode: Mode) -> io::Result<File> {
        if self.magic {
            let flags = flags | OFlags::CLOEXEC;
            return Ok(rustix::fs::openat(&self.dir, &self.leaf, flags, mode)?.into());
        }
        Ok(open_here(&self.dir, &self.leaf, flags, mode)?.into())
    }
}

/// A walk that has come as far as `dir` and has `rest` before it.
struct Way {
    dir: OwnedFd,
    rest: VecDeque<OsString>,
}

impl Way {
    fn start(path: &Path) -> io::Result<Self> {
        let from = if path.is_absolute() { "/" } else { "." };
        let dir = open_here(rustix::fs::CWD, OsStr::new(from), OFlags::PATH, Mode::empty())?;
        Ok(Self { dir, rest: names(path).collect() })
    }

    /// Goes on where the symlink points to.
    fn turn(&mut self, link: &OwnedFd) -> io::Result<()> {
        let text = rustix::fs::readlinkat(link, "", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(text.into_bytes()));
        if target.is_absolute() {
            self.dir = open_here(rustix::fs::CWD, OsStr::new("/"), OFlags::PATH, Mode::empty())?;
        }
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            self.rest.push_front(name);
        }
        Ok(())
    }

    fn stop(self, leaf: OsString, magic: bool) -> Place {
        Place { dir: self.dir, leaf, magic }
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

fn open_here(dir: impl std::os::fd::AsFd, name: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)
}

fn ours(stat: &Stat) -> bool {
    stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw()
}

fn fill(fd: OwnedFd, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = File::from(fd);
    file.write_all(content)?;
    if let Some((uid, gid)) = owner {
        let stat = rustix::fs::fstat(&file)?;
        if (stat.st_uid, stat.st_gid) != (uid, gid) {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
