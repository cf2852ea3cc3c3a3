//! judge: what must never be seen while it runs, and what must hold at the end. It knows nothing of how the programs work:
//! it looks at the two trees, and at what the kernel says about the processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::ends::Pids;
use crate::oracle;
use crate::trees::differences;

/// Differences that are shown.
const SHOWN: usize = 40;

/// Directories with sentinels, and sentinels in each.
const DIRS: usize = 20;
const EACH: usize = 10;

/// How often the sentinels are looked at, and the memory.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// What the peak of the second half may have over that of the first: a quarter, and this many KiB. The windows of one
/// more connection and the pages that an allocator keeps are no leak; a leak of a hundred bytes an operation is seen in
/// half an hour.
const MARGIN_KIB: u64 = 16 << 10;

/// From here on a quarter is enough. In a shorter run the tree itself grows (from 20,000 to 36,000 entries in a minute) and a
/// half is a life or two, with one comparison over a backlog more or less: the second peak is up to 1.7 times the first
/// then, and may be twice it. Memory without a bound shows even so.
const LONG: Duration = Duration::from_secs(600);

/// What differs between the two trees: by our comparison of content and metadata, and by rsync's.
pub(super) fn differ(when: &str, src: &Path, copy: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let found = differences(src, copy);
    if !found.is_empty() {
        let shown: Vec<&str> = found.iter().take(SHOWN).map(String::as_str).collect();
        wrong.push(format!("{when}: {} differences\n  {}", found.len(), shown.join("\n  ")));
    }
    let found = oracle::rsync_differences(src, copy).unwrap_or_default();
    if !found.is_empty() {
        let shown: Vec<&str> = found.lines().take(SHOWN).collect();
        wrong.push(format!("{when}: rsync finds {}\n  {}", found.lines().count(), shown.join("\n  ")));
    }
    wrong
}

/// Names of unfinished work that lie in the copy.
pub(super) fn leftovers(copy: &Path) -> Option<String> {
    let left = crate::agent::leftovers(copy);
    (!left.is_empty()).then(|| format!("unfinished work lies in the copy: {left:?}"))
}

/// Files that nobody touches: none of them may ever be missing on the server.
pub(super) struct Sentinels(Vec<PathBuf>);

impl Sentinels {
    /// Beside the workers' directories and within them.
    pub(super) fn plant(src: &Path) -> Self {
        let dir = |i: usize| match i {
            0..5 => PathBuf::from(["w0", "w1", "w2", "w3", "shared"][i]),
            _ => format!("sentinels/{i}").into(),
        };
        let mut paths = Vec::new();
        for dir in (0..DIRS).map(dir) {
            fs::create_dir_all(src.join(&dir)).expect("mkdir");
            for i in 0..EACH {
                let path = dir.join(format!("sentinel-{i}"));
                fs::write(src.join(&path), text(&path)).expect("write");
                paths.push(path);
            }
        }
        Self(paths)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Looks at them on the server from now on.
    pub(super) fn watch(&self, copy: &Path) -> Lookout {
        let (paths, copy) = (self.0.clone(), copy.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            let (mut looks, mut wrong) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let gone = paths.iter().filter(|path| fs::read(copy.join(path)).ok() != Some(text(path)));
                let gone: Vec<String> = gone.map(|path| path.display().to_string()).collect();
                if !gone.is_empty() && wrong.len() < SHOWN {
                    wrong.push(format!("sentinels gone after {:?}: {}", begun.elapsed(), gone.join(", ")));
                }
                looks += 1;
                std::thread::sleep(LOOK_EVERY);
            }
            (looks, wrong)
        });
        Lookout { stop, thread }
    }
}

fn text(path: &Path) -> Vec<u8> {
    format!("never touched: {}", path.display()).into_bytes()
}

/// The looking at sentinels.
pub(super) struct Lookout {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl Lookout {
    /// Ends it; returns how often it looked.
    pub(super) fn end(self, wrong: &mut Vec<String>) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let (looks, found) = self.thread.join().expect("the lookout does not panic");
        wrong.extend(found);
        looks
    }
}

/// The most memory that each process held in each half, in KiB (`VmHWM`, which begins anew with each life).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) agent: [u64; 2],
    pub(super) server: [u64; 2],
}

impl Memory {
    /// What grew in a run of this length.
    pub(super) fn verdict(&self, time: Duration) -> Vec<String> {
        let judge = |(name, [first, second]): (&str, [u64; 2])| {
            let most = limit(first, time);
            (second > most)
                .then(|| format!("the {name}'s memory grew: {first} KiB, then {second}, over {most}"))
        };
        [("agent", self.agent), ("server", self.server)].into_iter().filter_map(judge).collect()
    }
}

/// What the second half of a run of this length may reach after such a first one.
pub(super) fn limit(first: u64, time: Duration) -> u64 {
    first + if time < LONG { first } else { first / 4 } + MARGIN_KIB
}

/// The looking at memory.
pub(super) struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Memory>,
}

impl Meter {
    pub(super) fn start(pids: Arc<Pids>, time: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut memory = Memory::default();
            while !stopped.load(Ordering::Relaxed) {
                let half = usize::from(begun.elapsed() > time / 2);
                for (peaks, pid) in [(&mut memory.agent, &pids.agent), (&mut memory.server, &pids.server)] {
                    peaks[half] = peaks[half].max(peak(pid));
                }
                std::thread::sleep(SAMPLE_EVERY);
            }
            memory
        });
        Self { stop, thread }
    }

    pub(super) fn end(self) -> Memory {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the meter does not panic")
    }
}

fn peak(pid: &AtomicI32) -> u64 {
    Pid::from_raw(pid.load(Ordering::Relaxed)).and_then(crate::agent::peak_kib).unwrap_or(0)
}
