//! watcher: poll: what is remembered of a directory, 14 bytes a name besides the name itself.

use std::hash::{BuildHasher, Hash as _, Hasher as _, RandomState};
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Stat, Statx, StatxFlags};
use rustix::io::Errno;

/// A file whose last change is not older than this when it is looked at may change again without its times showing
/// it: the kernel's clock for them ticks every 1 to 10 ms. It is told once more by the next look.
const TICK: Duration = Duration::from_millis(20);

/// A time so far ahead is that of another host's clock and says nothing about ours.
const AHEAD: Duration = Duration::from_secs(2);

/// Stands for what cannot be looked at: it is told once, and again when it can.
const UNKNOWN: u64 = 1;

/// What stood at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) name: &'a [u8],
    pub(super) dir: bool,
    /// It may have changed since without showing it.
    pub(super) fresh: bool,
    /// Of everything that changes with it. A directory tells of itself when it is looked into: 0 here, so that what
    /// goes on in it is no change of the one above.
    pub(super) print: u64,
    /// Of what a rename leaves alone: inode and time of birth. 0 where the file system keeps none, since an inode number
    /// alone is given to the next file at once. Two things rarely share one: it is good for a hint.
    pub(super) id: u32,
}

/// The names of one directory, in the order of their bytes. Each is a length, flags, a print, an identity, and the name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows(Box<[u8]>);

const PRINT: usize = 2 + size_of::<u64>();
const HEAD: usize = PRINT + size_of::<u32>();
const DIR: u8 = 1;
const FRESH: u8 = 2;

impl Rows {
    /// Bytes that they take up.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Packs these, which are sorted first.
    pub(super) fn pack(mut rows: Vec<Row<'_>>) -> Self {
        rows.sort_unstable_by_key(|row| row.name);
        let mut packed = Vec::with_capacity(rows.iter().map(|row| HEAD + row.name.len()).sum());
        for Row { name, dir, fresh, print, id } in rows {
            // NAME_MAX of Linux is 255; nothing longer comes from getdents(2).
            let Ok(len) = u8::try_from(name.len()) else { continue };
            packed.extend([len, u8::from(dir) * DIR + u8::from(fresh) * FRESH]);
            packed.extend(print.to_ne_bytes());
            packed.extend(id.to_ne_bytes());
            packed.extend(name);
        }
        Self(packed.into())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_at_checked(HEAD)?;
            let (name, tail) = tail.split_at_checked(head[0].into())?;
            rest = tail;
            let print = u64::from_ne_bytes(head[2..PRINT].try_into().ok()?);
            let id = u32::from_ne_bytes(head[PRINT..].try_into().ok()?);
            Some(Row { name, dir: head[1] & DIR != 0, fresh: head[1] & FRESH != 0, print, id })
        })
    }

    /// Every name of either, with what stood there then and what stands there now.
    pub(super) fn beside<'a>(
        &'a self,
        now: &'a Self,
    ) -> impl Iterator<Item = (Option<Row<'a>>, Option<Row<'a>>)> {
        let (mut old, mut new) = (self.iter().peekable(), now.iter().peekable());
        std::iter::from_fn(move || match (old.peek(), new.peek()) {
            (None, None) => None,
            (Some(was), Some(is)) if was.name == is.name => Some((old.next(), new.next())),
            (Some(was), Some(is)) if was.name > is.name => Some((None, new.next())),
            (Some(_), _) => Some((old.next(), None)),
            (None, Some(_)) => Some((None, new.next())),
        })
    }
}

/// Makes prints. They mean nothing to another one.
#[derive(Debug, Default)]
pub(super) struct Printer {
    hasher: RandomState,
}

impl Printer {
    /// What stands at a name of a held directory; `None` when nothing does.
    pub(super) fn row<'a>(&self, dir: BorrowedFd<'_>, name: &'a [u8], now: SystemTime) -> Option<Row<'a>> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        match rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(found) => {
                let id = self.id(&found, now);
                let kind = FileType::from_raw_mode(found.stx_mode.into());
                Some(if kind == FileType::Directory {
                    Row { name, dir: true, fresh: false, print: 0, id }
                } else {
                    let fresh = is_fresh(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec, now);
                    Row { name, dir: false, fresh, print: self.print_found(&found), id }
                })
            }
            Err(Errno::NOENT) => None,
            Err(_) => Some(Row { name, dir: false, fresh: false, print: UNKNOWN, id: 0 }),
        }
    }

    /// A file born within the same tick as another that was removed may have its inode: such a one has none yet.
    fn id(&self, found: &Statx, now: SystemTime) -> u32 {
        let (dev, born) = ((found.stx_dev_major, found.stx_dev_minor), found.stx_btime);
        if found.stx_mask & StatxFlags::BTIME.bits() == 0 || is_fresh(born.tv_sec, born.tv_nsec, now) {
            return 0;
        }
        let hash = self.hasher.hash_one((dev, found.stx_ino, born.tv_sec, born.tv_nsec));
        // The lower half of a good hash is one; 0 has its own meaning.
        ((hash & u64::from(u32::MAX)) as u32).max(1)
    }

    fn print_found(&self, found: &Statx) -> u64 {
        let (changed, modified) = (found.stx_ctime, found.stx_mtime);
        self.hasher.hash_one((
            (
                found.stx_dev_major,
                found.stx_dev_minor,
                found.stx_ino,
                found.stx_mode,
                found.stx_uid,
                found.stx_gid,
            ),
            (found.stx_rdev_major, found.stx_rdev_minor, found.stx_size),
            (modified.tv_sec, modified.tv_nsec, changed.tv_sec, changed.tv_nsec),
        ))
    }

    /// Of a whole directory. Identities are no part of it: one that comes to be known is no change.
    pub(super) fn print_rows(&self, rows: &Rows) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        rows.iter().for_each(|row| (row.name, row.dir, row.fresh, row.print).hash(&mut hasher));
        hasher.finish()
    }

    /// Of a directory itself; of one that may have changed since without showing it, another each time.
    pub(super) fn print_dir(&self, stat: &Stat, now: SystemTime) -> u64 {
        #[allow(clippy::unnecessary_cast, reason = "integer widths of `struct stat` differ by machine")]
        let (sec, nsec) = (stat.st_ctime as i64, stat.st_ctime_nsec as u32);
        if is_fresh(sec, nsec, now) { self.hasher.hash_one(now) } else { self.print(stat) }
    }

    fn print(&self, stat: &Stat) -> u64 {
        self.hasher.hash_one((
            (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev),
            (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec),
        ))
    }
}

/// Whether what last changed at this time may change again without showing it.
fn is_fresh(sec: i64, nsec: u32, now: SystemTime) -> bool {
    let Ok(sec) = u64::try_from(sec) else { return false };
    let changed = UNIX_EPOCH + Duration::new(sec, nsec);
    changed + TICK >= now && changed <= now + AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &[u8], dir: bool, fresh: bool, print: u64) -> Row<'_> {
        Row { name, dir, fresh, print, id: print as u32 }
    }

    #[test]
    fn rows_come_back_sorted_and_whole() {
        let long = [0xff; 255];
        let rows =
            vec![row(&long, false, true, 7), row(b"\n", true, false, u64::MAX), row(b"a", true, true, 0)];
        let packed = Rows::pack(rows.clone());
        assert_eq!(packed.iter().collect::<Vec<_>>(), [rows[1], rows[2], rows[0]]);
        assert_eq!(Rows::default().iter().count(), 0);
    }

    #[test]
    fn two_looks_are_laid_side_by_side_name_by_name() {
        let of = |names: &[&'static str]| {
            Rows::pack(names.iter().map(|name| row(name.as_bytes(), false, false, 1)).collect())
        };
        let (then, now) = (of(&["a", "c", "d", "f"]), of(&["b", "c", "e", "f", "g"]));
        let text = |row: Option<Row<'_>>| row.map(|row| String::from_utf8_lossy(row.name).into_owned());
        let pairs: Vec<_> = then.beside(&now).map(|(was, is)| (text(was), text(is))).collect();
        let some = |name: &str| Some(name.to_owned());
        let want = [
            (some("a"), None),
            (None, some("b")),
            (some("c"), some("c")),
            (some("d"), None),
            (None, some("e")),
            (some("f"), some("f")),
            (None, some("g")),
        ];
        assert_eq!(pairs, want);
    }
}
