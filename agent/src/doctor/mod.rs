//! doctor: would a watch run here? Each thing it needs is tried or read, never guessed from a version, and what is missing
//! is said with what cures it.
//!
//! * `host`: the kernel's limits, and the engines; `place`: the source, what is mounted in it, the state folder;
//!   `server`: the way to the server, the module, its clock; `proc`: what `/proc` says.
//!
//! Touches: `/proc`, the source (reads names and rights, never a content), the state folder, the network. Changes nothing,
//! the state folder and the agent's identity aside, which it makes as any run would.

mod host;
mod place;
mod proc;
mod server;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use driftless_proto::disk::{Root, Style};
use serde_json::{Value, json};

use crate::cli::doctor::Doctor;
use crate::cli::operand::{Local, Place};
use crate::console::Console;

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Ok,
    Warn,
    Fail,
}

impl Grade {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug)]
struct Finding {
    /// What was looked at, one word.
    what: &'static str,
    grade: Grade,
    /// What was found.
    text: String,
    /// What to do about it.
    cure: Option<String>,
}

/// Everything that was found, in the order it was looked at.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, what: &'static str, text: impl Into<String>) {
        self.0.push(Finding { what, grade: Grade::Ok, text: text.into(), cure: None });
    }

    fn warn(&mut self, what: &'static str, text: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Finding { what, grade: Grade::Warn, text: text.into(), cure: Some(cure.into()) });
    }

    fn fail(&mut self, what: &'static str, text: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Finding { what, grade: Grade::Fail, text: text.into(), cure: Some(cure.into()) });
    }

    fn worst(&self) -> Grade {
        self.0.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Ok)
    }
}

/// Looks at everything and says it. Returns the exit code: 0 well, 1 with warnings, 2 when a watch would fail.
#[must_use]
pub fn run(doctor: &Doctor) -> u8 {
    crate::run::raise_descriptor_limit();
    let mut findings = Findings::default();
    host::kernel(&mut findings);
    let source = doctor.pair.as_ref().and_then(|pair| match pair.sources.first() {
        Some(Place::Local(Local { path, .. })) => Some(path.clone()),
        _ => None,
    });
    let root = source.as_deref().map(|path| (path, Root::open(path, Style::default())));
    let mut dirs = 0;
    let mut at = None;
    match root {
        Some((path, Ok(root))) => {
            let rules = doctor.pair.as_ref().map(|pair| pair.rules.clone()).unwrap_or_default();
            dirs = place::source(&mut findings, path, &root, &rules);
            at = Some(root);
        }
        Some((path, Err(error))) => {
            let cure = "SRC is the directory to be watched: make it, or name another one";
            findings.fail("source", format!("{}: {error}", path.display()), cure);
        }
        None => {}
    }
    host::limits(&mut findings, dirs);
    let state = place::state(&mut findings, doctor.state_dir.as_deref());
    // Without a source the engines are tried on whatever directory is at hand.
    let at = at.or_else(|| Root::open(state.as_deref()?, Style::default()).ok());
    if let Some(root) = &at {
        host::engines(&mut findings, root);
    }
    if let Some(pair) = &doctor.pair {
        let console = Arc::new(Console::new(pair));
        server::look(&mut findings, pair, &console);
    }
    tell(&findings, doctor.json);
    match findings.worst() {
        Grade::Ok => 0,
        Grade::Warn => 1,
        Grade::Fail => 2,
    }
}

fn tell(findings: &Findings, as_json: bool) {
    let text = if as_json {
        let finding =
            |f: &Finding| json!({"check": f.what, "status": f.grade.name(), "text": f.text, "fix": f.cure});
        format!("{}\n", Value::Array(findings.0.iter().map(finding).collect()))
    } else {
        findings.0.iter().fold(String::new(), |mut out, finding| {
            // A string takes everything.
            writeln!(out, "{:<4}  {:<11}  {}", finding.grade.name(), finding.what, finding.text).ok();
            if let Some(cure) = &finding.cure {
                writeln!(out, "{:19}-> {cure}", "").ok();
            }
            out
        })
    };
    // Nobody may be listening any more; that is not our failure.
    std::io::stdout().write_all(text.as_bytes()).ok();
}
