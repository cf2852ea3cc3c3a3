//! Block sums: made from a stream or from groups, parsed from a peer, compared.

use fast_rsync::{Signature, SignatureOptions};

use super::{DeltaError, Shape};
use crate::limits;
use crate::model::digest::{self, GroupSums};
use crate::model::rolling::Weak;

/// Bytes of the rolling sum, big-endian. The first bytes of the strong sum follow.
pub(super) const WEAK_LEN: usize = 4;

/// What `fast_rsync` puts before the sums: its magic number, the block length, the length of the MD4.
const HEADER_LEN: usize = 12;

/// Blocks that `fast_rsync` hashes side by side, at three times the speed of one.
pub(super) const LANES: usize = 8;

/// Longest block, in bytes, for which lanes are filled up: eight are copied then at most.
const FILLED_MAX: usize = 32 * 1024;

/// Bytes of whole blocks to gather before they are hashed: enough to fill the lanes, unless the blocks are so long
/// that memory counts for more.
pub(super) fn batch_len(block_len: u32) -> usize {
    let block = block_len as usize;
    let bytes = (LANES * block).clamp(1024 * 1024, 4 * 1024 * 1024);
    bytes - bytes % block
}

/// The sums of these bytes, cut into blocks from the beginning; the last may be short.
#[must_use]
pub fn sums_of(bytes: &[u8], shape: Shape) -> Vec<u8> {
    let block = shape.block_len() as usize;
    let whole = bytes.len() / block;
    let odd = whole % LANES;
    let mut sums = Vec::with_capacity(bytes.len().div_ceil(block) * shape.sum_len());
    if odd < 2 || block > FILLED_MAX {
        add_sums(bytes, shape, &mut sums);
        return sums;
    }
    // One block by itself takes as long as all lanes together, so zeros fill up those that the last blocks leave.
    let (full, rest) = bytes.split_at((whole - odd) * block);
    let (last, short) = rest.split_at(odd * block);
    add_sums(full, shape, &mut sums);
    let mut filled = vec![0; LANES * block];
    filled[..last.len()].copy_from_slice(last);
    add_sums(&filled, shape, &mut sums);
    sums.truncate(whole * shape.sum_len());
    add_sums(short, shape, &mut sums);
    sums
}

/// Appends the sums of these bytes as `fast_rsync` makes them.
fn add_sums(bytes: &[u8], shape: Shape, sums: &mut Vec<u8>) {
    if !bytes.is_empty() {
        let options =
            SignatureOptions { block_size: shape.block_len(), crypto_hash_size: shape.strong_len() };
        sums.extend_from_slice(&Signature::calculate(bytes, options).serialized()[HEADER_LEN..]);
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

/// The sums of a basis whose groups are known, in a shape of [`Shape::of_groups`]: nothing is read for them.
///
/// # Panics
/// Never for groups of the size that the shape was made for.
#[must_use]
pub fn sums_of_groups(groups: &GroupSums, shape: Shape) -> Vec<u8> {
    let in_block = (u64::from(shape.block_len()) / limits::DIGEST_GROUP).max(1) as usize;
    let mut sums = Vec::with_capacity(usize::try_from(shape.sums_len()).unwrap_or(0));
    let mut left = shape.basis_size();
    for (values, rolling) in groups.values.chunks(in_block).zip(groups.rolling.chunks(in_block)) {
        let mut whole = Weak::default();
        for &sum in rolling {
            let len = left.min(limits::DIGEST_GROUP);
            whole = whole.then(Weak::from_number(sum), len as u32);
            left -= len;
        }
        sums.extend_from_slice(&whole.to_bytes());
        sums.extend_from_slice(&digest::subtree(values)[..shape.strong_len() as usize]);
    }
    sums
}

/// What the strong sum of a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strong {
    /// Its MD4.
    Md4,
    /// Its value in the BLAKE3 tree of the basis: it depends on where the block stands there.
    Subtree,
}

/// The sums of a basis, parsed.
///
/// Invariant: `sums` holds one sum for each block; a block's number fits in 32 bits. With [`Strong::Subtree`] a block is
/// as long as a power of two of groups.
#[derive(Clone, Debug)]
pub struct Sums {
    shape: Shape,
    sums: Vec<u8>,
    strong: Strong,
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
        Ok(Self { shape, sums, strong: Strong::Md4 })
    }

    /// As [`Sums::parse`], for sums of [`sums_of_groups`].
    ///
    /// # Errors
    /// Also when a block is not as long as a power of two of groups.
    pub fn parse_groups(shape: Shape, sums: Vec<u8>) -> Result<Self, DeltaError> {
        let block = u64::from(shape.block_len());
        if !block.is_power_of_two() || block < limits::DIGEST_GROUP {
            return Err(DeltaError::BlockLen(shape.block_len()));
        }
        Ok(Self { strong: Strong::Subtree, ..Self::parse(shape, sums)? })
    }

    /// Whether this is the value of a block, of this length, in the tree of the basis.
    pub(super) fn is_subtree(&self, block: u32, len: usize, value: &digest::Group) -> bool {
        let is_there = if block < self.whole() {
            len == self.block_len() as usize
        } else {
            block == self.whole() && len == self.short_len() && len > 0
        };
        is_there && self.strong(block) == &value[..self.shape.strong_len() as usize]
    }

    /// How many of the blocks from this one on stand in these bytes, in order and from their beginning; the rolling sums
    /// are not asked. There must be as many blocks as the bytes would make.
    pub(super) fn equal(&self, first: u32, bytes: &[u8]) -> usize {
        let len = self.block_len() as usize;
        match self.strong {
            Strong::Md4 => {
                let found = sums_of(bytes, self.shape);
                let sum = self.shape.sum_len();
                let pairs = found.chunks(sum).zip(self.range(first, bytes.len().div_ceil(len)).chunks(sum));
                pairs.take_while(|(found, wanted)| found == wanted).count()
            }
            Strong::Subtree => {
                let is_block = |(block, bytes): &(u32, &[u8])| {
                    let value = digest::subtree_of(bytes, self.offset(*block));
                    self.strong(*block) == &value[..self.shape.strong_len() as usize]
                };
                (first..).zip(bytes.chunks(len)).take_while(is_block).count()
            }
        }
    }

    /// The first of these blocks that stands in a window, and how many blocks were hashed to find out. Their rolling sums
    /// are those of the window; `most` bounds what is hashed, in blocks.
    pub(super) fn first_equal(
        &self,
        window: &[u8],
        candidates: impl Iterator<Item = u32>,
        most: usize,
    ) -> (Option<u32>, usize) {
        if self.strong == Strong::Md4 {
            let mut candidates = candidates.peekable();
            if most == 0 || candidates.peek().is_none() {
                return (None, 0);
            }
            let sum = sums_of(window, self.shape);
            return (candidates.find(|&block| self.range(block, 1) == sum), 1);
        }
        let mut hashed = 0;
        let found = candidates.take(most).find(|&block| {
            hashed += 1;
            self.equal(block, window) == 1
        });
        (found, hashed)
    }

    /// Length of a block in bytes.
    #[must_use]
    pub fn block_len(&self) -> u32 {
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

    /// The sums of these blocks, one after another.
    pub(super) fn range(&self, first: u32, count: usize) -> &[u8] {
        let len = self.shape.sum_len();
        let first = first as usize * len;
        &self.sums[first..first + count * len]
    }

    /// The rolling sum of a block, as [`Weak::number`] has it.
    #[inline]
    pub(super) fn weak(&self, block: u32) -> u32 {
        let sum = self.range(block, 1);
        Weak::from_bytes([sum[0], sum[1], sum[2], sum[3]]).number()
    }

    /// The strong sum of a block.
    fn strong(&self, block: u32) -> &[u8] {
        &self.range(block, 1)[WEAK_LEN..]
    }
}
