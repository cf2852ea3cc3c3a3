//! Delta: the way from the receiver's basis to the sender's new content, as ranges of the basis and literal bytes.
//!
//! The receiver streams its basis through a [`Signer`] and sends the block sums; the sender parses them into
//! [`Sums`] and streams its file through a [`Search`], which gives out [`Op`]s as it goes. Memory is bounded on both
//! ends whatever the size of the file. Block sums are those of `fast_rsync`: a rolling sum and an MD4. A receiver that
//! remembers the groups of its basis makes sums of these ([`sums_of_groups`]) without reading it, and the sender streams
//! its file through a [`GroupSearch`]. None proves anything: the [`Digest`](super::digest::Digest) of the whole file
//! decides whether the result is right.

mod group_search;
mod index;
mod search;
mod sums;

#[cfg(test)]
mod tests;

use prost::bytes::Bytes;

use crate::limits;

pub use group_search::GroupSearch;
pub use search::Search;
pub use sums::{Signer, Sums, sums_of, sums_of_groups};

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

    /// Bytes of new content that it carries.
    #[must_use]
    pub fn literal_len(&self) -> u64 {
        match self {
            Self::Copy { .. } => 0,
            Self::Literal(bytes) => bytes.len() as u64,
        }
    }
}

/// Why sums are not a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// The block length is outside [`limits::BLOCK_MIN`] to [`limits::BLOCK_MAX`], or no power of two of groups where it
    /// has to be.
    #[error("block length {0} is not to be had")]
    BlockLen(u32),
    /// The length of the MD4 is outside 2 to 16.
    #[error("sums of {0} bytes are out of range")]
    StrongLen(u32),
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

/// How the signature of a basis is cut.
///
/// Invariant: the block length is within [`limits::BLOCK_MIN`] to [`limits::BLOCK_MAX`], the strong length within 2 to
/// 16, and there are at most [`limits::BLOCKS_MAX`] blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    basis_size: u64,
    block_len: u32,
    strong_len: u32,
}

impl Shape {
    /// For a basis of this size, in bytes; `None` when it would have too many blocks.
    #[must_use]
    pub fn of(basis_size: u64) -> Option<Self> {
        let block_len = block_len(basis_size);
        Self::new(basis_size, block_len, strong_len(basis_size, block_len)).ok()
    }

    /// For a basis of this size, in bytes, whose groups are known; `None` when it would have too many blocks. A block is
    /// the power of two of groups that comes closest to the square root from below.
    #[must_use]
    pub fn of_groups(basis_size: u64) -> Option<Self> {
        let root = basis_size.isqrt().max(limits::DIGEST_GROUP).min(u64::from(limits::BLOCK_MAX));
        let block_len = 1 << root.ilog2();
        Self::new(basis_size, block_len, GROUPS_STRONG).ok()
    }

    /// As a peer says it.
    ///
    /// # Errors
    /// When it breaks the invariant.
    pub fn new(basis_size: u64, block_len: u32, strong_len: u32) -> Result<Self, DeltaError> {
        if !(limits::BLOCK_MIN..=limits::BLOCK_MAX).contains(&block_len) {
            return Err(DeltaError::BlockLen(block_len));
        }
        if !(STRONG_MIN..=STRONG_MAX).contains(&strong_len) {
            return Err(DeltaError::StrongLen(strong_len));
        }
        let blocks = basis_size.div_ceil(u64::from(block_len));
        if blocks > limits::BLOCKS_MAX {
            return Err(DeltaError::Blocks(blocks));
        }
        Ok(Self { basis_size, block_len, strong_len })
    }

    /// Length of the basis in bytes.
    #[must_use]
    pub fn basis_size(self) -> u64 {
        self.basis_size
    }

    /// Length of a block in bytes.
    #[must_use]
    pub fn block_len(self) -> u32 {
        self.block_len
    }

    /// Bytes of the strong sum in each sum.
    #[must_use]
    pub fn strong_len(self) -> u32 {
        self.strong_len
    }

    /// Bytes of one block's sum.
    #[must_use]
    pub fn sum_len(self) -> usize {
        sums::WEAK_LEN + self.strong_len as usize
    }

    /// Bytes of all sums.
    #[must_use]
    pub fn sums_len(self) -> u64 {
        self.basis_size.div_ceil(u64::from(self.block_len)) * self.sum_len() as u64
    }
}

/// Bytes of the strong sum where groups are known: with the rolling sum some 56 bits, against 2^47 pairs for a file of
/// 2 GiB, make one accident in 500 such files.
const GROUPS_STRONG: u32 = 4;

/// Bytes of an MD4, and the fewest of them that a sum holds.
const STRONG_MAX: u32 = 16;
/// See [`STRONG_MAX`].
const STRONG_MIN: u32 = 2;

/// The block length for a basis of this size, in bytes: its square root, rounded up to a multiple of 8, between
/// [`limits::BLOCK_MIN`] and [`limits::BLOCK_MAX`].
fn block_len(size: u64) -> u32 {
    let root = size.isqrt().next_multiple_of(8);
    u32::try_from(root).unwrap_or(u32::MAX).clamp(limits::BLOCK_MIN, limits::BLOCK_MAX)
}

/// Bytes of MD4 for each block. A window of the new content is compared with every block, so some size * blocks pairs
/// may be equal by accident; the sum is as long as makes one accident in 2^10 such files, of which the rolling sum, for
/// it spreads unevenly, is counted as 24 bits only. An accident costs the file being sent whole, since the digest tells.
fn strong_len(size: u64, block_len: u32) -> u32 {
    let pairs = 2 * size.max(1).ilog2() - block_len.ilog2().min(size.max(1).ilog2());
    (pairs + 10).saturating_sub(24).div_ceil(8).clamp(STRONG_MIN, STRONG_MAX)
}
