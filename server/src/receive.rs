//! Push: the server is the receiver. Runs on a thread that has the module's identity.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use driftless_proto::disk::Root;
use driftless_proto::limits;
use driftless_proto::model::options::Terms;
use driftless_proto::model::path::{Escaped, RelPath};
use driftless_proto::model::problem::{Misbehaved, Problem};
use driftless_proto::transfer::destination;
use driftless_proto::transfer::link::{Ended, Link};
use driftless_proto::transfer::observer::{Observer, UNSTABLE};
use driftless_proto::transfer::partial::{Held, Partials};
use driftless_proto::transfer::receiver::{self, Config};
use driftless_proto::wire::message::{FromReceiver, FromSender, Welcome};
use driftless_proto::wire::version::Version;

use crate::log::Logs;
use crate::module::Module;
use crate::service::{Admitted, Service, say_first};
use crate::sessions::Key;

/// What cut uploads left, by agent and destination.
#[derive(Default)]
pub(crate) struct Kept(Mutex<HashMap<Key, Arc<Held>>>);

impl Kept {
    fn of(&self, key: Key) -> Arc<Held> {
        let (files, bytes) = self.expire();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The bounds hold for the server as a whole, since an agent may name as many destinations as it likes.
        if files >= limits::PARTIALS_MAX || bytes >= limits::PARTIAL_BYTES_MAX {
            kept.retain(|held_for, held| *held_for == key || Arc::strong_count(held) > 1);
        }
        Arc::clone(kept.entry(key).or_default())
    }

    /// Lets go of what was held too long. Returns how many files and bytes are still held.
    pub(crate) fn expire(&self) -> (usize, u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = (0, 0);
        kept.retain(|_, held| {
            let (files, bytes) = held.expire();
            total = (total.0 + files, total.1 + bytes);
            files > 0 || Arc::strong_count(held) > 1
        });
        total
    }
}

/// Receives what an agent pushes.
///
/// Touches: the module's Root (read, write), logs. Never: the network but through the link, config.
pub(crate) fn run(
    service: &Service,
    admitted: Admitted,
    base: &Root,
    link: Link<FromReceiver, FromSender>,
) -> Result<(), Ended> {
    let Admitted { permit, hello, caller } = admitted;
    let module = Arc::clone(permit.module());
    let place = hello.places.first().ok_or(Misbehaved::Missing("destination"))?.clone();
    let who = Who::new(permit.user(), &caller.address);
    service.logs.module(
        &module,
        format_args!("rsync to {}/{} from {who}", Escaped(module.name.as_bytes()), shown(&place.path)),
    );
    let key = Key { agent: hello.agent_id, module: module.name.clone(), path: place.path.clone() };
    let mut options = hello.options;
    options.ignore_errors = module.ignore_errors;
    let single = hello.single_name.as_deref();
    let landing = destination::resolve(base, &place, single, options.dry_run, service.umask)
        .inspect_err(|refusal| service.logs.module(&module, &refusal.text))?;
    let keeps = landing.root.keeps(module.numeric_ids).map_err(|e| Ended::fault("file system", e))?;
    let partials = service.partials.of(key);
    let welcome = Welcome {
        version: Version::agree(&hello.versions).unwrap_or(Version::V1) as u32,
        module_id: service.state.module_id(&module),
        boot_epoch: service.state.boot_epoch,
        keeps,
        empty: landing.empty && !partials.any(),
        single_name: landing.single_name,
        created: landing.created,
        ignore_errors: module.ignore_errors,
    };
    say_first(&link, FromReceiver::Welcome(welcome))?;
    let config = Config {
        root: landing.root,
        created: landing.created,
        terms: Terms::new(&options, &keeps),
        options,
        rules: hello.rules,
        umask: service.umask,
        sweep: Some(service.state.started),
        live: hello.watch,
        expected: None,
        comparing: hello.comparing.filter(|_| !hello.watch && !landing.empty),
        partials,
        groups: Some(Arc::clone(&service.groups) as _),
    };
    let observer = Arc::new(Logged { logs: Arc::clone(&service.logs), module: Arc::clone(&module) });
    let ended = receiver::run(config, link, observer);
    service.log_end(
        &module,
        &caller,
        &format!("push to {} by {who}", Escaped(module.name.as_bytes())),
        &ended,
    );
    ended.map(drop)
}

/// Problems go to the module's log.
pub(crate) struct Logged {
    pub(crate) logs: Arc<Logs>,
    pub(crate) module: Arc<Module>,
}

impl Observer for Logged {
    fn problem(&self, problem: &Problem) {
        self.logs.module(&self.module, problem);
    }

    fn unstable(&self, path: &RelPath) {
        self.logs.module(&self.module, format_args!("{path}: {UNSTABLE}"));
    }
}

/// The root of a module is its name and a slash.
pub(crate) fn shown(path: &driftless_proto::model::path::RelPath) -> String {
    if path.is_root() { String::new() } else { path.to_string() }
}

/// `alice@UNDETERMINED (127.0.0.1)`, as rsync writes it.
pub(crate) struct Who(String);

impl Who {
    pub(crate) fn new(user: Option<&str>, address: &std::net::SocketAddr) -> Self {
        let user = user.map(|user| format!("{}@", Escaped(user.as_bytes()))).unwrap_or_default();
        Self(format!("{user}UNDETERMINED ({})", address.ip().to_canonical()))
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
