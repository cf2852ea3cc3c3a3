//! Changes of single paths: brought because a listing showed them, or told by a sender that watches.

use super::Receiver;
use super::commit::Commit;
use super::compare::Made;
use super::context::Told;
use super::land::{BasisFrom, Job, Standing};
use super::ticket::Ticket;
use crate::disk::Root;
use crate::disk::apply;
use crate::disk::walk;
use crate::model::change::Action;
use crate::model::digest::Digest;
use crate::model::entry::{Entry, Kind};
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, Problem, ProblemClass};
use crate::transfer::link::Ended;
use crate::wire::message::{Content, Put, RequestId, Seq};

/// Why a directory is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    /// What replaces it is told of; as in rsync(1), it is not told of itself, nor counted.
    MakesWay,
    /// The sender has nothing there.
    ForGood,
}

impl Receiver {
    /// Brings what stands at a path to what the sender has; contents are asked for.
    pub(super) fn bring(
        &mut self,
        path: RelPath,
        entry: Entry,
        own: Option<Entry>,
        tickets: Vec<Ticket>,
    ) -> Result<(), Ended> {
        let difference = own.as_ref().map(|own| self.context.terms.difference(&entry, own));
        match difference {
            Some(difference) if !difference.any() => self.pass(&path, Commit::Ack { tickets }),
            Some(difference) if !difference.kind && !difference.content => {
                if self.context.options.dry_run {
                    let action = Action::Updated(difference);
                    self.commit(Commit::Made { path, kind: entry.kind, action })?;
                    return self.commit(Commit::Ack { tickets });
                }
                let commit = Commit::Describe { path: path.clone(), entry, difference, tickets };
                self.pass(&path, commit)
            }
            _ => {
                if !self.clear_the_way(&path, &entry, own.as_ref(), &tickets)? {
                    return Ok(());
                }
                if self.context.options.dry_run {
                    self.would_bring(path, &entry, own.as_ref())?;
                    return self.commit(Commit::Ack { tickets });
                }
                if let Kind::File { size } = entry.kind {
                    // Other times alone do not make another content; another length does.
                    let told = match &own {
                        Some(own) if own.size() == size => Told::Best,
                        _ => Told::Differs,
                    };
                    self.context.want(path, size, told, tickets);
                    return Ok(());
                }
                let old = own.filter(|own| !own.is_dir());
                let commit = Commit::Node { path: path.clone(), entry, old, tickets };
                self.pass(&path, commit)
            }
        }
    }

    fn would_bring(&mut self, path: RelPath, entry: &Entry, own: Option<&Entry>) -> Result<(), Ended> {
        let action = match own {
            None => Action::Created,
            Some(own) => Action::Updated(self.context.terms.difference(entry, own)),
        };
        self.context.count(|totals| {
            totals.transferred_files += u64::from(entry.is_file());
            totals.transferred_bytes += entry.size();
        });
        self.commit(Commit::Made { path, kind: entry.kind.clone(), action })
    }

    /// Removes a directory that stands where something else is to be. An empty one goes; one with content only under
    /// `--delete`, as in rsync(1). Returns whether the way is clear.
    pub(super) fn clear_the_way(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        own: Option<&Entry>,
        tickets: &[Ticket],
    ) -> Result<bool, Ended> {
        if entry.is_dir() || !own.is_some_and(Entry::is_dir) {
            return Ok(true);
        }
        if self.context.options.dry_run {
            // Only what would be removed with it makes way, and without --delete nothing is.
            let mut gone = Vec::new();
            let all = self.list_below(&self.context.root, path, &mut gone);
            if !all || !gone.is_empty() && !self.context.may_delete() {
                self.in_the_way(path, tickets)?;
                return Ok(false);
            }
            for (path, kind) in gone {
                self.commit(Commit::Made { path, kind, action: Action::Removed })?;
            }
            return Ok(true);
        }
        self.barrier()?;
        if self.context.may_delete() {
            self.delete_dir(path.clone(), Going::MakesWay, Vec::new())?;
        } else {
            // rmdir(2) takes an empty one only.
            let protect = &mut |_: &[u8], _: bool| true;
            let _kept = self
                .context
                .root
                .parent_of(path)
                .and_then(|dir| apply::remove_tree(&dir, path.name(), protect, &mut |_, _| {}));
        }
        if self.context.root.found(path).is_ok() {
            self.in_the_way(path, tickets)?;
            return Ok(false);
        }
        Ok(true)
    }

    fn in_the_way(&mut self, path: &RelPath, tickets: &[Ticket]) -> Result<(), Ended> {
        let problem = Problem {
            path: path.clone(),
            text: "a directory with content is in the way".into(),
            class: ProblemClass::Path,
        };
        self.commit(Commit::Failed { problem, tickets: tickets.to_vec() })
    }

    /// Removes what stands at a path, excluded names and what holds them excepted.
    pub(super) fn delete(&mut self, path: RelPath, own: &Entry, tickets: Vec<Ticket>) -> Result<(), Ended> {
        if self.context.options.dry_run {
            self.would_delete(&path, own)?;
            return self.commit(Commit::Ack { tickets });
        }
        if !own.is_dir() {
            let kind = own.kind.clone();
            return self.pass(&path, Commit::Remove { path: path.clone(), kind, tickets });
        }
        self.delete_dir(path, Going::ForGood, tickets)
    }

    fn delete_dir(&mut self, path: RelPath, going: Going, tickets: Vec<Ticket>) -> Result<(), Ended> {
        self.barrier()?;
        self.deferred.retain(|dir, _| !dir.is_within(&path));
        let mut removed = Vec::new();
        let rules = &self.context.rules;
        let below = |name: &[u8]| RelPath::parse(name).and_then(|name| path.join(&name));
        let outcome = self.context.root.parent_of(&path).and_then(|dir| {
            apply::remove_tree(
                &dir,
                path.name(),
                &mut |name, is_dir| below(name).is_ok_and(|path| rules.excludes(&path, is_dir)),
                &mut |name, kind| {
                    if name.is_empty() && going == Going::MakesWay {
                        return;
                    }
                    let gone = if name.is_empty() { Ok(path.clone()) } else { below(name) };
                    removed.extend(gone.map(|gone| (gone, kind.clone())));
                },
            )
        });
        for (path, kind) in removed {
            self.commit(Commit::Made { path, kind, action: Action::Removed })?;
        }
        self.touched_parent(&path)?;
        let problem = match outcome {
            Ok(_) => return self.commit(Commit::Ack { tickets }),
            Err(error) => self.context.problem(&path, "remove", &error),
        };
        self.commit(Commit::Failed { problem, tickets })
    }

    fn would_delete(&mut self, path: &RelPath, own: &Entry) -> Result<(), Ended> {
        let mut gone = Vec::new();
        if !own.is_dir() || self.list_below(&self.context.root, path, &mut gone) {
            gone.push((path.clone(), own.kind.clone()));
        }
        for (path, kind) in gone {
            self.commit(Commit::Made { path, kind, action: Action::Removed })?;
        }
        Ok(())
    }

    /// Everything beneath a directory that a deletion would take, deepest first. Returns whether that is all of it: what
    /// is excluded stays, and so does each directory that holds it.
    fn list_below(&self, root: &Root, dir: &RelPath, gone: &mut Vec<(RelPath, Kind)>) -> bool {
        let Ok(listing) = root.dir(dir).and_then(|dir| walk::list(&dir)) else { return false };
        let mut all = true;
        for listed in listing.entries {
            let Ok(path) = dir.child(&listed.name) else { continue };
            let is_dir = listed.found.entry.is_dir();
            let goes = !self.context.rules.excludes(&path, is_dir)
                && (!is_dir || self.list_below(root, &path, gone));
            all &= goes;
            if goes {
                gone.push((path, listed.found.entry.kind));
            }
        }
        all
    }

    pub(super) fn touched_parent(&mut self, path: &RelPath) -> Result<(), Ended> {
        self.commit(Commit::Touched(path.parent().unwrap_or_else(RelPath::root)))
    }

    // === What a sender tells by itself ===

    /// This stands here now.
    pub(super) fn put(&mut self, put: Put) -> Result<(), Ended> {
        let Put { seq, want, mut path, entry, content } = put;
        let mut tickets = vec![Ticket::new(seq, 1)];
        if self.context.options.dry_run && !matches!(content, Content::None) {
            return Err(Misbehaved::Unexpected("content in a dry run").into());
        }
        let mut held = None;
        if want != 0 {
            let streamed = matches!(content, Content::Stream(_));
            let answered = self.context.answered(want, !streamed)?;
            path = answered.path;
            tickets.extend(answered.tickets);
            held = answered.basis;
        }
        self.context.admit(&path, entry.is_dir())?;
        let entry = self.context.localise(entry);
        let lander = self.lander_of(&path);
        match content {
            Content::None => self.put_entry(path, entry, tickets),
            Content::Inline(content) => {
                // The way to what was asked for has been cleared.
                let own = if want == 0 { self.context.standing(&path) } else { None };
                if self.clear_the_way(&path, &entry, own.as_ref(), &tickets)? {
                    self.observe_whole(&path, content.bytes.len());
                    self.landing.insert(&path);
                    self.job(
                        lander,
                        Job::Whole { path, entry, content, standing: Standing::of(held), tickets },
                    )?;
                }
                self.settle_comparison()
            }
            Content::Kept => {
                let held = held.filter(|held| held.by_digest && held.stamp.size == entry.size());
                let held = held.ok_or(Misbehaved::Unexpected("kept, of no such basis"))?.stamp;
                self.context.odds.was_right();
                self.observe_whole(&path, usize::try_from(entry.size()).unwrap_or(0));
                self.pass(&path.clone(), Commit::Kept { path, entry, held, tickets })?;
                self.settle_comparison()
            }
            Content::Patch(ops, digest) => {
                self.observe_whole(&path, usize::try_from(entry.size()).unwrap_or(0));
                self.landing.insert(&path);
                self.job(lander, Job::Patch { path, entry, ops, digest, basis: held, tickets })?;
                self.settle_comparison()
            }
            Content::Stream(named) => {
                let basis = match (named, held) {
                    (Some(named), _) => BasisFrom::Named(named),
                    (None, Some(held)) => BasisFrom::Want(held),
                    (None, None) => BasisFrom::Nothing,
                };
                self.context.observer.file_started(&path, entry.size());
                if !self.streams.is_empty() {
                    return Err(Misbehaved::Unexpected("a content within a content").into());
                }
                self.streams.insert(seq, (lander, want));
                self.landing.insert(&path);
                self.job(lander, Job::Begin { seq, path, entry, basis, tickets })
            }
        }
    }

    /// An entry without content: a directory, a link, a special, or a file's metadata.
    fn put_entry(&mut self, path: RelPath, entry: Entry, tickets: Vec<Ticket>) -> Result<(), Ended> {
        // A watch puts directories by themselves, whatever was asked for.
        if !(self.context.terms.takes(&entry.kind) || entry.is_dir() && self.context.live) {
            if entry.is_dir() {
                self.context.observer.skipped_directory(&path);
            } else {
                self.context.observer.left_out(std::slice::from_ref(&path), 0);
            }
            return self.commit(Commit::Ack { tickets });
        }
        self.settle_path(&path)?;
        let own = self.context.standing(&path);
        if !entry.is_dir() {
            return self.bring(path, entry, own, tickets);
        }
        if let Made::Not(problem) = self.directory(&path, &entry, own.as_ref())? {
            return self.commit(Commit::GivenUp { problem, tickets });
        }
        self.deferred_tickets.extend(tickets.into_iter().map(|ticket| (Some(path.clone()), ticket)));
        Ok(())
    }

    /// Waits until what stands at a path is what was sent last: an older content still on its way would be mistaken for
    /// what is there.
    fn settle_path(&mut self, path: &RelPath) -> Result<(), Ended> {
        if self.landing.contains(path) {
            return self.barrier();
        }
        Ok(())
    }

    pub(super) fn put_failed(&mut self, seq: Seq, want: RequestId, again: bool) -> Result<(), Ended> {
        if let Some((lander, _)) = self.streams.remove(&seq) {
            self.job(lander, Job::Abandon { seq, again })?;
        }
        if want != 0 && !again {
            let unanswered = self.context.had(want).ok_or(Misbehaved::AnswerToUnknown(want))?;
            let problem = Problem {
                path: unanswered.path,
                text: "the sender could not read it".into(),
                class: ProblemClass::Vanished,
            };
            self.commit(Commit::GivenUp { problem, tickets: unanswered.tickets })?;
        }
        if again { Ok(()) } else { self.settle_comparison() }
    }

    /// Compare this path and want it if it differs.
    pub(super) fn offer(
        &mut self,
        seq: Seq,
        path: RelPath,
        entry: Entry,
        digest: Option<Digest>,
    ) -> Result<(), Ended> {
        self.context.admit(&path, entry.is_dir())?;
        let entry = self.context.localise(entry);
        let tickets = vec![Ticket::new(seq, 1)];
        self.settle_path(&path)?;
        let own = self.context.standing(&path);
        self.bring_by_digest(path, entry, digest, own, tickets)
    }

    /// As [`Receiver::bring`]; where the sender told the digest of a file of this size, its content decides.
    pub(super) fn bring_by_digest(
        &mut self,
        path: RelPath,
        entry: Entry,
        digest: Option<Digest>,
        own: Option<Entry>,
        tickets: Vec<Ticket>,
    ) -> Result<(), Ended> {
        let difference = own.as_ref().map(|own| self.context.terms.difference(&entry, own));
        match (digest, difference, own) {
            // Size and type are as they should be: only the content can tell.
            (Some(digest), Some(difference), Some(own))
                if !difference.kind && entry.is_file() && own.size() == entry.size() =>
            {
                let lander = self.lander_of(&path);
                self.job(lander, Job::Check { path, entry, digest, difference, tickets })
            }
            (_, _, own) => self.bring(path, entry, own, tickets),
        }
    }

    pub(super) fn remove(&mut self, seq: Seq, path: RelPath) -> Result<(), Ended> {
        self.context.admit(&path, false)?;
        let tickets = vec![Ticket::new(seq, 1)];
        match self.context.standing(&path) {
            Some(own) if self.context.may_delete() => self.delete(path, &own, tickets),
            // A change of it may still be under way: the removal must not overtake it.
            None if self.context.may_delete() => {
                let commit = Commit::Remove { path: path.clone(), kind: Kind::Fifo, tickets };
                self.pass(&path, commit)
            }
            _ => self.pass(&path, Commit::Ack { tickets }),
        }
    }

    /// A rename saves sending content again. It is a hint: what stands at both paths afterwards is told as well, so one
    /// that cannot be repeated is no problem, but the sender must not believe that it was.
    pub(super) fn rename(
        &mut self,
        seq: Seq,
        from: RelPath,
        to: RelPath,
        exchange: bool,
    ) -> Result<(), Ended> {
        self.context.admit(&from, false)?;
        self.context.admit(&to, false)?;
        let tickets = vec![Ticket::new(seq, 1)];
        if !self.context.may_delete()
            || self.context.options.dry_run
            || to.is_within(&from)
            || from.is_within(&to)
        {
            return self.not_renamed(to, "a rename that is not to be repeated", tickets);
        }
        self.barrier()?;
        let root = &self.context.root;
        let renamed = root.found(&from).and_then(|found| {
            let (from_dir, to_dir) = (root.parent_of(&from)?, root.parent_of(&to)?);
            let times = (from_dir.own()?, to_dir.own()?);
            if exchange {
                apply::exchange(&from_dir, from.name(), &to_dir, to.name())?;
            } else {
                apply::rename(&from_dir, from.name(), &to_dir, to.name())?;
            }
            Ok((found, times))
        });
        let (found, (from_time, to_time)) = match renamed {
            Ok(renamed) => renamed,
            Err(error) => return self.not_renamed(to, &error.to_string(), tickets),
        };
        let ways: &[_] = if exchange { &[(&from, &to), (&to, &from)] } else { &[(&from, &to)] };
        let mut moved = Vec::new();
        for (from, to) in ways {
            let dirs: Vec<RelPath> =
                self.deferred.keys().filter(|dir| dir.is_within(from)).cloned().collect();
            for old in dirs {
                let new = old.below(from).and_then(|rest| to.join(&rest).ok());
                moved.extend(self.deferred.remove(&old).and_then(|entry| Some((new?, entry))));
            }
        }
        self.deferred.extend(moved);
        for (path, dir) in [(&from, from_time), (&to, to_time)] {
            let parent = path.parent().unwrap_or_else(RelPath::root);
            if self.context.options.times {
                self.deferred.entry(parent).or_insert(dir.entry);
            }
            self.touched_parent(path)?;
        }
        let kind = found.entry.kind;
        self.commit(Commit::Made { path: to, kind, action: Action::Renamed })?;
        self.commit(Commit::Ack { tickets })
    }

    fn not_renamed(&mut self, path: RelPath, text: &str, tickets: Vec<Ticket>) -> Result<(), Ended> {
        let problem = Problem { path, text: text.into(), class: ProblemClass::Vanished };
        self.commit(Commit::GivenUp { problem, tickets })
    }
}
