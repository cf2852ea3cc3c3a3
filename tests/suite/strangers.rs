//! What the agent refuses: servers it cannot trust, options it does not know, secrets that lie open.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;

use driftless_tests::World;
use driftless_tests::agent::Outcome;
use driftless_tests::certs::{Authority, Identity, Shown, fingerprint, present};
use driftless_tests::server::{PASSWORD, Server};
use driftless_tests::trees::{names, plant};

#[track_caller]
fn refuses(out: Outcome, code: i32, told: &str) {
    let out = out.exits(code);
    assert_eq!(out.complaints().len(), 1, "more or less than one line:\n{}", out.stderr);
    assert!(out.stderr.contains(told), "{told:?} is not in: {}", out.stderr);
}

fn serving(world: &World, identity: &Identity) -> Server {
    world
        .server()
        .global(format!("tls certificate = {}", identity.cert_file.display()))
        .global(format!("tls key = {}", identity.key_file.display()))
        .module("backup", &[])
        .start()
}

#[test]
fn a_wrong_fingerprint_ends_it_before_a_password_is_sent() {
    let world = World::new();
    let server = world.backup();
    let agent = world.agent(&server).option("--fingerprint", format!("sha256:{}", "0".repeat(64)));
    refuses(agent.push("-a", world.file("f", "1"), "backup"), 10, "fingerprint");
    assert!(names(server.module("backup")).is_empty());
    assert!(!server.log().contains("driftless@"), "it got as far as a login: {}", server.log());
}

#[test]
fn a_self_signed_server_is_not_trusted_without_a_pin() {
    let world = World::new();
    let server = world.backup();
    let agent = world.agent(&server).without("--fingerprint");
    refuses(agent.push("-a", world.file("f", "1"), "backup"), 10, "certificate");
    assert!(names(server.module("backup")).is_empty());
}

#[test]
fn an_authority_is_believed_while_the_certificate_is_valid_and_names_the_host() {
    let world = World::new();
    let authority = Authority::new();
    let ca = authority.file(&world);
    for (i, (names, last_year, code)) in
        [(["127.0.0.1"], 2120, 0), (["127.0.0.1"], 2021, 10), (["192.0.2.1"], 2120, 10)]
            .into_iter()
            .enumerate()
    {
        let identity = authority.certify(&world, &format!("leaf{i}"), &names, last_year);
        let server = serving(&world, &identity);
        let agent = world.agent(&server).without("--fingerprint").option("--ca", &ca);
        let out = agent.push("-a", world.file("f", "1"), &format!("backup/{i}"));
        assert_eq!(out.code, Some(code), "{names:?} until {last_year}: {}", out.stderr);
        assert_eq!(server.module("backup").join(i.to_string()).exists(), code == 0);
        if code != 0 {
            assert_eq!(out.complaints().len(), 1, "{}", out.stderr);
        }
    }
}

#[test]
fn an_expired_certificate_is_named_as_such() {
    let world = World::new();
    let authority = Authority::new();
    let identity = authority.certify(&world, "leaf", &["127.0.0.1"], 2021);
    let server = serving(&world, &identity);
    let agent = world.agent(&server).without("--fingerprint").option("--ca", authority.file(&world));
    refuses(agent.push("-a", world.file("f", "1"), "backup"), 10, "expired");
}

#[test]
fn the_right_certificate_with_the_wrong_key_is_refused() {
    let world = World::new();
    let authority = Authority::new();
    let ours = authority.certify(&world, "ours", &["127.0.0.1"], 2120);
    let theirs = authority.certify(&world, "theirs", &["127.0.0.1"], 2120);
    let file = world.file("f", "1");
    let password = world.file("password", PASSWORD);
    let agent = world
        .stranger()
        .option("--fingerprint", fingerprint(&ours.der))
        .option("--password-file", password)
        .option("--timeout", "5");

    let (address, shown) = present(&ours, &theirs);
    refuses(agent.clone().to(address).push("-a", &file, "backup"), 10, "");
    assert_eq!(shown.join().expect("no panic"), Shown::Rejected, "a copied certificate was believed");

    // The same server with the right key is believed, or the claim above would prove nothing.
    let (address, shown) = present(&ours, &ours);
    let out = agent.to(address).push("-a", &file, "backup");
    assert_ne!(out.code, Some(0), "nothing behind it speaks HTTP/2");
    assert_eq!(shown.join().expect("no panic"), Shown::Believed);
}

#[test]
fn one_of_two_pins_is_enough() {
    let world = World::new();
    let server = world.backup();
    let pins = format!("sha256:{},{}", "0".repeat(64), server.fingerprint());
    world.agent(&server).option("--fingerprint", pins).push("-a", world.file("f", "1"), "backup").ok();
}

#[test]
fn a_client_certificate_stands_in_for_the_secret_of_its_user() {
    let world = World::new();
    let authority = Authority::new();
    let ca = format!("client ca = {}", authority.file(&world).display());
    // Nobody has a secret here: only a certificate can let anybody in.
    let server =
        world.server().global(ca).module("backup", &["read only = no", "auth users = alice carol"]).start();
    let file = world.file("f", "1");
    let agent = |user: &str| world.agent(&server).without("--password-file").as_user(user);
    let shown = |user: &str, names: &str| {
        let cert = authority.certify(&world, names, &[names], 2120);
        agent(user).option("--client-cert", &cert.cert_file).option("--client-key", &cert.key_file)
    };
    shown("alice", "alice").push("-a", &file, "backup").ok();
    refuses(shown("carol", "alice").push("-a", &file, "backup"), 5, "auth failed");
    refuses(shown("bob", "bob").push("-a", &file, "backup"), 5, "auth failed");
    refuses(agent("alice").push("-a", &file, "backup"), 5, "auth failed");
    server.logs("no matching rule");
}

#[test]
fn plaintext_never_leaves_the_host() {
    let world = World::new();
    let file = world.file("f", "1");
    let agent = world.stranger().option("--password-file", world.file("password", PASSWORD));
    // TEST-NET-1 (RFC 5737): were it dialled, the run would hang until its timeout and end with another code.
    let out = agent.run("push", "-a --plaintext --timeout=5", &[&file, &"driftless@192.0.2.1::backup"]);
    refuses(out, 1, "plaintext");
}

#[test]
fn a_plaintext_server_serves_the_loopback_only() {
    let world = World::new();
    let server = world.server().global("plaintext = yes").module("backup", &[]).start();
    let file = world.file("f", "1");
    let agent =
        world.stranger().to(server.address()).option("--password-file", world.file("password", PASSWORD));
    agent.push("-a --plaintext", &file, "backup").ok();
    assert_eq!(names(server.module("backup")), ["f"]);

    let setup = world.server().global("plaintext = yes").global("address = 0.0.0.0").module("backup", &[]);
    let config = setup.write();
    let out =
        driftless_tests::server::driftlessd(&["serve", "--config", &config.to_string_lossy()], "").exits(1);
    assert!(out.stderr.contains("plaintext"), "{}", out.stderr);
}

#[test]
fn nobody_listens() {
    let world = World::new();
    let address =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port");
    let agent = world
        .stranger()
        .to(address)
        .option("--password-file", world.file("password", PASSWORD))
        .option("--fingerprint", format!("sha256:{}", "0".repeat(64)));
    refuses(agent.push("-a", world.file("f", "1"), "backup"), 10, "refused");
}

#[test]
fn an_unknown_option_is_bad_usage() {
    let world = World::new();
    let out =
        world.stranger().run("sync", "-a --no-such-option", &[&world.path("a"), &world.path("b")]).exits(1);
    assert!(out.stderr.contains("--no-such-option"), "{}", out.stderr);
    world.stranger().run("sync", "-a", &[]).exits(1);
    world.stranger().run("frobnicate", "", &[]).exits(1);
}

#[test]
fn an_option_of_rsyncs_that_is_not_built_yet_is_refused_by_name() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let dest = world.path("dest");
    for option in
        ["-H", "-A", "-X", "-S", "-c", "-u", "--inplace", "--link-dest=x", "--backup", "--files-from=x"]
    {
        let out = world.stranger().run("sync", &format!("-a {option}"), &[&src, &dest]);
        refuses(out, 4, option.split('=').next().expect("a first part"));
    }
    assert!(!dest.exists());
}

#[test]
fn a_password_file_that_others_can_read_is_not_used() {
    let world = World::new();
    let server = world.backup();
    let password = world.file("open-password", PASSWORD);
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).expect("chmod");
    let agent = world.agent(&server).option("--password-file", &password);
    refuses(agent.push("-a", world.file("f", "1"), "backup"), 1, "open-password");
    assert!(names(server.module("backup")).is_empty());
}

#[test]
fn a_password_comes_from_the_environment_too() {
    let world = World::new();
    let server = world.backup();
    let file = world.file("f", "1");
    for name in ["RSYNC_PASSWORD", "DRIFTLESS_PASSWORD"] {
        let agent = world.agent(&server).without("--password-file").env(name, PASSWORD);
        agent.push("-a", &file, &format!("backup/{name}")).ok();
    }
    assert_eq!(names(server.module("backup")), ["DRIFTLESS_PASSWORD", "RSYNC_PASSWORD"]);
}
