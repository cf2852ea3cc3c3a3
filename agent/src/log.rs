//! log: the log file of a watch, beside what it prints. Lines are those of the server's log, which are rsync's:
//! `2026/11/22 07:33:50 [pid] text`, in local time.
//!
//! Whoever moves the file away (`logrotate(8)`) finds a new one at its name with the next line: nobody has to be told.
//!
//! Touches: the file that the operator named.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use driftless_proto::model::path::Escaped;
use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, stat};

/// Longest text of a line, in bytes: names in it are bounded, lists of them are not.
const TEXT_LEN: usize = 8192;

/// See the module.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Opens the file, or makes it, for its owner and group.
    ///
    /// # Errors
    /// When it cannot be opened; the message names it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // The working directory may be another one by the time it is opened anew.
        let path = std::path::absolute(path)?;
        let file = append(&path)?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Writes one line, in one write: appends of several processes to one file do not mix. Nothing is done about a full
    /// disk: what is logged is printed too.
    pub(crate) fn line(&self, text: &str) {
        let line = render(text);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_at(&file, &self.path) {
            // One that cannot be opened anew goes on where it is.
            if let Ok(new) = append(&self.path) {
                *file = new;
            }
        }
        file.write_all(line.as_bytes()).ok();
    }
}

fn append(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let file = rustix::fs::openat(CWD, path, flags, mode);
    file.map(File::from).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

/// Whether an open file is the one that has this name now.
fn is_at(file: &File, path: &Path) -> bool {
    let which = |stat: Stat| (stat.st_dev, stat.st_ino);
    matches!((fstat(file), stat(path)), (Ok(own), Ok(named)) if which(own) == which(named))
}

/// The whole line. Whatever names are in the text, it stays one line: control characters are escaped.
fn render(text: &str) -> String {
    let now = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S");
    let mut cut = text.len().min(TEXT_LEN);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let more = if cut < text.len() { "..." } else { "" };
    format!("{now} [{}] {}{more}\n", std::process::id(), Escaped(&text.as_bytes()[..cut]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_form_of_the_servers_and_cannot_be_forged() {
        let line = render("x\n2026/01/01 00:00:00 [1] all is well");
        let shape: String = line[..19].chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000/00/00 00:00:00");
        assert!(line[19..].starts_with(&format!(" [{}] x\\#0122026", std::process::id())), "{line}");
        assert_eq!(line.lines().count(), 1);
        assert!(render(&"\u{e9}".repeat(TEXT_LEN)).ends_with("\u{e9}...\n"));
    }
}
