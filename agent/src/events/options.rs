//! events: the options of inotifywait(1), and ours.

use std::time::Duration;

use super::filter::{Filter, Patterns};
use super::format::{self, FORMAT_LEN_MAX, Form};
use super::getopt::{Getopt, Known};
use super::mask::{self, Mask};
use super::say::Say;
use super::{Face, Stop};

/// Everything the command line said.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) monitor: bool,
    /// Implies `monitor` and `syslog`; `outfile` is given.
    pub(crate) daemon: bool,
    pub(crate) syslog: bool,
    pub(crate) recursive: bool,
    pub(crate) no_dereference: bool,
    /// How often `-q` was given: once leaves out what is only information, twice the events too.
    pub(crate) quiet: u8,
    /// What is told; never empty.
    pub(crate) events: Mask,
    /// How long nothing may happen; `None` for ever.
    pub(crate) timeout: Option<Duration>,
    pub(crate) form: Form,
    pub(crate) filter: Filter,
    pub(crate) outfile: Option<Vec<u8>>,
    pub(crate) fromfile: Option<Vec<u8>>,
    pub(crate) operands: Vec<Vec<u8>>,
    pub(crate) print0: bool,
    pub(crate) prune: bool,
    pub(crate) synthetic: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opt {
    Csv,
    Daemon,
    Event,
    Exclude,
    Excludei,
    Fanotify,
    Filename,
    Filesystem,
    Format,
    Fromfile,
    Help,
    Include,
    Includei,
    Inotify,
    Json,
    Monitor,
    NoDereference,
    NoNewline,
    Outfile,
    Print0,
    Prune,
    Quiet,
    Recursive,
    Synthetic,
    Syslog,
    Timefmt,
    Timeout,
}

const fn known(id: Opt, short: Option<u8>, long: &'static str, value: bool) -> Known<Opt> {
    Known { id, short, long: Some(long), value }
}

/// In the order in which inotifywait(1) lists names that are ambiguous.
const THEIRS: [Known<Opt>; 23] = [
    known(Opt::Event, Some(b'e'), "event", true),
    known(Opt::Filename, Some(b'f'), "filename", false),
    known(Opt::Help, Some(b'h'), "help", false),
    known(Opt::Inotify, Some(b'I'), "inotify", false),
    known(Opt::Fanotify, Some(b'F'), "fanotify", false),
    known(Opt::Filesystem, Some(b'S'), "filesystem", false),
    known(Opt::Monitor, Some(b'm'), "monitor", false),
    known(Opt::NoDereference, Some(b'P'), "no-dereference", false),
    known(Opt::Quiet, Some(b'q'), "quiet", false),
    known(Opt::Timeout, Some(b't'), "timeout", true),
    known(Opt::Recursive, Some(b'r'), "recursive", false),
    known(Opt::Csv, Some(b'c'), "csv", false),
    known(Opt::Daemon, Some(b'd'), "daemon", false),
    known(Opt::Syslog, Some(b's'), "syslog", false),
    known(Opt::NoNewline, None, "no-newline", false),
    known(Opt::Format, None, "format", true),
    known(Opt::Timefmt, None, "timefmt", true),
    known(Opt::Fromfile, None, "fromfile", true),
    known(Opt::Outfile, Some(b'o'), "outfile", true),
    known(Opt::Exclude, None, "exclude", true),
    known(Opt::Excludei, None, "excludei", true),
    known(Opt::Include, None, "include", true),
    known(Opt::Includei, None, "includei", true),
];

/// Unknown under the name inotifywait.
const OURS: [Known<Opt>; 4] = [
    known(Opt::Json, None, "json", false),
    known(Opt::Print0, None, "print0", false),
    known(Opt::Prune, None, "prune", false),
    known(Opt::Synthetic, None, "synthetic", false),
];

/// What has been typed so far.
#[derive(Default)]
struct Typed {
    monitor: bool,
    daemon: bool,
    syslog: bool,
    recursive: bool,
    no_dereference: bool,
    no_newline: bool,
    csv: bool,
    json: bool,
    print0: bool,
    prune: bool,
    synthetic: bool,
    quiet: u8,
    events: Mask,
    timeout: Option<Duration>,
    format: Option<Vec<u8>>,
    timefmt: Option<Vec<u8>>,
    outfile: Option<Vec<u8>>,
    fromfile: Option<Vec<u8>>,
    patterns: Patterns,
}

/// Reads a command line, without the program's name. What is only to be noted is said at once.
///
/// # Errors
/// Help was asked for, or something is wrong: what to say.
pub(crate) fn parse(face: &Face, args: Vec<Vec<u8>>, posix: bool) -> Result<Options, Stop> {
    let ours: &[Known<Opt>] = if face.compat { &[] } else { &OURS };
    let known = THEIRS.iter().chain(ours).copied().collect();
    let mut getopt = Getopt::new(&face.program, known, args, posix);
    let mut typed = Typed::default();
    while let Some((opt, value)) = getopt.next().map_err(Stop::wrong)? {
        typed.take(opt, value.unwrap_or_default())?;
    }
    typed.check(getopt.operands())
}

impl Typed {
    fn take(&mut self, opt: Opt, value: Vec<u8>) -> Result<(), Stop> {
        let Self { patterns, .. } = self;
        match opt {
            Opt::Csv => self.csv = true,
            Opt::Daemon => self.daemon = true,
            Opt::Event => self.events = self.events | events(&value)?,
            Opt::Exclude => {
                warn_again(patterns.exclude.is_some(), "--exclude");
                patterns.exclude = Some(value);
            }
            Opt::Excludei => {
                warn_again(patterns.excludei.is_some(), "--excludei");
                patterns.excludei = Some(value);
            }
            Opt::Fanotify | Opt::Filesystem => return Err(no_fanotify()),
            Opt::Filename => return Err(Stop::wrong(NO_FILENAME)),
            Opt::Format => self.format = Some(value),
            Opt::Fromfile => once(&mut self.fromfile, value, "--fromfile")?,
            Opt::Help => return Err(Stop::Help),
            Opt::Include => patterns.include = Some(value),
            Opt::Includei => patterns.includei = Some(value),
            // What there is anyway.
            Opt::Inotify => {}
            Opt::Json => self.json = true,
            Opt::Monitor => self.monitor = true,
            Opt::NoDereference => self.no_dereference = true,
            Opt::NoNewline => self.no_newline = true,
            Opt::Outfile => once(&mut self.outfile, value, "--outfile")?,
            Opt::Print0 => self.print0 = true,
            Opt::Prune => self.prune = true,
            Opt::Quiet => self.quiet = self.quiet.saturating_add(1),
            Opt::Recursive => self.recursive = true,
            Opt::Synthetic => self.synthetic = true,
            Opt::Syslog => self.syslog = true,
            Opt::Timefmt => self.timefmt = Some(value),
            Opt::Timeout => self.timeout = timeout(&value)?,
        }
        Ok(())
    }

    /// Whether everything goes together, in the order in which inotifywait(1) looks.
    fn check(self, operands: Vec<Vec<u8>>) -> Result<Options, Stop> {
        self.patterns.check().map_err(Stop::wrong)?;
        if self.format.is_some() && self.csv {
            return Err(Stop::wrong("-c and --format cannot both be specified."));
        }
        if self.json && (self.csv || self.format.is_some()) {
            return Err(Stop::wrong("--json excludes -c and --format."));
        }
        if self.format.is_none() && self.no_newline {
            return Err(Stop::wrong("--no-newline cannot be specified without --format."));
        }
        if self.format.is_none() && self.timefmt.is_some() {
            return Err(Stop::wrong("--timefmt cannot be specified without --format."));
        }
        if let Some(format) = &self.format {
            if self.timefmt.is_none() && format.windows(2).any(|two| two == b"%T") {
                return Err(Stop::wrong("%T is in --format string, but --timefmt was not specified."));
            }
            if format.len() >= FORMAT_LEN_MAX {
                return Err(Stop::wrong("Something is wrong with your format string."));
            }
        }
        if self.daemon && self.outfile.is_none() {
            return Err(Stop::wrong("-o must be specified with -d."));
        }
        if self.synthetic && !(self.recursive && (self.monitor || self.daemon)) {
            return Err(Stop::wrong("--synthetic needs -m and -r: only then are new directories followed."));
        }
        let form = match self.format {
            Some(text) => Form::Format {
                pieces: format::parse(&text),
                timefmt: self.timefmt,
                newline: !self.no_newline,
            },
            None if self.json => Form::Json,
            None if self.csv => Form::Csv,
            None => Form::Default,
        };
        Ok(Options {
            monitor: self.monitor || self.daemon,
            daemon: self.daemon,
            syslog: self.syslog || self.daemon,
            recursive: self.recursive,
            no_dereference: self.no_dereference,
            quiet: self.quiet,
            events: if self.events.is_empty() { Mask::ALL } else { self.events },
            timeout: self.timeout,
            form,
            filter: self.patterns.filter().map_err(Stop::wrong)?,
            outfile: self.outfile,
            fromfile: self.fromfile,
            operands,
            print0: self.print0,
            prune: self.prune,
            synthetic: self.synthetic,
        })
    }
}

const NO_FILENAME: &str = "\
The '--filename' option no longer exists.  The option it enabled in earlier
versions of inotifywait is now turned on by default.";

/// `-F`, `-S`: inotifywait 3.22.6 takes them and does nothing, which is worse.
pub(crate) fn no_fanotify() -> Stop {
    Stop::wrong("fanotify is not supported; without -F and -S this watches by inotify.")
}

fn warn_again(again: bool, name: &str) {
    if again {
        Say::Stderr.line(format!("{name}: only the last option will be taken into consideration."));
    }
}

pub(crate) fn once(slot: &mut Option<Vec<u8>>, value: Vec<u8>, name: &str) -> Result<(), Stop> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Stop::wrong(format!("Multiple {name} options given."))),
    }
}

/// The value of `-e`.
pub(crate) fn events(value: &[u8]) -> Result<Mask, Stop> {
    mask::parse(value).ok_or_else(|| {
        let after = "' is not a valid event!  Run with the '--help' option to see a list of events.";
        Stop::Wrong([b"'", value, after.as_bytes()].concat())
    })
}

/// The value of `-t`, read as strtol(3) reads it. Zero is for ever; so is a negative one, as inotifywait(1) ends up
/// with by an overflow.
pub(crate) fn timeout(value: &[u8]) -> Result<Option<Duration>, Stop> {
    if value.is_empty() {
        return Err(Stop::wrong(
            "The provided value is not a valid timeout value.\nPlease specify a long int value.",
        ));
    }
    let digits = value.trim_ascii_start();
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    if bare.is_empty() || !bare.bytes().all(|byte| byte.is_ascii_digit()) {
        let after = b"' is not a valid timeout value.\nPlease specify a long int value.";
        return Err(Stop::Wrong([b"'", value, after.as_slice()].concat()));
    }
    match text.parse::<i64>() {
        Ok(seconds) => Ok(u64::try_from(seconds).ok().filter(|&s| s > 0).map(Duration::from_secs)),
        Err(_) => Err(Stop::wrong(
            "Something went wrong with the timeout value you provided.\nNumerical result out of range",
        )),
    }
}
