//! voice: how a watch speaks: on standard output and standard error, each line behind the name of its job where there are
//! several, and in a log file where one is named.
//!
//! Touches: the log file. Never: anything else on disk.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};

/// See the module. Clones speak into the same log file, whichever it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Voice {
    /// Before each line: `job code: `.
    prefix: String,
    log: Arc<Mutex<Option<LogFile>>>,
}

impl Voice {
    /// The same for one job.
    #[must_use]
    pub(crate) fn of(&self, job: &str) -> Self {
        Self { prefix: format!("job {job}: "), log: Arc::clone(&self.log) }
    }

    /// From now on speaks into this file too, or into none.
    ///
    /// # Errors
    /// When it cannot be opened; it goes on as it was.
    pub(crate) fn log_to(&self, file: Option<&Path>) -> io::Result<()> {
        let opened = file.map(LogFile::open).transpose()?;
        *self.lock() = opened;
        Ok(())
    }

    /// Opens the log file anew where it has been moved away.
    ///
    /// # Errors
    /// When it cannot be opened; it goes on as it was.
    pub(crate) fn follow_log(&self) -> io::Result<()> {
        self.lock().as_mut().map_or(Ok(()), LogFile::follow)
    }

    fn lock(&self) -> MutexGuard<'_, Option<LogFile>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line on standard output. `erase` stands before it there alone.
    pub(crate) fn say(&self, erase: &str, text: &str) {
        self.line(&mut io::stdout().lock(), erase, text);
    }

    /// A line on standard error, about something that is wrong.
    pub(crate) fn problem(&self, erase: &str, text: &str) {
        self.line(&mut io::stderr().lock(), &format!("{erase}driftless: "), text);
    }

    fn line(&self, out: &mut dyn Write, before: &str, text: &str) {
        // With nobody left to read there is nothing to be done about it. One write a line: other processes may write
        // to the same place.
        let line = format!("{before}{}{text}\n", self.prefix);
        let _closed = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        if let Some(log) = self.lock().as_mut() {
            log.line(&format!("{}{text}", self.prefix));
        }
    }
}

/// A log that logrotate(8) may move away: lines as the server writes them, `2026/11/22 07:33:50 [pid] text`.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens it to be appended to; made with mode 640 where missing.
    fn open(path: &Path) -> io::Result<Self> {
        let failed = |error| io::Error::other(format!("{}: {error}", path.display()));
        Ok(Self { path: path.to_owned(), file: append(path).map_err(failed)? })
    }

    /// Opens it anew once another file, or none, stands under its name.
    fn follow(&mut self) -> io::Result<()> {
        let stands = rustix::fs::stat(&self.path).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        let open = self.file.metadata()?;
        if stands != Some((open.dev(), open.ino())) {
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }

    fn line(&mut self, text: &str) {
        let time = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S");
        let line = format!("{time} [{}] {text}\n", std::process::id());
        // A full disk must not stop the copy; the line was said elsewhere as well.
        self.file.write_all(line.as_bytes()).ok();
    }
}

fn append(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o640))?.into())
}
