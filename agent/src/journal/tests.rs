//! Claims about the journal: what goes in comes out, subtrees move as one, and damage costs rows, never a start.
#![allow(clippy::disallowed_methods, reason = "the tests damage the file behind the journal's back")]

use std::collections::HashSet;
use std::fs;

use driftless_proto::model::entry::{Device, Kind, Time};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn p(path: &str) -> RelPath {
    RelPath::parse_typed(path.as_bytes()).expect("path")
}

fn record(seed: u64) -> Record {
    let time = Time { sec: -5, nsec: 999_999_999 };
    Record {
        stamp: Stamp { dev: 1, ino: seed, nlink: 1, size: seed, mtime: time, ctime: time },
        entry: Entry { kind: Kind::File { size: seed }, mode: 0o644, mtime: time, uid: 1, gid: 2 },
        digest: Some(Digest::of(&seed.to_le_bytes())),
        groups: Vec::new(),
        acked: seed.is_multiple_of(2).then_some(time),
    }
}

fn try_open(dir: &Path) -> Result<Journal, JournalError> {
    Journal::open(dir, Path::new("/src"), b"module", &p("a/b"))
}

fn open(dir: &TempDir) -> Journal {
    try_open(dir.path()).expect("journal")
}

#[test]
fn what_was_recorded_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("tempdir");
    let large = Record { groups: vec![[7; 32], [9; 32]], ..record(2) };
    let identity = Identity { dev: 1, ino: 2, fsid: u64::MAX, born: Some(Time { sec: -1, nsec: 5 }) };
    let server = ServerSeen { module_id: b"m\xff".to_vec(), boot_epoch: b"9".to_vec() };
    {
        let journal = open(&dir);
        assert_eq!(journal.root_identity().expect("meta"), None);
        journal
            .record(&[(p("a"), record(1)), (p("b"), large.clone()), (RelPath::root(), record(3))])
            .expect("record");
        journal.set_root_identity(&identity).expect("meta");
        journal.set_server_seen(&server).expect("meta");
        journal.remove(&p("a")).expect("remove");
    }
    let journal = open(&dir);
    assert_eq!(journal.get(&p("a")).expect("get"), None);
    assert_eq!(journal.get(&p("b")).expect("get"), Some(large.clone()));
    assert_eq!(journal.glance(&p("b")).expect("get"), Some(Record { groups: Vec::new(), ..large }));
    assert_eq!(journal.get(&RelPath::root()).expect("get"), Some(record(3)));
    assert_eq!(journal.count().expect("count"), 2);
    assert_eq!(journal.root_identity().expect("meta"), Some(identity));
    assert_eq!(journal.server_seen().expect("meta"), Some(server));
}

#[test]
fn a_file_that_shrinks_keeps_no_groups() {
    let dir = tempfile::tempdir().expect("tempdir");
    let journal = open(&dir);
    journal.record(&[(p("f"), Record { groups: vec![[7; 32]], ..record(1) })]).expect("record");
    journal.record(&[(p("f"), record(2))]).expect("record");
    assert_eq!(journal.get(&p("f")).expect("get"), Some(record(2)));
}

#[test]
fn a_subtree_is_forgotten_and_renamed_as_one_and_nothing_else_is() {
    let dir = tempfile::tempdir().expect("tempdir");
    let journal = open(&dir);
    // `d-` and `d0` stand right before and after what lies beneath `d`.
    let names = ["d", "d-", "d-/x", "d/x", "d/x/y", "d0", "e", "e/old"];
    let rows: Vec<(RelPath, Record)> = (0..).zip(names).map(|(i, name)| (p(name), record(i))).collect();
    journal.record(&rows).expect("record");
    let known = || -> Vec<&str> {
        let all = ["d", "d-", "d-/x", "d/x", "d/x/y", "d0", "e", "e/old", "e/x", "e/x/y"];
        all.into_iter().filter(|name| journal.get(&p(name)).expect("get").is_some()).collect()
    };
    journal.rename(&p("d"), &p("e")).expect("rename");
    assert_eq!(known(), ["d-", "d-/x", "d0", "e", "e/x", "e/x/y"]);
    assert_eq!(journal.get(&p("e/x/y")).expect("get"), Some(record(4)));
    journal.rename(&p("e"), &p("e/x/z")).expect("nothing");
    assert_eq!(known(), ["d-", "d-/x", "d0", "e", "e/x", "e/x/y"]);
    journal.remove_below(&p("e")).expect("remove");
    assert_eq!(known(), ["d-", "d-/x", "d0"]);
    journal.remove_below(&RelPath::root()).expect("remove");
    assert_eq!(journal.count().expect("count"), 0);
}

fn item(ino: u64, dir: bool) -> Item {
    let mtime = Time { sec: 1, nsec: 2 };
    Item { dir, mounted: false, linked: false, kept: false, ino, born: None, size: 7, mtime, ctime: None }
}

#[test]
fn the_inventory_follows_what_is_removed_and_renamed() {
    let dir = tempfile::tempdir().expect("tempdir");
    let journal = open(&dir);
    let born = Some(Time { sec: 9, nsec: 8 });
    let seen = [
        ("d", item(1, true)),
        ("d-", Item { born, ctime: Some(Time { sec: 5, nsec: 6 }), ..item(2, false) }),
        ("d/x", item(3, true)),
        ("d/x/y", item(4, false)),
        ("d0", Item { mounted: true, ..item(5, true) }),
        ("d1", Item { kept: true, ..item(6, false) }),
    ];
    let notes: Vec<Note> = seen.iter().map(|(path, item)| Note::Seen(p(path), *item)).collect();
    journal.take(&notes).expect("take");
    let all = |below: &RelPath| -> Vec<(RelPath, Item)> {
        journal.inventory(below).expect("range").map(|item| item.expect("item")).collect()
    };
    // In the order of bytes, in which what is beneath a directory is in one piece but not right behind it.
    assert_eq!(all(&RelPath::root()), seen.map(|(path, item)| (p(path), item)));
    assert_eq!(all(&p("d")), [(p("d/x"), seen[2].1), (p("d/x/y"), seen[3].1)]);
    assert_eq!(journal.known_within(&p("d")).expect("count"), 3);
    assert_eq!(journal.known_within(&p("nothing")).expect("count"), 0);
    journal.take(&[Note::Renamed(p("d"), p("e")), Note::Removed(p("e/x"))]).expect("take");
    assert_eq!(journal.item(&p("e")).expect("item"), Some(seen[0].1));
    assert_eq!(journal.item(&p("d/x")).expect("item"), None);
    assert_eq!(journal.known().expect("count"), 4);
    journal.take(&[Note::Seen(p("e/z"), item(6, false)), Note::Exchanged(p("e"), p("d0"))]).expect("take");
    let (e, d0) = (journal.item(&p("e")).expect("item"), journal.item(&p("d0")).expect("item"));
    assert_eq!((e, d0), (Some(seen[4].1), Some(seen[0].1)));
    assert_eq!(journal.item(&p("d0/z")).expect("item"), Some(item(6, false)));
    assert_eq!(journal.known_within(&p("e")).expect("count"), 1);
}

#[test]
fn the_names_in_a_directory_are_told_without_what_is_beneath_them() {
    let dir = tempfile::tempdir().expect("tempdir");
    let journal = open(&dir);
    let paths = ["d", "d/a", "d/a-", "d/a.x", "d/a/1", "d/a/2/3", "d/b", "d-", "e", "e/only"];
    let seen = paths.map(|path| Note::Seen(p(path), item(1, !path.contains(['-', '.']))));
    journal.take(&seen).expect("take");
    let names = |dir: &RelPath| -> Vec<String> {
        let names = journal.names_in(dir).expect("names");
        names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert_eq!(names(&RelPath::root()), ["d", "d-", "e"]);
    assert_eq!(names(&p("d")), ["a", "a-", "a.x", "b"]);
    assert_eq!(names(&p("d/b")), [""; 0]);
    assert_eq!(names(&p("missing")), [""; 0]);
}

#[test]
fn a_journal_from_before_there_was_an_inventory_is_read() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = {
        let journal = open(&dir);
        journal.record(&[(p("d/f"), record(7))]).expect("record");
        journal.path.clone()
    };
    let db = Database::create(&file).expect("db");
    let txn = db.begin_write().expect("txn");
    txn.delete_table(inventory::INVENTORY).expect("delete");
    let old_identity = [1_u64, 2, 3].map(u64::to_le_bytes).concat();
    txn.open_table(META).expect("meta").insert(&b"root"[..], &*old_identity).expect("insert");
    txn.commit().expect("commit");
    drop(db);
    let journal = open(&dir);
    assert_eq!(journal.get(&p("d/f")).expect("get"), Some(record(7)));
    assert_eq!(journal.item(&p("d/f")).expect("item").map(|item| item.ino), Some(7));
    let identity = journal.root_identity().expect("meta");
    assert_eq!(identity, Some(Identity { dev: 1, ino: 2, fsid: 3, born: None }));
}

#[test]
fn a_second_agent_is_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let held = open(&dir);
    assert!(matches!(try_open(dir.path()), Err(JournalError::Busy(_))));
    Journal::open(dir.path(), Path::new("/src"), b"module", &p("a"))
        .expect("another path is another journal");
    drop(held);
    try_open(dir.path()).expect("free again");
}

#[test]
fn a_damaged_file_is_set_aside() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 4] = [
        ("not a database", |file| fs::write(file, "something else entirely\n".repeat(1000)).expect("write")),
        ("a short file", |file| fs::write(file, "redb").expect("write")),
        ("a cut file", |file| {
            let len = fs::metadata(file).expect("stat").len();
            fs::OpenOptions::new().write(true).open(file).expect("open").set_len(len / 3).expect("cut");
        }),
        ("another format", |file| {
            let db = Database::create(file).expect("db");
            let txn = db.begin_write().expect("txn");
            txn.open_table(META).expect("meta").insert(&b"format"[..], &b"later"[..]).expect("insert");
            txn.commit().expect("commit");
        }),
    ];
    for (name, damage) in cases {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = {
            let journal = open(&dir);
            journal.record(&[(p("a"), record(1))]).expect("record");
            journal.path.clone()
        };
        damage(&file);
        let journal = try_open(dir.path()).expect(name);
        assert_eq!(journal.count().expect("count"), 0, "{name}");
        assert!(file.with_extension("redb.damaged").exists(), "{name}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::write(dir.path().join("file"), "").expect("write");
    let error = try_open(&dir.path().join("file")).expect_err("no directory");
    assert!(error.to_string().contains("file/journal"), "{error}");
}

#[test]
fn parts_that_read_the_same_when_joined_have_files_of_their_own() {
    assert_ne!(file_name([b"ab", b"c", b""]), file_name([b"a", b"bc", b""]));
}

fn kind() -> impl Strategy<Value = Kind> {
    let device = (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Device { major, minor });
    prop_oneof![
        device.clone().prop_map(Kind::Block),
        device.prop_map(Kind::Char),
        Just(Kind::Dir),
        Just(Kind::Fifo),
        Just(Kind::Socket),
        any::<u64>().prop_map(|size| Kind::File { size }),
        prop::collection::vec(any::<u8>(), 1..50).prop_map(|text| Kind::Symlink { target: text.into() }),
    ]
}

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(sec, nsec)| Time { sec, nsec })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_back_as_they_were(
        numbers: [u64; 4], times in [time(), time(), time()], ids: [u32; 3], kind in kind(), digest: Option<[u8; 32]>,
        acked in prop::option::of(time())
    ) {
        let [dev, ino, nlink, size] = numbers;
        let [mtime, ctime, entry_mtime] = times;
        let record = Record {
            stamp: Stamp { dev, ino, nlink, size, mtime, ctime },
            entry: Entry { kind, mode: ids[0], mtime: entry_mtime, uid: ids[1], gid: ids[2] },
            digest: digest.map(Digest),
            groups: Vec::new(),
            acked,
        };
        let bytes = row::encode(&record);
        prop_assert_eq!(row::decode(&bytes), Some(record.clone()));
        if !matches!(record.entry.kind, Kind::Symlink { .. }) {
            prop_assert_eq!(row::decode(&bytes[..bytes.len() - 1]), None);
        }
    }

    /// The disk may give back anything.
    #[test]
    fn no_bytes_make_reading_a_row_panic(bytes: Vec<u8>, version in 0..3_u8) {
        let bytes = [&[version], &*bytes].concat();
        row::decode(&bytes);
        row::decode_groups(&bytes);
        row::decode_identity(&bytes);
        row::decode_server(&bytes);
        inventory::decode(&bytes);
    }
}

#[test]
fn the_names_of_one_file_are_found_and_follow_what_happens_to_them() {
    let dir = tempfile::tempdir().expect("tempdir");
    let journal = open(&dir);
    let seen = |path: &str, ino, linked| Note::Seen(p(path), Item { linked, ..item(ino, false) });
    let take = |notes: &[Note]| journal.take(notes).expect("take");
    let names = |ino| {
        let names = journal.names_of(&HashSet::from([ino]));
        let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let every = || {
        let every = journal.every_linked().expect("names");
        every.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // It had one name when it was seen, and has got another since.
    take(&[seen("a/x", 7, false), seen("c", 8, false), seen("d/y", 9, true), seen("d/z", 9, true)]);
    // By its event, or by a comparison.
    take(&[seen("b", 7, true)]);
    journal.meet(&p("b"), 7);
    assert_eq!(names(7), ["b"], "the inventory was not looked through yet");
    assert_eq!(every(), ["a/x", "b", "d/y", "d/z"]);
    assert_eq!(names(7), ["a/x", "b"]);
    // One that comes later is one of them, whatever it was when it was seen.
    take(&[seen("e", 7, false), Note::Renamed(p("a"), p("f"))]);
    assert_eq!(names(7), ["b", "e", "f/x"]);
    take(&[Note::Exchanged(p("d"), p("f"))]);
    assert_eq!(
        (names(7), names(9)),
        (vec!["b".into(), "d/x".into(), "e".into()], vec!["f/y".into(), "f/z".into()])
    );
    take(&[Note::Removed(p("d")), seen("e", 8, false)]);
    assert_eq!(names(7), ["b"]);
    assert_eq!((journal.linked(&p("f/y")), journal.linked(&p("e"))), (Some(9), None));
    journal.stands_alone(&p("b"));
    assert_eq!(every(), ["f/y", "f/z"]);
    // Another life of the agent meets one of them, and finds by it whatever had other names when it was seen.
    drop(journal);
    let journal = open(&dir);
    assert!(journal.every_linked().expect("names").is_empty());
    journal.meet(&p("f/y"), 9);
    assert_eq!(journal.every_linked().expect("names"), [p("b"), p("f/y"), p("f/z")]);
}

#[test]
fn what_is_in_doubt_stays_so_until_it_is_noted() {
    let dir = tempfile::tempdir().expect("tempdir");
    let journal = open(&dir);
    journal.take(&[Note::Recorded(p("f"), record(1))]).expect("take");
    assert!(journal.may_exchange(&p("d"), &p("e")));
    journal.begin_exchange(&p("d"), &p("e"));
    assert!(journal.is_in_doubt(&p("d/x")) && journal.is_in_doubt(&p("e")) && !journal.is_in_doubt(&p("f")));
    assert!(!journal.may_exchange(&p("d/x"), &p("f")));
    journal.take(&[Note::Renamed(p("d"), p("r"))]).expect("take");
    assert!(journal.is_in_doubt(&p("r/x")));
    journal.take(&[Note::Exchanged(p("d"), p("e"))]).expect("take");
    assert!(!journal.is_in_doubt(&p("d/x")) && !journal.is_in_doubt(&p("e")));
    journal.lost_on_the_way(vec![p("f"), p("never sent")]).expect("read");
    assert!(journal.is_in_doubt(&p("f")) && !journal.is_in_doubt(&p("never sent")));
    journal.take(&[Note::Recorded(p("f"), record(2))]).expect("take");
    assert!(!journal.is_in_doubt(&p("f")));
}
