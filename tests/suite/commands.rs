//! The server's other commands: check, passwd, fingerprint.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use driftless_tests::World;
use driftless_tests::certs::{Authority, fingerprint};
use driftless_tests::oracle::slash;
use driftless_tests::server::driftlessd;
use driftless_tests::trees::{assert_equal, plant};

#[test]
fn check_prints_who_gets_in() {
    let world = World::new();
    let config = world
        .server()
        .module("backup", &["hosts allow = 192.0.2.0/24", "auth users = alice, bob:ro"])
        .module("open", &["auth users ="])
        .write();
    let out = driftlessd(&["check", "--config", &config.to_string_lossy()], "").ok();
    for word in ["backup", "192.0.2.0/24", "alice", "bob", "open"] {
        assert!(out.stdout.contains(word), "{word:?} is not in:\n{}", out.stdout);
    }
}

#[test]
fn check_names_every_bad_line_by_its_number() {
    let world = World::new();
    let path = world.dir("m");
    let config = world.file(
        "bad.conf",
        format!(
            "motd file = /etc/motd\n[m]\npath = {}\nhosts allow = 10.0.0.0/33\nread only = perhaps\nno equals sign\nwat = 1\n",
            path.display()
        ),
    );
    let out = driftlessd(&["check", "--config", &config.to_string_lossy()], "").exits(1);
    let said = out.stdout + &out.stderr;
    for line in [1, 4, 5, 6, 7] {
        let found = said
            .lines()
            .any(|text| text.contains(&format!(":{line}:")) || text.contains(&format!("line {line}")));
        assert!(found, "line {line} is not named in:\n{said}");
    }
    assert!(said.contains("not supported yet"), "{said}");
}

#[test]
fn a_parameter_that_must_not_be_ignored_keeps_the_server_from_starting() {
    for line in ["refuse options = delete", "exclude = /secret", "incoming chmod = Fo-rwx"] {
        let world = World::new();
        let config = world.server().module("backup", &[line]).write();
        let config = config.to_string_lossy();
        let name = line.split(" =").next().expect("a name");
        for command in ["check", "serve"] {
            let out = driftlessd(&[command, "--config", &config], "").exits(1);
            assert!((out.stdout + &out.stderr).contains(name), "{command} does not name {name:?}");
        }
    }
}

#[test]
fn a_config_that_is_missing_is_named() {
    let out = driftlessd(&["serve", "--config", "/nonexistent/driftlessd.conf"], "").exits(1);
    assert!(out.stderr.contains("/nonexistent/driftlessd.conf"), "{}", out.stderr);
}

#[test]
fn the_fingerprint_is_the_sha256_of_the_certificate() {
    let world = World::new();
    let identity = Authority::new().certify(&world, "leaf", &["127.0.0.1"], 2120);
    let config = world
        .server()
        .global(format!("tls certificate = {}", identity.cert_file.display()))
        .global(format!("tls key = {}", identity.key_file.display()))
        .write();
    let out = driftlessd(&["fingerprint", "--config", &config.to_string_lossy()], "").ok();
    assert_eq!(out.stdout, format!("{}\n", fingerprint(&identity.der)));
}

#[test]
fn the_certificate_a_server_makes_itself_stays_and_its_key_is_private() {
    let world = World::new();
    let mut server = world.backup();
    let first = server.fingerprint();
    server.logs(&first);
    server.kill();
    server.start();
    assert_eq!(server.fingerprint(), first);
    for entry in fs::read_dir(&server.state_dir).expect("a state folder").flatten() {
        let meta = entry.metadata().expect("stat");
        let is_key = entry.file_name().to_string_lossy().contains("key");
        assert!(!is_key || meta.mode() & 0o077 == 0, "{:?} is open", entry.path());
    }
}

#[test]
fn a_password_set_by_passwd_is_hashed_and_lets_its_user_in() {
    let world = World::new();
    let server = world.server().module("backup", &["auth users = alice"]).start();
    let secrets = world.path("secrets");
    let password = "correct horse: battery staple";
    let file = secrets.to_string_lossy();
    driftlessd(&["passwd", &file, "alice"], &format!("{password}\n{password}\n")).ok();
    let text = fs::read_to_string(&secrets).expect("read");
    assert!(text.lines().any(|line| line.starts_with("alice:$argon2id$")), "{text}");
    assert!(text.contains("driftless:"), "the other users stay: {text}");
    assert!(!text.contains(password));
    assert_eq!(fs::metadata(&secrets).expect("stat").mode() & 0o7777, 0o600);

    let src = world.path("src");
    plant(&src, &["f=1"]);
    let alice = world.agent(&server).as_user("alice");
    let right = alice.clone().option("--password-file", world.file("right", password));
    right.push("-a", slash(&src), "backup").ok();
    assert_equal(&src, server.module("backup"));
    alice.option("--password-file", world.file("wrong", "guess")).push("-a", slash(&src), "backup").exits(5);
    server.logs("password mismatch");

    driftlessd(&["passwd", &file, "alice"], "another\nanother\n").ok();
    let text = fs::read_to_string(&secrets).expect("read");
    assert_eq!(text.lines().filter(|line| line.starts_with("alice:")).count(), 1, "{text}");
    right.push("-a", slash(&src), "backup").exits(5);
}

#[test]
fn passwd_makes_a_missing_file_with_mode_600() {
    let world = World::new();
    let secrets = world.path("new-secrets");
    driftlessd(&["passwd", &secrets.to_string_lossy(), "alice"], "x\nx\n").ok();
    assert_eq!(fs::metadata(&secrets).expect("stat").mode() & 0o7777, 0o600);
    driftlessd(&["passwd", &secrets.to_string_lossy(), "a:b"], "x\nx\n").exits(1);
    driftlessd(&["passwd", &secrets.to_string_lossy(), "#c"], "x\nx\n").exits(1);
}

#[test]
fn bad_usage_is_exit_1_and_help_is_0() {
    driftlessd(&["--help"], "").ok();
    driftlessd(&["--version"], "").ok();
    driftlessd(&["serve", "--no-such-option"], "").exits(1);
    driftlessd(&["frobnicate"], "").exits(1);
    let world = World::new();
    for words in ["--help", "--version"] {
        world.stranger().without("--state-dir").run(words, "", &[]).ok();
    }
}

#[test]
fn the_pid_file_holds_the_pid_while_it_runs() {
    let world = World::new();
    let file = world.path("driftlessd.pid");
    let line = format!("pid file = {}", file.display());
    let mut server = world.server().global(line).module("backup", &[]).start();
    let text = fs::read_to_string(&file).expect("read");
    assert_eq!(text, format!("{}\n", server.pid().as_raw_nonzero()));
    server.stop();
    assert!(!file.exists());
}
