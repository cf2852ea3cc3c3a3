//! watcher: inotify: one watch for every directory that the rules do not exclude. A watch is added first, then the
//! directory is read, then what it holds is watched: what happens in between is told twice, never missed.
//!
//! Its thread drains the queue first and adds watches between two drains, so that a full queue is met only when a
//! whole round of both takes too long.
//!
//! * `tree`: the watched directories; `moves`: halves of renames; `events`: what is made of an event; `arm`: how
//!   watches are added; `kernel`: the calls.

mod arm;
mod events;
mod kernel;
mod moves;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::{Duration, Instant};

use driftless_proto::disk::Root;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;
use inotify::{EventMask, Inotify};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::arm::{Mode, Task};
use self::events::Displaced;
use self::kernel::READ_LEN;
use self::moves::Moves;
use self::tree::{Position, Tree, Wd};
use super::barrier::{Barriers, Cohort};
use super::engine::Engine;
use super::place::Place;
use super::rules::see_paths;
use super::{Asked, Report, Signal};
use crate::broken::{Mechanism, is_broken};

/// Directories watched between two looks at the queue.
const TASKS_A_ROUND: usize = 64;

/// Reads between two rounds of tasks: an endless stream of events must not keep a new directory unwatched.
const READS_A_ROUND: usize = 16;

/// A second overflow soon after the first is answered later, and so on up to a bound: watching everything anew
/// while the cause lasts would only feed it.
const REBUILD_AFTER: Duration = Duration::from_millis(100);
/// See [`REBUILD_AFTER`].
const REBUILD_AFTER_MAX: Duration = Duration::from_secs(30);
/// After this long without an overflow the next one is answered at once.
const REBUILD_CALM: Duration = Duration::from_secs(60);

/// How often the root is looked at where the directory above it cannot be watched.
const ROOT_LOOK: Duration = Duration::from_secs(1);

/// When to watch everything anew.
#[derive(Debug)]
struct Rebuild {
    due: Option<Instant>,
    not_before: Instant,
    pause: Duration,
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

/// The state of the thread.
///
/// Invariant: every directory beneath the Root that is not excluded has a node, or a task or a queued event that
/// will give it one, or has been told as unwatched; or `rebuild` is due.
pub(super) struct InotifyEngine {
    root: Root,
    rules: Arc<Rules>,
    /// Whether a directory's verdict may change with the name of one above it.
    rules_see_paths: bool,
    inotify: Inotify,
    tree: Tree,
    moves: Moves,
    /// The end of the event that is being handled; between events, of the last one.
    position: Position,
    /// What to do next, in order.
    ready: VecDeque<(Cohort, Task)>,
    /// What to do when the events up to a position have been handled; the positions never fall.
    waiting: VecDeque<(Position, Cohort, Task)>,
    asked: Arc<Asked>,
    barriers: Barriers,
    /// Names of directories for which no watch was left, and when to try again.
    refused: VecDeque<(Wd, Box<[u8]>)>,
    retry_due: Option<Instant>,
    /// For [`arm::Arrival`]s to say that they are over.
    arrivals: Sender<Wd>,
    arrived: Receiver<Wd>,
    /// The last event put a directory at a place that has another: the next tells whether they were exchanged.
    displaced: Option<Displaced>,
    signals: Vec<Signal>,
    names: Vec<u8>,
    place: Place,
    /// The watch of the directory above the root.
    above: Option<Wd>,
    rebuild: Rebuild,
    /// Everything is being watched anew after an overflow; `Lost` is to be said at the end.
    recovering: bool,
    gone: bool,
    report: Report,
    #[cfg(debug_assertions)]
    former: events::Former,
    #[cfg(test)]
    hooks: tests::Hooks,
}

impl InotifyEngine {
    /// Opens inotify and watches the root itself, nothing beneath it yet.
    pub(super) fn new(root: Root, rules: Arc<Rules>, report: Report) -> io::Result<Self> {
        let inotify = kernel::instance()?;
        let (tree, above) = plant(&root, &inotify)?;
        let top = Task::Scan { wd: tree.root(), mode: Mode::Arm, arrival: None, tries: 0 };
        let rules_see_paths = see_paths(&rules);
        let place = Place::of(&root)?;
        let now = Instant::now();
        let (arrivals, arrived) = channel();
        let barriers = Barriers::default();
        Ok(Self {
            root,
            rules,
            rules_see_paths,
            inotify,
            tree,
            moves: Moves::default(),
            position: 0,
            ready: VecDeque::from([(barriers.cohort(), top)]),
            waiting: VecDeque::new(),
            asked: Asked::new()?,
            barriers,
            refused: VecDeque::new(),
            retry_due: None,
            arrivals,
            arrived,
            displaced: None,
            signals: Vec::new(),
            names: Vec::new(),
            place,
            above,
            rebuild: Rebuild { due: None, not_before: now, pause: REBUILD_AFTER },
            recovering: false,
            gone: false,
            report,
            #[cfg(debug_assertions)]
            former: events::Former::new(),
            #[cfg(test)]
            hooks: tests::Hooks::default(),
        })
    }

    /// Sleeps until there is something to do.
    fn wait(&self, stop: &OwnedFd) -> io::Result<Woken> {
        let mut deadlines = [self.moves.deadline(), self.rebuild.due, self.retry_due, None];
        if self.above.is_none() {
            deadlines[3] = Some(Instant::now() + ROOT_LOOK);
        }
        let left = if self.is_armed() {
            deadlines.into_iter().flatten().min().map(|at| at.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = [
            PollFd::new(&self.inotify, PollFlags::IN),
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

    /// Reads what is queued, gives up what is late, watches what is new.
    fn round(&mut self, buffer: &mut [u8]) {
        let asked = self.asked.take();
        if !asked.is_empty() {
            // Whatever happened before is queued by now: the kernel does so before a system call returns.
            self.barriers.ask(asked, self.position + kernel::queued(&self.inotify));
        }
        let drained = match self.drain(buffer) {
            Ok(drained) => drained,
            Err(error) => return self.root_gone(format!("reading events failed: {error}")),
        };
        let now = Instant::now();
        self.barriers.reach(if drained { Position::MAX } else { self.position }, now);
        let expired = self.moves.expire(now, drained);
        for departed in expired {
            self.left(departed);
        }
        if self.above.is_none() {
            self.look_at_root();
        }
        if self.rebuild.due.is_some_and(|due| due <= now) {
            self.rebuild(now);
        }
        if self.retry_due.is_some_and(|due| due <= now) {
            self.retry_refused();
        }
        for _ in 0..TASKS_A_ROUND {
            let Some((cohort, task)) = self.next_task() else { break };
            self.barriers.work(Some(cohort));
            self.work(task);
            self.barriers.work(None);
        }
    }

    /// Says which barriers have passed. Nothing is sure before what an overflow has lost was made good.
    fn pass_barriers(&mut self) {
        if self.barriers.is_empty() || self.recovering || self.rebuild.due.is_some() {
            return;
        }
        let moves = &self.moves;
        let passed = self.barriers.pass(|reached| !moves.any_since_before(reached));
        self.signals.extend(passed.into_iter().map(Signal::Barrier));
    }

    /// Reads until the queue is empty, or for one round. Returns whether it is empty.
    fn drain(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        for _ in 0..READS_A_ROUND {
            let events = match self.inotify.read_events(buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Everything queued so far has been handled, whatever our count of its bytes says.
                    self.position =
                        self.waiting.back().map_or(self.position, |(at, ..)| self.position.max(*at));
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for event in events {
                let wd = event.wd.get_watch_descriptor_id();
                let name = event.name.map(OsStrExt::as_bytes);
                self.position += kernel::event_len(name);
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    self.overflow();
                    continue;
                }
                if Some(wd) == self.above {
                    self.look_at_root();
                    if event.mask.contains(EventMask::IGNORED) {
                        self.above = None;
                    }
                }
                self.event(wd, event.mask, event.cookie, name);
                if self.gone {
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// Some events were lost, no one knows which: of renames, of new directories. Nothing of the tree is sure any more.
    fn overflow(&mut self) {
        #[cfg(test)]
        self.hooks.count_overflow();
        if is_broken(Mechanism::Overflow) {
            return;
        }
        let now = Instant::now();
        if self.rebuild.due.is_none() {
            self.rebuild.due = Some(now.max(self.rebuild.not_before));
        }
    }

    /// Starts over with a new queue, which also takes up a limit that was raised meanwhile (`inotify(7)` samples it
    /// when the instance is made), and closes the old one.
    fn rebuild(&mut self, now: Instant) {
        self.rebuild.due = None;
        let calm = now >= self.rebuild.not_before + REBUILD_CALM;
        self.rebuild.pause =
            if calm { REBUILD_AFTER } else { (self.rebuild.pause * 2).min(REBUILD_AFTER_MAX) };
        self.rebuild.not_before = now + self.rebuild.pause;
        let planted = kernel::instance().and_then(|inotify| {
            let (tree, above) = plant(&self.root, &inotify)?;
            Ok((inotify, tree, above))
        });
        self.recovering = true;
        let (inotify, tree, above) = match planted {
            Ok(planted) => planted,
            Err(error) => {
                // The old queue goes on: most of the tree is right, and later we try again.
                self.signals.push(Signal::Unwatched { path: RelPath::root(), reason: error.to_string() });
                self.rebuild.due = Some(self.rebuild.not_before);
                return;
            }
        };
        (self.inotify, self.tree, self.above) = (inotify, tree, above);
        self.moves = Moves::default();
        self.ready.clear();
        self.waiting.clear();
        self.refused.clear();
        self.retry_due = None;
        // Those arrivals are over, and their numbers mean nothing any more.
        (self.arrivals, self.arrived) = channel();
        self.displaced = None;
        self.barriers.reach(Position::MAX, now);
        let top = Task::Scan { wd: self.tree.root(), mode: Mode::Arm, arrival: None, tries: 0 };
        self.ready = VecDeque::from([(self.barriers.cohort(), top)]);
    }

    fn next_task(&mut self) -> Option<(Cohort, Task)> {
        match self.waiting.front() {
            Some((at, ..)) if *at <= self.position => {
                self.waiting.pop_front().map(|(_, cohort, task)| (cohort, task))
            }
            _ => self.ready.pop_front(),
        }
    }

    /// Whether every directory we know of is watched.
    fn is_armed(&self) -> bool {
        self.ready.is_empty() && self.waiting.is_empty()
    }

    /// The root is held open, so it is there for us even when its last name has gone.
    fn look_at_root(&mut self) {
        if let Some(why) = self.place.gone(&self.root) {
            self.root_gone(why);
        }
    }

    fn root_gone(&mut self, reason: String) {
        if !self.gone {
            self.gone = true;
            self.signals.push(Signal::RootGone(reason));
        }
    }
}

/// Watches the root and the directory above it.
fn plant(root: &Root, inotify: &Inotify) -> io::Result<(Tree, Option<Wd>)> {
    let top = root.dir(&RelPath::root())?;
    let tree = Tree::new(kernel::watch(inotify, top.as_fd())?, kernel::inode(top.as_fd())?);
    let above = kernel::watch_above(inotify, top.as_fd());
    Ok((tree, above.map(|watch| watch.get_watch_descriptor_id())))
}

impl Engine for InotifyEngine {
    fn run(mut self: Box<Self>, stop: &OwnedFd, armed: &SyncSender<()>) {
        let mut buffer = vec![0; READ_LEN];
        #[cfg(test)]
        buffer.truncate(self.hooks.read_len.load(std::sync::atomic::Ordering::Relaxed));
        let mut announced = false;
        while !self.gone {
            #[cfg(test)]
            self.hooks.pause(std::os::fd::AsRawFd::as_raw_fd(&self.inotify));
            match self.wait(stop) {
                Ok(Woken::Stop) => return,
                Ok(Woken::Events) => self.round(&mut buffer),
                Ok(Woken::Mounts) => self.look_at_root(),
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
