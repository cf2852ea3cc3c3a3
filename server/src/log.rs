//! The daemon's log: lines as rsync(1) writes them, `2026/11/22 07:33:50 [pid] text`, to the `log file` or to
//! standard error.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use driftless_proto::model::path::Escaped;

use crate::limits;
use crate::module::Module;
use crate::named;

/// Every log of the daemon: its own, and one for each `log file` that a module names.
///
/// A module's log gets what happens in the module; who was refused stands in the daemon's (`rsyncd.conf(5)`).
pub(crate) struct Logs {
    daemon: Log,
    modules: BTreeMap<PathBuf, Log>,
}

impl Logs {
    /// Opens all of them. A file that cannot be opened is no reason not to serve: its lines go to standard error, and
    /// the first of them says why.
    pub(crate) fn open<'a>(daemon: Option<&Path>, modules: impl Iterator<Item = &'a Module>) -> Self {
        let daemon_path = daemon;
        let daemon = Log::open_or_stderr(daemon);
        let modules = modules
            .filter_map(|module| module.log_file.as_deref())
            .filter(|path| Some(*path) != daemon_path)
            .map(|path| (path.to_owned(), Log::open_or_stderr(Some(path))))
            .collect();
        Self { daemon, modules }
    }

    /// A line for the daemon's log.
    pub(crate) fn daemon(&self, text: impl fmt::Display) {
        self.daemon.line(text);
    }

    /// A line about a transfer of this module.
    pub(crate) fn module(&self, module: &Module, text: impl fmt::Display) {
        let own = module.log_file.as_ref().and_then(|path| self.modules.get(path));
        own.unwrap_or(&self.daemon).line(text);
    }

    /// Opens every file anew, after logrotate(8) has moved them away. One that cannot be opened goes on as it was.
    pub(crate) fn reopen(&self) {
        for log in std::iter::once(&self.daemon).chain(self.modules.values()) {
            if let Err(error) = log.reopen() {
                self.daemon(format_args!("cannot reopen a log file: {error}"));
            }
        }
    }
}

/// One log.
struct Log {
    path: Option<PathBuf>,
    /// `None`: standard error.
    file: Mutex<Option<File>>,
}

impl Log {
    fn open_or_stderr(path: Option<&Path>) -> Self {
        let (file, error) = match path.map(named::append).transpose() {
            Ok(file) => (file, None),
            Err(error) => (None, Some(error)),
        };
        let log = Self { path: path.map(Path::to_owned), file: Mutex::new(file) };
        if let (Some(error), Some(path)) = (error, path) {
            log.line(format_args!(
                "cannot open log file {}: {error}; logging to standard error",
                path.display()
            ));
        }
        log
    }

    fn reopen(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = named::append(path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    /// Writes one line in one write: appends of several processes to one file then do not mix.
    fn line(&self, text: impl fmt::Display) {
        let line = render(&text);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match file.as_mut() {
            Some(file) => file.write_all(line.as_bytes()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        // A full disk under the log must not silence it; and when standard error is gone too, nobody listens.
        if written.is_err() {
            io::stderr().lock().write_all(line.as_bytes()).ok();
        }
    }
}

/// The whole line. Whatever a peer supplied to `text`, it stays one line: control characters are escaped.
fn render(text: &impl fmt::Display) -> String {
    let now = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
    let mut line = format!("{now} [{}] ", std::process::id());
    let mut text = text.to_string();
    if text.len() > limits::LOG_LINE_LEN {
        let border = (0..=limits::LOG_LINE_LEN).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(border.unwrap_or(0));
        text.push_str("...");
    }
    // Writing to a String cannot fail.
    writeln!(line, "{}", Escaped(text.as_bytes())).ok();
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rsyncs_form_and_cannot_be_forged() {
        let line = render(&"auth failed for x\n2026/01/01 00:00:00 [1] root logged in");
        let (stamp, rest) = line.split_at(19);
        let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000/00/00 00:00:00");
        assert!(
            rest.starts_with(&format!(" [{}] auth failed for x\\#0122026/01/01", std::process::id())),
            "{rest}"
        );
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = render(&"é".repeat(limits::LOG_LINE_LEN));
        assert!(line.len() < limits::LOG_LINE_LEN + 64 && line.ends_with("é...\n"));
    }

    #[test]
    fn a_rotated_log_goes_on_in_the_new_file() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        let logs = Logs::open(Some(&path), std::iter::empty());
        logs.daemon("one");
        rustix::fs::rename(&path, dir.path().join("log.1")).expect("rename");
        logs.reopen();
        logs.daemon("two");
        let text =
            |name| String::from_utf8(named::read(&dir.path().join(name)).expect("read").bytes).expect("text");
        assert!(text("log.1").ends_with("] one\n"));
        assert!(text("log").ends_with("] two\n"));
    }
}
