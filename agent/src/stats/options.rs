//! stats: the options of inotifywatch(1).

use std::time::Duration;

use crate::events::filter::{Filter, Patterns};
use crate::events::getopt::{Getopt, Known};
use crate::events::help::EVENTS;
use crate::events::mask::{self, Mask};
use crate::events::options::{events, no_fanotify, once, timeout};
use crate::events::{Face, Stop};

/// Everything the command line said.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) verbose: bool,
    pub(super) zero: bool,
    pub(super) recursive: bool,
    pub(super) no_dereference: bool,
    /// What is counted; never empty.
    pub(super) events: Mask,
    /// How long; `None` until a signal.
    pub(super) timeout: Option<Duration>,
    /// The one event to sort by; `None` is the total.
    pub(super) key: Option<Mask>,
    pub(super) ascending: bool,
    pub(super) json: bool,
    pub(super) filter: Filter,
    pub(super) fromfile: Option<Vec<u8>>,
    pub(super) operands: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opt {
    Ascending,
    Descending,
    Event,
    Exclude,
    Excludei,
    Fanotify,
    Fromfile,
    Help,
    Include,
    Includei,
    Inotify,
    Json,
    NoDereference,
    Recursive,
    Timeout,
    Verbose,
    Zero,
}

const fn known(id: Opt, short: Option<u8>, long: &'static str, value: bool) -> Known<Opt> {
    Known { id, short, long: Some(long), value }
}

/// In the order in which inotifywatch(1) lists names that are ambiguous.
const KNOWN: [Known<Opt>; 17] = [
    known(Opt::Help, Some(b'h'), "help", false),
    known(Opt::Event, Some(b'e'), "event", true),
    known(Opt::Timeout, Some(b't'), "timeout", true),
    known(Opt::Verbose, Some(b'v'), "verbose", false),
    known(Opt::Zero, Some(b'z'), "zero", false),
    known(Opt::Ascending, Some(b'a'), "ascending", true),
    known(Opt::Descending, Some(b'd'), "descending", true),
    known(Opt::Recursive, Some(b'r'), "recursive", false),
    known(Opt::Inotify, Some(b'I'), "inotify", false),
    known(Opt::Fanotify, Some(b'F'), "fanotify", false),
    known(Opt::Fanotify, Some(b'S'), "filesystem", false),
    known(Opt::NoDereference, Some(b'P'), "no-dereference", false),
    known(Opt::Fromfile, None, "fromfile", true),
    known(Opt::Exclude, None, "exclude", true),
    known(Opt::Excludei, None, "excludei", true),
    known(Opt::Include, None, "include", true),
    known(Opt::Includei, None, "includei", true),
];

/// Unknown under the name inotifywatch.
const OURS: [Known<Opt>; 1] = [known(Opt::Json, None, "json", false)];

/// Reads a command line, without the program's name.
///
/// # Errors
/// Help was asked for, or something is wrong: what to say.
pub(super) fn parse(face: &Face, args: Vec<Vec<u8>>, posix: bool) -> Result<Options, Stop> {
    let ours: &[Known<Opt>] = if face.compat { &[] } else { &OURS };
    let known = KNOWN.iter().chain(ours).copied().collect();
    let mut getopt = Getopt::new(&face.program, known, args, posix);
    let mut options = Options {
        verbose: false,
        zero: false,
        recursive: false,
        no_dereference: false,
        events: Mask::default(),
        timeout: None,
        key: None,
        ascending: false,
        json: false,
        filter: Filter::All,
        fromfile: None,
        operands: Vec::new(),
    };
    let mut patterns = Patterns::default();
    while let Some((opt, value)) = getopt.next().map_err(Stop::wrong)? {
        let value = value.unwrap_or_default();
        match opt {
            // inotifywatch(1) forgives a second one after -d, and the last one counts.
            Opt::Ascending | Opt::Descending if options.ascending => {
                return Err(Stop::wrong("Please specify -a or -d once only!"));
            }
            Opt::Ascending | Opt::Descending => {
                options.key = key(&value)?;
                options.ascending = opt == Opt::Ascending;
            }
            Opt::Event => options.events = options.events | events(&value)?,
            Opt::Exclude => patterns.exclude = Some(value),
            Opt::Excludei => patterns.excludei = Some(value),
            Opt::Fanotify => return Err(no_fanotify()),
            Opt::Fromfile => once(&mut options.fromfile, value, "--fromfile")?,
            Opt::Help => return Err(Stop::Help),
            Opt::Include => patterns.include = Some(value),
            Opt::Includei => patterns.includei = Some(value),
            // What there is anyway.
            Opt::Inotify => {}
            Opt::Json => options.json = true,
            Opt::NoDereference => options.no_dereference = true,
            Opt::Recursive => options.recursive = true,
            Opt::Timeout => options.timeout = timeout(&value)?,
            Opt::Verbose => options.verbose = true,
            Opt::Zero => options.zero = true,
        }
    }
    if options.events.is_empty() {
        options.events = Mask::ALL;
    }
    if options.key.is_some_and(|key| !key.intersects(options.events)) {
        return Err(Stop::wrong("Can't sort by an event which isn't being watched for!"));
    }
    patterns.check().map_err(Stop::wrong)?;
    options.filter = patterns.filter().map_err(Stop::wrong)?;
    options.operands = getopt.operands();
    Ok(options)
}

/// The value of `-a` and `-d`. inotifywatch(1) takes more than one event here and then reads memory that is not its own.
fn key(value: &[u8]) -> Result<Option<Mask>, Stop> {
    let wrong = || Stop::Wrong([b"'", value, b"' is not a valid key for sorting!".as_slice()].concat());
    if value.eq_ignore_ascii_case(b"total") {
        return Ok(None);
    }
    match mask::parse(value).ok_or_else(wrong)? {
        Mask::MOVE => Err(Stop::wrong("Cannot sort by `move' event; please use `moved_from' or `moved_to'.")),
        Mask::CLOSE => {
            Err(Stop::wrong("Cannot sort by `close' event; please use `close_write' or `close_nowrite'."))
        }
        Mask(0) => Ok(None),
        one if one.0.is_power_of_two() => Ok(Some(one)),
        _ => Err(wrong()),
    }
}

/// What `--help` prints for this name.
pub(super) fn help(face: &Face) -> String {
    let Face { program, compat } = face;
    let (head, ours) = if *compat {
        (format!("inotifywatch 3.22.6 (driftless {})\n", env!("CARGO_PKG_VERSION")), "")
    } else {
        (String::new(), OURS_HELP)
    };
    format!(
        "{head}Counts events by watched path, and prints a table at the end; SIGUSR1 prints it before.\n\
         Usage: {program} [options] PATH...\n{OPTIONS}{ours}{EXIT}\n{EVENTS}"
    )
}

const OPTIONS: &str = "
What is watched:
  -r, --recursive         directories with everything beneath, new ones too where create is counted
  -P, --no-dereference    a symlink itself, not what it points to
      --fromfile FILE     what FILE names, one path a line; `-' is standard input
      @PATH               leave this directory out of -r; also a line of FILE
  -e, --event LIST        only these events; may be repeated (default: all of them)
      --exclude ERE       count nothing at paths that match this extended regular expression
      --include ERE       count only at paths that match it
      --excludei, --includei   the same without regard to case
How long:
  -t, --timeout SECONDS   for so long; 0, as without it, until SIGINT, SIGTERM or SIGHUP
What is printed:
  -z, --zero              rows and columns of zeros too
  -a, --ascending EVENT   the smallest first, by this event or `total'
  -d, --descending EVENT  the largest first (default: by `total')
  -v, --verbose           say more meanwhile
  -I, --inotify           by inotify, as always
  -h, --help              this
";

const OURS_HELP: &str = "Not in inotifywatch:
      --json              rows as one JSON object a line, with every event that is counted
";

const EXIT: &str = "
Exit status:
  0  done
  1  something failed
";

#[cfg(test)]
mod tests {
    use super::*;

    /// The key to sort by, and whether the smallest comes first.
    type Order = (Option<u32>, bool);

    fn said(line: &str) -> Result<Order, String> {
        let face = Face { program: "p".into(), compat: true };
        let args = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        match parse(&face, args, false) {
            Ok(options) => Ok((options.key.map(|key| key.0), options.ascending)),
            Err(Stop::Help) => Err("help".into()),
            Err(Stop::Wrong(why)) => Err(String::from_utf8(why).expect("text")),
        }
    }

    #[test]
    fn the_order_is_by_one_event_that_is_watched() {
        let cases: [(&str, Result<Order, &str>); 14] = [
            ("t", Ok((None, false))),
            ("-a Total t", Ok((None, true))),
            ("-d create t", Ok((Some(0x100), false))),
            ("-d create -a delete t", Ok((Some(0x200), true))),
            ("-d create -d delete t", Ok((Some(0x200), false))),
            ("-a create -d delete t", Err("Please specify -a or -d once only!")),
            ("-a foo t", Err("'foo' is not a valid key for sorting!")),
            ("-a move t", Err("Cannot sort by `move' event; please use `moved_from' or `moved_to'.")),
            ("-d move t", Err("Cannot sort by `move' event; please use `moved_from' or `moved_to'.")),
            ("-d close t", Err("Cannot sort by `close' event; please use `close_write' or `close_nowrite'.")),
            ("-d create,delete t", Err("'create,delete' is not a valid key for sorting!")),
            ("-a delete -e create t", Err("Can't sort by an event which isn't being watched for!")),
            ("-a unmount t", Err("Can't sort by an event which isn't being watched for!")),
            ("-q t", Err("p: invalid option -- 'q'")),
        ];
        for (line, want) in cases {
            assert_eq!(said(line), want.map_err(str::to_owned), "{line}");
        }
    }
}
