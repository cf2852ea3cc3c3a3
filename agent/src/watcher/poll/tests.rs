//! Claims about polling, against real directories. Each waits for a signal, with a deadline.
#![allow(clippy::disallowed_methods, reason = "the tests make the changes that are to be seen")]

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use driftless_proto::disk::Style;
use tempfile::TempDir;

use super::*;
use crate::watcher::Running;
use crate::watcher::report::nobody;

/// Nothing here takes nearly as long, on however busy a machine.
const DEADLINE: Duration = Duration::from_secs(30);

struct World {
    home: TempDir,
    heard: Receiver<Vec<Signal>>,
    signals: Vec<Signal>,
    _engine: Running,
}

impl World {
    fn new(prepare: &[&str], inbox: Option<Arc<Inbox>>) -> Self {
        Self::with_room(ROOM, prepare, inbox)
    }

    fn with_room(room: usize, prepare: &[&str], inbox: Option<Arc<Inbox>>) -> Self {
        let home = tempfile::tempdir().expect("tempdir");
        for file in prepare {
            plant(&home.path().join(file));
        }
        let root = Root::open(home.path(), Style::default()).expect("root");
        let (tell, heard) = channel();
        let report: Report = Box::new(move |signals| drop(tell.send(signals)));
        let mut rules = Rules::default();
        rules.exclude(b"*.tmp").expect("rule");
        let mut engine = PollEngine::new(root, Arc::new(rules), report, inbox).expect("engine");
        engine.room = room;
        Self {
            home,
            heard,
            signals: Vec::new(),
            _engine: Running::start(Box::new(engine), nobody()).expect("thread"),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// Listens until this has been told.
    fn until(&mut self, what: &Signal) {
        self.until_any(std::slice::from_ref(what));
    }

    /// Listens until one of these has been told, and gives it back.
    fn until_any(&mut self, what: &[Signal]) -> Signal {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = what.iter().find(|what| self.signals.contains(what)) {
                return found.clone();
            }
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(signals) => self.signals.extend(signals),
                Err(_) => panic!("never heard: {what:?}; heard: {:#?}", self.signals),
            }
        }
    }
}

fn plant(file: &std::path::Path) {
    fs::create_dir_all(file.parent().expect("parent")).expect("mkdir -p");
    fs::write(file, "x").expect("write");
}

fn p(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).expect("path")
}

fn dirty(path: &str, why: Why, dir: bool) -> Signal {
    Signal::Dirty { path: p(path), why, dir }
}

#[test]
fn what_changed_is_told_and_what_did_not_is_not() {
    let mut world = World::new(&["a/same", "a/changed", "a/gone", "dir/f"], None);
    fs::write(world.at("a/changed"), "other").expect("write");
    fs::remove_file(world.at("a/gone")).expect("rm");
    fs::remove_dir_all(world.at("dir")).expect("rm -r");
    plant(&world.at("a/new"));
    plant(&world.at("a/x.tmp"));
    plant(&world.at("p/q/r"));
    fs::set_permissions(world.at("a"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    world.until(&dirty("a", Why::Described, true));
    world.until(&dirty("a/changed", Why::Touched, false));
    world.until(&dirty("a/gone", Why::Gone, false));
    world.until(&dirty("dir", Why::Gone, true));
    world.until(&dirty("a/new", Why::Created, false));
    world.until(&Signal::Rescan(p("p")));
    let told = |path: &str| {
        world.signals.iter().any(|s| matches!(s, Signal::Dirty { path: at, .. } if *at == p(path)))
    };
    assert!(!told("a/x.tmp"), "{:?}", world.signals);
    assert!(!told("p/q"), "a new directory is compared as a whole: {:?}", world.signals);
    // What is in it is remembered: from now on it is told by name.
    fs::write(world.at("p/q/r"), "other").expect("write");
    world.until(&dirty("p/q/r", Why::Touched, false));
}

#[test]
fn a_change_that_keeps_size_and_mtime_is_told() {
    let mut world = World::new(&["f"], None);
    let mtime = fs::metadata(world.at("f")).expect("stat").modified().expect("mtime");
    fs::write(world.at("f"), "y").expect("write");
    let file = fs::File::options().write(true).open(world.at("f")).expect("open");
    file.set_times(fs::FileTimes::new().set_modified(mtime)).expect("touch -r");
    world.until(&dirty("f", Why::Touched, false));
}

#[test]
fn a_file_that_becomes_a_directory_and_back_is_told_as_both() {
    let mut world = World::new(&["x"], None);
    fs::remove_file(world.at("x")).expect("rm");
    plant(&world.at("x/in"));
    world.until(&dirty("x", Why::Gone, false));
    world.until(&Signal::Rescan(p("x")));
    fs::remove_dir_all(world.at("x")).expect("rm -r");
    plant(&world.at("x"));
    world.until(&dirty("x", Why::Gone, true));
    world.until(&dirty("x", Why::Created, false));
}

#[test]
fn a_root_that_goes_away_is_told_as_gone_and_nothing_of_it_as_removed() {
    let mut world = World::new(&["tree/d/f"], None);
    let root = Root::open(&world.at("tree"), Style::default()).expect("root");
    let (tell, heard) = channel();
    let report: Report = Box::new(move |signals| drop(tell.send(signals)));
    let engine = PollEngine::of_root(root, Arc::new(Rules::default()), report).expect("engine");
    let running = Running::start(Box::new(engine), nobody()).expect("thread");
    fs::rename(world.at("tree"), world.at("elsewhere.tmp")).expect("mv");
    let mut told = Vec::new();
    while let Ok(signals) = heard.recv_timeout(DEADLINE) {
        told.extend(signals);
    }
    assert!(matches!(told.last(), Some(Signal::RootGone(_))), "{told:?}");
    assert!(!told.iter().any(|s| matches!(s, Signal::Dirty { why: Why::Gone, .. })), "{told:?}");
    drop(running);
    world.until(&dirty("tree", Why::Gone, true));
}

#[test]
fn the_poller_beside_an_engine_looks_only_where_it_is_told_to() {
    let inbox = Arc::new(Inbox::new().expect("inbox"));
    let mut world = World::new(&["told/deep/f", "untold/f"], Some(Arc::clone(&inbox)));
    inbox.put(Word::Poll(p("told")));
    inbox.put(Word::Poll(p("told/deep")));
    // What happened until it was looked at for the first time may be anything.
    world.until(&Signal::Rescan(p("told")));
    fs::write(world.at("untold/f"), "other").expect("write");
    fs::write(world.at("told/deep/f"), "other").expect("write");
    world.until(&dirty("told/deep/f", Why::Touched, false));
    // It is gone, so nobody looks there any more; the engine tells of that.
    fs::rename(world.at("told"), world.at("moved")).expect("mv");
    inbox.put(Word::Poll(p("moved")));
    world.until(&Signal::Rescan(p("moved")));
    fs::write(world.at("moved/deep/f"), "once more").expect("write");
    world.until(&dirty("moved/deep/f", Why::Touched, false));
    assert!(
        !world
            .signals
            .iter()
            .any(|s| matches!(s, Signal::Dirty { path, .. } if path.is_within(&p("untold"))))
    );
}

#[test]
fn what_a_mount_hides_is_not_told_as_gone() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    let mut world = World::new(&["sub/f", "sub/deep/g"], None);
    if let Err(error) = mount("tmpfs", world.at("sub"), "tmpfs", MountFlags::empty(), None) {
        assert!(!rustix::process::geteuid().is_root(), "root, and yet: {error}");
        return eprintln!("skipped: no mount: {error}");
    }
    let reason = "another file system was mounted over it, or unmounted from it".to_owned();
    world.until(&Signal::Unwatched { path: p("sub"), reason });
    unmount(world.at("sub"), UnmountFlags::DETACH).expect("umount");
    // It is visible again; what changed meanwhile may be anything.
    world.until(&Signal::Watched(p("sub")));
    world.until(&Signal::Rescan(p("sub")));
    fs::write(world.at("sub/deep/g"), "other").expect("write");
    world.until(&dirty("sub/deep/g", Why::Touched, false));
    let gone = |signal: &Signal| matches!(signal, Signal::Dirty { why: Why::Gone, .. });
    assert!(!world.signals.iter().any(gone), "{:?}", world.signals);
}

#[test]
fn where_there_is_no_room_for_names_a_changed_directory_is_compared_as_a_whole() {
    let mut world = World::with_room(0, &["a/b/f", "a/b/g", "still/f"], None);
    // A file that was made a moment ago is looked at twice.
    world.until(&Signal::Rescan(p("still")));
    for change in 0..3 {
        world.signals.clear();
        fs::write(world.at("a/b/f"), format!("{change}")).expect("write");
        world.until(&Signal::Rescan(p("a/b")));
    }
    fs::set_permissions(world.at("still"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("chmod");
    world.until(&dirty("still", Why::Described, true));
    fs::remove_dir_all(world.at("a/b")).expect("rm -r");
    world.until(&Signal::Rescan(p("a")));
    assert!(!world.signals.contains(&Signal::Rescan(p("still"))), "{:?}", world.signals);
}

#[test]
fn a_name_that_became_another_is_told_as_a_rename() {
    let mut world = World::new(&["f0", "d0/deep/g", "far/h"], None);
    if fs::metadata(world.at("f0")).and_then(|meta| meta.created()).is_err() {
        return eprintln!("skipped: no times of birth here");
    }
    // What was born a moment before the first look cannot be told from its successor yet, and a look that is at work
    // during the rename meets one end only: then it is one name less and one more, and the next rename is tried.
    for (dir, name) in [(false, "f"), (true, "d")] {
        let met = (0..20).any(|round| {
            let (from, to) = (format!("{name}{round}"), format!("{name}{}", round + 1));
            fs::rename(world.at(&from), world.at(&to)).expect("mv");
            let renamed = Signal::Renamed { from: p(&from), to: p(&to), dir };
            let told = world.until_any(&[renamed.clone(), dirty(&from, Why::Gone, dir)]);
            if dir {
                world.until(&Signal::Rescan(p(&to)));
            }
            told == renamed
        });
        assert!(met, "{:?}", world.signals);
    }
    // What is beneath is known under its new name, and a file that comes from elsewhere finds its other half too.
    let at = fs::read_dir(world.home.path())
        .expect("ls")
        .flatten()
        .find(|at| at.file_name().to_string_lossy().starts_with('d'));
    let at = at.expect("a directory").file_name().into_string().expect("text");
    fs::write(world.at(&format!("{at}/deep/g")), "other").expect("write");
    world.until(&dirty(&format!("{at}/deep/g"), Why::Touched, false));
}
