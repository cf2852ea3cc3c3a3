//! The 55 fault cases that a watch has to hold out against: those that no other part of the suite shows.

/// Claims, tested with each engine, and others, tested with those that are told of events.
macro_rules! with_engines {
    (each: $($claim:ident)*; events: $($other:ident)*;) => {
        mod with_inotify { $(#[test] fn $claim() { super::$claim("inotify"); })*
            $(#[test] fn $other() { super::$other("inotify"); })* }
        mod with_fanotify { $(#[test] fn $claim() { super::$claim("fanotify"); })*
            $(#[test] fn $other() { super::$other("fanotify"); })* }
        mod with_poll { $(#[test] fn $claim() { super::$claim("poll"); })* }
    };
}

mod list;
mod load;
mod renames;
mod restarts;
mod roots;
mod writers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driftless_tests::World;
use driftless_tests::agent::{Agent, Running};
use driftless_tests::oracle::{find, slash};
use driftless_tests::server::Server;
use driftless_tests::trees::{equal, plant};
use driftless_tests::wait::{until, until_ok};
use driftless_tests::wire::{Way, Wire};
use rustix::process::Signal;

use crate::faults::SmallDisk;

/// A source that one engine watches, the wire to the server, and the module it is kept live in.
pub(crate) struct Live {
    pub(crate) src: PathBuf,
    pub(crate) server: Server,
    pub(crate) agent: Agent,
    pub(crate) watch: Running,
    pub(crate) wire: Wire,
    // Unmounted once no program works on it, and before the world is removed with the place where it lay.
    _disk: SmallDisk,
    pub(crate) world: World,
    options: String,
}

impl Live {
    /// Plants these entries and watches them; see [`Live::over`].
    pub(crate) fn new(engine: &str, entries: &[&str]) -> Option<Self> {
        Self::over(engine, |src| plant(src, entries))
    }

    /// Has the source prepared, watches it and waits until it has arrived and nothing is pending. It has a file system
    /// of its own: fanotify sees the whole of it, and other programs are none of this test's business. `None`, after a
    /// loud skip, where there can be none.
    pub(crate) fn over(engine: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let world = World::new();
        let disk = SmallDisk::mount(&world.dir("disk"), 512)?;
        let src = world.dir("disk/src");
        prepare(&src);
        let server = world.backup();
        let wire = Wire::to(server.address());
        let options = format!("-a --delete --engine {engine}");
        let agent = world.agent(&server).through(&wire);
        let watch = agent.watch(&options, slash(&src), "backup");
        let mut live = Self { src, server, agent, watch, wire, world, options, _disk: disk };
        live.arrives();
        live.rests();
        Some(live)
    }

    /// A place on the source's file system that is not watched.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.world.path("disk").join(name)
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.src.join(name)
    }

    pub(crate) fn copy(&self) -> &Path {
        self.server.module("backup")
    }

    /// Waits until the copy is equal.
    #[track_caller]
    pub(crate) fn arrives(&mut self) {
        until_ok("it arrives", || equal(&self.src, self.copy()));
        self.watch.runs();
    }

    /// Waits until the watch has compared everything and nothing is pending.
    #[track_caller]
    pub(crate) fn rests(&mut self) {
        until("the watch has compared everything", || self.watch.log().contains("watching"));
        until("nothing is pending", || {
            let status = self.agent.operate("status --json").stdout;
            status.contains("\"pending\":0,") && status.contains("\"in_flight\":0,")
        });
        self.watch.runs();
    }

    pub(crate) fn says(&self, text: &str) {
        until(format!("it says {text:?}"), || self.watch.log().contains(text));
    }

    /// Bytes that the agent has sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.wire.carried(Way::Up)
    }

    /// Starts the watch again, with the same options and these.
    pub(crate) fn start_with(&mut self, more: &str) {
        if self.watch.ended().is_none() {
            self.watch.kill();
        }
        let options = format!("{} {more}", self.options);
        self.watch = self.agent.watch(&options, slash(&self.src), "backup");
    }

    /// Holds the agent still: returns once every thread of it stands.
    pub(crate) fn hold(&self) {
        self.watch.hold();
    }

    /// Lets it go on.
    pub(crate) fn let_go(&self) {
        self.watch.signal(Signal::CONT);
    }

    /// The watches of its inotify instances, as the kernel lists them (`proc_pid_fdinfo(5)`).
    pub(crate) fn watches(&self) -> usize {
        let dir = PathBuf::from(format!("/proc/{}/fdinfo", self.watch.pid().as_raw_nonzero()));
        let infos = fs::read_dir(dir).expect("list").flatten();
        let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
        texts.map(|text| text.lines().filter(|line| line.starts_with("inotify wd:")).count()).sum()
    }
}

/// Compiles a C program, or what else these options make of it. `None`, after a loud skip, where there is no compiler.
pub(crate) fn compile(world: &World, name: &str, text: &str, options: &[&str]) -> Option<PathBuf> {
    let cc = find("cc")?;
    let (source, out) = (world.file(&format!("{name}.c"), text), world.path(name));
    let status = Command::new(cc).arg("-o").arg(&out).arg(source).args(options).status().expect("cc runs");
    assert!(status.success(), "{name}.c does not compile");
    Some(out)
}

/// What safe Rust cannot do to a file: see `provoke.c`.
pub(crate) fn build_provoke(world: &World) -> Option<PathBuf> {
    compile(world, "provoke", include_str!("provoke.c"), &[])
}

/// As [`build_provoke`], to be run with its arguments to its end.
pub(crate) fn provoke(world: &World) -> Option<impl Fn(&[&str]) + use<>> {
    let program = build_provoke(world)?;
    Some(move |args: &[&str]| {
        let status = Command::new(&program).args(args).status().expect("it runs");
        assert!(status.success(), "{args:?}: {status}");
    })
}
