//! guard: when something is mounted or unmounted on this host. A mount over a watched directory gives no event there.
//!
//! Touches: `/proc/self/mountinfo`, an eventfd.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use driftless_proto::disk::Root;
use driftless_proto::model::path::RelPath;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{CWD, Mode, OFlags};

/// Tells each time the table of mounts has changed. Dropping it ends its thread.
pub(crate) struct Mounts {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Mounts {
    /// Calls `changed`, on a thread of its own, after each change from now on.
    ///
    /// # Errors
    /// When there is no `/proc`, or no thread to be had.
    pub(crate) fn watch(changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let table = File::from(rustix::fs::openat(CWD, "/proc/self/mountinfo", flags, Mode::empty())?);
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stopped = Arc::clone(&stop);
        let work = move || wait(table, &stopped, &changed);
        let thread = std::thread::Builder::new().name("mounts".into()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// The table of mounts, to be asked at once whether it has changed.
#[derive(Debug)]
pub(crate) struct Peek(File);

impl Peek {
    /// Asks from now on.
    ///
    /// # Errors
    /// When there is no `/proc`.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let peek = Self(rustix::fs::openat(CWD, "/proc/self/mountinfo", flags, Mode::empty())?.into());
        peek.changed();
        Ok(peek)
    }

    /// Whether it has changed since this was last asked. What cannot be found out counts as a change.
    pub(crate) fn changed(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, Some(&now)) {
            Ok(_) => fds[0].revents().intersects(PollFlags::PRI | PollFlags::ERR),
            Err(_) => true,
        }
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        // A counter at its limit would fail, but then the thread has been told already.
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The lines of the table of mounts about this root and what is beneath it: equal ones mean that nothing was mounted or
/// unmounted there.
///
/// # Errors
/// When there is no `/proc`.
pub(crate) fn beneath(root: &Root) -> io::Result<Vec<Vec<u8>>> {
    let (table, path) = table_and_path(root)?;
    Ok(lines_beneath(&table, &path))
}

/// Whether anything is mounted within this root, itself aside.
///
/// # Errors
/// When there is no `/proc`.
pub(crate) fn any_within(root: &Root) -> io::Result<bool> {
    let (table, path) = table_and_path(root)?;
    let lines = lines_beneath(&table, &path);
    Ok(lines.iter().filter_map(|line| point_of(line)).any(|point| point != path))
}

/// The table of mounts, and the root's path as the kernel names it, whatever links led to it.
fn table_and_path(root: &Root) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let dir = root.dir(&RelPath::root())?;
    let link = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    let path = rustix::fs::readlinkat(CWD, link, Vec::new())?.into_bytes();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut table = Vec::new();
    let fd = rustix::fs::openat(CWD, "/proc/self/mountinfo", flags, Mode::empty())?;
    File::from(fd).read_to_end(&mut table)?;
    Ok((table, path))
}

fn lines_beneath(table: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    let within = |point: &[u8]| {
        let rest = point.strip_prefix(path);
        path == b"/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let lines = table.split(|&b| b == b'\n');
    let about = |line: &&[u8]| point_of(line).is_some_and(|point| within(&point));
    lines.filter(about).map(<[u8]>::to_vec).collect()
}

/// The mount point of a line of the table: its fifth word.
pub(crate) fn point_of(line: &[u8]) -> Option<Vec<u8>> {
    line.split(|&b| b == b' ').nth(4).map(unescaped)
}

/// A word of the table of mounts, whose blanks and backslashes are written as `\040`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        rest = match (first, byte) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                &after[3..]
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    bytes
}

/// `proc_pid_mountinfo(5)`: a change raises POLLPRI and POLLERR once for each open file.
fn wait(mut table: File, stop: &OwnedFd, changed: &dyn Fn()) {
    let mut text = Vec::new();
    loop {
        let (pri, stopped) = {
            let mut fds = [PollFd::new(&table, PollFlags::PRI), PollFd::new(stop, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            (fds[0].revents().intersects(PollFlags::PRI | PollFlags::ERR), !fds[1].revents().is_empty())
        };
        if stopped {
            return;
        }
        if pri {
            // Reading takes the new state as seen; what it says is found out by looking.
            text.clear();
            if table.rewind().and_then(|()| table.read_to_end(&mut text)).is_err() {
                return;
            }
            changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_has_not_changed_is_told_so() {
        let peek = Peek::new().expect("/proc");
        // Others mount on this host as they like; between two looks at once nobody does, sooner or later.
        assert!((0..100).any(|_| !peek.changed()), "it tells of something new for ever");
    }

    #[test]
    fn only_mounts_in_the_source_count() {
        let table = b"21 1 0:2 / / rw - ext4 x\n\
            22 21 0:3 / /a rw - tmpfs x\n\
            23 22 0:4 / /a/s\\040rc rw - tmpfs x\n\
            24 23 0:5 / /a/s\\040rc/sub rw - tmpfs x\n\
            25 22 0:6 / /a/s\\040rcs rw - tmpfs x\n\
            odd\n";
        let numbers =
            |path: &[u8]| -> Vec<u8> { lines_beneath(table, path).iter().map(|line| line[1]).collect() };
        assert_eq!(numbers(b"/a/s rc"), b"34");
        assert_eq!(numbers(b"/"), b"12345");
        assert_eq!(unescaped(b"a\\134b\\04"), b"a\\b\\04");
    }
}
