//! Ways in which files are written, and what must not be made of them: cases 28, 31 to 36.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use driftless_tests::World;
use driftless_tests::oracle::skip;
use driftless_tests::trees::{names, plant, set_mtime, write_noise};
use driftless_tests::wait::{patience, until};
use driftless_tests::wire::{Way, Wire};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};

use super::{Live, provoke};

const MIB: u64 = 1 << 20;

with_engines! {
    each:
        what_is_cut_punched_copied_and_linked_arrives
        what_is_written_through_one_name_arrives_under_the_others
        what_is_written_through_a_name_that_goes_arrives_under_the_others
        what_is_written_through_a_name_during_the_first_comparison_arrives_under_the_others
        what_a_killed_writer_left_arrives
        a_log_that_is_never_closed_arrives_by_its_appends
        a_change_of_metadata_alone_sends_no_content
        a_file_becomes_each_kind_in_turn;
    events:;
}

/// Cases 32 and 33: what gives no CLOSE_WRITE, or gives it under no name.
fn what_is_cut_punched_copied_and_linked_arrives(engine: &str) {
    let Some(mut live) = Live::over(engine, |src| {
        for (name, seed) in [("cut", 1), ("punched", 2), ("from", 3), ("into", 4)] {
            write_noise(&src.join(name), MIB, seed);
        }
        plant(src, &["linked=1"]);
    }) else {
        return;
    };
    let Some(provoke) = provoke(&live.world) else { return };
    provoke(&["truncate", live.at("cut").to_str().expect("UTF-8"), "1000"]);
    let open = |name: &str| fs::File::options().read(true).write(true).open(live.at(name)).expect("open");
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(open("punched"), hole, 4096, 100_000).expect("fallocate");
    let (mut at, mut to) = (100_000, 50_000);
    rustix::fs::copy_file_range(open("from"), Some(&mut at), open("into"), Some(&mut to), 300_000)
        .expect("copy_file_range");
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let nameless = rustix::fs::open(&live.src, flags, Mode::from_raw_mode(0o644)).expect("O_TMPFILE");
    rustix::io::write(&nameless, b"written before it had a name").expect("write");
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&nameless));
    rustix::fs::linkat(CWD, link, CWD, live.at("named"), AtFlags::SYMLINK_FOLLOW).expect("linkat");
    fs::hard_link(live.at("linked"), live.at("second name")).expect("link");
    live.arrives();
    assert_eq!(names(live.copy()), ["cut", "from", "into", "linked", "named", "punched", "second name"]);
    assert_eq!(fs::read(live.copy().join("named")).expect("read"), b"written before it had a name");
}

/// Case 28. Events tell of the name that was used, and of no other.
fn what_is_written_through_one_name_arrives_under_the_others(engine: &str) {
    let Some(mut live) = Live::new(engine, &["h1/x=before", "h2/"]) else { return };
    fs::hard_link(live.at("h1/x"), live.at("h2/y")).expect("link");
    live.arrives();
    live.rests();
    let append = |name: &str, text: &str| {
        let mut file = fs::File::options().append(true).open(live.src.join(name)).expect("open");
        file.write_all(text.as_bytes()).expect("write");
    };
    append("h2/y", "through y");
    until("both are right", || {
        ["h1/x", "h2/y"]
            .iter()
            .all(|name| fs::read(live.copy().join(name)).is_ok_and(|content| content == b"beforethrough y"))
    });
    fs::rename(live.at("h1"), live.at("h3")).expect("mv");
    live.rests();
    live.start_with("");
    live.rests();
    let mut file = fs::File::options().append(true).open(live.at("h2/y")).expect("open");
    file.write_all(b" again").expect("write");
    drop(file);
    live.arrives();
    assert_eq!(fs::read(live.copy().join("h3/x")).expect("read"), b"beforethrough y again");
}

/// Case 28 once more: the name that the event tells of is gone before anybody looks, and the directory of the other one has
/// another name by then.
fn what_is_written_through_a_name_that_goes_arrives_under_the_others(engine: &str) {
    let Some(mut live) = Live::new(engine, &["h1/x=before", "h2/"]) else { return };
    fs::hard_link(live.at("h1/x"), live.at("h2/y")).expect("link");
    live.arrives();
    live.rests();
    for dirs in [["h1", "h1"], ["h1", "h3"]] {
        live.hold();
        let mut file = fs::File::options().append(true).open(live.at("h2/y")).expect("open");
        file.write_all(dirs[1].as_bytes()).expect("write");
        drop(file);
        fs::rename(live.at(dirs[0]), live.at(dirs[1])).expect("mv");
        fs::remove_file(live.at("h2/y")).expect("rm");
        live.let_go();
        live.agent.operate("wait --all").ok();
        live.arrives();
        fs::hard_link(live.at(dirs[1]).join("x"), live.at("h2/y")).expect("link");
        live.arrives();
        live.rests();
    }
}

/// Case 28 at a start. The journal has never heard of the other name: it was made while nobody watched, and the copy had the
/// same there. It has been compared by the time that the file changes; the inventory is made after that.
fn what_is_written_through_a_name_during_the_first_comparison_arrives_under_the_others(engine: &str) {
    let Some(mut live) = Live::new(engine, &["a/x=before"]) else { return };
    live.watch.kill();
    fs::hard_link(live.at("a/x"), live.at("a/y")).expect("link");
    fs::copy(live.at("a/y"), live.copy().join("a/y")).expect("cp");
    let time = fs::metadata(live.at("a/y")).expect("stat").modified().expect("a time");
    let copy = fs::File::options().write(true).open(live.copy().join("a/y")).expect("open");
    copy.set_modified(time).expect("utimes");
    write_noise(&live.at("m"), 4 * MIB, 1);
    live.wire.throttle(4 * MIB);
    let before = live.sent();
    live.start_with("");
    until("the comparison is under way", || live.sent() > before + MIB);
    let mut file = fs::File::options().append(true).open(live.at("a/x")).expect("open");
    file.write_all(b" and after").expect("write");
    drop(file);
    live.arrives();
}

/// Case 35.
fn what_a_killed_writer_left_arrives(engine: &str) {
    let Some(mut live) = Live::new(engine, &["f=before"]) else { return };
    let script = "exec 3>f; head -c 300000 /dev/zero >&3; kill -9 $$";
    let status = Command::new("sh").args(["-c", script]).current_dir(&live.src).status().expect("sh runs");
    assert!(status.code().is_none(), "{status}");
    live.arrives();
    assert_eq!(fs::metadata(live.copy().join("f")).expect("stat").len(), 300_000);
}

/// Case 31. It is written to all the time and never rests; every part arrives within seconds, and nothing twice.
fn a_log_that_is_never_closed_arrives_by_its_appends(engine: &str) {
    let Some(live) = Live::over(engine, |src| write_noise(&src.join("log"), 8 * MIB, 1)) else { return };
    let before = live.sent();
    let mut log = fs::File::options().append(true).open(live.at("log")).expect("open");
    let copy = live.copy().join("log");
    let (mut written, mut last_arrival) = (8 * MIB, Instant::now());
    let mut seen = written;
    let end = Instant::now() + Duration::from_secs(3);
    let mut arrivals = 0;
    while Instant::now() < end || arrivals < 2 {
        log.write_all(&[b'x'; 500]).expect("write");
        written += 500;
        let len = fs::metadata(&copy).expect("it is there all the time").len();
        if len > seen {
            (seen, last_arrival) = (len, Instant::now());
            arrivals += 1;
        }
        assert!(last_arrival.elapsed() < patience(), "nothing has arrived for long");
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = live.sent() - before;
    assert!(sent < 2 * MIB, "{sent} bytes for appends of {} bytes", written - 8 * MIB);
    until("the rest arrives", || fs::metadata(&copy).is_ok_and(|meta| meta.len() == written));
}

/// Case 36.
fn a_change_of_metadata_alone_sends_no_content(engine: &str) {
    let Some(mut live) = Live::over(engine, |src| {
        plant(src, &["d/small=1"]);
        write_noise(&src.join("d/big"), 4 * MIB, 1);
    }) else {
        return;
    };
    let before = live.sent();
    for name in ["d/big", "d/small", "d"] {
        fs::set_permissions(live.at(name), fs::Permissions::from_mode(0o750)).expect("chmod");
        chown(live.at(name), Some(1234), Some(5678)).expect("chown");
        set_mtime(&live.at(name), 1_000_000_000, 7);
    }
    live.arrives();
    let sent = live.sent() - before;
    assert!(sent < 64 << 10, "{sent} bytes for metadata");
}

/// Case 38.
fn a_file_becomes_each_kind_in_turn(engine: &str) {
    let Some(mut live) = Live::new(engine, &["x=a file"]) else { return };
    let x = live.at("x");
    let node = |kind, device| {
        rustix::fs::mknodat(CWD, &x, kind, Mode::from_raw_mode(0o640), device).expect("mknod");
    };
    let makers: [&dyn Fn(); 6] = [
        &|| plant(&x, &["inner/leaf=a directory"]),
        &|| node(rustix::fs::FileType::Fifo, 0),
        &|| node(rustix::fs::FileType::Socket, 0),
        &|| plant(&x, &["inner->nowhere"]),
        &|| node(rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        &|| fs::write(&x, "a file again").expect("write"),
    ];
    for make in makers {
        if x.is_dir() {
            fs::remove_dir_all(&x).expect("rm -r");
        } else {
            fs::remove_file(&x).expect("rm");
        }
        make();
        live.arrives();
    }
}

/// More than the agent can have read while this part of it has crossed: what is on its way is bounded by HTTP/2's window.
const READ_LATER: u64 = 64 * MIB;

/// Writes over the whole of a file, in place.
fn overwrite(file: &Path, byte: u8) {
    let writer = fs::File::options().write(true).open(file).expect("open");
    let piece = vec![byte; usize::try_from(MIB).expect("fits")];
    for at in 0..READ_LATER / MIB {
        writer.write_all_at(&piece, at * MIB).expect("write");
    }
}

/// Case 34. The wire stands still while the file is overwritten: its beginning has been read, its end has not.
#[test]
fn a_file_that_changes_while_it_is_read_arrives_as_it_was_at_one_moment() {
    let world = World::new();
    let server = world.backup();
    let file = world.file("big", vec![b'a'; usize::try_from(READ_LATER).expect("fits")]);
    let wire = Wire::to(server.address());
    let agent = world.agent(&server).through(&wire);
    wire.stall_after(Way::Up, MIB);
    let mut push = agent.spawn("push", "-a", &[&file, &agent.remote("backup")]);
    until("it is read", || wire.is_stalled());
    overwrite(&file, b'b');
    wire.stall(false);
    assert_eq!(push.wait(), Some(0), "{}", push.log());
    let copy = fs::read(server.module("backup").join("big")).expect("read");
    let torn = copy.iter().position(|byte| *byte != b'b');
    assert_eq!(torn, None, "the copy is torn");
    assert_eq!(copy.len() as u64, READ_LATER);
}

/// Case 32, where files can share their blocks.
#[test]
fn a_file_that_shares_its_blocks_with_another_arrives() {
    let world = World::new();
    let (image, src) = (world.path("image"), world.dir("src"));
    let made = fs::File::create(&image).and_then(|file| file.set_len(320 * MIB));
    made.expect("an image");
    let run = |program: &str, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|out| out.status.success())
    };
    let (image, at) = (image.to_str().expect("UTF-8"), src.to_str().expect("UTF-8"));
    if !run("mkfs.xfs", &["-q", image]) || !run("mount", &["-o", "loop", image, at]) {
        return skip("no file system with shared blocks can be mounted");
    }
    let shared = std::panic::catch_unwind(|| {
        write_noise(&src.join("one"), MIB, 1);
        let server = world.backup();
        let mut watch =
            world.agent(&server).watch("-a --delete", driftless_tests::oracle::slash(&src), "backup");
        let equal = || driftless_tests::trees::equal(&src, server.module("backup"));
        driftless_tests::wait::until_ok("it is live", equal);
        plant(&src, &["other=to be replaced"]);
        driftless_tests::wait::until_ok("it arrives", equal);
        let to = fs::File::options().write(true).open(src.join("other")).expect("open");
        rustix::fs::ioctl_ficlone(&to, fs::File::open(src.join("one")).expect("open")).expect("FICLONE");
        // Still open: nothing but the clone itself tells.
        driftless_tests::wait::until_ok("the clone arrives", equal);
        drop(to);
        watch.runs();
    });
    assert!(run("umount", &["-l", at]));
    shared.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
