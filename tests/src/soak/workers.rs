//! workers: the processes that work on the source. Each is this program again, told by its command line what to do, by a
//! line on its standard input when to begin, and by the end of that when to stop.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Settings;
use super::operations::Worker;
use crate::World;

/// The first argument of a worker.
pub(super) const WORKER: &str = "worker";

/// How many there are.
const WORKERS: usize = 4;

/// What was done, and how often.
pub(super) type Counts = BTreeMap<String, u64>;

/// The running processes. Killed when dropped.
pub(super) struct Workers {
    running: Vec<(Child, Option<ChildStdin>, BufReader<ChildStdout>)>,
    begun: Instant,
}

impl Workers {
    /// Starts them; they begin to plant.
    pub(super) fn start(settings: &Settings, world: &World, src: &Path) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let (outside, logs) = (world.dir("outside"), world.dir("operations"));
        let start = |index: usize| {
            let seed = settings.seed.wrapping_mul(31).wrapping_add(index as u64);
            let mut child = Command::new(&program)
                .arg(WORKER)
                .args([src.to_owned(), outside.clone(), logs.join(format!("w{index}"))])
                .args([index.to_string(), seed.to_string(), (settings.files / WORKERS).to_string()])
                .args(&settings.without)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("this program runs");
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
            (child, stdin, BufReader::new(stdout))
        };
        Self { running: (0..WORKERS).map(start).collect(), begun: Instant::now() }
    }

    /// Waits until everybody has planted.
    pub(super) fn planted(&mut self) {
        for (_, _, says) in &mut self.running {
            let mut line = String::new();
            says.read_line(&mut line).expect("read");
            assert_eq!(line, "planted\n", "a worker failed");
        }
    }

    /// Lets them work.
    pub(super) fn go(&mut self) {
        self.begun = Instant::now();
        for (_, told, _) in &mut self.running {
            told.as_mut().expect("it is still told").write_all(b"go\n").expect("a worker listens");
        }
    }

    /// Ends them; returns what they did, and in how many seconds.
    pub(super) fn stop(&mut self) -> (Counts, f64) {
        self.running.iter_mut().for_each(|(_, told, _)| *told = None);
        let mut counts = Counts::new();
        for (child, _, says) in &mut self.running {
            let mut text = String::new();
            says.read_to_string(&mut text).expect("read");
            assert!(child.wait().expect("wait").success(), "a worker failed");
            for line in text.lines() {
                let (name, count) = line.rsplit_once(' ').expect("a name and a number");
                *counts.entry(name.to_owned()).or_default() += count.parse::<u64>().expect("a number");
            }
        }
        (counts, self.begun.elapsed().as_secs_f64())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (child, ..) in &mut self.running {
            // One that has ended is as good.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Is a worker: plants, waits for the word, works until told to stop, and tells what it did.
pub(super) fn work(args: impl Iterator<Item = String>) -> ExitCode {
    let args: Vec<String> = args.collect();
    let [src, outside, log, index, seed, files, without @ ..] = &args[..] else {
        eprintln!("soak: a worker is started by the soak itself");
        return ExitCode::from(2);
    };
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let files = usize::try_from(number(files)).expect("a count");
    let mut worker = Worker::new([src, outside, log], [number(index), number(seed)], without.to_vec());
    worker.plant(files);
    println!("planted");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("read");
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        // Its end is the word, however it comes.
        drop(std::io::stdin().read_line(&mut String::new()));
        told.store(true, Ordering::Relaxed);
    });
    while !stop.load(Ordering::Relaxed) {
        worker.step(files);
    }
    for (name, count) in worker.finish() {
        println!("{name} {count}");
    }
    ExitCode::SUCCESS
}
