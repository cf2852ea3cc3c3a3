//! What is typed about watches that run, or ran: `driftless plan` and `driftless status`. They take no source and no
//! destination, and no server is asked.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Usage;
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
    /// Ask every watch how it is; as JSON if so.
    Status(bool),
}

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
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("As JSON, one array");
    let status = Command::new("status")
        .about("Show how the watches of this host are; exit code 10 when none is running")
        .arg(json)
        .arg(state_dir());
    top.subcommand(plan).subcommand(status)
}

/// Reads one of them; `None` for any other command.
pub(super) fn read(name: &str, matches: &ArgMatches) -> Option<Result<Operate, Usage>> {
    let state_dir = |matches: &ArgMatches| matches.get_one::<PathBuf>("state-dir").cloned();
    match name {
        "status" => {
            let what = What::Status(matches.get_flag("json"));
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
