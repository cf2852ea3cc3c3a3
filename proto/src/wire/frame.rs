//! Frames: many items in one message, compressed when asked and when that wins.

use prost::Message;
use prost::bytes::Bytes;

use super::generated as g;
use super::message::{FromReceiver, FromSender};
use crate::limits;
use crate::model::delta::Op;
use crate::model::problem::Misbehaved;
use crate::wire::message::Content;

/// zstd's own default: on this data a higher level costs more time than the wire saves.
const ZSTD_LEVEL: i32 = 3;

/// What travels in frames: parsed items, and the generated message that carries them.
pub trait Framed: Sized + Send + 'static {
    /// The generated frame.
    type Frame: Message + Default + 'static;

    /// About how many bytes this item takes on the wire.
    fn weight(&self) -> usize;

    /// Packs items into a frame.
    fn pack(items: Vec<Self>, compress: bool) -> Self::Frame;

    /// Whether a frame is compressed.
    fn is_compressed(frame: &Self::Frame) -> bool;

    /// Unpacks what a peer sent.
    ///
    /// # Errors
    /// Anything the schema does not allow.
    fn unpack(frame: Self::Frame) -> Result<Vec<Self>, Misbehaved>;
}

/// Compresses a serialized frame if that makes it smaller by an eighth or more; less is not worth the peer's time.
fn shrink(plain: &[u8]) -> Option<Bytes> {
    let packed = zstd::bulk::compress(plain, ZSTD_LEVEL).ok()?;
    (packed.len() < plain.len() - plain.len() / 8).then(|| Bytes::from(packed))
}

/// The reverse of [`shrink`], never giving more than [`limits::FRAME_MAX`] bytes.
fn grow(packed: &[u8]) -> Result<Bytes, Misbehaved> {
    zstd::bulk::decompress(packed, limits::FRAME_MAX).map(Bytes::from).map_err(|_| Misbehaved::Compression)
}

macro_rules! framed {
    ($item:ident, $frame:ident, $weight:ident) => {
        impl Framed for $item {
            type Frame = g::$frame;

            fn weight(&self) -> usize {
                $weight(self)
            }

            fn pack(items: Vec<Self>, compress: bool) -> g::$frame {
                let items: Vec<g::$item> = items.into_iter().map(Into::into).collect();
                let plain = g::$frame { items, zstd: Bytes::new() };
                if !compress {
                    return plain;
                }
                match shrink(&plain.encode_to_vec()) {
                    Some(zstd) => g::$frame { items: Vec::new(), zstd },
                    None => plain,
                }
            }

            fn is_compressed(frame: &g::$frame) -> bool {
                !frame.zstd.is_empty()
            }

            fn unpack(mut frame: g::$frame) -> Result<Vec<Self>, Misbehaved> {
                if !frame.zstd.is_empty() {
                    let plain = grow(&frame.zstd)?;
                    frame = g::$frame::decode(plain).map_err(|_| Misbehaved::Compression)?;
                    if !frame.zstd.is_empty() {
                        return Err(Misbehaved::Compression);
                    }
                }
                frame.items.into_iter().map(TryInto::try_into).collect()
            }
        }
    };
}

framed!(FromSender, SenderFrame, sender_weight);
framed!(FromReceiver, ReceiverFrame, receiver_weight);

/// An entry, its name and its framing, roughly.
const SMALL: usize = 64;

fn sender_weight(item: &FromSender) -> usize {
    match item {
        FromSender::Listing(listing) => listing
            .entries
            .iter()
            .map(|l| SMALL + l.path.name().len() + l.content.as_ref().map_or(0, |c| 32 + c.bytes.len()))
            .sum(),
        FromSender::Put(put) => {
            let inline = match &put.content {
                Content::Inline(inline) => 32 + inline.bytes.len(),
                Content::Patch(ops, _) => 32 + ops_weight(ops),
                Content::Kept | Content::None | Content::Stream(_) => 0,
            };
            SMALL + put.path.as_bytes().len() + inline
        }
        FromSender::Chunk { ops, .. } => ops_weight(ops),
        FromSender::Offer { path, .. } | FromSender::Remove { path, .. } => SMALL + path.as_bytes().len(),
        _ => SMALL,
    }
}

fn ops_weight(ops: &[Op]) -> usize {
    let weight = |op: &Op| match op {
        Op::Literal(bytes) => bytes.len(),
        Op::Copy { .. } => 16,
    };
    ops.iter().map(weight).sum()
}

fn receiver_weight(item: &FromReceiver) -> usize {
    match item {
        FromReceiver::Want { path, .. } => SMALL + path.as_bytes().len(),
        FromReceiver::Open { dir, .. } => SMALL + dir.as_bytes().len(),
        FromReceiver::Sums { sums, .. } => sums.len(),
        FromReceiver::Ack(seqs) => 4 * seqs.len(),
        FromReceiver::Change(change) => SMALL + change.path.as_bytes().len(),
        _ => SMALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::RelPath;

    #[test]
    fn frames_come_back_compressed_or_not() {
        let items: Vec<FromReceiver> = (1..500)
            .map(|id| FromReceiver::Open {
                id,
                dir: RelPath::parse(b"some/long/path").expect("path"),
                all: false,
            })
            .collect();
        for compress in [false, true] {
            let frame = FromReceiver::pack(items.clone(), compress);
            assert_eq!(frame.zstd.is_empty(), !compress);
            let back = FromReceiver::unpack(frame).expect("valid");
            assert_eq!(back.len(), items.len());
        }
    }

    #[test]
    fn a_frame_that_explodes_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; limits::FRAME_MAX + 1], 19).expect("compresses");
        let frame = g::SenderFrame { items: Vec::new(), zstd: Bytes::from(bomb) };
        assert_eq!(FromSender::unpack(frame).err(), Some(Misbehaved::Compression));
    }

    #[test]
    fn random_data_is_not_compressed() {
        let mut state = 1u64;
        let noise: Vec<u8> = (0..4096)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        assert!(shrink(&noise).is_none());
    }
}
