//! watcher: what is made of one event.

use std::time::Instant;

use driftless_proto::disk::reserved::is_reserved;
use driftless_proto::model::path::RelPath;
use inotify::EventMask;

use super::arm::{Mode, Task};
use super::engine::Engine;
use super::moves::Departed;
use super::tree::Wd;
use super::{Signal, Why};

impl Engine {
    /// Takes one event of a watched directory.
    pub(super) fn event(&mut self, wd: Wd, mask: EventMask, cookie: u32, name: Option<&[u8]>) {
        match name {
            None => self.own_event(wd, mask),
            Some(name) if !is_reserved(name) => self.name_event(wd, mask, cookie, name),
            Some(_) => {}
        }
    }

    /// An event of the directory itself. Of all but the root, the directory above tells the same.
    fn own_event(&mut self, wd: Wd, mask: EventMask) {
        if wd == self.tree.root() {
            if mask.contains(EventMask::UNMOUNT) {
                self.root_gone("it was unmounted".into());
            } else if mask.contains(EventMask::MOVE_SELF) {
                self.root_gone("it was moved away".into());
            } else if mask.intersects(EventMask::DELETE_SELF | EventMask::IGNORED) {
                self.root_gone("it was removed".into());
            } else if mask.contains(EventMask::ATTRIB) {
                self.signals.push(Signal::Dirty { path: RelPath::root(), why: Why::Touched, dir: true });
            }
        } else if mask.contains(EventMask::UNMOUNT) {
            // What the mount hid is visible again; it is not what changed, so it is not to be compared.
            if let Some(path) = self.tree.path(wd) {
                self.signals.push(Signal::Unwatched { path, reason: "it was unmounted".into() });
            }
        } else if mask.contains(EventMask::IGNORED) {
            // The watch ended with its directory. By descriptor: at the same path there may be another by now.
            self.forget(wd);
        }
    }

    /// An event of a name in a watched directory.
    fn name_event(&mut self, wd: Wd, mask: EventMask, cookie: u32, name: &[u8]) {
        let dir = mask.contains(EventMask::ISDIR);
        let path = self.tree.path(wd).map(|parent| parent.child(name));
        let Some(Ok(path)) = path else {
            // A detached directory, or a path too long to be named, which no transfer could name either.
            return self.tree.miss(wd);
        };
        if self.rules.excludes(&path, dir) {
            return;
        }
        if mask.contains(EventMask::MOVED_FROM) {
            return self.departs(wd, cookie, name, dir);
        }
        if mask.contains(EventMask::MOVED_TO) {
            return self.arrives(wd, cookie, name, path, dir);
        }
        let why = if mask.contains(EventMask::CREATE) {
            Why::Created
        } else if mask.contains(EventMask::DELETE) {
            Why::Gone
        } else if mask.contains(EventMask::CLOSE_WRITE) {
            Why::Closed
        } else if mask.contains(EventMask::ATTRIB) {
            Why::Described
        } else {
            Why::Touched
        };
        self.signals.push(Signal::Dirty { path, why, dir });
        match why {
            Why::Created if dir => self.visit(wd, name, Mode::Tell),
            // Somebody may still hold the removed directory open, and then its watch would stay.
            Why::Gone if dir => {
                if let Some(child) = self.tree.child(wd, name) {
                    self.forget(child);
                }
            }
            _ => {}
        }
    }

    /// The first half of a rename, or the only one.
    fn departs(&mut self, parent: Wd, cookie: u32, name: &[u8], dir: bool) {
        let node = if dir { self.tree.child(parent, name) } else { None };
        if let Some(node) = node {
            self.tree.detach(node);
        }
        let departed = Departed { parent, name: name.into(), dir, node };
        self.moves.depart(cookie, departed, Instant::now());
    }

    /// The second half of a rename, or the only one.
    fn arrives(&mut self, parent: Wd, cookie: u32, name: &[u8], to: RelPath, dir: bool) {
        let departed = self.moves.arrive(cookie);
        let from = departed.as_ref().and_then(|departed| {
            self.tree.path(departed.parent).and_then(|above| above.child(&departed.name).ok())
        });
        let (Some(departed), Some(from)) = (departed.as_ref(), from) else {
            // From outside, from under a rule, or from a directory that has left itself.
            if let Some(node) = departed.and_then(|departed| departed.node) {
                self.moves.suspect(node, Instant::now());
            }
            if dir {
                self.signals.push(Signal::Dirty { path: to, why: Why::Created, dir });
                self.visit(parent, name, Mode::Arrive);
            } else {
                self.signals.push(Signal::Dirty { path: to, why: Why::Closed, dir });
            }
            return;
        };
        self.signals.push(Signal::Renamed { from, to, dir });
        if !dir {
            return;
        }
        let Some(node) = departed.node.filter(|&node| self.tree.is_detached(node)) else {
            // We have not come to watch it yet, or found it elsewhere: it is found again from here.
            return self.visit(parent, name, Mode::Arrive);
        };
        if let Some(displaced) = self.tree.attach(node, parent, name) {
            self.moves.suspect(displaced, Instant::now());
        }
        let stale = self.tree.take_missed(node) || self.rules_see_paths;
        // Events are behind the disk: what stands at both places by now may not be what this event speaks of.
        self.visit(departed.parent, &departed.name, Mode::Tell);
        self.visit(parent, name, if stale { Mode::Arrive } else { Mode::Tell });
    }

    /// A first half without a second: it went outside, or under a rule.
    pub(super) fn left(&mut self, departed: Departed) {
        let path = self.tree.path(departed.parent).map(|above| above.child(&departed.name));
        match path {
            Some(Ok(path)) => self.signals.push(Signal::Dirty { path, why: Why::Gone, dir: departed.dir }),
            // The directory it left has gone itself, and will be told of.
            _ => self.tree.miss(departed.parent),
        }
        if let Some(node) = departed.node.filter(|&node| self.tree.is_detached(node)) {
            self.forget(node);
        }
    }

    /// Ends the watches of a node and of everything beneath. Events of theirs that are still queued find no node.
    pub(super) fn forget(&mut self, node: Wd) {
        for watch in self.tree.remove(node) {
            // It fails when the kernel has ended the watch already.
            self.inotify.watches().remove(watch).ok();
        }
    }

    pub(super) fn visit(&mut self, parent: Wd, name: &[u8], mode: Mode) {
        self.arrivals.push_back(Task::Visit { parent, name: name.into(), mode });
    }
}
