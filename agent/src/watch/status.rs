//! What a watch shows: one line that is kept up to date on a terminal, log lines otherwise.

use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::desk::State;
use crate::voice::Voice;

/// The status line is drawn again at most this often.
const REDRAW: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Status {
    voice: Voice,
    terminal: bool,
    quiet: bool,
    drawn: Mutex<Option<Instant>>,
}

impl Status {
    /// `drawn`: whether the line is drawn at all, on a terminal.
    pub(super) fn new(voice: Voice, quiet: bool, drawn: bool) -> Self {
        let terminal = drawn && std::io::stdout().is_terminal() && !quiet;
        Self { voice, terminal, quiet, drawn: Mutex::new(None) }
    }

    /// A line for the log file alone: it is printed already, or nobody asked for it to be.
    pub(super) fn note(&self, text: &str) {
        self.voice.note(text);
    }

    /// A line that stays.
    pub(super) fn log(&self, text: &str) {
        if self.quiet {
            self.note(text);
        } else {
            self.voice.say(self.erase(), text);
        }
    }

    /// A line about something that is wrong, whatever the verbosity.
    pub(super) fn problem(&self, text: &str) {
        self.voice.problem(self.erase(), text);
    }

    /// What takes the status line away; it is drawn again when it is due.
    fn erase(&self) -> &'static str {
        *self.drawn.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.terminal { "\r\x1b[K" } else { "" }
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
        let pending = state.pending() + state.in_flight();
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
