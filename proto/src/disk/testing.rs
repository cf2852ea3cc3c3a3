//! disk: what its tests share.
#![expect(clippy::disallowed_methods, reason = "tests look at the disk past the Root on purpose")]

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::{Dir, Keep, Placement, Root, Style};
use crate::model::entry::{Entry, Kind, Time};
use crate::model::path::RelPath;

/// A directory that goes away with this value, and a Root on it.
pub(super) struct Ground {
    pub(super) temp: tempfile::TempDir,
    pub(super) root: Root,
}

impl Ground {
    pub(super) fn new() -> Self {
        Self::with(Style::default())
    }

    pub(super) fn fake_super() -> Self {
        Self::with(Style { fake_super: true })
    }

    fn with(style: Style) -> Self {
        let temp = tempfile::tempdir().expect("temporary directory");
        let root = Root::open(temp.path(), style).expect("root");
        Self { temp, root }
    }

    pub(super) fn top(&self) -> Dir {
        self.root.dir(&RelPath::root()).expect("top")
    }

    pub(super) fn path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.temp.path().join(std::ffi::OsStr::from_bytes(name.as_ref()))
    }

    pub(super) fn write(&self, name: impl AsRef<[u8]>, content: &[u8]) {
        std::fs::write(self.path(name), content).expect("write");
    }

    pub(super) fn read(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("read")
    }

    /// Every name in the top directory, reserved ones too, sorted.
    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        names(self.temp.path())
    }
}

pub(super) fn names(dir: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("directory");
    let mut names: Vec<_> = entries.map(|e| e.expect("entry").file_name().into_vec()).collect();
    names.sort();
    names
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("path")
}

/// An entry of ours with a time of its own.
pub(super) fn entry(kind: Kind, mode: u32) -> Entry {
    let mtime = Time { sec: 1_000_000_000, nsec: 123_456_789 };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Entry { kind, mode, mtime, uid, gid }
}

pub(super) fn link(target: &[u8]) -> Kind {
    Kind::Symlink { target: target.into() }
}

/// Keeps everything.
pub(super) const ALL: Placement =
    Placement { keep: Keep { owner: true, group: true, perms: true, times: true }, umask: 0o022 };

/// Keeps nothing.
pub(super) const NONE: Placement =
    Placement { keep: Keep { owner: false, group: false, perms: false, times: false }, umask: 0o022 };

/// Whether the tests run as root. If not, says what is skipped.
pub(super) fn root_or_skip(claim: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED for want of root: {claim}");
    }
    root
}

#[track_caller]
pub(super) fn assert_errno<T: std::fmt::Debug>(done: std::io::Result<T>, want: rustix::io::Errno) {
    let error = done.expect_err("an error");
    assert_eq!(error.raw_os_error(), Some(want.raw_os_error()), "{error}");
}
