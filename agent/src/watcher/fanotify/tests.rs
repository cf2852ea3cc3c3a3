//! Claims about the fanotify engine, against the kernel itself. They need root, and a file system that can be
//! watched as a whole; elsewhere they are skipped and say so.
#![allow(clippy::disallowed_methods, reason = "the tests make the changes that are to be seen")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard};

use driftless_proto::disk::Style;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use super::*;
use crate::watcher::report::nobody;
use crate::watcher::{Running, Why};

/// Nothing here takes nearly as long, on however busy a machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a test can do to the thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Hooks {
    gate: Arc<Mutex<()>>,
    parked: Arc<AtomicBool>,
    overflows: Arc<AtomicUsize>,
}

impl Hooks {
    /// Stops here while the test holds the gate.
    pub(super) fn pause(&self) {
        self.parked.store(true, Ordering::SeqCst);
        let _gate = self.gate.lock();
        self.parked.store(false, Ordering::SeqCst);
    }

    pub(super) fn count_overflow(&self) {
        self.overflows.fetch_add(1, Ordering::Relaxed);
    }
}

/// A watched directory `tree` and, beside it on the same file system, a place that is not watched.
struct World {
    home: TempDir,
    hooks: Hooks,
    heard: Receiver<Vec<Signal>>,
    signals: Vec<Signal>,
    markers: usize,
    _engine: Running,
}

impl World {
    /// `None` where there is no fanotify for us.
    fn with(excludes: &[&str], prepare: impl FnOnce(&Path)) -> Option<Self> {
        let home = tempfile::tempdir().expect("tempdir");
        let tree = home.path().join("tree");
        fs::create_dir(&tree).expect("tree");
        prepare(&tree);
        let mut rules = Rules::default();
        excludes.iter().for_each(|rule| rules.exclude(rule.as_bytes()).expect("rule"));
        let root = Root::open(&tree, Style::default()).expect("root");
        let (tell, heard) = channel();
        let report: Report = Box::new(move |signals| drop(tell.send(signals)));
        let engine = match FanotifyEngine::new(root, Arc::new(rules), report) {
            Ok(engine) => engine,
            Err(error) if rustix::process::geteuid().is_root() => panic!("root, and yet: {error}"),
            Err(error) => {
                eprintln!("skipped: {error}");
                return None;
            }
        };
        let hooks = engine.hooks.clone();
        let _engine = Running::start(Box::new(engine), nobody()).expect("thread");
        Some(Self { home, hooks, heard, signals: Vec::new(), markers: 0, _engine })
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join("tree").join(path)
    }

    fn outside(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// Holds the thread still, before it reads anything that happens from now on.
    fn pause(&self) -> MutexGuard<'_, ()> {
        let held = self.hooks.gate.lock().expect("gate");
        let deadline = Instant::now() + DEADLINE;
        while !self.hooks.parked.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "the thread does not stop");
            // Wakes it.
            fs::write(self.outside("poke"), "").expect("poke");
            std::thread::yield_now();
        }
        held
    }

    fn until(&mut self, what: &str, mut heard: impl FnMut(&[Signal]) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !heard(&self.signals) {
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(signals) => self.signals.extend(signals),
                Err(_) => panic!("never heard: {what}; heard: {:#?}", self.signals),
            }
        }
    }

    /// Everything told of what happens from now on.
    fn hear(&mut self, act: impl FnOnce(&Self)) -> Vec<Signal> {
        self.settle();
        self.signals.clear();
        act(self);
        self.settle();
        std::mem::take(&mut self.signals)
    }

    /// Listens until everything that happened so far has been told; forgets the marker.
    fn settle(&mut self) {
        self.markers += 1;
        let marker = format!("marker{}", self.markers);
        fs::write(self.at(&marker), "").expect("marker");
        self.until("the marker", |signals| signals.contains(&dirty(&marker, Why::Closed, false)));
        self.signals.retain(|signal| !concerns(signal, "marker"));
    }
}

fn p(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).expect("path")
}

fn dirty(path: &str, why: Why, dir: bool) -> Signal {
    Signal::Dirty { path: p(path), why, dir }
}

fn renamed(from: &str, to: &str, dir: bool) -> Signal {
    Signal::Renamed { from: p(from), to: p(to), dir }
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

fn exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("exchange");
}

#[test]
fn a_write_a_removal_and_a_chmod_are_told_as_what_they_are() {
    let Some(mut world) = World::with(&["*.tmp"], |tree| fs::create_dir(tree.join("d")).expect("d")) else {
        return;
    };
    let signals = world.hear(|world| {
        fs::write(world.at("d/f"), "new").expect("f");
        fs::write(world.at("d/x.tmp"), "new").expect("f");
        fs::write(world.outside("not ours"), "new").expect("f");
    });
    assert!(signals.contains(&dirty("d/f", Why::Created, false)), "{signals:?}");
    assert!(signals.contains(&dirty("d/f", Why::Closed, false)), "{signals:?}");
    assert!(signals.iter().all(|signal| concerns(signal, "d/f")), "{signals:?}");
    let signals = world.hear(|world| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(world.at("d"), mode).expect("chmod");
        fs::remove_file(world.at("d/f")).expect("rm");
    });
    assert!(signals.contains(&dirty("d", Why::Described, true)), "{signals:?}");
    assert!(signals.contains(&dirty("d/f", Why::Gone, false)), "{signals:?}");
}

#[test]
fn our_own_reading_tells_nothing() {
    let Some(mut world) = World::with(&[], |tree| fs::create_dir(tree.join("d")).expect("d")) else { return };
    let signals = world.hear(|world| {
        fs::read_dir(world.at("d")).expect("list").count();
    });
    assert_eq!(signals, []);
}

#[test]
fn a_file_in_directories_made_a_moment_ago_is_told_without_a_look() {
    let Some(mut world) = World::with(&[], |_| {}) else { return };
    let signals = world.hear(|world| {
        for i in 0..300 {
            fs::create_dir_all(world.at(&format!("{i}/a/b/c"))).expect("mkdir -p");
            fs::write(world.at(&format!("{i}/a/b/c/f")), "x").expect("write");
        }
    });
    assert!((0..300).all(|i| signals.contains(&dirty(&format!("{i}/a/b/c/f"), Why::Closed, false))));
    assert!(!signals.iter().any(|signal| matches!(signal, Signal::Rescan(_))), "{signals:?}");
}

#[test]
fn a_renamed_directory_is_one_rename_and_goes_on_under_its_new_name() {
    let prepare = |tree: &Path| fs::create_dir_all(tree.join("a/x/y")).expect("a");
    let Some(mut world) = World::with(&[], prepare) else { return };
    let signals = world.hear(|world| {
        fs::rename(world.at("a"), world.at("b")).expect("rename");
        fs::write(world.at("b/x/y/f"), "x").expect("f");
    });
    assert!(signals.contains(&renamed("a", "b", true)), "{signals:?}");
    assert!(covers(&signals, "b/x/y/f"), "{signals:?}");
    assert!(!signals.iter().any(|signal| matches!(signal, Signal::Rescan(_))), "{signals:?}");
}

#[test]
fn an_exchange_of_directories_is_two_renames() {
    let prepare = |tree: &Path| {
        ["a/in_a", "b/in_b"].iter().for_each(|dir| fs::create_dir_all(tree.join(dir)).expect("dir"));
    };
    let Some(mut world) = World::with(&[], prepare) else { return };
    let signals = world.hear(|world| {
        exchange(&world.at("a"), &world.at("b"));
        fs::write(world.at("b/in_a/f"), "").expect("f");
    });
    assert!(signals.contains(&renamed("a", "b", true)), "{signals:?}");
    assert!(signals.contains(&renamed("b", "a", true)), "{signals:?}");
    assert!(covers(&signals, "b/in_a/f"), "{signals:?}");
    assert!(!signals.iter().any(|signal| matches!(signal, Signal::Rescan(_))), "{signals:?}");
}

#[test]
fn renames_that_the_queue_tells_only_once_are_found_out() {
    let prepare = |tree: &Path| fs::create_dir_all(tree.join("a/d")).expect("a");
    let Some(mut world) = World::with(&[], prepare) else { return };
    world.settle();
    {
        let held = world.pause();
        // All that lead the same way are alike, and wait in the queue.
        for (from, to) in [("a", "b"), ("b", "a")].into_iter().cycle().take(5) {
            fs::rename(world.at(from), world.at(to)).expect("rename");
        }
        drop(held);
    }
    world.settle();
    let signals = world.hear(|world| fs::write(world.at("b/d/f"), "").expect("f"));
    assert!(signals.contains(&dirty("b/d/f", Why::Closed, false)), "{signals:?}");
}

#[test]
fn what_moves_out_is_no_longer_ours_and_what_moves_in_is() {
    let prepare = |tree: &Path| fs::create_dir_all(tree.join("a/d/e")).expect("a");
    let Some(mut world) = World::with(&[], prepare) else { return };
    let signals = world.hear(|world| {
        fs::rename(world.at("a"), world.outside("a")).expect("move out");
        fs::write(world.outside("a/d/f"), "x").expect("f");
    });
    assert!(signals.contains(&dirty("a", Why::Gone, true)), "{signals:?}");
    assert!(!signals.iter().any(|signal| concerns(signal, "a/")), "{signals:?}");
    fs::create_dir(world.outside("a/d/e/new")).expect("mkdir");
    fs::rename(world.outside("a"), world.at("b")).expect("move in");
    world.until("the comparison", |signals| signals.contains(&Signal::Rescan(p("b"))));
    let signals = world.hear(|world| fs::write(world.at("b/d/e/new/f"), "").expect("f"));
    assert!(signals.contains(&dirty("b/d/e/new/f", Why::Closed, false)), "{signals:?}");
}

#[test]
fn an_excluded_directory_is_not_told_of_until_it_is_renamed_out_of_the_rules() {
    let prepare = |tree: &Path| fs::create_dir_all(tree.join("node_modules/a")).expect("dir");
    let Some(mut world) = World::with(&["node_modules", "/top/deep"], prepare) else { return };
    let signals = world.hear(|world| fs::write(world.at("node_modules/a/f"), "").expect("f"));
    assert_eq!(signals, []);
    fs::rename(world.at("node_modules"), world.at("top")).expect("rename");
    world.until("the comparison", |signals| signals.contains(&Signal::Rescan(p("top"))));
    fs::rename(world.at("top/a"), world.at("top/deep")).expect("rename");
    world.until("the departure", |signals| signals.contains(&dirty("top/a", Why::Gone, true)));
    let signals = world.hear(|world| fs::write(world.at("top/deep/f"), "").expect("f"));
    assert_eq!(signals, []);
    fs::rename(world.at("top"), world.at("other")).expect("rename");
    world.until("the comparison", |signals| signals.contains(&Signal::Rescan(p("other"))));
    let signals = world.hear(|world| fs::write(world.at("other/deep/f"), "").expect("f"));
    assert!(signals.contains(&dirty("other/deep/f", Why::Closed, false)), "{signals:?}");
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
        match random(8) {
            0 | 1 => drop(fs::create_dir_all(&one)),
            2 | 3 => drop(fs::rename(&one, &other)),
            4 => drop(renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE)),
            5 => drop(fs::remove_dir_all(&one)),
            6 => drop(fs::rename(&one, &outside)),
            _ => drop(fs::rename(&outside, &one)),
        }
    }
}

#[test]
fn whatever_happened_every_directory_ends_up_known_under_its_name() {
    for seed in 0..8 {
        let Some(mut world) = World::with(&[], |_| {}) else { return };
        let home = &world.home.path().to_owned();
        std::thread::scope(|scope| {
            (0..4).for_each(|thread| drop(scope.spawn(move || disturb(home, seed * 4 + thread))));
        });
        let mut want = BTreeSet::new();
        directories(&world.at(""), "", &mut want);
        for dir in &want {
            let file = format!("{dir}/file");
            let signals = world.hear(|world| fs::write(world.at(&file), "").expect("f"));
            let told = signals.contains(&dirty(&file, Why::Closed, false));
            assert!(told, "seed {seed}: {file}: {signals:?}");
        }
    }
}

#[test]
fn an_overflow_is_told_once_everything_is_known_again() {
    let limit = "/proc/sys/fs/fanotify/max_queued_events";
    let Some(mut world) = World::with(&[], |_| {}) else { return };
    let queue: usize = fs::read_to_string(limit).expect("limit").trim().parse().expect("number");
    {
        let held = world.pause();
        for i in 0..=queue {
            fs::write(world.at(&format!("f{i}")), "").expect("f");
        }
        fs::create_dir_all(world.at("made/in/the/gap")).expect("dir");
        drop(held);
    }
    world.until("the loss", |signals| signals.contains(&Signal::Lost));
    assert!(world.hooks.overflows.load(Ordering::Relaxed) > 0);
    let signals = world.hear(|world| fs::write(world.at("made/in/the/gap/f"), "").expect("f"));
    assert!(covers(&signals, "made/in/the/gap/f"), "{signals:?}");
}

#[test]
fn a_root_that_goes_away_is_told_and_nothing_after_it() {
    let gone = |signals: &[Signal]| matches!(signals.last(), Some(Signal::RootGone(_)));
    let Some(mut removed) = World::with(&[], |tree| fs::create_dir(tree.join("d")).expect("d")) else {
        return;
    };
    fs::remove_dir_all(removed.at("")).expect("rm");
    removed.until("the removal", gone);
    let Some(mut moved) = World::with(&[], |_| {}) else { return };
    fs::rename(moved.at(""), moved.outside("elsewhere")).expect("move");
    moved.until("the move", gone);
    fs::write(moved.outside("elsewhere/f"), "").expect("f");
    assert!(moved.heard.recv_timeout(DEADLINE).is_err(), "the thread has ended");
}
