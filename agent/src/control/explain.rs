//! control: `driftless explain PATH`: who keeps a path, by which rule, and how far its copy is.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use super::ask_all;
use super::target::Target;
use crate::exit::Exit;
use crate::state::StateDir;

/// Prints what every watch that keeps the path knows of it.
#[must_use]
pub fn run(path: &Path, json: bool, state_dir: Option<&Path>) -> Exit {
    let asked = Target::of(path).map_err(|error| error.to_string()).and_then(|target| {
        let state = StateDir::open(state_dir).map_err(|error| error.to_string())?;
        let request = format!("explain {}", target.words());
        ask_all(state.path(), &request).map_err(|error| format!("{}: {error}", state.path().display()))
    });
    // Nobody may be listening any more; that is not our failure.
    let say = |text: &str| drop(writeln!(std::io::stderr(), "driftless: {text}"));
    let answers = match asked {
        Ok(answers) => answers,
        Err(why) => {
            say(&why);
            return Exit::File;
        }
    };
    if json {
        writeln!(std::io::stdout(), "{}", Value::Array(answers.clone())).ok();
    }
    if answers.is_empty() {
        say("no watch is running");
        return Exit::Socket;
    }
    let mut exit = Exit::Selection;
    for answer in &answers {
        let is_kept = answer["outcome"] == "kept";
        if is_kept {
            let well = matches!(standing(answer).0, Standing::Durable | Standing::Pending);
            exit = if well && exit != Exit::Partial { Exit::Ok } else { Exit::Partial };
        }
        if !json && answer["outcome"] != "elsewhere" {
            std::io::stdout().write_all(shown(answer).as_bytes()).ok();
        }
    }
    if exit == Exit::Selection && !json {
        say(&format!("{}: no watch keeps it", path.display()));
    }
    exit
}

/// How far the copy of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Durable,
    Failing,
    Held,
    Pending,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

/// One watch's answer. Names in it were escaped by the watch.
fn shown(answer: &Value) -> String {
    let mut out = format!(
        "{}: {} -> {}\n",
        text(&answer["path"]),
        text(&answer["source"]),
        text(&answer["destination"])
    );
    let mut line = |text: String| {
        // A string takes everything.
        writeln!(out, "  {text}").ok();
    };
    if answer["outcome"] == "excluded" {
        line(format!("not kept: {}", text(&answer["why"])));
        return out;
    }
    line(match answer["stands"].as_str() {
        Some(kind) => format!("stands there: {kind}"),
        None => "stands there: nothing".into(),
    });
    line(match answer["rule"].as_str() {
        Some(rule) => format!("included by the rule `{rule}`"),
        None => "no rule speaks of it: included".into(),
    });
    let polled = &answer["polled"];
    line(match (polled["path"].as_str(), answer["engine_note"].as_str()) {
        (Some(dir), _) => format!("seen by poll, as everything beneath {dir}: {}", text(&polled["why"])),
        (None, Some(note)) => format!("seen by {}: {note}", text(&answer["engine"])),
        (None, None) => format!("seen by {}", text(&answer["engine"])),
    });
    let acked = &answer["acked"];
    if acked.is_object() {
        let at = acked["at"].as_str().map_or(String::new(), |at| format!(" {at}"));
        let since = match acked["unchanged_since"].as_bool() {
            Some(true) => ", unchanged since",
            Some(false) => ", changed since",
            None => "",
        };
        line(format!("last ack{at}: {} bytes, blake3 {}{since}", acked["size"], text(&acked["blake3"])));
    } else if answer["copy_has_it"] == true {
        line("the copy has it, by comparison or as a directory; no content was acknowledged".into());
    }
    line(format!("state: {}", standing(answer).1));
    out
}

fn standing(answer: &Value) -> (Standing, String) {
    let plan = |value: &Value| {
        value["plan"].as_str().map_or(String::new(), |id| format!(" (driftless plan show {id})"))
    };
    let (apart, error, held) = (&answer["left_alone"], &answer["error"], &answer["held"]);
    let gone = answer["stands"].is_null();
    if apart.is_object() {
        let why = format!("left alone with {}: {}", text(&apart["path"]), text(&apart["why"]));
        return (Standing::Held, why);
    }
    if error.is_object() {
        let ago = error["seconds_ago"].as_f64().unwrap_or_default();
        let why = format!(
            "fails, {} times in a row, last {ago:.0} s ago: {}",
            error["count"],
            text(&error["text"])
        );
        return (Standing::Failing, why);
    }
    let offline = if answer["connected"] == true { "" } else { "; not connected" };
    if answer["in_flight"] == true {
        return (Standing::Pending, format!("on its way to the server{offline}"));
    }
    if let Some(since) = answer["pending_seconds"].as_f64() {
        return (Standing::Pending, format!("pending for {since:.1} s{offline}"));
    }
    if gone && answer["copy_has_it"] == true {
        if held.is_object() {
            let why = format!("its deletion is held: {}{}", text(&held["reason"]), plan(held));
            return (Standing::Held, why);
        }
        return (Standing::Durable, "the copy keeps it; without --delete nothing is removed there".into());
    }
    if answer["compared"] != true {
        return (Standing::Pending, format!("everything is to be compared first{offline}"));
    }
    match gone {
        true => (Standing::Durable, format!("nothing here, and nothing known in the copy{offline}")),
        false => (Standing::Durable, format!("durable{offline}")),
    }
}
