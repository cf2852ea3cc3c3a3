//! Progress as plain lines.

use std::sync::Arc;

use super::*;

/// Collects what was printed.
#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    /// All of it.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("lock").clone()).expect("text")
    }

    /// A progress that prints here, plain or not at all.
    pub(crate) fn progress(&self, on: bool) -> Progress {
        Progress::on(if on { Mode::Plain } else { Mode::Off }, Box::new(self.clone()))
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("path")
}

#[test]
fn a_done_file_has_rsyncs_line() {
    let progress = Paper::default().progress(true);
    let mut screen = progress.screen();
    screen.transferred_files = 1;
    assert_eq!(
        screen.done_line(31_457_280, Duration::from_millis(94)),
        "     31,457,280 100%  319.15MB/s    0:00:00 (xfr#1, ir-chk=0/1)"
    );
    screen.transferred_files = 9;
    assert_eq!(
        screen.done_line(2, Duration::ZERO),
        "              2 100%    0.00kB/s    0:00:00 (xfr#9, ir-chk=0/9)"
    );
}

#[test]
fn rates_and_times_keep_their_columns() {
    let table = [
        (0, 1, "   0.00kB/s"),
        (1024 * 1024, 1, "1024.00kB/s"),
        (1024 * 1024 * 3 / 2, 1, "   1.50MB/s"),
        (5 << 30, 2, "   2.50GB/s"),
    ];
    for (bytes, seconds, want) in table {
        assert_eq!(rate(bytes, Duration::from_secs(seconds)), want);
    }
    assert_eq!(clock(Duration::from_secs(59)), "   0:00:59");
    assert_eq!(clock(Duration::from_secs(36_000 + 23 * 60 + 4)), "  10:23:04");
}

#[test]
fn each_file_is_its_name_and_one_line() {
    let paper = Paper::default();
    let progress = paper.progress(true);
    progress.file_started(&path("a\nb"), 0);
    progress.file_done();
    progress.file_started(&path("given/up"), 9);
    progress.advanced(3);
    progress.file_started(&path("c"), 5);
    progress.advanced(5);
    progress.file_done();
    progress.file_done();
    progress.finish();
    let lines: Vec<String> = paper.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!([&*lines[0], &lines[2], &lines[3]], ["a\\#012b", "given/up", "c"]);
    assert!(
        lines[1].starts_with("              0 100% ") && lines[1].ends_with("(xfr#1, ir-chk=0/1)"),
        "{}",
        lines[1]
    );
    assert!(
        lines[4].starts_with("              5 100% ") && lines[4].ends_with("(xfr#2, ir-chk=0/2)"),
        "{}",
        lines[4]
    );
    assert!(progress.was_named(&path("c")) && !progress.was_named(&path("c")));
}

#[test]
fn without_progress_only_lines_are_printed() {
    let paper = Paper::default();
    let progress = paper.progress(false);
    progress.file_started(&path("a"), 1);
    progress.advanced(1);
    progress.file_done();
    progress.line("said");
    assert_eq!(paper.text(), "said\n");
    assert!(!progress.was_named(&path("a")));
}

#[test]
fn threads_never_cut_each_others_lines() {
    let paper = Paper::default();
    let progress = paper.progress(true);
    let long = "x".repeat(5000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| progress.line(&long)));
        }
    });
    assert_eq!(paper.text(), format!("{long}\n").repeat(200));
}

#[test]
fn the_template_of_the_bar_parses() {
    assert!(ProgressStyle::with_template(BAR).is_ok());
}
