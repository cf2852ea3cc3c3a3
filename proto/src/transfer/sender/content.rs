//! Contents on their way out: how each is told, and the small ones, in one message each. Whichever way it is, the digest
//! at the end judges it.

use std::io;
use std::time::Duration;

use prost::bytes::Bytes;

use super::groups::{GroupPlan, Reading};
use super::stable::is_unchanged;
use super::stream::{Plan, Planned};
use super::{Known, Read, Sender, TaskId, Waiting, class_of};
use crate::disk::{Dir, Found, Stamp, age};
use crate::limits;
use crate::model::delta::{Op, Search, Sums};
use crate::model::digest::{Digest, Group};
use crate::model::entry::{Entry, Kind};
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, Problem, ProblemClass};
use crate::transfer::link::Ended;
use crate::transfer::observer::Sent;
use crate::transfer::view::Place;
use crate::wire::message::{Content, FromSender, Inline, Put, RequestId, Seq, WantBasis};

/// A file modified longer ago than this was probably touched, not written: it is offered rather than sent.
const FRESH: Duration = Duration::from_secs(10);

/// A small file, read.
#[expect(clippy::large_enum_variant, reason = "it is taken apart by whoever asked for it")]
pub(super) enum Small {
    /// All of it, and the file as it was; its stamp to compare with later, none where it changed under every reading.
    Whole { bytes: Bytes, found: Found, stamp: Option<Stamp> },
    /// It is not small any more.
    Grown,
}

/// Reads a file of at most [`limits::INLINE_MAX`] bytes, again if it changes under the reading.
pub(super) fn read_small(dir: &Dir, name: &[u8]) -> io::Result<Small> {
    let mut tries = 0;
    loop {
        tries += 1;
        let (file, mut found) = dir.open_file(name)?;
        let stamp = found.stat.lasting();
        if found.entry.size() > limits::INLINE_MAX {
            return Ok(Small::Grown);
        }
        // As many bytes as it had when it was opened: if it has another length by now, it is not stable.
        let size = usize::try_from(found.stat.size).unwrap_or(0);
        let bytes = Reading::new(&file, found.stat.size).take(size)?;
        let stable = is_unchanged(&file, &found.stat)? && bytes.len() == size;
        if stable || tries >= limits::UNSTABLE_TRIES {
            if let Kind::File { size } = &mut found.entry.kind {
                *size = bytes.len() as u64;
            }
            return Ok(Small::Whole { bytes: bytes.into(), found, stamp: stable.then_some(stamp) });
        }
    }
}

/// A small content by what the receiver's sums match of it; as it is where they match nothing.
fn patch(sums: &Sums, bytes: &Bytes, digest: Digest) -> Content {
    let mut ops = Vec::new();
    Search::through(sums, bytes, &mut |op| ops.push(op));
    let literal: u64 = ops.iter().map(Op::literal_len).sum();
    if literal == bytes.len() as u64 {
        return Content::Inline(Inline { bytes: bytes.clone(), digest });
    }
    if literal < bytes.len() as u64 / 2 {
        // A part holds all of the content in memory until it is sent, and a queue is weighed by what is to be sent.
        for op in &mut ops {
            if let Op::Literal(part) = op {
                *part = Bytes::copy_from_slice(part);
            }
        }
    }
    Content::Patch(ops, digest)
}

impl Sender {
    /// Brings one path across as it stands now.
    pub(super) fn put(
        &mut self,
        id: TaskId,
        path: RelPath,
        known: Option<Known>,
        read: Read,
    ) -> Result<(), Ended> {
        let (place, found) = match self.config.view.place(&path) {
            Ok(placed) => placed,
            Err(error) => return self.unreadable(id, path, &error),
        };
        let entry = &found.entry;
        let hidden = self.config.rules.hides(&path, entry.is_dir());
        let takes_part = self.config.terms.takes(&entry.kind) || entry.is_dir() && self.config.record;
        if hidden || !takes_part && self.config.record {
            self.observer.settled(id, Ok(()));
            return Ok(());
        }
        if !takes_part {
            // In a pull it is the receiver who tells that it was skipped.
            let entry = found.entry;
            if entry.is_dir() {
                self.observer.skipped_directory(&path);
            } else {
                self.count(&entry);
                self.observer.left_out(std::slice::from_ref(&path), 0);
            }
            return self.put_entry(id, path, entry);
        }
        self.count(entry);
        self.name_ids(entry)?;
        let Some(place) = place.filter(|_| entry.is_file()) else {
            return self.put_entry(id, path, found.entry);
        };
        if self.config.withhold.as_ref().is_some_and(|withhold| withhold(&path, entry)) {
            // It changed since the task was made: whoever looks at it again will know.
            let text = "its content is withheld".into();
            self.observer.settled(id, Err(Problem { path, text, class: ProblemClass::Unstable }));
            return Ok(());
        }
        if !self.config.record && self.config.terms.checksum {
            return self.offer_digest(id, path, &place, read);
        }
        if !self.config.record {
            return self.offer(id, path, found.entry, None);
        }
        let large = entry.size() > limits::INLINE_MAX;
        match known {
            Some(known) if known.stamp == found.stat => self.put_entry(id, path, found.entry),
            Some(known) if large && !known.groups.is_empty() => {
                self.put_groups(id, path, &place, known, read)
            }
            known if !large && is_fresh(entry) => self.put_small(id, path, &place, known.as_ref(), read),
            _ => self.offer_digest(id, path, &place, read),
        }
    }

    fn put_entry(&mut self, id: TaskId, path: RelPath, entry: Entry) -> Result<(), Ended> {
        let seq = self.begin(Waiting::task(id));
        self.out.push(FromSender::Put(Put { seq, want: 0, path, entry, content: Content::None }))
    }

    fn offer(
        &mut self,
        id: TaskId,
        path: RelPath,
        entry: Entry,
        digest: Option<Digest>,
    ) -> Result<(), Ended> {
        let seq = self.begin(Waiting::task(id));
        self.out.push(FromSender::Offer { seq, path, entry, digest })
    }

    /// Offers a file by its content's digest: it may be the receiver's own under new metadata, or another one under the
    /// old metadata, and neither its size nor its times tell.
    fn offer_digest(&mut self, id: TaskId, path: RelPath, place: &Place, read: Read) -> Result<(), Ended> {
        let hashed = place.open_file().and_then(|(file, found)| {
            let (rested, stamp) = (is_rested(&found), found.stat.lasting());
            let plan = GroupPlan::compare(&file, found.stat.size, None)?;
            let stable = rested && is_unchanged(&file, &found.stat)?;
            Ok((plan, stable, stamp, found))
        });
        let (plan, stable, stamp, found) = match hashed {
            Ok(hashed) => hashed,
            Err(error) => return self.unreadable(id, path, &error),
        };
        if !stable && read == Read::Rested {
            return self.unstable(id, path);
        }
        let seq = self.begin(Waiting::task(id));
        if stable {
            self.record(seq, &path, &found.entry, stamp, plan.digest, plan.groups);
        }
        self.out.push(FromSender::Offer { seq, path, entry: found.entry, digest: Some(plan.digest) })
    }

    /// A file that is being written is left alone until it has rested.
    fn unstable(&self, id: TaskId, path: RelPath) -> Result<(), Ended> {
        let text = "it changes while it is read".into();
        self.observer.settled(id, Err(Problem { path, text, class: ProblemClass::Unstable }));
        Ok(())
    }

    /// What the receiver holds by the journal's word, though the file is another one: restored, or written anew.
    fn put_known(
        &mut self,
        id: TaskId,
        path: RelPath,
        entry: Entry,
        stamp: Option<Stamp>,
        known: &Known,
    ) -> Result<(), Ended> {
        let seq = self.begin(Waiting::task(id));
        if let Some(stamp) = stamp {
            self.record(seq, &path, &entry, stamp, known.digest, known.groups.clone());
        }
        // Should it hold another one after all, its size or time tells, and it asks.
        self.out.push(FromSender::Put(Put { seq, want: 0, path, entry, content: Content::None }))
    }

    fn put_small(
        &mut self,
        id: TaskId,
        path: RelPath,
        place: &Place,
        known: Option<&Known>,
        read: Read,
    ) -> Result<(), Ended> {
        match read_small(&place.dir, &place.name) {
            Ok(Small::Whole { stamp: None, .. }) if read == Read::Rested => self.unstable(id, path),
            Ok(Small::Whole { bytes, found, stamp }) => {
                let digest = Digest::of(&bytes);
                let same = |known: &&Known| known.digest == digest && known.entry.mtime == found.entry.mtime;
                if let Some(known) = known.filter(same) {
                    return self.put_known(id, path, found.entry, stamp, known);
                }
                let seq = self.begin(Waiting::task(id));
                let content = Content::Inline(Inline { bytes, digest });
                self.send_small(seq, 0, &path, content, digest, found, stamp)
            }
            Ok(Small::Grown) => match self.config.view.found(&path) {
                Ok(found) => self.offer(id, path, found.entry, None),
                Err(error) => self.unreadable(id, path, &error),
            },
            Err(error) => self.unreadable(id, path, &error),
        }
    }

    /// Sends a large file by what changed since the journal's record of it. Where too much did, the place of the
    /// content probably moved, and the receiver's sums find more: the file is offered instead.
    fn put_groups(
        &mut self,
        id: TaskId,
        path: RelPath,
        place: &Place,
        known: Known,
        read: Read,
    ) -> Result<(), Ended> {
        let planned = place.open_file().and_then(|(file, found)| {
            let (rested, stamp) = (is_rested(&found), found.stat.lasting());
            let plan = GroupPlan::compare(&file, found.stat.size, Some(&known))?;
            let stable = rested && is_unchanged(&file, &found.stat)?;
            Ok((plan, found, stable.then_some(stamp)))
        });
        let (plan, found, stable) = match planned {
            Ok(planned) => planned,
            Err(error) => return self.unreadable(id, path, &error),
        };
        if stable.is_none() && read == Read::Rested {
            return self.unstable(id, path);
        }
        if plan.digest == known.digest && found.entry.mtime == known.entry.mtime {
            return self.put_known(id, path, found.entry, stable, &known);
        }
        if plan.literal_len() > plan.size / 4 && plan.literal_len() > limits::WANTED_BYTES / 8 {
            // Where the time tells nothing, the digest has to.
            let digest = (found.entry.mtime == known.entry.mtime).then_some(plan.digest);
            return self.offer(id, path, found.entry, digest);
        }
        let seq = self.begin(Waiting::task(id));
        let planned = Planned { known, plan, stamp: found.stat, restless: stable.is_none() };
        self.stream(seq, 0, path, place, Plan::Groups(Box::new(planned)))
    }

    /// Answers "send that". The path is the peer's: it goes through the view's Roots and the rules like any other.
    pub(super) fn answer_want(
        &mut self,
        want: RequestId,
        path: &RelPath,
        basis: Option<(WantBasis, Vec<u8>)>,
    ) -> Result<(), Ended> {
        let (plan, held) = match basis {
            None => (Plan::Whole, None),
            Some((WantBasis { digest: Some(digest), .. }, _)) => (Plan::Whole, Some(digest)),
            Some((basis, sums)) if basis.groups => {
                let sums = Sums::parse_groups(basis.shape, sums);
                (Plan::SearchGroups(sums.map_err(|_| Misbehaved::OutOfRange("sums"))?), None)
            }
            Some((basis, sums)) => {
                let sums = Sums::parse(basis.shape, sums).map_err(|_| Misbehaved::OutOfRange("sums"))?;
                (Plan::Search(sums), None)
            }
        };
        if self.config.rules.hides(path, false) {
            return self.give_up(0, want, path, &io::ErrorKind::NotFound.into());
        }
        let withheld = self.config.withhold.as_ref().is_some_and(|withhold| {
            self.config.view.found(path).is_ok_and(|found| withhold(path, &found.entry))
        });
        if withheld {
            // No problem of the path: nothing is said about it.
            return self.out.push(FromSender::PutFailed { seq: 0, want, again: false });
        }
        self.send_file(want, path, plan, held)
    }

    /// Sends a file that is too large to travel with its entry to a receiver that has nothing.
    pub(super) fn send_unasked(&mut self, path: &RelPath) -> Result<(), Ended> {
        self.send_file(0, path, Plan::Whole, None)
    }

    /// Sends a file; `held` is the digest of what the receiver has, which has told nothing else of it then.
    fn send_file(
        &mut self,
        want: RequestId,
        path: &RelPath,
        plan: Plan,
        held: Option<Digest>,
    ) -> Result<(), Ended> {
        let small = self.place(path).and_then(|place| Ok((read_small(&place.dir, &place.name)?, place)));
        match small {
            Ok((Small::Whole { bytes, found, stamp }, ..)) => {
                let digest = Digest::of(&bytes);
                let content = match plan {
                    _ if held == Some(digest) => Content::Kept,
                    _ if held.is_some() => return self.out.push(FromSender::NeedSums(want)),
                    Plan::Search(sums) => patch(&sums, &bytes, digest),
                    _ => Content::Inline(Inline { bytes, digest }),
                };
                self.observer.file_started(path, found.entry.size());
                let seq = self.begin(Waiting::content(Vec::new()));
                self.send_small(seq, want, path, content, digest, found, stamp)
            }
            Ok((Small::Grown, ..)) if held.is_some() => self.out.push(FromSender::NeedSums(want)),
            Ok((Small::Grown, place)) => {
                let seq = self.begin(Waiting::content(Vec::new()));
                self.stream(seq, want, path.clone(), &place, plan)
            }
            Err(error) => self.give_up(0, want, path, &error),
        }
    }

    /// Where a path lies. Neighbours are asked for one after another, so the last directory is kept for as long as there
    /// is something to do without a pause.
    fn place(&mut self, path: &RelPath) -> io::Result<Place> {
        if let Some((last, dir)) = &self.last_dir
            && last.is_parent_of(path)
        {
            return Ok(Place { dir: dir.clone(), name: path.name().into() });
        }
        let parent = path.parent().unwrap_or_else(RelPath::root);
        let Some((root, place)) = self.config.view.only(&parent) else {
            return self.config.view.place(path)?.0.ok_or_else(|| io::ErrorKind::InvalidInput.into());
        };
        let dir = root.dir(&place)?;
        self.last_dir = Some((parent, dir.clone()));
        Ok(Place { dir, name: path.name().into() })
    }

    /// Sends a content that is told in one piece. Its length is that of `found`.
    #[expect(clippy::too_many_arguments, reason = "all of them are one answer")]
    fn send_small(
        &mut self,
        seq: Seq,
        want: RequestId,
        path: &RelPath,
        content: Content,
        digest: Digest,
        found: Found,
        stamp: Option<Stamp>,
    ) -> Result<(), Ended> {
        let literal = match &content {
            Content::Inline(inline) => inline.bytes.len() as u64,
            Content::Patch(ops, _) => ops.iter().map(Op::literal_len).sum(),
            _ => 0,
        };
        let size = found.entry.size();
        self.totals.literal_bytes += literal;
        self.totals.matched_bytes += size - literal;
        self.observer.file_advanced(size);
        self.observer.file_done();
        match stamp {
            Some(stamp) => self.record(seq, path, &found.entry, stamp, digest, Vec::new()),
            None => self.observer.unstable(path),
        }
        let path = if want == 0 { path.clone() } else { RelPath::root() };
        self.out.push(FromSender::Put(Put { seq, want, path, entry: found.entry, content }))
    }

    /// A content cannot be sent, or not to its end: the receiver forgets what came, and the path is a problem.
    pub(super) fn give_up(
        &mut self,
        seq: Seq,
        want: RequestId,
        path: &RelPath,
        error: &io::Error,
    ) -> Result<(), Ended> {
        let class = class_of(error);
        self.problem(path.clone(), &error.to_string(), class)?;
        if want == 0 && seq == 0 {
            return Ok(());
        }
        self.out.push(FromSender::PutFailed { seq, want, again: false })?;
        if seq != 0 {
            let problem = Problem { path: path.clone(), text: error.to_string(), class };
            self.outstanding.give_up(seq, problem, &*self.observer);
        }
        Ok(())
    }

    pub(super) fn record(
        &mut self,
        seq: Seq,
        path: &RelPath,
        entry: &Entry,
        stamp: Stamp,
        digest: Digest,
        groups: Vec<Group>,
    ) {
        if self.config.record {
            let (path, entry) = (path.clone(), entry.clone());
            self.outstanding.amend(seq, Sent { path, entry, stamp, digest, groups });
        }
    }
}

fn is_fresh(entry: &Entry) -> bool {
    age(entry.mtime) < FRESH
}

/// Whether a file did not change right before it is read, if it is large: a small one is written in one go.
fn is_rested(found: &Found) -> bool {
    found.entry.size() <= limits::INLINE_MAX || found.stat.is_rested()
}
