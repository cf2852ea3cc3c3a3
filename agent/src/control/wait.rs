//! control: `driftless wait`: returns once everything that was written before is durable on every destination.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::target::Target;
use super::{PATIENCE, ask_each};
use crate::exit::Exit;
use crate::state::StateDir;

/// Waits, and says on standard error what is not durable and why; with `json` the answers go to standard output.
#[must_use]
pub fn run(path: Option<&Path>, limit: Option<Duration>, json: bool, state_dir: Option<&Path>) -> Exit {
    // Nobody may be listening any more; that is not our failure.
    let say = |text: &str| drop(writeln!(io::stderr(), "driftless: {text}"));
    let target = match path.map_or(Ok(Target::All), Target::of) {
        Ok(target) => target,
        Err(error) => {
            say(&error.to_string());
            return Exit::File;
        }
    };
    let millis = limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1));
    let request = format!("wait {millis} {}", target.words());
    let answers = StateDir::open(state_dir).map_err(|error| error.to_string()).and_then(|state| {
        // The watch looks at the time itself; this is for one that has stopped.
        let asked = ask_each(state.path(), &request, limit.map(|limit| limit + PATIENCE));
        asked.map_err(|error| format!("{}: {error}", state.path().display()))
    });
    let answers = match answers {
        Ok(answers) => answers,
        Err(why) => {
            say(&why);
            return Exit::File;
        }
    };
    let mut worst = None;
    let mut told = Vec::new();
    for answer in answers {
        let Some((exit, text)) = judged(&answer) else { continue };
        text.iter().for_each(|text| say(text));
        told.extend(answer.ok());
        // Of two that failed the graver one is told: what is not known at all, then what is known not to be durable.
        const GRAVE: [Exit; 6] =
            [Exit::Ok, Exit::Selection, Exit::MaxDelete, Exit::Partial, Exit::Stream, Exit::Timeout];
        let rank = |exit: Exit| GRAVE.iter().position(|grave| *grave == exit);
        // A watch that the path does not belong to says nothing against another one.
        let counts = |exit: Exit| if exit == Exit::Selection { None } else { rank(exit) };
        worst = Some(match worst {
            Some(before) if counts(before) >= counts(exit) => before,
            _ => exit,
        });
    }
    if json {
        writeln!(io::stdout(), "{}", Value::Array(told)).ok();
    }
    match worst {
        None => {
            say("no watch is running");
            Exit::Socket
        }
        Some(Exit::Selection) => {
            say(&format!("{}: no watch keeps it", path.unwrap_or(Path::new("")).display()));
            Exit::Selection
        }
        Some(exit) => exit,
    }
}

/// What an answer means, and what is to be said of it; `None` where there was no watch.
fn judged(answer: &io::Result<Value>) -> Option<(Exit, Vec<String>)> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            return match error.kind() {
                // Left behind by one that was killed.
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => None,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    Some((Exit::Timeout, vec!["a watch does not answer".into()]))
                }
                _ => Some((Exit::Stream, vec!["a watch ended before it was done".into()])),
            };
        }
    };
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let name = format!("{} -> {}", text(&answer["source"]), text(&answer["destination"]));
    let paths = |member: &str| {
        let listed = answer[member].as_array().cloned().unwrap_or_default();
        listed.into_iter().map(|one| {
            let (path, why) = (text(&one["path"]), text(&one["why"]));
            // Most problems begin with their path.
            if why.starts_with(&path) { format!("{name}: {why}") } else { format!("{name}: {path}: {why}") }
        })
    };
    let held = || {
        let plan = answer["held"]["plan"].as_str();
        let plan = plan.map_or(String::new(), |id| format!(" (driftless plan show {id})"));
        format!("{name}: deletions are held: {}{plan}", text(&answer["held"]["reason"]))
    };
    Some(match answer["outcome"].as_str() {
        Some("durable") => (Exit::Ok, Vec::new()),
        Some("held") => (Exit::MaxDelete, vec![held()]),
        Some("failing") => (Exit::Partial, paths("failing").collect()),
        Some("elsewhere") => (Exit::Selection, Vec::new()),
        Some("excluded") => {
            let why = format!("{name}: {}: {}", text(&answer["path"]), text(&answer["why"]));
            (Exit::Selection, vec![why])
        }
        Some("timeout") => {
            let why = format!("{name}: not in time: {}, {} pending", text(&answer["why"]), answer["pending"]);
            (Exit::Timeout, std::iter::once(why).chain(paths("failing")).collect())
        }
        // An older watch, or one that is asked by too many.
        _ => (Exit::Stream, vec![format!("a watch cannot be waited for: {}", text(&answer["error"]))]),
    })
}
