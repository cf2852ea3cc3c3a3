//! The engines of a watch: whatever happens to a tree, and whichever of them sees it, the copy is equal in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driftless_tests::World;
use driftless_tests::agent::{Agent, Running};
use driftless_tests::oracle::{find, root_or_skip, slash};
use driftless_tests::server::Server;
use driftless_tests::trees::{Noise, equal, every_kind, names, plant};
use driftless_tests::wait::{stays, until, until_ok};
use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_OMIT, renameat_with, utimensat};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::process::Signal;

use crate::faults::SmallDisk;

with_each_engine! {
    a_leaf_written_the_moment_its_directories_are_made_arrives
    what_is_moved_in_and_out_whole_is_found_and_forgotten
    what_is_written_deep_beneath_a_directory_just_renamed_arrives
    chained_and_crossed_renames_come_out_right
    a_directory_removed_and_made_again_is_still_seen
    a_directory_that_gets_the_number_of_a_removed_one_is_not_taken_for_it
    renames_of_eight_at_once_come_out_right
    every_kind_of_entry_and_every_odd_name_arrives
    a_file_that_changes_kind_arrives_as_what_it_became
    the_mtime_alone_of_a_directory_arrives
    a_directory_swapped_for_a_link_is_not_followed
    a_path_of_five_hundred_directories_is_seen_to_its_end
    what_is_written_through_a_bind_mount_arrives
    what_lies_on_another_file_system_beneath_arrives
    a_root_moved_away_and_replaced_deletes_nothing_and_is_live_again_when_it_is_back
    a_root_that_is_unmounted_deletes_nothing
    a_burst_beyond_every_queue_is_made_good
    whatever_four_do_at_random_the_copy_is_equal_in_the_end
}

/// A source that one engine watches, and the module it is kept live in.
struct Live {
    src: PathBuf,
    server: Server,
    watch: Running,
    // Unmounted once no program works on it, and before the world is removed with the place where it lay.
    _disk: SmallDisk,
    world: World,
}

impl Live {
    /// Plants these entries, watches them and waits until they have arrived. The source has a file system of its own:
    /// fanotify sees the whole of it, and other programs are none of this test's business.
    fn new(engine: &str, entries: &[&str]) -> Option<Self> {
        let world = World::new();
        let disk = SmallDisk::mount(&world.dir("disk"), 256)?;
        let src = world.path("disk/src");
        plant(&src, entries);
        let server = world.backup();
        let options = format!("-a --delete --engine {engine}");
        let watch = world.agent(&server).watch(&options, slash(&src), "backup");
        let mut live = Self { src, server, watch, world, _disk: disk };
        live.arrives();
        Some(live)
    }

    /// A place on the source's file system that is not watched.
    fn outside(&self, name: &str) -> PathBuf {
        self.world.path("disk").join(name)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.src.join(name)
    }

    fn copy(&self) -> &Path {
        self.server.module("backup")
    }

    /// Waits until the copy is equal.
    #[track_caller]
    fn arrives(&mut self) {
        until_ok("it arrives", || equal(&self.src, self.copy()));
        self.watch.runs();
    }

    /// Sees that the copy is equal still, once what comes last has arrived. In between a file that was met twice may be
    /// put twice, and its directory has another time for that moment.
    #[track_caller]
    fn stays(&mut self) {
        plant(&self.src, &["comes last=1"]);
        self.arrives();
    }
}

fn exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("exchange");
}

fn a_leaf_written_the_moment_its_directories_are_made_arrives(engine: &str) {
    let Some(mut live) = Live::new(engine, &["ready=1"]) else { return };
    for i in 0..100 {
        plant(&live.src, &[&format!("{i}/a/b/c/f=leaf {i}")]);
    }
    live.arrives();
    plant(&live.src, &["7/a/b/c/g=later"]);
    live.arrives();
}

fn what_is_moved_in_and_out_whole_is_found_and_forgotten(engine: &str) {
    let Some(mut live) = Live::new(engine, &["out/d/f=1", "stays=2"]) else { return };
    let outside = live.outside("outside");
    fs::rename(live.at("out"), &outside).expect("mv");
    plant(&outside, &["d/g=written outside"]);
    live.arrives();
    assert_eq!(names(live.copy()), ["stays"]);
    fs::rename(&outside, live.at("in")).expect("mv");
    live.arrives();
    plant(&live.src, &["in/d/h=written inside"]);
    live.arrives();
    assert_eq!(names(live.copy()), ["in/", "in/d/", "in/d/f", "in/d/g", "in/d/h", "stays"]);
}

fn what_is_written_deep_beneath_a_directory_just_renamed_arrives(engine: &str) {
    let Some(mut live) = Live::new(engine, &["a/x/y/old=1"]) else { return };
    for (from, to) in [("a", "b"), ("b", "c")] {
        fs::rename(live.at(from), live.at(to)).expect("mv");
        plant(&live.src, &[&format!("{to}/x/y/in-{to}=at once")]);
        live.arrives();
    }
}

fn chained_and_crossed_renames_come_out_right(engine: &str) {
    let entries = ["a/f=1", "x=left", "y=right", "p/in=1", "q/in=2", "q/only/here=3"];
    let Some(mut live) = Live::new(engine, &entries) else { return };
    for (from, to) in ["a", "b", "c", "d", "e", "f"].iter().zip(["b", "c", "d", "e", "f", "g"]) {
        fs::rename(live.at(from), live.at(to)).expect("mv");
    }
    exchange(&live.at("x"), &live.at("y"));
    exchange(&live.at("p"), &live.at("q"));
    live.arrives();
    assert_eq!(fs::read(live.copy().join("p/only/here")).expect("read"), b"3");
    plant(&live.src, &["p/only/later=4", "q/later=5"]);
    live.arrives();
}

fn a_directory_removed_and_made_again_is_still_seen(engine: &str) {
    let Some(mut live) = Live::new(engine, &["d/f=1"]) else { return };
    for i in 0..10 {
        fs::remove_dir_all(live.at("d")).expect("rm -r");
        plant(&live.src, &[&format!("d/g{i}=x")]);
    }
    live.arrives();
    plant(&live.src, &["d/later=x", "d/sub/deeper=x"]);
    live.arrives();
}

/// On ext4 a new directory gets the number of one that was just removed; so the source lies beside the programs here.
fn a_directory_that_gets_the_number_of_a_removed_one_is_not_taken_for_it(engine: &str) {
    if engine == "fanotify" && !root_or_skip() {
        return;
    }
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["old/f=old content"]);
    let server = world.backup();
    let options = format!("-a --delete --engine {engine}");
    let mut watch = world.agent(&server).watch(&options, slash(&src), "backup");
    until_ok("it is live", || equal(&src, server.module("backup")));
    for i in 0..5 {
        fs::remove_dir_all(src.join(if i == 0 { "old".into() } else { format!("new{}", i - 1) }))
            .expect("rm -r");
        plant(&src, &[&format!("new{i}/g=content {i}")]);
        plant(&src, &[&format!("new{i}/sub/h=deeper {i}")]);
    }
    until_ok("it arrives", || equal(&src, server.module("backup")));
    plant(&src, &["new4/sub/later=x"]);
    until_ok("it is still seen", || equal(&src, server.module("backup")));
    watch.runs();
}

fn renames_of_eight_at_once_come_out_right(engine: &str) {
    let dirs: Vec<String> = (0..8).flat_map(|t| [format!("t{t}/from/"), format!("t{t}/to/")]).collect();
    let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
    let Some(mut live) = Live::new(engine, &dirs) else { return };
    let src = &live.src;
    std::thread::scope(|scope| {
        for t in 0..8 {
            scope.spawn(move || {
                for i in 0..50 {
                    let from = src.join(format!("t{t}/from/{i}"));
                    fs::write(&from, format!("{t} wrote {i}")).expect("write");
                    fs::rename(from, src.join(format!("t{}/to/{t}.{i}", (t + 1) % 8))).expect("mv");
                }
                let moved = src.join(format!("t{t}/moved"));
                fs::create_dir(&moved).expect("mkdir");
                fs::rename(moved, src.join(format!("t{}/moved-by-{t}", (t + 3) % 8))).expect("mv");
            });
        }
    });
    live.arrives();
    assert_eq!(fs::read(live.copy().join("t1/to/0.49")).expect("read"), b"0 wrote 49");
    plant(&live.src, &["t3/moved-by-0/f=x"]);
    live.arrives();
}

fn every_kind_of_entry_and_every_odd_name_arrives(engine: &str) {
    let Some(mut live) = Live::new(engine, &["ready=1"]) else { return };
    let tree = live.outside("tree");
    every_kind(&tree);
    fs::rename(&tree, live.at("moved in whole")).expect("mv");
    live.arrives();
    every_kind(&live.at("made\nin place \u{e9}"));
    live.arrives();
    live.stays();
}

fn a_file_that_changes_kind_arrives_as_what_it_became(engine: &str) {
    let Some(mut live) = Live::new(engine, &["x=a file"]) else { return };
    let x = live.at("x");
    fs::remove_file(&x).expect("rm");
    plant(&live.src, &["x/inner/leaf=now a directory"]);
    live.arrives();
    fs::remove_dir_all(&x).expect("rm -r");
    plant(&live.src, &["x->nowhere"]);
    live.arrives();
    fs::remove_file(&x).expect("rm");
    plant(&live.src, &["x=a file again"]);
    live.arrives();
}

fn the_mtime_alone_of_a_directory_arrives(engine: &str) {
    let Some(mut live) = Live::new(engine, &["d/e/f=1"]) else { return };
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps {
        last_access: omitted,
        last_modification: Timespec { tv_sec: 1_000_000_000, tv_nsec: 7 },
    };
    for dir in ["d/e", "d", "."] {
        utimensat(CWD, live.src.join(dir), &times, AtFlags::empty()).expect("touch -m");
        live.arrives();
    }
}

fn a_directory_swapped_for_a_link_is_not_followed(engine: &str) {
    let Some(mut live) = Live::new(engine, &["a/d/f=1"]) else { return };
    let target = live.outside("target");
    plant(&target, &["d/secret=x"]);
    for i in 0..20 {
        fs::remove_dir_all(live.at("a")).expect("rm -r");
        std::os::unix::fs::symlink(&target, live.at("a")).expect("ln -s");
        plant(&target, &[&format!("d/more{i}=y")]);
        if i < 19 {
            fs::remove_file(live.at("a")).expect("rm");
            plant(&live.src, &["a/d/f=1"]);
        }
    }
    live.arrives();
    plant(&target, &["d/last=y"]);
    plant(&live.src, &["later=2"]);
    live.arrives();
    assert_eq!(names(live.copy()), ["a", "later"]);
    assert_eq!(fs::read_link(live.copy().join("a")).expect("a link"), target);
}

fn a_path_of_five_hundred_directories_is_seen_to_its_end(engine: &str) {
    let Some(mut live) = Live::new(engine, &["ready=1"]) else { return };
    let deep = "deeper/".repeat(500);
    plant(&live.src, &[&format!("{deep}f=1")]);
    live.arrives();
    plant(&live.src, &[&format!("{deep}g=2")]);
    live.arrives();
}

fn what_is_written_through_a_bind_mount_arrives(engine: &str) {
    let Some(mut live) = Live::new(engine, &["d/f=1"]) else { return };
    let beside = live.world.dir("beside");
    mount_bind(&live.src, &beside).expect("mount --bind");
    plant(&beside, &["d/f=changed", "d/new/deep=2"]);
    fs::rename(beside.join("d/new"), beside.join("moved")).expect("mv");
    let arrived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live.arrives()));
    unmount(&beside, UnmountFlags::DETACH).expect("umount");
    arrived.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert_eq!(names(live.copy()), ["d/", "d/f", "moved/", "moved/deep"]);
}

/// Fanotify's mark ends at the file system's border; what lies beyond is polled.
fn what_lies_on_another_file_system_beneath_arrives(engine: &str) {
    let world = World::new();
    let Some(_disk) = SmallDisk::mount(&world.dir("disk"), 16) else { return };
    let src = world.path("disk/src");
    plant(&src, &["d/f=1", "mounted/"]);
    let Some(_inner) = SmallDisk::mount(&src.join("mounted"), 16) else { return };
    plant(&src, &["mounted/deep/f=1"]);
    let server = world.backup();
    let options = format!("-a --delete --engine {engine}");
    let mut watch = world.agent(&server).watch(&options, slash(&src), "backup");
    until_ok("it is live", || equal(&src, server.module("backup")));
    plant(&src, &["mounted/deep/f=changed", "mounted/new/g=2", "d/f=changed"]);
    until_ok("it arrives", || equal(&src, server.module("backup")));
    fs::remove_dir_all(src.join("mounted/deep")).expect("rm -r");
    until_ok("it goes", || equal(&src, server.module("backup")));
    let told = watch.log().contains("mounted: another file system is mounted there");
    assert_eq!(told, engine == "fanotify", "{}", watch.log());
    watch.runs();
}

fn a_root_moved_away_and_replaced_deletes_nothing_and_is_live_again_when_it_is_back(engine: &str) {
    let Some(mut live) = Live::new(engine, &["d/f=1", "g=2"]) else { return };
    let aside = live.outside("aside");
    fs::rename(&live.src, &aside).expect("mv");
    fs::create_dir(&live.src).expect("mkdir");
    until("the agent has noticed", || live.watch.log().contains("nothing is deleted on the server"));
    stays("the copy is whole", || names(live.copy()) == ["d/", "d/f", "g"]);
    fs::remove_dir(&live.src).expect("rmdir");
    fs::rename(&aside, &live.src).expect("mv");
    plant(&live.src, &["d/h=3"]);
    live.arrives();
}

fn a_root_that_is_unmounted_deletes_nothing(engine: &str) {
    let world = World::new();
    let src = world.dir("mounted");
    let Some(disk) = SmallDisk::mount(&src, 16) else { return };
    plant(&src, &["d/f=1", "g=2"]);
    let server = world.backup();
    let options = format!("-a --delete --engine {engine}");
    let mut watch = world.agent(&server).watch(&options, slash(&src), "backup");
    until_ok("it is live", || equal(&src, server.module("backup")));
    drop(disk);
    until("the agent has noticed", || watch.log().contains("nothing is deleted on the server"));
    // What it finds under the name meanwhile is an empty mount point.
    stays("the copy is whole", || names(server.module("backup")) == ["d/", "d/f", "g"]);
    watch.runs();
}

/// Inotify's and fanotify's queues hold 16,384 events; polling has none, and is put to the same test.
fn a_burst_beyond_every_queue_is_made_good(engine: &str) {
    let Some(mut live) = Live::new(engine, &["ready=1"]) else { return };
    live.watch.signal(Signal::STOP);
    for i in 0..20_000 {
        let file = live.at(&format!("f{i}"));
        fs::write(&file, "").expect("write");
        if i % 200 != 0 {
            fs::remove_file(&file).expect("rm");
        }
    }
    plant(&live.src, &["made/in/the/gap/f=1"]);
    fs::remove_file(live.at("ready")).expect("rm");
    live.watch.signal(Signal::CONT);
    live.arrives();
    plant(&live.src, &["made/in/the/gap/later=2"]);
    live.arrives();
    assert_eq!(live.watch.log().contains("events were lost"), engine != "poll", "{}", live.watch.log());
}

/// Makes, writes, renames, exchanges and removes files and directories, and moves them out and in; what fails, fails.
fn disturb(src: &Path, outside: &Path, seed: u64) {
    let mut noise = Noise::new(seed);
    for i in 0..150 {
        let mut path = || {
            let depth = noise.below(3) + 1;
            (0..depth).fold(src.to_owned(), |path, _| path.join(["a", "b", "c"][noise.below(3) as usize]))
        };
        let (one, other) = (path(), path());
        let away = outside.join(format!("away{}", noise.below(3)));
        match noise.below(11) {
            0 | 1 => drop(fs::create_dir_all(&one)),
            2 | 3 => drop(fs::write(one.join("file"), format!("{seed} wrote {i}"))),
            4 | 5 => drop(fs::rename(&one, &other)),
            6 => drop(renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE)),
            7 => drop(fs::remove_dir_all(&one)),
            8 => drop(fs::rename(&one, &away)),
            9 => drop(fs::rename(&away, &one)),
            _ => drop(fs::rename(one.join("file"), other.join("renamed"))),
        }
    }
}

fn whatever_four_do_at_random_the_copy_is_equal_in_the_end(engine: &str) {
    for round in 0..3 {
        let Some(mut live) = Live::new(engine, &["a/file=1", "b/c/file=2"]) else { return };
        let (src, outside) = (live.src.clone(), live.outside(""));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (src, outside) = (&src, &outside);
                scope.spawn(move || disturb(src, outside, 100 * round + thread));
            }
        });
        live.arrives();
        // Every directory that is left is still seen.
        for dir in names(&live.src).iter().filter(|name| name.ends_with('/')) {
            plant(&live.src, &[&format!("{dir}last=x")]);
        }
        live.arrives();
    }
}

// === limits: what cannot be watched is polled ===

/// Runs an agent as if this host's limits were these: in a user namespace of its own, which has its own
/// (`namespaces(7)`). `None`, after a loud skip, where there are none.
pub(crate) fn limited(world: &World, server: &Server, limits: &[(&str, u32)]) -> Option<Agent> {
    let unshare = find("unshare")?;
    let mut script = String::from("set -e\n");
    for (limit, value) in limits {
        script += &format!("echo {value} > /proc/sys/user/{limit}\n");
    }
    let possible = Command::new(&unshare).args(["-Ur", "sh", "-c", &script]).status().expect("unshare runs");
    if !possible.success() {
        driftless_tests::oracle::skip("no user namespace with limits of its own");
        return None;
    }
    script += "exec \"$@\"";
    let unshare = unshare.to_str().expect("UTF-8");
    Some(world.agent(server).within(&[unshare, "-Ur", "sh", "-c", &script, "sh"]))
}

#[test]
fn directories_beyond_the_limit_on_watches_are_named_and_polled() {
    let world = World::new();
    let src = world.path("src");
    let entries: Vec<String> = (0..6).map(|i| format!("dir-{i}/sub/f={i}")).collect();
    plant(&src, &entries.iter().map(String::as_str).collect::<Vec<_>>());
    let server = world.backup();
    // The directory above, the root, and one more.
    let Some(agent) = limited(&world, &server, &[("max_inotify_watches", 3)]) else { return };
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it is compared", || equal(&src, server.module("backup")));
    for i in 0..6 {
        plant(&src, &[&format!("dir-{i}/sub/f=changed {i}"), &format!("dir-{i}/new/g=x")]);
    }
    fs::rename(src.join("dir-1"), src.join("renamed")).expect("mv");
    until_ok("it arrives", || equal(&src, server.module("backup")));
    plant(&src, &["renamed/sub/later=x", "at the top=live"]);
    fs::remove_dir_all(src.join("dir-2")).expect("rm -r");
    until_ok("it arrives", || equal(&src, server.module("backup")));
    let log = watch.log();
    assert!(log.contains("dir-"), "{log}");
    assert!(log.contains("raise it: sysctl user.max_inotify_watches="), "{log}");
    let status = agent.operate("status").ok().stdout;
    assert!(status.contains("engine inotify\n") && status.contains("polled: dir-"), "{status}");
    watch.runs();
}

#[test]
fn a_directory_made_when_no_watch_is_left_is_polled_and_the_rest_stays_live() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["d/f=1"]);
    let server = world.backup();
    let Some(agent) = limited(&world, &server, &[("max_inotify_watches", 3)]) else { return };
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it is live", || equal(&src, server.module("backup")));
    assert!(!watch.log().contains("sysctl"), "{}", watch.log());
    plant(&src, &["later/deep/f=1"]);
    until_ok("it arrives", || equal(&src, server.module("backup")));
    plant(&src, &["later/deep/f=changed", "later/deep/er/g=2", "d/f=changed"]);
    until_ok("what changes in it arrives", || equal(&src, server.module("backup")));
    let log = watch.log();
    assert!(log.contains("later: user.max_inotify_watches is used up (3"), "{log}");
    watch.runs();
}

#[test]
fn with_no_instance_left_everything_is_polled_unless_inotify_was_asked_for() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["d/f=1"]);
    let server = world.backup();
    let Some(agent) = limited(&world, &server, &[("max_inotify_instances", 0)]) else { return };
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it is compared", || equal(&src, server.module("backup")));
    plant(&src, &["d/f=changed", "e/g=2"]);
    until_ok("it arrives", || equal(&src, server.module("backup")));
    let log = watch.log();
    assert!(log.contains("sysctl user.max_inotify_instances="), "{log}");
    assert!(log.contains("it is polled"), "{log}");
    watch.runs();
    watch.kill();
    let refused = agent.run("watch", "-a --engine inotify", &[&slash(&src), &agent.remote("backup")]);
    // The last line names the exit code.
    let complaints = refused.exits(11);
    let complaints = complaints.complaints();
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints[0].contains("sysctl user.max_inotify_instances="), "{complaints:?}");
}

/// What `--engine auto` has to come to for a source: fanotify where the kernel gives it to us, else inotify.
pub(crate) fn auto_engine(agent: &Agent, src: &Path) -> &'static str {
    let tried = agent.run("doctor", "-a", &[&slash(src), &agent.remote("backup")]);
    if tried.stdout.contains("fanotify works") { "fanotify" } else { "inotify" }
}

#[test]
fn auto_takes_fanotify_where_it_can_and_inotify_without_the_rights() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["d/f=1"]);
    let server = world.backup();
    let mut agents = vec![world.agent(&server)];
    agents.extend(limited(&world, &server, &[]));
    for agent in &agents {
        let auto = auto_engine(agent, &src);
        let mut watch = agent.watch("-a --delete", slash(&src), "backup");
        until("it runs", || agent.operate("status").stdout.contains(&format!("engine {auto}\n")));
        plant(&src, &[&format!("d/{auto}=live")]);
        until_ok("it arrives", || equal(&src, server.module("backup")));
        watch.kill();
    }
    if let Some(limited) = agents.get(1) {
        assert_eq!(auto_engine(limited, &src), "inotify");
    }
    // A mark on the file system above would tell nothing of this.
    let Some(_disk) = SmallDisk::mount(&src.join("d"), 1) else { return };
    let _watch = agents[0].watch("-a --delete", slash(&src), "backup");
    until("it runs", || agents[0].operate("status").stdout.contains("engine inotify\n"));
}

#[test]
fn fanotify_without_the_rights_is_refused_with_what_is_missing() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["d/f=1"]);
    let server = world.backup();
    let Some(agent) = limited(&world, &server, &[]) else { return };
    let refused = agent.run("watch", "-a --engine fanotify", &[&slash(&src), &agent.remote("backup")]);
    let complaints = refused.exits(11);
    let complaints = complaints.complaints();
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints[0].contains("fanotify needs root's right CAP_SYS_ADMIN"), "{complaints:?}");
}

#[test]
fn an_engine_is_for_watch_only_and_known_by_name() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let agent = world.stranger();
    for (command, options) in [("push", "-a --engine poll"), ("watch", "-a --engine dnotify")] {
        let refused = agent.run(command, options, &[&slash(&src), &agent.remote("backup")]).exits(1);
        assert_eq!(refused.complaints().len(), 1, "{}", refused.stderr);
        assert!(refused.stderr.contains("--engine"), "{}", refused.stderr);
    }
}
