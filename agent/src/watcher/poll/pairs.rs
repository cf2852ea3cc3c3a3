//! watcher: poll: what went away and what came within one look, and which of it is one thing that was renamed.
//!
//! Held until the look is over: an old name and its new one may lie at opposite ends of the tree, and a deletion that is
//! told first costs the content. Whatever finds no other half is told as what it is.
//!
//! Pure. Touches: nothing.

use std::collections::HashMap;

use driftless_proto::model::path::RelPath;

use crate::watcher::{Signal, Why};

/// Names held in one look, each for some 100 bytes. What goes beyond is told at once, and its renames are not found.
const HELD_MAX: usize = 100_000;

/// One name, and what stood or stands there.
#[derive(Debug)]
struct End {
    path: RelPath,
    dir: bool,
    id: u32,
}

/// What one look has met so far.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    gone: Vec<End>,
    /// In the order in which they were met: a directory before what is in it.
    came: Vec<End>,
}

impl Pairs {
    /// Takes a name that went away. Gives it back where it cannot be held.
    pub(super) fn went(&mut self, path: RelPath, dir: bool, id: u32) -> Option<RelPath> {
        if !self.room(id) {
            return Some(path);
        }
        self.gone.push(End { path, dir, id });
        None
    }

    /// Takes a name that came. Gives it back where it cannot be held.
    pub(super) fn came(&mut self, path: RelPath, dir: bool, id: u32) -> Option<RelPath> {
        if !self.room(id) {
            return Some(path);
        }
        self.came.push(End { path, dir, id });
        None
    }

    /// What has no identity finds no other half, so there is no use in waiting.
    fn room(&self, id: u32) -> bool {
        id != 0 && self.gone.len() + self.came.len() < HELD_MAX
    }

    /// The look is over: what there is to tell. A directory that came is to be compared as well, renamed or not.
    pub(super) fn settle(&mut self) -> Vec<Signal> {
        let (gone, came) = (std::mem::take(&mut self.gone), std::mem::take(&mut self.came));
        let mut by_id: HashMap<(u32, bool), Vec<usize>> = HashMap::new();
        // Of several names of one file the first that went is taken first.
        for (at, end) in gone.iter().enumerate().rev() {
            by_id.entry((end.id, end.dir)).or_default().push(at);
        }
        let mut paired = vec![false; gone.len()];
        let mut signals = Vec::new();
        for End { path, dir, id } in came {
            let from = by_id.get_mut(&(id, dir)).and_then(Vec::pop);
            if let Some(at) = from {
                paired[at] = true;
                signals.push(Signal::Renamed { from: gone[at].path.clone(), to: path.clone(), dir });
            } else {
                signals.push(Signal::Dirty { path: path.clone(), why: Why::Created, dir });
            }
            if dir {
                signals.push(Signal::Rescan(path));
            }
        }
        let left = gone.into_iter().zip(paired).filter(|(_, paired)| !paired);
        signals.extend(left.map(|(End { path, dir, .. }, _)| Signal::Dirty { path, why: Why::Gone, dir }));
        signals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).expect("path")
    }

    #[test]
    fn what_went_and_came_as_the_same_thing_was_renamed_and_all_else_is_told_as_it_is() {
        let mut pairs = Pairs::default();
        for (path, dir, id) in
            [("a", false, 1), ("d", true, 2), ("x", false, 3), ("link", false, 1), ("y", true, 3)]
        {
            assert_eq!(pairs.went(p(path), dir, id), None);
        }
        for (path, dir, id) in [("b", false, 1), ("e", true, 2), ("new", false, 9), ("z", false, 2)] {
            assert_eq!(pairs.came(p(path), dir, id), None);
        }
        let dirty = |path, why, dir| Signal::Dirty { path: p(path), why, dir };
        let renamed = |from, to, dir| Signal::Renamed { from: p(from), to: p(to), dir };
        let want = [
            renamed("a", "b", false),
            renamed("d", "e", true),
            Signal::Rescan(p("e")),
            dirty("new", Why::Created, false),
            dirty("z", Why::Created, false),
            dirty("x", Why::Gone, false),
            dirty("link", Why::Gone, false),
            dirty("y", Why::Gone, true),
        ];
        assert_eq!(pairs.settle(), want);
        assert_eq!(pairs.settle(), []);
    }

    #[test]
    fn what_has_no_identity_or_no_room_is_given_back() {
        let mut pairs = Pairs::default();
        assert_eq!(pairs.went(p("a"), false, 0), Some(p("a")));
        assert_eq!(pairs.came(p("a"), false, 0), Some(p("a")));
        (0..HELD_MAX).for_each(|_| assert_eq!(pairs.went(p("a"), false, 1), None));
        assert_eq!(pairs.came(p("b"), false, 1), Some(p("b")));
        assert_eq!(pairs.settle().len(), HELD_MAX);
        assert_eq!(pairs.came(p("b"), false, 1), None);
    }
}
