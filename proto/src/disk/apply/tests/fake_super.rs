//! Claims about rsync's fake-super form, with a stock rsync as the judge where one is installed.

use std::process::Command;

use super::*;
use crate::disk::{Root, Style};

fn text(ground: &Ground, name: &str) -> Option<String> {
    let mut text = [0; 100];
    let read = rustix::fs::getxattr(ground.path(name), "user.rsync.%stat", &mut text[..]);
    read.ok().map(|len| String::from_utf8_lossy(&text[..len]).into_owned())
}

/// Entries of every kind with the text each must leave behind, `U` and `G` being us.
fn samples() -> Vec<(&'static str, Entry, Option<&'static str>, u32)> {
    let given = |kind, mode| Entry { uid: 1234, gid: 5678, ..entry(kind, mode) };
    vec![
        ("file", entry(file(b"x"), 0o640), None, 0o640),
        ("readonly", entry(file(b"x"), 0o444), Some("100444 0,0 U:G"), 0o644),
        ("setuid", entry(file(b"x"), 0o4755), Some("104755 0,0 U:G"), 0o755),
        ("given", given(file(b"x"), 0o644), Some("100644 0,0 1234:5678"), 0o644),
        ("dir", entry(Kind::Dir, 0o755), None, 0o755),
        ("sticky", given(Kind::Dir, 0o1577), Some("41577 0,0 1234:5678"), 0o777),
        ("link", entry(link(b"/etc/passwd"), 0o777), Some("120777 0,0 U:G"), 0o777),
        ("fifo", entry(Kind::Fifo, 0o600), Some("10600 0,0 U:G"), 0o600),
        ("socket", given(Kind::Socket, 0o755), Some("140755 0,0 1234:5678"), 0o755),
        ("char", given(Kind::Char(Device { major: 1, minor: 3 }), 0o660), Some("20660 1,3 1234:5678"), 0o660),
        ("block", entry(Kind::Block(Device { major: 8, minor: 1 }), 0o400), Some("60400 8,1 U:G"), 0o600),
    ]
}

fn put(ground: &Ground, name: &[u8], entry: &Entry) {
    let top = ground.top();
    match &entry.kind {
        Kind::Dir => {
            make_dir(&top, name, entry, &ALL).expect("made");
            describe(&top, name, entry, &top.found(name).expect("found").entry, &ALL).expect("described");
        }
        Kind::File { .. } => {
            let mut staged = staged(ground, b"x");
            staged.describe(entry, None, &ALL).expect("described");
            place(staged, &top, name, Replace::IfPresent).expect("placed");
        }
        _ => place_node(&top, name, entry, &ALL, Replace::IfPresent).expect("placed"),
    }
}

#[test]
fn every_kind_lies_in_rsyncs_form_and_is_read_back() {
    let ground = Ground::fake_super();
    for (name, want, attribute, real_mode) in samples() {
        put(&ground, name.as_bytes(), &want);
        assert_eq!(ground.top().found(name.as_bytes()).expect("found").entry, want, "{name}");
        let ids = |text: &str| text.replace('U', &want.uid.to_string()).replace('G', &want.gid.to_string());
        assert_eq!(text(&ground, name), attribute.map(ids), "{name}");
        let real = fs::symlink_metadata(ground.path(name)).expect("metadata");
        assert_eq!(real.mode() & 0o7777, real_mode, "{name}");
        assert_eq!(real.is_dir(), want.is_dir(), "{name}");
        assert!(real.is_dir() || real.is_file(), "{name}");
        assert_eq!(real.uid(), rustix::process::geteuid().as_raw(), "{name}");
    }
    assert_eq!(ground.read("link"), b"/etc/passwd");
    assert_eq!(ground.read("char"), b"");
    let error = ground.top().open_file(b"link").expect_err("a link is no file");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_held_entry_reads_like_a_named_one() {
    let ground = Ground::fake_super();
    for (name, want, ..) in samples() {
        put(&ground, name.as_bytes(), &want);
        let held = ground.top().hold(name.as_bytes()).expect("held");
        let found = crate::disk::found::of(Node::Path(held.as_fd()), ground.root.style());
        assert_eq!(found.expect("found").entry, want, "{name}");
    }
}

#[test]
fn the_attribute_goes_when_it_is_no_longer_needed() {
    let ground = Ground::fake_super();
    put(&ground, b"f", &entry(file(b"x"), 0o444));
    assert!(text(&ground, "f").is_some());
    let (want, old) = (entry(file(b"x"), 0o644), ground.top().found(b"f").expect("found"));
    describe(&ground.top(), b"f", &want, &old.entry, &ALL).expect("described");
    assert_eq!(text(&ground, "f"), None);
    assert_eq!(ground.top().found(b"f").expect("found").entry, want);
}

#[test]
fn without_perms_and_owner_the_stored_ones_stay() {
    let ground = Ground::fake_super();
    let given = Entry { uid: 1234, gid: 5678, ..entry(file(b"x"), 0o4711) };
    put(&ground, b"f", &given);
    let old = ground.top().found(b"f").expect("found");
    let mut newer = staged(&ground, b"y");
    newer.describe(&entry(file(b"y"), 0o600), Some(&old.entry), &NONE).expect("described");
    place(newer, &ground.top(), b"f", Replace::Expected).expect("placed");
    assert_eq!(text(&ground, "f").as_deref(), Some("104711 0,0 1234:5678"));
}

#[test]
fn a_claim_that_cannot_be_true_is_none() {
    let ground = Ground::fake_super();
    let claim = |name: &str, text: &str, kind: Kind| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(ground.path(name), "user.rsync.%stat", text.as_bytes(), flags).expect("xattr");
        assert_eq!(ground.top().found(name.as_bytes()).expect("found").entry.kind, kind, "{name}: {text}");
    };
    ground.write("f", b"");
    ground.write("g", b"a\0b");
    ground.write("munged", b"/rsyncd-munged//etc");
    fs::create_dir(ground.path("d")).expect("directory");
    claim("f", "40755 0,0 0:0", file(b""));
    claim("f", "120777 0,0 0:0", file(b""));
    claim("f", "nonsense", file(b""));
    claim("f", "0 0,0 0:0", file(b""));
    claim("f", &"1".repeat(1000), file(b""));
    claim("g", "120777 0,0 0:0", file(b"a\0b"));
    claim("d", "100644 0,0 0:0", Kind::Dir);
    claim("d", "120777 0,0 0:0", Kind::Dir);
    claim("munged", "120777 0,0 0:0", link(b"/etc"));
    assert!(remove_tree(&ground.top(), b"d", &mut |_, _| false, &mut |_, _| {}).expect("removed"));
}

/// Runs a stock rsync, or says that there is none.
fn rsync(claim: &str, args: &[&str], from: &Ground, to: &Ground) -> bool {
    let path = |ground: &Ground| format!("{}/", ground.temp.path().display());
    let Ok(status) = Command::new("rsync").args(args).args([path(from), path(to)]).status() else {
        eprintln!("SKIPPED for want of rsync: {claim}");
        return false;
    };
    assert!(status.success(), "{status}");
    true
}

fn entries(root: &Root) -> Vec<(Box<[u8]>, Entry)> {
    let listing = crate::disk::walk::list(&root.dir(&crate::model::path::RelPath::root()).expect("top"));
    listing.expect("listing").entries.into_iter().map(|listed| (listed.name, listed.found.entry)).collect()
}

#[test]
fn what_a_stock_rsync_stored_is_read_back() {
    let claim = "what a stock rsync stored is read back";
    if !root_or_skip(claim) {
        return;
    }
    let (source, stored) = (Ground::new(), Ground::fake_super());
    for (name, want, ..) in samples() {
        put(&source, name.as_bytes(), &want);
    }
    if rsync(claim, &["-a", "-M--fake-super"], &source, &stored) {
        assert_eq!(entries(&stored.root), entries(&source.root));
        let plain = Root::open(stored.temp.path(), Style::default()).expect("root");
        assert_ne!(entries(&plain), entries(&source.root), "it was stored in fake-super form");
    }
}

#[test]
fn what_we_stored_a_stock_rsync_gives_back() {
    let claim = "what we stored a stock rsync gives back";
    if !root_or_skip(claim) {
        return;
    }
    let (stored, back) = (Ground::fake_super(), Ground::new());
    for (name, want, ..) in samples() {
        put(&stored, name.as_bytes(), &want);
    }
    if rsync(claim, &["-a", "--fake-super", "-M--super"], &stored, &back) {
        assert_eq!(entries(&back.root), entries(&stored.root));
    }
}
