//! Claims about removing trees and sweeping up.

use super::*;
use crate::disk::reserved;
use crate::model::entry::Time;

fn plant(ground: &Ground) {
    fs::create_dir_all(ground.path("t/a/b")).expect("directories");
    fs::create_dir_all(ground.path("t/z")).expect("directories");
    ground.write("t/a/b/f", b"f");
    ground.write("t/a/g", b"g");
    ground.write("t/h", b"h");
    ground.write([b"t/a/b/", &reserved::fresh()[..]].concat(), b"forgotten");
    symlink("/etc", ground.path("t/l")).expect("symlink");
}

/// What was removed, in order, and whether all was.
fn removed(ground: &Ground, protected: &[&str]) -> (Vec<String>, bool) {
    let mut gone = Vec::new();
    let mut protect = |path: &[u8], _: bool| protected.iter().any(|p| p.as_bytes() == path);
    let mut hear = |path: &[u8], kind: &Kind| {
        let slash = if *kind == Kind::Dir { "/" } else { "" };
        gone.push(format!("{}{slash}", String::from_utf8_lossy(path)));
    };
    let all = remove_tree(&ground.top(), b"t", &mut protect, &mut hear).expect("removed");
    (gone, all)
}

#[test]
fn a_tree_goes_deepest_first_and_links_are_not_followed() {
    let ground = Ground::new();
    plant(&ground);
    let (gone, all) = removed(&ground, &[]);
    assert_eq!(gone, ["a/b/f", "a/b/", "a/g", "a/", "h", "l", "z/", "/"]);
    assert!(all && ground.names().is_empty());
}

#[test]
fn what_is_protected_stays_with_the_directories_it_lies_in() {
    for (protected, gone) in [
        ("a/b/f", &["a/g", "h", "l", "z/"][..]),
        ("a/b", &["a/g", "h", "l", "z/"]),
        ("l", &["a/b/f", "a/b/", "a/g", "a/", "h", "z/"]),
        ("a", &["h", "l", "z/"]),
    ] {
        let ground = Ground::new();
        plant(&ground);
        assert_eq!(removed(&ground, &[protected]), (gone.iter().map(|&s| s.to_owned()).collect(), false));
        assert!(ground.path(format!("t/{protected}")).symlink_metadata().is_ok());
    }
}

#[test]
fn only_a_directory_is_a_tree_and_only_the_rest_is_removed_alone() {
    let ground = Ground::new();
    plant(&ground);
    fs::rename(ground.path("t/l"), ground.path("l")).expect("rename");
    let mut no = |_: &[u8], _: bool| false;
    assert_errno(remove_tree(&ground.top(), b"l", &mut no, &mut |_, _| {}), Errno::LOOP);
    assert_errno(remove(&ground.top(), b"t"), Errno::ISDIR);
    remove(&ground.top(), b"l").expect("removed");
    assert!(std::path::Path::new("/etc").exists());
    assert_eq!(ground.names(), [b"t"]);
}

#[test]
fn a_mount_is_never_crossed() {
    if !root_or_skip("a mount is never crossed") {
        return;
    }
    let ground = Ground::new();
    plant(&ground);
    fs::create_dir(ground.path("t/m")).expect("directory");
    let mount =
        rustix::mount::mount("tmpfs", ground.path("t/m"), "tmpfs", rustix::mount::MountFlags::empty(), None);
    if mount.is_err() {
        eprintln!("SKIPPED for want of the right to mount: a mount is never crossed");
        return;
    }
    ground.write("t/m/f", b"on another file system");
    let done = remove_tree(&ground.top(), b"t", &mut |_, _| false, &mut |_, _| {});
    let kept = ground.path("t/m/f").exists();
    rustix::mount::unmount(ground.path("t/m"), rustix::mount::UnmountFlags::empty()).expect("unmount");
    assert_errno(done, Errno::XDEV);
    assert!(kept);
    assert_eq!(crate::disk::testing::names(&ground.path("t")), [b"m"], "the rest is gone");
}

#[test]
fn only_old_temporary_files_of_ours_are_swept() {
    let ground = Ground::new();
    let old = reserved::fresh();
    ground.write(old, b"");
    symlink("x", ground.path(reserved::fresh().as_slice())).expect("symlink");
    ground.write(".~dl-not-ours", b"");
    assert_eq!(sweep(&ground.top(), Time::default()).expect("swept"), 0);
    assert_eq!(ground.names().len(), 3);
    assert_eq!(sweep(&ground.top(), Time { sec: i64::MAX, nsec: 0 }).expect("swept"), 2);
    assert_eq!(ground.names(), [b".~dl-not-ours"]);
}
