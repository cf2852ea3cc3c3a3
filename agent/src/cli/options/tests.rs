//! Words on the command line, and the options and rules they make.

#![expect(clippy::disallowed_methods, reason = "tests make their files by path, in folders of their own")]

use super::super::{Invocation, parse};
use super::*;

fn typed(args: &[&str]) -> Result<Invocation, Usage> {
    let args = ["driftless", "push"].iter().chain(args).chain(&["src", "host::mod"]);
    parse(args.map(OsString::from))
}

fn ok(args: &[&str]) -> Invocation {
    typed(args).unwrap_or_else(|usage| panic!("{args:?}: {}", usage.message))
}

/// The attribute options as the letters that are on; `d` and `s` are the halves of `-D`.
fn letters(options: &Options) -> String {
    let bits = [
        (options.recursive, 'r'),
        (options.links, 'l'),
        (options.perms, 'p'),
        (options.times, 't'),
        (options.group, 'g'),
        (options.owner, 'o'),
        (options.devices, 'd'),
        (options.specials, 's'),
    ];
    bits.iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect()
}

#[test]
fn the_last_word_on_each_attribute_counts() {
    let table: [(&[&str], &str); 22] = [
        (&[], ""),
        (&["-a"], "rlptgods"),
        (&["--archive"], "rlptgods"),
        (&["-rt"], "rt"),
        (&["--perms", "--owner"], "po"),
        (&["-a", "--no-o"], "rlptgds"),
        (&["--no-o", "-a"], "rlptgods"),
        (&["-a", "--no-p", "-a"], "rlptgods"),
        (&["-a", "--no-perms", "--no-g"], "rltods"),
        (&["-a", "--no-p", "-p"], "rlptgods"),
        (&["-p", "--no-p"], ""),
        (&["--no-p", "-p", "--no-p", "-p"], "p"),
        (&["-D"], "ds"),
        (&["--devices"], "d"),
        (&["--specials"], "s"),
        (&["-a", "--no-D"], "rlptgo"),
        (&["-a", "--no-devices"], "rlptgos"),
        (&["-a", "--no-specials"], "rlptgod"),
        (&["--no-D", "-a"], "rlptgods"),
        (&["-D", "--no-D", "--devices"], "d"),
        (&["--no-devices", "-D"], "ds"),
        (&["-vaz", "--no-recursive", "--no-l", "--no-t", "--no-r"], "pgods"),
    ];
    for (args, want) in table {
        assert_eq!(letters(&ok(args).options), want, "{args:?}");
    }
}

#[test]
fn flags_in_a_bundle_before_and_after_the_operands() {
    let before = ok(&["-avzP"]);
    let args = ["driftless", "push", "src", "-av", "host::mod", "-zP"];
    let after = parse(args.map(OsString::from)).expect("options behind operands");
    for run in [before, after] {
        assert_eq!(letters(&run.options), "rlptgods");
        assert!(run.options.compress && run.options.partial && run.options.report);
        assert!(!run.options.delete && !run.options.dry_run && !run.options.keep_replaced);
        assert!(run.progress && !run.stats);
        assert_eq!(run.verbosity, 1);
        assert_eq!((run.sources.len(), run.dest.is_some()), (1, true));
    }
    let run = ok(&["-n", "--delete", "-r", "--partial", "--stats"]);
    assert!(run.options.dry_run && run.options.delete && run.options.partial && run.stats);
    assert!(!run.options.compress && !run.options.report && !run.progress);
}

#[test]
fn quiet_silences_what_the_others_show() {
    let run = ok(&["-vvP", "--stats", "-q"]);
    assert_eq!(run.verbosity, -1);
    assert!(!run.progress && !run.stats && !run.options.report && run.options.partial);
}

#[test]
fn rates_are_read_as_rsync_reads_sizes() {
    let table = [
        ("0", Ok(0)),
        ("1", Ok(1024)),
        ("1.5m", Ok(1_572_864)),
        ("10K", Ok(10_240)),
        ("2MB", Ok(2_000_000)),
        ("2MiB", Ok(2_097_152)),
        ("1kib", Ok(1024)),
        ("512b", Ok(512)),
        ("0.5", Ok(512)),
        ("3+1", Ok(3073)),
        ("1g-1", Ok(1_073_741_823)),
        ("0.1", Err(())),
        ("511b", Err(())),
        ("-3", Err(())),
        ("x", Err(())),
        ("", Err(())),
        ("1.2.3", Err(())),
        ("1x", Err(())),
        ("1mbb", Err(())),
        ("9999999p", Err(())),
    ];
    for (text, want) in table {
        assert_eq!(rate(text).map_err(|_| ()), want, "{text}");
    }
    assert_eq!(ok(&["--bwlimit=2m"]).options.bwlimit, 2_097_152);
    assert_eq!(ok(&["--bwlimit", "7"]).options.bwlimit, 7168);
    assert_eq!(typed(&["--bwlimit=-3"]).expect_err("too small").exit, Exit::Usage);
}

#[test]
fn rules_keep_their_order_across_options_and_files() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("rules");
    std::fs::write(&file, b"x\ny\n").expect("write");
    let file = file.to_str().expect("text");
    let run = ok(&[
        "--exclude=a",
        "--include",
        "b",
        "--exclude-from",
        file,
        "--exclude",
        "-c",
        "--include-from",
        file,
    ]);
    let mut want = Rules::default();
    want.exclude(b"a").expect("rule");
    want.include(b"b").expect("rule");
    want.exclude_from(b"x\ny\n").expect("rules");
    want.exclude(b"-c").expect("rule");
    want.include_from(b"x\ny\n").expect("rules");
    assert_eq!(format!("{:?}", run.rules), format!("{want:?}"));
    assert!(ok(&["-a"]).rules.is_empty());
}

#[test]
fn a_rule_file_that_cannot_be_read_is_a_file_error() {
    let usage = typed(&["--exclude-from=/nonexistent/rules"]).expect_err("missing");
    assert_eq!(usage.exit, Exit::File);
    assert!(usage.message.starts_with("--exclude-from=/nonexistent/rules: "), "{}", usage.message);
}
