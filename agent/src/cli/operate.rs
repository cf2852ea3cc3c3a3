//! What is typed about watches that run, or ran: `driftless plan`, `status`, `wait`, `explain`. They take no source and no
//! destination, and no server is asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Usage;
use super::span::span;
use crate::control::MAX_AGE;
use crate::exit::Exit;
use crate::plan::{Act, is_id};

/// A command about watches of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operate {
    /// What to do.
    pub what: What,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Read plans, or decide on one.
    Plan(Act),
    /// One line and an exit code for a monitor, by this limit of age.
    Check(Duration),
    /// Ask every watch what it knows of a path.
    Explain {
        /// Which.
        path: PathBuf,
        /// Print the answers as JSON.
        json: bool,
    },
    /// Ask every watch how it is; as JSON if so.
    Status(bool),
    /// Wait until what was written before is durable.
    Wait {
        /// Beneath this path; `None` for everything that is watched.
        path: Option<PathBuf>,
        /// No longer than this.
        limit: Option<Duration>,
        /// Print the answers as JSON.
        json: bool,
    },
}

/// What the options of `status` do not say.
const STATUS_HELP: &str = "\
Exit codes: 0, 10 when no watch is running, 11 when the state folder cannot be used.

With --check, one line as of a Nagios plugin, and its exit codes:
  0  OK
  1  WARNING: for more than half of --max-age a change has not been durable, a watch has not been connected or has not
     compared, or its source has not been there; or deletions are held, paths fail, or events were lost within an hour
  2  CRITICAL: the same for more than --max-age; or no watch is running, one was killed, or one does not answer
  3  UNKNOWN: the state folder cannot be used, or bad usage";

/// What the options of `explain` do not say.
const EXPLAIN_HELP: &str = "\
Exit codes:
  0   a watch keeps PATH, and its copy is durable or on its way
  1   bad usage
  3   no watch keeps PATH: it lies in no source, or is excluded
  10  no watch is running
  11  the state folder cannot be used
  23  a watch keeps PATH, but it fails, is left alone, or its deletion is held";

/// What the options of `wait` do not say.
const WAIT_HELP: &str = "\
It returns once everything that was written beneath PATH before the call is durable on every destination of every
watch that keeps PATH, deletions and renames included. While a server is away it waits. Stores through mmap give no
event before the next comparison and are not waited for.

Exit codes:
  0   durable, on every destination
  1   bad usage
  3   no watch keeps PATH: it lies in no source, or is excluded
  10  no watch is running
  11  the state folder cannot be used
  12  a watch ended before it was done
  23  paths fail again and again; standard error names them, everything else is durable
  25  deletions are held (driftless plan list), everything else is durable
  30  --timeout was over first";

/// Adds the commands.
pub(super) fn add(top: Command) -> Command {
    let state_dir = || {
        Arg::new("state-dir")
            .long("state-dir")
            .value_name("DIR")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Where the agent keeps its journal and identity")
    };
    let id = || Arg::new("id").value_name("ID").required(true).help("As `driftless plan list` shows it");
    let act = |name: &'static str, about: &'static str| Command::new(name).about(about).arg(state_dir());
    let plan = Command::new("plan")
        .about("Show what watches hold back, and decide on it")
        .subcommand_required(true)
        .subcommand(act("list", "Name every plan, one a line"))
        .subcommand(act("show", "Print a plan with every path it holds").arg(id()))
        .subcommand(act("approve", "Let what a plan holds go; a running watch does so at once").arg(id()))
        .subcommand(
            act("reject", "Let the copy keep what a plan holds, until the source has it again").arg(id()),
        );
    let check = Arg::new("check").long("check").action(ArgAction::SetTrue).help("As a Nagios plugin");
    let max_age = Arg::new("max-age")
        .long("max-age")
        .value_name("TIME")
        .value_parser(span)
        .help("With --check: what is older fails: 90, 10m, 2h [default: 10m]");
    let status = Command::new("status")
        .about("Show how the watches of this host are; exit code 10 when none is running")
        .arg(json())
        .arg(check.conflicts_with("json"))
        .arg(max_age)
        .arg(state_dir())
        .after_help(STATUS_HELP);
    let path = Arg::new("path").value_name("PATH").value_parser(clap::value_parser!(PathBuf));
    let explain = Command::new("explain")
        .about("Tell who keeps a path, by which rule, and how far its copy is")
        .arg(path.help("A path of a watched source; nothing needs to be there"))
        .arg(json())
        .arg(state_dir())
        .after_help(EXPLAIN_HELP);
    let wait = wait().arg(json()).arg(state_dir());
    top.subcommand(plan).subcommand(status).subcommand(wait).subcommand(explain)
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("As JSON, one array")
}

fn wait() -> Command {
    let path = Arg::new("path").value_name("PATH").value_parser(clap::value_parser!(PathBuf));
    let all = Arg::new("all").long("all").action(ArgAction::SetTrue).help("Everything that is watched");
    let timeout = Arg::new("timeout")
        .long("timeout")
        .value_name("TIME")
        .value_parser(span)
        .help("Wait no longer than this: 30, 30s, 5m, 2h [default: for ever]");
    Command::new("wait")
        .about("Return once everything that was written before is durable on every destination")
        .arg(path.help("Only beneath this file or directory of a watched source"))
        .arg(all.conflicts_with("path"))
        .arg(timeout)
        .after_help(WAIT_HELP)
}

/// Reads one of them; `None` for any other command.
pub(super) fn read(name: &str, matches: &ArgMatches) -> Option<Result<Operate, Usage>> {
    let state_dir = |matches: &ArgMatches| matches.get_one::<PathBuf>("state-dir").cloned();
    match name {
        "explain" => {
            let Some(path) = matches.get_one::<PathBuf>("path").cloned() else {
                let text = "explain needs PATH (see driftless explain --help)";
                return Some(Err(Usage::new(Exit::Usage, text)));
            };
            let what = What::Explain { path, json: matches.get_flag("json") };
            Some(Ok(Operate { what, state_dir: state_dir(matches) }))
        }
        "status" => {
            let max_age = matches.get_one("max-age").copied();
            let what = match (matches.get_flag("check"), max_age) {
                (true, _) => What::Check(max_age.unwrap_or(MAX_AGE)),
                (false, None) => What::Status(matches.get_flag("json")),
                (false, Some(_)) => {
                    let text = "--max-age is for status --check (see driftless status --help)";
                    return Some(Err(Usage::new(Exit::Usage, text)));
                }
            };
            Some(Ok(Operate { what, state_dir: state_dir(matches) }))
        }
        "wait" if matches.get_one::<PathBuf>("path").is_none() && !matches.get_flag("all") => {
            let text = "wait needs PATH or --all (see driftless wait --help)";
            Some(Err(Usage::new(Exit::Usage, text)))
        }
        "wait" => {
            let what = What::Wait {
                path: matches.get_one("path").cloned(),
                limit: matches.get_one("timeout").copied(),
                json: matches.get_flag("json"),
            };
            Some(Ok(Operate { what, state_dir: state_dir(matches) }))
        }
        "plan" => {
            let (name, matches) = matches.subcommand()?;
            Some(
                act(name, matches)
                    .map(|act| Operate { what: What::Plan(act), state_dir: state_dir(matches) }),
            )
        }
        _ => None,
    }
}

fn act(name: &str, matches: &ArgMatches) -> Result<Act, Usage> {
    if name == "list" {
        return Ok(Act::List);
    }
    let id = matches.get_one::<String>("id").cloned().unwrap_or_default();
    if !is_id(&id) {
        let text = "a plan is named by eight hexadecimal digits (driftless plan list names them; see driftless plan --help)";
        return Err(Usage::new(Exit::Usage, text));
    }
    Ok(match name {
        "show" => Act::Show(id),
        "approve" => Act::Approve(id),
        _ => Act::Reject(id),
    })
}
