//! Pull: this host is the receiver.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use driftless_proto::disk::{Root, Style};
use driftless_proto::model::options::{Keeps, Terms};
use driftless_proto::transfer::destination::Destination;
use driftless_proto::transfer::link::Ended;
use driftless_proto::transfer::observer::Observer;
use driftless_proto::transfer::partial::{Beside, Forget, Partials};
use driftless_proto::transfer::receiver::{self, Config};
use driftless_proto::wire::message::{FromReceiver, Place};
use tokio::runtime::Handle;

use crate::cli::Invocation;
use crate::cli::operand::{Local, Place as Operand};
use crate::connect::{ConnectError, Session};
use crate::console::Console;
use crate::exit::Exit;
use crate::local;
use crate::push::{hello, place};
use crate::report::summary::Wire;
use crate::run::{ended_by_us, guard, open, remote, server};

/// Brings the sources from the server once. [`restore`](crate::restore) does so too.
pub(crate) fn run(invocation: &Invocation, console: &Arc<Console>, handle: &Handle) -> Exit {
    let done = try_run(invocation, console, handle, Arc::clone(console) as _, &|_| {});
    done.unwrap_or_else(|error| console.refused(&error))
}

/// As [`run`]; tells `observer` what is done, and `begun` where it is done before anything is.
///
/// # Errors
/// Why there was no stream.
pub(crate) fn try_run(
    invocation: &Invocation,
    console: &Arc<Console>,
    handle: &Handle,
    observer: Arc<dyn Observer>,
    begun: &dyn Fn(&Root),
) -> Result<Exit, ConnectError> {
    let server = server(invocation, remote(invocation.sources.first())?)?;
    let places = invocation
        .sources
        .iter()
        .map(|source| remote(Some(source)).map(place))
        .collect::<Result<Vec<Place>, _>>()?;
    let Some(Operand::Local(dest)) = &invocation.dest else {
        return Err(remote(invocation.dest.as_ref())
            .err()
            .unwrap_or(ConnectError::TrustFile("no destination".into())));
    };
    let wanted = wanted_name(dest, &places);
    let mut hello = hello(invocation, places.clone(), wanted.clone())?;
    // The server tells us nothing: it is we who make the changes.
    hello.options.report = false;
    hello.keeps = Some(keeps(dest)?);
    hello.empty = is_empty(dest) && !invocation.options.partial;
    let session = handle.block_on(open::<FromReceiver>(&server, hello))?;
    console.report.begin();
    let single = session.welcome.single_name.as_deref();
    let dry_run = invocation.options.dry_run;
    let landing = local::destination(dest, single, dry_run).map_err(Ended::Refused)?;
    if landing.created {
        console.report.created_directory(dest.path.as_os_str().as_bytes());
    }
    let config = config(invocation, &session, landing, &places, wanted);
    begun(&config.root);
    guard(handle, &session, invocation.timeout);
    let ended = receiver::run(config, session.link, observer);
    let (sent_bytes, received_bytes) = session.wire.bytes();
    if let Some((why, exit)) = ended_by_us(&session.wire) {
        return Ok(console.tell(&why, exit));
    }
    Ok(console.finish(ended, Wire { sent_bytes, received_bytes }))
}

fn config<Out, In>(
    invocation: &Invocation,
    session: &Session<Out, In>,
    landing: Destination,
    places: &[Place],
    wanted: Option<Box<[u8]>>,
) -> Config {
    let partials: Arc<dyn Partials> =
        if invocation.options.partial { Arc::new(Beside(landing.root.clone())) } else { Arc::new(Forget) };
    let mut options = invocation.options.clone();
    options.report = false;
    Config {
        terms: Terms::new(&options, &session.welcome.keeps),
        sweep: None,
        live: false,
        expected: expected(places, wanted),
        root: landing.root,
        created: landing.created,
        options,
        rules: invocation.rules.clone(),
        umask: local::umask(),
        comparing: None,
        partials,
        groups: None,
    }
}

/// The names that may appear at the top of what comes: those that were asked for, under the name that was asked for
/// if one was, or any where the content of a directory was. Never a name that the server chose.
fn expected(places: &[Place], wanted: Option<Box<[u8]>>) -> Option<HashSet<Box<[u8]>>> {
    if places.iter().any(|place| place.slash || place.path.is_root()) {
        return None;
    }
    let names = places.iter().map(|place| place.path.name().into());
    Some(names.chain(wanted).collect())
}

/// DEST names what a single source is to become.
fn wanted_name(dest: &Local, places: &[Place]) -> Option<Box<[u8]>> {
    if places.len() == 1 { local::wanted_name(dest) } else { None }
}

/// What can be kept here. The destination may not exist yet; then its parent tells.
fn keeps(dest: &Local) -> Result<Keeps, ConnectError> {
    let parent = dest.path.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| std::path::Path::new("."));
    let root = Root::open(&dest.path, Style::default()).or_else(|_| Root::open(parent, Style::default()));
    let keeps = root.and_then(|root| root.keeps(true));
    keeps.map_err(|error| Ended::fault(dest.path.display().to_string(), error).into())
}

fn is_empty(dest: &Local) -> bool {
    match Root::open(&dest.path, Style::default()) {
        Ok(root) => root.is_empty().unwrap_or(false),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
