//! watcher: inotify: what is made of one event.

use std::time::Instant;

use driftless_proto::disk::reserved::is_reserved;
use driftless_proto::model::path::RelPath;
use inotify::EventMask;

use super::InotifyEngine;
use super::arm::Task;
use super::moves::Departed;
#[cfg(debug_assertions)]
use super::tree::Position;
use super::tree::Wd;
#[cfg(debug_assertions)]
use crate::broken::{Mechanism, is_broken};
use crate::watcher::{Signal, Why};

/// A directory came to a place that another had. It replaced that other one, which was empty, or both were exchanged
/// (`renameat2(2)`): then the next event of a name takes the other one from there.
#[derive(Debug)]
pub(super) struct Displaced {
    node: Wd,
    parent: Wd,
    name: Box<[u8]>,
}

/// Where directories stood that went away; filled while [`Mechanism::IgnoredByDescriptor`] is broken.
#[cfg(debug_assertions)]
pub(super) type Former = std::collections::HashMap<Wd, (Wd, Box<[u8]>)>;

/// An event of a name in a watched directory.
#[derive(Clone, Copy)]
struct Named<'a> {
    parent: Wd,
    mask: EventMask,
    cookie: u32,
    name: &'a [u8],
}

impl InotifyEngine {
    /// Takes one event of a watched directory.
    pub(super) fn event(&mut self, wd: Wd, mask: EventMask, cookie: u32, name: Option<&[u8]>) {
        let Some(name) = name else { return self.own_event(wd, mask) };
        let displaced = self.displaced.take();
        if !is_reserved(name) && self.tree.knows(wd) {
            self.name_event(&Named { parent: wd, mask, cookie, name }, displaced);
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
            } else if mask.intersects(EventMask::ATTRIB | EventMask::MODIFY) {
                // A change of its mtime alone is told as one of its content.
                self.signals.push(Signal::Dirty { path: RelPath::root(), why: Why::Described, dir: true });
            }
        } else if mask.contains(EventMask::UNMOUNT) {
            // What the mount hid is visible again; it is not what changed, so it is not to be compared.
            if let Some(path) = self.tree.path(wd) {
                self.signals.push(Signal::Unwatched { path, reason: "it was unmounted".into() });
            }
        } else if mask.contains(EventMask::IGNORED) {
            // The watch ended with its directory. By descriptor: at the same path there may be another by now.
            self.forget(wd);
            #[cfg(debug_assertions)]
            self.forget_by_path(wd);
        }
    }

    /// An event of a name in a watched directory. What it does to the tree is done in any case; it is told only
    /// where the directory has a path.
    fn name_event(&mut self, event: &Named<'_>, displaced: Option<Displaced>) {
        let Named { parent, mask, name, .. } = *event;
        let dir = mask.contains(EventMask::ISDIR);
        let path = self.path_of(parent, name);
        if path.as_ref().is_some_and(|path| self.rules.excludes(path, dir)) {
            return;
        }
        if mask.contains(EventMask::MOVED_FROM) {
            return self.departs(event, dir, displaced);
        }
        if mask.contains(EventMask::MOVED_TO) {
            return self.arrives(event, path, dir);
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
        match path {
            Some(path) => self.signals.push(Signal::Dirty { path, why, dir }),
            None => self.tree.miss(parent),
        }
        match why {
            Why::Created if dir => self.visit(parent, name),
            // One that could not be watched before may be open to us now.
            Why::Described if dir && self.tree.child(parent, name, self.position).is_none() => {
                self.visit_arrival(parent, name);
            }
            // Somebody may still hold the removed directory open, and then its watch would stay.
            Why::Gone if dir => {
                if let Some(child) = self.tree.child(parent, name, self.position) {
                    self.forget(child);
                }
            }
            _ => {}
        }
    }

    /// The path of a name in a watched directory; `None` while that is detached, and where it is too long to be
    /// named, by us or by any transfer.
    fn path_of(&self, parent: Wd, name: &[u8]) -> Option<RelPath> {
        self.tree.path(parent)?.child(name).ok()
    }

    /// The first half of a rename, or the only one.
    fn departs(&mut self, event: &Named<'_>, dir: bool, displaced: Option<Displaced>) {
        let Named { parent, cookie, name, .. } = *event;
        let exchanged = displaced.filter(|other| other.parent == parent && *other.name == *name);
        let node = match exchanged {
            _ if !dir => None,
            Some(other) => Some(other.node),
            None => self.tree.child(parent, name, self.position),
        };
        if let Some(node) = node {
            self.tree.detach(node);
            #[cfg(debug_assertions)]
            if is_broken(Mechanism::IgnoredByDescriptor) {
                self.former.insert(node, (parent, name.into()));
            }
        }
        let departed = Departed { parent, name: name.into(), dir, node };
        self.moves.depart(cookie, departed, Instant::now());
    }

    /// The second half of a rename, or the only one.
    fn arrives(&mut self, event: &Named<'_>, to: Option<RelPath>, dir: bool) {
        let Named { parent, cookie, name, .. } = *event;
        let departed = self.moves.arrive(cookie);
        let from = departed.as_ref().and_then(|departed| self.path_of(departed.parent, &departed.name));
        let renamed = from.is_some() && to.is_some();
        match (from, to) {
            (Some(from), Some(to)) => self.signals.push(Signal::Renamed { from, to, dir }),
            (Some(path), None) => self.signals.push(Signal::Dirty { path, why: Why::Gone, dir }),
            // From outside, from under a rule, or from a directory that has left itself.
            (None, Some(path)) => {
                let why = if dir { Why::Created } else { Why::Closed };
                self.signals.push(Signal::Dirty { path, why, dir });
            }
            (None, None) => {}
        }
        match departed.as_ref().and_then(|departed| departed.node) {
            Some(node) => self.moved(node, parent, name, renamed),
            // Not watched yet: from here it is.
            None if dir => self.visit_arrival(parent, name),
            None => {}
        }
        if self.tree.path(parent).is_none() {
            self.tree.miss(parent);
        }
        if let Some(departed) = departed.filter(|departed| departed.dir) {
            // There and back, and an exchange with a directory that is not watched yet, look the same from here;
            // the two places tell them apart.
            self.visit(departed.parent, &departed.name);
            self.visit(parent, name);
        }
    }

    /// A watched directory has a new place.
    fn moved(&mut self, node: Wd, parent: Wd, name: &[u8], renamed: bool) {
        if let Some(other) = self.tree.attach(node, (parent, name), self.position) {
            self.displaced = Some(Displaced { node: other, parent, name: name.into() });
            self.later(Task::Question { wd: other, tries: 0 });
        }
        if self.tree.is_detached(node) {
            // Beneath itself: then it was another directory that left, and this one is met again where it is.
            self.forget(node);
            self.visit_arrival(parent, name);
        } else if self.tree.take_missed(node) || !renamed || self.rules_see_paths {
            self.compare(node);
        } else {
            self.later(Task::Question { wd: node, tries: 0 });
        }
    }

    /// A first half without a second: it went outside, or under a rule.
    pub(super) fn left(&mut self, departed: Departed) {
        match self.path_of(departed.parent, &departed.name) {
            Some(path) => self.signals.push(Signal::Dirty { path, why: Why::Gone, dir: departed.dir }),
            // The directory it left has gone itself, and will be told of.
            None => self.tree.miss(departed.parent),
        }
        if let Some(node) = departed.node.filter(|&node| self.tree.is_detached(node)) {
            self.forget(node);
        }
    }

    /// What a table by path would do at the end of a watch.
    #[cfg(debug_assertions)]
    fn forget_by_path(&mut self, wd: Wd) {
        let Some((parent, name)) = self.former.remove(&wd) else { return };
        if let Some(successor) = self.tree.child(parent, &name, Position::MAX) {
            self.forget(successor);
        }
    }

    /// Ends the watches of a node and of everything beneath. Events of theirs that are still queued find no node.
    pub(super) fn forget(&mut self, node: Wd) {
        for watch in self.tree.remove(node) {
            // It fails when the kernel has ended the watch already.
            self.inotify.watches().remove(watch).ok();
        }
    }
}
