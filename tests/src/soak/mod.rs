//! Soak: random work on a source under `watch -a --delete`, with both programs killed, the wire cut and the event queue
//! overflowed on the way, and at the end two equal trees.
//!
//! ```text
//! cargo run -p driftless-tests --bin soak -- --minutes 30 --seed 7
//! ```
//!
//! | option | what it sets |
//! |---|---|
//! | `--minutes M`, `--seconds S` | how long the work goes on (default 1 minute) |
//! | `--seed N` | what each worker does, in order, and when what goes wrong (default: the clock) |
//! | `--files F` | files that the workers keep about (default 50000) |
//! | `--engine E` | of the watch: `auto`, `inotify`, `fanotify` or `poll` |
//! | `--dir DIR` | where it all happens (default: the system's folder for temporary files) |
//! | `--without NAME` | an operation that the workers leave out, to find the one that matters; may be given again |
//! | `--keep` | the folder is kept, even when all held |
//! | `--names` | the agent logs every change (`-v`) |
//!
//! * [`operations`]: what one worker does, [`plot`]: what it knows of its part of the source, `workers`: the processes.
//! * [`ends`]: the two programs and the wire between them; [`chaos`]: what goes wrong, and when.
//! * [`judge`]: what must never be seen, and what must hold at the end; [`report`]: the page that is printed.
//!
//! The brake is off: an `rm -r` of the workers may take more than half of a small tree, which the brake would rightly
//! hold, and nobody is there to approve it.

mod chaos;
mod ends;
mod judge;
mod operations;
mod plot;
mod report;
mod workers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use crate::World;
use chaos::Chaos;
use ends::Ends;
use judge::{Meter, Sentinels};
use report::Report;
use workers::Workers;

/// How long the first push may take: half a minute, and this for each file.
const PER_FILE: Duration = Duration::from_millis(10);

/// What a run is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long the workers work.
    pub time: Duration,
    /// Where all chance comes from.
    pub seed: u64,
    /// Files that all workers together keep about.
    pub files: usize,
    /// The engine of the watch.
    pub engine: String,
    /// Where it happens.
    pub dir: PathBuf,
    /// Operations that are left out.
    pub without: Vec<String>,
    /// Whether the folder is kept in any case.
    pub keep: bool,
    /// Whether the agent logs every change.
    pub names: bool,
}

impl Settings {
    /// Reads a command line.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut settings = Self {
            time: Duration::from_secs(60),
            seed: now.as_secs(),
            files: 50_000,
            engine: "auto".into(),
            dir: std::env::temp_dir(),
            without: Vec::new(),
            keep: false,
            names: false,
        };
        let mut args = args;
        while let Some(name) = args.next() {
            match name.as_str() {
                "--keep" => settings.keep = true,
                "--names" => settings.names = true,
                _ => settings.take(&name, args.next())?,
            }
        }
        if settings.time.is_zero() {
            return Err("a soak takes a second at least".into());
        }
        Ok(settings)
    }

    /// Takes an option with a value.
    fn take(&mut self, name: &str, value: Option<String>) -> Result<(), String> {
        let value = value.ok_or_else(|| format!("{name} needs a value, or is not known"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}"));
        match name {
            "--minutes" => self.time = Duration::from_secs(number()? * 60),
            "--seconds" => self.time = Duration::from_secs(number()?),
            "--seed" => self.seed = number()?,
            "--files" => self.files = usize::try_from(number()?).unwrap_or(usize::MAX),
            "--engine" => self.engine = value,
            "--dir" => self.dir = value.into(),
            "--without" if operations::is_one(&value) => self.without.push(value),
            "--without" => return Err(format!("no operation is called {value:?}")),
            _ => return Err(format!("{name}: not known")),
        }
        Ok(())
    }
}

/// Runs the soak, or, called by itself, one of its workers. 0 when everything held, 1 when not, 2 for bad usage.
pub fn main(mut args: impl Iterator<Item = String>) -> ExitCode {
    let first = args.next();
    if first.as_deref() == Some(workers::WORKER) {
        return workers::work(args);
    }
    match Settings::parse(first.into_iter().chain(args)) {
        Ok(settings) if run(&settings) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("soak: {wrong}");
            ExitCode::from(2)
        }
    }
}

/// Runs it and prints the page; where something did not hold the folder is kept. Returns whether all held.
#[must_use]
pub fn run(settings: &Settings) -> bool {
    let world = World::in_dir(&settings.dir);
    eprintln!("soak: seed {}, in {}", settings.seed, world.path("").display());
    // A program that does not start, or a worker that fails, panics: that is a verdict too, and its folder is kept.
    let report = catch_unwind(AssertUnwindSafe(|| soak(settings, &world)));
    let held = match report {
        Ok(report) => {
            print!("{}", report.page(settings));
            report.wrong.is_empty()
        }
        Err(_) => {
            println!("soak: seed {}: FAILED before its end, see above", settings.seed);
            false
        }
    };
    if !held || settings.keep {
        println!("kept: {}", world.keep().display());
    }
    held
}

fn soak(settings: &Settings, world: &World) -> Report {
    let src = world.dir("src");
    let mut report = Report::default();
    let sentinels = Sentinels::plant(&src);
    let mut workers = Workers::start(settings, world, &src);
    let mut ends = Ends::start(settings, world, &src);
    let mut chaos = Chaos::new(settings, &src);
    workers.planted();

    let begun = Instant::now();
    ends.watch();
    let limit = Duration::from_secs(30) + PER_FILE * u32::try_from(settings.files).unwrap_or(u32::MAX);
    if let Err(why) = ends.drained(limit) {
        report.wrong.push(format!("the first push: {why}"));
        report.logs = ends.logs();
        return report;
    }
    report.first_push = begun.elapsed();
    report.wrong.extend(judge::differ("after the first push", &src, ends.copy()));

    let watched = sentinels.watch(ends.copy());
    let meter = Meter::start(ends.pids(), settings.time);
    workers.go();
    chaos.run(&mut ends, &mut report);
    (report.operations, report.seconds) = workers.stop();
    let stopped = Instant::now();
    let limit = settings.time.max(Duration::from_secs(120));
    report.wrong.extend(ends.drained(limit).err().map(|why| format!("the end: {why}")));
    if settings.engine == "poll" {
        // Nothing tells when the last look of a poll has been.
        while !crate::trees::differences(&src, ends.copy()).is_empty() && stopped.elapsed() < limit {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    report.catch_up = stopped.elapsed();
    report.memory = meter.end();
    (report.sentinels, report.looks) = (sentinels.len(), watched.end(&mut report.wrong));
    last_look(&src, &ends, settings.time, &mut report);
    report
}

/// Everything is quiet: what is on the server now is what will be restored.
fn last_look(src: &Path, ends: &Ends, time: Duration, report: &mut Report) {
    let copy = ends.copy();
    report.wrong.extend(judge::differ("at the end", src, copy));
    report.wrong.extend(judge::leftovers(copy));
    report.wrong.extend(report.memory.verdict(time));
    report.entries = crate::trees::facts(copy).len();
    report.carried = ends.carried();
    if !report.wrong.is_empty() {
        report.logs = ends.logs();
    }
}
