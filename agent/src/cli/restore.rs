//! The command line of `driftless restore`: what was lost, by its place on the server or by the name of a job.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command as ClapCommand};

use super::operand::{Local, Place, Remote};
use super::{Command, Invocation, Usage};
use crate::exit::Exit;

/// What is to be restored.
#[derive(Clone, Debug)]
pub struct Restore {
    /// What was typed, but for the places where a job has these.
    pub invocation: Box<Invocation>,
    /// The job that has them.
    pub job: Option<Job>,
    /// Leave out files whose copy is no longer what was acknowledged.
    pub refuse_changed: bool,
}

/// A job, and what of it is to come back.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Which of its destinations, as the config names it; the first one when nobody says.
    pub from: Option<String>,
    /// A path in its source; everything when nobody says.
    pub path: Option<PathBuf>,
    /// The config that was named.
    pub config: Option<PathBuf>,
}

/// The operands, for its help.
pub(super) const OPERANDS: &str = "host::module[/path]... DEST | --job NAME [PATH]";

/// What `--help` says below the options.
pub(super) const AFTER_HELP: &str = "\
Each local file that is replaced is kept as NAME.before-restore; nothing is removed without --delete.
With --job, source and destination are those of the job: everything, or PATH (absolute, or relative to its source), goes
back to where it came from.
Files whose copy is no longer what the server acknowledged are named, by size and time before, by content as they come:
the journal of a watch of the same two ends is asked, running or not. They are taken all the same unless
--refuse-changed leaves them out.
Exit codes: as of pull, and 40 when something came back that is not what was acknowledged, 23 when it was refused.
Remote operands: [user@]host::module[/path], driftless://[user@]host[:port]/module[/path], rsync:// alike.
Password: --password-file, else DRIFTLESS_PASSWORD, else RSYNC_PASSWORD, else asked for on a terminal.";

/// Adds its own options.
pub(super) fn add(command: ClapCommand) -> ClapCommand {
    let value = |id: &'static str, name, help| Arg::new(id).long(id).value_name(name).help(help);
    command
        .next_help_heading("What is restored")
        .arg(value("job", "NAME", "What this job keeps; source and destination are its own"))
        .arg(value("from", "DESTINATION", "From this destination of the job [default: its first]"))
        .arg(
            // Not by the name of rsync's own --config, which is refused.
            value("job-config", "FILE", "Where the job is written down [default: /etc/driftless/agent.toml]")
                .long("config")
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("refuse-changed").long("refuse-changed").action(ArgAction::SetTrue).help(
                "Leave out files whose copy is not what was acknowledged; the server reads all of them",
            ),
        )
}

/// Whether a job was named: the operands are then none, or one path.
pub(super) fn names_a_job(matches: &ArgMatches) -> bool {
    matches.contains_id("job")
}

/// Stands for the places of a job until that is looked up.
pub(super) fn places() -> (Command, Vec<Place>, Option<Place>) {
    let nowhere = Remote {
        user: None,
        host: String::new(),
        port: None,
        module: String::new(),
        path: Vec::new(),
        trailing_slash: true,
    };
    let here = Local { path: PathBuf::from("."), trailing_slash: true };
    (Command::Restore, vec![Place::Remote(nowhere)], Some(Place::Local(here)))
}

/// What was typed, with the invocation that was made of it.
pub(super) fn read(matches: &ArgMatches, invocation: Invocation) -> Result<Restore, Usage> {
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let operands: Vec<&OsString> = matches.get_many("operands").into_iter().flatten().collect();
    let bad = |text: &str| Err(Usage::new(Exit::Usage, format!("{text} (see driftless restore --help)")));
    let job = match text("job") {
        None if matches.contains_id("from") || matches.contains_id("job-config") => {
            return bad("--from and --config need --job");
        }
        None => None,
        Some(_) if operands.len() > 1 => return bad("--job takes one path at most"),
        Some(name) => Some(Job {
            name,
            from: text("from"),
            path: operands.first().map(PathBuf::from),
            config: matches.get_one("job-config").cloned(),
        }),
    };
    Ok(Restore { invocation: Box::new(invocation), job, refuse_changed: matches.get_flag("refuse-changed") })
}
