//! The rolling sum: what a window of content is recognised by while it moves byte by byte.

/// The rolling sum of a window: that of `fast_rsync`, which keeps its two halves in 16 bits each.
///
/// Invariant: only the lower 16 bits of each half count; the upper ones are whatever the arithmetic left, so that
/// the loop that rolls need not clear them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weak {
    low: u32,
    high: u32,
}

/// Added to every byte, as `fast_rsync` does.
const MAGIC: u32 = 31;

impl Weak {
    /// Of a whole window.
    pub(crate) fn of(window: &[u8]) -> Self {
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
    pub(crate) fn roll(self, len: u32, old: u8, new: u8) -> Self {
        let old = u32::from(old);
        let low = self.low.wrapping_add(u32::from(new).wrapping_sub(old));
        let high = self.high.wrapping_add(low).wrapping_sub(len.wrapping_mul(old + MAGIC));
        Self { low, high }
    }

    /// The sum as one number. The half that spreads evenly is the lower one, unlike on the wire, so that a table
    /// may take as many of the lower bits as it needs.
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        (self.high & 0xffff) | (self.low << 16)
    }

    /// From [`Weak::number`].
    pub(crate) fn from_number(number: u32) -> Self {
        Self { low: number >> 16, high: number & 0xffff }
    }

    /// The sum of this window and the one that follows it, `len` bytes long.
    pub(crate) fn then(self, next: Self, len: u32) -> Self {
        Self {
            low: self.low.wrapping_add(next.low),
            high: self.high.wrapping_add(len.wrapping_mul(self.low)).wrapping_add(next.high),
        }
    }

    /// As it stands on the wire, before the strong sum: the half that spreads evenly comes last.
    pub(crate) fn to_bytes(self) -> [u8; 4] {
        self.number().rotate_left(16).to_be_bytes()
    }

    /// From [`Weak::to_bytes`].
    #[inline]
    pub(crate) fn from_bytes(bytes: [u8; 4]) -> Self {
        Self::from_number(u32::from_be_bytes(bytes).rotate_left(16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_window_is_made_of_those_of_its_parts() {
        let bytes: Vec<u8> = (0..70_000_u64).map(|i| (i * i / 3 % 251) as u8).collect();
        let whole = Weak::of(&bytes).number();
        for cut in [0, 1, 700, 16_384, 65_536, bytes.len()] {
            let (first, second) = bytes.split_at(cut);
            let joined = Weak::of(first).then(Weak::of(second), second.len() as u32);
            assert_eq!(joined.number(), whole, "cut at {cut}");
        }
        let back = Weak::from_bytes(Weak::of(&bytes).to_bytes());
        assert_eq!(back.number(), whole);
    }
}
