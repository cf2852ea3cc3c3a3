//! Claims about Root and Dir: what a name can reach.
#![expect(clippy::disallowed_methods, reason = "tests look at the disk past the Root on purpose")]

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;

use rustix::io::Errno;

use super::testing::{Ground, assert_errno, path, root_or_skip};
use super::{LastDir, Root, Style};
use crate::model::entry::Kind;
use crate::model::path::RelPath;

#[test]
fn a_symlink_is_refused_at_every_depth() {
    let ground = Ground::new();
    fs::create_dir_all(ground.path("a/b/c")).expect("directories");
    ground.write("a/b/c/f", b"inside");
    for depth in ["a", "a/b", "a/b/c"] {
        let (real, aside) = (ground.path(depth), ground.path("aside"));
        fs::rename(&real, &aside).expect("rename");
        symlink(&aside, &real).expect("symlink");
        assert_errno(ground.root.dir(&path("a/b/c")), Errno::LOOP);
        assert_errno(ground.root.beneath(&path("a/b/c")), Errno::LOOP);
        assert_errno(ground.root.found(&path("a/b/c/f")), Errno::LOOP);
        assert_errno(ground.root.parent_of(&path("a/b/c/f")), Errno::LOOP);
        fs::remove_file(&real).expect("remove");
        fs::rename(&aside, &real).expect("rename back");
    }
    assert_eq!(ground.root.found(&path("a/b/c/f")).expect("found").entry.size(), 6);
}

#[test]
fn the_last_directory_is_held_until_another_is_used_or_it_is_forgotten() {
    let ground = Ground::new();
    for (file, size) in [("a/f", 1), ("b/f", 2), ("f", 3)] {
        fs::create_dir_all(ground.path(file).parent().expect("one")).expect("directory");
        ground.write(file, &vec![0; size]);
    }
    let last = LastDir::new(&ground.root);
    let size = |name: &str| last.found(&path(name)).map(|found| found.entry.size());
    for (name, want) in [("a/f", 1), ("b/f", 2), ("f", 3), ("a/f", 1)] {
        assert_eq!(size(name).expect("found"), want, "{name}");
        let ours = ground.root.inode(&path(name)).expect("inode");
        assert_eq!(last.inode(&path(name)).expect("inode").ino, ours.ino, "{name}");
    }
    fs::rename(ground.path("a"), ground.path("aside")).expect("rename");
    assert_eq!(size("a/f").expect("it is held"), 1);
    last.forget();
    assert_errno(last.found(&path("a/f")), Errno::NOENT);
    // What cannot be opened is not taken for what was held before.
    assert_eq!(size("b/f").expect("found"), 2);
    assert_errno(last.parent_of(&path("a/g")), Errno::NOENT);
    assert_eq!(size("b/f").expect("found"), 2);
    assert!(last.parent_of(&RelPath::root()).is_err());
    let top = last.found(&RelPath::root()).expect("found").stat;
    assert_eq!(top.ino, last.inode(&RelPath::root()).expect("inode").ino);
}

#[test]
fn a_link_in_the_last_place_is_found_and_never_opened() {
    let ground = Ground::new();
    symlink("/etc/passwd", ground.path("l")).expect("symlink");
    symlink("/etc", ground.path("d")).expect("symlink");
    let top = ground.top();
    let found = top.found(b"l").expect("found").entry;
    assert_eq!(found.kind, Kind::Symlink { target: b"/etc/passwd"[..].into() });
    assert_errno(top.open_file(b"l"), Errno::LOOP);
    assert_errno(top.child(b"d"), Errno::LOOP);
}

#[test]
fn nothing_above_a_held_directory_is_reached() {
    let ground = Ground::new();
    fs::create_dir_all(ground.path("a/b")).expect("directories");
    let dir = ground.root.dir(&path("a/b")).expect("dir");
    assert_errno(dir.child(b".."), Errno::XDEV);
    assert!(RelPath::parse(b"a/../..").is_err());
}

#[test]
fn the_operators_own_path_may_hold_links_and_counts_once() {
    let ground = Ground::new();
    fs::create_dir(ground.path("real")).expect("directory");
    ground.write("real/f", b"x");
    symlink("real", ground.path("link")).expect("symlink");
    let root = Root::open(&ground.path("link"), Style::default()).expect("root");
    fs::remove_file(ground.path("link")).expect("remove");
    fs::rename(ground.path("real"), ground.path("moved")).expect("rename");
    assert!(root.found(&path("f")).is_ok());
    let again = Root::open(&ground.path("moved"), Style::default()).expect("root");
    assert_eq!(root.identity().expect("identity"), again.identity().expect("identity"));
    assert_ne!(root.identity().expect("identity"), ground.root.identity().expect("identity"));
    assert_errno(Root::open(&ground.path("moved/f"), Style::default()), Errno::NOTDIR);
}

#[test]
fn only_a_regular_file_is_opened_and_a_fifo_does_not_hold_us() {
    let ground = Ground::new();
    ground.write("f", b"content");
    fs::create_dir(ground.path("d")).expect("directory");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(ground.top().fd(), "p", fifo, rustix::fs::Mode::RUSR, 0).expect("fifo");
    let (mut file, found) = ground.top().open_file(b"f").expect("file");
    let mut content = Vec::new();
    file.read_to_end(&mut content).expect("read");
    assert_eq!((&*content, found), (&b"content"[..], ground.top().found(b"f").expect("found")));
    for other in [&b"d"[..], b"p"] {
        let error = ground.top().open_file(other).expect_err("not a file");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    assert_errno(ground.top().open_file(b"none"), Errno::NOENT);
}

#[test]
fn any_name_the_file_system_takes_is_a_name() {
    let ground = Ground::new();
    let long = [b'n'; 255];
    for name in [&b"new\nline"[..], b"\xff\xfe", b" ", b"-rf", b"\\", &long] {
        ground.write(name, b"x");
        assert_eq!(ground.top().found(name).expect("found").entry.size(), 1);
        assert_eq!(ground.root.found(&RelPath::parse(name).expect("path")).expect("found").stat.size, 1);
    }
    let listed = super::walk::list(&ground.top()).expect("listing").entries;
    let listed: Vec<Vec<u8>> = listed.into_iter().map(|entry| entry.name.into_vec()).collect();
    assert_eq!(listed, ground.names());
    assert_errno(ground.top().found(&[b'n'; 256]), Errno::NAMETOOLONG);
}

#[test]
fn a_changed_file_has_another_stamp() {
    let ground = Ground::new();
    ground.write("f", b"1");
    let stamp = || ground.top().found(b"f").expect("found").stat;
    let first = stamp();
    assert_eq!(first, stamp());
    fs::hard_link(ground.path("f"), ground.path("g")).expect("link");
    assert_ne!(first, stamp());
}

#[test]
fn an_empty_root_may_hold_temporary_files_of_ours() {
    let ground = Ground::new();
    assert!(ground.root.is_empty().expect("empty"));
    ground.write(super::reserved::fresh(), b"x");
    assert!(ground.root.is_empty().expect("empty"));
    ground.write("f", b"");
    assert!(!ground.root.is_empty().expect("not empty"));
}

#[test]
fn what_can_be_kept_depends_on_the_thread_that_asks() {
    if !root_or_skip("what can be kept depends on the thread that asks") {
        return;
    }
    let (plain, fake) = (Ground::new(), Ground::fake_super());
    let owners = |ground: &Ground| ground.root.keeps(true).expect("keeps").owners;
    assert!(owners(&plain) && owners(&fake));
    let nobody = rustix::fs::Uid::from_raw(65534);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("setuid");
            assert!(!owners(&plain) && owners(&fake));
        });
    });
    assert!(owners(&plain));
    assert_eq!(plain.root.keeps(false).expect("keeps").time_granularity_ns, 1);
}
