//! Claims about the survey: it tells what is missing and what is new, in any order of names, and says nothing about
//! what it cannot see.
#![allow(clippy::disallowed_methods, reason = "the tests make and change the source")]

use std::fs;
use std::path::Path;

use driftless_proto::disk::Style;
use proptest::prelude::*;

use super::*;
use crate::journal::Note;

fn p(path: &str) -> RelPath {
    RelPath::parse_typed(path.as_bytes()).expect("path")
}

fn plant(src: &Path, paths: &[&str]) {
    for path in paths {
        if let Some(dir) = path.strip_suffix('/') {
            fs::create_dir_all(src.join(dir)).expect("mkdir");
        } else {
            let path = src.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, "x").expect("write");
        }
    }
}

struct Ground {
    home: tempfile::TempDir,
    root: Root,
    journal: Journal,
}

impl Ground {
    fn new(paths: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("tempdir");
        let src = home.path().join("src");
        fs::create_dir(&src).expect("src");
        plant(&src, paths);
        let root = Root::open(&src, Style::default()).expect("root");
        let journal = Journal::open(home.path(), &src, b"m", &RelPath::root()).expect("journal");
        let ground = Self { home, root, journal };
        ground.learn();
        ground
    }

    fn src(&self) -> std::path::PathBuf {
        self.home.path().join("src")
    }

    /// Takes the source as it is into the inventory.
    fn learn(&self) {
        let top = RelPath::root();
        let mounted =
            Mounted::new(&self.root.found(&top).expect("found"), self.root.inode(&top).expect("inode"));
        let mut notes = Vec::new();
        let inventory = self.journal.inventory(&top).expect("inventory");
        survey(&self.root, &top, &Rules::default(), inventory, &mut |sight| {
            if let Sight::Fresh(dir, path, found) = sight {
                let item = Item::of(dir, path.name(), found, &mounted).expect("item");
                notes.push(Note::Seen(path.clone(), item));
            }
        })
        .expect("survey");
        self.journal.take(&notes).expect("take");
    }

    fn findings(&self, rules: &Rules) -> Findings {
        Findings::of(&self.root, &RelPath::root(), rules, &self.journal, true).expect("survey")
    }
}

#[test]
fn a_file_that_differs_by_size_or_time_is_rewritten() {
    let ground = Ground::new(&["same", "d/longer", "d/touched", "gone", "dir/"]);
    fs::write(ground.src().join("d/longer"), "longer").expect("write");
    let touched = fs::File::options().write(true).open(ground.src().join("d/touched")).expect("open");
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("touch");
    fs::remove_file(ground.src().join("gone")).expect("rm");
    fs::remove_dir(ground.src().join("dir")).expect("rmdir");
    plant(&ground.src(), &["new", "dir"]);
    let findings = ground.findings(&Rules::default());
    assert_eq!(findings.rewritten, [p("d/longer"), p("d/touched")]);
}

#[test]
fn what_is_missing_is_named_by_its_topmost_path() {
    // `d-`, `d.x` and `d0` stand around what is beneath `d`.
    let ground = Ground::new(&["d/x", "d/y/z", "d-/a", "d.x", "d0", "e/", "f"]);
    let nothing = ground.findings(&Rules::default());
    assert_eq!((nothing.entries(), nothing.fresh), (0, 0));
    let src = ground.src();
    fs::remove_dir_all(src.join("d")).expect("rm -r");
    fs::remove_file(src.join("d-/a")).expect("rm");
    plant(&src, &["d1/new", "e/new"]);
    let findings = ground.findings(&Rules::default());
    assert_eq!(findings.missing.into_iter().collect::<Vec<_>>(), [(p("d"), 4), (p("d-/a"), 1)]);
    assert_eq!(findings.fresh, 3);
}

#[test]
fn what_the_rules_leave_out_is_neither_missing_nor_new() {
    let ground = Ground::new(&["cache/a", "log/b", "f"]);
    let mut rules = Rules::default();
    rules.exclude(b"/cache/").expect("rule");
    rules.exclude(b"b").expect("rule");
    fs::remove_dir_all(ground.src().join("cache")).expect("rm -r");
    fs::remove_file(ground.src().join("log/b")).expect("rm");
    plant(&ground.src(), &["b/new"]);
    let findings = ground.findings(&rules);
    assert_eq!((findings.entries(), findings.fresh), (0, 0));
}

#[test]
fn a_directory_that_became_a_file_is_missing_what_was_in_it() {
    let ground = Ground::new(&["d/x", "d/y", "f"]);
    fs::remove_dir_all(ground.src().join("d")).expect("rm -r");
    plant(&ground.src(), &["d"]);
    let missing: Vec<_> = ground.findings(&Rules::default()).missing.into_iter().collect();
    assert_eq!(missing, [(p("d/x"), 1), (p("d/y"), 1)]);
}

#[test]
fn a_survey_that_begins_at_another_mount_than_the_known_one_says_nothing_of_what_is_beneath() {
    let ground = Ground::new(&["d/x", "d/y"]);
    // As if another file system had been mounted there, and is no longer.
    let item = ground.journal.item(&p("d")).expect("journal").expect("known");
    ground.journal.take(&[Note::Seen(p("d"), Item { mounted: true, ..item })]).expect("take");
    fs::remove_file(ground.src().join("d/x")).expect("rm");
    let findings =
        Findings::of(&ground.root, &p("d"), &Rules::default(), &ground.journal, true).expect("survey");
    assert!(findings.missing.is_empty());
    assert_eq!(findings.hidden, [(p("d"), "what was mounted there is no longer")]);
    ground.journal.take(&[Note::Seen(p("d"), item)]).expect("take");
    let findings =
        Findings::of(&ground.root, &p("d"), &Rules::default(), &ground.journal, true).expect("survey");
    assert_eq!(findings.missing.into_iter().collect::<Vec<_>>(), [(p("d/x"), 1)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

    /// Whatever the names: what was removed is missing, what was added is new, nothing else is either.
    #[test]
    fn every_difference_is_met_once(
        names in prop::collection::btree_set("[a-c][-./0]?[a-c]?(/[a-c][-.0]?){0,2}", 1..25), cut in 0..25_usize
    ) {
        let names: Vec<String> = names.into_iter().filter(|name| !name.contains("//") && !name.ends_with('/')).collect();
        let (home, mut made) = (tempfile::tempdir().expect("tempdir"), Vec::new());
        drop(home);
        let ground = Ground::new(&[]);
        for name in &names {
            // A name that is a directory by now, or lies beneath a file, is left out.
            let path = ground.src().join(name);
            let parent = path.parent().expect("a parent").to_owned();
            if fs::create_dir_all(&parent).is_ok() && !path.is_dir() && fs::write(&path, "x").is_ok() {
                made.push(p(name));
            }
        }
        ground.learn();
        let (gone, stay) = made.split_at(cut.min(made.len()));
        for path in gone {
            fs::remove_file(ground.src().join(path.to_string())).expect("rm");
        }
        plant(&ground.src(), &["zz/new"]);
        let findings = ground.findings(&Rules::default());
        let missing: Vec<RelPath> = findings.missing.keys().cloned().collect();
        let mut gone = gone.to_vec();
        gone.sort();
        prop_assert_eq!(missing, gone, "stay: {:?}", stay);
        prop_assert_eq!(findings.fresh, 2);
    }
}
