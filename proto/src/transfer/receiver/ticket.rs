//! What an ack waits for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::context::lock;
use crate::model::problem::Problem;
use crate::wire::message::Seq;

/// One seq, and how much of what it stands for is still on its way.
#[derive(Clone)]
pub(super) struct Ticket(Arc<Parts>);

struct Parts {
    seq: Seq,
    left: AtomicUsize,
    failed: Mutex<Option<Problem>>,
}

impl Ticket {
    /// For a seq with so many parts.
    pub(super) fn new(seq: Seq, parts: usize) -> Self {
        Self(Arc::new(Parts { seq, left: AtomicUsize::new(parts), failed: Mutex::new(None) }))
    }

    /// One part is durable, or failed. At the last one, what to say.
    pub(super) fn part_done(&self, problem: Option<&Problem>) -> Option<Result<Seq, (Seq, Problem)>> {
        if let Some(problem) = problem {
            lock(&self.0.failed).get_or_insert_with(|| problem.clone());
        }
        if self.0.left.fetch_sub(1, Ordering::AcqRel) != 1 || self.0.seq == 0 {
            return None;
        }
        Some(match lock(&self.0.failed).take() {
            Some(problem) => Err((self.0.seq, problem)),
            None => Ok(self.0.seq),
        })
    }
}
