//! The sender's reader: turns what the receiver says into events, and books acks. It never waits for the writer.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use super::early::Told;
use super::outstanding::{Booked, Outstanding};
use super::{Event, Request};
use crate::limits;
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, ProblemClass};
use crate::transfer::link::{Ended, Inbox};
use crate::transfer::observer::Observer;
use crate::wire::message::{FromReceiver, RequestId, WantBasis};

pub(super) struct Reader {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) outstanding: Arc<Outstanding>,
    pub(super) requests: Arc<AtomicUsize>,
    pub(super) observer: Arc<dyn Observer>,
    /// Bytes of sums in the queue; the sender counts down.
    pub(super) sums: Arc<AtomicU64>,
    /// What the receiver tells before it is asked.
    pub(super) told: Arc<Told>,
    /// Stops the writer, wherever it is.
    pub(super) stop: Arc<AtomicBool>,
}

/// Bytes of sums that may wait: two of the largest signatures. An honest receiver asks for one such file at a time.
const SUMS_QUEUED: u64 = 2 * limits::BLOCKS_MAX * 20;

/// A want whose sums are still coming.
struct Summing {
    id: RequestId,
    path: RelPath,
    basis: WantBasis,
    sums: Vec<u8>,
}

impl Reader {
    pub(super) fn run(self, mut inbox: Inbox<FromReceiver>) {
        let mut summing = None;
        let ended = loop {
            match inbox.blocking_recv() {
                None => break Ended::Broken("the peer closed the stream".into()),
                Some(Err(ended)) => break ended,
                Some(Ok(frame)) => {
                    let taken = frame.into_iter().try_for_each(|item| self.take(item, &mut summing));
                    if let Err(ended) = taken {
                        break ended;
                    }
                }
            }
        };
        self.stop.store(true, Ordering::Relaxed);
        let _late = self.events.send(Event::Ended(ended));
    }

    fn take(&self, item: FromReceiver, summing: &mut Option<Summing>) -> Result<(), Ended> {
        match item {
            FromReceiver::Open { id, dir, all } => self.request(Request::Open { id, dir, all }),
            FromReceiver::Want { id, path, basis: None } => {
                self.request(Request::Want { id, path, basis: None })
            }
            FromReceiver::Want { id, path, basis: Some(basis) } => {
                if summing.is_some() {
                    return Err(Misbehaved::Unexpected("want before the sums of the last").into());
                }
                if basis.digest.is_some() {
                    return self.request(Request::Want { id, path, basis: Some((basis, Vec::new())) });
                }
                *summing = Some(Summing { id, path, basis, sums: Vec::new() });
                Ok(())
            }
            FromReceiver::Sums { want, sums, last } => self.sums(want, &sums, last, summing),
            FromReceiver::Ack(seqs) => {
                let booked = self.outstanding.acked(&seqs, &*self.observer)?;
                self.booked(booked);
                Ok(())
            }
            FromReceiver::Failed { seq, problem } => {
                match problem.class {
                    // What we could not read we have reported ourselves.
                    ProblemClass::Vanished => self.observer.missed(&problem.path),
                    _ if seq == 0 => self.observer.problem(&problem),
                    // That has been told by itself: of several that one ack stands for, each.
                    _ => {}
                }
                if seq != 0 {
                    let booked = self.outstanding.failed(seq, problem, &*self.observer)?;
                    self.booked(booked);
                }
                Ok(())
            }
            FromReceiver::Change(change) => {
                self.observer.changed(&change);
                Ok(())
            }
            FromReceiver::Done(totals) => {
                let _late = self.events.send(Event::PeerDone(totals));
                // Nothing may follow; what does is not read.
                Err(Ended::Stopped)
            }
            FromReceiver::Digested(digest) => {
                self.told.take(digest)?;
                let _late = self.events.send(Event::Digested);
                Ok(())
            }
            FromReceiver::Refused(refusal) => Err(refusal.into()),
            FromReceiver::Hello(_) => Err(Misbehaved::Unexpected("hello").into()),
            FromReceiver::Welcome(_) => Err(Misbehaved::Unexpected("welcome").into()),
        }
    }

    fn booked(&self, booked: Booked) {
        if booked.compared {
            let _late = self.events.send(Event::Compared);
        }
        if booked.quiet {
            let _late = self.events.send(Event::Quiet);
        }
    }

    fn request(&self, request: Request) -> Result<(), Ended> {
        if self.requests.fetch_add(1, Ordering::Relaxed) >= limits::REQUESTS_MAX {
            return Err(Misbehaved::TooManyRequests.into());
        }
        let _late = self.events.send(Event::Request(request));
        Ok(())
    }

    fn sums(
        &self,
        want: RequestId,
        sums: &[u8],
        last: bool,
        summing: &mut Option<Summing>,
    ) -> Result<(), Ended> {
        let Some(mut now) = summing.take().filter(|s| s.id == want) else {
            return Err(Misbehaved::AnswerToUnknown(want).into());
        };
        if self.sums.fetch_add(sums.len() as u64, Ordering::Relaxed) > SUMS_QUEUED {
            return Err(Misbehaved::TooManyRequests.into());
        }
        now.sums.extend_from_slice(sums);
        if now.sums.len() as u64 > now.basis.following_len() {
            return Err(Misbehaved::OutOfRange("sums").into());
        }
        if last {
            let basis = Some((now.basis, now.sums));
            return self.request(Request::Want { id: now.id, path: now.path, basis });
        }
        *summing = Some(now);
        Ok(())
    }
}
