//! The list: every case of the table of faults, and what shows that a watch holds it. A case without a test has its
//! reason here, and there are four of those.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use driftless_tests::world::workspace;

/// What shows a case.
enum Shown {
    /// A claim of the suite that is tested with each engine: its module and its name.
    Each(&'static str, &'static str),
    /// A claim that is tested with the engines that are told of events.
    Events(&'static str, &'static str),
    /// One test of the suite, with the default engine where it is about a watch at all.
    Suite(&'static str),
    /// A test of a package: its file and its name.
    Unit(&'static str, &'static str),
}

use Shown::{Each, Events, Suite, Unit};

struct Case {
    number: usize,
    what: &'static str,
    shown: &'static [Shown],
    /// What of the case is not shown, or shown otherwise, and why.
    remark: &'static str,
}

/// Cases that no test here can provoke.
const EXCUSED: [usize; 2] = [43, 54];

const fn case(number: usize, what: &'static str, shown: &'static [Shown], remark: &'static str) -> Case {
    Case { number, what, shown, remark }
}

const INOTIFY: &str = "agent/src/watcher/inotify/tests.rs";
const FANOTIFY: &str = "agent/src/watcher/fanotify/tests.rs";
const POLL: &str = "agent/src/watcher/poll/tests.rs";

/// Versions of what was replaced are the history's, which is still to come.
const NO_VERSIONS: &str = "old contents are not kept: there is no history yet";

#[rustfmt::skip]
const CASES: [Case; 55] = [
    case(1, "nested directories made and written at once", &[
        Each("cases::renames", "what_is_made_in_a_directory_before_it_is_watched_arrives"),
        Each("engines", "a_leaf_written_the_moment_its_directories_are_made_arrives"),
        Suite("watching::a_leaf_written_the_moment_its_directories_are_made_arrives"),
        Unit(INOTIFY, "a_file_in_directories_made_a_moment_ago_is_told"),
        Unit(FANOTIFY, "a_file_in_directories_made_a_moment_ago_is_told_without_a_look"),
    ], ""),
    case(2, "a populated directory moved in", &[
        Each("engines", "what_is_moved_in_and_out_whole_is_found_and_forgotten"),
        Each("engines", "every_kind_of_entry_and_every_odd_name_arrives"),
    ], ""),
    case(3, "a directory moved out, then written there", &[
        Each("engines", "what_is_moved_in_and_out_whole_is_found_and_forgotten"),
        Each("cases::renames", "a_directory_made_where_another_was_moved_away_is_still_seen"),
        Unit(INOTIFY, "a_directory_moved_out_is_no_longer_ours"),
        Unit(FANOTIFY, "what_moves_out_is_no_longer_ours_and_what_moves_in_is"),
    ], ""),
    case(4, "a directory renamed, a deep write at once", &[
        Each("engines", "what_is_written_deep_beneath_a_directory_just_renamed_arrives"),
        Suite("watching::a_rename_sends_no_content_again"),
    ], "polling finds no renames and sends the content again"),
    case(5, "ten renames in a row", &[
        Events("cases::renames", "ten_renames_in_a_row_send_no_content"),
        Each("engines", "chained_and_crossed_renames_come_out_right"),
    ], "polling finds no renames and sends the content again"),
    case(6, "an exchange", &[
        Each("cases::renames", "what_is_exchanged_changes_places"),
        Events("cases::renames", "what_is_exchanged_again_and_again_ends_where_it_ends"),
        Each("engines", "chained_and_crossed_renames_come_out_right"),
        Unit(INOTIFY, "an_exchange_of_directories_is_two_renames_and_nothing_is_compared"),
    ], "polling may see one half before the other, and send content again"),
    case(7, "a rename over a file", &[
        Each("cases::renames", "a_file_that_another_is_renamed_over_is_never_missing"),
    ], NO_VERSIONS),
    case(8, "editors", &[
        Suite("watching::the_dances_of_editors_end_in_one_file"),
        Unit("agent/src/pending/tests.rs", "an_editors_save_ends_as_one_change"),
    ], NO_VERSIONS),
    case(9, "a directory removed and made again", &[
        Each("engines", "a_directory_removed_and_made_again_is_still_seen"),
        Unit(INOTIFY, "the_late_end_of_a_watch_does_not_end_its_successor_at_the_same_path"),
    ], "what is written to it later is written once everything before has arrived, not after 70 s"),
    case(10, "an inode number given out again", &[
        Suite("cases::restarts::a_directory_with_the_number_of_a_removed_one_is_no_rename"),
        Each("engines", "a_directory_that_gets_the_number_of_a_removed_one_is_not_taken_for_it"),
        Suite("offline::an_inode_number_given_out_again_is_no_rename"),
    ], ""),
    case(11, "an overflow", &[
        Each("engines", "a_burst_beyond_every_queue_is_made_good"),
        Suite("watch_faults::a_queue_that_overflows_is_made_good"),
        Unit(INOTIFY, "an_overflow_is_told_once_everything_is_watched_again"),
        Unit(FANOTIFY, "an_overflow_is_told_once_everything_is_known_again"),
    ], "each is a line of the log; the counter comes with the metrics"),
    case(12, "overflows without end", &[
        Events("cases::load", "overflows_without_end_are_answered_ever_later"),
    ], "for 3 s, not 5 min"),
    case(13, "an overflow between the halves of a rename", &[
        Suite("cases::renames::a_queue_that_overflows_between_the_halves_of_a_rename_loses_nothing"),
    ], "under fanotify a rename is one event, and polling has no queue"),
    case(14, "the second half of a rename in a later read", &[
        Unit(INOTIFY, "halves_of_a_rename_that_come_in_different_reads_pair"),
    ], "under fanotify a rename is one event"),
    case(15, "renames of eight at once", &[
        Each("engines", "renames_of_eight_at_once_come_out_right"),
        Events("cases::renames", "a_rename_right_after_a_file_has_left_sends_no_content_again"),
        Unit(INOTIFY, "renames_from_many_threads_pair_rightly"),
    ], "by threads: to the kernel they are the same"),
    case(16, "the limit on watches at the start", &[
        Suite("engines::directories_beyond_the_limit_on_watches_are_named_and_polled"),
    ], "the exit code for monitoring comes with the metrics"),
    case(17, "the limit on watches at run time", &[
        Suite("engines::a_directory_made_when_no_watch_is_left_is_polled_and_the_rest_stays_live"),
        Unit(INOTIFY, "a_directory_that_cannot_be_watched_is_named_with_the_cure"),
    ], ""),
    case(18, "the limit on instances", &[
        Suite("engines::with_no_instance_left_everything_is_polled_unless_inotify_was_asked_for"),
    ], ""),
    case(19, "the root removed and made again", &[
        Each("cases::roots", "a_root_removed_and_made_again_deletes_nothing"),
        Each("engines", "a_root_moved_away_and_replaced_deletes_nothing_and_is_live_again_when_it_is_back"),
        Suite("brakes::a_root_that_is_replaced_deletes_nothing_until_that_is_approved"),
    ], ""),
    case(20, "the root unmounted", &[
        Each("engines", "a_root_that_is_unmounted_deletes_nothing"),
        Suite("brakes::a_root_that_is_unmounted_deletes_nothing"),
    ], ""),
    case(21, "the root empty at the start", &[
        Suite("watch_faults::a_root_that_is_emptied_as_a_whole_is_no_reason_to_delete_the_copy"),
        Suite("brakes::a_root_that_is_empty_at_the_next_start_deletes_nothing_until_that_is_approved"),
    ], ""),
    case(22, "another disk at the root", &[
        Suite("cases::roots::another_disk_at_the_root_at_the_next_start_deletes_nothing"),
        Each("cases::roots", "another_disk_mounted_over_the_root_deletes_nothing"),
        Unit("agent/src/guard/mod.rs", "whatever_speaks_against_the_root_holds"),
    ], ""),
    case(23, "a disk that fails during a walk", &[
        Suite("brakes::what_cannot_be_read_is_left_alone_and_nothing_else"),
        Unit("agent/src/guard/mod.rs", "whatever_speaks_against_the_root_holds"),
    ], "a failing disk cannot be had in the suite: EACCES stands for EIO, both are \"not known to be absent\""),
    case(24, "a mount over a directory", &[
        Each("cases::roots", "what_a_mount_over_a_directory_hides_is_left_alone"),
        Suite("brakes::a_mount_over_a_directory_holds_what_it_hides_and_nothing_else"),
        Unit(POLL, "what_a_mount_hides_is_not_told_as_gone"),
    ], ""),
    case(25, "a write through a bind mount", &[
        Each("engines", "what_is_written_through_a_bind_mount_arrives"),
    ], ""),
    case(26, "a directory swapped for a link", &[
        Each("engines", "a_directory_swapped_for_a_link_is_not_followed"),
        Unit(INOTIFY, "a_symlink_in_place_of_a_directory_is_not_followed"),
    ], ""),
    case(27, "links that loop, dangle, are absolute", &[
        Each("engines", "every_kind_of_entry_and_every_odd_name_arrives"),
        Suite("watching::a_link_is_stored_and_what_it_points_to_is_not_watched"),
    ], ""),
    case(28, "hard links in the tree", &[
        Each("cases::writers", "what_is_written_through_one_name_arrives_under_the_others"),
        Each("cases::writers", "what_is_written_through_a_name_that_goes_arrives_under_the_others"),
    ], "each name is a file of its own on the server, and sent: hard links are not kept yet"),
    case(29, "a hard link outside the tree", &[
        Suite("cases::restarts::what_is_written_through_a_name_outside_is_found_at_the_next_start"),
    ], ""),
    case(30, "a store through a mapping after the close", &[
        Suite("cases::restarts::a_store_through_a_mapping_after_the_last_close_is_found_at_the_next_start"),
        Unit(POLL, "a_change_that_keeps_size_and_mtime_is_told"),
    ], "found by the next comparison, or by polling; no files are polled for being hot"),
    case(31, "a file open for hours", &[
        Each("cases::writers", "a_log_that_is_never_closed_arrives_by_its_appends"),
        Unit("agent/src/pending/tests.rs", "a_file_that_never_rests_ships_within_the_bound"),
    ], "for 3 s"),
    case(32, "truncate, punched holes, FICLONE, copy_file_range", &[
        Each("cases::writers", "what_is_cut_punched_copied_and_linked_arrives"),
        Suite("cases::writers::a_file_that_shares_its_blocks_with_another_arrives"),
    ], "io_uring is not provoked: it writes by the same call within the kernel; holes arrive as zeros: sparse files are not kept yet"),
    case(33, "O_TMPFILE and linkat, link", &[
        Each("cases::writers", "what_is_cut_punched_copied_and_linked_arrives"),
    ], ""),
    case(34, "a file that changes while it is read", &[
        Suite("cases::writers::a_file_that_changes_while_it_is_read_arrives_as_it_was_at_one_moment"),
        Unit("proto/src/transfer/tests.rs", "a_wanted_file_that_changes_under_every_reading_arrives_all_the_same"),
    ], ""),
    case(35, "a writer killed in the middle", &[
        Each("cases::writers", "what_a_killed_writer_left_arrives"),
    ], NO_VERSIONS),
    case(36, "metadata alone", &[
        Each("cases::writers", "a_change_of_metadata_alone_sends_no_content"),
    ], "mode, owner, times; ACLs and xattrs are refused by name until they are kept"),
    case(37, "a change within the old size and time", &[
        Suite("watching::a_file_changed_within_its_old_size_and_mtime_arrives"),
        Suite("cases::restarts::a_change_within_its_old_size_and_time_is_found_at_the_next_start"),
        Unit(POLL, "a_change_that_keeps_size_and_mtime_is_told"),
    ], ""),
    case(38, "a file that becomes another kind", &[
        Each("cases::writers", "a_file_becomes_each_kind_in_turn"),
        Each("engines", "a_file_that_changes_kind_arrives_as_what_it_became"),
    ], ""),
    case(39, "odd names", &[
        Each("engines", "every_kind_of_entry_and_every_odd_name_arrives"),
        Suite("watching::every_kind_of_entry_arrives_live"),
    ], ""),
    case(40, "depth, and paths beyond PATH_MAX", &[
        Each("engines", "a_path_of_five_hundred_directories_is_seen_to_its_end"),
        Each("cases::load", "a_path_longer_than_any_is_named_and_the_rest_arrives"),
    ], "what no path can name is named by its last directory that has one, and left out"),
    case(41, "the start over millions of files", &[
        Suite("cases::load::what_changes_during_the_first_comparison_arrives_with_it"),
    ], "with 1,000 files; the benches have the Linux tree and the million"),
    case(42, "churn in a large directory", &[
        Events("cases::load", "a_busy_name_costs_no_more_among_thousands"),
    ], "with 3,000 names; polling looks at each, which is what it costs"),
    case(43, "an unlinked name that is still seen", &[], "Linux 5.3 to 5.6 alone, and no such kernel can be had in the suite; a name is looked at 50 ms after its removal"),
    case(44, "the agent killed anywhere", &[
        Suite("cases::load::an_agent_killed_anywhere_loses_nothing_and_deletes_nothing"),
        Suite("watch_faults::an_agent_killed_and_started_again_finds_what_it_missed"),
        Unit("agent/src/journal/tests.rs", "a_damaged_file_is_set_aside"),
    ], "at 20 places of the wire and of the journal's writes"),
    case(45, "the server killed, power cut", &[
        Suite("watch_faults::a_server_killed_in_the_middle_of_a_file_is_caught_up_with"),
        Suite("faults::a_server_killed_in_the_middle_of_a_push_leaves_the_old_file_and_nothing_else"),
        Suite("durability::data_is_synced_before_the_name_and_the_directory_before_the_ack"),
    ], "a power cut cannot be had in the suite: the order of the calls that a disk has to obey stands for it"),
    case(46, "a wire cut for days", &[
        Suite("cases::load::a_wire_that_is_cut_for_long_costs_no_memory_and_is_caught_up_with"),
        Unit("agent/src/pending/tests.rs", "too_many_marks_become_one"),
    ], "with 20,000 changes"),
    case(47, "the server's disk full", &[
        Suite("watch_faults::a_full_disk_is_waited_out"),
    ], ""),
    case(48, "a clock that jumps", &[
        Suite("cases::restarts::a_clock_that_jumps_changes_nothing"),
    ], ""),
    case(49, "rules changed", &[
        Suite("cases::restarts::what_a_new_rule_excludes_stays_on_the_copy_and_what_it_no_longer_does_arrives"),
        Unit(INOTIFY, "an_excluded_directory_costs_no_watch"),
    ], "by a restart"),
    case(50, "a restore into the watched tree", &[
        Suite("cases::load::what_is_restored_into_a_watched_tree_is_not_sent_back"),
    ], "with 300 files; they are looked at and told to be equal, whoever wrote them"),
    case(51, "sources that overlap", &[
        Suite("cases::load::sources_that_overlap_are_each_followed"),
        Suite("status::a_watch_that_was_started_beside_an_older_one_answers_once_that_has_ended"),
        Unit("server/src/sessions.rs", "an_older_stream_is_refused_and_so_is_an_overlapping_deleter"),
    ], ""),
    case(52, "mass deletion, mass rewrite", &[
        Suite("brakes::most_of_a_source_lost_while_it_is_watched_is_held_until_it_is_approved"),
        Suite("brakes::most_of_a_source_lost_while_nobody_watched_stays_on_the_copy_once_rejected"),
        Suite("brakes::the_brake_can_be_set_and_taken_off_and_is_for_watch_alone"),
    ], ""),
    case(53, "started before the disk", &[
        Suite("cases::restarts::a_source_that_is_not_there_yet_is_waited_for"),
    ], ""),
    case(54, "a laptop that sleeps, a stale NFS handle", &[], "neither can be had in the suite; ESTALE is not ENOENT to whatever removes: `is_absent` in agent/src/watch/scan.rs"),
    case(55, "events from our own reading", &[
        Suite("cases::load::a_comparison_gives_no_events_of_its_own"),
        Unit(INOTIFY, "our_own_reading_tells_nothing"),
        Unit(FANOTIFY, "our_own_reading_tells_nothing"),
    ], ""),
];

#[test]
fn every_case_of_the_table_is_here_once_with_a_test_or_a_reason() {
    for (at, case) in CASES.iter().enumerate() {
        assert_eq!(case.number, at + 1, "{}", case.what);
        let excused = EXCUSED.contains(&case.number);
        assert_eq!(case.shown.is_empty(), excused, "case {}: {}", case.number, case.what);
        assert!(!excused || !case.remark.is_empty(), "case {} has no reason", case.number);
    }
}

/// What a claim is called for each of these engines.
fn with(engines: &[&str], module: &str, claim: &str) -> Vec<String> {
    engines.iter().map(|engine| format!("{module}::with_{engine}::{claim}")).collect()
}

/// Whether a file of a package has this test.
fn has_test(file: &str, name: &str) -> bool {
    let source = fs::read_to_string(workspace().join(file)).expect("a source");
    ["", "    ", "    async "].iter().any(|kind| source.contains(&format!("test]\n{kind}fn {name}(")))
}

#[test]
fn every_test_that_the_list_names_is_there() {
    let suite = std::env::current_exe().expect("the path of the suite");
    let out = Command::new(suite).arg("--list").output().expect("the suite runs");
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let tests: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let mut missing = Vec::new();
    for case in &CASES {
        for shown in case.shown {
            let names = match shown {
                Each(module, claim) => with(&["inotify", "fanotify", "poll"], module, claim),
                Events(module, claim) => with(&["inotify", "fanotify"], module, claim),
                Suite(name) => vec![(*name).to_owned()],
                Unit(file, name) if has_test(file, name) => continue,
                Unit(file, name) => vec![format!("{file}: {name}")],
            };
            let lost = names.into_iter().filter(|name| !tests.contains(name.as_str()));
            missing.extend(lost.map(|name| format!("case {}: {name}", case.number)));
        }
    }
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
}
