//! control: `driftless status --check`: one line and an exit code for a monitor, as Nagios plugins have them.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::status::rests;
use super::{PATIENCE, ask_each};
use crate::state::StateDir;

/// What is not durable after this time is a failure, unless the operator says otherwise.
pub const MAX_AGE: Duration = Duration::from_secs(600);

/// Lost events are told for so long; they have been made good by a comparison, but point at a limit that is too low.
const OVERFLOW_TOLD: f64 = 3600.0;

/// How it is, by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

/// Prints the line. Returns the exit code.
#[must_use]
pub fn run(max_age: Duration, state_dir: Option<&Path>) -> u8 {
    let answers = StateDir::open(state_dir).map_err(|error| error.to_string()).and_then(|state| {
        let asked = ask_each(state.path(), "status", Some(PATIENCE * 2));
        asked.map_err(|error| format!("{}: {error}", state.path().display()))
    });
    let (level, text) = match answers {
        Ok(answers) => judge(&answers, max_age.as_secs_f64()),
        Err(why) => (Level::Unknown, why),
    };
    let word = match level {
        Level::Ok => "OK",
        Level::Warning => "WARNING",
        Level::Critical => "CRITICAL",
        Level::Unknown => "UNKNOWN",
    };
    // Nobody may be listening any more; that is not our failure.
    writeln!(io::stdout(), "DRIFTLESS {word}: {text}").ok();
    level as u8
}

/// What is wrong, the worst first, and the numbers for graphs behind a bar.
fn judge(answers: &[io::Result<Value>], max_age: f64) -> (Level, String) {
    let mut found: Vec<(Level, String)> = Vec::new();
    let mut watches = Vec::new();
    for answer in answers {
        match answer {
            Ok(watch) if watch["source"].is_string() => watches.push(watch),
            Ok(_) => found.push((Level::Unknown, "a watch gives no answer that is understood".into())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                found.push((Level::Critical, "a watch was killed and not started again".into()));
            }
            // It ended well just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.push((Level::Critical, format!("a watch does not answer: {error}"))),
        }
    }
    if watches.is_empty() && found.is_empty() {
        found.push((Level::Critical, "no watch is running".into()));
    }
    for watch in &watches {
        let name = watch["source"].as_str().unwrap_or("?");
        found.extend(
            wrong(watch, max_age).into_iter().map(|(level, text)| (level, format!("{name}: {text}"))),
        );
    }
    found.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    let level = found.first().map_or(Level::Ok, |(level, _)| *level);
    let numbers = numbers(&watches, max_age);
    let wrong: Vec<String> = found.into_iter().map(|(_, text)| text.replace('|', "!")).collect();
    let text = if wrong.is_empty() {
        let watches = watches.len();
        format!("{watches} watch{} up to date", if watches == 1 { " is" } else { "es are" })
    } else {
        wrong.join("; ")
    };
    (level, format!("{text} | {numbers}"))
}

/// What is wrong with one watch.
fn wrong(watch: &Value, max_age: f64) -> Vec<(Level, String)> {
    let mut found = Vec::new();
    let mut aged = |member: &str, what: &str| {
        let Some(age) = watch[member].as_f64() else { return };
        let level = match age {
            age if age > max_age => Level::Critical,
            age if age > max_age / 2.0 => Level::Warning,
            _ => return,
        };
        found.push((level, format!("{what} for {age:.0} s")));
    };
    // Between its runs a scheduled job has no source open and no stream.
    if rests(watch) {
        found.extend(wrong_run(&watch["schedule"]));
        return found;
    }
    aged("source_gone_seconds", "the source is not there");
    aged("disconnected_seconds", "not connected");
    aged("oldest_change_seconds", "a change has not been durable");
    aged("uncompared_seconds", "not compared");
    if let Some(reason) = watch["held"]["reason"].as_str() {
        let plan = watch["held"]["plan"].as_str().map_or(String::new(), |id| format!(" (plan {id})"));
        found.push((Level::Warning, format!("deletions are held: {reason}{plan}")));
    }
    if let Some(failing @ 1..) = watch["failing"].as_u64() {
        let first = watch["errors"][0]["text"].as_str().unwrap_or("?");
        found.push((Level::Warning, format!("{failing} paths fail, {first}")));
    }
    match watch["overflows"]["last_seconds_ago"].as_f64() {
        Some(ago) if ago < OVERFLOW_TOLD => {
            let text =
                format!("events were lost {ago:.0} s ago, {} times in all", watch["overflows"]["count"]);
            found.push((Level::Warning, text));
        }
        _ => {}
    }
    found
}

/// What was wrong with the last run of a job that only runs by its schedule.
fn wrong_run(schedule: &Value) -> Option<(Level, String)> {
    let exit = schedule["last"]["exit"].as_u64().filter(|exit| *exit != 0)?;
    let why = schedule["last"]["why"].as_str().unwrap_or("?");
    // A decision is waited for, or a path is: the rest was brought across.
    let level = if [23, 24, 25].contains(&exit) { Level::Warning } else { Level::Critical };
    Some((level, format!("the last scheduled run failed: {why} (code {exit})")))
}

/// As `LABEL=VALUE[UNIT];WARN;CRIT;MIN`.
fn numbers(watches: &[&Value], max_age: f64) -> String {
    let most = |member: &str| watches.iter().filter_map(|watch| watch[member].as_f64()).fold(0.0, f64::max);
    let sum = |member: &str| watches.iter().filter_map(|watch| watch[member].as_u64()).sum::<u64>();
    let warn = max_age / 2.0;
    let aged = |label: &str, member: &str| format!("{label}={:.1}s;{warn};{max_age};0", most(member));
    [
        aged("oldest_change", "oldest_change_seconds"),
        aged("disconnected", "disconnected_seconds"),
        format!("pending={};;;0", sum("pending") + sum("in_flight")),
        format!("bytes_queued={}B;;;0", sum("bytes_queued")),
        format!("failing={};;;0", sum("failing")),
    ]
    .join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(watch: Value) -> (Level, String) {
        let mut whole = json!({ "source": "/s", "pending": 0, "in_flight": 0, "failing": 0 });
        let more = watch.as_object().expect("an object").clone();
        whole.as_object_mut().expect("an object").extend(more);
        judge(&[Ok(whole)], 100.0)
    }

    #[test]
    fn ages_are_judged_by_half_of_the_limit_and_by_the_limit() {
        for member in
            ["oldest_change_seconds", "disconnected_seconds", "uncompared_seconds", "source_gone_seconds"]
        {
            for (age, level) in [(1.0, Level::Ok), (51.0, Level::Warning), (101.0, Level::Critical)] {
                assert_eq!(of(json!({ member: age })).0, level, "{member} {age}");
            }
        }
    }

    #[test]
    fn a_job_that_waits_for_its_schedule_is_judged_by_its_last_run() {
        let job = |last: Value| {
            let schedule = json!({ "mode": "scheduled", "state": "waiting", "last": last });
            of(json!({ "schedule": schedule, "connected": null, "disconnected_seconds": 9000.0 })).0
        };
        assert_eq!(job(Value::Null), Level::Ok);
        assert_eq!(job(json!({ "exit": 0 })), Level::Ok);
        assert_eq!(job(json!({ "exit": 25, "why": "held" })), Level::Warning);
        assert_eq!(job(json!({ "exit": 124, "why": "before took longer" })), Level::Critical);
    }

    #[test]
    fn what_waits_for_somebody_is_a_warning() {
        let held = of(json!({ "held": { "reason": "a | b", "plan": "01234567" } }));
        assert_eq!(held.0, Level::Warning);
        // The bar begins the numbers.
        assert_eq!(held.1.matches('|').count(), 1, "{}", held.1);
        assert!(
            held.1
                .starts_with("/s: deletions are held: a ! b (plan 01234567) | oldest_change=0.0s;50;100;0 ")
        );
        assert_eq!(of(json!({ "failing": 2, "errors": [{ "text": "f: no" }] })).0, Level::Warning);
        assert_eq!(of(json!({ "overflows": { "count": 1, "last_seconds_ago": 30.0 } })).0, Level::Warning);
        assert_eq!(of(json!({ "overflows": { "count": 1, "last_seconds_ago": 4000.0 } })).0, Level::Ok);
    }

    #[test]
    fn a_watch_that_is_not_there_is_a_failure() {
        let refused = || Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(judge(&[], 1.0).0, Level::Critical);
        assert_eq!(judge(&[refused()], 1.0).0, Level::Critical);
        let well = json!({ "source": "/s" });
        assert_eq!(judge(&[Ok(well.clone()), refused()], 1.0).0, Level::Critical);
        assert_eq!(judge(&[Ok(well.clone()), Err(io::ErrorKind::NotFound.into())], 1.0).0, Level::Ok);
        assert_eq!(judge(&[Ok(well), Err(io::ErrorKind::WouldBlock.into())], 1.0).0, Level::Critical);
        assert_eq!(judge(&[Ok(json!({ "error": "?" }))], 1.0).0, Level::Unknown);
    }
}
