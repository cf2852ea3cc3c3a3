//! A real `driftless`: run to its end, or left watching.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::World;
use crate::server::{PASSWORD, Server, USER};
use crate::wait::{eventually, patience, until};
use crate::wire::Wire;
use crate::world::program;

/// The switch that breaks one mechanism of a watch: a suite that has it hands it on.
const BROKEN: &str = "DRIFTLESS_BROKEN";

/// A run gets this many times the patience for one thing: a whole tree crosses in it.
const RUN_PATIENCE: u32 = 6;

/// What a program left behind when it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// The most memory it ever held (`VmHWM` of `proc_pid_status(5)`), in KiB.
    pub peak_kib: u64,
}

impl Outcome {
    pub(crate) fn of(command: &mut Command, input: &str) -> Self {
        let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends without reading is judged by its exit code.
            drop(stdin.write_all(input.as_bytes()));
        }
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdout = std::thread::spawn(move || drain(stdout));
        let stderr = std::thread::spawn(move || drain(stderr));
        let (status, peak_kib) = wait(&mut child);
        Self {
            code: status.code(),
            stdout: stdout.join().expect("reading does not panic"),
            stderr: stderr.join().expect("reading does not panic"),
            peak_kib,
        }
    }

    /// Asserts exit code 0.
    ///
    /// # Panics
    /// On any other, with both outputs.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts this exit code.
    ///
    /// # Panics
    /// On any other, with both outputs.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The lines of its standard error that are not blank.
    #[must_use]
    pub fn complaints(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| !line.trim().is_empty()).collect()
    }

    /// A number of `--stats`, by its label: `Total bytes sent`.
    ///
    /// # Panics
    /// When there is no such line.
    #[must_use]
    #[track_caller]
    pub fn stat(&self, label: &str) -> u64 {
        let line = self.stdout.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(": "));
        let line = line.unwrap_or_else(|| panic!("no {label:?} in:\n{}", self.stdout));
        let digits: String = line.chars().take_while(|c| !c.is_whitespace()).filter(|c| *c != ',').collect();
        digits.parse().unwrap_or_else(|_| panic!("no number after {label:?}: {line:?}"))
    }
}

fn drain(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    pipe.expect("a pipe").read_to_end(&mut bytes).expect("read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for the end, noting the peak of memory on the way. Kills what outlives its time.
fn wait(child: &mut Child) -> (ExitStatus, u64) {
    let end = Instant::now() + patience() * RUN_PATIENCE;
    let mut peak = 0;
    loop {
        peak = peak_kib(Pid::from_child(child)).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().expect("wait") {
            return (status, peak);
        }
        if Instant::now() > end {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("a run outlived {:?}", patience() * RUN_PATIENCE);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The most memory a running process ever held, in KiB.
#[must_use]
pub fn peak_kib(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How a `driftless` is started: which options it gets besides those of the test, and in which environment.
#[derive(Clone)]
pub struct Agent {
    home: PathBuf,
    within: Vec<String>,
    options: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: String,
    host: String,
}

impl Agent {
    pub(crate) fn new(world: &World) -> Self {
        let home = world.dir("home");
        let mut agent = Self {
            home: home.clone(),
            within: Vec::new(),
            options: Vec::new(),
            env: std::env::var_os(BROKEN).map(|name| (BROKEN.into(), name)).into_iter().collect(),
            user: USER.to_owned(),
            host: "127.0.0.1".to_owned(),
        };
        agent = agent.option("--state-dir", home.join("state"));
        agent
    }

    pub(crate) fn knowing(world: &World, server: &Server) -> Self {
        let password = world.file("password", format!("{PASSWORD}\n"));
        Self::new(world)
            .to(server.address())
            .option("--fingerprint", server.fingerprint())
            .option("--password-file", password)
    }

    /// Gives an option and its value, in place of a value given before.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self = self.without(name);
        self.options.extend([OsString::from(name), value.as_ref().to_owned()]);
        self
    }

    /// Takes an option and its value back.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        if let Some(at) = self.options.iter().position(|option| option == name) {
            self.options.drain(at..at + 2);
        }
        self
    }

    /// Is started by this command, which gets the program and its arguments as its last ones and becomes it.
    #[must_use]
    pub fn within(mut self, command: &[&str]) -> Self {
        self.within = command.iter().map(ToString::to_string).collect();
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Connects to this address. The host is `127.0.0.1` or `[::1]`.
    #[must_use]
    pub fn to(mut self, address: SocketAddr) -> Self {
        self.host = if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() };
        self.option("--port", address.port().to_string())
    }

    /// Connects by way of this wire.
    #[must_use]
    pub fn through(self, wire: &Wire) -> Self {
        self.to(wire.address())
    }

    /// Logs in as this user.
    #[must_use]
    pub fn as_user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// A remote operand: `user@host::PATH`.
    #[must_use]
    pub fn remote(&self, path: &str) -> String {
        format!("{}@{}::{path}", self.user, self.host)
    }

    /// Runs `driftless COMMAND OPTIONS OPERANDS`, `options` split at blanks, and waits for its end.
    #[must_use]
    pub fn run(&self, command: &str, options: &str, operands: &[&dyn AsRef<OsStr>]) -> Outcome {
        Outcome::of(&mut self.command(command, options, operands), "")
    }

    /// Pushes one source to a path on the server: `MODULE` or `MODULE/PATH`.
    #[must_use]
    pub fn push(&self, options: &str, source: impl AsRef<OsStr>, remote: &str) -> Outcome {
        self.run("push", options, &[&source, &self.remote(remote)])
    }

    /// Pulls a path of the server's into a destination.
    #[must_use]
    pub fn pull(&self, options: &str, remote: &str, dest: impl AsRef<OsStr>) -> Outcome {
        self.run("pull", options, &[&self.remote(remote), &dest])
    }

    /// Runs a command about the watches of this agent, `plan` or `status`, and waits for its end.
    #[must_use]
    pub fn operate(&self, command: &str) -> Outcome {
        let mut driftless = Command::new(program("driftless"));
        driftless.args(command.split_whitespace()).arg("--state-dir").arg(self.home.join("state"));
        Outcome::of(&mut driftless, "")
    }

    /// The id of the only plan in this state, once there is one.
    ///
    /// # Panics
    /// When patience runs out.
    #[must_use]
    pub fn plan(&self, state: &str) -> String {
        eventually(format!("there is one plan, {state}"), || {
            let list = self.operate("plan list").stdout;
            let mut plans = list.lines().filter(|line| line.split_whitespace().nth(2) == Some(state));
            let id = plans.next()?.split_whitespace().next()?.to_owned();
            plans.next().is_none().then_some(id)
        })
    }

    /// Starts a command and leaves it running.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn spawn(&self, command: &str, options: &str, operands: &[&dyn AsRef<OsStr>]) -> Running {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let log = self.home.join(format!("running-{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&log).expect("a log");
        let child = self
            .command(command, options, operands)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("dup"))
            .stderr(file)
            .spawn()
            .expect("driftless runs");
        Running { child, log }
    }

    /// Watches a source and keeps a path on the server live.
    #[must_use]
    pub fn watch(&self, options: &str, source: impl AsRef<OsStr>, remote: &str) -> Running {
        self.spawn("watch", options, &[&source, &self.remote(remote)])
    }

    /// The command that [`Agent::run`] runs, for who measures it.
    #[must_use]
    pub fn command(&self, command: &str, options: &str, operands: &[&dyn AsRef<OsStr>]) -> Command {
        let program = program("driftless");
        let mut driftless = match self.within.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        driftless
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .arg(command)
            .args(options.split_whitespace())
            .args(&self.options)
            .args(operands);
        driftless
    }
}

/// A `driftless` that runs. Killed when dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Everything it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its exit status, once it has ended.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait")
    }

    /// Asserts that it runs.
    ///
    /// # Panics
    /// When it has ended, with what it printed.
    #[track_caller]
    pub fn runs(&mut self) {
        if let Some(status) = self.ended() {
            panic!("driftless ended ({status}):\n{}", self.log());
        }
    }

    /// Holds it still: returns once every thread of it stands. On a busy machine that takes long enough for one to read a
    /// thousand events.
    ///
    /// # Panics
    /// When one goes on.
    pub fn hold(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid().as_raw_nonzero());
        until("it stands still", || {
            let tasks = fs::read_dir(&tasks).expect("list").flatten();
            let mut stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
            stats.all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
        });
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Waits for its end and returns its exit code.
    ///
    /// # Panics
    /// When patience runs out.
    pub fn wait(&mut self) -> Option<i32> {
        eventually("driftless ends", || self.ended()).code()
    }

    /// Kills it where it stands.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- what the agent said ---\n{}", self.log());
        }
    }
}

/// The names beneath `dir` that a reader of the file system sees and that are ours, not the user's: the reserved
/// names of unfinished work. Empty once everything is done.
#[must_use]
pub fn leftovers(dir: &Path) -> Vec<String> {
    crate::trees::names(dir).into_iter().filter(|name| name.contains(".~dl")).collect()
}
