//! The committer: makes groups of landed files durable, gives them their names in order, and acknowledges.
//!
//! One group: start write-back on all, sync each, name all, sync the directories, ack. What queued meanwhile is the
//! next group; there are no timers. A first full push syncs whole file systems instead (`durable`). Naming a file in a directory never changes that directory's time: only the
//! sender says what it is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::{Arc, mpsc};

use super::context::{Context, Told};
use super::durable::{self, Named};
use super::ticket::Ticket;
use crate::disk::apply::{self, Replace};
use crate::disk::meta::{Keep, Placement};
use crate::disk::stage::Staged;
use crate::disk::{Dir, Stamp, leads_nowhere};
use crate::limits;
use crate::model::change::Action;
use crate::model::digest::GroupSums;
use crate::model::entry::{Entry, Kind};
use crate::model::options::Difference;
use crate::model::path::RelPath;
use crate::model::problem::Problem;
use crate::wire::message::{FromReceiver, Seq};

/// Something to be made visible, or said, in its turn.
pub(super) enum Commit {
    /// A landed file.
    File(Box<FileCommit>),
    /// A symlink, fifo, socket or device; `old` is what stood there.
    Node { path: RelPath, entry: Entry, old: Option<Entry>, tickets: Vec<Ticket> },
    /// What stands there has the content that is to be, as long as it has not changed since it was looked at: only its
    /// metadata is put.
    Kept { path: RelPath, entry: Entry, held: Stamp, tickets: Vec<Ticket> },
    /// New metadata for what stands there.
    Describe { path: RelPath, entry: Entry, difference: Difference, tickets: Vec<Ticket> },
    /// A file, link or special goes.
    Remove { path: RelPath, kind: Kind, tickets: Vec<Ticket> },
    /// The metadata of directories, deepest first; what waits for it, each for that of one directory, or of all.
    Directories { dirs: Vec<(RelPath, Entry)>, tickets: Vec<(Option<RelPath>, Ticket)> },
    /// The dispatcher changed names in this directory: it is to be durable with the next group.
    Touched(RelPath),
    /// The dispatcher made this change, or in a dry run would have.
    Made { path: RelPath, kind: Kind, action: Action },
    /// Nothing needs doing, but the ack has its turn.
    Ack { tickets: Vec<Ticket> },
    /// One path failed.
    Failed { problem: Problem, tickets: Vec<Ticket> },
    /// The sender could not give what was asked for, and has counted that itself.
    GivenUp { problem: Problem, tickets: Vec<Ticket> },
    /// Everything before this is committed once the sender is dropped.
    Barrier(mpsc::Sender<()>),
    /// Everything is: say so.
    Finish { deletions_skipped: bool },
}

/// A landed file: verified and described, not yet named.
pub(super) struct FileCommit {
    pub(super) path: RelPath,
    pub(super) entry: Entry,
    pub(super) dir: Dir,
    pub(super) old: Option<Entry>,
    pub(super) staged: Staged,
    /// Its groups, to be remembered.
    pub(super) groups: GroupSums,
    /// A large file that it replaces, as a rule: the last hold on it.
    pub(super) replaced: Option<File>,
    pub(super) tickets: Vec<Ticket>,
}

/// What a file that is replaced is let go beside the acks from, in bytes: freeing a smaller one costs less than a thread.
const FREED_BESIDE: u64 = 64 * 1024 * 1024;

pub(super) struct Committer {
    context: Arc<Context>,
    /// Directories whose names changed in this group: to be synced, and given back their times.
    touched: BTreeMap<RelPath, Touched>,
    /// Directories whose times could not be put back.
    untimed: HashSet<RelPath>,
    acks: Vec<Seq>,
    failures: Vec<(Seq, Problem)>,
    /// What a first full push has named since the file system was last synced.
    named: Named,
}

struct Touched {
    dir: Dir,
    /// Before the first change, or as the sender has said since that it is to be. `None` without `-t`.
    before: Option<Entry>,
    /// What of it has other metadata now.
    described: Described,
}

/// Entries with other metadata, of which their directory knows nothing: they are synced by themselves.
#[derive(Default)]
struct Described {
    files: Vec<Box<[u8]>>,
    /// Others besides, which cannot be opened for that.
    others: bool,
}

impl Described {
    fn sync(&self, dir: &Dir) -> io::Result<()> {
        self.files.iter().try_for_each(|name| dir.sync_file(name))?;
        if self.others { dir.sync_file_system() } else { Ok(()) }
    }
}

impl Committer {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            touched: BTreeMap::new(),
            untimed: HashSet::new(),
            acks: Vec::new(),
            failures: Vec::new(),
            named: Named::default(),
        }
    }

    pub(super) fn run(mut self, commits: &mpsc::Receiver<Vec<Commit>>) {
        while let Some(mut group) = self.next(commits) {
            let first = self.context.is_first();
            let (most, most_bytes) = if first {
                (limits::FIRST_GROUP_FILES, limits::FIRST_GROUP_BYTES)
            } else {
                (limits::GROUP_FILES, limits::GROUP_BYTES)
            };
            let mut bytes: u64 = group.iter().map(weight).sum();
            while group.len() < most && bytes < most_bytes && !(first && group.iter().any(is_awaited)) {
                let next = if first {
                    commits.recv_timeout(limits::FIRST_GROUP_WAIT).ok()
                } else {
                    commits.try_recv().ok()
                };
                let Some(next) = next else { break };
                bytes += next.iter().map(weight).sum::<u64>();
                group.extend(next);
            }
            self.group(group);
        }
    }

    /// What comes next. Names do not wait for ever to be durable where nothing comes.
    fn next(&mut self, commits: &mpsc::Receiver<Vec<Commit>>) -> Option<Vec<Commit>> {
        if !self.named.is_empty() {
            if let Ok(group) = commits.recv_timeout(limits::FIRST_GROUP_WAIT) {
                return Some(group);
            }
            self.settle_named();
        }
        commits.recv().ok()
    }

    /// Makes durable, and acknowledges, what a first full push has named so far.
    fn settle_named(&mut self) {
        if self.named.is_empty() {
            return;
        }
        let _told = self.named.settle(&self.context, std::iter::empty());
        self.context.flush();
    }

    fn group(&mut self, group: Vec<Commit>) {
        let whole = durable::is_whole(&self.context, &group);
        let synced = durable::sync_contents(&self.context, &group, whole, &mut self.named);
        let mut barriers = Vec::new();
        for (commit, synced) in group.into_iter().zip(synced) {
            match commit {
                Commit::Barrier(done) => barriers.push(done),
                commit => self.one(commit, synced, whole),
            }
        }
        self.settle(whole);
        if !barriers.is_empty() {
            self.settle_named();
        }
        self.context.hand_asks();
        drop(barriers);
    }

    fn one(&mut self, commit: Commit, synced: io::Result<()>, whole: bool) {
        match commit {
            Commit::File(file) => self.file(*file, synced),
            Commit::Node { path, entry, old, tickets } => {
                let outcome = self.touch(&path).and_then(|dir| {
                    let replace = self.make_way(&dir, &path, old.as_ref())?;
                    apply::place_node(&dir, path.name(), &entry, &self.context.placement, replace)
                });
                let action = action_of(&self.context, &entry, old.as_ref());
                self.book(&path, &entry.kind, action, "create", outcome, tickets);
            }
            Commit::Kept { path, entry, held, tickets } => self.kept(&path, &entry, held, tickets),
            Commit::Describe { path, entry, difference, tickets } => {
                let outcome = self.touch(&path).and_then(|dir| {
                    let old = dir.found(path.name())?.entry;
                    apply::describe(&dir, path.name(), &entry, &old, &self.context.placement)
                });
                self.described(&path, &entry.kind);
                let action = Action::Updated(difference);
                self.book(&path, &entry.kind, action, "set attributes", outcome, tickets);
            }
            Commit::Remove { path, kind, tickets } => {
                let outcome = self.touch(&path).and_then(|dir| apply::remove(&dir, path.name()));
                match outcome {
                    Err(error) if leads_nowhere(&error) => self.done(&tickets, None),
                    outcome => self.book(&path, &kind, Action::Removed, "remove", outcome, tickets),
                }
            }
            Commit::Directories { dirs, tickets } => self.directories(dirs, tickets, whole),
            Commit::Touched(dir) => {
                if let Err(error) = self.touch_dir(&dir) {
                    self.problem(&self.context.problem(&dir, "sync", &error));
                }
            }
            Commit::Made { path, kind, action } => self.context.made(&path, &kind, action),
            Commit::Ack { tickets } => self.done(&tickets, None),
            Commit::Failed { problem, tickets } => {
                self.problem(&problem);
                self.done(&tickets, Some(&problem));
            }
            Commit::GivenUp { problem, tickets } => self.done(&tickets, Some(&problem)),
            Commit::Finish { deletions_skipped } => {
                self.settle(false);
                self.settle_named();
                self.context.count(|totals| totals.deletions_skipped = deletions_skipped);
                self.context.say(FromReceiver::Done(self.context.totals()));
                self.context.flush();
            }
            // Taken out by the group.
            Commit::Barrier(_) => {}
        }
    }

    fn file(&mut self, file: FileCommit, synced: io::Result<()>) {
        let FileCommit { path, entry, dir, old, staged, groups, replaced, tickets } = file;
        let size = staged.len();
        let landed = if groups.rolling.is_empty() {
            None
        } else {
            staged.reader().and_then(|file| Ok((Stamp::of_file(&file)?, file))).ok()
        };
        let outcome = synced.and_then(|()| {
            self.touch_held(&path.parent().unwrap_or_else(RelPath::root), &dir)?;
            let replace = self.make_way(&dir, &path, old.as_ref())?;
            apply::place(staged, &dir, path.name(), replace)
        });
        if outcome.is_ok() {
            if let Some((described, file)) = landed {
                self.context.remember(file, described, groups);
            }
            if let Some(replaced) = replaced.filter(|_| size >= FREED_BESIDE) {
                // A file system may take tenths of a second to free gigabytes, for which no ack should wait. Without a
                // thread it happens here.
                let _thread = std::thread::Builder::new().spawn(move || drop(replaced));
            }
            self.context.partials.drop_kept(&path);
            self.context.count(|totals| {
                totals.transferred_files += 1;
                totals.transferred_bytes += size;
            });
        }
        let action = action_of(&self.context, &entry, old.as_ref());
        self.book(&path, &entry.kind, action, "replace", outcome, tickets);
    }

    fn kept(&mut self, path: &RelPath, entry: &Entry, held: Stamp, tickets: Vec<Ticket>) {
        let described = self
            .touch(path)
            .and_then(|dir| apply::describe_if(&dir, path.name(), entry, &held, &self.context.placement));
        self.described(path, &entry.kind);
        let old = match described {
            Ok(Some(old)) => old,
            Err(error) if !leads_nowhere(&error) => {
                let action = Action::Updated(Difference::default());
                return self.book(path, &entry.kind, action, "set attributes", Err(error), tickets);
            }
            // It is another one by now.
            _ => return self.context.want(path.clone(), entry.size(), Told::Nothing, tickets),
        };
        self.context.count(|totals| {
            totals.transferred_files += 1;
            totals.transferred_bytes += entry.size();
        });
        let action = action_of(&self.context, entry, Some(&old));
        self.book(path, &entry.kind, action, "set attributes", Ok(()), tickets);
    }

    /// What may be replaced where `old` was found a while ago. A restore replaces nothing: what stands there by now is kept
    /// beside, and what comes in this very moment stays, which is an error that a second restore mends.
    fn make_way(&self, dir: &Dir, path: &RelPath, old: Option<&Entry>) -> io::Result<Replace> {
        if !self.context.options.keep_replaced {
            return Ok(if old.is_some() { Replace::Expected } else { Replace::IfPresent });
        }
        self.context.keep_aside(dir, path)?;
        Ok(Replace::Never)
    }

    fn directories(
        &mut self,
        dirs: Vec<(RelPath, Entry)>,
        tickets: Vec<(Option<RelPath>, Ticket)>,
        whole: bool,
    ) {
        let waiting: HashSet<RelPath> = tickets.iter().filter_map(|(path, _)| path.clone()).collect();
        let mut failed = HashMap::new();
        for (path, entry) in dirs {
            // Each is held open until it is settled, and a tree may have more than a process may have descriptors.
            if self.touched.len() >= limits::GROUP_FILES {
                self.settle(whole);
            }
            let outcome = self.describe_dir(&path, &entry);
            // One that went away since has a word of its own.
            if let Err(error) = outcome
                && !leads_nowhere(&error)
            {
                let problem = self.context.problem(&path, "set attributes", &error);
                self.problem(&problem);
                if waiting.contains(&path) {
                    failed.insert(path, problem);
                }
            }
        }
        // What a comparison met has been told by its path, and is looked at again for itself.
        for (path, ticket) in tickets {
            self.done(&[ticket], path.and_then(|path| failed.get(&path)));
        }
    }

    fn describe_dir(&mut self, path: &RelPath, entry: &Entry) -> io::Result<()> {
        let dir = self.context.root.dir(path)?;
        let old = dir.own()?.entry;
        let difference = self.context.terms.difference(entry, &old);
        if difference.any() {
            apply::describe_root(&dir, entry, &old, &self.context.placement)?;
            // Its time alone differs after anything lands in it: that is no change of its own.
            if (Difference { time: false, ..difference }).any() {
                self.context.made(path, &Kind::Dir, Action::Updated(difference));
            }
        } else if !self.touched.contains_key(path) {
            return Ok(());
        }
        // From here on this is the state that later landings of the group must leave it in.
        let before = if self.context.options.times { Some(dir.own()?.entry) } else { None };
        let described = self.touched.remove(path).map(|touched| touched.described).unwrap_or_default();
        self.touched.insert(path.clone(), Touched { dir, before, described });
        Ok(())
    }

    /// What stands at a path has other metadata.
    fn described(&mut self, path: &RelPath, kind: &Kind) {
        let parent = path.parent().unwrap_or_else(RelPath::root);
        let Some(touched) = self.touched.get_mut(&parent) else { return };
        match kind {
            Kind::File { .. } => touched.described.files.push(path.name().into()),
            _ => touched.described.others = true,
        }
    }

    /// The directory a path lies in, booked as touched.
    fn touch(&mut self, path: &RelPath) -> io::Result<Dir> {
        self.touch_dir(&path.parent().unwrap_or_else(RelPath::root))
    }

    fn touch_dir(&mut self, path: &RelPath) -> io::Result<Dir> {
        if let Some(touched) = self.touched.get(path) {
            return Ok(touched.dir.clone());
        }
        let dir = self.context.root.dir(path)?;
        self.touch_held(path, &dir)?;
        Ok(dir)
    }

    fn touch_held(&mut self, path: &RelPath, dir: &Dir) -> io::Result<()> {
        if !self.touched.contains_key(path) {
            let before = if self.context.options.times { Some(dir.own()?.entry) } else { None };
            let described = Described::default();
            self.touched.insert(path.clone(), Touched { dir: dir.clone(), before, described });
        }
        Ok(())
    }

    /// Ends a group: times back, directories synced, then and only then acks. With `whole` names and acks are left to the
    /// next sync of the file system, and so are the acks of what follows.
    fn settle(&mut self, whole: bool) {
        let only_times = Placement { keep: Keep { times: true, ..Keep::default() }, umask: 0 };
        let mut unsynced = None;
        let mut named = Vec::new();
        for (path, touched) in std::mem::take(&mut self.touched) {
            let restored = touched.before.map_or(Ok(()), |before| {
                let now = touched.dir.own()?.entry;
                if now.mtime == before.mtime {
                    return Ok(());
                }
                apply::describe_root(&touched.dir, &before, &now, &only_times)
            });
            // What landed in it is none the worse: only its time is not the sender's. A watch looks at it again each time; a
            // run hears of it once, however many groups land there.
            if let Err(error) = restored
                && !leads_nowhere(&error)
                && (self.untimed.insert(path.clone()) || self.context.live)
            {
                self.problem(&self.context.problem(&path, "set times", &error));
            }
            if whole {
                named.push(touched.dir);
                continue;
            }
            if let Err(error) = touched.described.sync(&touched.dir).and_then(|()| touched.dir.sync()) {
                unsynced = Some(self.context.problem(&path, "sync", &error));
            }
        }
        if let Some(problem) = unsynced {
            // Which of the names are durable nobody can say: none of them is acknowledged.
            self.problem(&problem);
            let lost = std::mem::take(&mut self.acks);
            self.failures.extend(lost.into_iter().map(|seq| (seq, problem.clone())));
        }
        // Nothing is acknowledged before what was done before it: the sender's journal follows the acks.
        if whole || !self.named.is_empty() {
            self.named.add(named.into_iter(), &mut self.acks);
        }
        // First what failed: the ack of a comparison must not be taken for the end of it.
        for (seq, problem) in std::mem::take(&mut self.failures) {
            self.context.say(FromReceiver::Failed { seq, problem });
        }
        if !self.acks.is_empty() {
            self.context.say(FromReceiver::Ack(std::mem::take(&mut self.acks)));
        }
        self.context.flush();
    }

    fn book(
        &mut self,
        path: &RelPath,
        kind: &Kind,
        action: Action,
        doing: &str,
        outcome: io::Result<()>,
        tickets: Vec<Ticket>,
    ) {
        match outcome {
            Ok(()) => {
                self.context.made(path, kind, action);
                self.done(&tickets, None);
            }
            Err(error) => {
                let problem = self.context.problem(path, doing, &error);
                self.problem(&problem);
                self.done(&tickets, Some(&problem));
            }
        }
    }

    fn done(&mut self, tickets: &[Ticket], problem: Option<&Problem>) {
        for ticket in tickets {
            match ticket.part_done(problem) {
                Some(Ok(seq)) => self.acks.push(seq),
                Some(Err(failure)) => self.failures.push(failure),
                None => {}
            }
        }
    }

    /// Counts a failure of ours and tells both ends: before what it means for the tasks of the sender, who would know of
    /// the failure by then.
    fn problem(&mut self, problem: &Problem) {
        self.context.failed(problem);
        self.failures.push((0, problem.clone()));
    }
}

/// What a landed entry is to a report: new, or which differences it ended.
fn action_of(context: &Context, entry: &Entry, old: Option<&Entry>) -> Action {
    match old {
        None => Action::Created,
        Some(old) => {
            let mut difference = context.terms.difference(entry, old);
            difference.content = true;
            Action::Updated(difference)
        }
    }
}

/// Whether somebody waits for it.
fn is_awaited(commit: &Commit) -> bool {
    matches!(commit, Commit::Barrier(_) | Commit::Finish { .. })
}

fn weight(commit: &Commit) -> u64 {
    match commit {
        Commit::File(file) => file.staged.len(),
        _ => 0,
    }
}
