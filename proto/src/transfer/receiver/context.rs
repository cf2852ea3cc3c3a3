//! What the receiver's threads share.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use prost::bytes::Bytes;
use rustix::io::Errno;

use super::Config;
use super::ask::Ask;
use super::odds::Odds;
use super::ticket::Ticket;
use crate::disk::ids::Names;
use crate::disk::meta::Placement;
use crate::disk::stage::KnownGroups;
use crate::disk::{Dir, Root, Stamp, leads_nowhere};
use crate::disk::{apply, reserved};
use crate::limits;
use crate::model::change::{Action, Change};
use crate::model::counter::ReceiverTotals;
use crate::model::digest::GroupSums;
use crate::model::entry::{Entry, Kind, Time};
use crate::model::filter::Rules;
use crate::model::options::{Options, Terms};
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, Problem, ProblemClass};
use crate::transfer::group_cache::GroupCache;
use crate::transfer::link::{Ended, Outbox};
use crate::transfer::observer::Observer;
use crate::transfer::partial::Partials;
use crate::wire::message::{FromReceiver, RequestId};

/// Locks what no panic can leave half-changed: every critical section here is a few plain assignments.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the receiver's threads share.
pub(super) struct Context {
    pub(super) root: Root,
    pub(super) created: bool,
    pub(super) options: Options,
    pub(super) terms: Terms,
    pub(super) rules: Rules,
    pub(super) live: bool,
    pub(super) sweep: Option<Time>,
    pub(super) placement: Placement,
    pub(super) partials: Arc<dyn Partials>,
    groups: Option<Arc<dyn GroupCache>>,
    pub(super) observer: Arc<dyn Observer>,
    expected: Option<HashSet<Box<[u8]>>>,
    totals: Mutex<ReceiverTotals>,
    /// What we say to the sender. Held only for one push or flush; never by the dispatcher.
    speech: Mutex<Outbox<FromReceiver>>,
    ask: mpsc::Sender<Vec<Ask>>,
    /// To be handed to the asker with the next batch.
    asks: Mutex<Vec<Ask>>,
    /// Files asked for and not yet had.
    wants: Mutex<HashMap<RequestId, Want>>,
    last_request: AtomicU64,
    pub(super) odds: Odds,
    ids: Mutex<Ids>,
    /// Why a thread gave up, for the dispatcher to end with.
    ended: Mutex<Option<Ended>>,
    stopped: AtomicBool,
    /// Everything that is under way is new.
    first: AtomicBool,
}

/// A file asked for.
pub(super) struct Want {
    pub(super) path: RelPath,
    /// What copies refer to, or what the sender may call the same.
    pub(super) basis: Option<Held>,
    /// What else is settled when it lands: the offer it came from.
    pub(super) tickets: Vec<Ticket>,
    /// Expected size, as booked against the bound on bytes in flight.
    pub(super) size: u64,
    /// It has been sent: an answer before that is no answer.
    pub(super) asked: bool,
    /// The sender has asked for sums instead of a digest.
    pub(super) needs_sums: bool,
}

/// What goes with a want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing: the whole file is to come.
    Nothing,
    /// The sums of what stands here, read for them.
    Sums,
    /// The sums of its groups, where these are remembered, else those that reading it gives. Its content is known to be
    /// another one.
    Differs,
    /// As [`Told::Differs`], or its digest where its content may be the one that is wanted.
    Best,
}

/// What a want leaves to its answer.
pub(super) struct Answered {
    pub(super) path: RelPath,
    pub(super) basis: Option<Held>,
    pub(super) tickets: Vec<Ticket>,
}

/// A basis while its want is on its way.
pub(super) struct Held {
    /// As it was before it was read.
    pub(super) stamp: Stamp,
    /// What it was at the name that is wanted, if it stood there.
    pub(super) standing: Option<Entry>,
    pub(super) content: HeldContent,
    /// The values of its groups, where they are remembered.
    pub(super) groups: Option<KnownGroups>,
    /// The want named its digest: the sender may say that this is what it has.
    pub(super) by_digest: bool,
}

/// See [`Held`].
pub(super) enum HeldContent {
    /// To be read again.
    File(File),
    /// A small one, as its sums describe it.
    Bytes(Bytes),
}

impl Held {
    /// Bytes it holds in memory.
    pub(super) fn bytes(&self) -> usize {
        match &self.content {
            HeldContent::File(_) => 0,
            HeldContent::Bytes(bytes) => bytes.len(),
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        let content = match &self.content {
            HeldContent::File(file) => HeldContent::File(file.try_clone()?),
            HeldContent::Bytes(bytes) => HeldContent::Bytes(bytes.clone()),
        };
        Ok(Self { content, standing: self.standing.clone(), groups: self.groups.clone(), ..*self })
    }
}

/// The sender's ids in ours, where ids are matched by name.
struct Ids {
    names: Names,
    users: HashMap<u32, u32>,
    groups: HashMap<u32, u32>,
}

impl Context {
    pub(super) fn new(
        config: Config,
        placement: Placement,
        observer: Arc<dyn Observer>,
        speech: Outbox<FromReceiver>,
        ask: mpsc::Sender<Vec<Ask>>,
    ) -> Self {
        let names = Names::new(config.terms.numeric_ids);
        Self {
            placement: Placement { umask: config.umask, ..placement },
            root: config.root,
            created: config.created,
            options: config.options,
            terms: config.terms,
            rules: config.rules,
            live: config.live,
            sweep: config.sweep,
            partials: config.partials,
            groups: config.groups,
            observer,
            expected: config.expected,
            totals: Mutex::default(),
            speech: Mutex::new(speech),
            ask,
            asks: Mutex::default(),
            wants: Mutex::default(),
            last_request: AtomicU64::new(0),
            odds: Odds::default(),
            ids: Mutex::new(Ids { names, users: HashMap::new(), groups: HashMap::new() }),
            ended: Mutex::default(),
            stopped: AtomicBool::new(false),
            first: AtomicBool::new(false),
        }
    }

    // === What peers may name ===

    /// Checks a path that the sender names by itself, wherever it lies.
    pub(super) fn admit(&self, path: &RelPath, is_dir: bool) -> Result<(), Misbehaved> {
        if path.components().any(reserved::is_reserved) {
            return Err(Misbehaved::ReservedName(path.clone()));
        }
        if self.expected.is_some() && path.is_root() {
            return Err(Misbehaved::Unexpected("the root, which was not asked for"));
        }
        let top = path.components().next();
        if let (Some(expected), Some(top)) = (&self.expected, top)
            && !expected.contains(top)
        {
            return Err(Misbehaved::Unexpected("a path that was not asked for"));
        }
        if self.rules.hides(path, is_dir) {
            return Err(Misbehaved::Unexpected("a path that is excluded"));
        }
        Ok(())
    }

    /// Checks an entry of a listing, whose directory is admitted already.
    pub(super) fn admit_listed(&self, path: &RelPath, is_dir: bool) -> Result<(), Misbehaved> {
        if reserved::is_reserved(path.name()) {
            return Err(Misbehaved::ReservedName(path.clone()));
        }
        if path.parent().is_some_and(|p| p.is_root()) {
            return self.admit(path, is_dir);
        }
        if self.rules.excludes(path, is_dir) {
            return Err(Misbehaved::Unexpected("a path that is excluded"));
        }
        Ok(())
    }

    /// What stands at a path, if anything does.
    pub(super) fn standing(&self, path: &RelPath) -> Option<Entry> {
        self.root.found(path).ok().map(|found| found.entry)
    }

    /// Keeps what stands at a path beside it, if anything does: a restore takes nothing away.
    pub(super) fn keep_aside(&self, dir: &Dir, path: &RelPath) -> io::Result<()> {
        match dir.found(path.name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let kept = apply::keep_aside(dir, path.name())?;
        if let Ok(kept) = path.parent().unwrap_or_else(RelPath::root).child(&kept) {
            self.observer.kept_aside(path, &kept);
        }
        Ok(())
    }

    pub(super) fn may_delete(&self) -> bool {
        self.options.delete
    }

    /// Says whether what is under way is a first full push.
    pub(super) fn set_first(&self, first: bool) {
        self.first.store(first, Ordering::Relaxed);
    }

    pub(super) fn is_first(&self) -> bool {
        self.first.load(Ordering::Relaxed)
    }

    // === Ids ===

    pub(super) fn learn_name(&self, id: u32, group: bool, name: &[u8]) {
        let mut ids = lock(&self.ids);
        let Ids { names, users, groups } = &mut *ids;
        if group {
            if let Some(ours) = names.gid_of(name) {
                groups.insert(id, ours);
            }
        } else if let Some(ours) = names.uid_of(name) {
            users.insert(id, ours);
        }
    }

    /// The entry with our ids for the sender's: by name where both have the name, else the number as it is.
    pub(super) fn localise(&self, mut entry: Entry) -> Entry {
        if !self.terms.numeric_ids {
            let ids = lock(&self.ids);
            entry.uid = ids.users.get(&entry.uid).copied().unwrap_or(entry.uid);
            entry.gid = ids.groups.get(&entry.gid).copied().unwrap_or(entry.gid);
        }
        entry
    }

    // === Requests ===

    pub(super) fn next_request(&self) -> RequestId {
        self.last_request.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds something for the asker; it hears of it with [`Context::hand_asks`].
    pub(super) fn ask(&self, ask: Ask) {
        lock(&self.asks).push(ask);
    }

    /// Hands the asker what was collected. Every thread that asks does so at the end of its batch.
    pub(super) fn hand_asks(&self) {
        let asks = std::mem::take(&mut *lock(&self.asks));
        if !asks.is_empty() && self.ask.send(asks).is_err() && !self.stopped.load(Ordering::Relaxed) {
            // Without the asker nothing more would be asked for, and both ends would wait for ever.
            self.end(Ended::fault("receive", io::Error::other("a thread failed")));
        }
    }

    /// Asks for a file.
    pub(super) fn want(&self, path: RelPath, size: u64, told: Told, tickets: Vec<Ticket>) {
        let id = self.next_request();
        let want = Want { path, basis: None, tickets, size, asked: false, needs_sums: false };
        lock(&self.wants).insert(id, want);
        self.ask(Ask::Want { id, told });
    }

    /// The sender found that a digest does not help with a want: it gets sums, once.
    pub(super) fn needs_sums(&self, id: RequestId) -> Result<(), Misbehaved> {
        let first = self.with_want(id, |want| want.asked && !std::mem::replace(&mut want.needs_sums, true));
        if first != Some(true) {
            return Err(Misbehaved::AnswerToUnknown(id));
        }
        self.odds.was_wrong();
        self.ask(Ask::Sums { id });
        Ok(())
    }

    pub(super) fn with_want<T>(&self, id: RequestId, f: impl FnOnce(&mut Want) -> T) -> Option<T> {
        lock(&self.wants).get_mut(&id).map(f)
    }

    /// The answer to a want begins; `over` when it also ends. A content that streams may have to come again, so its want
    /// stays open.
    pub(super) fn answered(&self, id: RequestId, over: bool) -> Result<Answered, Misbehaved> {
        let unknown = Misbehaved::AnswerToUnknown(id);
        if over {
            let Want { path, basis, tickets, .. } = self.had(id).ok_or(unknown)?;
            return Ok(Answered { path, basis, tickets });
        }
        let answered = self.with_want(id, |want| {
            let basis = want.basis.as_ref().and_then(|basis| basis.try_clone().ok());
            want.asked.then(|| Answered { path: want.path.clone(), basis, tickets: want.tickets.clone() })
        });
        answered.flatten().ok_or(unknown)
    }

    /// A want has been answered to its end.
    pub(super) fn had(&self, id: RequestId) -> Option<Want> {
        let mut wants = lock(&self.wants);
        if !wants.get(&id)?.asked {
            return None;
        }
        let want = wants.remove(&id)?;
        drop(wants);
        let held = want.basis.as_ref().map_or(0, Held::bytes);
        self.ask(Ask::Had { bytes: want.size, held });
        Some(want)
    }

    pub(super) fn wants_are_empty(&self) -> bool {
        lock(&self.wants).is_empty()
    }

    /// The groups of what has this stamp, where they are remembered and it is large enough that they help.
    pub(super) fn remembered(&self, stamp: &Stamp) -> Option<KnownGroups> {
        if stamp.size < limits::REMEMBERED_MIN {
            return None;
        }
        let groups = self.groups.as_ref()?.get(stamp)?;
        let lens = [groups.values.len(), groups.rolling.len()];
        let fits = lens.iter().all(|&len| len as u64 == stamp.size.div_ceil(limits::DIGEST_GROUP));
        fits.then(|| KnownGroups { size: stamp.size, groups: groups.into() })
    }

    /// Whether a content of this size will have its groups remembered.
    pub(super) fn remembers(&self, size: u64) -> bool {
        size >= limits::REMEMBERED_MIN && self.groups.is_some()
    }

    /// Has the groups of a landed file remembered; see [`GroupCache::put`].
    pub(super) fn remember(&self, file: File, described: Stamp, groups: GroupSums) {
        if let Some(cache) = &self.groups {
            cache.put(file, described, groups);
        }
    }

    // === Speech ===

    /// Says something to the sender; blocks while the wire is full. Never called by the dispatcher.
    pub(super) fn say(&self, item: FromReceiver) {
        if let Err(ended) = lock(&self.speech).push(item) {
            self.end(ended);
        }
    }

    pub(super) fn flush(&self) {
        if let Err(ended) = lock(&self.speech).flush() {
            self.end(ended);
        }
    }

    /// Tells whoever wants to know of a change that was made.
    pub(super) fn report(&self, change: Change) {
        self.observer.changed(&change);
        if self.options.report {
            self.say(FromReceiver::Change(change));
        }
    }

    /// Books a change and reports it.
    pub(super) fn made(&self, path: &RelPath, kind: &Kind, action: Action) {
        self.count(|totals| match action {
            Action::Created => totals.created.add(kind),
            // As rsync counts: another kind of thing is a new one.
            Action::Updated(difference) if difference.kind => totals.created.add(kind),
            Action::Removed => totals.deleted.add(kind),
            Action::Renamed | Action::Updated(_) => {}
        });
        let target = match kind {
            Kind::Symlink { target } => Some(target.clone()),
            _ => None,
        };
        self.report(Change { path: path.clone(), dir: *kind == Kind::Dir, target, action });
    }

    pub(super) fn count(&self, f: impl FnOnce(&mut ReceiverTotals)) {
        f(&mut lock(&self.totals));
    }

    /// Counts a failure and tells this end of it.
    pub(super) fn failed(&self, problem: &Problem) {
        self.count(|totals| {
            totals.problems += 1;
            totals.disk_full += u64::from(problem.class == ProblemClass::DiskFull);
        });
        if problem.class != ProblemClass::Vanished {
            self.observer.problem(problem);
        }
    }

    pub(super) fn totals(&self) -> ReceiverTotals {
        *lock(&self.totals)
    }

    /// One path's failure, with what it means for the run. While changes are live, a parent that is not there, or no
    /// directory, is a change that has not come yet, or one that went: the path comes again, and nobody needs to be told.
    pub(super) fn problem(&self, path: &RelPath, doing: &str, error: &io::Error) -> Problem {
        let full = [Errno::NOSPC, Errno::DQUOT].map(|e| Some(e.raw_os_error()));
        let class = if full.contains(&error.raw_os_error()) {
            ProblemClass::DiskFull
        } else if self.live && leads_nowhere(error) {
            ProblemClass::Vanished
        } else {
            ProblemClass::Path
        };
        Problem { path: path.clone(), text: format!("{doing}: {error}"), class }
    }

    // === Ends ===

    /// A thread cannot go on; the first reason counts.
    pub(super) fn end(&self, ended: Ended) {
        lock(&self.ended).get_or_insert(ended);
    }

    /// Fails once a thread gave up.
    pub(super) fn check(&self) -> Result<(), Ended> {
        match lock(&self.ended).take() {
            Some(ended) => Err(ended),
            None => Ok(()),
        }
    }

    pub(super) fn why_ended(&self) -> Ended {
        self.check().err().unwrap_or(Ended::Stopped)
    }

    /// The dispatcher is gone: nothing more will come.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.ask(Ask::Stop);
        self.hand_asks();
    }
}
