//! Whole command lines: what they become, and how they are refused.

use super::*;

fn line(args: &[&str]) -> Result<Invocation, Usage> {
    parse(["driftless"].iter().chain(args).map(OsString::from))
}

fn ok(args: &[&str]) -> Invocation {
    line(args).unwrap_or_else(|usage| panic!("{args:?}: {}", usage.message))
}

#[test]
fn clap_finds_no_clash_between_our_options_and_the_refused_ones() {
    clap_command().debug_assert();
}

#[test]
fn the_operands_decide_what_a_command_does() {
    let table: [(&[&str], Command); 12] = [
        (&["sync", "a", "b"], Command::Copy),
        (&["sync", "a", "h::m"], Command::Push),
        (&["sync", "h::m", "b"], Command::Pull),
        (&["sync", "a", "b", "c", "h::m/x"], Command::Push),
        (&["push", "a", "driftless://h:9/m"], Command::Push),
        (&["pull", "h::m/a", "::m/b", "d"], Command::Pull),
        (&["pull", "rsync://h/"], Command::Modules),
        (&["sync", "h::"], Command::Modules),
        (&["watch", "-a", "--delete", "a/", "joe@h::m"], Command::Watch),
        (&["restore", "h::m/", "b"], Command::Restore),
        (&["restore", "h::m/a", "h::m/b", "d"], Command::Restore),
        (&["push", "--", "-a", "h::m"], Command::Push),
    ];
    for (args, want) in table {
        let run = ok(args);
        assert_eq!(run.command, want, "{args:?}");
        assert_eq!(run.dest.is_none(), want == Command::Modules);
    }
}

#[test]
fn an_engine_is_known_by_its_name_and_auto_where_none_is_given() {
    assert_eq!(ok(&["watch", "-a", "a", "h::m"]).engine, Choice::Auto);
    for (name, choice) in Choice::NAMES {
        assert_eq!(ok(&["watch", "-a", "--engine", name, "a", "h::m"]).engine, choice);
    }
}

#[test]
fn bad_usage_is_one_line_with_exit_code_1() {
    let table: &[(&[&str], &str)] = &[
        (&[], "subcommand"),
        (&["fly"], "fly"),
        (&["push"], "operands are missing"),
        (&["push", "a"], "source and a destination"),
        (&["push", "h::"], "source and a destination"),
        (&["restore", "h::m"], "source and a destination"),
        (&["watch", "-a", "a"], "source and a destination"),
        (&["push", "a", "b"], "push needs a local source"),
        (&["push", "h::m", "b"], "push needs a local source"),
        (&["pull", "a", "b"], "pull needs a remote source"),
        (&["pull", "a", "h::m"], "pull needs a remote source"),
        (&["restore", "a", "b"], "restore needs a remote source"),
        (&["watch", "-a", "a", "b"], "watch needs a local source"),
        (&["watch", "-a", "a", "b", "h::m"], "one source"),
        (&["watch", "a", "h::m"], "--recursive"),
        (&["watch", "-a", "--engine=kqueue", "a", "h::m"], "kqueue"),
        (&["push", "-a", "--engine=poll", "a", "h::m"], "--engine is for watch"),
        (&["push", "-a", "--metrics=1", "a", "h::m"], "--metrics is for watch"),
        (&["watch", "-a", "--metrics=host:1", "a", "h::m"], "PORT or ADDRESS:PORT"),
        (&["wait"], "PATH or --all"),
        (&["wait", "--all", "a"], "--all"),
        (&["wait", "a", "b"], "b"),
        (&["wait", "--timeout=1w", "a"], "ms, s, m, h or d"),
        (&["explain"], "explain needs PATH"),
        (&["status", "--max-age=1m"], "--check"),
        (&["watch", "-an", "a", "h::m"], "--dry-run"),
        (&["sync", "h::m", "h::n"], "cannot both be remote"),
        (&["sync", "a", "h::"], "needs a module"),
        (&["sync", "h::", "b"], "needs a module"),
        (&["push", "a", "h:m"], "no remote shell"),
        (&["push", "a", "h::m/../x"], "`..`"),
        (&["pull", "h::m/../x", "b"], "`..`"),
        (&["pull", "h::m/a", "x", "b"], "same place"),
        (&["push", "--bogus", "a", "h::m"], "--bogus"),
        (&["push", "-aQ", "a", "h::m"], "-Q"),
        (&["push", "--delete", "a", "h::m"], "--delete does not work without"),
        (&["push", "-a", "--no-r", "--delete", "a", "h::m"], "--delete does not work without"),
        (&["push", "--timeout=soon", "a", "h::m"], "--timeout"),
        (&["push", "--port=0", "a", "h::m"], "--port"),
        (&["push", "--port", "a"], "--port"),
        (&["push", "--fingerprint=sha256:12", "a", "h::m"], "64 hexadecimal digits"),
        (&["push", "--client-cert=c", "a", "h::m"], "need each other"),
        (&["push", "--client-key=c", "a", "h::m"], "need each other"),
        (&["push", "--plaintext", "--ca=c", "a", "h::m"], "--plaintext excludes"),
        (&["push", "--exclude-from=-", "--include-from=-", "a", "h::m"], "standard input"),
        (&["push", "--password-file=-", "--exclude-from=-", "a", "h::m"], "standard input"),
        (&["push", "--verbose=3", "a", "h::m"], "--verbose"),
        (&["push", "-a", "--brake=off", "a", "h::m"], "--brake is for watch only"),
        (&["watch", "-a", "--brake=5", "a", "h::m"], "expected N:P%"),
        (&["sync", "-a", "--rewrite-brake=1:2%", "a", "b"], "--rewrite-brake is for watch only"),
        (&["watch", "-a", "--rewrite-brake=5", "a", "h::m"], "expected N:P%"),
    ];
    for (args, want) in table {
        let usage = line(args).expect_err(&args.join(" "));
        assert_eq!(usage.exit, Exit::Usage, "{args:?}: {}", usage.message);
        assert!(usage.message.contains(want), "{args:?}: {}", usage.message);
        assert!(usage.message.contains("--help"), "{args:?}: {}", usage.message);
        assert!(!usage.message.contains('\n'), "{args:?}: {}", usage.message);
    }
}

#[test]
fn bad_usage_of_a_check_is_no_warning_about_the_copy() {
    for args in [&["status", "--check", "--json"][..], &["status", "--max-age=soon", "--check"]] {
        assert_eq!(line(args).expect_err("refused").exit.code(), 3, "{args:?}");
    }
}

#[test]
fn listing_files_is_not_supported_yet() {
    for args in [&["pull", "h::m"][..], &["sync", "h::m/a/"], &["sync", "dir"]] {
        let usage = line(args).expect_err("refused");
        assert_eq!(usage.exit, Exit::Unsupported, "{args:?}");
    }
}

#[test]
fn help_and_version_are_no_failure() {
    for args in
        [&["--help"][..], &["-h"], &["push", "--help"], &["watch", "-h"], &["--version"], &["pull", "-V"]]
    {
        let usage = line(args).expect_err("help");
        assert_eq!(usage.exit, Exit::Ok, "{args:?}: {}", usage.message);
    }
    let help = line(&["push", "--help"]).expect_err("help").message;
    assert!(help.contains("--exclude-from <FILE>") && help.contains("--fingerprint <sha256:HEX>"), "{help}");
    assert!(help.starts_with("Copy from here to a server\n"), "{help}");
    assert!(!help.contains("--checksum") && !help.contains("--no-links"), "{help}");
    assert_eq!(line(&["push", "-h", "a", "h::m"]).expect_err("refused").exit, Exit::Unsupported);
}

#[test]
fn a_restore_has_safe_defaults_that_can_be_undone() {
    let options = ok(&["restore", "h::m", "d"]).options;
    assert_eq!(options, Options { report: true, ..restore_defaults() });
    assert!(options.keep_replaced && options.partial && !options.delete);
    let options = ok(&["restore", "-q", "--no-o", "--delete", "h::m", "d"]).options;
    assert!(!options.owner && options.group && options.delete && !options.report);
}

#[test]
fn connection_options_arrive() {
    let digits = "0aF".repeat(21) + "9";
    let (pin, other) = (format!("sha256:{digits}"), format!("--fingerprint=sha256:{}", "00".repeat(32)));
    let run = ok(&[
        "push",
        "a",
        "h::m",
        "--port=99",
        "--timeout",
        "7",
        "--password-file=-",
        "--fingerprint",
        &pin,
        &other,
        "--client-cert",
        "c",
        "--client-key=k",
        "--state-dir",
        "s",
    ]);
    assert_eq!((run.port, run.timeout), (Some(99), Some(Duration::from_secs(7))));
    assert_eq!(run.password_file, Some(PathBuf::from("-")));
    assert_eq!(run.state_dir, Some(PathBuf::from("s")));
    assert_eq!(run.trust.fingerprints.len(), 2);
    assert_eq!(run.trust.fingerprints[0][..3], [0x0a, 0xf0, 0xaf]);
    assert_eq!(run.trust.fingerprints[1], [0; 32]);
    assert_eq!((run.trust.client_cert, run.trust.client_key), (Some("c".into()), Some("k".into())));
    assert!(ok(&["push", "--timeout=0", "a", "h::m"]).timeout.is_none());
    assert!(line(&["push", "--ca=c", &other, "a", "h::m"]).is_err());
    assert!(line(&["push", &other, &other, &other, "a", "h::m"]).is_err());
}

#[test]
fn the_port_of_the_operand_goes_before_the_option() {
    let table: [(&[&str], u16); 4] = [
        (&["push", "a", "h::m"], DEFAULT_PORT),
        (&["push", "--port=5", "a", "h::m"], 5),
        (&["push", "a", "rsync://h:6/m"], 6),
        (&["push", "--port=5", "a", "rsync://h:6/m"], 6),
    ];
    for (args, want) in table {
        let run = ok(args);
        let Some(Place::Remote(remote)) = &run.dest else { panic!("remote") };
        assert_eq!(run.port_of(remote), want, "{args:?}");
    }
}
