//! import: where a copy lies now: what was an rsync daemon's module, a path behind a remote shell, or a path of this
//! host becomes a module of a driftlessd, or a line for the operator to complete.
//!
//! Pure. Touches: nothing.

use std::ffi::OsStr;

use super::draft::{Job, Target, Word};
use super::rsync::{self, Destination};
use crate::cli::operand::{self, Place};

/// A server: `--server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or address, an IPv6 address in brackets.
    pub host: String,
    /// Its port, when it was given.
    pub port: Option<u16>,
}

impl std::str::FromStr for Server {
    type Err = String;

    /// Reads `HOST[:PORT]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected HOST, HOST:PORT or [ADDRESS]:PORT".to_owned();
        let host_len = match text.find(']') {
            Some(at) if text.starts_with('[') => at + 1,
            _ => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_len);
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some(port) => Some(port.parse().ok().filter(|&port| port > 0).ok_or_else(wrong)?),
            None => return Err(wrong()),
        };
        let place = operand::parse_place(OsStr::new(&format!("{host}::m"))).map_err(|_| wrong())?;
        match place {
            Place::Remote(remote) if remote.user.is_none() => Ok(Self { host: host.to_owned(), port }),
            _ => Err(wrong()),
        }
    }
}

/// A path that a module stands for: `--module`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Absolute, without a slash at its end.
    pub path: String,
    /// The module's name.
    pub name: String,
}

impl std::str::FromStr for Module {
    type Err = String;

    /// Reads `PATH=MODULE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (path, name) = text.rsplit_once('=').ok_or("expected PATH=MODULE")?;
        if path.is_empty() || name.is_empty() || name.contains('/') {
            return Err("expected PATH=MODULE, the module without a slash".to_owned());
        }
        Ok(Self { path: path.trim_end_matches('/').to_owned(), name: name.to_owned() })
    }
}

/// What the operator said about where the copies lie from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// In place of every host that the file names.
    pub server: Option<Server>,
    /// For what was reached by path.
    pub modules: Vec<Module>,
}

/// `rsync://user:password@host/` without the password.
fn without_password(operand: &str) -> String {
    let bare = || {
        let (scheme, rest) = operand.split_once("://")?;
        let (login, host) = rest[..rest.find('/').unwrap_or(rest.len())].rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}@{host}{}", &rest[login.len() + 1 + host.len()..]))
    };
    bare().unwrap_or_else(|| operand.to_owned())
}

impl Places {
    /// Gives a job one more destination. What no server can be asked for is left as it was written, and marked.
    pub(super) fn add(&self, job: &mut Job, word: &Word) {
        let line = word.line;
        let operand = word.text.as_str();
        let found = match (&word.unknown, rsync::destination(operand)) {
            (Some(unknown), _) => {
                Err(format!("the destination `{operand}`: the value of {unknown} is not in the file"))
            }
            (None, Destination::Daemon) => self.daemon(job, operand, line),
            (None, Destination::Shell) => self.shell(operand),
            (None, Destination::Local) => self.local(operand),
        };
        let operand = found.unwrap_or_else(|why| {
            job.open(line, why);
            operand.to_owned()
        });
        job.targets.push(Target { operand, line });
    }

    fn daemon(&self, job: &mut Job, operand: &str, line: usize) -> Result<String, String> {
        let bare = without_password(operand);
        if bare != operand {
            job.remark(line, "a password stood in the destination, for everybody who can list processes; it is not written here");
        }
        let remote = match operand::parse_place(OsStr::new(&bare)) {
            Ok(Place::Remote(remote)) if !remote.module.is_empty() => remote,
            Ok(_) => return Err(format!("the destination `{operand}` names no module")),
            Err(error) => return Err(format!("the destination {error}")),
        };
        job.remark(
            line,
            "the wire of an rsync daemon is not encrypted, and any host could answer for it; driftlessd proves itself \
             (fingerprint or ca) and encrypts everything",
        );
        if let Some(port) = remote.port {
            job.remark(
                line,
                format!(
                    "port {port} is the rsync daemon's; driftlessd listens on 8730 unless told otherwise"
                ),
            );
        }
        let host = if remote.host.contains(':') { format!("[{}]", remote.host) } else { remote.host };
        let path = String::from_utf8_lossy(&remote.path);
        Ok(self.operand(remote.user.as_deref(), &host, &remote.module, &path))
    }

    fn shell(&self, operand: &str) -> Result<String, String> {
        let (host, path) = operand.split_at(rsync::host_len(operand).unwrap_or(operand.len()));
        let path = path.strip_prefix(':').unwrap_or(path);
        let (user, host) = match host.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, host),
        };
        self.module(path).map(|(module, rest)| self.operand(user, host, module, rest)).ok_or_else(|| {
            format!(
                "`{operand}` was reached over ssh, and there is no remote shell here: on {host}, make a module whose path \
                 is {path} in driftlessd.conf and name it as destination = \"USER@{host}::MODULE\", or import again with \
                 --module {path}=MODULE"
            )
        })
    }

    fn local(&self, path: &str) -> Result<String, String> {
        let found = self.module(path);
        found.map(|(module, rest)| self.operand(None, "127.0.0.1", module, rest)).ok_or_else(|| {
            format!(
                "`{path}` is on this host, and a copy is kept by a driftlessd, also here: make a module whose path is \
                 {path} in driftlessd.conf and name it as destination = \"USER@HOST::MODULE\", or import again with \
                 --module {path}=MODULE"
            )
        })
    }

    /// The module that stands for a path, and the path within it.
    fn module<'a>(&'a self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let beneath = |module: &'a Module| {
            let rest = path.strip_prefix(&module.path)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((module, rest.trim_start_matches('/')))
        };
        let longest = self.modules.iter().filter_map(beneath).max_by_key(|(module, _)| module.path.len());
        longest.map(|(module, rest)| (module.name.as_str(), rest))
    }

    fn operand(&self, user: Option<&str>, host: &str, module: &str, path: &str) -> String {
        let host = self.server.as_ref().map_or(host, |server| &server.host);
        let user = user.map_or(String::new(), |user| format!("{user}@"));
        let path = path.trim_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{user}{host}::{module}{slash}{path}")
    }
}
