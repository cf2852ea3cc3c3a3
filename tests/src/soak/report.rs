//! report: the page at the end.

use std::fmt::Write as _;
use std::time::Duration;

use super::Settings;
use super::judge::{Memory, limit};
use super::workers::Counts;

/// What happened.
#[derive(Default)]
pub(super) struct Report {
    pub(super) first_push: Duration,
    pub(super) operations: Counts,
    /// How long the workers worked.
    pub(super) seconds: f64,
    pub(super) agent_kills: u32,
    pub(super) server_kills: u32,
    pub(super) cuts: u32,
    pub(super) overflows: u32,
    /// From the last operation until nothing was pending.
    pub(super) catch_up: Duration,
    pub(super) memory: Memory,
    pub(super) sentinels: usize,
    pub(super) looks: u64,
    /// Entries of the copy at the end.
    pub(super) entries: usize,
    /// Bytes over the wire.
    pub(super) carried: u64,
    /// What did not hold.
    pub(super) wrong: Vec<String>,
    /// What the programs said last, where something did not hold.
    pub(super) logs: String,
}

impl Report {
    /// The page.
    pub(super) fn page(&self, settings: &Settings) -> String {
        let all: u64 = self.operations.values().sum();
        let verdict = if self.wrong.is_empty() { "held" } else { "FAILED" };
        let mut page = String::new();
        let mut line = |text: String| writeln!(page, "{text}").expect("a string takes everything");
        line(format!(
            "soak: {verdict}: seed {}, {} s, about {} files, engine {}",
            settings.seed,
            settings.time.as_secs(),
            settings.files,
            settings.engine
        ));
        line(format!("  first push    {:.1} s", self.first_push.as_secs_f64()));
        line(format!(
            "  operations    {all}, {:.0} a second, by 4 processes",
            all as f64 / self.seconds.max(1.0)
        ));
        for three in self.operations.iter().collect::<Vec<_>>().chunks(3) {
            let columns: Vec<String> =
                three.iter().map(|(name, count)| format!("{count:>8} {name:<28}")).collect();
            line(format!("    {}", columns.concat().trim_end()));
        }
        line(format!(
            "  weather       agent killed {}, server killed {}, wire cut {}, queue overflowed {}",
            self.agent_kills, self.server_kills, self.cuts, self.overflows
        ));
        line(format!("  catch-up      {:.1} s after the last operation", self.catch_up.as_secs_f64()));
        line(format!("  wire          {:.1} MB", self.carried as f64 / 1e6));
        for (name, [first, second]) in [("agent", self.memory.agent), ("server", self.memory.server)] {
            let mib = |kib: u64| kib as f64 / 1024.0;
            line(format!(
                "  memory        {name}: peak {:.1} MiB in the first half, {:.1} in the second (limit {:.1})",
                mib(first),
                mib(second),
                mib(limit(first, settings.time))
            ));
        }
        line(format!("  sentinels     {}, looked at {} times", self.sentinels, self.looks));
        line(format!("  the copy      {} entries", self.entries));
        for wrong in &self.wrong {
            line(format!("\nWRONG: {wrong}"));
        }
        if !self.logs.is_empty() {
            line(format!("\n{}", self.logs));
        }
        page
    }
}
