//! What the operator sees of a run, in rsync's words and formats, so that scripts which read rsync read us.

pub mod names;
pub mod summary;

use std::io::Write;
use std::time::Duration;

use driftless_proto::model::change::Change;
use driftless_proto::model::counter::{ReceiverTotals, SenderTotals};
use driftless_proto::model::path::Escaped;

use crate::cli::{Command, Invocation};
use crate::progress::Progress;
use summary::Wire;

/// The operator's view of one run. Shared by the threads of the run; each call prints whole lines.
#[derive(Debug)]
pub struct Report {
    /// Name each change (`-v`).
    names: bool,
    quiet: bool,
    stats: bool,
    /// Print the two closing lines (`-v` or `--stats`).
    ending: bool,
    dry_run: bool,
    /// The first line.
    header: Option<&'static str>,
    progress: Progress,
}

impl Report {
    /// As the invocation asks for.
    #[must_use]
    pub fn new(invocation: &Invocation) -> Self {
        Self::with_progress(invocation, Progress::new(invocation.progress))
    }

    fn with_progress(invocation: &Invocation, progress: Progress) -> Self {
        let verbose = invocation.verbosity > 0;
        let header = match invocation.command {
            Command::Copy | Command::Push | Command::Watch => "sending incremental file list",
            Command::Pull | Command::Restore => "receiving incremental file list",
            Command::Modules => "",
        };
        let shown = (verbose || invocation.progress) && invocation.options.recursive && !header.is_empty();
        Self {
            names: verbose || invocation.progress,
            quiet: invocation.verbosity < 0,
            stats: invocation.stats,
            ending: verbose || invocation.stats,
            dry_run: invocation.options.dry_run,
            header: shown.then_some(header),
            progress,
        }
    }

    /// The first line of a run.
    pub fn begin(&self) {
        if let Some(header) = self.header {
            self.progress.line(header);
        }
    }

    /// The destination directory was made; `name` as the operator typed it.
    pub fn created_directory(&self, name: &[u8]) {
        if self.names {
            self.progress.line(&format!("created directory {}", Escaped(name)));
        }
    }

    /// A change was made, or would be in a dry run. A name that stands above its progress line already is not
    /// repeated.
    pub fn change(&self, change: &Change) {
        if !self.names || self.progress.was_named(&change.path) {
            return;
        }
        if let Some(line) = names::line(change) {
            self.progress.line(&line);
        }
    }

    /// Something the operator should know that is no failure, such as an entry that was skipped. Silent with `-q`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.progress.line(text);
        }
    }

    /// Something failed. Shown whatever the verbosity, on standard error.
    pub fn problem(&self, text: &str) {
        self.progress.aside(|| {
            // With standard error closed there is nobody left to tell.
            writeln!(std::io::stderr(), "driftless: {text}").ok();
        });
    }

    /// Totals, where asked for. The last thing on standard output.
    pub fn finish(&self, sender: &SenderTotals, receiver: &ReceiverTotals, wire: Wire, took: Duration) {
        self.progress.finish();
        if self.stats {
            self.progress.line("");
            self.progress.line(&summary::stats(sender, receiver, wire));
        }
        if self.ending {
            self.progress.line("");
            self.progress.line(&summary::ending(sender.size_bytes, wire, took, self.dry_run));
        }
    }

    /// Told by the role as it moves files.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

#[cfg(test)]
mod tests;
