//! Durability is visible: under strace a file's data is synced before it gets its name, and the directory before the ack.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use driftless_tests::World;
use driftless_tests::oracle::{find, skip, slash};
use driftless_tests::server::Server;
use driftless_tests::trees::{plant, set_mtime, write_noise};
use driftless_tests::wait::{eventually, until};
use driftless_tests::world::workspace;
use rustix::process::{Pid, Signal, kill_process};

/// One system call of a trace. Its place is counted in lines, at its start and at its end.
#[derive(Debug)]
struct Call {
    name: String,
    text: String,
    start: usize,
    end: usize,
}

/// strace, attached to a server.
struct Trace {
    strace: Child,
    file: PathBuf,
}

impl Trace {
    /// Attaches; `None`, after a loud skip, where that is not possible.
    fn of(server: &Server, world: &World) -> Option<Self> {
        let strace = find("strace")?;
        let (file, said) = (world.path("trace"), world.path("strace.said"));
        let calls = "trace=fsync,fdatasync,syncfs,linkat,renameat,renameat2,write,writev,sendto,sendmsg";
        let mut strace = Command::new(strace)
            .args([
                "-f",
                "-yy",
                "-s",
                "400",
                "-e",
                calls,
                "-p",
                &server.pid().as_raw_nonzero().to_string(),
                "-o",
            ])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(fs::File::create(&said).expect("create"))
            .spawn()
            .expect("strace runs");
        let heard = eventually("strace attaches", || {
            let ended = strace.try_wait().expect("wait").is_some();
            let text = fs::read_to_string(&said).unwrap_or_default();
            (ended || text.contains("attached")).then_some((ended, text))
        });
        if heard.0 {
            skip(&format!("strace may not attach: {}", heard.1.trim()));
            return None;
        }
        Some(Self { strace, file })
    }

    /// Detaches and returns the calls in the order of their ends.
    fn end(mut self) -> Vec<Call> {
        kill_process(Pid::from_child(&self.strace), Signal::TERM).expect("it runs");
        self.strace.wait().expect("wait");
        calls(&fs::read_to_string(&self.file).expect("a trace"))
    }
}

/// Reads a trace written with `-f -o`: `PID call(...) = result`, cut in two where another thread came between.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((pid, text)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let text = text.trim_start();
        let (start, whole) = if let Some(first) = text.strip_suffix("<unfinished ...>") {
            begun.insert(pid, (at, first));
            continue;
        } else if text.starts_with("<... ") {
            let Some((start, first)) = begun.remove(pid) else {
                continue;
            };
            (start, format!("{first}{text}"))
        } else {
            (at, text.to_owned())
        };
        if let Some((name, _)) = whole.split_once('(') {
            calls.push(Call { name: name.to_owned(), text: whole, start, end: at });
        }
    }
    calls
}

/// A folder on a file system with a journal of its own; `None`, after a loud skip, where there is none at hand.
pub(crate) fn real_disk() -> Option<PathBuf> {
    const EXT: i64 = 0xEF53;
    const XFS: i64 = 0x5846_5342;
    const BTRFS: i64 = 0x9123_683E;
    let target = workspace().join("target");
    let found = [Path::new("/var/tmp"), &target]
        .into_iter()
        .find(|dir| rustix::fs::statfs(*dir).is_ok_and(|fs| [EXT, XFS, BTRFS].contains(&fs.f_type)));
    if found.is_none() {
        skip("no ext4, xfs or btrfs at hand");
    }
    found.map(Path::to_owned)
}

#[test]
fn data_is_synced_before_the_name_and_the_directory_before_the_ack() {
    let Some(disk) = real_disk() else { return };
    let world = World::in_dir(&disk);
    let server = world.backup();
    let module = server.module("backup").canonicalize().expect("a path");
    for (what, content) in [("a new name", "one"), ("a name that is taken", "other content")] {
        let Some(trace) = Trace::of(&server, &world) else {
            return;
        };
        world.agent(&server).push("-a", world.file("final-name", content), "backup").ok();
        until("it has arrived", || {
            fs::read(module.join("final-name")).is_ok_and(|is| is == content.as_bytes())
        });
        let calls = trace.end();
        judge(what, &calls, &module);
    }
}

#[test]
fn new_metadata_is_synced_where_its_directory_knows_nothing_of_it() {
    let world = World::new();
    let server = world.backup();
    let (src, agent) = (world.path("src"), world.agent(&server));
    plant(&src, &["described=x"]);
    write_noise(&src.join("kept"), 64 << 10, 1);
    agent.push("-a", slash(&src), "backup").ok();
    fs::set_permissions(src.join("described"), fs::Permissions::from_mode(0o600)).expect("chmod");
    set_mtime(&src.join("kept"), 1_000_000_000, 0);
    let Some(trace) = Trace::of(&server, &world) else { return };
    agent.push("-a", slash(&src), "backup").ok();
    let calls = trace.end();
    for name in ["/described>", "/kept>"] {
        let synced = calls.iter().any(|call| call.name == "fsync" && call.text.contains(name));
        assert!(synced, "no sync of {name}: {calls:#?}");
    }
}

/// Asserts the order sync of data, name, sync of directory, ack.
fn judge(what: &str, calls: &[Call], module: &Path) {
    let told = || calls.iter().map(|call| format!("{}\n", call.text)).collect::<String>();
    let find = |wanted: &dyn Fn(&Call) -> bool| calls.iter().find(|&call| wanted(call));

    let names = |call: &Call| call.name.starts_with("linkat") || call.name.starts_with("rename");
    let named = find(&|call| names(call) && call.text.contains("\"final-name\""));
    let named = named.unwrap_or_else(|| panic!("{what}: it never got its name:\n{}", told()));

    // The temp file is nameless (`(deleted)` to strace) or has a reserved name.
    let temp = |call: &Call| call.text.contains("(deleted)") || call.text.contains("/.~dl");
    let data = find(&|call| {
        let syncs =
            ["fsync", "fdatasync"].contains(&call.name.as_str()) && temp(call) || call.name == "syncfs";
        syncs && call.end < named.start
    });
    assert!(data.is_some(), "{what}: no sync of its data before its name:\n{}", told());

    let dir = format!("<{}>", module.display());
    let synced = find(&|call| call.name == "fsync" && call.text.contains(&dir) && call.start > named.end);
    let synced =
        synced.unwrap_or_else(|| panic!("{what}: no sync of the directory after the name:\n{}", told()));

    // Between the name and the end of that sync nothing goes to the agent: nothing there could be the ack.
    let to_agent = |call: &Call| call.text.contains("TCP");
    let early = find(&|call| to_agent(call) && call.start > named.start && call.start < synced.end);
    assert!(
        early.is_none(),
        "{what}: something was sent before the directory was synced: {early:?}\n{}",
        told()
    );
    let ack = find(&|call| to_agent(call) && call.start > synced.end);
    assert!(ack.is_some(), "{what}: no ack after it:\n{}", told());
}

#[test]
fn a_first_push_of_many_files_syncs_their_contents_before_their_names_and_these_before_it_ends() {
    let Some(disk) = real_disk() else { return };
    let world = World::in_dir(&disk);
    let server = world.backup();
    let source = world.dir("source");
    for id in 0..300 {
        fs::write(source.join(format!("file{id}")), format!("content {id}")).expect("write");
    }
    let Some(trace) = Trace::of(&server, &world) else { return };
    world.agent(&server).push("-a", driftless_tests::oracle::slash(&source), "backup").ok();
    let calls = trace.end();
    let told = || calls.iter().map(|call| format!("{}\n", call.text)).collect::<String>();

    let names: Vec<&Call> = calls.iter().filter(|call| call.name == "linkat").collect();
    assert_eq!(names.len(), 300, "{}", told());
    let syncs: Vec<&Call> = calls.iter().filter(|call| call.name == "syncfs").collect();
    let (first, last) = (names[0], names[names.len() - 1]);
    assert!(syncs.iter().any(|sync| sync.end < first.start), "a name before any sync:\n{}", told());
    let settled = syncs.iter().find(|sync| sync.start > last.end);
    let settled = settled.unwrap_or_else(|| panic!("no sync after the last name:\n{}", told()));
    let to_agent = |call: &&Call| call.text.contains("TCP");
    let early =
        calls.iter().filter(to_agent).find(|call| call.start > last.start && call.start < settled.end);
    assert!(early.is_none(), "something was sent before the names were synced: {early:?}\n{}", told());
    assert!(
        calls.iter().filter(to_agent).any(|call| call.start > settled.end),
        "no word after it:\n{}",
        told()
    );
    // That is what it is for: not a sync for each.
    let each = calls.iter().filter(|call| call.name == "fsync" && call.text.contains("(deleted)")).count();
    assert!(
        each < 150 && syncs.len() < 20,
        "{each} files synced alone, {} syncs of all:\n{}",
        syncs.len(),
        told()
    );
}
