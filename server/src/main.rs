//! `driftlessd`: serves named modules with the semantics of an rsync daemon, over authenticated gRPC.

mod accept;
mod access;
mod auth;
mod check;
mod config;
mod fingerprint;
mod group_cache;
mod identity;
mod limits;
mod log;
mod memory;
mod module;
mod named;
mod passwd;
mod permit;
mod pidfile;
mod receive;
mod send;
mod serve;
mod service;
mod sessions;
mod state;
mod tls;
mod worker;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// The Driftless server.
#[derive(Parser)]
#[command(
    version,
    about = "Serves modules to Driftless agents, with the config and the rules of an rsync daemon"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the config and say who gets into each module
    Check(ConfigFile),
    /// Print the fingerprint of the certificate, for the agents' --fingerprint
    Fingerprint(ConfigFile),
    /// Set a user's password in a secrets file, as an Argon2id hash
    Passwd {
        /// The secrets file; made with mode 600 if there is none
        file: PathBuf,
        /// The user
        user: String,
    },
    /// Serve in the foreground until SIGTERM
    Serve(Serve),
}

#[derive(Args)]
struct ConfigFile {
    /// The config, in the grammar of rsyncd.conf(5)
    #[arg(long, value_name = "FILE", default_value = "/etc/driftlessd.conf")]
    config: PathBuf,
}

/// What `driftlessd serve` was told on the command line.
#[derive(Args)]
pub(crate) struct Serve {
    /// The config, in the grammar of rsyncd.conf(5)
    #[arg(long, value_name = "FILE", default_value = "/etc/driftlessd.conf")]
    pub(crate) config: PathBuf,
    /// Listen on this address instead of the config's
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<IpAddr>,
    /// Listen on this port instead of the config's; 0 for any free one
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Keep the server's own files here instead of in the config's `state dir`
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Log here instead of to the config's `log file`
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap ends bad usage with 2, which to an operator of rsync is a protocol error.
            let code = if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
            let _closed = error.print();
            return code;
        }
    };
    match cli.command {
        Command::Check(file) => check::run(&file.config),
        Command::Fingerprint(file) => fingerprint::run(&file.config),
        Command::Passwd { file, user } => passwd::run(&file, &user),
        Command::Serve(serve) => {
            memory::bound();
            serve::run(&serve)
        }
    }
}
