//! rows: the work that is compared, with the targets of each.

use crate::data::Load;

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// `rsync --daemon`, plaintext.
    Daemon,
    /// The same through stunnel on both ends.
    Tunnel,
    /// `driftless` and `driftlessd`, with TLS and fsync.
    Ours,
}

impl Program {
    /// As the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Daemon => "rsync daemon",
            Self::Tunnel => "rsync through stunnel",
            Self::Ours => "driftless",
        }
    }
}

/// Which way the files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the server.
    Push,
    /// From the server to the client.
    Pull,
}

/// A long wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// There and back.
    pub(crate) round_trip_ms: u64,
    /// Each way.
    pub(crate) bits_per_sec: u64,
}

/// The file system that holds the modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// The one of `--dir`.
    Dir,
    /// XFS with reflink in a loop mount on the one of `--dir`.
    Xfs,
}

/// How much may cross the wire, both ways together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WireMax {
    /// No target.
    Any,
    /// So many times what the plaintext daemon needs.
    OfRsync(f64),
    /// So many times the size of the file.
    OfSize(f64),
    /// Bytes.
    Bytes(u64),
}

/// One line of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// By which a filter finds it.
    pub(crate) name: &'static str,
    /// As the table calls it.
    pub(crate) work: &'static str,
    /// Which way the files go.
    pub(crate) way: Way,
    /// What the receiver has before; nothing where `None`.
    pub(crate) old: Option<Load>,
    /// What it has afterwards.
    pub(crate) new: Load,
    /// Whether what is not in the source is deleted.
    pub(crate) delete: bool,
    /// The wire in all rounds; none where `None`.
    pub(crate) link: Option<Link>,
    /// Where the modules lie.
    pub(crate) home: Home,
    /// Target and stretch: ours divided by the daemon's wall time, bests of the rounds.
    pub(crate) targets: [f64; 2],
    /// The same against rsync through stunnel, where that is measured too.
    pub(crate) tunnel: Option<f64>,
    /// The target for the wire.
    pub(crate) wire: WireMax,
    /// The target for the peak of either end, in KiB.
    pub(crate) peak_kib_max: u64,
}

const MIB_IN_KIB: u64 = 1024;

/// A push over loopback, to the file system of `--dir`.
const PUSH: Row = Row {
    name: "",
    work: "",
    way: Way::Push,
    old: None,
    new: Load::Linux,
    delete: false,
    link: None,
    home: Home::Dir,
    targets: [0.0, 0.0],
    tunnel: None,
    wire: WireMax::Any,
    peak_kib_max: 64 * MIB_IN_KIB,
};

const NEAR: Option<Link> = Some(Link { round_trip_ms: 20, bits_per_sec: 1_000_000_000 });
const NEAR_AND_THIN: Option<Link> = Some(Link { round_trip_ms: 20, bits_per_sec: 100_000_000 });
const FAR: Option<Link> = Some(Link { round_trip_ms: 100, bits_per_sec: 1_000_000_000 });
const FAR_AND_THIN: Option<Link> = Some(Link { round_trip_ms: 100, bits_per_sec: 100_000_000 });

/// All rows, in the order they are run: those that share data stand together.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "tree-first-push",
        work: "Linux 6.1, first push",
        targets: [0.75, 0.60],
        wire: WireMax::OfRsync(1.02),
        ..PUSH
    },
    Row {
        name: "tree-nothing-changed",
        work: "Linux 6.1, push again, nothing changed",
        old: Some(Load::Linux),
        targets: [0.35, 0.25],
        wire: WireMax::Bytes(8000),
        ..PUSH
    },
    Row {
        name: "tree-100-changed",
        work: "Linux 6.1, push again, 100 files changed",
        old: Some(Load::Linux),
        new: Load::LinuxEdited,
        targets: [0.40, 0.30],
        wire: WireMax::OfRsync(1.0),
        ..PUSH
    },
    Row {
        name: "tree-first-pull",
        work: "Linux 6.1, first pull",
        way: Way::Pull,
        targets: [0.75, 0.60],
        wire: WireMax::OfRsync(1.02),
        ..PUSH
    },
    Row {
        name: "tree-next-version",
        work: "Linux 6.1 to 6.12, --delete",
        old: Some(Load::Linux),
        new: Load::LinuxNext,
        delete: true,
        targets: [0.60, 0.45],
        wire: WireMax::OfRsync(1.02),
        ..PUSH
    },
    Row {
        name: "big-first-push",
        work: "one 2 GiB file, first push",
        new: Load::Big(2),
        targets: [1.10, 0.95],
        tunnel: Some(0.65),
        wire: WireMax::OfSize(1.003),
        ..PUSH
    },
    Row {
        name: "big-64-edits",
        work: "2 GiB, 64 edits of 4 KiB",
        old: Some(Load::Big(2)),
        new: Load::Edited(2),
        targets: [0.45, 0.30],
        wire: WireMax::OfRsync(1.0),
        ..PUSH
    },
    Row {
        name: "big-append",
        work: "2 GiB, 1 MB appended",
        old: Some(Load::Big(2)),
        new: Load::Appended(2),
        targets: [0.45, 0.30],
        wire: WireMax::OfRsync(1.02),
        ..PUSH
    },
    Row {
        name: "big-insert",
        work: "2 GiB, one byte inserted at the start",
        old: Some(Load::Big(2)),
        new: Load::Inserted(2),
        targets: [0.70, 0.50],
        wire: WireMax::OfRsync(1.0),
        ..PUSH
    },
    Row {
        name: "big-replace",
        work: "1 GiB replaced by other random bytes",
        old: Some(Load::Big(1)),
        new: Load::Replaced(1),
        targets: [0.10, 0.08],
        wire: WireMax::OfSize(1.003),
        ..PUSH
    },
    Row {
        name: "big-moved",
        work: "1 GiB, half of its blocks moved around",
        old: Some(Load::Big(1)),
        new: Load::Moved(1),
        targets: [0.70, 0.50],
        wire: WireMax::OfRsync(1.1),
        ..PUSH
    },
    Row {
        name: "xfs-64-edits",
        work: "1 GiB on XFS, 64 edits of 4 KiB",
        old: Some(Load::Big(1)),
        new: Load::Edited(1),
        home: Home::Xfs,
        targets: [0.35, 0.25],
        ..PUSH
    },
    Row {
        name: "xfs-append",
        work: "1 GiB on XFS, 1 MB appended",
        old: Some(Load::Big(1)),
        new: Load::Appended(1),
        home: Home::Xfs,
        targets: [0.35, 0.25],
        ..PUSH
    },
    Row {
        name: "xfs-replace",
        work: "1 GiB on XFS, replaced by other random bytes",
        old: Some(Load::Big(1)),
        new: Load::Replaced(1),
        home: Home::Xfs,
        targets: [0.35, 0.25],
        ..PUSH
    },
    Row {
        name: "far-first-push",
        work: "100 ms, 1 Gbit/s: 10,000 files of 4 KiB, first push",
        new: Load::Small,
        link: FAR,
        targets: [0.75, 0.55],
        ..PUSH
    },
    Row {
        name: "far-nothing-changed",
        work: "100 ms, 1 Gbit/s: 10,000 files of 4 KiB, push again",
        old: Some(Load::Small),
        new: Load::Small,
        link: FAR,
        targets: [0.40, 0.30],
        ..PUSH
    },
    Row {
        name: "thin-first-push",
        work: "100 ms, 100 Mbit/s: 10,000 files of 4 KiB, first push",
        new: Load::Small,
        link: FAR_AND_THIN,
        targets: [0.95, 0.85],
        ..PUSH
    },
    Row {
        name: "near-first-push",
        work: "20 ms, 1 Gbit/s: 10,000 files of 4 KiB, first push",
        new: Load::Small,
        link: NEAR,
        targets: [1.00, 0.75],
        ..PUSH
    },
    Row {
        name: "near-nothing-changed",
        work: "20 ms, 1 Gbit/s: 10,000 files of 4 KiB, push again",
        old: Some(Load::Small),
        new: Load::Small,
        link: NEAR,
        targets: [1.00, 0.40],
        ..PUSH
    },
    Row {
        name: "near-thin-first-push",
        work: "20 ms, 100 Mbit/s: 10,000 files of 4 KiB, first push",
        new: Load::Small,
        link: NEAR_AND_THIN,
        targets: [1.00, 0.95],
        ..PUSH
    },
    Row {
        name: "million-nothing-changed",
        work: "1,000,000 empty files, push again",
        old: Some(Load::Empty),
        new: Load::Empty,
        targets: [0.55, 0.45],
        peak_kib_max: 40 * MIB_IN_KIB,
        ..PUSH
    },
];

impl Row {
    /// What it reads.
    pub(crate) fn loads(&self) -> Vec<Load> {
        self.old.into_iter().chain([self.new]).collect()
    }

    /// Memory that its copies take beside its sources, in bytes: one a program, and one that is being written.
    pub(crate) fn memory(&self, programs: u64) -> u64 {
        (programs + 1) * self.new.memory()
    }
}
