//! `driftless events` and `driftless stats` beside the real inotifywait and inotifywatch, and what they do better.
//!
//! Both run over the same tree and the same operations. The kernel orders events; it joins equal neighbours when nobody
//! has read the first, so no operation here makes two of those, and after each one the program is let come to rest.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use driftless_tests::World;
use driftless_tests::oracle::{find, root_or_skip, skip};
use driftless_tests::wait::{eventually, until};
use driftless_tests::world::program;
use rustix::process::{Pid, Signal, kill_process};

/// What a run left behind.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Where both programs run, one after the other.
struct Tools {
    world: World,
}

impl Tools {
    fn new() -> Self {
        let world = World::new();
        let bin = world.dir("bin");
        for name in ["inotifywait", "inotifywatch"] {
            symlink(program("driftless"), bin.join(name)).expect("symlink");
        }
        Self { world }
    }

    /// A fresh tree, and the folder above it, where programs run.
    fn tree(&self) -> PathBuf {
        let top = self.world.path("top");
        if top.exists() {
            fs::remove_dir_all(&top).expect("swept");
        }
        fs::create_dir_all(top.join("t/a/b")).expect("mkdir");
        fs::create_dir_all(top.join("t/c")).expect("mkdir");
        fs::create_dir_all(top.join("out")).expect("mkdir");
        fs::write(top.join("t/f"), "x\n").expect("write");
        symlink("t", top.join("link")).expect("symlink");
        top
    }

    fn ours(&self, name: &str) -> PathBuf {
        self.world.path("bin").join(name)
    }

    /// Starts a program under its bare name, as a shell would.
    fn start(&self, exe: &Path, arg0: &str, args: &[&str], top: &Path, list: &str) -> Run {
        use std::os::unix::process::CommandExt as _;
        let [out, err] = ["stdout", "stderr"].map(|name| self.world.path(name));
        let stdin = self.world.file("list", list);
        let child = Command::new(exe)
            .arg0(arg0)
            .args(args)
            .current_dir(top)
            .stdin(File::open(stdin).expect("open"))
            .stdout(File::create(&out).expect("create"))
            .stderr(File::create(&err).expect("create"))
            .spawn()
            .expect("it runs");
        Run { child, out, err }
    }

    /// Runs `line` (`inotifywait -m t`) over the operations, each a line of shell.
    fn run(&self, exe: &Path, line: &str, operations: &[&str]) -> Seen {
        let top = self.tree();
        let (name, args) = words(line);
        let run = self.start(exe, name, &args, &top, "t/f\n\n@\n");
        run.established();
        for operation in operations {
            sh(&top, operation);
            run.rests();
        }
        // One that has a timeout ends by itself, and a signal to go on does nothing.
        let last = match name {
            _ if line.contains("t 1") || line.contains("t1") => Signal::CONT,
            "inotifywatch" => Signal::INT,
            _ => Signal::TERM,
        };
        run.end(last)
    }

    /// Asserts that ours leaves behind what theirs does.
    #[track_caller]
    fn same(&self, line: &str, operations: &[&str]) {
        let (name, _) = words(line);
        let Some(theirs) = find(name) else { return };
        let theirs = self.run(&theirs, line, operations);
        let ours = self.run(&self.ours(name), line, operations);
        assert_eq!(ours, theirs, "ours, theirs: {line:?} over {operations:?}");
    }

    /// `driftless events` left running over a fresh tree.
    fn events(&self, args: &str) -> (Run, PathBuf) {
        self.driftless("events", args)
    }

    fn driftless(&self, command: &str, args: &str) -> (Run, PathBuf) {
        let top = self.tree();
        let line = format!("driftless {command} {args}");
        let (_, args) = words(&line);
        let run = self.start(&program("driftless"), "driftless", &args, &top, "");
        run.established();
        (run, top)
    }
}

fn words(line: &str) -> (&str, Vec<&str>) {
    let mut words = line.split(' ');
    (words.next().expect("a name"), words.collect())
}

fn sh(top: &Path, operation: &str) {
    let status = Command::new("sh").args(["-c", operation]).current_dir(top).status().expect("sh runs");
    assert!(status.success(), "{operation}");
}

struct Run {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Run {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).expect("read")).into_owned()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).expect("read")).into_owned()
    }

    fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid().as_raw_nonzero())).expect("stat");
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("a state")
    }

    /// Waits until everything is watched, or the program has ended. Between its first watch and the wait for events it
    /// does not sleep; before the first it may, so the order of the two looks counts.
    fn established(&self) {
        until("everything is watched", || {
            let watches = self.watches() > 0;
            let state = self.state();
            (watches && state == 'S') || state == 'Z'
        });
    }

    /// Waits until it sleeps. An event makes the sleeper runnable before the call that caused it returns, so one that
    /// sleeps has taken all events there were.
    fn rests(&self) {
        until("it rests", || matches!(self.state(), 'S' | 'Z'));
    }

    /// How many watches it has, as the kernel counts them.
    fn watches(&self) -> usize {
        let dir = format!("/proc/{}/fdinfo", self.pid().as_raw_nonzero());
        let files = fs::read_dir(dir).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        texts.map(|text| text.lines().filter(|line| line.starts_with("inotify ")).count()).sum()
    }

    fn end(mut self, signal: Signal) -> Seen {
        self.rests();
        // It may have ended by itself.
        kill_process(self.pid(), signal).ok();
        let status = eventually("it ends", || self.child.try_wait().expect("wait"));
        Seen { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().expect("kill");
            self.child.wait().expect("wait");
        }
    }
}

#[test]
fn a_command_line_is_taken_or_refused_with_the_words_of_inotifywait() {
    let tools = Tools::new();
    for line in [
        "",
        "-q",
        "-Z t",
        "--foo=bar t",
        "--ex t",
        "--excl=x",
        "-e",
        "-mrqe",
        "--monitor=3 t",
        "--e",
        "--f",
        "--i",
        "--n",
        "--o",
        "--t",
        "-c --format x t",
        "--no-newline t",
        "--timefmt x t",
        "--format %T t",
        "-t abc t",
        "-t  t",
        "-t 1x t",
        "-q -t=1 t",
        "-t 99999999999999999999 t",
        "-e foo t",
        "-e a,,b t",
        "-e foo -Z",
        "-Z -e foo",
        "--exclude a --include b t",
        "--exclude a --excludei b t",
        "--include a --includei b t",
        "--exclude ( t",
        "--excludei [z-a] t",
        "--include a{1 t",
        "--includei *a t",
        "--exclude a --exclude b nonex",
        "--excludei a --excludei b nonex",
        "--include a --include b nonex",
        "-o a -o b t",
        "-o /nonex/b t",
        "-d t",
        "nonex",
        "-qq nonex",
        "-r nonex",
        "t nonex",
        "-- -x",
        "-f t",
        "--fromfile nope",
        "--fromfile nope nonex",
        "--fromfile a --fromfile b t",
        "@t",
        "-",
        "-c --format x --timefmt y --no-newline --exclude a --include b t",
        "--timefmt y --no-newline -d t",
        "-t1 t",
        "-qt1 -e modify,,create t",
        "-rt 1 --fromfile - nonex",
    ] {
        tools.same(&format!("inotifywait {line}"), &[]);
    }
}

#[test]
fn a_command_line_is_taken_or_refused_with_the_words_of_inotifywatch() {
    let tools = Tools::new();
    for line in [
        "",
        "nonex",
        "-v nonex",
        "-v -r t nonex",
        "-v -r t",
        "-v -t 1 t t/f",
        "-z -t 1 t",
        "-a create -d delete t",
        "-a create -a delete t",
        "-d create -a delete t",
        "-a move t",
        "-a close t",
        "-a foo t",
        "-d foo t",
        "-a create,bogus t",
        "-a delete -e create t",
        "-d delete -e create t",
        "-a unmount t",
        "-a ignored t",
        "-e foo t",
        "-t abc t",
        "-q t",
        "--fromfile nope",
        "--exclude a --excludei b t",
        "--exclude a --include b t",
        "--exclude ( t",
        "--include ( t",
        "--e",
        "--f",
        "--i",
        "--t",
        "--a",
        "--foo",
    ] {
        tools.same(&format!("inotifywatch {line}"), &[]);
    }
}

#[test]
fn events_are_printed_as_inotifywait_prints_them() {
    let tools = Tools::new();
    let cases: &[(&str, &[&str])] = &[
        ("-m t t/ t/f ./t", &["cat t/f >/dev/null", "chmod 600 t/f"]),
        ("-m t/f", &["echo x >>t/f", "rm t/f"]),
        ("-m -e create,delete link", &["touch link/1", "rm link/1"]),
        ("-mr -e create,delete link", &["touch link/1", "rm link/1"]),
        ("-mP link", &["touch link/1", "rm link"]),
        ("-m -e create --fromfile - t", &["touch t/1 t/f2"]),
        ("-m -e isdir,create t", &["mkdir t/g", "rmdir t/g", "touch t/k", "rm t/k"]),
        ("-m t", &["mv t out/t", "touch out/t/x"]),
        ("-mr -e ignored,delete_self,delete t", &["rm -r t/a"]),
        ("-mqr t", &["mkdir t/n", "mkdir t/n/m", "touch t/n/m/x", "rm t/n/m/x", "rmdir t/n/m", "rmdir t/n"]),
        (
            "-mr -e create,move,delete t",
            &["mv t/a t/z", "touch t/z/q t/z/b/q", "mv t/z t/c/z", "touch t/c/z/b/k"],
        ),
        ("-mr -e create,move,delete t", &["mv t/f t/c/g", "mv t/c/g t/f", "mv t/f out/f", "mv out/f t/a/f"]),
        ("-mr -e create,delete t", &["mv t/a out/a", "touch t/1", "touch out/a/x"]),
        ("-mr -e create @t/a @t/c/ t", &["touch t/a/x t/a/b/y t/c/z t/1"]),
        (
            "-mr -e create --exclude d2|c/ t",
            &["touch t/k", "mkdir t/d2", "touch t/d2/x", "touch t/c/x t/a/x"],
        ),
        ("-mr -e create --excludei D2 t", &["touch t/k", "mkdir t/d2", "touch t/d2/x"]),
        ("-mr -e create --include (kk|\\.py)$ t", &["touch t/kk", "touch t/a/b/x.py t/g", "touch t/xpy"]),
        (
            "-mc -e create,close_write t",
            &["touch 't/a b' 't/ a' 't/a '", "touch 't/q\"x' t/c,d", "mkdir t/k"],
        ),
        (
            "-m -e create,delete --format %w|%f|%e|%:e|%ce|%x|%|%%|%|e|%we|%%e|%Te --timefmt %Y t",
            &["touch t/1"],
        ),
        ("-m -e close_write --format %0%n%%n%%%w%;e --no-newline t", &["touch t/1 t/2"]),
        ("-m -o /dev/stderr -e create t", &["touch t/1"]),
    ];
    for (line, operations) in cases {
        tools.same(&format!("inotifywait {line}"), operations);
    }
}

#[test]
fn a_single_shot_ends_with_the_exit_code_of_inotifywait() {
    let tools = Tools::new();
    let cases: &[(&str, &[&str])] = &[
        ("-e create t", &["touch t/1"]),
        ("-t 5 -e create t", &["touch t/1"]),
        ("-qq -e create t", &["touch t/1"]),
        ("-r -e create t", &["mkdir t/a/n"]),
        ("-r -e modify t/f", &["echo x >>t/f"]),
        ("-e modify t/c", &["rmdir t/c"]),
        ("-t 1 -e create --exclude 1 t", &["touch t/1"]),
    ];
    for (line, operations) in cases {
        tools.same(&format!("inotifywait {line}"), operations);
    }
}

#[test]
fn events_are_counted_as_inotifywatch_counts_them() {
    let tools = Tools::new();
    let cases: &[(&str, &[&str])] = &[
        ("-r t", &["touch t/x", "rm t/x", "touch t/a/y", "touch t/a/b/z", "cat t/f >/dev/null"]),
        (
            "-r -e create,delete t",
            &["touch t/x", "mkdir t/d", "touch t/d/q", "rm -r t/d", "touch t/a/y t/c/1 t/c/2"],
        ),
        (
            "-r -e create,delete,move -a delete -z t",
            &["mkdir t/d", "touch t/d/q", "mv t/d t/e", "touch t/e/k", "rm t/e/k"],
        ),
        ("-r -a total -e create t", &["touch t/a/b/x t/a/x t/c/x t/x"]),
        ("-e modify t/f t", &["echo x >>t/f", "rm t/f"]),
        ("-rv -d create -e create,open t", &["touch t/x t/y t/a/b/x"]),
        ("-r -e create --exclude /a/ t", &["touch t/x t/y t/a/x t/a/b/x"]),
        ("-r -e modify t", &["mkdir t/n", "echo x >t/n/x", "echo x >>t/f"]),
        ("-z t", &[]),
    ];
    for (line, operations) in cases {
        tools.same(&format!("inotifywatch {line}"), operations);
    }
}

#[test]
fn a_table_is_printed_on_sigusr1_and_counting_goes_on() {
    let tools = Tools::new();
    let Some(theirs) = find("inotifywatch") else { return };
    let seen = [(theirs, true), (tools.ours("inotifywatch"), false)].map(|(exe, holds_back)| {
        let top = tools.tree();
        let run = tools.start(&exe, "inotifywatch", &["-e", "create", "t"], &top, "");
        run.established();
        sh(&top, "touch t/1");
        run.rests();
        kill_process(run.pid(), Signal::USR1).expect("it runs");
        // Theirs writes a file only when it ends, but it is asleep again once it has made the table.
        until("the first table is complete", || match holds_back {
            true => run.state() == 'S',
            false => run.stdout().ends_with("\n\n"),
        });
        sh(&top, "touch t/2");
        run.end(Signal::HUP)
    });
    assert_eq!(seen[1], seen[0]);
    assert_eq!(seen[1].stdout.matches("total").count(), 2, "{seen:?}");
}

#[test]
fn limits_of_the_kernel_are_named_as_inotify_tools_name_them() {
    let tools = Tools::new();
    let (Some(unshare), Some(_)) = (find("unshare"), find("inotifywait")) else { return };
    let limit = |key: &str, limit: u32, exe: &Path, args: &str| {
        let top = tools.tree();
        let script = format!("echo {limit} >/proc/sys/user/{key} || exit 99; exec {} {args}", exe.display());
        let run = tools.start(&unshare, "unshare", &["-Ur", "sh", "-c", &script], &top, "");
        run.end(Signal::CONT)
    };
    for (name, args) in [("inotifywait", "-qq -r t"), ("inotifywait", "t/f"), ("inotifywatch", "-r t")] {
        for (key, most) in
            [("max_inotify_watches", 0), ("max_inotify_watches", 2), ("max_inotify_instances", 0)]
        {
            if most == 2 && !args.contains("-r") {
                continue;
            }
            let theirs = limit(key, most, &find(name).expect("found before"), args);
            if theirs.code == Some(99) || theirs.stderr.contains("unshare") {
                return skip("no user namespaces here");
            }
            assert_eq!(limit(key, most, &tools.ours(name), args), theirs, "{name} {args}, {key} {most}");
        }
    }
}

#[test]
fn the_system_log_gets_what_inotifywait_sends_it() {
    let tools = Tools::new();
    let (Some(theirs), Some(unshare)) = (find("inotifywait"), find("unshare")) else { return };
    if !root_or_skip() {
        return;
    }
    let socket = tools.world.path("log");
    let log = UnixDatagram::bind(&socket).expect("bind");
    let sent = [theirs, tools.ours("inotifywait")].map(|exe| {
        let top = tools.tree();
        // A /dev of its own with nothing but the log, so that the host's log is left alone.
        let script = format!(
            "mount -t tmpfs none /dev && ln -s {} /dev/log && exec {} -s t nonex",
            socket.display(),
            exe.display()
        );
        let run = tools.start(&unshare, "unshare", &["-m", "sh", "-c", &script], &top, "");
        let seen = run.end(Signal::CONT);
        assert_eq!((seen.code, seen.stderr.as_str()), (Some(1), ""));
        let mut buffer = [0; 500];
        [0, 1].map(|_| {
            let len = log.recv(&mut buffer).expect("a line");
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            let (head, tail) = text.split_once('[').expect("a process id");
            let (_, tail) = tail.split_once(']').expect("a process id");
            // The time is fifteen characters behind the priority.
            format!("{}{}[]{tail}", &head[..4], &head[19..])
        })
    });
    assert_eq!(sent[1], sent[0]);
    assert_eq!(sent[1][1], "<30> inotifywait[]: Couldn't watch nonex: No such file or directory\n");
}

#[test]
fn help_is_for_whoever_asks() {
    let tools = Tools::new();
    for (name, first) in [("inotifywait", "inotifywait 3.22.6"), ("inotifywatch", "inotifywatch 3.22.6")] {
        let seen = tools.run(&tools.ours(name), &format!("{name} --help"), &[]);
        assert_eq!((seen.code, seen.stderr.as_str()), (Some(1), ""));
        assert!(seen.stdout.starts_with(first), "{}", seen.stdout);
        assert!(!seen.stdout.contains("--synthetic"), "{}", seen.stdout);
    }
    for command in ["events", "stats"] {
        let seen = tools.run(&program("driftless"), &format!("driftless {command} --help"), &[]);
        assert_eq!((seen.code, seen.stderr.as_str()), (Some(0), ""));
        assert!(seen.stdout.contains(&format!("driftless {command} [options] PATH...")), "{}", seen.stdout);
    }
}

mod beyond;
