//! Brakes: what looks like a disaster of the source is not repeated on the copy until somebody has agreed to it.

use std::fs;
use std::path::{Path, PathBuf};

use driftless_tests::World;
use driftless_tests::agent::{Agent, Running};
use driftless_tests::oracle::{find, root_or_skip, slash};
use driftless_tests::server::Server;
use driftless_tests::trees::{equal, names, plant};
use driftless_tests::wait::{stays, until, until_ok};
use rustix::fs::renameat;
use rustix::process::Signal;

use crate::faults::SmallDisk;

/// A source under watch with `--delete`, and its copy.
pub(crate) struct Held {
    pub(crate) src: PathBuf,
    pub(crate) server: Server,
    pub(crate) agent: Agent,
    pub(crate) watch: Running,
    // Dropped last: the folder outlives the programs.
    pub(crate) world: World,
}

impl Held {
    pub(crate) fn over(world: World, src: PathBuf) -> Self {
        let server = world.backup();
        let agent = world.agent(&server);
        let watch = agent.watch("-a --delete", slash(&src), "backup");
        let held = Self { src, server, agent, watch, world };
        until_ok("the first reconcile", || equal(&held.src, held.copy()));
        held.knows();
        held
    }

    pub(crate) fn with(entries: &[&str]) -> Self {
        let world = World::new();
        let src = world.path("src");
        plant(&src, entries);
        Self::over(world, src)
    }

    pub(crate) fn copy(&self) -> &Path {
        self.server.module("backup")
    }

    /// Waits until the journal's inventory has followed the first comparison.
    fn knows(&self) {
        // The source itself is none of them.
        let known = format!("\"known_entries\":{},", names(&self.src).len());
        until("the copy is known", || self.agent.operate("status --json").stdout.contains(&known));
    }

    pub(crate) fn start_again(&mut self) {
        self.watch.kill();
        self.watch = self.agent.watch("-a --delete", slash(&self.src), "backup");
    }

    pub(crate) fn says(&self, text: &str) {
        until(format!("it says {text:?}"), || self.watch.log().contains(text));
    }

    /// It says the second after the first, as it was last said.
    pub(crate) fn says_after(&self, first: &str, second: &str) {
        until(format!("it says {second:?} after {first:?}"), || {
            self.watch.log().rsplit_once(first).is_some_and(|(_, after)| after.contains(second))
        });
    }

    /// Everything of the copy is still there, and stays.
    #[track_caller]
    pub(crate) fn copy_keeps(&self, entries: &[&str]) {
        stays("the copy is whole", || entries.iter().all(|name| self.copy().join(name).exists()));
    }

    pub(crate) fn approve(&self) {
        let id = self.agent.plan("held");
        assert!(self.watch.log().contains(&format!("driftless plan approve {id}")), "{}", self.watch.log());
        self.agent.operate(&format!("plan approve {id}")).ok();
    }

    pub(crate) fn reject(&self) {
        let id = self.agent.plan("held");
        self.agent.operate(&format!("plan reject {id}")).ok();
    }

    #[track_caller]
    pub(crate) fn arrives(&mut self) {
        until_ok("it arrives", || equal(&self.src, self.copy()));
        self.watch.runs();
    }
}

const TREE: [&str; 3] = ["d/f=1", "d/g=2", "h=3"];
const KEPT: [&str; 3] = ["d/f", "d/g", "h"];

/// Replaced while it runs: the same at the next start would find no difference.
fn replaced() -> Held {
    let held = Held::with(&TREE);
    fs::rename(&held.src, held.world.path("aside")).expect("mv");
    plant(&held.src, &["new=4"]);
    held.says("deletions are held");
    held
}

#[test]
fn a_root_that_is_replaced_deletes_nothing_until_that_is_approved() {
    let mut held = replaced();
    until("the new source flows", || held.copy().join("new").exists());
    held.copy_keeps(&KEPT);
    held.approve();
    held.arrives();
    assert_eq!(names(held.copy()), ["new"]);
    until("the plan is done with", || held.agent.operate("plan list").stdout.starts_with("no plans"));
    plant(&held.src, &["later=5"]);
    fs::remove_file(held.src.join("new")).expect("rm");
    held.arrives();
}

#[test]
fn a_large_directory_that_is_renamed_is_not_taken_for_lost() {
    let mut entries: Vec<String> = (0..1500).map(|id| format!("before/file{id}=content {id}")).collect();
    entries.extend((0..90).map(|id| format!("junk/file{id}=junk")));
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let held = Held::with(&entries);
    for round in 0..3 {
        let (from, to) = if round % 2 == 0 { ("before", "after") } else { ("after", "before") };
        fs::rename(held.src.join(from), held.src.join(to)).expect("rename");
        // So many that the brake has a look at what is missing.
        for id in round * 30..round * 30 + 30 {
            fs::remove_file(held.src.join(format!("junk/file{id}"))).expect("rm");
        }
        held.agent.operate("wait --all").ok();
        assert!(equal(&held.src, held.copy()).is_ok(), "after {to}");
    }
    let log = held.watch.log();
    assert!(!log.contains("are held") && !log.contains("connecting again"), "{log}");
}

#[test]
fn a_root_that_is_replaced_leaves_the_copy_what_it_has_when_that_is_rejected() {
    let mut held = replaced();
    held.reject();
    held.says("no longer held");
    // What goes before that stream is there is weighed with it.
    held.agent.operate("wait --all").ok();
    // The new root is a source like any other: what it loses goes, unless it loses all it has.
    plant(&held.src, &["stays=5"]);
    until("the new source flows", || held.copy().join("new").exists() && held.copy().join("stays").exists());
    fs::remove_file(held.src.join("new")).expect("rm");
    until("its deletions leave", || !held.copy().join("new").exists());
    held.copy_keeps(&KEPT);
    held.start_again();
    held.copy_keeps(&KEPT);
    // What is seen in the source again is the source's.
    plant(&held.src, &["d/f=anew", "h=anew"]);
    until("it has arrived", || fs::read(held.copy().join("h")).is_ok_and(|content| content == b"anew"));
    until("that too", || fs::read(held.copy().join("d/f")).is_ok_and(|content| content == b"anew"));
    assert!(held.copy().join("d/g").exists(), "not seen again");
    fs::remove_file(held.src.join("h")).expect("rm");
    until("it is the source's to delete", || !held.copy().join("h").exists());
    assert!(held.copy().join("d/g").exists());
}

#[test]
fn a_root_that_vanished_is_waited_for_with_a_plan() {
    let mut held = Held::with(&TREE);
    fs::rename(&held.src, held.world.path("aside")).expect("mv");
    held.says("nothing is deleted on the server");
    let vanished = held.agent.plan("held");
    let told = format!("\"plan\":\"{vanished}\"");
    until("the status tells of it", || held.agent.operate("status --json").stdout.contains(&told));
    held.copy_keeps(&KEPT);
    fs::rename(held.world.path("aside"), &held.src).expect("mv");
    until("the plan is void", || held.agent.operate("plan list").stdout.starts_with("no plans"));
    fs::remove_file(held.src.join("h")).expect("rm");
    held.arrives();
}

#[test]
fn a_root_that_is_empty_at_the_next_start_deletes_nothing_until_that_is_approved() {
    let mut held = Held::with(&TREE);
    held.watch.kill();
    fs::remove_dir_all(held.src.join("d")).expect("rm -r");
    fs::remove_file(held.src.join("h")).expect("rm");
    held.start_again();
    held.says("is empty");
    held.copy_keeps(&KEPT);
    held.approve();
    held.arrives();
    // An empty source is no news any more.
    until("the plan is done with", || held.agent.operate("plan list").stdout.starts_with("no plans"));
    held.start_again();
    held.says("in sync");
}

#[test]
fn a_root_that_is_empty_at_the_next_start_and_was_rejected_fills_the_copy_again() {
    let mut held = Held::with(&TREE);
    held.watch.kill();
    fs::remove_dir_all(held.src.join("d")).expect("rm -r");
    fs::remove_file(held.src.join("h")).expect("rm");
    held.start_again();
    held.says("is empty");
    held.reject();
    held.says("no longer held");
    plant(&held.src, &["new=1"]);
    until("the source flows", || held.copy().join("new").exists());
    held.copy_keeps(&KEPT);
    // Approved after all.
    let id = held.agent.plan("rejected");
    held.agent.operate(&format!("plan approve {id}")).ok();
    held.arrives();
}

#[test]
fn an_empty_source_without_a_journal_empties_no_copy() {
    // With a slash the source is the destination itself, without one a name in it.
    for (copy, slashed) in [("backup", true), ("backup/src", false)] {
        let mut held = Held::with(&TREE);
        held.watch.kill();
        fs::remove_dir_all(&held.src).expect("rm -r");
        fs::create_dir(&held.src).expect("mkdir");
        let kept = held.world.path("modules").join(copy);
        plant(&kept, &TREE);
        fs::rename(held.world.path("home/state"), held.world.path("lost")).expect("the journal is lost");
        let source = if slashed { slash(&held.src) } else { held.src.clone().into_os_string() };
        held.watch = held.agent.watch("-a --delete", source, "backup");
        held.says("is empty");
        stays("the copy is whole", || KEPT.iter().all(|name| kept.join(name).exists()));
        held.approve();
        until("approved, it leaves", || kept.exists() && names(&kept).is_empty());
    }
}

#[test]
fn a_root_that_is_unmounted_deletes_nothing() {
    let world = World::new();
    let src = world.dir("src");
    let Some(disk) = SmallDisk::mount(&src, 16) else { return };
    plant(&src, &TREE);
    let mut held = Held::over(world, src);
    drop(disk);
    held.says("deletions are held");
    held.copy_keeps(&KEPT);
    held.start_again();
    held.says("deletions are held");
    held.copy_keeps(&KEPT);
    held.approve();
    held.arrives();
    assert_eq!(names(held.copy()), [""; 0]);
}

#[test]
fn a_mount_over_a_directory_holds_what_it_hides_and_nothing_else() {
    let mut held = Held::with(&["sub/deep/f=1", "sub/g=2", "h=3"]);
    let sub = held.src.join("sub");
    let Some(disk) = SmallDisk::mount(&sub, 16) else { return };
    held.says("sub: another file system is mounted over it");
    plant(&sub, &["g=of the mounted one", "other=4"]);
    fs::remove_file(held.src.join("h")).expect("rm");
    plant(&held.src, &["new=5"]);
    until("the rest flows, deletions too", || {
        !held.copy().join("h").exists() && held.copy().join("new").exists()
    });
    held.copy_keeps(&["sub/deep/f", "sub/g"]);
    assert_eq!(fs::read(held.copy().join("sub/g")).expect("read"), b"2");
    // The next start comes to the same view.
    held.start_again();
    held.says("left alone");
    held.copy_keeps(&["sub/deep/f", "sub/g"]);
    assert!(!held.copy().join("sub/other").exists());
    drop(disk);
    until("the plan is void", || held.agent.operate("plan list").stdout.starts_with("no plans"));
    fs::remove_file(held.src.join("sub/g")).expect("rm");
    held.arrives();
}

#[test]
fn a_mount_over_a_directory_takes_its_place_once_approved() {
    let mut held = Held::with(&["sub/deep/f=1", "sub/g=2", "h=3"]);
    let Some(_disk) = SmallDisk::mount(&held.src.join("sub"), 16) else { return };
    plant(&held.src, &["sub/other=4"]);
    held.says("mounted over it");
    held.approve();
    held.arrives();
    assert_eq!(names(held.copy()), ["h", "sub/", "sub/other"]);
    plant(&held.src, &["sub/live/f=5"]);
    held.arrives();
}

#[test]
fn what_is_renamed_beneath_a_mount_leaves_the_stream_alone() {
    let mut held = Held::with(&["sub/deep/f=1", "sub/g=2", "h=3"]);
    let sub = held.src.join("sub");
    // Whoever has it open still gets there, and its watch still tells of it.
    let beneath = fs::File::open(&sub).expect("open");
    let Some(_disk) = SmallDisk::mount(&sub, 16) else { return };
    held.says("sub: another file system is mounted over it");
    held.says_after("mounted over it", "in sync");
    let streams = held.watch.log().matches("connected to").count();
    for (i, (from, to)) in [("deep", "deeper"), ("g", "deeper/g"), ("deeper", "deep")].into_iter().enumerate()
    {
        renameat(&beneath, from, &beneath, to).expect("mv");
        let live = format!("live{i}");
        plant(&held.src, &[&format!("{live}=6")]);
        until("the rest flows", || held.copy().join(&live).exists());
    }
    held.copy_keeps(&["sub/deep/f", "sub/g", "h"]);
    assert_eq!(held.watch.log().matches("connected to").count(), streams, "{}", held.watch.log());
    held.watch.runs();
}

#[test]
fn what_cannot_be_read_is_left_alone_and_nothing_else() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if !root_or_skip() {
        return;
    }
    let Some(setpriv) = find("setpriv") else { return };
    let mut held = Held::with(&["sub/deep/f=1", "sub/g=2", "h=3"]);
    held.watch.kill();
    // Nobody is root to EACCES, so the agent is nobody: the nearest to EIO that can be had without a failing disk.
    for path in [held.world.path("home"), held.world.path("password")] {
        chown_all(&path, &|path| chown(path, Some(65534), Some(65534)).expect("chown"));
    }
    let sub = held.src.join("sub");
    fs::set_permissions(&sub, fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::remove_file(held.src.join("h")).expect("rm");
    let log = held.world.path("nobody.log");
    let server = held.server.address();
    let mut watch = std::process::Command::new(setpriv)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(driftless_tests::world::program("driftless"))
        .args(["watch", "-rlt", "--delete", "--fingerprint", &held.server.fingerprint()])
        .args(["--port", &server.port().to_string(), "--password-file"])
        .arg(held.world.path("password"))
        .arg("--state-dir")
        .arg(held.world.path("home/state"))
        .args([slash(&held.src), held.agent.remote("backup").into()])
        .stdout(fs::File::create(&log).expect("log"))
        .stderr(fs::File::options().append(true).open(&log).expect("log"))
        .spawn()
        .expect("setpriv runs");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    until("it says what cannot be read", || said().contains("sub: Permission denied"));
    until("other deletions leave", || !held.copy().join("h").exists());
    held.copy_keeps(&["sub/deep/f", "sub/g"]);
    plant(&held.src, &["new=4"]);
    until("the rest flows", || held.copy().join("new").exists());
    fs::remove_file(sub.join("g")).expect("rm");
    held.copy_keeps(&["sub/deep/f", "sub/g"]);
    fs::set_permissions(&sub, fs::Permissions::from_mode(0o755)).expect("chmod");
    until("what can be read again flows again", || !held.copy().join("sub/g").exists());
    assert!(held.copy().join("sub/deep/f").exists());
    watch.kill().expect("kill");
    watch.wait().expect("wait");
}

/// Does this to a path and everything beneath it.
fn chown_all(path: &Path, chown: &dyn Fn(&Path)) {
    chown(path);
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        chown_all(&entry.path(), chown);
    }
}

/// A source of 2,500 files in 50 directories.
fn large() -> Held {
    let world = World::new();
    let src = world.path("src");
    for i in 0..2500 {
        plant(&src, &[&format!("{}/{i}={i}", i % 50)]);
    }
    Held::over(world, src)
}

/// Removes three files of five, and makes one that still has to arrive.
fn lose_most(src: &Path) {
    for i in (0..2500).filter(|i| i % 5 < 3) {
        fs::remove_file(src.join(format!("{}/{i}", i % 50))).expect("rm");
    }
    plant(src, &["meanwhile=1"]);
}

fn files(dir: &Path) -> usize {
    names(dir).iter().filter(|name| !name.ends_with('/')).count()
}

#[test]
fn most_of_a_source_lost_while_it_is_watched_is_held_until_it_is_approved() {
    let mut held = large();
    // Faster than it can be repeated, however busy the machine is.
    held.watch.signal(Signal::STOP);
    lose_most(&held.src);
    held.watch.signal(Signal::CONT);
    held.says("the brake is 1000:50%");
    until("the rest flows", || held.copy().join("meanwhile").exists());
    // Some leave before the loss can be told from daily work: one in 64.
    stays("the copy has the most", || files(held.copy()) > 2400);
    plant(&held.src, &["0/later=2"]);
    until("the rest still flows", || held.copy().join("0/later").exists());
    // The plan follows what goes on.
    until("the plan names all that is missing", || {
        let missing = files(held.copy()) - files(&held.src);
        let id = held.agent.plan("held");
        let shown = held.agent.operate(&format!("plan show {id}")).stdout;
        shown.lines().any(|line| line == format!("entries {missing}"))
    });
    held.approve();
    held.arrives();
    until("the plan is done with", || held.agent.operate("plan list").stdout.starts_with("no plans"));
    // Daily work goes on.
    fs::remove_dir_all(held.src.join("3")).expect("rm -r");
    held.arrives();
}

#[test]
fn most_of_a_source_lost_while_nobody_watched_stays_on_the_copy_once_rejected() {
    let mut held = large();
    held.watch.kill();
    lose_most(&held.src);
    held.start_again();
    held.says("1500 of 2550 entries");
    until("the rest flows", || held.copy().join("meanwhile").exists());
    assert_eq!(files(held.copy()), 2501);
    held.reject();
    held.says("no longer held");
    fs::remove_file(held.src.join("meanwhile")).expect("rm");
    until("other deletions leave", || !held.copy().join("meanwhile").exists());
    assert_eq!(files(held.copy()), 2500);
    held.start_again();
    held.says("in sync");
    stays("the copy keeps them", || files(held.copy()) == 2500);
}

#[test]
fn what_was_held_and_rejected_does_not_count_as_gone() {
    let entries: Vec<String> = (0..20).map(|i| format!("{i}={i}")).collect();
    let mut held = Held::with(&entries.iter().map(String::as_str).collect::<Vec<_>>());
    held.watch.kill();
    for name in ["0", "1", "2"] {
        fs::remove_file(held.src.join(name)).expect("rm");
    }
    held.watch = held.agent.watch("-a --delete --brake=0:10%", slash(&held.src), "backup");
    held.says("3 of 20 entries");
    held.says("but for the deletions that are held");
    held.reject();
    held.says("no longer held");
    // One of twenty; with the three it would be too many.
    fs::remove_file(held.src.join("3")).expect("rm");
    until("it leaves", || !held.copy().join("3").exists());
    held.copy_keeps(&["0", "1", "2"]);
}

#[test]
fn the_brake_can_be_set_and_taken_off_and_is_for_watch_alone() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["a=1", "b=2", "c=3", "d=4", "e=5"]);
    let server = world.backup();
    let agent = world.agent(&server);
    let mut watch = agent.watch("-a --delete --brake=2:50%", slash(&src), "backup");
    until("the copy is known", || agent.operate("status --json").stdout.contains("\"known_entries\":5,"));
    until_ok("equal", || equal(&src, server.module("backup")));
    watch.kill();
    for name in ["a", "b", "c"] {
        fs::remove_file(src.join(name)).expect("rm");
    }
    let mut watch = agent.watch("-a --delete --brake=2:50%", slash(&src), "backup");
    until("it holds", || watch.log().contains("3 of 5 entries (60 %)"));
    assert_eq!(names(server.module("backup")).len(), 5);
    watch.kill();
    let mut watch = agent.watch("-a --delete --brake=off", slash(&src), "backup");
    until_ok("nothing is held", || equal(&src, server.module("backup")));
    watch.runs();

    for command in ["push", "sync"] {
        let out = agent.run(command, "-a --delete --brake=off", &[&slash(&src), &agent.remote("backup")]);
        assert_eq!(out.exits(1).complaints().len(), 1);
    }
    let out = agent.pull("-a --delete --brake=1:2%", "backup", &src).exits(1);
    assert!(out.stderr.contains("--brake is for watch only"), "{}", out.stderr);
    for bad in ["5", "x:5%", "5:100%"] {
        let out = agent.run("watch", &format!("-a --brake={bad}"), &[&slash(&src), &agent.remote("backup")]);
        assert_eq!(out.exits(1).complaints().len(), 1, "{bad}");
    }
}
