//! The state folder: what the agent knows between runs. Here is the folder itself and the agent's identity; the
//! journal keeps its own files in it.
//!
//! Touches: the state folder. Never: a source or a destination, network.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

/// The file that holds the agent's identity: 32 hexadecimal digits and a line end.
const ID_FILE: &str = "agent-id";

/// Names the agent to servers, so that its newer stream ends its older one: random, no secret, the same for every
/// run with one state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AgentId(pub [u8; 16]);

/// Why the state folder cannot be used. Ends the run with exit code 11.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The folder or a file in it cannot be made, opened, read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The folder belongs to somebody else, or others may write to it: what it says could be anybody's word.
    #[error(
        "{0}: the state folder must belong to who runs the agent, and be writable by nobody else (chmod 700)"
    )]
    NotOurs(String),
    /// `agent-id` holds something else.
    #[error("{0}: not an agent id; remove the file to get a new one")]
    BadId(String),
    /// Neither `XDG_STATE_HOME` nor `HOME` says where it could be.
    #[error("no place for the state folder: set HOME or give --state-dir")]
    NoHome,
}

/// The open state folder.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    fd: OwnedFd,
}

impl StateDir {
    /// Opens the folder, which is made with mode 700 when missing: `named` (`--state-dir`), else
    /// `/var/lib/driftless` as root, else `driftless` in `$XDG_STATE_HOME` or `~/.local/state`.
    pub fn open(named: Option<&Path>) -> Result<Self, StateError> {
        let root = rustix::process::geteuid().is_root();
        let path = match named {
            Some(named) => named.to_owned(),
            None => default_path(root, |name| std::env::var_os(name)).ok_or(StateError::NoHome)?,
        };
        let failed = |error| StateError::Io { path: path.display().to_string(), error };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| failed(e.into()))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            return Err(StateError::NotOurs(path.display().to_string()));
        }
        Ok(Self { path, fd })
    }

    /// Where it is, for messages and for the journal.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The agent's identity, made on first use. Two agents that start at once get the same one.
    pub fn agent_id(&self) -> Result<AgentId, StateError> {
        match self.read_id() {
            Err(StateError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            known => return known,
        }
        self.write_id().map_err(|error| self.failed(error))?;
        self.read_id()
    }

    fn read_id(&self) -> Result<AgentId, StateError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, ID_FILE, flags, Mode::empty());
        let file = file.map_err(|error| self.failed(error.into()))?;
        let mut text = String::new();
        // One byte more than an id has shows what is too long.
        let read = std::fs::File::from(file).take(34).read_to_string(&mut text);
        match read {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(self.failed(error)),
            _ => {}
        }
        parse_id(&text).ok_or_else(|| StateError::BadId(self.id_path()))
    }

    /// Writes a new id under a name of its own first, so that nobody ever reads half of one. The link fails where
    /// somebody was quicker, whose id then stands.
    fn write_id(&self) -> io::Result<()> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let temp = format!("{ID_FILE}.{id}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file: std::fs::File =
            rustix::fs::openat(&self.fd, &*temp, flags, Mode::from_raw_mode(0o600))?.into();
        let written = file.write_all(format!("{id}\n").as_bytes()).and_then(|()| file.sync_all());
        let linked = written.and_then(|()| {
            match rustix::fs::linkat(&self.fd, &*temp, &self.fd, ID_FILE, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
        rustix::fs::unlinkat(&self.fd, &*temp, AtFlags::empty())?;
        linked?;
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    fn id_path(&self) -> String {
        self.path.join(ID_FILE).display().to_string()
    }

    fn failed(&self, error: io::Error) -> StateError {
        StateError::Io { path: self.id_path(), error }
    }
}

fn parse_id(text: &str) -> Option<AgentId> {
    let digits = text.strip_suffix('\n').unwrap_or(text);
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().map(|id| AgentId(id.to_be_bytes()))
}

/// Where the folder is when nobody says. The XDG rules want an absolute path and ignore any other.
fn default_path(root: bool, env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if root {
        return Some("/var/lib/driftless".into());
    }
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(home.join("driftless"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests make their files by path, in folders of their own")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_made_private_and_the_id_stays() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("a/state");
        let state = StateDir::open(Some(&path)).expect("open");
        let mode = std::fs::metadata(&path).expect("stat").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let id = state.agent_id().expect("id");
        assert_eq!(state.agent_id().expect("id"), id);
        assert_eq!(StateDir::open(Some(&path)).expect("open").agent_id().expect("id"), id);
        let names: Vec<_> =
            std::fs::read_dir(&path).expect("list").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(names, [ID_FILE]);
    }

    #[test]
    fn agents_that_start_at_once_share_one_id() {
        let dir = tempfile::tempdir().expect("dir");
        let ids: Vec<AgentId> = std::thread::scope(|scope| {
            let start = || StateDir::open(Some(dir.path())).expect("open").agent_id().expect("id");
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().expect("thread")).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
        assert!(matches!(StateDir::open(Some(dir.path())), Err(StateError::NotOurs(_))));
    }

    #[test]
    fn a_broken_id_is_not_replaced_in_silence() {
        let dir = tempfile::tempdir().expect("dir");
        let state = StateDir::open(Some(dir.path())).expect("open");
        for text in ["", "12\n", "zz23456789abcdef0123456789abcdef\n", "0123456789abcdef0123456789abcdef00\n"]
        {
            std::fs::write(dir.path().join(ID_FILE), text).expect("write");
            assert!(matches!(state.agent_id(), Err(StateError::BadId(_))), "{text:?}");
        }
    }

    #[test]
    fn the_default_folder_follows_who_runs_it() {
        let env = |name: &str| match name {
            "HOME" => Some(OsString::from("/home/joe")),
            _ => None,
        };
        assert_eq!(default_path(true, env), Some("/var/lib/driftless".into()));
        assert_eq!(default_path(false, env), Some("/home/joe/.local/state/driftless".into()));
        let xdg = |name: &str| if name == "XDG_STATE_HOME" { Some("/x".into()) } else { env(name) };
        assert_eq!(default_path(false, xdg), Some("/x/driftless".into()));
        let relative = |name: &str| if name == "XDG_STATE_HOME" { Some("x".into()) } else { env(name) };
        assert_eq!(default_path(false, relative), Some("/home/joe/.local/state/driftless".into()));
        assert_eq!(default_path(false, |_| None), None);
    }
}
