//! import: the shell script that ties inotifywait to rsync: every rsync that sends somewhere becomes a job, and what the
//! inotifywait of its loop did not see is said.
//!
//! Pure. Touches: nothing.

use std::ffi::OsString;

use super::Refused;
use super::draft::{Draft, Job, Word};
use super::places::Places;
use super::rsync::{self, Destination, Spoken};
use super::shell::{self, Command, Script};
use crate::events::{self, Asked};

/// Commands that change nothing that a job would have to.
const HARMLESS: &[&str] = &[
    ":", "[", "[[", "awk", "basename", "break", "case", "cat", "cd", "chmod", "continue", "cut", "date",
    "dirname", "echo", "exit", "expr", "false", "grep", "head", "let", "logger", "pushd", "popd", "printf",
    "read", "return", "sed", "set", "shift", "shopt", "sleep", "tail", "tee", "test", "touch", "tr", "trap",
    "true", "ulimit", "umask", "unset", "wait", "which",
];

/// Commands that run the one behind them.
const WRAPPERS: &[&str] = &[
    "chronic", "chrt", "command", "env", "exec", "flock", "ionice", "nice", "nohup", "setsid", "sshpass",
    "stdbuf", "sudo", "taskset", "time", "timeout",
];

/// Reads a whole script.
pub(super) fn read(text: &str, places: &Places) -> Result<Draft, Refused> {
    let script = shell::read(text, |words| program(words, "inotifywait").is_some())?;
    let mut draft = Draft::default();
    let waits: Vec<Wait> =
        script.commands.iter().filter_map(|command| Wait::of(command, &mut draft)).collect();
    let looked_at = text.contains("$?") || text.contains("PIPESTATUS");
    for command in &script.commands {
        if let Some(words) = program(&command.words, "rsync") {
            Loop { script: &script, waits: &waits, looked_at, places }.rsync(command, words, &mut draft);
        } else {
            other(command, &script, &waits, &mut draft);
        }
    }
    if draft.jobs.is_empty() {
        return Err(Refused::malformed(0, "script: no rsync that sends somewhere was found"));
    }
    if waits.is_empty() {
        draft.remark(0, "there is no inotifywait in the script; the jobs watch by themselves");
    }
    for (name, line) in &script.set {
        if name == "RSYNC_PASSWORD" {
            draft.remark(*line, PASSWORD);
        }
    }
    Ok(draft)
}

const PASSWORD: &str = "a password stands in the script, or on a command line, for everybody who can read it; it is not \
                        written here: put it into a file of mode 600 and name that as password-file";

/// The words behind the program's name, where the command runs that program, by itself or through a wrapper.
fn program<'w>(words: &'w [Word], name: &str) -> Option<&'w [Word]> {
    let is = |word: &Word, name: &str| word.text.rsplit('/').next() == Some(name);
    // `$inotifywait` of a script that does not say where it is.
    let is = |word: &Word| {
        is(word, name)
            || word.unknown.is_some() && word.text.trim_start_matches('$').eq_ignore_ascii_case(name)
    };
    let at = words.iter().position(is)?;
    let wrapped = words
        .first()
        .is_some_and(|word| WRAPPERS.iter().any(|wrapper| word.text.rsplit('/').next() == Some(wrapper)));
    (at == 0 || wrapped).then(|| &words[at + 1..])
}

/// An inotifywait.
struct Wait {
    round: Option<usize>,
    line: usize,
    /// What it watches, as far as it is known.
    watched: Vec<Word>,
    asked: Asked,
}

impl Wait {
    fn of(command: &Command, draft: &mut Draft) -> Option<Self> {
        let words = program(&command.words, "inotifywait")?;
        let args = words.iter().map(|word| OsString::from(&word.text)).collect();
        let asked = match events::asked(args) {
            Ok(asked) => asked,
            Err(why) => {
                let why = why.lines().next().unwrap_or_default().to_owned();
                draft.remark(command.line, format!("inotifywait: {why}"));
                return None;
            }
        };
        let named = |text: &String| words.iter().find(|word| word.text == *text).cloned();
        let watched = asked.watched.iter().filter_map(named).collect();
        let watched = absolute(watched, command.directory.as_ref());
        Some(Self { round: command.round, line: command.line, watched, asked })
    }

    /// What it did not see.
    fn habits(&self, job: &mut Job) {
        if !self.asked.missing.is_empty() {
            job.remark(
                self.line,
                format!("inotifywait did not wait for {}: such changes stayed here until the next one; now all are seen", self.asked.missing.join(", ")),
            );
        }
        if !self.asked.recursive {
            job.remark(
                self.line,
                "inotifywait without -r saw the top directory only; now the whole tree is watched",
            );
        }
        if !self.asked.monitor {
            job.remark(self.line, "inotifywait without -m: what changed while rsync ran was never noticed");
        }
        if self.asked.filtered {
            job.remark(
                self.line,
                "inotifywait's --exclude and --include only spared events: rsync sent those files all the same, and so does \
                 the job; what must not be sent goes into exclude",
            );
        }
    }
}

/// Paths as they are from the directory that a script went to.
fn absolute(words: Vec<Word>, directory: Option<&Word>) -> Vec<Word> {
    let join = |word: Word| match directory {
        Some(directory)
            if word.unknown.is_none()
                && directory.unknown.is_none()
                && !word.text.starts_with(['/', '~']) =>
        {
            let rest = match word.text.strip_prefix("./") {
                Some(rest) => rest,
                None if word.text == "." => "",
                None => &word.text,
            };
            Word { text: format!("{}/{rest}", directory.text.trim_end_matches('/')), ..word }
        }
        _ => word,
    };
    words.into_iter().map(join).collect()
}

/// What an rsync is seen in.
struct Loop<'s> {
    script: &'s Script,
    waits: &'s [Wait],
    /// Whether the script looks at exit codes at all.
    looked_at: bool,
    places: &'s Places,
}

impl Loop<'_> {
    fn rsync(&self, command: &Command, words: &[Word], draft: &mut Draft) {
        let line = command.line;
        let spoken = rsync::read(words);
        let Some((dest, sources)) = spoken.operands.split_last().filter(|(_, sources)| !sources.is_empty())
        else {
            draft.remark(line, "this rsync has no source and destination, and became no job");
            return;
        };
        if sources.iter().any(|source| rsync::destination(&source.text) != Destination::Local) {
            draft.remark(line, "this rsync pulls, and became no job; `driftless pull` does that");
            return;
        }
        let wait = self.wait(command);
        for source in absolute(sources.to_vec(), command.directory.as_ref()) {
            let mut job = spoken.job.clone();
            let extra = self.source(&mut job, &spoken, &source, wait);
            if !spoken.recursive() {
                job.remark(line, "without -r rsync skipped every directory; a job keeps the whole tree");
            }
            self.habits(&mut job, command);
            if let Some(wait) = wait {
                wait.habits(&mut job);
            }
            let extra = extra.or_else(|| several(&mut job, sources.len()));
            let mut dest = dest.clone();
            if let Some(extra) = extra {
                dest.text = format!("{}/{extra}", dest.text.trim_end_matches('/'));
            }
            self.places.add(&mut job, &dest);
            draft.add(job);
        }
    }

    /// The inotifywait that an rsync waits for: that of its loop, else the only one, else the last one before it.
    fn wait(&self, command: &Command) -> Option<&Wait> {
        let of_round = self.waits.iter().find(|wait| wait.round.is_some() && wait.round == command.round);
        of_round.or(if self.waits.len() == 1 { self.waits.first() } else { None })
    }

    /// Sets the source. With `-R`, gives back what it adds to the destination.
    fn source(&self, job: &mut Job, spoken: &Spoken, source: &Word, wait: Option<&Wait>) -> Option<String> {
        let line = source.line;
        let watched = wait.and_then(|wait| wait.watched.first()).filter(|watched| watched.unknown.is_none());
        if let Some(unknown) = &source.unknown {
            // What read(1) got out of an event: a path beneath what is watched.
            if let (true, Some(watched)) = (self.script.events.contains(unknown), watched) {
                job.source = format!("{}/", watched.text.trim_end_matches('/'));
                job.remark(
                    line,
                    format!(
                        "{unknown} was sent by itself, into the top of the destination unless -R kept its path; now the \
                         tree beneath {} is kept, in its shape",
                        job.source
                    ),
                );
            } else {
                job.source.clone_from(&source.text);
                job.open(
                    line,
                    format!("the source `{}`: the value of {unknown} is not in the file", source.text),
                );
            }
            return None;
        }
        let mut text = source.text.clone();
        if let Some(dir) = text.strip_suffix("/*") {
            text = format!("{dir}/");
            job.remark(
                line,
                "`*` left out names that begin with a dot, and never deleted at the top; now all names count",
            );
        }
        if text.contains(['*', '?', '[']) {
            job.open(
                line,
                format!(
                    "the source `{text}` is a pattern: name the directory, and what to leave out in exclude"
                ),
            );
        }
        job.source.clone_from(&text);
        if !text.starts_with('/') {
            job.open(line, format!("the source `{text}` is relative to wherever the script was started"));
            return None;
        }
        if let Some(watched) = watched {
            let (watched, sent) = (watched.text.trim_end_matches('/'), text.trim_end_matches('/'));
            if watched != sent && watched.starts_with('/') {
                job.remark(
                    line,
                    format!("{watched} was watched and {sent} was sent; the job watches what it sends"),
                );
            }
        }
        if !spoken.relative {
            return None;
        }
        let (top, kept) = text.split_once("/./").unwrap_or(("", &text));
        // `./` of a directory that the script went to keeps nothing.
        if source.text != text
            || top.is_empty() && spoken.operands.iter().any(|operand| operand.text.starts_with('.'))
        {
            return None;
        }
        let kept = kept.trim_matches('/').to_owned();
        job.source = format!("{}/", text.trim_end_matches('/'));
        job.remark(line, "-R put the source's path into the destination; it is written there now");
        Some(kept)
    }

    fn habits(&self, job: &mut Job, command: &Command) {
        let line = command.line;
        if command.words.iter().any(|word| word.text.rsplit('/').next() == Some("sshpass"))
            || command.environment.iter().any(|name| name == "RSYNC_PASSWORD")
        {
            job.remark(line, PASSWORD);
        }
        if command.silenced {
            job.remark(
                line,
                "rsync's errors went to /dev/null; now `driftless status` and the log have them",
            );
        }
        if !command.checked && !self.looked_at {
            job.remark(
                line,
                "nobody looked at rsync's exit code: what failed (23, 24 and every other) was forgotten; now it is tried again",
            );
        }
        let read = |other: &&Command| {
            other.words.first().is_some_and(|word| word.text == "read") && other.round == command.round
        };
        for other in self.script.commands.iter().filter(read) {
            let raw = other.words.iter().any(|word| word.text.starts_with('-') && word.text.contains('r'));
            if !raw || !other.environment.iter().any(|name| name == "IFS") {
                job.remark(
                    other.line,
                    "`read` without -r and IFS= changed names with a backslash or a blank at an end; names are bytes now",
                );
            }
        }
    }
}

/// Of several sources in one rsync each is a job, and no two jobs write to one path: a directory that would become one
/// in the destination is told to. Gives back what that adds to the destination.
fn several(job: &mut Job, sources: usize) -> Option<String> {
    if sources < 2 || job.source.ends_with('/') {
        return None;
    }
    let name =
        job.source.rsplit('/').next().filter(|name| !name.is_empty() && !name.starts_with('$'))?.to_owned();
    job.source.push('/');
    Some(name)
}

/// A command that is neither: named where it was part of a loop.
fn other(command: &Command, script: &Script, waits: &[Wait], draft: &mut Draft) {
    let Some(first) = command.words.first() else { return };
    let name = first.text.rsplit('/').next().unwrap_or_default();
    let watched = command.round.is_some() && waits.iter().any(|wait| wait.round == command.round);
    let passive = HARMLESS.contains(&name)
        || script.events.contains(&first.text)
        || name.ends_with(')')
        || name == "inotifywait";
    if watched && !passive {
        draft.remark(
            command.line,
            format!("`{name}` ran with each event and is left out; see before and after"),
        );
    } else if matches!(name, "inotifywatch" | "fswatch" | "lsyncd" | "bash" | "sh" | "eval" | "source" | ".")
        && !watched
    {
        draft.remark(command.line, format!("what `{name}` does here was not followed"));
    }
}
