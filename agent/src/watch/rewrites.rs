//! Rewrites: when new contents of files that the copy has are held, weighed as deletions are: before a comparison of
//! everything, and before a batch that rewrites many. While they are held everything else flows, and what a mass of
//! rewrites would replace stays as the copy has it.

use std::sync::Arc;
use std::time::Instant;

use driftless_proto::model::path::RelPath;
use driftless_proto::transfer::sender::Withhold;

use super::Watch;
use super::hold::Weighing;
use super::scan::{Scanned, Work};
use super::session::{Continuity, End, Trunk};
use super::withheld::Withheld;
use crate::guard::survey::Findings;
use crate::journal::{Item, Journal, Mounted, Note};
use crate::plan::{Kind, Plan, State};

impl Watch<'_> {
    /// Whether rewrites are to be weighed: there is a limit, or something was decided while there was one.
    pub(super) fn weighs_rewrites(&self) -> bool {
        let decided = || {
            let plans = self.plans.of(&self.watched);
            plans.map_or(true, |plans| plans.iter().any(|plan| plan.kind == Kind::Rewrites))
        };
        self.rewrites().is_on() || decided()
    }

    pub(super) fn withheld(&self, journal: &Arc<Journal>, known: &Continuity) -> Option<Arc<Withheld>> {
        let held = known.standing.rewrites.is_some();
        let any = held || self.rewrites().is_on() || !known.rewrites.is_empty();
        any.then(|| Arc::new(Withheld::new(Arc::clone(journal), held, known.rewrites.clone())))
    }
}

impl Withheld {
    /// For the sender, whose paths are those of the transfer.
    pub(super) fn asked(self: Arc<Self>, prefix: RelPath) -> Withhold {
        Arc::new(move |path, entry| {
            let path = path.below(&prefix);
            path.is_some_and(|path| self.holds(&path, (entry.size(), entry.mtime)))
        })
    }
}

impl Weighing<'_, '_> {
    /// Takes the decisions on rewrites out of the plans.
    pub(super) fn take_rewrites(&mut self) {
        let take = |plans: &mut Vec<Plan>| {
            let (mine, others) = std::mem::take(plans).into_iter().partition(|p| p.kind == Kind::Rewrites);
            *plans = others;
            mine
        };
        self.rewrites.approved = take(&mut self.plans.approved);
        self.rewrites.rejected = take(&mut self.plans.rejected);
    }

    /// Finds out whether what was rewritten in the source may leave.
    pub(super) fn weigh_rewrites(
        &mut self,
        mut rewritten: Vec<RelPath>,
        known: &mut Continuity,
    ) -> Result<(), String> {
        rewritten.retain(|path| !self.rewrites.approved.iter().any(|plan| plan.covers(path)));
        for plan in &mut self.rewrites.rejected {
            if plan.marked {
                let left = still_kept(plan, self.journal);
                if left.is_empty() {
                    let _gone = self.watch.plans.drop_plan(&plan.id, Some(State::Rejected));
                } else if left.len() < plan.paths.len() {
                    plan.paths = left;
                    self.watch.save(plan);
                }
            } else {
                let (kept, others) = rewritten.into_iter().partition(|path| plan.covers(path));
                rewritten = others;
                mark(&kept, self.root, self.journal)?;
                plan.marked = true;
                self.watch.save(plan);
            }
        }
        let whole = self.journal.known().map_err(|error| error.to_string())?;
        let over = self.watch.rewrites().holds(&rewritten, whole, Instant::now());
        self.watch.rewrites().looked();
        if let Some(reason) = over {
            let paths = rewritten.iter().map(|path| (path.clone(), 1)).collect();
            self.next.rewrites = Some(self.hold(Kind::Rewrites, reason, None, paths));
        }
        known.rewritten = rewritten;
        Ok(())
    }
}

/// What of a rejected plan the copy still keeps: what changed again has been sent, and is not marked any more.
fn still_kept(plan: &Plan, journal: &Journal) -> Vec<(RelPath, u64)> {
    let kept = |path: &RelPath| journal.item(path).map_or(true, |item| item.is_some_and(|item| item.kept));
    plan.paths.iter().filter(|(path, _)| path.is_root() || kept(path)).cloned().collect()
}

/// Marks what the copy keeps, as it stands in the source now.
fn mark(kept: &[RelPath], root: &driftless_proto::disk::Root, journal: &Journal) -> Result<(), String> {
    let top = RelPath::root();
    let mounted = root.found(&top).and_then(|found| Ok(Mounted::new(&found, root.inode(&top)?)));
    let mounted = mounted.map_err(|error| error.to_string())?;
    let item = |path: &RelPath| {
        let item = Item::new(&root.found(path)?, root.inode(path)?, &mounted);
        Ok::<_, std::io::Error>(Item { kept: true, ..item })
    };
    // What has gone since is a deletion.
    let notes: Vec<Note> =
        kept.iter().filter_map(|path| Some(Note::Seen(path.clone(), item(path).ok()?))).collect();
    journal.take(&notes).and_then(|()| journal.sync()).map_err(|error| error.to_string())
}

impl Trunk<'_, '_> {
    /// Takes out of a batch what is withheld, and asks the brake about the rest; the end of this session where it has to
    /// be held. What is taken out is found again by the comparison that follows a decision.
    pub(super) fn hold_rewrites(&mut self, scanned: &mut Scanned) -> Option<End> {
        let withheld = Arc::clone(self.withheld.as_ref()?);
        let all = scanned.work.len();
        scanned.work.retain(|work| !matches!(work, Work::Rename(_, to, _) if withheld.holds_rename(to)));
        // Only those that leave.
        self.follow_renames(&scanned.work);
        scanned
            .work
            .retain(|work| !matches!(work, Work::File { path, found, .. } if withheld.holds(path, *found)));
        self.known.more_held |= self.known.standing.rewrites.is_some() && scanned.work.len() < all;
        if self.known.standing.rewrites.is_some() || !self.watch.rewrites().is_on() {
            return None;
        }
        let everything = scanned.work.iter().any(|work| matches!(work, Work::Compare(dir) if dir.is_root()));
        if everything {
            // Where deletions may leave it has been weighed by now.
            if self.watch.invocation.options.delete && self.known.standing.held.is_none() {
                return None;
            }
            let end = self.weigh();
            if end.is_none() {
                self.planned_leaves();
            }
            return end;
        }
        let rewritten = self.rewritten_by(&scanned.work, &withheld);
        // What cannot be counted is looked at.
        let known = self.journal.known().unwrap_or(u64::MAX);
        let now = Instant::now();
        let look = {
            let mut brake = self.watch.rewrites();
            brake.wants_a_look(rewritten.len() as u64, known) || brake.holds(&rewritten, known, now).is_some()
        };
        if look && let Some(end) = self.weigh() {
            return Some(end);
        }
        self.watch.rewrites().left(&rewritten, now);
        None
    }

    /// What is renamed is known by its old name until the inventory has followed.
    pub(super) fn follow_renames(&self, work: &[Work]) {
        for work in work {
            if let (Work::Rename(from, to, _), Some(withheld)) = (work, &self.withheld) {
                withheld.renamed(from, to);
            }
        }
    }

    /// The files that the copy has otherwise and that this sends.
    fn rewritten_by(&self, work: &[Work], withheld: &Withheld) -> Vec<RelPath> {
        let mut rewritten = Vec::new();
        for work in work {
            match work {
                Work::File { path, found, .. } if withheld.is_rewrite(path, *found) => {
                    rewritten.push(path.clone());
                }
                Work::Rename(_, to, _) if withheld.has(to) => rewritten.push(to.clone()),
                Work::Compare(dir) => {
                    let rules = &self.watch.invocation.rules;
                    let findings = Findings::of(self.root, dir, rules, &self.journal, true);
                    rewritten.extend(findings.map(|findings| findings.rewritten).unwrap_or_default());
                }
                _ => {}
            }
        }
        rewritten.sort();
        rewritten.dedup();
        rewritten
    }
}
