//! Credentials are rotated while a watch runs: the next connection uses the new ones, and a moment of disagreement passes.

use std::fs;

use driftless_tests::World;
use driftless_tests::certs::Authority;
use driftless_tests::oracle::slash;
use driftless_tests::server::USER;
use driftless_tests::trees::plant;
use driftless_tests::wait::until;
use driftless_tests::wire::Wire;

#[test]
fn a_password_that_is_rotated_while_a_watch_runs_is_used_from_the_next_connection_on() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let server = world.backup();
    let wire = Wire::to(server.address());
    let agent = world.agent(&server).through(&wire);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until("it runs", || agent.operate("status").code == Some(0));
    agent.operate("wait --all").ok();

    // The server's side first: until the agent's follows, it is refused, and tries again.
    world.file("secrets", format!("{USER}:the new one\n"));
    wire.cut();
    until("it has noticed", || watch.log().contains("connecting again"));
    wire.mend();
    plant(&src, &["g=2"]);
    until("it is refused", || watch.log().contains("auth failed"));
    agent.operate("wait --all --timeout 100ms").exits(30);
    // A file that is gone for a moment is no reason to end either.
    fs::remove_file(world.path("password")).expect("rm");
    until("it says so", || watch.log().contains("password: No such file"));
    world.file("password", "the new one\n");
    agent.operate("wait --all").ok();
    assert!(server.module("backup").join("g").exists());
    watch.runs();
}

#[test]
fn a_client_certificate_that_is_rotated_is_used_from_the_next_connection_on() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let (old, new) = (Authority::new(), Authority::new());
    let ca = world.file("client-ca.pem", fs::read(old.file(&world)).expect("read"));
    let mut server =
        world.server().global(format!("client ca = {}", ca.display())).module("backup", &[]).start();
    let cert = old.certify(&world, "old", &[USER], 2040);
    let (cert_file, key_file) = (world.path("cert.pem"), world.path("key.pem"));
    fs::copy(&cert.cert_file, &cert_file).expect("cp");
    fs::copy(&cert.key_file, &key_file).expect("cp");
    let agent = world
        .agent(&server)
        .without("--password-file")
        .option("--client-cert", &cert_file)
        .option("--client-key", &key_file);
    let mut watch = agent.watch("-a --delete", slash(&src), "backup");
    until("it runs", || agent.operate("status").code == Some(0));
    agent.operate("wait --all").ok();

    server.stop();
    fs::copy(new.file(&world), &ca).expect("cp");
    server.start();
    plant(&src, &["g=2"]);
    until("it is refused", || watch.log().matches("connecting again").count() > 2);
    agent.operate("wait --all --timeout 100ms").exits(30);
    let cert = new.certify(&world, "new", &[USER], 2040);
    fs::copy(&cert.cert_file, &cert_file).expect("cp");
    fs::copy(&cert.key_file, &key_file).expect("cp");
    agent.operate("wait --all").ok();
    assert!(server.module("backup").join("g").exists());
    watch.runs();
}
