//! From the words on the command line to [`Options`] and [`Rules`]. Where several words speak of the same thing,
//! their order decides, as in rsync(1): `-a --no-o` keeps no owners, `--no-o -a` does.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use driftless_proto::limits;
use driftless_proto::model::filter::Rules;
use driftless_proto::model::options::Options;
use driftless_proto::model::path::Escaped;

use super::Usage;
use crate::exit::Exit;

/// A part of `-a`: how it is spelt, and what it switches.
struct Part {
    short: Option<char>,
    long: &'static str,
    /// The negation, and its short form.
    no: [&'static str; 2],
    help: &'static str,
    set: fn(&mut Options, bool),
}

/// What `-a` implies, with `-D` as its two halves.
const PARTS: &[Part] = &[
    Part {
        short: Some('r'),
        long: "recursive",
        no: ["no-recursive", "no-r"],
        help: "Descend into directories",
        set: |options, on| options.recursive = on,
    },
    Part {
        short: Some('l'),
        long: "links",
        no: ["no-links", "no-l"],
        help: "Copy symlinks as symlinks",
        set: |options, on| options.links = on,
    },
    Part {
        short: Some('p'),
        long: "perms",
        no: ["no-perms", "no-p"],
        help: "Keep permissions",
        set: |options, on| options.perms = on,
    },
    Part {
        short: Some('t'),
        long: "times",
        no: ["no-times", "no-t"],
        help: "Keep modification times",
        set: |options, on| options.times = on,
    },
    Part {
        short: Some('g'),
        long: "group",
        no: ["no-group", "no-g"],
        help: "Keep groups, where the receiver may",
        set: |options, on| options.group = on,
    },
    Part {
        short: Some('o'),
        long: "owner",
        no: ["no-owner", "no-o"],
        help: "Keep owners, where the receiver may",
        set: |options, on| options.owner = on,
    },
    Part {
        short: None,
        long: "devices",
        no: ["no-devices", ""],
        help: "Keep device nodes, where the receiver may",
        set: |options, on| options.devices = on,
    },
    Part {
        short: None,
        long: "specials",
        no: ["no-specials", ""],
        help: "Keep fifos and sockets",
        set: |options, on| options.specials = on,
    },
];

/// Adds the options that decide what is copied and how.
pub fn add(command: Command) -> Command {
    let flag = |id: &'static str, help| Arg::new(id).long(id).action(ArgAction::SetTrue).help(help);
    let command = command
        .next_help_heading("What is copied")
        .arg(flag("archive", "Everything below down to -D: -rlptgoD").short('a'));
    let command = PARTS.iter().fold(command, |command, part| {
        let arg = flag(part.long, part.help).short(part.short);
        let [long, short] = part.no;
        let negation = flag(long, "").hide(true);
        command.arg(arg).arg(if short.is_empty() { negation } else { negation.alias(short) })
    });
    let rule = |id: &'static str, name, help| {
        Arg::new(id)
            .long(id)
            .value_name(name)
            .help(help)
            .action(ArgAction::Append)
            .allow_hyphen_values(true)
            .value_parser(clap::value_parser!(OsString))
    };
    command
        .arg(Arg::new("D").short('D').action(ArgAction::SetTrue).help("Same as --devices --specials"))
        .arg(flag("no-D", "").hide(true))
        .arg(flag("delete", "Remove at the destination what the source does not have (needs -r)"))
        .arg(rule("exclude", "PATTERN", "Leave out what matches; the first matching rule decides"))
        .arg(rule("include", "PATTERN", "Do not leave out what matches"))
        .arg(rule("exclude-from", "FILE", "Read --exclude patterns from FILE, `-` for standard input"))
        .arg(rule("include-from", "FILE", "Read --include patterns from FILE, `-` for standard input"))
        .next_help_heading("How it is copied")
        .arg(flag("dry-run", "Show what would be done, change nothing").short('n'))
        .arg(flag("compress", "Compress on the wire").short('z'))
        .arg(flag("partial", "Keep the data of an interrupted file for the next run"))
        .arg(Arg::new("P").short('P').action(ArgAction::SetTrue).help("Same as --partial --progress"))
        .arg(
            Arg::new("bwlimit")
                .long("bwlimit")
                .value_name("RATE")
                .help(
                    "Bytes a second, in KiB unless a suffix says otherwise (512b, 1.5m, 2MB); 0 for no limit",
                )
                .allow_hyphen_values(true)
                .value_parser(rate),
        )
}

/// Where an option stands on the command line the last time; `None` when it is not there.
fn last_index(matches: &ArgMatches, id: &str) -> Option<usize> {
    indices(matches, id)?.last()
}

/// Where an option stands on the command line the first time; `None` when it is not there.
pub fn first_index(matches: &ArgMatches, id: &str) -> Option<usize> {
    indices(matches, id)?.next()
}

/// Where an option stands. A flag that was not typed has an index too, of its default, which does not count.
fn indices<'a>(matches: &'a ArgMatches, id: &str) -> Option<impl Iterator<Item = usize> + use<'a>> {
    if matches.value_source(id) != Some(ValueSource::CommandLine) {
        return None;
    }
    matches.indices_of(id)
}

/// Whether a flag was typed.
pub fn given(matches: &ArgMatches, id: &str) -> bool {
    last_index(matches, id).is_some()
}

/// The options as typed, upon `base`. What only a command knows (a restore, reporting) is left to the caller.
pub fn options(matches: &ArgMatches, base: Options) -> Options {
    let mut options = Options {
        delete: given(matches, "delete"),
        dry_run: given(matches, "dry-run"),
        compress: given(matches, "compress"),
        partial: base.partial || given(matches, "partial") || given(matches, "P"),
        bwlimit: matches.get_one("bwlimit").copied().unwrap_or(0),
        ..base
    };
    let archive = last_index(matches, "archive");
    for part in PARTS {
        let special = matches!(part.long, "devices" | "specials");
        let of_d = |id| if special { last_index(matches, id) } else { None };
        let on = archive.max(last_index(matches, part.long)).max(of_d("D"));
        let off = last_index(matches, part.no[0]).max(of_d("no-D"));
        if on != off {
            (part.set)(&mut options, on > off);
        }
    }
    options
}

/// Reads words that say what is kept of each entry, as `-a` or `-rlt --no-owner`: the `options` of a job's config.
///
/// # Errors
/// The word that is not one of them, and where it belongs.
pub(crate) fn kept(words: &str) -> Result<Options, String> {
    /// What a job says by other keys, or cannot say.
    const NOT_HERE: [(&str, &str); 9] = [
        ("delete", "write delete = true instead"),
        ("compress", "write compress = true instead"),
        ("bwlimit", "write bwlimit = \"...\" instead"),
        ("exclude", "write exclude = [...] instead"),
        ("include", "write include = [...] instead"),
        ("exclude-from", "write exclude-from = [...] instead"),
        ("include-from", "write include-from = [...] instead"),
        ("dry-run", "a job is never one; try it with driftless push"),
        ("P", "a job shows no progress; driftless status tells how far it is"),
    ];
    let command =
        Command::new("options").no_binary_name(true).disable_help_flag(true).args_override_self(true);
    let matches = super::refused::add(add(command)).try_get_matches_from(words.split_whitespace());
    let matches = matches.map_err(|error| {
        let text = error.render().to_string();
        let line = text.lines().next().unwrap_or_default();
        format!(
            "{}: what is kept is said here, as -a, -rlt or -a --no-owner",
            line.strip_prefix("error: ").unwrap_or(line)
        )
    })?;
    if let Some(message) = super::refused::first(&matches) {
        return Err(message);
    }
    match NOT_HERE.iter().find(|(id, _)| given(&matches, id)) {
        Some((id, instead)) => Err(format!("--{id}: {instead}").replace("--P", "-P")),
        None => Ok(options(&matches, Options::default())),
    }
}

/// The rules as typed, in their order across all four options.
pub fn rules(matches: &ArgMatches) -> Result<Rules, Usage> {
    let mut typed: Vec<(usize, &str, &OsString)> = Vec::new();
    for id in ["exclude", "include", "exclude-from", "include-from"] {
        let values = matches.get_many::<OsString>(id).into_iter().flatten();
        let indices = matches.indices_of(id).into_iter().flatten();
        typed.extend(indices.zip(values).map(|(index, value)| (index, id, value)));
    }
    typed.sort_by_key(|&(index, ..)| index);
    let mut rules = Rules::default();
    for (_, id, value) in typed {
        let bytes = value.as_bytes();
        // Exit code 11 when it cannot be read, as in rsync(1).
        let rule_file = |value: &OsString| {
            let failed = |why| Usage::new(Exit::File, format!("--{id}={}: {why}", Escaped(bytes)));
            rule_file(value).map_err(failed)
        };
        let added = match id {
            "exclude" => rules.exclude(bytes),
            "include" => rules.include(bytes),
            "exclude-from" => rules.exclude_from(&rule_file(value)?),
            _ => rules.include_from(&rule_file(value)?),
        };
        added.map_err(|error| Usage::new(Exit::Usage, format!("--{id}={}: {error}", Escaped(bytes))))?;
    }
    Ok(rules)
}

/// Whether standard input was asked for by a rule option, and how often.
pub fn rules_from_stdin(matches: &ArgMatches) -> usize {
    let from = |id| matches.get_many::<OsString>(id).into_iter().flatten();
    from("exclude-from").chain(from("include-from")).filter(|file| *file == "-").count()
}

/// The content of a rule file that the operator named.
///
/// # Errors
/// Why it cannot be read, without its name.
#[expect(
    clippy::disallowed_methods,
    reason = "a file that the operator names, opened once, not beneath any Root"
)]
pub(crate) fn rule_file(name: &OsStr) -> Result<Vec<u8>, String> {
    // More rules than this no hello may carry, so no honest file is cut.
    let most = (limits::RULES_MAX * limits::RULE_LEN) as u64;
    let mut content = Vec::new();
    let read = if name == "-" {
        std::io::stdin().lock().take(most + 1).read_to_end(&mut content)
    } else {
        std::fs::File::open(name).and_then(|file| file.take(most + 1).read_to_end(&mut content))
    };
    match read {
        Err(error) => Err(error.to_string()),
        Ok(read) if read as u64 > most => Err(format!("larger than {most} bytes")),
        Ok(_) => Ok(content),
    }
}

/// Reads `--bwlimit` as rsync(1) reads a SIZE: a number, a unit of `b k m g t p` (KiB when left out) counting by
/// 1024, or by 1000 when another `b` follows; `ib` says 1024 in full; `+1` or `-1` moves the result by one byte.
pub(crate) fn rate(typed: &str) -> Result<u64, String> {
    let end = typed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(typed.len());
    let (number, unit) = typed.split_at(end);
    let number: f64 = number.parse().map_err(|_| "not a number".to_owned())?;
    let unit = unit.to_ascii_lowercase();
    let (unit, shift) = match (unit.strip_suffix("+1"), unit.strip_suffix("-1")) {
        (Some(unit), _) => (unit, 1.0),
        (_, Some(unit)) => (unit, -1.0),
        _ => (unit.as_str(), 0.0),
    };
    let (letter, base) = match unit.as_bytes() {
        [] => (b'k', 1024.0_f64),
        [letter] | [letter, b'i', b'b'] => (*letter, 1024.0),
        [letter, b'b'] => (*letter, 1000.0),
        _ => return Err(format!("unknown unit {unit}")),
    };
    let Some(power) = b"bkmgtp".iter().position(|&known| known == letter) else {
        return Err(format!("unknown unit {unit}"));
    };
    let bytes = (number * base.powi(power as i32) + shift).floor();
    // Below 2^53 every whole number is exact; 512 is the least that rsync(1) takes.
    match bytes {
        0.0 => Ok(0),
        512.0..9_007_199_254_740_992.0 => Ok(bytes as u64),
        _ => Err("a rate is 0 or from 512 bytes to 8 PiB a second".to_owned()),
    }
}

#[cfg(test)]
mod tests;
