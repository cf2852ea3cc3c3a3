//! What the server refuses: in rsync's words on the client, with the true reason in the log, and nothing written.

use std::fs;
use std::os::unix::fs::symlink;

use driftless_tests::World;
use driftless_tests::agent::{Agent, Outcome};
use driftless_tests::oracle::slash;
use driftless_tests::server::Server;
use driftless_tests::trees::{facts, names, plant};

/// Asserts one refusal: this exit code, one line on the client that says `told`, and `logged` in the server's log.
#[track_caller]
fn refused(server: &Server, out: Outcome, code: i32, told: &str, logged: &str) {
    let out = out.exits(code);
    assert_eq!(out.complaints().len(), 1, "more or less than one line:\n{}", out.stderr);
    assert!(out.stderr.contains(told), "{told:?} is not in: {}", out.stderr);
    server.logs(logged);
}

/// Pushes a tree and asserts the refusal, and that the module is as it was.
#[track_caller]
fn push_refused(world: &World, server: &Server, agent: &Agent, code: i32, told: &str, logged: &str) {
    let src = world.path("src");
    plant(&src, &["f=1", "d/g=2"]);
    let before = facts(server.module("backup"));
    refused(server, agent.push("-a --delete", slash(&src), "backup"), code, told, logged);
    assert_eq!(facts(server.module("backup")), before, "something was written");
}

const AUTH_FAILED: &str = "@ERROR: auth failed on module backup";

#[test]
fn a_wrong_password() {
    let world = World::new();
    let server = world.backup();
    let agent = world.agent(&server).option("--password-file", world.file("wrong", "guess\n"));
    push_refused(&world, &server, &agent, 5, AUTH_FAILED, "password mismatch");
}

#[test]
fn an_unknown_user_is_told_the_same_as_a_wrong_password() {
    let world = World::new();
    let server = world.backup();
    let agent = world.agent(&server).as_user("mallory");
    push_refused(&world, &server, &agent, 5, AUTH_FAILED, "no matching rule");
}

#[test]
fn a_user_without_a_secret() {
    let world = World::new();
    let server = world.server().module("backup", &["auth users = forgotten"]).start();
    let agent = world.agent(&server).as_user("forgotten");
    push_refused(&world, &server, &agent, 5, AUTH_FAILED, "secret not found");
}

#[test]
fn a_denied_user() {
    let world = World::new();
    let server = world.server().module("backup", &["auth users = driftless:deny *"]).start();
    push_refused(&world, &server, &world.agent(&server), 5, AUTH_FAILED, "denied by rule");
}

#[test]
fn no_password_at_all() {
    let world = World::new();
    let server = world.backup();
    let agent = world.agent(&server).without("--password-file");
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let out = agent.push("-a", slash(&src), "backup").exits(5);
    assert!(out.stderr.contains(AUTH_FAILED), "{}", out.stderr);
    assert!(names(server.module("backup")).is_empty());
}

#[test]
fn a_secrets_file_that_others_can_read() {
    let world = World::new();
    let server = world.server().secrets_mode(0o644).module("backup", &[]).start();
    push_refused(&world, &server, &world.agent(&server), 5, AUTH_FAILED, "ignoring secrets file");
}

#[test]
fn the_mode_of_the_secrets_file_is_looked_at_for_every_login() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let server = world.backup();
    let file = world.file("f", "1");
    let agent = world.agent(&server);
    agent.push("-a", &file, "backup").ok();
    let secrets = world.path("secrets");
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o604)).expect("chmod");
    agent.push("-a", &file, "backup").exits(5);
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o640)).expect("chmod");
    agent.push("-a", &file, "backup").ok();
}

#[test]
fn an_address_that_is_not_allowed() {
    let world = World::new();
    let server = world.server().module("backup", &["hosts allow = 192.0.2.0/24"]).start();
    let told = "@ERROR: access denied to backup from";
    push_refused(&world, &server, &world.agent(&server), 5, told, "127.0.0.1");
}

#[test]
fn a_denied_address_learns_nothing_of_an_unlisted_module() {
    let world = World::new();
    let server = world.server().module("backup", &["hosts deny = *", "list = no"]).start();
    push_refused(&world, &server, &world.agent(&server), 5, "@ERROR: Unknown module 'backup'", "127.0.0.1");
}

#[test]
fn an_address_is_judged_before_a_password_is() {
    let world = World::new();
    let server = world.server().module("backup", &["hosts deny = *"]).start();
    let agent = world.agent(&server).option("--password-file", world.file("wrong", "guess\n"));
    push_refused(&world, &server, &agent, 5, "@ERROR: access denied to backup from", "127.0.0.1");
    assert!(!server.log().contains("password mismatch"), "{}", server.log());
}

#[test]
fn an_unknown_module_and_one_in_another_case() {
    let world = World::new();
    let server = world.backup();
    let file = world.file("f", "1");
    for name in ["nowhere", "Backup"] {
        let told = format!("@ERROR: Unknown module '{name}'");
        refused(&server, world.agent(&server).push("-a", &file, name), 5, &told, name);
    }
}

#[test]
fn a_push_to_a_read_only_module() {
    let world = World::new();
    let server = world.server().module("backup", &["read only = yes"]).start();
    push_refused(&world, &server, &world.agent(&server), 1, "ERROR: module is read only", "read only");
    world.agent(&server).pull("-a", "backup/", world.path("dest")).ok();
}

#[test]
fn a_pull_from_a_write_only_module() {
    let world = World::new();
    let server = world.server().module("backup", &["write only = yes"]).start();
    plant(server.module("backup"), &["secret=x"]);
    let dest = world.dir("dest");
    let out = world.agent(&server).pull("-a", "backup/", &dest);
    refused(&server, out, 1, "ERROR: module is write only", "write only");
    assert!(names(&dest).is_empty());
    world.agent(&server).push("-a", world.file("f", "1"), "backup").ok();
}

#[test]
fn one_connection_more_than_the_module_has_slots() {
    let world = World::new();
    let server = world.server().module("backup", &["max connections = 1"]).start();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let mut watch = world.agent(&server).watch("-a", slash(&src), "backup");
    driftless_tests::wait::until("the watch holds the slot", || server.module("backup").join("f").exists());
    let told = "@ERROR: max connections (1) reached -- try again later";
    refused(
        &server,
        world.agent(&server).pull("-a", "backup/", world.path("dest")),
        5,
        told,
        "max connections",
    );
    watch.kill();
    driftless_tests::wait::until("the slot is free again", || {
        world.agent(&server).pull("-a", "backup/", world.path("dest")).code == Some(0)
    });
}

#[test]
fn a_module_whose_folder_is_missing() {
    let world = World::new();
    let server = world.server().module_at("backup", &world.path("missing"), &[]).start();
    let file = world.file("f", "1");
    refused(&server, world.agent(&server).push("-a", &file, "backup"), 5, "@ERROR: chdir failed", "missing");
    assert!(!world.path("missing").exists());
}

#[test]
fn a_remote_path_that_climbs() {
    let world = World::new();
    let server = world.backup();
    let file = world.file("f", "1");
    let agent = world.agent(&server);
    for path in ["backup/..", "backup/../out", "backup/d/../../out", "backup/d/.."] {
        let out = agent.push("-a", &file, path).exits(1);
        assert_eq!(out.complaints().len(), 1, "{path}: {}", out.stderr);
        let out = agent.pull("-a", path, world.path("dest")).exits(1);
        assert_eq!(out.complaints().len(), 1, "{path}: {}", out.stderr);
    }
    assert!(names(server.module("backup")).is_empty());
    assert_eq!(names(&world.path("modules")), ["backup/"]);
}

#[test]
fn a_push_through_a_symlink_planted_in_the_module() {
    let world = World::new();
    let server = world.backup();
    let outside = world.dir("outside");
    let link = server.module("backup").join("escape");
    symlink(&outside, &link).expect("symlink");
    let file = world.file("f", "1");
    let agent = world.agent(&server);
    for path in ["backup/escape/", "backup/escape/f", "backup/escape/new/"] {
        let out = agent.push("-a", &file, path).exits(23);
        assert_eq!(out.complaints().len(), 1, "{path}: {}", out.stderr);
    }
    assert!(names(&outside).is_empty(), "it went out of the module");
    assert_eq!(fs::read_link(&link).expect("the link stays"), outside);
}

#[test]
fn a_pull_through_a_symlink_planted_in_the_module() {
    let world = World::new();
    let server = world.backup();
    let outside = world.path("outside");
    plant(&outside, &["secret=x"]);
    let link = server.module("backup").join("escape");
    symlink(&outside, &link).expect("symlink");
    let dest = world.dir("dest");
    for path in ["backup/escape/", "backup/escape/secret"] {
        world.agent(&server).pull("-a", path, &dest).exits(23);
        assert!(names(&dest).is_empty(), "{path} was read through the link");
    }
    // The link itself is an entry like any other: it is restored as it is, and never followed.
    world.agent(&server).pull("-a", "backup/", &dest).ok();
    assert_eq!(fs::read_link(dest.join("escape")).expect("a link"), outside);
}

#[test]
fn a_tree_pushed_over_a_planted_symlink_stays_in_the_module() {
    let world = World::new();
    let server = world.backup();
    let outside = world.path("outside");
    plant(&outside, &["victim=x"]);
    symlink(&outside, server.module("backup").join("escape")).expect("symlink");
    let src = world.path("src");
    plant(&src, &["escape/f=1"]);
    world.agent(&server).push("-a --delete", slash(&src), "backup").ok();
    assert_eq!(names(&outside), ["victim"]);
    assert_eq!(names(server.module("backup")), ["escape/", "escape/f"]);
}

#[test]
fn a_tree_pulled_over_a_planted_symlink_stays_in_the_destination() {
    let world = World::new();
    let server = world.backup();
    plant(server.module("backup"), &["escape/f=1"]);
    let outside = world.path("outside");
    plant(&outside, &["victim=x"]);
    let dest = world.dir("dest");
    symlink(&outside, dest.join("escape")).expect("symlink");
    world.agent(&server).pull("-a --delete", "backup/", &dest).ok();
    assert_eq!(names(&outside), ["victim"]);
    assert_eq!(names(&dest), ["escape/", "escape/f"]);
}

#[test]
fn a_reserved_name_is_never_taken_from_a_peer() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &[".~dl0123456789abcdef=planted", "f=1", ".~dl-is-no-reserved-name=2"]);
    let out = world.agent(&server).push("-a", slash(&src), "backup");
    assert_eq!(names(server.module("backup")), [".~dl-is-no-reserved-name", "f"], "{}", out.stderr);
}

#[test]
fn a_user_may_be_read_only_where_others_write() {
    let world = World::new();
    let server =
        world.server().user("reader", "r").module("backup", &["auth users = reader:ro, driftless"]).start();
    let reader = world.agent(&server).as_user("reader").option("--password-file", world.file("r", "r\n"));
    push_refused(&world, &server, &reader, 1, "ERROR: module is read only", "read only");
    world.agent(&server).push("-a", world.path("src"), "backup").ok();
}
