//! watcher: fanotify: one mark for the whole file system. Nothing has to be set up for a directory before it can be
//! seen, so nothing is missed while that happens; a rename is one event that names both ends.
//!
//! Events name directories by handle, so every directory's handle is known from the start, by one walk, and kept up to
//! date from the events. Those of other directories of the file system are dropped at once.
//!
//! * `tree`: the known directories; `events`: what is made of an event; `scan`: what is found by looking; `kernel`:
//!   the calls.

mod events;
mod kernel;
mod scan;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use driftless_proto::disk::Root;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;
use fanotify_fid::Fanotify;
use fanotify_fid::fid::parse_fid_events;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::kernel::READ_LEN;
use self::tree::{Handle, Tree};
use super::barrier::{Barriers, Cohort};
use super::engine::Engine;
use super::place::Place;
use super::rules::see_paths;
use super::{Asked, Report, Signal};
use crate::broken::{Mechanism, is_broken};

/// Tasks between two looks at the queue.
const TASKS_A_ROUND: usize = 64;

/// Reads between two rounds of tasks.
const READS_A_ROUND: usize = 16;

/// A second overflow soon after the first is answered later, and so on up to a bound: walking everything anew while
/// the cause lasts would only feed it.
const REBUILD_AFTER: Duration = Duration::from_millis(100);
/// See [`REBUILD_AFTER`].
const REBUILD_AFTER_MAX: Duration = Duration::from_secs(30);
/// After this long without an overflow the next one is answered at once.
const REBUILD_CALM: Duration = Duration::from_secs(60);

/// One step of work. The last one that was given is done first, so a directory is read before it is compared.
enum Task {
    /// Have a directory compared as a whole: everything beneath is known.
    Compare(Handle),
    /// Make the directories in this one known.
    Scan(Handle),
    /// Make known what stands at a name.
    Visit { parent: Handle, name: Box<[u8]> },
}

/// What ended a sleep.
enum Woken {
    /// There are events, or something is due.
    Events,
    /// Something was mounted or unmounted.
    Mounts,
    /// It is time to end.
    Stop,
}

/// When to walk everything anew.
struct Rebuild {
    due: Option<Instant>,
    not_before: Instant,
    pause: Duration,
}

/// The state of the thread.
///
/// Invariant: every directory beneath the Root that is not excluded is in `tree`, or a task or a queued event will
/// put it there, or it has been told as unwatched; or `rebuild` is due.
pub(super) struct FanotifyEngine {
    root: Root,
    /// The root, held for reading: handles are opened from here.
    anchor: OwnedFd,
    dev: u64,
    rules: Arc<Rules>,
    /// Whether a directory's verdict may change with the name of one above it.
    rules_see_paths: bool,
    group: Fanotify,
    place: Place,
    tree: Tree,
    tasks: Vec<(Cohort, Task)>,
    asked: Arc<Asked>,
    barriers: Barriers,
    /// Events that have been read.
    read: u64,
    /// Directories that were renamed since the queue was last empty.
    moved: BTreeSet<Handle>,
    signals: Vec<Signal>,
    names: Vec<u8>,
    rebuild: Rebuild,
    /// Everything is being walked anew after an overflow; `Lost` is to be said at the end.
    recovering: bool,
    gone: bool,
    report: Report,
    #[cfg(test)]
    hooks: tests::Hooks,
}

impl FanotifyEngine {
    /// Marks the root's file system.
    ///
    /// # Errors
    /// When this process may not, or kernel or file system cannot; the message says which, as one sentence.
    pub(super) fn new(root: Root, rules: Arc<Rules>, report: Report) -> io::Result<Self> {
        let anchor = kernel::to_read(root.dir(&RelPath::root())?.as_fd())?;
        let group = kernel::group(anchor.as_fd())?;
        let (dev, _) = kernel::inode(anchor.as_fd())?;
        let tree = Tree::new(kernel::handle(anchor.as_fd())?);
        let barriers = Barriers::default();
        Ok(Self {
            place: Place::of(&root)?,
            root,
            anchor,
            dev,
            rules_see_paths: see_paths(&rules),
            rules,
            group,
            tasks: vec![(barriers.cohort(), Task::Scan(Arc::clone(tree.root())))],
            asked: Asked::new()?,
            barriers,
            read: 0,
            tree,
            moved: BTreeSet::new(),
            signals: Vec::new(),
            names: Vec::new(),
            rebuild: Rebuild { due: None, not_before: Instant::now(), pause: REBUILD_AFTER },
            recovering: false,
            gone: false,
            report,
            #[cfg(test)]
            hooks: tests::Hooks::default(),
        })
    }

    /// Sleeps until there is something to do.
    fn wait(&self, stop: &OwnedFd) -> io::Result<Woken> {
        let due = if self.is_armed() { self.rebuild.due } else { Some(Instant::now()) };
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now())).map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = [
            PollFd::from_borrowed_fd(self.group.as_fd(), PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
            self.place.poll_fd(),
            PollFd::new(self.asked.bell(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) if !fds[1].revents().is_empty() => Ok(Woken::Stop),
            Ok(_) if !fds[2].revents().is_empty() => Ok(Woken::Mounts),
            Ok(_) | Err(Errno::INTR) => Ok(Woken::Events),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is queued, then walks on.
    fn round(&mut self, buffer: &mut [u8]) {
        let asked = self.asked.take();
        if !asked.is_empty() {
            // Whatever happened before is queued by now: the kernel does so before a system call returns.
            self.barriers.ask(asked, self.read + kernel::queued(&self.group));
        }
        let drained = match self.drain(buffer) {
            Ok(true) => {
                for handle in std::mem::take(&mut self.moved) {
                    self.verify(&handle);
                }
                true
            }
            Ok(false) => false,
            Err(error) => return self.root_gone(format!("reading events failed: {error}")),
        };
        let now = Instant::now();
        if drained {
            self.barriers.reach(u64::MAX, now);
        } else if self.moved.is_empty() {
            // Otherwise it is not known yet where a renamed directory is.
            self.barriers.reach(self.read, now);
        }
        if self.rebuild.due.is_some_and(|due| due <= now) {
            self.rebuild(now);
        }
        for _ in 0..TASKS_A_ROUND {
            let Some((cohort, task)) = self.tasks.pop() else { break };
            self.barriers.work(Some(cohort));
            self.work(task);
            self.barriers.work(None);
        }
    }

    /// Has something done, before what was given earlier.
    fn next(&mut self, task: Task) {
        self.tasks.push((self.barriers.cohort(), task));
    }

    /// Says which barriers have passed. Nothing is sure before what an overflow has lost was made good.
    fn pass_barriers(&mut self) {
        if !self.barriers.is_empty() && !self.recovering && self.rebuild.due.is_none() {
            let passed = self.barriers.pass(|_| true);
            self.signals.extend(passed.into_iter().map(Signal::Barrier));
        }
    }

    /// Reads until the queue is empty, or for one round. Returns whether it is empty.
    fn drain(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        for _ in 0..READS_A_ROUND {
            let len = match rustix::io::read(self.group.as_fd(), &mut *buffer) {
                Ok(len) => len,
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let events = parse_fid_events(&buffer[..len]).map_err(io::Error::other)?;
            for event in &events {
                self.read += 1;
                self.event(event);
                if self.gone {
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// Some events were lost, no one knows which.
    fn overflow(&mut self) {
        #[cfg(test)]
        self.hooks.count_overflow();
        if is_broken(Mechanism::Overflow) {
            return;
        }
        if self.rebuild.due.is_none() {
            self.rebuild.due = Some(Instant::now().max(self.rebuild.not_before));
        }
    }

    /// Walks everything anew. The queue goes on meanwhile: what it holds of before is made good by the walk.
    fn rebuild(&mut self, now: Instant) {
        let calm = now >= self.rebuild.not_before + REBUILD_CALM;
        let pause = if calm { REBUILD_AFTER } else { (self.rebuild.pause * 2).min(REBUILD_AFTER_MAX) };
        self.rebuild = Rebuild { due: None, not_before: now + pause, pause };
        self.recovering = true;
        self.tree = Tree::new(Arc::clone(self.tree.root()));
        self.moved.clear();
        self.tasks.clear();
        self.barriers.reach(u64::MAX, now);
        self.next(Task::Scan(Arc::clone(self.tree.root())));
    }

    /// Whether every directory is known.
    fn is_armed(&self) -> bool {
        self.tasks.is_empty()
    }

    fn root_gone(&mut self, reason: String) {
        if !self.gone {
            self.gone = true;
            self.signals.push(Signal::RootGone(reason));
        }
    }
}

impl Engine for FanotifyEngine {
    fn run(mut self: Box<Self>, stop: &OwnedFd, armed: &SyncSender<()>) {
        let mut buffer = vec![0; READ_LEN];
        let mut announced = false;
        while !self.gone {
            #[cfg(test)]
            self.hooks.pause();
            match self.wait(stop) {
                Ok(Woken::Stop) => return,
                Ok(Woken::Events) => self.round(&mut buffer),
                Ok(Woken::Mounts) => {
                    if let Some(why) = self.place.gone(&self.root) {
                        self.root_gone(why);
                    }
                }
                Err(error) => self.root_gone(format!("watching failed: {error}")),
            }
            if self.is_armed() && self.recovering {
                self.recovering = false;
                self.signals.push(Signal::Lost);
            }
            self.pass_barriers();
            self.asked.show_directories(self.tree.len());
            if !self.signals.is_empty() {
                (self.report)(std::mem::take(&mut self.signals));
            }
            if self.is_armed() && !announced {
                announced = true;
                armed.send(()).ok();
            }
        }
    }

    fn asked(&self) -> Arc<Asked> {
        Arc::clone(&self.asked)
    }
}
