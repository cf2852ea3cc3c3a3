//! Hold: whether deletions may leave, and what of the copy is left alone meanwhile. The guard and the brake say what
//! they found, the operator's decisions on plans say what is to be done about it; here both become the terms on which
//! the next stream is opened.
//!
//! While every deletion is held, a stream is opened without `--delete`. A path that is left alone (kept by a rejected
//! plan, hidden by a mount, or not to be read) is excluded on both ends by a rule of its own, so that the rest keeps
//! flowing, deletions included.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use driftless_proto::disk::{Identity, Root, Style};
use driftless_proto::limits;
use driftless_proto::model::filter::{RuleError, Rules};
use driftless_proto::model::path::RelPath;

use super::Watch;
use super::session::Continuity;
use crate::control::picture::HeldNow;
use crate::guard::survey::Findings;
use crate::guard::{self, Guard, Occasion, Verdict, mounts};
use crate::journal::{Item, Journal, Mounted, Note};
use crate::plan::{Kind, Plan, State};

/// Why a path is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apart {
    /// The operator wants the copy to keep it. Nothing stands there.
    Kept,
    /// A mount hides it.
    Hidden,
    /// It cannot be read.
    Unreadable,
}

impl Apart {
    fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept by a rejected plan",
            Self::Hidden => "hidden by a mount",
            Self::Unreadable => "cannot be read",
        }
    }
}

/// Paths left alone that a status names.
const SHOWN: usize = 100;

/// Why every deletion is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) reason: String,
    /// The plan that says so; none where there is nothing to decide.
    pub(super) plan: Option<String>,
    /// Whether the root itself is in doubt.
    pub(super) about_root: bool,
}

/// How deletions stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) held: Option<Held>,
    pub(super) apart: BTreeMap<RelPath, Apart>,
}

impl Standing {
    /// Whether a stream opened for one may serve the other.
    fn same_terms(&self, other: &Self) -> bool {
        self.held.is_some() == other.held.is_some() && self.apart.keys().eq(other.apart.keys())
    }

    /// Why this path is left alone, if it is.
    pub(super) fn apart(&self, path: &RelPath) -> Option<(&RelPath, Apart)> {
        let mut at = Some(path.clone());
        while let Some(dir) = at {
            if let Some((apart, why)) = self.apart.get_key_value(&dir) {
                return Some((apart, *why));
            }
            at = dir.parent();
        }
        None
    }

    /// The operator's rules behind one for each path that is left alone; `prefix` is where the source lies in the
    /// transfer.
    ///
    /// # Errors
    /// When there are more than one stream may bring.
    pub(super) fn rules(&self, rules: &Rules, prefix: &RelPath) -> Result<Rules, RuleError> {
        apart_rules(self.apart.keys(), rules, prefix)
    }
}

fn apart_rules<'a>(
    paths: impl Iterator<Item = &'a RelPath>,
    rules: &Rules,
    prefix: &RelPath,
) -> Result<Rules, RuleError> {
    let mut all = Rules::default();
    for path in paths {
        let path = prefix.join(path).unwrap_or_else(|_| path.clone());
        all.push_wire(&[b"- /", &*literal(path.as_bytes())].concat())?;
    }
    rules.iter().try_for_each(|rule| all.push_wire(rule))?;
    Ok(all)
}

/// A pattern that matches this path only. Without a wildcard in it a pattern is compared byte by byte.
fn literal(path: &[u8]) -> Vec<u8> {
    if !path.iter().any(|b| b"*?[".contains(b)) {
        return path.into();
    }
    path.iter().flat_map(|&b| if b"*?[\\".contains(&b) { vec![b'\\', b] } else { vec![b] }).collect()
}

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
        known.plans_seen = self.plans.stamp();
        known.weighed = Some(Instant::now());
        known.mounts = mounts::beneath(root).ok();
        let verdict = self.verdict(guard, journal, copy_is_empty, Occasion::Reconcile);
        let mut weighing = Weighing {
            watch: self,
            root,
            journal,
            plans: self.decided(),
            standing: Vec::new(),
            next: Standing::default(),
            rearm: false,
        };
        let outcome = weighing.run(guard, verdict, known);
        if let Err(why) = outcome {
            // What cannot be found out holds.
            weighing.next.held = Some(Held { reason: why, plan: None, about_root: false });
            weighing.standing.extend(weighing.plans.held.iter().map(|plan| plan.id.clone()));
        }
        weighing.drop_void();
        let Weighing { next, rearm, .. } = weighing;
        let changed = !next.same_terms(&known.standing);
        self.tell(&known.standing, &next);
        known.stale |= changed;
        known.standing = next;
        match (rearm, changed) {
            (true, _) => Weighed::Rearm,
            (_, true) => Weighed::Changed,
            _ => Weighed::AsBefore,
        }
    }

    fn decided(&self) -> Decided {
        let mut decided = Decided::default();
        match self.plans.of(&self.watched) {
            Ok(plans) => {
                for plan in plans {
                    match plan.state {
                        State::Held => decided.held.push(plan),
                        State::Approved => decided.approved.push(plan),
                        State::Rejected => decided.rejected.push(plan),
                    }
                }
            }
            Err(error) => self.status.problem(&error.to_string()),
        }
        decided
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
            let apart = now.apart.iter().take(SHOWN);
            picture.apart = apart.map(|(path, why)| (path.to_string(), why.words())).collect();
        });
    }

    /// The source is gone while nothing stands in its place: a plan for whatever comes there.
    pub(super) fn hold_gone(&self, why: &str) -> Option<String> {
        if !self.invocation.options.delete {
            return None;
        }
        let plans = self.plans.of(&self.watched).unwrap_or_default();
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
        for plan in &mut self.plans.rejected {
            let mine: Vec<&RelPath> =
                lifted.iter().filter(|(_, id)| *id == plan.id).map(|(path, _)| path).collect();
            if mine.is_empty() {
                continue;
            }
            plan.paths.retain(|(path, _)| !mine.contains(&path));
            findings.missing.retain(|path, entries| {
                let kept = mine.iter().any(|dir| path.is_within(dir));
                if kept {
                    plan.paths.push((path.clone(), *entries));
                    self.next.apart.insert(path.clone(), Apart::Kept);
                }
                !kept
            });
            plan.paths.sort();
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
        mut paths: Vec<(RelPath, u64)>,
    ) -> Held {
        paths.sort();
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

/// Names a source and a destination for plans and for the status.
pub(super) fn watched(source: &Path, address: &str, module: &[u8], path: &[u8]) -> crate::plan::Watched {
    use std::os::unix::ffi::OsStrExt;
    let slash = if path.is_empty() { "" } else { "/" };
    crate::plan::Watched {
        source: crate::plan::escape(source.as_os_str().as_bytes()),
        destination: format!(
            "{address}::{}{slash}{}",
            crate::plan::escape(module),
            crate::plan::escape(path)
        ),
    }
}
