//! Block sums: made from a stream, parsed from a peer, compared.

use fast_rsync::{Signature, SignatureOptions};

use super::{DeltaError, Shape};

/// Bytes of the rolling sum, big-endian. The first bytes of the MD4 follow.
pub(super) const WEAK_LEN: usize = 4;

/// What `fast_rsync` puts before the sums: its magic number, the block length, the length of the MD4.
const HEADER_LEN: usize = 12;

/// Blocks that `fast_rsync` hashes side by side, at three times the speed of one.
pub(super) const LANES: usize = 8;

/// Bytes of whole blocks to gather before they are hashed: enough to fill the lanes, unless the blocks are so long
/// that memory counts for more.
pub(super) fn batch_len(block_len: u32) -> usize {
    let block = block_len as usize;
    let bytes = (LANES * block).clamp(1024 * 1024, 4 * 1024 * 1024);
    bytes - bytes % block
}

/// The sums of these bytes, cut into blocks from the beginning; the last may be short.
pub(super) fn sums_of(bytes: &[u8], shape: Shape) -> Vec<u8> {
    let options = SignatureOptions { block_size: shape.block_len(), crypto_hash_size: shape.strong_len() };
    let mut sums = Signature::calculate(bytes, options).into_serialized();
    sums.drain(..HEADER_LEN);
    sums
}

/// The rolling sum of a window: that of `fast_rsync`, which keeps its two halves in 16 bits each.
///
/// Invariant: only the lower 16 bits of each half count; the upper ones are whatever the arithmetic left, so that
/// the loop that rolls need not clear them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weak {
    low: u32,
    high: u32,
}

/// Added to every byte, as `fast_rsync` does.
const MAGIC: u32 = 31;

impl Weak {
    /// Of a whole window.
    pub(super) fn of(window: &[u8]) -> Self {
        // In 16 bits, so that the compiler gives eight or more of them to one instruction.
        let (mut low, mut high) = (0_u16, 0_u16);
        let len = window.len() as u16;
        for (i, &byte) in window.iter().enumerate() {
            let byte = u16::from(byte);
            low = low.wrapping_add(byte);
            high = high.wrapping_add(byte.wrapping_mul(len.wrapping_sub(i as u16)));
        }
        let len = window.len() as u64;
        let steps = len.wrapping_mul(len + 1) / 2;
        Self {
            low: u32::from(low).wrapping_add((len as u32).wrapping_mul(MAGIC)),
            high: u32::from(high).wrapping_add((steps as u32).wrapping_mul(MAGIC)),
        }
    }

    /// Moves the window, `len` bytes long, on by one byte.
    #[inline(always)]
    pub(super) fn roll(self, len: u32, old: u8, new: u8) -> Self {
        let old = u32::from(old);
        let low = self.low.wrapping_add(u32::from(new).wrapping_sub(old));
        let high = self.high.wrapping_add(low).wrapping_sub(len.wrapping_mul(old + MAGIC));
        Self { low, high }
    }

    /// The sum as one number. The half that spreads evenly is the lower one, unlike on the wire, so that a table
    /// may take as many of the lower bits as it needs.
    #[inline(always)]
    pub(super) fn number(self) -> u32 {
        (self.high & 0xffff) | (self.low << 16)
    }
}

/// Makes the sums of a basis as it streams by.
///
/// Bound: keeps less than 4 MiB; less than 1 MiB for a file below 16 GiB.
pub struct Signer {
    shape: Shape,
    /// Bytes of whole blocks that are hashed at once.
    batch: usize,
    held: Vec<u8>,
}

impl Signer {
    /// Nothing signed yet.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, batch: batch_len(shape.block_len()), held: Vec::new() }
    }

    /// Takes the next bytes, cut anyhow; appends to `out` the sums that have become certain.
    pub fn update(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if !self.held.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.batch - self.held.len()));
            self.held.extend_from_slice(now);
            bytes = later;
            if self.held.len() < self.batch {
                return;
            }
            out.extend(sums_of(&self.held, self.shape));
            self.held.clear();
        }
        // Whatever is large enough is hashed where it lies.
        let batches = bytes.chunks_exact(self.batch);
        self.held.extend_from_slice(batches.remainder());
        batches.for_each(|batch| out.extend(sums_of(batch, self.shape)));
    }

    /// Appends the sums of what is left; the last block may be short.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend(sums_of(&self.held, self.shape));
    }
}

/// The sums of a basis, parsed.
///
/// Invariant: `sums` holds one sum for each block; a block's number fits in 32 bits.
#[derive(Clone, Debug)]
pub struct Sums {
    shape: Shape,
    sums: Vec<u8>,
}

impl Sums {
    /// Checks what a peer sent. Nothing is copied or allocated.
    ///
    /// # Errors
    /// When it is not as long as the shape says.
    pub fn parse(shape: Shape, sums: Vec<u8>) -> Result<Self, DeltaError> {
        let (got, want) = (sums.len() as u64, shape.sums_len());
        if got != want {
            return Err(DeltaError::Length { got, want });
        }
        Ok(Self { shape, sums })
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn block_len(&self) -> u32 {
        self.shape.block_len()
    }

    /// Blocks of full length.
    pub(super) fn whole(&self) -> u32 {
        // At most BLOCKS_MAX, by the shape.
        (self.shape.basis_size() / u64::from(self.block_len())) as u32
    }

    /// Length of the short block at the end; 0 when there is none.
    pub(super) fn short_len(&self) -> usize {
        (self.shape.basis_size() % u64::from(self.block_len())) as usize
    }

    /// Where a block begins in the basis.
    pub(super) fn offset(&self, block: u32) -> u64 {
        u64::from(block) * u64::from(self.block_len())
    }

    /// The sums of these blocks, as [`sums_of`] gives them.
    pub(super) fn range(&self, first: u32, count: usize) -> &[u8] {
        let len = self.shape.sum_len();
        let first = first as usize * len;
        &self.sums[first..first + count * len]
    }

    /// The rolling sum of a block, as [`Weak::number`] has it.
    #[inline]
    pub(super) fn weak(&self, block: u32) -> u32 {
        let sum = self.range(block, 1);
        u32::from_be_bytes([sum[0], sum[1], sum[2], sum[3]]).rotate_left(16)
    }
}
