//! import: rsync's command line, as scripts, lsyncd and sersync give it: what of it a job keeps, and a word about
//! everything that it does not.
//!
//! Pure. Touches: nothing.

use super::draft::{Job, Rule, Word};
use crate::cli::refused;

/// What an rsync command says.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    /// What a job keeps. Source and targets are left to the caller.
    pub(super) job: Job,
    /// Sources and destination, as they stand.
    pub(super) operands: Vec<Word>,
    /// `-R`: the source's path is sent along.
    pub(super) relative: bool,
    /// The letters that say what is kept, in their order, and the words that take a part back.
    letters: String,
    without: Vec<String>,
}

/// The parts of `-a`: letter, long name.
const PARTS: &[(char, &str)] = &[
    ('a', "archive"),
    ('r', "recursive"),
    ('l', "links"),
    ('p', "perms"),
    ('t', "times"),
    ('g', "group"),
    ('o', "owner"),
    ('D', "devices"),
];

/// What is only shown, or has no meaning here: nothing is lost without it.
const IDLE: &[&str] = &[
    "8-bit-output",
    "blocking-io",
    "debug",
    "delay-updates",
    "delete-before",
    "delete-during",
    "dirs",
    "fsync",
    "fuzzy",
    "human-readable",
    "i-r",
    "inc-recursive",
    "info",
    "ipv4",
    "ipv6",
    "itemize-changes",
    "log-file",
    "log-file-format",
    "mkpath",
    "no-i-r",
    "no-inc-recursive",
    "no-motd",
    "no-whole-file",
    "out-format",
    "partial",
    "partial-dir",
    "preallocate",
    "progress",
    "protect-args",
    "quiet",
    "secluded-args",
    "skip-compress",
    "sockopts",
    "stats",
    "stderr",
    "temp-dir",
    "verbose",
    "whole-file",
];

/// What decides which files take part, or what a copy is: without it the copy would be another one.
const DECISIVE: &[&str] = &[
    "compare-dest",
    "copy-dest",
    "copy-dirlinks",
    "copy-links",
    "copy-unsafe-links",
    "cvs-exclude",
    "existing",
    "files-from",
    "ignore-existing",
    "ignore-non-existing",
    "link-dest",
    "max-size",
    "min-size",
    "remove-sent-files",
    "remove-source-files",
];

/// What to know about an option that is left out.
const NOTES: &[(&str, &str)] = &[
    ("acls", "ACLs are not kept"),
    ("append", "a file is always replaced whole"),
    ("append-verify", "a file is always replaced whole"),
    ("backup", "what is replaced or deleted is not kept"),
    ("backup-dir", "what is replaced or deleted is not kept"),
    ("checksum", "size, times and inode tell what changed, and every content that is sent is verified"),
    ("chmod", "modes are the source's"),
    ("chown", "owners are the source's"),
    ("contimeout", "a watch tries again until the server answers"),
    ("delete-excluded", "what is excluded is left alone at the destination"),
    ("fake-super", "it is a parameter of the module: fake super = yes"),
    ("hard-links", "hard links arrive as separate files"),
    ("inplace", "a file is never written in place: the old one or the new one is there, whole"),
    ("numeric-ids", "it is a parameter of the module: numeric ids = yes"),
    ("one-file-system", "what is mounted in the source is copied too"),
    ("sparse", "holes are written out"),
    ("size-only", "a change of time alone is a change"),
    ("update", "a file that is newer at the destination is replaced too"),
    ("xattrs", "extended attributes are not kept"),
];

/// Reads everything behind the word `rsync`.
pub(super) fn read(words: &[Word]) -> Spoken {
    let mut spoken = Spoken::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.text.as_str();
        if text == "--" {
            spoken.operands.extend(words.by_ref().cloned());
        } else if let Some(long) = text.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(Word { text: value.to_owned(), ..word.clone() })),
                None => (long, None),
            };
            let value = value.or_else(|| if valued(name) { words.next().cloned() } else { None });
            spoken.option(name, value, word);
        } else if text.len() > 1 && text.starts_with('-') {
            spoken.bundle(word, &mut words);
        } else {
            spoken.operands.push(word.clone());
        }
    }
    spoken.job.options = spoken.options();
    spoken
}

/// Whether a long option takes a value.
fn valued(name: &str) -> bool {
    let ours =
        ["exclude", "include", "exclude-from", "include-from", "bwlimit", "port", "password-file", "timeout"];
    ours.contains(&name) || refused::known(name).is_some_and(|(.., valued)| valued)
}

impl Spoken {
    /// Letters behind one dash; a letter that takes a value takes the rest of the word, or the next one.
    fn bundle<'w>(&mut self, word: &Word, words: &mut impl Iterator<Item = &'w Word>) {
        let letters: Vec<char> = word.text.chars().skip(1).collect();
        for (at, &letter) in letters.iter().enumerate() {
            let name = letter.to_string();
            if valued(&name) {
                let rest: String = letters[at + 1..].iter().collect();
                let rest = rest.strip_prefix('=').unwrap_or(&rest);
                let value = match rest {
                    "" => words.next().cloned(),
                    rest => Some(Word { text: rest.to_owned(), ..word.clone() }),
                };
                return self.option(&name, value, word);
            }
            self.option(&name, None, word);
        }
    }

    /// One option, by its letter or its long name.
    fn option(&mut self, name: &str, value: Option<Word>, word: &Word) {
        let line = word.line;
        if let Some(unknown) =
            value.as_ref().and_then(|value| value.unknown.as_ref()).or(word.unknown.as_ref())
        {
            return self.job.open(line, format!("--{name}: the value of {unknown} is not in the file"));
        }
        let value = value.map(|value| value.text).unwrap_or_default();
        if let Some(&(letter, _)) =
            PARTS.iter().find(|(letter, long)| *long == name || letter.to_string() == name)
        {
            self.letters.push(letter);
            // The last word on a part counts.
            self.without.retain(|word| letter != 'a' && !negates(word, letter));
            return;
        }
        match name {
            "specials" => {}
            "z" | "compress" => self.job.compress = true,
            "delete" | "del" | "delete-during" | "delete-before" => self.delete(line),
            "delete-after" | "delete-delay" => {
                self.delete(line);
                self.job.remark(line, format!("--{name}: deletions leave while the rest does, not after it"));
            }
            "ignore-errors" => self.job.remark(
                line,
                "--ignore-errors: deleted at the destination even what could not be read here; after a read error no \
                 deletion leaves now",
            ),
            "exclude" => self.job.rules.push(Rule::Exclude(value)),
            "include" => self.job.rules.push(Rule::Include(value)),
            "exclude-from" => self.job.rules.push(Rule::ExcludeFrom(value)),
            "include-from" => self.job.rules.push(Rule::IncludeFrom(value)),
            "f" | "filter" => self.filter(&value, line),
            "bwlimit" => self.bwlimit(&value),
            "max-delete" => self.max_delete(&value, line),
            "password-file" => self.job.password_file = Some(value),
            "port" => self.port(&value, line),
            "R" | "relative" => self.relative = true,
            "e" | "rsh" | "rsync-path" => self.shell(name, &value, line),
            "timeout" => self.job.remark(
                line,
                "--timeout is left out: a watch may be silent for days, and a dead server is noticed by keep-alive",
            ),
            _ => self.unsupported(name, &value, line),
        }
    }

    fn delete(&mut self, line: usize) {
        self.job.delete = true;
        self.job.remark(
            line,
            "--delete of an unproven source: an empty or unmounted source emptied the copy; such deletions are held \
             as a plan now (`driftless plan`), see brake",
        );
    }

    /// A rule in rsync's long form. Only what `--exclude` and `--include` can say has a counterpart.
    fn filter(&mut self, value: &str, line: usize) {
        let value = value.trim_start();
        let words = [("- ", false), ("+ ", true), ("exclude ", false), ("include ", true)];
        let found = words.iter().find_map(|(word, include)| Some((value.strip_prefix(word)?, *include)));
        match found {
            Some((pattern, true)) => self.job.rules.push(Rule::Include(pattern.to_owned())),
            Some((pattern, false)) => self.job.rules.push(Rule::Exclude(pattern.to_owned())),
            None => {
                self.job
                    .open(line, format!("--filter={value}: only exclude and include rules are supported"));
            }
        }
    }

    fn bwlimit(&mut self, value: &str) {
        let bare = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        // rsync counts in KiB where no unit stands.
        self.job.bwlimit = match value {
            "" | "0" => None,
            value if bare => Some(format!("{value}k")),
            value => Some(value.to_owned()),
        };
    }

    /// rsync stops behind N deletions; here what is beyond N is held and asked about.
    fn max_delete(&mut self, value: &str, line: usize) {
        match value.parse::<u64>() {
            Ok(entries) => self.job.brake = Some(format!("{entries}:0%")),
            Err(_) => self.job.open(line, format!("--max-delete={value}: not a number")),
        }
    }

    fn port(&mut self, value: &str, line: usize) {
        self.job.remark(
            line,
            format!("--port={value} is the rsync daemon's; driftlessd listens on 8730 unless its config says otherwise"),
        );
    }

    fn shell(&mut self, name: &str, value: &str, line: usize) {
        if trusts_anybody(value) {
            self.job.remark(line, TRUSTED_ANYBODY);
        }
        if value.contains("sshpass") {
            self.job.remark(
                line,
                "sshpass: the password stood on a command line, where every user could read it",
            );
        }
        let dashes = if name.len() == 1 { "-" } else { "--" };
        self.job.remark(
            line,
            format!("{dashes}{name}: there is no remote shell here, the wire is TLS of its own"),
        );
    }

    fn unsupported(&mut self, name: &str, value: &str, line: usize) {
        let known = refused::known(name);
        // The negation of a part of -a stands as a word of its own.
        if known.is_none() && PARTS.iter().any(|(letter, _)| negates(&format!("--{name}"), *letter)) {
            self.without.push(format!("--{name}"));
            return;
        }
        let long = known.map_or(name, |(_, long, _)| if long.is_empty() { name } else { long });
        let idle = ["v", "q", "P", "n"].contains(&name) || IDLE.contains(&long);
        if name == "n" || name == "dry-run" {
            self.job.open(line, "--dry-run: this command changed nothing");
        } else if !idle {
            let shown = shown(name, known.and_then(|(letter, ..)| letter), long, value);
            if DECISIVE.contains(&long) || name == "F" {
                let text =
                    format!("{shown} is not supported here, and without it another copy would be made");
                self.job.open(line, text);
            } else {
                let note = NOTES.iter().find(|(option, _)| *option == long).map(|(_, note)| *note);
                let note = note.map_or(String::new(), |note| format!(": {note}"));
                self.job.remark(line, format!("{shown} is not supported here and left out{note}"));
            }
        }
    }

    /// `options` of a job, in as few letters as say it.
    fn options(&self) -> String {
        let mut letters = String::new();
        if self.letters.contains('a') {
            letters.push('a');
        } else {
            // A job keeps a whole tree.
            for letter in "r".chars().chain(self.letters.chars()) {
                if !letters.contains(letter) {
                    letters.push(letter);
                }
            }
        }
        let mut options = format!("-{letters}");
        for word in &self.without {
            options.push(' ');
            options.push_str(word);
        }
        options
    }

    /// Whether directories were descended into at all.
    pub(super) fn recursive(&self) -> bool {
        self.letters.contains(['a', 'r'])
    }
}

/// Whether a word takes back this part of `-a`.
fn negates(word: &str, letter: char) -> bool {
    let part = word.strip_prefix("--no-").unwrap_or_default();
    PARTS.iter().any(|&(known, long)| known == letter && (part == long || part == letter.to_string()))
}

/// An option as an operator knows it: both names where it has both.
fn shown(name: &str, letter: Option<char>, long: &str, value: &str) -> String {
    let value = if value.is_empty() { String::new() } else { format!("={value}") };
    match letter {
        Some(letter) if long != letter.to_string() => format!("--{long}{value} (-{letter})"),
        _ if name.len() == 1 => format!("-{name}"),
        _ => format!("--{name}{value}"),
    }
}

/// What is said of it.
pub(super) const TRUSTED_ANYBODY: &str = "StrictHostKeyChecking no: whoever answered was believed; now the server \
                                          proves its certificate (fingerprint or ca)";

/// Whether ssh was told to believe any host.
pub(super) fn trusts_anybody(options: &str) -> bool {
    let flat: String =
        options.to_ascii_lowercase().chars().filter(|c| !c.is_whitespace() && *c != '=').collect();
    flat.contains("stricthostkeycheckingno")
}

/// What a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// `host::module`, or `rsync://`.
    Daemon,
    /// `host:path`.
    Shell,
    /// A path of this host.
    Local,
}

/// Tells which form a destination has.
pub(super) fn destination(operand: &str) -> Destination {
    if operand.starts_with("rsync://") || operand.starts_with("driftless://") {
        return Destination::Daemon;
    }
    match host_len(operand).map(|end| operand[end..].starts_with("::")) {
        Some(true) => Destination::Daemon,
        Some(false) => Destination::Shell,
        None => Destination::Local,
    }
}

/// How long `[user@]host` is in front of a colon; an IPv6 address has its own within brackets.
pub(super) fn host_len(operand: &str) -> Option<usize> {
    let head = operand.split('/').next().unwrap_or_default();
    let host = head.rfind('@').map_or(0, |at| at + 1);
    let from = match head[host..].starts_with('[') {
        true => host + head[host..].find(']')?,
        false => host,
    };
    head[from..].find(':').map(|colon| from + colon)
}
