//! A watch's log file: everything that stays, in the form of the server's log, whatever becomes of the file.

use std::fs;

use driftless_tests::World;
use driftless_tests::oracle::slash;
use driftless_tests::trees::plant;
use driftless_tests::wait::until;
use rustix::process::Signal;

#[test]
fn a_log_file_gets_what_is_said_and_survives_its_rotation() {
    let world = World::new();
    let src = world.path("src");
    plant(&src, &["f=1"]);
    let mut server = world.backup();
    let agent = world.agent(&server);
    let (log, moved) = (world.path("agent.log"), world.path("agent.log.1"));
    // Quiet concerns what is printed.
    let options = format!("-a --delete -q --log-file {}", log.display());
    let mut watch = agent.watch(&options, slash(&src), "backup");
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    until("it is live", || read(&log).contains("] in sync after "));
    let text = read(&log);
    for line in text.lines() {
        let (stamp, rest) = line.split_at(19);
        let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000/00/00 00:00:00", "{line}");
        let pid = watch.pid().as_raw_nonzero();
        assert!(rest.starts_with(&format!(" [{pid}] ")), "{line}");
    }
    assert!(text.contains("] connected to 127.0.0.1:") && !watch.log().contains("connected to"), "{text}");

    fs::rename(&log, &moved).expect("mv");
    watch.signal(Signal::HUP);
    server.kill();
    until("it goes on in a new file", || read(&log).contains("connecting again in"));
    assert_eq!(read(&moved), text, "nothing more is written to the old one");
    // Without a signal, and made by somebody else.
    fs::remove_file(&log).expect("rm");
    fs::write(&log, "").expect("touch");
    server.start();
    until("it goes on there", || read(&log).contains("connected to 127.0.0.1:"));
    watch.runs();
    watch.signal(Signal::TERM);
    assert_eq!(watch.wait(), Some(0));
    assert!(read(&log).ends_with("] stopped\n"), "{}", read(&log));

    let nowhere = world.path("no folder/log");
    let out = agent.run(
        "watch",
        &format!("-a --log-file {}", nowhere.display().to_string().replace(' ', "_")),
        &[&slash(&src), &agent.remote("backup")],
    );
    assert!(out.code != Some(0) && out.stderr.contains("No such file"), "{}", out.stderr);
}
