//! job: the config of `driftless run`: many jobs, each with a source, one or several destinations, and what a watch or a
//! push takes on the command line, under the same names. TOML; `deploy/agent.toml` shows every key.
//!
//! A file is taken whole or not at all, and everything that is wrong with it is said at once, each with its line.
//! A key of a destination goes before the job's, the job's before that of `[defaults]`.
//!
//! * [`Config`], [`Job`], [`Target`]: what comes of it; [`keys`]: every key.
//! * `text`: the file, its tables and its complaints; `values`: what single values mean; `read`: what a job is;
//!   `reach`: how a server is reached; `check`: `driftless run --check`.
//!
//! Touches: the config, and the rule, password and certificate files that it names. Never: a source, the network.

mod check;
pub mod keys;
mod reach;
mod read;
mod text;
mod values;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::cli::Invocation;
use crate::connect::Server;
use crate::password::Passwords;
pub use check::check;
use text::Text;
pub use text::{Complaint, Complaints};
pub use values::{Bandwidth, Schedule, Step, Window};

/// Largest config, in bytes: some thousands of jobs.
const CONFIG_MAX: u64 = 1 << 20;

/// Longest name of a job, in bytes: it stands before each of its lines.
pub const NAME_LEN: usize = 64;

/// Everything that `driftless run` is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `state-dir`: where all jobs keep their journals and plans.
    pub state_dir: Option<PathBuf>,
    /// `log-file`: what is said is written there too.
    pub log_file: Option<PathBuf>,
    /// `metrics`: where they are served.
    pub metrics: Option<SocketAddr>,
    /// At least one, in the order of the file; no two of the same name.
    pub jobs: Vec<Job>,
}

/// One source, and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Letters, digits, `.`, `_` and `-`; at most [`NAME_LEN`] bytes.
    pub name: String,
    /// Whether it watches.
    pub mode: Mode,
    /// When everything is compared; always there for [`Mode::Scheduled`].
    pub schedule: Option<Schedule>,
    /// Runs before each scheduled run, which does not happen if this fails.
    pub before: Option<Step>,
    /// Runs after each scheduled run, however that ended.
    pub after: Option<Step>,
    /// At least one.
    pub targets: Vec<Target>,
}

/// When a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All the time; by its schedule it compares everything too.
    Watch,
    /// By its schedule only.
    Scheduled,
}

/// One destination of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// As the config names it; a job has no two alike.
    pub to: String,
    /// As `driftless watch` would have been called, but for the limit on bandwidth.
    pub invocation: Invocation,
    /// That limit.
    pub bandwidth: Bandwidth,
}

/// What a config names on this host, and reading it means to look at.
trait Host {
    /// A file of rules.
    fn rules(&self, file: &str) -> Result<Vec<u8>, String>;
    /// Whether this password file would be taken.
    fn password(&self, file: &Path) -> Result<(), String>;
    /// Whether these certificates and keys can be used.
    fn trust(&self, invocation: &Invocation) -> Result<(), String>;
}

/// This host.
struct ThisHost;

impl Host for ThisHost {
    fn rules(&self, file: &str) -> Result<Vec<u8>, String> {
        crate::cli::options::rule_file(file.as_ref())
    }

    fn password(&self, file: &Path) -> Result<(), String> {
        // Its message names the file.
        Passwords::new(Some(file.to_owned())).get().map(drop).map_err(|error| error.to_string())
    }

    fn trust(&self, invocation: &Invocation) -> Result<(), String> {
        let remote = crate::run::remote(invocation.dest.as_ref()).map_err(|error| error.to_string())?;
        let passwords = Passwords::new(None);
        let server = Server::new(remote, invocation.port_of(remote), &invocation.trust, passwords);
        server.map(drop).map_err(|error| error.to_string())
    }
}

impl Config {
    /// Reads a config.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(file: &Path) -> Result<Self, Complaints> {
        let name = file.display().to_string();
        match content(file) {
            Ok(text) => Self::parse(&text, &name, &ThisHost),
            Err(why) => Err(Complaints { file: name, list: vec![Complaint { line: 0, text: why }] }),
        }
    }

    fn parse(content: &str, file: &str, host: &dyn Host) -> Result<Self, Complaints> {
        let text = Text::new(content);
        let config = text.tables().and_then(|tables| read::config(&text, &tables, host));
        match config {
            Some(config) if text.is_well() => Ok(config),
            _ => Err(Complaints { file: file.to_owned(), list: text.complaints() }),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file that the operator names, opened once, not beneath any Root"
)]
fn content(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(CONFIG_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err("not UTF-8".into()),
        Err(error) => Err(error.to_string()),
        Ok(len) if len as u64 > CONFIG_MAX => Err(format!("larger than {CONFIG_MAX} bytes")),
        Ok(_) => Ok(text),
    }
}
