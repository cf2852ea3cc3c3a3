//! disk: rsync's fake-super form, in which an unprivileged server keeps owners, modes and special files.
//!
//! Owner, mode and device number are text in the attribute `user.rsync.%stat`; symlinks, devices, fifos and sockets
//! are regular files, a symlink's text being the content. The attribute is absent where the file itself already has
//! the owner and mode that are meant. Trees of a stock rsync daemon are read and written alike (rsync(1),
//! `--fake-super`; the form itself is taken from what rsync 3.5.0 writes).

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::found::is_link_text;
use super::meta::Node;
use crate::limits;
use crate::model::entry::{Device, Entry, Kind};

/// The attribute's name.
pub(super) const ATTRIBUTE: &str = "user.rsync.%stat";

/// What rsync puts before a link text under `munge symlinks`, so that the link leads nowhere while it lies there.
const MUNGED: &[u8] = b"/rsyncd-munged/";

/// Longest text of the attribute: a 32-bit mode in octal, and four 32-bit numbers, with room to spare.
const TEXT_LEN: usize = 128;

/// What a file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meant {
    /// Type and permission bits (`st_mode`).
    pub mode: u32,
    /// Device number; 0,0 where it is not a device.
    pub device: Device,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Meant {
    /// What an entry of this kind, mode and owner is stored as.
    #[must_use]
    pub fn new(kind: &Kind, mode: u32, uid: u32, gid: u32) -> Self {
        let device = match kind {
            Kind::Block(device) | Kind::Char(device) => *device,
            _ => Device { major: 0, minor: 0 },
        };
        Self { mode: kind.type_bits() | mode, device, uid, gid }
    }

    /// From the attribute's text: `mode major,minor uid:gid`, the mode in octal. `None` when it is not of that form.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
        let mode = u32::from_str_radix(parts.next()?, 8).ok()?;
        let (major, minor) = parts.next()?.split_once(',')?;
        let (uid, gid) = parts.next()?.split_once(':')?;
        let device = Device { major: major.parse().ok()?, minor: minor.parse().ok()? };
        let meant = Self { mode, device, uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        parts.next().is_none().then_some(meant)
    }

    /// The attribute's text, to the byte as rsync writes it.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { mode, device: Device { major, minor }, uid, gid } = self;
        format!("{mode:o} {major},{minor} {uid}:{gid}")
    }

    /// The mode its file really has: what it may not carry is taken off (setuid, setgid, sticky), and the owner can
    /// always read and write it.
    #[must_use]
    pub fn real_mode(&self) -> u32 {
        let owner = if self.file_type() == FileType::Directory { 0o700 } else { 0o600 };
        self.mode & 0o777 | owner
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether a file of this real owner says the same without the attribute, once it has [`Meant::real_mode`].
    pub(super) fn needs_no_text(&self, real_uid: u32, real_gid: u32) -> bool {
        matches!(self.file_type(), FileType::RegularFile | FileType::Directory)
            && self.mode & 0o7777 == self.real_mode()
            && (self.uid, self.gid) == (real_uid, real_gid)
    }
}

/// The content of the regular file that an entry is stored as: the exact text of a symlink, nothing for the others.
pub(super) fn content(entry: &Entry) -> &[u8] {
    match &entry.kind {
        Kind::Symlink { target } => target,
        _ => &[],
    }
}

/// What the file at a name stands for; `None` without the attribute, or with one that is no such text.
pub(super) fn read_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Meant>> {
    // No call takes a directory and a name here before Linux 6.13. The magic link leads to the held directory
    // itself, and the final name is not followed.
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut text = [0; TEXT_LEN];
    read(rustix::fs::lgetxattr(path, ATTRIBUTE, &mut text[..]), &text)
}

/// What a held file stands for; as [`read_at`].
pub(super) fn read_node(node: Node<'_>) -> io::Result<Option<Meant>> {
    let mut text = [0; TEXT_LEN];
    let len = match node {
        Node::Open(fd) => rustix::fs::fgetxattr(fd, ATTRIBUTE, &mut text[..]),
        Node::Path(fd) => rustix::fs::getxattr(super::meta::proc_path(fd), ATTRIBUTE, &mut text[..]),
    };
    read(len, &text)
}

fn read(len: Result<usize, Errno>, text: &[u8]) -> io::Result<Option<Meant>> {
    match len {
        Ok(len) => Ok(Meant::parse(&text[..len])),
        // Unreadable for us: whoever opens the file will say so. Too long: not rsync's.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM | Errno::RANGE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The symlink text in the file at a name, without rsync's munging; `None` when it can be none.
pub(super) fn link_text_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Box<[u8]>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    read_link_text(fd.into())
}

/// The symlink text in a held file; as [`link_text_at`].
pub(super) fn link_text(node: Node<'_>) -> io::Result<Option<Box<[u8]>>> {
    let path = super::meta::proc_path(node.fd());
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    read_link_text(fd.into())
}

fn read_link_text(file: std::fs::File) -> io::Result<Option<Box<[u8]>>> {
    let mut text = Vec::new();
    let most = limits::TARGET_LEN + MUNGED.len() + 1;
    file.take(most as u64).read_to_end(&mut text)?;
    let text = text.strip_prefix(MUNGED).unwrap_or(&text);
    Ok(is_link_text(text).then(|| text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Each text was written by rsync 3.5.0.
    #[test]
    fn the_text_is_rsyncs_both_ways() {
        let no_device = Device { major: 0, minor: 0 };
        for (text, mode, device, real_mode) in [
            ("104751 0,0 1234:5678", 0o104_751, no_device, 0o751),
            ("100400 0,0 1234:5678", 0o100_400, no_device, 0o600),
            ("40500 0,0 1234:5678", 0o040_500, no_device, 0o700),
            ("120777 0,0 1234:5678", 0o120_777, no_device, 0o777),
            ("20644 1,3 1234:5678", 0o020_644, Device { major: 1, minor: 3 }, 0o644),
            ("140755 0,0 1234:5678", 0o140_755, no_device, 0o755),
        ] {
            let meant = Meant { mode, device, uid: 1234, gid: 5678 };
            assert_eq!(Meant::parse(text.as_bytes()), Some(meant));
            assert_eq!(meant.text(), text);
            assert_eq!(meant.real_mode(), real_mode, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_claim() {
        for text in
            ["", "100644", "100644 0,0", "100644 0,0 1", "9 0,0 1:1", "100644 0,0 1:1 x", "100644 0,0 -1:1"]
        {
            assert_eq!(Meant::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_attribute_is_needed_unless_the_file_says_it_all() {
        let file = Kind::File { size: 0 };
        for (kind, mode, uid, want) in [
            (&file, 0o644, 7, true),
            (&file, 0o444, 7, false),
            (&file, 0o4755, 7, false),
            (&file, 0o644, 8, false),
            (&Kind::Dir, 0o755, 7, true),
            (&Kind::Dir, 0o1755, 7, false),
            (&Kind::Fifo, 0o644, 7, false),
        ] {
            assert_eq!(Meant::new(kind, mode, uid, 7).needs_no_text(7, 7), want, "{kind:?} {mode:o} {uid}");
        }
    }
}
