//! Push, pull and local sync: the trees are equal afterwards, and only what the options say is touched.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use driftless_tests::World;
use driftless_tests::oracle::{find, slash};
use driftless_tests::trees::{assert_equal, every_kind, names, plant, set_mtime, write_noise};
use driftless_tests::wait::until;
use driftless_tests::wire::Wire;
use rustix::fs::{CWD, FileType, Mode, mknodat};

#[test]
fn a_pushed_tree_is_equal() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    every_kind(&src);
    world.agent(&server).push("-a", slash(&src), "backup").ok();
    assert_equal(&src, server.module("backup"));
}

#[test]
fn a_pulled_tree_is_equal() {
    let world = World::new();
    let server = world.backup();
    every_kind(server.module("backup"));
    let dest = world.path("dest");
    world.agent(&server).pull("-a", "backup/", &dest).ok();
    assert_equal(server.module("backup"), &dest);
}

#[test]
fn a_compressed_tree_is_equal_and_smaller_on_the_wire() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    every_kind(&src);
    plant(&src, &[&format!("text={}", "what is said twice is said once\n".repeat(100_000))]);
    let (plain, pressed) = (Wire::to(server.address()), Wire::to(server.address()));
    let agent = world.agent(&server);
    agent.clone().through(&plain).push("-a", slash(&src), "backup/plain").ok();
    agent.through(&pressed).push("-az", slash(&src), "backup/pressed").ok();
    assert_equal(&src, &server.module("backup").join("pressed"));
    let (plain, pressed) = (plain.total(), pressed.total());
    assert!(pressed + 2_500_000 < plain, "{pressed} bytes with -z, {plain} without");
}

#[test]
fn a_local_tree_is_synced_in_one_process() {
    let world = World::new();
    let (src, dest) = (world.path("src"), world.path("dest"));
    every_kind(&src);
    world.stranger().run("sync", "-a", &[&slash(&src), &dest]).ok();
    assert_equal(&src, &dest);
    plant(&dest, &["surplus/f=x", "empty=no more"]);
    world.stranger().run("sync", "-a --delete", &[&slash(&src), &dest]).ok();
    assert_equal(&src, &dest);
}

#[test]
fn a_second_push_reads_and_sends_nothing() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    every_kind(&src);
    let agent = world.agent(&server);
    agent.push("-a", slash(&src), "backup").ok();
    let before = fs::metadata(server.module("backup").join("size-700001")).expect("stat");

    let wire = Wire::to(server.address());
    let again = agent.through(&wire).push("-a --delete --stats", slash(&src), "backup").ok();
    assert_eq!(again.stat("Number of regular files transferred"), 0);
    assert_eq!(again.stat("Literal data"), 0);
    assert_eq!(again.stat("Number of created files"), 0);
    assert!(wire.total() < 8 * 1024, "{} bytes on the wire, handshake included", wire.total());
    let after = fs::metadata(server.module("backup").join("size-700001")).expect("stat");
    assert_eq!(
        (before.ino(), before.ctime_nsec()),
        (after.ino(), after.ctime_nsec()),
        "the file was touched"
    );
}

#[test]
fn stats_count_what_crossed_the_socket() {
    let world = World::new();
    let server = world.backup();
    let file = world.path("noise");
    write_noise(&file, 5_000_000, 1);
    let wire = Wire::to(server.address());
    let out = world.agent(&server).through(&wire).push("-a --stats", &file, "backup").ok();
    assert_eq!(out.stat("Number of files"), 1);
    assert_eq!(out.stat("Number of created files"), 1);
    assert_eq!(out.stat("Number of regular files transferred"), 1);
    assert_eq!(out.stat("Total file size"), 5_000_000);
    assert_eq!(out.stat("Total transferred file size"), 5_000_000);
    assert_eq!(out.stat("Literal data"), 5_000_000);
    assert_eq!(out.stat("Matched data"), 0);
    // The totals travel before the connection closes: its last frames are not among them.
    let told = out.stat("Total bytes sent") + out.stat("Total bytes received");
    assert!(wire.total().abs_diff(told) < 2048, "{told} told, {} carried", wire.total());
}

#[test]
fn stats_count_what_rsync_counts() {
    let Some(rsync) = find("rsync") else { return };
    let world = World::new();
    let server = world.backup();
    let (src, theirs, agent) = (world.path("src"), world.path("theirs"), world.agent(&server));
    let counts = |stdout: &str| -> Vec<String> {
        let heads = ["Number of", "Total file size", "Total transferred", "Literal", "Matched"];
        let counted = |line: &&str| heads.iter().any(|head| line.starts_with(head));
        stdout.lines().filter(counted).map(Into::into).collect()
    };
    let run = |what: &str, options: &str| {
        let ours = agent.push(&format!("{options} --stats"), slash(&src), "backup/new").ok();
        let mut beside = Command::new(&rsync);
        beside.args(options.split(' ')).arg("--stats").args([slash(&src), slash(&theirs)]);
        let beside = beside.output().expect("rsync runs");
        let rsyncs = counts(&String::from_utf8_lossy(&beside.stdout));
        assert_eq!(rsyncs.len(), 8, "{what}: {beside:?}");
        assert_eq!(counts(&ours.stdout), rsyncs, "{what}");
    };
    plant(&src, &["f=1", "d/g=22", "d/e/h=", "l->f", "d/m->a longer text"]);
    run("the root is made too", "-a");
    run("nothing is new", "-a");
    fs::remove_file(src.join("f")).expect("rm");
    plant(&src, &["f/in=x"]);
    run("a file becomes a directory", "-a --delete");
    fs::remove_dir_all(src.join("f")).expect("rm");
    plant(&src, &["f=333"]);
    run("a directory makes way", "-a --delete");
    fs::remove_file(src.join("l")).expect("rm");
    plant(&src, &["l=no link"]);
    run("a link becomes a file", "-a --delete");
    fs::remove_dir_all(src.join("d")).expect("rm");
    run("a tree goes", "-a --delete");
    plant(&src, &["k->f", "more/l->f"]);
    run("links take no part", "-rt --delete");
    run("they do in a dry run", "-an --delete");
}

#[test]
fn a_dry_run_changes_nothing_and_lists_what_the_real_run_does() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["new/f=1", "changed=2", "same=3", "link->new"]);
    plant(server.module("backup"), &["changed=was longer", "gone/f=4", "same=3"]);
    for same in [src.join("same"), server.module("backup").join("same")] {
        set_mtime(&same, 1_000_000_000, 0);
    }
    let before = names(server.module("backup"));
    let agent = world.agent(&server);
    let dry = agent.push("-avn --delete", slash(&src), "backup").ok();
    assert_eq!(names(server.module("backup")), before);
    assert_eq!(fs::read(server.module("backup").join("changed")).expect("read"), b"was longer");

    let real = agent.push("-av --delete", slash(&src), "backup").ok();
    // A dry run names what it finds; a real one names what has landed.
    let (mut dry, mut real) = (listed(&dry.stdout), listed(&real.stdout));
    dry.sort();
    real.sort();
    assert_eq!(dry, real);
    for line in ["changed", "new/", "new/f", "link -> new", "deleting gone/", "deleting gone/f"] {
        assert!(real.contains(&line), "{line:?} is not listed: {real:?}");
    }
    assert!(!real.contains(&"same"), "{real:?}");
}

/// What `-v` lists between its heading and the blank line before its summary.
fn listed(stdout: &str) -> Vec<&str> {
    stdout.lines().skip(1).take_while(|line| !line.is_empty()).collect()
}

#[test]
fn delete_removes_only_beneath_directories_in_the_transfer() {
    let world = World::new();
    let server = world.backup();
    let module = server.module("backup");
    let src = world.path("src");
    plant(&src, &["d/keep=1", "other/f=2", "top=3"]);
    plant(module, &["d/gone/deep/f=x", "d/old=x", "beside/f=x", "surplus=x"]);
    let agent = world.agent(&server);

    agent.push("-a --delete", src.join("d"), "backup").ok();
    assert_eq!(names(module), ["beside/", "beside/f", "d/", "d/keep", "surplus"]);
    agent.push("-a --delete", src.join("top"), "backup").ok();
    assert_eq!(names(module), ["beside/", "beside/f", "d/", "d/keep", "surplus", "top"]);
    agent.push("-a --delete", slash(&src), "backup").ok();
    assert_equal(&src, module);
}

#[test]
fn delete_removes_what_takes_no_part_as_rsync_does() {
    let Some(rsync) = find("rsync") else { return };
    let world = World::new();
    let server = world.backup();
    let (src, module, theirs) = (world.path("src"), server.module("backup"), world.path("theirs"));
    plant(&src, &["d/f=1", "d/both->here", "d/taken->here", "e/f=2", "e/new->here"]);
    let copy = ["d/f=1", "d/both->there", "d/taken=a file", "d/old->there", "d/deep/old->there", "e/f=2"];
    for dest in [module, theirs.as_path()] {
        plant(dest, &copy);
        let pipe = dest.join("e/pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a fifo");
        // Nothing else differs, so it is the names alone that tell.
        for name in ["d/f", "e/f"] {
            set_mtime(&src.join(name), 1_000_000_000, 0);
            set_mtime(&dest.join(name), 1_000_000_000, 0);
        }
    }
    let agent = world.agent(&server);
    agent.push("-rt --delete --exclude=deep", slash(&src), "backup").ok();
    let mut beside = Command::new(rsync);
    beside.args(["-rt", "--delete", "--exclude=deep"]).args([slash(&src), slash(&theirs)]);
    assert!(beside.status().expect("rsync runs").success());
    assert_eq!(names(module), names(&theirs));
    assert_eq!(fs::read_link(module.join("d/both")).expect("kept"), Path::new("there"));
    assert!(!module.join("e/pipe").exists() && module.join("d/deep/old").is_symlink());
}

#[test]
fn what_takes_no_part_is_named_each_time_unless_quiet_as_by_rsync() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["f=1", "d/l->f", "d/m->f", "d/hidden->f"]);
    let agent = world.agent(&server);
    let both = "skipping non-regular file \"d/l\"\nskipping non-regular file \"d/m\"\n";
    // Everything is listed the first time, and nothing afterwards.
    for options in ["-rt", "-rt", "-rt --delete"] {
        let out = agent.push(&format!("{options} --exclude=hidden"), slash(&src), "backup").ok();
        assert_eq!(out.stdout, both, "{options}");
    }
    assert_eq!(agent.push("-rtq", slash(&src), "backup").ok().stdout, "");
    let named = agent.push("-t", src.join("d/l"), "backup").ok();
    assert_eq!(named.stdout, "skipping non-regular file \"l\"\n");
    agent.push("-a", slash(&src), "backup").ok();
    let dest = world.dir("dest");
    let pulled = |options: &str, from: &str| agent.pull(options, from, &dest).ok().stdout;
    assert_eq!(pulled("-rt --exclude=hidden", "backup/"), both);
    assert_eq!(pulled("-t", "backup/d/l"), "skipping non-regular file \"l\"\n");
    fs::remove_dir_all(dest.join("d")).expect("rm");
    assert_eq!(pulled("-lt", "backup/d"), "skipping directory d\n");
    assert_eq!(pulled("-lt", "backup/d/"), "skipping directory .\n");
    assert_eq!(agent.push("-lt", slash(&src), "backup").ok().stdout, "skipping directory .\n");
    assert_eq!(names(&dest), ["f"]);
}

#[test]
fn a_dry_run_announces_the_deletions_that_the_run_makes() {
    let world = World::new();
    let server = world.backup();
    let (src, module) = (world.path("src"), server.module("backup"));
    plant(&src, &["f=1", "way=a file", "closed=a file"]);
    plant(module, &["a/k.o=x", "a/b/k.o=x", "a/c/g=x", "d/g=x", "way/g=x", "closed/k.o=x", "closed/g=x"]);
    let agent = world.agent(&server);
    let run = |options: &str| {
        let out = agent.push(&format!("{options} --delete --exclude=*.o"), slash(&src), "backup").exits(23);
        assert!(out.stderr.contains("closed: a directory with content is in the way"), "{}", out.stderr);
        let deleted = out.stdout.lines().filter(|line| line.starts_with("deleting "));
        deleted.map(str::to_owned).collect::<std::collections::BTreeSet<String>>()
    };
    let dry = run("-avn");
    assert!(dry.contains("deleting a/c/") && !dry.contains("deleting a/"), "{dry:?}");
    let mut real = run("-av");
    // What makes way in vain is looked at by the run alone.
    real.remove("deleting closed/g");
    assert_eq!(dry, real);
}

#[test]
fn without_delete_nothing_is_removed() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    plant(server.module("backup"), &["surplus=x"]);
    world.agent(&server).push("-a", slash(&src), "backup").ok();
    assert_eq!(names(server.module("backup")), ["f", "surplus"]);
}

#[test]
fn delete_without_recursion_is_bad_usage() {
    let world = World::new();
    let server = world.backup();
    let src = world.dir("src");
    let out = world.agent(&server).push("-lt --delete", slash(&src), "backup").exits(1);
    assert!(out.stderr.contains("--delete does not work without --recursive"), "{}", out.stderr);
}

#[test]
fn a_type_change_lands_in_every_direction() {
    let kinds = ["x=a file", "x/inner/f=a directory", "x->a link"];
    for before in kinds {
        for after in kinds.into_iter().filter(|&after| after != before) {
            let world = World::new();
            let server = world.backup();
            let src = world.path("src");
            plant(&src, &[after]);
            plant(server.module("backup"), &[before]);
            world.agent(&server).push("-a --delete", slash(&src), "backup").ok();
            assert_equal(&src, server.module("backup"));
        }
    }
}

#[test]
fn an_existing_file_is_replaced_whole_by_another_inode() {
    let world = World::new();
    let server = world.backup();
    let file = world.file("f", "new content");
    let target = server.module("backup").join("f");
    fs::write(&target, "old").expect("write");
    let old = fs::File::open(&target).expect("open");
    world.agent(&server).push("-a", &file, "backup").ok();
    assert_eq!(fs::read(&target).expect("read"), b"new content");
    // Whoever had the old one open still reads the old one: it was replaced, not written over.
    assert_eq!(std::io::read_to_string(old).expect("read"), "old");
}

#[test]
fn without_perms_a_file_keeps_the_mode_it_has() {
    let world = World::new();
    let server = world.backup();
    let file = world.file("f", "new content");
    let target = server.module("backup").join("f");
    fs::write(&target, "old").expect("write");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).expect("chmod");
    world.agent(&server).push("-t", &file, "backup").ok();
    assert_eq!(fs::read(&target).expect("read"), b"new content");
    assert_eq!(fs::metadata(&target).expect("stat").mode() & 0o7777, 0o640);
}

#[test]
fn a_pull_replaces_what_differs_and_leaves_the_rest() {
    let world = World::new();
    let server = world.backup();
    plant(server.module("backup"), &["d/f=content"]);
    let dest = world.dir("dest");
    plant(&dest, &["d/f=older content", "d/mine=stays"]);
    world.agent(&server).pull("-a", "backup/d", &dest).ok();
    assert_eq!(names(&dest), ["d/", "d/f", "d/mine"]);
    assert_eq!(fs::read(dest.join("d/f")).expect("read"), b"content");
}

#[test]
fn a_push_with_nothing_to_do_ends_well_at_both_ends_though_nobody_waits_for_a_last_word() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["a=1", "d/b=2", "d/e/c=3"]);
    let agent = world.agent(&server);
    agent.push("-a", slash(&src), "backup").ok();
    let ended = |log: &str| log.matches("received").count();
    let booked = |runs| until("the server has booked every run", || ended(&server.log()) == runs);
    booked(1);
    let rounds = 20;
    for _ in 0..rounds {
        let again = agent.push("-av --delete --stats", slash(&src), "backup").ok();
        assert_eq!(again.stat("Number of regular files transferred"), 0);
        assert_eq!(again.stat("Number of files"), 6, "{}", again.stdout);
    }
    booked(1 + rounds);
    assert!(!server.log().contains("connection lost"), "{}", server.log());
    // What differs only in the directory itself is no less a difference.
    fs::set_permissions(&src, fs::Permissions::from_mode(0o700)).expect("chmod");
    agent.push("-a", slash(&src), "backup").ok();
    assert_equal(&src, server.module("backup"));
}
