//! What a role talks through: frames of items, batched on their way out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::limits;
use crate::model::problem::{Misbehaved, Refusal};
use crate::wire::frame::Framed;

/// How a transfer ends when it does not end well. What failed for one path only is a
/// [`Problem`](crate::model::problem::Problem) and does not end it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The wire broke, or the peer went away.
    #[error("connection lost: {0}")]
    Broken(String),
    /// Our own disk or system failed in a way that concerns more than one path.
    #[error("{context}: {source}")]
    Fault {
        /// What was being done, and where.
        context: String,
        /// How it failed.
        source: io::Error,
    },
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Misbehaved(#[from] Misbehaved),
    /// The peer said no.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// We were told to stop.
    #[error("stopped")]
    Stopped,
}

impl Ended {
    /// A failure of ours, with what was being done.
    pub fn fault(context: impl Into<String>, source: io::Error) -> Self {
        Self::Fault { context: context.into(), source }
    }
}

/// Frames on their way in. The channel's end without an error is the peer's orderly end.
pub type Inbox<T> = mpsc::Receiver<Result<Vec<T>, Ended>>;

/// Both directions of one stream, as one role sees them.
pub struct Link<Out, In> {
    /// Where frames leave.
    pub out: mpsc::Sender<Vec<Out>>,
    /// Where frames arrive.
    pub inbox: Inbox<In>,
}

/// Two ends of a stream inside this process, bounded like a socket.
#[must_use]
pub fn pair<A, B>() -> (Link<A, B>, Link<B, A>)
where
    A: Send + 'static,
    B: Send + 'static,
{
    let (a_out, mut a_wire) = mpsc::channel::<Vec<A>>(limits::FRAMES_QUEUED);
    let (b_out, mut b_wire) = mpsc::channel::<Vec<B>>(limits::FRAMES_QUEUED);
    let (a_in, a_inbox) = mpsc::channel(limits::FRAMES_QUEUED);
    let (b_in, b_inbox) = mpsc::channel(limits::FRAMES_QUEUED);
    std::thread::spawn(move || {
        while let Some(frame) = a_wire.blocking_recv() {
            if b_in.blocking_send(Ok(frame)).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        while let Some(frame) = b_wire.blocking_recv() {
            if a_in.blocking_send(Ok(frame)).is_err() {
                return;
            }
        }
    });
    (Link { out: a_out, inbox: a_inbox }, Link { out: b_out, inbox: b_inbox })
}

/// How fast an outbox may send, in bytes a second of file data and its framing; 0 for no limit. Shared with whoever changes
/// it meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Rate(Arc<AtomicU64>);

impl Rate {
    /// This many bytes a second, until it is changed.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Changes it. What waits already, waits no longer than it has to by the new one.
    pub fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// As it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Collects items into frames. A frame leaves when it is full or when [`Outbox::flush`] is called, which the owner
/// does before it waits for anything.
pub struct Outbox<T> {
    out: mpsc::Sender<Vec<T>>,
    items: Vec<T>,
    weight: usize,
    rate: Rate,
    pace: Option<Pace>,
    stopped: Arc<AtomicBool>,
}

impl<T: Framed> Outbox<T> {
    /// Sends as fast as this allows.
    pub fn new(out: mpsc::Sender<Vec<T>>, rate: Rate) -> Self {
        Self { out, items: Vec::new(), weight: 0, rate, pace: None, stopped: Arc::default() }
    }

    /// What stops this outbox when it is set: the next item is refused. The owner may be in the middle of a large tree
    /// or file, and looks at nothing else until its end.
    #[must_use]
    pub fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopped)
    }

    /// Adds an item. Blocks while the frames ahead of it are not taken.
    ///
    /// # Errors
    /// [`Ended::Broken`] when nobody takes frames any more.
    pub fn push(&mut self, item: T) -> Result<(), Ended> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Ended::Stopped);
        }
        self.weight += item.weight();
        self.items.push(item);
        // A limited stream goes out in small pieces, or it would not be smooth within a second.
        let full = match self.rate.get() {
            0 => limits::FRAME_SOFT,
            rate => usize::try_from(rate / 8).unwrap_or(usize::MAX).min(limits::FRAME_SOFT),
        };
        if self.weight >= full { self.flush() } else { Ok(()) }
    }

    /// Sends what was collected.
    ///
    /// # Errors
    /// [`Ended::Broken`] when nobody takes frames any more.
    pub fn flush(&mut self) -> Result<(), Ended> {
        if self.items.is_empty() {
            return Ok(());
        }
        let rate = self.rate.get();
        if self.pace.as_ref().map_or(0, |pace| pace.rate) != rate {
            self.pace = (rate > 0).then(|| Pace { rate, from: Instant::now(), sent: 0 });
        }
        if let Some(pace) = &mut self.pace {
            let (out, stopped, now) = (&self.out, &self.stopped, &self.rate);
            let over = || out.is_closed() || stopped.load(Ordering::Relaxed) || now.get() != rate;
            pace.wait(self.weight as u64, over);
        }
        self.weight = 0;
        self.out
            .blocking_send(std::mem::take(&mut self.items))
            .map_err(|_| Ended::Broken("the stream was closed".into()))
    }
}

/// Keeps a rate by sleeping until what was sent so far is due.
struct Pace {
    rate: u64,
    from: Instant,
    sent: u64,
}

impl Pace {
    /// Waits, in steps, until there is no reason to at the latest.
    fn wait(&mut self, bytes: u64, over: impl Fn() -> bool) {
        let due = Duration::from_secs_f64(self.sent as f64 / self.rate as f64);
        let elapsed = self.from.elapsed();
        if due > elapsed {
            while !over() {
                let Some(ahead) = due.checked_sub(self.from.elapsed()) else { break };
                std::thread::sleep(ahead.min(Duration::from_secs(1)));
            }
        } else if elapsed - due > Duration::from_secs(1) {
            // Idle time is not saved up for a burst later.
            self.from = Instant::now();
            self.sent = 0;
        }
        self.sent += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::RelPath;
    use crate::wire::message::FromSender;

    #[test]
    fn a_rate_that_is_raised_lets_go_what_waits_for_the_old_one() {
        let (out, mut taken) = mpsc::channel(64);
        // A frame of some bytes is due after minutes.
        let rate = Rate::new(1);
        let mut outbox = Outbox::new(out, rate.clone());
        let begun = Instant::now();
        let sender = std::thread::spawn(move || {
            for seq in 0..20 {
                outbox.push(FromSender::Remove { seq, path: RelPath::root() }).expect("push");
                outbox.flush().expect("flush");
            }
        });
        // The first frame never waits.
        assert!(taken.blocking_recv().is_some());
        rate.set(0);
        sender.join().expect("no panic");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        drop(rate);
    }
}
