//! watcher: what changes beneath a Root, as it changes: an engine on a thread of its own.
//!
//! Nothing that is said is proof; see [`Signal`]. What an engine cannot watch (no watch is left, another file system,
//! no right to read) is polled beside it, so every directory is seen by one or the other.
//!
//! * [`signal`]: what is said; `barrier`: that all of it was said; [`engine`]: what an engine is, and which one a root gets; `report`: several voices
//!   become one; `place`: where the root stands; `names`, `rules`: what all engines need.
//! * `inotify`: a watch for each directory; `fanotify`: one mark for the file system; `poll`: a look at everything.
//!
//! Touches: the Root (lists directories, never a file). Never: network, the journal, anything that waits for them.

mod barrier;
mod engine;
mod fanotify;
mod inotify;
mod names;
mod place;
mod poll;
mod report;
mod rules;
mod signal;

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use driftless_proto::disk::Root;
use driftless_proto::model::filter::Rules;
use rustix::event::{EventfdFlags, eventfd};

pub use barrier::{Asked, BarrierId};
pub use engine::Choice;
use engine::{Chosen, Engine, choose};
pub(crate) use place::shared_file_system;
use poll::PollEngine;
use report::{Inbox, Reporter, Word};
pub use signal::{Signal, Why};

/// Takes what the watcher says: everything that one round of reading brought, in order. It is called on the
/// watcher's threads, one at a time, and must return soon: it may take a lock that is never held across I/O, and
/// nothing slower. It must not drop the [`Watcher`].
pub type Report = Box<dyn FnMut(Vec<Signal>) + Send>;

/// A running watcher. Dropping it stops its threads.
#[derive(Debug)]
pub struct Watcher {
    engine: Running,
    poller: Option<Running>,
    name: &'static str,
    note: Option<String>,
}

impl Watcher {
    /// Watches everything beneath `root` that `rules` do not exclude. Returns once a walk that is begun then misses
    /// nothing; what happened meanwhile has been reported. Inotify costs one watch for each directory, and one for
    /// the directory above the root; polling, about 50 bytes of memory for each name.
    ///
    /// # Errors
    /// When the engine that was asked for is not to be had, or the root cannot be looked at; where a sysctl cures it,
    /// the message names it. A directory further down that cannot be watched is no error: [`Signal::Unwatched`]
    /// tells of it.
    pub fn start(root: Root, rules: Arc<Rules>, choice: Choice, report: Report) -> io::Result<Self> {
        let reporter = Reporter::new(report);
        let Chosen { name, engine, inbox, note } = choose(choice, &root, &rules, &reporter)?;
        let poller = match inbox {
            Some(inbox) => {
                let report = Reporter::alone(&reporter);
                let engine = Box::new(PollEngine::beside(root, rules, report, inbox)?);
                Some(Running::start(engine, Arc::clone(&reporter))?)
            }
            None => None,
        };
        Ok(Self { engine: Running::start(engine, reporter)?, poller, name, note })
    }

    /// Which engine it is, as it is typed after `--engine`.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        self.name
    }

    /// Asks the engine for barriers; the poller beside it is asked in its turn.
    #[must_use]
    pub fn asked(&self) -> Arc<Asked> {
        Arc::clone(&self.engine.asked)
    }

    /// What the poller beside the engine shows of itself, where there is one.
    #[must_use]
    pub fn polled(&self) -> Option<Arc<Asked>> {
        self.poller.as_ref().map(|poller| Arc::clone(&poller.asked))
    }

    /// What the operator should know of how the root is watched, as one sentence.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

/// Whether this engine is to be had for a root, found out by making one that never runs; what the operator should know of
/// it, as one sentence.
///
/// # Errors
/// As [`Watcher::start`].
pub(crate) fn try_engine(root: &Root, choice: Choice) -> io::Result<Option<String>> {
    let reporter = Reporter::new(Box::new(|_| {}));
    Ok(choose(choice, root, &Arc::new(Rules::default()), &reporter)?.note)
}

/// An engine on its thread. Dropping it stops both.
#[derive(Debug)]
struct Running {
    asked: Arc<Asked>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Returns once the engine is armed. One that panics must not fall silent: the root is to be watched anew.
    fn start(engine: Box<dyn Engine>, reporter: Arc<Reporter>) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stopped = Arc::clone(&stop);
        let (armed, wait) = sync_channel(1);
        let asked = engine.asked();
        let work = move || {
            if catch_unwind(AssertUnwindSafe(|| engine.run(&stopped, &armed))).is_err() {
                reporter.say(vec![Signal::RootGone("the watcher panicked".into())]);
            }
        };
        let thread = std::thread::Builder::new().name("watcher".into()).spawn(work)?;
        // An error means that the thread ended first: the root went away, which has been reported.
        wait.recv().ok();
        Ok(Self { asked, stop, thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A counter at its limit would fail, but then the thread has been told already.
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, channel};

    use super::*;

    /// Panics once it is armed.
    struct Broken;

    impl Engine for Broken {
        fn run(self: Box<Self>, _: &OwnedFd, armed: &SyncSender<()>) {
            armed.send(()).expect("somebody waits");
            panic!("as planned");
        }

        fn asked(&self) -> Arc<Asked> {
            Asked::new().expect("an eventfd")
        }
    }

    #[test]
    fn an_engine_that_panics_does_not_fall_silent() {
        let (heard, hears) = channel();
        let reporter = Reporter::new(Box::new(move |signals| heard.send(signals).expect("a listener")));
        let _running = Running::start(Box::new(Broken), reporter).expect("thread");
        let signals = hears.recv_timeout(std::time::Duration::from_secs(30)).expect("a word");
        assert!(matches!(&signals[..], [Signal::RootGone(why)] if why.contains("panicked")), "{signals:?}");
    }
}
