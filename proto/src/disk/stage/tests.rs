//! Claims about files on their way.

use std::os::unix::fs::FileExt;

use super::*;
use crate::disk::testing::Ground;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn the_digest_is_that_of_everything_written_and_copied() {
    let ground = Ground::new();
    let inside = usize::try_from(COPY_INSIDE_MIN).expect("fits");
    let basis_bytes = bytes(3 * inside + 17);
    ground.write("basis", &basis_bytes);
    let (basis, _) = ground.top().open_file(b"basis").expect("basis");
    let mut staged = Staged::create(&ground.top()).expect("staged");
    let mut want = Vec::new();
    let ranges = [(0, 10), (5, inside), (inside + 1, inside - 1), (0, 3 * inside + 17), (3 * inside, 0)];
    for (offset, len) in ranges {
        staged.write_all(b"literal").expect("write");
        want.extend_from_slice(b"literal");
        staged.copy_from(&basis, offset as u64, len as u64, None).expect("copy");
        want.extend_from_slice(&basis_bytes[offset..offset + len]);
        assert_eq!(staged.len(), want.len() as u64);
    }
    assert_eq!(staged.digest().0, Digest::of(&want));
    let mut landed = vec![0; want.len()];
    staged.file().read_exact_at(&mut landed, 0).expect("read");
    assert!(landed == want, "what landed is what was hashed");
}

#[test]
fn known_groups_that_stay_in_place_are_not_hashed_again() {
    let ground = Ground::new();
    let group = usize::try_from(limits::DIGEST_GROUP).expect("fits");
    let content = bytes(9 * group + 100);
    ground.write("basis", &content);
    let (basis, _) = ground.top().open_file(b"basis").expect("basis");
    let mut hasher = GroupHasher::signing();
    hasher.update(&content);
    let (digest, groups) = hasher.sign();
    let size = content.len() as u64;
    let land = |known: &KnownGroups, steps: &[(usize, usize)]| {
        let mut staged = Staged::create(&ground.top()).expect("staged");
        for &(from, to) in steps {
            staged.copy_from(&basis, from as u64, (to - from) as u64, Some(known)).expect("copy");
        }
        let mut landed = vec![0; content.len()];
        staged.file().read_exact_at(&mut landed, 0).expect("read");
        assert!(landed == content);
        staged.digest().0
    };
    let known = KnownGroups { size, groups: groups.clone().into() };
    let steps: [&[(usize, usize)]; 4] = [
        &[(0, content.len())],
        &[(0, 3 * group), (3 * group, content.len())],
        &[(0, 3 * group + 5), (3 * group + 5, 4 * group), (4 * group, content.len())],
        &[(0, group), (group, 2 * group), (2 * group, content.len() - 1), (content.len() - 1, content.len())],
    ];
    for steps in steps {
        assert_eq!(land(&known, steps), digest, "{steps:?}");
    }
    // That they were not hashed shows when they are wrong.
    let mut wrong = groups;
    wrong.values[5] = [7; 32];
    assert_ne!(land(&KnownGroups { size, groups: wrong.into() }, steps[0]), digest);
}

/// A sender may let anything follow the end of the basis; the groups know of no such place.
#[test]
fn what_follows_the_short_end_of_a_known_basis_is_hashed_like_anything_else() {
    let ground = Ground::new();
    let group = usize::try_from(limits::DIGEST_GROUP).expect("fits");
    for tail in [100, 1024, group - 1] {
        let content = bytes(5 * group + tail);
        ground.write("basis", &content);
        let (basis, _) = ground.top().open_file(b"basis").expect("basis");
        let mut hasher = GroupHasher::signing();
        hasher.update(&content);
        let known = KnownGroups { size: content.len() as u64, groups: hasher.sign().1.into() };
        let mut staged = Staged::create(&ground.top()).expect("staged").signing();
        staged.copy_from(&basis, 0, content.len() as u64, Some(&known)).expect("copy");
        let more = bytes(group + 1);
        staged.write_all(&more).expect("write");
        assert_eq!(staged.digest().0, Digest::of(&[content, more].concat()), "{tail} bytes at the end");
    }
}

#[test]
fn a_basis_that_is_too_short_is_an_error() {
    let ground = Ground::new();
    let inside = usize::try_from(COPY_INSIDE_MIN).expect("fits");
    ground.write("basis", &bytes(2 * inside));
    let (basis, _) = ground.top().open_file(b"basis").expect("basis");
    let mut staged = Staged::create(&ground.top()).expect("staged");
    for (offset, len) in
        [(0, 3 * COPY_INSIDE_MIN), (2 * COPY_INSIDE_MIN, 1), (9 * COPY_INSIDE_MIN, COPY_INSIDE_MIN)]
    {
        let error = staged.copy_from(&basis, offset, len, None).expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
    let error = staged.copy_from(&basis, u64::MAX, 2, None).expect_err("overflow");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_dropped_file_leaves_no_name_nameless_or_not() {
    let ground = Ground::new();
    let mut staged = Staged::create(&ground.top()).expect("staged");
    staged.write_all(b"half").expect("write");
    staged.start_writeback();
    assert!(ground.names().is_empty(), "it has no name yet");
    drop(staged);
    let mut named = Staged::create_named(&ground.top()).expect("staged");
    named.write_all(b"half").expect("write");
    assert_eq!(ground.names().len(), 1);
    drop(named);
    assert!(ground.names().is_empty());
    let mut cut = Staged::create_named(&ground.top()).expect("staged");
    cut.write_all(b"half").expect("write");
    let kept = cut.into_file();
    assert!(ground.names().is_empty());
    let mut half = [0; 4];
    kept.read_exact_at(&mut half, 0).expect("read");
    assert_eq!(&half, b"half");
}

#[test]
fn partial_data_lies_beside_its_target_until_newer_data_takes_its_place() {
    let ground = Ground::new();
    let name = reserved::for_partial(b"big");
    for content in [&b"first"[..], b"second"] {
        let mut staged = Staged::create(&ground.top()).expect("staged");
        staged.write_all(content).expect("write");
        staged.keep_partial(&ground.top(), &name).expect("kept");
        assert_eq!(ground.names(), [name.to_vec()]);
        assert_eq!(ground.read(name), content);
    }
}
