//! The sender: the role that has the files.
//!
//! It works through one queue: tasks from its own side ("compare this directory", "this path changed") and requests
//! from the receiver ("list this", "send that"). A reader thread fills the queue and books acks; it never waits for
//! the writer, so a full wire one way cannot stop the other.

mod ahead;
mod content;
mod early;
mod groups;
mod inbound;
mod listing;
mod outstanding;
mod stable;
mod stream;
mod task;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::link::{Ended, Link, Outbox, Rate};
use super::observer::{Observer, TaskId};
use super::view::{Part, View};
use crate::disk::ids::Names;
use crate::disk::walk::{self, LeftOut, Summary};
use crate::disk::{Dir, leads_nowhere};
use crate::limits;
use crate::model::counter::{ReceiverTotals, SenderTotals};
use crate::model::digest::Digest;
use crate::model::entry::Entry;
use crate::model::filter::Rules;
use crate::model::options::{Options, Terms};
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, Problem, ProblemClass};
use crate::model::tree::{Owner, Seed};
use crate::wire::message::{FromReceiver, FromSender, Seq};
use early::{Early, Told};
use outstanding::{Outstanding, Waiting};
use task::{Event, Request};

#[cfg(debug_assertions)]
pub use stable::break_reread;
pub use task::{Known, Queue, Read, Task, Tasks, queue};

/// What a sender is to do its work with.
pub struct Config {
    /// What it offers.
    pub view: View,
    /// What was asked for.
    pub options: Options,
    /// In which terms both ends compare.
    pub terms: Terms,
    /// What is left out.
    pub rules: Rules,
    /// The receiver has nothing: send everything unasked.
    pub empty: bool,
    /// The hello named the directory that is compared first, and the receiver digests it by itself. Only for
    /// [`run_once`].
    pub early: bool,
    /// How fast it may send: `options.bwlimit`, unless somebody changes it meanwhile.
    pub rate: Rate,
    /// Keep what the journal needs of each content sent.
    pub record: bool,
    /// Asked before the content of a file leaves that the receiver may have otherwise: whether it stays here. The
    /// receiver then keeps what it has.
    pub withhold: Option<Withhold>,
    /// Sources that were missing from the start, told already on this side: they count, and nothing is deleted on
    /// their account.
    pub missing: Vec<Problem>,
}

/// Whether a content is withheld, by its path in the transfer and the entry that stands there.
pub type Withhold = Arc<dyn Fn(&RelPath, &Entry) -> bool + Send + Sync>;

/// Brings the whole view across once, then ends the stream.
///
/// # Errors
/// What ended it early.
pub fn run_once(
    config: Config,
    link: Link<FromSender, FromReceiver>,
    observer: Arc<dyn Observer>,
) -> Result<(SenderTotals, ReceiverTotals), Ended> {
    let (tasks, queue) = queue();
    for part in config.view.parts() {
        tasks.submit(match part {
            Part::Dir(dir) if config.terms.recursive => Task::Compare(0, dir),
            Part::Dir(path) | Part::Single(path) => Task::Put(0, path, None, Read::Anyway),
        });
    }
    tasks.submit(Task::Finish);
    run(config, link, queue, observer)
}

/// Runs a sender until it is told to finish, or until the stream ends. Blocks: it belongs on a thread of its own.
///
/// Touches: the view's Roots (read). Never: network, config.
///
/// # Errors
/// What ended it early.
pub fn run(
    config: Config,
    link: Link<FromSender, FromReceiver>,
    queue: Queue,
    observer: Arc<dyn Observer>,
) -> Result<(SenderTotals, ReceiverTotals), Ended> {
    let Queue { tasks, events, stopper } = queue;
    let out = Outbox::new(link.out, config.rate.clone());
    let stop = out.stopper();
    // A stop that came before there was anything to stop waits in the queue.
    let _first = stopper.set(Arc::clone(&stop));
    let outstanding = Arc::new(Outstanding::default());
    let requests = Arc::new(AtomicUsize::new(0));
    let sums = Arc::new(AtomicU64::new(0));
    let told = Arc::<Told>::default();
    let reader = inbound::Reader {
        events: tasks,
        outstanding: Arc::clone(&outstanding),
        requests: Arc::clone(&requests),
        observer: Arc::clone(&observer),
        sums: Arc::clone(&sums),
        told: Arc::clone(&told),
        stop,
    };
    std::thread::Builder::new()
        .name("sender-read".into())
        .spawn(move || reader.run(link.inbox))
        .map_err(|e| Ended::fault("start a thread", e))?;
    let mut sender = Sender {
        out,
        names: Names::new(config.terms.numeric_ids),
        seed: Seed::new(&config.terms, config.rules.iter()),
        observer,
        outstanding,
        requests,
        sums,
        told,
        early: if config.early { Early::Awaited } else { Early::Off },
        totals: SenderTotals::default(),
        summary: None,
        unreadable: HashSet::new(),
        comparing: false,
        comparisons: VecDeque::new(),
        named: HashSet::new(),
        last_dir: None,
        last_seq: 0,
        copied: 0,
        finishing: false,
        finished: false,
        config,
    };
    for problem in std::mem::take(&mut sender.config.missing) {
        sender.totals.problems += 1;
        sender.out.push(FromSender::Problem(problem))?;
    }
    match sender.work(&events) {
        // The reader stopped us; its reason is in the queue.
        Err(Ended::Stopped | Ended::Broken(_)) => Err(why_stopped(&events)),
        ended => ended,
    }
}

/// The first reason to end that waits in the queue.
fn why_stopped(events: &mpsc::Receiver<Event>) -> Ended {
    let reason = |event| match event {
        Event::Ended(ended) => Some(ended),
        _ => None,
    };
    let patience = Duration::from_secs(1);
    while let Ok(event) = events.recv_timeout(patience) {
        if let Some(ended) = reason(event) {
            return ended;
        }
    }
    Ended::Broken("the stream was closed".into())
}

struct Sender {
    config: Config,
    out: Outbox<FromSender>,
    names: Names,
    seed: Seed,
    observer: Arc<dyn Observer>,
    outstanding: Arc<Outstanding>,
    /// Requests in the queue; the reader counts up, this thread down.
    requests: Arc<AtomicUsize>,
    /// Bytes of sums in the queue, likewise.
    sums: Arc<AtomicU64>,
    told: Arc<Told>,
    early: Early,
    totals: SenderTotals,
    /// Digests of the directory last compared, beneath that directory.
    summary: Option<Summary>,
    /// What could not be read for it, and has been told.
    unreadable: HashSet<RelPath>,
    /// A comparison is under way; the receiver takes one at a time, the others wait.
    comparing: bool,
    comparisons: VecDeque<(TaskId, RelPath)>,
    /// Ids whose names were sent: (is a group, id).
    named: HashSet<(bool, u32)>,
    /// The directory that a file was last sent from.
    last_dir: Option<(RelPath, Dir)>,
    last_seq: Seq,
    /// Bytes that were sent as copies since something was flushed on their account.
    copied: u64,
    finishing: bool,
    finished: bool,
}

impl Sender {
    fn work(&mut self, events: &mpsc::Receiver<Event>) -> Result<(SenderTotals, ReceiverTotals), Ended> {
        loop {
            let event = match events.try_recv() {
                Ok(event) => event,
                Err(_) => {
                    self.out.flush()?;
                    // By the next event it may have moved or gone.
                    self.last_dir = None;
                    events.recv().map_err(|_| Ended::Stopped)?
                }
            };
            match event {
                Event::Task(task) => {
                    self.last_dir = None;
                    self.task(task)?;
                }
                Event::Request(request) => {
                    self.requests.fetch_sub(1, Ordering::Relaxed);
                    self.answer(request)?;
                }
                Event::Compared => {
                    self.comparing = false;
                    self.next_comparison()?;
                }
                Event::Quiet => {}
                Event::Digested => self.digested()?,
                Event::PeerDone(totals) if self.finished => return Ok((self.totals, totals)),
                Event::PeerDone(_) => return Err(Misbehaved::Unexpected("done").into()),
                Event::Ended(ended) => return Err(ended),
            }
            let quiet = self.comparisons.is_empty() && self.outstanding.is_quiet();
            if self.finishing && !self.finished && quiet {
                self.finished = true;
                self.out.push(FromSender::Done(self.totals))?;
                if self.early == Early::Equal {
                    // Nothing was said that the receiver could have something to tell of.
                    self.out.flush()?;
                    return Ok((self.totals, ReceiverTotals::default()));
                }
            }
        }
    }

    fn task(&mut self, task: Task) -> Result<(), Ended> {
        match task {
            Task::Compare(id, dir) => {
                self.comparisons.push_back((id, dir));
                self.next_comparison()
            }
            Task::Put(id, path, known, read) => self.put(id, path, known, read),
            Task::Remove(id, path) => {
                let seq = self.begin(Waiting::task(id));
                self.out.push(FromSender::Remove { seq, path })
            }
            Task::Rename(id, from, to) => {
                let seq = self.begin(Waiting::task(id));
                self.out.push(FromSender::Rename { seq, from, to, exchange: false })
            }
            Task::Exchange(id, from, to) => {
                let seq = self.begin(Waiting::task(id));
                self.out.push(FromSender::Rename { seq, from, to, exchange: true })
            }
            Task::Finish => {
                self.finishing = true;
                Ok(())
            }
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), Ended> {
        match request {
            Request::Open { id, dir, all } => self.answer_open(id, dir, all),
            Request::Want { id, path, basis } => {
                let queued = basis.as_ref().map_or(0, |(_, sums)| sums.len() as u64);
                self.sums.fetch_sub(queued, Ordering::Relaxed);
                self.answer_want(id, &path, basis)
            }
        }
    }

    fn next_comparison(&mut self) -> Result<(), Ended> {
        while !self.comparing {
            let Some((id, dir)) = self.comparisons.pop_front() else { break };
            self.compare(id, dir)?;
        }
        Ok(())
    }

    /// Both ends digest the directory; only what differs is opened. Where the receiver has nothing there is nothing to
    /// compare, and everything follows unasked.
    fn compare(&mut self, id: TaskId, dir: RelPath) -> Result<(), Ended> {
        let entry = match self.config.view.only(&dir) {
            Some((root, place)) => match root.found(&place) {
                Ok(found) if found.entry.is_dir() => Some(found.entry),
                Ok(_) => return self.put(id, dir, None, Read::Anyway),
                Err(error) => return self.unreadable(id, dir, &error),
            },
            // Several sources meet in it: the root is then nobody's own, any other directory the first one's.
            None if dir.is_root() => None,
            None => match self.config.view.found(&dir) {
                Ok(found) => Some(found.entry),
                Err(error) => return self.unreadable(id, dir, &error),
            },
        };
        if let Some(entry) = &entry {
            self.name_ids(entry)?;
        }
        // Only once: what comes later is compared with what has come by then.
        let everything = std::mem::take(&mut self.config.empty);
        let digest = if everything { None } else { Some(self.digest(&dir)?) };
        if let (None, Some(entry)) = (&self.summary, &entry) {
            self.count(&entry.clone());
        }
        let ours = match (&digest, &entry) {
            (Some(digest), Some(entry)) if self.early == Early::Awaited => {
                Some(walk::with_own(entry, digest, &self.config.terms, self.seed, &mut self.names))
            }
            _ => None,
        };
        if ours.is_some_and(|ours| self.is_equal_early(id, ours)) {
            return Ok(());
        }
        self.comparing = true;
        let seq = self.begin(Waiting::comparison(id));
        self.early = ours.map_or(Early::Off, |ours| Early::Asked(seq, ours));
        self.out.push(FromSender::Compare { seq, dir: dir.clone(), entry, digest })?;
        if everything {
            self.answer_open(0, dir, true)?;
        }
        Ok(())
    }

    /// The digest of a directory. Where several sources meet in it there is none to compute: a random one never
    /// compares equal, and the directory is opened.
    fn digest(&mut self, dir: &RelPath) -> Result<Digest, Ended> {
        self.summary = None;
        self.unreadable.clear();
        let Some((root, place)) = self.config.view.only(dir) else {
            let mut noise = [0; 32];
            rustix::rand::getrandom(&mut noise, rustix::rand::GetRandomFlags::empty())
                .map_err(|e| Ended::fault("random numbers", e.into()))?;
            return Ok(Digest(noise));
        };
        let (root, place) = (root.clone(), place);
        // Both ends walk at the same time.
        if self.early != Early::Awaited {
            self.out.push(FromSender::Digesting(dir.clone()))?;
        }
        self.out.flush()?;
        let Config { terms, rules, record, .. } = &self.config;
        // A watch tells of what happens meanwhile, which no listing may be older than; and it is to stay small.
        let keep = if *record { 0 } else { limits::LISTED_KEPT };
        let summary = walk::summarise(&root, &place, terms, rules, self.seed, &mut self.names, keep)
            .map_err(|e| Ended::fault(format!("read {dir}"), e))?;
        // As the receiver names it.
        let named = |path: &RelPath| {
            let path = path.below(&place).unwrap_or_else(RelPath::root);
            dir.join(&path).unwrap_or(path)
        };
        self.unreadable = summary.failed.iter().map(|(path, _)| named(path)).collect();
        for (path, error) in &summary.failed {
            self.problem(named(path), &error.to_string(), ProblemClass::Path)?;
        }
        self.tell_left_out(&LeftOut {
            paths: summary.left_out.paths.iter().map(named).collect(),
            more: summary.left_out.more,
        });
        let digest = summary.digest;
        let counts = &mut self.totals.entries;
        counts.files += summary.entries.files;
        counts.dirs += summary.entries.dirs;
        counts.links += summary.entries.links;
        counts.devices += summary.entries.devices;
        counts.specials += summary.entries.specials;
        self.totals.size_bytes += summary.size_bytes;
        self.summary = Some(summary);
        Ok(digest)
    }

    fn tell_left_out(&self, left_out: &LeftOut) {
        if !left_out.paths.is_empty() {
            self.observer.left_out(&left_out.paths, left_out.more);
        }
    }

    /// Takes the next seq and books what waits for its ack.
    fn begin(&mut self, waiting: Waiting) -> Seq {
        self.last_seq += 1;
        self.outstanding.add(self.last_seq, waiting);
        self.last_seq
    }

    /// A task whose path cannot be read ends here, without a word to the receiver but the problem.
    fn unreadable(&mut self, id: TaskId, path: RelPath, error: &std::io::Error) -> Result<(), Ended> {
        let class = class_of(error);
        let problem = Problem { path: path.clone(), text: error.to_string(), class };
        self.problem(path, &error.to_string(), class)?;
        self.observer.settled(id, Err(problem));
        Ok(())
    }

    fn problem(&mut self, path: RelPath, text: &str, class: ProblemClass) -> Result<(), Ended> {
        match class {
            ProblemClass::Vanished => self.totals.vanished += 1,
            _ => self.totals.problems += 1,
        }
        let problem = Problem { path, text: text.into(), class };
        self.observer.problem(&problem);
        self.out.push(FromSender::Problem(problem))
    }

    /// Sends the names of an entry's ids, once each, where ids are matched by name.
    fn name_ids(&mut self, entry: &Entry) -> Result<(), Ended> {
        if self.config.terms.numeric_ids {
            return Ok(());
        }
        let ids = [(self.config.terms.owner, false, entry.uid), (self.config.terms.group, true, entry.gid)];
        for (wanted, group, id) in ids {
            if !wanted || !self.named.insert((group, id)) {
                continue;
            }
            let owner = if group { self.names.group_term(id) } else { self.names.owner_term(id) };
            if let Owner::Name(name) = owner {
                self.out.push(FromSender::Name { id, group, name })?;
            }
        }
        Ok(())
    }

    fn count(&mut self, entry: &Entry) {
        self.totals.entries.add(&entry.kind);
        self.totals.size_bytes += entry.counted_size();
    }
}

fn class_of(error: &std::io::Error) -> ProblemClass {
    // Said by `Dir::open_file` when something else has taken the file's place: the kernel's own has a number.
    let replaced = error.kind() == std::io::ErrorKind::InvalidInput && error.raw_os_error().is_none();
    if leads_nowhere(error) || replaced { ProblemClass::Vanished } else { ProblemClass::Path }
}
