//! supervise: the scheduled runs of a job, on a thread of their own: `before`, then everything is compared, then `after`.
//!
//! As cron(8) has it, a time at which the host slept or the process was down is not made up for, and a run that lasts
//! beyond the next time makes that one be left out. A run that still cannot connect by then is given up.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use driftless_proto::transfer::link::Rate;
use jiff::Zoned;

use super::keeper::{Held, words};
use super::stand_in::StandIn;
use super::step::{self, Failed};
use super::stop::Stop;
use super::{World, limit_now};
use crate::control::schedule::{LastRun, Stage, Timed};
use crate::exit::Exit;
use crate::job::{Job, Mode, Schedule, Step};
use crate::watch::reins::{Manner, Reins, Ticket};

/// The host's clock is read at least this often: somebody may set it.
const READ: Duration = Duration::from_secs(10);

/// How often it is looked how far a run is.
const LOOK: Duration = Duration::from_millis(50);

/// What `after` may take of a stop.
const AFTER_STOP: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Clock {
    pub(super) job: Job,
    stop: Stop,
    thread: JoinHandle<()>,
}

/// What its thread works with.
struct Work {
    job: Job,
    schedule: Schedule,
    /// The watches of the job; none where it only runs by its schedule.
    watches: Vec<Arc<Held>>,
    stop: Stop,
    timed: Timed,
    manner: Manner,
    world: World,
}

impl Clock {
    /// Starts it; `None` for a job without a schedule.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(
        job: &Job,
        watches: Vec<Arc<Held>>,
        timed: &Timed,
        world: &World,
    ) -> io::Result<Option<Self>> {
        let Some(schedule) = job.schedule.clone() else {
            timed.lock().cron = None;
            return Ok(None);
        };
        {
            let mut times = timed.lock();
            times.cron = Some(schedule.text().to_owned());
            times.only = job.mode == Mode::Scheduled;
        }
        let stop = Stop::default();
        let voice = world.voice.of(&job.name);
        let manner =
            Manner { job: Some(job.name.clone()), once: true, persists: false, timed: timed.clone(), voice };
        let work = Work {
            job: job.clone(),
            schedule,
            watches,
            stop: stop.clone(),
            timed: timed.clone(),
            manner,
            world: world.clone(),
        };
        let thread =
            std::thread::Builder::new().name(format!("schedule {}", job.name)).spawn(move || work.run())?;
        Ok(Some(Self { job: job.clone(), stop, thread }))
    }

    /// Ends it, soon; a run that is under way is cut short.
    pub(super) fn tell(&self) {
        self.stop.tell();
    }

    /// Waits for its end.
    pub(super) fn join(self) {
        // What it could panic with was said.
        self.thread.join().ok();
    }

    /// Whether its thread runs.
    pub(super) fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }
}

impl Work {
    fn run(&self) {
        let mut answers = Vec::new();
        loop {
            if answers.is_empty() {
                answers = self.stand_ins();
            }
            if self.wait() {
                return;
            }
            let run = catch_unwind(AssertUnwindSafe(|| self.once(&mut answers)));
            if let Err(panic) = run {
                self.problem(&format!("the run panicked, which is a bug: {}", words(&*panic)));
                self.book(
                    SystemTime::now(),
                    Duration::ZERO,
                    Exit::File.code(),
                    Some(words(&*panic).to_owned()),
                );
            }
            if self.stop.is_told() {
                return;
            }
        }
    }

    /// But while it compares nobody else answers for a job that does not watch.
    fn stand_ins(&self) -> Vec<Option<StandIn>> {
        if self.job.mode == Mode::Watch {
            return Vec::new();
        }
        let targets = self.job.targets.iter();
        targets.map(|target| StandIn::start(&target.invocation, &self.manner, None)).collect()
    }

    /// Waits for the next time; returns whether to stop instead. Without another time it waits for the word alone.
    fn wait(&self) -> bool {
        let begun = Zoned::now();
        loop {
            let now = Zoned::now();
            // A clock that was set back has earlier times before it.
            let from = if now < begun { &now } else { &begun };
            let due = self.schedule.next(from);
            self.timed.lock().next.clone_from(&due);
            let left = due.map(|due| due.duration_since(&now));
            match left {
                Some(left) if !left.is_positive() => return false,
                left => {
                    let left = left.map_or(READ, |left| left.unsigned_abs());
                    if self.stop.rest(left.min(READ)) {
                        return true;
                    }
                }
            }
        }
    }

    /// One run, from `before` to `after`. While it compares, its watches answer for themselves.
    fn once(&self, answers: &mut Vec<Option<StandIn>>) {
        let (begun, voice) = (Instant::now(), &self.manner.voice);
        let environment = [("DRIFTLESS_JOB", self.job.name.clone())];
        let before = self.step(self.job.before.as_ref(), Stage::Before, "before", &environment, &self.stop);
        let (exit, mut why) = match before {
            Err(Failed { code, why }) => {
                self.problem(&format!("{why}: the run does not happen"));
                (code, Some(why))
            }
            Ok(()) => {
                self.timed.lock().stage = Stage::Running;
                answers.clear();
                let exit = self.compare();
                *answers = self.stand_ins();
                let why = (exit != Exit::Ok).then(|| exit.to_string());
                (exit.code(), why)
            }
        };
        let took = begun.elapsed();
        let environment = [("DRIFTLESS_JOB", self.job.name.clone()), ("DRIFTLESS_EXIT", exit.to_string())];
        let never = Stop::default();
        let after = self.job.after.clone().map(|mut step| {
            if self.stop.is_told() {
                step.timeout = step.timeout.min(AFTER_STOP);
            }
            step
        });
        if let Err(failed) = self.step(after.as_ref(), Stage::After, "after", &environment, &never) {
            self.problem(&failed.why);
            why = why.or(Some(failed.why));
        }
        let text = format!("scheduled run ended after {:.2} s", took.as_secs_f64());
        match (&why, exit) {
            (Some(why), exit) if exit != 0 => self.problem(&format!("{text}: {why} (code {exit})")),
            _ => voice.say("", &text),
        }
        self.book(SystemTime::now(), took, exit, why);
    }

    fn problem(&self, text: &str) {
        self.manner.voice.problem("", text);
    }

    fn book(&self, at: SystemTime, took: Duration, exit: u8, why: Option<String>) {
        let mut times = self.timed.lock();
        times.stage = Stage::Waiting;
        times.last = Some(LastRun { at, took, exit, why });
    }

    fn step(
        &self,
        step: Option<&Step>,
        stage: Stage,
        name: &'static str,
        environment: &[(&str, String)],
        stop: &Stop,
    ) -> Result<(), Failed> {
        let Some(step) = step else { return Ok(()) };
        self.timed.lock().stage = stage;
        step::run(step, name, environment, &self.manner.voice, stop)
    }

    /// Whether a run is to be given up: the word was said, or its next time has come and none of these has a stream. One
    /// that has is at work, and may take as long as it takes.
    fn over<'a>(&self, next: Option<&Zoned>, left: impl IntoIterator<Item = &'a Reins>) -> Option<Exit> {
        if self.stop.is_told() {
            return Some(Exit::Signal);
        }
        let due = next.is_some_and(|next| Zoned::now() >= *next);
        (due && !left.into_iter().any(Reins::is_connected)).then_some(Exit::Timeout)
    }

    fn compare(&self) -> Exit {
        let next = self.schedule.next(&Zoned::now());
        self.timed.lock().next.clone_from(&next);
        match self.job.mode {
            Mode::Watch => self.ask(next.as_ref()),
            Mode::Scheduled => self.drive(next.as_ref()),
        }
    }

    /// Asks the watches, and waits for all of them.
    fn ask(&self, next: Option<&Zoned>) -> Exit {
        struct Asked<'a> {
            held: &'a Held,
            life: u64,
            reins: Reins,
            ticket: Ticket,
        }
        let ask = |held| {
            let (life, reins) = Held::reins(held);
            Asked { held, life, ticket: reins.compare(), reins }
        };
        let mut asked: Vec<Asked<'_>> = self.watches.iter().map(|held| ask(held)).collect();
        let mut worst = Exit::Ok;
        loop {
            asked.retain_mut(|one| {
                // One that began again knows nothing of it.
                if one.held.reins().0 != one.life {
                    *one = ask(one.held);
                }
                match one.reins.compared(one.ticket) {
                    Some(exit) => {
                        worst = worse(worst, exit);
                        false
                    }
                    None => true,
                }
            });
            if asked.is_empty() {
                return worst;
            }
            if let Some(exit) = self.over(next, asked.iter().map(|one| &one.reins)) {
                return worse(worst, exit);
            }
            self.stop.rest(LOOK);
        }
    }

    /// Compares with every destination at once.
    fn drive(&self, next: Option<&Zoned>) -> Exit {
        let (manner, handle) = (&self.manner, &self.world.handle);
        std::thread::scope(|scope| {
            let mut runs = Vec::new();
            for target in &self.job.targets {
                let reins = Reins::new(Rate::new(limit_now(target)));
                let held = reins.clone();
                let work = move || {
                    let ran = catch_unwind(AssertUnwindSafe(|| {
                        crate::watch::drive(&target.invocation, manner, &held, handle)
                    }));
                    let said = |why: &dyn std::fmt::Display, exit| {
                        manner.voice.problem("", &format!("{}: {why}", target.to));
                        exit
                    };
                    match ran {
                        Ok(Ok(exit)) => exit,
                        Ok(Err(error)) => said(&error, error.exit()),
                        Err(panic) => {
                            said(&format!("the run panicked, which is a bug: {}", words(&*panic)), Exit::File)
                        }
                    }
                };
                let name = format!("job {}", self.job.name);
                match std::thread::Builder::new().name(name).spawn_scoped(scope, work) {
                    Ok(thread) => runs.push((reins, thread)),
                    Err(error) => {
                        self.problem(&format!("start a thread: {error}"));
                        return Exit::File;
                    }
                }
            }
            let mut given_up = None;
            while given_up.is_none() && !runs.iter().all(|(_, thread)| thread.is_finished()) {
                let left = runs.iter().filter(|(_, thread)| !thread.is_finished());
                given_up = self.over(next, left.map(|(reins, _)| reins));
                for (target, (reins, _)) in self.job.targets.iter().zip(&runs) {
                    reins.limit(limit_now(target));
                }
                self.stop.rest(if given_up.is_none() { LOOK } else { Duration::ZERO });
            }
            if given_up.is_some() {
                runs.iter().for_each(|(reins, _)| reins.stop());
            }
            let ended = |thread: std::thread::ScopedJoinHandle<'_, Exit>| match thread.join() {
                // Cut short by us: the reason is ours.
                Ok(Exit::Signal) => given_up.unwrap_or(Exit::Signal),
                Ok(exit) => exit,
                Err(_) => Exit::File,
            };
            runs.into_iter().map(|(_, thread)| ended(thread)).fold(Exit::Ok, worse)
        })
    }
}

/// The one that says more of what is wrong.
fn worse(one: Exit, other: Exit) -> Exit {
    if one.code() >= other.code() { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_ends_the_worse_one_is_told() {
        assert_eq!(worse(Exit::Ok, Exit::Partial), Exit::Partial);
        assert_eq!(worse(Exit::Timeout, Exit::Partial), Exit::Timeout);
        assert_eq!(worse(Exit::Ok, Exit::Ok), Exit::Ok);
    }
}
