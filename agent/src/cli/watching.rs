//! The options of a watch alone. Every command knows them, so that those that do not watch can say so.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use super::Usage;
use crate::exit::Exit;
use crate::metrics;
use crate::watcher::Choice;

/// What they said.
#[derive(Clone, Debug, Default)]
pub(super) struct Watching {
    pub(super) engine: Choice,
    pub(super) log_file: Option<PathBuf>,
    pub(super) metrics: Option<SocketAddr>,
}

/// Adds them to a command.
pub(super) fn add(command: Command) -> Command {
    let hidden = command.get_name() != "watch";
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        let option = Arg::new(name).long(name).value_name(value).help(help);
        option.help_heading("What is watched").hide(hidden)
    };
    let names = clap::builder::PossibleValuesParser::new(Choice::NAMES.map(|(name, _)| name));
    command
        .arg(option("engine", "ENGINE", "How changes are found [default: auto]").value_parser(names))
        .arg(
            option("log-file", "FILE", "Log here too; opened anew when it was moved away, and on SIGHUP")
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            option("metrics", "[ADDRESS:]PORT", "Serve /metrics for Prometheus [address: 127.0.0.1]")
                .value_parser(metrics::address),
        )
}

/// Reads them.
pub(super) fn read(matches: &ArgMatches, is_watch: bool) -> Result<Watching, Usage> {
    let engine = matches.get_one::<String>("engine");
    let given = ["engine", "log-file", "metrics"].into_iter().find(|name| matches.contains_id(name));
    if let (false, Some(name)) = (is_watch, given) {
        return Err(match name {
            "engine" => Usage::new(Exit::Usage, "--engine is for watch: nothing else waits for changes"),
            "metrics" => {
                Usage::new(Exit::Usage, "--metrics is for watch: every other command ends by itself")
            }
            _ => Usage::new(Exit::Unsupported, "--log-file is supported for watch only"),
        });
    }
    let engine = Choice::NAMES.iter().find(|(name, _)| engine.is_some_and(|typed| typed == name));
    Ok(Watching {
        engine: engine.map(|(_, choice)| *choice).unwrap_or_default(),
        log_file: matches.get_one("log-file").cloned(),
        metrics: matches.get_one("metrics").copied(),
    })
}
