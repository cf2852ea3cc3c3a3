//! control: `driftless status`: every watch of a state folder, for people or as JSON.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use super::ask_all;
use crate::exit::Exit;
use crate::state::StateDir;

/// Prints what every watch tells; exit code 10 when there is none.
#[must_use]
pub fn run(json: bool, state_dir: Option<&Path>) -> Exit {
    let (text, exit) = match StateDir::open(state_dir) {
        Err(error) => (Err(error.to_string()), Exit::File),
        Ok(state) => match ask_all(state.path(), "status") {
            Err(error) => (Err(format!("{}: {error}", state.path().display())), Exit::File),
            Ok(watches) if watches.is_empty() => {
                let text = format!("no watch is running with the state folder {}", state.path().display());
                (Err(text), Exit::Socket)
            }
            Ok(watches) if json => (Ok(format!("{}\n", Value::Array(watches))), Exit::Ok),
            Ok(watches) => (Ok(watches.iter().map(shown).collect::<Vec<_>>().join("\n")), Exit::Ok),
        },
    };
    // Nobody may be listening any more; that is not our failure.
    match text {
        Ok(text) => std::io::stdout().write_all(text.as_bytes()).ok(),
        Err(why) => writeln!(std::io::stderr(), "driftless: {why}").ok(),
    };
    exit
}

/// Paths of one kind that are shown of each watch; `--json` has all of them.
const SHOWN: usize = 10;

/// One watch. Names in it were escaped by the watch.
fn shown(watch: &Value) -> String {
    let text = |name: &str| watch[name].as_str().unwrap_or("?").to_owned();
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let job = watch["job"].as_str().map_or(String::new(), |job| format!("job {job}: "));
    let mut out = format!("{job}{} -> {}\n", text("source"), text("destination"));
    let mut line = |text: String| {
        // A string takes everything.
        writeln!(out, "  {text}").ok();
    };
    if let Some(why) = watch["trouble"].as_str() {
        line(format!("cannot go on, and tries again: {why}"));
    }
    schedule(&watch["schedule"]).into_iter().for_each(&mut line);
    match watch["connected"].as_str() {
        Some(address) => line(format!("connected to {address}")),
        // Between its runs a scheduled job has nobody to be connected to.
        None if rests(watch) => {}
        None => line(format!("not connected for {:.0} s", number(&watch["disconnected_seconds"]))),
    }
    if let Some(gone) = watch["source_gone_seconds"].as_f64() {
        line(format!("the source has not been there for {gone:.0} s"));
    }
    if let Some(since) = watch["uncompared_seconds"].as_f64() {
        line(format!("everything is to be compared, for {since:.0} s"));
    }
    if watch["engine"] != "" {
        let directories = number(&watch["directories"]["watched"]);
        line(format!("engine {}", text("engine")));
        line(format!("{directories} directories watched"));
    }
    if let Some(last) = watch["overflows"]["last_seconds_ago"].as_f64() {
        line(format!("events were lost {} times, last {last:.0} s ago", watch["overflows"]["count"]));
    }
    for polled in listed(watch, "polled") {
        let (path, why) = (polled["path"].as_str().unwrap_or("?"), polled["why"].as_str().unwrap_or("?"));
        line(format!("polled: {path}: {why}"));
    }
    let bytes = watch["bytes_queued"].as_u64().map_or(String::new(), |bytes| {
        format!(
            ", {} {bytes} bytes",
            if watch["bytes_queued_whole"] == true { "together" } else { "at least" }
        )
    });
    line(format!("pending {}, in flight {}{bytes}", watch["pending"], watch["in_flight"]));
    if let Some(age) = watch["oldest_change_seconds"].as_f64() {
        line(format!("oldest change that is not durable: {age:.1} s"));
    }
    let last = &watch["last_reconcile"];
    if last.is_object() {
        let well = if last["well"] == true { "" } else { ", some paths failed" };
        let (ago, took) = (number(&last["seconds_ago"]), number(&last["took_seconds"]));
        line(format!("compared {ago:.0} s ago, in {took:.2} s{well}"));
    }
    for (what, held) in [("deletions", &watch["held"]), ("rewrites", &watch["held_rewrites"])] {
        if let Some(reason) = held["reason"].as_str() {
            let plan =
                held["plan"].as_str().map_or(String::new(), |id| format!(" (driftless plan show {id})"));
            line(format!("{what} are held: {reason}{plan}"));
        }
    }
    named(watch).into_iter().for_each(&mut line);
    let problem = &watch["last_problem"];
    if let Some(text) = problem["text"].as_str() {
        line(format!("last problem, {:.0} s ago: {text}", number(&problem["seconds_ago"])));
    }
    out
}

/// The first of what a watch lists under this name.
fn listed<'a>(watch: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    watch[name].as_array().into_iter().flatten().take(SHOWN)
}

/// Paths with which something is the matter.
fn named(watch: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for apart in listed(watch, "left_alone") {
        let (path, why) = (apart["path"].as_str().unwrap_or("?"), apart["why"].as_str().unwrap_or("?"));
        lines.push(format!("left alone: {path}: {why}"));
    }
    for path in listed(watch, "unstable") {
        lines.push(format!("unstable: {}: it changed while it was read", path.as_str().unwrap_or("?")));
    }
    for error in listed(watch, "errors") {
        let ago = error["seconds_ago"].as_f64().unwrap_or(0.0);
        let text = error["text"].as_str().unwrap_or("?");
        lines.push(format!("fails, {} times in a row, last {ago:.0} s ago: {text}", error["count"]));
    }
    lines
}

/// Whether a job that only runs by its schedule has nobody to be connected to at present.
pub(super) fn rests(watch: &Value) -> bool {
    watch["schedule"]["mode"] == "scheduled" && watch["schedule"]["state"] != "running"
}

/// When a job runs by its schedule, and how it went the last time.
fn schedule(schedule: &Value) -> Vec<String> {
    let Some(cron) = schedule["cron"].as_str() else { return Vec::new() };
    let state = schedule["state"].as_str().unwrap_or("?");
    let next = schedule["next"].as_str().unwrap_or("never");
    let mut lines = vec![format!("schedule {cron}: {state}, next {next}")];
    let last = &schedule["last"];
    if last.is_object() {
        let number = |name: &str| last[name].as_f64().unwrap_or(0.0);
        let how = match (last["exit"].as_u64(), last["why"].as_str()) {
            (Some(0), None) => "well".to_owned(),
            (_, why) => format!("{} (code {})", why.unwrap_or("?"), last["exit"]),
        };
        lines.push(format!(
            "last run {:.0} s ago, in {:.2} s: {how}",
            number("seconds_ago"),
            number("took_seconds")
        ));
    }
    lines
}
