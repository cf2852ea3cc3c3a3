//! What a sender says.

use prost::bytes::Bytes;

use super::{digest, digest_bytes, digest_or_none, entry_or_missing, path_bytes, path_or_root};
use crate::limits;
use crate::model::counter::SenderTotals;
use crate::model::delta::Op;
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, Problem, ProblemClass};
use crate::wire::generated::{self as g, from_sender::Item};
use crate::wire::message::{Basis, Content, FromSender, Inline, Listed, Listing, Put};

impl TryFrom<g::FromSender> for FromSender {
    type Error = Misbehaved;

    fn try_from(message: g::FromSender) -> Result<Self, Misbehaved> {
        Ok(match message.item.ok_or(Misbehaved::Missing("item"))? {
            Item::Hello(m) => Self::Hello((*m).try_into()?),
            Item::Welcome(m) => Self::Welcome((*m).try_into()?),
            Item::Refused(m) => Self::Refused((*m).into()),
            Item::Digesting(m) => Self::Digesting(path_or_root(&m.dir)?),
            Item::Compare(m) => Self::Compare {
                seq: m.seq,
                dir: path_or_root(&m.dir)?,
                entry: m.entry.map(TryInto::try_into).transpose()?,
                digest: digest_or_none(&m.digest, "digest")?,
            },
            Item::Listing(m) => Self::Listing((*m).try_into()?),
            Item::Opened(m) => Self::Opened(m.open),
            Item::Put(m) => Self::Put((*m).try_into()?),
            Item::Chunk(m) => Self::Chunk {
                seq: m.seq,
                ops: m.ops.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            },
            Item::PutEnd(m) => Self::PutEnd {
                seq: m.seq,
                digest: digest(&m.digest, "digest")?,
                entry: entry_or_missing(m.entry)?,
                unstable: m.unstable,
            },
            Item::NeedSums(m) => Self::NeedSums(m.want),
            Item::PutFailed(m) => Self::PutFailed { seq: m.seq, want: m.want, again: m.again },
            Item::Offer(m) => Self::Offer {
                seq: m.seq,
                path: RelPath::parse(&m.path)?,
                entry: entry_or_missing(m.entry)?,
                digest: digest_or_none(&m.digest, "digest")?,
            },
            Item::Remove(m) => Self::Remove { seq: m.seq, path: RelPath::parse(&m.path)? },
            Item::Rename(m) => Self::Rename {
                seq: m.seq,
                from: RelPath::parse(&m.from)?,
                to: RelPath::parse(&m.to)?,
                exchange: m.exchange,
            },
            Item::Problem(m) => Self::Problem(Problem {
                path: path_or_root(&m.path)?,
                text: m.text,
                class: if m.vanished { ProblemClass::Vanished } else { ProblemClass::Path },
            }),
            Item::Done(m) => Self::Done((*m).into()),
            Item::Name(m) => Self::Name { id: m.id, group: m.group, name: m.name.as_ref().into() },
        })
    }
}

impl TryFrom<g::Listing> for Listing {
    type Error = Misbehaved;

    fn try_from(m: g::Listing) -> Result<Self, Misbehaved> {
        let dir = path_or_root(&m.dir)?;
        let listed = |l: g::Listed| {
            Ok(Listed {
                path: dir.child(&l.name)?,
                entry: entry_or_missing(l.entry)?,
                digest: digest_or_none(&l.digest, "digest")?,
                content: l.content.map(TryInto::try_into).transpose()?,
            })
        };
        let entries = m.entries.into_iter().map(listed).collect::<Result<_, Misbehaved>>()?;
        Ok(Self { seq: m.seq, open: m.open, dir, entries, last: m.last, sound: m.sound })
    }
}

impl TryFrom<g::Inline> for Inline {
    type Error = Misbehaved;

    fn try_from(m: g::Inline) -> Result<Self, Misbehaved> {
        if m.bytes.len() as u64 > limits::INLINE_MAX {
            return Err(Misbehaved::OutOfRange("inline content"));
        }
        Ok(Self { digest: digest(&m.digest, "digest")?, bytes: m.bytes })
    }
}

impl TryFrom<g::Put> for Put {
    type Error = Misbehaved;

    fn try_from(m: g::Put) -> Result<Self, Misbehaved> {
        let content = match m.content {
            None => Content::None,
            Some(g::put::Content::Inline(inline)) => Content::Inline(inline.try_into()?),
            Some(g::put::Content::Stream(stream)) => {
                let basis = stream.basis.map(|b| {
                    let mtime = b.mtime.ok_or(Misbehaved::Missing("mtime"))?.try_into()?;
                    Ok::<_, Misbehaved>(Basis { size: b.size, mtime })
                });
                Content::Stream(basis.transpose()?)
            }
            Some(g::put::Content::Patch(patch)) => {
                let ops = patch.ops.into_iter().map(TryInto::try_into).collect::<Result<Vec<Op>, _>>()?;
                let len = ops.iter().try_fold(0, |len: u64, op| len.checked_add(op.len()));
                if len.is_none_or(|len| len > limits::INLINE_MAX) {
                    return Err(Misbehaved::OutOfRange("patch"));
                }
                Content::Patch(ops, digest(&patch.digest, "digest")?)
            }
            Some(g::put::Content::Kept(_)) => Content::Kept,
        };
        if m.want == 0 && matches!(content, Content::Patch(..) | Content::Kept) {
            return Err(Misbehaved::Missing("want"));
        }
        if m.want != 0 && !m.path.is_empty() {
            return Err(Misbehaved::Unexpected("a path that the want has named"));
        }
        let entry = entry_or_missing(m.entry)?;
        if !entry.is_file() && !matches!(content, Content::None) {
            return Err(Misbehaved::OutOfRange("content of what is not a file"));
        }
        Ok(Self { seq: m.seq, want: m.want, path: path_or_root(&m.path)?, entry, content })
    }
}

impl TryFrom<g::Op> for Op {
    type Error = Misbehaved;

    fn try_from(op: g::Op) -> Result<Self, Misbehaved> {
        match op.op.ok_or(Misbehaved::Missing("op"))? {
            g::op::Op::Literal(bytes) => Ok(Self::Literal(bytes)),
            g::op::Op::Copy(copy) if copy.offset.checked_add(copy.len).is_none() => {
                Err(Misbehaved::OutOfRange("copy"))
            }
            g::op::Op::Copy(copy) => Ok(Self::Copy { offset: copy.offset, len: copy.len }),
        }
    }
}

impl From<g::SenderDone> for SenderTotals {
    fn from(m: g::SenderDone) -> Self {
        Self {
            entries: m.entries.unwrap_or_default().into(),
            size_bytes: m.size_bytes,
            literal_bytes: m.literal_bytes,
            matched_bytes: m.matched_bytes,
            problems: m.problems,
            vanished: m.vanished,
        }
    }
}

impl From<FromSender> for g::FromSender {
    fn from(message: FromSender) -> Self {
        let item = match message {
            FromSender::Hello(m) => Item::Hello(Box::new(m.into())),
            FromSender::Welcome(m) => Item::Welcome(Box::new(m.into())),
            FromSender::Refused(m) => Item::Refused(Box::new(m.into())),
            FromSender::Digesting(dir) => Item::Digesting(g::Digesting { dir: path_bytes(&dir) }),
            FromSender::Compare { seq, dir, entry, digest } => Item::Compare(Box::new(g::Compare {
                seq,
                dir: path_bytes(&dir),
                entry: entry.as_ref().map(Into::into),
                digest: digest.as_ref().map(digest_bytes).unwrap_or_default(),
            })),
            FromSender::Listing(m) => Item::Listing(Box::new(m.into())),
            FromSender::Opened(open) => Item::Opened(g::Opened { open }),
            FromSender::Put(m) => Item::Put(Box::new(m.into())),
            FromSender::Chunk { seq, ops } => {
                Item::Chunk(g::Chunk { seq, ops: ops.into_iter().map(Into::into).collect() })
            }
            FromSender::PutEnd { seq, digest, entry, unstable } => Item::PutEnd(Box::new(g::PutEnd {
                seq,
                digest: digest_bytes(&digest),
                entry: Some((&entry).into()),
                unstable,
            })),
            FromSender::NeedSums(want) => Item::NeedSums(g::NeedSums { want }),
            FromSender::PutFailed { seq, want, again } => Item::PutFailed(g::PutFailed { seq, want, again }),
            FromSender::Offer { seq, path, entry, digest } => Item::Offer(Box::new(g::Offer {
                seq,
                path: path_bytes(&path),
                entry: Some((&entry).into()),
                digest: digest.as_ref().map(digest_bytes).unwrap_or_default(),
            })),
            FromSender::Remove { seq, path } => Item::Remove(g::Remove { seq, path: path_bytes(&path) }),
            FromSender::Rename { seq, from, to, exchange } => {
                let (from, to) = (path_bytes(&from), path_bytes(&to));
                Item::Rename(Box::new(g::Rename { seq, from, to, exchange }))
            }
            FromSender::Problem(m) => Item::Problem(Box::new(g::Problem {
                path: path_bytes(&m.path),
                text: m.text,
                vanished: m.class == ProblemClass::Vanished,
            })),
            FromSender::Done(m) => Item::Done(Box::new(m.into())),
            FromSender::Name { id, group, name } => {
                Item::Name(g::Name { id, group, name: Bytes::from(name) })
            }
        };
        Self { item: Some(item) }
    }
}

impl From<Listing> for g::Listing {
    fn from(m: Listing) -> Self {
        let listed = |l: Listed| g::Listed {
            name: Bytes::copy_from_slice(l.path.name()),
            entry: Some((&l.entry).into()),
            digest: l.digest.as_ref().map(digest_bytes).unwrap_or_default(),
            content: l.content.map(Into::into),
        };
        Self {
            seq: m.seq,
            open: m.open,
            dir: path_bytes(&m.dir),
            entries: m.entries.into_iter().map(listed).collect(),
            last: m.last,
            sound: m.sound,
        }
    }
}

impl From<Inline> for g::Inline {
    fn from(m: Inline) -> Self {
        Self { bytes: m.bytes, digest: digest_bytes(&m.digest) }
    }
}

impl From<Put> for g::Put {
    fn from(m: Put) -> Self {
        let content = match m.content {
            Content::None => None,
            Content::Inline(inline) => Some(g::put::Content::Inline(inline.into())),
            Content::Stream(basis) => Some(g::put::Content::Stream(g::Stream {
                basis: basis.map(|b| g::Basis { size: b.size, mtime: Some(b.mtime.into()) }),
            })),
            Content::Patch(ops, digest) => Some(g::put::Content::Patch(g::Patch {
                ops: ops.into_iter().map(Into::into).collect(),
                digest: digest_bytes(&digest),
            })),
            Content::Kept => Some(g::put::Content::Kept(true)),
        };
        Self { seq: m.seq, want: m.want, path: path_bytes(&m.path), entry: Some((&m.entry).into()), content }
    }
}

impl From<Op> for g::Op {
    fn from(op: Op) -> Self {
        Self {
            op: Some(match op {
                Op::Literal(bytes) => g::op::Op::Literal(bytes),
                Op::Copy { offset, len } => g::op::Op::Copy(g::Copy { offset, len }),
            }),
        }
    }
}

impl From<SenderTotals> for g::SenderDone {
    fn from(m: SenderTotals) -> Self {
        Self {
            entries: Some(m.entries.into()),
            size_bytes: m.size_bytes,
            literal_bytes: m.literal_bytes,
            matched_bytes: m.matched_bytes,
            problems: m.problems,
            vanished: m.vanished,
        }
    }
}
