//! Hold: whether deletions may leave, and what of the copy is left alone meanwhile. The guard and the brake say what
//! they found, the operator's decisions on plans say what is to be done about it; here both become the terms on which
//! the next stream is opened.
//!
//! While every deletion is held, a stream is opened without `--delete`. A path that is left alone (kept by a rejected
//! plan, hidden by a mount, or not to be read) is excluded on both ends by a rule of its own, so that the rest keeps
//! flowing, deletions included.

use std::time::Instant;

use driftless_proto::disk::{Identity, Root, Style};
use driftless_proto::model::path::RelPath;

use super::Watch;
use super::session::Continuity;
pub(super) use super::standing::{Apart, Held, Standing};
use super::withheld::Decisions;
use crate::control::picture::HeldNow;
use crate::guard::{self, Guard, Occasion, Verdict, mounts};
use crate::journal::Journal;
use crate::plan::store::Stamp;
use crate::plan::{Kind, Plan, State, listed};

/// What came of weighing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Weighed {
    /// The stream that is open, if any, will do.
    AsBefore,
    /// It was opened for other terms.
    Changed,
    /// The root that is held is no longer the source: watch the one that is.
    RootGone(String),
    /// A mount was approved: what lies in it is to be watched.
    Rearm,
}

/// The plans of a watch, by what was decided.
#[derive(Default)]
pub(super) struct Decided {
    held: Vec<Plan>,
    pub(super) approved: Vec<Plan>,
    pub(super) rejected: Vec<Plan>,
}

/// One weighing.
pub(super) struct Weighing<'a, 'w> {
    pub(super) watch: &'a Watch<'w>,
    pub(super) root: &'a Root,
    pub(super) journal: &'a Journal,
    pub(super) plans: Decided,
    /// Held plans that still stand.
    standing: Vec<String>,
    pub(super) next: Standing,
    pub(super) rearm: bool,
    /// What was decided about rewrites.
    pub(super) rewrites: Decisions,
    /// What the operator had decided when the plans were read.
    decisions: Vec<(String, State)>,
}

impl Watch<'_> {
    /// Finds out how deletions stand now, and what the next comparison would delete. The source is walked with stat.
    pub(super) fn weigh(
        &self,
        root: &Root,
        guard: &Guard,
        journal: &Journal,
        copy_is_empty: bool,
        known: &mut Continuity,
    ) -> Weighed {
        if !self.invocation.options.delete && !self.weighs_rewrites() {
            return Weighed::AsBefore;
        }
        if let Some(why) = guard.lost() {
            return Weighed::RootGone(why);
        }
        let read = self.plans.stamp();
        let begun = Instant::now();
        known.weighed = Some(begun);
        known.more_held = false;
        known.mounts = mounts::beneath(root).ok();
        let verdict = self.verdict(guard, journal, copy_is_empty, Occasion::Reconcile);
        let mut weighing = Weighing {
            watch: self,
            root,
            journal,
            plans: Decided::default(),
            standing: Vec::new(),
            next: Standing::default(),
            rearm: false,
            rewrites: Decisions::default(),
            decisions: Vec::new(),
        };
        let decided = self.decided().map(|plans| {
            let made = plans.approved.iter().chain(&plans.rejected);
            weighing.decisions = made.map(|plan| (plan.id.clone(), plan.state)).collect();
            weighing.plans = plans;
        });
        let unread = decided.is_err();
        if unread {
            // What is left alone stays so.
            weighing.next.apart.clone_from(&known.standing.apart);
            weighing.rewrites.unknown = true;
        } else {
            weighing.take_rewrites();
        }
        if let Err(why) = decided.and_then(|()| weighing.run(guard, verdict, known)) {
            // What cannot be found out holds.
            let held = Held { reason: why, plan: None, about_root: false };
            weighing.next.rewrites = self.rewrites().is_on().then(|| held.clone());
            weighing.next.held = self.invocation.options.delete.then_some(held);
            weighing.standing.extend(weighing.plans.held.iter().map(|plan| plan.id.clone()));
        }
        weighing.drop_void();
        let Weighing { next, rearm, decisions, rewrites, standing, .. } = weighing;
        known.decidable = unread || !standing.is_empty() || !decisions.is_empty();
        known.plans_seen = self.seen_since(read, &decisions);
        let changed = !next.same_terms(&known.standing) || rewrites.is_news_to(&known.rewrites);
        known.rewrites = rewrites;
        if changed {
            // Before it is told: until the comparison on the next stream nothing is as it says.
            self.desk.leave(|state| state.waits.compare_again());
        }
        self.tell(&known.standing, &next);
        known.stale |= changed;
        known.standing = next;
        known.weighing = begun.elapsed();
        match (rearm, changed) {
            (true, _) => Weighed::Rearm,
            (_, true) => Weighed::Changed,
            _ => Weighed::AsBefore,
        }
    }

    /// The folder of plans as a weighing has left it, which is no reason for the next one; or as it was read, if the
    /// operator has decided something since.
    fn seen_since(&self, read: Stamp, decisions: &[(String, State)]) -> Stamp {
        let now = self.plans.stamp();
        let known = |plan: &Plan| {
            plan.state == State::Held
                || decisions.iter().any(|(id, state)| (id, state) == (&plan.id, &plan.state))
        };
        let nothing_new =
            now == read || self.plans.of(&self.watched).is_ok_and(|plans| plans.iter().all(known));
        if nothing_new { now } else { read }
    }

    /// Fails when a plan cannot be read: it may be a rejected one, and what the copy keeps by it would go.
    fn decided(&self) -> Result<Decided, String> {
        let mut decided = Decided::default();
        for plan in self.plans.of(&self.watched).map_err(|error| error.to_string())? {
            match plan.state {
                State::Held => decided.held.push(plan),
                State::Approved => decided.approved.push(plan),
                State::Rejected => decided.rejected.push(plan),
            }
        }
        Ok(decided)
    }

    /// Says what has changed for the operator.
    fn tell(&self, before: &Standing, now: &Standing) {
        match (&before.held, &now.held) {
            (was, Some(held)) if was.as_ref() != Some(held) => {
                self.status.problem(&format!(
                    "deletions are held: {}{}",
                    held.reason,
                    hint(held.plan.as_deref())
                ));
            }
            (Some(_), None) => self.status.log("deletions are no longer held"),
            _ => {}
        }
        match (&before.rewrites, &now.rewrites) {
            (was, Some(held)) if was.as_ref() != Some(held) => {
                self.status.problem(&format!(
                    "rewrites are held: {}{}",
                    held.reason,
                    hint(held.plan.as_deref())
                ));
            }
            (Some(_), None) => self.status.log("rewrites are no longer held"),
            _ => {}
        }
        let mut lifted: Vec<&RelPath> =
            before.apart.keys().filter(|path| !now.apart.contains_key(*path)).collect();
        lifted.truncate(10);
        for path in lifted {
            self.status.log(&format!("{path}: is no longer left alone"));
        }
        self.picture(|picture| {
            let held = |held: &Held| HeldNow { reason: held.reason.clone(), plan: held.plan.clone() };
            picture.held = now.held.as_ref().map(held);
            picture.held_rewrites = now.rewrites.as_ref().map(held);
            picture.apart = now.apart.iter().map(|(path, why)| (path.clone(), why.words())).collect();
        });
    }

    /// The source is gone while nothing stands in its place: a plan for whatever comes there.
    pub(super) fn hold_gone(&self, why: &str) -> Option<String> {
        if !self.invocation.options.delete {
            return None;
        }
        let plan = self.plan_for_none(why);
        self.picture(|picture| picture.held = Some(HeldNow { reason: why.into(), plan: plan.clone() }));
        plan
    }

    fn plan_for_none(&self, why: &str) -> Option<String> {
        let plans = self.plans.of(&self.watched);
        let plans = plans.map_err(|error| self.status.problem(&error.to_string())).ok()?;
        let gone = |plan: &&Plan| plan.kind == Kind::Root && plan.root.is_none();
        if let Some(plan) = plans.iter().find(gone) {
            return (plan.state == State::Held).then(|| plan.id.clone());
        }
        let plan = Plan::new(&self.watched, Kind::Root, why, Vec::new()).ok()?;
        self.save(&plan).then_some(plan.id)
    }

    pub(super) fn save(&self, plan: &Plan) -> bool {
        let saved = self.plans.save(plan);
        if let Err(error) = &saved {
            self.status.problem(&error.to_string());
        }
        saved.is_ok()
    }

    /// Everything that was approved before the last comparison has been carried out: those plans are done with.
    pub(super) fn carried_out(&self, approved: Vec<Plan>) {
        for plan in approved {
            match plan.kind {
                Kind::Rewrites => self.rewrites().forget(),
                _ => self.brake().forget(),
            }
            match self.plans.drop_plan(&plan.id, Some(State::Approved)) {
                Ok(_) => self.status.log(&format!("plan {} was carried out", plan.id)),
                Err(error) => self.status.problem(&error.to_string()),
            }
        }
    }
}

/// How to decide on a plan, as the end of a message.
pub(super) fn hint(plan: Option<&str>) -> String {
    plan.map_or_else(String::new, |id| {
        format!("; plan {id}, to let them go: driftless plan approve {id} (or reject, to keep the copy's)")
    })
}

impl Weighing<'_, '_> {
    fn run(&mut self, guard: &Guard, verdict: Verdict, known: &mut Continuity) -> Result<(), String> {
        let named = Root::open(&self.watch.source, Style::default()).and_then(|root| root.identity()).ok();
        let about_root = |plan: &Plan| {
            let same = |a: &Identity| named.as_ref().is_some_and(|b| guard::same(a, b));
            plan.kind == Kind::Root && plan.root.as_ref().is_none_or(same)
        };
        // What was decided about another directory is of no use for this one.
        let other_root = |plan: &Plan| plan.kind == Kind::Root && !about_root(plan);
        self.plans.approved.retain(|plan| !other_root(plan));
        let agreed = self.plans.approved.iter().any(about_root)
            || self.plans.rejected.iter().any(|plan| about_root(plan) && plan.root.is_some());
        let anything = self.plans.approved.iter().any(|plan| about_root(plan) && plan.root.is_none());
        if !self.watch.invocation.options.delete {
            let findings = self.look()?;
            return self.weigh_rewrites(findings.rewritten, known);
        }
        let mut findings = self.survey(known)?;
        self.weigh_rewrites(std::mem::take(&mut findings.rewritten), known)?;
        known.missing.clone_from(&findings.missing);
        let covered = |path: &RelPath| self.plans.approved.iter().any(|plan| plan.covers(path));
        findings.missing.retain(|path, _| !anything && !covered(path));
        if let Verdict::Hold(reason) = verdict {
            // A decision on an emptied root is about what was missing then.
            if !agreed || guard.is_empty() && !findings.missing.is_empty() {
                let paths = findings.missing.iter().map(|(path, entries)| (path.clone(), *entries)).collect();
                self.next.held = Some(self.hold(Kind::Root, reason, named, paths));
                return Ok(());
            }
            self.watch.note(guard.adopt(self.journal));
        }
        let entries = findings.entries();
        let whole = self.journal.known().map_err(|error| error.to_string())?;
        let over = self.watch.brake().holds(entries, whole, Instant::now());
        if let Some(reason) = over {
            let paths = findings.missing.iter().map(|(path, entries)| (path.clone(), *entries)).collect();
            self.next.held = Some(self.hold(Kind::Deletions, reason, None, paths));
        }
        self.watch.brake().looked();
        known.planned = entries;
        known.approved = std::mem::take(&mut self.plans.approved);
        // A rename would take what is left alone along.
        findings.gone.retain(|_, (path, _)| !self.next.is_apart_within(path));
        known.gone =
            if self.next.held.is_none() && findings.fresh > 0 { findings.gone } else { Default::default() };
        Ok(())
    }

    /// The plan for what is held: the one there is, if it holds the same, or a new one.
    pub(super) fn hold(
        &mut self,
        kind: Kind,
        reason: String,
        root: Option<Identity>,
        paths: Vec<(RelPath, u64)>,
    ) -> Held {
        // As it would lie on disk: a plan that is cut short there is to be known again.
        let paths = listed(paths);
        let same = |plan: &&Plan| plan.kind == kind && plan.root == root && plan.paths == paths;
        if let Some(plan) = self.plans.held.iter().find(same) {
            self.standing.push(plan.id.clone());
            let about_root = kind == Kind::Root;
            return Held { reason: plan.reason.clone(), plan: Some(plan.id.clone()), about_root };
        }
        let plan = Plan::new(&self.watch.watched, kind, reason.clone(), paths);
        let plan = plan.ok().map(|plan| Plan { root, ..plan }).filter(|plan| self.watch.save(plan));
        let id = plan.map(|plan| plan.id);
        self.standing.extend(id.clone());
        Held { reason, plan: id, about_root: kind == Kind::Root }
    }

    /// Held plans whose reason is gone, or that were replaced because they would hold something else by now.
    fn drop_void(&self) {
        // There is a root again.
        for plan in self.plans.rejected.iter().filter(|plan| plan.kind == Kind::Root && plan.root.is_none()) {
            let _gone = self.watch.plans.drop_plan(&plan.id, Some(State::Rejected));
        }
        for plan in self.plans.held.iter().filter(|plan| !self.standing.contains(&plan.id)) {
            match self.watch.plans.drop_plan(&plan.id, Some(State::Held)) {
                Ok(true) => self.watch.status.log(&format!("plan {} is void", plan.id)),
                Ok(false) => {}
                Err(error) => self.watch.status.problem(&error.to_string()),
            }
        }
    }
}
