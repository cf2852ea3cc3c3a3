//! A module: a named directory that the server offers, and everything `rsyncd.conf(5)` lets an operator say of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::access::AccessList;
use crate::auth::AuthRules;
use crate::identity::Identity;

/// One module, as the config describes it. Nothing in it changes while the server runs.
#[derive(Debug)]
pub(crate) struct Module {
    /// What a client asks for; case and blanks count.
    pub(crate) name: String,
    /// The directory. `None`: no `path`, and nobody gets in.
    pub(crate) path: Option<PathBuf>,
    /// Shown in the list of modules.
    pub(crate) comment: String,
    /// Whether it stands in the list of modules, and whether a client at a wrong address learns that it exists.
    pub(crate) list: bool,
    /// Refuses pushes, unless the user's rule says `:rw`.
    pub(crate) read_only: bool,
    /// Refuses pulls, whatever the user's rule says.
    pub(crate) write_only: bool,
    /// As whom files are read and written. `None`: the daemon is not root and stays who it is.
    pub(crate) identity: Option<Identity>,
    /// Whether ids are kept as numbers, not matched by name: explicit, or as `use chroot` (`rsyncd.conf(5)`: on where
    /// the chroot hides the name tables).
    pub(crate) numeric_ids: bool,
    /// Streams at once: 0 is no limit, a negative number closes the module.
    pub(crate) max_connections: i64,
    /// Modules that name the same lock file share their slots.
    pub(crate) lock_file: PathBuf,
    /// Which addresses get in.
    pub(crate) access: AccessList,
    /// Which users get in; without rules, everybody.
    pub(crate) auth: AuthRules,
    /// Where the passwords are.
    pub(crate) secrets_file: Option<PathBuf>,
    /// Whether a secrets file that others may read is refused.
    pub(crate) strict_modes: bool,
    /// Whether deletions go on although the sender could not read all of its side.
    pub(crate) ignore_errors: bool,
    /// Whether owners and special files are kept in extended attributes.
    pub(crate) fake_super: bool,
    /// How long a stream may be silent. `None`: for ever.
    pub(crate) timeout: Option<Duration>,
    /// Its own log, if it has one.
    pub(crate) log_file: Option<PathBuf>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A module as the defaults make it, open to everybody.
    pub(crate) fn open_module(name: &str) -> Module {
        Module {
            name: name.into(),
            path: Some(PathBuf::from("/nonexistent")),
            comment: String::new(),
            list: true,
            read_only: true,
            write_only: false,
            identity: None,
            numeric_ids: true,
            max_connections: 0,
            lock_file: PathBuf::from("/var/run/rsyncd.lock"),
            access: AccessList::default(),
            auth: AuthRules::default(),
            secrets_file: None,
            strict_modes: true,
            ignore_errors: false,
            fake_super: false,
            timeout: None,
            log_file: None,
        }
    }
}
