//! guard: stop rather than mirror a disaster. Before deletions leave, the source must be shown to be the directory
//! that was backed up; whatever speaks against it holds them.
//!
//! Here is the root: its identity, and whether it was emptied. [`brake`]: how much may go at once; [`rewrites`]: how
//! much may be rewritten; `survey`: what a
//! comparison would delete, before there is one; `mounts`: when the mounts of this host change. Holding is for `watch`
//! only: `push` and `sync` obey `--delete`.
//!
//! Touches: the root (its identity, whether it is empty), the journal (read). Never: network.

pub mod brake;
pub(crate) mod mounts;
pub mod rewrites;
pub(crate) mod survey;

use std::io;
use std::path::PathBuf;

use driftless_proto::disk::{Identity, Root, Style};

use crate::broken::{Mechanism, is_broken};
use crate::journal::{Journal, JournalError};

/// Whether deletions may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They may.
    Go,
    /// They are held, everything else keeps flowing. Says why, as one sentence for the operator.
    Hold(String),
}

/// How the deletions were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Occasion {
    /// Each was seen to happen.
    Live,
    /// By comparing: at the start, after an overflow, after a gap. What is missing may never have been removed.
    Reconcile,
}

/// What is known when deletions are about to leave.
#[derive(Debug)]
struct Evidence {
    /// The directory that the journal speaks of; `None` when it speaks of none yet.
    recorded: Option<Identity>,
    /// Entries that the journal knows beneath the root.
    entries: u64,
    /// The directory that is held open and watched.
    held: io::Result<Identity>,
    /// The directory that the operator's path leads to now.
    named: io::Result<Identity>,
    /// Whether nothing is in it; only asked on [`Occasion::Reconcile`].
    empty: Option<io::Result<bool>>,
}

/// Watches over one source.
#[derive(Debug)]
pub struct Guard {
    path: PathBuf,
    root: Root,
}

impl Guard {
    /// For the source that an operator named, and that is held open as `root`.
    #[must_use]
    pub fn new(path: PathBuf, root: Root) -> Self {
        Self { path, root }
    }

    /// Records the root as the directory that the journal speaks of: at the first start, or when the operator has
    /// approved another.
    ///
    /// # Errors
    /// When the root cannot be looked at, or the journal not be written.
    pub fn adopt(&self, journal: &Journal) -> io::Result<()> {
        journal.set_root_identity(&self.root.identity()?).map_err(io::Error::other)?;
        journal.set_populated(!self.root.is_empty()?).map_err(io::Error::other)
    }

    /// Why the directory that is held is no longer the one that the operator's path leads to, if it is not.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        if is_broken(Mechanism::RootIdentity) {
            return None;
        }
        let named = Root::open(&self.path, Style::default()).and_then(|root| root.identity());
        match (named, self.root.identity()) {
            (Ok(named), Ok(held)) if named == held => None,
            (Ok(_), Ok(_)) => Some("it was moved, replaced or mounted over".into()),
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Some("it has vanished".into()),
            (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
        }
    }

    /// Whether nothing is in the root. What cannot be found out counts as nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_empty().unwrap_or(true)
    }

    /// The verdict at a start that no record speaks of: an empty source before a copy that is not is no source.
    #[must_use]
    pub fn first(&self, journal: &Journal, copy_is_empty: bool) -> Verdict {
        let unknown = journal.root_identity().is_ok_and(|recorded| recorded.is_none());
        if unknown && !copy_is_empty && self.root.is_empty().unwrap_or(true) {
            return Verdict::Hold(format!("{} is empty, and the copy is not", self.path.display()));
        }
        Verdict::Go
    }

    /// Whether deletions may leave now. To be asked right before each batch that has any, and after a reconcile
    /// walk, since a disk can go during one. What cannot be found out holds them.
    #[must_use]
    pub fn check(&self, journal: &Journal, occasion: Occasion) -> Verdict {
        match self.gather(journal, occasion) {
            Ok(evidence) => judge(&evidence, &self.path.display().to_string()),
            Err(error) => Verdict::Hold(format!("the journal cannot be read: {error}")),
        }
    }

    fn gather(&self, journal: &Journal, occasion: Occasion) -> Result<Evidence, JournalError> {
        let blind = is_broken(Mechanism::RootIdentity);
        let named = || Root::open(&self.path, Style::default()).and_then(|root| root.identity());
        Ok(Evidence {
            recorded: journal.root_identity()?.filter(|_| !blind),
            entries: journal.known()?.max(u64::from(journal.was_populated()?)),
            held: self.root.identity(),
            named: if blind { self.root.identity() } else { named() },
            empty: (occasion == Occasion::Reconcile).then(|| self.root.is_empty()),
        })
    }
}

fn judge(evidence: &Evidence, path: &str) -> Verdict {
    let Evidence { recorded, entries, held, named, empty } = evidence;
    let hold = |reason: String| Verdict::Hold(format!("{path} {reason}"));
    let named = match named {
        Ok(named) => named,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return hold("has vanished".into()),
        Err(error) => return hold(format!("cannot be opened: {error}")),
    };
    let held = match held {
        Ok(held) => held,
        Err(error) => return hold(format!("cannot be looked at: {error}")),
    };
    if named != held {
        return hold("is not the directory it was: it was moved, replaced or mounted over".into());
    }
    if recorded.is_some_and(|recorded| !same(&recorded, held)) {
        return hold(
            "is not the directory that was backed up: it was replaced, or another file system is mounted, or none".into(),
        );
    }
    match empty {
        Some(Ok(true)) if *entries > 0 => {
            hold(format!("is empty, and {entries} or more entries were backed up from it"))
        }
        Some(Err(error)) => hold(format!("cannot be read: {error}")),
        _ => Verdict::Go,
    }
}

/// Whether both are the same directory, before and after a reboot. Device numbers are given out anew then, and a
/// disk in another's place may get the same one and the same inode number; the file system's own id tells them apart.
/// Where it has none, the device number has to do. The time of birth tells a directory from one that was made later and
/// got its number; a journal from before it was recorded has none.
pub(crate) fn same(a: &Identity, b: &Identity) -> bool {
    let file_system = if a.fsid != 0 && b.fsid != 0 { a.fsid == b.fsid } else { a.dev == b.dev };
    let born = a.born.is_none() || b.born.is_none() || a.born == b.born;
    file_system && a.ino == b.ino && born
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the tests make the disasters")]

    use std::fs;

    use driftless_proto::model::entry::Time;
    use driftless_proto::model::path::RelPath;

    use super::*;

    const LATER: Option<Time> = Some(Time { sec: 4, nsec: 6 });
    const HERE: Identity = Identity { dev: 1, ino: 2, fsid: 3, born: Some(Time { sec: 4, nsec: 5 }) };

    fn evidence() -> Evidence {
        Evidence {
            recorded: Some(HERE),
            entries: 10,
            held: Ok(HERE),
            named: Ok(HERE),
            empty: Some(Ok(false)),
        }
    }

    #[test]
    fn whatever_speaks_against_the_root_holds() {
        let error = |kind: io::ErrorKind| io::Error::from(kind);
        let cases = [
            ("all is well", evidence(), None),
            ("nothing is recorded yet", Evidence { recorded: None, ..evidence() }, None),
            (
                "a reboot gave another device number",
                Evidence { recorded: Some(Identity { dev: 9, ..HERE }), ..evidence() },
                None,
            ),
            ("empty, as it always was", Evidence { entries: 0, empty: Some(Ok(true)), ..evidence() }, None),
            ("emptied before our eyes", Evidence { empty: None, ..evidence() }, None),
            (
                "emptied meanwhile",
                Evidence { empty: Some(Ok(true)), ..evidence() },
                Some("is empty, and 10 or more entries"),
            ),
            (
                "another disk with the same numbers",
                Evidence { recorded: Some(Identity { fsid: 4, ..HERE }), ..evidence() },
                Some("another file system"),
            ),
            (
                "the bare mount point",
                Evidence { recorded: Some(Identity { ino: 7, ..HERE }), ..evidence() },
                Some("another file system"),
            ),
            (
                "made anew with the same number",
                Evidence { recorded: Some(Identity { born: LATER, ..HERE }), ..evidence() },
                Some("not the directory that was backed up"),
            ),
            (
                "recorded before there was a time of birth",
                Evidence { recorded: Some(Identity { born: None, ..HERE }), ..evidence() },
                None,
            ),
            (
                "no ids: another device",
                Evidence { recorded: Some(Identity { fsid: 0, dev: 9, ..HERE }), ..evidence() },
                Some("another file system"),
            ),
            (
                "moved away",
                Evidence { named: Err(error(io::ErrorKind::NotFound)), ..evidence() },
                Some("has vanished"),
            ),
            (
                "replaced",
                Evidence { named: Ok(Identity { ino: 8, ..HERE }), ..evidence() },
                Some("moved, replaced"),
            ),
            (
                "no way in",
                Evidence { named: Err(error(io::ErrorKind::PermissionDenied)), ..evidence() },
                Some("cannot be opened"),
            ),
            (
                "a dying disk",
                Evidence { empty: Some(Err(error(io::ErrorKind::Other))), ..evidence() },
                Some("cannot be read"),
            ),
        ];
        for (name, evidence, want) in cases {
            match (judge(&evidence, "/src"), want) {
                (Verdict::Go, None) => {}
                (Verdict::Hold(reason), Some(want)) => assert!(reason.contains(want), "{name}: {reason}"),
                (verdict, _) => panic!("{name}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn a_root_that_is_moved_or_replaced_is_noticed() {
        let home = tempfile::tempdir().expect("tempdir");
        let source = home.path().join("source");
        fs::create_dir(&source).expect("source");
        fs::write(source.join("f"), "x").expect("f");
        let root = Root::open(&source, Style::default()).expect("root");
        let journal = Journal::open(home.path(), &source, b"m", &RelPath::root()).expect("journal");
        let guard = Guard::new(source.clone(), root);
        guard.adopt(&journal).expect("adopt");
        assert_eq!(guard.check(&journal, Occasion::Reconcile), Verdict::Go);

        fs::rename(&source, home.path().join("elsewhere")).expect("move");
        assert!(matches!(guard.check(&journal, Occasion::Live), Verdict::Hold(_)));
        fs::create_dir(&source).expect("replace");
        assert!(matches!(guard.check(&journal, Occasion::Live), Verdict::Hold(_)));

        let next_start = Guard::new(source.clone(), Root::open(&source, Style::default()).expect("root"));
        assert!(matches!(next_start.check(&journal, Occasion::Live), Verdict::Hold(_)));
        next_start.adopt(&journal).expect("approved");
        assert_eq!(next_start.check(&journal, Occasion::Live), Verdict::Go);
    }
}
