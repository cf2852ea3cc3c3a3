//! The server's config: `rsyncd.conf(5)`, read once at the start.
//!
//! [`grammar`] cuts the text into lines, [`draft`] sorts them into sections, [`parameters`] knows what each is, and
//! this file and [`modules`] turn the result into types that need no second look. Everything that is wrong is found in
//! one pass and named with its line.

pub(crate) mod draft;
pub(crate) mod grammar;
mod modules;
pub(crate) mod parameters;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driftless_proto::model::path::Escaped;

use crate::module::Module;
use crate::named;
use draft::{Layer, Value};

/// Where a server listens that is told nothing else.
pub(crate) const DEFAULT_PORT: u16 = 8730;

/// A config file, understood.
#[derive(Debug)]
pub(crate) struct Config {
    /// `port`.
    pub(crate) port: u16,
    /// `address`, looked up; empty means every address of this host.
    pub(crate) addresses: Vec<IpAddr>,
    /// `plaintext`: no TLS, on loopback only.
    pub(crate) plaintext: bool,
    /// `pid file`.
    pub(crate) pid_file: Option<PathBuf>,
    /// `log file` of the daemon.
    pub(crate) log_file: Option<PathBuf>,
    /// `tls certificate` and `tls key`, which come together. `None`: self-signed.
    pub(crate) certificate: Option<CertificateFiles>,
    /// `client ca`: whose client certificates stand in for secrets.
    pub(crate) client_ca: Option<PathBuf>,
    /// `state dir`: where the server keeps what it makes itself.
    pub(crate) state_dir: PathBuf,
    /// In the order of the file.
    pub(crate) modules: Vec<Arc<Module>>,
    /// Everything there is to say about the file, in the order of its lines.
    pub(crate) notes: Vec<Note>,
}

/// The PEM files of a configured certificate.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    /// The certificate, and those that lead to its CA.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// One remark about the file. Shows as `FILE:LINE: error: TEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Which file.
    pub(crate) file: PathBuf,
    /// Which line, if it is about one.
    pub(crate) line: Option<u32>,
    /// What it means for the server.
    pub(crate) severity: Severity,
    /// What is wrong, and how to mend it.
    pub(crate) text: String,
}

/// What a [`Note`] means for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// It serves.
    Warning,
    /// It does not serve: the line is right, but we cannot obey it yet and dare not ignore it.
    Refuse,
    /// It does not serve: the line is wrong.
    Error,
}

/// The file could not be read at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read config file {}: {source}", path.display())]
pub(crate) struct ConfigError {
    path: PathBuf,
    source: io::Error,
}

impl Config {
    /// Reads and understands a config file.
    ///
    /// # Errors
    /// Only when it cannot be read; all else stands in [`Config::notes`].
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let contents = named::read(path).map_err(|source| ConfigError { path: path.to_owned(), source })?;
        let mut findings = Findings::new(path);
        // Whoever can write to it can make the daemon serve anything as root.
        if contents.mode & 0o002 != 0 {
            findings.add(
                None,
                Severity::Error,
                format!("every user may write to it (mode {:o})", contents.mode),
            );
        }
        Ok(Self::understand(&contents.bytes, findings))
    }

    fn understand(text: &[u8], mut findings: Findings) -> Self {
        let draft = draft::sort(text, &mut findings);
        let mut globals = Reader { own: None, globals: &draft.globals };
        let mut config = Self::globals(&mut globals, &mut findings);
        config.modules = modules::build(&draft, config.client_ca.is_some(), &mut findings);
        if let Err(text) = config.listen(None, None) {
            findings.add(globals.line("address").or(globals.line("plaintext")), Severity::Error, text);
        }
        config.notes = findings.finish();
        config
    }

    fn globals(reader: &mut Reader<'_>, findings: &mut Findings) -> Self {
        let number = reader.number("port").map_or(Some(DEFAULT_PORT), |(port, _)| u16::try_from(port).ok());
        let port = number.unwrap_or_else(|| {
            findings.add(reader.line("port"), Severity::Error, "port: not between 0 and 65535");
            DEFAULT_PORT
        });
        let addresses = reader.text("address").map_or(Ok(Vec::new()), |(host, _)| look_up(host));
        let addresses = addresses.unwrap_or_else(|text| {
            findings.add(reader.line("address"), Severity::Error, text);
            Vec::new()
        });
        let certificate = match (reader.path("tls certificate"), reader.path("tls key")) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            _ => {
                let line = reader.line("tls certificate").or(reader.line("tls key"));
                findings.add(line, Severity::Error, "`tls certificate` and `tls key` need each other");
                None
            }
        };
        Self {
            port,
            addresses,
            plaintext: reader.flag("plaintext").unwrap_or(false),
            pid_file: reader.path("pid file"),
            log_file: reader.path("log file"),
            certificate,
            client_ca: reader.path("client ca"),
            state_dir: reader.path("state dir").unwrap_or_else(default_state_dir),
            modules: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether nothing forbids to serve this file.
    pub(crate) fn may_serve(&self) -> bool {
        self.notes.iter().all(|note| note.severity == Severity::Warning)
    }

    /// Where to listen; the command line wins over the file. Without any address it is `[::]`, which on Linux takes
    /// IPv4 too; a host without IPv6 needs `0.0.0.0` in its place.
    ///
    /// # Errors
    /// Plaintext anywhere but on loopback, as one line.
    pub(crate) fn listen(
        &self,
        address: Option<IpAddr>,
        port: Option<u16>,
    ) -> Result<Vec<SocketAddr>, String> {
        let port = port.unwrap_or(self.port);
        let mut addresses = address.map_or_else(|| self.addresses.clone(), |one| vec![one]);
        if addresses.is_empty() {
            addresses.push(Ipv6Addr::UNSPECIFIED.into());
        }
        if let Some(open) = addresses.iter().find(|one| self.plaintext && !one.to_canonical().is_loopback()) {
            return Err(format!(
                "plaintext is allowed on a loopback address only, not on {open}: set address = 127.0.0.1"
            ));
        }
        Ok(addresses.into_iter().map(|one| SocketAddr::new(one, port)).collect())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        let word = if self.severity == Severity::Warning { "warning" } else { "error" };
        write!(f, " {word}: {}", self.text)
    }
}

/// An IP address as it is; a host name by all of its addresses.
fn look_up(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = (host, 0).to_socket_addrs().map_err(|error| format!("address: {host}: {error}"))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// As root the place for a daemon's state (`hier(7)`), else the user's own (XDG base directory specification).
fn default_state_dir() -> PathBuf {
    let root = rustix::process::geteuid().is_root();
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = || folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    match user() {
        Some(state) if !root => state.join("driftlessd"),
        _ => PathBuf::from("/var/lib/driftlessd"),
    }
}

/// Looks settings up: a module's own before the defaults.
struct Reader<'a> {
    own: Option<&'a Layer>,
    globals: &'a Layer,
}

impl<'a> Reader<'a> {
    /// Numbers and booleans of the global part were copied into the module where it began; only texts come from it now.
    fn setting(&self, name: &str) -> Option<&'a draft::Setting> {
        let late = |setting: &&draft::Setting| {
            self.own.is_none() || matches!(setting.value, Value::Path(_) | Value::Text(_))
        };
        let own = self.own.and_then(|own| own.get(name));
        own.or_else(|| self.globals.get(name).filter(late))
    }

    fn line(&self, name: &str) -> Option<u32> {
        self.setting(name).map(|setting| setting.line)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.setting(name).and_then(|setting| match setting.value {
            Value::Flag(flag) => flag,
            _ => None,
        })
    }

    fn number(&self, name: &str) -> Option<(i64, u32)> {
        self.setting(name).and_then(|setting| match setting.value {
            Value::Number(number) => Some((number, setting.line)),
            _ => None,
        })
    }

    /// Empty counts as unset.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.setting(name).and_then(|setting| match &setting.value {
            Value::Path(path) if !path.as_os_str().is_empty() => Some(path.clone()),
            _ => None,
        })
    }

    /// Empty counts as unset.
    fn text(&self, name: &str) -> Option<(&'a str, u32)> {
        self.setting(name).and_then(|setting| match &setting.value {
            Value::Text(text) if !text.is_empty() => Some((text.as_str(), setting.line)),
            _ => None,
        })
    }
}

/// Collects notes.
pub(crate) struct Findings {
    file: PathBuf,
    notes: Vec<Note>,
}

impl Findings {
    fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), notes: Vec::new() }
    }

    /// Much of a text is quoted from the file, so no control character gets out of here, into a log or a terminal.
    fn add(&mut self, line: Option<u32>, severity: Severity, text: impl AsRef<str>) {
        let text = Escaped(text.as_ref().as_bytes()).to_string();
        self.notes.push(Note { file: self.file.clone(), line, severity, text });
    }

    fn error(&mut self, line: u32, text: impl AsRef<str>) {
        self.add(Some(line), Severity::Error, text);
    }

    fn warn(&mut self, line: u32, text: impl AsRef<str>) {
        self.add(Some(line), Severity::Warning, text);
    }

    /// In the order of the lines. A default that is wrong is wrong in every module and told once.
    fn finish(mut self) -> Vec<Note> {
        self.notes.sort_by_key(|note| note.line);
        let mut told: Vec<Note> = Vec::new();
        for note in self.notes {
            if !told.contains(&note) {
                told.push(note);
            }
        }
        told
    }
}

#[cfg(test)]
mod tests;
