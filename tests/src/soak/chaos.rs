//! chaos: what goes wrong while the workers work: both programs are killed, the wire is cut, and the event queue flows
//! over while something happens that is then lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Settings;
use super::ends::Ends;
use super::report::Report;
use crate::trees::{Noise, set_mtime};
use crate::wait::eventually;
use crate::wire::Way;

/// In half an hour: the agent is killed so often, the server too, and the wire is cut.
const PER_HALF_HOUR: [f64; 3] = [10.0, 10.0, 20.0];
/// In any run.
const AT_LEAST: [u32; 3] = [2, 2, 4];

/// Files whose times are changed to fill the queue, again and again: events that follow each other must differ, or the
/// kernel makes one of them. For fanotify, which makes one of any that say the same, and which auto may be, there is one for
/// each place in the queue.
const TOUCHED: usize = 600;

/// How long it may take until lost events are told of: it is said once the agent is connected.
const SAID: Duration = Duration::from_secs(120);

/// How long until the queue is filled once more.
const FILLED: Duration = Duration::from_secs(15);

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Blow {
    KillAgent,
    KillServer,
    Cut,
    Overflow,
}

/// See the module.
pub(super) struct Chaos {
    noise: Noise,
    time: Duration,
    /// Ours alone: what fills the queue, and what is lost.
    dir: PathBuf,
    /// Whether the engine has a queue.
    queue: bool,
    /// Files whose times are changed.
    touched: usize,
    bursts: u64,
}

impl Chaos {
    /// Plants what it needs.
    pub(super) fn new(settings: &Settings, src: &Path) -> Self {
        let dir = src.join("burst");
        fs::create_dir_all(dir.join("touched")).expect("mkdir");
        let touched = if settings.engine == "inotify" { TOUCHED } else { queue_len() };
        for i in 0..touched {
            fs::write(dir.join(format!("touched/{i}")), i.to_string()).expect("write");
        }
        let noise = Noise::new(settings.seed ^ 0x00c4_a05c_4a05);
        Self { noise, time: settings.time, dir, queue: settings.engine != "poll", touched, bursts: 0 }
    }

    /// Everything that is to go wrong, each kind spread over the whole time.
    fn schedule(&mut self) -> Vec<(Duration, Blow)> {
        let minutes = self.time.as_secs_f64() / 60.0;
        let mut all = Vec::new();
        for (kind, blow) in [Blow::KillAgent, Blow::KillServer, Blow::Cut].into_iter().enumerate() {
            let count = (PER_HALF_HOUR[kind] * minutes / 30.0).round() as u32;
            self.spread(blow, count.max(AT_LEAST[kind]), &mut all);
        }
        if self.queue {
            self.spread(Blow::Overflow, (minutes.floor() as u32).max(1), &mut all);
        }
        all.sort_by_key(|(at, _)| *at);
        all
    }

    fn spread(&mut self, blow: Blow, count: u32, all: &mut Vec<(Duration, Blow)>) {
        let share = self.time / count;
        for i in 0..count {
            all.push((share * i + share.mul_f64(self.noise.below(1000) as f64 / 1000.0), blow));
        }
    }

    /// Lets it all happen, and returns when the time is over and the weather fair.
    pub(super) fn run(&mut self, ends: &mut Ends, report: &mut Report) {
        let begun = Instant::now();
        for (at, blow) in self.schedule() {
            std::thread::sleep(at.saturating_sub(begun.elapsed()));
            match blow {
                Blow::KillAgent => {
                    ends.kill_agent();
                    self.pause(1500);
                    ends.watch();
                    report.agent_kills += 1;
                }
                Blow::KillServer => {
                    ends.kill_server();
                    self.pause(1500);
                    ends.start_server();
                    report.server_kills += 1;
                }
                Blow::Cut => {
                    self.cut(ends);
                    report.cuts += 1;
                }
                Blow::Overflow => match self.overflow(ends) {
                    Ok(()) => report.overflows += 1,
                    Err(why) => report.wrong.push(why),
                },
            }
        }
        std::thread::sleep(self.time.saturating_sub(begun.elapsed()));
    }

    fn pause(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.noise.below(most_ms)));
    }

    /// At once, or in the middle of what is on its way.
    fn cut(&mut self, ends: &Ends) {
        let way = [Way::Up, Way::Down, Way::Up][usize::try_from(self.noise.below(3)).expect("small")];
        ends.wire.cut_after(way, self.noise.below(200_000));
        let end = Instant::now() + Duration::from_secs(1);
        while !ends.wire.is_cut() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        ends.wire.cut();
        self.pause(2000);
        ends.wire.mend();
    }

    /// Stops the agent, fills its queue to the brim, makes changes that find no room in it, and lets it go on. Again where
    /// nothing comes of it: an agent that has just begun does not watch what fills its queue yet.
    fn overflow(&mut self, ends: &Ends) -> Result<(), String> {
        eventually("the watch has an engine", || ends.status().filter(|status| status["engine"] != ""));
        let before = ends.overflows();
        let end = Instant::now() + SAID;
        while Instant::now() < end {
            self.fill(ends);
            let again = Instant::now() + FILLED;
            while Instant::now() < again {
                if ends.overflows() > before {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let status = ends.status().map_or("no answer".into(), |status| status.to_string());
        Err(format!("the queue was filled, and within {SAID:?} the agent told of no overflow: {status}"))
    }

    fn fill(&mut self, ends: &Ends) {
        ends.hold_agent();
        let mut left = queue_len();
        while left > 0 {
            for i in 0..self.touched {
                let time = i64::try_from(left).expect("small");
                set_mtime(&self.dir.join(format!("touched/{i}")), time, 0);
            }
            left = left.saturating_sub(self.touched);
        }
        self.lost_changes();
        ends.signal_agent(Signal::CONT);
    }

    /// New directories, renamed ones, removed ones, other contents: no event tells of any.
    fn lost_changes(&mut self) {
        self.bursts += 1;
        let lost = |burst: u64| self.dir.join(format!("lost-{burst}"));
        for i in 0..20 {
            let dir = lost(self.bursts).join(format!("{}/{i}", i % 5));
            fs::create_dir_all(&dir).expect("mkdir");
            fs::write(dir.join("f"), self.bursts.to_string()).expect("write");
        }
        if self.bursts > 1 {
            fs::rename(lost(self.bursts - 1), self.dir.join(format!("renamed-{}", self.bursts))).expect("mv");
        }
        if self.bursts > 2 {
            fs::remove_dir_all(self.dir.join(format!("renamed-{}", self.bursts - 1))).expect("rm -r");
        }
        for i in 0..30 {
            fs::write(self.dir.join(format!("touched/{i}")), format!("other {}", self.bursts))
                .expect("write");
        }
    }
}

/// Events that the kernel queues at most; it gives both interfaces the same unless told otherwise.
fn queue_len() -> usize {
    let limits = ["/proc/sys/fs/inotify/max_queued_events", "/proc/sys/fs/fanotify/max_queued_events"];
    let limits = limits.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    limits.max().unwrap_or(16_384) + 2 * TOUCHED
}
