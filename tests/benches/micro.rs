//! micro: the hot loops alone, without sockets: delta search, digests, walk, frames.
//!
//!     cargo bench -p driftless-tests --bench micro [-- FILTER]
//!
//! Best of several runs of each: the machine only ever adds to the time that the work needs.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use driftless_proto::disk::{Names, Root, Style, walk};
use driftless_proto::model::delta::{Op, Search, Shape, Signer, Sums, sums_of};
use driftless_proto::model::digest::{Digest, GroupHasher};
use driftless_proto::model::entry::{Entry, Kind, Time};
use driftless_proto::model::filter::Rules;
use driftless_proto::model::options::{Keeps, Options, Terms};
use driftless_proto::model::path::RelPath;
use driftless_proto::model::tree::Seed;
use driftless_proto::wire::frame::Framed;
use driftless_proto::wire::generated::SenderFrame;
use driftless_proto::wire::message::{Content, FromSender, Inline, Put};
use driftless_tests::World;
use driftless_tests::trees::Noise;
use prost::Message as _;
use prost::bytes::Bytes;

/// Bytes that a search or a digest goes through.
const CONTENT: usize = 128 << 20;
/// Bytes handed on at a time, as the sender reads them.
const STEP: usize = 256 << 10;
/// Each work is repeated for about this long, and at least three times.
const ABOUT: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Items,
}

fn main() {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let wanted = |name: &str| name.contains(&filter);
    delta(&wanted);
    digest(&wanted);
    tree(&wanted);
    frames(&wanted);
}

/// Repeats some work and prints its rate in the best run.
fn rate(name: &str, wanted: &dyn Fn(&str) -> bool, amount: usize, unit: Unit, mut work: impl FnMut()) {
    if !wanted(name) {
        return;
    }
    let began = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < 3 || began.elapsed() < ABOUT {
        let began = Instant::now();
        work();
        best = best.min(began.elapsed());
        runs += 1;
    }
    let per_sec = amount as f64 / best.as_secs_f64();
    match unit {
        Unit::Bytes => println!("{name:<28} {:>10.0} MB/s", per_sec / 1e6),
        Unit::Items => println!("{name:<28} {per_sec:>10.0} items/s"),
    }
}

fn delta(wanted: &dyn Fn(&str) -> bool) {
    if !["delta-sign", "delta-same", "delta-shifted", "delta-different", "delta-roll", "delta-roll-small"]
        .into_iter()
        .any(wanted)
    {
        return;
    }
    let basis = Noise::new(1).bytes(CONTENT);
    let shape = Shape::of(basis.len() as u64).expect("a basis that can be signed");
    let sign = || {
        let mut sums = Vec::new();
        let mut signer = Signer::new(shape);
        basis.chunks(STEP).for_each(|bytes| signer.update(bytes, &mut sums));
        signer.finish(&mut sums);
        sums
    };
    rate("delta-sign", wanted, basis.len(), Unit::Bytes, || drop(black_box(sign())));
    let sums = Sums::parse(shape, sign()).expect("its own sums");
    let mut shifted = vec![b'x'];
    shifted.extend_from_slice(&basis);
    let different = Noise::new(2).bytes(CONTENT);
    // A search that finds nothing rolls through the first 8 MiB.
    let rolled = &different[..8 << 20];
    let contents = [
        ("delta-same", &basis[..]),
        ("delta-shifted", &shifted),
        ("delta-different", &different),
        ("delta-roll", rolled),
    ];
    for (name, content) in contents {
        rate(name, wanted, content.len(), Unit::Bytes, || {
            let mut len = 0;
            let mut emit = |op: Op| len += op.len();
            let mut search = Search::new(&sums, content.len() as u64);
            content.chunks(STEP).for_each(|bytes| search.update(bytes, &mut emit));
            search.finish(&mut emit);
            assert_eq!(len, content.len() as u64, "the steps give the whole content");
        });
    }
    // As most files of a tree are: 24 blocks.
    let small = Shape::of(17_000).expect("a basis that can be signed");
    let sums = Sums::parse(small, sums_of(&basis[..17_000], small)).expect("its own sums");
    let small = Bytes::copy_from_slice(&different[..17_000]);
    rate("delta-roll-small", wanted, small.len(), Unit::Bytes, || {
        Search::through(&sums, &small, &mut |op| assert!(matches!(op, Op::Literal(_))));
    });
}

fn digest(wanted: &dyn Fn(&str) -> bool) {
    if !["digest-whole", "digest-groups"].into_iter().any(wanted) {
        return;
    }
    let content = Noise::new(3).bytes(CONTENT);
    rate("digest-whole", wanted, content.len(), Unit::Bytes, || {
        black_box(Digest::of(&content));
    });
    rate("digest-groups", wanted, content.len(), Unit::Bytes, || {
        let mut hasher = GroupHasher::new();
        content.chunks(STEP).for_each(|bytes| hasher.update(bytes));
        black_box(hasher.finish());
    });
}

/// 20,000 empty files in 200 directories.
fn tree(wanted: &dyn Fn(&str) -> bool) {
    const DIRS: usize = 200;
    const FILES: usize = 100;
    if !wanted("tree-summarise") {
        return;
    }
    let world = World::new();
    for dir in 0..DIRS {
        let path = world.dir(&format!("tree/dir{dir:03}"));
        (0..FILES).for_each(|file| fs::write(path.join(format!("file{file:03}")), b"").expect("write"));
    }
    let root = Root::open(&world.path("tree"), Style::default()).expect("a root");
    let options =
        Options { recursive: true, perms: true, times: true, owner: true, group: true, ..Options::default() };
    let terms = Terms::new(&options, &Keeps::ALL);
    let seed = Seed::new(&terms, std::iter::empty());
    rate("tree-summarise", wanted, DIRS * (FILES + 1) + 1, Unit::Items, || {
        let mut names = Names::new(true);
        let summary =
            walk::summarise(&root, &RelPath::root(), &terms, &Rules::default(), seed, &mut names, 0);
        black_box(summary.expect("a tree that can be read"));
    });
}

/// Frames of small files with their content, as a first push sends them.
fn frames(wanted: &dyn Fn(&str) -> bool) {
    const ITEMS: usize = 100;
    let bytes = Noise::new(4).bytes(4096);
    let put = |at: usize| {
        let kind = Kind::File { size: bytes.len() as u64 };
        FromSender::Put(Put {
            seq: at as u64 + 1,
            want: 0,
            path: RelPath::parse(format!("some/dir/file{at:03}").as_bytes()).expect("a path"),
            entry: Entry { kind, mode: 0o644, mtime: Time { sec: 1_700_000_000, nsec: 1 }, uid: 0, gid: 0 },
            content: Content::Inline(Inline { bytes: bytes.clone().into(), digest: Digest::of(&bytes) }),
        })
    };
    let puts: Vec<FromSender> = (0..ITEMS).map(put).collect();
    let encoded = FromSender::pack(puts.clone(), false).encode_to_vec();
    rate("frame-encode", wanted, ITEMS, Unit::Items, || {
        black_box(FromSender::pack(puts.clone(), false).encode_to_vec());
    });
    rate("frame-decode", wanted, ITEMS, Unit::Items, || {
        let frame = SenderFrame::decode(&*encoded).expect("its own frame");
        black_box(FromSender::unpack(frame).expect("its own items"));
    });
}
