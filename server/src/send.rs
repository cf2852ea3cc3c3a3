//! Pull: the server is the sender. Runs on a thread that has the module's identity.

use std::io;
use std::sync::Arc;

use driftless_proto::disk::Root;
use driftless_proto::model::options::{Keeps, Terms};
use driftless_proto::model::path::{Escaped, RelPath};
use driftless_proto::model::problem::{Misbehaved, Problem, ProblemClass, Refusal, RefusalReason};
use driftless_proto::transfer::link::{Ended, Link, Rate};
use driftless_proto::transfer::sender::{self, Config};
use driftless_proto::transfer::view::{Mount, View};
use driftless_proto::wire::message::{FromReceiver, FromSender, Hello, Place, Welcome};
use driftless_proto::wire::version::Version;

use crate::receive::{Logged, Who, shown};
use crate::service::{Admitted, Service, say_first};

/// Sends what an agent pulls.
///
/// Touches: the module's Root (read), logs. Never: the network but through the link, config.
pub(crate) fn run(
    service: &Service,
    admitted: Admitted,
    base: &Root,
    link: Link<FromSender, FromReceiver>,
) -> Result<(), Ended> {
    let Admitted { permit, hello, caller } = admitted;
    let module = Arc::clone(permit.module());
    let who = Who::new(permit.user(), &caller.address);
    for place in &hello.places {
        service.logs.module(
            &module,
            format_args!("rsync on {}/{} from {who}", Escaped(module.name.as_bytes()), shown(&place.path)),
        );
    }
    let theirs = hello.keeps.ok_or(Misbehaved::Missing("keeps"))?;
    let keeps = Keeps { numeric_ids: module.numeric_ids, ..theirs };
    let sources =
        Sources::open(base, &hello).inspect_err(|refusal| service.logs.module(&module, &refusal.text))?;
    let welcome = Welcome {
        version: Version::agree(&hello.versions).unwrap_or(Version::V1) as u32,
        module_id: service.state.module_id(&module),
        boot_epoch: service.state.boot_epoch,
        keeps,
        empty: false,
        single_name: sources.single_name,
        created: false,
        ignore_errors: false,
    };
    say_first(&link, FromSender::Welcome(welcome))?;
    for problem in &sources.missing {
        service.logs.module(&module, problem);
    }
    let config = Config {
        view: View::new(sources.mounts),
        terms: Terms::new(&hello.options, &keeps),
        rate: Rate::new(hello.options.bwlimit),
        options: hello.options,
        rules: hello.rules,
        empty: hello.empty,
        early: false,
        record: false,
        withhold: None,
        missing: sources.missing,
    };
    let observer = Arc::new(Logged { logs: Arc::clone(&service.logs), module: Arc::clone(&module) });
    let ended = sender::run_once(config, link, observer);
    service.log_end(
        &module,
        &caller,
        &format!("pull from {} by {who}", Escaped(module.name.as_bytes())),
        &ended,
    );
    ended.map(drop)
}

/// What the agent asked for, as far as it is there.
struct Sources {
    mounts: Vec<Mount>,
    /// The name of the only source, when it is not a directory.
    single_name: Option<Box<[u8]>>,
    missing: Vec<Problem>,
}

impl Sources {
    /// Finds every source by rsync's operand rules. Some may be missing; when all are, that is a refusal.
    fn open(base: &Root, hello: &Hello) -> Result<Self, Refusal> {
        let mut sources = Self { mounts: Vec::new(), single_name: None, missing: Vec::new() };
        for place in &hello.places {
            match source(base, place) {
                Ok(mount) => sources.mounts.push(mount),
                Err(error) => sources.missing.push(Problem {
                    path: place.path.clone(),
                    text: format!("link_stat failed: {error}"),
                    class: ProblemClass::Path,
                }),
            }
        }
        if sources.mounts.is_empty() {
            let text = sources.missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return Err(Refusal::new(RefusalReason::Source, text));
        }
        if let ([mount], [_]) = (&mut *sources.mounts, &*hello.places) {
            let single =
                !mount.to.is_root() && mount.root.found(&mount.from).is_ok_and(|found| !found.entry.is_dir());
            if single {
                let name = hello.single_name.clone().unwrap_or_else(|| mount.to.name().into());
                mount.to = RelPath::root().child(&name).unwrap_or_else(|_| mount.to.clone());
                sources.single_name = Some(name);
            }
        }
        Ok(sources)
    }
}

fn source(base: &Root, place: &Place) -> io::Result<Mount> {
    let root = RelPath::root();
    if place.path.is_root() || place.slash {
        return Ok(Mount { root: base.beneath(&place.path)?, from: root.clone(), to: root });
    }
    base.found(&place.path)?;
    let parent = place.path.parent().unwrap_or_else(RelPath::root);
    let name = RelPath::root().child(place.path.name()).map_err(io::Error::other)?;
    Ok(Mount { root: base.beneath(&parent)?, from: name.clone(), to: name })
}
