//! What a run was asked to do, and in which terms the two ends compare.

use super::entry::{Entry, Kind};

/// The options both ends need to know, named as rsync(1) names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-r`: descend into directories.
    pub recursive: bool,
    /// `-l`: copy symlinks as symlinks.
    pub links: bool,
    /// `-p`: keep permissions.
    pub perms: bool,
    /// `-t`: keep modification times.
    pub times: bool,
    /// `-o`: keep the owner, where the receiver may.
    pub owner: bool,
    /// `-g`: keep the group, where the receiver may.
    pub group: bool,
    /// `--devices`, half of `-D`.
    pub devices: bool,
    /// `--specials`, the other half: fifos and sockets.
    pub specials: bool,
    /// `--delete`: remove what the sender does not have.
    pub delete: bool,
    /// `ignore errors` of the module: delete even when the sender could not read all of its side.
    pub ignore_errors: bool,
    /// `-n`: report what would be done, do nothing.
    pub dry_run: bool,
    /// `--partial`: keep the data of an interrupted file for the next run.
    pub partial: bool,
    /// `-z`: compress frames.
    pub compress: bool,
    /// `--bwlimit`, in bytes a second; 0 for none. Kept by the sender.
    pub bwlimit: u64,
    /// Whether the receiver reports each change as it makes it (`-v`).
    pub report: bool,
    /// A restore: an existing file that differs is kept beside as `NAME.before-restore`.
    pub keep_replaced: bool,
    /// `-c`: files of one size are compared by the digests of their contents, never by their times.
    pub checksum: bool,
}

/// What the receiver can keep; it says so before anything is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeps {
    /// Owners and groups: it is privileged, or has fake super.
    pub owners: bool,
    /// Device nodes: likewise.
    pub devices: bool,
    /// Granularity of its file times, in nanoseconds: 1 to 1,000,000,000.
    pub time_granularity_ns: u32,
    /// Whether ids go as they are (`use chroot = yes`); otherwise they are matched by user and group name.
    pub numeric_ids: bool,
}

impl Keeps {
    /// Everything, to the nanosecond.
    pub const ALL: Self = Self { owners: true, devices: true, time_granularity_ns: 1, numeric_ids: true };
}

/// What is compared: what was asked for, in terms the receiver can keep. Both ends derive the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Descend into directories.
    pub recursive: bool,
    /// Symlinks take part.
    pub links: bool,
    /// Compare permissions.
    pub perms: bool,
    /// Compare modification times.
    pub times: bool,
    /// Compare owners.
    pub owner: bool,
    /// Compare groups.
    pub group: bool,
    /// Devices take part.
    pub devices: bool,
    /// Fifos and sockets take part.
    pub specials: bool,
    /// Times are cut to this many nanoseconds.
    pub time_granularity_ns: u32,
    /// Ids compare as numbers, otherwise by name.
    pub numeric_ids: bool,
    /// Contents compare by their digests.
    pub checksum: bool,
    /// What the sender lacks goes, whatever it is: of an entry that takes no part the name counts.
    pub delete: bool,
}

impl Terms {
    /// What was asked for and can be kept.
    #[must_use]
    pub fn new(options: &Options, keeps: &Keeps) -> Self {
        Self {
            recursive: options.recursive,
            links: options.links,
            perms: options.perms,
            times: options.times,
            owner: options.owner && keeps.owners,
            group: options.group && keeps.owners,
            devices: options.devices && keeps.devices,
            specials: options.specials,
            time_granularity_ns: keeps.time_granularity_ns,
            numeric_ids: keeps.numeric_ids,
            checksum: options.checksum,
            delete: options.delete,
        }
    }

    /// Whether an entry of this kind takes part at all. rsync(1) skips the others with a message.
    #[must_use]
    pub fn takes(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Block(_) | Kind::Char(_) => self.devices,
            Kind::Dir => self.recursive,
            Kind::Fifo | Kind::Socket => self.specials,
            Kind::File { .. } => true,
            Kind::Symlink { .. } => self.links,
        }
    }

    /// How `have` differs from `want` in these terms. Ids must already be the receiver's.
    ///
    /// rsync's quick check: a file is taken as equal when size and modification time are. Without `-t` the time
    /// never matches by rsync's rule ("every later run re-transfers"), and that rule is kept here. Where contents compare
    /// by their digests this sees sizes only: of equal ones the digests are still to be asked.
    #[must_use]
    pub fn difference(&self, want: &Entry, have: &Entry) -> Difference {
        let mut d = Difference::default();
        if !want.kind.same_type(&have.kind) {
            d.kind = true;
            return d;
        }
        let time =
            want.mtime.granular(self.time_granularity_ns) != have.mtime.granular(self.time_granularity_ns);
        d.time = self.times && time;
        d.content = match (&want.kind, &have.kind) {
            (Kind::File { size: a }, Kind::File { size: b }) => a != b || time && !self.checksum,
            (a, b) => a != b,
        };
        d.mode = self.perms && !matches!(want.kind, Kind::Symlink { .. }) && want.mode != have.mode;
        d.owner = self.owner && want.uid != have.uid;
        d.group = self.group && want.gid != have.gid;
        d
    }
}

/// How an entry differs from what it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Another kind of thing.
    pub kind: bool,
    /// Content: a file's size or time, a link's text, a device's number.
    pub content: bool,
    /// Modification time.
    pub time: bool,
    /// Permissions.
    pub mode: bool,
    /// Owner.
    pub owner: bool,
    /// Group.
    pub group: bool,
}

impl Difference {
    /// Whether there is any.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}
