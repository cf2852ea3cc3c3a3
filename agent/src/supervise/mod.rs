//! supervise: `driftless run`: every job of a config in one process, none of which disturbs another: each watch, and each
//! job's schedule, has a thread of its own that is begun again whatever ends it.
//!
//! * `Supervisor`: starts, reloads and stops; `keeper`: one watch; `clock`: the scheduled runs of a job; `step`: the
//!   commands around them; `stand_in`: answers for what does not live at present; `notify`: what systemd is told.
//!
//! Touches: the config (read), the log file. Never: a source, a destination; that is the watches' work.

mod clock;
mod keeper;
mod notify;
mod stand_in;
mod step;
mod stop;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Zoned;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::service::Service;
use crate::control::schedule::Timed;
use crate::exit::Exit;
use crate::job::{self, Complaint, Complaints, Config, Job, Mode, Target};
use crate::metrics::{self, Metrics};
use crate::state::StateDir;
use crate::voice::Voice;
use clock::Clock;
use keeper::Keeper;
use notify::Watchdog;

/// How often limits on bandwidth and the watchdog are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Runs the jobs of a config until it is told to stop, or says what they are.
#[must_use]
pub fn run(service: &Service) -> Exit {
    let config = match Config::load(&service.config) {
        Ok(config) => config,
        Err(complaints) => {
            // With standard error closed there is nobody left to tell.
            writeln!(std::io::stderr(), "{complaints}").ok();
            return Exit::Usage;
        }
    };
    if service.check {
        std::io::stdout().write_all(job::check(&config, &Zoned::now()).as_bytes()).ok();
        return Exit::Ok;
    }
    crate::local::umask();
    crate::run::raise_descriptor_limit();
    let voice = Voice::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let started = runtime.and_then(|runtime| {
        let signals = runtime.block_on(async { Signals::new() })?;
        voice.log_to(config.log_file.as_deref())?;
        let metrics = metrics(&config, runtime.handle(), &voice)?;
        Ok((runtime, signals, metrics))
    });
    let (runtime, mut signals, metrics) = match started {
        Ok(started) => started,
        Err(error) => {
            voice.problem("", &format!("start: {error}"));
            return Exit::File;
        }
    };
    let world = World { handle: runtime.handle().clone(), voice };
    Supervisor::new(service.config.clone(), config, world, metrics).run(&mut signals);
    // A connection still open is of no use to anybody now.
    runtime.shutdown_background();
    Exit::Ok
}

/// Serves them, where the config says so.
fn metrics(config: &Config, handle: &Handle, voice: &Voice) -> std::io::Result<Option<Metrics>> {
    let Some(address) = config.metrics else { return Ok(None) };
    let state = StateDir::open(config.state_dir.as_deref()).map_err(std::io::Error::other)?;
    let metrics = metrics::start(address, state.path(), handle)?;
    voice.say("", &format!("metrics at http://{}/metrics", metrics.address()));
    if metrics::is_open(address.ip()) {
        voice.problem("", "other hosts may read the metrics: names of sources and destinations are in them");
    }
    Ok(Some(metrics))
}

/// What every thread is given.
#[derive(Clone)]
struct World {
    handle: Handle,
    voice: Voice,
}

/// How fast a destination may be sent to at this time of day, in bytes a second; 0 for no limit.
fn limit_now(target: &Target) -> u64 {
    target.bandwidth.at(Zoned::now().time())
}

/// What the operator wants.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

/// See [`Signals`].
enum Wanted {
    Reload,
    Stop,
    /// Nothing: time has passed.
    Tick,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self, tick: Duration) -> Wanted {
        tokio::select! {
            _ = self.interrupt.recv() => Wanted::Stop,
            _ = self.terminate.recv() => Wanted::Stop,
            _ = self.hangup.recv() => Wanted::Reload,
            () = tokio::time::sleep(tick) => Wanted::Tick,
        }
    }
}

/// See the module.
struct Supervisor {
    file: PathBuf,
    config: Config,
    world: World,
    /// Each by its job and destination.
    keepers: BTreeMap<(String, String), Keeper>,
    /// Each by its job.
    clocks: BTreeMap<String, Clock>,
    /// Kept over a reload: who answers for a watch that goes on holds it.
    timed: BTreeMap<String, Timed>,
    /// Served as long as it is held.
    metrics: Option<Metrics>,
}

impl Supervisor {
    fn new(file: PathBuf, config: Config, world: World, metrics: Option<Metrics>) -> Self {
        let (keepers, clocks, timed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { file, config, world, keepers, clocks, timed, metrics }
    }

    /// Runs the jobs until it is told to stop.
    fn run(&mut self, signals: &mut Signals) {
        self.start();
        notify::ready(&self.status());
        let mut watchdog = Watchdog::new();
        let tick = watchdog.every().map_or(TICK, |every| TICK.min(every / 2));
        loop {
            let handle = self.world.handle.clone();
            match handle.block_on(signals.next(tick)) {
                Wanted::Stop => break,
                Wanted::Reload => self.reload(),
                Wanted::Tick => {}
            }
            for keeper in self.keepers.values() {
                keeper.rate.set(limit_now(&keeper.target));
            }
            let now = Instant::now();
            watchdog.feed(now, || {
                self.keepers.values().all(|keeper| keeper.is_alive(now))
                    && self.clocks.values().all(Clock::is_alive)
            });
        }
        notify::stopping();
        self.world.voice.say("", "stopping");
        let keepers = std::mem::take(&mut self.keepers);
        let clocks = std::mem::take(&mut self.clocks);
        end(keepers.into_values().collect(), clocks.into_values().collect());
    }

    /// For `systemctl status`.
    fn status(&self) -> String {
        let jobs = &self.config.jobs;
        let scheduled = jobs.iter().filter(|job| job.mode == Mode::Scheduled).count();
        let destinations: usize = jobs.iter().map(|job| job.targets.len()).sum();
        format!("{} jobs, {scheduled} by schedule only, {destinations} destinations", jobs.len())
    }

    /// Starts what the config has and does not run yet.
    fn start(&mut self) {
        let jobs = std::mem::take(&mut self.config.jobs);
        for job in &jobs {
            self.start_job(job);
        }
        self.config.jobs = jobs;
    }

    fn start_job(&mut self, job: &Job) {
        let failed = |error: std::io::Error| {
            self.world
                .voice
                .of(&job.name)
                .problem("", &format!("start a thread: {error}; reload to try again"));
        };
        let timed = self.timed.entry(job.name.clone()).or_default();
        for target in job.targets.iter().filter(|_| job.mode == Mode::Watch) {
            let key = (job.name.clone(), target.to.clone());
            if self.keepers.contains_key(&key) {
                continue;
            }
            match Keeper::start(&job.name, target, timed, &self.world) {
                Ok(keeper) => drop(self.keepers.insert(key, keeper)),
                Err(error) => failed(error),
            }
        }
        if self.clocks.contains_key(&job.name) {
            return;
        }
        let watches = self.keepers.values().filter(|keeper| keeper.job == job.name).map(Keeper::held);
        match Clock::start(job, watches.collect(), timed, &self.world) {
            Ok(clock) => self.clocks.extend(clock.map(|clock| (job.name.clone(), clock))),
            Err(error) => failed(error),
        }
    }

    /// Reads the config again. What is in it as it was goes on and never notices; an error in it changes nothing.
    fn reload(&mut self) {
        notify::reloading();
        let voice = &self.world.voice;
        let new = Config::load(&self.file).and_then(|new| self.fits(new));
        // Whatever may fail comes before anything is changed.
        let new = new.and_then(|new| {
            let changed = new.metrics != self.config.metrics;
            let served = changed.then(|| metrics(&new, &self.world.handle, voice)).transpose();
            let served = served.map_err(|error| self.complaint(error.to_string()))?;
            let opened = voice.log_to(new.log_file.as_deref());
            opened.map(|()| (new, served)).map_err(|error| self.complaint(format!("log-file: {error}")))
        });
        match new {
            Ok((new, served)) => {
                if let Some(served) = served {
                    self.metrics = served;
                }
                self.exchange(new);
                let status = self.status();
                self.world.voice.say("", &format!("reloaded: {status}"));
                notify::ready(&status);
            }
            Err(complaints) => {
                for line in complaints.to_string().lines() {
                    voice.problem("", line);
                }
                let text =
                    format!("{} was refused, see the log; what ran before goes on", self.file.display());
                voice.problem("", &text);
                notify::ready(&text);
            }
        }
    }

    fn complaint(&self, text: String) -> Complaints {
        Complaints { file: self.file.display().to_string(), list: vec![Complaint { line: 0, text }] }
    }

    /// Whether a new config may take the place of the old one while jobs run.
    fn fits(&self, new: Config) -> Result<Config, Complaints> {
        if new.state_dir != self.config.state_dir {
            let text =
                "state-dir: it cannot change while jobs run, whose journals lie there: restart the service";
            return Err(self.complaint(text.into()));
        }
        Ok(new)
    }

    /// Ends what the new config does not have, or has otherwise, and starts the rest.
    fn exchange(&mut self, new: Config) {
        let same_watch = |keeper: &mut Keeper| {
            let job = new.jobs.iter().find(|job| job.name == keeper.job && job.mode == Mode::Watch);
            let target = job.and_then(|job| job.targets.iter().find(|target| target.to == keeper.target.to));
            let same = target.filter(|target| target.invocation == keeper.target.invocation);
            // Another limit on bandwidth is no other watch.
            same.map(|target| keeper.target = target.clone()).is_some()
        };
        let (mut keepers, mut clocks) = (Vec::new(), Vec::new());
        for (key, mut keeper) in std::mem::take(&mut self.keepers) {
            if same_watch(&mut keeper) {
                self.keepers.insert(key, keeper);
            } else {
                keepers.push(keeper);
            }
        }
        for (name, clock) in std::mem::take(&mut self.clocks) {
            if new.jobs.contains(&clock.job) {
                self.clocks.insert(name, clock);
            } else {
                clocks.push(clock);
            }
        }
        end(keepers, clocks);
        self.timed.retain(|name, _| new.jobs.iter().any(|job| job.name == *name));
        self.config = new;
        self.start();
    }
}

/// Ends all of these, at the same time.
fn end(keepers: Vec<Keeper>, clocks: Vec<Clock>) {
    clocks.iter().for_each(Clock::tell);
    // A run that asks them is cut short first, so that it does not take their end for its own.
    clocks.into_iter().for_each(Clock::join);
    keepers.iter().for_each(Keeper::tell);
    keepers.into_iter().for_each(Keeper::join);
}
