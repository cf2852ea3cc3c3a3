//! Comparing: where do the trees differ, and what is to be asked for.

use std::sync::Arc;

use super::commit::Commit;
use super::land::{Job, Standing};
use super::look::{self, Ahead, Own};
use super::ticket::Ticket;
use super::{Comparison, Listed, Opening, Receiver};
use crate::disk::walk::{self, Summary};
use crate::disk::{Dir, apply};
use crate::disk::{ids::Names, reserved};
use crate::limits;
use crate::model::change::Action;
use crate::model::digest::Digest;
use crate::model::entry::{Entry, Kind};
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, Problem, ProblemClass};
use crate::model::tree::Seed;
use crate::transfer::link::Ended;
use crate::transfer::receiver::ask::Ask;
use crate::wire::message::{self, Listing, RequestId, Seq};

impl Receiver {
    pub(super) fn compare(
        &mut self,
        seq: Seq,
        dir: RelPath,
        entry: Option<Entry>,
        digest: Option<Digest>,
    ) -> Result<(), Ended> {
        if self.comparison.is_some() {
            return Err(Misbehaved::Unexpected("compare within compare").into());
        }
        self.context.admit(&dir, true)?;
        // What was sent before is part of what is compared.
        self.barrier()?;
        if self.context.live {
            self.read_errors = false;
        }
        self.comparison = Some(Comparison { seq, summary: None, failed: None });
        let entry = entry.map(|entry| self.context.localise(entry));
        let mut all = digest.is_none();
        let old = self.context.standing(&dir);
        self.untouched &= matches!((&entry, &old), (Some(entry), Some(old))
            if !self.context.terms.difference(entry, old).any());
        if dir.is_root() && entry.is_some() && self.context.created {
            self.context.count(|totals| totals.created.add(&Kind::Dir));
        }
        if !dir.is_root() {
            let entry = entry.ok_or(Misbehaved::Missing("entry"))?;
            match self.directory(&dir, &entry, old.as_ref())? {
                Made::Was => {}
                Made::New => all = true,
                Made::Not(problem) => {
                    self.comparison = Some(Comparison { seq, summary: None, failed: Some(problem) });
                    if digest.is_none() {
                        // What follows unasked is passed over.
                        self.opens.insert(0, Opening { dir, all });
                        return Ok(());
                    }
                    return self.settle_comparison();
                }
            }
        } else if let Some(entry) = entry {
            self.defer(&dir, entry, old.as_ref())?;
        }
        match digest {
            None => {
                self.context.set_first(!self.context.options.dry_run);
                self.opens.insert(0, Opening { dir, all: true });
                Ok(())
            }
            Some(_) if all => self.open(dir, true),
            Some(digest) => {
                let summary = match self.digested.take() {
                    Some((digested, summary)) if digested == dir => summary,
                    _ => self.summarise(&dir)?,
                };
                let equal = summary.digest == digest;
                if let Some(comparison) = &mut self.comparison {
                    comparison.summary = Some(summary);
                }
                if equal { self.settle_comparison() } else { self.open(dir, false) }
            }
        }
    }

    /// Digests the directory that the sender compares first, and tells.
    pub(super) fn tell_digest(&mut self, dir: RelPath) -> Result<(), Ended> {
        let context = Arc::clone(&self.context);
        context.admit(&dir, true)?;
        let Some(own) = context.standing(&dir) else { return Ok(()) };
        if !own.is_dir() {
            return Ok(());
        }
        let summary = self.summarise(&dir)?;
        let seed = Seed::new(&context.terms, context.rules.iter());
        let mut names = Names::new(context.terms.numeric_ids);
        let told = walk::with_own(&own, &summary.digest, &context.terms, seed, &mut names);
        self.digested = Some((dir, summary));
        self.untouched = true;
        context.ask(Ask::Digested(told));
        context.hand_asks();
        Ok(())
    }

    /// The sender digests a directory: so do we, meanwhile.
    pub(super) fn digesting(&mut self, dir: RelPath) -> Result<(), Ended> {
        if self.comparison.is_some() {
            return Err(Misbehaved::Unexpected("digesting within compare").into());
        }
        self.context.admit(&dir, true)?;
        // What was sent before is part of what is compared, the metadata of directories included.
        self.barrier()?;
        self.flush_deferred()?;
        self.barrier()?;
        // A directory that is not there is made when its compare comes.
        if self.context.standing(&dir).is_some_and(|own| own.is_dir()) {
            let summary = self.summarise(&dir)?;
            self.digested = Some((dir, summary));
        }
        Ok(())
    }

    /// Digests our side of the directory.
    fn summarise(&self, dir: &RelPath) -> Result<Summary, Ended> {
        let context = &self.context;
        let seed = Seed::new(&context.terms, context.rules.iter());
        let mut names = Names::new(context.terms.numeric_ids);
        // Many that watch may compare at once, after a restart of ours; and a restore must know late what it sets aside.
        let looks_again = context.live || context.options.keep_replaced;
        let keep = if looks_again { 0 } else { limits::LISTED_KEPT };
        walk::summarise(&context.root, dir, &context.terms, &context.rules, seed, &mut names, keep)
            .map_err(|e| Ended::fault(format!("read {dir}"), e))
    }

    fn open(&mut self, dir: RelPath, all: bool) -> Result<(), Ended> {
        self.untouched = false;
        let id = self.context.next_request();
        self.opens.insert(id, Opening { dir: dir.clone(), all });
        let summary = self.comparison.as_ref().and_then(|comparison| comparison.summary.as_ref());
        if !all && !summary.is_some_and(|summary| summary.kept.has(&dir)) {
            let ahead = self.ahead.get_or_insert_with(|| Ahead::start(self.context.root.clone()));
            ahead.look(id, dir.clone());
        }
        self.context.ask(Ask::Open { id, dir, all });
        Ok(())
    }

    pub(super) fn opened(&mut self, id: RequestId) -> Result<(), Ended> {
        if self.opens.remove(&id).is_none() {
            return Err(Misbehaved::AnswerToUnknown(id).into());
        }
        if id != 0 {
            self.context.ask(Ask::Opened);
        }
        self.current = None;
        self.settle_comparison()
    }

    /// Ends the comparison once everything asked for on its behalf has come and is durable.
    pub(super) fn settle_comparison(&mut self) -> Result<(), Ended> {
        if !self.comparison_is_settled() {
            return Ok(());
        }
        self.barrier()?;
        // A content that did not prove right is asked for again: then it is not over yet.
        if !self.comparison_is_settled() {
            return Ok(());
        }
        let Some(comparison) = self.comparison.take() else { return Ok(()) };
        self.made.clear();
        let ticket = Ticket::new(comparison.seq, 1);
        if let Some(problem) = comparison.failed {
            self.commit(Commit::GivenUp { problem, tickets: vec![ticket] })?;
        } else {
            self.deferred_tickets.push((None, ticket));
        }
        self.flush_deferred()?;
        if self.context.is_first() {
            // The directories belong to it: thousands of them, as a rule.
            self.barrier()?;
            self.context.set_first(false);
        }
        Ok(())
    }

    fn comparison_is_settled(&self) -> bool {
        self.comparison.is_some()
            && self.opens.is_empty()
            && self.streams.is_empty()
            && self.context.wants_are_empty()
    }

    /// Takes entries of a directory that was asked for.
    pub(super) fn listing(&mut self, listing: Listing) -> Result<(), Ended> {
        let Listing { seq, open, dir, entries, last, sound } = listing;
        let opening = self.opens.get(&open).ok_or(Misbehaved::AnswerToUnknown(open))?;
        let all = opening.all;
        if !(dir == opening.dir || all && dir.is_within(&opening.dir)) {
            return Err(Misbehaved::Unexpected("listing of another directory").into());
        }
        let contents = entries.iter().filter(|l| l.content.is_some()).count();
        // One part more than there are contents: the listing itself, so that an empty one is acknowledged too.
        let ticket = Ticket::new(seq, contents + 1);
        self.begin_listing(open, &dir, all)?;
        for entry in entries {
            self.listed(entry, all, &ticket)?;
        }
        if seq != 0 {
            self.commit(Commit::Ack { tickets: vec![ticket] })?;
        }
        if last {
            self.read_errors |= !sound;
            self.delete_left_over(&dir)?;
            self.current = None;
        }
        Ok(())
    }

    fn begin_listing(&mut self, open: RequestId, dir: &RelPath, all: bool) -> Result<(), Ended> {
        if self.current.as_ref().is_some_and(|c| c.open == open && c.dir == *dir) {
            return Ok(());
        }
        // Whatever the opening allowed: the sender names this directory, and everything in it lies beneath.
        self.context.admit(dir, true)?;
        let fresh = self.made.remove(dir);
        let nothing_here = fresh || all && self.context.options.dry_run;
        let own = if nothing_here { Ok(Own::new()) } else { self.own(open, dir, all) };
        let (own, unusable) = match own {
            Ok(own) => (own, None),
            Err(error) => {
                let problem = self.context.problem(dir, "open directory", &error);
                self.commit(Commit::Failed { problem: problem.clone(), tickets: Vec::new() })?;
                (Own::new(), Some(problem))
            }
        };
        self.current = Some(Listed { open, dir: dir.clone(), fresh, own, unusable });
        Ok(())
    }

    /// What stands in a directory of ours: as the digest was made of it, as it was listed ahead, or as it is.
    fn own(&mut self, open: RequestId, dir: &RelPath, all: bool) -> std::io::Result<Own> {
        let summary = self.comparison.as_mut().and_then(|comparison| comparison.summary.as_mut());
        if let Some(kept) = summary.and_then(|summary| summary.kept.take(dir)) {
            // It had no reserved names.
            return Ok(kept.collect());
        }
        if let (false, Some(before)) = (all, self.context.sweep) {
            // What cannot be swept now is met again.
            let _left = self.context.root.dir(dir).and_then(|dir| apply::sweep(&dir, before));
        }
        let listed = self.ahead.as_ref().and_then(|ahead| ahead.take(open));
        listed.unwrap_or_else(|| look::list(&self.context.root, dir))
    }

    /// What stands at this path changes by something else than what was asked for: see [`Ahead::forget`].
    pub(super) fn forget(&mut self, path: &RelPath) {
        if let Some(ahead) = &self.ahead {
            ahead.forget(path);
        }
        if let Some(summary) = self.comparison.as_mut().and_then(|comparison| comparison.summary.as_mut()) {
            summary.kept.forget(path);
        }
    }

    fn listed(&mut self, listed: message::Listed, all: bool, ticket: &Ticket) -> Result<(), Ended> {
        let message::Listed { path, entry, digest, content } = listed;
        self.context.admit_listed(&path, entry.is_dir())?;
        let entry = self.context.localise(entry);
        let Some(current) = &mut self.current else { return Ok(()) };
        let fresh = current.fresh;
        let own = current.own.remove(path.name());
        let tickets = if content.is_some() { vec![ticket.clone()] } else { Vec::new() };
        if let Some(problem) = current.unusable.clone() {
            return self.commit(Commit::GivenUp { problem, tickets });
        }
        if !self.context.terms.takes(&entry.kind) {
            if !entry.is_dir() {
                self.context.observer.left_out(&[path], 0);
            }
            return self.commit(Commit::Ack { tickets });
        }
        if self.context.options.dry_run && content.is_some() {
            return Err(Misbehaved::Unexpected("content in a dry run").into());
        }
        if entry.is_dir() {
            return self.listed_directory(path, &entry, own.as_ref(), digest, all);
        }
        match content {
            Some(content) if self.clear_the_way(&path, &entry, own.as_ref(), &tickets)? => {
                self.observe_whole(&path, content.bytes.len());
                self.landing.insert(&path);
                let standing = if fresh { Standing::Nothing } else { Standing::Unknown };
                self.job(self.lander_of(&path), Job::Whole { path, entry, content, standing, tickets })
            }
            Some(_) => Ok(()),
            // Its content comes by itself, or failed to.
            None if all && entry.is_file() && !self.context.options.dry_run => Ok(()),
            None => self.bring_by_digest(path, entry, digest, own, tickets),
        }
    }

    fn listed_directory(
        &mut self,
        path: RelPath,
        entry: &Entry,
        own: Option<&Entry>,
        digest: Option<Digest>,
        all: bool,
    ) -> Result<(), Ended> {
        let summary = self.comparison.as_ref().and_then(|c| c.summary.as_ref());
        let ours = summary.and_then(|s| s.dirs.get(&path));
        let equal = ours.is_some() && ours == digest.as_ref();
        let is_as_told = own.is_some_and(|own| !self.context.terms.difference(entry, own).any());
        if equal && is_as_told && !self.deferred.contains_key(&path) {
            // Most directories: nothing in it will be touched, so there is nothing to put afterwards.
            return Ok(());
        }
        let made = self.directory(&path, entry, own)?;
        match made {
            Made::Not(_) => Ok(()),
            Made::Was if all || equal => Ok(()),
            Made::New if all => Ok(()),
            made => self.open(path, made == Made::New),
        }
    }

    /// Sees to it that a directory stands at a path; its metadata follows once its content has landed.
    pub(super) fn directory(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        own: Option<&Entry>,
    ) -> Result<Made, Ended> {
        if own.is_some_and(|own| own.is_dir()) {
            self.defer(path, entry.clone(), own)?;
            return Ok(Made::Was);
        }
        if self.context.options.dry_run {
            self.commit(Commit::Made { path: path.clone(), kind: Kind::Dir, action: Action::Created })?;
            return Ok(Made::New);
        }
        if own.is_some() {
            // Something else has the name, perhaps with a change of it still under way.
            self.barrier()?;
        }
        let made = self.context.root.parent_of(path).and_then(|dir| {
            if own.is_some() {
                self.give_way(&dir, path)?;
            }
            apply::make_dir(&dir, path.name(), entry, &self.context.placement)
        });
        match made {
            Ok(created) => {
                self.touched_parent(path)?;
                if created {
                    let made = Commit::Made { path: path.clone(), kind: Kind::Dir, action: Action::Created };
                    self.commit(made)?;
                    if self.comparison.is_some() {
                        self.made.insert(path.clone());
                    }
                }
                self.defer(path, entry.clone(), own)?;
                Ok(if created { Made::New } else { Made::Was })
            }
            Err(error) => {
                let problem = self.context.problem(path, "make directory", &error);
                self.commit(Commit::Failed { problem: problem.clone(), tickets: Vec::new() })?;
                Ok(Made::Not(problem))
            }
        }
    }

    /// What is no directory makes way for one: a restore keeps it beside.
    fn give_way(&self, dir: &Dir, path: &RelPath) -> std::io::Result<()> {
        if !self.context.options.keep_replaced {
            return apply::remove(dir, path.name());
        }
        self.context.keep_aside(dir, path)
    }

    /// Puts off the metadata of a directory, whose ids are ours already. A dry run has nothing to put; one that looks at
    /// contents too, to tell all that differs, tells of these as well.
    fn defer(&mut self, path: &RelPath, entry: Entry, own: Option<&Entry>) -> Result<(), Ended> {
        if !self.context.options.dry_run {
            self.deferred.insert(path.clone(), entry);
            return Ok(());
        }
        let difference = own.map(|own| self.context.terms.difference(&entry, own));
        match difference.filter(|difference| self.context.terms.checksum && difference.any()) {
            Some(difference) => {
                let action = Action::Updated(difference);
                self.commit(Commit::Made { path: path.clone(), kind: Kind::Dir, action })
            }
            None => Ok(()),
        }
    }

    /// What is left of a directory after its listing is ours alone.
    fn delete_left_over(&mut self, dir: &RelPath) -> Result<(), Ended> {
        let Some(current) = self.current.take() else { return Ok(()) };
        if !self.context.may_delete() || current.unusable.is_some() || current.own.is_empty() {
            return Ok(());
        }
        if self.read_errors && !self.context.options.ignore_errors {
            if let (true, Some(comparison)) = (self.context.live, &mut self.comparison)
                && comparison.failed.is_none()
            {
                let text = "deletions skipped: not all of the source could be read".into();
                let problem = Problem { path: dir.clone(), text, class: ProblemClass::Path };
                comparison.failed = Some(problem.clone());
                return self.commit(Commit::Failed { problem, tickets: Vec::new() });
            }
            return Ok(());
        }
        let mut names: Vec<_> = current.own.into_iter().collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, entry) in names {
            let Ok(path) = dir.child(&name) else { continue };
            let is_dir = entry.is_dir();
            if !self.context.rules.excludes(&path, is_dir) && !reserved::is_reserved(&name) {
                self.delete(path, &entry, Vec::new())?;
            }
        }
        Ok(())
    }
}

/// What came of making a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// It was there.
    Was,
    /// It is new.
    New,
    /// It could not be made, which has been told.
    Not(Problem),
}
