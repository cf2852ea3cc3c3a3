//! stats: `driftless stats`, which is inotifywatch(1): counts events by watched path and prints a table at the end.
//! Under that name by a symlink it prints what inotifywatch 3.22.6 prints.
//!
//! * [`options`]: the command line.
//! * [`table`]: what is printed: no I/O.
//! * [`signals`]: SIGINT ends it, SIGUSR1 asks for the table so far.
//!
//! The watches are those of `events`.

mod options;
mod signals;
mod table;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Instant;

use rustix::io::Errno;

use crate::events::kernel::{Event, reason};
use crate::events::mask::Mask;
use crate::events::say::Say;
use crate::events::sources::Sources;
use crate::events::watching::{Next, Setup, Watching};
use crate::events::{self, FAILED, Face, OK};
use options::Options;
use signals::{Signals, Told};
use table::{Row, Table};

const SAY: Say = Say::Stderr;

/// Runs `driftless stats`. `args` come after the name or the command; `compat` is for a run under the name inotifywatch,
/// `program` what the user typed.
#[must_use]
pub fn run(program: &str, compat: bool, args: Vec<OsString>) -> u8 {
    let face = Face { program: program.to_owned(), compat };
    let bytes: Vec<_> = args.into_iter().map(OsString::into_vec).collect();
    match options::parse(&face, bytes, events::posix()) {
        Ok(options) => count(&options),
        Err(stop) => stop.say(&face, &options::help(&face)),
    }
}

fn count(options: &Options) -> u8 {
    let sources = Sources::gather(options.fromfile.as_deref(), options.operands.clone(), &SAY);
    if sources.watched.is_empty() {
        SAY.line("No files specified to watch!");
        return FAILED;
    }
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            SAY.line(format!("Listening for signals failed: {error}"));
            return FAILED;
        }
    };
    let setup = Setup {
        mask: options.events,
        recursive: options.recursive,
        follow: options.recursive,
        no_dereference: options.no_dereference,
        excluded: sources.excluded.clone(),
        filter: options.filter.clone(),
        prune: false,
        synthetic: false,
    };
    let mut watching = match Watching::new(setup) {
        Ok(watching) => watching,
        Err(error) => {
            events::say_no_instance(&SAY, error);
            return FAILED;
        }
    };
    if let Err(code) = establish(&mut watching, options, &sources) {
        return code;
    }
    signals.established();
    Counter { options, rows: HashMap::new() }.run(&mut watching, &signals)
}

/// Watches everything that was named.
fn establish(watching: &mut Watching, options: &Options, sources: &Sources) -> Result<(), u8> {
    SAY.line("Establishing watches...");
    let verbose = options.verbose && options.recursive;
    for root in &sources.watched {
        if verbose {
            SAY.about("Setting up watch(es) on ", root, "");
        }
        watching.add(root).map_err(|error| {
            if error == Errno::NOSPC {
                events::say_limit(&SAY, root);
            } else {
                SAY.about("Failed to watch ", root, &format!(": {}", reason(error)));
            }
            FAILED
        })?;
        if verbose {
            SAY.about("OK, ", root, " is now being watched.");
        }
    }
    watching.established();
    if options.verbose {
        SAY.line(format!("Total of {} watches.", watching.watches()));
    }
    SAY.line("Finished establishing watches, now collecting statistics.");
    if let Some(timeout) = options.timeout.filter(|_| options.verbose) {
        SAY.line(format!("Will listen for events for {} seconds.", timeout.as_secs()));
    }
    Ok(())
}

/// Counts events.
struct Counter<'a> {
    options: &'a Options,
    /// By watch. A row stays when its watch has ended.
    rows: HashMap<i32, Row>,
}

impl Counter<'_> {
    fn run(&mut self, watching: &mut Watching, signals: &Signals) -> u8 {
        let end = self.options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            // A busy tree never lets the wait below run out.
            if end.is_some_and(|end| end <= Instant::now()) {
                break;
            }
            match watching.next(end, Some(signals.wake())) {
                Ok(Next::Event(event)) => self.event(watching, &event),
                Ok(Next::TimedOut) => break,
                Ok(Next::Woken) => match signals.take() {
                    Some(Told::Stop) => break,
                    Some(Told::Show) => {
                        if let Err(code) = self.show(watching, "\n") {
                            return code;
                        }
                    }
                    None => {}
                },
                Err(error) => {
                    SAY.line(format!("Reading events failed: {error}"));
                    return FAILED;
                }
            }
        }
        self.show(watching, "").err().unwrap_or(OK)
    }

    fn event(&mut self, watching: &mut Watching, event: &Event) {
        if event.mask.intersects(Mask::Q_OVERFLOW) {
            watching.rescan();
            events::say_overflow(&SAY, watching.setup().follow);
            return;
        }
        let path = watching.path(event.wd).unwrap_or_default();
        if self.options.filter.passes(&[path, &event.name].concat()) {
            let row = self.rows.entry(event.wd).or_insert_with(|| Row::new(watching.order(event.wd)));
            path.clone_into(&mut row.path);
            row.count(event.mask);
        }
        if let Err((dir, error)) = watching.follow(event) {
            SAY.about("Couldn't watch new directory ", &dir, &format!(": {}", reason(error)));
        }
    }

    /// Prints the table, and this after it.
    fn show(&mut self, watching: &Watching, after: &str) -> Result<(), u8> {
        for (wd, path) in watching.all() {
            let row = self.rows.entry(wd).or_insert_with(|| Row::new(watching.order(wd)));
            path.clone_into(&mut row.path);
        }
        let table = Table {
            events: self.options.events,
            zero: self.options.zero,
            key: self.options.key,
            ascending: self.options.ascending,
        };
        let rows = self.rows.values();
        let mut text = if self.options.json { table.json(rows) } else { table.render(rows) };
        if text.is_empty() {
            SAY.line("No events occurred.");
        }
        // Objects are lines already, and nothing else.
        text.extend(if self.options.json { &[] } else { after.as_bytes() });
        let mut out = std::io::stdout();
        out.write_all(&text).and_then(|()| out.flush()).map_err(|error| {
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                return events::BROKEN_PIPE;
            }
            SAY.line(format!("Writing the table failed: {error}"));
            FAILED
        })
    }
}
