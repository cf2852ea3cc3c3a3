//! Claims about the inotify engine, against the kernel itself. Nothing sleeps for luck: each waits for a signal, with a
//! deadline, and a final marker file shows that everything before it has been told.
#![allow(clippy::disallowed_methods, reason = "the tests make the changes that are to be seen")]

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use driftless_proto::disk::Style;
use driftless_proto::model::path::RelPath;
use tempfile::TempDir;

use super::*;
use crate::watcher::report::nobody;
use crate::watcher::{Running, Why};

/// Nothing here takes nearly as long, on however busy a machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a test can do to the thread.
#[derive(Clone, Debug)]
pub(super) struct Hooks {
    /// Bytes that one read may bring.
    pub(super) read_len: Arc<AtomicUsize>,
    gate: Arc<Mutex<()>>,
    overflows: Arc<AtomicUsize>,
    no_more_watches: Arc<AtomicBool>,
    fd: Arc<AtomicI32>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            read_len: Arc::new(AtomicUsize::new(usize::MAX)),
            gate: Arc::default(),
            overflows: Arc::default(),
            no_more_watches: Arc::default(),
            fd: Arc::default(),
        }
    }
}

impl Hooks {
    /// Stops here while the test holds the gate.
    pub(super) fn pause(&self, fd: RawFd) {
        self.fd.store(fd, Ordering::Relaxed);
        drop(self.gate.lock());
    }

    pub(super) fn count_overflow(&self) {
        self.overflows.fetch_add(1, Ordering::Relaxed);
    }

    /// Fails as the kernel does when no watch is left, while the test says so.
    pub(super) fn check_limit(&self) -> io::Result<()> {
        if self.no_more_watches.load(Ordering::Relaxed) {
            return Err(kernel::used_up(&io::Error::other("no space"), "watches"));
        }
        Ok(())
    }
}

/// A watched directory `tree` and, beside it, a place that is not watched.
struct World {
    home: TempDir,
    hooks: Hooks,
    heard: Receiver<Vec<Signal>>,
    /// Everything heard so far.
    signals: Vec<Signal>,
    markers: usize,
    watcher: Running,
}

impl World {
    fn new() -> Self {
        Self::with(&[], |_| {})
    }

    fn with(excludes: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        Self::reading(usize::MAX, excludes, prepare)
    }

    /// A world whose thread reads so many bytes of events at a time.
    fn reading(read_len: usize, excludes: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let home = tempfile::tempdir().expect("tempdir");
        let tree = home.path().join("tree");
        fs::create_dir(&tree).expect("tree");
        prepare(&tree);
        let mut rules = Rules::default();
        excludes.iter().for_each(|rule| rules.exclude(rule.as_bytes()).expect("rule"));
        let root = Root::open(&tree, Style::default()).expect("root");
        let (tell, heard) = channel();
        let report = Box::new(move |signals| drop(tell.send(signals)));
        let engine = InotifyEngine::new(root, Arc::new(rules), report).expect("engine");
        let hooks = engine.hooks.clone();
        hooks.read_len.store(read_len, Ordering::Relaxed);
        let watcher = Running::start(Box::new(engine), nobody()).expect("watcher");
        Self { home, hooks, heard, signals: Vec::new(), markers: 0, watcher }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join("tree").join(path)
    }

    fn outside(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// Holds the thread still.
    fn pause(&self) -> MutexGuard<'_, ()> {
        self.hooks.gate.lock().expect("gate")
    }

    /// Listens until something is heard.
    fn until(&mut self, what: &str, mut heard: impl FnMut(&[Signal]) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !heard(&self.signals) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok(signals) => self.signals.extend(signals),
                Err(_) => panic!("never heard: {what}; heard: {:#?}", self.signals),
            }
        }
    }

    /// Listens until everything that happened so far has been told; forgets the marker.
    fn settle(&mut self) {
        self.markers += 1;
        let marker = format!("marker{}", self.markers);
        fs::write(self.at(&marker), "").expect("marker");
        let marked = |signals: &[Signal]| signals.iter().any(|s| is_dirty(s, &marker, Why::Closed));
        self.until("the marker", marked);
        self.signals.retain(|signal| !concerns(signal, "marker"));
    }

    /// Everything heard from now on until all has been told.
    fn hear(&mut self, act: impl FnOnce(&Self)) -> Vec<Signal> {
        self.settle();
        self.signals.clear();
        act(self);
        self.settle();
        std::mem::take(&mut self.signals)
    }

    /// Watches that the kernel counts for this watcher, that of the directory above the root aside.
    fn watches(&self) -> usize {
        let fd = self.hooks.fd.load(Ordering::Relaxed);
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("fdinfo");
        info.lines().filter(|line| line.starts_with("inotify wd:")).count() - 1
    }

    fn until_watches(&mut self, want: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.watches() != want {
            assert!(Instant::now() < deadline, "{} watches, not {want}", self.watches());
            self.settle();
        }
    }
}

fn p(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).expect("path")
}

fn is_dirty(signal: &Signal, path: &str, why: Why) -> bool {
    matches!(signal, Signal::Dirty { path: at, why: w, .. } if *at == p(path) && *w == why)
}

/// Whether a signal names a path that begins like this.
fn concerns(signal: &Signal, start: &str) -> bool {
    let starts = |path: &RelPath| path.as_bytes().starts_with(start.as_bytes());
    match signal {
        Signal::Dirty { path, .. } | Signal::Rescan(path) | Signal::Unwatched { path, .. } => starts(path),
        Signal::Watched(path) => starts(path),
        Signal::Renamed { from, to, .. } => starts(from) || starts(to),
        Signal::Barrier(_) | Signal::Lost | Signal::RootGone(_) => false,
    }
}

/// Whether somebody will look at this path.
fn covers(signals: &[Signal], path: &str) -> bool {
    signals.iter().any(|signal| match signal {
        Signal::Dirty { path: at, .. } => *at == p(path),
        Signal::Rescan(at) => p(path).is_within(at),
        Signal::Lost => true,
        _ => false,
    })
}

fn renamed(from: &str, to: &str, dir: bool) -> Signal {
    Signal::Renamed { from: p(from), to: p(to), dir }
}

#[test]
fn a_file_in_directories_made_a_moment_ago_is_told() {
    let mut world = World::new();
    let want: Vec<String> = (0..1000).map(|i| format!("t{i}/a/b/c/f")).collect();
    for path in &want {
        fs::create_dir_all(world.at(path).parent().expect("parent")).expect("mkdir -p");
        fs::write(world.at(path), "x").expect("write");
    }
    let mut owed: HashSet<RelPath> = want.iter().map(|path| p(path)).collect();
    let mut read = 0;
    world.until("every file", |signals| {
        for signal in &signals[read..] {
            if let Signal::Dirty { path, .. } = signal {
                owed.remove(path);
            }
        }
        read = signals.len();
        owed.is_empty()
    });
    world.until_watches(1 + 4 * 1000);
}

#[test]
fn a_write_and_a_removal_are_told_as_what_they_are() {
    let mut world = World::with(&[], |tree| fs::write(tree.join("f"), "old").expect("f"));
    let signals = world.hear(|world| fs::write(world.at("f"), "new").expect("f"));
    assert!(signals.iter().any(|s| is_dirty(s, "f", Why::Touched)), "{signals:?}");
    assert!(signals.iter().any(|s| is_dirty(s, "f", Why::Closed)), "{signals:?}");
    let signals = world.hear(|world| fs::remove_file(world.at("f")).expect("f"));
    assert!(signals.iter().any(|s| is_dirty(s, "f", Why::Gone)), "{signals:?}");
}

#[test]
fn our_own_reading_tells_nothing() {
    let mut world = World::with(&[], |tree| {
        fs::create_dir(tree.join("d")).expect("d");
        fs::write(tree.join("d/f"), "x").expect("f");
    });
    let signals = world.hear(|world| {
        fs::read(world.at("d/f")).expect("read");
        fs::read_dir(world.at("d")).expect("list").count();
    });
    assert_eq!(signals, []);
}

#[test]
fn a_populated_directory_moved_in_is_compared_as_a_whole_and_watched() {
    let mut world = World::new();
    fs::create_dir_all(world.outside("p/d/e")).expect("p");
    fs::rename(world.outside("p"), world.at("p")).expect("move in");
    world.until("the comparison", |signals| signals.contains(&Signal::Rescan(p("p"))));
    assert_eq!(world.watches(), 4);
    let signals = world.hear(|world| fs::write(world.at("p/d/e/f"), "").expect("f"));
    assert!(covers(&signals, "p/d/e/f"));
}

#[test]
fn a_directory_moved_out_is_no_longer_ours() {
    let mut world = World::with(&[], |tree| fs::create_dir_all(tree.join("a/d/e")).expect("a"));
    assert_eq!(world.watches(), 4);
    let mut signals = world.hear(|world| {
        fs::rename(world.at("a"), world.outside("a")).expect("move out");
        fs::write(world.outside("a/d/f"), "x").expect("f");
    });
    world.until("the departure", |signals| signals.iter().any(|s| is_dirty(s, "a", Why::Gone)));
    signals.append(&mut world.signals);
    world.until_watches(1);
    signals.extend(world.hear(|world| fs::write(world.outside("a/d/e/g"), "x").expect("g")));
    assert!(!signals.iter().any(|signal| concerns(signal, "a/")), "{signals:?}");
}

#[test]
fn a_renamed_directory_goes_on_under_its_new_name() {
    let mut world = World::with(&[], |tree| fs::create_dir_all(tree.join("a/x/y")).expect("a"));
    let signals = world.hear(|world| {
        fs::rename(world.at("a"), world.at("b")).expect("rename");
        fs::write(world.at("b/x/y/f"), "x").expect("f");
    });
    assert!(signals.contains(&renamed("a", "b", true)), "{signals:?}");
    assert!(covers(&signals, "b/x/y/f"), "{signals:?}");
    assert!(!signals.iter().any(|s| matches!(s, Signal::Dirty { path, .. } if path.is_within(&p("a")))));
    assert!(
        !signals.iter().any(|s| matches!(s, Signal::Rescan(_))),
        "one rename, nothing to compare: {signals:?}"
    );
    assert_eq!(world.watches(), 4);
}

#[test]
fn renames_from_many_threads_pair_rightly() {
    let mut world = World::with(&[], |tree| {
        (0..8).for_each(|t| fs::create_dir_all(tree.join(format!("t{t}/from"))).expect("t"));
        (0..8).for_each(|t| fs::create_dir_all(tree.join(format!("t{t}/to"))).expect("t"));
    });
    let signals = world.hear(|world| {
        let tree = &world.at("");
        std::thread::scope(|scope| {
            for t in 0..8 {
                scope.spawn(move || {
                    for i in 0..200 {
                        let from = tree.join(format!("t{t}/from/{i}"));
                        fs::write(&from, "").expect("f");
                        fs::rename(from, tree.join(format!("t{}/to/{t}.{i}", (t + 1) % 8))).expect("rename");
                    }
                });
            }
        });
    });
    let pairs: BTreeSet<(String, String)> = signals
        .iter()
        .filter_map(|signal| match signal {
            Signal::Renamed { from, to, dir: false } => Some((from.to_string(), to.to_string())),
            _ => None,
        })
        .collect();
    let want = (0..8).flat_map(|t| {
        (0..200).map(move |i| (format!("t{t}/from/{i}"), format!("t{}/to/{t}.{i}", (t + 1) % 8)))
    });
    assert_eq!(pairs, want.collect());
}

#[test]
fn halves_of_a_rename_that_come_in_different_reads_pair() {
    // Room for one event whose name is this long (`inotify(7)`), not for two.
    let name = |prefix: &str, i: usize| format!("{prefix}-{i}-{}", "x".repeat(200));
    let mut world = World::reading(300, &[], |tree| {
        (0..50).for_each(|i| fs::create_dir(tree.join(name("from", i))).expect("dir"));
    });
    let signals = world.hear(|world| {
        (0..50).for_each(|i| {
            fs::rename(world.at(&name("from", i)), world.at(&name("to", i))).expect("rename");
        });
        fs::write(world.at(&name("to", 49)).join("f"), "").expect("f");
    });
    assert!(
        (0..50).all(|i| signals.contains(&renamed(&name("from", i), &name("to", i), true))),
        "{signals:?}"
    );
    assert!(covers(&signals, &format!("{}/f", name("to", 49))), "{signals:?}");
}

#[test]
fn an_exchange_of_directories_is_two_renames_and_nothing_is_compared() {
    let mut world = World::with(&[], |tree| {
        ["a/in_a", "b/in_b"].iter().for_each(|dir| fs::create_dir_all(tree.join(dir)).expect("dir"));
    });
    let signals = world.hear(|world| {
        let cwd = rustix::fs::CWD;
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(cwd, world.at("a"), cwd, world.at("b"), exchange).expect("exchange");
        fs::write(world.at("b/in_a/f"), "").expect("f");
    });
    assert_eq!(signals[..2], [renamed("a", "b", true), renamed("b", "a", true)]);
    assert!(signals[2..].iter().all(|signal| concerns(signal, "b/in_a/f")), "{signals:?}");
    assert_eq!(world.watches(), 5);
}

#[test]
fn a_chain_and_an_exchange_of_directories_leave_all_watched_where_they_are() {
    let mut world = World::with(&[], |tree| {
        ["a/in_a", "b/in_b"].iter().for_each(|dir| fs::create_dir_all(tree.join(dir)).expect("dir"));
    });
    world.settle();
    {
        let held = world.pause();
        // While nobody looks: what the names meant when an event was queued is long past when it is read.
        let at = |name: &str| world.at(name);
        for (from, to) in [("a", "c"), ("b", "a"), ("c", "b")] {
            fs::rename(at(from), at(to)).expect("rename");
        }
        fs::create_dir_all(at("c/new")).expect("c");
        let cwd = rustix::fs::CWD;
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(cwd, at("a"), cwd, at("b"), exchange).expect("exchange");
        rustix::fs::renameat_with(cwd, at("c"), cwd, at("b"), exchange).expect("exchange");
        drop(held);
    }
    // a: as it was. b: what was made as c. c: what was b.
    world.settle();
    world.until_watches(7);
    for dir in ["a/in_a", "b/new", "c/in_b"] {
        let signals = world.hear(|world| fs::write(world.at(dir).join("f"), "").expect("f"));
        assert!(signals.iter().any(|s| is_dirty(s, &format!("{dir}/f"), Why::Closed)), "{dir}: {signals:?}");
    }
}

/// The directories beneath a path, by name.
fn directories(at: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(at).expect("list") {
        let entry = entry.expect("entry");
        if entry.file_type().expect("type").is_dir() {
            let name = format!("{prefix}{}", entry.file_name().to_str().expect("ASCII"));
            directories(&entry.path(), &format!("{name}/"), found);
            found.insert(name);
        }
    }
}

/// Makes, renames, exchanges and removes directories, and moves them out and in; whatever fails, fails.
fn disturb(home: &Path, mut seed: u64) {
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..400 {
        let mut path = || {
            let names: Vec<&str> = (0..=random(3)).map(|_| ["a", "b", "c"][random(3) as usize]).collect();
            home.join("tree").join(names.join("/"))
        };
        let (one, other) = (path(), path());
        let outside = home.join(format!("outside{}", random(3)));
        let cwd = rustix::fs::CWD;
        match random(8) {
            0 | 1 => drop(fs::create_dir_all(&one)),
            2 | 3 => drop(fs::rename(&one, &other)),
            4 => drop(rustix::fs::renameat_with(cwd, &one, cwd, &other, rustix::fs::RenameFlags::EXCHANGE)),
            5 => drop(fs::remove_dir_all(&one)),
            6 => drop(fs::rename(&one, &outside)),
            _ => drop(fs::rename(&outside, &one)),
        }
    }
}

#[test]
fn whatever_happened_every_directory_ends_up_watched_under_its_name() {
    for seed in 0..8 {
        let mut world = World::new();
        let home = &world.home.path().to_owned();
        std::thread::scope(|scope| {
            (0..4).for_each(|thread| drop(scope.spawn(move || disturb(home, seed * 4 + thread))));
        });
        let mut want = BTreeSet::new();
        directories(&world.at(""), "", &mut want);
        world.until_watches(1 + want.len());
        for dir in &want {
            let file = format!("{dir}/file");
            let signals = world.hear(|world| fs::write(world.at(&file), "").expect("f"));
            assert!(
                signals.iter().any(|s| is_dirty(s, &file, Why::Closed)),
                "seed {seed}: {file}: {signals:?}"
            );
        }
    }
}

#[test]
fn a_directory_removed_and_made_again_stays_watched() {
    let mut world = World::with(&[], |tree| fs::create_dir(tree.join("d")).expect("d"));
    for round in 0..200 {
        fs::remove_dir_all(world.at("d")).expect("rm");
        fs::create_dir(world.at("d")).expect("mkdir");
        if round % 20 == 0 {
            // The late end of the old watch has been read by now.
            world.settle();
            let signals = world.hear(|world| fs::write(world.at("d/f"), "").expect("f"));
            assert!(covers(&signals, "d/f"), "round {round}: {signals:?}");
        }
    }
    world.until_watches(2);
}

#[test]
fn a_removed_directory_that_somebody_holds_open_is_given_up() {
    let mut world = World::with(&[], |tree| fs::create_dir(tree.join("d")).expect("d"));
    let held = fs::File::open(world.at("d")).expect("hold");
    fs::remove_dir(world.at("d")).expect("rmdir");
    world.until_watches(1);
    drop(held);
}

#[test]
fn the_late_end_of_a_watch_does_not_end_its_successor_at_the_same_path() {
    let mut world = World::with(&[], |tree| fs::create_dir(tree.join("d")).expect("d"));
    fs::rename(world.at("d"), world.outside("d")).expect("move out");
    fs::create_dir(world.at("d")).expect("mkdir");
    // The old watch is ended once no second half of the rename has come; the kernel then says so.
    world.until("the departure", |signals| signals.iter().any(|s| is_dirty(s, "d", Why::Gone)));
    world.until_watches(2);
    let signals = world.hear(|world| fs::write(world.at("d/f"), "").expect("f"));
    assert!(covers(&signals, "d/f"), "{signals:?}");
    assert_eq!(world.watches(), 2);
}

#[test]
fn a_symlink_in_place_of_a_directory_is_not_followed() {
    let mut world = World::with(&[], |tree| fs::create_dir_all(tree.join("a/d")).expect("a"));
    fs::create_dir_all(world.outside("target/d")).expect("target");
    let mut signals = Vec::new();
    for _ in 0..50 {
        signals.extend(world.hear(|world| {
            fs::remove_dir_all(world.at("a")).expect("rm");
            std::os::unix::fs::symlink(world.outside("target"), world.at("a")).expect("link");
            fs::write(world.outside("target/d/f"), "x").expect("f");
            fs::remove_file(world.at("a")).expect("unlink");
            fs::create_dir_all(world.at("a/d")).expect("a");
        }));
    }
    assert!(signals.iter().any(|s| is_dirty(s, "a", Why::Created)));
    assert!(!signals.iter().any(|signal| concerns(signal, "a/d/f")));
    world.until_watches(3);
}

#[test]
fn an_overflow_is_told_once_everything_is_watched_again() {
    let queue: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .expect("limit")
        .trim()
        .parse()
        .expect("number");
    let mut world = World::new();
    {
        let held = world.pause();
        for i in 0..queue {
            // Two events each; neighbours differ, so that the kernel merges none.
            fs::write(world.at(&format!("f{i}")), "").expect("f");
        }
        fs::create_dir_all(world.at("made/in/the/gap")).expect("dir");
        drop(held);
    }
    world.until("the loss", |signals| signals.contains(&Signal::Lost));
    assert_eq!(world.hooks.overflows.load(Ordering::Relaxed), 1);
    assert_eq!(world.signals.iter().filter(|signal| **signal == Signal::Lost).count(), 1);
    let signals = world.hear(|world| fs::write(world.at("made/in/the/gap/f"), "").expect("f"));
    assert!(covers(&signals, "made/in/the/gap/f"));
    assert_eq!(world.watches(), 5);
}

#[test]
fn an_excluded_directory_costs_no_watch() {
    let mut world = World::with(&["node_modules", "*.tmp", "/top/deep"], |tree| {
        fs::create_dir_all(tree.join("node_modules/a/b")).expect("dir");
    });
    assert_eq!(world.watches(), 1);
    let signals = world.hear(|world| {
        fs::create_dir_all(world.at("x/node_modules/a/b")).expect("dir");
        fs::write(world.at("x/node_modules/f"), "").expect("f");
        fs::write(world.at("x/f.tmp"), "").expect("f");
    });
    assert_eq!(world.watches(), 2);
    assert!(!signals.iter().any(|signal| concerns(signal, "x/")), "{signals:?}");
    // A name that comes from under a rule is new, and one that goes there is gone.
    let signals = world.hear(|world| fs::rename(world.at("x/f.tmp"), world.at("x/f")).expect("rename"));
    assert!(signals.iter().any(|s| is_dirty(s, "x/f", Why::Closed)), "{signals:?}");
    fs::rename(world.at("x"), world.at("node_modules/x")).expect("rename");
    world.until("the departure", |signals| signals.iter().any(|s| is_dirty(s, "x", Why::Gone)));
    world.until_watches(1);
}

#[test]
fn a_rule_on_paths_is_asked_again_when_a_directory_above_is_renamed() {
    let mut world =
        World::with(&["/top/deep"], |tree| fs::create_dir_all(tree.join("top/deep/er")).expect("dir"));
    assert_eq!(world.watches(), 2);
    fs::rename(world.at("top"), world.at("other")).expect("rename");
    world.until("the comparison", |signals| signals.contains(&Signal::Rescan(p("other"))));
    assert_eq!(world.watches(), 4);
    fs::rename(world.at("other"), world.at("top")).expect("rename");
    world.until_watches(2);
}

#[test]
fn a_root_that_goes_away_is_told_and_nothing_after_it() {
    let gone = |signals: &[Signal]| matches!(signals.last(), Some(Signal::RootGone(_)));
    let mut removed = World::with(&[], |tree| fs::create_dir(tree.join("d")).expect("d"));
    fs::remove_dir_all(removed.at("")).expect("rm");
    removed.until("the removal", gone);
    let mut moved = World::new();
    fs::rename(moved.at(""), moved.outside("elsewhere")).expect("move");
    moved.until("the move", gone);
    fs::write(moved.outside("elsewhere/f"), "").expect("f");
    drop(moved.watcher);
    assert!(moved.heard.try_recv().is_err());
}

#[test]
fn a_directory_that_cannot_be_watched_is_named_with_the_cure() {
    let mut world = World::new();
    world.hooks.no_more_watches.store(true, Ordering::Relaxed);
    fs::create_dir(world.at("d")).expect("d");
    world.until("the directory", |signals| signals.iter().any(|s| matches!(s, Signal::Unwatched { .. })));
    let reason = world.signals.iter().find_map(|signal| match signal {
        Signal::Unwatched { path, reason } if *path == p("d") => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.expect("d").contains("sysctl fs.inotify.max_user_watches="));
    let signals = world.hear(|world| fs::write(world.at("f"), "").expect("f"));
    assert!(covers(&signals, "f"), "the rest stays live");
    // The limit is raised.
    fs::create_dir(world.at("d/e")).expect("e");
    world.hooks.no_more_watches.store(false, Ordering::Relaxed);
    world.until("the comparison", |signals| signals.contains(&Signal::Rescan(p("d"))));
    let signals = world.hear(|world| fs::write(world.at("d/e/f"), "").expect("f"));
    assert!(signals.iter().any(|s| is_dirty(s, "d/e/f", Why::Closed)), "{signals:?}");
}

#[test]
fn names_of_our_own_temporary_files_are_not_told() {
    let mut world = World::new();
    let signals = world.hear(|world| fs::write(world.at(".~dl0123456789abcdef"), "").expect("f"));
    assert_eq!(signals, []);
}

#[test]
fn dropping_the_watcher_stops_it() {
    let world = World::new();
    drop(world.watcher);
    // The thread held the only sender.
    assert!(
        world
            .heard
            .recv_timeout(DEADLINE)
            .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
}
