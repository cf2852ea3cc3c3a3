//! verify: the running watch of the same two ends, by its control socket.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;
use serde_json::Value;

use crate::cli::Invocation;
use crate::cli::operand::Place;
use crate::connect::ConnectError;
use crate::control;
use crate::plan::Watched;
use crate::push::place;
use crate::run::remote;
use crate::state::StateDir;

/// How long an event may take from the change to where the watch counts it.
const UNHEARD: Duration = Duration::from_millis(500);

/// Likewise where directories are polled: the longest pause between two looks, and the look.
const UNHEARD_POLLED: Duration = Duration::from_secs(330);

/// How often a watch is asked whether it has settled.
const ASK: Duration = Duration::from_millis(25);

/// See the module.
pub(super) struct Beside {
    state: PathBuf,
    watched: Watched,
    /// It removes what its source does not have.
    pub(super) deletes: bool,
    /// Paths beneath the source that it leaves alone, as they are shown.
    apart: Vec<String>,
}

impl Beside {
    /// The running watch of this source and destination, if there is one in the state folder.
    pub(super) fn find(invocation: &Invocation) -> Result<Option<Self>, ConnectError> {
        let file = |error: &dyn std::fmt::Display| ConnectError::TrustFile(error.to_string());
        let remote = remote(invocation.dest.as_ref())?;
        let Some(Place::Local(source)) = invocation.sources.first() else { return Ok(None) };
        let state = StateDir::open(invocation.state_dir.as_deref()).map_err(|error| file(&error))?;
        let source = std::path::absolute(&source.path).map_err(|error| file(&error))?;
        let address = crate::connect::address(&remote.host, invocation.port_of(remote));
        let watched =
            Watched::new(&source, &address, remote.module.as_bytes(), place(remote).path.as_bytes());
        let state = state.path().to_owned();
        // One that waits for its schedule answers, but not that.
        let told = control::ask_one(&state, &watched, "operands").filter(Value::is_object);
        let Some(operands) = told else { return Ok(None) };
        let options = operands["options"].as_array().map(Vec::as_slice).unwrap_or_default();
        let deletes = options.iter().any(|option| option == "delete");
        let mut beside = Self { state, watched, deletes, apart: Vec::new() };
        let status = beside.status();
        let apart = status["left_alone"].as_array().map(Vec::as_slice).unwrap_or_default();
        beside.apart = apart.iter().filter_map(|path| path["path"].as_str().map(str::to_owned)).collect();
        Ok(Some(beside))
    }

    fn status(&self) -> Value {
        control::ask_one(&self.state, &self.watched, "status").unwrap_or_default()
    }

    /// Waits until nothing is on its way, for so long at most. Returns whether nothing is.
    pub(super) fn settle(&self, patience: Duration) -> bool {
        // What was asked of it or happened right before may not be counted yet.
        std::thread::sleep(ASK);
        let until = Instant::now() + patience;
        loop {
            let status = self.status();
            let settled = status["pending"] == 0 && status["in_flight"] == 0;
            if settled || status.is_null() || Instant::now() >= until {
                return settled;
            }
            std::thread::sleep(ASK);
        }
    }

    /// How far it is behind: what changed in the source longer ago than this has been brought across, or nobody ever
    /// will. `None` while it has not compared everything once, or when it does not answer.
    pub(super) fn late(&self) -> Option<Duration> {
        let status = self.status();
        if status["last_reconcile"].is_null() {
            return None;
        }
        let polled = status["polled"].as_array().is_some_and(|polled| !polled.is_empty());
        let unheard = if polled || status["engine"] == "poll" { UNHEARD_POLLED } else { UNHEARD };
        let oldest = status["oldest_change_seconds"].as_f64().unwrap_or(0.0);
        Some(unheard + Duration::from_secs_f64(oldest.max(0.0)))
    }

    /// Whether a path of the transfer is one that the operator, or a mount, had it leave alone.
    pub(super) fn leaves_alone(&self, path: &RelPath, prefix: &RelPath) -> bool {
        let Some(path) = path.below(prefix) else { return false };
        let shown = path.to_string();
        let within = |apart: &String| {
            shown.strip_prefix(apart.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.apart.iter().any(within)
    }

    /// Tells it that the copy does not hold at these paths, beneath the source, what it believes.
    pub(super) fn distrust(&self, paths: &[RelPath]) {
        for (request, _) in control::requests("distrust", paths) {
            // One that ended meanwhile leaves the difference as it is, which the next look shows.
            let _answer = control::ask_one(&self.state, &self.watched, &request);
        }
    }
}
