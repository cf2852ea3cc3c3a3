//! watcher: fanotify: what is found out by looking. A directory is opened by its handle, wherever it is, so what is
//! found in it is in it; events that were queued before say the same once more, those after it say more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use driftless_proto::disk::reserved::is_reserved;
use driftless_proto::model::path::RelPath;
use rustix::io::Errno;

use super::tree::Handle;
use super::{FanotifyEngine, Task, kernel};
use crate::watcher::{Signal, Why, names};

impl FanotifyEngine {
    pub(super) fn work(&mut self, task: Task) {
        match task {
            Task::Scan(handle) => self.scan(&handle),
            Task::Compare(handle) => self.signals.extend(self.tree.path(&handle).map(Signal::Rescan)),
            Task::Visit { parent, name } => self.visit(&parent, &name),
        }
    }

    /// Makes the directories in a known one known.
    fn scan(&mut self, handle: &Handle) {
        let Some(path) = self.tree.path(handle) else { return };
        let dir = match self.open(handle) {
            Ok(dir) => dir,
            Err(error) => return self.unwatched(path, &error),
        };
        let mut buffer = std::mem::take(&mut self.names);
        let read = names::each_name(dir.as_fd(), &mut buffer, |name, is_dir| {
            if is_dir && !is_reserved(name) {
                self.meet(handle, &path, &dir, name);
            }
        });
        self.names = buffer;
        if let Err(error) = read {
            self.unwatched(path, &error);
        }
    }

    /// A directory stands at this name of a held one.
    fn meet(&mut self, parent: &Handle, above: &RelPath, dir: &OwnedFd, name: &[u8]) {
        let Ok(path) = above.child(name) else {
            let reason = "the paths in it are too long to be named".into();
            return self.signals.push(Signal::Unwatched { path: above.clone(), reason });
        };
        if self.rules.excludes(&path, true) {
            // A rule that looks at paths may say so only since a directory above was renamed.
            let known = self.rules_see_paths.then(|| kernel::child(dir.as_fd(), name)).and_then(Result::ok);
            if let Some(handle) = known.and_then(|child| kernel::handle(child.as_fd()).ok()) {
                self.tree.remove(&handle);
            }
            return;
        }
        let child = match kernel::child(dir.as_fd(), name) {
            Ok(child) => child,
            Err(error) => return self.unwatched(path, &error),
        };
        let (inode, handle) = match (kernel::inode(child.as_fd()), kernel::handle(child.as_fd())) {
            (Ok(inode), Ok(handle)) => (inode, handle),
            (Err(error), _) | (_, Err(error)) => return self.unwatched(path, &error),
        };
        if inode.0 != self.dev {
            let reason = "another file system is mounted there".into();
            return self.signals.push(Signal::Unwatched { path, reason });
        }
        if self.is_double(&handle, parent, name, inode, &path) {
            return;
        }
        self.tree.put(&handle, parent, name);
        self.next(Task::Scan(handle));
    }

    /// Whether a directory that stands here is known at another place, and is there as well: one of the two is a bind
    /// mount of the other. Where events tell of it is its own place; the other one has to be polled.
    fn is_double(
        &mut self,
        handle: &Handle,
        parent: &Handle,
        name: &[u8],
        inode: (u64, u64),
        path: &RelPath,
    ) -> bool {
        let at_root = handle == self.tree.root();
        let known = self.tree.place(handle).filter(|(at, called)| (*at, *called) != (parent, name));
        let elsewhere = known.map(|(at, called)| (at.clone(), called.to_vec()));
        let other = match &elsewhere {
            Some((at, called)) => {
                let there = self.open(at).is_ok_and(|dir| kernel::stands_at(dir.as_fd(), called, inode));
                self.tree.path(handle).filter(|_| there)
            }
            None => at_root.then(RelPath::root),
        };
        let Some(other) = other else { return false };
        let own = self.open(handle).and_then(|dir| kernel::place(dir.as_fd()));
        let here_is_own = own.is_ok_and(|(at, called)| at == *parent && called == name);
        let (double, of) = if here_is_own { (other, path.clone()) } else { (path.clone(), other) };
        let reason = format!("it is the same directory as {of} and is watched there only");
        self.signals.push(Signal::Unwatched { path: double, reason });
        !here_is_own
    }

    /// A directory that the event does not tell the handle of stands at this name.
    fn visit(&mut self, parent: &Handle, name: &[u8]) {
        let Some(path) = self.path_of(parent, name, true) else { return };
        let found = self.open(parent).and_then(|dir| kernel::child(dir.as_fd(), name));
        match found.and_then(|child| kernel::handle(child.as_fd())) {
            Ok(handle) => self.arrives(&handle, parent, name),
            Err(error) => self.unwatched(path, &error),
        }
    }

    /// Sees whether a directory that was renamed is where the events have put it, now that none is queued.
    pub(super) fn verify(&mut self, handle: &Handle) {
        let told = self.tree.path(handle);
        let place = match self.open(handle).and_then(|dir| kernel::place(dir.as_fd())) {
            Ok((parent, name)) => self.path_of(&parent, &name, true).map(|_| (parent, name)),
            Err(error) if has_vanished(&error) => None,
            Err(error) => return told.into_iter().for_each(|path| self.unwatched(path, &error)),
        };
        let Some((parent, name)) = place else {
            self.tree.remove(handle);
            return self.departed(told);
        };
        if told.is_some() && self.tree.place(handle) == Some((&parent, &*name)) {
            return;
        }
        self.departed(told);
        self.arrives(handle, &parent, &name);
    }

    fn departed(&mut self, path: Option<RelPath>) {
        self.signals.extend(path.map(|path| Signal::Dirty { path, why: Why::Gone, dir: true }));
    }

    fn open(&self, handle: &Handle) -> io::Result<OwnedFd> {
        kernel::open(self.anchor.as_fd(), handle)
    }

    /// Tells that a directory cannot be watched, unless that is because it is none any more: then an event says more.
    fn unwatched(&mut self, path: RelPath, error: &io::Error) {
        if !has_vanished(error) {
            self.signals.push(Signal::Unwatched { path, reason: error.to_string() });
        }
    }
}

fn has_vanished(error: &io::Error) -> bool {
    let vanished = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE];
    Errno::from_io_error(error).is_some_and(|errno| vanished.contains(&errno))
}
