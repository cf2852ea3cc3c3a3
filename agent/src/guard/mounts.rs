//! guard: when something is mounted or unmounted on this host. A mount over a watched directory gives no event there.
//!
//! Touches: `/proc/self/mountinfo`, an eventfd.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
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

impl Drop for Mounts {
    fn drop(&mut self) {
        // A counter at its limit would fail, but then the thread has been told already.
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
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
