//! watchers: ours, lsyncd and the script that half the world runs, each keeping a module like a source.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use driftless_tests::agent::Running;
use driftless_tests::wait::patience;
use rustix::process::Pid;

use crate::measure::{self, cpu_ticks, descendants};
use crate::programs::{Fleet, Kept, Route, installed};
use crate::rows::Program;

/// Between two looks for a file on the receiver.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// A watcher that uses no processor for this long has nothing left to do.
const QUIET: Duration = Duration::from_millis(200);
/// A probe that has not arrived in this time was written before the watch began.
const PROBE: Duration = Duration::from_secs(3);

/// A program that watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watcher {
    /// `driftless watch`.
    Ours,
    /// lsyncd with this delay, in seconds.
    Lsyncd(u8),
    /// `inotifywait | while read; do rsync`.
    Script,
}

impl Watcher {
    /// As the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "driftless",
            Self::Lsyncd(0) => "lsyncd delay 0",
            Self::Lsyncd(_) => "lsyncd delay 1",
            Self::Script => "script",
        }
    }

    /// The program of a peer that is missing here.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let needs: &[&str] = match self {
            Self::Ours => &[],
            Self::Lsyncd(_) => &["lsyncd", "rsync"],
            Self::Script => &["inotifywait", "rsync", "bash"],
        };
        needs.iter().copied().find(|program| installed(program).is_none())
    }

    fn program(self) -> Program {
        if self == Self::Ours { Program::Ours } else { Program::Daemon }
    }
}

/// A watcher at work.
pub(crate) struct Watch {
    /// Its module on the server.
    pub(crate) module: PathBuf,
    program: Program,
    process: Process,
}

enum Process {
    Ours(Running),
    Peer(Kept),
}

impl Watch {
    /// Fills the module, starts the watcher, and returns once what is written now arrives.
    ///
    /// # Panics
    /// When nothing arrives.
    pub(crate) fn start(watcher: Watcher, fleet: &Fleet, source: &Path) -> Self {
        let program = watcher.program();
        let push = fleet.push(program, Route::Direct, "-a --delete", source);
        measure::run(&push, &fleet.servers(program));
        let watch = Self::again(watcher, fleet, source);
        let end = Instant::now() + patience();
        for count in 0.. {
            let name = format!("probe-{count}");
            fs::write(source.join(&name), "x").expect("write");
            let arrived = watch.arrives(Path::new(&name), PROBE);
            watch.quiet();
            fs::remove_file(source.join(&name)).expect("delete");
            // The first may have come with the comparison at the start.
            if arrived && count > 0 {
                break;
            }
            assert!(Instant::now() < end, "{} does not come to watch", watcher.name());
        }
        watch.quiet();
        watch
    }

    /// Starts the watcher, of a source that its module had before, and returns at once.
    pub(crate) fn again(watcher: Watcher, fleet: &Fleet, source: &Path) -> Self {
        let program = watcher.program();
        let process = match watcher {
            Watcher::Ours => Process::Ours(fleet.watch(source)),
            Watcher::Lsyncd(delay) => Process::Peer(lsyncd(fleet, source, delay)),
            Watcher::Script => Process::Peer(script(fleet, source)),
        };
        Self { module: fleet.module(program), program, process }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        match &self.process {
            Process::Ours(running) => running.pid(),
            Process::Peer(kept) => kept.pid(),
        }
    }

    /// Whether a file stands in the module with content, at the latest after this time.
    pub(crate) fn arrives(&self, path: &Path, within: Duration) -> bool {
        let end = Instant::now() + within;
        let path = self.module.join(path);
        loop {
            if fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Waits until it has nothing left to do, or for as long as patience lasts.
    pub(crate) fn quiet(&self) {
        let busy = || cpu_ticks(&descendants(&[self.pid()]));
        let end = Instant::now() + patience();
        let mut before = busy();
        while Instant::now() < end {
            sleep(QUIET);
            let now = busy();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Bytes its wire has carried.
    pub(crate) fn carried(&self, fleet: &Fleet) -> u64 {
        fleet.carried(self.program)
    }
}

fn lsyncd(fleet: &Fleet, source: &Path, delay: u8) -> Kept {
    let dir = fleet.dir("lsyncd");
    let config = dir.join(format!("delay-{delay}.lua"));
    let text = format!(
        "settings {{ nodaemon = true, logfile = {:?} }}\n\
         sync {{ default.rsync, source = {source:?}, target = {:?}, delay = {delay}, rsync = {{ archive = true }} }}\n",
        dir.join("log"),
        fleet.url(Program::Daemon, Route::Wired),
    );
    fs::write(&config, text).expect("write");
    Kept::start(Command::new("lsyncd").arg(config).process_group(0), &dir.join("out"))
}

/// As the tutorials have it, word for word but for the paths.
fn script(fleet: &Fleet, source: &Path) -> Kept {
    const LOOP: &str = "inotifywait -mrq -e modify,delete,create,attrib,move \"$1\" | \
                        while read line; do rsync -a --delete \"$1/\" \"$2\"; done";
    let mut command = Command::new("bash");
    command.args(["-c", LOOP, "script"]).arg(source).arg(fleet.url(Program::Daemon, Route::Wired));
    Kept::start(command.process_group(0), &fleet.dir("script").join("out"))
}
