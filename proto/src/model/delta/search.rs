//! The search: reads the new content once, from its beginning to its end, and says what of it the basis has.

use std::ops::{Deref, Range};

use prost::bytes::{Buf, Bytes};

use super::Op;
use super::index::Index;
use super::sums::{LANES, Sums, batch_len};
use crate::limits;
use crate::model::rolling::Weak;

/// After so many bytes without a match the search no longer rolls through all of them. Rolling costs ten times what
/// hashing costs, and content without a match for so long is usually new to its end.
const GIVE_UP: u64 = 8 * 1024 * 1024;
/// Then, of each so many bytes, ...
const PERIOD: u64 = 32 * 1024 * 1024;
/// ... or more, the longer nothing was found, up to so many, ...
const PERIOD_MAX: u64 = 256 * 1024 * 1024;
/// ... this many are rolled through: at least two blocks of any length, so that a stretch of moved content that covers
/// them shows one whole block at least. In between only equal offsets are looked at. A match ends it, so that of content
/// that was moved whole, or shuffled block by block, at most [`PERIOD`], or a quarter of what was new before it up to
/// [`PERIOD_MAX`], is sent although the basis has it.
const STRETCH: u64 = 2 * 1024 * 1024;

/// Blocks that are hashed at once where a run of matches begins. The number doubles as the run goes on, so that
/// shuffled blocks do not each pay for a long one.
const RUN_MIN: usize = LANES;

/// Bytes that may be hashed for false alarms, for each byte rolled through; and how many blocks may be saved up. A
/// peer can send rolling sums that are those of the file with other MD4s, so that every byte raises an alarm
/// (CVE-2026-70453). Honest alarms, size / 2^32 bytes for each byte, stay below this up to 8 GiB; beyond, some
/// are not looked into, and a moved stretch is found some blocks late.
const ALARM_BYTES: u64 = 2;
/// See [`ALARM_BYTES`].
const ALARM_BLOCKS: u64 = 256;

/// What is to be done at [`Search::at`].
#[derive(Clone, Copy, Debug)]
enum Mode {
    /// The block of this number may stand here: the one after the last match. `run` is how many blocks, from it on,
    /// to compare at once.
    Expect { block: u32, run: usize },
    /// Anything may stand here. The sum is that of the window here, once known; it has been looked up.
    Roll(Option<Weak>),
}

/// How often a stretch is rolled through after so many bytes beyond [`GIVE_UP`]: four times until these have doubled.
pub(super) fn period(beyond: u64) -> u64 {
    ((1 << beyond.max(1).ilog2()) / 4).clamp(PERIOD, PERIOD_MAX)
}

/// Content that is held, of which slices are given out.
enum Held {
    /// As it came in pieces.
    Pieces(Vec<u8>),
    /// All of a content that lies in memory, or what is left of it: its slices are not copied.
    Whole(Bytes),
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Pieces(bytes) => bytes,
            Self::Whole(bytes) => bytes,
        }
    }
}

impl Held {
    fn piece(&self, range: Range<usize>) -> Bytes {
        match self {
            Self::Pieces(bytes) => Bytes::copy_from_slice(&bytes[range]),
            Self::Whole(bytes) => bytes.slice(range),
        }
    }

    /// Lets go of the first so many bytes.
    fn forget(&mut self, len: usize) {
        match self {
            Self::Pieces(bytes) => drop(bytes.drain(..len)),
            Self::Whole(bytes) => bytes.advance(len),
        }
    }
}

/// A search in progress.
///
/// Invariant: `held[..literal]` is done with, `held[literal..at]` is known to be literal and not yet given out, what
/// follows is not decided; `start` is the offset of `held[0]` in the content.
///
/// Bound: of what comes in pieces never more than `capacity()` is held, at most 6.2 MiB (for blocks of 1 MiB; 1.2 MiB for
/// a file of 1 GiB); the index takes 10 to 20 bytes for each block.
pub struct Search<'a> {
    sums: &'a Sums,
    index: Index<'a>,
    held: Held,
    start: u64,
    literal: usize,
    at: usize,
    mode: Mode,
    /// Bytes since the last match.
    missed: u64,
    /// Bytes that may yet be hashed for false alarms.
    pub(super) alarms_left: u64,
    /// A copy that the next match may continue: offset and length.
    copy: Option<(u64, u64)>,
}

impl<'a> Search<'a> {
    /// A search for what these sums describe, in content of about this size (memory is taken accordingly; nothing
    /// depends on it).
    #[must_use]
    pub fn new(sums: &'a Sums, source_size_hint: u64) -> Self {
        let mut search = Self {
            sums,
            index: Index::new(sums),
            held: Held::Pieces(Vec::new()),
            start: 0,
            literal: 0,
            at: 0,
            mode: Mode::Expect { block: 0, run: RUN_MIN },
            missed: 0,
            alarms_left: ALARM_BLOCKS * u64::from(sums.block_len()),
            copy: None,
        };
        let hint = usize::try_from(source_size_hint).unwrap_or(usize::MAX);
        search.held = Held::Pieces(Vec::with_capacity(hint.min(search.capacity())));
        search
    }

    /// As a search that takes this content and finishes. Nothing of it is copied.
    pub fn through(sums: &'a Sums, content: &Bytes, emit: &mut impl FnMut(Op)) {
        let mut search = Self::new(sums, 0);
        search.held = Held::Whole(content.clone());
        search.finish(emit);
    }

    /// Takes the next bytes of the content, cut anyhow; gives out the steps that have become certain.
    pub fn update(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(Op)) {
        while !bytes.is_empty() {
            let capacity = self.capacity();
            // Who gave all of it at once has nothing more to give.
            let Held::Pieces(held) = &mut self.held else { return };
            let (now, later) = bytes.split_at(bytes.len().min(capacity - held.len()));
            held.extend_from_slice(now);
            bytes = later;
            if held.len() == capacity {
                self.advance(emit);
            }
        }
    }

    /// Gives out the rest.
    pub fn finish(mut self, emit: &mut impl FnMut(Op)) {
        self.end_stretch(emit);
        self.give_copy(emit);
    }

    /// Bytes of the content taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.start + self.held.len() as u64
    }

    /// The next bytes of the content, which are not taken, are known to be those of the basis at the same offset: `len` of
    /// them, a block. What was taken so far is decided.
    pub(super) fn place(&mut self, len: usize, emit: &mut impl FnMut(Op)) {
        self.end_stretch(emit);
        let offset = self.taken();
        self.held.forget(self.held.len());
        (self.at, self.literal) = (0, 0);
        self.start = offset + len as u64;
        self.missed = 0;
        self.mode = Mode::Roll(None);
        self.copied(offset, len as u64, emit);
    }

    /// Decides everything that is held: no window reaches beyond it.
    fn end_stretch(&mut self, emit: &mut impl FnMut(Op)) {
        self.advance(emit);
        // The short block at the end of the basis is looked for at the end of the content; anywhere else only where
        // it is expected.
        let short = self.sums.short_len();
        let tail = self.held.len().saturating_sub(short).max(self.literal);
        if short > 0 && self.held.len() - tail == short && self.is_block(tail, self.sums.whole()) {
            self.at = tail;
            self.matched(self.sums.whole(), short, emit);
        }
        self.at = self.held.len();
        self.give_literals(1, emit);
    }

    /// Bytes that are held before the search goes on: what is worth hashing at once, and what [`Search::advance`] may
    /// leave, less than two blocks undecided and less than a chunk of literals.
    fn capacity(&self) -> usize {
        batch_len(self.sums.block_len()) + 2 * self.block_len() + limits::CHUNK_LEN
    }

    fn block_len(&self) -> usize {
        self.sums.block_len() as usize
    }

    /// Decides as much of what is held as can be.
    fn advance(&mut self, emit: &mut impl FnMut(Op)) {
        loop {
            let moved = match self.mode {
                Mode::Expect { block, run } => self.expect(block, run, emit),
                Mode::Roll(weak) => match self.rollable() {
                    0 => self.skip(emit),
                    most => self.roll(weak, most, emit),
                },
            };
            if !moved {
                break;
            }
        }
        self.give_literals(limits::CHUNK_LEN, emit);
        self.held.forget(self.literal);
        self.start += self.literal as u64;
        self.at -= self.literal;
        self.literal = 0;
    }

    /// Compares the next blocks with those that are expected. False, here and below: more bytes must come first.
    fn expect(&mut self, block: u32, run: usize, emit: &mut impl FnMut(Op)) -> bool {
        let here = self.held.len() - self.at;
        let left = self.sums.whole().saturating_sub(block) as usize;
        if left == 0 {
            let short = self.sums.short_len();
            let is_last = short > 0 && block == self.sums.whole();
            if is_last && here < short {
                return false;
            }
            self.mode = Mode::Roll(None);
            if is_last && self.is_block(self.at, block) {
                self.matched(block, short, emit);
            }
            return true;
        }
        let len = self.block_len();
        if here < len {
            return false;
        }
        let first = Weak::of(&self.held[self.at..self.at + len]);
        let run_now = run.min(left).min(here / len);
        let equal = if first.number() == self.sums.weak(block) {
            self.sums.equal(block, &self.held[self.at..self.at + run_now * len])
        } else {
            0
        };
        if equal == 0 {
            self.mode = Mode::Roll(None);
            self.look_up(first, emit);
        } else {
            self.matched(block, equal * len, emit);
            let run = if equal == run_now { run.saturating_mul(2) } else { RUN_MIN };
            self.mode = Mode::Expect { block: block + equal as u32, run };
        }
        true
    }

    /// Rolls on through at most so many bytes, up to the next match.
    fn roll(&mut self, weak: Option<Weak>, most: u64, emit: &mut impl FnMut(Op)) -> bool {
        let len = self.block_len();
        let here = self.held.len() - self.at;
        if here < len {
            return false;
        }
        let Some(mut weak) = weak else {
            self.look_up(Weak::of(&self.held[self.at..self.at + len]), emit);
            return true;
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(here - len);
        if most == 0 {
            return false;
        }
        let (old, new) =
            (&self.held[self.at..self.at + most], &self.held[self.at + len..self.at + len + most]);
        let stopped = self.index.roll(&mut weak, old, new);
        self.miss(stopped.unwrap_or(most));
        self.mode = Mode::Roll(Some(weak));
        if stopped.is_some() {
            self.look_up(weak, emit);
        }
        true
    }

    /// Bytes that may be rolled through before some are skipped: 0 when it is time to skip.
    fn rollable(&self) -> u64 {
        match self.missed.checked_sub(GIVE_UP) {
            None => GIVE_UP - self.missed,
            Some(beyond) => STRETCH.saturating_sub(beyond % period(beyond)),
        }
    }

    /// Goes on to the next offset at which the basis has a block, and over that block unless it is the same.
    fn skip(&mut self, emit: &mut impl FnMut(Op)) -> bool {
        let len = self.block_len();
        let here = self.held.len() - self.at;
        let offset = self.start + self.at as u64;
        let block = offset.div_ceil(len as u64);
        let gap = (block * len as u64 - offset) as usize;
        if here < gap + len {
            return false;
        }
        self.miss(gap);
        self.mode = Mode::Roll(None);
        match u32::try_from(block).ok().filter(|&block| block < self.sums.whole()) {
            Some(block) if self.is_block(self.at, block) => {
                self.matched(block, len, emit);
                self.mode = Mode::Expect { block: block + 1, run: RUN_MIN };
            }
            _ => self.miss(len),
        }
        true
    }

    /// Whether the bytes at this place in `held` are this block, whole or short. They must be held.
    fn is_block(&self, at: usize, block: u32) -> bool {
        let len = if block < self.sums.whole() { self.block_len() } else { self.sums.short_len() };
        let bytes = &self.held[at..at + len];
        Weak::of(bytes).number() == self.sums.weak(block) && self.sums.equal(block, bytes) == 1
    }

    /// Looks for a block that is the window here, whose rolling sum this is; remembers the sum when there is none.
    fn look_up(&mut self, weak: Weak, emit: &mut impl FnMut(Op)) {
        self.mode = Mode::Roll(Some(weak));
        let len = self.block_len();
        let window = &self.held[self.at..self.at + len];
        let most = usize::try_from(self.alarms_left / len as u64).unwrap_or(usize::MAX);
        let (found, hashed) = self.sums.first_equal(window, self.index.candidates(weak), most);
        // A hit costs one block, and whatever was hashed besides is paid for.
        let alarms = hashed.saturating_sub(usize::from(found.is_some()));
        self.alarms_left = self.alarms_left.saturating_sub(alarms as u64 * len as u64);
        let Some(found) = found else { return };
        // Of equal blocks, one at the same offset continues what is already in place.
        let offset = self.start + self.at as u64;
        let in_place = u32::try_from(offset / len as u64).ok();
        let in_place =
            in_place.filter(|&block| block < self.sums.whole() && self.sums.offset(block) == offset);
        let same = |&block: &u32| block == found || self.sums.equal(block, window) == 1;
        let block = in_place.filter(same).unwrap_or(found);
        self.matched(block, len, emit);
        self.mode = Mode::Expect { block: block + 1, run: RUN_MIN };
    }

    /// These next bytes are literal.
    fn miss(&mut self, bytes: usize) {
        self.at += bytes;
        self.missed += bytes as u64;
        let most = ALARM_BLOCKS * u64::from(self.sums.block_len());
        self.alarms_left = most.min(self.alarms_left + ALARM_BYTES * bytes as u64);
    }

    /// These next bytes are those of the basis from this block on.
    fn matched(&mut self, block: u32, len: usize, emit: &mut impl FnMut(Op)) {
        self.give_literals(1, emit);
        self.at += len;
        self.literal = self.at;
        self.missed = 0;
        self.copied(self.sums.offset(block), len as u64, emit);
    }

    /// Books a copy. One that has become long is given out: the receiver works on it while the rest is being read here.
    fn copied(&mut self, offset: u64, len: u64, emit: &mut impl FnMut(Op)) {
        match &mut self.copy {
            Some((start, before)) if *start + *before == offset => *before += len,
            _ => {
                self.give_copy(emit);
                self.copy = Some((offset, len));
            }
        }
        if self.copy.is_some_and(|(_, len)| len >= limits::COPY_LEN) {
            self.give_copy(emit);
        }
    }

    /// Gives out literals as long as there are this many.
    fn give_literals(&mut self, least: usize, emit: &mut impl FnMut(Op)) {
        while self.at - self.literal >= least {
            self.give_copy(emit);
            let end = self.at.min(self.literal + limits::CHUNK_LEN);
            emit(Op::Literal(self.held.piece(self.literal..end)));
            self.literal = end;
        }
    }

    fn give_copy(&mut self, emit: &mut impl FnMut(Op)) {
        if let Some((offset, len)) = self.copy.take() {
            emit(Op::Copy { offset, len });
        }
    }
}
