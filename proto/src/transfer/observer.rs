//! Who is told what a role does: a progress bar, a log, the journal, a test. All of it may come from any thread of
//! the role, and none of it may block on the network.

use crate::disk::Stamp;
use crate::model::change::Change;
use crate::model::digest::{Digest, Group};
use crate::model::entry::{Entry, Time};
use crate::model::path::RelPath;
use crate::model::problem::Problem;

/// Identifies a task given to a sender, so that its outcome finds its way back.
pub type TaskId = u64;

/// What was sent and is now durable: what the journal records.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where.
    pub path: RelPath,
    /// The entry that was sent.
    pub entry: Entry,
    /// The source as it was when it was read.
    pub stamp: Stamp,
    /// Digest of the content sent.
    pub digest: Digest,
    /// Its groups.
    pub groups: Vec<Group>,
}

impl Sent {
    /// The ctime in the stamp of a content that was read while it changed: the stamp then equals that of no file, nor one
    /// that was only too fresh to tell ([`Stamp::lasting`]).
    pub const UNSTABLE: Time = Time { sec: 0, nsec: 1 };

    /// Whether the content is one the file had at some moment.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.stamp.ctime != Self::UNSTABLE
    }
}

/// What one ack stands for.
#[derive(Debug)]
pub struct Acked {
    /// Contents that are durable at the receiver.
    pub sent: Vec<Sent>,
    /// The task that has come to its end with it: everything it stood for is durable.
    pub task: Option<TaskId>,
}

/// What is said of a file that [`Observer::unstable`] tells of.
pub const UNSTABLE: &str = "it changed while it was read, each time; the copy may be torn until it rests";

/// Told what a role does. Every method may be left as it is.
pub trait Observer: Send + Sync {
    /// Content of a file begins to cross; `size` in bytes is what its entry says.
    fn file_started(&self, path: &RelPath, size: u64) {
        let _unused = (path, size);
    }

    /// So many bytes of the current file's content are done, sent or copied.
    fn file_advanced(&self, bytes: u64) {
        let _unused = bytes;
    }

    /// The current file's content is done.
    fn file_done(&self) {}

    /// The receiver made a change.
    fn changed(&self, change: &Change) {
        let _unused = change;
    }

    /// A restore kept what it replaced under another name.
    fn kept_aside(&self, path: &RelPath, kept: &RelPath) {
        let _unused = (path, kept);
    }

    /// These entries take no part, and `more` besides that are not named: of a kind that was not asked for, or that the
    /// receiver cannot keep.
    fn left_out(&self, paths: &[RelPath], more: u64) {
        let _unused = (paths, more);
    }

    /// This directory was named, and is skipped without `-r`.
    fn skipped_directory(&self, path: &RelPath) {
        let _unused = path;
    }

    /// One path failed, at either end.
    fn problem(&self, problem: &Problem) {
        let _unused = problem;
    }

    /// What was met at this path was not there to be put when its time came, at the receiver: nothing is wrong, and whoever
    /// follows what happens to paths may know where it is.
    fn missed(&self, path: &RelPath) {
        let _unused = path;
    }

    /// A file changed under every reading, and its content is sent as it was read last: it may be of no moment in which
    /// the file ever was.
    fn unstable(&self, path: &RelPath) {
        let _unused = path;
    }

    /// These have been acknowledged, in this order: what was sent before a rename was sent to the old name. They come
    /// together as the receiver told them together.
    fn acked(&self, acks: Vec<Acked>) {
        let _unused = acks;
    }

    /// A task has come to its end otherwise: nothing was to be sent for it, or a path of it failed.
    fn settled(&self, task: TaskId, outcome: Result<(), Problem>) {
        let _unused = (task, outcome);
    }
}

/// Tells nobody.
pub struct Silent;

impl Observer for Silent {}
