//! control: what a watch tells about itself.

use std::time::SystemTime;

use serde_json::{Value, json};

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

/// A watch as it is now.
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
    pub(crate) failing: Option<String>,
    /// Host and port, while there is a stream.
    pub(crate) connected: Option<String>,
    /// Which engine sees changes; empty until there is one.
    pub(crate) engine: &'static str,
    /// Directories that are looked at once in a while since no watch is to be had for them, and why.
    pub(crate) polled: Vec<(String, String)>,
    /// Entries that the copy was known to hold after the last comparison of everything.
    pub(crate) known_entries: Option<u64>,
    /// Changes that wait to settle.
    pub(crate) pending: usize,
    /// Changes that were sent and are not durable yet.
    pub(crate) in_flight: usize,
    /// How long ago the oldest change that is not durable was heard of, in seconds.
    pub(crate) oldest_change: Option<f64>,
    pub(crate) held: Option<HeldNow>,
    /// Paths that are left alone, and why.
    pub(crate) apart: Vec<(String, &'static str)>,
    /// The last problem of a path, its path first, and when it was.
    pub(crate) last_problem: Option<(String, SystemTime)>,
    pub(crate) last_reconcile: Option<Reconcile>,
}

impl Picture {
    /// For `status --json`. Members are only ever added.
    pub(crate) fn json(&self) -> Value {
        let ago = |at: SystemTime| at.elapsed().unwrap_or_default().as_secs_f64();
        json!({
            "source": self.source,
            "destination": self.destination,
            "job": self.job,
            "schedule": self.schedule,
            "failing": self.failing,
            "connected": self.connected,
            "engine": self.engine,
            "polled": self.polled.iter().map(|(path, why)| json!({"path": path, "why": why})).collect::<Vec<_>>(),
            "known_entries": self.known_entries,
            "pending": self.pending,
            "in_flight": self.in_flight,
            "oldest_change_seconds": self.oldest_change,
            "held": self.held.as_ref().map(|held| json!({"reason": held.reason, "plan": held.plan})),
            "left_alone": self.apart.iter().map(|(path, why)| json!({"path": path, "why": why})).collect::<Vec<_>>(),
            "last_problem": self.last_problem.as_ref().map(|(text, at)| json!({"text": text, "seconds_ago": ago(*at)})),
            "last_reconcile": self.last_reconcile.map(|last| {
                json!({"seconds_ago": ago(last.at), "took_seconds": last.seconds, "well": last.well})
            }),
        })
    }
}
