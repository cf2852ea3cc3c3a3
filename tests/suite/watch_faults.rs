//! Faults during a watch: the agent goes on by itself, and the trees are equal in the end.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use driftless_tests::World;
use driftless_tests::agent::{Running, leftovers};
use driftless_tests::oracle::{find, root_or_skip, skip, slash};
use driftless_tests::trees::{equal, every_kind, names, plant, write_noise};
use driftless_tests::wait::{stays, until, until_ok};
use driftless_tests::wire::{Way, Wire};
use rustix::process::Signal;

use crate::faults::{Lookout, SmallDisk};

const MIB: u64 = 1 << 20;

#[test]
fn a_server_killed_and_restarted_is_caught_up_with() {
    let world = World::new();
    let mut server = world.backup();
    let src = world.path("src");
    every_kind(&src);
    let mut watch = world.agent(&server).watch("-a --delete", slash(&src), "backup");
    until_ok("the first reconcile", || equal(&src, server.module("backup")));

    server.kill();
    plant(&src, &["while/it/was=away", "empty=no more", "a/b/c/leaf=changed"]);
    fs::remove_dir_all(src.join("many")).expect("rm -r");
    fs::rename(src.join("size-700001"), src.join("renamed")).expect("mv");
    server.start();
    until_ok("it caught up", || equal(&src, server.module("backup")));
    plant(&src, &["after=that"]);
    until_ok("it is live again", || equal(&src, server.module("backup")));
    watch.runs();
}

#[test]
fn a_server_killed_in_the_middle_of_a_file_is_caught_up_with() {
    let world = World::new();
    let mut server = world.backup();
    let src = world.dir("src");
    let wire = Wire::to(server.address());
    wire.throttle(48 * MIB);
    let mut watch = world.agent(&server).through(&wire).watch("-a --delete", slash(&src), "backup");
    plant(&src, &["ready=1"]);
    until_ok("it is live", || equal(&src, server.module("backup")));

    let lookout = Lookout::over(&server.module("backup").join("big"), &[96 * MIB]);
    let staged = world.path("big");
    write_noise(&staged, 96 * MIB, 3);
    let before = wire.carried(Way::Up);
    fs::rename(&staged, src.join("big")).expect("mv");
    until("half of it is across", || wire.carried(Way::Up) > before + 48 * MIB);
    server.kill();
    assert!(!server.module("backup").join("big").exists());
    server.start();
    until_ok("it caught up", || equal(&src, server.module("backup")));
    lookout.saw_nothing_torn();
    assert!(leftovers(server.module("backup")).is_empty());
    watch.runs();
}

#[test]
fn a_wire_cut_in_the_middle_of_a_large_file_is_waited_out() {
    let world = World::new();
    let server = world.backup();
    let src = world.dir("src");
    let wire = Wire::to(server.address());
    let mut watch = world.agent(&server).through(&wire).watch("-a --delete", slash(&src), "backup");
    plant(&src, &["ready=1"]);
    until_ok("it is live", || equal(&src, server.module("backup")));

    let lookout = Lookout::over(&server.module("backup").join("big"), &[256 * MIB]);
    let staged = world.path("big");
    write_noise(&staged, 256 * MIB, 3);
    wire.cut_after(Way::Up, 100 * MIB);
    fs::rename(&staged, src.join("big")).expect("mv");
    until("the wire is cut", || wire.is_cut());
    plant(&src, &["meanwhile=2"]);
    assert!(!server.module("backup").join("big").exists());
    wire.mend();
    until_ok("it caught up", || equal(&src, server.module("backup")));
    lookout.saw_nothing_torn();
    watch.runs();
}

#[test]
fn an_agent_killed_and_started_again_finds_what_it_missed() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["d/one=1", "d/two=2", "gone=3"]);
    let agent = world.agent(&server);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("the first reconcile", || equal(&src, server.module("backup")));
    watch.kill();

    plant(&src, &["d/one=changed", "new/f=4"]);
    fs::remove_file(src.join("gone")).expect("rm");
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it caught up", || equal(&src, server.module("backup")));
    watch.runs();
}

#[test]
fn a_server_changed_behind_the_agents_back_is_found_out_at_the_next_start() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["d/one=1", "two=2"]);
    let agent = world.agent(&server);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("the first reconcile", || equal(&src, server.module("backup")));
    watch.kill();

    plant(server.module("backup"), &["d/one=tampered with", "planted=x"]);
    fs::remove_file(server.module("backup").join("two")).expect("rm");
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it was put right", || equal(&src, server.module("backup")));
    watch.runs();
}

#[test]
fn what_lands_in_a_directory_that_was_exchanged_on_the_server_lands_where_its_name_leads() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["d/f=first"]);
    let mut watch = world.agent(&server).watch("-a --delete", slash(&src), "backup");
    let (copy, taken) = (server.module("backup").join("d"), world.path("taken"));
    until_ok("the first reconcile", || equal(&src, server.module("backup")));
    fs::write(src.join("d/f"), "second").expect("write");
    until_ok("it lands", || equal(&src, server.module("backup")));

    fs::rename(&copy, &taken).expect("mv");
    fs::create_dir(&copy).expect("mkdir");
    fs::write(src.join("d/f"), "third").expect("write");
    until("it lands by its name", || fs::read(copy.join("f")).is_ok_and(|there| there == b"third"));
    assert_eq!(fs::read(taken.join("f")).expect("read"), b"second");
    watch.runs();
}

#[test]
fn a_full_disk_is_waited_out() {
    let world = World::new();
    let path = world.dir("small");
    let Some(_disk) = SmallDisk::mount(&path, 32) else {
        return;
    };
    let server = world.server().module_at("backup", &path, &[]).start();
    let src = world.dir("src");
    let mut watch = world.agent(&server).watch("-a --delete", slash(&src), "backup");
    // Twice the ballast fits, since half of it may be there when all of it comes; the ballast and the large file do not.
    write_noise(&src.join("ballast"), 14 * MIB, 1);
    until_ok("the ballast is across", || equal(&src, &path));

    let lookout = Lookout::over(&path.join("large"), &[20 * MIB]);
    let staged = world.path("large");
    write_noise(&staged, 20 * MIB, 2);
    fs::rename(&staged, src.join("large")).expect("mv");
    until("the agent says so", || watch.log().contains("No space left on device"));
    plant(&src, &["small=still gets through"]);
    until("the rest keeps flowing", || path.join("small").exists());
    assert!(!path.join("large").exists());

    fs::remove_file(src.join("ballast")).expect("rm");
    until_ok("it went on by itself", || equal(&src, &path));
    lookout.saw_nothing_torn();
    watch.runs();
}

#[test]
fn a_watch_that_cannot_be_armed_anew_tries_until_it_can() {
    let Some(unshare) = find("unshare") else { return };
    let unshare = unshare.to_str().expect("UTF-8");
    let world = World::new();
    let (src, flag) = (world.path("src"), world.path("limit"));
    // In a user namespace of its own, which has its own limits. They change when the test says so, as long as the agent,
    // which the shell becomes, is there.
    let set = "echo $limit > /proc/sys/user/max_inotify_instances && : > \"$0.$limit.set\"";
    let wait = "while [ ! -e \"$0.$limit\" ]; do kill -0 $$ || exit 0; sleep 0.05; done";
    let script = format!("(for limit in 0 64; do {wait}; {set}; done) > /dev/null 2>&1 & exec \"$@\"");
    let possible = std::process::Command::new(unshare)
        .args(["-Ur", "sh", "-c", "echo 64 > /proc/sys/user/max_inotify_instances"])
        .status();
    if !possible.expect("unshare runs").success() {
        return skip("no user namespace with limits of its own");
    }
    let limit = |limit: &str| {
        fs::write(flag.with_extension(limit), "").expect("write");
        until("the limit is set", || flag.with_extension(format!("{limit}.set")).exists());
    };
    plant(&src, &["f=1"]);
    let server = world.backup();
    let agent =
        world.agent(&server).within(&[unshare, "-Ur", "sh", "-c", &script, flag.to_str().expect("UTF-8")]);
    let mut watch = agent.watch("-a --delete --engine inotify", slash(&src), "backup");
    until_ok("it is live", || equal(&src, server.module("backup")));
    until("in sync", || watch.log().contains("in sync"));

    limit("0");
    fs::rename(&src, world.path("aside")).expect("mv");
    until("it is noticed", || watch.log().contains("nothing is deleted on the server"));
    fs::rename(world.path("aside"), &src).expect("mv");
    plant(&src, &["meanwhile=2"]);
    until("it says what is in the way", || watch.log().contains("sysctl user.max_inotify_instances="));
    stays("it waits, and says so once", || {
        watch.log().matches("sysctl user.max_inotify_instances=").count() == 1
    });
    watch.runs();
    assert!(!server.module("backup").join("meanwhile").exists());
    limit("64");
    until_ok("it is live again", || equal(&src, server.module("backup")));
    plant(&src, &["later=3"]);
    until_ok("it arrives", || equal(&src, server.module("backup")));
    watch.runs();
}

#[test]
fn a_queue_that_overflows_is_made_good() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["ready=1"]);
    let mut watch = world.agent(&server).watch("-a --delete", slash(&src), "backup");
    until_ok("it is live", || equal(&src, server.module("backup")));

    watch.signal(Signal::STOP);
    burst(&src, 50_000);
    fs::remove_file(src.join("ready")).expect("rm");
    watch.signal(Signal::CONT);
    patiently(&mut watch, || equal(&src, server.module("backup")));
    plant(&src, &["dir-499/after=x"]);
    until_ok("the directories made in the gap are watched", || equal(&src, server.module("backup")));
}

/// Makes this many files, a hundred to a directory: far more events than the kernel's queue holds (16,384).
fn burst(src: &std::path::Path, files: usize) {
    for dir in 0..files / 100 {
        let dir = src.join(format!("dir-{dir}"));
        fs::create_dir(&dir).expect("mkdir");
        for i in 0..100 {
            fs::write(dir.join(format!("f{i}")), i.to_string()).expect("write");
        }
    }
}

/// Waits several times as long as for anything else: 50,000 files are synced to the disk one by one.
fn patiently(watch: &mut Running, mut look: impl FnMut() -> Result<(), String>) {
    for _ in 0..5 {
        let end = std::time::Instant::now() + driftless_tests::wait::patience();
        while std::time::Instant::now() < end {
            watch.runs();
            if look().is_ok() {
                return;
            }
            // One look walks both trees.
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
    panic!("in vain: {:?}", look());
}

#[test]
fn a_directory_of_the_copy_whose_attributes_cannot_be_set_fails_alone() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let copy = world.dir("module");
    for (dir, owner) in [("theirs", 0), ("ours", 65534)] {
        fs::create_dir(copy.join(dir)).expect("mkdir");
        chown(copy.join(dir), Some(owner), Some(owner)).expect("chown");
        fs::set_permissions(copy.join(dir), fs::Permissions::from_mode(0o777)).expect("chmod");
    }
    chown(&copy, Some(65534), Some(65534)).expect("chown");
    let server = world.server().module_at("backup", &copy, &["uid = 65534", "gid = 65534"]).start();
    let src = world.path("src");
    plant(&src, &["theirs/f=1", "ours/f=2"]);
    for dir in ["theirs", "ours"] {
        fs::set_permissions(src.join(dir), fs::Permissions::from_mode(0o777)).expect("chmod");
    }
    let agent = world.agent(&server);
    let watch = agent.watch("-rpt", slash(&src), "backup");
    until("the first comparison", || copy.join("ours/f").exists() && copy.join("theirs/f").exists());
    // In one batch: what lands beside is acknowledged all the same.
    for i in 0..50 {
        plant(&src, &[&format!("ours/{i}=x"), &format!("theirs/{i}=x")]);
    }
    let wait = |dir: &str| agent.operate(&format!("wait --timeout 20s {}", src.join(dir).display()));
    wait("ours").ok();
    until("the others too", || names(&copy).len() == 104);

    fs::set_permissions(src.join("theirs"), fs::Permissions::from_mode(0o750)).expect("chmod");
    let out = wait("theirs").exits(23);
    assert!(out.stderr.contains("theirs"), "{out:?}");
    until("it is tried more rarely each time", || {
        let status = agent.operate("status").ok().stdout;
        let fails = status.lines().find(|line| line.contains("theirs: set attributes"));
        let times =
            fails.and_then(|line| line.trim().strip_prefix("fails, ")?.split(' ').next()?.parse().ok());
        times.is_some_and(|times: u32| times >= 4)
    });
    assert_eq!(watch.log().matches("theirs: set ").count(), 1, "{}", watch.log());
    wait("ours").ok();

    // A run tells it once, however many groups land there.
    let more = world.path("more");
    (0..600).for_each(|i| plant(&more, &[&format!("theirs/more-{i}=x")]));
    let out = agent.push("-rt", slash(&more), "backup").exits(23);
    assert_eq!(out.stderr.matches("theirs: set times").count(), 1, "{}", out.stderr);
}

#[test]
fn a_root_that_goes_away_deletes_nothing() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["d/f=1", "g=2"]);
    let watch = world.agent(&server).watch("-a --delete", slash(&src), "backup");
    until_ok("it is live", || equal(&src, server.module("backup")));

    // Moved aside in one step: what the agent then finds under the name is nothing, not an empty tree. What was on its way
    // at that moment may still read the directory, and find more there.
    fs::rename(&src, world.path("aside")).expect("mv");
    plant(&world.path("aside"), &["more=3"]);
    until("it is noticed", || watch.log().contains("it was moved away"));
    plant(&world.path("aside"), &["even more=4"]);
    stays("the copy is whole", || {
        let names: Vec<String> = names(server.module("backup"));
        names.iter().filter(|name| *name != "more").eq(["d/", "d/f", "g"])
    });
    drop(watch);
}

#[test]
fn a_root_that_is_emptied_as_a_whole_is_no_reason_to_delete_the_copy() {
    let world = World::new();
    let path = world.dir("mounted");
    let Some(disk) = SmallDisk::mount(&path, 16) else {
        return;
    };
    let server = world.backup();
    plant(&path, &["d/f=1", "g=2"]);
    let agent = world.agent(&server);
    let mut watch = agent.watch("-a --delete", slash(&path), "backup");
    until_ok("it is live", || equal(&path, server.module("backup")));
    watch.kill();

    // The next start finds the bare mount point: an empty folder of another file system.
    drop(disk);
    assert_eq!(names(&path), [""; 0]);
    let watch = agent.watch("-a --delete", slash(&path), "backup");
    stays("the copy is whole", || names(server.module("backup")) == ["d/", "d/f", "g"]);
    drop(watch);
}
