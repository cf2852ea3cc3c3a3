//! Restore: what was lost comes back, and nothing that is here is lost for it.

use std::fs;

use driftless_tests::World;
use driftless_tests::trees::{assert_equal, every_kind, names, plant, write_noise};
use driftless_tests::wire::{Way, Wire};

const MIB: u64 = 1 << 20;

#[test]
fn an_empty_folder_gets_everything_back() {
    let world = World::new();
    let server = world.backup();
    every_kind(server.module("backup"));
    let agent = world.agent(&server);
    let dest = world.path("dest");
    let out = agent.run("restore", "", &[&agent.remote("backup/"), &dest]).ok();
    assert_equal(server.module("backup"), &dest);
    assert!(out.stdout.contains("kept 0 beside"), "{}", out.stdout);
}

#[test]
fn what_differs_here_is_kept_beside_and_what_is_only_here_stays() {
    let world = World::new();
    let server = world.backup();
    plant(server.module("backup"), &["changed=as it was", "gone=back", "same=same", "was-a-dir/f=1"]);
    let dest = world.path("dest");
    plant(&dest, &["changed=newer, and mine", "only-here=stays", "was-a-dir=a file now"]);
    let agent = world.agent(&server);
    let out = agent.run("restore", "", &[&agent.remote("backup/"), &dest]).ok();
    assert_eq!(
        names(&dest),
        [
            "changed",
            "changed.before-restore",
            "gone",
            "only-here",
            "same",
            "was-a-dir/",
            "was-a-dir/f",
            "was-a-dir.before-restore"
        ]
    );
    let read = |name: &str| fs::read_to_string(dest.join(name)).expect("read");
    assert_eq!(read("changed"), "as it was");
    assert_eq!(read("changed.before-restore"), "newer, and mine");
    assert_eq!(read("was-a-dir.before-restore"), "a file now");
    assert!(out.stdout.contains("kept: changed as changed.before-restore"), "{}", out.stdout);
    assert!(out.stdout.contains("kept 2 beside"), "{}", out.stdout);
}

#[test]
fn a_restore_that_was_cut_goes_on_where_it_stopped() {
    let world = World::new();
    let server = world.backup();
    write_noise(&server.module("backup").join("big"), 64 * MIB, 1);
    let dest = world.dir("dest");
    let wire = Wire::to(server.address());
    wire.cut_after(Way::Down, 40 * MIB);
    let agent = world.agent(&server).through(&wire);
    let out = agent.run("restore", "", &[&agent.remote("backup/"), &dest]);
    assert!(matches!(out.code, Some(10 | 12)), "{:?}: {}", out.code, out.stderr);
    assert!(!dest.join("big").exists(), "half of it has the final name");
    wire.mend();
    let before = wire.carried(Way::Down);
    agent.run("restore", "", &[&agent.remote("backup/"), &dest]).ok();
    assert_equal(server.module("backup"), &dest);
    let again = wire.carried(Way::Down) - before;
    assert!(again < 34 * MIB, "{again} bytes came again");
}
