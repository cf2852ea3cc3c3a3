//! PostgreSQL under watch: files that are written at all times, by many processes, and never rest.
//!
//! A copy of a running database is what a power cut leaves, at best: the copy is whole once the database has stopped, and
//! what was sent while it changed is told of.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use driftless_tests::oracle::{root, skip};
use driftless_tests::trees::Noise;
use driftless_tests::wait::{eventually, until};
use rustix::process::{Pid, Signal, kill_process};

use crate::programs::{Desk, finished};

/// Whom the database runs as where the suite is root, which it refuses.
const NOBODY: u32 = 65534;

/// Where PostgreSQL's programs lie: Debian keeps them out of the path, one folder for each version.
///
/// # Panics
/// With `CI=true` when there are none.
fn postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").is_file());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "PostgreSQL is missing, and CI needs it");
        skip("PostgreSQL is not installed");
    }
    found
}

/// A database's programs, and where its sockets lie.
struct Database {
    bin: PathBuf,
    run: PathBuf,
}

impl Database {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.env_clear().env("PGHOST", &self.run).env("PGUSER", "driftless").env("TZ", "UTC");
        command.current_dir(&self.run);
        if root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts a server on this data; returns once it answers.
    fn start(&self, data: &Path) -> Serving {
        let mut command = self.command("postgres");
        command.arg("-D").arg(data).arg("-k").arg(&self.run);
        // The kernel does not crash here, and nobody is to connect from elsewhere.
        command.args(["-c", "fsync=off", "-c", "listen_addresses="]);
        let log = File::create(self.run.join("log")).expect("a log");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it runs");
        let serving = Serving(child);
        until("the database answers", || {
            self.command("pg_isready").output().is_ok_and(|out| out.status.success())
        });
        serving
    }

    fn ask(&self, query: &str) -> String {
        let out = finished(self.command("psql").args(["-d", "postgres", "-Atc", query]));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }
}

/// A running database. Killed when dropped.
struct Serving(Child);

impl Serving {
    /// As its operator stops it.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).expect("it runs");
        let status = eventually("the database stops", || self.0.try_wait().expect("wait"));
        assert!(status.success(), "{status}");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Its children end with it. One that has ended is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_database_under_load_is_whole_on_the_server_once_it_has_stopped() {
    let Some(bin) = postgres() else { return };
    let mut desk = Desk::with(&["data/"]);
    let data = desk.src.join("data");
    let database = Database { bin, run: desk.world.dir("run") };
    if root() {
        for dir in [&data, &database.run] {
            std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY)).expect("chown");
        }
    }
    let mut initdb = database.command("initdb");
    initdb.arg("-D").arg(&data);
    finished(initdb.args([
        "--data-checksums",
        "--no-sync",
        "-A",
        "trust",
        "-U",
        "driftless",
        "--locale",
        "C",
    ]));
    let serving = database.start(&data);
    finished(database.command("pgbench").args(["-i", "-q", "-s", "2", "postgres"]));
    finished(database.command("pgbench").args(["-n", "-c", "3", "-T", "4", "postgres"]));
    serving.stop();
    desk.settles();

    // Every page of the copy has the checksum it was written with, and the books balance.
    let copied = desk.copy().join("data");
    finished(database.command("pg_checksums").arg("--check").arg("-D").arg(&copied));
    let serving = database.start(&copied);
    let balance = "select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts";
    assert_eq!(database.ask(balance), "t");
    assert!(database.ask("select count(*) from pgbench_history").parse::<u64>().expect("a number") > 0);
    serving.stop();
}

#[test]
fn a_file_that_is_sent_while_it_changes_is_told_of_at_both_ends() {
    const PAGE: usize = 8192;
    const PAGES: u64 = 1000;
    let mut desk = Desk::with(&["beside=1"]);
    let path = desk.src.join("heap");
    fs::write(&path, vec![0; PAGE * usize::try_from(PAGES).expect("small")]).expect("write");
    desk.settles();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::options().write(true).open(&path).expect("open");
            let mut noise = Noise::new(1);
            while !stop.load(Ordering::Relaxed) {
                let at = noise.below(PAGES) * PAGE as u64;
                file.write_all_at(&noise.bytes(PAGE), at).expect("write");
            }
        });
        let marked = || {
            let line = "heap: it changed while it was read";
            (desk.said().contains(line) && desk.server.log().contains(line)).then_some(())
        };
        let told =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| eventually("it is told", marked)));
        // Whatever came of it, the writer ends, or the scope would wait for ever.
        stop.store(true, Ordering::Relaxed);
        told.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    desk.settles();
}
