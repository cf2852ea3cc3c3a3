//! events: the calls to the kernel.
//!
//! Paths here are the operator's own, walked by name as inotifywait(1) walks them: `%w` is what was typed, and these
//! commands only look. Nothing is opened but directories, and no content of a file is ever read.
//!
//! Touches: inotify, directories (names and types). Never: contents, network.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::mask::Mask;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The watch it belongs to; -1 for an overflow.
    pub(crate) wd: i32,
    pub(crate) mask: Mask,
    /// Equal in both halves of a rename; else 0.
    pub(crate) cookie: u32,
    /// The name in the watched directory; empty for an event of the watched thing itself.
    pub(crate) name: Vec<u8>,
    /// When it was read from the kernel, which may be long before it is told.
    pub(crate) time: Timestamp,
    /// It is not from the kernel: a scan found the name in a directory that is new.
    pub(crate) synthetic: bool,
}

/// Bytes of one read: some thousand events, and at least one with the longest name.
const READ_LEN: usize = 64 * 1024;

/// What waiting led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Readable,
    TimedOut,
    Woken,
}

/// An inotify instance.
pub(crate) struct Inotify(OwnedFd);

impl Inotify {
    pub(crate) fn new() -> Result<Self, Errno> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Self)
    }

    pub(crate) fn add(&self, path: &[u8], mask: Mask) -> Result<i32, Errno> {
        inotify::add_watch(&self.0, path, WatchFlags::from_bits_retain(mask.0))
    }

    /// Ends a watch. One that has ended by itself is no failure.
    pub(crate) fn remove(&self, wd: i32) {
        inotify::remove_watch(&self.0, wd).ok();
    }

    /// Takes what is queued, at most one buffer of it.
    pub(crate) fn read(&self, queue: &mut VecDeque<Event>) -> Result<(), Errno> {
        let mut buffer = vec![MaybeUninit::uninit(); READ_LEN];
        let mut reader = Reader::new(self.0.as_fd(), &mut buffer);
        let time = Timestamp::now();
        loop {
            match reader.next() {
                Ok(event) => queue.push_back(Event {
                    wd: event.wd(),
                    mask: Mask(event.events().bits()),
                    cookie: event.cookie(),
                    name: event.file_name().map_or_else(Vec::new, |name| name.to_bytes().to_vec()),
                    time,
                    synthetic: false,
                }),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            if reader.is_buffer_empty() {
                return Ok(());
            }
        }
    }

    /// Whether the queue is empty.
    pub(crate) fn is_drained(&self) -> bool {
        rustix::io::ioctl_fionread(&self.0).is_ok_and(|queued| queued == 0)
    }

    /// Waits for an event, or for something to read in `wake`, no longer than `end`.
    pub(crate) fn wait(&self, end: Option<Instant>, wake: Option<BorrowedFd<'_>>) -> io::Result<Waited> {
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let mut fds = vec![PollFd::new(&self.0, PollFlags::IN)];
            fds.extend(wake.as_ref().map(|wake| PollFd::new(wake, PollFlags::IN)));
            match poll(&mut fds, left.map(timespec).as_ref()) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(0) => return Ok(Waited::TimedOut),
                Ok(_) if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) => return Ok(Waited::Woken),
                Ok(_) => return Ok(Waited::Readable),
            }
        }
    }
}

fn timespec(left: Duration) -> Timespec {
    // Times beyond what the kernel takes are as good as for ever.
    let tv_sec = left.as_secs().min(i32::MAX as u64) as i64;
    Timespec { tv_sec, tv_nsec: left.subsec_nanos().into() }
}

/// Whether a directory stands at this path, following a link at its end or not.
pub(crate) fn is_directory(path: &[u8], follow: bool) -> Result<bool, Errno> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = rustix::fs::statat(CWD, path, flags)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// The names in a directory, in the order of the directory, and whether each is a directory.
pub(crate) fn names(dir: &[u8], follow: bool) -> Result<Vec<(Vec<u8>, bool)>, Errno> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    let held = rustix::fs::open(dir, flags, Mode::empty())?;
    let mut buffer = Vec::with_capacity(READ_LEN);
    let mut entries = RawDir::new(&held, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(&held, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
                // Gone again. The others are still there, so this is no reason to give up the directory.
                Err(_) => continue,
            },
            known => known == FileType::Directory,
        };
        names.push((name.to_bytes().to_vec(), is_dir));
    }
    Ok(names)
}

/// What went wrong, in the words of strerror(3).
pub(crate) fn reason(error: Errno) -> String {
    let text = io::Error::from(error).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
