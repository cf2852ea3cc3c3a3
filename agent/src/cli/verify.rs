//! The command line of `driftless verify`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command as ClapCommand};

use super::{Invocation, Usage};
use crate::exit::Exit;

/// What is to be verified, and what is to be done about what differs.
#[derive(Clone, Debug)]
pub struct Verify {
    /// Which copies.
    pub what: Subject,
    /// Send what differs.
    pub repair: bool,
    /// With `repair`: remove what only the copy has.
    pub delete: bool,
    /// What only the copy has is no difference.
    pub ignore_extra: bool,
    /// As JSON.
    pub json: bool,
    /// How long a running watch may take to bring across what differs, before that is called pending.
    pub wait: Duration,
    /// `--password-file`, instead of the one that a watch uses.
    pub password_file: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
}

/// Which copies are to be verified.
#[derive(Clone, Debug)]
pub enum Subject {
    /// This one.
    Pair(Box<Invocation>),
    /// That of every running watch, or what it has of one path.
    Watches(Option<PathBuf>),
}

/// The operands, for its help.
pub(super) const OPERANDS: &str = "[SRC host::module[/path] | PATH]";

/// What `--help` says below the options.
pub(super) const AFTER_HELP: &str = "\
SRC and the destination are compared as `push -ac --delete` would, with the right to write that a push needs: everything that -a keeps, and every content by its
digest, which each end makes of its own files. Nothing is changed on either side without --repair.
With PATH, or without operands, the copies of the running watches are verified, all of them or what they have of PATH:
as these keep them, with their rules. What a watch has not brought across yet is `pending` and no difference; with
--repair it is the watch that sends, under its brake.
One line a path: what differs (missing, extra, kind, content, mtime, mode, owner, group), and the path.
Exit codes: 0 equal, or all repaired; 40 something differs; 41 nothing but what is pending does; 23 some paths could not
be compared; 10 no connection, or no watch is running; 1, 4, 5, 11, 12, 20, 30, 35 as of every other command.";

/// Adds its own options.
pub(super) fn add(command: ClapCommand) -> ClapCommand {
    let flag = |id: &'static str, help| Arg::new(id).long(id).action(ArgAction::SetTrue).help(help);
    command
        .next_help_heading("What is done about it")
        .arg(flag("repair", "Send what differs; with --delete, remove what only the copy has"))
        .arg(flag("ignore-extra", "What only the copy has is no difference"))
        .arg(
            Arg::new("wait")
                .long("wait")
                .value_name("SECONDS")
                .value_parser(clap::value_parser!(u32))
                .default_value("10")
                .hide_default_value(true)
                .help("How long a running watch may take to send what differs, until that is pending [default: 10]"),
        )
        .arg(flag("json", "As JSON, one array"))
}

/// What was typed, once an invocation has been made of SRC and DEST; `None` for that where there are fewer operands.
pub(super) fn read(matches: &ArgMatches, pair: Option<Invocation>) -> Result<Verify, Usage> {
    let bad = |text: &str| Err(Usage::new(Exit::Usage, format!("{text} (see driftless verify --help)")));
    let (repair, delete) = (matches.get_flag("repair"), matches.get_flag("delete"));
    let ignore_extra = matches.get_flag("ignore-extra");
    if delete && !repair {
        return bad("--delete removes nothing without --repair");
    }
    if delete && ignore_extra {
        return bad("--delete and --ignore-extra exclude each other");
    }
    if matches.get_flag("dry-run") {
        return bad("--dry-run (-n): nothing is changed without --repair");
    }
    let pairs = ["partial", "P", "progress", "stats"];
    let watches = [
        "repair",
        "delete",
        "ignore-extra",
        "json",
        "wait",
        "password_file",
        "state_dir",
        "quiet",
        "operands",
    ];
    for id in matches.ids() {
        let typed = matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let known = if pair.is_some() {
            !pairs.contains(&id.as_str())
        } else {
            watches.contains(&id.as_str()) || is_group(id.as_str())
        };
        if typed && !known {
            let name = id.as_str().replace('_', "-");
            let why = if pair.is_some() { "has no meaning here" } else { "needs SRC and a destination" };
            return bad(&format!("--{name} {why}"));
        }
    }
    let path = || matches.get_one::<OsString>("operands").map(PathBuf::from);
    Ok(Verify {
        what: pair.map_or_else(|| Subject::Watches(path()), |pair| Subject::Pair(Box::new(pair))),
        repair,
        delete,
        ignore_extra,
        json: matches.get_flag("json"),
        wait: Duration::from_secs(matches.get_one::<u32>("wait").copied().unwrap_or(10).into()),
        password_file: matches.get_one("password_file").cloned(),
        state_dir: matches.get_one("state_dir").cloned(),
    })
}

/// Whether it is clap's own name for a struct of options.
fn is_group(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_uppercase()) && id.len() > 1
}

/// Whether SRC and DEST were typed.
pub(super) fn names_a_pair(matches: &ArgMatches) -> bool {
    matches.get_many::<OsString>("operands").is_some_and(|operands| operands.len() > 1)
}
