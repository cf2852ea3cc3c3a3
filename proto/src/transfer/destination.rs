//! Where a transfer lands: rsync's rule for DEST, for a path beneath a module and for one of the operator's own.

use std::io;

use crate::disk::meta::{Keep, Placement};
use crate::disk::{Root, apply};
use crate::model::entry::{Entry, Kind, Time};
use crate::model::path::RelPath;
use crate::model::problem::{Refusal, RefusalReason};
use crate::wire::message::Place;

/// Where a transfer lands.
pub struct Destination {
    /// What the transfer's root stands for.
    pub root: Root,
    /// The name under which the only source is to land, when DEST names it.
    pub single_name: Option<Box<[u8]>>,
    /// The directory did not exist before.
    pub created: bool,
    /// Nothing stands there.
    pub empty: bool,
}

/// Resolves DEST beneath `base`, as rsync(1) does: an existing directory is landed in; where a single source that is
/// not a directory goes to a path that is none, the path is its new name; else the last component is made, and only
/// that one.
///
/// # Errors
/// In rsync's words where it has words.
pub fn resolve(
    base: &Root,
    place: &Place,
    single_name: Option<&[u8]>,
    dry_run: bool,
    umask: u32,
) -> Result<Destination, Refusal> {
    if place.path.is_root() {
        return inside(base.clone(), single_name, false);
    }
    let named = single_name.is_some() && !place.slash;
    match base.found(&place.path) {
        Ok(found) if found.entry.is_dir() => {
            let root = base.beneath(&place.path).map_err(|e| unusable(&place.path, &e))?;
            inside(root, single_name, false)
        }
        Ok(found) if matches!(found.entry.kind, Kind::Symlink { .. }) => {
            Err(unusable(&place.path, &rustix::io::Errno::LOOP.into()))
        }
        Ok(_) if named => under_a_name(base, &place.path, false),
        Ok(_) => Err(Refusal::new(
            RefusalReason::Selection,
            format!("destination must be a directory when copying more than one file: {}", place.path),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound && named => {
            under_a_name(base, &place.path, dry_run)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(base, &place.path, single_name, dry_run, umask)
        }
        Err(error) => Err(unusable(&place.path, &error)),
    }
}

fn inside(root: Root, single_name: Option<&[u8]>, created: bool) -> Result<Destination, Refusal> {
    let empty = root.is_empty().map_err(|e| unusable(&RelPath::root(), &e))?;
    Ok(Destination { root, single_name: single_name.map(Into::into), created, empty })
}

fn under_a_name(base: &Root, path: &RelPath, dry_run: bool) -> Result<Destination, Refusal> {
    let parent = path.parent().unwrap_or_else(RelPath::root);
    match base.beneath(&parent) {
        Ok(root) => {
            Ok(Destination { root, single_name: Some(path.name().into()), created: false, empty: false })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !dry_run => Err(no_parent(path, &error)),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn make(
    base: &Root,
    path: &RelPath,
    single_name: Option<&[u8]>,
    dry_run: bool,
    umask: u32,
) -> Result<Destination, Refusal> {
    let parent = base.parent_of(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_parent(path, &error),
        _ => unusable(path, &error),
    })?;
    if dry_run {
        // Nothing is made and nothing is there: whatever Root this is, a dry run does not look beneath it.
        let single_name = single_name.map(Into::into);
        return Ok(Destination { root: base.clone(), single_name, created: true, empty: true });
    }
    let entry = Entry {
        kind: Kind::Dir,
        mode: 0o777,
        mtime: Time::default(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    let how = Placement { keep: Keep::default(), umask };
    apply::make_dir(&parent, path.name(), &entry, &how).map_err(|e| no_parent(path, &e))?;
    parent.sync().map_err(|e| no_parent(path, &e))?;
    let root = base.beneath(path).map_err(|e| unusable(path, &e))?;
    inside(root, single_name, true)
}

fn no_parent(path: &RelPath, error: &io::Error) -> Refusal {
    Refusal::new(RefusalReason::Destination, format!("mkdir \"{path}\" failed: {error}"))
}

/// A path that cannot be walked: a symlink in it, a file where a directory should be, or no right to enter.
fn unusable(path: &RelPath, error: &io::Error) -> Refusal {
    Refusal::new(RefusalReason::Source, format!("change_dir \"{path}\" failed: {error}"))
}
