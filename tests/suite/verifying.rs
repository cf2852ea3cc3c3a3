//! Verify: whether a copy is one, content by content, and what differs where it is not.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use driftless_tests::World;
use driftless_tests::agent::{Agent, Outcome};
use driftless_tests::oracle::slash;
use driftless_tests::server::Server;
use driftless_tests::trees::{assert_equal, every_kind, flip, plant, write_noise};
use driftless_tests::wait::until;
use driftless_tests::wire::Wire;

const MIB: u64 = 1 << 20;

/// A source, and its copy in the module `backup`.
struct Copied {
    agent: Agent,
    src: PathBuf,
    copy: PathBuf,
    server: Server,
    // Dropped last: the folder outlives the programs.
    _world: World,
}

impl Copied {
    fn with(names: &[&str]) -> Self {
        let world = World::new();
        let server = world.backup();
        let src = world.dir("src");
        plant(&src, names);
        let agent = world.agent(&server);
        let copied = Self { agent, src, copy: server.module("backup").to_owned(), server, _world: world };
        copied.agent.push("-a --delete", slash(&copied.src), "backup").ok();
        copied
    }

    fn verify(&self, options: &str) -> Outcome {
        self.agent.run("verify", options, &[&slash(&self.src), &self.agent.remote("backup")])
    }
}

fn set_time(path: &Path, time: SystemTime) {
    File::open(path).expect("open").set_modified(time).expect("time");
}

/// The lines about paths: all but the last.
fn named(out: &Outcome) -> Vec<&str> {
    let mut lines: Vec<&str> = out.stdout.lines().collect();
    lines.pop().expect("a verdict");
    lines
}

#[test]
fn a_clean_copy_is_equal_and_few_bytes_say_so() {
    let copied = Copied::with(&[]);
    every_kind(&copied.src);
    for dir in 0..20 {
        let files: Vec<String> = (0..50).map(|file| format!("d{dir}/f{file}=content {file}")).collect();
        plant(&copied.src, &files.iter().map(String::as_str).collect::<Vec<_>>());
    }
    write_noise(&copied.src.join("large"), 3 * MIB, 1);
    copied.agent.push("-a --delete", slash(&copied.src), "backup").ok();
    let wire = Wire::to(copied.server.address());
    let agent = copied.agent.clone().through(&wire);
    let out = agent.run("verify", "", &[&slash(&copied.src), &agent.remote("backup")]).ok();
    assert!(out.stdout.trim_end().ends_with(": equal"), "{}", out.stdout);
    assert_eq!(named(&out), [""; 0]);
    assert!(wire.total() < 8 * 1024, "{} bytes for a look at 1,000 equal files", wire.total());
    let out = copied.verify("--json").ok();
    let part = out.stdout.contains("\"equal\":true") && out.stdout.contains("\"drift\":[]");
    assert!(part, "{}", out.stdout);
}

#[test]
fn one_flipped_byte_under_the_old_size_and_time_is_found_named_and_repaired() {
    let copied = Copied::with(&["a/b/small=some content", "a/other=same"]);
    write_noise(&copied.src.join("a/large"), 2 * MIB, 7);
    copied.agent.push("-a", slash(&copied.src), "backup").ok();
    flip(&copied.copy.join("a/b/small"));
    flip(&copied.copy.join("a/large"));
    // What the quick check cannot see.
    let out = copied.agent.push("-av", slash(&copied.src), "backup").ok();
    assert!(!out.stdout.contains("small") && !out.stdout.contains("large"), "{}", out.stdout);
    let out = copied.verify("").exits(40);
    assert_eq!(named(&out), ["content  a/b/small", "content  a/large"]);
    let out = copied.verify("--repair").ok();
    assert!(out.stdout.contains("equal, 2 repaired"), "{}", out.stdout);
    assert_equal(&copied.src, &copied.copy);
    copied.verify("").ok();
}

#[test]
fn every_difference_has_its_name_and_nothing_is_changed_unless_asked() {
    let copied =
        Copied::with(&["gone/f=1", "gone/g=2", "mode=3", "time=4", "kind=5", "size=6", "dir/x=7", "same=8"]);
    symlink("here", copied.src.join("link")).expect("link");
    copied.agent.push("-a", slash(&copied.src), "backup").ok();
    let copy = |name: &str| copied.copy.join(name);
    fs::remove_dir_all(copy("gone")).expect("rm");
    fs::set_permissions(copy("mode"), fs::Permissions::from_mode(0o600)).expect("chmod");
    set_time(&copy("time"), SystemTime::UNIX_EPOCH + Duration::from_secs(77));
    fs::remove_file(copy("kind")).expect("rm");
    fs::create_dir(copy("kind")).expect("mkdir");
    fs::write(copy("size"), "longer").expect("write");
    fs::remove_file(copy("link")).expect("rm");
    symlink("there", copy("link")).expect("link");
    plant(&copied.copy, &["extra/a=1", "extra/b=2", "dir/more=3"]);
    fs::set_permissions(copy("dir"), fs::Permissions::from_mode(0o700)).expect("chmod");
    // Their times changed with what is in them, and the root's.
    for (dir, like) in [("dir", "dir"), ("", "")] {
        let time = fs::metadata(copied.src.join(like)).expect("stat").modified().expect("time");
        set_time(&copy(dir), time);
    }
    let (before, theirs) = (snapshot(&copied.src), snapshot(&copied.copy));
    let out = copied.verify("").exits(40);
    let want = [
        "mode     dir",
        "extra    dir/more",
        "extra    extra",
        "extra    extra/a",
        "extra    extra/b",
        "missing  gone",
        "missing  gone/f",
        "missing  gone/g",
        "kind     kind",
        "content,mtime link",
        "mode     mode",
        "content,mtime size",
        "mtime    time",
    ];
    assert_eq!(named(&out), want);
    assert!(out.stdout.contains("13 differ"), "{}", out.stdout);
    assert_eq!(snapshot(&copied.src), before);
    assert_eq!(snapshot(&copied.copy), theirs);

    let out = copied.verify("--ignore-extra").exits(40);
    assert!(!out.stdout.contains("extra "), "{}", out.stdout);
    // An empty directory gives way without --delete, as in rsync; what only the copy has stays.
    let out = copied.verify("--repair").exits(40);
    assert_eq!(named(&out), ["extra    dir/more", "extra    extra", "extra    extra/a", "extra    extra/b"]);
    copied.verify("--ignore-extra").ok();
    copied.verify("--repair --delete").ok();
    assert_equal(&copied.src, &copied.copy);
}

/// Every name with its mode, time and content.
fn snapshot(dir: &Path) -> Vec<(String, u32, SystemTime, Option<Vec<u8>>)> {
    let one = |name: String| {
        let path = dir.join(&name);
        let meta = fs::symlink_metadata(&path).expect("stat");
        let content = meta.is_file().then(|| fs::read(&path).expect("read"));
        (name, meta.permissions().mode(), meta.modified().expect("time"), content)
    };
    driftless_tests::trees::names(dir).into_iter().map(one).collect()
}

#[test]
fn a_source_without_a_slash_and_a_single_file_are_verified_where_they_lie() {
    let copied = Copied::with(&["d/f=1", "one=single"]);
    let remote = copied.agent.remote("backup/deep/");
    fs::create_dir(copied.copy.join("deep")).expect("mkdir");
    copied.agent.run("push", "-a", &[&copied.src, &remote]).ok();
    copied.agent.run("verify", "", &[&copied.src, &remote]).ok();
    flip(&copied.copy.join("deep/src/d/f"));
    let out = copied.agent.run("verify", "", &[&copied.src, &remote]).exits(40);
    assert_eq!(named(&out), ["content  src/d/f"]);
    copied.agent.run("verify", "--repair", &[&copied.src, &remote]).ok();
    let file = copied.agent.remote("backup/another-name");
    copied.agent.run("push", "-a", &[&copied.src.join("one"), &file]).ok();
    copied.agent.run("verify", "", &[&copied.src.join("one"), &file]).ok();
    flip(&copied.copy.join("another-name"));
    let out = copied.agent.run("verify", "", &[&copied.src.join("one"), &file]).exits(40);
    assert_eq!(named(&out), ["content  another-name"]);
    copied.agent.run("verify", "--repair", &[&copied.src.join("one"), &file]).ok();
    assert_eq!(fs::read(copied.copy.join("another-name")).expect("read"), b"single");
}

#[test]
fn beside_a_watch_the_watch_repairs_and_its_operands_need_not_be_typed() {
    let copied = Copied::with(&["a/f=content", "a/g=more", "skip.o=1"]);
    let mut watch = copied.agent.watch("-a --delete --exclude=*.o", slash(&copied.src), "backup");
    until("it watches", || watch.log().contains("watching"));
    copied.agent.operate("verify").ok();
    flip(&copied.copy.join("a/f"));
    fs::write(copied.copy.join("skip.o"), "others' affair").expect("write");
    plant(&copied.copy, &["a/extra=1"]);
    let out = copied.agent.operate("verify").exits(40);
    assert_eq!(named(&out), ["mtime    a", "extra    a/extra", "content  a/f"]);
    let g = copied.src.join("a/g");
    copied.agent.operate(&format!("verify {}", g.display())).ok();
    let f = copied.src.join("a/f");
    let out = copied.agent.operate(&format!("verify --repair {}", f.display())).ok();
    assert!(out.stdout.contains("equal, 1 repaired"), "{}", out.stdout);
    assert_eq!(fs::read(copied.copy.join("a/f")).expect("read"), b"content");
    copied.agent.operate("verify --repair").exits(40);
    copied.agent.operate("verify --repair --delete").ok();
    assert!(!copied.copy.join("a/extra").exists());
    assert_eq!(fs::read(copied.copy.join("skip.o")).expect("read"), b"others' affair");
    watch.runs();
    watch.kill();
    let out = copied.agent.operate("verify").exits(10);
    assert!(out.stderr.contains("no watch is running"), "{}", out.stderr);
}

#[test]
fn what_a_watch_has_not_brought_across_yet_is_pending_and_no_drift() {
    let copied = Copied::with(&["old=content"]);
    let watch = copied.agent.watch("-a --delete --bwlimit=512", slash(&copied.src), "backup");
    until("it watches", || watch.log().contains("watching"));
    copied.agent.operate("verify").ok();
    // What changed before anything that is still on its way is not on its way itself.
    let planted = fs::metadata(copied.src.join("old")).expect("stat").modified().expect("time");
    until("it is old", || planted.elapsed().is_ok_and(|age| age > Duration::from_secs(1)));
    // Eight seconds of the watch's bandwidth.
    write_noise(&copied.src.join("slow"), 4 * MIB, 3);
    flip(&copied.copy.join("old"));
    let out = copied.verify("--wait=1").exits(40);
    assert_eq!(named(&out), ["content  old", "pending  slow"]);
    copied.verify("--repair --wait=1").exits(41);
    until("it has arrived", || copied.verify("--wait=0").code == Some(0));
}

#[test]
fn what_cannot_be_read_is_a_failure_and_not_equal() {
    if !driftless_tests::oracle::root_or_skip() {
        return;
    }
    let world = World::new();
    let uid = ["uid = 65534", "gid = 65534"];
    let server = world.server().module("backup", &uid).start();
    let copy = server.module("backup");
    rustix::fs::chown(copy, Some(rustix::fs::Uid::from_raw(65534)), None).expect("chown");
    let src = world.dir("src");
    plant(&src, &["f=1", "g=2"]);
    let agent = world.agent(&server);
    agent.push("-rlpt", slash(&src), "backup").ok();
    let verify = || agent.run("verify", "--no-o --no-g", &[&slash(&src), &agent.remote("backup")]);
    verify().ok();
    rustix::fs::chown(copy.join("f"), Some(rustix::fs::Uid::ROOT), None).expect("chown");
    fs::set_permissions(copy.join("f"), fs::Permissions::from_mode(0o644)).expect("chmod");
    verify().ok();
    fs::set_permissions(src.join("f"), fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::set_permissions(copy.join("f"), fs::Permissions::from_mode(0o600)).expect("chmod");
    let out = verify().exits(23);
    assert!(out.stderr.contains("f: read: Permission denied"), "{}", out.stderr);
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    let world = World::new();
    let agent = world.stranger();
    let src = world.dir("src");
    for options in ["--delete", "-n", "--repair -n", "--repair --delete --ignore-extra", "--progress"] {
        agent.run("verify", options, &[&src, &"host::m"]).exits(1);
    }
    for options in ["verify -a", "verify --exclude=x", "verify --port=1 /tmp"] {
        let out = agent.operate(options).exits(1);
        assert!(out.stderr.contains("needs SRC and a destination"), "{}", out.stderr);
    }
    agent.run("verify", "-H", &[&src, &"host::m"]).exits(4);
}
