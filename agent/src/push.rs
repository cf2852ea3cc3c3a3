//! Push: this host is the sender.

use std::sync::Arc;

use driftless_proto::model::options::Terms;
use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::link::Rate;
use driftless_proto::transfer::sender::{self, Config};
use driftless_proto::transfer::view::{Part, View};
use driftless_proto::wire::message::{FromSender, Hello, Place};
use driftless_proto::wire::version::Version;
use tokio::runtime::Handle;

use crate::cli::Invocation;
use crate::cli::operand::Remote;
use crate::connect::ConnectError;
use crate::console::Console;
use crate::exit::Exit;
use crate::local::Sources;
use crate::report::summary::Wire;
use crate::run::{ended_by_us, guard, open, remote, server};
use crate::state::StateDir;

/// Brings the sources to the server once.
pub(crate) fn run(invocation: &Invocation, console: &Arc<Console>, handle: &Handle) -> Exit {
    try_run(invocation, console, handle).unwrap_or_else(|error| console.refused(&error))
}

fn try_run(invocation: &Invocation, console: &Arc<Console>, handle: &Handle) -> Result<Exit, ConnectError> {
    let remote = remote(invocation.dest.as_ref())?;
    let server = server(invocation, remote)?;
    let mut sources = Sources::open(&invocation.sources, invocation.options.recursive, console);
    if sources.missing.len() == invocation.sources.len() {
        return Ok(Exit::Partial);
    }
    let mut hello = hello(invocation, vec![place(remote)], sources.single_name.clone())?;
    hello.comparing = comparing(&sources.view, invocation.options.recursive);
    let early = hello.comparing.is_some();
    let session = handle.block_on(open::<FromSender>(&server, hello))?;
    console.report.begin();
    if session.welcome.created {
        console.report.created_directory(&remote.path);
    }
    if let Some(name) = &session.welcome.single_name {
        sources.rename(name);
    }
    let config = Config {
        view: sources.view,
        terms: Terms::new(&invocation.options, &session.welcome.keeps),
        rate: Rate::new(invocation.options.bwlimit),
        options: invocation.options.clone(),
        rules: invocation.rules.clone(),
        empty: session.welcome.empty,
        early,
        record: false,
        withhold: None,
        missing: sources.missing,
    };
    guard(handle, &session, invocation.timeout);
    let ended = sender::run_once(config, session.link, Arc::clone(console) as _);
    let (sent_bytes, received_bytes) = session.wire.bytes();
    if let Some((why, exit)) = ended_by_us(&session.wire) {
        return Ok(console.tell(&why, exit));
    }
    Ok(console.finish(ended, Wire { sent_bytes, received_bytes }))
}

/// The directory that everything lies in, where there is one: all of the transfer is its comparison.
fn comparing(view: &View, recursive: bool) -> Option<RelPath> {
    match <[Part; 1]>::try_from(view.parts()) {
        Ok([Part::Dir(dir)]) if dir.is_root() || recursive => view.only(&dir).map(|_| dir),
        _ => None,
    }
}

/// A remote operand as the protocol names it.
pub(crate) fn place(remote: &Remote) -> Place {
    // The operand was parsed by the same rule: it cannot fail here.
    let path = RelPath::parse_typed(&remote.path).unwrap_or_else(|_| RelPath::root());
    Place { path, slash: remote.trailing_slash }
}

/// The first message of a stream.
///
/// # Errors
/// The state folder cannot be used.
pub(crate) fn hello(
    invocation: &Invocation,
    places: Vec<Place>,
    single_name: Option<Box<[u8]>>,
) -> Result<Hello, ConnectError> {
    let state = StateDir::open(invocation.state_dir.as_deref());
    let id = state.and_then(|state| state.agent_id());
    let id = id.map_err(|error| ConnectError::TrustFile(error.to_string()))?;
    let module = [invocation.dest.as_ref(), invocation.sources.first()]
        .into_iter()
        .find_map(|place| remote(place).ok())
        .map(|remote| remote.module.clone())
        .unwrap_or_default();
    let mut options = invocation.options.clone();
    options.report = wants_report(invocation);
    Ok(Hello {
        versions: if options.checksum { Version::WITH_CHECKSUM } else { Version::SPOKEN },
        agent_id: id.0,
        epoch: 0,
        module,
        places,
        options,
        rules: invocation.rules.clone(),
        keeps: None,
        empty: false,
        watch: false,
        single_name,
        comparing: None,
    })
}

/// Whether the operator wants to be told each change.
pub(crate) fn wants_report(invocation: &Invocation) -> bool {
    invocation.verbosity > 0 || invocation.progress
}
