//! doctor: the kernel: its limits, and which engines it has.

use driftless_proto::disk::Root;
use rustix::process::{Resource, getrlimit};

use super::Findings;
use super::proc::{held, read, sysctl};
use crate::watcher::{Choice, try_engine};

/// Descriptors that a watch and its transfers may hold at once: files on their way, directories, sockets.
const DESCRIPTORS: u64 = 4096;

/// Where the next start finds what was set.
const KEPT: &str = "/etc/sysctl.d/90-driftless.conf";

/// Which kernel it is, and how many files a process may open.
pub(super) fn kernel(findings: &mut Findings) {
    match read("/proc/sys/kernel/osrelease") {
        Ok(release) => findings.ok("kernel", format!("Linux {}", release.trim())),
        Err(error) => findings.fail("kernel", format!("/proc is not to be read: {error}"), "mount /proc"),
    }
    let limit = getrlimit(Resource::Nofile).maximum;
    match limit {
        Some(limit) if limit < DESCRIPTORS => findings.warn(
            "descriptors",
            format!("at most {limit} files may be open at once; {DESCRIPTORS} are enough for every transfer"),
            format!("LimitNOFILE={DESCRIPTORS} in the unit, or `ulimit -Hn {DESCRIPTORS}` as root before the start"),
        ),
        _ => findings.ok(
            "descriptors",
            limit.map_or("no limit".into(), |limit| format!("{limit} files may be open at once")),
        ),
    }
}

/// The limits of inotify, against what the source needs and what this user holds already.
pub(super) fn limits(findings: &mut Findings, dirs: u64) {
    let held = held();
    // One for each directory, and one for the directory above the source.
    let needed = if dirs > 0 { dirs + 1 } else { 0 };
    let checks = [("watches", held.watches, needed), ("instances", held.instances, 1)];
    for (name, held, needed) in checks {
        let Some((key, limit)) = limit(name) else {
            findings.warn("inotify", format!("no limit on {name} is to be read"), "mount /proc");
            continue;
        };
        let text = format!("{key} = {limit}: {needed} needed, {held} held by this user's programs");
        let total = held + needed;
        let enough = (total * 2).next_power_of_two().max(if name == "watches" { 524_288 } else { 512 });
        let cure = format!("sysctl -w {key}={enough}; echo {key}={enough} >> {KEPT}");
        if total > limit && name == "watches" {
            findings.fail("inotify", format!("{text}; what finds no watch is polled"), cure);
        } else if total > limit {
            findings.fail("inotify", format!("{text}; without one the source is polled"), cure);
        } else if total > limit / 5 * 4 {
            findings.warn("inotify", format!("{text}; hardly any are left"), cure);
        } else {
            findings.ok("inotify", text);
        }
    }
    let key = "fs.inotify.max_queued_events";
    match sysctl(key) {
        Some(limit) if limit < 16_384 => findings.warn(
            "inotify",
            format!("{key} = {limit}: a burst of more events costs a comparison of everything"),
            format!("sysctl -w {key}=16384; echo {key}=16384 >> {KEPT}"),
        ),
        Some(limit) => findings.ok("inotify", format!("{key} = {limit}")),
        None => {}
    }
}

/// The system's limit or that of the user namespace, whichever is met first.
fn limit(name: &str) -> Option<(String, u64)> {
    let of = |key: String| sysctl(&key).map(|limit| (key, limit));
    let system = of(format!("fs.inotify.max_user_{name}"));
    let namespace = of(format!("user.max_inotify_{name}"));
    system.into_iter().chain(namespace).min_by_key(|(_, limit)| *limit)
}

/// Every engine, by asking the kernel for it.
pub(super) fn engines(findings: &mut Findings, root: &Root) {
    let mut works = Vec::new();
    for (name, choice) in Choice::NAMES {
        match try_engine(root, choice) {
            _ if choice == Choice::Auto => {}
            Ok(note) => {
                works.push(name);
                let note = note.map_or(String::new(), |note| format!("; {note}"));
                findings.ok("engine", format!("{name} works{note}"));
            }
            // Nothing depends on it: it is taken only by name.
            Err(error) if choice == Choice::Fanotify => findings.ok("engine", format!("no {name}: {error}")),
            Err(error) => {
                let cure = "the message says what is missing; until then the source is polled";
                findings.warn("engine", format!("no {name}: {error}"), cure);
            }
        }
    }
    match try_engine(root, Choice::Auto) {
        Ok(note) => {
            let note = note.map_or(String::new(), |note| format!(": {note}"));
            findings.ok("engine", format!("--engine auto finds one{note}"));
        }
        Err(error) => findings.fail("engine", format!("none: {error}"), "see the engines above"),
    }
}
