//! What is found under the source's name is not the source: cases 19, 22, 24, 53.

use std::fs;

use driftless_tests::trees::{names, plant};
use driftless_tests::wait::{stays, until};

use super::Live;
use crate::brakes::Held;
use crate::faults::SmallDisk;

with_engines! {
    each:
        a_root_removed_and_made_again_deletes_nothing
        another_disk_mounted_over_the_root_deletes_nothing
        what_a_mount_over_a_directory_hides_is_left_alone;
    events:;
}

const TREE: [&str; 3] = ["d/f=1", "d/g=2", "h=3"];
const WHOLE: [&str; 4] = ["d/", "d/f", "d/g", "h"];

/// Whether the copy still has everything of [`TREE`].
fn whole(live: &Live) -> bool {
    let names = names(live.copy());
    WHOLE.iter().all(|name| names.iter().any(|is| is == name))
}

fn a_root_removed_and_made_again_deletes_nothing(engine: &str) {
    let Some(mut live) = Live::new(engine, &TREE) else { return };
    fs::remove_dir_all(&live.src).expect("rm -r");
    plant(&live.src, &["new=4"]);
    live.says("nothing is deleted on the server");
    live.says("deletions are held");
    until("the new source flows", || live.copy().join("new").exists());
    stays("the copy is whole", || whole(&live));
    live.agent.operate(&format!("plan approve {}", live.agent.plan("held"))).ok();
    live.arrives();
    plant(&live.src, &["live/again=5"]);
    live.arrives();
}

fn another_disk_mounted_over_the_root_deletes_nothing(engine: &str) {
    let Some(mut live) = Live::new(engine, &TREE) else { return };
    let Some(disk) = SmallDisk::mount(&live.src, 16) else { return };
    plant(&live.src, &["other=4"]);
    live.says("deletions are held");
    stays("the copy is whole", || whole(&live));
    drop(disk);
    plant(&live.src, &["later=5"]);
    until("the source is back", || live.copy().join("later").exists());
    assert!(whole(&live));
    live.watch.runs();
}

#[test]
fn another_disk_at_the_root_at_the_next_start_deletes_nothing() {
    let world = driftless_tests::World::new();
    let src = world.dir("src");
    let Some(disk) = SmallDisk::mount(&src, 16) else { return };
    plant(&src, &TREE);
    let mut held = Held::over(world, src.clone());
    held.watch.kill();
    drop(disk);
    let Some(_other) = SmallDisk::mount(&src, 16) else { return };
    plant(&src, &["other=4"]);
    held.start_again();
    until("it is compared", || held.watch.log().contains("watching"));
    until("the other disk flows", || held.copy().join("other").exists());
    assert_eq!(names(held.copy()), ["d/", "d/f", "d/g", "h", "other"]);
    held.approve();
    held.arrives();
}

fn what_a_mount_over_a_directory_hides_is_left_alone(engine: &str) {
    let Some(mut live) = Live::new(engine, &["sub/deep/f=1", "sub/g=2", "h=3"]) else { return };
    let Some(disk) = SmallDisk::mount(&live.at("sub"), 16) else { return };
    live.says("sub: another file system is mounted over it");
    plant(&live.src, &["new=4", "sub/other=5"]);
    fs::remove_file(live.at("h")).expect("rm");
    until("the rest flows, deletions too", || {
        !live.copy().join("h").exists() && live.copy().join("new").exists()
    });
    let hidden = || names(&live.copy().join("sub")) == ["deep/", "deep/f", "g"];
    stays("what is hidden is left alone", hidden);
    drop(disk);
    until("the plan is void", || live.agent.operate("plan list").stdout.starts_with("no plans"));
    plant(&live.src, &["sub/deep/later=6"]);
    live.arrives();
}
