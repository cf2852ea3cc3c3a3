//! Data of interrupted files: kept out of sight, and offered as the basis when the file is wanted again.
//!
//! A kept file is only ever a basis. What it holds is proved by the digest of the result, like any other.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Mutex;
use std::time::Instant;

use crate::disk::Root;
use crate::disk::reserved;
use crate::disk::stage::Staged;
use crate::limits;
use crate::model::path::RelPath;

/// Where a receiver keeps what an interrupted file had so far.
pub trait Partials: Send + Sync {
    /// Keeps it. Failing to is no error: the file then starts from nothing.
    fn keep(&self, path: &RelPath, staged: Staged);

    /// What is kept for a path. It stays kept until [`Partials::drop_kept`].
    fn kept(&self, path: &RelPath) -> Option<File>;

    /// The file has arrived, or is given up.
    fn drop_kept(&self, path: &RelPath);

    /// Whether anything is kept: then a destination is not simply empty.
    fn any(&self) -> bool;
}

/// Keeps nothing.
pub struct Forget;

impl Partials for Forget {
    fn keep(&self, _: &RelPath, _: Staged) {}

    fn kept(&self, _: &RelPath) -> Option<File> {
        None
    }

    fn drop_kept(&self, _: &RelPath) {}

    fn any(&self) -> bool {
        false
    }
}

/// `--partial`: keeps it beside the target under a reserved name, never the final one.
pub struct Beside(pub Root);

impl Partials for Beside {
    fn keep(&self, path: &RelPath, staged: Staged) {
        // Nothing is lost if this fails but time at the next run.
        let _kept = self
            .0
            .parent_of(path)
            .and_then(|dir| staged.keep_partial(&dir, &reserved::for_partial(path.name())));
    }

    fn kept(&self, path: &RelPath) -> Option<File> {
        let dir = self.0.parent_of(path).ok()?;
        let (file, _) = dir.open_file(&reserved::for_partial(path.name())).ok()?;
        Some(file)
    }

    fn drop_kept(&self, path: &RelPath) {
        let _gone = self
            .0
            .parent_of(path)
            .and_then(|dir| crate::disk::apply::remove(&dir, &reserved::for_partial(path.name())));
    }

    fn any(&self) -> bool {
        false
    }
}

/// A server's: nameless files held open for [`limits::PARTIAL_KEPT`], so that a crash of the server leaves nothing
/// and no peer can fill the disk with files nobody sees. One value serves one destination of one agent.
#[derive(Default)]
pub struct Held(Mutex<HashMap<RelPath, HeldFile>>);

struct HeldFile {
    file: File,
    bytes: u64,
    since: Instant,
}

impl Held {
    /// Closes what was held too long. Returns how many files and bytes are still held.
    pub fn expire(&self) -> (usize, u64) {
        let mut held = self.lock();
        held.retain(|_, h| h.since.elapsed() < limits::PARTIAL_KEPT);
        (held.len(), held.values().map(|h| h.bytes).sum())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RelPath, HeldFile>> {
        // A map of files has no state that a panic could leave half-changed.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Partials for Held {
    fn keep(&self, path: &RelPath, staged: Staged) {
        let (count, held) = self.expire();
        let bytes = staged.len();
        if bytes == 0 || count >= limits::PARTIALS_MAX || held + bytes > limits::PARTIAL_BYTES_MAX {
            return;
        }
        let entry = HeldFile { file: staged.into_file(), bytes, since: Instant::now() };
        self.lock().insert(path.clone(), entry);
    }

    fn kept(&self, path: &RelPath) -> Option<File> {
        self.expire();
        self.lock().get(path)?.file.try_clone().ok()
    }

    fn drop_kept(&self, path: &RelPath) {
        self.lock().remove(path);
    }

    fn any(&self) -> bool {
        self.expire().0 > 0
    }
}
