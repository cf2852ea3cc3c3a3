//! Plans can be read and decided on without a running watch, and say exactly what they hold.

use std::fs;

use driftless_tests::oracle::slash;
use driftless_tests::trees::{equal, plant};
use driftless_tests::wait::{until, until_ok};

use crate::brakes::Held;
use crate::faults::SmallDisk;

#[test]
fn a_plan_is_decided_without_a_running_watch_and_carried_out_by_the_next() {
    let mut held = Held::with(&["odd\nname/f=1", "back\\slash=2", "stays=3"]);
    held.watch.kill();
    fs::remove_dir_all(held.src.join("odd\nname")).expect("rm -r");
    fs::remove_file(held.src.join("back\\slash")).expect("rm");
    let options = "-a --delete --brake=0:10%";
    held.watch = held.agent.watch(options, slash(&held.src), "backup");
    let id = held.agent.plan("held");
    held.watch.kill();

    let shown = held.agent.operate(&format!("plan show {id}")).ok().stdout;
    for line in ["kind deletions", "state held", "entries 3", "1 back\\#134slash", "2 odd\\#012name"] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} in:\n{shown}");
    }
    assert!(held.copy().join("stays").exists() && held.copy().join("back\\slash").exists());
    held.agent.operate(&format!("plan approve {id}")).ok();
    held.agent.operate(&format!("plan reject {id}")).exits(11);

    // Gone since: it was not part of what was approved.
    fs::remove_file(held.src.join("stays")).expect("rm");
    plant(&held.src, &["new=4"]);
    held.watch = held.agent.watch(options, slash(&held.src), "backup");
    let other = held.agent.plan("held");
    assert_ne!(other, id);
    let shown = held.agent.operate(&format!("plan show {other}")).ok().stdout;
    assert!(shown.ends_with("\n\n1 stays\n"), "{shown}");
    assert!(held.copy().join("stays").exists());
    held.agent.operate(&format!("plan approve {other}")).ok();
    until_ok("both are carried out", || equal(&held.src, held.copy()));
    until("no plan is left", || held.agent.operate("plan list").stdout.starts_with("no plans"));
}

#[test]
fn a_plan_that_is_not_there_is_said_in_one_line() {
    let held = Held::with(&["f=1"]);
    assert_eq!(held.agent.operate("plan list").ok().stdout, "no plans: nothing is held\n");
    for (command, code) in [("show", 11), ("approve", 11), ("reject", 11)] {
        let out = held.agent.operate(&format!("plan {command} 0123abcd")).exits(code);
        assert!(out.stderr.contains("there is no plan 0123abcd"), "{}", out.stderr);
    }
    held.agent.operate("plan show ../../etc/passwd").exits(1);
    held.agent.operate("plan show").exits(1);
    held.agent.operate("plan").exits(1);
}

#[test]
fn a_rejected_plan_that_cannot_be_read_keeps_what_it_kept() {
    let mut held = Held::with(&["gone=1", "h=2"]);
    held.watch.kill();
    fs::remove_file(held.src.join("gone")).expect("rm");
    let options = "-a --delete --brake=0:10%";
    held.watch = held.agent.watch(options, slash(&held.src), "backup");
    held.reject();
    held.says("no longer held");
    let file = held.world.path("home/state/plans").join(held.agent.plan("rejected"));
    let whole = fs::read(&file).expect("the plan");
    fs::write(file.with_extension("new"), "half a pl").expect("write");
    fs::rename(file.with_extension("new"), &file).expect("mv");
    held.says(&format!("{}: not a plan", file.display()));
    held.copy_keeps(&["gone"]);
    held.watch.kill();
    held.watch = held.agent.watch(options, slash(&held.src), "backup");
    held.says("not a plan");
    held.copy_keeps(&["gone"]);
    fs::write(file.with_extension("new"), whole).expect("write");
    fs::rename(file.with_extension("new"), &file).expect("mv");
    held.says("no longer held");
    held.copy_keeps(&["gone"]);
}

#[test]
fn a_kept_directory_that_comes_back_hidden_by_a_mount_stays_kept() {
    let mut held = Held::with(&["sub/deep/f=1", "sub/g=2", "h=3"]);
    let sub = held.src.join("sub");
    held.watch.kill();
    fs::remove_dir_all(&sub).expect("rm -r");
    let options = "-a --delete --brake=0:10%";
    held.watch = held.agent.watch(options, slash(&held.src), "backup");
    held.reject();
    held.says("no longer held");
    let kept = held.agent.plan("rejected");
    held.watch.kill();
    fs::create_dir(&sub).expect("mkdir");
    let Some(disk) = SmallDisk::mount(&sub, 16) else { return };
    held.watch = held.agent.watch(options, slash(&held.src), "backup");
    held.says("mounted over it");
    assert_eq!(held.agent.plan("rejected"), kept);
    drop(disk);
    held.says("no longer left alone");
    held.copy_keeps(&["sub/deep/f", "sub/g"]);
    assert_eq!(held.agent.plan("rejected"), kept);
}

#[test]
fn what_a_rejected_plan_keeps_does_not_go_with_a_directory_that_is_renamed() {
    let mut held = Held::with(&["p/k=1", "p/f=2", "h=3"]);
    held.watch.kill();
    fs::remove_file(held.src.join("p/k")).expect("rm");
    let options = "-a --delete --brake=0:10%";
    held.watch = held.agent.watch(options, slash(&held.src), "backup");
    held.reject();
    // The rename is to come by itself to a stream that obeys the decision, and no brake is to hold what it leaves behind.
    held.start_again();
    held.says("in sync");
    let streams = held.watch.log().matches("connected to").count();
    fs::rename(held.src.join("p"), held.src.join("q")).expect("mv");
    until("the new name arrives", || held.copy().join("q/f").exists());
    assert!(!held.copy().join("q/k").exists(), "what is kept went along");
    assert_eq!(held.watch.log().matches("connected to").count(), streams, "{}", held.watch.log());
    held.copy_keeps(&["p/k", "q/f"]);
    held.watch.kill();
    held.watch = held.agent.watch(options, slash(&held.src), "backup");
    until("it is compared", || held.watch.log().contains("watching"));
    held.copy_keeps(&["p/k", "q/f"]);
}
