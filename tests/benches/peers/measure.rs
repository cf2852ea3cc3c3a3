//! measure: what one run costs on both ends: wall time, processor time, peak memory.
//!
//! The client is started by a small process of its own (this program again), so that its usage is told apart from
//! that of all others. The server's figures are read from `/proc`: processor time has the resolution of a clock tick,
//! 10 ms; the memory of processes that come and go with a connection is sampled.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use driftless_tests::agent::peak_kib;
use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::Pid;

/// The first argument of the process that stands between.
pub(crate) const STAND_BETWEEN: &str = "--stand-between";
/// `USER_HZ`: the unit of times in `proc_pid_stat(5)`, the same on every Linux that Rust runs on.
const TICKS_PER_SEC: u64 = 100;
/// Between two looks at the memory of the server's processes.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// A server has come to rest when it used no processor for this long.
const REST: Duration = Duration::from_millis(60);
/// One that works on after its client has gone is not waited for any longer.
const REST_MAX: Duration = Duration::from_secs(5);

/// What one run cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// From the start of the client to its end.
    pub(crate) wall: Duration,
    /// User and system time of the client.
    pub(crate) client_cpu: Duration,
    /// User and system time of everything else that took part.
    pub(crate) server_cpu: Duration,
    /// Peak resident memory of the client's largest process, in KiB.
    pub(crate) client_peak_kib: u64,
    /// The same of the server.
    pub(crate) server_peak_kib: u64,
}

/// Runs a program and reports its usage as the last line of the standard output. The `main` of the process between.
pub(crate) fn stand_between(args: &[OsString]) -> ExitCode {
    let started = Instant::now();
    let status = Command::new(&args[0]).args(&args[1..]).stdin(Stdio::null()).status().expect("it runs");
    let wall = started.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    let cpu = micros(usage.user_time()) + micros(usage.system_time());
    println!("\n{} {cpu} {}", wall.as_micros(), usage.max_rss());
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a client to its end beside these processes of the server's.
///
/// # Panics
/// When the client fails.
pub(crate) fn run(client: &Command, servers: &[Pid]) -> Cost {
    for &pid in servers {
        // A process of another user cannot be reset; its peak is then that of its whole life.
        drop(fs::write(format!("/proc/{}/clear_refs", pid.as_raw_nonzero()), "5"));
    }
    let before = cpu_ticks(servers);
    let peak = AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    let out = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                peak.fetch_max(largest_kib(servers), Ordering::Relaxed);
                std::thread::sleep(SAMPLE_EVERY);
            }
        });
        let out = between(client).output().expect("the client runs");
        ended.store(true, Ordering::Relaxed);
        out
    });
    let stdout = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success(),
        "{:?} failed\n{stdout}\n{}",
        client.get_program(),
        String::from_utf8_lossy(&out.stderr)
    );
    let last = stdout.lines().last().expect("a report");
    let figures: Vec<u64> = last.split(' ').map(|word| word.parse().expect("a number")).collect();
    rest(servers);
    Cost {
        wall: Duration::from_micros(figures[0]),
        client_cpu: Duration::from_micros(figures[1]),
        client_peak_kib: figures[2],
        server_cpu: ticks(cpu_ticks(servers) - before),
        server_peak_kib: peak.into_inner().max(largest_kib(servers)),
    }
}

/// The same command, run by the process between.
fn between(client: &Command) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.arg0("driftless-bench").arg(STAND_BETWEEN).arg(client.get_program()).args(client.get_args());
    // What a client does not set it does not get.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in client.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

/// Waits until these processes use no processor.
pub(crate) fn rest(pids: &[Pid]) {
    let end = Instant::now() + REST_MAX;
    let mut before = cpu_ticks(pids);
    while Instant::now() < end {
        std::thread::sleep(REST);
        let now = cpu_ticks(pids);
        if now == before && descendants(pids).len() == pids.len() {
            return;
        }
        before = now;
    }
}

/// A number of clock ticks as a time.
pub(crate) fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SEC)
}

/// User and system time of these processes and their children that have ended, in ticks.
pub(crate) fn cpu_ticks(pids: &[Pid]) -> u64 {
    pids.iter().filter_map(|&pid| cpu_ticks_of(pid)).sum()
}

fn cpu_ticks_of(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name, in brackets, may hold anything; utime, stime, cutime and cstime are fields 14 to 17.
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().skip(11).take(4).map(|field| field.parse::<u64>().ok()).sum()
}

/// What the threads of a process that are there now have run for: to the nanosecond, where a tick would hide a thread that
/// wakes now and then (`Documentation/scheduler/sched-stats.rst`).
pub(crate) fn run_time(pid: Pid) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Peak resident memory of the largest of these processes and their descendants, in KiB.
pub(crate) fn largest_kib(pids: &[Pid]) -> u64 {
    descendants(pids).into_iter().filter_map(peak_kib).max().unwrap_or(0)
}

/// These processes and all beneath them.
pub(crate) fn descendants(pids: &[Pid]) -> Vec<Pid> {
    let mut found = pids.to_vec();
    let mut at = 0;
    while at < found.len() {
        let pid = found[at].as_raw_nonzero();
        // Children are listed with the thread that forked them; rsync and scripts have one thread.
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)));
        at += 1;
    }
    found
}
