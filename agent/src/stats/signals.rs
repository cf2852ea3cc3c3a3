//! stats: signals. A thread waits for them, so that the loop can wait for events and for them at once.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, mpsc};

use rustix::event::{EventfdFlags, eventfd};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::SAY;
use crate::events::FAILED;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// SIGUSR1.
    Show,
    /// SIGINT, SIGTERM, SIGHUP.
    Stop,
}

pub(super) struct Signals {
    wake: Arc<OwnedFd>,
    told: Receiver<Told>,
    established: Arc<AtomicBool>,
}

impl Signals {
    /// Starts to listen. Until everything is watched, the second signal to stop ends the process.
    ///
    /// # Errors
    /// The kernel or the system's thread limit is in the way.
    pub(super) fn listen() -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let established = Arc::new(AtomicBool::new(false));
        let (sender, told) = channel();
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = (Arc::clone(&wake), Arc::clone(&established));
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            let failed = match runtime.and_then(|runtime| runtime.block_on(wait(&ready, &thread, &sender))) {
                Ok(()) => return,
                Err(error) => error,
            };
            // Nobody waits for it any more only when we are through.
            ready.try_send(Err(failed)).ok();
        })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(Self { wake, told, established })
    }

    /// Everything is watched: from here on a signal to stop is answered by the table.
    pub(super) fn established(&self) {
        self.established.store(true, Ordering::SeqCst);
    }

    /// Readable when there is something to take.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// What the next signal asks for. `None` when there is none.
    pub(super) fn take(&self) -> Option<Told> {
        let told = self.told.try_recv().ok();
        if told.is_none() {
            // Only once the channel is empty, so that no signal is left behind without a wake-up.
            rustix::io::read(&self.wake, &mut [0; 8]).ok();
        }
        told
    }
}

type Shared = (Arc<OwnedFd>, Arc<AtomicBool>);

async fn wait(
    ready: &mpsc::SyncSender<io::Result<()>>,
    (wake, established): &Shared,
    sender: &Sender<Told>,
) -> io::Result<()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [interrupt, terminate, hangup] = kinds.map(signal);
    let mut stops: [Signal; 3] = [interrupt?, terminate?, hangup?];
    let mut show = signal(SignalKind::user_defined1())?;
    ready.send(Ok(())).map_err(io::Error::other)?;
    let mut asked = false;
    loop {
        let [interrupt, terminate, hangup] = &mut stops;
        let told = tokio::select! {
            _ = interrupt.recv() => Told::Stop,
            _ = terminate.recv() => Told::Stop,
            _ = hangup.recv() => Told::Stop,
            _ = show.recv() => Told::Show,
        };
        if established.load(Ordering::SeqCst) {
            if sender.send(told).is_err() {
                return Ok(());
            }
            rustix::io::write(wake.as_ref(), &1u64.to_ne_bytes())?;
        } else if told == Told::Stop && asked {
            SAY.line("No statistics collected, asked to abort before all watches could be established.");
            std::process::exit(FAILED.into());
        } else if told == Told::Stop {
            asked = true;
            SAY.line("No statistics have been collected because I haven't finished establishing");
            SAY.line("inotify watches yet.  If you are sure you want me to exit, interrupt me again.");
        }
    }
}
