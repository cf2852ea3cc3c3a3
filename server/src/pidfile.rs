//! `pid file` of `rsyncd.conf(5)`: locked while the server runs, so that a second one does not start, and taken away
//! at its end.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// A pid file that is ours.
pub(crate) struct PidFile {
    path: PathBuf,
    _locked: File,
}

impl PidFile {
    /// Writes our pid. A symlink at the path is refused: as root we would write wherever it points (CVE-2026-53803).
    ///
    /// # Errors
    /// `WouldBlock` when a running server holds it; as `open(2)` otherwise.
    pub(crate) fn claim(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o644))?);
        rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == Errno::WOULDBLOCK {
                io::Error::new(io::ErrorKind::WouldBlock, "another server runs with it")
            } else {
                error.into()
            }
        })?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { path: path.to_owned(), _locked: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Left behind it does no harm: the lock is what counts.
        let _left = rustix::fs::unlink(&self.path);
    }
}
