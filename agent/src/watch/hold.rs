//! Hold: whether deletions may leave, and what of the copy is left alone meanwhile. The guard and the brake say what
//! they found, the operator's decisions on plans say what is to be done about it; here both become the terms on which
//! the next stream is opened.
//!
//! While every deletion is held, a stream is opened without `--delete`. A path that is left alone (kept by a rejected
//! plan, hidden by a mount, or not to be read) is excluded on both ends by a rule of its own, so that the rest keeps
//! flowing, deletions included.

use std::time::Instant;

use driftless_proto::disk::{Identity, Root, Style};
use driftless_proto::limits;
use driftless_proto::model::path::RelPath;

use super::Watch;
use super::session::Continuity;
use super::standing::apart_rules;
pub(super) use super::standing::{Apart, Held, Standing};
use crate::control::picture::HeldNow;
use crate::guard::survey::Findings;
use crate::guard::{self, Guard, Occasion, Verdict, mounts};
use crate::journal::{Item, Journal, Mounted, Note};
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
struct Decided {
    held: Vec<Plan>,
    approved: Vec<Plan>,
    rejected: Vec<Plan>,
}

/// One weighing.
struct Weighing<'a, 'w> {
    watch: &'a Watch<'w>,
    root: &'a Root,
    journal: &'a Journal,
    plans: Decided,
    /// Held plans that still stand.
    standing: Vec<String>,
    next: Standing,
    rearm: bool,
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
        if !self.invocation.options.delete {
            return Weighed::AsBefore;
        }
        if let Some(why) = guard.lost() {
            return Weighed::RootGone(why);
        }
        let read = self.plans.stamp();
        known.weighed = Some(Instant::now());
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
            decisions: Vec::new(),
        };
        let decided = self.decided().map(|plans| {
            let made = plans.approved.iter().chain(&plans.rejected);
            weighing.decisions = made.map(|plan| (plan.id.clone(), plan.state)).collect();
            weighing.plans = plans;
        });
        if decided.is_err() {
            // What is left alone stays so.
            weighing.next.apart.clone_from(&known.standing.apart);
        }
        if let Err(why) = decided.and_then(|()| weighing.run(guard, verdict, known)) {
            // What cannot be found out holds.
            weighing.next.held = Some(Held { reason: why, plan: None, about_root: false });
            weighing.standing.extend(weighing.plans.held.iter().map(|plan| plan.id.clone()));
        }
        weighing.drop_void();
        let Weighing { next, rearm, decisions, .. } = weighing;
        known.plans_seen = self.seen_since(read, &decisions);
        let changed = !next.same_terms(&known.standing);
        if changed {
            // Before it is told: until the comparison on the next stream nothing is as it says.
            self.desk.leave(|state| state.waits.compare_again());
        }
        self.tell(&known.standing, &next);
        known.stale |= changed;
        known.standing = next;
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
        let mut lifted: Vec<&RelPath> =
            before.apart.keys().filter(|path| !now.apart.contains_key(*path)).collect();
        lifted.truncate(10);
        for path in lifted {
            self.status.log(&format!("{path}: is no longer left alone"));
        }
        self.picture(|picture| {
            let held = |held: &Held| HeldNow { reason: held.reason.clone(), plan: held.plan.clone() };
            picture.held = now.held.as_ref().map(held);
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

    fn save(&self, plan: &Plan) -> bool {
        let saved = self.plans.save(plan);
        if let Err(error) = &saved {
            self.status.problem(&error.to_string());
        }
        saved.is_ok()
    }

    /// Everything that was approved before the last comparison has been carried out: those plans are done with.
    pub(super) fn carried_out(&self, approved: Vec<Plan>) {
        for plan in approved {
            self.brake().forget();
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
        let mut findings = self.survey(known)?;
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

    /// Surveys the source, leaving alone what the copy is to keep, and notes what else is to be left alone.
    fn survey(&mut self, known: &Continuity) -> Result<Findings, String> {
        let mut lifted = Vec::new();
        for plan in self.plans.rejected.iter().filter(|plan| plan.kind != Kind::Mount) {
            // It names nothing because nothing was known, or too much to be named: the copy keeps everything.
            if plan.root.is_some() && plan.paths.is_empty() || plan.covers(&RelPath::root()) {
                return Err(format!(
                    "plan {} was rejected: the copy keeps everything until it is approved",
                    plan.id
                ));
            }
            for (path, _) in &plan.paths {
                if self.root.found(path).is_ok() {
                    lifted.push((path.clone(), plan.id.clone()));
                } else {
                    self.next.apart.insert(path.clone(), Apart::Kept);
                }
            }
        }
        let mut findings = self.look()?;
        if self.accept_mounts(&findings)? {
            self.rearm = true;
            findings = self.look()?;
        }
        self.keep_what_is_beneath(&lifted, &mut findings);
        self.hidden(&findings, &known.standing);
        for (path, error) in &findings.unreadable {
            if known.standing.apart.get(path) != Some(&Apart::Unreadable) {
                self.watch.status.problem(&format!("{path}: {error}; what the copy has there is left alone"));
            }
            self.next.apart.insert(path.clone(), Apart::Unreadable);
        }
        if self.next.rules(&self.watch.invocation.rules, &self.watch.prefix).is_err() {
            return Err(format!(
                "more paths are left alone than a stream can name ({}); approve a rejected plan to have fewer",
                limits::RULES_MAX
            ));
        }
        Ok(findings)
    }

    fn look(&self) -> Result<Findings, String> {
        // Paths of the source, so without the prefix.
        let rules = apart_rules(self.next.apart.keys(), &self.watch.invocation.rules, &RelPath::root());
        let rules = rules.unwrap_or_else(|_| self.watch.invocation.rules.clone());
        Findings::of(self.root, &RelPath::root(), &rules, self.journal)
            .map_err(|error| format!("{} cannot be looked through: {error}", self.watch.source.display()))
    }

    /// Paths of rejected plans that stand in the source again are no longer kept. Of a directory what it still lacks
    /// is.
    fn keep_what_is_beneath(&mut self, lifted: &[(RelPath, String)], findings: &mut Findings) {
        let unreadable = findings.unreadable.iter().map(|(path, _)| path);
        let blind: Vec<RelPath> =
            findings.hidden.iter().map(|(path, _)| path).chain(unreadable).cloned().collect();
        for plan in &mut self.plans.rejected {
            let mine: Vec<&RelPath> =
                lifted.iter().filter(|(_, id)| *id == plan.id).map(|(path, _)| path).collect();
            if mine.is_empty() {
                continue;
            }
            // What cannot be seen may lack anything: that stays kept until it can.
            let unseen = |path: &RelPath| blind.iter().any(|blind| path.is_within(blind));
            plan.paths.retain(|(path, _)| !mine.contains(&path) || unseen(path));
            for path in blind.iter().filter(|path| mine.iter().any(|dir| path.is_within(dir) && path != dir))
            {
                plan.paths.push((path.clone(), self.journal.known_within(path).unwrap_or(1).max(1)));
            }
            findings.missing.retain(|path, entries| {
                let kept = mine.iter().any(|dir| path.is_within(dir));
                if kept {
                    plan.paths.push((path.clone(), *entries));
                    self.next.apart.insert(path.clone(), Apart::Kept);
                }
                !kept
            });
            plan.paths.sort();
            plan.paths.dedup_by(|a, b| a.0 == b.0);
            if plan.paths.is_empty() {
                let _gone = self.watch.plans.drop_plan(&plan.id, Some(State::Rejected));
            } else {
                self.watch.save(plan);
            }
        }
    }

    /// Mounts that were approved are from now on what the source has there. Returns whether there was one.
    fn accept_mounts(&self, findings: &Findings) -> Result<bool, String> {
        let approved = |path: &RelPath| {
            self.plans.approved.iter().any(|plan| plan.kind == Kind::Mount && plan.covers(path))
        };
        let top = RelPath::root();
        let mut notes = Vec::new();
        for (path, _) in findings.hidden.iter().filter(|(path, _)| approved(path)) {
            let look = || {
                let mounted = Mounted::new(&self.root.found(&top)?, self.root.inode(&top)?);
                Ok::<_, std::io::Error>(Item::new(&self.root.found(path)?, self.root.inode(path)?, &mounted))
            };
            notes.push(Note::Seen(path.clone(), look().map_err(|error| format!("{path}: {error}"))?));
        }
        self.journal.take(&notes).map_err(|error| error.to_string())?;
        Ok(!notes.is_empty())
    }

    /// What mounts hide is left alone, and held by a plan of its own unless one has been rejected for it.
    fn hidden(&mut self, findings: &Findings, before: &Standing) {
        let rejected = |path: &RelPath| {
            self.plans.rejected.iter().any(|plan| plan.kind == Kind::Mount && plan.covers(path))
        };
        let undecided: Vec<_> = findings.hidden.iter().filter(|(path, _)| !rejected(path)).cloned().collect();
        for plan in self.plans.rejected.iter().filter(|plan| plan.kind == Kind::Mount) {
            if !findings.hidden.iter().any(|(path, _)| plan.covers(path)) {
                let _gone = self.watch.plans.drop_plan(&plan.id, Some(State::Rejected));
            }
        }
        self.next.apart.extend(findings.hidden.iter().map(|(path, _)| (path.clone(), Apart::Hidden)));
        let Some((first, why)) = undecided.first() else { return };
        let more = match undecided.len() {
            1 => String::new(),
            n => format!(", and {} more", n - 1),
        };
        let paths = undecided
            .iter()
            .map(|(path, _)| (path.clone(), self.journal.known_within(path).unwrap_or(1).max(1)))
            .collect();
        let fresh = undecided.iter().any(|(path, _)| before.apart.get(path) != Some(&Apart::Hidden));
        let held = self.hold(Kind::Mount, format!("{first}: {why}{more}"), None, paths);
        if fresh {
            self.watch.status.problem(&format!(
                "{}; what the copy has there is left alone{}",
                held.reason,
                hint(held.plan.as_deref())
            ));
        }
    }

    /// The plan for what is held: the one there is, if it holds the same, or a new one.
    fn hold(
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
