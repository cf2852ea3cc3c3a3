//! Both roles in one process, on real files.

#![expect(clippy::disallowed_methods, reason = "tests make and look at their files from outside")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::link::{self, Ended, Rate};
use super::observer::Silent;
use super::partial::Forget;
use super::view::View;
use super::{receiver, sender};
use crate::disk::{Names, Root, Style, walk};
use crate::model::counter::{ReceiverTotals, SenderTotals};
use crate::model::digest::Digest;
use crate::model::entry::{Entry, Kind, Time};
use crate::model::filter::Rules;
use crate::model::options::{Keeps, Options, Terms};
use crate::model::path::RelPath;
use crate::model::tree::Seed;
use crate::wire::message::{Content, FromSender, Inline, Listed, Listing, Put};

fn archive() -> Options {
    Options {
        recursive: true,
        links: true,
        perms: true,
        times: true,
        owner: true,
        group: true,
        devices: true,
        specials: true,
        ..Options::default()
    }
}

fn sync(from: &Path, to: &Path, options: &Options, rules: &Rules) -> (SenderTotals, ReceiverTotals) {
    run(from, to, options, rules).expect("the transfer ends well")
}

fn run(
    from: &Path,
    to: &Path,
    options: &Options,
    rules: &Rules,
) -> Result<(SenderTotals, ReceiverTotals), Ended> {
    run_with(from, to, options, rules, None)
}

fn run_swept(from: &Path, to: &Path, sweep: Option<Time>) -> Result<(SenderTotals, ReceiverTotals), Ended> {
    run_with(from, to, &archive(), &Rules::default(), sweep)
}

fn run_with(
    from: &Path,
    to: &Path,
    options: &Options,
    rules: &Rules,
    sweep: Option<Time>,
) -> Result<(SenderTotals, ReceiverTotals), Ended> {
    let root = |path| Root::open(path, Style::default()).expect("root");
    let to = root(to);
    let keeps = to.keeps(true).expect("keeps");
    let terms = Terms::new(options, &keeps);
    let empty = to.is_empty().expect("readable");
    let (theirs, ours) = link::pair();
    let receiver = receiver::Config {
        root: to,
        created: false,
        options: options.clone(),
        terms,
        rules: rules.clone(),
        umask: 0o022,
        live: false,
        sweep,
        expected: None,
        comparing: None,
        partials: Arc::new(Forget),
        groups: None,
    };
    let sender = sender::Config {
        rate: Rate::new(options.bwlimit),
        view: View::whole(root(from)),
        options: options.clone(),
        terms,
        rules: rules.clone(),
        empty,
        early: false,
        record: false,
        withhold: None,
        missing: Vec::new(),
    };
    let receiving = std::thread::spawn(move || receiver::run(receiver, theirs, Arc::new(Silent)));
    let sent = sender::run_once(sender, ours, Arc::new(Silent));
    receiving.join().expect("no panic")?;
    sent
}

/// What a tree is: its digest over all metadata, and the content of every file.
fn picture(path: &Path) -> (Digest, BTreeMap<PathBuf, Vec<u8>>) {
    let root = Root::open(path, Style::default()).expect("root");
    let terms = Terms::new(&archive(), &Keeps::ALL);
    let (rules, at) = (Rules::default(), RelPath::root());
    let seed = Seed::new(&terms, std::iter::empty());
    let summary = walk::summarise(&root, &at, &terms, &rules, seed, &mut Names::new(true), 0).expect("read");
    let mut contents = BTreeMap::new();
    let mut dirs = vec![path.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("directory") {
            let entry = entry.expect("entry");
            let kind = entry.file_type().expect("type");
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                let below = entry.path().strip_prefix(path).expect("below").to_owned();
                contents.insert(below, fs::read(entry.path()).expect("content"));
            }
        }
    }
    (summary.digest, contents)
}

struct Pair {
    _top: tempfile::TempDir,
    from: PathBuf,
    to: PathBuf,
}

/// Two directories; the first holds a bit of everything.
fn pair() -> Pair {
    let top = tempfile::tempdir().expect("temporary directory");
    let (from, to) = (top.path().join("from"), top.path().join("to"));
    for dir in ["from/a/b/c", "from/empty", "to"] {
        fs::create_dir_all(top.path().join(dir)).expect("made");
    }
    for (name, len) in [("small", 10), ("a/empty", 0), ("a/b/c/deep", 5000), ("a/large", 700_000)] {
        let content: Vec<u8> = (0..len).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(from.join(name), content).expect("written");
    }
    symlink("../nowhere", from.join("a/link")).expect("link");
    fs::set_permissions(from.join("a/b/c/deep"), fs::Permissions::from_mode(0o4711)).expect("mode");
    fs::set_permissions(from.join("a/b"), fs::Permissions::from_mode(0o750)).expect("mode");
    Pair { _top: top, from, to }
}

#[test]
fn an_empty_destination_gets_everything_and_then_nothing_more() {
    let Pair { _top, from, to } = pair();
    let (_, first) = sync(&from, &to, &archive(), &Rules::default());
    assert_eq!(picture(&from), picture(&to));
    assert_eq!((first.transferred_files, first.created.dirs, first.problems), (4, 4, 0));
    let (sent, again) = sync(&from, &to, &archive(), &Rules::default());
    assert_eq!(again, ReceiverTotals::default());
    assert_eq!((sent.literal_bytes, sent.matched_bytes), (0, 0));
    assert_eq!(sent.entries.total(), 10);
}

#[test]
fn a_changed_tree_converges_whatever_changed() {
    let Pair { _top, from, to } = pair();
    let options = Options { delete: true, ..archive() };
    sync(&from, &to, &options, &Rules::default());
    let mut large = fs::read(from.join("a/large")).expect("content");
    large[300_000] ^= 1;
    large.extend_from_slice(b"more");
    fs::write(from.join("a/large"), large).expect("written");
    fs::remove_file(from.join("small")).expect("removed");
    fs::create_dir(from.join("small")).expect("a file becomes a directory");
    fs::write(from.join("small/x"), "x").expect("written");
    fs::remove_dir_all(from.join("a/b")).expect("removed");
    fs::write(from.join("a/b"), "a directory becomes a file").expect("written");
    fs::remove_file(from.join("a/link")).expect("removed");
    symlink("elsewhere", from.join("a/link")).expect("link");
    let (sent, _) = sync(&from, &to, &options, &Rules::default());
    assert_eq!(picture(&from), picture(&to));
    assert!(sent.literal_bytes < 10_000, "only what changed of the large file: {sent:?}");
    assert!(sent.matched_bytes > 690_000, "the rest was there: {sent:?}");
}

#[test]
fn without_delete_nothing_goes_and_excluded_names_stay() {
    let Pair { _top, from, to } = pair();
    fs::write(to.join("mine"), "mine").expect("written");
    fs::write(to.join("keep.o"), "kept").expect("written");
    sync(&from, &to, &archive(), &Rules::default());
    assert!(to.join("mine").exists());
    let mut rules = Rules::default();
    rules.exclude(b"*.o").expect("rule");
    let options = Options { delete: true, ..archive() };
    let (_, totals) = sync(&from, &to, &options, &rules);
    assert!(!to.join("mine").exists() && to.join("keep.o").exists());
    assert_eq!(totals.deleted.files, 1);
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let Pair { _top, from, to } = pair();
    fs::write(to.join("mine"), "mine").expect("written");
    let before = picture(&to);
    let options = Options { delete: true, dry_run: true, ..archive() };
    let (_, totals) = sync(&from, &to, &options, &Rules::default());
    assert_eq!(picture(&to), before);
    assert_eq!((totals.transferred_files, totals.created.dirs, totals.deleted.files), (4, 4, 1));
}

#[test]
fn a_name_reserved_for_our_own_files_is_never_transferred() {
    let Pair { _top, from, to } = pair();
    fs::write(from.join(".~dl0123456789abcdef"), "left by a crash").expect("written");
    sync(&from, &to, &archive(), &Rules::default());
    assert!(!to.join(".~dl0123456789abcdef").exists());
}

#[test]
fn what_a_crash_left_is_swept_when_a_listing_meets_it() {
    let Pair { _top, from, to } = pair();
    sync(&from, &to, &archive(), &Rules::default());
    fs::write(to.join("a/.~dl0123456789abcdef"), "left by a crash").expect("written");
    fs::write(from.join("a/new"), "opens the directory").expect("written");
    let later = Time { sec: i64::MAX, nsec: 0 };
    run_swept(&from, &to, Some(later)).expect("the transfer ends well");
    assert!(!to.join("a/.~dl0123456789abcdef").exists());
    assert_eq!(picture(&from), picture(&to));
}

#[test]
fn full_wires_both_ways_at_once_do_not_deadlock() {
    let Pair { _top, from, to } = pair();
    // Many files that differ a little: sums fill the way back while contents fill the way there.
    for name in 0..3000 {
        let text: Vec<u8> =
            (0..40_000_u32).map(|i| ((i ^ name).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(to.join(format!("f{name}")), &text).expect("written");
        fs::write(from.join(format!("f{name}")), [&text[..20_000], b"new", &text[20_000..]].concat())
            .expect("written");
    }
    let (done, wait) = std::sync::mpsc::channel();
    let ends = (from.clone(), to.clone());
    std::thread::spawn(move || done.send(sync(&ends.0, &ends.1, &archive(), &Rules::default())).ok());
    let (sent, _) = wait.recv_timeout(std::time::Duration::from_secs(120)).expect("it ends");
    assert!(sent.matched_bytes > sent.literal_bytes * 10, "{sent:?}");
    assert_eq!(picture(&from), picture(&to));
}

#[test]
fn a_wanted_file_that_changes_under_every_reading_arrives_all_the_same() {
    let Pair { _top, from, to } = pair();
    // It is there already, so that it is asked for; and it grows for as long as anybody reads.
    fs::write(to.join("log"), "old").expect("written");
    let log = fs::OpenOptions::new().create(true).append(true).open(from.join("log")).expect("opened");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let mut log = log;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            log.write_all(&[b'x'; 4096]).expect("written");
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    });
    while fs::metadata(from.join("log")).expect("stat").len() < 4 << 20 {
        std::thread::yield_now();
    }
    let (sent, received) = sync(&from, &to, &archive(), &Rules::default());
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().expect("no panic");
    assert_eq!((sent.problems, received.problems), (0, 0));
    assert!(fs::metadata(to.join("log")).expect("stat").len() >= 4 << 20);
    sync(&from, &to, &archive(), &Rules::default());
    assert_eq!(picture(&from), picture(&to));
}

/// A sender that says these things, one after another.
fn hostile(expected: Option<&str>, says: Vec<FromSender>) -> Option<Ended> {
    let top = tempfile::tempdir().expect("temporary directory");
    let root = Root::open(top.path(), Style::default()).expect("root");
    let terms = Terms::new(&archive(), &Keeps::ALL);
    let (theirs, ours) = link::pair();
    let config = receiver::Config {
        root,
        created: false,
        options: Options { delete: true, ..archive() },
        terms,
        rules: Rules::default(),
        live: false,
        sweep: None,
        umask: 0o022,
        expected: expected.map(|name| std::iter::once(name.as_bytes().into()).collect()),
        comparing: None,
        partials: Arc::new(Forget),
        groups: None,
    };
    ours.out.blocking_send(says).expect("taken");
    drop(ours.out);
    let ended = receiver::run(config, theirs, Arc::new(Silent)).err();
    let left: Vec<_> = fs::read_dir(top.path()).expect("directory").collect();
    assert!(left.is_empty(), "something landed: {left:?}");
    ended
}

#[test]
fn a_hostile_sender_is_cut_off_and_nothing_of_it_lands() {
    let p = |path: &str| RelPath::parse(path.as_bytes()).expect("path");
    let entry = |kind| Entry { kind, mode: 0o644, mtime: Time::default(), uid: 0, gid: 0 };
    let inline = || Inline { bytes: "key".into(), digest: Digest::of(b"key") };
    let listing = |dir: RelPath, name: &str| {
        let path = dir.child(name.as_bytes()).expect("path");
        let entry = entry(Kind::File { size: 3 });
        let listed = Listed { path, entry, digest: None, content: Some(inline()) };
        FromSender::Listing(Listing { seq: 2, open: 0, dir, entries: vec![listed], last: true, sound: true })
    };
    let begin = |dir: RelPath| FromSender::Compare { seq: 1, dir, entry: None, digest: None };
    let put = |path: RelPath, content| {
        FromSender::Put(Put { seq: 1, want: 0, path, entry: entry(Kind::File { size: 3 }), content })
    };
    let cases = [
        (
            "another directory than was asked for",
            vec![begin(RelPath::root()), listing(p(".ssh"), "authorized_keys")],
        ),
        ("the root, where one file was asked for", vec![begin(RelPath::root())]),
        ("a path that was not asked for", vec![put(p("other"), Content::Inline(inline()))]),
        ("a reserved name", vec![put(p("file/.~dl0123456789abcdef"), Content::Inline(inline()))]),
        (
            "an answer to no want",
            vec![FromSender::Put(Put {
                seq: 1,
                want: 7,
                path: p("file"),
                entry: entry(Kind::File { size: 3 }),
                content: Content::Inline(inline()),
            })],
        ),
        ("a chunk of nothing", vec![FromSender::Chunk { seq: 9, ops: Vec::new() }]),
        ("an end of no open", vec![FromSender::Opened(5)]),
        (
            "a content within a content",
            vec![
                put(p("file"), Content::Stream(None)),
                FromSender::Put(Put {
                    seq: 2,
                    want: 0,
                    path: p("file"),
                    entry: entry(Kind::File { size: 3 }),
                    content: Content::Stream(None),
                }),
            ],
        ),
    ];
    for (what, says) in cases {
        let ended = hostile(Some("file"), says);
        assert!(matches!(ended, Some(Ended::Misbehaved(_))), "{what}: {ended:?}");
    }
}
