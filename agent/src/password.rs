//! Whom to log in as, and with which password: rsync's places to look, in rsync's order, ours before them.
//!
//! Touches: the password file, standard input, the environment, the terminal. Never: network.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use driftless_proto::limits;

/// A password: 0 to [`limits::SECRET_LEN`] bytes. Never shown by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    fn new(bytes: Vec<u8>) -> Result<Self, PasswordError> {
        if bytes.len() > limits::SECRET_LEN {
            return Err(PasswordError::TooLong);
        }
        Ok(Self(bytes))
    }

    /// The bytes, for the wire only.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Why there is no password to send. All of them end the run with exit code 1, as in rsync(1).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The file, or standard input, holds no line that is not empty.
    #[error("{0}: the password file is empty")]
    Empty(String),
    /// The file cannot be opened or read.
    #[error("{file}: {error}")]
    File {
        /// The file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// Others than its owner and group may read or write the file.
    #[error("{0}: the password file must not be readable or writable by everyone (chmod 600)")]
    OthersMayRead(String),
    /// We are root and the file belongs to somebody else, who could put any password there.
    #[error("{0}: the password file must belong to root when root uses it")]
    NotRoots(String),
    /// The server asks and there is no terminal to ask at.
    #[error("no password: give --password-file or DRIFTLESS_PASSWORD ({0})")]
    NoTerminal(io::Error),
    /// Longer than any server takes.
    #[error("the password is longer than {} bytes", limits::SECRET_LEN)]
    TooLong,
}

/// Where a run's password comes from. A watch asks again at every connect, so a changed file counts at once.
#[derive(Debug, Default)]
pub struct Passwords {
    file: Option<PathBuf>,
    /// Nobody is there to be asked.
    alone: bool,
    /// Standard input can be read once only, and an operator should type once only.
    once: OnceLock<Password>,
}

impl Passwords {
    /// `file` is `--password-file`.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, ..Self::default() }
    }

    /// From now on nobody is asked: a terminal that a service was started from is not its own.
    pub fn never_ask(&mut self) {
        self.alone = true;
    }

    /// The password to send unasked: from the file, else `DRIFTLESS_PASSWORD`, else `RSYNC_PASSWORD`, else what
    /// [`Passwords::prompt`] was told, else none.
    pub fn get(&self) -> Result<Option<Password>, PasswordError> {
        self.get_from(|name| std::env::var_os(name))
    }

    fn get_from(&self, env: impl Fn(&str) -> Option<OsString>) -> Result<Option<Password>, PasswordError> {
        if let Some(password) = self.once.get() {
            return Ok(Some(password.clone()));
        }
        match &self.file {
            Some(file) if file.as_os_str() == "-" => {
                let password = first_line(io::stdin().lock(), file)?;
                Ok(Some(self.once.get_or_init(|| password).clone()))
            }
            Some(file) => from_file(file).map(Some),
            None => env("DRIFTLESS_PASSWORD")
                .or_else(|| env("RSYNC_PASSWORD"))
                .map(|value| Password::new(value.into_vec()))
                .transpose(),
        }
    }

    /// Asks on the terminal, and remembers the answer. For when the server wants a password and
    /// [`Passwords::get`] had none. Blocks; not for a thread of the runtime.
    pub fn prompt(&self) -> Result<Password, PasswordError> {
        if self.alone {
            return Err(PasswordError::NoTerminal(io::ErrorKind::Unsupported.into()));
        }
        let typed = rpassword::prompt_password("Password: ").map_err(PasswordError::NoTerminal)?;
        let password = Password::new(typed.into_bytes())?;
        Ok(self.once.get_or_init(|| password).clone())
    }
}

/// Reads a password file. Its rights are looked at on the open file, so they cannot be swapped in between.
#[expect(
    clippy::disallowed_methods,
    reason = "a file that the operator names, opened once, not beneath any Root"
)]
fn from_file(path: &Path) -> Result<Password, PasswordError> {
    let name = || path.display().to_string();
    let failed = |error| PasswordError::File { file: name(), error };
    let file = std::fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let root = rustix::process::geteuid().is_root();
    match rights(meta.mode(), meta.uid(), root) {
        Rights::Good => first_line(file, path),
        Rights::Others => Err(PasswordError::OthersMayRead(name())),
        Rights::NotRoots => Err(PasswordError::NotRoots(name())),
    }
}

/// What [`rights`] finds.
#[derive(Debug, PartialEq, Eq)]
enum Rights {
    Good,
    NotRoots,
    Others,
}

/// rsync's two conditions on a password file (rsync(1), `--password-file`).
fn rights(mode: u32, owner: u32, we_are_root: bool) -> Rights {
    if mode & 0o006 != 0 {
        Rights::Others
    } else if we_are_root && owner != 0 {
        Rights::NotRoots
    } else {
        Rights::Good
    }
}

/// The first line that is not empty, without its end.
fn first_line(from: impl Read, name: &Path) -> Result<Password, PasswordError> {
    let shown = || name.display().to_string();
    let mut bytes = Vec::new();
    // Twice the length leaves room for empty lines before it and shows when it is too long.
    let most = 2 * limits::SECRET_LEN as u64;
    from.take(most).read_to_end(&mut bytes).map_err(|error| PasswordError::File { file: shown(), error })?;
    let line = bytes.split(|b| matches!(b, b'\n' | b'\r')).find(|line| !line.is_empty());
    Password::new(line.ok_or_else(|| PasswordError::Empty(shown()))?.to_vec())
}

/// Whom to log in as: from the operand, else `$USER`, else `$LOGNAME`, else `nobody`.
#[must_use]
pub fn user(operand: Option<&str>) -> String {
    user_from(operand, |name| std::env::var_os(name))
}

fn user_from(operand: Option<&str>, env: impl Fn(&str) -> Option<OsString>) -> String {
    let set = |name| env(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
    operand
        .map(str::to_owned)
        .or_else(|| set("USER"))
        .or_else(|| set("LOGNAME"))
        .unwrap_or_else(|| "nobody".to_owned())
}

#[cfg(test)]
mod tests;
