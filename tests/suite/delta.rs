//! Deltas: what changed crosses, what did not stays, and memory stays bounded.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use driftless_tests::World;
use driftless_tests::agent::peak_kib;
use driftless_tests::oracle::slash;
use driftless_tests::server::Server;
use driftless_tests::trees::{assert_equal, edit, set_mtime, write_noise};
use driftless_tests::wait;
use driftless_tests::wire::Wire;

const MIB: u64 = 1 << 20;

/// A world with `size` random bytes in one file, pushed; then changed, and pushed again over a wire that counts.
/// Returns the bytes of the second push and the peak of the agent's memory in KiB.
fn pushed_again(world: &World, server: &Server, size: u64, change: impl FnOnce(&Path)) -> (u64, u64) {
    let file = world.path("src/file");
    world.dir("src");
    write_noise(&file, size, 7);
    let agent = world.agent(server);
    agent.push("-a", slash(&world.path("src")), "backup").ok();
    change(&file);
    // A copy that landed this very moment may change within one tick of the clock: its digest is not told before it rests.
    let copy = server.module("backup").join("file");
    let rests = Duration::from_millis(100);
    wait::until("the copy to rest", || status_age(&copy) > rests);
    let wire = Wire::to(server.address());
    let out = agent.through(&wire).push("-a --stats", slash(&world.path("src")), "backup").ok();
    assert_eq!(out.stat("Literal data") + out.stat("Matched data"), fs::metadata(&file).expect("stat").len());
    assert_equal(&world.path("src"), server.module("backup"));
    (wire.total(), out.peak_kib)
}

/// Since the file's status last changed.
fn status_age(file: &Path) -> Duration {
    let meta = fs::metadata(file).expect("stat");
    let changed = UNIX_EPOCH
        + Duration::new(meta.ctime().unsigned_abs(), u32::try_from(meta.ctime_nsec()).unwrap_or(0));
    changed.elapsed().unwrap_or_default()
}

#[test]
fn scattered_edits_cross_alone() {
    let world = World::new();
    let server = world.backup();
    let (bytes, _) = pushed_again(&world, &server, 64 * MIB, |file| edit(file, 64, 4096, 8));
    assert!(bytes < 4 * MIB, "{bytes} bytes");
}

#[test]
fn an_edit_in_a_small_file_of_the_same_length_crosses_alone() {
    let world = World::new();
    let server = world.backup();
    let (bytes, _) = pushed_again(&world, &server, 100_000, |file| edit(file, 1, 10, 8));
    assert!(bytes < 10_000, "{bytes} bytes");
}

#[test]
fn a_small_file_with_another_time_alone_is_not_sent() {
    let world = World::new();
    let server = world.backup();
    let (bytes, _) = pushed_again(&world, &server, 1000, |file| set_mtime(file, 1_000_000_000, 0));
    let (more, _) = pushed_again(&world, &server, 100_000, |file| set_mtime(file, 1_000_000_000, 0));
    // Neither its content nor its sums, which are longer for the longer one.
    assert!(more <= bytes + 300, "{bytes} and {more} bytes");
}

#[test]
fn an_insertion_at_the_start_crosses_alone() {
    let world = World::new();
    let server = world.backup();
    let (bytes, _) = pushed_again(&world, &server, 64 * MIB, |file| {
        let mut content = fs::read(file).expect("read");
        content.insert(0, b'!');
        fs::write(file, content).expect("write");
    });
    assert!(bytes < MIB, "{bytes} bytes");
}

#[test]
fn an_append_crosses_alone() {
    let world = World::new();
    let server = world.backup();
    let (bytes, _) = pushed_again(&world, &server, 64 * MIB, |file| {
        let mut content = fs::read(file).expect("read");
        content.extend_from_within(1000..101_000);
        fs::write(file, content).expect("write");
    });
    assert!(bytes < MIB, "{bytes} bytes");
}

#[test]
fn a_truncation_costs_little_more_than_the_sums() {
    let world = World::new();
    let server = world.backup();
    let (bytes, _) = pushed_again(&world, &server, 64 * MIB, |file| {
        fs::File::options().write(true).open(file).expect("open").set_len(40 * MIB + 13).expect("truncate");
    });
    assert!(bytes < MIB, "{bytes} bytes");
}

#[test]
fn a_pull_takes_only_what_changed() {
    let world = World::new();
    let server = world.backup();
    let file = server.module("backup").join("file");
    write_noise(&file, 64 * MIB, 7);
    let dest = world.dir("dest");
    let agent = world.agent(&server);
    agent.pull("-a", "backup/", &dest).ok();
    edit(&file, 64, 4096, 8);
    let wire = Wire::to(server.address());
    agent.through(&wire).pull("-a", "backup/", &dest).ok();
    assert!(wire.total() < 4 * MIB, "{} bytes", wire.total());
    assert_equal(server.module("backup"), &dest);
}

#[test]
fn a_gigabyte_with_scattered_edits_needs_little_wire_and_little_memory() {
    let world = World::new();
    let server = world.backup();
    let (bytes, agent_kib) = pushed_again(&world, &server, 1024 * MIB, |file| edit(file, 64, 4096, 8));
    assert!(bytes < 10_000_000, "{bytes} bytes");
    let server_kib = peak_kib(server.pid()).expect("it runs");
    assert!(agent_kib > 0 && agent_kib < 150 * 1024, "the agent held {agent_kib} KiB");
    assert!(server_kib < 150 * 1024, "the server held {server_kib} KiB");
}
