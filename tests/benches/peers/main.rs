//! peers: ours beside rsync and the watchers that people use today, in the same run, on the same machine.
//!
//!     cargo bench -p driftless-tests --bench peers [-- FILTER] [--json] [--rounds N] [--dir DIR] [--list]
//!
//! FILTER picks rows whose name holds it. Data and copies lie on the tmpfs of `/dev/shm`, or beneath `--dir`. A row is run
//! once to warm up and then N times (5), the programs in turn. Ratios are ours divided by the peer's, so less is better.
//! Ours runs with TLS and fsync, as built by the `release` profile (`DRIFTLESS_BIN_DIR` names other programs).

mod data;
mod measure;
mod programs;
mod rounds;
mod rows;
mod table;
mod watch;
mod watchers;
mod xfs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use driftless_tests::world;
use rustix::fs::{FsWord, statfs, statvfs};

use crate::data::{Data, Load};
use crate::rows::{Home, ROWS, Row};
use crate::table::Line;

/// Memory, or room on a disk, that is left to everybody else.
const LEFT_FREE: u64 = 6 << 30;
/// `TMPFS_MAGIC` of `statfs(2)`.
const TMPFS: FsWord = 0x0102_1994;

/// What was asked for.
struct Args {
    filter: String,
    json: bool,
    list: bool,
    rounds: usize,
    dir: PathBuf,
}

impl Args {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self {
            filter: String::new(),
            json: false,
            list: false,
            rounds: 5,
            dir: PathBuf::from("/dev/shm"),
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                // cargo says so to every bench.
                "--bench" => {}
                "--json" => args.json = true,
                "--list" => args.list = true,
                "--rounds" => args.rounds = value()?.parse().map_err(|_| "--rounds needs a number")?,
                "--dir" => args.dir = PathBuf::from(value()?),
                _ if word.starts_with('-') => return Err(format!("no option {word}")),
                _ => args.filter = word,
            }
        }
        if args.rounds == 0 {
            return Err("--rounds needs at least 1".to_owned());
        }
        Ok(args)
    }
}

fn main() -> ExitCode {
    let mut given = std::env::args_os().skip(1);
    if given.next().is_some_and(|first| first == measure::STAND_BETWEEN) {
        return measure::stand_between(&given.collect::<Vec<_>>());
    }
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(wrong) => {
            eprintln!("peers: {wrong}");
            return ExitCode::from(1);
        }
    };
    let rows: Vec<Row> = ROWS.iter().filter(|row| row.name.contains(&args.filter)).copied().collect();
    let watch: Vec<&str> = watch::NAMES.iter().filter(|name| name.contains(&args.filter)).copied().collect();
    if args.list {
        rows.iter().map(|row| row.name).chain(watch).for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    if rows.is_empty() && watch.is_empty() {
        eprintln!("peers: no row is called {:?}; --list names them", args.filter);
        return ExitCode::from(1);
    }
    world::build_in("release");
    if Bench::new(args).run(&rows, &watch) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run of the bench.
struct Bench {
    args: Args,
    dir: tempfile::TempDir,
    data: Data,
    notes: Vec<String>,
    lines: Vec<Line>,
    failed: bool,
}

impl Bench {
    fn new(args: Args) -> Self {
        let dir = tempfile::Builder::new().prefix("driftless-peers-").tempdir_in(&args.dir);
        let dir = dir.expect("a folder on the file system that is measured");
        let data = Data::new(dir.path().join("data"));
        Self { args, dir, data, notes: Vec::new(), lines: Vec::new(), failed: false }
    }

    /// Runs everything and prints it. False when a row failed.
    fn run(mut self, rows: &[Row], watch: &[&str]) -> bool {
        if programs::installed("rsync").is_none() {
            self.note("rsync is not installed: no row can be compared".to_owned());
        } else {
            self.rows(rows, !watch.is_empty());
        }
        let figures = watch::run(watch, self.dir.path(), &mut self.data, &mut self.notes, self.args.json);
        self.notes.extend(std::mem::take(&mut self.data.notes));
        if self.args.json {
            table::print_json(&self.lines, &figures, &self.notes);
        } else {
            table::print_all(&self.lines);
            self.notes.iter().for_each(|note| println!("note: {note}"));
        }
        !self.failed
    }

    fn rows(&mut self, rows: &[Row], watch: bool) {
        let tunnel = programs::installed("stunnel").is_some();
        if !tunnel && rows.iter().any(|row| row.tunnel.is_some()) {
            self.note("stunnel is not installed: rsync through stunnel is not measured".to_owned());
        }
        for (at, row) in rows.iter().enumerate() {
            let mut needed: Vec<Load> = rows[at..].iter().flat_map(Row::loads).collect();
            // The watch rows come last and watch the tree.
            needed.extend(watch.then_some(Load::Linux));
            self.data.keep(&needed);
            // A program that fails has failed this row, not the others; what it said is printed already.
            match catch_unwind(AssertUnwindSafe(|| self.row(row, tunnel))) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => self.note(format!("{} is skipped: {why}", row.name)),
                Err(_) => {
                    self.failed = true;
                    self.note(format!("{} FAILED", row.name));
                }
            }
        }
        let needed: &[Load] = if watch { &[Load::Linux] } else { &[] };
        self.data.keep(needed);
    }

    fn row(&mut self, row: &Row, tunnel: bool) -> Result<(), String> {
        let programs = 2 + u64::from(row.tunnel.is_some() && tunnel);
        // The page cache of a mounted image holds its blocks a second time.
        let times = if row.home == Home::Xfs { 2 } else { 1 };
        let loads: u64 = row.loads().into_iter().map(Load::memory).sum();
        let need = loads + times * row.memory(programs) + LEFT_FREE;
        let free = free(self.dir.path());
        if free < need {
            return Err(format!("it needs {} GiB free, there are {}", need >> 30, free >> 30));
        }
        let xfs = (row.home == Home::Xfs).then(|| xfs::Xfs::mount(self.dir.path())).transpose()?;
        let dir = xfs.as_ref().map_or(self.dir.path(), xfs::Xfs::path).to_owned();
        let measured = rounds::run(row, self.args.rounds, &mut self.data, &dir, tunnel);
        let line = Line::new(*row, measured, self.data.size(row.new));
        if !self.args.json {
            table::print(&line);
        }
        self.lines.push(line);
        Ok(())
    }

    fn note(&mut self, note: String) {
        eprintln!("{note}");
        self.notes.push(note);
    }
}

/// Bytes that may be taken in a folder: of memory too, where it is on tmpfs.
fn free(dir: &Path) -> u64 {
    let room = statvfs(dir).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    if statfs(dir).is_ok_and(|fs| fs.f_type == TMPFS) { room.min(memory_free()) } else { room }
}

fn memory_free() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}
