//! control: what a watch tells about itself.

use std::time::SystemTime;

use driftless_proto::model::path::RelPath;
use serde_json::{Value, json};

use crate::watch::Queued;

/// How the last comparison of everything went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reconcile {
    /// When it ended.
    pub(crate) at: SystemTime,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Whether no path failed.
    pub(crate) well: bool,
}

/// Deletions that are held.
#[derive(Clone, Debug)]
pub(crate) struct HeldNow {
    pub(crate) reason: String,
    pub(crate) plan: Option<String>,
}

/// A path that failed and is tried again.
#[derive(Clone, Debug)]
pub(crate) struct Failing {
    pub(crate) path: String,
    /// The last time, in words.
    pub(crate) text: String,
    /// How often in a row.
    pub(crate) count: u32,
    pub(crate) at: SystemTime,
}

/// A watch as it is now. Times that have passed are in seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    /// Escaped, as everything here that has a name in it.
    pub(crate) source: String,
    pub(crate) destination: String,
    /// The job it belongs to, if it does.
    pub(crate) job: Option<String>,
    /// When a job runs by its schedule, and how it went: of a job that has one.
    pub(crate) schedule: Option<Value>,
    /// Why it cannot go on at present. It tries again.
    pub(crate) trouble: Option<String>,
    /// Host and port, while there is a stream.
    pub(crate) connected: Option<String>,
    /// Which engine sees changes; empty until there is one.
    pub(crate) engine: &'static str,
    /// What is to be known of how it was chosen.
    pub(crate) engine_note: Option<String>,
    /// Directories that the engine knows, and that the poller beside it does.
    pub(crate) directories: (u64, u64),
    /// Events were lost so often, and when the last time was.
    pub(crate) overflows: (u64, Option<SystemTime>),
    /// Directories that are looked at once in a while since no watch is to be had for them, and why.
    pub(crate) polled: Vec<(String, String)>,
    /// Entries that the copy was known to hold after the last comparison of everything.
    pub(crate) known_entries: Option<u64>,
    /// Changes that wait to settle.
    pub(crate) pending: usize,
    /// How long the source has been away; `None` while it is there.
    pub(crate) sourceless: Option<f64>,
    /// How long there has been no stream.
    pub(crate) offline: Option<f64>,
    /// How long a comparison of everything has been to come or running.
    pub(crate) uncompared: Option<f64>,
    /// Bytes of files that are not durable yet, where that can be told.
    pub(crate) queued: Option<Queued>,
    /// When something was last acknowledged.
    pub(crate) last_ack: Option<f64>,
    /// Changes that were acknowledged since the start.
    pub(crate) acked: u64,
    /// Paths that failed and have not come through since, and some of them.
    pub(crate) failing: usize,
    pub(crate) errors: Vec<Failing>,
    /// Commands that wait until what was written before them is durable.
    pub(crate) waiting: usize,
    /// Changes that were sent and are not durable yet.
    pub(crate) in_flight: usize,
    /// How long ago the oldest change that is not durable was heard of, in seconds.
    pub(crate) oldest_change: Option<f64>,
    pub(crate) held: Option<HeldNow>,
    /// New contents of files that the copy has are held.
    pub(crate) held_rewrites: Option<HeldNow>,
    /// Paths that are left alone, and why.
    pub(crate) apart: Vec<(RelPath, &'static str)>,
    /// Files that changed under every reading: the copy has them as they were read last.
    pub(crate) unstable: Vec<String>,
    /// The last problem of a path, its path first, and when it was.
    pub(crate) last_problem: Option<(String, SystemTime)>,
    pub(crate) last_reconcile: Option<Reconcile>,
}

impl Picture {
    /// For `status --json`. Members are only ever added.
    pub(crate) fn json(&self) -> Value {
        let ago = |at: SystemTime| at.elapsed().unwrap_or_default().as_secs_f64();
        let held = |held: &HeldNow| json!({"reason": held.reason, "plan": held.plan});
        json!({
            "source": self.source,
            "destination": self.destination,
            "job": self.job,
            "schedule": self.schedule,
            "trouble": self.trouble,
            "connected": self.connected,
            "engine": self.engine,
            "polled": self.polled.iter().map(|(path, why)| json!({"path": path, "why": why})).collect::<Vec<_>>(),
            "known_entries": self.known_entries,
            "pending": self.pending,
            "in_flight": self.in_flight,
            "bytes_queued": self.queued.map(|queued| queued.bytes),
            "bytes_queued_whole": self.queued.is_some_and(|queued| queued.whole),
            "waiting": self.waiting,
            "engine_note": self.engine_note,
            "directories": {"watched": self.directories.0, "polled": self.directories.1},
            "overflows": {"count": self.overflows.0, "last_seconds_ago": self.overflows.1.map(ago)},
            "source_gone_seconds": self.sourceless,
            "disconnected_seconds": self.offline,
            "uncompared_seconds": self.uncompared,
            "last_ack_seconds": self.last_ack,
            "acked_changes": self.acked,
            "failing": self.failing,
            "errors": self.errors.iter().map(|one| {
                json!({"path": one.path, "text": one.text, "count": one.count, "seconds_ago": ago(one.at)})
            }).collect::<Vec<_>>(),
            "oldest_change_seconds": self.oldest_change,
            "held": self.held.as_ref().map(held),
            "held_rewrites": self.held_rewrites.as_ref().map(held),
            "left_alone": self.apart.iter().map(|(path, why)| json!({"path": path.to_string(), "why": why})).collect::<Vec<_>>(),
            "unstable": self.unstable,
            "last_problem": self.last_problem.as_ref().map(|(text, at)| json!({"text": text, "seconds_ago": ago(*at)})),
            "last_reconcile": self.last_reconcile.map(|last| {
                json!({"seconds_ago": ago(last.at), "took_seconds": last.seconds, "well": last.well})
            }),
        })
    }
}
