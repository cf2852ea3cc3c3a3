//! Claims about plans: they come back as they were written, whatever the names, and a decision is taken once.

use driftless_proto::disk::Identity;
use driftless_proto::model::entry::Time;
use proptest::prelude::*;

use super::*;

fn watched() -> Watched {
    Watched { source: escape(b"/s\\ \xff\n"), destination: "h:1::m/p".into() }
}

fn plan(paths: &[(&[u8], u64)]) -> Plan {
    let paths = paths.iter().map(|(path, n)| (RelPath::parse(path).expect("path"), *n)).collect();
    Plan::new(&watched(), Kind::Deletions, "a reason", paths).expect("random numbers")
}

#[test]
fn a_plan_comes_back_as_it_was_written() {
    let born = Some(Time { sec: -1, nsec: 999_999_999 });
    for root in [None, Some(Identity { dev: 1, ino: 2, fsid: u64::MAX, born: None })] {
        for kind in [Kind::Deletions, Kind::Mount, Kind::Rewrites, Kind::Root] {
            let root = root.map(|root| Identity { born, ..root });
            let marked = kind == Kind::Rewrites;
            let plan = Plan { kind, marked, root, ..plan(&[(b"a", 3), (b"b\\#134 c", 1), (b"\xff\n", 1)]) };
            assert_eq!(Plan::parse(&plan.text()), Some(plan));
        }
    }
}

#[test]
fn a_plan_covers_what_it_lists_and_what_is_beneath() {
    let plan = plan(&[(b"a/b", 3), (b"a-", 1)]);
    let covers = |path: &[u8]| plan.covers(&RelPath::parse(path).expect("path"));
    assert!(covers(b"a/b") && covers(b"a/b/c/d") && covers(b"a-"));
    assert!(!covers(b"a") && !covers(b"a/bc") && !covers(b"b"));
    let all = Plan { paths: vec![(RelPath::root(), 9)], ..plan };
    assert!(all.covers(&RelPath::parse(b"x/y").expect("path")));
}

#[test]
fn a_decision_is_taken_once_and_a_rejected_plan_may_be_approved_later() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = Store::open(dir.path()).expect("store");
    let plan = plan(&[(b"a", 1)]);
    store.save(&plan).expect("save");
    assert_eq!(store.of(&watched()).expect("list"), std::slice::from_ref(&plan));
    let stamp = store.stamp();
    store.decide(&plan.id, State::Rejected).expect("reject");
    assert_ne!(store.stamp(), stamp);
    assert!(matches!(store.decide(&plan.id, State::Rejected), Err(StoreError::Already(..))));
    assert!(!store.drop_plan(&plan.id, Some(State::Held)).expect("not dropped"));
    store.decide(&plan.id, State::Approved).expect("approve");
    assert!(matches!(store.decide(&plan.id, State::Rejected), Err(StoreError::Already(..))));
    assert!(store.drop_plan(&plan.id, None).expect("dropped"));
    assert!(matches!(store.decide(&plan.id, State::Approved), Err(StoreError::Unknown(_))));
    for strange in ["../../etc", "", "ABCDEF01", "a\nb"] {
        assert!(matches!(store.load(strange), Err(StoreError::Unknown(_))), "{strange:?}");
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the test damages a plan")]
fn a_damaged_plan_is_an_error_and_not_a_plan_less() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = Store::open(dir.path()).expect("store");
    store.save(&plan(&[(b"a", 1)])).expect("save");
    let file = dir.path().join("plans/0123abcd");
    std::fs::write(&file, "half a pl").expect("write");
    let error = store.of(&watched()).expect_err("a plan that nobody can read").to_string();
    assert!(error.contains(file.to_str().expect("text")) && error.contains("removed"), "{error}");
    std::fs::remove_file(file).expect("rm");
    assert_eq!(store.of(&watched()).expect("list").len(), 1);
}

#[test]
fn a_plan_too_large_to_be_listed_is_known_again_on_disk() {
    let path = |n: usize| RelPath::parse(format!("{n}").as_bytes()).expect("path");
    let paths: Vec<_> = (0..=PATHS_MAX).map(|n| (path(n), 2)).collect();
    let plan = Plan::new(&watched(), Kind::Deletions, "many", paths.clone()).expect("random numbers");
    assert_eq!(plan.paths, [(RelPath::root(), 2 * (PATHS_MAX as u64 + 1))]);
    assert_eq!(Plan::parse(&plan.text()).expect("a plan").paths, listed(paths.clone()));
    assert_eq!(listed(paths[1..].to_vec()).len(), PATHS_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_name_survives_its_escaping(bytes: Vec<u8>) {
        let text = escape(&bytes);
        prop_assert!(!text.contains(['\n', '\r', '\x1b']));
        prop_assert_eq!(unescape(&text), Some(bytes));
    }

    /// The disk may give back anything.
    #[test]
    fn no_text_makes_reading_a_plan_panic(head: String, body: String) {
        let plan = Plan::parse(&format!("{FORM}\n{head}\n\n{body}"));
        prop_assert!(plan.is_none_or(|plan| is_id(&plan.id)));
        prop_assert!(unescape(&body).is_none_or(|bytes| bytes.len() <= body.len()));
    }
}
