//! table: what was measured, beside the targets, for a reader and for a program.

use serde_json::{Value, json};

use crate::measure::Cost;
use crate::rounds::Measured;
use crate::rows::{Program, Row, WireMax};

const MIB_IN_KIB: f64 = 1024.0;

/// A row's figures.
pub(crate) struct Line {
    row: Row,
    measured: Vec<Measured>,
    /// Bytes of content, where it is one file.
    size: u64,
}

/// Ours against one rival.
struct Ratio {
    rival: Program,
    median: f64,
    min: f64,
    max: f64,
    bests: f64,
    target: f64,
    stretch: Option<f64>,
}

impl Line {
    /// The figures of a row whose one file, if it is one, has this size.
    pub(crate) fn new(row: Row, measured: Vec<Measured>, size: u64) -> Self {
        Self { row, measured, size }
    }

    fn of(&self, program: Program) -> Option<&Measured> {
        self.measured.iter().find(|one| one.program == program)
    }

    fn ratios(&self) -> Vec<Ratio> {
        let ours = self.of(Program::Ours).expect("ours is always measured");
        let against = |rival: Program, target: f64, stretch: Option<f64>| {
            let theirs = self.of(rival)?;
            let pairs = ours.costs.iter().zip(&theirs.costs);
            let pairs = sorted(pairs.map(|(ours, theirs)| seconds(ours) / seconds(theirs)));
            Some(Ratio {
                rival,
                median: median(&pairs),
                min: pairs[0],
                max: pairs[pairs.len() - 1],
                bests: walls(ours)[0] / walls(theirs)[0],
                target,
                stretch,
            })
        };
        let [target, stretch] = self.row.targets;
        let daemon = against(Program::Daemon, target, Some(stretch));
        let tunnel = self.row.tunnel.and_then(|target| against(Program::Tunnel, target, None));
        daemon.into_iter().chain(tunnel).collect()
    }

    /// The most that may cross the wire, if there is a target.
    fn wire_max(&self) -> Option<f64> {
        match self.row.wire {
            WireMax::Any => None,
            WireMax::OfRsync(times) => Some(self.of(Program::Daemon)?.wire as f64 * times),
            WireMax::OfSize(times) => Some(self.size as f64 * times),
            WireMax::Bytes(bytes) => Some(bytes as f64),
        }
    }

    fn print(&self) {
        println!("\n{}  [{}]", self.row.work, self.row.name);
        for one in &self.measured {
            let walls = walls(one);
            println!(
                "  {:<22} {:>8.3} s  best {:>8.3}  wire {:>13}  cpu {:>7.2} + {:>6.2} s  peak {:>6.1} + {:>6.1} MiB",
                one.program.name(),
                median(&walls),
                walls[0],
                one.wire,
                median(&sorted(one.costs.iter().map(|cost| cost.client_cpu.as_secs_f64()))),
                median(&sorted(one.costs.iter().map(|cost| cost.server_cpu.as_secs_f64()))),
                peak(one, |cost| cost.client_peak_kib) as f64 / MIB_IN_KIB,
                peak(one, |cost| cost.server_peak_kib) as f64 / MIB_IN_KIB,
            );
        }
        for ratio in self.ratios() {
            let stretch = ratio.stretch.map_or_else(String::new, |max| {
                format!(", stretch {max:.2} {}", verdict(ratio.bests <= max))
            });
            println!(
                "  ratio to {:<22} {:.3} (median of pairs; min {:.3}, max {:.3}); of bests {:.3}: target {:.2} {}{stretch}",
                ratio.rival.name(),
                ratio.median,
                ratio.min,
                ratio.max,
                ratio.bests,
                ratio.target,
                verdict(ratio.bests <= ratio.target),
            );
        }
        let ours = self.of(Program::Ours).expect("ours is always measured");
        if let Some(max) = self.wire_max() {
            println!("  wire: target {max:.0} bytes {}", verdict(ours.wire as f64 <= max));
        }
        println!("  peak: target {} MiB {}", self.row.peak_kib_max / 1024, verdict(self.peak_met()));
    }

    fn peak_met(&self) -> bool {
        let ours = self.of(Program::Ours).expect("ours is always measured");
        peak(ours, |cost| cost.client_peak_kib.max(cost.server_peak_kib)) <= self.row.peak_kib_max
    }

    fn json(&self) -> Value {
        let programs: Vec<Value> = self.measured.iter().map(program_json).collect();
        let ratios = self.ratios().into_iter().map(|ratio| {
            json!({
                "to": ratio.rival.name(),
                "median_of_pairs": ratio.median,
                "min": ratio.min,
                "max": ratio.max,
                "of_bests": ratio.bests,
                "target": ratio.target,
                "target_met": ratio.bests <= ratio.target,
                "stretch": ratio.stretch,
                "stretch_met": ratio.stretch.map(|max| ratio.bests <= max),
            })
        });
        let ours = self.of(Program::Ours).expect("ours is always measured");
        json!({
            "name": self.row.name,
            "work": self.row.work,
            "programs": programs,
            "ratios": ratios.collect::<Vec<_>>(),
            "wire_bytes_max": self.wire_max(),
            "wire_met": self.wire_max().map(|max| ours.wire as f64 <= max),
            "peak_kib_max": self.row.peak_kib_max,
            "peak_met": self.peak_met(),
        })
    }
}

fn program_json(one: &Measured) -> Value {
    let list = |of: &dyn Fn(&Cost) -> f64| one.costs.iter().map(of).collect::<Vec<f64>>();
    json!({
        "program": one.program.name(),
        "wall_s": list(&seconds),
        "wall_s_median": median(&walls(one)),
        "wall_s_best": walls(one)[0],
        "client_cpu_s": list(&|cost| cost.client_cpu.as_secs_f64()),
        "server_cpu_s": list(&|cost| cost.server_cpu.as_secs_f64()),
        "client_peak_kib": peak(one, |cost| cost.client_peak_kib),
        "server_peak_kib": peak(one, |cost| cost.server_peak_kib),
        "wire_bytes": one.wire,
    })
}

/// Prints one row as soon as it is measured.
pub(crate) fn print(line: &Line) {
    line.print();
}

/// Prints the short table of all rows, one line for each rival.
pub(crate) fn print_all(lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    println!(
        "\n| work | peer | peer s | ours s | ratio (min, max) | of bests | wire peer / ours, bytes | cpu peer / ours, s | peak peer / ours, MiB | target | stretch |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for line in lines {
        let ours = line.of(Program::Ours).expect("ours is always measured");
        for ratio in line.ratios() {
            let theirs = line.of(ratio.rival).expect("it has a ratio");
            let cpu = |one: &Measured| median(&sorted(one.costs.iter().map(cpu)));
            let peaks = |one: &Measured| {
                let mib = |kib: u64| format!("{:.0}", kib as f64 / MIB_IN_KIB);
                let (client, server) = (peak(one, |c| c.client_peak_kib), peak(one, |c| c.server_peak_kib));
                mib(client) + "+" + &mib(server)
            };
            println!(
                "| {} | {} | {:.3} | {:.3} | {:.2} ({:.2}, {:.2}) | {:.2} | {} / {} | {:.2} / {:.2} | {} / {} | {:.2} {} | {} |",
                line.row.work,
                ratio.rival.name(),
                median(&walls(theirs)),
                median(&walls(ours)),
                ratio.median,
                ratio.min,
                ratio.max,
                ratio.bests,
                theirs.wire,
                ours.wire,
                cpu(theirs),
                cpu(ours),
                peaks(theirs),
                peaks(ours),
                ratio.target,
                verdict(ratio.bests <= ratio.target),
                ratio
                    .stretch
                    .map_or_else(String::new, |max| format!("{max:.2} {}", verdict(ratio.bests <= max))),
            );
        }
    }
    println!(
        "\nwire: counted by the proxy in the warm-up round. cpu: user and system, both ends. peak: largest process, client + server."
    );
}

/// Everything as JSON.
pub(crate) fn print_json(lines: &[Line], watch: &[Value], notes: &[String]) {
    let rows: Vec<Value> = lines.iter().map(Line::json).collect();
    let all = json!({ "rows": rows, "watch": watch, "notes": notes });
    println!("{}", serde_json::to_string_pretty(&all).expect("plain values"));
}

fn seconds(cost: &Cost) -> f64 {
    cost.wall.as_secs_f64()
}

fn cpu(cost: &Cost) -> f64 {
    (cost.client_cpu + cost.server_cpu).as_secs_f64()
}

fn walls(one: &Measured) -> Vec<f64> {
    sorted(one.costs.iter().map(seconds))
}

fn peak(one: &Measured, of: impl Fn(&Cost) -> u64) -> u64 {
    one.costs.iter().map(of).max().unwrap_or(0)
}

/// The values in order, the least first.
pub(crate) fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of ordered values; of an even number the mean of both.
pub(crate) fn median(values: &[f64]) -> f64 {
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// How a target went.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
