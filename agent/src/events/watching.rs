//! events: the watches, and how they follow the tree. `stats` stands on it too.
//!
//! Touches: inotify and directories, through `kernel`. Never: output.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::io::Errno;

use super::filter::Filter;
use super::kernel::{self, Event, Inotify, Waited};
use super::mask::Mask;
use super::tree::{Subtree, Tree};

/// How long the first half of a rename waits for the second. The kernel queues one right behind the other; this is for
/// a renaming process that loses its processor in between.
const RENAME_WAIT: Duration = Duration::from_millis(100);

/// Our own walk makes these, so they are left out of a watch until its directory has been read.
const OWN_NOISE: Mask = Mask(Mask::OPEN.0 | Mask::ACCESS.0 | Mask::CLOSE_NOWRITE.0);

/// What is watched, and how.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// What the kernel is asked for.
    pub(crate) mask: Mask,
    pub(crate) recursive: bool,
    /// Whether directories that are new, or move, are followed.
    pub(crate) follow: bool,
    pub(crate) no_dereference: bool,
    /// `@PATH`: directories left out of the first walk.
    pub(crate) excluded: Vec<Vec<u8>>,
    pub(crate) filter: Filter,
    /// Whether what is excluded, by path or by expression, is never watched at all.
    pub(crate) prune: bool,
    /// Whether what a new directory holds already is told.
    pub(crate) synthetic: bool,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    Event(Event),
    TimedOut,
    Woken,
}

/// A directory that left its place and has not been seen to arrive anywhere.
struct Departed {
    cookie: u32,
    subtree: Subtree,
    /// Its events since: told when it arrives. When it does not, they happened outside and are nobody's business.
    held: Vec<Event>,
    expires: Instant,
}

/// A directory that another one took the place of. It was empty and is gone, or both were exchanged: then the next
/// event takes it from there.
struct Displaced {
    path: Vec<u8>,
    subtree: Subtree,
}

pub(crate) struct Watching {
    inotify: Inotify,
    setup: Setup,
    roots: Vec<Vec<u8>>,
    tree: Tree,
    queue: VecDeque<Event>,
    departed: Vec<Departed>,
    displaced: Option<Displaced>,
    /// Names that a scan has told; their events are still in the queue.
    told: HashSet<(i32, Vec<u8>)>,
    /// The first walk is over.
    established: bool,
}

impl Watching {
    /// # Errors
    /// The kernel gives no instance.
    pub(crate) fn new(setup: Setup) -> Result<Self, Errno> {
        Ok(Self {
            inotify: Inotify::new()?,
            setup,
            roots: Vec::new(),
            tree: Tree::default(),
            queue: VecDeque::new(),
            departed: Vec::new(),
            displaced: None,
            told: HashSet::new(),
            established: false,
        })
    }

    /// Watches what the operator named; with everything beneath when that is wanted.
    ///
    /// # Errors
    /// The first reason why it cannot be watched. What is unreadable or gone beneath it is none.
    pub(crate) fn add(&mut self, root: &[u8]) -> Result<(), Errno> {
        self.roots.push(root.to_vec());
        self.add_root(root)
    }

    /// From here on, what is found is new.
    pub(crate) fn established(&mut self) {
        self.established = true;
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(crate) fn watches(&self) -> usize {
        self.tree.len()
    }

    /// Every watch and its path.
    pub(crate) fn all(&self) -> impl Iterator<Item = (i32, &[u8])> {
        self.tree.all()
    }

    /// The path of a watch, as `%w` shows it. Empty for an overflow.
    pub(crate) fn path(&self, wd: i32) -> Option<&[u8]> {
        if wd < 0 { Some(b"") } else { self.tree.path(wd) }
    }

    /// Where the watch stands among all.
    pub(crate) fn order(&self, wd: i32) -> u64 {
        self.tree.order(wd)
    }

    /// The next event of a known watch.
    ///
    /// # Errors
    /// The instance cannot be read.
    pub(crate) fn next(&mut self, end: Option<Instant>, wake: Option<BorrowedFd<'_>>) -> io::Result<Next> {
        loop {
            while let Some(event) = self.queue.pop_front() {
                let mut departed = self.departed.iter_mut();
                if let Some(departed) =
                    departed.find(|departed| departed.subtree.watches().any(|wd| wd == event.wd))
                {
                    departed.held.push(event);
                } else if self.path(event.wd).is_some() {
                    return Ok(Next::Event(event));
                }
            }
            // Only now: what waits in the kernel may be the second half of a rename.
            if self.inotify.is_drained() {
                self.told.clear();
                self.expire();
            }
            let patience = self.departed.iter().map(|departed| departed.expires).min();
            let first = [end, patience].into_iter().flatten().min();
            match self.inotify.wait(first, wake)? {
                Waited::Woken => return Ok(Next::Woken),
                Waited::Readable => self.inotify.read(&mut self.queue)?,
                Waited::TimedOut if end.is_some_and(|end| end <= Instant::now()) => {
                    return Ok(Next::TimedOut);
                }
                Waited::TimedOut => {}
            }
        }
    }

    /// Whether something is at hand without waiting.
    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether a scan has told this event already.
    pub(crate) fn was_told(&mut self, event: &Event) -> bool {
        let arrival = event.mask.intersects(Mask::CREATE | Mask::MOVED_TO);
        !event.synthetic && arrival && self.told.remove(&(event.wd, event.name.clone()))
    }

    /// Keeps the watches in step with an event. Call it for every event, once it has been told.
    ///
    /// # Errors
    /// A new directory, and why it cannot be watched.
    pub(crate) fn follow(&mut self, event: &Event) -> Result<(), (Vec<u8>, Errno)> {
        if event.mask.intersects(Mask::IGNORED) {
            self.tree.forget(event.wd);
            return Ok(());
        }
        let displaced = self.displaced.take();
        let is_dir = event.mask.intersects(Mask::ISDIR) && !event.name.is_empty();
        if !self.setup.follow || !is_dir || event.synthetic {
            return Ok(());
        }
        let Some(parent) = self.tree.path(event.wd) else { return Ok(()) };
        let path = [parent, &event.name].concat();
        let dir = [&path, b"/".as_slice()].concat();
        if event.mask.intersects(Mask::MOVED_FROM) {
            let subtree = match displaced {
                Some(displaced) if displaced.path == dir => displaced.subtree,
                _ => self.tree.take(&dir),
            };
            if !subtree.is_empty() {
                let expires = Instant::now() + RENAME_WAIT;
                self.departed.push(Departed { cookie: event.cookie, subtree, held: Vec::new(), expires });
            }
            return Ok(());
        }
        if event.mask.intersects(Mask::MOVED_TO)
            && let Some(at) = self.departed.iter().position(|departed| departed.cookie == event.cookie)
        {
            let subtree = self.tree.take(&dir);
            self.displaced = (!subtree.is_empty()).then(|| Displaced { path: dir.clone(), subtree });
            let departed = self.departed.swap_remove(at);
            self.tree.put(departed.subtree, &dir);
            self.queue_first(departed.held);
            return Ok(());
        }
        let arrives = event.mask.intersects(Mask::CREATE | Mask::MOVED_TO);
        if !arrives || self.setup.filter.hides_directory(&path) || (self.setup.prune && self.is_pruned(&dir))
        {
            return Ok(());
        }
        let mut found = Vec::new();
        let walked = self.walk(&dir, false, &mut found);
        self.queue_first(found);
        match walked {
            // Gone before we came, and something else may stand there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) | Ok(()) => Ok(()),
            Err(error) => Err((dir, error)),
        }
    }

    /// Walks everything again after an overflow: what is new is watched, what moved gets its path, what is gone is let go.
    pub(crate) fn rescan(&mut self) {
        if !self.setup.follow {
            return;
        }
        self.tree.next_round();
        for root in self.roots.clone() {
            // One that is gone or unreadable takes its watches along.
            self.add_root(&root).ok();
        }
        for wd in self.tree.unmet() {
            self.inotify.remove(wd);
            self.tree.forget(wd);
        }
        self.departed.clear();
        self.displaced = None;
    }

    fn queue_first(&mut self, events: Vec<Event>) {
        events.into_iter().rev().for_each(|event| self.queue.push_front(event));
    }

    fn add_root(&mut self, root: &[u8]) -> Result<(), Errno> {
        if self.setup.recursive && kernel::is_directory(root, true)? {
            let mut found = Vec::new();
            return self.walk(&slashed(root), true, &mut found);
        }
        let wd = self.inotify.add(root, self.mask())?;
        let is_dir = kernel::is_directory(root, false).unwrap_or(false);
        self.tree.enter(wd, if is_dir { slashed(root) } else { root.to_vec() });
        Ok(())
    }

    fn mask(&self) -> Mask {
        let nofollow = if self.setup.no_dereference { Mask::DONT_FOLLOW } else { Mask::default() };
        self.setup.mask | nofollow
    }

    /// Watches a directory and everything beneath, children before their parent. `dir` ends with a slash.
    ///
    /// Where directories are followed, the watch is there before the directory is read, or what is made in between
    /// would be neither seen nor told; it does not listen yet for what the reading itself causes.
    fn walk(&mut self, dir: &[u8], root: bool, found: &mut Vec<Event>) -> Result<(), Errno> {
        // Beneath a root no link is followed, and with the slash it would be.
        let name = if root { dir } else { &dir[..dir.len() - 1] };
        let beneath = if root { Mask::default() } else { Mask::ONLYDIR | Mask::DONT_FOLLOW };
        let full = self.mask() | beneath;
        let first = full.without(OWN_NOISE);
        let early = self.setup.follow && self.setup.mask.without(OWN_NOISE).intersects(Mask::CREATE);
        let early = if early { Some(self.inotify.add(name, first)?) } else { None };
        let names = kernel::names(name, root)?;
        if let Some(wd) = early.filter(|_| self.established && self.setup.synthetic) {
            for (name, is_dir) in &names {
                if self.told.insert((wd, name.clone())) {
                    let kind = if *is_dir { Mask::ISDIR } else { Mask::default() };
                    let mask = Mask::CREATE | kind;
                    let (name, time) = (name.clone(), Timestamp::now());
                    found.push(Event { wd, mask, cookie: 0, name, time, synthetic: true });
                }
            }
        }
        for (name, _) in names.iter().filter(|(_, is_dir)| *is_dir) {
            let child = [dir, name, b"/"].concat();
            if self.is_left_out(&child) {
                continue;
            }
            match self.walk(&child, false, found) {
                Ok(()) | Err(Errno::ACCESS | Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
                Err(error) => return Err(error),
            }
        }
        let wd = self.inotify.add(name, full)?;
        self.tree.enter(wd, dir.to_vec());
        Ok(())
    }

    fn is_left_out(&self, dir: &[u8]) -> bool {
        (!self.established && self.is_excluded(dir)) || (self.setup.prune && self.is_pruned(dir))
    }

    fn is_excluded(&self, dir: &[u8]) -> bool {
        let bare = &dir[..dir.len() - 1];
        self.setup.excluded.iter().any(|path| path == bare || path == dir)
    }

    /// With and without the slash, so that both `node_modules$` and `node_modules/` mean the directory.
    fn is_pruned(&self, dir: &[u8]) -> bool {
        let bare = &dir[..dir.len() - 1];
        let filter = &self.setup.filter;
        self.is_excluded(dir) || filter.hides_directory(bare) || filter.hides_directory(dir)
    }

    /// Lets go of directories that have left for good. Without this every watch beneath them would go on telling paths
    /// at which nothing stands any more.
    fn expire(&mut self) {
        let now = Instant::now();
        let (gone, waiting) = self.departed.drain(..).partition(|departed| departed.expires <= now);
        self.departed = waiting;
        let gone: Vec<Departed> = gone;
        for wd in gone.iter().flat_map(|departed| departed.subtree.watches()) {
            self.inotify.remove(wd);
            self.tree.forget(wd);
        }
    }
}

fn slashed(path: &[u8]) -> Vec<u8> {
    if path.ends_with(b"/") { path.to_vec() } else { [path, b"/"].concat() }
}
