//! Settling: what never rests is sent all the same, at a pace and marked; what rests for a moment only, the temporary files
//! of a save, never reaches the server.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use driftless_tests::oracle::{find, skip};
use driftless_tests::trees::{equal, plant, write_noise};
use driftless_tests::wait::{until, until_ok};

use crate::brakes::Held;

#[test]
fn a_file_that_never_rests_arrives_all_the_same_and_is_marked_until_it_rests() {
    let mut held = Held::with(&["log=0"]);
    write_noise(&held.src.join("data"), 8 << 20, 1);
    held.arrives();
    let before = fs::read(held.copy().join("data")).expect("read");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A claim that fails must not leave the writer to write for ever.
        let _over = Over(&stop);
        scope.spawn(|| {
            let mut file = File::options().write(true).open(held.src.join("data")).expect("open");
            for round in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                file.seek(SeekFrom::Start((round % 8) << 20)).expect("seek");
                file.write_all(&round.to_le_bytes()).expect("write");
            }
        });
        held.says("data: it changed while it was read");
        let status = || held.agent.operate("status --json").stdout;
        until("the status tells of it", || status().contains("\"unstable\":[\"data\"]"));
        until("a later state arrives", || {
            fs::read(held.copy().join("data")).is_ok_and(|now| now.len() == before.len() && now != before)
        });
        // Nothing else waits for it.
        plant(&held.src, &["other=1"]);
        until("another file arrives", || held.copy().join("other").exists());
        assert!(status().contains("\"unstable\":[\"data\"]"));
        stop.store(true, Ordering::Relaxed);
    });
    held.arrives();
    until("it is marked no more", || held.agent.operate("status --json").stdout.contains("\"unstable\":[]"));
    assert_eq!(held.watch.log().matches("changed while it was read").count(), 1, "it is said once");
}

/// Says that it is over when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Names that come to stand in a directory, as inotifywait tells them.
struct Seen {
    child: Child,
    log: std::path::PathBuf,
}

impl Seen {
    fn beneath(dir: &Path, log: std::path::PathBuf) -> Option<Self> {
        let child = Command::new(find("inotifywait")?)
            .args(["-m", "-q", "-e", "create,moved_to", "--format", "%f"])
            .arg(dir)
            .stdout(File::create(&log).expect("log"))
            .stderr(Stdio::null())
            .spawn()
            .expect("inotifywait runs");
        let seen = Self { child, log };
        let probe = dir.join(".probe");
        until("it watches", || {
            fs::write(&probe, "").expect("write");
            fs::remove_file(&probe).expect("rm");
            seen.names().iter().any(|name| name == ".probe")
        });
        Some(seen)
    }

    /// Those that are the user's: a reserved name is a change on its way.
    fn names(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).expect("log");
        text.lines().filter(|name| !name.starts_with(".~dl")).map(Into::into).collect()
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

/// Saves of one kind at most, and how many have to be one change.
const ROUNDS: (usize, usize) = (20, 2);

/// Saves a file until it was seen more than once that a save was one change of the file on the server, and no other name. A
/// busy machine takes a program off the processor between two calls for longer than a temporary file is waited for, so not
/// every save ends so; all of them end right.
#[track_caller]
fn saves_end_as_one_change(what: &str, save: impl Fn(&Path, usize)) {
    let mut held = Held::with(&["text=first\n", "last=0"]);
    let Some(seen) = Seen::beneath(held.copy(), held.world.path("seen")) else { return };
    let mut clean = 0;
    for round in 0..ROUNDS.0 {
        let before = seen.names().len();
        save(&held.src, round);
        held.arrives();
        // What comes later has been told later.
        plant(&held.src, &[&format!("last={round}+")]);
        held.arrives();
        until("the last change is told", || seen.names()[before..].iter().any(|name| name == "last"));
        let names = seen.names().split_off(before);
        clean += usize::from(names == ["text", "last"]);
        if clean == ROUNDS.1 {
            return;
        }
    }
    panic!("{what}: {clean} of {} saves were one change: {:?}", ROUNDS.0, seen.names());
}

#[test]
fn sed_in_place_leaves_no_temporary_file_on_the_server() {
    let sed = find("sed").expect("sed");
    saves_end_as_one_change("sed -i", |src, round| {
        let status =
            Command::new(&sed).arg("-i").arg(format!("s/.*/round {round}/")).arg(src.join("text")).status();
        assert!(status.expect("sed runs").success());
    });
}

#[test]
fn vim_leaves_no_temporary_file_on_the_server() {
    let vim = Path::new("/usr/bin/vim");
    if !vim.exists() {
        return skip("vim is not installed");
    }
    for backup in ["backupcopy=no", "backupcopy=yes", "nowritebackup"] {
        saves_end_as_one_change(backup, |src, round| {
            // A swap file lives as long as the session, and is a file like any other.
            let status = Command::new(vim)
                .args(["-n", "-u", "NONE", "-es", "-c", &format!("set {backup}")])
                .args(["-c", &format!("%s/.*/round {round}/"), "-c", "wq"])
                .arg(src.join("text"))
                .stdin(Stdio::null())
                .status();
            assert!(status.expect("vim runs").success());
        });
    }
}

#[test]
fn the_saves_of_other_editors_leave_no_temporary_file_on_the_server() {
    saves_end_as_one_change("emacs", |src, round| {
        let path = |name: &str| src.join(name);
        symlink("user@host.123:456", path(".#text")).expect("lock");
        fs::rename(path("text"), path("text~")).expect("the backup");
        let mut file = File::create(path("text")).expect("create");
        writeln!(file, "emacs {round}").expect("write");
        file.sync_all().expect("sync");
        drop(file);
        fs::remove_file(path(".#text")).expect("unlock");
        fs::remove_file(path("text~")).expect("no backup is kept here");
    });
    saves_end_as_one_change("gedit", |src, round| {
        let path = |name: &str| src.join(name);
        let mut file = File::create(path(".goutputstream-A1B2C3")).expect("create");
        writeln!(file, "gedit {round}").expect("write");
        file.set_permissions(fs::Permissions::from_mode(0o644)).expect("chmod");
        file.sync_all().expect("sync");
        drop(file);
        fs::rename(path(".goutputstream-A1B2C3"), path("text")).expect("mv");
    });
    saves_end_as_one_change("dpkg", |src, round| {
        let path = |name: &str| src.join(name);
        fs::write(path("text.dpkg-new"), format!("dpkg {round}\n")).expect("write");
        fs::hard_link(path("text"), path("text.dpkg-tmp")).expect("ln");
        fs::rename(path("text.dpkg-new"), path("text")).expect("mv");
        fs::remove_file(path("text.dpkg-tmp")).expect("rm");
    });
}

#[test]
fn a_checkout_replaces_files_in_place_and_leaves_none_of_its_own() {
    let git = find("git").expect("git");
    let held = Held::with(&["ready=1"]);
    let run = |args: &[&str]| {
        let out = Command::new(&git)
            .current_dir(&held.src)
            .env("HOME", held.world.path("home"))
            .args([
                "-c",
                "user.name=n",
                "-c",
                "user.email=e",
                "-c",
                "init.defaultBranch=m",
                "-c",
                "gc.auto=0",
            ])
            .args(args)
            .output()
            .expect("git runs");
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    run(&["init", "-q"]);
    for version in ["one", "two"] {
        for i in 0..50 {
            plant(&held.src, &[&format!("d{}/f{i}={version} {i}", i % 5)]);
        }
        run(&["add", "."]);
        run(&["commit", "-q", "-m", version]);
    }
    until_ok("both arrive", || equal(&held.src, held.copy()));
    for commit in ["HEAD~1", "m"] {
        run(&["checkout", "-q", commit]);
        until_ok("it arrives", || equal(&held.src, held.copy()));
    }
    let locks = |name: &String| name.ends_with(".lock");
    assert!(!driftless_tests::trees::names(held.copy()).iter().any(locks));
}
