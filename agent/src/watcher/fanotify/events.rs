//! watcher: fanotify: what is made of one event.
//!
//! Events that wait in the queue are merged (`fanotify(7)`): one may say that a name was created, written and removed,
//! in no order, and of two renames alike the second is told with the first. So every directory that was renamed is
//! looked for on disk once the queue is empty.

use driftless_proto::disk::reserved::is_reserved;
use driftless_proto::model::path::RelPath;
use fanotify_fid::FidEvent;
use fanotify_fid::consts::{
    FAN_ATTRIB, FAN_CLOSE_WRITE, FAN_CREATE, FAN_DELETE, FAN_MODIFY, FAN_ONDIR, FAN_RENAME,
};

use super::{FanotifyEngine, Task};
use crate::watcher::{Signal, Why};

/// What an event may say of a name, in the order in which it is told: what is said last decides how long the name
/// rests, except that a new name is known as new.
const SAID: [(u64, Why); 5] = [
    (FAN_CREATE, Why::Created),
    (FAN_ATTRIB, Why::Described),
    (FAN_MODIFY, Why::Touched),
    (FAN_CLOSE_WRITE, Why::Closed),
    (FAN_DELETE, Why::Gone),
];

impl FanotifyEngine {
    /// Takes one event of the file system. Most concern other directories than ours.
    pub(super) fn event(&mut self, event: &FidEvent<'_>) {
        if event.is_overflow() {
            self.overflow();
        } else if event.mask() & FAN_RENAME != 0 {
            self.renamed(event);
        } else if let Some(handle) = event.dfid_name_handle() {
            match event.dfid_name_raw() {
                b"" | b"." => self.own_event(handle, event.mask()),
                name => self.name_event(handle, name, event),
            }
        }
    }

    /// An event of a directory itself. A change of its mtime alone is told as one of its content.
    fn own_event(&mut self, handle: &[u8], mask: u64) {
        if mask & (FAN_ATTRIB | FAN_MODIFY) != 0
            && let Some(path) = self.tree.path(handle)
        {
            self.signals.push(Signal::Dirty { path, why: Why::Described, dir: true });
        }
    }

    /// An event of a name in a directory.
    fn name_event(&mut self, parent: &[u8], name: &[u8], event: &FidEvent<'_>) {
        let (mask, target) = (event.mask(), event.self_handle());
        let dir = mask & FAN_ONDIR != 0;
        if dir && mask & FAN_DELETE != 0 {
            if target == Some(&**self.tree.root()) {
                return self.root_gone("it was removed".into());
            }
            target.into_iter().for_each(|target| self.tree.remove(target));
        }
        let Some(path) = self.path_of(parent, name, dir) else { return self.too_deep(parent, name) };
        if dir && mask & FAN_CREATE != 0 && mask & FAN_DELETE == 0 {
            match target {
                // Found by looking already, perhaps at a place that it came to later.
                Some(target) if self.tree.knows(target) => {}
                // Whatever is made in it from here on has an event of its own.
                Some(target) => self.tree.put(target, parent, name),
                None => self.next(Task::Visit { parent: parent.into(), name: name.into() }),
            }
        }
        for (bit, why) in SAID {
            if mask & bit != 0 {
                self.signals.push(Signal::Dirty { path: path.clone(), why, dir });
            }
        }
    }

    /// The path of a name that is ours to tell of: in a directory that is known, not excluded, not reserved.
    pub(super) fn path_of(&self, parent: &[u8], name: &[u8], dir: bool) -> Option<RelPath> {
        if !self.tree.knows(parent) || is_reserved(name) {
            return None;
        }
        let path = self.tree.path(parent)?.child(name).ok()?;
        (!self.rules.excludes(&path, dir)).then_some(path)
    }

    /// Tells of a directory if that is why this name in it has no path.
    fn too_deep(&mut self, parent: &[u8], name: &[u8]) {
        if let Some(path) = self.tree.path(parent)
            && path.child(name).is_err()
            && !is_reserved(name)
        {
            let reason = "the paths in it are too long to be named".into();
            self.signals.push(Signal::Unwatched { path, reason });
        }
    }

    fn renamed(&mut self, event: &FidEvent<'_>) {
        let dir = event.mask() & FAN_ONDIR != 0;
        let target = event.self_handle();
        if dir && target == Some(&**self.tree.root()) {
            return self.root_gone("it was moved away".into());
        }
        let path_at = |side: Option<&fanotify_fid::RenameSide<'_>>| {
            side.and_then(|side| self.path_of(&side.handle, &side.name, dir))
        };
        let (from, to) = (path_at(event.rename_source()), path_at(event.rename_target()));
        if from.is_none() && to.is_none() {
            return;
        }
        let went_along = from.is_some() && target.is_some_and(|target| self.tree.knows(target));
        let arrived = to.is_some();
        match (from, to) {
            (Some(from), Some(to)) => self.signals.push(Signal::Renamed { from, to, dir }),
            (Some(path), None) => self.signals.push(Signal::Dirty { path, why: Why::Gone, dir }),
            (None, Some(path)) => {
                let why = if dir { Why::Created } else { Why::Closed };
                self.signals.push(Signal::Dirty { path, why, dir });
            }
            (None, None) => {}
        }
        let (true, Some(side)) = (dir, event.rename_target()) else { return };
        let Some(target) = target else {
            return self.next(Task::Visit { parent: (&*side.handle).into(), name: (*side.name).into() });
        };
        if !arrived {
            self.tree.remove(target);
        } else if went_along && !self.rules_see_paths {
            self.tree.put(target, &side.handle, &side.name);
        } else {
            self.arrives(target, &side.handle, &side.name);
        }
        self.moved.insert(target.into());
    }

    /// A directory of whose content nothing is known came to a place.
    pub(super) fn arrives(&mut self, handle: &[u8], parent: &[u8], name: &[u8]) {
        self.tree.put(handle, parent, name);
        // In this order: the last one is done first.
        self.next(Task::Compare(handle.into()));
        self.next(Task::Scan(handle.into()));
    }
}
