//! Early: the receiver digests the directory that is compared first before it is asked to. Where its digest is ours
//! there is nothing to do, and the stream ends without another round trip.

use std::sync::{Mutex, PoisonError};

use super::Sender;
use crate::model::digest::Digest;
use crate::model::problem::Misbehaved;
use crate::transfer::link::Ended;
use crate::transfer::observer::TaskId;
use crate::wire::message::Seq;

/// What the receiver told by itself. Shared with the reader, which takes it.
#[derive(Default)]
pub(super) struct Told(Mutex<Option<Digest>>);

impl Told {
    /// Takes the receiver's digest, once.
    pub(super) fn take(&self, digest: Digest) -> Result<(), Misbehaved> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some() {
            return Err(Misbehaved::Unexpected("digested twice"));
        }
        *told = Some(digest);
        Ok(())
    }

    fn is(&self, ours: Digest) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == Some(ours)
    }
}

/// Where the first comparison stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Early {
    /// The receiver was not told of it, or nothing comes of it any more.
    Off,
    /// It is to come.
    Awaited,
    /// It was asked for in the usual way, since the receiver's digest had not come: with this seq, and ours is this.
    Asked(Seq, Digest),
    /// Both are equal: nothing was said that has to be answered.
    Equal,
}

impl Sender {
    /// Whether the receiver has told that its side of the first comparison is equal to ours.
    pub(super) fn is_equal_early(&mut self, id: TaskId, ours: Digest) -> bool {
        if self.early != Early::Awaited || !self.told.is(ours) {
            return false;
        }
        self.early = Early::Equal;
        self.observer.settled(id, Ok(()));
        true
    }

    /// The receiver has told its digest, perhaps after it was asked to compare: where it is ours, that is the answer.
    pub(super) fn digested(&mut self) -> Result<(), Ended> {
        if let Early::Asked(seq, ours) = self.early
            && self.told.is(ours)
        {
            self.early = Early::Equal;
            if self.outstanding.foreseen(seq, &*self.observer) {
                self.comparing = false;
                self.next_comparison()?;
            }
        }
        Ok(())
    }
}
