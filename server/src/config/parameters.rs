//! Every parameter of `rsyncd.conf(5)` (3.5.0) and our own: what kind of value it takes, and what we do with it.
//!
//! A parameter that is not built yet is ignored with a note only where that is at least as safe as obeying it;
//! otherwise the server does not start. Each row gives its reason.

use super::grammar;

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// As `rsyncd.conf(5)` writes it.
    pub(crate) name: &'static str,
    /// Where it may stand.
    pub(crate) scope: Scope,
    /// What values it takes.
    pub(crate) kind: Kind,
    /// What we do with it.
    pub(crate) standing: Standing,
}

/// Where a parameter may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Before the first section and in `[global]` only.
    Global,
    /// In a module; in the global part it is the default of all modules.
    Module,
}

/// What values a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Yes or no.
    Flag(IfBad),
    /// Yes, no or unset.
    Tri(IfBad),
    /// A whole number.
    Number,
    /// The absolute path of a file or directory; any bytes.
    Path,
    /// Any text.
    Text,
}

/// What a boolean that cannot be read means. rsync keeps the value from before and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfBad {
    /// The default is the safer of the two readings: a warning will do, unless the file has set another value before.
    Keep,
    /// It is not: the file is refused.
    Refuse,
}

/// What we do with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Obeyed in full.
    Served,
    /// Obeyed in full, and a line that is lost to a misspelling lets somebody in.
    Guards,
    /// Not built yet and ignored; why that is no less safe.
    Ignored(&'static str),
    /// Not built yet, and the server refuses to start; why ignoring it would be less safe.
    Refused(&'static str),
}

impl Parameter {
    /// Whether the file without this line would be less safe than with it.
    pub(crate) fn limits_access(&self) -> bool {
        matches!(self.standing, Standing::Guards | Standing::Refused(_))
    }
}

/// The row of a name as someone wrote it.
pub(crate) fn find(name: &[u8]) -> Option<&'static Parameter> {
    TABLE.iter().find(|row| grammar::same_name(row.name.as_bytes(), name))
}

/// The row that a misspelled name was most likely meant to be: at most two letters away.
pub(crate) fn nearest(name: &[u8]) -> Option<&'static Parameter> {
    let name = plain(name);
    let near =
        TABLE.iter().map(|row| (edits(&name, &grammar::bare(row.name.as_bytes()).collect::<Vec<_>>()), row));
    near.filter(|(edits, row)| *edits <= 2 && row.name.len() > 5)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, row)| row)
}

/// The row that a line without `=` begins with, if its loss would let somebody in.
pub(crate) fn lost_guard(line: &[u8]) -> Option<&'static Parameter> {
    let line = plain(line);
    let begins = |row: &&Parameter| line.starts_with(&grammar::bare(row.name.as_bytes()).collect::<Vec<_>>());
    TABLE.iter().filter(|row| row.limits_access()).find(begins)
}

/// A name less what an editor or an input method puts into it unseen: a byte order mark, a no-break or a wide space.
fn plain(name: &[u8]) -> Vec<u8> {
    grammar::bare(name).filter(u8::is_ascii).collect()
}

/// Levenshtein's distance, one row of its table at a time.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let cost = (corner + usize::from(from != to)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}

const fn global(name: &'static str, kind: Kind, standing: Standing) -> Parameter {
    Parameter { name, scope: Scope::Global, kind, standing }
}

const fn module(name: &'static str, kind: Kind, standing: Standing) -> Parameter {
    Parameter { name, scope: Scope::Module, kind, standing }
}

use IfBad::{Keep, Refuse};
use Kind::{Flag, Number, Path, Text, Tri};
use Standing::{Guards, Ignored, Refused, Served};

const HIDES: &str = "it hides files, which would become visible";
const RUNS: &str = "the command may be a check that is to stop a transfer";
const WRITES: &str = "files would get permissions that it takes away";
const LISTENER: &str = "it keeps the listener away from the rest of the host";

/// In the order of their sections in `rsyncd.conf(5)`; our own come last.
static TABLE: &[Parameter] = &[
    global("motd file", Text, Ignored("only a greeting")),
    global("pid file", Path, Served),
    global("port", Number, Served),
    global("address", Text, Guards),
    global("socket options", Text, Ignored("only tuning")),
    global("listen backlog", Number, Ignored("only tuning")),
    global("daemon chroot", Text, Refused(LISTENER)),
    global("daemon uid", Text, Refused(LISTENER)),
    global("daemon gid", Text, Refused(LISTENER)),
    global(
        "proxy protocol",
        Flag(Refuse),
        Refused("every client would seem to come from the proxy's address"),
    ),
    global("proxy protocol hosts", Text, Ignored("it means nothing without `proxy protocol`")),
    module("comment", Text, Served),
    module("path", Path, Served),
    module("use chroot", Tri(Keep), Served),
    module("numeric ids", Tri(Keep), Served),
    module("name converter", Text, Ignored("names are looked up in the system's own tables")),
    module(
        "munge symlinks",
        Tri(Refuse),
        Refused("other programs could follow links that it makes harmless"),
    ),
    module("insecure links", Flag(Keep), Ignored("a link is never followed out of a module")),
    module("charset", Text, Ignored("names are kept byte for byte")),
    module("max connections", Number, Served),
    module("log file", Path, Served),
    module("syslog facility", Text, Ignored("the log goes to `log file` or standard error")),
    module("syslog tag", Text, Ignored("the log goes to `log file` or standard error")),
    module("max verbosity", Number, Ignored("no client decides what is logged")),
    module("lock file", Path, Served),
    module("read only", Flag(Keep), Served),
    module("write only", Flag(Refuse), Guards),
    module("open noatime", Tri(Keep), Ignored("only access times")),
    module("list", Flag(Refuse), Served),
    module("uid", Text, Served),
    module("gid", Text, Served),
    module("fake super", Flag(Refuse), Served),
    module("filter", Text, Refused(HIDES)),
    module("exclude", Text, Refused(HIDES)),
    module("include", Text, Refused(HIDES)),
    module("exclude from", Text, Refused(HIDES)),
    module("include from", Text, Refused(HIDES)),
    module("incoming chmod", Text, Refused(WRITES)),
    module("outgoing chmod", Text, Refused(WRITES)),
    module("auth users", Text, Guards),
    module("auth digest", Text, Ignored("a password crosses only inside TLS, and no digest stands for it")),
    module("secrets file", Path, Served),
    module("strict modes", Flag(Keep), Served),
    module("hosts allow", Text, Guards),
    module("hosts deny", Text, Guards),
    module(
        "reverse lookup",
        Flag(Keep),
        Ignored("addresses alone decide, and names in the lists are refused"),
    ),
    module(
        "forward lookup",
        Flag(Keep),
        Ignored("addresses alone decide, and names in the lists are refused"),
    ),
    module("ignore errors", Flag(Keep), Served),
    module("ignore nonreadable", Flag(Keep), Ignored("a file that cannot be read is reported instead")),
    module("transfer logging", Flag(Keep), Ignored("only what is logged")),
    module("log format", Text, Ignored("only what is logged")),
    module("timeout", Number, Served),
    module("refuse options", Text, Refused("clients could do what it forbids, deletions among it")),
    module("dont compress", Text, Ignored("only tuning")),
    module("early exec", Text, Refused(RUNS)),
    module("pre-xfer exec", Text, Refused(RUNS)),
    module("post-xfer exec", Text, Refused(RUNS)),
    module("temp dir", Text, Ignored("unfinished files have no name at all")),
    global("tls certificate", Path, Served),
    global("tls key", Path, Served),
    global("client ca", Path, Served),
    global("state dir", Path, Served),
    global("plaintext", Flag(Keep), Served),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_and_only_once() {
        for row in TABLE {
            let squeezed = row.name.replace(' ', "").to_uppercase();
            assert!(std::ptr::eq(find(squeezed.as_bytes()).expect("row"), row), "{}", row.name);
        }
        assert!(find(b"ignore-errors").is_none());
    }

    #[test]
    fn a_misspelled_name_finds_the_one_that_was_meant() {
        let near = |name: &str| nearest(name.as_bytes()).map(|row| row.name);
        assert_eq!(near("host allow"), Some("hosts allow"));
        assert_eq!(near("hosts_deny"), Some("hosts deny"));
        assert_eq!(near("auth user"), Some("auth users"));
        assert_eq!(near("refuse option"), Some("refuse options"));
        assert_eq!(near("colour"), None);
    }

    #[test]
    fn a_guard_that_lost_its_equals_sign_is_noticed() {
        assert_eq!(lost_guard(b"auth users rsync_backup").map(|row| row.name), Some("auth users"));
        assert_eq!(lost_guard(b"Hosts  Allow: 10.0.0.0/8").map(|row| row.name), Some("hosts allow"));
        assert!(lost_guard(b"ignore errors").is_none());
    }
}
