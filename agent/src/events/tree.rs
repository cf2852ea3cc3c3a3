//! events: which watch is which path.
//!
//! A path is spelt as `%w` shows it: from what the operator typed, a directory with a slash at its end.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// The watched paths. Invariant: every path in `by_path` is the path of its watch in `by_wd`. The reverse does not
/// hold: what has been taken out keeps its last path until it is put elsewhere or forgotten, so that its events can
/// still be told.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    by_wd: HashMap<i32, Node>,
    by_path: BTreeMap<Vec<u8>, i32>,
    /// Which round of walking is on: see [`Tree::next_round`].
    round: u64,
    /// How many watches have been entered so far.
    entered: u64,
}

#[derive(Debug)]
struct Node {
    path: Vec<u8>,
    round: u64,
    order: u64,
}

/// A directory and everything beneath it, taken out: each watch with what follows the directory's own path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subtree(Vec<(i32, Vec<u8>)>);

impl Subtree {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn watches(&self) -> impl Iterator<Item = i32> + '_ {
        self.0.iter().map(|&(wd, _)| wd)
    }
}

impl Tree {
    pub(crate) fn len(&self) -> usize {
        self.by_wd.len()
    }

    pub(crate) fn path(&self, wd: i32) -> Option<&[u8]> {
        self.by_wd.get(&wd).map(|node| node.path.as_slice())
    }

    /// Every watch and its path.
    pub(crate) fn all(&self) -> impl Iterator<Item = (i32, &[u8])> {
        self.by_wd.iter().map(|(&wd, node)| (wd, node.path.as_slice()))
    }

    /// Where the watch stands among all, by when it was complete.
    pub(crate) fn order(&self, wd: i32) -> u64 {
        self.by_wd.get(&wd).map_or(u64::MAX, |node| node.order)
    }

    /// Enters a watch. One that is known keeps the path it was first found at in this round.
    pub(crate) fn enter(&mut self, wd: i32, path: Vec<u8>) {
        let order = self.entered;
        self.entered += 1;
        let known = self.by_wd.get(&wd).map(|node| (node.round, node.order));
        if known.is_some_and(|(round, _)| round == self.round) {
            return;
        }
        if known.is_some() {
            self.unname(wd);
        }
        let order = known.map_or(order, |(_, order)| order);
        self.by_path.insert(path.clone(), wd);
        self.by_wd.insert(wd, Node { path, round: self.round, order });
    }

    /// Forgets a watch that has ended.
    pub(crate) fn forget(&mut self, wd: i32) {
        self.unname(wd);
        self.by_wd.remove(&wd);
    }

    /// By descriptor: at the same path there may be another by now.
    fn unname(&mut self, wd: i32) {
        let Some(node) = self.by_wd.get(&wd) else { return };
        if self.by_path.get(&node.path) == Some(&wd) {
            self.by_path.remove(&node.path);
        }
    }

    /// Takes a directory and everything beneath it out. `dir` ends with a slash.
    pub(crate) fn take(&mut self, dir: &[u8]) -> Subtree {
        let from = (Bound::Included(dir.to_vec()), Bound::Unbounded);
        let beneath: Vec<_> = self
            .by_path
            .range(from)
            .take_while(|(path, _)| path.starts_with(dir))
            .map(|(path, &wd)| (wd, path[dir.len()..].to_vec()))
            .collect();
        for (_, rest) in &beneath {
            self.by_path.remove(&[dir, rest].concat());
        }
        Subtree(beneath)
    }

    /// Puts it at another place. `dir` ends with a slash.
    pub(crate) fn put(&mut self, subtree: Subtree, dir: &[u8]) {
        for (wd, rest) in subtree.0 {
            // One that has ended meanwhile is not to come back.
            if let Some(node) = self.by_wd.get_mut(&wd) {
                node.path = [dir, &rest].concat();
                self.by_path.insert(node.path.clone(), wd);
            }
        }
    }

    /// Begins a round in which every path may be found anew.
    pub(crate) fn next_round(&mut self) {
        self.round += 1;
    }

    /// The watches that this round has not met.
    pub(crate) fn unmet(&self) -> Vec<i32> {
        self.by_wd.iter().filter(|(_, node)| node.round != self.round).map(|(&wd, _)| wd).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for (wd, path) in (1..).zip(paths) {
            tree.enter(wd, path.as_bytes().to_vec());
        }
        tree
    }

    fn paths(tree: &Tree) -> Vec<String> {
        (1..9).filter_map(|wd| tree.path(wd)).map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }

    #[test]
    fn a_moved_directory_takes_everything_beneath_along_and_nothing_else() {
        let mut tree = tree(&["t/", "t/a/", "t/a/b/", "t/ab/", "t/a.d/"]);
        let moved = tree.take(b"t/a/");
        assert_eq!(moved.watches().collect::<Vec<_>>(), [2, 3]);
        tree.put(moved, b"t/z/");
        assert_eq!(paths(&tree), ["t/", "t/z/", "t/z/b/", "t/ab/", "t/a.d/"]);
        assert!(tree.take(b"t/a/").is_empty());
    }

    #[test]
    fn two_directories_can_be_exchanged() {
        let mut tree = tree(&["t/a/", "t/b/"]);
        let a = tree.take(b"t/a/");
        let displaced = tree.take(b"t/b/");
        tree.put(a, b"t/b/");
        tree.put(displaced, b"t/a/");
        assert_eq!(paths(&tree), ["t/b/", "t/a/"]);
    }

    #[test]
    fn one_that_is_gone_does_not_take_the_name_of_its_successor_along() {
        let mut tree = tree(&["t/", "t/a/"]);
        tree.enter(3, b"t/a/".to_vec());
        tree.forget(2);
        assert_eq!(tree.take(b"t/a/").watches().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_watch_keeps_its_first_path_until_the_next_round() {
        let mut tree = tree(&["t/", "x/"]);
        tree.enter(1, b"./t/".to_vec());
        assert_eq!(paths(&tree), ["t/", "x/"]);
        tree.next_round();
        tree.enter(1, b"u/".to_vec());
        assert_eq!(paths(&tree), ["u/", "x/"]);
        assert_eq!(tree.unmet(), [2]);
    }
}
