//! What stands at a path.

use std::time::SystemTime;

/// A time as the file system keeps it: seconds since 1970-01-01 UTC (negative before) and nanoseconds below 10^9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds.
    pub sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nsec: u32,
}

impl Time {
    /// This time, cut down to what a file system with this granularity (in ns, at least 1) can keep.
    #[must_use]
    pub fn granular(self, ns: u32) -> Self {
        Self { sec: self.sec, nsec: self.nsec - self.nsec % ns.clamp(1, 1_000_000_000) }
    }
}

/// What a clock says. Before 1970 it is 1970: no clock that is right says so.
impl From<SystemTime> for Time {
    fn from(clock: SystemTime) -> Self {
        let since = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nsec: since.subsec_nanos() }
    }
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// What an entry is, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A block device.
    Block(Device),
    /// A character device.
    Char(Device),
    /// A directory.
    Dir,
    /// A named pipe.
    Fifo,
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A socket.
    Socket,
    /// A symbolic link.
    Symlink {
        /// Its exact text; 1 to [`crate::limits::TARGET_LEN`] bytes, no NUL. Never followed.
        target: Box<[u8]>,
    },
}

impl Kind {
    /// Whether both are the same kind of thing, whatever they hold.
    #[must_use]
    pub fn same_type(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The type bits of `st_mode` (`inode(7)`).
    #[must_use]
    pub fn type_bits(&self) -> u32 {
        match self {
            Self::Block(_) => 0o060_000,
            Self::Char(_) => 0o020_000,
            Self::Dir => 0o040_000,
            Self::Fifo => 0o010_000,
            Self::File { .. } => 0o100_000,
            Self::Socket => 0o140_000,
            Self::Symlink { .. } => 0o120_000,
        }
    }
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `st_mode & 0o7777`.
    pub mode: u32,
    /// Time of the last change of content.
    pub mtime: Time,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Entry {
    /// Whether this is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// Whether this is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    /// Length in bytes; 0 for everything but a regular file.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size } => size,
            _ => 0,
        }
    }

    /// Length in bytes as rsync(1) adds it up for its totals: of a regular file, and of the text of a symlink.
    #[must_use]
    pub fn counted_size(&self) -> u64 {
        match &self.kind {
            Kind::Symlink { target } => target.len() as u64,
            _ => self.size(),
        }
    }

    /// The ten characters of `ls -l`, as rsync's listing prints them.
    #[must_use]
    pub fn permissions(&self) -> String {
        let kind = match self.kind {
            Kind::Block(_) => 'b',
            Kind::Char(_) => 'c',
            Kind::Dir => 'd',
            Kind::Fifo => 'p',
            Kind::File { .. } => '-',
            Kind::Socket => 's',
            Kind::Symlink { .. } => 'l',
        };
        let mut text = String::from(kind);
        for (shift, special, on, off) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
        {
            let bits = self.mode >> shift;
            text.push(if bits & 4 == 0 { '-' } else { 'r' });
            text.push(if bits & 2 == 0 { '-' } else { 'w' });
            text.push(match (bits & 1 != 0, self.mode & special != 0) {
                (true, true) => on,
                (false, true) => off,
                (true, false) => 'x',
                (false, false) => '-',
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_like_ls() {
        let entry = |kind, mode| Entry { kind, mode, mtime: Time::default(), uid: 0, gid: 0 };
        assert_eq!(entry(Kind::Dir, 0o1777).permissions(), "drwxrwxrwt");
        assert_eq!(entry(Kind::File { size: 1 }, 0o4644).permissions(), "-rwSr--r--");
        assert_eq!(entry(Kind::File { size: 1 }, 0o2755).permissions(), "-rwxr-sr-x");
    }

    #[test]
    fn granularity_cuts_and_never_rounds_up() {
        let t = Time { sec: 5, nsec: 999_999_999 };
        assert_eq!(t.granular(1), t);
        assert_eq!(t.granular(1_000_000_000), Time { sec: 5, nsec: 0 });
        assert_eq!(t.granular(1000).nsec, 999_999_000);
    }
}
