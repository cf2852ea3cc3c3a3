//! watcher: what changes beneath a Root, as it changes: recursive inotify on a thread of its own.
//!
//! Every directory that the rules do not exclude has one watch. A watch is added first, then the directory is read,
//! then what it holds is watched: what happens in between is told twice, never missed. Nothing that is said is
//! proof; see [`Signal`].
//!
//! * [`signal`]: what is said; `tree`: the watched directories; `moves`: halves of renames.
//! * `engine`: the thread; `events`: what it makes of an event; `arm`: how it adds watches; `kernel`: the calls.
//!
//! Touches: the Root (lists directories, never a file). Never: network, the journal, anything that waits for them.

mod arm;
mod engine;
mod events;
mod kernel;
mod moves;
mod signal;
#[cfg(test)]
mod tests;
mod tree;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use driftless_proto::disk::Root;
use driftless_proto::model::filter::Rules;
use rustix::event::{EventfdFlags, eventfd};

use engine::Engine;
pub use signal::{Signal, Why};

/// Takes what the watcher says: everything that one round of reading brought, in order. It is called on the
/// watcher's thread and must return soon: it may take a lock that is never held across I/O, and nothing slower. It
/// must not drop the [`Watcher`].
pub type Report = Box<dyn FnMut(Vec<Signal>) + Send>;

/// A running watcher. Dropping it stops its thread.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Watches everything beneath `root` that `rules` do not exclude. Returns when every directory is watched, so
    /// that a walk begun then misses nothing; what happened meanwhile has been reported. Costs one watch for each
    /// directory, and one for the directory above the root.
    ///
    /// # Errors
    /// When inotify is not to be had or the root cannot be watched; where a sysctl cures it, the message names it.
    /// A directory further down that cannot be watched is no error: [`Signal::Unwatched`] tells of it.
    pub fn start(root: Root, rules: Arc<Rules>, report: Report) -> io::Result<Self> {
        Self::run(Engine::new(root, rules, report)?)
    }

    fn run(engine: Engine) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stopped = Arc::clone(&stop);
        let (armed, wait) = sync_channel(1);
        let thread =
            std::thread::Builder::new().name("watcher".into()).spawn(move || engine.run(&stopped, &armed))?;
        // An error means that the thread ended first: the root went away, which has been reported.
        wait.recv().ok();
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // A counter at its limit would fail, but then the thread has been told already.
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
