//! verify: one comparison of the two ends, and sending what differs.

use std::cell::{Ref, RefCell};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use driftless_proto::model::change::{Action, Change};
use driftless_proto::model::options::{Options, Terms};
use driftless_proto::model::path::RelPath;
use driftless_proto::model::problem::{Problem, ProblemClass};
use driftless_proto::transfer::link::Rate;
use driftless_proto::transfer::observer::Observer;
use driftless_proto::transfer::sender::{self, Config, Read, Task, Tasks};
use driftless_proto::transfer::view::{Part, View};
use driftless_proto::wire::message::FromSender;
use tokio::runtime::Handle;

use super::{Drift, Drifts};
use crate::cli::Invocation;
use crate::cli::operand::Remote;
use crate::connect::{ConnectError, Server};
use crate::console::Console;
use crate::local::Sources;
use crate::push::{hello, place};
use crate::run::{ended_by_us, guard, open, remote, server};

/// The two ends, and in which terms they are compared.
pub(super) struct Ends<'a> {
    invocation: Invocation,
    remote: &'a Remote,
    server: Server,
    /// The only source, which the server may give another name.
    view: RefCell<View>,
    single_name: Option<Box<[u8]>>,
    missing: Vec<Problem>,
    console: &'a Arc<Console>,
    handle: &'a Handle,
}

/// What is looked at.
pub(super) enum Scope {
    /// Everything at and beneath this path of the source.
    Below(RelPath),
    /// These paths: those that are to be looked at one by one, and of what only the copy has the topmost ones.
    Paths(BTreeSet<RelPath>),
}

/// What one comparison found.
#[derive(Default)]
pub(super) struct Pass {
    pub(super) drift: Drifts,
    /// Paths that could not be compared, as they were told.
    pub(super) problems: Vec<String>,
    /// Entries of the source that took part, and bytes of its files.
    pub(super) entries: u64,
    pub(super) size_bytes: u64,
    /// Bytes that crossed the socket, sent and received.
    pub(super) wire: (u64, u64),
}

impl Scope {
    /// What is to be looked at again of this.
    pub(super) fn of(drift: &Drifts) -> Self {
        let topmost = Self::topmost(drift);
        let again = |(path, drift): &(&RelPath, &Drift)| **drift != Drift::Extra || topmost.contains(*path);
        Self::Paths(drift.iter().filter(again).map(|(path, _)| path.clone()).collect())
    }

    /// Of what only the copy has: what lies beneath nothing else of that kind.
    pub(super) fn topmost(drift: &Drifts) -> BTreeSet<RelPath> {
        let extra = |path: &RelPath| drift.get(path) == Some(&Drift::Extra);
        let is_top = |path: &&RelPath| extra(path) && !path.parent().is_some_and(|above| extra(&above));
        drift.keys().filter(is_top).cloned().collect()
    }
}

impl<'a> Ends<'a> {
    /// Opens the source and prepares to reach the server.
    pub(super) fn open(
        invocation: &'a Invocation,
        ignore_extra: bool,
        console: &'a Arc<Console>,
        handle: &'a Handle,
    ) -> Result<Self, ConnectError> {
        let remote = remote(invocation.dest.as_ref())?;
        let server = server(invocation, remote)?;
        let sources = Sources::open(&invocation.sources, invocation.options.recursive, console);
        let mut invocation = invocation.clone();
        invocation.options =
            Options { checksum: true, delete: !ignore_extra, partial: false, ..invocation.options };
        let Sources { view, single_name, missing } = sources;
        Ok(Self {
            invocation,
            remote,
            server,
            view: RefCell::new(view),
            single_name,
            missing,
            console,
            handle,
        })
    }

    /// The same, and what only the copy has is no difference.
    pub(super) fn ignoring_extra(mut self) -> Self {
        self.invocation.options.delete = false;
        self
    }

    /// The source.
    pub(super) fn view(&self) -> Ref<'_, View> {
        self.view.borrow()
    }

    /// Where the source lies in the transfer: the root for `SRC/`, its name for `SRC`.
    pub(super) fn prefix(&self) -> RelPath {
        prefix(&self.view.borrow())
    }

    /// These paths of the transfer as they lie beneath the source.
    pub(super) fn below_source(&self, paths: &BTreeSet<RelPath>) -> Vec<RelPath> {
        let prefix = self.prefix();
        paths.iter().filter_map(|path| path.below(&prefix)).collect()
    }

    /// Says what could not be compared.
    pub(super) fn say(&self, problems: &[String]) {
        problems.iter().for_each(|problem| self.console.report.problem(problem));
    }

    /// Compares.
    ///
    /// # Errors
    /// Why there is no answer, or not a whole one.
    pub(super) fn pass(&self, scope: &Scope) -> Result<Pass, ConnectError> {
        let options = Options { dry_run: true, ..self.invocation.options.clone() };
        let pass = self.run(options, |view, tasks| match scope {
            Scope::Below(sub) => {
                let path = prefix(view).join(sub).unwrap_or_else(|_| prefix(view));
                tasks.submit(match view.found(&path) {
                    Ok(found) if !path.is_root() && !found.entry.is_dir() => {
                        Task::Put(0, path, None, Read::Anyway)
                    }
                    Ok(_) => Task::Compare(0, path),
                    Err(_) => Task::Remove(0, path),
                });
            }
            Scope::Paths(paths) => submit(view, tasks, paths.iter()),
        })?;
        Ok(pass)
    }

    /// Sends these paths as they stand now; removes those that do not where `delete` is set.
    ///
    /// # Errors
    /// What ended it early.
    pub(super) fn repair(
        &self,
        paths: &BTreeSet<RelPath>,
        delete: bool,
    ) -> Result<Vec<String>, ConnectError> {
        let options = Options { dry_run: false, delete, ..self.invocation.options.clone() };
        // What changes in a directory changes its time.
        let dirs: BTreeSet<RelPath> = paths.iter().filter_map(RelPath::parent).collect();
        let prefix = self.prefix();
        let dirs = dirs.iter().rev().filter(|dir| dir.is_within(&prefix) && self.view().found(dir).is_ok());
        Ok(self.run(options, |view, tasks| submit(view, tasks, paths.iter().chain(dirs)))?.problems)
    }

    fn run(&self, options: Options, submit: impl FnOnce(&View, &Tasks)) -> Result<Pass, ConnectError> {
        if let Some(problem) = self.missing.first() {
            return Err(ConnectError::TrustFile(problem.text.clone()));
        }
        let mut invocation = self.invocation.clone();
        invocation.options = options;
        let mut hello = hello(&invocation, vec![place(self.remote)], self.single_name.clone())?;
        hello.options.report = true;
        let session = self.handle.block_on(open::<FromSender>(&self.server, hello))?;
        if let Some(to) =
            session.welcome.single_name.as_deref().and_then(|name| RelPath::root().child(name).ok())
        {
            self.view.borrow_mut().rename_only(to);
        }
        let view = self.view.borrow().clone();
        let (tasks, queue) = sender::queue();
        submit(&view, &tasks);
        tasks.submit(Task::Finish);
        let config = Config {
            view,
            terms: Terms::new(&invocation.options, &session.welcome.keeps),
            early: false,
            withhold: None,
            rate: Rate::new(invocation.options.bwlimit),
            options: invocation.options,
            rules: invocation.rules,
            empty: session.welcome.empty,
            record: false,
            missing: Vec::new(),
        };
        guard(self.handle, &session, invocation.timeout);
        let heard = Arc::new(Heard::default());
        let ended = sender::run(config, session.link, queue, Arc::clone(&heard) as _);
        if let Some((why, exit)) = ended_by_us(&session.wire) {
            return Err(ConnectError::Stopped(why, exit));
        }
        let (sent, received) = ended?;
        let mut pass = std::mem::take(&mut *heard.0.lock().unwrap_or_else(PoisonError::into_inner));
        if received.deletions_skipped && pass.problems.is_empty() {
            pass.problems.push("what only the copy has was not looked for".into());
        }
        pass.entries = sent.entries.total();
        pass.size_bytes = sent.size_bytes;
        pass.wire = session.wire.bytes();
        Ok(pass)
    }
}

fn prefix(view: &View) -> RelPath {
    view.parts().into_iter().next().map_or_else(RelPath::root, |part| match part {
        Part::Dir(path) | Part::Single(path) => path,
    })
}

/// Tasks for single paths. What stands there is sent by its content, what does not is said to be gone.
fn submit<'p>(view: &View, tasks: &Tasks, paths: impl Iterator<Item = &'p RelPath>) {
    for path in paths {
        tasks.submit(match view.found(path) {
            Ok(_) => Task::Put(0, path.clone(), None, Read::Anyway),
            Err(_) => Task::Remove(0, path.clone()),
        });
    }
}

/// Hears what the receiver found.
#[derive(Default)]
struct Heard(Mutex<Pass>);

impl Observer for Heard {
    fn changed(&self, change: &Change) {
        let drift = match change.action {
            Action::Created | Action::Renamed => Drift::Missing,
            Action::Removed => Drift::Extra,
            Action::Updated(difference) => Drift::Differs(difference),
        };
        let mut pass = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pass.drift.insert(change.path.clone(), drift);
    }

    fn problem(&self, problem: &Problem) {
        // What went while it was looked at is looked at again.
        if problem.class != ProblemClass::Vanished {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).problems.push(problem.to_string());
        }
    }
}
