//! Restore: what was lost comes back, and nothing that is here is lost for it.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use driftless_tests::World;
use driftless_tests::agent::{Agent, Running};
use driftless_tests::oracle::slash;
use driftless_tests::server::Server;
use driftless_tests::service::Service;
use driftless_tests::trees::{assert_equal, equal, every_kind, flip, names, plant, write_noise};
use driftless_tests::wait::{until, until_ok};
use driftless_tests::wire::{Way, Wire};
use rustix::process::Signal;

use crate::jobs::{arrives, host, job};

const MIB: u64 = 1 << 20;

#[test]
fn an_empty_folder_gets_everything_back() {
    let world = World::new();
    let server = world.backup();
    every_kind(server.module("backup"));
    let agent = world.agent(&server);
    let dest = world.path("dest");
    let out = agent.run("restore", "", &[&agent.remote("backup/"), &dest]).ok();
    assert_equal(server.module("backup"), &dest);
    assert!(out.stdout.contains("kept 0 beside"), "{}", out.stdout);
}

#[test]
fn what_differs_here_is_kept_beside_and_what_is_only_here_stays() {
    let world = World::new();
    let server = world.backup();
    plant(server.module("backup"), &["changed=as it was", "gone=back", "same=same", "was-a-dir/f=1"]);
    let dest = world.path("dest");
    plant(&dest, &["changed=newer, and mine", "only-here=stays", "was-a-dir=a file now"]);
    let agent = world.agent(&server);
    let out = agent.run("restore", "", &[&agent.remote("backup/"), &dest]).ok();
    assert_eq!(
        names(&dest),
        [
            "changed",
            "changed.before-restore",
            "gone",
            "only-here",
            "same",
            "was-a-dir/",
            "was-a-dir/f",
            "was-a-dir.before-restore"
        ]
    );
    let read = |name: &str| fs::read_to_string(dest.join(name)).expect("read");
    assert_eq!(read("changed"), "as it was");
    assert_eq!(read("changed.before-restore"), "newer, and mine");
    assert_eq!(read("was-a-dir.before-restore"), "a file now");
    assert!(out.stdout.contains("kept: changed as changed.before-restore"), "{}", out.stdout);
    assert!(out.stdout.contains("kept 2 beside"), "{}", out.stdout);
}

#[test]
fn what_comes_and_goes_at_a_place_while_its_content_streams_costs_nothing() {
    let world = World::new();
    let server = world.backup();
    for name in ["appears", "goes"] {
        write_noise(&server.module("backup").join(name), 16 * MIB, 1);
    }
    let dest = world.path("dest");
    plant(&dest, &["goes=older"]);
    let wire = Wire::to(server.address());
    wire.throttle(8 * MIB);
    let agent = world.agent(&server).through(&wire);
    let mut restore = agent.spawn("restore", "", &[&agent.remote("backup/"), &dest]);
    until("the first one streams", || wire.carried(Way::Down) > 4 * MIB);
    plant(&dest, &["appears=written just now"]);
    until("the second one streams", || wire.carried(Way::Down) > 20 * MIB);
    fs::remove_file(dest.join("goes")).expect("rm");
    assert_eq!(restore.wait(), Some(0), "{}", restore.log());
    assert_eq!(names(&dest), ["appears", "appears.before-restore", "goes"]);
    assert_eq!(fs::read(dest.join("appears.before-restore")).expect("read"), b"written just now");
    for name in ["appears", "goes"] {
        let (ours, theirs) = (dest.join(name), server.module("backup").join(name));
        assert!(fs::read(ours).expect("read") == fs::read(theirs).expect("read"), "{name}");
    }
}

#[test]
fn a_restore_that_was_cut_goes_on_where_it_stopped() {
    let world = World::new();
    let server = world.backup();
    write_noise(&server.module("backup").join("big"), 64 * MIB, 1);
    let dest = world.dir("dest");
    let wire = Wire::to(server.address());
    wire.cut_after(Way::Down, 40 * MIB);
    let agent = world.agent(&server).through(&wire);
    let out = agent.run("restore", "", &[&agent.remote("backup/"), &dest]);
    assert!(matches!(out.code, Some(10 | 12)), "{:?}: {}", out.code, out.stderr);
    assert!(!dest.join("big").exists(), "half of it has the final name");
    wire.mend();
    let before = wire.carried(Way::Down);
    agent.run("restore", "", &[&agent.remote("backup/"), &dest]).ok();
    assert_equal(server.module("backup"), &dest);
    let again = wire.carried(Way::Down) - before;
    assert!(again < 34 * MIB, "{again} bytes came again");
}

/// A watch whose journal knows these files, since each was sent while it watched.
fn watched(agent: &Agent, server: &Server, src: &Path, options: &str, entries: &[&str]) -> Running {
    fs::create_dir_all(src).expect("mkdir");
    let watch = agent.watch(options, slash(src), "backup/keep/");
    until("it watches", || watch.log().contains("watching"));
    plant(src, entries);
    until_ok("all is there", || equal(src, &server.module("backup").join("keep")));
    until("all is acknowledged", || {
        let status = agent.operate("status --json").stdout;
        status.contains("\"pending\":0,") && status.contains("\"in_flight\":0,")
    });
    watch
}

#[test]
fn what_a_restore_writes_into_a_watched_tree_is_not_sent_again() {
    let world = World::new();
    let server = world.backup();
    let wire = Wire::to(server.address());
    let agent = world.agent(&server);
    let src = world.dir("src");
    // Half of them are old; the others were written a moment ago, and would be sent whole if they were new.
    for file in 0..1000_u64 {
        let dir = src.join(format!("d{}", file % 10));
        fs::create_dir_all(&dir).expect("mkdir");
        let path = dir.join(format!("f{file}"));
        write_noise(&path, 4096, file);
        if file % 2 == 0 {
            let old = SystemTime::now() - Duration::from_secs(100_000 + file);
            File::open(&path).expect("open").set_modified(old).expect("time");
        }
    }
    write_noise(&src.join("large"), 2 * MIB, 5);
    let through = agent.clone().through(&wire);
    // What it has acknowledged, it knows: everything is sent while it watches.
    let aside = world.path("aside");
    fs::rename(&src, &aside).expect("mv");
    fs::create_dir(&src).expect("mkdir");
    let mut watch = through.watch("-a --delete --brake=10:1%", slash(&src), "backup");
    until("it watches", || watch.log().contains("watching"));
    for entry in fs::read_dir(&aside).expect("list") {
        let entry = entry.expect("entry");
        let copied = std::process::Command::new("cp").arg("-a").arg(entry.path()).arg(&src).status();
        assert!(copied.expect("cp runs").success());
    }
    let settled = || {
        let status = through.operate("status --json").stdout;
        status.contains("\"pending\":0,") && status.contains("\"in_flight\":0,")
    };
    until_ok("all is there", || equal(&src, server.module("backup")));
    until("all is acknowledged", settled);
    for dir in 0..9 {
        // At once: of what goes one by one the brake lets some leave.
        fs::rename(src.join(format!("d{dir}")), world.path(&format!("gone-{dir}"))).expect("mv");
    }
    until("the brake holds", || watch.log().contains("plan approve"));
    fs::remove_file(src.join("large")).expect("rm");
    let before = wire.carried(Way::Up);
    agent.run("restore", "", &[&agent.remote("backup/"), &src]).ok();
    assert!(names(&aside) == names(&src), "not all of it is back");
    // Events come in their order: once it has seen this, it has seen the rest.
    plant(&src, &["marker=last"]);
    until("the watch has seen it", || server.module("backup").join("marker").exists() && settled());
    let sent = wire.carried(Way::Up) - before;
    // 900 contents of 4 KiB and one of 2 MiB are 5.5 MiB; looking at one file costs a hundred bytes or two, twice where a
    // comparison meets another inode before the ack of the first look is booked. Where the stream begins anew while it
    // restores, the journal is no proof, and of what was written a moment ago small contents go along at once: 1.8 MiB.
    assert!(sent < 5 * MIB / 2, "{sent} bytes were sent for what the server has already");
    assert_equal(&src, server.module("backup"));
    watch.runs();
}

#[test]
fn a_copy_that_is_not_what_was_acknowledged_is_named_and_can_be_refused() {
    let world = World::new();
    let server = world.backup();
    let agent = world.agent(&server);
    let src = world.path("src");
    let entries = ["d/flipped=some content", "d/longer=abc", "[w]ild*=odd name", "same=same"];
    let mut watch = watched(&agent, &server, &src, "-a", &entries);
    let copy = server.module("backup").join("keep");
    flip(&copy.join("d/flipped"));
    flip(&copy.join("[w]ild*"));
    fs::write(copy.join("d/longer"), "abcdef").expect("write");
    let restore = |options: &str| agent.run("restore", options, &[&agent.remote("backup/keep/"), &src]);
    // By the journal of a watch that runs, then of one that does not.
    for running in [true, false] {
        if !running {
            watch.signal(Signal::TERM);
            assert_eq!(watch.wait(), Some(0));
        }
        for name in ["d", "[w]ild*", "same"] {
            let path = src.join(name);
            // What was refused is not back.
            if !path.exists() {
                continue;
            }
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("rm");
        }
        let out = restore("--refuse-changed").exits(23);
        for part in [
            "the copy of d/flipped is not what was acknowledged on 20",
            "Z: another content of the same size; it is left out",
            "the copy of [w]ild* is not what",
            "the copy of d/longer is not what was acknowledged on 20",
            "Z: 6 bytes where 3 were; it is left out",
        ] {
            assert!(out.stderr.contains(part), "{part:?} in:\n{}", out.stderr);
        }
        assert_eq!(names(&src), ["d/", "same"], "only what was acknowledged is back");
        assert_eq!(out.stderr.matches("is not what was acknowledged").count(), 3, "{}", out.stderr);
    }
    let out = restore("").exits(40);
    assert_eq!(out.stderr.matches("is not what was acknowledged").count(), 3, "{}", out.stderr);
    assert!(out.stderr.contains("Z: another content, of 12 bytes where 12 were"), "{}", out.stderr);
    assert_eq!(fs::read(src.join("d/longer")).expect("read"), b"abcdef");
    // What nobody remembers can only be taken.
    let elsewhere = world.path("elsewhere");
    let out = agent.run("restore", "--refuse-changed", &[&agent.remote("backup/keep/"), &elsewhere]);
    assert!(out.exits(1).stderr.contains("no journal"));
    agent.run("restore", "", &[&agent.remote("backup/keep/"), &elsewhere]).ok();
}

#[test]
fn a_job_is_restored_by_its_name_whole_or_one_path() {
    let world = World::new();
    let server = world.backup();
    let agent = world.agent(&server);
    let src = world.path("src");
    plant(&src, &["a/b/c/f=1", "a/b/g=2", "top=3"]);
    agent.push("-a", &src, "backup/").ok();
    let config = world.file(
        "agent.toml",
        format!(
            "[defaults]\nport = {}\nfingerprint = [\"{}\"]\npassword-file = \"{}\"\n\
             [[job]]\nname = \"code\"\nsource = \"{}\"\ndestination = \"{}\"\n",
            server.address().port(),
            server.fingerprint(),
            world.path("password").display(),
            src.display(),
            agent.remote("backup/"),
        ),
    );
    let restore = |rest: &str| agent.operate(&format!("restore --config {} --job {rest}", config.display()));
    fs::remove_dir_all(src.join("a")).expect("rm");
    fs::remove_file(src.join("top")).expect("rm");
    restore("code a/b/c").ok();
    assert_eq!(names(&src), ["a/", "a/b/", "a/b/c/", "a/b/c/f"]);
    restore(&format!("code {}", src.join("top").display())).ok();
    assert!(src.join("top").exists());
    restore("code").ok();
    assert_equal(&src, server.module("backup").join("src").as_path());
    fs::remove_dir_all(&src).expect("rm");
    restore("code").ok();
    assert_equal(&src, server.module("backup").join("src").as_path());
    let out = restore("cod").exits(1);
    assert!(out.stderr.contains("no job cod; known are: code"), "{}", out.stderr);
    let out = restore("code --from=elsewhere").exits(1);
    assert!(out.stderr.contains("its destinations are"), "{}", out.stderr);
    let out = restore("code /etc/passwd").exits(1);
    assert!(out.stderr.contains("not in the source of job code"), "{}", out.stderr);
}

#[test]
fn jobs_that_run_are_verified_and_restored_without_a_word_on_where_they_are() {
    let (world, server) = host(&["one", "two"]);
    let src = |name: &str| world.path(&format!("src/{name}"));
    for name in ["one", "two"] {
        plant(&src(name), &["d/e/f=content", "g=more"]);
    }
    let jobs = [job(&world, "one", "delete = true"), job(&world, "two", "")].concat();
    let service = Service::start(&world, &server, &jobs);
    for name in ["one", "two"] {
        arrives(&src(name), server.module(name));
    }
    until("both are compared", || service.operate("verify --wait=1").code == Some(0));
    flip(&server.module("two").join("d/e/f"));
    let out = service.operate("verify").exits(40);
    assert!(out.stdout.contains("content  d/e/f") && out.stdout.contains("::one: "), "{}", out.stdout);
    let out = service.operate("verify --repair").ok();
    assert!(out.stdout.contains("equal, 1 repaired"), "{}", out.stdout);
    // Its watch removes nothing, so the copy has what the source has lost.
    fs::remove_dir_all(src("two").join("d")).expect("rm");
    service.operate("restore --job two d/e").ok();
    assert_eq!(fs::read(src("two").join("d/e/f")).expect("read"), b"content");
    let out = service.operate("restore --job three").exits(1);
    assert!(out.stderr.contains("no job three; known are: one, two"), "{}", out.stderr);
}
