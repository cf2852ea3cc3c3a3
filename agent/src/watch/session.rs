//! One session of a watch: one stream, from its hello to its end.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use driftless_proto::disk::{LastDir, Root};
use driftless_proto::model::options::Terms;
use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::ProblemClass;
use driftless_proto::transfer::link::Ended;
use driftless_proto::transfer::sender::{self, Config, Tasks};
use driftless_proto::transfer::view::{Mount, View};
use driftless_proto::wire::message::{FromReceiver, FromSender};

use super::Watch;
use super::booking::{Booked, Booking, lock};
use super::desk::{NO_BATCH, State};
use super::hold::{Standing, Weighed};
use super::learn::{Learner, Matched};
use super::names::Round;
use super::recorder::Recorder;
use super::scan::{Behind, Scan, Scanned, Work};
use super::weigh::ROOT_LOOK;
use super::withheld::{Decisions, Withheld};
use crate::connect::{ConnectError, Session};
use crate::exit::Exit;
use crate::guard::{Guard, Occasion, Verdict};
use crate::journal::{Item, Journal, Mounted, ServerSeen};
use crate::pending::Batch;
use crate::plan::Plan;
use crate::plan::store::Stamp;

/// Tasks on their way at once; beyond it settled changes wait where they are merged.
const IN_FLIGHT: usize = 4096;

/// How often a connection that is being made looks whether it is still wanted.
pub(super) const STOP_LOOK: Duration = Duration::from_millis(50);

/// How often the operator's decisions are looked for while there is a plan to decide on.
const LOOK: Duration = Duration::from_millis(500);

/// What one session leaves to the next.
#[derive(Default)]
pub(super) struct Continuity {
    pub(super) seen: Option<ServerSeen>,
    pub(super) journal: Option<Arc<Journal>>,
    /// How deletions stand: the terms of the next stream.
    pub(super) standing: Standing,
    /// What the last session could not compare, or the inventory not follow, is to be compared from the root.
    pub(super) stale: bool,
    /// The plans as they were when deletions were last weighed, and when that was.
    pub(super) plans_seen: Stamp,
    /// There is a plan of this watch, or there may be one, so a decision may come.
    pub(super) decidable: bool,
    pub(super) weighed: Option<Instant>,
    /// How long that took.
    pub(super) weighing: Duration,
    /// More has been held back since.
    pub(super) more_held: bool,
    /// The mounts in the source as they were then.
    pub(super) mounts: Option<Vec<Vec<u8>>>,
    /// Entries that the next comparison deletes, those that were approved aside.
    pub(super) planned: u64,
    /// What was weighed as missing for the comparison that is to leave, by its topmost paths.
    pub(super) missing: BTreeMap<RelPath, u64>,
    /// Plans that were approved and are not carried out yet; not those of rewrites.
    pub(super) approved: Vec<Plan>,
    /// What was decided about rewrites.
    pub(super) rewrites: Decisions,
    /// Files that the next comparison rewrites, if it may.
    pub(super) rewritten: Vec<RelPath>,
    /// What is missing, by inode number: it may stand under another name.
    pub(super) gone: HashMap<u64, (RelPath, Item)>,
}

/// What the trunk does next.
enum Next {
    Batch(Batch),
    Compared { well: bool, failing: usize },
    Draw(String),
    End(End),
    Learn(Vec<Matched>),
    Learned,
    Look { mounts_changed: bool },
    Names,
    Say(Vec<String>),
}

/// How a session ended.
pub(super) enum End {
    /// Open another one at once.
    Again,
    /// Everything was compared, and no more was wanted.
    Done(Exit),
    /// Watch the root anew.
    Rearm,
    /// The stream broke or the peer ended it.
    Ended(Ended),
    /// There was none.
    Refused(ConnectError),
    /// The root went away.
    RootGone(String),
    /// The operator wants to stop.
    Stop,
}

impl Watch<'_> {
    /// Opens a stream and works on it to its end.
    pub(super) fn session(&mut self, root: &Root, known: &mut Continuity) -> End {
        let session = match self.open(known) {
            Ok(session) => session,
            Err(_) if self.desk.lock().stop => return End::Stop,
            Err(error) => return End::Refused(error),
        };
        self.was_connected = true;
        self.time_out(&session);
        let journal = match self.journal(&session.welcome, known) {
            Ok(journal) => journal,
            Err(error) => return End::Refused(error),
        };
        let guard = Guard::new(self.source.clone(), root.clone());
        let copy_is_empty = session.welcome.empty;
        let seen = ServerSeen {
            module_id: session.welcome.module_id.to_vec(),
            boot_epoch: session.welcome.boot_epoch.to_vec(),
        };
        // A copy that is empty now was emptied behind our back, or is a new one.
        let compare = known.stale || copy_is_empty || known.seen.as_ref() != Some(&seen);
        let as_before = !compare
            && known.plans_seen == self.plans.stamp()
            && guard.lost().is_none()
            && self.verdict(&guard, &journal, copy_is_empty, Occasion::Reconcile) == Verdict::Go;
        if !as_before {
            match self.weigh(root, &guard, &journal, copy_is_empty, known) {
                Weighed::AsBefore => {}
                // The stream was opened for other rights than these.
                Weighed::Changed => return End::Again,
                Weighed::Rearm => return End::Rearm,
                Weighed::RootGone(why) => return End::RootGone(why),
            }
        }
        // Before anything is sent: a start that is cut short must find the next one forewarned.
        if known.standing.held.is_none() {
            self.note(guard.adopt(&journal));
        }
        let compare = compare || known.stale;
        known.seen = Some(seen);
        known.stale = compare;
        self.connected(compare);
        let top = RelPath::root();
        let mounted = match root.found(&top).and_then(|found| Ok(Mounted::new(&found, root.inode(&top)?))) {
            Ok(mounted) => mounted,
            Err(error) => return End::RootGone(error.to_string()),
        };
        let recorder = match Recorder::start(Arc::clone(&journal), Arc::clone(&self.status)) {
            Ok(recorder) => Arc::new(recorder),
            Err(error) => return End::Ended(Ended::fault("start a thread", error)),
        };
        let mut work = Trunk {
            watch: self,
            root,
            recorder,
            guard,
            withheld: self.withheld(&journal, known),
            journal,
            known,
            booked: Arc::default(),
            mounted,
            copy_is_empty,
            begun: Instant::now(),
            looked: Instant::now(),
            root_looked: Instant::now(),
            round: Round::new(Instant::now()),
        };
        let end = work.run(session, compare);
        self.disconnected();
        end
    }
}

/// The work of one session.
pub(super) struct Trunk<'a, 'w> {
    pub(super) watch: &'a Watch<'w>,
    pub(super) root: &'a Root,
    pub(super) guard: Guard,
    pub(super) journal: Arc<Journal>,
    /// Writes it.
    pub(super) recorder: Arc<Recorder>,
    pub(super) known: &'a mut Continuity,
    /// What is asked before a content leaves; `None` where nothing could be withheld.
    pub(super) withheld: Option<Arc<Withheld>>,
    /// What follows tasks on their way once they are acknowledged.
    pub(super) booked: Booked,
    /// Which mount the source lies on.
    pub(super) mounted: Mounted,
    /// The destination had nothing when the stream began.
    pub(super) copy_is_empty: bool,
    /// When the comparison of everything began.
    pub(super) begun: Instant,
    /// When what no event tells was last looked for.
    looked: Instant,
    /// When it was last looked whether the root is still the source.
    pub(super) root_looked: Instant,
    /// How far the other names of files have been looked at.
    pub(super) round: Round,
}

impl Trunk<'_, '_> {
    fn run(&mut self, session: Session<FromSender, FromReceiver>, compare: bool) -> End {
        let (tasks, queue) = sender::queue();
        let observer = Arc::new(Booking {
            desk: Arc::clone(&self.watch.desk),
            recorder: Arc::clone(&self.recorder),
            status: Arc::clone(&self.watch.status),
            names: self.watch.invocation.verbosity > 0,
            prefix: self.watch.prefix.clone(),
            booked: Arc::clone(&self.booked),
        });
        let mut options = self.watch.invocation.options.clone();
        options.delete &= self.known.standing.held.is_none();
        let config = Config {
            view: self.view(),
            terms: Terms::new(&options, &session.welcome.keeps),
            options,
            rules: self.watch.rules(self.known),
            empty: session.welcome.empty,
            early: false,
            rate: self.watch.rate.clone(),
            record: true,
            withhold: self.withheld.clone().map(|withheld| withheld.asked(self.watch.prefix.clone())),
            missing: Vec::new(),
        };
        let desk = Arc::clone(&self.watch.desk);
        let link = session.link;
        let spawned = std::thread::Builder::new().name("sender".into()).spawn(move || {
            // A trunk whose sender is gone without a word would wait for ever.
            let ran = catch_unwind(AssertUnwindSafe(|| sender::run(config, link, queue, observer)));
            let ended = ran.map_or_else(
                |_| Ended::Broken("the sender panicked".into()),
                |ran| ran.err().unwrap_or(Ended::Stopped),
            );
            desk.leave(|state| state.ended = Some(ended));
        });
        let thread = match spawned {
            Ok(thread) => thread,
            Err(error) => return End::Ended(Ended::fault("start a thread", error)),
        };
        let end = match self.learner() {
            Ok(learner) => self.work(&tasks, compare, &learner),
            Err(error) => End::Ended(Ended::fault("start a thread", error)),
        };
        tasks.stop();
        session.stop.abort();
        // Nothing may reach the desk from this session once the next one begins.
        let _panicked = thread.join();
        self.watch.desk.leave(State::end_session);
        self.recorder.settle();
        if let Err(error) = self.journal.sync() {
            self.watch.status.problem(&error.to_string());
        }
        end
    }

    fn view(&self) -> View {
        let mount = Mount { root: self.root.clone(), from: RelPath::root(), to: self.watch.prefix.clone() };
        View::new(vec![mount])
    }

    /// The trunk: take what has settled, look at it, ask the guard, send it.
    fn work(&mut self, tasks: &Tasks, compare: bool, learner: &Learner) -> End {
        if compare && let Some(end) = self.compare_everything(tasks) {
            return end;
        }
        loop {
            let next = self.next();
            self.watch.pulse.works();
            let end = match next {
                Next::End(end) => Some(end),
                Next::Say(words) => {
                    words.iter().for_each(|text| self.watch.status.problem(text));
                    None
                }
                Next::Draw(line) => {
                    self.watch.status.draw(&line);
                    None
                }
                Next::Compared { well, failing } => {
                    self.note_compared(well, failing);
                    None
                }
                Next::Learn(dirs) => {
                    self.watch.desk.leave(|state| state.whole.learning += dirs.len());
                    dirs.into_iter().for_each(|matched| learner.learn(matched));
                    None
                }
                Next::Learned => {
                    self.round.stir();
                    self.learned();
                    None
                }
                Next::Look { mounts_changed } => {
                    let end = self.look(mounts_changed);
                    // From its end on: a slow one leaves time for batches.
                    self.looked = Instant::now();
                    end
                }
                Next::Batch(batch) => {
                    self.round.stir();
                    self.batch(tasks, &batch)
                }
                Next::Names => {
                    self.look_at_names();
                    None
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Waits for the next thing to do. Everything that takes longer than a look is done by the caller, without the lock.
    fn next(&mut self) -> Next {
        self.watch.pulse.waits();
        let desk = Arc::clone(&self.watch.desk);
        let mut state = desk.lock();
        loop {
            self.watch.pulse.waits();
            if state.stop {
                return Next::End(End::Stop);
            }
            if let Some(why) = state.root_gone.take() {
                return Next::End(End::RootGone(why));
            }
            if let Some(ended) = state.ended.take() {
                return Next::End(End::Ended(ended));
            }
            if !state.words.is_empty() {
                return Next::Say(std::mem::take(&mut state.words));
            }
            if let Some(well) = state.compared.take() {
                return Next::Compared { well, failing: state.failures.len() };
            }
            if !state.learn.is_empty() {
                return Next::Learn(std::mem::take(&mut state.learn));
            }
            if std::mem::take(&mut state.learned) {
                return Next::Learned;
            }
            if let Some(end) = self.done(&state) {
                return Next::End(end);
            }
            if let Some(line) = self.watch.status.due(&state) {
                return Next::Draw(line);
            }
            // Before the batches: what a mount hides must not leave as deletions, and a host that is always busy must
            // not miss a decision.
            let look = self.look_due();
            if state.mounts_changed || look.is_some_and(|due| due <= Instant::now()) {
                return Next::Look { mounts_changed: std::mem::take(&mut state.mounts_changed) };
            }
            let now = Instant::now();
            let room = state.in_flight() < IN_FLIGHT;
            if let Some(batch) = room.then(|| state.pending.take(now)).flatten() {
                return Next::Batch(batch);
            }
            let asks = (state.waits.len() > 0).then(|| self.round.asks());
            if asks.is_some_and(|asks| asks <= now) {
                self.round.hurry(state.wait_for_names(), now);
            }
            if self.round.due().is_some_and(|due| due <= now) {
                return Next::Names;
            }
            let settles = room.then(|| state.pending.next_deadline()).flatten();
            let until = [settles, self.round.due(), asks, look].into_iter().flatten().min();
            state = self.watch.desk.wait(state, until);
        }
    }

    /// When to look for what no event tells, if there is anything that [`Trunk::look`] would see. An idle watch wakes
    /// for nothing else.
    fn look_due(&self) -> Option<Instant> {
        let every = if self.known.decidable { LOOK } else { ROOT_LOOK };
        self.looks().then(|| self.looked + every)
    }

    /// Looks at a batch and sends it, unless the guard's verdict has changed.
    fn batch(&mut self, tasks: &Tasks, batch: &Batch) -> Option<End> {
        if self.stirs(batch)
            && let Some(end) = self.weigh()
        {
            return Some(self.put_back(batch, end));
        }
        let delete = self.watch.invocation.options.delete && self.known.standing.held.is_none();
        let behind = self.behind(batch);
        let scan = Scan {
            root: LastDir::new(self.root),
            rules: &self.watch.invocation.rules,
            journal: &self.journal,
            delete,
            standing: &self.known.standing,
            marked: self.watch.desk.lock().marked(batch),
            behind,
        };
        let mut scanned = scan.look(batch);
        // What a mount made meanwhile hides must not count as gone.
        if delete
            && scanned.deletes()
            && self.watch.mounts_moved()
            && let Some(end) = self.look(true)
        {
            return Some(self.put_back(batch, end));
        }
        if delete
            && scanned.deletes()
            && let Some(end) = self.brake(tasks, &mut scanned, batch.since)
        {
            return Some(self.put_back(batch, end));
        }
        self.known.more_held |= scanned.held_back && self.watch.invocation.options.delete;
        if let Some(end) = self.hold_rewrites(&mut scanned) {
            return Some(self.put_back(batch, end));
        }
        self.watch.desk.lock().forgive(batch, &scanned);
        self.send(tasks, batch.id, batch.since, scanned);
        None
    }

    /// Where the journal is behind what the server has, as far as a batch is concerned: what has been acknowledged is
    /// written down first.
    fn behind(&self, batch: &Batch) -> Behind {
        if batch.renames.is_empty() && !batch.dirty.iter().any(|dirty| dirty.subtree) {
            return Behind::default();
        }
        // Taken before: what is acknowledged in between is written down, and counts as on its way.
        let paths = self.watch.desk.lock().contents_on_their_way();
        self.recorder.settle();
        Behind { all: self.known.stale, paths }
    }

    fn put_back(&self, batch: &Batch, end: End) -> End {
        self.watch.desk.leave(|state| {
            state.pending.fail_back(batch.id, batch.paths(), Duration::ZERO, Instant::now());
        });
        end
    }

    /// Books a batch and hands it to the sender.
    pub(super) fn send(&mut self, tasks: &Tasks, batch: u64, since: Instant, scanned: Scanned) {
        let whole = |work: &Work| matches!(work, Work::Compare(dir) if dir.is_root());
        let everything = scanned.work.iter().any(whole);
        if batch != NO_BATCH && everything {
            self.begun = Instant::now();
        }
        let ids = {
            let mut state = self.watch.desk.lock();
            if everything {
                state.left_out = Default::default();
            }
            for (dirty, error) in scanned.failed {
                let text = format!("{}: {error}", dirty.path);
                if state.failed(&dirty.path, ProblemClass::Path, &text, since) {
                    state.words.push(text);
                }
            }
            scanned.absent.iter().for_each(|path| state.missed(path, since));
            state.begin(batch, since, scanned.work.iter().map(|work| (work.retry(), work.file().cloned())))
        };
        let root = LastDir::new(self.root);
        for (id, work) in ids.into_iter().zip(scanned.work) {
            if let Some(then) = self.then(&root, &work) {
                lock(&self.booked).insert(id, then);
            }
            match work.task(id, &self.watch.prefix) {
                Some(task) => tasks.submit(task),
                // Too long together with its prefix: the server could not hold it.
                None => self.watch.desk.leave(|state| state.settled(id, &Ok(()))),
            }
        }
    }
}
