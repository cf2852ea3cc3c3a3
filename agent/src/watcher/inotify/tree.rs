//! watcher: inotify: the watched directories, as an arena of nodes.
//!
//! A node knows its parent and its own name, so renaming a directory changes one node whatever lies beneath; an
//! inotify watch follows its inode, so the watches beneath stay good as well. A path is found by walking up.
//!
//! Nodes are named from outside by their watch descriptor number, which the kernel does not use again (it counts
//! up to `INT_MAX`, `inotify(7)`), so a name that has become stale finds nothing instead of another node.
//!
//! The tree shows the directories as they were when the event that is being handled was queued, not as they are.
//! A directory that was found by looking is ahead of that: it counts in its place only for events queued since.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use driftless_proto::model::path::RelPath;
use inotify::WatchDescriptor;

/// A watch descriptor's number.
pub(super) type Wd = i32;

/// Which directory it is: device and inode number.
pub(super) type Inode = (u64, u64);

/// A place in the stream of events: bytes of it up to there.
pub(super) type Position = u64;

/// No node.
const NONE: u32 = u32::MAX;

/// One watched directory: about 160 bytes with its share of both tables.
#[derive(Debug)]
struct Node {
    parent: u32,
    first_child: u32,
    /// Siblings.
    prev: u32,
    next: u32,
    /// The next node whose place has the same hash.
    twin: u32,
    /// An event beneath it could not be told because it was detached; kept at the topmost node.
    missed: bool,
    /// It stands in its place for events after this.
    since: Position,
    inode: Inode,
    name: Box<[u8]>,
    watch: WatchDescriptor,
}

/// The watched directories.
///
/// Invariant: a node is attached (its ancestors end in the Root), or it, or an ancestor, is detached: it has no
/// parent and waits for the second half of its rename. `places` finds each node that has a parent; `by_wd` every
/// node. Two nodes may have the same place: one whose departure is still queued, and its successor.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<u32>,
    by_wd: HashMap<Wd, u32>,
    places: HashMap<u64, u32>,
    hasher: RandomState,
    root: Wd,
}

impl Tree {
    /// A tree of the Root alone.
    pub(super) fn new(root: WatchDescriptor, inode: Inode) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            free: Vec::new(),
            by_wd: HashMap::new(),
            places: HashMap::new(),
            hasher: RandomState::new(),
            root: root.get_watch_descriptor_id(),
        };
        tree.add(root, inode);
        tree
    }

    /// The Root's own watch.
    pub(super) fn root(&self) -> Wd {
        self.root
    }

    /// Watched directories.
    pub(super) fn len(&self) -> usize {
        self.by_wd.len()
    }

    /// Whether this watch belongs to a node.
    pub(super) fn knows(&self, wd: Wd) -> bool {
        self.by_wd.contains_key(&wd)
    }

    /// The directory that stood under this name of that one when the event that ends at `when` was queued.
    pub(super) fn child(&self, parent: Wd, name: &[u8], when: Position) -> Option<Wd> {
        let there = self.standing(self.index(parent)?, name).filter(|&at| self.node(at).since < when);
        there.max_by_key(|&at| self.node(at).since).map(|at| self.wd(at))
    }

    /// Which directory a node is.
    pub(super) fn inode(&self, wd: Wd) -> Option<Inode> {
        Some(self.node(self.index(wd)?).inode)
    }

    /// Where a node is: its parent and its name. `None` for the Root, a detached node or none of ours.
    pub(super) fn place(&self, wd: Wd) -> Option<(Wd, Box<[u8]>)> {
        let node = self.node(self.index(wd)?);
        if node.parent == NONE {
            return None;
        }
        Some((self.wd(node.parent), node.name.clone()))
    }

    /// The path of a node; `None` when it is detached, too deep to be named, or none of ours.
    pub(super) fn path(&self, wd: Wd) -> Option<RelPath> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = self.index(wd)?;
        while self.node(at).parent != NONE {
            names.push(&self.node(at).name);
            at = self.node(at).parent;
        }
        if self.wd(at) != self.root {
            return None;
        }
        if names.is_empty() {
            return Some(RelPath::root());
        }
        names.reverse();
        RelPath::parse(&names.join(&b'/')).ok()
    }

    /// Adds a node that was found at a place; it counts there for events after `since`. Returns another one that
    /// has the place.
    pub(super) fn insert(
        &mut self,
        watch: WatchDescriptor,
        inode: Inode,
        place: (Wd, &[u8]),
        since: Position,
    ) -> Option<Wd> {
        let wd = watch.get_watch_descriptor_id();
        self.add(watch, inode);
        self.attach(wd, place, since)
    }

    /// Puts a node, and with it everything beneath, at a place, for events after `since`. Returns another one that
    /// has the place. Where the place lies beneath the node itself, which the disk cannot show, it is left detached.
    pub(super) fn attach(&mut self, wd: Wd, (parent, name): (Wd, &[u8]), since: Position) -> Option<Wd> {
        let (at, parent) = (self.index(wd)?, self.index(parent)?);
        self.unlink(at);
        let mut above = parent;
        while above != NONE {
            if above == at {
                return None;
            }
            above = self.node(above).parent;
        }
        let other = self.standing(parent, name).max_by_key(|&at| self.node(at).since).map(|at| self.wd(at));
        self.link(at, parent, name);
        self.node_mut(at).since = since;
        other
    }

    /// Takes a node from its place; everything beneath goes along.
    pub(super) fn detach(&mut self, wd: Wd) {
        if let Some(at) = self.index(wd) {
            self.unlink(at);
        }
    }

    /// Whether a node has no place; neither has the Root.
    pub(super) fn is_detached(&self, wd: Wd) -> bool {
        wd != self.root && self.index(wd).is_some_and(|at| self.node(at).parent == NONE)
    }

    /// Remembers that something beneath a detached node was not told.
    pub(super) fn miss(&mut self, wd: Wd) {
        let Some(mut at) = self.index(wd) else { return };
        while self.node(at).parent != NONE {
            at = self.node(at).parent;
        }
        self.node_mut(at).missed = true;
    }

    /// Whether something beneath was not told while it was detached. Asked once.
    pub(super) fn take_missed(&mut self, wd: Wd) -> bool {
        self.index(wd).is_some_and(|at| std::mem::take(&mut self.node_mut(at).missed))
    }

    /// Forgets a node and everything beneath it. Returns their watches.
    pub(super) fn remove(&mut self, wd: Wd) -> Vec<WatchDescriptor> {
        let Some(top) = self.index(wd) else { return Vec::new() };
        self.unlink(top);
        let mut watches = Vec::new();
        let mut stack = vec![top];
        while let Some(at) = stack.pop() {
            let mut child = self.node(at).first_child;
            while child != NONE {
                self.unplace(child);
                stack.push(child);
                child = self.node(child).next;
            }
            if let Some(node) = self.nodes[at as usize].take() {
                self.by_wd.remove(&node.watch.get_watch_descriptor_id());
                self.free.push(at);
                watches.push(node.watch);
            }
        }
        watches
    }

    fn add(&mut self, watch: WatchDescriptor, inode: Inode) {
        let wd = watch.get_watch_descriptor_id();
        let node = Node {
            parent: NONE,
            first_child: NONE,
            prev: NONE,
            next: NONE,
            twin: NONE,
            missed: false,
            since: 0,
            inode,
            name: Box::default(),
            watch,
        };
        let at = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            // Watches are limited to far fewer by the kernel: their numbers are an `int`.
            u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
        });
        self.nodes[at as usize] = Some(node);
        self.by_wd.insert(wd, at);
    }

    fn index(&self, wd: Wd) -> Option<u32> {
        self.by_wd.get(&wd).copied()
    }

    fn wd(&self, at: u32) -> Wd {
        self.node(at).watch.get_watch_descriptor_id()
    }

    fn node(&self, at: u32) -> &Node {
        self.nodes[at as usize].as_ref().expect("tables and links name living nodes only")
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        self.nodes[at as usize].as_mut().expect("tables and links name living nodes only")
    }

    // === places: (parent, name) -> node, without a second copy of the name ===

    fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    /// The nodes that have this place: hardly ever more than one.
    fn standing(&self, parent: u32, name: &[u8]) -> impl Iterator<Item = u32> {
        let first = self.places.get(&self.hash(parent, name)).copied();
        let next = |&at: &u32| Some(self.node(at).twin).filter(|&twin| twin != NONE);
        std::iter::successors(first, next).filter(move |&at| {
            let node = self.node(at);
            node.parent == parent && *node.name == *name
        })
    }

    fn link(&mut self, at: u32, parent: u32, name: &[u8]) {
        let next = self.node(parent).first_child;
        if next != NONE {
            self.node_mut(next).prev = at;
        }
        self.node_mut(parent).first_child = at;
        let twin = self.places.insert(self.hash(parent, name), at).unwrap_or(NONE);
        let node = self.node_mut(at);
        (node.parent, node.prev, node.next, node.twin) = (parent, NONE, next, twin);
        node.name = name.into();
    }

    fn unlink(&mut self, at: u32) {
        let (parent, prev, next) = {
            let node = self.node(at);
            (node.parent, node.prev, node.next)
        };
        if parent == NONE {
            return;
        }
        self.unplace(at);
        match prev {
            NONE => self.node_mut(parent).first_child = next,
            prev => self.node_mut(prev).next = next,
        }
        if next != NONE {
            self.node_mut(next).prev = prev;
        }
        let node = self.node_mut(at);
        (node.parent, node.prev, node.next) = (NONE, NONE, NONE);
    }

    fn unplace(&mut self, at: u32) {
        let node = self.node(at);
        let (key, twin) = (self.hash(node.parent, &node.name), node.twin);
        let Some(&first) = self.places.get(&key) else { return };
        if first != at {
            let mut before = first;
            while self.node(before).twin != at {
                before = self.node(before).twin;
            }
            self.node_mut(before).twin = twin;
        } else if twin == NONE {
            self.places.remove(&key);
        } else {
            self.places.insert(key, twin);
        }
        self.node_mut(at).twin = NONE;
    }
}
