//! Reconcile: the comparison of everything, from what only has another name by now to what is said at its end.

use std::time::{Instant, SystemTime};

use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::sender::Tasks;

use super::desk::{NO_BATCH, RENAMES};
use super::scan::{Scanned, Work};
use super::session::{End, Trunk};
use crate::control::picture::Reconcile;

impl Trunk<'_, '_> {
    /// First what only has another name by now, then everything; the end of this session where it has to be held.
    pub(super) fn compare_everything(&mut self, tasks: &Tasks) -> Option<End> {
        self.begun = Instant::now();
        let gone = std::mem::take(&mut self.known.gone);
        if !gone.is_empty() {
            let rules = &self.watch.invocation.rules;
            let renamed = super::renamed::find(self.root, &self.journal, rules, gone);
            // It may have read for minutes: what vanished meanwhile is weighed too.
            if let Some(end) = self.weigh() {
                return Some(end);
            }
            self.known.gone.clear();
            self.follow_renames(&renamed);
            self.send(tasks, RENAMES, self.begun, Scanned { work: renamed, ..Scanned::default() });
        }
        self.planned_leaves();
        let work = vec![Work::Compare(RelPath::root())];
        self.send(tasks, NO_BATCH, self.begun, Scanned { work, ..Scanned::default() });
        None
    }

    /// Once everything was compared, and nothing was held back, the journal speaks of this root.
    pub(super) fn note_compared(&mut self, well: bool, failing: usize) {
        let took = self.begun.elapsed().as_secs_f64();
        let held = self.known.standing.held.is_some();
        self.watch.picture(|picture| {
            picture.last_reconcile =
                Some(Reconcile { at: SystemTime::now(), seconds: took, well: well && failing == 0 });
        });
        if well && !held {
            self.watch.note(self.guard.adopt(&self.journal));
        }
        let left_out = std::mem::take(&mut self.watch.desk.lock().left_out);
        if let (count, Some(first)) = left_out {
            self.watch.status.log(&format!(
                "skipping {count} non-regular files, {first} the first: not asked for (-l, -D), or the server cannot keep them"
            ));
        }
        let rewrites = self.known.standing.rewrites.is_some();
        let then = if self.watch.manner.once { "" } else { ", watching" };
        let text = match (well && failing == 0, held) {
            (true, false) if rewrites => {
                format!("compared in {took:.2} s but for the rewrites that are held{then}")
            }
            (true, false) => format!("in sync after {took:.2} s{then}"),
            (true, true) => format!("compared in {took:.2} s but for the deletions that are held{then}"),
            (false, _) => {
                format!("compared in {took:.2} s; {failing} paths failed and are tried again{then}")
            }
        };
        self.watch.status.log(&text);
    }
}
