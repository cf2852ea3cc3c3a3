//! watcher: the engines, and which of them a root gets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use driftless_proto::disk::Root;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;

use super::fanotify::FanotifyEngine;
use super::inotify::InotifyEngine;
use super::place::shared_file_system;
use super::poll::PollEngine;
use super::{Asked, Inbox, Reporter};
use crate::guard::mounts;

/// One way to learn what changes beneath a Root. All of them say the same; see [`Signal`](super::Signal).
pub(super) trait Engine: Send {
    /// Works on the thread that calls it, until `stop` can be read or the root is gone, which it reports. Sends on
    /// `armed` once a walk that is begun then misses nothing.
    fn run(self: Box<Self>, stop: &OwnedFd, armed: &SyncSender<()>);

    /// By which it is asked for barriers while it runs.
    fn asked(&self) -> Arc<Asked>;
}

/// Which engine the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Choice {
    /// What fits the root: fanotify where this process may use it, the file system has it and nothing is mounted within,
    /// else inotify; polling where events tell only half or are not to be had.
    #[default]
    Auto,
    /// `fanotify(7)`: one mark for the whole file system. For root only.
    Fanotify,
    /// `inotify(7)`: a watch for each directory.
    Inotify,
    /// Looking at everything once in a while.
    Poll,
}

impl Choice {
    /// Every choice, as it is typed.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("auto", Self::Auto),
        ("inotify", Self::Inotify),
        ("fanotify", Self::Fanotify),
        ("poll", Self::Poll),
    ];
}

/// An engine that is ready to run.
pub(super) struct Chosen {
    /// As it is typed after `--engine`.
    pub(super) name: &'static str,
    pub(super) engine: Box<dyn Engine>,
    /// What the poller beside it is to be told, if it needs one.
    pub(super) inbox: Option<Arc<Inbox>>,
    /// What the operator should know of the choice, as one sentence.
    pub(super) note: Option<String>,
}

/// Makes the engine for a root.
///
/// # Errors
/// When the engine that was asked for is not to be had; the message says what is missing. `Auto` fails only where the
/// root itself cannot be looked at.
pub(super) fn choose(
    choice: Choice,
    root: &Root,
    rules: &Arc<Rules>,
    reporter: &Arc<Reporter>,
) -> io::Result<Chosen> {
    let shared = shared_file_system(root.dir(&RelPath::root())?.as_fd());
    let polled = |note| {
        let report = Reporter::alone(reporter);
        let engine = Box::new(PollEngine::of_root(root.clone(), Arc::clone(rules), report)?);
        Ok(Chosen { name: "poll", engine, inbox: None, note })
    };
    let inotify = || {
        let inbox = Arc::new(Inbox::new()?);
        let report = Reporter::beside_poller(reporter, &inbox);
        let engine = Box::new(InotifyEngine::new(root.clone(), Arc::clone(rules), report)?);
        let note = shared.map(|name| format!("it is on {name}: what other hosts change there is not seen"));
        Ok(Chosen { name: "inotify", engine, inbox: Some(inbox), note })
    };
    let fanotify = || {
        let inbox = Arc::new(Inbox::new()?);
        let report = Reporter::beside_poller(reporter, &inbox);
        let engine = Box::new(FanotifyEngine::new(root.clone(), Arc::clone(rules), report)?);
        Ok(Chosen { name: "fanotify", engine, inbox: Some(inbox), note: None })
    };
    match (choice, shared) {
        (Choice::Auto, Some(name)) => {
            polled(Some(format!("it is on {name}, where not every change gives an event: it is polled")))
        }
        // A mark tells nothing of what is mounted in the source, and inotify watches it. Most are not root: then nothing is
        // missing either.
        (Choice::Auto, None) => match mounts::any_within(root) {
            Ok(false) => fanotify().or_else(|_: io::Error| inotify()),
            _ => inotify(),
        }
        .or_else(|error: io::Error| polled(Some(format!("{error}; until then it is polled")))),
        (Choice::Inotify, _) => inotify(),
        (Choice::Fanotify, _) => fanotify(),
        (Choice::Poll, _) => polled(None),
    }
}
