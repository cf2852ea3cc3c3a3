//! doctor: what `/proc` says.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};

/// What processes of this user hold of inotify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) instances: u64,
    pub(super) watches: u64,
}

/// A file of `/proc`, whole.
pub(super) fn read(path: &str) -> io::Result<String> {
    let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    text(fd)
}

fn text(fd: OwnedFd) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::from(fd).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A number beneath `/proc/sys`, by sysctl's name for it.
pub(super) fn sysctl(key: &str) -> Option<u64> {
    read(&format!("/proc/sys/{}", key.replace('.', "/"))).ok()?.trim().parse().ok()
}

/// Adds up what the processes of this user hold. What ends meanwhile, or may not be looked at, does not count.
pub(super) fn held() -> Held {
    let mut held = Held::default();
    let own = rustix::process::geteuid().as_raw();
    let Ok(proc) = open_dir(CWD, c"/proc") else { return held };
    for process in names(&proc) {
        if !process.to_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let is_own =
            rustix::fs::statat(&proc, &*process, AtFlags::empty()).is_ok_and(|stat| stat.st_uid == own);
        let opened = || {
            let process = open_dir(&proc, &process)?;
            Ok::<_, io::Error>((open_dir(&process, c"fd")?, open_dir(&process, c"fdinfo")?))
        };
        let Some((fds, infos)) = is_own.then(opened).and_then(Result::ok) else { continue };
        for name in names(&fds) {
            let link = rustix::fs::readlinkat(&fds, &*name, Vec::new());
            if link.is_ok_and(|link| link.as_bytes() == b"anon_inode:inotify") {
                held.instances += 1;
                let info =
                    rustix::fs::openat(&infos, &*name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
                let info = info.ok().and_then(|fd| text(fd).ok()).unwrap_or_default();
                held.watches += info.lines().filter(|line| line.starts_with("inotify wd:")).count() as u64;
            }
        }
    }
    held
}

fn open_dir(at: impl std::os::fd::AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

fn names(dir: &OwnedFd) -> Vec<std::ffi::CString> {
    let entries = Dir::read_from(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| !name.to_bytes().starts_with(b"."))
        .collect()
}

/// A mount: where, and which type of file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) point: Vec<u8>,
    pub(super) kind: String,
}

/// A line of `proc_pid_mountinfo(5)`: the point is its fifth word, the type the first one after ` - `.
pub(super) fn mounted(line: &[u8]) -> Option<Mounted> {
    let point = crate::guard::mounts::point_of(line)?;
    let end = line.windows(3).position(|three| three == b" - ")?;
    let kind = line[end + 3..].split(|&b| b == b' ').next()?;
    Some(Mounted { point, kind: String::from_utf8_lossy(kind).into_owned() })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_watch_of_this_process_is_counted() {
        let inotify = inotify::Inotify::init().expect("an instance");
        let dir = tempfile::tempdir().expect("dir");
        inotify.watches().add(dir.path(), inotify::WatchMask::CREATE).expect("a watch");
        let info = read(&format!("/proc/self/fdinfo/{}", inotify.as_raw_fd())).expect("its info");
        assert!(info.contains("inotify wd:"), "{info}");
        let held = held();
        assert!(held.instances >= 1 && held.watches >= 1, "{held:?}");
    }

    #[test]
    fn a_mount_has_a_point_and_a_type() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let want = Mounted { point: b"/mnt 2".to_vec(), kind: "ext3".into() };
        assert_eq!(mounted(line), Some(want));
        assert_eq!(mounted(b"odd"), None);
    }
}
