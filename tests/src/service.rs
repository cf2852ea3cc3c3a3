//! A real `driftless run`: a config with many jobs, and the process that runs them.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::World;
use crate::agent::{Agent, Outcome, Running};
use crate::server::{PASSWORD, Server, USER};
use crate::wait::until;

/// A service with one config file. Killed when dropped.
pub struct Service {
    agent: Agent,
    head: String,
    config: PathBuf,
    running: Running,
}

impl Service {
    /// Runs these jobs, for which `[defaults]` say how this server is reached.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(world: &World, server: &Server, jobs: &str) -> Self {
        Self::start_with(world, server, jobs, |agent| agent)
    }

    /// The same, with something of its environment set.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(world: &World, server: &Server, jobs: &str, prepare: impl Fn(Agent) -> Agent) -> Self {
        let password = world.file("password", format!("{PASSWORD}\n"));
        let head = format!(
            "state-dir = \"{}\"\n[defaults]\nport = {}\nfingerprint = \"{}\"\npassword-file = \"{}\"\n",
            world.path("home/state").display(),
            server.address().port(),
            server.fingerprint(),
            password.display(),
        );
        let agent = prepare(world.stranger().without("--state-dir"));
        let config = world.file("agent.toml", format!("{head}{jobs}"));
        let running = spawn(&agent, &config);
        Self { agent, head, config, running }
    }

    /// Another config from now on; nobody is told of it yet.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, jobs: &str) {
        // As an editor does: never half a file.
        let new = self.config.with_extension("new");
        fs::write(&new, format!("{}{jobs}", self.head)).expect("write");
        fs::rename(&new, &self.config).expect("rename");
    }

    /// Another config, and SIGHUP; returns once it says that it has read it.
    ///
    /// # Panics
    /// When patience runs out.
    pub fn reload(&mut self, jobs: &str) {
        let told =
            |log: &str| log.matches("reloaded: ").count() + log.matches(" was refused, see the log").count();
        let before = told(&self.running.log());
        self.write(jobs);
        self.running.signal(Signal::HUP);
        until("the service has read its config", || told(&self.running.log()) > before);
    }

    /// The process.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Everything that this process has printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Waits until its log holds this.
    ///
    /// # Panics
    /// When patience runs out.
    #[track_caller]
    pub fn says(&self, text: &str) {
        until(format_args!("the service says {text:?}"), || self.log().contains(text));
    }

    /// Starts it again after its end.
    pub fn restart(&mut self) {
        self.running = spawn(&self.agent, &self.config);
    }

    /// Runs `driftless status` and the like.
    #[must_use]
    pub fn operate(&self, command: &str) -> Outcome {
        self.agent.operate(command)
    }
}

fn spawn(agent: &Agent, config: &Path) -> Running {
    agent.spawn("run", &format!("--config {}", config.display()), &[])
}

/// A remote operand of the user that every server knows.
#[must_use]
pub fn to(path: &str) -> String {
    format!("{USER}@127.0.0.1::{path}")
}
