//! events: the loop: watch, wait, tell.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::format::{Form, Record};
use super::kernel::{Event, reason};
use super::mask::Mask;
use super::options::Options;
use super::say::Say;
use super::sources::Sources;
use super::syslog::Syslog;
use super::watching::{Next, Setup, Watching};
use super::{ALL_GONE, BROKEN_PIPE, FAILED, Face, OK, TIMED_OUT, daemon};

/// Runs with these options to the end.
pub(super) fn run(face: &Face, options: Options) -> u8 {
    let detached = options.daemon && daemon::is_detached();
    let sources = Sources::gather(options.fromfile.as_deref(), options.operands.clone(), &Say::Stderr);
    if sources.watched.is_empty() {
        Say::Stderr.line("No files specified to watch!");
        return FAILED;
    }
    let Ok(out) = options.outfile.as_deref().map(outfile).transpose() else {
        let file = options.outfile.as_deref().unwrap_or_default();
        Say::Stderr.about("Failed to open output file ", file, "");
        return FAILED;
    };
    if options.daemon && !detached {
        return match daemon::detach(sources.stdin.as_deref()) {
            Ok(()) => OK,
            Err(error) => {
                Say::Stderr.line(format!("Failed to daemonize! {error}"));
                FAILED
            }
        };
    }
    let ident = if face.compat { "inotifywait" } else { "driftless" };
    let say = if options.syslog { Say::Syslog(Syslog::new(ident)) } else { Say::Stderr };
    let sink: Box<dyn io::Write> = match out {
        Some(file) => Box::new(file),
        None => Box::new(io::stdout()),
    };
    let mut watching = match Watching::new(setup(&options, &sources)) {
        Ok(watching) => watching,
        Err(error) => {
            super::say_no_instance(&say, error);
            return FAILED;
        }
    };
    match establish(&mut watching, &options, &sources, &say) {
        Ok(()) => {
            Teller { face, options: &options, say: &say, sink, text: Vec::new(), halves: VecDeque::new() }
                .run(&mut watching)
        }
        Err(code) => code,
    }
}

fn outfile(path: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

fn setup(options: &Options, sources: &Sources) -> Setup {
    // New directories are followed only where the run outlives its first event.
    let follow = options.recursive && options.monitor;
    let needed = if follow { Mask::CREATE | Mask::MOVE } else { Mask::default() };
    // Both halves, so that the second can say where it came from.
    let pairs =
        options.monitor && matches!(options.form, Form::Json) && options.events.intersects(Mask::MOVED_TO);
    let needed = if pairs { needed | Mask::MOVED_FROM } else { needed };
    Setup {
        mask: options.events | needed,
        recursive: options.recursive,
        follow,
        no_dereference: options.no_dereference,
        excluded: sources.excluded.clone(),
        filter: options.filter.clone(),
        prune: options.prune,
        synthetic: options.synthetic,
    }
}

/// Watches everything that was named.
fn establish(watching: &mut Watching, options: &Options, sources: &Sources, say: &Say) -> Result<(), u8> {
    if options.quiet == 0 {
        let beware = "  Beware: since -r was given, this may take a while!";
        say.line(format!("Setting up watches.{}", if options.recursive { beware } else { "" }));
    }
    for root in &sources.watched {
        watching.add(root).map_err(|error| {
            if error == Errno::NOSPC {
                super::say_limit(say, root);
            } else {
                say.about("Couldn't watch ", root, &format!(": {}", reason(error)));
            }
            FAILED
        })?;
    }
    watching.established();
    if options.quiet == 0 {
        say.line("Watches established.");
    }
    Ok(())
}

/// Tells events.
struct Teller<'a> {
    face: &'a Face,
    options: &'a Options,
    say: &'a Say,
    sink: Box<dyn io::Write>,
    /// What has been told and not been written yet.
    text: Vec<u8>,
    /// First halves of renames, oldest first: cookie and path. At most [`HALVES_MAX`].
    halves: VecDeque<(u32, Vec<u8>)>,
}

/// First halves that are kept for their second. The kernel queues both together, so one that waits behind so many
/// others has left what is watched.
const HALVES_MAX: usize = 256;

impl Teller<'_> {
    fn run(&mut self, watching: &mut Watching) -> u8 {
        // A day far off stands for a time that the clock cannot hold.
        let limit = || self.options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut end = limit();
        loop {
            if !watching.has_queued() {
                if let Err(code) = self.flush() {
                    return code;
                }
                if self.options.monitor && !self.face.compat && watching.watches() == 0 {
                    self.say.line("Nothing that was watched is there any more.");
                    return ALL_GONE;
                }
            }
            match watching.next(end, None) {
                Ok(Next::Event(event)) => {
                    // Any event counts, told or not.
                    end = limit();
                    let asked = self.event(watching, &event);
                    if let Some(asked) = asked.filter(|_| !self.options.monitor) {
                        return self.flush().err().unwrap_or(if asked { OK } else { FAILED });
                    }
                }
                Ok(Next::TimedOut) => return TIMED_OUT,
                Ok(Next::Woken) => {}
                Err(error) => {
                    self.say.line(format!("Reading events failed: {error}"));
                    return FAILED;
                }
            }
        }
    }

    /// Takes one event: whether it was asked for, or `None` where it does not count at all.
    fn event(&mut self, watching: &mut Watching, event: &Event) -> Option<bool> {
        let overflow = event.mask.intersects(Mask::Q_OVERFLOW);
        if overflow {
            watching.rescan();
            super::say_overflow(self.say, watching.setup().follow);
        }
        let told = watching.was_told(event);
        let watched = watching.path(event.wd).unwrap_or_default();
        let passes = overflow || self.options.filter.passes(&[watched, &event.name].concat());
        // Who asks for what a scan finds needs to know when it may not have found everything.
        let always = overflow && self.options.synthetic;
        let asked = always || event.mask.intersects(self.options.events);
        let from = if passes { self.first_half(watched, event) } else { None };
        if passes && asked && !told && self.options.quiet < 2 {
            let record = Record {
                watched,
                name: &event.name,
                mask: event.mask,
                cookie: event.cookie,
                time: event.time,
                from: from.as_deref(),
                synthetic: event.synthetic,
            };
            self.options.form.write(&record, self.options.print0, &mut self.text);
        }
        if let Err((dir, error)) = watching.follow(event) {
            self.say.about("Couldn't watch new directory ", &dir, &format!(": {}", reason(error)));
        }
        (passes && !told).then_some(asked)
    }

    /// Of the second half of a rename, what the first half was about.
    fn first_half(&mut self, watched: &[u8], event: &Event) -> Option<Vec<u8>> {
        if event.mask.intersects(Mask::MOVED_FROM) {
            if self.halves.len() == HALVES_MAX {
                self.halves.pop_front();
            }
            self.halves.push_back((event.cookie, [watched, &event.name].concat()));
        }
        if !event.mask.intersects(Mask::MOVED_TO) {
            return None;
        }
        let at = self.halves.iter().position(|(cookie, _)| *cookie == event.cookie)?;
        self.halves.remove(at).map(|(_, path)| path)
    }

    /// Writes what has been told.
    fn flush(&mut self) -> Result<(), u8> {
        let written = self.sink.write_all(&self.text).and_then(|()| self.sink.flush());
        self.text.clear();
        written.map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return BROKEN_PIPE;
            }
            self.say.line(format!("Writing events failed: {error}"));
            FAILED
        })
    }
}
