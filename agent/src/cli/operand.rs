//! The operand grammar: what a SRC or DEST on the command line names. rsync(1) has the forms; only those of an
//! rsync daemon exist here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use driftless_proto::model::path::{Escaped, PathError, RelPath};

/// What an operand names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path on this host.
    Local(Local),
    /// A path in a module of a server, or the server itself.
    Remote(Remote),
}

/// A path on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// As typed, without slashes and `/.` at its end; never empty.
    pub path: PathBuf,
    /// Whether the content is meant rather than the directory itself: typed with a slash, `/.` or `..` at the end.
    pub trailing_slash: bool,
}

/// A path in a module of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Whom to log in as, when the operand says so. Never empty.
    pub user: Option<String>,
    /// Name or address of the server, without the brackets of an IPv6 address. Never empty once
    /// [`parse_sources`] or [`parse_place`] returned it.
    pub host: String,
    /// The port, when the operand says so (URL form only). Never 0.
    pub port: Option<u16>,
    /// The module; empty asks for the list of modules.
    pub module: String,
    /// The path within the module as typed, without its leading slash and without slashes and `/.` at its end;
    /// empty for the module itself. [`RelPath::parse_typed`] takes it: that was tried here.
    pub path: Vec<u8>,
    /// Whether the content is meant rather than the directory itself. Always so for the module itself.
    pub trailing_slash: bool,
}

/// Why an operand, or several together, cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperandError {
    /// A remote path with `..`, a NUL, or too long. Refused rather than clamped to the module: what the operator
    /// meant lies elsewhere.
    #[error("{operand}: {error}; a remote path stays within its module")]
    BadPath {
        /// As typed.
        operand: String,
        /// What is wrong.
        error: PathError,
    },
    /// A port that is no number from 1 to 65535.
    #[error("{0}: the port is a number from 1 to 65535")]
    BadPort(String),
    /// Nothing between the quotes.
    #[error("an operand is empty")]
    Empty,
    /// Sources on both sides, on two servers, or as two users.
    #[error("all sources must come from the same place")]
    Mixed,
    /// A remote operand without a host where no earlier one gives it.
    #[error("{0}: no host is named before the colons")]
    NoHost(String),
    /// A path where the module should be.
    #[error("{0}: a module name comes first, not a slash")]
    NoModule(String),
    /// A user name, host or module that is not UTF-8.
    #[error("{0}: user, host and module must be UTF-8")]
    NotText(String),
    /// A colon in the user name, most likely a password.
    #[error("a user name has no colon; a password belongs in --password-file or DRIFTLESS_PASSWORD")]
    PasswordInUser,
    /// `host:path`, which in rsync goes through a remote shell.
    #[error(
        "{0}: there is no remote shell, only host::module[/path] or driftless://host/module[/path] \
         (for a local name with a colon write ./NAME)"
    )]
    RemoteShell(String),
    /// Remote sources in two modules.
    #[error("all sources must be in the same module")]
    TwoModules,
}

/// Reads the source operands. From the second on a remote one may leave out what the first one says: `::module/path`,
/// or `::path` within the first one's module.
pub fn parse_sources(operands: &[OsString]) -> Result<Vec<Place>, OperandError> {
    let Some((first, rest)) = operands.split_first() else {
        return Ok(Vec::new());
    };
    let first = parse_place(first)?;
    let mut places = vec![first.clone()];
    for operand in rest {
        places.push(match (&first, split(operand.as_bytes())?) {
            (Place::Local(_), None) => Place::Local(local(operand)?),
            (Place::Remote(first), Some(later)) => Place::Remote(complete(first, later)?),
            _ => return Err(OperandError::Mixed),
        });
    }
    Ok(places)
}

/// Reads an operand that stands for itself: the destination, or the first source.
pub fn parse_place(operand: &OsStr) -> Result<Place, OperandError> {
    match split(operand.as_bytes())? {
        None => Ok(Place::Local(local(operand)?)),
        Some(typed) if typed.host.is_empty() => Err(OperandError::NoHost(typed.shown)),
        Some(typed) => Ok(Place::Remote(remote(typed)?)),
    }
}

/// A remote operand, cut at its colons and no further.
struct Typed {
    /// For messages.
    shown: String,
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// Module and path.
    rest: Vec<u8>,
}

/// Cuts a remote operand; `None` means that it is a local one. A colon counts only before the first slash.
fn split(operand: &[u8]) -> Result<Option<Typed>, OperandError> {
    for scheme in [&b"rsync://"[..], b"driftless://"] {
        if operand.len() >= scheme.len() && operand[..scheme.len()].eq_ignore_ascii_case(scheme) {
            return split_url(operand, &operand[scheme.len()..]).map(Some);
        }
    }
    let head = operand.split(|&b| b == b'/').next().unwrap_or_default();
    let user_len = user_len(head);
    // The colons of an IPv6 address are behind its brackets.
    let host_from = match head[user_len..].first() {
        Some(b'[') => match head.iter().position(|&b| b == b']') {
            Some(at) => at,
            None => return Ok(None),
        },
        _ => user_len,
    };
    let Some(colon) = head[host_from..].iter().position(|&b| b == b':').map(|at| at + host_from) else {
        return Ok(None);
    };
    let shown = shown(operand);
    if operand.get(colon + 1) != Some(&b':') {
        return Err(OperandError::RemoteShell(shown));
    }
    Ok(Some(Typed {
        user: user(&operand[..user_len], &shown)?,
        host: text(unbracketed(&operand[user_len..colon]), &shown)?,
        port: None,
        rest: operand[colon + 2..].to_vec(),
        shown,
    }))
}

/// Cuts `[user@]host[:port][/module[/path]]`.
fn split_url(operand: &[u8], after_scheme: &[u8]) -> Result<Typed, OperandError> {
    let shown = shown(operand);
    let slash = after_scheme.iter().position(|&b| b == b'/').unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme.split_at(slash);
    let (name, host) = authority.split_at(user_len(authority));
    let host_len = match host.iter().position(|&b| b == b']') {
        Some(at) if host.starts_with(b"[") => at + 1,
        _ => host.iter().position(|&b| b == b':').unwrap_or(host.len()),
    };
    let (host, port) = host.split_at(host_len);
    let port = match port.strip_prefix(b":") {
        None if port.is_empty() => None,
        None => return Err(OperandError::BadPort(shown)),
        Some(port) => match std::str::from_utf8(port).ok().and_then(|port| port.parse().ok()) {
            None | Some(0) => return Err(OperandError::BadPort(shown)),
            port => port,
        },
    };
    let host = text(unbracketed(host), &shown)?;
    if host.is_empty() {
        return Err(OperandError::NoHost(shown));
    }
    Ok(Typed {
        user: user(name, &shown)?,
        host,
        port,
        rest: rest.strip_prefix(b"/").unwrap_or(rest).to_vec(),
        shown,
    })
}

/// Length of `user@` at the start: up to the last `@`, since a user name may hold one and a host may not.
fn user_len(head: &[u8]) -> usize {
    head.iter().rposition(|&b| b == b'@').map_or(0, |at| at + 1)
}

/// The user name in `user@`; an empty one is none.
fn user(name: &[u8], shown: &str) -> Result<Option<String>, OperandError> {
    let name = text(name.strip_suffix(b"@").unwrap_or(name), shown)?;
    if name.contains(':') {
        return Err(OperandError::PasswordInUser);
    }
    Ok(Some(name).filter(|name| !name.is_empty()))
}

fn unbracketed(host: &[u8]) -> &[u8] {
    host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host)
}

fn text(bytes: &[u8], shown: &str) -> Result<String, OperandError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| OperandError::NotText(shown.to_owned()))
}

fn shown(operand: &[u8]) -> String {
    Escaped(operand).to_string()
}

/// Cuts module and path apart.
fn remote(typed: Typed) -> Result<Remote, OperandError> {
    let Typed { shown, user, host, port, rest } = typed;
    let module_len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    if module_len == 0 && !rest.is_empty() {
        return Err(OperandError::NoModule(shown));
    }
    let module = text(&rest[..module_len], &shown)?;
    let (path, trailing_slash) = path(&rest[module_len..], &shown)?;
    Ok(Remote { user, host, port, module, path, trailing_slash })
}

/// Gives a later remote source what it left out, from the first one.
fn complete(first: &Remote, later: Typed) -> Result<Remote, OperandError> {
    let bare = later.host.is_empty();
    if !bare && (later.host != first.host || later.port.is_some() && later.port != first.port) {
        return Err(OperandError::Mixed);
    }
    if later.user.is_some() && later.user != first.user {
        return Err(OperandError::Mixed);
    }
    let names_module = later.rest.split(|&b| b == b'/').next() == Some(first.module.as_bytes());
    let mut place = if names_module {
        remote(later)?
    } else if bare {
        let (path, trailing_slash) = path(&later.rest, &later.shown)?;
        Remote { path, trailing_slash, ..first.clone() }
    } else {
        return Err(OperandError::TwoModules);
    };
    place.user.clone_from(&first.user);
    place.host.clone_from(&first.host);
    place.port = first.port;
    Ok(place)
}

/// A remote path and whether its content is meant. Checked, but kept as typed.
fn path(typed: &[u8], shown: &str) -> Result<(Vec<u8>, bool), OperandError> {
    let checked = RelPath::parse_typed(typed)
        .map_err(|error| OperandError::BadPath { operand: shown.to_owned(), error })?;
    if checked.is_root() {
        return Ok((Vec::new(), true));
    }
    let (path, trailing_slash) = without_end(typed);
    let start = path.iter().position(|&b| b != b'/').unwrap_or(0);
    Ok((path[start..].to_vec(), trailing_slash))
}

fn local(operand: &OsStr) -> Result<Local, OperandError> {
    let bytes = operand.as_bytes();
    if bytes.is_empty() {
        return Err(OperandError::Empty);
    }
    let (path, cut) = without_end(bytes);
    // `..` names a directory by where it is, not by a name that could be made at the destination.
    let trailing_slash = cut || matches!(path, b"." | b"..") || path.ends_with(b"/..");
    Ok(Local { path: PathBuf::from(OsString::from_vec(path.to_vec())), trailing_slash })
}

/// The path without slashes and `/.` at its end, and whether there were any. `/` and `.` stay.
fn without_end(path: &[u8]) -> (&[u8], bool) {
    let mut rest = path;
    loop {
        rest = match rest {
            [b'/'] => return (rest, true),
            [b'/', b'.'] => &rest[..1],
            [start @ .., b'/'] | [start @ .., b'/', b'.'] => start,
            _ => return (rest, rest.len() < path.len()),
        }
    }
}

#[cfg(test)]
mod tests;
