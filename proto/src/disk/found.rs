//! disk: what was found at a name, and how it is read, for real or in fake-super form.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Stat, StatxFlags};
use rustix::io::Errno;

use super::fake;
use super::meta::Node;
use super::root::Style;
use crate::limits;
use crate::model::entry::{Device, Entry, Kind, Time};

/// What stands at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As it is meant: under fake super, what the file stands for.
    pub entry: Entry,
    /// As it lies on disk.
    pub stat: Stamp,
}

/// What tells one state of a file from another: two equal stamps of a file mean that it has not changed in between.
///
/// The limit of that: a write within the same tick of the kernel's clock (at most 10 ms) as the last one before the
/// first stamp leaves the times as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Names it has.
    pub nlink: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of content, metadata or names.
    pub ctime: Time,
}

// The kernel's structure has other integer widths on other machines; these conversions lose nothing on any of them.
#[allow(clippy::unnecessary_cast, reason = "integer widths of `struct stat` differ by machine")]
impl Stamp {
    /// Of an open file, now.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub fn of_file(file: &std::fs::File) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }

    /// Whether the file was left alone long enough before now that a write of this very moment would show. To be asked
    /// when the stamp is taken, before the file is read.
    #[must_use]
    pub fn is_rested(&self) -> bool {
        age(self.ctime) >= REST
    }

    /// The stamp as it is to be compared with later; to be asked for when the stamp is taken, before the file is read.
    /// A file that changed right before may change again within the same tick and keep its times: its stamp is made to
    /// equal none.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { ctime: if self.is_rested() { self.ctime } else { Time::default() }, ..self }
    }

    /// Whether what is found `now` is what this lasting stamp was taken of; `None` where the stamp was too fresh to tell.
    #[must_use]
    pub fn tells(&self, now: &Self) -> Option<bool> {
        let fresh = self.ctime == Time::default();
        if fresh && *self == (Self { ctime: self.ctime, ..*now }) { None } else { Some(self == now) }
    }

    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            nlink: stat.st_nlink as u64,
            size: stat.st_size as u64,
            mtime: Time { sec: stat.st_mtime as i64, nsec: stat.st_mtime_nsec as u32 },
            ctime: Time { sec: stat.st_ctime as i64, nsec: stat.st_ctime_nsec as u32 },
        }
    }
}

/// Longer than two ticks of the kernel's clock.
const REST: Duration = Duration::from_millis(20);

/// How long ago a time was; nothing for one that is yet to come.
#[must_use]
pub fn age(time: Time) -> Duration {
    let since = Duration::new(u64::try_from(time.sec).unwrap_or(0), time.nsec);
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(since)
}

/// What stays with a file however its names, content and metadata change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inode {
    /// Inode number.
    pub ino: u64,
    /// When it was made; `None` where the file system does not keep it. With the number it names one file for good:
    /// a number alone is given out again.
    pub born: Option<Time>,
    /// Which mount it was reached through; `None` before Linux 5.8. Means nothing after a reboot.
    pub mount: Option<u64>,
}

/// The inode at a name, or the held directory itself for no name. Nothing is followed and nothing is mounted.
pub(super) fn inode(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Inode> {
    let at = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let at = if name.is_empty() { at | AtFlags::EMPTY_PATH } else { at };
    let wanted = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::MNT_ID;
    let statx = rustix::fs::statx(dir, name, at, wanted)?;
    let has = |flag: StatxFlags| statx.stx_mask & flag.bits() != 0;
    let born = Time { sec: statx.stx_btime.tv_sec, nsec: statx.stx_btime.tv_nsec };
    Ok(Inode {
        ino: statx.stx_ino,
        born: has(StatxFlags::BTIME).then_some(born),
        mount: has(StatxFlags::MNT_ID).then_some(statx.stx_mnt_id),
    })
}

/// Times a name is looked at again because it changed between two calls. Nobody changes one so fast for so long
/// but to annoy us.
const TRIES: u32 = 16;

/// What stands at a single name in a held directory. Nothing is followed, and only fake symlinks are opened.
pub(super) fn at(dir: BorrowedFd<'_>, name: &[u8], style: Style) -> io::Result<Found> {
    for _ in 0..TRIES {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => match rustix::fs::readlinkat(dir, name, Vec::new()) {
                Ok(target) => return found(&stat, Kind::Symlink { target: target.into_bytes().into() }),
                // No longer a link.
                Err(Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            },
            FileType::RegularFile | FileType::Directory if style.fake_super => {
                let Some(meant) = fake::read_at(dir, name)? else { return plain(&stat) };
                return fake_found(&stat, &meant, || fake::link_text_at(dir, name));
            }
            _ => return plain(&stat),
        }
    }
    Err(Errno::AGAIN.into())
}

/// What a held file is.
pub(super) fn of(node: Node<'_>, style: Style) -> io::Result<Found> {
    read(node, &node.stat()?, style)
}

/// As [`of`], of a file that lies on disk as `stat`.
pub(super) fn read(node: Node<'_>, stat: &Stat, style: Style) -> io::Result<Found> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => found(stat, Kind::Symlink { target: node.link_text()? }),
        FileType::RegularFile | FileType::Directory if style.fake_super => {
            let Some(meant) = node.fake()? else { return plain(stat) };
            fake_found(stat, &meant, || fake::link_text(node))
        }
        _ => plain(stat),
    }
}

/// As `stat` says it; symlinks excepted, whose text it does not hold.
fn plain(stat: &Stat) -> io::Result<Found> {
    let stamp = Stamp::of(stat);
    let device = Device { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File { size: stamp.size },
        FileType::Directory => Kind::Dir,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::Char(device),
        FileType::BlockDevice => Kind::Block(device),
        FileType::Symlink | FileType::Unknown => return Err(Errno::INVAL.into()),
    };
    found(stat, kind)
}

fn found(stat: &Stat, kind: Kind) -> io::Result<Found> {
    if matches!(&kind, Kind::Symlink { target } if !is_link_text(target)) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "symlink without a text"));
    }
    let stamp = Stamp::of(stat);
    let entry =
        Entry { kind, mode: stat.st_mode & 0o7777, mtime: stamp.mtime, uid: stat.st_uid, gid: stat.st_gid };
    Ok(Found { entry, stat: stamp })
}

/// What a file under fake super stands for. A claim that cannot be true (a directory that says it is a file, a
/// symlink without a text) is no claim: the file is then what it is, so that it can be seen, mended and removed.
fn fake_found(
    stat: &Stat,
    meant: &fake::Meant,
    link_text: impl FnOnce() -> io::Result<Option<Box<[u8]>>>,
) -> io::Result<Found> {
    let real_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let size = Stamp::of(stat).size;
    let kind = match meant.file_type() {
        FileType::Directory if real_dir => Kind::Dir,
        FileType::Directory => return plain(stat),
        _ if real_dir => return plain(stat),
        FileType::RegularFile => Kind::File { size },
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::Char(meant.device),
        FileType::BlockDevice => Kind::Block(meant.device),
        FileType::Symlink => match link_text()? {
            Some(target) => Kind::Symlink { target },
            None => return plain(stat),
        },
        FileType::Unknown => return plain(stat),
    };
    let stamp = Stamp::of(stat);
    let entry = Entry { kind, mode: meant.mode & 0o7777, mtime: stamp.mtime, uid: meant.uid, gid: meant.gid };
    Ok(Found { entry, stat: stamp })
}

/// Whether this can be the text of a symlink (`symlink(2)`).
pub(super) fn is_link_text(text: &[u8]) -> bool {
    (1..=limits::TARGET_LEN).contains(&text.len()) && !text.contains(&0)
}
