//! What happened while the agent was down is found without sending again what the server has.

use std::fs;
use std::process::Command;

use driftless_tests::World;
use driftless_tests::oracle::{find, slash};
use driftless_tests::trees::{equal, plant, write_noise};
use driftless_tests::wait::{until, until_ok};
use driftless_tests::wire::{Way, Wire};
use driftless_tests::world::program;

const MIB: u64 = 1 << 20;

#[test]
fn renames_made_while_the_agent_was_down_send_no_content_again() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["dir/deep/x=1", "other/y=2"]);
    for (name, seed) in [("dir/one", 1), ("dir/deep/two", 2), ("alone", 3), ("copied", 4), ("stays", 5)] {
        write_noise(&src.join(name), 4 * MIB, seed);
    }
    let server = world.backup();
    let wire = Wire::to(server.address());
    let agent = world.agent(&server).through(&wire);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("the first reconcile", || equal(&src, server.module("backup")));
    until("all is noted", || {
        let status = agent.operate("status --json").stdout;
        status.contains("\"known_entries\":10,")
    });
    watch.signal(rustix::process::Signal::TERM);
    assert_eq!(watch.wait(), Some(0));

    // A directory with what is in it, from which one file has moved on; a file into a new directory; and one that has
    // another inode, as after a move across file systems.
    fs::rename(src.join("dir"), src.join("renamed")).expect("mv");
    fs::rename(src.join("renamed/deep/two"), src.join("two")).expect("mv");
    fs::create_dir_all(src.join("new/place")).expect("mkdir");
    fs::rename(src.join("alone"), src.join("new/place/alone")).expect("mv");
    fs::copy(src.join("copied"), src.join("moved across")).expect("cp");
    fs::remove_file(src.join("copied")).expect("rm");

    let before = wire.carried(Way::Up);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it caught up", || equal(&src, server.module("backup")));
    let sent = wire.carried(Way::Up) - before;
    assert!(sent < 256 * 1024, "{sent} bytes for four renames of 16 MiB");
    watch.runs();
}

#[test]
fn an_inode_number_given_out_again_is_no_rename() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["old/f=1"]);
    let server = world.backup();
    let agent = world.agent(&server);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("the first reconcile", || equal(&src, server.module("backup")));
    until("in sync", || watch.log().contains("in sync"));
    watch.kill();
    // Most file systems give the number just freed to the next one made.
    fs::remove_dir_all(src.join("old")).expect("rm -r");
    plant(&src, &["unrelated/g=2"]);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it caught up", || equal(&src, server.module("backup")));
    assert!(!server.module("backup").join("unrelated/f").exists());
    watch.runs();
}

#[test]
fn a_start_after_no_change_reads_no_file() {
    let Some(strace) = find("strace") else { return };
    let world = World::new();
    let src = world.path("src");
    for i in 0..300 {
        plant(&src, &[&format!("d{}/f{i}={i}", i % 10)]);
    }
    let server = world.backup();
    let wire = Wire::to(server.address());
    let agent = world.agent(&server).through(&wire);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until("in sync", || watch.log().contains("in sync"));
    until_ok("equal", || equal(&src, server.module("backup")));
    watch.signal(rustix::process::Signal::TERM);
    assert_eq!(watch.wait(), Some(0));

    let (trace, log) = (world.path("trace"), world.path("traced.log"));
    let before = wire.total();
    let mut traced = Command::new(strace)
        .args(["-f", "-e", "trace=openat,openat2,open", "-o"])
        .arg(&trace)
        .arg(program("driftless"))
        .args(["watch", "-a", "--delete", "--fingerprint", &server.fingerprint(), "--port"])
        .arg(wire.address().port().to_string())
        .arg("--password-file")
        .arg(world.path("password"))
        .arg("--state-dir")
        .arg(world.path("home/state"))
        .arg(slash(&src))
        .arg(agent.remote("backup"))
        .stdout(fs::File::create(&log).expect("log"))
        .spawn()
        .expect("strace runs");
    until("in sync", || fs::read_to_string(&log).is_ok_and(|log| log.contains("in sync")));
    let crossed = wire.total() - before;
    // strace ends with what it traces, which ends by itself when told to.
    let child = agent_of(traced.id());
    rustix::process::kill_process(child, rustix::process::Signal::TERM).expect("it runs");
    traced.wait().expect("wait");
    let calls = fs::read_to_string(&trace).expect("a trace");
    let opened = calls.lines().filter(|line| line.contains("\"f") && line.contains("O_RDONLY")).count();
    assert_eq!(opened, 0, "files were opened:\n{calls}");
    assert!(calls.contains("\"d0\""), "the walk is in the trace");
    assert!(crossed < 16 * 1024, "{crossed} bytes for nothing to do");
}

/// The one child of a process.
fn agent_of(parent: u32) -> rustix::process::Pid {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("children");
    let child = children.split_whitespace().next().expect("a child").parse().expect("a number");
    rustix::process::Pid::from_raw(child).expect("a pid")
}
