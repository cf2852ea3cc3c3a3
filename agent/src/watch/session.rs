//! One session of a watch: one stream, from its hello to its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use driftless_proto::disk::Root;
use driftless_proto::model::change::Change;
use driftless_proto::model::options::Terms;
use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::{Problem, ProblemClass};
use driftless_proto::transfer::link::Ended;
use driftless_proto::transfer::observer::{Observer, Sent, TaskId};
use driftless_proto::transfer::sender::{self, Config, Tasks};
use driftless_proto::transfer::view::{Mount, View};
use driftless_proto::wire::message::{FromReceiver, FromSender, Welcome};

use super::Watch;
use super::desk::{Desk, NO_BATCH};
use super::recorder::Recorder;
use super::scan::{Scan, Scanned, Work};
use crate::connect::{ConnectError, Session};
use crate::guard::{Guard, Occasion, Verdict};
use crate::journal::{Journal, Note, Record, ServerSeen};
use crate::pending::Batch;
use crate::push::{hello, place};
use crate::report::names;
use crate::run::{open, remote};

/// Tasks on their way at once; beyond it settled changes wait where they are merged.
const IN_FLIGHT: usize = 4096;

/// How often a connection that is being made looks whether it is still wanted.
const STOP_LOOK: Duration = Duration::from_millis(50);

/// How often held deletions are looked at again.
const HELD: Duration = Duration::from_secs(2);

/// What one session leaves to the next.
#[derive(Default)]
pub(super) struct Continuity {
    seen: Option<ServerSeen>,
    journal: Option<Arc<Journal>>,
    /// Deletions are held, for this reason.
    held: Option<String>,
    /// What the last session could not compare is to be compared from the root.
    stale: bool,
}

/// What the trunk does next.
enum Next {
    Batch(Batch),
    Compared { well: bool, failing: usize },
    Draw(String),
    End(End),
    Say(Vec<String>),
    WeighAgain,
}

/// How a session ended.
pub(super) enum End {
    /// Open another one at once.
    Again,
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
        let journal = match self.journal(&session.welcome, known) {
            Ok(journal) => journal,
            Err(error) => return End::Refused(error),
        };
        let guard = Guard::new(self.source.clone(), root.clone());
        let copy_is_empty = session.welcome.empty;
        let verdict = self.verdict(&guard, &journal, copy_is_empty, Occasion::Reconcile);
        if self.weigh(verdict, known) {
            // The stream was opened for other rights than the verdict leaves.
            return End::Again;
        }
        // Before anything is sent: a start that is cut short must find the next one forewarned.
        if known.held.is_none() {
            self.note(guard.adopt(&journal));
        }
        let seen = ServerSeen {
            module_id: session.welcome.module_id.to_vec(),
            boot_epoch: session.welcome.boot_epoch.to_vec(),
        };
        // A copy that is empty now was emptied behind our back, or is a new one.
        let compare = known.stale || session.welcome.empty || known.seen.as_ref() != Some(&seen);
        known.seen = Some(seen.clone());
        known.stale = compare;
        self.status.log(&format!(
            "connected to {}{}",
            self.server.address(),
            if compare { ", comparing" } else { "" }
        ));
        let mut work = Trunk {
            watch: self,
            root,
            guard,
            journal,
            known,
            renames: Arc::default(),
            copy_is_empty,
            begun: Instant::now(),
            weighed: Instant::now(),
        };
        work.run(session, compare, &seen)
    }

    fn open(&mut self, known: &Continuity) -> Result<Session<FromSender, FromReceiver>, ConnectError> {
        let destination = place(remote(self.invocation.dest.as_ref())?);
        let mut hello = hello(self.invocation, vec![destination], None)?;
        hello.epoch = self.next_epoch();
        hello.watch = true;
        hello.options.delete &= known.held.is_none();
        let desk = &self.desk;
        let stopped = async {
            while !desk.lock().stop {
                tokio::time::sleep(STOP_LOOK).await;
            }
        };
        self.handle.block_on(async {
            tokio::select! {
                opened = open::<FromSender>(&self.server, hello) => opened,
                () = stopped => Err(Ended::Stopped.into()),
            }
        })
    }

    fn journal(&self, welcome: &Welcome, known: &mut Continuity) -> Result<Arc<Journal>, ConnectError> {
        let same = known.seen.as_ref().is_some_and(|seen| seen.module_id == welcome.module_id);
        if let (true, Some(journal)) = (same, &known.journal) {
            return Ok(Arc::clone(journal));
        }
        known.journal = None;
        let destination = place(remote(self.invocation.dest.as_ref())?);
        let journal = Journal::open(self.state.path(), &self.source, &welcome.module_id, &destination.path)
            .map_err(|error| ConnectError::TrustFile(error.to_string()))?;
        let journal = Arc::new(journal);
        known.journal = Some(Arc::clone(&journal));
        Ok(journal)
    }

    /// Whether deletions may leave. Where the source is one name among others in the destination (`SRC` without a slash),
    /// whether the destination is empty says nothing about its copy.
    fn verdict(&self, guard: &Guard, journal: &Journal, copy_is_empty: bool, occasion: Occasion) -> Verdict {
        let first = guard.first(journal, copy_is_empty || !self.prefix.is_root());
        if first == Verdict::Go { guard.check(journal, occasion) } else { first }
    }

    /// A journal that cannot be written costs safety, so it is said; the copy goes on.
    fn note(&self, noted: std::io::Result<()>) {
        if let Err(error) = noted {
            self.status.problem(&format!("journal: {error}"));
        }
    }

    /// Takes the guard's verdict; returns whether it changed what a stream may do.
    fn weigh(&self, verdict: Verdict, known: &mut Continuity) -> bool {
        if !self.invocation.options.delete {
            return false;
        }
        let held = match verdict {
            Verdict::Go => None,
            Verdict::Hold(why) => Some(why),
        };
        let changed = held.is_some() != known.held.is_some();
        if changed {
            match &held {
                Some(why) => self.status.problem(&format!(
                    "deletions are held: {why}; if that is meant, stop this, remove {} and start again",
                    known
                        .journal
                        .as_ref()
                        .map_or_else(String::new, |journal| journal.file().display().to_string()),
                )),
                None => self.status.log("deletions are no longer held"),
            }
            known.stale = true;
        }
        known.held = held;
        changed
    }
}

/// The work of one session.
struct Trunk<'a, 'w> {
    watch: &'a Watch<'w>,
    root: &'a Root,
    guard: Guard,
    journal: Arc<Journal>,
    known: &'a mut Continuity,
    /// Removals and renames on their way: the journal follows once they are acknowledged.
    renames: Arc<Mutex<HashMap<TaskId, Note>>>,
    /// The destination had nothing when the stream began.
    copy_is_empty: bool,
    /// When the comparison of everything began.
    begun: Instant,
    /// When a held verdict was last looked at again.
    weighed: Instant,
}

impl Trunk<'_, '_> {
    fn run(&mut self, session: Session<FromSender, FromReceiver>, compare: bool, seen: &ServerSeen) -> End {
        let recorder = match Recorder::start(Arc::clone(&self.journal), Arc::clone(&self.watch.status)) {
            Ok(recorder) => recorder,
            Err(error) => return End::Ended(Ended::fault("start a thread", error)),
        };
        let (tasks, queue) = sender::queue();
        let observer = Arc::new(Booking {
            desk: Arc::clone(&self.watch.desk),
            recorder,
            status: Arc::clone(&self.watch.status),
            names: self.watch.invocation.verbosity > 0,
            prefix: self.watch.prefix.clone(),
            booked: Arc::clone(&self.renames),
        });
        let mut options = self.watch.invocation.options.clone();
        options.delete &= self.known.held.is_none();
        let config = Config {
            view: self.view(),
            terms: Terms::new(&options, &session.welcome.keeps),
            options,
            rules: self.watch.invocation.rules.clone(),
            empty: session.welcome.empty,
            record: true,
            missing: Vec::new(),
        };
        let desk = Arc::clone(&self.watch.desk);
        let link = session.link;
        let spawned = std::thread::Builder::new().name("sender".into()).spawn(move || {
            let ended = sender::run(config, link, queue, observer).err().unwrap_or(Ended::Stopped);
            desk.leave(|state| state.ended = Some(ended));
        });
        let thread = match spawned {
            Ok(thread) => thread,
            Err(error) => return End::Ended(Ended::fault("start a thread", error)),
        };
        let end = self.work(&tasks, compare, seen);
        tasks.stop();
        session.stop.abort();
        // Nothing may reach the desk from this session once the next one begins.
        let _panicked = thread.join();
        self.watch.desk.leave(|state| state.ended = None);
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
    fn work(&mut self, tasks: &Tasks, compare: bool, seen: &ServerSeen) -> End {
        if compare {
            self.compare_everything(tasks);
        }
        loop {
            match self.next() {
                Next::End(end) => return end,
                Next::Say(words) => words.iter().for_each(|text| self.watch.status.problem(text)),
                Next::Draw(line) => self.watch.status.draw(&line),
                Next::Compared { well, failing } => self.note_compared(well, failing, seen),
                Next::WeighAgain => {
                    if self.verdict_changed(Occasion::Reconcile) {
                        return End::Again;
                    }
                }
                Next::Batch(batch) => {
                    if let Some(end) = self.batch(tasks, &batch) {
                        return end;
                    }
                }
            }
        }
    }

    /// Waits for the next thing to do. Everything that takes longer than a look is done by the caller, without the lock.
    fn next(&mut self) -> Next {
        let mut state = self.watch.desk.lock();
        loop {
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
                return Next::Compared { well, failing: state.failing() };
            }
            if let Some(line) = self.watch.status.due(&state) {
                return Next::Draw(line);
            }
            let now = Instant::now();
            let room = state.in_flight() < IN_FLIGHT;
            if let Some(batch) = room.then(|| state.pending.take(now)).flatten() {
                return Next::Batch(batch);
            }
            if self.known.held.is_some() && self.weighed.elapsed() >= HELD {
                self.weighed = now;
                return Next::WeighAgain;
            }
            let settles = room.then(|| state.pending.next_deadline()).flatten();
            let until = [settles, Some(now + HELD)].into_iter().flatten().min();
            state = self.watch.desk.wait(state, until);
        }
    }

    /// Looks at a batch and sends it, unless the guard's verdict has changed.
    fn batch(&mut self, tasks: &Tasks, batch: &Batch) -> Option<End> {
        let delete = self.watch.invocation.options.delete && self.known.held.is_none();
        let scan = Scan {
            root: self.root,
            rules: &self.watch.invocation.rules,
            journal: &self.journal,
            delete,
            restless: self.watch.desk.lock().restless(batch),
        };
        let scanned = scan.look(batch);
        if delete && scanned.deletes() {
            let occasion = if scanned.compares() { Occasion::Reconcile } else { Occasion::Live };
            if self.verdict_changed(occasion) {
                self.watch.desk.leave(|state| {
                    state.pending.fail_back(batch.id, batch.paths(), Duration::ZERO, Instant::now());
                });
                return Some(End::Again);
            }
        }
        self.send(tasks, batch.id, batch.since, scanned);
        None
    }

    fn compare_everything(&mut self, tasks: &Tasks) {
        let work = vec![Work::Compare(RelPath::root())];
        self.begun = Instant::now();
        self.send(tasks, NO_BATCH, self.begun, Scanned { work, failed: Vec::new() });
    }

    /// Once everything was compared, and nothing was held back, the journal speaks of this root and this start of the
    /// server.
    fn note_compared(&mut self, well: bool, failing: usize, seen: &ServerSeen) {
        let took = self.begun.elapsed().as_secs_f64();
        self.known.stale = !well;
        let held = self.known.held.is_some();
        if well && !held {
            self.watch.note(self.guard.adopt(&self.journal));
            self.watch.note(self.journal.set_server_seen(seen).map_err(std::io::Error::other));
        }
        let text = match (well && failing == 0, held) {
            (true, false) => format!("in sync after {took:.2} s, watching"),
            (true, true) => format!("compared in {took:.2} s but for the deletions that are held, watching"),
            (false, _) => {
                format!("compared in {took:.2} s; {failing} paths failed and are tried again, watching")
            }
        };
        self.watch.status.log(&text);
    }

    fn verdict_changed(&mut self, occasion: Occasion) -> bool {
        let verdict = self.watch.verdict(&self.guard, &self.journal, self.copy_is_empty, occasion);
        self.watch.weigh(verdict, self.known)
    }

    /// Books a batch and hands it to the sender.
    fn send(&mut self, tasks: &Tasks, batch: u64, since: Instant, scanned: Scanned) {
        let ids = {
            let mut state = self.watch.desk.lock();
            for (dirty, error) in scanned.failed {
                let text = format!("{}: {error}", dirty.path);
                if state.failed(dirty.path, ProblemClass::Path) {
                    state.words.push(text);
                }
            }
            state.begin(batch, since, scanned.work.iter().map(Work::retry))
        };
        for (id, work) in ids.into_iter().zip(scanned.work) {
            let booked = match &work {
                Work::Remove(path) => Some(Note::Removed(path.clone())),
                Work::Rename(from, to, _) => Some(Note::Renamed(from.clone(), to.clone())),
                Work::Compare(_) | Work::Put(..) => None,
            };
            if let Some(booked) = booked {
                lock(&self.renames).insert(id, booked);
            }
            match work.task(id, &self.watch.prefix) {
                Some(task) => tasks.submit(task),
                // Too long together with its prefix: the server could not hold it.
                None => self.watch.desk.leave(|state| state.settled(id, &Ok(()))),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Books what the sender hears: in the journal what is durable, on the desk what has settled.
struct Booking {
    desk: Arc<Desk>,
    recorder: Recorder,
    status: Arc<super::status::Status>,
    /// Name each change (`-v`).
    names: bool,
    prefix: RelPath,
    booked: Arc<Mutex<HashMap<TaskId, Note>>>,
}

impl Observer for Booking {
    fn changed(&self, change: &Change) {
        if let (true, Some(line)) = (self.names, names::line(change)) {
            self.status.log(&line);
        }
    }

    fn problem(&self, problem: &Problem) {
        // What vanished between the event and the look is no problem of a watch: its mark follows.
        if problem.class == ProblemClass::Vanished {
            return;
        }
        let path = problem.path.below(&self.prefix).unwrap_or_else(RelPath::root);
        let mut first = true;
        self.desk.leave(|state| first = state.failed(path, problem.class));
        if first {
            self.status.problem(&problem.to_string());
        }
    }

    fn recorded(&self, sent: Vec<Sent>) {
        for sent in sent {
            let Some(path) = sent.path.below(&self.prefix) else { continue };
            let (stamp, entry, digest) = (sent.stamp, sent.entry, Some(sent.digest));
            let record = Record { stamp, entry, digest, groups: sent.groups };
            self.recorder.note(Note::Recorded(path, record));
        }
    }

    fn settled(&self, task: TaskId, outcome: Result<(), Problem>) {
        let booked = lock(&self.booked).remove(&task);
        if let (true, Some(note)) = (outcome.is_ok(), booked) {
            self.recorder.note(note);
        }
        self.desk.leave(|state| state.settled(task, &outcome));
    }
}
