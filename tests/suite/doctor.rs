//! Doctor: what a watch would need here is tried before the first start, and what is missing is said with its cure.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use driftless_tests::World;
use driftless_tests::agent::{Agent, Outcome};
use driftless_tests::oracle::{find, root_or_skip, slash};
use driftless_tests::trees::plant;

use crate::engines::limited;

/// Runs it over the folder `src` of a world.
fn look(world: &World, agent: &Agent, options: &str) -> Outcome {
    let src = world.path("src");
    if !src.exists() {
        plant(&src, &["d/e/f=1", "g=2"]);
    }
    agent.run("doctor", options, &[&slash(&src), &agent.remote("backup")])
}

/// The grade and the text of the lines about one thing.
fn lines<'o>(out: &'o Outcome, what: &str) -> Vec<(&'o str, &'o str)> {
    let cut = |line: &'o str| {
        let (grade, rest) = line.split_once(char::is_whitespace)?;
        let (about, text) = rest.trim_start().split_once(char::is_whitespace)?;
        (about == what).then_some((grade, text.trim_start()))
    };
    out.stdout.lines().filter_map(cut).collect()
}

#[track_caller]
fn says(out: &Outcome, what: &str, grade: &str, text: &str) {
    let found = lines(out, what).iter().any(|(g, t)| *g == grade && t.contains(text));
    assert!(found, "no {grade} {what} with {text:?} in:\n{}{}", out.stdout, out.stderr);
}

#[test]
fn where_all_is_well_every_line_says_so() {
    let world = World::new();
    let server = world.backup();
    let agent = world.agent(&server);
    let out = look(&world, &agent, "-a --json");
    let worst = ["\"status\":\"ok\"", "\"status\":\"warn\"", "\"status\":\"fail\""]
        .iter()
        .rposition(|status| out.stdout.contains(status))
        .expect("a finding");
    // The host that runs this may have a limit of its own.
    assert_eq!(out.code, i32::try_from(worst).ok(), "{}", out.stdout);
    let out = look(&world, &agent, "-a");
    says(&out, "source", "ok", "3 directories, 2 other names, all readable");
    says(&out, "engine", "ok", "inotify works");
    says(&out, "engine", "ok", "poll works");
    says(&out, "state", "ok", "private and writable");
    says(&out, "server", "ok", "its certificate is trusted");
    says(&out, "clock", "ok", "agrees");
    says(&out, "login", "ok", "backup");
    says(&out, "module", "ok", "takes pushes");
    assert!(out.stdout.contains(": 4 needed, "), "{}", out.stdout);
    // Nothing is sent, and nothing is made.
    assert_eq!(fs::read_dir(server.module("backup")).expect("list").count(), 0);
    let host = agent.operate("doctor");
    says(&host, "kernel", "ok", "Linux ");
    assert!(lines(&host, "server").is_empty(), "{}", host.stdout);
}

#[test]
fn too_few_watches_are_told_with_the_line_that_cures_it() {
    let world = World::new();
    let server = world.backup();
    let limits = [("max_inotify_watches", 3), ("max_inotify_instances", 4)];
    let Some(agent) = limited(&world, &server, &limits) else { return };
    let out = look(&world, &agent, "-a").exits(2);
    says(&out, "inotify", "fail", "user.max_inotify_watches = 3: 4 needed, 0 held");
    let cure = "-> sysctl -w user.max_inotify_watches=524288; echo user.max_inotify_watches=524288 >> /etc/sysctl.d/";
    assert!(out.stdout.contains(cure), "{}", out.stdout);
    let none = [("max_inotify_instances", 0)];
    let Some(agent) = limited(&world, &server, &none) else { return };
    let out = look(&world, &agent, "-a").exits(2);
    says(&out, "engine", "warn", "no inotify: ");
    says(&out, "engine", "ok", "--engine auto finds one");
}

#[test]
fn each_way_the_server_can_refuse_has_its_line_and_its_cure() {
    let world = World::new();
    let mut server = world.server().module("backup", &[]).module("locked", &["read only = yes"]).start();
    let agent = world.agent(&server);
    let locked = agent.remote("locked");
    let src = world.dir("src");
    let out = agent.run("doctor", "", &[&src, &locked]).exits(2);
    says(&out, "module", "fail", "read only");
    let out = agent.run("doctor", "", &[&src, &agent.remote("no-such")]).exits(2);
    says(&out, "login", "fail", "no-such");
    let wrong = agent.clone().option("--password-file", world.file("wrong", "not it\n"));
    says(&look(&world, &wrong, "").exits(2), "login", "fail", "auth failed");
    let pin = format!("sha256:{}", "ab".repeat(32));
    let stranger = agent.clone().option("--fingerprint", pin);
    let out = look(&world, &stranger, "").exits(2);
    says(&out, "certificate", "fail", "fingerprint");
    server.kill();
    let out = look(&world, &agent, "").exits(2);
    says(&out, "server", "fail", "failed to connect");
    assert!(out.stdout.contains("-> is driftlessd running there"), "{}", out.stdout);
}

#[test]
fn owners_that_the_module_does_not_keep_are_a_warning() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let nobody = ["uid = 65534", "gid = 65534"];
    let server = world
        .server()
        .module("backup", &nobody)
        .module("faked", &[&nobody[..], &["fake super = yes"]].concat())
        .start();
    let agent = world.agent(&server);
    says(&look(&world, &agent, "-a"), "owners", "warn", "keeps no owners");
    says(&look(&world, &agent, "-a --no-o --no-g"), "owners", "ok", "not asked for");
    let out = agent.run("doctor", "-a", &[&world.path("src"), &agent.remote("faked")]);
    says(&out, "owners", "ok", "keeps owners");
}

#[test]
fn a_source_that_cannot_be_read_and_a_state_folder_that_is_not_ours_are_told() {
    let world = World::new();
    let server = world.backup();
    let state = world.dir("open-to-all");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).expect("chmod");
    let agent = world.agent(&server).option("--state-dir", &state);
    says(&look(&world, &agent, "").exits(2), "state", "fail", "writable by nobody else");
    let agent = world.agent(&server);
    let out = agent.run("doctor", "", &[&world.path("not-there"), &agent.remote("backup")]).exits(2);
    says(&out, "source", "fail", "not-there");
    let Some(setpriv) = find("setpriv").filter(|_| root_or_skip()) else { return };
    let src = world.path("src");
    fs::set_permissions(src.join("d/e"), fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::set_permissions(src.join("g"), fs::Permissions::from_mode(0o600)).expect("chmod");
    let own = world.dir("own-state");
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).expect("chown");
    let setpriv = setpriv.to_str().expect("UTF-8");
    let agent = world
        .agent(&server)
        .option("--state-dir", own.join("state"))
        .without("--password-file")
        .within(&[setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]);
    let out = look(&world, &agent, "");
    says(&out, "source", "warn", "not readable by user 65534: g, d/e");
}

#[test]
fn what_is_mounted_in_the_source_is_told_with_its_type() {
    let Some(unshare) = find("unshare").filter(|_| root_or_skip()) else { return };
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["d/e/f=1", "o/x=1", "lower/l=1", "upper/u=1", "work/w=1"]);
    let script = format!(
        "mount -t tmpfs none {0}/d/e && mount -t overlay none -o lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work {0}/o \
         || exit 99; exec \"$@\"",
        src.display()
    );
    let unshare = unshare.to_str().expect("UTF-8");
    let agent = world.agent(&server).within(&[unshare, "-m", "sh", "-c", &script, "sh"]);
    let out = look(&world, &agent, "");
    if out.code == Some(99) {
        return driftless_tests::oracle::skip("nothing may be mounted here");
    }
    says(&out, "filesystem", "ok", "src/d/e is mounted, of type tmpfs");
    says(&out, "filesystem", "warn", "src/o is mounted, of type overlay");
}
