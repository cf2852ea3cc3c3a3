//! One difference between two trees, as it is reported once made.

use super::options::Difference;
use super::path::RelPath;

/// One change the receiver made, or would make in a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// Whether it is (or was) a directory.
    pub dir: bool,
    /// The text of a symlink, for display.
    pub target: Option<Box<[u8]>>,
    /// What was done.
    pub action: Action,
}

/// What was done at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Something new stands there.
    Created,
    /// It was removed.
    Removed,
    /// It came here from another path.
    Renamed,
    /// It was brought up to date; this is what differed.
    Updated(Difference),
}
