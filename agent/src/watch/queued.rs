//! Queued: how many bytes the files have that are not durable yet, as far as that can be told at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use driftless_proto::disk::Root;
use driftless_proto::model::path::RelPath;

use super::desk::State;

/// Files that are looked at; of more only a part is told.
const FILES_MAX: usize = 20_000;

/// A source that does not answer for so long is not waited for: whoever asks for the status asks for this too.
const PATIENCE: Duration = Duration::from_millis(300);

/// What is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) bytes: u64,
    /// All of it: no directory is to be compared, whose content is not known, and no file was left out.
    pub(crate) whole: bool,
}

/// Looks up sizes, one request at a time.
#[derive(Default)]
pub(super) struct Sizes {
    busy: Arc<AtomicBool>,
}

/// The files to look at, and whether they are all there is.
pub(super) fn files(state: &State) -> (Vec<RelPath>, bool) {
    let sent = state.tasks.values().flat_map(|task| &task.retry).map(|dirty| (&dirty.path, dirty.subtree));
    let mut whole = state.waits.uncompared.is_none();
    let mut files = Vec::new();
    for (path, subtree) in state.pending.paths().chain(sent) {
        if subtree || files.len() == FILES_MAX {
            whole = false;
        } else {
            files.push(path.clone());
        }
    }
    // One that changed again while it was on its way is both.
    files.sort_unstable();
    files.dedup();
    (files, whole)
}

impl Sizes {
    /// Adds up the sizes of files; `None` when that takes too long. The file system may hang: a thread that waits for it
    /// is left behind, one at most.
    pub(super) fn of(&self, root: Root, files: Vec<RelPath>, whole: bool) -> Option<Queued> {
        if files.is_empty() {
            return Some(Queued { bytes: 0, whole });
        }
        if self.busy.swap(true, Ordering::Acquire) {
            return None;
        }
        let (tell, told) = sync_channel(1);
        let busy = Arc::clone(&self.busy);
        let work = move || {
            let sizes = files.iter().filter_map(|path| root.found(path).ok()).map(|found| found.entry.size());
            // Nobody waits any more when it took too long.
            tell.send(sizes.sum()).ok();
            busy.store(false, Ordering::Release);
        };
        if std::thread::Builder::new().name("sizes".into()).spawn(work).is_err() {
            self.busy.store(false, Ordering::Release);
        }
        told.recv_timeout(PATIENCE).ok().map(|bytes| Queued { bytes, whole })
    }
}
