//! Claims about summaries.
#![expect(clippy::disallowed_methods, reason = "tests look at the disk past the Root on purpose")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{AtFlags, Timespec, Timestamps};

use super::*;
use crate::disk::testing::{Ground, path, root_or_skip};

const TERMS: Terms = Terms {
    recursive: true,
    links: true,
    perms: true,
    times: true,
    owner: true,
    group: true,
    devices: true,
    specials: true,
    time_granularity_ns: 1,
    numeric_ids: true,
    checksum: false,
    delete: false,
};

fn summary_in(ground: &Ground, at: &RelPath, terms: &Terms) -> Summary {
    summary_keeping(ground, at, terms, 0)
}

fn summary_keeping(ground: &Ground, at: &RelPath, terms: &Terms, keep: usize) -> Summary {
    let seed = Seed::new(terms, std::iter::empty());
    let mut names = Names::new(true);
    summarise(&ground.root, at, terms, &Rules::default(), seed, &mut names, keep).expect("summary")
}

fn summary(ground: &Ground) -> Summary {
    summary_in(ground, &RelPath::root(), &TERMS)
}

/// The same tree each time, times included.
fn planted() -> Ground {
    let ground = Ground::new();
    fs::create_dir_all(ground.path("d/e")).expect("directories");
    ground.write("d/e/f", b"content");
    ground.write("d/g", b"");
    ground.write("d.x", b"x");
    symlink("d/g", ground.path("l")).expect("symlink");
    for name in ["d/e/f", "d/g", "d.x", "l", "d/e", "d"] {
        set_mtime(&ground, name, 1_000_000_000);
    }
    ground
}

fn set_mtime(ground: &Ground, name: &str, sec: i64) {
    let time = Timespec { tv_sec: sec, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(ground.top().fd(), name, &times, AtFlags::SYMLINK_NOFOLLOW).expect("times");
}

#[test]
fn equal_trees_have_equal_summaries() {
    let (a, b) = (summary(&planted()), summary(&planted()));
    assert_eq!((a.digest, &a.dirs), (b.digest, &b.dirs));
    assert_eq!(a.dirs.len(), 3);
    assert_eq!(a.dirs[&RelPath::root()], a.digest);
    assert_eq!((a.entries.dirs, a.entries.files, a.entries.links, a.size_bytes), (3, 3, 1, 11));
    let below = summary_in(&planted(), &path("d"), &TERMS);
    assert_eq!(below.digest, a.dirs[&path("d")]);
    assert_eq!(below.dirs.len(), 2);
    assert!(a.failed.is_empty());
}

#[test]
fn every_single_change_shows_in_the_directory_and_above_and_nowhere_else() {
    type Change = (&'static str, fn(&Ground), &'static [&'static str]);
    let changes: [Change; 8] = [
        (
            "size",
            |g| {
                g.write("d/e/f", b"content!");
                set_mtime(g, "d/e/f", 1_000_000_000);
            },
            &["d/e", "d"],
        ),
        ("file time", |g| set_mtime(g, "d/e/f", 1_000_000_001), &["d/e", "d"]),
        ("directory time", |g| set_mtime(g, "d/e", 1_000_000_001), &["d"]),
        (
            "mode",
            |g| fs::set_permissions(g.path("d/g"), fs::Permissions::from_mode(0o600)).expect("mode"),
            &["d"],
        ),
        (
            "link text",
            |g| {
                fs::remove_file(g.path("l")).expect("remove");
                symlink("d/h", g.path("l")).expect("symlink");
                set_mtime(g, "l", 1_000_000_000);
            },
            &[],
        ),
        (
            "new name",
            |g| {
                g.write("d/e/new", b"");
                set_mtime(g, "d/e", 1_000_000_000);
            },
            &["d/e", "d"],
        ),
        (
            "missing name",
            |g| {
                fs::remove_file(g.path("d/g")).expect("remove");
                set_mtime(g, "d", 1_000_000_000);
            },
            &["d"],
        ),
        (
            "kind",
            |g| {
                fs::remove_file(g.path("d/g")).expect("remove");
                fs::create_dir(g.path("d/g")).expect("directory");
                set_mtime(g, "d/g", 1_000_000_000);
                set_mtime(g, "d", 1_000_000_000);
            },
            &["d"],
        ),
    ];
    let before = summary(&planted());
    for (what, change, changed) in changes {
        let ground = planted();
        change(&ground);
        let after = summary(&ground);
        assert_ne!(after.digest, before.digest, "{what}");
        for dir in ["d", "d/e"] {
            let (a, b) = (after.dirs[&path(dir)], before.dirs[&path(dir)]);
            assert_eq!(a != b, changed.contains(&dir), "{what} in {dir}");
        }
    }
}

#[test]
fn by_checksum_contents_show_and_their_times_only_with_times() {
    let (one, other) = (planted(), planted());
    let terms = Terms { checksum: true, times: false, ..TERMS };
    let digest = |ground: &Ground, terms: &Terms| summary_in(ground, &RelPath::root(), terms).digest;
    set_mtime(&other, "d/e/f", 77);
    assert_eq!(digest(&one, &terms), digest(&other, &terms));
    assert_ne!(digest(&one, &TERMS), digest(&other, &TERMS));
    let kept = std::fs::metadata(other.path("d/e/f")).expect("stat").modified().expect("time");
    let mut content = std::fs::read(other.path("d/e/f")).expect("read");
    content[0] ^= 1;
    std::fs::write(other.path("d/e/f"), content).expect("write");
    let file = std::fs::File::options().write(true).open(other.path("d/e/f")).expect("open");
    file.set_modified(kept).expect("time");
    assert_ne!(digest(&one, &terms), digest(&other, &terms));
}

#[test]
fn what_is_not_compared_does_not_show() {
    let terms = Terms { links: false, perms: false, times: false, ..TERMS };
    let before = summary_in(&planted(), &RelPath::root(), &terms);
    let ground = planted();
    fs::set_permissions(ground.path("d/g"), fs::Permissions::from_mode(0o600)).expect("mode");
    fs::remove_file(ground.path("l")).expect("remove");
    set_mtime(&ground, "d/e", 7);
    ground.write(crate::disk::reserved::fresh(), b"ours");
    let after = summary_in(&ground, &RelPath::root(), &terms);
    assert_eq!(after.digest, before.digest);
    assert_eq!((before.entries.links, before.left_out.paths), (1, vec![path("l")]));
    assert_eq!((after.entries.links, after.entries.files), (0, 3));
    let flat = summary_in(&planted(), &RelPath::root(), &Terms { recursive: false, ..TERMS });
    assert_eq!((flat.dirs.len(), flat.entries.dirs, flat.entries.files), (1, 1, 1));
}

#[test]
fn of_what_takes_no_part_the_name_shows_where_names_decide_what_goes() {
    let terms = Terms { links: false, times: false, delete: true, ..TERMS };
    let digest = |ground: &Ground, rules: &Rules| {
        let seed = Seed::new(&terms, std::iter::empty());
        let at = RelPath::root();
        summarise(&ground.root, &at, &terms, rules, seed, &mut Names::new(true), 0).expect("summary").digest
    };
    let (none, mut excluding) = (Rules::default(), Rules::default());
    excluding.exclude(b"more").expect("a rule");
    let before = digest(&planted(), &none);
    let ground = planted();
    fs::remove_file(ground.path("l")).expect("remove");
    symlink("another text", ground.path("l")).expect("symlink");
    assert_eq!(digest(&ground, &none), before);
    symlink("x", ground.path("d/more")).expect("symlink");
    assert_ne!(digest(&ground, &none), before);
    // What is excluded is protected.
    assert_eq!(digest(&ground, &excluding), digest(&planted(), &excluding));
    fs::remove_file(ground.path("d/more")).expect("remove");
    fs::remove_file(ground.path("l")).expect("remove");
    assert_ne!(digest(&ground, &none), before);
    ground.write("l", b"a file of the name is not the same");
    assert_ne!(digest(&ground, &none), before);
}

#[test]
fn a_directory_that_cannot_be_read_is_equal_to_none() {
    if !root_or_skip("a directory that cannot be read is equal to none") {
        return;
    }
    let ground = planted();
    fs::set_permissions(ground.temp.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    fs::set_permissions(ground.path("d/e"), fs::Permissions::from_mode(0o700)).expect("mode");
    let nobody = rustix::fs::Uid::from_raw(65534);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("setuid");
            let (a, b) = (summary(&ground), summary(&ground));
            for dir in ["d", "d/e"] {
                assert_ne!(a.dirs[&path(dir)], b.dirs[&path(dir)], "{dir}");
            }
            assert_ne!(a.digest, b.digest);
            assert_eq!(a.failed.len(), 1);
            assert_eq!(a.failed[0].0, path("d/e"));
            assert_eq!(a.failed[0].1.kind(), io::ErrorKind::PermissionDenied);
        });
    });
}

#[test]
fn a_tree_500_deep_is_summarised_with_few_descriptors_and_removed() {
    let ground = Ground::new();
    let mut dir = ground.top();
    for _ in 0..500 {
        rustix::fs::mkdirat(dir.fd(), "d", rustix::fs::Mode::RWXU).expect("directory");
        dir = dir.child(b"d").expect("child");
    }
    drop(dir);
    let deepest = path(&["d"; 500].join("/"));
    ground.write(format!("{deepest}/f"), b"bottom");
    let deep = summary(&ground);
    assert_eq!((deep.dirs.len(), deep.size_bytes), (501, 6));
    assert!(deep.failed.is_empty());
    ground.write(format!("{deepest}/f"), b"Bottom, changed");
    assert_ne!(summary(&ground).digest, deep.digest);

    let mut removed = 0;
    let gone =
        crate::disk::apply::remove_tree(&ground.top(), b"d", &mut |_, _| false, &mut |_, _| removed += 1);
    assert!(gone.expect("removed"));
    assert_eq!(removed, 501);
    assert!(ground.names().is_empty());
}

#[test]
fn what_was_listed_is_kept_once_as_far_as_there_is_room() {
    let ground = Ground::new();
    ["d", "e"].iter().for_each(|dir| fs::create_dir(ground.path(dir)).expect("mkdir"));
    for (path, content) in [("a", "1"), ("d/b", "22"), ("d/c", "333"), ("e/x", ""), ("e/y", "")] {
        ground.write(path, content.as_bytes());
    }
    let kept_of = |room| summary_keeping(&ground, &RelPath::root(), &TERMS, room).kept;
    let dir_path = |dir: &str| RelPath::parse_typed(dir.as_bytes()).expect("path");
    let take =
        |kept: &mut Kept, dir: &str| kept.take(&dir_path(dir)).map(|entries| entries.collect::<Vec<_>>());
    let mut kept = kept_of(100);
    for dir in ["", "d", "e"] {
        let holder = ground.root.dir(&dir_path(dir)).expect("dir");
        let want: Vec<_> =
            list(&holder).expect("list").entries.into_iter().map(|l| (l.name, l.found.entry)).collect();
        assert_eq!(take(&mut kept, dir), Some(want), "{dir:?}");
        assert_eq!(take(&mut kept, dir), None, "{dir:?} a second time");
    }
    let mut kept = kept_of(6);
    assert_eq!(take(&mut kept, "").map(|e| e.len()), Some(3));
    assert_eq!(take(&mut kept, "d").map(|e| e.len()), Some(2));
    assert_eq!(take(&mut kept, "e"), None, "there is no room for it");
    assert_eq!(take(&mut kept_of(0), ""), None);

    // In many directories, and many in one.
    (0..300).for_each(|i| fs::create_dir(ground.path(format!("d/{i}"))).expect("mkdir"));
    (0..3000).for_each(|i| ground.write(format!("d/{}/{i}", i % 300), b""));
    (0..3000).for_each(|i| ground.write(format!("e/{i}"), b""));
    let mut kept = kept_of(10_000);
    for dir in (0..300).map(|i| format!("d/{i}")).chain(["e".into(), "d".into()]) {
        let holder = ground.root.dir(&dir_path(&dir)).expect("dir");
        let want: Vec<_> =
            list(&holder).expect("list").entries.into_iter().map(|l| (l.name, l.found.entry)).collect();
        assert_eq!(take(&mut kept, &dir), Some(want), "{dir:?}");
    }
}

#[test]
fn what_was_listed_is_forgotten_where_it_changes_and_not_kept_beside_reserved_names() {
    let ground = Ground::new();
    let dirs = ["d", "d/e", "d/e/f", "d-e", "g"];
    dirs.iter().for_each(|dir| fs::create_dir(ground.path(dir)).expect("mkdir"));
    let path = |path: &str| RelPath::parse_typed(path.as_bytes()).expect("path");
    let cases: [(&str, &[&str]); 5] = [
        ("g/x", &["", "d", "d/e", "d/e/f", "d-e"]),
        ("d/e", &["", "d-e", "g"]),
        ("d/e/f/x", &["", "d", "d/e", "d-e", "g"]),
        ("x", &["d", "d/e", "d/e/f", "d-e", "g"]),
        ("", &[]),
    ];
    for (changed, left) in cases {
        let mut kept = summary_keeping(&ground, &RelPath::root(), &TERMS, 100).kept;
        kept.forget(&path(changed));
        for dir in dirs.iter().chain(&[""]) {
            assert_eq!(kept.has(&path(dir)), left.contains(dir), "{dir:?} when {changed:?} changes");
        }
    }
    let reserved = String::from_utf8(crate::disk::reserved::fresh().to_vec()).expect("ASCII");
    ground.write(format!("g/{reserved}"), b"");
    let kept = summary_keeping(&ground, &RelPath::root(), &TERMS, 100).kept;
    assert!(kept.has(&path("d")) && !kept.has(&path("g")));
}
