//! supervise: answers `driftless status` for a watch that does not live at present: a job that waits for its schedule, or
//! one that could not begin.

use driftless_proto::model::path::RelPath;

use crate::cli::Invocation;
use crate::cli::operand::Place;
use crate::control::picture::Picture;
use crate::control::{Control, Request};
use crate::plan::Watched;
use crate::push::place;
use crate::run::remote;
use crate::state::StateDir;
use crate::watch::reins::Manner;

/// See the module. Dropping it takes the answer back.
pub(super) struct StandIn {
    _control: Control,
}

impl StandIn {
    /// Answers, where that can be done: it is a courtesy, and what stands in the way is said by the watch itself.
    pub(super) fn start(invocation: &Invocation, manner: &Manner, failing: Option<&str>) -> Option<Self> {
        let remote = remote(invocation.dest.as_ref()).ok()?;
        let Some(Place::Local(local)) = invocation.sources.first() else { return None };
        let state = StateDir::open(invocation.state_dir.as_deref()).ok()?;
        let address = crate::connect::address(&remote.host, invocation.port_of(remote));
        let path: RelPath = place(remote).path;
        let watched = Watched::new(&local.path, &address, remote.module.as_bytes(), path.as_bytes());
        let picture = Picture {
            source: watched.source.clone(),
            destination: watched.destination.clone(),
            job: manner.job.clone(),
            failing: failing.map(str::to_owned),
            ..Picture::default()
        };
        let timed = manner.timed.clone();
        let answer = move |request| match request {
            Request::Status => Picture { schedule: timed.json(), ..picture.clone() }.json(),
            // Nothing is watched in between.
            _ => serde_json::Value::Null,
        };
        let control = Control::start(state.path(), &watched, Box::new(answer)).ok()?;
        Some(Self { _control: control })
    }
}
