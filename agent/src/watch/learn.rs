//! Learn: the inventory follows what was compared. A thread of its own walks what came to its end well and writes down
//! what stands there, so that live changes never wait for it. What it misses because it changed meanwhile is told by its
//! own change, or found at the next comparison; but a file with several names that changed after the comparison began, and of
//! which no ack speaks, is looked at again: the comparison may have met it before, and the change have been made through
//! another of its names, which is the only one that an event tells of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use driftless_proto::disk::{Found, Root, leads_nowhere};
use driftless_proto::model::entry::Time;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;

use super::desk::Desk;
use super::recorder::Recorder;
use super::session::Trunk;
use super::status::Status;
use super::withheld::Withheld;
use crate::guard::survey::{Sight, SurveyError, survey};
use crate::journal::{Item, Journal, JournalError, Mounted, Note};
use crate::pending::Dirty;

/// Items of one commit.
const ITEMS: usize = 4096;

/// A directory with everything beneath it that was compared, and is equal.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) dir: RelPath,
    /// What was weighed as missing before the comparison, by its topmost paths. Only this is forgotten: what vanished
    /// later has not been counted by the brake, and is looked at again for that.
    pub(super) missing: BTreeSet<RelPath>,
    /// When the comparison began.
    pub(super) begun: Begun,
}

/// When something began, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    at: Instant,
    /// By the clock of file times, less what that may lag behind.
    stamped: Time,
}

/// The kernel stamps files by a clock that moves once in a tick, of 10 ms at most.
const TICKS: Duration = Duration::from_millis(100);

/// What vanished while a comparison ran is looked at after so long: as a rule its own event, or the one of its rename, has
/// been told by then. A poll may not have met it at all.
const VANISHED: Duration = Duration::from_secs(1);

impl Begun {
    pub(super) fn now() -> Self {
        let clock = SystemTime::now();
        let stamped = clock.checked_sub(TICKS).unwrap_or(clock).into();
        Self { at: Instant::now(), stamped }
    }
}

/// What a learner works with.
pub(super) struct Learning {
    pub(super) root: Root,
    pub(super) journal: Arc<Journal>,
    pub(super) recorder: Arc<Recorder>,
    /// What takes part, as paths of the source.
    pub(super) rules: Rules,
    /// What is missing is gone from the copy too.
    pub(super) forget: bool,
    /// What did not leave is still known as it was.
    pub(super) withheld: Option<Arc<Withheld>>,
    pub(super) desk: Arc<Desk>,
    pub(super) status: Arc<Status>,
}

/// See the module. Dropping it ends the thread, in the middle of a walk too.
pub(super) struct Learner {
    dirs: Option<Sender<Matched>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Learner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) fn start(learning: Learning) -> std::io::Result<Self> {
        let (dirs, queue) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || learning.work(&queue, &stopped);
        let thread = std::thread::Builder::new().name("inventory".into()).spawn(work)?;
        Ok(Self { dirs: Some(dirs), stop, thread: Some(thread) })
    }

    /// The inventory is to follow this.
    pub(super) fn learn(&self, matched: Matched) {
        if let Some(dirs) = &self.dirs {
            // The thread only ends with us.
            dirs.send(matched).ok();
        }
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.dirs = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            thread.join().ok();
        }
    }
}

impl Trunk<'_, '_> {
    /// The inventory has followed a comparison of everything, and is on the disk: from here on the journal speaks of this
    /// start of the server. Before, an agent that is killed leaves a part of the inventory, and must not believe it.
    pub(super) fn learned(&mut self) {
        if let (true, Some(seen)) = (self.known.standing.held.is_none(), &self.known.seen) {
            self.watch.note(self.journal.set_server_seen(seen).map_err(std::io::Error::other));
        }
        self.known.stale = false;
        let known = self.journal.known().ok();
        self.watch.picture(|picture| picture.known_entries = known);
        self.watch.carried_out(std::mem::take(&mut self.known.rewrites.approved));
        if self.known.standing.held.is_none() {
            self.watch.carried_out(std::mem::take(&mut self.known.approved));
        }
    }

    /// What keeps the inventory: it leaves alone what both ends leave alone, and forgets what is missing only where
    /// its deletion has left.
    pub(super) fn learner(&self) -> std::io::Result<Learner> {
        let rules = self.known.standing.rules(&self.watch.invocation.rules, &RelPath::root());
        Learner::start(Learning {
            root: self.root.clone(),
            journal: Arc::clone(&self.journal),
            recorder: Arc::clone(&self.recorder),
            rules: rules.unwrap_or_else(|_| self.watch.invocation.rules.clone()),
            forget: self.watch.invocation.options.delete && self.known.standing.held.is_none(),
            withheld: self.withheld.clone(),
            desk: Arc::clone(&self.watch.desk),
            status: Arc::clone(&self.watch.status),
        })
    }
}

/// Whether one of these is this path or a directory above it.
pub(super) fn covers(paths: &BTreeSet<RelPath>, path: &RelPath) -> bool {
    !paths.is_empty()
        && std::iter::successors(Some(path.clone()), RelPath::parent).any(|at| paths.contains(&at))
}

impl Learning {
    fn work(&self, queue: &Receiver<Matched>, stop: &AtomicBool) {
        while let Ok(matched) = queue.recv() {
            let learnt = self.learn(&matched, stop);
            let learned = learnt.is_ok() && matched.dir.is_root() && !stop.load(Ordering::Relaxed);
            self.desk.leave(|state| {
                state.learned |= learned;
                state.whole.learning = state.whole.learning.saturating_sub(1);
            });
            match learnt {
                Ok(()) => {}
                // A moved or removed directory is told of by its own events.
                Err(SurveyError::Source(error)) if leads_nowhere(&error) => {}
                Err(error) => self.status.problem(&format!("inventory: {error}")),
            }
        }
    }

    fn learn(&self, matched: &Matched, stop: &AtomicBool) -> Result<(), SurveyError> {
        let dir = &matched.dir;
        // What was acked before is not to be noted after what is seen now: an exchange would be turned back.
        self.recorder.settle();
        let top = RelPath::root();
        let mounted = Mounted::new(&self.root.found(&top)?, self.root.inode(&top)?);
        let mut notes = Vec::new();
        let own = |path: &RelPath| {
            Ok::<_, std::io::Error>(Item::new(&self.root.found(path)?, self.root.inode(path)?, &mounted))
        };
        if !dir.is_root() {
            notes.push(Note::Seen(dir.clone(), own(dir)?));
        }
        let (mut failed, mut vanished) = (None, BTreeSet::new());
        survey(&self.root, dir, &self.rules, self.journal.inventory(dir)?, &mut |sight| {
            if stop.load(Ordering::Relaxed) || failed.is_some() {
                return;
            }
            let (standing, was) = match sight {
                Sight::Fresh(dir, path, found) => (Some((dir, path, found)), None),
                Sight::Stands(dir, path, was, found) => (Some((dir, path, found)), Some(was)),
                Sight::Missing(path, _) if self.forget && covers(&matched.missing, &path) => {
                    notes.push(Note::Removed(path));
                    (None, None)
                }
                Sight::Missing(path, _) if self.forget => {
                    if !covers(&vanished, &path) {
                        vanished.insert(path);
                    }
                    (None, None)
                }
                Sight::Missing(..) | Sight::Unreadable(..) | Sight::Hidden(..) => (None, None),
            };
            if let Some((dir, path, found)) = standing
                && self.is_news(path, was, found, matched.begun)
            {
                // What has vanished is told of by its own event.
                let item = Item::of(dir, path.name(), found, &mounted).ok();
                let item = item.filter(|item| was != Some(item));
                notes.extend(item.map(|item| Note::Seen(path.clone(), item)));
            }
            if notes.len() >= ITEMS {
                failed = self.take(std::mem::take(&mut notes)).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if !stop.load(Ordering::Relaxed) {
            self.desk.leave(|state| {
                for path in vanished {
                    state.look_again(Dirty { path, subtree: false }, matched.begun.at, VANISHED);
                }
            });
            self.take(notes)?;
            // A plan is only done with once nothing of it could come back.
            if dir.is_root() {
                self.journal.sync()?;
            }
        }
        Ok(())
    }
}

impl Learning {
    /// Whether the inventory is to take what stands at a path. What the comparison may not have seen as it is now is
    /// marked.
    fn is_news(&self, path: &RelPath, was: Option<&Item>, found: &Found, begun: Begun) -> bool {
        let stat = &found.stat;
        let is_file = found.entry.is_file();
        let linked = is_file && stat.nlink > 1;
        if linked {
            self.journal.meet(path, stat.ino);
        }
        let withheld = |withheld: &Arc<Withheld>| {
            is_file && withheld.holds(path, (found.entry.size(), found.entry.mtime))
        };
        if self.withheld.as_ref().is_some_and(withheld) {
            // The copy has what it had.
            return false;
        }
        let now = (stat.ino, found.entry.size(), found.entry.mtime, found.entry.is_dir());
        let changed = was.is_none_or(|was| (was.ino, was.size, was.mtime, was.dir) != now);
        let acked = || self.journal.glance(path).ok().flatten().is_some_and(|row| row.stamp == *stat);
        // The comparison saw size and mtime, and nothing else.
        let hidden = was.is_some_and(|was| was.hides_a_change(found)) && !acked();
        // Of a file with one name its own event tells; a look at a name that the poller has not met would bring across what
        // it then never sees go.
        let named_twice = linked || is_file && was.is_some_and(|was| was.linked);
        let late = || named_twice && changed && stat.ctime >= begun.stamped && !acked();
        if hidden || late() {
            let dirty = Dirty { path: path.clone(), subtree: false };
            self.desk.leave(|state| state.look_again(dirty, begun.at, Duration::ZERO));
        }
        let old_form =
            |was: &Item| was.born.is_none() || !was.dir && was.ctime.is_none() || was.linked != linked;
        !hidden && (changed || was.is_some_and(|was| was.kept || old_form(was)))
    }

    /// Takes notes but those of what is withheld: it may have come to a name that was new when it was seen.
    fn take(&self, mut notes: Vec<Note>) -> Result<(), JournalError> {
        if let Some(withheld) = &self.withheld {
            notes.retain(|note| match note {
                Note::Seen(path, item) if !item.dir => !withheld.holds(path, (item.size, item.mtime)),
                _ => true,
            });
        }
        self.journal.take(&notes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the tests make what is learned")]

    use std::fs;

    use driftless_proto::disk::Style;

    use super::*;

    #[test]
    fn only_what_was_weighed_as_missing_is_forgotten() {
        let home = tempfile::tempdir().expect("tempdir");
        let source = home.path().join("source");
        for dir in ["d", "e"] {
            fs::create_dir_all(source.join(dir)).expect("mkdir");
            fs::write(source.join(dir).join("f"), "x").expect("f");
        }
        let top = RelPath::root();
        let journal = Arc::new(Journal::open(home.path(), &source, b"m", &top).expect("journal"));
        let status = Arc::new(Status::new(crate::voice::Voice::default(), true, false));
        let recorder = Recorder::start(Arc::clone(&journal), Arc::clone(&status)).expect("thread");
        let learning = Learning {
            root: Root::open(&source, Style::default()).expect("root"),
            journal,
            recorder: Arc::new(recorder),
            rules: Rules::default(),
            forget: true,
            withheld: None,
            desk: Arc::default(),
            status,
        };
        let learn = |missing: &[&str]| {
            let path = |name: &&str| top.child(name.as_bytes()).expect("path");
            let missing = missing.iter().map(path).collect();
            let matched = Matched { dir: top.clone(), missing, begun: Begun::now() };
            learning.learn(&matched, &AtomicBool::new(false)).expect("learn");
            learning.journal.known().expect("known")
        };
        assert_eq!(learn(&[]), 4);
        fs::remove_dir_all(source.join("d")).expect("rm -r");
        // It vanished while the comparison ran.
        fs::remove_dir_all(source.join("e")).expect("rm -r");
        assert_eq!(learn(&["d"]), 2, "the brake still has e to count");
        let marks = || {
            let batch = learning.desk.lock().pending.take(Instant::now() + 2 * VANISHED);
            batch.map_or(Vec::new(), |batch| batch.dirty)
        };
        let e = Dirty { path: top.child(b"e").expect("path"), subtree: false };
        assert_eq!(marks(), [e], "by its topmost path");
        let e = top.child(b"e").expect("path");
        assert_eq!(learning.journal.known_within(&e).expect("known"), 2);
        assert_eq!(learn(&["e"]), 0);
    }
}
