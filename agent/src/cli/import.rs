//! What is typed behind `driftless import`. No server is asked.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::import::{Import, Kind, Module, Places, Server};

/// Adds the command.
pub(super) fn add(top: Command) -> Command {
    let path = |arg: Arg| arg.value_parser(clap::value_parser!(PathBuf));
    let import = Command::new("import")
        .about("Write agent.toml from a config of lsyncd or sersync, or from a script of inotifywait and rsync")
        .after_help(
            "Whatever was unsafe, and whatever has no counterpart, is a comment there and a line on standard error.\n\
             Exit code 4: something is to be completed first, or only the old program can run it; 0: it runs as it is.",
        )
        .arg(path(Arg::new("file").value_name("FILE").required(true).help("What to read; `-` for standard input")))
        .arg(
            path(Arg::new("output").short('o').long("output").value_name("FILE"))
                .help("Write there, to a new file [default: standard output]"),
        )
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("KIND")
                .value_parser(PossibleValuesParser::new(Kind::NAMES.map(|(name, _)| name)))
                .help("What FILE is [default: seen from its content]"),
        )
        .arg(
            Arg::new("server")
                .long("server")
                .value_name("HOST[:PORT]")
                .value_parser(|text: &str| text.parse::<Server>())
                .help("The driftlessd in place of every host that FILE names"),
        )
        .arg(
            Arg::new("module")
                .long("module")
                .value_name("PATH=MODULE")
                .action(ArgAction::Append)
                .value_parser(|text: &str| text.parse::<Module>())
                .help("The module for a PATH that was reached over ssh or lay on this host; may be repeated"),
        )
        .arg(
            Arg::new("fingerprint")
                .long("fingerprint")
                .value_name("sha256:HEX")
                .action(ArgAction::Append)
                .value_parser(|text: &str| super::fingerprint(text).map(|_| text.to_owned()))
                .help("The server's certificate, as `driftlessd fingerprint` prints it; may be given twice"),
        );
    top.subcommand(import)
}

/// Reads it; `None` for any other command.
pub(super) fn read(name: &str, matches: &ArgMatches) -> Option<Import> {
    if name != "import" {
        return None;
    }
    let kind = matches.get_one::<String>("from");
    let many = |id| matches.get_many::<String>(id).into_iter().flatten().cloned().collect();
    Some(Import {
        file: matches.get_one::<PathBuf>("file").cloned().unwrap_or_default(),
        output: matches.get_one::<PathBuf>("output").cloned(),
        kind: Kind::NAMES
            .iter()
            .find(|(name, _)| kind.is_some_and(|typed| typed == name))
            .map(|(_, kind)| *kind),
        places: Places {
            server: matches.get_one::<Server>("server").cloned(),
            modules: matches.get_many::<Module>("module").into_iter().flatten().cloned().collect(),
        },
        fingerprints: many("fingerprint"),
    })
}
