//! Both roles in one process, on real files.

#![expect(clippy::disallowed_methods, reason = "tests make and look at their files from outside")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::link::{self, Ended};
use super::observer::Silent;
use super::partial::Forget;
use super::view::View;
use super::{receiver, sender};
use crate::disk::{Names, Root, Style, walk};
use crate::model::counter::{ReceiverTotals, SenderTotals};
use crate::model::digest::Digest;
use crate::model::filter::Rules;
use crate::model::options::{Keeps, Options, Terms};
use crate::model::path::RelPath;
use crate::model::tree::Seed;

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
    let root = |path| Root::open(path, Style::default()).expect("root");
    let to = root(to);
    let keeps = to.keeps(true).expect("keeps");
    let terms = Terms::new(options, &keeps);
    let empty = to.is_empty().expect("readable");
    let (theirs, ours) = link::pair();
    let receiver = receiver::Config {
        root: to,
        options: options.clone(),
        terms,
        rules: rules.clone(),
        umask: 0o022,
        live: false,
        expected: None,
        partials: Arc::new(Forget),
    };
    let sender = sender::Config {
        view: View::whole(root(from)),
        options: options.clone(),
        terms,
        rules: rules.clone(),
        empty,
        record: false,
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
    let summary = walk::summarise(&root, &at, &terms, &rules, seed, &mut Names::new(true)).expect("read");
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
