//! rounds: runs the programs of a row in turn, each time from the same start.
//!
//! The start is what a push of the old version by the same program left in its module, or an empty module.

use std::fs;
use std::path::Path;

use driftless_tests::oracle::rsync_differences;

use crate::data::Data;
use crate::measure::{self, Cost};
use crate::programs::{Fleet, Route};
use crate::rows::{Program, Row, Way};

/// What one program needed for a row.
pub(crate) struct Measured {
    /// Which program.
    pub(crate) program: Program,
    /// Each counted round.
    pub(crate) costs: Vec<Cost>,
    /// Bytes on the wire, both ways, in the warm-up round, which goes through the wire.
    pub(crate) wire: u64,
}

/// Runs a row: a warm-up through the wire, then this many counted rounds.
///
/// # Panics
/// When a program fails, or leaves something else than the source on the receiver.
pub(crate) fn run(row: &Row, rounds: usize, data: &mut Data, dir: &Path, tunnel: bool) -> Vec<Measured> {
    for load in row.loads() {
        data.get(load);
    }
    let mut programs = vec![Program::Daemon];
    programs.extend((row.tunnel.is_some() && tunnel).then_some(Program::Tunnel));
    programs.push(Program::Ours);
    warm(dir, row.memory(programs.len() as u64));
    let fleet = Fleet::start(dir, programs.contains(&Program::Tunnel), row.link);
    let mut measured: Vec<Measured> =
        programs.into_iter().map(|program| Measured { program, costs: Vec::new(), wire: 0 }).collect();
    for round in 0..=rounds {
        for one in &mut measured {
            reset(row, &fleet, one.program, data, round == 0);
            let route = if round == 0 || row.link.is_some() { Route::Wired } else { Route::Direct };
            let before = fleet.carried(one.program);
            let cost = timed(row, &fleet, one.program, data, route);
            if round == 0 {
                one.wire = fleet.carried(one.program) - before;
            } else {
                one.costs.push(cost);
            }
            if round == rounds {
                check(row, &fleet, one.program, data);
            }
        }
    }
    measured
}

/// What the receiver has is what the sender has, by the judgement of rsync with checksums.
fn check(row: &Row, fleet: &Fleet, program: Program, data: &mut Data) {
    let left = match row.way {
        Way::Push => fleet.module(program),
        Way::Pull => fleet.dir("pulled"),
    };
    let mut wrong = rsync_differences(&data.get(row.new), &left).expect("rsync is here");
    // What only the receiver has was not asked to go, and a stock daemon without chroot rewrites the texts of links.
    let expected = |line: &str| {
        !row.delete && line.starts_with("*deleting") || program != Program::Ours && line.starts_with("cL")
    };
    wrong = wrong.lines().filter(|line| !expected(line)).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{}: {} left differences:\n{wrong}", row.name, program.name());
}

/// Writes and deletes as much as the row will need: the first touch of memory is slow on a virtual machine.
fn warm(dir: &Path, bytes: u64) {
    let path = dir.join("warm");
    let zeros = vec![0; 1 << 20];
    let mut file = fs::File::create(&path).expect("create");
    for _ in 0..bytes >> 20 {
        std::io::Write::write_all(&mut file, &zeros).expect("write");
    }
    drop(file);
    fs::remove_file(&path).expect("delete");
}

/// Brings a program's receiver to the start.
fn reset(row: &Row, fleet: &Fleet, program: Program, data: &mut Data, first: bool) {
    let module = fleet.module(program);
    let push = |source: &Path| {
        let whole = if program == Program::Ours { "-a --delete" } else { "-aW --delete" };
        measure::run(&fleet.push(program, Route::Direct, whole, source), &fleet.servers(program));
    };
    match (row.way, row.old) {
        (Way::Pull, _) => {
            if first {
                push(&data.get(row.new));
            }
            empty(&fleet.dir("pulled"));
        }
        (Way::Push, None) => empty(&module),
        // It stands as the last push left it.
        (Way::Push, Some(old)) if old == row.new && !first => {}
        (Way::Push, Some(old)) => push(&data.get(old)),
    }
}

fn timed(row: &Row, fleet: &Fleet, program: Program, data: &mut Data, route: Route) -> Cost {
    let options = if row.delete { "-a --delete" } else { "-a" };
    let command = match row.way {
        Way::Push => fleet.push(program, route, options, &data.get(row.new)),
        Way::Pull => fleet.pull(program, route, options, &fleet.dir("pulled")),
    };
    measure::run(&command, &fleet.servers(program))
}

/// Deletes everything in a folder, not the folder.
fn empty(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        let is_dir = entry.file_type().expect("a type").is_dir();
        if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("delete");
    }
}
