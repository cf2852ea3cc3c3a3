//! The secrets file: `NAME:PASSWORD`, `NAME:$argon2id$...` and `@GROUP:...`, one a line (`rsyncd.conf(5)`).
//!
//! It is opened, and judged by its descriptor, at every login: a file that was right when the server started may not be
//! so any more, and a password that was taken out must stop working at once.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use argon2::password_hash::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use subtle::ConstantTimeEq;

use super::AuthFailure;
use crate::limits;
use crate::named::{self, Contents};

/// How a hashed password begins.
pub(crate) const ARGON2ID: &str = "$argon2id$";

/// The content of a secrets file that may be used.
pub(super) struct Secrets {
    bytes: Vec<u8>,
}

impl Secrets {
    /// Opens and judges the file.
    pub(super) fn read(path: Option<&Path>, strict_modes: bool) -> Result<Self, AuthFailure> {
        let path = path.ok_or(AuthFailure::NoSecretsFile)?;
        let contents = named::read(path)
            .map_err(|error| AuthFailure::SecretsRefused(format!("cannot open it: {error}")))?;
        if strict_modes {
            judge(&contents).map_err(AuthFailure::SecretsRefused)?;
        }
        Ok(Self { bytes: contents.bytes })
    }

    /// Tries the user's line, then that of the group by which his rule matched; of each the first.
    pub(super) fn verify(&self, user: &str, group: Option<&str>, password: &[u8]) -> Result<(), AuthFailure> {
        let group = group.map(|group| format!("@{group}"));
        let names = std::iter::once(user).chain(group.as_deref());
        let stored: Vec<Stored<'_>> = names.filter_map(|name| self.stored(name)).collect();
        if stored.iter().any(|stored| stored.verify(password)) {
            return Ok(());
        }
        // A refusal that checked no hash would be quick, and so tell that the name has none.
        if !stored.iter().any(|stored| matches!(stored, Stored::Hash(_))) {
            self.verify_nobody(password);
        }
        Err(if stored.is_empty() { AuthFailure::SecretNotFound } else { AuthFailure::PasswordMismatch })
    }

    /// Takes as long as a check of somebody's password would.
    pub(super) fn verify_nobody(&self, password: &[u8]) {
        if let Some(hash) =
            self.lines().map(|(_, stored)| stored).find(|stored| matches!(stored, Stored::Hash(_)))
        {
            hash.verify(password);
        }
    }

    fn stored(&self, name: &str) -> Option<Stored<'_>> {
        self.lines().find(|(line, _)| *line == name.as_bytes()).map(|(_, stored)| stored)
    }

    fn lines(&self) -> impl Iterator<Item = (&[u8], Stored<'_>)> {
        self.bytes.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(split_line)
    }
}

/// A line's name, from its first column to its first `:`, and the secret, from there to its end with all its blanks.
fn split_line(line: &[u8]) -> Option<(&[u8], Stored<'_>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, secret) = (&line[..colon], &line[colon + 1..]);
    if name.starts_with(b"#") {
        return None;
    }
    let hash =
        secret.starts_with(ARGON2ID.as_bytes()).then(|| std::str::from_utf8(secret).unwrap_or_default());
    Some((name, hash.map_or(Stored::Plain(secret), Stored::Hash)))
}

/// A password as the file keeps it.
enum Stored<'a> {
    Hash(&'a str),
    Plain(&'a [u8]),
}

impl Stored<'_> {
    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Hash(text) => {
                let _turn = Turn::take();
                let hash = PasswordHash::new(text.trim_end());
                hash.is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
            }
            // Hashed first, so that neither content nor length shows in the time it takes. A line without a password
            // is an unfinished one and lets nobody in.
            Self::Plain(secret) => {
                let equal = blake3::hash(secret).as_bytes().ct_eq(blake3::hash(password).as_bytes());
                bool::from(equal) && !secret.is_empty()
            }
        }
    }
}

/// What `strict modes` asks of the file: others cannot read or write it, and a daemon of root takes it from root only.
/// rsync never looks at the group's bits.
///
/// # Errors
/// What is wrong, in brackets behind rsync's words.
pub(crate) fn judge(contents: &Contents) -> Result<(), String> {
    if contents.mode & 0o006 != 0 {
        return Err(format!(
            "other users may read or write it: mode {:o}, see `strict modes`",
            contents.mode
        ));
    }
    if rustix::process::geteuid().is_root() && contents.uid != 0 {
        return Err("it must belong to root, since the daemon runs as root: see `strict modes`".into());
    }
    Ok(())
}

/// One of the [`limits::HASH_CHECKS`] that may run at once, given back when dropped.
struct Turn;

static TAKEN: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Turn {
    fn take() -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= limits::HASH_CHECKS {
            taken = FREED.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}
