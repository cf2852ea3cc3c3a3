//! What a receiver says.

use prost::bytes::Bytes;

use super::{digest, digest_bytes, digest_or_none, path_bytes, path_or_root};
use crate::model::change::{Action, Change};
use crate::model::counter::ReceiverTotals;
use crate::model::delta::Shape;
use crate::model::options::Difference;
use crate::model::path::RelPath;
use crate::model::problem::{Misbehaved, Problem, ProblemClass};
use crate::wire::generated::{self as g, from_receiver::Item};
use crate::wire::message::{FromReceiver, RequestId, WantBasis};

fn request(id: u64) -> Result<RequestId, Misbehaved> {
    if id == 0 { Err(Misbehaved::Missing("request id")) } else { Ok(id) }
}

impl TryFrom<g::FromReceiver> for FromReceiver {
    type Error = Misbehaved;

    fn try_from(message: g::FromReceiver) -> Result<Self, Misbehaved> {
        Ok(match message.item.ok_or(Misbehaved::Missing("item"))? {
            Item::Hello(m) => Self::Hello((*m).try_into()?),
            Item::Welcome(m) => Self::Welcome((*m).try_into()?),
            Item::Refused(m) => Self::Refused((*m).into()),
            Item::Open(m) => Self::Open { id: request(m.id)?, dir: path_or_root(&m.dir)?, all: m.all },
            Item::Want(m) => Self::Want {
                id: request(m.id)?,
                path: RelPath::parse(&m.path)?,
                basis: m.basis.map(TryInto::try_into).transpose()?,
            },
            Item::Sums(m) => Self::Sums { want: request(m.want)?, sums: m.sums, last: m.last },
            Item::Ack(m) => Self::Ack(m.seqs),
            Item::Failed(m) => Self::Failed {
                seq: m.seq,
                problem: Problem {
                    path: path_or_root(&m.path)?,
                    class: match m.class() {
                        g::failed::Class::DiskFull => ProblemClass::DiskFull,
                        g::failed::Class::Vanished => ProblemClass::Vanished,
                        g::failed::Class::Path | g::failed::Class::Unspecified => ProblemClass::Path,
                    },
                    text: m.text,
                },
            },
            Item::Change(m) => Self::Change((*m).try_into()?),
            Item::Done(m) => Self::Done((*m).into()),
            Item::Digested(m) => Self::Digested(digest(&m.digest, "digest")?),
        })
    }
}

impl TryFrom<g::WantBasis> for WantBasis {
    type Error = Misbehaved;

    fn try_from(m: g::WantBasis) -> Result<Self, Misbehaved> {
        let shape = Shape::new(m.size, m.block_len, m.strong_len);
        let shape = shape.map_err(|_| Misbehaved::OutOfRange("shape of the sums"))?;
        let digest = digest_or_none(&m.digest, "digest")?;
        if digest.is_some() && m.groups {
            return Err(Misbehaved::Unexpected("groups beside a digest"));
        }
        Ok(Self { shape, digest, groups: m.groups })
    }
}

impl From<WantBasis> for g::WantBasis {
    fn from(basis: WantBasis) -> Self {
        let shape = basis.shape;
        Self {
            size: shape.basis_size(),
            block_len: shape.block_len(),
            strong_len: shape.strong_len(),
            digest: basis.digest.as_ref().map(digest_bytes).unwrap_or_default(),
            groups: basis.groups,
        }
    }
}

const DIFFERENCE_BITS: usize = 6;

fn difference_bits(d: &Difference) -> [bool; DIFFERENCE_BITS] {
    [d.kind, d.content, d.time, d.mode, d.owner, d.group]
}

impl TryFrom<g::Change> for Change {
    type Error = Misbehaved;

    fn try_from(m: g::Change) -> Result<Self, Misbehaved> {
        use g::change::Action as A;
        let bit = |n: u32| m.difference & (1 << n) != 0;
        let action = match m.action() {
            A::Unspecified => return Err(Misbehaved::Missing("action")),
            A::Created => Action::Created,
            A::Removed => Action::Removed,
            A::Renamed => Action::Renamed,
            A::Updated => Action::Updated(Difference {
                kind: bit(0),
                content: bit(1),
                time: bit(2),
                mode: bit(3),
                owner: bit(4),
                group: bit(5),
            }),
        };
        let target = (!m.target.is_empty()).then(|| m.target.as_ref().into());
        Ok(Self { path: path_or_root(&m.path)?, dir: m.dir, target, action })
    }
}

impl From<g::ReceiverDone> for ReceiverTotals {
    fn from(m: g::ReceiverDone) -> Self {
        Self {
            created: m.created.unwrap_or_default().into(),
            deleted: m.deleted.unwrap_or_default().into(),
            transferred_files: m.transferred_files,
            transferred_bytes: m.transferred_bytes,
            problems: m.problems,
            disk_full: m.disk_full,
            deletions_skipped: m.deletions_skipped,
        }
    }
}

impl From<FromReceiver> for g::FromReceiver {
    fn from(message: FromReceiver) -> Self {
        let item = match message {
            FromReceiver::Hello(m) => Item::Hello(Box::new(m.into())),
            FromReceiver::Welcome(m) => Item::Welcome(Box::new(m.into())),
            FromReceiver::Refused(m) => Item::Refused(Box::new(m.into())),
            FromReceiver::Open { id, dir, all } => Item::Open(g::Open { id, dir: path_bytes(&dir), all }),
            FromReceiver::Want { id, path, basis } => {
                Item::Want(g::Want { id, path: path_bytes(&path), basis: basis.map(Into::into) })
            }
            FromReceiver::Sums { want, sums, last } => Item::Sums(g::Sums { want, sums, last }),
            FromReceiver::Ack(seqs) => Item::Ack(g::Ack { seqs }),
            FromReceiver::Failed { seq, problem } => Item::Failed(Box::new(g::Failed {
                seq,
                path: path_bytes(&problem.path),
                text: problem.text,
                class: match problem.class {
                    ProblemClass::DiskFull => g::failed::Class::DiskFull,
                    ProblemClass::Path | ProblemClass::Unstable => g::failed::Class::Path,
                    ProblemClass::Vanished => g::failed::Class::Vanished,
                }
                .into(),
            })),
            FromReceiver::Change(m) => Item::Change(Box::new(m.into())),
            FromReceiver::Done(m) => Item::Done(Box::new(m.into())),
            FromReceiver::Digested(digest) => Item::Digested(g::Digested { digest: digest_bytes(&digest) }),
        };
        Self { item: Some(item) }
    }
}

impl From<Change> for g::Change {
    fn from(m: Change) -> Self {
        use g::change::Action as A;
        let (action, difference) = match m.action {
            Action::Created => (A::Created, 0),
            Action::Removed => (A::Removed, 0),
            Action::Renamed => (A::Renamed, 0),
            Action::Updated(d) => {
                let bits = difference_bits(&d).into_iter().enumerate();
                (A::Updated, bits.fold(0, |sum, (n, on)| sum | u32::from(on) << n))
            }
        };
        Self {
            path: path_bytes(&m.path),
            dir: m.dir,
            target: m.target.map(Bytes::from).unwrap_or_default(),
            action: action.into(),
            difference,
        }
    }
}

impl From<ReceiverTotals> for g::ReceiverDone {
    fn from(m: ReceiverTotals) -> Self {
        Self {
            created: Some(m.created.into()),
            deleted: Some(m.deleted.into()),
            transferred_files: m.transferred_files,
            transferred_bytes: m.transferred_bytes,
            problems: m.problems,
            disk_full: m.disk_full,
            deletions_skipped: m.deletions_skipped,
        }
    }
}
