//! Opening: what a session has before its first task: a stream, the journal, and the verdict on deletions.

use std::sync::{Arc, PoisonError};

use driftless_proto::model::filter::Rules;
use driftless_proto::transfer::link::Ended;
use driftless_proto::wire::message::{FromReceiver, FromSender, Welcome};

use super::Watch;
use super::session::{Continuity, STOP_LOOK};
use crate::connect::{ConnectError, Session};
use crate::guard::{Guard, Occasion, Verdict};
use crate::journal::Journal;
use crate::push::{hello, place};
use crate::run::{open, remote};

impl Watch<'_> {
    pub(super) fn open(
        &mut self,
        known: &Continuity,
    ) -> Result<Session<FromSender, FromReceiver>, ConnectError> {
        let destination = place(remote(self.invocation.dest.as_ref())?);
        let mut hello = hello(self.invocation, vec![destination], None)?;
        hello.epoch = self.next_epoch();
        hello.watch = true;
        hello.options.delete &= known.standing.held.is_none();
        hello.rules = self.rules(known);
        let desk = &self.desk;
        let stopped = async {
            while !desk.lock().stop {
                self.pulse.waits();
                tokio::time::sleep(STOP_LOOK).await;
            }
        };
        self.handle.block_on(async {
            tokio::select! {
                opened = open::<FromSender>(&self.server, hello) => opened,
                () = stopped => Err(Ended::Stopped.into()),
            }
        })
    }

    pub(super) fn journal(
        &self,
        welcome: &Welcome,
        known: &mut Continuity,
    ) -> Result<Arc<Journal>, ConnectError> {
        let same = known.seen.as_ref().is_some_and(|seen| seen.module_id == welcome.module_id);
        if let (true, Some(journal)) = (same, &known.journal) {
            return Ok(Arc::clone(journal));
        }
        known.journal = None;
        let destination = place(remote(self.invocation.dest.as_ref())?);
        let journal = Journal::open(self.state.path(), &self.source, &welcome.module_id, &destination.path)
            .map_err(|error| ConnectError::TrustFile(error.to_string()))?;
        let journal = Arc::new(journal);
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).journal = Arc::downgrade(&journal);
        known.journal = Some(Arc::clone(&journal));
        Ok(journal)
    }

    /// Whether deletions may leave. Where the source is one name among others in the destination (`SRC` without a slash),
    /// what else is there counts as its copy: it is held once too often rather than emptied.
    pub(super) fn verdict(
        &self,
        guard: &Guard,
        journal: &Journal,
        copy_is_empty: bool,
        occasion: Occasion,
    ) -> Verdict {
        let first = guard.first(journal, copy_is_empty);
        if first == Verdict::Go { guard.check(journal, occasion) } else { first }
    }

    /// A journal that cannot be written costs safety, so it is said; the copy goes on.
    pub(super) fn note(&self, noted: std::io::Result<()>) {
        if let Err(error) = noted {
            self.status.problem(&format!("journal: {error}"));
        }
    }

    /// The operator's rules, and those for what is left alone. There were not too many when this standing was made.
    pub(super) fn rules(&self, known: &Continuity) -> Rules {
        let own = &self.invocation.rules;
        known.standing.rules(own, &self.prefix).unwrap_or_else(|_| own.clone())
    }
}
