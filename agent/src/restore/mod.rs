//! restore: what was lost comes back, and what comes back is held against what was acknowledged.
//!
//! * `job`: a job's places; `acked`: what the journals say; `survey`: what the server has now.
//!
//! Before: the sizes and times of what the server lists, or the digests where changed files are to be refused. While it
//! runs: the digest of each file that landed. A pull does the rest.
//!
//! Touches: the destination (by the pull; reads what landed), journals, control sockets, the network.

mod acked;
mod job;
mod survey;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use driftless_proto::disk::{Root, content};
use driftless_proto::model::change::{Action, Change};
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::{Escaped, RelPath};
use driftless_proto::model::problem::Problem;
use driftless_proto::transfer::observer::Observer;
use tokio::runtime::Handle;

use crate::cli::Invocation;
use crate::cli::restore::Restore;
use crate::connect::ConnectError;
use crate::console::Console;
use crate::exit::Exit;
pub(crate) use acked::write as told;
use acked::{Acked, Origin};

/// Files that are held against the journal at once.
const BATCH: usize = 64;

/// Restores to the end, and says everything there is to say.
#[must_use]
pub fn run(restore: &Restore) -> Exit {
    let (invocation, origin) = match &restore.job {
        None => ((*restore.invocation).clone(), None),
        Some(job) => match job::find(job, &restore.invocation) {
            Ok((invocation, origin)) => (invocation, Some(origin)),
            Err((why, exit)) => {
                let console = Console::new(&restore.invocation);
                console.tell(&why, exit);
                return exit;
            }
        },
    };
    crate::run::with(&invocation, |console, handle| {
        let done = try_run(&invocation, origin.as_ref(), restore.refuse_changed, console, handle);
        let exit = done.unwrap_or_else(|error| console.refused(&error));
        console.restore_report();
        exit
    })
}

fn try_run(
    invocation: &Invocation,
    origin: Option<&Origin>,
    refuse: bool,
    console: &Arc<Console>,
    handle: &Handle,
) -> Result<Exit, ConnectError> {
    let mut invocation = invocation.clone();
    let Some((acked, listed)) = survey::look(&invocation, origin, refuse, console, handle)? else {
        if refuse {
            let text =
                "--refuse-changed: no journal of a watch knows what was acknowledged here (--state-dir?)";
            return Err(ConnectError::TrustFile(text.into()));
        }
        let observer = Arc::clone(console) as _;
        return crate::pull::try_run(&invocation, console, handle, observer, &|_| {});
    };
    let changed = survey::changed(&acked, &listed);
    let (mut told, mut refused) = (BTreeSet::new(), Rules::default());
    for (path, how) in changed {
        let means = if how.certain { "is" } else { "may be" };
        let left = if refuse { "; it is left out" } else { "" };
        console.report.problem(&format!(
            "the copy of {path} {means} not what was {}: {}{left}",
            how.acknowledged, how.text
        ));
        if refuse {
            let rule = [b"- /", &*escaped(path.as_bytes())].concat();
            refused.push_wire(&rule).map_err(|error| ConnectError::TrustFile(error.to_string()))?;
        } else if how.certain {
            told.insert(path);
        }
    }
    let leaves_out = !refused.is_empty();
    for rule in invocation.rules.iter() {
        refused.push_wire(rule).map_err(|error| ConnectError::TrustFile(error.to_string()))?;
    }
    invocation.rules = refused;
    let (queue, landed) = channel();
    let watcher = Arc::new(Landing { console: Arc::clone(console), queue: Mutex::new(Some(queue)) });
    let root = OnceLock::new();
    let differ = AtomicU64::new(told.len() as u64);
    let exit = std::thread::scope(|scope| {
        let (acked, root, differ, told) = (&acked, &root, &differ, &mut told);
        scope.spawn(move || check(&landed, acked, root, console, (told, differ)));
        let observer = Arc::clone(&watcher) as _;
        // In a dry run nothing lands.
        let lands = !invocation.options.dry_run;
        let begun = |landing: &Root| drop(lands.then(|| root.set(landing.clone())));
        let exit = crate::pull::try_run(&invocation, console, handle, observer, &begun);
        *watcher.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        exit
    })?;
    Ok(match exit {
        Exit::Ok if leaves_out => Exit::Partial,
        Exit::Ok if differ.load(Ordering::Relaxed) > 0 => Exit::Differs,
        exit => exit,
    })
}

/// A path as a pattern that matches nothing else.
fn escaped(path: &[u8]) -> Vec<u8> {
    let wild = path.iter().any(|b| b"*?[".contains(b));
    // A backslash means itself where nothing is wild.
    path.iter().flat_map(|&b| if wild && b"*?[\\".contains(&b) { vec![b'\\', b] } else { vec![b] }).collect()
}

/// Holds what has landed against what was acknowledged, as it lands.
fn check(
    landed: &Receiver<RelPath>,
    acked: &Acked,
    root: &OnceLock<Root>,
    console: &Console,
    (told, differ): (&mut BTreeSet<RelPath>, &AtomicU64),
) {
    while let Ok(first) = landed.recv() {
        let mut paths = vec![first];
        while paths.len() < BATCH {
            let Ok(next) = landed.try_recv() else { break };
            paths.push(next);
        }
        let Some(root) = root.get() else { continue };
        for (path, row) in acked.of(&paths) {
            let ours = root.parent_of(&path).and_then(|dir| content::digest(&dir, path.name()));
            // One that was changed or removed since is the operator's.
            let Ok((ours, found)) = ours else { continue };
            if ours != row.digest && told.insert(path.clone()) {
                differ.fetch_add(1, Ordering::Relaxed);
                console.report.problem(&format!(
                    "the copy of {path} is not what was {}: another content, of {} bytes where {} were",
                    row.acknowledged(),
                    found.entry.size(),
                    row.size
                ));
            }
        }
    }
}

/// Tells the console everything, and the check of what landed.
struct Landing {
    console: Arc<Console>,
    queue: Mutex<Option<Sender<RelPath>>>,
}

impl Observer for Landing {
    fn file_started(&self, path: &RelPath, size: u64) {
        self.console.file_started(path, size);
    }

    fn file_advanced(&self, bytes: u64) {
        self.console.file_advanced(bytes);
    }

    fn file_done(&self) {
        self.console.file_done();
    }

    fn changed(&self, change: &Change) {
        self.console.changed(change);
        let content = match change.action {
            Action::Created => true,
            Action::Updated(difference) => difference.content || difference.kind,
            Action::Removed | Action::Renamed => false,
        };
        if content && !change.dir && change.target.is_none() {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            // The check ends with us.
            let _ended = queue.as_ref().map(|queue| queue.send(change.path.clone()));
        }
    }

    fn left_out(&self, paths: &[RelPath], more: u64) {
        self.console.left_out(paths, more);
    }

    fn skipped_directory(&self, path: &RelPath) {
        self.console.skipped_directory(path);
    }

    fn problem(&self, problem: &Problem) {
        self.console.problem(problem);
    }

    fn kept_aside(&self, path: &RelPath, kept: &RelPath) {
        self.console.kept_aside(path, kept);
    }
}

/// A path of this host, for messages.
fn shown(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    Escaped(path.as_os_str().as_bytes()).to_string()
}
