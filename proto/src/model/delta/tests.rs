//! What the search gives out rebuilds the content; how little of it is literal; what a hostile peer may send.

use std::collections::HashMap;

use fast_rsync::{Signature, SignatureOptions};
use proptest::prelude::*;

use super::*;
use crate::model::digest::{Digest, Group, GroupHasher, subtree_of};
use crate::model::rolling::Weak;

const BLOCK: usize = 2048;

/// Of a basis of this size, cut into [`BLOCK`]s, with all of each MD4.
fn shape(size: u64) -> Shape {
    Shape::new(size, BLOCK as u32, 16).expect("a shape")
}

/// Bytes of a sum in that shape.
const SUM_LEN: usize = 20;

/// Bytes that look random; the same seed gives the same bytes.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

/// The sums of a basis that arrives in pieces of this length.
fn signature(basis: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut signer = Signer::new(shape(basis.len() as u64));
    basis.chunks(piece).for_each(|bytes| signer.update(bytes, &mut out));
    signer.finish(&mut out);
    out
}

/// The ops for a source that arrives in pieces of this length.
fn search_with(sums: &Sums, source: &[u8], piece: usize) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut search = Search::new(sums, source.len() as u64);
    source.chunks(piece).for_each(|bytes| search.update(bytes, &mut |op| ops.push(op)));
    search.finish(&mut |op| ops.push(op));
    let mut at_once = Vec::new();
    Search::through(sums, &Bytes::copy_from_slice(source), &mut |op| at_once.push(op));
    assert_eq!(at_once.iter().map(Op::len).sum::<u64>(), source.len() as u64, "all of it");
    if source.len() as u64 <= limits::INLINE_MAX {
        assert_eq!(at_once, ops, "at once or in pieces");
    }
    ops
}

/// Searches, checks that the ops rebuild the source and are as [`Op`] says, and counts the literal bytes.
fn literals(basis: &[u8], source: &[u8], piece: usize) -> usize {
    let sums = Sums::parse(shape(basis.len() as u64), signature(basis, piece)).expect("sums");
    rebuild(basis, source, &search_with(&sums, source, piece))
}

/// Checks that the ops rebuild the source and are as [`Op`] says, and counts the literal bytes.
fn rebuild(basis: &[u8], source: &[u8], ops: &[Op]) -> usize {
    let (mut built, mut literal, mut copied_to) = (Vec::new(), 0, None);
    for op in ops {
        match op {
            Op::Copy { offset, len } => {
                assert_ne!(copied_to, Some(*offset), "two copies that are one");
                copied_to = (*len < limits::COPY_LEN).then_some(offset + len);
                assert!(*len > 0);
                built.extend_from_slice(&basis[*offset as usize..(offset + len) as usize]);
            }
            Op::Literal(bytes) => {
                assert!((1..=limits::CHUNK_LEN).contains(&bytes.len()));
                copied_to = None;
                literal += bytes.len();
                built.extend_from_slice(bytes);
            }
        }
    }
    assert!(built == source, "the ops do not rebuild the source");
    literal
}

/// Literal bytes of the plainest search: at each byte every whole block is tried, byte for byte.
fn plain_literals(basis: &[u8], source: &[u8]) -> usize {
    let mut blocks: HashMap<u32, Vec<&[u8]>> = HashMap::new();
    for block in basis.chunks_exact(BLOCK) {
        blocks.entry(Weak::of(block).number()).or_default().push(block);
    }
    let (mut at, mut literal) = (0, 0);
    let mut weak = None;
    while at + BLOCK <= source.len() {
        let window = &source[at..at + BLOCK];
        let sum = weak.unwrap_or_else(|| Weak::of(window));
        if blocks.get(&sum.number()).is_some_and(|same| same.contains(&window)) {
            at += BLOCK;
            weak = None;
        } else {
            weak = source.get(at + BLOCK).map(|&new| sum.roll(BLOCK as u32, source[at], new));
            at += 1;
            literal += 1;
        }
    }
    let tail = basis.chunks_exact(BLOCK).remainder();
    let rest = literal + source.len() - at;
    if !tail.is_empty() && rest >= tail.len() && source.ends_with(tail) { rest - tail.len() } else { rest }
}

/// One way in which a file changes.
#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, usize),
    Move(usize, usize, usize),
    Overwrite(usize, usize),
    Remove(usize, usize),
    Zero(usize, usize),
}

/// Places and lengths are taken modulo what the content has room for.
fn apply(content: &mut Vec<u8>, edit: &Edit, seed: u64) {
    let span = |at: usize, len: usize, content: &Vec<u8>| {
        let at = at % (content.len() + 1);
        at..(at + len).min(content.len())
    };
    match *edit {
        Edit::Insert(at, len) => {
            let at = at % (content.len() + 1);
            content.splice(at..at, noise(len, seed));
        }
        Edit::Move(from, len, to) => {
            let moved: Vec<u8> = content.drain(span(from, len, content)).collect();
            let to = to % (content.len() + 1);
            content.splice(to..to, moved);
        }
        Edit::Overwrite(at, len) => {
            let span = span(at, len, content);
            let new = noise(span.len(), seed);
            content[span].copy_from_slice(&new);
        }
        Edit::Remove(at, len) => drop(content.drain(span(at, len, content))),
        Edit::Zero(at, len) => {
            let span = span(at, len, content);
            content[span].fill(0);
        }
    }
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let (at, len) = (0..100_000_usize, 1..3 * BLOCK);
    let edit = prop_oneof![
        (at.clone(), len.clone()).prop_map(|(at, len)| Edit::Insert(at, len)),
        (at.clone(), len.clone(), at.clone()).prop_map(|(from, len, to)| Edit::Move(from, len, to)),
        (at.clone(), len.clone()).prop_map(|(at, len)| Edit::Overwrite(at, len)),
        (at.clone(), 1..20_000_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (at, len).prop_map(|(at, len)| Edit::Zero(at, len)),
    ];
    prop::collection::vec(edit, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_edited_file_is_rebuilt_with_few_literals(
        size in 0..60_000_usize, zeros in 0..60_000_usize, edits in edits(), piece in 1..40_000_usize,
    ) {
        let mut basis = noise(size, 1);
        let empty = basis.len().min(zeros);
        basis[..empty].fill(0);
        let mut source = basis.clone();
        edits.iter().zip(2..).for_each(|(edit, seed)| apply(&mut source, edit, seed));
        let got = literals(&basis, &source, piece);
        // The end of the basis, found in the middle of the source, may cost a block that is found there otherwise.
        prop_assert!(got <= plain_literals(&basis, &source) + BLOCK);
    }

    #[test]
    fn the_rolling_sum_is_that_of_fast_rsync(bytes in prop::collection::vec(any::<u8>(), 2..5000)) {
        let window = bytes.len() as u32 - 1;
        let options = SignatureOptions { block_size: window, crypto_hash_size: 0 };
        let weak = |bytes: &[u8]| {
            let signature = Signature::calculate(bytes, options).into_serialized();
            u32::from_be_bytes(signature[12..16].try_into().expect("four bytes")).rotate_left(16)
        };
        let (first, second) = (&bytes[..bytes.len() - 1], &bytes[1..]);
        prop_assert_eq!(Weak::of(first).number(), weak(first));
        let rolled = Weak::of(first).roll(window, bytes[0], bytes[bytes.len() - 1]);
        prop_assert_eq!(rolled.number(), weak(second));
    }
}

#[test]
fn a_streamed_signature_is_that_of_the_whole() {
    let basis = noise(3 * 1024 * 1024 + 100, 1);
    let whole = sums_of(&basis, shape(basis.len() as u64));
    assert_eq!(whole.len(), basis.len().div_ceil(BLOCK) * SUM_LEN);
    for piece in [1000, BLOCK, 700_000, 1024 * 1024, basis.len()] {
        assert!(signature(&basis, piece) == whole, "in pieces of {piece}");
    }
    assert!(signature(b"", 1).is_empty());
}

#[test]
fn usual_changes_cost_what_they_must() {
    let size = 4 * 1024 * 1024 + 500;
    let basis = noise(size, 1);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut source = basis.clone();
        change(&mut source);
        source
    };
    let scattered = with(&|source| {
        (0..64).for_each(|i| source[i * 65_000..][..4096].copy_from_slice(&noise(4096, i as u64 + 2)));
    });
    let mut shuffled: Vec<&[u8]> = basis.chunks_exact(BLOCK).collect();
    shuffled.sort();
    let cases: [(&str, Vec<u8>, usize); 8] = [
        ("identical", basis.clone(), 0),
        ("one byte before", with(&|source| source.insert(0, 7)), 1),
        ("64 edits of 4 KiB", scattered, 64 * (4096 + 2 * BLOCK)),
        ("shuffled", shuffled.concat(), 0),
        ("appended", with(&|source| source.extend(noise(10_000, 2))), 10_000),
        ("cut at the end", basis[..size - 10_000].to_vec(), BLOCK),
        ("cut at the beginning", basis[10_000..].to_vec(), BLOCK),
        ("nothing left", Vec::new(), 0),
    ];
    for (what, source, most) in cases {
        let got = literals(&basis, &source, 300_000);
        assert!(got <= most, "{what}: {got} literal bytes, not {most}");
    }
}

#[test]
fn after_giving_up_content_that_stayed_or_moved_is_still_found() {
    let basis = noise(40 * 1024 * 1024, 1);
    let new = noise(20 * 1024 * 1024, 2);
    let mut replaced = basis.clone();
    replaced[..12 * 1024 * 1024].copy_from_slice(&new[..12 * 1024 * 1024]);
    assert_eq!(literals(&basis, &replaced, 1 << 20), 12 * 1024 * 1024);

    // Moved by an odd distance: found where the rolling begins again, 32 MiB after giving up at 8.
    let moved = [&new[..12 * 1024 * 1024 + 1], &basis].concat();
    let got = literals(&basis, &moved, 1 << 20);
    assert!(got <= (8 + 32) * 1024 * 1024 + BLOCK, "{got} literal bytes");
}

#[test]
fn the_longer_nothing_is_found_the_less_is_rolled_through() {
    const MIB: u64 = 1024 * 1024;
    let cases = [(0, 32), (128, 32), (255, 32), (256, 64), (600, 128), (1024, 256), (1 << 20, 256)];
    for (beyond, want) in cases {
        assert_eq!(super::search::period(beyond * MIB), want * MIB, "after {beyond} MiB");
    }
}

#[test]
fn sums_that_do_not_fit_are_refused() {
    let parse = |block_len, strong_len, size, sums: usize| {
        let shape = Shape::new(size, block_len, strong_len)?;
        Sums::parse(shape, vec![0; sums]).map(|_| ())
    };
    let (least, most) = (limits::BLOCK_MIN, limits::BLOCK_MAX);
    assert_eq!(parse(least, 16, 0, 0), Ok(()));
    assert_eq!(parse(2048, 16, 2048, 20), Ok(()));
    assert_eq!(parse(2048, 16, 2049, 40), Ok(()));
    assert_eq!(parse(2048, 2, 2049, 12), Ok(()));
    assert_eq!(parse(2048, 16, 2049, 39), Err(DeltaError::Length { got: 39, want: 40 }));
    assert_eq!(parse(least, 16, 0, 20), Err(DeltaError::Length { got: 20, want: 0 }));
    for block_len in [0, least - 1, most + 1, u32::MAX] {
        assert_eq!(parse(block_len, 16, 4096, 40), Err(DeltaError::BlockLen(block_len)));
    }
    for strong_len in [0, 1, 17, u32::MAX] {
        assert_eq!(parse(2048, strong_len, 4096, 40), Err(DeltaError::StrongLen(strong_len)));
    }
    let blocks = u64::MAX.div_ceil(u64::from(least));
    assert_eq!(parse(least, 16, u64::MAX, 20), Err(DeltaError::Blocks(blocks)));
}

#[test]
fn sums_are_those_of_fast_rsync_however_many_blocks_there_are() {
    let bytes = noise(18 * BLOCK + 5, 1);
    for strong in [2, 16] {
        let options = SignatureOptions { block_size: BLOCK as u32, crypto_hash_size: strong };
        for len in (0..=18).flat_map(|blocks| [blocks * BLOCK, blocks * BLOCK + 5]) {
            let shape = Shape::new(len as u64, BLOCK as u32, strong).expect("a shape");
            let want = Signature::calculate(&bytes[..len], options).into_serialized();
            assert_eq!(sums_of(&bytes[..len], shape), want[12..], "{len} bytes");
        }
    }
}

#[test]
fn block_lengths_follow_the_square_root() {
    let cases = [(0, 704), (1 << 22, 2048), (1 << 30, 32_768), (3_000_000_000, 54_776), (u64::MAX, 1 << 20)];
    for (size, want) in cases {
        assert_eq!(block_len(size), want, "{size} bytes");
    }
}

#[test]
fn sums_are_as_long_as_accidents_are_rare() {
    let cases = [(0, 2), (700, 2), (16_000, 2), (1 << 20, 2), (1 << 30, 4), (1 << 40, 6)];
    for (size, want) in cases {
        let shape = Shape::of(size).expect("a shape");
        assert_eq!(shape.strong_len(), want, "{size} bytes");
        assert_eq!(shape.sum_len(), want as usize + 4);
    }
    assert_eq!(Shape::of(u64::MAX), None);
}

/// Every byte of the source raises an alarm, and hashing a block for each would be 16 GB.
#[test]
fn false_alarms_are_paid_from_a_budget() {
    let source = vec![0; 8 * 1024 * 1024];
    let mut sums = signature(&source[..64 * BLOCK], BLOCK);
    for (i, sum) in sums.chunks_mut(SUM_LEN).enumerate() {
        sum[4..].fill(i as u8);
    }
    let sums = Sums::parse(shape(64 * BLOCK as u64), sums).expect("sums");
    let mut search = Search::new(&sums, source.len() as u64);
    search.update(&source, &mut |op| assert!(matches!(op, Op::Literal(_))));
    assert!(search.alarms_left < BLOCK as u64, "the budget is spent, and no more than that");
}

/// Sums that say anything, for content that they do not describe: copies stay within the basis, and the source is
/// covered to the byte.
#[test]
fn lying_sums_give_ops_within_bounds() {
    let source = noise(200_000, 1);
    let size = 50 * BLOCK as u64 + 7;
    for lie in
        [vec![0; 51 * SUM_LEN], noise(51 * SUM_LEN, 9), signature(&source, BLOCK)[..51 * SUM_LEN].to_vec()]
    {
        let sums = Sums::parse(shape(size), lie).expect("sums");
        let covered = search_with(&sums, &source, 4096).iter().fold(0, |covered, op| match op {
            Op::Copy { offset, len } => {
                assert!(offset + len <= size);
                covered + len
            }
            Op::Literal(bytes) => covered + bytes.len() as u64,
        });
        assert_eq!(covered, source.len() as u64);
    }
}

/// Bytes of a group.
const GROUP: usize = limits::DIGEST_GROUP as usize;

/// The sums of a basis by its groups, in blocks of this many.
fn group_sums(basis: &[u8], in_block: usize) -> Sums {
    let shape = Shape::new(basis.len() as u64, (in_block * GROUP) as u32, 4).expect("a shape");
    let mut hasher = GroupHasher::signing();
    hasher.update(basis);
    Sums::parse_groups(shape, sums_of_groups(&hasher.sign().1, shape)).expect("sums")
}

/// The values of the groups in these bytes, which begin at a group.
fn group_values(bytes: &[u8], offset: u64) -> Vec<Group> {
    let offsets = (offset..).step_by(GROUP);
    bytes.chunks(GROUP).zip(offsets).map(|(bytes, offset)| subtree_of(bytes, offset)).collect()
}

/// As [`literals`], by the groups of the basis.
fn group_literals(basis: &[u8], source: &[u8], in_block: usize) -> usize {
    let sums = group_sums(basis, in_block);
    let mut ops = Vec::new();
    let mut search = GroupSearch::new(&sums, source.len() as u64);
    let mut offset = 0;
    for bytes in source.chunks(limits::BLOCK_MAX as usize) {
        search.update(bytes, &group_values(bytes, offset), &mut |op| ops.push(op));
        offset += bytes.len() as u64;
    }
    let (digest, groups, size) = search.finish(&mut |op| ops.push(op));
    assert_eq!((digest, size), (Digest::of(source), source.len() as u64));
    assert!(groups.len() == source.len().div_ceil(GROUP) || source.len() <= GROUP);
    rebuild(basis, source, &ops)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn by_groups_an_edited_file_is_rebuilt_with_few_literals(
        size in 2 * GROUP..20 * GROUP, zeros in 0..9 * GROUP, in_block in 0..3_u32,
        places in prop::collection::vec((0..20 * GROUP, 0..20 * GROUP, 1..2 * GROUP, 0..4_u8), 0..4),
    ) {
        let mut basis = noise(size, 1);
        basis[..size.min(zeros)].fill(0);
        let mut source = basis.clone();
        for (seed, &(at, to, len, edit)) in (2..).zip(&places) {
            let edit = match edit {
                0 => Edit::Insert(at, len),
                1 => Edit::Move(at, len, to),
                2 => Edit::Overwrite(at, len),
                _ => Edit::Remove(at, len),
            };
            apply(&mut source, &edit, seed);
        }
        let block = GROUP << in_block;
        let got = group_literals(&basis, &source, 1 << in_block);
        // Each edit costs what it brings, and a block at each place that it cuts.
        let brought: usize = places.iter().map(|&(.., len, edit)| if edit == 3 { 0 } else { len }).sum();
        let cuts = places.len() * 4 + 1;
        prop_assert!(got <= brought + cuts * block, "{} literal bytes", got);
    }
}

#[test]
fn by_groups_usual_changes_cost_what_they_must() {
    let size = 5 * 1024 * 1024 + 500;
    let basis = noise(size, 1);
    let block = 2 * GROUP;
    let mut edited = basis.clone();
    (0..16).for_each(|i| edited[i * 4 * block + 100..][..4096].copy_from_slice(&noise(4096, i as u64 + 2)));
    let mut shuffled: Vec<&[u8]> = basis.chunks_exact(block).collect();
    shuffled[10..90].reverse();
    let cases: [(&str, Vec<u8>, usize); 8] = [
        ("identical", basis.clone(), 0),
        ("one byte before", [&b"x"[..], &basis].concat(), 1),
        ("16 edits of 4 KiB", edited, 16 * block),
        ("shuffled", shuffled.concat(), 0),
        ("appended", [&basis[..], &noise(10_000, 2)].concat(), 10_000 + block),
        ("cut at the end", basis[..size - 10_000].to_vec(), block),
        ("cut at the beginning", basis[10_000..].to_vec(), block),
        ("nothing left", Vec::new(), 0),
    ];
    for (what, source, most) in cases {
        let got = group_literals(&basis, &source, 2);
        assert!(got <= most, "{what}: {got} literal bytes, not {most}");
    }
}

#[test]
fn blocks_of_groups_follow_the_square_root() {
    let cases =
        [(1 << 20, 16_384), (1 << 28, 16_384), (1 << 30, 32_768), (1 << 31, 32_768), (1 << 32, 65_536)];
    for (size, want) in cases {
        assert_eq!(Shape::of_groups(size).map(Shape::block_len), Some(want), "{size} bytes");
    }
    for block_len in [704, 16_384 + 8, 3 * 16_384] {
        let shape = Shape::new(1 << 20, block_len, 4).expect("a shape");
        let refused = Sums::parse_groups(shape, vec![0; shape.sums_len() as usize]).map(|_| ());
        assert_eq!(refused, Err(DeltaError::BlockLen(block_len)));
    }
}

/// Sums of groups that say anything: as with those of MD4s, copies stay within the basis, and hashing is paid for.
#[test]
fn lying_sums_of_groups_give_ops_within_bounds() {
    let source = vec![0; 40 * GROUP];
    let size = 30 * GROUP as u64 + 7;
    let shape = Shape::new(size, GROUP as u32, 4).expect("a shape");
    let zeros = Weak::of(&source[..GROUP]).to_bytes();
    let honest_rolling: Vec<u8> = (0..31_u8).flat_map(|i| [&zeros[..], &[i; 4]].concat()).collect();
    for lie in [vec![0; 31 * 8], noise(31 * 8, 9), honest_rolling] {
        let sums = Sums::parse_groups(shape, lie).expect("sums");
        let mut search = GroupSearch::new(&sums, source.len() as u64);
        let mut covered = 0;
        let mut take = |op: Op| {
            if let Op::Copy { offset, len } = op {
                assert!(offset + len <= size);
            }
            covered += op.len();
        };
        search.update(&source, &group_values(&source, 0), &mut take);
        search.finish(&mut take);
        assert_eq!(covered, source.len() as u64);
    }
}
