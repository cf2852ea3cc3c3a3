//! What an invocation sets in motion, and how it ends.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driftless_proto::model::problem::{Refusal, RefusalReason};
use driftless_proto::transfer::link::Ended;
use driftless_proto::wire::message::Hello;
use tokio::runtime::Handle;

use crate::cli::operand::{Place, Remote};
use crate::cli::{Command, Invocation};
use crate::connect::{ConnectError, Direction, Server, Session, Wire};
use crate::console::Console;
use crate::exit::Exit;
use crate::password::Passwords;
use crate::{copy, events, list, pull, push, stats, watch};

/// Runs it to its end, and says everything there is to say.
#[must_use]
pub fn run(invocation: Invocation) -> Exit {
    with(&invocation, |console, handle| match invocation.command {
        Command::Copy => copy::run(&invocation, console),
        Command::Modules => list::run(&invocation, console, handle),
        Command::Pull | Command::Restore => pull::run(&invocation, console, handle),
        Command::Push => push::run(&invocation, console, handle),
        Command::Watch => watch::run(&invocation, console, handle),
    })
}

/// Does the work of an invocation with what every run has.
pub(crate) fn with(invocation: &Invocation, work: impl FnOnce(&Arc<Console>, &Handle) -> Exit) -> Exit {
    #[cfg(debug_assertions)]
    crate::broken::arm();
    crate::local::umask();
    raise_descriptor_limit();
    let console = Arc::new(Console::new(invocation));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.report.problem(&format!("start: {error}"));
            return Exit::File;
        }
    };
    let handle = runtime.handle().clone();
    let exit = work(&console, &handle);
    // A connection still open is of no use to anybody now.
    runtime.shutdown_background();
    console.last_line(exit);
    exit
}

/// Runs `driftless events` and `driftless stats`, or what they are called where a symlink gives them the names of
/// inotify-tools, to the end. `None` for every other command line; `args` begin with the program's name.
#[must_use]
pub fn inotify_tools(args: impl IntoIterator<Item = OsString>) -> Option<u8> {
    let mut args = args.into_iter();
    let program = args.next()?;
    let typed = program.to_string_lossy();
    match Path::new(&program).file_name()?.as_bytes() {
        b"inotifywait" => return Some(events::run(&typed, true, args.collect())),
        b"inotifywatch" => return Some(stats::run(&typed, true, args.collect())),
        _ => {}
    }
    match args.next()?.as_bytes() {
        b"events" => Some(events::run("driftless events", false, args.collect())),
        b"stats" => Some(stats::run("driftless stats", false, args.collect())),
        _ => None,
    }
}

/// The server that an invocation names.
///
/// # Errors
/// A certificate or key file that cannot be used.
pub(crate) fn server(invocation: &Invocation, remote: &Remote) -> Result<Server, ConnectError> {
    let passwords = Passwords::new(invocation.password_file.clone());
    Server::new(remote, invocation.port_of(remote), &invocation.trust, passwords)
}

/// The only remote place among these.
pub(crate) fn remote(place: Option<&Place>) -> Result<&Remote, ConnectError> {
    match place {
        Some(Place::Remote(remote)) => Ok(remote),
        _ => Err(Ended::from(Refusal::new(RefusalReason::Selection, "no remote operand")).into()),
    }
}

/// Opens a stream; when the server wants a password and there is a terminal, asks for it once.
///
/// # Errors
/// Why there is no stream.
pub(crate) async fn open<D: Direction>(
    server: &Server,
    hello: Hello,
) -> Result<Session<D, D::Peer>, ConnectError> {
    let needed = match D::open(server, hello.clone()).await {
        Err(ConnectError::Ended(Ended::Refused(refusal)))
            if refusal.reason == RefusalReason::AuthenticationNeeded =>
        {
            refusal
        }
        other => return other,
    };
    let asked = tokio::task::block_in_place(|| server.prompt());
    if asked.is_err() {
        // Nobody to ask: the server's own words say more than that.
        return Err(Ended::Refused(needed).into());
    }
    D::open(server, hello).await
}

/// Ends the stream on SIGINT, SIGTERM and SIGHUP, and when nothing crosses it for the operator's `--timeout`. The reason
/// is noted, so that the run ends with its exit code.
pub(crate) fn guard<Out, In>(handle: &Handle, session: &Session<Out, In>, timeout: Option<Duration>) {
    let (wire, activity) = (Arc::clone(&session.wire), Arc::clone(&session.activity));
    let stop = session.stop.clone();
    handle.spawn(async move {
        let why = tokio::select! {
            () = signalled() => std::io::ErrorKind::Interrupted,
            () = activity.idle(timeout) => std::io::ErrorKind::TimedOut,
        };
        wire.note(why);
        stop.abort();
    });
}

/// Returns on the first signal that asks us to end.
pub(crate) async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// As [`signalled`], for who is told something else by SIGHUP: that is let pass.
pub(crate) async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => return,
            _ = terminate.recv() => return,
            _ = hangup.recv() => {}
        }
    }
}

/// Why a run was ended from this side, if it was: what to say, and how it ends.
pub(crate) fn ended_by_us(wire: &Wire) -> Option<(&'static str, Exit)> {
    wire.noted().map(|why| match why {
        std::io::ErrorKind::TimedOut => ("nothing arrived for as long as --timeout allows", Exit::Timeout),
        _ => ("stopped by a signal", Exit::Signal),
    })
}

/// Lets us open as many files as the hard limit allows: a transfer holds some hundreds.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With the old limit a path may fail, and says so.
    let _kept = setrlimit(Resource::Nofile, limit);
}
