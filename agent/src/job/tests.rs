//! job: tables of what configs mean, on no host at all.

use jiff::civil::time;

use super::*;

/// A host on which every file is as it should be, and empty.
struct Anywhere;

impl Host for Anywhere {
    fn rules(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(b"# none\n*.swp\n".into())
    }

    fn password(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn trust(&self, _: &Invocation) -> Result<(), String> {
        Ok(())
    }
}

fn ok(text: &str) -> Config {
    Config::parse(text, "a.toml", &Anywhere).unwrap_or_else(|complaints| panic!("{complaints}\n{text}"))
}

fn wrong(text: &str) -> Vec<String> {
    let complaints = Config::parse(text, "a.toml", &Anywhere).expect_err(text);
    complaints.to_string().lines().map(str::to_owned).collect()
}

/// A file with one job of these lines.
fn one(lines: &str) -> String {
    format!("[[job]]\nname = \"j\"\nsource = \"/s/\"\ndestination = \"h::m\"\n{lines}\n")
}

/// The invocation of the only destination of the only job.
fn invocation(lines: &str) -> Invocation {
    ok(&one(lines)).jobs[0].targets[0].invocation.clone()
}

/// What the command line makes of these words.
fn typed(words: &str) -> Invocation {
    let words = format!("driftless watch {words}");
    crate::cli::parse(words.split_whitespace().map(Into::into)).unwrap_or_else(|usage| panic!("{usage:?}"))
}

#[test]
fn a_job_says_what_the_command_line_would() {
    let pin = format!("sha256:{}", "ab".repeat(32));
    let table: &[(&str, String)] = &[
        ("", "-a /s/ h::m".into()),
        ("options = \"-rlt --no-owner\"\ndelete = true", "-rlt --no-owner --delete /s/ h::m".into()),
        ("options = \"-a --no-o\"", "-a --no-o /s/ h::m".into()),
        ("brake = \"7:9%\"\ndelete = true", "-a --delete --brake 7:9% /s/ h::m".into()),
        ("rewrite-brake = \"8:9%\"", "-a --rewrite-brake 8:9% /s/ h::m".into()),
        ("brake = \"off\"\nport = 99", "-a --brake off --port 99 /s/ h::m".into()),
        ("exclude = [\"*.o\", \"/t/\"]", "-a --exclude *.o --exclude /t/ /s/ h::m".into()),
        ("exclude = \"*\"\ninclude = \"*.c\"", "-a --include *.c --exclude * /s/ h::m".into()),
        ("rules = [\"- *.o\", \"+ x\", \"- *\"]", "-a --exclude *.o --include x --exclude * /s/ h::m".into()),
        ("exclude-from = \"/r\"\nexclude = \"a\"", "-a --exclude a --exclude *.swp /s/ h::m".into()),
        ("engine = \"poll\"\ncompress = true", "-az --engine poll /s/ h::m".into()),
        (
            "ca = \"/ca\"\nclient-cert = \"/c\"\nclient-key = \"/k\"",
            "-a --ca /ca --client-cert /c --client-key /k /s/ h::m".into(),
        ),
        (&format!("fingerprint = \"{pin}\""), format!("-a --fingerprint {pin} /s/ h::m")),
        ("plaintext = true\npassword-file = \"/p\"", "-a --plaintext --password-file /p /s/ h::m".into()),
    ];
    for (lines, words) in table {
        assert_eq!(invocation(lines), typed(words), "{lines}");
    }
}

#[test]
fn what_is_nearer_goes_before_what_is_not() {
    let pin = "sha256:".to_owned() + &"00".repeat(32);
    let text = format!(
        r#"
[defaults]
fingerprint = "{pin}"
password-file = "/pass"
brake = "off"
bwlimit = "1m"
exclude = ["*.o"]
[[job]]
name = "a"
source = "/a/"
destinations = ["u@h1::m", {{ to = "h2::m/p", ca = "/ca", bwlimit = [{{ from = "22:00", to = "6:00", limit = "off" }}, {{ limit = "2m" }}] }}]
[[job]]
name = "b"
source = "/b"
destination = {{ to = "h1::m/b", plaintext = true }}
brake = "5:5%"
rules = ["+ keep"]
"#
    );
    let config = ok(&text);
    let [a, b] = &config.jobs[..] else { panic!("two jobs") };
    let [near, far] = &a.targets[..] else { panic!("two destinations") };
    assert_eq!((near.invocation.trust.fingerprints.len(), near.invocation.trust.ca.is_some()), (1, false));
    assert_eq!((far.invocation.trust.fingerprints.len(), far.invocation.trust.ca.is_some()), (0, true));
    assert_eq!(near.invocation.brake, None);
    assert!([near, far].iter().all(|target| target.invocation.password_file.is_some()));
    assert_eq!(near.bandwidth, Bandwidth::always(1 << 20));
    assert_eq!(far.bandwidth.at(time(22, 0, 0, 0)), 0);
    assert_eq!(far.bandwidth.at(time(5, 59, 59, 0)), 0);
    assert_eq!(far.bandwidth.at(time(6, 0, 0, 0)), 2 << 20);
    let b = &b.targets[0].invocation;
    assert!(b.trust.plaintext && b.trust.fingerprints.is_empty());
    assert_eq!(b.brake.map(|limit| limit.entries), Some(5));
    assert_eq!(b.rules.iter().collect::<Vec<_>>(), [b"+ keep"]);
}

#[test]
fn every_bad_line_is_told_and_each_once() {
    let text = r#"
[defaults]
brake = "lots"
[[job]]
name = "a"
source = "relative/"
destination = "h::m"
exlude = ["*.o"]
[[job]]
name = "a b"
source = "/b/"
destination = "h::"
schedule = "61 * * * *"
"#;
    assert_eq!(
        wrong(text),
        [
            "a.toml:3: error: defaults: brake: lots: expected N:P%, as 1000:50%, or off",
            "a.toml:6: error: job a: source: relative/: an absolute path is needed: it begins with /",
            "a.toml:8: error: job a: unknown key `exlude`: did you mean `exclude`?",
            "a.toml:10: error: job: name: a b: a name has 1 to 64 letters, digits, dots, hyphens and underscores",
            "a.toml:12: error: job: destination: h::: the module is missing: host::module/path",
            "a.toml:13: error: job: schedule: 61 * * * *: Number out of bounds; \
             five fields are wanted: minute hour day-of-month month day-of-week, as 30 3 * * *",
        ]
    );
}

#[test]
fn a_schedule_is_the_hosts_own_time() {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").expect("a zone");
    let at = |text: &str| {
        text.parse::<jiff::civil::DateTime>().expect("a time").to_zoned(zone.clone()).expect("one")
    };
    let table = [
        ("30 3 * * *", "2026-06-01T12:00:00", "2026-06-02T03:30:00"),
        ("0 0 1 * *", "2026-06-01T00:00:00", "2026-07-01T00:00:00"),
        ("*/15 9-17 * * MON-FRI", "2026-06-05T17:45:00", "2026-06-08T09:00:00"),
        ("@daily", "2026-06-05T17:45:00", "2026-06-06T00:00:00"),
        // The clock goes from two to three in that night.
        ("30 2 * * *", "2026-03-28T12:00:00", "2026-03-29T03:00:00"),
        ("*/2 * * * * *", "2026-06-05T17:45:00", "2026-06-05T17:45:02"),
    ];
    for (cron, now, want) in table {
        let next = Schedule::parse(cron).expect(cron).next(&at(now)).expect(cron);
        assert_eq!(next, at(want), "{cron} after {now}");
    }
    assert_eq!(Schedule::parse("0 0 31 2 *").expect_err("no such day"), "no such day ever comes");
}

#[test]
fn a_command_is_a_line_for_the_shell_or_a_program_with_its_arguments() {
    let job = ok(&one("schedule = \"@daily\"\nbefore = \"a | b\"\nafter = { command = [\"c\", \"d e\"], timeout = \"90s\" }"))
        .jobs
        .remove(0);
    let before = job.before.expect("before");
    assert_eq!((before.command.len(), before.timeout), (3, Step::TIMEOUT));
    assert_eq!(before.command, ["/bin/sh", "-c", "a | b"]);
    let after = job.after.expect("after");
    assert_eq!((after.command, after.timeout.as_secs()), (vec!["c".into(), "d e".into()], 90));
}

/// The sample that is installed.
const SAMPLE: &str = include_str!("../../../deploy/agent.toml");

#[test]
fn the_sample_is_taken_and_has_every_key_there_is() {
    let config = ok(SAMPLE);
    let names: Vec<&str> = config.jobs.iter().map(|job| &*job.name).collect();
    assert_eq!(names, ["code", "spool", "database"]);
    let keys: std::collections::BTreeSet<&str> =
        SAMPLE.split(|c: char| !c.is_ascii_lowercase() && c != '-').filter(|word| !word.is_empty()).collect();
    let missing: Vec<_> = keys::all().into_iter().filter(|key| !keys.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_the_sample_has_in_comments_is_taken_too() {
    for (line, number) in SAMPLE.lines().zip(1..) {
        let Some(commented) =
            line.strip_prefix("# ").filter(|line| line.contains(" = ") && !line.ends_with('.'))
        else {
            continue;
        };
        let (key, _) = commented.split_once(" = ").expect("it contains one");
        if !keys::all().contains(key) {
            continue;
        }
        // In its own place, so that the tables are those it was written for; what excludes it goes.
        let rivals: &[&str] = match key {
            "ca" | "plaintext" => &["fingerprint"],
            "rules" => &["exclude", "include", "exclude-from"],
            _ => &[],
        };
        let mut text: Vec<&str> = SAMPLE.lines().collect();
        text[number - 1] = commented;
        if key == "client-key" {
            text[number - 2] = text[number - 2].trim_start_matches("# ");
        } else if key == "client-cert" {
            text[number] = text[number].trim_start_matches("# ");
        }
        text.retain(|line| !rivals.iter().any(|rival| line.starts_with(&format!("{rival} = "))));
        ok(&text.join("\n"));
    }
}
