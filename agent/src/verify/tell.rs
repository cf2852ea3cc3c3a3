//! verify: the answer, for people or as JSON, and the exit code that goes with it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use driftless_proto::model::options::Difference;
use serde_json::{Value, json};

use super::pass::Pass;
use super::{Drift, Drifts};
use crate::cli::Invocation;
use crate::cli::operand::Place;
use crate::exit::Exit;
use crate::plan::Watched;
use crate::push::place;

/// What was found of one copy.
pub(super) struct Told {
    source: String,
    destination: String,
    pub(super) drift: Drifts,
    /// What a running watch is about to bring across.
    pub(super) pending: Drifts,
    pub(super) repaired: usize,
    /// Paths that differ and that the watch was told to leave alone.
    pub(super) left_alone: usize,
    pub(super) took: Duration,
    problems: Vec<String>,
    notes: Vec<String>,
    entries: u64,
    size_bytes: u64,
    wire: (u64, u64),
    failed: Option<Exit>,
}

impl Told {
    /// Of a comparison whose differences are still to be judged.
    pub(super) fn new(invocation: &Invocation, pass: &Pass) -> Self {
        let mut told = Self::failed(invocation, Exit::Ok);
        told.failed = None;
        told.problems.clone_from(&pass.problems);
        (told.entries, told.size_bytes, told.wire) = (pass.entries, pass.size_bytes, pass.wire);
        told
    }

    /// Of one that was not to be made; that has been said.
    pub(super) fn failed(invocation: &Invocation, exit: Exit) -> Self {
        let (mut source, mut destination) = (String::new(), String::new());
        if let (Some(Place::Local(local)), Some(Place::Remote(remote))) =
            (invocation.sources.first(), &invocation.dest)
        {
            let path = std::path::absolute(&local.path).unwrap_or_else(|_| local.path.clone());
            let address = crate::connect::address(&remote.host, invocation.port_of(remote));
            let named =
                Watched::new(&path, &address, remote.module.as_bytes(), place(remote).path.as_bytes());
            (source, destination) = (named.source, named.destination);
        }
        Self {
            source,
            destination,
            drift: Drifts::new(),
            pending: Drifts::new(),
            repaired: 0,
            left_alone: 0,
            took: Duration::ZERO,
            problems: Vec::new(),
            notes: Vec::new(),
            entries: 0,
            size_bytes: 0,
            wire: (0, 0),
            failed: Some(exit),
        }
    }

    /// Something the operator should know that is no difference.
    pub(super) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// Takes what went wrong in a repair.
    pub(super) fn take_problems(&mut self, problems: &[String]) {
        self.problems.extend_from_slice(problems);
    }

    fn exit(&self) -> Exit {
        match self.failed {
            Some(exit) => exit,
            None if !self.problems.is_empty() => Exit::Partial,
            None if !self.drift.is_empty() => Exit::Differs,
            None if !self.pending.is_empty() => Exit::Pending,
            None => Exit::Ok,
        }
    }

    fn verdict(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |count: usize, what: &str| {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        };
        part(self.drift.len(), "differ");
        part(self.pending.len(), "pending");
        part(self.repaired, "repaired");
        part(self.left_alone, "left alone");
        part(self.problems.len(), "could not be compared");
        if self.exit() == Exit::Ok {
            parts.insert(0, "equal".into());
        }
        parts.join(", ")
    }

    fn shown(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            // A string takes everything.
            writeln!(out, "{text}").ok();
        };
        for (path, drift) in &self.drift {
            line(format!("{:<8} {path}", names(*drift).join(",")));
        }
        for path in self.pending.keys() {
            line(format!("{:<8} {path}", "pending"));
        }
        self.notes.iter().for_each(|note| line(note.clone()));
        line(format!(
            "{} -> {}: {} entries, {} bytes, {:.2} s, {} bytes sent, {} received: {}",
            self.source,
            self.destination,
            self.entries,
            self.size_bytes,
            self.took.as_secs_f64(),
            self.wire.0,
            self.wire.1,
            self.verdict(),
        ));
        out
    }

    fn json(&self) -> Value {
        let drift = |drift: &Drifts| -> Vec<Value> {
            drift
                .iter()
                .map(|(path, drift)| json!({"path": path.to_string(), "differs": names(*drift)}))
                .collect()
        };
        json!({
            "source": self.source,
            "destination": self.destination,
            "equal": self.exit() == Exit::Ok,
            "drift": drift(&self.drift),
            "pending": drift(&self.pending),
            "repaired": self.repaired,
            "left_alone": self.left_alone,
            "problems": self.problems,
            "notes": self.notes,
            "entries": self.entries,
            "bytes": self.size_bytes,
            "seconds": self.took.as_secs_f64(),
            "sent_bytes": self.wire.0,
            "received_bytes": self.wire.1,
            "exit": self.exit().code(),
        })
    }
}

/// What differs, one word each.
fn names(drift: Drift) -> Vec<&'static str> {
    let Difference { kind, content, time, mode, owner, group } = match drift {
        Drift::Missing => return vec!["missing"],
        Drift::Extra => return vec!["extra"],
        Drift::Differs(difference) => difference,
    };
    let all = [
        (kind, "kind"),
        (content, "content"),
        (time, "mtime"),
        (mode, "mode"),
        (owner, "owner"),
        (group, "group"),
    ];
    all.into_iter().filter_map(|(differs, name)| differs.then_some(name)).collect()
}

/// Says everything, and returns the worst of the exit codes: what failed before what differs, that before what is pending.
pub(super) fn tell(told: &[Told], json: bool) -> Exit {
    let text = if json {
        format!("{}\n", Value::Array(told.iter().map(Told::json).collect()))
    } else {
        told.iter().filter(|told| told.failed.is_none()).map(Told::shown).collect()
    };
    // Nobody may be listening any more; that is not our failure.
    std::io::stdout().write_all(text.as_bytes()).ok();
    let rank = |exit: &Exit| match exit {
        Exit::Ok => 0,
        Exit::Pending => 1,
        Exit::Differs => 2,
        Exit::Partial => 3,
        _ => 4,
    };
    told.iter().map(Told::exit).max_by_key(rank).unwrap_or(Exit::Ok)
}

/// Nothing could be looked at.
pub(super) fn failed(why: &str, exit: Exit) -> Exit {
    writeln!(std::io::stderr(), "driftless: {why} (code {})", exit.code()).ok();
    exit
}
