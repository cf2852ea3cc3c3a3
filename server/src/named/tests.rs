//! Links of ours are followed, links of others are not; a replacement is whole.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn write(path: &Path, content: &str) {
    Place::find(path).expect("place").replace(content.as_bytes(), 0o644, None).expect("write");
}

#[test]
fn our_own_links_are_followed_in_the_middle_and_at_the_end() {
    let dir = tempfile::tempdir().expect("dir");
    let at = |name: &str| dir.path().join(name);
    drop(private_folder(&at("real/deep")).expect("folder"));
    write(&at("real/deep/file"), "found");
    symlink("real", at("there")).expect("link");
    symlink(at("there/deep/../deep/file"), at("leaf")).expect("link");
    assert_eq!(read(&at("leaf")).expect("read").bytes, b"found");
    write(&at("leaf"), "new");
    assert_eq!(read(&at("real/deep/file")).expect("read").bytes, b"new");
}

#[test]
fn a_link_of_another_user_is_refused_at_any_depth() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make another user's link");
        return;
    }
    let dir = tempfile::tempdir().expect("dir");
    let at = |name: &str| dir.path().join(name);
    drop(private_folder(&at("real")).expect("folder"));
    write(&at("real/file"), "x");
    for (link, path) in [("mid", "mid/file"), ("leaf", "leaf")] {
        symlink(if link == "mid" { "real" } else { "real/file" }, at(link)).expect("link");
        let other = Some(Uid::from_raw(65533));
        rustix::fs::chownat(rustix::fs::CWD, at(link), other, None, AtFlags::SYMLINK_NOFOLLOW)
            .expect("chown");
        for result in [read(&at(path)).map(drop), append(&at(path)).map(drop)] {
            assert_eq!(result.expect_err(path).kind(), io::ErrorKind::PermissionDenied);
        }
    }
}

#[test]
fn links_in_a_circle_end() {
    let dir = tempfile::tempdir().expect("dir");
    symlink("b", dir.path().join("a")).expect("link");
    symlink("a", dir.path().join("b")).expect("link");
    let error = read(&dir.path().join("a")).map(drop).expect_err("circle");
    assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
}

#[test]
fn a_directory_and_a_device_are_not_read() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(read(dir.path()).is_err());
    assert!(read(Path::new("/dev/zero")).is_err());
}

#[test]
fn a_folder_that_others_may_write_to_is_not_private() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("state");
    let folder = private_folder(&path).expect("folder");
    assert_eq!(rustix::fs::fstat(&folder).expect("stat").st_mode & 0o777, 0o700);
    File::from(folder).set_permissions(PermissionsExt::from_mode(0o777)).expect("chmod");
    assert!(private_folder(&path).is_err());
}
