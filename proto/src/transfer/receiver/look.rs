//! Looking ahead: what stands here in a directory that was asked for is listed while the sender lists its own side of it.
//! Not where the comparison has kept what it listed ([`Kept`](crate::disk::kept::Kept)).
//!
//! A listing may be as old as the comparison that found its directory to differ, as the digests are. Whoever changes names
//! unasked meanwhile must say where ([`Ahead::forget`]).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::context::lock;
use crate::disk::{Root, walk};
use crate::model::entry::Entry;
use crate::model::path::RelPath;
use crate::wire::message::RequestId;

/// Entries that are listed and not asked for yet, as a rule at most; a few hundred bytes each.
const ENTRIES_MAX: usize = 8192;

/// What stands in a directory, by name.
pub(super) type Own = HashMap<Box<[u8]>, Entry>;

/// Lists a directory of ours.
pub(super) fn list(root: &Root, dir: &RelPath) -> io::Result<Own> {
    let listing = walk::list(&root.dir(dir)?)?;
    Ok(listing.entries.into_iter().map(|listed| (listed.name, listed.found.entry)).collect())
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(RequestId, RelPath)>,
    under_way: Option<(RequestId, RelPath)>,
    listed: HashMap<RequestId, (RelPath, io::Result<Own>)>,
    /// In all of those.
    entries: usize,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// See the module. Dropping it ends its thread.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Starts the thread. Without one, nothing is ever listed ahead.
    pub(super) fn start(root: Root) -> Self {
        let shared = Arc::new(Shared::default());
        let work = Arc::clone(&shared);
        let spawned = std::thread::Builder::new().name("receiver-look".into()).spawn(move || work.run(&root));
        Self { shared, thread: spawned.ok() }
    }

    /// This directory has been asked for.
    pub(super) fn look(&self, id: RequestId, dir: RelPath) {
        if self.thread.is_some() {
            lock(&self.shared.state).waiting.push_back((id, dir));
            self.shared.changed.notify_all();
        }
    }

    /// What stands in the directory of a request, if it was listed; waits for one that is being listed.
    pub(super) fn take(&self, id: RequestId) -> Option<io::Result<Own>> {
        let mut state = lock(&self.shared.state);
        state.waiting.retain(|(waiting, _)| *waiting != id);
        while state.under_way.as_ref().is_some_and(|(under_way, _)| *under_way == id) {
            state = self.shared.wait(state);
        }
        let (_, listed) = state.listed.remove(&id)?;
        state.entries -= listed.as_ref().map_or(0, HashMap::len);
        self.shared.changed.notify_all();
        Some(listed)
    }

    /// What stands at this path changes by something else than what was asked for: no listing that it lies in, or that
    /// lies in it, holds.
    pub(super) fn forget(&self, path: &RelPath) {
        let holder = path.parent();
        let holds = |dir: &RelPath| Some(dir) != holder.as_ref() && !dir.is_within(path);
        let mut state = lock(&self.shared.state);
        let State { waiting, under_way, listed, entries, .. } = &mut *state;
        waiting.retain(|(_, dir)| holds(dir));
        under_way.take_if(|(_, dir)| !holds(dir));
        listed.retain(|_, (dir, _)| holds(dir));
        *entries = listed.values().map(|(_, own)| own.as_ref().map_or(0, HashMap::len)).sum();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so, and whoever waited for it has listed for itself.
            thread.join().ok();
        }
    }
}

/// Whatever ends the thread, nobody waits for it any more.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).under_way = None;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, root: &Root) {
        let _over = Over(self);
        let mut state = lock(&self.state);
        while !state.stop {
            let next = if state.entries < ENTRIES_MAX { state.waiting.pop_front() } else { None };
            let Some((id, dir)) = next else {
                state = self.wait(state);
                continue;
            };
            state.under_way = Some((id, dir.clone()));
            drop(state);
            let own = list(root, &dir);
            state = lock(&self.state);
            // It may have been forgotten meanwhile.
            if state.under_way.take().is_some() {
                state.entries += own.as_ref().map_or(0, HashMap::len);
                state.listed.insert(id, (dir, own));
            }
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the tests make what is listed")]

    use std::fs;

    use super::*;
    use crate::disk::Style;

    #[test]
    fn a_directory_is_listed_once_and_nothing_that_was_forgotten_comes_back() {
        let home = tempfile::tempdir().expect("tempdir");
        fs::create_dir(home.path().join("d")).expect("mkdir");
        fs::write(home.path().join("d/f"), "x").expect("write");
        let root = Root::open(home.path(), Style::default()).expect("root");
        let dir = RelPath::parse(b"d").expect("path");
        let ahead = Ahead::start(root);
        let names = |own: Option<io::Result<Own>>| own.map(|own| own.expect("listed").len());
        let until_listed = |id| {
            let mut state = lock(&ahead.shared.state);
            while !state.listed.contains_key(&id) {
                state = ahead.shared.wait(state);
            }
        };
        ahead.look(1, dir.clone());
        until_listed(1);
        fs::write(home.path().join("d/g"), "x").expect("write");
        assert_eq!(names(ahead.take(1)), Some(1));
        assert_eq!(names(ahead.take(1)), None);

        let path = |text: &str| RelPath::parse_typed(text.as_bytes()).expect("path");
        for (changed, holds) in [("d/h", false), ("d", false), ("", false), ("e/h", true), ("d/e/f", true)] {
            ahead.look(2, dir.clone());
            until_listed(2);
            ahead.forget(&path(changed));
            assert_eq!(names(ahead.take(2)), holds.then_some(2), "{changed}");
            assert_eq!(lock(&ahead.shared.state).entries, 0);
        }

        ahead.look(3, RelPath::parse(b"missing").expect("path"));
        until_listed(3);
        assert!(ahead.take(3).is_some_and(|own| own.is_err()));
    }
}
