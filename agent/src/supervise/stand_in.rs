//! supervise: answers for a watch that does not live at present: a job that waits for its schedule, or one that could not
//! begin.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driftless_proto::model::path::RelPath;
use serde_json::{Value, json};

use crate::cli::Invocation;
use crate::cli::operand::Place;
use crate::control::picture::Picture;
use crate::control::schedule::Timed;
use crate::control::target::{Lies, Target};
use crate::control::{Answers, Control};
use crate::plan::Watched;
use crate::push::place;
use crate::run::remote;
use crate::state::StateDir;
use crate::watch::reins::Manner;

/// How often it is looked whether whoever waits is still there.
const LOOK: Duration = Duration::from_millis(250);

/// See the module. Dropping it takes the answer back.
pub(super) struct StandIn {
    _control: Control,
}

/// What it answers from.
struct Answering {
    picture: Picture,
    source: PathBuf,
    timed: Timed,
}

impl StandIn {
    /// Answers, where that can be done: it is a courtesy, and what stands in the way is said by the watch itself.
    pub(super) fn start(invocation: &Invocation, manner: &Manner, trouble: Option<&str>) -> Option<Self> {
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
            trouble: trouble.map(str::to_owned),
            ..Picture::default()
        };
        let answering = Answering { picture, source: local.path.clone(), timed: manner.timed.clone() };
        let control = Control::start(state.path(), &watched, Arc::new(answering)).ok()?;
        Some(Self { _control: control })
    }
}

impl Answering {
    fn answer(&self, outcome: &str, why: &str) -> Value {
        json!({
            "source": self.picture.source,
            "destination": self.picture.destination,
            "outcome": outcome,
            "why": why,
        })
    }

    /// Why nothing is brought across at present.
    fn why(&self) -> String {
        if let Some(why) = &self.picture.trouble {
            return why.clone();
        }
        let next = self.timed.lock().next.as_ref().map(|next| next.strftime("%F %T %Z").to_string());
        format!("the job runs by its schedule only, next {}", next.unwrap_or_else(|| "never".into()))
    }

    /// The path beneath the source, or the answer that it is not there.
    fn place(&self, target: &Target) -> Result<RelPath, Value> {
        match target.lies(&[&*self.source]) {
            Lies::Above => Ok(RelPath::root()),
            Lies::At(path) => Ok(path),
            Lies::Elsewhere => Err(self.answer("elsewhere", "")),
        }
    }
}

impl Answers for Answering {
    fn acked(&self, paths: &[RelPath]) -> Value {
        // The journal is closed, so whoever asks can open it.
        paths.iter().map(|_| Value::Null).collect()
    }

    fn distrust(&self, _: &[RelPath]) -> Value {
        Value::Bool(false)
    }

    fn operands(&self) -> Value {
        // Nothing is watched in between.
        Value::Bool(false)
    }

    fn explain(&self, target: &Target) -> Value {
        let path = match self.place(target) {
            Ok(path) => path,
            Err(answer) => return answer,
        };
        let mut answer = self.answer("excluded", &format!("at present: {}", self.why()));
        answer["path"] = path.to_string().into();
        answer
    }

    fn status(&self) -> Value {
        Picture { schedule: self.timed.json(), ..self.picture.clone() }.json()
    }

    /// What runs by its schedule is not waited for: that may be days. What cannot begin tries again.
    fn wait(&self, target: &Target, until: Option<Instant>, gone: &dyn Fn() -> bool) -> Value {
        if let Err(answer) = self.place(target) {
            return answer;
        }
        while self.picture.trouble.is_some() {
            if gone() {
                return Value::Null;
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                break;
            }
            std::thread::sleep(LOOK);
        }
        let mut answer = self.answer("timeout", &self.why());
        answer["pending"] = 0.into();
        answer
    }
}
