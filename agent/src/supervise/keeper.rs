//! supervise: one watch of a job on a thread of its own, kept alive: it is begun again when it could not begin, when it
//! ended, and when it panicked. None of that touches any other.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use driftless_proto::transfer::link::Rate;

use super::stand_in::StandIn;
use super::stop::Stop;
use super::{World, limit_now};
use crate::control::schedule::Timed;
use crate::job::Target;
use crate::voice::Voice;
use crate::watch::reins::{Manner, Reins};

/// The rest before a watch is begun again, first and at most; after a life of more than the longest it is the first.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// See the module.
pub(super) struct Keeper {
    pub(super) job: String,
    pub(super) target: Target,
    pub(super) rate: Rate,
    held: Arc<Held>,
    thread: JoinHandle<()>,
}

/// What the thread and its owner share.
#[derive(Default)]
pub(super) struct Held {
    stop: Stop,
    /// The watch as it lives now, and how many lived before.
    reins: Mutex<(u64, Reins)>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, (u64, Reins)> {
        self.reins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watch as it lives now, and which life it is.
    pub(super) fn reins(&self) -> (u64, Reins) {
        self.lock().clone()
    }

    /// A new life, which is stopped at once if that was said.
    fn begin(&self, rate: &Rate) -> Reins {
        let reins = Reins::new(rate.clone());
        let mut held = self.lock();
        *held = (held.0 + 1, reins.clone());
        drop(held);
        if self.stop.is_told() {
            reins.stop();
        }
        reins
    }
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(job: &str, target: &Target, timed: &Timed, world: &World) -> io::Result<Self> {
        let rate = Rate::new(limit_now(target));
        let held = Arc::new(Held::default());
        let manner = Manner {
            job: Some(job.to_owned()),
            once: false,
            persists: true,
            timed: timed.clone(),
            voice: world.voice.of(job),
        };
        let invocation = target.invocation.clone();
        let (shared, own, handle) = (Arc::clone(&held), rate.clone(), world.handle.clone());
        let work = move || {
            let mut life = || {
                let reins = shared.begin(&own);
                let _life = reins.life();
                match crate::watch::drive(&invocation, &manner, &reins, &handle) {
                    Ok(exit) => format!("it ended (code {})", exit.code()),
                    Err(error) => error.to_string(),
                }
            };
            let stands_in = |why: &str| StandIn::start(&invocation, &manner, Some(why));
            keep(&mut life, &shared.stop, &manner.voice, AGAIN.0, &stands_in);
        };
        let thread = std::thread::Builder::new().name(format!("job {job}")).spawn(work)?;
        Ok(Self { job: job.to_owned(), target: target.clone(), rate, held, thread })
    }

    /// What a schedule needs of it.
    pub(super) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held)
    }

    /// Ends it, soon.
    pub(super) fn tell(&self) {
        self.held.stop.tell();
        self.held.reins().1.stop();
    }

    /// Waits for its end.
    pub(super) fn join(self) {
        // What it could panic with was said.
        self.thread.join().ok();
    }

    /// Whether its trunk shows life.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        !self.thread.is_finished() && self.held.reins().1.is_alive(now)
    }
}

/// Lives one life after another until `stop`. A life returns why it ended.
fn keep<T>(
    life: &mut dyn FnMut() -> String,
    stop: &Stop,
    voice: &Voice,
    first: Duration,
    stands_in: &dyn Fn(&str) -> T,
) {
    let mut rest = first;
    loop {
        let begun = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(&mut *life));
        if stop.is_told() {
            return;
        }
        let why = ended.unwrap_or_else(|panic| format!("it panicked, which is a bug: {}", words(&*panic)));
        if begun.elapsed() > AGAIN.1 {
            rest = first;
        }
        voice.problem("", &format!("{why}; it begins again in {:.0} s", rest.as_secs_f64()));
        let _answers = stands_in(&why);
        if stop.rest(rest) {
            return;
        }
        rest = (rest * 2).min(AGAIN.1);
    }
}

/// What a panic said.
pub(super) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_that_panics_or_ends_is_followed_by_another_until_the_word_is_said() {
        let stop = Stop::default();
        let mut lives = 0;
        let seen = Mutex::new(Vec::new());
        let mut life = || {
            lives += 1;
            match lives {
                1 => panic!("number {lives}"),
                2 => "no luck".to_owned(),
                _ => {
                    stop.tell();
                    "never told".to_owned()
                }
            }
        };
        let stands_in = |why: &str| seen.lock().expect("lock").push(why.to_owned());
        keep(&mut life, &stop, &Voice::default(), Duration::from_millis(1), &stands_in);
        assert_eq!(seen.into_inner().expect("lock"), ["it panicked, which is a bug: number 1", "no luck"]);
        assert_eq!(lives, 3);
    }
}
