//! watcher: how directories come to be watched.
//!
//! The events are always somewhat behind the disk: when a directory is opened by a name that an event gave, another
//! may stand there by now. So what counts is the watch that the kernel returns: it names the inode. Where that
//! contradicts the tree, the disk is right, and both places are looked at again.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use driftless_proto::disk::Dir;
use driftless_proto::disk::reserved::is_reserved;
use driftless_proto::model::path::RelPath;
use inotify::WatchDescriptor;
use rustix::io::Errno;

use super::engine::Engine;
use super::kernel;
use super::tree::Wd;
use super::{Signal, Why};

/// How a directory is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Watch everything beneath and say nothing: somebody will compare it all.
    Arm,
    /// As `Arm`, and ask for it to be compared once everything is watched.
    Arrive,
    /// It is new: tell each name that is found in it.
    Tell,
}

/// One step of work.
#[derive(Debug)]
pub(super) enum Task {
    /// Everything beneath the root.
    Root,
    /// A name under which a directory is said to stand.
    Visit {
        /// The directory it is in.
        parent: Wd,
        /// The name.
        name: Box<[u8]>,
        /// How to meet it.
        mode: Mode,
    },
    /// A directory, with everything beneath, is watched: ask for it to be compared.
    Announce(Wd),
}

impl Engine {
    pub(super) fn work(&mut self, task: Task) {
        match task {
            Task::Root => {
                let root = self.tree.root();
                match self.root.dir(&RelPath::root()) {
                    Ok(dir) => self.scan(root, &RelPath::root(), &dir, Mode::Arm),
                    Err(error) => self.root_gone(format!("it cannot be read: {error}")),
                }
            }
            Task::Visit { parent, name, mode } => self.meet(parent, &name, mode),
            Task::Announce(wd) => match self.tree.path(wd) {
                Some(path) => self.signals.push(Signal::Rescan(path)),
                None => self.tree.miss(wd),
            },
        }
    }

    /// Watches what stands at a name, if it is a directory, and puts it in its place in the tree.
    fn meet(&mut self, parent: Wd, name: &[u8], mode: Mode) {
        let Some(above) = self.tree.path(parent) else { return self.tree.miss(parent) };
        let Ok(path) = above.child(name) else {
            let reason = "the paths in it are too long to be named".into();
            return self.signals.push(Signal::Unwatched { path: above, reason });
        };
        if self.rules.excludes(&path, true) {
            return;
        }
        let (dir, watch) = match self.open(&path) {
            Ok(found) => found,
            Err(error) => {
                if let Some(node) = self.tree.child(parent, name) {
                    self.moves.suspect(node, Instant::now());
                }
                return self.unwatched(path, &error);
            }
        };
        let wd = watch.get_watch_descriptor_id();
        if !self.tree.knows(wd) {
            if let Some(displaced) = self.tree.insert(watch, parent, name) {
                self.moves.suspect(displaced, Instant::now());
            }
            if mode == Mode::Arrive {
                self.tasks.push(Task::Announce(wd));
            }
            return self.scan(wd, &path, &dir, mode);
        }
        match self.tree.place(wd) {
            Some((at, called)) if at == parent && *called == *name => match mode {
                Mode::Tell => {}
                Mode::Arm => self.scan(wd, &path, &dir, Mode::Arm),
                Mode::Arrive => {
                    self.tasks.push(Task::Announce(wd));
                    self.scan(wd, &path, &dir, Mode::Arm);
                }
            },
            None if wd != self.tree.root() => self.relocate(wd, parent, name, &path, &dir),
            Some((old, called)) if !self.leads_to(old, &called, wd) => {
                self.relocate(wd, parent, name, &path, &dir);
                self.visit(old, &called, Mode::Tell);
            }
            _ if self.leads_to(parent, name, wd) => {
                let other = self.tree.path(wd).unwrap_or_else(RelPath::root);
                let reason = format!("it is the same directory as {other} and is watched there only");
                self.signals.push(Signal::Unwatched { path, reason });
            }
            // It moved between two looks; its events come next.
            _ => {}
        }
    }

    /// A node was found not to be in its place, and by now every event that was queued then has been read. If it
    /// still is not there, it is outside, or will be met where it is.
    pub(super) fn question(&mut self, node: Wd) {
        if self.tree.is_detached(node) {
            return self.forget(node);
        }
        let Some((parent, name)) = self.tree.place(node) else { return };
        match self.tree.path(parent).map(|above| above.child(&name)) {
            // A directory above is on its way itself.
            None => self.moves.suspect(node, Instant::now()),
            Some(Ok(path)) if !self.leads_to(parent, &name, node) => {
                self.signals.push(Signal::Dirty { path, why: Why::Gone, dir: true });
                self.forget(node);
                self.visit(parent, &name, Mode::Tell);
            }
            Some(_) => {}
        }
    }

    /// A directory that we watch stands here, and no event has said so yet, or none will.
    fn relocate(&mut self, wd: Wd, parent: Wd, name: &[u8], path: &RelPath, dir: &Dir) {
        if let Some(displaced) = self.tree.attach(wd, parent, name) {
            self.moves.suspect(displaced, Instant::now());
        }
        self.tree.take_missed(wd);
        self.tasks.push(Task::Announce(wd));
        self.scan(wd, path, dir, Mode::Arm);
    }

    /// Whether the directory at this place has that watch.
    fn leads_to(&mut self, parent: Wd, name: &[u8], wd: Wd) -> bool {
        let path = self.tree.path(parent).and_then(|above| above.child(name).ok());
        path.and_then(|path| self.open(&path).ok())
            .is_some_and(|(_, watch)| {
                let found = watch.get_watch_descriptor_id();
                if !self.tree.knows(found) {
                    // A stranger; it is visited next and watched then.
                    self.inotify.watches().remove(watch).ok();
                }
                found == wd
            })
    }

    fn open(&mut self, path: &RelPath) -> io::Result<(Dir, WatchDescriptor)> {
        let dir = self.root.dir(path)?;
        #[cfg(test)]
        self.hooks.check_limit()?;
        let watch = kernel::watch(&self.inotify, dir.as_fd())?;
        Ok((dir, watch))
    }

    /// Reads a directory that is watched by now.
    fn scan(&mut self, wd: Wd, path: &RelPath, dir: &Dir, mode: Mode) {
        let mut names = std::mem::take(&mut self.names);
        let beneath = if mode == Mode::Tell { Mode::Tell } else { Mode::Arm };
        let result = kernel::each_name(dir.as_fd(), &mut names, |name, is_dir| {
            if is_reserved(name) || (beneath == Mode::Arm && !is_dir) {
                return;
            }
            let Ok(child) = path.child(name) else { return };
            if self.rules.excludes(&child, is_dir) {
                // A rule that looks at paths may say so only since a directory above was renamed.
                if let Some(node) = self.tree.child(wd, name) {
                    self.forget(node);
                }
                return;
            }
            if beneath == Mode::Tell {
                self.signals.push(Signal::Dirty { path: child, why: Why::Created, dir: is_dir });
            }
            if is_dir {
                self.tasks.push(Task::Visit { parent: wd, name: name.into(), mode: beneath });
            }
        });
        self.names = names;
        if let Err(error) = result {
            self.unwatched(path.clone(), &error);
        }
    }

    /// Tells that a directory cannot be watched, unless that is because it is none any more: then an event says more.
    fn unwatched(&mut self, path: RelPath, error: &io::Error) {
        let vanished = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE];
        if !Errno::from_io_error(error).is_some_and(|errno| vanished.contains(&errno)) {
            self.signals.push(Signal::Unwatched { path, reason: error.to_string() });
        }
    }
}
