//! What a run counts. Each end counts its own; the totals are exchanged at the end. Units are the last word.

/// Entries by kind, as rsync's `--stats` splits them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symlinks.
    pub links: u64,
    /// Block and character devices.
    pub devices: u64,
    /// Fifos and sockets.
    pub specials: u64,
}

impl KindCounts {
    /// Counts one more of this kind.
    pub fn add(&mut self, kind: &super::entry::Kind) {
        use super::entry::Kind;
        match kind {
            Kind::Block(_) | Kind::Char(_) => self.devices += 1,
            Kind::Dir => self.dirs += 1,
            Kind::Fifo | Kind::Socket => self.specials += 1,
            Kind::File { .. } => self.files += 1,
            Kind::Symlink { .. } => self.links += 1,
        }
    }

    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.files + self.dirs + self.links + self.devices + self.specials
    }
}

/// What a sender counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderTotals {
    /// Entries in the transfer.
    pub entries: KindCounts,
    /// Size of all regular files and of the texts of all symlinks in the transfer, in bytes.
    pub size_bytes: u64,
    /// File content sent as it is, in bytes.
    pub literal_bytes: u64,
    /// File content the receiver had already and copied, in bytes.
    pub matched_bytes: u64,
    /// Problems met while reading.
    pub problems: u64,
    /// Of these, sources that had vanished.
    pub vanished: u64,
}

/// What a receiver counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverTotals {
    /// Entries that did not exist before.
    pub created: KindCounts,
    /// Entries removed.
    pub deleted: KindCounts,
    /// Regular files whose content was received.
    pub transferred_files: u64,
    /// Their size, in bytes.
    pub transferred_bytes: u64,
    /// Problems met while writing.
    pub problems: u64,
    /// Of these, for want of disk space.
    pub disk_full: u64,
    /// Whether deletions were skipped because the sender could not read all of its side.
    pub deletions_skipped: bool,
}
