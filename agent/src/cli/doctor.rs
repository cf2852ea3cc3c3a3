//! The command line of `driftless doctor`.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command as ClapCommand};

use super::{Invocation, Usage};
use crate::exit::Exit;

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Doctor {
    /// The source and the destination that a watch is to have, if they were typed.
    pub pair: Option<Box<Invocation>>,
    /// As JSON.
    pub json: bool,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
}

/// The operands, for its help.
pub(super) const OPERANDS: &str = "[SRC host::module[/path]]";

/// What `--help` says below the options.
pub(super) const AFTER_HELP: &str = "\
Looks at what a watch of SRC would need, and changes nothing but for making the state folder: the limits of inotify
against the directories of SRC and what other processes of this user hold, the engines (by trying them), the file systems
of SRC and of what is mounted in it, rights, the state folder; then the server: name, certificate, login, module, what it
keeps, and its clock. Without operands only the host is looked at.
One line each: ok, warn or fail, what was found, and what to do.
Exit codes: 0 all is well, 1 something to be warned of (or bad usage), 2 a watch would fail.";

/// Adds its own options.
pub(super) fn add(command: ClapCommand) -> ClapCommand {
    command.arg(
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("As JSON, one array")
            .help_heading("Output"),
    )
}

/// What was typed, once an invocation has been made of SRC and DEST; `None` for that where there are no operands.
pub(super) fn read(matches: &ArgMatches, pair: Option<Invocation>) -> Result<Doctor, Usage> {
    if pair.is_none() {
        let known = ["json", "state_dir"];
        let typed = |id: &clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let is_group = |id: &clap::Id| {
            id.as_str().starts_with(|c: char| c.is_ascii_uppercase()) && id.as_str().len() > 1
        };
        let other = matches.ids().find(|id| typed(id) && !known.contains(&id.as_str()) && !is_group(id));
        if let Some(id) = other {
            let name = id.as_str().replace('_', "-");
            let text = format!("--{name} needs SRC and a destination (see driftless doctor --help)");
            return Err(Usage::new(Exit::Usage, text));
        }
    }
    Ok(Doctor {
        pair: pair.map(Box::new),
        json: matches.get_flag("json"),
        state_dir: matches.get_one("state_dir").cloned(),
    })
}
