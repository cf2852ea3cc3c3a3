//! What happened while nobody watched, or unseen, is found at the next start: cases 10, 29, 30, 37, 44, 48, 49, 53.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use driftless_tests::World;
use driftless_tests::oracle::{skip, slash};
use driftless_tests::trees::{equal, names, plant, write_noise};
use driftless_tests::wait::{stays, until, until_ok};

use super::{Live, build_provoke, compile};
use crate::durability::real_disk;

/// Case 29. The name in the tree gets no event.
#[test]
fn what_is_written_through_a_name_outside_is_found_at_the_next_start() {
    let Some(mut live) = Live::new("inotify", &["d/x=before", "y=2"]) else { return };
    fs::hard_link(live.at("d/x"), live.outside("elsewhere")).expect("link");
    live.rests();
    let mut file = fs::File::options().append(true).open(live.outside("elsewhere")).expect("open");
    file.write_all(b" and after").expect("write");
    drop(file);
    live.start_with("");
    live.arrives();
    assert_eq!(fs::read(live.copy().join("d/x")).expect("read"), b"before and after");
}

/// Case 30. On a disk file system: tmpfs notes no time for such a store.
#[test]
fn a_store_through_a_mapping_after_the_last_close_is_found_at_the_next_start() {
    let Some(disk) = real_disk() else { return };
    let world = World::in_dir(&disk);
    let Some(provoke) = build_provoke(&world) else { return };
    let src = world.path("src");
    plant(&src, &["d/f=1"]);
    write_noise(&src.join("d/mapped"), 5000, 1);
    let server = world.backup();
    let agent = world.agent(&server);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it is live", || equal(&src, server.module("backup")));
    let mut program = Command::new(provoke)
        .arg("store")
        .arg(src.join("d/mapped"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut said = [0; 7];
    program.stdout.as_mut().expect("a pipe").read_exact(&mut said).expect("it closes the file");
    plant(&src, &["mark=x"]);
    until_ok("the close has been seen", || equal(&src, server.module("backup")));
    drop(program.stdin.take());
    assert!(program.wait().expect("wait").success());
    watch.kill();
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it is found", || equal(&src, server.module("backup")));
    let copy = fs::read(server.module("backup").join("d/mapped")).expect("read");
    assert!(copy.starts_with(b"SSSSS"));
    watch.runs();
}

/// Case 37, while nobody watches: neither size nor time tells, and the time of change cannot be set back.
#[test]
fn a_change_within_its_old_size_and_time_is_found_at_the_next_start() {
    let Some(mut live) = Live::new("inotify", &["d/f=before", "same=untouched"]) else { return };
    live.watch.kill();
    let was = fs::metadata(live.at("d/f")).expect("stat").modified().expect("mtime");
    plant(&live.src, &["d/f=after!"]);
    let file = fs::File::options().write(true).open(live.at("d/f")).expect("open");
    file.set_times(fs::FileTimes::new().set_modified(was)).expect("touch -r");
    drop(file);
    live.start_with("");
    until("it is found", || fs::read(live.copy().join("d/f")).is_ok_and(|is| is == b"after!"));
    live.arrives();
}

/// Case 10, on the file system that does it: the new directory has the number of the one just removed.
#[test]
fn a_directory_with_the_number_of_a_removed_one_is_no_rename() {
    let Some(disk) = real_disk() else { return };
    let world = World::in_dir(&disk);
    let src = world.path("src");
    plant(&src, &["old/f=1"]);
    let server = world.backup();
    let agent = world.agent(&server);
    let copy = server.module("backup");
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it is live", || equal(&src, copy));
    let number = |name: &str| fs::metadata(src.join(name)).expect("stat").ino();
    let mut last = "old".to_owned();
    let mut again = 0;
    for i in 0..5 {
        let was = number(&last);
        fs::remove_dir_all(src.join(&last)).expect("rm -r");
        last = format!("new{i}");
        plant(&src, &[&format!("{last}/g=content {i}"), &format!("{last}/sub/h=deeper {i}")]);
        again += u32::from(number(&last) == was);
        until_ok("it arrives", || equal(&src, copy));
        assert!(!copy.join(&last).join("f").exists());
    }
    watch.kill();
    let was = number(&last);
    fs::remove_dir_all(src.join(&last)).expect("rm -r");
    plant(&src, &["unrelated/k=other"]);
    if again == 0 || number("unrelated") != was {
        return skip("no number was given out again");
    }
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until_ok("it caught up", || equal(&src, copy));
    assert_eq!(names(copy), ["unrelated/", "unrelated/k"]);
    watch.runs();
}

/// Case 49.
#[test]
fn what_a_new_rule_excludes_stays_on_the_copy_and_what_it_no_longer_does_arrives() {
    let Some(mut live) = Live::new("inotify", &["keep/f=1", "cache/g=2", "h=3"]) else { return };
    live.start_with("--exclude=/cache/");
    live.rests();
    plant(&live.src, &["cache/g=changed", "cache/more=4", "h=changed"]);
    until("the rest flows", || fs::read(live.copy().join("h")).is_ok_and(|is| is == b"changed"));
    stays("what is excluded stays as it was", || {
        fs::read(live.copy().join("cache/g")).is_ok_and(|is| is == b"2")
            && !live.copy().join("cache/more").exists()
    });
    live.start_with("");
    live.arrives();
    plant(&live.src, &["cache/live=5"]);
    live.arrives();
}

/// Case 53. A disk that is mounted after the start: its place is there and empty, or is not there at all.
#[test]
fn a_source_that_is_not_there_yet_is_waited_for() {
    let Some(mut live) = Live::new("inotify", &["d/f=1", "g=2"]) else { return };
    live.watch.kill();
    let aside = live.outside("not mounted yet");
    fs::rename(&live.src, &aside).expect("mv");
    live.start_with("");
    live.says("waiting for it to come");
    assert_eq!(names(live.copy()), ["d/", "d/f", "g"]);
    plant(&aside, &["d/h=3"]);
    fs::rename(&aside, &live.src).expect("mv");
    live.arrives();
}

/// The wall clock of whoever has this loaded is off by as many seconds as the file says at each look.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    char text[32] = {0};
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME && result == 0) {
        int fd = open(getenv("CLOCK_OFF_BY"), O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (read(fd, text, sizeof text - 1) > 0)
                now->tv_sec += atol(text);
            close(fd);
        }
    }
    return result;
}
"#;

/// Case 48. The agent's clock jumps a day on, two days back, and home, while it runs and between two runs.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    let Some(mut live) = Live::new("inotify", &["f=0"]) else { return };
    let Some(library) = compile(&live.world, "clock", CLOCK, &["-shared", "-fPIC", "-ldl"]) else { return };
    let offset = live.world.file("offset", "0");
    let jump = |to: i64| {
        let new = live.world.file("offset.new", to.to_string());
        fs::rename(new, &offset).expect("mv");
    };
    live.agent = live.agent.clone().env("LD_PRELOAD", library.to_str().expect("UTF-8"));
    live.agent = live.agent.clone().env("CLOCK_OFF_BY", offset.to_str().expect("UTF-8"));
    let (day, mut step) = (86_400, 0);
    for restart in [false, true] {
        for to in [day, -day, 0] {
            jump(to);
            if restart || step == 0 {
                live.watch.kill();
                live.watch = live.agent.watch("-a --delete", slash(&live.src), "backup");
            }
            step += 1;
            fs::rename(live.at("f"), live.at("g")).expect("mv");
            fs::rename(live.at("g"), live.at("f")).expect("mv");
            plant(&live.src, &[&format!("f={step}"), &format!("{step}/new/g=x")]);
            until_ok("it arrives", || equal(&live.src, live.server.module("backup")));
        }
    }
    fs::remove_dir_all(live.at("1")).expect("rm -r");
    live.arrives();
}
