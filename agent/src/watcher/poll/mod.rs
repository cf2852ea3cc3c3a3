//! watcher: poll: a look at everything once in a while, compared with what was seen the last time. It works on every
//! file system and costs a `stat(2)` for each name, so the pauses grow with what a look takes.
//!
//! A directory is remembered before it is told of: a change after that is found by the next look, one before it by
//! whoever is told. A name less and a name more are a rename where inode and time of birth say so.
//!
//! * `memory`: what is remembered of a directory. `pairs`: both ends of a rename.

mod memory;
mod pairs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime};

use driftless_proto::disk::reserved::is_reserved;
use driftless_proto::disk::{Dir, Root};
use driftless_proto::limits;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::memory::{Printer, Row, Rows};
use self::pairs::Pairs;
use super::engine::Engine;
use super::place::Place;
use super::{Asked, BarrierId, Inbox, Report, Signal, Why, Word, names};

/// A pause is this many times as long as the look before it: looking may take a tenth of one processor.
const PAUSE: u32 = 10;
/// The shortest pause, and the longest: that long a change may go unseen.
const PAUSE_BOUNDS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));

/// Bytes of names that are remembered: some five million names. Of directories beyond, only a digest is kept: one that
/// changed is then compared as a whole.
const ROOM: usize = 256 << 20;

/// Looks for one barrier while directories are moved about during each of them: what moves on and on from places not
/// yet looked at to places that were is left to the looks that follow.
const LOOKS_MAX: usize = 5;

/// Signals that are gathered before they are told.
const GATHERED_MAX: usize = 1024;

/// One directory, as it was seen last.
#[derive(Debug)]
struct Seen {
    /// The look that saw it.
    look: u64,
    dev: u64,
    /// Of the directory itself.
    own: u64,
    content: Content,
}

/// What is remembered of a directory's content.
#[derive(Debug)]
enum Content {
    Rows(Rows),
    /// There was no room for more.
    Digest(u64),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Digest(_) => 0,
        }
    }
}

/// One step of a look.
enum Step {
    /// Look into this directory. `quiet`: it will be compared as a whole, so nothing in it is told.
    Into { path: RelPath, quiet: bool },
    /// Everything beneath is remembered: it may be compared.
    Compare(RelPath),
}

/// The state of the thread.
pub(super) struct PollEngine {
    root: Root,
    rules: Arc<Rules>,
    report: Report,
    place: Place,
    /// What is looked at. One that lies beneath another is looked at with that one.
    tops: BTreeSet<RelPath>,
    /// Where more of them come from: then this is the poller beside an engine, which watches the rest.
    inbox: Option<Arc<Inbox>>,
    asked: Arc<Asked>,
    /// Barriers that wait for a whole look.
    barriers: Vec<BarrierId>,
    /// A directory vanished between two steps of a look: what was in it may be elsewhere, where it was not looked for.
    vanished: bool,
    /// By path, as bytes: thousands of long paths are compared with one another in every look.
    seen: BTreeMap<Box<[u8]>, Seen>,
    /// Bytes that may still be remembered.
    room: usize,
    printer: Printer,
    look: u64,
    /// Directories that could not be looked into; each was told once.
    closed: HashSet<RelPath>,
    /// Directories with names in them that make paths longer than any transfer can carry; each was told once.
    deep: HashSet<RelPath>,
    pairs: Pairs,
    signals: Vec<Signal>,
}

impl PollEngine {
    /// For everything beneath the root.
    pub(super) fn of_root(root: Root, rules: Arc<Rules>, report: Report) -> io::Result<Self> {
        Self::new(root, rules, report, None)
    }

    /// For what an engine cannot watch, as it says so.
    pub(super) fn beside(
        root: Root,
        rules: Arc<Rules>,
        report: Report,
        inbox: Arc<Inbox>,
    ) -> io::Result<Self> {
        Self::new(root, rules, report, Some(inbox))
    }

    fn new(root: Root, rules: Arc<Rules>, report: Report, inbox: Option<Arc<Inbox>>) -> io::Result<Self> {
        let place = Place::of(&root)?;
        let tops = if inbox.is_none() { BTreeSet::from([RelPath::root()]) } else { BTreeSet::new() };
        Ok(Self {
            root,
            rules,
            report,
            place,
            tops,
            inbox,
            asked: Asked::new()?,
            barriers: Vec::new(),
            vanished: false,
            seen: BTreeMap::new(),
            room: ROOM,
            printer: Printer::default(),
            look: 0,
            closed: HashSet::new(),
            deep: HashSet::new(),
            pairs: Pairs::default(),
            signals: Vec::new(),
        })
    }

    /// Takes word from the engine. Returns the directories that are new.
    fn hear(&mut self) -> Vec<RelPath> {
        self.barriers.extend(self.asked.take());
        let mut new = Vec::new();
        for word in self.inbox.as_ref().map(|inbox| inbox.take()).unwrap_or_default() {
            match word {
                Word::Barrier(id) => self.barriers.push(id),
                Word::Poll(path) => {
                    if !self.is_beneath_another(&path) {
                        // The engine has said why it cannot be watched; that it cannot be read either is not told again.
                        self.closed.insert(path.clone());
                        new.push(path.clone());
                    }
                    self.tops.insert(path);
                }
                Word::Leave(path) => {
                    if self.tops.remove(&path) {
                        new.retain(|other| *other != path);
                        // What is left beneath it is looked at as if for the first time.
                        self.forget_unseen(&path, self.look + 1);
                    }
                }
            }
        }
        new
    }

    /// Everything that is to be looked at, each thing once.
    fn all(&self) -> Vec<RelPath> {
        self.tops.iter().filter(|top| !self.is_beneath_another(top)).cloned().collect()
    }

    fn is_beneath_another(&self, path: &RelPath) -> bool {
        let above = std::iter::successors(path.parent(), RelPath::parent);
        above.into_iter().any(|above| self.tops.contains(&above))
    }

    /// Looks at a directory and everything beneath it. Returns whether it got to the end.
    fn look_at(&mut self, top: &RelPath, stop: &OwnedFd) -> bool {
        self.look += 1;
        let mut steps = vec![Step::Into { path: top.clone(), quiet: false }];
        let mut last = None;
        while let Some(step) = steps.pop() {
            if is_readable(stop) {
                return false;
            }
            match step {
                Step::Into { path, quiet } => match self.hold(&path, last.as_ref()) {
                    Ok(dir) => {
                        self.look_into(&dir, path.clone(), quiet, &mut steps);
                        last = Some((path, dir));
                    }
                    // The engine tells of what becomes of it.
                    Err(error) if path == *top && !path.is_root() && has_vanished(&error) => {
                        self.vanished = true;
                        self.tops.remove(top);
                    }
                    Err(error) => self.cannot(path, &error),
                },
                Step::Compare(path) => self.signals.push(Signal::Rescan(path)),
            }
            if self.signals.len() >= GATHERED_MAX {
                self.tell();
            }
        }
        self.forget_unseen(top, self.look);
        let settled = self.pairs.settle();
        self.signals.extend(settled);
        self.tell();
        true
    }

    /// Holds a directory: from the one that was looked into last where it lies in that, which is cheaper than from the
    /// root however deep it is.
    fn hold(&self, path: &RelPath, last: Option<&(RelPath, Dir)>) -> io::Result<Dir> {
        match last {
            Some((above, dir)) if path.parent().as_ref() == Some(above) => dir.child(path.name()),
            _ => self.root.dir(path),
        }
    }

    fn look_into(&mut self, dir: &Dir, path: RelPath, quiet: bool, steps: &mut Vec<Step>) {
        let began = SystemTime::now();
        let stat = match rustix::fs::fstat(dir) {
            Ok(stat) => stat,
            Err(error) => return self.cannot(path, &error.into()),
        };
        #[allow(clippy::unnecessary_cast, reason = "integer widths of `struct stat` differ by machine")]
        let dev = stat.st_dev as u64;
        if self.seen.get(path.as_bytes()).is_some_and(|seen| seen.dev != dev && !quiet) {
            // What was there is hidden, not gone.
            let error = io::Error::other("another file system was mounted over it, or unmounted from it");
            return self.cannot(path, &error);
        }
        let own = self.printer.print_dir(&stat, began);
        let mut listed = Vec::new();
        let read = names::each_name(dir.as_fd(), &mut Vec::new(), |name, is_dir| {
            let excluded = || {
                !self.rules.is_empty()
                    && path.child(name).is_ok_and(|child| self.rules.excludes(&child, is_dir))
            };
            if !is_reserved(name) && !excluded() {
                listed.push(Box::<[u8]>::from(name));
            }
        });
        if let Err(error) = read {
            return self.cannot(path, &error);
        }
        let rows = listed.iter().filter_map(|name| self.printer.row(dir.as_fd(), name, began)).collect();
        let now = Rows::pack(rows);
        let changed = self.seen.get(path.as_bytes()).is_some_and(|seen| seen.own != own);
        let was = self.forget(path.as_bytes());
        let was_closed = self.closed.remove(&path);
        if was_closed && (self.inbox.is_none() || !self.tops.contains(&path)) {
            self.signals.push(Signal::Watched(path.clone()));
        }
        let whole = match &was {
            // Seen for the first time, or for the first time since it could not be.
            None => true,
            Some(Content::Rows(_)) => was_closed,
            Some(Content::Digest(digest)) => was_closed || *digest != self.printer.print_rows(&now),
        };
        let first_of_all = path.is_root() && self.inbox.is_none() && was.is_none();
        if whole && !quiet && !first_of_all {
            steps.push(Step::Compare(path.clone()));
        } else if changed && !quiet {
            self.signals.push(Signal::Dirty { path: path.clone(), why: Why::Described, dir: true });
        }
        // Of what did not change, or is compared as a whole, only the directories in it are of interest.
        let was = if let Some(Content::Rows(rows)) = &was { rows } else { &now };
        for (was, is) in was.beside(&now) {
            self.told_apart(&path, was, is, quiet || whole, steps);
        }
        let content = match self.room.checked_sub(now.len()) {
            Some(room) => {
                self.room = room;
                Content::Rows(now)
            }
            None => Content::Digest(self.printer.print_rows(&now)),
        };
        self.seen.insert(path.as_bytes().into(), Seen { look: self.look, dev, own, content });
    }

    fn forget(&mut self, path: &[u8]) -> Option<Content> {
        let content = self.seen.remove(path)?.content;
        self.room += content.len();
        Some(content)
    }

    /// What was found at one name, and what is there now.
    fn told_apart(
        &mut self,
        dir: &RelPath,
        was: Option<Row<'_>>,
        is: Option<Row<'_>>,
        quiet: bool,
        steps: &mut Vec<Step>,
    ) {
        let Some(name) = is.or(was).map(|row| row.name) else { return };
        let same = matches!((was, is), (Some(was), Some(is)) if was == is && !is.fresh && !is.dir);
        if same && dir.has_room_for(name) {
            // Most names, and no path is made for them.
            return;
        }
        let Ok(path) = dir.child(name) else {
            if self.deep.insert(dir.clone()) {
                let reason = "the paths in it are too long to be named".into();
                self.signals.push(Signal::Unwatched { path: dir.clone(), reason });
            }
            return;
        };
        let is_dir = is.is_some_and(|is| is.dir);
        let replaced = matches!((was, is), (Some(was), Some(is)) if was.dir != is.dir);
        let new = is.is_some() && (was.is_none() || replaced);
        // A name that came or went by itself may be an end of a rename, which is told when the look is over.
        let unpaired = match (was, is) {
            _ if quiet => None,
            (Some(was), None) => self.pairs.went(path.clone(), was.dir, was.id),
            (None, Some(is)) => self.pairs.came(path.clone(), is.dir, is.id),
            _ => Some(path.clone()),
        };
        if unpaired.is_some() {
            self.changed(&path, was, is);
        }
        if is_dir {
            // In this order: the last one is done first.
            if new && unpaired.is_some() {
                steps.push(Step::Compare(path.clone()));
            }
            steps.push(Step::Into { path, quiet: quiet || new });
        }
    }

    /// Tells what is there now in place of what was.
    fn changed(&mut self, path: &RelPath, was: Option<Row<'_>>, is: Option<Row<'_>>) {
        let mut dirty = |why, dir| self.signals.push(Signal::Dirty { path: path.clone(), why, dir });
        match (was, is) {
            (Some(was), Some(is)) if was.dir != is.dir => {
                dirty(Why::Gone, was.dir);
                dirty(Why::Created, is.dir);
            }
            (Some(was), None) => dirty(Why::Gone, was.dir),
            (None, Some(is)) => dirty(Why::Created, is.dir),
            (Some(was), Some(is)) if was.print != is.print || was.fresh => dirty(Why::Touched, is.dir),
            _ => {}
        }
    }

    /// A directory could not be looked into. What is remembered of it, and of everything beneath, stays.
    fn cannot(&mut self, path: RelPath, error: &io::Error) {
        if has_vanished(error) {
            // The directory above tells of it the next time.
            self.vanished = true;
            return;
        }
        let (first, last) = beneath(&path);
        let bounds = (Bound::Excluded(&*first), Bound::Excluded(&*last));
        self.seen.range_mut::<[u8], _>(bounds).for_each(|(_, seen)| seen.look = self.look);
        if let Some(seen) = self.seen.get_mut(path.as_bytes()) {
            seen.look = self.look;
        }
        if self.closed.insert(path.clone()) {
            self.signals.push(Signal::Unwatched { path, reason: error.to_string() });
        }
    }

    /// Forgets the directories from this one down that the look did not see.
    fn forget_unseen(&mut self, top: &RelPath, look: u64) {
        let (first, last) = beneath(top);
        let bounds = (Bound::Excluded(&*first), Bound::Excluded(&*last));
        let own = self.seen.get_key_value(top.as_bytes());
        let all = own.into_iter().chain(self.seen.range::<[u8], _>(bounds));
        let gone: Vec<Box<[u8]>> =
            all.filter(|(_, seen)| seen.look != look).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.forget(&path);
            if let Ok(path) = RelPath::parse(&path) {
                self.closed.remove(&path);
                self.deep.remove(&path);
            }
        }
    }

    fn tell(&mut self) {
        if !self.signals.is_empty() {
            (self.report)(std::mem::take(&mut self.signals));
        }
    }

    /// Sleeps until it is time for the next look, or until there is word. Returns whether to stop.
    fn rest(&self, stop: &OwnedFd, due: Instant) -> bool {
        let left = due.saturating_duration_since(Instant::now());
        let bell = PollFd::new(self.asked.bell(), PollFlags::IN);
        let mut fds = vec![PollFd::new(stop, PollFlags::IN), self.place.poll_fd(), bell];
        fds.extend(
            self.inbox.iter().map(|inbox| PollFd::from_borrowed_fd(inbox.bell().as_fd(), PollFlags::IN)),
        );
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let idle = self.inbox.is_some() && self.tops.is_empty();
        // However it ends, the loop looks at the time and for word itself.
        poll(&mut fds, if idle { None } else { Some(&timeout) }).ok();
        !fds[0].revents().is_empty()
    }
}

impl Engine for PollEngine {
    fn run(mut self: Box<Self>, stop: &OwnedFd, armed: &SyncSender<()>) {
        let mut due = Instant::now();
        if self.inbox.is_some() {
            armed.send(()).ok();
        }
        loop {
            if self.inbox.is_none()
                && let Some(why) = self.place.gone(&self.root)
            {
                return (self.report)(vec![Signal::RootGone(why)]);
            }
            let new = self.hear();
            let begun = Instant::now();
            let all = begun >= due || !self.barriers.is_empty();
            let looked_at = if all { self.all() } else { new };
            let barriers = std::mem::take(&mut self.barriers);
            for _ in 0..LOOKS_MAX {
                self.vanished = false;
                if !looked_at.iter().all(|top| self.look_at(top, stop)) {
                    return;
                }
                if !self.vanished || barriers.is_empty() {
                    break;
                }
            }
            self.signals.extend(barriers.into_iter().map(Signal::Barrier));
            self.tell();
            self.asked.show_directories(self.seen.len());
            if all {
                armed.try_send(()).ok();
                due = Instant::now() + pause(begun.elapsed());
            }
            if self.rest(stop, due) {
                return;
            }
        }
    }

    fn asked(&self) -> Arc<Asked> {
        Arc::clone(&self.asked)
    }
}

/// The bounds, both excluded, between which the paths strictly beneath a directory lie in the order of their bytes:
/// they go on with a slash, whose successor is `0`. Beneath the root every path lies that is not empty.
fn beneath(dir: &RelPath) -> (Vec<u8>, Vec<u8>) {
    if dir.is_root() {
        return (Vec::new(), vec![0xff; limits::PATH_LEN + 1]);
    }
    (
        dir.as_bytes().iter().copied().chain(*b"/").collect(),
        dir.as_bytes().iter().copied().chain(*b"0").collect(),
    )
}

fn pause(look: Duration) -> Duration {
    (look * PAUSE).clamp(PAUSE_BOUNDS.0, PAUSE_BOUNDS.1)
}

fn is_readable(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() && !fds[0].revents().is_empty()
}

/// Whether an error says that there is no directory of that name, or not any more.
fn has_vanished(error: &io::Error) -> bool {
    let vanished = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE];
    Errno::from_io_error(error).is_some_and(|errno| vanished.contains(&errno))
}
