//! watcher: inotify: how directories come to be watched.
//!
//! The events are behind the disk. The tree follows the events, so what it says of the past is exact, and what is
//! found by looking is fitted in with care: a directory counts in its place only for events queued after it was
//! seen there, it is read only when all events up to then have been handled, and always by a path that leads to that
//! very directory now. Where the tree cannot be right yet, the task waits for the events that are queued; where it
//! is not right even then, the disk is believed and the place is compared as a whole.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use driftless_proto::disk::Dir;
use driftless_proto::disk::reserved::is_reserved;
use driftless_proto::model::path::RelPath;
use rustix::io::Errno;

use super::InotifyEngine;
use super::kernel;
use super::tree::{Inode, Wd};
use crate::broken::{Mechanism, is_broken};
use crate::watcher::{Signal, Why, names};

/// Times a task waits for the queue before the disk is believed. Each time some renames may have been queued anew;
/// so often in a row they hardly all concern one directory.
const TRIES: u8 = 8;

/// How often a watch is tried again where none was left.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(60) };

/// Directories for which that is remembered; others are polled until the next start, or until they are renamed.
const REFUSED_MAX: usize = 10_000;

/// How a directory is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Watch everything beneath and say nothing: somebody will compare it all.
    Arm,
    /// It is new: tell each name that is found in it.
    Tell,
}

/// A directory that is to be compared once it is watched with everything beneath: when the last task that holds
/// this has ended, however it ended.
#[derive(Debug)]
pub(super) struct Arrival {
    wd: Wd,
    done: Sender<Wd>,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        // Nobody listens when the thread is ending.
        self.done.send(self.wd).ok();
    }
}

/// One step of work.
#[derive(Debug)]
pub(super) enum Task {
    /// Watch what stands at a name, if it is a directory.
    Visit(Visit),
    /// Read a watched directory and watch what is in it.
    Scan {
        /// Which.
        wd: Wd,
        /// How its content is met.
        mode: Mode,
        /// What it is part of.
        arrival: Option<Arc<Arrival>>,
        /// Times it has waited.
        tries: u8,
    },
    /// See whether a watch is left by now for what stands at a name.
    Retry {
        /// The directory it is in.
        parent: Wd,
        /// The name.
        name: Box<[u8]>,
    },
    /// See whether a node is where the tree has it.
    Question {
        /// Which.
        wd: Wd,
        /// Times it has waited.
        tries: u8,
    },
}

/// A name under which a directory is said to stand.
#[derive(Debug)]
pub(super) struct Visit {
    /// The directory it is in.
    pub(super) parent: Wd,
    /// The name.
    pub(super) name: Box<[u8]>,
    /// How to meet it.
    pub(super) mode: Mode,
    /// Whether to have it compared as a whole once it is watched.
    pub(super) arrives: bool,
    /// What it is part of.
    pub(super) arrival: Option<Arc<Arrival>>,
    /// Times it has waited.
    pub(super) tries: u8,
}

impl InotifyEngine {
    pub(super) fn work(&mut self, task: Task) {
        match task {
            Task::Visit(visit) => self.meet(visit),
            Task::Scan { wd, mode, arrival, tries } => self.scan(wd, mode, arrival, tries),
            Task::Question { wd, tries } => self.question(wd, tries),
            Task::Retry { parent, name } => self.retry(parent, name),
        }
        while let Ok(wd) = self.arrived.try_recv() {
            match self.tree.path(wd) {
                Some(path) => self.signals.push(Signal::Rescan(path)),
                None => self.tree.miss(wd),
            }
        }
    }

    fn arrival(&self, wd: Wd) -> Option<Arc<Arrival>> {
        Some(Arc::new(Arrival { wd, done: self.arrivals.clone() }))
    }

    /// A directory may stand at this name.
    pub(super) fn visit(&mut self, parent: Wd, name: &[u8]) {
        let visit =
            Visit { parent, name: name.into(), mode: Mode::Tell, arrives: false, arrival: None, tries: 0 };
        self.soon(Task::Visit(visit));
    }

    /// A directory of which nothing is known may stand at this name.
    pub(super) fn visit_arrival(&mut self, parent: Wd, name: &[u8]) {
        let visit =
            Visit { parent, name: name.into(), mode: Mode::Arm, arrives: true, arrival: None, tries: 0 };
        self.soon(Task::Visit(visit));
    }

    /// Has a watched directory compared as a whole, and everything beneath watched before.
    pub(super) fn compare(&mut self, wd: Wd) {
        self.later(Task::Scan { wd, mode: Mode::Arm, arrival: self.arrival(wd), tries: 0 });
    }

    /// Does this once all events that are queued by now have been handled.
    pub(super) fn later(&mut self, task: Task) {
        let at = self.position + kernel::queued(&self.inotify);
        // The end of the queue never moves back; should the kernel count otherwise, the order must hold.
        let at = self.waiting.back().map_or(at, |(last, ..)| at.max(*last));
        self.waiting.push_back((at, self.barriers.cohort(), task));
    }

    /// Does this next but for what was given before.
    fn soon(&mut self, task: Task) {
        self.ready.push_back((self.barriers.cohort(), task));
    }

    /// Holds a watched directory by its path, if the path leads to it now.
    fn hold(&self, wd: Wd) -> Result<(RelPath, Dir), Astray> {
        let (Some(path), Some(inode)) = (self.tree.path(wd), self.tree.inode(wd)) else {
            return Err(Astray::Detached);
        };
        let dir = self.root.dir(&path).map_err(|error| Astray::of(error, &path))?;
        match kernel::inode(dir.as_fd()) {
            Ok(found) if found == inode => Ok((path, dir)),
            Ok(_) => Err(Astray::Moving),
            Err(error) => Err(Astray::of(error, &path)),
        }
    }

    fn meet(&mut self, visit: Visit) {
        if !self.tree.knows(visit.parent) {
            return;
        }
        match self.hold(visit.parent) {
            Ok((above, dir)) => self.adopt(&above, &dir, visit),
            Err(Astray::Detached) => self.tree.miss(visit.parent),
            Err(Astray::Moving) if visit.tries < TRIES => {
                self.later(Task::Visit(Visit { tries: visit.tries + 1, ..visit }));
            }
            Err(Astray::Moving) => self.question(visit.parent, TRIES),
            Err(Astray::Failed(path, error)) => self.unwatched(path, &error),
        }
    }

    /// Watches what stands at a name of a held directory, which the rules do not exclude, and fits it into the tree.
    fn adopt(&mut self, above: &RelPath, dir: &Dir, visit: Visit) {
        let (parent, name) = (visit.parent, &*visit.name);
        let Ok(path) = above.child(name) else { return self.too_deep(above) };
        let (watch, inode) = match self.watch(dir, name) {
            Ok(found) => found,
            Err(error) => {
                self.refuse(parent, name.into());
                return self.unwatched(path, &error);
            }
        };
        let wd = watch.get_watch_descriptor_id();
        let since = self.position + kernel::queued(&self.inotify);
        let known = self.tree.knows(wd);
        if !known && !kernel::stands_at(dir.as_fd(), name, inode) {
            // It left while we looked: which events concern it cannot be told, and they lead to where it is now.
            self.inotify.watches().remove(watch).ok();
            return;
        }
        if !known {
            if let Some(other) = self.tree.insert(watch, inode, (parent, name), since) {
                self.later(Task::Question { wd: other, tries: 0 });
            }
        } else if self.tree.place(wd).is_none_or(|(at, called)| at != parent || *called != *name) {
            return self.meet_elsewhere(wd, path, visit);
        } else if visit.mode == Mode::Tell {
            return;
        }
        if visit.mode == Mode::Tell && is_broken(Mechanism::ScanAfterWatch) {
            return;
        }
        let arrival = if visit.arrives { self.arrival(wd) } else { visit.arrival };
        self.later(Task::Scan { wd, mode: visit.mode, arrival, tries: 0 });
    }

    /// A directory that we watch stands at another name than we thought. As a rule the events that say so are queued.
    fn meet_elsewhere(&mut self, wd: Wd, path: RelPath, visit: Visit) {
        if visit.tries < TRIES {
            return self.later(Task::Visit(Visit { tries: visit.tries + 1, ..visit }));
        }
        if wd == self.tree.root() || self.hold(wd).is_ok() {
            let other = self.tree.path(wd).unwrap_or_else(RelPath::root);
            let reason = format!("it is the same directory as {other} and is watched there only");
            return self.signals.push(Signal::Unwatched { path, reason });
        }
        let (left, old) = (self.tree.path(wd), self.tree.place(wd));
        if let Some(other) = self.tree.attach(wd, (visit.parent, &visit.name), self.position) {
            self.later(Task::Question { wd: other, tries: 0 });
        }
        self.compare(wd);
        if let (Some(path), Some((parent, name))) = (left, old) {
            self.signals.push(Signal::Dirty { path, why: Why::Gone, dir: true });
            self.visit_arrival(parent, &name);
        }
    }

    /// Reads a directory. It has been watched before, and every event up to then has been handled.
    fn scan(&mut self, wd: Wd, mode: Mode, arrival: Option<Arc<Arrival>>, tries: u8) {
        if !self.tree.knows(wd) {
            return;
        }
        match self.hold(wd) {
            Ok((path, dir)) => self.read(wd, &path, &dir, mode, arrival.as_ref()),
            Err(Astray::Detached) => self.tree.miss(wd),
            Err(Astray::Moving) if tries < TRIES => {
                self.later(Task::Scan { wd, mode, arrival, tries: tries + 1 });
            }
            Err(Astray::Moving) => self.question(wd, TRIES),
            Err(Astray::Failed(path, error)) => self.unwatched(path, &error),
        }
    }

    fn read(&mut self, wd: Wd, path: &RelPath, dir: &Dir, mode: Mode, arrival: Option<&Arc<Arrival>>) {
        let mut names = std::mem::take(&mut self.names);
        let mut too_deep = false;
        let result = names::each_name(dir.as_fd(), &mut names, |name, is_dir| {
            if is_reserved(name) || (mode == Mode::Arm && !is_dir) {
                return;
            }
            let Ok(child) = path.child(name) else {
                too_deep = true;
                return;
            };
            if self.rules.excludes(&child, is_dir) {
                // A rule that looks at paths may say so only since a directory above was renamed.
                if let Some(node) = self.tree.child(wd, name, self.position + 1) {
                    self.forget(node);
                }
                return;
            }
            if mode == Mode::Tell {
                self.signals.push(Signal::Dirty { path: child, why: Why::Created, dir: is_dir });
            }
            if is_dir {
                let arrival = arrival.cloned();
                let visit = Visit { parent: wd, name: name.into(), mode, arrives: false, arrival, tries: 0 };
                self.adopt(path, dir, visit);
            }
        });
        self.names = names;
        if too_deep {
            self.too_deep(path);
        }
        if let Err(error) = result {
            self.unwatched(path.clone(), &error);
        }
    }

    /// Sees whether a node is where the tree has it. If no queued event can explain that it is not, it is forgotten
    /// and the place compared: where it is now, it will be met as new.
    fn question(&mut self, wd: Wd, tries: u8) {
        let Some((parent, name)) = self.tree.place(wd) else { return };
        match self.hold(wd) {
            Ok(_) | Err(Astray::Failed(..)) => {}
            Err(Astray::Detached) => self.tree.miss(wd),
            Err(Astray::Moving) if tries < TRIES && kernel::queued(&self.inotify) > 0 => {
                self.later(Task::Question { wd, tries: tries + 1 });
            }
            Err(Astray::Moving) => {
                if let Some(path) = self.tree.path(wd) {
                    self.signals.push(Signal::Dirty { path, why: Why::Gone, dir: true });
                }
                self.forget(wd);
                self.visit_arrival(parent, &name);
            }
        }
    }

    /// Remembers what could not be watched: the operator may raise the limit, and programs end that used it up. It is
    /// polled meanwhile.
    fn refuse(&mut self, parent: Wd, name: Box<[u8]>) {
        if self.refused.len() < REFUSED_MAX {
            self.refused.push_back((parent, name));
        }
        self.retry_due.get_or_insert(Instant::now() + RETRY);
    }

    /// Tries once more to watch what could not be watched. The first that is refused again puts off the others too.
    pub(super) fn retry_refused(&mut self) {
        self.retry_due = None;
        if let Some((parent, name)) = self.refused.pop_front() {
            self.soon(Task::Retry { parent, name });
        }
    }

    fn retry(&mut self, parent: Wd, name: Box<[u8]>) {
        let watched = self.hold(parent).map(|(_, dir)| self.watch(&dir, &name));
        match watched {
            Ok(Err(error)) if !has_vanished(&error) => return self.refuse(parent, name),
            // The same watch is given again to whoever adds it now.
            Ok(Ok(_)) => self.visit_arrival(parent, &name),
            // Gone, or moved: then it was met again where it is now.
            Ok(Err(_)) | Err(_) => {}
        }
        self.retry_refused();
    }

    fn watch(&mut self, dir: &Dir, name: &[u8]) -> io::Result<(inotify::WatchDescriptor, Inode)> {
        let child = dir.child(name)?;
        #[cfg(test)]
        self.hooks.check_limit()?;
        let watch = kernel::watch(&self.inotify, child.as_fd())?;
        Ok((watch, kernel::inode(child.as_fd())?))
    }

    /// What is in this directory has no path that a transfer could carry.
    fn too_deep(&mut self, path: &RelPath) {
        let reason = "the paths in it are too long to be named".into();
        self.signals.push(Signal::Unwatched { path: path.clone(), reason });
    }

    /// Tells that a directory cannot be watched, unless that is because it is none any more: then an event says more.
    fn unwatched(&mut self, path: RelPath, error: &io::Error) {
        if !has_vanished(error) {
            self.signals.push(Signal::Unwatched { path, reason: error.to_string() });
        }
    }
}

/// Why a watched directory could not be held.
enum Astray {
    /// It, or a directory above, waits for the second half of a rename: all of it is compared when that comes.
    Detached,
    /// It is not where the tree has it: on its way, or gone.
    Moving,
    /// The disk refused.
    Failed(RelPath, io::Error),
}

impl Astray {
    fn of(error: io::Error, path: &RelPath) -> Self {
        if has_vanished(&error) { Self::Moving } else { Self::Failed(path.clone(), error) }
    }
}

fn has_vanished(error: &io::Error) -> bool {
    let vanished = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE];
    Errno::from_io_error(error).is_some_and(|errno| vanished.contains(&errno))
}
