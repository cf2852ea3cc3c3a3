//! What a whole run prints.

use std::ffi::OsString;

use driftless_proto::model::change::Action;
use driftless_proto::model::path::RelPath;

use super::*;
use crate::progress::tests::Paper;

/// What a run with these options prints, that creates a directory, a file and a link, and removes a file.
fn printed(args: &str) -> String {
    let args = ["driftless"].into_iter().chain(args.split(' '));
    let invocation = crate::cli::parse(args.map(OsString::from)).expect("usage");
    let paper = Paper::default();
    let report = Report::with_progress(&invocation, paper.progress(invocation.progress));
    report.begin();
    report.created_directory(b"copy");
    let change = |path: &str, dir, target: Option<&[u8]>, action| {
        let path = RelPath::parse(path.as_bytes()).expect("path");
        report.change(&Change { path, dir, target: target.map(Into::into), action });
    };
    change("old", false, None, Action::Removed);
    change("d", true, None, Action::Created);
    report.progress().file_started(&RelPath::parse(b"d/f").expect("path"), 5);
    report.progress().advanced(5);
    report.progress().file_done();
    change("d/f", false, None, Action::Created);
    change("l", false, Some(b"d/f"), Action::Created);
    let sender = SenderTotals { size_bytes: 5, ..SenderTotals::default() };
    let wire = Wire { sent_bytes: 9, received_bytes: 1 };
    report.finish(&sender, &ReceiverTotals::default(), wire, Duration::ZERO);
    paper.text()
}

const ENDING: &str = "\nsent 9 bytes  received 1 bytes  20.00 bytes/sec\ntotal size is 5  speedup is 0.50";

#[test]
fn names_and_an_ending_with_v() {
    let names = "created directory copy\ndeleting old\nd/\nd/f\nl -> d/f\n";
    assert_eq!(printed("push -av s h::m"), format!("sending incremental file list\n{names}{ENDING}\n"));
    assert_eq!(printed("pull -av h::m d"), format!("receiving incremental file list\n{names}{ENDING}\n"));
    assert_eq!(
        printed("push -avn s h::m"),
        format!("sending incremental file list\n{names}{ENDING} (DRY RUN)\n")
    );
}

#[test]
fn nothing_when_nothing_was_asked_for_or_quiet() {
    assert_eq!(printed("push -a s h::m"), "");
    assert_eq!(printed("push -avvPq --stats s h::m"), "");
}

#[test]
fn a_note_is_silent_only_with_q() {
    for (args, want) in [("push -a s h::m", "note\n"), ("push -aq s h::m", "")] {
        let invocation =
            crate::cli::parse(["driftless"].into_iter().chain(args.split(' ')).map(OsString::from));
        let paper = Paper::default();
        Report::with_progress(&invocation.expect("usage"), paper.progress(false)).note("note");
        assert_eq!(paper.text(), want, "{args}");
    }
}

#[test]
fn stats_come_before_the_ending_with_or_without_names() {
    let text = printed("push -a --stats s h::m");
    assert!(text.starts_with("\nNumber of files: 0\n"), "{text}");
    assert!(text.ends_with(&format!("Total bytes received: 1\n{ENDING}\n")), "{text}");
}

#[test]
fn a_name_above_its_progress_is_not_repeated() {
    let text = printed("push -aP s h::m");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    assert_eq!(
        lines[..5],
        ["sending incremental file list", "created directory copy", "deleting old", "d/", "d/f"]
    );
    assert!(lines[5].contains(" 100% "), "{text}");
    assert_eq!(lines[6], "l -> d/f");
}
