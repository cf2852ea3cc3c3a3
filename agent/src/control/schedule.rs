//! control: what a job that has a schedule tells about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Zoned;
use serde_json::{Value, json};

/// What a scheduled run is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits for its time.
    #[default]
    Waiting,
    Before,
    Running,
    After,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Before => "before",
            Self::Running => "running",
            Self::After => "after",
        }
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub(crate) struct LastRun {
    /// When it ended.
    pub(crate) at: SystemTime,
    pub(crate) took: Duration,
    /// 0, or the code by which `after` knows how it went.
    pub(crate) exit: u8,
    /// What was wrong.
    pub(crate) why: Option<String>,
}

/// A job's schedule as it stands. Shared by all of the job's destinations, and kept over a reload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timed(Arc<Mutex<Times>>);

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// As it was written; `None` for a job without one.
    pub(crate) cron: Option<String>,
    /// Between runs the job does nothing at all.
    pub(crate) only: bool,
    pub(crate) stage: Stage,
    pub(crate) next: Option<Zoned>,
    pub(crate) last: Option<LastRun>,
}

impl Timed {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `status --json`; `None` for a job without a schedule.
    pub(crate) fn json(&self) -> Option<Value> {
        let times = self.lock();
        let cron = times.cron.as_ref()?;
        Some(json!({
            "cron": cron,
            "mode": if times.only { "scheduled" } else { "watch" },
            "state": times.stage.word(),
            "next": times.next.as_ref().map(|next| next.strftime("%FT%T%:z").to_string()),
            "last": times.last.as_ref().map(|last| json!({
                "seconds_ago": last.at.elapsed().unwrap_or_default().as_secs_f64(),
                "took_seconds": last.took.as_secs_f64(),
                "exit": last.exit,
                "why": last.why,
            })),
        }))
    }
}
