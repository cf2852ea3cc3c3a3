//! Programs: what people really run in a directory under watch. Each ends with the copy equal, and what a program leaves
//! for a moment only never reaches the server.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use driftless_tests::World;
use driftless_tests::agent::{Agent, Running, leftovers};
use driftless_tests::oracle::{find, slash};
use driftless_tests::server::Server;
use driftless_tests::trees::{Noise, assert_equal, equal, plant};
use driftless_tests::wait::{until, until_ok};
use rustix::process::Signal;

/// A directory under watch, in which a program works.
pub(crate) struct Desk {
    pub(crate) src: PathBuf,
    pub(crate) server: Server,
    agent: Agent,
    watch: Running,
    // Dropped last: the folder outlives the programs.
    pub(crate) world: World,
}

impl Desk {
    /// With these entries in it, already across.
    pub(crate) fn with(entries: &[&str]) -> Self {
        let world = World::new();
        let src = world.path("src");
        plant(&src, entries);
        let server = world.backup();
        let agent = world.agent(&server);
        let watch = agent.watch("-a --delete --brake off -v", slash(&src), "backup");
        let mut desk = Self { src, server, agent, watch, world };
        desk.settles();
        desk
    }

    pub(crate) fn copy(&self) -> &Path {
        self.server.module("backup")
    }

    /// Waits until the watch has nothing left to do, and then holds the two trees side by side.
    pub(crate) fn settles(&mut self) {
        until("nothing is pending", || {
            let status = self.agent.operate("status --json").stdout;
            status.contains("\"pending\":0,")
                && status.contains("\"in_flight\":0,")
                && !status.contains("\"last_reconcile\":null")
        });
        until_ok("the copy is equal", || equal(&self.src, self.copy()));
        assert_equal(&self.src, self.copy());
        assert!(leftovers(self.copy()).is_empty());
        self.watch.runs();
    }

    /// What the watch has said: a line for each change, and its problems.
    pub(crate) fn said(&self) -> String {
        self.watch.log()
    }

    /// Runs a program in the directory, to a good end.
    fn run(&self, program: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        // Nothing of whoever runs the suite: no configuration, no identity, no time zone.
        command.args(args).current_dir(&self.src).env("HOME", self.world.path("")).env("TZ", "UTC");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "nobody")
                .env(format!("GIT_{who}_EMAIL"), "nobody@localhost");
        }
        finished(&mut command)
    }
}

/// Runs a command to a good end.
#[track_caller]
pub(crate) fn finished(command: &mut Command) -> Output {
    let out = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{command:?}: {}\n{}", text(&out.stdout), text(&out.stderr));
    out
}

#[test]
fn a_repository_is_cloned_checked_out_and_packed_under_watch() {
    let Some(git) = find("git") else { return };
    let mut desk = Desk::with(&["beside=1"]);
    // A repository with two branches, which differ in half of their files and in where a directory lies.
    let origin = desk.world.dir("origin");
    let git_in =
        |dir: &Path, args: &[&str]| desk.run(&git, &[&["-C", &dir.to_string_lossy()], args].concat());
    git_in(&origin, &["init", "-q", "-b", "one"]);
    let mut noise = Noise::new(1);
    let mut fill = |files: std::ops::Range<usize>, under: &str| {
        for i in files {
            let dir = origin.join(format!("{under}/{}", i % 40));
            fs::create_dir_all(&dir).expect("mkdir");
            let len = usize::try_from(noise.below(3000)).expect("small");
            fs::write(dir.join(format!("file-{i}")), noise.bytes(len)).expect("write");
        }
    };
    fill(0..1000, "tree");
    git_in(&origin, &["add", "-A"]);
    git_in(&origin, &["commit", "-q", "-m", "one"]);
    git_in(&origin, &["checkout", "-q", "-b", "two"]);
    fs::rename(origin.join("tree/7"), origin.join("moved")).expect("mv");
    fill(500..1200, "tree");
    git_in(&origin, &["add", "-A"]);
    git_in(&origin, &["commit", "-q", "-m", "two"]);
    git_in(&origin, &["checkout", "-q", "one"]);

    desk.run(&git, &["clone", "-q", "--no-hardlinks", &origin.to_string_lossy(), "clone"]);
    desk.settles();
    let clone = desk.src.join("clone");
    for branch in ["two", "one", "two"] {
        desk.run(&git, &["-C", &clone.to_string_lossy(), "checkout", "-q", branch]);
    }
    desk.settles();
    assert!(desk.copy().join("clone/moved").is_dir());
    desk.run(&git, &["-C", &clone.to_string_lossy(), "gc", "-q", "--aggressive", "--prune=now"]);
    desk.settles();
    // What was copied is a repository.
    desk.run(&git, &["-C", &desk.copy().join("clone").to_string_lossy(), "fsck", "--full"]);
}

#[test]
fn a_build_and_its_temporary_files_end_in_an_equal_copy() {
    let mut desk = Desk::with(&[
        "Cargo.toml=[package]\nname = \"built\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
        "src/lib.rs=pub mod one;\n",
        "src/one.rs=pub const ONE: u32 = 1;\n",
        "src/main.rs=fn main() { println!(\"{}\", built::one::ONE); }\n",
    ]);
    // Cargo keeps what it builds beneath the source: names of its own making, hard links, files renamed into place.
    let cargo = Path::new(env!("CARGO"));
    let target = desk.src.join("target");
    let build = ["build", "--offline", "--quiet", "--target-dir", &target.to_string_lossy()];
    desk.run_cargo(cargo, &build);
    desk.settles();
    fs::write(desk.src.join("src/one.rs"), "pub const ONE: u32 = 2;\n").expect("write");
    desk.run_cargo(cargo, &build);
    desk.settles();
    let built = finished(&mut Command::new(desk.copy().join("target/debug/built")));
    assert_eq!(built.stdout, b"2\n", "the copy runs");
    fs::remove_dir_all(&target).expect("rm -r");
    desk.settles();
}

impl Desk {
    /// As [`Desk::run`], with the toolchain of whoever runs the suite.
    fn run_cargo(&self, cargo: &Path, args: &[&str]) {
        let mut command = Command::new(cargo);
        command.args(args).current_dir(&self.src);
        // Of the suite's own build nothing may leak into this one.
        for name in ["CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER"] {
            command.env_remove(name);
        }
        finished(&mut command);
    }
}

#[test]
fn vim_saves_and_none_of_its_helpers_reaches_the_server() {
    let Some(vim) = find("vim").or_else(|| find("vim.tiny")) else { return };
    let mut desk = Desk::with(&["text=first\n"]);
    // Both ways to keep the old text until the new one is written: it is renamed aside, or copied. No swap file: that
    // one lives for as long as the text is open, and is a file like any other.
    for way in ["no", "yes", "no", "yes"] {
        let save = format!("set backupcopy={way} | call append(0, 'by {way}') | write | quit");
        // A busy machine may stretch a save beyond the milliseconds that a new name waits; stopped, the watch sees it as
        // short as it is.
        desk.watch.signal(Signal::STOP);
        desk.run(&vim, &["-e", "-s", "-n", "-u", "NONE", "-c", &save, "text"]);
        desk.watch.signal(Signal::CONT);
        desk.settles();
    }
    let text = fs::read_to_string(desk.copy().join("text")).expect("read");
    assert_eq!(text, "by yes\nby no\nby yes\nby no\nfirst\n");
    let changes = desk.said();
    for helper in ["text~", "4913"] {
        assert!(!changes.contains(helper), "{helper} was sent:\n{changes}");
    }
}

#[test]
fn a_log_is_rotated_under_its_writer() {
    let mut desk = Desk::with(&["log/"]);
    let path = |name: &str| desk.src.join("log").join(name);
    let open = || File::options().create(true).append(true).open(path("current")).expect("open");
    let mut written = String::new();
    let mut log = open();
    for round in 0..6_usize {
        for line in 0..200 {
            let line = format!("round {round}, line {line}\n");
            log.write_all(line.as_bytes()).expect("write");
            written.push_str(&line);
        }
        until("what was written so far is there", || {
            fs::read(desk.copy().join("log/current")).ok() == fs::read(path("current")).ok()
        });
        for old in (1..=round).rev() {
            fs::rename(path(&format!("current.{old}")), path(&format!("current.{}", old + 1))).expect("mv");
        }
        fs::rename(path("current"), path("current.1")).expect("mv");
        // The writer has not noticed yet.
        log.write_all(b"late\n").expect("write");
        written.push_str("late\n");
        log = open();
    }
    drop(log);
    desk.settles();
    let copied: String = (1..=6)
        .rev()
        .map(|old| fs::read_to_string(desk.copy().join(format!("log/current.{old}"))).expect("read"))
        .collect();
    assert_eq!(copied, written);
}
