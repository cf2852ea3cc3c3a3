//! What `driftless events` does and inotifywait does not.

use super::*;

#[test]
fn a_tree_made_at_once_is_told_whole_and_once() {
    let tools = Tools::new();
    let (run, top) = tools.events("-mr -e create --synthetic --format %w%f t");
    let mut want = Vec::new();
    for round in 0..20 {
        sh(&top, &format!("mkdir -p t/{round}/a/b; echo >t/{round}/a/b/f; touch t/{round}/g"));
        want.extend(["", "/a", "/a/b", "/a/b/f", "/g"].map(|name| format!("t/{round}{name}")));
    }
    want.sort();
    until("the last is told", || run.stdout().contains("t/19/a/b/f"));
    let seen = run.end(Signal::TERM);
    let mut told: Vec<_> = seen.stdout.lines().collect();
    told.sort_unstable();
    assert_eq!(told, want);
}

#[test]
fn an_overflow_is_told_and_what_was_made_meanwhile_is_watched() {
    let tools = Tools::new();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("read");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > 50_000 {
        return skip("max_queued_events is too high to be met in a test");
    }
    for compat in [true, false] {
        let top = tools.tree();
        let args = ["-mr", "-e", "create", "t"];
        let (exe, name) = (tools.ours("inotifywait"), "inotifywait");
        let run = match compat {
            true => tools.start(&exe, name, &args, &top, ""),
            false => {
                let args = [&["events", "--synthetic"], args.as_slice()].concat();
                tools.start(&program("driftless"), "driftless", &args, &top, "")
            }
        };
        run.established();
        kill_process(run.pid(), Signal::STOP).expect("it runs");
        until("it has stopped", || run.state() == 'T');
        (0..limit + 10).for_each(|at| drop(File::create(top.join(format!("t/c/{at}"))).expect("create")));
        sh(&top, "mkdir -p t/late/later; mv t/a t/moved");
        kill_process(run.pid(), Signal::CONT).expect("it runs");
        until("the loss is told", || run.stderr().contains("Events were lost"));
        run.rests();
        sh(&top, "touch t/late/later/x t/moved/b/y");
        let seen = run.end(Signal::TERM);
        let lines: Vec<_> = seen.stdout.lines().collect();
        assert!(lines.contains(&"t/late/later/ CREATE x"), "not watched");
        assert!(lines.contains(&"t/moved/b/ CREATE y"), "told at a path where it is not");
        assert_eq!(lines.contains(&" Q_OVERFLOW "), !compat);
    }
}

#[test]
fn a_directory_that_left_is_watched_no_more() {
    let tools = Tools::new();
    let (run, top) = tools.events("-mr -e create,move t");
    assert_eq!(run.watches(), 4);
    sh(&top, "mv t/a out/a");
    until("its watches are gone, all of them", || run.watches() == 2);
    sh(&top, "touch out/a/x out/a/b/y; mv out/a t/back");
    until("it is watched again", || run.watches() == 4);
    sh(&top, "touch t/back/b/z");
    let seen = run.end(Signal::TERM);
    assert_eq!(seen.stdout, "t/ MOVED_FROM,ISDIR a\nt/ MOVED_TO,ISDIR back\nt/back/b/ CREATE z\n");
}

#[test]
fn exchanged_directories_keep_their_own_names() {
    let tools = Tools::new();
    let (run, top) = tools.events("-mr -e create t");
    let dir = File::open(top.join("t")).expect("open");
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(&dir, "a", &dir, "c", exchange).expect("exchange");
    run.rests();
    sh(&top, "touch t/a/1 t/c/2 t/c/b/3");
    assert_eq!(run.end(Signal::TERM).stdout, "t/a/ CREATE 1\nt/c/ CREATE 2\nt/c/b/ CREATE 3\n");
}

#[test]
fn pruned_directories_cost_no_watch_neither_now_nor_later() {
    let tools = Tools::new();
    let (run, top) = tools.events("-mr --prune -e create --exclude node_modules/ @t/c @t/skip t");
    assert_eq!(run.watches(), 3);
    sh(&top, "mkdir -p t/a/node_modules/x t/skip/y");
    run.rests();
    assert_eq!(run.watches(), 3);
    assert_eq!(run.end(Signal::TERM).stdout, "t/a/ CREATE,ISDIR node_modules\nt/ CREATE,ISDIR skip\n");
}

#[test]
fn events_can_be_had_as_json_or_ended_by_nul() {
    let tools = Tools::new();
    let (run, top) = tools.events("-m --json -e create t");
    sh(&top, "touch 't/two words'");
    let seen = run.end(Signal::TERM);
    let (head, time) = seen.stdout.split_once("\"time\":").expect("a time");
    assert_eq!(head, r#"{"cookie":0,"events":["CREATE"],"name":"two words","synthetic":false,"#);
    assert!(time.ends_with("\"watched\":\"t/\"}\n"), "{time}");

    let (run, top) = tools.events("-m --print0 -e create t");
    sh(&top, "touch 't/two\nlines' t/b");
    assert_eq!(run.end(Signal::TERM).stdout, "t/ CREATE two\nlines\0t/ CREATE b\0");
}

#[test]
fn a_rename_is_told_in_json_from_where_to_where_even_when_only_its_end_was_asked_for() {
    let tools = Tools::new();
    for (events, told) in [("move", 3), ("moved_to", 2)] {
        let (run, top) = tools.events(&format!("-mr --json -e {events} t"));
        sh(&top, "touch t/x out/y; mv t/x t/c/z; mv out/y t/y; mv t/y out/y2");
        run.rests();
        let seen = run.end(Signal::TERM);
        let lines: Vec<_> =
            seen.stdout.lines().filter(|line| line.contains("MOVED_TO") || told == 2).collect();
        assert_eq!(lines.len(), 2, "{}", seen.stdout);
        assert!(lines[0].contains(r#""from":"t/x""#) && lines[0].contains(r#""to":"t/c/z""#), "{}", lines[0]);
        assert!(!lines[1].contains("\"from\"") && lines[1].contains(r#""name":"y""#), "{}", lines[1]);
    }
}

#[test]
fn counts_can_be_had_as_json() {
    let tools = Tools::new();
    let (run, top) = tools.driftless("stats", "--json -e create,delete t");
    sh(&top, "touch t/1 t/2; rm t/1");
    let seen = run.end(Signal::INT);
    assert_eq!(seen.stdout, "{\"create\":2,\"delete\":1,\"filename\":\"t/\",\"total\":3}\n");
}

#[test]
fn it_ends_when_nothing_is_left_to_watch() {
    let tools = Tools::new();
    let (mut run, top) = tools.events("-mr -e create t");
    sh(&top, "rm -r t");
    let status = eventually("it ends", || run.child.try_wait().expect("wait"));
    assert_eq!(status.code(), Some(3));
    assert!(run.stderr().contains("Nothing that was watched is there any more."), "{}", run.stderr());
}

#[test]
fn a_daemon_needs_no_file_beforehand_and_relative_paths_stay_right() {
    let tools = Tools::new();
    let seen = tools.run(&tools.ours("inotifywait"), "inotifywait -d -o log -t 2 -e create t", &[]);
    assert_eq!((seen.code, seen.stdout.as_str(), seen.stderr.as_str()), (Some(0), "", ""));
    let top = tools.world.path("top");
    let mut count = 0;
    // It says nowhere when it is ready; it ends by itself when nothing happens for two seconds.
    until("it logs an event", || {
        count += 1;
        fs::write(top.join(format!("t/{count}")), "").expect("write");
        fs::read_to_string(top.join("log")).is_ok_and(|text| text.contains("t/ CREATE "))
    });
}

#[test]
fn what_is_not_supported_is_refused() {
    let tools = Tools::new();
    for (line, says) in [
        ("driftless events -F t", "fanotify is not supported"),
        ("driftless events --filesystem t", "fanotify is not supported"),
        ("driftless stats -S t", "fanotify is not supported"),
        ("driftless stats -F t", "fanotify is not supported"),
        ("driftless events --exclude (a)\\1 t", "Back references"),
        ("driftless events --synthetic t", "--synthetic needs -m and -r"),
        ("driftless events --json -c t", "--json excludes"),
        ("inotifywait --json t", "inotifywait: unrecognized option '--json'"),
        ("inotifywatch --json t", "inotifywatch: unrecognized option '--json'"),
    ] {
        let (name, _) = words(line);
        let exe = if name == "driftless" { program("driftless") } else { tools.ours(name) };
        let seen = tools.run(&exe, line, &[]);
        assert_eq!((seen.code, seen.stdout.as_str()), (Some(1), ""), "{line}");
        assert!(seen.stderr.contains(says), "{line}: {}", seen.stderr);
    }
}
