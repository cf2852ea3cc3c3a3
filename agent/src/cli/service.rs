//! What is typed to start a service: `driftless run`. What it does is said in its config.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

/// Where the config is unless somebody says otherwise.
const CONFIG: &str = "/etc/driftless/agent.toml";

/// A service to be started, or looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `--config`.
    pub config: PathBuf,
    /// `--check`: only say what would run.
    pub check: bool,
}

/// What the options do not say.
const AFTER_HELP: &str = "\
SIGHUP reads the config again: jobs that are as they were go on untouched, and a config with an error in it changes
nothing. SIGTERM and SIGINT end it, with exit code 0. A config that cannot be used ends it with exit code 1, and every
bad line is named.";

/// Adds the command.
pub(super) fn add(top: Command) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .default_value(CONFIG)
        .value_parser(clap::value_parser!(PathBuf))
        .help("Which jobs there are");
    let check = Arg::new("check")
        .long("check")
        .action(ArgAction::SetTrue)
        .help("Say what is wrong, or what would run, and end");
    let run = Command::new("run").about("Run the jobs of a config, as a service").after_help(AFTER_HELP);
    top.subcommand(run.arg(config).arg(check))
}

/// Reads it; `None` for any other command.
pub(super) fn read(name: &str, matches: &ArgMatches) -> Option<Service> {
    let config = || matches.get_one::<PathBuf>("config").cloned().unwrap_or_else(|| CONFIG.into());
    (name == "run").then(|| Service { config: config(), check: matches.get_flag("check") })
}
