//! A watch keeps the copy live: every way in which a tree changes arrives, and only what the rules let through.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use driftless_tests::World;
use driftless_tests::agent::Running;
use driftless_tests::oracle::slash;
use driftless_tests::server::Server;
use driftless_tests::trees::{edit, equal, every_kind, names, plant, set_mtime, write_noise};
use driftless_tests::wait::{until, until_ok};
use driftless_tests::wire::{Way, Wire};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::Signal;

/// A source that is watched, and the module it is kept live in.
struct Live {
    src: PathBuf,
    server: Server,
    watch: Running,
    /// Counts what the watch sends.
    wire: Wire,
    // Dropped last: the folder outlives the two programs.
    world: World,
}

impl Live {
    /// Plants these entries, watches them and waits until they have arrived.
    fn with(options: &str, entries: &[&str]) -> Self {
        let world = World::new();
        plant(&world.path("src"), entries);
        Self::over(world, options)
    }

    fn over(world: World, options: &str) -> Self {
        let src = world.path("src");
        let server = world.backup();
        let wire = Wire::to(server.address());
        let watch = world.agent(&server).through(&wire).watch(options, slash(&src), "backup");
        until_ok("the first reconcile", || equal(&src, server.module("backup")));
        Self { src, server, watch, wire, world }
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

#[test]
fn every_kind_of_entry_is_there_after_the_first_reconcile() {
    let world = World::new();
    every_kind(&world.path("src"));
    let mut live = Live::over(world, "-a --delete");
    live.stays();
}

#[test]
fn every_kind_of_entry_arrives_live() {
    let mut live = Live::with("-a --delete", &["ready=1"]);
    let tree = live.world.path("tree");
    every_kind(&tree);
    fs::rename(&tree, live.src.join("moved in whole")).expect("mv");
    live.arrives();
    every_kind(&live.src.join("made in place"));
    live.arrives();
    live.stays();
}

#[test]
fn what_is_created_written_deleted_and_chmodded_arrives() {
    let mut live = Live::with("-a --delete", &["d/f=1", "gone=2", "dir/g=3"]);
    plant(&live.src, &["new=1", "d/f=changed"]);
    live.arrives();
    fs::remove_file(live.src.join("gone")).expect("rm");
    fs::remove_dir_all(live.src.join("dir")).expect("rm -r");
    live.arrives();
    fs::set_permissions(live.src.join("new"), fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::set_permissions(live.src.join("d"), fs::Permissions::from_mode(0o2770)).expect("chmod");
    live.arrives();
    set_mtime(&live.src.join("new"), 1_000_000_000, 5);
    set_mtime(&live.src.join("d"), -5, 7);
    live.arrives();
}

#[test]
fn without_a_slash_the_directory_itself_is_kept_live_too() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["f=1", "d/g=2"]);
    let mut watch = world.agent(&server).watch("-a --delete", &src, "backup");
    let copy = server.module("backup").join("src");
    until_ok("the first reconcile", || equal(&src, &copy));
    let mode = |path: &Path| fs::metadata(path).expect("stat").permissions().mode();
    for (bits, name) in [(0o750, "new"), (0o2711, "newer")] {
        fs::set_permissions(&src, fs::Permissions::from_mode(bits)).expect("chmod");
        until("its mode arrives", || mode(&copy) == mode(&src));
        plant(&src, &[&format!("{name}=1"), "f=changed"]);
        set_mtime(&src, 1_000_000_000, 5);
        until_ok("all of it arrives", || equal(&src, &copy));
        let time = |path: &Path| fs::metadata(path).expect("stat").modified().expect("time");
        until("its time arrives", || time(&copy) == time(&src));
    }
    watch.runs();
}

#[test]
fn a_leaf_written_the_moment_its_directories_are_made_arrives() {
    let mut live = Live::with("-a --delete", &["ready=1"]);
    for i in 0..300 {
        plant(&live.src, &[&format!("{i}/a/b/c/f=leaf {i}")]);
    }
    live.arrives();
    assert_eq!(names(live.copy()).iter().filter(|name| name.ends_with("/f")).count(), 300);
}

#[test]
fn a_rename_sends_no_content_again() {
    let world = World::new();
    world.dir("src/d");
    write_noise(&world.path("src/d/big"), 8 << 20, 1);
    plant(&world.path("src"), &["d/e/f=1"]);
    let mut live = Live::over(world, "-a --delete");
    let before = live.wire.carried(Way::Up);
    fs::rename(live.src.join("d/big"), live.src.join("d/bigger")).expect("mv");
    live.arrives();
    fs::rename(live.src.join("d"), live.src.join("other")).expect("mv");
    plant(&live.src, &["other/e/deep=written at once"]);
    live.arrives();
    let sent = live.wire.carried(Way::Up) - before;
    assert!(sent < 1 << 20, "{sent} bytes for two renames");
}

#[test]
fn chained_and_crossed_renames_come_out_right() {
    let mut live = Live::with("-a --delete", &["a/f=1", "x=left", "y=right", "p/in=1", "q/in=2"]);
    let path = |name: &str| live.src.join(name);
    for (from, to) in ["a", "b", "c", "d", "e", "f"].iter().zip(["b", "c", "d", "e", "f", "g"]) {
        fs::rename(path(from), path(to)).expect("mv");
    }
    for (one, other) in [("x", "y"), ("p", "q")] {
        renameat_with(CWD, path(one), CWD, path(other), RenameFlags::EXCHANGE).expect("exchange");
    }
    live.arrives();
    assert_eq!(names(live.copy()), ["g/", "g/f", "p/", "p/in", "q/", "q/in", "x", "y"]);
    assert_eq!(fs::read(live.copy().join("x")).expect("read"), b"right");
}

#[test]
fn what_is_moved_out_is_forgotten_and_what_is_moved_in_is_found() {
    let mut live = Live::with("-a --delete", &["out/d/f=1", "stays=2"]);
    let outside = live.world.path("outside");
    fs::rename(live.src.join("out"), &outside).expect("mv");
    plant(&outside, &["d/g=written outside"]);
    live.arrives();
    assert_eq!(names(live.copy()), ["stays"]);
    fs::rename(&outside, live.src.join("in")).expect("mv");
    live.arrives();
    assert_eq!(names(live.copy()), ["in/", "in/d/", "in/d/f", "in/d/g", "stays"]);
}

#[test]
fn the_dances_of_editors_end_in_one_file() {
    let mut live = Live::with("-a --delete", &["text=first"]);
    let path = |name: &str| live.src.join(name);
    // Write beside, rename over.
    for i in 0..20 {
        fs::write(path(".text.swp"), format!("version {i}")).expect("write");
        fs::rename(path(".text.swp"), path("text")).expect("mv");
    }
    // Move to a backup name, write anew, remove the backup.
    fs::rename(path("text"), path("text~")).expect("mv");
    fs::write(path("text"), "written anew").expect("write");
    fs::remove_file(path("text~")).expect("rm");
    // A probe that is gone at once.
    fs::write(path("4913"), "").expect("write");
    fs::remove_file(path("4913")).expect("rm");
    // A hard link under a new name, the old one removed.
    fs::hard_link(path("text"), path("linked")).expect("ln");
    fs::remove_file(path("text")).expect("rm");
    live.arrives();
    assert_eq!(names(live.copy()), ["linked"]);
}

#[test]
fn a_file_that_changes_kind_arrives_as_what_it_became() {
    let mut live = Live::with("-a --delete", &["x=a file"]);
    let x = live.src.join("x");
    fs::remove_file(&x).expect("rm");
    plant(&live.src, &["x/inner=now a directory"]);
    live.arrives();
    fs::remove_dir_all(&x).expect("rm -r");
    symlink("nowhere", &x).expect("ln -s");
    live.arrives();
    fs::remove_file(&x).expect("rm");
    symlink("somewhere else", &x).expect("ln -s");
    live.arrives();
    fs::remove_file(&x).expect("rm");
    plant(&live.src, &["x=a file again"]);
    live.arrives();
}

#[test]
fn a_directory_made_again_under_its_old_name_is_watched() {
    let mut live = Live::with("-a --delete", &["d/f=1"]);
    for i in 0..10 {
        fs::remove_dir_all(live.src.join("d")).expect("rm -r");
        plant(&live.src, &[&format!("d/g{i}=x")]);
    }
    live.arrives();
    plant(&live.src, &["d/later=x", "d/sub/deeper=x"]);
    live.arrives();
}

#[test]
fn an_edit_in_a_large_file_sends_only_the_edit() {
    let world = World::new();
    world.dir("src");
    write_noise(&world.path("src/big"), 64 << 20, 1);
    let mut live = Live::over(world, "-a --delete");
    let before = live.wire.total();
    edit(&live.src.join("big"), 4, 4096, 2);
    live.arrives();
    let bytes = live.wire.total() - before;
    assert!(bytes < 2 << 20, "{bytes} bytes for four edits");
    let before = live.wire.total();
    let mut big = fs::File::options().append(true).open(live.src.join("big")).expect("open");
    big.write_all(&[7; 100_000]).expect("write");
    drop(big);
    live.arrives();
    let bytes = live.wire.total() - before;
    assert!(bytes < 2 << 20, "{bytes} bytes for an append");
}

#[test]
fn a_file_changed_within_its_old_size_and_mtime_arrives() {
    let mut live = Live::with("-a --delete", &["f=before"]);
    let meta = fs::metadata(live.src.join("f")).expect("stat");
    fs::write(live.src.join("f"), "after!").expect("write");
    let file = fs::File::options().write(true).open(live.src.join("f")).expect("open");
    file.set_times(fs::FileTimes::new().set_modified(meta.modified().expect("mtime"))).expect("touch -r");
    live.arrives();
    assert_eq!(fs::read(live.copy().join("f")).expect("read"), b"after!");
}

#[test]
fn a_burst_of_many_files_arrives_whole() {
    let mut live = Live::with("-a --delete", &["ready=1"]);
    for i in 0..3000 {
        plant(&live.src, &[&format!("{}/{i}=content {i}", i % 30)]);
    }
    live.arrives();
    for i in 0..3000 {
        let path = live.src.join(format!("{}/{i}", i % 30));
        if i % 3 == 0 {
            fs::remove_file(path).expect("rm");
        } else {
            fs::write(path, format!("rewritten {i}")).expect("write");
        }
    }
    live.arrives();
    live.stays();
}

#[test]
fn without_delete_the_copy_keeps_what_the_source_lost() {
    let live = Live::with("-a", &["kept=1", "changed=2"]);
    fs::remove_file(live.src.join("kept")).expect("rm");
    plant(&live.src, &["changed=after that"]);
    until("the later change arrives", || {
        fs::read(live.copy().join("changed")).is_ok_and(|content| content == b"after that")
    });
    assert_eq!(names(live.copy()), ["changed", "kept"]);
}

#[test]
fn what_takes_no_part_is_told_with_each_comparison() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1", "d/l->f", "d/m->f"]);
    let server = world.backup();
    let watch = world.agent(&server).watch("-rt", slash(&src), "backup");
    let told = "skipping 2 non-regular files, d/l the first: not asked for (-l, -D)";
    until("it is told", || watch.log().contains(told));
    until("the rest arrives", || names(server.module("backup")) == ["d/", "f"]);
}

#[test]
fn what_is_excluded_neither_arrives_nor_goes() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1", "x.log=2", "cache/g=3"]);
    let server = world.backup();
    plant(server.module("backup"), &["old.log=protected", "surplus=x"]);
    let agent = world.agent(&server);
    let mut watch = agent.watch("-a --delete --exclude=*.log --exclude=/cache/", slash(&src), "backup");
    until("the first reconcile", || names(server.module("backup")) == ["f", "old.log"]);
    plant(&src, &["y.log=4", "cache/deep/h=5", "d/z.log=6", "d/cache/i=7"]);
    fs::rename(src.join("f"), src.join("f.log")).expect("mv");
    until("the change arrives", || {
        names(server.module("backup")) == ["d/", "d/cache/", "d/cache/i", "old.log"]
    });
    fs::rename(src.join("y.log"), src.join("y.txt")).expect("mv");
    until("what is renamed out of the rules arrives", || server.module("backup").join("y.txt").exists());
    watch.runs();
}

#[test]
fn a_link_is_stored_and_what_it_points_to_is_not_watched() {
    let mut live = Live::with("-a --delete", &["f=1"]);
    let outside = live.world.path("outside");
    plant(&outside, &["secret=x"]);
    symlink(&outside, live.src.join("link")).expect("ln -s");
    live.arrives();
    plant(&outside, &["more=y"]);
    plant(&live.src, &["later=2"]);
    live.arrives();
    assert_eq!(names(live.copy()), ["f", "later", "link"]);
    assert_eq!(fs::read_link(live.copy().join("link")).expect("a link"), outside);
}

#[test]
fn sigterm_is_the_orderly_end_of_a_watch() {
    let mut live = Live::with("-a --delete", &["f=1"]);
    live.watch.signal(Signal::TERM);
    assert_eq!(live.watch.wait(), Some(0), "{}", live.watch.log());
}

#[test]
fn a_watch_over_a_broken_and_mended_wire_goes_on() {
    let mut live = Live::with("-a --delete", &["f=1"]);
    for i in 0..3 {
        live.wire.cut();
        plant(&live.src, &[&format!("{i}/while/cut=x"), "f=changed"]);
        live.wire.mend();
        live.arrives();
    }
}
