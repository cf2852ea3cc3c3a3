//! Each mechanism that keeps a watch right is broken in turn, and the claim that stands for it turns red: so the claims
//! would notice. The switch is `agent/src/broken.rs`; the claim runs as a test of this same program.

use std::env::current_exe;
use std::fs;
use std::process::Command;

use driftless_tests::oracle::skip;
use driftless_tests::world::{program, workspace};

/// Runs a claim with a mechanism broken and asserts that it fails, and that this is its complaint.
///
/// What is broken shows when patience runs out, so it gets little; more, should a busy machine need longer than that to
/// come to the point.
#[track_caller]
fn turns_red(mechanism: &str, claim: &str, complaint: &str) {
    let programs = program("driftless");
    let mut said = String::new();
    for patience in ["2000", "8000", "30000"] {
        let out = Command::new(current_exe().expect("the path of the suite"))
            .args(["--exact", claim, "--nocapture"])
            .env("DRIFTLESS_BROKEN", mechanism)
            .env("DRIFTLESS_TEST_PATIENCE_MS", patience)
            .env("DRIFTLESS_BIN_DIR", programs.parent().expect("a folder"))
            .output()
            .expect("the suite runs");
        said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(said.contains("running 1 test"), "there is no test {claim}:\n{said}");
        if said.contains("SKIPPED") {
            return skip(&format!("{claim} proves nothing here"));
        }
        assert!(!out.status.success(), "{claim} stays green with {mechanism} broken");
        if said.contains(complaint) {
            return;
        }
    }
    panic!("{claim} does not complain of {complaint:?}:\n{said}");
}

#[test]
fn a_new_directory_that_is_not_read_once_it_is_watched() {
    let claim = "cases::renames::with_inotify::what_is_made_in_a_directory_before_it_is_watched_arrives";
    turns_red("scan-after-watch", claim, "in vain: it arrives: ");
}

#[test]
fn halves_of_renames_that_are_paired_by_their_order() {
    let claim = "cases::renames::with_inotify::a_rename_right_after_a_file_has_left_sends_no_content_again";
    turns_red("cookies", claim, "bytes for a rename and a removal");
}

#[test]
fn an_overflow_that_is_overlooked() {
    turns_red(
        "overflow",
        "engines::with_inotify::a_burst_beyond_every_queue_is_made_good",
        "in vain: it arrives: ",
    );
    turns_red(
        "overflow",
        "engines::with_fanotify::a_burst_beyond_every_queue_is_made_good",
        "in vain: it arrives: ",
    );
}

#[test]
fn a_watch_whose_end_is_taken_for_that_of_its_successor() {
    let claim = "cases::renames::with_inotify::a_directory_made_where_another_was_moved_away_is_still_seen";
    turns_red("ignored-by-descriptor", claim, "in vain: it arrives: ");
}

#[test]
fn a_root_that_is_not_known_by_its_identity() {
    let claim = "cases::roots::another_disk_at_the_root_at_the_next_start_deletes_nothing";
    turns_red("root-identity", claim, "assertion `left == right` failed");
}

#[test]
fn a_file_that_is_not_read_again_when_it_changed() {
    let claim = "cases::writers::a_file_that_changes_while_it_is_read_arrives_as_it_was_at_one_moment";
    turns_red("reread", claim, "the copy is torn");
}

#[test]
fn no_release_has_the_switch() {
    let source = fs::read_to_string(workspace().join("agent/src/broken.rs")).expect("read");
    let (before, switch) = source.split_once("#[cfg(debug_assertions)]\nmod switch {").expect("one module");
    assert!(switch.split("\n}\n").next().expect("its text").contains("DRIFTLESS_BROKEN"));
    let code =
        |text: &str| text.lines().any(|line| !line.starts_with("//") && line.contains("DRIFTLESS_BROKEN"));
    assert!(!code(before) && source.matches("var_os").count() == 1);
    let reread = fs::read_to_string(workspace().join("proto/src/transfer/sender/stable.rs")).expect("read");
    for item in ["static BROKEN", "pub fn break_reread", "if BROKEN.load"] {
        let at = reread.find(item).expect("there");
        assert!(reread[..at].trim_end().ends_with("#[cfg(debug_assertions)]"), "{item}");
    }
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).expect("read");
    let release = manifest.split("[profile.release]").nth(1).expect("a profile");
    assert!(!release.split("\n[").next().expect("its text").contains("debug-assertions"));
}
