//! watch: how long a change takes from the source to the server, and what a watcher that waits costs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driftless_tests::trees::Noise;
use driftless_tests::wait::{patience, until};
use rustix::process::Pid;
use serde_json::{Value, json};

use crate::data::{Data, Load};
use crate::measure::{cpu_ticks, descendants, largest_kib, run_time, ticks};
use crate::programs::Fleet;
use crate::table::{sorted, verdict};
use crate::watchers::{Watch, Watcher};

/// By which a filter finds each.
pub(crate) const NAMES: &[&str] = &[
    "watch-latency",
    "watch-rewrite",
    "watch-restart",
    "watch-20000-directories",
    "watch-200000-directories",
    "watch-idle",
];

/// Files that are rewritten, and then renamed with their directory.
const MANY: usize = 10_000;
/// How long a watcher that waits is looked at.
const IDLE: Duration = Duration::from_secs(10);
/// Between two new names, so that each is one event's work.
const PAUSE: Duration = Duration::from_millis(20);

/// One number, and what it should be at most.
struct Figure {
    name: &'static str,
    watcher: Watcher,
    figure: &'static str,
    value: f64,
    max: Option<f64>,
}

impl Figure {
    fn print(&self) {
        let target =
            self.max.map_or_else(String::new, |max| format!("target {max} {}", verdict(self.value <= max)));
        println!(
            "{:<14} {:<15} {:<34} {:>12.3}  {target}",
            self.name,
            self.watcher.name(),
            self.figure,
            self.value
        );
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "program": self.watcher.name(),
            "figure": self.figure,
            "value": self.value,
            "target": self.max,
            "target_met": self.max.map(|max| self.value <= max),
        })
    }
}

/// Runs these, and returns their figures.
pub(crate) fn run(
    names: &[&str],
    dir: &Path,
    data: &mut Data,
    notes: &mut Vec<String>,
    json: bool,
) -> Vec<Value> {
    let mut figures = Vec::new();
    for &name in names {
        let watchers: &[Watcher] = match name {
            "watch-latency" => &[Watcher::Ours, Watcher::Lsyncd(0), Watcher::Lsyncd(1), Watcher::Script],
            "watch-rewrite" => &[Watcher::Lsyncd(0), Watcher::Lsyncd(1), Watcher::Ours],
            // The script compares nothing when it starts.
            "watch-restart" => &[Watcher::Ours, Watcher::Lsyncd(0)],
            "watch-20000-directories" => &[Watcher::Ours, Watcher::Lsyncd(1)],
            // lsyncd does not come to watch so many within the patience of this bench.
            "watch-200000-directories" => &[Watcher::Ours],
            _ => &[Watcher::Ours],
        };
        // What ours is compared with: the fastest peer.
        let mut best = f64::INFINITY;
        for &watcher in watchers {
            if let Some(program) = watcher.missing() {
                notes.push(format!("{name}: {program} is not installed, {} is not measured", watcher.name()));
                continue;
            }
            let fleet = Fleet::start(dir, false, None);
            let found = match name {
                "watch-latency" => latency(watcher, &fleet, &data.get(Load::Linux)),
                "watch-rewrite" => rewrite(watcher, &fleet, &data.get(Load::Small), &mut best),
                "watch-restart" => restart(watcher, &fleet, &data.get(Load::Linux)),
                "watch-20000-directories" => directories(watcher, &fleet, "watch-20000-directories", 100),
                "watch-200000-directories" => directories(watcher, &fleet, "watch-200000-directories", 1000),
                _ => idle(watcher, &fleet, &data.get(Load::Linux)),
            };
            if !json {
                found.iter().for_each(Figure::print);
            }
            figures.extend(found.iter().map(Figure::json));
        }
    }
    figures
}

/// New names one after another in a watched tree: written to visible on the server.
fn latency(watcher: Watcher, fleet: &Fleet, tree: &Path) -> Vec<Figure> {
    let samples = if watcher == Watcher::Ours { 200 } else { 40 };
    let dirs = dirs(tree);
    let watch = Watch::start(watcher, fleet, tree);
    let mut written = Vec::new();
    let times = (0..samples).map(|at| {
        let name = dirs[at * dirs.len() / samples].join(format!("new-name-{at}"));
        let path = tree.join(&name);
        let began = Instant::now();
        fs::write(&path, "what a person types before saving\n").expect("write");
        assert!(watch.arrives(&name, patience()), "{}: a file does not arrive", watcher.name());
        let took = began.elapsed();
        written.push(path);
        match watcher {
            Watcher::Ours => std::thread::sleep(PAUSE),
            _ => watch.quiet(),
        }
        took.as_secs_f64() * 1000.0
    });
    let times = sorted(times);
    drop(watch);
    written.iter().for_each(|path| fs::remove_file(path).expect("delete"));
    let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
    let max = |ms: f64| (watcher == Watcher::Ours).then_some(ms);
    let figure = |figure, value, max| Figure { name: "watch-latency", watcher, figure, value, max };
    vec![
        figure("write to visible, p50, ms", at(0.50), max(8.0)),
        figure("write to visible, p99, ms", at(0.99), max(15.0)),
        figure("samples", samples as f64, None),
    ]
}

/// Many files rewritten until all have arrived, and then their directory renamed.
fn rewrite(watcher: Watcher, fleet: &Fleet, small: &Path, best: &mut f64) -> Vec<Figure> {
    let source = fleet.dir("watched");
    let before = source.join("before");
    fs::create_dir(&before).expect("mkdir");
    for entry in fs::read_dir(small).expect("a folder").flatten() {
        fs::copy(entry.path(), before.join(entry.file_name())).expect("copy");
    }
    let watch = Watch::start(watcher, fleet, &source);
    let contents: Vec<(PathBuf, Vec<u8>)> = (0..MANY)
        .map(|id| (format!("before/file{id:05}").into(), Noise::new(1_000_000 + id as u64).bytes(4096)))
        .collect();
    let busy = || cpu_ticks(&descendants(&[watch.pid()]));
    let before_it = busy();
    let began = Instant::now();
    for (name, bytes) in &contents {
        fs::write(source.join(name), bytes).expect("write");
    }
    for (name, bytes) in &contents {
        // Each has its own patience, so a slow watcher is measured to its end.
        until(format_args!("{} has brought {}", watcher.name(), name.display()), || {
            fs::read(watch.module.join(name)).is_ok_and(|there| there == *bytes)
        });
    }
    let took = began.elapsed().as_secs_f64();
    watch.quiet();
    let used = ticks(busy().saturating_sub(before_it)).as_secs_f64() * 1e6 / MANY as f64;
    let figure = |figure, value, max| Figure { name: "watch-rewrite", watcher, figure, value, max };
    let ours = watcher == Watcher::Ours;
    let max = (ours && best.is_finite()).then_some(*best / 20.0);
    *best = best.min(took);
    let mut figures = vec![
        figure("10,000 rewritten, all arrived, s", took, max),
        figure("the watcher's cpu for each file, us", used, None),
    ];
    if !ours {
        // A peer deletes all and sends all again, which takes a minute and more.
        return figures;
    }
    let carried = watch.carried(fleet);
    let began = Instant::now();
    fs::rename(&before, source.join("after")).expect("rename");
    let there = |dir: &str| fs::read_dir(watch.module.join(dir)).map_or(0, Iterator::count);
    let end = began + 4 * patience();
    while watch.module.join("before").exists()
        || !watch.module.join("after").exists()
        || there("after") < MANY
    {
        assert!(Instant::now() < end, "{}: a renamed directory does not arrive", watcher.name());
        std::thread::sleep(Duration::from_micros(500));
    }
    let took = began.elapsed().as_secs_f64() * 1000.0;
    watch.quiet();
    let wire = watch.carried(fleet) - carried;
    figures.push(figure("directory of 10,000 renamed, ms", took, Some(30.0)));
    figures.push(figure("the same, bytes of wire", wire as f64, Some(2048.0)));
    figures
}

/// A watcher that comes back to a tree in which one file was made while it was away: until that file has arrived.
fn restart(watcher: Watcher, fleet: &Fleet, tree: &Path) -> Vec<Figure> {
    drop(Watch::start(watcher, fleet, tree));
    let times = sorted((0..5).map(|round| {
        let name = format!("made-meanwhile-{round}");
        fs::write(tree.join(&name), "while nobody watched").expect("write");
        let began = Instant::now();
        let watch = Watch::again(watcher, fleet, tree);
        assert!(watch.arrives(Path::new(&name), patience()), "{}: it does not come back", watcher.name());
        let took = began.elapsed().as_secs_f64();
        watch.quiet();
        drop(watch);
        fs::remove_file(tree.join(&name)).expect("delete");
        took
    }));
    let figure = |figure, value| Figure { name: "watch-restart", watcher, figure, value, max: None };
    vec![
        figure("start to caught up, best of 5, s", times[0]),
        figure("start to caught up, median, s", times[times.len() / 2]),
    ]
}

/// A watcher of so many directories, 200 in each of `tops`.
fn directories(watcher: Watcher, fleet: &Fleet, name: &'static str, tops: usize) -> Vec<Figure> {
    let source = fleet.dir("directories");
    let small = fleet.dir("one-directory");
    let resident = |source: &Path| {
        let watch = Watch::start(watcher, fleet, source);
        (resident_kib(watch.pid()) as f64, largest_kib(&[watch.pid()]) as f64 / 1024.0)
    };
    let (base, _) = resident(&small);
    for top in 0..tops {
        for dir in 0..199 {
            fs::create_dir_all(source.join(format!("top{top:04}/directory{dir:03}"))).expect("mkdir");
        }
    }
    let (now, peak) = resident(&source);
    let figure = |figure, value| Figure { name, watcher, figure, value, max: None };
    vec![
        figure("resident memory for each directory, bytes", (now - base) * 1024.0 / (tops * 200) as f64),
        figure("peak memory (VmHWM), MiB", peak),
    ]
}

/// The resident memory of a process, in KiB.
fn resident_kib(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A watcher of a tree in which nothing happens.
fn idle(watcher: Watcher, fleet: &Fleet, tree: &Path) -> Vec<Figure> {
    let watch = Watch::start(watcher, fleet, tree);
    let before = run_time(watch.pid());
    std::thread::sleep(IDLE);
    let used = run_time(watch.pid()).saturating_sub(before).as_secs_f64() * 1e3;
    let peak = largest_kib(&[watch.pid()]) as f64 / 1024.0;
    let figure = |figure, value, max| Figure { name: "watch-idle", watcher, figure, value, max: Some(max) };
    vec![
        figure("cpu in 10 s with nothing to do, ms", used, 0.0),
        figure("peak memory (VmHWM), MiB", peak, 25.0),
    ]
}

/// The directories beneath a tree, relative to it, in order.
fn dirs(tree: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    let mut at = 0;
    while at < found.len() {
        for entry in fs::read_dir(tree.join(&found[at])).expect("a folder").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(found[at].join(entry.file_name()));
            }
        }
        at += 1;
    }
    found.sort();
    found
}
