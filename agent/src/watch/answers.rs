//! Answers: what a running watch says when it is asked by way of its control socket.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use driftless_proto::disk::Root;
use driftless_proto::disk::reserved::is_reserved;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::RelPath;
use serde_json::{Value, json};

use super::desk::Desk;
use super::failures::Failure;
use super::queued::{self, Sizes};
use super::standing::Apart;
use super::waits::Waited;
use super::{Watch, explain};
use crate::control::picture::{Failing, Picture};
use crate::control::schedule::Timed;
use crate::control::target::{Lies, Target};
use crate::control::{Answers, Control, operands};
use crate::journal::Journal;
use crate::pending::Scope;
use crate::plan::Watched;
use crate::watcher::Asked;

/// How often it is looked whether whoever waits is still there.
const LOOK: Duration = Duration::from_millis(250);

/// Paths of one kind that an answer names.
const NAMED: usize = 100;

/// What is open at the moment.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) root: Option<Root>,
    /// Where the root really stands.
    pub(super) real: Option<PathBuf>,
    pub(super) journal: Weak<Journal>,
}

/// Takes back what was opened.
struct Closing(Arc<Mutex<Opened>>, Arc<Desk>);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut opened = lock(&self.0);
        (opened.root, opened.real) = (None, None);
        self.1.leave(|state| state.waits.root_gone());
    }
}

/// What a watch answers from.
pub(super) struct Answering {
    pub(super) desk: Arc<Desk>,
    pub(super) picture: Arc<Mutex<Picture>>,
    pub(super) opened: Arc<Mutex<Opened>>,
    pub(super) watched: Watched,
    pub(super) source: PathBuf,
    pub(super) rules: Rules,
    pub(super) sizes: Sizes,
    pub(super) timed: Timed,
    /// What it keeps where, as it is told.
    pub(super) operands: Value,
}

impl Watch<'_> {
    /// Answers whoever asks.
    pub(super) fn control(&self) -> Option<Control> {
        let answering = Answering {
            desk: Arc::clone(&self.desk),
            picture: Arc::clone(&self.picture),
            opened: Arc::clone(&self.opened),
            watched: self.watched.clone(),
            source: self.source.clone(),
            rules: self.invocation.rules.clone(),
            sizes: Sizes::default(),
            timed: self.manner.timed.clone(),
            operands: operands::write(self.invocation, &self.source),
        };
        let control = Control::start(self.state.path(), &self.watched, Arc::new(answering));
        control.map_err(|error| self.status.problem(&format!("no status can be asked for: {error}"))).ok()
    }

    /// Whoever asks is answered from this root, until what is returned is dropped.
    pub(super) fn opened(&self, root: &Root) -> impl Drop + use<> {
        let real = root.dir(&RelPath::root()).ok().and_then(|top| {
            let link = format!("/proc/self/fd/{}", top.as_fd().as_raw_fd());
            let path = rustix::fs::readlink(link, Vec::new()).ok()?;
            Some(PathBuf::from(OsString::from_vec(path.into_bytes())))
        });
        let mut opened = lock(&self.opened);
        (opened.root, opened.real) = (Some(root.clone()), real);
        Closing(Arc::clone(&self.opened), Arc::clone(&self.desk))
    }

    /// There is a stream, on which everything is compared first, or not.
    pub(super) fn connected(&self, comparing: bool) {
        self.desk.leave(|state| state.waits.connected(comparing));
        self.picture(|picture| {
            picture.connected = Some(self.server.address());
            picture.trouble = None;
        });
        let address = self.server.address();
        self.status.log(&format!("connected to {address}{}", if comparing { ", comparing" } else { "" }));
    }

    /// There is none any more.
    pub(super) fn disconnected(&self) {
        self.desk.leave(|state| state.waits.disconnected());
        self.picture(|picture| picture.connected = None);
    }
}

impl Answers for Answering {
    fn acked(&self, paths: &[RelPath]) -> Value {
        let journal = lock(&self.opened).journal.upgrade();
        let row = |path| journal.as_ref()?.glance(path).ok()?;
        paths.iter().map(|path| crate::restore::told(row(path).as_ref())).collect()
    }

    fn distrust(&self, paths: &[RelPath]) -> Value {
        self.desk.leave(|state| state.distrust(paths));
        Value::Bool(true)
    }

    fn operands(&self) -> Value {
        self.operands.clone()
    }

    fn status(&self) -> Value {
        let mut now = lock(&self.picture).clone();
        now.schedule = self.timed.json();
        let state = self.desk.lock();
        let ago = |since: Instant| since.elapsed().as_secs_f64();
        now.pending = state.pending();
        now.in_flight = state.in_flight();
        now.waiting = state.waits.len();
        now.sourceless = state.waits.sourceless.map(ago);
        now.offline = state.waits.offline.map(ago);
        now.uncompared = state.waits.uncompared.map(ago);
        now.oldest_change = state.oldest_pending().map(ago);
        now.last_ack = state.last_ack.map(ago);
        now.acked = state.acked;
        let directories = |asked: &Option<Arc<Asked>>| asked.as_ref().map_or(0, |asked| asked.directories());
        now.directories = (directories(&state.waits.asked), directories(&state.waits.polled));
        now.overflows = state.overflows;
        now.failing = state.failures.len();
        let errors = state.failures.iter().take(NAMED);
        now.errors = errors.map(|(path, failure)| failure.shown(path)).collect();
        now.unstable = state.unstable.iter().map(ToString::to_string).collect();
        now.last_problem.clone_from(&state.last_problem);
        now.polled = state.unwatched.iter().map(|(path, why)| (path.to_string(), why.clone())).collect();
        let (files, whole) = queued::files(&state);
        drop(state);
        let root = lock(&self.opened).root.clone();
        now.queued = root.and_then(|root| self.sizes.of(root, files, whole));
        now.json()
    }

    fn explain(&self, target: &Target) -> Value {
        let path = match self.place(target) {
            Ok(path) => path,
            Err(answer) => return answer,
        };
        let (root, journal) = {
            let opened = lock(&self.opened);
            (opened.root.clone(), opened.journal.upgrade())
        };
        explain::explain(self, &path, root.as_ref(), journal.as_deref())
    }

    fn wait(&self, target: &Target, until: Option<Instant>, gone: &dyn Fn() -> bool) -> Value {
        let place = match self.place(target) {
            Ok(place) => place,
            Err(answer) => return answer,
        };
        let begun = Instant::now();
        let scope = Scope::of(place);
        let mut id = 0;
        self.desk.leave(|state| id = state.waits.begin(scope.clone()));
        let answer = loop {
            let state = self.desk.lock();
            let looked = Instant::now();
            let waited = state.waited(id);
            let took = looked.elapsed();
            match waited {
                Waited::Over(failing) => {
                    drop(state);
                    break self.over(&scope, &failing);
                }
                Waited::For(why) if until.is_some_and(|until| until <= looked) => {
                    drop(state);
                    break self.late(&scope, why);
                }
                Waited::For(_) => {
                    let look = looked + LOOK;
                    drop(self.desk.wait(state, Some(until.map_or(look, |until| until.min(look)))));
                }
            }
            if gone() {
                break Value::Null;
            }
            // A look goes through every mark while others want the desk: nine tenths of the time are theirs.
            std::thread::sleep(took * 9);
        };
        self.desk.leave(|state| state.waits.end(id));
        match answer {
            Value::Null => Value::Null,
            mut answer => {
                answer["seconds"] = begun.elapsed().as_secs_f64().into();
                answer
            }
        }
    }
}

impl Answering {
    /// Where a target lies in the source, or the answer that it is not kept.
    fn place(&self, target: &Target) -> Result<RelPath, Value> {
        let (root, real) = {
            let opened = lock(&self.opened);
            (opened.root.clone(), opened.real.clone())
        };
        let sources: Vec<&Path> = [Some(&*self.source), real.as_deref()].into_iter().flatten().collect();
        match target.lies(&sources) {
            Lies::Above => Ok(RelPath::root()),
            Lies::Elsewhere => Err(self.answer("elsewhere")),
            Lies::At(path) => {
                let is_dir =
                    root.is_some_and(|root| root.found(&path).is_ok_and(|found| found.entry.is_dir()));
                let Some(why) = self.left_out(&path, is_dir) else { return Ok(path) };
                let mut answer = self.answer("excluded");
                answer["path"] = path.to_string().into();
                answer["why"] = why.into();
                Err(answer)
            }
        }
    }

    /// Why a path takes no part, if it does not.
    fn left_out(&self, path: &RelPath, is_dir: bool) -> Option<String> {
        if path.as_bytes().split(|&b| b == b'/').any(is_reserved) {
            return Some("a reserved name of Driftless' own, which is never transferred".into());
        }
        let (at, rule) = self.rules.deciding(path, is_dir).filter(|(_, rule)| rule.starts_with(b"- "))?;
        let rule = driftless_proto::model::path::Escaped(rule);
        Some(if at == *path {
            format!("excluded by the rule `{rule}`")
        } else {
            format!("excluded with {at} by the rule `{rule}`")
        })
    }

    fn over(&self, scope: &Scope, failing: &[(RelPath, String)]) -> Value {
        let picture = lock(&self.picture);
        let apart = |why: Apart| {
            let mine = picture.apart.iter().filter(move |(_, words)| *words == why.words());
            mine.filter(|(path, _)| scope.concerns(path, true))
                .map(|(path, words)| (path.to_string(), *words))
        };
        let failing = failing.iter().map(|(path, why)| (path.to_string(), &**why));
        let failing: Vec<_> =
            failing.chain(apart(Apart::Unreadable)).map(|(path, why)| named(&path, why)).collect();
        let hidden = apart(Apart::Hidden).next();
        let held = picture.held.as_ref().map(|held| (held.reason.clone(), held.plan.clone()));
        let held = held.or_else(|| hidden.map(|(path, why)| (format!("{path} is {why}"), None)));
        let outcome = match (failing.is_empty(), held.is_none()) {
            (false, _) => "failing",
            (true, false) => "held",
            (true, true) => "durable",
        };
        let mut answer = self.answer(outcome);
        answer["failing"] = failing.into_iter().take(NAMED).collect();
        answer["held"] = held.map_or(Value::Null, |(reason, plan)| json!({ "reason": reason, "plan": plan }));
        answer
    }

    fn late(&self, scope: &Scope, why: &str) -> Value {
        let state = self.desk.lock();
        let failing: Vec<Value> = state
            .failures
            .iter()
            .filter(|(path, _)| scope.concerns(path, true))
            .take(NAMED)
            .map(|(path, failure)| named(&path.to_string(), &failure.text))
            .collect();
        let pending = state.pending() + state.in_flight();
        drop(state);
        let mut answer = self.answer("timeout");
        answer["why"] = why.into();
        answer["pending"] = pending.into();
        answer["failing"] = failing.into();
        answer
    }

    pub(super) fn answer(&self, outcome: &str) -> Value {
        json!({
            "source": self.watched.source,
            "destination": self.watched.destination,
            "outcome": outcome,
        })
    }
}

impl Failure {
    fn shown(&self, path: &RelPath) -> Failing {
        Failing { path: path.to_string(), text: self.text.clone(), count: self.count, at: self.at }
    }
}

fn named(path: &str, why: &str) -> Value {
    json!({ "path": path, "why": why })
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
