//! watcher: fanotify: the directories that are known, by the handles that events name them with.
//!
//! A handle means one directory for ever (`open_by_handle_at(2)`: a number that is used again comes with another
//! generation), so a late event never finds another node than its own. A node knows its parent's handle and its own
//! name: renaming a directory changes one node whatever lies beneath.

use std::collections::HashMap;
use std::sync::Arc;

use driftless_proto::model::path::RelPath;

/// What the kernel calls a directory: `struct file_handle` of `open_by_handle_at(2)`, as bytes.
pub(super) type Handle = Arc<[u8]>;

/// Nodes beneath one that was taken out are swept once there is one such for this many nodes, so that a sweep of all
/// costs little beside what led to it.
const SWEEP: usize = 64;

/// One known directory: about 130 bytes with its share of the table.
#[derive(Debug)]
struct Node {
    parent: Handle,
    name: Box<[u8]>,
}

/// The known directories.
///
/// Invariant: none, by intent. Nodes whose parent was taken out lead nowhere; nobody is told of what happens there,
/// and a sweep takes them out as well. If the parent comes back it is read anew, and with it they get their places.
#[derive(Debug)]
pub(super) struct Tree {
    root: Handle,
    nodes: HashMap<Handle, Node>,
    taken_out: usize,
}

impl Tree {
    /// A tree of the Root alone.
    pub(super) fn new(root: Handle) -> Self {
        Self { root, nodes: HashMap::new(), taken_out: 0 }
    }

    /// The Root's own handle.
    pub(super) fn root(&self) -> &Handle {
        &self.root
    }

    /// Whether this directory has a node.
    pub(super) fn knows(&self, handle: &[u8]) -> bool {
        *handle == *self.root || self.nodes.contains_key(handle)
    }

    /// Where a node is: its parent and its name. `None` for the Root and for none of ours.
    pub(super) fn place(&self, handle: &[u8]) -> Option<(&Handle, &[u8])> {
        self.nodes.get(handle).map(|node| (&node.parent, &*node.name))
    }

    /// The path of a directory; `None` when it is none of ours, lies beneath one that was taken out, or is too deep
    /// to be named.
    pub(super) fn path(&self, handle: &[u8]) -> Option<RelPath> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = handle;
        while *at != *self.root {
            // Places that are set from the disk while events are queued may form a ring for a moment.
            if names.len() > self.nodes.len() {
                return None;
            }
            let node = self.nodes.get(at)?;
            names.push(&node.name);
            at = &node.parent;
        }
        if names.is_empty() {
            return Some(RelPath::root());
        }
        names.reverse();
        RelPath::parse(&names.join(&b'/')).ok()
    }

    /// Puts a directory, and with it everything beneath, at a place. The Root has none.
    pub(super) fn put(&mut self, handle: &[u8], parent: &[u8], name: &[u8]) {
        if *handle == *self.root {
            return;
        }
        let parent = match self.nodes.get_key_value(parent) {
            Some((known, _)) => Arc::clone(known),
            None if *parent == *self.root => Arc::clone(&self.root),
            None => parent.into(),
        };
        let node = Node { parent, name: name.into() };
        match self.nodes.get_mut(handle) {
            Some(known) => *known = node,
            None => drop(self.nodes.insert(handle.into(), node)),
        }
    }

    /// Takes a directory out, and with it everything beneath.
    pub(super) fn remove(&mut self, handle: &[u8]) {
        if self.nodes.remove(handle).is_none() {
            return;
        }
        self.taken_out += 1;
        if self.taken_out > self.nodes.len() / SWEEP {
            self.taken_out = 0;
            self.sweep();
        }
    }

    /// Takes out what leads nowhere.
    fn sweep(&mut self) {
        let lost: Vec<Handle> =
            self.nodes.keys().filter(|&handle| !self.leads_to_root(handle)).cloned().collect();
        for handle in lost {
            self.nodes.remove(&handle);
        }
    }

    fn leads_to_root(&self, handle: &[u8]) -> bool {
        let mut at = handle;
        for _ in 0..=self.nodes.len() {
            if *at == *self.root {
                return true;
            }
            let Some(node) = self.nodes.get(at) else { return false };
            at = &node.parent;
        }
        false
    }

    /// Watched directories, the Root among them.
    pub(super) fn len(&self) -> usize {
        self.nodes.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_directory_takes_everything_beneath_along() {
        let mut tree = Tree::new(b"root".as_slice().into());
        tree.put(b"1", b"root", b"a");
        tree.put(b"2", b"1", b"b");
        tree.put(b"3", b"2", b"c");
        let path = |tree: &Tree, handle: &[u8]| tree.path(handle).map(|path| path.to_string());
        assert_eq!(path(&tree, b"3").as_deref(), Some("a/b/c"));
        tree.put(b"1", b"root", b"z");
        assert_eq!(path(&tree, b"3").as_deref(), Some("z/b/c"));
        tree.put(b"2", b"root", b"b");
        assert_eq!(path(&tree, b"3").as_deref(), Some("b/c"));
        tree.put(b"root", b"2", b"never");
        assert_eq!(path(&tree, b"root").as_deref(), Some("."));
    }

    #[test]
    fn what_is_taken_out_leads_nowhere_and_is_swept() {
        let mut tree = Tree::new(b"root".as_slice().into());
        tree.put(b"1", b"root", b"a");
        tree.put(b"2", b"1", b"b");
        tree.put(b"3", b"root", b"c");
        tree.remove(b"1");
        assert!(tree.path(b"2").is_none());
        assert_eq!(tree.len(), 2);
        tree.put(b"4", b"5", b"x");
        tree.put(b"5", b"4", b"y");
        assert!(tree.path(b"4").is_none(), "a ring leads nowhere");
    }
}
