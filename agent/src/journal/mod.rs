//! journal: the agent's durable record of what was acked, one row a path. Rebuildable: a row that is lost, stale or
//! in another form costs one look at the path and one comparison with the server, never correctness.
//!
//! One file for each source, module and path in it: `STATE_DIR/journal/HEX.redb`, held by an exclusive lock.
//!
//! Touches: its own file. Never: the source, the network.

mod doubts;
mod inventory;
mod links;
mod row;
mod tables;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use driftless_proto::disk::{Identity, Stamp};
use driftless_proto::model::digest::{Digest, Group};
use driftless_proto::model::entry::{Entry, Time};
use driftless_proto::model::path::RelPath;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use redb::{ReadOnlyTable, TableDefinition, WriteTransaction};
use rustix::fs::{Access, CWD, Mode, OFlags};

use doubts::Doubts;
pub use inventory::{Inventory, Item, Mounted};
use links::Links;
use tables::Tables;

/// Memory that one journal may use for its pages: some 20,000 rows.
const CACHE_BYTES: usize = 3 * 1024 * 1024;

/// What is recorded reaches the disk at the latest with the first record after this time, and at the end. A power
/// cut costs as many re-checks as were recorded in it.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// Form of the file as a whole. Any other is set aside.
const FORMAT: &[u8] = b"driftless journal 1";

type Bytes = &'static [u8];

/// Key: the path's bytes, so that what lies beneath a directory is one range.
const ROWS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("rows");

/// The groups of large files, apart: most looks at a row do not need them.
const GROUPS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("groups");

const META: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("meta");

/// Why the journal could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another agent watches this source for this destination.
    #[error("{}: in use: another agent watches the same source for the same destination", .0.display())]
    Busy(PathBuf),
    /// The disk, or the file on it. Starting again sets a damaged file aside.
    #[error("{}: {error}", path.display())]
    Disk {
        /// The journal's file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: Box<redb::Error>,
    },
}

/// What the server is known to hold at a path, and what the source was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of the source when it was read: while it stays equal, there is nothing to send.
    pub stamp: Stamp,
    /// As it was sent.
    pub entry: Entry,
    /// Of a regular file's content; `None` for everything else.
    pub digest: Option<Digest>,
    /// Of a regular file of more than one group; otherwise none.
    pub groups: Vec<Group>,
    /// When its ack came; `None` in rows from before that was written down.
    pub acked: Option<Time>,
}

/// One thing that the journal is to learn.
#[derive(Clone, Debug)]
pub enum Note {
    /// This is durable at the server.
    Recorded(RelPath, Record),
    /// The copy holds this.
    Seen(RelPath, Item),
    /// Nothing stands there or beneath it.
    Removed(RelPath),
    /// What stood at the first path stands at the second.
    Renamed(RelPath, RelPath),
    /// What stood at each of the two paths stands at the other.
    Exchanged(RelPath, RelPath),
}

/// Which server, and which of its lives, the rows speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSeen {
    /// Its name for the module that the rows were acked for; a restored module has another.
    pub module_id: Vec<u8>,
    /// Its boot epoch: changes each time it starts.
    pub boot_epoch: Vec<u8>,
}

/// An open journal. May be shared between threads; writes go one after another.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    db: Database,
    /// When a commit last reached the disk.
    synced: Mutex<Instant>,
    links: Mutex<Links>,
    doubts: Mutex<Doubts>,
}

impl Journal {
    /// Opens the journal of a source (its absolute path), a module (the server's id of it) and the path in the
    /// module, or makes a new one. What is there and cannot be read is renamed to `HEX.redb.damaged` first.
    ///
    /// # Errors
    /// [`JournalError::Busy`] when another process has it open; `Disk` for everything else.
    pub fn open(
        state_dir: &Path,
        source: &Path,
        module_id: &[u8],
        path: &RelPath,
    ) -> Result<Self, JournalError> {
        let (dir, file) = place(state_dir, source, module_id, path);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|error| at(&dir, error))?;
        match Self::open_file(&file) {
            Err(JournalError::Disk { error, .. }) if is_damage(&error) => {
                let mut aside = file.clone().into_os_string();
                aside.push(".damaged");
                rustix::fs::renameat(CWD, &file, CWD, &aside)
                    .map_err(|error| at(&file, io::Error::from(error)))?;
                Self::open_file(&file)
            }
            opened => opened,
        }
    }

    /// Opens the journal of these, if there is one. Nothing is made, and nothing set aside.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_existing(
        state_dir: &Path,
        source: &Path,
        module_id: &[u8],
        path: &RelPath,
    ) -> Result<Option<Self>, JournalError> {
        let (_, file) = place(state_dir, source, module_id, path);
        match rustix::fs::access(&file, Access::EXISTS) {
            Ok(()) => Self::open_file(&file).map(Some),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(at(&file, io::Error::from(error))),
        }
    }

    /// The file it lies in, for messages.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.path
    }

    fn open_file(path: &Path) -> Result<Self, JournalError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| at(path, io::Error::from(error)))?;
        // redb asserts what its header promises: of a file that was cut it makes a panic, not an error.
        let open = || Database::builder().set_cache_size(CACHE_BYTES).create_file(File::from(fd));
        let db = match catch_unwind(AssertUnwindSafe(open)) {
            Err(_) => return Err(at(path, redb::Error::Corrupted("it does not hold what it says".into()))),
            Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(JournalError::Busy(path.into())),
            Ok(opened) => opened.map_err(|error| at(path, error))?,
        };
        let journal = Self {
            path: path.into(),
            db,
            synced: Mutex::new(Instant::now()),
            links: Mutex::default(),
            doubts: Mutex::default(),
        };
        journal.check_format()?;
        Ok(journal)
    }

    /// Makes the tables of a new file; calls a file of another form damaged.
    fn check_format(&self) -> Result<(), JournalError> {
        self.write(Durability::Immediate, |txn| {
            Tables::open(txn)?.fill_inventory()?;
            let mut meta = txn.open_table(META)?;
            let form = meta.get(&b"format"[..])?.map(|value| value.value().to_vec());
            match form {
                Some(form) if form == FORMAT => {}
                None if meta.is_empty()? => drop(meta.insert(&b"format"[..], FORMAT)?),
                _ => return Err(redb::Error::Corrupted("not a journal of this version".into())),
            }
            Ok(())
        })
    }

    /// What is known of a path, its groups included. A row in a form that is not understood counts as none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&self, path: &RelPath) -> Result<Option<Record>, JournalError> {
        self.read(|rows, groups| {
            let Some(record) = rows.get(path.as_bytes())?.and_then(|row| row::decode(row.value())) else {
                return Ok(None);
            };
            let groups = groups.get(path.as_bytes())?.map(|bytes| row::decode_groups(bytes.value()));
            Ok(Some(Record { groups: groups.unwrap_or_default(), ..record }))
        })
    }

    /// As [`Journal::get`] without the groups, which of a large file are large: enough to see whether it changed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn glance(&self, path: &RelPath) -> Result<Option<Record>, JournalError> {
        self.read(|rows, _| Ok(rows.get(path.as_bytes())?.and_then(|row| row::decode(row.value()))))
    }

    /// Takes notes in their order, all in one transaction: one costs about as much as a thousand.
    ///
    /// # Errors
    /// When the file cannot be written; then none was taken.
    pub fn take(&self, notes: &[Note]) -> Result<(), JournalError> {
        self.change(|tables| notes.iter().try_for_each(|note| tables.take(note)))?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        notes.iter().for_each(|note| links.follow(note));
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        notes.iter().for_each(|note| doubts.follow(note));
        Ok(())
    }

    /// Records what was acked, all at once.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing was recorded.
    pub fn record(&self, acked: &[(RelPath, Record)]) -> Result<(), JournalError> {
        self.change(|tables| acked.iter().try_for_each(|(path, record)| tables.record(path, record)))
    }

    /// Forgets what was sent of one path; what the copy holds stays known.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove(&self, path: &RelPath) -> Result<(), JournalError> {
        self.change(|tables| {
            tables.rows.remove(path.as_bytes())?;
            tables.groups.remove(path.as_bytes())?;
            Ok(())
        })
    }

    /// Forgets a path and everything beneath it; for the Root, everything.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove_below(&self, path: &RelPath) -> Result<(), JournalError> {
        self.change(|tables| tables.remove_below(path))
    }

    /// What is known of `from`, and of everything beneath it, is from now on known of `to`; what was known there
    /// is forgotten. Where one lies within the other, which `rename(2)` refuses, nothing is done.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing was renamed.
    pub fn rename(&self, from: &RelPath, to: &RelPath) -> Result<(), JournalError> {
        self.change(|tables| tables.rename(from, to))
    }

    /// Rows in all.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn count(&self) -> Result<u64, JournalError> {
        self.read(|rows, _| Ok(rows.len()?))
    }

    /// Which directory the rows speak of; `None` until it was recorded.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn root_identity(&self) -> Result<Option<Identity>, JournalError> {
        Ok(self.meta(b"root")?.and_then(|bytes| row::decode_identity(&bytes)))
    }

    /// Records which directory the rows speak of. On disk when this returns: it is what holds deletions back.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_root_identity(&self, identity: &Identity) -> Result<(), JournalError> {
        self.set_meta(b"root", &row::encode_identity(identity))
    }

    /// Whether anything stood beneath the root when it was last recorded. The rows do not tell: what was equal from
    /// the start has none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn was_populated(&self) -> Result<bool, JournalError> {
        Ok(self.meta(b"populated")?.is_some_and(|bytes| bytes == [1]))
    }

    /// Records whether anything stands beneath the root. On disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_populated(&self, populated: bool) -> Result<(), JournalError> {
        self.set_meta(b"populated", &[u8::from(populated)])
    }

    /// The server the rows were acked by; `None` until it was recorded.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn server_seen(&self) -> Result<Option<ServerSeen>, JournalError> {
        Ok(self.meta(b"server")?.and_then(|bytes| row::decode_server(&bytes)))
    }

    /// Records the server the rows were acked by. On disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_server_seen(&self, server: &ServerSeen) -> Result<(), JournalError> {
        self.set_meta(b"server", &row::encode_server(server))
    }

    /// Brings everything recorded so far to the disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.write(Durability::Immediate, |_| Ok(()))
    }
}

impl Drop for Journal {
    /// What was recorded last reaches the disk; if not, it costs a re-check.
    fn drop(&mut self) {
        self.sync().ok();
    }
}

// === transactions ===

type ReadTable = ReadOnlyTable<Bytes, Bytes>;

impl Journal {
    fn read<T>(
        &self,
        look: impl FnOnce(&ReadTable, &ReadTable) -> Result<T, redb::Error>,
    ) -> Result<T, JournalError> {
        let read = || {
            let txn = self.db.begin_read()?;
            look(&txn.open_table(ROWS)?, &txn.open_table(GROUPS)?)
        };
        read().map_err(|error: redb::Error| at(&self.path, error))
    }

    fn change(
        &self,
        act: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), JournalError> {
        let due = self.synced.lock().is_ok_and(|synced| synced.elapsed() >= SYNC_EVERY);
        let durability = if due { Durability::Immediate } else { Durability::None };
        self.write(durability, |txn| act(&mut Tables::open(txn)?))
    }

    fn write(
        &self,
        durability: Durability,
        act: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), JournalError> {
        let write = || {
            let mut txn = self.db.begin_write()?;
            txn.set_durability(durability)?;
            act(&txn)?;
            txn.commit()?;
            Ok(())
        };
        write().map_err(|error: redb::Error| at(&self.path, error))?;
        if let (Durability::Immediate, Ok(mut synced)) = (durability, self.synced.lock()) {
            *synced = Instant::now();
        }
        Ok(())
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        let read = || {
            let table = self.db.begin_read()?.open_table(META)?;
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        };
        read().map_err(|error: redb::Error| at(&self.path, error))
    }

    fn set_meta(&self, key: &[u8], value: &[u8]) -> Result<(), JournalError> {
        self.write(Durability::Immediate, |txn| {
            txn.open_table(META)?.insert(key, value)?;
            Ok(())
        })
    }
}

/// The folder of journals, and the file of one of them.
fn place(state_dir: &Path, source: &Path, module_id: &[u8], path: &RelPath) -> (PathBuf, PathBuf) {
    let dir = state_dir.join("journal");
    let file = dir.join(file_name([source.as_os_str().as_bytes(), module_id, path.as_bytes()]));
    (dir, file)
}

/// The file of one source, module and path: lengths keep apart what reads the same when joined.
fn file_name(parts: [&[u8]; 3]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    format!("{}.redb", hasher.finalize().to_hex())
}

fn at(path: &Path, error: impl Into<redb::Error>) -> JournalError {
    JournalError::Disk { path: path.into(), error: Box::new(error.into()) }
}

/// Whether a new file would do better. What the disk refuses, it would refuse again.
fn is_damage(error: &redb::Error) -> bool {
    use redb::Error::{Corrupted, Io, RepairAborted, TableIsMultimap, TableTypeMismatch, UpgradeRequired};
    match error {
        Corrupted(_) | RepairAborted | TableIsMultimap(_) | TableTypeMismatch { .. } | UpgradeRequired(_) => {
            true
        }
        Io(error) => matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
        _ => false,
    }
}
