//! A real `driftlessd`: configured, started on a free port, stopped, killed and restarted.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::World;
use crate::agent::Outcome;
use crate::wait::{eventually, until};
use crate::world::program;

/// The user that every server knows unless told otherwise.
pub const USER: &str = "driftless";
/// That user's password.
pub const PASSWORD: &str = "it stays where it was put";

/// A server that is not running yet.
///
/// Ahead of the first module stand defaults for all of them (`rsyncd.conf(5)`): read and write, the user
/// [`USER`], and, as root, files owned by root. A module's own lines override them.
pub struct Setup<'w> {
    world: &'w World,
    globals: Vec<String>,
    modules: Vec<(String, PathBuf, Vec<String>)>,
    users: Vec<(String, String)>,
    secrets_mode: u32,
    args: Vec<String>,
}

impl<'w> Setup<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self {
            world,
            globals: Vec::new(),
            modules: Vec::new(),
            users: vec![(USER.to_owned(), PASSWORD.to_owned())],
            secrets_mode: 0o600,
            args: Vec::new(),
        }
    }

    /// A line ahead of the first module: a global, or a default for every module.
    #[must_use]
    pub fn global(mut self, line: impl Into<String>) -> Self {
        self.globals.push(line.into());
        self
    }

    /// A module with a folder of its own in the world (`modules/NAME`), and its lines.
    #[must_use]
    pub fn module(self, name: &str, lines: &[&str]) -> Self {
        let path = self.world.dir(&format!("modules/{name}"));
        self.module_at(name, &path, lines)
    }

    /// A module at this path.
    #[must_use]
    pub fn module_at(mut self, name: &str, path: &Path, lines: &[&str]) -> Self {
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        self.modules.push((name.to_owned(), path.to_owned(), lines));
        self
    }

    /// One more line of the secrets file.
    #[must_use]
    pub fn user(mut self, name: &str, secret: &str) -> Self {
        self.users.push((name.to_owned(), secret.to_owned()));
        self
    }

    /// The mode of the secrets file, 600 unless set.
    #[must_use]
    pub fn secrets_mode(mut self, mode: u32) -> Self {
        self.secrets_mode = mode;
        self
    }

    /// One more argument of `driftlessd serve`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Writes the config and the secrets, and returns the config's path.
    ///
    /// # Panics
    /// When they cannot be written.
    #[must_use]
    pub fn write(&self) -> PathBuf {
        let world = self.world;
        let secrets: String = self.users.iter().map(|(name, secret)| format!("{name}:{secret}\n")).collect();
        let secrets = world.file("secrets", secrets);
        fs::set_permissions(&secrets, fs::Permissions::from_mode(self.secrets_mode)).expect("chmod");

        let mut text = String::from("port = 0\naddress = 127.0.0.1\n");
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{name} = {value}").expect("a string takes everything");
        };
        line("state dir", &world.path("server-state").display());
        line("log file", &world.path("server.log").display());
        line("use chroot", &"no");
        line("read only", &"no");
        line("auth users", &USER);
        line("secrets file", &secrets.display());
        if crate::oracle::root() {
            line("uid", &0);
            line("gid", &0);
        }
        for global in &self.globals {
            text.push_str(global);
            text.push('\n');
        }
        for (name, path, lines) in &self.modules {
            writeln!(text, "\n[{name}]\npath = {}\n{}", path.display(), lines.join("\n")).expect("a string");
        }
        world.file("driftlessd.conf", text)
    }

    /// Writes the config and starts the server; returns once it listens.
    ///
    /// # Panics
    /// When it does not come to listen.
    #[must_use]
    pub fn start(self) -> Server {
        let config = self.write();
        let mut server = Server {
            config,
            log_file: self.world.path("server.log"),
            stderr_file: self.world.path("server.stderr"),
            state_dir: self.world.path("server-state"),
            modules: self.modules.into_iter().map(|(name, path, _)| (name, path)).collect(),
            args: self.args,
            child: None,
            address: None,
        };
        server.start();
        server
    }
}

/// A running `driftlessd`. Killed when dropped.
pub struct Server {
    /// Its config file.
    pub config: PathBuf,
    /// Its state folder.
    pub state_dir: PathBuf,
    log_file: PathBuf,
    stderr_file: PathBuf,
    modules: Vec<(String, PathBuf)>,
    args: Vec<String>,
    child: Option<Child>,
    address: Option<SocketAddr>,
}

impl Server {
    /// Starts a server on a config of the test's own making, which says `port = 0` and logs to `log_file`.
    ///
    /// # Panics
    /// When it does not come to listen.
    #[must_use]
    pub fn configured(world: &World, config: &str, log_file: &Path) -> Self {
        let mut server = Self {
            config: world.file("driftlessd.conf", config),
            log_file: log_file.to_owned(),
            stderr_file: world.path("server.stderr"),
            state_dir: world.path("server-state"),
            modules: Vec::new(),
            args: Vec::new(),
            child: None,
            address: None,
        };
        server.start();
        server
    }

    /// Starts it, on the port it had before if it ran before; returns once it listens.
    ///
    /// # Panics
    /// When it does not come to listen, or runs already.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let ready_before = ready_messages(&self.said());
        let mut command = Command::new(program("driftlessd"));
        command.arg("serve").arg("--config").arg(&self.config).args(&self.args);
        if let Some(address) = self.address {
            command.args(["--port", &address.port().to_string()]);
        }
        let stderr = File::options().create(true).append(true).open(&self.stderr_file).expect("a log");
        let stdout = stderr.try_clone().expect("dup");
        let mut child =
            command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("driftlessd runs");
        let address = eventually("the server listens", || {
            let said = self.said();
            if let Some(status) = child.try_wait().expect("wait") {
                panic!("driftlessd ended ({status}) before it listened:\n{said}");
            }
            if ready_messages(&said) > ready_before { listening_on(&said) } else { None }
        });
        self.address = Some(address);
        self.child = Some(child);
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never: a server that exists has listened.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address.expect("it has listened")
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    /// A module's folder.
    ///
    /// # Panics
    /// When there is no such module.
    #[must_use]
    pub fn module(&self, name: &str) -> &Path {
        let found = self.modules.iter().find(|(module, _)| module == name);
        &found.unwrap_or_else(|| panic!("no module {name}")).1
    }

    /// Everything it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.log_file)
    }

    /// Waits until its log holds this.
    ///
    /// # Panics
    /// When patience runs out.
    #[track_caller]
    pub fn logs(&self, text: &str) {
        until(format_args!("the server's log says {text:?}; it says:\n{}", self.log()), || {
            self.log().contains(text)
        });
    }

    /// Sends SIGTERM and waits for it to drain.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub fn stop(&mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).expect("it runs");
        let mut child = self.child.take().expect("it runs");
        eventually("the server drains", || child.try_wait().expect("wait"))
    }

    /// Kills it where it stands, with SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Its certificate's fingerprint, as `driftlessd fingerprint` prints it.
    ///
    /// # Panics
    /// When that command fails.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let out = driftlessd(&["fingerprint", "--config", &self.config.to_string_lossy()], "");
        assert_eq!(out.code, Some(0), "{}", out.stderr);
        out.stdout.trim().to_owned()
    }

    fn said(&self) -> String {
        read(&self.stderr_file) + &self.log()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- what the server said ---\n{}", self.said());
        }
    }
}

/// Runs another command of `driftlessd` to its end, with this on its standard input.
#[must_use]
pub fn driftlessd(args: &[&str], input: &str) -> Outcome {
    let mut command = Command::new(program("driftlessd"));
    command.args(args);
    Outcome::of(&mut command, input)
}

/// How often it has said that it listens, on its standard error or in its log.
fn ready_messages(said: &str) -> usize {
    said.matches("listening on ").count()
}

/// The address in the last `... listening on ADDR:PORT`.
fn listening_on(said: &str) -> Option<SocketAddr> {
    let line = said.lines().rfind(|line| line.contains("listening on "))?;
    line.split_whitespace().rev().find_map(|word| word.parse().ok())
}

fn read(file: &Path) -> String {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
