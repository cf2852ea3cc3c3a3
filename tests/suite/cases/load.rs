//! Much at once, and for long: cases 12, 40 to 42, 44, 46, 50, 51, 55. What the table counts in millions is scaled down to
//! what a test may take; each says its figure.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use driftless_tests::World;
use driftless_tests::agent::peak_kib;
use driftless_tests::oracle::{find, slash};
use driftless_tests::trees::{equal, names, plant, write_noise};
use driftless_tests::wait::{until, until_ok};
use driftless_tests::wire::{Way, Wire};
use rustix::fs::inotify::{CreateFlags, WatchFlags};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use super::Live;

const MIB: u64 = 1 << 20;

/// The most memory that an agent may have held in any of these: some 25 MiB, and what 200,000 marks and one batch of many of
/// them take, which a starved machine comes to. As a rule it is 35 MiB.
const PEAK_KIB: u64 = 96 << 10;

with_engines! {
    each:
        a_path_longer_than_any_is_named_and_the_rest_arrives;
    events:
        overflows_without_end_are_answered_ever_later
        a_busy_name_costs_no_more_among_thousands;
}

#[track_caller]
fn stays_small(live: &Live) {
    let peak = peak_kib(live.watch.pid()).expect("it runs");
    assert!(peak < PEAK_KIB, "the agent held {peak} KiB");
}

/// Makes files of ever new names and removes them, until told to stop.
fn churn(dir: &Path, stop: &AtomicBool) {
    for i in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let file = dir.join(format!("churn{i}"));
        fs::write(&file, "").expect("write");
        fs::remove_file(&file).expect("rm");
    }
}

/// Case 12, for 3 s instead of 5 min. Each pause before the next answer is twice as long: 0.1 + 0.2 + ... + 1.6 s.
fn overflows_without_end_are_answered_ever_later(engine: &str) {
    let Some(mut live) = Live::new(engine, &["d/f=1"]) else { return };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| churn(&live.src, &stop));
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            live.hold();
            // Some 16,384 events and more gather.
            std::thread::sleep(Duration::from_millis(200));
            live.let_go();
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
    });
    plant(&live.src, &["d/f=changed", "new/g=2"]);
    live.arrives();
    let lost = live.watch.log().matches("events were lost").count();
    assert!((1..=7).contains(&lost), "{lost} overflows were answered");
    stays_small(&live);
}

/// Case 40.
fn a_path_longer_than_any_is_named_and_the_rest_arrives(engine: &str) {
    let Some(mut live) = Live::new(engine, &["deep/f=1"]) else { return };
    let name = "n".repeat(200);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, live.at("deep"), flags, Mode::empty()).expect("open");
    for _ in 0..60 {
        mkdirat(&dir, &name, Mode::from_raw_mode(0o755)).expect("mkdir");
        dir = openat(&dir, &name, flags, Mode::empty()).expect("open");
    }
    let file = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(openat(&dir, "leaf", file, Mode::from_raw_mode(0o644)).expect("create"));
    live.says("too long");
    plant(&live.src, &["deep/f=changed", "later=2"]);
    until("the rest arrives", || {
        live.copy().join("later").exists()
            && fs::read(live.copy().join("deep/f")).is_ok_and(|is| is == b"changed")
    });
    live.watch.runs();
    // Nor does the next start stumble.
    live.start_with("");
    plant(&live.src, &["deep/f=changed again"]);
    until("it still arrives", || fs::read(live.copy().join("deep/f")).is_ok_and(|is| is == b"changed again"));
    live.watch.runs();
}

/// Case 41, with 1,000 files in 1,000 directories. The wire stands still in the middle of the first comparison.
#[test]
fn what_changes_during_the_first_comparison_arrives_with_it() {
    let world = World::new();
    let src = world.dir("src");
    for i in 0..1000 {
        plant(&src, &[&format!("{}/d/f{i}=content {i}", i % 500)]);
    }
    let server = world.backup();
    let wire = Wire::to(server.address());
    wire.stall_after(Way::Up, 16 << 10);
    let mut watch = world.agent(&server).through(&wire).watch("-a --delete", slash(&src), "backup");
    until("it is under way", || wire.is_stalled());
    plant(&src, &["0/d/f0=changed", "499/d/new/deep=1", "made/meanwhile/f=2"]);
    fs::remove_dir_all(src.join("7")).expect("rm -r");
    fs::rename(src.join("8"), src.join("renamed")).expect("mv");
    assert!(!watch.log().contains("in sync"));
    wire.stall(false);
    until_ok("all of it arrives", || equal(&src, server.module("backup")));
    assert!(!watch.log().contains("events were lost"));
    assert!(peak_kib(watch.pid()).is_some_and(|peak| peak < PEAK_KIB));
    watch.runs();
}

/// CPU time of the agent so far, in ticks of 10 ms.
fn ticks(live: &Live) -> u64 {
    let path = format!("/proc/{}/stat", live.watch.pid().as_raw_nonzero());
    let stat = fs::read_to_string(path).expect("it runs");
    let fields = stat.rsplit(") ").next().expect("fields").split(' ');
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// Case 42, with 3,000 names instead of a million.
fn a_busy_name_costs_no_more_among_thousands(engine: &str) {
    let Some(live) = Live::over(engine, |src| {
        plant(src, &["few/0=x", "many/0=x"]);
        (1..3000).for_each(|i| fs::write(src.join(format!("many/{i}")), "").expect("write"));
    }) else {
        return;
    };
    let cost = |dir: &str| {
        let before = ticks(&live);
        for i in 0..2000 {
            let file = live.at(dir).join(format!("busy{i}"));
            fs::write(&file, "").expect("write");
            fs::remove_file(&file).expect("rm");
        }
        plant(&live.src, &[&format!("{dir}/mark=x")]);
        until("it has followed", || live.copy().join(dir).join("mark").exists());
        ticks(&live) - before
    };
    let (few, many) = (cost("few"), cost("many"));
    assert!(many <= 3 * few + 20, "{many} ticks among many names, {few} among few");
}

/// Case 44. Killed where the wire stands still, ever further into what is to be sent, and in the middle of its own
/// writes to the journal: 20 places in all.
#[test]
fn an_agent_killed_anywhere_loses_nothing_and_deletes_nothing() {
    let Some(mut live) = Live::new("inotify", &["stays/f=1", "d/0=x", "moves/f=2"]) else { return };
    let Some(strace) = find("strace") else { return };
    let (stays, stop) = (live.copy().join("stays/f"), AtomicBool::new(false));
    let missed = std::thread::scope(|scope| {
        let lookout = scope.spawn(|| {
            let mut missed = 0;
            while !stop.load(Ordering::SeqCst) {
                missed += u64::from(!stays.exists());
                std::thread::sleep(Duration::from_micros(200));
            }
            missed
        });
        for place in 0..20_u64 {
            if place < 12 {
                // The first of them is before anything of this round has left.
                live.wire.stall_after(Way::Up, (place * 4) << 10);
            } else {
                live.watch.kill();
                let when = format!("inject=pwrite64,fdatasync:signal=KILL:when={}", 2 * (place - 11));
                let trace = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64,fdatasync", "-e", &when];
                let within: Vec<&str> = [strace.to_str().expect("UTF-8")].into_iter().chain(trace).collect();
                live.watch =
                    live.agent.clone().within(&within).watch("-a --delete", slash(&live.src), "backup");
            }
            change(&live.src, place);
            if place < 12 {
                until("it is under way", || live.wire.is_stalled());
                live.watch.kill();
                live.wire.stall(false);
            } else {
                until("it is killed", || live.watch.ended().is_some());
            }
            live.start_with("");
            until_ok("it catches up", || equal(&live.src, live.server.module("backup")));
        }
        stop.store(true, Ordering::SeqCst);
        lookout.join().expect("no panic")
    });
    assert_eq!(missed, 0, "what stayed in the source was missing on the copy");
    live.arrives();
}

/// Changes of every sort, and some 80 KB to be sent.
fn change(src: &Path, round: u64) {
    for i in 0..20 {
        write_noise(&src.join(format!("d/{i}")), 4 << 10, 100 * round + i);
    }
    let (from, to) =
        (format!("moves{}", if round == 0 { String::new() } else { round.to_string() }), round + 1);
    fs::rename(src.join(from), src.join(format!("moves{to}"))).expect("mv");
    fs::remove_file(src.join(format!("d/{}", round % 20))).expect("rm");
    plant(src, &[&format!("new/{round}/f=x")]);
}

/// Case 46, with 20,000 changes instead of ten million.
#[test]
fn a_wire_that_is_cut_for_long_costs_no_memory_and_is_caught_up_with() {
    let Some(mut live) = Live::over("inotify", |src| {
        for i in 0..1000 {
            plant(src, &[&format!("{}/f{i}=0", i % 20)]);
        }
    }) else {
        return;
    };
    live.wire.cut();
    for round in 1..=20 {
        for i in 0..1000 {
            fs::write(live.at(&format!("{}/f{i}", i % 20)), format!("round {round}")).expect("write");
        }
    }
    fs::rename(live.at("3"), live.at("third")).expect("mv");
    fs::remove_dir_all(live.at("4")).expect("rm -r");
    until("it is pending", || {
        let status = live.agent.operate("status --json").stdout;
        status.contains("\"connected\":null") && !status.contains("\"pending\":0,")
    });
    live.wire.mend();
    live.arrives();
    stays_small(&live);
}

/// Case 50, with 300 files instead of 10,000. The agent sees the loss and the restore at once.
#[test]
fn what_is_restored_into_a_watched_tree_is_not_sent_back() {
    let Some(mut live) = Live::over("inotify", |src| {
        for i in 0..300 {
            plant(src, &[&format!("d/{}/f{i}=content {i}", i % 10)]);
        }
        write_noise(&src.join("d/big"), 8 * MIB, 1);
    }) else {
        return;
    };
    live.hold();
    fs::remove_dir_all(live.at("d")).expect("rm -r");
    let restorer = live.world.agent(&live.server).option("--state-dir", live.world.path("restorer"));
    restorer.pull("-a", "backup/", &live.src).ok();
    let before = live.sent();
    live.let_go();
    live.rests();
    plant(&live.src, &["mark=x"]);
    live.arrives();
    let sent = live.sent() - before;
    assert!(sent < MIB / 4, "{sent} bytes for what came from there");
}

/// Case 51. The places on the server are two; where they overlap, the second watch that deletes is refused.
#[test]
fn sources_that_overlap_are_each_followed() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["inner/f=1", "g=2"]);
    let server = world.server().module("backup", &[]).module("other", &[]).start();
    let agent = world.agent(&server);
    let mut outer = agent.watch("-a --delete", slash(&src), "backup");
    let mut inner = agent.watch("-a --delete", slash(&src.join("inner")), "other");
    let both = || {
        equal(&src, server.module("backup"))?;
        equal(&src.join("inner"), server.module("other"))
    };
    until_ok("both are live", both);
    plant(&src, &["inner/f=changed", "inner/new/h=3"]);
    fs::remove_file(src.join("g")).expect("rm");
    until_ok("both follow", both);
    let elsewhere = world.agent(&server).option("--state-dir", world.path("elsewhere"));
    let mut third = elsewhere.watch("-a --delete", slash(&src), "backup/inner");
    until("it is refused", || third.ended().is_some());
    assert!(third.log().contains("another watch with --delete already covers this path"), "{}", third.log());
    until_ok("both still follow", both);
    outer.runs();
    inner.runs();
}

/// Case 55. Another inotify, with what ours asks for, hears nothing while everything is compared and a file is read.
#[test]
fn a_comparison_gives_no_events_of_its_own() {
    let Some(mut live) = Live::new("inotify", &["d/e/f=1", "g=2", "l->g"]) else { return };
    write_noise(&live.at("d/big"), MIB, 1);
    live.arrives();
    live.watch.kill();
    fs::write(live.copy().join("g"), "tampered with").expect("write");
    fs::remove_file(live.copy().join("d/big")).expect("rm");
    let inotify = rustix::fs::inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify");
    let flags = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MODIFY
        | WatchFlags::ATTRIB;
    let dirs = names(&live.src).into_iter().filter(|name| name.ends_with('/'));
    for dir in dirs.chain([String::new()]) {
        let path = live.at(&dir);
        let path = std::ffi::OsStr::from_bytes(path.as_os_str().as_bytes());
        rustix::fs::inotify::add_watch(&inotify, path, flags).expect("watch");
    }
    live.start_with("");
    live.arrives();
    live.rests();
    let heard = rustix::io::read(&inotify, &mut [0_u8; 4096]);
    assert_eq!(heard, Err(rustix::io::Errno::AGAIN), "our own reading gives events");
}
