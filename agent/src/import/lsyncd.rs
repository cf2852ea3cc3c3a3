//! import: lsyncd's config: every `sync{ default.rsync | default.rsyncssh | default.direct, ... }` becomes a job.
//!
//! Pure. Touches: nothing.

use super::Refused;
use super::draft::{Draft, Job, Rule, Word};
use super::lua::{self, Call, Field, Table, Value};
use super::places::Places;
use super::rsync;

/// Reads a whole config.
pub(super) fn read(text: &str, places: &Places) -> Result<Draft, Refused> {
    let mut draft = Draft::default();
    for call in lua::read(text)? {
        match call.name.as_str() {
            "settings" => settings(&mut draft, &call),
            "sync" => {
                let job = Sync::default().read(&call, places)?;
                draft.add(job);
            }
            name => {
                return Err(Refused::code(
                    call.line,
                    format!("Lua: `{name}` is no part of a plain lsyncd config"),
                ));
            }
        }
    }
    Ok(draft)
}

/// Nothing of these is a job's: each is named, with what takes its place.
fn settings(draft: &mut Draft, call: &Call) {
    for field in &call.table.fields {
        let name = field.name.as_deref().unwrap_or_default();
        let instead = match name {
            "logfile" => "log-file of this file, or journald",
            "statusFile" | "statusInterval" => "`driftless status`",
            "pidfile" | "nodaemon" | "onepass" => "systemd's unit; the agent stays in the foreground",
            "insist" => "nothing: an unreachable server is tried again, always",
            "maxProcesses" | "maxDelays" => "nothing: a job keeps one stream open, and what waits is bounded",
            "inotifyMode" => "nothing: a file that is written and closed, or that stays open, is both seen",
            "logfacility" | "logident" => "journald",
            _ => "nothing",
        };
        draft.remark(field.line, format!("settings.{name} is left out; in its place: {instead}"));
    }
}

/// A `sync` on its way to a job.
#[derive(Default)]
struct Sync {
    source: Option<Word>,
    target: Option<Word>,
    host: Option<Word>,
    targetdir: Option<Word>,
    delete: Option<Field>,
    delay: Option<Field>,
    /// What lsyncd would have given to rsync.
    words: Vec<Word>,
    rules: Vec<Rule>,
    job: Job,
}

impl Sync {
    fn read(mut self, call: &Call, places: &Places) -> Result<Job, Refused> {
        let base = self.base(call)?;
        for field in &call.table.fields {
            if let Some(name) = &field.name {
                self.field(name, field)?;
            }
        }
        if base == "direct" && self.words.is_empty() {
            self.words.push(Word::new(call.line, "-a"));
        }
        // lsyncd always descends, and keeps links and times unless told otherwise.
        self.words.insert(0, Word::new(call.line, "-rlt"));
        let spoken = rsync::read(&self.words);
        let mut job = spoken.job;
        for operand in &spoken.operands {
            job.open(operand.line, format!("_extra: `{}` is no option", operand.text));
        }
        job.remarks.splice(0..0, std::mem::take(&mut self.job.remarks));
        for open in std::mem::take(&mut self.job.open) {
            job.open(open.line, open.text);
        }
        job.rules.splice(0..0, std::mem::take(&mut self.rules));
        job.schedule = self.job.schedule.take();
        self.habits(&mut job, call.line, base);
        let source = self
            .source
            .take()
            .ok_or_else(|| Refused::malformed(call.line, "lsyncd: this sync has no source"))?;
        job.source = format!("{}/", source.text.trim_end_matches('/'));
        if !source.text.starts_with('/') {
            job.open(
                source.line,
                format!("source `{}` is relative to where lsyncd was started", source.text),
            );
        }
        let target = self.destination(base, call.line)?;
        places.add(&mut job, &target);
        Ok(job)
    }

    /// The behaviour that the sync starts from.
    fn base(&self, call: &Call) -> Result<&'static str, Refused> {
        let mut bases = call.table.fields.iter().filter(|field| field.name.is_none());
        let own = "lsyncd: a sync with actions of its own can only be run by lsyncd; only default.rsync, default.rsyncssh and \
                   default.direct are read";
        let (Some(first), None) = (bases.next(), bases.next()) else {
            return Err(Refused::code(call.line, own));
        };
        match &first.value {
            Value::Name(name) if name == "default.rsync" => Ok("rsync"),
            Value::Name(name) if name == "default.rsyncssh" => Ok("rsyncssh"),
            Value::Name(name) if name == "default.direct" => Ok("direct"),
            _ => Err(Refused::code(first.line, own)),
        }
    }

    fn destination(&mut self, base: &str, line: usize) -> Result<Word, Refused> {
        let missing = |what: &str| Refused::malformed(line, format!("lsyncd: this sync has no {what}"));
        if base != "rsyncssh" {
            return self.target.take().ok_or_else(|| missing("target"));
        }
        let host = self.host.take().ok_or_else(|| missing("host"))?;
        let dir = self.targetdir.take().ok_or_else(|| missing("targetdir"))?;
        Ok(Word::new(dir.line, format!("{}:{}", host.text, dir.text)))
    }

    fn field(&mut self, name: &str, field: &Field) -> Result<(), Refused> {
        let line = field.line;
        match name {
            "source" => self.source = Some(text(field)?),
            "target" => self.target = Some(text(field)?),
            "host" => self.host = Some(text(field)?),
            "targetdir" => self.targetdir = Some(text(field)?),
            "delete" => self.delete = Some(field.clone()),
            "delay" => self.delay = Some(field.clone()),
            "exclude" => {
                let patterns = texts(field)?;
                if patterns.iter().any(|pattern| pattern.text.contains('[')) {
                    self.job.remark(line, "exclude: lsyncd takes `[` as it stands, here it begins a class, as in rsync");
                }
                self.rules.extend(patterns.into_iter().map(|pattern| Rule::Exclude(pattern.text)));
            }
            "excludeFrom" => self.rules.push(Rule::ExcludeFrom(text(field)?.text)),
            "filter" => self.words.extend(texts(field)?.into_iter().map(|rule| Word {
                text: format!("--filter={}", rule.text),
                ..rule
            })),
            // Its lines are `+ PATTERN` and `- PATTERN`, which such a file may hold.
            "filterFrom" => self.rules.push(Rule::ExcludeFrom(text(field)?.text)),
            "rsync" => self.rsync(table(field)?)?,
            "rsyncOpts" | "rsyncOps" => self.words.extend(texts(field)?),
            "ssh" => self.ssh(table(field)?),
            "crontab" => self.crontab(field)?,
            "init" if field.value == Value::Bool(false) => self.job.remark(
                line,
                "init = false is left out: a job always compares both trees first, which is what makes it a copy",
            ),
            "init" => {}
            "tunnel" => self.job.open(line, "tunnel: name the server itself, or one that an own tunnel leads to"),
            "maxProcesses" | "maxDelays" | "batchSizeLimit" | "inotifyMode" | "exitcodes" => {
                self.job.remark(line, format!("{name} is left out: there is nothing like it here"));
            }
            _ if name.starts_with("on") || ["action", "collect", "prepare", "full"].contains(&name) => {
                let own = format!("lsyncd: `{name}` is an action of its own, which only lsyncd can run");
                return Err(Refused::code(line, own));
            }
            _ => self.job.remark(line, format!("{name} is not known and left out")),
        }
        Ok(())
    }

    /// `rsync = { ... }`: each field is named after rsync's option.
    fn rsync(&mut self, table: &Table) -> Result<(), Refused> {
        for field in &table.fields {
            let name = field.name.as_deref().unwrap_or_default();
            let long = name.replace('_', "-");
            match (&field.value, name) {
                (_, "_extra") => self.words.extend(texts(field)?),
                (_, "binary" | "_computed") | (Value::Nil, _) => {}
                (Value::Bool(true), _) => self.words.push(Word::new(field.line, format!("--{long}"))),
                (
                    Value::Bool(false),
                    "links" | "times" | "perms" | "owner" | "group" | "devices" | "specials",
                ) => {
                    self.words.push(Word::new(field.line, format!("--no-{long}")));
                }
                (Value::Bool(false), _) => {}
                (Value::Text(value) | Value::Number(value), _) => {
                    self.words.push(Word::new(field.line, format!("--{long}={value}")));
                }
                _ => {
                    return Err(Refused::malformed(
                        field.line,
                        format!("lsyncd: rsync.{name} has no such value"),
                    ));
                }
            }
        }
        // -a first: what takes a part of it back stands beside it in no order.
        self.words.sort_by_key(|word| word.text != "--archive");
        Ok(())
    }

    fn ssh(&mut self, table: &Table) {
        for field in &table.fields {
            let name = field.name.as_deref().unwrap_or_default();
            if rsync::trusts_anybody(&flat(field)) {
                self.job.remark(field.line, rsync::TRUSTED_ANYBODY);
            }
            self.job.remark(field.line, format!("ssh.{name} is left out: there is no remote shell here"));
        }
    }

    /// lsyncd's crontab has the seconds first.
    fn crontab(&mut self, field: &Field) -> Result<(), Refused> {
        let lines = texts(field)?;
        let fields = |word: &Word| word.text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match lines.iter().map(fields).collect::<Vec<_>>().as_slice() {
            [only] if only.len() == 6 => self.job.schedule = Some(only[1..].join(" ")),
            [only] if only.len() == 5 => self.job.schedule = Some(only.join(" ")),
            _ => self
                .job
                .open(field.line, "crontab: write one schedule of five fields, as schedule = \"0 3 * * *\""),
        }
        Ok(())
    }

    /// What lsyncd did by itself.
    fn habits(&mut self, job: &mut Job, line: usize, base: &str) {
        match &self.delete {
            Some(Field { value: Value::Bool(false), .. }) => {}
            Some(Field { value: Value::Text(when), line, .. }) => job.remark(
                *line,
                format!("delete = '{when}': deletions were repeated some of the time; now never, unless delete = true"),
            ),
            found => {
                job.delete = true;
                job.remark(
                    found.as_ref().map_or(line, |field| field.line),
                    "delete: lsyncd ran rsync with --delete --ignore-errors, on a source that nobody had proved: an empty, \
                     unmounted or unreadable one emptied the copy; such deletions are held as a plan now \
                     (`driftless plan`), see brake",
                );
            }
        }
        if base != "direct" {
            job.remark(line, "lsyncd took rsync's exit codes 23 and 24 for success and forgot what had failed; now it is tried again");
        }
        let (delay, line) = match &self.delay {
            Some(Field { value: Value::Number(delay), line, .. }) => (delay.as_str(), *line),
            Some(field) => {
                return job.remark(field.line, "delay is left out: changes leave when they have settled");
            }
            None if base == "direct" => return,
            None => ("15", line),
        };
        let text = match delay.parse::<f64>() {
            Ok(0.0) => "delay 0: lsyncd sent files while they were being written; now each leaves when it has settled".to_owned(),
            _ => format!(
                "delay {delay}: each change waited {delay} s before it was safe; now it leaves as soon as it has settled, \
                 and there is nothing to set"
            ),
        };
        job.remark(line, text);
    }
}

/// All words of a field, as a command line would have them.
fn flat(field: &Field) -> String {
    let name = field.name.as_deref().unwrap_or_default();
    match &field.value {
        Value::Text(text) => format!("{name} {text} "),
        Value::Table(table) => table.fields.iter().map(flat).collect(),
        _ => String::new(),
    }
}

fn text(field: &Field) -> Result<Word, Refused> {
    match &field.value {
        Value::Text(text) | Value::Number(text) => Ok(Word::new(field.line, text.clone())),
        _ => Err(Refused::malformed(
            field.line,
            format!("lsyncd: {} is no string", field.name.as_deref().unwrap_or("this")),
        )),
    }
}

/// A string, or a table of them.
fn texts(field: &Field) -> Result<Vec<Word>, Refused> {
    match &field.value {
        Value::Table(table) => table.fields.iter().map(text).collect(),
        _ => text(field).map(|word| vec![word]),
    }
}

fn table(field: &Field) -> Result<&Table, Refused> {
    match &field.value {
        Value::Table(table) => Ok(table),
        _ => Err(Refused::malformed(
            field.line,
            format!("lsyncd: {} is no table", field.name.as_deref().unwrap_or("this")),
        )),
    }
}
