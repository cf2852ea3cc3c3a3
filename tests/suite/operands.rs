//! What SRC and DEST mean, and which entries the rules let in.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use driftless_tests::World;
use driftless_tests::oracle::slash;
use driftless_tests::trees::{assert_equal, names, plant, write_noise};

#[test]
fn a_trailing_slash_means_the_contents() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let agent = world.agent(&server);
    agent.push("-a", &src, "backup/without").ok();
    agent.push("-a", slash(&src), "backup/with").ok();
    agent.push("-a", src.join("."), "backup/dot").ok();
    let want = ["dot/", "dot/f", "with/", "with/f", "without/", "without/src/", "without/src/f"];
    assert_eq!(names(server.module("backup")), want);

    let dest = world.dir("dest");
    agent.pull("-a", "backup/with", &dest).ok();
    agent.pull("-a", "backup/dot/", &dest).ok();
    assert_eq!(names(&dest), ["f", "with/", "with/f"]);
}

#[test]
fn a_single_file_takes_a_new_name_or_lands_in_a_directory() {
    let world = World::new();
    let server = world.backup();
    let module = server.module("backup");
    plant(module, &["dir/"]);
    let file = world.file("f", "content");
    let agent = world.agent(&server);
    agent.push("-a", &file, "backup").ok();
    agent.push("-a", &file, "backup/new-name").ok();
    agent.push("-a", &file, "backup/dir").ok();
    agent.push("-a", &file, "backup/made/").ok();
    assert_eq!(names(module), ["dir/", "dir/f", "f", "made/", "made/f", "new-name"]);
    assert_eq!(fs::read(module.join("new-name")).expect("read"), b"content");

    let dest = world.dir("dest");
    agent.pull("-a", "backup/dir/f", dest.join("other-name")).ok();
    agent.pull("-a", "backup/dir/f", &dest).ok();
    assert_eq!(names(&dest), ["f", "other-name"]);
}

#[test]
fn only_the_last_directory_of_a_destination_is_made() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let agent = world.agent(&server);
    agent.push("-a", slash(&src), "backup/one").ok();
    let out = agent.push("-a", slash(&src), "backup/not/there").exits(11);
    assert_eq!(out.complaints().len(), 1, "{}", out.stderr);
    assert_eq!(names(server.module("backup")), ["one/", "one/f"]);
}

#[test]
fn several_sources_arrive_side_by_side() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["one=1", "two=2", "dir/f=3", "contents/g=4"]);
    let agent = world.agent(&server);
    let remote = agent.remote("backup");
    let sources: Vec<PathBuf> =
        ["one", "two", "dir", "contents/"].iter().map(|name| src.join(name)).collect();
    let operands: [&dyn AsRef<OsStr>; 5] = [&sources[0], &sources[1], &sources[2], &sources[3], &remote];
    agent.run("push", "-a", &operands).ok();
    assert_eq!(names(server.module("backup")), ["dir/", "dir/f", "g", "one", "two"]);

    let onto = agent.remote("backup/one");
    agent.run("push", "-a", &[&sources[0], &sources[1], &onto]).exits(3);
    assert_eq!(fs::read(server.module("backup").join("one")).expect("read"), b"1");
}

#[test]
fn several_remote_sources_are_pulled_in_one_run() {
    let world = World::new();
    let server = world.backup();
    plant(server.module("backup"), &["a/f=1", "b/g=2", "c=3"]);
    let agent = world.agent(&server);
    let dest = world.dir("dest");
    let (a, c) = (agent.remote("backup/a"), agent.remote("backup/c"));
    agent.run("pull", "-a", &[&a, &"::backup/b/", &c, &dest]).ok();
    assert_eq!(names(&dest), ["a/", "a/f", "c", "g"]);
}

#[test]
fn a_missing_source_is_named_and_the_others_arrive() {
    let world = World::new();
    let server = world.backup();
    let file = world.file("here", "1");
    let agent = world.agent(&server);
    let out = agent.run("push", "-a", &[&world.path("missing"), &file, &agent.remote("backup")]).exits(23);
    assert!(out.stderr.contains("missing"), "{}", out.stderr);
    assert_eq!(names(server.module("backup")), ["here"]);
}

#[test]
fn every_spelling_of_a_remote_is_the_same_place() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let agent = world.agent(&server);
    let port = server.address().port();
    for (i, remote) in [
        "driftless@127.0.0.1::backup".to_owned(),
        format!("driftless://driftless@127.0.0.1:{port}/backup"),
        format!("rsync://driftless@127.0.0.1:{port}/backup"),
        format!("RSYNC://driftless@127.0.0.1:{port}/backup"),
    ]
    .iter()
    .enumerate()
    {
        agent.run("push", "-a", &[&slash(&src), &format!("{remote}/{i}")]).ok();
        assert_equal(&src, &server.module("backup").join(i.to_string()));
    }
    let shell = agent.run("push", "-a", &[&slash(&src), &"host:path"]);
    assert_ne!(shell.code, Some(0), "a remote shell is not ours to start");
}

#[test]
fn options_stand_before_or_after_the_operands() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["d/f=1"]);
    let agent = world.agent(&server);
    let remote = agent.remote("backup");
    agent.run("sync", "", &[&slash(&src), &"-a", &remote, &"--delete"]).ok();
    assert_equal(&src, server.module("backup"));
}

#[test]
fn push_and_pull_insist_on_their_direction() {
    let world = World::new();
    let server = world.backup();
    let dir = world.dir("dir");
    let agent = world.agent(&server);
    let remote = agent.remote("backup/");
    agent.run("push", "-a", &[&remote, &dir]).exits(1);
    agent.run("pull", "-a", &[&dir, &remote]).exits(1);
    agent.run("push", "-a", &[&dir, &world.path("other")]).exits(1);
    agent.run("sync", "-a", &[&remote, &dir]).ok();
}

#[test]
fn a_server_on_ipv6_is_reached_by_its_bracketed_address() {
    let world = World::new();
    let server = world.server().global("address = ::1").module("backup", &[]).start();
    assert!(server.address().is_ipv6());
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let agent = world.agent(&server);
    assert!(agent.remote("backup").contains("@[::1]::"));
    agent.push("-a", slash(&src), "backup").ok();
    let port = server.address().port();
    agent
        .run("pull", "-a", &[&format!("driftless://driftless@[::1]:{port}/backup/"), &world.path("dest")])
        .ok();
    assert_equal(&src, &world.path("dest"));
}

#[test]
fn a_bare_host_lists_the_modules() {
    let world = World::new();
    let server = world
        .server()
        .module("backup", &["comment = the nightly one"])
        .module("hidden", &["list = no"])
        .module("a-name-longer-than-fifteen", &["comment = \"quoted\""])
        .start();
    let agent = world.agent(&server).without("--password-file");
    let out = agent.run("sync", "", &[&"127.0.0.1::"]).ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert!(lines.contains(&"backup         \tthe nightly one"), "{lines:?}");
    assert!(lines.contains(&"a-name-longer-than-fifteen\t\"quoted\""), "{lines:?}");
    assert!(!out.stdout.contains("hidden"), "{lines:?}");
}

#[test]
fn without_recursion_directories_are_skipped_by_name() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["d/f=1", "g=2"]);
    let agent = world.agent(&server);
    let out = agent.run("push", "-lt", &[&src.join("d"), &src.join("g"), &agent.remote("backup")]).ok();
    let said = out.stdout + &out.stderr;
    assert!(said.contains("skipping directory d"), "{said}");
    assert_eq!(names(server.module("backup")), ["g"]);
}

#[test]
fn rules_hide_and_protect_in_both_directions() {
    let cases: [(&str, &[&str]); 5] = [
        ("--exclude=*.log", &["build/", "build/o", "d/", "d/f", "f", "kept.log", "old.log"]),
        ("--exclude=/build", &["build/", "build/surplus", "d/", "d/f", "d/x.log", "f", "x.log"]),
        ("--exclude=f", &["build/", "build/o", "d/", "d/f", "d/x.log", "f", "x.log"]),
        (
            "--include=*/ --include=*.log --exclude=*",
            &["build/", "build/surplus", "d/", "d/f", "d/x.log", "f", "x.log"],
        ),
        (
            "--include=/d/*** --exclude=*",
            &["build/", "build/surplus", "d/", "d/f", "d/x.log", "f", "kept.log", "old.log"],
        ),
    ];
    for (rules, want) in cases {
        let world = World::new();
        let server = world.backup();
        let (here, there) = (world.path("here"), server.module("backup"));
        plant(&here, &["f=new", "d/f=new", "d/x.log=1", "x.log=2", "build/o=3"]);
        let old = ["f=older", "d/f=older", "kept.log=4", "old.log=5", "build/surplus=6"];
        plant(there, &old);
        let agent = world.agent(&server);
        agent.push(&format!("-a --delete {rules}"), slash(&here), "backup").ok();
        assert_eq!(names(there), want, "push {rules}");

        // The same the other way round: what was pushed to is now pulled to.
        let other = world.path("other");
        plant(&other, &old);
        let source = world.server().module_at("source", &here, &["read only = yes"]);
        drop(server);
        let server = source.start();
        world.agent(&server).pull(&format!("-a --delete {rules}"), "source/", &other).ok();
        assert_eq!(names(&other), want, "pull {rules}");
    }
}

#[test]
fn rules_are_read_from_files() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["a.o=1", "b.c=2", "keep.o=3", "#x=4"]);
    let include = world.file("include", "# a comment\n\nkeep.o\n");
    let exclude = world.file("exclude", "; another\n*.o\n- b.c\n");
    world
        .agent(&server)
        .option("--include-from", include)
        .option("--exclude-from", exclude)
        .push("-a", slash(&src), "backup")
        .ok();
    assert_eq!(names(server.module("backup")), ["#x", "keep.o"]);
}

#[test]
fn bwlimit_holds_the_rate() {
    let world = World::new();
    let server = world.backup();
    let file = world.path("noise");
    write_noise(&file, 3 * 1024 * 1024, 1);
    let agent = world.agent(&server);
    let start = Instant::now();
    agent.push("-a --bwlimit=1024", &file, "backup/up").ok();
    // 3 MiB at 1 MiB/s; what a bucket lets through at once is at most a second's worth.
    assert!(start.elapsed() > Duration::from_millis(1900), "{:?}", start.elapsed());
    let start = Instant::now();
    agent.pull("-a --bwlimit=1024", "backup/up", world.path("down")).ok();
    assert!(start.elapsed() > Duration::from_millis(1900), "{:?}", start.elapsed());
}

#[test]
fn a_long_wire_is_waited_for_by_no_single_file() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    for i in 0..2000 {
        plant(&src, &[&format!("{}/{i}=content of {i}", i % 20)]);
    }
    let wire = driftless_tests::wire::Wire::to(server.address());
    wire.delay(Duration::from_millis(50));
    let start = Instant::now();
    world.agent(&server).through(&wire).push("-a", slash(&src), "backup").ok();
    // 100 ms there and back: a wait for each file would take 200 s, for each directory 2 s more.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_equal(&src, server.module("backup"));
}
