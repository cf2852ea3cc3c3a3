//! Ways in which files are written, and what must not be made of them: cases 28 to 37.

use std::fs;
use std::os::unix::fs::FileExt as _;

use driftless_tests::World;
use driftless_tests::wait::until;
use driftless_tests::wire::{Way, Wire};

const MIB: u64 = 1 << 20;

/// More than the agent can have read while this part of it has crossed: what is on its way is bounded by HTTP/2's window.
const READ_LATER: u64 = 64 * MIB;

/// Case 34. The wire stands still while the file is overwritten: its beginning has been read, its end has not.
#[test]
fn a_file_that_changes_while_it_is_read_arrives_as_it_was_at_one_moment() {
    let world = World::new();
    let server = world.backup();
    let file = world.file("big", vec![b'a'; usize::try_from(READ_LATER).expect("fits")]);
    let wire = Wire::to(server.address());
    let agent = world.agent(&server).through(&wire);
    wire.stall_after(Way::Up, MIB);
    let mut push = agent.spawn("push", "-a", &[&file, &agent.remote("backup")]);
    until("it is read", || wire.is_stalled());
    let writer = fs::File::options().write(true).open(&file).expect("open");
    let piece = vec![b'b'; usize::try_from(MIB).expect("fits")];
    for at in 0..READ_LATER / MIB {
        writer.write_all_at(&piece, at * MIB).expect("write");
    }
    wire.stall(false);
    assert_eq!(push.wait(), Some(0), "{}", push.log());
    let copy = fs::read(server.module("backup").join("big")).expect("read");
    let torn = copy.iter().position(|byte| *byte != b'b');
    assert_eq!(torn, None, "the copy is torn");
    assert_eq!(copy.len() as u64, READ_LATER);
}
