//! events: `driftless events`, which is inotifywait(1) without its holes. Under that name by a symlink it prints what
//! inotifywait 3.22.6 prints.
//!
//! * [`getopt`], [`options`], [`sources`]: the command line.
//! * [`asked`]: a command line of somebody else's, for who only wants to know what it waits for.
//! * [`filter`], [`ere`]: which events are told.
//! * [`kernel`], [`tree`], [`watching`]: the watches, and how they follow the tree.
//! * [`mask`], [`format`], [`timefmt`]: what one event looks like.
//! * [`wait`]: the loop. [`daemon`], [`syslog`], [`say`]: where it runs and where it talks to.

mod asked;
mod daemon;
pub(crate) mod ere;
pub(crate) mod filter;
pub(crate) mod format;
pub(crate) mod getopt;
pub(crate) mod help;
pub(crate) mod kernel;
pub(crate) mod mask;
pub(crate) mod options;
pub(crate) mod say;
pub(crate) mod sources;
mod syslog;
mod timefmt;
mod tree;
mod wait;
pub(crate) mod watching;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;

use rustix::io::Errno;

pub use asked::{Asked, asked};
use say::Say;

/// Which of its names a command runs under.
#[derive(Clone, Debug)]
pub(crate) struct Face {
    /// What messages about the command line begin with.
    pub(crate) program: String,
    /// Under a name of inotify-tools: only their options, only their output.
    pub(crate) compat: bool,
}

/// Why nothing is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Help,
    /// What is wrong, one or two lines.
    Wrong(Vec<u8>),
}

impl Stop {
    pub(crate) fn wrong(why: impl Into<String>) -> Self {
        Self::Wrong(why.into().into_bytes())
    }

    /// Says it, and gives the exit code. inotify-tools end with 1 even when help was asked for.
    pub(crate) fn say(&self, face: &Face, help: &str) -> u8 {
        match self {
            Self::Help => {
                std::io::stdout().write_all(help.as_bytes()).ok();
                u8::from(face.compat)
            }
            Self::Wrong(why) => {
                Say::Stderr.line(why);
                FAILED
            }
        }
    }
}

/// An event that was asked for came.
pub(crate) const OK: u8 = 0;
/// Something failed, or only an event came that was not asked for.
pub(crate) const FAILED: u8 = 1;
/// Nothing happened for `--timeout`.
pub(crate) const TIMED_OUT: u8 = 2;
/// Nothing that was watched is there any more. Not under the name inotifywait, which sits and waits.
pub(crate) const ALL_GONE: u8 = 3;
/// Nobody reads our output any more: what a shell shows for a program that SIGPIPE ended.
pub(crate) const BROKEN_PIPE: u8 = 141;

/// Runs `driftless events`. `args` come after the name or the command; `compat` is for a run under the name inotifywait,
/// `program` what the user typed.
#[must_use]
pub fn run(program: &str, compat: bool, args: Vec<OsString>) -> u8 {
    let face = Face { program: program.to_owned(), compat };
    let bytes: Vec<_> = args.into_iter().map(OsString::into_vec).collect();
    match options::parse(&face, bytes, posix()) {
        Ok(options) => wait::run(&face, options),
        Err(stop) => stop.say(&face, &help::text(&face)),
    }
}

/// Whether the first operand ends the options.
pub(crate) fn posix() -> bool {
    std::env::var_os("POSIXLY_CORRECT").is_some()
}

/// Says why there is no inotify instance.
pub(crate) fn say_no_instance(say: &Say, error: Errno) {
    say.line(format!("Couldn't initialize inotify: {}", kernel::reason(error)));
    if error == Errno::MFILE {
        say.line("Try increasing the value of /proc/sys/fs/inotify/max_user_instances");
    }
}

/// Says that the limit on watches was met while watching what the operator named.
pub(crate) fn say_limit(say: &Say, root: &[u8]) {
    say.about("Failed to watch ", root, "; upper limit on inotify watches reached!");
    say.line("Please increase the amount of inotify watches allowed per user via `/proc/sys/fs/inotify/max_user_watches'.");
}

/// Says that events were lost. inotify-tools keep silent about that.
pub(crate) fn say_overflow(say: &Say, follow: bool) {
    let then = if follow { "; the tree has been walked again" } else { "" };
    say.line(format!(
        "Events were lost: the kernel's queue overflowed (fs.inotify.max_queued_events){then}."
    ));
}
