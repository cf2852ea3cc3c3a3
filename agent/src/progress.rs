//! `--progress`: a bar for the file that is moving on a terminal, rsync's plain lines elsewhere. Everything that a
//! run prints on standard output goes through here, so that no line is drawn into a bar.

use std::collections::HashSet;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use driftless_proto::limits;
use driftless_proto::model::path::RelPath;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::summary::grouped;

/// The bar: bytes, percent, rate and time left, as in the plain line, and a picture of it.
const BAR: &str = "{bytes:>15} {percent:>3}% {binary_bytes_per_sec:>12} {eta_precise} [{bar:30}]";

/// What moves, shown. Shared by the threads of a run. One file moves at a time, since a stream is read in order.
pub struct Progress {
    screen: Mutex<Screen>,
}

/// Where progress is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Not at all; lines only.
    Off,
    /// As lines.
    Plain,
    /// As lines, with a bar below them.
    Terminal,
}

struct Screen {
    mode: Mode,
    out: Box<dyn Write + Send>,
    current: Option<Current>,
    /// Files whose name has been printed and whose change has not been reported yet. As many as are in flight.
    named: HashSet<RelPath>,
    transferred_files: u64,
}

/// The file that is moving.
struct Current {
    size_bytes: u64,
    done_bytes: u64,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

impl Progress {
    /// On standard output. Unless `on`, only lines are printed.
    #[must_use]
    pub fn new(on: bool) -> Self {
        let out = std::io::stdout();
        let mode = match (on, out.is_terminal()) {
            (false, _) => Mode::Off,
            (true, true) => Mode::Terminal,
            (true, false) => Mode::Plain,
        };
        Self::on(mode, Box::new(out))
    }

    fn on(mode: Mode, out: Box<dyn Write + Send>) -> Self {
        Self {
            screen: Mutex::new(Screen {
                mode,
                out,
                current: None,
                named: HashSet::new(),
                transferred_files: 0,
            }),
        }
    }

    /// The content of a file begins to move, even if it is empty. One that began before and is not done is taken
    /// as given up.
    pub fn file_started(&self, path: &RelPath, size_bytes: u64) {
        let mut screen = self.screen();
        if screen.mode == Mode::Off {
            return;
        }
        screen.clear();
        screen.print(&path.to_string());
        screen.named.insert(path.clone());
        // A bar for what arrives in one piece would only flicker.
        let bar = screen.mode == Mode::Terminal && size_bytes > limits::INLINE_MAX;
        screen.current = Some(Current {
            size_bytes,
            done_bytes: 0,
            since: Instant::now(),
            bar: bar.then(|| new_bar(size_bytes)),
        });
    }

    /// This many more bytes of the file are at the receiver, whether they were sent or found there.
    pub fn advanced(&self, bytes: u64) {
        if let Some(current) = &mut self.screen().current {
            current.done_bytes = current.done_bytes.saturating_add(bytes);
            if let Some(bar) = &current.bar {
                bar.set_position(current.done_bytes);
            }
        }
    }

    /// The whole content of the file has moved.
    pub fn file_done(&self) {
        let mut screen = self.screen();
        let Some(current) = screen.current.take() else {
            return;
        };
        if let Some(bar) = &current.bar {
            bar.finish_and_clear();
        }
        screen.transferred_files += 1;
        let line = screen.done_line(current.size_bytes, current.since.elapsed());
        screen.print(&line);
    }

    /// Prints a line on standard output, above the bar if there is one.
    pub fn line(&self, text: &str) {
        self.screen().print(text);
    }

    /// Does something that writes to the terminal by another way, with the bar out of its way.
    pub fn aside(&self, write: impl FnOnce()) {
        match self.screen().bar() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Whether [`Progress::file_started`] printed this name and nobody has asked since.
    #[must_use]
    pub fn was_named(&self, path: &RelPath) -> bool {
        self.screen().named.remove(path)
    }

    /// Takes down what is left of a bar.
    pub fn finish(&self) {
        self.screen().clear();
    }

    /// A thread that panicked while printing must not silence the others.
    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen {
    fn bar(&self) -> Option<&ProgressBar> {
        self.current.as_ref()?.bar.as_ref()
    }

    fn clear(&mut self) {
        if let Some(Current { bar: Some(bar), .. }) = self.current.take() {
            bar.finish_and_clear();
        }
    }

    /// A reader that went away (`| head`) is no reason to stop copying.
    fn print(&mut self, text: &str) {
        let bar = self.current.as_ref().and_then(|current| current.bar.clone());
        let mut write = || writeln!(self.out, "{text}").and_then(|()| self.out.flush()).ok();
        match bar {
            Some(bar) => bar.suspend(&mut write),
            None => write(),
        };
    }

    /// rsync's line for a file that is done. `ir-chk` is its word for a list that is not complete: what differs is found
    /// while contents cross, so how many files are to come is never known before the last one.
    fn done_line(&self, size_bytes: u64, took: Duration) -> String {
        format!(
            "{:>15} 100% {} {} (xfr#{done}, ir-chk=0/{done})",
            grouped(size_bytes),
            rate(size_bytes, took),
            clock(took),
            done = self.transferred_files,
        )
    }
}

fn new_bar(size_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(size_bytes), ProgressDrawTarget::stdout());
    // The template is a constant that parses; were it wrong, the plain bar does as well.
    match ProgressStyle::with_template(BAR) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Seven places, two decimals, and the unit by 1024: `   1.43MB/s`. 0 for what took no time.
fn rate(bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let kilo = if seconds > 0.0 { bytes as f64 / 1024.0 / seconds } else { 0.0 };
    let (rate, unit) = if kilo > 1024.0 * 1024.0 {
        (kilo / 1024.0 / 1024.0, "GB/s")
    } else if kilo > 1024.0 {
        (kilo / 1024.0, "MB/s")
    } else {
        (kilo, "kB/s")
    };
    format!("{rate:7.2}{unit}")
}

/// Hours in four places, minutes and seconds.
fn clock(took: Duration) -> String {
    let seconds = took.as_secs();
    format!("{:4}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
pub(crate) mod tests;
