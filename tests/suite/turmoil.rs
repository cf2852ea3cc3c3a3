//! Turmoil: what the soak brought to light, each as a claim of its own that needs no luck.

use driftless_tests::World;
use driftless_tests::oracle::slash;
use driftless_tests::trees::{equal, plant};
use driftless_tests::wait::{until, until_ok};
use driftless_tests::wire::Wire;

#[test]
fn a_watch_whose_first_handshake_breaks_tries_again() {
    let world = World::new();
    let server = world.backup();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let wire = Wire::to(server.address());
    wire.cut();
    let mut watch = world.agent(&server).through(&wire).watch("-a --delete", slash(&src), "backup");
    until("it tries again", || watch.log().matches("connecting again").count() > 1);
    watch.runs();
    wire.mend();
    until_ok("it arrives", || equal(&src, server.module("backup")));
}
