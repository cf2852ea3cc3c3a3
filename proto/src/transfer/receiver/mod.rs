//! The receiver: the role that gets the files.
//!
//! One thread dispatches what the sender says. Two land contents in nameless files; one commits: it makes groups of
//! them durable, gives them their names in order, and acknowledges. One asks: it alone sends requests, within the
//! bounds of the protocol. The dispatcher never waits for the wire, so a full wire one way cannot stop the other. One lists
//! our side of what was asked for, as long as its answer is awaited.
//!
//! Order: everything about one path goes through the same landing thread, so a later change of a path never lands
//! before an earlier one. What moves or removes whole directories waits until everything before it is committed.

mod ask;
mod changes;
mod commit;
mod compare;
mod context;
mod durable;
mod land;
mod look;
mod odds;
mod ticket;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, mpsc};

use super::group_cache::GroupCache;
use super::link::{Ended, Inbox, Link, Outbox, Rate};
use super::observer::Observer;
use super::partial::Partials;
use crate::disk::Root;
use crate::disk::meta::{Keep, Placement};
use crate::disk::walk::Summary;
use crate::limits;
use crate::model::counter::{ReceiverTotals, SenderTotals};
use crate::model::delta::Op;
use crate::model::entry::{Entry, Time};
use crate::model::filter::Rules;
use crate::model::options::{Options, Terms};
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, Problem, ProblemClass};
use crate::wire::message::{FromReceiver, FromSender, Put, RequestId, Seq};
use ask::Asker;
use commit::{Commit, Committer};
use context::Context;
use land::{Job, Lander};
use look::{Ahead, Own};
use ticket::Ticket;

/// Jobs that are handed to a lander at once, or commits to the committer: waking a thread costs as much as landing a
/// small file does.
const BATCH: usize = 32;
/// Batches that wait for a thread. With [`BATCH`] it bounds the descriptors of files that are on their way, and with
/// [`limits::FRAME_SOFT`] the memory of their contents; what the groups of a large file take comes on top.
const BATCHES_QUEUED: usize = 4;
/// Batches that wait for the committer: what lands while one group becomes durable is the next.
const COMMITS_QUEUED: usize = 16;

/// Threads that write contents. Two use both cores of a small machine; more only wait for the same disk.
const LANDERS: usize = 2;

/// What a receiver is to do its work with.
pub struct Config {
    /// Where everything lands.
    pub root: Root,
    /// It was made for this transfer: where the sender has an entry for it, it counts as created.
    pub created: bool,
    /// What was asked for.
    pub options: Options,
    /// In which terms both ends compare.
    pub terms: Terms,
    /// What is left alone.
    pub rules: Rules,
    /// The sender goes on after its first comparison: read errors then hold deletions back for the comparison they
    /// belong to, not for good.
    pub live: bool,
    /// Temporary files of ours older than this were left by a crash, and go when a listing meets them. `None` where
    /// reserved names may hold `--partial` data.
    pub sweep: Option<Time>,
    /// Permission bits that a new entry does not get without `-p`.
    pub umask: u32,
    /// Names that may appear at the top: a peer must not send what nobody asked for (CVE-2022-29154). `None` for
    /// all, when the content of a directory was asked for.
    pub expected: Option<HashSet<Box<[u8]>>>,
    /// The directory that the sender compares first: it is digested and told at once.
    pub comparing: Option<RelPath>,
    /// Where interrupted files are kept.
    pub partials: Arc<dyn Partials>,
    /// Where the groups of large files are remembered, if they are.
    pub groups: Option<Arc<dyn GroupCache>>,
}

/// Runs a receiver until the sender is done, or until the stream ends. Blocks: it belongs on a thread of its own, and
/// the threads it starts have that thread's identity.
///
/// Touches: the Root (read, write). Never: network, config.
///
/// # Errors
/// What ended it early. What landed until then stays landed; what did not has no name.
pub fn run(
    config: Config,
    link: Link<FromReceiver, FromSender>,
    observer: Arc<dyn Observer>,
) -> Result<(SenderTotals, ReceiverTotals), Ended> {
    let keep = Keep {
        owner: config.terms.owner,
        // Anybody may give a file to their own groups, whether or not groups are compared.
        group: config.options.group,
        perms: config.options.perms,
        times: config.options.times,
    };
    let (ask, asks) = mpsc::channel();
    let comparing = config.comparing.clone();
    let context = Arc::new(Context::new(
        config,
        Placement { keep, umask: 0 },
        observer,
        Outbox::new(link.out, Rate::default()),
        ask,
    ));
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(name.into())
            .spawn(work)
            .map_err(|e| Ended::fault("start a thread", e))
    };
    let (commit, commits) = mpsc::sync_channel(COMMITS_QUEUED);
    let mut threads = Vec::new();
    let mut landers = Vec::new();
    for _ in 0..LANDERS {
        let (jobs, queue) = mpsc::sync_channel(BATCHES_QUEUED);
        let lander = Lander::new(Arc::clone(&context), commit.clone());
        threads.push(spawn("receiver-land", Box::new(move || lander.run(&queue)))?);
        landers.push(Crew { jobs, batch: Vec::new(), weight: 0 });
    }
    let committer = Committer::new(Arc::clone(&context));
    threads.push(spawn("receiver-commit", Box::new(move || committer.run(&commits)))?);
    let asker = Asker::new(Arc::clone(&context));
    threads.push(spawn("receiver-ask", Box::new(move || asker.run(&asks)))?);

    let mut receiver = Receiver {
        context: Arc::clone(&context),
        ahead: None,
        landers,
        commit,
        commits: Vec::new(),
        streams: HashMap::new(),
        landing: Landing::default(),
        opens: HashMap::new(),
        made: HashSet::new(),
        current: None,
        digested: None,
        comparison: None,
        deferred: BTreeMap::new(),
        deferred_tickets: Vec::new(),
        read_errors: false,
        untouched: false,
    };
    let ended = comparing.map_or(Ok(()), |dir| receiver.tell_digest(dir));
    let ended = ended.and_then(|()| receiver.dispatch(link.inbox));
    let ended = match ended {
        // A sender that finds our digest equal to its own has nothing more to say, and waits for no answer.
        Err(Ended::Broken(_)) if receiver.untouched => Ok(SenderTotals::default()),
        ended => ended,
    };
    drop(receiver);
    context.stop();
    for thread in threads {
        // A thread that panicked has been reported by the panic itself; the transfer did not end well.
        if thread.join().is_err() {
            return Err(Ended::fault("receive", std::io::Error::other("a thread failed")));
        }
    }
    let totals = ended?;
    Ok((totals, context.totals()))
}

struct Receiver {
    context: Arc<Context>,
    /// Lists what is asked for, once something is.
    ahead: Option<Ahead>,
    landers: Vec<Crew>,
    commit: mpsc::SyncSender<Vec<Commit>>,
    /// To be handed to the committer with the next batch.
    commits: Vec<Commit>,
    /// Contents that are coming in: which lander has them, and the want they answer, 0 for none. The want stays open
    /// until the end of the content, since it may come again from its beginning.
    streams: HashMap<Seq, (usize, RequestId)>,
    landing: Landing,
    /// Directories asked for, and the one that comes unasked as 0.
    opens: HashMap<RequestId, Opening>,
    /// Directories made for the comparison under way whose listing has not begun: nothing stands in them.
    made: HashSet<RelPath>,
    /// The directory being listed.
    current: Option<Listed>,
    /// Our side of a directory, digested while the sender digested its own. Anything that changes our side ends it.
    digested: Option<(RelPath, Summary)>,
    /// The comparison under way. A sender has one at a time.
    comparison: Option<Comparison>,
    /// Directories whose own metadata is put once everything in them has landed.
    deferred: BTreeMap<RelPath, Entry>,
    /// What waits for that, each for one directory or for all.
    deferred_tickets: Vec<(Option<RelPath>, Ticket)>,
    /// The sender could not read all of its side: nothing more is deleted.
    read_errors: bool,
    /// The digest of what is compared first was told, and nothing was asked for or changed since.
    untouched: bool,
}

/// A lander, as the dispatcher sees it.
struct Crew {
    jobs: mpsc::SyncSender<Vec<Job>>,
    /// To be handed over with the next batch, and the bytes of content in it.
    batch: Vec<Job>,
    weight: usize,
}

/// Paths whose content was handed on since the last barrier: what stands there is not yet what will.
#[derive(Default)]
struct Landing {
    paths: HashSet<RelPath>,
    /// They were too many to remember: it may be any path.
    any: bool,
}

impl Landing {
    fn insert(&mut self, path: &RelPath) {
        if self.paths.len() >= limits::REQUESTS_MAX {
            self.any = true;
        } else if !self.any {
            self.paths.insert(path.clone());
        }
    }

    fn contains(&self, path: &RelPath) -> bool {
        self.any || self.paths.contains(path)
    }

    fn clear(&mut self) {
        self.paths.clear();
        self.any = false;
    }
}

/// A directory that was asked for.
struct Opening {
    dir: RelPath,
    all: bool,
}

/// A directory while its listing comes in.
struct Listed {
    open: RequestId,
    dir: RelPath,
    /// It was made in this run, and nothing stood in it when its listing began.
    fresh: bool,
    /// What stands here: taken out as the sender names it, so that what is left is ours alone.
    own: Own,
    /// Why it cannot be read or made here; its entries are passed over.
    unusable: Option<Problem>,
}

struct Comparison {
    seq: Seq,
    /// Digests of our side.
    summary: Option<Summary>,
    /// Why it cannot succeed.
    failed: Option<Problem>,
}

impl Receiver {
    fn dispatch(&mut self, mut inbox: Inbox<FromSender>) -> Result<SenderTotals, Ended> {
        loop {
            let frame = match inbox.try_recv() {
                Ok(frame) => frame,
                Err(_) => {
                    self.quiet()?;
                    inbox.blocking_recv().ok_or_else(|| Ended::Broken("the peer closed the stream".into()))?
                }
            };
            for item in frame? {
                if let FromSender::Done(totals) = item {
                    self.finish()?;
                    return Ok(totals);
                }
                self.take(item)?;
            }
            self.hand_over()?;
            self.context.check()?;
        }
    }

    fn take(&mut self, item: FromSender) -> Result<(), Ended> {
        if !matches!(item, FromSender::Compare { .. } | FromSender::Name { .. } | FromSender::Problem(_)) {
            self.digested = None;
            self.untouched = false;
        }
        match &item {
            FromSender::Put(Put { want: 0, path, .. })
            | FromSender::Offer { path, .. }
            | FromSender::Remove { path, .. } => self.forget(path),
            FromSender::Rename { from, to, .. } => {
                self.forget(from);
                self.forget(to);
            }
            _ => {}
        }
        match item {
            FromSender::Digesting(dir) => self.digesting(dir),
            FromSender::Compare { seq, dir, entry, digest } => self.compare(seq, dir, entry, digest),
            FromSender::Listing(listing) => self.listing(listing),
            FromSender::Opened(id) => self.opened(id),
            FromSender::Put(put) => self.put(put),
            FromSender::Chunk { seq, ops } => {
                let (lander, _) = *self.streams.get(&seq).ok_or(Misbehaved::AnswerToUnknown(seq))?;
                self.context.observer.file_advanced(ops.iter().map(Op::len).sum());
                self.job(lander, Job::Ops { seq, ops })
            }
            FromSender::PutEnd { seq, digest, entry, unstable } => {
                let (lander, want) = self.streams.remove(&seq).ok_or(Misbehaved::AnswerToUnknown(seq))?;
                self.context.observer.file_done();
                self.context.had(want);
                let entry = self.context.localise(entry);
                self.job(lander, Job::End { seq, digest, entry, unstable })?;
                self.settle_comparison()
            }
            FromSender::PutFailed { seq, want, again } => self.put_failed(seq, want, again),
            FromSender::NeedSums(want) => Ok(self.context.needs_sums(want)?),
            FromSender::Offer { seq, path, entry, digest } => self.offer(seq, path, entry, digest),
            FromSender::Remove { seq, path } => self.remove(seq, path),
            FromSender::Rename { seq, from, to, exchange } => self.rename(seq, from, to, exchange),
            FromSender::Problem(problem) => {
                self.read_errors |= problem.class != ProblemClass::Vanished;
                // While changes are live, what vanished before it was read is told of by a change of its own.
                if problem.class != ProblemClass::Vanished || !self.context.live {
                    self.context.observer.problem(&problem);
                }
                Ok(())
            }
            FromSender::Name { id, group, name } => {
                self.context.learn_name(id, group, &name);
                Ok(())
            }
            FromSender::Refused(refusal) => Err(refusal.into()),
            FromSender::Hello(_) => Err(Misbehaved::Unexpected("hello").into()),
            FromSender::Welcome(_) => Err(Misbehaved::Unexpected("welcome").into()),
            FromSender::Done(_) => Err(Misbehaved::Unexpected("done").into()),
        }
    }

    /// Nothing has arrived that is not taken: time for what was put off.
    fn quiet(&mut self) -> Result<(), Ended> {
        // A dry run defers no metadata, but the acks of directories all the same.
        if self.comparison.is_none() && !(self.deferred.is_empty() && self.deferred_tickets.is_empty()) {
            self.barrier()?;
            self.flush_deferred()?;
            // Nothing may come for hours that would hand it over.
            self.hand_over()?;
        }
        Ok(())
    }

    /// The sender is done: so are we, once everything is durable.
    fn finish(&mut self) -> Result<(), Ended> {
        if self.comparison.is_some() || !self.streams.is_empty() {
            return Err(Misbehaved::Unexpected("done before everything was").into());
        }
        self.barrier()?;
        self.flush_deferred()?;
        self.commit(Commit::Finish { deletions_skipped: self.read_errors && self.context.may_delete() })?;
        self.barrier()
    }

    /// Puts the metadata of directories, deepest first: putting it in one disturbs the time of none above.
    fn flush_deferred(&mut self) -> Result<(), Ended> {
        let dirs: Vec<_> = std::mem::take(&mut self.deferred).into_iter().rev().collect();
        let tickets = std::mem::take(&mut self.deferred_tickets);
        if dirs.is_empty() && tickets.is_empty() {
            return Ok(());
        }
        self.commit(Commit::Directories { dirs, tickets })
    }

    /// Waits until everything handed on so far is committed.
    fn barrier(&mut self) -> Result<(), Ended> {
        let (done, all) = mpsc::channel();
        for lander in 0..self.landers.len() {
            self.job(lander, Job::Barrier(done.clone()))?;
        }
        drop(done);
        self.hand_over()?;
        // The landers drop their ends once passed on; the channel then closes.
        while all.recv().is_ok() {}
        let (done, all) = mpsc::channel();
        self.commit(Commit::Barrier(done))?;
        self.hand_over()?;
        let _closed = all.recv();
        self.landing.clear();
        self.context.check()
    }

    /// Tells the observer of a content that came whole.
    fn observe_whole(&self, path: &RelPath, bytes: usize) {
        let observer = &self.context.observer;
        observer.file_started(path, bytes as u64);
        observer.file_advanced(bytes as u64);
        observer.file_done();
    }

    fn job(&mut self, lander: usize, job: Job) -> Result<(), Ended> {
        let crew = &mut self.landers[lander];
        crew.weight += job.weight();
        crew.batch.push(job);
        if crew.batch.len() >= BATCH || crew.weight >= limits::FRAME_SOFT {
            self.hand_over()?;
        }
        Ok(())
    }

    fn commit(&mut self, commit: Commit) -> Result<(), Ended> {
        self.commits.push(commit);
        if self.commits.len() >= BATCH { self.hand_over() } else { Ok(()) }
    }

    /// Hands on what was collected. Commits go first: one that was said before a job is committed before it.
    fn hand_over(&mut self) -> Result<(), Ended> {
        self.context.hand_asks();
        if !self.commits.is_empty() {
            let commits = std::mem::take(&mut self.commits);
            self.commit.send(commits).map_err(|_| self.context.why_ended())?;
        }
        for crew in &mut self.landers {
            if !crew.batch.is_empty() {
                crew.weight = 0;
                let batch = std::mem::take(&mut crew.batch);
                crew.jobs.send(batch).map_err(|_| self.context.why_ended())?;
            }
        }
        Ok(())
    }

    /// The lander that has everything about this path.
    fn lander_of(&self, path: &RelPath) -> usize {
        path.as_bytes()
            .iter()
            .fold(0, |sum: usize, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)))
            % self.landers.len()
    }

    /// Passes a commit through the lander of its path, so that it keeps its place among the changes of that path.
    fn pass(&mut self, path: &RelPath, commit: Commit) -> Result<(), Ended> {
        self.job(self.lander_of(path), Job::Pass(commit))
    }
}
