//! Landing: contents are written to nameless files, verified against their digests, described, and handed on to be
//! named. Nothing here is visible to anybody.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, mpsc};

use super::commit::{Commit, FileCommit};
use super::context::{Context, Held, HeldContent, Told};
use super::ticket::Ticket;
use crate::disk::stage::Staged;
use crate::disk::{Dir, LastDir, Stamp, content};
use crate::model::change::Action;
use crate::model::delta::Op;
use crate::model::digest::{Digest, GroupSums};
use crate::model::entry::Entry;
use crate::model::options::Difference;
use crate::model::path::RelPath;
use crate::wire::message::{Basis, Inline, Seq};

pub(super) enum Job {
    /// A content that came with its entry.
    Whole { path: RelPath, entry: Entry, content: Inline, standing: Standing, tickets: Vec<Ticket> },
    /// A small content that comes as what its basis has of it.
    Patch {
        path: RelPath,
        entry: Entry,
        ops: Vec<Op>,
        digest: Digest,
        basis: Option<Held>,
        tickets: Vec<Ticket>,
    },
    /// A content begins.
    Begin { seq: Seq, path: RelPath, entry: Entry, basis: BasisFrom, tickets: Vec<Ticket> },
    /// More of it.
    Ops { seq: Seq, ops: Vec<Op> },
    /// The end of it; with `unstable` it changed while it was read.
    End { seq: Seq, digest: Digest, entry: Entry, unstable: bool },
    /// It will not come to its end; with `again` it starts anew.
    Abandon { seq: Seq, again: bool },
    /// What stands here may have this content: look, and bring its metadata up to date or ask for it.
    Check { path: RelPath, entry: Entry, digest: Digest, difference: Difference, tickets: Vec<Ticket> },
    /// Nothing to land, but its turn.
    Pass(Commit),
    /// Everything before this has been handed on once the sender is dropped.
    Barrier(mpsc::Sender<()>),
}

impl Job {
    /// Bytes of content it carries.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Whole { content, .. } => content.bytes.len(),
            Self::Ops { ops, .. } | Self::Patch { ops, .. } => {
                ops.iter().map(|op| usize::try_from(op.literal_len()).unwrap_or(0)).sum()
            }
            _ => 0,
        }
    }
}

/// What is known of the name where something lands. What others do to it meanwhile shows in what is told of the change, and
/// in the mode where that is the old one's; a restore, which sets aside what stands there, looks again.
pub(super) enum Standing {
    /// Nothing: it has to be looked at.
    Unknown,
    /// The directory was made for it: nothing has its name.
    Nothing,
    /// This stood there when it was asked for.
    This(Entry),
}

impl Standing {
    /// What a basis that was asked about tells.
    pub(super) fn of(basis: Option<Held>) -> Self {
        basis.and_then(|held| held.standing).map_or(Self::Unknown, Self::This)
    }
}

/// What copies refer to.
pub(super) enum BasisFrom {
    /// Nothing: all of it comes.
    Nothing,
    /// The file whose sums or groups were sent.
    Want(Held),
    /// What stands at the path, if it is this.
    Named(Basis),
}

/// A content on its way.
struct Stream {
    path: RelPath,
    entry: Entry,
    dir: Dir,
    old: Option<Entry>,
    staged: Staged,
    basis: Option<Held>,
    tickets: Vec<Ticket>,
    broken: Option<Broken>,
}

/// A content that could not begin.
struct Lost {
    path: RelPath,
    error: io::Error,
    tickets: Vec<Ticket>,
}

/// Why what still comes of a content is passed over.
enum Broken {
    /// We hold another file than the sender believes: it is asked for instead.
    BasisDiffers,
    /// Our disk failed.
    Failed(io::Error),
}

/// The committer is gone, and with it the transfer.
struct Gone;

pub(super) struct Lander {
    context: Arc<Context>,
    commit: mpsc::SyncSender<Vec<Commit>>,
    /// To be handed to the committer at the end of the batch.
    commits: Vec<Commit>,
    streams: HashMap<Seq, Stream>,
    /// Contents that failed before they began: what comes of them is passed over. It is told at their end, as of every
    /// content, since the sender may begin one anew under its seq, or give it up, until then.
    lost: HashMap<Seq, Lost>,
    beneath: LastDir,
}

impl Lander {
    pub(super) fn new(context: Arc<Context>, commit: mpsc::SyncSender<Vec<Commit>>) -> Self {
        let beneath = LastDir::new(&context.root);
        Self { context, commit, commits: Vec::new(), streams: HashMap::new(), lost: HashMap::new(), beneath }
    }

    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Vec<Job>>) {
        loop {
            let next = jobs.try_recv().or_else(|_| {
                // By the next one somebody may have put another directory in the place of this one.
                self.beneath.forget();
                jobs.recv()
            });
            let Ok(batch) = next else { break };
            let taken = batch.into_iter().try_for_each(|job| self.take(job));
            if taken.and_then(|()| self.hand_over()).is_err() {
                break;
            }
        }
        for (_, stream) in self.streams.drain() {
            if stream.broken.is_none() {
                self.context.partials.keep(&stream.path, stream.staged);
            }
        }
    }

    fn take(&mut self, job: Job) -> Result<(), Gone> {
        match job {
            Job::Whole { path, entry, content, standing, tickets } => {
                self.whole(path, &entry, &content, standing, tickets)
            }
            Job::Patch { path, entry, ops, digest, basis, tickets } => {
                self.patch(path, entry, ops, digest, basis, tickets)
            }
            Job::Begin { seq, path, entry, basis, tickets } => self.begin(seq, path, entry, basis, tickets),
            Job::Ops { seq, ops } => {
                if let Some(stream) = self.streams.get_mut(&seq) {
                    stream.write(ops);
                }
                Ok(())
            }
            Job::End { seq, digest, entry, unstable } => self.end(seq, digest, entry, unstable),
            Job::Abandon { seq, again } => {
                self.abandon(seq, again);
                Ok(())
            }
            Job::Check { path, entry, digest, difference, tickets } => {
                self.check(path, entry, digest, difference, tickets)
            }
            Job::Pass(commit) => self.send(commit),
            Job::Barrier(done) => {
                // A directory may move or go after this.
                self.beneath.forget();
                self.hand_over()?;
                drop(done);
                Ok(())
            }
        }
    }

    fn send(&mut self, commit: Commit) -> Result<(), Gone> {
        self.commits.push(commit);
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), Gone> {
        self.context.hand_asks();
        let commits = std::mem::take(&mut self.commits);
        if commits.is_empty() { Ok(()) } else { self.commit.send(commits).map_err(|_| Gone) }
    }

    fn fail(
        &mut self,
        path: &RelPath,
        doing: &str,
        error: &io::Error,
        tickets: Vec<Ticket>,
    ) -> Result<(), Gone> {
        self.send(Commit::Failed { problem: self.context.problem(path, doing, error), tickets })
    }

    fn whole(
        &mut self,
        path: RelPath,
        entry: &Entry,
        content: &Inline,
        standing: Standing,
        tickets: Vec<Ticket>,
    ) -> Result<(), Gone> {
        let landed = self.beneath.parent_of(&path).and_then(|dir| {
            let old = match standing {
                Standing::Nothing => None,
                Standing::This(entry) if !self.context.options.keep_replaced => Some(entry),
                Standing::Unknown | Standing::This(_) => look(&dir, path.name())?,
            };
            let mut staged = Staged::create_with(&dir, entry.mode)?;
            let equal = staged.put_whole(&content.bytes)? == content.digest;
            staged.describe(entry, old.as_ref(), &self.context.placement)?;
            Ok((dir, old, staged, equal))
        });
        match landed {
            Ok((dir, old, staged, true)) => {
                let entry = entry.clone();
                self.send(Commit::File(Box::new(FileCommit {
                    path,
                    entry,
                    dir,
                    old,
                    staged,
                    groups: GroupSums::default(),
                    replaced: None,
                    tickets,
                })))
            }
            Ok((.., false)) => {
                self.context.want(path, entry.size(), Told::Nothing, tickets);
                Ok(())
            }
            Err(error) => self.fail(&path, "write", &error, tickets),
        }
    }

    fn patch(
        &mut self,
        path: RelPath,
        entry: Entry,
        ops: Vec<Op>,
        digest: Digest,
        basis: Option<Held>,
        tickets: Vec<Ticket>,
    ) -> Result<(), Gone> {
        // The steps are as long as a small file is at most: the schema's parser has seen to it.
        let mut bytes = Vec::with_capacity(ops.iter().map(|op| usize::try_from(op.len()).unwrap_or(0)).sum());
        let built = ops.iter().try_for_each(|op| match op {
            Op::Literal(literal) => {
                bytes.extend_from_slice(literal);
                Ok(())
            }
            Op::Copy { offset, len } => match &basis {
                Some(basis) => basis.content.append_to(&mut bytes, *offset, *len),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        });
        if built.is_err() {
            self.context.want(path, entry.size(), Told::Nothing, tickets);
            return Ok(());
        }
        self.whole(path, &entry, &Inline { bytes: bytes.into(), digest }, Standing::of(basis), tickets)
    }

    fn begin(
        &mut self,
        seq: Seq,
        path: RelPath,
        entry: Entry,
        basis: BasisFrom,
        tickets: Vec<Ticket>,
    ) -> Result<(), Gone> {
        let begun = self.beneath.parent_of(&path).and_then(|dir| {
            let old = look(&dir, path.name())?;
            let staged = Staged::create(&dir)?;
            let staged = if self.context.remembers(entry.size()) { staged.signing() } else { staged };
            Ok((dir, old, staged))
        });
        let (dir, old, staged) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                self.lost.insert(seq, Lost { path, error, tickets });
                return Ok(());
            }
        };
        let (basis, broken) = match basis {
            BasisFrom::Nothing => (None, None),
            BasisFrom::Want(held) => (Some(held), None),
            BasisFrom::Named(named) => match self.named_basis(&dir, path.name(), named) {
                Some(held) => (Some(held), None),
                None => (None, Some(Broken::BasisDiffers)),
            },
        };
        let stream = Stream { path, entry, dir, old, staged, basis, tickets, broken };
        self.streams.insert(seq, stream);
        Ok(())
    }

    fn end(&mut self, seq: Seq, digest: Digest, entry: Entry, unstable: bool) -> Result<(), Gone> {
        let Some(mut stream) = self.streams.remove(&seq) else {
            return match self.lost.remove(&seq) {
                Some(Lost { path, error, tickets }) => self.fail(&path, "create", &error, tickets),
                None => Ok(()),
            };
        };
        stream.entry = entry;
        if unstable {
            self.context.observer.unstable(&stream.path);
        }
        match stream.broken.take() {
            Some(Broken::Failed(error)) => self.fail(&stream.path, "write", &error, stream.tickets),
            Some(Broken::BasisDiffers) => {
                self.context.want(stream.path, stream.entry.size(), Told::Best, stream.tickets);
                Ok(())
            }
            None => self.prove(stream, digest),
        }
    }

    /// All of a content has come: is it what it is to be?
    fn prove(&mut self, mut stream: Stream, digest: Digest) -> Result<(), Gone> {
        let (ours, groups) = stream.staged.digest();
        if stream.trusted_what_changed() {
            self.context.want(stream.path, stream.entry.size(), Told::Sums, stream.tickets);
            return Ok(());
        }
        if ours != digest {
            // A sum matched by accident, or the basis changed: whole, once; without a basis neither can be.
            self.context.want(stream.path, stream.entry.size(), Told::Nothing, stream.tickets);
            return Ok(());
        }
        let Stream { path, entry, dir, old, mut staged, basis, tickets, .. } = stream;
        let replaced = basis.and_then(|held| match held.content {
            HeldContent::File(file) => Some(file),
            HeldContent::Bytes(_) => None,
        });
        match staged.describe(&entry, old.as_ref(), &self.context.placement) {
            Ok(()) => {
                let file = FileCommit { path, entry, dir, old, staged, groups, replaced, tickets };
                self.send(Commit::File(Box::new(file)))
            }
            Err(error) => self.fail(&path, "set attributes", &error, tickets),
        }
    }

    /// What stands here, if it is what the sender believes. It is never read to find out: size and time decide, and the
    /// digest of the result judges.
    fn named_basis(&self, dir: &Dir, name: &[u8], basis: Basis) -> Option<Held> {
        let (file, found) = dir.open_file(name).ok()?;
        let same = found.entry.size() == basis.size && found.entry.mtime == basis.mtime;
        same.then(|| Held {
            stamp: found.stat,
            standing: None,
            content: HeldContent::File(file),
            groups: self.context.remembered(&found.stat),
            by_digest: false,
        })
    }

    fn check(
        &mut self,
        path: RelPath,
        entry: Entry,
        digest: Digest,
        difference: Difference,
        tickets: Vec<Ticket>,
    ) -> Result<(), Gone> {
        let ours = self.beneath.parent_of(&path).and_then(|dir| content::digest(&dir, path.name()));
        let dry_run = self.context.options.dry_run;
        match ours {
            Err(error) if dry_run => self.fail(&path, "read", &error, tickets),
            Ok((ours, _)) if dry_run => {
                let difference = Difference { content: ours != digest, ..difference };
                if difference.any() {
                    let action = Action::Updated(difference);
                    self.context.count(|totals| {
                        totals.transferred_files += u64::from(difference.content);
                        totals.transferred_bytes += if difference.content { entry.size() } else { 0 };
                    });
                    self.send(Commit::Made { path, kind: entry.kind, action })?;
                }
                self.send(Commit::Ack { tickets })
            }
            Ok((ours, _)) if ours == digest => {
                let difference = Difference { content: false, ..difference };
                if difference.any() {
                    self.send(Commit::Describe { path, entry, difference, tickets })
                } else {
                    self.send(Commit::Ack { tickets })
                }
            }
            // What cannot be read is replaced.
            _ => {
                self.context.want(path, entry.size(), Told::Differs, tickets);
                Ok(())
            }
        }
    }

    fn abandon(&mut self, seq: Seq, again: bool) {
        let Some(stream) = self.streams.remove(&seq) else {
            self.lost.remove(&seq);
            return;
        };
        // The sender keeps its seq open for the next try; otherwise it has closed it, and nothing waits for an ack.
        if !again {
            self.context.partials.drop_kept(&stream.path);
        }
    }
}

impl Stream {
    /// Whether groups were taken for what the basis holds, and it has changed since: they prove nothing then.
    fn trusted_what_changed(&self) -> bool {
        let Some(Held { stamp, content: HeldContent::File(file), groups: Some(_), .. }) = &self.basis else {
            return false;
        };
        Stamp::of_file(file).map_or(true, |now| now != *stamp)
    }

    fn write(&mut self, ops: Vec<Op>) {
        if self.broken.is_some() {
            return;
        }
        for op in ops {
            let written = match (op, &self.basis) {
                (Op::Literal(bytes), _) => self.staged.write_all(&bytes),
                (Op::Copy { offset, len }, Some(Held { content: HeldContent::File(basis), groups, .. })) => {
                    self.staged.copy_from(basis, offset, len, groups.as_ref())
                }
                (Op::Copy { offset, len }, Some(Held { content: HeldContent::Bytes(basis), .. })) => {
                    slice(basis, offset, len).and_then(|bytes| self.staged.write_all(bytes))
                }
                (Op::Copy { .. }, None) => Err(io::ErrorKind::UnexpectedEof.into()),
            };
            if let Err(error) = written {
                self.broken = Some(match error.kind() {
                    // The basis shrank under us, or could not be held: it is another file now.
                    io::ErrorKind::UnexpectedEof => Broken::BasisDiffers,
                    _ => Broken::Failed(error),
                });
                return;
            }
        }
    }
}

impl HeldContent {
    /// Appends a range to what is being built.
    fn append_to(&self, bytes: &mut Vec<u8>, offset: u64, len: u64) -> io::Result<()> {
        match self {
            Self::Bytes(basis) => bytes.extend_from_slice(slice(basis, offset, len)?),
            Self::File(file) => {
                let at = bytes.len();
                bytes.resize(at + usize::try_from(len).map_err(io::Error::other)?, 0);
                file.read_exact_at(&mut bytes[at..], offset)?;
            }
        }
        Ok(())
    }
}

/// A range of a basis that a peer named.
fn slice(basis: &[u8], offset: u64, len: u64) -> io::Result<&[u8]> {
    let start = usize::try_from(offset).ok();
    let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
    let range = start.zip(end).and_then(|(start, end)| basis.get(start..end));
    range.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// What stands at a name, if anything does.
fn look(dir: &Dir, name: &[u8]) -> io::Result<Option<Entry>> {
    match dir.found(name) {
        Ok(found) => Ok(Some(found.entry)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
