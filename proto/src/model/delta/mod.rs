//! Delta: the way from the receiver's basis to the sender's new content, as ranges of the basis and literal bytes.
//!
//! The receiver streams its basis through a [`Signer`] and sends the block sums; the sender parses them into
//! [`Sums`] and streams its file through a [`Search`], which gives out [`Op`]s as it goes. Memory is bounded on both
//! ends whatever the size of the file. Block sums are those of `fast_rsync`: a rolling sum and an MD4. Neither
//! proves anything: the [`Digest`](super::digest::Digest) of the whole file decides whether the result is right.

mod index;
mod search;
mod sums;

#[cfg(test)]
mod tests;

use prost::bytes::Bytes;

use crate::limits;

pub use search::Search;
pub use sums::{SUM_LEN, Signer, Sums};

/// One step of a delta; the results of all, in order, are the new content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// These bytes of the basis.
    Copy {
        /// First byte.
        offset: u64,
        /// Number of bytes, at least one.
        len: u64,
    },
    /// These bytes, at least one and at most [`limits::CHUNK_LEN`].
    Literal(Bytes),
}

impl Op {
    /// Bytes of new content that this step gives.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no step is empty")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Copy { len, .. } => *len,
            Self::Literal(bytes) => bytes.len() as u64,
        }
    }
}

/// Why sums are not a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// The block length is outside [`limits::BLOCK_MIN`] to [`limits::BLOCK_MAX`].
    #[error("block length {0} is out of range")]
    BlockLen(u32),
    /// A basis of this size has more than [`limits::BLOCKS_MAX`] blocks.
    #[error("a signature of {0} blocks is too large")]
    Blocks(u64),
    /// The sums are not as long as the size of the basis and the block length say.
    #[error("signature has {got} bytes of sums, not {want}")]
    Length {
        /// Bytes that were given.
        got: u64,
        /// Bytes that are needed.
        want: u64,
    },
}

/// The block length for a basis of this size, in bytes: its square root, rounded up to a multiple of 8, between
/// [`limits::BLOCK_MIN`] and [`limits::BLOCK_MAX`].
#[must_use]
pub fn block_len(size: u64) -> u32 {
    let root = size.isqrt().next_multiple_of(8);
    u32::try_from(root).unwrap_or(u32::MAX).clamp(limits::BLOCK_MIN, limits::BLOCK_MAX)
}
