//! Claims about how changes land and go away.
#![expect(clippy::disallowed_methods, reason = "tests look at the disk past the Root on purpose")]

mod fake_super;
mod removal;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::disk::testing::{ALL, Ground, NONE, assert_errno, entry, link, path, root_or_skip};
use crate::model::entry::Device;

const LONG: [u8; 255] = [b'n'; 255];

fn staged(ground: &Ground, content: &[u8]) -> Staged {
    let mut staged = Staged::create(&ground.top()).expect("staged");
    staged.write_all(content).expect("write");
    staged
}

fn file(content: &[u8]) -> Kind {
    Kind::File { size: content.len() as u64 }
}

#[test]
fn a_file_is_placed_on_nothing_and_on_anything_but_a_directory() {
    let ground = Ground::new();
    ground.write("elsewhere", b"untouched");
    for replace in [Replace::Expected, Replace::IfPresent] {
        for name in [&b"new"[..], b"file", b"link", b"a\nb", b"\xff", &LONG] {
            match name {
                b"file" => ground.write(name, b"old"),
                b"link" => symlink("elsewhere", ground.path(name)).expect("symlink"),
                _ => {}
            }
            place(staged(&ground, b"new content"), &ground.top(), name, replace).expect("placed");
            assert_eq!(ground.read(name), b"new content");
            let mut names = [name, b"elsewhere"];
            names.sort_unstable();
            assert_eq!(ground.names(), names);
            fs::remove_file(ground.path(name)).expect("remove");
        }
        fs::create_dir(ground.path("dir")).expect("directory");
        assert_errno(place(staged(&ground, b"x"), &ground.top(), b"dir", replace), Errno::ISDIR);
        assert_eq!(ground.names(), [&b"dir"[..], b"elsewhere"]);
        fs::remove_dir(ground.path("dir")).expect("remove");
    }
    assert_eq!(ground.read("elsewhere"), b"untouched");
}

#[test]
fn a_file_that_may_replace_nothing_replaces_nothing() {
    let ground = Ground::new();
    place(staged(&ground, b"first"), &ground.top(), b"f", Replace::Never).expect("placed");
    assert_errno(place(staged(&ground, b"second"), &ground.top(), b"f", Replace::Never), Errno::EXIST);
    assert_eq!(ground.read("f"), b"first");
    assert_eq!(ground.names(), [b"f"]);
}

#[test]
fn a_file_system_without_nameless_files_does_as_well() {
    let ground = Ground::new();
    let named = |content: &[u8]| {
        let mut staged = Staged::create_named(&ground.top()).expect("staged");
        staged.write_all(content).expect("write");
        staged
    };
    place(named(b"1"), &ground.top(), b"f", Replace::Never).expect("placed");
    assert_errno(place(named(b"2"), &ground.top(), b"f", Replace::Never), Errno::EXIST);
    place(named(b"3"), &ground.top(), b"f", Replace::IfPresent).expect("placed");
    place(named(b"4"), &ground.top(), b"f", Replace::Expected).expect("placed");
    assert_eq!((ground.names(), ground.read("f")), (vec![b"f".to_vec()], b"4".to_vec()));
    fs::create_dir(ground.path("d")).expect("directory");
    assert_errno(place(named(b"5"), &ground.top(), b"d", Replace::IfPresent), Errno::ISDIR);
    assert_eq!(ground.names(), [b"d", b"f"]);
}

#[test]
fn a_file_appears_with_all_its_metadata() {
    let ground = Ground::new();
    let mut want = entry(file(b"x"), 0o4751);
    if root_or_skip("a file is given away") {
        (want.uid, want.gid) = (1234, 5678);
    }
    let mut staged = staged(&ground, b"x");
    staged.describe(&want, None, &ALL).expect("described");
    staged.sync().expect("synced");
    place(staged, &ground.top(), b"f", Replace::IfPresent).expect("placed");
    ground.top().sync().expect("directory synced");
    assert_eq!(ground.top().found(b"f").expect("found").entry, want);
}

#[test]
fn without_perms_a_new_file_obeys_the_umask_and_an_old_one_keeps_its_mode() {
    let ground = Ground::new();
    let want = entry(file(b"x"), 0o4777);
    let mode = |name: &[u8]| ground.top().found(name).expect("found").entry.mode;
    let mut new = staged(&ground, b"x");
    new.describe(&want, None, &NONE).expect("described");
    place(new, &ground.top(), b"f", Replace::IfPresent).expect("placed");
    assert_eq!(mode(b"f"), 0o755);

    fs::set_permissions(ground.path("f"), fs::Permissions::from_mode(0o640)).expect("mode");
    let old = ground.top().found(b"f").expect("found");
    let mut newer = staged(&ground, b"x");
    newer.describe(&want, Some(&old.entry), &NONE).expect("described");
    place(newer, &ground.top(), b"f", Replace::Expected).expect("placed");
    assert_eq!(mode(b"f"), 0o640);

    // What was a directory lends a file nothing.
    fs::create_dir(ground.path("d")).expect("directory");
    let dir = ground.top().found(b"d").expect("found");
    let mut other = staged(&ground, b"x");
    other.describe(&want, Some(&dir.entry), &NONE).expect("described");
    place(other, &ground.top(), b"g", Replace::IfPresent).expect("placed");
    assert_eq!(mode(b"g"), 0o755);
}

#[test]
fn nodes_are_made_whole_and_replace_what_stood_there() {
    let ground = Ground::new();
    let root = root_or_skip("devices are made, and nodes are given away");
    let mut kinds = vec![link(b"../any where\xff"), Kind::Fifo, Kind::Socket];
    if root {
        kinds.push(Kind::Char(Device { major: 1, minor: 3 }));
        kinds.push(Kind::Block(Device { major: 300, minor: 70_000 }));
    }
    for kind in kinds {
        let mode = if matches!(kind, Kind::Symlink { .. }) { 0o777 } else { 0o640 };
        let mut want = entry(kind, mode);
        if root {
            (want.uid, want.gid) = (1234, 5678);
        }
        for _new_then_old in 0..2 {
            place_node(&ground.top(), b"n", &want, &ALL, Replace::IfPresent).expect("placed");
            assert_eq!(ground.top().found(b"n").expect("found").entry, want);
            assert_eq!(ground.names(), [b"n"]);
        }
    }
    let never = place_node(&ground.top(), b"n", &entry(link(b"x"), 0o777), &ALL, Replace::Never);
    assert_errno(never, Errno::EXIST);
    assert_ne!(ground.top().found(b"n").expect("found").entry.kind, link(b"x"));
    assert_eq!(ground.names(), [b"n"], "nothing of it is left");
    fs::create_dir(ground.path("d")).expect("directory");
    assert_errno(
        place_node(&ground.top(), b"d", &entry(Kind::Fifo, 0o600), &ALL, Replace::IfPresent),
        Errno::ISDIR,
    );
    let refused = place_node(&ground.top(), b"f", &entry(file(b""), 0o600), &ALL, Replace::IfPresent)
        .expect_err("a file is no node");
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(ground.names(), [b"d", b"n"]);
}

#[test]
fn a_directory_is_made_once_and_timed_last() {
    let ground = Ground::new();
    let want = entry(Kind::Dir, 0o1755);
    assert!(make_dir(&ground.top(), b"d", &want, &ALL).expect("made"));
    let made = ground.top().found(b"d").expect("found");
    assert_eq!(made.entry.mode, 0o1755);
    assert_ne!(made.entry.mtime, want.mtime);
    fs::set_permissions(ground.path("d"), fs::Permissions::from_mode(0o700)).expect("mode");
    assert!(!make_dir(&ground.top(), b"d", &want, &ALL).expect("there"));
    let there = ground.top().found(b"d").expect("found");
    assert_eq!(there.entry.mode, 0o700, "an existing directory stays as it is");
    describe(&ground.top(), b"d", &want, &there.entry, &ALL).expect("described");
    assert_eq!(ground.top().found(b"d").expect("found").entry, want);
    symlink("d", ground.path("l")).expect("symlink");
    ground.write("f", b"");
    for name in [b"l", b"f"] {
        assert_errno(make_dir(&ground.top(), name, &want, &ALL), Errno::NOTDIR);
    }
}

#[test]
fn a_new_directory_without_perms_inherits_setgid() {
    let ground = Ground::new();
    fs::set_permissions(ground.temp.path(), fs::Permissions::from_mode(0o2755)).expect("mode");
    make_dir(&ground.top(), b"d", &entry(Kind::Dir, 0o1777), &NONE).expect("made");
    assert_eq!(ground.top().found(b"d").expect("found").entry.mode, 0o2755);
}

#[test]
fn what_stands_there_is_described_without_being_opened_or_followed() {
    let ground = Ground::new();
    ground.write("f", b"x");
    fs::create_dir(ground.path("d")).expect("directory");
    symlink("f", ground.path("l")).expect("symlink");
    let top = ground.top();
    for (name, kind, mode) in [(b"f", file(b"x"), 0), (b"d", Kind::Dir, 0), (b"l", link(b"f"), 0o777)] {
        for mode in if mode == 0 { vec![0, 0o600] } else { vec![mode] } {
            let (want, old) = (entry(kind.clone(), mode), top.found(name).expect("found"));
            describe(&top, name, &want, &old.entry, &ALL).expect("described");
            assert_eq!(top.found(name).expect("found").entry, want);
        }
    }
    let own = entry(Kind::Dir, 0o711);
    describe_root(&top, &own, &top.own().expect("own").entry, &ALL).expect("described");
    assert_eq!(top.own().expect("own").entry, own);
}

#[test]
fn a_link_that_took_the_place_of_a_file_is_not_described_as_one() {
    let ground = Ground::new();
    ground.write("f", b"x");
    ground.write("victim", b"x");
    let old = ground.top().found(b"f").expect("found");
    fs::remove_file(ground.path("f")).expect("remove");
    symlink("victim", ground.path("f")).expect("symlink");
    let before = ground.top().found(b"victim").expect("found");
    let want = entry(file(b"x"), 0o777);
    assert_errno(describe(&ground.top(), b"f", &want, &old.entry, &ALL), Errno::STALE);
    assert_eq!(ground.top().found(b"victim").expect("found"), before);
}

#[test]
fn everything_works_on_a_thread_that_is_not_root_in_a_process_that_is() {
    if !root_or_skip("everything works on a thread that is not root in a process that is") {
        return;
    }
    let ground = Ground::new();
    let (uid, gid) = (rustix::fs::Uid::from_raw(65534), rustix::fs::Gid::from_raw(65534));
    std::os::unix::fs::chown(ground.temp.path(), Some(65534), Some(65534)).expect("chown");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rustix::thread::set_thread_groups(&[]).expect("setgroups");
            rustix::thread::set_thread_res_gid(gid, gid, gid).expect("setgid");
            rustix::thread::set_thread_res_uid(uid, uid, uid).expect("setuid");
            let mut staged = staged(&ground, b"x");
            let mut want = entry(file(b"x"), 0o000);
            want.gid = 0;
            staged.describe(&want, None, &ALL).expect("a foreign group is not an error");
            place(staged, &ground.top(), b"f", Replace::IfPresent).expect("placed");
            let old = ground.top().found(b"f").expect("found");
            assert_eq!((old.entry.uid, old.entry.gid, old.entry.mode), (65534, 65534, 0));
            want.mode = 0o640;
            describe(&ground.top(), b"f", &want, &old.entry, &ALL).expect("described, though unreadable");
            place_node(&ground.top(), b"l", &entry(link(b"x"), 0o777), &ALL, Replace::IfPresent)
                .expect("link");
            make_dir(&ground.top(), b"d", &entry(Kind::Dir, 0o555), &ALL).expect("directory");
            ground.write("d/f", b"it can be filled");
            let old = ground.top().found(b"d").expect("found");
            describe(&ground.top(), b"d", &entry(Kind::Dir, 0o555), &old.entry, &ALL).expect("described");
        });
    });
    let modes = [("f", 0o640), ("d", 0o555)].map(|(name, mode)| (ground.path(name), mode));
    for (path, mode) in modes {
        let metadata = fs::metadata(path).expect("metadata");
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (mode, 65534));
    }
}

#[test]
fn a_rename_replaces_all_but_directories() {
    let ground = Ground::new();
    fs::create_dir_all(ground.path("d/e")).expect("directories");
    ground.write("f", b"f");
    ground.write("g", b"g");
    let (top, d) = (ground.top(), ground.root.dir(&path("d")).expect("dir"));
    assert_errno(rename(&top, b"f", &top, b"d"), Errno::ISDIR);
    assert_errno(rename(&top, b"d", &top, b"f"), Errno::NOTDIR);
    assert_errno(rename(&top, b"none", &top, b"f"), Errno::NOENT);
    rename(&top, b"f", &d, b"new").expect("renamed");
    rename(&top, b"g", &d, b"new").expect("renamed over");
    assert_eq!(ground.read("d/new"), b"g");
    rename(&d, b"e", &top, b"e").expect("directory renamed");
    assert_eq!(ground.names(), [b"d", b"e"]);

    fs::hard_link(ground.path("d/new"), ground.path("d/same")).expect("link");
    rename(&d, b"same", &d, b"new").expect("two names of one file");
    assert_eq!(
        (crate::disk::testing::names(&ground.path("d")), ground.read("d/new")),
        (vec![b"new".to_vec()], b"g".to_vec())
    );
}

#[test]
fn files_set_aside_never_replace_one_another() {
    let ground = Ground::new();
    for (content, want) in
        [(b"1", "f.before-restore"), (b"2", "f.before-restore.2"), (b"3", "f.before-restore.3")]
    {
        ground.write("f", content);
        assert_eq!(keep_aside(&ground.top(), b"f").expect("aside"), want.as_bytes());
        assert_eq!(ground.read(want), content);
    }
    assert_eq!(ground.names().len(), 3);
    ground.write(LONG, b"");
    assert_errno(keep_aside(&ground.top(), &LONG), Errno::NAMETOOLONG);
    assert!(ground.path(LONG).exists());
}

#[test]
fn what_changed_since_it_was_looked_at_keeps_its_metadata() {
    let ground = Ground::new();
    let top = ground.top();
    let mtime = |name: &str| fs::metadata(ground.path(name)).expect("stat").mtime();
    ground.write("f", b"as it was");
    let held = top.found(b"f").expect("found");
    let mut want = held.entry.clone();
    want.mtime.sec = 1_000_000_000;
    ground.write("f", b"another length");
    assert_eq!(describe_if(&top, b"f", &want, &held.stat, &ALL).expect("looked at"), None);
    assert_ne!(mtime("f"), 1_000_000_000);

    let held = top.found(b"f").expect("found");
    let found = describe_if(&top, b"f", &want, &held.stat, &ALL).expect("described");
    assert_eq!((found, mtime("f")), (Some(held.entry.clone()), 1_000_000_000));
    fs::remove_file(ground.path("f")).expect("remove");
    symlink("elsewhere", ground.path("f")).expect("symlink");
    assert_eq!(describe_if(&top, b"f", &want, &held.stat, &ALL).expect("looked at"), None);
    fs::remove_file(ground.path("f")).expect("remove");
    assert_errno(describe_if(&top, b"f", &want, &held.stat, &ALL), Errno::NOENT);
}
