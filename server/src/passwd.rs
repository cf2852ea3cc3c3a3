//! `driftlessd passwd`: a secrets line as an Argon2id hash, so that a stolen file opens nothing.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use driftless_proto::limits;

use crate::auth;
use crate::named::Place;

/// Cost of a hash: 19 MiB, two passes, one lane (OWASP's first choice for Argon2id).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Asks for a password and writes the user's line; every other line stays as it is.
pub(crate) fn run(file: &Path, user: &str) -> ExitCode {
    match set(file, user) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("driftlessd: {text}");
            ExitCode::from(1)
        }
    }
}

fn set(file: &Path, user: &str) -> Result<(), String> {
    if !auth::valid_user(user) {
        return Err(format!("{user:?} cannot be a user: no colon, no newline, and no # or @ at its start"));
    }
    let failed = |error: io::Error| format!("{}: {error}", file.display());
    let place = Place::find(file).map_err(failed)?;
    let (old, owner) = match place.read() {
        Ok(contents) => (contents.bytes, Some((contents.uid, contents.gid))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
        Err(error) => return Err(failed(error)),
    };
    let line = format!("{user}:{}", hash(password()?)?);
    place.replace(&with_line(&old, user, &line), 0o600, owner).map_err(failed)
}

/// Asks twice on a terminal; otherwise takes one line of standard input.
fn password() -> Result<Vec<u8>, String> {
    let password = if io::stdin().is_terminal() {
        let ask = |prompt| rpassword::prompt_password(prompt).map_err(|error| error.to_string());
        let password = ask("New password: ")?;
        if ask("Again: ")? != password {
            return Err("the passwords differ".into());
        }
        password.into_bytes()
    } else {
        let mut line = Vec::new();
        io::stdin().lock().read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        line
    };
    match password.len() {
        0 => Err("an empty password protects nothing".into()),
        len if len > limits::SECRET_LEN => Err(format!("longer than {} bytes", limits::SECRET_LEN)),
        _ => Ok(password),
    }
}

/// The Argon2id hash of a password, as a secrets line holds it.
///
/// # Errors
/// No random numbers, or no memory.
pub(crate) fn hash(password: impl AsRef<[u8]>) -> Result<String, String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2
        .hash_password(password.as_ref(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| error.to_string())
}

/// The file with the user's first line replaced, or with the line at its end.
fn with_line(old: &[u8], user: &str, line: &str) -> Vec<u8> {
    let mut new = Vec::with_capacity(old.len() + line.len() + 1);
    let mut replaced = false;
    for old_line in old.split_inclusive(|&byte| byte == b'\n') {
        let is_users = old_line.strip_prefix(user.as_bytes()).is_some_and(|rest| rest.first() == Some(&b':'));
        if is_users && !replaced {
            replaced = true;
            new.extend_from_slice(line.as_bytes());
            new.push(b'\n');
        } else {
            new.extend_from_slice(old_line);
        }
    }
    if !replaced {
        if new.last().is_some_and(|&byte| byte != b'\n') {
            new.push(b'\n');
        }
        new.extend_from_slice(line.as_bytes());
        new.push(b'\n');
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_users_own_line_changes() {
        let cases: [(&[u8], &[u8]); 4] = [
            (b"", b"bob:NEW\n"),
            (b"# c\nalice:x:y\n", b"# c\nalice:x:y\nbob:NEW\n"),
            (b"alice:a\nbob:old\nbobby:b", b"alice:a\nbob:NEW\nbobby:b"),
            (b"alice:a", b"alice:a\nbob:NEW\n"),
        ];
        for (old, new) in cases {
            assert_eq!(with_line(old, "bob", "bob:NEW"), new);
        }
    }
}
