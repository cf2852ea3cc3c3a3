//! What a watch shows: one line that is kept up to date on a terminal, log lines otherwise.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::desk::State;
use crate::log::Log;

/// The status line is drawn again at most this often.
const REDRAW: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Status {
    terminal: bool,
    quiet: bool,
    drawn: Mutex<Option<Instant>>,
    /// Gets every line that stays, whatever the verbosity.
    file: Option<Log>,
}

impl Status {
    pub(super) fn new(quiet: bool) -> Self {
        let terminal = std::io::stdout().is_terminal() && !quiet;
        Self { terminal, quiet, drawn: Mutex::new(None), file: None }
    }

    /// Logs to this file too.
    pub(super) fn with_file(self, file: Option<Log>) -> Self {
        Self { file, ..self }
    }

    /// A line for the log file alone: it is printed already, or nobody asked for it to be.
    pub(super) fn note(&self, text: &str) {
        if let Some(file) = &self.file {
            file.line(text);
        }
    }

    /// A line that stays.
    pub(super) fn log(&self, text: &str) {
        self.note(text);
        if !self.quiet {
            self.line(&mut std::io::stdout().lock(), text);
        }
    }

    /// A line about something that is wrong, whatever the verbosity.
    pub(super) fn problem(&self, text: &str) {
        self.note(text);
        self.line(&mut std::io::stderr().lock(), &format!("driftless: {text}"));
    }

    fn line(&self, out: &mut dyn Write, text: &str) {
        let erase = if self.terminal { "\r\x1b[K" } else { "" };
        // With nobody left to read there is nothing to be done about it.
        let _closed = writeln!(out, "{erase}{text}").and_then(|()| out.flush());
        *self.drawn.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The status line, when it is time to draw it anew; never but on a terminal.
    pub(super) fn due(&self, state: &State) -> Option<String> {
        if !self.terminal {
            return None;
        }
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.is_some_and(|at| at.elapsed() < REDRAW) {
            return None;
        }
        *drawn = Some(Instant::now());
        let pending = state.pending.len() + state.in_flight();
        let lag = state.oldest().map_or(0.0, |since| since.elapsed().as_secs_f64());
        let ack =
            state.last_ack.map_or("never".into(), |at| format!("{:.0} s ago", at.elapsed().as_secs_f64()));
        Some(format!("pending {pending}, lag {lag:.1} s, last ack {ack}"))
    }

    /// Draws the status line. Not under the desk's lock: a terminal may be stopped.
    pub(super) fn draw(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        let _closed = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
    }
}
