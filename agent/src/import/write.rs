//! import: a draft as agent.toml, with each remark above what it is about.
//!
//! Pure. Touches: nothing.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::Kind;
use super::draft::{Draft, Form, Job, Remark, Rule};
use super::places::Server;
use crate::job::NAME_LEN;

/// What goes into the file beside the jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// `--server`: its port becomes the default one.
    pub(super) server: Option<Server>,
    /// `--fingerprint`, as typed.
    pub(super) fingerprints: Vec<String>,
}

/// Writes the whole file. `file` is the name of what was read.
pub(super) fn write(draft: &Draft, kind: Kind, file: &str, shared: &Shared) -> String {
    let mut out = String::new();
    comment(
        &mut out,
        &format!(
            "Written by `driftless import` from {file} ({}). Run it: driftless run --config THIS-FILE",
            kind.name()
        ),
    );
    comment(
        &mut out,
        "Every destination is a module of a driftlessd on its host; driftlessd reads rsyncd.conf's modules.",
    );
    if draft.is_open() {
        out.push_str("#\n");
        comment(
            &mut out,
            "NOT COMPLETE: a job with a line `to-complete` is refused until that line is answered and removed.",
        );
    }
    remarks(&mut out, &draft.remarks);
    out.push_str("\n[defaults]\n");
    match shared.fingerprints.as_slice() {
        [] => {
            comment(
                &mut out,
                "Whom to believe: the line that `driftlessd fingerprint` prints. Without it, and without ca, the",
            );
            comment(&mut out, "system's certificate authorities decide.");
            comment(&mut out, "fingerprint = [\"sha256:...\"]");
        }
        prints => key(&mut out, "fingerprint", &list(prints.iter().map(String::as_str))),
    }
    if let Some(port) = shared.server.as_ref().and_then(|server| server.port) {
        key(&mut out, "port", &port.to_string());
    }
    let mut names = HashSet::new();
    for job in &draft.jobs {
        write_job(&mut out, job, &name(&job.source, &mut names));
    }
    out
}

fn write_job(out: &mut String, job: &Job, name: &str) {
    out.push_str("\n[[job]]\n");
    key(out, "name", &string(name));
    remarks(out, &job.remarks);
    // One key of a name is all that TOML takes, so the others are said above it.
    if let Some((first, others)) = job.open.split_first() {
        for other in others {
            comment(out, &format!("TO COMPLETE: {}{}", place(other.line), other.text));
        }
        key(out, "to-complete", &string(&format!("{}{}", place(first.line), first.text)));
    }
    key(out, "source", &string(&job.source));
    match job.targets.as_slice() {
        [only] => key(out, "destination", &string(&only.operand)),
        several => key(out, "destinations", &list(several.iter().map(|target| target.operand.as_str()))),
    }
    key(out, "options", &string(&job.options));
    key(out, "delete", if job.delete { "true" } else { "false" });
    if job.compress {
        key(out, "compress", "true");
    }
    let texts = [
        ("bwlimit", &job.bwlimit),
        ("brake", &job.brake),
        ("password-file", &job.password_file),
        ("schedule", &job.schedule),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            key(out, name, &string(value));
        }
    }
    rules(out, &job.rules);
}

fn rules(out: &mut String, rules: &[Rule]) {
    if Rule::form(rules) == Some(Form::Ordered) {
        let ordered: Vec<String> = rules.iter().map(Rule::ordered).collect();
        return key(out, "rules", &list(ordered.iter().map(String::as_str)));
    }
    for name in ["include", "include-from", "exclude", "exclude-from"] {
        let mut of_kind = rules.iter().filter(|rule| rule.key() == name).map(Rule::text).peekable();
        if of_kind.peek().is_some() {
            key(out, name, &list(of_kind));
        }
    }
}

/// A job's name: the last part of its source, made unique.
fn name(source: &str, taken: &mut HashSet<String>) -> String {
    let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '-' };
    let base: String = last.chars().map(plain).take(NAME_LEN - "-9999".len()).collect();
    let base = if base.trim_matches(['-', '.']).is_empty() { "root".to_owned() } else { base };
    let mut name = base.clone();
    let mut count = 1;
    while !taken.insert(name.clone()) {
        count += 1;
        name = format!("{base}-{count}");
    }
    name
}

fn remarks(out: &mut String, remarks: &[Remark]) {
    for remark in remarks {
        comment(out, &format!("{}{}", place(remark.line), remark.text));
    }
}

fn place(line: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

fn comment(out: &mut String, text: &str) {
    // A comment ends at its line, and holds no control characters.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Writing to memory does not fail.
    let _infallible = writeln!(out, "# {text}");
}

fn key(out: &mut String, name: &str, value: &str) {
    let _infallible = writeln!(out, "{name} = {value}");
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(string).collect::<Vec<_>>().join(", "))
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
