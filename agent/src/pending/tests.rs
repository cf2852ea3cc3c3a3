//! Editor dances by table; and a small world of two trees in which no signalled change may be lost.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn p(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).expect("path")
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn dirty(path: &str, why: Why) -> Signal {
    Signal::Dirty { path: p(path), why, dir: false }
}

fn dir(path: &str, why: Why) -> Signal {
    Signal::Dirty { path: p(path), why, dir: true }
}

fn mv(from: &str, to: &str) -> Signal {
    Signal::Renamed { from: p(from), to: p(to), dir: false }
}

fn mvdir(from: &str, to: &str) -> Signal {
    Signal::Renamed { from: p(from), to: p(to), dir: true }
}

/// What it shows, signals with their times (in ms), and what [`play`] makes of them.
type Case<'a> = (&'a str, &'a [(u64, Signal)], &'a [&'a str]);

/// Notes each signal at its time (in ms) and takes whenever something may be due. One line per batch: its time,
/// its renames, its paths (`/` after one that is a subtree).
fn play(signals: &[(u64, Signal)]) -> Vec<String> {
    let start = Instant::now();
    let mut pending = Pending::new();
    let mut lines = Vec::new();
    let mut signals = signals.iter().peekable();
    for now in 0..3000 {
        while let Some((_, signal)) = signals.next_if(|(at, _)| *at == now) {
            pending.note(signal.clone(), start + ms(now));
        }
        if let Some(batch) = pending.take(start + ms(now)) {
            let renames = batch.renames.iter().map(|r| format!("{}>{}", r.from, r.to));
            let paths = batch.dirty.iter().map(|d| format!("{}{}", d.path, if d.subtree { "/" } else { "" }));
            let words: Vec<String> = renames.chain(paths).collect();
            lines.push(format!("{now}: {}", words.join(" ")));
            pending.done(batch.id);
        }
    }
    assert!(pending.is_empty() && pending.next_deadline().is_none());
    lines
}

#[test]
fn each_change_rests_as_long_as_it_should() {
    use Why::{Closed, Created, Gone, Touched};
    let cases: &[Case<'_>] = &[
        ("a known name ships at close", &[(0, dirty("f", Touched)), (1, dirty("f", Closed))], &["1: f"]),
        ("a new name waits for a rename", &[(0, dirty("f", Created)), (1, dirty("f", Closed))], &["6: f"]),
        ("a new directory too", &[(0, dir("d", Created))], &["5: d"]),
        ("a move-in ships at once", &[(3, Signal::Rescan(p("d")))], &["3: d/"]),
        (
            "an open writer ships when quiet",
            &[(0, dirty("f", Touched)), (15, dirty("f", Touched))],
            &["215: f"],
        ),
        ("a removal waits longest", &[(0, dirty("f", Gone))], &["50: f"]),
        (
            "a subtree absorbs what is narrower",
            &[(0, dirty("d/a", Touched)), (1, Signal::Rescan(p("d"))), (1, dirty("d/b/c", Gone))],
            &["1: d/"],
        ),
        (
            "a removed tree is one mark",
            &[(0, dirty("d/a", Gone)), (1, dirty("d/b", Gone)), (2, dir("d", Gone))],
            &["52: d/"],
        ),
        (
            "loss covers everything",
            &[(0, dirty("a", Gone)), (0, mv("x", "y")), (1, Signal::Lost), (1, dirty("b/c", Closed))],
            &["1: ./"],
        ),
        (
            "paths come in canonical order",
            &[(0, dirty("a.b", Closed)), (0, dirty("a/z", Closed)), (0, dirty("a", Closed))],
            &["0: a a/z a.b"],
        ),
    ];
    for (name, signals, want) in cases {
        assert_eq!(play(signals), *want, "{name}");
    }
}

#[test]
fn what_is_missed_is_looked_for_where_a_rename_took_it() {
    let start = Instant::now();
    let mut pending = Pending::new();
    let taken = |pending: &mut Pending, at: u64| {
        let batch = pending.take(start + ms(at))?;
        pending.done(batch.id);
        Some(batch.dirty)
    };
    // The rename is heard of after the miss.
    pending.missed(&p("d/x"), start, start);
    assert!(pending.is_empty() && taken(&mut pending, 1).is_none(), "nobody waits for what is gone");
    pending.note(mvdir("d", "e"), start + ms(2));
    let found = taken(&mut pending, 100).expect("due");
    assert!(found.contains(&Dirty { path: p("e/x"), subtree: true }), "{found:?}");
    // Before it, while what met it was on its way.
    pending.note(Signal::Rescan(p("f")), start + ms(200));
    let batch = pending.take(start + ms(200)).expect("due");
    pending.note(mvdir("f", "g"), start + ms(201));
    pending.missed(&p("f/x"), start, start + ms(202));
    pending.done(batch.id);
    let found = taken(&mut pending, 300).expect("due");
    assert!(found.contains(&Dirty { path: p("g/x"), subtree: true }), "{found:?}");
    // What is renamed long after has nothing to do with it.
    pending.missed(&p("h/x"), start, start + ms(1000));
    pending.note(mvdir("h", "i"), start + ms(9000));
    let found = taken(&mut pending, 9100).expect("the rename");
    assert!(!found.iter().any(|dirty| dirty.path == p("i/x")), "{found:?}");
}

#[test]
fn a_file_that_never_rests_ships_within_the_bound() {
    let touches: Vec<(u64, Signal)> = (0..200).map(|i| (i * 10, dirty("log", Why::Touched))).collect();
    assert_eq!(play(&touches), ["1000: log", "2010: log"]);
}

/// Writes to a file every 10 ms for so many seconds while each sending takes so long, and sends what settles. Returns when
/// each sending began, in ms.
fn written_without_end(seconds: u64, takes: u64, why: Why) -> Vec<u64> {
    let start = Instant::now();
    let mut pending = Pending::new();
    let (mut sends, mut arrives) = (Vec::new(), None);
    for now in 0..seconds * 1000 {
        let at = start + ms(now);
        if arrives == Some(now) {
            pending.arrived(&p("log"), true, at);
        }
        if now % 10 == 0 {
            pending.note(dirty("log", why), at);
        }
        // Asked only when it says so: a time that it does not tell would be slept through.
        if pending.next_deadline().is_none_or(|due| due > at) {
            continue;
        }
        if let Some(batch) = pending.take(at) {
            assert!(arrives.is_none_or(|arrives| arrives <= now), "two sendings of one file at once");
            pending.sent(p("log"), at);
            pending.done(batch.id);
            sends.push(now);
            arrives = Some(now + takes);
        }
    }
    sends
}

#[test]
fn a_file_that_never_rests_takes_a_tenth_of_the_time() {
    for (takes, why, want) in [
        // Cheap enough for the bound alone.
        (5, Why::Touched, 55..=60),
        // What closes is sent at once, and as fast as a tenth of the time allows.
        (5, Why::Closed, 900..=1200),
        (100, Why::Closed, 55..=65),
        (5000, Why::Closed, 6..=8),
        (5000, Why::Touched, 6..=8),
    ] {
        let sends = written_without_end(60, takes, why);
        assert!(want.contains(&sends.len()), "{takes} ms, {why:?}: {} sendings: {sends:?}", sends.len());
    }
    // Once it has found its pace: five seconds of fifty.
    let sends = written_without_end(600, 5000, Why::Closed);
    let gaps: Vec<u64> = sends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.is_sorted() && gaps[0] < 5400, "{gaps:?}");
    assert!(gaps.iter().rev().take(5).all(|gap| (50_000..50_100).contains(gap)), "{gaps:?}");
    let gaps = written_without_end(1200, 30_000, Why::Closed).windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(gaps.is_some_and(|gap| gap < 90_100), "bounded: {gaps:?}");
}

#[test]
fn a_file_that_has_rested_is_sent_at_once_again() {
    let start = Instant::now();
    let mut pending = Pending::new();
    let send = |pending: &mut Pending, at: u64, takes: u64| {
        let batch = pending.take(start + ms(at)).unwrap_or_else(|| panic!("nothing is due at {at}"));
        pending.sent(p("f"), start + ms(at));
        pending.done(batch.id);
        pending.arrived(&p("f"), true, start + ms(at + takes));
    };
    pending.note(dirty("f", Why::Closed), start);
    send(&mut pending, 0, 1000);
    // Again within its pause: the pause is short, whatever it cost.
    pending.note(dirty("f", Why::Closed), start + ms(1001));
    assert!(pending.take(start + ms(1199)).is_none());
    send(&mut pending, 1200, 1000);
    pending.note(dirty("f", Why::Closed), start + ms(2300));
    assert!(pending.take(start + ms(2599)).is_none());
    send(&mut pending, 2600, 1000);
    // Its pause, 0.8 s by now, and as long a rest as that would be in the end.
    pending.note(dirty("f", Why::Closed), start + ms(13_500));
    send(&mut pending, 13_500, 1000);
    pending.note(dirty("f", Why::Closed), start + ms(14_501));
    send(&mut pending, 14_700, 1000);
}

#[test]
fn what_is_on_its_way_or_pauses_holds_up_nothing_else() {
    let start = Instant::now();
    let mut pending = Pending::new();
    pending.note(dirty("big", Why::Closed), start);
    let batch = pending.take(start).expect("settled");
    pending.sent(p("big"), start);
    pending.note(dirty("big", Why::Closed), start + ms(10));
    // Overdue itself, it does not make renames leave before their time.
    pending.note(mv("a", "b"), start + ms(3000));
    pending.note(dirty("other", Why::Closed), start + ms(3000));
    let batches: Vec<_> = [3000, 3001, 3005].map(|at| pending.take(start + ms(at))).into();
    let at_once = batches[0].as_ref().expect("the other file");
    assert_eq!((at_once.renames.len(), &at_once.dirty[0].path), (0, &p("other")));
    assert!(batches[1].is_none());
    assert_eq!(batches[2].as_ref().expect("the rename").renames.len(), 1);
    // A broken stream ends the waiting.
    pending.fail_back(batch.id, Vec::new(), ms(0), start + ms(3010));
    pending.abandon();
    let again = pending.take(start + ms(3010)).expect("it is taken again");
    assert_eq!(again.dirty, [Dirty { path: p("big"), subtree: false }]);
}

#[test]
fn an_editors_save_ends_as_one_change() {
    use Why::{Closed, Created, Gone, Touched};
    let cases: &[Case<'_>] = &[
        (
            "vim: backup by rename, new file, slow sync, backup removed",
            &[
                (0, dirty("4913", Created)),
                (0, dirty("4913", Closed)),
                (1, dirty("4913", Gone)),
                (1, mv("f", "f~")),
                (1, dirty("f", Created)),
                (2, dirty("f", Touched)),
                (19, dirty("f", Closed)),
                (20, dirty("f~", Gone)),
            ],
            &["19: f", "51: 4913", "70: f~"],
        ),
        (
            "sed -i and every atomic save: temporary file renamed over",
            &[(0, dirty("sedX", Created)), (1, dirty("sedX", Closed)), (2, mv("sedX", "f"))],
            &["2: f", "52: sedX"],
        ),
        (
            "gio: old content moved aside, new content renamed in",
            &[
                (0, dirty(".out", Created)),
                (1, dirty(".out", Closed)),
                (1, mv("f", "f~")),
                (2, mv(".out", "f")),
            ],
            &["2: f", "52: .out f~"],
        ),
        (
            "delete and recreate",
            &[(0, dirty("f", Gone)), (4, dirty("f", Created)), (5, dirty("f", Closed))],
            &["5: f"],
        ),
        (
            "a temporary file that lived long is renamed, not sent again",
            &[(0, dirty("tmp", Created)), (1, dirty("tmp", Closed)), (30, mv("tmp", "f"))],
            &["6: tmp", "35: tmp>f f", "80: tmp"],
        ),
        (
            "a chain of renames is one",
            &[(0, mv("a", "b")), (1, mv("b", "c")), (2, mv("c", "d"))],
            &["7: a>d d", "50: a", "51: b", "52: c"],
        ),
        ("there and back is no rename", &[(0, mv("a", "b")), (1, mv("b", "a"))], &["0: b", "51: a"]),
        (
            "what was dirty follows its directory",
            &[(0, dirty("d/f", Touched)), (1, mvdir("d", "e"))],
            &["6: d>e e", "51: d", "200: e/f"],
        ),
        (
            "what closes under a fresh name waits for the rename",
            &[(0, mvdir("d", "e")), (1, dirty("e/f", Closed))],
            &["5: d>e e e/f", "50: d"],
        ),
    ];
    for (name, signals, want) in cases {
        if *name == "there and back is no rename" {
            // Either order of the two looks is right; what counts is that nothing is renamed.
            assert!(play(signals).iter().all(|line| !line.contains('>')), "{name}");
            continue;
        }
        assert_eq!(play(signals), *want, "{name}");
    }
}

#[test]
fn what_programs_put_beside_a_file_for_a_moment_ends_as_nothing() {
    use Why::{Closed, Created, Gone, Touched};
    let cases: &[Case<'_>] = &[
        (
            "emacs: lock link made and gone, old content renamed aside, written anew under the old name",
            &[
                (0, dirty(".#f", Created)),
                (3, mv("f", "f~")),
                (4, dirty("f", Created)),
                (5, dirty("f", Touched)),
                (6, dirty("f", Closed)),
                (7, dirty(".#f", Gone)),
                (8, dirty("f", Why::Described)),
            ],
            &["6: f", "8: f", "54: f~", "57: .#f"],
        ),
        (
            "git checkout: removed, written anew",
            &[
                (0, dirty("f", Gone)),
                (1, dirty("f", Created)),
                (1, dirty("f", Touched)),
                (2, dirty("f", Closed)),
                (2, dirty(".git/index.lock", Created)),
                (3, dirty(".git/index.lock", Closed)),
                (4, mv(".git/index.lock", ".git/index")),
            ],
            &["2: f", "4: .git/index", "54: .git/index.lock"],
        ),
        (
            "cargo: an object is made under a name of its own and linked to its last one",
            &[
                (0, dirty("deps/x.o", Created)),
                (1, dirty("deps/x.o", Touched)),
                (4, dirty("deps/x.o", Closed)),
                (5, dirty("x", Gone)),
                (6, dirty("x", Created)),
                (30, dirty("deps/x.o", Gone)),
            ],
            &["9: deps/x.o", "26: x", "80: deps/x.o"],
        ),
        (
            "dpkg: the new one beside, the old one linked aside, renamed over, the old one removed",
            &[
                (0, dirty("f.dpkg-new", Created)),
                (1, dirty("f.dpkg-new", Closed)),
                (2, dirty("f.dpkg-tmp", Created)),
                (3, mv("f.dpkg-new", "f")),
                (9, dirty("f.dpkg-tmp", Gone)),
            ],
            &["3: f", "53: f.dpkg-new", "59: f.dpkg-tmp"],
        ),
    ];
    for (name, signals, want) in cases {
        assert_eq!(play(signals), *want, "{name}");
    }
}

#[test]
fn a_failed_path_is_found_again_under_its_new_name() {
    let now = Instant::now();
    let mut pending = Pending::new();
    pending.note(dirty("d/f", Why::Closed), now);
    let batch = pending.take(now).expect("settled");
    pending.note(mvdir("d", "e"), now);
    pending.fail_back(batch.id, batch.paths(), ms(500), now);
    assert!(pending.take(now + ms(5)).expect("the rename").dirty.iter().all(|d| d.path != p("e/f")));
    let again = pending.take(now + ms(500)).expect("the retry");
    assert!(again.dirty.contains(&Dirty { path: p("e/f"), subtree: false }), "{again:?}");
}

#[test]
fn a_new_signal_brings_a_retry_forward() {
    let now = Instant::now();
    let mut pending = Pending::new();
    pending.note(dirty("f", Why::Closed), now);
    let batch = pending.take(now).expect("settled");
    pending.fail_back(batch.id, batch.paths(), ms(5000), now);
    pending.note(dirty("f", Why::Closed), now + ms(10));
    assert_eq!(pending.take(now + ms(10)).expect("sooner").dirty[0].path, p("f"));
}

#[test]
fn what_failed_is_as_old_as_when_it_was_first_heard_of() {
    let start = Instant::now();
    let mut pending = Pending::new();
    pending.note(dirty("a", Why::Closed), start);
    let mut now = start;
    for _ in 0..3 {
        now += ms(5000);
        let batch = pending.take(now).expect("settled");
        assert_eq!(batch.since, start);
        pending.fail_back(batch.id, batch.paths(), ms(1000), now);
        assert_eq!(pending.oldest(), Some(start));
    }
    // Whoever waits for it does not wait for its next turn.
    let scope = Scope::of(p("a"));
    assert!(!pending.waits(&scope, now) && pending.put_off(&scope, now).count() == 1);
    pending.hurry(&scope, now);
    assert!(pending.waits(&scope, now) && !pending.waits(&scope, start - ms(1)));
    pending.note(Signal::Lost, now);
    assert_eq!(pending.take(now).expect("at once").since, start);
}

#[test]
fn two_new_names_that_are_exchanged_are_as_old_as_before() {
    let start = Instant::now();
    let mut pending = Pending::new();
    for name in ["a", "b"] {
        pending.note(dirty(name, Why::Created), start);
    }
    for (from, to) in [("a", "b"), ("b", "a")] {
        pending.note(mv(from, to), start + ms(1));
    }
    for name in ["a", "b"] {
        assert!(pending.waits(&Scope::of(p(name)), start), "{name}");
    }
}

#[test]
fn a_scope_follows_what_is_renamed_out_of_it() {
    let mut scope = Scope::of(p("a/b"));
    assert!(scope.concerns(&p("a/b/c"), false) && scope.concerns(&p("a"), true));
    assert!(!scope.concerns(&p("a"), false) && !scope.concerns(&p("a/bc"), true));
    scope.follow(&mvdir("a", "z"));
    assert!(scope.concerns(&p("z/b/c"), false) && !scope.concerns(&p("z/c"), false));
    scope.follow(&mv("z/b/f", "other"));
    assert!(scope.concerns(&p("other"), false));
    scope.follow(&mv("x", "y"));
    assert!(!scope.concerns(&p("y"), false));
    for i in 0..100 {
        scope.follow(&mv("z/b/g", &format!("out{i}")));
    }
    assert!(scope.concerns(&p("anything"), false), "so many names are everything");
}

#[test]
fn too_many_marks_become_one() {
    let now = Instant::now();
    // In no directory a crowd.
    let mut pending = Pending::new();
    for i in 0..=MARKS_MAX {
        pending.note(dirty(&format!("{}/{i}", i % (MARKS_MAX / (CROWD / 2))), Why::Closed), now);
    }
    let batch = pending.take(now).expect("settled");
    assert_eq!(batch.dirty, [Dirty { path: RelPath::root(), subtree: true }]);
}

#[test]
fn a_crowd_of_marks_becomes_its_directory() {
    let start = Instant::now();
    let mut pending = Pending::new();
    pending.note(dirty("e/f", Why::Gone), start);
    for i in 0..MARKS_MAX {
        // One file that never rests, for days.
        pending.note(dirty("log", Why::Touched), start);
        pending.note(dirty(&format!("d{}/cache/{i}", i % 2), Why::Closed), start);
    }
    assert!(pending.len() <= 4, "{}", pending.len());
    assert_eq!(pending.oldest(), Some(start));
    let batch = pending.take(start + ms(1000)).expect("settled");
    let dirty: Vec<String> =
        batch.dirty.iter().map(|d| format!("{}{}", d.path, if d.subtree { "/" } else { "" })).collect();
    assert_eq!(dirty, ["d0/cache/", "d1/cache/", "e/f", "log"]);
    // What failed is bounded too, and waits on.
    let delay = ms(5000);
    for i in 0..=MARKS_MAX {
        pending.look_again(Dirty { path: p(&format!("x/{i}")), subtree: false }, start, delay, start);
    }
    assert_eq!(pending.len(), 1);
    assert!(pending.take(start + ms(4999)).is_none());
    let batch = pending.take(start + delay).expect("again");
    assert_eq!(batch.dirty, [Dirty { path: RelPath::root(), subtree: true }]);
}

// === a world of two trees ===

/// A tree: `None` is a directory, a number the content of a file.
type Tree = BTreeMap<RelPath, Option<u32>>;

#[derive(Clone, Debug)]
enum Step {
    Write(RelPath, u32),
    Mkdir(RelPath),
    Remove(RelPath),
    Move(RelPath, RelPath),
    Exchange(RelPath, RelPath),
    Wait(u64),
    Fail,
}

struct World {
    source: Tree,
    copy: Tree,
    pending: Pending,
    now: Instant,
    /// Somebody waits for this, as it was written by then.
    wait: Option<(Scope, Instant)>,
}

impl World {
    fn new() -> Self {
        let (source, copy) = (Tree::new(), Tree::new());
        Self { source, copy, pending: Pending::new(), now: Instant::now(), wait: None }
    }

    /// Whether what is waited for has come to its end.
    fn waited(&self) -> bool {
        let (scope, by) = self.wait.as_ref().expect("somebody waits");
        !self.pending.waits(scope, *by) && self.pending.put_off(scope, *by).next().is_none()
    }

    fn note(&mut self, signal: Signal) {
        if let Some((scope, _)) = &mut self.wait {
            scope.follow(&signal);
        }
        self.pending.note(signal, self.now);
    }

    fn is_dir(tree: &Tree, path: &RelPath) -> bool {
        path.is_root() || tree.get(path) == Some(&None)
    }

    fn subtree(tree: &Tree, at: &RelPath) -> Vec<RelPath> {
        tree.keys().filter(|path| path.is_within(at)).cloned().collect()
    }

    fn rename(tree: &mut Tree, from: &RelPath, to: &RelPath) {
        for path in Self::subtree(tree, from) {
            let moved = to.join(&path.below(from).expect("within")).expect("short");
            let what = tree.remove(&path).expect("present");
            tree.insert(moved, what);
        }
    }

    /// Does a step as a kernel would allow it, and signals it as the watcher would.
    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(path, content) => {
                if !Self::is_dir(&self.source, &path.parent().expect("below"))
                    || Self::is_dir(&self.source, path)
                {
                    return;
                }
                let new = self.source.insert(path.clone(), Some(*content)).is_none();
                let whys: &[Why] = if new {
                    &[Why::Created, Why::Touched, Why::Closed]
                } else {
                    &[Why::Touched, Why::Closed]
                };
                for &why in whys {
                    self.note(Signal::Dirty { path: path.clone(), why, dir: false });
                }
            }
            Step::Mkdir(path) => {
                if Self::is_dir(&self.source, &path.parent().expect("below"))
                    && !self.source.contains_key(path)
                {
                    self.source.insert(path.clone(), None);
                    self.note(Signal::Dirty { path: path.clone(), why: Why::Created, dir: true });
                }
            }
            Step::Remove(path) => {
                for path in Self::subtree(&self.source, path).into_iter().rev() {
                    let dir = self.source.remove(&path) == Some(None);
                    self.note(Signal::Dirty { path, why: Why::Gone, dir });
                }
            }
            Step::Move(from, to) => self.move_(from, to),
            Step::Exchange(a, b) => {
                let there = |path| self.source.get(path).copied();
                let (Some(kind), Some(other)) = (there(a), there(b)) else { return };
                if kind.is_none() != other.is_none() || a.is_within(b) || b.is_within(a) {
                    return;
                }
                let aside = p("aside");
                Self::rename(&mut self.source, a, &aside);
                Self::rename(&mut self.source, b, a);
                Self::rename(&mut self.source, &aside, b);
                let dir = kind.is_none();
                self.note(Signal::Renamed { from: a.clone(), to: b.clone(), dir });
                self.note(Signal::Renamed { from: b.clone(), to: a.clone(), dir });
            }
            Step::Wait(n) => {
                self.now += ms(*n);
                self.work(false);
            }
            Step::Fail => self.work(true),
        }
    }

    fn move_(&mut self, from: &RelPath, to: &RelPath) {
        let (Some(&what), over) = (self.source.get(from), self.source.get(to).copied()) else { return };
        let lands = match over {
            None => Self::is_dir(&self.source, &to.parent().expect("below")),
            Some(over) => what.is_none() == over.is_none() && Self::subtree(&self.source, to).len() == 1,
        };
        if lands && !to.is_within(from) && !from.is_within(to) {
            self.source.remove(to);
            Self::rename(&mut self.source, from, to);
            self.note(Signal::Renamed { from: from.clone(), to: to.clone(), dir: what.is_none() });
        }
    }

    /// What the worker does: repeats the renames where it can, then looks at the paths.
    fn work(&mut self, fail: bool) {
        let Some(batch) = self.pending.take(self.now) else { return };
        if fail {
            return self.pending.fail_back(batch.id, batch.paths(), ms(7), self.now);
        }
        let mut instead = Vec::new();
        for (index, Rename { from, to, dir }) in batch.renames.iter().enumerate() {
            let fits = self.copy.get(from).is_some_and(|what| what.is_none() == *dir)
                && Self::is_dir(&self.copy, &to.parent().expect("below"))
                && Self::subtree(&self.copy, to).is_empty();
            if fits {
                Self::rename(&mut self.copy, from, to);
            } else {
                instead.extend(batch.instead_of(index));
            }
        }
        for Dirty { path, subtree } in instead.iter().chain(&batch.dirty) {
            self.compare(path, *subtree);
        }
        self.pending.done(batch.id);
    }

    fn compare(&mut self, at: &RelPath, subtree: bool) {
        let gone = !Self::is_dir(&self.source, at);
        for path in Self::subtree(&self.copy, at) {
            if gone || (subtree && !self.source.contains_key(&path)) {
                self.copy.remove(&path);
            }
        }
        for path in Self::subtree(&self.source, at) {
            if subtree || path == *at {
                // Directories above are made as a push makes them.
                let mut above = path.parent();
                while let Some(dir) = above.filter(|dir| !dir.is_root()) {
                    above = dir.parent();
                    self.copy.insert(dir, None);
                }
                let what = self.source[&path];
                if what.is_some() {
                    self.copy.retain(|below, _| !below.is_within(&path));
                }
                self.copy.insert(path, what);
            }
        }
    }
}

fn path() -> impl Strategy<Value = RelPath> {
    prop::collection::vec(prop::sample::select(&["a", "b", "c"][..]), 1..=3)
        .prop_map(|names| p(&names.join("/")))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), any::<u32>()).prop_map(|(path, content)| Step::Write(path, content)),
        3 => path().prop_map(Step::Mkdir),
        2 => path().prop_map(Step::Remove),
        4 => (path(), path()).prop_map(|(from, to)| Step::Move(from, to)),
        1 => (path(), path()).prop_map(|(a, b)| Step::Exchange(a, b)),
        4 => (0_u64..60).prop_map(Step::Wait),
        1 => Just(Step::Fail),
    ]
}

fn signal() -> impl Strategy<Value = Signal> {
    let why = prop::sample::select(&[Why::Created, Why::Closed, Why::Touched, Why::Gone][..]);
    prop_oneof![
        8 => (path(), why, any::<bool>()).prop_map(|(path, why, dir)| Signal::Dirty { path, why, dir }),
        1 => path().prop_map(Signal::Rescan),
        4 => (path(), path(), any::<bool>()).prop_map(|(from, to, dir)| Signal::Renamed { from, to, dir }),
        1 => Just(Signal::Lost),
    ]
}

/// Each was once found by the property below.
#[test]
fn hard_cases_end_equal() {
    use Step::{Exchange, Mkdir, Move, Remove, Wait, Write};
    let cases = [
        vec![
            Mkdir(p("c")),
            Mkdir(p("b")),
            Wait(5),
            Move(p("c"), p("a")),
            Mkdir(p("b/a")),
            Mkdir(p("a/a")),
            Exchange(p("a"), p("b")),
        ],
        vec![Mkdir(p("a")), Wait(5), Mkdir(p("b")), Write(p("b/a"), 0), Exchange(p("b"), p("a"))],
        vec![Mkdir(p("a")), Write(p("a/f"), 1), Mkdir(p("b")), Wait(30), Exchange(p("b"), p("a"))],
        vec![
            Mkdir(p("a")),
            Write(p("a/a"), 0),
            Wait(5),
            Remove(p("a")),
            Write(p("a"), 0),
            Move(p("a"), p("b")),
            Mkdir(p("a")),
        ],
        vec![
            Mkdir(p("a")),
            Mkdir(p("b")),
            Mkdir(p("a/a")),
            Mkdir(p("c")),
            Mkdir(p("c/a")),
            Wait(5),
            Move(p("c"), p("a/a")),
            Move(p("a"), p("b/a")),
        ],
    ];
    for steps in cases {
        let world = end_of(&steps);
        assert_eq!(world.source, world.copy, "{steps:?}");
    }
}

/// The world after these steps, once everything has settled.
fn end_of(steps: &[Step]) -> World {
    let mut world = World::new();
    for step in steps {
        world.step(step);
    }
    for _ in 0..40 {
        world.step(&Step::Wait(50));
    }
    assert!(world.pending.is_empty());
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_copy_ends_equal(steps in prop::collection::vec(step(), 1..60)) {
        let world = end_of(&steps);
        prop_assert_eq!(world.source, world.copy);
    }

    /// Whatever happens and fails after a moment: once nobody needs to wait any more for what was written in a place by
    /// then, the copy has had it, under whichever name, unless it is gone from the source by now. What happened to it
    /// later may have taken it away again.
    #[test]
    fn what_was_waited_for_has_been_in_the_copy(
        place in prop_oneof![1 => Just(RelPath::root()), 2 => path()],
        before in prop::collection::vec(step(), 1..30),
        after in prop::collection::vec(step(), 0..30),
    ) {
        let mut world = World::new();
        let mut content = 0;
        let mut step = |world: &mut World, step: &Step| match step {
            // Each content once, so that it is known again.
            Step::Write(path, _) => {
                content += 1;
                world.step(&Step::Write(path.clone(), content));
            }
            other => world.step(other),
        };
        before.iter().for_each(|one| step(&mut world, one));
        let scope = Scope::of(place.clone());
        let written: Vec<u32> = World::subtree(&world.source, &place)
            .iter()
            .filter_map(|path| world.source[path])
            .collect();
        world.wait = Some((scope, world.now));
        // What happens from here on is younger, though nothing has settled.
        world.now += ms(1);
        let mut after = after.iter();
        let mut landed: BTreeSet<u32> = BTreeSet::new();
        for _ in 0..100 {
            landed.extend(world.copy.values().flatten());
            if world.waited() {
                let source: BTreeSet<u32> = world.source.values().flatten().copied().collect();
                let lacks = written.iter().find(|content| source.contains(content) && !landed.contains(content));
                prop_assert_eq!(lacks, None);
                return Ok(());
            }
            match after.next() {
                Some(one) => step(&mut world, one),
                None => world.step(&Step::Wait(50)),
            }
        }
        prop_assert!(false, "it never ends");
    }

    /// Whatever the signals, possible or not; only what has something beneath it is renamed as a directory.
    #[test]
    fn every_signalled_path_is_covered_by_a_later_batch(
        signals in prop::collection::vec((signal(), 0_u64..30), 1..60)
    ) {
        let mut now = Instant::now();
        let mut pending = Pending::new();
        let mut owed: BTreeSet<RelPath> = BTreeSet::new();
        let pay = |pending: &mut Pending, owed: &mut BTreeSet<RelPath>, now| {
            if let Some(batch) = pending.take(now) {
                for d in &batch.dirty {
                    owed.retain(|path| *path != d.path && !(d.subtree && path.is_within(&d.path)));
                }
                assert!(batch.dirty.is_sorted_by(|a, b| a.path < b.path && !(a.subtree && b.path.is_within(&a.path))));
                pending.done(batch.id);
            }
        };
        for (mut signal, wait) in signals {
            if let Signal::Renamed { from, dir, .. } = &mut signal {
                *dir |= owed.iter().any(|path| path != from && path.is_within(from));
            }
            match &signal {
                Signal::Dirty { path, .. } | Signal::Rescan(path) => drop(owed.insert(path.clone())),
                Signal::Renamed { from, to, .. } => {
                    owed = owed.into_iter().map(|path| match path.below(from) {
                        Some(rest) => to.join(&rest).expect("short"),
                        None => path,
                    }).collect();
                    owed.extend([from.clone(), to.clone()]);
                }
                _ => drop(owed.insert(RelPath::root())),
            }
            pending.note(signal, now);
            now += ms(wait);
            pay(&mut pending, &mut owed, now);
        }
        for _ in 0..100 {
            now += ms(30);
            pay(&mut pending, &mut owed, now);
        }
        prop_assert!(owed.is_empty(), "{owed:?}");
        prop_assert!(pending.is_empty());
    }
}
