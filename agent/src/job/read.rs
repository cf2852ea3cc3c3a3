//! job: from the tables of the file to [`Config`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use driftless_proto::model::filter::{RuleError, Rules};
use driftless_proto::model::options::Options;
use toml::Spanned;
use toml::de::DeTable;

use super::reach::reach;
use super::text::{Found, Table, Text};
use super::values::{self, Schedule, Step};
use super::{Config, Host, Job, Mode, NAME_LEN, Target, keys};
use crate::cli::operand::{self, Place, Remote};
use crate::cli::{Command, Invocation};
use crate::guard::brake::{self, Limit};
use crate::watcher::Choice;

/// Tables in which a key is looked for, the nearest first.
pub(super) struct Levels<'a>(Vec<Table<'a>>);

impl<'a> Levels<'a> {
    /// The value of the nearest table that has the key.
    pub(super) fn get(&self, text: &'a Text<'a>, key: &'static str) -> Option<Found<'a>> {
        self.0.iter().find_map(|level| level.get(text, key))
    }

    /// The nearest table that has any of these keys.
    pub(super) fn first_with(&self, keys: &[&str]) -> Option<Table<'a>> {
        self.0.iter().find(|level| keys.iter().any(|key| level.has(key))).cloned()
    }
}

/// Reads the whole file. What is wrong is booked in `text`; then what is returned is of no use.
pub(super) fn config<'a>(
    text: &'a Text<'a>,
    tables: &'a Spanned<DeTable<'a>>,
    host: &dyn Host,
) -> Option<Config> {
    let top = Table { label: "".into(), at: 0, table: tables.get_ref() };
    top.knows(text, &[keys::TOP]);
    let defaults = top.get(text, "defaults").and_then(|found| found.table("defaults: "));
    if let Some(defaults) = &defaults {
        for found in keys::JOB.iter().filter_map(|key| defaults.get(text, key)) {
            found.wrong("each job has its own: move it to a [[job]]");
        }
        defaults.knows(text, &[keys::JOB, keys::SETTINGS, keys::REACH]);
        // Wrong even where every job says otherwise.
        let alone = Levels(vec![defaults.clone()]);
        settings(text, &alone, host);
        reach(text, &alone, host);
    }
    let mut config = Config {
        state_dir: top.get(text, "state-dir").and_then(|found| absolute(&found)),
        log_file: top.get(text, "log-file").and_then(|found| absolute(&found)),
        metrics: top.get(text, "metrics").and_then(|found| found.parsed(crate::metrics::address)),
        jobs: Vec::new(),
    };
    let Some(jobs) = top.get(text, "job") else {
        text.complain(0, "there is no job: add a [[job]] with name, source and destination");
        return None;
    };
    if !jobs.is_array() {
        jobs.wrong("one job of several is written [[job]], with two brackets");
        return None;
    }
    let (mut names, mut taken) = (BTreeMap::new(), BTreeMap::new());
    for item in jobs.items()? {
        let Some(unnamed) = item.table("job: ") else { continue };
        let name = unnamed.get(text, "name").and_then(|found| name(text, &found, &mut names));
        if !unnamed.has("name") {
            text.complain(item.at, "job: name is missing: name = \"...\" stands before its lines in the log");
        }
        let label = name.as_ref().map_or("job: ".into(), |name| format!("job {name}: "));
        let Some(table) = item.table(&label) else { continue };
        table.knows(text, &[keys::JOB, keys::SETTINGS, keys::REACH]);
        let reader = Reader { text, host, table, defaults: defaults.clone() };
        config.jobs.extend(reader.job(name.unwrap_or_default(), &mut taken));
    }
    for target in config.jobs.iter_mut().flat_map(|job| &mut job.targets) {
        target.invocation.state_dir.clone_from(&config.state_dir);
    }
    Some(config)
}

fn name<'a>(text: &'a Text<'a>, found: &Found<'a>, names: &mut BTreeMap<String, usize>) -> Option<String> {
    let name = found.string()?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > NAME_LEN || !name.bytes().all(fits) {
        found.wrong(format_args!(
            "{}: a name has 1 to {NAME_LEN} letters, digits, dots, hyphens and underscores",
            name.escape_debug()
        ));
        return None;
    }
    if let Some(at) = names.insert(name.to_owned(), found.at) {
        let line = text.line(at);
        found.wrong(format_args!(
            "{name}: the job in line {line} is called so already: give each its own name"
        ));
    }
    Some(name.to_owned())
}

/// An absolute path: a service stands in no directory that an operator thinks of.
pub(super) fn absolute(found: &Found<'_>) -> Option<PathBuf> {
    let path = Path::new(found.string()?);
    if !path.is_absolute() {
        found.wrong(format_args!("{}: an absolute path is needed: it begins with /", path.display()));
        return None;
    }
    Some(path.to_owned())
}

/// What `[defaults]` and a job may say.
struct Settings<'a> {
    mode: Mode,
    schedule: Option<Schedule>,
    before: Option<(Found<'a>, Step)>,
    after: Option<(Found<'a>, Step)>,
    options: Options,
    rules: Rules,
    engine: Choice,
    brake: Option<Limit>,
    rewrite_brake: Option<Limit>,
}

fn settings<'a>(text: &'a Text<'a>, levels: &Levels<'a>, host: &dyn Host) -> Settings<'a> {
    let get = |key| levels.get(text, key);
    let kept = |found: Found<'a>| found.parsed(crate::cli::options::kept);
    let archive = || crate::cli::options::kept("-a").unwrap_or_default();
    let mut options = get("options").and_then(kept).unwrap_or_else(archive);
    if let (false, Some(found)) = (options.recursive, get("options")) {
        found.wrong("a job needs -r, as in -a");
    }
    options.delete = get("delete").and_then(|found| found.flag()).unwrap_or(false);
    let brake = |typed: &str| match typed {
        "off" => Ok(None),
        limit => limit.parse().map(Some),
    };
    let step = |key| get(key).and_then(|found| Some((found.clone(), step(text, &found)?)));
    Settings {
        mode: get("mode").and_then(|found| choice(&found, MODES)).unwrap_or(Mode::Watch),
        schedule: get("schedule").and_then(|found| found.parsed(Schedule::parse)),
        before: step("before"),
        after: step("after"),
        options,
        rules: rules(text, levels, host),
        engine: get("engine").and_then(|found| choice(&found, Choice::NAMES)).unwrap_or_default(),
        brake: get("brake").and_then(|found| found.parsed(brake)).unwrap_or(Some(brake::DELETIONS)),
        rewrite_brake: get("rewrite-brake").and_then(|found| found.parsed(brake)).flatten(),
    }
}

/// What `mode` may be.
const MODES: [(&str, Mode); 2] = [("watch", Mode::Watch), ("scheduled", Mode::Scheduled)];

fn choice<T: Copy, const N: usize>(found: &Found<'_>, names: [(&'static str, T); N]) -> Option<T> {
    let all = || names.iter().map(|(name, _)| *name);
    found.parsed(|typed| {
        let known = names.iter().find(|(name, _)| *name == typed).map(|(_, value)| *value);
        known.ok_or_else(|| match keys::nearest(typed, all()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of {} is wanted", all().collect::<Vec<_>>().join(", ")),
        })
    })
}

/// The rules: `rules` in their own order, or every inclusion before every exclusion, since the first rule that matches
/// decides. One level says `rules`, or any of the others; key by key they are not mixed.
fn rules<'a>(text: &'a Text<'a>, levels: &Levels<'a>, host: &dyn Host) -> Rules {
    const KINDS: [&str; 4] = ["include", "include-from", "exclude", "exclude-from"];
    let mut rules = Rules::default();
    let ordered = levels.first_with(&["rules", KINDS[0], KINDS[1], KINDS[2], KINDS[3]]);
    let list = ordered.as_ref().and_then(|level| level.get(text, "rules"));
    let kinds = || KINDS.iter().filter_map(|kind| levels.get(text, kind));
    if let Some(list) = list {
        if ordered.is_some_and(|level| KINDS.iter().any(|kind| level.has(kind))) {
            list.wrong("`rules` has an order of its own: move what is in include and exclude there, as \"+ PATTERN\" and \"- PATTERN\"");
        }
        for (item, rule) in list.strings().unwrap_or_default() {
            let added = rules.push_wire(rule.as_bytes());
            added.unwrap_or_else(|error| item.wrong(error));
        }
        return rules;
    }
    for found in kinds() {
        for (item, word) in found.strings().unwrap_or_default() {
            let added: Result<(), RuleError> = match found.key() {
                "include" => rules.include(word.as_bytes()),
                "exclude" => rules.exclude(word.as_bytes()),
                from => {
                    let Some(content) = absolute(&item).and_then(|_| {
                        host.rules(word).map_err(|why| item.wrong(format_args!("{word}: {why}"))).ok()
                    }) else {
                        continue;
                    };
                    if from == "include-from" {
                        rules.include_from(&content)
                    } else {
                        rules.exclude_from(&content)
                    }
                }
            };
            added.unwrap_or_else(|error| item.wrong(error));
        }
    }
    rules
}

/// `before` and `after`: a string for the shell, a program with its arguments, or a table with a time limit.
fn step<'a>(text: &'a Text<'a>, found: &Found<'a>) -> Option<Step> {
    let (command, timeout) = if found.is_string() || found.is_array() {
        (found.clone(), None)
    } else {
        let table = found.table(found.label())?;
        table.knows(text, &[keys::STEP]);
        let Some(command) = table.get(text, "command") else {
            found.wrong("the command is missing: { command = [\"pg_dump\", ...], timeout = \"10m\" }");
            return None;
        };
        (command, table.get(text, "timeout"))
    };
    let words: Vec<OsString> = if command.is_string() {
        vec!["/bin/sh".into(), "-c".into(), command.string()?.into()]
    } else {
        command.strings()?.into_iter().map(|(_, word)| word.into()).collect()
    };
    let empty = if command.is_string() { words.get(2) } else { words.first() };
    if empty.is_none_or(|word| word.is_empty()) {
        command.wrong("the command is empty: take it out, or name a program");
        return None;
    }
    let timeout = match timeout {
        Some(found) => found.parsed(values::duration)?,
        None => Step::TIMEOUT,
    };
    Some(Step { command: words, timeout })
}

/// Reads one job.
struct Reader<'a, 'h> {
    text: &'a Text<'a>,
    host: &'h dyn Host,
    table: Table<'a>,
    defaults: Option<Table<'a>>,
}

impl<'a> Reader<'a, '_> {
    /// `taken` has every destination so far, and who writes there.
    fn job(&self, name: String, taken: &mut BTreeMap<String, usize>) -> Option<Job> {
        let text = self.text;
        let levels =
            Levels([Some(self.table.clone()), self.defaults.clone()].into_iter().flatten().collect());
        let settings = settings(text, &levels, self.host);
        self.fits(&settings);
        let source = match self.table.get(text, "source") {
            Some(found) => source(&found),
            None => {
                text.complain(
                    self.table.at,
                    format!("{}source is missing: source = \"/srv/code/\"", self.table.label),
                );
                None
            }
        };
        let mut targets = Vec::new();
        for place in self.destinations() {
            targets.extend(self.target(&place, &levels, &settings, source.as_ref(), taken));
        }
        let Settings { mode, schedule, before, after, .. } = settings;
        let step = |step: Option<(Found<'a>, Step)>| step.map(|(_, step)| step);
        Some(Job { name, mode, schedule, before: step(before), after: step(after), targets })
    }

    /// One destination: a string, or a table of its own.
    fn target(
        &self,
        place: &Found<'a>,
        levels: &Levels<'a>,
        settings: &Settings<'a>,
        source: Option<&Place>,
        taken: &mut BTreeMap<String, usize>,
    ) -> Option<Target> {
        let text = self.text;
        let mut levels = Levels(levels.0.clone());
        let to = if place.is_string() {
            place.clone()
        } else {
            let table = place.table(&self.table.label)?;
            table.knows(text, &[keys::DESTINATION, keys::REACH]);
            let to = table.get(text, "to");
            if to.is_none() {
                place.wrong("`to` is missing: { to = \"user@host::module/path\", ... }");
            }
            levels.0.insert(0, table);
            to?
        };
        let remote = destination(&to);
        let reach = reach(text, &levels, self.host);
        let (remote, source) = (remote?, source?);
        let invocation = Invocation {
            command: Command::Watch,
            sources: vec![source.clone()],
            dest: Some(Place::Remote(remote.clone())),
            options: Options { compress: reach.compress, ..settings.options.clone() },
            rules: settings.rules.clone(),
            verbosity: 0,
            progress: false,
            stats: false,
            port: reach.port,
            password_file: reach.password_file,
            trust: reach.trust,
            timeout: reach.timeout,
            state_dir: None,
            log_file: None,
            metrics: None,
            engine: settings.engine,
            brake: settings.brake,
            rewrite_brake: settings.rewrite_brake,
        };
        if let Err(why) = self.host.trust(&invocation) {
            reach.blame.as_ref().unwrap_or(&to).wrong(why);
        }
        let port = invocation.port_of(&remote);
        let key = format!("{}:{port}::{}/{}", remote.host, remote.module, remote.path.escape_ascii());
        if let Some(at) = taken.insert(key, to.at) {
            let line = text.line(at);
            to.wrong(format_args!(
                "the destination in line {line} is the same: each needs a path of its own"
            ));
        }
        let to = to.string().unwrap_or_default().to_owned();
        Some(Target { to, invocation, bandwidth: reach.bandwidth })
    }

    /// Complains of what does not go together.
    fn fits(&self, settings: &Settings<'a>) {
        let blame = |key| self.table.get(self.text, key);
        if settings.mode == Mode::Scheduled {
            let scheduled =
                blame("schedule").is_some() || self.defaults.as_ref().is_some_and(|d| d.has("schedule"));
            if !scheduled {
                let at = blame("mode").map_or(self.table.at, |found| found.at);
                let why = "mode: a scheduled job runs by its schedule only: add schedule = \"30 3 * * *\"";
                self.text.complain(at, format!("{}{why}", self.table.label));
            }
            if let Some(found) = blame("engine") {
                found.wrong("a scheduled job waits for no changes: take it out, or make it mode = \"watch\"");
            }
        } else if settings.schedule.is_none() {
            for (found, _) in [&settings.before, &settings.after].into_iter().flatten() {
                found.wrong("it runs around a scheduled run, and a watch without a schedule has none: add schedule = \"30 3 * * *\"");
            }
        }
    }

    fn destinations(&self) -> Vec<Found<'a>> {
        let (one, several) =
            (self.table.get(self.text, "destination"), self.table.get(self.text, "destinations"));
        match (one, several) {
            (Some(one), None) if one.is_array() => {
                one.wrong("several are written destinations = [...], with an s");
                Vec::new()
            }
            (Some(one), None) => vec![one],
            (None, Some(several)) => {
                let items = several.items();
                if items.as_ref().is_some_and(Vec::is_empty) {
                    several.wrong("there is none in it: name one, as \"user@host::module/path\"");
                }
                items.unwrap_or_default()
            }
            (Some(one), Some(_)) => {
                one.wrong("`destination` and `destinations` exclude each other: move it into the list");
                Vec::new()
            }
            (None, None) => {
                let why = "destination is missing: destination = \"user@host::module/path\"";
                self.text.complain(self.table.at, format!("{}{why}", self.table.label));
                Vec::new()
            }
        }
    }
}

/// A directory of this host.
fn source(found: &Found<'_>) -> Option<Place> {
    let typed = found.string()?;
    match operand::parse_place(typed.as_ref()) {
        Ok(Place::Remote(_)) => {
            found.wrong(format_args!("{}: a source is a directory of this host", typed.escape_debug()));
            None
        }
        Ok(place) => absolute(found).map(|_| place),
        Err(error) => {
            found.wrong(error);
            None
        }
    }
}

/// A path in a module of a server.
fn destination(found: &Found<'_>) -> Option<Remote> {
    let typed = found.string()?;
    let remote = match operand::parse_place(typed.as_ref()) {
        Ok(Place::Remote(remote)) => remote,
        Ok(Place::Local(_)) => {
            found.wrong(format_args!("{}: a server is wanted: user@host::module/path", typed.escape_debug()));
            return None;
        }
        Err(error) => {
            found.wrong(error);
            return None;
        }
    };
    if remote.module.is_empty() {
        found.wrong(format_args!("{}: the module is missing: host::module/path", typed.escape_debug()));
        return None;
    }
    Some(remote)
}
