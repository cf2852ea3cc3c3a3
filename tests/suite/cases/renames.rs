//! Renames and what comes between their halves: cases 1, 3 to 7, 9, 13.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use driftless_tests::trees::{Noise, names, plant, set_mtime, write_noise};
use driftless_tests::wait::until;
use driftless_tests::wire::Way;
use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, renameat_with, utimensat};
use rustix::process::Signal;

use super::Live;

const MIB: u64 = 1 << 20;

with_engines! {
    each:
        what_is_made_in_a_directory_before_it_is_watched_arrives
        a_directory_made_where_another_was_moved_away_is_still_seen
        a_file_that_another_is_renamed_over_is_never_missing
        what_is_exchanged_changes_places
        what_is_exchanged_during_the_first_comparison_ends_where_it_ends
        a_directory_that_is_renamed_while_it_crosses_arrives_whole;
    events:
        ten_renames_in_a_row_send_no_content
        a_rename_right_after_a_file_has_left_sends_no_content_again
        what_is_exchanged_again_and_again_ends_where_it_ends;
}

/// Whoever watches is held still meanwhile, so none of the new directories has a watch when they are filled.
fn what_is_made_in_a_directory_before_it_is_watched_arrives(engine: &str) {
    let Some(mut live) = Live::new(engine, &["ready=1"]) else { return };
    live.hold();
    for i in 0..100 {
        plant(&live.src, &[&format!("{i}/a/b/c/f=leaf {i}")]);
    }
    live.let_go();
    live.arrives();
    plant(&live.src, &["7/a/b/c/g=later", "8/a/b/c/d/g=later"]);
    live.arrives();
}

/// The watch of the one that left ends when nobody expects it back: late, and the other has its place by then.
fn a_directory_made_where_another_was_moved_away_is_still_seen(engine: &str) {
    let Some(mut live) = Live::new(engine, &["d/e/f=1"]) else { return };
    fs::rename(live.at("d"), live.outside("away")).expect("mv");
    plant(&live.src, &["d/g=2"]);
    live.arrives();
    if engine == "inotify" {
        // The directory above, the root, the new one.
        until("the old watches are freed", || live.watches() <= 3);
    }
    // What comes after that in the queue has been read once this arrives.
    plant(&live.src, &["mark=x"]);
    live.arrives();
    // Nothing is to be looked at any more that could meet what follows.
    live.agent.operate("wait --all").ok();
    plant(&live.outside("away"), &["e/h=none of ours"]);
    plant(&live.src, &["d/later=3", "d/sub/deeper=4"]);
    live.arrives();
    assert_eq!(names(live.copy()), ["d/", "d/g", "d/later", "d/sub/", "d/sub/deeper", "mark"]);
}

/// What was listed under the old name and not read yet is not there to be read; the rename alone does not bring it across.
fn a_directory_that_is_renamed_while_it_crosses_arrives_whole(engine: &str) {
    let Some(mut live) = Live::new(engine, &["ready=1"]) else { return };
    let big = live.outside("big");
    (0..3).for_each(|i| fs::create_dir_all(big.join(i.to_string())).expect("mkdir"));
    for i in 0..96 {
        write_noise(&big.join(format!("{}/f{i}", i % 3)), 256 << 10, i);
    }
    live.wire.throttle(8 * MIB);
    let before = live.wire.carried(Way::Up);
    fs::rename(&big, live.at("d")).expect("mv");
    for (from, to, share) in [("d", "e", 2), ("e/2", "e/far", 4)] {
        until("part of it is across", || live.wire.carried(Way::Up) > before + share * MIB);
        fs::rename(live.at(from), live.at(to)).expect("mv");
    }
    live.arrives();
}

/// As fast as it can, until told to stop; returns how often the name was not there.
fn misses(path: &Path, stop: &AtomicBool) -> (u64, u64) {
    let (mut looks, mut missing) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        looks += 1;
        missing += u64::from(fs::symlink_metadata(path).is_err());
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    (looks, missing)
}

fn a_file_that_another_is_renamed_over_is_never_missing(engine: &str) {
    let Some(mut live) = Live::new(engine, &["f=first"]) else { return };
    let (copy, stop) = (live.copy().join("f"), AtomicBool::new(false));
    let (looks, missing) = std::thread::scope(|scope| {
        let lookout = scope.spawn(|| misses(&copy, &stop));
        for i in 0..10 {
            plant(&live.src, &[&format!(".f.tmp=version {i}")]);
            fs::rename(live.at(".f.tmp"), live.at("f")).expect("mv");
            if i % 3 == 0 {
                until("it arrives", || {
                    fs::read(&copy).is_ok_and(|is| is == format!("version {i}").as_bytes())
                });
            }
        }
        until("the last one arrives", || fs::read(&copy).is_ok_and(|is| is == b"version 9"));
        stop.store(true, Ordering::SeqCst);
        lookout.join().expect("no panic")
    });
    assert!(looks > 10 && missing == 0, "missing in {missing} of {looks} looks");
    live.arrives();
    assert_eq!(names(live.copy()), ["f"]);
}

fn ten_renames_in_a_row_send_no_content(engine: &str) {
    let Some(mut live) = Live::over(engine, |src| {
        plant(src, &["a/sub/f=1"]);
        write_noise(&src.join("a/sub/big"), 4 * MIB, 1);
        write_noise(&src.join("file0"), 4 * MIB, 2);
    }) else {
        return;
    };
    let before = live.sent();
    // Held still, so that none of them can be told before the last.
    live.hold();
    for (i, pair) in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"].windows(2).enumerate() {
        fs::rename(live.at(pair[0]), live.at(pair[1])).expect("mv");
        fs::rename(live.at(&format!("file{i}")), live.at(&format!("file{}", i + 1))).expect("mv");
    }
    live.let_go();
    live.arrives();
    let sent = live.sent() - before;
    assert!(sent < MIB / 4, "{sent} bytes for renames");
    assert_eq!(names(live.copy()), ["file10", "k/", "k/sub/", "k/sub/big", "k/sub/f"]);
}

/// The first half of a rename whose second half is outside waits in the queue before the two that belong together.
fn a_rename_right_after_a_file_has_left_sends_no_content_again(engine: &str) {
    let Some(mut live) = Live::over(engine, |src| {
        write_noise(&src.join("leaves"), MIB, 1);
        write_noise(&src.join("big"), 8 * MIB, 2);
    }) else {
        return;
    };
    let before = live.sent();
    live.hold();
    fs::rename(live.at("leaves"), live.outside("left")).expect("mv");
    fs::rename(live.at("big"), live.at("bigger")).expect("mv");
    live.let_go();
    live.arrives();
    let sent = live.sent() - before;
    assert!(sent < MIB / 4, "{sent} bytes for a rename and a removal");
}

fn what_is_exchanged_changes_places(engine: &str) {
    let Some(mut live) = Live::over(engine, |src| {
        plant(src, &["p/left=1", "q/right/deep=2"]);
        for (name, seed) in [("x", 1), ("y", 2), ("p/big", 3), ("q/right/big", 4)] {
            write_noise(&src.join(name), MIB, seed);
        }
    }) else {
        return;
    };
    let before = live.sent();
    for (one, other) in [("x", "y"), ("p", "q")] {
        let (one, other) = (live.at(one), live.at(other));
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("exchange");
    }
    live.arrives();
    let sent = live.sent() - before;
    assert!(engine == "poll" || sent < MIB / 4, "{sent} bytes for two exchanges");
    plant(&live.src, &["p/right/later=3", "q/later=4"]);
    live.arrives();
}

/// The comparison may bring across what the exchange would, and the inventory be made before or after it.
fn what_is_exchanged_during_the_first_comparison_ends_where_it_ends(engine: &str) {
    let Some(mut live) = Live::over(engine, |src| {
        (0..400).for_each(|i| plant(src, &[&format!("many/{i}/f=x")]));
        for (name, i) in ["p", "q", "z/p", "z/q"].into_iter().zip(0..) {
            (0..20).for_each(|j| plant(src, &[&format!("{name}/{i}-{j}={j}"), &format!("{name}/same={i}")]));
            set_mtime(&src.join(name).join("same"), 1_000_000_000, 0);
        }
    }) else {
        return;
    };
    for round in 0..8 {
        // Not killed: the journal would lack the last exchange, and this one undo it.
        live.watch.signal(Signal::TERM);
        live.watch.wait();
        live.start_with("");
        live.says("comparing");
        std::thread::sleep(std::time::Duration::from_millis(round * 2));
        for dir in [live.src.clone(), live.at("z")] {
            renameat_with(CWD, dir.join("p"), CWD, dir.join("q"), RenameFlags::EXCHANGE).expect("exchange");
        }
        live.arrives();
        // Two marks on two names: nothing has changed places this time.
        for name in ["p", "q", "z/p", "z/q"] {
            set_mtime(&live.at(name), 1_000_000_000 + i64::try_from(round).expect("few"), 0);
        }
        live.arrives();
    }
}

/// An exchange that is repeated by mistake undoes itself.
fn what_is_exchanged_again_and_again_ends_where_it_ends(engine: &str) {
    let Some(mut live) = Live::over(engine, |src| {
        plant(src, &["p/in=1", "q/in=2", "x=left", "y=rght", "p/deep/f=a", "q/deep/f=b"]);
        for (i, name) in (0..).zip(["p/in", "q/in", "x", "y", "p/deep/f", "q/deep/f"]) {
            set_mtime(&src.join(name), 1_000_000_000 + i, 0);
        }
    }) else {
        return;
    };
    let mut noise = Noise::new(1);
    for i in 0..30 {
        let (one, other) =
            [("x", "y"), ("p", "q"), ("p/in", "q/in"), ("p/deep", "q/deep")][noise.below(4) as usize];
        renameat_with(CWD, live.at(one), CWD, live.at(other), RenameFlags::EXCHANGE).expect("exchange");
        std::thread::sleep(std::time::Duration::from_millis(noise.below(8)));
        if i % 20 == 7 {
            // In the middle of whatever is on its way.
            live.wire.cut();
            live.wire.mend();
        }
        if i % 15 == 0 {
            live.arrives();
        }
    }
    live.arrives();
}

/// Events that inotify's queue holds at once.
fn queue_len() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("inotify is there");
    text.trim().parse().expect("a number")
}

/// Case 13. The queue is filled to within a few events of its end, each time a little less, so that in one of the
/// rounds the first half of the rename is the last event that it holds.
#[test]
fn a_queue_that_overflows_between_the_halves_of_a_rename_loses_nothing() {
    let Some(mut live) = Live::new("inotify", &["one=1", "other=1", "0/d/e/f=1"]) else { return };
    let src = live.src.clone();
    let touch = |name: &str| {
        let now = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
        let times = Timestamps { last_access: now, last_modification: now };
        utimensat(CWD, src.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).expect("touch");
    };
    for round in 0..3 {
        live.hold();
        // Two in turn: equal neighbours would become one event.
        for i in 0..queue_len() - round {
            touch(if i % 2 == 0 { "one" } else { "other" });
        }
        fs::rename(live.src.join(round.to_string()), live.src.join((round + 1).to_string())).expect("mv");
        live.let_go();
        until("the overflow is made good", || {
            live.watch.log().matches("events were lost").count() as u64 == round + 1
        });
        plant(&live.src, &[&format!("{}/d/e/round{round}=x", round + 1)]);
        until("it is still seen", || live.copy().join(format!("{}/d/e/round{round}", round + 1)).exists());
        live.arrives();
    }
}
