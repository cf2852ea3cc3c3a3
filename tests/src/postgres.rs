//! A real PostgreSQL server of the test's own: an unprivileged user, a folder in the world, a unix socket and no port.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::World;
use crate::oracle::{root, skip};
use crate::wait::{eventually, until};

/// Whom it runs as under root, which it refuses to be: `nobody`.
const NOBODY: u32 = 65534;

/// The database's own superuser.
const USER: &str = "tester";

/// A running server. Stopped when dropped.
pub struct Postgres {
    bin: PathBuf,
    socket_dir: PathBuf,
    child: Child,
}

impl Postgres {
    /// Makes and starts one; `None`, after a loud skip, where PostgreSQL is not installed.
    ///
    /// # Panics
    /// When it does not start; with `CI=true` when it is not installed.
    #[must_use]
    pub fn start(world: &World) -> Option<Self> {
        let bin = bin()?;
        let home = world.dir("postgres");
        if root() {
            chown(&home, Some(NOBODY), Some(NOBODY)).expect("chown");
        }
        let data = home.join("data");
        let log = fs::File::create(world.path("postgres.log")).expect("a log");
        let run = |program: &str, args: &[&str]| {
            let mut command = Command::new(bin.join(program));
            command.args(args).current_dir(&home).stdin(Stdio::null());
            command.stdout(log.try_clone().expect("dup")).stderr(log.try_clone().expect("dup"));
            if root() {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let data_arg = data.display().to_string();
        let made =
            run("initdb", &["-D", &data_arg, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"])
                .status()
                .expect("initdb runs");
        assert!(made.success(), "initdb: {made}: {}", said(world));
        let socket_dir = home.display().to_string();
        let settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=1MB"];
        let args = [&["-D", &data_arg, "-k", &socket_dir][..], &settings].concat();
        let child = run("postgres", &args).spawn().expect("postgres runs");
        let mut server = Self { bin, socket_dir: home, child };
        eventually("PostgreSQL answers", || {
            assert!(server.child.try_wait().expect("wait").is_none(), "postgres ended: {}", said(world));
            server
                .client("psql")
                .args(["-c", "select 1"])
                .output()
                .is_ok_and(|out| out.status.success())
                .then_some(())
        });
        Some(server)
    }

    /// Runs SQL in the database `postgres`.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql(&self, sql: &str) {
        let out = self.client("psql").args(["-v", "ON_ERROR_STOP=1", "-c", sql]).output().expect("psql runs");
        assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// The words of a dump of everything into this file.
    #[must_use]
    pub fn dump(&self, file: &Path) -> Vec<String> {
        let word = |path: &Path| path.display().to_string();
        let words =
            [word(&self.bin.join("pg_dump")), "-h".into(), word(&self.socket_dir), "-U".into(), USER.into()];
        words.into_iter().chain(["-f".into(), word(file), "postgres".into()]).collect()
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .arg("-h")
            .arg(&self.socket_dir)
            .args(["-U", USER, "-X", "-q", "postgres"])
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, without a checkpoint: nothing of it is kept.
        kill_process(Pid::from_child(&self.child), Signal::QUIT).ok();
        until("PostgreSQL ends", || !matches!(self.child.try_wait(), Ok(None)));
    }
}

fn said(world: &World) -> String {
    fs::read_to_string(world.path("postgres.log")).unwrap_or_default()
}

/// Where the newest PostgreSQL of this host has its programs: Debian keeps them out of `PATH`.
fn bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let bins = versions.map(|version| version.path().join("bin"));
    let newest = bins.filter(|bin| bin.join("initdb").is_file() && bin.join("pg_dump").is_file()).max();
    if newest.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "PostgreSQL is missing, and CI needs it");
        skip("PostgreSQL is not installed");
    }
    newest
}
