//! doctor: places on this host: the source with what is mounted in it, and the state folder.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use driftless_proto::disk::{Root, walk};
use driftless_proto::model::filter::Rules;
use driftless_proto::model::path::{Escaped, RelPath};
use rustix::fs::{Access, AtFlags};

use super::Findings;
use super::proc::mounted;
use crate::guard::mounts;
use crate::state::StateDir;
use crate::watcher::shared_file_system;

/// Paths of one kind that are named.
const NAMED: usize = 3;

/// Free space of the state folder's file system that a journal is likely to want, in bytes.
const STATE_BYTES: u64 = 64 * 1024 * 1024;

/// File systems whose events tell only half, by their names in the table of mounts.
const POLLED: [&str; 11] =
    ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "lustre", "ocfs2", "gfs2", "glusterfs"];

/// Looks at the source. Returns how many directories it has that a watch would see.
pub(super) fn source(findings: &mut Findings, path: &Path, root: &Root, rules: &Rules) -> u64 {
    let walked = Walked::of(root, rules);
    let text = format!("{}: {} directories, {} other names", path.display(), walked.dirs, walked.others);
    if walked.unreadable.is_empty() {
        findings.ok("source", format!("{text}, all readable"));
    } else {
        let more = walked.unreadable_count - walked.unreadable.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = walked.unreadable.join(", ");
        let uid = rustix::process::geteuid().as_raw();
        findings.warn(
            "source",
            format!("{text}; not readable by user {uid}: {named}{more}"),
            "run the agent as root or as their owner, give it CAP_DAC_READ_SEARCH, or exclude them",
        );
    }
    file_systems(findings, root);
    walked.dirs
}

/// What a walk over the source found.
#[derive(Default)]
struct Walked {
    dirs: u64,
    others: u64,
    /// The first of them.
    unreadable: Vec<String>,
    unreadable_count: usize,
}

impl Walked {
    fn of(root: &Root, rules: &Rules) -> Self {
        let mut walked = Self::default();
        let mut left = vec![RelPath::root()];
        while let Some(path) = left.pop() {
            walked.dirs += 1;
            let Ok(dir) = root.dir(&path) else {
                walked.cannot_read(&path);
                continue;
            };
            let Ok(listing) = walk::list(&dir) else {
                walked.cannot_read(&path);
                continue;
            };
            for listed in listing.entries {
                let Ok(child) = path.child(&listed.name) else { continue };
                let entry = &listed.found.entry;
                if rules.excludes(&child, entry.is_dir()) {
                    continue;
                }
                if entry.is_dir() {
                    left.push(child);
                    continue;
                }
                walked.others += 1;
                let may =
                    || rustix::fs::accessat(dir.as_fd(), &*listed.name, Access::READ_OK, AtFlags::EACCESS);
                if entry.is_file() && may().is_err() {
                    walked.cannot_read(&child);
                }
            }
        }
        walked
    }

    fn cannot_read(&mut self, path: &RelPath) {
        self.unreadable_count += 1;
        if self.unreadable.len() < NAMED {
            self.unreadable.push(path.to_string());
        }
    }
}

/// What the source lies on, and what is mounted in it.
fn file_systems(findings: &mut Findings, root: &Root) {
    let top = root.dir(&RelPath::root());
    match top.ok().and_then(|top| shared_file_system(top.as_fd())) {
        Some(name) => findings.warn(
            "filesystem",
            format!("the source is on {name}: what other hosts change there gives no event, so it is polled"),
            "run the agent on the host whose disk it is, or accept the delay (up to 5 min)",
        ),
        None => findings.ok("filesystem", "the source is on a local file system"),
    }
    let lines = match mounts::beneath(root) {
        Ok(lines) => lines,
        Err(error) => {
            findings.warn("filesystem", format!("the mounts are not to be read: {error}"), "mount /proc");
            return;
        }
    };
    for mount in lines.iter().filter_map(|line| mounted(line)) {
        let text = format!("{} is mounted, of type {}", Escaped(&mount.point), mount.kind);
        if POLLED.contains(&&*mount.kind) || mount.kind.starts_with("fuse") {
            let cure = "exclude it and watch it where it is local, or accept the delay (up to 5 min)";
            findings.warn(
                "filesystem",
                format!("{text}: not every change gives an event, it is polled"),
                cure,
            );
        } else if mount.kind == "overlay" {
            let cure = "change files only by way of the mount, never in its layers";
            findings.warn("filesystem", format!("{text}: a change made in a layer gives no event"), cure);
        } else {
            findings.ok("filesystem", text);
        }
    }
}

/// Looks at the state folder, and makes it as any run would. Returns where it is.
pub(super) fn state(findings: &mut Findings, named: Option<&Path>) -> Option<PathBuf> {
    let opened = StateDir::open(named).and_then(|state| state.agent_id().map(|_| state));
    let state = match opened {
        Ok(state) => state,
        Err(error) => {
            let cure = "a folder of its own for the user who runs the agent, mode 700, named by --state-dir";
            findings.fail("state", error.to_string(), cure);
            return None;
        }
    };
    let path = state.path().to_owned();
    let shown = path.display();
    let root = Root::open(&path, driftless_proto::disk::Style::default());
    let top = root.and_then(|root| root.dir(&RelPath::root()));
    let shared = top.as_ref().ok().and_then(|top| shared_file_system(top.as_fd()));
    let free = rustix::fs::statvfs(&path).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)).ok();
    match (shared, free) {
        (Some(name), _) => findings.warn(
            "state",
            format!("{shown} is on {name}: its locks may not hold and each commit waits for the network"),
            "--state-dir on a local disk",
        ),
        (None, Some(free)) if free < STATE_BYTES => findings.warn(
            "state",
            format!("{shown}: {free} bytes are free"),
            "make room, or --state-dir elsewhere: without a journal every start compares by content",
        ),
        _ => findings.ok("state", format!("{shown}: private and writable, on a local disk")),
    }
    Some(path)
}
