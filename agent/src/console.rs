//! What a run tells its operator: the roles' events on their way to the report.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use driftless_proto::model::change::{Action, Change};
use driftless_proto::model::counter::{ReceiverTotals, SenderTotals};
use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::Problem;
use driftless_proto::transfer::link::Ended;
use driftless_proto::transfer::observer::{Observer, UNSTABLE};

use crate::cli::Invocation;
use crate::connect::{self, ConnectError};
use crate::exit::Exit;
use crate::report::Report;
use crate::report::summary::Wire;

/// One run's voice.
pub struct Console {
    /// Where it speaks.
    pub report: Report,
    started: Instant,
    /// The reason for the exit code has been said in full.
    told: AtomicBool,
    restored: AtomicU64,
    kept: Mutex<Vec<(RelPath, RelPath)>>,
    failed: AtomicU64,
}

impl Console {
    /// For a run that begins now.
    #[must_use]
    pub fn new(invocation: &Invocation) -> Self {
        Self {
            report: Report::new(invocation),
            started: Instant::now(),
            told: AtomicBool::new(false),
            restored: AtomicU64::new(0),
            kept: Mutex::default(),
            failed: AtomicU64::new(0),
        }
    }

    /// Says why there is no stream, in one line, and how the run ends.
    pub fn refused(&self, error: &ConnectError) -> Exit {
        self.tell(error, error.exit())
    }

    /// Says in one line what ended the run and with which code.
    pub fn tell(&self, why: &dyn std::fmt::Display, exit: Exit) -> Exit {
        self.report.problem(&format!("{why} (code {})", exit.code()));
        self.told.store(true, Ordering::Relaxed);
        exit
    }

    /// Says how a run ended whose problems have been told one by one.
    pub fn last_line(&self, exit: Exit) {
        if let (false, Some(line)) = (self.told.load(Ordering::Relaxed), exit.last_line()) {
            // With standard error closed there is nobody left to tell.
            writeln!(std::io::stderr(), "{line}").ok();
        }
    }

    /// Prints the totals, or in one line why there are none, and says how the run ends.
    pub fn finish(&self, ended: Result<(SenderTotals, ReceiverTotals), Ended>, wire: Wire) -> Exit {
        let (sender, receiver) = match ended {
            Ok(totals) => totals,
            Err(ended) => {
                self.report.progress().finish();
                return self.tell(&ended, connect::exit_of(&ended));
            }
        };
        if receiver.deletions_skipped {
            self.report.note("IO error encountered -- skipping file deletion");
        }
        self.report.finish(&sender, &receiver, wire, self.started.elapsed());
        if receiver.disk_full > 0 {
            Exit::File
        } else if sender.problems + receiver.problems > 0 {
            Exit::Partial
        } else if sender.vanished > 0 {
            Exit::Vanished
        } else {
            Exit::Ok
        }
    }

    /// What a restore did: how much came back, what was kept beside, what failed.
    pub fn restore_report(&self) {
        let lock = |kept: &Mutex<Vec<_>>| kept.lock().map(|kept| kept.clone()).unwrap_or_default();
        for (path, kept) in lock(&self.kept) {
            self.report.note(&format!("kept: {path} as {kept}"));
        }
        self.report.note(&format!(
            "restored {} entries, kept {} beside what replaced them, {} failed",
            self.restored.load(Ordering::Relaxed),
            lock(&self.kept).len(),
            self.failed.load(Ordering::Relaxed),
        ));
    }
}

impl Observer for Console {
    fn file_started(&self, path: &RelPath, size: u64) {
        self.report.progress().file_started(path, size);
    }

    fn file_advanced(&self, bytes: u64) {
        self.report.progress().advanced(bytes);
    }

    fn file_done(&self) {
        self.report.progress().file_done();
    }

    fn changed(&self, change: &Change) {
        if matches!(change.action, Action::Created | Action::Updated(_)) {
            self.restored.fetch_add(1, Ordering::Relaxed);
        }
        self.report.change(change);
    }

    fn left_out(&self, paths: &[RelPath], more: u64) {
        for path in paths {
            self.report.note(&format!("skipping non-regular file \"{path}\""));
        }
        if more > 0 {
            self.report.note(&format!("skipping {more} non-regular files besides"));
        }
    }

    fn skipped_directory(&self, path: &RelPath) {
        let name = if path.is_root() { ".".into() } else { path.to_string() };
        self.report.note(&format!("skipping directory {name}"));
    }

    fn problem(&self, problem: &Problem) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.report.problem(&problem.to_string());
    }

    fn unstable(&self, path: &RelPath) {
        self.report.problem(&format!("{path}: {UNSTABLE}"));
    }

    fn kept_aside(&self, path: &RelPath, kept: &RelPath) {
        if let Ok(mut list) = self.kept.lock() {
            list.push((path.clone(), kept.clone()));
        }
    }
}
