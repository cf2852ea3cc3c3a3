//! What a watch tells of itself and of one path, to people, programs and monitors.

use std::fs;

use driftless_tests::World;
use driftless_tests::oracle::slash;
use driftless_tests::trees::{plant, write_noise};
use driftless_tests::wait::until;
use rustix::process::Signal;
use serde_json::Value;

use crate::brakes::Held;
use crate::engines::auto_engine;
use crate::faults::SmallDisk;

/// The only watch of an agent, as JSON.
fn picture(held: &Held) -> Value {
    let out = held.agent.operate("status --json").ok();
    let watches: Value = serde_json::from_str(&out.stdout).expect("JSON");
    watches[0].clone()
}

fn explain(held: &Held, path: &str) -> Value {
    let out = held.agent.operate(&format!("explain --json {}", held.src.join(path).display()));
    let answers: Value = serde_json::from_str(&out.stdout).expect("JSON");
    answers[0].clone()
}

#[test]
fn a_check_is_one_line_with_the_exit_code_of_a_nagios_plugin() {
    let mut held = Held::with(&["d/f=1", "g=2"]);
    held.agent.operate("wait --all").ok();
    let out = held.agent.operate("status --check").ok();
    assert!(out.stdout.starts_with("DRIFTLESS OK: 1 watch is up to date | oldest_change=0.0s;300;600;0 "));
    assert_eq!(out.stdout.lines().count(), 1);

    held.server.kill();
    plant(&held.src, &["waits=3"]);
    until("half of the age is over", || {
        // Measured anew each time: the older it is, the more time there is to ask.
        let age = picture(&held)["oldest_change_seconds"].as_f64().unwrap_or_default();
        let check = format!("status --check --max-age {}ms", (age * 1800.0) as u64);
        age > 0.5 && held.agent.operate(&check).code == Some(1)
    });
    until("the age is over", || held.agent.operate("status --check --max-age 2s").code == Some(2));
    let out = held.agent.operate("status --check --max-age 1s").exits(2).stdout;
    assert!(out.starts_with("DRIFTLESS CRITICAL: ") && out.contains("not connected for "), "{out}");
    assert!(out.contains("a change has not been durable for "), "{out}");
    held.agent.operate("status --check --max-age 1h").ok();
    held.server.start();
    held.agent.operate("wait --all").ok();

    fs::rename(&held.src, held.world.path("aside")).expect("mv");
    plant(&held.src, &["new=4"]);
    held.agent.operate("wait --all").exits(25);
    let out = held.agent.operate("status --check").exits(1).stdout;
    assert!(out.starts_with("DRIFTLESS WARNING: ") && out.contains("deletions are held"), "{out}");

    held.watch.kill();
    let out = held.agent.operate("status --check").exits(2).stdout;
    assert!(out.contains("a watch was killed and not started again"), "{out}");
    held.start_again();
    until("it runs again", || held.agent.operate("status --check").code == Some(1));
    held.watch.signal(Signal::TERM);
    held.watch.wait();
    let out = held.agent.operate("status --check").exits(2).stdout;
    assert!(out.contains("no watch is running"), "{out}");
    held.agent.operate("status --check --max-age soon").exits(3);
}

#[test]
fn a_picture_has_the_numbers_that_tell_how_far_behind_the_copy_is() {
    let mut held = Held::with(&["a/b/c/f=1", "g=2"]);
    held.agent.operate("wait --all").ok();
    let now = picture(&held);
    assert_eq!(now["directories"]["watched"], 4, "{now}");
    assert!(now["disconnected_seconds"].is_null() && now["uncompared_seconds"].is_null(), "{now}");
    assert!(now["source_gone_seconds"].is_null() && now["last_ack_seconds"].is_number(), "{now}");
    assert_eq!((&now["bytes_queued"], &now["bytes_queued_whole"]), (&0.into(), &true.into()), "{now}");
    assert_eq!((&now["failing"], &now["overflows"]["count"]), (&0.into(), &0.into()), "{now}");

    held.server.kill();
    until("it has noticed", || picture(&held)["disconnected_seconds"].is_number());
    write_noise(&held.src.join("big"), 3 << 20, 1);
    plant(&held.src, &["small=12345"]);
    until("the bytes are counted", || picture(&held)["bytes_queued"] == (3 << 20) + 5);
    let age = picture(&held)["oldest_change_seconds"].as_f64().expect("a number");
    // It goes on growing though the stream is lost and made again in between.
    until("it grows", || picture(&held)["oldest_change_seconds"].as_f64() > Some(age + 0.5));
    held.server.start();
    held.agent.operate("wait --all").ok();

    let blocked = held.copy().join("blocked");
    fs::create_dir(&blocked).expect("mkdir");
    let Some(_disk) = SmallDisk::mount(&blocked, 1) else { return };
    plant(&held.src, &["blocked=1"]);
    held.agent.operate("wait --all").exits(23);
    let now = picture(&held);
    assert_eq!(now["failing"], 1, "{now}");
    assert_eq!(now["errors"][0]["path"], "blocked", "{now}");
    let out = held.agent.operate("status").ok().stdout;
    assert!(out.contains("fails, ") && out.contains("4 directories watched"), "{out}");
    held.agent.operate("status --check").exits(1);
}

#[test]
fn an_explanation_says_who_sees_a_path_which_rule_speaks_of_it_and_how_far_its_copy_is() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["d/f=12345", "x.log=2", "cache/g=3", "keep.log=4"]);
    let server = world.backup();
    let agent = world.agent(&server);
    let options = "-a --delete --include=keep.log --exclude=*.log --exclude=/cache/";
    let _watch = agent.watch(options, slash(&src), "backup");
    until("it runs", || agent.operate("status").code == Some(0));
    fs::write(src.join("d/f"), "123456").expect("write");
    agent.operate("wait --all").ok();
    let ask = |path: &str| agent.operate(&format!("explain {}", src.join(path).display()));

    // The journal's writer is a moment behind the ack.
    until("it was written down", || ask("d/f").ok().stdout.contains("last ack 20"));
    let out = ask("d/f").ok().stdout;
    let seen = format!("seen by {}", auto_engine(&agent, &src));
    for part in ["d/f: ", "stands there: a file", "no rule speaks of it", &seen, "state: durable"] {
        assert!(out.contains(part), "{part:?} in:\n{out}");
    }
    // Whether it is unchanged since, a stamp that was taken right after the writing does not tell.
    assert!(out.contains(": 6 bytes, blake3 ") && !out.contains(", changed since"), "{out}");
    let out = ask("keep.log").ok().stdout;
    assert!(out.contains("included by the rule `+ keep.log`"), "{out}");
    let out = ask("d").ok().stdout;
    assert!(out.contains("stands there: a directory"), "{out}");
    let out = ask("nothing/here").ok().stdout;
    assert!(out.contains("stands there: nothing") && out.contains("nothing known in the copy"), "{out}");

    let out = ask("x.log").exits(3);
    assert!(out.stdout.contains("not kept: excluded by the rule `- *.log`"), "{}", out.stdout);
    let out = ask("cache/deep/g").exits(3);
    assert!(out.stdout.contains("not kept: excluded with cache by the rule `- /cache/`"), "{}", out.stdout);
    let out = ask("d/.~dl0123456789abcdef").exits(3);
    assert!(out.stdout.contains("reserved name"), "{}", out.stdout);
    let out = ask("../elsewhere").exits(3);
    assert!(out.stdout.is_empty() && out.stderr.contains("no watch keeps it"), "{}", out.stderr);
    agent.operate("explain").exits(1);
}

#[test]
fn an_explanation_tells_what_is_pending_held_and_failing() {
    let mut held = Held::with(&["d/f=1", "g=2"]);
    held.agent.operate("wait --all").ok();
    held.server.kill();
    plant(&held.src, &["g=changed"]);
    until("it is pending", || explain(&held, "g")["pending_seconds"].is_number());
    let out = held.agent.operate(&format!("explain {}", held.src.join("g").display())).ok().stdout;
    assert!(out.contains("state: pending for ") && out.contains("; not connected"), "{out}");
    held.server.start();
    held.agent.operate("wait --all").ok();

    fs::rename(&held.src, held.world.path("aside")).expect("mv");
    plant(&held.src, &["new=4"]);
    held.agent.operate("wait --all").exits(25);
    let out = held.agent.operate(&format!("explain {}", held.src.join("d/f").display())).exits(23).stdout;
    assert!(out.contains("its deletion is held: ") && out.contains("driftless plan show "), "{out}");

    let blocked = held.copy().join("blocked");
    fs::create_dir(&blocked).expect("mkdir");
    let Some(_disk) = SmallDisk::mount(&blocked, 1) else { return };
    plant(&held.src, &["blocked=1"]);
    held.agent.operate(&format!("wait {}", held.src.join("blocked").display())).exits(23);
    let out = held.agent.operate(&format!("explain {}", held.src.join("blocked").display())).exits(23).stdout;
    assert!(out.contains("state: fails, "), "{out}");
}

/// Inotify's limit of watches in a user namespace of its own; what is beyond is polled.
#[test]
fn an_explanation_names_what_is_polled_and_why() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["d/f=1"]);
    let server = world.backup();
    let agent = world.agent(&server);
    let _watch = agent.watch("-a --engine poll", slash(&src), "backup");
    until("it runs", || agent.operate("status").code == Some(0));
    agent.operate("wait --all").ok();
    let out = agent.operate(&format!("explain {}", src.join("d/f").display())).ok().stdout;
    assert!(out.contains("seen by poll"), "{out}");

    let Some(_disk) = SmallDisk::mount(&world.dir("disk"), 16) else { return };
    let other = world.path("disk/src");
    plant(&other, &["f=1", "mounted/"]);
    let Some(_inner) = SmallDisk::mount(&other.join("mounted"), 16) else { return };
    plant(&other, &["mounted/deep/g=1"]);
    let _watch = agent.watch("-a --engine fanotify", slash(&other), "backup/other");
    until("both run", || agent.operate("status --json").stdout.matches("\"source\"").count() == 2);
    agent.operate("wait --all").ok();
    let out = agent.operate(&format!("explain {}", other.join("mounted/deep/g").display())).ok().stdout;
    assert!(out.contains("seen by poll, as everything beneath mounted: another file system"), "{out}");
    let out = agent.operate(&format!("explain {}", other.join("f").display())).ok().stdout;
    assert!(out.contains("seen by fanotify\n"), "{out}");
}
