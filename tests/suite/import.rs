//! `driftless import`: what lsyncd, sersync and the script were told becomes a config that runs, and nothing unsafe or
//! unanswered goes through in silence.

use std::fs;
use std::path::{Path, PathBuf};

use driftless_tests::World;
use driftless_tests::agent::Outcome;
use driftless_tests::server::{PASSWORD, USER};
use driftless_tests::trees::{equal, plant};
use driftless_tests::wait::until_ok;

fn import(world: &World, file: &Path, options: &[&str]) -> Outcome {
    let mut operands: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&file];
    operands.extend(options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>));
    world.stranger().without("--state-dir").run("import", "", &operands)
}

/// A config of one of the old programs: of a source, and a password file.
type Shape = fn(&str, &Path) -> String;

fn script(source: &str, password: &Path) -> String {
    format!(
        "#!/bin/bash\n\
         inotifywait -mrq -e modify,delete,create,attrib,move {source} | while read line; do\n    \
         rsync -a --delete {source}/ {USER}@192.0.2.1::backup/script --password-file={}; done\n",
        password.display()
    )
}

fn lsyncd_rsync(source: &str, _: &Path) -> String {
    format!(
        "settings {{ logfile = \"/var/log/lsyncd/lsyncd.log\" }}\n\
         sync {{\n    default.rsync,\n    source = \"{source}\",\n    target = \"{USER}@192.0.2.1::backup/rsync\",\n    \
         exclude = {{ \"*.tmp\" }},\n    rsync = {{ archive = true, compress = true }}\n}}\n"
    )
}

fn lsyncd_rsyncssh(source: &str, _: &Path) -> String {
    format!(
        "sync {{\n    default.rsyncssh,\n    source = \"{source}\",\n    host = \"{USER}@192.0.2.1\",\n    \
         targetdir = \"/data/ssh\",\n    delay = 0\n}}\n"
    )
}

fn lsyncd_direct(source: &str, _: &Path) -> String {
    format!("sync {{ default.direct, source = \"{source}\", target = \"/data/direct\" }}\n")
}

fn sersync(source: &str, password: &Path) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<head version=\"2.5\">\n\
         <inotify><delete start=\"true\"/><attrib start=\"false\"/></inotify>\n\
         <sersync>\n<localpath watch=\"{source}\"><remote ip=\"192.0.2.1\" name=\"backup/sersync\"/></localpath>\n\
         <rsync><commonParams params=\"-artuz\"/><auth start=\"true\" users=\"{USER}\" passwordfile=\"{}\"/></rsync>\n\
         <failLog path=\"/tmp/rsync_fail_log.sh\" timeToExecute=\"60\"/>\n</sersync>\n</head>\n",
        password.display()
    )
}

#[test]
fn what_is_written_from_each_program_runs_and_keeps_the_copy_live() {
    let world = World::new();
    let server = world.backup();
    let password = world.file("password", format!("{PASSWORD}\n"));
    let address = server.address().to_string();
    let shapes: [(&str, Shape); 5] = [
        ("script", script),
        ("rsync", lsyncd_rsync),
        ("ssh", lsyncd_rsyncssh),
        ("direct", lsyncd_direct),
        ("sersync", sersync),
    ];
    let mut running = Vec::new();
    for (name, shape) in shapes {
        let source = world.path(&format!("source-{name}"));
        plant(&source, &["d/f=1", ".hidden=2"]);
        let old = world.file(&format!("{name}.old"), shape(&source.to_string_lossy(), &password));
        let new = world.path(&format!("{name}.toml"));
        let new_name = new.to_string_lossy();
        let options = [
            "--server",
            &address,
            "--fingerprint",
            &server.fingerprint(),
            "--module",
            "/data=backup",
            "-o",
            &new_name,
        ];
        import(&world, &old, &options).ok();
        let written = fs::read_to_string(&new).expect("a config");
        // What the old programs know of themselves, and a state folder of this world.
        fs::write(
            &new,
            format!("state-dir = \"{}\"\n{written}", world.path(&format!("state-{name}")).display()),
        )
        .expect("write");
        let agent =
            world.stranger().without("--state-dir").env("USER", USER).env("DRIFTLESS_PASSWORD", PASSWORD);
        running.push((name, source, agent.spawn("run", "", &[&"--config", &new])));
    }
    for (name, source, agent) in &mut running {
        let copy = server.module("backup").join(*name);
        until_ok(format!("{name}: the first comparison"), || equal(source, &copy));
        plant(source, &["d/later=3"]);
        fs::remove_file(source.join("d/f")).expect("rm");
        until_ok(format!("{name}: what changed"), || equal(source, &copy));
        agent.runs();
    }
}

#[test]
fn an_unsafe_habit_is_a_comment_in_the_file_and_a_line_on_standard_error() {
    let world = World::new();
    let text = script("/srv/code", Path::new("/nonexistent/pass"))
        .replace("--delete", "--delete --ignore-errors -H");
    let old = world.file("loop.sh", text);
    let new: PathBuf = world.path("agent.toml");
    let out = import(&world, &old, &["-o", &new.to_string_lossy()]).ok();
    assert_eq!(out.stdout, "");
    let written = fs::read_to_string(&new).expect("a config");
    for (line, text) in [
        (3, "--ignore-errors"),
        (3, "unproven source"),
        (3, "--hard-links (-H)"),
        (2, "`read` without"),
        (3, "encrypted"),
    ] {
        let comment = written.lines().find(|written| written.starts_with('#') && written.contains(text));
        assert!(
            comment.is_some_and(|comment| comment.contains(&format!("line {line}: "))),
            "{text}: {written}"
        );
        let said = out.stderr.lines().find(|said| said.contains(text));
        assert!(
            said.is_some_and(|said| said.contains(&format!("loop.sh:{line}: warning: "))),
            "{text}: {}",
            out.stderr
        );
    }
    let again = import(&world, &old, &["-o", &new.to_string_lossy()]).exits(11);
    assert!(again.stderr.contains("agent.toml"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&new).expect("a config"), written, "a file that is there is left alone");
    assert_eq!(import(&world, &old, &[]).ok().stdout.lines().count(), written.lines().count());
}

#[test]
fn what_only_the_operator_knows_ends_with_4_and_no_agent_takes_it() {
    let world = World::new();
    let old = world.file("lsyncd.conf.lua", lsyncd_rsyncssh("/srv", Path::new("")));
    let new = world.path("agent.toml");
    let out = import(&world, &old, &["-o", &new.to_string_lossy()]).exits(4);
    assert!(out.stderr.contains("lsyncd.conf.lua:5: to complete: "), "{}", out.stderr);
    let refused = world.stranger().without("--state-dir").run("run", "", &[&"--config", &new]).exits(1);
    assert!(refused.stderr.contains("to-complete"), "{}", refused.stderr);

    let code = world.file("code.lua", "settings{}\nfor i = 1, 2 do\n sync{}\nend\n");
    let out = import(&world, &code, &[]).exits(4);
    assert!(out.stderr.contains("code.lua:2: Lua: `for`"), "{}", out.stderr);
    assert_eq!(out.stdout, "", "half a config is none");
    let out = import(&world, &world.file("rsyncd.conf", "[m]\npath = /x\n"), &[]).exits(1);
    assert!(out.stderr.contains("--from"), "{}", out.stderr);
    assert!(import(&world, &world.path("missing"), &[]).exits(11).stderr.contains("missing"));
}

#[test]
fn every_kind_can_be_told_by_name() {
    let world = World::new();
    let old = world.file("x", "rsync -a /d h::m\n");
    assert!(import(&world, &old, &["--from", "script"]).ok().stdout.contains("h::m"));
    import(&world, &old, &["--from", "sersync"]).exits(1);
    import(&world, &old, &["--from", "lsyncd"]).exits(4);
    import(&world, &old, &["--from", "cron"]).exits(1);
}
