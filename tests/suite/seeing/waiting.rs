//! `driftless wait` returns once everything that was written before is durable, and not before.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use driftless_tests::World;
use driftless_tests::agent::{Agent, Outcome, Running};
use driftless_tests::oracle::slash;
use driftless_tests::server::Server;
use driftless_tests::trees::{equal, names, plant, write_noise};
use driftless_tests::wait::{until, until_ok};
use driftless_tests::wire::{Way, Wire};

use crate::brakes::Held;
use crate::faults::SmallDisk;

const MIB: u64 = 1 << 20;

with_each_engine! {
    what_was_written_is_on_the_server_when_wait_returns
    a_burst_of_new_directories_is_waited_for_while_others_write_on
    what_an_overflow_lost_is_waited_for
}

/// A watched source on a file system of its own, behind a wire.
struct Live {
    src: PathBuf,
    agent: Agent,
    server: Server,
    wire: Wire,
    watch: Running,
    world: World,
    // Dropped last: everything works on it.
    _disk: Option<SmallDisk>,
}

impl Live {
    fn new(engine: &str, entries: &[&str]) -> Option<Self> {
        let world = World::new();
        // Fanotify sees the whole of a file system, and other programs are none of this test's business.
        let disk = if engine == "fanotify" { Some(SmallDisk::mount(&world.dir("disk"), 256)?) } else { None };
        let live = Self::begun(world, disk, "-a --delete", engine, entries);
        live.agent.operate("wait --all").ok();
        Some(live)
    }

    /// As it is right after the start.
    fn begun(world: World, disk: Option<SmallDisk>, options: &str, engine: &str, entries: &[&str]) -> Self {
        let src = world.path("disk/src");
        plant(&src, entries);
        let server = world.backup();
        let wire = Wire::to(server.address());
        let agent = world.agent(&server).through(&wire);
        let watch = agent.watch(&format!("{options} --engine {engine}"), slash(&src), "backup");
        until("it can be asked", || agent.operate("status").code == Some(0));
        Self { src, agent, server, wire, watch, world, _disk: disk }
    }

    fn copy(&self) -> &Path {
        self.server.module("backup")
    }

    fn wait(&self, path: &str, options: &str) -> Outcome {
        self.agent.operate(&format!("wait {options} {}", self.src.join(path).display()))
    }

    /// Waits in the background, and returns once the watch knows of it.
    fn waiting(&self, path: &str) -> JoinHandle<Outcome> {
        let (agent, path) = (self.agent.clone(), self.src.join(path));
        let waiting = std::thread::spawn(move || agent.operate(&format!("wait {}", path.display())));
        self.says("\"waiting\":1");
        waiting
    }

    fn says(&self, text: &str) {
        until(format!("the status says {text}"), || {
            self.agent.operate("status --json").stdout.contains(text)
        });
    }

    #[track_caller]
    fn is_equal(&self) {
        if let Err(text) = equal(&self.src, self.copy()) {
            panic!("right after wait returned: {text}\n{}", self.watch.log());
        }
    }
}

fn what_was_written_is_on_the_server_when_wait_returns(engine: &str) {
    let Some(live) = Live::new(engine, &["old/f=1", "old/deep/g=2"]) else { return };
    live.is_equal();
    for i in 0..20 {
        plant(&live.src, &[&format!("f{i}=first"), "f=rewritten", &format!("new{i}/a/b/leaf=x"), "l->f"]);
        fs::remove_file(live.src.join("l")).expect("rm");
        fs::write(live.src.join("f"), format!("content {i}")).expect("write");
        match i % 4 {
            0 => fs::rename(live.src.join("old"), live.src.join(format!("new{i}/old"))).expect("mv"),
            1 => fs::rename(live.src.join(format!("new{}/old", i - 1)), live.src.join("old")).expect("mv"),
            2 => fs::remove_dir_all(live.src.join(format!("new{i}/a"))).expect("rm -r"),
            _ => fs::rename(live.src.join(format!("f{i}")), live.src.join("f")).expect("mv"),
        }
        live.wait(".", "").ok();
        live.is_equal();
        let one = live.src.join("one");
        fs::write(&one, format!("one {i}")).expect("write");
        live.wait("one", "").ok();
        assert_eq!(fs::read(live.copy().join("one")).expect("it is there"), format!("one {i}").as_bytes());
    }
}

fn a_burst_of_new_directories_is_waited_for_while_others_write_on(engine: &str) {
    let Some(live) = Live::new(engine, &["noise/f=1", "mine/"]) else { return };
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0;
            while !ended.load(Ordering::SeqCst) {
                i += 1;
                let dir = if i % 16 == 0 { format!("new{i}") } else { format!("{}", i % 7) };
                plant(&live.src, &[&format!("noise/{dir}/{}=noise {i}", i % 97), "noise/f=again"]);
                // Some dozen changes a second, whatever the disk can take.
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let round = || {
            for i in 0..4 {
                for j in 0..20 {
                    plant(&live.src, &[&format!("mine/{i}/{j}/deep/er/f=leaf {j}")]);
                }
                let path = if i % 2 == 0 { "mine" } else { "." };
                live.wait(path, "").ok();
                equal(&live.src.join("mine"), &live.copy().join("mine"))?;
            }
            Ok::<_, String>(())
        };
        let equal = std::panic::catch_unwind(std::panic::AssertUnwindSafe(round));
        ended.store(true, Ordering::SeqCst);
        assert_eq!(equal.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), Ok(()));
    });
    live.wait(".", "").ok();
    live.is_equal();
}

/// Inotify's and fanotify's queues hold 16,384 events; polling has none, and is put to the same test.
fn what_an_overflow_lost_is_waited_for(engine: &str) {
    let Some(live) = Live::new(engine, &["ready=1"]) else { return };
    live.watch.signal(rustix::process::Signal::STOP);
    for i in 0..18_000 {
        let file = live.src.join(format!("f{}", i % 50));
        if i % 2 == 0 {
            fs::write(&file, "")
        } else {
            fs::remove_file(live.src.join(format!("f{}", (i - 1) % 50)))
        }
        .expect("write or rm");
    }
    plant(&live.src, &["made/in/the/gap/f=1"]);
    live.watch.signal(rustix::process::Signal::CONT);
    live.wait(".", "").ok();
    live.is_equal();
}

#[test]
fn with_a_stopped_server_wait_does_not_return_and_does_when_it_is_back() {
    let mut live = Live::new("inotify", &["f=1"]).expect("inotify");
    live.server.kill();
    live.says("\"connected\":null");
    // Nothing is pending, and still nobody can say that the copy is there.
    let out = live.wait(".", "--timeout 300ms").exits(30);
    assert!(out.stderr.contains("not connected"), "{}", out.stderr);
    plant(&live.src, &["g=2"]);
    let waiting = live.waiting("g");
    let out = live.wait("g", "--timeout 1s").exits(30);
    assert!(out.stderr.contains("not in time") && out.complaints().len() == 1, "{}", out.stderr);
    assert!(!waiting.is_finished());
    live.server.start();
    waiting.join().expect("no panic").ok();
    live.is_equal();
}

#[test]
fn a_cut_wire_is_waited_out() {
    let live = Live::new("inotify", &["f=1"]).expect("inotify");
    live.wire.throttle(8 * MIB);
    live.wire.cut_after(Way::Up, MIB);
    write_noise(&live.src.join("big"), 4 * MIB, 1);
    let waiting = live.waiting("big");
    until("it is cut", || live.wire.is_cut());
    assert!(!waiting.is_finished());
    live.wire.throttle(u64::MAX);
    live.wire.mend();
    waiting.join().expect("no panic").ok();
    live.is_equal();
}

#[test]
fn what_is_renamed_away_meanwhile_is_waited_for_under_its_new_name() {
    let live = Live::new("inotify", &["a/f=1", "c/"]).expect("inotify");
    live.wire.cut();
    live.says("\"connected\":null");
    plant(&live.src, &["a/new=2", "a/f=changed"]);
    let waiting = live.waiting("a");
    fs::rename(live.src.join("a"), live.src.join("b")).expect("mv");
    fs::rename(live.src.join("b/new"), live.src.join("c/newer")).expect("mv");
    live.wire.mend();
    waiting.join().expect("no panic").ok();
    assert_eq!(fs::read(live.copy().join("b/f")).expect("it is there"), b"changed");
    assert_eq!(fs::read(live.copy().join("c/newer")).expect("it is there"), b"2");
}

#[test]
fn a_comparison_that_runs_is_waited_for() {
    let world = World::new();
    let src = world.path("disk/src");
    plant(&src, &["f=1"]);
    write_noise(&src.join("big"), 8 * MIB, 1);
    let live = Live::begun(world, None, "-a --delete", "inotify", &[]);
    live.wait("f", "").ok();
    // A comparison tells of no path before its end.
    live.is_equal();
}

#[test]
fn every_destination_is_waited_for() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let server = world.server().module("one", &[]).module("two", &[]).start();
    let wire = Wire::to(server.address());
    let agent = world.agent(&server);
    let _one = agent.watch("-a", slash(&src), "one");
    let _two = agent.clone().through(&wire).watch("-a", slash(&src), "two");
    until("both can be asked", || agent.operate("status --json").stdout.matches("\"source\"").count() == 2);
    agent.operate("wait --all").ok();
    wire.cut();
    plant(&src, &["g=2"]);
    until("the first has it", || server.module("one").join("g").exists());
    let wait = format!("wait --timeout 2s {}", src.display());
    let out = agent.operate(&wait).exits(30);
    assert!(out.complaints().len() == 1 && out.stderr.contains("::two: not in time"), "{}", out.stderr);
    wire.mend();
    let out = agent.operate(&format!("wait --json {}", src.display())).ok();
    assert_eq!(out.stdout.matches("\"outcome\":\"durable\"").count(), 2, "{}", out.stdout);
    assert!(server.module("two").join("g").exists());
}

#[test]
fn paths_that_fail_are_named_and_the_rest_is_durable() {
    let world = World::new();
    let live = Live::begun(world, None, "-a", "inotify", &["f=1"]);
    live.wait("f", "").ok();
    // The copy has a file system mounted where the source has a file: nobody can make way for it.
    let blocked = live.copy().join("blocked");
    fs::create_dir(&blocked).expect("mkdir");
    let Some(_disk) = SmallDisk::mount(&blocked, 1) else { return };
    plant(&live.src, &["blocked=1", "g=2"]);
    let out = live.wait(".", "").exits(23);
    assert!(out.complaints().iter().any(|line| line.contains("blocked: ")), "{}", out.stderr);
    assert_eq!(fs::read(live.copy().join("g")).expect("it is there"), b"2");
    live.wait("g", "").ok();
    live.wait("blocked", "").exits(23);
    // What is gone fails no more, and what is in its way is nobody's business without --delete.
    live.says("\"failing\":1");
    fs::remove_file(live.src.join("blocked")).expect("rm");
    live.wait(".", "").ok();
    live.says("\"failing\":0");
}

/// Fanotify's mark ends at the file system's border; what lies beyond is polled.
#[test]
fn what_is_polled_beside_an_engine_is_waited_for() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world.dir("disk"), 16) else { return };
    plant(&world.path("disk/src"), &["f=1", "mounted/"]);
    let Some(_inner) = SmallDisk::mount(&world.path("disk/src/mounted"), 16) else { return };
    let live = Live::begun(world, Some(disk), "-a --delete", "fanotify", &["mounted/deep/f=1"]);
    live.wait(".", "").ok();
    for i in 0..8 {
        plant(&live.src, &[&format!("mounted/deep/{i}/g=new"), &format!("mounted/deep/f=content {i}")]);
        live.wait("mounted", "").ok();
        live.is_equal();
    }
}

#[test]
fn held_deletions_are_told_with_a_code_of_their_own() {
    let held = Held::with(&["d/f=1", "g=2"]);
    fs::rename(&held.src, held.world.path("aside")).expect("mv");
    plant(&held.src, &["new=3"]);
    let out = held.agent.operate("wait --all").exits(25);
    let id = held.agent.plan("held");
    assert!(out.stderr.contains("deletions are held") && out.stderr.contains(&id), "{}", out.stderr);
    held.agent.operate(&format!("plan approve {id}")).ok();
    until("it was let go", || held.agent.operate("wait --all").code == Some(0));
    assert_eq!(names(held.copy()), ["new"]);
}

#[test]
fn a_path_that_nobody_keeps_is_told_apart_from_one_that_is_durable() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1", "x.log=2", "cache/g=3"]);
    let server = world.backup();
    let agent = world.agent(&server);
    let out = agent.operate("wait --all").exits(10);
    assert!(out.stderr.contains("no watch is running"), "{}", out.stderr);
    let watch = agent.watch("-a --delete --exclude=*.log --exclude=/cache/", slash(&src), "backup");
    until_ok("it runs", || if agent.operate("status").code == Some(0) { Ok(()) } else { Err(String::new()) });
    let wait = |path: &str| agent.operate(&format!("wait {}", src.join(path).display()));
    wait("f").ok();
    wait("gone").ok();
    let out = wait("x.log").exits(3);
    assert!(out.stderr.contains("excluded by the rule `- *.log`"), "{}", out.stderr);
    let out = wait("cache/g").exits(3);
    assert!(out.stderr.contains("excluded with cache by the rule `- /cache/`"), "{}", out.stderr);
    wait("../elsewhere").exits(3);
    // The folder above holds the source.
    wait("..").ok();
    std::os::unix::fs::symlink(&src, world.path("link")).expect("ln -s");
    agent.operate(&format!("wait {}", world.path("link/f").display())).ok();
    agent.operate("wait").exits(1);
    agent.operate("wait --all --timeout soon").exits(1);
    assert_eq!(names(&src), ["cache/", "cache/g", "f", "x.log"], "nothing was put into the source");

    watch.signal(rustix::process::Signal::STOP);
    let out = agent.operate("wait --all --timeout 100ms").exits(30);
    assert!(out.stderr.contains("does not answer"), "{}", out.stderr);
    watch.signal(rustix::process::Signal::CONT);
}

#[test]
fn a_watch_that_is_killed_is_not_waited_for_for_ever() {
    let mut live = Live::new("inotify", &["f=1"]).expect("inotify");
    live.wire.cut();
    plant(&live.src, &["g=2"]);
    let waiting = live.waiting("g");
    live.watch.kill();
    let out = waiting.join().expect("no panic").exits(12);
    assert!(out.stderr.contains("ended before it was done"), "{}", out.stderr);
    live.wait("g", "").exits(10);
    assert!(live.world.path("home/state/control").exists());
}
