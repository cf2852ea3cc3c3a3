//! Finds the blocks that have a given rolling sum.

use super::sums::Sums;
use crate::model::rolling::Weak;

/// Slots that a look-up may visit, and so the most blocks of one rolling sum that are told apart. A peer can send sums
/// that all fall on one slot, so that every look-up visits them all (CVE-2026-70453); honest ones fill half the
/// slots or two thirds, where next to none lies farther.
const PROBES: usize = 32;

/// Bits of the map for each block. A rolled byte whose sum no block has is then stopped by one bit in 31 of 32 cases,
/// and the map of a file of 1 GiB still fits the second-level cache.
const BITS_PER_BLOCK: usize = 32;

const EMPTY: u32 = u32::MAX;

/// The whole blocks of a signature by their rolling sum.
///
/// Bound: 10 to 20 bytes for each block. Of blocks with equal sums only the first is found; any will do.
pub(super) struct Index<'a> {
    sums: &'a Sums,
    /// A bit for the lower bits of each rolling sum. Length: a power of two.
    map: Vec<u64>,
    /// Block numbers, each within [`PROBES`] slots of where its rolling sum points, or [`EMPTY`]. Length: a power
    /// of two.
    slots: Vec<u32>,
}

impl<'a> Index<'a> {
    pub(super) fn new(sums: &'a Sums) -> Self {
        let whole = sums.whole() as usize;
        let map = vec![0; (whole * BITS_PER_BLOCK / 64).next_power_of_two()];
        let slots = vec![EMPTY; (whole + whole / 2).next_power_of_two()];
        let mut index = Self { sums, map, slots };
        (0..sums.whole()).for_each(|block| index.insert(block));
        index
    }

    /// A block for which [`PROBES`] slots are not enough is left out: its content is then sent, not copied.
    fn insert(&mut self, block: u32) {
        let weak = self.sums.weak(block);
        for probe in 0..PROBES {
            let slot = self.slot(weak, probe);
            let there = self.slots[slot];
            if there == EMPTY {
                self.slots[slot] = block;
                let bit = weak as usize;
                let word = (bit / 64) & (self.map.len() - 1);
                self.map[word] |= 1 << (bit % 64);
                return;
            }
            if self.sums.range(there, 1) == self.sums.range(block, 1) {
                return;
            }
        }
    }

    /// Multiplied by 2^32 over the golden ratio, the upper bits depend on all of the sum.
    fn slot(&self, weak: u32, probe: usize) -> usize {
        let spread = (weak.wrapping_mul(0x9e37_79b9) >> 8) as usize;
        (spread + probe) & (self.slots.len() - 1)
    }

    /// The blocks with this rolling sum, at most [`PROBES`].
    pub(super) fn candidates(&self, weak: Weak) -> impl Iterator<Item = u32> {
        let weak = weak.number();
        (0..PROBES)
            .map(move |probe| self.slots[self.slot(weak, probe)])
            .take_while(|&block| block != EMPTY)
            .filter(move |&block| self.sums.weak(block) == weak)
    }

    /// Rolls a window on, byte by byte: `old` are the bytes that leave it, `new`, as many, those that enter. Stops
    /// where some block has its rolling sum, and says after how many bytes; `None` when it came to the end.
    pub(super) fn roll(&self, weak: &mut Weak, old: &[u8], new: &[u8]) -> Option<usize> {
        let len = self.sums.block_len();
        let last = self.map.len() - 1;
        let mut rolling = *weak;
        for (i, (&old, &new)) in old.iter().zip(new).enumerate() {
            rolling = rolling.roll(len, old, new);
            let bit = rolling.number() as usize;
            let word = self.map[(bit / 64) & last];
            if word & (1 << (bit % 64)) != 0 && self.candidates(rolling).next().is_some() {
                *weak = rolling;
                return Some(i + 1);
            }
        }
        *weak = rolling;
        None
    }
}
