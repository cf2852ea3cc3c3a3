//! verify: is the copy one? Both ends make digests of what they hold, contents included, in the terms of a push; what
//! differs is named path by path, and only sent if that was asked for.
//!
//! * `pass`: one comparison; `beside`: what a running watch of the same two ends has to say; `tell`: the answer.
//!
//! A difference is believed only if it is there twice. Beside a running watch what changed in the source since the oldest
//! change that is not durable yet is on its way, not drift.
//!
//! Touches: the source (read), the network, the control sockets of watches. Never: the journal; the copy only with
//! `--repair`, and beside a watch only by its hands.

mod beside;
mod pass;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driftless_proto::disk::age;
use driftless_proto::model::options::Difference;
use driftless_proto::model::path::RelPath;
use tokio::runtime::Handle;

use crate::cli::Invocation;
use crate::cli::operand::Place;
use crate::cli::verify::{Subject, Verify};
use crate::connect::ConnectError;
use crate::console::Console;
use crate::control::{self, operands};
use crate::exit::Exit;
use crate::state::StateDir;
use beside::Beside;
use pass::{Ends, Pass, Scope};
use tell::Told;

/// How a path of the copy differs from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drift {
    /// The copy lacks it.
    Missing,
    /// Only the copy has it.
    Extra,
    /// In this.
    Differs(Difference),
}

/// What differs, by its path in the transfer.
type Drifts = BTreeMap<RelPath, Drift>;

/// Verifies to the end, and says everything there is to say.
#[must_use]
pub fn run(verify: &Verify) -> Exit {
    crate::local::umask();
    crate::run::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let (runtime, subjects) = match (runtime, subjects(verify)) {
        (Ok(runtime), Ok(subjects)) => (runtime, subjects),
        (Err(error), _) => return tell::failed(&format!("start: {error}"), Exit::File),
        (_, Err((why, exit))) => return tell::failed(&why, exit),
    };
    let handle = runtime.handle().clone();
    let mut told = Vec::new();
    for (invocation, sub) in subjects {
        let console = Arc::new(Console::new(&invocation));
        told.push(match one(verify, &invocation, &sub, &console, &handle) {
            Ok(one) => one,
            Err(error) => Told::failed(&invocation, console.refused(&error)),
        });
    }
    runtime.shutdown_background();
    tell::tell(&told, verify.json)
}

/// The copies to look at, and at which path in each, relative to its source.
fn subjects(verify: &Verify) -> Result<Vec<(Invocation, RelPath)>, (String, Exit)> {
    let path = match &verify.what {
        Subject::Pair(invocation) => return Ok(vec![((**invocation).clone(), RelPath::root())]),
        Subject::Watches(path) => path,
    };
    let path =
        path.as_deref().map(std::path::absolute).transpose().map_err(|e| (e.to_string(), Exit::File))?;
    let state = StateDir::open(verify.state_dir.as_deref()).map_err(|e| (e.to_string(), Exit::File))?;
    let asked =
        control::ask_all(state.path(), "operands").map_err(|error| (error.to_string(), Exit::File))?;
    let mut found = Vec::new();
    for mut invocation in asked.iter().filter_map(operands::read) {
        let Some(Place::Local(source)) = invocation.sources.first() else { continue };
        let Some(sub) = beneath(path.as_deref(), &source.path) else { continue };
        invocation.state_dir.clone_from(&verify.state_dir);
        if verify.password_file.is_some() {
            invocation.password_file.clone_from(&verify.password_file);
        }
        found.push((invocation, sub));
    }
    if found.is_empty() {
        let of = path.map_or(String::new(), |path| format!(" of {}", path.display()));
        let text = format!("no watch{of} is running with the state folder {}", state.path().display());
        return Err((text, Exit::Socket));
    }
    Ok(found)
}

/// Where a path lies beneath a source; its root for no path.
fn beneath(path: Option<&Path>, source: &Path) -> Option<RelPath> {
    use std::os::unix::ffi::OsStrExt as _;
    let Some(path) = path else { return Some(RelPath::root()) };
    let below = path.strip_prefix(source).ok()?.as_os_str().as_bytes();
    if below.is_empty() { Some(RelPath::root()) } else { RelPath::parse(below).ok() }
}

/// One copy.
fn one(
    verify: &Verify,
    invocation: &Invocation,
    sub: &RelPath,
    console: &Arc<Console>,
    handle: &Handle,
) -> Result<Told, ConnectError> {
    let began = Instant::now();
    let ends = Ends::open(invocation, verify.ignore_extra, console, handle)?;
    let beside = Beside::find(invocation)?;
    // A watch that removes nothing leaves what only the copy has there on purpose.
    let ends = if beside.as_ref().is_some_and(|watch| !watch.deletes) { ends.ignoring_extra() } else { ends };
    if let Some(beside) = &beside {
        beside.settle(Duration::from_secs(1));
    }
    let first = ends.pass(&Scope::Below(sub.clone()))?;
    ends.say(&first.problems);
    let mut told = Told::new(invocation, &first);
    let mut drift = believed(&ends, beside.as_ref(), &first, verify.wait, &mut told)?;
    if verify.repair && !drift.is_empty() {
        drift = repaired(verify, &ends, beside.as_ref(), &drift, &mut told)?;
    }
    told.drift = drift;
    told.took = began.elapsed();
    Ok(told)
}

/// Sends what differs, beside a watch by its hands, and looks again; what still differs.
fn repaired(
    verify: &Verify,
    ends: &Ends<'_>,
    beside: Option<&Beside>,
    drift: &Drifts,
    told: &mut Told,
) -> Result<Drifts, ConnectError> {
    let waited = std::mem::take(&mut told.pending).len();
    let mut left = drift.clone();
    match beside {
        Some(watch) => {
            if verify.delete && !watch.deletes {
                told.note("the watch runs without --delete: nothing is removed");
            }
            let handed = repairable(drift, verify.delete && watch.deletes);
            watch.distrust(&ends.below_source(&handed));
            let settled = watch.settle(verify.wait);
            let again = ends.pass(&Scope::of(drift))?;
            left = believed(ends, beside, &again, verify.wait, told)?;
            if !settled {
                let (late, now) = left.into_iter().partition(|(path, _)| handed.contains(path));
                told.pending.extend::<Drifts>(late);
                left = now;
            }
        }
        None => {
            let problems = ends.repair(&repairable(drift, verify.delete), verify.delete)?;
            ends.say(&problems);
            told.take_problems(&problems);
            left = ends.pass(&Scope::of(&left))?.drift;
        }
    }
    told.repaired = (drift.len() + waited).saturating_sub(left.len() + told.pending.len());
    Ok(left)
}

/// What of this is drift: it is there again at a second look. What a running watch has not brought across yet is put
/// down as pending.
fn believed(
    ends: &Ends<'_>,
    beside: Option<&Beside>,
    first: &Pass,
    wait: Duration,
    told: &mut Told,
) -> Result<Drifts, ConnectError> {
    let until = Instant::now() + wait;
    let mut drift = first.drift.clone();
    told.pending.clear();
    let mut certain = Drifts::new();
    loop {
        if let Some(watch) = beside {
            watch.settle(until.saturating_duration_since(Instant::now()).min(Duration::from_secs(3)));
            let apart = drift.keys().filter(|path| watch.leaves_alone(path, &ends.prefix())).cloned();
            for path in apart.collect::<Vec<_>>() {
                drift.remove(&path);
                told.left_alone += 1;
            }
        }
        if drift.is_empty() {
            return Ok(certain);
        }
        let again = ends.pass(&Scope::of(&drift))?;
        let Some(watch) = beside else { return Ok(again.drift) };
        let Some(late) = watch.late() else {
            // It has not compared anything yet, or just ended: nothing can be said of it.
            told.pending = again.drift;
            return Ok(certain);
        };
        let (young, old) = again.drift.into_iter().partition(|(path, _)| ends.changed_within(path, late));
        certain.extend::<Drifts>(old);
        if Drifts::is_empty(&young) || Instant::now() >= until {
            told.pending = young;
            return Ok(certain);
        }
        drift = young;
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The paths to be sent, parents first, and with `extra` the topmost ones to be removed.
fn repairable(drift: &Drifts, extra: bool) -> BTreeSet<RelPath> {
    let topmost = Scope::topmost(drift);
    drift
        .iter()
        .filter(|(path, drift)| match drift {
            Drift::Extra => extra && topmost.contains(*path),
            _ => true,
        })
        .map(|(path, _)| path.clone())
        .collect()
}

impl Ends<'_> {
    /// Whether what stands at a path of the source changed, or went, within this time.
    fn changed_within(&self, path: &RelPath, time: Duration) -> bool {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            match self.view().found(&path) {
                Ok(found) => return age(found.stat.ctime) <= time,
                // Its going shows in the times of the directory it was in.
                Err(_) => at = path.parent(),
            }
        }
        true
    }
}
