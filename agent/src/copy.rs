//! Local to local: both roles in this process, over a channel in memory.

use std::sync::Arc;

use driftless_proto::model::options::Terms;
use driftless_proto::transfer::link::{self, Ended, Rate};
use driftless_proto::transfer::observer::Silent;
use driftless_proto::transfer::partial::{Beside, Forget, Partials};
use driftless_proto::transfer::{receiver, sender};

use crate::cli::Invocation;
use crate::cli::operand::Place;
use crate::connect::ConnectError;
use crate::console::Console;
use crate::exit::Exit;
use crate::local::{self, Sources};
use crate::push;
use crate::report::summary::Wire;

/// Brings the sources to a directory of this host once.
pub(crate) fn run(invocation: &Invocation, console: &Arc<Console>) -> Exit {
    try_run(invocation, console).unwrap_or_else(|error| console.refused(&error))
}

fn try_run(invocation: &Invocation, console: &Arc<Console>) -> Result<Exit, ConnectError> {
    let Some(Place::Local(dest)) = &invocation.dest else {
        return Err(ConnectError::TrustFile("no destination".into()));
    };
    let mut sources = Sources::open(&invocation.sources, invocation.options.recursive, console);
    if sources.missing.len() == invocation.sources.len() {
        return Ok(Exit::Partial);
    }
    let mut options = invocation.options.clone();
    options.report = push::wants_report(invocation);
    let single = sources.single_name.clone();
    let landing = local::destination(dest, single.as_deref(), options.dry_run).map_err(Ended::Refused)?;
    let keeps = landing.root.keeps(true).map_err(|e| Ended::fault("file system", e))?;
    if let Some(name) = &landing.single_name {
        sources.rename(name);
    }
    console.report.begin();
    if landing.created {
        use std::os::unix::ffi::OsStrExt;
        console.report.created_directory(dest.path.as_os_str().as_bytes());
    }
    let terms = Terms::new(&options, &keeps);
    let partials: Arc<dyn Partials> =
        if options.partial { Arc::new(Beside(landing.root.clone())) } else { Arc::new(Forget) };
    let sender = sender::Config {
        rate: Rate::new(options.bwlimit),
        view: sources.view,
        options: options.clone(),
        terms,
        rules: invocation.rules.clone(),
        empty: landing.empty && !options.partial,
        early: false,
        record: false,
        withhold: None,
        missing: sources.missing,
    };
    let receiver = receiver::Config {
        root: landing.root,
        created: landing.created,
        options,
        terms,
        rules: invocation.rules.clone(),
        umask: local::umask(),
        sweep: None,
        live: false,
        expected: None,
        comparing: None,
        partials,
        groups: None,
    };
    let (theirs, ours) = link::pair();
    let observer = Arc::clone(console);
    let sending = std::thread::spawn(move || sender::run_once(sender, ours, observer as _));
    // The sender's observer hears of everything once: what the receiver does comes to it as reports.
    let received = receiver::run(receiver, theirs, Arc::new(Silent));
    let sent = sending.join().unwrap_or(Err(Ended::Stopped));
    let ended = match (received, sent) {
        (Err(Ended::Broken(_)), Err(why)) | (Err(why), _) => Err(why),
        (Ok(_), sent) => sent,
    };
    Ok(console.finish(ended, Wire { sent_bytes: 0, received_bytes: 0 }))
}
