//! A content that streams: read from its beginning to its end, again if it changes meanwhile, and told whole, by the
//! rolling search over the receiver's sums, or by the groups that the receiver is known to hold, or says that it holds.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use super::ahead;
use super::groups::{GroupPlan, Reading};
use super::stable::is_unchanged;
use super::{Known, Sender};
use crate::disk::{Found, Stamp};
use crate::limits;
use crate::model::delta::{GroupSearch, Op, Search, Sums};
use crate::model::digest::{Digest, Group, GroupHasher};
use crate::model::entry::Kind;
use crate::model::path::RelPath;
use crate::transfer::link::Ended;
use crate::transfer::observer::Sent;
use crate::transfer::view::Place;
use crate::wire::message::{Basis, Content, FromSender, Put, RequestId, Seq};

/// How a streamed content is told.
pub(super) enum Plan {
    /// As it is.
    Whole,
    /// By what the receiver's sums match.
    Search(Sums),
    /// By the groups that differ from what the receiver is known to hold.
    Groups(Box<Planned>),
    /// By what the sums of the receiver's groups match.
    SearchGroups(Sums),
}

/// A file compared with what the receiver is known to hold.
pub(super) struct Planned {
    pub(super) known: Known,
    pub(super) plan: GroupPlan,
    /// The file as it was compared: of another state the plan says nothing.
    pub(super) stamp: Stamp,
    /// It changes all the time: what is sent is composed of what the plan says and of what is read then, which is a
    /// content of its own.
    pub(super) restless: bool,
}

/// What came of streaming a content once.
struct Streamed {
    digest: Digest,
    groups: Vec<Group>,
    size: u64,
}

impl Sender {
    /// Streams a content, again from the start if it changes under the reading.
    pub(super) fn stream(
        &mut self,
        seq: Seq,
        want: RequestId,
        path: RelPath,
        place: &Place,
        mut plan: Plan,
    ) -> Result<(), Ended> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (file, found) = match place.open_file() {
                Ok(opened) => opened,
                Err(error) => return self.give_up(seq, want, &path, &error),
            };
            let lasting = found.stat.lasting();
            let restless = matches!(&plan, Plan::Groups(planned) if planned.restless);
            if let Plan::Groups(planned) = &plan
                && !restless
                && planned.stamp != found.stat
            {
                plan = Plan::Whole;
            }
            let basis = match &plan {
                Plan::Groups(planned) => {
                    let known = &planned.known;
                    Some(Basis { size: known.stamp.size, mtime: known.entry.mtime })
                }
                _ => None,
            };
            self.observer.file_started(&path, found.entry.size());
            let (entry, content) = (found.entry.clone(), Content::Stream(basis));
            let named = if want == 0 { path.clone() } else { RelPath::root() };
            self.out.push(FromSender::Put(Put { seq, want, path: named, entry, content }))?;
            let streamed = match self.stream_once(seq, Reading::new(&file, found.stat.size), &file, &plan)? {
                Ok(streamed) => streamed,
                Err(error) => return self.give_up(seq, want, &path, &error),
            };
            let stable = !restless && is_unchanged(&file, &found.stat).unwrap_or(false);
            if stable || restless || tries >= limits::UNSTABLE_TRIES {
                let stamp = stable.then_some(lasting);
                return self.end_stream(seq, &path, found, streamed, stamp);
            }
            self.out.push(FromSender::PutFailed { seq, want, again: true })?;
            if let Plan::Groups(..) = plan {
                // The comparison is stale; the content is not known well enough to copy from.
                plan = Plan::Whole;
            }
        }
    }

    fn end_stream(
        &mut self,
        seq: Seq,
        path: &RelPath,
        mut found: Found,
        streamed: Streamed,
        stamp: Option<Stamp>,
    ) -> Result<(), Ended> {
        if stamp.is_none() {
            self.observer.unstable(path);
        }
        self.observer.file_done();
        found.entry.kind = Kind::File { size: streamed.size };
        // What was sent of a file that does not rest is a basis too.
        let unstable = Stamp { ctime: Sent::UNSTABLE, ..found.stat };
        let sent = Stamp { size: streamed.size, ..stamp.unwrap_or(unstable) };
        self.record(seq, path, &found.entry, sent, streamed.digest, streamed.groups);
        let (digest, entry) = (streamed.digest, found.entry);
        self.out.push(FromSender::PutEnd { seq, digest, entry, unstable: stamp.is_none() })
    }

    /// One reading of a file. The outer error ends the stream, the inner one this file.
    fn stream_once(
        &mut self,
        seq: Seq,
        reading: Reading<'_>,
        file: &File,
        plan: &Plan,
    ) -> Result<io::Result<Streamed>, Ended> {
        match plan {
            Plan::Whole => self.stream_whole(seq, reading),
            Plan::Search(sums) => self.stream_search(seq, reading, sums),
            Plan::SearchGroups(sums) => self.stream_search_groups(seq, &reading, file, sums),
            Plan::Groups(planned) if planned.restless => self.stream_composed(seq, file, &planned.plan),
            Plan::Groups(planned) => self.stream_groups(seq, file, &planned.plan),
        }
    }

    fn stream_search_groups(
        &mut self,
        seq: Seq,
        reading: &Reading<'_>,
        file: &File,
        sums: &Sums,
    ) -> Result<io::Result<Streamed>, Ended> {
        let mut search = GroupSearch::new(sums, reading.left());
        let mut ops = Vec::new();
        let end = ahead::each_window(file, reading.left(), sums.block_len() as usize, |window| {
            search.update(window.bytes(), window.values(), &mut |op| ops.push(op));
            match self.send_ops(seq, std::mem::take(&mut ops)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(ended) => ControlFlow::Break(ended),
            }
        });
        match end {
            Err(error) => return Ok(Err(error)),
            Ok(ControlFlow::Break(ended)) => return Err(ended),
            Ok(ControlFlow::Continue(())) => {}
        }
        let (digest, groups, size) = search.finish(&mut |op| ops.push(op));
        self.send_ops(seq, ops)?;
        Ok(Ok(Streamed { digest, groups, size }))
    }

    fn stream_whole(&mut self, seq: Seq, mut reading: Reading<'_>) -> Result<io::Result<Streamed>, Ended> {
        let mut hasher = GroupHasher::new();
        let mut size = 0;
        loop {
            let bytes = match reading.take(limits::CHUNK_LEN) {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Err(error)),
            };
            if bytes.is_empty() {
                let (digest, groups) = hasher.finish();
                return Ok(Ok(Streamed { digest, groups, size }));
            }
            hasher.update(&bytes);
            size += bytes.len() as u64;
            self.send_ops(seq, vec![Op::Literal(bytes.into())])?;
        }
    }

    fn stream_search(
        &mut self,
        seq: Seq,
        mut reading: Reading<'_>,
        sums: &Sums,
    ) -> Result<io::Result<Streamed>, Ended> {
        let mut hasher = GroupHasher::new();
        let mut size = 0;
        let mut buffer = reading.buffer();
        let mut search = Search::new(sums, reading.left());
        let mut ops = Vec::new();
        loop {
            let len = match reading.fill(&mut buffer) {
                Ok(len) => len,
                Err(error) => return Ok(Err(error)),
            };
            if len == 0 {
                search.finish(&mut |op| ops.push(op));
                self.send_ops(seq, ops)?;
                let (digest, groups) = hasher.finish();
                return Ok(Ok(Streamed { digest, groups, size }));
            }
            hasher.update(&buffer[..len]);
            size += len as u64;
            search.update(&buffer[..len], &mut |op| ops.push(op));
            self.send_ops(seq, std::mem::take(&mut ops))?;
        }
    }

    fn stream_groups(
        &mut self,
        seq: Seq,
        file: &File,
        plan: &GroupPlan,
    ) -> Result<io::Result<Streamed>, Ended> {
        let mut at = 0;
        for &(offset, len) in &plan.literal {
            self.send_copy(seq, at, offset - at)?;
            let mut from = offset;
            while from < offset + len {
                let step = (offset + len - from).min(limits::CHUNK_LEN as u64);
                let mut bytes = vec![0; usize::try_from(step).unwrap_or(0)];
                if let Err(error) = file.read_exact_at(&mut bytes, from) {
                    return Ok(Err(error));
                }
                self.send_ops(seq, vec![Op::Literal(bytes.into())])?;
                from += step;
            }
            at = offset + len;
        }
        self.send_copy(seq, at, plan.size - at)?;
        let GroupPlan { digest, ref groups, size, .. } = *plan;
        Ok(Ok(Streamed { digest, groups: groups.clone(), size }))
    }

    /// As [`Sender::stream_groups`] of a file that has changed since it was compared, and will again: the digest is that
    /// of what is sent. The first group has no value of its own in a tree that ends with it, so it is read again.
    fn stream_composed(
        &mut self,
        seq: Seq,
        file: &File,
        plan: &GroupPlan,
    ) -> Result<io::Result<Streamed>, Ended> {
        let mut hasher = GroupHasher::new();
        let mut literal = plan.literal.iter().copied().peekable();
        // What is to be copied begins here; up to `at` it has not been told yet.
        let (mut copied, mut at) = (0, 0);
        while at < plan.size {
            let len = (plan.size - at).min(limits::DIGEST_GROUP);
            while literal.next_if(|(offset, len)| offset + len <= at).is_some() {}
            let differs = literal.peek().is_some_and(|(offset, _)| *offset <= at);
            let index = usize::try_from(at / limits::DIGEST_GROUP).unwrap_or(usize::MAX);
            let value = plan.groups.get(index).copied().filter(|_| !differs);
            if !value.is_some_and(|value| hasher.take_group(value, 0, len)) {
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
                if let Err(error) = file.read_exact_at(&mut bytes, at) {
                    return Ok(Err(error));
                }
                hasher.update(&bytes);
                if value.is_none_or(|value| value != hasher.current_group()) {
                    self.send_copy(seq, copied, at - copied)?;
                    self.send_ops(seq, vec![Op::Literal(bytes.into())])?;
                    copied = at + len;
                }
            }
            at += len;
        }
        self.send_copy(seq, copied, at - copied)?;
        let (digest, groups) = hasher.finish();
        Ok(Ok(Streamed { digest, groups, size: plan.size }))
    }

    fn send_copy(&mut self, seq: Seq, offset: u64, len: u64) -> Result<(), Ended> {
        if len == 0 {
            return Ok(());
        }
        self.send_ops(seq, vec![Op::Copy { offset, len }])
    }

    /// Sends the next steps of a content, in chunks of bounded size: a search gives many at once.
    fn send_ops(&mut self, seq: Seq, ops: Vec<Op>) -> Result<(), Ended> {
        let (mut chunk, mut literal) = (Vec::new(), 0);
        for op in ops {
            match &op {
                Op::Literal(bytes) => {
                    self.totals.literal_bytes += bytes.len() as u64;
                    literal += bytes.len();
                }
                Op::Copy { len, .. } => {
                    self.totals.matched_bytes += len;
                    self.copied += len;
                }
            }
            self.observer.file_advanced(op.len());
            chunk.push(op);
            if literal >= limits::CHUNK_LEN {
                literal = 0;
                let ops = std::mem::take(&mut chunk);
                self.out.push(FromSender::Chunk { seq, ops })?;
            }
        }
        if !chunk.is_empty() {
            self.out.push(FromSender::Chunk { seq, ops: chunk })?;
        }
        // Few bytes here, but much to do at the other end.
        if self.copied < limits::COPY_LEN {
            return Ok(());
        }
        self.copied = 0;
        self.out.flush()
    }
}
