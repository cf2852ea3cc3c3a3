//! Configs of `driftless run` that are not taken, and what is said of them, to the letter: every bad line at once, each with
//! its number and what to write instead.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use driftless_tests::World;

/// What stands before the lines of a job that are tried: lines 1 to 4.
const JOB: &str = "[[job]]\nname = \"j\"\nsource = \"/s/\"\ndestination = \"h::m\"\n";

/// A job of these lines, from line 5.
fn job(lines: &str) -> String {
    format!("{JOB}{lines}\n")
}

/// A config, and what is said of it: `FILE:` stands before every line, and `WORLD` for the test's folder.
type Wrong = (String, Vec<&'static str>);

/// A job of these lines, and the line that is said of it.
fn one(lines: &str, said: &'static str) -> Wrong {
    (job(lines), vec![said])
}

/// What is wrong with a file, or with a job as a whole.
fn of_the_file() -> Vec<Wrong> {
    vec![
        (String::new(), vec!["1: error: there is no job: add a [[job]] with name, source and destination"]),
        ("[[job]\nname = 1\n".into(), vec!["1: error: not TOML: unclosed array table, expected `]`"]),
        (
            "[job]\nname = \"a\"\n".into(),
            vec!["1: error: job: one job of several is written [[job]], with two brackets"],
        ),
        (
            "[[job]]\n".into(),
            vec![
                "1: error: job: destination is missing: destination = \"user@host::module/path\"",
                "1: error: job: name is missing: name = \"...\" stands before its lines in the log",
                "1: error: job: source is missing: source = \"/srv/code/\"",
            ],
        ),
        one("exlude = [\"*.o\"]", "5: error: job j: unknown key `exlude`: did you mean `exclude`?"),
        (
            format!("log_file = \"/l\"\n{JOB}"),
            vec!["1: error: unknown key `log_file`: did you mean `log-file`?"],
        ),
        (
            format!("{JOB}[[job]]\nname = \"j\"\nsource = \"/t\"\ndestination = \"h::m/\"\n"),
            vec![
                "6: error: job: name: j: the job in line 2 is called so already: give each its own name",
                "8: error: job j: destination: the destination in line 4 is the same: each needs a path of its own",
            ],
        ),
        (
            format!("[defaults]\nsource = \"/s\"\n{JOB}"),
            vec!["2: error: defaults: source: each job has its own: move it to a [[job]]"],
        ),
    ]
}

/// What is wrong with where a job goes, and how it watches.
fn of_a_job() -> Vec<Wrong> {
    vec![
        (
            JOB.replace("\"/s/\"", "\"code/\""),
            vec!["3: error: job j: source: code/: an absolute path is needed: it begins with /"],
        ),
        (
            JOB.replace("\"h::m\"", "\"root@h:/backup\""),
            vec![
                "4: error: job j: destination: root@h:/backup: there is no remote shell, only host::module[/path] or \
                 driftless://host/module[/path] (for a local name with a colon write ./NAME)",
            ],
        ),
        (
            JOB.replace("\"h::m\"", "\"/backup\""),
            vec!["4: error: job j: destination: /backup: a server is wanted: user@host::module/path"],
        ),
        one(
            "destinations = [\"h::n\"]",
            "4: error: job j: destination: `destination` and `destinations` exclude each other: move it into the list",
        ),
        one(
            "delete = \"yes\"",
            "5: error: job j: delete: a string stands here: true or false, without quotes, is wanted",
        ),
        one("brake = \"many\"", "5: error: job j: brake: many: expected N:P%, as 1000:50%, or off"),
        one("engine = \"inotfy\"", "5: error: job j: engine: inotfy: did you mean \"inotify\"?"),
        one("mode = \"cron\"", "5: error: job j: mode: cron: one of watch, scheduled is wanted"),
        one(
            "mode = \"scheduled\"",
            "5: error: job j: mode: a scheduled job runs by its schedule only: add schedule = \"30 3 * * *\"",
        ),
    ]
}

/// What is wrong with when a job runs, and what goes along.
fn of_a_schedule() -> Vec<Wrong> {
    vec![
        one(
            "schedule = \"30 25 * * *\"",
            "5: error: job j: schedule: 30 25 * * *: Number out of bounds; five fields are wanted: minute hour day-of-month \
             month day-of-week, as 30 3 * * *",
        ),
        one(
            "before = \"sync\"",
            "5: error: job j: before: it runs around a scheduled run, and a watch without a schedule has none: add schedule \
             = \"30 3 * * *\"",
        ),
        one(
            "schedule = \"@daily\"\nafter = { command = [], timeout = \"1m\" }",
            "6: error: job j: command: the command is empty: take it out, or name a program",
        ),
        one(
            "schedule = \"@daily\"\nbefore = { command = \"x\", timeout = \"10\" }",
            "6: error: job j: timeout: 10: expected a number and its unit, as 90s, 10m or 2h",
        ),
        one("bwlimit = \"10x\"", "5: error: job j: bwlimit: 10x: unknown unit x"),
    ]
}

/// What is wrong with single values, and with what they name.
fn of_values() -> Vec<Wrong> {
    let pin = format!("sha256:{}", "0".repeat(64));
    vec![
        one(
            "bwlimit = [{ from = \"8\", to = \"18:00\", limit = \"2m\" }]",
            "5: error: job j: from: 8: expected a time of day, as 08:00",
        ),
        one(
            "options = \"-a --delete\"",
            "5: error: job j: options: -a --delete: --delete: write delete = true instead",
        ),
        one(
            "options = \"-aH\"",
            "5: error: job j: options: -aH: --hard-links (-H): a known rsync option that is not supported yet",
        ),
        one(
            "rules = [\"*.o\"]\nexclude = [\"x\"]",
            "5: error: job j: rules: `rules` has an order of its own: move what is in include and exclude there, as \"+ \
             PATTERN\" and \"- PATTERN\"\n5: error: job j: rules: rule `*.o` begins with neither `- ` nor `+ `",
        ),
        one(
            "password-file = \"WORLD/open\"",
            "5: error: job j: password-file: WORLD/open: the password file must not be readable or writable by everyone \
             (chmod 600)",
        ),
        one("ca = \"/ca.pem\"", "5: error: job j: ca: /ca.pem: No such file or directory (os error 2)"),
        (
            job(&format!("ca = \"/ca.pem\"\nfingerprint = \"{pin}\"\nport = 70000")),
            vec![
                "6: error: job j: fingerprint: `ca` and `fingerprint` exclude each other: keep one of them",
                "7: error: job j: port: an integer stands here: a number from 1 to 65535 is wanted",
            ],
        ),
    ]
}

#[test]
fn a_wrong_config_is_refused_and_every_bad_line_is_named() {
    let world = World::new();
    let open = world.file("open", "secret\n");
    fs::set_permissions(open, fs::Permissions::from_mode(0o604)).expect("chmod");
    let agent = world.stranger().without("--state-dir");
    let here = world.path("").display().to_string();
    let here = here.trim_end_matches('/');
    let table = [of_the_file(), of_a_job(), of_a_schedule(), of_values()].concat();
    assert!(table.len() >= 20);
    for (text, said) in table {
        let config = world.file("agent.toml", text.replace("WORLD", here));
        for check in ["--check ", ""] {
            let options = format!("{check}--config {}", config.display());
            let out = agent.run("run", &options, &[]).exits(1);
            let lines: Vec<String> = said
                .iter()
                .flat_map(|said| said.split('\n'))
                .map(|said| format!("{}:{}", config.display(), said.replace("WORLD", here)))
                .collect();
            assert_eq!(out.stderr.lines().collect::<Vec<_>>(), lines, "{text}");
            assert!(out.stdout.is_empty(), "{}", out.stdout);
        }
    }
    let gone = agent.run("run", "--config /no/such/file", &[]).exits(1);
    assert_eq!(gone.stderr, "/no/such/file: error: No such file or directory (os error 2)\n");
}

#[test]
fn a_check_says_what_would_run() {
    let world = World::new();
    let text = format!(
        "[defaults]\nport = 99\n{JOB}delete = true\nexclude = \"*.o\"\n\
         bwlimit = [{{ from = \"8:00\", to = \"18:00\", limit = \"2m\" }}, {{ limit = \"off\" }}]\n\
         [[job]]\nname = \"db\"\nsource = \"/var/db\"\ndestinations = [\"u@a::m\", \"u@b::m/x\"]\nmode = \"scheduled\"\n\
         schedule = \"15 2 1 1 *\"\nbefore = {{ command = [\"dump\", \"a b\"], timeout = \"10m\" }}\nafter = \"exit\"\n"
    );
    let config = world.file("agent.toml", text);
    let agent = world.stranger().without("--state-dir").env("TZ", "UTC");
    let out = agent.run("run", &format!("--check --config {}", config.display()), &[]).ok();
    let year =
        out.stdout.split("runs next ").nth(1).and_then(|rest| rest.get(..4)).expect("a year").to_owned();
    let want = format!(
        "job j: watches\n  /s/ -> h::m, delete, brake 1000:50%, with rules\n    \
         bwlimit 08:00 to 18:00: 2097152 bytes a second; no limit\n\
         job db: runs by its schedule\n  schedule 15 2 1 1 *: runs next {year}-01-01 02:15:00 UTC\n  \
         before dump 'a b', at most 600 s\n  after /bin/sh -c exit, at most 3600 s\n  \
         /var/db -> u@a::m\n  /var/db -> u@b::m/x\n"
    );
    assert_eq!(out.stdout, want);
    assert!(out.stderr.is_empty(), "{}", out.stderr);
}
