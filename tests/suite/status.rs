//! The status of a running watch can be asked for, by its own user only.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;

use driftless_tests::oracle::{root_or_skip, slash};
use driftless_tests::trees::plant;
use driftless_tests::wait::until;

use rustix::fs::Uid;

use crate::brakes::Held;
use crate::engines::auto_engine;

#[test]
fn a_status_tells_what_is_held_and_how_far_behind_the_copy_is() {
    let mut held = Held::with(&["d/f=1", "h=2"]);
    let out = held.agent.operate("status").ok().stdout;
    for part in [
        "/src -> 127.0.0.1:",
        "::backup\n",
        "connected to 127.0.0.1:",
        &format!("engine {}\n", auto_engine(&held.agent, &held.src)),
        "pending 0, in flight 0",
    ] {
        assert!(out.contains(part), "{part:?} in:\n{out}");
    }
    assert!(out.contains("compared "), "{out}");
    assert!(!out.contains("held") && !out.contains("oldest"), "{out}");

    held.server.kill();
    plant(&held.src, &["waits=3"]);
    until("the change is counted", || {
        let out = held.agent.operate("status").ok().stdout;
        out.contains("not connected") && out.contains("oldest change that is not durable")
    });
    held.server.start();
    held.arrives();

    fs::rename(&held.src, held.world.path("aside")).expect("mv");
    plant(&held.src, &["new=4"]);
    let id = held.agent.plan("held");
    until("the status says why", || {
        let out = held.agent.operate("status --json").ok().stdout;
        out.contains("\"reason\":\"") && out.contains(&format!("\"plan\":\"{id}\""))
    });
    held.watch.kill();
    let out = held.agent.operate("status").exits(10);
    assert_eq!(out.complaints().len(), 1, "{}", out.stderr);
    assert!(out.stdout.is_empty() && out.stderr.contains("no watch is running"), "{}", out.stderr);
}

#[test]
fn the_socket_is_its_users_own() {
    let held = Held::with(&["f=1"]);
    let dir = held.world.path("home/state/control");
    let entry = fs::read_dir(&dir).expect("list").next().expect("a socket").expect("entry");
    let meta = fs::symlink_metadata(entry.path()).expect("stat");
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&dir).expect("stat").permissions().mode() & 0o777, 0o700);

    let ask = |text: &str| {
        let mut stream = UnixStream::connect(entry.path()).expect("connect");
        // Who is not let in may find the socket closed.
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    assert!(ask("status\n").expect("an answer").contains("\"source\""));
    assert!(ask("nonsense\n").expect("an answer").contains("\"error\""));

    // Another user, let into the folder by mistake, is let go without a word.
    if !root_or_skip() {
        return;
    }
    for path in [held.world.path("home"), held.world.path("home/state"), dir] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o666)).expect("chmod");
    let answer = std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            // Of this thread alone, as Linux has it.
            let nobody = Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("setresuid");
            ask("status\n")
        });
        stranger.join().expect("no panic")
    });
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.is_empty()));
    assert!(ask("status\n").expect("an answer").contains("\"source\""), "it still answers its own user");
}

#[test]
fn a_watch_that_was_started_beside_an_older_one_answers_once_that_has_ended() {
    let mut held = Held::with(&["f=1"]);
    let mut younger = held.agent.watch("-a --delete", slash(&held.src), "backup");
    // The server serves the one that came last, and the older one ends.
    until("the older one ends", || held.watch.ended().is_some());
    until("the younger one answers", || {
        held.agent.operate("status --json").stdout.contains("\"connected\":\"")
    });
    younger.runs();
}
