//! Every option of rsync(1) that does not exist here yet. Each is known by name, so that an operator who brings a
//! working rsync command learns which word stands in the way, and never that a word was silently dropped.

use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;

/// Options without a value: short letter, long name (`-F` has none). Each alias is a row of its own, so that the
/// message repeats what was typed.
const FLAGS: &[(Option<char>, &str)] = &[
    (None, "append"),
    (None, "append-verify"),
    (None, "blocking-io"),
    (None, "copy-devices"),
    (None, "copy-unsafe-links"),
    (None, "daemon"),
    (None, "del"),
    (None, "delay-updates"),
    (None, "delete-after"),
    (None, "delete-before"),
    (None, "delete-delay"),
    (None, "delete-during"),
    (None, "delete-excluded"),
    (None, "delete-missing-args"),
    (None, "detach"),
    (None, "drop-D"),
    (None, "existing"),
    (None, "fake-super"),
    (None, "force"),
    (None, "fsync"),
    (None, "i-d"),
    (None, "i-r"),
    (None, "ignore-errors"),
    (None, "ignore-existing"),
    (None, "ignore-missing-args"),
    (None, "ignore-non-existing"),
    (None, "inc-recursive"),
    (None, "inplace"),
    (None, "insecure-links"),
    (None, "list-only"),
    (None, "mkpath"),
    (None, "msgs2stderr"),
    (None, "munge-links"),
    (None, "new-compress"),
    (None, "numeric-ids"),
    (None, "old-args"),
    (None, "old-compress"),
    (None, "old-d"),
    (None, "old-dirs"),
    (None, "open-noatime"),
    (None, "preallocate"),
    (None, "protect-args"),
    (None, "qsort"),
    (None, "remove-sent-files"),
    (None, "remove-source-files"),
    (None, "safe-links"),
    (None, "sender"),
    (None, "server"),
    (None, "size-only"),
    (None, "super"),
    (None, "trust-sender"),
    (None, "write-devices"),
    (Some('0'), "from0"),
    (Some('4'), "ipv4"),
    (Some('6'), "ipv6"),
    (Some('8'), "8-bit-output"),
    (Some('A'), "acls"),
    (Some('C'), "cvs-exclude"),
    (Some('E'), "executability"),
    (Some('F'), ""),
    (Some('H'), "hard-links"),
    (Some('I'), "ignore-times"),
    (Some('J'), "omit-link-times"),
    (Some('K'), "keep-dirlinks"),
    (Some('L'), "copy-links"),
    (Some('N'), "crtimes"),
    (Some('O'), "omit-dir-times"),
    (Some('R'), "relative"),
    (Some('S'), "sparse"),
    (Some('U'), "atimes"),
    (Some('W'), "whole-file"),
    (Some('X'), "xattrs"),
    (Some('b'), "backup"),
    (Some('c'), "checksum"),
    (Some('d'), "dirs"),
    (Some('h'), "human-readable"),
    (Some('i'), "itemize-changes"),
    (Some('k'), "copy-dirlinks"),
    (Some('m'), "prune-empty-dirs"),
    (Some('s'), "secluded-args"),
    (Some('u'), "update"),
    (Some('x'), "one-file-system"),
    (Some('y'), "fuzzy"),
];

/// Options that take a value.
const VALUED: &[(Option<char>, &str)] = &[
    (None, "address"),
    (None, "backup-dir"),
    (None, "cc"),
    (None, "checksum-choice"),
    (None, "checksum-seed"),
    (None, "chmod"),
    (None, "chown"),
    (None, "compare-dest"),
    (None, "compress-choice"),
    (None, "compress-level"),
    (None, "compress-threads"),
    (None, "config"),
    (None, "confine-root"),
    (None, "contimeout"),
    (None, "copy-as"),
    (None, "copy-dest"),
    (None, "debug"),
    (None, "dparam"),
    (None, "early-input"),
    (None, "files-from"),
    (None, "groupmap"),
    (None, "iconv"),
    (None, "info"),
    (None, "link-dest"),
    (None, "log-file-format"),
    (None, "log-format"),
    (None, "max-alloc"),
    (None, "max-delete"),
    (None, "max-size"),
    (None, "min-size"),
    (None, "only-write-batch"),
    (None, "out-format"),
    (None, "outbuf"),
    (None, "partial-dir"),
    (None, "protocol"),
    (None, "read-batch"),
    (None, "rsync-path"),
    (None, "skip-compress"),
    (None, "sockopts"),
    (None, "stderr"),
    (None, "stop-after"),
    (None, "stop-at"),
    (None, "suffix"),
    (None, "time-limit"),
    (None, "usermap"),
    (None, "write-batch"),
    (None, "zc"),
    (None, "zl"),
    (None, "zt"),
    (Some('@'), "modify-window"),
    (Some('B'), "block-size"),
    (Some('M'), "remote-option"),
    (Some('T'), "temp-dir"),
    (Some('e'), "rsh"),
    (Some('f'), "filter"),
];

/// Negations that rsync knows, beyond those of what `-a` implies.
const NEGATED: &[&str] = &[
    "no-8",
    "no-8-bit-output",
    "no-A",
    "no-H",
    "no-J",
    "no-N",
    "no-O",
    "no-R",
    "no-S",
    "no-U",
    "no-W",
    "no-X",
    "no-acls",
    "no-append",
    "no-atimes",
    "no-backup",
    "no-blocking-io",
    "no-bwlimit",
    "no-c",
    "no-checksum",
    "no-compress",
    "no-contimeout",
    "no-crtimes",
    "no-d",
    "no-detach",
    "no-dirs",
    "no-force",
    "no-from0",
    "no-fuzzy",
    "no-h",
    "no-hard-links",
    "no-human-readable",
    "no-i",
    "no-i-d",
    "no-i-r",
    "no-iconv",
    "no-ignore-errors",
    "no-implied-dirs",
    "no-inc-recursive",
    "no-inplace",
    "no-itemize-changes",
    "no-m",
    "no-mkpath",
    "no-motd",
    "no-msgs2stderr",
    "no-numeric-ids",
    "no-old-args",
    "no-omit-dir-times",
    "no-omit-link-times",
    "no-one-file-system",
    "no-partial",
    "no-progress",
    "no-protect-args",
    "no-prune-empty-dirs",
    "no-relative",
    "no-s",
    "no-secluded-args",
    "no-sparse",
    "no-super",
    "no-timeout",
    "no-v",
    "no-verbose",
    "no-whole-file",
    "no-x",
    "no-xattrs",
    "no-y",
    "no-z",
];

/// The rows of all three tables: short letter, long name, whether it takes a value.
fn rows() -> impl Iterator<Item = (Option<char>, &'static str, bool)> {
    let flags = FLAGS.iter().map(|&(short, long)| (short, long, false));
    let valued = VALUED.iter().map(|&(short, long)| (short, long, true));
    let negated = NEGATED.iter().map(|&long| (None, long, false));
    flags.chain(valued).chain(negated)
}

/// Whether rsync has an option of this name that is not supported here, by its letter or its long name: its letter, its
/// long name, and whether it takes a value.
pub(crate) fn known(name: &str) -> Option<(Option<char>, &'static str, bool)> {
    let letter = name.chars().next().filter(|_| name.chars().count() == 1);
    rows().find(|&(short, long, _)| !long.is_empty() && long == name || letter.is_some() && short == letter)
}

/// What clap knows the option by. Only `-F` has no long name.
fn id(long: &'static str) -> &'static str {
    if long.is_empty() { "dir-merge-shorthand" } else { long }
}

/// Teaches a command to recognise them all, bundled or not, without showing them in its help; but for a name that it has
/// given a meaning of its own.
pub fn add(command: Command) -> Command {
    let own: Vec<String> = command.get_arguments().filter_map(Arg::get_long).map(str::to_owned).collect();
    let others = rows().filter(|(_, long, _)| !own.iter().any(|own| own == long));
    command.args(others.map(|(short, long, valued)| {
        let arg = Arg::new(id(long)).hide(true).short(short);
        let arg = if long.is_empty() { arg } else { arg.long(long) };
        if valued {
            let arg = arg.action(ArgAction::Append).allow_hyphen_values(true);
            arg.value_parser(clap::value_parser!(OsString))
        } else {
            arg.action(ArgAction::SetTrue)
        }
    }))
}

/// The message for the first of them on the command line, if there is any.
pub fn first(matches: &ArgMatches) -> Option<String> {
    rows()
        .filter(|(_, long, _)| matches.try_contains_id(id(long)).is_ok())
        .filter_map(|(short, long, _)| Some((super::options::first_index(matches, id(long))?, short, long)))
        .min_by_key(|&(index, ..)| index)
        .map(|(_, short, long)| message(short, long))
}

fn message(short: Option<char>, long: &str) -> String {
    let name = match (short, long) {
        (Some(short), "") => format!("-{short}"),
        (Some(short), long) => format!("--{long} (-{short})"),
        (None, long) => format!("--{long}"),
    };
    let hint = match long {
        "rsh" | "rsync-path" | "blocking-io" => "; there is no remote shell, name servers as host::module",
        "daemon" | "server" => "; the server is driftlessd",
        _ => "",
    };
    format!("{name}: a known rsync option that is not supported yet{hint}")
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::exit::Exit;

    fn refusal(args: &[&str]) -> String {
        let args = ["driftless", "push"].iter().chain(args).chain(&["src", "host::mod"]);
        let usage = parse(args.map(OsString::from)).expect_err("refused");
        assert_eq!(usage.exit, Exit::Unsupported, "{}", usage.message);
        assert!(!usage.message.contains('\n'), "{}", usage.message);
        usage.message
    }

    #[test]
    fn every_row_is_refused_by_name_in_every_form() {
        for (short, long, valued) in rows() {
            if !long.is_empty() {
                let option = format!("--{long}");
                let forms: &[Vec<String>] = if valued {
                    &[vec![format!("{option}=-x")], vec![option.clone(), "-x".to_owned()]]
                } else {
                    &[vec![option.clone()], vec![option.clone(), option.clone()]]
                };
                for form in forms {
                    let form: Vec<&str> = form.iter().map(String::as_str).collect();
                    let message = refusal(&form);
                    assert!(message.starts_with(&option), "{message}");
                }
            }
            if let Some(short) = short {
                let value = if valued { "7" } else { "" };
                let message = refusal(&[&format!("-av{short}{value}")]);
                let named =
                    message.starts_with(&format!("-{short}:")) || message.contains(&format!("(-{short})"));
                assert!(named, "{message}");
            }
        }
    }

    #[test]
    fn the_first_one_typed_is_named() {
        assert_eq!(
            refusal(&["-avc", "-H"]),
            "--checksum (-c): a known rsync option that is not supported yet"
        );
        assert!(refusal(&["-H", "-avc"]).starts_with("--hard-links (-H): "));
    }

    #[test]
    fn a_remote_shell_gets_a_hint() {
        assert!(refusal(&["-e", "ssh -p 22"]).contains("host::module"));
        assert!(refusal(&["-essh"]).contains("host::module"));
    }
}
