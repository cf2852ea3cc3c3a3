//! Faults in the middle of a push or pull: whatever dies, a final name shows the old content or the new, and the next run completes.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use driftless_tests::World;
use driftless_tests::agent::leftovers;
use driftless_tests::oracle::{root_or_skip, skip, slash};
use driftless_tests::trees::{assert_equal, names, plant, write_noise};
use driftless_tests::wait::{eventually, until};
use driftless_tests::wire::{Way, Wire};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Resource, Rlimit, prlimit};

const MIB: u64 = 1 << 20;

/// Who may write to little.
const NOBODY: u32 = 65534;

/// Looks at one file as fast as it can and notes whether it ever was anything but absent or one of the whole contents.
pub(crate) struct Lookout {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, u64>>,
}

impl Lookout {
    /// Watches a file whose honest lengths are these. Contents are compared by the test afterwards: a torn file that
    /// has its full length already would have to be written in place, which the inode gives away.
    pub(crate) fn over(file: &Path, lengths: &[u64]) -> Self {
        let (file, lengths) = (file.to_owned(), lengths.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut looks = 0;
            while !flag.load(Ordering::SeqCst) {
                looks += 1;
                if let Ok(meta) = fs::symlink_metadata(&file)
                    && !lengths.contains(&meta.len())
                {
                    return Err(meta.len());
                }
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            Ok(looks)
        });
        Self { stop, thread }
    }

    /// Asserts that nothing half-written was ever seen.
    #[track_caller]
    pub(crate) fn saw_nothing_torn(self) {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.join().expect("no panic") {
            Ok(looks) => assert!(looks > 10, "it looked only {looks} times"),
            Err(len) => panic!("a file of {len} bytes was seen under the final name"),
        }
    }
}

#[test]
fn a_tree_of_more_directories_than_the_server_may_open_arrives() {
    let world = World::new();
    let server = world.backup();
    let few = Rlimit { current: Some(900), maximum: Some(900) };
    prlimit(Some(server.pid()), Resource::Nofile, few).expect("prlimit");
    let src = world.dir("src");
    for i in 0..3000 {
        fs::create_dir_all(src.join(format!("{}/{i}", i % 10))).expect("mkdir");
    }
    let agent = world.agent(&server);
    let push = || {
        agent.push("-a", slash(&src), "backup").ok();
        assert_equal(&src, server.module("backup"));
    };
    push();
    // Not a first push, and each of them has another mode.
    for i in 0..3000 {
        let dir = src.join(format!("{}/{i}", i % 10));
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("chmod");
    }
    push();
}

#[test]
fn a_server_killed_in_the_middle_of_a_push_leaves_the_old_file_and_nothing_else() {
    let world = World::new();
    let mut server = world.backup();
    let file = world.path("src/big");
    world.dir("src");
    write_noise(&file, 64 * MIB, 1);
    plant(server.module("backup"), &["big=the old content"]);
    let lookout = Lookout::over(&server.module("backup").join("big"), &[15, 64 * MIB]);

    let wire = Wire::to(server.address());
    wire.throttle(32 * MIB);
    let agent = world.agent(&server).through(&wire);
    let mut push = agent.spawn("push", "-a", &[&file, &agent.remote("backup")]);
    until("half of it is across", || wire.carried(Way::Up) > 32 * MIB);
    server.kill();
    let code = push.wait();
    assert!(matches!(code, Some(10 | 12)), "{code:?}: {}", push.log());
    assert_eq!(fs::read(server.module("backup").join("big")).expect("read"), b"the old content");
    assert_eq!(names(server.module("backup")), ["big"], "something of ours is left");

    server.start();
    world.agent(&server).push("-a", slash(&world.path("src")), "backup").ok();
    lookout.saw_nothing_torn();
    assert_equal(&world.path("src"), server.module("backup"));
}

#[test]
fn an_agent_killed_in_the_middle_of_a_push_leaves_nothing_under_the_final_name() {
    let world = World::new();
    let server = world.backup();
    world.dir("src");
    let file = world.path("src/big");
    write_noise(&file, 64 * MIB, 1);
    let wire = Wire::to(server.address());
    wire.throttle(32 * MIB);
    let agent = world.agent(&server).through(&wire);
    let mut push = agent.spawn("push", "-a", &[&file, &agent.remote("backup")]);
    until("half of it is across", || wire.carried(Way::Up) > 32 * MIB);
    push.kill();
    assert_eq!(names(server.module("backup")), [""; 0]);
    world.agent(&server).push("-a", slash(&world.path("src")), "backup").ok();
    assert_equal(&world.path("src"), server.module("backup"));
    assert!(leftovers(server.module("backup")).is_empty());
}

#[test]
fn an_agent_killed_in_the_middle_of_a_pull_leaves_nothing_under_the_final_name() {
    let world = World::new();
    let server = world.backup();
    write_noise(&server.module("backup").join("big"), 64 * MIB, 1);
    let dest = world.dir("dest");
    let wire = Wire::to(server.address());
    wire.throttle(32 * MIB);
    let agent = world.agent(&server).through(&wire);
    let mut pull = agent.spawn("pull", "-a", &[&agent.remote("backup/"), &dest]);
    until("half of it is across", || wire.carried(Way::Down) > 32 * MIB);
    pull.kill();
    assert!(!dest.join("big").exists());
    world.agent(&server).pull("-a", "backup/", &dest).ok();
    assert_equal(server.module("backup"), &dest);
}

#[test]
fn a_wire_cut_in_the_middle_of_a_push_ends_it_with_an_error() {
    let world = World::new();
    let server = world.backup();
    world.dir("src");
    let file = world.path("src/big");
    write_noise(&file, 32 * MIB, 1);
    let wire = Wire::to(server.address());
    wire.cut_after(Way::Up, 10 * MIB);
    let out = world.agent(&server).through(&wire).push("-a", &file, "backup");
    assert!(wire.is_cut());
    assert!(matches!(out.code, Some(10 | 12)), "{:?}: {}", out.code, out.stderr);
    assert!(!server.module("backup").join("big").exists());
    wire.mend();
    world.agent(&server).through(&wire).push("-a", slash(&world.path("src")), "backup").ok();
    assert_equal(&world.path("src"), server.module("backup"));
}

#[test]
fn a_large_file_that_changes_and_cannot_be_created_fails_alone() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let modules = world.dir("module");
    fs::set_permissions(&modules, fs::Permissions::from_mode(0o755)).expect("chmod");
    for (dir, owner) in [("closed", 0), ("open", NOBODY)] {
        fs::create_dir(modules.join(dir)).expect("mkdir");
        chown(modules.join(dir), Some(owner), Some(owner)).expect("chown");
    }
    let options = [&format!("uid = {NOBODY}")[..], &format!("gid = {NOBODY}")];
    let server = world.server().module_at("backup", &modules, &options).start();
    let src = world.path("src");
    plant(&src, &["open/f=arrives", "closed/small=does not"]);
    let log = src.join("closed/log");
    write_noise(&log, 16 * MIB, 1);
    let wire = Wire::to(server.address());
    wire.throttle(16 * MIB);
    let agent = world.agent(&server).through(&wire);
    let mut push = agent.spawn("push", "-rt", &[&slash(&src), &agent.remote("backup")]);
    let mut log = fs::File::options().append(true).open(log).expect("open");
    let code = eventually("it ends", || {
        log.write_all(b"one line more\n").expect("write");
        push.ended().map(|status| status.code())
    });
    assert_eq!(code, Some(23), "{}", push.log());
    for told in ["closed/log: create: Permission denied", "closed/small: write: Permission denied"] {
        assert_eq!(push.log().matches(told).count(), 1, "each is told once: {}", push.log());
    }
    assert_eq!(fs::read(modules.join("open/f")).expect("read"), b"arrives");
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let world = World::new();
    let server = world.backup();
    let file = world.path("big");
    write_noise(&file, 32 * MIB, 1);
    let wire = Wire::to(server.address());
    wire.throttle(32 * MIB);
    let agent = world.agent(&server).through(&wire);
    let mut push = agent.spawn("push", "-a --timeout=2", &[&file, &agent.remote("backup")]);
    until("some of it is across", || wire.carried(Way::Up) > 8 * MIB);
    wire.stall(true);
    assert_eq!(push.wait(), Some(30), "{}", push.log());
}

#[test]
fn sigterm_lets_the_server_drain() {
    let world = World::new();
    let mut server = world.backup();
    world.agent(&server).push("-a", world.file("f", "1"), "backup").ok();
    assert_eq!(server.stop().code(), Some(0));
    server.start();
    world.agent(&server).push("-a", world.file("f", "2"), "backup").ok();
    assert_eq!(fs::read(server.module("backup").join("f")).expect("read"), b"2");
}

/// A small file system of its own, gone when dropped.
pub(crate) struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// A tmpfs of this many MiB at `path`; `None`, after a loud skip, where it cannot be mounted.
    pub(crate) fn mount(path: &Path, mib: u64) -> Option<Self> {
        if !root_or_skip() {
            return None;
        }
        let options = std::ffi::CString::new(format!("size={mib}m,mode=755")).expect("no NUL");
        match mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => Some(Self(path.to_owned())),
            Err(error) => {
                skip(&format!("no tmpfs can be mounted: {error}"));
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached: a server may still hold it, and lets go when it is dropped itself.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_ends_a_push_with_its_own_code_and_tears_nothing() {
    let world = World::new();
    let path = world.dir("small");
    let Some(_disk) = SmallDisk::mount(&path, 16) else {
        return;
    };
    let server = world.server().module_at("backup", &path, &[]).start();
    let src = world.dir("src");
    write_noise(&src.join("large"), 32 * MIB, 1);
    write_noise(&src.join("small"), MIB, 2);
    let lookout = Lookout::over(&path.join("large"), &[]);
    let agent = world.agent(&server);
    let out = agent.push("-a", slash(&src), "backup").exits(11);
    assert!(out.stderr.contains("No space left on device"), "{}", out.stderr);
    lookout.saw_nothing_torn();
    assert!(!path.join("large").exists());

    fs::remove_file(src.join("large")).expect("rm");
    agent.push("-a", slash(&src), "backup").ok();
    assert_equal(&src, &path);
}
