//! Threads that do a module's file work as the module's user.
//!
//! On Linux a user belongs to a thread. A worker starts from a thread of the daemon, which is root, takes the
//! module's groups, then its group, then its user, and reads all three back; the threads it starts inherit them. It
//! never goes back and is never used again. The rest of the process stays root: the README says what that means.

use std::io;
use std::sync::Arc;

use driftless_proto::disk::{Root, Style};
use driftless_proto::model::path::Escaped;
use driftless_proto::model::problem::{Refusal, RefusalReason};
use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::identity::Identity;
use crate::log::Logs;
use crate::module::Module;

/// Runs `work` on a thread of its own as the module's user, with the module's directory. That is held before the thread
/// becomes the user, as rsync enters it: the directories above need not be open to the user. What may be done in it
/// is then judged by the user's rights alone. `work` gets the failure instead, and must then touch nothing.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn spawn(
    module: &Arc<Module>,
    logs: &Arc<Logs>,
    work: impl FnOnce(Result<Root, Refusal>) + Send + 'static,
) -> io::Result<()> {
    let (module, logs) = (Arc::clone(module), Arc::clone(logs));
    let enter = move || {
        let root = open(&module, &logs)?;
        module.identity.as_ref().map_or(Ok(()), assume).map_err(|error| {
            logs.daemon(format_args!(
                "become the user of module {}: {error}",
                Escaped(module.name.as_bytes())
            ));
            Refusal::new(RefusalReason::Access, "@ERROR: setuid failed")
        })?;
        Ok(root)
    };
    std::thread::Builder::new().name("module".into()).spawn(move || work(enter())).map(drop)
}

/// The module's directory, or why nobody can be served from it.
fn open(module: &Module, logs: &Logs) -> Result<Root, Refusal> {
    let no_path = || Refusal::new(RefusalReason::Access, "@ERROR: no path setting.");
    let path = module.path.as_ref().ok_or_else(no_path)?;
    Root::open(path, Style { fake_super: module.fake_super }).map_err(|error| {
        logs.daemon(format_args!("module {}: {}: {error}", Escaped(module.name.as_bytes()), path.display()));
        Refusal::new(RefusalReason::Access, "@ERROR: chdir failed")
    })
}

/// Becomes the user, for this thread and those it starts.
fn assume(identity: &Identity) -> io::Result<()> {
    let uid = Uid::from_raw(identity.uid);
    let gid = Gid::from_raw(identity.gid);
    let groups: Vec<Gid> = identity.groups.iter().map(|&id| Gid::from_raw(id)).collect();
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let mut had = rustix::process::getgroups()?;
    let mut wanted = groups;
    had.sort_by_key(|g| g.as_raw());
    wanted.sort_by_key(|g| g.as_raw());
    wanted.dedup();
    had.dedup();
    let is = (
        rustix::process::getuid(),
        rustix::process::geteuid(),
        rustix::process::getgid(),
        rustix::process::getegid(),
    );
    if had != wanted || is != (uid, uid, gid, gid) {
        return Err(io::Error::other("the kernel did not take the module's uid, gid and groups"));
    }
    Ok(())
}
