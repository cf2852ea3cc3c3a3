//! plot: what a worker knows of its part of the source: which entries stand where. Only its worker touches them, so it is
//! always right, and what the worker does next depends on its seed alone.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::trees::Noise;

/// An entry, by its number.
pub(super) type Node = usize;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dir,
    File,
    Link,
}

struct Entry {
    kind: Kind,
    /// `None` for what stands where it was put and is never moved or removed.
    parent: Option<Node>,
    /// Of what has no parent the whole path.
    name: OsString,
    children: Vec<Node>,
    /// Where it stands in the list of its kind.
    slot: usize,
    /// It is part of the source.
    inside: bool,
}

/// See the module.
///
/// Invariant: each entry but the fixed ones is in the list of its kind and among the children of its parent.
#[derive(Default)]
pub(super) struct Plot {
    entries: Vec<Entry>,
    dirs: Vec<Node>,
    files: Vec<Node>,
    links: Vec<Node>,
}

/// Looks at the lists before a choice is given up: some of what they hold is outside the source for the moment.
const TRIES: usize = 16;

impl Plot {
    /// A directory that stays where it is.
    pub(super) fn fixed(&mut self, path: PathBuf, inside: bool) -> Node {
        let node = self.new_entry(Kind::Dir, None, path.into(), inside);
        self.enlist(node);
        node
    }

    /// A new entry.
    pub(super) fn add(&mut self, kind: Kind, dir: Node, name: OsString) -> Node {
        let node = self.new_entry(kind, Some(dir), name, true);
        self.entries[dir].children.push(node);
        self.enlist(node);
        node
    }

    fn new_entry(&mut self, kind: Kind, parent: Option<Node>, name: OsString, inside: bool) -> Node {
        self.entries.push(Entry { kind, parent, name, children: Vec::new(), slot: 0, inside });
        self.entries.len() - 1
    }

    fn list(&mut self, kind: Kind) -> &mut Vec<Node> {
        match kind {
            Kind::Dir => &mut self.dirs,
            Kind::File => &mut self.files,
            Kind::Link => &mut self.links,
        }
    }

    fn enlist(&mut self, node: Node) {
        let list = self.list(self.entries[node].kind);
        list.push(node);
        let slot = list.len() - 1;
        self.entries[node].slot = slot;
    }

    /// Forgets an entry with everything beneath it.
    pub(super) fn remove(&mut self, node: Node) {
        self.detach(node);
        let mut gone = vec![node];
        while let Some(node) = gone.pop() {
            gone.append(&mut self.entries[node].children);
            let slot = self.entries[node].slot;
            let list = self.list(self.entries[node].kind);
            list.swap_remove(slot);
            if let Some(&moved) = list.get(slot) {
                self.entries[moved].slot = slot;
            }
        }
    }

    fn detach(&mut self, node: Node) {
        let dir = self.entries[node].parent.expect("what is fixed stays");
        self.entries[dir].children.retain(|child| *child != node);
    }

    /// An entry gets another place.
    pub(super) fn relocate(&mut self, node: Node, dir: Node, name: OsString) {
        self.detach(node);
        self.entries[dir].children.push(node);
        (self.entries[node].parent, self.entries[node].name) = (Some(dir), name);
    }

    /// Two entries change places.
    pub(super) fn exchange(&mut self, one: Node, other: Node) {
        let place = |plot: &Self, node: Node| (plot.parent(node), plot.name(node));
        let ((dir, name), (other_dir, other_name)) = (place(self, one), place(self, other));
        self.relocate(one, other_dir, other_name);
        self.relocate(other, dir, name);
    }

    pub(super) fn kind(&self, node: Node) -> Kind {
        self.entries[node].kind
    }

    /// The directory that holds what is not fixed.
    pub(super) fn parent(&self, node: Node) -> Node {
        self.entries[node].parent.expect("not asked of what is fixed")
    }

    pub(super) fn name(&self, node: Node) -> OsString {
        self.entries[node].name.clone()
    }

    pub(super) fn children(&self, dir: Node) -> &[Node] {
        &self.entries[dir].children
    }

    pub(super) fn path(&self, node: Node) -> PathBuf {
        let mut names = vec![&self.entries[node].name];
        let mut at = node;
        while let Some(dir) = self.entries[at].parent {
            names.push(&self.entries[dir].name);
            at = dir;
        }
        names.into_iter().rev().collect()
    }

    /// The fixed directory above, and how far above it is.
    fn top(&self, node: Node) -> (Node, usize) {
        let (mut at, mut depth) = (node, 0);
        while let Some(dir) = self.entries[at].parent {
            (at, depth) = (dir, depth + 1);
        }
        (at, depth)
    }

    pub(super) fn depth(&self, node: Node) -> usize {
        self.top(node).1
    }

    pub(super) fn is_within(&self, node: Node, dir: Node) -> bool {
        let mut at = Some(node);
        while let Some(one) = at {
            if one == dir {
                return true;
            }
            at = self.entries[one].parent;
        }
        false
    }

    /// Entries beneath a directory, itself included, and how deep they go.
    pub(super) fn extent(&self, dir: Node) -> (usize, usize) {
        let (mut count, mut height) = (0, 0);
        let mut open = vec![(dir, 0)];
        while let Some((node, depth)) = open.pop() {
            (count, height) = (count + 1, height.max(depth));
            open.extend(self.entries[node].children.iter().map(|child| (*child, depth + 1)));
        }
        (count, height)
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    pub(super) fn dirs(&self) -> usize {
        self.dirs.len()
    }

    fn any(&self, list: &[Node], noise: &mut Noise, wanted: impl Fn(Node) -> bool) -> Option<Node> {
        (0..TRIES).filter(|_| !list.is_empty()).find_map(|_| {
            let at = usize::try_from(noise.below(list.len() as u64)).expect("an index");
            let node = list[at];
            (self.entries[self.top(node).0].inside && wanted(node)).then_some(node)
        })
    }

    /// Some directory of the source, the fixed ones too.
    pub(super) fn any_dir(&self, noise: &mut Noise) -> Option<Node> {
        self.any(&self.dirs, noise, |_| true)
    }

    /// Some directory that may be moved.
    pub(super) fn any_loose_dir(&self, noise: &mut Noise) -> Option<Node> {
        self.any(&self.dirs, noise, |node| self.entries[node].parent.is_some())
    }

    /// Some regular file of the source.
    pub(super) fn any_file(&self, noise: &mut Noise) -> Option<Node> {
        self.any(&self.files, noise, |_| true)
    }

    /// Some symlink of the source.
    pub(super) fn any_link(&self, noise: &mut Noise) -> Option<Node> {
        self.any(&self.links, noise, |_| true)
    }
}
