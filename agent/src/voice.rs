//! voice: how a watch speaks: on standard output and standard error, each line behind the name of its job where there are
//! several, and in a log file where one is named.
//!
//! Touches: the log file. Never: anything else on disk.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::Log;

/// See the module. Clones speak into the same log file, whichever it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Voice {
    /// Before each line: `job code: `.
    prefix: String,
    log: Arc<Mutex<Option<Log>>>,
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
        let opened = file.map(Log::open).transpose()?;
        *self.lock() = opened;
        Ok(())
    }

    /// A line for the log file alone.
    pub(crate) fn note(&self, text: &str) {
        if let Some(log) = self.lock().as_ref() {
            log.line(&format!("{}{text}", self.prefix));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Log>> {
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
        self.note(text);
    }
}
