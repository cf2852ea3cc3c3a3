//! Watch: this host is the sender, and stays one. First a reconcile, then every change as it happens.
//!
//! The trunk of one session reads as the algorithm: take what has settled, look at it, ask the guard, send it, book
//! what is acknowledged. Around it: reconnect with back-off, and start over when the root went away and came back.

mod answers;
mod apart;
mod booking;
mod desk;
mod exchanged;
mod explain;
mod failures;
mod hold;
mod learn;
mod names;
mod opening;
mod queued;
mod reconcile;
mod recorder;
pub(crate) mod reins;
mod renamed;
mod rewrites;
mod scan;
mod session;
mod standing;
mod status;
mod waits;
mod weigh;
mod whole;
mod withheld;

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use driftless_proto::disk::{Root, Style};
use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::RefusalReason;
use driftless_proto::transfer::link::{Ended, Rate};
use driftless_proto::wire::message::{FromReceiver, FromSender};
use tokio::runtime::Handle;

use crate::cli::Invocation;
use crate::cli::operand::{Local, Place};
use crate::connect::{ConnectError, Server, Session};
use crate::console::Console;
use crate::control::picture::Picture;
use crate::exit::Exit;
use crate::guard::brake::Brake;
use crate::guard::mounts::{self, Mounts};
use crate::guard::rewrites::Rewrites;
use crate::metrics::{self, Metrics};
use crate::plan::{Store, Watched};
use crate::push::place;
use crate::run::{remote, server, signalled, terminated};
use crate::state::StateDir;
use crate::watcher::Watcher;
use answers::Opened;
use desk::Desk;
pub(crate) use queued::Queued;
use reins::{Manner, Pulse, Reins};
use status::Status;

/// A session that lasted this long has not ended for what it began with.
const STOOD: Duration = Duration::from_secs(1);

/// The first wait before connecting again, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a watch that never gives up rests after what would end others, first and at most.
const GIVEN_UP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// No rest is longer than this without a sign of life.
const LIFE: Duration = Duration::from_millis(500);

/// How often a source that went away is looked for.
const LOOK_FOR_ROOT: Duration = Duration::from_millis(500);

/// Everything a watch works with.
struct Watch<'a> {
    invocation: &'a Invocation,
    /// Says what ends a watch that was typed; none for one that belongs to a job.
    console: Option<&'a Console>,
    manner: &'a Manner,
    handle: &'a Handle,
    server: Server,
    state: StateDir,
    source: PathBuf,
    /// Where the source lies in the transfer: the root for `SRC/`, its name for `SRC`.
    prefix: RelPath,
    desk: Arc<Desk>,
    pulse: Arc<Pulse>,
    rate: Rate,
    status: Arc<Status>,
    /// What is held, and what was decided about it.
    plans: Store,
    /// Names this watch in plans and to `driftless status`.
    watched: Watched,
    brake: Mutex<Brake>,
    rewrites: Mutex<Rewrites>,
    /// Asked before deletions leave; `None` where there is no table of mounts.
    mounts_peek: Option<mounts::Peek>,
    picture: Arc<Mutex<Picture>>,
    /// What is open, for whoever asks.
    opened: Arc<Mutex<Opened>>,
    last_epoch: u64,
    /// The server has let us in once: a refusal from then on may pass.
    was_connected: bool,
}

/// How a life of the root ended.
enum RootEnd {
    /// The operator wants to stop.
    Stop,
    /// What was wanted is done.
    Done(Exit),
    /// It is gone, for this reason.
    Gone(String),
    /// It is to be watched anew.
    Rearm,
    /// It cannot go on, for this reason, which has been said.
    Failed(Exit, String),
}

/// Watches the source until the operator stops it, or until the server refuses for good.
pub(crate) fn run(invocation: &Invocation, console: &Console, handle: &Handle) -> Exit {
    let (manner, reins) = (Manner::default(), Reins::new(Rate::new(invocation.options.bwlimit)));
    let (stopped, logs) = (reins.clone(), invocation.log_file.is_some());
    handle.spawn(async move {
        // Who keeps a log file sends SIGHUP when it was moved away. It is opened anew with the next line anyway.
        if logs {
            terminated().await;
        } else {
            signalled().await;
        }
        stopped.stop();
    });
    match Watch::new(invocation, &manner, &reins, Some(console), handle) {
        Ok(mut watch) => watch.run(),
        Err(error) => console.refused(&error),
    }
}

/// The watch of a job: runs until its reins stop it, or, if its manner is to, until everything was compared.
///
/// # Errors
/// It could not begin.
pub(crate) fn drive(
    invocation: &Invocation,
    manner: &Manner,
    reins: &Reins,
    handle: &Handle,
) -> Result<Exit, ConnectError> {
    Ok(Watch::new(invocation, manner, reins, None, handle)?.run())
}

impl<'a> Watch<'a> {
    fn new(
        invocation: &'a Invocation,
        manner: &'a Manner,
        reins: &Reins,
        console: Option<&'a Console>,
        handle: &'a Handle,
    ) -> Result<Self, ConnectError> {
        let mut server = server(invocation, remote(invocation.dest.as_ref())?)?;
        if manner.job.is_some() {
            server.never_ask();
        }
        let file = |error: &dyn std::fmt::Display| ConnectError::TrustFile(error.to_string());
        let state = StateDir::open(invocation.state_dir.as_deref()).map_err(|e| file(&e))?;
        let Some(Place::Local(Local { path, trailing_slash })) = invocation.sources.first() else {
            return Err(file(&"a watch needs a local source"));
        };
        let source = std::path::absolute(path).map_err(|e| file(&e))?;
        let prefix = match source.file_name() {
            Some(name) if !trailing_slash => RelPath::root().child(name.as_bytes()).map_err(|e| file(&e))?,
            _ => RelPath::root(),
        };
        let (voice, quiet) = (manner.voice.clone(), invocation.verbosity < 0);
        if manner.job.is_none() {
            voice.log_to(invocation.log_file.as_deref()).map_err(|e| file(&e))?;
        }
        let status = Arc::new(Status::new(voice, quiet, manner.job.is_none()));
        let plans = Store::open(state.path()).map_err(|e| file(&e))?;
        let remote = remote(invocation.dest.as_ref())?;
        let path = place(remote).path;
        let watched = Watched::new(&source, &server.address(), remote.module.as_bytes(), path.as_bytes());
        let picture = Picture {
            source: watched.source.clone(),
            destination: watched.destination.clone(),
            job: manner.job.clone(),
            ..Picture::default()
        };
        Ok(Self {
            invocation,
            manner,
            console,
            handle,
            server,
            state,
            source,
            prefix,
            desk: Arc::clone(&reins.desk),
            pulse: Arc::clone(&reins.pulse),
            rate: reins.rate.clone(),
            status,
            plans,
            watched,
            brake: Mutex::new(Brake::new(invocation.brake)),
            rewrites: Mutex::new(Rewrites::new(invocation.rewrite_brake)),
            mounts_peek: mounts::Peek::new().ok(),
            picture: Arc::new(Mutex::new(picture)),
            opened: Arc::default(),
            last_epoch: 0,
            was_connected: false,
        })
    }

    fn run(&mut self) -> Exit {
        let _control = self.control();
        let _metrics = match self.metrics() {
            Ok(metrics) => metrics,
            Err(error) => {
                self.status.problem(&error.to_string());
                return Exit::Socket;
            }
        };
        self.status.note(&format!("watching {} -> {}", self.watched.source, self.watched.destination));
        let exit = self.lives();
        self.status.note(&exit.last_line().unwrap_or_else(|| "stopped".into()));
        exit
    }

    fn metrics(&self) -> std::io::Result<Option<Metrics>> {
        let Some(address) = self.invocation.metrics else { return Ok(None) };
        let metrics = metrics::start(address, self.state.path(), self.handle)?;
        self.status.log(&format!("metrics at http://{}/metrics", metrics.address()));
        if metrics::is_open(address.ip()) {
            let text = "other hosts may read the metrics: names of sources and destinations are in them";
            self.status.problem(text);
        }
        Ok(Some(metrics))
    }

    /// Watches one life of the root after the other.
    fn lives(&mut self) -> Exit {
        // One that never gives up waits for its source from the start.
        let mut first = !self.manner.persists;
        // What was never there, a disk that is mounted later, has nothing to be held.
        let mut lived = false;
        let mut told = None;
        let mut given_up = GIVEN_UP.0;
        loop {
            self.pulse.works();
            let root = match Root::open(&self.source, Style::default()) {
                Ok(root) => root,
                Err(error) if first && error.kind() != std::io::ErrorKind::NotFound => {
                    self.status.problem(&format!("{}: {error}", self.source.display()));
                    return Exit::Partial;
                }
                Err(error) => {
                    let why = format!("{}: {error}", self.source.display());
                    if told.as_ref() != Some(&why) {
                        let plan = if lived { self.hold_gone(&why) } else { None };
                        let come = if lived { "come back" } else { "come" };
                        let hint = hold::hint(plan.as_deref());
                        self.status.problem(&format!("{why}; waiting for it to {come}{hint}"));
                        self.picture(|picture| picture.trouble = Some(why.clone()));
                        told = Some(why);
                    }
                    if self.rest(LOOK_FOR_ROOT) {
                        return Exit::Ok;
                    }
                    continue;
                }
            };
            lived = true;
            let begun = Instant::now();
            match self.one_root(&root, std::mem::take(&mut first)) {
                RootEnd::Stop => return if self.manner.once { Exit::Signal } else { Exit::Ok },
                RootEnd::Done(exit) => return exit,
                RootEnd::Rearm => {}
                RootEnd::Failed(exit, _) if !self.manner.persists => return exit,
                RootEnd::Failed(_, why) => {
                    if begun.elapsed() > GIVEN_UP.1 {
                        given_up = GIVEN_UP.0;
                    }
                    self.picture(|picture| picture.trouble = Some(why));
                    self.status.log(&format!("trying again in {} s", given_up.as_secs()));
                    if self.rest(given_up) {
                        return Exit::Ok;
                    }
                    given_up = (given_up * 2).min(GIVEN_UP.1);
                }
                RootEnd::Gone(why) => {
                    let why = format!("{}: {why}", self.source.display());
                    if begun.elapsed() > LOOK_FOR_ROOT {
                        told = None;
                    }
                    // What is in the way may stay there for days: it is said once.
                    if told.as_ref() != Some(&why) {
                        self.status.problem(&format!("{why}; nothing is deleted on the server"));
                        self.picture(|picture| picture.trouble = Some(why.clone()));
                    }
                    told = Some(why);
                    if self.rest(LOOK_FOR_ROOT) {
                        return Exit::Ok;
                    }
                    continue;
                }
            }
            told = None;
        }
    }

    /// Ends a stream on which something is under way, and nothing has crossed for as long as the operator allows. One that
    /// has nothing to say may be silent for days: keep-alive looks after it.
    fn time_out(&self, session: &Session<FromSender, FromReceiver>) {
        let Some(limit) = self.invocation.timeout else { return };
        let (desk, status) = (Arc::clone(&self.desk), Arc::clone(&self.status));
        let (activity, stop) = (Arc::clone(&session.activity), session.stop.clone());
        self.handle.spawn(async move {
            while !stop.is_finished() {
                activity.idle(Some(limit)).await;
                let since = desk.lock().oldest();
                if since.is_some_and(|since| since.elapsed() >= limit) && !stop.is_finished() {
                    status.problem(&format!("nothing moved for {} s (timeout)", limit.as_secs()));
                    return stop.abort();
                }
            }
        });
    }

    /// Says why there is no stream, and how a watch ends that gives up then.
    fn refused(&self, error: &ConnectError) -> RootEnd {
        match self.console {
            Some(console) => {
                self.status.note(&error.to_string());
                RootEnd::Failed(console.refused(error), error.to_string())
            }
            None => {
                self.status.problem(&error.to_string());
                RootEnd::Failed(error.exit(), error.to_string())
            }
        }
    }

    /// What goes wrong with the connection, for the log and for `driftless status`.
    fn lost(&self, why: &dyn std::fmt::Display) {
        self.status.problem(&why.to_string());
        self.picture(|picture| picture.trouble = Some(why.to_string()));
    }

    /// Watches one life of the root: sessions until it goes away.
    fn one_root(&mut self, root: &Root, first: bool) -> RootEnd {
        self.desk.leave(|state| {
            state.root_gone = None;
            state.pending = crate::pending::Pending::new();
            state.unwatched.clear();
            state.waits.root_gone();
        });
        let desk = Arc::clone(&self.desk);
        let rules = Arc::new(self.invocation.rules.clone());
        // Live before the first walk: what changes during it is told.
        let engine = self.invocation.engine;
        let report = Box::new(move |signals| desk.signals(signals));
        let watcher = (!self.manner.once).then(|| Watcher::start(root.clone(), rules, engine, report));
        let _watcher = match watcher.transpose() {
            // It waits for no changes.
            Ok(None) => None,
            Ok(Some(watcher)) => {
                if let Some(note) = watcher.note() {
                    self.status.problem(&format!("{}: {note}", self.source.display()));
                }
                self.picture(|picture| {
                    picture.engine = watcher.engine();
                    picture.engine_note = watcher.note().map(str::to_owned);
                });
                self.desk.leave(|state| state.waits.watched(watcher.asked(), watcher.polled()));
                Some(watcher)
            }
            // A watch that has run stays one: what is in the way now may pass.
            Err(error) if !first => return RootEnd::Gone(error.to_string()),
            Err(error) => {
                let why = format!("{}: {error}", self.source.display());
                self.status.problem(&why);
                return RootEnd::Failed(Exit::File, why);
            }
        };
        let _opened = self.opened(root);
        let _mounts = self.mounts();
        let mut known = session::Continuity::default();
        let mut back_off = BACK_OFF.0;
        loop {
            let connected = Instant::now();
            let end = self.session(root, &mut known);
            let lost = self.desk.lock().abandon();
            if let Some(journal) = &known.journal {
                self.note(journal.lost_on_the_way(lost).map_err(std::io::Error::other));
            }
            match end {
                session::End::Stop => return RootEnd::Stop,
                session::End::RootGone(why) => return RootEnd::Gone(why),
                session::End::Rearm => return RootEnd::Rearm,
                session::End::Done(exit) => return RootEnd::Done(exit),
                // What ended it is news: a decision, or something new to hold.
                session::End::Again if connected.elapsed() > STOOD => continue,
                session::End::Again => {}
                session::End::Refused(error) if !error.is_passing() && !self.was_connected => {
                    return self.refused(&error);
                }
                // Two watches of one host that take a destination from each other in turn would do so for ever.
                session::End::Ended(Ended::Refused(refusal))
                    if refusal.reason == RefusalReason::Superseded =>
                {
                    return self.refused(&Ended::Refused(refusal).into());
                }
                session::End::Refused(error) => self.lost(&error),
                session::End::Ended(ended) => self.lost(&ended),
            }
            if connected.elapsed() > BACK_OFF.1 {
                back_off = BACK_OFF.0;
            }
            self.status.log(&format!("connecting again in {:.1} s", back_off.as_secs_f64()));
            if self.rest(back_off) {
                return RootEnd::Stop;
            }
            back_off = (back_off * 2).min(BACK_OFF.1);
        }
    }

    /// Mounts are looked for where they could hide what is then taken for deleted.
    fn mounts(&self) -> Option<Mounts> {
        let desk = Arc::clone(&self.desk);
        let watch = || Mounts::watch(move || desk.leave(|state| state.mounts_changed = true));
        let mounts = self.invocation.options.delete.then(watch)?;
        mounts.map_err(|error| self.status.problem(&format!("mounts are not watched: {error}"))).ok()
    }

    /// Whether something was mounted or unmounted on this host since this was last asked.
    fn mounts_moved(&self) -> bool {
        self.mounts_peek.as_ref().is_some_and(mounts::Peek::changed)
    }

    /// Changes what is told to `driftless status`.
    fn picture(&self, change: impl FnOnce(&mut Picture)) {
        change(&mut self.picture.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn brake(&self) -> MutexGuard<'_, Brake> {
        self.brake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rewrites(&self) -> MutexGuard<'_, Rewrites> {
        self.rewrites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, unless the operator stops us or the root goes: returns whether to stop.
    fn rest(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        self.pulse.waits();
        let mut state = self.desk.lock();
        while !state.stop && Instant::now() < until {
            self.pulse.waits();
            state = self.desk.wait(state, Some(until.min(Instant::now() + LIFE)));
        }
        let stop = state.stop;
        drop(state);
        self.pulse.works();
        stop
    }

    /// A number greater than that of every stream this agent opened before: the clock, and one more if it stood still.
    fn next_epoch(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.last_epoch = now.max(self.last_epoch + 1);
        self.last_epoch
    }
}
