//! What work costs, in system calls: a count does not depend on how busy the machine is, so a step back shows.
//!
//! The figures are those of today with a margin of a sixth: for the groups that are synced together, which depend on
//! timing, and for what a start costs. One that is exceeded on purpose is raised with its reason in the commit.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use driftless_tests::World;
use driftless_tests::agent::Agent;
use driftless_tests::oracle::{find, skip};
use driftless_tests::server::Server;
use driftless_tests::trees::{Noise, assert_equal, set_mtime};
use driftless_tests::wait::eventually;
use rustix::process::{Pid, Signal, kill_process};

/// Files of the tree, in as many directories as there are files in each hundred.
const FILES: usize = 1000;
const DIRS: usize = 10;

/// Calls that work on files and directories. What threads and sockets need depends on timing, and is not counted.
const COUNTED: [&str; 22] = [
    "openat",
    "openat2",
    "open",
    "close",
    "newfstatat",
    "fstat",
    "statx",
    "pread64",
    "pwrite64",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "utimensat",
    "fadvise64",
    "fsync",
    "linkat",
    "renameat",
    "renameat2",
    "unlinkat",
    "getdents64",
    "readlinkat",
];

/// Calls that open something.
const OPENING: [&str; 3] = ["openat", "openat2", "open"];

/// How often each call was made.
struct Cost(HashMap<String, u64>);

impl Cost {
    /// From a summary of strace(1): `% time, seconds, usecs/call, calls, errors, syscall`, errors often absent.
    fn read(summary: &Path) -> Self {
        let text = fs::read_to_string(summary).expect("a summary");
        let counted = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, calls) = (words.last()?, words.get(3)?);
            COUNTED.contains(name).then_some(((*name).to_owned(), calls.parse().ok()?))
        });
        let cost = Self(counted.collect());
        assert!(!cost.0.is_empty(), "not a summary: {text}");
        cost
    }

    fn of(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.0.get(*name)).sum()
    }

    fn all(&self) -> u64 {
        self.0.values().sum()
    }
}

/// Pushes with strace(1) at both ends and returns what the agent and the server did; `None` after a loud skip.
fn cost_of_push(world: &World, server: &Server, agent: &Agent, source: &Path) -> Option<(Cost, Cost)> {
    let strace = find("strace")?;
    let (ours, theirs, said) =
        (world.path("agent.cost"), world.path("server.cost"), world.path("strace.said"));
    let mut watching = Command::new(&strace)
        .args(["-f", "-c", "-p", &server.pid().as_raw_nonzero().to_string(), "-o"])
        .arg(&theirs)
        .stdin(Stdio::null())
        .stderr(fs::File::create(&said).expect("create"))
        .spawn()
        .expect("strace runs");
    if !attached(&mut watching, &said) {
        return None;
    }
    let remote = agent.remote("backup/");
    let plain = agent.command("push", "-a --delete", &[&source.join(""), &remote]);
    let mut push = Command::new(&strace);
    push.args(["-f", "-c", "-o"]).arg(&ours).arg(plain.get_program()).args(plain.get_args());
    // Nothing of ours: a path for libraries would be searched, and counted.
    push.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = push.stdin(Stdio::null()).output().expect("strace runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    kill_process(Pid::from_child(&watching), Signal::TERM).expect("it runs");
    watching.wait().expect("wait");
    Some((Cost::read(&ours), Cost::read(&theirs)))
}

fn attached(strace: &mut Child, said: &Path) -> bool {
    let (ended, text) = eventually("strace attaches", || {
        let ended = strace.try_wait().expect("wait").is_some();
        let text = fs::read_to_string(said).unwrap_or_default();
        (ended || text.contains("attached")).then_some((ended, text))
    });
    if ended {
        skip(&format!("strace may not attach: {}", text.trim()));
    }
    !ended
}

/// At most so many.
#[track_caller]
fn at_most(what: &str, calls: u64, recorded: u64) {
    println!("{what}: {calls} calls, {recorded} recorded");
    assert!(calls <= recorded + recorded / 6, "{what} takes {calls} calls, recorded are {recorded}");
}

#[test]
fn a_push_makes_no_more_system_calls_than_recorded() {
    let world = World::new();
    let source = world.dir("source");
    let mut noise = Noise::new(1);
    let path = |i: usize| source.join(format!("d{}/f{i}", i % DIRS));
    (0..DIRS).for_each(|i| fs::create_dir(source.join(format!("d{i}"))).expect("create"));
    (0..FILES).for_each(|i| fs::write(path(i), noise.bytes(3000)).expect("write"));
    let server = world.backup();
    let agent = world.agent(&server);
    let Some((ours, theirs)) = cost_of_push(&world, &server, &agent, &source) else { return };
    assert_equal(&source, server.module("backup"));
    at_most("sending 1,000 new files", ours.all(), AGENT_NEW);
    at_most("landing 1,000 new files", theirs.all(), SERVER_NEW);

    let Some((ours, theirs)) = cost_of_push(&world, &server, &agent, &source) else { return };
    at_most("opening at the agent when nothing changed", ours.of(&OPENING), AGENT_NOTHING);
    at_most("opening at the server when nothing changed", theirs.of(&OPENING), SERVER_NOTHING);

    // Half grow, half have another time and no other content.
    for i in 0..100 {
        if i % 2 == 0 {
            fs::write(path(i), noise.bytes(3100)).expect("write");
        } else {
            set_mtime(&path(i), 1_000_000_000, 0);
        }
    }
    let Some((ours, theirs)) = cost_of_push(&world, &server, &agent, &source) else { return };
    assert_equal(&source, server.module("backup"));
    at_most("opening at the agent for 100 changed files", ours.of(&OPENING), AGENT_CHANGED);
    at_most("opening at the server for 100 changed files", theirs.of(&OPENING), SERVER_CHANGED);
    at_most("writing 50 new contents", theirs.of(&["pwrite64"]), 50);
    at_most("looking at the server for 100 changed files", theirs.of(&["newfstatat"]), SERVER_LOOKS);
    at_most("looking at the agent for 100 changed files", ours.of(&["newfstatat"]), AGENT_LOOKS);

    // Their digests are of no use, which the server learns from the first answers.
    (0..FILES).for_each(|i| fs::write(path(i), noise.bytes(3000)).expect("write"));
    let Some((ours, _)) = cost_of_push(&world, &server, &agent, &source) else { return };
    assert_equal(&source, server.module("backup"));
    at_most("opening at the agent for 1,000 others of one length", ours.of(&OPENING), AGENT_OTHERS);
}

/// File calls of the agent for 1,000 new files of 3,000 bytes: open, look, read, look, close.
const AGENT_NEW: u64 = 5_200;
/// Those of the server.
const SERVER_NEW: u64 = 7_400;
/// What the agent opens when nothing changed: its libraries, its state, ten directories. No file of the tree.
const AGENT_NOTHING: u64 = 30;
/// What the server opens then.
const SERVER_NOTHING: u64 = 30;
/// What the agent opens for 100 changed files: each once.
const AGENT_CHANGED: u64 = 150;
/// What the server opens for them: what stands there, what lands, and what is given another time, twice: it is synced too.
const SERVER_CHANGED: u64 = 330;
/// Where the server looks for 100 changed files of 1,000: what the comparison has listed is not listed again, and what stands
/// at a name is told by the basis.
const SERVER_LOOKS: u64 = 1_050;
/// Where the agent looks for them.
const AGENT_LOOKS: u64 = 1_050;
/// What the agent opens for 1,000 files that have another content of the same length: those that were asked for before the
/// first answers twice, 512 at most, and one of sixteen after that.
const AGENT_OTHERS: u64 = 1_600;
