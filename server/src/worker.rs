//! Threads that do a module's file work as the module's user.
//!
//! On Linux a user belongs to a thread. A worker starts from a thread of the daemon, which is root, takes the
//! module's groups, then its group, then its user, and reads all three back; the threads it starts inherit them. It
//! never goes back and is never used again. The rest of the process stays root: SECURITY.md says what that means.

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::identity::Identity;
use crate::module::Module;

/// Runs `work` on a thread of its own as the module's user. `work` gets the failure to become that user instead, and
/// must then touch nothing.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn spawn(
    module: &Module,
    work: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<()> {
    let identity = module.identity.clone();
    std::thread::Builder::new()
        .name("module".into())
        .spawn(move || work(identity.as_ref().map_or(Ok(()), assume)))
        .map(drop)
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
