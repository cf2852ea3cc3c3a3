//! Permission is a value: a [`Permit`] proves that this client may do this to this module, and only [`Gate::admit`]
//! makes one.
//!
//! The order of the checks is address, login, slot, path, rights. rsync takes the slot before the login, which let
//! clients without a password hold all of them (CVE-2026-70464).

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use driftless_proto::model::path::Escaped;
use driftless_proto::model::problem::{Refusal, RefusalReason};

use crate::auth::{self, AuthFailure, Credentials, Session};
use crate::module::Module;

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Pull.
    Read,
    /// Push.
    Write,
}

/// The modules, and how many streams each has.
pub(crate) struct Gate {
    modules: Vec<Arc<Module>>,
    slots: Slots,
}

/// Who is at the door, as refusals and the log name him.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    /// His address.
    pub(crate) address: IpAddr,
    /// His host's name; `UNDETERMINED` where it is not looked up, as rsync says.
    pub(crate) host: &'a str,
}

/// Proof that a client may do to [`Permit::module`] what it asked [`Gate::admit`] for. While it lives it holds one of the module's
/// `max connections`.
#[derive(Debug)]
pub(crate) struct Permit {
    module: Arc<Module>,
    user: Option<String>,
    _slot: Option<Slot>,
}

/// A client was turned away.
#[derive(Debug)]
pub(crate) struct Denied {
    /// What it hears.
    pub(crate) refusal: Refusal,
    /// What our log says: the true reason.
    pub(crate) log: String,
}

impl Permit {
    /// The module it is for.
    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// Who logged in; `None` where the module asks nobody.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

impl Gate {
    /// A gate to these modules, with every slot free.
    pub(crate) fn new(modules: Vec<Arc<Module>>) -> Self {
        Self { modules, slots: Slots::default() }
    }

    /// The modules in the order of the config, those that are not listed among them.
    pub(crate) fn modules(&self) -> &[Arc<Module>] {
        &self.modules
    }

    /// Lets a client in or turns it away. Blocks, as [`auth::login`] does: call it off tokio.
    ///
    /// # Errors
    /// What the client hears and what the log says.
    pub(crate) fn admit(
        &self,
        peer: Peer<'_>,
        module: &str,
        credentials: Option<&Credentials>,
        certificate_users: &[String],
        wants: Rights,
    ) -> Result<Permit, Denied> {
        let module = self.find(peer, module)?;
        let session = auth::login(module, credentials, certificate_users)
            .map_err(|failure| auth_failed(peer, module, credentials, &failure))?;
        let slot = self.slots.take(module).map_err(|taken| no_slot(peer, module, taken))?;
        if module.path.is_none() {
            let log = format!("module {} has no path, asked for by {peer}", Name(&module.name));
            return Err(denied(RefusalReason::Access, "@ERROR: no path setting.", log));
        }
        check_rights(peer, module, &session, wants)?;
        Ok(Permit { module: Arc::clone(module), user: session.user, _slot: slot })
    }

    /// The module of this very name, if this address may know of it.
    fn find(&self, peer: Peer<'_>, name: &str) -> Result<&Arc<Module>, Denied> {
        let unknown =
            |log| denied(RefusalReason::Access, format!("@ERROR: Unknown module '{}'", Name(name)), log);
        let Some(module) = self.modules.iter().find(|module| module.name == name) else {
            return Err(unknown(format!("unknown module '{}' tried from {peer}", Name(name))));
        };
        if module.access.admits(peer.address) {
            return Ok(module);
        }
        let log = format!("rsync denied on module {} from {peer}", Name(name));
        if !module.list {
            return Err(unknown(log));
        }
        Err(denied(
            RefusalReason::Access,
            format!("@ERROR: access denied to {} from {peer}", Name(name)),
            log,
        ))
    }
}

fn auth_failed(peer: Peer<'_>, module: &Module, sent: Option<&Credentials>, failure: &AuthFailure) -> Denied {
    let name = Name(&module.name);
    let user = sent.map_or("", |sent| &sent.user);
    let log = format!("auth failed on module {name} from {peer} for {}: {failure}", Name(user));
    let reason = match failure {
        AuthFailure::NoCredentials => RefusalReason::AuthenticationNeeded,
        _ => RefusalReason::Access,
    };
    denied(reason, format!("@ERROR: auth failed on module {name}"), log)
}

fn no_slot(peer: Peer<'_>, module: &Module, limit: i64) -> Denied {
    let log = format!("max connections ({limit}) reached on module {}, refused {peer}", Name(&module.name));
    let text = format!("@ERROR: max connections ({limit}) reached -- try again later");
    // A negative limit closes the module: no waiting helps.
    let reason = if limit < 0 { RefusalReason::Access } else { RefusalReason::Busy };
    denied(reason, text, log)
}

fn check_rights(peer: Peer<'_>, module: &Module, session: &Session, wants: Rights) -> Result<(), Denied> {
    let refused = match wants {
        Rights::Write if session.read_only => "read only",
        Rights::Read if module.write_only => "write only",
        Rights::Read | Rights::Write => return Ok(()),
    };
    let log = format!("module {} is {refused}, refused {peer}", Name(&module.name));
    Err(denied(RefusalReason::Rights, format!("ERROR: module is {refused}"), log))
}

fn denied(reason: RefusalReason, text: impl Into<String>, log: String) -> Denied {
    Denied { refusal: Refusal::new(reason, text), log }
}

/// A name on its way to a log or a client.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self.0.as_bytes()).fmt(f)
    }
}

/// `HOST (IP)`, as rsync writes it.
impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", Name(self.host), self.address.to_canonical())
    }
}

/// Streams by lock file. The file itself is not made: the slots are those of this process, and the name only says
/// which modules share them.
#[derive(Default)]
struct Slots(Arc<Mutex<HashMap<PathBuf, i64>>>);

/// One stream, counted until this is dropped.
#[derive(Debug)]
struct Slot {
    taken: Arc<Mutex<HashMap<PathBuf, i64>>>,
    lock_file: PathBuf,
}

impl Slots {
    /// Takes a slot; `None` where the module has no limit, and so counts nothing.
    ///
    /// # Errors
    /// The limit, when fewer than one of the module's first slots is free.
    fn take(&self, module: &Module) -> Result<Option<Slot>, i64> {
        if module.max_connections == 0 {
            return Ok(None);
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(module.lock_file.clone()).or_default();
        if *count >= module.max_connections {
            return Err(module.max_connections);
        }
        *count += 1;
        Ok(Some(Slot { taken: Arc::clone(&self.0), lock_file: module.lock_file.clone() }))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.lock_file) {
            *count -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
