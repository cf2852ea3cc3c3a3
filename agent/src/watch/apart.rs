//! Apart: what of the copy is left alone while the rest flows: what rejected plans keep, what mounts hide, and what cannot
//! be read.

use driftless_proto::limits;
use driftless_proto::model::path::RelPath;

use super::hold::{Weighing, hint};
use super::session::Continuity;
use super::standing::{Apart, Standing, apart_rules};
use crate::guard::survey::Findings;
use crate::journal::{Item, Mounted, Note};
use crate::plan::{Kind, State};

impl Weighing<'_, '_> {
    /// Surveys the source, leaving alone what the copy is to keep, and notes what else is to be left alone.
    pub(super) fn survey(&mut self, known: &Continuity) -> Result<Findings, String> {
        let mut lifted = Vec::new();
        for plan in self.plans.rejected.iter().filter(|plan| plan.kind.is_of_deletions()) {
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

    pub(super) fn look(&self) -> Result<Findings, String> {
        // Paths of the source, so without the prefix.
        let rules = apart_rules(self.next.apart.keys(), &self.watch.invocation.rules, &RelPath::root());
        let rules = rules.unwrap_or_else(|_| self.watch.invocation.rules.clone());
        Findings::of(
            self.root,
            &RelPath::root(),
            &rules,
            self.journal,
            self.watch.rewrites().is_on() || !self.rewrites.is_empty(),
        )
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
}
