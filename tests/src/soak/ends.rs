//! ends: the two programs and the wire between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::Settings;
use crate::World;
use crate::agent::{Agent, Running};
use crate::oracle::slash;
use crate::server::Server;
use crate::wire::Wire;

/// Lines of a log that are shown.
const LINES: usize = 40;

/// How long `driftless wait` waits at a time.
const WAIT: &str = "wait --all --timeout 20s";
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// The processes as they are now, for who looks at them from aside; 0 for none.
#[derive(Default)]
pub(super) struct Pids {
    pub(super) agent: AtomicI32,
    pub(super) server: AtomicI32,
}

/// See the module.
pub(super) struct Ends {
    pub(super) server: Server,
    pub(super) wire: Wire,
    agent: Agent,
    watch: Option<Running>,
    /// What earlier lives of the agent printed last.
    before: String,
    options: String,
    src: PathBuf,
    pids: Arc<Pids>,
}

impl Ends {
    /// A server, and an agent that knows it by way of the wire. Nothing is watched yet.
    pub(super) fn start(settings: &Settings, world: &World, src: &Path) -> Self {
        let server = world.backup();
        let wire = Wire::to(server.address());
        let agent = world.agent(&server).through(&wire);
        let names = if settings.names { " -v" } else { "" };
        let options = format!("-a --delete --brake off --engine {}{names}", settings.engine);
        let (before, pids) = (String::new(), Arc::<Pids>::default());
        let ends = Self { server, wire, agent, watch: None, before, options, src: src.into(), pids };
        ends.pids.server.store(ends.server.pid().as_raw_nonzero().get(), Ordering::Relaxed);
        ends
    }

    pub(super) fn pids(&self) -> Arc<Pids> {
        Arc::clone(&self.pids)
    }

    /// Starts the watch.
    pub(super) fn watch(&mut self) {
        let watch = self.agent.watch(&self.options, slash(&self.src), "backup");
        self.pids.agent.store(watch.pid().as_raw_nonzero().get(), Ordering::Relaxed);
        self.watch = Some(watch);
    }

    pub(super) fn kill_agent(&mut self) {
        let mut watch = self.watch.take().expect("it is watched");
        watch.runs();
        watch.kill();
        self.before = last_lines(&watch.log());
        self.pids.agent.store(0, Ordering::Relaxed);
    }

    pub(super) fn kill_server(&mut self) {
        self.server.kill();
        self.pids.server.store(0, Ordering::Relaxed);
    }

    pub(super) fn start_server(&mut self) {
        self.server.start();
        self.pids.server.store(self.server.pid().as_raw_nonzero().get(), Ordering::Relaxed);
    }

    /// Stops the agent, and returns once each of its threads has stopped.
    pub(super) fn hold_agent(&self) {
        self.watch.as_ref().expect("it is watched").hold();
    }

    pub(super) fn signal_agent(&self, signal: Signal) {
        self.watch.as_ref().expect("it is watched").signal(signal);
    }

    /// How often this life of the agent has said that it lost events.
    pub(super) fn overflows(&self) -> usize {
        self.watch.as_ref().expect("it is watched").log().matches("events were lost").count()
    }

    /// What the watch tells about itself, once it answers.
    pub(super) fn status(&self) -> Option<Value> {
        let told = self.agent.operate("status --json").stdout;
        let watches: Value = serde_json::from_str(&told).ok()?;
        watches.as_array()?.first().cloned()
    }

    /// Waits until all that was written is durable, as an operator would, and until the watch says that nothing is left to
    /// do: what failed on the way has come through too.
    pub(super) fn drained(&mut self, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            self.watch.as_mut().expect("it is watched").runs();
            let waited = self.agent.operate(WAIT);
            let status = self.status();
            if waited.code == Some(0) && status.as_ref().is_some_and(is_idle) {
                return Ok(());
            }
            if Instant::now() > end {
                let status = status.map_or("no answer".into(), |status| status.to_string());
                return Err(format!("not drained within {limit:?}: {}{status}", waited.stderr));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn copy(&self) -> &Path {
        self.server.module("backup")
    }

    /// Bytes that the wire has carried.
    pub(super) fn carried(&self) -> u64 {
        self.wire.total()
    }

    /// The last lines that both programs printed.
    pub(super) fn logs(&self) -> String {
        let agent = self.watch.as_ref().map(|watch| last_lines(&watch.log())).unwrap_or_default();
        let status = self.status().map_or("no answer".into(), |status| status.to_string());
        let (before, server) = (&self.before, last_lines(&self.server.log()));
        format!(
            "--- the agent's status\n{status}\n--- the agent before\n{before}\n--- the agent\n{agent}\n--- the server\n{server}"
        )
    }
}

fn is_idle(status: &Value) -> bool {
    // Not whether that went well: paths that failed then are tried again, and pending until they come through.
    let compared = status["last_reconcile"].is_object();
    let none = ["pending", "in_flight", "failing"].iter().all(|count| status[count] == 0);
    compared && status["connected"].is_string() && none
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
