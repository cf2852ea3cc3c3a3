//! Paths on this host: sources become a view, a destination becomes a Root. Both are the operator's, so links in them
//! are followed, once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use driftless_proto::disk::{Root, Style};
use driftless_proto::model::path::{Escaped, RelPath};
use driftless_proto::model::problem::{Problem, ProblemClass, Refusal, RefusalReason};
use driftless_proto::transfer::destination::{self, Destination};
use driftless_proto::transfer::view::{Mount, View};
use driftless_proto::wire::message::Place as WirePlace;

use crate::cli::operand::{Local, Place};
use crate::console::Console;

/// Local sources, opened.
pub(crate) struct Sources {
    /// What there is to send.
    pub(crate) view: View,
    /// The name of the only source, when it is not a directory.
    pub(crate) single_name: Option<Box<[u8]>>,
    /// Sources that are not there.
    pub(crate) missing: Vec<Problem>,
}

impl Sources {
    /// Opens every source by rsync's operand rules; says which are missing, and which are directories without `-r`.
    pub(crate) fn open(places: &[Place], recursive: bool, console: &Console) -> Self {
        let mut missing = Vec::new();
        let mut mounts = Vec::new();
        let mut single_name = None;
        for place in places {
            let Place::Local(local) = place else { continue };
            let name = Escaped(local.path.as_os_str().as_bytes());
            match mount(local) {
                Err(error) => {
                    let text = format!("link_stat \"{name}\" failed: {error}");
                    console.report.problem(&text);
                    missing.push(Problem { path: RelPath::root(), text, class: ProblemClass::Path });
                }
                Ok((_, true)) if !recursive => {
                    let own = local.path.file_name().filter(|_| !local.trailing_slash);
                    let name = own.unwrap_or(OsStr::new("."));
                    console.report.note(&format!("skipping directory {}", Escaped(name.as_bytes())));
                }
                Ok((mount, is_dir)) => {
                    if places.len() == 1 && !is_dir {
                        single_name = Some(mount.to.name().into());
                    }
                    mounts.push(mount);
                }
            }
        }
        Self { view: View::new(mounts), single_name, missing }
    }

    /// The only source gets another name.
    pub(crate) fn rename(&mut self, name: &[u8]) {
        if let Ok(to) = RelPath::root().child(name) {
            self.view.rename_only(to);
        }
    }
}

/// Where a source is and where it appears; whether it is a directory.
fn mount(local: &Local) -> std::io::Result<(Mount, bool)> {
    if local.trailing_slash || local.path.file_name().is_none() {
        let root = Root::open(&local.path, Style::default())?;
        return Ok((Mount { root, from: RelPath::root(), to: RelPath::root() }, true));
    }
    let (parent, name) = split(&local.path)?;
    let root = Root::open(&parent, Style::default())?;
    let is_dir = root.found(&name)?.entry.is_dir();
    Ok((Mount { root, from: name.clone(), to: name }, is_dir))
}

/// A path's parent and its last name.
fn split(path: &Path) -> std::io::Result<(PathBuf, RelPath)> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let name = path.file_name().unwrap_or_default();
    let name = RelPath::root().child(name.as_bytes()).map_err(std::io::Error::other)?;
    Ok((parent, name))
}

/// Resolves a local DEST.
///
/// # Errors
/// In rsync's words.
pub(crate) fn destination(
    local: &Local,
    single_name: Option<&[u8]>,
    dry_run: bool,
) -> Result<Destination, Refusal> {
    let failed = |error: std::io::Error| {
        let name = Escaped(local.path.as_os_str().as_bytes());
        Refusal::new(RefusalReason::Destination, format!("change_dir \"{name}\" failed: {error}"))
    };
    let here = WirePlace { path: RelPath::root(), slash: true };
    // A directory, or a link to one: the operator's own links are followed.
    if let Ok(root) = Root::open(&local.path, Style::default()) {
        return destination::resolve(&root, &here, single_name, dry_run, umask());
    }
    let (parent, name) = split(&local.path).map_err(failed)?;
    let base = Root::open(&parent, Style::default()).map_err(|error| {
        let name = Escaped(local.path.as_os_str().as_bytes());
        Refusal::new(RefusalReason::Destination, format!("mkdir \"{name}\" failed: {error}"))
    })?;
    let place = WirePlace { path: name, slash: local.trailing_slash };
    destination::resolve(&base, &place, single_name, dry_run, umask())
}

/// Whether DEST names what a single source is to become, and how.
pub(crate) fn wanted_name(local: &Local) -> Option<Box<[u8]>> {
    if local.trailing_slash || Root::open(&local.path, Style::default()).is_ok() {
        return None;
    }
    Some(local.path.file_name()?.as_bytes().into())
}

/// This process's umask. It can only be read by setting it; called before any thread makes files.
pub(crate) fn umask() -> u32 {
    static UMASK: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *UMASK.get_or_init(|| {
        let old = rustix::process::umask(rustix::fs::Mode::empty());
        rustix::process::umask(old);
        old.as_raw_mode()
    })
}
